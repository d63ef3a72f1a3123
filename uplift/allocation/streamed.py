"""One budget, out of core: the same answer as in memory, from files that are larger than it.

Three readings: a few thousand rows from all over the files bracket the price of money; all rows once, which leaves
one arm code per unit and the units still in doubt (the core, a percent or two) in memory; all rows again to write
the plan. A bracket that misses is replaced by the histogram of all slopes, which needs a reading of its own and
always holds the price, so memory stays bounded and the answer never depends on the sample.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from uplift.allocation.dual import price_pass
from uplift.allocation.holdout import draw_holdout
from uplift.allocation.hull import SLOPE_BUCKETS, hull_steps, slope_histogram
from uplift.allocation.menus import Menus, MenuSource
from uplift.allocation.problem import Problem
from uplift.allocation.solve import (
    CLOSE,
    SAMPLE_FROM,
    Bracket,
    Reading,
    Solution,
    bracket_of_sample,
    conclude,
    unconstrained,
    widen,
)
from uplift.allocation.threads import threads_for

_NO_UNITS = np.empty(0, np.bool_)
_NO_ARMS = np.empty((0, 0), np.bool_)
_SPREAD = (1, 4, 32, SLOPE_BUCKETS)
"""Histogram buckets on either side of the break that a bracket takes in, until it holds all steps wanted."""


@dataclass(frozen=True, eq=False)
class _Part(Problem):
    """Some units of a stream: sums are counted in the units of the whole, and ties broken by the units' ids."""

    total: int = 0
    rows: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))

    @property
    def n_units(self) -> int:
        return self.total

    def tie_keys(self, rows: np.ndarray) -> np.ndarray:
        return super().tie_keys(np.searchsorted(self.rows, rows))


@dataclass(frozen=True)
class Terms:
    """What is asked of the plan, beside the menus: see :func:`uplift.allocation.allocate_file`."""

    budget: float
    min_roi: float
    allow_harm: bool
    holdout: float
    salt: str


@dataclass(frozen=True, eq=False)
class StreamSolution:
    """A solution and the problem it belongs to (whose arrays hold the core only)."""

    problem: Problem
    solution: Solution


