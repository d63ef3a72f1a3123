"""The figures of the report, each with its words; one drawing per choice that the reader can make."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from uplift.allocation import Allocation
from uplift.arms import VALUE_STAGE
from uplift.metrics.cost_curve import CostCurve
from uplift.metrics.definitions import HEADLINE
from uplift.metrics.evaluation import Evaluation
from uplift.reporting import figures, spend_facts
from uplift.reporting.effects_in_context import average_effects
from uplift.reporting.embed import figure_spec
from uplift.reporting.facts import strongest
from uplift.reporting.names import Names
from uplift.reporting.numbers import MONEY, RELATIVE, effect_unit, metric_unit, rate_unit, whole
from uplift.reporting.soundness import balance_rows
from uplift.reporting.training import Network, training_alt

BYTES_PER_CURVE = 18_000
"""About what one model adds to the file per stage and arm: three curves with bands, tenths, calibration and a score."""
CURVE_BYTES = 1_900_000
FEW_MODELS = 3
ALT_MODELS = 4


@dataclass(frozen=True)
class Choice:
    """One option of a select."""

    value: str
    text: str


def shown_arms(evaluation: Evaluation) -> int:
    """How many treated arms the interactive figures can hold before the file grows too large."""
    per_arm = BYTES_PER_CURVE * len(evaluation.models) * len(evaluation.stages)
    return max(1, min(len(evaluation.arms) - 1, CURVE_BYTES // per_arm))


def experiment_pictures(
    evaluation: Evaluation, checks: list[dict[str, Any]], names: Names
) -> dict[str, dict[str, Any]]:
    """Funnel, balance (where the checks have it) and the average effects in up to three units."""
    found = {
        "funnel": figure_spec(figures.funnel_figure(evaluation, names=names), _funnel_alt(evaluation, names))
    }
    balance = figures.balance_figure(checks, names=names)
    if balance is not None:
        rows = balance_rows(checks)
        worst = max(rows.rows, key=lambda row: abs(row.smd))
        beyond = sum(abs(row.smd) > rows.limit for row in rows.rows)
        alt = (
            f"Love plot. {beyond} of {len(rows.rows)} comparisons lie beyond the limit of {rows.limit:g}; "
            f"the largest difference is {worst.smd:+.3f}, {worst.feature} in {names.arm(worst.arm)}."
        )
        found["balance"] = figure_spec(balance, alt)
    for key, _, arguments in effect_views(evaluation, names):
        stages = arguments.get("stages") or [
            s for s in evaluation.stages if arguments.get("relative") or s != VALUE_STAGE
        ]
        alt = _effects_alt(evaluation, stages, names, relative=bool(arguments.get("relative")))
        found[f"effects:{key}"] = figure_spec(
            figures.effects_figure(evaluation, names=names, **arguments), alt
        )
    return found


def models_and_references(evaluation: Evaluation) -> str:
    """For example ``3 models and 2 references``."""
    references = len(evaluation.uncalibrated)
    parts = [(len(evaluation.models) - references, "model"), (references, "reference")]
    return " and ".join(f"{count} {word}{'s' if count != 1 else ''}" for count, word in parts if count)


def effect_views(evaluation: Evaluation, names: Names) -> list[tuple[str, str, dict[str, Any]]]:
    """Key, text of the option, and arguments of the effects figure."""
    views: list[tuple[str, str, dict[str, Any]]] = [("0", "chain, % of customers", {})]
    if VALUE_STAGE in evaluation.stages:
        views.append(("1", f"{names.stage(VALUE_STAGE)} per customer", {"stages": [VALUE_STAGE]}))
    views.append(("2", "all stages, % of control", {"relative": True}))
    return views


def model_pictures(evaluation: Evaluation, highlighted: list[str], names: Names) -> dict[str, dict[str, Any]]:
    """Curves, scores and tenths for every stage and shown arm (and model)."""
    found: dict[str, dict[str, Any]] = {}
    bands = None if len(evaluation.models) <= FEW_MODELS else highlighted
    for s, stage in enumerate(evaluation.stages):
        for a, arm in enumerate(evaluation.arms[1 : 1 + shown_arms(evaluation)]):
            pair = f"{s}:{a}"
            for kind, make in (
                ("gain", figures.qini_figure),
                ("lift", figures.uplift_figure),
                ("toc", figures.toc_figure),
            ):
                found[f"{kind}:{pair}"] = figure_spec(
                    make(evaluation, stage, arm, bands=bands, names=names),
                    _curve_alt(evaluation, stage, arm, kind, highlighted, names),
                )
            found[f"scores:{pair}"] = figure_spec(
                figures.scores_figure(evaluation, stage, arm, names=names),
                _scores_alt(evaluation, stage, arm, highlighted, names),
            )
            for m, model in enumerate(evaluation.models):
                found[f"tenths:{m}:{pair}"] = figure_spec(
                    figures.deciles_figure(evaluation, model, stage, arm, names=names),
                    _tenths_alt(evaluation, model, stage, arm, names),
                )
                if model not in evaluation.uncalibrated:
                    found[f"calibration:{m}:{pair}"] = figure_spec(
                        figures.calibration_figure(evaluation, model, stage, arm, names=names),
                        _calibration_alt(evaluation, model, stage, arm, names),
                    )
    return found


def plan_pictures(plan: Allocation, names: Names) -> dict[str, dict[str, Any]]:
    """Budget curve and customers per arm."""
    curve = plan.curve
    end = (
        f"value {MONEY.show(float(curve.values[-1]))} for a budget of {MONEY.show(float(curve.budgets[-1]))}"
    )
    certificate = plan.certificate
    arms = "; ".join(f"{names.arm(arm)}: {whole(count)}" for arm, count in certificate.counts.items())
    return {
        "budget": figure_spec(
            figures.budget_figure(plan),
            f"Budget curve. It rises ever more slowly to {end}. The plan brings "
            f"{MONEY.show(certificate.expected_value)} for {MONEY.show(certificate.expected_cost)}.",
        ),
        "allocation": figure_spec(
            figures.allocation_figure(plan, names=names), f"Customers per arm. {arms}."
        ),
    }


def spend_picture(curves: Sequence[CostCurve], plan: Allocation, names: Names) -> dict[str, dict[str, Any]]:
    """Measured value against spend of models and rules."""
    customers, first = spend_facts.open_customers(plan), curves[0]
    made = figures.spend_figure(
        curves,
        customers=customers,
        budget=spend_facts.spend_at(plan),
        rule=spend_facts.rule_name(plan, names),
        names=names,
    )
    ends = (
        f"{MONEY.show(first.gain[-1] * customers)} for a spend of {MONEY.show(first.spend[-1] * customers)}"
    )
    return {
        "spend": figure_spec(made, f"Measured value against spend. The plans of {first.model} end at {ends}.")
    }


def training_picture(
    history: Sequence[Mapping[str, Any]],
    members: Sequence[Network],
    *,
    name: str,
    criterion: str | None,
    stage: str,
) -> dict[str, Any]:
    """One model's training history."""
    drawn = figures.training_figure(history, name=name, criterion=criterion, stage=stage)
    return figure_spec(drawn, training_alt(members, name=name, stage=stage))


