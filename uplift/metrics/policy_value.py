"""What would a plan have been worth? An estimate from randomised rows, not from the model that made the plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from uplift.arms import CostRule
from uplift.campaign import Campaign
from uplift.effects import Effects
from uplift.errors import EvaluationError, did_you_mean
from uplift.metrics.average import Estimate
from uplift.metrics.cross_fit import Learner, cross_fitted
from uplift.metrics.off_policy import Logged, Mean
from uplift.metrics.overlap import Overlap, supported
from uplift.metrics.policies import Missing, Policy, read_policy
from uplift.metrics.policy_case import Case
from uplift.metrics.policy_result import METHODS, PolicyValue, Versus

Method = Literal["auto", "ips", "snips", "stratified", "dm", "dr", "sndr"]

_WITH_MODEL = ("dm", "dr", "sndr")
LEAST_MATCHED = 10
"""With fewer matched rows there is no estimate."""


def policy_value(
    log: Campaign,
    plan: Any,
    *,
    method: Method = "auto",
    stage: str | None = None,
    margin: float = 1.0,
    costs: Mapping[str, CostRule] | None = None,
    effects: Effects | Learner | None = None,
    other: Any = None,
    propensity: np.ndarray | None = None,
    clip: float = np.inf,
    confidence: float = 0.95,
    missing: Missing = "error",
    strict: bool = True,
    arm_column: str = "arm",
    folds: int = 5,
    random_state: int = 0,
) -> PolicyValue:
    """What a plan is worth, from a log of customers who were assigned at random (or with known propensities).

    The plan must not have been made with these rows' outcomes: choose on one split, value on another. Formulas are in
    :mod:`uplift.metrics.off_policy`. Propensities are those of the campaign, else the shares of the arms in the log
    (within strata where there are any).

    Parameters
    ----------
    log : Campaign
        Rows with the arm received and outcomes.
    plan : str, path, table, Allocation or ndarray
        One arm's name for everybody; an allocation, or its file or table (found by unit id); arm codes or names [row];
        probabilities [row, arm] of a stochastic policy.
    method : {"auto", "ips", "snips", "stratified", "dm", "dr", "sndr"}
        ``"stratified"`` compares, among the customers of each decision, those who received it with those in control;
        ``"auto"`` is ``"dr"`` where effects are given, else ``"stratified"`` (``"snips"`` for stochastic policies).
        ``"dm"`` believes the model: it needs no overlap, and its interval covers the choice of customers only.
    stage : str, optional
        Stage that is valued, or ``"value"``; default the last binary stage.
    margin : float
        Money per unit of the outcome.
    costs : mapping of arm to CostRule, optional
        Default: the campaign's. Costs per unit sent are exact, others are estimated like the outcome.
    effects : Effects or model, optional
        For ``"dm"``, ``"dr"`` and ``"sndr"``: predictions for these rows of a model that did not learn from them (found by
        unit id), or a model, which is then cross-fitted on the log.
    other : like `plan`, optional
        Another plan to compare with, on the same rows.
    propensity : ndarray of float64 [row] or [row, arm], optional
        Probability of the arm received (or of every arm), in place of the campaign's.
    clip : float
        Largest weight (probability under the plan over probability in the log). Cutting makes estimates less noisy
        and biased; the result says by how much.
    confidence : float
        Level of the intervals, in (0, 1).
    missing : {"error", "drop"}
        What to do with rows of the log whose unit the plan does not decide on.
    strict : bool
        Raise where the log never gave such customers what the plan gives them, where the outcome is constant, and
        where fewer than 10 rows match. Otherwise such customers count as left in control, with a warning.
    arm_column : str
        Column of the arm in files and tables.
    folds, random_state : int
        For cross-fitting.

    Returns
    -------
    PolicyValue

    Raises
    ------
    EvaluationError
        The plan does not fit the log, parameters are out of range, or see `strict`.

    References
    ----------
    Dudik, Langford, Li, Doubly robust policy evaluation and learning, ICML 2011. Swaminathan, Joachims, The
    self-normalized estimator for counterfactual learning, NeurIPS 2015. Saito et al., Open Bandit Dataset and
    Pipeline, NeurIPS 2021. Kish, Survey sampling, 1965.

    Examples
    --------
    >>> import pandas as pd
    >>> frame = pd.DataFrame({"coupon": ["none", "five"] * 20, "buy": [0, 1, 1, 1, 0, 0, 0, 1] * 5})
    >>> log = Campaign.from_frame(frame, treatment="coupon", control="none", chain=["buy"])
    >>> found = policy_value(log, "five")
    >>> round(found.mean.value, 6), round(found.value, 6)  # 0.75 per customer; 0.5 more than control for 40 customers
    (0.75, 20.0)
    """
    if not 0 < confidence < 1 or not clip > 0 or not np.isfinite(margin):
        raise EvaluationError(
            f"confidence ({confidence}) must lie in (0, 1), clip ({clip}) be > 0 and margin ({margin}) a finite number."
        )
    stage = log.chain[-1] if stage is None else log.stages[log.stage_index(stage)]
    policy, kept = read_policy(log, plan, missing=missing, arm_column=arm_column)
    second, second_kept = None, None
    if other is not None:
        second, second_kept = read_policy(log, other, missing=missing, arm_column=arm_column)
    warnings: list[str] = []
    rows = _both(kept, second_kept)
    if rows is not None:
        policy = policy.take(rows if kept is None else np.searchsorted(kept, rows))
        if second is not None:
            second = second.take(rows if second_kept is None else np.searchsorted(second_kept, rows))
        warnings.append(
            f"{log.n_rows - len(rows):,} of the log's {log.n_rows:,} rows are of customers the plan does not decide on; they were left out."
        )
        propensity = None if propensity is None else np.asarray(propensity)[rows]
        log = log.take(rows)
    chosen = _method(method, policy, second, effects)
    logged = Logged.of(log, propensity)
    skipped: list[str] = []
    if chosen != "dm":
        by_decision = chosen == "stratified"
        for one in (policy, second):
            if one is None:
                continue
            valued, keep, lost, said = supported(
                logged, one, log.arm_names, by_decision=by_decision, strict=strict
            )
            warnings += said
            skipped += lost
            if keep is not None:
                # Once more without them: their propensities and shares are gone as well.
                left = np.flatnonzero(keep)
                found = policy_value(
                    log.take(left), _as_plan(policy.take(left)), method=chosen, stage=stage, margin=margin, costs=costs,
                    effects=effects, other=None if second is None else _as_plan(second.take(left)),
                    propensity=None if propensity is None else np.asarray(propensity)[left], clip=clip,
                    confidence=confidence, strict=strict, folds=folds, random_state=random_state,
                )  # fmt: skip
                return replace(found, warnings=tuple(dict.fromkeys((*warnings, *found.warnings))))
            if one is second:
                second = valued
            else:
                policy = valued
    case = Case.of(log, logged, chosen, stage, float(margin), log.costs if costs is None else costs, clip)
    case = case.predicted(
        _effects(log, effects, stage, folds, random_state) if chosen in _WITH_MODEL else None
    )
    if strict and len(case.outcome) and np.ptp(case.outcome) == 0:
        raise EvaluationError(
            f"the outcome {stage!r} is {case.outcome[0] / margin if margin else 0:g} in all {log.n_rows:,} rows, so no plan can be told from another; use a larger log or another stage (or pass strict=False)."
        )
    overlap = Overlap.of(logged, policy, clip)
    if strict and chosen != "dm" and overlap.matched_rows < LEAST_MATCHED:
        raise EvaluationError(
            f"only {overlap.matched_rows:,} of the log's {log.n_rows:,} rows received what the plan gives them; that is too little to value it: use a larger log, or a plan closer to what was sent."
        )
    if chosen != "dm":
        warnings += overlap.warnings(known=logged.cell is None)
    return _conclude(case, policy, second, overlap, tuple(dict.fromkeys(skipped)), warnings, confidence)


def _conclude(
    case: Case,
    policy: Policy,
    second: Policy | None,
    overlap: Overlap,
    skipped: tuple[str, ...],
    warnings: list[str],
    confidence: float,
) -> PolicyValue:
    log, logged = case.log, case.logged
    n = log.n_rows
    nobody = Policy(len(log.arms), codes=np.zeros(n, np.int64))
    weights, control = case.weighting(policy, policy), case.weighting(nobody, policy)

    def estimate(mean: Mean) -> Estimate:
        return mean.estimate(logged.cluster, confidence)

    def versus(value_: Mean, cost_: Mean) -> Versus:
        gain, extra = value - value_, cost - cost_
        return Versus(estimate(gain), estimate(extra), estimate(gain - extra))

    value, cost = case.value_of(policy, weights), case.cost_of(policy, weights)
    baseline = case.value_of(nobody, control)
    nothing = Mean(0.0, np.zeros(n))
    received_send = case.send_cost[logged.arms]
    against = {
        "control": versus(baseline, nothing),
        "logged": versus(logged.average(case.outcome), logged.average(case.event_cost + received_send)),
    }
    if second is not None:
        others = case.weighting(second, second)
        against["other"] = versus(case.value_of(second, others), case.cost_of(second, others))
    spend = estimate(cost)
    roi = None
    if spend.value > 2 * spend.se and spend.value > 0:
        roi = estimate((value - baseline).over(cost))
    bias = 0.0
    if overlap.clipped_rows and case.method != "dm":
        uncut = case.value_of(policy, case.weighting(policy, policy, clip=np.inf))
        bias = value.value - uncut.value
        warnings.append(
            f"Weights above {case.clip:g} were cut in {overlap.clipped_rows:,} rows, which moved the value by {bias:+.3g} per customer: a bias that the interval does not contain."
        )
    if case.method == "dm":
        warnings.append(
            "The direct method believes its model: the interval does not contain the model's error."
        )
    used = {name for code, name in enumerate(log.arm_names) if code and policy.of(code).any()}
    free = sorted(used - set(case.costs)) if case.costs else []
    if free:
        warnings.append(
            f"Arm {free[0]!r} has no cost rule ({len(free)} of the plan's arms): it counts as free."
        )
    arms: dict[str, dict[str, float]] = {}
    for code, name in enumerate(log.arm_names):
        if name not in used:
            continue
        gain, paid = case.part(policy, code, weights, control)
        given = float(policy.of(code).sum())
        arms[name] = {
            "rows": int(given) if policy.codes is not None else given,
            "value": n * gain.value,
            "se": n * estimate(gain).se,
            "cost": n * paid,
        }
    total = against["control"].value
    return PolicyValue(
        stage=case.stage,
        value=n * total.value,
        low=n * total.low,
        high=n * total.high,
        se=n * total.se,
        cost=n * spend.value,
        matched_rows=overlap.matched_rows,
        rows=n,
        confidence=confidence,
        method=METHODS[case.method],
        arms=arms,
        skipped=skipped,
        estimator=case.method,
        margin=case.margin,
        mean=estimate(value),
        spend=spend,
        net=estimate(value - cost),
        against=against,
        roi=roi,
        overlap=overlap,
        clip_bias=bias,
        warnings=tuple(warnings),
    )


def _both(first: np.ndarray | None, second: np.ndarray | None) -> np.ndarray | None:
    if first is None or second is None:
        return second if first is None else first
    return np.intersect1d(first, second, assume_unique=True)


def _as_plan(policy: Policy) -> np.ndarray | None:
    return policy.chances if policy.codes is None else policy.codes


def _method(method: Method, policy: Policy, second: Policy | None, effects: Any) -> Method:
    fixed = policy.codes is not None and (second is None or second.codes is not None)
    if method == "auto":
        return "dr" if effects is not None else "stratified" if fixed else "snips"
    if method not in METHODS:
        raise EvaluationError(f"there is no method {method!r}; {did_you_mean(method, ['auto', *METHODS])}")
    if method == "stratified" and not fixed:
        raise EvaluationError(
            "method 'stratified' compares within decisions, and a stochastic policy has none; use 'snips', or 'dr' with effects."
        )
    if method in _WITH_MODEL and effects is None:
        raise EvaluationError(
            f"method {method!r} needs predictions; pass effects=... for these rows or a model to cross-fit, or use 'snips'."
        )
    return method


def _effects(
    log: Campaign, effects: Effects | Learner | None, stage: str, folds: int, random_state: int
) -> Effects:
    assert effects is not None
    found = (
        effects.for_units(log.unit_ids)
        if isinstance(effects, Effects)
        else cross_fitted(effects, log, folds=folds, seed=random_state)
    )
    if found.arms != log.arm_names:
        raise EvaluationError(
            f"the effects of {found.model!r} are for the arms {', '.join(found.arms)}, the log has {', '.join(log.arm_names)}."
        )
    if stage not in found.stages:
        raise EvaluationError(
            f"the effects of {found.model!r} have no stage {stage!r}; {did_you_mean(stage, found.stages)}"
        )
    return found
