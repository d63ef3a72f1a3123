"""Did the plan bring what it promised? Its holdout says."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from uplift.arms import SEND, VALUE_STAGE, CostRule
from uplift.effects import Effects
from uplift.errors import EvaluationError, did_you_mean
from uplift.measurement.contrast import LEAST, Difference, Group, difference, in_total, per_customer, pooled
from uplift.measurement.outcomes import Missing, Outcomes, read_outcomes
from uplift.measurement.result import ALL_ARMS, MeasuredArm, MeasuredMoney, Measurement
from uplift.measurement.sent import Sent, read_sent

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from uplift.allocation import Allocation
    from uplift.campaign import Campaign
    from uplift.export import Decisions

FEW_EVENTS = 10
"""With fewer customers held out who did something, the normal interval is doubtful."""
UNLIKELY = 3.29
"""Standard errors by which the held-out share may differ from the one it was drawn with (p = 0.001)."""


def measure(
    plan: Allocation | Decisions | pa.Table | pd.DataFrame | str | os.PathLike[str],
    log: Campaign | pa.Table | pd.DataFrame | str | os.PathLike[str],
    *,
    chain: Sequence[str] | None = None,
    value: str | None = None,
    stage: str | None = None,
    margin: float | None = None,
    costs: Mapping[str, CostRule] | None = None,
    effects: Effects | None = None,
    missing: Missing = "error",
    confidence: float = 0.95,
) -> Measurement:
    """What a plan that was carried out with a holdout has brought, by arm and in total, against what it promised.

    Customers are compared by what the plan wanted for them, whatever reached them (intent to treat): those who were
    sent an arm with those whom the coin of the holdout kept in control and who would have got the same arm. Nothing is
    modelled, so this is the number to believe. What held-out customers would have got is known from the plan, and in
    exports from ``planned_arm``. Where it is not (limits of segments without a name, bare allocation files), everybody not held
    out is compared with everybody held out: as honest, without arms, and with wider intervals; a warning says so.

    For arm k the effect per customer is ``mean(sent) - mean(held out)`` with variance ``s_sent^2 / n_k + s_held^2 / m_k``; the
    total is the sum of n_k times it, so that every held-out customer stands for n_k / m_k sent ones (inverse shares).

    Parameters
    ----------
    plan : Allocation, Decisions, path or table
        The plan as it was sent: in memory, its export (file or folder, with its manifest), a run folder, or a table
        with the unit first and ``arm``, ``holdout``, ``expected_value``, ``expected_cost`` and, where known, ``planned_arm``,
        ``propensity``, ``uplift__STAGE``.
    log : Campaign, path or table
        What customers did afterwards, found by unit id: a campaign (or its .toml), or a table (or file) with the plan's
        unit column and the columns of `chain` and `value`. Several rows of a customer are put together: a stage is
        reached when any row says so, and values are summed.
    chain : sequence of str, optional
        0/1 columns of a table, such as ``["click", "conversion"]``. Campaigns say it themselves.
    value : str, optional
        Money column of a table; its stage is called ``"value"``.
    stage : str, optional
        Stage that is valued. Default: the plan's where it says and the log has it, else the last binary one.
    margin : float, optional
        Money per unit of its outcome. Default: the plan's, or as its ``uplift__STAGE`` column implies.
    costs : mapping of arm to CostRule, optional
        What was paid. Default: the plan's, else those of the log's campaign; without any, there is no cost and no net.
    effects : Effects, optional
        What a plan in memory was made from: says what it promised at every stage.
    missing : {"error", "zero"}
        Customers of the plan without a row in the log: an error, or customers who did nothing (logs of orders).
    confidence : float
        Level of the intervals, in (0, 1).

    Returns
    -------
    Measurement

    Raises
    ------
    EvaluationError
        Nobody was held out, the log does not fit the plan, no arm has customers on both sides, the margin is unknown or
        not the one of the promise, or parameters are out of range.

    References
    ----------
    Neyman 1923; Imbens and Rubin, Causal inference for statistics, social, and biomedical sciences, 2015, chapter 6.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from uplift import allocate_arrays
    >>> unit = np.arange(1_000)
    >>> plan = allocate_arrays(np.full((1_000, 1), 2.5), np.full((1_000, 1), 0.5), budget=None, holdout=unit % 5 == 0)
    >>> bought = unit // 5 % 10 < np.where(plan.holdout, 1, 3)  # 30 % of those sent to, 10 % of those held out
    >>> log = pd.DataFrame({"unit": unit, "buy": bought})
    >>> measure(plan, log, chain=["buy"], margin=10.0)
    Measurement(800 sent, 200 held out: value 1,600 [1,181, 2,019], 80% of the 2,000 promised)
    """
    if not (isinstance(confidence, int | float | np.number) and 0 < confidence < 1):
        raise EvaluationError(f"confidence is {confidence!r}; it must lie in (0, 1).")
    rules = costs if isinstance(costs, Mapping) or costs is None else {"each arm": costs}
    odd = next(((name, rule) for name, rule in (rules or {}).items() if not isinstance(rule, CostRule)), None)
    if odd is not None:
        raise EvaluationError(
            f"the cost of {odd[0]} is {odd[1]!r}; give rules by arm, such as {{'coupon_5': uplift.CostRule(on='conversion', amount=5.0)}}."
        )
    sent = read_sent(plan, effects)
    if not sent.held_out.any():
        raise EvaluationError(
            f"the plan holds out none of its {len(sent):,} customers, so there is nobody to compare with; allocate with holdout=0.05 or so next time."
        )
    seen = read_outcomes(log, sent, chain=chain, value=value, missing=missing)
    basis, groups, warnings = _groups(sent)
    warnings += _about(sent, seen, groups)
    valued = _stage(sent, seen, stage)
    margin = _margin(sent, valued, margin)
    given = costs is not None
    paid = _paid(sent, seen, costs if costs is not None else sent.costs or seen.costs, warnings, given=given)
    index = seen.stages.index(valued)
    few = min(int(np.count_nonzero(seen.values[group.held, index])) for group in groups)
    if few < FEW_EVENTS:
        warnings.append(
            f"In one of the comparisons only {few:,} of the held-out customers have a {valued}: with fewer than {FEW_EVENTS} the interval is doubtful; hold out more next time."
        )
    promise = _promise(sent, valued, margin, warnings)
    measured = [_measured(groups, name, seen.values[:, at], sent, confidence, valued, promise / margin)
                for at, name in enumerate(seen.stages)]  # fmt: skip
    return Measurement(
        stage=valued,
        margin=margin,
        confidence=confidence,
        basis=basis,
        stages=tuple(one for part in measured for one in part),
        money=_money(groups, margin * seen.values[:, index], paid, sent, promise, confidence),
        customers=len(sent),
        held_out=int(sent.held_out.sum()),
        warnings=tuple(warnings),
    )


def _groups(sent: Sent) -> tuple[str, list[Group], list[str]]:
    """Who is compared with whom; arms that cannot be measured are said."""
    warnings: list[str] = []
    known = (sent.planned >= 0).all()
    if known:
        basis = "arm"
        masks = [(name, sent.planned == code) for code, name in enumerate(sent.arms) if code]
    elif sent.chosen is not None:
        basis = "chosen"
        masks = [(ALL_ARMS, sent.chosen)]
        warnings.append(
            "The plan does not say which arm held-out customers would have got, so arms cannot be told apart; export it with the effects it was made from (planned_arm)."
        )
    else:
        basis = "everybody"
        masks = [(ALL_ARMS, np.ones(len(sent), np.bool_))]
        warnings.append(
            "The plan does not say whom of the held-out customers it would have chosen, so everybody is compared, the plan's controls included: the total is right, its interval wider than need be; export the plan with the effects it was made from (planned_arm)."
        )
    groups = [
        Group(name, np.flatnonzero(mask & ~sent.held_out), np.flatnonzero(mask & sent.held_out))
        for name, mask in masks
    ]
    groups = [group for group in groups if len(group.sent) or len(group.held)]
    for group in groups:
        if not group.usable:
            warnings.append(
                f"Arm {group.name!r} was sent to {len(group.sent):,} and held back from {len(group.held):,}: too few to compare, so it is left out of all sums."
            )
    usable = [group for group in groups if group.usable]
    if not usable and not (sent.arm_codes > 0).any():
        raise EvaluationError(
            f"the plan sends none of its {len(sent):,} customers anything, so there is nothing to measure."
        )
    if not usable:
        raise EvaluationError(
            f"no arm of the plan has {LEAST} customers who were sent it and {LEAST} who were held out; hold out more next time."
        )
    return basis, usable, warnings


def _about(sent: Sent, seen: Outcomes, groups: Sequence[Group]) -> list[str]:
    said = []
    n, m = (sum(len(part) for part in side) for side in ([g.sent for g in groups], [g.held for g in groups]))
    if sent.share is not None and 0 < sent.share < 1:
        expected = sent.share * (n + m)
        if abs(m - expected) > UNLIKELY * (expected * (1 - sent.share)) ** 0.5:
            said.append(
                f"{m:,} customers held out against {n:,} sent to is not the share of {sent.share:.1%} that was drawn: some were lost or moved on one side, and the comparison may be biased."
            )
    if seen.strangers:
        said.append(
            f"{seen.strangers:,} rows of the log are of customers the plan does not decide on; they were left out."
        )
    if seen.repeated:
        said.append(
            f"{seen.repeated:,} rows of the log equal an earlier row in every column, and their values were added up; if the log was loaded twice, remove them."
        )
    if seen.absent:
        said.append(
            f"{seen.absent:,} of the plan's {len(sent):,} customers have no row in the log and count as having done nothing."
        )
    if seen.received is not None:
        wrong = int(((seen.received > 0) & sent.held_out).sum())
        if wrong:
            said.append(
                f"{wrong:,} of {int(sent.held_out.sum()):,} held-out customers received an arm all the same; they count as held out, so the effect is measured too small."
            )
        wanted = (sent.arm_codes > 0) & ~sent.held_out
        other = int((wanted & (seen.received != sent.arm_codes) & (seen.received >= 0)).sum())
        if other:
            said.append(
                f"{other:,} of {int(wanted.sum()):,} customers received something else than the plan sent; they count for the arm of the plan (intent to treat)."
            )
    return said


def _stage(sent: Sent, seen: Outcomes, stage: str | None) -> str:
    if stage is None:
        if sent.stage in seen.stages:
            return str(sent.stage)
        binary = [name for name in seen.stages if name != VALUE_STAGE]
        return binary[-1] if binary else VALUE_STAGE
    if stage not in seen.stages:
        raise EvaluationError(f"the log has no stage {stage!r}; {did_you_mean(stage, seen.stages)}")
    return stage


def _margin(sent: Sent, stage: str, margin: float | None) -> float:
    """Money per outcome: as given, as the plan says, or as its columns imply; never two different ones."""
    if margin is not None and not (
        isinstance(margin, int | float | np.number) and np.isfinite(margin) and margin > 0
    ):
        raise EvaluationError(f"margin is {margin!r}; it must be a finite number > 0.")
    implied = _implied(sent, stage)
    if sent.margin is not None and sent.stage in (None, stage):
        implied = sent.margin
    if implied is not None and margin is not None and not np.isclose(margin, implied, rtol=1e-3):
        raise EvaluationError(
            f"the plan's promise was made with {implied:.6g} per {stage}, and margin is {margin:g}, so the two cannot be compared; drop margin= or pass {implied:.6g}."
        )
    if margin is None:
        margin = 1.0 if implied is None and stage == VALUE_STAGE else implied
    if margin is None:
        raise EvaluationError(
            f"the plan does not say what a {stage} is worth; pass margin=..., the number it was made with (--margin)."
        )
    return float(margin)


def _implied(sent: Sent, stage: str) -> float | None:
    """Money per outcome of a stage by the plan's columns; None where its values are no multiple of that uplift."""
    if stage not in sent.uplift:
        return None
    events = float(sent.uplift[stage].sum())
    if events > 0 and np.allclose(
        sent.value, sent.value.sum() / events * sent.uplift[stage], rtol=1e-3, atol=1e-6
    ):
        return float(f"{sent.value.sum() / events:.6g}")  # effects are float32: 40, not 39.99999
    return None


