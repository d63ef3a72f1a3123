"""``uplift allocate`` and ``uplift report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from uplift.cli.console import say, steps
from uplift.cli.options import Overwrite, Seed, parse_costs, refuse_existing

_MOST_LIMITS = 8


def register(app: typer.Typer) -> None:
    """Add the commands of this room."""
    app.command("allocate")(allocate)
    app.command("report")(report)


def allocate(
    effects: Annotated[
        Path, typer.Argument(metavar="EFFECTS", help="Effects file, or a run folder.", show_default=False)
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", help="Allocation to write: .parquet, .csv, .jsonl or .duckdb.", show_default=False
        ),
    ],
    campaign: Annotated[
        Path | None,
        typer.Option("--campaign", "-c", help="Campaign file: costs and \\[decide].", show_default=False),
    ] = None,
    cost: Annotated[
        list[str] | None,
        typer.Option(
            "--cost",
            help="ARM=AMOUNT@EVENT, for example coupon_5=5@conversion, mail=0.1@send or deal=10%@value; overrides the file.",
            show_default=False,
        ),
    ] = None,
    budget: Annotated[
        float | None,
        typer.Option(
            "--budget", "-b", help="Money; inf for no limit. Default: \\[decide].", show_default=False
        ),
    ] = None,
    margin: Annotated[
        float | None,
        typer.Option(
            "--margin", help="Money per event of the stage. Default: \\[decide].", show_default=False
        ),
    ] = None,
    stage: Annotated[
        str | None,
        typer.Option(
            "--stage", help="Stage whose uplift is bought. Default: \\[decide].", show_default=False
        ),
    ] = None,
    holdout: Annotated[
        float | None,
        typer.Option("--holdout", help="Share kept in control. Default: \\[decide].", show_default=False),
    ] = None,
    columns: Annotated[
        Path | None,
        typer.Option(
            "--columns",
            help="Table with the unit's id and the columns that constraints read. Default: the campaign's data.",
            show_default=False,
        ),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            "--method",
            help="auto, one_budget, dual or exact (proves the optimum). Default: \\[decide].",
            show_default=False,
        ),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(
            "--device",
            help="cpu, auto or cuda: where the passes over all units run. Default: \\[decide], else cpu.",
            show_default=False,
        ),
    ] = None,
    stream: Annotated[
        bool,
        typer.Option(
            "--stream",
            help="Read the effects block by block: for audiences larger than memory; one budget, output .parquet.",
        ),
    ] = False,
    seed: Seed = None,
    overwrite: Overwrite = False,
) -> None:
    r"""Decide who gets what within a budget and other constraints, with a certificate of how good the plan is.

    Constraints (stock, caps, budgets per segment, minimum reach, ...) are \[\[decide.constraint]] in the campaign file.

    Example: [bold]uplift allocate effects.parquet --campaign campaign.toml --budget 5000 --out plan.csv[/bold]
    """
    import math

    from uplift.allocation import EffectsFile
    from uplift.allocation import allocate as allocate_effects
    from uplift.arms import VALUE_STAGE
    from uplift.campaign_file import CampaignFile
    from uplift.effects import Effects
    from uplift.errors import UpliftError
    from uplift.export import write_table
    from uplift.io.atomic import write_json
    from uplift.run_folder import EFFECTS

    refuse_existing(out, overwrite=overwrite)
    source = effects / EFFECTS if effects.is_dir() else effects
    loaded = None if stream else Effects.read_parquet(source)
    if loaded is not None and not loaded.calibrated:
        raise UpliftError(
            f"model {loaded.model!r} only ranks: its scores are no amounts of money to decide with; use another model."
        )
    config = CampaignFile.read(campaign) if campaign is not None else None
    costs = _costs(config, cost)
    decide = config.decide if config is not None else None
    if budget is None:
        if decide is None:
            raise UpliftError(
                "there is no budget; pass --budget, or a campaign file with [decide] budget = ..."
            )
        budget = decide.budget
    margin = margin if margin is not None else decide.margin if decide else None
    stage = stage or (decide.stage if decide else None)
    if math.isnan(budget) or budget < 0:
        raise UpliftError(f"the budget is {budget:g}; pass --budget with a number >= 0, or inf for no limit.")
    if margin is None and stage != VALUE_STAGE:
        raise UpliftError(
            "there is no margin; pass --margin with the money one conversion is worth, or --stage value."
        )
    options = decide.allocation_options() if decide is not None else {}
    if method is not None:
        options["method"] = method
    if device is not None:
        options["device"] = device
    share = holdout if holdout is not None else decide.holdout if decide else 0.0
    seed = seed if seed is not None else config.split.seed if config is not None else 0
    if stream:
        _allocate_stream(
            EffectsFile(source, costs=costs, margin=margin, stage=stage), out, options,
            budget=budget, holdout=share, seed=seed, overwrite=overwrite,
        )  # fmt: skip
        return
    assert loaded is not None
    with steps() as progress:
        if decide is not None and decide.constraint_columns():
            progress.start("read the columns of the constraints")
            options["columns"] = _columns(loaded, config, columns, decide.constraint_columns())
        progress.start(f"allocate {len(loaded):,} customers")
        plan = allocate_effects(
            loaded,
            costs=costs,
            budget=budget,
            margin=margin,
            stage=stage,
            holdout=share,
            seed=seed,
            **options,
        )
        plan_file = write_table(plan.to_table(), out, overwrite=overwrite)
        write_json(out.with_name(out.name + ".json"), plan.summary())
    _say_certificate(plan.certificate)
    c = plan.certificate
    binding = sorted(
        (row for row in c.limits if row.price > 0 and row.name != "budget"), key=lambda row: row.name
    )
    for row in binding[:_MOST_LIMITS]:
        say(f"{row.words}: use {row.use:,.2f}. {row.meaning}")
    if len(binding) > _MOST_LIMITS:
        say(f"and {len(binding) - _MOST_LIMITS} more limits that bind: see {out.name}.json")
    say(f"allocation: {plan_file}")


def _allocate_stream(source: Any, out: Path, options: dict[str, Any], **terms: Any) -> None:
    """The same from a file that stays on disk."""
    from uplift.allocation import allocate_file
    from uplift.errors import UpliftError
    from uplift.io.atomic import write_json

    if out.suffix.lower() not in (".parquet", ".pq"):
        raise UpliftError(
            f"--stream writes Parquet, not {out.suffix or 'a file without ending'}; give --out PLAN.parquet."
        )
    beyond = [
        name
        for name, plain in (("constraint", []), ("caution", 0.0), ("exactly_one", False), ("device", "cpu"))
        if options.get(name if name != "constraint" else "constraints", plain) != plain
    ]
    if options.get("method", "auto") not in ("auto", "one_budget"):
        beyond.append("method")
    if beyond:
        raise UpliftError(
            f"--stream decides on one budget only, on the CPU, and {beyond[0]!r} is given; leave it out, or decide without --stream."
        )
    with steps() as progress:
        progress.start(f"allocate {source.n_rows:,} customers from disk")
        plan = allocate_file(source, out, min_roi=options.get("min_roi"), **terms)
        write_json(out.with_name(out.name + ".json"), plan.summary())
    _say_certificate(plan.certificate)
    say(f"allocation: {plan.path}")


def _say_certificate(c: Any) -> None:
    say(
        f"{c.n_treated:,} of {c.n_units:,} customers treated; expected value {c.expected_value:,.2f} for {c.expected_cost:,.2f}"
    )
    say(
        f"upper bound {c.upper_bound:,.2f} (gap {c.gap:.1e}); one more unit of money brings {c.dual_prices['budget']:.3f}"
    )


def report(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN...", help="A run folder, or several to compare.", show_default=False),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="HTML file; default: report.html in the run folder, drawn anew. Several runs need one.",
            show_default=False,
        ),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Draw the report of a run again from its files, or put several runs side by side.

    Example: [bold]uplift report reports/spring[/bold] or [bold]uplift report reports/spring reports/summer --out compare.html[/bold]
    """
    from uplift.errors import UpliftError
    from uplift.run_comparison import compare_runs
    from uplift.run_report import report_run

    several = len(runs) > 1
    if several and out is None:
        raise UpliftError(
            "several runs are compared in a page of its own; pass --out with its file, such as compare.html."
        )
    if out is not None:
        name = "compare.html" if several else "report.html"
        refuse_existing(out / name if out.is_dir() else out, overwrite=overwrite)
    with steps() as progress:
        progress.start(f"compare {len(runs)} runs" if several else "draw the report")
        written = compare_runs(runs, out) if several and out is not None else report_run(runs[0], out)
    say(f"{'comparison' if several else 'report'}: {written}")


