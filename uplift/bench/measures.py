"""How good effects are: against the truth where it is known, else by the outcomes of the test rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from uplift.arms import VALUE_STAGE
from uplift.bench.data import Sample
from uplift.campaign import Campaign
from uplift.effects import Effects

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
    """

    id: str
    title: str
    better: str
    digits: int
    scale: float = 1.0
    headline: bool = False


MEASURES = (
    Measure("pehe", "PEHE", "less", 4, headline=True),
    Measure("qini_share", "Qini share", "more", 3, headline=True),
    Measure("plan_value", "plan share", "more", 3, headline=True),
    Measure("qini_per_capita", "Qini x 1000", "more", 2, scale=1000.0, headline=True),
    Measure("correlation", "correlation", "more", 3),
    Measure("ate_error", "ATE error", "less", 4),
    Measure("log_loss", "log loss", "less", 5),
    Measure("plan_cost", "plan cost", "", 3),
    Measure("seconds", "seconds", "less", 1),
    Measure("cpu_seconds", "CPU seconds", "less", 1),
    Measure("peak_mib", "peak MiB", "less", 0),
)

Scores = dict[tuple[str, str], float]
"""(measure, stage) -> value; stage is "" for what belongs to none."""


def measure(effects: Effects, sample: Sample) -> Scores:
    """All measures that the sample allows."""
    found = log_losses(effects, sample.test)
    if sample.truth is None:
        return found | qinis(effects, sample.test)
    return found | against_truth(effects, sample.truth) | plan_against_oracle(effects, sample)


def against_truth(effects: Effects, truth: Effects) -> Scores:
    """PEHE, share of the oracle's Qini, correlation and error of the average effect, per stage."""
    from uplift.metrics.truth import ate_error, effect_correlation, oracle_qini_share, pehe

    predicted, true = effects.tau_all[:, 1:], truth.tau_all[:, 1:]
    metrics = {
        "pehe": pehe,
        "qini_share": oracle_qini_share,
        "correlation": effect_correlation,
        "ate_error": ate_error,
    }
    return {
        (name, stage): float(value)
        for name, metric in metrics.items()
        for stage, value in zip(truth.stages, metric(predicted, true), strict=True)
    }


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


def qinis(effects: Effects, test: Campaign) -> Scores:
    """Qini per customer of every stage, mean over arms."""
    from uplift.metrics.average import compare
    from uplift.metrics.ranking import Ranking
    from uplift.metrics.scores import qini_per_capita

    comparisons = {arm: compare(test, arm) for arm in effects.treated_arms}
    found = {}
    for stage in effects.stages:
        values = []
        for arm, pair in comparisons.items():
            ranking = Ranking.build(
                effects.tau(stage, arm)[pair.rows], pair.treated, test.outcome(stage)[pair.rows], pair.weight
            )
            values.append(float(qini_per_capita(ranking.cells)))
        found["qini_per_capita", stage] = float(np.mean(values))
    return found
