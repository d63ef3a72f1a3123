"""Other libraries' numbers, to compare with papers and with results that are there already.

Every function is named after the library whose definition it follows, takes plain arrays, and gives that library's
number to about 1e-12. They are for comparison; the headline is :func:`uplift.metrics.scores.qini_per_capita`, and the
pages of :mod:`uplift.metrics.definitions` say how the definitions differ.

Ties: scikit-uplift's curves, YDF and grf treat rows of equal score as one group. scikit-uplift's uplift@k and weighted
average, and everything of CausalML, go through the rows one by one, so that their number depends on the order in which
equal scores happen to lie. Here it does as well, with the very sort that the library uses, because the point is to get
its number.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from uplift.errors import EvaluationError
from uplift.metrics import scores
from uplift.metrics.ranked_sums import running_lift
from uplift.metrics.ranking import Ranking

Array = npt.NDArray[np.float64]
Strategy = Literal["overall", "by_group"]


# ---------------------------------------------------------------- scikit-uplift


def sklift_qini_auc_score(
    outcome: npt.ArrayLike, uplift: npt.ArrayLike, treatment: npt.ArrayLike, *, negative_effect: bool = True
) -> float:
    """``sklift.metrics.qini_auc_score``: area of V1 above its chord over that of an optimum.

    Parameters
    ----------
    outcome : array_like [row]
        0 or 1.
    uplift : array_like [row]
        Higher is treated first.
    treatment : array_like [row]
        1 treated, 0 control.
    negative_effect : bool
        True: the optimum ranks treated responders first and control responders last. False: scikit-uplift's polyline
        through (incremental responders, the same), whose knee puts a number of responders on the axis of rows; it is
        reproduced as it is, and refused where the average effect is negative, for which scikit-uplift has no optimum.

    Returns
    -------
    float

    Raises
    ------
    EvaluationError
        Inputs do not fit together, or the optimum gains nothing.

    Examples
    --------
    >>> outcome, treatment = [1, 0, 1, 0, 0, 1, 0, 0], [1, 0, 1, 0, 1, 0, 1, 0]
    >>> uplift = [0.9, 0.8, 0.7, 0.6, 0.4, 0.3, 0.2, 0.1]
    >>> round(sklift_qini_auc_score(outcome, uplift, treatment), 4)
    0.6491
    """
    y, score, treated = _inputs(outcome, uplift, treatment, binary=True)
    cells = Ranking.build(score, treated, y).cells
    if negative_effect:
        return float(scores.qini_sklift(cells))
    n_t, n_c, y_t, y_c = (float(total) for total in cells.totals)
    gain = y_t - y_c * n_t / n_c
    if gain < 0:
        raise EvaluationError(
            "the average effect is negative, where scikit-uplift's optimum without negative effects is not defined; use negative_effect=True."
        )
    x, v = np.array([0.0, gain, n_t + n_c]), np.array([0.0, gain, gain])
    optimum = float(np.trapezoid(v, x)) - 0.5 * (n_t + n_c) * gain
    if optimum == 0:
        raise EvaluationError("even the optimum gains nothing, so the ratio to it is not defined.")
    return float(scores.area_above_chord(*scores.qini_counts(cells))) / optimum


def sklift_uplift_auc_score(outcome: npt.ArrayLike, uplift: npt.ArrayLike, treatment: npt.ArrayLike) -> float:
    """``sklift.metrics.uplift_auc_score``: area of V2 above its chord over that of scikit-uplift's optimum.

    Parameters
    ----------
    outcome, uplift, treatment : array_like [row]
        As for :func:`sklift_qini_auc_score`, with its errors.

    Returns
    -------
    float

    Examples
    --------
    >>> outcome, treatment = [1, 0, 1, 0, 0, 1, 0, 0], [1, 0, 1, 0, 1, 0, 1, 0]
    >>> uplift = [0.9, 0.8, 0.7, 0.6, 0.4, 0.3, 0.2, 0.1]
    >>> round(sklift_uplift_auc_score(outcome, uplift, treatment), 4)
    0.6032
    """
    y, score, treated = _inputs(outcome, uplift, treatment, binary=True)
    return float(scores.auuc_sklift(Ranking.build(score, treated, y).cells))


def sklift_uplift_at_k(
    outcome: npt.ArrayLike,
    uplift: npt.ArrayLike,
    treatment: npt.ArrayLike,
    *,
    strategy: Strategy = "overall",
    k: float = 0.3,
) -> float:
    """``sklift.metrics.uplift_at_k``: difference of the arms' means among the first rows.

    Parameters
    ----------
    outcome, uplift, treatment : array_like [row]
        As for :func:`sklift_qini_auc_score`.
    strategy : {"overall", "by_group"}
        The first floor(k n) rows of the joint ranking, or the first floor(k n_arm) rows of each arm's own ranking.
    k : float
        Share, in (0, 1).

    Returns
    -------
    float

    Raises
    ------
    EvaluationError
        Inputs do not fit together, or the top holds no treated or no control rows (scikit-uplift gives NaN there).

    Examples
    --------
    >>> outcome, treatment = [1, 0, 1, 0, 0, 1, 0, 0], [1, 0, 1, 0, 1, 0, 1, 0]
    >>> uplift = [0.9, 0.8, 0.7, 0.6, 0.4, 0.3, 0.2, 0.1]
    >>> round(sklift_uplift_at_k(outcome, uplift, treatment, k=0.5), 4)
    1.0
    """
    y, score, treated = _inputs(outcome, uplift, treatment, binary=True)
    if not 0 < k < 1:
        raise EvaluationError(f"k is {k:g}; give a share between 0 and 1.")
    order = np.argsort(score, kind="mergesort")[::-1]
    y, treated = y[order], treated[order]
    if strategy == "overall":
        top = slice(0, int(len(y) * k))
        groups = y[top][treated[top]], y[top][~treated[top]]
    else:
        groups = tuple(arm[: int(len(arm) * k)] for arm in (y[treated], y[~treated]))  # type: ignore[assignment]
    for name, group in zip(("treated", "control"), groups, strict=True):
        if not len(group):
            raise EvaluationError(
                f"the top {k:.0%} of the ranking holds no {name} rows; choose a larger share."
            )
    return float(groups[0].mean() - groups[1].mean())


def sklift_weighted_average_uplift(
    outcome: npt.ArrayLike,
    uplift: npt.ArrayLike,
    treatment: npt.ArrayLike,
    *,
    strategy: Strategy = "overall",
    bins: int = 10,
) -> float:
    """``sklift.metrics.weighted_average_uplift``: mean over bins of the ranking, weighted by their treated rows.

    Parameters
    ----------
    outcome, uplift, treatment : array_like [row]
        As for :func:`sklift_qini_auc_score`.
    strategy : {"overall", "by_group"}
        Bins of the joint ranking, or of each arm's own.
    bins : int
        Number of bins, >= 1.

    Returns
    -------
    float

    Raises
    ------
    EvaluationError
        Inputs do not fit together, or a bin holds no treated or no control rows (scikit-uplift gives NaN there).

    Examples
    --------
    >>> outcome, treatment = [1, 0, 1, 0, 0, 1, 0, 0], [1, 0, 1, 0, 1, 0, 1, 0]
    >>> uplift = [0.9, 0.8, 0.7, 0.6, 0.4, 0.3, 0.2, 0.1]
    >>> round(sklift_weighted_average_uplift(outcome, uplift, treatment, bins=2), 4)
    0.25
    """
    y, score, treated = _inputs(outcome, uplift, treatment, binary=True)
    if not 1 <= bins < len(y):
        raise EvaluationError(f"bins is {bins}; give at least 1 and fewer than the {len(y):,} rows.")
    order = np.argsort(score, kind="mergesort")[::-1]
    y, treated = y[order], treated[order]
    if strategy == "overall":
        pieces = list(zip(np.array_split(y, bins), np.array_split(treated, bins), strict=True))
        arms = [[part[mask == wanted] for part, mask in pieces] for wanted in (True, False)]
    else:
        arms = [np.array_split(y[treated == wanted], bins) for wanted in (True, False)]
    for name, groups in zip(("treated", "control"), arms, strict=True):
        empty = sum(not len(group) for group in groups)
        if empty:
            raise EvaluationError(f"{empty} of {bins} bins hold no {name} rows; use fewer bins.")
    sizes = np.array([len(group) for group in arms[0]], np.float64)
    differences = [float(t.mean() - c.mean()) for t, c in zip(*arms, strict=True)]
    return float(sizes @ np.array(differences) / sizes.sum())


# ---------------------------------------------------------------- CausalML


def causalml_auuc_score(
    outcome: npt.ArrayLike, uplift: npt.ArrayLike, treatment: npt.ArrayLike, *, normalize: bool = True
) -> float:
    """``causalml.metrics.auuc_score``: mean over rows of V2, by default over the absolute value of its end.

    A ranking at random has about half of the end, not 0, and a negative average effect turns the meaning round.

    Parameters
    ----------
    outcome : array_like [row]
        Any number.
    uplift, treatment : array_like [row]
        As for :func:`sklift_qini_auc_score`.
    normalize : bool
        Divide by ``abs(V2)`` of all rows.

    Returns
    -------
    float

    Raises
    ------
    EvaluationError
        Inputs do not fit together, or `normalize` with an average effect of 0.

    Examples
    --------
    >>> outcome, treatment = [1, 0, 1, 0, 0, 1, 0, 0], [1, 0, 1, 0, 1, 0, 1, 0]
    >>> uplift = [0.9, 0.8, 0.7, 0.6, 0.4, 0.3, 0.2, 0.1]
    >>> round(causalml_auuc_score(outcome, uplift, treatment), 4)
    1.0
    """
    y, score, treated = _inputs(outcome, uplift, treatment)
    lift = _causalml_lift(y, score, treated, scale=None)
    return float(_normalised(lift * np.arange(len(lift)), normalize).mean())


def causalml_qini_score(
    outcome: npt.ArrayLike, uplift: npt.ArrayLike, treatment: npt.ArrayLike, *, normalize: bool = True
) -> float:
    """``causalml.metrics.qini_score``: mean over rows of V1 less its chord, by default over the absolute end of V1.

    Parameters
    ----------
    outcome, uplift, treatment, normalize
        As for :func:`causalml_auuc_score`, with its errors.

    Returns
    -------
    float

    Examples
    --------
    >>> outcome, treatment = [1, 0, 1, 0, 0, 1, 0, 0], [1, 0, 1, 0, 1, 0, 1, 0]
    >>> uplift = [0.9, 0.8, 0.7, 0.6, 0.4, 0.3, 0.2, 0.1]
    >>> round(causalml_qini_score(outcome, uplift, treatment), 4)
    0.6296
    """
    y, score, treated = _inputs(outcome, uplift, treatment)
    qini = _normalised(_causalml_lift(y, score, treated, scale="treated"), normalize)
    return float((qini - np.linspace(qini[0], qini[-1], len(qini))).mean())


def _causalml_lift(
    y: Array, score: npt.NDArray[Any], treated: npt.NDArray[np.bool_], *, scale: str | None
) -> Array:
    """Cumulative mean uplift (times the treated rows), from 0 rows on; gaps before both arms are seen are bridged."""
    result: Array = running_lift(_pandas_order(score), treated.view(np.uint8), y, scale == "treated")
    return result


def _pandas_order(score: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Rows as CausalML ranks them, in the order of ties of ``frame.sort_values(ascending=False)``.

    pandas sorts the reversed column with numpy's default sort, which is not stable, and reverses what it finds.
    """
    return (len(score) - 1 - np.argsort(score[::-1], kind="quicksort"))[::-1]


