"""Writers: blocks of rows into one file of each format, and back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from uplift.errors import OutputError, did_you_mean
from uplift.io.tables import sql_path

FORMATS = ("parquet", "csv", "jsonl", "duckdb")
SUFFIXES = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".duckdb": "duckdb",
}
TABLE = "allocation"
_FORMULA = r"^[=+\-@\t\r]"
_ISO = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True, kw_only=True)
class Style:
    """How row formats write values.

    Attributes
    ----------
    spreadsheet_safe : bool
        In CSV, put an apostrophe before text that a spreadsheet would run as a formula.
    timestamp : str
        strftime pattern for times (UTC) in CSV and JSON Lines.
    booleans : tuple of str, optional
        Text for false and true in CSV.
    decimals : int, optional
        Fixed decimals of fractional numbers in CSV; default: as many as it takes to read the number back.
    """

    spreadsheet_safe: bool = False
    timestamp: str = _ISO
    booleans: tuple[str, str] | None = None
    decimals: int | None = None


def format_of(path: Path, format: str | None) -> str:
    """The format of a file: as given, else by its ending.

    Raises
    ------
    OutputError
        Neither is known.
    """
    kind = format or SUFFIXES.get(path.suffix.lower())
    if kind is None:
        raise OutputError(
            f"the ending of {path.name!r} is no known format; use one of {', '.join(SUFFIXES)} or give the format."
        )
    if kind not in FORMATS:
        raise OutputError(f"unknown export format {kind!r}; {did_you_mean(kind, FORMATS)}")
    return kind


def write_blocks(blocks: Iterable[pa.Table], schema: pa.Schema, path: Path, kind: str, style: Style) -> None:
    """Write blocks of one schema to a new file."""
    _WRITERS[kind](blocks, schema, path, style)


def read_blocks(
    path: Path, kind: str, text: Sequence[str] = (), columns: Sequence[str] | None = None
) -> Iterator[pa.Table]:
    """Read a file back, block by block.

    Parameters
    ----------
    text : sequence of str
        Columns of text formats that hold text, whatever it looks like.
    columns : sequence of str, optional
        Read only these.
    """
    return _READERS[kind](path, tuple(text), None if columns is None else list(columns))


# -------------------------------------------------------------------- Parquet


def parquet_options(schema: pa.Schema) -> dict[str, Any]:
    """Encoding per column: dictionaries where values repeat, no compression where they are random digits."""
    repeated = [
        field.name
        for field in schema
        if pa.types.is_dictionary(field.type)
        or pa.types.is_timestamp(field.type)
        or field.name in ("revision", "propensity")
    ]
    return {
        "compression": {field.name: "none" if field.name == "decision_id" else "zstd" for field in schema},
        "compression_level": {field.name: 1 for field in schema if field.name != "decision_id"},
        "use_dictionary": repeated or False,
        # Bounds of names and random digits help no reader and cost a third of the time.
        "write_statistics": [
            f.name for f in schema if not pa.types.is_dictionary(f.type) and f.name != "decision_id"
        ],
    }


def _write_parquet(blocks: Iterable[pa.Table], schema: pa.Schema, path: Path, style: Style) -> None:
    import pyarrow.parquet as pq

    with pq.ParquetWriter(path, schema, **parquet_options(schema)) as writer:
        for block in blocks:
            writer.write_table(block, row_group_size=max(len(block), 1))


def _read_parquet(path: Path, text: tuple[str, ...], columns: list[str] | None) -> Iterator[pa.Table]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=1 << 18, columns=columns):
            yield pa.Table.from_batches([batch])


# -------------------------------------------------------------------- text


def plain(table: pa.Table, style: Style, *, text_ids: bool = False) -> pa.Table:
    """Dictionaries as text, times as text; with `text_ids` 64-bit integers too (JSON readers round them)."""
    columns = {}
    for field in table.schema:
        column, kind = table[field.name], field.type
        if pa.types.is_dictionary(kind):
            column = column.cast(kind.value_type)
        elif pa.types.is_timestamp(kind):
            column = _moments(column, style.timestamp)
        elif text_ids and (pa.types.is_int64(kind) or pa.types.is_uint64(kind)):
            column = column.cast(pa.string())
        columns[field.name] = column
    return pa.table(columns)


def _moments(column: pa.ChunkedArray, pattern: str) -> pa.ChunkedArray:
    """Times as text. They repeat, so only the different ones are formatted."""
    encoded = column.cast(pa.timestamp("s", tz="UTC")).combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    names = pc.strftime(encoded.dictionary, pattern).cast(pa.string())
    return pa.chunked_array([pa.DictionaryArray.from_arrays(encoded.indices, names).cast(pa.string())])


def _csv_table(table: pa.Table, style: Style) -> pa.Table:
    out = plain(table, style)
    for index, field in enumerate(out.schema):
        column = out[field.name]
        if pa.types.is_boolean(field.type) and style.booleans is not None:
            out = out.set_column(index, field.name, pc.if_else(column, style.booleans[1], style.booleans[0]))
        elif pa.types.is_floating(field.type) and style.decimals is not None:
            out = out.set_column(index, field.name, _fixed(column, style.decimals))
        elif style.spreadsheet_safe and (
            pa.types.is_string(field.type) or pa.types.is_large_string(field.type)
        ):
            out = out.set_column(index, field.name, _disarmed(column))
    return out


def _fixed(column: pa.ChunkedArray, decimals: int) -> pa.ChunkedArray:
    rounded = pc.round(column.cast(pa.float64()), ndigits=decimals)
    return rounded.cast(pa.decimal128(38, decimals), safe=False).cast(pa.string())


def _disarmed(column: pa.ChunkedArray) -> pa.ChunkedArray:
    text = column.cast(pa.large_string())
    quote, nothing = pa.scalar("'", pa.large_string()), pa.scalar("", pa.large_string())
    joined = pc.binary_join_element_wise(quote, text, nothing)
    return pc.if_else(pc.match_substring_regex(text, _FORMULA), joined, text)


def _write_csv(blocks: Iterable[pa.Table], schema: pa.Schema, path: Path, style: Style) -> None:
    import pyarrow.csv as pacsv

    first = _csv_table(schema.empty_table(), style).schema
    with pacsv.CSVWriter(path, first, write_options=pacsv.WriteOptions(quoting_style="needed")) as writer:
        for block in blocks:
            if len(block):
                writer.write_table(_csv_table(block, style).cast(first))


def _read_csv(path: Path, text: tuple[str, ...], columns: list[str] | None) -> Iterator[pa.Table]:
    import pyarrow.csv as pacsv

    convert = pacsv.ConvertOptions(
        column_types=dict.fromkeys(text, pa.string()),
        strings_can_be_null=True,  # what is missing is written as nothing, an empty text as ""
        quoted_strings_can_be_null=False,
        null_values=[""],
        include_columns=columns,
    )
    with pacsv.open_csv(path, convert_options=convert) as reader:
        for batch in reader:
            yield pa.Table.from_batches([batch])


# -------------------------------------------------------------------- DuckDB and JSON Lines


def _write_jsonl(blocks: Iterable[pa.Table], schema: pa.Schema, path: Path, style: Style) -> None:
    _with_duckdb(
        (plain(block, style, text_ids=True) for block in blocks),
        plain(schema.empty_table(), style, text_ids=True).schema,
        f"copy (select * from exported) to {sql_path(path)} (format json)",
    )


def _write_duckdb(blocks: Iterable[pa.Table], schema: pa.Schema, path: Path, style: Style) -> None:
    path.unlink(missing_ok=True)  # DuckDB makes its own file and refuses an empty one
    _with_duckdb(
        (_without_dictionaries(block) for block in blocks),
        _without_dictionaries(schema.empty_table()).schema,
        f"create table {TABLE} as select * from exported",
        database=str(path),
    )


def _without_dictionaries(table: pa.Table) -> pa.Table:
    return pa.table(
        {
            field.name: table[field.name].cast(field.type.value_type)
            if pa.types.is_dictionary(field.type)
            else table[field.name]
            for field in table.schema
        }
    )


def _with_duckdb(
    blocks: Iterable[pa.Table], schema: pa.Schema, statement: str, database: str = ":memory:"
) -> None:
    import duckdb

    reader = pa.RecordBatchReader.from_batches(
        schema, (batch for block in blocks for batch in block.cast(schema).to_batches())
    )
    with duckdb.connect(database) as connection:
        connection.execute("set preserve_insertion_order = true")
        connection.register("exported", reader)
        connection.execute(statement)


def _read_jsonl(path: Path, text: tuple[str, ...], columns: list[str] | None) -> Iterator[pa.Table]:
    if path.stat().st_size == 0:
        return  # no rows, so no columns either
    import duckdb

    with duckdb.connect() as connection:
        # What is found automatically turns ids with leading zeros into numbers and hashes into dates.
        found = connection.sql(f"describe select * from {_json(path)}").fetchall()
        known = ", ".join(
            f"{_quoted(name)}: '{'varchar' if name in text else kind}'" for name, kind, *_ in found
        )
        yield from _fetch(connection, f"select {_listed(columns)} from {_json(path, known)}")


def _json(path: Path, columns: str | None = None) -> str:
    kinds = f", columns = {{{columns}}}" if columns else ""
    return f"read_json({sql_path(path)}, format = 'newline_delimited'{kinds})"


def _listed(columns: list[str] | None) -> str:
    return "*" if columns is None else ", ".join(map(_quoted, columns))


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _read_duckdb(path: Path, text: tuple[str, ...], columns: list[str] | None) -> Iterator[pa.Table]:
    import duckdb

    with duckdb.connect(str(path), read_only=True) as connection:
        yield from _fetch(connection, f"select {_listed(columns)} from {TABLE}")


def _fetch(connection: Any, query: str) -> Iterator[pa.Table]:
    for batch in connection.sql(query).to_arrow_reader(1 << 18):
        yield pa.Table.from_batches([batch])


_WRITERS: dict[str, Callable[[Iterable[pa.Table], pa.Schema, Path, Style], None]] = {
    "parquet": _write_parquet,
    "csv": _write_csv,
    "jsonl": _write_jsonl,
    "duckdb": _write_duckdb,
}
_READERS: dict[str, Callable[[Path, tuple[str, ...], list[str] | None], Iterator[pa.Table]]] = {
    "parquet": _read_parquet,
    "csv": _read_csv,
    "jsonl": _read_jsonl,
    "duckdb": _read_duckdb,
}
