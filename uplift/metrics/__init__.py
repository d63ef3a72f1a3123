"""Metrics: one sufficient-statistics table, named definitions, intervals on everything."""

from uplift.metrics.definitions import DEFINITIONS, HEADLINE, Definition, describe
from uplift.metrics.evaluation import Curve, Evaluation, evaluate
from uplift.metrics.policy_value import PolicyValue, policy_value
from uplift.metrics.shrinkage import Recalibration, recalibration

__all__ = [
    "DEFINITIONS",
    "HEADLINE",
    "Curve",
    "Definition",
    "Evaluation",
    "PolicyValue",
    "Recalibration",
    "describe",
    "evaluate",
    "policy_value",
    "recalibration",
]
