"""What a plan promises and what it brings, as the model gets noisier; and what helps.

    python benchmarks/bench_winners_curse.py --rows 200000 --seeds 3

Simulated campaigns with known effects (three coupons, click -> conversion). A model is the truth plus independent
errors of a given size relative to the spread of the true effects; redemption costs follow the model's own rates. Half
of the customers are the randomised log on which the slope is estimated (``uplift.recalibration``); the other half are
decided on. Per plan: promised value and spend, true value and spend, and the value measured on the other half's own
randomised outcomes (``policy_value``), which the plan never saw. Simple rules spend the same budget.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import uplift
from uplift.arms import CostRule
from uplift.metrics import policy_value, recalibration

MARGIN, STAGE = 40.0, "conversion"
NOISE = (0.0, 0.25, 0.5, 1.0, 2.0)


def noisy(effects: uplift.Effects, ratio: float, seed: int) -> uplift.Effects:
    """Effects with errors of `ratio` times the spread of the true ones, and outcomes that follow them."""
    rng = np.random.default_rng([seed, 77])
    tau = effects.tau_all.astype(np.float64)
    tau[:, 1:] += ratio * tau[:, 1:].std(axis=0) * rng.standard_normal(tau[:, 1:].shape)
    mu = np.maximum(effects.mu_all[:, :1] + tau, 0.0)
    return replace(effects, mu_all=mu.astype(np.float32), tau_all=tau.astype(np.float32))


def truth_of(plan_arms: np.ndarray, truth: uplift.Effects, costs: dict[str, CostRule]) -> tuple[float, float]:
    """True value and spend of a choice of arms."""
    at = truth.stages.index(STAGE)
    rows = np.arange(len(plan_arms))
    value = MARGIN * truth.tau_all[rows, plan_arms, at].sum(dtype=np.float64)
    amount = np.array([0.0, *(costs[arm].amount for arm in truth.treated_arms)])
    spend = (amount[plan_arms] * truth.mu_all[rows, plan_arms, at]).sum(dtype=np.float64)
    return float(value), float(spend)


def fill(order: np.ndarray, arms: np.ndarray, cost: np.ndarray, budget: float) -> np.ndarray:
    """Arms in the given order of units until the expected cost reaches the budget."""
    chosen = np.zeros(len(arms), np.int64)
    taken = order[np.cumsum(cost[order]) <= budget]
    chosen[taken] = arms[taken]
    return chosen


def rules(
    effects: uplift.Effects, costs: dict[str, CostRule], budget: float, seed: int
) -> dict[str, np.ndarray]:
    """Simple rules on a model's numbers: arms per unit."""
    at = effects.stages.index(STAGE)
    tau, mu = effects.tau_all[:, :, at], effects.mu_all[:, :, at].astype(np.float64)
    n = len(effects)
    amount = np.array([0.0, *(costs[arm].amount for arm in effects.treated_arms)])
    middle = np.full(n, 1 + (len(amount) - 1) // 2)
    best = tau.argmax(axis=1)
    rows = np.arange(n)
    random = np.random.default_rng([seed, 5]).permutation(n)
    return {
        "random customers, middle coupon": fill(random, middle, amount[middle] * mu[rows, middle], budget),
        "top by response, middle coupon": fill(np.argsort(-mu[:, 0]), middle, amount[middle] * mu[rows, middle], budget),
        "top by uplift, best coupon": fill(np.argsort(-tau[rows, best]), best, amount[best] * mu[rows, best], budget),
    }  # fmt: skip


def one(rows: int, seed: int) -> list[dict[str, object]]:
    world = uplift.simulate(rows=rows, seed=1000 + seed)
    campaign, truth = world.campaign(), world.effects
    costs = {arm: CostRule(on=STAGE, amount=5.0 * (j + 1)) for j, arm in enumerate(truth.treated_arms)}
    log = np.arange(len(truth)) % 2 == 0
    audience, truth_b = campaign.take(~log), truth.take(~log)
    options = {"costs": costs, "margin": MARGIN, "stage": STAGE}
    free = uplift.allocate(truth_b, budget=None, **options)
    budget = round(0.35 * free.certificate.expected_cost, 2)
    oracle = truth_of(uplift.allocate(truth_b, budget=budget, **options).arm_codes, truth_b, costs)[0]
    table: list[dict[str, object]] = []

    def note(noise: float, plan: str, arms: np.ndarray, promised: tuple[float, float] | None) -> None:
        value, spend = truth_of(arms, truth_b, costs)
        measured = policy_value(audience, arms, stage=STAGE, margin=MARGIN, costs=costs)
        table.append({
            "noise": noise, "plan": plan, "seed": seed,
            "true value": value / oracle,
            "promised / true": promised[0] / value if promised else np.nan,
            "measured / true": measured.to_dict()["value"] / value,
            "true spend / budget": spend / budget,
        })  # fmt: skip

    for noise in NOISE:
        model = noisy(truth, noise, seed)
        of_b = model.take(~log)
        correction = recalibration(campaign.take(log), model.take(log))
        spread = noise * truth.tau_all[:, :, truth.stages.index(STAGE)].std(axis=0)
        careful = of_b.tau_all.copy()
        careful[:, :, truth.stages.index(STAGE)] -= spread.astype(np.float32)
        careful[:, 0] = 0.0
        plans = {
            "plan": of_b,
            "plan, recalibrated": correction.apply(of_b),
            "plan, lower bound (1 s.e.)": replace(of_b, tau_all=careful),
        }
        for name, effects in plans.items():
            plan = uplift.allocate(effects, budget=budget, **options)
            c = plan.certificate
            note(noise, name, plan.arm_codes, (c.expected_value, c.expected_cost))
        for name, arms in rules(of_b, costs, budget, seed).items():
            if noise == 0 or "uplift" in name:
                note(noise, name, arms, None)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    table = pd.DataFrame([row for seed in range(arguments.seeds) for row in one(arguments.rows, seed)])
    shown = table.groupby(["noise", "plan"], sort=False).mean(numeric_only=True).drop(columns="seed")
    spread = table.groupby(["noise", "plan"], sort=False)["true value"].std().rename("(s.d. over seeds)")
    with pd.option_context("display.width", 200, "display.max_rows", None):
        print(shown.assign(**{spread.name: spread}).round(3).to_string())


if __name__ == "__main__":
    main()
