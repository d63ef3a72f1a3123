"""uplift: from a randomised coupon campaign to a decision.

Campaign -> checks -> model -> Effects -> Evaluation / Allocation -> report, export. Names are imported when
first used, so that ``import uplift`` is quick and a missing library hurts only the part that needs it. No room
has the name of a public function: importing it would put the module in the function's place.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from typing import TYPE_CHECKING, Any

# OpenMP threads (torch, LightGBM) spin while they wait for each other: on a machine that also does something else
# a fit took up to ten times as long. Spinning briefly and then sleeping costs a few per cent on an idle machine
# (benchmarks/bench_threads.py). Read when those libraries load, so it is set here; what the user has set stays.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")

__version__ = "0.1.0"

_PUBLIC = {
    "Allocation": "uplift.allocation",
    "Arm": "uplift.arms",
    "Campaign": "uplift.campaign",
    "CampaignStream": "uplift.campaign_stream",
    "CostRule": "uplift.arms",
    "ECUP": "uplift.models.ecup",
    "Effects": "uplift.effects",
    "Evaluation": "uplift.metrics",
    "Policy": "uplift.policy",
    "UpliftError": "uplift.errors",
    "allocate": "uplift.allocation",
    "allocate_arrays": "uplift.allocation",
    "allocate_file": "uplift.allocation",
    "check": "uplift.checks",
    "cost_curve": "uplift.valued_curve",
    "evaluate": "uplift.metrics",
    "explain": "uplift.insight",
    "list_models": "uplift.models.registry",
    "load_dataset": "uplift.datasets",
    "load_model": "uplift.models.registry",
    "make_model": "uplift.models.registry",
    "measure": "uplift.measurement",
    "recalibration": "uplift.metrics",
    "policy_value": "uplift.metrics.policy_value",
    "report": "uplift.reporting",
    "run": "uplift.pipeline",
    "simulate": "uplift.simulation",
    "tune": "uplift.tuning",
}

__all__ = [
    "__version__",
    "Allocation",
    "Arm",
    "Campaign",
    "CampaignStream",
    "CostRule",
    "ECUP",
    "Effects",
    "Evaluation",
    "Policy",
    "UpliftError",
    "allocate",
    "allocate_arrays",
    "allocate_file",
    "check",
    "cost_curve",
    "evaluate",
    "explain",
    "list_models",
    "load_dataset",
    "load_model",
    "make_model",
    "measure",
    "recalibration",
    "policy_value",
    "report",
    "run",
    "simulate",
    "tune",
]

if TYPE_CHECKING:
    from uplift.allocation import Allocation, allocate, allocate_arrays, allocate_file
    from uplift.arms import Arm, CostRule
    from uplift.campaign import Campaign
    from uplift.campaign_stream import CampaignStream
    from uplift.checks import check
    from uplift.datasets import load_dataset
    from uplift.effects import Effects
    from uplift.errors import UpliftError
    from uplift.insight import explain
    from uplift.measurement import measure
    from uplift.metrics import Evaluation, evaluate, recalibration
    from uplift.metrics.policy_value import policy_value
    from uplift.models.ecup import ECUP
    from uplift.models.registry import list_models, load_model, make_model
    from uplift.pipeline import run
    from uplift.policy import Policy
    from uplift.reporting import report
    from uplift.simulation import simulate
    from uplift.tuning import tune
    from uplift.valued_curve import cost_curve


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        # Rooms too, as the documentation writes them: uplift.metrics.detectable, uplift.members.refit_members.
        if not name.startswith("_") and importlib.util.find_spec(f"uplift.{name}") is not None:
            return importlib.import_module(f"uplift.{name}")
        raise AttributeError(f"module 'uplift' has no attribute {name!r}")
    value = getattr(importlib.import_module(_PUBLIC[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
