"""Passes over all units in torch against the compiled kernels, and what `device` accepts and refuses.

A machine without a GPU runs the same code on torch's CPU device; one with a GPU runs everything on both.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from constraint_cases import Case, random_case
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from uplift.allocation import Budget, Cap, MaxShare, MinReach, MinROI, Stock, allocate_arrays, device_uses
from uplift.allocation.coupled import make_coupled
from uplift.allocation.device import CPU, device_of, device_or_cpu
from uplift.allocation.device_arrays import round_down as down_there
from uplift.allocation.device_arrays import round_up as up_there
from uplift.allocation.device_prices import PricePasses, solve_on
from uplift.allocation.device_rows import RowPasses
from uplift.allocation.dual import price_pass, round_down, round_up
from uplift.allocation.passes import hard_pass, smooth_pass
from uplift.allocation.problem import make_problem
from uplift.allocation.rows import make_rows
from uplift.allocation.solve import solve
from uplift.campaign_file import CampaignFile
from uplift.cli import app
from uplift.errors import AllocationError, CampaignError

NAMES = ["torch:cpu", *(["cuda"] if torch.cuda.is_available() else [])]
several = settings(
    max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
on_every_device = pytest.mark.parametrize("name", NAMES)


def amounts(rng: np.random.Generator, n: int, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Value and cost with both signs; half of the time whole numbers, which tie."""
    if rng.random() < 0.5:
        return rng.integers(-2, 4, (n, k)) / 2, rng.integers(-1, 4, (n, k)) / 4
    return rng.normal(0.3, 1.0, (n, k)), rng.normal(0.8, 0.6, (n, k))


