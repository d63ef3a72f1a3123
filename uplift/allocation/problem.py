"""The plain allocation problem: who may get what, what it brings, what it costs, and how money is counted.

    maximise   sum_ij v_ij x_ij   subject to   sum_ij c_ij x_ij <= B,   sum_j x_ij <= 1,   x_ij in {0, 1}

a multiple-choice knapsack (Sinha and Zoltners, 1979; Kellerer, Pferschy and Pisinger, 2004, ch. 11) with the
control as a choice of value 0 and cost 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from uplift.allocation.dual import largest_bits
from uplift.allocation.threads import threads_for
from uplift.errors import AllocationError
from uplift.hashing import unit_hash

_SUM_LIMIT = 2**61  # int64 sums of n amounts stay below this, with room for differences
_AMOUNT_LIMIT = 2**52  # one amount stays exact in float64
_FINEST_DECIMALS = 12


@dataclass(frozen=True)
class Unit:
    """Amounts are counted as whole multiples of ``10**-decimals``, so sums are exact in any order.

    At least micro-units (six decimals) wherever the sums fit an int64; finer when there is room, because the
    rounding of every single cost is part of the certified gap.
    """

    decimals: int

    @classmethod
    def for_sum(cls, largest: float, n: int) -> Unit:
        """The finest unit in which `n` amounts up to `largest` add up within int64."""
        room = min(_SUM_LIMIT / max(n, 1), _AMOUNT_LIMIT)
        decimals = math.floor(math.log10(room) - math.log10(max(largest, 1e-300)))
        return cls(min(decimals, _FINEST_DECIMALS))

    @property
    def scale(self) -> float:
        """Multiples per 1.0."""
        return float(10**self.decimals) if self.decimals >= 0 else 10.0**self.decimals

    @property
    def step(self) -> Fraction:
        """The size of one multiple, exactly."""
        return Fraction(10) ** -self.decimals

    def floor(self, amount: float) -> int:
        """Whole multiples in `amount`, rounded down; 8.2 is 8.2 although its float lies just below."""
        scaled = Fraction(amount) / self.step
        nearest = round(scaled)
        if abs(scaled - nearest) <= abs(scaled) * Fraction(1, 2**50):
            return nearest
        return math.floor(scaled)

    def to_float(self, multiples: int) -> float:
        """Back to an amount, correctly rounded."""
        return float(multiples * self.step)


@dataclass(frozen=True, eq=False)
class Problem:
    """Validated arrays of one allocation; build it with :func:`make_problem`.

    Attributes
    ----------
    value, cost : ndarray [unit, arm]
        float32 or float64 (both the same), both C- or both F-ordered, finite, without the control's column.
    open_unit : ndarray of bool [unit] or [0]
        False: the unit stays in control. Empty when every unit is open.
    open_arm : ndarray of bool [unit, arm] or [0, 0]
        False: the unit cannot get the arm. Empty when every arm is open to everyone.
    budget : float
        >= 0, or inf.
    min_roi : float
        No step up a unit's menu may return less value per unit of cost than this.
    allow_harm : bool
        Whether an arm with negative value and negative cost may be used to pay for others.
    units : pyarrow Array or None
        Unit ids that break ties; None: row numbers.
    salt : str
        Key of the hash that orders ties.
    """

    value: np.ndarray
    cost: np.ndarray
    open_unit: np.ndarray
    open_arm: np.ndarray
    budget: float
    min_roi: float
    allow_harm: bool
    units: pa.Array | None
    salt: str
    largest_value: float
    largest_cost: float
    value_unit: Unit = field(init=False)
    cost_unit: Unit = field(init=False)

    def __post_init__(self) -> None:
        # The curve adds values of harmful arms with both signs: same bound, sums are over absolute values.
        object.__setattr__(self, "value_unit", Unit.for_sum(self.largest_value, self.n_units))
        object.__setattr__(self, "cost_unit", Unit.for_sum(self.largest_cost, self.n_units))

    @property
    def n_units(self) -> int:
        return int(self.value.shape[0])

    @property
    def n_arms(self) -> int:
        """Arms without the control."""
        return int(self.value.shape[1])

    @property
    def budget_multiples(self) -> int | None:
        """The budget in whole cost units, rounded down; None when there is no limit."""
        return None if math.isinf(self.budget) else min(self.cost_unit.floor(self.budget), 2 * _SUM_LIMIT)

    def amounts_of(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Values and costs of some units, float64 [len(rows), arm] in C order.

        By ``take``, which is three times faster than an index on rows of a few numbers.
        """
        value, cost = (array.take(rows, axis=0) for array in (self.value, self.cost))
        return np.ascontiguousarray(value, np.float64), np.ascontiguousarray(cost, np.float64)

    def tie_keys(self, rows: np.ndarray) -> np.ndarray:
        """Order among equal slopes, uint64 [len(rows)]: a keyed hash of the unit id, never the row order."""
        rows = np.asarray(rows, np.int64)
        ids = pa.array(rows) if self.units is None else self.units.take(pa.array(rows))
        return unit_hash(ids, f"tie:{self.salt}")


