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
from uplift.metrics.arm_scores import ArmScores, Curve
from uplift.metrics.average import Comparison, arm_mean, compare, difference_in_means
from uplift.metrics.chain import CHAIN_COLUMNS, chain_decomposition
from uplift.metrics.definitions import HEADLINE, describe
from uplift.metrics.effect_rows import other_stages
from uplift.metrics.paired import DIFFERENCE_COLUMNS, paired_differences, placebo_ranges
from uplift.propensity import arm_propensities

if TYPE_CHECKING:
    import plotly.graph_objects as go

TOP_SHARES = (0.1, 0.3)


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
    differences : DataFrame
        Per stage and arm, and every two models: how much more the headline of `model` is than that of `other` (value,
        se, low, high, p), from the same rows: paired, so that luck with these rows cancels.
    placebo : DataFrame
        Per model, stage and arm: range (low, high) in which the headline would lie if coupons did nothing, its
        standard error se, and p, the probability of one as far from 0 as the one found.
    curves : dict of (model, stage, arm) to Curve
    chain : DataFrame
        Per treated arm and stage: the part of the effect that every step of the chain contributes, with its interval (see
        :func:`uplift.metrics.chain.chain_decomposition`).
    notes : tuple of str
        What could not be computed, and why.
    baseline : str or None
        Model whose predictions made all curves and metrics doubly robust; None: they rest on weighting alone.

    Examples
    --------
    >>> import uplift
    >>> learn, test = uplift.simulate(rows=2_000, arms=1, chain=("buy",), seed=0).campaign().split(test=0.5)
    >>> effects = uplift.make_model("lightgbm_s", n_estimators=10).fit(learn).predict(test)
    >>> evaluation = uplift.evaluate(test, effects, draws=20)
    >>> evaluation.models, evaluation.stages
    (('lightgbm_s',), ('buy', 'value'))
    >>> sorted(evaluation.score("lightgbm_s", "buy", "coupon_5").index)
    ['arm', 'high', 'low', 'metric', 'model', 'se', 'stage', 'value']
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
    differences: pd.DataFrame
    placebo: pd.DataFrame
    curves: dict[tuple[str, str, str], Curve] = field(repr=False)
    chain: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=list(CHAIN_COLUMNS)))
    notes: tuple[str, ...] = ()
    baseline: str | None = None

    def score(self, model: str, stage: str, arm: str, metric: str = HEADLINE) -> pd.Series:
        """One row of :attr:`scores`.

        Parameters
        ----------
        model, stage, arm : str
        metric : str
            Definition id.

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
        """Model with the highest mean of `metric` over the arms at `stage` (used only to choose).

        Parameters
        ----------
        stage : str
        metric : str
            Definition id.
        calibrated_only : bool
            Leave out models that only rank.
        """
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
                "baseline": self.baseline,
                "definitions": {
                    name: {"title": d.title, "formula": d.formula, "unit": d.unit, "source": d.source}
                    for name, d in ((name, describe(name)) for name in ids)
                },
                "values": values,
            },
            "differences": _records(self.differences),
            "placebo": _records(self.placebo),
            "chain": _records(self.chain),
            "notes": list(self.notes),
        }

    def difference(self, model: str, other: str, stage: str, arm: str) -> pd.Series:
        """How much more the headline of `model` is than that of `other`, paired: value, se, low, high, p.

        Raises
        ------
        EvaluationError
            Unknown model, stage or arm, or the same model twice.
        """
        rows = self.differences
        if model == other:
            raise EvaluationError(f"{model!r} is compared with itself; give two models.")
        for name in (model, other):
            if name not in self.models:
                raise EvaluationError(f"there is no model {name!r}; {did_you_mean(name, self.models)}")
        rows = rows[(rows["stage"] == self._stage(stage)) & (rows["arm"] == arm)]
        if rows.empty:
            raise EvaluationError(
                f"there is no stage {stage!r} with arm {arm!r}; the stages are {', '.join(self.stages)} and the arms {', '.join(self.arms[1:])}."
            )
        found = rows[(rows["model"] == model) & (rows["other"] == other)]
        if not found.empty:
            return found.iloc[0]
        turned = rows[(rows["model"] == other) & (rows["other"] == model)].iloc[0].copy()
        turned[["model", "other"]] = model, other
        turned["value"], turned["low"], turned["high"] = -turned["value"], -turned["high"], -turned["low"]
        return turned

    def plot_qini(self, stage: str | None = None, arm: str | None = None) -> go.Figure:
        """Qini curves (V4, per customer) of all models with bands; default the last binary stage, first arm.

        Parameters
        ----------
        stage, arm : str, optional
        """
        from uplift.reporting.figures import qini_figure

        return qini_figure(self, self._stage(stage), arm or self.arms[1])

    def plot_uplift(self, stage: str | None = None, arm: str | None = None) -> go.Figure:
        """Uplift curves (V2 / n) of all models with bands; default the last binary stage, first arm.

        Parameters
        ----------
        stage, arm : str, optional
        """
        from uplift.reporting.figures import uplift_figure

        return uplift_figure(self, self._stage(stage), arm or self.arms[1])

    def plot_toc(self, stage: str | None = None, arm: str | None = None) -> go.Figure:
        """TOC curves (effect among the first customers less that of all) with bands; defaults as above.

        Parameters
        ----------
        stage, arm : str, optional
        """
        from uplift.reporting.figures import toc_figure

        return toc_figure(self, self._stage(stage), arm or self.arms[1])

    def plot_deciles(
        self, model: str | None = None, stage: str | None = None, arm: str | None = None
    ) -> go.Figure:
        """Predicted against observed effect by tenth of the ranking; default the best model at the stage.

        Parameters
        ----------
        model, stage, arm : str, optional
        """
        from uplift.reporting.figures import deciles_figure

        stage = self._stage(stage)
        return deciles_figure(self, model or self.best(stage), stage, arm or self.arms[1])

    def plot_calibration(
        self, model: str | None = None, stage: str | None = None, arm: str | None = None
    ) -> go.Figure:
        """Observed against predicted effect with slope and error; default the best model at the stage.

        Parameters
        ----------
        model, stage, arm : str, optional
        """
        from uplift.reporting.figures import calibration_figure

        stage = self._stage(stage)
        return calibration_figure(self, model or self.best(stage), stage, arm or self.arms[1])

    def plot_scores(
        self, stage: str | None = None, arm: str | None = None, metric: str = HEADLINE
    ) -> go.Figure:
        """One metric of every model with its interval.

        Parameters
        ----------
        stage, arm : str, optional
        metric : str
            Definition id.
        """
        from uplift.reporting.figures import scores_figure

        return scores_figure(self, self._stage(stage), arm or self.arms[1], metric)

    def plot_effects(self, *, relative: bool = False) -> go.Figure:
        """Average effect of every arm at every stage with its interval; without the value unless `relative`."""
        from uplift.reporting.figures import effects_figure

        return effects_figure(self, relative=relative)

    def plot_funnel(self) -> go.Figure:
        """Share of customers that reach each stage, per arm."""
        from uplift.reporting.figures import funnel_figure

        return funnel_figure(self)

    def _repr_html_(self) -> str:
        from uplift.reporting.notebook import evaluation_html

        return evaluation_html(self)

    def _stage(self, stage: str | None) -> str:
        """A stage by name; the value column's own name means "value", None the last binary stage."""
        if stage is None:
            return [name for name in self.stages if name != VALUE_STAGE][-1]
        return VALUE_STAGE if stage == self.campaign["value"] and stage not in self.stages else stage

    def __repr__(self) -> str:
        stage, arm = self._stage(None), self.arms[1]
        shown = []
        for model in self.models[:3]:
            score = self.score(model, stage, arm)
            shown.append(f"{model} {score['value']:.3g} [{score['low']:.3g}, {score['high']:.3g}]")
        more = f", {len(self.models) - 3} more" if len(self.models) > 3 else ""
        return (
            f"Evaluation({self.campaign['rows']:,} rows, stages {' -> '.join(self.stages)}; "
            f"{HEADLINE} of {arm} at {stage}: {', '.join(shown)}{more})"
        )


