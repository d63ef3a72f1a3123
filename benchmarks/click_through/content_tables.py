"""Group B, the tables of arms, effects, chain and models."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.click_through.agreement import right_unit, row_of, same_interval, same_number
from benchmarks.click_through.browser import Shown, Visit, read_interval, read_numbers
from benchmarks.click_through.case import CannotTell, expect
from benchmarks.click_through.truth import HEADLINE, Truth

_ALL_ROWS = """(id) => { const rows = [...document.getElementById(id)?.tBodies[0].rows ?? []];
  const before = rows.map((row) => row.hidden); rows.forEach((row) => { row.hidden = false; }); return before; }"""


_SAME_ROWS = """([id, before]) => [...document.getElementById(id).tBodies[0].rows].forEach((row, i) => { row.hidden = before[i]; })"""


def arms_table(visit: Visit, truth: Truth) -> None:
    table = visit.table("table-arms")
    names = [truth.arm(arm) for arm in truth.arms]
    expect(
        [row[0].text for row in table.rows] == names,
        f"arms {[row[0].text for row in table.rows]}, the campaign has {names}",
    )
    counts = truth.run["campaign"]["rows_per_arm"]
    at, share = table.column("Rows"), table.column("Share")
    for row, described in zip(table.rows, truth.run["campaign"]["arms"], strict=True):
        count = counts[described["name"]]
        same_number(row[at], count, f"rows of {described['name']}")
        same_number(row[share], count / sum(counts.values()), f"share of {described['name']}")
        if described["label"]:
            expect(described["name"] in row[0].small, f"{described['label']!r} does not give the arm's name")
        if described["cost"] and described["cost"]["amount"] is not None:
            said = row[table.column("Cost")].text
            expect(
                read_numbers(said)[0].agrees(described["cost"]["amount"])
                and (described["cost"]["on"] in said or described["cost"]["on"] == "send"),
                f"cost of {described['name']}: {said!r}",
            )


def effects_table(visit: Visit, truth: Truth) -> None:
    table = visit.table("table-effects")
    expect(len(table.rows) == len(truth.stages) * (len(truth.arms) - 1), f"{len(table.rows)} rows of effects")
    for stage, effects in truth.metrics["ate"].items():
        for arm, effect in effects.items():
            what = f"effect of {arm} on {stage}"
            row = row_of(table, truth.stage(stage), truth.arm(arm))
            cell = row[table.column("ate")]
            same_number(cell, effect["value"], what)
            same_interval(cell, effect["low"], effect["high"], what)
            right_unit(cell, stage, "ate", what)
            zero = effect["low"] is None or effect["low"] <= 0 <= effect["high"]
            expect(
                (
                    "zero" in row[table.column("Interval")].text
                    and "includes" in row[table.column("Interval")].text
                )
                == zero
                or effect["low"] is None,
                f"{what}: {row[table.column('Interval')].text!r}",
            )
            if truth.plain:
                control = truth.rate(stage, truth.arms[0])
                same_number(row[table.column("Control")], control, f"control at {stage}")
                relative = row[table.column("ate / control")]
                same_number(relative, effect["value"] / control, f"relative {what}")
                ends = read_interval(relative.small, relative.text)
                expect(
                    len(ends) == 2 and ends[0].value <= effect["value"] / control <= ends[1].value,
                    f"relative {what}: interval {relative.small!r}",
                )


def chain_table(visit: Visit, truth: Truth) -> None:
    if not visit.has("#table-chain"):
        raise CannotTell("the effect is not split along the chain here")
    table = visit.table("table-chain")
    stage = truth.decided if truth.decided != truth.stages[0] else truth.stages[-1]
    part = next(i for i, head in enumerate(table.heads) if head.startswith("Part of"))
    for arm in truth.arms[1:]:
        rows = [row for row in table.rows if row[0].text == truth.arm(arm)]
        total = truth.rate(stage, arm) - truth.rate(stage, truth.arms[0])
        same_number(rows[-1][part], total, f"effect of {arm} along the chain")
        steps = [read_numbers(row[part].text)[0] for row in rows[:-1]]
        expect(
            abs(sum(n.value for n in steps) - total) <= sum(n.half for n in steps) * 1.01,
            f"the parts of {arm} do not add up to {total:.6g}",
        )
        before = 1.0, 1.0
        for row, name in zip(rows[:-1], truth.stages, strict=False):
            now = truth.rate(name, truth.arms[0]), truth.rate(name, arm)
            same_number(row[2], now[0] / before[0], f"{row[1].text} in control")
            same_number(row[3], now[1] / before[1], f"{row[1].text} with {arm}")
            before = now


def shown_scores(table: Shown, truth: Truth, stage: str, arm: str, models: Sequence[str]) -> None:
    """Rows of one stage and arm are the models in their order, with their numbers."""
    for model in models:
        row = row_of(table, model, truth.stage(stage), truth.arm(arm))
        for metric in truth.metric_ids:
            what = f"{metric} of {model} at {stage}, {arm}"
            cell, exact = row[table.column(metric)], truth.metric(model, stage, arm, metric)
            if exact is None or exact["value"] is None:
                same_number(cell, None, what)
                continue
            same_number(cell, exact["value"], what)
            same_interval(cell, exact["low"], exact["high"], what)
            right_unit(cell, stage, metric, what)


def whole_table(visit: Visit, name: str) -> Shown:
    """A table with the rows that a choice hides, too."""
    before = visit.js(_ALL_ROWS, name)
    table = visit.table(name)
    visit.js(_SAME_ROWS, [name, before])
    return table


def scores_table(visit: Visit, truth: Truth) -> None:
    table = whole_table(visit, "table-scores")
    wanted = len(truth.models) * len(truth.stages) * (len(truth.arms) - 1)
    expect(len(table.rows) == wanted, f"{len(table.rows)} of {wanted} rows of scores")
    for stage in truth.stages:
        for arm in truth.arms[1:]:
            shown_scores(table, truth, stage, arm, truth.models)


def differences_table(visit: Visit, truth: Truth) -> None:
    table = whole_table(visit, "table-differences")
    p = table.column("p-value")
    for stage in truth.stages:
        for arm in truth.arms[1:]:
            for other in truth.models:
                if other == truth.deciding_model:
                    continue
                what = f"{truth.deciding_model} less {other} at {stage}, {arm}"
                exact = truth.difference(truth.deciding_model, other, stage, arm)
                row = row_of(table, other, truth.stage(stage), truth.arm(arm))
                cell = row[table.column(HEADLINE)]
                same_number(cell, exact["value"], what)
                same_interval(cell, exact["low"], exact["high"], what)
                said = row[p].text
                expect(
                    (said.startswith("<") and exact["p"] < 0.001)
                    or (not said.startswith("<") and read_numbers(said)[0].agrees(exact["p"])),
                    f"{what}: p {said!r}, {exact['p']:.4g}",
                )
                clear = exact["low"] > 0 or exact["high"] < 0
                expect(row[-1].text.startswith("yes" if clear else "no"), f"{what}: {row[-1].text!r}")
    caption = visit.table("table-differences").caption
    expect(caption.startswith(truth.deciding_model), f"{caption!r} is not about {truth.deciding_model}")


def definitions_table(visit: Visit, truth: Truth) -> None:
    table = visit.table("table-definitions")
    shown = {row[0].text: row for row in table.rows}
    for name, described in truth.metrics["references"]["definitions"].items():
        expect(name in shown, f"{name} is not defined")
        expect(
            shown[name][2].text == " ".join(described["formula"].split()),
            f"formula of {name}: {shown[name][2].text!r}",
        )