def make_problem(
    value: Any,
    cost: Any,
    *,
    budget: float | None,
    eligible: Any = None,
    closed: np.ndarray | None = None,
    units: pa.Array | None = None,
    salt: str = "",
    min_roi: float | None = None,
    allow_harm: bool = False,
    arms: tuple[str, ...] | None = None,
) -> Problem:
    """Check the inputs and lay them out for the kernels (copies only what has the wrong type or order).

    Parameters
    ----------
    value, cost : array-like [unit, arm]
        Expected incremental value and expected cost of every arm but the control. A 1-D array is one arm.
    budget : float or None
        >= 0; ``inf`` or None: no limit.
    eligible : array-like of bool, optional
        [unit], [unit, arm]; False keeps the unit from the arm(s). Values and costs there are not looked at.
    closed : ndarray of bool [unit], optional
        True: the unit stays in control (holdout).
    units, salt
        See :class:`Problem`.
    min_roi : float, optional
        >= 0.
    allow_harm : bool
        See :class:`Problem`.
    arms : tuple of str, optional
        Names of the arms (without the control) for error messages.

    Raises
    ------
    AllocationError
        Shapes disagree, a number is missing or infinite, or the budget or `min_roi` cannot be used.
    """
    limit = math.inf if budget is None else nonnegative("The budget", budget, allow_infinite=True)
    floor = 0.0 if min_roi is None else nonnegative("min_roi", min_roi)
    values, costs = _number_arrays(value, cost)
    n, k = values.shape
    if k > np.iinfo(np.int16).max - 1:
        raise AllocationError(f"There are {k} arms, more than an int16 arm code can hold: use fewer arms.")
    open_unit, open_arm = _masks(eligible, closed, n, k)
    names = arms if arms is not None else tuple(f"arm {j}" for j in range(k))
    values, largest_value = _finite("value", values, open_arm, names)
    costs, largest_cost = _finite("cost", costs, open_arm, names)
    return Problem(
        value=values,
        cost=costs,
        open_unit=open_unit,
        open_arm=open_arm,
        budget=limit,
        min_roi=floor,
        allow_harm=bool(allow_harm),
        units=units,
        salt=salt,
        largest_value=largest_value,
        largest_cost=largest_cost,
    )


def nonnegative(what: str, number: float, *, allow_infinite: bool = False) -> float:
    """The number as a float.

    Raises
    ------
    AllocationError
        It is no number, negative, or infinite where that makes no sense.
    """
    try:
        amount = float(number)
    except (TypeError, ValueError):
        raise AllocationError(f"{what} is {number!r}, which is no number: give one >= 0.") from None
    if math.isnan(amount) or amount < 0 or (math.isinf(amount) and not allow_infinite):
        extra = " (inf for no limit)" if allow_infinite else ""
        raise AllocationError(f"{what} is {amount!r}: give a number >= 0{extra}.")
    return amount


