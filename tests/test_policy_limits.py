"""A policy of a plan with several limits: the plan's rule at the prices of all of them, told apart only at the margin."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from uplift import CostRule, Effects, allocate, allocate_arrays
from uplift.allocation import (
    Allocation,
    Budget,
    Cap,
    DoNotDisturb,
    Eligible,
    MaxShare,
    MinReach,
    MinROI,
    Stock,
)
from uplift.errors import AllocationError
from uplift.policy import Pacer, Policy, Price, plan_prices

KINDS: dict[str, Any] = {
    "budget": Budget, "stock": Stock, "cap": Cap, "max_share": MaxShare, "min_reach": MinReach, "min_roi": MinROI,
}  # fmt: skip


def _audience(
    rng: np.random.Generator, n: int, k: int, regions: int
) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    cost = rng.uniform(0.2, 3.0, (n, k)) * (1 + np.arange(k))
    value = cost * rng.lognormal(0.2, 0.7, (n, k)) - rng.uniform(0, 1, (n, k))
    region = rng.choice([f"r{i}" for i in range(regions)], n)
    return value, cost, {"region": region, "tier": rng.integers(0, 4, n)}


def _limits(
    rng: np.random.Generator, columns: dict[str, np.ndarray], arms: tuple[str, ...], m: int
) -> list[Any]:
    """`m` limits, each of another kind, segment, level or arm, most of them tight enough to bind."""
    n, found = len(columns["region"]), {}
    while len(found) < m:
        kind = str(rng.choice(list(KINDS)))
        segment = rng.choice(np.array([None, "region", "tier"], object), p=[0.2, 0.5, 0.3])
        arm = rng.choice(np.array([None, *arms], object))
        level = None if segment is None else rng.choice(np.unique(columns[segment]))
        if (kind == "stock" and arm is None) or (kind == "budget" and segment is None and arm is None):
            continue
        members = n if segment is None else int((columns[segment] == level).sum())
        limit = {
            "budget": members * (0.15 if arm else 0.6), "stock": members // 20, "cap": members // (20 if arm else 4),
            "max_share": 0.05 if arm else 0.25, "min_reach": members // 25, "min_roi": 1.8,
        }[kind]  # fmt: skip
        text = None if level is None else str(level)
        found[kind, segment, text, arm] = KINDS[kind](
            limit, segment=segment, level=text, arm=arm, name=f"{kind} of {segment} {text} {arm}"
        )
    return list(found.values())


def _reduced(
    plan: Allocation, value: np.ndarray, cost: np.ndarray, columns: dict[str, np.ndarray]
) -> np.ndarray:
    """Value less what the plan's limits charge, [unit, choice] with the control first: written from the limits alone."""
    n, k = value.shape
    found = np.zeros((n, k + 1))
    found[:, 1:] = value
    for limit in plan.certificate.limits:
        counted = np.ones((n, k), bool)
        if limit.segment is not None:
            counted &= (np.array([str(label) for label in columns[limit.segment]]) == limit.level)[:, None]
        if limit.arm is not None:
            counted &= np.array(plan.arms[1:]) == limit.arm
        use = {
            "budget": cost, "min_reach": -np.ones((n, k)), "min_roi": limit.limit * cost - value,
        }.get(limit.kind, np.ones((n, k)))  # fmt: skip
        found[:, 1:] -= limit.price * np.where(counted, use, 0.0)
    return found


def _open(
    value: np.ndarray, cost: np.ndarray, mask: np.ndarray, held: np.ndarray, floor: float, harm: bool
) -> np.ndarray:
    """Choices that a plan may take of an arm, written unit by unit."""
    opened = mask & ~held[:, None] & (harm | ~((value < 0) & (cost < 0)))
    found = opened.copy()
    for i, j in np.argwhere(opened):
        from_here = [(0.0, 0.0), *[(value[i, k], cost[i, k]) for k in np.flatnonzero(opened[i])]]
        if floor:
            found[i, j] = all(
                cost[i, j] <= c or (value[i, j] - v) >= floor * (cost[i, j] - c) * (1 - 1e-9)
                for v, c in from_here
            )
    return found


