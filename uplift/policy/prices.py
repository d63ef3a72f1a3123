"""Dual prices as charges on a unit's arms.

A plan with limits ``sum_ij a_ijm x_ij <= b_m`` and prices ``lambda_m >= 0`` gives a unit the arm with the largest
reduced value ``v_j - sum_m lambda_m a_jm``. Every kind of limit charges value, cost or contact, so that

    reduced_j = weight v_j - money c_j - contact_j

with ``weight = 1 + sum(min_roi prices)``, ``money = sum(budget prices) + sum(min_roi price * ratio)`` and
``contact_j = sum(stock, cap, max_share prices) - sum(min_reach prices)`` over the limits that count the unit's
segment and arm j.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from uplift.errors import AllocationError, did_you_mean

KINDS = ("budget", "stock", "cap", "max_share", "min_reach", "min_roi")


@dataclass(frozen=True, kw_only=True)
class Price:
    """What one limit charges.

    Parameters
    ----------
    kind : {"budget", "stock", "cap", "max_share", "min_reach", "min_roi"}
    price : float
        Dual price, >= 0: value that one more unit of the limit would bring (for ``min_reach``: that one contact
        less would bring).
    arm : str, optional
        Only this arm is counted; default every arm but the control.
    segment : str, optional
        Name of the column whose `level` is counted; default everybody.
    level : optional
        Level of the segment.
    ratio : float, optional
        For ``min_roi``: the return that is asked for.

    Raises
    ------
    AllocationError
        Unknown kind, a price below zero or not finite, a level without a segment, or a missing ratio.

    Examples
    --------
    >>> Price(kind="stock", price=0.8, arm="ten").to_dict()
    {'kind': 'stock', 'price': 0.8, 'arm': 'ten'}
    """

    kind: str
    price: float
    arm: str | None = None
    segment: str | None = None
    level: Any = None
    ratio: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise AllocationError(
                f"There is no price of kind {self.kind!r}: {did_you_mean(self.kind, KINDS)}"
            )
        if not (isinstance(self.price, int | float) and math.isfinite(self.price) and self.price >= 0):
            raise AllocationError(
                f"The {self.kind} price is {self.price!r}: it must be a finite number >= 0."
            )
        if (self.segment is None) != (self.level is None):
            raise AllocationError(
                f"A {self.kind} price of a segment needs the segment's column and its level: it has "
                f"segment {self.segment!r} and level {self.level!r}."
            )
        if (self.kind == "min_roi") != (self.ratio is not None):
            raise AllocationError(
                f"A {self.kind} price has ratio {self.ratio!r}: min_roi prices need one, others take none."
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain form; keys without a value are left out."""
        return {key: value for key, value in asdict(self).items() if value is not None}


def budget_price(dual_prices: Mapping[str, float]) -> Price:
    """The price of a plan whose only binding limit is the budget.

    Parameters
    ----------
    dual_prices : mapping of str to float
        ``dual_prices`` of the plan's certificate.

    Returns
    -------
    Price

    Raises
    ------
    AllocationError
        Another limit has a price: deciding by the budget's alone would break that limit.

    Examples
    --------
    >>> budget_price({"budget": 1.5, "stock ten": 0.0}).price
    1.5
    """
    others = [name for name, price in dual_prices.items() if name != "budget" and price > 0]
    if others:
        raise AllocationError(
            f"The plan has a price for {others[0]!r} ({len(others)} limits beside the budget bind): give a Policy all its "
            "prices by hand (prices=...), or plan with the budget alone."
        )
    return Price(kind="budget", price=dual_prices["budget"])


@dataclass(frozen=True)
class Charges:
    """Sum of the prices that hold for one unit, per arm (without the control), before the floor of `min_roi`."""

    weight: tuple[float, ...]
    money: tuple[float, ...]
    contact: tuple[float, ...]


def charges(prices: tuple[Price, ...], arms: tuple[str, ...], levels: dict[str, Any]) -> Charges:
    """Charges on each of `arms` for a unit of these segment `levels`."""
    weight, money, contact = [1.0] * len(arms), [0.0] * len(arms), [0.0] * len(arms)
    for price in prices:
        if price.segment is not None and levels.get(price.segment) != price.level:
            continue
        for j, arm in enumerate(arms):
            if price.arm is not None and price.arm != arm:
                continue
            if price.kind == "budget":
                money[j] += price.price
            elif price.kind == "min_roi":
                weight[j] += price.price
                money[j] += price.price * (price.ratio or 0.0)
            elif price.kind == "min_reach":
                contact[j] -= price.price
            else:
                contact[j] += price.price
    return Charges(tuple(weight), tuple(money), tuple(contact))
