"""TENet for float32 on the CPU, compiled: functions that torch can differentiate.

Rows are cut into chunks of a fixed size, which the threads take in turn; sums over rows are formed per chunk and then
over chunks, so that results do not depend on the number of threads.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import torch
from torch import Tensor

from uplift.models.ecup import attention_kernel, tenet_kernel

CHUNK = 32
"""Rows per call of a kernel."""
FEWEST = 20
"""Fields at least: with fewer, torch's operations are as fast and need no compiling. Never below 4."""


def usable(fields: Tensor) -> bool:
    """Whether the kernels take these fields [batch, f, d]; where not, torch's operations do the same.

    Parameters
    ----------
    fields : Tensor
        E^x.

    Returns
    -------
    bool
        True for float32 on the CPU with `FEWEST` fields or more and d a multiple of 16, outside of autocast,
        compilation and export.

    Examples
    --------
    >>> usable(torch.zeros(2, 40, 16)), usable(torch.zeros(2, 40, 24)), usable(torch.zeros(2, 4, 16))
    (True, False, False)
    """
    return (
        fields.device.type == "cpu"
        and fields.dtype == torch.float32
        and fields.shape[-2] >= FEWEST
        and fields.shape[-1] % attention_kernel.STRIP == 0
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
    )


def tenet(fields: Tensor, asks: Tensor, answers: Tensor, bits: Tensor, treatment: Tensor) -> Tensor:
    """Treatment-aware units, gate, and the treatment as one more field (eq. 9-16).

    Parameters
    ----------
    fields : Tensor [batch, f, d]
        E^x.
    asks, answers : Tensor [U H, d, d]
        ``W_Q W_K' / sqrt(d_a / H)`` and ``W_V W_P`` of every head of every unit.
    bits : Tensor [U, batch, 1 or f, d]
        E^bit of TAU_g first and of TAU_w last (one unit is both).
    treatment : Tensor [batch, d]
        E^tr.

    Returns
    -------
    Tensor [batch, f + 1, d]
        E~.

    Examples
    --------
    >>> fields, zero = torch.ones(1, 4, 16), torch.zeros(1, 16, 16)
    >>> tenet(fields, zero, zero, torch.ones(1, 1, 1, 16), torch.full((1, 16), 7.0))[0, :, 0]
    tensor([0.5000, 0.5000, 0.5000, 0.5000, 7.0000])
    """
    result: Tensor = _Tenet.apply(fields, asks, answers, bits, treatment)  # type: ignore[no-untyped-call]
    return result


def tenet_of_arms(fields: Tensor, asks: Tensor, answers: Tensor, bits: Tensor, treatments: Tensor) -> Tensor:
    """:func:`tenet` under every arm, the attention formed once per row; without gradients.

    Parameters
    ----------
    fields, asks, answers
        As there.
    bits : Tensor [U, arm, 1 or f, d]
        E^bit of every arm.
    treatments : Tensor [arm, d]
        E^tr of every arm.

    Returns
    -------
    Tensor [batch, arm, f + 1, d]
        E~.

    Examples
    --------
    >>> fields, zero = torch.ones(1, 4, 16), torch.zeros(1, 16, 16)
    >>> tenet_of_arms(fields, zero, zero, torch.ones(1, 2, 1, 16), torch.eye(16)[:2])[0, :, :, 0]
    tensor([[0.5000, 0.5000, 0.5000, 0.5000, 1.0000],
            [0.5000, 0.5000, 0.5000, 0.5000, 0.0000]])
    """
    rows, f, d = fields.shape
    tokens = fields.new_empty(rows, len(treatments), f + 1, d)
    arrays = [_array(x) for x in (fields, asks, answers, bits, treatments)] + [_array(tokens)]

    def run(first: int, last: int, _: int) -> None:
        tenet_kernel.tenet_of_arms(*arrays, first, last)  # type: ignore[call-arg]

    _in_chunks(rows, run)
    return tokens


class _Tenet(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, fields: Tensor, asks: Tensor, answers: Tensor, bits: Tensor, treatment: Tensor
    ) -> Tensor:
        fields, asks, answers, bits = (x.contiguous() for x in (fields, asks, answers, bits))
        rows, f, d = fields.shape
        wide = -(-len(asks) * f // attention_kernel.STRIP) * attention_kernel.STRIP
        tokens, mixed = fields.new_empty(rows, f + 1, d), fields.new_empty(rows, d, wide)
        shifts, shares = fields.new_empty(rows, wide), fields.new_empty(rows, wide)
        arrays = [_array(x) for x in (fields, asks, answers, bits, treatment, tokens, mixed, shifts, shares)]

        def run(first: int, last: int, _: int) -> None:
            tenet_kernel.tenet(*arrays, first, last)  # type: ignore[call-arg]

        _in_chunks(rows, run)
        ctx.save_for_backward(fields, asks, answers, bits, mixed, shifts, shares)
        return tokens

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        fields, asks, answers, bits, mixed, shifts, shares = ctx.saved_tensors
        rows, grad = len(fields), grad.contiguous()
        sums = asks.new_zeros(2, -(-rows // CHUNK), *asks.shape)  # of every chunk
        fields_grad, bits_grad = torch.empty_like(fields), torch.zeros_like(bits)
        inputs = (fields, asks, asks.mT, answers, answers.mT, bits, mixed, shifts, shares, grad)
        arrays = [_array(x) for x in inputs] + [_array(fields_grad), _array(bits_grad)]
        of_asks, of_answers = _array(sums)

        def run(first: int, last: int, chunk: int) -> None:
            tenet_kernel.tenet_back(*arrays, of_asks[chunk], of_answers[chunk], first, last)  # type: ignore[call-arg]

        _in_chunks(rows, run)
        asks_grad, answers_grad = sums.sum(1)
        return fields_grad, asks_grad.mT, answers_grad, bits_grad, grad[:, -1]


def _array(x: Tensor) -> Any:
    return x.detach().contiguous().numpy()


def _in_chunks(rows: int, run: Callable[[int, int, int], None]) -> None:
    """Call ``run(first, last, chunk)`` for every chunk, on torch's number of threads."""
    starts = range(0, rows, CHUNK)
    threads = min(torch.get_num_threads(), len(starts))

    def one(first: int) -> None:
        run(first, min(first + CHUNK, rows), first // CHUNK)

    if threads <= 1:
        for first in starts:
            one(first)
    else:
        for _ in _pool(threads, os.getpid()).map(one, starts):
            pass


@cache
def _pool(threads: int, process: int) -> ThreadPoolExecutor:
    """Threads of this process: a fork inherits none of its parent's."""
    return ThreadPoolExecutor(threads, thread_name_prefix="tenet")
