"""Passes over all units at a price of money: best arms, exact sums, audit.

At price ``p`` a unit's best arm maximises ``v - p c`` (control: 0), and

    D(p) = p B + sum_i max_j (v_ij - p c_ij)  >=  optimum of the knapsack     for every p >= 0

(weak duality). Amounts are compared in float64 and summed as int64 multiples of the problem's units: sums do not
depend on the order of rows or on the number of threads.

The kernels inline helpers of this module and are cached on disk by this file's time stamp: keep helpers here.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit, prange

CHUNK = 1 << 16
SNAP = 4 * 2.220446049250313e-16  # a decimal amount is off by at most this when its float is scaled


@njit(cache=True)
def round_up(amount, scale):  # type: ignore[no-untyped-def]
    """Whole multiples of 1/scale that cover `amount`; decimals such as 0.1 count as what they were written as."""
    scaled = amount * scale
    nearest = np.rint(scaled)
    if abs(scaled - nearest) <= SNAP * abs(scaled):
        return np.int64(nearest)
    return np.int64(math.ceil(scaled))


@njit(cache=True)
def round_down(amount, scale):  # type: ignore[no-untyped-def]
    """Whole multiples of 1/scale within `amount`."""
    scaled = amount * scale
    nearest = np.rint(scaled)
    if abs(scaled - nearest) <= SNAP * abs(scaled):
        return np.int64(nearest)
    return np.int64(math.floor(scaled))


@njit(cache=True)
def best_arm(value, cost, open_arm, i, weight, price, allow_harm):  # type: ignore[no-untyped-def]
    """Arm code (0 = control) that maximises ``weight v - price c``; ties: the cheaper, then the more valuable.

    ``weight, price = 0, 1`` is the price of infinity, where a unit's hull starts.
    """
    arm = 0
    best, best_v, best_c = 0.0, 0.0, 0.0
    masked = open_arm.shape[0] > 0
    for j in range(value.shape[1]):
        v = np.float64(value[i, j])
        c = np.float64(cost[i, j])
        reduced = weight * v - price * c
        if reduced < best:
            continue
        if reduced == best and not (c < best_c or (c == best_c and v > best_v)):
            continue
        if masked and not open_arm[i, j]:
            continue
        if v < 0.0 and c < 0.0 and not allow_harm:
            continue
        best, best_v, best_c, arm = reduced, v, c, j + 1
    return arm


@njit(cache=True)
def two_best(value, cost, i, weight, high, low):  # type: ignore[no-untyped-def]
    """Best arms at the high and the low price without branches, and whether :func:`best_arm` must decide.

    It must when anything but a strict maximum among harmless arms is met: equal reduced values, or an arm with
    negative value and negative cost.
    """
    arm_high, arm_low = 0, 0
    best_high, best_low = 0.0, 0.0
    unsure = False
    for j in range(value.shape[1]):
        v = np.float64(value[i, j])
        c = np.float64(cost[i, j])
        reduced_high = weight * v - high * c
        reduced_low = v - low * c
        unsure |= (reduced_high == best_high) | (reduced_low == best_low) | ((v < 0.0) & (c < 0.0))
        arm_high = j + 1 if reduced_high > best_high else arm_high
        arm_low = j + 1 if reduced_low > best_low else arm_low
        best_high = max(best_high, reduced_high)
        best_low = max(best_low, reduced_low)
    return arm_high, arm_low, unsure


@njit(parallel=True, cache=True)
def largest_bits(bits, mask):  # type: ignore[no-untyped-def]
    """max(bits & mask) of an integer view: the bit pattern of the largest |float| (NaN and inf sort last)."""
    n = bits.shape[0]
    chunks = (n + CHUNK - 1) // CHUNK
    found = np.zeros(chunks, bits.dtype)
    for chunk in prange(chunks):
        largest = bits[0] & mask
        for i in range(chunk * CHUNK, min(n, (chunk + 1) * CHUNK)):
            largest = max(largest, bits[i] & mask)
        found[chunk] = largest
    return found.max()


@njit(parallel=True, cache=True)
def price_pass(value, cost, open_unit, open_arm, allow_harm, weight, high, low, value_scale, cost_scale):  # type: ignore[no-untyped-def]
    """Best arms at a high and a low price in one reading.

    An arm that is best at both prices is best at every price between (the prices at which an arm is best form an
    interval), so only units whose answer differs, the core, need a second look.

    Returns
    -------
    arms : int16 [unit]
        Best arm at the high price.
    core : int64 [m]
        Rows whose best arm differs between the prices, ascending.
    spend, value, treated : int
        Sums at the high price: cost rounded up, value rounded down, units that are not in control.
    """
    n = value.shape[0]
    chunks = (n + CHUNK - 1) // CHUNK
    arms = np.empty(n, np.int16)
    buffer = np.empty(n, np.int64)
    sums = np.zeros((max(chunks, 1), 4), np.int64)
    masked = open_arm.shape[0] > 0
    for chunk in prange(chunks):
        start = chunk * CHUNK
        spend, worth, treated, found = 0, 0, 0, 0
        for i in range(start, min(n, start + CHUNK)):
            if open_unit.shape[0] > 0 and not open_unit[i]:
                arms[i] = 0
                continue
            arm, low_arm, unsure = two_best(value, cost, i, weight, high, low)
            if unsure or masked:
                arm = best_arm(value, cost, open_arm, i, weight, high, allow_harm)
                low_arm = best_arm(value, cost, open_arm, i, 1.0, low, allow_harm)
            arms[i] = arm
            if arm > 0:
                spend += round_up(np.float64(cost[i, arm - 1]), cost_scale)
                worth += round_down(np.float64(value[i, arm - 1]), value_scale)
                treated += 1
            if low_arm != arm:
                buffer[start + found] = i
                found += 1
        sums[chunk, 0] = spend
        sums[chunk, 1] = worth
        sums[chunk, 2] = treated
        sums[chunk, 3] = found
    core = np.empty(sums[:, 3].sum(), np.int64)
    ends = np.cumsum(sums[:, 3])
    for chunk in prange(chunks):
        found = sums[chunk, 3]
        core[ends[chunk] - found : ends[chunk]] = buffer[chunk * CHUNK : chunk * CHUNK + found]
    return arms, core, sums[:, 0].sum(), sums[:, 1].sum(), sums[:, 2].sum()


@njit(parallel=True, cache=True)
def settle(value, cost, arms, value_scale, cost_scale):  # type: ignore[no-untyped-def]
    """Read every decision back: per-unit value and cost, and the sums from which the certificate is written.

    Returns
    -------
    unit_value, unit_cost : float64 [unit]
    spend, worth : int
        Cost rounded up and value rounded down, in multiples.
    counts : int64 [arm]
        Units per arm code, control first.
    """
    n, k = value.shape
    chunks = (n + CHUNK - 1) // CHUNK
    unit_value = np.empty(n, np.float64)
    unit_cost = np.empty(n, np.float64)
    sums = np.zeros((max(chunks, 1), 2), np.int64)
    counts = np.zeros((max(chunks, 1), k + 1), np.int64)
    for chunk in prange(chunks):
        spend, worth = 0, 0
        for i in range(chunk * CHUNK, min(n, (chunk + 1) * CHUNK)):
            arm = arms[i]
            counts[chunk, arm] += 1
            if arm == 0:
                unit_value[i] = 0.0
                unit_cost[i] = 0.0
                continue
            v = np.float64(value[i, arm - 1])
            c = np.float64(cost[i, arm - 1])
            unit_value[i] = v
            unit_cost[i] = c
            spend += round_up(c, cost_scale)
            worth += round_down(v, value_scale)
        sums[chunk, 0] = spend
        sums[chunk, 1] = worth
    return unit_value, unit_cost, sums[:, 0].sum(), sums[:, 1].sum(), counts.sum(axis=0)


@njit(cache=True)
def sum_multiples(values, costs, value_scale, cost_scale):  # type: ignore[no-untyped-def]
    """Sums of values rounded down and of costs rounded up, in multiples."""
    worth, spend = 0, 0
    for i in range(values.shape[0]):
        worth += round_down(values[i], value_scale)
        spend += round_up(costs[i], cost_scale)
    return worth, spend
