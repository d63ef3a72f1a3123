"""What randomised data say about a plan, for the plan's own customers whatever it was measured on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from uplift.allocation import Allocation
from uplift.metrics.inference import normal_quantile
from uplift.reporting.numbers import finite, whole

ALREADY_SCALED = "test part, scaled"
"""How the estimate's `population` begins when its money stands for the audience, not for the rows it rests on."""


@dataclass(frozen=True)
class Part:
    """Value of one arm of the plan, with its interval (NaN when there is none)."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Measured:
    """Off-policy estimate of a plan, in money of the plan's customers.

    Attributes
    ----------
    value, low, high, cost : float
        NaN where there is none.
    rows, matched, customers : int
        Randomised customers it was measured on; those of them who received what the plan gives them; and
        customers of the plan.
    scaled : bool
        Whether the plan is for other customers than those it was measured on.
    arms : dict of str to Part
        Arms that could be compared.
    skipped : tuple of str
        Arms given to too few customers to be compared; they count as 0.
    """

    value: float
    low: float
    high: float
    cost: float
    rows: int
    matched: int
    customers: int
    scaled: bool
    arms: dict[str, Part]
    skipped: tuple[str, ...]

    @property
    def interval(self) -> bool:
        """Whether there is an interval."""
        return finite(self.low) and finite(self.high)

    @property
    def where(self) -> str:
        """For a table's heading or a card: whose money this is."""
        if self.scaled:
            return f"measured on {whole(self.rows)} test customers, scaled to {whole(self.customers)}"
        return f"measured on these {whole(self.rows)} customers"


def measured(plan: Allocation) -> Measured | None:
    """The plan's off-policy estimate; None when it has none.

    An estimate for another number of rows than the plan has customers, and not yet scaled to them, is scaled here.
    """
    p = plan.policy_value
    if not p:
        return None
    rows, customers = int(p["rows"]), plan.certificate.n_units
    done = str(p.get("population") or "").startswith(ALREADY_SCALED)
    factor = 1.0 if done or rows == customers else customers / max(rows, 1)

    def money(number: Any) -> float:
        return factor * float(number) if finite(number) else math.nan

    z = normal_quantile(p.get("confidence", 0.95))
    arms = {}
    for arm, part in (p.get("arms") or {}).items():
        value, reach = money(part["value"]), z * money(part.get("se"))
        arms[str(arm)] = Part(value, value - reach, value + reach)
    return Measured(
        value=money(p["value"]),
        low=money(p["low"]),
        high=money(p["high"]),
        cost=money(p.get("cost")),
        rows=rows,
        matched=int(p.get("matched_rows") or 0),
        customers=customers,
        scaled=done or rows != customers,
        arms=arms,
        skipped=tuple(map(str, p.get("skipped") or ())),
    )