class _Stream:
    """The readings of one source on given terms."""

    def __init__(self, source: MenuSource, terms: Terms) -> None:
        self.source, self.terms = source, terms
        value, cost = source.largest()
        self.limits = {"largest_value": value, "largest_cost": cost}
        self.whole = self._part([], np.empty((0, source.n_arms)), np.empty((0, source.n_arms)), None)

    def _part(
        self, rows: np.ndarray | list[int], value: np.ndarray, cost: np.ndarray, units: pa.Array | None
    ) -> _Part:
        t = self.terms
        return _Part(
            value=value, cost=cost, open_unit=_NO_UNITS, open_arm=_NO_ARMS, budget=t.budget, min_roi=t.min_roi,
            allow_harm=t.allow_harm, units=units, salt=t.salt, **self.limits,
            total=self.source.n_rows, rows=np.asarray(rows, np.int64),
        )  # fmt: skip

    @property
    def scales(self) -> tuple[float, float]:
        return self.whole.value_unit.scale, self.whole.cost_unit.scale

    def open_units(self, block: Menus) -> np.ndarray:
        """False for the holdout; empty when there is none."""
        if not self.terms.holdout:
            return _NO_UNITS
        return ~draw_holdout(block.units, self.terms.holdout, salt=self.terms.salt)

    def sampled_bracket(self) -> Bracket | None:
        """See :func:`bracket_of_sample`; rows that lie together are one cluster."""
        values, costs, clusters, sampled = [], [], [], 0
        for number, block in enumerate(self.source.sample()):
            keep = self.open_units(block)
            pick = keep if keep.size else slice(None)
            values.append(block.value[pick])
            costs.append(block.cost[pick])
            clusters.append(np.full(len(values[-1]), number))
            sampled += len(block)
        part = Problem(
            value=np.concatenate(values).astype(np.float64, order="C"),
            cost=np.concatenate(costs).astype(np.float64, order="C"),
            open_unit=_NO_UNITS, open_arm=_NO_ARMS, budget=self.terms.budget, min_roi=self.terms.min_roi,
            allow_harm=self.terms.allow_harm, units=None, salt=self.terms.salt, **self.limits,
        )  # fmt: skip
        for unit in ("value_unit", "cost_unit"):
            object.__setattr__(part, unit, getattr(self.whole, unit))
        return bracket_of_sample(part, sampled / self.source.n_rows, np.concatenate(clusters))

    def read(self, bracket: Bracket) -> tuple[Reading, _Part]:
        """One reading at a bracket: arms of all units, and the core."""
        weight, high = bracket.high_weights
        low = bracket.low * (1 - CLOSE)
        arms = np.empty(self.source.n_rows, np.int16)
        sums = np.zeros(3, np.int64)
        rows: list[np.ndarray] = []
        values, costs, units = [], [], []
        for block in self.source.blocks():
            at = slice(block.first, block.first + len(block))
            arms[at], core, *found = price_pass(
                block.value, block.cost, self.open_units(block), _NO_ARMS, self.terms.allow_harm,
                weight, high, low, *self.scales,
            )  # fmt: skip
            sums += found
            if len(core):
                rows.append(core + block.first)
                values.append(block.value.take(core, axis=0))
                costs.append(block.cost.take(core, axis=0))
                units.append(block.units.take(pa.array(core)))
        none = np.empty((0, self.source.n_arms), np.float32)
        core_rows = np.concatenate(rows) if rows else np.empty(0, np.int64)
        part = self._part(
            core_rows,
            np.concatenate(values) if values else none,
            np.concatenate(costs) if costs else none,
            pa.concat_arrays(units) if units else None,
        )
        steps = hull_steps(part, np.arange(len(core_rows)), arms[core_rows], low)
        return Reading.of(bracket, arms, core_rows, sums.tolist(), steps), part

    def everyone(self) -> tuple[np.ndarray, int, int, int]:
        """Arms and sums with everyone at their best arm at the lowest price allowed."""
        low = self.terms.min_roi * (1 - CLOSE)
        arms = np.empty(self.source.n_rows, np.int16)
        sums = np.zeros(3, np.int64)
        for block in self.source.blocks():
            at = slice(block.first, block.first + len(block))
            arms[at], _, *found = price_pass(
                block.value, block.cost, self.open_units(block), _NO_ARMS, self.terms.allow_harm,
                1.0, low, low, *self.scales,
            )  # fmt: skip
            sums += found
        return arms, int(sums[0]), int(sums[1]), int(sums[2])

    def histogram_brackets(self, money: int) -> Iterator[Bracket]:
        """Brackets around the break of the budget, wider and wider; each holds the price for certain."""
        spend, steps = 0, np.zeros(SLOPE_BUCKETS, np.int64)
        for block in self.source.blocks():
            base, found = slope_histogram(
                block.value, block.cost, self.open_units(block), _NO_ARMS, self.terms.allow_harm,
                self.terms.min_roi * (1 - CLOSE), *self.scales,
            )  # fmt: skip
            spend += int(base[0])
            steps += found[:, 0]
        downwards = spend + np.cumsum(steps[::-1])
        place = SLOPE_BUCKETS - 1 - int(np.searchsorted(downwards, money, side="right"))
        for width in _SPREAD:
            high = _border(place + 1 + width) if place + 1 + width < SLOPE_BUCKETS else math.inf
            low = _border(place - width) if place >= width else 0.0
            if not math.isfinite(high):
                high = math.inf
            yield Bracket(high, max(low, self.terms.min_roi))


def _border(bucket: int) -> float:
    """Lowest slope of a histogram bucket: its number is the upper half of a float32's bits."""
    return float(np.array([bucket << 15], np.uint32).view(np.float32)[0])


def solve_stream(source: MenuSource, terms: Terms) -> StreamSolution:
    """Allocate one budget over a source; the answer of :func:`uplift.allocation.solve.solve` on the same menus.

    Memory: two bytes per unit, one block, and the core.
    """
    stream = _Stream(source, terms)
    whole = stream.whole
    with threads_for(max(source.n_rows, 1)):
        money = whole.budget_multiples
        if source.n_rows == 0:
            return StreamSolution(
                whole,
                unconstrained(whole, np.zeros(0, np.int16), 0, 0, 0, passes=0, core=0),
            )
        if money is None:
            arms, spend, worth, treated = stream.everyone()
            return StreamSolution(whole, unconstrained(whole, arms, spend, worth, treated, passes=1, core=0))
        passes = 0
        everything = Bracket(math.inf, terms.min_roi)
        bracket = everything if source.n_rows < SAMPLE_FROM else stream.sampled_bracket()
        if bracket is None:
            arms, spend, worth, treated = stream.everyone()
            passes = 1
            if spend <= money:
                return StreamSolution(
                    whole, unconstrained(whole, arms, spend, worth, treated, passes=1, core=0)
                )
            del arms
        wider: Iterator[Bracket] | None = None
        while True:
            if bracket is not None:
                reading, part = stream.read(bracket)
                passes += 1
                if widen(part, reading, 0) is None:
                    return StreamSolution(part, conclude(part, reading, passes))
                del reading, part
            if wider is None:
                wider = stream.histogram_brackets(money)
                passes += 1
            bracket = next(wider)
