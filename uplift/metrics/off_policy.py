"""What a policy is worth, from rows that were assigned by another one: estimates and how much every row moves them.

With e the probability of the arm that a row received, pi the policy's probability of that arm, y its outcome and
m(x, a) a prediction of the outcome, w = pi / e and

    IPS     mean(w y)                                 Horvitz and Thompson 1952
    SNIPS   sum(w y) / sum(w)                         Hajek 1971; Swaminathan and Joachims 2015
    DM      mean(sum_a pi(a) m(x, a))
    DR      DM + mean(w (y - m(x, received)))         Robins et al. 1994; Dudik et al. 2011
    SNDR    DM + sum(w (y - m(x, received))) / sum(w)

These are the definitions of the Open Bandit Pipeline (Saito et al. 2021). All are averages over the rows of a model
part and a weighted residual part, so one function, :meth:`Weighting.mean`, serves all. The standard error comes from
the influence of every row: where the propensities are known, its own term less the mean. Where they are shares of the
log itself (a plain lottery, or one per stratum) the estimates are sums of means within arm and stratum, and only the
spread around those means is error: less than with known propensities (Hirano, Imbens, Ridder 2003). Rows of one unit
are added up before they are squared.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from uplift.campaign import Campaign
from uplift.errors import EvaluationError
from uplift.metrics.average import Estimate
from uplift.metrics.influence import standard_error
from uplift.metrics.policies import Policy
from uplift.propensity import received_propensity


@dataclass(frozen=True, eq=False)
class Mean:
    """A mean over customers and the influence of every row on it; sums, differences and multiples keep both.

    Attributes
    ----------
    value : float
    influence : ndarray of float64 [row]
        Sums to about 0; the variance of the value is about the sum of its squares.
    """

    value: float
    influence: np.ndarray

    def __add__(self, other: Mean) -> Mean:
        return Mean(self.value + other.value, self.influence + other.influence)

    def __sub__(self, other: Mean) -> Mean:
        return Mean(self.value - other.value, self.influence - other.influence)

    def __mul__(self, factor: float) -> Mean:
        return Mean(self.value * factor, self.influence * factor)

    def over(self, other: Mean) -> Mean:
        """The ratio of two means (delta method)."""
        ratio = self.value / other.value
        return Mean(ratio, (self.influence - ratio * other.influence) / other.value)

    def estimate(self, cluster: np.ndarray | None, confidence: float) -> Estimate:
        """With its normal interval; influences of a cluster [row] are added up first."""
        return Estimate.normal(self.value, standard_error(self.influence, cluster), confidence)


@dataclass(frozen=True, eq=False)
class Logged:
    """The assignment of a log, as off-policy estimates need it.

    Attributes
    ----------
    arms : ndarray of int64 [row]
        The arm received.
    n_arms : int
        Control included.
    propensity : ndarray of float64 [row]
        Probability of that arm.
    mass : ndarray of float64 [row]
        Sampling weights, summing to 1.
    cell : ndarray of int64 [row] or None
        Stratum within which the propensities are shares of this very log (0 where there are no strata); None where
        they are known.
    cluster : ndarray of int64 [row] or None
        Unit of each row when units repeat.
    """

    arms: np.ndarray
    n_arms: int
    propensity: np.ndarray
    mass: np.ndarray
    cell: np.ndarray | None
    cluster: np.ndarray | None

    @cached_property
    def n_cells(self) -> int:
        """Number of strata; 0 where propensities are known."""
        return 0 if self.cell is None else int(self.cell.max(initial=-1)) + 1

    @classmethod
    def of(cls, log: Campaign, propensity: np.ndarray | None = None) -> Logged:
        """The design of a campaign, or with other propensities: [row] of the arm received, or [row, arm].

        Raises
        ------
        EvaluationError
            Another number of rows, or a propensity outside (0, 1].
        """
        arms, n_arms, n = log.arm_codes.astype(np.int64), len(log.arms), log.n_rows
        weights = np.ones(n) if log.weights is None else log.weights
        mass = weights / weights.sum()
        cluster = log.unit_codes if log.units_repeat else None
        if propensity is not None:
            given = np.asarray(propensity, np.float64)
            if given.shape not in ((n,), (n, n_arms)):
                raise EvaluationError(
                    f"the propensities have shape {given.shape}; give one per row ({n:,}) for the arm received, or one per row and arm ({n_arms})."
                )
            own = given if given.ndim == 1 else np.take_along_axis(given, arms[:, None], axis=1)[:, 0]
            bad = ~((own > 0) & (own <= 1))
            if bad.any():
                raise EvaluationError(
                    f"{int(bad.sum()):,} of {n:,} propensities are missing or outside (0, 1], first {own[bad][0]} in row {int(np.flatnonzero(bad)[0]):,}; a received arm has a positive probability."
                )
            return cls(arms, n_arms, own, mass, None, cluster)
        if log.propensity is not None:
            return cls(arms, n_arms, np.asarray(log.propensity), mass, None, cluster)
        received, strata = received_propensity(log), log.stratum_codes
        if received is not None and strata is not None:
            return cls(arms, n_arms, received, mass, strata.astype(np.int64), cluster)
        share = np.bincount(arms, mass, n_arms)
        return cls(arms, n_arms, share[arms], mass, np.zeros(n, np.int64), cluster)

    def within(self, group: np.ndarray) -> Logged:
        """Propensities as shares within stratum and group [row]; only where they are shares of the log."""
        assert self.cell is not None
        cell = np.unique(self.cell * (int(group.max(initial=0)) + 1) + group, return_inverse=True)[1]
        both = cell * self.n_arms + self.arms
        shares = np.bincount(both, self.mass)[both] / np.bincount(cell, self.mass)[cell]
        return replace(self, cell=cell, propensity=shares)

    def average(self, numbers: np.ndarray) -> Mean:
        """Plain mean of `numbers` [row]: what the log's own policy brought."""
        value = float(self.mass @ numbers)
        return Mean(value, self.mass * (numbers - value) * _small_sample(len(numbers)))


