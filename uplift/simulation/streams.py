"""Random numbers by name: what one column draws never depends on which other columns are drawn."""

from __future__ import annotations

import zlib

import numpy as np

#: The response functions are fixed by this seed, so that every simulated campaign lives in the same world.
WORLD_SEED = 20240513


def stream(seed: int, name: str) -> np.random.Generator:
    """Generator for one named column; the same (seed, name) gives the same numbers on any number of threads."""
    return np.random.default_rng([seed, zlib.crc32(name.encode())])
