"""``uplift tune``: search the parameters of a model inside the training part."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from uplift.cli.console import say, table
from uplift.cli.options import CampaignPath, Seed, parse_params

if TYPE_CHECKING:
    from uplift.tuning import TuningResult

BEST_SHOWN = 5


def register(app: typer.Typer) -> None:
    """Add the commands of this room."""
    app.command("tune")(tune)


def tune(
    campaign: CampaignPath,
    model: Annotated[
        str, typer.Option("--model", "-m", help="Name from 'uplift models'.", show_default=False)
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", help="Folder of the search; goes on with what is there.", show_default=False
        ),
    ],
    criterion: Annotated[
        str,
        typer.Option(
            "--criterion", "-c", help="qini, policy (value of the plan by \\[decide]), r or dr (losses)."
        ),
    ] = "qini",
    stage: Annotated[
        str | None,
        typer.Option(
            "--stage",
            help="Stage that is judged; default: \\[decide] stage, else the last.",
            show_default=False,
        ),
    ] = None,
    trials: Annotated[
        int | None,
        typer.Option(
            "--trials", "-n", min=1, help="Trials in all, the start included; default 30.", show_default=False
        ),
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(
            "--minutes", help="Time for this call, in place of or beside --trials.", show_default=False
        ),
    ] = None,
    folds: Annotated[
        int | None,
        typer.Option(
            "--folds", help="Cross-validation by units; default: one validation split.", show_default=False
        ),
    ] = None,
    validation: Annotated[
        float, typer.Option("--validation", help="Share of the training units in the validation split.")
    ] = 0.3,
    param: Annotated[
        list[str] | None,
        typer.Option("--param", "-p", help="NAME=VALUE; kept at this value.", show_default=False),
    ] = None,
    space: Annotated[
        Path | None,
        typer.Option("--space", help="TOML file with a table \\[tune.MODEL] of ranges.", show_default=False),
    ] = None,
    seed: Seed = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Begin the search anew.")] = False,
) -> None:
    """Search the parameters of a model on the training part; the test part of \\[split] is never looked at.

    Interrupted, the same command goes on. The result, best.toml, is a \\[models] table for the campaign file: the best
    trial where its gain is more than luck, else the start.

    Example: [bold]uplift tune campaign.toml --model lightgbm_chain --trials 40 --out reports/tune[/bold]

    Then: [bold]uplift run campaign.toml --params reports/tune/best.toml --out reports/spring[/bold]
    """
    from uplift.campaign_file import CampaignFile, read_tables
    from uplift.tuning import tune_file
    from uplift.tuning.study import BEST

    config = CampaignFile.read(campaign)
    changes: dict[str, Any] = {} if space is None else read_tables(space, "tune").get(model, {})
    with _Bar(model, trials=trials if trials or minutes else 30, minutes=minutes) as bar:
        result = tune_file(
            config,
            model=model,
            seed=seed,
            params=parse_params(param),
            space=changes,
            criterion=criterion,
            stage=stage,
            folds=folds,
            validation=validation,
            trials=trials,
            minutes=minutes,
            folder=out,
            overwrite=overwrite,
            on_trial=bar.end,
            on_progress=bar.tell,
        )
    _conclude(result)
    say("")
    say(result.to_toml().rstrip())
    say("")
    say(f"parameters: {out / BEST}")


def _conclude(result: TuningResult) -> None:
    """The start and the best trials, and whether the gain is more than luck."""
    good = sorted(
        (trial for trial in result.trials if trial.ok),
        key=lambda trial: (-result.difference(trial, result.best)[0], trial.number),
    )
    shown = good[:BEST_SHOWN]
    if result.default.ok and result.default not in shown:
        shown = [result.default, *shown]
    rows = []
    for trial in shown:
        gain, error = result.difference(trial, result.default)
        params = ", ".join(f"{name}={trial.params[name]}" for name in trial.tuned) or "(the start)"
        compared = "" if gain != gain or trial is result.default else f"{gain:+.3g} ± {error:.2g}"
        rows.append(
            [trial.number, f"{trial.value:.6g}", f"{trial.se:.2g}", compared, f"{trial.seconds:.1f}", params]
        )
    better = "higher" if result.higher_is_better else "lower"
    columns = ["trial", "value", "s.e.", "gain", "seconds", "parameters"]
    say(
        table(
            f"{result.model}: {result.title} ({better} is better)", columns, rows, right=tuple(columns[:-1])
        )
    )
    say("")
    say(f"best: {result.verdict}")
    if result.chosen is not result.best:
        hint = "" if result.description["criterion"] == "dr" else " or --criterion dr, which is less noisy,"
        say(f"      best.toml keeps the start; more rows, --folds 5{hint} may tell them apart.")
    quick = result.quickest
    if quick.seconds < 0.5 * result.best.seconds:
        say(
            f"trial {quick.number} is within one standard error of the best and takes {quick.seconds:.1f} s "
            f"instead of {result.best.seconds:.1f} s."
        )
    failed = [trial for trial in result.trials if not trial.ok]
    if failed:
        say(f"note: {len(failed)} of {len(result.trials)} trials failed, the first: {failed[0].error}")
    for note in result.notes:
        say(f"note: {note}")


class _Bar:
    """Trials done, the best so far and the time that is left, on standard error; a context manager."""

    def __init__(self, model: str, *, trials: int | None, minutes: float | None) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        self._trials, self._minutes, self._model = trials, minutes, model
        self._progress = Progress(
            TextColumn("{task.description}", markup=False), BarColumn(bar_width=20), TextColumn("{task.fields[done]}"),
            TimeElapsedColumn(), TextColumn("{task.fields[left]}"), TextColumn("{task.fields[best]}"),
            console=Console(stderr=True),
        )  # fmt: skip
        self._task = self._progress.add_task(model, total=None, done="", left="", best="")
        self._begun = time.monotonic()
        self._before: int | None = None

    def __enter__(self) -> _Bar:
        self._progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._progress.stop()

    def tell(self, text: str) -> None:
        """Say what is being done."""
        self._progress.update(self._task, description=f"{self._model}: {text}"[:40])

    def end(self, result: TuningResult) -> None:
        """Advance."""
        done, elapsed = len(result.trials), time.monotonic() - self._begun
        if self._before is None:
            # The first call is about an earlier run's trials, or about the first one of this.
            self._before = done if done > 1 else 0
            if done > 1:
                self._progress.console.print(f"going on after {done} trials", markup=False)
        if not result.trials[-1].ok:
            self._progress.console.print(f"trial {done - 1} failed: {result.trials[-1].error}", markup=False)
        left = self._left(done - self._before, done, elapsed)
        self._progress.update(
            self._task,
            total=self._trials or max(60 * (self._minutes or 0), elapsed),
            completed=done if self._trials else elapsed,
            done=f"{done} of {self._trials}" if self._trials else f"{done} trials",
            left="" if left is None else f"about {_span(left)} left",
            best=f"best {result.best.value:.5g} (trial {result.best.number})",
        )

    def _left(self, here: int, done: int, elapsed: float) -> float | None:
        by_time = None if self._minutes is None else max(60 * self._minutes - elapsed, 0.0)
        if self._trials is None or not here:
            return by_time
        by_count = elapsed / here * max(self._trials - done, 0)
        return by_count if by_time is None else min(by_count, by_time)


def _span(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
