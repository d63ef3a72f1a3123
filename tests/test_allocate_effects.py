"""From effects and cost rules to a decision table: costs, holdout, ids, summary."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest

from uplift.allocation import Allocation, allocate
from uplift.arms import CostRule
from uplift.effects import Effects
from uplift.errors import AllocationError

ARMS = ("none", "five", "ten")
COSTS = {"five": CostRule(on="send", amount=0.5), "ten": CostRule(on="conversion", amount=10.0)}


def make_effects(n: int = 2_000, *, with_value: bool = True, seed: int = 0, **changes) -> Effects:
    rng = np.random.default_rng(seed)
    click = rng.uniform(0.05, 0.3, (n, 3)) + np.array([0, 0.05, 0.1])
    conversion = click * rng.uniform(0.1, 0.5, (n, 3))
    stages = [click, conversion] + ([conversion * rng.uniform(10, 80, (n, 1))] if with_value else [])
    names = ("click", "conversion", "value")[: len(stages)]
    about = {"units": pa.array([f"c{i}" for i in range(n)]), "unit_column": "customer", "campaign": "spring"}
    return Effects(
        np.stack(stages, axis=2).astype(np.float32), arms=ARMS, stages=names, model="m", **(about | changes)
    )


def test_costs_are_those_under_the_arm_and_value_is_margin_times_uplift() -> None:
    effects = make_effects()
    plan = allocate(effects, costs=COSTS, margin=12.0, budget=None)
    five, ten = plan.arm_codes == 1, plan.arm_codes == 2
    assert five.any()
    assert ten.any()
    assert (plan.expected_cost[five] == 0.5).all()
    under_arm = 10.0 * effects.mu("conversion", "ten").astype(float)
    assert np.allclose(plan.expected_cost[ten], under_arm[ten], rtol=1e-12)
    uplift = np.stack([effects.tau("conversion", a) for a in ARMS], axis=1).astype(float)
    assert np.allclose(plan.expected_value, 12.0 * uplift[np.arange(len(plan)), plan.arm_codes], rtol=1e-12)
    assert np.array_equal(plan.arm_codes == 0, uplift[:, 1:].max(axis=1) <= 0)
    c = plan.certificate
    assert c.net_value == pytest.approx(plan.expected_value.sum() - plan.expected_cost.sum())


def test_value_stage_needs_no_margin_and_discounts_cost_a_share() -> None:
    effects = make_effects()
    costs = {"five": CostRule(on="value", share=0.05), "ten": CostRule(on="value", share=0.1)}
    plan = allocate(effects, costs=costs, stage="value", budget=300.0)
    for code, share in ((1, 0.05), (2, 0.1)):
        chosen = plan.arm_codes == code
        mu = effects.mu("value", ARMS[code]).astype(float)
        assert np.allclose(plan.expected_cost[chosen], share * mu[chosen], rtol=1e-12)
        assert np.allclose(plan.expected_value[chosen], effects.tau("value", ARMS[code])[chosen], rtol=1e-6)
    half = allocate(effects, costs=costs, stage="value", margin=0.5, budget=300.0)
    assert np.array_equal(half.arm_codes, plan.arm_codes)
    assert half.certificate.expected_value == pytest.approx(plan.certificate.expected_value / 2, rel=1e-9)


def test_default_stage_is_the_last_binary_one() -> None:
    for with_value in (True, False):
        effects = make_effects(with_value=with_value)
        by_default = allocate(effects, costs=COSTS, margin=5.0, budget=200.0)
        named = allocate(effects, costs=COSTS, margin=5.0, budget=200.0, stage="conversion")
        clicks = allocate(effects, costs=COSTS, margin=5.0, budget=200.0, stage="click")
        assert np.array_equal(by_default.arm_codes, named.arm_codes)
        assert not np.array_equal(by_default.arm_codes, clicks.arm_codes)


def test_holdout_is_a_stable_random_share_that_is_never_treated() -> None:
    effects = make_effects(20_000)
    plan = allocate(effects, costs=COSTS, margin=12.0, budget=None, holdout=0.1)
    again = allocate(effects, costs=COSTS, margin=12.0, budget=50.0, holdout=0.1)
    assert np.array_equal(plan.holdout, again.holdout)
    assert not plan.arm_codes[plan.holdout].any()
    assert not plan.expected_value[plan.holdout].any()
    assert abs(plan.holdout.mean() - 0.1) < 5 * np.sqrt(0.1 * 0.9 / 20_000)
    # Drawn before optimising: the held out are like everybody else.
    uplift = effects.tau("conversion", "ten")
    error = uplift.std() / np.sqrt(plan.holdout.sum())
    assert abs(uplift[plan.holdout].mean() - uplift[~plan.holdout].mean()) < 5 * error
    # A larger share holds out the same units and more; another seed others; a subset of the audience the same.
    more = allocate(effects, costs=COSTS, margin=12.0, budget=None, holdout=0.2)
    assert (more.holdout | ~plan.holdout).all()
    other = allocate(effects, costs=COSTS, margin=12.0, budget=None, holdout=0.1, seed=1)
    assert 0.05 < (other.holdout & plan.holdout).sum() / plan.holdout.sum() < 0.2
    part = Effects(
        effects.mu_all[5_000:],
        arms=ARMS,
        stages=effects.stages,
        model="m",
        units=effects.units[5_000:],
        campaign="spring",
    )
    assert np.array_equal(
        allocate(part, costs=COSTS, margin=12.0, budget=9.0, holdout=0.1).holdout, plan.holdout[5_000:]
    )


def test_money_of_the_held_out_goes_to_the_others() -> None:
    effects = make_effects()
    plan = allocate(effects, costs=COSTS, margin=12.0, budget=100.0, holdout=0.3)
    assert plan.certificate.expected_cost == pytest.approx(100.0, abs=0.5)
    free = allocate(effects, costs=COSTS, margin=12.0, budget=100.0)
    assert plan.certificate.upper_bound < free.certificate.upper_bound
    assert plan.curve.value_at(100.0) == pytest.approx(plan.certificate.upper_bound, rel=5e-3)


def test_table_has_one_row_per_unit_and_adds_up() -> None:
    plan = allocate(make_effects(), costs=COSTS, margin=12.0, budget=100.0, holdout=0.1)
    frame = plan.to_frame()
    assert list(frame.columns) == [
        "customer", "arm", "expected_value", "expected_cost", "holdout", "decision_id", "campaign", "model"
    ]  # fmt: skip
    assert frame["customer"].tolist() == [f"c{i}" for i in range(2_000)]
    assert frame["arm"].astype(str).value_counts().to_dict() == {
        k: v for k, v in plan.certificate.counts.items() if v
    }
    assert frame["expected_cost"].sum() == pytest.approx(plan.certificate.expected_cost, rel=1e-9)
    assert frame["expected_value"].sum() == pytest.approx(plan.certificate.expected_value, rel=1e-9)
    assert set(frame["campaign"].astype(str)) == {"spring"}
    assert plan.to_table().num_rows == len(plan) == 2_000


def test_decision_ids_are_unique_and_repeat_for_the_same_unit_and_campaign() -> None:
    effects = make_effects()
    ids = allocate(effects, costs=COSTS, margin=12.0, budget=100.0).decision_ids.to_pylist()
    assert len(set(ids)) == len(ids)
    assert all(len(i) == 32 and set(i) <= set("0123456789abcdef") for i in ids)
    again = allocate(effects, costs=COSTS, margin=12.0, budget=1.0, seed=9)
    assert again.decision_ids.to_pylist() == ids
    # A changed decision replaces the one before, so the model is no part of its id; another campaign is.
    retrained = allocate(effects, costs=COSTS, margin=12.0, budget=100.0, model_fingerprint="m-2")
    assert retrained.decision_ids.to_pylist() == ids
    other = allocate(effects, costs=COSTS, margin=12.0, budget=100.0, campaign_name="autumn")
    assert not set(ids) & set(other.decision_ids.to_pylist())
    reversed_units = allocate(make_effects(units=effects.units[::-1]), costs=COSTS, margin=12.0, budget=100.0)
    assert reversed_units.decision_ids.to_pylist() == ids[::-1]


def test_summary_has_the_keys_of_the_file_and_is_json() -> None:
    plan = allocate(make_effects(), costs=COSTS, margin=12.0, budget=100.0)
    keys = [
        "budget",
        "expected_cost",
        "expected_value",
        "dual_prices",
        "upper_bound",
        "gap",
        "constraints",
        "policy_value",
    ]
    assert list(plan.summary()) == keys
    assert plan.summary()["policy_value"] is None
    valued = plan.with_policy_value({"value": 1.0, "low": 0.5, "high": 1.5})
    assert isinstance(valued, Allocation)
    assert json.loads(json.dumps(valued.summary()))["policy_value"]["low"] == 0.5
    assert plan.policy_value is None
    budget = plan.summary()["constraints"][0]
    assert budget["use"] + budget["slack"] == pytest.approx(budget["limit"])
    unlimited = allocate(make_effects(), costs=COSTS, margin=12.0, budget=None).summary()
    assert unlimited["budget"] is None
    assert "Infinity" not in json.dumps(unlimited)


def test_curve_and_decisions_survive_policy_value_and_second_use() -> None:
    plan = allocate(make_effects(), costs=COSTS, margin=12.0, budget=100.0)
    other = plan.with_policy_value({"value": 1.0})
    assert np.array_equal(plan.curve.values, other.curve.values)
    assert plan.curve is plan.curve
    assert "of 2,000 units treated" in repr(plan)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"costs": {"five": COSTS["five"]}}, r"1 of 2 arms have no cost rule \('ten'\)"),
        ({"costs": COSTS | {"tem": COSTS["ten"]}}, "'tem', which is no arm: did you mean 'ten'"),
        (
            {"costs": COSTS | {"ten": CostRule(on="convrsion", amount=1.0)}},
            "arm 'ten' is paid on 'convrsion'",
        ),
        ({"margin": None}, "No margin for stage 'conversion'"),
        ({"margin": 0.0}, "margin is 0.0"),
        ({"margin": float("nan")}, "margin is nan"),
        ({"stage": "convrsion"}, "did you mean 'conversion'"),
        ({"budget": -5.0}, "budget is -5.0"),
        ({"holdout": 1.0}, "holdout share is 1.0"),
        ({"holdout": -0.1}, "holdout share is -0.1"),
        ({"holdout": float("nan")}, "holdout share is nan"),
    ],
)
def test_bad_settings_are_named(change: dict, message: str) -> None:
    arguments = {"costs": COSTS, "margin": 12.0, "budget": 100.0} | change
    with pytest.raises(AllocationError, match=message):
        allocate(make_effects(50), **arguments)


def test_repeated_units_are_refused_and_row_numbers_are_not() -> None:
    with pytest.raises(AllocationError, match=r"3 of 50 rows repeat an earlier 'customer'.*one row per unit"):
        allocate(
            make_effects(50, units=pa.array([0, 0, 0, 0, *range(4, 50)])), costs=COSTS, margin=1.0, budget=1.0
        )
    plan = allocate(make_effects(50, units=pa.array(range(50))), costs=COSTS, margin=1.0, budget=1.0)
    assert len(plan) == 50


def test_ranking_scores_are_refused() -> None:
    with pytest.raises(AllocationError, match="ranking scores"):
        allocate(make_effects(50, calibrated=False), costs=COSTS, margin=1.0, budget=1.0)
