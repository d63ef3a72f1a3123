"""The policy file decides like the plan it came from, fast, and paces a stream within its budget."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import uplift
from uplift import CostRule, Effects, allocate, allocate_arrays
from uplift.allocation import Allocation
from uplift.errors import AllocationError, UpliftError
from uplift.hashing import Coin, unit_uniform
from uplift.policy import Pacer, Policy, Price

COSTS = {
    "five": CostRule(on="conversion", amount=5.0),
    "ten": CostRule(on="send", amount=0.4),
    "deal": CostRule(on="value", share=0.1),
}


def _effects(n: int = 3_000, seed: int = 0) -> Effects:
    rng = np.random.default_rng(seed)
    mu = np.empty((n, 4, 3), np.float32)
    base = rng.beta(2, 8, n)
    for arm in range(4):
        lift = rng.normal(0.02 * arm, 0.05, n)
        mu[:, arm, 0] = np.clip(base + lift, 0, 1)
        mu[:, arm, 1] = mu[:, arm, 0] * 0.4
        mu[:, arm, 2] = mu[:, arm, 1] * 30
    return Effects(
        mu, units=pa.array([f"c{i}" for i in range(n)]), arms=("none", *COSTS), unit_column="customer",
        stages=("click", "conversion", "value"), model="toy", campaign="spring", fingerprint="f-1",
    )  # fmt: skip


def _plan(effects: Effects, **options: object) -> Allocation:
    given = {"costs": COSTS, "margin": 12.0, "budget": 150.0, "holdout": 0.1, "seed": 3} | options
    return allocate(effects, **given)  # type: ignore[arg-type]


@pytest.mark.parametrize("budget", [0.0, 20.0, 150.0, 600.0, None])
def test_a_policy_decides_the_plans_own_units_like_the_plan_but_at_the_margin(budget: float | None) -> None:
    effects = _effects()
    plan = _plan(effects, budget=budget)
    policy = plan.policy()
    codes = policy.decide_effects(effects)
    value, cost = policy.amounts(effects)
    differ = np.flatnonzero(codes != plan.arm_codes)
    assert len(differ) <= 12  # of 3,000
    # Where they differ, the plan filled its last money: the unit's return is all but the price.
    padded_value, padded_cost = (np.hstack([np.zeros((len(effects), 1)), a]) for a in (value, cost))
    for row in differ:
        ours = padded_value[row, codes[row]] - policy.price * padded_cost[row, codes[row]]
        plans = padded_value[row, plan.arm_codes[row]] - policy.price * padded_cost[row, plan.arm_codes[row]]
        assert 0 <= ours - plans <= plan.certificate.gap_regret + 1e-9
    assert not codes[plan.holdout].any()
    spent = padded_cost[np.arange(len(codes)), codes].sum()
    if budget is not None:
        assert spent <= plan.certificate.budget + padded_cost.max()
    else:
        assert len(differ) == 0


def test_ties_at_the_price_are_not_taken() -> None:
    # 100 equal units and money for 30 of them: the plan cuts the tie by hash, the policy takes nobody.
    plan = allocate_arrays(np.full((100, 1), 3.0), np.full((100, 1), 2.0), budget=60.0)
    assert plan.certificate.n_treated == 30
    policy = plan.policy()
    assert policy.price == 1.5
    assert not policy.decide(np.full((100, 1), 3.0), np.full((100, 1), 2.0)).any()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.booleans(), st.booleans())
def test_one_unit_at_a_time_decides_like_all_at_once(seed: int, allow_harm: bool, rules: bool) -> None:
    rng = np.random.default_rng(seed)
    n, arms = 40, ("none", "a", "b", "c")
    value = rng.choice([-2.0, -1.0, 0.0, 1.0, 2.0, 3.0], (n, 3))  # many ties
    cost = rng.choice([-1.0, 0.0, 1.0, 2.0], (n, 3))
    eligible, region = rng.random((n, 3)) < 0.7, rng.choice(["north", "south"], n)
    prices: tuple[Price, ...] = (Price(kind="budget", price=float(rng.choice([0.0, 0.5, 1.0]))),)
    segments = None
    if rules:
        prices += (
            Price(kind="budget", price=0.5, segment="region", level="north"),
            Price(kind="stock", price=1.0, arm="b"),
            Price(kind="min_reach", price=0.5, segment="region", level="south"),
            Price(kind="min_roi", price=0.5, ratio=2.0),
            Price(kind="cap", price=0.25),
        )
        segments = {"region": region}
    policy = Policy(arms=arms, prices=prices, allow_harm=allow_harm, holdout_share=0.2, salt="s:1")
    units = [f"u{i}" for i in range(n)]
    many = policy.decide(value, cost, units=units, eligible=eligible, segments=segments)
    one = [
        policy.decide_one(
            value[i].tolist(), cost[i].tolist(), units[i], eligible=eligible[i].tolist(),
            segments=None if segments is None else {"region": region[i]},
        )
        for i in range(n)
    ]  # fmt: skip
    assert many.tolist() == one


def test_prices_charge_what_their_limits_count() -> None:
    policy = Policy(
        arms=("none", "a", "b"),
        prices=(
            Price(kind="budget", price=1.0),
            Price(kind="stock", price=2.0, arm="b"),
            Price(kind="min_roi", price=0.5, ratio=3.0),
        ),
    )
    # reduced a: 1.5 * 10 - (1 + 0.5 * 3) * 4 = 5; b: 1.5 * 12 - 2.5 * 4 - 2 = 6
    assert policy.decide_one([10.0, 12.0], [4.0, 4.0]) == 2
    # b at 11.3: 1.5 * 11.3 - 10 - 2 = 4.95 < 5
    assert policy.decide_one([10.0, 11.3], [4.0, 4.0]) == 1


@settings(max_examples=30, deadline=None)
@given(st.one_of(st.integers(-(2**63), 2**63 - 1), st.text(max_size=20)), st.text(max_size=5))
def test_the_coin_of_one_unit_is_the_coin_of_the_column(unit: int | str, salt: str) -> None:
    try:
        column = pa.array([unit])
    except (UnicodeEncodeError, pa.ArrowInvalid):
        return
    assert Coin(salt)(unit) == unit_uniform(column, salt)[0]


def test_units_held_out_by_the_plan_are_held_out_by_the_policy() -> None:
    effects = _effects()
    plan = _plan(effects)
    policy = plan.policy()
    huge, nothing = [1e6] * 3, [0.0] * 3
    held = [policy.decide_one(huge, nothing, unit) == 0 for unit in effects.units.to_pylist()]
    assert held == plan.holdout.tolist()


def test_a_policy_file_gives_back_the_policy(tmp_path: Path) -> None:
    effects = _effects()
    policy = _plan(effects, min_roi=1.2).policy(labels={"five": "5 off"})
    path = policy.save(tmp_path / "policy.json")
    again = uplift.Policy.load(path)
    assert again == policy
    assert (again.decide_effects(effects) == policy.decide_effects(effects)).all()
    content = json.loads(path.read_text())
    assert content["schema_version"] == 2
    assert content["model"] == {"name": "toy", "fingerprint": "f-1"}
    assert content["holdout"] == {"share": 0.1, "salt": "spring:3"}
    assert len(path.read_bytes()) < 2_000
    for broken, message in (
        ({"kind": "x"}, "no policy file"),
        (content | {"schema_version": 3}, "schema version 3"),
        ({k: v for k, v in content.items() if k != "arms"}, "damaged"),
    ):
        path.write_text(json.dumps(broken))
        with pytest.raises(AllocationError, match=message):
            Policy.load(path)


def test_scores_of_one_unit_become_the_plans_value_and_cost() -> None:
    effects = _effects(50)
    policy = _plan(effects).policy()
    value, cost = policy.amounts(effects)
    for row in range(50):
        mu = {s: effects.mu_all[row, :, k].tolist() for k, s in enumerate(effects.stages)}
        tau = {s: effects.tau_all[row, :, k].tolist() for k, s in enumerate(effects.stages)}
        one_value, one_cost = policy.amounts_one(mu, tau)
        assert one_value == value[row].tolist()
        assert one_cost == cost[row].tolist()
        assert policy.amounts_one(mu)[0] == pytest.approx(one_value, abs=1e-6)


def test_what_a_policy_needs_is_asked_for() -> None:
    value, cost = np.ones((2, 1)), np.ones((2, 1))
    held = Policy(arms=("none", "a"), holdout_share=0.1)
    with pytest.raises(AllocationError, match="pass units"):
        held.decide(value, cost)
    with pytest.raises(AllocationError, match="pass the unit's id"):
        held.decide_one([1.0], [1.0])
    masked = allocate_arrays(value, cost, budget=1.0, eligible=np.array([True, False])).policy()
    with pytest.raises(AllocationError, match="pass eligible"):
        masked.decide(value, cost)
    with pytest.raises(AllocationError, match="pass eligible"):
        masked.decide_one([1.0], [1.0])
    drawn = allocate_arrays(value, cost, budget=1.0, holdout=np.array([True, False])).policy()
    with pytest.raises(AllocationError, match="does not draw the holdout"):
        drawn.decide(value, cost)
    plain = Policy(arms=("none", "a"))
    with pytest.raises(AllocationError, match="missing or infinite"):
        plain.decide([[np.nan]], [[1.0]])
    with pytest.raises(AllocationError, match="missing or infinite"):
        plain.decide_one([float("nan")], [1.0])
    with pytest.raises(AllocationError, match="no stage, margin and costs"):
        plain.amounts_one({"conversion": [0.1, 0.2]})
    with pytest.raises(AllocationError, match="levels of 'region'"):
        Policy(
            arms=("none", "a"), prices=(Price(kind="cap", price=1.0, segment="region", level="n"),)
        ).decide_one([1.0], [1.0])


def test_one_decision_takes_microseconds() -> None:
    policy = Policy(
        arms=("none", *"abcde"), prices=(Price(kind="budget", price=1.5),), holdout_share=0.05, salt="x"
    )
    value, cost = [3.0, 4.0, 5.0, 2.0, 1.0], [1.0, 2.0, 3.0, 0.5, 0.2]
    best = float("inf")
    for _ in range(20):
        begin = time.perf_counter()
        for unit in range(500):
            policy.decide_one(value, cost, unit)
        best = min(best, (time.perf_counter() - begin) / 500)
    assert best < 50e-6  # a few microseconds on an idle core


def _stream(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    cost = rng.uniform(0.5, 3.0, (n, 3))
    value = cost * rng.lognormal(0.3, 0.6, (n, 3))
    return value, cost


@pytest.mark.parametrize("drift", ["steady", "richer", "poorer", "wave"])
@pytest.mark.parametrize("start", [0.3, 1.0, 3.0])
def test_a_paced_stream_ends_within_two_per_cent_of_its_budget_and_never_above(
    drift: str, start: float
) -> None:
    n = 20_000
    value, cost = _stream(n, 1)
    place = np.linspace(0, 1, n)[:, None]
    value *= {
        "steady": 1.0, "richer": 1 + place, "poorer": 2 - place, "wave": 1 + 0.5 * np.sin(12 * place),
    }[drift]  # fmt: skip
    plan = allocate_arrays(*_stream(5_000, 2), budget=5_000 * 0.4, arms=("a", "b", "c"))
    policy = plan.policy().with_price(plan.policy().price * start)
    budget = n * 0.4
    pacer = Pacer(policy, budget=budget, units=n)
    spent = 0.0
    for v, c in zip(value.tolist(), cost.tolist(), strict=True):
        code = pacer.decide_one(v, c)
        spent += c[code - 1] if code else 0.0
        assert spent <= budget
    assert spent == pytest.approx(pacer.spent)
    assert spent >= 0.98 * budget


def test_pacing_is_worth_having_and_close_to_hindsight() -> None:
    n = 20_000
    value, cost = _stream(n, 1)
    value *= np.linspace(2, 1, n)[
        :, None
    ]  # the best units come first: the plan's price is too low at the start
    best = allocate_arrays(value, cost, budget=n * 0.4).certificate.expected_value
    policy = allocate_arrays(*_stream(5_000, 2), budget=5_000 * 0.4).policy()
    earned = {}
    for name, step in (("paced", None), ("fixed", 1e-12)):
        pacer = Pacer(policy, budget=n * 0.4, units=n, step=step)
        codes = [pacer.decide_one(v, c) for v, c in zip(value.tolist(), cost.tolist(), strict=True)]
        earned[name] = sum(value[row, code - 1] for row, code in enumerate(codes) if code)
    assert earned["fixed"] < earned["paced"] <= best
    assert earned["paced"] > 0.93 * best


def test_blocks_are_paced_like_single_units_and_a_pacer_can_be_resumed() -> None:
    n = 20_000
    value, cost = _stream(n, 1)
    policy = allocate_arrays(*_stream(5_000, 2), budget=5_000 * 0.4).policy()
    pacer = Pacer(policy, budget=n * 0.4, units=n)
    for start in range(0, n, 100):
        if start == n // 2:
            pacer = Pacer.resume(policy, json.loads(json.dumps(pacer.state())))
        pacer.decide(value[start : start + 100], cost[start : start + 100])
        assert pacer.spent <= pacer.budget
    assert pacer.spent >= 0.98 * pacer.budget


def test_redemptions_beyond_expectation_slow_the_stream_down() -> None:
    value, cost = _stream(4_000, 3)
    policy = allocate_arrays(*_stream(5_000, 2), budget=5_000 * 0.4).policy()
    pacer = Pacer(policy, budget=1_600.0, units=4_000)
    for v, c in zip(value.tolist(), cost.tolist(), strict=True):
        code = pacer.decide_one(v, c)
        if code:
            pacer.book(0.25 * c[code - 1])  # every coupon costs a quarter more than was expected
    assert 0.96 * 1_600 <= pacer.spent <= 1_600 * 1.01


def test_what_is_no_number_is_one_sentence_when_the_unit_comes() -> None:
    policy = Policy(
        arms=("none", "five", "ten"), prices=(Price(kind="budget", price=1.0),), stage="buy", margin=10.0,
        costs={"five": CostRule(on="send", amount=1.0), "ten": CostRule(on="click", amount=2.0)}, holdout_share=0.1,
    )  # fmt: skip
    for change, words in (
        ({"value": ["a", "b"]}, "give one number"),
        ({"value": 3.0}, "give one number"),
        ({"cost": None}, "give one number"),
        ({"eligible": True}, "give one number"),
        ({"eligible": [True]}, "eligible has 1 entries for 2 arms"),
        ({"unit": float("nan")}, "pass the unit's id"),
    ):
        inputs = {"value": [1.0, 2.0], "cost": [1.0, 1.0], "unit": "customer 7", **change}
        with pytest.raises(AllocationError, match=words) as error:
            policy.decide_one(inputs.pop("value"), inputs.pop("cost"), **inputs)
        assert "\n" not in str(error.value)
    good = {"buy": [0.1, 0.2, 0.3], "click": [0.2, 0.3, 0.4]}
    for mu, words in (
        ({"buy": good["buy"]}, r"\(buy, click\)"),
        (good | {"click": [0.1]}, "have 1 numbers"),
        ([1], "one number per arm"),
    ):
        with pytest.raises(AllocationError, match=words):
            policy.amounts_one(mu)
    for options in ({"budget": "a", "units": 5}, {"budget": 1.0, "units": "a"}):
        with pytest.raises(AllocationError, match="'a'"):
            Pacer(policy, **options)
    assert repr(policy) == "Policy(none, five, ten: money at 1, 1 limit with a price, 10.0% held out)"
    assert (
        repr(Pacer(policy, budget=2.0, units=np.int64(5)))
        == "Pacer(0 of 5 units, 0.00 of 2.00 spent, price 1)"
    )


@pytest.mark.parametrize("key", ["margin", "min_roi", "caution", "step_floor", "costs"])
def test_a_policy_file_with_text_for_a_number_is_refused_when_it_is_read(key: str, tmp_path: Path) -> None:
    file = Policy(arms=("none", "five")).save(tmp_path / "policy.json")
    file.write_text(json.dumps(json.loads(file.read_text()) | {key: "x"}))
    with pytest.raises(AllocationError, match="damaged"):
        Policy.load(file)
    with pytest.raises(UpliftError, match="There is no policy file"):
        Policy.load(tmp_path / "other.json")
