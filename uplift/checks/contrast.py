"""One arm against control: weights that undo the design, the difference of means and its standard error."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np


@dataclass(frozen=True)
class Difference:
    """Treated minus control.

    Attributes
    ----------
    estimate : float
        Difference of weighted means; 0 in expectation when the assignment was random.
    se : float
        Standard error if there is no difference, clustered by unit.
    scale : float
        Root of the mean of the two within-arm variances (Austin 2011, eq. 1), for standardising.
    df : float
        Degrees of freedom: units minus 2.
    """

    estimate: float
    se: float
    scale: float
    df: float

    @property
    def smd(self) -> float:
        """Standardised mean difference."""
        return self.estimate / self.scale if self.scale > 0 else 0.0

    @property
    def t(self) -> float:
        """Estimate over its null standard error; 0 when nothing varies."""
        return self.estimate / self.se if self.se > 0 else 0.0


@dataclass(frozen=True, eq=False)
class Contrast:
    """Rows of control and of one arm.

    Parameters
    ----------
    arm : str
    rows : ndarray of int64 [row]
        Row numbers in the campaign.
    treated : ndarray of bool [row]
    unit, stratum : ndarray of int64 [row] or None
    propensity : ndarray of float64 [row] or None
        Probability of the arm received. Takes precedence over strata.
    sampling : ndarray of float64 [row] or None
        Sampling weights.
    """

    arm: str
    rows: np.ndarray
    treated: np.ndarray
    unit: np.ndarray | None = None
    stratum: np.ndarray | None = None
    propensity: np.ndarray | None = None
    sampling: np.ndarray | None = None

    def subset(self, chosen: np.ndarray) -> Contrast:
        """Some of the rows (mask or positions); weights within strata are worked out anew."""

        def pick(values: np.ndarray | None) -> np.ndarray | None:
            return None if values is None else values[chosen]

        return replace(
            self,
            rows=self.rows[chosen],
            treated=self.treated[chosen],
            unit=pick(self.unit),
            stratum=pick(self.stratum),
            propensity=pick(self.propensity),
            sampling=pick(self.sampling),
        )

    @cached_property
    def dense_stratum(self) -> np.ndarray | None:
        """Stratum codes without gaps, int64 [row]."""
        return None if self.stratum is None else np.unique(self.stratum, return_inverse=True)[1]

    @cached_property
    def dense_unit(self) -> np.ndarray | None:
        """Unit codes without gaps, int64 [row]."""
        return None if self.unit is None else np.unique(self.unit, return_inverse=True)[1]

    @cached_property
    def weight(self) -> np.ndarray:
        """Weights under which both arms describe the same customers, float64 [row].

        1 / propensity where known; within strata the overlap weights n_other / n (Li, Morgan, Zaslavsky 2018),
        which make both arms weigh the same in every stratum and drop strata that lack one; else 1.
        """
        base = np.ones(len(self.rows)) if self.sampling is None else self.sampling
        if self.propensity is not None:
            return np.asarray(base / self.propensity)
        stratum = self.dense_stratum
        if stratum is None:
            return base
        size = int(stratum.max(initial=-1)) + 1
        total = np.bincount(stratum, base, size)
        treated = np.bincount(stratum, base * self.treated, size)
        other = np.where(self.treated, (total - treated)[stratum], treated[stratum])
        result: np.ndarray = base * other / total[stratum]
        return result

    @cached_property
    def totals(self) -> tuple[float, float]:
        """Sum of weights of treated and control."""
        treated = float(self.weight[self.treated].sum())
        return treated, float(self.weight.sum()) - treated

    @cached_property
    def usable(self) -> bool:
        """Whether both arms have weight: some stratum holds both."""
        return min(self.totals) > 1e-12

    @cached_property
    def sign(self) -> np.ndarray:
        """Coefficient of each row in the difference of means, float64 [row]."""
        treated, control = self.totals
        return self.weight * np.where(self.treated, 1 / treated, -1 / control)

    @cached_property
    def n_units(self) -> int:
        """Number of units with weight."""
        kept = self.weight > 0
        return int(np.unique(self.unit[kept]).size) if self.unit is not None else int(kept.sum())

    @cached_property
    def small_stratum_factor(self) -> np.ndarray | float:
        """Root of m / (m - 1) for m units in a row's stratum: exact permutation variance for pairs too."""
        if self.dense_stratum is None:
            return float((self.n_units / max(self.n_units - 1, 1)) ** 0.5)
        key = self.dense_stratum
        if self.dense_unit is not None:
            span = int(self.dense_unit.max(initial=0)) + 1
            key = np.unique(key * span + self.dense_unit) // span
        units = np.bincount(key, minlength=int(self.dense_stratum.max(initial=-1)) + 1)
        result: np.ndarray = np.sqrt(units / np.maximum(units - 1, 1))[self.dense_stratum]
        return result

    @cached_property
    def _vectors(self) -> np.ndarray:
        """Weights of all, of the treated, and squared coefficients, float64 [3, row]."""
        return np.stack([self.weight, self.weight * self.treated, self.sign**2])

    def difference(self, values: np.ndarray) -> Difference:
        """Difference of the means of `values` [row], without missing ones."""
        shifted = values - values.mean()
        first, second = self._vectors @ shifted, self._vectors @ (shifted * shifted)
        n_treated, n_control = self.totals
        means = first[1] / n_treated, (first[0] - first[1]) / n_control
        squares = second[1] / n_treated, (second[0] - second[1]) / n_control
        within = [max(square - mean * mean, 0.0) for square, mean in zip(squares, means, strict=True)]
        centre = first[0] / (n_treated + n_control)
        spread = second[0] / (n_treated + n_control) - centre * centre
        scale = float(np.sqrt(max(sum(within) / 2, 0.0)))
        if scale <= 1e-6 * max(spread, 0.0) ** 0.5:  # constant in each arm: the overall spread instead
            scale = float(max(spread, 0.0) ** 0.5)
        if self.dense_unit is None and self.dense_stratum is None:
            total = self._vectors[2].sum()
            variance = (second[2] - 2 * centre * first[2] + centre * centre * total) * (
                self.small_stratum_factor**2
            )
            se = float(np.sqrt(max(variance, 0.0)))
        else:
            se = self._clustered_se(shifted)
        estimate = float(means[0] - means[1])
        if se <= 1e-9 * scale:  # the design balances it exactly (a stratum column): only rounding is left
            estimate, se = 0.0, 0.0
        return Difference(estimate, se, scale, max(self.n_units - 2, 1))

    def _clustered_se(self, values: np.ndarray) -> float:
        influence = self.sign * (values - self._centre(values)) * self.small_stratum_factor
        if self.dense_unit is not None:
            influence = np.bincount(self.dense_unit, influence)
        return float(np.sqrt(influence @ influence))

    def _centre(self, values: np.ndarray) -> np.ndarray | float:
        if self.dense_stratum is None:
            return float(np.average(values, weights=self.weight))
        # Both arms weigh the same in a stratum, so taking off its mean changes only the standard error.
        total = np.bincount(self.dense_stratum, self.weight)
        sums = np.bincount(self.dense_stratum, self.weight * values)
        result: np.ndarray = (sums / np.where(total > 0, total, 1.0))[self.dense_stratum]
        return result


