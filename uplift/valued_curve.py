"""Cost curves: the plans of a model at every budget, valued on rows they were not chosen on.

This lies above both rooms it joins: the plans come from :mod:`uplift.allocation`, their worth from
:mod:`uplift.metrics`, and neither knows the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from uplift.allocation.from_effects import expected_cost
from uplift.allocation.hull import hull_steps
from uplift.allocation.problem import make_problem
from uplift.arms import SEND, VALUE_STAGE, CostRule
from uplift.campaign import Campaign
from uplift.effects import Effects
from uplift.errors import EvaluationError
from uplift.metrics.cost_curve import CostCurve, Steps, draw_curve
from uplift.metrics.off_policy import Logged, incremental_scores

Axis = Literal["measured", "planned"]


def cost_curve(
    log: Campaign,
    effects: Effects,
    *,
    costs: Mapping[str, CostRule] | None = None,
    margin: float | None = None,
    stage: str | None = None,
    method: Literal["dr", "ips"] = "dr",
    baseline: Effects | None = None,
    axis: Axis = "measured",
    propensity: np.ndarray | None = None,
    confidence: float = 0.95,
    points: int = 201,
) -> CostCurve:
    """Value against spend of a model's plans with all arms, from a log that neither model nor plans have seen.

    At every budget the plan is the one :func:`uplift.allocate` would make (without rounding): money goes to the most
    rewarding step, by the model's predictions. What the plans gain and cost is estimated from what customers of the
    log did (multi-armed Qini curve).

    Parameters
    ----------
    log : Campaign
        Test rows with outcomes.
    effects : Effects
        The model's predictions for these rows (found by unit id).
    costs : mapping of arm to CostRule, optional
        One rule per treated arm; default the campaign's. None may be negative.
    margin : float, optional
        Money per unit of the outcome; default 1.
    stage : str, optional
        Default the last binary stage.
    method : {"dr", "ips"}
        Scores: doubly robust, or inverse propensity weighting alone.
    baseline : Effects, optional
        Predictions that enter the doubly robust scores; default `effects`. Give one for all models that are to be
        compared, so that the same scores judge all.
    axis : {"measured", "planned"}
        Whether the spend is estimated like the gain or taken from the predictions.
    propensity, confidence
        See :func:`uplift.metrics.policy_value.policy_value`.
    points : int
        Points of the curve that are kept for drawing.

    Returns
    -------
    CostCurve

    Raises
    ------
    EvaluationError
        The model only ranks, an arm has no cost rule or a negative cost, an arm has no rows, or there is nothing to spend on.

    References
    ----------
    Sverdrup, Wu, Athey, Wager, Qini curves for multi-armed treatment rules, 2023 (arXiv 2306.11979). Du, Lee, Ghaffarizadeh,
    Improve user retention with causal learning, 2019 (AUCC).

    Examples
    --------
    >>> import uplift
    >>> world = uplift.simulate(rows=20_000, arms=2, chain=("click", "conversion"), seed=0)
    >>> curve = cost_curve(world.campaign(), world.effects, margin=40.0)  # the true effects as predictions
    >>> curve.aucc_gain.low > 0  # better than spending the same on random customers
    True
    """
    effects = effects.for_units(log.unit_ids)
    if not effects.calibrated:
        raise EvaluationError(
            f"model {effects.model!r} only ranks: its scores are no amounts of money to weigh against costs; use another model."
        )
    ground = _Ground.of(
        log, effects if baseline is None else baseline, costs, margin, stage, method, propensity
    )
    planned = ground.planned(effects)
    value = ground.margin * effects.tau_all[:, 1:, effects.stages.index(ground.stage)].astype(np.float64)
    return ground.draw(_steps(value, planned[:, 1:]), planned, effects.model, axis, confidence, points)


def ranking_curve(
    log: Campaign,
    score: np.ndarray,
    *,
    arm: str,
    name: str,
    baseline: Effects,
    costs: Mapping[str, CostRule] | None = None,
    margin: float | None = None,
    stage: str | None = None,
    method: Literal["dr", "ips"] = "dr",
    axis: Axis = "measured",
    propensity: np.ndarray | None = None,
    confidence: float = 0.95,
    points: int = 201,
) -> CostCurve:
    """Value against spend of a simple rule: one arm, given by falling score.

    Parameters
    ----------
    log, costs, margin, stage, method, axis, propensity, confidence, points
        See :func:`cost_curve`.
    score : ndarray [row]
        Rows with equal scores are treated together.
    arm : str
        The arm that everybody gets, sooner or later.
    name : str
        Name of the rule.
    baseline : Effects
        Calibrated predictions for the planned cost and the doubly robust scores.

    Returns
    -------
    CostCurve

    Raises
    ------
    EvaluationError
        See :func:`cost_curve`.
    """
    ground = _Ground.of(log, baseline, costs, margin, stage, method, propensity)
    code = log.arm_index(arm)
    order = np.argsort(-np.asarray(score, np.float64), kind="stable")
    n = log.n_rows
    steps = Steps(
        order, np.zeros(n, np.int64), np.full(n, code), np.asarray(score, np.float64)[order], np.zeros(n, np.int16)
    )  # fmt: skip
    return ground.draw(steps, ground.planned(ground.judge), name, axis, confidence, points)


@dataclass(frozen=True, eq=False)
class _Ground:
    """What all curves on the same rows share: whose outcomes count, at which costs, judged by which predictions."""

    log: Campaign
    logged: Logged
    judge: Effects
    rules: Mapping[str, CostRule]
    margin: float
    stage: str
    robust: bool

    @classmethod
    def of(
        cls,
        log: Campaign,
        judge: Effects,
        costs: Mapping[str, CostRule] | None,
        margin: float | None,
        stage: str | None,
        method: str,
        propensity: np.ndarray | None,
    ) -> _Ground:
        if method not in ("dr", "ips"):
            raise EvaluationError(f"method is {method!r}; give 'dr' or 'ips'.")
        stage = log.chain[-1] if stage is None else log.stages[log.stage_index(stage)]
        rules = log.costs if costs is None else costs
        for name in log.arm_names[1:]:
            if rules.get(name) is None:
                raise EvaluationError(
                    f"arm {name!r} has no cost rule; give one, such as CostRule(on='send', amount=0.1)."
                )
            if not (log.arm_codes == log.arm_index(name)).any():
                raise EvaluationError(f"arm {name!r} has no rows among the {log.n_rows:,} to value plans on.")
        judge = judge.for_units(log.unit_ids)
        if judge.arms != log.arm_names or stage not in judge.stages:
            raise EvaluationError(
                f"the predictions of {judge.model!r} are for other arms or stages than the log's; predict on these rows."
            )
        factor = 1.0 if margin is None else float(margin)
        return cls(log, Logged.of(log, propensity), judge, rules, factor, stage, method == "dr")

    def planned(self, effects: Effects) -> np.ndarray:
        """Predicted cost of every arm, [row, arm]."""
        planned = np.zeros((self.log.n_rows, len(self.log.arms)))
        for code, name in enumerate(self.log.arm_names):
            if code:
                planned[:, code] = expected_cost(effects, name, self.rules[name])
        if (planned < 0).any():
            raise EvaluationError(
                f"{int((planned < 0).any(axis=1).sum()):,} rows have a negative predicted cost; a curve over spend needs costs >= 0."
            )
        return planned

    def draw(
        self, steps: Steps, planned: np.ndarray, name: str, axis: str, confidence: float, points: int
    ) -> CostCurve:
        """The curve of a path of steps."""
        if axis not in ("measured", "planned") or not 0 < confidence < 1:
            raise EvaluationError(
                f"axis is {axis!r} and confidence {confidence}; give 'measured' or 'planned', and a level in (0, 1)."
            )
        mu = self.margin * self.judge.mu_all[:, :, self.judge.stages.index(self.stage)].astype(np.float64)
        gain = incremental_scores(
            self.logged,
            mu if self.robust else np.zeros_like(mu),
            self.margin * self.log.outcome(self.stage).astype(np.float64),
        )
        return draw_curve(
            steps, gain, _cost_scores(self.log, self.logged, self.judge, self.rules, self.robust), planned,
            self.logged.mass, model=name, stage=self.stage, arms=self.log.arm_names, axis=axis,
            cluster=self.logged.cluster, confidence=confidence, points=points,
        )  # fmt: skip


def _steps(value: np.ndarray, cost: np.ndarray) -> Steps:
    """The steps of all rows from control (or a free arm) up their hulls, the most rewarding first."""
    n = len(value)
    free = np.where(cost <= 0, value, -np.inf)
    best = free.argmax(axis=1)
    start = np.where(free[np.arange(n), best] > 0, best + 1, 0).astype(np.int16)
    found = hull_steps(make_problem(value, cost, budget=None), np.arange(n), start, 0.0)
    row = found.unit.astype(np.int64)
    arm = found.arm.astype(np.int64)
    before = np.append(0, arm[:-1])
    first = found.first[:-1][np.diff(found.first) > 0]
    before[first] = start[row[first]]
    order = np.argsort(-found.slope, kind="stable")
    return Steps(row[order], before[order], arm[order], found.slope[order], start)


def _cost_scores(
    log: Campaign, logged: Logged, judge: Effects, rules: Mapping[str, CostRule], use: bool
) -> np.ndarray:
    """Scores of the cost of every arm, [row, arm]: exact where it is paid per unit sent, else like the gain."""
    scores = np.zeros((log.n_rows, len(log.arms)))
    for code, name in enumerate(log.arm_names):
        if not code:
            continue
        rule = rules[name]
        if rule.on == SEND:
            scores[:, code] = float(rule.amount or 0.0)
            continue
        per_event = float((rule.share if rule.on == VALUE_STAGE else rule.amount) or 0.0)
        predicted = per_event * judge.mu(rule.on, name).astype(np.float64) if use else np.zeros(log.n_rows)
        seen = per_event * log.outcome(rule.on).astype(np.float64)
        own = logged.arms == code
        scores[:, code] = predicted + np.where(own, (seen - predicted) / logged.propensity, 0.0)
    return scores
