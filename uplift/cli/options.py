"""Arguments and options that several commands share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from uplift.errors import UpliftError

CampaignPath = Annotated[
    Path, typer.Argument(metavar="CAMPAIGN.toml", help="The campaign file.", show_default=False)
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]
Seed = Annotated[
    int | None,
    typer.Option("--seed", help="Seed; default: \\[split] seed of the campaign file.", show_default=False),
]
Stream = Annotated[
    bool,
    typer.Option("--stream", help="Leave the data on disk (Parquet or Arrow) and read them block by block."),
]

ParamsFile = Annotated[
    Path | None,
    typer.Option(
        "--params",
        help="TOML file whose \\[models] replace those of the campaign file, such as best.toml of 'uplift tune'.",
        show_default=False,
    ),
]

CheckpointFolder = Annotated[
    Path | None,
    typer.Option(
        "--checkpoint",
        help="Keep the state of long fits in this folder; after an interrupt the same command goes on from there.",
        show_default=False,
    ),
]


def parse_params(given: list[str] | None) -> dict[str, Any]:
    """``["n_estimators=200"]`` as keyword arguments; values are JSON, else text.

    Examples
    --------
    >>> parse_params(["n_estimators=200", "criterion=loss"])
    {'n_estimators': 200, 'criterion': 'loss'}

    Raises
    ------
    UpliftError
        An item without ``=``.
    """
    params = {}
    for item in given or []:
        name, equals, value = item.partition("=")
        if not equals or not name.strip():
            raise UpliftError(
                f"parameter {item!r} is not NAME=VALUE; write for example --param n_estimators=200."
            )
        try:
            params[name.strip()] = json.loads(value)
        except json.JSONDecodeError:
            params[name.strip()] = value
    return params


def refuse_existing(path: Path, *, overwrite: bool) -> None:
    """Stop before work whose result would have nowhere to go.

    Raises
    ------
    UpliftError
        The file exists and `overwrite` is not given.
    """
    if path.exists() and not overwrite:
        raise UpliftError(f"{path} exists already; pass --overwrite to replace it or choose another name.")


def parse_numbers(text: str, option: str) -> list[float]:
    """``"0.4,0.3,0.3"`` as numbers.

    Raises
    ------
    UpliftError
        Something else.
    """
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise UpliftError(
            f"{option} {text!r} is not a list of numbers; write for example 0.4,0.3,0.3."
        ) from None


def parse_costs(given: list[str] | None) -> dict[str, Any]:
    """``["coupon_5=5@conversion", "deal=10%@value"]`` as cost rules by arm.

    Examples
    --------
    >>> parse_costs(["coupon_5=5@conversion"])["coupon_5"].describe()
    '5 per conversion'

    Raises
    ------
    UpliftError
        An item of another form.
    """
    return dict(_parse_cost(item) for item in given or [])


def _parse_cost(item: str) -> tuple[str, Any]:
    from uplift.arms import CostRule

    arm, equals, rule = item.rpartition("=")
    amount, at, event = rule.partition("@")
    try:
        if not (equals and at and arm and event):
            raise ValueError
        if amount.endswith("%"):
            return arm, CostRule(on=event, share=float(amount[:-1]) / 100)
        return arm, CostRule(on=event, amount=float(amount))
    except ValueError:
        raise UpliftError(
            f"cost {item!r} is not ARM=AMOUNT@EVENT; write for example coupon_5=5@conversion, mail=0.1@send or deal=10%@value."
        ) from None
