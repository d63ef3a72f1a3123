"""Every limit of a plan is added up again from what was written: one customer or micro-unit too many is found and named."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from uplift import Allocation, allocate_arrays
from uplift.allocation import Budget, Cap, MaxShare, MenuFile, MinReach, MinROI, Stock, allocate_file
from uplift.cli import app
from uplift.errors import OutputError
from uplift.export import (
    Template,
    Verification,
    export_decisions,
    export_to_database,
    from_allocation,
    from_file,
    load_template,
    verify_database,
    verify_export,
    write_table,
)
from uplift.export.audit import Audit, Given
from uplift.export.connections import MARK
from uplift.export.opening import connect
from uplift.io.atomic import write_json

N = 600
ARMS = ("ten", "=five")  # a spreadsheet would run the second one
LEVELS = (None, "north", "south", "=east", "")
CONSTRAINTS = [
    Stock({"ten": 40, "=five": 60}), Cap(80), MaxShare(0.2), MinReach(20, arm="=five"), MinROI(1.5),
    Budget(40, arm="ten"), Budget(20.25, segment="region"), Budget(12.5, segment="region", arm="ten", name="tens"),
    Stock(17, segment="region"), Cap(25, segment="region"), MaxShare(0.25, segment="vip"),
    MinReach({"true": 9, "false": 7}, segment="vip"), MinROI({"north": 2.0, "south": 1.25}, segment="region"),
]  # fmt: skip


def customers() -> pa.Table:
    rng = np.random.default_rng(3)
    return pa.table({
        "customer": [f"0{i}" for i in range(N)],
        "region": pa.array([LEVELS[k] for k in rng.integers(0, len(LEVELS), N)], pa.string()),
        "vip": rng.random(N) < 0.3,
    })  # fmt: skip


@pytest.fixture(scope="module")
def plan() -> Allocation:
    rng = np.random.default_rng(0)
    return allocate_arrays(
        rng.normal(1.0, 1.0, (N, 2)), rng.uniform(0.5, 2.0, (N, 2)), budget=80.0, arms=ARMS, control="none",
        units=customers()["customer"], unit_column="customer", holdout=np.arange(N) % 10 == 0, campaign="spring",
        columns=customers(), constraints=CONSTRAINTS,
    )  # fmt: skip


def _status(found: Verification, status: str) -> dict[str, str]:
    return {check.name: check.detail for check in found.checks if check.status == status}


# ---------------------------------------------------------------- what is right passes


@pytest.mark.parametrize("ending", ["parquet", "csv", "safe.csv", "jsonl", "duckdb", "parts"])
def test_every_limit_is_added_up_from_the_written_rows(ending: str, plan: Allocation, tmp_path: Path) -> None:
    path = export_decisions(
        from_allocation(plan), tmp_path / f"plan.{ending}", by_arm=ending == "parts",
        spreadsheet_safe=ending == "safe.csv",
    )  # fmt: skip
    found = verify_export(path).raise_if_failed()
    assert {check.status for check in found.checks} == {"pass"}
    uses = {use.name: use for use in found.limits}
    stated = {limit.name: limit for limit in plan.certificate.limits}
    assert set(uses) == set(stated)
    assert {limit.kind for limit in stated.values()} == {
        "budget", "stock", "cap", "max_share", "min_reach", "min_roi"
    }  # fmt: skip
    for name, limit in stated.items():  # the rows and the solver's own table say the same
        tolerance = 1e-9 if limit.kind == "budget" else 1e-6 if limit.kind == "min_roi" else 0
        assert float(uses[name].use) == pytest.approx(limit.use, rel=tolerance, abs=tolerance), name
    # 30-odd limits of segments do not flood the list: one line for each segment and kind.
    assert sum(use.segment is not None for use in found.limits) >= 25
    assert sum(" by " in check.name for check in found.checks) == 6


def test_anyone_can_add_up_a_limit_with_one_query(plan: Allocation, tmp_path: Path) -> None:
    path = export_decisions(from_allocation(plan), tmp_path / "plan.parquet")
    sums = dict(
        duckdb.sql(f"select segment__region, sum(expected_cost) from '{path}' group by all").fetchall()
    )
    regions = customers()["region"].to_pylist()
    assert set(sums) == set(regions)
    assert max(total for region, total in sums.items() if region is not None) <= 20.25
    assert pq.read_table(path)["segment__region"].to_pylist() == regions


def test_plans_without_segments_are_written_as_before(tmp_path: Path) -> None:
    plain = allocate_arrays([[3.0], [2.0]], [[1.0], [1.0]], budget=1.0, constraints=[Stock({"arm_1": 1})])
    path = export_decisions(from_allocation(plain), tmp_path / "plan.parquet")
    assert not [name for name in pq.read_schema(path).names if name.startswith("segment__")]
    assert [use.name for use in verify_export(path).limits] == ["budget", "stock arm_1"]


# ---------------------------------------------------------------- one too many is found


def _resealed(path: Path, rows: pd.DataFrame) -> Path:
    """The changed rows, with a manifest whose hash, counts and sums describe them: only the limits can object."""
    manifest_file = path.with_name(path.name + ".manifest.json")
    manifest = json.loads(manifest_file.read_text())
    table = pa.Table.from_pandas(rows, preserve_index=False)
    ending = path.suffix
    if ending == ".parquet":
        pq.write_table(table, path)
    elif ending == ".csv":
        pacsv.write_csv(table, path)
    elif ending == ".jsonl":
        path.write_text("".join(json.dumps(row, default=str) + "\n" for row in table.to_pylist()))
    manifest["parts"][0]["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    groups = rows.groupby(["arm", "role", "reason"], observed=True).size()
    manifest["counts"] = [
        {"arm": arm, "role": role, "reason": reason, "rows": int(count)}
        for (arm, role, reason), count in groups.items()
    ]
    for name, up in (("expected_cost", True), ("expected_value", False)):
        step = Decimal(10) ** -manifest["sums"][name]["decimals"]
        total = sum(int((Decimal(repr(v)) / step).to_integral_value("ROUND_CEILING" if up else "ROUND_FLOOR"))
                    for v in rows[name].tolist())  # fmt: skip
        manifest["sums"][name] |= {"multiples": str(total), "amount": str(total * step)}
    manifest_file.write_text(json.dumps(manifest))
    return path


def _written(plan: Allocation, path: Path) -> pd.DataFrame:
    """The plan exported as Parquet, and its rows as plain values."""
    export_decisions(from_allocation(plan), path)
    rows = pq.read_table(path).to_pandas()
    for name in rows.columns:
        if isinstance(rows[name].dtype, pd.CategoricalDtype):
            rows[name] = rows[name].astype(object)
    return rows


def _give(rows: pd.DataFrame, at: Any, arm: str) -> None:
    rows.loc[at, ["arm", "arm_label", "role", "reason"]] = [arm, arm, "treatment", "selected"]
    rows.loc[at, ["expected_value", "expected_cost"]] = [4e-4, 2e-4]


def _take(rows: pd.DataFrame, at: Any) -> None:
    rows.loc[at, ["arm", "arm_label", "role", "reason"]] = ["none", "none", "control", "control"]
    rows.loc[at, ["expected_value", "expected_cost"]] = 0.0


def _counts(limit: Any, rows: pd.DataFrame) -> pd.Series:
    inside = pd.Series(True, index=rows.index)
    if limit.segment is not None:
        inside = rows[f"segment__{limit.segment}"].map(lambda level: level == limit.level)
    return inside


def _treated(limit: Any, rows: pd.DataFrame) -> pd.Series:
    arm = rows["arm"] != "none" if limit.arm is None else rows["arm"] == limit.arm
    return _counts(limit, rows) & arm


def _fill(limit: Any, rows: pd.DataFrame, beyond: int) -> None:
    """Change as few rows as it takes to be `beyond` customers past (negative: short of) the limit."""
    wanted = int(limit.limit) + (-beyond if limit.kind == "min_reach" else beyond)
    have = int(_treated(limit, rows).sum())
    arm = limit.arm or "ten"
    if wanted > have:
        free = rows.index[_counts(limit, rows) & (rows["role"] == "control")]
        for at in free[: wanted - have]:
            _give(rows, at, arm)
    else:
        for at in rows.index[_treated(limit, rows)][: have - wanted]:
            _take(rows, at)
    assert int(_treated(limit, rows).sum()) == wanted


def _spend(limit: Any, rows: pd.DataFrame, beyond: Decimal) -> None:
    """Raise or lower one cost so that the sum of all is the limit and `beyond` more."""
    inside = rows.index[_treated(limit, rows)]
    at = inside[0]
    for other in inside:  # costs of six decimals, so that sums are what they look like
        rows.loc[other, "expected_cost"] = round(rows.loc[other, "expected_cost"], 6)
    others = sum(Decimal(repr(v)) for v in rows.loc[inside[1:], "expected_cost"])
    rows.loc[at, "expected_cost"] = float(Decimal(repr(limit.limit)) - others + beyond)


def _return(limit: Any, rows: pd.DataFrame, beyond: Decimal) -> None:
    """Lower one value so that the return is the limit's, less `beyond` of value."""
    inside = rows.index[_treated(limit, rows)]
    for other in inside:
        rows.loc[other, "expected_cost"] = round(rows.loc[other, "expected_cost"], 4)
        rows.loc[other, "expected_value"] = round(rows.loc[other, "expected_value"], 4)
    cost = sum(Decimal(repr(v)) for v in rows.loc[inside, "expected_cost"])
    others = sum(Decimal(repr(v)) for v in rows.loc[inside[1:], "expected_value"])
    wanted = cost * Decimal(repr(limit.limit)) - others - beyond
    rows.loc[inside[0], "expected_value"] = float(wanted)


