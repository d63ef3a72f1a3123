"""Group B: the numbers on the page are those of the files, to the digits that are shown."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from benchmarks.click_through.browser import Cell, Number, Shown, Visit, read_interval, read_numbers
from benchmarks.click_through.case import CannotTell, Case, expect
from benchmarks.click_through.truth import HEADLINE, VALUE, Truth

RATIOS = ("qini_sklift", "auuc_sklift", "calibration_slope")
EXACT = 1e-9


def same_number(shown: Cell, exact: float | None, what: str) -> None:
    """A cell shows `exact` to the digits it has, has all digits behind it, and shows digits enough.

    None: the cell says that there is no number.
    """
    if exact is None:
        expect(not read_numbers(shown.text), f"{what}: {shown.text!r}, but there is no such number")
        return
    found = read_numbers(shown.text)
    expect(len(found) == 1, f"{what}: {shown.text!r} is not one number")
    expect(found[0].agrees(exact), f"{what}: shown {shown.text!r}, the files say {exact:.6g}")
    enough(found[0], exact, f"{what}: {shown.text!r}")
    if shown.value is not None:
        behind = float(shown.value) if shown.value else math.nan
        expect(math.isclose(behind, exact, rel_tol=EXACT, abs_tol=1e-12), f"{what}: behind it {shown.value}")


def enough(number: Number, exact: float, what: str) -> None:
    """No more than 3 % of a number is lost by rounding, unless its last digit is a small one anyway."""
    expect(
        number.half <= 0.03 * abs(exact)
        or number.half <= 0.00051
        or (number.half <= 0.5 and exact == round(exact)),
        f"{what} is rounded too much for {exact:.6g}",
    )


def same_interval(shown: Cell, low: float | None, high: float | None, what: str) -> None:
    """The interval under a number."""
    ends = read_interval(shown.small, shown.text)
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        expect(not ends, f"{what}: interval {shown.small!r}, but there is none")
        return
    expect(len(ends) == 2, f"{what}: no interval under it ({shown.small!r})")
    for end, exact in zip(ends, (low, high), strict=True):
        expect(end.agrees(exact), f"{what}: interval {shown.small!r}, the files say {low:.6g} to {high:.6g}")


def right_unit(shown: Cell, stage: str, metric: str, what: str) -> None:
    """Points or percent for shares, neither for money and ratios."""
    share = stage != VALUE and metric not in RATIOS
    expect(("pp" in shown.text or "%" in shown.text) == share, f"{what}: unit of {shown.text!r}")


def row_of(table: Shown, *names: str) -> tuple[Cell, ...]:
    """The one row whose first cells are `names`."""
    found = [row for row in table.rows if tuple(cell.text for cell in row[: len(names)]) == names]
    expect(len(found) == 1, f"{len(found)} rows for {' / '.join(names)} in {table.caption!r}")
    return found[0]


def whole(number: float) -> str:
    """A count as people write it."""
    return f"{int(number):,}"


# ---------------------------------------------------------------- verdict


def _verdict_effect(visit: Visit, truth: Truth) -> None:
    stage = truth.decided
    arm = truth.strongest(stage)
    effect = truth.metrics["ate"][stage][arm]
    card = visit.js(_CARD, "key-effect")
    expect(card is not None, "no card of the strongest arm")
    expect(
        truth.arm(arm) in card["label"],
        f"the card names {card['label']!r}, the strongest is {truth.arm(arm)}",
    )
    same_number(Cell(card["big"], "", card["value"]), effect["value"], "card of the effect")
    same_interval(
        Cell(card["big"], card["note"][card["note"].find("(") :].split(")")[0] + ")", None),
        effect["low"],
        effect["high"],
        "card of the effect",
    )
    expect(truth.stage(stage) in card["note"], f"the card says {card['note']!r}, the stage is {stage}")
    expect(whole(truth.test_rows) in card["note"], f"{card['note']!r} without {truth.test_rows} test rows")


def _verdict_model(visit: Visit, truth: Truth) -> None:
    card = visit.js(_CARD, "key-model")
    expect(
        card["big"].endswith(truth.deciding_model), f"{card['big']!r}, the run chose {truth.deciding_model}"
    )
    cells = [truth.metric(truth.deciding_model, truth.decided, arm, HEADLINE) for arm in truth.arms[1:]]
    mean = float(np.mean([cell["value"] for cell in cells if cell]))
    shown = read_numbers(card["note"].partition(";")[0])[0]
    expect(shown.agrees(mean), f"Qini {card['note']!r}, the files say {mean:.6g}")
    above = sum(1 for cell in cells if cell and cell["low"] is not None and cell["low"] > 0)
    expect(
        f"{above} of {len(cells)} arm" in card["note"],
        f"{card['note']!r}: {above} of {len(cells)} arms are above",
    )


def _verdict_plan(visit: Visit, truth: Truth) -> None:
    assert truth.plan is not None
    card = visit.js(_CARD, "key-expected")
    same_number(Cell(card["big"], "", card["value"]), truth.plan["expected_value"], "expected value")
    numbers = read_numbers(card["note"])
    expect(
        numbers[0].agrees(truth.plan["expected_cost"]),
        f"spend in {card['note']!r}: {truth.plan['expected_cost']:.6g}",
    )
    card = visit.js(_CARD, "key-treated")
    same_number(Cell(card["big"], "", card["value"]), truth.treated, "customers with a coupon")
    held = int(truth.decisions["holdout"].sum())
    expect(f"{whole(held)} held out" in card["note"], f"{card['note']!r}: {held} are held out")
    measured = truth.plan["policy_value"]
    if measured and measured["arms"]:
        card = visit.js(_CARD, "key-measured")
        same_number(Cell(card["big"], "", card["value"]), measured["value"], "measured value")
        ends = read_numbers(card["note"])[:2]
        expect(
            ends[0].agrees(measured["low"]) and ends[1].agrees(measured["high"]),
            f"measured value {card['note']!r}, the file says {measured['low']:.6g} to {measured['high']:.6g}",
        )


def _verdict_sentences(visit: Visit, truth: Truth) -> None:
    assert truth.plan is not None
    said = visit.text("#verdict .says, #verdict")
    for what, number in (
        ("budget", truth.plan["budget"]),
        ("customers with a coupon", truth.treated),
        ("customers", len(truth.decisions)),
    ):
        if number is not None:
            expect(f"{number:,.10g}" in said, f"the verdict does not name the {what}, {number:,.10g}")
    measured = truth.plan["policy_value"]
    if measured and measured["arms"]:
        includes = measured["low"] <= 0 <= measured["high"]
        expect(
            ("includes zero" in said) or not includes,
            "the measured interval includes zero, which is not said",
        )
        expect(
            whole(measured["matched_rows"]) in visit.text("#plan"),
            f"{measured['matched_rows']} matched rows are not named",
        )


def _status(entry: dict[str, object]) -> str:
    return str(entry["status"])


def _checks(visit: Visit, truth: Truth) -> None:
    table = visit.table("table-checks")
    expect(len(table.rows) == len(truth.checks), f"{len(table.rows)} of {len(truth.checks)} checks")
    words = {"pass": ("Pass", "Not tested"), "warn": ("Warning",), "fail": ("Fail",)}
    for entry, row in zip(truth.checks, table.rows, strict=True):
        expect(
            row[0].text.split(" ", 1)[-1] in words[_status(entry)],
            f"{entry['check']}: {row[0].text!r}, it is {entry['status']}",
        )
        expect(
            row[1].small == entry["check"],
            f"check {row[1].small!r} where {entry['check']!r} stands in the file",
        )
        expect(
            row[2].text == " ".join(str(entry["detail"]).split())
            or row[2].text == str(entry["detail"]).strip(),
            f"{entry['check']}: {row[2].text!r}",
        )
    worst = max((_status(entry) for entry in truth.checks), key=("pass", "warn", "fail").index)
    card = visit.js(_CARD, "key-experiment")
    light = {"pass": "Sound", "warn": "Usable, with care", "fail": "Not sound"}[worst]
    expect(card["big"].endswith(light), f"the light says {card['big']!r}, the worst check is {worst}")
    for status in ("warn", "fail"):
        count = sum(_status(entry) == status for entry in truth.checks)
        expect(f"{count} {status}" in card["note"], f"{card['note']!r}: {count} checks {status}")


# ---------------------------------------------------------------- tables of the experiment


def _arms(visit: Visit, truth: Truth) -> None:
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


def _effects(visit: Visit, truth: Truth) -> None:
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


def _chain(visit: Visit, truth: Truth) -> None:
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


# ---------------------------------------------------------------- models


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


_ALL_ROWS = """(id) => { const rows = [...document.getElementById(id)?.tBodies[0].rows ?? []];
  const before = rows.map((row) => row.hidden); rows.forEach((row) => { row.hidden = false; }); return before; }"""
_SAME_ROWS = """([id, before]) => [...document.getElementById(id).tBodies[0].rows].forEach((row, i) => { row.hidden = before[i]; })"""


def whole_table(visit: Visit, name: str) -> Shown:
    """A table with the rows that a choice hides, too."""
    before = visit.js(_ALL_ROWS, name)
    table = visit.table(name)
    visit.js(_SAME_ROWS, [name, before])
    return table


def _scores(visit: Visit, truth: Truth) -> None:
    table = whole_table(visit, "table-scores")
    wanted = len(truth.models) * len(truth.stages) * (len(truth.arms) - 1)
    expect(len(table.rows) == wanted, f"{len(table.rows)} of {wanted} rows of scores")
    for stage in truth.stages:
        for arm in truth.arms[1:]:
            shown_scores(table, truth, stage, arm, truth.models)


def _differences(visit: Visit, truth: Truth) -> None:
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


def _definitions(visit: Visit, truth: Truth) -> None:
    table = visit.table("table-definitions")
    shown = {row[0].text: row for row in table.rows}
    for name, described in truth.metrics["references"]["definitions"].items():
        expect(name in shown, f"{name} is not defined")
        expect(
            shown[name][2].text == " ".join(described["formula"].split()),
            f"formula of {name}: {shown[name][2].text!r}",
        )


# ---------------------------------------------------------------- the plan


def _allocation(visit: Visit, truth: Truth) -> None:
    assert truth.plan is not None
    table = visit.table("table-allocation")
    expect(
        [row[0].text for row in table.rows] == [*map(truth.arm, truth.arms), "all"],
        "arms of the plan or their order",
    )
    spend, worth = table.column("Expected spend"), table.column("by the model")
    for arm, row in zip((*truth.arms, None), table.rows, strict=True):
        what = f"plan, {arm or 'all'}"
        mine = truth.decisions if arm is None else truth.decisions[truth.decisions["arm"] == arm]
        same_number(row[table.column("Customers")], len(mine), f"{what}: customers")
        same_number(row[table.column("Share")], len(mine) / len(truth.decisions), f"{what}: share")
        same_number(row[spend], float(mine["expected_cost"].sum()), f"{what}: spend")
        same_number(row[worth], float(mine["expected_value"].sum()), f"{what}: value")
    total = read_numbers(table.rows[-1][spend].text)[0]
    budget = truth.plan["budget"]
    expect(
        budget is None or total.value - total.half <= budget,
        f"spend {total.value:,.6g} beyond the budget {budget:,.6g}",
    )
    measured = truth.plan["policy_value"]
    if measured and measured["arms"]:
        cell = table.rows[-1][table.column("policy_value")]
        same_number(cell, measured["value"], "measured value of the plan")
        same_interval(cell, measured["low"], measured["high"], "measured value of the plan")


def _budgets(visit: Visit, truth: Truth) -> None:
    assert truth.plan is not None
    table = visit.table("table-budget")
    heads = {
        name: table.column(name)
        for name in ("Budget", "Spend", "Expected value", "Change of value", "Customers")
    }
    here = truth.at_budget(min(truth.plan["budget"] or math.inf, truth.last_budget))["value"]
    for row in table.rows:
        budget = float(row[heads["Budget"]].value or "nan")
        expect(
            read_numbers(row[heads["Budget"]].text)[0].agrees(budget), f"budget {row[0].text!r} is {budget}"
        )
        share = read_numbers(row[heads["Budget"]].small)[0].value
        base = truth.plan["budget"] or truth.last_budget
        expect(
            math.isclose(budget, share * base, rel_tol=1e-6), f"{row[0].small!r} of {base} is not {budget}"
        )
        at = truth.at_budget(budget)
        close(row[heads["Spend"]].text, at["spend"], f"spend at {budget:g}", truth)
        close(row[heads["Expected value"]].text, at["value"], f"value at {budget:g}", truth)
        close(row[heads["Customers"]].text, at["treated"], f"customers at {budget:g}", truth, scale="treated")
        change = read_numbers(row[heads["Change of value"]].text)[0]
        slack = change.half + 0.004 * truth.at_budget(truth.last_budget)["value"]
        expect(
            abs(change.value - (at["value"] - here)) <= slack,
            f"change at {budget:g}: {change.value:g}, {at['value'] - here:g} by the files",
        )


def close(text: str, exact: float, what: str, truth: Truth, *, scale: str = "value") -> None:
    """A number of the budget curve: the page has 360 points of it, the files every step."""
    found = read_numbers(text)
    slack = 0.004 * truth.at_budget(truth.last_budget)[scale]
    expect(
        len(found) == 1 and abs(found[0].value - exact) <= found[0].half + slack,
        f"{what}: {text!r}, the files say {exact:,.6g}",
    )
    enough(found[0], found[0].value, f"{what}: {text!r}")


def _certificate(visit: Visit, truth: Truth) -> None:
    assert truth.plan is not None
    facts = visit.js(
        "() => Object.fromEntries([...document.querySelectorAll('#certificate > div')].map((d) => [d.querySelector('dt').textContent, [d.querySelector('dd').textContent, d.querySelector('dd').dataset.value ?? null]]))"
    )
    for name, exact in (
        ("Expected value", truth.plan["expected_value"]),
        ("Upper bound", truth.plan["upper_bound"]),
        ("Dual price of the budget", truth.plan["dual_prices"]["budget"]),
    ):
        expect(name in facts, f"the certificate lacks {name!r}")
        same_number(Cell(facts[name][0], "", facts[name][1]), exact, name)
    expect(
        math.isclose(float(facts["Gap"][1]), truth.plan["gap"], rel_tol=1e-6, abs_tol=1e-12),
        f"gap {facts['Gap']}",
    )


# ---------------------------------------------------------------- figures


def same_points(found: object, exact: object, what: str, tolerance: float = 1e-5) -> None:
    """Two arrays are equal to what float32 keeps."""
    a, b = np.asarray(found, float), np.asarray(exact, float)
    expect(a.shape == b.shape, f"{what}: {a.shape} points, the files have {b.shape}")
    scale = max(float(np.nanmax(np.abs(b))) if b.size else 0.0, 1e-12)
    worst = float(np.nanmax(np.abs(a - b))) if b.size else 0.0
    expect(worst <= tolerance * scale, f"{what}: differs by {worst:.3g} (largest {scale:.3g})")


def _figure_experiment(visit: Visit, truth: Truth) -> None:
    for arm in truth.arms:
        exact = [truth.rate(stage, arm) for stage in truth.chain]
        same_points(visit.trace("funnel", truth.arm(arm))["y"], exact, f"funnel of {arm}")
    balance = next((entry for entry in truth.checks if entry["check"] == "balance_smd"), None)
    if balance is None or not balance["data"].get("smd"):
        return
    smd = balance["data"]["smd"]
    texts = visit.js(
        "(() => { const a = document.getElementById('figure-balance')._fullLayout.yaxis; return Object.fromEntries(Array.from(a.tickvals, (v, i) => [v, a.ticktext[i]])); })()"
    )
    for arm in truth.arms[1:]:
        drawn = visit.trace("balance", truth.arm(arm))
        for x, y in zip(drawn["x"], drawn["y"], strict=True):
            name = texts[f"{y:g}"]
            if name in smd:
                expect(
                    math.isclose(x, smd[name][arm], abs_tol=1e-6),
                    f"balance of {name}, {arm}: {x}, the check says {smd[name][arm]}",
                )


def effect_points(visit: Visit, truth: Truth, stages: Sequence[str], *, relative: bool = False) -> None:
    """The effects figure shows the arms' effects at these stages, with their intervals."""
    for arm in truth.arms[1:]:
        drawn = visit.trace("effects", truth.arm(arm))
        effects = [truth.metrics["ate"][stage][arm] for stage in stages]
        base = [truth.rate(stage, truth.arms[0]) if relative else 1.0 for stage in stages]
        same_points(
            drawn["x"], [e["value"] / b for e, b in zip(effects, base, strict=True)], f"effects of {arm}"
        )
        if not relative:
            same_points(drawn["error_x"][0], [e["high"] - e["value"] for e in effects], f"intervals of {arm}")
            same_points(drawn["error_x"][1], [e["value"] - e["low"] for e in effects], f"intervals of {arm}")


