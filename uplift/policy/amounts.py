"""Scores into money: value and expected cost of every arm, as the plan made them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from uplift.arms import SEND, VALUE_STAGE, CostRule
from uplift.errors import AllocationError

if TYPE_CHECKING:
    from uplift.effects import Effects
    from uplift.policy.policy import Policy


def amounts(policy: Policy, effects: Effects) -> tuple[np.ndarray, np.ndarray]:
    """See :meth:`uplift.policy.Policy.amounts`."""
    from uplift.allocation.from_effects import cautious, expected_cost

    stage, margin, costs = _rules(policy)
    if tuple(effects.arms) != policy.arms:
        raise AllocationError(
            f"The effects have arms {effects.arms!r}, the policy {policy.arms!r}: use the model it was made with."
        )
    shape = len(effects), len(policy.arms) - 1
    value, cost = np.empty(shape), np.empty(shape)
    for column, arm in enumerate(policy.arms[1:]):
        value[:, column] = cautious(effects, stage, arm, policy.caution).astype(np.float64) * margin
        cost[:, column] = expected_cost(effects, arm, costs[arm])
    return value, cost


def amounts_one(
    policy: Policy,
    mu: Mapping[str, Sequence[float]],
    tau: Mapping[str, Sequence[float]] | None,
    error: Sequence[float] | None,
) -> tuple[list[float], list[float]]:
    """See :meth:`uplift.policy.Policy.amounts_one`."""
    stage, margin, costs = _rules(policy)
    n = len(policy.arms)
    try:
        used = [mu[name] for name in _read(policy, stage, tau is None)] + (
            [] if tau is None else [tau[stage]]
        )
        wrong = next((len(part) for part in used if len(part) != n), None)
        uplift = tau[stage] if tau is not None else [m - mu[stage][0] for m in mu[stage]]
    except (KeyError, TypeError, IndexError):
        raise AllocationError(
            f"The scores of a unit are {mu!r}: give, for each stage that the plan reads "
            f"({', '.join(_read(policy, stage, True))}), one number per arm, control first."
        ) from None
    if wrong is not None:
        raise AllocationError(
            f"The scores of a unit have {wrong} numbers at a stage: give one for each of {', '.join(policy.arms)}."
        )
    if policy.caution:
        if error is None:
            raise AllocationError(
                f"The plan took {policy.caution:g} standard errors off every uplift: pass error, the standard error at "
                f"{stage!r} per arm."
            )
        uplift = [t - policy.caution * e for t, e in zip(uplift, error, strict=True)]
    value = [float(t) * margin for t in uplift[1:]]
    cost = []
    for code, arm in enumerate(policy.arms[1:], start=1):
        rule = costs[arm]
        per_event = float((rule.share if rule.on == VALUE_STAGE else rule.amount) or 0.0)
        cost.append(per_event if rule.on == SEND else float(mu[rule.on][code]) * per_event)
    return value, cost


def _read(policy: Policy, stage: str, valued: bool) -> list[str]:
    """Stages whose scores a unit's value (where `valued`) and costs are made of."""
    rules = (policy.costs or {}).values()
    return list(
        dict.fromkeys([*([stage] if valued else []), *(rule.on for rule in rules if rule.on != SEND)])
    )


def _rules(policy: Policy) -> tuple[str, float, Mapping[str, CostRule]]:
    if policy.stage is None or policy.margin is None or policy.costs is None:
        raise AllocationError(
            "This policy was made from plain arrays and has no stage, margin and costs: pass value and cost."
        )
    return policy.stage, policy.margin, policy.costs
