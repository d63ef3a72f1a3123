"""Exact sums of money: amounts as whole multiples of a decimal fraction, which add up the same in any order."""

from __future__ import annotations

import math
from decimal import Decimal

import numpy as np

FINEST = 12
_SUM_LIMIT = 2**61
_EXACT_LIMIT = 2**52
_SNAP = 4 * 2.0**-52
"""A decimal such as 0.1 lies at most this (relative) off a whole multiple once scaled; it counts as what was meant."""


def decimals_for(largest: float, n: int) -> int:
    """Decimals of the finest unit (at most 12) in which `n` amounts up to `largest` add up within int64.

    Micro-units (6) or finer wherever 10 million amounts below 200 money units are summed.

    Examples
    --------
    >>> decimals_for(50.0, 10_000_000)
    9
    """
    room = min(_SUM_LIMIT / max(n, 1), _EXACT_LIMIT)
    return min(math.floor(math.log10(room) - math.log10(max(largest, 1e-300))), FINEST)


def whole(amounts: np.ndarray, scale: float | np.ndarray, *, up: bool) -> np.ndarray:
    """Amounts as whole multiples of ``1 / scale``, each rounded up or down: float64 of the same shape.

    Examples
    --------
    >>> whole(np.array([0.1, 0.30004]), 1000.0, up=True).tolist()
    [100.0, 301.0]
    """
    scaled = amounts * scale
    near: np.ndarray = np.rint(scaled)
    away = np.abs(scaled - near) > _SNAP * np.abs(scaled)
    if away.any():
        near[away] = np.ceil(scaled[away]) if up else np.floor(scaled[away])
    return near


def scale_of(decimals: int) -> float:
    """Multiples of ``10**-decimals`` in 1."""
    return float(10**decimals) if decimals >= 0 else 10.0**decimals


def multiples(amounts: np.ndarray, decimals: int, *, up: bool) -> int:
    """Sum of amounts, each rounded up (costs) or down (values) to a multiple of ``10**-decimals``.

    Examples
    --------
    >>> multiples(np.array([0.1, 0.2, 0.30004]), 3, up=True)
    601
    """
    near = whole(amounts, scale_of(decimals), up=up)
    if np.abs(near).sum() < _SUM_LIMIT:
        return int(near.astype(np.int64).sum())
    return sum(int(count) for count in near)  # not what this unit was chosen for: a damaged file


def as_decimal(count: int, decimals: int) -> str:
    """A count of multiples as a plain decimal number.

    Examples
    --------
    >>> as_decimal(601, 3)
    '0.601'
    """
    return format(Decimal(count).scaleb(-decimals), "f")


class Totals:
    """Exact sums of whole numbers in numbered cells, from blocks; of any size.

    Parameters
    ----------
    cells : int

    Examples
    --------
    >>> totals = Totals(2)
    >>> totals.add(np.array([0, 1, 0]), np.array([2.0**60, 1.0, 2.0**60]))
    >>> totals.add(np.array([0, 0]), np.array([2.0**62, 1.0]))
    >>> int(totals.sums[0]) == 2**61 + 2**62 + 1
    True
    """

    def __init__(self, cells: int) -> None:
        self.sums: np.ndarray = np.zeros(cells, np.int64)
        self._largest = 0.0

    def add(self, cells: np.ndarray, counts: np.ndarray) -> None:
        """Add `counts` (whole numbers as float64) to their cells."""
        self._largest += float(np.abs(counts).sum())
        if self._largest < _SUM_LIMIT:
            np.add.at(self.sums, cells, counts.astype(np.int64))
            return
        self.sums = self.sums.astype(object)  # Python's integers have no end
        np.add.at(self.sums, cells, np.array([int(count) for count in counts], object))


def allowed(decimals: int, limit: float) -> Decimal:
    """Multiples of ``10**-decimals`` up to a limit; 8.2 is 8.2 although its float lies a hair below."""
    scaled = Decimal(limit).scaleb(decimals)
    nearest = scaled.to_integral_value()
    return nearest if abs(scaled - nearest) <= abs(scaled) * Decimal(2) ** -50 else scaled


def within(count: int, decimals: int, limit: float) -> bool:
    """Whether a sum is within a limit."""
    return Decimal(count) <= allowed(decimals, limit)
