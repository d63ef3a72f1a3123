"""Ranking metrics as pure functions of `Cells`. Each has one definition id; see `definitions`.

Curve ids V1 to V4 follow the project's metric page: with the first k rows of the ranking holding N_T treated
and N_C control rows with outcome sums Y_T and Y_C, and totals n_T, n_C, n,

- V1 = Y_T - Y_C N_T / N_C (Radcliffe 2007; scikit-uplift's Qini curve),
- V2 = (Y_T / N_T - Y_C / N_C) (N_T + N_C) (Gutierrez and Gerardy 2017; scikit-uplift's uplift curve),
- V3 = Y_T / N_T - Y_C / N_C,
- V4 = Y_T / n_T - Y_C / n_C (per customer; the headline).

All functions accept leading resampling dimensions [..., group] and return [...]. A metric that is not defined is an
error; a *resample* in which it is not defined is NaN, for `inference.spread` to leave out.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from uplift.errors import EvaluationError
from uplift.metrics.curve_areas import (
    GAIN,
    RUNNING_MEANS,
    RUNNING_RATIO,
    curve_areas,
    curve_heights,
    polyline_areas,
)
from uplift.metrics.ranking import Cells


def _ratio(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    result: np.ndarray = np.divide(
        top, bottom, out=np.zeros(np.broadcast_shapes(top.shape, bottom.shape)), where=bottom != 0
    )
    return result


def gain_curve(cells: Cells) -> tuple[np.ndarray, np.ndarray]:
    """V4: share of customers, and outcome gained per customer when only they are treated."""
    n_t, n_c, *_ = (total[..., None] for total in cells.totals)
    return (cells.n_t + cells.n_c) / (n_t + n_c), cells.y_t / n_t - cells.y_c / n_c


def lift_curve(cells: Cells) -> tuple[np.ndarray, np.ndarray]:
    """V2 / n: share of customers, and (mean treated - mean control among them) x that share."""
    n_t, n_c, *_ = (total[..., None] for total in cells.totals)
    x = (cells.n_t + cells.n_c) / (n_t + n_c)
    return x, (_ratio(cells.y_t, cells.n_t) - _ratio(cells.y_c, cells.n_c)) * x


def qini_counts(cells: Cells) -> tuple[np.ndarray, np.ndarray]:
    """V1 against the number of rows."""
    return cells.n_t + cells.n_c, cells.y_t - cells.y_c * _ratio(cells.n_t, cells.n_c)


def uplift_counts(cells: Cells) -> tuple[np.ndarray, np.ndarray]:
    """V2 against the number of rows."""
    x = cells.n_t + cells.n_c
    return x, (_ratio(cells.y_t, cells.n_t) - _ratio(cells.y_c, cells.n_c)) * x


def area(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Trapezoid area under the polyline from the origin through (x, y), [...]."""
    return _areas(x, y, np.float64(0.0))


