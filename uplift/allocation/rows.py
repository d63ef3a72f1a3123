"""Constraints as rows of a linear program: every row a sum over the chosen arms that must not pass its limit.

    sum over units and arms in the row's scope of  (alpha + beta c_ij + gamma v_ij) x_ij  <=  limit

(`alpha` counts, `beta` spends, `gamma` is for returns; floors have the signs turned.) Rows with the same segment
whose levels and arms do not overlap share one *family*: a unit touches at most one row per family and arm, so a
pass over all units reads a few tables, however many rows there are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from uplift.allocation.conditions import column
from uplift.allocation.constraints import Constraint
from uplift.allocation.problem import Problem, Unit
from uplift.errors import AllocationError, did_you_mean
from uplift.hashing import as_text


@dataclass(frozen=True)
class Row:
    """One limit.

    Attributes
    ----------
    name, kind : str
    limit : float
        In the units of the kind: money, customers, or value per cost; a share is turned into customers.
    scope : str
        In words, such as ``"in region 'north'"``; empty for everybody.
    alpha, beta, gamma : float
        Use of one chosen arm: ``alpha + beta cost + gamma value``.
    unit : Unit
        Uses are counted in multiples of it, every one rounded up.
    bound : int
        Largest sum of uses, in multiples.
    arm : str or None
        The only arm that counts; None: every arm but the control.
    share : float or None
        What a maximum share asks for, before it was turned into customers.
    segment, level : str or None
        Column and level of the units that count; None: everybody. A segment that was given as labels is called
        ``"segment"`` (``"segment_2"`` for other labels beside it).
    """

    name: str
    kind: str
    limit: float
    scope: str
    alpha: float
    beta: float
    gamma: float
    unit: Unit
    bound: int
    arm: str | None = None
    segment: str | None = None
    level: str | None = None
    share: float | None = None

    @property
    def floor(self) -> bool:
        """Whether it asks for something rather than forbids it."""
        return self.kind in ("min_reach", "min_roi")

    @property
    def words(self) -> str:
        """Such as ``minimum reach of 500 in region 'north'``."""
        amount = f"{self.limit:,.2f}" if self.kind in ("budget", "min_roi") else f"{self.limit:,.0f}"
        what = {
            "budget": "budget", "stock": "stock", "cap": "cap", "max_share": "maximum share",
            "min_reach": "minimum reach", "min_roi": "minimum return on cost",
        }[self.kind]  # fmt: skip
        return f"{what} of {amount}" + (f" {self.scope}" if self.scope else "")


@dataclass(frozen=True, eq=False)
class Segment:
    """Codes of one segment [unit] (-1: in none), and its levels in the order of their text."""

    codes: np.ndarray
    levels: tuple[str, ...]
    title: str

    def to_arrow(self) -> pa.DictionaryArray:
        """The level of every unit as text; null: in none."""
        codes = pa.array(self.codes, mask=self.codes < 0)
        return pa.DictionaryArray.from_arrays(codes, pa.array(self.levels, pa.string()))


@dataclass(frozen=True, eq=False)
class Rows:
    """All rows of a problem, and where every unit finds its own.

    Attributes
    ----------
    items : tuple of Row
    slot : ndarray of int32 [unit, family]
        Where the unit's piece of `rowmap` starts.
    rowmap : ndarray of int32
        Per piece one entry per choice (control first): index of the row, or -1.
    segments : tuple of Segment
        What the rows count by, as it was given: for tables from which others add up the rows again.
    """

    items: tuple[Row, ...]
    slot: np.ndarray
    rowmap: np.ndarray
    segments: tuple[Segment, ...] = ()

    def __len__(self) -> int:
        return len(self.items)

    def array(self, field: str) -> np.ndarray:
        """One number of every row as float64 [row]."""
        return np.array([getattr(row, field) for row in self.items], np.float64)

    @property
    def scales(self) -> np.ndarray:
        """Multiples per 1.0, float64 [row]."""
        return np.array([row.unit.scale for row in self.items], np.float64)

    @property
    def bounds(self) -> np.ndarray:
        """Limits in multiples, int64 [row]."""
        return np.array([row.bound for row in self.items], np.int64)

    def uses(self, value: np.ndarray, cost: np.ndarray, arms: np.ndarray) -> np.ndarray:
        """Uses of a decision in multiples, read back from the arrays it was made from: int64 [row].

        In plain numpy and from the original arrays, so that it checks the kernels rather than repeats them.
        """
        found = np.zeros(len(self.items), np.int64)
        treated = np.flatnonzero(arms)
        taken = arms[treated].astype(np.int64)
        v = value[treated, taken - 1].astype(np.float64)
        c = cost[treated, taken - 1].astype(np.float64)
        alpha, beta, gamma = self.array("alpha"), self.array("beta"), self.array("gamma")
        scales = self.scales
        for family in range(self.slot.shape[1]):
            row = self.rowmap[self.slot[treated, family] + taken]
            mine = row >= 0
            at = row[mine]
            amount = (alpha[at] + beta[at] * c[mine] + gamma[at] * v[mine]) * scales[at]
            nearest = np.rint(amount)
            close = np.abs(amount - nearest) <= 4 * 2.0**-52 * np.abs(amount)
            np.add.at(found, at, np.where(close, nearest, np.ceil(amount)).astype(np.int64))
        return found


class _Builder:
    def __init__(self, problem: Problem, arms: Sequence[str], columns: Any) -> None:
        self.problem, self.arms, self.columns = problem, tuple(arms), columns
        self.items: list[Row] = []
        self.segments: dict[Any, Segment] = {}
        self.named: set[str] = set()
        self.families: list[tuple[Any, np.ndarray]] = []

    def segment(self, given: Any) -> tuple[Any, Segment]:
        key = given if isinstance(given, str) or given is None else id(given)
        if key not in self.segments:
            n = self.problem.n_units
            if given is None:
                self.segments[key] = Segment(np.zeros(n, np.int32), ("",), "")
            else:
                named = isinstance(given, str)
                data = column(self.columns, given, "A constraint") if named else _labels(given)
                if len(data) != n:
                    raise AllocationError(
                        f"A segment has {len(data)} labels for {n} units: give one per unit."
                    )
                encoded = pc.dictionary_encode(as_text(data))
                texts = encoded.dictionary.to_pylist()
                order = sorted(range(len(texts)), key=lambda at: texts[at])
                place = np.empty(len(texts) + 1, np.int32)
                place[order] = np.arange(len(texts))
                place[-1] = -1
                indices = encoded.indices.fill_null(len(texts)).to_numpy(zero_copy_only=False)
                codes = place[indices] if n else np.zeros(0, np.int32)
                title = given if named else self._free_title()
                self.segments[key] = Segment(codes, tuple(texts[at] for at in order), title)
        return key, self.segments[key]

    def _free_title(self) -> str:
        """``segment`` for labels without a name, ``segment_2`` for others beside them."""
        taken = self.named | {segment.title for segment in self.segments.values()}
        titles = ("segment", *(f"segment_{at}" for at in range(2, len(taken) + 2)))
        return next(title for title in titles if title not in taken)

    def add(self, rule: Constraint) -> None:
        key, segment = self.segment(rule.segment)
        arms = self._arms(rule)
        levels = list(range(len(segment.levels)))
        if rule.level is not None:
            if rule.segment is None:
                raise AllocationError(
                    f"A {rule.kind} constraint has level {rule.level!r} but no segment: name its column."
                )
            if isinstance(rule.limit, Mapping):
                raise AllocationError(
                    f"A {rule.kind} constraint has level {rule.level!r} and a limit for each of {list(rule.limit)}: "
                    "give one number with level, or drop it."
                )
            levels = [self._level(rule.level, segment)]
        if isinstance(rule.limit, Mapping) and not rule.limit:
            raise AllocationError(
                f"The limit of a {rule.kind} constraint names nothing: give a number, or one for each name."
            )
        many = len(levels) > 1 or len(arms) > 1 or isinstance(rule.limit, Mapping)
        for level in levels:
            for group, title in arms:
                limit = self._limit(rule, segment, level, title)
                if limit is None:
                    continue
                members = self._members(segment, level)
                row = self._row(rule, limit, members, segment, level, title, many)
                self._place(key, level, group, len(segment.levels), len(self.items))
                self.items.append(row)

    def _arms(self, rule: Constraint) -> list[tuple[list[int], str | None]]:
        """Groups of choices (codes, control is 0) that share a row, and the arm's name where it is one."""
        if rule.arm is not None:
            return [([self._arm(rule.arm)], rule.arm)]
        by_arm = isinstance(rule.limit, Mapping) and rule.segment is None
        if isinstance(rule.limit, Mapping) and rule.segment is not None:
            for level in rule.limit:
                self._level(level, self.segment(rule.segment)[1])
        if by_arm:
            return [([self._arm(str(name))], str(name)) for name in rule.limit]
        if rule.per_arm:
            return [([code + 1], name) for code, name in enumerate(self.arms)]
        return [(list(range(1, len(self.arms) + 1)), None)]

    def _arm(self, name: str) -> int:
        if name not in self.arms:
            raise AllocationError(f"A constraint names the arm {name!r}: {did_you_mean(name, self.arms)}")
        return self.arms.index(name) + 1

    def _level(self, level: Any, segment: Segment) -> int:
        text = _level_text(level)
        if text not in segment.levels:
            raise AllocationError(
                f"A constraint names {segment.title} {text!r}, which no unit has: {did_you_mean(text, segment.levels)}"
            )
        return segment.levels.index(text)

    def _members(self, segment: Segment, level: int) -> int:
        return int((segment.codes == level).sum()) if segment.title else self.problem.n_units

    def _limit(self, rule: Constraint, segment: Segment, level: int, arm: str | None) -> float | None:
        given = rule.limit
        if isinstance(given, Mapping):
            texts = {_level_text(key): number for key, number in given.items()}
            if rule.segment is not None:
                given = texts.get(segment.levels[level])
            else:
                given = texts.get(arm or "")
            if given is None:
                return None
        try:
            limit = float(given)
        except (TypeError, ValueError):
            raise AllocationError(
                f"The limit of a {rule.kind} constraint is {given!r}: give a number >= 0."
            ) from None
        if math.isnan(limit) or limit < 0 or (rule.kind == "max_share" and limit > 1):
            wanted = "a share in [0, 1]" if rule.kind == "max_share" else "a number >= 0"
            raise AllocationError(f"The limit of a {rule.kind} constraint is {limit!r}: give {wanted}.")
        if math.isinf(limit):
            if rule.floor or rule.kind == "min_roi":
                raise AllocationError(
                    f"The limit of a {rule.kind} constraint is infinite: give a finite number."
                )
            return None
        return limit

    def _row(
        self,
        rule: Constraint,
        limit: float,
        members: int,
        segment: Segment,
        level: int,
        arm: str | None,
        many: bool,
    ) -> Row:
        tags = [f"{segment.title}={segment.levels[level]}"] if segment.title else []
        tags += [arm] if arm is not None else []
        name = (
            " ".join([rule.kind, *tags])
            if rule.name is None
            else " ".join([rule.name, *(tags if many else [])])
        )
        scope = ([f"of arm {arm!r}"] if arm is not None else []) + (
            [f"in {segment.title} {segment.levels[level]!r}"] if segment.title else []
        )
        p, count = self.problem, Unit(0)
        about: dict[str, Any] = {"name": name, "kind": rule.kind, "scope": " ".join(scope), "arm": arm}
        if segment.title:
            about |= {"segment": segment.title, "level": segment.levels[level]}
        if rule.kind == "budget":
            bound = min(p.cost_unit.floor(limit), 2**62)
            return Row(**about, limit=limit, alpha=0.0, beta=1.0, gamma=0.0, unit=p.cost_unit, bound=bound)
        if rule.kind == "min_roi":
            unit = Unit.for_sum(limit * p.largest_cost + p.largest_value, p.n_units)
            return Row(**about, limit=limit, alpha=0.0, beta=limit, gamma=-1.0, unit=unit, bound=0)
        if rule.kind == "min_reach":
            wanted = min(math.ceil(limit), 2**40)
            return Row(
                **about, limit=float(wanted), alpha=-1.0, beta=0.0, gamma=0.0, unit=count, bound=-wanted
            )
        share = limit if rule.kind == "max_share" else None
        most = min(count.floor(limit if share is None else share * members), 2**40)
        about["share"] = share
        return Row(**about, limit=float(most), alpha=1.0, beta=0.0, gamma=0.0, unit=count, bound=most)

    def _place(self, key: Any, level: int, group: list[int], levels: int, row: int) -> None:
        for owner, table in self.families:
            if owner == key and (table[level, group] < 0).all():
                table[level, group] = row
                return
        table = np.full((levels + 1, len(self.arms) + 1), -1, np.int32)  # the last piece: units in no segment
        table[level, group] = row
        self.families.append((key, table))

    def build(self) -> Rows:
        names = [row.name for row in self.items]
        twice = (
            sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
        )
        if twice:
            raise AllocationError(
                f"Two constraints are called {twice[0]!r}{_also_budget(twice[0])}: give one of them another name = ...."
            )
        slots, start = [], 0
        width = len(self.arms) + 1
        for key, table in self.families:
            codes = self.segments[key].codes
            slots.append((start + np.where(codes < 0, len(table) - 1, codes) * width).astype(np.int32))
            start += table.size
        n = self.problem.n_units
        slot = np.ascontiguousarray(np.stack(slots, axis=1)) if slots else np.zeros((n, 0), np.int32)
        rowmap = (
            np.concatenate([t.ravel() for _, t in self.families]) if self.families else np.zeros(0, np.int32)
        )
        named = tuple(segment for segment in self.segments.values() if segment.title)
        return Rows(tuple(self.items), slot, rowmap, named)


