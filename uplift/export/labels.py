"""Segments from the customer table itself: an audit need not take the exported labels on trust."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from uplift.errors import OutputError, did_you_mean
from uplift.hashing import as_text, unit_hash
from uplift.segments import SEGMENT, segment_column


class Labels:
    """Levels of segments by unit id, and how many exported rows agree with them.

    Ids are found by 64-bit hashes; of several rows of one unit the last counts, as when a plan is made.

    Parameters
    ----------
    table : pyarrow.Table
        The unit's column and one column for each segment (``region`` for ``segment__region``).
    unit : str
        Name of the unit's column.
    segments : sequence of str
        Those that limits count.

    Raises
    ------
    OutputError
        A column is not there.

    Examples
    --------
    >>> labels = Labels(pa.table({"id": [1, 2], "region": ["north", "south"]}), "id", ["region"])
    >>> labels.add_to(pa.table({"id": ["2", "1"], "segment__region": ["south", "south"]})).to_pydict()
    {'id': ['2', '1'], 'segment__region': ['south', 'north']}
    >>> labels.result()
    ('fail', "1 rows have another 'region' than the columns given, first unit '1': 'south', not 'north'")
    """

    def __init__(self, table: pa.Table, unit: str, segments: Sequence[str]) -> None:
        for name in (unit, *segments):
            if name not in table.column_names:
                what = "to find units by" if name == unit else "which limits count"
                raise OutputError(
                    f"the columns given have no {name!r} {what}; {did_you_mean(name, table.column_names)}"
                )
        hashes = unit_hash(table[unit])
        # A stable sort of the reversed rows puts the last row of every unit first among its own.
        order = np.argsort(hashes[::-1], kind="stable")
        self._hashes = hashes[::-1][order]
        self._rows = len(hashes) - 1 - order
        self._unit = unit
        self._levels = {name: as_text(table[name]) for name in segments}
        self._unknown = 0
        self._first_unknown: str | None = None
        self._compared = 0
        self._wrong: dict[str, int] = {}
        self._first_wrong: dict[str, str] = {}

    @property
    def columns(self) -> list[str]:
        """Contract columns that are filled."""
        return [segment_column(name) for name in self._levels]

    def add_to(self, block: pa.Table) -> pa.Table:
        """The block with its segments from here, after they were compared with its own."""
        units = as_text(block[self._unit])
        hashes = unit_hash(units)
        at = np.searchsorted(self._hashes, hashes)
        at[at == len(self._hashes)] = 0
        known = self._hashes[at] == hashes if len(self._hashes) else np.zeros(len(hashes), np.bool_)
        if not known.all():
            self._unknown += int((~known).sum())
            self._first_unknown = self._first_unknown or units[int(np.flatnonzero(~known)[0])].as_py()
        rows = (
            pa.array(self._rows[at], mask=~known) if len(self._hashes) else pa.nulls(len(units), pa.int64())
        )
        for name, levels in self._levels.items():
            mine, column = levels.take(rows), segment_column(name)
            if column in block.column_names:
                self._compare(name, as_text(block[column]), mine, units, known)
                block = block.set_column(block.column_names.index(column), column, mine)
            else:
                block = block.append_column(column, mine)
        return block

    def _compare(
        self, name: str, theirs: pa.Array, mine: pa.Array, units: pa.Array, known: np.ndarray
    ) -> None:
        self._compared += 1
        same = pc.if_else(
            pc.and_(pc.is_valid(theirs), pc.is_valid(mine)),
            pc.equal(theirs, mine),
            pc.and_(pc.is_null(theirs), pc.is_null(mine)),
        )
        wrong = known & ~np.asarray(pc.fill_null(same, False).to_numpy(zero_copy_only=False))
        if wrong.any():
            first = int(np.flatnonzero(wrong)[0])
            self._wrong[name] = self._wrong.get(name, 0) + int(wrong.sum())
            self._first_wrong.setdefault(
                name,
                f"first unit {units[first].as_py()!r}: {theirs[first].as_py()!r}, not {mine[first].as_py()!r}",
            )

    def result(self) -> tuple[str, str]:
        """Status and detail of a check: every unit is known, and has the level that it was exported with."""
        if self._unknown:
            return (
                "fail",
                f"{self._unknown:,} units are not in the columns given, first {self._first_unknown!r}",
            )
        for name, count in self._wrong.items():
            return (
                "fail",
                f"{count:,} rows have another {name!r} than the columns given, {self._first_wrong[name]}",
            )
        names = ", ".join(column.removeprefix(SEGMENT) for column in self.columns)
        how = "as in the columns given" if self._compared else "taken from the columns given"
        return "pass", f"{names}: {how}"
