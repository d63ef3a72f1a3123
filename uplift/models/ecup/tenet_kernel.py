"""TENet of one row after the other for the CPU, forwards and backwards: eq. 9-16 without a table in main memory.

Backwards, for one row and head h of unit u, from the gradient dA_u of its attention::

    dO_h = dA_u answers_h'                      dS = P (dO_h E' - dO_h . O_h)             dQ_h = dS E
    dE  += P' dO_h + dS' Q_h + dQ_h asks_h'     d asks_h += E' dQ_h                       d answers_h += O_h' dA_u

P is formed again from the scores, as in FlashAttention (Dao et al., NeurIPS 2022).
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from uplift.models.ecup.attention_kernel import (
    LOG2E,
    ONE,
    STRIP,
    TILE,
    ZERO,
    add_turned_product,
    add_turned_times,
    attend_row,
    contexts_of_row,
    copy_keys,
    dots,
    grow,
    load_column,
    mix,
    read_column,
    store_column,
    times,
    turn,
)
from uplift.models.ecup.float32x8 import add, div, exp2, fill, fma, larger, load, mul, store, sub

LEAST, MINUS_LOG2E = np.float32(-80), np.float32(-1 / math.log(2))


@njit(cache=True, nogil=True, inline="always")
def _sigmoid(x):  # type: ignore[no-untyped-def]
    """``1 / (1 + e^-x)``, within 2e-35 below -80."""
    one = fill(ONE)
    return div(one, add(one, exp2(mul(larger(x, fill(LEAST)), fill(MINUS_LOG2E)))))


@njit(cache=True, nogil=True)
def _space(f, d, count, units):  # type: ignore[no-untyped-def]
    """Arrays to work in for a row of f fields under `count` heads: keys, asked, turned, s and contexts."""
    keys = np.zeros(((f + 3) // 4 * 4, d), np.float32)
    asked, turned = np.empty((count * f, d), np.float32), np.empty((d, TILE), np.float32)
    return (
        keys,
        asked,
        turned,
        np.empty((keys.shape[0], TILE), np.float32),
        np.empty((units, f, d), np.float32),
    )


@njit(cache=True, nogil=True)
def tenet(fields, asks, answers, bits, treatment, tokens, mixed, shifts, shares, first, last):  # type: ignore[no-untyped-def]
    """E~ of the rows `first` to `last` - 1.

    Parameters
    ----------
    fields : float32 [row, f, d]
        E^x; d a multiple of STRIP, f of at least 4.
    asks, answers : float32 [H, d, d]
        ``W_Q W_K' / sqrt(d_a)`` and ``W_V W_P`` of every head of every unit.
    bits : float32 [U, row, 1 or f, d]
        E^bit of TAU_g first and of TAU_w last (one unit is both).
    treatment : float32 [row, d]
        E^tr.
    tokens : float32 [row, f + 1, d]
        Filled.
    mixed, shifts, shares
        Filled, see :func:`~uplift.models.ecup.attention_kernel.attend_row`; for :func:`tenet_back`.
    """
    f, d, count = fields.shape[1], fields.shape[2], asks.shape[0]
    keys, asked, turned, s, contexts = _space(f, d, count, bits.shape[0])
    for row in range(first, last):
        copy_keys(fields, row, keys)
        attend_row(keys, f, asks, asked, turned, s, mixed, shifts, shares, row)
        contexts_of_row(mixed, row, answers, f, contexts)
        _gate(keys, contexts, bits, row, treatment, tokens, row)


@njit(cache=True, nogil=True)
def tenet_of_arms(fields, asks, answers, bits, treatments, tokens, first, last):  # type: ignore[no-untyped-def]
    """E~ under every arm of the rows `first` to `last` - 1, without what :func:`tenet_back` needs.

    Parameters
    ----------
    fields, asks, answers
        As for :func:`tenet`.
    bits : float32 [U, arm, 1 or f, d]
        E^bit of every arm.
    treatments : float32 [arm, d]
        E^tr of every arm.
    tokens : float32 [row, arm, f + 1, d]
        Filled.
    """
    f, d, count, arms = fields.shape[1], fields.shape[2], asks.shape[0], bits.shape[1]
    wide = (count * f + STRIP - 1) // STRIP * STRIP
    keys, asked, turned, s, contexts = _space(f, d, count, bits.shape[0])
    mixed = np.empty((1, d, wide), np.float32)
    shifts, shares = np.empty((1, wide), np.float32), np.empty((1, wide), np.float32)
    for row in range(first, last):
        copy_keys(fields, row, keys)
        attend_row(keys, f, asks, asked, turned, s, mixed, shifts, shares, 0)
        contexts_of_row(mixed, 0, answers, f, contexts)
        for arm in range(arms):
            _gate(keys, contexts, bits, arm, treatments, tokens, row * arms + arm)


@njit(cache=True, nogil=True)
def _gate(keys, contexts, bits, which, treatments, tokens, row):  # type: ignore[no-untyped-def]
    """``E^r = E^x sigmoid(W_b) + E^TAU (1 - sigmoid(W_b))`` and E^tr under treatment `which`, to tokens' `row`."""
    units, f, d = contexts.shape
    treated, of, one = bits.shape[1], bits.shape[2], fill(ONE)
    for i in range(f):
        j = min(i, of - 1)
        a, b = (which * of + j) * d, (((units - 1) * treated + which) * of + j) * d
        g, w, to = i * d, ((units - 1) * f + i) * d, (row * (f + 1) + i) * d
        for v in range(0, d, 8):
            enhanced = mul(load(contexts, g + v), load(bits, a + v))
            share = _sigmoid(mul(load(contexts, w + v), load(bits, b + v)))
            store(tokens, to + v, fma(share, load(keys, g + v), mul(sub(one, share), enhanced)))
    for v in range(0, d, 8):
        store(tokens, (row * (f + 1) + f) * d + v, load(treatments, which * d + v))


