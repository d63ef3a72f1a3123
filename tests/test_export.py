"""Exports: every format holds the same decisions, the manifest proves it, and verification finds what is wrong."""

from __future__ import annotations

import csv
import datetime as dt
import json
from decimal import Decimal
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uplift import CostRule, Effects, allocate, allocate_arrays
from uplift.errors import OutputError
from uplift.export import (
    Decisions,
    export_allocation,
    export_decisions,
    from_allocation,
    from_file,
    from_table,
    verify_export,
    write_table,
)
from uplift.export.sums import multiples, within
from uplift.export.templates import load_template

COSTS = {"five": CostRule(on="conversion", amount=5.0), "10 % off/now": CostRule(on="send", amount=0.3)}
ENDINGS = ["parquet", "csv", "jsonl", "duckdb"]


def effects_of(n: int = 600, seed: int = 0) -> Effects:
    rng = np.random.default_rng(seed)
    mu = np.empty((n, 3, 2), np.float32)
    mu[:, :, 0] = np.clip(rng.beta(2, 8, (n, 1)) + rng.normal(0.02, 0.06, (n, 3)), 0, 1)
    mu[:, :, 1] = mu[:, :, 0] * 0.5
    return Effects(
        mu, units=pa.array([f"0{i}" for i in range(n)]), arms=("none", *COSTS), stages=("click", "conversion"),
        unit_column="customer", model="toy", campaign="spring", fingerprint="f-1",
    )  # fmt: skip


def decisions_of(effects: Effects | None = None, **options: object) -> Decisions:
    effects = effects_of() if effects is None else effects
    given = {"costs": COSTS, "margin": 12.0, "budget": 30.0, "holdout": 0.15, "seed": 1} | options
    plan = allocate(effects, **given)  # type: ignore[arg-type]
    return from_allocation(
        plan, effects=effects, labels={"five": "5 off"}, valid_from=dt.datetime(2026, 12, 1),
        valid_until=dt.datetime(2026, 12, 24, 18, tzinfo=dt.timezone(dt.timedelta(hours=1))),
    )  # fmt: skip


@pytest.fixture(scope="module")
def decisions() -> Decisions:
    return decisions_of()


def _read(path: Path) -> pd.DataFrame:
    text = dict.fromkeys(("customer", "decision_id", "run_id", "model_hash"), str)
    if path.is_dir():
        return ds.dataset(path, partitioning="hive", exclude_invalid_files=True).to_table().to_pandas()
    if path.suffix == ".duckdb":
        with duckdb.connect(str(path), read_only=True) as shop:
            return shop.sql("select * from allocation").to_arrow_table().to_pandas()
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pandas()
    if path.suffix == ".csv":
        return pd.read_csv(path, dtype=text)
    return pd.DataFrame([json.loads(line) for line in path.read_text().splitlines()])


@pytest.mark.parametrize("ending", [*ENDINGS, "parts"])
def test_every_format_holds_the_same_decisions(ending: str, decisions: Decisions, tmp_path: Path) -> None:
    path = export_decisions(decisions, tmp_path / f"plan.{ending}", by_arm=ending == "parts")
    read, frame = _read(path), decisions.to_table().to_pandas()
    if ending == "parts":
        read = read.sort_values("customer", key=lambda column: column.str[1:].astype(int)).reset_index(
            drop=True
        )
        read = read[list(frame.columns)]
    assert list(read.columns) == list(frame.columns)
    for name in frame.columns:
        if name.startswith("valid"):
            continue
        left, right = read[name], frame[name]
        if right.dtype.kind == "f":
            assert np.array_equal(left.astype(right.dtype), right), name  # to the last bit
        else:
            assert left.astype(str).tolist() == right.astype(str).tolist(), name  # leading zeros survive
    until = pd.to_datetime(read["valid_until"], utc=True)
    assert set(until) == {pd.Timestamp("2026-12-24T17:00:00Z")}
    found = verify_export(path)
    assert found.passed, found.checks
    assert {check.status for check in found.checks} == {"pass"}
    assert found.manifest["rows"] == len(decisions)


