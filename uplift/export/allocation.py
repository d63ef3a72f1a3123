"""Write an allocation as Parquet, CSV, JSON Lines or a DuckDB table; atomically, with a manifest beside it.

One row per unit that was decided on, control and holdout included: without them nobody can measure the
campaign afterwards.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from uplift.errors import OutputError, did_you_mean
from uplift.io.atomic import atomic_path, write_json
from uplift.io.fingerprint import file_sha256
from uplift.io.tables import sql_path
from uplift.versions import versions

FORMATS = ("parquet", "csv", "jsonl", "duckdb")
_SUFFIXES = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".duckdb": "duckdb",
}
TABLE = "allocation"
_FORMULA = r"^[=+\-@\t\r]"


def export_allocation(
    allocation: Any,
    path: str | os.PathLike[str],
    *,
    format: str | None = None,
    manifest: bool = True,
    spreadsheet_safe: bool = False,
    overwrite: bool = False,
) -> Path:
    """Write an :class:`uplift.Allocation`; see :func:`export_table`."""
    return export_table(
        allocation.to_table(),
        path,
        format=format,
        manifest=manifest,
        spreadsheet_safe=spreadsheet_safe,
        overwrite=overwrite,
    )


def export_table(
    table: pa.Table,
    path: str | os.PathLike[str],
    *,
    format: str | None = None,
    manifest: bool = True,
    spreadsheet_safe: bool = False,
    overwrite: bool = False,
) -> Path:
    """Write an allocation table.

    Parameters
    ----------
    table : pyarrow.Table
        As given by ``Allocation.to_table()`` or read from ``allocation.parquet``.
    path : path
        The file; its ending says the format unless `format` does.
    format : {"parquet", "csv", "jsonl", "duckdb"}, optional
        ``duckdb`` makes a database file with one table, ``allocation``.
    manifest : bool
        Write ``PATH.manifest.json``: rows, sums, counts per arm and SHA-256 of the file.
    spreadsheet_safe : bool
        In CSV, put an apostrophe before text that a spreadsheet would run as a formula (it starts with
        ``=``, ``+``, ``-``, ``@``, tab or return). Off by default: a CRM needs ids unchanged.
    overwrite : bool
        Replace an existing file.

    Raises
    ------
    OutputError
        Unknown format, the file exists (without `overwrite`), or it cannot be written.
    """
    target = Path(path)
    kind = format or _SUFFIXES.get(target.suffix.lower())
    if kind is None:
        raise OutputError(
            f"the ending of {target.name!r} is no known format; use one of {', '.join(_SUFFIXES)} or give the format."
        )
    if kind not in FORMATS:
        raise OutputError(f"unknown export format {kind!r}; {did_you_mean(kind, FORMATS)}")
    if target.exists() and not overwrite:
        raise OutputError(f"{target} exists already; pass --overwrite to replace it or choose another name.")
    with atomic_path(target) as temporary:
        if kind == "csv" and spreadsheet_safe:
            _WRITERS[kind](_disarmed(table), temporary)
        else:
            _WRITERS[kind](table, temporary)
    if manifest:
        write_json(target.with_name(target.name + ".manifest.json"), _manifest(table, target, kind))
    return target


def verify_export(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Compare a file with its manifest.

    Returns
    -------
    dict
        The manifest.

    Raises
    ------
    OutputError
        There is no manifest, or the file is not the one it describes.
    """
    target = Path(path)
    beside = target.with_name(target.name + ".manifest.json")
    try:
        manifest = json.loads(beside.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise OutputError(f"{beside} cannot be read ({error}); export the allocation again.") from error
    if not target.is_file() or file_sha256(target) != manifest["sha256"]:
        raise OutputError(
            f"{target} is not the file its manifest describes (SHA-256 differs); export the allocation again."
        )
    return manifest


def _manifest(table: pa.Table, path: Path, kind: str) -> dict[str, Any]:
    counts = table["arm"].combine_chunks().value_counts().to_pylist()
    return {
        "file": path.name,
        "format": kind,
        "rows": table.num_rows,
        "columns": table.column_names,
        "arms": {
            str(item["values"]): item["counts"]
            for item in sorted(counts, key=lambda item: str(item["values"]))
        },
        "holdout": int(pc.sum(table["holdout"]).as_py() or 0),
        "expected_value": pc.sum(table["expected_value"]).as_py() or 0.0,
        "expected_cost": pc.sum(table["expected_cost"]).as_py() or 0.0,
        "sha256": file_sha256(path),
        "versions": versions(("pyarrow",)),
    }


def _plain(table: pa.Table) -> pa.Table:
    """Dictionary columns as text: row formats have no dictionaries."""
    columns = {
        name: table[name].cast(table.schema.field(name).type.value_type)
        if pa.types.is_dictionary(table.schema.field(name).type)
        else table[name]
        for name in table.column_names
    }
    return pa.table(columns)


def _disarmed(table: pa.Table) -> pa.Table:
    plain = _plain(table)
    for index, field in enumerate(plain.schema):
        if pa.types.is_string(field.type) or pa.types.is_large_string(field.type):
            column = plain[field.name].cast(pa.large_string())
            risky = pc.match_substring_regex(column, _FORMULA)
            quote = pa.scalar("'", pa.large_string())
            joined = pc.binary_join_element_wise(quote, column, pa.scalar("", pa.large_string()))
            plain = plain.set_column(index, field.name, pc.if_else(risky, joined, column))
    return plain


def _write_parquet(table: pa.Table, path: Path) -> None:
    import pyarrow.parquet as pq

    pq.write_table(table, path, compression="zstd", compression_level=1, row_group_size=1 << 20)


def _write_csv(table: pa.Table, path: Path) -> None:
    import pyarrow.csv as pacsv

    pacsv.write_csv(_plain(table), path, pacsv.WriteOptions(quoting_style="needed"))


def _write_jsonl(table: pa.Table, path: Path) -> None:
    _with_duckdb(table, f"copy (select * from exported) to {sql_path(path)} (format json)")


def _write_duckdb(table: pa.Table, path: Path) -> None:
    path.unlink()  # DuckDB makes its own file and refuses an empty one
    _with_duckdb(table, f"create table {TABLE} as select * from exported", database=str(path))


def _with_duckdb(table: pa.Table, statement: str, database: str = ":memory:") -> None:
    import duckdb

    with duckdb.connect(database) as connection:
        connection.register("exported", _plain(table))
        connection.execute(statement)


_WRITERS: dict[str, Callable[[pa.Table, Path], None]] = {
    "parquet": _write_parquet,
    "csv": _write_csv,
    "jsonl": _write_jsonl,
    "duckdb": _write_duckdb,
}
