"""Doubly robust pseudo-outcomes: numbers per row whose mean, given the features, is the uplift."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from uplift.propensity import received_propensity

if TYPE_CHECKING:
    from uplift.campaign import Campaign

CLIP = 10.0
"""Largest stabilised inverse propensity."""


def inverse_propensity(campaign: Campaign) -> np.ndarray:
    """1 / probability of the arm received, float64 [row].

    The probability is that of :func:`uplift.propensity.received_propensity`, else the (weighted) share of the
    arm; times that share the inverse is cut at `CLIP`.
    """
    received = received_propensity(campaign)
    mass = np.bincount(campaign.arm_codes, campaign.weights, len(campaign.arms))
    share = mass / mass.sum()
    inverse = 1.0 / share[campaign.arm_codes]
    result: np.ndarray = inverse if received is None else np.minimum(1.0 / received, CLIP * inverse)
    return result


def doubly_robust(campaign: Campaign, mu: np.ndarray, *, stage: int) -> np.ndarray:
    """Doubly robust pseudo-outcome of every treated arm, float64 [row, treated arm].

    ::

        phi_k = mu_k - mu_0 + 1{a = k} (y - mu_k) / e_k - 1{a = 0} (y - mu_0) / e_0

    Where the propensities `e` are known, its mean given the features is the uplift of arm k whatever `mu` is; a good
    `mu` makes it less noisy. Its squared distance to a prediction is the squared error of the uplift plus what no
    prediction can change.

    Parameters
    ----------
    campaign : Campaign
        With outcomes; `mu` must not have been learned from these rows.
    mu : ndarray [row, arm]
        Predicted outcome of every arm, control first.
    stage : int
        Position on the stage axis.

    References
    ----------
    Kennedy, Towards optimal doubly robust estimation of heterogeneous causal effects, EJS 2023.
    """
    arms = campaign.arm_codes.astype(np.int64)
    mu = np.asarray(mu, np.float64)
    residual = (campaign.outcomes[:, stage] - mu[np.arange(len(arms)), arms]) * inverse_propensity(campaign)
    signs = (arms[:, None] == np.arange(1, mu.shape[1])).astype(np.float64) - (arms == 0)[:, None]
    result: np.ndarray = mu[:, 1:] - mu[:, :1] + residual[:, None] * signs
    return result
