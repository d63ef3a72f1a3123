"""A log seen through one outcome and one estimator: what a policy's value and cost are made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from uplift.arms import SEND, VALUE_STAGE, CostRule
from uplift.campaign import Campaign
from uplift.effects import Effects
from uplift.errors import EvaluationError, did_you_mean
from uplift.metrics.off_policy import Logged, Mean, Weighting
from uplift.metrics.policies import Policy


@dataclass(frozen=True, eq=False)
class Case:
    """Outcome and cost of a log's rows, and what is predicted of them under every arm.

    Attributes
    ----------
    log, logged
        The rows and their assignment.
    method : str
        A key of :data:`uplift.metrics.policy_result.METHODS`.
    stage, margin, costs, clip
        See :func:`uplift.metrics.policy_value.policy_value`.
    outcome, event_cost : ndarray of float64 [row]
        Of the arm received: margin x outcome, and what was paid for an event such as a redemption.
    send_cost : ndarray of float64 [arm]
        Paid per unit sent; known, so it carries no error.
    mu, mu_cost : ndarray of float64 [row, arm] or None
        Predictions of `outcome` and `event_cost`; None without a model, or without such costs.
    """

    log: Campaign
    logged: Logged
    method: str
    stage: str
    margin: float
    outcome: np.ndarray
    costs: Mapping[str, CostRule]
    send_cost: np.ndarray
    event_cost: np.ndarray
    clip: float
    mu: np.ndarray | None = None
    mu_cost: np.ndarray | None = None

    @classmethod
    def of(
        cls,
        log: Campaign,
        logged: Logged,
        method: str,
        stage: str,
        margin: float,
        costs: Mapping[str, CostRule],
        clip: float,
    ) -> Case:
        unknown = [name for name in costs if name not in log.arm_names]
        if unknown:
            raise EvaluationError(
                f"there is a cost for {unknown[0]!r}, which is no arm; {did_you_mean(unknown[0], log.arm_names)}"
            )
        send, event = np.zeros(len(log.arms)), np.zeros(log.n_rows)
        for code, name in enumerate(log.arm_names):
            rule = costs.get(name)
            if rule is None:
                continue
            if rule.on == SEND:
                send[code] = float(rule.amount or 0.0)
            else:
                rows = logged.arms == code
                event[rows] = log.outcome(rule.on)[rows] * _per_event(rule)
        outcome = margin * log.outcome(stage).astype(np.float64)
        return cls(log, logged, method, stage, margin, outcome, costs, send, event, clip)

    def predicted(self, effects: Effects | None) -> Case:
        """With the predictions of a model."""
        if effects is None:
            return self
        mu = self.margin * effects.mu_all[:, :, effects.stages.index(self.stage)].astype(np.float64)
        cost = None
        if self.event_cost.any():
            cost = np.zeros_like(mu)
            for code, name in enumerate(self.log.arm_names):
                rule = self.costs.get(name)
                if rule is not None and rule.on != SEND:
                    cost[:, code] = effects.mu(rule.on, name) * _per_event(rule)
        return replace(self, mu=mu, mu_cost=cost)

    def weighting(self, policy: Policy, groups: Policy, *, clip: float | None = None) -> Weighting:
        """Weights of a policy by the method; decisions of `groups` are the groups of the stratified one."""
        logged, group = self.logged, None
        if self.method == "dm":
            return Weighting(logged, np.zeros(len(policy)))
        if self.method == "stratified":
            assert groups.codes is not None
            if logged.cell is None:
                group = groups.codes
            else:
                logged = logged.within(groups.codes)
        elif self.method in ("snips", "sndr"):
            group = np.zeros(len(policy), np.int64)
        return Weighting.of(logged, policy, clip=self.clip if clip is None else clip, group=group)

    def _residual(self, seen: np.ndarray, predicted: np.ndarray | None) -> np.ndarray:
        if predicted is None:
            return seen
        result: np.ndarray = seen - np.take_along_axis(predicted, self.logged.arms[:, None], axis=1)[:, 0]
        return result

    @cached_property
    def residual(self) -> np.ndarray:
        return self._residual(self.outcome, self.mu)

    @cached_property
    def cost_residual(self) -> np.ndarray:
        return self._residual(self.event_cost, self.mu_cost)

    def value_of(self, policy: Policy, weights: Weighting) -> Mean:
        return weights.mean(0.0 if self.mu is None else policy.mean(self.mu), self.residual)

    def cost_of(self, policy: Policy, weights: Weighting) -> Mean:
        known: np.ndarray | float = policy.mean(self.send_cost) if self.send_cost.any() else 0.0
        if self.mu_cost is not None:
            known = known + policy.mean(self.mu_cost)
        if not self.event_cost.any():  # nothing to estimate, but the mix of customers
            return self.logged.average(np.broadcast_to(known, len(policy)))
        return weights.mean(known, self.cost_residual)

    def part(self, policy: Policy, arm: int, weights: Weighting, control: Weighting) -> tuple[Mean, float]:
        """What the customers of one arm gain against leaving them in control, per row of the log; and their cost."""
        chance, received = policy.of(arm), self.logged.arms == arm
        model: np.ndarray | float = 0.0 if self.mu is None else chance * (self.mu[:, arm] - self.mu[:, 0])
        gain = weights.mean(model, self.residual * received) - control.mean(0.0, self.residual * chance)
        known = chance * self.send_cost[arm]
        if self.mu_cost is not None:
            known = known + chance * self.mu_cost[:, arm]
        return gain, weights.mean(known, self.cost_residual * received).value


def _per_event(rule: CostRule) -> float:
    return float((rule.share if rule.on == VALUE_STAGE else rule.amount) or 0.0)
