"""SIGKILL at every step of an export: nothing partial is visible, and the same export again completes it."""

from __future__ import annotations

import os
import signal
import sqlite3
import traceback
from collections.abc import Callable, Iterator
from dataclasses import fields
from functools import cache, partial
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from uplift import allocate_arrays
from uplift.errors import OutputError
from uplift.export import (
    Decisions,
    export_decisions,
    export_to_database,
    from_table,
    load_template,
    verify_database,
    verify_export,
)


class Small(Decisions):
    """Decisions that come in several blocks although they are few, to die between them."""

    def blocks(self, size: int = 125) -> Iterator[pa.Table]:
        return super().blocks(125)


@cache
def decisions_of(seed: int) -> Decisions:
    rng = np.random.default_rng(seed)
    value, cost = rng.normal(1, 1, (500, 2)), rng.uniform(0.5, 2, (500, 2))
    plan = allocate_arrays(value, cost, budget=100.0, holdout=np.arange(500) % 10 == 0, campaign="spring")
    found = from_table(plan.to_table(), known_share=0.1, budget=100.0)
    return Small(**{field.name: getattr(found, field.name) for field in fields(found)})


class _Killer:
    """Wraps functions; the process dies just before the call with the given number."""

    def __init__(self, step: int) -> None:
        self.left = step

    def wrap(self, owner: Any, name: str) -> None:
        original = getattr(owner, name)

        def counted(*args: Any, **kwargs: Any) -> Any:
            self.left -= 1
            if self.left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*args, **kwargs)

        setattr(owner, name, counted)


def _child(export: Callable[[Decisions], Any], decisions: Decisions, step: int) -> None:
    import pyarrow.parquet as pq

    from uplift.export import allocation as module
    from uplift.export import connections

    killer = _Killer(step)
    for name in ("replace", "rename", "fsync"):
        killer.wrap(os, name)
    killer.wrap(Decisions, "_block")
    killer.wrap(pq.ParquetWriter, "close")
    killer.wrap(module, "_write_manifest")
    for owner in (connections._Sql, connections.DuckDB):
        killer.wrap(owner, "execute")
    for owner in (connections.Postgres, connections.Sqlite, connections.DuckDB):
        killer.wrap(owner, "load")
    export(decisions)


def kill_at(export: Callable[[Decisions], Any], seed: int, step: int) -> bool:
    """Run an export in a forked process that is killed at `step`; False when it ended before."""
    decisions = decisions_of(seed)
    child = os.fork()
    if child == 0:
        try:
            _child(export, decisions, step)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, -signal.SIGKILL), status
    return status != 0


def _to_file(path: Path, overwrite: bool, decisions: Decisions) -> None:
    if path.name == "templated.csv":
        export_decisions(decisions, path, template=load_template("generic"), overwrite=overwrite)
    else:
        export_decisions(decisions, path, by_arm=path.suffix == "", overwrite=overwrite)


def _visible(folder: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file() and not any(part.startswith(".") for part in file.relative_to(folder).parts)
    }


STRIDES = [pytest.param(4, id="some-steps"), pytest.param(1, id="every-step", marks=pytest.mark.slow)]


@pytest.mark.parametrize("stride", STRIDES)
@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("name", ["plan.parquet", "templated.csv", "parts"])
def test_a_killed_file_export_shows_nothing_partial_and_is_completed(
    name: str, overwrite: bool, stride: int, tmp_path: Path
) -> None:
    whole = tmp_path / "whole"
    if overwrite:
        _to_file(whole / name, False, decisions_of(1))
    before = _visible(whole) if overwrite else {}
    _to_file(whole / name, True, decisions_of(2))
    after = _visible(whole)
    steps = 0
    while True:
        place = tmp_path / f"killed-{steps}"
        place.mkdir()
        if overwrite:
            _to_file(place / name, False, decisions_of(1))
        killed = kill_at(partial(_to_file, place / name, overwrite), 2, steps)
        seen = _visible(place)
        # Every file that can be seen is complete: the old one or the new one, never a piece.
        assert all(content in (before.get(key), after[key]) for key, content in seen.items()), steps
        manifest = "parts/manifest.json" if name == "parts" else f"{name}.manifest.json"
        if seen.get(manifest) == after[manifest]:
            assert seen == after  # the manifest comes last
        if not killed:
            assert seen == after
            break
        if not overwrite and seen == after:
            with pytest.raises(OutputError, match="overwrite"):  # it had been completed
                _to_file(place / name, overwrite, decisions_of(2))
        else:
            _to_file(place / name, overwrite, decisions_of(2))
        completed = _visible(place)
        if not overwrite:
            assert completed == after
        assert set(completed) == set(after)
        assert verify_export(place / name).passed
        assert not [file for file in place.iterdir() if file.name.startswith(".")]  # nothing is left over
        steps += stride
    assert steps >= 10


def _to_database(url: str, decisions: Decisions) -> None:
    export_to_database(decisions, url, "coupons")


def _rows(url: str) -> list[tuple[Any, ...]]:
    """The table as another program sees it."""
    query = "select decision_id, arm, revision, run_id from coupons order by decision_id"
    path = url.partition(":///")[2]
    try:
        if url.startswith("sqlite"):
            with sqlite3.connect(path) as shop:
                return shop.execute(query).fetchall()
        if url.startswith("duckdb"):
            if not Path(path).exists():
                return []
            with duckdb.connect(path) as shop:
                return shop.execute(query).fetchall()
        import sqlalchemy

        engine = sqlalchemy.create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
        with engine.connect() as connection:
            found = [tuple(row) for row in connection.exec_driver_sql(query)]
        engine.dispose()
        return found
    except Exception as error:
        if "coupons" not in str(error):
            raise
        return []  # there is no such table


@pytest.mark.parametrize("stride", STRIDES)
@pytest.mark.parametrize("kind", ["sqlite", "duckdb", "postgresql"])
def test_a_killed_database_export_shows_nothing_and_is_completed(
    kind: str, stride: int, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    server = request.getfixturevalue("postgres_url") if kind == "postgresql" else None
    steps = 0
    while True:
        url = server or f"{kind}:///{tmp_path}/shop-{steps}.db"
        if server is not None:
            _drop(server)
        killed = kill_at(partial(_to_database, url), 1, steps)
        seen = _rows(url)
        assert len(seen) == (0 if killed else 500), steps
        if not killed:
            break
        export_to_database(decisions_of(1), url, "coupons")
        assert verify_database(url, "coupons").passed
        first = _rows(url)
        # Over what is there already: as before until all of it has changed.
        again = kill_at(partial(_to_database, url), 2, steps)
        seen = _rows(url)
        if again:
            assert seen == first, steps
        assert verify_database(url, "coupons").passed
        export_to_database(decisions_of(2), url, "coupons")
        assert verify_database(url, "coupons").passed
        last = _rows(url)
        assert len(last) == 500
        assert {row[3] for row in last} == {decisions_of(2).run_id}
        assert {row[2] for row in last} == {1, 2}
        steps += stride
    assert steps >= 10


def _drop(url: str) -> None:
    import sqlalchemy

    engine = sqlalchemy.create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    with engine.begin() as connection:
        connection.exec_driver_sql("drop table if exists coupons, uplift_exports")
    engine.dispose()
