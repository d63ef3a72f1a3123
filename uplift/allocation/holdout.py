"""Who is left alone on purpose, and the id every decision keeps.

The holdout is drawn by a salted hash of the unit id before anything is optimised. If the optimiser chose it, it
would hold out the units with the lowest uplift and spoil the measurement.
"""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numba import njit

from uplift.errors import AllocationError
from uplift.hashing import as_text, start_state, unit_uniform

_ID_BYTES = 16


def draw_holdout(units: pa.Array, share: float, *, salt: str) -> np.ndarray:
    """Which units are held out.

    Parameters
    ----------
    units : pyarrow Array [unit]
    share : float
        Expected share in [0, 1).
    salt : str
        The same salt holds out the same units, in every audience they appear in.

    Returns
    -------
    ndarray of bool [unit]

    Raises
    ------
    AllocationError
        The share is not in [0, 1).
    """
    if not (isinstance(share, int | float) and math.isfinite(share) and 0 <= share < 1):
        raise AllocationError(f"The holdout share is {share!r}: give a number in [0, 1), such as 0.05.")
    if share == 0:
        return np.zeros(len(units), np.bool_)
    return unit_uniform(units, f"holdout:{salt}") < share


def decision_ids(units: pa.Array, *, campaign: str) -> pa.Array:
    """One id per decision: 128 bits of (campaign, unit) as 32 hexadecimal digits.

    The same unit in the same campaign has the same id in every run, whatever it gets and whichever model says so: a
    decision that is exported again replaces the one before instead of standing beside it.

    Returns
    -------
    pyarrow Array of large_string [unit]
    """
    text = as_text(units).fill_null("")
    n = len(text)
    key = f"{len(campaign)}:{campaign}"
    digits = np.empty((n, 2 * _ID_BYTES), np.uint8)
    if n:
        _, ends, data = text.buffers()
        bounds = np.frombuffer(ends, np.int64)[text.offset : text.offset + n + 1]
        letters = np.zeros(0, np.uint8) if data is None else np.frombuffer(data, np.uint8)
        start_a, start_b = (np.uint64(start_state(f"decision/{half}:{key}")) for half in ("a", "b"))
        _hash_digits(bounds, letters, start_a, start_b, digits)
    offsets = np.arange(n + 1, dtype=np.int64) * (2 * _ID_BYTES)
    return pa.LargeStringArray.from_buffers(n, pa.py_buffer(offsets), pa.py_buffer(digits))


@njit(cache=True)
def _hash_digits(bounds, letters, start_a, start_b, digits):  # type: ignore[no-untyped-def]
    """Both halves of every id as text: :func:`uplift.hashing.unit_hash` in one pass over the bytes."""
    prime = np.uint64(0x100000001B3)
    for i in range(digits.shape[0]):
        a, b = start_a, start_b
        for at in range(bounds[i], bounds[i + 1]):
            letter = np.uint64(letters[at])
            a = (a ^ letter) * prime
            b = (b ^ letter) * prime
        length = np.uint64(bounds[i + 1] - bounds[i])
        for half in range(2):
            x = (a if half == 0 else b) ^ length
            x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            x ^= x >> np.uint64(31)
            for place in range(16 * half + 15, 16 * half - 1, -1):
                digit = x & np.uint64(15)
                digits[i, place] = digit + np.uint64(48) if digit < np.uint64(10) else digit + np.uint64(87)
                x >>= np.uint64(4)


def check_unique(units: pa.Array, column: str) -> None:
    """One decision per unit: refuse audiences in which a unit appears twice, or has no id.

    Raises
    ------
    AllocationError
        Ids are missing or repeat.
    """
    missing = pc.sum(pc.is_null(units, nan_is_null=True)).as_py() or 0
    if missing:
        raise AllocationError(f"{missing:,} units have no {column!r}: remove them or give every unit an id.")
    if pa.types.is_integer(units.type):
        numbers = units.to_numpy(zero_copy_only=False)
        if len(numbers) < 2 or bool((numbers[1:] > numbers[:-1]).all()):
            return
    repeated = len(units) - pc.count_distinct(units).as_py()
    if repeated:
        raise AllocationError(
            f"{repeated:,} of {len(units):,} rows repeat an earlier {column!r}: an audience needs one row per unit, "
            "so keep one row of each (such as the latest)."
        )