@njit(cache=True, nogil=True)
def _gate_back(keys, contexts, bits, grad, row, keys_grad, contexts_grad, bits_grad):  # type: ignore[no-untyped-def]
    """Gradients of :func:`_gate`; `keys_grad` and `contexts_grad` are filled, `bits_grad` grows."""
    units, f, d = contexts.shape
    rows, of, one = bits.shape[1], bits.shape[2], fill(ONE)
    for i in range(f):
        j = min(i, of - 1)
        a, b = (row * of + j) * d, (((units - 1) * rows + row) * of + j) * d
        g, w, at = i * d, ((units - 1) * f + i) * d, (row * (f + 1) + i) * d
        for v in range(0, d, 8):
            context, bit = load(contexts, g + v), load(bits, a + v)
            weight, weight_bit = load(contexts, w + v), load(bits, b + v)
            share, slope = _sigmoid(mul(weight, weight_bit)), load(grad, at + v)
            rest = sub(one, share)
            store(keys_grad, g + v, mul(slope, share))
            enhanced_grad = mul(slope, rest)
            weight_grad = mul(mul(slope, sub(load(keys, g + v), mul(context, bit))), mul(share, rest))
            store(bits_grad, a + v, fma(enhanced_grad, context, load(bits_grad, a + v)))
            store(bits_grad, b + v, fma(weight_grad, weight, load(bits_grad, b + v)))
            if units == 1:
                store(contexts_grad, g + v, fma(enhanced_grad, bit, mul(weight_grad, weight_bit)))
            else:
                store(contexts_grad, g + v, mul(enhanced_grad, bit))
                store(contexts_grad, w + v, mul(weight_grad, weight_bit))


@njit(cache=True, nogil=True)
def _own_scores(turned, mixed, at, wide, own, width, d):  # type: ignore[no-untyped-def]
    """``own[i] = sum_k turned[k, i] mixed[k, i]``: dO . O of every query."""
    for v in range(0, width, 8):
        total = fill(ZERO)
        for k in range(d):
            total = fma(load(turned, k * TILE + v), load(mixed, at + k * wide + v), total)
        store(own, v, total)


@njit(cache=True, nogil=True)
def _score_gradients(s, g, own, shifts, shares, at, f, width):  # type: ignore[no-untyped-def]
    """``s = P = share 2^(s - shift)`` and ``g = P (g - own)``, in place, for f keys."""
    for v in range(0, width, 8):
        shift, share, mean = load(shifts, at + v), load(shares, at + v), load(own, v)
        for j in range(f):
            p = mul(exp2(sub(load(s, j * TILE + v), shift)), share)
            store(s, j * TILE + v, p)
            store(g, j * TILE + v, mul(p, sub(load(g, j * TILE + v), mean)))


