"""The one loop over rows behind off-policy means: value and influences in three passes, without temporary arrays."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True)
def weighted_mean(mass, model, weight, residual, group, cell, arms, n_groups, n_cells, n_arms):  # type: ignore[no-untyped-def]
    """Mean of model + weight * residual, and the influence of every row on it.

    Parameters
    ----------
    mass, weight, residual : ndarray of float64 [row]
        `mass` sums to 1; `weight` has mean 1 within groups where there are any.
    model : ndarray of float64 [row] or [1]
        One number for all rows, or one each.
    group : ndarray of int64 [row] or [0]
        Self-normalisation: the residual's weighted mean within the group is estimated as well.
    cell, arms : ndarray of int64 [row]
        Where the log's shares within cells are the propensities, only the spread within cell and arm is error;
        `cell` is [0] where they are known.

    Returns
    -------
    value : float
    influence : ndarray of float64 [row]
    """
    n = len(mass)
    level = np.zeros(n_groups)
    share = np.zeros(n_groups)
    one = len(model) == 1
    grouped = len(group) > 0
    celled = len(cell) > 0
    if grouped:
        for i in range(n):
            share[group[i]] += mass[i]
            level[group[i]] += mass[i] * weight[i] * residual[i]
        for g in range(n_groups):
            if share[g] > 0.0:
                level[g] /= share[g]
    count = np.zeros(n_cells * n_arms)
    inside = np.zeros(n_cells * n_arms)
    middle = np.zeros(n_cells * n_arms)
    influence = np.empty(n)
    value = 0.0
    for i in range(n):
        base = model[0] if one else model[i]
        own = residual[i]
        if grouped:
            base += level[group[i]]
            own -= level[group[i]]
        own *= weight[i]
        value += mass[i] * (base + own)
        if celled:
            b = cell[i] * n_arms + arms[i]
            count[b] += 1.0
            inside[b] += mass[i]
            middle[b] += mass[i] * own
    stretch = np.ones(n_cells * n_arms)
    of_cell = np.zeros(n_cells)
    arm_mass = np.zeros(n_arms)
    of_arm = np.zeros(n_arms)
    for c in range(n_cells):
        total = 0.0
        for a in range(n_arms):
            b = c * n_arms + a
            total += inside[b]
            of_cell[c] += middle[b]
            arm_mass[a] += inside[b]
            of_arm[a] += middle[b]
            if inside[b] > 0.0:
                middle[b] /= inside[b]
            if count[b] > 1.0:
                stretch[b] = np.sqrt(count[b] / (count[b] - 1.0))
        if total > 0.0:
            of_cell[c] /= total
    for a in range(n_arms):
        if arm_mass[a] > 0.0:
            of_arm[a] /= arm_mass[a]
    everywhere = np.sqrt(n / (n - 1.0)) if n > 1 else 1.0
    for i in range(n):
        base = model[0] if one else model[i]
        own = residual[i]
        if grouped:
            base += level[group[i]]
            own -= level[group[i]]
        own *= weight[i]
        if celled:
            b = cell[i] * n_arms + arms[i]
            # One row has no spread of its own: it is measured against its arm's mean.
            around = own - of_arm[arms[i]] if count[b] == 1.0 else (own - middle[b]) * stretch[b]
            influence[i] = mass[i] * (base - value + of_cell[cell[i]] + around)
        else:
            influence[i] = mass[i] * (base + own - value) * everywhere
    return value, influence