def test_rows_say_who_gets_what_and_why(decisions: Decisions) -> None:
    frame = decisions.to_table().to_pandas()
    effects = effects_of()
    best = effects.tau_all[:, 1:, 1].max(axis=1)
    for _, row in frame.iterrows():
        index = int(row["customer"][1:])
        arm = effects.arms.index(row["arm"])
        assert row["uplift__click"] == effects.tau_all[index, arm, 0]
        assert row["expected_value"] == pytest.approx(12 * effects.tau_all[index, arm, 1])
        if arm:
            assert row["role"] == "treatment"
            assert row["reason"] in {"selected", "repaired"}
        elif row["holdout"]:
            assert (row["role"], row["reason"]) == ("holdout", "holdout")
        else:
            expected = {"below_price", "tie_cut"} if best[index] > 0 else {"negative_uplift"}
            assert row["role"] == "control"
            assert row["reason"] in expected
    assert {"selected", "holdout", "below_price", "negative_uplift"} <= set(frame["reason"])
    # Only where the money ends does the price alone not decide.
    assert frame["reason"].isin(["tie_cut", "repaired"]).sum() <= 5
    assert set(frame.loc[frame["arm"] == "five", "arm_label"]) == {"5 off"}
    assert set(frame["campaign"]) == {"spring"}
    assert set(frame["model_hash"]) == {"f-1"}


def test_reasons_of_a_plan_are_kept_and_make_the_role() -> None:
    table = pa.table({
        "unit": [1, 2, 3], "arm": ["none", "none", "a"], "expected_value": [0.0, 0.0, 2.0],
        "expected_cost": [0.0, 0.0, 1.0], "holdout": [False] * 3, "reason": ["not eligible", "store closed", "repaired"],
    })  # fmt: skip
    frame = from_table(table, control="none").to_table().to_pandas()
    assert frame["role"].tolist() == ["not_eligible", "control", "treatment"]
    assert frame["reason"].tolist() == ["not_eligible", "store_closed", "repaired"]


def test_propensities_are_the_chances_of_the_draw() -> None:
    """Over many draws of the holdout, 1 / propensity weights what was done back to one for every unit."""
    effects = effects_of(200)
    weight = np.zeros((len(effects), 2))  # of control, of an arm
    draws = 250
    for seed in range(draws):
        frame = decisions_of(effects, budget=None, holdout=0.3, seed=seed).to_table().to_pandas()
        treated = (frame["arm"] != "none").to_numpy()
        weight[np.arange(len(effects)), treated.astype(int)] += 1 / frame["propensity"].to_numpy()
    weight /= draws
    would = allocate(effects, costs=COSTS, margin=12.0, budget=None).arm_codes > 0
    assert 0 < would.sum() < len(would)
    assert np.abs(weight[~would] - [1, 0]).max() == 0  # best left in control: certain, held out or not
    # Two coins with shares 0.3 and 0.7; five standard errors of the draws.
    assert np.abs(weight[would, 0] - 1).max() < 5 * np.sqrt(0.7 / 0.3 / draws)
    assert np.abs(weight[would, 1] - 1).max() < 5 * np.sqrt(0.3 / 0.7 / draws)
    assert abs(weight[would].mean() - 1) < 0.02


def test_propensities_that_are_not_known_are_null_and_counted(tmp_path: Path) -> None:
    table = decisions_of().table.select(["customer", "arm", "expected_value", "expected_cost", "holdout"])
    unknown = from_table(table)
    chance = unknown.to_table()["propensity"]
    held, treated = unknown.held_out, unknown.arm_codes > 0
    assert chance.is_null().to_numpy().tolist() == (held | treated).tolist()
    shared = from_table(table, known_share=0.15)
    assert np.nanmin(shared.propensity) == 0.85
    found = verify_export(export_decisions(shared, tmp_path / "plan.parquet"))
    assert found.passed
    assert found.manifest["propensity"]["unknown"] == held.sum()


def test_the_manifest_adds_up_independently(decisions: Decisions, tmp_path: Path) -> None:
    path = export_decisions(decisions, tmp_path / "plan.csv")
    manifest = json.loads((tmp_path / "plan.csv.manifest.json").read_text())
    with path.open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert manifest["rows"] == len(rows) == 600
    for name, up in (("expected_cost", True), ("expected_value", False)):
        stated = manifest["sums"][name]
        step = Decimal(10) ** -stated["decimals"]
        total = sum(Decimal(row[name]) for row in rows)  # exact, unlike floats
        assert stated["decimals"] >= 6
        assert Decimal(stated["amount"]) == int(stated["multiples"]) * step
        error = Decimal(stated["amount"]) - total
        assert 0 <= (error if up else -error) <= step * len(rows)
    assert Decimal(manifest["sums"]["expected_cost"]["amount"]) <= Decimal(manifest["budget"])
    for group in manifest["counts"]:
        wanted = [r for r in rows if all(r[key] == group[key] for key in ("arm", "role", "reason"))]
        assert group["rows"] == len(wanted)
    assert sum(group["rows"] for group in manifest["counts"]) == 600
    assert manifest["holdout"] == {"rows": int(decisions.held_out.sum()), "share": 0.15}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=50), st.integers(0, 6))
