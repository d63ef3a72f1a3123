"""Who responds? Curves, tenths and scores of every model at one stage and arm."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import plotly.graph_objects as go

from uplift.arms import VALUE_STAGE
from uplift.errors import EvaluationError, did_you_mean
from uplift.metrics.definitions import HEADLINE, describe
from uplift.metrics.evaluation import Evaluation
from uplift.reporting.theme import GREY, Mark, figure, label, labels, model_marks

BAND = "band"
"""`meta` of the traces that are bands, so that a page can switch them."""


def qini_figure(
    evaluation: Evaluation, stage: str, arm: str, *, bands: Collection[str] | None = None
) -> go.Figure:
    """Qini curves (V4): outcome gained per customer when the best q of them are treated.

    Parameters
    ----------
    evaluation : Evaluation
    stage, arm : str
        Which comparison with control.
    bands : collection of str, optional
        Models whose pointwise band is shown at first; default all.

    Raises
    ------
    EvaluationError
        Unknown stage or arm.
    """
    return _curves(evaluation, stage, arm, "gain", HEADLINE, "Qini curve", bands)


def uplift_figure(
    evaluation: Evaluation, stage: str, arm: str, *, bands: Collection[str] | None = None
) -> go.Figure:
    """Uplift curves (V2 / n): mean difference among the treated share, times the share. See :func:`qini_figure`."""
    metric = "qini_per_capita" if stage == VALUE_STAGE else "auuc_sklift"
    return _curves(evaluation, stage, arm, "lift", metric, "Uplift curve", bands)


def deciles_figure(evaluation: Evaluation, model: str, stage: str, arm: str) -> go.Figure:
    """Predicted against observed effect by tenth of the ranking, 1 = highest predicted effect.

    A model that only ranks has no predicted effects: then the observed ones stand alone.

    Raises
    ------
    EvaluationError
        Unknown model, stage or arm.
    """
    _known(evaluation, stage, arm)
    if model not in evaluation.models:
        raise EvaluationError(f"there is no model {model!r}; {did_you_mean(model, evaluation.models)}")
    rows = evaluation.groups
    rows = rows[(rows["model"] == model) & (rows["stage"] == stage) & (rows["arm"] == arm)]
    mark = _marks(evaluation)[model]
    observed = rows["observed"].to_numpy(float)
    traces = [
        go.Scatter(
            x=rows["group"].to_numpy(int),
            y=observed,
            error_y={
                "type": "data",
                "symmetric": False,
                "array": rows["high"].to_numpy(float) - observed,
                "arrayminus": observed - rows["low"].to_numpy(float),
                "thickness": 1.5,
                "width": 3,
                "color": mark.colour,
            },
            mode="markers",
            name="observed",
            marker={"color": mark.colour, "size": 9, "symbol": "circle"},
            hovertemplate=f"tenth %{{x}}: %{{y:{_hover(stage)}}}<extra>observed</extra>",
        )
    ]
    if model not in evaluation.uncalibrated:
        traces.append(
            go.Scatter(
                x=rows["group"].to_numpy(int),
                y=rows["predicted"].to_numpy(float),
                mode="lines+markers",
                name="predicted",
                line={"color": GREY, "width": 2, "dash": "dash"},
                marker={"color": GREY, "size": 8, "symbol": "diamond-open"},
                hovertemplate=f"tenth %{{x}}: %{{y:{_hover(stage)}}}<extra>predicted</extra>",
            )
        )
    return figure(
        traces,
        title=f"Effect by tenth: {label(model)}",
        subtitle=f"{label(stage)}, {label(arm)} against control · definition: ate within each tenth",
        x={
            "title": {"text": "tenth of customers, 1 = highest predicted effect"},
            "dtick": 1,
            "showgrid": False,
        },
        y=_effect_axis(stage, "effect"),
        height=400,
    )


def scores_figure(evaluation: Evaluation, stage: str, arm: str, metric: str = HEADLINE) -> go.Figure:
    """One metric of every model with its interval; the dashed line is a random ranking.

    Raises
    ------
    EvaluationError
        Unknown stage, arm or metric.
    """
    _known(evaluation, stage, arm)
    rows = evaluation.scores
    rows = rows[(rows["stage"] == stage) & (rows["arm"] == arm) & (rows["metric"] == metric)]
    if rows.empty:
        options = evaluation.scores["metric"].unique()
        raise EvaluationError(
            f"there is no metric {metric!r} at stage {stage!r}; {did_you_mean(metric, options)}"
        )
    marks, names = _marks(evaluation), labels(rows["model"])
    place = np.arange(len(rows))[::-1]
    traces = []
    for at, name, row in zip(place.tolist(), names, rows.to_dict("records"), strict=True):
        mark = marks[row["model"]]
        traces.append(
            go.Scatter(
                x=[row["value"]],
                y=[at],
                error_x={
                    "type": "data",
                    "symmetric": False,
                    "array": [row["high"] - row["value"]],
                    "arrayminus": [row["value"] - row["low"]],
                    "thickness": 2,
                    "width": 4,
                    "color": mark.colour,
                },
                mode="markers",
                name=name,
                marker={"color": mark.colour, "size": 10, "symbol": mark.symbol},
                hovertemplate=f"%{{x:{_hover(stage, metric)}}}",
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
            "title": {"text": f"{_outcome(stage)} ({_per(stage)})"},
            "tickformat": _ticks(stage),
        }
    )
    return figure(
        traces,
        title=label(definition.title, length=60),
        subtitle=f"{label(stage)}, {label(arm)} against control · definition: {metric}",
        x={**axis, "nticks": 6},
        y={
            "tickmode": "array",
            "tickvals": place,
            "ticktext": names,
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
    metric: str,
    title: str,
    bands: Collection[str] | None,
) -> go.Figure:
    _known(evaluation, stage, arm)
    marks = _marks(evaluation)
    names = dict(zip(evaluation.models, labels(evaluation.models), strict=True))
    band_traces, lines = [], []
    for model in evaluation.models:
        curve, mark = evaluation.curves[model, stage, arm], marks[model]
        low, high = getattr(curve, f"{kind}_low"), getattr(curve, f"{kind}_high")
        shown = True if bands is None else model in bands
        band_traces.append(_band(curve.share, low, high, names[model], mark, visible=shown))
        lines.append(
            go.Scatter(
                x=curve.share,
                y=getattr(curve, kind),
                mode="lines",
                name=names[model],
                legendgroup=names[model],
                line={"color": mark.colour, "dash": mark.dash, "width": 2.5},
                hovertemplate=f"best %{{x:.0%}} treated: %{{y:{_hover(stage)}}}",
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
        subtitle=f"{label(stage)}, {label(arm)} against control · definition: {metric}, bands {evaluation.confidence:.0%}",
        x={
            "title": {"text": "share of customers treated, highest predicted effect first"},
            "tickformat": ".0%",
            "range": [0, 1],
            "dtick": 0.2,
        },
        y=_effect_axis(stage, f"incremental {label(stage)}"),
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


def _effect_axis(stage: str, what: str) -> dict[str, Any]:
    return {"title": {"text": f"{what} ({_per(stage)})"}, "tickformat": _ticks(stage), "nticks": 7}


def _per(stage: str) -> str:
    return "money per customer" if stage == VALUE_STAGE else "% of customers"


def _outcome(stage: str) -> str:
    return f"incremental {label(stage)}"


def _ticks(stage: str) -> str:
    return "" if stage == VALUE_STAGE else "~%"


def _hover(stage: str, metric: str = "") -> str:
    if "sklift" in metric:
        return ".3f"
    return ",.4~r" if stage == VALUE_STAGE else ".3%"


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


def _known(evaluation: Evaluation, stage: str, arm: str) -> None:
    for kind, wanted, options in (("stage", stage, evaluation.stages), ("arm", arm, evaluation.arms[1:])):
        if wanted not in options:
            raise EvaluationError(f"there is no {kind} {wanted!r}; {did_you_mean(wanted, options)}")
