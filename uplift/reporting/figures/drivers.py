"""What drives the effect? Importance of the features, effect by feature, and SHAP values of a surrogate."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from uplift.arms import VALUE_STAGE
from uplift.errors import EvaluationError, did_you_mean
from uplift.insight import Insight
from uplift.insight.content import Dependence
from uplift.metrics.definitions import HEADLINE
from uplift.reporting.figures.axes import effect_axis_with_zero, hover, pair, row_axis
from uplift.reporting.names import Names
from uplift.reporting.theme import GREY, OKABE_ITO, arm_marks, error_bars, figure, label, labels

LOW, HIGH = OKABE_ITO[5], OKABE_ITO[1]


def importance_figure(insight: Insight, arm: str, *, names: Names | None = None) -> go.Figure:
    """Loss of Qini when a feature is shuffled, with intervals, largest mean loss over the arms first.

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
        Unknown arm, or the importance was not computed.
    """
    arm = insight.arm(arm)
    found, stage = insight.importance, insight.stage
    if found is None:
        raise EvaluationError("the importance of the features was not computed; give explain() the model.")
    drops = {one.feature: one for one in found.drops if one.arm == arm}
    order = [name for name in found.ranked() if name in drops]
    place = np.arange(len(order))[::-1]
    value, low, high = np.array(
        [[drops[name].drop, drops[name].low, drops[name].high] for name in order], float
    ).T
    colour = arm_marks(insight.all_arms)[arm].colour
    shown = ".3f" if stage == VALUE_STAGE else ".4%"
    traces = [
        go.Scatter(
            x=value, y=place, mode="markers", name="drop", showlegend=False,
            error_x=error_bars(value, low, high, colour=colour), marker={"color": colour, "size": 9},
            hovertemplate=f"%{{x:{shown}}}<extra></extra>",
        )
    ]  # fmt: skip
    return figure(
        traces,
        title="Importance of the features",
        subtitle=f"{pair(stage, arm, names or Names())} · drop of {HEADLINE} when shuffled, {found.rows:,} of {found.of:,} test rows",
        x=effect_axis_with_zero(stage, "loss of Qini"),
        y=row_axis(place, labels(order, length=22)),
        height=140 + 27 * len(order),
    )


def dependence_figure(
    insight: Insight, feature: str | None, arm: str, *, names: Names | None = None
) -> go.Figure:
    """Mean predicted effect when everybody gets a value, and the effect of those who have such values.

    Parameters
    ----------
    insight : Insight
        From :func:`uplift.explain`.
    feature : str
        Name of the feature.
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
        Unknown feature or arm, or the dependence was not computed.
    """
    arm, stage = insight.arm(arm), insight.stage
    if not insight.dependence:
        raise EvaluationError("the effect by feature was not computed; give explain() the model.")
    by_name = {one.feature: one for one in insight.dependence}
    if feature is not None and feature not in by_name:
        raise EvaluationError(f"there is no feature {feature!r} here; {did_you_mean(feature, by_name)}")
    found = insight.dependence[0] if feature is None else by_name[feature]
    colour = arm_marks(insight.all_arms)[arm].colour
    bins = [one for one in found.bins if one.position is not None]
    at = np.array([one.position for one in bins], float)
    texts = [label(one.label) for one in bins]
    ends = np.array(
        [[one.observed[arm].effect, one.observed[arm].low, one.observed[arm].high] for one in bins], float
    ).reshape(-1, 3)
    certain = np.isfinite(ends).all(axis=1)
    number = hover(stage)
    traces = [
        go.Scatter(
            x=np.array(found.positions), y=np.array(found.effects[arm]), name="predicted, everybody alike",
            mode="markers" if found.kind == "categorical" else "lines+markers",
            line={"color": GREY, "width": 2, "dash": "dash"}, marker={"color": GREY, "size": 7, "symbol": "diamond-open"},
            text=[label(text) for text in found.labels], hovertemplate=f"%{{text}}: %{{y:{number}}}",
        ),
        go.Scatter(
            x=at, y=[one.predicted[arm] for one in bins], name="predicted, such customers", mode="markers",
            marker={"color": colour, "size": 9, "symbol": "diamond-open"}, text=texts, hovertemplate=f"%{{text}}: %{{y:{number}}}",
        ),
    ]  # fmt: skip
    if certain.any():
        value, low, high = ends[certain].T
        traces.append(
            go.Scatter(
                x=at[certain], y=value, name="observed, such customers", mode="markers",
                error_y=error_bars(value, low, high, colour=colour, thickness=1.5, width=3),
                marker={"color": colour, "size": 9}, hovertemplate=f"%{{text}}: %{{y:{number}}}",
                text=[text for text, one in zip(texts, certain, strict=True) if one],
            )
        )  # fmt: skip
    return figure(
        traces,
        title=f"Effect by {label(found.feature)}",
        subtitle=f"{pair(stage, arm, names or Names())} · partial dependence on {found.rows:,} customers; bars: ate in each range",
        x=_feature_axis(found, bins_at=at, bin_texts=texts),
        y=effect_axis_with_zero(stage, "effect", nticks=7),
        height=420,
    )


def shap_figure(insight: Insight, arm: str, *, names: Names | None = None) -> go.Figure:
    """SHAP values of the surrogate, one mark per customer, coloured by whether the value of the feature is low or high.

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
        Unknown arm, or SHAP values were not asked for.
    """
    arm, stage = insight.arm(arm), insight.stage
    found = next((one for one in insight.surrogates if one.arm == arm), None)
    if found is None:
        raise EvaluationError("there are no SHAP values; ask explain() for them with shap=True.")
    shown = [one for one in found.features if one.points]
    place = np.arange(len(shown))[::-1]
    # Every feature's marks in a fixed pattern across its row, so that the picture is the same every time.
    spot = np.concatenate([at + 0.28 * np.sin(2.4 * np.arange(len(one.points))) for at, one in zip(place, shown, strict=True)]) if shown else np.zeros(0)  # fmt: skip
    points = np.array([point for one in shown for point in one.points], float).reshape(-1, 2)
    scale = [[0.0, LOW], [0.5, GREY], [1.0, HIGH]]
    traces = [
        go.Scatter(
            x=points[:, 1], y=spot, mode="markers", name="customers", showlegend=False,
            marker={"color": points[:, 0], "colorscale": scale, "cmin": 0, "cmax": 1, "size": 5, "opacity": 0.7},
            hovertemplate=f"%{{x:{hover(stage)}}}<extra></extra>",
        ),
        *(
            go.Scatter(x=[None], y=[None], mode="markers", name=text, marker={"color": colour, "size": 9})
            for text, colour in (("low value", LOW), ("high value", HIGH))
        ),
    ]  # fmt: skip
    return figure(
        traces,
        title="SHAP values of a surrogate",
        subtitle=f"{pair(stage, arm, names or Names())} · boosted trees that copy {label(insight.model)} with R² {found.r2:.2f} on other rows",
        x=effect_axis_with_zero(stage, "contribution to the predicted effect"),
        y=row_axis(place, labels([one.feature for one in shown], length=22)),
        height=160 + 34 * len(shown),
    )


def _feature_axis(found: Dependence, *, bins_at: np.ndarray, bin_texts: list[str]) -> dict[str, object]:
    axis: dict[str, object] = {"title": {"text": label(found.feature)}, "showgrid": False, "zeroline": False}
    if found.kind == "numeric":
        return axis | {"nticks": 7}
    if found.kind == "time":
        return axis | {
            "tickmode": "array",
            "tickvals": list(found.positions[::2]),
            "ticktext": list(found.labels[::2]),
        }
    return axis | {
        "tickmode": "array", "tickvals": bins_at, "ticktext": [label(text, length=14) for text in bin_texts],
        "range": [-0.5, len(bins_at) - 0.5],
    }  # fmt: skip
