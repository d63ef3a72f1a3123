"""Numbers for people: percent, points and money, never more digits than can be read, never NaN."""

from __future__ import annotations

import math
from dataclasses import dataclass

from uplift.arms import VALUE_STAGE

MISSING = "–"
NO_INTERVAL = "no interval"
NOTHING = 1e-9
"""Smaller amounts are shown as 0; the exact number stays in the cell."""
POINTS = "pp"
MINUS = "−"


def finite(number: float | int | None) -> bool:
    """Whether there is a number to show."""
    return number is not None and math.isfinite(number)


def exact(number: float | int | None) -> str:
    """All digits, for title and data attributes; empty when there is none."""
    return repr(float(number)) if finite(number) else ""  # type: ignore[arg-type]


def decimal(number: float | int | None, digits: int, *, sign: bool = False) -> str:
    """Fixed decimals with thousands separators and a real minus sign.

    Examples
    --------
    >>> decimal(-1234.5678, 1), decimal(0.25, 2, sign=True), decimal(float("nan"), 1)
    ('−1,234.6', '+0.25', '–')
    """
    if not finite(number):
        return MISSING
    text = f"{abs(number):,.{digits}f}"  # type: ignore[arg-type]
    zero = not text.strip("0.,")
    return (MINUS if number < 0 and not zero else "+" if sign and not zero else "") + text  # type: ignore[operator]


def compact(number: float | int | None, *, sign: bool = False, significant: int = 3) -> str:
    """About `significant` digits, whole numbers from a hundred on.

    Examples
    --------
    >>> compact(12345.678), compact(2.818), compact(0.01234), compact(0)
    ('12,346', '2.82', '0.0123', '0')
    """
    if not finite(number):
        return MISSING
    size = abs(number)  # type: ignore[arg-type]
    if size < NOTHING:
        return "0"
    digits = max(0, significant - 1 - math.floor(math.log10(size)))
    return decimal(number, min(digits, 12), sign=sign)


def amount(number: float | int | None) -> str:
    """A number that somebody typed in: as it was typed.

    Examples
    --------
    >>> amount(40.0), amount(2.5), amount(12000)
    ('40', '2.5', '12,000')
    """
    if not finite(number):
        return MISSING
    return f"{number:,.10g}".replace("-", MINUS)


def whole(number: float | int | None) -> str:
    """A count.

    Examples
    --------
    >>> whole(19935)
    '19,935'
    """
    return decimal(number, 0)


def percent(number: float | int | None, *, digits: int = 1) -> str:
    """A share.

    Examples
    --------
    >>> percent(0.05393)
    '5.4 %'
    """
    return f"{decimal(100 * number, digits)} %" if finite(number) else MISSING  # type: ignore[operator]


@dataclass(frozen=True)
class Unit:
    """How the numbers of one quantity are shown.

    Attributes
    ----------
    factor : float
        Multiplies the exact number.
    suffix : str
        After the number, with its space.
    name : str
        For axis titles.
    digits : int or None
        Fixed decimals; None for three significant digits.
    """

    factor: float
    suffix: str
    name: str
    digits: int | None = None

    def show(self, number: float | int | None, *, sign: bool = False, suffix: bool = True) -> str:
        """The number with its unit."""
        if not finite(number):
            return MISSING
        scaled = self.factor * number  # type: ignore[operator]
        text = compact(scaled, sign=sign) if self.digits is None else decimal(scaled, self.digits, sign=sign)
        return text + (self.suffix if suffix else "")

    def interval(self, low: float | None, high: float | None, *, sign: bool = False) -> str:
        """``low to high``, or that there is none."""
        if not (finite(low) and finite(high)):
            return NO_INTERVAL
        return f"{self.show(low, sign=sign, suffix=False)} to {self.show(high, sign=sign, suffix=False)}"


RATIO = Unit(1.0, "", "ratio", 3)
MONEY = Unit(1.0, "", "money")
RELATIVE = Unit(100.0, " %", "% of control", 1)


def rate_unit(stage: str) -> Unit:
    """Unit of a mean outcome."""
    return MONEY if stage == VALUE_STAGE else Unit(100.0, " %", "% of customers", 2)


def effect_unit(stage: str) -> Unit:
    """Unit of a difference: percentage points, or value per customer."""
    if stage == VALUE_STAGE:
        return Unit(1.0, "", f"{VALUE_STAGE} per customer")
    return Unit(100.0, f" {POINTS}", "percentage points", 2)


def metric_unit(metric: str, stage: str) -> Unit:
    """Unit of a ranking metric."""
    if metric in ("qini_sklift", "auuc_sklift", "calibration_slope"):
        return RATIO
    if metric == "qini_per_capita" and stage != VALUE_STAGE:
        return Unit(100.0, f" {POINTS}", "percentage points", 3)
    return effect_unit(stage)


def probability(p: float) -> str:
    """A p-value for people.

    Examples
    --------
    >>> probability(0.0312), probability(1e-9), probability(1.0)
    ('0.031', '< 0.001', '1.000')
    """
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
