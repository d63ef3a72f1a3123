"""Proven optimum with one limit: a dynamic program over the few units that can still differ, in whole multiples.

Every decision is worth ``D - regrets - price * slack``, so with an incumbent of value V only sets of choices whose
regrets add up to at most D - V matter. Units enter one after the other, those with the largest differences in use
first; a state (use, value) is dropped when its regrets exceed D - V, when what is left of the units cannot bring its
use within the limit or near enough to it, or when another state uses no more and is worth no less.
"""

from __future__ import annotations

import numpy as np

from uplift.allocation.core import Core

_MOST_STATES = 300_000


def best_choices(core: Core, residual: int, price: float, gap: float, least: int) -> np.ndarray | None:
    """The best entries with one limit.

    Parameters
    ----------
    core : Core
        Of a problem with a single row.
    residual : int
        What the limit leaves when everybody has the best choice, in multiples (negative: overused).
    price : float
        Value of one multiple of use.
    gap : float
        Regret and priced slack together that a better decision may have.
    least : int
        Gain in value (multiples, against everybody's best choice) that must be exceeded.

    Returns
    -------
    ndarray of int64 [unit] or None
        Entry of every unit; ``-1`` everywhere when no decision exceeds `least`. None: too many states.
    """
    q = len(core.units)
    own = core.rows[:, 0] >= 0
    amount = np.where(own, core.amount[:, 0], 0)
    base = core.base[core.unit]
    use, value = amount - amount[base], core.value - core.value[base]
    options = [np.flatnonzero(core.near[core.first[i] : core.first[i + 1]]) + core.first[i] for i in range(q)]
    down = np.array([min(int(use[o].min()), 0) for o in options], np.int64)
    up = np.array([max(int(use[o].max()), 0) for o in options], np.int64)
    order = np.argsort(-(up - down), kind="stable")
    down_left = np.concatenate([np.cumsum(down[order][::-1])[::-1][1:], [0]])
    up_left = np.concatenate([np.cumsum(up[order][::-1])[::-1][1:], [0]])

    uses, values, regrets = np.zeros(1, np.int64), np.zeros(1, np.int64), np.zeros(1)
    history: list[tuple[np.ndarray, np.ndarray]] = []
    for at, unit in enumerate(order):
        choices = options[unit]
        new_use = (uses[:, None] + use[choices]).ravel()
        new_value = (values[:, None] + value[choices]).ravel()
        new_regret = (regrets[:, None] + core.regret[choices]).ravel()
        parent = np.repeat(np.arange(len(uses)), len(choices))
        entry = np.tile(choices, len(uses))
        slack = np.maximum(residual - new_use - up_left[at], 0)
        keep = np.flatnonzero((new_regret + price * slack <= gap) & (new_use + down_left[at] <= residual))
        keep = keep[np.lexsort((-new_value[keep], new_use[keep]))]
        if not len(keep):
            return np.full(q, -1)
        best = np.maximum.accumulate(new_value[keep])
        first = np.ones(len(keep), np.bool_)
        first[1:] = new_value[keep][1:] > best[:-1]
        keep = keep[first]
        if len(keep) > _MOST_STATES:
            return None
        uses, values, regrets = new_use[keep], new_value[keep], new_regret[keep]
        history.append((parent[keep], entry[keep]))
    fits = np.flatnonzero(uses <= residual)
    if not len(fits) or values[fits].max() <= least:
        return np.full(q, -1)
    state = int(fits[values[fits].argmax()])
    found = np.empty(q, np.int64)
    for unit, (parent, entry) in zip(order[::-1], history[::-1], strict=True):
        found[unit] = entry[state]
        state = int(parent[state])
    return found
