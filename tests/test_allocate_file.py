"""Allocation out of core: the same decisions as in memory, whatever the files look like."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.bench_allocate import marketing
from uplift import Effects
from uplift.allocation import EffectsFile, MenuFile, allocate, allocate_arrays, allocate_file, streamed
from uplift.arms import CostRule
from uplift.errors import AllocationError, OutputError

ARMS = ("a0", "a1", "a2")


def menu_table(n: int, seed: int = 0, ids: np.ndarray | None = None) -> pa.Table:
    value, cost = marketing(n, len(ARMS), seed)
    units = np.arange(n) if ids is None else ids
    columns = {f"value__{arm}": value[:, j] for j, arm in enumerate(ARMS)}
    columns |= {f"cost__{arm}": cost[:, j] for j, arm in enumerate(ARMS)}
    return pa.table({"user": units, **columns})


def in_memory(table: pa.Table, **options):
    value = np.column_stack([table[f"value__{arm}"].to_numpy() for arm in ARMS])
    cost = np.column_stack([table[f"cost__{arm}"].to_numpy() for arm in ARMS])
    return allocate_arrays(
        value, cost, units=table["user"], unit_column="user", arms=ARMS, salt=":0", **options
    )


def source(path: Path, **options) -> MenuFile:
    return MenuFile(
        path,
        unit="user",
        value={arm: f"value__{arm}" for arm in ARMS},
        cost={arm: f"cost__{arm}" for arm in ARMS},
        **options,
    )


@pytest.fixture(scope="module")
def large() -> pa.Table:
    return menu_table(150_000)


@pytest.mark.parametrize("group", [7_000, 40_000, 150_000])
@pytest.mark.parametrize("budget", [0.0, 37.5, 20_000.0, 1e9])
def test_a_file_gives_the_decisions_of_memory_for_any_row_groups(large, tmp_path, group, budget):
    pq.write_table(large, tmp_path / "menus.parquet", row_group_size=group)
    plan = allocate_file(
        source(tmp_path / "menus.parquet", block_rows=20_000), tmp_path / "plan.parquet", budget=budget
    )
    expected = in_memory(large, budget=budget)
    assert pq.read_table(plan.path).equals(expected.to_table())
    assert plan.certificate == expected.certificate


def test_a_sorted_file_misleads_the_sample_but_not_the_answer(large, tmp_path):
    order = np.argsort(large["value__a1"].to_numpy() / large["cost__a1"].to_numpy())
    table = large.take(pa.array(order))
    pq.write_table(table, tmp_path / "menus.parquet", row_group_size=150_000)
    plan = allocate_file(source(tmp_path / "menus.parquet"), tmp_path / "plan.parquet", budget=20_000.0)
    assert plan.certificate == in_memory(large, budget=20_000.0).certificate


@pytest.mark.parametrize("wrong", [(1e9, 1e8), (1e-7, 0.0)])
def test_a_bracket_that_misses_falls_back_on_the_histogram(large, tmp_path, monkeypatch, wrong):
    monkeypatch.setattr(
        streamed._Stream, "sampled_bracket", lambda self: streamed.Bracket(high=wrong[0], low=wrong[1])
    )
    pq.write_table(large, tmp_path / "menus.parquet", row_group_size=40_000)
    plan = allocate_file(source(tmp_path / "menus.parquet"), tmp_path / "plan.parquet", budget=20_000.0)
    expected = in_memory(large, budget=20_000.0)
    assert plan.certificate == expected.certificate
    assert pq.read_table(plan.path)["arm"].to_pylist() == expected.to_table()["arm"].to_pylist()
    assert plan.passes >= 3
    assert plan.core < 0.2 * plan.n_units


def test_heavy_ties_are_broken_by_id_not_by_place(tmp_path):
    rng = np.random.default_rng(3)
    n = 120_000
    level = rng.integers(1, 4, n).astype(np.float32)
    table = pa.table(
        {"user": np.arange(n)}
        | {f"value__{arm}": level * (j + 1) for j, arm in enumerate(ARMS)}
        | {f"cost__{arm}": np.full(n, (j + 1) ** 2, np.float32) for j, arm in enumerate(ARMS)}
    )
    shuffled = table.take(pa.array(rng.permutation(n)))
    for name, rows in (("one", table), ("two", shuffled)):
        pq.write_table(rows, tmp_path / f"{name}.parquet", row_group_size=9_000)
        allocate_file(
            source(tmp_path / f"{name}.parquet"), tmp_path / f"{name}_plan.parquet", budget=50_001.0
        )
    one, two = (pq.read_table(tmp_path / f"{name}_plan.parquet").sort_by("user") for name in ("one", "two"))
    assert one.equals(two)
    assert one.equals(in_memory(table, budget=50_001.0).to_table())


def test_holdout_floor_and_harm_are_those_of_memory(large, tmp_path):
    pq.write_table(large, tmp_path / "menus.parquet", row_group_size=30_000)
    from uplift.allocation.holdout import draw_holdout

    held = draw_holdout(pa.array(np.arange(len(large))), 0.1, salt=":0")
    for options in ({"min_roi": 0.8}, {"allow_harm": True}):
        out = tmp_path / "plan.parquet"
        plan = allocate_file(
            source(tmp_path / "menus.parquet"), out, budget=15_000.0, holdout=0.1, overwrite=True, **options
        )
        expected = in_memory(large, budget=15_000.0, holdout=held, **options)
        assert pq.read_table(out).equals(expected.to_table())
        assert plan.certificate == expected.certificate
        assert plan.n_holdout == int(held.sum())


def test_effects_files_give_what_allocate_gives(tmp_path):
    rng = np.random.default_rng(1)
    mu = rng.beta(2, 20, (5_000, 3, 2)).astype(np.float32)
    mu[:, :, 1] *= mu[:, :, 0]
    effects = Effects(
        mu,
        units=[f"u{i}" for i in range(5_000)],
        arms=("none", "c5", "c9"),
        stages=("click", "conversion"),
        model="m",
    )
    effects.to_parquet(tmp_path / "effects.parquet")
    costs = {"c5": CostRule(on="conversion", amount=5.0), "c9": CostRule(on="send", amount=0.3)}
    plan = allocate_file(
        EffectsFile(tmp_path / "effects.parquet", costs=costs, margin=40.0, block_rows=900),
        tmp_path / "plan.parquet",
        budget=120.0,
        holdout=0.1,
        seed=4,
    )
    expected = allocate(effects, costs=costs, margin=40.0, budget=120.0, holdout=0.1, seed=4)
    assert pq.read_table(plan.path).equals(expected.to_table())
    assert plan.summary() == expected.summary()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.set_column(0, "user", pa.array(np.r_[np.arange(len(t) - 1), 0])), "1 of 2 rows repeat"),
        (lambda t: t.set_column(0, "user", pa.array([None, *range(1, len(t))])), "1 units have no 'user'"),
        (
            lambda t: t.set_column(
                1, "value__a0", pa.array(np.r_[np.full(len(t) - 1, 1.0), np.nan], pa.float32())
            ),
            "value of arm 'a0' is nan (1 such cells in",
        ),
        (lambda t: t.set_column(4, "cost__a0", pa.array(["x"] * len(t))), "Column 'cost__a0' holds string"),
        (lambda t: t.drop(["cost__a2"]), "There is no column 'cost__a2'"),
    ],
)
def test_bad_files_are_refused_in_a_sentence_and_leave_nothing(tmp_path, change, words):
    pq.write_table(change(menu_table(1_000)), tmp_path / "menus.parquet", row_group_size=300)
    with pytest.raises(AllocationError) as caught:
        allocate_file(
            source(tmp_path / "menus.parquet", block_rows=300), tmp_path / "plan.parquet", budget=10.0
        )
    assert words in str(caught.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["menus.parquet"]


def test_an_existing_plan_is_not_overwritten(tmp_path):
    pq.write_table(menu_table(500), tmp_path / "menus.parquet")
    (tmp_path / "plan.parquet").write_text("mine")
    with pytest.raises(OutputError, match="exists already"):
        allocate_file(source(tmp_path / "menus.parquet"), tmp_path / "plan.parquet", budget=10.0)
    assert (tmp_path / "plan.parquet").read_text() == "mine"
