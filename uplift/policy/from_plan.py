"""A policy from a plan in memory, and the labels of its units that the policy's prices read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from uplift.errors import AllocationError
from uplift.policy.policy import Policy
from uplift.policy.prices import plan_prices

if TYPE_CHECKING:
    from uplift.allocation import Allocation

_UNNAMED = "segment"
"""What a segment that was given as labels is called."""


def policy_of_plan(plan: Allocation, labels: Mapping[str, str] | None = None) -> Policy:
    """The plan's prices and rules as a policy; see :meth:`uplift.allocation.Allocation.policy`.

    Raises
    ------
    AllocationError
        A limit that binds counts a segment that was given as labels without a name.
    """
    c, recipe = plan.certificate, plan.recipe
    prices = plan_prices(c.constraints)
    if recipe.unnamed_segments and any(price.segment == _UNNAMED for price in prices):
        row = next(row for row in c.limits if row.segment == _UNNAMED and row.price > 0)
        raise AllocationError(
            f"The limit {row.name!r} has a price and counts a segment that was given as labels without a name, which no "
            "policy can ask for: put the labels into columns and give the segment by its column's name."
        )
    return Policy(
        arms=plan.arms,
        prices=prices,
        stage=recipe.stage,
        margin=recipe.margin,
        costs=recipe.costs,
        holdout_share=recipe.holdout_share,
        salt=recipe.salt,
        min_roi=recipe.min_roi,
        step_floor=c.method != "one_budget",
        allow_harm=recipe.allow_harm,
        exactly_one=recipe.exactly_one,
        caution=recipe.caution,
        eligibility_given=recipe.eligibility_given,
        conditions=recipe.conditions,
        campaign=plan.campaign,
        model=plan.model,
        model_fingerprint=plan.model_fingerprint,
        labels=dict(labels or {}),
        budget=c.budget if math.isfinite(c.budget) else None,
        expected_cost=c.expected_cost,
        n_units=c.n_units,
    )
