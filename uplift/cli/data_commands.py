"""``uplift data`` and ``uplift simulate``."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Annotated

import typer

from uplift.cli.console import say, steps, table
from uplift.cli.options import Overwrite


def register(app: typer.Typer) -> None:
    """Add the commands of this room."""
    data = typer.Typer(no_args_is_help=True, help="Public data sets: list, show, get.")
    data.command("list")(list_data)
    data.command("show")(show)
    data.command("get")(get)
    app.add_typer(data, name="data")
    app.command("simulate")(simulate)


def list_data() -> None:
    """List the public data sets and whether they are on this machine.

    Example: [bold]uplift data list[/bold]
    """
    from rich.text import Text

    from uplift.datasets import find_files, list_datasets
    from uplift.errors import DatasetError

    for card in list_datasets():
        try:
            find_files(card.name)
            where = ("on this machine", "green")
        except DatasetError:
            where = (
                "to download" if card.downloadable else "to fetch by hand, see 'uplift data show'",
                "yellow",
            )
        say(Text.assemble((card.name, "bold"), "  ", card.title))
        facts = f"    randomised: {card.randomised}; chain {' -> '.join(card.roles.chain)}; "
        say(Text.assemble((facts, "dim"), where))


def show(
    name: Annotated[str, typer.Argument(help="Name from 'uplift data list'.", show_default=False)],
) -> None:
    """Show a data set's card: source, terms, roles, published figures, caveats.

    Example: [bold]uplift data show hillstrom[/bold]
    """
    from uplift.datasets import get_card

    card = get_card(name)
    roles = card.roles
    say(f"{card.title}\n")
    lines = {
        "publisher": card.publisher, "source": ", ".join(card.source), "licence": card.licence, "citation": card.citation,
        "randomised": f"{card.randomised}: {card.randomisation}", "treatment": f"{roles.treatment} (control {roles.control})",
        "chain": " -> ".join(roles.chain), "value": roles.value or "none", "to get it": card.obtain,
    }  # fmt: skip
    say(table("", ["field", "value"], [[key, value] for key, value in lines.items()]))
    for figures in card.statistics:
        say(f"\npublished figures: {figures.where}")
        for arm, values in figures.arms.items():
            say(f"  {arm}: " + ", ".join(f"{key} {value:g}" for key, value in values.items()))
    for note in card.notes:
        say(f"\nnote: {note}")


def get(
    name: Annotated[str, typer.Argument(help="Name from 'uplift data list'.", show_default=False)],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="Also write a campaign folder, ready for 'uplift run'.", show_default=False
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Download again although the files are there.")
    ] = False,
    overwrite: Overwrite = False,
) -> None:
    """Fetch a data set (from UPLIFT_DATA_HOME, the cache or its publisher) and check it against its card.

    Example: [bold]uplift data get hillstrom --out campaigns/hillstrom[/bold]
    """
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    from uplift.campaign_file import write_campaign_folder
    from uplift.datasets import DatasetWarning, get_dataset, load_dataset, verify_dataset
    from uplift.io.atomic import check_output_folder

    if out is not None:
        check_output_folder(out, overwrite=overwrite)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bars:
        tasks: dict[str, int] = {}

        def show_bytes(file: str, done: int, total: int | None) -> None:
            if file not in tasks:
                tasks[file] = bars.add_task(file, total=total)
            bars.update(tasks[file], completed=done, total=total)  # type: ignore[arg-type]

        folder = get_dataset(name, progress=show_bytes, force=force)
    say(f"files: {folder}")
    for finding in verify_dataset(name):
        say(f"  {finding.status}: {finding.check}: {finding.detail}")
    if out is not None:
        with steps() as progress, warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", DatasetWarning)
            progress.start("write the campaign")
            written = write_campaign_folder(load_dataset(name), out, overwrite=overwrite)
        for warning in caught:
            say(f"note: {warning.message}")
        say(f"campaign: {written}")


def simulate(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write.", show_default=False)],
    rows: Annotated[int, typer.Option("--rows", "-n", help="Messages sent.")] = 100_000,
    arms: Annotated[int, typer.Option("--arms", help="Coupons beside control.")] = 3,
    numeric: Annotated[int, typer.Option("--numeric", help="Numeric features.")] = 8,
    categorical: Annotated[int, typer.Option("--categorical", help="Categorical features.")] = 3,
    chain: Annotated[
        str, typer.Option("--chain", help="Stages, separated by commas.")
    ] = "impression,click,conversion",
    value: Annotated[bool, typer.Option(help="A value after the last stage.")] = True,
    effect: Annotated[float, typer.Option("--effect", help="Size of all effects; 0 for none.")] = 1.0,
    heterogeneity: Annotated[
        float, typer.Option("--heterogeneity", help="How much effects differ between customers.")
    ] = 1.0,
    chain_bias: Annotated[
        float | None,
        typer.Option(
            "--chain-bias",
            help="Share whose click and conversion uplift have opposite signs.",
            show_default="0.3; 0 for one stage",
        ),
    ] = None,
    do_not_disturb: Annotated[
        float, typer.Option("--do-not-disturb", help="Share with negative conversion uplift.")
    ] = 0.1,
    shares: Annotated[
        str | None,
        typer.Option(
            "--shares", help="Arm shares, control first, separated by commas.", show_default="equal"
        ),
    ] = None,
    confounding: Annotated[
        float, typer.Option("--confounding", help="0: randomised. More: targeted, with true propensities.")
    ] = 0.0,
    strata: Annotated[int, typer.Option("--strata", help="Regions within which coupons are randomised.")] = 0,
    strata_imbalance: Annotated[
        float, typer.Option("--strata-imbalance", help="How much arm shares differ between regions.")
    ] = 0.0,
    missing: Annotated[float, typer.Option("--missing", help="Share of missing feature values.")] = 0.02,
    repeat_units: Annotated[
        float, typer.Option("--repeat-units", help="Share of rows that are further rows of a customer.")
    ] = 0.0,
    seed: Annotated[int, typer.Option("--seed", help="Seed.")] = 0,
    overwrite: Overwrite = False,
) -> None:
    """Simulate a coupon campaign with known effects; writes the truth beside the data.

    Example: [bold]uplift simulate --rows 200000 --arms 4 --out campaigns/simulated[/bold]
    """
    from uplift.cli.options import parse_numbers
    from uplift.simulation import simulate as simulate_campaign

    with steps() as progress:
        progress.start(f"simulate {rows:,} rows")
        simulation = simulate_campaign(
            rows=rows, numeric=numeric, categorical=categorical, arms=arms,
            chain=tuple(stage.strip() for stage in chain.split(",")), value=value, effect=effect,
            heterogeneity=heterogeneity, chain_bias=chain_bias, do_not_disturb=do_not_disturb,
            shares=None if shares is None else parse_numbers(shares, "--shares"), confounding=confounding,
            strata=strata, strata_imbalance=strata_imbalance, missing=missing, repeat_units=repeat_units, seed=seed,
        )  # fmt: skip
        progress.start("write the campaign and its truth")
        simulation.write(out, overwrite=overwrite)
    say(f"campaign: {out / 'campaign.toml'}\ntruth: {out / 'truth.parquet'}")
