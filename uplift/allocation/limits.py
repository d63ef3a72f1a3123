"""The limits of a solved problem as a table: how much of each is used, what is left, and what more of it would bring."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from uplift.allocation.rows import Row, Rows


@dataclass(frozen=True)
class Limit:
    """One constraint after solving.

    Attributes
    ----------
    name, kind : str
    sense : str
        ``"at most"`` or ``"at least"``.
    limit, use, slack : float
        Money for budgets, customers for stocks, caps, shares and reaches. For a minimum return `limit` and `use` are
        value per unit of cost (use 0 without cost), and `slack` is money: value above what the return asks for.
    price : float
        Dual price, >= 0: value that one more unit (of money, of customers) would bring; of a floor, what asking for
        one less would bring. 0 when the limit does not bind.
    words : str
        The constraint in words.
    meaning : str
        The price in words.
    arm, segment, level : str or None
        What the limit counts: one arm (None: every arm but the control) and one level of a segment's column (None:
        everybody).
    share : float or None
        Of a maximum share: the share itself, which `limit` has turned into customers.

    Examples
    --------
    >>> from uplift import allocate_arrays
    >>> from uplift.allocation import Cap
    >>> plan = allocate_arrays([[3.0], [2.0], [1.0]], [[1.0]] * 3, budget=None, constraints=[Cap(1)])
    >>> [(limit.name, limit.use) for limit in plan.certificate.limits]
    [('cap', 1.0)]
    """

    name: str
    kind: str
    sense: str
    limit: float
    use: float
    slack: float
    price: float
    words: str
    meaning: str
    arm: str | None = None
    segment: str | None = None
    level: str | None = None
    share: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain types."""
        return asdict(self)


def limits(
    rows: Rows, uses: np.ndarray, prices: np.ndarray, value: np.ndarray, cost: np.ndarray, arms: np.ndarray
) -> tuple[Limit, ...]:
    """One entry per row, from uses that were read back from the decisions (multiples)."""
    spent = _money(rows, value, cost, arms) if any(row.kind == "min_roi" for row in rows.items) else None
    found = []
    for m, row in enumerate(rows.items):
        use, price = int(uses[m]), float(prices[m])
        slack = row.unit.to_float(row.bound - use)
        if row.kind == "min_roi":
            assert spent is not None
            shown = float(spent[1][m] / spent[0][m]) if spent[0][m] else 0.0
        else:
            shown = row.unit.to_float(-use if row.kind == "min_reach" else use)
        if row.kind == "budget":
            # A budget like 8.2 may lie a hair below its decimal text: stay within the float that was given.
            shown = min(shown, row.limit)
            slack = row.limit - shown
        found.append(
            Limit(
                name=row.name,
                kind=row.kind,
                sense="at least" if row.floor else "at most",
                limit=row.limit,
                use=shown,
                slack=max(slack, 0.0),
                price=price,
                words=row.words,
                meaning=_meaning(row, price),
                arm=row.arm,
                segment=row.segment,
                level=row.level,
                share=row.share,
            )
        )
    return tuple(found)


def _meaning(row: Row, price: float) -> str:
    scope = f" {row.scope}" if row.scope else ""
    if price <= 0:
        return "Does not bind: relaxing it would bring nothing."
    if row.kind == "budget":
        return f"One more unit of money{scope} would bring {price:,.4g} of value."
    if row.kind == "min_reach":
        return f"Asking for one customer fewer{scope} would bring {price:,.4g} of value."
    if row.kind == "min_roi":
        return f"Each unit of money that the return{scope} may fall short would bring {price:,.4g} of value."
    return f"One more customer{scope} would bring {price:,.4g} of value."


def _money(
    rows: Rows, value: np.ndarray, cost: np.ndarray, arms: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Cost and value of the chosen arms per row, float64 [row] each."""
    treated = np.flatnonzero(arms)
    taken = arms[treated].astype(np.int64)
    sums = np.zeros((2, len(rows)))
    for family in range(rows.slot.shape[1]):
        row = rows.rowmap[rows.slot[treated, family] + taken]
        mine = row >= 0
        for at, array in enumerate((cost, value)):
            amounts = array[treated[mine], taken[mine] - 1].astype(np.float64)
            sums[at] += np.bincount(row[mine], amounts, minlength=len(rows))
    return sums[0], sums[1]
