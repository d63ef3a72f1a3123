"""`allocate`: predicted effects and cost rules in, an Allocation out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np

from uplift.allocation.allocation import Allocation
from uplift.allocation.arrays import allocate_arrays
from uplift.allocation.constraints import DoNotDisturb, as_rules
from uplift.allocation.holdout import draw_holdout
from uplift.allocation.recipe import conditions_of
from uplift.arms import SEND, VALUE_STAGE, CostRule
from uplift.errors import AllocationError, did_you_mean

if TYPE_CHECKING:
    from uplift.effects import Effects


def allocate(
    effects: Effects,
    *,
    costs: Mapping[str, CostRule],
    budget: float | None,
    margin: float | None = None,
    stage: str | None = None,
    holdout: float = 0.0,
    seed: int = 0,
    campaign_name: str | None = None,
    min_roi: float | None = None,
    allow_harm: bool = False,
    constraints: Sequence[Any] | None = None,
    columns: Any = None,
    caution: float = 0.0,
    exactly_one: bool = False,
    method: str = "auto",
    time_limit: float = 10.0,
    device: str = "cpu",
    model_fingerprint: str | None = None,
) -> Allocation:
    """Decide who gets which arm: the highest expected incremental value within the budget and other limits.

    The value of an arm is ``margin * uplift`` at the stage, **gross** of what the arm itself costs. Costs count
    against the budget only; ``certificate.net_value`` is the difference. The expected cost is what the arm is
    expected to cost *under* the arm, so it includes coupons redeemed by units that would have bought anyway.

    Parameters
    ----------
    effects : Effects
        Predictions for the audience, one row per unit.
    costs : mapping of str to CostRule
        One rule for every arm but the control: ``amount`` per unit sent, ``amount * mu(stage, arm)`` for a coupon
        paid at a stage, ``share * mu("value", arm)`` for a percentage discount. Control costs nothing.
    budget : float or None
        Money; ``inf`` or None: no limit.
    margin : float, optional
        Money per event of the stage; needed unless the stage is ``"value"``, where it multiplies (default 1).
    stage : str, optional
        Stage whose uplift is bought; default the last binary stage.
    holdout : float
        Expected share in [0, 1) of units kept in control, drawn by hash of unit id, campaign and seed.
    seed : int
        Another seed draws another holdout and breaks ties in another order.
    campaign_name : str, optional
        Default: the campaign of the effects.
    min_roi, allow_harm
        See :func:`uplift.allocation.allocate_arrays`.
    constraints : sequence, optional
        Constraints as objects or dicts, in any combination: :class:`~uplift.allocation.Budget`, `Stock`, `Cap`,
        `MaxShare`, `MinReach`, `MinROI`, `Eligible`, and `DoNotDisturb`, which reads the intervals of the effects.
    columns : mapping, pyarrow Table or frame, optional
        Columns that segments and conditions name, one row per unit in the order of the effects.
    caution : float
        kappa >= 0: the value of an arm is ``margin * (uplift - kappa * standard error)``, the standard error being half
        the interval's width over its normal quantile. Needs effects with intervals. Expected values of the plan are
        then these cautious ones.
    exactly_one, method, time_limit, device
        See :func:`uplift.allocation.allocate_arrays`.
    model_fingerprint : str, optional
        Text that identifies the fitted model in exports; default the effects' fingerprint, else the model's name.

    Returns
    -------
    Allocation

    Raises
    ------
    AllocationError
        The effects are ranking scores only, an arm has no cost rule, a stage or margin is missing, ids repeat, a
        number cannot be used, intervals are needed and missing, or the constraints cannot hold together.

    Examples
    --------
    >>> import pyarrow as pa
    >>> from uplift import CostRule, Effects
    >>> mu = np.array([[[0.10], [0.20]], [[0.30], [0.31]]], np.float32)  # two customers, none and ten, buy
    >>> effects = Effects(mu, units=pa.array([7, 8]), arms=("none", "ten"), stages=("buy",), model="m")
    >>> plan = allocate(effects, costs={"ten": CostRule(on="send", amount=1.0)}, margin=40.0, budget=1.0)
    >>> plan.arm_codes.tolist(), round(plan.certificate.expected_value, 2)
    ([1, 0], 4.0)
    """
    if not effects.calibrated:
        raise AllocationError(
            f"The uplifts of model {effects.model!r} are ranking scores, not effects, so they cannot be multiplied "
            "by money: allocate with a model whose effects are calibrated."
        )
    names = tuple(str(name) for name in effects.arms)
    control, arms = names[0], names[1:]
    target = target_stage(tuple(effects.stages), stage)
    factor = margin_for(margin, target)
    check_rules(costs, control, arms, tuple(effects.stages))
    n = len(effects.units)
    value = np.empty((n, len(arms)), np.float64)
    cost = np.empty((n, len(arms)), np.float64)
    for column, arm in enumerate(arms):
        uplift = cautious(effects, target, arm, caution)
        np.multiply(uplift, factor, out=value[:, column], dtype=np.float64)
        cost[:, column] = expected_cost(effects, arm, costs[arm])
    rules = as_rules(constraints)
    undisturbed = _not_disturbed(effects, target, arms, [r for r in rules if isinstance(r, DoNotDisturb)])
    name = effects.campaign if campaign_name is None else campaign_name
    salt = f"{name}:{int(seed)}"
    held_out = draw_holdout(effects.units, holdout, salt=salt)
    plan = allocate_arrays(
        value,
        cost,
        budget=budget,
        eligible=undisturbed,
        holdout=held_out,
        units=effects.units,
        unit_column=effects.unit_column,
        arms=arms,
        control=control,
        salt=salt,
        min_roi=min_roi,
        allow_harm=allow_harm,
        constraints=[rule for rule in rules if not isinstance(rule, DoNotDisturb)],
        columns=columns,
        exactly_one=exactly_one,
        method=method,
        time_limit=time_limit,
        device=device,
        campaign=name,
        model=effects.model,
        model_fingerprint=model_fingerprint or effects.fingerprint or None,
    )
    plan.recipe = replace(
        plan.recipe,
        stage=target,
        margin=factor,
        costs={arm: costs[arm] for arm in arms},
        holdout_share=float(holdout),
        caution=float(caution),
        conditions=conditions_of(rules),
    )
    return plan


def expected_cost(effects: Effects, arm: str, rule: CostRule) -> np.ndarray | float:
    """Expected cost of giving `arm` to each unit: float64 [unit], or one number for a cost per unit sent."""
    if rule.on == SEND:
        return float(rule.amount or 0.0)
    per_event = rule.share if rule.on == VALUE_STAGE else rule.amount
    return np.asarray(effects.mu(rule.on, arm), np.float64) * float(per_event or 0.0)


def cautious(effects: Effects, stage: str, arm: str, caution: float) -> np.ndarray:
    """Uplift less `caution` standard errors: float [unit].

    Raises
    ------
    AllocationError
        `caution` is no number >= 0, or the effects have no intervals.
    """
    if not (isinstance(caution, int | float) and np.isfinite(caution) and caution >= 0):
        raise AllocationError(f"caution is {caution!r}: give standard errors to take off the uplift, >= 0.")
    uplift = effects.tau(stage, arm)
    if caution == 0:
        return uplift
    if not effects.has_intervals or effects.level is None:
        raise AllocationError(
            f"caution={caution:g} needs intervals, which model {effects.model!r} does not give: use a model that does, "
            "such as an ensemble, or caution=0."
        )
    width = effects.tau_high(stage, arm).astype(np.float64) - effects.tau_low(stage, arm)
    error = width / (2 * NormalDist().inv_cdf(0.5 + effects.level / 2))
    result: np.ndarray = uplift.astype(np.float64) - caution * error
    return result


def _not_disturbed(
    effects: Effects, stage: str, arms: tuple[str, ...], rules: Sequence[DoNotDisturb]
) -> np.ndarray | None:
    """Arms that may still be given when surely harmful ones are not, bool [unit, arm]; None without such a rule."""
    if not rules:
        return None
    if not effects.has_intervals:
        raise AllocationError(
            f"do_not_disturb needs intervals, which model {effects.model!r} does not give: use a model that does, such "
            "as an ensemble, or drop the rule."
        )
    least = max(float(rule.above) for rule in rules)
    return np.stack([effects.tau_high(stage, arm) >= least for arm in arms], axis=1)


def target_stage(stages: tuple[str, ...], stage: str | None) -> str:
    """The stage whose uplift is bought: `stage`, or the last binary one.

    Raises
    ------
    AllocationError
        There is no such stage.
    """
    if stage is None:
        binary = [name for name in stages if name != VALUE_STAGE]
        return binary[-1] if binary else VALUE_STAGE
    if stage not in stages:
        raise AllocationError(f"The effects have no stage {stage!r}: {did_you_mean(stage, stages)}")
    return stage


def margin_for(margin: float | None, stage: str) -> float:
    """Money per event of the stage; 1 by default where the stage is money already.

    Raises
    ------
    AllocationError
        It is missing, or not above 0.
    """
    if margin is None:
        if stage == VALUE_STAGE:
            return 1.0
        raise AllocationError(
            f"No margin for stage {stage!r}: give margin, the money that one {stage} brings, or stage='value'."
        )
    if not np.isfinite(margin) or margin <= 0:
        raise AllocationError(f"The margin is {margin!r}: give the money that one {stage} brings, > 0.")
    return float(margin)


def check_rules(
    costs: Mapping[str, CostRule], control: str, arms: tuple[str, ...], stages: tuple[str, ...]
) -> None:
    """Every arm but the control has a cost rule that the stages allow.

    Raises
    ------
    AllocationError
        A rule is missing, too many, or paid on an unknown stage.
    """
    unknown = [str(name) for name in costs if name != control and name not in arms]
    if unknown:
        raise AllocationError(
            f"There is a cost for {unknown[0]!r}, which is no arm: {did_you_mean(unknown[0], arms)}"
        )
    missing = [arm for arm in arms if costs.get(arm) is None]
    if missing:
        raise AllocationError(
            f"{len(missing)} of {len(arms)} arms have no cost rule ({', '.join(map(repr, missing[:5]))}): "
            "give each one, such as CostRule(on='send', amount=0.1) or [arms.NAME] cost in campaign.toml."
        )
    for arm in arms:
        if costs[arm].on != SEND and costs[arm].on not in stages:
            raise AllocationError(
                f"The cost of arm {arm!r} is paid on {costs[arm].on!r}, but the effects have no such stage: "
                f"{did_you_mean(costs[arm].on, (SEND, *stages))}"
            )
