"""Cards as pages for people: one Markdown file per data set, and the table of all in the README.

``python -m uplift.datasets.pages datasets`` writes them; the cards are the only source.
"""

from __future__ import annotations

import sys
from pathlib import Path

from uplift.datasets.cards import ArmCard, DatasetCard, FileCard, Statistics, list_datasets
from uplift.io.atomic import write_text

BEGIN, END = "<!-- table of cards: generated -->", "<!-- end of table -->"


def page(card: DatasetCard) -> str:
    """The page of one card, as Markdown."""
    lines = [
        f"<!-- generated from uplift/datasets/cards/{card.name}.toml; edit that -->",
        f"# {card.name}: {card.title}",
        "",
        f"- **Publisher**: {card.publisher}",
        f"- **Source**: {', '.join(f'<{url}>' for url in card.source)}",
        f"- **Citation**: {card.citation}",
        f"- **Licence**: {card.licence}",
        f"- **Randomised**: {card.randomised}. {card.randomisation}",
        f"- **How to get it**: {_how(card)}",
    ]
    if card.refused:
        lines += ["", f"> Not loaded as a campaign: {card.refused}"]
    lines += ["", "## Roles", "", "| role | column |", "|---|---|", *_roles(card)]
    if card.arms:
        lines += ["", "## Arms", "", "| arm | meaning | cost |", "|---|---|---|"]
        lines += [f"| `{name}` | {arm.label} | {_cost(arm)} |" for name, arm in card.arms.items()]
    if care := _care(card):
        lines += ["", "## What the loader does", "", *care]
    if card.notes:
        lines += ["", "## Notes", "", *(f"- {note}" for note in card.notes)]
    if card.statistics:
        lines += ["", "## Known figures"]
        for figures in card.statistics:
            lines += ["", *_figures(figures)]
    lines += ["", "## Files", "", "The first form that is complete is used.", ""]
    for form in card.forms:
        how = f" (joined by `{form.join}`)" if form.join else " (stacked)" if len(form.files) > 1 else ""
        lines.append(f"- {form.name}{how}")
        lines += [f"  - {_file(file)}" for file in form.files]
    return "\n".join(lines) + "\n"


def table(cards: list[DatasetCard]) -> str:
    """The table of all data sets, as Markdown."""
    lines = [
        "| data set | what | randomised | arms | chain | licence | download |",
        "|---|---|---|---:|---|---|---|",
    ]
    for card in cards:
        stages = [*card.roles.chain, *([card.roles.value] if card.roles.value else [])]
        get = "yes" if card.downloadable else "by hand"
        arms = str(len(card.arms)) if card.arms else "no control"
        lines.append(
            f"| [{card.name}]({card.name}.md) | {card.title} | {card.randomised} | {arms} | {' -> '.join(stages)} | {card.licence} | {get} |"
        )
    return "\n".join(lines)


def with_table(readme: str, cards: list[DatasetCard]) -> str:
    """`readme` with the table between its markers renewed."""
    head, _, rest = readme.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}\n{table(cards)}\n{END}{tail}"


def write_pages(folder: Path) -> list[Path]:
    """Write the page of every card, and renew the table in README.md, in `folder`."""
    cards = list_datasets()
    readme = folder / "README.md"
    write_text(readme, with_table(readme.read_text(encoding="utf-8"), cards))
    return [readme, *(write_text(folder / f"{card.name}.md", page(card)) for card in cards)]


def _how(card: DatasetCard) -> str:
    if card.downloadable:
        return f"`uplift data get {card.name}`, or by hand: {card.obtain}."
    return f"no address to download from; {card.obtain}."


def _roles(card: DatasetCard) -> list[str]:
    rows = []
    for role, content in card.roles.model_dump().items():
        if content is None or (content == () and role != "features"):
            continue
        if isinstance(content, tuple):
            text = ", ".join(f"`{column}`" for column in content) or "none"
        else:
            text = f"`{content}`"
        rows.append(f"| {role} | {text} |")
    if card.roles.features is None:
        rows.append("| features | every other column |")
    return rows


def _cost(arm: ArmCard) -> str:
    if arm.cost is None:
        return ""
    return (
        f"{arm.cost.share:.0%} of the value"
        if arm.cost.share is not None
        else f"{arm.cost.amount:g} on {arm.cost.on}"
    )


def _care(card: DatasetCard) -> list[str]:
    care = card.care
    return [
        *(f"- keeps the rows with `{column}` = {value}" for column, value in care.keep.items()),
        *(f"- makes `{new}` = 1 where `{amount}` > 0" for new, amount in care.derive.items()),
        *(
            f"- makes `{column}` missing outside {low:g}..{high:g}, with a warning"
            for column, (low, high) in care.missing_outside.items()
        ),
        *(f"- drops rows with a missing `{column}`, with a warning" for column in care.drop_missing),
    ]


def _figures(figures: Statistics) -> list[str]:
    kind = "; the data here are a sample of these" if figures.sampled else ""
    lines = [f"By {figures.where}{kind}.", ""]
    if figures.rows is not None:
        lines += [f"Rows: {figures.rows:,}.", ""]
    stages = list(dict.fromkeys(stage for values in figures.arms.values() for stage in values))
    everyone = {"all": figures.overall} if figures.overall else {}
    stages = list(dict.fromkeys([*stages, *figures.overall]))
    lines += [f"| arm | {' | '.join(stages)} |", f"|---|{'---:|' * len(stages)}"]
    for arm, values in {**everyone, **figures.arms}.items():
        cells = [_number(stage, values.get(stage)) for stage in stages]
        lines.append(f"| {arm} | {' | '.join(cells)} |")
    return lines


def _number(stage: str, value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if stage == "rows" else f"{value:.7g}"


def _file(file: FileCard) -> str:
    parts = [f"`{file.path}`"]
    parts += [f"{file.rows:,} rows"] if file.rows else []
    parts += [f"{file.bytes:,} bytes"] if file.bytes else []
    parts += [f"sha256 `{file.sha256}`"] if file.sha256 else []
    parts += [f"md5 `{file.md5}`"] if file.md5 and not file.sha256 else []
    parts += [f"from <{url}>" for url in file.urls]
    return ", ".join(parts)


if __name__ == "__main__":
    write_pages(Path(sys.argv[1] if len(sys.argv) > 1 else "datasets"))