def _normalised(curve: Array, normalize: bool) -> Array:
    if not normalize:
        return curve
    if curve[-1] == 0:
        raise EvaluationError(
            "the average effect is 0, so CausalML's normalised score is not defined; use normalize=False."
        )
    result: Array = curve / abs(curve[-1])
    return result


# ---------------------------------------------------------------- YDF and grf


def ydf_auuc(
    outcome: npt.ArrayLike,
    uplift: npt.ArrayLike,
    treatment: npt.ArrayLike,
    weight: npt.ArrayLike | None = None,
) -> float:
    """Yggdrasil Decision Forests' ``AUUC``: area of V4; a ranking at random has half of the average effect.

    Its ``Qini`` is this less half of the average effect, which is `qini_per_capita`.

    Parameters
    ----------
    outcome : array_like [row]
        Any number.
    uplift, treatment : array_like [row]
        As for :func:`sklift_qini_auc_score`.
    weight : array_like [row], optional
        Positive row weights.

    Returns
    -------
    float

    Examples
    --------
    >>> outcome, treatment = [1, 0, 1, 0, 0, 1, 0, 0], [1, 0, 1, 0, 1, 0, 1, 0]
    >>> uplift = [0.9, 0.8, 0.7, 0.6, 0.4, 0.3, 0.2, 0.1]
    >>> round(ydf_auuc(outcome, uplift, treatment), 4)
    0.3281
    """
    y, score, treated = _inputs(outcome, uplift, treatment)
    weights = None if weight is None else np.asarray(weight, np.float64)
    return float(scores.area(*scores.gain_curve(Ranking.build(score, treated, y, weights).cells)))


