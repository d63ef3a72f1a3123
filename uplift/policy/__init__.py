"""The plan as a rule for units that come one at a time: prices instead of a list, and how to keep them in step.

- :class:`Policy`: a small JSON file that decides a scored unit in microseconds;
- :class:`Price`: what one limit of the plan charges;
- :func:`plan_prices`: the prices of a plan's limits;
- :class:`Pacer`: moves the price of money when spend runs ahead of or behind the budget.
"""

from __future__ import annotations

from uplift.policy.pacing import Pacer
from uplift.policy.policy import Policy
from uplift.policy.prices import Price, plan_prices

__all__ = ["Pacer", "Policy", "Price", "plan_prices"]