def _funnel_alt(evaluation: Evaluation, names: Names) -> str:
    parts = []
    for stage in evaluation.stages:
        if stage == VALUE_STAGE:
            continue
        rows = evaluation.rates[evaluation.rates["stage"] == stage].to_dict("records")[:6]
        shown = ", ".join(f"{names.arm(r['arm'])} {rate_unit(stage).show(r['value'])}" for r in rows)
        parts.append(f"{stage}: {shown}")
    return f"Share of customers that reach each stage. {'; '.join(parts)}."


def _effects_alt(evaluation: Evaluation, stages: list[str], names: Names, *, relative: bool) -> str:
    parts: list[str] = []
    for e in average_effects(evaluation):
        if e.stage in stages and len(parts) < 12:
            shown = (
                f"{RELATIVE.show(e.relative, sign=True)} of control"
                if relative
                else effect_unit(e.stage).show(e.value, sign=True)
            )
            parts.append(f"{names.stage(e.stage)}, {names.arm(e.arm)}: {shown}")
    return f"Average effects against control. {'; '.join(parts)}."


def _curve_alt(
    evaluation: Evaluation, stage: str, arm: str, kind: str, models: list[str], names: Names
) -> str:
    unit = effect_unit(stage)
    name = {"gain": "Qini curve", "lift": "Uplift curve", "toc": "TOC curve"}[kind]
    parts = []
    for model in models[:ALT_MODELS]:
        curve = evaluation.curves[model, stage, arm]
        at = int(np.argmin(np.abs(curve.share - 0.3)))
        band = unit.interval(
            float(getattr(curve, f"{kind}_low")[at]), float(getattr(curve, f"{kind}_high")[at])
        )
        parts.append(f"{model} {unit.show(float(getattr(curve, kind)[at]))} ({band})")
    end = float(getattr(evaluation.curves[evaluation.models[0], stage, arm], kind)[-1])
    if kind == "toc":
        shown = "; ".join(parts)
        return f"{name} of {models_and_references(evaluation)}, {names.stage(stage)}, {names.arm(arm)}. The best 30 % less all: {shown}. Random order: 0 everywhere."
    return (
        f"{name} of {models_and_references(evaluation)}, {names.stage(stage)}, {names.arm(arm)}. With the best 30 % treated: {'; '.join(parts)}. "
        f"With everybody treated: {unit.show(end)}."
    )


