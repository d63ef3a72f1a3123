"""The plans of a budget curve under other effects than those they were made from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from uplift.allocation.curve import (
    BudgetCurve,
    ConstrainedPoints,
    Places,
    constrained_points,
    curve_and_places,
)
from uplift.allocation.curve_band import CurveBand
from uplift.allocation.from_effects import expected_cost
from uplift.allocation.newton import newton_again
from uplift.allocation.path import path_sums
from uplift.allocation.problem import Problem, largest_magnitude
from uplift.allocation.threads import threads_for
from uplift.errors import AllocationError

if TYPE_CHECKING:
    from uplift.allocation.allocation import Allocation
    from uplift.effects import Effects

LEVEL = 0.9
"""Default level of a band from members."""


def curve_under(
    plan: Allocation,
    effects: Effects | Sequence[Effects],
    *,
    level: float | None = None,
    correct: bool | None = None,
) -> CurveBand:
    """See :meth:`uplift.Allocation.curve_under`."""
    from uplift.effects import Effects

    walk = _Walk.of(plan)
    if isinstance(effects, Effects):
        return _of_intervals(plan, walk, effects, level, correct)
    members = list(effects) if isinstance(effects, Iterable) and not isinstance(effects, str) else [effects]
    other = next((member for member in members if not isinstance(member, Effects)), None)
    if other is not None or effects is None:
        raise AllocationError(
            f"The effects are a {type(other).__name__}: give the effects of several members (such as "
            "model.predict_members(audience)), or one Effects with intervals."
        )
    return _of_members(plan, walk, members, LEVEL if level is None else level, correct)


def _of_intervals(
    plan: Allocation, walk: _Walk, effects: Effects, level: float | None, correct: bool | None
) -> CurveBand:
    if effects.level is None or effects.low_all is None or effects.high_all is None:
        raise AllocationError(
            f"The effects of model {effects.model!r} have no intervals: give the effects of several members "
            "(such as model.predict_members(audience)), or of a model with intervals."
        )
    if level is not None and level != effects.level:
        raise AllocationError(
            f"level is {level!r}, but the intervals of model {effects.model!r} are at {effects.level:g}: leave it out."
        )
    if correct:
        raise AllocationError(
            "Intervals do not tell how much a plan exaggerates that was chosen by what they surround: "
            "give the effects of several members, or leave correct out."
        )
    found = _placed(plan, effects)
    stage = effects.stages.index(_known_stage(plan))
    tau, low, high = (
        _margin(plan) * array[:, 1:, stage].astype(np.float64)
        for array in (found.tau_all, found.low_all, found.high_all)
        if array is not None
    )
    sums = walk.sums(np.stack([tau, low, high, np.square(low - tau), np.square(high - tau)], axis=2))
    value, below, above = sums[:, 0], sums[:, 1], sums[:, 2]
    # Rounding of the running sums may leave a hair below 0.
    lower, upper = np.sqrt(np.maximum(sums[:, 3:], 0.0)).T
    curve = walk.curve
    return CurveBand(
        source="intervals",
        level=effects.level,
        members=0,
        corrected=False,
        model=plan.model,
        budgets=curve.budgets,
        promised=curve.values,
        value=value,
        low=np.minimum(below, value),
        high=np.maximum(above, value),
        optimism=np.zeros_like(value),
        spend=curve.spends,
        spend_low=curve.spends,
        spend_high=curve.spends,
        regret=None,
        independent_low=value - np.minimum(lower, value - below),
        independent_high=value + np.minimum(upper, above - value),
        member_values=np.empty((0, len(value))),
    )


def _of_members(
    plan: Allocation, walk: _Walk, members: list[Effects], level: float, correct: bool | None
) -> CurveBand:
    from scipy.special import stdtrit

    if len(members) < 2:
        raise AllocationError(
            f"{len(members)} members were given, and a band needs the spread of at least 2: fit an ensemble "
            "(members=8) and give model.predict_members(audience), or refit with uplift.members.refit_members."
        )
    if not 0 < level < 1:
        raise AllocationError(f"level is {level!r}: give a number in (0, 1), such as 0.9.")
    cautious = plan.recipe.caution > 0
    if correct and cautious:
        raise AllocationError(
            "The plan was made with caution, so its promise is not what the model expects: give correct=False."
        )
    correct = not cautious if correct is None else correct
    curve = walk.curve
    values, spends, regrets, optimisms = [], [], [], []
    for effects in members:
        found = _placed(plan, effects)
        value, cost = _amounts(plan, found)
        sums = walk.worth(value, cost)
        best = walk.under(value, cost) if correct or walk.gives_regret else _Best(np.zeros(0))
        values.append(sums[:, 0])
        spends.append(sums[:, 1])
        optimisms.append(best.optimism)
        if best.spends is not None and best.values is not None:
            reached = np.interp(sums[:, 1], best.spends, best.values)
            regrets.append(np.maximum(reached - sums[:, 0], 0.0))  # chords lie a hair below the curve
    t = float(stdtrit(len(members) - 1, (1 + level) / 2))
    mean, half = np.mean(values, axis=0), t * np.std(values, axis=0, ddof=1)
    optimism = np.mean(optimisms, axis=0) if correct else np.zeros_like(mean)
    centre = curve.values - optimism if correct else mean
    spend, spend_half = np.mean(spends, axis=0), t * np.std(spends, axis=0, ddof=1)
    return CurveBand(
        source="members",
        level=level,
        members=len(members),
        corrected=correct,
        model=plan.model,
        budgets=curve.budgets,
        promised=curve.values,
        value=centre,
        low=centre - half,
        high=centre + half,
        optimism=optimism,
        spend=spend,
        spend_low=spend - spend_half,
        spend_high=spend + spend_half,
        regret=np.mean(regrets, axis=0) if regrets else None,
        independent_low=None,
        independent_high=None,
        member_values=np.array(values),
    )


@dataclass(frozen=True, eq=False)
class _Best:
    """The plans that other effects would make.

    ``optimism`` [point]: how much more they promise than the first effects say they are worth. ``spends`` and
    ``values`` [step]: their own curve; None where there is none to be had from a pass.
    """

    optimism: np.ndarray
    spends: np.ndarray | None = None
    values: np.ndarray | None = None


class _Walk(ABC):
    """The plans along a budget curve, ready to be valued by other amounts."""

    curve: BudgetCurve
    gives_regret = True

    @classmethod
    def of(cls, plan: Allocation) -> _Walk:
        problem, rows = plan._problem, plan._rows
        if rows is None or all(row.name == "budget" for row in rows.items):
            return _Path(problem)
        with threads_for(problem.n_units):
            return _Points(
                problem, constrained_points(problem, rows, plan._prices, exactly_one=plan._exactly_one)
            )

    @abstractmethod
    def sums(self, amounts: np.ndarray) -> np.ndarray:
        """Amounts [unit, arm, column] of the plan at every point, float64 [point, column]."""

    def worth(self, value: np.ndarray, cost: np.ndarray) -> np.ndarray:
        """Value and cost of the plan at every point by other values and costs [unit, arm], float64 [point, 2]."""
        return self.sums(np.stack([value, cost], axis=2))

    @abstractmethod
    def under(self, value: np.ndarray, cost: np.ndarray) -> _Best:
        """What plans made from other values and costs [unit, arm] would promise."""


class _Path(_Walk):
    """One budget: every point is a prefix of the hull steps, so one pass sums them all."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.curve: BudgetCurve
        self.places: Places
        self.curve, self.places = curve_and_places(problem)
        # Filled anew for every member: fresh memory of this size takes as long as the walk.
        self.table = np.empty((problem.n_units, problem.n_arms, 3))
        self.table[..., 2] = problem.value

    def worth(self, value: np.ndarray, cost: np.ndarray) -> np.ndarray:
        return self.sums(self._filled(value, cost))[:, :2]

    def _filled(self, value: np.ndarray, cost: np.ndarray) -> np.ndarray:
        self.table[..., 0], self.table[..., 1] = value, cost
        return self.table

    def sums(self, amounts: np.ndarray) -> np.ndarray:
        return self.places.along(path_sums(self.problem, amounts).after(self.places.filled))

    def under(self, value: np.ndarray, cost: np.ndarray) -> _Best:
        other = _replaced(self.problem, value, cost)
        values, spends, worth = path_sums(other, self._filled(value, cost)).sums.T
        spends = np.maximum.accumulate(spends)  # steps of almost no cost may round backwards
        return _Best(np.interp(self.curve.budgets, spends, values - worth), spends, values)


