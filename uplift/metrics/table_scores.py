"""Everything that is measured of a ranking, from its table alone: values, standard errors, curves, binning errors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from uplift.arms import VALUE_STAGE
from uplift.errors import EvaluationError
from uplift.metrics import inference, scores
from uplift.metrics.arm_scores import CURVE_POINTS, GROUPS, Curve
from uplift.metrics.average import Estimate
from uplift.metrics.binning_error import binning_error
from uplift.metrics.calibration import calibration_error
from uplift.metrics.definitions import HEADLINE, uplift_at_id
from uplift.metrics.influence import Weighting
from uplift.metrics.ranking import Cells, Moments
from uplift.metrics.rate_heights import rate_heights
from uplift.metrics.score_groups import ROWS, WW, WWY, WWYY, WX, WY, WYY, W, X
from uplift.metrics.score_table import ScoreTable
from uplift.metrics.toc import toc_with_band


class TableScored(NamedTuple):
    """What :meth:`TableScores.score` finds.

    Attributes
    ----------
    rows : list of dict
        Metrics: metric, value, se, low, high, binning_error.
    curve : Curve
    tenths : list of dict
        Predicted and observed effect by tenth of the ranking.
    missing : list of str
        What could not be computed, and why.
    headline, placebo, off : float
        The headline, its standard error if coupons did nothing, and its binning error.
    """

    rows: list[dict[str, Any]]
    curve: Curve
    tenths: list[dict[str, Any]]
    missing: list[str]
    headline: float
    placebo: float
    off: float


def average_effect(table: ScoreTable, *, confidence: float = 0.95) -> Estimate:
    """Mean of the arm less that of control, with the error of :func:`uplift.metrics.average.difference_in_means`.

    Scores play no part. Unweighted this is Neyman's estimator, with weights Hajek's.
    """
    sums = table.sums.sum(axis=-1)
    mean = sums[WY] / sums[W]
    count = sums[ROWS]
    spread = sums[WWYY] - 2 * mean * sums[WWY] + np.square(mean) * sums[WW]
    variance = np.maximum(spread, 0) / np.square(sums[W]) * count / np.maximum(count - 1, 1)
    return Estimate.normal(mean[1] - mean[0], float(np.sqrt(variance.sum())), confidence)


def rate(table: ScoreTable, weighting: Weighting) -> tuple[float, float]:
    """R_h of :mod:`uplift.metrics.influence` and its standard error (rows independent)."""
    value, means, height, moved = rate_heights(*table.cells.arrays(), weighting == "autoc")
    totals = table.sums[W].sum(axis=-1)
    shift = moved / totals.sum()
    square = 0.0
    for arm, sign in ((0, -1.0), (1, 1.0)):
        # psi = w (slope y + constant): its square is a sum of the moments of w y.
        slope = sign / totals[arm] * height
        constant = shift - sign / totals[arm] * means[arm]
        ww, wwy, wwyy = (table.sums[kind, arm] for kind in (WW, WWY, WWYY))
        square += float(np.sum(wwyy * slope**2 + 2 * wwy * slope * constant + ww * constant**2))
    return float(value), float(np.sqrt(max(square, 0.0)))


def slope(table: ScoreTable) -> tuple[float, float]:
    """Calibration slope and its standard error; within a bin every prediction counts as the mean of the bin.

    Raises
    ------
    EvaluationError
        All predictions are the same.
    """
    s, x = table.sums, table.predicted
    totals = s[W].sum(axis=-1)
    mass = totals.sum()
    mean = float(s[W].sum(axis=0) @ x) / mass
    x_mean = s[W] @ x / totals
    y_mean = s[WY].sum(axis=-1) / totals
    spread = float(s[W].sum(axis=0) @ np.square(x - mean)) / mass
    if not spread > 1e-24 * max(1.0, float(np.square(x).max(initial=0.0))):
        raise EvaluationError("all predicted effects are the same, so that a slope is not defined.")
    away = x - x_mean[:, None]
    covariance = np.sum(away * (s[WY] - y_mean[:, None] * s[W]), axis=-1) / totals
    value = (covariance[1] - covariance[0]) / spread
    below = value * (np.square(x - mean) - spread) / mass
    square = 0.0
    for arm, sign in ((0, -1.0), (1, 1.0)):
        # psi = w (a (y - mean) - b) / spread with a = +- (x - mean) / n_arm.
        a = sign / totals[arm] * away[arm]
        b = sign / totals[arm] * covariance[arm] + below + a * y_mean[arm]
        square += float(np.sum(s[WWYY, arm] * a**2 - 2 * s[WWY, arm] * a * b + s[WW, arm] * b**2))
    return float(value), float(np.sqrt(max(square, 0.0))) / spread


def placebo_error(table: ScoreTable) -> float:
    """As :func:`uplift.metrics.influence.placebo_error`, of the table."""
    s, cells = table.sums, table.cells
    mass = cells.n_t + cells.n_c
    height = 0.5 - 0.5 / mass[-1] * (mass + np.append(0.0, mass[:-1]))
    mean = float(s[WY].sum(axis=0) @ height) / mass[-1]
    n = table.n_rows
    variance = (float(s[WYY].sum(axis=0) @ height**2) / mass[-1] - mean**2) * n / max(n - 1, 1)
    return float(np.sqrt(max(variance, 0.0) * np.sum(s[WW].sum(-1) / np.square(s[W].sum(-1)))))


@dataclass(frozen=True)
class TableScores:
    """How tables are scored; the parameters are those of :func:`uplift.metrics.evaluate`."""

    stage: str
    confidence: float
    draws: int
    top: tuple[float, ...]
    random_state: int

    def score(self, table: ScoreTable, *, calibrated: bool, weighted: bool) -> TableScored:
        """All metrics of one ranking.

        Parameters
        ----------
        table : ScoreTable
        calibrated : bool
            Whether scores are effects, or only rank.
        weighted : bool
            Whether rows have weights, which scikit-uplift's metrics do not know.
        """
        missing: list[str] = []
        cuts = table.cuts(int(np.clip(table.n_rows // inference.ROWS_PER_SLICE, 10, inference.MAX_SLICES)))
        draws = self._resampled(table.moments(cuts))
        raw_draws = draws
        if weighted and self.stage != VALUE_STAGE:
            raw_draws = self._resampled(table.raw_moments(cuts))
        rows = []
        for metric, compute in self._wanted():
            raw = metric.endswith("_sklift")
            try:
                value = float(compute(table.raw_cells if raw else table.cells))
            except EvaluationError as refused:
                missing.append(f"no {metric}: {refused}")
                continue
            se = inference.spread(compute(raw_draws if raw else draws), wanted=self.draws)
            if se == 0 and len(table) > 1:
                se = float("nan")  # not one outcome where the metric looks: no spread is not no error
            rows.append(self._row(metric, value, se, missing, self._off(table, metric)))
        value, se = rate(table, "autoc")
        off = binning_error(table, "autoc")
        rows.append(self._row("autoc", value, se if se > 0 else float("nan"), missing, off))
        tenths = self._tenths(table)
        if calibrated:
            rows.append(self._predicted(table))
            try:
                value, se = slope(table)
            except EvaluationError as refused:
                missing.append(f"no calibration_slope: {refused}")
            else:
                rows.append(self._row("calibration_slope", value, se if se > 0 else float("nan"), missing))
                if len(tenths) > 1:
                    rows.append(self._distance(tenths))
        curve, headline = self._curve(table.cells, draws), float(scores.qini_per_capita(table.cells))
        off = binning_error(table, HEADLINE)
        return TableScored(rows, curve, tenths, missing, headline, placebo_error(table), off)

    def _wanted(self) -> list[tuple[str, Callable[[Cells], np.ndarray]]]:
        wanted: list[tuple[str, Callable[[Cells], np.ndarray]]] = [(HEADLINE, scores.qini_per_capita)]
        if self.stage != VALUE_STAGE:
            wanted += [("qini_sklift", scores.qini_sklift), ("auuc_sklift", scores.auuc_sklift)]
        return wanted + [(uplift_at_id(share), partial(scores.uplift_at, share=share)) for share in self.top]

    def _off(self, table: ScoreTable, metric: str) -> float:
        for share in self.top:
            if metric == uplift_at_id(share):
                return binning_error(table, "uplift_at", share)
        return binning_error(table, metric)

    def _row(
        self, metric: str, value: float, se: float, missing: list[str], off: float = float("nan")
    ) -> dict[str, Any]:
        if np.isnan(se):
            missing.append(f"no interval for {metric}: too few rows or outcomes in one of the groups")
        reach = inference.normal_quantile(self.confidence) * se
        row = {"metric": metric, "value": value, "se": se, "low": value - reach, "high": value + reach}
        return row | {"binning_error": off}

    def _resampled(self, moments: Moments) -> Cells:
        # The same seed as in memory: the same numbers, where there are no bins.
        rng = np.random.default_rng([self.random_state, 1])
        return inference.usable(inference.resample(moments, draws=self.draws, rng=rng))

    def _predicted(self, table: ScoreTable) -> dict[str, Any]:
        s, x = table.sums, table.predicted
        mass = float(s[W].sum())
        mean = float(s[WX].sum()) / mass
        # Within a bin all count as its mean, whose square misses the spread inside: less than the width of a bin.
        se = float(np.sqrt(s[WW].sum(axis=0) @ np.square(x - mean))) / mass
        return self._row("predicted_ate", mean, se, [], 0.0)

    def _distance(self, tenths: list[dict[str, Any]]) -> dict[str, Any]:
        columns = {name: np.array([row[name] for row in tenths]) for name in tenths[0]}
        error = (columns["high"] - columns["low"]) / (2 * inference.normal_quantile(self.confidence))
        distance = calibration_error(columns["predicted"], columns["observed"], error, columns["rows"])
        return self._row("calibration_error", distance, float("nan"), [])

    def _curve(self, cells: Cells, draws: Cells) -> Curve:
        grid = np.linspace(0, 1, CURVE_POINTS)
        z = inference.normal_quantile(self.confidence)
        parts: list[np.ndarray] = []
        for curve in (scores.gain_heights, scores.lift_heights):
            line = curve(cells, grid)
            se = curve(draws, grid).std(axis=0, ddof=1)
            parts += [line, line - z * se, line + z * se]
        parts += toc_with_band(cells, draws, grid, z)
        return Curve(grid, *parts)

    def _tenths(self, table: ScoreTable) -> list[dict[str, Any]]:
        z = inference.normal_quantile(self.confidence)
        slices = table.slices(table.cuts(GROUPS))
        rows = []
        for index in range(slices.shape[-1]):
            s = slices[:, :, index]
            if s[ROWS].min() < 2:
                continue  # one row has no spread: no interval, so no bar
            mean = s[WY] / s[W]
            # Hajek variance of each arm's mean: sum w^2 (y - mean)^2 / (sum w)^2.
            spread = s[WWYY] - 2 * mean * s[WWY] + np.square(mean) * s[WW]
            se = float(np.sqrt(np.sum(np.maximum(spread, 0) / np.square(s[W]))))
            observed = float(mean[1] - mean[0])
            rows.append({
                "group": index + 1, "rows": int(s[ROWS].sum()), "predicted": float(s[X].sum() / s[ROWS].sum()),
                "observed": observed, "low": observed - z * se, "high": observed + z * se,
            })  # fmt: skip
        return rows
