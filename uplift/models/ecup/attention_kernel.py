"""Self-attention over the fields of a row, for the CPU: everything of a row stays in the first two caches.

A row has f fields of d numbers. torch's kernel is made for long sequences of long vectors: per row it forms products of
32 x 16 x 99 numbers one library call at a time. Here queries go through in tiles of `TILE`, their numbers one below the
other [d, TILE] so that a vector instruction works on eight queries, in strips of `STRIP`; sums stay in registers.

For one row and head h, with ``Q_h = E asks_h`` and log2(e) in the scores::

    S = log2(e) Q_h E'          P = 2^S / sum_j 2^S          O_h = P E          E^att_u = sum_h O_h answers_h

A table is flat positions in numba: ``x, at, stride`` is the number ``x[at + k stride + i]`` for row k and column i.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from uplift.models.ecup.float32x8 import add, div, exp2, fill, fma, larger, load, mul, read, store, sub

TILE = 32
"""Queries at a time: two tables of their scores with 99 fields fit into 32 KiB."""
STRIP = 16
"""Queries whose sums are in registers at the same time. d must be a multiple of it, too."""
ZERO, ONE, LOW, LOG2E = np.float32(0), np.float32(1), np.float32(-3e38), np.float32(1 / math.log(2))


@njit(cache=True, nogil=True, inline="always")
def load_column(x, at, stride):  # type: ignore[no-untyped-def]
    """Four vectors, one below the other."""
    return load(x, at), load(x, at + stride), load(x, at + 2 * stride), load(x, at + 3 * stride)


@njit(cache=True, nogil=True, inline="always")
def store_column(x, at, stride, v0, v1, v2, v3):  # type: ignore[no-untyped-def]
    """What :func:`load_column` loads."""
    store(x, at, v0)
    store(x, at + stride, v1)
    store(x, at + 2 * stride, v2)
    store(x, at + 3 * stride, v3)


@njit(cache=True, nogil=True, inline="always")
def read_column(x, at, stride):  # type: ignore[no-untyped-def]
    """Four numbers, one below the other, eight times each."""
    return read(x, at), read(x, at + stride), read(x, at + 2 * stride), read(x, at + 3 * stride)


@njit(cache=True, nogil=True, inline="always")
def nothing():  # type: ignore[no-untyped-def]
    """Four vectors of zeros: sums to be."""
    zero = fill(ZERO)
    return zero, zero, zero, zero


@njit(cache=True, nogil=True, inline="always")
def grow(s0, s1, s2, s3, x, k0, k1, k2, k3):  # type: ignore[no-untyped-def]
    """Four sums, each with its product more."""
    return fma(x, k0, s0), fma(x, k1, s1), fma(x, k2, s2), fma(x, k3, s3)


@njit(cache=True, nogil=True)
def times(x, row, matrix, at, y, into, n, d):  # type: ignore[no-untyped-def]
    """``y[into:into + n] = x[row:row + n] matrix[at:at + d]`` for tables with rows of d numbers; n of 4 or more."""
    for block in range((n + 3) // 4):
        first = min(4 * block, n - 4)  # the last four rows once more rather than rows beyond the end
        a, b = (row + first) * d, (into + first) * d
        for v in range(0, d, 8):
            s0, s1, s2, s3 = nothing()
            m = at * d + v
            for k in range(d):
                right = load(matrix, m)
                k0, k1, k2, k3 = read_column(x, a + k, d)
                s0, s1, s2, s3 = grow(s0, s1, s2, s3, right, k0, k1, k2, k3)
                m += d
            store_column(y, b + v, d, s0, s1, s2, s3)


@njit(cache=True, nogil=True)
def add_turned_times(x, at, stride, matrix, below, y, into, n, d):  # type: ignore[no-untyped-def]
    """``y[into:into + n] += x' matrix[below:below + d]`` for x [d, n] and rows of d numbers in the other two."""
    for first in range(0, n // 4 * 4, 4):
        a, b = at + first, (into + first) * d
        for v in range(0, d, 8):
            s0, s1, s2, s3 = load_column(y, b + v, d)
            m, p = below * d + v, a
            for _ in range(d):
                right = load(matrix, m)
                k0, k1, k2, k3 = read_column(x, p, 1)
                s0, s1, s2, s3 = grow(s0, s1, s2, s3, right, k0, k1, k2, k3)
                m += d
                p += stride
            store_column(y, b + v, d, s0, s1, s2, s3)
    for i in range(n // 4 * 4, n):
        for v in range(0, d, 8):
            to = (into + i) * d + v
            total = load(y, to)
            for k in range(d):
                total = fma(read(x, at + i + k * stride), load(matrix, (below + k) * d + v), total)
            store(y, to, total)


@njit(cache=True, nogil=True)
def add_turned_product(x, at, stride, y, row, z, into, n, d):  # type: ignore[no-untyped-def]
    """``z[into:into + d] += x y[row:row + n]`` for x [d, n] and rows of d numbers in the other two."""
    for k in range(0, d, 4):
        for v in range(0, d, 8):
            to = (into + k) * d + v
            s0, s1, s2, s3 = load_column(z, to, d)
            a, b = at + k * stride, row * d + v
            for _ in range(n):
                right = load(y, b)
                k0, k1, k2, k3 = read_column(x, a, stride)
                s0, s1, s2, s3 = grow(s0, s1, s2, s3, right, k0, k1, k2, k3)
                a += 1
                b += d
            store_column(z, to, d, s0, s1, s2, s3)


@njit(cache=True, nogil=True)
def turn(x, row, y, n, width, d, scale):  # type: ignore[no-untyped-def]
    """``y[:, :n] = scale x[row:row + n]'`` for y [d, TILE], zero from n to `width`."""
    for i in range(n):
        for k in range(d):
            y[k, i] = x[row + i, k] * scale
    for i in range(n, width):
        for k in range(d):
            y[k, i] = ZERO


@njit(cache=True, nogil=True)
def dots(queries, keys, s, f, width, d):  # type: ignore[no-untyped-def]
    """``s[j] = keys[j] queries`` [f, TILE] for queries [d, TILE]; f is a multiple of 4."""
    for strip in range(0, width, STRIP):
        for j in range(0, f, 4):
            a0, a1, a2, a3 = nothing()
            b0, b1, b2, b3 = nothing()
            at, q = j * d, strip
            for _ in range(d):
                x, y = load(queries, q), load(queries, q + 8)
                k0, k1, k2, k3 = read_column(keys, at, d)
                a0, a1, a2, a3 = grow(a0, a1, a2, a3, x, k0, k1, k2, k3)
                b0, b1, b2, b3 = grow(b0, b1, b2, b3, y, k0, k1, k2, k3)
                at += 1
                q += TILE
            store_column(s, j * TILE + strip, TILE, a0, a1, a2, a3)
            store_column(s, j * TILE + strip + 8, TILE, b0, b1, b2, b3)


@njit(cache=True, nogil=True)
def mix(s, keys, shares, share, o, to, stride, f, width, d):  # type: ignore[no-untyped-def]
    """``o[k, i] = shares[i] sum_j s[j, i] keys[j, k]`` over f keys, for o [d, width]."""
    for strip in range(0, width, STRIP):
        first, second = load(shares, share + strip), load(shares, share + strip + 8)
        for k in range(0, d, 4):
            a0, a1, a2, a3 = nothing()
            b0, b1, b2, b3 = nothing()
            at, p = k, strip
            for _ in range(f):
                x, y = load(s, p), load(s, p + 8)
                k0, k1, k2, k3 = read_column(keys, at, 1)
                a0, a1, a2, a3 = grow(a0, a1, a2, a3, x, k0, k1, k2, k3)
                b0, b1, b2, b3 = grow(b0, b1, b2, b3, y, k0, k1, k2, k3)
                at += d
                p += TILE
            of = to + k * stride + strip
            store_column(o, of, stride, mul(a0, first), mul(a1, first), mul(a2, first), mul(a3, first))
            of += 8
            store_column(o, of, stride, mul(b0, second), mul(b1, second), mul(b2, second), mul(b3, second))


@njit(cache=True, nogil=True)
def powers(s, f, width, shifts, shares, at):  # type: ignore[no-untyped-def]
    """``s = 2 ** (s - shift)`` with the largest score as the shift; one by their sum over f keys is the share."""
    for strip in range(0, width, STRIP):
        m0 = fill(LOW)
        m1 = m0
        for j in range(f):
            m0 = larger(m0, load(s, j * TILE + strip))
            m1 = larger(m1, load(s, j * TILE + strip + 8))
        t0 = fill(ZERO)
        t1 = t0
        for j in range(f):
            p = j * TILE + strip
            x, y = exp2(sub(load(s, p), m0)), exp2(sub(load(s, p + 8), m1))
            t0 = add(t0, x)
            t1 = add(t1, y)
            store(s, p, x)
            store(s, p + 8, y)
        store(shifts, at + strip, m0)
        store(shifts, at + strip + 8, m1)
        store(shares, at + strip, div(fill(ONE), t0))
        store(shares, at + strip + 8, div(fill(ONE), t1))


@njit(cache=True, nogil=True)
def copy_keys(fields, row, keys):  # type: ignore[no-untyped-def]
    """The fields [f, d] of a row on top of `keys`, whose further rows stay zero."""
    for j in range(fields.shape[1]):
        for k in range(fields.shape[2]):
            keys[j, k] = fields[row, j, k]


@njit(cache=True, nogil=True)
def attend_row(keys, f, asks, asked, turned, s, mixed, shifts, shares, row):  # type: ignore[no-untyped-def]
    """What the queries of one row find: ``mixed[row]``, O_h' of all heads side by side.

    Parameters
    ----------
    keys : float32 [f up to a multiple of 4, d]
        E^x of the row, zero beyond f.
    f : int
        Fields.
    asks : float32 [H, d, d]
        ``W_Q W_K' / sqrt(d_a)`` of every head.
    asked, turned, s : float32 [H f, d], [d, TILE] and [f up to a multiple of 4, TILE]
        Space to work in; `asked` holds every query afterwards.
    mixed : float32 [row, d, H f up to a multiple of STRIP]
        Filled.
    shifts, shares : float32 [row, H f up to a multiple of STRIP]
        Filled: ``P = share 2^(S - shift)``.
    """
    d, count, padded = keys.shape[1], asks.shape[0], keys.shape[0]
    queries, wide = count * f, mixed.shape[2]
    for h in range(count):
        times(keys, 0, asks, h * d, asked, h * f, f, d)
    for start in range(0, wide, TILE):
        width, at = min(TILE, wide - start), row * wide + start
        turn(asked, start, turned, min(width, queries - start), width, d, LOG2E)
        dots(turned, keys, s, padded, width, d)
        powers(s, f, width, shifts, shares, at)
        mix(s, keys, shares, at, mixed, row * d * wide + start, wide, f, width, d)


@njit(cache=True, nogil=True)
def contexts_of_row(mixed, row, answers, f, contexts):  # type: ignore[no-untyped-def]
    """E^att [U, f, d] of one row: ``sum_h O_h answers_h`` over the heads of every unit."""
    d, wide, units = mixed.shape[1], mixed.shape[2], contexts.shape[0]
    heads = answers.shape[0] // units
    contexts[:] = ZERO
    for h in range(answers.shape[0]):
        add_turned_times(mixed, row * d * wide + h * f, wide, answers, h * d, contexts, h // heads * f, f, d)
