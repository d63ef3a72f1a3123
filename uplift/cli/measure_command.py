"""``uplift measure``: what a plan has brought, by its holdout."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from uplift.cli.console import complain, say, steps, table
from uplift.cli.options import Overwrite, parse_costs, refuse_existing

if TYPE_CHECKING:
    from uplift.measurement import Measurement


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("measure")(measure)


def measure(
    export: Annotated[
        Path,
        typer.Argument(
            metavar="EXPORT|RUN",
            help="The plan as it was sent: an export (file or folder), an allocation or a run folder.",
            show_default=False,
        ),
    ],
    log: Annotated[
        Path,
        typer.Argument(
            metavar="LOG",
            help="What customers did afterwards: a campaign file (.toml), or a table (.parquet, .csv) with the plan's unit column.",
            show_default=False,
        ),
    ],
    chain: Annotated[
        str | None,
        typer.Option(
            "--chain", help="0/1 columns of a table, in order: click,conversion.", show_default=False
        ),
    ] = None,
    value: Annotated[
        str | None, typer.Option("--value", help="Money column of a table.", show_default=False)
    ] = None,
    stage: Annotated[
        str | None,
        typer.Option(
            "--stage", help="Stage that is valued. Default: the plan's, else the last.", show_default=False
        ),
    ] = None,
    margin: Annotated[
        float | None,
        typer.Option(
            "--margin",
            help="Money per unit of the outcome. Default: the one the plan was made with.",
            show_default=False,
        ),
    ] = None,
    cost: Annotated[
        list[str] | None,
        typer.Option(
            "--cost",
            help="ARM=AMOUNT@EVENT, for example coupon_5=5@conversion. Default: the run's, or the campaign file's.",
            show_default=False,
        ),
    ] = None,
    missing_as_zero: Annotated[
        bool,
        typer.Option(
            "--missing-as-zero",
            help="Customers without a row in the log did nothing (a log of orders).",
        ),
    ] = False,
    confidence: Annotated[float, typer.Option("--confidence", help="Level of the intervals.")] = 0.95,
    json: Annotated[
        Path | None, typer.Option("--json", help="Write the result to this file.", show_default=False)
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Measure a plan that was sent: its customers against those held out, by arm and in total, against the promise.

    Example: [bold]uplift measure plan.parquet orders.csv --chain conversion --missing-as-zero[/bold]
    """
    from uplift.io.atomic import write_json
    from uplift.measurement import measure as measured

    if json is not None:
        refuse_existing(json, overwrite=overwrite)
    with steps() as progress:
        progress.start("compare")
        found = measured(
            export,
            log,
            chain=None if chain is None else [name.strip() for name in chain.split(",")],
            value=value,
            stage=stage,
            margin=margin,
            costs=parse_costs(cost) or None,
            missing="zero" if missing_as_zero else "error",
            confidence=confidence,
        )
    _show(found)
    if json is not None:
        write_json(json, found.to_dict())
        say(f"result: {json}")


def _show(found: Measurement) -> None:
    from uplift.measurement.result import BASES
    from uplift.reporting.notebook import measured_money_rows, measured_stage_rows

    for title, (columns, rows) in (
        (f"{found.customers:,} customers, {found.held_out:,} held out", measured_stage_rows(found)),
        ("in money, over the customers sent to", measured_money_rows(found)),
    ):
        say(table(title, columns, rows, right=tuple(columns[1:])))
    say(f"Compared: {BASES[found.basis]}. Intervals: {100 * found.confidence:g} %.")
    for warning in found.warnings:
        complain(warning, "warning")
