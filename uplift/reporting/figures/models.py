"""Who responds? Curves, tenths and scores of every model at one stage and arm."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import plotly.graph_objects as go

from uplift.errors import EvaluationError, did_you_mean
from uplift.metrics.definitions import HEADLINE, describe
from uplift.metrics.evaluation import Evaluation
from uplift.reporting.figures.axes import effect_axis, hover, pair, per, refuse_unknown, ticks
from uplift.reporting.names import Names
from uplift.reporting.theme import (
    GREY,
    Mark,
    error_bars,
    figure,
    label,
    labels,
    model_marks,
    with_interval,
)

BAND = "band"
"""`meta` of the traces that are bands, so that a page can switch them."""
TOC_FROM = 0.05
"""Smallest share that a TOC curve shows."""


def qini_figure(
    evaluation: Evaluation,
    stage: str,
    arm: str,
    *,
    bands: Collection[str] | None = None,
    names: Names | None = None,
) -> go.Figure:
    """Qini curves (V4): outcome gained per customer when the best q of them are treated.

    Parameters
    ----------
    evaluation : Evaluation
    stage, arm : str
        Which comparison with control.
    bands : collection of str, optional
        Models whose pointwise band is shown at first; default all.
    names : Names, optional
        Labels of arms and stages.

    Returns
    -------
    plotly.graph_objects.Figure

    Raises
    ------
    EvaluationError
        Unknown stage or arm.
    """
    said = f"definition: {HEADLINE}, the area above the dashed line"
    return _curves(evaluation, stage, arm, "gain", said, "Qini curve", bands, names or Names())


def uplift_figure(
    evaluation: Evaluation,
    stage: str,
    arm: str,
    *,
    bands: Collection[str] | None = None,
    names: Names | None = None,
) -> go.Figure:
    """Uplift curves (V2 / n; Gutierrez and Gerardy 2017): mean difference among the treated share, times the share.

    Parameters as for :func:`qini_figure`. The curve has no metric id of its own: auuc_sklift is an area of V2
    without weights, and relative to an optimum.

    Parameters
    ----------
    evaluation : Evaluation
        From :func:`uplift.evaluate`.
    stage : str
        Stage of the chain, or ``"value"``.
    arm : str
        Name of the arm.
    bands : collection of str, optional
        Models whose pointwise band is shown at first; default all.
    names : Names, optional
        Display names of arms, stages and features.

    Returns
    -------
    plotly.graph_objects.Figure
    """
    said = "definition: curve V2 / n (Gutierrez and Gerardy 2017)"
    return _curves(evaluation, stage, arm, "lift", said, "Uplift curve", bands, names or Names())


def toc_figure(
    evaluation: Evaluation,
    stage: str,
    arm: str,
    *,
    bands: Collection[str] | None = None,
    names: Names | None = None,
) -> go.Figure:
    """TOC curves (Yadlowsky et al. 2021): effect among the treated share less that among all.

    Parameters as for :func:`qini_figure`. The first few per cent are left out: there the difference of two small means
    would set the scale.

    Parameters
    ----------
    evaluation : Evaluation
        From :func:`uplift.evaluate`.
    stage : str
        Stage of the chain, or ``"value"``.
    arm : str
        Name of the arm.
    bands : collection of str, optional
        Models whose pointwise band is shown at first; default all.
    names : Names, optional
        Display names of arms, stages and features.

    Returns
    -------
    plotly.graph_objects.Figure
    """
    said = "definition: TOC, whose mean over all shares is the autoc"
    return _curves(evaluation, stage, arm, "toc", said, "TOC curve", bands, names or Names())


def deciles_figure(
    evaluation: Evaluation, model: str, stage: str, arm: str, *, names: Names | None = None
) -> go.Figure:
    """Predicted against observed effect by tenth of the ranking, 1 = highest predicted effect.

    A model that only ranks has no predicted effects: then the observed ones stand alone.

    Parameters
    ----------
    evaluation : Evaluation
        From :func:`uplift.evaluate`.
    model : str
        Name of the model.
    stage : str
        Stage of the chain, or ``"value"``.
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
        Unknown model, stage or arm.
    """
    refuse_unknown(evaluation, stage, arm)
    if model not in evaluation.models:
        raise EvaluationError(f"there is no model {model!r}; {did_you_mean(model, evaluation.models)}")
    rows = evaluation.groups
    rows = rows[(rows["model"] == model) & (rows["stage"] == stage) & (rows["arm"] == arm)]
    mark = _marks(evaluation)[model]
    tenth = rows["group"].to_numpy(int)
    observed, low, high = (rows[key].to_numpy(float) for key in ("observed", "low", "high"))
    # Not one outcome in a tenth has no spread: that is no interval, and not one of width 0.
    known = with_interval(low, high) & (high > low)
    traces = [
        go.Scatter(
            x=tenth[known],
            y=observed[known],
            error_y=error_bars(
                observed[known], low[known], high[known], colour=mark.colour, thickness=1.5, width=3
            ),
            mode="markers",
            name="observed",
            marker={"color": mark.colour, "size": 9, "symbol": "circle"},
            hovertemplate=f"tenth %{{x}}: %{{y:{hover(stage)}}}<extra>observed</extra>",
        )
    ]
    if not known.all():
        traces.append(
            go.Scatter(
                x=tenth[~known],
                y=observed[~known],
                mode="markers",
                name="observed, no interval",
                marker={"color": mark.colour, "size": 9, "symbol": "circle-open"},
                hovertemplate=f"tenth %{{x}}: %{{y:{hover(stage)}}}<extra>no interval</extra>",
            )
        )
    if model not in evaluation.uncalibrated:
        traces.append(
            go.Scatter(
                x=tenth,
                y=rows["predicted"].to_numpy(float),
                mode="lines+markers",
                name="predicted",
                line={"color": GREY, "width": 2, "dash": "dash"},
                marker={"color": GREY, "size": 8, "symbol": "diamond-open"},
                hovertemplate=f"tenth %{{x}}: %{{y:{hover(stage)}}}<extra>predicted</extra>",
            )
        )
    return figure(
        traces,
        title=f"Effect by tenth: {label(model)}",
        subtitle=f"{pair(stage, arm, names or Names())} · definition: ate within each tenth",
        x={
            "title": {"text": "tenth of customers, 1 = highest predicted effect"},
            "dtick": 1,
            "showgrid": False,
        },
        y=effect_axis(stage, "effect"),
        height=400,
    )


def scores_figure(
    evaluation: Evaluation, stage: str, arm: str, metric: str = HEADLINE, *, names: Names | None = None
) -> go.Figure:
    """One metric of every model with its interval; the dashed line is a random ranking.

    A score without an interval is a hollow mark, without a value it is left out.

    Parameters
    ----------
    evaluation : Evaluation
        From :func:`uplift.evaluate`.
    stage : str
        Stage of the chain, or ``"value"``.
    arm : str
        Name of the arm.
    metric : str
        Definition id; default the headline.
    names : Names, optional
        Display names of arms, stages and features.

    Returns
    -------
    plotly.graph_objects.Figure

    Raises
    ------
    EvaluationError
        Unknown stage, arm or metric.
    """
    refuse_unknown(evaluation, stage, arm)
    rows = evaluation.scores
    rows = rows[(rows["stage"] == stage) & (rows["arm"] == arm) & (rows["metric"] == metric)]
    if rows.empty:
        options = evaluation.scores["metric"].unique()
        raise EvaluationError(
            f"there is no metric {metric!r} at stage {stage!r}; {did_you_mean(metric, options)}"
        )
    called = names or Names()
    marks, models = _marks(evaluation), labels(rows["model"])
    place = np.arange(len(rows))[::-1]
    traces = []
    for at, name, row in zip(place.tolist(), models, rows.to_dict("records"), strict=True):
        if not np.isfinite(row["value"]):
            continue
        mark = marks[row["model"]]
        value, low, high = (np.array([row[key]], float) for key in ("value", "low", "high"))
        known = bool(with_interval(low, high)[0])
        traces.append(
            go.Scatter(
                x=[row["value"]],
                y=[at],
                error_x=error_bars(value, low, high, colour=mark.colour) if known else None,
                mode="markers",
                name=name,
                marker={"color": mark.colour, "size": 10, "symbol": mark.symbol + "-open" * (not known)},
                hovertemplate=f"%{{x:{hover(stage, metric)}}}{', no interval' * (not known)}",
                showlegend=False,
            )
        )
    reference = evaluation.references
    reference = reference[
        (reference["stage"] == stage) & (reference["arm"] == arm) & (reference["metric"] == metric)
    ]
    shapes = [] if reference.empty else [_guide(float(reference["random"].iloc[0]))]
    definition = describe(metric)
    axis = (
        {"title": {"text": f"{metric} (ratio)"}}
        if "sklift" in metric
        else {
            "title": {"text": f"incremental {label(called.stage(stage))} ({per(stage)})"},
            "tickformat": ticks(stage),
        }
    )
    return figure(
        traces,
        title=label(definition.title, length=60),
        subtitle=f"{pair(stage, arm, called)} · definition: {metric}",
        x={**axis, "nticks": 6},
        y={
            "tickmode": "array",
            "tickvals": place,
            "ticktext": models,
            "range": [-0.6, len(rows) - 0.4],
            "showgrid": False,
            "zeroline": False,
        },
        height=130 + 34 * len(rows),
        shapes=shapes,
    )


def _curves(
    evaluation: Evaluation,
    stage: str,
    arm: str,
    kind: str,
    definition: str,
    title: str,
    bands: Collection[str] | None,
    called: Names,
) -> go.Figure:
    refuse_unknown(evaluation, stage, arm)
    marks = _marks(evaluation)
    names = dict(zip(evaluation.models, labels(evaluation.models), strict=True))
    band_traces, lines = [], []
    for model in evaluation.models:
        curve, mark = evaluation.curves[model, stage, arm], marks[model]
        low, high = getattr(curve, f"{kind}_low"), getattr(curve, f"{kind}_high")
        shown = True if bands is None else model in bands
        seen = curve.share >= (TOC_FROM if kind == "toc" else 0.0)
        known = with_interval(low, high) & seen
        if known.any():
            band_traces.append(
                _band(curve.share[known], low[known], high[known], names[model], mark, visible=shown)
            )
        lines.append(
            go.Scatter(
                x=curve.share[seen],
                y=getattr(curve, kind)[seen],
                mode="lines",
                name=names[model],
                legendgroup=names[model],
                line={"color": mark.colour, "dash": mark.dash, "width": 2.5},
                hovertemplate=f"best %{{x:.0%}} treated: %{{y:{hover(stage)}}}",
                hoverlabel={"namelength": -1},
            )
        )
    end = float(getattr(evaluation.curves[evaluation.models[0], stage, arm], kind)[-1])
    chord = go.Scatter(
        x=[0.0, 1.0],
        y=[0.0, end],
        mode="lines",
        name="random order",
        line={"color": GREY, "width": 1.5, "dash": "dash"},
        hoverinfo="skip",
    )
    return figure(
        [*band_traces, chord, *lines],
        title=title,
        subtitle=f"{pair(stage, arm, called)} · {definition}; bands {evaluation.confidence:.0%}",
        x={
            "title": {"text": "share of customers treated, highest predicted effect first"},
            "tickformat": ".0%",
            "range": [0, 1],
            "dtick": 0.2,
        },
        y=effect_axis(
            stage,
            "effect above the average one" if kind == "toc" else f"incremental {label(called.stage(stage))}",
        ),
        height=460,
    )


def _band(x: np.ndarray, low: np.ndarray, high: np.ndarray, name: str, mark: Mark, *, visible: bool) -> Any:
    return go.Scatter(
        x=np.concatenate([x, x[::-1]]),
        y=np.concatenate([high, low[::-1]]),
        fill="toself",
        fillcolor=mark.fill(),
        line={"width": 0, "color": mark.colour},
        mode="lines",
        hoverinfo="skip",
        name=f"{name}, band",
        legendgroup=name,
        showlegend=False,
        visible=visible,
        meta=BAND,
    )


def _marks(evaluation: Evaluation) -> dict[str, Mark]:
    return model_marks(evaluation.models, evaluation.uncalibrated)


def _guide(at: float) -> dict[str, Any]:
    return {
        "type": "line",
        "x0": at,
        "x1": at,
        "yref": "paper",
        "y0": 0,
        "y1": 1,
        "line": {"color": GREY, "dash": "dash", "width": 1.5},
    }
