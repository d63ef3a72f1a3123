"""The commented ``campaign.toml`` of an inspection."""

from __future__ import annotations

import re

from uplift.inspection.guess import Guess
from uplift.inspection.propose import Inspection
from uplift.io.toml import toml_key, toml_value

_SURE = {"sure": "sure", "likely": "likely", "unsure": "UNSURE, please look"}
_WIDE = 60
"""Features up to which each gets a line of its own."""


def campaign_toml(found: Inspection, *, data: str, name: str) -> str:
    """Text of a campaign file with the reason of every guess.

    Parameters
    ----------
    found : Inspection
    data : str
        Path of the data as seen from the file.
    name : str
        Name of the campaign.
    """
    proposal = found.proposal
    lines = [
        f"# Written by 'uplift init' from {found.source} ({found.n_rows:,} rows, {len(found.columns)} columns).",
        "# Every role below is a guess with its reason; correct what is wrong. What to type next:",
        "#     uplift check FILE      is the experiment sound?",
        "#     uplift run FILE --out reports/FOLDER",
    ]
    if found.repairs:
        lines += [
            "#",
            f"# {data} is a mended copy of the data:",
            *(f"#   - {_flat(repair)}" for repair in found.repairs),
        ]
    lines += [*(f"# note: {note}" for note in proposal.notes), "", "[campaign]"]
    lines += [f"name = {toml_value(name)}", f"data = {toml_value(data)}"]
    guesses = proposal.guesses
    for role in ("unit", "treatment", "control", "chain", "value", "strata", "propensity", "time", "weight"):
        guess = guesses.get(role)
        if guess is not None and guess.value:
            lines += [_because(guess), f"{role} = {toml_value(_listed(guess))}"]
        elif role == "unit":
            lines.append(
                "# unit: no column reads like a customer id, so every row counts as a customer of its own"
            )
    lines += ["", "# What to learn from: known before the campaign, for everybody.", *_features(found)]
    if proposal.categorical:
        lines.append(f"categorical = {toml_value(list(proposal.categorical))}")
    if proposal.excluded:
        lines += ["", "# Never features, and why."]
        lines += ["exclude = ["]
        lines += [f"  {toml_value(column)},  # {_flat(why)}" for column, why in proposal.excluded.items()]
        lines += ["]"]
    return "\n".join([*lines, "", *_money(found)]) + "\n"


def _because(guess: Guess) -> str:
    others = f"; others: {', '.join(guess.options[:6])}" if guess.sure == "unsure" and guess.options else ""
    return f"# {_SURE[guess.sure]}: {_flat(guess.why)}{_flat(others)}"


def _listed(guess: Guess) -> object:
    return list(guess.value) if isinstance(guess.value, tuple) else guess.value


def _features(found: Inspection) -> list[str]:
    names = found.proposal.features
    if len(names) > _WIDE:
        return [f"features = {toml_value(list(names))}"]
    if not names:
        return [
            "# There is none: models need at least one column that was known before the campaign.",
            "features = []",
        ]
    return ["features = [", *(f"  {toml_value(name)},  # {found.kinds.get(name, '')}" for name in names), "]"]


def _money(found: Inspection) -> list[str]:
    """The decision, commented out: what money is worth only the reader knows."""
    stage = found.proposal.chain[-1] if found.proposal.chain else "conversion"
    lines = [
        "# To get a plan of who gets what, take away the '# ' below and fill in your own money:",
        '# what each coupon costs (on = "send" or a stage), what the outcome is worth, and the budget.',
    ]
    for arm in found.arms[1:]:
        amount = re.search(r"\d+(?:[.,]\d+)?", arm) if not arm.isdigit() else None
        worth = float(amount.group().replace(",", ".")) if amount else 1.0
        lines += [f"# [arms.{toml_key(arm)}]", f"# cost = {{ on = {toml_value(stage)}, amount = {worth} }}"]
    lines += ["# [decide]"]
    if found.proposal.column("value") is not None:
        lines += ['# stage = "value"']
    else:
        lines += [f"# margin = 40.0      # money per {_flat(stage)}"]
    return [
        *lines,
        "# budget = 1000.0",
        "# holdout = 0.05     # stay without, so that the plan can be measured",
    ]


def _flat(text: str) -> str:
    """One line, without control characters, so that it can stand in a comment."""
    return "".join(mark if mark.isprintable() else " " for mark in text)