CASES = [
    "budget", "stock ten", "cap", "max_share", "min_reach =five", "min_roi", "budget ten", "budget region=north",
    "budget region=", "tens region=south ten", "stock region=south ten", "stock region==east =five",
    "cap region=north", "max_share vip=true", "min_reach vip=false", "min_roi region=north",
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "ending"),
    [(name, "parquet") for name in CASES]
    + [(name, kind) for name in CASES[1::2] for kind in ("csv", "jsonl")],
)
def test_one_customer_or_micro_unit_too_many_fails_by_name_and_amount(
    name: str, ending: str, plan: Allocation, tmp_path: Path
) -> None:
    limit = next(limit for limit in plan.certificate.limits if limit.name == name)
    rows = _written(plan, tmp_path / "first.parquet")
    micro = Decimal("0.000001")
    export_decisions(from_allocation(plan), tmp_path / f"plan.{ending}")
    for beyond in (0, 1):
        changed = rows.copy()
        if limit.kind == "budget":
            _spend(limit, changed, beyond * micro)
        elif limit.kind == "min_roi":
            _return(limit, changed, beyond * micro)
        else:
            _fill(limit, changed, beyond)
        found = verify_export(_resealed(tmp_path / f"plan.{ending}", changed))
        use = next(use for use in found.limits if use.name == name)
        assert use.status == ("fail" if beyond else "pass"), use
        if beyond:  # the limit's own check, by its own name
            detail = _status(found, "fail")[name]
            if limit.kind in ("budget", "min_roi"):
                words = "0.000001 more than" if limit.kind == "budget" else "0.000001 less value than"
            else:
                words = "1 customer fewer" if limit.kind == "min_reach" else "1 customer more"
            assert words in detail, detail
        with_limits = {use.name for use in found.limits}
        blamed = {failed for failed in _status(found, "fail") if failed not in with_limits}
        assert blamed == set(), "the files, counts and sums agree, so that this check stands alone"


