"""Figures for notebooks and for the report: each takes a result and returns a plotly Figure."""

from __future__ import annotations

from uplift.reporting.figures.experiment import balance_figure, effects_figure, funnel_figure
from uplift.reporting.figures.models import deciles_figure, qini_figure, scores_figure, uplift_figure
from uplift.reporting.figures.plan import allocation_figure, budget_figure
from uplift.reporting.figures.training import training_figure

__all__ = [
    "allocation_figure",
    "balance_figure",
    "budget_figure",
    "deciles_figure",
    "effects_figure",
    "funnel_figure",
    "qini_figure",
    "scores_figure",
    "training_figure",
    "uplift_figure",
]