def _number_arrays(value: Any, cost: Any) -> tuple[np.ndarray, np.ndarray]:
    arrays = []
    for name, given in (("value", value), ("cost", cost)):
        array = np.asarray(given)
        if array.ndim == 1:
            array = array[:, None]
        if array.ndim != 2 or array.dtype.kind not in "fiub":
            raise AllocationError(
                f"{name} has shape {array.shape} and type {array.dtype}: give numbers in the order [unit, arm]."
            )
        arrays.append(array)
    values, costs = arrays
    if values.shape != costs.shape:
        raise AllocationError(
            f"value has shape {values.shape} but cost has shape {costs.shape}: "
            "give one value and one cost per unit and arm, without the control."
        )
    if values.shape[1] == 0:
        raise AllocationError("value and cost have no arm: give at least one arm besides the control.")
    dtype = np.dtype(np.float32 if values.dtype == costs.dtype == np.float32 else np.float64)
    columns_first = all(a.flags.f_contiguous and not a.flags.c_contiguous for a in arrays)
    order: Literal["F", "C"] = "F" if columns_first else "C"
    return values.astype(dtype, order=order, copy=False), costs.astype(dtype, order=order, copy=False)


def _masks(eligible: Any, closed: np.ndarray | None, n: int, k: int) -> tuple[np.ndarray, np.ndarray]:
    open_unit, open_arm = np.empty(0, np.bool_), np.empty((0, 0), np.bool_)
    if eligible is not None:
        mask = np.asarray(eligible)
        if mask.dtype != np.bool_ or mask.shape not in ((n,), (n, k)):
            raise AllocationError(
                f"eligible has shape {mask.shape} and type {mask.dtype}: "
                f"give booleans of shape ({n},) or ({n}, {k}), in the order [unit] or [unit, arm]."
            )
        if mask.ndim == 1:
            mask = np.repeat(mask[:, None], k, axis=1)
        open_arm = np.ascontiguousarray(mask)
    if closed is not None:
        open_unit = ~np.asarray(closed, np.bool_)
        if open_unit.shape != (n,):
            raise AllocationError(f"holdout has shape {open_unit.shape}: give one boolean per unit ({n}).")
    return open_unit, open_arm


def _finite(
    name: str, array: np.ndarray, open_arm: np.ndarray, arms: tuple[str, ...]
) -> tuple[np.ndarray, float]:
    """The array and its largest absolute number; what stands in closed cells is replaced by zero."""
    largest = largest_magnitude(array)
    if math.isfinite(largest) and not open_arm.size:
        return array, largest
    if open_arm.size:
        array = np.where(open_arm, array, array.dtype.type(0))
        largest = largest_magnitude(array)
    if not math.isfinite(largest):
        bad = ~np.isfinite(array)
        rows, columns = np.nonzero(bad)
        raise AllocationError(
            f"{name} of arm {arms[columns[0]]!r} is {array[rows[0], columns[0]]} for row {rows[0]} "
            f"({int(bad.sum())} such cells): give finite numbers, or mark the cells as not eligible."
        )
    return array, largest


def largest_magnitude(array: np.ndarray) -> float:
    """max |x| over the array; inf or NaN when there is one. One pass over the bit patterns."""
    if not array.size:
        return 0.0
    flat = (array if array.flags.c_contiguous else array.T).reshape(-1)
    integer, mask = (np.int32, 0x7FFFFFFF) if array.dtype == np.float32 else (np.int64, 0x7FFFFFFFFFFFFFFF)
    with threads_for(len(array)):
        bits = largest_bits(flat.view(integer), integer(mask))
    return float(np.array([bits], integer).view(array.dtype)[0])
