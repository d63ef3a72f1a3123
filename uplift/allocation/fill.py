"""The last increments around the break: spend the residual money well.

The relaxation stops inside one step. Taking whole steps in order while they fit loses less than that step; what is
left of the money buys smaller steps further down the list. For small instances one expensive step before the break
matters more: every step that did not fit is also tried by force, giving up the least profitable steps taken.
"""

from __future__ import annotations

import numpy as np
from numba import njit

BACK = 512
"""Steps before the break that may be given up again."""
AHEAD = 4096
"""Steps after the ties at the break that are looked at."""
_FORCED = 64


@njit(cache=True)
def _fill(unit, step, cost, value, level, begin, end, money, log, logged):  # type: ignore[no-untyped-def]
    """Take steps begin..end in order where they fit and the unit's earlier steps are taken."""
    gained = 0
    for at in range(begin, end):
        u = unit[at]
        if level[u] == step[at] and cost[at] <= money:
            level[u] += 1
            money -= cost[at]
            gained += value[at]
            log[logged] = at
            logged += 1
    return gained, money, logged


@njit(cache=True)
def finish(unit, step, cost, value, level, start, money):  # type: ignore[no-untyped-def]
    """Decide the steps around the break.

    Parameters
    ----------
    unit, step, cost, value : arrays [r]
        Steps in their final order: unit of each, its rank among the unit's steps, increments in multiples.
    level : int64 [units]
        Steps each unit has taken when all before `start` are; changed in place.
    start : int
        First step whose place in the order is at the break.
    money : int
        What is left of the budget at `start`.

    Returns
    -------
    spent, gained : int
        Changes of cost and value against the state at `start`.
    """
    end = unit.shape[0]
    # Straight on: every step that fits counts as taken until the first that does not.
    at = start
    left, worth = money, 0
    while at < end and cost[at] <= left:
        left -= cost[at]
        worth += value[at]
        level[unit[at]] += 1
        at += 1
    stop = at
    log = np.empty(end + 1, np.int64)
    gained, rest, logged = _fill(unit, step, cost, value, level, stop, end, left, log, 0)
    best, best_forced = gained, -1
    for entry in range(logged):
        level[unit[log[entry]]] -= 1

    tried = 0
    dropped = np.empty(BACK, np.int64)
    chosen_drops = np.empty(BACK, np.int64)
    chosen_count = 0
    for forced in range(stop, end):
        if tried == _FORCED:
            break
        u = unit[forced]
        if level[u] != step[forced] or cost[forced] <= left:
            continue
        tried += 1
        purse, change, drops = left, value[forced], 0
        back = stop - 1
        while purse < cost[forced] and back >= max(0, stop - BACK) and change > 0:
            if unit[back] != u:
                level[unit[back]] -= 1
                purse += cost[back]
                change -= value[back]
                dropped[drops] = back
                drops += 1
            back -= 1
        if purse >= cost[forced] and change > 0:
            level[u] += 1
            gained, _, logged = _fill(
                unit, step, cost, value, level, stop, min(end, stop + AHEAD), purse - cost[forced], log, 0
            )
            for entry in range(logged):
                level[unit[log[entry]]] -= 1
            level[u] -= 1
            if change + gained > best:
                best, best_forced = change + gained, forced
                chosen_count = drops
                chosen_drops[:drops] = dropped[:drops]
        for entry in range(drops):
            level[unit[dropped[entry]]] += 1

    purse, reach = left, end
    if best_forced >= 0:
        for entry in range(chosen_count):
            back = chosen_drops[entry]
            level[unit[back]] -= 1
            purse += cost[back]
        level[unit[best_forced]] += 1
        purse -= cost[best_forced]
        reach = min(end, stop + AHEAD)
    _, rest, _ = _fill(unit, step, cost, value, level, stop, reach, purse, log, 0)
    return money - rest, worth + best
