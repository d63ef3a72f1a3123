"""Passes over all units at one price per constraint: best choices with exact sums, and the smoothed dual.

With reduced values ``z_ij = v_ij - sum_m price_m a_ijm``

    D(price) = price . limit + sum_i max_j z_ij  >=  optimum       for every price >= 0,

and the smoothed dual puts ``tau log sum_j exp(z_ij / tau)`` in place of the maximum: differentiable, and above D by at
most ``n tau log(arms + 1)``. Its gradient is ``limit - E[use]`` and its Hessian ``Cov[use] / tau`` under the choice
probabilities, both from the same reading.

Units come in the order of a hash and sums in fixed groups, so no result depends on the order of rows or on the number
of threads.

The kernels inline the rounding of `dual` and are cached on disk by this file's time stamp: after a change there, touch
this file, as `hull`, which does the same.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit, prange

from uplift.allocation.dual import round_down, round_up

_GROUPS = 16


@njit(parallel=True, cache=True)
def hard_pass(value, cost, slot, rowmap, ta, tb, tg, alpha, beta, gamma, scale, value_scale):  # type: ignore[no-untyped-def]
    """Best choice of every unit at given prices.

    ``ta, tb, tg`` are the prices per piece of `rowmap`: of one contact, one unit of cost, one unit of value.

    Returns
    -------
    arms : int16 [unit]
        Ties: the cheaper choice, then the lower code.
    lead : float64 [unit]
        Reduced value of the best choice less that of the second; inf without a second.
    dual : int
        Sum of best reduced values, every one rounded up, in multiples of the value unit.
    worth : int
    uses : int64 [row]
    size : float
        Sum of the magnitudes that went into the reduced values: what rounding errors are relative to.
    """
    n, choices = value.shape
    families, m = slot.shape[1], alpha.shape[0]
    groups = 1 if n < 4096 else _GROUPS
    arms = np.empty(n, np.int16)
    lead = np.empty(n, np.float64)
    sums = np.zeros((groups, 2), np.int64)
    uses = np.zeros((groups, m), np.int64)
    sizes = np.zeros(groups)
    for group in prange(groups):
        dual, worth, size = 0, 0, 0.0
        for i in range(n * group // groups, n * (group + 1) // groups):
            best, second, best_cost, arm, largest = -np.inf, -np.inf, 0.0, 0, 0.0
            for j in range(choices):
                v = value[i, j]
                if v == -np.inf:
                    continue
                c = cost[i, j]
                a, b, g = 0.0, 0.0, 0.0
                for f in range(families):
                    at = slot[i, f] + j
                    a += ta[at]
                    b += tb[at]
                    g += tg[at]
                z = v - a - b * c - g * v
                largest = max(largest, abs(v) + abs(a) + abs(b * c) + abs(g * v))
                if z > best or (z == best and c < best_cost):
                    second, best, best_cost, arm = best, z, c, j
                elif z > second:
                    second = z
            arms[i] = arm
            lead[i] = best - second
            dual += round_up(best, value_scale)
            size += largest
            if arm > 0:
                v, c = value[i, arm], cost[i, arm]
                worth += round_down(v, value_scale)
                for f in range(families):
                    row = rowmap[slot[i, f] + arm]
                    if row >= 0:
                        uses[group, row] += round_up(alpha[row] + beta[row] * c + gamma[row] * v, scale[row])
        sums[group, 0] = dual
        sums[group, 1] = worth
        sizes[group] = size
    return arms, lead, sums[:, 0].sum(), sums[:, 1].sum(), uses.sum(axis=0), sizes.sum()


@njit(parallel=True, cache=True)
def smooth_pass(value, cost, slot, rowmap, ta, tb, tg, alpha, beta, gamma, tau):  # type: ignore[no-untyped-def]
    """Smoothed maximum of every unit, summed, with expected uses and their covariance.

    Returns
    -------
    total : float
        Sum of ``tau log sum_j exp(z / tau)``.
    mean : float64 [row]
        Expected uses.
    spread : float64 [row, row]
        Sum of covariances of uses (not divided by tau), both triangles.
    """
    n, choices = value.shape
    families, m = slot.shape[1], alpha.shape[0]
    groups = 1 if n < 4096 else _GROUPS
    totals = np.zeros(groups)
    means = np.zeros((groups, m))
    spreads = np.zeros((groups, m, m))
    for group in prange(groups):
        z, pa, pb, pg = np.empty(choices), np.empty(choices), np.empty(choices), np.empty(choices)
        touched = np.empty(choices * families + 1, np.int64)
        part = np.empty(choices * families + 1)
        place = np.full(m, -1, np.int64)
        use = np.empty(families + 1)
        rows = np.empty(families + 1, np.int64)
        total = 0.0
        mean, spread = means[group], spreads[group]
        for i in range(n * group // groups, n * (group + 1) // groups):
            top = -np.inf
            for j in range(choices):
                pa[j], pb[j], pg[j] = 0.0, 0.0, 0.0
            for f in range(families):
                at = slot[i, f]
                for j in range(choices):
                    pa[j] += ta[at + j]
                    pb[j] += tb[at + j]
                    pg[j] += tg[at + j]
            for j in range(choices):
                v = value[i, j]
                z[j] = v - pa[j] - pb[j] * cost[i, j] - pg[j] * v if v > -np.inf else v
                top = max(top, z[j])
            weight = 0.0
            floor = top - 40.0 * tau
            for j in range(choices):
                z[j] = math.exp((z[j] - top) / tau) if z[j] > floor else 0.0
                weight += z[j]
            total += top + tau * math.log(weight)
            sure = weight < 1.0 + 1e-12
            count = 0
            for j in range(1, choices):
                p = z[j] / weight
                if p < 1e-14:
                    continue
                v, c = value[i, j], cost[i, j]
                here = 0
                for f in range(families):
                    row = rowmap[slot[i, f] + j]
                    if row >= 0:
                        amount = alpha[row] + beta[row] * c + gamma[row] * v
                        mean[row] += p * amount
                        if not sure:
                            if place[row] < 0:
                                place[row] = count
                                touched[count] = row
                                part[count] = 0.0
                                count += 1
                            part[place[row]] += p * amount
                            rows[here] = row
                            use[here] = amount
                            here += 1
                for x in range(here):
                    for y in range(x + 1):
                        spread[max(rows[x], rows[y]), min(rows[x], rows[y])] += p * use[x] * use[y]
            for x in range(count):
                place[touched[x]] = -1
                for y in range(x + 1):
                    spread[max(touched[x], touched[y]), min(touched[x], touched[y])] -= part[x] * part[y]
        totals[group] = total
    spread = spreads.sum(axis=0)
    for x in range(m):
        for y in range(x):
            spread[y, x] = spread[x, y]
    return totals.sum(), means.sum(axis=0), spread


@njit(cache=True)
def solve_positive(matrix, right):  # type: ignore[no-untyped-def]
    """Solve a positive definite system by Cholesky: one thread, so the same bits everywhere; changes `matrix`."""
    m = matrix.shape[0]
    x = right.copy()
    for j in range(m):
        pivot = matrix[j, j]
        for k in range(j):
            pivot -= matrix[j, k] * matrix[j, k]
        pivot = math.sqrt(max(pivot, 1e-300))
        matrix[j, j] = pivot
        for i in range(j + 1, m):
            entry = matrix[i, j]
            for k in range(j):
                entry -= matrix[i, k] * matrix[j, k]
            matrix[i, j] = entry / pivot
    for i in range(m):
        for k in range(i):
            x[i] -= matrix[i, k] * x[k]
        x[i] /= matrix[i, i]
    for i in range(m - 1, -1, -1):
        for k in range(i + 1, m):
            x[i] -= matrix[k, i] * x[k]
        x[i] /= matrix[i, i]
    return x


@njit(cache=True)
def near_choices(value, cost, slot, rowmap, ta, tb, tg, units, most):  # type: ignore[no-untyped-def]
    """Choices of some units whose reduced value is within `most` of the unit's best.

    Returns
    -------
    unit, arm, regret
        One entry per choice (the best, with regret 0, included), unit positions ascending. Units with a choice
        besides the best also list the control, however far it is: giving a unit nothing is how limits are kept.
    """
    choices, families = value.shape[1], slot.shape[1]
    z = np.empty(choices)
    unit = np.empty(units.shape[0] * choices, np.int64)
    arm = np.empty(units.shape[0] * choices, np.int64)
    regret = np.empty(units.shape[0] * choices, np.float64)
    found = 0
    for at_unit in range(units.shape[0]):
        i = units[at_unit]
        top = -np.inf
        for j in range(choices):
            v = value[i, j]
            z[j] = v
            if v == -np.inf:
                continue
            a, b, g = 0.0, 0.0, 0.0
            for f in range(families):
                at = slot[i, f] + j
                a += ta[at]
                b += tb[at]
                g += tg[at]
            z[j] = v - a - b * cost[i, j] - g * v
            top = max(top, z[j])
        near = 0
        for j in range(choices):
            if z[j] > -np.inf and top - z[j] <= most:
                near += 1
        for j in range(choices):
            if z[j] > -np.inf and (top - z[j] <= most or (j == 0 and near > 1)):
                unit[found] = at_unit
                arm[found] = j
                regret[found] = top - z[j]
                found += 1
    return unit[:found], arm[:found], regret[:found]
