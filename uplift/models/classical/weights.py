"""Row weights from a campaign's roles: sampling weights and randomisation at unequal rates."""

from __future__ import annotations

import numpy as np

from uplift.campaign import Campaign


def sample_weights(campaign: Campaign) -> np.ndarray | None:
    """Sampling weight times stabilised inverse propensity of every row.

    With ``e`` the probability of the arm a row received and ``s`` the (weighted) share of that arm, the weight is
    ``weight * s / e``: it makes the rows of every arm look like all rows, so that a learner which does not see
    what the propensity depends on is still unconfounded (Robins, Hernan, Brumback, Epidemiology 2000).
    ``e`` is the campaign's propensity; without one, the (weighted) share of the arm within the row's stratum.

    Returns
    -------
    ndarray of float64 [row] or None
        Positive, with mean one; None when the campaign has neither weights nor propensities nor strata.
    """
    base, received = campaign.weights, campaign.propensity
    strata = campaign.stratum_codes
    if base is None and received is None and strata is None:
        return None
    arms, n_arms = campaign.arm_codes.astype(np.int64), len(campaign.arms)
    weights = np.ones(campaign.n_rows) if base is None else np.array(base, np.float64)
    share = np.bincount(arms, weights, n_arms) / weights.sum()
    if received is None and strata is not None:
        cell = strata.astype(np.int64) * n_arms + arms
        received = np.bincount(cell, weights)[cell] / np.bincount(strata, weights)[strata]
    if received is not None:
        weights = weights * share[arms] / received
    return weights / weights.mean()
