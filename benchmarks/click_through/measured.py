"""What plans and rules bring and cost on the test rows, a second time and from the files alone.

The definitions are those of ``cost_curve`` in the report: doubly robust scores of every row and arm, judged by the
deciding model's predictions; money goes to the most rewarding step first, and steps of equal reward go together. Here
every influence is a plain sum over rows at the place asked for; the package keeps running sums along the whole path.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.click_through.case import CannotTell

if TYPE_CHECKING:
    from benchmarks.click_through.truth import Truth

POINTS = 201
"""The page has so many points of a path, evenly spaced in planned spend."""
WINDOW = 0.05
"""Share of all spend on either side over which the slope at a place is taken."""
RESPONSE = "response"
Z = NormalDist().inv_cdf(0.975)
"""The figure's intervals are 95 % ones, whatever the run's."""


def climb(value: np.ndarray, cost: np.ndarray) -> list[tuple[int, int, float, float]]:
    """One customer's steps along the upper hull of (cost, value) from (0, 0): arms before and after, cost and value.

    Arms count from 1, in the order of `value` and `cost` [arm]; 0 is control.
    """
    steps: list[tuple[int, int, float, float]] = []
    at_cost, at_value, at = 0.0, 0.0, 0
    while True:
        better = value > at_value
        if not better.any():
            return steps
        with np.errstate(divide="ignore", invalid="ignore"):
            slope = np.where(better, (value - at_value) / np.maximum(cost - at_cost, 1e-12), -np.inf)
        best = int(np.lexsort((-value, -slope))[0])
        steps.append((at, best + 1, float(cost[best] - at_cost), float(value[best] - at_value)))
        at_cost, at_value, at = float(cost[best]), float(value[best]), best + 1


def arm_money(truth: Truth, effects: Any) -> tuple[np.ndarray, np.ndarray]:
    """Predicted value against control and predicted cost of every treated arm, [row, arm], from a table of effects."""
    margin = float(truth.decide["margin"] or 1.0)
    values, costs = [], []
    for arm in truth.run["campaign"]["arms"][1:]:
        values.append(margin * effects[f"tau__{truth.decided}__{arm['name']}"].to_numpy(float))
        amount, on = truth.cost(arm["name"])
        paid = 1.0 if on == "send" else effects[f"mu__{on}__{arm['name']}"].to_numpy(float)
        costs.append(np.broadcast_to(amount * paid, len(effects)))
    return np.stack(values, 1), np.stack(costs, 1)


@dataclass(frozen=True)
class Place:
    """Value at a spend, per customer, and how much every row moves it."""

    value: float
    influence: np.ndarray

    @property
    def reach(self) -> float:
        """Half the width of the interval."""
        return float(Z * np.sqrt(np.sum(self.influence**2)))


@dataclass(frozen=True)
class Path:
    """The plans of one ranking, dearer and dearer: money per customer after every step.

    `step` is the row of every single step and `group` the place after which it is taken; `gained` and `paid` are
    what it brings and costs that row.
    """

    planned: np.ndarray
    spend: np.ndarray
    gain: np.ndarray
    step: np.ndarray
    group: np.ndarray
    gained: np.ndarray
    paid: np.ndarray
    rows: int

    @property
    def kept(self) -> np.ndarray:
        """Places that the page has."""
        ends = np.linspace(self.planned[0], self.planned[-1], POINTS)
        return np.unique(np.searchsorted(self.planned, ends).clip(max=len(self.planned) - 1))

    def _first(self, spend: float) -> int:
        return min(int(np.argmax(np.append(self.spend >= spend, True))), len(self.spend) - 1)

    def at_spend(self, spend: float) -> Place:
        """The plan that is measured to cost so much; the last step may be taken in part."""
        place = self._first(spend)
        before = max(place - 1, 0)
        width = self.spend[place] - self.spend[before]
        part = (spend - self.spend[before]) / width if width > 0 else 1.0
        taken = np.where(self.group < before, 1.0, np.where(self.group == before, part, 0.0)) * (place > 0)
        return self._place(place, spend, taken)

    def at_place(self, place: int) -> Place:
        """The plan after so many steps."""
        return self._place(place, float(self.spend[place]), (self.group < place).astype(float))

    def _place(self, place: int, spend: float, taken: np.ndarray) -> Place:
        gained = np.bincount(self.step, self.gained * taken, self.rows)
        paid = np.bincount(self.step, self.paid * taken, self.rows)
        window = WINDOW * (self.spend[-1] - self.spend[0])
        left, right = self._first(self.spend[place] - window), self._first(self.spend[place] + window)
        money = self.spend[right] - self.spend[left]
        slope = (self.gain[right] - self.gain[left]) / money if abs(money) > 1e-12 * self.spend[-1] else 0.0
        value = float(gained.mean())
        return Place(value, (gained - value - slope * (paid - spend)) / self.rows)

    def at_planned(self, planned: float) -> tuple[float, float, float]:
        """Value and interval between the page's points: where the plan *promises* to cost so much."""
        x = self.planned[self.kept]
        right = min(int(np.searchsorted(x, planned)), len(x) - 1)
        left = max(right - 1, 0)
        share = min(max((planned - x[left]) / max(x[right] - x[left], 1e-300), 0.0), 1.0)
        found = [self.at_place(int(self.kept[at])) for at in (left, right)]
        value, reach = (
            (1 - share) * a + share * b for a, b in zip(*[(p.value, p.reach) for p in found], strict=True)
        )
        return value, value - reach, value + reach


