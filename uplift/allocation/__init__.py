"""Who should get which coupon: the best use of a budget, with a proof of how good it is.

- :func:`allocate`: from predicted effects and cost rules;
- :func:`allocate_arrays`: from plain arrays;
- :func:`allocate_file`: from files that may be larger than memory (:class:`MenuFile`, :class:`EffectsFile`);
- :class:`Allocation`, :class:`Certificate`, :class:`BudgetCurve`, :class:`CurveBand`: what comes back;
- :class:`Budget`, :class:`Stock`, :class:`Cap`, :class:`MaxShare`, :class:`MinReach`, :class:`MinROI`,
  :class:`Eligible`, :class:`DoNotDisturb`: constraints.
"""

from __future__ import annotations

from uplift.allocation.allocation import Allocation
from uplift.allocation.arrays import allocate_arrays
from uplift.allocation.certificate import Certificate
from uplift.allocation.constraints import (
    Budget,
    Cap,
    DoNotDisturb,
    Eligible,
    MaxShare,
    MinReach,
    MinROI,
    Stock,
    constraint_from_dict,
)
from uplift.allocation.curve import BudgetCurve
from uplift.allocation.curve_band import CurveBand
from uplift.allocation.file_plan import FilePlan, allocate_file
from uplift.allocation.from_effects import allocate
from uplift.allocation.limits import Limit
from uplift.allocation.menus import EffectsFile, MenuFile
from uplift.allocation.reasons import REASONS

__all__ = [
    "REASONS",
    "Allocation",
    "Budget",
    "BudgetCurve",
    "Cap",
    "Certificate",
    "CurveBand",
    "DoNotDisturb",
    "EffectsFile",
    "Eligible",
    "FilePlan",
    "Limit",
    "MaxShare",
    "MenuFile",
    "MinROI",
    "MinReach",
    "Stock",
    "allocate",
    "allocate_arrays",
    "allocate_file",
    "constraint_from_dict",
]