def evaluate(
    campaign: Campaign,
    effects: Effects | Mapping[str, Effects],
    *,
    confidence: float = 0.95,
    draws: int = 400,
    top: Sequence[float] = TOP_SHARES,
    random_state: int = 0,
    baseline: Effects | None = None,
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
    baseline : Effects, optional
        Predictions for these rows of any model that did not learn from them: makes curves and metrics doubly robust. What
        they say about the outcome, whatever the arm, ``(1 - p) mu_arm + p mu_control`` with p the probability of the arm
        (of the two compared, within the stratum or by the propensity where these are given), is taken off it first; the
        weighted outcome is then the augmented inverse propensity score (AIPW). In a randomised campaign this moves no
        metric on average, however wrong the predictions are, and narrows the intervals by as much as they explain of the
        outcome. In observational data it removes the confounding that the predictions understand where the propensities
        do not, and the other way round. The metrics of scikit-uplift, which are for 0/1 outcomes, stay as they are.

    Returns
    -------
    Evaluation

    Raises
    ------
    EvaluationError
        Effects do not belong to these rows, an arm has no rows, or parameters are out of range.

    Examples
    --------
    >>> from uplift import make_model, simulate
    >>> train, test = simulate(rows=2_000, arms=1, chain=["buy"], seed=0).campaign().split(test=0.5)
    >>> evaluation = evaluate(test, make_model("response", n_estimators=10).fit(train).predict(test), draws=20)
    >>> evaluation.score("response", "buy", "coupon_5").index.tolist()
    ['model', 'stage', 'arm', 'metric', 'value', 'se', 'low', 'high']
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
    if baseline is not None:
        _check_fit(campaign, "baseline", baseline)

    ate, rates, table, references, groups, notes = [], [], [], [], [], []
    differences: list[dict[str, Any]] = []
    placebo: list[dict[str, Any]] = []
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
            expected = None if baseline is None else _expected(campaign, baseline, stage, arm, comparison)
            adjusted = outcome if expected is None else outcome - expected
            estimate = difference_in_means(comparison, adjusted, confidence=confidence)
            ate.append({"stage": stage, "arm": arm, **vars(estimate), "adjusted": comparison.adjusted})
            pair = ArmScores(
                comparison, outcome, stage, arm, confidence, draws, tuple(top), random_state, expected
            )
            references += pair.references(estimate.value)
            scored = {
                name: pair.score(one.tau(stage, arm)[comparison.rows], calibrated=one.calibrated)
                for name, one in named.items()
            }
            for name, found in scored.items():
                table += [{"model": name, "stage": stage, "arm": arm, **row} for row in found.rows]
                groups += [{"model": name, "stage": stage, "arm": arm, **row} for row in found.tenths]
                notes += [f"{name}, {stage}, {arm}: {reason}" for reason in found.missing]
                curves[name, stage, arm] = found.curve
            where = {"stage": stage, "arm": arm}
            differences += [where | row for row in paired_differences(scored, comparison.cluster, confidence)]
            placebo += [where | row for row in placebo_ranges(scored, confidence)]
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
        differences=pd.DataFrame(differences, columns=DIFFERENCE_COLUMNS),
        placebo=pd.DataFrame(placebo),
        curves=curves,
        chain=chain_decomposition(campaign, confidence=confidence),
        notes=tuple(dict.fromkeys(notes)),
        baseline=None if baseline is None else baseline.model,
    )


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of a table as plain JSON types."""
    rows: list[dict[str, Any]] = frame.to_dict("records")  # type: ignore[assignment]
    return [
        {key: None if isinstance(cell, float) and np.isnan(cell) else cell for key, cell in row.items()}
        for row in rows
    ]


def _expected(
    campaign: Campaign, baseline: Effects, stage: str, arm: str, comparison: Comparison
) -> np.ndarray:
    """What the baseline says about the outcome of the rows of `comparison`, whatever their arm, float64 [row].

    With p the probability of the arm among the two in question, an outcome less ``(1 - p) mu_arm + p mu_control`` and
    weighted by the inverse propensity is the doubly robust score, row by row. Where a propensity column tells only the
    probability of the arm received, of three or more, the overall share stands for p.
    """
    every = arm_propensities(campaign)
    if every is None:
        weight = np.ones(len(comparison.rows)) if comparison.weight is None else comparison.weight
        p: np.ndarray | float = float(weight[comparison.treated].sum() / weight.sum())
    else:
        own, none = every[comparison.rows, campaign.arm_index(arm)], every[comparison.rows, 0]
        p = own / (own + none)
    control, treated = (
        baseline.mu(stage, name)[comparison.rows].astype(np.float64) for name in (baseline.arms[0], arm)
    )
    result: np.ndarray = (1.0 - p) * treated + p * control
    return result


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
        raise EvaluationError(other_stages(f"the effects of {name!r}", effects.stages, campaign.stages))
    if not effects.units.cast(campaign.unit_ids.type, safe=False).equals(campaign.unit_ids):
        raise EvaluationError(
            f"the effects of {name!r} are for other units or in another order than the campaign's rows; predict on these rows."
        )
