"""How far a metric of a binned table can be from that of the rows: bounds that hold for every order within the bins.

A bin of p = P_b of the customers and outcomes that move the curve V4 by g_i = +- w_i y_i / n_arm per row is drawn as a
straight line. The true curve passes through the same two ends, and the area between them is

    D_b = 1/2 sum over pairs, i ranked before j, of (p_j g_i - p_i g_j),   p_i = w_i / W,

so that ``|D_b| <= 1/2 (P_b G_b - sum p_i |g_i|)`` with ``G_b = sum |g_i|``, whichever way the rows lie. The bound of the
Qini is the sum over the bins that hold more than one score: about half of (share of a bin) x (outcome per customer) when
bins are alike. The other bounds take the worst of each part by itself, and are wider than need be.
"""

from __future__ import annotations

import numpy as np

from uplift.errors import EvaluationError
from uplift.metrics import scores
from uplift.metrics.rate_heights import rate_heights
from uplift.metrics.score_groups import ROWS, WABS, WWY, W
from uplift.metrics.score_table import ScoreTable


def binning_error(table: ScoreTable, metric: str, share: float = 0.0) -> float:
    """Largest possible difference between a metric of `table` and that of its rows.

    Parameters
    ----------
    table : ScoreTable
    metric : {"qini_per_capita", "autoc", "uplift_at", "qini_sklift", "auuc_sklift"}
    share : float
        For "uplift_at": the top share, in (0, 1].

    Returns
    -------
    float
        In units of the metric; 0 when every group is one score.
    """
    if not table.binned:
        return 0.0
    mixed = ~table.pure
    if metric == "qini_per_capita":
        return _qini(table, mixed)
    if metric == "autoc":
        return _autoc(table, mixed)
    if metric == "uplift_at":
        return _uplift_at(table, mixed, share)
    return _ratio(table, mixed, metric)


def _qini(table: ScoreTable, mixed: np.ndarray) -> float:
    totals = table.sums[W].sum(axis=1, keepdims=True)
    mass = table.sums[W].sum(axis=0)
    moved = (table.sums[WABS] / totals).sum(axis=0)
    # |sum w^2 y| is at most sum w^2 |y|: what is taken off is never too much.
    own = (np.abs(table.sums[WWY]) / totals).sum(axis=0)
    bound = 0.5 * (mass * moved - own) / totals.sum()
    return float(np.maximum(bound, 0.0)[mixed].sum())


def _autoc(table: ScoreTable, mixed: np.ndarray) -> float:
    totals = table.sums[W].sum(axis=1, keepdims=True)
    moved = (table.sums[WABS] / totals).sum(axis=0)
    share = np.cumsum(table.sums[W].sum(axis=0)) / totals.sum()
    before = np.append(0.0, share[:-1])
    height = rate_heights(*table.cells.arrays(), True)[2]
    # The first row's own mean of -1 - log u over its share; no row of a bin lies higher than the bin begins.
    top = -np.log(np.maximum(before, table.least_weight / totals.sum())) - np.where(before > 0, 1.0, 0.0)
    bottom = -1.0 - np.log(share)
    return float((moved * np.maximum(top - height, height - bottom))[mixed].sum())


def _uplift_at(table: ScoreTable, mixed: np.ndarray, share: float) -> float:
    cells = table.cells
    mass = cells.n_t + cells.n_c
    size = share * mass[-1]
    at = min(int(np.searchsorted(mass, size)), len(mass) - 1)
    if not mixed[at]:
        return 0.0
    taken = size - (mass[at - 1] if at else 0.0)
    low, high = [], []
    for arm, n, y in ((1, cells.n_t, cells.y_t), (0, cells.n_c, cells.y_c)):
        inside, others = table.sums[W, arm, at], table.sums[W, 1 - arm, at]
        start_n, start_y = (n[at - 1], y[at - 1]) if at else (0.0, 0.0)
        # One row more or less of the cut, which falls on whole rows.
        fewest = start_n + max(0.0, taken - others - 1.0)
        most = start_n + min(inside, taken + 1.0)
        swing = table.sums[WABS, arm, at]
        if fewest <= 0:
            return float("inf")
        ends = [(start_y + s * swing) / m for s in (-1.0, 0.0, 1.0) for m in (fewest, most)]
        low.append(min(ends))
        high.append(max(ends))
    value = float(scores.uplift_at(cells, share))
    return float(max(high[0] - low[1] - value, value - (low[0] - high[1])))


def _ratio(table: ScoreTable, mixed: np.ndarray, metric: str) -> float:
    """Of scikit-uplift's ratios of 0/1 outcomes: the curve stays between its least and greatest value in a bin."""
    cells = table.raw_cells
    parts = [np.append(0.0, part) for part in cells.arrays()]
    (t0, c0, y0, r0), (t1, c1, y1, r1) = (
        [part[:-1] for part in parts], [part[1:] for part in parts]
    )  # fmt: skip
    with np.errstate(divide="ignore", invalid="ignore"):
        # Means of 0/1 outcomes lie between 0 and 1, also where an arm has no rows yet.
        most_t, most_c = (np.nan_to_num(np.minimum(1.0, a / b), nan=1.0) for a, b in ((y1, t0), (r1, c0)))
        least_t, least_c = (np.nan_to_num(a / b, nan=0.0) for a, b in ((y0, t1), (r0, c1)))
    if metric == "qini_sklift":
        high, low = y1 - least_c * t0, y0 - most_c * t1
        perfect = scores.perfect_area(cells, "qini")
    else:
        above, below = most_t - least_c, least_t - most_c
        x0, x1 = t0 + c0, t1 + c1
        high, low = np.maximum(above * x0, above * x1), np.minimum(below * x0, below * x1)
        perfect = scores.perfect_area(cells, "uplift")
    if perfect == 0:
        raise EvaluationError("the outcome is constant, so the normalised metric is not defined.")
    width = table.sums[ROWS].sum(axis=0)
    return float((width * (high - low))[mixed].sum() / abs(perfect))
