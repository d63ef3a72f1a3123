"""What did the coupons do, and was the experiment sound? Average effects, rates and balance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from uplift.arms import VALUE_STAGE
from uplift.errors import EvaluationError, did_you_mean
from uplift.metrics.evaluation import Evaluation
from uplift.reporting.effects_in_context import average_effects
from uplift.reporting.names import Names
from uplift.reporting.soundness import balance_rows
from uplift.reporting.theme import (
    GREY,
    OKABE_ITO,
    SYMBOLS,
    Mark,
    arm_marks,
    error_bars,
    figure,
    label,
    labels,
    with_interval,
)

LOVE_PLOT_FEATURES = 25


def effects_figure(
    evaluation: Evaluation,
    *,
    relative: bool = False,
    stages: Sequence[str] | None = None,
    names: Names | None = None,
) -> go.Figure:
    """Average effect of every arm at every stage with its interval: a forest plot.

    Parameters
    ----------
    evaluation : Evaluation
        From :func:`uplift.evaluate`.
    relative : bool
        In percent of control instead of per customer.
    stages : sequence of str, optional
        Default: all when relative; else the binary stages, because value has another unit.
    names : Names, optional
        Labels of arms and stages. An effect without an interval is a hollow mark.

    Returns
    -------
    plotly.graph_objects.Figure

    Raises
    ------
    EvaluationError
        Unknown stage, or value and binary stages on one absolute axis.
    """
    if stages is None:
        stages = [s for s in evaluation.stages if relative or s != VALUE_STAGE]
    for stage in stages:
        if stage not in evaluation.stages:
            raise EvaluationError(f"there is no stage {stage!r}; {did_you_mean(stage, evaluation.stages)}")
    if not relative and VALUE_STAGE in stages and len(stages) > 1:
        raise EvaluationError(
            "value and binary stages have different units; draw them apart, or pass relative=True."
        )
    money = not relative and list(stages) == [VALUE_STAGE]
    marks = arm_marks(evaluation.arms)
    called = names or Names()
    texts = dict(zip(evaluation.arms, labels(called.all_arms(evaluation.arms)), strict=True))
    rows = {(e.stage, e.arm): e for e in average_effects(evaluation)}
    arms = evaluation.arms[1:]
    ticks: list[tuple[float, str]] = []
    points: dict[str, list[tuple[float, float, float, float]]] = {arm: [] for arm in arms}
    at = 0.0
    for stage in stages:
        if len(stages) > 1:
            ticks.append((at, f"<b>{label(called.stage(stage))}</b>"))
            at -= 1
        for arm in arms:
            effect = rows[stage, arm]
            ticks.append((at, texts[arm]))
            spot = (
                (effect.relative, effect.relative_low, effect.relative_high)
                if relative
                else (effect.value, effect.low, effect.high)
            )
            if np.isfinite(spot[0]):
                points[arm].append((at, *spot))
            at -= 1
        at -= 0.4
    fmt = ",.3~r" if money else "+.2%"
    traces = [
        trace
        for arm in arms
        if points[arm]
        for trace in _forest(np.array(points[arm]), texts[arm], marks[arm], fmt)
    ]
    what = "of control" if relative else "money per customer" if money else "% of customers"
    heading = "Average effect relative to control" if relative else "Average effect"
    return figure(
        traces,
        title=heading,
        subtitle=f"against control on {int(evaluation.campaign['rows']):,} test rows, {evaluation.confidence:.0%} intervals · definition: ate",
        x={
            "title": {
                "text": f"difference to control ({'%' if relative else ''}{' ' if relative else ''}{what})"
            },
            "tickformat": "" if money else "~%",
            "nticks": 6,
            "zeroline": True,
            "zerolinewidth": 2,
        },
        y={
            "tickmode": "array",
            "tickvals": [where for where, _ in ticks],
            "ticktext": [text for _, text in ticks],
            "range": [at + 0.6, 0.8],
            "showgrid": False,
            "zeroline": False,
        },
        height=130 + 27 * len(ticks),
        showlegend=False,
    )


def funnel_figure(evaluation: Evaluation, *, names: Names | None = None) -> go.Figure:
    """Share of customers that reach each stage, per arm, with intervals (plain means).

    Parameters
    ----------
    evaluation : Evaluation
        From :func:`uplift.evaluate`.
    names : Names, optional
        Display names of arms, stages and features.

    Returns
    -------
    plotly.graph_objects.Figure
    """
    marks = arm_marks(evaluation.arms)
    texts = labels((names or Names()).all_arms(evaluation.arms))
    stages = [stage for stage in evaluation.stages if stage != VALUE_STAGE]
    means = {(r["stage"], r["arm"]): r for r in evaluation.rates.to_dict("records")}
    traces = []
    for arm, name in zip(evaluation.arms, texts, strict=True):
        values, low, high = np.array(
            [[means[stage, arm][key] for key in ("value", "low", "high")] for stage in stages], float
        ).T
        bars = {"error_y": error_bars(values, low, high, colour=GREY, thickness=1.2, width=2)}
        traces.append(
            go.Bar(
                x=np.arange(len(stages)),
                y=values,
                name=name,
                marker={"color": marks[arm].colour},
                hovertemplate="%{y:.2%}",
                hoverlabel={"namelength": -1},
                **(bars if with_interval(low, high).all() else {}),
            )
        )
    return figure(
        traces,
        title="Funnel by arm",
        subtitle=f"share of all customers of the arm, {evaluation.confidence:.0%} intervals",
        x={
            "tickmode": "array",
            "tickvals": np.arange(len(stages)),
            "ticktext": labels(stages, length=16),
            "showgrid": False,
            "title": {"text": "stage of the chain"},
        },
        y={
            "title": {"text": "reached the stage (% of customers)"},
            "tickformat": "~%",
            "nticks": 6,
            "rangemode": "tozero",
        },
        height=400,
        barmode="group",
    )


def balance_figure(
    checks: Any, *, top: int = LOVE_PLOT_FEATURES, names: Names | None = None
) -> go.Figure | None:
    """Love plot: standardised mean difference of the least balanced features, one mark per arm.

    Parameters
    ----------
    checks : CheckReport or list of dict
        The check ``balance_smd`` holds the differences.
    top : int
        Features shown, by their largest absolute difference.
    names : Names, optional
        Display names of arms, stages and features.

    Returns
    -------
    Figure or None
        None when the checks hold no differences.
    """
    found = balance_rows(checks)
    if not found.rows:
        return None
    largest: dict[str, float] = {}
    for row in found.rows:
        largest[row.feature] = max(largest.get(row.feature, 0.0), abs(row.smd))
    features = sorted(largest, key=lambda name: -largest[name])[:top]
    place = {name: -position for position, name in enumerate(features)}
    arms = list(dict.fromkeys(row.arm for row in found.rows))
    marks = {arm: Mark(OKABE_ITO[i % 6], symbol=SYMBOLS[i % 6]) for i, arm in enumerate(arms)}
    traces = []
    for arm, name in zip(arms, labels((names or Names()).all_arms(arms)), strict=True):
        rows = [row for row in found.rows if row.arm == arm and row.feature in place]
        traces.append(
            go.Scatter(
                x=[row.smd for row in rows],
                y=[place[row.feature] for row in rows],
                mode="markers",
                name=name,
                marker={"color": marks[arm].colour, "symbol": marks[arm].symbol, "size": 9, "opacity": 0.9},
                hovertemplate="%{x:+.3f} standard deviations",
                hoverlabel={"namelength": -1},
            )
        )
    reach = max(1.15 * found.limit, 1.1 * max(largest.values()))
    shown = f"{len(features)} of {len(largest)} features" if len(features) < len(largest) else "all features"
    return figure(
        traces,
        title="Balance of the features",
        subtitle=f"{shown}, largest difference first · check: balance_smd, dashed at ±{found.limit:g}",
        x={
            "title": {"text": "difference to control (standard deviations)"},
            "range": [-reach, reach],
            "nticks": 6,
            "zeroline": True,
            "zerolinewidth": 1,
        },
        y={
            "tickmode": "array",
            "tickvals": [place[name] for name in features],
            "ticktext": labels(features, length=22),
            "range": [-len(features) + 0.4, 0.6],
            "zeroline": False,
        },
        height=150 + 24 * len(features),
        shapes=[
            {
                "type": "line", "x0": side * found.limit, "x1": side * found.limit, "yref": "paper", "y0": 0, "y1": 1,
                "line": {"color": GREY, "dash": "dash", "width": 1.5},
            }
            for side in (-1, 1)
        ],
    )  # fmt: skip


def _forest(points: np.ndarray, name: str, mark: Mark, fmt: str) -> list[go.Scatter]:
    known = with_interval(*points.T[2:])
    traces = []
    for some, hollow in ((points[known], False), (points[~known], True)):
        if not len(some):
            continue
        at, value, low, high = some.T
        traces.append(
            go.Scatter(
                x=value,
                y=at,
                mode="markers",
                name=name,
                marker={"color": mark.colour, "symbol": mark.symbol + "-open" * hollow, "size": 10},
                error_x=None if hollow else error_bars(value, low, high, colour=mark.colour),
                hovertemplate=f"%{{x:{fmt}}}{', no interval' * hollow}",
                hoverlabel={"namelength": -1},
            )
        )
    return traces
