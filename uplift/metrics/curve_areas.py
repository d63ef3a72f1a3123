"""Areas under curves of running sums, compiled: one pass, no array per term.

Sums are taken over blocks first, so that a million terms lose no more digits than a thousand would.
"""

from __future__ import annotations

import numpy as np
from numba import njit

GAIN, RUNNING_RATIO, RUNNING_MEANS = 4, 1, 2
"""Curves V4, V1 and V2 of :mod:`uplift.metrics.scores`."""
_BLOCK = 512


@njit(cache=True, nogil=True)
def curve_areas(n_t, n_c, y_t, y_c, curve):  # type: ignore[no-untyped-def]
    """Area above the chord of one curve of every resample, float64 [draw], from running sums [draw, group]."""
    draws, groups = n_t.shape
    found = np.empty(draws)
    for draw in range(draws):
        total_t, total_c = n_t[draw, groups - 1], n_c[draw, groups - 1]
        whole = total_t + total_c
        per_t, per_c, per_row = 1.0 / total_t, 1.0 / total_c, 1.0 / whole
        area, part = 0.0, 0.0
        x_before, v_before = 0.0, 0.0
        for group in range(groups):
            a, b, s, r = n_t[draw, group], n_c[draw, group], y_t[draw, group], y_c[draw, group]
            x = a + b
            if curve == 4:
                x *= per_row
                v = s * per_t - r * per_c
            elif curve == 1:
                v = s - (r * (a / b) if b != 0.0 else 0.0)
            else:
                v = ((s / a if a != 0.0 else 0.0) - (r / b if b != 0.0 else 0.0)) * x
            part += (x - x_before) * (v + v_before)
            x_before, v_before = x, v
            if group % _BLOCK == _BLOCK - 1:
                area += part
                part = 0.0
        found[draw] = 0.5 * (area + part) - 0.5 * x_before * v_before
    return found


@njit(cache=True, nogil=True)
def polyline_areas(x, y, chord):  # type: ignore[no-untyped-def]
    """Area under each polyline from the origin through (x, y) [draw, point], less `chord` times that of its chord."""
    draws, points = x.shape
    found = np.empty(draws)
    for draw in range(draws):
        area, part = 0.0, 0.0
        x_before, y_before = 0.0, 0.0
        for point in range(points):
            part += (x[draw, point] - x_before) * (y[draw, point] + y_before)
            x_before, y_before = x[draw, point], y[draw, point]
            if point % _BLOCK == _BLOCK - 1:
                area += part
                part = 0.0
        found[draw] = 0.5 * (area + part) - chord * 0.5 * x_before * y_before
    return found


@njit(cache=True, nogil=True)
def curve_heights(grid, n_t, n_c, y_t, y_c, curve):  # type: ignore[no-untyped-def]
    """Height per customer of V4 or V2 at rising shares `grid` [point], straight between groups, [draw, point]."""
    draws, groups = n_t.shape
    found = np.empty((draws, grid.shape[0]))
    for draw in range(draws):
        total_t, total_c = n_t[draw, groups - 1], n_c[draw, groups - 1]
        whole = total_t + total_c
        at = 0
        for point in range(grid.shape[0]):
            while at < groups - 1 and (n_t[draw, at] + n_c[draw, at]) / whole < grid[point]:
                at += 1
            x_before, v_before, x_here, v_here = 0.0, 0.0, 0.0, 0.0
            for group in range(at - 1, at + 1):
                if group < 0:
                    continue
                a, b, s, r = n_t[draw, group], n_c[draw, group], y_t[draw, group], y_c[draw, group]
                x_before, v_before = x_here, v_here
                x_here = (a + b) / whole
                if curve == 4:
                    v_here = s / total_t - r / total_c
                else:
                    v_here = ((s / a if a != 0.0 else 0.0) - (r / b if b != 0.0 else 0.0)) * x_here
            step = x_here - x_before
            part = min(max((grid[point] - x_before) / step, 0.0), 1.0) if step > 0.0 else 0.0
            found[draw, point] = v_before + part * (v_here - v_before)
    return found