class MeasuredPlans:
    """Paths of all models that estimate effects, the deciding one first, and of giving one arm by response."""

    def __init__(self, truth: Truth) -> None:
        if not truth.plain or truth.plan is None:
            raise CannotTell("a plan on a design without weights is needed to measure it again")
        self._truth = truth
        rows = truth.rows(truth.deciding_model)
        self._arm = np.array([truth.arms.index(name) for name in rows["arm"].astype(str)])
        share = np.bincount(self._arm, minlength=len(truth.arms)) / len(rows)
        self._propensity = share[self._arm]
        margin = float(truth.decide["margin"] or 1.0)
        self.gain = margin * self._robust(truth.decided, truth.arms)
        self.gain -= self.gain[:, :1]
        self.cost = np.zeros_like(self.gain)
        for code, name in enumerate(truth.arms[1:], start=1):
            amount, on = truth.cost(name)
            self.cost[:, code] = amount if on == "send" else amount * self._robust(on, (name,))[:, 0]

    def _robust(self, stage: str, arms: tuple[str, ...]) -> np.ndarray:
        """m_k + 1{a = k} (y - m_k) / e for some arms, [row, arm]."""
        rows = self._truth.rows(self._truth.deciding_model)
        outcome = rows[stage].to_numpy(float)
        found = []
        for name in arms:
            predicted = rows[f"mu__{stage}__{name}"].to_numpy(float)
            own = self._arm == self._truth.arms.index(name)
            found.append(predicted + np.where(own, (outcome - predicted) / self._propensity, 0.0))
        return np.stack(found, 1)

    @property
    def customers(self) -> int:
        """Customers of the plan who may get something."""
        return int((~self._truth.decisions["holdout"].to_numpy(bool)).sum())

    @property
    def budget(self) -> float | None:
        """Money per customer at which plans are compared; None where there is no limit."""
        budget = (self._truth.plan or {})["budget"]
        return budget / self.customers if budget else None

    @property
    def main_arm(self) -> str:
        """The arm that most customers get."""
        return max(self._truth.arms[1:], key=self._truth.customers)

    def name(self, model: str) -> str:
        """What a path is called in the report."""
        return f"top by response, {self._truth.arm(self.main_arm)}" if model == RESPONSE else model

    @cached_property
    def paths(self) -> dict[str, Path]:
        """By model, in the order of the report."""
        truth = self._truth
        names = [truth.deciding_model, *(m for m in truth.calibrated if m != truth.deciding_model)]
        found = {name: self._plans(name) for name in names}
        if RESPONSE in truth.models:
            found[RESPONSE] = self._by_response()
        return found

    def _plans(self, model: str) -> Path:
        values, costs = arm_money(self._truth, self._truth.rows(model))
        steps = [
            (row, before, after, worth / max(money, 1e-12), money)
            for row, (value, cost) in enumerate(zip(values, costs, strict=True))
            for before, after, money, worth in climb(value, cost)
        ]
        return self._path(*map(np.array, zip(*steps, strict=True)))

    def _by_response(self) -> Path:
        truth, code = self._truth, self._truth.arms.index(self.main_arm)
        score = truth.rows(RESPONSE)[f"tau__{truth.decided}__{self.main_arm}"].to_numpy(float)
        every = np.arange(len(score))
        money = arm_money(truth, truth.rows(truth.deciding_model))[1][:, code - 1]
        return self._path(every, np.zeros_like(every), np.full_like(every, code), score, money)

    def _path(
        self, row: np.ndarray, before: np.ndarray, after: np.ndarray, reward: np.ndarray, money: np.ndarray
    ) -> Path:
        order = np.argsort(-reward, kind="stable")
        row, before, after, reward, money = (one[order] for one in (row, before, after, reward, money))
        group = np.cumsum(np.append(False, reward[1:] != reward[:-1]))
        gained = self.gain[row, after] - self.gain[row, before]
        paid = self.cost[row, after] - self.cost[row, before]
        n = len(self.gain)
        sums = [np.append(0.0, np.bincount(group, one).cumsum()) / n for one in (money, paid, gained)]
        return Path(*sums, row, group, gained, paid, n)

    def everyone(self, arm: str) -> tuple[tuple[float, float], tuple[float, float]]:
        """Spend and value of giving one arm to everybody, each with half its interval."""
        code = self._truth.arms.index(arm)
        n = len(self.gain)

        def mean(scores: np.ndarray) -> tuple[float, float]:
            return float(scores.mean()), float(Z * scores.std() / np.sqrt(n))

        return mean(self.cost[:, code]), mean(self.gain[:, code])
