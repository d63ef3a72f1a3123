"""Evaluation: several models side by side on one campaign's test rows, every number with its interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from uplift.arms import VALUE_STAGE
from uplift.campaign import Campaign
from uplift.effects import Effects
from uplift.errors import EvaluationError, did_you_mean
from uplift.metrics import inference, scores
from uplift.metrics.average import Comparison, arm_mean, compare, difference_in_means
from uplift.metrics.definitions import BINARY_ONLY, HEADLINE, describe, uplift_at_id
from uplift.metrics.ranking import Cells, Ranking

if TYPE_CHECKING:
    import plotly.graph_objects as go

CURVE_POINTS = 101
GROUPS = 10
TOP_SHARES = (0.1, 0.3)


@dataclass(frozen=True, eq=False)
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
    """

    share: np.ndarray
    gain: np.ndarray
    gain_low: np.ndarray
    gain_high: np.ndarray
    lift: np.ndarray
    lift_low: np.ndarray
    lift_high: np.ndarray


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Scores of several models on the same rows.

    Attributes
    ----------
    campaign : dict
        :meth:`Campaign.summary` of the evaluated rows.
    models, arms, stages : tuple of str
        Models in the order given; arms with control first.
    uncalibrated : tuple of str
        Models whose tau only ranks (references).
    confidence : float
        Level of every interval.
    ate : DataFrame
        One row per stage and treated arm: value, se, low, high, adjusted (see :class:`Comparison`).
    rates : DataFrame
        One row per stage and arm (control included): mean outcome, low, high, rows.
    scores : DataFrame
        Tidy: model, stage, arm, metric, value, se, low, high.
    references : DataFrame
        Per stage, arm and metric: value of a random and of a perfect ranking.
    groups : DataFrame
        Per model, stage, arm and tenth of the ranking: predicted and observed effect with interval.
    curves : dict of (model, stage, arm) to Curve
    notes : tuple of str
        What could not be computed, and why.
    """

    campaign: dict[str, Any]
    models: tuple[str, ...]
    arms: tuple[str, ...]
    stages: tuple[str, ...]
    uncalibrated: tuple[str, ...]
    confidence: float
    ate: pd.DataFrame
    rates: pd.DataFrame
    scores: pd.DataFrame
    references: pd.DataFrame
    groups: pd.DataFrame
    curves: dict[tuple[str, str, str], Curve] = field(repr=False)
    notes: tuple[str, ...] = ()

    def score(self, model: str, stage: str, arm: str, metric: str = HEADLINE) -> pd.Series:
        """One row of :attr:`scores`.

        Raises
        ------
        EvaluationError
            Unknown model, stage, arm or metric.
        """
        rows = self.scores
        for column, wanted in (
            ("model", model),
            ("stage", self._stage(stage)),
            ("arm", arm),
            ("metric", metric),
        ):
            if not (rows[column] == wanted).any():
                raise EvaluationError(
                    f"there is no {column} {wanted!r}; {did_you_mean(wanted, rows[column].unique())}"
                )
            rows = rows[rows[column] == wanted]
        return rows.iloc[0]

    def best(self, stage: str, *, metric: str = HEADLINE, calibrated_only: bool = True) -> str:
        """Model with the highest mean of `metric` over the arms at `stage` (used only to choose)."""
        rows = self.scores[(self.scores["stage"] == stage) & (self.scores["metric"] == metric)]
        if calibrated_only:
            rows = rows[~rows["model"].isin(self.uncalibrated)]
        if rows.empty:
            raise EvaluationError(
                f"no model has {metric!r} at stage {stage!r}; fit at least one model that is not a reference."
            )
        means = rows.groupby("model", sort=False)["value"].mean()
        return str(means.idxmax())

    def to_metrics(self) -> dict[str, Any]:
        """The content of ``metrics.json``: plain JSON types, schema version 1."""

        def cell(row: Any) -> dict[str, float | None]:
            numbers = {"value": float(row.value), "low": float(row.low), "high": float(row.high)}
            return {key: None if np.isnan(number) else number for key, number in numbers.items()}

        ate: dict[str, Any] = {}
        row: Any
        for row in self.ate.itertuples(index=False):
            ate.setdefault(row.stage, {})[row.arm] = cell(row)
        models: dict[str, Any] = {}
        for row in self.scores.itertuples(index=False):
            models.setdefault(row.model, {}).setdefault(row.stage, {}).setdefault(row.arm, {})[row.metric] = (
                cell(row)
            )
        values: dict[str, Any] = {}
        for row in self.references.itertuples(index=False):
            bounds = {
                "random": float(row.random),
                "perfect": None if np.isnan(row.perfect) else float(row.perfect),
            }
            values.setdefault(row.stage, {}).setdefault(row.arm, {})[row.metric] = bounds
        ids = ["ate", *dict.fromkeys(self.scores["metric"])]
        return {
            "schema_version": 1,
            "confidence": self.confidence,
            "ate": ate,
            "models": models,
            "references": {
                "uncalibrated_models": list(self.uncalibrated),
                "definitions": {
                    name: {"title": d.title, "formula": d.formula, "unit": d.unit, "source": d.source}
                    for name, d in ((name, describe(name)) for name in ids)
                },
                "values": values,
            },
            "notes": list(self.notes),
        }

    def plot_qini(self, stage: str | None = None, arm: str | None = None) -> go.Figure:
        """Qini curves (V4, per customer) of all models with bands; default the last binary stage, first arm."""
        from uplift.reporting.figures import qini_figure

        return qini_figure(self, self._stage(stage), arm or self.arms[1])

    def plot_uplift(self, stage: str | None = None, arm: str | None = None) -> go.Figure:
        """Uplift curves (V2 / n) of all models with bands; default the last binary stage, first arm."""
        from uplift.reporting.figures import uplift_figure

        return uplift_figure(self, self._stage(stage), arm or self.arms[1])

    def _stage(self, stage: str | None) -> str:
        """A stage by name; the value column's own name means "value", None the last binary stage."""
        if stage is None:
            return [name for name in self.stages if name != VALUE_STAGE][-1]
        return VALUE_STAGE if stage == self.campaign["value"] and stage not in self.stages else stage

    def __repr__(self) -> str:
        return f"Evaluation({len(self.models)} models on {self.campaign['rows']:,} rows, stages {' -> '.join(self.stages)})"


