"""Decisions in PostgreSQL, SQLite and DuckDB: merged on the decision id, quoted, counted, and free of passwords."""

from __future__ import annotations

import datetime as dt
import json
import logging
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from postgres_server import PASSWORD
from typer.testing import CliRunner

from uplift import allocate_arrays
from uplift.cli import app
from uplift.errors import OutputError
from uplift.export import Decisions, export_to_database, from_allocation, verify_database, write_table
from uplift.export.connections import MARK
from uplift.export.opening import connect

ODD = ['Ann\'s "50 % off?"', "back\\slash\ttab"]


@pytest.fixture(params=["sqlite", "duckdb", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgresql":
        return str(request.getfixturevalue("postgres_url"))
    return f"{request.param}:///{tmp_path}/shop.db"


def decisions_of(seed: int = 0, *, n: int = 400, campaign: str = "spring", day: int = 1) -> Decisions:
    rng = np.random.default_rng(seed)
    plan = allocate_arrays(
        rng.normal(1, 1, (n, 2)), rng.uniform(0.5, 2, (n, 2)), budget=n / 5, campaign=campaign, arms=ODD,
        units=pa.array([f"0{i}\n'é\"\\" for i in range(n)]), holdout=np.arange(n) % 10 == 0,
    )  # fmt: skip
    return from_allocation(plan, known_share=0.1, valid_from=dt.datetime(2026, 12, day))


def _rows(url: str, table: str, columns: str = "*") -> list[tuple[object, ...]]:
    with connect(url, write=False) as db:
        return db.rows(f"select {columns} from {db.quoted(table)} order by {db.in_order('decision_id')}")


def test_decisions_come_back_as_they_are(url: str, request: pytest.FixtureRequest) -> None:
    table = f"coupons {request.node.name}"[:60]
    decisions = decisions_of()
    content = export_to_database(decisions, url, table)
    assert content["predecessor"] == {"new": 400, "changed": 0, "unchanged": 0, "gone": 0}
    names = [
        "unit",
        "decision_id",
        "arm",
        "role",
        "reason",
        "expected_value",
        "expected_cost",
        "propensity",
        "holdout",
    ]
    read = _rows(url, table, ", ".join(f'"{name}"' for name in names))
    wanted = decisions.to_table().select(names).to_pandas().sort_values("decision_id")
    for position, name in enumerate(names):
        column = [row[position] for row in read]
        if name == "holdout":
            column = [bool(value) for value in column]
        assert column == wanted[name].astype(object).where(wanted[name].notna(), None).tolist(), name
    found = verify_database(url, table)
    assert found.passed, found.checks
    assert {check.status for check in found.checks} == {"pass"}


def test_only_changed_decisions_get_a_new_revision_and_time(url: str, request: pytest.FixtureRequest) -> None:
    table = f'odd "name" ?%s {request.node.name}'[:60]
    first, second = decisions_of(0), decisions_of(1)
    export_to_database(first, url, table)
    before = {
        row[0]: row[1:]
        for row in _rows(url, table, "decision_id, arm, role, revision, cast(updated_at as varchar)")
    }
    again = export_to_database(first, url, table)
    assert again["predecessor"] == {"new": 0, "changed": 0, "unchanged": 400, "gone": 0}
    assert {
        row[0]: row[1:]
        for row in _rows(url, table, "decision_id, arm, role, revision, cast(updated_at as varchar)")
    } == before
    note = export_to_database(second, url, table)["predecessor"]
    after = {
        row[0]: row[1:]
        for row in _rows(url, table, "decision_id, arm, role, revision, cast(updated_at as varchar)")
    }
    changed = [key for key in before if before[key][:2] != after[key][:2]]
    assert 20 < len(changed) < 380
    assert note == {"new": 0, "changed": len(changed), "unchanged": 400 - len(changed), "gone": 0}
    for key in before:
        raised = key in changed
        assert after[key][2] == before[key][2] + raised
        assert (after[key][3] != before[key][3]) == raised
    # Another validity is another decision; other campaigns and units that are gone stay.
    moved = export_to_database(decisions_of(1, n=300, day=2), url, table)["predecessor"]
    assert (moved["changed"], moved["gone"]) == (300, 100)
    other = export_to_database(decisions_of(1, campaign="autumn"), url, table)["predecessor"]
    assert other["new"] == 400
    assert len(_rows(url, table, "decision_id")) == 800
    for campaign in ("spring", "autumn"):
        assert verify_database(url, table, campaign=campaign).passed


@pytest.mark.parametrize(
    ("change", "check"),
    [
        ("arm = '{other}', role = 'treatment'", "counts"),
        ("expected_cost = expected_cost + 100", "budget"),
        ("holdout = true, role = 'holdout'", "holdout"),
        ("unit = 'somebody else'", "content"),
    ],
)
def test_rows_changed_behind_our_back_do_not_verify(url: str, change: str, check: str) -> None:
    decisions = decisions_of()
    export_to_database(decisions, url, "tampered")
    frame = decisions.to_table().to_pandas()
    one = frame.loc[frame["role"] == "treatment", "decision_id"].iloc[0]
    change = change.format(other=ODD[0].replace("'", "''").replace("%", "%"))
    if check == "counts":
        one = frame.loc[frame["role"] == "control", "decision_id"].iloc[0]
    with connect(url, write=True) as db, db.transaction():
        db.execute(f"update {db.quoted('tampered')} set {change} where decision_id = {MARK}", [one])
    assert check in {c.name for c in verify_database(url, "tampered").checks if c.status == "fail"}


def test_text_in_an_amount_does_not_verify(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'crm.sqlite'}"
    export_to_database(decisions_of(), url, "tampered")
    with connect(url, write=True) as db, db.transaction():
        db.execute(f"update {db.quoted('tampered')} set expected_cost = 'abc' where rowid = {MARK}", [1])
    found = verify_database(url, "tampered")
    assert not found.passed
    assert "'expected_cost' does not hold what was written" in found.checks[0].detail


def test_a_table_that_is_not_ours_is_left_alone(url: str) -> None:
    with connect(url, write=True) as db, db.transaction():
        db.create("customers", [("decision_id", "id"), ("name", "text")])
    with pytest.raises(OutputError, match=r"no column 'unit' .*choose another table"):
        export_to_database(decisions_of(), url, "customers")
    with connect(url, write=False) as db:
        assert db.columns("customers") == ["decision_id", "name"]
    with pytest.raises(OutputError, match="holds no export into the table 'customers'"):
        verify_database(url, "customers")


def test_a_table_of_an_earlier_version_gets_the_column_it_lacks(url: str) -> None:
    export_to_database(decisions_of(), url, "older")
    with connect(url, write=True) as db, db.transaction():
        db.execute(f"alter table {db.quoted('older')} drop column planned_arm")
    decisions = decisions_of(campaign="autumn")
    export_to_database(decisions, url, "older")
    assert verify_database(url, "older").passed
    planned = {row[0] for row in _rows(url, "older", "planned_arm") if row[0] is not None}
    assert planned == set(decisions.to_table()["planned_arm"].drop_null().to_pylist())


def test_a_password_is_never_printed_nor_stored(
    postgres_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    rng = np.random.default_rng(0)
    plan = allocate_arrays(rng.normal(1, 1, (50, 1)), np.ones((50, 1)), budget=10.0, campaign="secret")
    file = write_table(plan.to_table(), tmp_path / "plan.parquet")
    quoted = postgres_url.split(":", 2)[2].rpartition("@")[0]
    said = ""
    for arguments in (
        ["export", str(file), "--to", postgres_url, "--table", "secret"],
        ["verify-export", "--to", postgres_url, "--table", "secret"],
        ["verify-export", "--to", postgres_url, "--table", "nothing"],
        ["export", str(file), "--to", postgres_url.replace("/postgres", "/nowhere"), "--table", "secret"],
        ["export", str(file), "--to", postgres_url.replace("uplift:", "nobody:"), "--table", "secret"],
        [
            "export",
            str(file),
            "--to",
            postgres_url.replace("@127.0.0.1:", "@127.0.0.1:1"),
            "--table",
            "secret",
        ],
    ):
        result = CliRunner().invoke(app, arguments)
        said += result.output + str(result.exception)
    with connect(postgres_url, write=False) as db:
        stored = json.dumps(db.rows("select manifest from uplift_exports"))
    assert "postgresql://uplift:***@127.0.0.1" in said
    assert "***" in stored
    for text in (said, stored, caplog.text):
        assert PASSWORD not in text
        assert quoted not in text


def test_what_is_no_database_is_refused(tmp_path: Path) -> None:
    for bad, message in (
        ("mysql://ann:pw@shop/db", r"mysql://ann:\*\*\*@shop/db is no database"),
        ("sqlite://", "names no file"),
        ("duckdb://", "names no DuckDB file"),
    ):
        with pytest.raises(OutputError, match=message):
            export_to_database(decisions_of(n=20), bad)
    with pytest.raises(OutputError, match="there is no database file"):
        verify_database(f"sqlite:///{tmp_path}/none.db")
    with pytest.raises(OutputError, match="is no name"):
        export_to_database(decisions_of(n=20), f"sqlite:///{tmp_path}/x.db", "a\0b")
    (tmp_path / "text.db").write_text("no database" * 500)
    for kind in ("sqlite", "duckdb"):
        with pytest.raises(OutputError, match="failed"):
            export_to_database(decisions_of(n=20), f"{kind}:///{tmp_path}/text.db")


def test_a_duckdb_table_is_read_by_anyone(tmp_path: Path) -> None:
    decisions = decisions_of()
    export_to_database(decisions, f"duckdb:///{tmp_path}/shop.duckdb", "coupons")
    with duckdb.connect(str(tmp_path / "shop.duckdb"), read_only=True) as shop:
        total = shop.sql(
            "select sum(expected_cost), count(*) filter (role = 'treatment') from coupons"
        ).fetchall()[0]
    assert total[0] == pytest.approx(decisions.policy.expected_cost)  # type: ignore[union-attr]
    assert total[1] == (decisions.arm_codes > 0).sum()
