"""How good effects are: against the truth where it is known, else by the outcomes of the test rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from uplift.arms import VALUE_STAGE
from uplift.bench.data import Sample
from uplift.campaign import Campaign
from uplift.effects import Effects
from uplift.errors import EvaluationError

BISECTIONS = 16
"""Steps to the budget at which a plan's true cost is right: to 1e-4 of it."""


@dataclass(frozen=True)
class Measure:
    """A column of the table.

    Attributes
    ----------
    id : str
        Name in ``results.parquet``.
    title : str
        Heading.
    better : str
        "less", "more" or "" where neither is better.
    digits : int
        Decimals shown.
    scale : float
        What values are multiplied by when shown.
    headline : bool
        Whether the terminal shows it.
    words : str
        What it is.
    """

    id: str
    title: str
    better: str
    digits: int
    scale: float = 1.0
    headline: bool = False
    words: str = ""


MEASURES = (
    Measure("pehe", "PEHE", "less", 4, headline=True, words="root mean squared error of the uplift over test units and arms"),
    Measure("pehe_in", "PEHE in sample", "less", 4, headline=True, words="the same over the training units"),
    Measure("qini_share", "Qini share", "more", 3, headline=True, words="true Qini of the ranking by predicted uplift over that of the ranking by true uplift"),
    Measure("plan_value", "plan share", "more", 3, headline=True, words="true value of a plan that really costs the budget, over the oracle's; 1 less it is the regret"),
    Measure("policy_regret", "policy regret", "less", 4, headline=True, words="true outcome per unit that is lost by giving everyone the arm of the best predicted uplift, or none"),
    Measure("qini_per_capita", "Qini x 1000", "more", 2, scale=1000.0, headline=True, words="area between the gain curve per customer and its chord, mean over arms"),
    Measure("qini_sklift", "Qini, scikit-uplift", "more", 4, words="scikit-uplift's qini_auc_score, mean over arms"),
    Measure("auuc_sklift", "AUUC, scikit-uplift", "more", 4, words="scikit-uplift's uplift_auc_score, mean over arms"),
    Measure("uplift_at_30", "uplift at 30 %", "more", 4, words="treated less control mean among the 30 % of best predicted uplift, mean over arms"),
    Measure("correlation", "correlation", "more", 3, words="Pearson correlation of predicted and true uplift, mean over arms"),
    Measure("ate_error", "ATE error", "less", 4, words="absolute error of the mean uplift over test units, mean over arms"),
    Measure("ate_error_in", "ATE error in sample", "less", 4, words="the same over the training units"),
    Measure("log_loss", "log loss", "less", 5, words="cross-entropy of the outcome under the arm received, in the entire space"),
    Measure("plan_cost", "plan cost", "", 3, words="true cost of the plan before its budget is corrected for that, over the budget"),
    Measure("seconds", "seconds", "less", 1, words="fitting and predicting"),
    Measure("cpu_seconds", "CPU seconds", "less", 1, words="processor time of the same"),
    Measure("peak_mib", "peak MiB", "less", 0, words="peak memory of the process, libraries and data included"),
)  # fmt: skip

Scores = dict[tuple[str, str], float]
"""(measure, stage) -> value; stage is "" for what belongs to none."""


def measure_of(name: str) -> Measure:
    """The measure of an id."""
    return next(one for one in MEASURES if one.id == name)


def measure(
    effects: Effects, sample: Sample, *, learned: Effects | None = None
) -> tuple[Scores, np.ndarray | None]:
    """All measures that the sample allows, at its scored stages.

    Parameters
    ----------
    effects : Effects
        Predictions for the test rows.
    sample : Sample
        Test rows and truth.
    learned : Effects, optional
        Predictions for the training rows, for the errors in sample.

    Returns
    -------
    dict
        The scores.
    ndarray of float32 [unit, stage] or None
        Influence of every test unit on the Qini per customer, where that is measured.
    """
    found = {key: value for key, value in log_losses(effects, sample.test).items() if key[1] in sample.scored}
    if sample.truth is None:
        scores, influence = qinis(effects, sample.test, sample.scored)
        return found | scores, influence
    found |= against_truth(effects, sample.truth, sample.scored)
    if learned is not None and sample.train_truth is not None:
        for stage in sample.scored:
            predicted, true = _pair(learned, sample.train_truth, stage)
            found["pehe_in", stage] = float(truth_metrics().pehe(predicted, true))
            found["ate_error_in", stage] = float(truth_metrics().ate_error(predicted, true))
    if len(sample.test.costs) == len(sample.test.arms) - 1:
        return found | plan_against_oracle(effects, sample), None
    return found | regrets(effects, sample), None


def truth_metrics() -> Any:
    """The module of metrics against known effects."""
    from uplift.metrics import truth

    return truth


def against_truth(effects: Effects, truth: Effects, stages: Sequence[str]) -> Scores:
    """PEHE, share of the oracle's Qini, correlation and error of the average effect, per stage.

    The second and third are left out at a stage where all units have the same true uplift under some arm: no order is
    better than another there.
    """
    metrics, found = truth_metrics(), {}
    for stage in stages:
        predicted, true = _pair(effects, truth, stage)
        found["pehe", stage] = float(metrics.pehe(predicted, true))
        found["ate_error", stage] = float(metrics.ate_error(predicted, true))
        if (np.ptp(true, axis=0) > 0).all():
            found["qini_share", stage] = float(metrics.oracle_qini_share(predicted, true))
            found["correlation", stage] = float(metrics.effect_correlation(predicted, true))
    return found


