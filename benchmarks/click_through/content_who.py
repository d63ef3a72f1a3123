"""Group B, who responds: distribution of the effects, four kinds of customers, and segments."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.click_through.agreement import row_of, same_interval, same_number, same_points
from benchmarks.click_through.browser import Cell, Shown, Visit, read_numbers
from benchmarks.click_through.case import expect
from benchmarks.click_through.content_tables import whole_table
from benchmarks.click_through.truth import Truth

KINDS = ("persuadables", "sure things", "lost causes", "do not disturb")


def same_share(cell: Cell, share: float, rows: int, what: str) -> None:
    """A share with the number of rows under it."""
    same_number(cell, share, f"{what}: share")
    expect(
        cell.small == f"{rows:,} row{'s' if rows != 1 else ''}", f"{what}: {cell.small!r}, there are {rows:,}"
    )


def same_effect(cell: Cell, seen: dict[str, Any], what: str) -> None:
    """An observed effect with its interval, or a dash where there are too few rows."""
    same_number(cell, seen["effect"], what)
    if seen["effect"] is not None:
        same_interval(cell, seen["low"], seen["high"], what)


def same_bars(bars: list[list[float]], seen: list[dict[str, Any]], what: str) -> None:
    """Error bars from observed effects: upper ends, lower ends."""
    same_points(bars[0], [one["high"] - one["effect"] for one in seen], f"{what}: upper ends")
    same_points(bars[1], [one["effect"] - one["low"] for one in seen], f"{what}: lower ends")


def certain(seen: dict[str, Any]) -> bool:
    """Whether an observed effect has an interval."""
    return None not in (seen["effect"], seen["low"], seen["high"])


def about(visit: Visit, truth: Truth, figure: str, arm: str) -> None:
    """A figure says which arm and stage it is about."""
    said = visit.subtitle(figure)
    stage = truth.stage((truth.insight or {})["stage"])
    expect(truth.arm(arm) in said and stage in said, f"figure {figure} says {said!r}, it is about {arm}")


# ---------------------------------------------------------------- distribution


def spread_table(visit: Visit, truth: Truth) -> None:
    """Mean, tenths' ends, median and share below zero of the chosen model's effects, from the rows."""
    assert truth.insight is not None
    table = whole_table(visit, "table-spread")
    model = truth.insight["model"]
    expect(model in table.caption, f"caption {table.caption!r}, the model is {model}")
    names = ("predicted_ate", "10 %", "Median", "90 %", "Below zero")
    for stage in truth.stages:
        for arm in truth.arms[1:]:
            row = row_of(table, truth.arm(arm), truth.stage(stage))
            tau = truth.rows(model)[f"tau__{stage}__{arm}"].to_numpy(float)
            exact = (tau.mean(), *np.quantile(tau, [0.1, 0.5, 0.9]), np.mean(tau < 0))
            for name, number in zip(names, exact, strict=True):
                same_number(row[table.column(name)], float(number), f"{name} of {arm} at {stage}")


def spread_points(visit: Visit, truth: Truth, stage: str) -> None:
    """The outlines hold every row's effect in its bar."""
    assert truth.insight is not None
    for one in truth.insight["spread"]:
        if one["stage"] != stage:
            continue
        tau = truth.rows(truth.insight["model"])[f"tau__{stage}__{one['arm']}"].to_numpy(float)
        edges = np.array(one["edges"])
        exact = np.histogram(tau.clip(edges[0], edges[-1]), edges)[0] / len(tau)
        drawn = visit.trace("spread", truth.arm(one["arm"]))
        same_points(drawn["x"], (edges[1:] + edges[:-1]) / 2, f"bars of {one['arm']} at {stage}")
        same_points(drawn["y"], exact, f"shares of {one['arm']} at {stage}", 2e-3)
    expect(truth.stage(stage) in visit.subtitle("spread"), f"the outlines say {visit.subtitle('spread')!r}")


# ---------------------------------------------------------------- four kinds


