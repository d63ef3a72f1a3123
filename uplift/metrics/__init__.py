"""Metrics: one sufficient-statistics table, named definitions, intervals on everything."""

from uplift.metrics.definitions import DEFINITIONS, HEADLINE, Definition, describe
from uplift.metrics.evaluation import Curve, Evaluation, evaluate
from uplift.metrics.policy_value import PolicyValue, policy_value
from uplift.metrics.score_table import ScoreTable
from uplift.metrics.shrinkage import Recalibration, recalibration
from uplift.metrics.streamed import StreamedEvaluation, evaluate_stream

__all__ = [
    "DEFINITIONS",
    "HEADLINE",
    "Curve",
    "Definition",
    "Evaluation",
    "PolicyValue",
    "Recalibration",
    "ScoreTable",
    "StreamedEvaluation",
    "describe",
    "evaluate",
    "evaluate_stream",
    "policy_value",
    "recalibration",
]
