"""Rows per second and peak memory of the simulator: `python benchmarks/bench_simulate.py --rows 1000000`."""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

from uplift.simulation import simulate


def main() -> None:
    """Simulate once (20 numeric, 9 categorical features and is_member by default), then write once."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--numeric", type=int, default=20)
    parser.add_argument("--categorical", type=int, default=9)
    parser.add_argument("--arms", type=int, default=3)
    options = parser.parse_args()
    before = _peak_mib()
    start = time.perf_counter()
    simulation = simulate(**vars(options))
    seconds = time.perf_counter() - start
    features = options.numeric + options.categorical + 1
    held = simulation.table.nbytes + simulation.effects.mu_all.nbytes + simulation.effects.tau_all.nbytes
    print(
        f"{options.rows:,} rows x {features} features, {options.arms} coupons: {seconds:.2f} s, "
        f"{options.rows / seconds:,.0f} rows/s, peak {_peak_mib():,.0f} MiB ({before:,.0f} before, "
        f"{held / 2**20:,.0f} MiB of it the result)"
    )
    with tempfile.TemporaryDirectory() as scratch:
        start = time.perf_counter()
        folder = simulation.write(Path(scratch) / "simulation")
        seconds = time.perf_counter() - start
        size = sum(file.stat().st_size for file in folder.iterdir())
    print(f"write: {seconds:.2f} s, {size / 2**20:,.0f} MiB, peak {_peak_mib():,.0f} MiB")


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