def test_decimal_amounts_are_summed_exactly(counts: list[int], decimals: int) -> None:
    amounts = np.array([float(Decimal(count).scaleb(-decimals)) for count in counts])
    for up in (True, False):
        assert multiples(amounts, decimals, up=up) == sum(counts)
    assert within(82, 1, 8.2)
    assert not within(83, 1, 8.2)


def test_the_same_inputs_export_the_same_bytes(tmp_path: Path) -> None:
    for ending in ("csv", "parquet", "jsonl"):
        one = export_decisions(decisions_of(), tmp_path / f"one.{ending}")
        two = export_decisions(decisions_of(), tmp_path / f"two.{ending}")
        assert one.read_bytes() == two.read_bytes()


def test_ids_stay_and_changed_decisions_raise_the_revision(tmp_path: Path) -> None:
    first, second = decisions_of(), decisions_of(effects_of(seed=5), budget=60.0)
    one = export_decisions(first, tmp_path / "one.parquet")
    two = export_decisions(second, tmp_path / "two.csv", previous=one)
    three = export_decisions(second, tmp_path / "three.jsonl", previous=two)
    frames = [_read(path).set_index("decision_id") for path in (one, two, three)]
    assert frames[0].index.equals(frames[1].index)
    changed = (frames[0]["arm"].astype(str) != frames[1]["arm"].astype(str)) | (
        frames[0]["role"].astype(str) != frames[1]["role"].astype(str)
    )
    assert 50 < changed.sum() < 550
    assert frames[1]["revision"].tolist() == np.where(changed, 2, 1).tolist()
    assert frames[2]["revision"].tolist() == frames[1]["revision"].tolist()
    note = verify_export(two).raise_if_failed().manifest["predecessor"]
    assert note["run_id"] == first.run_id
    assert (note["new"], note["changed"], note["gone"]) == (0, changed.sum(), 0)
    # Overwriting compares with what is overwritten.
    export_decisions(first, two, overwrite=True)
    assert _read(two)["revision"].max() == 3


def _tamper(path: Path, change: dict[str, object]) -> None:
    """Change the first row and keep the manifest's hash true: only adding up again can find it."""
    table = pq.read_table(path)
    for name, value in change.items():
        column = table[name].cast(pa.string()) if pa.types.is_dictionary(table[name].type) else table[name]
        values = column.to_pylist()
        values[0] = values[1] if value == "second" else value
        table = table.set_column(table.column_names.index(name), name, pa.array(values, column.type))
    pq.write_table(table, path)
    _fix_hash(path)


def _fix_hash(path: Path) -> None:
    import hashlib

    manifest = path.with_name(path.name + ".manifest.json")
    content = json.loads(manifest.read_text())
    content["parts"][0]["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    manifest.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("change", "check"),
    [
        ({"decision_id": "second"}, "ids"),
        ({"customer": "second"}, "ids"),
        ({"customer": None}, "ids"),
        ({"holdout": True, "role": "treatment", "arm": "five"}, "holdout"),
        ({"role": "treatment", "arm": "none"}, "roles"),
        ({"arm": "unheard of"}, "arms"),
        ({"arm": "none", "expected_cost": 1e-6}, "control"),
        ({"propensity": 0.0}, "propensity"),
        ({"reason": "because"}, "counts"),
        ({"expected_value": 1e9}, "sum of expected_value"),
        ({"expected_cost": 29.0}, "sum of expected_cost"),
        ({"expected_cost": 29.0}, "budget"),
    ],
)
def test_verification_finds_every_kind_of_damage(
    change: dict[str, object], check: str, decisions: Decisions, tmp_path: Path
) -> None:
    path = export_decisions(decisions, tmp_path / "plan.parquet")
    assert verify_export(path).passed
    _tamper(path, change)
    failed = {entry.name for entry in verify_export(path).checks if entry.status == "fail"}
    assert check in failed
    with pytest.raises(OutputError, match="does not verify"):
        verify_export(path).raise_if_failed()


