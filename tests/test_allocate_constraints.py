"""Allocation under many constraints: against HiGHS MILP, and what must hold whatever the numbers."""

from __future__ import annotations

import json
import math

import numba
import numpy as np
import pyarrow as pa
import pytest
from constraint_cases import Case, random_case, reference, violations
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from uplift.allocation import (
    REASONS,
    Budget,
    Cap,
    DoNotDisturb,
    Eligible,
    MaxShare,
    MinReach,
    MinROI,
    Stock,
    allocate,
    allocate_arrays,
    constraint_from_dict,
)
from uplift.allocation.conditions import evaluate
from uplift.allocation.constraints import Constraint
from uplift.arms import CostRule
from uplift.effects import Effects
from uplift.errors import AllocationError

few = settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])


# ---------------------------------------------------------------- against HiGHS MILP


@pytest.mark.parametrize("block", range(5))
def test_random_instances_of_every_constraint_agree_with_milp(block: int) -> None:
    """150 instances: feasible in whole cents, bound never below the optimum, optimum within the gap, same refusals."""
    for seed in range(30 * block, 30 * block + 30):
        case = random_case(seed)
        best = reference(case)
        for method in ("auto", "dual"):
            if best is None:
                with pytest.raises(AllocationError):
                    case.solve(method)
                continue
            plan = case.solve(method)
            c = plan.certificate
            assert violations(case, plan.arm_codes) == [], seed
            assert 100 * c.upper_bound >= best - 1e-6, seed
            assert best - 100 * c.expected_value <= c.gap * abs(100 * c.upper_bound) + 1e-6, seed
            if c.status == "optimal":
                assert 100 * c.expected_value == pytest.approx(best, abs=1e-3), seed


def test_exact_proves_the_optimum_with_one_budget() -> None:
    rng = np.random.default_rng(0)
    value, cost = rng.gamma(1, 1, (3_000, 5)) - 0.4, rng.uniform(0.1, 2, (3_000, 5))
    plain = allocate_arrays(value, cost, budget=200.0).certificate
    exact = allocate_arrays(value, cost, budget=200.0, method="exact").certificate
    assert (plain.method, exact.method, exact.status) == ("one_budget", "exact", "optimal")
    assert plain.expected_value <= exact.expected_value <= exact.upper_bound <= plain.upper_bound + 1e-9
    assert exact.gap < 1e-7
    assert exact.expected_cost <= 200.0


def test_a_time_limit_is_reported_and_leaves_a_certified_plan() -> None:
    rng = np.random.default_rng(1)
    cost = rng.integers(20, 90, (400, 3)) / 10
    value = cost + 1.0 + rng.integers(0, 3, (400, 3)) / 100  # strongly correlated: hard for integers
    shops = rng.integers(0, 30, 400)
    plan = allocate_arrays(
        value, cost, budget=300.0, constraints=[Budget(11.3, segment=shops), Cap(4, segment=shops)],
        method="exact", time_limit=0.05,
    )  # fmt: skip
    c = plan.certificate
    assert c.status in ("time limit", "optimal")
    assert c.expected_value <= c.upper_bound
    assert c.gap < 0.2
    spent = np.bincount(shops, plan.expected_cost)
    assert (np.round(spent * 10) <= 113).all()


# ---------------------------------------------------------------- larger problems


def shops(n: int, seed: int = 0, segments: int = 12) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "value": rng.gamma(0.7, 1.0, (n, 4)).round(3) - 0.2,
        "cost": rng.uniform(0.2, 2, (n, 4)).round(2),
        "shop": rng.integers(0, segments, n),
    }


