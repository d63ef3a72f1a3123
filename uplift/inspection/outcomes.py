"""Find the chain of stages, in nested order, and the value that follows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from uplift.inspection import relations, words
from uplift.inspection.profile import Profile

BLANK = "none"
"""Name that rows without an arm get."""
STRAY = 0.01
"""Share of a later stage's rows that may lack the earlier one; checks call more than that no chain."""

BY_CHANCE = 10
"""Expected rows from which none in the control arm is no chance (probability e^-10)."""

From = Literal["as it is", "flags", "filled", "above 0"]


@dataclass(frozen=True)
class Stage:
    """Where a stage comes from.

    Attributes
    ----------
    column : str
    how : {"as it is", "flags", "filled", "above 0"}
        0/1 already; yes/no or with gaps; 1 where something stands (``clicked_at``); 1 where the amount is above 0.
    """

    column: str
    how: From


@dataclass(frozen=True)
class Outcomes:
    """Chain and value, and columns that are outcomes but fit nowhere.

    Attributes
    ----------
    reached : tuple of ndarray [row]
        0/1 per stage, in order.
    """

    stages: Mapping[str, Stage]
    reached: tuple[np.ndarray, ...]
    chain_sure: Any
    chain_why: str
    options: tuple[str, ...]
    value: str | None
    value_sure: Any
    value_why: str
    excluded: Mapping[str, str]
    notes: tuple[str, ...]


def as_stage(column: Profile, how: From) -> np.ndarray:
    """0/1 [row] of a column."""
    if how == "filled":
        return (column.codes >= 0).astype(np.int8)
    assert column.numbers is not None
    result: np.ndarray = (np.nan_to_num(column.numbers) > 0).astype(np.int8)
    return result


def find_outcomes(
    profiles: Sequence[Profile], arm: np.ndarray, control: int, *, chain: Any = None, value: Any = ""
) -> Outcomes:
    """Find chain and value.

    Parameters
    ----------
    profiles : sequence of Profile
        Without the treatment and what it determines.
    arm : ndarray of int [row]
    control : int
        Code of the control in `arm`.
    chain, value : optional
        Answers that are known already.
    """
    by_name = {column.name: column for column in profiles}
    excluded: dict[str, str] = {}
    notes: list[str] = []
    if chain is not None:
        stages = {name: Stage(name, how_of(by_name[name])) for name in chain if name in by_name}
        sure, why = "sure", "you said so"
        candidates: list[Profile] = []
    else:
        candidates = [column for column in profiles if _named_outcome(column)]
        for column in list(candidates):
            filled = as_stage(column, how_of(column))
            expected = filled.sum() * (arm == control).mean()
            if filled[arm == control].sum() == 0 and expected > BY_CHANCE:
                excluded[column.name] = "leak: never there in the control arm, so it follows the treatment"
                candidates.remove(column)
        sure, why = "sure", "named like outcomes; each implies the one before"
        if not candidates and not excluded:
            candidates = [column for column in profiles if _counted(column)]
            sure, why = "unsure", "a count that is named like an outcome: 1 where it is above 0"
        if not candidates:
            candidates, why = (
                _by_data(profiles, arm),
                "a 0/1 column that depends on the arm but is not part of it",
            )
            sure = "unsure"
        chosen = _longest_chain(candidates)
        if sure == "sure" and len(chosen) < len(candidates):
            sure = "likely"
        stages = {_stage_name(column): Stage(column.name, how_of(column)) for column in chosen}
    reached: tuple[np.ndarray, ...] = tuple(
        as_stage(by_name[stage.column], stage.how) for stage in stages.values()
    )
    found, value_sure, value_why = (
        _value(profiles, stages, reached) if value == "" else (value, "sure", "you said so")
    )
    if not stages and found is not None:
        name = f"any_{'_'.join(by_name[found].words) or 'value'}"
        stages, reached = {name: Stage(found, "above 0")}, (as_stage(by_name[found], "above 0"),)
        sure, why = "likely", f"there is no 0/1 outcome: made from {found!r}, 1 where it is above 0"
    for column in candidates:
        if column.name not in {stage.column for stage in stages.values()} and column.name != found:
            excluded[column.name] = "an outcome that does not fit into the chain, so known afterwards"
    if not stages:
        sure, why = "unsure", "no column reads like an outcome"
    options = tuple(column.name for column in profiles if column.kind == "flag")
    return Outcomes(stages, reached, sure, why, options, found, value_sure, value_why, excluded, tuple(notes))


