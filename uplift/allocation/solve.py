"""One budget, solved: bracket the price of money, read all units once, finish on the units still in doubt.

The relaxed knapsack is one number, the price of money. A sample brackets it; one pass over all units finds the
best arm at both ends of the bracket; units whose answer is the same at both ends are final, and their share of the
dual bound is known for every price between. The rest, the core, is solved by its hull steps (a core in the sense of
Pisinger, 1995). The sample only saves time: a bracket that misses is widened, and the answer does not depend on it.
Small problems take the bracket from zero to infinity, which makes every unit with a choice part of the core.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from itertools import count
from typing import Any

import numpy as np

from uplift.allocation.dual import price_pass
from uplift.allocation.fill import AHEAD, BACK, finish
from uplift.allocation.hull import Steps, hull_steps, steepest_first
from uplift.allocation.problem import Problem
from uplift.allocation.rows import Rows
from uplift.allocation.threads import threads_for

SAMPLE_FROM = 100_000
"""Units from which on a sample brackets the price."""
_SIGMAS = 5.0
CLOSE = 1e-9
"""Relative distance within which a slope counts as touching a price."""
_WIDEN = (1.5, 10.0)
_ROUNDING = 16 * 2.0**-52


@dataclass(frozen=True)
class Bracket:
    """Prices between which the price of money lies; ``high = inf`` and ``low = lowest allowed`` always hold it."""

    high: float
    low: float

    @property
    def high_weights(self) -> tuple[float, float]:
        """(weight of value, price): infinity is weight 0, price 1."""
        return (0.0, 1.0) if math.isinf(self.high) else (1.0, self.high)


@dataclass(frozen=True, eq=False)
class Solution:
    """Arms and proof of one solved problem; sums are multiples of the problem's units.

    Attributes
    ----------
    arms : ndarray of int16 [unit]
    price : float
        Price of money (dual of the budget).
    spend, worth : int
    bound : Fraction
        Upper bound on the value of any feasible choice, including `rounding`.
    rounding : Fraction
        What counting in multiples and comparing in float64 may hide.
    passes : int
        Times all units were read.
    core : int
        Units that needed a second look.
    rows : Rows or None
        The limits, where there is more than one budget; `spend` is then not counted by the solver.
    prices : ndarray of float64 [row] or None
    method : str
        ``"one_budget"``, ``"dual"`` or ``"exact"``.
    status : str
        ``"certified"``; of a search for the optimum also ``"optimal"``, ``"time limit"`` or ``"too large"``.
    exactly_one : bool
        Whether control was closed to units with an open arm.
    """

    arms: np.ndarray
    price: float
    spend: int
    worth: int
    bound: Fraction
    rounding: Fraction
    passes: int
    core: int
    rows: Rows | None = None
    prices: np.ndarray | None = None
    method: str = "one_budget"
    status: str = "certified"
    exactly_one: bool = False


@dataclass(frozen=True, eq=False)
class Reading:
    """What one pass at a bracket leaves: sums at the high price, and the core's steps down to the low price."""

    bracket: Bracket
    arms: np.ndarray
    rows: np.ndarray
    spend: int
    worth: int
    treated: int
    steps: Steps
    order: np.ndarray
    slopes: np.ndarray
    spend_after: np.ndarray

    @classmethod
    def of(
        cls, bracket: Bracket, arms: np.ndarray, rows: np.ndarray, sums: Sequence[int], steps: Steps
    ) -> Reading:
        """With the steps in order; `sums` are spend, worth and treated units at the high price."""
        spend, worth, treated = (int(total) for total in sums)
        order = steepest_first(steps.slope)
        spend_after = spend + np.cumsum(steps.cost[order])
        return cls(bracket, arms, rows, spend, worth, treated, steps, order, steps.slope[order], spend_after)

    def places(self, slope: float) -> tuple[int, int]:
        """Steps that are steeper than `slope`, and those that are not less steep."""
        flattest_first = self.slopes[::-1]
        n = len(flattest_first)
        return (
            n - int(np.searchsorted(flattest_first, slope, side="right")),
            n - int(np.searchsorted(flattest_first, slope, side="left")),
        )