def shop_rules(n: int) -> list[Constraint]:
    return [
        Budget(round(n * 0.012, 2), segment="shop"),
        Stock({"arm_1": n // 20, "arm_4": n // 30}),
        MinReach(n // 150, segment="shop"),
        MaxShare(0.35),
        MinROI(1.2),
    ]


@pytest.fixture(scope="module")
def large() -> tuple[dict[str, np.ndarray], object]:
    n = 20_000
    data = shops(n)
    return data, allocate_arrays(
        data["value"],
        data["cost"],
        budget=0.12 * n,
        constraints=shop_rules(n),
        columns={"shop": data["shop"]},
    )


def test_large_plans_keep_every_limit_and_certify_a_small_gap(large) -> None:
    data, plan = large
    n, c = 20_000, plan.certificate
    assert (c.method, c.status) == ("dual", "certified")
    assert 0 <= c.gap < 1e-3
    treated = np.flatnonzero(plan.arm_codes)
    arms = plan.arm_codes[treated] - 1
    cents = np.rint(100 * data["cost"][treated, arms]).astype(int)
    mills = np.rint(1000 * data["value"][treated, arms]).astype(int)
    assert cents.sum() <= 100 * 0.12 * n
    assert (np.bincount(data["shop"][treated], cents) <= round(100 * n * 0.012)).all()
    assert (np.bincount(data["shop"][treated], minlength=12) >= n // 150).all()
    assert (arms == 0).sum() <= n // 20
    assert (arms == 3).sum() <= n // 30
    assert len(treated) <= 0.35 * n
    assert mills.sum() >= 12 * cents.sum()  # 1.2 in mills per cent
    assert c.expected_value == pytest.approx(mills.sum() / 1000)


def test_every_constraint_reports_use_slack_and_price(large) -> None:
    _, plan = large
    c, table = plan.certificate, plan.constraints
    assert list(table["name"][:2]) == ["budget", "budget shop=0"]
    assert len(table) == 1 + 12 + 2 + 12 + 1 + 1
    assert (table["slack"] >= 0).all()
    assert set(c.dual_prices) == set(table["name"])
    most = table[table["sense"] == "at most"]
    assert np.allclose(most["limit"] - most["use"], most["slack"])
    reach = table[table["kind"] == "min_reach"]
    assert np.allclose(reach["use"] - reach["limit"], reach["slack"])
    assert c.gap_slack == pytest.approx((table["price"] * table["slack"]).sum(), rel=1e-9)
    assert c.gap_regret + c.gap_slack == pytest.approx(c.upper_bound - c.expected_value, rel=1e-9)
    assert json.loads(json.dumps(plan.summary()))["constraints"][1]["meaning"].startswith(
        ("One more", "Does not")
    )
    # What is left of a limit with a price is less than one customer's use of it.
    bound = table[(table["kind"] == "budget") & (table["price"] > 0.05)]
    assert (bound["slack"] < 2.0).all()


def test_the_bound_is_the_optimum_of_the_linear_program(large) -> None:
    from scipy.optimize import linprog
    from scipy.sparse import coo_matrix, vstack

    n = 1_500
    data = shops(n, seed=3, segments=5)
    rules = [Budget(12.0, segment="shop"), Stock({"arm_1": 60}), MaxShare(0.3)]
    plan = allocate_arrays(
        data["value"],
        data["cost"],
        budget=50.0,
        constraints=rules,
        columns={"shop": data["shop"]},
        method="dual",
    )
    cells = np.arange(n * 4)
    unit, arm = cells // 4, cells % 4
    rows = [coo_matrix((np.ones(n * 4), (unit, cells)), shape=(n, n * 4))]
    rows.append(coo_matrix(data["cost"].reshape(1, -1)))
    rows += [coo_matrix((data["cost"].ravel() * (data["shop"][unit] == s)).reshape(1, -1)) for s in range(5)]
    rows.append(coo_matrix((arm == 0).astype(float).reshape(1, -1)))
    rows.append(coo_matrix(np.ones((1, n * 4))))
    limits = np.concatenate([np.ones(n), [50.0], np.full(5, 12.0), [60.0, 0.3 * n]])
    found = linprog(-data["value"].ravel(), vstack(rows).tocsr(), limits, bounds=(0, 1), method="highs")
    assert plan.certificate.upper_bound == pytest.approx(-found.fun, rel=1e-7)
    assert plan.certificate.upper_bound >= -found.fun * (1 - 1e-12)


@pytest.mark.parametrize("n", [3_000, 15_000])
def test_row_order_and_threads_change_nothing(n: int) -> None:
    data = shops(n, seed=n)
    units = np.array([f"c{i}" for i in range(n)])
    order = np.random.default_rng(1).permutation(n)

    def solve(rows: np.ndarray) -> tuple[np.ndarray, dict]:
        plan = allocate_arrays(
            data["value"][rows], data["cost"][rows], budget=0.12 * n, constraints=shop_rules(n),
            columns={"shop": data["shop"][rows]}, units=pa.array(units[rows]), salt="s",
        )  # fmt: skip
        return plan.arm_codes, plan.summary()

    codes, summary = solve(np.arange(n))
    moved, moved_summary = solve(order)
    assert np.array_equal(codes[order], moved)
    # Reported sums of floats (value per cost of a return) may differ in the last digit; decisions and proof may not.
    for key in ("expected_value", "expected_cost", "dual_prices", "upper_bound", "gap"):
        assert summary[key] == moved_summary[key]
    before = numba.get_num_threads()
    numba.set_num_threads(1)
    try:
        alone, alone_summary = solve(np.arange(n))
    finally:
        numba.set_num_threads(before)
    assert np.array_equal(codes, alone)
    assert summary == alone_summary


# ---------------------------------------------------------------- properties


@st.composite
def cases(draw) -> Case:
    case = random_case(draw(st.integers(1_000, 4_000)))
    case.constraints = [rule for rule in case.constraints if not isinstance(rule, MinReach)]
    case.exactly_one = False
    return case


@few
@given(cases())
def test_no_budget_treats_nobody_and_no_value_treats_nobody(case: Case) -> None:
    case.cost = np.abs(case.cost) + 1
    assert not case.solve(budget=0.0).arm_codes.any()
    case.value = -np.abs(case.value) - 1
    assert not case.solve().arm_codes.any()


@few
@given(cases())
def test_limits_that_never_bind_are_the_unconstrained_optimum(case: Case) -> None:
    n = len(case.value)
    wide = [Budget(1e9, segment="region"), Stock(n), Cap(n), MaxShare(1.0)]
    plan = case.solve(budget=1e9, constraints=wide)
    harmless = np.where((case.value < 0) & (case.cost < 0), -1, case.value)
    best = np.where(case.holdout, 0, np.maximum(harmless.max(axis=1), 0))
    assert np.array_equal(np.rint(100 * plan.expected_value), best)
    assert not any(plan.certificate.dual_prices.values())
    assert plan.certificate.gap < 1e-6


@few
@given(cases())
def test_more_of_a_limit_never_hurts_and_every_further_piece_brings_less(case: Case) -> None:
    case.cost = np.abs(case.cost)
    budgets = np.array([0.0, 2.0, 4.0, 6.0, 8.0, 10.0])
    plans = [case.solve("exact", budget=float(b)) for b in budgets]
    values = np.array([p.certificate.expected_value for p in plans])
    assert (np.diff(values) >= -1e-6).all()
    dual = np.array([case.solve("dual", budget=float(b)).certificate.upper_bound for b in budgets])
    assert (np.diff(dual) >= -1e-6).all()
    assert (np.diff(np.diff(dual)) <= 1e-6).all()  # the relaxed optimum is concave


@few
@given(cases(), st.sampled_from([0.5, 2.0, 100.0]), st.sampled_from([0.5, 4.0]))
def test_scaling_values_and_costs_scales_the_answer(case: Case, by_value: float, by_cost: float) -> None:
    case.constraints = [rule for rule in case.constraints if not isinstance(rule, MinROI | Budget)]
    budget = 7.0
    plan = case.solve("exact", budget=budget)
    case.value, case.cost = case.value * by_value, case.cost * by_cost
    scaled = case.solve("exact", budget=budget * by_cost)
    assert scaled.certificate.expected_value == pytest.approx(
        plan.certificate.expected_value * by_value, abs=1e-6
    )


@few
@given(cases())
def test_an_arm_without_use_changes_nothing(case: Case) -> None:
    plan = case.solve("exact")
    worse = Case(
        np.column_stack([case.value, -np.abs(case.value[:, 0]) - 1]),
        np.column_stack([case.cost, np.abs(case.cost[:, 0])]),
        case.budget, case.constraints, case.columns, case.holdout, False,
    )  # fmt: skip
    same = worse.solve("exact").certificate.expected_value
    assert same == pytest.approx(plan.certificate.expected_value, abs=1e-6)


# ---------------------------------------------------------------- conflicts in words


@pytest.mark.parametrize(
    ("constraints", "message"),
    [
        (
            [MinReach(30, segment="shop", level=1), Budget({"1": 10.0}, segment="shop")],
            r"minimum reach of 30 in shop '1' needs at least 15\.00, but its budget is 10\.00",
        ),
        ([MinReach(50, arm="arm_2"), Stock({"arm_2": 40})], r"reach of 50 of arm 'arm_2' needs at least 50 units, but its stock is 40"),
        ([MinReach(120)], r"minimum reach of 120 is asked for, but only 100 units can get"),
        ([MinReach(90), Eligible("shop == 1")], "only 50 units can get"),
        ([MinReach(30), MaxShare(0.2)], r"needs at least 30 units, but the maximum share is 20"),
        ([MinReach(90), MinROI(9.0)], "the minimum return on cost of 9.00 would be missed"),
        ([MinReach(60, arm="arm_1"), MinReach(60, arm="arm_2")], r"together: minimum reach of 60 of arm 'arm_1'; minimum reach of 60 of arm 'arm_2'"),
        (
            [MinReach(40, segment="shop"), Stock({"arm_1": 30, "arm_2": 30}), Budget(1000.0, segment="shop")],
            r"together: minimum reach of 40 in shop '0'; minimum reach of 40 in shop '1'; stock of 30 of arm 'arm_1'; stock of 30 of arm 'arm_2'\.",
        ),
    ],
)  # fmt: skip
def test_constraints_that_conflict_are_named_with_amounts(constraints: list, message: str) -> None:
    columns = {"shop": np.repeat([0, 1], 50)}
    with pytest.raises(AllocationError, match=message) as error:
        allocate_arrays(
            np.ones((100, 2)), np.full((100, 2), 0.5), budget=None, constraints=constraints, columns=columns
        )
    assert "\n" not in str(error.value)


def test_everybody_must_get_an_arm_and_cannot() -> None:
    with pytest.raises(
        AllocationError, match=r"exactly_one\) needs at least 50\.00, but the budget is 40\.00"
    ):
        allocate_arrays(np.ones((100, 2)), np.full((100, 2), 0.5), budget=40.0, exactly_one=True)


def test_conflicts_of_large_problems_come_with_a_certificate() -> None:
    n = 30_000
    rng = np.random.default_rng(0)
    with pytest.raises(AllocationError, match=r"together: .*minimum reach of 18,000 of arm 'arm_1'"):
        allocate_arrays(
            rng.random((n, 2)), rng.random((n, 2)), budget=1e6,
            constraints=[MinReach({"arm_1": 18_000, "arm_2": 18_000}), Cap(29_000)],
        )  # fmt: skip


# ---------------------------------------------------------------- masks, reasons, plain forms


def effects_with_intervals(n: int = 600, level: float = 0.9) -> Effects:
    rng = np.random.default_rng(5)
    mu = np.clip(rng.uniform(0.05, 0.3, (n, 3, 1)) + np.array([0, 0.03, 0.05])[None, :, None], 0, 1)
    tau = mu - mu[:, :1]
    width = rng.uniform(0, 0.2, (n, 3, 1))
    width[:, 0] = 0
    return Effects(
        mu.astype(np.float32), arms=("none", "five", "ten"), stages=("conversion",), model="m",
        units=pa.array([f"c{i}" for i in range(n)]), tau_all=tau.astype(np.float32),
        low_all=(tau - width).astype(np.float32), high_all=(tau + width).astype(np.float32), level=level,
    )  # fmt: skip


COSTS = {"five": CostRule(on="send", amount=0.2), "ten": CostRule(on="conversion", amount=1.0)}


def test_do_not_disturb_and_caution_read_the_intervals() -> None:
    effects = effects_with_intervals()
    plan = allocate(
        effects,
        costs=COSTS,
        margin=10.0,
        budget=None,
        constraints=[DoNotDisturb(above=0.1)],
        exactly_one=True,
    )
    high = np.stack([effects.tau_high("conversion", a) for a in ("five", "ten")], axis=1)
    treated = np.flatnonzero(plan.arm_codes)
    assert (high[treated, plan.arm_codes[treated] - 1] >= 0.1).all()
    assert np.array_equal(plan.arm_codes > 0, (high >= 0.1).any(axis=1))
    cautious = allocate(effects, costs=COSTS, margin=10.0, budget=20.0, caution=1.0)
    chosen = np.flatnonzero(cautious.arm_codes)
    for row in chosen[:20]:
        arm = cautious.arms[cautious.arm_codes[row]]
        half = effects.tau_high("conversion", arm)[row] - effects.tau("conversion", arm)[row]
        expected = 10 * (effects.tau("conversion", arm)[row] - half / 1.6448536269514722)
        assert cautious.expected_value[row] == pytest.approx(expected, rel=1e-4, abs=1e-6)
    no_intervals = Effects(
        effects.mu_all, arms=effects.arms, stages=effects.stages, model="m", units=effects.units
    )
    for changes in ({"caution": 1.0}, {"constraints": [{"kind": "do_not_disturb"}]}):
        with pytest.raises(AllocationError, match="needs intervals"):
            allocate(no_intervals, costs=COSTS, margin=10.0, budget=20.0, **changes)


def test_holdout_stays_random_and_is_never_treated() -> None:
    effects = effects_with_intervals()
    columns = {"shop": np.arange(600) % 3}
    plan = allocate(
        effects, costs=COSTS, margin=10.0, budget=30.0, holdout=0.2, columns=columns,
        constraints=[Cap(40, segment="shop"), MinReach(10, segment="shop")],
    )  # fmt: skip
    alone = allocate(effects, costs=COSTS, margin=10.0, budget=5.0, holdout=0.2)
    assert np.array_equal(plan.holdout, alone.holdout)
    assert not plan.arm_codes[plan.holdout].any()


def test_reasons_say_why(large) -> None:
    data, plan = large
    reasons = np.asarray(plan.reasons)
    treated = plan.arm_codes > 0
    assert set(reasons[treated]) <= {"selected", "repaired"}
    assert not set(reasons[~treated]) & {"selected", "repaired", "holdout", "not eligible"}
    best = data["value"].max(axis=1)
    assert np.array_equal(reasons == "negative uplift", ~treated & (best <= 0))
    assert (reasons[treated] == "selected").mean() > 0.98
    rng = np.random.default_rng(0)
    value, cost = rng.uniform(-0.2, 1, (500, 2)), np.ones((500, 2))
    one = allocate_arrays(
        value, cost, budget=100.0, holdout=np.arange(500) < 20, eligible=np.arange(500) < 400
    )
    got = np.asarray(one.reasons)
    assert (got[:20] == "holdout").all()
    assert (got[400:] == "not eligible").all()
    assert (got == "selected").sum() == 100
    assert (got == "below price").any()
    stocked = allocate_arrays(value[:, :1], cost[:, :1], budget=None, constraints=[Stock(50)])
    assert (np.asarray(stocked.reasons) == "stock").sum() > 300
    assert set(got) <= set(REASONS)


def test_one_row_of_a_budget_given_as_a_constraint_is_the_one_budget_answer() -> None:
    rng = np.random.default_rng(2)
    value, cost = rng.gamma(1, 1, (4_000, 3)) - 0.4, rng.uniform(0.1, 2, (4_000, 3))
    plain = allocate_arrays(value, cost, budget=150.0).certificate
    rule = allocate_arrays(value, cost, budget=None, constraints=[Budget(150.0)], method="dual").certificate
    assert rule.upper_bound == pytest.approx(plain.upper_bound, rel=1e-9)
    assert rule.expected_value == pytest.approx(plain.expected_value, rel=1e-4)
    assert rule.expected_cost <= 150.0


def test_a_return_floor_for_steps_is_a_mask() -> None:
    rng = np.random.default_rng(3)
    value, cost = rng.gamma(1, 1, (800, 3)), rng.uniform(0.1, 2, (800, 3))
    plain = allocate_arrays(value, cost, budget=None, min_roi=1.5)
    rows = allocate_arrays(value, cost, budget=None, min_roi=1.5, constraints=[Cap(800)])
    treated = np.flatnonzero(rows.arm_codes)
    taken = rows.arm_codes[treated] - 1
    assert (value[treated, taken] >= 1.5 * cost[treated, taken] * (1 - 1e-9)).all()
    assert np.array_equal(rows.arm_codes, plain.arm_codes)


def test_plain_forms_are_the_same_constraints() -> None:
    rules = [
        Budget(5.0, segment="region"), Stock({"arm_1": 3}), Cap(4), MaxShare(0.5, segment="region"), MinReach(1),
        MinROI(0.5), Eligible("age >= 18", arm="arm_1"),
    ]  # fmt: skip
    case = random_case(7)
    plain = [json.loads(json.dumps(rule.to_dict())) for rule in rules]
    for rule, table in zip(rules, plain, strict=True):
        assert type(constraint_from_dict(table)) is type(rule)
    one = case.solve(constraints=rules, exactly_one=False)
    two = case.solve(constraints=plain, exactly_one=False)
    assert np.array_equal(one.arm_codes, two.arm_codes)
    assert one.summary() == two.summary()


def test_the_curve_of_customers_without_a_choice_is_flat() -> None:
    plan = allocate_arrays([[0.0], [0.0]], [[1.0], [1.0]], budget=5, min_roi=1.0, constraints=[Cap(1)])
    assert not plan.curve.values.any()
    assert not plan.curve.treated.any()


def test_the_curve_keeps_the_other_constraints(large) -> None:
    _, plan = large
    curve, c = plan.curve, plan.certificate
    assert (np.diff(curve.budgets) > 0).all()
    assert (np.diff(curve.values) >= 0).all()
    assert float(curve.value_at(c.budget)) == pytest.approx(c.upper_bound, rel=1e-6)
    assert curve.values[-1] < plan._problem.value.max(axis=1).clip(0).sum() * 0.9  # other limits stay


def test_conditions() -> None:
    columns = {
        "age": [17, 20, None, 40],
        "region": pa.array(["a", "b", "a", None]),
        "vip": [True, False, True, None],
    }
    for condition, expected in {
        "age >= 18": [0, 1, 0, 1],
        "18 <= age": [0, 1, 0, 1],
        "18 <= age < 40": None,
        "age > 18 and region == 'b'": [0, 1, 0, 0],
        "region in ['a', 'c'] or age == 40": [1, 0, 1, 1],
        "not vip": [0, 1, 0, 0],
        "vip and region not in ['b']": [1, 0, 1, 0],
    }.items():
        if expected is not None:
            assert evaluate(condition, columns).tolist() == [bool(x) for x in expected], condition
    for condition in ("age +", "__import__('os')", "age >= other", "region > 5", "age", "lambda: 1"):
        with pytest.raises(AllocationError, match="condition"):
            evaluate(condition, columns)


@pytest.mark.parametrize(
    ("constraint", "message"),
    [
        ({"kind": "stok", "limit": 1}, "did you mean 'stock'"),
        ({"limit": 1}, "has no kind"),
        ({"kind": "stock", "limit": 1, "segmnt": "x"}, "did you mean 'segment'"),
        ({"kind": "stock"}, "has no limit"),
        (Stock({"arm_9": 1}), "names the arm 'arm_9'"),
        (Stock(-1), "limit of a stock constraint is -1.0"),
        (MaxShare(1.5), "a share in"),
        (MinReach(math.inf), "is infinite"),
        (Cap(1, segment="regio"), "'regio', which is not there: did you mean 'region'"),
        (Cap(1, segment="region", level="z"), "names region 'z'"),
        (Budget({"z": 1.0}, segment="region"), "names region 'z'"),
        (Cap(1, level="a"), "no segment"),
        (Cap("much"), "'much'"),
        (Eligible(np.ones(3, bool)), "one boolean per unit"),
        (Eligible("age >= 18", arm="x"), "names the arm 'x'"),
        (Budget(5.0), "called 'budget' \\(one of them is the budget of all\\)"),
        (Budget({}, segment="region"), "names nothing"),
        (Stock({}), "names nothing"),
        (Budget({"b": 1.0}, segment="region", level="c"), "level 'c' and a limit for each of"),
        (Cap(1, segment=5), "segment of a constraint is a int"),
        (DoNotDisturb(), "needs the intervals"),
    ],
)
def test_bad_constraints_are_named(constraint, message: str) -> None:
    case = random_case(7)
    with pytest.raises(AllocationError, match=message) as error:
        case.solve(constraints=[constraint], budget=3.0, exactly_one=False)
    assert "\n" not in str(error.value)


def test_methods_are_checked() -> None:
    for arguments, message in (
        ({"method": "exakt"}, "did you mean 'exact'"),
        ({"method": "one_budget", "constraints": [Cap(1)]}, "knows one budget only"),
    ):
        with pytest.raises(AllocationError, match=message):
            allocate_arrays(np.ones((3, 1)), np.ones((3, 1)), budget=1.0, **arguments)


def test_limits_by_true_and_false_hold() -> None:
    member = np.arange(20) % 2 == 0
    plan = allocate_arrays(
        np.ones((20, 1)), np.ones((20, 1)), budget=None, columns={"member": member},
        constraints=[Budget({True: 3.0, False: 4.0}, segment="member")],
    )  # fmt: skip
    treated = plan.arm_codes > 0
    assert (treated[member].sum(), treated[~member].sum()) == (3, 4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"constraints": "budget"}, "constraints is 'budget': give a list"),
        ({"constraints": 5}, "constraints is 5: give a list"),
        ({"columns": [["a", "b", "c"]]}, "columns is a list"),
        ({"columns": np.array(["a", "b", "c"])}, "columns is a ndarray"),
        ({"time_limit": "x"}, "time_limit is 'x'"),
        ({"time_limit": -1}, "time_limit is -1"),
        ({"time_limit": math.nan}, "time_limit is nan"),
    ],
)
def test_what_constraints_come_with_is_checked(change: dict, message: str) -> None:
    given = {"constraints": [Cap(1, segment="region")], "columns": {"region": ["a", "b", "c"]}} | change
    with pytest.raises(AllocationError, match=message) as error:
        allocate_arrays(np.ones((3, 1)), np.ones((3, 1)), budget=1.0, **given)
    assert "\n" not in str(error.value)
