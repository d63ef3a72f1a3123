"""``uplift export``, ``uplift verify-export`` and ``uplift policy``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from uplift.cli.console import complain, say, steps
from uplift.cli.options import Overwrite, refuse_existing
from uplift.errors import UpliftError


def register(app: typer.Typer) -> None:
    """Add the commands of this room."""
    app.command("export")(export)
    app.command("verify-export")(verify_export)
    app.command("policy")(policy)


Table = Annotated[
    str,
    typer.Option(
        "--table", "-t", help="Table in the database: NAME or SCHEMA.NAME; quoted, so any name will do."
    ),
]


def export(
    source: Annotated[
        Path | None,
        typer.Argument(
            metavar="RUN|ALLOCATION",
            help="A run folder or an allocation file (.parquet, .csv).",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="File to write: .csv, .parquet, .jsonl or .duckdb; with --by-arm a folder.",
            show_default=False,
        ),
    ] = None,
    to: Annotated[
        str | None,
        typer.Option(
            "--to",
            metavar="URL",
            help="Database to write to: postgresql://..., sqlite:///FILE or duckdb:///FILE; decisions that are there are updated.",
            show_default=False,
        ),
    ] = None,
    table: Table = "allocation",
    format: Annotated[
        str | None,
        typer.Option(
            "--format",
            "-f",
            help="parquet, csv, jsonl or duckdb; default: by the ending.",
            show_default=False,
        ),
    ] = None,
    by_arm: Annotated[
        bool,
        typer.Option("--by-arm", help="A folder of Parquet parts, one per arm: arm=NAME/part-0.parquet."),
    ] = False,
    template: Annotated[
        str | None,
        typer.Option(
            "--template",
            help="Columns as a CRM imports them; --list-templates says which there are.",
            show_default=False,
        ),
    ] = None,
    mapping: Annotated[
        Path | None,
        typer.Option("--mapping", help="A template of your own (TOML).", show_default=False),
    ] = None,
    contacts: Annotated[
        Path | None,
        typer.Option(
            "--contacts",
            help="Table with the unit and contact columns (email), for templates that need them.",
            show_default=False,
        ),
    ] = None,
    valid_from: Annotated[
        str | None,
        typer.Option(
            "--valid-from", metavar="TIME", help="ISO 8601, UTC without a zone.", show_default=False
        ),
    ] = None,
    valid_until: Annotated[
        str | None,
        typer.Option(
            "--valid-until", metavar="TIME", help="ISO 8601, UTC without a zone.", show_default=False
        ),
    ] = None,
    previous: Annotated[
        Path | None,
        typer.Option(
            "--previous",
            help="An earlier export: changed decisions get the next revision. Default: the one that is overwritten.",
            show_default=False,
        ),
    ] = None,
    control: Annotated[
        str | None,
        typer.Option(
            "--control", help="Name of the control, where the file does not say.", show_default=False
        ),
    ] = None,
    effects: Annotated[
        Path | None,
        typer.Option(
            "--effects",
            help="Effects an allocation file was made from: adds the uplift per stage.",
            show_default=False,
        ),
    ] = None,
    holdout_share: Annotated[
        float | None,
        typer.Option(
            "--holdout-share",
            help="Share held out, where the file does not say: gives propensities.",
            show_default=False,
        ),
    ] = None,
    run_id: Annotated[
        str | None,
        typer.Option("--run-id", help="Default: a hash of the run's inputs.", show_default=False),
    ] = None,
    spreadsheet_safe: Annotated[
        bool,
        typer.Option(
            "--spreadsheet-safe", help="CSV: disarm text that a spreadsheet would run as a formula."
        ),
    ] = False,
    list_templates: Annotated[
        bool, typer.Option("--list-templates", help="List the templates and stop.")
    ] = False,
    overwrite: Overwrite = False,
) -> None:
    """Export decisions to a file, a folder or a database, with a manifest (counts, sums, SHA-256).

    One row per customer, control and holdout included; a template keeps what its system needs. Killed half-way,
    nothing partial is visible and the same command completes the work.

    Examples: [bold]uplift export reports/spring --out crm.csv --template braze[/bold];
    [bold]uplift export reports/spring --to postgresql://ann@shop/crm --table coupons[/bold]
    """
    from uplift.export import export_decisions, export_to_database, load_template, read_template
    from uplift.io.tables import read_table

    if list_templates:
        _list_templates()
        return
    if source is None:
        raise UpliftError("there is nothing to export; give a run folder or an allocation file.")
    if (out is None) == (to is None):
        raise UpliftError("give either --out FILE or --to DATABASE.")
    if template is not None and mapping is not None:
        raise UpliftError("give either --template or --mapping, not both.")
    chosen = load_template(template) if template else read_template(mapping) if mapping else None
    if to is not None and (chosen or by_arm or format or previous or spreadsheet_safe):
        raise UpliftError(
            "a database gets all columns; drop --template, --mapping, --by-arm, --format, --previous and --spreadsheet-safe."
        )
    with steps() as progress:
        progress.start("read the decisions")
        decisions = _decisions(
            source,
            control=control,
            effects=effects,
            known_share=holdout_share,
            run_id=run_id,
            valid_from=valid_from,
            valid_until=valid_until,
        )
        people = None if contacts is None else read_table(contacts)
        progress.start(f"export {len(decisions):,} decisions")
        if to is not None:
            content = export_to_database(decisions, to, table)
            note, written = content["predecessor"], f"{content['target']['database']} table {table}"
        else:
            assert out is not None
            note = None
            written = str(
                export_decisions(
                    decisions,
                    out,
                    format=format,
                    by_arm=by_arm,
                    template=chosen,
                    contacts=people,
                    previous=previous,
                    spreadsheet_safe=spreadsheet_safe,
                    overwrite=overwrite,
                )
            )
    say(f"{len(decisions):,} decisions: {written}")
    if note is not None:
        say(
            f"{note['new']:,} new, {note['changed']:,} changed, {note['unchanged']:,} as before; "
            f"{note['gone']:,} earlier ones are not in this plan and stay as they are"
        )


def verify_export(
    target: Annotated[
        Path | None,
        typer.Argument(
            metavar="FILE|FOLDER",
            help="What 'uplift export' wrote; or a plan of 'uplift allocate', or a run folder.",
            show_default=False,
        ),
    ] = None,
    to: Annotated[
        str | None,
        typer.Option("--to", metavar="URL", help="The database, as for 'uplift export'.", show_default=False),
    ] = None,
    table: Table = "allocation",
    campaign: Annotated[
        str | None,
        typer.Option(
            "--campaign", help="Campaign in the table; default: the latest export.", show_default=False
        ),
    ] = None,
    columns: Annotated[
        Path | None,
        typer.Option(
            "--columns",
            help="Customer table with the unit's id and the columns that limits count: they are then counted by it, and the exported ones compared.",
            show_default=False,
        ),
    ] = None,
    control: Annotated[
        str | None,
        typer.Option(
            "--control", help="Name of the control, where a plan's file does not say.", show_default=False
        ),
    ] = None,
    limits: Annotated[
        bool, typer.Option("--limits", help="List every limit with what the rows use of it.")
    ] = False,
) -> None:
    """Read an export back and add everything up again: files, ids, holdout, counts, sums and every limit. Exit code 1 if it does not hold.

    Examples: [bold]uplift verify-export crm.csv[/bold];
    [bold]uplift verify-export plan.parquet --columns customers.parquet --limits[/bold]
    """
    from uplift.export import verify_database
    from uplift.export import verify_export as verify_file

    if (target is None) == (to is None):
        raise UpliftError("give either a file or folder, or --to DATABASE.")
    if to is not None:
        found = verify_database(to, table, campaign=campaign, columns=columns)
    else:
        found = verify_file(str(target), columns=columns, control=control)
    say(_drawn("check", found.checks))
    if limits:
        say(_drawn("limit", found.limits))
    say(f"{found.target}: {'verified' if found.passed else 'DOES NOT VERIFY'}")
    if not found.passed:
        raise typer.Exit(1)


def _drawn(title: str, entries: Any) -> Any:
    """Name, status and detail of every entry."""
    from rich.table import Table as Drawn
    from rich.text import Text

    drawn = Drawn(box=None, pad_edge=False)
    for name in (title, "status", "detail"):
        drawn.add_column(name)
    colours = {"pass": "green", "fail": "bold red", "skip": "dim"}
    for entry in entries:
        drawn.add_row(Text(entry.name), Text(entry.status, colours[entry.status]), Text(entry.detail))
    return drawn


def policy(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.", show_default=False)],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Policy file to write (.json).", show_default=False)
    ],
    overwrite: Overwrite = False,
) -> None:
    """Write the plan's prices and rules as a small file that decides a scored customer in microseconds.

    Every limit of the plan that binds (budget, stock, caps, shares, minimum reach and return, per arm and segment)
    becomes a price.

    Example: [bold]uplift policy reports/spring --out policy.json[/bold]
    """
    from uplift.export import policy_of_run
    from uplift.run_folder import RUN, RunFolder

    refuse_existing(out, overwrite=overwrite)
    folder = RunFolder.open(run)
    made = policy_of_run(folder)
    made.save(out)
    others = [price for price in made.prices if not price.of_all_money]
    more = f" and {len(others)} prices of other limits" if len(others) > 1 else ""
    more = " and 1 price of another limit" if len(others) == 1 else more
    say(f"policy of {len(made.arms) - 1} arms at a price of {made.price:.4g} per unit of money{more}: {out}")
    if made.segments:
        say(f"a decision needs the customer's {', '.join(made.segments)} (segments=...)")
    if made.conditions:
        rules = [rule.get("when", "do not disturb") for rule in made.conditions]
        say(f"and who may get which arm (eligible=...), by the rules of the plan: {'; '.join(rules)}")
    if folder.read_json(RUN)["config"]["decide"].get("recalibrate"):
        complain(
            "the run pulled the effects in before it decided (recalibrate = true): the prices are for effects that were "
            "corrected alike, not for the scores of the model as it is.",
            "warning",
        )


def _decisions(source: Path, *, control: str | None, effects: Path | None, **options: Any) -> Any:
    from uplift.effects import Effects
    from uplift.export import from_file, from_run
    from uplift.export.sources import parse_moment

    for name in ("valid_from", "valid_until"):
        if options[name] is not None:
            options[name] = parse_moment(options[name], "--" + name.replace("_", "-"))
    options = {name: value for name, value in options.items() if value is not None}
    if source.is_dir():
        if control is not None or effects is not None:
            raise UpliftError("a run folder knows its control and effects; drop --control and --effects.")
        return from_run(source, **options)
    loaded = None if effects is None else Effects.read_parquet(effects)
    return from_file(source, control=control, effects=loaded, **options)


def _list_templates() -> None:
    from rich.table import Table as Drawn

    from uplift.export import load_template, template_names

    drawn = Drawn(box=None, pad_edge=False)
    for title in ("template", "for", "columns", "documentation it follows"):
        drawn.add_column(title, overflow="fold")
    for name in template_names():
        found = load_template(name)
        drawn.add_row(
            name, found.description, ", ".join(c.name for c in found.columns), "\n".join(found.documentation)
        )
    say(drawn)
