"""Allocation against other ways to the truth: enumeration, HiGHS MILP and LP, and itself by another road."""

from __future__ import annotations

import itertools

import numba
import numpy as np
import pyarrow as pa
import pytest
from scipy.optimize import Bounds, LinearConstraint, linprog, milp
from scipy.sparse import block_diag, csr_matrix, vstack

from uplift.allocation import allocate_arrays
from uplift.allocation.fill import AHEAD
from uplift.allocation.problem import make_problem
from uplift.allocation.solve import SAMPLE_FROM, Bracket, sampled_bracket, solve


def instance(seed: int, n: int, k: int, kind: str) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    if kind == "uniform":
        return rng.uniform(-0.3, 1.0, (n, k)), rng.uniform(0.05, 1.0, (n, k))
    if kind == "correlated":  # hard for integers
        cost = rng.integers(1, 30, (n, k)) / 10
        return cost + 0.5, cost
    if kind == "ties":
        return rng.choice([-1.0, 0.0, 1.0, 2.0, 3.0], (n, k)), rng.choice([0.1, 0.2, 0.3], (n, k))
    if kind == "signs":
        return rng.normal(0.3, 1.0, (n, k)), rng.normal(0.5, 0.7, (n, k))
    if kind == "heavy":
        return rng.pareto(1.2, (n, k)) - 0.3, rng.pareto(1.5, (n, k)) + 0.01
    raise AssertionError(kind)


KINDS = ("uniform", "correlated", "ties", "signs", "heavy")


def usable(value: np.ndarray, cost: np.ndarray) -> np.ndarray:
    return ~((value < 0) & (cost < 0))


def budget_for(value: np.ndarray, cost: np.ndarray, share: float) -> float:
    best = np.where(value.max(axis=1) > 0, value.argmax(axis=1), -1)
    spend = sum(cost[i, j] for i, j in enumerate(best) if j >= 0)
    return round(max(spend, 0.1) * share, 3)


def enumerated(value: np.ndarray, cost: np.ndarray, budget: float) -> float:
    allowed = usable(value, cost)
    best = 0.0
    for choice in itertools.product(range(value.shape[1] + 1), repeat=len(value)):
        picks = [(i, j - 1) for i, j in enumerate(choice) if j]
        if all(allowed[p] for p in picks) and sum(cost[p] for p in picks) <= budget + 1e-12:
            best = max(best, sum(value[p] for p in picks))
    return best


def program(value: np.ndarray, cost: np.ndarray) -> csr_matrix:
    n, k = value.shape
    return csr_matrix(vstack([cost.reshape(1, -1), block_diag([np.ones((1, k))] * n)]))


def highs_milp(value: np.ndarray, cost: np.ndarray, budget: float) -> tuple[float, float]:
    n, k = value.shape
    found = milp(
        -value.ravel(),
        constraints=LinearConstraint(program(value, cost), ub=np.concatenate([[budget], np.ones(n)])),
        integrality=np.ones(n * k),
        bounds=Bounds(0, usable(value, cost).ravel().astype(float)),
        options={"mip_rel_gap": 0.0, "time_limit": 5},
    )
    return -found.fun, -found.mip_dual_bound


def highs_lp(value: np.ndarray, cost: np.ndarray, budget: float) -> float:
    n = len(value)
    found = linprog(
        -value.ravel(),
        A_ub=program(value, cost),
        b_ub=np.concatenate([[budget], np.ones(n)]),
        bounds=[(0, float(u)) for u in usable(value, cost).ravel()],
        method="highs",
    )
    return -found.fun


