"""The audit: every limit of a plan added up again from the rows that were written.

A limit counts the rows of one arm (or of all but the control) and of one level of a segment (or of everybody). So the
rows are summed into cells, one per level and arm, with exact sums of money; a limit's use is the sum of its cells.
Amounts are rounded against the plan, cost up and value down, in units at least as fine as those it was made with: what
kept a limit there keeps it here, and one unit more does not.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa

from uplift import columns as column_types
from uplift.errors import OutputError
from uplift.export.limit_use import LimitUse, counted, returned, spent, use_of
from uplift.export.manifest import coded
from uplift.export.sums import FINEST, Totals, scale_of, whole
from uplift.segments import SEGMENT, segment_column

COUNTED = ("stock", "cap", "max_share", "min_reach")
"""Kinds of limits on numbers of customers."""
KINDS = (*COUNTED, "budget", "min_roi")


@dataclass(frozen=True)
class Given:
    """What the rows can say.

    Attributes
    ----------
    columns : frozenset of str
        Contract columns that are there as they were made.
    only_treated : bool
        Whether the file holds the treated alone.
    decimals : int or None
        To which fractional numbers were rounded when they were written; None: they were not.
    lacks : str
        Why columns are missing; ends a sentence.
    remedy : str
        How to come by segments that are missing; ends the same sentence.
    """

    columns: frozenset[str]
    only_treated: bool = False
    decimals: int | None = None
    lacks: str = ""
    remedy: str = ""

    def missing(self, limit: dict[str, Any]) -> str | None:
        """The first column that a limit needs and that is not there."""
        needed = []
        if limit["segment"] is not None:
            needed.append(segment_column(limit["segment"]))
        contacted = self.only_treated or "role" in self.columns
        if limit["arm"] is not None or (limit["kind"] in COUNTED and not contacted):
            needed.append("arm")
        if limit["kind"] in ("budget", "min_roi"):
            needed.append("expected_cost")
        if limit["kind"] == "min_roi":
            needed.append("expected_value")
        return next((name for name in needed if name not in self.columns), None)


class Audit:
    """Adds up the limits of a manifest from blocks of rows.

    Parameters
    ----------
    manifest : dict
    given : Given
        Columns of the blocks.
    """

    def __init__(self, manifest: dict[str, Any], given: Given) -> None:
        self._control, self._arms = manifest["control"], list(manifest["arms"])
        self._known = {arm: at for at, arm in enumerate(self._arms)}
        decimals = {name: manifest["sums"][name]["decimals"] for name in ("expected_value", "expected_cost")}
        self._skipped: list[LimitUse] = []
        scopes: dict[str | None, list[dict[str, Any]]] = {}
        for limit in limits_of(manifest):
            reason = _untold(limit) or given.missing(limit)
            if reason is None:
                scopes.setdefault(limit["segment"], []).append(limit)
            else:
                words = reason
                if _untold(limit) is None:
                    remedy = given.remedy if reason.startswith(SEGMENT) else ""
                    words = f"there is no column {reason!r}{given.lacks}{remedy}"
                self._skipped.append(use_of(limit, "", "skip", words))
        self._scopes = [
            _Scope(segment, limits, self._arms, self._control, decimals, given)
            for segment, limits in scopes.items()
        ]

    def add(self, block: pa.Table) -> None:
        """Sum a block.

        Raises
        ------
        OutputError
            Amounts are missing.
        """
        if not self._scopes or not len(block):
            return
        arms = np.full(
            len(block), len(self._arms), np.int64
        )  # the last: some arm, the file does not say which
        if "arm" in block.column_names:
            arms = _places(block["arm"], self._known)
        elif "role" in block.column_names:
            codes, names = coded(block["role"])
            treated = np.array([name == "treatment" for name in names])[codes]
            arms = np.where(treated, len(self._arms), self._arms.index(self._control))
        money = {
            name: column_types.to_float(block[name], dtype=np.float64)
            for name in ("expected_value", "expected_cost")
            if name in block.column_names
        }
        for name, amounts in money.items():
            if not np.isfinite(amounts).all():
                raise OutputError(f"{int((~np.isfinite(amounts)).sum()):,} rows have no finite {name}.")
        for scope in self._scopes:
            scope.add(block, arms, money)

    def uses(self) -> tuple[LimitUse, ...]:
        """Every limit with its use, in the order of the plan as far as they are of one segment."""
        return (*(use for scope in self._scopes for use in scope.uses()), *self._skipped)


class _Scope:
    """The limits that count one segment (or everybody): their cells, numbered ``level * (arms + 1) + arm``."""

    def __init__(
        self,
        segment: str | None,
        limits: list[dict[str, Any]],
        arms: list[str],
        control: str,
        decimals: dict[str, int],
        given: Given,
    ) -> None:
        self.limits, self.arms, self.control = limits, arms, control
        self.rounded, self.partial = given.decimals, given.only_treated
        self.column = None if segment is None else segment_column(segment)
        names = [] if segment is None else list(dict.fromkeys(str(limit["level"]) for limit in limits))
        self.levels = {level: at for at, level in enumerate(names)}
        self.width = len(arms) + 1
        self.decimals = decimals
        size = (len(self.levels) + 1) * self.width
        self.rows = np.zeros(size, np.int64)
        kinds = {limit["kind"] for limit in limits}
        self.cost = Totals(size) if kinds & {"budget", "min_roi"} else None
        self.value = Totals(size) if "min_roi" in kinds else None
        self.returns = _Returns.layers(
            [(limit, self.cells(limit)) for limit in limits if limit["kind"] == "min_roi"], size, decimals
        )

    def cells(self, limit: dict[str, Any]) -> np.ndarray:
        """Numbers of the cells that count towards a limit; money of control rows, if there is any, does."""
        arms = np.arange(self.width)
        if limit["arm"] is not None:
            arms = np.flatnonzero([name == limit["arm"] for name in self.arms])
        elif limit["kind"] in COUNTED:
            arms = arms[arms != self.arms.index(self.control)]
        # With no segment the last and only level is everybody.
        level = len(self.levels) if limit["segment"] is None else self.levels[str(limit["level"])]
        return level * self.width + arms

    def add(self, block: pa.Table, arms: np.ndarray, money: dict[str, np.ndarray]) -> None:
        cells = arms
        if self.column is not None:
            cells = _places(block[self.column], self.levels) * self.width + arms
        self.rows += np.bincount(cells, minlength=len(self.rows))
        for name, totals in (("expected_cost", self.cost), ("expected_value", self.value)):
            if totals is not None:
                scale = scale_of(self.decimals[name])
                totals.add(cells, whole(money[name], scale, up=name == "expected_cost"))
        for layer in self.returns:
            layer.add(cells, money)

    def uses(self) -> Iterable[LimitUse]:
        returns = {id(limit): layer for layer in self.returns for limit in layer.limits}
        for limit in self.limits:
            cells = self.cells(limit)
            rows = int(self.rows[cells].sum())
            if limit["kind"] in COUNTED:
                share = None if self.partial else limit.get("share")
                yield counted(limit, rows, share, self._members(limit))
            elif limit["kind"] == "budget":
                assert self.cost is not None
                decimals = self.decimals["expected_cost"]
                yield spent(limit, _sum(self.cost.sums[cells]), decimals, self._doubt(rows, decimals, 1.0))
            else:
                assert self.cost is not None
                assert self.value is not None
                layer = returns[id(limit)]
                decimals = int(layer.decimals[cells[0]]) if len(cells) else 0
                yield returned(
                    limit,
                    Decimal(_sum(layer.short.sums[cells])).scaleb(-decimals),
                    _sum(self.value.sums[cells]) * Decimal(10) ** -self.decimals["expected_value"],
                    _sum(self.cost.sums[cells]) * Decimal(10) ** -self.decimals["expected_cost"],
                    Decimal(self._doubt(rows, decimals, 1.0 + limit["limit"])).scaleb(-decimals),
                )

    def _members(self, limit: dict[str, Any]) -> int:
        """Rows of everybody whom a limit counts, with an arm or without."""
        return int(self.rows[self.cells({**limit, "arm": None, "kind": ""})].sum())

    def _doubt(self, rows: int, decimals: int, weight: float) -> int:
        """Multiples by which a sum may be off because the amounts were rounded when they were written."""
        if self.rounded is None:
            return 0
        each = 0.5 * weight * 10.0 ** (decimals - self.rounded) + (1 if decimals < self.rounded else 0)
        return math.ceil(rows * each)


class _Returns:
    """What minimum returns are short of: ``sum (limit cost - value)``, for limits that share no cell.

    In the finest unit that is sure to be no coarser than the plan's own: amounts ``limit cost + value`` bound it
    there, and each of the two bounds it here.
    """

    def __init__(self, size: int) -> None:
        self.limits: list[dict[str, Any]] = []
        self.rates, self.decimals = np.zeros(size), np.zeros(size, np.int64)
        self.taken = np.zeros(size, np.bool_)
        self.short = Totals(size)

    @classmethod
    def layers(
        cls, limits: Sequence[tuple[dict[str, Any], np.ndarray]], size: int, decimals: dict[str, int]
    ) -> list[_Returns]:
        """As few of them as hold all limits."""
        found: list[_Returns] = []
        for limit, cells in limits:
            layer = next((layer for layer in found if not layer.taken[cells].any()), None)
            if layer is None:
                layer = cls(size)
                found.append(layer)
            layer.limits.append(limit)
            rate = float(limit["limit"])
            finest = decimals["expected_value"]
            if rate > 0:
                finest = min(finest, decimals["expected_cost"] - math.floor(math.log10(rate)))
            layer.rates[cells], layer.decimals[cells], layer.taken[cells] = rate, min(finest, FINEST), True
        return found

    def add(self, cells: np.ndarray, money: dict[str, np.ndarray]) -> None:
        rows = np.flatnonzero(self.taken[cells])
        cells = cells[rows]
        amounts = self.rates[cells] * money["expected_cost"][rows] - money["expected_value"][rows]
        units = np.unique(self.decimals[cells])
        scales = np.array([scale_of(int(unit)) for unit in units])
        self.short.add(cells, whole(amounts, scales[np.searchsorted(units, self.decimals[cells])], up=True))


def limits_of(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    """The plan's finite limits, the budget of all among them wherever it is stated."""
    found = [
        {"sense": "at least" if limit.get("kind") in ("min_reach", "min_roi") else "at most", **limit}
        for limit in manifest["constraints"]
        if limit.get("limit") is not None and "kind" in limit
    ]
    budget = manifest["budget"]
    everybody = {"kind": "budget", "arm": None, "segment": None, "level": None, "limit": budget}
    stated = any(
        all(key in limit and limit[key] == value for key, value in everybody.items()) for limit in found
    )
    if budget is not None and not stated:
        # Manifests of earlier versions name the budget without saying what it counts.
        found = [limit for limit in found if limit["name"] != "budget"]
        found.insert(0, {"name": "budget", "sense": "at most", **everybody})
    return found


def _untold(limit: dict[str, Any]) -> str | None:
    if not {"arm", "segment", "level"} <= set(limit):
        return "the manifest does not say what counts towards it; export again"
    if limit["kind"] not in KINDS:
        return f"limits of kind {limit['kind']!r} are not known"
    return None


def _places(column: pa.ChunkedArray, known: dict[str, int]) -> np.ndarray:
    """Place of every row's name, int64 [row]; one past the end for any other."""
    codes, found = coded(column)
    places: np.ndarray = np.array([known.get(name, len(known)) for name in found] or [0], np.int64)[codes]
    return places


def _sum(counts: np.ndarray) -> int:
    return int(counts.sum()) if len(counts) else 0
