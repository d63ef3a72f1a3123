"""What one column holds, as far as a guess of its role needs to know."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from uplift import columns
from uplift.inspection.parse import Reading, read_text
from uplift.inspection.words import MISSING_WORDS, TIME, plain, words_of

SHOWN = 1000
"""Different numbers up to which their texts are kept."""

Kind = Literal["flag", "number", "date", "text", "empty"]


@dataclass(frozen=True, eq=False)
class Profile:
    """One column.

    Attributes
    ----------
    name : str
    position : int
        Place in the file, from 0.
    kind : {"flag", "number", "date", "text", "empty"}
        Flags hold two values that mean yes and no (0/1, true/false, ja/nein).
    codes : ndarray of int32 [row]
        Which of `values` each row holds, -1 where missing.
    values : tuple of str
        Distinct values as text.
    numbers : ndarray of float64 [row] or None
        Numbers, flags as 0/1, dates as days since 1970; NaN where missing.
    reading : Reading or None
        How text was read as something else.
    """

    name: str
    position: int
    kind: Kind
    codes: np.ndarray
    values: tuple[str, ...]
    numbers: np.ndarray | None
    reading: Reading | None = None

    @cached_property
    def words(self) -> list[str]:
        """Words of the name."""
        return words_of(self.name)

    @cached_property
    def missing(self) -> float:
        """Share of missing values."""
        return float((self.codes < 0).mean()) if self.codes.size else 0.0

    @cached_property
    def counts(self) -> np.ndarray:
        """Rows of every value, int [value]."""
        return np.bincount(self.codes[self.codes >= 0], minlength=len(self.values))

    @cached_property
    def distinct(self) -> int:
        """Number of different values that occur."""
        return int((self.counts > 0).sum())

    @cached_property
    def whole(self) -> bool:
        """Whether it holds whole numbers or text, as ids do."""
        if self.kind == "text":
            return True
        seen = None if self.numbers is None else self.numbers[~np.isnan(self.numbers)]
        return self.kind == "number" and seen is not None and bool((seen == np.floor(seen)).all())

    @property
    def pre(self) -> str:
        """The name in lower case."""
        return self.name.lower()


def profile(table: pa.Table, *, comma: bool = False) -> list[Profile]:
    """Profiles of all columns of a table.

    Parameters
    ----------
    comma : bool
        Whether the file has decimal commas.
    """
    return [_profile(table[name], name, position, comma) for position, name in enumerate(table.column_names)]


def _profile(column: pa.ChunkedArray, name: str, position: int, comma: bool) -> Profile:
    if pa.types.is_nested(column.type) or pa.types.is_binary(column.type):
        column = pa.chunked_array([pa.nulls(len(column))])
    if pa.types.is_null(column.type):
        return Profile(name, position, "empty", np.full(len(column), -1, np.int32), (), None)
    many = _many_numbers(column, name, position)
    if many is not None:
        return many
    encoded = columns.labels(column)
    words = [word or "" for word in encoded.dictionary.to_pylist()]
    codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int32)
    # Not "none", which is a name of the control.
    blank = np.array([plain(word) in MISSING_WORDS - {"none"} for word in words] + [False])
    codes = np.where(blank[codes], -1, codes)
    if not (codes >= 0).any():
        return Profile(name, position, "empty", codes, tuple(words), None)
    if columns.is_text(column):
        reading = read_text(column, comma=comma)
        if reading is None:
            return Profile(name, position, "text", codes, tuple(words), None)
        numbers = columns.to_float(reading.values, dtype=np.float64)
        kind: Kind = {"flag": "flag", "number": "number", "date": "date"}[reading.kind]  # type: ignore[assignment]
        return Profile(name, position, kind, codes, tuple(words), numbers, reading)
    numbers = columns.to_float(column, dtype=np.float64)
    reading = _compact_dates(column, name)
    if reading is not None:
        numbers = columns.to_float(reading.values, dtype=np.float64)
        return Profile(name, position, "date", codes, tuple(words), numbers, reading)
    seen = np.unique(numbers[~np.isnan(numbers)][:100_000])
    if columns.is_time(column):
        kind = "date"
    elif (
        seen.size <= 2 and set(seen) <= {0.0, 1.0} and np.isin(numbers[~np.isnan(numbers)], (0.0, 1.0)).all()
    ):
        kind = "flag"
    else:
        kind = "number"
    return Profile(name, position, kind, codes, tuple(words), numbers)


def _many_numbers(column: pa.ChunkedArray, name: str, position: int) -> Profile | None:
    """Profile of a numeric column with many values, whose texts nobody reads; None for other columns."""
    if not columns.is_numeric(column) or columns.is_time(column) or set(words_of(name)) & set(TIME):
        return None
    numbers = columns.to_float(column, dtype=np.float64)
    seen = np.isfinite(numbers)
    distinct, inverse = np.unique(numbers[seen], return_inverse=True)
    if distinct.size <= SHOWN:
        return None
    codes = np.full(numbers.size, -1, np.int32)
    codes[seen] = inverse
    return Profile(name, position, "number", codes, (), np.where(seen, numbers, np.nan))


def _compact_dates(column: pa.ChunkedArray, name: str) -> Reading | None:
    """Dates written as whole numbers, 20250331, in a column that is named like one."""
    if not pa.types.is_integer(column.type) or not set(words_of(name)) & set(TIME):
        return None
    low, high = pc.min(column).as_py(), pc.max(column).as_py()
    if low is None or not 19000101 <= low <= high <= 21001231:
        return None
    text = column.cast(pa.string())
    dates = pc.strptime(text, format="%Y%m%d", unit="us", error_is_null=True)
    if dates.null_count > column.null_count:
        return None
    return Reading("date", columns.flat(dates), "whole numbers as dates")
