"""How much every row moves a ranking metric: standard errors without resampling, and paired comparisons of models.

Two metrics of the family of Yadlowsky et al. (2021), the rank-weighted average treatment effects, are linear in the
curve V4 of :mod:`uplift.metrics.scores`: with u the share of customers ranked before (ties share their mean),

    R_h = sum_i c_i h(u_i),   c_i = s_i w_i y_i / n_arm(i),   s = +1 for treated rows and -1 for control,

where h(u) = 1/2 - u gives the headline (`qini_per_capita`, exactly) and h(u) = -1 - log u the `autoc`. The
influence of row j is the derivative of R_h when its weight grows, the infinitesimal jackknife (Efron 1982):

    psi_j = s_j w_j (y_j h(u_j) - mean_arm(j)) / n_arm(j) + (w_j / W) (K(u_j) - k),

the row itself among those of its arm, and what it does to the ranks of the others: K(u) = sum of c_i h'(u_i) over the
rows ranked below u, and k its mean. The variance of R_h is about sum_j psi_j^2; that of the difference of two models'
metrics on the same rows is sum_j (psi_j - psi'_j)^2, which is far smaller when both rank alike. Rows of one unit
are added up before they are squared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from uplift.metrics.ranked_sums import arm_weights, row_influences, spread_around
from uplift.metrics.ranking import Ranking
from uplift.metrics.rate_heights import rate_heights

Weighting = Literal["qini", "autoc"]


@dataclass(frozen=True, eq=False)
class Influence:
    """A metric and the influence of every row on it.

    Attributes
    ----------
    value : float
        The metric, in outcome units per customer.
    rows : ndarray of float64 [row]
        Influence of every row, in the order of the rows that were ranked (not by rank); sums to about 0.
    """

    value: float
    rows: np.ndarray


def rate_influence(ranking: Ranking, weighting: Weighting = "qini") -> Influence:
    """The metric R_h and the influence of every row.

    Parameters
    ----------
    ranking : Ranking
    weighting : {"qini", "autoc"}
        Which h.

    Returns
    -------
    Influence

    References
    ----------
    Yadlowsky, Fleming, Shah, Brunskill, Wager, Evaluating treatment prioritization rules via rank-weighted average
    treatment effects, JASA 2024 (arXiv 2111.07966). Efron, The jackknife, the bootstrap and other resampling plans,
    SIAM 1982, ch. 6.
    """
    cells = ranking.cells
    value, means, height, moved = rate_heights(*cells.arrays(), weighting == "autoc")
    totals = np.array([cells.n_c[-1], cells.n_t[-1]])
    rows = row_influences(ranking.order, ranking.ends, *ranking.ranked, totals, means, height, moved)
    return Influence(float(value), rows)


def clustered(influence: np.ndarray, cluster: np.ndarray | None) -> np.ndarray:
    """Influences [row, ...] added up within clusters (dense codes [row]); as they are without clusters."""
    if cluster is None:
        return influence
    found = np.zeros((int(cluster.max(initial=-1)) + 1, *influence.shape[1:]))
    np.add.at(found, cluster, influence)
    return found


def standard_error(influence: np.ndarray, cluster: np.ndarray | None = None) -> float:
    """Standard error from influences [row]; those of a cluster (dense codes [row]) are added up first.

    Examples
    --------
    >>> standard_error(np.array([0.3, -0.4]))
    0.5
    """
    return float(np.sqrt(np.sum(np.square(clustered(influence, cluster), dtype=np.float64))))


def covariance(influences: np.ndarray, cluster: np.ndarray | None = None) -> np.ndarray:
    """Covariance [model, model] of metrics measured on the same rows, from influences [model, row]."""
    parts = clustered(influences.T, cluster)
    result: np.ndarray = parts.T @ parts
    return result


def placebo_error(ranking: Ranking) -> float:
    """Standard error of the headline if nobody's outcome depended on the coupon.

    Under that hypothesis (Fisher's sharp null) the labels treated and control are exchangeable, whatever the ranking.
    The headline is the difference between the arms in the mean of z = y (1/2 - u), and its variance over all
    permutations of the labels is known without drawing any: s_z^2 (1/n_T + 1/n_C), with s_z^2 the sample variance of z
    over all rows. With weights n is the effective number of rows, (sum w)^2 / sum w^2.
    """
    cells, n = ranking.cells, ranking.n_rows
    treated, outcome, weight = ranking.ranked
    totals, squares = arm_weights(treated, weight)
    _, means, height, _ = rate_heights(*cells.arrays(), False)
    mean = float(means @ totals) / totals.sum()
    variance = spread_around(ranking.ends, outcome, weight, height, mean) / totals.sum() * n / max(n - 1, 1)
    return float(np.sqrt(variance * np.sum(squares / np.square(totals))))
