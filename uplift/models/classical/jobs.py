"""Independent fits side by side, one thread each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Job = TypeVar("Job")
Found = TypeVar("Found")


def workers(jobs: int, threads: int) -> int:
    """How many of `jobs` to run at once with `threads` threads: as many as there are threads, or one after another.

    One thread per fit wastes nothing at the joins of every tree, so it is worth leaving some threads idle; fits that run
    one after another have all threads. Nothing lies between: LightGBM's number of threads is global to the process, and
    two fits at once must not differ in it.

    Examples
    --------
    >>> workers(8, 2), workers(3, 4), workers(2, 16)
    (2, 3, 1)
    """
    return min(jobs, threads) if 2 * jobs >= threads else 1


def in_order(function: Callable[[Job], Found], jobs: Sequence[Job], at_once: int) -> Iterator[Found]:
    """Results of `function` for `jobs`, in their order; after an exception nothing further is begun."""
    if at_once == 1:
        yield from map(function, jobs)
        return
    pool = ThreadPoolExecutor(at_once)
    try:
        yield from pool.map(function, jobs)
    finally:
        pool.shutdown(cancel_futures=True)