def grf_rate(
    doubly_robust: npt.ArrayLike,
    priorities: npt.ArrayLike,
    *,
    target: Literal["AUTOC", "QINI"] = "AUTOC",
    weight: npt.ArrayLike | None = None,
) -> float:
    """``grf::rank_average_treatment_effect`` from doubly robust scores: its point estimate.

    Parameters
    ----------
    doubly_robust : array_like [row]
        Doubly robust (or inverse propensity) scores, whose mean is the average effect.
    priorities : array_like [row]
        Higher is treated first; rows of equal priority share their mean score.
    target : {"AUTOC", "QINI"}
        Mean over q of TOC(q), or of q TOC(q), for q = 1/n ... 1.
    weight : array_like [row], optional
        Positive sample weights.

    Returns
    -------
    float

    Raises
    ------
    EvaluationError
        Lengths differ, or a number is missing.

    References
    ----------
    Yadlowsky, Fleming, Shah, Brunskill, Wager, arXiv 2111.07966. Note that CausalML's RATE weighs the TOC again by
    1/q under the name AUTOC.

    Examples
    --------
    >>> round(grf_rate([3.0, 1.0, 0.0, 0.0], [4, 3, 2, 1]), 4)
    0.8333
    """
    gamma, priority = np.asarray(doubly_robust, np.float64), np.asarray(priorities)
    w = np.ones(len(gamma)) if weight is None else np.asarray(weight, np.float64)
    if not len(gamma) == len(priority) == len(w):
        raise EvaluationError(
            f"scores ({len(gamma):,}), priorities ({len(priority):,}) and weights ({len(w):,}) differ in length."
        )
    if not (np.isfinite(gamma).all() and np.isfinite(priority).all()):
        raise EvaluationError("scores and priorities must be finite numbers.")
    order = np.argsort(-priority, kind="stable")
    gamma, w, ranked = gamma[order], w[order], priority[order]
    group = np.append(0, np.cumsum(ranked[1:] != ranked[:-1]))
    shared = (np.bincount(group, w * gamma) / np.bincount(group, w))[group]
    mass = np.cumsum(w)
    toc = np.cumsum(shared * w) / mass - float(shared @ w) / mass[-1]
    alpha = w if target == "AUTOC" else w * mass / mass[-1]
    return float(alpha @ toc / mass[-1])


