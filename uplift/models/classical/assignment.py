"""What is known of how rows got their arms, and what it says about one arm against control."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from uplift.models.row_weights import row_weights

if TYPE_CHECKING:
    from uplift.campaign import Campaign

CONTROL = 0


class PairRows(NamedTuple):
    """Rows of control and of one arm, in their order.

    Attributes
    ----------
    rows : ndarray of int64 [pair]
        Their positions among all rows.
    treated : ndarray of bool [pair]
        Whether the row received the arm, W below.
    propensity : ndarray of float64 [pair]
        e = P(W = 1 | row, received the arm or control), in [0, 1]; what the row received has a positive probability.
    weights : ndarray of float64 [pair] or None
        Weights under which these rows stand for all rows, whatever arm those received.
    """

    rows: np.ndarray
    treated: np.ndarray
    propensity: np.ndarray
    weights: np.ndarray | None

    @property
    def received(self) -> np.ndarray:
        """Probability, within the pair, of what each row received, float64 [pair], in (0, 1]."""
        return np.where(self.treated, self.propensity, 1.0 - self.propensity)


@dataclass(frozen=True, eq=False)
class Assignment:
    """How rows got their arms.

    What a pair of arms needs is ``e = p_arm / (p_arm + p_control)`` for every row of either. Which of these are known:

    * randomised with fixed shares: e is the arm's share of the rows of the pair;
    * strata: both probabilities are the (weighted) shares within the row's stratum. A stratum that was sent the arm
      more or less than others is over- or underrepresented among the pair's rows; the weight
      ``(s_arm + s_control) / (p_arm + p_control)`` undoes it, with s the shares among all rows;
    * propensities and two arms: a row's propensity gives both;
    * propensities and more arms: the campaign says the probability p of the arm that a row *received*, and nobody knows
      that of the other one. With the weight ``s_received / p_received`` the pair's rows are as if randomised at the
      constant rate ``e = s_arm / (s_arm + s_control)`` whatever their features are (Robins et al. 2000), so that this e
      and these weights give the same equations: a doubly robust correction ``(y - mu) / e`` so weighted is
      ``(y - mu) / p`` times a constant.

    All weights are multiplied by the sampling weights, and shares are weighted by them. As elsewhere, a campaign with
    both propensities and strata is read by its propensities.

    Attributes
    ----------
    arms : ndarray of int16 [row]
    shares : ndarray of float64 [arm]
        Of all rows, weighted.
    sampling : ndarray of float64 [row] or None
        Sampling weights.
    stratum : ndarray of int32 [row] or None
    within : ndarray of float64 [stratum, arm] or None
        Shares of the arms within strata.
    propensity : ndarray of float64 [row] or None
        Probability of the arm received.
    stabilised : ndarray of float64 [row] or None
        :func:`~uplift.models.row_weights.row_weights`.

    References
    ----------
    Robins, Hernan, Brumback, Marginal structural models and causal inference in epidemiology, Epidemiology 2000.
    """

    arms: np.ndarray
    shares: np.ndarray
    sampling: np.ndarray | None = None
    stratum: np.ndarray | None = None
    within: np.ndarray | None = None
    propensity: np.ndarray | None = None
    stabilised: np.ndarray | None = None

    @classmethod
    def of(cls, campaign: Campaign) -> Assignment:
        """What `campaign` says."""
        n_arms, arms = len(campaign.arms), campaign.arm_codes
        shares = np.bincount(arms, campaign.weights, n_arms)
        stratum = campaign.stratum_codes if campaign.propensity is None else None
        within = None
        if stratum is not None:
            cell = stratum.astype(np.int64) * n_arms + arms
            mass = np.bincount(cell, campaign.weights, (int(stratum.max()) + 1) * n_arms).reshape(-1, n_arms)
            within = mass / mass.sum(axis=1, keepdims=True)
        weights = row_weights(campaign)
        return cls(
            arms,
            shares / shares.sum(),
            campaign.weights,
            stratum,
            within,
            campaign.propensity,
            None if weights is None else weights.values,
        )

    def pair(self, arm: int) -> PairRows:
        """Rows of control and of `arm`."""
        rows = np.flatnonzero((self.arms == CONTROL) | (self.arms == arm))
        treated = self.arms[rows] == arm
        share = self.shares[arm] / (self.shares[arm] + self.shares[CONTROL])
        weights = None if self.sampling is None else self.sampling[rows]
        if self.propensity is not None and len(self.shares) == 2:
            received = self.propensity[rows]
            return PairRows(rows, treated, np.where(treated, received, 1.0 - received), _mean_one(weights))
        if self.propensity is not None:
            assert self.stabilised is not None
            return PairRows(rows, treated, np.full(len(rows), share), _mean_one(self.stabilised[rows]))
        if self.stratum is None or self.within is None:
            return PairRows(rows, treated, np.full(len(rows), share), _mean_one(weights))
        either = self.within[:, arm] + self.within[:, CONTROL]
        stratum = self.stratum[rows]
        undone = (self.shares[arm] + self.shares[CONTROL]) / either[stratum]
        weights = undone if weights is None else weights * undone
        return PairRows(rows, treated, self.within[stratum, arm] / either[stratum], _mean_one(weights))


def _mean_one(weights: np.ndarray | None) -> np.ndarray | None:
    """Weights whose mean is one, which leaves the meaning of an L2 penalty; None where they are all equal."""
    if weights is None or np.ptp(weights) <= 1e-12 * weights[0]:
        return None
    result: np.ndarray = weights / weights.mean()
    return result
