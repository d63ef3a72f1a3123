"""Connections: the few things that PostgreSQL, SQLite and DuckDB do differently."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import pyarrow as pa

from uplift.errors import OutputError, first_line

_FETCH = 50_000
MARK = "\x1a"
"""Stands for a bound value in a statement: no name may hold it, as one may hold ``?`` or ``%``."""


class Connection(ABC):
    """One open database; values in statements are bound (see `MARK`), names are quoted."""

    kinds: ClassVar[dict[str, str]]
    """SQL type per kind of column: id, text, time, flag, count, number."""
    now: str
    """SQL for the present moment."""

    @abstractmethod
    def execute(self, sql: str, values: Sequence[Any] = ()) -> None:
        """Run a statement."""

    @abstractmethod
    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """All rows of a query."""

    @abstractmethod
    def blocks(self, sql: str, values: Sequence[Any], schema: pa.Schema) -> Iterator[pa.Table]:
        """Rows of a query, some at a time."""

    @abstractmethod
    def load(self, table: str, rows: pa.Table) -> None:
        """Append rows to a temporary table."""

    @abstractmethod
    def transaction(self) -> contextlib.AbstractContextManager[None]:
        """Everything inside becomes visible together, or not at all."""

    @abstractmethod
    def columns(self, table: str) -> list[str]:
        """Names of a table's columns; empty when there is no such table."""

    @abstractmethod
    def close(self) -> None:
        """Leave."""

    def lock(self, table: str) -> None:  # noqa: B027 - where a transaction alone keeps others out there is nothing to do
        """Keep other writers out until the transaction ends."""

    def differs(self, left: str, right: str) -> str:
        """SQL: two values differ, null being equal to null."""
        return f"{left} is distinct from {right}"

    def in_order(self, name: str) -> str:
        """SQL: order by the bytes of a text column."""
        return self.quoted_name(name)

    def quoted_name(self, name: str) -> str:
        """One identifier.

        Raises
        ------
        OutputError
            It is empty or holds a control character that no database takes.
        """
        if not name or "\0" in name or MARK in name:
            raise OutputError(f"{name!r} is no name for a table or column.")
        return '"' + name.replace('"', '""') + '"'

    def quoted(self, table: str, *, temporary: bool = False) -> str:
        """A table's name, with its schema when there is a dot."""
        parts = [table] if temporary else table.split(".", 1)
        return ".".join(self.quoted_name(part) for part in parts)

    def has(self, table: str) -> bool:
        """Whether there is such a table."""
        return bool(self.columns(table))

    def create(self, table: str, columns: list[tuple[str, str]]) -> None:
        """Make a table that is not there."""
        self.execute(f"create table if not exists {self.quoted(table)} ({self._defined(columns)})")

    def add_columns(self, table: str, columns: list[tuple[str, str]]) -> None:
        """Add to an export's table the columns that it lacks; any other table is left as it is."""
        there = self.columns(table)
        if "decision_id" in there and "updated_at" in there:
            for column in columns:
                if column[0] not in there:
                    self.execute(f"alter table {self.quoted(table)} add column {self._defined([column])}")

    def create_temporary(self, table: str, columns: list[tuple[str, str]]) -> None:
        """Make a temporary table for this connection."""
        self.execute(
            f"create temporary table {self.quoted(table, temporary=True)} ({self._defined(columns)})"
        )

    def _defined(self, columns: list[tuple[str, str]]) -> str:
        return ", ".join(f"{self.quoted_name(name)} {self.kinds[kind]}" for name, kind in columns)

    def check_columns(self, table: str, wanted: list[str]) -> None:
        """Stop before rows are merged into a table that is not ours.

        Raises
        ------
        OutputError
            A column is missing.
        """
        there = self.columns(table)
        missing = [name for name in wanted if name not in there]
        if missing:
            raise OutputError(
                f"the table {table!r} has no column {missing[0]!r} (it has {', '.join(there[:8])}); choose another table."
            )


class _Sql(Connection):
    """PostgreSQL and SQLite, through SQLAlchemy."""

    def __init__(self, engine: Any, *, placeholder: str) -> None:
        self._engine, self._placeholder = engine, placeholder
        self._connection = engine.connect()

    @property
    def driver(self) -> Any:
        """The driver's own connection."""
        return self._connection.connection.driver_connection

    def _text(self, sql: str) -> str:
        if self._placeholder == "%s":
            sql = sql.replace("%", "%%")
        return sql.replace(MARK, self._placeholder)

    def execute(self, sql: str, values: Sequence[Any] = ()) -> None:
        self._connection.exec_driver_sql(self._text(sql), tuple(values))

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in self._connection.exec_driver_sql(self._text(sql), tuple(values))]

    def blocks(self, sql: str, values: Sequence[Any], schema: pa.Schema) -> Iterator[pa.Table]:
        connection = self._connection.execution_options(stream_results=True)
        with connection.exec_driver_sql(self._text(sql), tuple(values)) as result:
            while rows := result.fetchmany(_FETCH):
                columns = zip(*rows, strict=True)
                yield pa.table(
                    {
                        field.name: self._array(values, field)
                        for field, values in zip(schema, columns, strict=True)
                    }
                )

    def _array(self, values: Any, field: pa.Field) -> pa.Array:
        try:
            return pa.array(self._decoded(values, field.type), field.type)
        except (pa.ArrowException, TypeError, ValueError) as error:
            raise OutputError(
                f"the column {field.name!r} does not hold what was written ({first_line(error)}); export the allocation again."
            ) from error

    def _decoded(self, values: Any, kind: pa.DataType) -> list[Any]:
        return list(values)

    def columns(self, table: str) -> list[str]:
        import sqlalchemy

        schema, _, name = table.rpartition(".")
        try:
            inspector = sqlalchemy.inspect(self._connection)
            return [column["name"] for column in inspector.get_columns(name, schema=schema or None)]
        except sqlalchemy.exc.NoSuchTableError:
            return []

    def close(self) -> None:
        self._connection.close()
        self._engine.dispose()


