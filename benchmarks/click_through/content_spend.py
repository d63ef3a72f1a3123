"""Group B, what the money buys: measured value against spend of every plan and rule, and what the slider says of it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from benchmarks.click_through.agreement import enough, same_interval, same_number, same_points
from benchmarks.click_through.browser import Visit, read_numbers
from benchmarks.click_through.case import expect
from benchmarks.click_through.content_size import halves
from benchmarks.click_through.measured import Path
from benchmarks.click_through.truth import Truth

NEAR = 1e-5
"""How far a drawn point may lie from the path, in parts of the figure."""


def _short(name: str) -> str:
    """As figures shorten names: in the middle, to 26 letters."""
    return name if len(name) <= 26 else f"{name[:13]}…{name[-12:]}"


def _on_path(drawn: dict[str, Any], path: Path, customers: int, what: str) -> np.ndarray:
    """Places of the path at which the points of a line stand: from its beginning to its end, in order."""
    x, y = np.array(drawn["x"], float), np.array(drawn["y"], float)
    spend, gain = path.spend * customers, path.gain * customers
    scale = np.abs(spend).max(), np.abs(gain).max()
    places = []
    for one, other in zip(x, y, strict=True):
        distance = np.maximum(np.abs(spend - one) / scale[0], np.abs(gain - other) / scale[1])
        places.append(int(np.argmin(distance)))
        expect(
            distance[places[-1]] <= NEAR,
            f"{what}: ({one:,.5g}, {other:,.5g}) is not on its path, nearest ({spend[places[-1]]:,.5g}, {gain[places[-1]]:,.5g})",
        )
    expect(len(x) >= min(100, len(spend)), f"{what}: {len(x)} points of {len(spend)}")
    expect(places == sorted(places), f"{what}: its points are out of order")
    same_points([x[0], x[-1]], spend[[0, -1]], f"{what}: where it begins and ends")
    return np.array(places)


def spend_figure(visit: Visit, truth: Truth) -> None:
    """Lines, band, chord, marks of the single arms, and the line at the budget."""
    found, m = truth.measured, truth.measured.customers
    for number, (model, path) in enumerate(found.paths.items()):
        name = _short(found.name(model))
        drawn = visit.trace("spend", name)
        places = _on_path(drawn, path, m, f"value against spend of {name}")
        if number == 0:
            _band(visit, drawn, path, places, m, name)
            chord = visit.trace("spend", "random customers")
            same_points(chord["x"], path.spend[[0, -1]] * m, "spend on random customers")
            same_points(chord["y"], path.gain[[0, -1]] * m, "value of random customers")
    for arm in truth.arms[1:]:
        spent, gained = found.everyone(arm)
        drawn = visit.trace("spend", f"everyone {truth.arm(arm)}")
        same_points(drawn["x"], [spent[0] * m], f"spend on everyone, {arm}")
        same_points(drawn["y"], [gained[0] * m], f"value of everyone, {arm}")
        same_points(drawn["error_y"][0], [gained[1] * m], f"interval of everyone, {arm}")
    legend = [one["name"] for one in visit.traces("spend") if one["legend"]]
    names = [_short(found.name(model)) for model in found.paths]
    expect([name for name in legend if name in names] == names, f"legend {legend}")
    if found.budget is not None:
        lines = visit.js("document.getElementById('figure-spend').layout.shapes.map((s) => [s.x0, s.x1])")
        same_points(lines, [[found.budget * m] * 2], "line at the budget")


def _band(
    visit: Visit, drawn: dict[str, Any], path: Path, places: np.ndarray, customers: int, name: str
) -> None:
    x, low, high = halves(visit.trace("spend", f"{name}, interval"))
    same_points(x, drawn["x"], f"places of the band of {name}")
    same_points((low + high) / 2, drawn["y"], f"middle of the band of {name}", 1e-4)
    some = np.linspace(0, len(places) - 1, 12).astype(int)
    exact = [path.at_place(int(places[at])).reach * customers for at in some]
    same_points((high - low)[some] / 2, exact, f"band of {name}", 1e-4)


def spend_table(visit: Visit, truth: Truth) -> None:
    """Every plan and rule at the spend of the budget, with its interval, and the paired difference."""
    found, m = truth.measured, truth.measured.customers
    table = visit.table("table-spend")
    spend, value = table.column("Measured spend"), table.column("cost_curve")
    first = found.paths[truth.deciding_model]
    apart = table.column(f"Difference from {truth.deciding_model}")
    names = [found.name(model) for model in found.paths]
    rules = [f"everyone {truth.arm(arm)}" for arm in truth.arms[1:]]
    expect([row[0].text for row in table.rows] == [*names, *rules], f"rows {[r[0].text for r in table.rows]}")
    for row, (model, path) in zip(table.rows, found.paths.items(), strict=False):
        last = float(path.spend[-1])
        at = max(last if found.budget is None else min(found.budget, last), float(path.spend[0]))
        here = path.at_spend(at)
        what = f"{found.name(model)} at {at * m:,.4g}"
        same_number(row[spend], at * m, f"spend of {what}")
        same_number(row[value], here.value * m, f"value of {what}")
        same_interval(
            row[value], (here.value - here.reach) * m, (here.value + here.reach) * m, f"value of {what}"
        )
        if path is first or at > first.spend[-1]:
            same_number(row[apart], None, f"difference of {what}")
            continue
        there = first.at_spend(at)
        paired = type(here)(here.value - there.value, here.influence - there.influence)
        same_number(row[apart], paired.value * m, f"difference of {what}")
        ends = [(paired.value + side * paired.reach) * m for side in (-1, 1)]
        same_interval(row[apart], *ends, f"difference of {what}")
    for row, arm in zip(table.rows[len(names) :], truth.arms[1:], strict=True):
        for column, (middle, reach) in zip((spend, value), found.everyone(arm), strict=True):
            what = f"{table.heads[column]} of everyone, {arm}"
            same_number(row[column], middle * m, what)
            same_interval(row[column], (middle - reach) * m, (middle + reach) * m, what)


def shown_measured(visit: Visit, truth: Truth, budget: float) -> None:
    """The slider's last number is what was measured of such a plan, with its interval: not what the plan promises."""
    found = truth.measured
    path, m = found.paths[truth.deciding_model], truth.measured.customers
    exact = [one * m for one in path.at_planned(truth.at_budget(budget)["spend"] / m)]
    texts = visit.text('[data-budget="measured"]'), visit.text("#budget-measured-interval")
    shown, ends = map(read_numbers, texts)
    expect((len(shown), len(ends)) == (1, 2), f"measured value at {budget:g}: {' / '.join(texts)!r}")
    slack = 0.002 * float(np.abs(path.gain).max()) * m
    for number, wanted, what in zip((*shown, *ends), exact, ("value", "lower end", "upper end"), strict=True):
        expect(
            abs(number.value - wanted) <= number.half + slack,
            f"measured {what} at {budget:g}: {number.value:g} is shown, the rows say {wanted:,.6g}",
        )
    enough(shown[0], shown[0].value, f"measured value at {budget:g}")


def slider_measured(visit: Visit, truth: Truth) -> None:
    for share in (0.15, 0.5, 0.85, 1.0):
        shown_measured(visit, truth, visit.slide(share * truth.last_budget))
    visit.page.click("#budget-reset")
    shown_measured(visit, truth, min((truth.plan or {})["budget"] or math.inf, truth.last_budget))


def slider_measured_by_keyboard(visit: Visit, truth: Truth) -> None:
    visit.page.focus("#budget-slider")
    visit.page.keyboard.press("End")
    shown_measured(visit, truth, truth.last_budget)
    visit.page.fill("#budget-number", str(round(0.4 * truth.last_budget, 2)))
    shown_measured(visit, truth, round(0.4 * truth.last_budget, 2))