def check_certificate(plan, value: np.ndarray, cost: np.ndarray, budget: float) -> None:
    """Everything a certificate says, recomputed from the decisions alone."""
    codes = plan.arm_codes
    treated = np.flatnonzero(codes)
    spent = cost[treated, codes[treated] - 1].sum(dtype=np.float64)
    worth = value[treated, codes[treated] - 1].sum(dtype=np.float64)
    c = plan.certificate
    scale = np.abs(value).sum() + 1.0
    assert spent <= budget + 1e-12 * (abs(spent) + 1)
    assert c.expected_cost <= budget
    assert c.expected_cost == pytest.approx(spent, rel=1e-9, abs=1e-9 * len(cost))
    assert c.expected_value == pytest.approx(worth, rel=1e-9, abs=1e-9 * len(cost))
    assert c.upper_bound >= c.expected_value
    assert c.gap_regret >= 0
    assert c.gap_slack >= 0
    assert c.gap_regret + c.gap_slack == pytest.approx(c.upper_bound - c.expected_value, abs=1e-9 * scale)
    assert c.gap * abs(c.upper_bound) == pytest.approx(c.upper_bound - c.expected_value, abs=1e-9 * scale)
    assert c.n_treated == len(treated)
    assert sum(c.counts.values()) == len(value)


@pytest.mark.parametrize("kind", KINDS)
def test_enumeration_lies_between_value_and_bound(kind: str) -> None:
    for seed in range(12):
        k = 1 + seed % 3
        n = {1: 8, 2: 6, 3: 5}[k]
        value, cost = instance(seed, n, k, kind)
        for share in (0.15, 0.5, 0.9):
            budget = budget_for(value, cost, share)
            plan = allocate_arrays(value, cost, budget=budget)
            best = enumerated(value, cost, budget)
            check_certificate(plan, value, cost, budget)
            assert plan.certificate.expected_value <= best + 1e-9
            assert best <= plan.certificate.upper_bound + 1e-9


@pytest.mark.parametrize("kind", KINDS)
def test_milp_optimum_lies_between_value_and_bound(kind: str) -> None:
    missed = []
    for seed in range(20):
        n, k = 10 + 3 * seed, 1 + seed % 8
        value, cost = instance(100 + seed, n, k, kind)
        budget = budget_for(value, cost, (0.05, 0.3, 0.7)[seed % 3])
        plan = allocate_arrays(value, cost, budget=budget, salt=str(seed))
        best, proven = highs_milp(value, cost, budget)
        c = plan.certificate
        check_certificate(plan, value, cost, budget)
        tolerance = 1e-6 * (abs(best) + 1)  # HiGHS's own feasibility tolerance
        assert c.expected_value <= proven + tolerance
        assert best <= c.upper_bound + tolerance
        missed.append((best - c.expected_value) / max(best, 1e-9))
    # Rounding loses less than one step; forced steps and filling bring most of that back.
    assert np.mean(missed) < 0.01


@pytest.mark.parametrize("kind", KINDS)
def test_bound_is_the_lp_optimum(kind: str) -> None:
    for seed in range(6):
        value, cost = instance(200 + seed, 60, 1 + seed, kind)
        for share in (0.1, 0.5, 0.95):
            budget = budget_for(value, cost, share)
            c = allocate_arrays(value, cost, budget=budget).certificate
            assert c.upper_bound == pytest.approx(highs_lp(value, cost, budget), rel=1e-8, abs=1e-8)


def test_price_minimises_the_dual() -> None:
    value, cost = instance(1, 300, 4, "uniform")
    c = allocate_arrays(value, cost, budget=20.0).certificate

    def dual(price: float) -> float:
        return price * 20.0 + np.maximum(value - price * cost, 0).max(axis=1).sum()

    price = c.dual_prices["budget"]
    assert dual(price) == pytest.approx(c.upper_bound, rel=1e-10)
    for other in price * np.array([0.5, 0.9, 0.99, 1.01, 1.1, 2.0]):
        assert dual(other) >= dual(price)


def test_loss_is_below_one_step() -> None:
    value, cost = instance(3, 500, 3, "uniform")
    for budget in (1.0, 10.0, 50.0):
        c = allocate_arrays(value, cost, budget=budget).certificate
        assert c.upper_bound - c.expected_value <= value.max() + 1e-9


def test_one_dear_unit_beats_the_cheap_one_that_blocks_it() -> None:
    plan = allocate_arrays([[2.0], [15.0]], [[1.0], [10.0]], budget=10.0)
    assert plan.arm_codes.tolist() == [0, 1]