def _figure_effects(visit: Visit, truth: Truth) -> None:
    effect_points(visit, truth, truth.chain)
    order = [one["name"] for one in visit.traces("effects") if one["legend"]]
    expect(order == [truth.arm(arm) for arm in truth.arms[1:]], f"legend {order}")


def score_points(visit: Visit, truth: Truth, stage: str, arm: str) -> None:
    """The scores figure shows the headline of every model, with its interval."""
    for model in truth.models:
        exact = truth.metric(model, stage, arm, HEADLINE)
        if exact is None or exact["value"] is None:
            continue
        drawn = visit.trace("scores", model)
        same_points(drawn["x"], [exact["value"]], f"score of {model} at {stage}, {arm}")
        if exact["low"] is not None:
            same_points(
                drawn["error_x"][1], [exact["value"] - exact["low"]], f"interval of {model} at {stage}, {arm}"
            )
            same_points(
                drawn["error_x"][0],
                [exact["high"] - exact["value"]],
                f"interval of {model} at {stage}, {arm}",
            )


def curve_points(visit: Visit, truth: Truth, stage: str, arm: str, kind: str) -> None:
    """The curves of all models are those of their rankings, and end at the average effect."""
    for model in truth.models:
        drawn = visit.trace("curve", model)
        exact = truth.curve(model, stage, arm, kind, np.asarray(drawn["x"], float))
        same_points(drawn["y"], exact, f"{kind} curve of {model} at {stage}, {arm}", 2e-5)