def mid_ranks(contrast: Contrast, score: np.ndarray) -> np.ndarray:
    """Mean of the two arms' weighted mid-distribution functions at each score, float64 [row].

    The difference of its means between treated and control is exactly AUC - 1/2 (ties count half), so that
    the area under the curve inherits weights, strata and clustered errors from :meth:`Contrast.difference`.
    """
    order = np.argsort(score, kind="stable")
    ordered = score[order]
    new = np.concatenate([[True], ordered[1:] != ordered[:-1]])
    group = np.cumsum(new) - 1
    result = np.zeros(len(score))
    for arm, total in zip((contrast.treated, ~contrast.treated), contrast.totals, strict=True):
        mass = np.bincount(group, (contrast.weight * arm)[order])
        middle = np.cumsum(mass) - mass / 2
        result[order] += middle[group] / (2 * total)
    return result


def auc(contrast: Contrast, score: np.ndarray) -> tuple[float, float]:
    """Area under the ROC curve of `score` [row] for treated against control, and its standard error at 1/2.

    Examples
    --------
    >>> treated = np.array([True, True, False, False])
    >>> auc(Contrast("a", np.arange(4), treated), np.array([3.0, 2.0, 2.0, 1.0]))[0]
    0.875
    """
    found = contrast.difference(mid_ranks(contrast, score))
    return 0.5 + found.estimate, found.se