def _scores_alt(evaluation: Evaluation, stage: str, arm: str, models: list[str], names: Names) -> str:
    unit = metric_unit(HEADLINE, stage)
    parts = []
    for model in models[:ALT_MODELS]:
        row = evaluation.score(model, stage, arm)
        parts.append(f"{model} {unit.show(row['value'])} ({unit.interval(row['low'], row['high'])})")
    return f"{HEADLINE} per model, {names.stage(stage)}, {names.arm(arm)}. {'; '.join(parts)}. All values are in the table below."


def _tenths_alt(evaluation: Evaluation, model: str, stage: str, arm: str, names: Names) -> str:
    unit, pair = effect_unit(stage), f"{names.stage(stage)}, {names.arm(arm)}"
    rows = evaluation.groups
    rows = rows[(rows["model"] == model) & (rows["stage"] == stage) & (rows["arm"] == arm)]
    if rows.empty:
        return f"No tenths for {model}, {pair}."
    first, last = rows.iloc[0], rows.iloc[-1]
    return (
        f"Observed effect by tenth of the ranking of {model}, {pair}: {unit.show(first['observed'], sign=True)} "
        f"in the first tenth, {unit.show(last['observed'], sign=True)} in the last. "
        f"{_best_arm(evaluation, stage, names)}"
    )


def _calibration_alt(evaluation: Evaluation, model: str, stage: str, arm: str, names: Names) -> str:
    unit, pair = effect_unit(stage), f"{names.stage(stage)}, {names.arm(arm)}"
    rows = evaluation.groups
    rows = rows[(rows["model"] == model) & (rows["stage"] == stage) & (rows["arm"] == arm)]
    if rows.empty:
        return f"No tenths for {model}, {pair}."
    inside = int(((rows["low"] <= rows["predicted"]) & (rows["predicted"] <= rows["high"])).sum())
    first = rows.iloc[0]
    return (
        f"Observed against predicted effect by tenth of the ranking of {model}, {pair}: in {inside} of {len(rows)} tenths the "
        f"prediction lies inside the interval of the observed effect. First tenth: predicted "
        f"{unit.show(first['predicted'], sign=True)}, observed {unit.show(first['observed'], sign=True)}."
    )


def _best_arm(evaluation: Evaluation, stage: str, names: Names) -> str:
    best = strongest(evaluation, stage)
    return f"The strongest arm on average is {names.arm(best.arm)}, {effect_unit(stage).show(best.value, sign=True)}."
