"""Decisions in a database table: upsert on the decision id, in one transaction, through a staging table.

PostgreSQL and SQLite go through SQLAlchemy, DuckDB through its own library. In one transaction: the rows are loaded
into a temporary table, compared with the target, and merged; the manifest goes into the table ``uplift_exports``.
Until the commit nobody sees anything; a process that is killed leaves nothing, and the same command then does it all.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from uplift.errors import OutputError
from uplift.export.checks import Check, Verification
from uplift.export.connections import MARK, Connection
from uplift.export.decisions import Decisions, short_hash
from uplift.export.formats import Style, plain
from uplift.export.manifest import Tally, describe
from uplift.export.opening import connect
from uplift.export.previous import DECIDED
from uplift.export.verify import check_rows, labels_of
from uplift.io.fingerprint import TableDigest
from uplift.io.tables import mask_password
from uplift.segments import segment_columns

EXPORTS = "uplift_exports"
"""Table with the manifest of every export into this database."""
_EXPORT_COLUMNS = (("export_id", "id"), ("table_name", "text"), ("campaign", "text"), ("run_id", "text"),
                   ("written_at", "time"), ("manifest", "text"))  # fmt: skip
_STAGING = "uplift_staging"
_DIGESTED = (
    "decision_id", "campaign", "arm", "role", "reason", "holdout", "propensity", "expected_value", "expected_cost",
)  # fmt: skip


def export_to_database(decisions: Decisions, url: str, table: str = "allocation") -> dict[str, Any]:
    """Merge decisions into a table; it is made when it is not there.

    A decision id that is not in the table is inserted with revision 1. One that is there is updated, and its
    ``revision`` raised and ``updated_at`` set, when the decision (arm, role, validity) has changed; otherwise only
    its predictions, model and run are updated. Rows of other campaigns, and of units that are no longer decided
    on, stay.

    Parameters
    ----------
    decisions : Decisions
    url : str
        ``postgresql://user:password@host/database``, ``sqlite:///file.sqlite`` or ``duckdb:///file.duckdb``. A
        password is never printed nor stored; PostgreSQL also takes it from ``PGPASSWORD`` or ``~/.pgpass``.
    table : str
        Name, or ``schema.name``; quoted, so any name will do.

    Returns
    -------
    dict
        The manifest.

    Raises
    ------
    OutputError
        The database cannot be reached, or the table there has other columns.
    MissingDependencyError
        SQLAlchemy or the driver is not installed.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from uplift import allocate_arrays
    >>> from uplift.export import from_allocation
    >>> decisions = from_allocation(allocate_arrays([[3.0], [2.0]], [[1.0], [1.0]], budget=1.0))
    >>> url = f"sqlite:///{tempfile.mkdtemp()}/crm.sqlite"
    >>> export_to_database(decisions, url, "coupons")["rows"]
    2
    >>> verify_database(url, "coupons").passed
    True
    """
    schema = _row_schema(decisions)
    names = schema.names
    tally = Tally(decisions.decimals)
    with connect(url, write=True) as db, db.transaction():
        target, staging = db.quoted(table), db.quoted(_STAGING, temporary=True)
        db.create(
            table, [(name, _kind(schema.field(name), decisions)) for name in names] + [("updated_at", "time")]
        )
        db.create(EXPORTS, list(_EXPORT_COLUMNS))
        # A plan may count new segments, and tables of earlier versions do not say what was planned for whom.
        db.add_columns(table, [(name, "text") for name in ("planned_arm", *decisions.segments)])
        db.check_columns(table, [*names, "updated_at"])
        db.lock(table)
        db.create_temporary(_STAGING, [(name, _kind(schema.field(name), decisions)) for name in names])
        for block in decisions.blocks(1 << 18):
            tally.add(block)
            db.load(_STAGING, _row_table(block, decisions))
        note = _merge(db, target, staging, names, decisions.campaign)
        content = describe(
            decisions,
            tally,
            target={"database": mask_password(url), "table": table},
            format="database",
            template=None,
            columns=[*names, "updated_at"],
            parts=[
                {
                    "table": table,
                    "content": "decisions",
                    "rows": len(decisions),
                    "sha256": _digest(decisions.blocks(), decisions.unit_column, list(decisions.segments)),
                }
            ],
            predecessor=note,
        )
        _store(db, table, decisions, content)
    return content


def verify_database(
    url: str,
    table: str = "allocation",
    *,
    campaign: str | None = None,
    columns: pa.Table | str | os.PathLike[str] | None = None,
) -> Verification:
    """Read the latest export into a table back and add it up; see :func:`uplift.export.verify_export`.

    Parameters
    ----------
    url, table
        As for :func:`export_to_database`.
    campaign : str, optional
        Its latest export; default the latest of all.
    columns : pyarrow.Table or path, optional
        The customer table, as for :func:`uplift.export.verify_export`.

    Returns
    -------
    Verification

    Raises
    ------
    OutputError
        Nothing was exported into the table, or `columns` lack one.

    Examples
    --------
    >>> verify_database("sqlite:///crm.sqlite", "coupons").passed  # doctest: +SKIP
    """
    with connect(url, write=False) as db:
        clause, values = f"table_name = {MARK}", [table]
        if campaign is not None:
            clause, values = clause + f" and campaign = {MARK}", [*values, campaign]
        found = []
        if db.has(EXPORTS) and db.has(table):
            found = db.rows(
                f"select manifest from {db.quoted(EXPORTS)} where {clause} order by written_at desc", values
            )
        if not found:
            raise OutputError(f"{mask_password(url)} holds no export into the table {table!r}.")
        manifest = json.loads(found[0][0])
        labels = labels_of(columns, manifest)
        unit, segments = manifest["unit_column"], segment_columns(manifest["columns"])
        wanted = [unit, *_DIGESTED, *segments]
        names = ", ".join(db.quoted_name(name) for name in wanted)
        query = f"select {names} from {db.quoted(table)} where campaign = {MARK} and run_id = {MARK} order by {db.in_order('decision_id')}"
        schema = _digest_schema(unit, segments)
        try:
            found_blocks = db.blocks(query, [manifest["campaign"], manifest["run_id"]], schema)
            blocks = [block.cast(schema) for block in found_blocks]
        except OutputError as error:
            damaged = (Check("content", "fail", str(error)),)
            return Verification(f"{mask_password(url)} table {table}", manifest, damaged)
    try:
        checks, limits = check_rows(blocks, manifest, labels)
    except OutputError as error:
        checks, limits = [Check("rows", "fail", str(error))], ()
    same = _digest(blocks, unit, segments, in_order=True) == manifest["parts"][0]["sha256"]
    detail = (
        "SHA-256 of the rows as in the manifest"
        if same
        else "the rows are not those the manifest describes (SHA-256 differs)"
    )
    first = Check("content", "pass" if same else "fail", detail)
    return Verification(f"{mask_password(url)} table {table}", manifest, (first, *checks), limits)


def _merge(db: Connection, target: str, staging: str, names: list[str], campaign: str) -> dict[str, Any]:
    q, differs = db.quoted_name, db.differs
    key = q("decision_id")
    content = [name for name in names if name not in ("decision_id", "revision")]
    revision, updated = q("revision"), q("updated_at")

    def changed_in(table: str, columns: Sequence[str]) -> str:
        return " or ".join(differs(f"{table}.{q(name)}", f"s.{q(name)}") for name in columns)

    counted = db.rows(
        f"select count(*), count(t.{key}), coalesce(sum(case when t.{key} is not null and ({changed_in('t', DECIDED)}) then 1 else 0 end), 0) "
        f"from {staging} s left join {target} t on t.{key} = s.{key}",
        [],
    )[0]
    gone = db.rows(
        f"select count(*) from {target} t where t.{q('campaign')} = {MARK} and not exists "
        f"(select 1 from {staging} s where s.{key} = t.{key})",
        [campaign],
    )[0][0]
    sets = ", ".join(f"{q(name)} = s.{q(name)}" for name in content)
    decided = changed_in(target, DECIDED)
    db.execute(
        f"update {target} set "
        f"{revision} = case when {decided} then {target}.{revision} + 1 else {target}.{revision} end, "
        f"{updated} = case when {decided} then {db.now} else {target}.{updated} end, {sets} "
        f"from {staging} s where {target}.{key} = s.{key} and ({changed_in(target, content)})"
    )
    columns = ", ".join(q(name) for name in names)
    values = ", ".join("1" if name == "revision" else f"s.{q(name)}" for name in names)
    db.execute(
        f"insert into {target} ({columns}, {updated}) select {values}, {db.now} from {staging} s "
        f"where not exists (select 1 from {target} t where t.{key} = s.{key})"
    )
    total, known, changed = (int(number) for number in counted)
    return {"new": total - known, "changed": changed, "unchanged": known - changed, "gone": int(gone)}


def _store(db: Connection, table: str, decisions: Decisions, content: dict[str, Any]) -> None:
    export_id = short_hash(table, decisions.campaign, decisions.run_id)
    exports = db.quoted(EXPORTS)
    db.execute(f"delete from {exports} where export_id = {MARK}", [export_id])
    names = ", ".join(name for name, _ in _EXPORT_COLUMNS)
    db.execute(
        f"insert into {exports} ({names}) values ({MARK}, {MARK}, {MARK}, {MARK}, {db.now}, {MARK})",
        [
            export_id,
            table,
            decisions.campaign,
            decisions.run_id,
            json.dumps(content, ensure_ascii=False, allow_nan=False),
        ],
    )


def _row_schema(decisions: Decisions) -> pa.Schema:
    return _row_table(decisions.schema.empty_table(), decisions).schema


def _row_table(block: pa.Table, decisions: Decisions) -> pa.Table:
    """A block as a database takes it: ids and names as text, numbers in double precision, times as ISO text."""
    rows = plain(block, Style())
    for at, field in enumerate(rows.schema):
        if field.name == decisions.unit_column:
            rows = rows.set_column(at, field.name, rows[field.name].cast(pa.string()))
        elif pa.types.is_floating(field.type):
            rows = rows.set_column(at, field.name, rows[field.name].cast(pa.float64()))
        elif pa.types.is_large_string(field.type):
            rows = rows.set_column(at, field.name, rows[field.name].cast(pa.string()))
    return rows


def _kind(field: pa.Field, decisions: Decisions) -> str:
    if field.name == "decision_id":
        return "id"
    if field.name in ("valid_from", "valid_until"):
        return "time"
    if pa.types.is_boolean(field.type):
        return "flag"
    if pa.types.is_integer(field.type):
        return "count"
    return "number" if pa.types.is_floating(field.type) else "text"


def _digest_schema(unit: str, segments: Sequence[str]) -> pa.Schema:
    kinds: dict[str, pa.DataType] = {
        "holdout": pa.bool_(), "propensity": pa.float64(), "expected_value": pa.float64(), "expected_cost": pa.float64(),
    }  # fmt: skip
    names = (unit, *_DIGESTED, *segments)
    return pa.schema([(name, kinds.get(name, pa.string())) for name in names])


def _digest(blocks: Any, unit: str, segments: Sequence[str], *, in_order: bool = False) -> str:
    """SHA-256 of the rows in the order of their ids."""
    schema = _digest_schema(unit, segments)
    table = pa.concat_tables(
        [block.select(schema.names).cast(schema) for block in blocks] or [schema.empty_table()]
    )
    if not in_order:
        table = table.sort_by("decision_id")
    digest = TableDigest(schema.names)
    digest.update(table)
    return digest.hexdigest()
