"""Standard errors and bands: resampling the table, not the rows.

The Poisson bootstrap gives every row an independent Poisson(1) weight. Summed over a slice of the ranking the
resampled count N and outcome sum S of an arm have mean (sum w, sum w y) and covariance
[[sum w^2, sum w^2 y], [sum w^2 y, sum w^2 y^2]]; with some tens of rows per slice they are normal for
practical purposes. So a resample costs two normals per slice and arm, whatever the number of rows. Rows of
the same unit are not independent: then whole units are drawn, row by row.
"""

from __future__ import annotations

import numpy as np

from uplift.metrics.ranked_sums import drawn_sums
from uplift.metrics.ranking import Cells, Moments, Ranking

ROWS_PER_SLICE = 30
MAX_SLICES = 400


def slice_cuts(ranking: Ranking) -> np.ndarray:
    """Cut points of the slices that are resampled, int64 [slice]."""
    return ranking.cuts(int(np.clip(ranking.n_rows // ROWS_PER_SLICE, 10, MAX_SLICES)))


def resample(moments: Moments, *, draws: int, rng: np.random.Generator) -> Cells:
    """Poisson bootstrap of independent rows, Cells [draw, slice]."""
    n, y = [], []
    for arm in (0, 1):
        spread = np.sqrt(moments.ww[arm])
        slope = np.divide(moments.wwy[arm], spread, out=np.zeros_like(spread), where=spread > 0)
        rest = np.sqrt(np.maximum(moments.wwyy[arm] - slope**2, 0.0))
        first, second = rng.standard_normal((2, draws, len(spread)))
        n.append(np.cumsum(moments.w[arm] + spread * first, axis=-1))
        y.append(np.cumsum(moments.wy[arm] + slope * first + rest * second, axis=-1))
    return Cells(n[1], n[0], y[1], y[0])


def resample_clusters(
    ranking: Ranking, cuts: np.ndarray, clusters: np.ndarray, *, draws: int, rng: np.random.Generator
) -> Cells:
    """Poisson bootstrap of whole clusters, Cells [draw, slice].

    Parameters
    ----------
    clusters : ndarray of int64 [row]
        Dense cluster code of every input row (not yet ranked).
    """
    code = clusters[ranking.order]
    units = int(code.max()) + 1
    slice_of = np.repeat(np.arange(len(cuts)), np.diff(cuts, prepend=0))
    found = np.zeros((draws, 2, 2, len(cuts)))
    for draw in range(draws):
        times = rng.poisson(1.0, units)
        drawn_sums(code, slice_of, times, *ranking.ranked, found[draw])
    n, y = np.cumsum(found[:, 0], axis=-1), np.cumsum(found[:, 1], axis=-1)
    return Cells(n[:, 1], n[:, 0], y[:, 1], y[:, 0])


def usable(draws: Cells) -> Cells:
    """Resamples in which both groups have rows left (tiny groups can vanish)."""
    n_t, n_c, *_ = draws.totals
    keep = (n_t > 0) & (n_c > 0)
    return draws if keep.all() else Cells(draws.n_t[keep], draws.n_c[keep], draws.y_t[keep], draws.y_c[keep])


def spread(values: np.ndarray, *, wanted: int) -> float:
    """Standard error from resampled values: their standard deviation, far outliers pulled in.

    A ratio whose denominator comes near zero in a few resamples would blow the plain standard deviation up, so
    values are cut at four robust standard deviations (half the distance of the 16 % and 84 % points) from the
    median. For a normal metric that changes nothing that can be seen.

    Parameters
    ----------
    values : ndarray [draw]
        NaN where the metric is not defined.
    wanted : int
        Resamples that were asked for.

    Returns
    -------
    float
        NaN when the metric is defined in less than nine tenths of the resamples: there is no interval then.
    """
    found = values[np.isfinite(values)]
    if len(found) < 0.9 * wanted:
        return float("nan")
    low, middle, high = np.quantile(found, [0.16, 0.5, 0.84])
    reach = 2.0 * (high - low)
    return float(np.clip(found, middle - reach, middle + reach).std(ddof=1))


def normal_quantile(confidence: float) -> float:
    """Two-sided standard normal quantile, 1.96 for 0.95."""
    from statistics import NormalDist

    return NormalDist().inv_cdf(0.5 + confidence / 2)