def kinds(truth: Truth, arm: str) -> np.ndarray:
    """Kind of every test row for an arm, from its predictions: place in KINDS."""
    assert truth.insight is not None
    rows, stage = truth.rows(truth.insight["model"]), truth.insight["stage"]
    tau = rows[f"tau__{stage}__{arm}"].to_numpy(float)
    base = rows[f"mu__{stage}__{truth.arms[0]}"].to_numpy(float)
    half = max(0.0, tau.mean() / 2)
    return np.where(tau < 0, 3, np.where(tau >= half, 0, np.where(base >= base.mean(), 1, 2)))


def quadrants_table(visit: Visit, truth: Truth) -> None:
    """Shares, predictions and observed outcomes of the four kinds, counted again on the test rows."""
    assert truth.insight is not None
    table = whole_table(visit, "table-quadrants")
    model, stage = truth.insight["model"], truth.insight["stage"]
    rows = truth.rows(model)
    expect(len(table.rows) == 4 * len(truth.insight["arms"]), f"{len(table.rows)} rows of kinds")
    for arm in truth.insight["arms"]:
        kind = kinds(truth, arm)
        for code, name in enumerate(KINDS):
            what = f"{name} of {arm}"
            row, inside = row_of(table, name, truth.arm(arm)), kind == code
            same_share(row[table.column("Share")], inside.mean(), int(inside.sum()), what)
            for head, column in (
                ("Predicted without coupon", f"mu__{stage}__{truth.arms[0]}"),
                ("Predicted effect", f"tau__{stage}__{arm}"),
            ):
                mean = float(rows.loc[inside, column].astype(float).mean()) if inside.any() else None
                same_number(row[table.column(head)], mean, f"{what}: {head}")
            seen = truth.observed(inside, stage, arm)
            same_number(row[table.column("Observed in control")], seen["control"], f"{what}: control")
            same_number(row[table.column("Observed with coupon")], seen["treated"], f"{what}: with coupon")
            same_effect(row[table.column("ate")], seen, f"{what}: observed effect")


def quadrant_points(visit: Visit, truth: Truth, arm: str) -> None:
    """Marks lie in the field of their kind, and the legend has the kinds' shares."""
    assert truth.insight is not None
    rows, stage = truth.rows(truth.insight["model"]), truth.insight["stage"]
    about(visit, truth, "quadrants", arm)
    kind = kinds(truth, arm)
    there = {
        (float(f"{base:.4g}"), float(f"{tau:.4g}")): code
        for base, tau, code in zip(
            rows[f"mu__{stage}__{truth.arms[0]}"].astype(float),
            rows[f"tau__{stage}__{arm}"].astype(float),
            kind,
            strict=True,
        )
    }
    drawn = visit.traces("quadrants")
    expect(len(drawn) == len(KINDS), f"{len(drawn)} kinds in the figure of {arm}")
    count = 0
    for code, (name, one) in enumerate(zip(KINDS, drawn, strict=True)):
        expect(one["name"].startswith(name), f"kind {code + 1} is called {one['name']!r}")
        share = read_numbers(one["name"])[0]
        expect(
            share.agrees(float(np.mean(kind == code))),
            f"{one['name']!r} of {arm}: {np.mean(kind == code):.4f}",
        )
        for point in zip(one["x"] or [], one["y"] or [], strict=True):
            count += 1
            # The page keeps floats of four bytes of what was rounded to four digits.
            place = (float(f"{point[0]:.4g}"), float(f"{point[1]:.4g}"))
            expect(there.get(place) == code, f"{place} is drawn as one of the {name} of {arm}")
    expect(count == min(300, len(rows)), f"{count} customers are drawn")


# ---------------------------------------------------------------- segments


def _segments(truth: Truth, arm: str) -> list[dict[str, Any]]:
    assert truth.insight is not None
    return next(one["segments"] for one in truth.insight["segments"] if one["arm"] == arm)


def _words(segment: dict[str, Any]) -> str:
    return " and ".join(segment["conditions"]) or "all customers"


