"""Single columns: Arrow to plain numpy, with the checks that every role shares."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from uplift.errors import CampaignError

Column: TypeAlias = pa.Array | pa.ChunkedArray


def value_type(column: Column) -> pa.DataType:
    """Type of the values, looking through dictionary encoding."""
    return column.type.value_type if pa.types.is_dictionary(column.type) else column.type


def is_numeric(column: Column) -> bool:
    """Numbers, booleans, decimals, dates and times, and all-missing columns."""
    kind = value_type(column)
    return (
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_decimal(kind)
        or pa.types.is_null(kind)
        or is_time(column)
    ) and not pa.types.is_dictionary(column.type)


def is_time(column: Column) -> bool:
    """Dates, timestamps, times of day and durations."""
    return bool(pa.types.is_temporal(value_type(column)))


def is_text(column: Column) -> bool:
    """Text or dictionary-encoded values."""
    kind = column.type
    result: bool = (
        pa.types.is_dictionary(kind)
        or pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_string_view(kind)
    )
    return result


def to_float(column: Column, *, dtype: type = np.float32) -> np.ndarray:
    """Numeric column as floats [row], NaN where missing; dates and times become days since 1970.

    Durations become days; times of day become the fraction of a day.
    """
    kind = value_type(column)
    if pa.types.is_null(kind):
        return np.full(len(column), np.nan, dtype)
    if is_time(column):
        column = _to_days(column)
    elif pa.types.is_boolean(kind):
        column = column.cast(pa.int8())
    elif pa.types.is_dictionary(column.type):
        column = column.cast(kind)
    if value_type(column) != pa.float64() and (
        column.null_count or not pa.types.is_floating(value_type(column))
    ):
        column = column.cast(pa.float64(), safe=False)
    array = column.to_numpy(zero_copy_only=False) if isinstance(column, pa.Array) else column.to_numpy()
    with np.errstate(over="ignore"):
        return np.asarray(array).astype(dtype)


def _to_days(column: Column) -> Column:
    kind = value_type(column)
    if pa.types.is_date32(kind):
        return column.cast(pa.int32()).cast(pa.float64())
    if pa.types.is_date64(kind):
        return pc.divide(column.cast(pa.int64()).cast(pa.float64()), 86_400e3)
    ticks = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}[kind.unit] * 86_400.0
    whole = column.cast(pa.int32()) if pa.types.is_time32(kind) else column.cast(pa.int64())
    return pc.divide(whole.cast(pa.float64(), safe=False), ticks)


def binary_outcome(column: Column, name: str) -> np.ndarray:
    """A stage column as float32 [row] of zeros and ones.

    Raises
    ------
    CampaignError
        Text, missing values, or any value other than 0 and 1.
    """
    if not is_numeric(column) or is_time(column):
        seen = pc.unique(column)[:3].to_pylist()
        raise CampaignError(
            f"stage {name!r} holds {column.type} such as {', '.join(map(repr, seen))}, not 0/1; write 1 for customers who reached it and 0 for the rest."
        )
    if column.null_count:
        raise CampaignError(
            f"stage {name!r} has {column.null_count:,} missing values; write 0 for customers who did not reach it."
        )
    values = to_float(column)
    wrong = ~((values == 0) | (values == 1))
    if wrong.any():
        first = float(values[wrong][0])
        if np.isnan(first):
            raise CampaignError(
                f"stage {name!r} has {int(np.isnan(values).sum()):,} missing values; write 0 for customers who did not reach it."
            )
        raise CampaignError(
            f"stage {name!r} must be 0 or 1, but {int(wrong.sum()):,} of {len(values):,} rows hold other values such as {first:g}."
        )
    return values


def finite(column: Column, name: str, role: str, *, dtype: type = np.float64) -> np.ndarray:
    """A column without missing or infinite values as floats [row].

    Raises
    ------
    CampaignError
        Text, missing or infinite values.
    """
    if not is_numeric(column) or is_time(column):
        raise CampaignError(f"{role} column {name!r} holds {column.type}, not numbers.")
    values = to_float(column, dtype=dtype)
    for test, word in ((np.isnan, "missing"), (np.isinf, "infinite")):
        count = int(test(values).sum())
        if count:
            raise CampaignError(
                f"{role} column {name!r} has {count:,} {word} values of {len(values):,}; fill them in or drop these rows."
            )
    return values


def flat(column: pa.ChunkedArray) -> pa.Array:
    """A chunked column as one array; dictionaries of the chunks are unified."""
    if pa.types.is_dictionary(column.type):
        column = column.unify_dictionaries()
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)


def infinite_count(column: Column) -> int:
    """Number of infinite values in a floating-point column."""
    if not pa.types.is_floating(value_type(column)) or pa.types.is_dictionary(column.type):
        return 0
    return int(pc.sum(pc.is_inf(column)).as_py() or 0)


def labels(column: Any) -> pa.DictionaryArray:
    """Any column as dictionary-encoded text: ``1`` and ``1.0`` both read "1", booleans "true" and "false"."""
    from uplift.hashing import as_text

    if isinstance(column, pa.ChunkedArray):
        column = flat(column)
    if pa.types.is_null(column.type):
        column = column.cast(pa.large_string())
    encoded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    codes, words = encoded.indices, as_text(encoded.dictionary)
    # Two stored values can read the same (1 and 1.0 in unioned files, unused or repeated dictionary entries).
    unique = pc.unique(words)
    if len(unique) != len(words):
        codes = pc.take(pc.index_in(words, unique), codes)
        words = unique
    return pa.DictionaryArray.from_arrays(codes.cast(pa.int32()), words)


def whole(column: Any) -> Any:
    """True for whole numbers that a float holds exactly."""
    return pc.and_(pc.equal(pc.floor(column), column), pc.less_equal(pc.abs(column), 2.0**53))
