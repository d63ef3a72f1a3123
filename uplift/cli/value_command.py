"""``uplift value``: what a plan is worth, by customers of a campaign's log."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from uplift.cli.console import complain, say, steps, table
from uplift.cli.options import Overwrite, Seed, parse_costs, refuse_existing


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("value")(value)


def value(
    plan: Annotated[
        str,
        typer.Argument(
            metavar="PLAN|RUN|ARM",
            help="An allocation (.parquet or .csv), a run folder, or the name of one arm for everybody.",
            show_default=False,
        ),
    ],
    log: Annotated[
        Path,
        typer.Option(
            "--log",
            "-l",
            help="Campaign file of the log: customers assigned at random, with outcomes.",
            show_default=False,
        ),
    ],
    method: Annotated[
        str,
        typer.Option(
            "--method",
            help="ips, snips, stratified, dm, dr or sndr. auto: dr with effects or a model, else stratified.",
        ),
    ] = "auto",
    stage: Annotated[
        str | None,
        typer.Option("--stage", help="Stage that is valued. Default: \\[decide].", show_default=False),
    ] = None,
    margin: Annotated[
        float | None,
        typer.Option(
            "--margin", help="Money per unit of the outcome. Default: \\[decide], else 1.", show_default=False
        ),
    ] = None,
    cost: Annotated[
        list[str] | None,
        typer.Option(
            "--cost",
            help="ARM=AMOUNT@EVENT, for example coupon_5=5@conversion; overrides the file.",
            show_default=False,
        ),
    ] = None,
    effects: Annotated[
        Path | None,
        typer.Option(
            "--effects",
            help="Effects of these customers by a model that did not learn from them, for dm, dr and sndr.",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model", help="Cross-fit this model on the log in place of --effects.", show_default=False
        ),
    ] = None,
    other: Annotated[
        str | None,
        typer.Option(
            "--other", help="Another plan to compare with, on the same customers.", show_default=False
        ),
    ] = None,
    clip: Annotated[
        float,
        typer.Option("--clip", help="Largest weight; cutting biases the estimate, which says by how much."),
    ] = float("inf"),
    confidence: Annotated[float, typer.Option("--confidence", help="Level of the intervals.")] = 0.95,
    drop_missing: Annotated[
        bool,
        typer.Option(
            "--drop-missing", help="Leave out customers of the log whom the plan does not decide on."
        ),
    ] = False,
    lenient: Annotated[
        bool,
        typer.Option(
            "--lenient", help="Count customers who cannot be valued as left in control, with a warning."
        ),
    ] = False,
    json: Annotated[
        Path | None, typer.Option("--json", help="Write the result to this file.", show_default=False)
    ] = None,
    seed: Seed = None,
    overwrite: Overwrite = False,
) -> None:
    """Value a plan on a log of randomised customers: against control, what was done, or another plan.

    The plan must not have been made with these customers' outcomes: choose on one part, value on another.

    Example: [bold]uplift value plan.csv --log campaign.toml --effects effects.parquet[/bold]
    """
    from uplift.campaign_file import CampaignFile
    from uplift.errors import UpliftError
    from uplift.io.atomic import write_json
    from uplift.metrics.policy_value import policy_value

    if json is not None:
        refuse_existing(json, overwrite=overwrite)
    if effects is not None and model is not None:
        raise UpliftError("--effects and --model both give predictions; pass one of them.")
    config = CampaignFile.read(log)
    decide = config.decide
    with steps() as progress:
        progress.start("read the log")
        rows = config.load()
        seed = config.split.seed if seed is None else seed
        predictions = _predictions(plan, effects, model, seed)
        progress.start("value the plan")
        found = policy_value(
            rows,
            _plan(plan),
            method=method,  # type: ignore[arg-type]
            stage=stage or (decide.stage if decide else None),
            margin=margin if margin is not None else (decide.margin if decide else None) or 1.0,
            costs=rows.costs | parse_costs(cost),
            effects=predictions,
            other=None if other is None else _plan(other),
            clip=clip,
            confidence=confidence,
            missing="drop" if drop_missing else "error",
            strict=not lenient,
            random_state=seed,
        )
    _show(found)
    if json is not None:
        write_json(json, found.to_dict())
        say(f"result: {json}")


def _plan(given: str) -> Any:
    """A run folder's allocation, a file, or an arm's name (which :func:`policy_value` tells apart)."""
    from uplift.errors import UpliftError
    from uplift.run_folder import ALLOCATION_PARQUET, RunFolder

    if not Path(given).is_dir():
        return given
    file = RunFolder.open(given).path / ALLOCATION_PARQUET
    if not file.exists():
        raise UpliftError(
            f"the run {given} made no allocation; add [decide] to its campaign file and run it again."
        )
    return file


def _predictions(plan: str, effects: Path | None, model: str | None, seed: int) -> Any:
    """Effects from a file, a model to be cross-fitted, or the effects of the run that made the plan."""
    from uplift.effects import Effects
    from uplift.run_folder import EFFECTS

    if model is not None:
        from uplift.models.registry import check_available, make_model

        check_available((model,))
        made = make_model(model)
        if "random_state" in made.parameter_names():
            made.set_params(random_state=seed)
        return made
    if effects is not None:
        return Effects.read_parquet(effects / EFFECTS if effects.is_dir() else effects)
    if Path(plan).is_dir() and (Path(plan) / EFFECTS).exists():
        return Effects.read_parquet(Path(plan) / EFFECTS)
    return None


def _show(found: Any) -> None:
    def number(amount: float) -> str:
        return f"{amount:,.4g}" if abs(amount) < 1000 else f"{amount:,.0f}"

    lines = [
        [row.what, number(row.value), f"{number(row.low)} to {number(row.high)}", number(row.total)]
        for row in found.to_frame().itertuples(index=False)
    ]
    columns = ["", "per customer", f"{100 * found.confidence:g} % interval", f"all {found.rows:,}"]
    say(table(f"{found.definition} of {found.stage}", columns, lines, right=tuple(columns[1:])))
    say(found.method)
    if found.roi is not None:
        roi = found.roi
        say(
            f"incremental value per unit of cost: {number(roi.value)} [{number(roi.low)}, {number(roi.high)}]"
        )
    overlap = found.overlap
    say(
        f"{overlap.matched_rows:,} of {found.rows:,} customers received what the plan gives them ({overlap.matched_share:.1%}); "
        f"effective sample size {overlap.effective_rows:,.0f}, largest weight {overlap.largest_weight:,.3g}"
    )
    for warning in found.warnings:
        complain(warning, "warning")