def tenth_points(visit: Visit, truth: Truth, model: str, stage: str, arm: str) -> None:
    """Observed and predicted effects by tenth."""
    exact = truth.tenths(model, stage, arm)
    drawn = [one for one in visit.traces("tenths") if one["name"].startswith("observed")]
    points = sorted((x, y) for one in drawn for x, y in zip(one["x"], one["y"], strict=True))
    same_points([x for x, _ in points], exact["tenth"], f"tenths of {model}")
    same_points([y for _, y in points], exact["observed"], f"observed effects of {model} at {stage}, {arm}")
    whiskers = next((one for one in drawn if one["error_y"] and one["name"] == "observed"), None)
    if whiskers and len(whiskers["x"]) == len(exact):
        same_points(
            whiskers["error_y"][1], exact["observed"] - exact["low"], f"intervals of the tenths of {model}"
        )
    if model in truth.calibrated:
        same_points(
            visit.trace("tenths", "predicted")["y"],
            exact["predicted"],
            f"predicted effects of {model} at {stage}, {arm}",
        )


def chosen(visit: Visit, truth: Truth) -> tuple[str, str, str]:
    """Stage, arm and model that the selects stand on; their options are the campaign's, in its order."""
    wanted = {
        "stage": [truth.stage(stage) for stage in truth.stages],
        "arm": [truth.arm(arm) for arm in truth.arms[1:]],
        "model": list(truth.models),
    }
    at = {}
    for name, texts in wanted.items():
        found = visit.js(
            '(n) => { const s = document.querySelector(`select[data-state="${n}"]`); return s && [[...s.options].map((o) => o.text), s.selectedIndex]; }',
            name,
        )
        expect(found is not None, f"no select of the {name}")
        expect(found[0] == texts, f"{name}s {found[0]}, the files have {texts}")
        at[name] = int(found[1])
    return truth.stages[at["stage"]], truth.arms[1 + at["arm"]], truth.models[at["model"]]


