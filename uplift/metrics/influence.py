"""How much every row contributes to a Qini: standard errors of differences between rankings of the same rows."""

from __future__ import annotations

import numpy as np

from uplift.metrics.average import Comparison
from uplift.metrics.ranking import Ranking


def qini_influence(comparison: Comparison, score: np.ndarray, outcome: np.ndarray) -> np.ndarray:
    """Influence function of ``qini_per_capita`` at every row of a comparison.

    With ``a_i = w_i / n_T`` for treated and ``-w_i / n_C`` for control rows (n: sums of weights) and ``m_i`` the share of
    all rows, by weight, that are ranked before row i (half of those tied with it included), the metric is

        Q = sum_i a_i y_i (1/2 - m_i),

    the area between V4 and its chord by summation by parts. A row enters it twice: by its own term, and by pushing back
    all rows that are ranked after it. The sum over rows is zero, and the sum of squares is the variance of Q; that of the
    difference of two rankings' influences is the variance of the difference of their Q on these very rows.

    Parameters
    ----------
    comparison : Comparison
        Rows of one arm and of control, with weights.
    score : ndarray [row]
        Whoever has more is treated first.
    outcome : ndarray [row]
        Outcome.

    Returns
    -------
    ndarray of float64 [row]
        In outcome units per customer.

    References
    ----------
    Radcliffe, Using control groups to target on predicted lift, 2007, for the curve. Hampel, The influence curve and its
    role in robust estimation, JASA 1974. Checked against the bootstrap of :mod:`uplift.metrics.inference` in the tests.
    """
    ranking = Ranking.build(score, comparison.treated, outcome, comparison.weight)
    weight = np.ones(ranking.n_rows) if ranking.weight is None else ranking.weight
    total = float(weight.sum())
    mass = np.array([weight[~ranking.treated].sum(), weight[ranking.treated].sum()])
    # Group by group of tied scores: rows of one group share their place.
    group = np.repeat(np.arange(len(ranking.ends)), np.diff(ranking.ends, prepend=0))
    size = np.bincount(group, weight)
    place = (np.cumsum(size) - size / 2) / total
    signed = np.where(ranking.treated, 1.0 / mass[1], -1.0 / mass[0]) * weight
    gains = np.bincount(group, signed * ranking.outcome)
    after = gains.sum() - (np.cumsum(gains) - gains / 2)

    # Own term: the mean of y (1/2 - m) over the arm is a ratio of weighted sums.
    term = ranking.outcome * (0.5 - place[group])
    arm = ranking.treated.astype(np.int64)
    centre = np.bincount(arm, weight * term, 2) / mass
    own = signed * (term - centre[arm])
    # Pushing back whoever comes after: m rises for them, and falls a little for all as the total grows.
    pushed = -weight / total * (after - float((gains * place).sum()))[group]
    found = np.empty(ranking.n_rows)
    found[ranking.order] = own + pushed
    return found


def clustered(influence: np.ndarray, units: np.ndarray | None) -> np.ndarray:
    """Influences [row, ...] summed within units (codes [row]); as they are without units."""
    if units is None:
        return influence
    found = np.zeros((int(units.max(initial=-1)) + 1, *influence.shape[1:]))
    np.add.at(found, units, influence)
    return found


def standard_error(influence: np.ndarray) -> np.ndarray:
    """Standard error from influences [unit, ...], float64 [...].

    Examples
    --------
    >>> float(standard_error(np.array([0.3, -0.4])))
    0.5
    """
    return np.sqrt(np.square(influence, dtype=np.float64).sum(axis=0))
