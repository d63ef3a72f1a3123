"""Group B, the figures: their points are those of the files, and their axes say what they are."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from benchmarks.click_through.agreement import same_points
from benchmarks.click_through.browser import Visit
from benchmarks.click_through.case import expect
from benchmarks.click_through.truth import HEADLINE, VALUE, Truth

_AXES = """() => Object.fromEntries([...document.querySelectorAll("[data-figure]")].filter((p) => p._fullLayout)
  .map((p) => [p.id, Object.keys(p._fullLayout).filter((k) => /^[xy]axis\\d*$/.test(k))
    .map((k) => p.layout[k]?.title?.text ?? "").filter(Boolean)]))"""


def experiment_figures(visit: Visit, truth: Truth) -> None:
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


def effects_figure(visit: Visit, truth: Truth) -> None:
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


def model_figures(visit: Visit, truth: Truth) -> None:
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


def plan_figures(visit: Visit, truth: Truth) -> None:
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


def axis_titles(visit: Visit, truth: Truth) -> None:
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