def test_decimal_amounts_spend_the_budget_to_the_cent() -> None:
    plan = allocate_arrays(np.ones((3, 1)), np.full((3, 1), 0.1), budget=0.3)
    assert plan.certificate.n_treated == 3
    assert plan.certificate.expected_cost == 0.3
    assert allocate_arrays(np.ones((82, 1)), np.full((82, 1), 0.1), budget=8.2).certificate.n_treated == 82
    assert allocate_arrays(np.ones((82, 1)), np.full((82, 1), 0.1), budget=8.19).certificate.n_treated == 81


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.03, 0.4, 0.97])
def test_sample_bracket_gives_the_answer_of_the_direct_path(kind: str, share: float) -> None:
    value, cost = instance(7, 60_000, 3, kind)
    problem = make_problem(value, cost, budget=budget_for(value, cost, share))
    direct = solve(problem, sample=0)
    for size in (300, 3_000):
        sampled = solve(problem, sample=size)
        assert sampled.price == direct.price
        assert np.array_equal(sampled.arms, direct.arms)
        assert (sampled.spend, sampled.worth) == (direct.spend, direct.worth)


def test_sample_bracket_leaves_a_small_core() -> None:
    value, cost = instance(8, 2 * SAMPLE_FROM, 4, "uniform")
    solution = solve(make_problem(value, cost, budget=4_000.0))
    assert solution.passes == 1
    assert AHEAD < solution.core < 0.3 * len(value)


def test_bracket_that_misses_is_widened() -> None:
    """A sorted file with a few giants at its end: no sample sees what most of the money buys."""
    value, cost = instance(9, 60_000, 2, "uniform")
    value[-5:], cost[-5:] = 1e5, [1e3, 1.5e3]
    problem = make_problem(value, cost, budget=5_500.0)
    assert isinstance(sampled_bracket(problem, 300), Bracket)
    sampled, direct = solve(problem, sample=300), solve(problem, sample=0)
    assert sampled.passes > 1
    assert np.array_equal(sampled.arms, direct.arms)


@pytest.mark.parametrize("kind", ["uniform", "ties"])
def test_answer_does_not_depend_on_threads_dtype_order_or_layout(kind: str) -> None:
    value, cost = (a.astype(np.float32) for a in instance(10, 150_000, 3, kind))
    budget = budget_for(value, cost, 0.3)
    plan = allocate_arrays(value, cost, budget=budget)
    used = numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        single = allocate_arrays(value, cost, budget=budget)
    finally:
        numba.set_num_threads(used)
    assert np.array_equal(plan.arm_codes, single.arm_codes)
    assert plan.certificate == single.certificate
    for other in (
        allocate_arrays(value.astype(np.float64), cost.astype(np.float64), budget=budget),
        allocate_arrays(np.asfortranarray(value), np.asfortranarray(cost), budget=budget),
    ):
        assert np.array_equal(plan.arm_codes, other.arm_codes)
        assert plan.certificate.expected_value == other.certificate.expected_value


@pytest.mark.parametrize("n", [400, 130_000])
def test_ties_follow_the_unit_not_its_row(n: int) -> None:
    value, cost = instance(11, n, 2, "ties")
    units = pa.array([f"u{i}" for i in range(n)])
    budget = budget_for(value, cost, 0.25)
    plan = allocate_arrays(value, cost, budget=budget, units=units)
    order = np.random.default_rng(0).permutation(n)
    moved = allocate_arrays(value[order], cost[order], budget=budget, units=units.take(pa.array(order)))
    assert np.array_equal(plan.arm_codes[order], moved.arm_codes)
    other = allocate_arrays(value, cost, budget=budget, units=units, salt="another")
    assert not np.array_equal(plan.arm_codes, other.arm_codes)
    assert other.certificate.upper_bound == plan.certificate.upper_bound
    # A tie that straddles the budget must not favour the first rows.
    tied = (value == 1.0).any(axis=1)
    first, last = plan.arm_codes[: n // 2][tied[: n // 2]] > 0, plan.arm_codes[n // 2 :][tied[n // 2 :]] > 0
    assert abs(first.mean() - last.mean()) < 5 / np.sqrt(n)
