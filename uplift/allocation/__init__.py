"""Who should get which coupon: the best use of a budget, with a proof of how good it is.

- :func:`allocate`: from predicted effects and cost rules;
- :func:`allocate_arrays`: from plain arrays;
- :class:`Allocation`, :class:`Certificate`, :class:`BudgetCurve`: what comes back.
"""

from __future__ import annotations

from uplift.allocation.allocation import Allocation
from uplift.allocation.arrays import allocate_arrays
from uplift.allocation.certificate import Certificate
from uplift.allocation.curve import BudgetCurve
from uplift.allocation.from_effects import allocate

__all__ = ["Allocation", "BudgetCurve", "Certificate", "allocate", "allocate_arrays"]
