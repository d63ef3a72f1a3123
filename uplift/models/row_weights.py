"""Row weights from a campaign's roles, the same for every model: sampling weights and unequal randomisation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from uplift.propensity import received_propensity

if TYPE_CHECKING:
    from uplift.campaign import Campaign


@dataclass(frozen=True, eq=False)
class RowWeights:
    """Weights of all rows of a campaign.

    Attributes
    ----------
    values : ndarray of float64 [row]
        Positive, with mean one.
    clipped : int
        Rows whose stabilised inverse propensity was cut.
    largest : float
        The largest stabilised inverse propensity before it was cut.
    """

    values: np.ndarray
    clipped: int = 0
    largest: float = 1.0


def row_weights(campaign: Campaign, *, clip: float = math.inf) -> RowWeights | None:
    """Sampling weight times stabilised inverse propensity of every row.

    With ``e`` the probability of the arm a row received and ``s`` the (weighted) share of that arm among all
    rows, the weight is ``weight * min(s / e, clip)``: it makes the rows of every arm look like all rows, so that
    a learner which does not see, or has not learned, what the propensity depends on is still unconfounded.
    ``e`` is the campaign's propensity; without one, the (weighted) share of the arm within the row's stratum.

    Parameters
    ----------
    campaign : Campaign
        With treatment.
    clip : float
        Upper limit, > 0, of ``s / e``: one unlikely row then cannot outweigh `clip` ordinary ones, at the price
        of some of the confounding that it would have removed.

    Returns
    -------
    RowWeights or None
        None when the campaign has neither weights nor propensities nor strata: a plain randomised campaign.

    References
    ----------
    Robins, Hernan, Brumback, Marginal structural models and causal inference in epidemiology, Epidemiology 2000.
    """
    base = campaign.weights
    if base is None and campaign.propensity is None and campaign.stratum_codes is None:
        return None
    received = received_propensity(campaign)
    arms, n_arms = campaign.arm_codes.astype(np.int64), len(campaign.arms)
    weights = np.ones(campaign.n_rows) if base is None else np.array(base, np.float64)
    if received is None:
        return RowWeights(weights / weights.mean())
    share = np.bincount(arms, weights, n_arms) / weights.sum()
    ratio = share[arms] / received
    weights = weights * np.minimum(ratio, clip)
    return RowWeights(weights / weights.mean(), int((ratio > clip).sum()), float(ratio.max(initial=0.0)))