def _promise(sent: Sent, stage: str, margin: float, warnings: list[str]) -> np.ndarray:
    """What the plan promised at the valued stage, money [unit]; NaN where it was made for another and does not say."""
    made_for = sent.stage
    if made_for is None and _implied(sent, stage) is None:
        made_for = next((other for other in sent.uplift if _implied(sent, other) is not None), None)
    if made_for in (None, stage):
        return sent.value
    if stage in sent.uplift:
        return margin * sent.uplift[stage]
    warnings.append(
        f"The plan was made for {made_for} and does not say what it promised of {stage}; give the effects it was made from, or stage={made_for!r}, to compare."
    )
    return np.full(len(sent), np.nan)


def _paid(
    sent: Sent, seen: Outcomes, costs: Mapping[str, CostRule], warnings: list[str], *, given: bool
) -> np.ndarray | None:
    """What was paid for what was sent, money [unit]; None without rules, or where the log cannot tell (unless `given`)."""
    if not costs:
        return None
    unknown = [name for name in costs if name not in sent.arms]
    if unknown:
        raise EvaluationError(
            f"there is a cost for {unknown[0]!r}, which is no arm of the plan; {did_you_mean(unknown[0], sent.arms)}"
        )
    unseen = [(name, rule.on) for name, rule in costs.items() if rule.on not in (SEND, *seen.stages)]
    if unseen:
        name, event = unseen[0]
        if given:
            raise EvaluationError(
                f"the cost of {name!r} is paid per {event}, which the log does not have; {did_you_mean(event, seen.stages)}"
            )
        warnings.append(
            f"What was paid is not known: {name!r} costs money per {event}, which the log does not have; name that column too."
        )
        return None
    paid = np.zeros(len(sent))
    for code, name in enumerate(sent.arms):
        rows = (sent.arm_codes == code) & ~sent.held_out
        rule = costs.get(name)
        if rule is None:
            if code and rows.any():
                warnings.append(f"Arm {name!r} has no cost rule: it counts as free.")
        elif rule.on == SEND:
            paid[rows] = float(rule.amount or 0.0)
        else:
            rate = float((rule.share if rule.on == VALUE_STAGE else rule.amount) or 0.0)
            paid[rows] = rate * seen.values[rows, seen.stages.index(rule.on)]
    return paid