@dataclass(frozen=True, eq=False)
class Weighting:
    """Importance weights of a policy on a log, ready to average with.

    Attributes
    ----------
    log : Logged
    weight : ndarray of float64 [row]
        w; after clipping, and divided by its mean within `group` where there is one.
    group : ndarray of int64 [row] or None
        Self-normalisation: one group is SNIPS.
    clipped : bool
        Whether weights were cut: then the log's shares no longer cancel, and errors are as with known propensities.
    """

    log: Logged
    weight: np.ndarray
    group: np.ndarray | None = None
    clipped: bool = False

    @classmethod
    def of(
        cls, log: Logged, policy: Policy, *, clip: float = np.inf, group: np.ndarray | None = None
    ) -> Weighting:
        """Weights pi / e, cut at `clip`, then normalised within `group` [row]."""
        weight = policy.given(log.arms) / log.propensity
        clipped = bool((weight > clip).any())
        if clipped:
            weight = np.minimum(weight, clip)
        if group is not None:
            share = np.bincount(group, log.mass)
            mean = np.divide(
                np.bincount(group, log.mass * weight), share, out=np.ones_like(share), where=share > 0
            )
            weight = weight / (np.where(mean > 0, mean, 1.0)[group] if len(share) > 1 else mean[0] or 1.0)
        return cls(log, weight, group, clipped)

    def mean(self, model: np.ndarray | float, residual: np.ndarray) -> Mean:
        """Mean over customers of `model` plus the weighted `residual`.

        Parameters
        ----------
        model : ndarray of float64 [row] or float
            What a prediction (or a known amount) says of every row under the policy; 0 without one.
        residual : ndarray of float64 [row]
            Outcome received, less its prediction.
        """
        from uplift.metrics.row_sums import weighted_mean

        log, n = self.log, len(self.weight)
        known = log.cell is None or self.clipped
        none = np.zeros(0, np.int64)
        group, cell = none if self.group is None else self.group, none if known else log.cell
        value, influence = weighted_mean(
            log.mass, np.array([model]) if np.ndim(model) == 0 else model, self.weight,
            np.broadcast_to(residual, n).astype(np.float64, copy=False), group, cell, log.arms,
            int(group.max(initial=-1)) + 1, 0 if known else log.n_cells, log.n_arms,
        )  # fmt: skip
        return Mean(float(value), influence)


def _small_sample(n: int) -> float:
    return float(np.sqrt(n / max(n - 1, 1)))


def incremental_scores(log: Logged, predicted: np.ndarray, outcome: np.ndarray) -> np.ndarray:
    """Doubly robust scores of every arm against control, float64 [row, arm], the control's column 0.

    ``m_k - m_0 + 1{a = k} (y - m_k) / e - 1{a = 0} (y - m_0) / e``: the mean over customers of the scores of the arms
    that a policy gives them is what the policy gains over control. With `predicted` 0 they are the inverse propensity
    scores.

    Parameters
    ----------
    predicted : ndarray [row, arm]
        m, from rows that are not these.
    outcome : ndarray [row]
    """
    rows = np.arange(len(outcome))
    residual = (outcome - predicted[rows, log.arms]) / log.propensity
    scores: np.ndarray = predicted - predicted[:, :1]
    scores -= np.where(log.arms == 0, residual, 0.0)[:, None]
    treated = log.arms > 0
    scores[rows[treated], log.arms[treated]] += residual[treated]
    scores[:, 0] = 0.0
    return scores
