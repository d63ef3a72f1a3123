"""The targeting operator characteristic: how much more the first customers of a ranking gain than the average one."""

from __future__ import annotations

import numpy as np

from uplift.metrics.ranking import Cells


def toc_curve(cells: Cells) -> tuple[np.ndarray, np.ndarray]:
    """Share of customers q, and TOC(q) = (mean treated - mean control among the first q) - the same of all.

    Zero at q = 1 by definition, and everywhere on average for a random ranking. Where the first rows hold only one of the
    two groups nothing can be compared, and the value is NaN. Leading resampling dimensions are kept: [..., group].

    References
    ----------
    Yadlowsky, Fleming, Shah, Brunskill, Wager, Evaluating treatment prioritization rules via rank-weighted average
    treatment effects, JASA 2024 (arXiv 2111.07966), section 2.
    """
    n_t, n_c, *_ = (total[..., None] for total in cells.totals)
    with np.errstate(divide="ignore", invalid="ignore"):
        first = cells.y_t / cells.n_t - cells.y_c / cells.n_c
    return (cells.n_t + cells.n_c) / (n_t + n_c), first - cells.ate()[..., None]


def toc_with_band(
    cells: Cells, draws: Cells, grid: np.ndarray, z: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """TOC at the shares of `grid`, and its pointwise normal band from resamples, float64 [point] each.

    Parameters
    ----------
    cells, draws : Cells
        The ranking [group] and resamples of it [draw, slice].
    grid : ndarray [point]
        Shares in [0, 1]. Nothing can be said of the first 0 %: NaN there, and in the band before the first slice ends.
    z : float
        Half width of the band in standard errors.
    """
    line = _at(grid, *toc_curve(cells))
    xs, ys = toc_curve(draws)
    at = np.array([_at(grid, x, y) for x, y in zip(xs, ys, strict=True)])
    known = np.isfinite(at)
    count = known.sum(axis=0)
    mean = np.where(known, at, 0.0).sum(axis=0) / np.maximum(count, 1)
    square = np.where(known, (at - mean) ** 2, 0.0).sum(axis=0)
    se = np.sqrt(np.divide(square, count - 1, out=np.full(len(grid), np.nan), where=count > len(at) // 2))
    return line, line - z * se, line + z * se


def _at(grid: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    result: np.ndarray = np.interp(grid, x, y, left=np.nan)
    return result
