"""Find the arms of a campaign in its treatment column, and match them with what is declared about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from uplift import columns
from uplift.arms import Arm, CostRule, natural_key
from uplift.errors import CampaignError, did_you_mean
from uplift.roles import Roles

MAX_ARMS = 1000


def arm_text(value: str | int | float | bool) -> str:
    """Text of an arm's value, as :func:`uplift.columns.labels` writes it."""
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def find_arms(column: pa.ChunkedArray, roles: Roles) -> list[str]:
    """Names of the arms in a treatment column, control first."""
    return order_arms(arm_words(column, roles), roles)


def arm_words(column: pa.ChunkedArray, roles: Roles) -> set[str]:
    """Texts that a treatment column, or a part of it, holds."""
    if pa.types.is_nested(column.type) or columns.is_time(column):
        raise CampaignError(
            f"treatment column {roles.treatment!r} holds {column.type}; it must be text, numbers or booleans."
        )
    nulls = column.null_count
    if pa.types.is_floating(column.type):
        nulls += int(pc.sum(pc.is_nan(column)).as_py() or 0)
    if nulls:
        raise CampaignError(
            f"treatment column {roles.treatment!r} is missing in {nulls:,} of {len(column):,} rows; write the control's name for customers who got nothing, or drop them."
        )
    if pa.types.is_floating(column.type) and not pc.all(columns.whole(column)).as_py():
        raise CampaignError(
            f"treatment column {roles.treatment!r} holds fractions or infinite numbers; it must name arms, so make it text or whole numbers."
        )
    encoded = columns.labels(column)
    present = np.unique(encoded.indices.to_numpy(zero_copy_only=False))
    words = encoded.dictionary.to_pylist()
    return {words[index] for index in present}


def order_arms(words: set[str], roles: Roles) -> list[str]:
    """Control first, then the other arms in natural order.

    Raises
    ------
    CampaignError
        No control, nothing but control, or so many values that they cannot be arms.
    """
    names = sorted(words, key=natural_key)
    if roles.control not in names:
        raise CampaignError(
            f"the control arm {roles.control!r} is not in column {roles.treatment!r}; {did_you_mean(roles.control, names)}"
        )
    if len(names) > MAX_ARMS:
        raise CampaignError(
            f"treatment column {roles.treatment!r} has {len(names):,} different values (at most {MAX_ARMS:,}); it looks like an id."
        )
    if len(names) == 1:
        raise CampaignError(
            f"every row of {roles.treatment!r} is the control {roles.control!r}; a campaign needs at least one treated arm."
        )
    return [roles.control, *(name for name in names if name != roles.control)]


def declare_arms(
    found: list[str], roles: Roles, declared: Mapping[str, Arm | Mapping[str, Any]]
) -> tuple[Arm, ...]:
    arms = {name: Arm(name=name) for name in found}
    for key, given in declared.items():
        name = arm_text(key)
        if name not in arms:
            raise CampaignError(
                f"arm {name!r} has no rows in column {roles.treatment!r}; {did_you_mean(name, found)}"
            )
        arms[name] = _arm(name, given)
    planned = [arm for arm in arms.values() if arm.share is not None]
    if planned and (len(planned) < len(arms) or abs(sum(arm.share or 0.0 for arm in planned) - 1) > 1e-6):
        raise CampaignError(
            f"planned shares are given for {len(planned)} of {len(arms)} arms and add up to {sum(arm.share or 0.0 for arm in planned):g}; give one to every arm, control included, adding up to 1."
        )
    if arms[roles.control].cost is not None:
        raise CampaignError(
            f"the control arm {roles.control!r} has a cost; control means doing nothing, remove it."
        )
    return tuple(arms.values())


def described_arms(described: Mapping[str, Arm | Mapping[str, Any]], roles: Roles) -> tuple[Arm, ...]:
    """Treated arms that need no rows, in natural order.

    Raises
    ------
    CampaignError
        There is none, or one is the control.
    """
    arms = [_arm(arm_text(key), given) for key, given in described.items()]
    if not arms:
        raise CampaignError("arms names no treated arm; name one, or leave arms out.")
    if roles.control in {arm.name for arm in arms}:
        raise CampaignError(f"arms names the control {roles.control!r}, which is always there; leave it out.")
    return tuple(sorted(arms, key=lambda arm: natural_key(arm.name)))


def _arm(name: str, given: Arm | Mapping[str, Any]) -> Arm:
    if isinstance(given, Arm):
        return replace(given, name=name)
    cost = given.get("cost")
    rest = {part: content for part, content in given.items() if part != "cost"}
    return Arm(name=name, cost=CostRule(**cost) if isinstance(cost, Mapping) else cost, **rest)
