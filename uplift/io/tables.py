"""Read tables from Parquet, CSV, DuckDB and SQL databases into Arrow, with errors a person can act on."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from uplift.errors import CampaignError, MissingDependencyError, first_line

PARQUET_SUFFIXES = (".parquet", ".pq")
CSV_SUFFIXES = (".csv", ".csv.gz", ".tsv", ".tsv.gz")

Source = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


def find_files(source: Source, *, suffixes: tuple[str, ...] = PARQUET_SUFFIXES + CSV_SUFFIXES) -> list[Path]:
    """Files behind a path, a glob, a folder or a list of these, sorted by name.

    Raises
    ------
    CampaignError
        Nothing is there, or a folder holds no table.
    """
    if not isinstance(source, str | os.PathLike):
        return [file for part in source for file in find_files(part, suffixes=suffixes)]
    text = os.fspath(source)
    path = Path(text).expanduser()
    if path.is_file():
        return [path]
    if path.is_dir():
        files = sorted(
            file for file in path.rglob("*") if file.name.lower().endswith(suffixes) and file.is_file()
        )
        if not files:
            raise CampaignError(f"the folder {path} holds no {' or '.join(suffixes)} file.")
        return files
    if glob.has_magic(text):
        files = sorted(Path(name) for name in glob.glob(str(path), recursive=True) if Path(name).is_file())
        if files:
            return files
        raise CampaignError(f"no file matches {text!r}; check the pattern and the folder it starts from.")
    raise CampaignError(
        f"there is no file or folder {text!r}; check the path (it is relative to the campaign file, else to the current folder)."
    )


def read_table(source: Source, *, columns: Sequence[str] | None = None, text: Sequence[str] = ()) -> pa.Table:
    """Read Parquet and CSV files (several, a glob, or a folder) into one table.

    Parameters
    ----------
    columns : sequence of str, optional
        Read only these.
    text : sequence of str
        Columns of CSV files that hold names: read as text, where only the empty cell is missing.

    Raises
    ------
    CampaignError
        A file is missing, empty, truncated, of unknown type, or the files do not fit together.
    """
    files = find_files(source)
    tables = [_read_one(file, columns, text) for file in files]
    if len(tables) == 1:
        return tables[0]
    try:
        return pa.concat_tables(tables, promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise CampaignError(
            f"the {len(files)} files do not fit into one table ({first_line(error)}); give each column one type."
        ) from error


def _read_one(file: Path, columns: Sequence[str] | None, text: Sequence[str]) -> pa.Table:
    name = file.name.lower()
    if file.stat().st_size == 0:
        raise CampaignError(f"{file} is empty (0 bytes); export it again.")
    if name.endswith(PARQUET_SUFFIXES):
        return _read_parquet(file, columns)
    if name.endswith(CSV_SUFFIXES):
        return _read_csv(file, columns, text)
    raise CampaignError(
        f"{file} is neither Parquet nor CSV (known endings: {', '.join(PARQUET_SUFFIXES + CSV_SUFFIXES)})."
    )


def _read_parquet(file: Path, columns: Sequence[str] | None) -> pa.Table:
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(file).read(columns=None if columns is None else list(columns))
    except (pa.ArrowException, OSError) as error:
        raise CampaignError(
            f"{file} cannot be read as Parquet ({first_line(error)}); it looks truncated or damaged, export it again."
        ) from error


def _read_csv(file: Path, columns: Sequence[str] | None, text: Sequence[str]) -> pa.Table:
    delimiter = _delimiter(file)
    table = _parse_csv(file, columns, delimiter, text=())
    names = [name for name in text if name in table.column_names]
    if names:
        # Once more for the names alone: "007" is no number and "None" not missing there.
        exact = _parse_csv(file, names, delimiter, text=names)
        for name in names:
            if not _says_the_same(table[name], exact[name]):
                table = table.set_column(table.column_names.index(name), name, exact[name])
    return table


def _says_the_same(guessed: pa.ChunkedArray, exact: pa.ChunkedArray) -> bool:
    """Whether the guessed type keeps every name apart: booleans, whole numbers without leading zeros, 1.0 for 1."""
    import pyarrow.compute as pc

    from uplift.hashing import as_text

    if guessed.null_count != exact.null_count:
        return False
    if pa.types.is_boolean(guessed.type):
        return True
    if pa.types.is_floating(guessed.type):
        exact = pc.replace_substring_regex(exact, r"\.0+$", "")
    elif not pa.types.is_integer(guessed.type):
        return False
    text = as_text(guessed)
    return bool(text.equals(as_text(exact)))


def _parse_csv(file: Path, columns: Sequence[str] | None, delimiter: str, *, text: Sequence[str]) -> pa.Table:
    import pyarrow.csv as pacsv

    convert = pacsv.ConvertOptions(
        include_columns=None if columns is None else list(columns),
        column_types={name: pa.string() for name in text},
        strings_can_be_null=True,
        quoted_strings_can_be_null=not text,
        null_values=[""] if text else ["", "NA", "N/A", "NaN", "nan", "null", "NULL", "None"],
    )
    try:
        table = pacsv.read_csv(
            file, parse_options=pacsv.ParseOptions(delimiter=delimiter), convert_options=convert
        )
        names = table.column_names  # the header is decoded here
    except (pa.ArrowException, OSError, UnicodeDecodeError, KeyError) as error:
        raise CampaignError(
            f"{file} cannot be read as CSV ({first_line(error)}); save it as UTF-8 with one header line."
        ) from error
    broken = [name for name in names if pa.types.is_binary(table.schema.field(name).type)]
    if broken:
        raise CampaignError(
            f"{file} is not UTF-8 (column {broken[0]!r} holds other bytes); save it as UTF-8."
        )
    return table


def _delimiter(file: Path) -> str:
    """Comma, semicolon or tab: whichever the header line holds most of."""
    import gzip

    opener = gzip.open if file.name.lower().endswith(".gz") else open
    try:
        with opener(file, "rb") as handle:
            header = handle.readline(1 << 20)
    except (OSError, EOFError):
        return ","
    return max((",", ";", "\t"), key=lambda mark: header.count(mark.encode()))


def read_database(database: str, sql: str, *, folder: str | os.PathLike[str] = ".") -> pa.Table:
    """Run one query and return its rows.

    Parameters
    ----------
    database : str
        ``"duckdb:///shop.duckdb"`` (``"duckdb://"`` for none: the query may read files itself), or any
        SQLAlchemy URL such as ``"postgresql://..."`` or ``"sqlite:///shop.sqlite"``.
    sql : str
        One SELECT.
    folder : path
        Where DuckDB looks for files that the query reads by relative paths.

    Raises
    ------
    CampaignError
        The database file is missing or the query fails.
    MissingDependencyError
        SQLAlchemy is needed and not installed.
    """
    if database.startswith("duckdb:"):
        return _read_duckdb(database, sql, folder)
    try:
        import sqlalchemy
    except ImportError as error:
        raise MissingDependencyError(
            f"reading {database.split(':')[0]} needs SQLAlchemy; install uplift[sql]."
        ) from error
    import pandas as pd

    try:
        engine = sqlalchemy.create_engine(database)
        with engine.connect() as connection:
            frame = pd.read_sql_query(sqlalchemy.text(sql), connection)
    except ImportError as error:
        raise MissingDependencyError(
            f"reading {database.split(':')[0]} needs a driver that is not installed ({first_line(error)}); install it with pip."
        ) from error
    except (sqlalchemy.exc.SQLAlchemyError, pd.errors.DatabaseError) as error:
        raise CampaignError(
            f"the query on {mask_password(database)} failed ({first_line(error)})."
        ) from error
    return pa.Table.from_pandas(frame, preserve_index=False)


def _read_duckdb(database: str, sql: str, folder: str | os.PathLike[str]) -> pa.Table:
    import duckdb

    path = (
        database.removeprefix("duckdb:").removeprefix("//").removeprefix("/")
        if database.startswith("duckdb:///")
        else ""
    )
    if database.startswith("duckdb:////"):
        path = "/" + path.lstrip("/")
    if path and not Path(path).exists():
        raise CampaignError(f"there is no DuckDB file {path!r}; check the path in {database!r}.")
    try:
        with duckdb.connect(path or ":memory:", read_only=bool(path)) as connection:
            connection.execute(f"set file_search_path = {sql_path(folder)}")
            relation = connection.sql(sql)
            if relation is None:
                raise CampaignError("the DuckDB query returns no rows; it must be one SELECT.")
            table = relation.to_arrow_table()
    except duckdb.Error as error:
        raise CampaignError(f"the DuckDB query failed ({first_line(error)}).") from error
    return table


def sql_path(path: str | os.PathLike[str]) -> str:
    """An absolute path as an SQL literal: DuckDB's SET and COPY take no parameters.

    Examples
    --------
    >>> sql_path("/data/ann's log")
    "'/data/ann''s log'"
    """
    return "'" + str(Path(path).resolve()).replace("'", "''") + "'"


def from_pandas(frame: Any) -> pa.Table:
    """A pandas frame as Arrow; mixed-type columns are an error that names them.

    Raises
    ------
    CampaignError
        Duplicate column names, or a column that mixes types.
    """
    duplicated = sorted({str(name) for name in frame.columns[frame.columns.duplicated()]})
    if duplicated:
        raise CampaignError(
            f"column {duplicated[0]!r} appears more than once; rename or drop the duplicates."
        )
    columns: dict[str, Any] = {}
    for name in frame.columns:
        try:
            columns[str(name)] = pa.array(frame[name], from_pandas=True)
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise CampaignError(
                f"column {str(name)!r} mixes types ({first_line(error)}); make it numbers or text."
            ) from error
    return pa.table(columns)


def mask_password(database: str) -> str:
    """A database URL that may be shown: no password, no query parameters.

    Examples
    --------
    >>> mask_password("postgresql://bob:secret@shop/db?password=x")
    'postgresql://bob:***@shop/db?***'
    """
    head, mark, _ = database.partition("?")
    masked = re.sub(r"(://[^/:@]*):.*@", r"\1:***@", head)
    return masked + ("?***" if mark else "")


def join_names(names: Iterable[str], *, limit: int = 6) -> str:
    """Names for a sentence: the first few, then how many more.

    Examples
    --------
    >>> join_names(["a", "b", "c"], limit=2)
    "'a', 'b' and 1 more"
    """
    names = list(names)
    shown = ", ".join(repr(name) for name in names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"
