"""Why every unit got what it got, from the plan's prices."""

from __future__ import annotations

import numpy as np

from uplift.allocation.coupled import open_choices
from uplift.allocation.problem import Problem
from uplift.allocation.rows import Rows

REASONS = (
    "selected",
    "holdout",
    "not eligible",
    "negative uplift",
    "below price",
    "stock",
    "cap",
    "tie cut",
    "repaired",
)
"""In the order of their codes.

``selected``: the arm is the best one at the plan's prices. ``not eligible``: no arm is open (eligibility, do not
disturb, return floor). ``negative uplift``: no open arm brings anything. ``below price``: it would bring something, but
less than its money is worth elsewhere. ``stock``, ``cap``: it would have paid, but for the price of an arm's stock, or of
another limit. ``tie cut``: it pays at these prices (or nearly), but what was left of a limit did not suffice.
``repaired``: it got another arm than the best at these prices, to use or to keep a limit.
"""
_CHUNK = 1 << 18
_NEAR = 1e-9


def reasons(
    problem: Problem, arms: np.ndarray, holdout: np.ndarray, rows: Rows | None, prices: np.ndarray
) -> np.ndarray:
    """Code into `REASONS` for every unit.

    Parameters
    ----------
    problem : Problem
    arms : ndarray of int16 [unit]
    holdout : ndarray of bool [unit]
    rows : Rows or None
        None: the budget is the only limit, and `prices` holds its price.
    prices : ndarray of float64 [row]

    Returns
    -------
    ndarray of int8 [unit]
    """
    code = {name: at for at, name in enumerate(REASONS)}
    found = np.empty(len(arms), np.int8)
    opened = open_choices(problem)
    for start in range(0, len(arms), _CHUNK):
        part = slice(start, min(start + _CHUNK, len(arms)))
        mine, arm = opened[part], arms[part]
        value = np.where(mine, problem.value[part].astype(np.float64), -np.inf)
        cost = np.where(mine, problem.cost[part].astype(np.float64), 0.0)
        money, stock, rest = _paid(rows, part, np.where(mine, value, 0.0), cost, prices)
        reduced = value - money - stock - rest
        best = reduced.max(axis=1)
        near = _NEAR * (np.abs(np.where(mine, value, 0.0)).max(axis=1) + 1e-300)
        by_money = (value - money).max(axis=1)
        by_rest = (value - money - rest).max(axis=1)
        treated = arm > 0
        taken = reduced[np.arange(len(arm)), np.maximum(arm, 1) - 1]
        reason = np.select(
            [
                treated & (taken >= np.maximum(best, 0.0) - near),
                treated,
                holdout[part],
                ~mine.any(axis=1),
                value.max(axis=1) <= 0,
                best >= -near,
                by_money <= near,
                by_rest > near,
            ],
            [
                code["selected"],
                code["repaired"],
                code["holdout"],
                code["not eligible"],
                code["negative uplift"],
                code["tie cut"],
                code["below price"],
                code["stock"],
            ],
            code["cap"],
        )
        found[part] = reason
    return found


def _paid(
    rows: Rows | None, part: slice, value: np.ndarray, cost: np.ndarray, prices: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What every choice pays for money, for stock and for the other limits, [unit, arm] each."""
    if rows is None:
        return float(prices[0]) * cost, np.zeros_like(cost), np.zeros_like(cost)
    money, stock, rest = np.zeros_like(cost), np.zeros_like(cost), np.zeros_like(cost)
    kinds = np.array(
        [0 if row.kind in ("budget", "min_roi") else 1 if row.kind == "stock" else 2 for row in rows.items]
    )
    alpha, beta, gamma = rows.array("alpha"), rows.array("beta"), rows.array("gamma")
    choices = np.arange(1, cost.shape[1] + 1)
    for family in range(rows.slot.shape[1]):
        row = rows.rowmap[rows.slot[part, family][:, None] + choices]
        at = np.where(row >= 0, row, 0)
        paid = np.where(row >= 0, prices[at] * (alpha[at] + beta[at] * cost + gamma[at] * value), 0.0)
        for kind, total in enumerate((money, stock, rest)):
            total += np.where(kinds[at] == kind, paid, 0.0)
    return money, stock, rest