ReadAt = Callable[[float, float, float], tuple[np.ndarray, np.ndarray, int, int, int]]
"""(weight of value, high price, low price) to what :func:`uplift.allocation.dual.price_pass` finds there."""


def solve(problem: Problem, *, sample: int | None = None, read: ReadAt | None = None) -> Solution:
    """Allocate one budget.

    Parameters
    ----------
    problem : Problem
    sample : int, optional
        Units to bracket the price with; 0: none (every unit goes into the core). By default none below
        `SAMPLE_FROM` units and about ``2.7 n^(2/3)`` above, which balances the cost of sample and core. The answer
        is the same for every choice.
    read : callable, optional
        Reads all units at two prices; default on the CPU. Bracket, core and the steps around the break are few units
        and stay there.

    Returns
    -------
    Solution
    """
    with threads_for(problem.n_units):
        return _solve(problem, sample, read or partial(_read_here, problem))


def _read_here(problem: Problem, weight: float, high: float, low: float) -> Any:
    return price_pass(*_kernel_inputs(problem), weight, high, low, *_scales(problem))


def _solve(problem: Problem, sample: int | None, read: ReadAt) -> Solution:
    n = problem.n_units
    if n == 0:
        return Solution(np.zeros(0, np.int16), 0.0, 0, 0, Fraction(0), Fraction(0), 0, 0)
    if problem.budget_multiples is None:
        return _without_limit(problem, read)
    if sample is None:
        sample = 0 if n < SAMPLE_FROM else int(2.7 * n ** (2 / 3))
    bracket = sampled_bracket(problem, sample) if sample else Bracket(math.inf, problem.min_roi)
    passes = 0
    if bracket is None:
        slack = _without_limit(problem, read)
        if slack.spend <= problem.budget_multiples:
            return slack
        passes, bracket = 1, Bracket(math.inf, problem.min_roi)
    for attempt in count():
        reading = _reading(problem, bracket, read)
        passes += 1
        wider = widen(problem, reading, attempt)
        if wider is None:
            break
        bracket = wider
    return conclude(problem, reading, passes)


def sampled_bracket(problem: Problem, size: int) -> Bracket | None:
    """Prices at which a sample spends five standard errors more and less than the budget.

    One unit from each of `size` equal blocks of rows, at a pseudo-random place, so that a sorted file is covered
    evenly. None: the budget seems enough for everyone.
    """
    n = problem.n_units
    jitter = np.random.default_rng(0x5EED).random(size)
    rows = np.minimum(((np.arange(size) + jitter) * (n / size)).astype(np.int64), n - 1)
    if problem.open_unit.size:
        rows = rows[problem.open_unit[rows]]
    return bracket_of_sample(_sub_problem(problem, rows), size / n)


def bracket_of_sample(part: Problem, share: float, clusters: np.ndarray | None = None) -> Bracket | None:
    """Prices at which a sample spends five standard errors more and less than its share of the budget.

    Parameters
    ----------
    part : Problem
        The sampled units, in float64, with the budget of all units.
    share : float
        Sampled share of all units, closed ones included.
    clusters : ndarray of int [unit], optional
        Units of one number were drawn together; the standard error is that of their sums.

    Returns
    -------
    Bracket or None
        None: the budget seems enough for everyone.
    """
    size = part.n_units
    arms, _, spend, _, _ = price_pass(*_kernel_inputs(part), 0.0, 1.0, 0.0, *_scales(part))
    steps = hull_steps(part, np.arange(size), arms, part.min_roi)
    order = steepest_first(steps.slope)
    spend_after = spend + np.cumsum(steps.cost[order])
    assert part.budget_multiples is not None
    target = part.budget_multiples * share
    if not len(order) or spend_after[-1] <= target:
        middle = len(order)
    else:
        middle = int(np.searchsorted(spend_after, target, side="right"))
    taken = np.zeros(len(order), np.bool_)
    taken[order[:middle]] = True
    start = np.where(arms > 0, part.cost[np.arange(size), np.maximum(arms, 1) - 1], 0.0)
    steps_cost = np.bincount(steps.unit, weights=steps.cost * taken, minlength=size)
    sums: np.ndarray = start * part.cost_unit.scale + steps_cost
    if clusters is not None:  # of unequal size: what matters is how far each is from its share
        sums = np.bincount(clusters, weights=sums - sums.mean())
    sigma = float(sums.std()) * math.sqrt(max(len(sums), 1))
    above = int(np.searchsorted(spend_after, target - _SIGMAS * sigma, side="right"))
    below = int(np.searchsorted(spend_after, target + _SIGMAS * sigma, side="right"))
    # Room for the steps that are looked at around the break, twice over.
    above = max(min(above, middle - math.ceil(2 * BACK * share)), 0)
    below = max(below, middle + math.ceil(2 * AHEAD * share))
    if not len(order) or spend_after[-1] <= target - _SIGMAS * sigma:
        return None
    high = math.inf if above == 0 else float(steps.slope[order[above - 1]]) * (1 + 1e-6)
    low = part.min_roi if below >= len(order) else float(steps.slope[order[below]]) * (1 - 1e-6)
    return Bracket(high, max(low, part.min_roi))


