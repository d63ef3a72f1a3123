"""``uplift bench``: comparisons of models on known effects and on public data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from uplift.cli.console import say, table

if TYPE_CHECKING:
    from uplift.bench.runner import BenchFolder, Record
    from uplift.bench.suite import Job, Suite

ABLATION_FOLDER = Path("reports/bench/ecup-ablation")
SEEDS_OF_A_TABLE = 5


def register(app: typer.Typer) -> None:
    """Add the commands of this room."""
    bench = typer.Typer(no_args_is_help=True, help="Compare models on known effects and on public data.")
    bench.callback()(_room)
    bench.command("ecup-ablation")(ecup_ablation)
    app.add_typer(bench, name="bench")


def _room() -> None:
    """Compare models on known effects and on public data; what is finished is not fitted again."""


def ecup_ablation(
    rows: Annotated[int, typer.Option("--rows", "-n", min=100, help="Training rows.")] = 50_000,
    seeds: Annotated[
        int, typer.Option("--seeds", min=1, help="Samples, each with its own model seed.")
    ] = SEEDS_OF_A_TABLE,
    variants: Annotated[
        str | None,
        typer.Option("--variants", help="Names, separated by commas.", show_default="all"),
    ] = None,
    data: Annotated[str, typer.Option("--data", help="simulated, hillstrom or all.")] = "all",
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder of the results; goes on with what is there.")
    ] = ABLATION_FOLDER,
) -> None:
    """What each part of ECUP is worth: ablations and peers, several seeds, on simulated data and on Hillstrom.

    Example: [bold]uplift bench ecup-ablation --rows 20000 --seeds 2 --variants full,no_tenet,lightgbm_s[/bold]
    """
    from uplift.bench.ecup_ablation import SUITE

    _run(SUITE, rows=rows, seeds=seeds, variants=variants, data=data, out=out)


def _run(suite: Suite, *, rows: int, seeds: int, variants: str | None, data: str, out: Path) -> None:
    from uplift.bench.runner import BenchFolder, run_suite

    wanted = None if variants is None else [name.strip() for name in variants.split(",")]
    jobs = suite.jobs(rows=rows, seeds=seeds, data=_sources(suite, data), variants=wanted)
    folder = BenchFolder(out, suite=suite, rows=rows)
    with _Bar() as bar:
        records = run_suite(folder, jobs, on_plan=bar.plan, on_begin=bar.begin, on_end=bar.end)
    _conclude(suite, folder, records, rows)


def _sources(suite: Suite, data: str) -> list[str]:
    """Data sets that are on this machine; a missing one is an error only where it was asked for by name."""
    from uplift.bench.data import unavailable
    from uplift.errors import UpliftError, did_you_mean

    if data != "all" and data not in suite.data:
        raise UpliftError(f"unknown data {data!r}; {did_you_mean(data, (*suite.data, 'all'))}")
    found = []
    for name in suite.data if data == "all" else (data,):
        reason = unavailable(name)
        if reason is None:
            found.append(name)
        elif data == name:
            raise UpliftError(reason)
        else:
            say(f"note: {name} is skipped: {reason}")
    return found


def _conclude(suite: Suite, folder: BenchFolder, records: list[Record], rows: int) -> None:
    from uplift.bench.summary import failed, fitted_data, tables, tidy, write_results
    from uplift.errors import UpliftError

    numbers = tidy(records)
    failures = failed(numbers)
    if len(failures) == len(records):
        raise UpliftError(f"none of the {len(records)} fits went well; the first: {failures[0]}")
    files = write_results(folder, suite, numbers, rows=rows)
    for data in fitted_data(numbers):
        for one in tables(numbers, suite, data, headline=True):
            say("")
            say(table(one.title, one.columns, one.rows, right=tuple(one.columns[1:])))
    for line in failures:
        say(f"failed: {line}")
    say("")
    for file in files:
        say(f"results: {file}")


class _Bar:
    """Progress over fits on standard error, with the time that is left; a context manager."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        self._progress = Progress(
            TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
            TextColumn("left"), TimeRemainingColumn(),
            console=Console(stderr=True),
            speed_estimate_period=24 * 3600.0,  # a fit takes long; the rate is that of all of them
        )  # fmt: skip
        self._task = self._progress.add_task("", total=None)

    def __enter__(self) -> _Bar:
        self._progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._progress.stop()

    def plan(self, finished: int, missing: int) -> None:
        """Set the length."""
        if finished:
            self._progress.console.print(f"{finished} fits are there already, {missing} to go")
        self._progress.update(self._task, total=missing)

    def begin(self, job: Job) -> None:
        """Name the fit that runs."""
        self._progress.update(self._task, description=job.label)

    def end(self, record: Record) -> None:
        """Advance, and say so when the fit failed."""
        if record["status"] != "ok":
            self._progress.console.print(f"failed: {record['error']}", markup=False)
        self._progress.advance(self._task)
