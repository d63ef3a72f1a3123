"""``uplift models``: what each model supports, and the parameters of one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from uplift.cli.console import say

if TYPE_CHECKING:
    from rich.console import RenderableType

    from uplift.models.cards import ModelCard

WIDE = 132
"""From this width on there is room for one table with a column per property."""

FAMILIES = {
    "ecup": "ECUP", "deep": "Networks", "blend": "Mixtures", "classical": "Classical", "reference": "References",
}  # fmt: skip

_FACTS = ("arms", "stages", "value", "propensity", "intervals", "gpu", "cost", "source")
_TITLES = {"gpu": "GPU", "source": "paper"}
_FIXED = {"propensity": 10, "intervals": 12, "gpu": 3}
_SHARES = {"arms": 15, "stages": 15, "value": 15, "cost": 13, "source": 19}


def register(app: typer.Typer) -> None:
    """Add the commands of this room."""
    app.command("models")(models)


def models(
    name: Annotated[str | None, typer.Argument(help="Show only this model.", show_default=False)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
) -> None:
    """List every model with what it supports; with a name, its parameters and what 'uplift tune' searches.

    Example: [bold]uplift models[/bold] or [bold]uplift models ecup[/bold]
    """
    import json
    from dataclasses import asdict

    from uplift.models.registry import list_models, model_card

    if name is None:
        cards = list_models()
        say(json.dumps([asdict(card) for card in cards], indent=2) if as_json else _listing(cards))
        return
    card, parameters = model_card(name), _parameters(name)
    if as_json:
        say(json.dumps([{**asdict(card), "parameters": parameters}], indent=2))
        return
    say(_one(card, parameters))


def _listing(cards: list[ModelCard]) -> RenderableType:
    """All models by family: a table where there is room, else a paragraph each."""
    from rich.console import Console, Group
    from rich.text import Text

    draw = _table if Console().width >= WIDE else _paragraphs
    parts: list[RenderableType] = []
    # Families in the order in which they are listed; one that this file has no words for keeps its name.
    for family in dict.fromkeys(card.family for card in cards):
        parts += [
            Text(FAMILIES.get(family, family), style="bold underline"),
            *draw([card for card in cards if card.family == family]),
            Text(),
        ]
    parts += [Text(f"{card.name} cannot be fitted here: {why}", "yellow") for card, why in _missing(cards)]
    parts.append(Text("Parameters of one, and what 'uplift tune' searches: uplift models NAME", style="dim"))
    return Group(*parts)


def _missing(cards: list[ModelCard]) -> list[tuple[ModelCard, str]]:
    return [(card, why) for card in cards if (why := card.unavailable()) is not None]


def _table(cards: list[ModelCard]) -> list[RenderableType]:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    from uplift.models.registry import MODEL_NAMES

    drawn = Table(
        box=SIMPLE_HEAD,
        header_style="bold",
        show_edge=False,
        pad_edge=False,
        expand=True,
        padding=(0, 1, 0, 0),
    )
    drawn.add_column("name", width=max(map(len, MODEL_NAMES)), overflow="fold")
    for fact in _FACTS:
        title = _TITLES.get(fact, fact)
        if fact in _FIXED:
            drawn.add_column(title, width=_FIXED[fact], overflow="fold")
        else:
            drawn.add_column(title, ratio=_SHARES[fact], overflow="fold")
    for card in cards:
        what = Text.assemble((card.name, "bold"), "\n", (card.title, "dim"))
        drawn.add_row(what, *(Text(_short(card, fact)) for fact in _FACTS))
    return [drawn]


def _paragraphs(cards: list[ModelCard]) -> list[RenderableType]:
    from rich.padding import Padding
    from rich.text import Text

    parts: list[RenderableType] = []
    for card in cards:
        facts = "; ".join(f"{_TITLES.get(fact, fact)}: {_short(card, fact)}" for fact in _FACTS)
        parts += [
            Text.assemble((card.name, "bold"), "  ", card.title),
            Padding(Text(facts, style="dim"), (0, 0, 0 if card is cards[-1] else 1, 4)),
        ]
    return parts


def _short(card: ModelCard, fact: str) -> str:
    """A property in the words of the card, up to where it goes into detail."""
    value = getattr(card, fact)
    if isinstance(value, bool) or value == "":
        return "yes" if value else "no"
    if fact == "propensity" and value.startswith("row weights"):
        return "row weights"
    if fact == "source":
        return str(value.partition(", doi ")[0])
    for mark in ("; ", ": ", ", "):
        value = value.partition(mark)[0]
    return str(value)


def _one(card: ModelCard, parameters: list[dict[str, Any]]) -> RenderableType:
    """Everything about one model."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(overflow="fold")
    for fact in _FACTS:
        value = getattr(card, fact)
        facts.add_row(
            _TITLES.get(fact, fact),
            Text(("yes" if value else "no") if isinstance(value, bool) or value == "" else value),
        )
    listed = Table(header_style="bold", show_edge=False, pad_edge=False)
    # Names stay whole: they are what is copied.
    listed.add_column("parameter", no_wrap=True, min_width=max(len(row["name"]) for row in parameters))
    for column in ("default", "allowed", "uplift tune searches"):
        listed.add_column(column, overflow="fold")
    for row in parameters:
        default = "none" if row["default"] is None else str(row["default"])
        listed.add_row(
            Text(row["name"], "bold" if row["searched"] else ""),
            *(Text(cell) for cell in (default, row["allowed"] or "", row["searched"] or "")),
        )
    parts: list[RenderableType] = [
        Text.assemble((card.name, "bold"), "  ", card.title), Text(), facts, Text(), listed
    ]  # fmt: skip
    parts += [Text(f"\ncannot be fitted here: {why}", "yellow") for _, why in _missing([card])]
    return Group(*parts)


def _parameters(name: str) -> list[dict[str, Any]]:
    """Name, default, allowed values and search range of every parameter; plain JSON types."""
    import json

    from uplift.models.registry import make_model
    from uplift.tuning.space import default_space

    model, space = make_model(name), default_space(name)
    defaults = json.loads(json.dumps(model.get_params()))
    return [
        {
            "name": parameter,
            "default": default,
            "allowed": model.rules[parameter].expected if parameter in model.rules else None,
            "searched": str(space[parameter]) if parameter in space else None,
        }
        for parameter, default in defaults.items()
    ]