def _sub_problem(problem: Problem, rows: np.ndarray) -> Problem:
    """The rows of a problem, in float64, counted in the same units."""
    value, cost = problem.amounts_of(rows)
    part = Problem(
        value=value,
        cost=cost,
        open_unit=np.empty(0, np.bool_),
        open_arm=np.ascontiguousarray(problem.open_arm[rows]) if problem.open_arm.size else problem.open_arm,
        budget=problem.budget,
        min_roi=problem.min_roi,
        allow_harm=problem.allow_harm,
        units=None,
        salt=problem.salt,
        largest_value=problem.largest_value,
        largest_cost=problem.largest_cost,
    )
    object.__setattr__(part, "value_unit", problem.value_unit)
    object.__setattr__(part, "cost_unit", problem.cost_unit)
    return part


def _kernel_inputs(problem: Problem) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, bool]:
    return problem.value, problem.cost, problem.open_unit, problem.open_arm, problem.allow_harm


def _scales(problem: Problem) -> tuple[float, float]:
    return problem.value_unit.scale, problem.cost_unit.scale


def _reading(problem: Problem, bracket: Bracket, read: ReadAt) -> Reading:
    weight, high = bracket.high_weights
    # A slope equal to the low price belongs to the bracket: look a hair further down.
    low = bracket.low * (1 - CLOSE)
    arms, rows, *sums = read(weight, high, low)
    steps = hull_steps(problem, rows, arms[rows], low)
    return Reading.of(bracket, arms, rows, sums, steps)


def widen(problem: Problem, reading: Reading, attempt: int) -> Bracket | None:
    """A wider bracket when the break, or the steps wanted around it, lie outside this one.

    One that keeps missing (a few giant units that the sample did not see) ends at the whole line.
    """
    bracket, money = reading.bracket, problem.budget_multiples
    assert money is not None
    lowest = problem.min_roi
    place = int(np.searchsorted(reading.spend_after, money, side="right"))
    whole_top, whole_bottom = math.isinf(bracket.high), bracket.low <= lowest
    if place < len(reading.order):
        slope = reading.slopes[place]
        before, up_to = reading.places(slope)
        after = len(reading.order) - up_to
        top = whole_top or (before >= BACK and slope < bracket.high * (1 - CLOSE) and reading.spend <= money)
        bottom = whole_bottom or (after >= AHEAD and slope > bracket.low * (1 + CLOSE))
    else:
        top, bottom = whole_top or reading.spend <= money, whole_bottom
        if bottom and reading.spend <= money:
            return None  # all steps fit
    if top and bottom:
        return None
    factor = _WIDEN[attempt] if attempt < len(_WIDEN) else math.inf
    high = bracket.high if top else bracket.high * factor
    low = bracket.low if bottom else bracket.low / factor
    return Bracket(high, max(low, lowest))


