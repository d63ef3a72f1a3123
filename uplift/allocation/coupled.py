"""The problem with many rows, laid out for its solvers: units in hash order, the control as choice 0.

The order of a keyed hash of the unit ids makes every later step (samples, sums, ties, the linear program of the
core) independent of the order of rows. Closed choices have value ``-inf``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from uplift.allocation.passes import hard_pass, near_choices, smooth_pass
from uplift.allocation.problem import Problem
from uplift.allocation.rows import Rows

if TYPE_CHECKING:
    import torch

    from uplift.allocation.device_rows import RowPasses

_ROUNDING = 16 * 2.0**-52


@dataclass(frozen=True, eq=False)
class HardPass:
    """Everybody's best choice at given prices.

    ``dual`` and ``dual_float`` are the upper bound D(price) of the units here; `uses` and `worth` in multiples.
    """

    prices: np.ndarray
    arms: np.ndarray
    lead: np.ndarray
    worth: int
    uses: np.ndarray
    dual: Fraction

    @property
    def dual_float(self) -> float:
        return float(self.dual)


@dataclass(frozen=True, eq=False)
class Coupled:
    """Arrays in hash order; only units that have a choice.

    Attributes
    ----------
    value, cost : ndarray of float64 [unit, choice]
    slot : ndarray of int32 [unit, family]
    order : ndarray of int64 [unit]
        Row of the problem.
    rows : Rows
    weights : ndarray of float64 [row]
        Typical use of one chosen arm, in multiples: what "one unit of the row" means in norms.
    typical : float
        Typical value of a unit.
    passes : RowPasses or None
        The amounts on a torch device, which then reads the units (these or more, these first); None: the compiled
        kernels.
    """

    problem: Problem
    rows: Rows
    value: np.ndarray
    cost: np.ndarray
    slot: np.ndarray
    order: np.ndarray
    alpha: np.ndarray
    beta: np.ndarray
    gamma: np.ndarray
    scales: np.ndarray
    bounds: np.ndarray
    limits: np.ndarray
    weights: np.ndarray
    typical: float
    passes: RowPasses | None = None

    def __len__(self) -> int:
        return len(self.value)

    @property
    def n_choices(self) -> int:
        return int(np.count_nonzero(self.value > -np.inf))

    def tables(self, prices: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Prices of a contact, of a unit of cost and of a unit of value, per entry of the row map."""
        known = self.rows.rowmap >= 0
        at = np.where(known, self.rows.rowmap, 0)
        if not len(prices):
            empty = np.zeros(len(at))
            return empty, empty, empty
        return tuple(
            np.where(known, prices[at] * part[at], 0.0) for part in (self.alpha, self.beta, self.gamma)
        )  # type: ignore[return-value]

    @property
    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        return self.value, self.cost, self.slot, self.rows.rowmap

    def hard(self, prices: np.ndarray) -> HardPass:
        """Best choices at `prices`, and the bound they prove."""
        arms, lead, dual, worth, uses, size = self._best(self.tables(prices))
        # float64 misjudges a reduced value by a few units in the last place of its largest part.
        total = int(dual) * self.problem.value_unit.step + Fraction(_ROUNDING) * Fraction(_above(float(size)))
        for price, limit in zip(prices, self.limits, strict=True):
            total += Fraction(float(price)) * Fraction(float(limit))
        return HardPass(prices, arms, lead, int(worth), uses, total)

    def farkas(self, prices: np.ndarray) -> float:
        """The dual with all values left out; below zero, no decision keeps the rows that have a price."""
        a, b, g = self.tables(prices)
        _, _, dual, _, _, size = self._best((a, b, without_value(self, g)))
        total = float(dual) / self.problem.value_unit.scale + float(prices @ self.limits)
        return total + _ROUNDING * (float(size) + float(prices @ np.abs(self.limits)))

    def _best(self, tables: tuple[np.ndarray, np.ndarray, np.ndarray]) -> tuple[Any, ...]:
        """The pass of best choices, where the amounts are."""
        pieces = self.alpha, self.beta, self.gamma, self.scales, self.problem.value_unit.scale
        if self.passes is not None:
            return self.passes.hard(len(self), tables, *pieces)
        found: tuple[Any, ...] = hard_pass(*self.arrays, *tables, *pieces)
        return found

    def smoothed(
        self, units: int, tables: tuple[np.ndarray, np.ndarray, np.ndarray], tau: float
    ) -> tuple[float, np.ndarray, np.ndarray]:
        """:func:`uplift.allocation.passes.smooth_pass` over the first `units` units, where the amounts are."""
        pieces = self.alpha, self.beta, self.gamma, tau
        if self.passes is not None:
            return self.passes.smooth(units, tables, *pieces)
        value, cost, slot = (array[:units] for array in (self.value, self.cost, self.slot))
        found: tuple[float, np.ndarray, np.ndarray] = smooth_pass(
            value, cost, slot, self.rows.rowmap, *tables, *pieces
        )
        return found

    def sample(self, units: int) -> tuple[Coupled, float]:
        """At most `units` units (the first in hash order, so a random sample) with limits in proportion, and its share."""
        if len(self) <= units:
            return self, 1.0
        share = units / len(self)
        part = replace(
            self, value=self.value[:units], cost=self.cost[:units], slot=self.slot[:units], order=self.order[:units],
            limits=self.limits * share,
        )  # fmt: skip
        return part, share

    def with_limit(self, row: int, limit: float) -> Coupled:
        """The same with another limit of one row (for bounds and prices, not for whole decisions)."""
        limits = self.limits.copy()
        limits[row] = limit
        return replace(self, limits=limits)

    def near(
        self, prices: np.ndarray, units: np.ndarray, most: float
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Choices whose regret at `prices` is at most `most`: position in `units`, choice, regret."""
        result: tuple[np.ndarray, np.ndarray, np.ndarray] = near_choices(
            *self.arrays, *self.tables(prices), units, most
        )
        return result

    def arms_of_problem(self, arms: np.ndarray) -> np.ndarray:
        """Decisions in the order of the problem's rows, int16 [unit]."""
        full = np.zeros(self.problem.n_units, np.int16)
        full[self.order] = arms
        return full


def without_value(problem: Coupled, prices_of_value: np.ndarray) -> np.ndarray:
    """Table of prices of value that takes the value itself out of every reduced value.

    Every choice reads one entry per family, so one of the families carries the whole of it.
    """
    table = prices_of_value.copy()
    last = problem.slot[:, 0] if problem.slot.shape[1] else np.zeros(0, np.int32)
    width = problem.value.shape[1]
    for piece in np.unique(last):
        table[piece : piece + width] += 1.0
    return table


def _above(size: float) -> float:
    """At least `size`, of 20 bits: an allowance that is the same in whatever order it was added up."""
    fraction, exponent = math.frexp(size)
    return math.ldexp(math.ceil(fraction * 2**20), exponent - 20)


def make_coupled(
    problem: Problem, rows: Rows, *, exactly_one: bool = False, device: torch.device | None = None
) -> Coupled:
    """Lay a problem out; `exactly_one` closes the control for every unit with an open arm.

    With a `device` the amounts are sent there and stay for all passes.
    """
    value, cost = problem.value, problem.cost
    open_arm = open_choices(problem)
    keep = np.flatnonzero(open_arm.any(axis=1))
    order = keep[np.argsort(problem.tie_keys(keep), kind="stable")]
    k = problem.n_arms
    values = np.empty((len(order), k + 1), np.float64)
    costs = np.empty((len(order), k + 1), np.float64)
    values[:, 0] = -np.inf if exactly_one else 0.0
    costs[:, 0] = 0.0
    values[:, 1:] = value[order]
    costs[:, 1:] = cost[order]
    if not open_arm.all():
        closed = ~open_arm[order]
        values[:, 1:][closed] = -np.inf
        costs[:, 1:][closed] = 0.0
    alpha, beta, gamma = rows.array("alpha"), rows.array("beta"), rows.array("gamma")
    some = slice(0, 20_000)
    opened = values[some, 1:] > -np.inf
    mean_cost = float(np.abs(costs[some, 1:][opened]).mean()) if opened.any() else 1.0
    mean_value = float(np.abs(values[some, 1:][opened]).mean()) if opened.any() else 1.0
    best = np.maximum(values[some].max(axis=1), 0.0) if len(order) else np.zeros(1)
    typical = float(best[best > 0].mean()) if (best > 0).any() else mean_value
    weights = np.abs(alpha) + np.abs(beta) * mean_cost + np.abs(gamma) * mean_value
    slot = np.ascontiguousarray(rows.slot[order])
    passes = None
    if device is not None:
        from uplift.allocation.device_rows import RowPasses

        passes = RowPasses(values, costs, slot, rows.rowmap, device)
    return Coupled(
        problem=problem,
        rows=rows,
        value=values,
        cost=costs,
        slot=slot,
        order=order,
        alpha=alpha,
        beta=beta,
        gamma=gamma,
        scales=rows.scales,
        bounds=rows.bounds,
        limits=np.array([_exact_limit(row.kind, row.limit) for row in rows.items], np.float64),
        weights=np.maximum(weights * rows.scales, 1.0),
        typical=max(typical, 1e-300),
        passes=passes,
    )


def open_choices(problem: Problem) -> np.ndarray:
    """Arms that may be chosen at all, bool [unit, arm]: masks, harmful arms, and the return floor for steps.

    An arm fails the floor when the step to it from a cheaper choice of the unit returns less per unit of cost.
    """
    n, k = problem.value.shape
    opened = problem.open_arm.copy() if problem.open_arm.size else np.ones((n, k), np.bool_)
    if problem.open_unit.size:
        opened &= problem.open_unit[:, None]
    if not problem.allow_harm:
        opened &= ~((problem.value < 0) & (problem.cost < 0))
    if problem.min_roi > 0:
        floor = problem.min_roi * (1 - 1e-9)
        value, cost = problem.value.astype(np.float64), problem.cost.astype(np.float64)
        passed = opened & ((cost <= 0) | (value >= floor * cost))
        for cheap in range(k):
            more = cost - cost[:, [cheap]]
            gain = value - value[:, [cheap]]
            passed &= ~opened[:, [cheap]] | (more <= 0) | (gain >= floor * more)
        opened = passed
    return opened


def _exact_limit(kind: str, limit: float) -> float:
    return {"min_reach": -limit, "min_roi": 0.0}.get(kind, limit)
