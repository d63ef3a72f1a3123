"""Convex weights: least squares and maximum likelihood on the simplex."""

from __future__ import annotations

from itertools import combinations

import numpy as np

from uplift.errors import ModelError

MOST_PARTS = 10
"""Least squares tries every subset of the parts, 2^10 of them at most."""


def least_squares(gram: np.ndarray, cross: np.ndarray) -> np.ndarray:
    """Weights w >= 0, sum 1, that minimise ``w' gram w - 2 cross' w``.

    The optimum is interior to some face of the simplex, where it solves a linear system; with few parts all faces
    can be tried, and the best is exact.

    Parameters
    ----------
    gram : ndarray [part, part]
        Positive semi-definite.
    cross : ndarray [part]

    Returns
    -------
    ndarray of float64 [part]

    Raises
    ------
    ModelError
        More than ten parts.

    Examples
    --------
    >>> least_squares(np.eye(2), np.array([0.9, 0.5])).round(6).tolist()
    [0.7, 0.3]
    >>> least_squares(np.eye(2), np.array([2.0, 0.0])).tolist()
    [1.0, 0.0]
    """
    parts = len(cross)
    if parts > MOST_PARTS:
        raise ModelError(f"a blend takes at most {MOST_PARTS} models, not {parts}; leave some out.")
    best, lowest = np.full(parts, 1.0 / parts), np.inf
    for size in range(parts, 0, -1):
        for chosen in combinations(range(parts), size):
            face = list(chosen)
            system = np.ones((size + 1, size + 1))
            system[:size, :size], system[size, size] = gram[np.ix_(face, face)], 0.0
            # lstsq: equal parts make the system singular; the shortest solution shares the weight among them
            solution = np.linalg.lstsq(system, np.append(cross[face], 1.0), rcond=None)[0][:size]
            if (solution < -1e-12).any():
                continue
            weights = np.zeros(parts)
            weights[face] = np.maximum(solution, 0.0)
            weights /= weights.sum()
            loss = float(weights @ gram @ weights - 2 * cross @ weights)
            # A smaller face must be better by more than rounding, so that equal parts share.
            if loss < lowest - 1e-12 * abs(lowest if np.isfinite(lowest) else 0.0):
                best, lowest = weights, loss
    return best


def most_likely(likelihoods: np.ndarray, row_weights: np.ndarray, *, steps: int = 50) -> np.ndarray:
    """Mixture weights that maximise ``sum_i v_i log(sum_j w_j L_ij)``.

    Newton's method on the simplex, from equal weights: every step solves the quadratic expansion exactly and is halved
    until it helps. The objective is concave, so that this leads to a global maximum.

    Parameters
    ----------
    likelihoods : ndarray [row, part]
        Probability of what happened to each row by each part, > 0.
    row_weights : ndarray [row]
    steps : int
        At most so many; five are usual.

    Examples
    --------
    >>> most_likely(np.array([[0.9, 0.1], [0.8, 0.3]]), np.ones(2)).round(3).tolist()
    [1.0, 0.0]
    """
    share = row_weights / row_weights.sum()
    weights = np.full(likelihoods.shape[1], 1.0 / likelihoods.shape[1])
    loss = -share @ np.log(likelihoods @ weights)
    for _ in range(steps):
        ratio = likelihoods / (likelihoods @ weights)[:, None]
        hessian = (ratio * share[:, None]).T @ ratio
        target = least_squares(hessian / 2, (hessian @ weights + share @ ratio) / 2)
        step, tried = 1.0, np.inf
        while step > 1e-6 and not tried < loss:
            moved = weights + step * (target - weights)
            tried, step = -share @ np.log(likelihoods @ moved), step / 2
        if not loss - tried > 1e-12:
            break
        weights, loss = moved, tried
    return weights
