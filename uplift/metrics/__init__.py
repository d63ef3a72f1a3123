"""Metrics: one sufficient-statistics table, named definitions, intervals on everything."""

from uplift.metrics.arm_scores import Curve
from uplift.metrics.cost_curve import CostCurve
from uplift.metrics.cross_fit import cross_fitted
from uplift.metrics.definitions import DEFINITIONS, HEADLINE, Definition, describe
from uplift.metrics.evaluation import Evaluation, evaluate
from uplift.metrics.policy_result import PolicyValue, Versus
from uplift.metrics.policy_value import policy_value
from uplift.metrics.power import Power, detectable, rows_for_qini
from uplift.metrics.score_table import ScoreTable
from uplift.metrics.shrinkage import Recalibration, recalibration
from uplift.metrics.streamed import StreamedEvaluation, evaluate_stream

__all__ = [
    "DEFINITIONS",
    "HEADLINE",
    "CostCurve",
    "Curve",
    "Definition",
    "Evaluation",
    "PolicyValue",
    "Power",
    "Recalibration",
    "ScoreTable",
    "StreamedEvaluation",
    "Versus",
    "cross_fitted",
    "describe",
    "detectable",
    "evaluate",
    "evaluate_stream",
    "policy_value",
    "recalibration",
    "rows_for_qini",
]
