"""``uplift init``: a commented campaign file from an unknown data file."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from uplift.cli.console import say, steps, table
from uplift.cli.options import Overwrite

if TYPE_CHECKING:
    from uplift.inspection import Guess, Inspection

Answers = dict[str, str | tuple[str, ...] | None]
NONE = "-"
"""What a person types for "there is none"."""
MOST = 5
"""Columns about which it is asked whether they were known before."""
_QUESTIONS = {
    "treatment": "Which column says what each customer got?",
    "control": "Which of its values means 'nothing was sent'?",
    "chain": "Which columns are the outcomes, from first to last, separated by commas?",
    "value": "Which column holds the money that followed?",
    "unit": "Which column identifies the customer?",
    "time": "Which column says when the customer was assigned?",
    "strata": "Within which columns was the treatment randomised?",
    "propensity": "Which column holds the probability of what the customer got?",
    "weight": "Which column holds the sampling weight?",
}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("init")(init)


def init(
    data: Annotated[
        str, typer.Argument(help="Parquet or CSV: a file, a glob or a folder.", show_default=False)
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Campaign file to write.")] = Path("campaign.toml"),
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Ask nothing: take the best guess and say which were unsure.")
    ] = False,
    treatment: Annotated[
        str | None, typer.Option(help="Column with what each customer got.", show_default="guessed")
    ] = None,
    control: Annotated[
        str | None, typer.Option(help="Its value for customers who got nothing.", show_default="guessed")
    ] = None,
    chain: Annotated[
        str | None,
        typer.Option(help="Outcome columns, first to last, separated by commas.", show_default="guessed"),
    ] = None,
    value: Annotated[
        str | None,
        typer.Option(help="Column with the money that followed; - for none.", show_default="guessed"),
    ] = None,
    unit: Annotated[
        str | None,
        typer.Option(help="Column that identifies the customer; - for none.", show_default="guessed"),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the campaign.", show_default="the file's")] = None,
    overwrite: Overwrite = False,
) -> None:
    """Look at a data file and write a commented campaign.toml with the role of every column.

    Asks where it is unsure. Where the data need mending (yes/no for 0/1, decimal commas, empty cells for control) it
    writes a mended Parquet copy beside the campaign file and says what was changed; your file stays as it is.

    Example: [bold]uplift init log.csv --out campaign.toml[/bold]
    """
    from uplift.cli.options import refuse_existing
    from uplift.inspection import inspect
    from uplift.inspection.write import campaign_toml
    from uplift.io.atomic import atomic_path

    refuse_existing(out, overwrite=overwrite)
    answers: Answers = {}
    for role, said in (("treatment", treatment), ("control", control), ("value", value), ("unit", unit)):
        if said is not None:
            answers[role] = None if said == NONE else said
    if chain is not None:
        answers["chain"] = tuple(part.strip() for part in chain.split(",") if part.strip())
    with steps() as progress:
        progress.start(f"read {data}")
        found = inspect(data, answers=answers)
    if not yes:
        found = _ask_all(found, answers)
    _refuse_incomplete(found)

    short = name or _name_of(data)
    source = os.path.relpath(Path(data).expanduser(), out.parent)
    if found.mended is not None:
        import pyarrow.parquet as pq

        copy = out.parent / f"{out.stem}.data.parquet"
        refuse_existing(copy, overwrite=overwrite)
        with atomic_path(copy) as file:
            pq.write_table(found.mended, file, compression="zstd")
        source = copy.name
    with atomic_path(out) as file:
        file.write_text(campaign_toml(found, data=source, name=short), encoding="utf-8")
    _show(found, out)
    _try(out, short)


def _name_of(data: str) -> str:
    """A name for the campaign: the file's without its endings, or the folder's for a glob."""
    path = Path(data).expanduser()
    for part in (path.name, path.parent.name):
        short = part.split(".")[0].strip("*?-_ ")
        if short:
            return short
    return "campaign"


def _ask_all(found: Inspection, answers: Answers) -> Inspection:
    """Ask about every unsure guess, guessing again after each answer."""
    asked: set[str] = set()
    while open_ := [guess for guess in found.proposal.unsure if guess.role not in asked]:
        guess = open_[0]
        asked.add(guess.role)
        answers[guess.role] = _ask(guess, found)
        found = found.with_answers(answers)
    excluded, doubtful = found.proposal.excluded, found.proposal.doubtful
    suspects = {name: why for name, why in excluded.items() if why.startswith("suspected")}
    keep = tuple(name for name in list(suspects)[:MOST] if _known_before(name, suspects[name], best="n"))
    drop = tuple(name for name in list(doubtful)[:MOST] if not _known_before(name, doubtful[name], best="y"))
    if keep or drop:
        found = found.with_answers({**answers, "keep": keep, "drop": drop})
    return found


def _ask(guess: Guess, found: Inspection) -> str | tuple[str, ...] | None:
    many = guess.role in ("chain", "strata")
    best = ",".join(guess.value) if isinstance(guess.value, tuple) else guess.value
    say(f"\n{_QUESTIONS[guess.role]}")
    say(f"  {guess.why}" + (f"; candidates: {', '.join(guess.options[:10])}" if guess.options else ""))
    required = guess.role in ("treatment", "control", "chain")
    valid = found.columns if guess.role != "control" else (guess.value, *guess.options)
    while True:
        said = _prompt("  Enter for the guess" + ("" if required else f", {NONE} for none"), best or None)
        if said == NONE and not required:
            return None
        names = tuple(part.strip() for part in said.split(",")) if many else (said.strip(),)
        wrong = [name for name in names if name not in valid]
        if not wrong and all(names):
            return names if many else names[0]
        from uplift.errors import did_you_mean

        say(
            f"  there is no {wrong[0] if wrong else said!r}; "
            + did_you_mean(wrong[0] if wrong else said, [str(v) for v in valid])
        )


def _known_before(name: str, why: str, *, best: str) -> bool:
    say(f"\nWas {name!r} known before the campaign?\n  {why}")
    return _prompt("  y or n", best).strip().lower().startswith("y")


def _prompt(words: str, best: str | None) -> str:
    from uplift.errors import UpliftError

    try:
        return str(typer.prompt(words, default=best))
    except (typer.Abort, EOFError):
        raise UpliftError(
            "nobody answered; pass --yes to take the best guesses, or name the columns (uplift init --help)."
        ) from None


def _refuse_incomplete(found: Inspection) -> None:
    from uplift.errors import CampaignError
    from uplift.io.tables import join_names

    columns = join_names(found.columns, limit=20)
    if found.proposal.column("treatment") is None:
        raise CampaignError(
            f"no column of {found.source} reads like a treatment (what each customer got); name it with --treatment. Columns: {columns}."
        )
    if not found.proposal.chain:
        raise CampaignError(
            f"no column of {found.source} reads like an outcome; name it with --chain, or --value for an amount. Columns: {columns}."
        )


def _show(found: Inspection, out: Path) -> None:
    from rich.text import Text

    colours = {"sure": "green", "likely": "green", "unsure": "bold yellow"}
    proposal = found.proposal
    rows: list[list[object]] = []
    for guess in proposal.guesses.values():
        shown = " -> ".join(guess.value) if isinstance(guess.value, tuple) else guess.value or "none"
        rows.append([guess.role, shown, Text(guess.sure, colours[guess.sure]), guess.why])
    features = ", ".join(proposal.features[:8]) + (
        f" and {len(proposal.features) - 8} more" if len(proposal.features) > 8 else ""
    )
    rows.append(["features", features or "none", "", f"{len(proposal.features)} columns"])
    say(table(f"{found.source}: {found.n_rows:,} rows", ["role", "column", "", "why"], rows))
    for column, why in proposal.excluded.items():
        say(f"  not used: {column}: {why}")
    for repair in found.repairs:
        say(f"  mended: {repair}")
    for note in proposal.notes:
        say(f"note: {note}")
    unsure = proposal.unsure
    if unsure:
        say(
            f"unsure: {', '.join(guess.role for guess in unsure)}: please look at {'it' if len(unsure) == 1 else 'them'} in {out}"
        )


def _try(out: Path, name: str) -> None:
    """Load what was written, so that what is still wrong is said now."""
    from uplift.campaign_file import CampaignFile
    from uplift.errors import UpliftError

    say(f"\nwritten: {out}")
    try:
        campaign = CampaignFile.read(out).load()
    except UpliftError as error:
        raise UpliftError(f"{out} still needs you: {error}") from None
    if not campaign.feature_names:
        say(
            "note: there are no features, so 'uplift check' works, and 'uplift run' has nothing to learn from; add columns known before the campaign."
        )
        return
    file, folder = shlex.quote(str(out)), shlex.quote(f"reports/{name}")
    say(f"next:    uplift check {file}\n         uplift run {file} --out {folder}")
