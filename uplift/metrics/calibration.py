"""Are predicted effects of the right size? The best linear predictor of the true effects, and the error by tenths."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from uplift.errors import EvaluationError


class Slope(NamedTuple):
    """Slope of the best linear predictor, and the influence of every row on it, float64 [row]."""

    value: float
    influence: np.ndarray


def calibration_slope(
    tau: np.ndarray, treated: np.ndarray, outcome: np.ndarray, weight: np.ndarray | None = None
) -> Slope:
    """How many units the true effect rises when the predicted one rises by one.

    The slope of the linear projection of the true effect on the predicted one, which randomised rows show although no
    true effect is ever seen: (Cov_T(y, tau) - Cov_C(y, tau)) / Var(tau), covariances within the arms. 1 is right; below
    1 the predictions are spread too far, as after overfitting; above 1 they are shrunk too much; 0 means that they
    say nothing about who responds.

    Parameters
    ----------
    tau : ndarray [row]
        Predicted effect, in outcome units.
    treated : ndarray of bool [row]
        True for the treated arm, False for control.
    outcome : ndarray [row]
        0/1, or money.
    weight : ndarray [row], optional
        Positive row weights (sampling, inverse propensity, strata).

    Returns
    -------
    Slope

    Raises
    ------
    EvaluationError
        All predictions are the same.

    References
    ----------
    Chernozhukov, Demirer, Duflo, Fernandez-Val, Generic machine learning inference on heterogeneous treatment effects,
    arXiv 1712.04802 (heterogeneity loading, section 3), with the arms' means in place of baseline predictions.
    """
    x, y = np.ascontiguousarray(tau, np.float64), np.ascontiguousarray(outcome, np.float64)
    w = np.zeros(0) if weight is None else np.ascontiguousarray(weight, np.float64)
    value, spread, largest, influence = _slope(x, np.ascontiguousarray(treated, bool).view(np.uint8), y, w)
    if not spread > 1e-24 * max(1.0, largest):
        raise EvaluationError("all predicted effects are the same, so that a slope is not defined.")
    return Slope(float(value), influence)


@njit(cache=True, nogil=True)
def _slope(x, treated, y, weight):  # type: ignore[no-untyped-def]
    """Slope, variance and largest square of x, and influences [row]; three passes, as the means come first."""
    n = x.shape[0]
    weighted = weight.shape[0] > 0
    totals, x_mean, y_mean = np.zeros(2), np.zeros(2), np.zeros(2)
    largest = 0.0
    for i in range(n):
        arm, w = treated[i], weight[i] if weighted else 1.0
        totals[arm] += w
        x_mean[arm] += w * x[i]
        y_mean[arm] += w * y[i]
        largest = max(largest, x[i] * x[i])
    mass = totals[0] + totals[1]
    mean = (x_mean[0] + x_mean[1]) / mass
    x_mean /= totals
    y_mean /= totals
    spread = 0.0
    covariance = np.zeros(2)
    for i in range(n):
        arm, w = treated[i], weight[i] if weighted else 1.0
        spread += w * (x[i] - mean) ** 2
        covariance[arm] += w * (x[i] - x_mean[arm]) * (y[i] - y_mean[arm])
    spread /= mass
    covariance /= totals
    influence = np.empty(n)
    if not spread > 0.0:
        return 0.0, spread, largest, influence
    value = (covariance[1] - covariance[0]) / spread
    per_arm = (-1.0 / totals[0], 1.0 / totals[1])
    for i in range(n):
        arm, w = treated[i], weight[i] if weighted else 1.0
        product = (x[i] - x_mean[arm]) * (y[i] - y_mean[arm])
        above = per_arm[arm] * (product - covariance[arm])
        below = ((x[i] - mean) ** 2 - spread) / mass
        influence[i] = w * (above - value * below) / spread
    return value, spread, largest, influence


def calibration_error(predicted: np.ndarray, observed: np.ndarray, se: np.ndarray, size: np.ndarray) -> float:
    """Root mean squared distance of predicted from true mean effects over groups, freed of the noise of the observed.

    ``sqrt(max(0, mean((observed - predicted)^2 - se^2)))``, groups weighted by their `size`: without the second term a
    perfectly calibrated model would have an error that only more test rows lower.

    Parameters
    ----------
    predicted, observed, se, size : ndarray [group]
        Mean predicted effect, observed effect, its standard error, and number of rows.

    Returns
    -------
    float
        In outcome units, >= 0.

    Examples
    --------
    >>> one = np.ones(2)
    >>> calibration_error(np.array([0.1, 0.3]), np.array([0.2, 0.2]), 0 * one, one).__round__(3)
    0.1
    """
    square = np.average(np.square(observed - predicted) - np.square(se), weights=size)
    return float(np.sqrt(max(0.0, float(square))))
