"""Time and memory of exporting decisions: files of every format, parts by arm, databases; and of the policy.

    python benchmarks/bench_export.py                        # 10M decisions to Parquet, 1M to the others
    python benchmarks/bench_export.py --rows 1e6 --formats csv jsonl --json out.json

Each format runs in a process of its own, which makes the plan's table first (ids, arm, value, cost, holdout as
``allocation.parquet`` has them, decision ids included). The time is that of `export_decisions`: columns of the
contract, writing, counting, hashing (SHA-256), syncing to disk and the rename; best of `--repeat`. ``verify`` is
reading it all back; ``cpu s`` is the
processor time of the export, which other programs on the machine change little. ``plan memory`` is the peak of the process before the export, ``peak memory`` that after it.
PostgreSQL is measured where a server is given (``--to postgresql://...``).
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from uplift.allocation.holdout import decision_ids
from uplift.export import (
    export_decisions,
    export_to_database,
    from_table,
    verify_database,
    verify_export,
)
from uplift.policy import Pacer, Policy, Price

ROWS = {"parquet": 10_000_000, "parts": 10_000_000, "csv": 1_000_000, "jsonl": 1_000_000, "duckdb": 1_000_000,
        "sqlite": 200_000, "duckdb upsert": 200_000}  # fmt: skip


def plan_table(n: int, arms: int = 5) -> pa.Table:
    """A plan of `n` units: four in ten get one of `arms` coupons, one in twenty is held out."""
    rng = np.random.default_rng(0)
    codes = np.where(rng.random(n) < 0.4, rng.integers(1, arms + 1, n), 0).astype(np.int16)
    held = rng.random(n) < 0.05
    codes[held] = 0
    units = pa.array(np.arange(n) + 10**9)
    names = ["none", *(f"coupon_{5 * k}" for k in range(1, arms + 1))]
    constant = [
        pa.DictionaryArray.from_arrays(pa.array(np.zeros(n, np.int8)), [text]) for text in ("spring", "ecup")
    ]
    return pa.table(
        {
            "customer_id": units,
            "arm": pa.DictionaryArray.from_arrays(pa.array(codes), names),
            "expected_value": np.where(codes, rng.gamma(2.0, 1.0, n), 0.0),
            "expected_cost": np.where(codes, rng.gamma(2.0, 0.5, n), 0.0),
            "holdout": held,
            "decision_id": decision_ids(units, campaign="spring"),
            "campaign": constant[0],
            "model": constant[1],
        },
        metadata={"uplift.arms": json.dumps(names)},
    )


def measure(kind: str, n: int, repeat: int, to: str | None) -> dict[str, Any]:
    """Best time of one kind of export, of reading it back, and the memory it took."""
    folder = Path(tempfile.mkdtemp(prefix="uplift-bench-"))
    try:
        table = plan_table(n)
        url = to if kind == "postgresql" else f"{kind.split()[0]}:///{folder}/shop.db"
        base = _peak()
        best = {"export": float("inf"), "cpu": float("inf"), "verify": float("inf")}
        for attempt in range(repeat):
            decisions = from_table(table, known_share=0.05)  # anew: reasons and propensities are part of it
            target = folder / (f"parts-{attempt}" if kind == "parts" else f"plan-{attempt}.{kind}")
            begin, cpu = time.perf_counter(), time.process_time()
            if kind in ("sqlite", "duckdb upsert", "postgresql"):
                export_to_database(decisions, str(url), "bench")
            else:
                export_decisions(decisions, target, by_arm=kind == "parts")
            best["export"] = min(best["export"], time.perf_counter() - begin)
            best["cpu"] = min(best["cpu"], time.process_time() - cpu)
            peak = _peak()
            begin = time.perf_counter()
            database = kind in ("sqlite", "duckdb upsert", "postgresql")
            found = verify_database(str(url), "bench") if database else verify_export(target)
            best["verify"] = min(best["verify"], time.perf_counter() - begin)
            assert found.passed, found.checks
            size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
            if not database:
                shutil.rmtree(target) if target.is_dir() else target.unlink()
        return {
            "format": kind, "rows": n, "seconds": best["export"], "cpu_seconds": best["cpu"], "rows_per_second": n / best["export"],
            "verify_seconds": best["verify"], "megabytes": size / 1e6, "plan_memory_mb": base, "peak_memory_mb": peak,
        }  # fmt: skip
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def measure_policy() -> dict[str, float]:
    """Microseconds per decision, one at a time and in blocks; and how close a paced stream ends to its budget."""
    rng = np.random.default_rng(0)
    n, k = 1_000_000, 5
    cost = rng.uniform(0.5, 3.0, (n, k))
    value = cost * rng.lognormal(0.3, 0.6, (n, k))
    policy = Policy(
        arms=("none", *(f"a{j}" for j in range(k))),
        prices=(Price(kind="budget", price=2.0),),
        holdout_share=0.05,
        salt="s",
    )
    rows = [
        (v, c, unit)
        for unit, (v, c) in enumerate(zip(value[:20_000].tolist(), cost[:20_000].tolist(), strict=True))
    ]
    one = many = float("inf")
    units = pa.array(np.arange(n))
    for _ in range(5):
        begin = time.perf_counter()
        for v, c, unit in rows:
            policy.decide_one(v, c, unit)
        one = min(one, (time.perf_counter() - begin) / len(rows))
        begin = time.perf_counter()
        policy.decide(value, cost, units=units)
        many = min(many, (time.perf_counter() - begin) / n)
    pacer = Pacer(policy, budget=8_000.0, units=len(rows))
    for v, c, unit in rows:
        pacer.decide_one(v, c, unit)
    return {"one_us": one * 1e6, "many_us": many * 1e6, "paced_share_of_budget": pacer.spent / pacer.budget}


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=float, help="rows for every format; default: see the top of the file")
    parser.add_argument("--formats", nargs="+", default=[*ROWS])
    parser.add_argument("--to", help="a PostgreSQL server to measure too")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(arguments.one, int(arguments.rows), arguments.repeat, arguments.to)))
        return
    results = []
    print(
        f"{'format':14s} {'rows':>11s} {'seconds':>8s} {'cpu s':>7s} {'rows/s':>12s} {'verify s':>9s} {'MB':>7s} {'plan MB':>8s} {'peak MB':>8s}"
    )
    for kind in [*arguments.formats, *(["postgresql"] if arguments.to else [])]:
        n = int(arguments.rows or ROWS.get(kind, 200_000))
        command = [
            sys.executable,
            __file__,
            "--one",
            kind,
            "--rows",
            str(n),
            "--repeat",
            str(arguments.repeat),
        ]
        command += ["--to", arguments.to] if arguments.to else []
        run = subprocess.run(command, check=True, capture_output=True, text=True)
        result = json.loads(run.stdout.splitlines()[-1])
        results.append(result)
        print(
            f"{kind:14s} {n:11,d} {result['seconds']:8.2f} {result['cpu_seconds']:7.2f} {result['rows_per_second']:12,.0f} {result['verify_seconds']:9.2f} "
            f"{result['megabytes']:7.0f} {result['plan_memory_mb']:8.0f} {result['peak_memory_mb']:8.0f}",
            flush=True,
        )
    policy = measure_policy()
    print(
        f"policy: {policy['one_us']:.2f} us a decision one at a time, {policy['many_us']:.3f} us in arrays (5 arms, 5 % held "
        f"out); a paced stream of 20,000 ends at {policy['paced_share_of_budget']:.2%} of its budget"
    )
    if arguments.json:
        arguments.json.write_text(json.dumps({"formats": results, "policy": policy}, indent=2) + "\n")


if __name__ == "__main__":
    main()