class _Points(_Walk):
    """Several limits: each point has choices of its own, made at its prices."""

    gives_regret = False

    def __init__(self, problem: Problem, found: ConstrainedPoints) -> None:
        self.problem, self.found = problem, found
        self.curve: BudgetCurve = found.curve()

    def sums(self, amounts: np.ndarray) -> np.ndarray:
        part = amounts[self.found.part.order]
        return np.array([self._total(part, at.arms) for _, at, _ in self.found.points])

    def under(self, value: np.ndarray, cost: np.ndarray) -> _Best:
        # At the plan's own prices noisier values would choose more than the limits allow: prices are found anew.
        part, own = self.found.part, self.problem.value[self.found.part.order].astype(np.float64)
        theirs, costs = part.value.copy(), part.cost.copy()
        closed = np.isneginf(part.value[:, 1:])
        theirs[:, 1:] = np.where(closed, -np.inf, value[part.order])
        costs[:, 1:] = np.where(closed, 0.0, cost[part.order])
        other = replace(part, value=theirs, cost=costs)
        more = np.stack([value[part.order] - own], axis=2)
        optimism = []
        for budget, _, prices in self.found.points:
            limited = other.with_limit(0, budget * self.found.share) if self.found.limited else other
            moved = newton_again(limited, prices)
            if moved is None:
                raise AllocationError(
                    f"By the effects of a member the limits cannot hold at a budget of {budget:,.2f}, so it is not known "
                    "what its own plan would promise: give correct=False, or lower the floors."
                )
            optimism.append(self._total(more, limited.hard(moved).arms)[0])
        return _Best(np.array(optimism))

    def _total(self, amounts: np.ndarray, arms: np.ndarray) -> np.ndarray:
        treated = np.flatnonzero(arms)
        found: np.ndarray = amounts[treated, arms[treated] - 1].sum(axis=0) / self.found.share
        return found


