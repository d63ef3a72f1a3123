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
def on_grid(grid, x, y):  # type: ignore[no-untyped-def]
    """Height at `grid` [point] (rising) of each polyline from the origin through (x, y) [draw, group], [draw, point]."""
    draws, groups = x.shape
    found = np.empty((draws, grid.shape[0]))
    for draw in range(draws):
        at = 0
        for point in range(grid.shape[0]):
            g = grid[point]
            while at < groups - 1 and x[draw, at] < g:
                at += 1
            x_before = x[draw, at - 1] if at else 0.0
            y_before = y[draw, at - 1] if at else 0.0
            step = x[draw, at] - x_before
            part = min(max((g - x_before) / step, 0.0), 1.0) if step > 0.0 else 0.0
            found[draw, point] = y_before + part * (y[draw, at] - y_before)
    return found