class Postgres(_Sql):
    """PostgreSQL through psycopg 3; rows go in by COPY."""

    kinds: ClassVar[dict[str, str]] = {
        "id": "text primary key", "text": "text", "time": "timestamp with time zone", "flag": "boolean",
        "count": "integer", "number": "double precision",
    }  # fmt: skip
    now = "clock_timestamp()"

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        with self._connection.begin():
            yield

    def create(self, table: str, columns: list[tuple[str, str]]) -> None:
        # "if not exists" alone lets two first exports collide in the catalogue.
        self.execute("select pg_advisory_xact_lock(hashtext('uplift-export'))")
        super().create(table, columns)

    def create_temporary(self, table: str, columns: list[tuple[str, str]]) -> None:
        name = self.quoted(table, temporary=True)
        self.execute(f"create temporary table {name} ({self._defined(columns)}) on commit drop")

    def lock(self, table: str) -> None:
        self.execute(f"lock table {self.quoted(table)} in share row exclusive mode")

    def in_order(self, name: str) -> str:
        return f'{self.quoted_name(name)} collate "C"'

    def load(self, table: str, rows: pa.Table) -> None:
        columns = ", ".join(self.quoted_name(name) for name in rows.column_names)
        with (
            self.driver.cursor() as cursor,
            cursor.copy(f"copy {self.quoted(table, temporary=True)} ({columns}) from stdin") as copy,
        ):
            copy.write(_copy_text(rows))


class Sqlite(_Sql):
    """SQLite; the driver's own handling of transactions is switched off, since it commits before table changes."""

    kinds: ClassVar[dict[str, str]] = {
        "id": "text primary key", "text": "text", "time": "text", "flag": "boolean", "count": "integer",
        "number": "double precision",
    }  # fmt: skip
    now = "strftime('%Y-%m-%dT%H:%M:%fZ', 'now')"

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        self.execute("begin immediate")
        try:
            yield
        except BaseException:
            self.execute("rollback")
            raise
        self.execute("commit")

    def differs(self, left: str, right: str) -> str:
        return f"{left} is not {right}"

    def load(self, table: str, rows: pa.Table) -> None:
        marks = ", ".join("?" * rows.num_columns)
        self.driver.executemany(
            f"insert into {self.quoted(table, temporary=True)} values ({marks})",
            zip(*(column.to_pylist() for column in rows.columns), strict=True),
        )

    def _decoded(self, values: Any, kind: pa.DataType) -> list[Any]:
        return [None if v is None else bool(v) for v in values] if pa.types.is_boolean(kind) else list(values)


class DuckDB(Connection):
    """A DuckDB file."""

    kinds: ClassVar[dict[str, str]] = {
        "id": "varchar primary key", "text": "varchar", "time": "timestamp with time zone", "flag": "boolean",
        "count": "integer", "number": "double",
    }  # fmt: skip
    now = "current_timestamp"

    def __init__(self, path: str, *, write: bool) -> None:
        import duckdb

        self._connection = duckdb.connect(path, read_only=not write)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        self._connection.begin()
        try:
            yield
        except BaseException:
            self._connection.rollback()
            raise
        self._connection.commit()

    def execute(self, sql: str, values: Sequence[Any] = ()) -> None:
        self._connection.execute(sql.replace(MARK, "?"), list(values))

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return self._connection.execute(sql.replace(MARK, "?"), list(values)).fetchall()

    def blocks(self, sql: str, values: Sequence[Any], schema: pa.Schema) -> Iterator[pa.Table]:
        found = self._connection.sql(sql.replace(MARK, "?"), params=list(values))
        for batch in found.to_arrow_reader(_FETCH):
            yield pa.Table.from_batches([batch]).rename_columns(schema.names)

    def load(self, table: str, rows: pa.Table) -> None:
        self._connection.register("uplift_block", rows)
        self.execute(f"insert into {self.quoted(table, temporary=True)} select * from uplift_block")
        self._connection.unregister("uplift_block")

    def columns(self, table: str) -> list[str]:
        schema, _, name = table.rpartition(".")
        found = self.rows(
            f"select column_name from information_schema.columns where table_name = {MARK} and table_schema = {MARK} "
            "order by ordinal_position",
            [name, schema or "main"],
        )
        return [row[0] for row in found]

    def close(self) -> None:
        self._connection.close()


def _copy_text(rows: pa.Table) -> bytes:
    """Rows in the text format of COPY: tabs between values, backslashes before what is special, ``\\N`` for null."""
    import pyarrow.compute as pc

    columns = []
    for column in rows.columns:
        text = column.cast(pa.large_string())
        if pa.types.is_string(column.type):
            for plain, escaped in (("\\", "\\\\"), ("\t", "\\t"), ("\n", "\\n"), ("\r", "\\r")):
                text = pc.replace_substring(text, plain, escaped)
        columns.append(pc.fill_null(text, pa.scalar("\\N", pa.large_string())))
    lines = pc.binary_join_element_wise(*columns, pa.scalar("\t", pa.large_string()))
    end = pa.scalar("\n", pa.large_string())
    ended = pc.binary_join_element_wise(lines, pa.scalar("", pa.large_string()), end)
    return b"".join(
        chunk.buffers()[2].to_pybytes()[: pc.sum(pc.binary_length(chunk)).as_py() or 0]
        for chunk in ended.chunks
        if len(chunk)
    )
