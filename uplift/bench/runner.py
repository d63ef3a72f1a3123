"""Run the fits of a benchmark that its folder does not hold yet, one process after the other."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import uplift
from uplift.bench.suite import Job, Suite
from uplift.errors import OutputError
from uplift.io.atomic import write_json
from uplift.versions import versions

CONFIG = "config.json"
FORMAT_VERSION = 1
OK, FAILED = "ok", "failed"

Record = dict[str, Any]
"""``job``, ``status`` ("ok" or "failed"), ``seconds`` of the whole process; the result of the fit, or ``error``."""


class BenchFolder:
    """The folder of a benchmark: ``config.json`` and one record per fit.

    More seeds, variants and data sets may be added later; other rows, other versions or another meaning of a variant
    may not, because their numbers do not belong into one table.

    Parameters
    ----------
    path : path
        Made when needed.
    suite : Suite
        The benchmark.
    rows : int
        Training rows.

    Raises
    ------
    OutputError
        The folder holds another configuration, or files that are not of a benchmark, or cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str], *, suite: Suite, rows: int) -> None:
        self.path = Path(path)
        config = {
            "format_version": FORMAT_VERSION,
            "suite": suite.name,
            "rows": rows,
            "versions": versions(("numpy", "torch", "lightgbm")),
        }
        file = self.path / CONFIG
        if file.is_file():
            self._refuse_other(file, config)
        elif self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            raise OutputError(
                f"{self.path} holds files, but no {CONFIG} of a benchmark; choose another output folder."
            )
        else:
            write_json(file, config)

    def finished(self, job: Job) -> Record | None:
        """Record of a fit that went well; None when there is none, or one that failed and may be tried again.

        Raises
        ------
        OutputError
            The record is damaged, or of a fit with other parameters.
        """
        file = self.path / job.file
        if not file.is_file():
            return None
        record = _read(file)
        if record.get("job") != json.loads(json.dumps(job.to_dict())):
            raise OutputError(
                f"{file} is of a fit with other parameters than variant {job.variant!r} has now; delete it, or choose another output folder."
            )
        return record if record.get("status") == OK else None

    def run(self, job: Job) -> Record:
        """Fit in a process of its own and keep the record; a fit that fails is recorded as such."""
        file = self.path / job.file
        scratch = file.with_suffix(".part")
        begun = time.perf_counter()
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            done = subprocess.run(
                [sys.executable, "-m", "uplift.bench.fit", str(scratch)],
                input=json.dumps(job.to_dict()),
                capture_output=True, text=True, check=False, env=_environment(),
            )  # fmt: skip
            seconds = round(time.perf_counter() - begun, 3)
            result = (
                {"status": OK, **_read(scratch)}
                if done.returncode == 0
                else {"status": FAILED, "error": _reason(done)}
            )
        finally:
            scratch.unlink(missing_ok=True)
        record = {"job": job.to_dict(), **result, "seconds": seconds}
        write_json(file, record)
        return record

    def _refuse_other(self, file: Path, config: dict[str, Any]) -> None:
        there = _read(file)
        for key, ours in config.items():
            theirs = there.get(key)
            if theirs != ours:
                raise OutputError(
                    f"{self.path} holds a benchmark with another {key} ({_words(theirs)}, now {_words(ours)}); choose another output folder, or delete it."
                )


def run_suite(
    folder: BenchFolder,
    jobs: Sequence[Job],
    *,
    on_plan: Callable[[int, int], None] | None = None,
    on_begin: Callable[[Job], None] | None = None,
    on_end: Callable[[Record], None] | None = None,
) -> list[Record]:
    """Run the jobs that are not finished.

    Parameters
    ----------
    folder : BenchFolder
        Where records are.
    jobs : sequence of Job
        All fits that are wanted.
    on_plan : callable, optional
        Told the number of fits that are there already and of those to run.
    on_begin, on_end : callable, optional
        Told before and after every fit that is run.

    Returns
    -------
    list of Record
        One per job, in their order.
    """
    records = {job.file: folder.finished(job) for job in jobs}
    missing = [job for job in jobs if records[job.file] is None]
    if on_plan is not None:
        on_plan(len(jobs) - len(missing), len(missing))
    for job in missing:
        if on_begin is not None:
            on_begin(job)
        record = records[job.file] = folder.run(job)
        if on_end is not None:
            on_end(record)
    return [record for record in records.values() if record is not None]


def _environment() -> dict[str, str]:
    """This process's, with the package that runs now in front: the fit must not find another copy."""
    here = str(Path(uplift.__file__).resolve().parents[1])
    before = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": here if not before else os.pathsep.join((here, before))}


def _reason(done: subprocess.CompletedProcess[str]) -> str:
    if done.returncode < 0:
        return f"killed by signal {-done.returncode}"
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    return lines[-1].strip() if lines else f"exit code {done.returncode}"


def _read(file: Path) -> dict[str, Any]:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise OutputError(f"{file} cannot be read ({error}); delete it and run again.") from error


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {entry}" for key, entry in value.items())
    return f"{value:,}" if isinstance(value, int) else str(value)
