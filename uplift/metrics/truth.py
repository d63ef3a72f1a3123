"""Metrics against known effects: for simulated campaigns, where every unit's true uplift is known.

Arrays are [unit, arm, ...] over the *treated* arms (no control column); further axes, such as stages, are kept. So
``pehe(effects.tau_all[:, 1:], truth.tau_all[:, 1:])`` is one number per stage.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from uplift.errors import EvaluationError

Array = npt.NDArray[np.float64]


def pehe(predicted: npt.ArrayLike, true: npt.ArrayLike) -> Array:
    """Root mean square error of the predicted uplift over units and arms.

    The square root of Hill's (2011) *precision in estimation of heterogeneous effect*, as is usual.

    Parameters
    ----------
    predicted, true : array_like [unit, arm, ...]
        Uplifts of the treated arms, in outcome units.

    Returns
    -------
    ndarray of float64 [...]
        At least 0; in outcome units.

    Raises
    ------
    EvaluationError
        Shapes differ, or there are no units.

    Examples
    --------
    >>> float(pehe([[0.1], [0.3]], [[0.1], [0.1]]))
    0.1414...
    """
    ours, theirs = _pair(predicted, true)
    result: Array = np.sqrt(np.mean(np.square(ours - theirs), axis=(0, 1)))
    return result


def ate_error(predicted: npt.ArrayLike, true: npt.ArrayLike) -> Array:
    """Absolute error of the mean uplift, averaged over arms.

    Parameters
    ----------
    predicted, true : array_like [unit, arm, ...]
        Uplifts of the treated arms, in outcome units.

    Returns
    -------
    ndarray of float64 [...]
        At least 0; in outcome units.

    Raises
    ------
    EvaluationError
        Shapes differ, or there are no units.

    Examples
    --------
    >>> float(ate_error([[0.1], [0.3]], [[0.3], [0.3]]).round(4))
    0.1
    """
    ours, theirs = _pair(predicted, true)
    result: Array = np.abs(ours.mean(axis=0) - theirs.mean(axis=0)).mean(axis=0)
    return result


def effect_correlation(predicted: npt.ArrayLike, true: npt.ArrayLike) -> Array:
    """Pearson correlation of predicted and true uplift, averaged over arms.

    Parameters
    ----------
    predicted, true : array_like [unit, arm, ...]
        Uplifts of the treated arms.

    Returns
    -------
    ndarray of float64 [...]
        In [-1, 1]. An arm with one predicted uplift for all units counts as 0: it tells nobody apart.

    Raises
    ------
    EvaluationError
        Shapes differ, there are no units, or all units have the same true uplift under an arm.

    Examples
    --------
    >>> float(effect_correlation([[1.0], [2.0], [3.0]], [[0.2], [0.4], [0.6]]).round(4))
    1.0
    """
    ours, theirs = _pair(predicted, true)
    constant = np.ptp(ours, axis=0) == 0  # before centring, whose rounding would make noise of it
    ours, theirs = ours - ours.mean(axis=0), theirs - theirs.mean(axis=0)
    _refuse_constant(np.ptp(theirs, axis=0))
    scale = np.sqrt(np.square(ours).sum(axis=0) * np.square(theirs).sum(axis=0))
    covariance = (ours * theirs).sum(axis=0)
    result: Array = np.divide(covariance, scale, out=np.zeros_like(scale), where=~constant).mean(axis=0)
    return result


def true_qini(score: npt.ArrayLike, true: npt.ArrayLike) -> Array:
    """Qini per customer of a ranking, by the true uplifts: what ``qini_per_capita`` estimates.

    The curve is the true gain per customer when the best-scored share q is treated, the area is that between it and
    its chord. With midranks (units of equal score come in any order, the curve is straight across them) it is the
    covariance of the true uplift with the ascending rank over n: no curve needs to be formed.

    Parameters
    ----------
    score : array_like [unit, arm, ...]
        Whoever has more is treated first, arm by arm.
    true : array_like [unit, arm, ...]
        True uplifts of the treated arms.

    Returns
    -------
    ndarray of float64 [arm, ...]
        In outcome units per customer; 0 for a random ranking, largest for the ranking by `true`.

    Raises
    ------
    EvaluationError
        Shapes differ, or there are no units.

    Examples
    --------
    >>> true_qini([[3.0], [2.0], [1.0]], [[0.6], [0.3], [0.0]]).round(4)
    array([0.0667])
    """
    ranking, gains = _pair(score, true)
    ranks = _midranks(ranking)
    result: Array = ((ranks - ranks.mean(axis=0)) * gains).mean(axis=0) / len(ranks)
    return result


def oracle_qini_share(score: npt.ArrayLike, true: npt.ArrayLike) -> Array:
    """:func:`true_qini` of a ranking as a share of that of the ranking by the true uplift, averaged over arms.

    Parameters
    ----------
    score, true : array_like [unit, arm, ...]
        See :func:`true_qini`.

    Returns
    -------
    ndarray of float64 [...]
        In [-1, 1]: 1 for the order of the truth, 0 for a random order, -1 for the reverse.

    Raises
    ------
    EvaluationError
        Shapes differ, there are no units, or all units have the same true uplift under an arm.

    Examples
    --------
    >>> float(oracle_qini_share([[2.0], [3.0], [1.0]], [[0.6], [0.3], [0.0]]).round(4))
    0.5
    """
    ours, theirs = _pair(score, true)
    _refuse_constant(np.ptp(theirs, axis=0))
    result: Array = (true_qini(ours, theirs) / true_qini(theirs, theirs)).mean(axis=0)
    return result


def plan_sum(amounts: npt.ArrayLike, arm_codes: npt.ArrayLike) -> float:
    """Sum over units of the amount under the arm that a plan gives them: its true value, or its true cost.

    Parameters
    ----------
    amounts : array_like [unit, arm]
        Amount under every arm, control first (its true value is 0).
    arm_codes : array_like of int [unit]
        The plan.

    Returns
    -------
    float

    Raises
    ------
    EvaluationError
        The plan is for another number of units.

    Examples
    --------
    >>> plan_sum([[0.0, 2.0], [0.0, -1.0], [0.0, 4.0]], [1, 0, 1])
    6.0
    """
    table, plan = np.asarray(amounts, np.float64), np.asarray(arm_codes, np.int64)
    if len(table) != len(plan):
        raise EvaluationError(
            f"the plan covers {len(plan):,} units, the truth {len(table):,}; use the units the plan was made for."
        )
    return float(np.take_along_axis(table, plan[:, None], axis=1).sum())


def _pair(first: npt.ArrayLike, second: npt.ArrayLike) -> tuple[Array, Array]:
    ours, theirs = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if ours.shape != theirs.shape or ours.ndim < 2:
        raise EvaluationError(
            f"predicted and true uplifts have shapes {ours.shape} and {theirs.shape}; both must be [unit, arm, ...]."
        )
    if ours.size == 0:
        raise EvaluationError(f"there are no units or arms to compare: the uplifts have shape {ours.shape}.")
    return ours, theirs


def _refuse_constant(spread: Array) -> None:
    if np.any(spread == 0):
        raise EvaluationError(
            "all units have the same true uplift under an arm, so no order of them is better than another; compare the errors instead."
        )


def _midranks(values: Array) -> Array:
    """Ranks along the first axis, 1 for the least; equal values share the mean of their ranks."""
    order = np.argsort(values, axis=0)
    ordered = np.take_along_axis(values, order, axis=0)
    position = np.arange(1, len(values) + 1).reshape(-1, *(1,) * (values.ndim - 1))
    begins = np.concatenate((np.ones_like(ordered[:1], bool), ordered[1:] != ordered[:-1]))
    ends = np.concatenate((begins[1:], np.ones_like(begins[:1])))
    first = np.maximum.accumulate(np.where(begins, position, 0), axis=0)
    last = np.minimum.accumulate(np.where(ends, position, len(values))[::-1], axis=0)[::-1]
    ranks = np.empty_like(values)
    np.put_along_axis(ranks, order, (first + last) / 2, axis=0)
    return ranks
