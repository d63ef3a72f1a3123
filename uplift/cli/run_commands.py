"""``uplift run``, ``uplift demo`` and ``uplift check``."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from uplift.cli.console import say, steps, table
from uplift.cli.options import CampaignPath, CheckpointFolder, Overwrite, ParamsFile, Seed

DEMO_ROWS = 80_000
DEMO_FOLDER = Path("reports/demo")


def register(app: typer.Typer) -> None:
    """Add the commands of this room."""
    app.command("run")(run)
    app.command("demo")(demo)
    app.command("check")(check)


def run(
    campaign: CampaignPath,
    out: Annotated[Path, typer.Option("--out", "-o", help="Run folder to write.", show_default=False)],
    overwrite: Overwrite = False,
    force: Annotated[
        bool, typer.Option("--force", help="Go on although an experiment check failed.")
    ] = False,
    seed: Seed = None,
    checkpoint: CheckpointFolder = None,
    params: ParamsFile = None,
) -> None:
    """Run a campaign file from data to decision and write a run folder.

    Example: [bold]uplift run campaign.toml --out reports/spring[/bold]
    """
    from uplift.campaign_file import CampaignFile
    from uplift.errors import UpliftError
    from uplift.pipeline import run as run_pipeline

    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UpliftError(
            "'uplift run' is one process; start it without torchrun, or fit a large model with 'torchrun -m uplift fit'."
        )
    config = CampaignFile.read(campaign)
    with steps() as progress:
        result = run_pipeline(
            config if params is None else config.with_params(params),
            out,
            overwrite=overwrite,
            force=force,
            seed=seed,
            checkpoint=checkpoint,
            progress=progress,
        )
    _conclude(result.folder)


def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Run folder to write.")] = DEMO_FOLDER,
    rows: Annotated[int, typer.Option("--rows", min=2_000, help="Simulated customers.")] = DEMO_ROWS,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the simulated campaign and of the run.")] = 0,
    overwrite: Overwrite = False,
) -> None:
    """Simulate a coupon campaign and run it from data to decision; needs no data.

    Example: [bold]uplift demo --out reports/demo[/bold]
    """
    from uplift.io.atomic import check_output_folder
    from uplift.pipeline import run as run_pipeline
    from uplift.simulation import simulate

    check_output_folder(out, overwrite=overwrite)
    with tempfile.TemporaryDirectory() as scratch, steps() as progress:
        progress.start(f"simulate {rows:,} customers")
        folder = Path(scratch) / "campaign"
        simulate(rows=rows, seed=seed).write(folder)
        # The campaign goes into the run folder too, so that the demo can be run again from there.
        files = {name: folder / name for name in ("campaign.parquet", "campaign.toml", "truth.parquet")}
        result = run_pipeline(
            folder / "campaign.toml",
            out,
            overwrite=overwrite,
            seed=seed,
            extra_files=files,
            progress=progress,
        )
    _conclude(result.folder)


def check(
    campaign: CampaignPath,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Also write the results as JSON.", show_default=False)
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Is this experiment fit to learn from? Exit code 1 when a check fails.

    Example: [bold]uplift check campaign.toml[/bold]
    """
    from uplift.campaign import Campaign
    from uplift.cli.options import refuse_existing
    from uplift.io.atomic import write_json

    if out is not None:
        refuse_existing(out, overwrite=overwrite)
    with steps() as progress:
        progress.start("read the campaign")
        loaded = Campaign.from_file(campaign)
        progress.start("check the experiment")
        report = loaded.check()
    from rich.text import Text

    colours = {"pass": "green", "warn": "yellow", "fail": "bold red"}
    rows = [
        [Text(result.status, colours[result.status]), result.check, result.detail]
        for result in report.results
    ]
    say(table(f"{loaded.name}: {report.status}", ["status", "check", "detail"], rows))
    if out is not None:
        write_json(out, report.to_list())
    if report.status == "fail":
        raise typer.Exit(1)


def _conclude(folder: Path) -> None:
    """Say what came out and where it lies."""
    from uplift.run_folder import ALLOCATION_CSV, ALLOCATION_JSON, REPORT, RUN, RunFolder

    done = RunFolder(folder)
    described = done.read_json(RUN)
    say(f"\nmodel: {described['chosen_model']} ({described['chosen_because']})")
    if (folder / ALLOCATION_JSON).exists():
        plan = done.read_json(ALLOCATION_JSON)
        worth = plan["policy_value"]
        budget = "no limit" if plan["budget"] is None else f"{plan['budget']:,.2f}"
        say(
            f"plan: expected value {plan['expected_value']:,.2f} for {plan['expected_cost']:,.2f} of {budget} (certified gap {plan['gap']:.1e})"
        )
        say(
            f"      worth {worth['value']:,.2f} [{worth['low']:,.2f}, {worth['high']:,.2f}] by {worth['matched_rows']:,} randomised customers ({worth['population']})"
        )
        say(f"allocation: {folder / ALLOCATION_CSV}")
    say(f"report: {folder / REPORT}")
