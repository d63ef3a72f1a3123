"""Hashes of unit ids: one reproducible coin per customer, whatever the row order, file format or machine.

Splits, holdouts, tie-breaks and decision ids all come from here, so that the same customer always falls on
the same side for the same salt. Integers hash like their decimal text: ``12`` in Parquet and ``"12"`` in CSV
are the same customer.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_FNV_OFFSET = np.uint64(0xCBF29CE484222325)
_FNV_PRIME = np.uint64(0x100000001B3)


def as_text(ids: Any) -> pa.Array:
    """Ids as one Arrow string array [unit]; integral floats lose their ``.0`` (pandas turns ids into floats).

    Raises
    ------
    pyarrow.ArrowInvalid
        The type has no text form (lists, structs).
    """
    array = ids if isinstance(ids, pa.Array | pa.ChunkedArray) else pa.array(ids)
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.unify_dictionaries().chunks or [pa.array([], array.type)])
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if pa.types.is_floating(array.type):
        whole = pc.and_(pc.equal(pc.floor(array), array), pc.less_equal(pc.abs(array), 2.0**53))
        if pc.all(whole, min_count=0).as_py():
            array = array.cast(pa.int64())
    if pa.types.is_decimal(array.type) and pc.all(pc.equal(pc.floor(array), array), min_count=0).as_py():
        array = array.cast(pa.decimal128(38, 0)) if array.type.bit_width <= 128 else array
    return array if pa.types.is_large_string(array.type) else array.cast(pa.large_string())


def start_state(salt: str) -> int:
    """Where the hash of every id starts: the FNV offset and a key derived from the salt (BLAKE2b)."""
    return int(_FNV_OFFSET) ^ int.from_bytes(hashlib.blake2b(salt.encode(), digest_size=8).digest(), "little")


def _splitmix64(x: np.ndarray) -> np.ndarray:
    """Finaliser of splitmix64 (Steele, Lea, Flood 2014): spreads every input bit over all output bits."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    result: np.ndarray = x ^ (x >> np.uint64(31))
    return result


def unit_hash(ids: Any, salt: str = "") -> np.ndarray:
    """64-bit hash of every id, keyed by `salt`.

    FNV-1a over the UTF-8 bytes, started from a key derived from the salt (BLAKE2b) and finished with
    splitmix64. Not cryptographic: it decides splits and ties, it hides nothing.

    Parameters
    ----------
    ids : array-like or pyarrow Array [unit]
        Integers or text. A missing id hashes like the empty text.
    salt : str
        Different salts give independent coins.

    Returns
    -------
    ndarray of uint64 [unit]

    Examples
    --------
    >>> bool((unit_hash([1, 2]) == unit_hash(["1", "2"])).all())
    True
    """
    text = as_text(ids).fill_null("")
    n = len(text)
    buffers = text.buffers()
    offsets = (
        np.frombuffer(buffers[1], np.int64)[text.offset : text.offset + n + 1] if n else np.zeros(1, np.int64)
    )
    data = np.frombuffer(buffers[2], np.uint8) if n and buffers[2] is not None else np.zeros(0, np.uint8)
    state = np.full(n, start_state(salt), np.uint64)
    starts, lengths = offsets[:-1], np.diff(offsets)
    # One sweep per byte position: ids are short, so a dozen vectorised passes replace a loop over rows.
    with np.errstate(over="ignore"):
        for position in range(int(lengths.max()) if n else 0):
            if position < int(lengths.min()):
                state = (state ^ data[starts + position]) * _FNV_PRIME
            else:
                live = np.flatnonzero(lengths > position)
                state[live] = (state[live] ^ data[starts[live] + position]) * _FNV_PRIME
        return _splitmix64(state ^ lengths.astype(np.uint64))


def unit_uniform(ids: Any, salt: str = "") -> np.ndarray:
    """One uniform number in [0, 1) per id: the top 53 bits of :func:`unit_hash`.

    Returns
    -------
    ndarray of float64 [unit]
    """
    return (unit_hash(ids, salt) >> np.uint64(11)).astype(np.float64) * 2.0**-53


class Coin:
    """:func:`unit_uniform` for one id at a time, in about a microsecond: no arrays, the key derived once.

    Parameters
    ----------
    salt : str

    Examples
    --------
    >>> Coin("a")("customer 7") == float(unit_uniform(["customer 7"], "a")[0])
    True
    >>> Coin("a")(7) == float(unit_uniform([7], "a")[0])
    True
    """

    def __init__(self, salt: str = "") -> None:
        self._start = start_state(salt)

    def __call__(self, unit: float | str) -> float:
        """Uniform number in [0, 1) of one id."""
        if isinstance(unit, float) and unit.is_integer():
            unit = int(unit)
        data = str(unit).encode()
        state, prime, mask = self._start, 0x100000001B3, 0xFFFFFFFFFFFFFFFF
        for byte in data:
            state = ((state ^ byte) * prime) & mask
        state ^= len(data)
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & mask
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & mask
        return ((state ^ (state >> 31)) >> 11) * 2.0**-53
