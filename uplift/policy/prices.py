"""Dual prices of a plan's limits, as the policy file holds them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from uplift.errors import AllocationError, did_you_mean
from uplift.policy.charges import KINDS, level_text


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
        Level of the segment. Kept, and compared with a unit's label, as text: 3 is ``"3"``, True is ``"true"``.
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
        object.__setattr__(self, "level", level_text(self.level))

    @property
    def of_all_money(self) -> bool:
        """Whether it is the price of money for everybody."""
        return self.kind == "budget" and self.segment is None and self.arm is None

    def to_dict(self) -> dict[str, Any]:
        """Plain form; keys without a value are left out."""
        return {key: value for key, value in asdict(self).items() if value is not None}


def plan_prices(limits: Sequence[Mapping[str, Any]]) -> tuple[Price, ...]:
    """Prices of a plan's limits: that of the budget first (0 where it does not bind), then every other one above 0.

    Parameters
    ----------
    limits : sequence of mapping
        ``certificate.constraints`` of the plan, or ``"constraints"`` of an ``allocation.json``: per limit the keys
        ``kind``, ``price``, ``arm``, ``segment``, ``level`` and, of a minimum return, ``limit``. A limit without
        ``kind`` is the budget.

    Returns
    -------
    Price

    Raises
    ------
    AllocationError
        A limit that binds does not say what it counts (a plan of an earlier version).

    Examples
    --------
    >>> rows = [{"name": "budget", "price": 1.5},
    ...     {"name": "stock ten", "kind": "stock", "price": 0.8, "arm": "ten", "segment": None, "level": None},
    ...     {"name": "cap", "kind": "cap", "price": 0.0, "arm": None, "segment": None, "level": None}]
    >>> [price.to_dict() for price in plan_prices(rows)]
    [{'kind': 'budget', 'price': 1.5}, {'kind': 'stock', 'price': 0.8, 'arm': 'ten'}]
    """
    money, others = 0.0, []
    for row in limits:
        kind, price = row.get("kind", "budget"), float(row["price"])
        if "kind" in row and not {"arm", "segment", "level"} <= set(row):
            if price > 0 and row["name"] != "budget":
                raise AllocationError(
                    f"The limit {row['name']!r} has a price but does not say whom it counts, as plans of earlier "
                    "versions: make the plan again."
                )
            row = {"arm": None, "segment": None, "level": None} | dict(row)
        about = {key: row.get(key) for key in ("arm", "segment", "level")}
        if kind == "budget" and about["arm"] is None and about["segment"] is None:
            money += price
        elif price > 0:
            ratio = float(row["limit"]) if kind == "min_roi" else None
            others.append(Price(kind=kind, price=price, ratio=ratio, **about))
    return (Price(kind="budget", price=money), *others)
