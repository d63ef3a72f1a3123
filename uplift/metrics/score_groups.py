"""Sums over groups of rows with equal or neighbouring scores, compiled: made of rows, and merged."""

from __future__ import annotations

import numpy as np
from numba import njit

ROWS, X, Y, W, WX, WY, WABS, WYY, WW, WWY, WWYY = range(11)
"""Sums kept per arm: rows, x, y, w, w x, w y, w |y|, w y^2, w^2, w^2 y, w^2 y^2; x is the score."""
SUMS = 11


@njit(cache=True, nogil=True)
def group_rows(order, keys, drop, score, treated, outcome, weight):  # type: ignore[no-untyped-def]
    """Groups of rows whose keys agree but for the lowest `drop` bits, best score first.

    Returns
    -------
    first, last : ndarray of uint64 [group]
        Keys of the best and of the worst row.
    sums : ndarray of float64 [sum, arm, group]
    """
    n = order.shape[0]
    groups = 0
    before = np.uint64(0)
    for i in range(n):
        key = keys[order[i]] >> drop
        groups += i == 0 or key != before
        before = key
    first, last = np.empty(groups, np.uint64), np.empty(groups, np.uint64)
    sums = np.zeros((SUMS, 2, groups))
    weighted = weight.shape[0] > 0
    group = -1
    for i in range(n):
        row = order[i]
        key = keys[row]
        if i == 0 or key >> drop != before:
            group += 1
            first[group] = key
            before = key >> drop
        last[group] = key
        arm, y, x = treated[row], outcome[row], score[row]
        w = weight[row] if weighted else 1.0
        sums[ROWS, arm, group] += 1.0
        sums[X, arm, group] += x
        sums[Y, arm, group] += y
        sums[W, arm, group] += w
        sums[WX, arm, group] += w * x
        sums[WY, arm, group] += w * y
        sums[WABS, arm, group] += w * abs(y)
        sums[WYY, arm, group] += w * y * y
        sums[WW, arm, group] += w * w
        sums[WWY, arm, group] += w * w * y
        sums[WWYY, arm, group] += w * w * y * y
    return first, last, sums


@njit(cache=True, nogil=True)
def merge_groups(first_a, last_a, sums_a, first_b, last_b, sums_b, drop):  # type: ignore[no-untyped-def]
    """Groups of two tables together, where keys that agree but for the lowest `drop` bits become one group."""
    size_a, size_b = first_a.shape[0], first_b.shape[0]
    first, last = np.empty(size_a + size_b, np.uint64), np.empty(size_a + size_b, np.uint64)
    # Where each group goes; sums follow after, one kind at a time.
    to_a, to_b = np.empty(size_a, np.int64), np.empty(size_b, np.int64)
    a, b, group = 0, 0, -1
    while a < size_a or b < size_b:
        from_a = b == size_b or (a < size_a and first_a[a] <= first_b[b])
        low = first_a[a] if from_a else first_b[b]
        high = last_a[a] if from_a else last_b[b]
        if group < 0 or low >> drop != first[group] >> drop:
            group += 1
            first[group], last[group] = low, high
        else:
            first[group], last[group] = min(first[group], low), max(last[group], high)
        if from_a:
            to_a[a] = group
            a += 1
        else:
            to_b[b] = group
            b += 1
    groups = group + 1
    sums = np.zeros((sums_a.shape[0], sums_a.shape[1], groups))
    for kind in range(sums_a.shape[0]):
        for arm in range(sums_a.shape[1]):
            for i in range(size_a):
                sums[kind, arm, to_a[i]] += sums_a[kind, arm, i]
            for i in range(size_b):
                sums[kind, arm, to_b[i]] += sums_b[kind, arm, i]
    return first[:groups].copy(), last[:groups].copy(), sums


@njit(cache=True, nogil=True)
def bits_to_drop(first, last, drop, most):  # type: ignore[no-untyped-def]
    """The fewest bits, at least `drop`, without which there are at most `most` groups."""
    while True:
        groups = 0
        for i in range(first.shape[0]):
            groups += i == 0 or first[i] >> drop != last[i - 1] >> drop
        if groups <= most:
            return drop
        drop += np.uint64(1)
