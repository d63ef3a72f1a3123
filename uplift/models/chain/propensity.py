"""Who received which arm among those who reached a stage: no longer the coin of the randomisation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from uplift.propensity import arm_propensities, received_propensity

if TYPE_CHECKING:
    from uplift.campaign import Campaign

CUT = 10.0
"""How many times less likely than the others a row's arm may be thought to have led to the stage."""


@dataclass(frozen=True, eq=False)
class Design:
    """Propensities at assignment.

    Attributes
    ----------
    arms : ndarray of int64 [row]
        The arm received.
    received : ndarray of float64 [row]
        Probability of this arm.
    every : ndarray of float64 [row, arm]
        Probability of every arm; its (weighted) share among all rows where that is not known.
    """

    arms: np.ndarray
    received: np.ndarray
    every: np.ndarray

    @classmethod
    def of(cls, campaign: Campaign) -> Design:
        """The design of a campaign.

        Without propensities and strata every arm has its (weighted) share among all rows; with strata, among the
        rows of the stratum. A propensity column tells the probability of the arm received only: of two arms the
        other's follows, of more the others' are not known.
        """
        arms, n_arms = campaign.arm_codes.astype(np.int64), len(campaign.arms)
        weights = np.ones(campaign.n_rows) if campaign.weights is None else campaign.weights
        share = np.bincount(arms, weights, n_arms) / weights.sum()
        received, every = received_propensity(campaign), arm_propensities(campaign)
        if every is None:
            every = np.broadcast_to(share, (campaign.n_rows, n_arms))
        return cls(arms, share[arms] if received is None else received, every)

    def take(self, rows: np.ndarray) -> Design:
        """Some of the rows (integers or a boolean mask)."""
        return Design(self.arms[rows], self.received[rows], self.every[rows])

    def among(self, reached: np.ndarray) -> np.ndarray:
        """Probability of the arm received, among customers with the same features who reached a stage.

        By Bayes' rule, with ``e_a`` the probability of arm a at assignment and ``m_a(x)`` that of reaching the stage
        under it, it is ``e_a m_a(x) / sum_b e_b m_b(x)``. Where ``e_b`` is known of the arm received alone (three
        arms or more with a propensity column), shares stand for it in the sum: still the same function of x for
        every arm, so that weights by the inverse balance the arms all the same.

        Parameters
        ----------
        reached : ndarray [row, arm]
            ``m_a(x)``, in [0, 1].

        Returns
        -------
        ndarray of float64 [row]
            In (0, 1]. A row whose arm is thought to lead to the stage ten times less often than arms do on average
            is taken for one of a tenth: a rate predicted near zero must not let one row outweigh all others.

        Examples
        --------
        >>> design = Design(np.array([0, 1]), np.array([0.5, 0.5]), np.full((2, 2), 0.5))
        >>> design.among(np.array([[0.1, 0.3], [0.1, 0.3]])).round(6).tolist()
        [0.25, 0.75]
        """
        average = (self.every * reached).sum(axis=1)
        own = reached[np.arange(len(reached)), self.arms]
        ratio = np.divide(own, average, out=np.ones_like(average), where=average > 0)
        result: np.ndarray = np.minimum(self.received * np.maximum(ratio, 1.0 / CUT), 1.0)
        return result