def make_rows(
    problem: Problem, rules: Sequence[Constraint], arms: Sequence[str], columns: Any = None
) -> Rows:
    """Rows of the global budget (where it is finite) and of every rule.

    Parameters
    ----------
    problem : Problem
    rules : sequence of Constraint
    arms : sequence of str
        Without the control.
    columns : mapping, pyarrow Table or frame, optional
        Columns [unit] that segments name.

    Raises
    ------
    AllocationError
        A column, level or arm is unknown, a limit cannot be used, or two rows have the same name.
    """
    from uplift.allocation.constraints import Budget

    builder = _Builder(problem, arms, columns)
    builder.named |= {rule.segment for rule in rules if isinstance(rule.segment, str)}
    for rule in ([Budget(problem.budget)] if math.isfinite(problem.budget) else []) + list(rules):
        builder.add(rule)
    return builder.build()


def _also_budget(name: str) -> str:
    return " (one of them is the budget of all)" if name == "budget" else ""


def _level_text(level: Any) -> str:
    """A level as the labels have it: booleans as Arrow writes them."""
    return str(level).lower() if isinstance(level, bool | np.bool_) else str(level)


def _labels(given: Any) -> pa.Array:
    if isinstance(given, pa.ChunkedArray):
        return given.combine_chunks()
    try:
        return given if isinstance(given, pa.Array) else pa.array(given, from_pandas=True)
    except (pa.ArrowException, TypeError):
        raise AllocationError(
            f"The segment of a constraint is a {type(given).__name__}: give a column's name, or one label per unit."
        ) from None
