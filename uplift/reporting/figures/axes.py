"""Axes of effects: one way to write their units and their numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from uplift.arms import VALUE_STAGE
from uplift.errors import EvaluationError, did_you_mean
from uplift.metrics.evaluation import Evaluation
from uplift.reporting.names import Names
from uplift.reporting.theme import label


def effect_axis(stage: str, what: str) -> dict[str, Any]:
    """An axis in outcome per customer."""
    return {"title": {"text": f"{what} ({per(stage)})"}, "tickformat": ticks(stage), "nticks": 7}


def effect_axis_with_zero(stage: str, what: str, *, nticks: int = 6) -> dict[str, Any]:
    """An axis in outcome per customer on which no effect stands out."""
    return effect_axis(stage, what) | {"nticks": nticks, "zeroline": True, "zerolinewidth": 2}


def row_axis(places: np.ndarray, texts: list[str]) -> dict[str, Any]:
    """An axis of named rows, one mark each, without a grid."""
    return {
        "tickmode": "array", "tickvals": places, "ticktext": texts,
        "range": [-0.6, len(places) - 0.4], "showgrid": False, "zeroline": False,
    }  # fmt: skip


def per(stage: str) -> str:
    """The unit in words."""
    return "money per customer" if stage == VALUE_STAGE else "% of customers"


def pair(stage: str, arm: str, called: Names) -> str:
    """What is compared, for a subtitle."""
    return f"{label(called.stage(stage))}, {label(called.arm(arm))} against control"


def ticks(stage: str) -> str:
    """Format of ticks."""
    return "" if stage == VALUE_STAGE else "~%"


def hover(stage: str, metric: str = "") -> str:
    """Format of a number under the pointer."""
    if "sklift" in metric:
        return ".3f"
    return ",.4~r" if stage == VALUE_STAGE else ".3%"


def refuse_unknown(evaluation: Evaluation, stage: str, arm: str) -> None:
    """Refuse a stage or an arm that was not evaluated.

    Raises
    ------
    EvaluationError
        There is none of that name; the nearest is named.
    """
    for kind, wanted, options in (("stage", stage, evaluation.stages), ("arm", arm, evaluation.arms[1:])):
        if wanted not in options:
            raise EvaluationError(f"there is no {kind} {wanted!r}; {did_you_mean(wanted, options)}")