def _replaced(problem: Problem, value: np.ndarray, cost: np.ndarray) -> Problem:
    """The problem with other values and costs."""
    if problem.open_arm.size:
        value, cost = np.where(problem.open_arm, value, 0.0), np.where(problem.open_arm, cost, 0.0)
    return replace(
        problem,
        value=value,
        cost=cost,
        largest_value=largest_magnitude(value),
        largest_cost=largest_magnitude(cost),
    )


def _placed(plan: Allocation, effects: Effects) -> Effects:
    """The effects in the order of the plan's units, if they are for its arms and stage."""
    stage = _known_stage(plan)
    if effects.arms != plan.arms or stage not in effects.stages:
        raise AllocationError(
            f"The effects of model {effects.model!r} are for arms {', '.join(effects.arms)} and stages "
            f"{', '.join(effects.stages)}, the plan for {', '.join(plan.arms)} at {stage!r}: predict with a model of the same campaign."
        )
    if not effects.calibrated:
        raise AllocationError(
            f"The uplifts of model {effects.model!r} are ranking scores: they cannot be multiplied by money."
        )
    return effects.for_units(plan.units)


def _known_stage(plan: Allocation) -> str:
    if plan.recipe.stage is None:
        raise AllocationError(
            "The plan was made from plain arrays, so it is not known how values follow from effects: make it with "
            "uplift.allocate(effects, ...)."
        )
    return plan.recipe.stage


def _margin(plan: Allocation) -> float:
    return 1.0 if plan.recipe.margin is None else plan.recipe.margin


def _amounts(plan: Allocation, effects: Effects) -> tuple[np.ndarray, np.ndarray]:
    """Value and cost of every arm but the control by `effects`, float64 [unit, arm]."""
    value = _margin(plan) * effects.tau_all[:, 1:, effects.stages.index(_known_stage(plan))].astype(
        np.float64
    )
    cost = np.empty_like(value)
    for column, arm in enumerate(plan.arms[1:]):
        cost[:, column] = expected_cost(effects, arm, (plan.recipe.costs or {})[arm])
    return value, cost