@pytest.mark.parametrize("method", ["dual", "exact"])
def test_a_policy_takes_the_best_choice_at_the_prices_of_all_limits_and_the_plan_all_but_does(
    method: str,
) -> None:
    """Random problems with every kind of limit, masks, holdouts, floors: against the Lagrangian, written anew."""
    differ, binding, solved, kinds = [], [], 0, set()
    for seed in range(60):
        rng = np.random.default_rng(seed)
        n, k = int(rng.integers(20, 160)), int(rng.integers(1, 5))
        value, cost, columns = _audience(rng, n, k, 3)
        if seed % 3 == 0:
            cost[rng.random((n, k)) < 0.05] *= -1
        arms = tuple("abcd"[:k])
        mask, held = rng.random((n, k)) < (0.8 if seed % 2 else 2), rng.random(n) < 0.1
        options: dict[str, Any] = {
            "min_roi": float(rng.choice([0.0, 0.0, 1.1])), "allow_harm": bool(rng.random() < 0.3),
            "exactly_one": bool(rng.random() < 0.2),
        }  # fmt: skip
        try:
            plan = allocate_arrays(
                value, cost, budget=n * 1.5, arms=arms, columns=columns, eligible=mask, holdout=held, method=method,
                constraints=_limits(rng, columns, arms, int(rng.integers(1, 9))), **options,
            )  # fmt: skip
        except AllocationError:
            continue  # the limits conflict
        solved += 1
        policy = plan.policy()
        codes = policy.decide(value, cost, eligible=mask, holdout=held, segments=columns)
        one = [
            policy.decide_one(
                value[i].tolist(), cost[i].tolist(), eligible=mask[i].tolist(), holdout=bool(held[i]),
                segments={"region": columns["region"][i], "tier": int(columns["tier"][i])},
            )
            for i in range(n)
        ]  # fmt: skip
        assert codes.tolist() == one
        opened = _open(value, cost, mask, held, options["min_roi"], options["allow_harm"])
        reduced = _reduced(plan, value, cost, columns)
        reduced[:, 1:][~opened] = -np.inf
        if options["exactly_one"]:
            reduced[opened.any(axis=1), 0] = -np.inf
        rows, best = np.arange(n), reduced.max(axis=1)
        scale = np.abs(value).max() * 20
        assert (best - reduced[rows, codes]).max() <= 1e-7 * scale
        # Bound less value is the plan's regret at the prices and the slack of every limit at its price; nothing else.
        regret = best - reduced[rows, plan.arm_codes]
        c = plan.certificate
        assert regret.min() >= 0
        if c.method == "dual":
            assert regret.sum() == pytest.approx(c.gap_regret, abs=1e-7 * n * scale)
        else:  # the search lowered the bound below that of the prices
            assert regret.sum() >= c.gap_regret - 1e-7 * n * scale
        assert regret[codes == plan.arm_codes].max(initial=0.0) <= 1e-7 * scale
        differ.append(int((codes != plan.arm_codes).sum()))
        binding.append(sum(limit.price > 0 for limit in c.limits))
        kinds |= {limit.kind for limit in c.limits if limit.price > 0}
    assert solved >= 20
    assert kinds == set(KINDS)
    assert max(d - 2 * b for d, b in zip(differ, binding, strict=True)) <= 8
    assert sum(differ) <= 2 * sum(binding)


