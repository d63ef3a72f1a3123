"""What an allocation proves about itself: an upper bound no other choice can beat, and the money it spends."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from uplift.allocation.limits import Limit


@dataclass(frozen=True, kw_only=True, repr=False)
class Certificate:
    """Bound and sums of one allocation.

    ``upper_bound >= best possible value >= expected_value`` for the values and costs that were given (not for the
    truth behind them). All amounts are money, or whatever unit values have.

    Attributes
    ----------
    budget : float
        As asked for; inf when there is no limit.
    expected_value : float
        Sum of the chosen arms' values (gross: coupon costs not taken off), rounded down.
    expected_cost : float
        Sum of their costs, every one rounded up; never above `budget`.
    dual_prices : dict
        ``{"budget": price}``: value that one more unit of money would bring; 0 when money is left. With more
        constraints one price for each; what each means is in `limits`.
    upper_bound : float
        Dual bound, rounded up.
    gap : float
        ``(upper_bound - expected_value) / upper_bound``; 0 when both are 0 but for rounding.
    gap_regret, gap_slack : float
        The two parts of ``upper_bound - expected_value``: decisions that disagree with the price (and the
        allowance for rounding), and money (or whatever a limit counts) left unused at its price.
    n_units, n_treated : int
        All units, and those that get an arm other than control.
    counts : dict
        Units per arm name, control first.
    min_roi : float
        Floor for the return of every step (0: none); then the bound is over choices no costlier than the unit's
        best one at that return.
    limits : tuple of Limit
        Every constraint with use, slack, price and meaning; empty when the budget is the only one.
    method : str
        ``"one_budget"``, ``"dual"`` or ``"exact"``.
    status : str
        ``"optimal"``: a search proved that nothing is better (to HiGHS' tolerance). ``"certified"``: the gap is what
        is proven. ``"time limit"``, ``"too large"``: the same, and why the search for the optimum ended.

    Examples
    --------
    >>> from uplift import allocate_arrays
    >>> plan = allocate_arrays([[3.0], [2.0], [1.0]], [[1.0]] * 3, budget=2.0)
    >>> plan.certificate
    Certificate(value 5.00 for 2.00 of 2.00; no plan brings more than 5.00: gap ..., certified)
    """

    budget: float
    expected_value: float
    expected_cost: float
    dual_prices: dict[str, float]
    upper_bound: float
    gap: float
    gap_regret: float
    gap_slack: float
    n_units: int
    n_treated: int
    counts: dict[str, int]
    min_roi: float = 0.0
    limits: tuple[Limit, ...] = ()
    method: str = "one_budget"
    status: str = "certified"

    @property
    def value(self) -> float:
        """Short for `expected_value`."""
        return self.expected_value

    @property
    def cost(self) -> float:
        """Short for `expected_cost`."""
        return self.expected_cost

    @property
    def net_value(self) -> float:
        """Value less cost. Not what is maximised: the budget is to be spent where it brings most."""
        return self.expected_value - self.expected_cost

    @property
    def constraints(self) -> list[dict[str, Any]]:
        """One row per limit: name, limit, use, slack, price; with several limits also kind, sense, words, meaning.

        None stands for no limit.
        """
        limited = math.isfinite(self.budget)
        rows = [limit.to_dict() for limit in self.limits]
        if rows and rows[0]["name"] == "budget":
            return rows
        budget = {
            "name": "budget",
            "limit": self.budget if limited else None,
            "use": self.expected_cost,
            "slack": self.budget - self.expected_cost if limited else None,
            "price": self.dual_prices["budget"],
        }
        return [budget, *rows]

    def __repr__(self) -> str:
        budget = f" of {self.budget:,.2f}" if math.isfinite(self.budget) else ""
        limits = f", {len(self.limits)} limits" if self.limits else ""
        return (
            f"Certificate(value {self.expected_value:,.2f} for {self.expected_cost:,.2f}{budget}{limits}; "
            f"no plan brings more than {self.upper_bound:,.2f}: gap {self.gap:.2g}, {self.status})"
        )

    def _repr_html_(self) -> str:
        from uplift.reporting.notebook import certificate_html

        return certificate_html(self)


def float_above(number: Fraction) -> float:
    """The float at or just above an exact number."""
    near = float(number)
    return near if Fraction(near) >= number else math.nextafter(near, math.inf)


def float_below(number: Fraction) -> float:
    """The float at or just below an exact number."""
    near = float(number)
    return near if Fraction(near) <= number else math.nextafter(near, -math.inf)
