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


def multiples(amounts: np.ndarray, decimals: int, *, up: bool) -> int:
    """Sum of amounts, each rounded up (costs) or down (values) to a multiple of ``10**-decimals``.

    Examples
    --------
    >>> multiples(np.array([0.1, 0.2, 0.30004]), 3, up=True)
    601
    """
    scaled = amounts * (float(10**decimals) if decimals >= 0 else 10.0**decimals)
    near = np.rint(scaled)
    away = np.abs(scaled - near) > _SNAP * np.abs(scaled)
    if away.any():
        near[away] = np.ceil(scaled[away]) if up else np.floor(scaled[away])
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


def within(count: int, decimals: int, limit: float) -> bool:
    """Whether a sum is within a limit; 8.2 is 8.2 although its float lies a hair below."""
    scaled = Decimal(limit).scaleb(decimals)
    nearest = scaled.to_integral_value()
    allowed = nearest if abs(scaled - nearest) <= abs(scaled) * Decimal(2) ** -50 else scaled
    return Decimal(count) <= allowed
