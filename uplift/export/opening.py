"""Open a database by its URL, without ever showing the password."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from uplift.errors import MissingDependencyError, OutputError, first_line
from uplift.export.connections import Connection, DuckDB, Postgres, Sqlite
from uplift.io.tables import mask_password


@contextlib.contextmanager
def connect(url: str, *, write: bool) -> Iterator[Connection]:
    """Open a database; its errors come out as one sentence without the password.

    Parameters
    ----------
    url : str
        ``postgresql://...``, ``sqlite:///FILE`` or ``duckdb:///FILE``.
    write : bool
        False: the file must be there.

    Raises
    ------
    OutputError
        Another kind of database, or it does what it should not.
    MissingDependencyError
        SQLAlchemy or the driver is not installed.
    """
    kind = url.partition(":")[0].partition("+")[0]
    if kind not in ("postgresql", "postgres", "sqlite", "duckdb"):
        raise OutputError(
            f"{mask_password(url)} is no database this exports to; give postgresql://..., sqlite:///FILE or duckdb:///FILE."
        )
    secrets: list[str] = []
    connection: Connection | None = None
    try:
        connection = (
            _open_duckdb(url, write=write) if kind == "duckdb" else _open_sql(url, secrets, write=write)
        )
        yield connection
    except (OutputError, MissingDependencyError):
        raise
    except Exception as error:
        if type(error).__module__.partition(".")[0] not in (
            "sqlalchemy",
            "psycopg",
            "sqlite3",
            "duckdb",
            "_duckdb",
        ):
            raise
        text = first_line(error)
        for secret in secrets:
            text = text.replace(secret, "***")
        raise OutputError(f"the export to {mask_password(url)} failed ({text}).") from None
    finally:
        if connection is not None:
            with contextlib.suppress(Exception):
                connection.close()


def _open_duckdb(url: str, *, write: bool) -> Connection:
    path = url.removeprefix("duckdb:///")
    if path == url or not path:
        raise OutputError(f"{url!r} names no DuckDB file; write duckdb:///FILE.")
    _check_file(path, write=write)
    return DuckDB(path, write=write)


def _open_sql(url: str, secrets: list[str], *, write: bool) -> Connection:
    try:
        import sqlalchemy
    except ImportError:
        raise MissingDependencyError(
            "exporting to a database needs SQLAlchemy; install uplift[sql]."
        ) from None
    try:
        parsed = sqlalchemy.make_url(url)
    except sqlalchemy.exc.ArgumentError:
        raise OutputError(
            "the database URL cannot be read; write for example postgresql://user@host/database."
        ) from None
    if parsed.password:
        secrets.append(str(parsed.password))
    if parsed.get_backend_name() == "sqlite":
        if not parsed.database or parsed.database == ":memory:":
            raise OutputError("the SQLite URL names no file; write sqlite:///FILE.")
        _check_file(parsed.database, write=write)
        # Autocommit as SQLAlchemy sees it: the transaction is begun and ended by our own statements.
        return Sqlite(sqlalchemy.create_engine(parsed, isolation_level="AUTOCOMMIT"), placeholder="?")
    try:
        engine = sqlalchemy.create_engine(parsed.set(drivername="postgresql+psycopg"))
    except ImportError:
        raise MissingDependencyError(
            "exporting to PostgreSQL needs psycopg; install uplift[sql] (psycopg[binary])."
        ) from None
    return Postgres(engine, placeholder="%s")


def _check_file(path: str, *, write: bool) -> None:
    file = Path(path)
    if not write and not file.is_file():
        raise OutputError(f"there is no database file {path!r}.")
    if write:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(
                f"cannot write {path!r} ({error.strerror or error}); choose a writable folder."
            ) from None
