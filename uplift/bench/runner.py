"""Run the fits of a benchmark that its folder does not hold yet, every one in a process of its own."""

from __future__ import annotations

import glob
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, Protocol

import numpy as np

import uplift
from uplift.bench.fit import INFLUENCE
from uplift.bench.suite import Job, Suite
from uplift.errors import OutputError
from uplift.io.atomic import write_json
from uplift.versions import versions

CONFIG = "config.json"
FORMAT_VERSION = 2
OK, FAILED = "ok", "failed"
LIBRARIES = ("numpy", "scikit-learn", "lightgbm", "torch", "scikit-uplift", "causalml")
STOP_SECONDS = 5.0
"""How long a fit that is told to stop may take to do so."""

Record = dict[str, Any]
"""``job``, ``status`` ("ok" or "failed"), ``seconds`` of the whole process; the result of the fit, or ``error``."""


class Task(Protocol):
    """What a process can be told to do; see :class:`~uplift.bench.suite.Job`."""

    @property
    def label(self) -> str: ...

    @property
    def file(self) -> str: ...

    @property
    def threads(self) -> int: ...

    def to_dict(self) -> dict[str, Any]: ...


class BenchFolder:
    """The folder of a benchmark: ``config.json`` and one record per fit.

    More seeds, variants and data sets may be added later; other rows, other versions or another meaning of a variant or
    of a data set may not, because their numbers do not belong into one table.

    Parameters
    ----------
    path : path
        Made when needed.
    name : str
        Name of the benchmark.
    parts : mapping of str to mapping, optional
        What its fits are made of, by kind and name: ``{"data": {...}, "variants": {...}}``.
    timeout : float, optional
        Seconds after which a fit is stopped and counts as failed.

    Raises
    ------
    OutputError
        The folder holds another configuration, or files that are not of a benchmark, or cannot be written.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        name: str,
        parts: Mapping[str, Mapping[str, Any]] | None = None,
        timeout: float | None = None,
    ) -> None:
        self.path, self.timeout = Path(path), timeout
        self._running: set[subprocess.Popen[str]] = set()
        self._stopped = False
        config = {
            "format_version": FORMAT_VERSION,
            "suite": name,
            "versions": versions(LIBRARIES),
            "parts": {kind: _plain(content) for kind, content in (parts or {}).items()},
        }
        file = self.path / CONFIG
        if file.is_file():
            config["parts"] = self._joined(file, config)
        elif self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            raise OutputError(
                f"{self.path} holds files, but no {CONFIG} of a benchmark; choose another output folder."
            )
        write_json(file, config)
        self.config = config

    @classmethod
    def of(
        cls, path: str | os.PathLike[str], suite: Suite, jobs: Sequence[Job], *, timeout: float | None = None
    ) -> BenchFolder:
        """The folder of a suite's jobs."""
        parts: dict[str, dict[str, Any]] = {
            "data": {job.data["name"]: job.data for job in jobs},
            "variants": {job.variant: {"model": job.model, "params": job.params} for job in jobs},
            "threads": {"every fit": suite.threads},
        }
        return cls(path, name=suite.name, parts=parts, timeout=suite.timeout if timeout is None else timeout)

    @classmethod
    def forget(cls, path: str | os.PathLike[str], variants: Iterable[str]) -> int:
        """Delete the fits of these variants, so that they can be fitted anew with other parameters; the number deleted.

        Raises
        ------
        OutputError
            The configuration that is there cannot be read.
        """
        folder, deleted = Path(path), 0
        if not (folder / CONFIG).is_file():
            return 0
        config = _read(folder / CONFIG)
        for variant in variants:
            for file in folder.glob(f"fits/*/{glob.escape(variant)}-seed*.json"):
                if file.name.removeprefix(f"{variant}-seed").removesuffix(".json").isdigit():
                    file.unlink()
                    file.with_suffix(INFLUENCE).unlink(missing_ok=True)
                    deleted += 1
            config.get("parts", {}).get("variants", {}).pop(variant, None)
        write_json(folder / CONFIG, config)
        return deleted

    def finished(self, job: Task) -> Record | None:
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
        if record.get("job") != _plain(job.to_dict()):
            raise OutputError(
                f"{file} is of a fit with other parameters than {job.label} has now; delete it, or choose another output folder."
            )
        return record if record.get("status") == OK else None

    def influence(self, job: Job) -> np.ndarray | None:
        """What :func:`uplift.bench.fit.fit` kept of the influences, float32 [unit, stage], or None."""
        file = (self.path / job.file).with_suffix(INFLUENCE)
        if not file.is_file():
            return None
        with np.load(file) as content:
            result: np.ndarray = content["influence"]
            return result

    def run(self, job: Task) -> Record:
        """Fit in a process of its own and keep the record; a fit that fails, or takes too long, is recorded as such."""
        file = self.path / job.file
        scratch = file.with_suffix(".part")
        begun = time.perf_counter()
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            error = self._process(job, scratch)
            if self._stopped:
                raise InterruptedError(f"{job.label} was stopped")
            seconds = round(time.perf_counter() - begun, 3)
            result = {"status": OK, **_read(scratch)} if error is None else {"status": FAILED, "error": error}
        finally:
            scratch.unlink(missing_ok=True)
        record = {"job": job.to_dict(), **result, "seconds": seconds}
        write_json(file, record)
        return record

    def stop(self) -> None:
        """Stop the fits that run now; their records stay as they were."""
        self._stopped = True
        for process in list(self._running):
            _end(process)

    def _process(self, job: Task, scratch: Path) -> str | None:
        """Why the process failed, or None."""
        process = subprocess.Popen(
            [sys.executable, "-m", "uplift.bench.fit", str(scratch)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=_environment(job.threads),
        )  # fmt: skip
        self._running.add(process)
        try:
            _, complaints = process.communicate(json.dumps(job.to_dict()), timeout=self.timeout)
        except subprocess.TimeoutExpired:
            return f"stopped after {self.timeout:,.0f} seconds, the suite's limit for one fit"
        finally:
            _end(process)
            self._running.discard(process)
        return None if process.returncode == 0 else _reason(process.returncode, complaints)

    def _joined(self, file: Path, config: dict[str, Any]) -> dict[str, Any]:
        """The parts that are there and ours together, unless they contradict each other."""
        there = _read(file)
        for key in ("format_version", "suite", "versions"):
            if there.get(key) != config[key]:
                self._refuse(key, there.get(key), config[key])
        joined = {kind: dict(content) for kind, content in there.get("parts", {}).items()}
        for kind, content in config["parts"].items():
            for name, ours in content.items():
                theirs = joined.setdefault(kind, {}).setdefault(name, ours)
                if theirs == ours:
                    continue
                if isinstance(ours, dict) and isinstance(theirs, dict):
                    key = next(key for key in {**ours, **theirs} if ours.get(key) != theirs.get(key))
                    self._refuse(f"{key} of {name!r}", theirs.get(key), ours.get(key))
                self._refuse(f"number of {kind} of {name}", theirs, ours)
        return joined

    def _refuse(self, what: str, theirs: Any, ours: Any) -> None:
        raise OutputError(
            f"{self.path} holds a benchmark with another {what} ({_words(theirs)}, now {_words(ours)}); choose another output folder, or delete it."
        )


def run_suite(
    folder: BenchFolder,
    jobs: Sequence[Task],
    *,
    parallel: int = 1,
    on_plan: Callable[[int, int], None] | None = None,
    on_begin: Callable[[Task], None] | None = None,
    on_end: Callable[[Record], None] | None = None,
) -> list[Record]:
    """Run the jobs that are not finished.

    Parameters
    ----------
    folder : BenchFolder
        Where records are.
    jobs : sequence of Task
        All fits that are wanted.
    parallel : int
        Fits at the same time. Every fit has its own process and its own number of threads, so the numbers are those of one
        after the other; times and memory traffic are not undisturbed.
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

    def one(job: Task) -> Record:
        if on_begin is not None:
            on_begin(job)
        return folder.run(job)

    with ThreadPoolExecutor(max(1, parallel)) as pool:
        waiting = {pool.submit(one, job): job for job in missing}
        try:
            for future in as_completed(waiting):
                records[waiting[future].file] = record = future.result()
                if on_end is not None:
                    on_end(record)
        except BaseException:
            for future in waiting:
                future.cancel()
            folder.stop()
            raise
    return [record for record in records.values() if record is not None]


def _environment(threads: int) -> dict[str, str]:
    """This process's, with the package that runs now in front: the fit must not find another copy."""
    here = str(Path(uplift.__file__).resolve().parents[1])
    before = os.environ.get("PYTHONPATH")
    limits = (
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "MKL_NUM_THREADS",
        "NUMBA_NUM_THREADS",
        "VECLIB_MAXIMUM_THREADS",
    )
    return {
        **os.environ,
        **dict.fromkeys(limits, str(threads)),
        "PYTHONPATH": here if not before else os.pathsep.join((here, before)),
    }


def _end(process: subprocess.Popen[str]) -> None:
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _plain(content: Any) -> Any:
    return json.loads(json.dumps(content))


def _reason(code: int, complaints: str) -> str:
    if code < 0:
        return f"killed by signal {-code}"
    lines = [line for line in complaints.splitlines() if line.strip()]
    return lines[-1].strip() if lines else f"exit code {code}"


def _read(file: Path) -> dict[str, Any]:
    try:
        result: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return result
    except (OSError, ValueError) as error:
        raise OutputError(f"{file} cannot be read ({error}); delete it and run again.") from error


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {entry}" for key, entry in value.items())
    return f"{value:,}" if isinstance(value, int) else str(value)
