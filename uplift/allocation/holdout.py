"""Who is left alone on purpose, and the id every decision keeps.

The holdout is drawn by a salted hash of the unit id before anything is optimised. If the optimiser chose it, it
would hold out the units with the lowest uplift and spoil the measurement.
"""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from uplift.errors import AllocationError
from uplift.hashing import unit_hash, unit_uniform

_HEX = np.frombuffer(b"0123456789abcdef", np.uint8)
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


def decision_ids(units: pa.Array, *, campaign: str, model: str) -> pa.Array:
    """One id per decision: 128 bits of (campaign, model, unit) as 32 hexadecimal digits.

    The same inputs give the same id, so a decision that is exported twice can be recognised. A re-run that changes
    the arm keeps the id.

    Returns
    -------
    pyarrow Array of large_string [unit]
    """
    n = len(units)
    key = f"{len(campaign)}:{campaign}|{model}"
    halves = np.empty((n, 2), ">u8")
    halves[:, 0] = unit_hash(units, f"decision/a:{key}")
    halves[:, 1] = unit_hash(units, f"decision/b:{key}")
    raw = halves.view(np.uint8).reshape(n, _ID_BYTES)
    text = np.empty((n, 2 * _ID_BYTES), np.uint8)
    text[:, 0::2] = _HEX[raw >> 4]
    text[:, 1::2] = _HEX[raw & 15]
    offsets = np.arange(n + 1, dtype=np.int64) * (2 * _ID_BYTES)
    return pa.LargeStringArray.from_buffers(n, pa.py_buffer(offsets), pa.py_buffer(text))


def check_unique(units: pa.Array, column: str) -> None:
    """One decision per unit: refuse audiences in which a unit appears twice, or has no id.

    Raises
    ------
    AllocationError
        Ids are missing or repeat.
    """
    if units.null_count:
        raise AllocationError(
            f"{units.null_count} units have no {column!r}: remove them or give every unit an id."
        )
    if pa.types.is_integer(units.type):
        numbers = units.to_numpy(zero_copy_only=False)
        if len(numbers) < 2 or bool((numbers[1:] > numbers[:-1]).all()):
            return
    repeated = len(units) - pc.count_distinct(units).as_py()
    if repeated:
        raise AllocationError(
            f"{repeated} of {len(units)} rows repeat an earlier {column!r}: an audience needs one row per unit, "
            "so keep one row of each (such as the latest)."
        )