def _columns(effects: Any, config: Any, file: Path | None, names: list[str]) -> Any:
    """The columns that constraints read, in the order of the effects' units."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from uplift.errors import UpliftError
    from uplift.hashing import as_text
    from uplift.io.tables import read_table

    if file is not None:
        table = read_table(file)
        if effects.unit_column not in table.column_names:
            raise UpliftError(f"{file} has no column {effects.unit_column!r} to find customers by; add it.")
        ids = table[effects.unit_column]
    else:
        campaign = config.load()
        table, ids = campaign.table, campaign.unit_ids
    missing = [name for name in names if name not in table.column_names]
    if missing:
        raise UpliftError(
            f"the constraints read the column {missing[0]!r}, which {file or 'the campaign'} lacks; pass --columns."
        )
    texts = as_text(ids)
    backwards = texts.take(pa.array(range(len(texts) - 1, -1, -1)))  # of several rows the last counts
    place = pc.subtract(len(texts) - 1, pc.index_in(as_text(effects.units), backwards))
    if place.null_count:
        raise UpliftError(
            f"{file or 'the campaign'} lacks {place.null_count:,} of the {len(effects):,} customers; pass --columns with a row for each."
        )
    return pa.table({name: table[name].take(place) for name in names})


def _costs(config: Any, given: list[str] | None) -> dict[str, Any]:
    costs = {name: arm.arm(name).cost for name, arm in config.arms.items()} if config is not None else {}
    costs = {name: rule for name, rule in costs.items() if rule is not None}
    return costs | parse_costs(given)