def rules(rng: np.random.Generator, n: int, k: int) -> tuple[list, dict]:
    """Some limits of every kind over two segments; few enough units in a limit that many bind."""
    columns = {"shop": rng.integers(0, 7, n), "tier": rng.choice(["a", "b", "c"], n)}
    arm = f"arm_{int(rng.integers(1, k + 1))}"
    found = [
        Budget(0.02 * n, segment="shop"), Budget(0.05 * n, arm=arm, segment="tier"), Stock(n // 9, arm=arm),
        Cap(n // 20, segment="shop"), MaxShare(0.4), MaxShare(0.3, segment="tier"), MinReach(n // 40, segment="tier"),
        MinROI(1.1), MinROI(0.9, segment="shop"),
    ]  # fmt: skip
    keep = rng.random(len(found)) < 0.6
    return [rule for rule, kept in zip(found, keep, strict=True) if kept], columns


def coupled_case(seed: int):
    """A coupled problem with closed choices, prices at which much is in doubt, and what the passes are given."""
    rng = np.random.default_rng([3, seed])
    n, k = int(rng.integers(1, 400)), int(rng.integers(1, 6))
    value, cost = amounts(rng, n, k)
    mask = rng.random((n, k)) < 0.8 if rng.random() < 0.5 else None
    budget = 0.1 * n if rng.random() < 0.7 else None
    problem = make_problem(value, cost, budget=budget, eligible=mask, allow_harm=bool(rng.random() < 0.5))
    limits, columns = rules(rng, n, k)
    rows = make_rows(problem, limits, tuple(f"arm_{j + 1}" for j in range(k)), columns)
    coupled = make_coupled(problem, rows, exactly_one=bool(rng.random() < 0.3))
    prices = rng.choice([0.0, 0.25, 0.5, 1.0], len(rows)) * (rng.random() < 0.9)
    if rng.random() < 0.5:
        prices = prices * rng.random(len(rows))
    return coupled, prices, int(rng.integers(0, len(coupled) + 1)), int(rng.integers(1, 100))


# ---------------------------------------------------------------- the passes


@on_every_device
def test_amounts_are_rounded_to_the_same_multiples(name: str) -> None:
    rng = np.random.default_rng(0)
    amount = np.concatenate(
        [rng.normal(0, 100, 5_000), rng.integers(-500, 500, 5_000) / 100, [0.0, -0.0, 0.1, 8.2, 1e9]]
    )
    for scale in (1.0, 100.0, 1e6, 1e12):
        there = torch.from_numpy(amount).to(device_of(name))
        assert up_there(there, scale).tolist() == [round_up(a, scale) for a in amount]
        assert down_there(there, scale).tolist() == [round_down(a, scale) for a in amount]


@on_every_device
@several
@given(seed=st.integers(0, 10_000))
def test_best_choices_bounds_and_uses_have_the_same_bits(name: str, seed: int) -> None:
    coupled, prices, units, block = coupled_case(seed)
    passes = RowPasses(*coupled.arrays, device_of(name), block=block)  # type: ignore[arg-type]
    pieces = coupled.alpha, coupled.beta, coupled.gamma, coupled.scales, coupled.problem.value_unit.scale
    tables = coupled.tables(prices)
    value, cost, slot = (a[:units] for a in coupled.arrays[:3])
    ours = hard_pass(value, cost, slot, coupled.rows.rowmap, *tables, *pieces)
    theirs = passes.hard(units, tables, *pieces)
    assert np.array_equal(ours[0], theirs[0])
    assert theirs[0].dtype == np.int16
    assert ours[1].tobytes() == theirs[1].tobytes()
    assert (int(ours[2]), int(ours[3])) == theirs[2:4]
    assert np.array_equal(ours[4], theirs[4])
    assert theirs[5] == pytest.approx(float(ours[5]), rel=1e-12)


@on_every_device
@several
@given(seed=st.integers(0, 10_000), warm=st.sampled_from([0.3, 0.03, 0.001]))
def test_smoothed_maxima_expected_uses_and_covariances_agree(name: str, seed: int, warm: float) -> None:
    coupled, prices, units, block = coupled_case(seed)
    passes = RowPasses(*coupled.arrays, device_of(name), block=block)  # type: ignore[arg-type]
    pieces = coupled.alpha, coupled.beta, coupled.gamma, warm * coupled.typical
    tables = coupled.tables(prices)
    value, cost, slot = (a[:units] for a in coupled.arrays[:3])
    total, mean, spread = smooth_pass(value, cost, slot, coupled.rows.rowmap, *tables, *pieces)
    found = passes.smooth(units, tables, *pieces)
    largest = np.abs(coupled.alpha) + np.abs(coupled.beta) * 5 + np.abs(coupled.gamma) * 5
    assert found[0] == pytest.approx(total, rel=1e-12, abs=1e-9)
    assert (np.abs(found[1] - mean) <= 1e-10 * (units + 1) * largest).all()
    assert (np.abs(found[2] - spread) <= 1e-10 * (units + 1) * np.outer(largest, largest)).all()
    assert np.array_equal(found[2], found[2].T)
    again = passes.smooth(units, tables, *pieces)
    assert found[0] == again[0]
    assert found[1].tobytes() == again[1].tobytes()
    assert found[2].tobytes() == again[2].tobytes()


@on_every_device
def test_covariances_of_many_units_are_added_up_in_parts(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    device = device_of(name)
    assert device is not None
    monkeypatch.setitem(device_uses._PAIR_CELLS, device.type, 1)  # 64 units at a time
    for seed in range(10):
        coupled, prices, _, _ = coupled_case(seed)
        pieces = coupled.alpha, coupled.beta, coupled.gamma, 0.3 * coupled.typical
        tables = coupled.tables(prices)
        _, _, spread = smooth_pass(*coupled.arrays, *tables, *pieces)
        found = RowPasses(*coupled.arrays, device).smooth(len(coupled), tables, *pieces)[2]
        assert found == pytest.approx(spread, rel=1e-9, abs=1e-9 * max(np.abs(spread).max(initial=0.0), 1.0))


@on_every_device
def test_expected_uses_do_not_depend_on_the_order_in_which_units_are_added(name: str) -> None:
    """One block of scattered entries: their sums are integers, so a permutation changes no bit."""
    coupled, prices, _, _ = coupled_case(7)
    order = np.random.default_rng(0).permutation(len(coupled))
    pieces = coupled.alpha, coupled.beta, coupled.gamma, 0.3 * coupled.typical
    tables = coupled.tables(prices)
    scattered = [coupled.rows.rowmap[np.unique(s)[:, None] + np.arange(coupled.value.shape[1])] for s in coupled.slot.T if len(np.unique(s)) > 1]  # fmt: skip
    rows = np.unique(np.concatenate([part[part >= 0] for part in scattered]))
    assert len(rows) > 3
    means = []
    for at in (np.arange(len(coupled)), order):
        arrays = (np.ascontiguousarray(a[at]) for a in (coupled.value, coupled.cost, coupled.slot))
        passes = RowPasses(*arrays, coupled.rows.rowmap, device_of(name), block=10_000)  # type: ignore[arg-type]
        means.append(passes.smooth(len(coupled), tables, *pieces)[1][rows])
    assert means[0].tobytes() == means[1].tobytes()


@on_every_device
@several
@given(seed=st.integers(0, 10_000))
def test_a_reading_at_two_prices_has_the_same_bits(name: str, seed: int) -> None:
    rng = np.random.default_rng([4, seed])
    n, k = int(rng.integers(1, 300)), int(rng.integers(1, 6))
    dtype = rng.choice([np.float32, np.float64])
    value, cost = (np.asarray(a, dtype, order=rng.choice(["C", "F"])) for a in amounts(rng, n, k))
    problem = make_problem(
        value, cost, budget=1.0,
        eligible=rng.random((n, k)) < 0.8 if rng.random() < 0.5 else None,
        closed=rng.random(n) < 0.2 if rng.random() < 0.5 else None,
        allow_harm=bool(rng.random() < 0.5),
    )  # fmt: skip
    passes = PricePasses(problem, device_of(name), block=int(rng.integers(1, 100)))  # type: ignore[arg-type]
    low = float(rng.choice([0.0, 0.25, rng.random()]))
    for weight, high in ((0.0, 1.0), (1.0, low), (1.0, low + 0.5), (1.0, low + rng.random())):
        ours = price_pass(
            np.ascontiguousarray(problem.value), np.ascontiguousarray(problem.cost), problem.open_unit, problem.open_arm,
            problem.allow_harm, weight, high, low, problem.value_unit.scale, problem.cost_unit.scale,
        )  # fmt: skip
        theirs = passes.read(weight, high, low)
        assert np.array_equal(ours[0], theirs[0])
        assert theirs[0].dtype == np.int16
        assert np.array_equal(ours[1], theirs[1])
        assert tuple(int(s) for s in ours[2:]) == theirs[2:]


# ---------------------------------------------------------------- whole plans


def answer(case: Case, method: str, device: str) -> tuple[list[int], dict] | str:
    """Decisions and certificate, or the sentence that refuses."""
    try:
        plan = case.solve(method, device=device)
    except AllocationError as error:
        return str(error)
    return plan.arm_codes.tolist(), plan.summary()


@on_every_device
@pytest.mark.parametrize("block", range(4))
def test_plans_and_refusals_of_random_small_problems_are_the_same(name: str, block: int) -> None:
    """Every constraint type in any combination: the same decisions, certificate and sentences."""
    for seed in range(25 * block, 25 * block + 25):
        case = random_case(seed)
        for method in ("auto", "dual"):
            ours, theirs = (answer(case, method, device) for device in (CPU, name))
            assert ours == theirs, seed


@on_every_device
@pytest.mark.parametrize("budget", [0.0, 300.0, 9_000.0, math.inf])
@pytest.mark.parametrize("n", [0, 2_000, 130_000])
def test_one_budget_has_the_same_solution(name: str, n: int, budget: float) -> None:
    """Below and above the size from which a sample brackets the price; every field, the bound included."""
    rng = np.random.default_rng(n)
    value, cost = rng.gamma(0.7, 1.0, (n, 3)) - 0.3, rng.uniform(0.05, 2, (n, 3))
    closed = rng.random(n) < 0.1
    problem = make_problem(value, cost, budget=budget, closed=closed, min_roi=0.1)
    ours, theirs = solve(problem), solve_on(problem, device_of(name))  # type: ignore[arg-type]
    for field in fields(ours):
        a, b = getattr(ours, field.name), getattr(theirs, field.name)
        assert np.array_equal(a, b) if field.name == "arms" else a == b, field.name


@pytest.fixture(scope="module")
def large() -> dict:
    """More choices than the linear program takes at once, so that prices come from Newton's method."""
    n = 9_000
    rng = np.random.default_rng(5)
    return {
        "value": rng.gamma(0.7, 1.0, (n, 4)).round(3) - 0.2,
        "cost": rng.uniform(0.2, 2, (n, 4)).round(2),
        "budget": 0.12 * n,
        "eligible": rng.random((n, 4)) < 0.95,
        "columns": {"shop": rng.integers(0, 9, n)},
        "constraints": [
            Budget(0.015 * n, segment="shop"), Stock({"arm_1": n // 20, "arm_4": n // 30}),
            MinReach(n // 150, segment="shop"), MaxShare(0.35), MinROI(1.2),
        ],
    }  # fmt: skip


@pytest.fixture(scope="module", params=NAMES)
def on_device(request, large: dict) -> tuple:
    """A device and the plan made there."""
    return request.param, allocate_arrays(**large, device=request.param)


def test_large_problems_under_many_limits_have_the_same_plan(large: dict, on_device: tuple) -> None:
    name, theirs = on_device
    ours = allocate_arrays(**large)
    a, b = ours.certificate, theirs.certificate
    assert a.method == b.method == "dual"
    assert a.gap < 1e-4
    if name == "torch:cpu":
        assert np.array_equal(ours.arm_codes, theirs.arm_codes)
        assert ours.summary() == theirs.summary()
    # Another exp may move the prices in their last digits, and with them single units on the edge: not the proof.
    assert b.gap < 1e-4
    assert b.upper_bound == pytest.approx(a.upper_bound, rel=1e-5)
    assert (theirs.constraints["slack"] >= 0).all()


def test_row_order_changes_nothing_on_a_device(large: dict, on_device: tuple) -> None:
    name, plan = on_device
    n = len(large["value"])
    order = np.random.default_rng(0).permutation(n)
    moved = {key: large[key][order] for key in ("value", "cost", "eligible")}
    moved["columns"] = {"shop": large["columns"]["shop"][order]}
    other = allocate_arrays(
        **{**large, **moved}, units=order, device=name
    )  # by default ids are the row numbers
    assert np.array_equal(plan.arm_codes[order], other.arm_codes)
    assert plan.certificate.upper_bound == other.certificate.upper_bound


@pytest.mark.slow
@on_every_device
def test_conflicts_of_large_problems_are_named_alike(name: str, large: dict) -> None:
    """Found by the dual without values, which reads the device too."""
    n = len(large["value"])
    case = {
        "value": np.tile(large["value"], 2), "cost": np.tile(large["cost"], 2), "columns": large["columns"],
        "constraints": [MinReach(n // 2), Cap(n // 40, segment="shop")], "budget": None,
    }  # fmt: skip
    messages = []
    for device in (CPU, name):
        with pytest.raises(AllocationError) as refused:
            allocate_arrays(**case, device=device)
        messages.append(str(refused.value))
    assert messages[0] == messages[1]
    assert messages[0].startswith(
        "No plan keeps these constraints together: minimum reach of 4,500; cap of 225 in shop"
    )


def test_parts_and_other_limits_of_a_problem_read_the_same_amounts() -> None:
    coupled, prices, _, _ = coupled_case(7)
    there = replace(coupled, passes=RowPasses(*coupled.arrays, device_of("torch:cpu")))  # type: ignore[arg-type]
    for ours, theirs in (
        (coupled.sample(40)[0], there.sample(40)[0]),
        (coupled.with_limit(0, 3.0), there.with_limit(0, 3.0)),
    ):
        a, b = ours.hard(prices), theirs.hard(prices)
        assert (a.dual, a.worth) == (b.dual, b.worth)
        assert np.array_equal(a.arms, b.arms)
        assert ours.farkas(prices) == pytest.approx(theirs.farkas(prices), rel=1e-12)


# ---------------------------------------------------------------- which device


def test_a_device_that_is_not_there_is_refused_and_never_replaced() -> None:
    missing = "cuda" if not torch.cuda.is_available() else f"cuda:{torch.cuda.device_count()}"
    with pytest.raises(AllocationError, match=f"device='{missing}' was asked for, but torch sees"):
        allocate_arrays([[1.0]], [[1.0]], budget=1.0, device=missing)
    assert device_or_cpu(missing) == "cpu"


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "CPU", "torch:cuda", "", None])
def test_a_name_that_is_no_device_is_refused(name: str) -> None:
    with pytest.raises(AllocationError, match=r"There is no device .* use 'cpu', 'auto', 'cuda' or 'cuda:N'"):
        allocate_arrays([[1.0]], [[1.0]], budget=1.0, device=name)


def test_auto_is_a_gpu_where_there_is_one() -> None:
    found = device_of("auto")
    assert (found is not None and found.type == "cuda") == torch.cuda.is_available()


def test_allocating_on_the_cpu_imports_no_torch() -> None:
    code = (
        "import sys, uplift; uplift.allocate_arrays([[1.0]] * 3, [[1.0]] * 3, budget=2.0, device='cpu');"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[1])


def test_a_campaign_file_names_the_device() -> None:
    text = '[campaign]\ndata = "log.parquet"\ntreatment = "coupon"\ncontrol = "none"\nchain = ["click"]\n[decide]\nbudget = 5.0\n'
    decide = CampaignFile.parse(text + 'device = "cuda:1"\n').decide
    assert decide is not None
    assert decide.allocation_options()["device"] == "cuda:1"
    assert CampaignFile.parse(text).decide.allocation_options()["device"] == "cpu"  # type: ignore[union-attr]
    with pytest.raises(CampaignError, match="There is no device 'gpu'"):
        CampaignFile.parse(text + 'device = "gpu"\n')


def test_the_command_line_names_the_device(tmp_path: Path) -> None:
    import pyarrow as pa

    from uplift.effects import Effects

    rng = np.random.default_rng(0)
    mu = rng.uniform(0, 0.3, (500, 3, 1)).astype(np.float32)
    effects = Effects(
        mu, units=pa.array(np.arange(500)), arms=("none", "ten", "mail"), stages=("buy",), model="m"
    )
    effects.to_parquet(tmp_path / "effects.parquet")
    given_ = ["allocate", str(tmp_path / "effects.parquet"), "--cost", "ten=1@send", "--cost", "mail=0.1@send", "--budget", "50", "--margin", "20"]  # fmt: skip
    for name in ("cpu", "torch:cpu"):
        done = CliRunner().invoke(
            app, [*given_, "--device", name, "--out", str(tmp_path / f"{name[:5]}.parquet")]
        )
        assert done.exit_code == 0, done.output
    assert pq.read_table(tmp_path / "cpu.parquet").equals(pq.read_table(tmp_path / "torch.parquet"))
    for more, message in (
        (["gpu"], "no device 'gpu'"),
        (["torch:cpu", "--stream"], "on the CPU, and 'device' is given"),
    ):
        done = CliRunner().invoke(app, [*given_, "--out", str(tmp_path / "x.parquet"), "--device", *more])
        assert message in str(done.exception)


@pytest.mark.slow
def test_the_benchmark_runs_without_a_gpu(tmp_path: Path) -> None:
    script = Path(__file__).parents[1] / "benchmarks" / "bench_allocate_device.py"
    sizes = ["--device", "cpu", "--limits", "3000", "--one-budget", "4000", "--repeat", "1"]
    here = {**os.environ, "PYTHONPATH": str(script.parents[1])}
    subprocess.run(
        [sys.executable, str(script), *sizes, "--json", str(tmp_path / "out.json")], check=True, env=here
    )
    found = json.loads((tmp_path / "out.json").read_text())
    assert found["machine"]["device"] == "torch:cpu"
    assert [row["same_solution"] for row in found["one_budget"]] == [True]
    assert [row["arms_that_differ"] for row in found["limits"]] == [0]
    assert all(
        row["cpu_seconds"] > 0 and row["device_seconds"] > 0
        for row in (*found["one_budget"], *found["limits"])
    )
