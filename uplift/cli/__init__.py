"""The ``uplift`` command. Every subcommand works alone on the files of the others."""

from __future__ import annotations

import sys

import typer

from uplift.cli import (
    bench_commands,
    data_commands,
    decision_commands,
    export_commands,
    init_command,
    list_command,
    measure_command,
    model_commands,
    run_commands,
    tune_commands,
    value_command,
)
from uplift.cli.console import complain
from uplift.cli.interrupts import watch
from uplift.errors import UpliftError

INTERRUPTED = 130

app = typer.Typer(
    name="uplift",
    help="From a randomised coupon campaign to a decision: check, model, evaluate, allocate, report, export.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for room in (
    init_command,
    run_commands,
    model_commands,
    tune_commands,
    list_command,
    decision_commands,
    value_command,
    export_commands,
    measure_command,
    data_commands,
    bench_commands,
):
    room.register(app)


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: bool = typer.Option(False, "--version", help="Print the version and stop."),
) -> None:
    if version:
        from uplift import __version__

        typer.echo(f"uplift {__version__}")
        raise typer.Exit()


def main() -> None:
    """Run the command line. Bad input: one sentence, exit code 2. Interrupted: exit code 130."""
    watch()
    try:
        app(standalone_mode=True)
    except UpliftError as error:
        complain(str(error))
        sys.exit(2)
    except (KeyboardInterrupt, SystemExit) as stopped:
        # typer turns an interrupt into a silent exit with this code
        if isinstance(stopped, SystemExit) and stopped.code != INTERRUPTED:
            raise
        complain("interrupted; nothing was left half-written.")
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        sys.exit(141)


__all__ = ["app", "main"]