@pytest.mark.parametrize("seed", [3, 4])
def test_twenty_thousand_customers_under_thirty_limits_are_decided_like_the_plan_but_for_a_handful(
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    value, cost, columns = _audience(rng, 20_000, 5, 8)
    arms = tuple("abcde")
    rules = _limits(rng, columns, arms, 30)
    plan = allocate_arrays(value, cost, budget=30_000.0, arms=arms, columns=columns, constraints=rules)
    limits = plan.certificate.limits
    binding = sum(limit.price > 0 for limit in limits)
    assert len(limits) == 31
    assert binding >= 12
    policy = plan.policy()
    codes = policy.decide(value, cost, segments=columns)
    differ = np.flatnonzero(codes != plan.arm_codes)
    assert len(differ) <= 2 * binding
    taken = np.hstack([np.zeros((len(value), 1)), value])[np.arange(len(value)), codes]
    assert 0.995 < taken.sum() / plan.certificate.expected_value < 1.005
    # What is counted in customers is never passed by more than the one who is at the margin of another limit too.
    assert plan._rows is not None
    over = (plan._rows.uses(value, cost, codes) - plan._rows.bounds) / plan._rows.scales
    counted = np.array([row.alpha != 0 for row in plan._rows.items])
    assert over[counted].max() <= 1
    # Money is passed by no more than these few customers move.
    spent = np.hstack([np.zeros((len(value), 1)), cost])
    moved = np.abs(spent[differ, codes[differ]] - spent[differ, plan.arm_codes[differ]]).sum()
    assert over[[row.kind == "budget" for row in plan._rows.items]].max() <= moved


def test_equal_units_at_the_margin_fall_on_the_side_that_keeps_the_limit() -> None:
    """0.1 + 0.2 is not 0.3: without the edge the last bit of a sum would decide over all of them at once."""
    for scale in np.random.default_rng(0).uniform(0.1, 10, 8):
        value, cost = np.full((200, 1), 0.7 * scale), np.full((200, 1), 0.1 * scale)
        tied = [
            ({"constraints": [Stock(60)]}, 0),
            ({"constraints": [Cap(60), Budget(1e6)]}, 0),
            ({"constraints": [MaxShare(0.3)], "budget": 180 * 0.1 * scale}, 0),
        ]
        for options, treated in tied:
            plan = allocate_arrays(value, cost, **{"budget": None, **options})
            assert plan.certificate.n_treated == 60
            policy = plan.policy()
            assert np.count_nonzero(policy.decide(value, cost)) == treated
            assert (policy.decide_one([value[0, 0]], [cost[0, 0]]) > 0) == bool(treated)
        reach = allocate_arrays(-value, cost, budget=None, constraints=[MinReach(60)])
        assert reach.certificate.n_treated == 60
        assert reach.policy().decide(-value, cost).all()  # the floor is kept: all of the ties


@pytest.mark.parametrize(
    ("labels", "one", "text"),
    [
        (["north", None, "south"], ["north", None, "south"], "north"),
        ([3, 4, 4], [3, 4, np.int64(4)], "3"),
        ([3.0, np.nan, 4.0], [3.0, float("nan"), np.float64(4)], "3"),
        ([0.5, 1.0, 2.0], [0.5, 1.0, 2.0], "0.5"),
        ([True, False, False], [True, False, np.False_], "true"),
        (pd.Categorical(["b", "a", "a"]), ["b", "a", "a"], "b"),
        (pa.array(["x", "y", "z"]).dictionary_encode(), ["x", "y", "z"], "x"),
    ],
)
def test_a_label_is_the_level_that_the_plan_took_it_for(labels: Any, one: list[Any], text: str) -> None:
    columns = pa.table({"s": labels}) if isinstance(labels, pa.Array) else pd.DataFrame({"s": labels})
    value, cost = np.array([[3.0], [2.0], [1.0]]), np.ones((3, 1))
    plan = allocate_arrays(
        value, cost, budget=None, columns=columns, constraints=[Cap(0, segment="s", level=text)]
    )
    assert plan.arm_codes.tolist() == [0, 1, 1]
    policy = plan.policy()
    assert policy.segments == ("s",)
    assert policy.prices[1].level == text
    assert policy.decide(value, cost, segments=columns).tolist() == [0, 1, 1]
    assert [policy.decide_one([3.0], [1.0], segments={"s": label}) for label in one] == [0, 1, 1]
    assert policy.decide_one([9.0], [1.0], segments={"s": "a level that the plan did not see"}) == 1
    labels_of = plan.to_table()["segment__s"].to_numpy()
    assert labels_of.tolist() == [text, None, None] or labels_of[0] == text
    with pytest.raises(AllocationError, match="levels of 's'"):
        policy.decide_one([9.0], [1.0], segments={"t": 1})
    with pytest.raises(AllocationError, match="levels of 's'"):
        policy.decide(value, cost)
    with pytest.raises(AllocationError, match="one label per unit"):
        policy.decide(value, cost, segments={"s": one[:2]})


def test_labels_without_a_name_cannot_be_asked_for_and_are_refused() -> None:
    value, cost = np.array([[3.0], [2.0], [1.0]]), np.ones((3, 1))
    region = ["n", "n", "s"]
    plan = allocate_arrays(value, cost, budget=None, constraints=[Cap(1, segment=region)])
    with pytest.raises(
        AllocationError, match=r"'cap segment=n' has a price and counts .* by its column's name"
    ):
        plan.policy()
    loose = allocate_arrays(value, cost, budget=2.0, constraints=[Cap(9, segment=region)])
    assert loose.policy().segments == ()  # it does not bind: nothing to ask for
    named = allocate_arrays(
        value, cost, budget=None, columns={"segment": region}, constraints=[Cap(1, segment="segment")]
    )
    assert named.policy().decide(value, cost, segments={"segment": region}).tolist() == [0, 0, 1]


def test_the_return_floor_closes_steps_where_more_than_a_budget_is_limited() -> None:
    rng = np.random.default_rng(2)
    value, cost, columns = _audience(rng, 400, 3, 2)
    rules = [Cap(40, segment="region"), MinReach(5, arm="c")]
    plan = allocate_arrays(
        value, cost, budget=1e9, arms="abc", columns=columns, constraints=rules, min_roi=1.2
    )
    policy = plan.policy()
    assert policy.step_floor
    assert (policy.decide(value, cost, segments=columns) != plan.arm_codes).sum() <= 4
    # With a budget alone the floor as the least price of money and the floor of steps are the same rule.
    single = allocate_arrays(value, cost, budget=300.0, arms="abc", min_roi=1.6).policy()
    assert not single.step_floor
    for price in (0.0, 0.5, 1.5, 1.7, 3.0):
        other = replace(single, step_floor=True)
        assert (single.decide(value, cost, price=price) == other.decide(value, cost, price=price)).all()
    broken = [[float("inf"), 1.0, 1.0]], [[1.0, 1.0, 1.0]]
    with pytest.raises(AllocationError, match="missing or infinite"):
        policy.decide_one(broken[0][0], broken[1][0], segments={"region": "r0"})
    with pytest.raises(AllocationError, match="missing or infinite"):
        policy.decide(*broken, segments={"region": ["r0"]})


def test_a_pacer_moves_the_price_of_money_and_no_other() -> None:
    rng = np.random.default_rng(5)
    value, cost, columns = _audience(rng, 6_000, 3, 3)
    rules = [Stock({"c": 60}), Cap(150, segment="region", level="r0"), Budget(150, segment="tier", level=2)]
    plan = allocate_arrays(value, cost, budget=2_000.0, arms="abc", columns=columns, constraints=rules)
    policy = plan.policy()
    assert {price.kind for price in policy.prices} == {"budget", "stock", "cap"}
    pacer = Pacer(policy, budget=1_500.0, units=6_000)
    labels = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    prices, counts = [], np.zeros(4, int)
    for v, c, label in zip(value.tolist(), cost.tolist(), labels, strict=True):
        prices.append(pacer.price)
        code = pacer.decide_one(v, c, segments=label)
        if max(c) < pacer.left:
            assert code == policy.with_price(prices[-1]).decide_one(v, c, segments=label)
        counts[code] += 1
    assert pacer.spent <= 1_500
    assert pacer.spent >= 0.98 * 1_500
    assert np.mean(prices[1_000:]) > policy.price  # less money than planned
    assert counts[3] <= 70  # the stock is priced as it was: dearer money does not use more of it
    block = Pacer(policy, budget=1_500.0, units=6_000)
    for start in range(0, 6_000, 50):
        part = slice(start, start + 50)
        block.decide(value[part], cost[part], segments={name: c[part] for name, c in columns.items()})
    assert 0.98 * 1_500 <= block.spent <= 1_500


# ------------------------------------------------------------------ rules of a plan from effects

COSTS = {"five": CostRule(on="send", amount=0.6), "ten": CostRule(on="conversion", amount=6.0)}


def _effects(n: int = 1_500, seed: int = 0) -> tuple[Effects, pa.Table]:
    rng = np.random.default_rng(seed)
    mu = np.empty((n, 3, 1), np.float32)
    mu[:, 0, 0] = rng.beta(2, 8, n)
    for arm in (1, 2):
        mu[:, arm, 0] = np.clip(mu[:, 0, 0] + rng.normal(0.03 * arm, 0.06, n), 0, 1)
    tau = mu - mu[:, :1]
    error = rng.uniform(0.005, 0.05, (n, 3, 1)).astype(np.float32) * np.array([0, 1, 1], np.float32)[:, None]
    effects = Effects(
        mu, units=pa.array([f"c{i}" for i in range(n)]), arms=("none", *COSTS), unit_column="customer",
        stages=("conversion",), model="toy", campaign="spring", fingerprint="f-1",
        low_all=tau - error, high_all=tau + error, level=0.9,
    )  # fmt: skip
    return effects, pa.table({"age": rng.integers(15, 80, n), "region": rng.choice(["n", "e", "s"], n)})


RULES = [
    Eligible("age >= 18"), Eligible("region != 'e'", arm="ten"), DoNotDisturb(above=0.01), Stock({"ten": 100}),
    Cap(150, segment="region"), MinReach(20, arm="five"),
]  # fmt: skip


def test_the_rules_of_a_plan_travel_with_its_policy(tmp_path: Path) -> None:
    effects, columns = _effects()
    plan = allocate(
        effects, costs=COSTS, margin=30.0, budget=400.0, holdout=0.1, seed=3, columns=columns, constraints=RULES,
        min_roi=1.1,
    )  # fmt: skip
    made = plan.policy(labels={"ten": "10 off"})
    policy = Policy.load(made.save(tmp_path / "policy.json"))
    assert policy == made
    assert len(policy.prices) >= 3
    codes = policy.decide_effects(effects, columns=columns)
    assert (codes != plan.arm_codes).sum() <= 2 * len(policy.prices)
    assert not codes[plan.holdout].any()
    eligible = policy.eligible(len(effects), columns=columns, effects=effects)
    assert (eligible == plan._problem.open_arm).all()
    value, cost = policy.amounts(effects)
    row = int(np.flatnonzero(codes)[0])
    mine = policy.eligible(1, columns=columns.slice(row, 1), effects=effects.take(np.array([row])))[
        0
    ].tolist()
    unit, label = effects.units[row].as_py(), {"region": columns["region"][row].as_py()}
    assert policy.decide_one(value[row], cost[row], unit, eligible=mine, segments=label) == codes[row]
    for options, sentence in (
        ({"columns": columns.drop(["age"])}, "reads the column 'age'"),
        ({"columns": columns, "effects": None}, "do_not_disturb"),
    ):
        with pytest.raises(AllocationError, match=sentence):
            policy.eligible(len(effects), **{"effects": effects, **options})
    with pytest.raises(AllocationError, match="pass eligible"):
        policy.decide(value, cost, units=effects.units, segments=columns)
    masked = allocate_arrays(value, cost, budget=9.0, eligible=eligible).policy()
    with pytest.raises(AllocationError, match="given as a mask"):
        masked.eligible(3)


def test_caution_and_exactly_one_are_repeated() -> None:
    effects, columns = _effects()
    plan = allocate(
        effects, costs=COSTS, margin=30.0, budget=1_200.0, columns=columns, caution=1.0, exactly_one=True,
        constraints=[Stock({"ten": 300}), Cap(60, segment="region", arm="ten")],
    )  # fmt: skip
    policy = Policy.from_dict(json.loads(json.dumps(plan.policy().to_dict())))
    codes = policy.decide_effects(effects, columns=columns)
    assert codes.all()
    assert (codes != plan.arm_codes).sum() <= 2 * len(policy.prices)
    value, _ = policy.amounts(effects)
    error = (
        (effects.tau_high("conversion", "ten") - effects.tau_low("conversion", "ten"))
        / 2
        / 1.6448536269514722
    )
    mu = {"conversion": effects.mu_all[7, :, 0].tolist()}
    tau = {"conversion": effects.tau_all[7, :, 0].tolist()}
    found, _ = policy.amounts_one(mu, tau, error=[0.0, 0.0, float(error[7])])
    assert found[1] == pytest.approx(value[7, 1], abs=1e-5)
    with pytest.raises(AllocationError, match="pass error"):
        policy.amounts_one(mu, tau)


def test_policy_files_of_the_first_schema_are_read() -> None:
    policy = Policy(arms=("none", "a"), prices=(Price(kind="budget", price=1.5),), min_roi=1.2)
    content = policy.to_dict()
    for key in ("step_floor", "exactly_one", "caution", "conditions"):
        del content[key]
    assert Policy.from_dict(content | {"schema_version": 1}) == policy
    with pytest.raises(AllocationError, match="damaged"):
        Policy.from_dict(content)


def test_limits_of_plans_that_do_not_say_what_they_count_are_refused() -> None:
    old = {"name": "stock ten", "kind": "stock", "price": 0.2}
    with pytest.raises(AllocationError, match="'stock ten' has a price but does not say"):
        plan_prices([{"name": "budget", "price": 1.0}, old])
    assert len(plan_prices([{"name": "budget", "price": 1.0}, old | {"price": 0.0}])) == 1


def test_one_decision_under_thirty_limits_takes_microseconds() -> None:
    prices = [Price(kind="budget", price=1.5), Price(kind="stock", price=0.2, arm="b")]
    prices += [Price(kind="cap", price=0.1, segment="region", level=f"r{i}") for i in range(18)]
    prices += [Price(kind="min_roi", price=0.1, ratio=2.0, segment="tier", level=i) for i in range(10)]
    policy = Policy(arms=("none", *"abcde"), prices=tuple(prices), holdout_share=0.05, salt="x")
    value, cost = [3.0, 4.0, 5.0, 2.0, 1.0], [1.0, 2.0, 3.0, 0.5, 0.2]
    labels = [{"region": f"r{i % 20}", "tier": i % 11} for i in range(500)]
    best = float("inf")
    for _ in range(20):
        begin = time.perf_counter()
        for unit, label in enumerate(labels):
            policy.decide_one(value, cost, unit, segments=label)
        best = min(best, (time.perf_counter() - begin) / 500)
    assert best < 60e-6  # a few microseconds on an idle core
