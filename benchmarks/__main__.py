"""Run every benchmark, one process each: ``python -m benchmarks [NAME ...]``."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

LONG = ("acic", "allocate_peers", "click_through", "composed", "meta", "tuning")
"""Take from a quarter of an hour to hours; run only when named."""

HERE = Path(__file__).resolve().parent
_BESIDE = HERE.parents[1] / "shared" / "data"
if "UPLIFT_DATA_HOME" not in os.environ and _BESIDE.is_dir():
    os.environ["UPLIFT_DATA_HOME"] = str(_BESIDE)


def main(wanted: list[str]) -> int:
    """Run the benchmarks whose names are given, or all but the longest; return the number that failed."""
    names = sorted(file.stem.removeprefix("bench_") for file in HERE.glob("bench_*.py"))
    unknown = [name for name in wanted if name not in names]
    if unknown:
        print(f"unknown benchmark {unknown[0]!r}; choose from: {', '.join(names)}", file=sys.stderr)
        return 2
    failed = 0
    for name in wanted or [name for name in names if name not in LONG]:
        print(f"\n== {name} ==", flush=True)
        failed += (
            subprocess.run([sys.executable, str(HERE / f"bench_{name}.py")], check=False).returncode != 0
        )
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