def _figure_models(visit: Visit, truth: Truth) -> None:
    stage, arm, model = chosen(visit, truth)
    expect(stage == truth.decided, f"starts at {stage}, the plan buys {truth.decided}")
    expect(model == truth.deciding_model, f"starts with {model}, the plan is by {truth.deciding_model}")
    score_points(visit, truth, stage, arm)
    curve_points(visit, truth, stage, arm, "gain")
    tenth_points(visit, truth, model, stage, arm)
    legend = [one["name"] for one in visit.traces("curve") if one["legend"]]
    expect(
        [name for name in legend if name in truth.models] == list(truth.models),
        f"legend of the curves: {legend}",
    )


def _figure_plan(visit: Visit, truth: Truth) -> None:
    assert truth.plan is not None
    texts = visit.js(
        "(() => { const a = document.getElementById('figure-allocation')._fullLayout.yaxis; return Object.fromEntries(Array.from(a.tickvals, (v, i) => [v, a.ticktext[i]])); })()"
    )
    for name, exact in (
        ("customers", [truth.customers(arm) for arm in truth.arms]),
        ("spend", [truth.planned("expected_cost", arm) for arm in truth.arms]),
    ):
        drawn = visit.trace("allocation", name)
        order = [texts[f"{y:g}"] for y in drawn["y"]]
        expect(order == [truth.arm(arm) for arm in truth.arms], f"bars of {name}: {order}")
        same_points(drawn["x"], exact, f"{name} per arm")
    curve = visit.trace("budget", "expected value")
    exact = [truth.at_budget(budget)["value"] for budget in curve["x"]]
    same_points(curve["y"], exact, "value against budget", 0.004)
    mark = next(one for one in visit.traces("budget") if one["meta"] == "chosen")
    start = min(truth.plan["budget"] or math.inf, truth.last_budget)
    same_points(mark["x"], [start], "budget of the plan in the figure", 1e-6)


