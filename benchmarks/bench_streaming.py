"""Memory and speed of training from disk: `python benchmarks/bench_streaming.py --rows 200000 600000 --in-memory`.

Writes a campaign of 99 features (90 numeric, 9 categorical) and 5 arms block by block, trains ECUP for one epoch from
disk and scores all rows to a file, in a process of its own whose peak memory is that of the whole work. The peak
should hardly grow with the rows.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

NUMERIC, CATEGORICAL, ARMS, BLOCK = 90, 9, 5, 100_000

WORK = textwrap.dedent(
    """
    import json, resource, sys, time
    import torch, uplift
    from uplift import Campaign, CampaignStream

    def peak():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    source, mode, params, out = sys.argv[1:]
    roles = dict(unit="unit", treatment="arm", control=0, chain=["click", "buy"], value="spend")
    uplift.ECUP()
    found = {"imports": peak()}
    begun = time.perf_counter()
    kind = CampaignStream if mode == "stream" else Campaign
    campaign = kind.from_parquet(source, **roles)
    found |= {"open_seconds": time.perf_counter() - begun, "open": peak()}
    model = uplift.ECUP(max_epochs=1, device="cpu", **json.loads(params))
    begun = time.perf_counter()
    model.fit(campaign)
    found |= {"fit_seconds": time.perf_counter() - begun, "fit": peak()}
    found["rows_per_second"] = model.history_[0]["rows_per_second"]
    begun = time.perf_counter()
    model.predict_to(campaign, out)
    found |= {"score_seconds": time.perf_counter() - begun, "score": peak()}
    print(json.dumps(found))
    """
)


def write(rows: int, file: Path) -> None:
    """A random campaign whose clicks follow the first feature; one row group per block."""
    writer = None
    for number, first in enumerate(range(0, rows, BLOCK)):
        rng = np.random.default_rng(number)
        n = min(BLOCK, rows - first)
        numeric = rng.normal(size=(NUMERIC, n)).astype(np.float32)
        arm = rng.integers(0, ARMS, n)
        click = rng.random(n) < 0.2 + 0.05 * np.tanh(numeric[0]) + 0.01 * arm
        buy = click & (rng.random(n) < 0.2)
        columns = {"unit": np.arange(first, first + n), "arm": arm.astype(np.int8)}
        columns |= {"click": click.astype(np.int8), "buy": buy.astype(np.int8)}
        columns |= {"spend": np.where(buy, rng.lognormal(3, 0.5, n), 0.0)}
        columns |= {f"x{j}": values for j, values in enumerate(numeric)}
        words = np.array([f"category {code}" for code in range(1_000)], object)
        codes = {f"c{j}": rng.zipf(1.5, n) % 1_000 for j in range(CATEGORICAL)}
        table = pa.table(columns | {name: pa.array(words[code]) for name, code in codes.items()})
        writer = writer or pq.ParquetWriter(file, table.schema)
        writer.write_table(table, row_group_size=BLOCK)
    if writer is not None:
        writer.close()


def measure(source: Path, mode: str, params: str, out: Path) -> dict[str, float]:
    """Seconds and peak MiB of one process."""
    done = subprocess.run(
        [sys.executable, "-c", WORK, str(source), mode, params, str(out)], capture_output=True, text=True, check=False
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout)


def main() -> None:
    """Print one line per size and mode."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[200_000])
    parser.add_argument("--params", default="{}", help="options of ECUP as JSON, for a small network say")
    parser.add_argument("--in-memory", action="store_true", help="also from memory, where that fits")
    options = parser.parse_args()
    for rows in options.rows:
        with tempfile.TemporaryDirectory() as scratch:
            source = Path(scratch) / "campaign.parquet"
            begun = time.perf_counter()
            write(rows, source)
            print(
                f"{rows:,} rows x {NUMERIC + CATEGORICAL} features: {source.stat().st_size / 2**20:,.0f} MiB, "
                f"written in {time.perf_counter() - begun:.0f} s",
                flush=True,
            )
            for mode in ("stream", "memory") if options.in_memory else ("stream",):
                found = measure(source, mode, options.params, Path(scratch) / "effects.parquet")
                print(
                    f"  {mode}: open {found['open_seconds']:.1f} s; fit {found['fit_seconds']:.1f} s, its epoch at "
                    f"{found['rows_per_second']:,.0f} rows/s; score {rows / found['score_seconds']:,.0f} rows/s; peak MiB "
                    + ", ".join(f"{step} {found[step]:,.0f}" for step in ("imports", "open", "fit", "score")),
                    flush=True,
                )


if __name__ == "__main__":
    main()