def evaluate(
    campaign: Campaign,
    effects: Effects | Mapping[str, Effects],
    *,
    confidence: float = 0.95,
    draws: int = 400,
    top: Sequence[float] = TOP_SHARES,
    random_state: int = 0,
) -> Evaluation:
    """Score predicted effects against the outcomes of a randomised campaign.

    Every treated arm is compared with control at every stage, in the entire space: conversion per assigned
    customer, not per click. Rankings are by descending tau of that arm and stage.

    Parameters
    ----------
    campaign : Campaign
        Test rows: not used to fit or to choose the models.
    effects : Effects or mapping of name to Effects
        Predictions for exactly these rows, in the same order.
    confidence : float
        Level of intervals and bands, in (0, 1).
    draws : int
        Resamples for intervals and bands (Poisson bootstrap of rows, or of units when they repeat).
    top : sequence of float
        Shares for uplift@k, each in (0, 1].
    random_state : int
        Seed of the resampling.

    Returns
    -------
    Evaluation

    Raises
    ------
    EvaluationError
        Effects do not belong to these rows, an arm has no rows, or parameters are out of range.
    """
    named = {effects.model: effects} if isinstance(effects, Effects) else dict(effects)
    if not named:
        raise EvaluationError("there are no effects to evaluate; pass the predictions of at least one model.")
    if not 0 < confidence < 1 or draws < 20 or not all(0 < share <= 1 for share in top):
        raise EvaluationError(
            f"confidence ({confidence}) and top shares ({tuple(top)}) must lie in (0, 1), and draws ({draws}) be at least 20."
        )
    for name, one in named.items():
        _check_fit(campaign, name, one)

    ate, rates, table, references, groups, notes = [], [], [], [], [], []
    curves: dict[tuple[str, str, str], Curve] = {}
    for stage in campaign.stages:
        for arm in campaign.arm_names:
            mean = arm_mean(campaign, arm, stage, confidence=confidence)
            rows = int((campaign.arm_codes == campaign.arm_index(arm)).sum())
            rates.append(
                {
                    "stage": stage,
                    "arm": arm,
                    "value": mean.value,
                    "low": mean.low,
                    "high": mean.high,
                    "rows": rows,
                }
            )
    for arm in campaign.arm_names[1:]:
        comparison = compare(campaign, arm)
        for stage in campaign.stages:
            outcome = campaign.outcome(stage)[comparison.rows].astype(np.float64)
            estimate = difference_in_means(comparison, outcome, confidence=confidence)
            ate.append({"stage": stage, "arm": arm, **vars(estimate), "adjusted": comparison.adjusted})
            pair = _Pair(comparison, outcome, stage, arm, confidence, draws, tuple(top), random_state)
            references += pair.references(estimate.value)
            for name, one in named.items():
                tau = one.tau(stage, arm)[comparison.rows]
                found, curve, tenths, missing = pair.score(tau, calibrated=one.calibrated)
                table += [{"model": name, "stage": stage, "arm": arm, **row} for row in found]
                groups += [{"model": name, "stage": stage, "arm": arm, **row} for row in tenths]
                notes += [f"{name}, {stage}, {arm}: {reason}" for reason in missing]
                curves[name, stage, arm] = curve
    # Row order: stage, then arm, as everywhere.
    order = {stage: position for position, stage in enumerate(campaign.stages)}
    frame = pd.DataFrame(ate).sort_values(
        "stage", key=lambda s: s.map(order), kind="stable", ignore_index=True
    )
    return Evaluation(
        campaign=campaign.summary(),
        models=tuple(named),
        arms=campaign.arm_names,
        stages=campaign.stages,
        uncalibrated=tuple(name for name, one in named.items() if not one.calibrated),
        confidence=confidence,
        ate=frame,
        rates=pd.DataFrame(rates),
        scores=pd.DataFrame(table),
        references=pd.DataFrame(references),
        groups=pd.DataFrame(groups),
        curves=curves,
        notes=tuple(dict.fromkeys(notes)),
    )


