"""Probability with which every row could have received its arm, and the others, by the campaign's design."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from uplift.campaign import Campaign


def received_propensity(campaign: Campaign) -> np.ndarray | None:
    """Probability of the arm that each row received, float64 [row].

    The campaign's propensity; without one, the (weighted) share of the arm within the row's stratum; None without
    strata either.
    """
    received, strata = campaign.propensity, campaign.stratum_codes
    if received is not None or strata is None:
        return received
    weights = np.ones(campaign.n_rows) if campaign.weights is None else campaign.weights
    cell = strata.astype(np.int64) * len(campaign.arms) + campaign.arm_codes
    result: np.ndarray = np.bincount(cell, weights)[cell] / np.bincount(strata, weights)[strata]
    return result


def arm_propensities(campaign: Campaign) -> np.ndarray | None:
    """Probability of every arm, float64 [row, arm], rows summing to 1.

    Without propensities and strata every arm has its (weighted) share among all rows; with strata, among the rows of
    the stratum. A propensity column tells the probability of the arm received only: of two arms the other's follows,
    of more the others' are not known, and the answer is None.
    """
    arms, n_arms = campaign.arm_codes.astype(np.int64), len(campaign.arms)
    weights = np.ones(campaign.n_rows) if campaign.weights is None else campaign.weights
    if campaign.propensity is not None:
        if n_arms != 2:
            return None
        own, received = arms[:, None] == np.arange(2), campaign.propensity[:, None]
        return np.where(own, received, 1.0 - received)
    strata = campaign.stratum_codes
    if strata is None:
        share = np.bincount(arms, weights, n_arms) / weights.sum()
        return np.broadcast_to(share, (campaign.n_rows, n_arms))
    cells = np.bincount(strata.astype(np.int64) * n_arms + arms, weights, (int(strata.max()) + 1) * n_arms)
    mass = cells.reshape(-1, n_arms)
    result: np.ndarray = (mass / mass.sum(axis=1, keepdims=True))[strata]
    return result
