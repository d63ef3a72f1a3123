"""What an off-policy estimate of a plan says: per customer and in total, against whom, and on how much of the log."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from uplift.metrics.average import Estimate
from uplift.metrics.overlap import Overlap

if TYPE_CHECKING:
    import pandas as pd

METHODS = {
    "ips": "inverse propensity weighting (IPS)",
    "snips": "self-normalised inverse propensity weighting (SNIPS)",
    "stratified": "self-normalised IPS within each arm of the plan, against control",
    "dm": "direct method: the model's predictions, which the interval takes for the truth",
    "dr": "doubly robust: the model's predictions, corrected by inverse propensity weighting (AIPW)",
    "sndr": "self-normalised doubly robust",
}
"""Estimators by name; definition ids are ``policy_value_NAME``."""


@dataclass(frozen=True)
class Versus:
    """The plan less another policy, per customer, on the same rows (paired).

    Attributes
    ----------
    value : Estimate
        Difference in outcome x margin, gross of costs.
    cost : Estimate
        Difference in cost.
    net : Estimate
        Difference in value less cost.

    Examples
    --------
    >>> import pandas as pd, uplift
    >>> frame = pd.DataFrame({"coupon": ["none", "five"] * 20, "buy": [0, 1, 1, 1, 0, 0, 0, 1] * 5})
    >>> log = uplift.Campaign.from_frame(frame, treatment="coupon", control="none", chain=["buy"])
    >>> found = uplift.policy_value(log, "five", margin=10.0)
    >>> round(found.against["control"].value.value, 6)  # money per customer
    5.0
    """

    value: Estimate
    cost: Estimate
    net: Estimate


@dataclass(frozen=True, repr=False)
class PolicyValue:
    """Off-policy estimate of a plan.

    Attributes
    ----------
    stage : str
        Outcome that is valued.
    value, low, high, se : float
        Incremental value (outcome x margin) against treating nobody, **summed over the rows**, gross of costs.
    cost : float
        Realised cost of the same customers under the plan, summed.
    matched_rows : int
        Rows whose logged arm is the plan's arm: what the estimate rests on.
    rows : int
        Rows of the log that the plan decides on.
    confidence : float
        Level of all intervals. They are for the customers that the log is a sample of.
    method : str
        The estimator, in words.
    arms : dict of str to dict
        Value, se, cost and rows of every treated arm of the plan: its customers against leaving them in control.
        They add up to the total, but for self-normalised estimators, which also reweight the customers left in
        control.
    skipped : tuple of str
        Arms that some customers could not be valued under; these count as left in control.
    estimator : str
        Key of `METHODS`; the definition id is ``policy_value_`` and this.
    margin : float
        Money per unit of the outcome.
    mean, spend, net : Estimate
        Per customer under the plan: value, cost, and value less cost.
    against : dict of str to Versus
        Per customer, the plan less another policy: "control" (nobody gets anything), "logged" (what was done), and
        "other" where another plan was given.
    roi : Estimate or None
        Incremental value per unit of cost; None where the cost cannot be told from 0.
    overlap : Overlap
        How much of the log speaks about the plan.
    clip_bias : float
        By how much clipping moved the value per customer; the interval does not contain it.
    warnings : tuple of str
        What to be careful about.

    Examples
    --------
    >>> import pandas as pd, uplift
    >>> frame = pd.DataFrame({"coupon": ["none", "five"] * 20, "buy": [0, 1, 1, 1, 0, 0, 0, 1] * 5})
    >>> log = uplift.Campaign.from_frame(frame, treatment="coupon", control="none", chain=["buy"])
    >>> found = uplift.policy_value(log, "five", margin=10.0)
    >>> round(found.value, 6), found.rows, found.matched_rows  # money over all rows
    (200.0, 40, 20)
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
    skipped: tuple[str, ...]
    estimator: str
    margin: float
    mean: Estimate
    spend: Estimate
    net: Estimate
    against: dict[str, Versus]
    roi: Estimate | None
    overlap: Overlap
    clip_bias: float = 0.0
    warnings: tuple[str, ...] = ()

    @property
    def definition(self) -> str:
        """Definition id, for :func:`uplift.metrics.describe`."""
        return f"policy_value_{self.estimator}"

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
        return {
            **asdict(self),
            "skipped": list(self.skipped),
            "warnings": list(self.warnings),
            "definition": self.definition,
        }

    def to_frame(self) -> pd.DataFrame:
        """One row per estimate: what, value, se, low, high per customer, and value, low, high in total."""
        import pandas as pd

        rows = [("value", self.mean), ("cost", self.spend), ("net", self.net)]
        for name, versus in self.against.items():
            rows += [
                (f"{what} less {name}", getattr(versus, key))
                for what, key in (("value", "value"), ("cost", "cost"), ("net", "net"))
            ]
        return pd.DataFrame(
            {
                "what": what,
                **vars(one),
                "total": one.value * self.rows,
                "total_low": one.low * self.rows,
                "total_high": one.high * self.rows,
            }
            for what, one in rows
        )

    def __repr__(self) -> str:
        net = self.against["control"].net
        careful = (
            f"; {len(self.warnings)} warnings"
            if len(self.warnings) > 1
            else "; 1 warning"
            if self.warnings
            else ""
        )
        return (
            f"PolicyValue({self.rows:,} customers: value {_short(self.value)} [{_short(self.low)}, {_short(self.high)}] over control, "
            f"cost {_short(self.cost)}, net {_short(net.value * self.rows)} [{_short(net.low * self.rows)}, {_short(net.high * self.rows)}], "
            f"{self.estimator} on {self.matched_rows:,} matched rows{careful})"
        )

    def _repr_html_(self) -> str:
        from uplift.reporting.notebook import policy_value_html

        return policy_value_html(self)


def _short(number: float) -> str:
    return f"{number:,.0f}" if abs(number) >= 100 else f"{number:.3g}"
