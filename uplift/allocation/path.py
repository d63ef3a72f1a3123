"""Other amounts along the path of a budget curve: what its plans are worth by somebody else's effects."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit, prange

from uplift.allocation.dual import best_arm
from uplift.allocation.hull import SLOPE_BUCKETS, next_step
from uplift.allocation.problem import Problem
from uplift.allocation.threads import threads_for

_GROUPS = 8


class PathSums(NamedTuple):
    """Amounts along a budget curve.

    Attributes
    ----------
    buckets : ndarray of int64 [step]
        Buckets of slopes that hold a step, the steepest first; see :func:`uplift.allocation.hull.slope_histogram`.
    sums : ndarray of float64 [step + 1, column]
        Totals after the steps of each bucket; the first row is where every hull starts.
    """

    buckets: np.ndarray
    sums: np.ndarray

    def after(self, buckets: np.ndarray) -> np.ndarray:
        """Totals at the start and after each of `buckets` (falling), float64 [bucket + 1, column]."""
        # Buckets fall, so the first that is not above one of them is found among their negatives.
        place = np.searchsorted(-self.buckets, -buckets, side="right")
        found: np.ndarray = self.sums[np.concatenate([[0], place])]
        return found


def path_sums(problem: Problem, amounts: np.ndarray) -> PathSums:
    """Add `amounts` up along the hulls of a problem, by slope, as its budget curve adds up cost and value.

    Parameters
    ----------
    problem : Problem
        Whose hulls decide which arms are taken, and in which order.
    amounts : ndarray of float64 [unit, arm, column], C order
        Any amounts of the arms without the control, where they are 0; finite where an arm is open.

    Returns
    -------
    PathSums
    """
    with threads_for(problem.n_units):
        base, buckets, steps = _path_sums(
            problem.value,
            problem.cost,
            problem.open_unit,
            problem.open_arm,
            problem.allow_harm,
            problem.min_roi * (1 - 1e-9),
            problem.cost_unit.scale,
            amounts,
        )
    return PathSums(buckets, np.vstack([base, base + np.cumsum(steps, axis=0)]))


@njit(parallel=True, cache=True)
def _path_sums(value, cost, open_unit, open_arm, allow_harm, lowest, cost_scale, amounts):  # type: ignore[no-untyped-def]
    # The walk and its buckets must be those of slope_histogram, or the sums would be of other plans.
    n, columns = value.shape[0], amounts.shape[2]
    least_cost = 1e-3 / cost_scale
    groups = 1 if n < 50_000 else _GROUPS  # fixed, so that sums do not depend on the threads
    base = np.zeros((groups, columns), np.float64)
    steps = np.zeros((groups, SLOPE_BUCKETS, columns), np.float64)
    touched = np.zeros((groups, SLOPE_BUCKETS), np.bool_)
    for group in prange(groups):
        as_float = np.zeros(1, np.float32)
        as_bits = as_float.view(np.uint32)
        for i in range(n * group // groups, n * (group + 1) // groups):
            if open_unit.shape[0] > 0 and not open_unit[i]:
                continue
            arm = best_arm(value, cost, open_arm, i, 0.0, 1.0, allow_harm)
            v0, c0 = 0.0, 0.0
            if arm > 0:
                v0, c0 = np.float64(value[i, arm - 1]), np.float64(cost[i, arm - 1])
                for column in range(columns):
                    base[group, column] += amounts[i, arm - 1, column]
            previous = np.inf
            while True:
                reached, slope = next_step(value, cost, open_arm, i, v0, c0, least_cost)
                if reached < 0 or slope < lowest:
                    break
                previous = min(previous, slope)
                as_float[0] = previous
                bucket = as_bits[0] >> 15
                touched[group, bucket] = True
                for column in range(columns):
                    after = amounts[i, reached - 1, column] if reached > 0 else 0.0
                    before = amounts[i, arm - 1, column] if arm > 0 else 0.0
                    steps[group, bucket, column] += after - before
                v0, c0 = 0.0, 0.0
                if reached > 0:
                    v0, c0 = np.float64(value[i, reached - 1]), np.float64(cost[i, reached - 1])
                arm = reached
    # Few of the buckets hold anything where units are few: going through all of them costs more than the walk.
    found = np.empty(SLOPE_BUCKETS, np.int64)
    count = 0
    for bucket in range(SLOPE_BUCKETS - 1, -1, -1):
        for group in range(groups):
            if touched[group, bucket]:
                found[count] = bucket
                count += 1
                break
    totals = np.zeros((count, columns), np.float64)
    for at in range(count):
        for group in range(groups):
            if touched[group, found[at]]:
                totals[at] += steps[group, found[at]]
    return base.sum(axis=0), found[:count].copy(), totals
