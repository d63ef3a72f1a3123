"""``uplift bench``: comparisons of models on known effects and on public data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from uplift.cli.console import say, table

if TYPE_CHECKING:
    from uplift.bench.runner import BenchFolder, Record, Task
    from uplift.bench.suite import Suite
    from uplift.bench.summary import Results

FOLDER = Path("reports/bench")
ABLATION = "ecup-ablation"
REPRODUCTIONS = "reproductions"
ABLATION_ROWS, ABLATION_SEEDS = 50_000, 5
SHOWN_RANKS = 40

Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        "-o",
        help="Folder of the results; goes on with what is there.",
        show_default="reports/bench/SUITE",
    ),
]
Seeds = Annotated[
    int | None, typer.Option("--seeds", min=1, help="Number of seeds.", show_default="the suite's")
]
Rows = Annotated[
    int | None,
    typer.Option(
        "--rows", "-n", min=100, help="Training rows of every data set.", show_default="the suite's"
    ),
]
Models = Annotated[
    str | None,
    typer.Option("--models", "--variants", help="Names, separated by commas.", show_default="all"),
]
Data = Annotated[str, typer.Option("--data", help="Names, separated by commas, or all.")]
Jobs = Annotated[
    int, typer.Option("--jobs", "-j", min=1, help="Fits at the same time; the numbers are the same.")
]
Timeout = Annotated[
    float | None,
    typer.Option("--timeout", help="Minutes after which a fit counts as failed.", show_default="the suite's"),
]
Refit = Annotated[
    str | None,
    typer.Option("--refit", help="Names of models whose fits are thrown away first.", show_default="none"),
]


def register(app: typer.Typer) -> None:
    """Add the commands of this room."""
    bench = typer.Typer(no_args_is_help=True, help="Compare models on known effects and on public data.")
    bench.callback()(_room)
    bench.command("run")(run)
    for name, words in (
        ("quick", "Eight models on three data sets, three seeds: minutes."),
        ("public", "All randomised public data sets on this machine."),
        ("truth", "Known effects: the simulator, IHDP, ACIC 2016, Twins, RealCause."),
    ):
        bench.command(name, help=f"{words}\n\nThe same as [bold]uplift bench run {name}[/bold].")(
            _shipped(name)
        )
    bench.command(REPRODUCTIONS)(reproductions)
    bench.command(ABLATION)(ecup_ablation)
    app.add_typer(bench, name="bench")


def _room() -> None:
    """Compare models on known effects and on public data; what is finished is not fitted again."""


def run(
    suite: Annotated[
        str,
        typer.Argument(
            metavar="SUITE", help="A suite file, or the name of a shipped suite.", show_default=False
        ),
    ],
    out: Out = None,
    seeds: Seeds = None,
    rows: Rows = None,
    models: Models = None,
    data: Data = "all",
    jobs: Jobs = 1,
    timeout: Timeout = None,
    refit: Refit = None,
) -> None:
    """Fit every model on every data set for every seed, and write a leaderboard.

    One process per fit; an interrupted benchmark goes on where it stopped. Writes results.parquet, results.md and
    leaderboard.html.

    Example: [bold]uplift bench run suite.toml --out reports/bench/mine --jobs 2[/bold]
    """
    from uplift.bench.suite_file import load_suite

    _run(load_suite(suite), out, rows=rows, seeds=seeds, models=models, data=data, jobs=jobs, timeout=timeout, refit=refit)  # fmt: skip


def _shipped(name: str) -> Any:
    def command(
        out: Out = None,
        seeds: Seeds = None,
        rows: Rows = None,
        models: Models = None,
        data: Data = "all",
        jobs: Jobs = 1,
        timeout: Timeout = None,
        refit: Refit = None,
    ) -> None:
        run(name, out, seeds, rows, models, data, jobs, timeout, refit)

    return command


def ecup_ablation(
    rows: Annotated[int, typer.Option("--rows", "-n", min=100, help="Training rows.")] = ABLATION_ROWS,
    seeds: Annotated[
        int, typer.Option("--seeds", min=1, help="Samples, each with its own model seed.")
    ] = ABLATION_SEEDS,
    models: Models = None,
    data: Data = "all",
    out: Out = None,
    jobs: Jobs = 1,
    refit: Refit = None,
) -> None:
    """What each part of ECUP is worth: ablations and peers, several seeds, on simulated data and on Hillstrom.

    Example: [bold]uplift bench ecup-ablation --rows 20000 --seeds 2 --variants full,no_tenet,lightgbm_s[/bold]
    """
    from uplift.bench.ecup_ablation import SUITE

    _run(SUITE, out, rows=rows, seeds=seeds, models=models, data=data, jobs=jobs, timeout=None, refit=refit)


def reproductions(
    out: Out = None,
    only: Annotated[
        str | None, typer.Option("--only", help="Ids, separated by commas.", show_default="all")
    ] = None,
    jobs: Jobs = 1,
) -> None:
    """Published numbers, tried again here: ours, theirs, the source, and why they differ where they do.

    Those whose data are not on this machine are listed with the reason and run as soon as the file is in UPLIFT_DATA_HOME.

    Example: [bold]uplift bench reproductions --only hillstrom-visit-ate-women[/bold]
    """
    from uplift.bench.reproductions import load_reproductions, not_possible
    from uplift.bench.reproductions_table import compare_table, write_comparison
    from uplift.bench.runner import BenchFolder, run_suite

    wanted = load_reproductions(_names(only))
    folder = BenchFolder(out or FOLDER / REPRODUCTIONS, name=REPRODUCTIONS)
    reasons = {one.id: not_possible(one) for one in wanted}
    possible = [one for one in wanted if reasons[one.id] is None]
    with _Bar() as bar:
        records = run_suite(
            folder, possible, parallel=jobs, on_plan=bar.plan, on_begin=bar.begin, on_end=bar.end
        )
    found = {record["job"]["reproduction"]: record for record in records}
    made = compare_table(wanted, found, reasons)
    say(table(made.title, made.columns, made.rows))
    for file in write_comparison(folder.path, wanted, found, reasons):
        say(f"results: {file}")


def _run(
    suite: Suite,
    out: Path | None,
    *,
    rows: int | None,
    seeds: int | None,
    models: str | None,
    data: str,
    jobs: int,
    timeout: float | None,
    refit: str | None,
) -> None:
    from uplift.bench.runner import BenchFolder, run_suite
    from uplift.bench.suite_file import check_models
    from uplift.bench.summary import Results

    wanted, path = _names(models), out or FOLDER / suite.name
    sources, skipped = _sources(suite, data)
    check_models(suite, wanted)
    fits = suite.jobs(rows=rows, seeds=seeds, data=sources, variants=wanted)
    if refit is not None:
        BenchFolder.forget(path, [one.name for one in suite.chosen(_names(refit))])
    folder = BenchFolder.of(path, suite, fits, timeout=None if timeout is None else 60 * timeout)
    with _Bar() as bar:
        records = run_suite(folder, fits, parallel=jobs, on_plan=bar.plan, on_begin=bar.begin, on_end=bar.end)
    _conclude(folder, Results.of(folder, suite, fits, records, skipped))


def _names(given: str | None) -> list[str] | None:
    return None if given is None else [name.strip() for name in given.split(",") if name.strip()]


def _sources(suite: Suite, data: str) -> tuple[list[str], dict[str, str]]:
    """Data sets that are on this machine, and why others are not; one that was asked for by name is an error."""
    from uplift.bench.data import unavailable
    from uplift.errors import UpliftError, did_you_mean

    known = [entry.name for entry in suite.data]
    wanted = known if data == "all" else _names(data) or []
    found, skipped = [], {}
    for name in wanted:
        if name not in known:
            raise UpliftError(f"unknown data {name!r}; {did_you_mean(name, (*known, 'all'))}")
        reason = unavailable(suite.entry(name))
        if reason is None:
            found.append(name)
        elif data != "all":
            raise UpliftError(reason)
        else:
            skipped[name] = reason
            say(f"note: {name} is skipped: {reason}")
    if not found:
        raise UpliftError(
            f"none of the {len(wanted)} data sets of {suite.name} is on this machine; see 'uplift data list'."
        )
    return found, skipped


def _conclude(folder: BenchFolder, results: Results) -> None:
    from uplift.bench.summary import failed, rank_table, tables, write_results
    from uplift.errors import UpliftError
    from uplift.reporting.leaderboard import write_leaderboard

    failures = failed(results.numbers)
    if len(failures) == len(results.records):
        raise UpliftError(f"none of the {len(failures)} fits went well; the first: {failures[0]}")
    files = [*write_results(folder, results), write_leaderboard(folder.path, results)]
    for data in results.data:
        for one in tables(results, data, headline=True):
            say("")
            say(table(one.title, one.columns, one.rows, right=tuple(one.columns[1:])))
    ranked = rank_table(results)
    if ranked is not None and len(ranked.rows) <= SHOWN_RANKS:
        say("")
        say(table(ranked.title, ranked.columns, ranked.rows, right=tuple(ranked.columns[1:])))
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

    def begin(self, job: Task) -> None:
        """Name the fit that runs."""
        self._progress.update(self._task, description=job.label)

    def end(self, record: Record) -> None:
        """Advance, and say so when the fit failed."""
        if record["status"] != "ok":
            self._progress.console.print(f"failed: {record['error']}", markup=False)
        self._progress.advance(self._task)
