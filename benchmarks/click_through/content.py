"""Group B: the numbers on the page are those of the files, to the digits that are shown."""

from __future__ import annotations

from typing import Any

from benchmarks.click_through.agreement import whole
from benchmarks.click_through.browser import Visit
from benchmarks.click_through.case import Case, expect
from benchmarks.click_through.content_drivers import (
    dependence_table,
    driver_sentence,
    importance_table,
)
from benchmarks.click_through.content_figures import (
    axis_titles,
    effects_figure,
    experiment_figures,
    model_figures,
    plan_figures,
)
from benchmarks.click_through.content_plan import allocation_table, budget_table, certificate_list
from benchmarks.click_through.content_size import calibration_figure
from benchmarks.click_through.content_spend import spend_figure, spend_table
from benchmarks.click_through.content_tables import (
    arms_table,
    chain_table,
    definitions_table,
    differences_table,
    effects_table,
    scores_table,
)
from benchmarks.click_through.content_verdict import (
    checks_table,
    verdict_effect,
    verdict_model,
    verdict_plan,
    verdict_sentences,
)
from benchmarks.click_through.content_who import quadrants_table, segments_table, spread_table
from benchmarks.click_through.truth import Truth


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


def _planned(truth: Truth) -> bool:
    return truth.plan is not None


PLAN = {"precondition": "the run has a plan", "applies": _planned}


PLAIN = {"precondition": "a design without weights", "applies": lambda truth: truth.plain}

MEASURED = {
    "precondition": "a plan on a plain design that treats somebody",
    "applies": lambda truth: truth.plain and truth.plan is not None and truth.treated > 0,
}


def _explained(part: str) -> dict[str, Any]:
    return {
        "precondition": f"insight.json has {part}, a plain design",
        "applies": lambda truth: truth.plain and bool((truth.insight or {}).get(part)),
    }


WHO = _explained("quadrants")
SEGMENTS = _explained("segments")
DRIVERS = _explained("importance")
FEATURES = _explained("dependence")


CASES = (
    Case("B01", "verdict", "must", "strongest arm, its effect and interval", verdict_effect, evidence="#verdict"),
    Case("B02", "verdict", "must", "model of the plan, its Qini, arms above a random order", verdict_model, evidence="#verdict", **PLAN),
    Case("B03", "verdict", "must", "expected and measured value, spend, customers, holdout", verdict_plan, evidence="#verdict", **PLAN),
    Case("B04", "verdict", "must", "the sentences name budget and customers, and say what includes zero", verdict_sentences, evidence="#verdict", **PLAN),
    Case("B05", "experiment", "must", "every check with its status and detail; the light is the worst of them", checks_table, evidence="#table-checks"),
    Case("B06", "experiment", "must", "arms in the campaign's order, with names, costs and rows", arms_table, evidence="#table-arms"),
    Case("B07", "average effects", "must", "effects, intervals, relative effects and control means", effects_table, evidence="#table-effects"),
    Case("B08", "average effects", "must", "the chain's parts add up to the effect", chain_table, evidence="#table-chain", precondition="a chain of two stages or more, a plain design", applies=lambda truth: truth.plain and len(truth.stages) > 1),
    Case("B09", "models", "must", "every metric of every model, stage and arm, with its interval and unit", scores_table, evidence="#table-scores"),
    Case("B10", "models", "must", "paired differences: sign, interval, p-value, verdict", differences_table, evidence="#table-differences", precondition="two models or more, a plan", applies=lambda truth: len(truth.models) > 1 and truth.plan is not None),
    Case("B11", "models", "must", "every metric is defined", definitions_table, evidence="#table-definitions"),
    Case("B12", "plan", "must", "customers, spend and value per arm; spend within the budget", allocation_table, evidence="#table-allocation", **PLAN),
    Case("B13", "plan", "must", "what other budgets would bring", budget_table, evidence="#table-budget", **PLAN),
    Case("B14", "plan", "must", "certificate: value, bound, gap, price", certificate_list, evidence="#certificate", **PLAN),
    Case("B15", "figures", "must", "funnel and balance are the rates and the check's differences", experiment_figures, evidence="#figure-funnel", **PLAIN),
    Case("B16", "figures", "must", "average effects with intervals, arms in order", effects_figure, evidence="#figure-effects"),
    Case("B17", "figures", "must", "scores, curves and tenths of the decided stage", model_figures, evidence="#figure-curve", precondition="a plain design and a plan", applies=lambda truth: truth.plain and truth.plan is not None),
    Case("B18", "figures", "must", "customers and spend per arm; value against budget", plan_figures, evidence="#figure-budget", **PLAN),
    Case("B19", "figures", "must", "axes have titles with units, figures say what is compared", axis_titles, evidence="#figure-scores"),
    Case("B20", "reproduce", "must", "seed, fingerprint, versions, split; real or simulated", _provenance, evidence="#reproduce"),
    Case("B21", "models", "must", "calibration: observed over predicted effect by tenth, slope with interval", calibration_figure, evidence="#figure-calibration", **PLAIN),
    Case("B22", "who", "must", "distribution of the predicted effects, counted again", spread_table, evidence="#table-spread", **WHO),
    Case("B23", "who", "must", "four kinds of customers: shares, predictions and outcomes, counted again", quadrants_table, evidence="#table-quadrants", **WHO),
    Case("B24", "who", "must", "segments: rules, shares, predicted and observed effects, highest first", segments_table, evidence="#table-segments", **SEGMENTS),
    Case("B25", "drivers", "must", "importance of every feature with its interval, most important first", importance_table, evidence="#table-importance", **DRIVERS),
    Case("B26", "drivers", "must", "the answer names the features whose interval is above zero", driver_sentence, evidence="#drivers", **DRIVERS),
    Case("B27", "drivers", "must", "effect by feature: shares, predicted and observed effects", dependence_table, evidence="#table-dependence", **FEATURES),
    Case("B28", "plan", "must", "measured value of plans and rules at the budget, and their difference", spend_table, evidence="#table-spend", **MEASURED),
    Case("B29", "figures", "must", "value against spend of every plan and rule, band, marks and budget", spend_figure, evidence="#figure-spend", **MEASURED),
)  # fmt: skip
