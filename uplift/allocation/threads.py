"""How many threads a problem is worth: waiting for a second thread costs more than a small problem takes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numba

_UNITS_PER_THREAD = 1 << 16


@contextmanager
def threads_for(units: int) -> Iterator[None]:
    """At most one numba thread for every 65,536 units inside the block; answers do not depend on it."""
    used = numba.get_num_threads()
    numba.set_num_threads(max(1, min(used, units // _UNITS_PER_THREAD)))
    try:
        yield
    finally:
        numba.set_num_threads(used)
