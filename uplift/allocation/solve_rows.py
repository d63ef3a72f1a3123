"""Many constraints, solved: prices by Newton, the units in doubt by a linear program, whole decisions by search.

1. prices of all rows: a linear program over all choices of a small problem, else Newton on the smoothed dual;
2. everybody's best choice at these prices, and the bound they prove;
3. the core, the units with the smallest leads, by HiGHS; its prices are kept where they lower the bound;
4. whole decisions: round, repair, fill, swap, all in integers;
5. on request (and for small problems by itself) a search that proves the optimum.

Bound less value is exactly the regret of the decisions plus the slack of every row at its price.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from uplift.allocation.core import Core, make_core, solve_core
from uplift.allocation.coupled import Coupled, HardPass, make_coupled
from uplift.allocation.exact import prove
from uplift.allocation.newton import newton_prices
from uplift.allocation.problem import Problem
from uplift.allocation.rounding import fill, repair, swap
from uplift.allocation.rows import Rows
from uplift.allocation.solve import Solution
from uplift.allocation.threads import threads_for

if TYPE_CHECKING:
    import torch

_DIRECT = 40_000
"""Choices up to which the linear program is solved over everything."""
_PROVE = 20_000
"""Choices up to which the optimum is searched for without being asked."""
_CORE = 6_000
_CORE_PER_ROW = 30
_MOST_CORE = 20_000
_WHOLE = 1e-6


@dataclass(frozen=True, eq=False)
class _Rounded:
    """A whole decision that keeps every limit."""

    arms: np.ndarray
    worth: int


def solve_rows(
    problem: Problem,
    rows: Rows,
    *,
    exactly_one: bool = False,
    method: str = "auto",
    time_limit: float = 10.0,
    start: Solution | None = None,
    device: torch.device | None = None,
) -> Solution:
    """Allocate under any number of rows.

    Parameters
    ----------
    problem : Problem
        Its budget is a row where it is finite.
    rows : Rows
    exactly_one : bool
        Every unit with an open arm gets one.
    method : {"auto", "dual", "exact"}
        ``exact`` searches for the proven optimum; ``auto`` does so for small problems.
    time_limit : float
        Seconds for that search.
    start : Solution, optional
        Of the same problem with the budget as its only row: its prices and decision are the start.

    Raises
    ------
    AllocationError
        The constraints cannot hold together; the message names those that conflict.
    """
    with threads_for(problem.n_units):
        return _solve(problem, rows, exactly_one, method, time_limit, start, device)


def _solve(
    problem: Problem,
    rows: Rows,
    exactly_one: bool,
    method: str,
    time_limit: float,
    start: Solution | None,
    device: torch.device | None,
) -> Solution:
    from uplift.allocation.conflict import check_feasible, refuse

    coupled = make_coupled(problem, rows, exactly_one=exactly_one, device=device)
    check_feasible(coupled, exactly_one=exactly_one)
    passes = 0
    rounded: _Rounded | None
    if start is not None:
        at = coupled.hard(np.array([start.price] * len(rows)))
        bound = min(at.dual, start.bound)
        rounded = _Rounded(start.arms[coupled.order], start.worth)
    else:
        if coupled.n_choices <= _DIRECT:
            solved = _small(coupled)
            if solved is None:
                raise refuse(coupled, exactly_one=exactly_one)
            at, rounded = solved
        else:
            prices, passes = newton_prices(coupled)
            at, rounded = _large(coupled, prices, exactly_one)
            passes += 3
        bound = at.dual
    status = "certified"
    small = coupled.n_choices <= _PROVE and method == "auto"
    if len(coupled) and (method == "exact" or small or rounded is None):
        proof = prove(coupled, at, None if rounded is None else rounded.worth, bound, time_limit=time_limit)
        if proof.arms is not None:
            rounded = _Rounded(proof.arms, proof.worth)
        if rounded is None:
            raise refuse(coupled, exactly_one=exactly_one, proof=proof.status)
        bound, status = min(bound, proof.bound), proof.status
    assert rounded is not None
    arms = coupled.arms_of_problem(rounded.arms)
    rounding = int(np.count_nonzero(arms)) * problem.value_unit.step
    return Solution(
        arms=arms,
        price=float(at.prices[0]) if len(rows) and rows.items[0].name == "budget" else 0.0,
        spend=-1,
        worth=rounded.worth,
        bound=max(bound, rounded.worth * problem.value_unit.step),
        rounding=rounding + Fraction(2.0**-48) * Fraction(abs(float(bound))),
        passes=passes,
        core=0,
        rows=rows,
        prices=at.prices,
        method="exact" if status != "certified" else "dual",
        status=status,
        exactly_one=exactly_one,
    )


def _small(problem: Coupled) -> tuple[HardPass, _Rounded | None] | None:
    """The whole linear program at once; None: it has no solution."""
    zero = problem.hard(np.zeros(len(problem.rows)))
    core = make_core(problem, zero, np.arange(len(problem)), np.inf)
    found = solve_core(problem, core, problem.bounds - zero.uses)
    if found is None:
        return None
    shares, prices = found
    at = problem.hard(prices)
    rounded = _round(problem, zero, core, shares, prices)
    if at.dual > zero.dual:
        at = zero
    return at, rounded


def _large(problem: Coupled, prices: np.ndarray, exactly_one: bool) -> tuple[HardPass, _Rounded | None]:
    from uplift.allocation.conflict import refuse

    at = problem.hard(prices)
    best, rounded = at, None
    size = min(len(problem), max(_CORE, _CORE_PER_ROW * len(problem.rows)))
    for _ in range(6):
        if size >= len(problem):
            most, units = np.inf, np.arange(len(problem))
        else:
            most = float(np.partition(at.lead, size)[size])
            units = np.flatnonzero(at.lead <= most)
        core = make_core(problem, at, units, most)
        found = solve_core(problem, core, problem.bounds - at.uses)
        if found is None:
            if size >= len(problem):
                raise refuse(problem, exactly_one=exactly_one)
            size = min(len(problem), size * 3)
            continue
        shares, prices = found
        after = problem.hard(prices)
        relaxed = _relaxed(problem, at, core, shares)
        if after.dual < best.dual:
            best = after
        candidate = _round(problem, at, core, shares, best.prices)
        if candidate is not None and (rounded is None or candidate.worth > rounded.worth):
            rounded = candidate
        solved = best.dual_float - relaxed <= 1e-6 * abs(relaxed)
        if rounded is not None and solved:
            break
        if not solved:
            at = best
        size = min(len(problem), size * (1 if not solved and rounded is not None else 3))
    return best, rounded


def _relaxed(problem: Coupled, at: HardPass, core: Core, shares: np.ndarray) -> float:
    """Value of the linear program's solution."""
    switches = core.switches
    gain = core.value[switches] - core.value[core.base[core.unit[switches]]]
    return (at.worth + float(gain @ shares)) / problem.problem.value_unit.scale