def _pair(effects: Effects, truth: Effects, stage: str) -> tuple[np.ndarray, np.ndarray]:
    """Predicted and true uplifts of the treated arms [unit, arm] at one stage."""
    return (
        effects.tau_all[:, 1:, effects.stages.index(stage)],
        truth.tau_all[:, 1:, truth.stages.index(stage)],
    )


def regrets(effects: Effects, sample: Sample) -> Scores:
    """True outcome per unit that the policy by predicted uplifts loses against the best arm of every unit."""
    assert sample.truth is not None
    sign, found = -1.0 if sample.less_is_better else 1.0, {}
    for stage in sample.scored:
        index = sample.truth.stages.index(stage)
        true = sign * sample.truth.mu_all[:, :, index].astype(np.float64)
        chosen = (sign * effects.tau_all[:, :, index]).argmax(axis=1)  # control, at 0, wins ties
        kept = np.take_along_axis(true, chosen[:, None], axis=1)[:, 0]
        found["policy_regret", stage] = float((true.max(axis=1) - kept).mean())
    return found


def plan_against_oracle(effects: Effects, sample: Sample) -> Scores:
    """True value and true cost of the plan that the effects lead to, under one budget.

    ``plan_value`` is the true value of the plan that really costs the budget (or less, where a model wants no more),
    as a share of the oracle's; one less it is the regret. A model that underrates redemption overspends, which would
    flatter it, so the budget it is given is moved until the true cost fits. ``plan_cost`` is the true cost of the plan
    before that, made with the budget itself, as a share of it.
    """
    from uplift.allocation import allocate
    from uplift.metrics.truth import plan_sum
    from uplift.simulation.result import BUDGET_PER_CUSTOMER, MARGIN

    test, truth = sample.test, sample.truth
    assert truth is not None
    budget, last = BUDGET_PER_CUSTOMER * test.n_rows, truth.stages.index(test.chain[-1])
    value = MARGIN * truth.tau_all[:, :, last].astype(np.float64)
    amounts = np.array([0.0, *(test.costs[arm].amount or 0.0 for arm in truth.treated_arms)])
    cost = amounts * truth.mu_all[:, :, last]

    def plan(believed: Effects, given: float) -> np.ndarray:
        return allocate(believed, costs=test.costs, margin=MARGIN, budget=given).arm_codes

    def fits(codes: np.ndarray) -> bool:
        return plan_sum(cost, codes) <= budget

    first = plan(effects, budget)
    low, high = (budget, np.inf) if fits(first) else (0.0, budget)
    kept = plan(effects, high)
    if not fits(kept):
        high = min(high, 8 * budget)
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            low, high = (middle, high) if fits(plan(effects, middle)) else (low, middle)
        kept = plan(effects, low)
    return {
        ("plan_value", ""): plan_sum(value, kept) / plan_sum(value, plan(truth, budget)),
        ("plan_cost", ""): plan_sum(cost, first) / budget,
    }


def log_losses(effects: Effects, test: Campaign) -> Scores:
    """Mean cross-entropy per row of every binary stage in the entire space, under the arm that was received."""
    received = effects.mu_all[np.arange(test.n_rows), test.arm_codes].astype(np.float64)
    losses = {}
    for index, stage in enumerate(effects.stages):
        if stage == VALUE_STAGE:
            continue
        rate = np.clip(received[:, index], 1e-7, 1 - 1e-7)
        reached = test.outcome(stage) > 0
        losses["log_loss", stage] = float(-np.log(np.where(reached, rate, 1 - rate)).mean())
    return losses


def qinis(effects: Effects, test: Campaign, stages: Sequence[str] | None = None) -> tuple[Scores, np.ndarray]:
    """Ranking metrics of every stage, mean over arms, and every unit's influence on the Qini per customer.

    The names are those of :mod:`uplift.metrics.definitions`.

    Returns
    -------
    dict
        ``qini_per_capita`` and ``uplift_at_30``, and scikit-uplift's metrics at binary stages.
    ndarray of float32 [unit, stage]
        Influences; units in order of first appearance, rows where they do not repeat.
    """
    from uplift.metrics import scores
    from uplift.metrics.average import compare
    from uplift.metrics.influence import clustered, rate_influence
    from uplift.metrics.ranking import Ranking

    comparisons = {arm: compare(test, arm) for arm in effects.treated_arms}
    wanted = tuple(effects.stages if stages is None else stages)
    influence = np.zeros((test.n_rows, len(wanted)))
    found: Scores = {}
    for s, stage in enumerate(wanted):
        values: dict[str, list[float]] = {}
        for arm, pair in comparisons.items():
            score, outcome = effects.tau(stage, arm)[pair.rows], test.outcome(stage)[pair.rows].astype(float)
            ranking = Ranking.build(score, pair.treated, outcome, pair.weight)
            values.setdefault("qini_per_capita", []).append(float(scores.qini_per_capita(ranking.cells)))
            values.setdefault("uplift_at_30", []).append(float(scores.uplift_at(ranking.cells, 0.3)))
            if stage != VALUE_STAGE:
                plain = ranking if pair.weight is None else Ranking.build(score, pair.treated, outcome)
                for name, metric in (
                    ("qini_sklift", scores.qini_sklift),
                    ("auuc_sklift", scores.auuc_sklift),
                ):
                    try:
                        values.setdefault(name, []).append(float(metric(plain.cells)))
                    except EvaluationError:  # an arm without outcomes: not defined there
                        values[name] = [math.nan]
            influence[pair.rows, s] += rate_influence(ranking).rows / len(comparisons)
        for name, numbers in values.items():
            mean = float(np.mean(numbers))
            if math.isfinite(mean):
                found[name, stage] = mean
    units = test.unit_codes if test.units_repeat else None
    return found, clustered(influence, units).astype(np.float32)
