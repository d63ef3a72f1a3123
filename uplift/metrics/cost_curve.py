"""Value against spend for several arms at once: what a ranking's plans bring on rows they were not chosen on.

A ranking with several arms spends money step by step, the most rewarding first: a customer goes from control to an
arm, or from an arm to a dearer one. After every step there is a plan; its gain and its cost are means over customers
of scores (:func:`uplift.metrics.off_policy.incremental_scores`) that know nothing of the ranking. That is the
multi-armed Qini curve Q(B) of Sverdrup, Wu, Athey and Wager (2023; R and Python package maq). Steps that are equally
rewarding are taken together, so the order of rows plays no part.

Each row's place on the path depends on its own predictions alone, through the price of money lambda at which it steps.
So with g_i(lambda), c_i(lambda) a row's scores under the plan at that price, Q = mean g_i and B = mean c_i, and

    at a fixed spend b              psi_i = g_i - Q - rho (c_i - b),  rho = dQ/dB
    area  A = int Q dB              psi_i = int g_i dB + int Q dc_i - 2 A

the influence of every row, with which price and spend are estimated as well.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from uplift.errors import EvaluationError
from uplift.metrics.average import Estimate
from uplift.metrics.influence import standard_error
from uplift.metrics.off_policy import Mean

if TYPE_CHECKING:
    import pandas as pd

WINDOW = 0.05
"""Share of all spend on either side over which the slope of the curve is taken."""


_COLUMNS = ("spend", "planned", "gain", "gain_low", "gain_high", "treated")


class Steps(NamedTuple):
    """A ranking's steps in the order they are taken.

    Attributes
    ----------
    row : ndarray of int64 [step]
    before, after : ndarray of int [step]
        Arm codes.
    reward : ndarray of float64 [step]
        Predicted value per unit of predicted cost, never rising; steps of equal reward are taken together.
    start : ndarray of int [row]
        Arm of every row before any money is spent: control, or a free arm.
    """

    row: np.ndarray
    before: np.ndarray
    after: np.ndarray
    reward: np.ndarray
    start: np.ndarray


@dataclass(frozen=True, eq=False)
class CostCurve:
    """Gain against spend, per customer, of all plans of one ranking.

    Attributes
    ----------
    model, stage : str
    axis : str
        "measured": the spend is estimated from what such customers cost; "planned": it is what the predictions say.
    confidence : float
    spend, planned : ndarray of float64 [point]
        Money per customer, on the axis and as predicted; they start at what costs nothing.
    gain, gain_low, gain_high : ndarray of float64 [point]
        Incremental value per customer, gross of cost, with its pointwise band at a fixed spend.
    treated : ndarray of float64 [point]
        Share of customers that get an arm.
    aucc : Estimate or None
        Area under the curve over that of its rectangle; random 0.5. None where the last plan gains nothing: then
        there is nothing to divide by.
    aucc_gain : Estimate
        Mean over all spends of the gain above the chord, which spends the same money on random customers; random 0.
    everyone : dict of str to (Estimate, Estimate)
        Spend and gain of giving one arm to everybody.

    Examples
    --------
    >>> import uplift
    >>> simulation = uplift.simulate(rows=2_000, arms=1, chain=("buy",), seed=0)
    >>> test, effects = simulation.campaign(), simulation.true_effects()
    >>> curve = uplift.cost_curve(test, effects, margin=40.0, costs={"coupon_5": uplift.CostRule(on="send", amount=0.1)})
    >>> type(curve.aucc_gain).__name__
    'Estimate'
    """

    model: str
    stage: str
    axis: str
    confidence: float
    spend: np.ndarray
    planned: np.ndarray
    gain: np.ndarray
    gain_low: np.ndarray
    gain_high: np.ndarray
    treated: np.ndarray
    aucc: Estimate | None
    aucc_gain: Estimate
    everyone: dict[str, tuple[Estimate, Estimate]]
    _sums: _Sums = field(repr=False)

    def gain_at(self, spend: float) -> Estimate:
        """Gain per customer at a spend per customer, with its interval.

        Raises
        ------
        EvaluationError
            The spend is not on the curve.
        """
        return self._estimate(self._sums.at(spend))

    def difference_at(self, other: CostCurve, spend: float) -> Estimate:
        """How much more this curve gains than another on the same rows, both at `spend` per customer (paired).

        Raises
        ------
        EvaluationError
            The spend is not on both curves, or they are of other rows.
        """
        self._check(other)
        return self._estimate(self._sums.at(spend) - other._sums.at(spend))

    def difference(self, other: CostCurve) -> Estimate:
        """How much more `aucc_gain` this curve has than another on the same rows (paired).

        Raises
        ------
        EvaluationError
            The curves are of other rows.
        """
        self._check(other)
        return self._estimate(self._sums.above_chord() - other._sums.above_chord())

    def to_frame(self) -> pd.DataFrame:
        """One row per point."""
        import pandas as pd

        return pd.DataFrame({name: getattr(self, name) for name in _COLUMNS})

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            "model": self.model,
            "stage": self.stage,
            "axis": self.axis,
            "confidence": self.confidence,
            **{name: getattr(self, name).tolist() for name in _COLUMNS},
            "aucc": None if self.aucc is None else vars(self.aucc),
            "aucc_gain": vars(self.aucc_gain),
            "everyone": {
                arm: {"spend": vars(spend), "gain": vars(gain)}
                for arm, (spend, gain) in self.everyone.items()
            },
        }

    def _check(self, other: CostCurve) -> None:
        if len(other._sums.mass) != len(self._sums.mass) or other.stage != self.stage:
            raise EvaluationError(
                f"the curves are of {len(self._sums.mass):,} rows at stage {self.stage!r} and of {len(other._sums.mass):,} at {other.stage!r}; compare curves of the same rows and stage."
            )

    def _estimate(self, mean: Mean) -> Estimate:
        return mean.estimate(self._sums.cluster, self.confidence)


@dataclass(frozen=True, eq=False)
class _Sums:
    """The path's running sums, one point per reward; [row] arrays are multiplied by the row's mass."""

    mass: np.ndarray
    cluster: np.ndarray | None
    row: np.ndarray  # of each step
    group: np.ndarray  # of each step: which reward
    gained: np.ndarray  # per step, times mass
    paid: np.ndarray
    gained_before: np.ndarray  # of the step's row, up to the step, times mass
    paid_before: np.ndarray
    base_gain: np.ndarray  # [row], times mass
    base_paid: np.ndarray
    spend: np.ndarray  # [reward + 1], the first before any step
    gain: np.ndarray

    @property
    def total(self) -> float:
        return float(self.spend[-1] - self.spend[0])

    def _by_row(self, numbers: np.ndarray) -> np.ndarray:
        return np.bincount(self.row, numbers, len(self.mass))

    def slope(self, points: np.ndarray) -> np.ndarray:
        """rho at some points: gain per spend over a window around them."""
        reach = WINDOW * self.total
        left, right = (self._reached(self.spend[points] + side) for side in (-reach, reach))
        paid = self.spend[right] - self.spend[left]
        gained = self.gain[right] - self.gain[left]
        result: np.ndarray = np.divide(
            gained, paid, out=np.zeros_like(paid), where=np.abs(paid) > 1e-12 * max(self.total, 1e-300)
        )
        return result

    def _reached(self, spend: np.ndarray | float) -> np.ndarray:
        """First point at which the spend is reached (measured spends may fall back a little)."""
        highest = np.maximum.accumulate(self.spend)
        return np.minimum(np.searchsorted(highest, spend), len(highest) - 1)

    def at(self, spend: float) -> Mean:
        top = float(self.spend.max())
        if not self.spend[0] <= spend <= top * (1 + 1e-12):
            raise EvaluationError(
                f"a spend of {spend:g} per customer is not on the curve, which goes from {self.spend[0]:g} to {top:g}."
            )
        place = int(self._reached(spend))
        last = max(place - 1, 0)
        step = self.spend[place] - self.spend[last]
        share = (spend - self.spend[last]) / step if step > 0 else 1.0
        value = self.gain[last] + share * (self.gain[place] - self.gain[last])
        # Groups count from 0, points from 1: the steps of point p are those of group p - 1.
        taken = np.where(self.group < last, 1.0, np.where(self.group == last, share, 0.0))
        if place == 0:
            taken[:] = 0.0
        gained = self.base_gain + self._by_row(self.gained * taken)
        paid = self.base_paid + self._by_row(self.paid * taken)
        rho = float(self.slope(np.array([place]))[0])
        moved = gained - self.mass * value - rho * (paid - self.mass * spend)
        return Mean(float(value), moved)

    def area(self) -> Mean:
        """Of gain over spend, from the first point."""
        middle_spend = 0.5 * (self.spend[1:] + self.spend[:-1]) - self.spend[0]
        middle_gain = 0.5 * (self.gain[1:] + self.gain[:-1]) - self.gain[0]
        value = float(np.diff(self.spend) @ middle_gain)
        per_step = self.gained * (self.total - middle_spend[self.group]) + self.paid * middle_gain[self.group]
        return Mean(value, self._by_row(per_step) - 2 * value * self.mass)

    def whole(self, per_step: np.ndarray) -> Mean:
        """Sum over all steps, such as the gain of the last plan over the first."""
        value = float(per_step.sum())
        return Mean(value, self._by_row(per_step) - value * self.mass)

    def above_chord(self) -> Mean:
        return self.area().over(self.whole(self.paid)) - self.whole(self.gained) * 0.5

    def errors(self, points: np.ndarray) -> np.ndarray:
        """Standard error of the gain at the spend of some points."""
        rho = self.slope(points)
        if self.cluster is not None:
            return np.array(
                [standard_error(self._moved(p, r), self.cluster) for p, r in zip(points, rho, strict=True)]
            )
        # sum of (gained - rho paid - mass (gain - rho spend))^2, from running sums over the steps.
        before_g, before_c = self.gained_before, self.paid_before
        after_g, after_c = before_g + self.gained, before_c + self.paid
        m = self.mass[self.row]

        def running(start: float, per_step: np.ndarray) -> np.ndarray:
            by_group = np.bincount(self.group, per_step, len(self.spend) - 1)
            result: np.ndarray = np.append(start, start + np.cumsum(by_group))[points]
            return result

        g0, c0, mass = self.base_gain, self.base_paid, self.mass
        gg = running(float(g0 @ g0), after_g**2 - before_g**2)
        gc = running(float(g0 @ c0), after_g * after_c - before_g * before_c)
        cc = running(float(c0 @ c0), after_c**2 - before_c**2)
        mg = running(float(mass @ g0), m * self.gained)
        mc = running(float(mass @ c0), m * self.paid)
        level = self.gain[points] - rho * self.spend[points]
        squares = (
            gg - 2 * rho * gc + rho**2 * cc - 2 * level * (mg - rho * mc) + level**2 * float(mass @ mass)
        )
        result: np.ndarray = np.sqrt(np.maximum(squares, 0.0))
        return result

    def _moved(self, point: int, rho: float) -> np.ndarray:
        taken = self.group < point
        gained = self.base_gain + np.bincount(self.row[taken], self.gained[taken], len(self.mass))
        paid = self.base_paid + np.bincount(self.row[taken], self.paid[taken], len(self.mass))
        result: np.ndarray = (
            gained - self.mass * self.gain[point] - rho * (paid - self.mass * self.spend[point])
        )
        return result


def draw_curve(
    steps: Steps,
    gain: np.ndarray,
    cost: np.ndarray,
    planned: np.ndarray,
    mass: np.ndarray,
    *,
    model: str,
    stage: str,
    arms: tuple[str, ...],
    axis: str,
    cluster: np.ndarray | None = None,
    confidence: float = 0.95,
    points: int = 201,
) -> CostCurve:
    """The curve of a ranking's steps, from scores of every row and arm.

    Parameters
    ----------
    steps : Steps
    gain, cost : ndarray of float64 [row, arm]
        Scores of the gain against control and of the cost, the control's column 0.
    planned : ndarray of float64 [row, arm]
        Predicted cost.
    mass : ndarray of float64 [row]
        Weights of the rows, summing to 1.
    cluster : ndarray of int64 [row], optional
        Rows of one unit.
    points : int
        At most so many points are kept for drawing; areas and estimates use all.

    Raises
    ------
    EvaluationError
        The ranking takes no step: by its predictions nothing is worth its cost.
    """
    if not len(steps.row):
        raise EvaluationError(
            f"model {model!r} predicts no gain from any arm that costs money, so there is no curve of its plans."
        )
    paid = planned if axis == "planned" else cost
    rows, all_rows = steps.row, np.arange(len(mass))
    m = mass[rows]
    new = np.append(True, steps.reward[1:] != steps.reward[:-1])
    group = np.cumsum(new) - 1

    def along(table: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        before = m * table[rows, steps.before]
        step = m * table[rows, steps.after] - before
        base = mass * table[all_rows, steps.start]
        start = float(base.sum())
        return step, before, base, np.append(start, start + np.cumsum(np.bincount(group, step)))

    gained, gained_before, base_gain, total_gain = along(gain)
    paid_step, paid_before, base_paid, total_paid = along(paid)
    sums = _Sums(
        mass, cluster, rows, group, gained, paid_step, gained_before, paid_before, base_gain, base_paid,
        total_paid, total_gain,
    )  # fmt: skip
    if not sums.total > 0:
        raise EvaluationError(
            f"the plans of model {model!r} cost nothing ({sums.total:g} per customer when all money is spent), so there is no curve over spend."
        )
    as_planned = along(planned)[3] if axis != "planned" else total_paid
    treated = np.append(
        float(mass[steps.start > 0].sum()),
        float(mass[steps.start > 0].sum())
        + np.cumsum(np.bincount(group, m * ((steps.after > 0).astype(float) - (steps.before > 0)))),
    )
    ends = np.linspace(as_planned[0], as_planned[-1], points)
    kept = np.unique(np.clip(np.searchsorted(as_planned, ends), 0, len(as_planned) - 1))
    reach = Estimate.normal(0.0, 1.0, confidence).high * sums.errors(kept)
    whole_gain, whole_paid, area = sums.whole(gained), sums.whole(paid_step), sums.area()

    def estimate(mean: Mean) -> Estimate:
        return mean.estimate(cluster, confidence)

    everyone = {}
    for code, name in enumerate(arms):
        if code:
            means = (
                Mean(float(mass @ t), mass * (t - float(mass @ t))) for t in (paid[:, code], gain[:, code])
            )
            spend_of, gain_of = (estimate(mean) for mean in means)
            everyone[name] = (spend_of, gain_of)
    positive = estimate(whole_gain).low > 0
    return CostCurve(
        model=model,
        stage=stage,
        axis=axis,
        confidence=confidence,
        spend=total_paid[kept],
        planned=as_planned[kept],
        gain=total_gain[kept],
        gain_low=total_gain[kept] - reach,
        gain_high=total_gain[kept] + reach,
        treated=treated[kept],
        aucc=estimate(area.over(whole_paid).over(whole_gain)) if positive else None,
        aucc_gain=estimate(sums.above_chord()),
        everyone=everyone,
        _sums=sums,
    )
