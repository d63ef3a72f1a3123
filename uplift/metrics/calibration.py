"""Are predicted effects of the right size? The best linear predictor of the true effects, and the error by tenths."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

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
    x, y = np.asarray(tau, np.float64), np.asarray(outcome, np.float64)
    w = np.ones(len(x)) if weight is None else np.asarray(weight, np.float64)
    arm = np.asarray(treated, bool).astype(np.intp)
    totals = np.bincount(arm, w, 2)
    own = w / totals[arm]
    centred = x - float(w @ x) / float(w.sum())
    spread = float(w @ np.square(centred)) / float(w.sum())
    if spread <= 1e-24 * max(1.0, float(np.square(x).max(initial=0.0))):
        raise EvaluationError("all predicted effects are the same, so that a slope is not defined.")
    y_mean, x_mean = np.bincount(arm, own * y, 2), np.bincount(arm, own * x, 2)
    products = (y - y_mean[arm]) * (x - x_mean[arm])
    covariances = np.bincount(arm, own * products, 2)
    value = float(covariances[1] - covariances[0]) / spread
    sign = np.where(arm == 1, 1.0, -1.0)
    above = sign * own * (products - covariances[arm])
    below = w / w.sum() * (np.square(centred) - spread)
    return Slope(value, (above - value * below) / spread)


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