def area_above_chord(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Area between the curve and the straight line to its end, [...]."""
    return _areas(x, y, np.float64(1.0))


def _areas(x: np.ndarray, y: np.ndarray, chord: np.float64) -> np.ndarray:
    x, y = np.broadcast_arrays(x, y)
    result: np.ndarray = polyline_areas(_flat(x), _flat(y), chord).reshape(x.shape[:-1])[()]
    return result


def _flat(sums: np.ndarray) -> np.ndarray:
    """[draw, group] of [..., group], for compiled passes."""
    return np.ascontiguousarray(sums, np.float64).reshape(-1, sums.shape[-1])


def gain_heights(cells: Cells, grid: np.ndarray) -> np.ndarray:
    """:func:`gain_curve` at rising shares `grid` [point], straight between groups, [..., point]."""
    return _heights(cells, grid, GAIN)


def lift_heights(cells: Cells, grid: np.ndarray) -> np.ndarray:
    """:func:`lift_curve` at rising shares `grid` [point], straight between groups, [..., point]."""
    return _heights(cells, grid, RUNNING_MEANS)


def _heights(cells: Cells, grid: np.ndarray, curve: int) -> np.ndarray:
    n_t, n_c, y_t, y_c = (_flat(part) for part in cells.arrays())
    result: np.ndarray = curve_heights(grid, n_t, n_c, y_t, y_c, curve).reshape(
        *cells.n_t.shape[:-1], len(grid)
    )
    return result


def qini_per_capita(cells: Cells) -> np.ndarray:
    """Area of V4 above its chord, in outcome units per customer. Random = 0."""
    return _above_chord(cells, GAIN)


def qini_sklift(cells: Cells) -> np.ndarray:
    """scikit-uplift's ``qini_auc_score``: area of V1 above its chord / the same for the realised optimum.

    Binary outcomes without weights. Random = 0, perfect = 1.
    """
    return _normalised(_above_chord(cells, RUNNING_RATIO), _above_chord(_perfect_qini(cells), RUNNING_RATIO))


def auuc_sklift(cells: Cells) -> np.ndarray:
    """scikit-uplift's ``uplift_auc_score``: area of V2 above its chord / the same for its own optimum.

    Binary outcomes without weights. Random = 0, perfect = 1.
    """
    return _normalised(
        _above_chord(cells, RUNNING_MEANS), _above_chord(_perfect_uplift(cells), RUNNING_MEANS)
    )


def uplift_at(cells: Cells, share: float) -> np.ndarray:
    """Mean treated minus mean control outcome in the top `share` of the joint ranking.

    The first floor(share x n) rows, as in scikit-uplift's ``uplift_at_k(strategy="overall")``; where that
    cuts a group of tied scores the group enters in proportion instead of by row order.

    Raises
    ------
    EvaluationError
        The top holds no treated or no control rows.
    """
    x = cells.n_t + cells.n_c
    total = x[..., -1:]
    # Whole rows when the counts are whole (no weights), a plain share otherwise.
    size = np.floor(share * total + 1e-9) if np.array_equal(total, np.round(total)) else share * total
    at = np.minimum(np.sum(x < size, axis=-1, keepdims=True), x.shape[-1] - 1)
    before_x = np.where(at > 0, np.take_along_axis(x, np.maximum(at - 1, 0), -1), 0.0)
    part = (size - before_x) / (np.take_along_axis(x, at, -1) - before_x)

    def top(sums: np.ndarray) -> np.ndarray:
        before = np.where(at > 0, np.take_along_axis(sums, np.maximum(at - 1, 0), -1), 0.0)
        result: np.ndarray = (before + part * (np.take_along_axis(sums, at, -1) - before))[..., 0]
        return result

    n_t, n_c, y_t, y_c = (top(sums) for sums in (cells.n_t, cells.n_c, cells.y_t, cells.y_c))
    defined = (n_t > 0) & (n_c > 0)
    if defined.ndim == 0 and not defined:
        empty = "treated" if n_t <= 0 else "control"
        raise EvaluationError(
            f"the top {share:.0%} of the ranking holds no {empty} rows; choose a larger share."
        )
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(defined, y_t / n_t - y_c / n_c, np.nan)[()]


def _above_chord(cells: Cells, curve: int) -> np.ndarray:
    """Area above the chord of one of the three curves, [...], without writing the curve down."""
    n_t, n_c, y_t, y_c = (_flat(part) for part in cells.arrays())
    result: np.ndarray = curve_areas(n_t, n_c, y_t, y_c, curve).reshape(cells.n_t.shape[:-1])[()]
    return result


def perfect_area(cells: Cells, metric: Literal["qini", "uplift"]) -> float:
    """Area above the chord of the realised optimum, by which scikit-uplift divides."""
    if metric == "qini":
        return float(_above_chord(_perfect_qini(cells), RUNNING_RATIO))
    return float(_above_chord(_perfect_uplift(cells), RUNNING_MEANS))


def _perfect_qini(cells: Cells) -> Cells:
    """Ranking by y t - y (1 - t): treated responders, then everybody without response, then control responders."""
    n_t, n_c, y_t, y_c = cells.totals
    return Cells(
        np.stack([y_t, n_t, n_t], -1), np.stack([0 * n_c, n_c - y_c, n_c], -1),
        np.stack([y_t, y_t, y_t], -1), np.stack([0 * y_c, 0 * y_c, y_c], -1),
    )  # fmt: skip


def _perfect_uplift(cells: Cells) -> Cells:
    """Ranking by 2 [y = t] + (y if control responders outnumber treated non-responders, else t)."""
    n_t, n_c, y_t, y_c = cells.totals
    zero_t, zero_c = 0 * n_t, 0 * n_c
    # Steps (treated, control, treated outcome, control outcome) in ranking order.
    first = (y_t, zero_c, y_t, zero_c)
    second = (zero_t, n_c - y_c, zero_t, zero_c)
    responders_c, others_t = (zero_t, y_c, zero_t, y_c), (n_t - y_t, zero_c, zero_t, zero_c)
    outnumbered = y_c > n_t - y_t
    third = tuple(np.where(outnumbered, a, b) for a, b in zip(responders_c, others_t, strict=True))
    fourth = tuple(np.where(outnumbered, b, a) for a, b in zip(responders_c, others_t, strict=True))
    steps = zip(first, second, third, fourth, strict=True)
    return Cells(*(np.cumsum(np.stack(step, -1), axis=-1) for step in steps))


def _normalised(actual: np.ndarray, perfect: np.ndarray) -> np.ndarray:
    if np.ndim(perfect) == 0 and perfect == 0:
        raise EvaluationError(
            "the outcome is constant, so even a perfect ranking gains nothing; the normalised metric is not defined."
        )
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(perfect == 0, np.nan, actual / perfect)[()]
