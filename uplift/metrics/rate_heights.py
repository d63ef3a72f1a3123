"""What h and its slope do to every group of a ranking, compiled; see :mod:`uplift.metrics.influence`."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def _entropy(x):  # type: ignore[no-untyped-def]
    return -x * np.log(x) if x > 0.0 else 0.0


@njit(cache=True, nogil=True)
def rate_heights(n_t, n_c, y_t, y_c, autoc):  # type: ignore[no-untyped-def]
    """Heights of groups, from running sums [group].

    Returns
    -------
    value : float
        R_h.
    means : ndarray [arm]
        Mean of y h in control and in the treated arm.
    height, moved : ndarray of float64 [group]
        Mean of h over the span of a group, and K less its mean over the rows.
    """
    groups = n_t.shape[0]
    total_t, total_c = n_t[groups - 1], n_c[groups - 1]
    total = total_t + total_c
    height, moved = np.empty(groups), np.empty(groups)
    means = np.zeros(2)
    below = 0.0
    # From the worst group up, because K sums over the rows ranked below.
    mean_moved = 0.0
    for back in range(groups):
        group = groups - 1 - back
        first = group == 0
        mass_before = 0.0 if first else n_t[group - 1] + n_c[group - 1]
        mass = n_t[group] + n_c[group] - mass_before
        treated = (y_t[group] - (0.0 if first else y_t[group - 1])) / total_t
        control = (y_c[group] - (0.0 if first else y_c[group - 1])) / total_c
        before, after = mass_before / total, (mass_before + mass) / total
        middle = 0.5 * (before + after)
        if autoc:
            # The integral of -1 - log u is -u log u.
            h, slope = (_entropy(after) - _entropy(before)) / (after - before), -1.0 / middle
        else:
            h, slope = 0.5 - middle, -1.0
        height[group] = h
        means[1] += treated * h
        means[0] += control * h
        # Of a group's own steps a row moves half.
        step = slope * (treated - control)
        moved[group] = below + 0.5 * step
        below += step
        mean_moved += mass * moved[group]
    mean_moved /= total
    for group in range(groups):
        moved[group] -= mean_moved
    return means[1] - means[0], means, height, moved
