"""One arm against control at one stage: everything that is measured of a ranking of these rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from uplift.arms import VALUE_STAGE
from uplift.errors import EvaluationError
from uplift.metrics import inference, scores
from uplift.metrics.average import Comparison
from uplift.metrics.calibration import calibration_error, calibration_slope
from uplift.metrics.definitions import BINARY_ONLY, HEADLINE, uplift_at_id
from uplift.metrics.influence import placebo_error, rate_influence, standard_error
from uplift.metrics.ranking import Cells, Ranking
from uplift.metrics.toc import toc_with_band

CURVE_POINTS = 101
GROUPS = 10


@dataclass(frozen=True, eq=False, repr=False)
class Curve:
    """Curves of one model, stage and arm at plotting resolution, by descending predicted uplift.

    Attributes
    ----------
    share : ndarray [point]
        Share of customers treated, 0 to 1.
    gain, gain_low, gain_high : ndarray [point]
        V4, outcome gained per customer, and its pointwise band.
    lift, lift_low, lift_high : ndarray [point]
        V2 / n: mean difference among the treated share, times the share, and its pointwise band.
    toc, toc_low, toc_high : ndarray [point]
        Mean difference among the treated share less that among all, and its pointwise band; NaN where the share is too
        small to compare anything.

    Examples
    --------
    >>> import uplift
    >>> learn, test = uplift.simulate(rows=2_000, arms=1, chain=("buy",), seed=0).campaign().split(test=0.5)
    >>> effects = uplift.make_model("lightgbm_s", n_estimators=10).fit(learn).predict(test)
    >>> curve = uplift.evaluate(test, effects, draws=20).curves["lightgbm_s", "buy", "coupon_5"]
    >>> len(curve.share), float(curve.share[-1])
    (101, 1.0)
    """

    share: np.ndarray
    gain: np.ndarray
    gain_low: np.ndarray
    gain_high: np.ndarray
    lift: np.ndarray
    lift_low: np.ndarray
    lift_high: np.ndarray
    toc: np.ndarray
    toc_low: np.ndarray
    toc_high: np.ndarray

    def __repr__(self) -> str:
        best = int(np.argmax(self.gain))
        return (
            f"Curve({len(self.share)} points: gain {self.gain[-1]:.4g} per customer when all are treated, "
            f"most {self.gain[best]:.4g} when the best {self.share[best]:.0%} are)"
        )

    def _repr_html_(self) -> str:
        from uplift.reporting.notebook import curve_html

        return curve_html(self)


class Scored(NamedTuple):
    """What :meth:`ArmScores.score` finds.

    Attributes
    ----------
    rows : list of dict
        Metrics: metric, value, se, low, high.
    curve : Curve
    tenths : list of dict
        Predicted and observed effect by tenth of the ranking.
    missing : list of str
        What could not be computed, and why.
    influence : ndarray of float64 [row]
        Of every row on the headline.
    headline, placebo : float
        The headline, and its standard error if coupons did nothing.
    """

    rows: list[dict[str, Any]]
    curve: Curve
    tenths: list[dict[str, Any]]
    missing: list[str]
    influence: np.ndarray
    headline: float
    placebo: float


@dataclass(frozen=True, eq=False)
class ArmScores:
    """One arm against control at one stage: what all models share.

    Attributes
    ----------
    comparison : Comparison
        Rows, groups and weights.
    outcome : ndarray of float64 [row]
    stage, arm : str
    confidence, draws, top, random_state
        See :func:`uplift.metrics.evaluate`.
    baseline : ndarray of float64 [row], optional
        A prediction of the outcome that does not know the arm, taken off it before anything is averaged.
    """

    comparison: Comparison
    outcome: np.ndarray
    stage: str
    arm: str
    confidence: float
    draws: int
    top: tuple[float, ...]
    random_state: int
    baseline: np.ndarray | None = None

    @property
    def adjusted(self) -> np.ndarray:
        """The outcome less the baseline: of the same difference between the arms, with less noise."""
        return self.outcome if self.baseline is None else self.outcome - self.baseline

    def metrics(self, cells: Cells, raw: Cells) -> tuple[dict[str, np.ndarray], list[str]]:
        """All ranking metrics, [...] each; `raw` carries no weights (scikit-uplift knows none)."""
        found: dict[str, np.ndarray] = {}
        missing: list[str] = []
        wanted: list[tuple[str, Any]] = [(HEADLINE, lambda: scores.qini_per_capita(cells))]
        if self.stage != VALUE_STAGE:
            wanted += [
                ("qini_sklift", lambda: scores.qini_sklift(raw)),
                ("auuc_sklift", lambda: scores.auuc_sklift(raw)),
            ]
        wanted += [
            (uplift_at_id(share), lambda share=share: scores.uplift_at(cells, share)) for share in self.top
        ]
        for metric, compute in wanted:
            try:
                found[metric] = compute()
            except EvaluationError as error:
                missing.append(f"no {metric}: {error}")
        return found, missing

    def score(self, tau: np.ndarray, *, calibrated: bool) -> Scored:
        """Everything about one model's ranking of these rows by `tau` [row]."""
        comparison = self.comparison
        ranking = Ranking.build(tau, comparison.treated, self.adjusted, comparison.weight)
        plain = (
            ranking
            if ranking.weight is None and self.baseline is None
            else Ranking.build(tau, comparison.treated, self.outcome)
        )
        points, missing = self.metrics(ranking.cells, plain.cells)
        draws = self._resample(ranking)
        raw_draws = draws if plain is ranking else self._resample(plain)
        rows = []
        for metric, value in points.items():
            se = inference.spread(self._one(metric, draws, raw_draws), wanted=self.draws)
            if se == 0 and len(ranking.ends) > 1:
                se = np.nan  # not one outcome where the metric looks: no spread is not no error
            if np.isnan(se):
                missing.append(f"no interval for {metric}: too few rows or outcomes in one of the groups")
            rows.append(self._row(metric, float(value), se))
        autoc = rate_influence(ranking, "autoc")
        rows.append(self._row("autoc", autoc.value, self._error("autoc", autoc.rows, missing)))
        tenths = self._tenths(ranking, tau)
        if calibrated:
            rows.append(self._predicted(tau))
            rows += self._calibration(tau, tenths, missing)
        qini = rate_influence(ranking)
        return Scored(
            rows, self._curve(ranking, draws), tenths, missing, qini.rows, qini.value, placebo_error(ranking)
        )

    def _error(self, metric: str, influence: np.ndarray, missing: list[str]) -> float:
        """Standard error, NaN where there is not one outcome that could move the metric."""
        se = standard_error(influence, self.comparison.cluster)
        if se > 0:
            return se
        missing.append(f"no interval for {metric}: too few rows or outcomes in one of the groups")
        return float("nan")

    def _row(self, metric: str, value: float, se: float) -> dict[str, Any]:
        reach = inference.normal_quantile(self.confidence) * se
        return {"metric": metric, "value": value, "se": se, "low": value - reach, "high": value + reach}

    def _calibration(
        self, tau: np.ndarray, tenths: list[dict[str, Any]], missing: list[str]
    ) -> list[dict[str, Any]]:
        comparison = self.comparison
        try:
            slope = calibration_slope(tau, comparison.treated, self.adjusted, comparison.weight)
        except EvaluationError as error:
            missing.append(f"no calibration_slope: {error}")
            return []
        se = self._error("calibration_slope", slope.influence, missing)
        rows = [self._row("calibration_slope", slope.value, se)]
        if len(tenths) > 1:
            columns = {name: np.array([row[name] for row in tenths]) for name in tenths[0]}
            z = inference.normal_quantile(self.confidence)
            distance = calibration_error(
                columns["predicted"],
                columns["observed"],
                (columns["high"] - columns["low"]) / (2 * z),
                columns["rows"],
            )
            rows.append(self._row("calibration_error", distance, np.nan))
        return rows

    def _one(self, metric: str, draws: Cells, raw: Cells) -> np.ndarray:
        if metric == HEADLINE:
            return scores.qini_per_capita(draws)
        if metric in BINARY_ONLY:
            result: np.ndarray = getattr(scores, metric)(raw)
            return result
        share = next(share for share in self.top if uplift_at_id(share) == metric)
        return scores.uplift_at(draws, share)

    def _resample(self, ranking: Ranking) -> Cells:
        # The same seed for every model: their intervals differ by ranking, not by luck.
        rng = np.random.default_rng([self.random_state, 1])
        cuts = inference.slice_cuts(ranking)
        if self.comparison.cluster is not None:
            return inference.usable(
                inference.resample_clusters(ranking, cuts, self.comparison.cluster, draws=self.draws, rng=rng)
            )
        return inference.usable(inference.resample(ranking.moments(cuts), draws=self.draws, rng=rng))

    def _predicted(self, tau: np.ndarray) -> dict[str, Any]:
        w = np.ones(len(tau)) if self.comparison.weight is None else self.comparison.weight
        mean = float(np.sum(w * tau, dtype=np.float64) / np.sum(w))
        influence = w * (tau - mean) / np.sum(w)
        if self.comparison.cluster is not None:
            influence = np.bincount(self.comparison.cluster, influence)
        se = float(np.sqrt(np.sum(influence**2, dtype=np.float64)))
        return self._row("predicted_ate", mean, se)

    def _curve(self, ranking: Ranking, draws: Cells) -> Curve:
        grid = np.linspace(0, 1, CURVE_POINTS)
        z = inference.normal_quantile(self.confidence)
        parts: list[np.ndarray] = []
        for curve in (scores.gain_heights, scores.lift_heights):
            line = curve(ranking.cells, grid)
            se = curve(draws, grid).std(axis=0, ddof=1)
            parts += [line, line - z * se, line + z * se]
        parts += toc_with_band(ranking.cells, draws, grid, z)
        return Curve(grid, *parts)

    def _tenths(self, ranking: Ranking, tau: np.ndarray) -> list[dict[str, Any]]:
        cuts = ranking.cuts(GROUPS)
        m = ranking.moments(cuts)
        starts = np.append(0, cuts[:-1])
        ranked_tau = tau[ranking.order].astype(np.float64)
        z = inference.normal_quantile(self.confidence)
        rows = []
        for index, (start, end) in enumerate(zip(starts, cuts, strict=True)):
            arms = ranking.treated[start:end]
            if min(int(arms.sum()), len(arms) - int(arms.sum())) < 2:
                continue  # one row has no spread: no interval, so no bar
            mean = m.wy[:, index] / m.w[:, index]
            # Hajek variance of each arm's mean: sum w^2 (y - mean)^2 / (sum w)^2.
            spread = m.wwyy[:, index] - 2 * mean * m.wwy[:, index] + mean**2 * m.ww[:, index]
            se = float(np.sqrt(np.sum(np.maximum(spread, 0) / m.w[:, index] ** 2)))
            observed = float(mean[1] - mean[0])
            rows.append({
                "group": index + 1, "rows": int(end - start), "predicted": float(ranked_tau[start:end].mean()),
                "observed": observed, "low": observed - z * se, "high": observed + z * se,
            })  # fmt: skip
        return rows

    def references(self, ate: float) -> list[dict[str, Any]]:
        treated = self.comparison.treated
        signed = np.where(treated, self.outcome, -self.outcome)
        best = Ranking.build(signed, treated, self.outcome, self.comparison.weight)
        rows = [{"metric": HEADLINE, "random": 0.0, "perfect": float(scores.qini_per_capita(best.cells))}]
        if self.stage != VALUE_STAGE:
            rows += [{"metric": metric, "random": 0.0, "perfect": 1.0} for metric in BINARY_ONLY]
        rows += [{"metric": uplift_at_id(share), "random": ate, "perfect": np.nan} for share in self.top]
        return [{"stage": self.stage, "arm": self.arm, **row} for row in rows]