def _axes(visit: Visit, truth: Truth) -> None:
    found = visit.js(_AXES)
    for figure, titles in found.items():
        expect(titles, f"figure {figure} has no title on any axis")
    units = (
        {"figure-curve": "%", "figure-scores": "%", "figure-tenths": "%"} if truth.decided != VALUE else {}
    )
    for figure, unit in units.items():
        expect(
            any(unit in title for title in found.get(figure, [])),
            f"no unit on the axes of {figure}: {found.get(figure)}",
        )
    for figure in ("curve", "scores", "tenths", "effects"):
        expect("against control" in visit.subtitle(figure), f"figure {figure} does not say against what")


def _provenance(visit: Visit, truth: Truth) -> None:
    facts = visit.js(
        "() => Object.fromEntries([...document.querySelectorAll('#run > div')].map((d) => [d.querySelector('dt').textContent, d.querySelector('dd').textContent]))"
    )
    for name, exact in (
        ("seed", truth.run["seed"]), ("data fingerprint", truth.run["data_fingerprint"]),
        ("chosen model", truth.run["chosen_model"]), ("versions · uplift", truth.run["versions"]["uplift"]),
    ):  # fmt: skip
        expect(facts.get(name) == str(exact), f"{name}: {facts.get(name)!r}, run.json says {exact!r}")
    badge = visit.js(
        "[...document.querySelectorAll('header .badge')].some((b) => b.textContent.includes('simulated'))"
    )
    expect(badge == bool(truth.run.get("simulated")), "real or simulated is not said as it is")
    subtitle = visit.text("header .subtitle")
    for number in (truth.run["rows"]["all"], truth.run["rows"]["test"]):
        expect(whole(number) in subtitle, f"{subtitle!r} without {whole(number)}")
    references = len(truth.models) - len(truth.calibrated)
    expect(
        f"{len(truth.calibrated)} model" in subtitle
        and (not references or f"{references} reference" in subtitle),
        f"models in {subtitle!r}",
    )


