"""What must hold for every allocation, whatever the numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from uplift.allocation import allocate_arrays
from uplift.errors import AllocationError

amounts = st.one_of(
    st.integers(-20, 60).map(lambda x: x / 10),  # ties and decimals
    st.floats(-5, 20, allow_nan=False).map(lambda x: float(np.round(x, 4))),
)
relaxed = settings(
    max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)


@st.composite
def problems(draw, positive_costs: bool = False):
    n, k = draw(st.integers(1, 25)), draw(st.integers(1, 8))
    value = draw(arrays(np.float64, (n, k), elements=amounts))
    cost = draw(arrays(np.float64, (n, k), elements=amounts))
    return value, np.abs(cost) + 0.05 if positive_costs else cost


@relaxed
@given(problems(positive_costs=True))
def test_no_budget_treats_nobody(problem) -> None:
    plan = allocate_arrays(*problem, budget=0)
    assert not plan.arm_codes.any()
    assert plan.certificate.expected_value == 0
    assert plan.certificate.expected_cost == 0
    assert plan.certificate.upper_bound == pytest.approx(0, abs=1e-9)
    assert plan.certificate.gap == 0  # not 100 % of a rounding allowance


@relaxed
@given(problems())
def test_a_huge_budget_gives_everyone_the_best_arm(problem) -> None:
    value, cost = problem
    harmless = np.where((value < 0) & (cost < 0), -np.inf, value)
    best = np.maximum(harmless.max(axis=1), 0)
    for budget in (math.inf, None, 1e9):
        plan = allocate_arrays(value, cost, budget=budget)
        assert np.array_equal(plan.expected_value, best)
        assert plan.certificate.dual_prices == {"budget": 0.0}
        assert plan.certificate.gap < 1e-9
        # Of two arms with the same value the cheaper one is given.
        same = np.where(harmless == best[:, None], cost, np.inf).min(axis=1)
        assert np.array_equal(plan.expected_cost, np.where(best > 0, same, np.minimum(same, 0)))


@relaxed
@given(problems(), st.floats(0, 30))
def test_never_over_budget_and_never_above_the_bound(problem, budget: float) -> None:
    value, cost = problem
    c = allocate_arrays(value, cost, budget=budget).certificate
    assert c.expected_cost <= budget
    assert 0 <= c.expected_value <= c.upper_bound


@relaxed
@given(problems(), st.floats(0, 10), st.floats(0, 10))
def test_more_money_never_lowers_the_bound_or_raises_the_price(problem, budget: float, more: float) -> None:
    value, cost = problem
    low = allocate_arrays(value, cost, budget=budget).certificate
    high = allocate_arrays(value, cost, budget=budget + more).certificate
    assert high.upper_bound >= low.upper_bound - 1e-9
    assert high.dual_prices["budget"] <= low.dual_prices["budget"] * (1 + 1e-9)


@pytest.mark.parametrize("n", [3_000, 120_000])
def test_more_money_never_lowers_the_value(n: int) -> None:
    rng = np.random.default_rng(n)
    value, cost = rng.gamma(1, 1, (n, 4)) - 0.4, rng.uniform(0.1, 2, (n, 4))
    values = [
        allocate_arrays(value, cost, budget=b).certificate.expected_value for b in np.linspace(0, n, 25)
    ]
    assert (np.diff(values) >= 0).all()
    assert values[-1] > 0


@relaxed
@given(problems(), st.floats(0, 20))
def test_the_relaxed_curve_is_concave_and_agrees_with_the_bound(problem, budget: float) -> None:
    value, cost = problem
    plan = allocate_arrays(value, cost, budget=budget)
    curve = plan.curve
    assert len(curve.budgets) <= 400
    assert (np.diff(curve.budgets) > 0).all()
    assert (np.diff(curve.values) >= 0).all()
    slopes = np.diff(curve.values) / np.diff(curve.budgets)
    assert (np.diff(slopes) <= 1e-5 * (1 + slopes[:-1])).all()
    assert (np.diff(curve.marginal_roi) <= 0).all()
    # Slopes within a bucket (0.4 %) are added up, so the curve may lie a little below the bound, never above.
    at_budget = float(curve.value_at(budget))
    bound = plan.certificate.upper_bound
    assert bound * 0.995 - 1e-6 <= at_budget <= bound + 1e-6


def test_the_curve_at_the_budget_is_the_bound() -> None:
    rng = np.random.default_rng(0)
    value, cost = rng.gamma(1, 1, (20_000, 5)) - 0.4, rng.uniform(0.1, 2, (20_000, 5))
    for budget in (10.0, 500.0, 5_000.0):
        plan = allocate_arrays(value, cost, budget=budget)
        assert float(plan.curve.value_at(budget)) == pytest.approx(plan.certificate.upper_bound, rel=2e-3)
        price = np.interp(budget, plan.curve.budgets, plan.curve.marginal_roi)
        assert price == pytest.approx(plan.certificate.dual_prices["budget"], rel=0.05)
        treated = np.interp(budget, plan.curve.budgets, plan.curve.treated)
        assert treated == pytest.approx(plan.certificate.n_treated, rel=0.05, abs=20)
    last = allocate_arrays(value, cost, budget=None)
    assert last.curve.values[-1] == pytest.approx(last.certificate.expected_value, rel=1e-9)
    assert last.curve.budgets[-1] == pytest.approx(last.certificate.expected_cost, rel=1e-9)


@relaxed
@given(
    problems(),
    st.floats(0, 20),
    st.sampled_from([0.01, 0.5, 4.0, 1000.0]),
    st.sampled_from([0.1, 8.0, 100.0]),
)
def test_scaling_money_changes_nothing_but_the_scale(
    problem, budget: float, by_value: float, by_cost: float
) -> None:
    value, cost = problem
    plan = allocate_arrays(value, cost, budget=budget).certificate
    scaled = allocate_arrays(value * by_value, cost * by_cost, budget=budget * by_cost).certificate
    assert scaled.upper_bound == pytest.approx(plan.upper_bound * by_value, rel=1e-8, abs=1e-8 * by_value)
    assert scaled.expected_cost <= budget * by_cost


@relaxed
@given(problems(positive_costs=True), st.floats(0, 20))
def test_an_arm_without_use_changes_nothing(problem, budget: float) -> None:
    value, cost = problem
    plan = allocate_arrays(value, cost, budget=budget)
    worse = allocate_arrays(
        np.column_stack([value, -np.abs(value[:, :1]), value[:, :1]]),
        np.column_stack([cost, cost[:, :1], cost[:, :1] + 1.0]),
        budget=budget,
    )
    assert np.array_equal(plan.arm_codes, worse.arm_codes)


@relaxed
@given(problems(), st.floats(0, 20), st.booleans())
def test_all_negative_effects_treat_nobody(problem, budget: float, unlimited: bool) -> None:
    value, cost = problem
    plan = allocate_arrays(-np.abs(value) - 0.01, cost, budget=None if unlimited else budget)
    assert not plan.arm_codes.any()


@relaxed
@given(problems(), st.floats(0, 20), st.randoms(use_true_random=False))
def test_moving_rows_moves_the_answer(problem, budget: float, random) -> None:
    value, cost = problem
    units = np.arange(100, 100 + len(value))
    order = np.array(random.sample(range(len(value)), len(value)))
    plan = allocate_arrays(value, cost, budget=budget, units=units)
    moved = allocate_arrays(value[order], cost[order], budget=budget, units=units[order])
    assert np.array_equal(plan.arm_codes[order], moved.arm_codes)


@relaxed
@given(problems(), st.floats(0, 20), st.data())
def test_masked_cells_are_never_used_and_never_read(problem, budget: float, data) -> None:
    value, cost = problem
    mask = data.draw(arrays(np.bool_, value.shape))
    plan = allocate_arrays(
        np.where(mask, value, np.nan), np.where(mask, cost, np.inf), budget=budget, eligible=mask
    )
    without = allocate_arrays(np.where(mask, value, -1.0), np.where(mask, cost, 1.0), budget=budget)
    treated = np.flatnonzero(plan.arm_codes)
    assert mask[treated, plan.arm_codes[treated] - 1].all()
    assert np.array_equal(plan.arm_codes, without.arm_codes)
    one_per_unit = mask.any(axis=1)
    rows = allocate_arrays(value, cost, budget=budget, eligible=one_per_unit)
    assert not rows.arm_codes[~one_per_unit].any()


def test_savings_pay_for_others() -> None:
    """An arm that brings value and saves money is given at any budget, and its savings are spent."""
    plan = allocate_arrays([[1.0], [3.0], [2.0]], [[-2.0], [1.5], [1.5]], budget=0)
    assert plan.arm_codes.tolist() == [1, 1, 0]
    assert plan.certificate.expected_cost == -0.5
    assert (plan.curve.budgets >= 0).all()


def test_harm_pays_for_others_only_on_request() -> None:
    value, cost = [[-1.0], [10.0]], [[-5.0], [5.0]]
    assert allocate_arrays(value, cost, budget=0).arm_codes.tolist() == [0, 0]
    allowed = allocate_arrays(value, cost, budget=0, allow_harm=True)
    assert allowed.arm_codes.tolist() == [1, 1]
    assert allowed.certificate.expected_value == 9.0
    assert allocate_arrays(value, cost, budget=100, allow_harm=True).arm_codes.tolist() == [0, 1]


def test_free_value_is_taken_without_a_budget() -> None:
    assert allocate_arrays([[1.0], [1.0]], [[0.0], [0.5]], budget=0).arm_codes.tolist() == [1, 0]


def test_return_floor_drops_steps_that_return_less() -> None:
    rng = np.random.default_rng(1)
    value, cost = rng.gamma(1, 1, (5_000, 3)), rng.uniform(0.1, 2, (5_000, 3))
    plan = allocate_arrays(value, cost, budget=None, min_roi=1.5)
    best = (value - 1.5 * cost).argmax(axis=1) + 1
    best[(value - 1.5 * cost).max(axis=1) <= 0] = 0
    assert np.array_equal(plan.arm_codes, best)
    bound = allocate_arrays(value, cost, budget=200.0, min_roi=1.5).certificate
    assert bound.dual_prices["budget"] > 1.5
    assert bound.dual_prices == allocate_arrays(value, cost, budget=200.0).certificate.dual_prices
    exact = allocate_arrays([[3.0], [2.9]], [[2.0], [2.0]], budget=10, min_roi=1.5)
    assert exact.arm_codes.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"budget": -1.0}, "budget is -1.0"),
        ({"budget": float("nan")}, "budget is nan"),
        ({"budget": "much"}, "'much'"),
        ({"min_roi": -0.1}, "min_roi is -0.1"),
        ({"min_roi": math.inf}, "min_roi is inf"),
        ({"cost": np.ones((3, 1))}, r"\(3, 1\)"),
        ({"value": [["a", "b"]] * 3}, r"\[unit, arm\]"),
        ({"value": np.ones((3, 0)), "cost": np.ones((3, 0))}, "at least one arm"),
        ({"value": [[1, 2], [1, np.nan], [1, np.nan]]}, r"arm 'arm_2' is nan for row 1 \(2 such cells\)"),
        ({"cost": [[1, 2], [np.inf, 1], [1, 1]]}, "arm 'arm_1' is inf for row 1"),
        ({"eligible": np.ones(4, bool)}, "eligible has shape"),
        ({"eligible": np.ones(3, int)}, "give booleans"),
        ({"holdout": np.ones(2, bool)}, "holdout has shape"),
        ({"units": [1, 2]}, "2 unit ids for 3 rows"),
        ({"units": [1, 2, 2]}, "1 of 3 rows repeat an earlier 'unit'"),
        ({"units": [1, None, 2]}, "1 units have no 'unit'"),
        ({"units": [1.0, float("nan"), 2.0]}, "1 units have no 'unit'"),
        ({"units": [1, "a", 2]}, "mix types"),
        ({"value": [[1, 2], [1], [1, 2]]}, "value has rows of different lengths"),
        ({"arms": ["a"]}, "1 arm names for 2 columns"),
        ({"arms": ["a", "control"]}, "repeat"),
        ({"unit_column": "arm"}, "called 'arm'"),
    ],
)
def test_bad_input_is_named(change: dict, message: str) -> None:
    inputs = {"value": np.ones((3, 2)), "cost": np.ones((3, 2)), "budget": 1.0, **change}
    with pytest.raises(AllocationError, match=message) as error:
        allocate_arrays(inputs.pop("value"), inputs.pop("cost"), **inputs)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("budget", [0.0, 5.0, None])
def test_an_empty_audience_is_an_empty_answer(budget: float | None) -> None:
    plan = allocate_arrays(np.ones((0, 2)), np.ones((0, 2)), budget=budget)
    assert len(plan) == 0
    assert plan.certificate.upper_bound == 0
    assert len(plan.to_frame()) == 0
    assert plan.curve.values.tolist() == [0.0]


@pytest.mark.parametrize("scale", [1e-9, 1e-6, 1e6, 1e12])
def test_tiny_and_huge_amounts_are_counted_exactly(scale: float) -> None:
    rng = np.random.default_rng(4)
    value, cost = rng.uniform(0, 1, (500, 2)) * scale, rng.uniform(0.1, 1, (500, 2)) * scale
    c = allocate_arrays(value, cost, budget=50 * scale).certificate
    assert c.expected_cost <= 50 * scale
    assert c.expected_cost == pytest.approx(50 * scale, rel=1e-2)
    assert c.gap < 2e-2
