"""What would a plan have been worth? An estimate from randomised rows, not from the model that made the plan."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from uplift.arms import SEND, VALUE_STAGE, CostRule
from uplift.campaign import Campaign
from uplift.errors import EvaluationError
from uplift.metrics.average import Comparison, Estimate, compare, difference_in_means


@dataclass(frozen=True)
class PolicyValue:
    """Off-policy estimate of a plan against treating nobody, summed over the rows it was made for.

    Attributes
    ----------
    stage : str
        Outcome that is valued.
    value, low, high, se : float
        Incremental value (outcome x margin), with its interval.
    cost : float
        Realised cost of the same customers under the plan.
    matched_rows : int
        Rows whose logged arm is the plan's arm: what the estimate rests on.
    rows : int
        Rows of the plan.
    arms : dict of str to dict
        Value and rows per arm.
    skipped : tuple of str
        Arms given to so few customers that no comparison with control is possible among them; they count as 0.
    """

    stage: str
    value: float
    low: float
    high: float
    se: float
    cost: float
    matched_rows: int
    rows: int
    confidence: float
    method: str
    arms: dict[str, dict[str, float]]
    skipped: tuple[str, ...] = ()

    def scaled(self, factor: float) -> PolicyValue:
        """The same value per customer for `factor` times as many customers; counts of rows stay as measured."""
        money = ("value", "low", "high", "se", "cost")
        arms = {
            arm: {key: number * factor if key in money else number for key, number in numbers.items()}
            for arm, numbers in self.arms.items()
        }
        return replace(self, arms=arms, **{key: getattr(self, key) * factor for key in money})

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {**asdict(self), "skipped": list(self.skipped)}


def policy_value(
    campaign: Campaign,
    arm_codes: np.ndarray,
    *,
    stage: str,
    margin: float = 1.0,
    costs: dict[str, CostRule] | None = None,
    confidence: float = 0.95,
) -> PolicyValue:
    """Incremental value of giving every row the arm in `arm_codes`, against giving nobody anything.

    Among the customers to whom the plan gives arm k, those who happened to receive k are compared with
    those who happened to receive control (weighted by the design); customers left in control contribute
    exactly zero. The sum over arms is the self-normalised inverse propensity estimate, stratified by the
    decision. The plan must not have been made with these rows' outcomes.

    Parameters
    ----------
    campaign : Campaign
        Randomised rows with outcomes.
    arm_codes : ndarray of int [row]
        The plan; 0 is control.
    stage : str
        Stage that is valued.
    margin : float
        Money per unit of the outcome.
    costs : mapping of arm to CostRule, optional
        To estimate the realised cost as well.

    Raises
    ------
    EvaluationError
        Lengths differ.
    """
    plan = np.asarray(arm_codes)
    if len(plan) != campaign.n_rows:
        raise EvaluationError(
            f"the plan covers {len(plan):,} rows, the campaign has {campaign.n_rows:,}; use the rows the plan was made for."
        )
    total, variance, cost = 0.0, 0.0, 0.0
    arms: dict[str, dict[str, float]] = {}
    skipped: list[str] = []
    for code, arm in enumerate(campaign.arm_names):
        given = plan == code
        if code == 0 or not given.any():
            continue
        try:
            part = campaign.take(given)
            comparison = compare(part, arm)
        except EvaluationError:
            skipped.append(arm)
            continue
        estimate = difference_in_means(
            comparison, part.outcome(stage)[comparison.rows], confidence=confidence
        )
        size = int(given.sum())
        value = margin * size * estimate.value
        se = abs(margin) * size * estimate.se
        paid = size * _mean_cost(part, comparison, (costs or {}).get(arm))
        arms[arm] = {"rows": size, "value": value, "se": se, "cost": paid}
        total, variance, cost = total + value, variance + se**2, cost + paid
    overall = Estimate.normal(total, float(np.sqrt(variance)), confidence)
    return PolicyValue(
        stage=stage,
        value=overall.value,
        low=overall.low,
        high=overall.high,
        se=overall.se,
        cost=cost,
        matched_rows=int((plan == campaign.arm_codes).sum()),
        rows=campaign.n_rows,
        confidence=confidence,
        method="self-normalised IPS within each arm of the plan, against control",
        arms=arms,
        skipped=tuple(skipped),
    )


def _mean_cost(part: Campaign, comparison: Comparison, rule: CostRule | None) -> float:
    """Mean cost per row under the arm, from the rows that received it, weighted by the design like the value."""
    if rule is None:
        return 0.0
    if rule.on == SEND:
        return float(rule.amount or 0.0)
    received = comparison.treated
    weight = None if comparison.weight is None else comparison.weight[received]
    events = part.outcome(rule.on)[comparison.rows[received]].astype(np.float64)
    return float(
        np.average(events, weights=weight) * ((rule.share if rule.on == VALUE_STAGE else rule.amount) or 0.0)
    )