_CARD = """(id) => { const c = document.getElementById(id); return c && {
  label: c.querySelector("dt").innerText.trim(), big: c.querySelector(".big > span:last-child").innerText.trim(),
  value: c.querySelector(".big").dataset.value ?? null, note: c.querySelector(".note").innerText.trim() }; }"""
_AXES = """() => Object.fromEntries([...document.querySelectorAll("[data-figure]")].filter((p) => p._fullLayout)
  .map((p) => [p.id, Object.keys(p._fullLayout).filter((k) => /^[xy]axis\\d*$/.test(k))
    .map((k) => p.layout[k]?.title?.text ?? "").filter(Boolean)]))"""


def _planned(truth: Truth) -> bool:
    return truth.plan is not None


PLAN = {"precondition": "the run has a plan", "applies": _planned}
PLAIN = {"precondition": "a design without weights", "applies": lambda truth: truth.plain}
CASES = (
    Case("B01", "verdict", "must", "strongest arm, its effect and interval", _verdict_effect, evidence="#verdict"),
    Case("B02", "verdict", "must", "model of the plan, its Qini, arms above a random order", _verdict_model, evidence="#verdict", **PLAN),
    Case("B03", "verdict", "must", "expected and measured value, spend, customers, holdout", _verdict_plan, evidence="#verdict", **PLAN),
    Case("B04", "verdict", "must", "the sentences name budget and customers, and say what includes zero", _verdict_sentences, evidence="#verdict", **PLAN),
    Case("B05", "experiment", "must", "every check with its status and detail; the light is the worst of them", _checks, evidence="#table-checks"),
    Case("B06", "experiment", "must", "arms in the campaign's order, with names, costs and rows", _arms, evidence="#table-arms"),
    Case("B07", "average effects", "must", "effects, intervals, relative effects and control means", _effects, evidence="#table-effects"),
    Case("B08", "average effects", "must", "the chain's parts add up to the effect", _chain, evidence="#table-chain", precondition="a chain of two stages or more, a plain design", applies=lambda truth: truth.plain and len(truth.stages) > 1),
    Case("B09", "models", "must", "every metric of every model, stage and arm, with its interval and unit", _scores, evidence="#table-scores"),
    Case("B10", "models", "must", "paired differences: sign, interval, p-value, verdict", _differences, evidence="#table-differences", precondition="two models or more, a plan", applies=lambda truth: len(truth.models) > 1 and truth.plan is not None),
    Case("B11", "models", "must", "every metric is defined", _definitions, evidence="#table-definitions"),
    Case("B12", "plan", "must", "customers, spend and value per arm; spend within the budget", _allocation, evidence="#table-allocation", **PLAN),
    Case("B13", "plan", "must", "what other budgets would bring", _budgets, evidence="#table-budget", **PLAN),
    Case("B14", "plan", "must", "certificate: value, bound, gap, price", _certificate, evidence="#certificate", **PLAN),
    Case("B15", "figures", "must", "funnel and balance are the rates and the check's differences", _figure_experiment, evidence="#figure-funnel", **PLAIN),
    Case("B16", "figures", "must", "average effects with intervals, arms in order", _figure_effects, evidence="#figure-effects"),
    Case("B17", "figures", "must", "scores, curves and tenths of the decided stage", _figure_models, evidence="#figure-curve", precondition="a plain design and a plan", applies=lambda truth: truth.plain and truth.plan is not None),
    Case("B18", "figures", "must", "customers and spend per arm; value against budget", _figure_plan, evidence="#figure-budget", **PLAN),
    Case("B19", "figures", "must", "axes have titles with units, figures say what is compared", _axes, evidence="#figure-scores"),
    Case("B20", "reproduce", "must", "seed, fingerprint, versions, split; real or simulated", _provenance, evidence="#reproduce"),
)  # fmt: skip
