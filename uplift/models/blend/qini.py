"""The Qini of a mixture of uplifts: its value, how each row moves it, and the mixture with the highest one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

STEPS = (1 / 4, 1 / 8, 1 / 16, 1 / 32)
"""Shares of the weight that the search moves from one part to another, one size after the other."""


def signed_outcomes(treated: np.ndarray, outcome: np.ndarray, mass: np.ndarray) -> np.ndarray:
    """What each row adds to the mean outcome of the treated less that of control, float64 [row].

    Parameters
    ----------
    treated : ndarray of bool [row]
        Received the arm, or control; both occur.
    outcome : ndarray [row]
    mass : ndarray [row]
        Row weights, > 0.
    """
    share = np.where(treated, mass / mass[treated].sum(), -mass / mass[~treated].sum())
    result: np.ndarray = share * outcome
    return result


def qini(score: np.ndarray, signed: np.ndarray, mass: np.ndarray) -> float:
    """Area between the per-capita uplift curve and its chord, in outcome units per customer.

    The curve adds up `signed` from the best score down; a row at the share q of all, with midranks for equal scores,
    lies under it from q to 1, so that the area is ``sum_i signed_i (1/2 - q_i)`` (definition id ``qini_per_capita``).

    Parameters
    ----------
    score : ndarray [row]
        Predicted uplift.
    signed : ndarray [row]
        See :func:`signed_outcomes`.
    mass : ndarray [row]

    Examples
    --------
    >>> treated, bought = np.array([True, False, True, False]), np.array([1.0, 0.0, 0.0, 0.0])
    >>> signed = signed_outcomes(treated, bought, np.ones(4))
    >>> qini(np.array([4.0, 3.0, 2.0, 1.0]), signed, np.ones(4)), qini(np.zeros(4), signed, np.ones(4))
    (0.1875, 0.0)
    """
    share, _ = _places(score, mass)
    return float(signed @ (0.5 - share))


def influence(score: np.ndarray, treated: np.ndarray, outcome: np.ndarray, mass: np.ndarray) -> np.ndarray:
    """How much each row moves the Qini, float64 [row]: mean zero, and its spread gives the standard error.

    The derivative by the row's weight: through the mean outcomes of the treated and of control, and through the
    places of all rows that the row ranks above.

    Parameters
    ----------
    score, treated, outcome, mass : ndarray [row]
        See :func:`qini` and :func:`signed_outcomes`.
    """
    signed = signed_outcomes(treated, outcome, mass)
    share, group = _places(score, mass)
    own = outcome * (0.5 - share)
    direct = np.zeros(len(score))
    for rows, sign in ((treated, 1.0), (~treated, -1.0)):
        mean = np.average(own[rows], weights=mass[rows])
        direct[rows] = sign * mass[rows] * (own[rows] - mean) / mass[rows].sum()
    by_group = np.bincount(group, signed)
    below = (signed.sum() - np.cumsum(by_group) + by_group / 2)[group]
    through_places = mass / mass.sum() * (below - signed @ share)
    result: np.ndarray = len(score) * (direct - through_places)
    return result


def highest(quality: Callable[[np.ndarray], float], parts: int) -> np.ndarray:
    """Convex weights with the highest quality that the search finds, float64 [part].

    A Qini changes only where two rows change places, so that there is no slope to follow. The search begins with
    equal weights and each part alone, and moves weight from one part to another for as long as that helps, in ever
    smaller steps down to 1/32. Nothing but a gain leaves equal weights.

    Parameters
    ----------
    quality : callable
        Of weights [part]; higher is better.
    parts : int

    Examples
    --------
    >>> highest(lambda weights: -abs(weights[0] - 0.75), 2).tolist()
    [0.75, 0.25]
    >>> highest(lambda weights: 0.0, 2).tolist()
    [0.5, 0.5]
    """

    def better(candidates: list[np.ndarray], than: tuple[float, np.ndarray]) -> tuple[float, np.ndarray]:
        found = than
        for weights in candidates:
            value = quality(weights)
            if value > found[0] + 1e-12 * abs(found[0]):
                found = (value, weights)
        return found

    equal = np.full(parts, 1.0 / parts)
    best = better(list(np.eye(parts)), (quality(equal), equal))
    for step in STEPS:
        while True:
            moved = better(_moves(best[1], step), best)
            if moved is best:
                break
            best = moved
    return best[1]


def _moves(weights: np.ndarray, step: float) -> list[np.ndarray]:
    """All ways to give up to `step` of one part's weight to another."""
    found = []
    for giver in np.flatnonzero(weights > 0):
        for taker in range(len(weights)):
            if taker != giver:
                moved = weights.copy()
                given = min(step, moved[giver])
                moved[giver] -= given
                moved[taker] += given
                found.append(moved)
    return found


def _places(score: np.ndarray, mass: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Share of the mass ranked above each row, with half of its equals [row]; and its group of equal scores [row]."""
    _, group = np.unique(-score, return_inverse=True)
    size = np.bincount(group, mass)
    return ((np.cumsum(size) - size / 2) / size.sum())[group], group
