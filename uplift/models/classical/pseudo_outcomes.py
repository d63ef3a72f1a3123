"""Targets whose regression on the features is the uplift of one arm against control.

W is 1 where a row received the arm, e the probability of that, y the outcome. Arrays are [row]; binary and money alike.
"""

from __future__ import annotations

import numpy as np


def doubly_robust(
    outcome: np.ndarray,
    treated: np.ndarray,
    propensity: np.ndarray,
    mu_control: np.ndarray,
    mu_treated: np.ndarray,
) -> np.ndarray:
    """``mu_1 - mu_0 + W (y - mu_1) / e - (1 - W) (y - mu_0) / (1 - e)``, float64 [row].

    Its mean is the AIPW estimate of the average effect; its mean given the features is the effect if either e or both mu
    are right. e may be 0 where W is 0 and 1 where W is 1: what a row did not receive is not divided by.

    References
    ----------
    Kennedy, Towards optimal doubly robust estimation of heterogeneous causal effects, EJS 2023, Algorithm 1.

    Examples
    --------
    >>> one, half = np.ones(2), np.full(2, 0.5)
    >>> doubly_robust(np.array([1.0, 0.0]), np.array([True, False]), half, 0.2 * one, 0.4 * one)
    array([1.4, 0.6])
    """
    received = np.where(treated, propensity, 1.0 - propensity)
    expected = np.where(treated, mu_treated, mu_control)
    sign = np.where(treated, 1.0, -1.0)
    result: np.ndarray = mu_treated - mu_control + sign * (outcome - expected) / received
    return result


def transformed(outcome: np.ndarray, treated: np.ndarray, propensity: np.ndarray) -> np.ndarray:
    """``y (W - e) / (e (1 - e))``: the doubly robust one with mu = 0, float64 [row].

    References
    ----------
    Athey, Imbens, Machine Learning Methods for Estimating Heterogeneous Causal Effects, arXiv 1504.01132v1.
    """
    nothing = np.zeros(len(outcome))
    return doubly_robust(outcome, treated, propensity, nothing, nothing)


def same_class(
    outcome: np.ndarray, treated: np.ndarray, propensity: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Z = [W = y] of a binary outcome, and the weights under which treatment is a fair coin; each [row].

    With the weight ``1/2 / P(what was received)``, ``2 P(Z = 1 | x) - 1`` is the uplift.

    References
    ----------
    Jaskowski, Jaroszewicz, Uplift modeling for clinical trial data, ICML workshop 2012, whose e is 1/2.
    """
    received = np.where(treated, propensity, 1.0 - propensity)
    return ((outcome > 0) == treated).astype(np.float32), 0.5 / received


def r_target(
    outcome: np.ndarray, treated: np.ndarray, propensity: np.ndarray, mean: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """``(y - m) / (W - e)`` and its weight ``(W - e)^2``; each float64 [row].

    The weighted squared error of this target is the R-loss ``(y - m - (W - e) tau)^2``, with `mean` m = E[y | x]
    whatever was received. Where e is 0 or 1 the row says nothing: the target is 0 and so is the weight.

    References
    ----------
    Nie, Wager, Quasi-oracle estimation of heterogeneous treatment effects, Biometrika 2021 (the R-loss).
    """
    surprise = treated - propensity
    residual = outcome - mean
    target = np.divide(residual, surprise, out=np.zeros(len(residual)), where=surprise != 0)
    return target, np.square(surprise)