def how_of(column: Profile) -> From:
    """How a column becomes a stage."""
    if column.kind == "flag" and column.distinct > 1 and column.missing == 0 and column.reading is None:
        return "as it is"
    if column.kind == "flag" and column.distinct > 1:
        return "flags"
    if column.missing > 0 and (column.kind in ("date", "text") or column.distinct == 1):
        return "filled"
    return "above 0"


def _named_outcome(column: Profile) -> bool:
    named = set(column.words)
    if not named & words.OUTCOME or named & words.BEFORE:
        return False
    if column.kind == "flag" and column.distinct == 2:
        return True
    # clicked_at, filled only for those who clicked; or a mark in some rows
    return column.missing > 0.02 and (column.kind == "date" or column.distinct == 1)


def _counted(column: Profile) -> bool:
    """Purchases 0, 1, 2, ...: not clearly an outcome, since earlier purchases are counted in the same way."""
    named = set(column.words)
    if column.kind != "number" or not column.whole or column.numbers is None:
        return False
    if not named & words.OUTCOME or named & words.BEFORE:
        return False
    return bool(np.nanmin(column.numbers) == 0 and (column.numbers == 0).mean() > 0.2)


def _by_data(profiles: Sequence[Profile], arm: np.ndarray) -> list[Profile]:
    """The 0/1 column whose mean depends most on the arm."""
    flags = [c for c in profiles if c.kind == "flag" and c.distinct == 2 and not set(c.words) & words.BEFORE]
    scored = []
    for column in flags:
        p, size = relations.arm_dependence(column, arm)
        if p < 1e-4:
            scored.append((size, column.position, column))
    # Where most of them depend on the arm, it was not randomised, and dependence says nothing.
    return [max(scored)[2]] if scored and len(scored) <= max(1, len(flags) // 3) else []


def _longest_chain(candidates: Sequence[Profile]) -> list[Profile]:
    """The longest sequence in which each stage implies the one before; of equals, the one that ends rarest."""
    stage = {column.name: as_stage(column, how_of(column)) for column in candidates}
    order = sorted(candidates, key=lambda column: (-int(stage[column.name].sum()), column.position))
    best: list[list[Profile]] = []
    for index, column in enumerate(order):
        options = [
            line for line in best[:index] if _implies(stage[column.name], stage[line[-1].name])
        ]  # fmt: skip
        best.append([*max(options, key=len, default=[]), column])
    return max(best, key=lambda line: (len(line), -int(stage[line[-1].name].sum())), default=[])


def _implies(later: np.ndarray, earlier: np.ndarray) -> bool:
    some = int(later.sum())
    return some > 0 and int((later > earlier).sum()) <= STRAY * some and int(earlier.sum()) > some


def _stage_name(column: Profile) -> str:
    """The column's name; without the _at of ``clicked_at`` when it is made from dates."""
    if how_of(column) == "filled" and column.kind == "date":
        kept = [
            word for word in column.words if word not in ("at", "time", "date", "ts", "timestamp", "datum")
        ]
        return "_".join(kept) or column.name
    return column.name


def _value(
    profiles: Sequence[Profile], stages: Mapping[str, Stage], reached: Sequence[np.ndarray]
) -> tuple[str | None, str, str]:
    used = {stage.column for stage in stages.values()}
    scored = []
    for column in profiles:
        if column.name in used or column.kind != "number" or column.numbers is None or column.distinct < 5:
            continue
        named = set(column.words)
        if named & words.BEFORE or named & words.PROPENSITY:
            continue
        says = bool(named & words.VALUE)
        if reached:
            stray = relations.outside(column, reached[-1])
            if stray <= STRAY and (says or _filled(column, reached[-1]) > 0.5):
                scored.append((2 + says, column.position, column))
        elif says:
            scored.append((1, column.position, column))
    if not scored:
        return None, "sure", ""
    points, _, best = max(scored, key=lambda item: item[:2])
    if points == 1:
        return best.name, "likely", "named like money"
    return best.name, "sure" if points == 3 else "likely", f"0 wherever {list(stages)[-1]!r} was not reached"


def _filled(column: Profile, stage: np.ndarray) -> float:
    assert column.numbers is not None
    return float((np.nan_to_num(column.numbers)[stage == 1] != 0).mean()) if (stage == 1).any() else 0.0