@pytest.mark.parametrize("kind", ["sqlite", "duckdb", "postgresql"])
def test_a_row_changed_in_a_database_fails_the_limit(
    kind: str, plan: Allocation, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = (
        str(request.getfixturevalue("postgres_url"))
        if kind == "postgresql"
        else f"{kind}:///{tmp_path}/shop.db"
    )
    plain = allocate_arrays(
        np.ones((N, 2)), np.ones((N, 2)), budget=20.0, arms=ARMS, control="none", campaign="spring",
        units=customers()["customer"], unit_column="customer",
    )  # fmt: skip
    # A table of a plan that counted no segments gets their columns when one does.
    export_to_database(from_allocation(plain), url, "limits")
    export_to_database(from_allocation(plan), url, "limits")
    found = verify_database(url, "limits").raise_if_failed()
    assert {use.status for use in found.limits} == {"pass"}
    assert len(found.limits) == len(plan.certificate.limits)
    ids = plan.decision_ids.to_pylist()
    north = [i for i, level in enumerate(customers()["region"].to_pylist()) if level == "north"]
    treated = next(i for i in north if plan.arm_codes[i])
    limit = next(x for x in plan.certificate.limits if x.name == "budget region=north")
    more = limit.slack + 1e-6
    with connect(url, write=True) as db, db.transaction():
        db.execute(
            f"update {db.quoted('limits')} set expected_cost = expected_cost + {MARK} where decision_id = {MARK}",
            [more, ids[treated]],
        )
    found = verify_database(url, "limits", columns=customers())
    assert "more than 20.25" in _status(found, "fail")["budget region=north"]
    # Another region for the same customer hides it from sums by label, and not from the customer table.
    with connect(url, write=True) as db, db.transaction():
        db.execute(
            f"update {db.quoted('limits')} set segment__region = null where decision_id = {MARK}",
            [ids[treated]],
        )
    assert "budget region=north" not in _status(verify_database(url, "limits"), "fail")
    found = _status(verify_database(url, "limits", columns=customers()), "fail")
    assert {"content", "segments", "budget region=north"} <= set(found)
    assert "1 rows have another 'region'" in found["segments"]
    # Back to a plan without segments: the columns stay, and nothing is made of them.
    export_to_database(from_allocation(plain), url, "limits")
    assert verify_database(url, "limits").passed


def test_parts_by_arm_are_audited_together(plan: Allocation, tmp_path: Path) -> None:
    parts = export_decisions(from_allocation(plan), tmp_path / "parts", by_arm=True)
    part = parts / "arm=ten" / "part-0.parquet"
    table = pq.read_table(part, partitioning=None)
    costs = table["expected_cost"].to_pylist()
    costs[0] += next(x for x in plan.certificate.limits if x.name == "budget ten").slack + 1e-6
    pq.write_table(
        table.set_column(table.column_names.index("expected_cost"), "expected_cost", [costs]), part
    )
    manifest = json.loads((parts / "manifest.json").read_text())
    for entry in manifest["parts"]:
        if entry["file"].startswith("arm=ten"):
            entry["sha256"] = hashlib.sha256(part.read_bytes()).hexdigest()
    (parts / "manifest.json").write_text(json.dumps(manifest))
    assert "more than 40.00" in _status(verify_export(parts), "fail")["budget ten"]


# ---------------------------------------------------------------- labels from the customer table


def test_the_customer_table_is_believed_rather_than_the_exported_labels(
    plan: Allocation, tmp_path: Path
) -> None:
    path = tmp_path / "plan.parquet"
    rows = _written(plan, path)
    found = verify_export(path, columns=customers()).raise_if_failed()
    assert _status(found, "pass")["segments"] == "region, vip: as in the columns given"
    limit = next(limit for limit in plan.certificate.limits if limit.name == "cap region=north")
    _fill(limit, rows, 1)
    moved = rows.index[_treated(limit, rows)][0]
    rows.loc[moved, "segment__region"] = "nowhere"
    _resealed(path, rows)
    assert "cap region=north" not in _status(verify_export(path), "fail")
    failed = _status(verify_export(path, columns=customers()), "fail")
    assert failed["cap region=north"] == "26 customers, 1 customer more than 25"
    assert failed["segments"].endswith(f"first unit {rows.loc[moved, 'customer']!r}: 'nowhere', not 'north'")
    some = customers().slice(1)
    assert (
        "1 units are not in the columns given, first '00'"
        in _status(verify_export(path, columns=some), "fail")["segments"]
    )
    with pytest.raises(OutputError, match="have no 'region' which limits count"):
        verify_export(path, columns=customers().drop_columns("region"))


def test_of_several_rows_of_a_customer_the_last_counts(plan: Allocation, tmp_path: Path) -> None:
    path = export_decisions(from_allocation(plan), tmp_path / "plan.parquet")
    earlier = customers().set_column(1, "region", pa.array(["elsewhere"] * N))
    assert verify_export(path, columns=pa.concat_tables([earlier, customers()])).passed
    assert not verify_export(path, columns=pa.concat_tables([customers(), earlier])).passed


# ---------------------------------------------------------------- templates


def _sealed(path: Path, change: Callable[[list[str]], list[str]]) -> Path:
    """Change a text file's lines and the hash and number of rows with them."""
    lines = change(path.read_text().splitlines())
    path.write_text("\n".join(lines) + "\n")
    manifest_file = path.with_name(path.name + ".manifest.json")
    manifest = json.loads(manifest_file.read_text())
    manifest["parts"][0]["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    manifest_file.write_text(json.dumps(manifest))
    return path


def test_a_template_is_audited_by_the_columns_that_it_keeps(plan: Allocation, tmp_path: Path) -> None:
    decisions = from_allocation(plan)
    path = export_decisions(decisions, tmp_path / "braze.csv", template=load_template("braze"))
    found = verify_export(path).raise_if_failed()
    told = {use.name for use in found.limits if use.status == "pass"}
    assert told == {"stock ten", "stock =five", "cap", "max_share", "min_reach =five"}
    skipped = [check for check in found.checks if check.status == "skip" and check.name == "limits"]
    assert len(skipped) == 3  # by reason, not by limit: no cost, no region, no vip
    assert any(
        "no column 'segment__region'; the template 'braze' leaves it out, so give" in c.detail
        for c in skipped
    )
    found = verify_export(path, columns=customers()).raise_if_failed()
    told = {use.kind for use in found.limits if use.status == "pass" and use.segment}
    assert told == {"stock", "cap", "max_share", "min_reach"}

    def swap(
        lines: list[str],
    ) -> list[str]:  # as many rows, and another arm for some: more tens than there are
        return [line.replace(',"=five",', ',"ten",').replace(",=five,", ",ten,") for line in lines]

    failed = _status(verify_export(_sealed(path, swap)), "fail")
    assert "more than 40" in failed["stock ten"]
    assert "fewer than at least 20" in failed["min_reach =five"]


def test_a_mapping_of_ones_own_is_audited_in_full(plan: Allocation, tmp_path: Path) -> None:
    columns = [
        {"name": "Id", "from": "unit"}, {"name": "Offer", "from": "arm"}, {"name": "Cost", "from": "expected_cost"},
        {"name": "Worth", "from": "expected_value"}, {"name": "Region", "from": "segment__region"},
        {"name": "VIP", "from": "segment__vip"}, {"name": "Source", "value": "uplift"},
    ]  # fmt: skip
    for format in ("csv", "jsonl", "parquet"):
        template = Template(name="own", columns=columns, format=format, rows="all")
        path = export_decisions(from_allocation(plan), tmp_path / f"own.{format}", template=template)
        found = verify_export(path).raise_if_failed()
        assert {use.status for use in found.limits} == {"pass"}
        assert len(found.limits) == len(plan.certificate.limits)
    path = tmp_path / "own.jsonl"

    def dearer(lines: list[str]) -> list[str]:
        rows = [json.loads(line) for line in lines]
        row = next(row for row in rows if row["Region"] == "south" and row["Cost"] > 0)
        slack = next(x for x in plan.certificate.limits if x.name == "budget region=south").slack
        row["Cost"] += slack + 1e-6
        return [json.dumps(row) for row in rows]

    assert "more than 20.25" in _status(verify_export(_sealed(path, dearer)), "fail")["budget region=south"]
    wrong = Template(
        name="own", columns=[{"name": "Id", "from": "unit"}, {"name": "City", "from": "segment__city"}]
    )
    with pytest.raises(OutputError, match="limits of the plan count segment__region, segment__vip"):
        export_decisions(from_allocation(plan), tmp_path / "wrong.csv", template=wrong)


def test_rounded_money_is_not_called_a_violation_nor_a_proof(tmp_path: Path) -> None:
    """Two costs of 0.005 fit a budget of 0.01; written with two decimals they say 0.02, or 0.00."""
    plan = allocate_arrays([[1.0], [1.0]], [[0.005], [0.005]], budget=0.01, arms=("ten",))
    columns = [{"name": "Id", "from": "unit"}, {"name": "Cost", "from": "expected_cost"}]
    template = Template(name="own", columns=columns, decimals=2)
    path = export_decisions(from_allocation(plan), tmp_path / "own.csv", template=template)
    _sealed(path, lambda lines: [lines[0], *(line.split(",")[0] + ",0.01" for line in lines[1:])])
    found = verify_export(path)
    assert "too coarsely to tell" in _status(found, "skip")["budget"]
    _sealed(path, lambda lines: [lines[0], *(line.split(",")[0] + ",0.02" for line in lines[1:])])
    assert "more than 0.01" in _status(verify_export(path), "fail")["budget"]


# ---------------------------------------------------------------- plans that are not exported yet


@pytest.mark.parametrize("ending", ["parquet", "csv", "jsonl", "duckdb"])
def test_a_plans_own_file_is_audited_too(ending: str, plan: Allocation, tmp_path: Path) -> None:
    file = write_table(plan.to_table(), tmp_path / f"plan.{ending}")
    write_json(tmp_path / f"plan.{ending}.json", plan.summary())
    control = None if ending == "parquet" else "none"  # text does not say which arm is the control
    found = verify_export(file, columns=customers(), control=control).raise_if_failed()
    assert {check.status for check in found.checks} == {"pass"}
    assert {use.name for use in found.limits} == {limit.name for limit in plan.certificate.limits}
    # What is exported from the file is what is exported from the plan.
    again = export_decisions(
        from_file(file) if ending in ("parquet", "csv") else from_allocation(plan), tmp_path / "out.jsonl"
    )
    assert {use.status for use in verify_export(again).limits} == {"pass"}
    table = plan.to_table()
    treated = int(np.flatnonzero(plan.arm_codes)[0])
    for column, value, check in (
        ("expected_cost", 1e3, "budget"), ("expected_value", -1e3, "min_roi"), ("customer", "01", "ids"),
        ("holdout", True, "holdout"),
    ):  # fmt: skip
        values = table[column].to_pylist()
        values[treated if column != "customer" else 0] = value
        at = table.column_names.index(column)
        write_table(table.set_column(at, column, pa.array(values)), file, overwrite=True)
        assert check in _status(verify_export(file, control=control), "fail"), column


def test_a_run_folder_is_audited_from_its_allocation(plan: Allocation, tmp_path: Path) -> None:
    write_table(plan.to_table(), tmp_path / "allocation.parquet")
    write_json(tmp_path / "allocation.json", plan.summary())
    found = verify_export(tmp_path, columns=customers()).raise_if_failed()
    assert {use.name for use in found.limits} == {limit.name for limit in plan.certificate.limits}
    summary = plan.summary()
    north = next(row for row in summary["constraints"] if row["name"] == "cap region=north")
    north["limit"] = north["use"] - 1  # a promise that the rows do not keep
    write_json(tmp_path / "allocation.json", summary)
    assert "1 customer more than" in _status(verify_export(tmp_path), "fail")["cap region=north"]


def test_a_streamed_plan_is_audited_from_its_file(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    n = 5_000
    menus = pa.table({"user": np.arange(n), "gain": rng.normal(1, 1, n), "price": rng.uniform(0.5, 2, n)})
    pq.write_table(menus, tmp_path / "menus.parquet", row_group_size=700)
    audience = MenuFile(
        tmp_path / "menus.parquet", unit="user", value={"mail": "gain"}, cost={"mail": "price"}
    )
    streamed = allocate_file(audience, tmp_path / "plan.parquet", budget=300.0, holdout=0.1)
    write_json(tmp_path / "plan.parquet.json", streamed.summary())
    found = verify_export(tmp_path / "plan.parquet").raise_if_failed()
    assert [(use.name, use.status) for use in found.limits] == [("budget", "pass")]
    assert Decimal(found.limits[0].use) <= 300
    # Exported, it keeps its budget, which its own summary says.
    path = export_decisions(from_file(streamed), tmp_path / "out.parquet")
    assert verify_export(path).raise_if_failed().limits[0].limit == 300.0
    # One micro-unit more than what is left, in one row of the file.
    table = pq.read_table(tmp_path / "plan.parquet")
    costs = table["expected_cost"].to_numpy().copy()
    left = Decimal(300) - Decimal(found.limits[0].use)
    costs[np.flatnonzero(costs)[0]] += float(left) + 1e-6
    at = table.column_names.index("expected_cost")
    pq.write_table(table.set_column(at, "expected_cost", pa.array(costs)), tmp_path / "plan.parquet")
    failed = _status(verify_export(tmp_path / "plan.parquet"), "fail")
    over = re.search(r"costs 300.000001\d*, 0.000001\d* more than 300.00", failed["budget"])
    assert over is not None, failed["budget"]


def test_the_command_names_the_limit_and_ends_with_1(plan: Allocation, tmp_path: Path) -> None:
    path = tmp_path / "plan.parquet"
    rows = _written(plan, path)
    pq.write_table(customers(), tmp_path / "customers.parquet")
    options = ["verify-export", str(path), "--columns", str(tmp_path / "customers.parquet"), "--limits"]
    said = CliRunner().invoke(app, options)
    assert said.exit_code == 0, said.output
    assert "stock region==east =five" in said.output
    _fill(next(x for x in plan.certificate.limits if x.name == "stock region=south ten"), rows, 1)
    said = CliRunner().invoke(app, ["verify-export", str(_resealed(path, rows))])
    assert said.exit_code == 1
    assert "1 customer more than 17" in " ".join(said.output.split())


# ---------------------------------------------------------------- the audit by itself


def test_a_budget_is_audited_wherever_it_is_stated(tmp_path: Path) -> None:
    """Without a budget of the whole, a Budget among the constraints is one; it was skipped once."""
    plan = allocate_arrays([[3.0], [2.0]], [[1.0], [1.0]], budget=None, constraints=[Budget(1.0)])
    found = verify_export(export_decisions(from_allocation(plan), tmp_path / "plan.csv"))
    assert [(use.name, use.use[:3], use.status) for use in found.limits] == [("budget", "1.0", "pass")]


def test_manifests_of_earlier_versions_keep_their_budget_and_say_what_they_lack(
    plan: Allocation, tmp_path: Path
) -> None:
    path = export_decisions(from_allocation(plan), tmp_path / "plan.csv")
    file = tmp_path / "plan.csv.manifest.json"
    manifest = json.loads(file.read_text())
    for limit in manifest["constraints"]:
        for key in ("arm", "segment", "level", "share"):
            del limit[key]
    file.write_text(json.dumps(manifest))
    found = verify_export(path).raise_if_failed()
    assert [use.name for use in found.limits if use.status == "pass"] == ["budget"]
    assert [c.name for c in found.checks if c.status == "skip"] == ["limits"]


def test_sums_per_cell_equal_those_of_exact_fractions() -> None:
    """An independent sum with `decimal`, over several blocks, levels and arms, with amounts of every size."""
    rng = np.random.default_rng(1)
    n, arms, levels = 3_000, ["none", "a", "b"], ["x", "y", "z"]
    cost = np.where(rng.random(n) < 0.5, rng.integers(0, 10**7, n) / 1e5, rng.uniform(0, 1e-3, n))
    value = rng.uniform(0, 300, n)
    arm, level = rng.integers(1, 3, n), rng.integers(0, 3, n)
    rows = pa.table({
        "arm": np.array(arms, object)[arm], "role": ["treatment"] * n, "expected_cost": cost, "expected_value": value,
        "segment__s": np.array(levels, object)[level],
    })  # fmt: skip
    shared = {"arm": None, "segment": "s"}
    limits = [
        {"name": f"{kind} {level}", "kind": kind, "limit": 1.0, "level": level, **shared}
        for kind in ("budget", "cap", "min_roi")
        for level in levels
    ]
    manifest = {
        "control": "none", "arms": dict.fromkeys(arms, 0), "budget": None, "constraints": limits,
        "sums": {"expected_cost": {"decimals": 9}, "expected_value": {"decimals": 9}},
    }  # fmt: skip
    audit = Audit(manifest, Given(frozenset(rows.column_names)))
    for start in range(0, n, 700):
        audit.add(rows.slice(start, 700))
    uses = {use.name: use for use in audit.uses()}
    step = Decimal("1e-9")
    for at, name in enumerate(levels):
        mine = np.flatnonzero(level == at)
        exact = sum((Decimal(repr(float(c))) / step).to_integral_value("ROUND_CEILING") for c in cost[mine])
        assert Decimal(uses[f"budget {name}"].use) == exact * step
        assert int(uses[f"cap {name}"].use) == len(mine)
        ratio = sum(Decimal(float(v)) for v in value[mine]) / sum(Decimal(float(c)) for c in cost[mine])
        assert float(uses[f"min_roi {name}"].use) == pytest.approx(float(ratio), abs=2e-6)
        assert uses[f"min_roi {name}"].status == ("pass" if ratio >= 1 else "fail")


def test_two_sets_of_labels_get_two_columns() -> None:
    first, second = ["a", "b", "a"], ["x", "x", "y"]
    plan = allocate_arrays(
        [[3.0], [2.0], [1.0]], [[1.0]] * 3, budget=None,
        constraints=[Cap(1, segment=first), Stock(1, segment=second), Budget(9.0, segment="segment")],
        columns={"segment": ["p", "p", None]},
    )  # fmt: skip
    table = plan.to_table()
    names = [name for name in table.column_names if name.startswith("segment__")]
    assert {name: table[name].to_pylist() for name in names} == {
        "segment__segment_2": first, "segment__segment_3": second, "segment__segment": ["p", "p", None]
    }  # fmt: skip
