"""Change what the roles do not allow, and say so: yes/no to 0/1, decimal commas to numbers, blank arms to a name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from uplift import columns
from uplift.arms import natural_key
from uplift.inspection.guess import Guess, Proposal
from uplift.inspection.outcomes import BLANK, Stage, as_stage
from uplift.inspection.profile import Profile
from uplift.inspection.raw import Raw
from uplift.inspection.words import plain
from uplift.roles import RESERVED

FEW = 0.01
"""Share of rows without an arm that are dropped rather than read as control."""


@dataclass(frozen=True)
class Mended:
    """The table with what was changed, and the roles as they are named in it."""

    table: pa.Table | None
    repairs: tuple[str, ...]
    proposal: Proposal
    arms: tuple[str, ...]
    control: str


class _Workshop:
    def __init__(self, table: pa.Table, repairs: tuple[str, ...]) -> None:
        self.table, self.repairs, self.keep = table, list(repairs), np.ones(table.num_rows, bool)

    def put(self, name: str, values: Any, said: str) -> None:
        """Set or add a column."""
        position = self.table.column_names.index(name) if name in self.table.column_names else None
        column = pa.chunked_array([values])
        self.table = (
            self.table.append_column(name, column)
            if position is None
            else self.table.set_column(position, name, column)
        )
        self.repairs.append(said)

    def drop(self, gone: np.ndarray, said: str) -> None:
        """Leave rows out."""
        if gone.any():
            self.keep &= ~gone
            self.repairs.append(f"{int(gone.sum()):,} rows {said} left out")


def mend(raw: Raw, profiles: Mapping[str, Profile], proposal: Proposal) -> Mended:
    """The data as the proposed roles need them.

    Returns
    -------
    Mended
        With ``table`` None when nothing had to be changed.
    """
    shop = _Workshop(raw.table, raw.repairs)
    treatment = proposal.column("treatment")
    arms: tuple[str, ...] = ()
    control = ""
    if treatment is not None:
        arms, control = _arms(shop, profiles[treatment], str(proposal.column("control")))
    renamed: dict[str, str] = {}
    chain = []
    for name, stage in proposal.stages.items():
        fine = name if name not in RESERVED and "__" not in name else f"{name.replace('__', '_')}_stage"
        renamed[name] = fine
        chain.append(fine)
        _stage(shop, fine, profiles[stage.column], stage)
    value = proposal.column("value")
    if value is not None:
        _value(shop, profiles[value], chain[-1] if chain else None)
    unit = proposal.column("unit")
    new_unit = unit
    if unit is not None:
        shop.drop(profiles[unit].codes < 0, f"without {unit!r}")
        if unit in RESERVED:
            new_unit = f"{unit}_id"
            shop.put(
                new_unit,
                columns.flat(raw.table[unit]),
                f"{unit!r} is a name that output files use; copied as {new_unit!r}",
            )
    for name in (*proposal.features, *(proposal.column(r) or "" for r in ("time", "propensity", "weight"))):
        if name and (reading := profiles[name].reading) is not None and reading.kind != "flag":
            lost = f"; what is none, such as {reading.stray[0]!r}, counts as missing" if reading.stray else ""
            doubt = " (could be read in another way: look at it)" if reading.doubtful else ""
            shop.put(name, reading.values, f"{name!r}: {reading.how}{lost}{doubt}")
    guesses = dict(proposal.guesses)
    if "chain" in guesses:
        guesses["chain"] = replace(guesses["chain"], value=tuple(chain))
    if unit is not None:
        guesses["unit"] = replace(guesses["unit"], value=new_unit)
    if treatment is not None:
        guesses["control"] = replace(
            guesses.get("control", Guess("control", control, "sure", "")), value=control
        )
    stages = {renamed[name]: stage for name, stage in proposal.stages.items()}
    excluded = dict(proposal.excluded)
    for name, stage in stages.items():
        if stage.column != name and stage.column != value:
            excluded[stage.column] = f"stage {name!r} was made from it"
    if unit != new_unit and unit is not None:
        excluded[unit] = f"copied as {new_unit!r}"
    table = None
    if shop.repairs:
        shown = [name for name in shop.table.column_names if not pa.types.is_null(shop.table[name].type)]
        table = shop.table.select(shown)
        table = table if shop.keep.all() else table.filter(pa.array(shop.keep))
        excluded = {name: why for name, why in excluded.items() if name in shown}
    final = replace(proposal, guesses=guesses, stages=stages, excluded=excluded)
    return Mended(table, tuple(shop.repairs), final, arms, control)


def _arms(shop: _Workshop, column: Profile, control: str) -> tuple[tuple[str, ...], str]:
    """One spelling per arm, a name for blanks; arms in natural order, control first."""
    spelled: dict[str, Counter[str]] = {}
    for word, count in zip(column.values, column.counts, strict=True):
        if count:
            spelled.setdefault(plain(word), Counter())[word.strip()] += int(count)
    common = {key: found.most_common(1)[0][0] for key, found in spelled.items()}
    mapped = [common.get(plain(word), word) for word in column.values]
    blank = column.codes < 0
    changed = [
        word
        for word, to, count in zip(column.values, mapped, column.counts, strict=True)
        if count and word != to
    ]
    to_blank = control == BLANK and BLANK not in mapped
    if changed or (blank.any() and to_blank):
        said = []
        if changed:
            said.append(f"{len(changed)} spellings such as {changed[0]!r} made one")
        if to_blank and blank.any():
            said.append(f"{int(blank.sum()):,} empty ones read as {BLANK!r}")
        words = np.array([*mapped, BLANK], object)
        shop.put(
            column.name, pa.array(words[column.codes], pa.string()), f"{column.name!r}: {', '.join(said)}"
        )
    if blank.any() and not to_blank:
        shop.drop(blank, f"without {column.name!r}")
    control = common.get(plain(control), control)
    names = {to for to, count in zip(mapped, column.counts, strict=True) if count} | (
        {BLANK} if to_blank else set()
    )
    return (control, *sorted(names - {control}, key=natural_key)), control


def _stage(shop: _Workshop, name: str, column: Profile, stage: Stage) -> None:
    if stage.how == "as it is" and name == column.name:
        return
    reached = as_stage(column, stage.how)
    missing = int((column.codes < 0).sum()) if stage.how == "flags" else 0
    said = {
        "as it is": f"copied from {column.name!r}",
        "flags": f"{'/'.join(sorted(column.values)[:2])} as 1/0"
        + (f", {missing:,} missing as 0" if missing else ""),
        "filled": f"1 where {column.name!r} holds something",
        "above 0": f"1 where {column.name!r} is above 0",
    }[stage.how]
    shop.put(name, pa.array(reached), f"{name!r}: {said}")


def _value(shop: _Workshop, column: Profile, last: str | None) -> None:
    assert column.numbers is not None
    gone = np.isnan(column.numbers)
    if column.reading is None and not gone.any():
        return
    said = [] if column.reading is None else [column.reading.how]
    if gone.any():
        bought = int((gone & (shop.table[last].to_numpy() == 1)).sum()) if last is not None else 0
        said.append(
            f"{int(gone.sum()):,} missing as 0"
            + (f", {bought:,} of them with {last!r} reached" if bought else "")
        )
    shop.put(column.name, pa.array(np.nan_to_num(column.numbers)), f"{column.name!r}: {', '.join(said)}")
