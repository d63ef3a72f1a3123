"""Time and memory of one budget over files that are larger than memory.

    python benchmarks/bench_allocate_file.py              # 10M units, 5 arms
    python benchmarks/bench_allocate_file.py 1e8 --keep FOLDER

Writes a Parquet file of menus (float32, row groups of a million), then, in a process of its own each: reads it once and
does nothing; decides (``solve``); decides and writes the plan (``plan``). States rows per second, peak memory (on the
same scale: the process that only reads), and the certified gap. ``--keep`` leaves the files for another run.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.bench_allocate import marketing
from uplift.allocation import MenuFile, allocate_file
from uplift.allocation.streamed import Terms, solve_stream

GROUP = 1_000_000


def write_menus(path: Path, n: int, k: int) -> None:
    """A file of `n` menus; nothing is held but one row group."""
    writer = None
    for start in range(0, n, GROUP):
        value, cost = marketing(min(GROUP, n - start), k, seed=start // GROUP + 1)
        table = pa.table(
            {"unit": np.arange(start, start + len(value))}
            | {f"value__{j}": value[:, j] for j in range(k)}
            | {f"cost__{j}": cost[:, j] for j in range(k)}
        )
        writer = writer or pq.ParquetWriter(path, table.schema, use_dictionary=False, compression="none")
        writer.write_table(table)
    assert writer is not None
    writer.close()


def source(path: Path, k: int) -> MenuFile:
    names = [str(j) for j in range(k)]
    return MenuFile(
        path,
        unit="unit",
        value={j: f"value__{j}" for j in names},
        cost={j: f"cost__{j}" for j in names},
    )


def measured(step: str, path: Path, k: int, budget: float) -> dict[str, float]:
    """One step in this process."""
    menus = source(path, k)
    warm = path.with_name("warm.parquet")  # compiles the kernels
    write_menus(warm, 120_000, k)
    terms = Terms(budget=budget, min_roi=0.0, allow_harm=False, holdout=0.0, salt="bench")
    solve_stream(source(warm, k), Terms(1000.0, 0.0, False, 0.0, "warm"))
    started = time.perf_counter()
    found: dict[str, float] = {}
    if step == "read":
        sum(len(block) for block in menus.blocks())
    elif step == "solve":
        solution = solve_stream(menus, terms).solution
        found = {"passes": solution.passes, "core_share": solution.core / menus.n_rows}
    else:
        plan = allocate_file(menus, path.with_name("plan.parquet"), budget=budget, overwrite=True)
        found = {"gap": plan.certificate.gap, "left": budget - plan.certificate.expected_cost}
    seconds = time.perf_counter() - started
    return {
        "seconds": round(seconds, 2),
        "rows_per_second": round(menus.n_rows / seconds),
        "peak_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2),
        **found,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("units", nargs="?", type=float, default=1e7)
    parser.add_argument("--arms", type=int, default=5)
    parser.add_argument("--keep", type=Path, default=None)
    parser.add_argument("--steps", default="read,solve,plan")
    parser.add_argument("--step", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    n, k = int(arguments.units), arguments.arms
    budget = 0.25 * n
    if arguments.step:
        print(json.dumps(measured(arguments.step, arguments.keep / "menus.parquet", k, budget)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "menus.parquet"
        if not path.exists():
            write_menus(path, n, k)
        print(f"{n:,} units x {k} arms, {path.stat().st_size / 1e9:.2f} GB of Parquet")
        for step in arguments.steps.split(","):
            run = [sys.executable, __file__, str(n), "--arms", str(k), "--keep", str(folder), "--step", step]
            done = subprocess.run(run, check=True, capture_output=True, text=True)
            print(f"{step:6}", done.stdout.strip(), flush=True)


if __name__ == "__main__":
    main()
