"""Against known truth: every model finds the effects, and the plan is worth more than chance and less than the oracle."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import uplift
from uplift import Campaign, Effects, allocate, make_model, simulate
from uplift.models.registry import list_models

ROWS = 40_000
QUICK = {
    "ecup": {"max_epochs": 12},
    "tarnet": {"max_epochs": 12},
    "chain_blend": {"models": {"ecup": {"max_epochs": 12}, "lightgbm_chain": {}}},
    "causalml_uplift_forest": {"n_estimators": 20},
    "causalml_causal_forest": {"n_estimators": 20},
}
CALIBRATED = [card.name for card in list_models() if card.family != "reference"]


@pytest.fixture(scope="module")
def world() -> tuple[object, object, Effects]:
    """(train, test, truth on the test rows) of a simulated campaign."""
    simulation = simulate(rows=ROWS, arms=2, seed=11)
    train, test = simulation.campaign().split(test=0.3, seed=0)
    return train, test, simulation.true_effects().for_units(test.unit_ids)


@pytest.fixture(scope="module")
def predictions(world: tuple[object, object, Effects]) -> dict[str, Effects]:
    """Effects of every model that estimates effects, fitted on the training part."""
    train, test, _ = world
    return {
        name: make_model(name, random_state=0, **QUICK.get(name, {})).fit(train).predict(test)
        for name in CALIBRATED
    }


@pytest.mark.slow
def test_every_models_uplift_correlates_with_the_truth(
    world: tuple[object, object, Effects], predictions: dict[str, Effects]
) -> None:
    _, test, truth = world
    print(f"\ncorrelation of tau with the truth, {len(test):,} test customers")
    for name, effects in predictions.items():
        found = {
            (stage, arm): float(np.corrcoef(effects.tau(stage, arm), truth.tau(stage, arm))[0, 1])
            for stage in test.stages
            for arm in test.arm_names[1:]
        }
        print(
            f"{name:30s}", "  ".join(f"{stage}/{arm} {value:+.2f}" for (stage, arm), value in found.items())
        )
        # Conversions are rare (3.5 %) and effects of some points: learnable, but far from exactly.
        assert found["click", "coupon_10"] > 0.2, name
        assert found["conversion", "coupon_10"] > 0.1, name


@pytest.mark.slow
def test_the_plan_is_truly_worth_more_than_random_and_less_than_the_oracle(
    world: tuple[object, object, Effects], predictions: dict[str, Effects]
) -> None:
    _, test, truth = world
    margin, budget = 40.0, 0.15 * len(test)
    tau = margin * truth.tau_all[:, :, test.stage_index("conversion")].astype(np.float64)
    cost = np.stack(
        [
            np.zeros(len(test)),
            *(test.costs[arm].amount * truth.mu("conversion", arm) for arm in test.arm_names[1:]),
        ],
        axis=1,
    )

    def true_value(arms: np.ndarray) -> tuple[float, float]:
        rows = np.arange(len(test))
        return float(tau[rows, arms].sum()), float(cost[rows, arms].sum())

    # Random: arms to customers in random order until the same money is spent, by true cost; mean of 20 orders.
    rng = np.random.default_rng(0)
    values = []
    for _ in range(20):
        arms = np.zeros(len(test), int)
        order, chosen = rng.permutation(len(test)), rng.integers(1, len(test.arm_names), len(test))
        spent = np.cumsum(cost[order, chosen[order]])
        take = order[spent <= budget]
        arms[take] = chosen[take]
        values.append(true_value(arms)[0])
    random_value = float(np.mean(values))
    oracle = allocate(truth, costs=test.costs, margin=margin, budget=budget)
    oracle_value, oracle_cost = true_value(oracle.arm_codes)
    assert oracle_cost <= budget * (1 + 1e-6)
    print(
        f"\ntrue incremental value at a budget of {budget:,.0f}: random {random_value:,.0f}, oracle {oracle_value:,.0f}"
    )
    for name, effects in predictions.items():
        plan = allocate(effects, costs=test.costs, margin=margin, budget=budget)
        value, paid = true_value(plan.arm_codes)
        print(
            f"{name:30s} {value:8,.0f}  true cost {paid:7,.0f}  promised {plan.certificate.expected_value:8,.0f}"
        )
        assert value < oracle_value, name
        # Plans spend by predicted cost, so compare what a unit of true money brings as well as the total.
        assert value / paid > random_value / budget, name


@pytest.mark.slow
def test_the_runs_own_allocation_lies_between_random_and_oracle_by_the_truth_file(tmp_path: Path) -> None:
    """The files a user gets: model chosen by the run, plan from allocation.parquet, truth from truth.parquet."""
    folder, out = tmp_path / "campaign", tmp_path / "run"
    simulate(rows=30_000, seed=21).write(folder)
    uplift.run(folder / "campaign.toml", out)
    decided = pd.read_parquet(out / "allocation.parquet")
    plan = json.loads((out / "allocation.json").read_text())
    truth = Effects.read_parquet(folder / "truth.parquet").for_units(pa.array(decided["customer_id"]))
    campaign = Campaign.from_file(folder / "campaign.toml")
    at = truth.stages.index("conversion")
    tau = 40.0 * truth.tau_all[:, :, at].astype(np.float64)
    amounts = np.array([0.0, *(campaign.costs[arm].amount for arm in truth.arms[1:])])
    cost = amounts * truth.mu_all[:, :, at].astype(np.float64)
    rows, codes = np.arange(len(decided)), pd.Index(truth.arms).get_indexer(decided["arm"].astype(str))
    value, paid = tau[rows, codes].sum(), cost[rows, codes].sum()
    oracle = allocate(truth, costs=campaign.costs, margin=40.0, budget=plan["budget"])
    # Random: random coupons in random order until the true money that the plan really cost is spent.
    rng, random_values = np.random.default_rng(0), []
    for _ in range(200):
        order, arms = rng.permutation(rows), rng.integers(1, len(truth.arms), len(rows))
        take = order[np.cumsum(cost[order, arms[order]]) <= paid]
        random_values.append(tau[take, arms[take]].sum())
    best = oracle.certificate.expected_value
    print(
        f"\nrun, model {decided['model'].iloc[0]}: true value {value:,.0f} for {paid:,.0f} of {plan['budget']:,.0f}, "
        f"random {np.mean(random_values):,.0f} (largest of 200: {max(random_values):,.0f}), oracle {best:,.0f}"
    )
    assert max(random_values) < value < best