@njit(cache=True, nogil=True)
def _add_back(s, x, row, z, f, n, d):  # type: ignore[no-untyped-def]
    """``z[j] += sum_i s[j, i] x[row + i]`` over n queries, for f keys, a multiple of 4."""
    for j in range(0, f, 4):
        for v in range(0, d, 16):
            to = j * d + v
            a0, a1, a2, a3 = load_column(z, to, d)
            b0, b1, b2, b3 = load_column(z, to + 8, d)
            at, of = j * TILE, row * d + v
            for _ in range(n):
                u, w = load(x, of), load(x, of + 8)
                p0, p1, p2, p3 = read_column(s, at, TILE)
                a0, a1, a2, a3 = grow(a0, a1, a2, a3, u, p0, p1, p2, p3)
                b0, b1, b2, b3 = grow(b0, b1, b2, b3, w, p0, p1, p2, p3)
                at += 1
                of += d
            store_column(z, to, d, a0, a1, a2, a3)
            store_column(z, to + 8, d, b0, b1, b2, b3)


@njit(cache=True, nogil=True)
def tenet_back(fields, asks, asks_t, answers, answers_t, bits, mixed, shifts, shares, grad, fields_grad, bits_grad, asks_grad_t, answers_grad, first, last):  # type: ignore[no-untyped-def]  # fmt: skip
    """Gradients of :func:`tenet` for the rows `first` to `last` - 1; that of the treatment is the last field of `grad`.

    Parameters
    ----------
    fields, asks, answers, bits, mixed, shifts, shares
        As there.
    asks_t, answers_t : float32 [H, d, d]
        Every matrix transposed.
    grad : float32 [row, f + 1, d]
        With respect to E~.
    fields_grad : float32 [row, f, d]
        Filled.
    bits_grad : float32 [U, row, 1 or f, d]
        Zeros, filled.
    asks_grad_t, answers_grad : float32 [H, d, d]
        The sums over these rows are added; every matrix of the first is transposed.
    """
    f, d, count, units = fields.shape[1], fields.shape[2], asks.shape[0], bits.shape[0]
    heads, padded, queries, wide = count // units, (f + 3) // 4 * 4, count * f, mixed.shape[2]
    keys, keys_grad = np.zeros((padded, d), np.float32), np.zeros((padded, d), np.float32)
    contexts, contexts_grad = np.empty((units, f, d), np.float32), np.empty((units, f, d), np.float32)
    asked, found_grad = np.empty((queries, d), np.float32), np.empty((queries, d), np.float32)
    asked_grad_t = np.empty((d, wide), np.float32)
    turned = np.empty((d, TILE), np.float32)
    s, g = np.empty((padded, TILE), np.float32), np.empty((padded, TILE), np.float32)
    own, ones = np.empty(TILE, np.float32), np.ones(TILE, np.float32)
    for row in range(first, last):
        of_row = row * d * wide
        copy_keys(fields, row, keys)
        contexts_of_row(mixed, row, answers, f, contexts)
        _gate_back(keys, contexts, bits, grad, row, keys_grad, contexts_grad, bits_grad)
        for h in range(count):
            unit = h // heads * f
            times(keys, 0, asks, h * d, asked, h * f, f, d)
            times(contexts_grad, unit, answers_t, h * d, found_grad, h * f, f, d)
            add_turned_product(mixed, of_row + h * f, wide, contexts_grad, unit, answers_grad, h * d, f, d)
        for start in range(0, wide, TILE):
            width = min(TILE, wide - start)
            n = min(width, queries - start)
            turn(found_grad, start, turned, n, width, d, ONE)
            _own_scores(turned, mixed, of_row + start, wide, own, width, d)
            dots(turned, keys, g, padded, width, d)
            turn(asked, start, turned, n, width, d, LOG2E)
            dots(turned, keys, s, padded, width, d)
            _score_gradients(s, g, own, shifts, shares, row * wide + start, f, width)
            _add_back(s, found_grad, start, keys_grad, padded, n, d)
            _add_back(g, asked, start, keys_grad, padded, n, d)
            mix(g, keys, ones, 0, asked_grad_t, start, wide, f, width, d)
        for h in range(count):
            add_turned_times(asked_grad_t, h * f, wide, asks_t, h * d, keys_grad, 0, f, d)
            add_turned_product(asked_grad_t, h * f, wide, keys, 0, asks_grad_t, h * d, f, d)
        for j in range(f):
            fields_grad[row, j] = keys_grad[j]
