"""Figures for notebooks and for the report: each takes a result and returns a plotly Figure."""

from __future__ import annotations

from uplift.reporting.figures.calibration import calibration_figure
from uplift.reporting.figures.curve_band import curve_band_figure
from uplift.reporting.figures.drivers import dependence_figure, importance_figure, shap_figure
from uplift.reporting.figures.experiment import balance_figure, effects_figure, funnel_figure
from uplift.reporting.figures.models import (
    deciles_figure,
    qini_figure,
    scores_figure,
    toc_figure,
    uplift_figure,
)
from uplift.reporting.figures.plan import allocation_figure, budget_figure
from uplift.reporting.figures.spend import spend_figure
from uplift.reporting.figures.training import training_figure
from uplift.reporting.figures.who import quadrants_figure, segments_figure, spread_figure

__all__ = [
    "allocation_figure",
    "balance_figure",
    "budget_figure",
    "calibration_figure",
    "curve_band_figure",
    "deciles_figure",
    "dependence_figure",
    "effects_figure",
    "funnel_figure",
    "importance_figure",
    "qini_figure",
    "quadrants_figure",
    "scores_figure",
    "segments_figure",
    "shap_figure",
    "spend_figure",
    "spread_figure",
    "toc_figure",
    "training_figure",
    "uplift_figure",
]
