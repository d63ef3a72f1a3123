"""The upper hull of a unit's menu in the (cost, value) plane, as steps of falling slope.

Only hull points appear in an optimum of the relaxed knapsack; the relaxation takes steps over all units in order
of falling slope until the money is spent (Sinha and Zoltners, 1979). Menus are short, so the next step is found
by looking for the best slope from here, without a sort.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit, prange

from uplift.allocation.dual import best_arm, round_down, round_up
from uplift.allocation.problem import Problem
from uplift.radix_order import descending

_BLOCK = 1 << 12
_GROUPS = 8
SLOPE_BUCKETS = 1 << 16


class Steps(NamedTuple):
    """Hull steps of `m` units, one unit after the other, slopes falling within a unit.

    ``first`` int64 [m + 1]; per step: ``unit`` int32 (0..m-1), ``slope`` float64, ``cost`` and ``value`` int64
    (increments in multiples), ``arm`` int16 (reached by the step).
    """

    first: np.ndarray
    unit: np.ndarray
    slope: np.ndarray
    cost: np.ndarray
    value: np.ndarray
    arm: np.ndarray


def hull_steps(problem: Problem, rows: np.ndarray, arms: np.ndarray, lowest: float) -> Steps:
    """Steps of the units in `rows`, from the arms they hold in `arms` [m] down to the slope `lowest`."""
    value, cost = problem.amounts_of(rows)
    open_arm = problem.open_arm.take(rows, axis=0) if problem.open_arm.size else problem.open_arm
    scales = problem.value_unit.scale, problem.cost_unit.scale
    return Steps(*_steps(value, cost, open_arm, arms, lowest, *scales))


def steepest_first(slopes: np.ndarray) -> np.ndarray:
    """Order of falling slopes, equal ones in their own order, int64 [step]."""
    found = descending(slopes)
    # Amounts beyond what float64 can divide make a slope infinite, which the order of bits does not take.
    return np.argsort(-slopes, kind="stable") if found.refused else found.order


@njit(cache=True)
def next_step(value, cost, open_arm, i, v0, c0, least_cost):  # type: ignore[no-untyped-def]
    """Best slope from (c0, v0): arm code (-1: none), its slope. Ties: the shorter step.

    A step cheaper than a thousandth of a cost unit counts as that much, which keeps slopes finite.
    """
    arm, best, best_dc = -1, 0.0, 0.0
    if v0 < 0.0:
        arm, best_dc = 0, -c0
        best = -v0 / max(best_dc, least_cost)
    masked = open_arm.shape[0] > 0
    for j in range(value.shape[1]):
        dv = np.float64(value[i, j]) - v0
        dc = np.float64(cost[i, j]) - c0
        if dv <= 0.0 or dc <= 0.0:
            continue
        if masked and not open_arm[i, j]:
            continue
        slope = dv / max(dc, least_cost)
        if slope > best or (slope == best and dc < best_dc):
            arm, best, best_dc = j + 1, slope, dc
    return arm, best


@njit(cache=True)
def _amounts(value, cost, i, arm):  # type: ignore[no-untyped-def]
    if arm == 0:
        return 0.0, 0.0
    return np.float64(value[i, arm - 1]), np.float64(cost[i, arm - 1])


@njit(parallel=True, cache=True)
def _steps(value, cost, open_arm, arms, lowest, value_scale, cost_scale):  # type: ignore[no-untyped-def]
    n = value.shape[0]
    least_cost = 1e-3 / cost_scale
    blocks = (n + _BLOCK - 1) // _BLOCK
    first = np.zeros(n + 1, np.int64)
    path = np.empty((n, value.shape[1] + 1), np.int16)
    for block in prange(blocks):
        for i in range(block * _BLOCK, min(n, (block + 1) * _BLOCK)):
            v0, c0 = _amounts(value, cost, i, arms[i])
            count = 0
            while True:
                arm, slope = next_step(value, cost, open_arm, i, v0, c0, least_cost)
                if arm < 0 or slope < lowest:
                    break
                path[i, count] = arm
                count += 1
                v0, c0 = _amounts(value, cost, i, arm)
            first[i + 1] = count
    first = np.cumsum(first)
    total = first[n]
    unit = np.empty(total, np.int32)
    slopes = np.empty(total, np.float64)
    dc = np.empty(total, np.int64)
    dv = np.empty(total, np.int64)
    reached = np.empty(total, np.int16)
    for block in prange(blocks):
        for i in range(block * _BLOCK, min(n, (block + 1) * _BLOCK)):
            v0, c0 = _amounts(value, cost, i, arms[i])
            spend, worth = round_up(c0, cost_scale), round_down(v0, value_scale)
            slope = np.inf
            for at in range(first[i], first[i + 1]):
                arm = path[i, at - first[i]]
                v1, c1 = _amounts(value, cost, i, arm)
                # The minimum: rounding must not turn the hull inside out.
                slope = min(slope, (v1 - v0) / max(c1 - c0, least_cost))
                spend_after, worth_after = round_up(c1, cost_scale), round_down(v1, value_scale)
                unit[at] = i
                slopes[at] = slope
                dc[at] = spend_after - spend
                dv[at] = worth_after - worth
                reached[at] = arm
                v0, c0, spend, worth = v1, c1, spend_after, worth_after
    return first, unit, slopes, dc, dv, reached


@njit(parallel=True, cache=True)
def slope_histogram(value, cost, open_unit, open_arm, allow_harm, lowest, value_scale, cost_scale):  # type: ignore[no-untyped-def]
    """All hull steps of all units, added up by slope.

    Buckets are the upper 17 bits of the slope as float32: 256 per octave, 0.3-0.4 % wide.

    Returns
    -------
    base : int64 [3]
        Cost, value and treated units where every hull starts (the cheapest choice).
    steps : int64 [SLOPE_BUCKETS, 3]
        Cost, value and newly treated units of the steps in each bucket.
    """
    n = value.shape[0]
    least_cost = 1e-3 / cost_scale
    groups = 1 if n < 50_000 else _GROUPS
    base = np.zeros((groups, 3), np.int64)
    steps = np.zeros((groups, SLOPE_BUCKETS, 3), np.int64)
    for group in prange(groups):
        as_float = np.zeros(1, np.float32)
        as_bits = as_float.view(np.uint32)
        for i in range(n * group // groups, n * (group + 1) // groups):
            if open_unit.shape[0] > 0 and not open_unit[i]:
                continue
            arm = best_arm(value, cost, open_arm, i, 0.0, 1.0, allow_harm)
            v0, c0 = _amounts(value, cost, i, arm)
            spend, worth = round_up(c0, cost_scale), round_down(v0, value_scale)
            base[group, 0] += spend
            base[group, 1] += worth
            base[group, 2] += arm > 0
            previous = np.inf
            while True:
                reached, slope = next_step(value, cost, open_arm, i, v0, c0, least_cost)
                if reached < 0 or slope < lowest:
                    break
                previous = min(previous, slope)
                as_float[0] = previous
                bucket = as_bits[0] >> 15
                v0, c0 = _amounts(value, cost, i, reached)
                spend_after, worth_after = round_up(c0, cost_scale), round_down(v0, value_scale)
                steps[group, bucket, 0] += spend_after - spend
                steps[group, bucket, 1] += worth_after - worth
                steps[group, bucket, 2] += np.int64(reached > 0) - np.int64(arm > 0)
                spend, worth, arm = spend_after, worth_after, reached
    return base.sum(axis=0), steps.sum(axis=0)