def _round(
    problem: Coupled, at: HardPass, core: Core, shares: np.ndarray, prices: np.ndarray
) -> _Rounded | None:
    """Whole decisions near the shares; None when no repair was found."""
    core = _repriced(problem, core, prices)
    switches = core.switches
    current = core.base.copy()
    unit = core.unit[switches]
    taken = shares > 1 - _WHOLE
    current[unit[taken]] = switches[taken]
    # A unit in shares starts at the control where it can: that breaks no limit from above.
    split = np.unique(unit[(shares > _WHOLE) & ~taken])
    control = core.first[split]
    current[split] = np.where(core.arm[control] == 0, control, core.base[split])
    residual = problem.bounds - at.uses
    for entries, sign in ((core.base, 1), (current, -1)):
        rows, amount = core.rows[entries], core.amount[entries]
        np.add.at(residual, rows[rows >= 0], sign * amount[rows >= 0])
    scale = problem.problem.value_unit.scale
    price = prices / problem.scales
    if not repair(
        core.first, core.rows, core.amount, core.regret, problem.weights, current, residual, 20_000
    ):
        return None
    for _ in range(3):
        fill(core.first, core.rows, core.amount, core.value, core.regret, current, residual, scale)
        if not swap(core.first, core.rows, core.amount, core.value, core.regret, price, current, residual):
            break
    arms = at.arms.copy()
    arms[core.units] = core.arm[current]
    worth = at.worth + int((core.value[current] - core.value[core.base]).sum())
    return _Rounded(arms, worth)


def _repriced(problem: Coupled, core: Core, prices: np.ndarray) -> Core:
    """The core with regrets at other prices."""
    if not len(core.units):
        return core
    row = np.where(core.rows >= 0, core.rows, 0)
    paid = (
        np.where(core.rows >= 0, core.amount * (prices / problem.scales)[row], 0.0)
        if len(prices)
        else np.zeros((len(core.arm), 1))
    )
    reduced = core.value / problem.problem.value_unit.scale - paid.sum(axis=1)
    best = np.maximum.reduceat(reduced, core.first[:-1])
    return replace(core, regret=best[core.unit] - reduced)
