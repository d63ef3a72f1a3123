"""Who responds? Predicted effects, four kinds of customers, and segments."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import plotly.graph_objects as go

from uplift.errors import EvaluationError, did_you_mean
from uplift.insight import Insight
from uplift.insight.content import Quadrants, Segments
from uplift.reporting.figures.axes import (
    effect_axis,
    effect_axis_with_zero,
    hover,
    pair,
    per,
    row_axis,
    ticks,
)
from uplift.reporting.names import Names
from uplift.reporting.numbers import percent
from uplift.reporting.theme import GREY, OKABE_ITO, arm_marks, error_bars, figure, label, labels

Part = TypeVar("Part", Quadrants, Segments)
QUADRANT_MARKS = (
    (OKABE_ITO[2], "circle"),
    (OKABE_ITO[0], "square"),
    (OKABE_ITO[4], "diamond"),
    (OKABE_ITO[1], "x"),
)


def spread_figure(insight: Insight, stage: str | None = None, *, names: Names | None = None) -> go.Figure:
    """Distribution of the predicted effects, one outline per arm.

    Parameters
    ----------
    insight : Insight
        From :func:`uplift.explain`.
    stage : str, optional
        Default: the stage that was explained.
    names : Names, optional
        Display names of arms, stages and features.

    Returns
    -------
    plotly.graph_objects.Figure

    Raises
    ------
    EvaluationError
        Unknown stage.
    """
    stage = insight.stage if stage is None else stage
    found = [one for one in insight.spread if one.stage == stage]
    if not found:
        raise EvaluationError(
            f"there is no stage {stage!r}; {did_you_mean(stage, [one.stage for one in insight.spread])}"
        )
    called = names or Names()
    marks = arm_marks(insight.all_arms)
    texts = labels(called.all_arms([one.arm for one in found]))
    traces = []
    for one, text in zip(found, texts, strict=True):
        mark, edges = marks[one.arm], np.array(one.edges)
        traces.append(
            go.Scatter(
                x=(edges[1:] + edges[:-1]) / 2, y=np.array(one.shares), mode="lines", name=text,
                line={"color": mark.colour, "dash": mark.dash, "width": 2, "shape": "hvh"},
                fill="tozeroy", fillcolor=mark.fill(0.12),
                hovertemplate=f"%{{y:.1%}} of customers near %{{x:{hover(stage)}}}", hoverlabel={"namelength": -1},
            )
        )  # fmt: skip
    return figure(
        traces,
        title=f"Predicted effects: {label(insight.model)}",
        subtitle=f"{label(called.stage(stage))}, {insight.rows:,} test rows · both ends hold what lies beyond",
        x=effect_axis_with_zero(stage, "predicted effect", nticks=7),
        y={"title": {"text": "share of customers"}, "tickformat": "~%", "nticks": 6, "rangemode": "tozero"},
        height=400,
    )  # fmt: skip


def quadrants_figure(insight: Insight, arm: str, *, names: Names | None = None) -> go.Figure:
    """Some customers by predicted outcome without a coupon and predicted effect, marked by their quadrant.

    Parameters
    ----------
    insight : Insight
        From :func:`uplift.explain`.
    arm : str
        Name of the arm.
    names : Names, optional
        Display names of arms, stages and features.

    Returns
    -------
    plotly.graph_objects.Figure

    Raises
    ------
    EvaluationError
        Unknown arm.
    """
    found, stage, called = _of_arm(insight.quadrants, insight.arm(arm)), insight.stage, names or Names()
    points = np.array(found.points, float).reshape(-1, 3)
    traces = []
    for code, (group, (colour, symbol)) in enumerate(zip(found.groups, QUADRANT_MARKS, strict=True)):
        x, y, _ = points[points[:, 2] == code].T
        traces.append(
            go.Scatter(
                x=x, y=y, mode="markers", name=f"{group.name} ({percent(group.share, digits=0)})",
                marker={"color": colour, "symbol": symbol, "size": 7, "opacity": 0.75},
                hovertemplate=f"without a coupon %{{x:{hover(stage)}}}, effect %{{y:{hover(stage)}}}",
            )
        )  # fmt: skip
    right = float(points[:, 0].max()) if len(points) else 1.0
    lines = [
        (0.0, right, 0.0, 0.0),
        (0.0, right, found.effect, found.effect),
        (found.base, found.base, 0.0, found.effect),
    ]
    return figure(
        traces,
        title="Four kinds of customers",
        subtitle=f"{pair(stage, arm, called)} · {len(points)} of {insight.rows:,} test rows, by {label(insight.model)}",
        x={
            "title": {"text": f"predicted {label(called.stage(stage))} without a coupon ({per(stage)})"},
            "tickformat": ticks(stage), "nticks": 6,
        },
        y=effect_axis(stage, "predicted effect"),
        height=460,
        shapes=[
            {"type": "line", "x0": x0, "x1": x1, "y0": y0, "y1": y1, "line": {"color": GREY, "dash": "dash", "width": 1.5}}
            for x0, x1, y0, y1 in lines
        ],
    )  # fmt: skip


def segments_figure(insight: Insight, arm: str, *, names: Names | None = None) -> go.Figure:
    """Predicted and observed effect of every segment, highest predicted effect first.

    Parameters
    ----------
    insight : Insight
        From :func:`uplift.explain`.
    arm : str
        Name of the arm.
    names : Names, optional
        Display names of arms, stages and features.

    Returns
    -------
    plotly.graph_objects.Figure

    Raises
    ------
    EvaluationError
        Unknown arm, or there are no segments.
    """
    found, stage = _of_arm(insight.segments, insight.arm(arm)), insight.stage
    colour = arm_marks(insight.all_arms)[arm].colour
    place = np.arange(len(found.segments))[::-1]
    ends = np.array(
        [[one.observed.effect, one.observed.low, one.observed.high] for one in found.segments], float
    )
    measured, certain = np.isfinite(ends[:, 0]), np.isfinite(ends).all(axis=1)
    words = [label(one.words, length=90) for one in found.segments]
    traces = []
    for some, hollow in ((certain, False), (measured & ~certain, True)):
        if some.any():
            value, low, high = ends[some].T
            traces.append(
                go.Scatter(
                    x=value, y=place[some], mode="markers", name="observed, no interval" if hollow else "observed",
                    error_x=None if hollow else error_bars(value, low, high, colour=colour),
                    marker={"color": colour, "size": 10, "symbol": "circle-open" if hollow else "circle"},
                    text=[word for word, one in zip(words, some, strict=True) if one],
                    hovertemplate=f"%{{x:{hover(stage)}}}<br>%{{text}}",
                )
            )  # fmt: skip
    traces.append(
        go.Scatter(
            x=[one.predicted for one in found.segments], y=place, mode="markers", name="predicted",
            marker={"color": GREY, "size": 9, "symbol": "diamond-open"}, text=words,
            hovertemplate=f"%{{x:{hover(stage)}}}<br>%{{text}}",
        )
    )  # fmt: skip
    return figure(
        traces,
        title="Effect by segment",
        subtitle=f"{pair(stage, arm, names or Names())} · intervals hold together with {percent(insight.confidence, digits=0)}",
        x=effect_axis_with_zero(stage, "effect"),
        y=row_axis(
            place,
            [f"{at}: {percent(one.share, digits=0)}" for at, one in enumerate(found.segments, start=1)],
        )
        | {"title": {"text": "segment: share of customers"}},
        height=150 + 34 * len(place),
    )


def _of_arm(parts: tuple[Part, ...], arm: str) -> Part:
    for one in parts:
        if one.arm == arm:
            return one
    raise EvaluationError(f"nothing of the kind was computed for arm {arm!r}; the campaign has no features.")