def rounding_allowance(problem: Problem, price: float, treated: int) -> Fraction:
    """What sums and comparisons at `price` can hide, summed over all units.

    Values were rounded down and costs up by less than one multiple for each treated unit; float64 comparisons of
    reduced values and slopes misjudge at most a few units in the last place of the largest amount.
    """
    counted = treated * (problem.value_unit.step + Fraction(price) * problem.cost_unit.step)
    scale = problem.largest_value + price * problem.largest_cost
    return counted + Fraction(_ROUNDING) * problem.n_units * Fraction(scale)


def _without_limit(problem: Problem, read: ReadAt) -> Solution:
    """Everyone at their best arm at the lowest price: optimal when it fits, so the bound is the value itself."""
    low = problem.min_roi * (1 - CLOSE)
    arms, _, spend, worth, treated = read(1.0, low, low)
    return unconstrained(problem, arms, int(spend), int(worth), int(treated), passes=1, core=0)


def unconstrained(
    problem: Problem, arms: np.ndarray, spend: int, worth: int, treated: int, *, passes: int, core: int
) -> Solution:
    rounding = rounding_allowance(problem, problem.min_roi, treated)
    return Solution(
        arms, 0.0, spend, worth, worth * problem.value_unit.step + rounding, rounding, passes, core
    )


def conclude(problem: Problem, reading: Reading, passes: int) -> Solution:
    money = problem.budget_multiples
    assert money is not None
    steps, order, slopes = reading.steps, reading.order, reading.slopes
    place = int(np.searchsorted(reading.spend_after, money, side="right"))
    if place == len(order):
        level = np.diff(steps.first)
        arms = _apply(reading, level)
        spend = int(reading.spend_after[-1]) if len(order) else reading.spend
        worth = reading.worth + int(steps.value.sum())
        treated = int(np.count_nonzero(arms))
        return unconstrained(problem, arms, spend, worth, treated, passes=passes, core=len(reading.rows))

    price = float(slopes[place])
    first_tie, after_ties = reading.places(price)
    spend = int(reading.spend_after[first_tie - 1]) if first_tie else reading.spend
    worth = reading.worth + int(steps.value[order[:first_tie]].sum())
    level = np.bincount(steps.unit[order[:first_tie]], minlength=len(reading.rows))
    rounding = rounding_allowance(problem, price, _treated_after(reading, level))
    slack = Fraction(problem.budget) - spend * problem.cost_unit.step
    bound = worth * problem.value_unit.step + Fraction(price) * slack + rounding

    begin = reading.places(slopes[max(first_tie - BACK, 0)])[0]
    end = reading.places(slopes[min(after_ties + AHEAD, len(order)) - 1])[1]
    around = order[begin:end]
    unit = steps.unit[around]
    step = around - steps.first[unit]
    rows = reading.rows[unit]
    by_rank = np.lexsort((step, rows, problem.tie_keys(rows), -slopes[begin:end]))
    by_rank = by_rank[: after_ties - begin + AHEAD]
    around, unit, step = around[by_rank], unit[by_rank], step[by_rank]
    spent, gained = finish(
        unit, step, steps.cost[around], steps.value[around], level, first_tie - begin, money - spend
    )
    arms = _apply(reading, level)
    return Solution(
        arms, price, spend + int(spent), worth + int(gained), bound, rounding, passes, len(reading.rows)
    )


def _treated_after(reading: Reading, level: np.ndarray) -> int:
    """Units not in control after every core unit has taken its first `level` steps."""
    before = reading.arms[reading.rows]
    after = before.copy()
    moved = np.flatnonzero(level)
    after[moved] = reading.steps.arm[reading.steps.first[moved] + level[moved] - 1]
    return reading.treated + int(np.count_nonzero(after)) - int(np.count_nonzero(before))


def _apply(reading: Reading, level: np.ndarray) -> np.ndarray:
    """Arms after every core unit has taken its first `level` steps."""
    moved = np.flatnonzero(level)
    arms = reading.arms
    arms[reading.rows[moved]] = reading.steps.arm[reading.steps.first[moved] + level[moved] - 1]
    return arms
