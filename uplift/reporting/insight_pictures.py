"""The figures on who responds and what drives it, each with its words."""

from __future__ import annotations

from typing import Any

from uplift.insight import Insight
from uplift.metrics.definitions import HEADLINE
from uplift.reporting import figures
from uplift.reporting.embed import figure_spec
from uplift.reporting.names import Names
from uplift.reporting.numbers import effect_unit, metric_unit, percent

ALT_PARTS = 4


def insight_pictures(
    insight: Insight, stages: tuple[str, ...], arms: int, names: Names
) -> dict[str, dict[str, Any]]:
    """Drawings by key: ``spread:STAGE``, and for the first `arms` treated arms ``quadrants:ARM`` and so on."""
    found: dict[str, dict[str, Any]] = {}
    for s, stage in enumerate(stages):
        found[f"spread:{s}"] = figure_spec(
            figures.spread_figure(insight, stage, names=names), _spread_alt(insight, stage, names)
        )
    for arm in insight.arms:
        a = insight.all_arms.index(arm) - 1
        if a >= arms:
            continue
        found[f"quadrants:{a}"] = figure_spec(
            figures.quadrants_figure(insight, arm, names=names), _quadrants_alt(insight, arm, names)
        )
        if insight.segments:
            found[f"segments:{a}"] = figure_spec(
                figures.segments_figure(insight, arm, names=names), _segments_alt(insight, arm, names)
            )
        if insight.importance is not None:
            found[f"importance:{a}"] = figure_spec(
                figures.importance_figure(insight, arm, names=names), _importance_alt(insight, arm, names)
            )
        for f, one in enumerate(insight.dependence):
            found[f"dependence:{f}:{a}"] = figure_spec(
                figures.dependence_figure(insight, one.feature, arm, names=names),
                _dependence_alt(insight, f, arm, names),
            )
        if insight.surrogates:
            found[f"shap:{a}"] = figure_spec(
                figures.shap_figure(insight, arm, names=names), _shap_alt(insight, arm, names)
            )
    return found


def _spread_alt(insight: Insight, stage: str, names: Names) -> str:
    unit = effect_unit(stage)
    parts = [
        f"{names.arm(one.arm)}: mean {unit.show(one.mean, sign=True)}, 80 % between {unit.interval(one.low, one.high, sign=True)}, {percent(one.negative)} below zero"
        for one in insight.spread
        if one.stage == stage
    ]
    return f"Distribution of predicted effects, {names.stage(stage)}. {'; '.join(parts[:ALT_PARTS])}."


def _quadrants_alt(insight: Insight, arm: str, names: Names) -> str:
    found = next(one for one in insight.quadrants if one.arm == arm)
    parts = ", ".join(f"{one.name} {percent(one.share)}" for one in found.groups)
    return f"Customers by predicted outcome without a coupon and predicted effect of {names.arm(arm)}: {parts}. The table beside it has all numbers."


def _segments_alt(insight: Insight, arm: str, names: Names) -> str:
    found = next(one for one in insight.segments if one.arm == arm)
    unit = effect_unit(insight.stage)
    parts = [
        f"segment {number} predicted {unit.show(one.predicted, sign=True)}, observed {unit.show(one.observed.effect, sign=True)}"
        for number, one in enumerate(found.segments, start=1)
    ]
    return f"Predicted and observed effect of {names.arm(arm)} by segment: {'; '.join(parts)}."


def _importance_alt(insight: Insight, arm: str, names: Names) -> str:
    drops = {one.feature: one for one in insight.importance.drops if one.arm == arm}  # type: ignore[union-attr]
    unit = metric_unit(HEADLINE, insight.stage)
    order = insight.importance.ranked()[:ALT_PARTS]  # type: ignore[union-attr]
    parts = [
        f"{name} {unit.show(drops[name].drop, sign=True)} ({unit.interval(drops[name].low, drops[name].high, sign=True)})"
        for name in order
    ]
    return f"Loss of Qini when a feature is shuffled, {names.arm(arm)}: {'; '.join(parts)}. The table has all features."


def _dependence_alt(insight: Insight, number: int, arm: str, names: Names) -> str:
    found, unit = insight.dependence[number], effect_unit(insight.stage)
    values = found.effects[arm]
    return (
        f"Effect of {names.arm(arm)} by {found.feature}: predicted {unit.show(values[0], sign=True)} at {found.labels[0]}, "
        f"{unit.show(values[-1], sign=True)} at {found.labels[-1]}. The table has the observed effects."
    )


def _shap_alt(insight: Insight, arm: str, names: Names) -> str:
    found = next(one for one in insight.surrogates if one.arm == arm)
    unit = effect_unit(insight.stage)
    parts = ", ".join(f"{one.feature} {unit.show(one.size)}" for one in found.features[:ALT_PARTS])
    return f"SHAP values of a surrogate of the effects of {names.arm(arm)}, by mean size: {parts}."
