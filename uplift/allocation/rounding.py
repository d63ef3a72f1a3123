"""From shares to whole decisions: keep the limits in integers first, then use what is left of them.

Three searches over the core's choices, all in int64: *repair* lowers what is overused at the least loss of reduced
value, *fill* takes single switches that bring value and fit, *swap* takes pairs of switches of two units that share a
row, one freeing what the other needs.
"""

from __future__ import annotations

import numpy as np
from numba import njit

_SWAP_MOVES = 192
_SWAP_ROUNDS = 4


@njit(cache=True)
def _shift(rows, amount, here, there, residual, sign):  # type: ignore[no-untyped-def]
    """Move one unit from entry `here` to entry `there` (sign 1), or back (sign -1)."""
    for f in range(rows.shape[1]):
        if rows[here, f] >= 0:
            residual[rows[here, f]] += sign * amount[here, f]
        if rows[there, f] >= 0:
            residual[rows[there, f]] -= sign * amount[there, f]


@njit(cache=True)
def _fits(rows, amount, here, there, residual):  # type: ignore[no-untyped-def]
    """Whether no row that the move uses more of becomes, or stays, overused."""
    for f in range(rows.shape[1]):
        row = rows[there, f]
        old = rows[here, f]
        if row >= 0:
            more = amount[there, f] - (amount[here, f] if old == row else 0)
            if more > 0 and residual[row] < more:
                return False
        if old >= 0 and old != row and amount[here, f] < 0 and residual[old] < -amount[here, f]:
            return False
    return True


@njit(cache=True)
def repair(first, rows, amount, regret, weight, current, residual, limit):  # type: ignore[no-untyped-def]
    """Lower the overuse to nothing, in place; False when no switch helps any more.

    Where no single switch lowers it, one that only moves it to another row is made (each unit once), so that it can
    travel along a chain of full stocks to a row with room.
    """
    units = first.shape[0] - 1
    moved = np.zeros(units, np.bool_)
    for _ in range(limit):
        broken = False
        for m in range(residual.shape[0]):
            if residual[m] < 0:
                broken = True
        if not broken:
            return True
        best, best_unit, best_entry = np.inf, -1, -1
        side, side_unit, side_entry = np.inf, -1, -1
        for q in range(units):
            here = current[q]
            for there in range(first[q], first[q + 1]):
                if there == here:
                    continue
                touched = False
                for f in range(rows.shape[1]):
                    for entry in (here, there):
                        if rows[entry, f] >= 0 and residual[rows[entry, f]] < 0:
                            touched = True
                if not touched:
                    continue
                relief = 0.0
                for f in range(rows.shape[1]):
                    old, new = rows[here, f], rows[there, f]
                    if old >= 0:
                        change = amount[here, f] - (amount[there, f] if new == old else 0)
                        before = residual[old]
                        relief += (max(-before, 0) - max(-(before + change), 0)) / weight[old]
                    if new >= 0 and new != old:
                        before = residual[new]
                        relief += (max(-before, 0) - max(-(before - amount[there, f]), 0)) / weight[new]
                if relief <= 1e-9:
                    loss = regret[there] - regret[here]
                    if relief > -1e-9 and not moved[q] and loss < side:
                        side, side_unit, side_entry = loss, q, there
                    continue
                loss = (max(regret[there] - regret[here], 0.0) + 1e-12) / relief
                if loss < best:
                    best, best_unit, best_entry = loss, q, there
        if best_unit < 0:
            if side_unit < 0:
                return False
            moved[side_unit] = True
            best_unit, best_entry = side_unit, side_entry
        _shift(rows, amount, current[best_unit], best_entry, residual, 1)
        current[best_unit] = best_entry
    return False


@njit(cache=True)
def fill(first, rows, amount, value, regret, current, residual, value_scale):  # type: ignore[no-untyped-def]
    """Take the best single switches that bring value and fit, in place; the value gained."""
    units = first.shape[0] - 1
    gained = 0
    while True:
        best, best_unit, best_entry = -np.inf, -1, -1
        for q in range(units):
            here = current[q]
            for there in range(first[q], first[q + 1]):
                gain = value[there] - value[here]
                if gain <= 0:
                    continue
                score = gain / value_scale - 3.0 * (regret[there] - regret[here])
                if score > best and _fits(rows, amount, here, there, residual):
                    best, best_unit, best_entry = score, q, there
        if best_unit < 0:
            return gained
        gained += value[best_entry] - value[current[best_unit]]
        _shift(rows, amount, current[best_unit], best_entry, residual, 1)
        current[best_unit] = best_entry


@njit(cache=True)
def swap(first, rows, amount, value, regret, price, current, residual):  # type: ignore[no-untyped-def]
    """Take pairs of switches that gain value together and fit, in place; the value gained.

    For every row with priced slack left, the switches that touch it and lose little are tried two by two.
    """
    units = first.shape[0] - 1
    total = 0
    move_unit = np.empty(_SWAP_MOVES, np.int64)
    move_entry = np.empty(_SWAP_MOVES, np.int64)
    move_loss = np.empty(_SWAP_MOVES)
    for row in range(residual.shape[0]):
        for _ in range(_SWAP_ROUNDS):
            worth = price[row] * residual[row]
            if worth <= 0.0:
                break
            count = 0
            for q in range(units):
                here = current[q]
                for there in range(first[q], first[q + 1]):
                    loss = regret[there] - regret[here]
                    if there == here or loss > 2.0 * worth:
                        continue
                    touches = False
                    for f in range(rows.shape[1]):
                        if rows[here, f] == row or rows[there, f] == row:
                            touches = True
                    if not touches:
                        continue
                    if count < _SWAP_MOVES:
                        spot = count
                        count += 1
                    else:
                        spot = 0
                        for x in range(1, count):
                            if move_loss[x] > move_loss[spot]:
                                spot = x
                        if move_loss[spot] <= loss:
                            continue
                    move_unit[spot], move_entry[spot], move_loss[spot] = q, there, loss
            best, best_x, best_y = 0, -1, -1
            for x in range(count):
                here_x = current[move_unit[x]]
                _shift(rows, amount, here_x, move_entry[x], residual, 1)
                gain_x = value[move_entry[x]] - value[here_x]
                for y in range(count):
                    if move_unit[y] == move_unit[x]:
                        continue
                    here_y = current[move_unit[y]]
                    gain = gain_x + value[move_entry[y]] - value[here_y]
                    if gain <= best:
                        continue
                    _shift(rows, amount, here_y, move_entry[y], residual, 1)
                    good = True
                    for m in range(rows.shape[1]):
                        for entry in (here_x, move_entry[x], here_y, move_entry[y]):
                            if rows[entry, m] >= 0 and residual[rows[entry, m]] < 0:
                                good = False
                    _shift(rows, amount, here_y, move_entry[y], residual, -1)
                    if good:
                        best, best_x, best_y = gain, x, y
                _shift(rows, amount, here_x, move_entry[x], residual, -1)
            if best_x < 0:
                break
            for x in (best_x, best_y):
                q = move_unit[x]
                _shift(rows, amount, current[q], move_entry[x], residual, 1)
                current[q] = move_entry[x]
            total += best
    return total
