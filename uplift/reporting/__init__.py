"""The report: figures for notebooks, and one self-contained HTML file for everybody else."""

from __future__ import annotations

from uplift.reporting.figures import (
    allocation_figure,
    balance_figure,
    budget_figure,
    calibration_figure,
    curve_band_figure,
    deciles_figure,
    dependence_figure,
    effects_figure,
    funnel_figure,
    importance_figure,
    qini_figure,
    quadrants_figure,
    scores_figure,
    segments_figure,
    shap_figure,
    spend_figure,
    spread_figure,
    toc_figure,
    training_figure,
    uplift_figure,
)
from uplift.reporting.page import report

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
    "report",
    "scores_figure",
    "segments_figure",
    "shap_figure",
    "spend_figure",
    "spread_figure",
    "toc_figure",
    "training_figure",
    "uplift_figure",
]
