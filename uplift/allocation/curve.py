"""What every other budget would have brought: the whole budget curve from one reading of the units."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from uplift.allocation.coupled import Coupled, HardPass, make_coupled
from uplift.allocation.hull import slope_histogram
from uplift.allocation.newton import newton_again
from uplift.allocation.problem import Problem
from uplift.allocation.rows import Rows
from uplift.allocation.threads import threads_for

if TYPE_CHECKING:
    import pandas as pd

_POINTS = 360
CURVE_UNITS = 50_000
"""Units from which the curve of a plan with several constraints is estimated."""


@dataclass(frozen=True, eq=False, repr=False)
class BudgetCurve:
    """Points on the relaxed budget curve: concave, and above every real allocation by less than one step.

    Each point is the choice "everyone at the best arm at this price", so the value at its budget is exact; between
    points the curve is the straight line, which mixes the two choices.

    Attributes
    ----------
    budgets : ndarray of float64 [point]
        Rising, from the choice that costs nothing to the one that no budget improves.
    values : ndarray of float64 [point]
        Expected incremental value (gross of cost), rising.
    spends : ndarray of float64 [point]
        Money spent; equals `budgets` except where even the cheapest choice saves money.
    marginal_roi : ndarray of float64 [point]
        Value per unit of money of the last steps before this budget (of the first steps, at the first point);
        never rising.
    treated : ndarray of int64 [point]
        Units that are not in control.

    Examples
    --------
    >>> from uplift import allocate_arrays
    >>> plan = allocate_arrays([[3.0], [2.0], [1.0]], [[1.0]] * 3, budget=2.0)
    >>> float(plan.curve.value_at(1.0))
    3.0
    """

    budgets: np.ndarray
    values: np.ndarray
    spends: np.ndarray
    marginal_roi: np.ndarray
    treated: np.ndarray

    def __repr__(self) -> str:
        return (
            f"BudgetCurve({len(self.budgets)} budgets {self.budgets[0]:,.2f} to {self.budgets[-1]:,.2f}: "
            f"value {self.values[0]:,.2f} to {self.values[-1]:,.2f})"
        )

    def value_at(self, budget: float | np.ndarray) -> np.ndarray:
        """Value of the relaxed optimum, by straight lines between points; NaN below the first, the last value beyond.

        Parameters
        ----------
        budget : float or array-like of float
            Money. The curve of a plan with several limits does not begin at 0: below its first point it says nothing.
        """
        least = self.budgets[0] * (1 - 1e-9)
        result: np.ndarray = np.where(
            np.asarray(budget) < least, np.nan, np.interp(budget, self.budgets, self.values)
        )
        return result

    def to_frame(self) -> pd.DataFrame:
        """One row per point."""
        import pandas as pd

        return pd.DataFrame(
            {
                "budget": self.budgets,
                "value": self.values,
                "spend": self.spends,
                "marginal_roi": self.marginal_roi,
                "treated": self.treated,
            }
        )


def budget_curve(problem: Problem, *, points: int = _POINTS) -> BudgetCurve:
    """The budget curve of a problem (its own budget plays no part).

    Steps of all units are added up by slope in buckets 0.3-0.4 % wide; bucket borders are points of the exact
    curve. At most about `points` of them are kept, spread evenly over the spend, the value and the log price.
    """
    return curve_and_places(problem, points=points)[0]


@dataclass(frozen=True, eq=False)
class Places:
    """Where the points of a budget curve lie on its path: which buckets of slopes lead to each.

    Attributes
    ----------
    filled : ndarray of int64
        Buckets that hold a step, the steepest first.
    first : int
        First point that is kept (of ``len(filled) + 1``, where every hull starts included).
    share : float or None
        Share of the steps into `first` that are taken before the curve begins; None: it begins at `first`.
    keep : ndarray of int64 [point]
        Points that were kept after that.
    """

    filled: np.ndarray
    first: int
    share: float | None
    keep: np.ndarray

    def along(self, sums: np.ndarray) -> np.ndarray:
        """Other amounts at the points of the curve, float64 [point, column].

        Parameters
        ----------
        sums : ndarray of float64 [len(filled) + 1, column]
            Totals where every hull starts, and after the steps of each filled bucket.
        """
        kept = sums[self.first :]
        if self.share is not None:
            before = sums[self.first - 1]
            kept = np.vstack([before + self.share * (sums[self.first] - before), kept])
        found: np.ndarray = kept[self.keep]
        return found


def curve_and_places(problem: Problem, *, points: int = _POINTS) -> tuple[BudgetCurve, Places]:
    """:func:`budget_curve`, and where its points lie, so that other amounts can be added up at the same points."""
    with threads_for(problem.n_units):
        base, steps = slope_histogram(
            problem.value,
            problem.cost,
            problem.open_unit,
            problem.open_arm,
            problem.allow_harm,
            problem.min_roi * (1 - 1e-9),
            problem.value_unit.scale,
            problem.cost_unit.scale,
        )
    filled = np.flatnonzero(steps.any(axis=1))[::-1]
    sums = np.vstack([base, base + np.cumsum(steps[filled], axis=0)])
    spends = sums[:, 0] / problem.cost_unit.scale
    values = sums[:, 1] / problem.value_unit.scale
    gained = steps[filled, 1] / problem.value_unit.scale
    paid = np.maximum(steps[filled, 0] / problem.cost_unit.scale, 1 / problem.cost_unit.scale)
    returns = np.minimum.accumulate(gained / paid)
    roi = np.concatenate([returns[:1], returns]) if len(filled) else np.zeros(1)
    treated = sums[:, 2]
    first, share = 0, None
    if spends[0] < 0 < spends[-1]:
        # Budgets start at zero: the money that the cheapest choice frees is already spent there.
        first = int(np.searchsorted(spends, 0.0, side="right"))
        share = float(-spends[first - 1] / (spends[first] - spends[first - 1]))
        start_value = values[first - 1] + share * (values[first] - values[first - 1])
        start_treated = round(treated[first - 1] + share * (treated[first] - treated[first - 1]))
        values = np.concatenate([[start_value], values[first:]])
        spends = np.concatenate([[0.0], spends[first:]])
        roi = np.concatenate([[roi[first]], roi[first:]])
        treated = np.concatenate([[start_treated], treated[first:]])
    elif spends[-1] <= 0:
        first = len(spends) - 1
        spends, values, roi, treated = spends[-1:], values[-1:], np.zeros(1), treated[-1:]
    keep = _thin(spends, values, points)
    curve = BudgetCurve(
        budgets=np.maximum(spends[keep], 0.0),
        values=values[keep],
        spends=spends[keep],
        marginal_roi=roi[keep],
        treated=treated[keep].astype(np.int64),
    )
    return curve, Places(filled, first, share, keep)


def constrained_curve(
    problem: Problem, rows: Rows, prices: np.ndarray, *, exactly_one: bool = False
) -> BudgetCurve:
    """The budget curve of a problem with more constraints: the relaxed optimum at shares of its budget.

    Every point is solved anew by Newton from the prices before it, on at most 50,000 units (scaled up where there
    are more: an estimate). Budgets too small for the floors are left out. Without a global budget there is one point.
    """
    return constrained_points(problem, rows, prices, exactly_one=exactly_one).curve()


@dataclass(frozen=True, eq=False)
class ConstrainedPoints:
    """The points of :func:`constrained_curve`, with everybody's choice at each.

    Attributes
    ----------
    part : Coupled
        The units that are looked at (all, or a random sample).
    share : float
        Their share of all units.
    points : list of (float, HardPass, ndarray of float64 [row])
        Budget, choices and prices, by rising budget.
    has_budget, limited : bool
        Whether there is a global budget, and whether it is above 0.
    """

    part: Coupled
    share: float
    points: list[tuple[float, HardPass, np.ndarray]]
    has_budget: bool
    limited: bool

    def curve(self) -> BudgetCurve:
        """The points as a curve."""
        points, share = self.points, self.share
        money = [
            float(((arms := point[1].arms) > 0) @ _taken(self.part.cost, arms)) / share for point in points
        ]
        budgets = np.array([point[0] for point in points]) if self.limited else np.array(money)
        roi = np.minimum.accumulate([float(p[2][0]) if self.has_budget else 0.0 for p in points])
        values = np.maximum.accumulate([point[1].dual_float / share for point in points])
        spends = np.minimum(money, budgets) if self.limited else np.array(money)
        treated = np.array([round(np.count_nonzero(point[1].arms) / share) for point in points], np.int64)
        return BudgetCurve(budgets=budgets, values=values, spends=spends, marginal_roi=roi, treated=treated)


def constrained_points(
    problem: Problem, rows: Rows, prices: np.ndarray, *, exactly_one: bool = False
) -> ConstrainedPoints:
    """The points of :func:`constrained_curve`."""
    coupled = make_coupled(problem, rows, exactly_one=exactly_one)
    part, share = coupled.sample(CURVE_UNITS)
    at = part.hard(prices)
    has_budget = len(rows) > 0 and rows.items[0].name == "budget"
    base = problem.budget if has_budget and problem.budget > 0 else 0.0
    points = [(base, at, prices)]
    for shares in ((0.9, 0.75, 0.5, 0.25, 0.1), (1.1, 1.25, 1.5, 2.0)) if base else ():
        start = prices
        for budget in (base * s for s in shares):
            moved = part.with_limit(0, budget * share)
            found = newton_again(moved, start)
            if found is None:
                break
            start = found
            points.append((budget, moved.hard(found), found))
    points.sort(key=lambda point: point[0])
    return ConstrainedPoints(part, share, points, has_budget, bool(base))


def _taken(array: np.ndarray, arms: np.ndarray) -> np.ndarray:
    result: np.ndarray = array[np.arange(len(arms)), arms]
    return result


def _thin(spends: np.ndarray, values: np.ndarray, points: int) -> np.ndarray:
    if len(spends) <= points:
        return np.arange(len(spends))
    last = len(spends) - 1
    prices = np.arange(len(spends), dtype=np.float64)  # buckets are even in the logarithm of the price
    chosen = [
        np.searchsorted(axis, np.linspace(axis[0], axis[-1], points // 3)).clip(0, last)
        for axis in (spends, values, prices)
    ]
    return np.unique(np.concatenate([[0, last], *chosen]))