def test_lost_rows_and_changed_files_do_not_verify(decisions: Decisions, tmp_path: Path) -> None:
    path = export_decisions(decisions, tmp_path / "plan.parquet")
    pq.write_table(pq.read_table(path).slice(1), path)
    assert verify_export(path).checks[0].name == "files"  # SHA-256 differs
    _fix_hash(path)
    assert {"rows", "counts"} <= {c.name for c in verify_export(path).checks if c.status == "fail"}
    parts = export_decisions(decisions, tmp_path / "parts", by_arm=True)
    (parts / "arm=five" / "part-1.parquet").write_bytes(b"more")
    assert verify_export(parts).checks[0].detail == "arm=five/part-1.parquet is not in the manifest"
    (parts / "arm=five" / "part-0.parquet").unlink()
    assert not verify_export(parts).passed
    with pytest.raises(OutputError, match=r"there is no file or folder .*nothing\.csv"):
        verify_export(tmp_path / "nothing.csv")


def test_text_in_an_amount_and_a_cut_manifest_are_said(decisions: Decisions, tmp_path: Path) -> None:
    path = export_decisions(decisions, tmp_path / "plan.csv")
    assert repr(verify_export(path)).endswith(": verified, 12 checks, 1 limits)")
    whole = path.read_text()
    for column, odd in (("expected_cost", "abc"), ("holdout", "maybe")):
        rows = list(csv.reader(whole.splitlines()))
        rows[1][rows[0].index(column)] = odd
        path.write_text("\n".join(",".join(row) for row in rows) + "\n")
        _fix_hash(path)
        found = verify_export(path)
        assert "rows failed" in repr(found)
        assert f"{column} holds '{odd}'" in found.checks[1].detail
    manifest = tmp_path / "plan.csv.manifest.json"
    content = json.loads(manifest.read_text())
    for key in ("parts", "constraints", "sums"):
        manifest.write_text(json.dumps({k: v for k, v in content.items() if k != key}))
        with pytest.raises(OutputError, match=f"is damaged .no '{key}'"):
            verify_export(path)
    manifest.unlink()
    with pytest.raises(OutputError, match="has no manifest beside it"):
        verify_export(path)


def test_a_template_can_be_named(decisions: Decisions, tmp_path: Path) -> None:
    named = export_decisions(decisions, tmp_path / "named.csv", template="braze")
    loaded = export_decisions(decisions, tmp_path / "loaded.csv", template=load_template("braze"))
    assert named.read_bytes() == loaded.read_bytes()
    with pytest.raises(OutputError, match="did you mean 'braze'"):
        export_decisions(decisions, tmp_path / "other.csv", template="brze")


def test_parts_are_named_by_arm_and_read_by_duckdb(decisions: Decisions, tmp_path: Path) -> None:
    parts = export_decisions(decisions, tmp_path / "parts", by_arm=True)
    assert sorted(folder.name for folder in parts.iterdir()) == [
        "arm=10%20%25%20off%2Fnow", "arm=five", "arm=none", "manifest.json"
    ]  # fmt: skip
    query = f"select arm, count(*) from read_parquet('{parts}/*/*.parquet', hive_partitioning = true) group by arm"
    found = dict(duckdb.sql(query).fetchall())
    assert found == {k: v for k, v in verify_export(parts).manifest["arms"].items() if v}


def test_nothing_is_overwritten_silently(decisions: Decisions, tmp_path: Path) -> None:
    path = tmp_path / "plan.csv"
    path.write_text("mine")
    with pytest.raises(OutputError, match="--overwrite"):
        export_decisions(decisions, path)
    assert path.read_text() == "mine"
    export_decisions(decisions, path, overwrite=True)
    assert verify_export(path).passed
    folder = tmp_path / "parts"
    folder.mkdir()
    (folder / "letter.txt").write_text("mine")
    for overwrite, message in ((False, "already holds files"), (True, "no manifest of an export lists")):
        with pytest.raises(OutputError, match=message):
            export_decisions(decisions, folder, by_arm=True, overwrite=overwrite)
    assert (folder / "letter.txt").read_text() == "mine"
    with pytest.raises(OutputError, match="no known format"):
        export_decisions(decisions, tmp_path / "plan.xls")
    with pytest.raises(OutputError, match="is a folder"):
        export_decisions(decisions, folder, format="csv")


