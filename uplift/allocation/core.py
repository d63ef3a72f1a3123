"""The units in doubt at near-optimal prices: their choices, and the linear program of what remains of the limits.

A unit whose best choice leads by much keeps it. For the others, the core, every other good choice is a *switch* away
from the best one. Written in switches the linear program has one row per constraint and bounds for the rest, and one
more row only for units with several switches, which makes it small enough for a simplex method.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import linprog
from scipy.sparse import coo_matrix, csr_matrix, vstack

from uplift.allocation.coupled import Coupled, HardPass


@dataclass(frozen=True, eq=False)
class Core:
    """Choices of some units, one unit after the other, with integer uses.

    Attributes
    ----------
    units : ndarray of int64 [q]
        Positions in the coupled problem.
    first : ndarray of int64 [q + 1]
        Where each unit's choices start.
    unit, arm, regret : ndarray [e]
        Per choice: index into `units`, choice code, regret at the prices.
    near : ndarray of bool [e]
        Whether the linear program may use the choice; the control is always listed, for rounding.
    base : ndarray of int64 [q]
        Entry of each unit's best choice.
    rows, amount : ndarray of int64 [e, family]
        Rows that the choice uses (-1: none) and how much, in multiples.
    value : ndarray of int64 [e]
        In multiples.
    """

    units: np.ndarray
    first: np.ndarray
    unit: np.ndarray
    arm: np.ndarray
    regret: np.ndarray
    near: np.ndarray
    base: np.ndarray
    rows: np.ndarray
    amount: np.ndarray
    value: np.ndarray

    @property
    def switches(self) -> np.ndarray:
        """Entries of the linear program that are not their unit's best choice."""
        other = self.near.copy()
        other[self.base] = False
        return np.flatnonzero(other)


def make_core(problem: Coupled, at: HardPass, units: np.ndarray, most: float) -> Core:
    """Choices of `units` with regret up to `most`; units with a single one are left out."""
    unit, arm, regret = problem.near(at.prices, units, most)
    count = np.bincount(unit, minlength=len(units))
    keep = count[unit] > 1
    unit, arm, regret = unit[keep], arm[keep], regret[keep]
    kept = np.flatnonzero(count > 1)
    unit = np.searchsorted(kept, unit)
    units = units[kept]
    first = np.zeros(len(units) + 1, np.int64)
    np.cumsum(count[kept], out=first[1:])
    base = np.flatnonzero(at.arms[units][unit] == arm)
    if len(base) != len(units):  # the best choice is the pass's own, whatever the last bit says
        raise RuntimeError("a unit's best choice is not among its near ones; please report this")
    value, cost = problem.value[units[unit], arm], problem.cost[units[unit], arm]
    rows = problem.rows.rowmap[problem.slot[units[unit]] + arm[:, None]].astype(np.int64)
    row = np.where(rows >= 0, rows, 0)
    if len(problem.rows):
        uses = problem.alpha[row] + problem.beta[row] * cost[:, None] + problem.gamma[row] * value[:, None]
        amount = np.where(rows >= 0, whole_up(uses * problem.scales[row]), 0)
    else:
        amount = np.zeros(rows.shape, np.int64)
    worth = -whole_up(-value * problem.problem.value_unit.scale)
    return Core(units, first, unit, arm, regret, regret <= most, base, rows, amount, worth)


def whole_up(scaled: np.ndarray) -> np.ndarray:
    """As :func:`uplift.allocation.dual.round_up`, for arrays of scaled amounts."""
    nearest = np.rint(scaled)
    close = np.abs(scaled - nearest) <= 4 * 2.0**-52 * np.abs(scaled)
    result: np.ndarray = np.where(close, nearest, np.ceil(scaled)).astype(np.int64)
    return result


def program(problem: Coupled, core: Core, residual: np.ndarray) -> dict[str, Any]:
    """The program in switches, scaled: gain to minimise (negative), matrix and right sides.

    ``residual`` is what the limits leave when everybody has the best choice, in multiples (negative: overused).
    """
    switches, m = core.switches, len(problem.rows)
    column = np.arange(len(switches))
    start = core.base[core.unit[switches]]
    families = core.rows.shape[1]
    rows = np.concatenate([core.rows[switches], core.rows[start]], axis=1).ravel()
    columns = np.repeat(column, 2 * families)
    amounts = np.concatenate([core.amount[switches], -core.amount[start]], axis=1).ravel().astype(np.float64)
    used = (rows >= 0) & (amounts != 0)
    matrix = coo_matrix(
        (amounts[used] / problem.weights[rows[used]], (rows[used], columns[used])), shape=(m, len(switches))
    ).tocsr()
    right = residual / problem.weights
    several = np.flatnonzero(np.bincount(core.unit[switches], minlength=len(core.units)) > 1)
    if len(several):
        place = np.full(len(core.units), -1)
        place[several] = np.arange(len(several))
        mine = place[core.unit[switches]]
        inside = mine >= 0
        one = csr_matrix(
            (np.ones(int(inside.sum())), (mine[inside], column[inside])), shape=(len(several), len(switches))
        )
        matrix, right = vstack([matrix, one]).tocsr(), np.concatenate([right, np.ones(len(several))])
    gain = (core.value[switches] - core.value[start]) / (problem.problem.value_unit.scale * problem.typical)
    return {"c": -gain, "A_ub": matrix, "b_ub": right}


def solve_core(
    problem: Coupled, core: Core, residual: np.ndarray, *, time_limit: float = 60.0
) -> tuple[np.ndarray, np.ndarray] | None:
    """Optimal shares of the switches and prices of all rows; None when the core cannot keep the limits.

    Returns
    -------
    shares : ndarray of float64 [switch]
    prices : ndarray of float64 [row]
    """
    m = len(problem.rows)
    if not len(core.switches):
        return (np.zeros(0), np.zeros(m)) if (residual >= 0).all() else None
    found = linprog(
        **program(problem, core, residual),
        bounds=(0, 1),
        method="highs-ds",
        options={"time_limit": time_limit},
    )
    if found.status != 0 or found.x is None:
        return None
    prices = (
        np.maximum(-found.ineqlin.marginals[:m], 0.0) * problem.typical / (problem.weights / problem.scales)
    )
    return found.x, prices
