"""A fixed number of threads: float sums depend on it, so the same seed needs the same number every time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

MOST = 16
"""More threads than this do not help networks of this size."""


def thread_count() -> int:
    """``OMP_NUM_THREADS`` where it is set, else the processors this process may use; at most `MOST`."""
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    if wanted.isdigit() and int(wanted) > 0:
        return min(int(wanted), MOST)
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(available, MOST)


@contextmanager
def fixed_threads() -> Iterator[None]:
    """`thread_count` torch threads inside the block, what it was before afterwards.

    torch's own count is no constant: numba's thread pool, for one, changes it behind torch's back.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(thread_count())
    try:
        yield
    finally:
        torch.set_num_threads(before)
