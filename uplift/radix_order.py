"""Order of scores, best first, and where equal ones end: a radix sort of their bits.

A float's bits, read as an unsigned integer, rise with its value once the sign is taken care of (Herf 2001). The bits
and the row number travel together in one 64-bit word, so that nothing has to be looked up while sorting, and three
passes of eleven bits order 32 of them. Scores of 64 bits are ordered by the 32 leading bits that differ, and what
these leave together is sorted by the rest.

One thread: a pass is bound by the caches, which the cores share, and evaluations of several models run side by side.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

_DIGIT = 11
_BUCKETS = 1 << _DIGIT
_INSERTION = 128
"""Runs up to this length are sorted by insertion; longer ones are worth the histograms of a radix sort."""


class Order(NamedTuple):
    """Rows by descending score.

    Attributes
    ----------
    order : ndarray of int64 [row]
        Positions of the rows, best score first; equal scores in ascending position.
    ends : ndarray of int64 [group]
        Number of rows with this distinct score or a better one.
    refused : int
        Scores that are missing or infinite; the order means nothing unless it is 0.
    """

    order: np.ndarray
    ends: np.ndarray
    refused: int


def descending(score: np.ndarray) -> Order:
    """Order of `score` [row], which is any array of fewer than 2^32 real numbers; -0.0 equals 0.0.

    Examples
    --------
    >>> found = descending(np.array([0.5, 2.0, -1.0, 0.5]))
    >>> found.order.tolist(), found.ends.tolist()
    ([1, 0, 3, 2], [1, 3, 4])
    """
    score = np.asarray(score)
    if len(score) == 0:
        return Order(np.zeros(0, np.int64), np.zeros(0, np.int64), 0)
    if score.dtype == np.float32:
        packed, refused = _pack_float32(np.ascontiguousarray(score).view(np.uint32))
        if refused:
            return Order(np.zeros(0, np.int64), np.zeros(0, np.int64), refused)
        spare = np.empty_like(packed)
        inside = _radix_sort(packed, spare)
        words, spare = (packed, spare) if inside else (spare, packed)
        return _found(words, spare, _unpack(words, spare))
    keys, refused = ordered_bits(score)
    if refused:
        return Order(np.zeros(0, np.int64), np.zeros(0, np.int64), refused)
    words, spare = np.empty_like(keys), np.empty_like(keys)
    left = _pack_long(keys, words)
    inside = _radix_sort(words, spare)
    words, spare = (words, spare) if inside else (spare, words)
    return _found(words, spare, _unpack_long(keys, words, spare, left) if left else _unpack(words, spare))


def _found(words: np.ndarray, spare: np.ndarray, groups: int) -> Order:
    ends = words.view(np.int64)[:groups]
    # A view keeps the whole array; few groups are not worth that.
    return Order(spare.view(np.int64), ends if 2 * groups > len(words) else ends.copy(), 0)


def ordered_bits(score: np.ndarray) -> tuple[np.ndarray, int]:
    """Unsigned integers that fall as the scores rise, uint64 [row], and the number of scores that are not finite.

    Scores narrower than 64 bits are widened first, so that float32 and float64 of the same values have the same bits.
    """
    score = np.asarray(score)
    if score.dtype.kind in "iu" and score.dtype.itemsize == 8:
        # Whole numbers beyond 2^53 would lose digits as floats.
        signed = score.astype(np.int64) if score.dtype.kind == "i" else None
        bits = score.view(np.uint64) if signed is None else signed.view(np.uint64) ^ np.uint64(1 << 63)
        return ~bits, 0
    result: tuple[np.ndarray, int] = _long_keys(np.ascontiguousarray(score, np.float64).view(np.uint64))
    return result


@njit(cache=True, nogil=True)
def _long_keys(bits):  # type: ignore[no-untyped-def]
    n = bits.shape[0]
    keys = np.empty(n, np.uint64)
    sign, rest = np.uint64(1 << 63), np.uint64((1 << 63) - 1)
    infinity = np.uint64(0x7FF << 52)
    refused = 0
    for i in range(n):
        b = bits[i]
        magnitude = b & rest
        refused += magnitude >= infinity
        keys[i] = b if (b & sign) and magnitude else ~b & rest
    return keys, refused


@njit(cache=True, nogil=True)
def _pack_float32(bits):  # type: ignore[no-untyped-def]
    n = bits.shape[0]
    packed = np.empty(n, np.uint64)
    sign, rest = np.uint32(1 << 31), np.uint32((1 << 31) - 1)
    infinity = np.uint32(0xFF << 23)
    refused = 0
    for i in range(n):
        b = bits[i]
        magnitude = b & rest
        refused += magnitude >= infinity
        key = b if (b & sign) and magnitude else ~b & rest
        packed[i] = (np.uint64(key) << np.uint64(32)) | np.uint64(i)
    return packed, refused


@njit(cache=True, nogil=True)
def _radix_sort(words, spare):  # type: ignore[no-untyped-def]
    """Sort by the upper 32 bits, stable; True when the result is in `words`, False when it is in `spare`."""
    n = words.shape[0]
    counts = np.zeros((3, _BUCKETS), np.int64)
    mask = np.uint64(_BUCKETS - 1)
    for i in range(n):
        w = words[i]
        counts[0, (w >> np.uint64(32)) & mask] += 1
        counts[1, (w >> np.uint64(43)) & mask] += 1
        counts[2, w >> np.uint64(54)] += 1
    inside = True
    for digit in range(3):
        shift = np.uint64(32 + _DIGIT * digit)
        places = counts[digit]
        if places[(words[0] >> shift) & mask] == n:
            continue
        total = 0
        for bucket in range(_BUCKETS):
            count = places[bucket]
            places[bucket] = total
            total += count
        for i in range(n):
            w = words[i]
            bucket = (w >> shift) & mask
            spare[places[bucket]] = w
            places[bucket] += 1
        words, spare = spare, words
        inside = not inside
    return inside


# The unpacking functions reuse what the sort needed: row numbers go where the other words were, and the ends of groups
# over the words that have been read. New memory costs more than the sort.


@njit(cache=True, nogil=True)
def _unpack(words, order):  # type: ignore[no-untyped-def]
    """Row numbers into `order`, ends of groups into the front of `words`; the number of groups."""
    n = words.shape[0]
    groups = 0
    low, half = np.uint64(0xFFFFFFFF), np.uint64(32)
    for i in range(n):
        w = words[i]
        order[i] = w & low
        if i + 1 == n or words[i + 1] >> half != w >> half:
            words[groups] = np.uint64(i + 1)
            groups += 1
    return groups


@njit(cache=True, nogil=True)
def _pack_long(keys, words):  # type: ignore[no-untyped-def]
    """The 32 leading bits of every key above the least, and its row; the number of bits that are left."""
    n = keys.shape[0]
    least, most = keys[0], keys[0]
    for i in range(n):
        least, most = min(least, keys[i]), max(most, keys[i])
    left = np.uint64(0)
    while (most - least) >> left > np.uint64(0xFFFFFFFF):
        left += np.uint64(1)
    for i in range(n):
        words[i] = (((keys[i] - least) >> left) << np.uint64(32)) | np.uint64(i)
        keys[i] -= least
    return left


@njit(cache=True, nogil=True)
def _unpack_long(keys, words, order, left):  # type: ignore[no-untyped-def]
    """As `_unpack`, every run of equal leading bits sorted by the `left` lower bits of its `keys` first."""
    n = words.shape[0]
    groups, start = 0, 0
    low, half = np.uint64(0xFFFFFFFF), np.uint64(32)
    tail = (np.uint64(1) << left) - np.uint64(1)
    while start < n:
        lead = words[start] >> half
        end = start + 1
        while end < n and words[end] >> half == lead:
            end += 1
        if end - start == 1:
            order[start] = words[start] & low
        else:
            run, spare = words[start:end], order[start:end]
            for i in range(end - start):
                row = run[i] & low
                run[i] = ((keys[row] & tail) << half) | row
            _sort_run(run, spare)
            for i in range(start, end - 1):
                w = words[i]
                order[i] = w & low
                if w >> half != words[i + 1] >> half:
                    words[groups] = np.uint64(i + 1)
                    groups += 1
            order[end - 1] = words[end - 1] & low
        words[groups] = np.uint64(end)
        groups += 1
        start = end
    return groups


@njit(cache=True, nogil=True)
def _sort_run(run, spare):  # type: ignore[no-untyped-def]
    n = run.shape[0]
    if n > _INSERTION:
        if not _radix_sort(run, spare):
            run[:] = spare
        return
    for i in range(1, n):
        w, at = run[i], i
        while at and run[at - 1] > w:
            run[at] = run[at - 1]
            at -= 1
        run[at] = w
