"""Linear passes over ranked rows, compiled: running sums by group of equal scores, and sums over slices.

In all of them `treated` is uint8 and `weight` is empty when all weights are 1.
"""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def gather(order, treated, outcome, weight):  # type: ignore[no-untyped-def]
    """The rows in the order of the ranking.

    A pass of its own: mixed with the writing of the sums, the lookups would lose the caches to them.
    """
    n = order.shape[0]
    arm, y, w = np.empty(n, np.uint8), np.empty(n), np.empty(n if weight.shape[0] else 0)
    for i in range(n):
        arm[i], y[i] = treated[order[i]], outcome[order[i]]
    for i in range(w.shape[0]):
        w[i] = weight[order[i]]
    return arm, y, w


@njit(cache=True, nogil=True)
def running_sums(ends, treated, outcome, weight):  # type: ignore[no-untyped-def]
    """Weights and weighted outcomes of both arms up to the end of each group, float64 [4, group]: n_t, n_c, y_t, y_c."""
    sums = np.empty((4, ends.shape[0]))
    weighted = weight.shape[0] > 0
    n_t, n_c, y_t, y_c = 0.0, 0.0, 0.0, 0.0
    at = 0
    for group in range(ends.shape[0]):
        end = ends[group]
        for i in range(at, end):
            w = weight[i] if weighted else 1.0
            # Without a branch on the arm, which no processor can foresee.
            in_arm = treated[i] * w
            n_t += in_arm
            n_c += w - in_arm
            y = w * outcome[i]
            of_arm = treated[i] * y
            y_t += of_arm
            y_c += y - of_arm
        at = end
        sums[0, group], sums[1, group], sums[2, group], sums[3, group] = n_t, n_c, y_t, y_c
    return sums


@njit(cache=True, nogil=True)
def slice_sums(cuts, treated, outcome, weight):  # type: ignore[no-untyped-def]
    """Sums of w, w y, w^2, w^2 y and w^2 y^2 over the slices that end at `cuts`, float64 [5, arm, slice]."""
    sums = np.zeros((5, 2, cuts.shape[0]))
    weighted = weight.shape[0] > 0
    at = 0
    for piece in range(cuts.shape[0]):
        for i in range(at, cuts[piece]):
            arm = treated[i]
            w = weight[i] if weighted else 1.0
            wy = w * outcome[i]
            sums[0, arm, piece] += w
            sums[1, arm, piece] += wy
            sums[2, arm, piece] += w * w
            sums[3, arm, piece] += w * wy
            sums[4, arm, piece] += wy * wy
        at = cuts[piece]
    return sums


@njit(cache=True, nogil=True)
def arm_weights(treated, weight):  # type: ignore[no-untyped-def]
    """Sum of w and of w^2 in control and in the treated arm, float64 [2, arm]."""
    sums = np.zeros((2, 2))
    weighted = weight.shape[0] > 0
    for row in range(treated.shape[0]):
        w = weight[row] if weighted else 1.0
        sums[0, treated[row]] += w
        sums[1, treated[row]] += w * w
    return sums


@njit(cache=True, nogil=True)
def row_influences(order, ends, treated, outcome, weight, totals, means, height, moved):  # type: ignore[no-untyped-def]
    """Influences of :mod:`uplift.metrics.influence`, float64 [row] in the order of the input.

    `totals` and `means` [arm] are the weights and the mean of y h, `height` [group] is h, `moved` [group] K less its mean.
    """
    psi = np.empty(order.shape[0])
    weighted = weight.shape[0] > 0
    per_arm = (-1.0 / totals[0], 1.0 / totals[1])
    per_row = 1.0 / (totals[0] + totals[1])
    at = 0
    for group in range(ends.shape[0]):
        h, shift = height[group], per_row * moved[group]
        for i in range(at, ends[group]):
            arm = treated[i]
            w = weight[i] if weighted else 1.0
            psi[order[i]] = w * (per_arm[arm] * (outcome[i] * h - means[arm]) + shift)
        at = ends[group]
    return psi


@njit(cache=True, nogil=True)
def spread_around(ends, outcome, weight, height, mean):  # type: ignore[no-untyped-def]
    """Sum of w (y h - mean)^2 over all rows, both arms together, with `height` [group]."""
    weighted = weight.shape[0] > 0
    spread = 0.0
    at = 0
    for group in range(ends.shape[0]):
        for i in range(at, ends[group]):
            w = weight[i] if weighted else 1.0
            spread += w * (outcome[i] * height[group] - mean) ** 2
        at = ends[group]
    return spread


@njit(cache=True, nogil=True)
def drawn_sums(unit, slice_of, times, treated, outcome, weight, sums):  # type: ignore[no-untyped-def]
    """Add w and w y of rows whose `unit` was drawn `times` [unit], into `sums` [2, arm, slice]."""
    weighted = weight.shape[0] > 0
    for i in range(unit.shape[0]):
        drawn = times[unit[i]]
        if drawn:
            w = drawn * weight[i] if weighted else float(drawn)
            sums[0, treated[i], slice_of[i]] += w
            sums[1, treated[i], slice_of[i]] += w * outcome[i]


@njit(cache=True, nogil=True)
def running_lift(order, treated, outcome, counts):  # type: ignore[no-untyped-def]
    """CausalML's curve after each row, float64 [row + 1]: V3, or V1 if `counts`; straight until both arms are seen."""
    n = order.shape[0]
    curve = np.empty(n + 1)
    curve[0] = 0.0
    n_t, n_c, y_t, y_c, gap = 0, 0, 0.0, 0.0, 0
    for i in range(n):
        row = order[i]
        t, y = treated[row], outcome[row]
        n_t += t
        n_c += 1 - t
        y_t += t * y
        y_c += (1 - t) * y
        if n_c == 0 or (n_t == 0 and not counts):
            gap = i + 1
            continue
        if counts:
            curve[i + 1] = y_t - y_c * n_t / n_c
        else:
            curve[i + 1] = y_t / n_t - y_c / n_c
        if gap == i and gap:
            for k in range(1, gap + 1):
                curve[k] = curve[i + 1] * k / (gap + 1)
    return curve
