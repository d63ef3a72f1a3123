"""Are predicted effects of the right size? Observed against predicted effect by tenth."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from uplift.errors import EvaluationError, did_you_mean
from uplift.metrics.evaluation import Evaluation
from uplift.reporting.figures.axes import effect_axis, hover, pair, per, refuse_unknown, ticks
from uplift.reporting.names import Names
from uplift.reporting.numbers import metric_unit
from uplift.reporting.theme import GREY, error_bars, figure, label, model_marks, with_interval


def calibration_figure(
    evaluation: Evaluation, model: str, stage: str, arm: str, *, names: Names | None = None
) -> go.Figure:
    """Observed against mean predicted effect by tenth of the ranking; on the dashed line the predictions are right.

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
        Unknown model, stage or arm, or a model that only ranks: it predicts no effects.
    """
    refuse_unknown(evaluation, stage, arm)
    if model not in evaluation.models:
        raise EvaluationError(f"there is no model {model!r}; {did_you_mean(model, evaluation.models)}")
    if model in evaluation.uncalibrated:
        raise EvaluationError(f"model {model!r} only ranks: it predicts no effects that could be calibrated.")
    rows = evaluation.groups
    rows = rows[(rows["model"] == model) & (rows["stage"] == stage) & (rows["arm"] == arm)]
    mark = model_marks(evaluation.models, evaluation.uncalibrated)[model]
    predicted, observed, low, high = (
        rows[key].to_numpy(float) for key in ("predicted", "observed", "low", "high")
    )
    certain = with_interval(low, high) & (high > low)
    traces = []
    if len(rows):
        ends = np.array([predicted.min(), predicted.max()])
        traces.append(
            go.Scatter(
                x=ends, y=ends, mode="lines", name="right size", hoverinfo="skip",
                line={"color": GREY, "width": 1.5, "dash": "dash"},
            )
        )  # fmt: skip
    for some, hollow in ((certain, False), (~certain, True)):
        if not some.any():
            continue
        traces.append(
            go.Scatter(
                x=predicted[some], y=observed[some], mode="markers",
                name="observed, no interval" if hollow else "observed",
                error_y=None if hollow else error_bars(
                    observed[some], low[some], high[some], colour=mark.colour, thickness=1.5, width=3
                ),
                marker={"color": mark.colour, "size": 9, "symbol": "circle-open" if hollow else "circle"},
                customdata=rows["group"].to_numpy(int)[some],
                hovertemplate=f"tenth %{{customdata}}: predicted %{{x:{hover(stage)}}}, observed %{{y:{hover(stage)}}}<extra></extra>",
            )
        )  # fmt: skip
    return figure(
        traces,
        title=f"Calibration: {label(model)}",
        subtitle=f"{pair(stage, arm, names or Names())} · {_said(evaluation, model, stage, arm)}",
        x={"title": {"text": f"predicted effect ({per(stage)})"}, "tickformat": ticks(stage), "nticks": 6},
        y=effect_axis(stage, "observed effect"),
        height=400,
    )


def _said(evaluation: Evaluation, model: str, stage: str, arm: str) -> str:
    """Slope and error, as far as they are known."""
    rows = evaluation.scores
    rows = rows[(rows["model"] == model) & (rows["stage"] == stage) & (rows["arm"] == arm)]
    parts = []
    for metric in ("calibration_slope", "calibration_error"):
        row = rows[rows["metric"] == metric]
        if row.empty:
            continue
        unit = metric_unit(metric, stage)
        value, low, high = (float(row[key].iloc[0]) for key in ("value", "low", "high"))
        spread = f" ({unit.interval(low, high)})" if np.isfinite(low) and np.isfinite(high) else ""
        parts.append(f"{metric} {unit.show(value)}{spread}")
    return ", ".join(parts) or "no calibration_slope"
