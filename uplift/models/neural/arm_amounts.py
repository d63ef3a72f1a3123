"""What an arm embedding over amounts is told: the attributes of training arms, and of arms to be scored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from uplift.arms import Arm
from uplift.errors import ModelError
from uplift.io.toml import toml_key

Attributes = tuple[float, float]
"""Amount and threshold of a treated arm, in money; without a threshold it is 0: redeemable at any spend."""


def training_attributes(arms: Sequence[Arm], *, distinct: bool, model: str) -> list[Attributes]:
    """Attributes of the treated training `arms`.

    Parameters
    ----------
    arms : sequence of Arm
        Treated arms.
    distinct : bool
        Whether no two may be alike, because nothing else tells them apart.
    model : str
        Name for the complaint.

    Raises
    ------
    ModelError
        An arm has no amount, all are alike, or two are and must not be.
    """
    found = [_attributes(arm, model) for arm in arms]
    if len(set(found)) == 1:
        raise ModelError(
            f"model {model!r}: all {len(found)} treated arm(s) have {_shown(found[0])}, which tells nothing about "
            f"other amounts; use arm_encoding='id'."
        )
    if distinct:
        for position, attributes in enumerate(found):
            first = found.index(attributes)
            if first < position:
                raise ModelError(
                    f"model {model!r}: arms {arms[first].name!r} and {arms[position].name!r} both have "
                    f"{_shown(attributes)}; use arm_encoding='both' to tell them apart."
                )
    return found


class ScoredArms(NamedTuple):
    """Treated arms to be scored.

    Attributes
    ----------
    attributes : Tensor [k, 2] float64
        Amount and threshold.
    trained : Tensor [k] int64
        Position of the same arm among the treated training arms, -1 for a new one.
    beyond : tuple of str
        Names of arms whose amount or threshold lies outside the training range.
    """

    attributes: Tensor
    trained: Tensor
    beyond: tuple[str, ...]


def scored_arms(
    arms: Sequence[Arm], *, names: Sequence[str], known: Sequence[Attributes], model: str
) -> ScoredArms:
    """Attributes of the treated `arms` to be scored, by a model trained on arms `names` with attributes `known`.

    An arm that goes by the name of a training arm and is said to have neither amount nor threshold is that arm.
    One that is said to have others is a new coupon under an old name.

    Raises
    ------
    ModelError
        A new arm has no amount, or a threshold where all training arms have the same other one.
    """
    trained_by_name = dict(zip(names, known, strict=True))
    ranges = [sorted(column) for column in zip(*known, strict=True)]
    found, trained, beyond = [], [], []
    for arm in arms:
        same = arm.name in trained_by_name and arm.amount is None and arm.threshold is None
        attributes = trained_by_name[arm.name] if same else _attributes(arm, model)
        for what, value, seen in zip(("amount", "threshold"), attributes, ranges, strict=True):
            if seen[0] == seen[-1] != value:
                raise ModelError(
                    f"model {model!r}: arm {arm.name!r} has the {what} {value:g}, but all training arms have {seen[0]:g}, "
                    f"which tells nothing about others; train it on a campaign whose arms differ in {what}."
                )
        if any(not seen[0] <= value <= seen[-1] for value, seen in zip(attributes, ranges, strict=True)):
            beyond.append(arm.name)
        found.append(attributes)
        trained.append(list(names).index(arm.name) if trained_by_name.get(arm.name) == attributes else -1)
    return ScoredArms(
        torch.tensor(found, dtype=torch.float64).reshape(-1, 2), torch.tensor(trained), tuple(beyond)
    )


def _attributes(arm: Arm, model: str) -> Attributes:
    if arm.amount is None:
        raise ModelError(
            f"model {model!r}: arm {arm.name!r} has no amount, by which arm_encoding tells arms; "
            f"add for example [arms.{toml_key(arm.name)}] amount = 5.0, or train with arm_encoding='id'."
        )
    return float(arm.amount), float(arm.threshold or 0.0)


def _shown(attributes: Attributes) -> str:
    amount, threshold = attributes
    return f"the amount {amount:g}" + (f" from {threshold:g}" if threshold else "")
