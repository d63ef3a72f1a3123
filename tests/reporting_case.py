"""A small campaign with results, for the tests of the report."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from uplift.allocation import Allocation, allocate
from uplift.arms import CostRule
from uplift.campaign import Campaign
from uplift.effects import Effects
from uplift.metrics import Evaluation, evaluate, policy_value

HOSTILE = "<script>alert(1)</script>"
HOSTILE_ARMS = ("none", '"><img src=x onerror=alert(1)>', "x" * 197 + " 🎟️")
HOSTILE_CHAIN = ("</script><script>alert(2)</script>", "it's 100 % $x$ %{y} {{ 7*7 }} \u2028 & co")
ARMS = ("none", "coupon_5", "coupon_10")
CHAIN = ("click", "conversion")
MARGIN = 30.0


@dataclass(frozen=True)
class Case:
    """Everything that a report takes."""

    campaign: Campaign
    evaluation: Evaluation
    plan: Allocation
    checks: list[dict[str, Any]]
    run: dict[str, Any]


def make_case(*, rows: int = 4_000, hostile: bool = False, seed: int = 0) -> Case:
    """Two coupons, click -> conversion -> value, effects known up to noise; two models and two references."""
    rng = np.random.default_rng(seed)
    arms = HOSTILE_ARMS if hostile else ARMS
    chain = HOSTILE_CHAIN if hostile else CHAIN
    x = rng.normal(size=rows)
    pull = 0.1 * (1 + np.tanh(x))
    click = np.stack([np.full(rows, 0.3), 0.3 + pull, 0.3 + 1.5 * pull], axis=1)
    conversion = click * 0.4
    mu = np.stack([click, conversion, conversion * 25.0], axis=2).astype(np.float32)
    arm = rng.integers(0, 3, rows)
    clicked = rng.random(rows) < click[np.arange(rows), arm]
    bought = clicked & (rng.random(rows) < 0.4)
    frame = pd.DataFrame(
        {
            "customer": np.arange(rows) + 100,
            "x": x,
            "arm_column": np.array(arms)[arm],
            chain[0]: clicked.astype(int),
            chain[1]: bought.astype(int),
            "gmv": np.where(bought, rng.lognormal(3.1, 0.4, rows), 0.0),
        }
    )
    campaign = Campaign.from_frame(
        frame, unit="customer", treatment="arm_column", control="none", chain=list(chain), value="gmv",
        arms={arms[1]: {"amount": 5.0, "cost": {"on": chain[1], "amount": 5.0}},
              arms[2]: {"label": HOSTILE if hostile else "Ten", "amount": 10.0, "cost": {"on": "send", "amount": 0.2}}},
        name=HOSTILE if hostile else "spring",
    )  # fmt: skip
    # The campaign orders its arms itself.
    order = [arms.index(name) for name in campaign.arm_names]
    mu = mu[:, order]
    noise = rng.normal(0, 0.05, mu.shape).astype(np.float32) * np.array([1, 0.4, 10], np.float32)
    noise[:, 0] = 0

    def effects(name: str, tau: np.ndarray, *, calibrated: bool = True) -> Effects:
        return Effects.for_campaign(mu, campaign, model=name, tau=tau, calibrated=calibrated)

    first, second = (HOSTILE, HOSTILE + "'2") if hostile else ("ecup", "lightgbm_t")
    models = {
        first: effects(first, mu - mu[:, :1]),
        second: effects(second, mu - mu[:, :1] + noise),
        "response": effects("response", mu, calibrated=False),
        "random": effects("random", rng.normal(size=mu.shape).astype(np.float32), calibrated=False),
    }
    evaluation = evaluate(campaign, models, draws=40)
    costs: dict[str, CostRule] = campaign.costs
    plan = allocate(models[first], costs=costs, margin=MARGIN, budget=300.0, holdout=0.05)
    value = policy_value(campaign, plan.arm_codes, stage=chain[1], margin=MARGIN, costs=costs)
    feature = HOSTILE if hostile else "x"
    checks = [
        {"check": "rows", "status": "pass", "detail": f"{rows} rows", "title": "Is there enough data?", "data": {}},
        {
            "check": "balance_smd", "status": "warn", "detail": f"{feature} differs", "title": "Alike?",
            "data": {"smd": {feature: {campaign.arm_names[1]: 0.03, campaign.arm_names[2]: -0.12}, "age": {campaign.arm_names[1]: 0.01}}, "limit": 0.1},
        },
    ]  # fmt: skip
    run = {
        "schema_version": 1, "seed": 7, "versions": {"uplift": "0.1.0"}, "timings": {"fit": 1.25}, "data_fingerprint": "ab" * 32,
        "config": {
            "campaign": {"data": "/home/ann/spring.parquet", "database": "postgresql://ann:hunter2@db/shop", "name": feature},
            "decide": {"stage": chain[1], "margin": MARGIN, "budget": 300.0},
        },
        "notes": [f"a note about {feature}"],
    }  # fmt: skip
    return Case(campaign, evaluation, plan.with_policy_value(value.to_dict()), checks, run)


def without_intervals(case: Case) -> Case:
    """The same results as if the last arm were too small for any interval: values stay, their ends are NaN."""
    evaluation, small = case.evaluation, case.evaluation.arms[-1]

    def blank(frame: pd.DataFrame) -> pd.DataFrame:
        ends = [column for column in ("se", "low", "high") if column in frame.columns]
        frame = frame.copy()
        frame.loc[frame["arm"] == small, ends] = np.nan
        return frame

    nothing = np.full_like(next(iter(evaluation.curves.values())).share, np.nan)
    ends = dict.fromkeys(("gain_low", "gain_high", "lift_low", "lift_high", "toc_low", "toc_high"), nothing)
    curves = {
        key: replace(curve, **ends) if key[2] == small else curve for key, curve in evaluation.curves.items()
    }
    bare = replace(
        evaluation, scores=blank(evaluation.scores), ate=blank(evaluation.ate), rates=blank(evaluation.rates),
        groups=blank(evaluation.groups), curves=curves, notes=("no interval for qini_per_capita",),
    )  # fmt: skip
    measured = {**(case.plan.policy_value or {}), "low": None, "high": None, "se": None}
    measured["arms"] = {arm: {**part, "se": float("nan")} for arm, part in measured["arms"].items()}
    return replace(case, evaluation=bare, plan=case.plan.with_policy_value(measured))


def history(
    losses: list[float],
    qinis: list[float] | None = None,
    *,
    kept: int | None = None,
    member: int | None = None,
) -> list[dict[str, Any]]:
    """A training history with these validation losses; kept is the epoch (from 1) with the lowest unless given."""
    best = 1 + int(np.argmin(losses)) if kept is None else kept
    return [
        {
            **({} if member is None else {"member": member}),
            "epoch": number, "loss": 1.05 * losses[0] - 0.01 * number, "validation_loss": loss,
            "validation_qini": 0.001 * number if qinis is None else qinis[number - 1], "kept": number == best,
            "seconds": 2.0, "rows_per_second": 12_345.0,
        }
        for number, loss in enumerate(losses, start=1)
    ]  # fmt: skip


FALL_AND_RISE = [0.9, 0.8, 0.75, 0.76, 0.78]
FALLING = [0.9, 0.8, 0.7, 0.62, 0.55]


def with_training(case: Case) -> Case:
    """The same case, whose run has histories: of a network by Qini, of an ensemble, and of one by the last stage."""
    first, second = case.evaluation.models[:2]
    members = [
        history([loss + 0.02 * member for loss in losses], member=member)
        for member, losses in enumerate(
            (FALL_AND_RISE, [*FALLING, 0.5], [0.8, 0.7, 0.71, 0.72], [0.7, 0.9, 0.8])
        )
    ]
    params = {"max_epochs": 5, "patience": 2}
    run = {
        **case.run,
        "training": {
            first: history(FALL_AND_RISE, [0.001, 0.004, 0.003, None, -0.001], kept=2),
            second: [entry for member in members for entry in member],
            "tarnet": history(FALLING),
        },
        "models": {
            first: {**params, "criterion": "qini"},
            second: {**params, "max_epochs": 6, "criterion": "loss"},
            "tarnet": {**params, "criterion": "last"},
        },
    }
    return replace(case, run=run)