def segments_table(visit: Visit, truth: Truth) -> None:
    """Every rule with its share, predictions and outcomes; the rules of an arm divide the customers."""
    assert truth.insight is not None
    table = whole_table(visit, "table-segments")
    for arm in truth.insight["arms"]:
        wanted = _segments(truth, arm)
        mine = [row for row in table.rows if row[1].text == truth.arm(arm)]
        expect(
            [row[0].text for row in mine] == [_words(one) for one in wanted],
            f"segments of {arm} or their order",
        )
        for number, (row, one) in enumerate(zip(mine, wanted, strict=True), start=1):
            _segment(table, row, one, number, f"segment {number} of {arm}")
        share = table.column("Share")
        counts = sum(read_numbers(row[share].small)[0].value for row in mine)
        expect(
            counts == truth.test_rows, f"the segments of {arm} hold {counts:,.0f} of {truth.test_rows:,} rows"
        )
        predicted = [float(row[table.column("Predicted effect")].value or "nan") for row in mine]
        expect(predicted == sorted(predicted, reverse=True), f"segments of {arm} do not fall: {predicted}")


def _segment(table: Shown, row: tuple[Cell, ...], one: dict[str, Any], number: int, what: str) -> None:
    seen = one["observed"]
    expect(row[0].small == f"segment {number}", f"{what}: {row[0].small!r}")
    same_share(row[table.column("Share")], one["share"], seen["rows"], what)
    same_number(row[table.column("Predicted effect")], one["predicted"], f"{what}: predicted")
    same_effect(row[table.column("ate")], seen, f"{what}: observed effect")
    same_number(row[table.column("Control")], seen["control"], f"{what}: control")
    same_number(row[table.column("With the coupon")], seen["treated"], f"{what}: with the coupon")


def segment_points(visit: Visit, truth: Truth, arm: str) -> None:
    """Predicted and observed effects of the segments, first segment on top; the sentences name first and last."""
    wanted, figure = _segments(truth, arm), "segments"
    about(visit, truth, figure, arm)
    texts = visit.js(
        "(() => { const a = document.getElementById('figure-segments')._fullLayout.yaxis; return Object.fromEntries(Array.from(a.tickvals, (v, i) => [v, a.ticktext[i]])); })()"
    )
    drawn = visit.trace(figure, "predicted")
    order = [int(texts[f"{y:g}"].partition(":")[0]) for y in drawn["y"]]
    expect(order == list(range(1, len(wanted) + 1)), f"segments {order}")
    same_points(
        drawn["x"], [one["predicted"] for one in wanted], f"predicted effects of the segments of {arm}"
    )
    known = [one["observed"] for one in wanted if certain(one["observed"])]
    if known:
        drawn = visit.trace(figure, "observed")
        same_points(
            drawn["x"], [one["effect"] for one in known], f"observed effects of the segments of {arm}"
        )
        same_bars(drawn["error_x"], known, f"intervals of the segments of {arm}")
    if len(wanted) > 1:
        said = visit.js(
            "[...document.querySelectorAll('#segments-title + ul li')].filter((l) => !l.hidden && l.getClientRects().length).map((l) => l.innerText)"
        )
        expect(len(said) == 2, f"{len(said)} sentences on the segments of {arm}")
        for text, one in zip(said, (wanted[0], wanted[-1]), strict=True):
            expect(truth.arm(arm) in text and _words(one) in text, f"{text!r} is not about {_words(one)!r}")


def who_figures(visit: Visit, truth: Truth) -> None:
    """Every arm in turn, on every stage of the distribution."""
    assert truth.insight is not None
    for index, arm in enumerate(truth.arms[1:]):
        visit.choose("arm", str(index))
        if arm in truth.insight["arms"]:
            segment_points(visit, truth, arm)
            quadrant_points(visit, truth, arm)
            shown = visit.table("table-quadrants")
            expect(
                {row[1].text for row in shown.rows} == {truth.arm(arm)}, f"kinds of another arm than {arm}"
            )
            shown = visit.table("table-segments")
            expect(
                {row[1].text for row in shown.rows} == {truth.arm(arm)}, f"segments of another arm than {arm}"
            )
    for index, stage in enumerate(truth.stages):
        visit.choose("stage", str(index))
        spread_points(visit, truth, stage)