# ---------------------------------------------------------------- inputs


def _inputs(
    outcome: npt.ArrayLike, uplift: npt.ArrayLike, treatment: npt.ArrayLike, *, binary: bool = False
) -> tuple[Array, npt.NDArray[Any], npt.NDArray[np.bool_]]:
    y, score, treated = np.asarray(outcome, np.float64), np.asarray(uplift), np.asarray(treatment)
    if not len(y) == len(score) == len(treated):
        raise EvaluationError(
            f"outcome ({len(y):,}), uplift ({len(score):,}) and treatment ({len(treated):,}) differ in length."
        )
    for name, values, allowed in (("treatment", treated, True), ("outcome", y, binary)):
        fine = (values == 0) | (values == 1) if allowed else np.isfinite(values)
        if not fine.all():
            strange = ~fine
            raise EvaluationError(
                f"{int(strange.sum()):,} of {len(values):,} values of {name} are not {'0 or 1' if allowed else 'finite numbers'}, such as {values[strange][0]!r}."
            )
    treated = treated.astype(bool)
    if not np.isfinite(score).all():
        raise EvaluationError(f"{int((~np.isfinite(score)).sum()):,} scores are missing or infinite.")
    if treated.all() or not treated.any():
        missing = "control" if treated.all() else "treated"
        raise EvaluationError(f"there are no {missing} rows among the {len(y):,}; a comparison needs both.")
    return y, score, treated
