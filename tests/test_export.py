"""Exports: every format holds the same decisions, and the manifest proves it."""

from __future__ import annotations

import json
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from uplift import allocate_arrays
from uplift.errors import OutputError
from uplift.export import export_allocation, export_table, verify_export


@pytest.fixture(scope="module")
def plan() -> object:
    rng = np.random.default_rng(0)
    units = pa.array([f"0{index}" for index in range(500)])
    return allocate_arrays(
        rng.normal(1, 1, (500, 2)), rng.uniform(0.5, 2, (500, 2)), budget=100.0, units=units
    )


def _read(path: Path) -> pd.DataFrame:
    if path.suffix == ".duckdb":
        with duckdb.connect(str(path), read_only=True) as shop:
            return shop.execute("select * from allocation").df()
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pandas()
    if path.suffix == ".csv":
        return pd.read_csv(path, dtype={"unit": str})
    return pd.read_json(path, lines=True, dtype={"unit": str})


@pytest.mark.parametrize("ending", ["parquet", "csv", "jsonl", "duckdb"])
def test_every_format_holds_the_same_decisions(ending: str, plan: object, tmp_path: Path) -> None:
    path = export_allocation(plan, tmp_path / f"plan.{ending}")
    read, frame = _read(path), plan.to_frame()
    assert read["unit"].tolist() == frame["unit"].tolist()  # leading zeros survive
    assert read["arm"].astype(str).tolist() == frame["arm"].astype(str).tolist()
    assert np.allclose(read["expected_value"], frame["expected_value"], rtol=0, atol=1e-12)
    assert read["holdout"].astype(bool).tolist() == frame["holdout"].tolist()
    assert read["decision_id"].nunique() == 500
    manifest = verify_export(path)
    assert manifest["rows"] == 500
    assert manifest["expected_cost"] == pytest.approx(frame["expected_cost"].sum())
    assert sum(manifest["arms"].values()) == 500


def test_a_changed_file_does_not_verify(plan: object, tmp_path: Path) -> None:
    path = export_allocation(plan, tmp_path / "plan.csv")
    path.write_text(path.read_text().replace("0.", "1.", 1))
    with pytest.raises(OutputError, match="SHA-256 differs"):
        verify_export(path)


def test_nothing_is_overwritten_silently(plan: object, tmp_path: Path) -> None:
    path = tmp_path / "plan.csv"
    path.write_text("mine")
    with pytest.raises(OutputError, match="--overwrite"):
        export_allocation(plan, path)
    assert path.read_text() == "mine"
    export_allocation(plan, path, overwrite=True)
    assert path.read_text() != "mine"
    with pytest.raises(OutputError, match="no known format"):
        export_allocation(plan, tmp_path / "plan.xls")


def test_formulas_are_disarmed_only_on_request(tmp_path: Path) -> None:
    table = pa.table({
        "unit": ["=1+1", "@x", "ok"], "arm": ["a", "a", "b"], "expected_value": [1.0, 2.0, -3.0],
        "expected_cost": [0.0] * 3, "holdout": [False] * 3, "decision_id": ["1", "2", "3"],
    })  # fmt: skip
    export_table(table, tmp_path / "raw.csv")
    export_table(table, tmp_path / "safe.csv", spreadsheet_safe=True)
    assert pd.read_csv(tmp_path / "raw.csv")["unit"].tolist() == ["=1+1", "@x", "ok"]
    safe = pd.read_csv(tmp_path / "safe.csv")
    assert safe["unit"].tolist() == ["'=1+1", "'@x", "ok"]
    assert safe["expected_value"].tolist() == [1.0, 2.0, -3.0]


def test_real_plans_can_be_disarmed(plan: object, tmp_path: Path) -> None:
    export_allocation(plan, tmp_path / "safe.csv", spreadsheet_safe=True)
    frame = plan.to_frame()
    frame["unit"] = "-" + frame["unit"]
    table = pa.Table.from_pandas(frame, preserve_index=False).cast(
        pa.schema([(n, pa.large_string() if n == "unit" else t) for n, t in _types(frame).items()])
    )
    export_table(table, tmp_path / "large.csv", spreadsheet_safe=True)
    assert pd.read_csv(tmp_path / "large.csv")["unit"].str.startswith("'-").all()


def _types(frame: pd.DataFrame) -> dict[str, pa.DataType]:
    schema = pa.Table.from_pandas(frame, preserve_index=False).schema
    return dict(zip(schema.names, schema.types, strict=True))


def test_a_failed_write_leaves_the_old_file(
    plan: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from uplift.export import allocation as module

    path = export_allocation(plan, tmp_path / "plan.csv")
    before = path.read_bytes()

    def interrupted(table: pa.Table, target: Path) -> None:
        target.write_text("half")
        raise KeyboardInterrupt

    monkeypatch.setitem(module._WRITERS, "csv", interrupted)
    with pytest.raises(KeyboardInterrupt):
        export_allocation(plan, path, overwrite=True)
    assert path.read_bytes() == before
    assert json.loads((tmp_path / "plan.csv.manifest.json").read_text())["rows"] == 500
    assert sorted(p.name for p in tmp_path.iterdir()) == ["plan.csv", "plan.csv.manifest.json"]
