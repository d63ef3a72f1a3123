"""Prices as charges on a unit's arms.

A plan with limits ``sum_ij a_ijm x_ij <= b_m`` and prices ``lambda_m >= 0`` gives a unit the arm with the largest
reduced value ``v_j - sum_m lambda_m a_jm``. Every kind of limit charges value, cost or contact, so that

    reduced_j = weight_j v_j - money_j c_j - contact_j

with ``weight_j = 1 + sum(min_roi prices)``, ``money_j = sum(budget prices) + sum(min_roi price * ratio)`` and
``contact_j = sum(stock, cap, max_share prices) - sum(min_reach prices)`` over the limits that count the unit's
segment and arm j.

A price is the reduced value of a unit at the margin, so there a tie is the rule and not the exception, and whole
groups of equal units tie together. Every limit is therefore charged a hair (`EDGE`) more than its price: a tie falls
on the side that keeps the limit, whatever the last bit of a sum says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from uplift.errors import AllocationError

if TYPE_CHECKING:
    from uplift.policy.prices import Price

KINDS = ("budget", "stock", "cap", "max_share", "min_reach", "min_roi")
EDGE = 1e-9
"""Share of its price that a limit is charged beyond it."""
_MOST_KNOWN = 1 << 16
"""Combinations of levels whose charges are kept."""


@dataclass(frozen=True)
class Charges:
    """Sum of the prices that hold for one unit, per arm (without the control)."""

    weight: tuple[float, ...]
    money: tuple[float, ...]
    contact: tuple[float, ...]

    def plus(self, other: Charges) -> Charges:
        """Charges of both."""
        return Charges(
            tuple(a + b for a, b in zip(self.weight, other.weight, strict=True)),
            tuple(a + b for a, b in zip(self.money, other.money, strict=True)),
            tuple(a + b for a, b in zip(self.contact, other.contact, strict=True)),
        )


@dataclass(frozen=True, eq=False)
class BlockCharges:
    """Charges of a block of units: float64 [arm], or [unit, arm] where they depend on segments."""

    weight: np.ndarray
    money: np.ndarray
    contact: np.ndarray


class Tariff:
    """All prices of a policy, summed per level of a segment: charges of a unit are one sum per segment.

    Parameters
    ----------
    prices : sequence of Price
    arms : sequence of str
        Without the control.

    Attributes
    ----------
    segments : tuple of str
        Columns that a unit's charges depend on.
    base : Charges
        Of a unit that is in no segment with a price.
    """

    def __init__(self, prices: Sequence[Price], arms: Sequence[str]) -> None:
        names = (price.segment for price in prices if price.segment is not None)
        self.segments: tuple[str, ...] = tuple(dict.fromkeys(names))
        self.base = _sum([price for price in prices if price.segment is None], arms, start=1.0)
        self._levels: dict[str, dict[str, Charges]] = {name: {} for name in self.segments}
        parts: dict[tuple[str, str], list[Price]] = {}
        for price in prices:
            if price.segment is not None:
                parts.setdefault((price.segment, price.level), []).append(price)
        for (segment, level), part in parts.items():
            self._levels[segment][level] = _sum(part, arms, start=0.0)
        self._tables: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}
        none = Charges(*[(0.0,) * len(arms)] * 3)
        for segment, levels in self._levels.items():
            rows = [none, *levels.values()]  # the first: labels without a price
            self._tables[segment] = (
                np.array([row.weight for row in rows]),
                np.array([row.money for row in rows]),
                np.array([row.contact for row in rows]),
            )
        self._known: dict[Any, Charges] = {}

    def of(self, labels: Mapping[str, Any] | None) -> Charges:
        """Charges of one unit.

        Parameters
        ----------
        labels : mapping of column to label
            None or NaN as label, or one without a price, is in no segment.

        Raises
        ------
        AllocationError
            A column is missing.
        """
        if not self.segments:
            return self.base
        try:
            key = tuple(
                [
                    label if type(label := labels[name]) is str else level_text(label)  # type: ignore[index]
                    for name in self.segments
                ]
            )
        except (KeyError, TypeError):
            raise self._missing(labels) from None
        known = self._known.get(key)
        return self._combine(key) if known is None else known

    def block(self, codes: Sequence[np.ndarray]) -> BlockCharges:
        """Charges of a block of units from the codes of :meth:`codes`."""
        weight, money, contact = (
            np.array(part) for part in (self.base.weight, self.base.money, self.base.contact)
        )
        for segment, code in zip(self.segments, codes, strict=True):
            tables = self._tables[segment]
            weight, money, contact = (
                part + table[code] for part, table in zip((weight, money, contact), tables, strict=True)
            )
        return BlockCharges(weight, money, contact)

    def codes(self, columns: Any, n: int) -> list[np.ndarray]:
        """Per segment, which of its priced levels every unit is in: int64 [unit], 0 for none.

        Raises
        ------
        AllocationError
            A column is missing, or has another length.
        """
        if not self.segments:
            return []
        import pyarrow as pa
        import pyarrow.compute as pc

        from uplift.allocation.conditions import column
        from uplift.hashing import as_text

        there = [] if columns is None else list(getattr(columns, "column_names", columns))
        if any(name not in there for name in self.segments):
            raise self._missing(dict.fromkeys(there))
        found = []
        for name in self.segments:
            labels = column(columns, name, "The policy")
            if len(labels) != n:
                raise AllocationError(
                    f"The segment {name!r} has {len(labels)} labels: give one label per unit ({n})."
                )
            levels = pa.array(list(self._levels[name]), pa.large_string())
            places = pc.index_in(as_text(labels), levels).fill_null(-1)
            found.append(places.to_numpy(zero_copy_only=False).astype(np.int64) + 1)
        return found

    def _combine(self, key: tuple[str | None, ...]) -> Charges:
        total = self.base
        for segment, level in zip(self.segments, key, strict=True):
            part = self._levels[segment].get(level)  # type: ignore[arg-type]
            if part is not None:
                total = total.plus(part)
        if len(self._known) >= _MOST_KNOWN:  # labels that never end, such as ids
            self._known.clear()
        self._known[key] = total
        return total

    def _missing(self, labels: Mapping[str, Any] | None) -> AllocationError:
        name = next(name for name in self.segments if name not in (labels or {}))
        return AllocationError(
            f"The policy has prices for levels of {name!r}: pass segments={{{name!r}: ...}}."
        )


def level_text(label: Any) -> str | None:
    """A label as the plan's limits name it; None where it is missing.

    Examples
    --------
    >>> level_text("north"), level_text(3), level_text(3.0), level_text(True), level_text(float("nan"))
    ('north', '3', '3', 'true', None)
    """
    if label is None:
        return None
    if isinstance(label, str):
        return str(label)
    if isinstance(label, bool | np.bool_):
        return "true" if label else "false"
    if isinstance(label, int | np.integer):
        return str(int(label))
    import pyarrow as pa

    from uplift.hashing import as_text

    text: str | None = as_text(pa.array([label], from_pandas=True))[0].as_py()
    return text


def _sum(prices: Sequence[Price], arms: Sequence[str], *, start: float) -> Charges:
    weight, money, contact = [start] * len(arms), [0.0] * len(arms), [0.0] * len(arms)
    for price in prices:
        charged = price.price * (1.0 + EDGE)
        for j, arm in enumerate(arms):
            if price.arm is not None and price.arm != arm:
                continue
            if price.kind == "budget":
                money[j] += charged
            elif price.kind == "min_roi":
                weight[j] += charged
                money[j] += charged * (price.ratio or 0.0)
            elif price.kind == "min_reach":
                contact[j] -= charged
            else:
                contact[j] += charged
    return Charges(tuple(weight), tuple(money), tuple(contact))