def _parts(
    groups: Sequence[Group], outcome: np.ndarray, paid: np.ndarray | None = None
) -> list[tuple[str, Difference, np.ndarray]]:
    """Every group and, where there are several or one arm, all together: name, difference, rows sent to."""
    parts = [(group.name, difference(group, outcome, paid), group.sent) for group in groups]
    if [group.name for group in groups] != [ALL_ARMS]:
        whole = pooled([part for _, part, _ in parts])
        parts.append((ALL_ARMS, whole, np.concatenate([group.sent for group in groups])))
    return parts


def _measured(
    groups: Sequence[Group], stage: str, outcome: np.ndarray, sent: Sent, confidence: float, valued: str, outcomes: np.ndarray
) -> list[MeasuredArm]:  # fmt: skip
    promises = sent.uplift.get(stage)
    if promises is None and stage == valued and not np.isnan(outcomes).any():
        promises = outcomes
    return [
        MeasuredArm(
            stage=stage,
            arm=name,
            sent=part.n,
            held_out=part.m,
            mean_sent=part.sent,
            mean_held_out=part.held,
            effect=per_customer(part, confidence),
            total=in_total(part, confidence),
            promised=None if promises is None else float(promises[rows].sum()),
        )
        for name, part, rows in _parts(groups, outcome)
    ]


def _money(
    groups: Sequence[Group], worth: np.ndarray, paid: np.ndarray | None, sent: Sent, promise: np.ndarray, confidence: float
) -> tuple[MeasuredMoney, ...]:  # fmt: skip
    gross = _parts(groups, worth)
    net = gross if paid is None else _parts(groups, worth, paid)
    return tuple(
        MeasuredMoney(
            arm=name,
            value=in_total(part, confidence),
            cost=None if paid is None else float(paid[rows].sum()),
            net=None if paid is None else in_total(less, confidence),
            promised_value=float(promise[rows].sum()),
            promised_cost=float(sent.cost[rows].sum()),
        )
        for (name, part, rows), (_, less, _) in zip(gross, net, strict=True)
    )