def test_a_failed_write_leaves_the_old_export(
    decisions: Decisions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = export_decisions(decisions, tmp_path / "plan.csv")
    before = path.read_bytes()

    def interrupted(self: Decisions, start: int, stop: int) -> pa.Table:
        raise KeyboardInterrupt

    fresh = decisions_of()
    assert fresh.schema
    monkeypatch.setattr(Decisions, "_block", interrupted)
    with pytest.raises(KeyboardInterrupt):
        export_decisions(fresh, path, overwrite=True)
    assert path.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["plan.csv", "plan.csv.manifest.json"]


def test_formulas_are_disarmed_only_on_request(tmp_path: Path) -> None:
    table = pa.table({
        "unit": ["=1+1", "@x", "ok", "-5"], "arm": ["a", "a", "b", "b"], "expected_value": [1.0, 2.0, 3.0, -3.0],
        "expected_cost": [1.0] * 4, "holdout": [False] * 4,
    })  # fmt: skip
    plan = from_table(table, control="none")
    export_decisions(plan, tmp_path / "raw.csv")
    export_decisions(plan, tmp_path / "safe.csv", spreadsheet_safe=True)
    assert pd.read_csv(tmp_path / "raw.csv")["unit"].tolist() == ["=1+1", "@x", "ok", "-5"]
    safe = pd.read_csv(tmp_path / "safe.csv")
    assert safe["unit"].tolist() == ["'=1+1", "'@x", "ok", "'-5"]
    assert safe["expected_value"].tolist() == [1.0, 2.0, 3.0, -3.0]


def test_big_integer_ids_survive_json_readers_that_use_floats(tmp_path: Path) -> None:
    plan = allocate_arrays([[2.0], [2.0]], [[1.0], [1.0]], budget=1.0, units=[2**62 + 1, 2**62 + 2])
    path = export_allocation(plan, tmp_path / "plan.jsonl")
    rows = [json.loads(line, parse_int=float) for line in path.read_text().splitlines()]
    assert [row["unit"] for row in rows] == [str(2**62 + 1), str(2**62 + 2)]
    assert verify_export(path).passed


@pytest.mark.parametrize("ending", [*ENDINGS, "parts"])
def test_a_plan_for_nobody_is_exported_too(ending: str, tmp_path: Path) -> None:
    plan = allocate_arrays(np.empty((0, 1)), np.empty((0, 1)), budget=1.0)
    path = export_decisions(from_allocation(plan), tmp_path / f"plan.{ending}", by_arm=ending == "parts")
    found = verify_export(path)
    assert found.passed, found.checks
    assert found.manifest["rows"] == 0


def test_a_plans_file_is_exported_like_the_plan(tmp_path: Path) -> None:
    plan = allocate(effects_of(), costs=COSTS, margin=12.0, budget=30.0, holdout=0.15)
    for ending in ("parquet", "csv"):
        file = write_table(plan.to_table(), tmp_path / f"plan.{ending}")
        again = from_file(file, effects=effects_of(), known_share=0.15)
        assert again.arms[0] == "none"
        whole = from_allocation(plan, effects=effects_of())
        for name in ("decision_id", "arm", "role", "holdout", "expected_cost", "uplift__click", "campaign"):
            left, right = again.to_table()[name].to_pylist(), whole.to_table()[name].to_pylist()
            assert list(map(str, left)) == list(map(str, right)), name
    unsaid = plan.to_table().replace_schema_metadata()
    with pytest.raises(OutputError, match="name it"):
        from_table(unsaid.filter(pa.array(plan.arm_codes == 1)))


def test_a_control_that_is_named_keeps_the_arms_that_nobody_gets() -> None:
    plan = allocate_arrays([[3.0, 1.0], [2.0, 1.0]], [[1.0, 1.0]] * 2, budget=1.0, arms=("ten", "twenty"))
    assert plan.certificate.counts["twenty"] == 0
    assert from_table(plan.to_table(), control="control").arms == ("control", "ten", "twenty")


def test_unusable_tables_are_refused() -> None:
    table = decisions_of().table
    with pytest.raises(OutputError, match="no column 'holdout'"):
        from_table(table.drop_columns("holdout"))
    with pytest.raises(OutputError, match="rename it"):
        from_table(table.rename_columns(["role", *table.column_names[1:]]))
    with pytest.raises(OutputError, match="not later"):
        from_table(table, valid_from=dt.datetime(2026, 2, 1), valid_until=dt.datetime(2026, 1, 1))
    moved = table.set_column(table.column_names.index("holdout"), "holdout", pa.array([True] * len(table)))
    with pytest.raises(OutputError, match="held-out units have an arm"):
        from_table(moved)