@dataclass(frozen=True, eq=False)
class _Pair:
    """One arm against control at one stage: what all models share."""

    comparison: Comparison
    outcome: np.ndarray
    stage: str
    arm: str
    confidence: float
    draws: int
    top: tuple[float, ...]
    random_state: int

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

    def score(self, tau: np.ndarray, *, calibrated: bool) -> tuple[list[dict], Curve, list[dict], list[str]]:
        ranking = Ranking.build(tau, self.comparison.treated, self.outcome, self.comparison.weight)
        plain = (
            ranking if ranking.weight is None else Ranking.build(tau, self.comparison.treated, self.outcome)
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
            reach = inference.normal_quantile(self.confidence) * se
            rows.append(
                {
                    "metric": metric,
                    "value": float(value),
                    "se": se,
                    "low": value - reach,
                    "high": value + reach,
                }
            )
        if calibrated:
            rows.append(self._predicted(tau))
        return rows, self._curve(ranking, draws), self._tenths(ranking, tau), missing

    def _one(self, metric: str, draws: Cells, raw: Cells) -> np.ndarray:
        if metric == HEADLINE:
            return scores.qini_per_capita(draws)
        if metric in BINARY_ONLY:
            return getattr(scores, metric)(raw)
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
        reach = inference.normal_quantile(self.confidence) * se
        return {"metric": "predicted_ate", "value": mean, "se": se, "low": mean - reach, "high": mean + reach}

    def _curve(self, ranking: Ranking, draws: Cells) -> Curve:
        grid = np.linspace(0, 1, CURVE_POINTS)
        z = inference.normal_quantile(self.confidence)
        parts: list[np.ndarray] = []
        for curve in (scores.gain_curve, scores.lift_curve):
            x, y = curve(ranking.cells)
            line = np.interp(grid, np.append(0.0, x), np.append(0.0, y))
            xs, ys = curve(draws)
            se = np.array([
                np.interp(grid, np.append(0.0, a), np.append(0.0, b)) for a, b in zip(xs, ys, strict=True)
            ]).std(axis=0, ddof=1)  # fmt: skip
            parts += [line, line - z * se, line + z * se]
        return Curve(grid, *parts)

    def _tenths(self, ranking: Ranking, tau: np.ndarray) -> list[dict]:
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

    def references(self, ate: float) -> list[dict]:
        treated = self.comparison.treated
        signed = np.where(treated, self.outcome, -self.outcome)
        best = Ranking.build(signed, treated, self.outcome, self.comparison.weight)
        rows = [{"metric": HEADLINE, "random": 0.0, "perfect": float(scores.qini_per_capita(best.cells))}]
        if self.stage != VALUE_STAGE:
            rows += [{"metric": metric, "random": 0.0, "perfect": 1.0} for metric in BINARY_ONLY]
        rows += [{"metric": uplift_at_id(share), "random": ate, "perfect": np.nan} for share in self.top]
        return [{"stage": self.stage, "arm": self.arm, **row} for row in rows]


def _check_fit(campaign: Campaign, name: str, effects: Effects) -> None:
    if len(effects) != campaign.n_rows:
        raise EvaluationError(
            f"the effects of {name!r} cover {len(effects):,} rows, the campaign has {campaign.n_rows:,}; predict on these rows."
        )
    if effects.arms != campaign.arm_names:
        raise EvaluationError(
            f"the effects of {name!r} are for the arms {', '.join(effects.arms)}, the campaign has {', '.join(campaign.arm_names)}."
        )
    if effects.stages != campaign.stages:
        raise EvaluationError(
            f"the effects of {name!r} are for the stages {' -> '.join(effects.stages)}, the campaign has {' -> '.join(campaign.stages)}."
        )
    if not effects.units.cast(campaign.unit_ids.type, safe=False).equals(campaign.unit_ids):
        raise EvaluationError(
            f"the effects of {name!r} are for other units or in another order than the campaign's rows; predict on these rows."
        )
