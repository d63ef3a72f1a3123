"""Qini of one million rows beside scikit-uplift and causalml, what intervals add, and 14 million rows in memory and from disk.

Every library gets the arrays it takes best and is called through its public function; the fastest of five calls counts.
The yardstick is one sort of the same scores, ``np.argsort(score, kind="stable")``, and numpy's default sort beside it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import textwrap
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

ROWS = 1_000_000
CRITEO = 13_979_592


def best_of(run: Callable[[], object], times: int = 5) -> float:
    """Fastest of a few runs, in seconds."""
    run()
    seconds = []
    for _ in range(times):
        begun = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - begun)
    return min(seconds)


def rows(n: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Score (float32), treated (85 %, as in Criteo), visit (0/1)."""
    rng = np.random.default_rng(seed)
    score = (0.02 * rng.standard_normal(n, np.float32) + 0.01).astype(np.float32)
    treated = rng.random(n, np.float32) < 0.85
    visit = rng.random(n, np.float32) < 0.045 + treated * np.maximum(score, -0.04)
    return score, treated, visit


def speed(n: int) -> None:
    """Print seconds and ratios."""
    from causalml.metrics import auuc_score, qini_score
    from sklift.metrics import qini_auc_score

    from uplift.metrics import scores
    from uplift.metrics.arm_scores import ArmScores
    from uplift.metrics.average import Comparison
    from uplift.metrics.compatible import causalml_auuc_score, causalml_qini_score, sklift_qini_auc_score
    from uplift.metrics.ranking import Ranking
    from uplift.metrics.score_table import ScoreTable
    from uplift.metrics.table_scores import TableScores

    warnings.simplefilter("ignore")
    score, treated, visit = rows(n, 0)
    wide, outcome, arm, bought = (
        score.astype(np.float64),
        visit.astype(np.float64),
        treated.astype(int),
        visit.astype(int),
    )
    frame = pd.DataFrame({"m": score, "y": outcome, "w": arm})
    pair = ArmScores(
        Comparison(np.arange(n), treated, None, None, None, "none"),
        outcome,
        "visit",
        "1",
        0.95,
        400,
        (0.1, 0.3),
        0,
    )
    how = TableScores("visit", 0.95, 400, (0.1, 0.3), 0)

    def headline(values: np.ndarray = score) -> float:
        return float(scores.qini_per_capita(Ranking.build(values, treated, outcome).cells))

    def table() -> object:
        return how.score(ScoreTable.of(score, treated, outcome), calibrated=True, weighted=False)

    def theirs(function: Callable[..., pd.Series]) -> float:
        return float(function(frame, outcome_col="y", treatment_col="w")["m"])

    assert abs(sklift_qini_auc_score(bought, score, arm) - qini_auc_score(bought, score, arm)) < 1e-9
    assert abs(causalml_qini_score(outcome, score, arm) - theirs(qini_score)) < 1e-9
    assert abs(causalml_auuc_score(outcome, score, arm) - theirs(auuc_score)) < 1e-9
    timed: dict[str, Callable[[], object]] = {
        "np.argsort(score, kind='stable')": lambda: np.argsort(score, kind="stable"),
        "np.argsort(score)": lambda: np.argsort(score),
        "qini_per_capita": headline,
        "qini_per_capita, float64 scores": lambda: headline(wide),
        "sklift_qini_auc_score (ours)": lambda: sklift_qini_auc_score(bought, score, arm),
        "qini_auc_score of scikit-uplift": lambda: qini_auc_score(bought, score, arm),
        "causalml_qini_score (ours)": lambda: causalml_qini_score(outcome, score, arm),
        "qini_score of causalml": lambda: theirs(qini_score),
        "causalml_auuc_score (ours)": lambda: causalml_auuc_score(outcome, score, arm),
        "auuc_score of causalml": lambda: theirs(auuc_score),
        "all metrics, intervals and bands": lambda: pair.score(score, calibrated=True),
        "the same from a table that adds up": table,
    }  # fmt: skip
    seconds = {name: best_of(run) for name, run in timed.items()}
    sort, ours = seconds["np.argsort(score, kind='stable')"], seconds["qini_per_capita"]
    print(f"{n:,} rows")
    for name, value in seconds.items():
        print(
            f"  {name:36s} {value:7.4f} s {n / value / 1e6:7.1f} M rows/s {value / sort:6.2f} stable sorts {value / ours:6.2f} x qini_per_capita"
        )


# ---------------------------------------------------------------- memory

CHAIN = {
    "unit": "unit",
    "treatment": "treatment",
    "control": 0,
    "chain": ["visit", "conversion"],
    "features": [],
}

WORK = textwrap.dedent(
    """
    import json, resource, sys, time
    from pathlib import Path
    import numpy as np

    def peak():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    mode, folder, roles = sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3])
    begun = time.perf_counter()
    if mode == "stream":
        from uplift import CampaignStream
        from uplift.metrics import evaluate_stream
        stream = CampaignStream.from_parquet(folder / "log.parquet", **roles)
        found = evaluate_stream(stream, folder / "effects.parquet", top=(0.1, 0.3))
        row = found.score("m", "visit", "1")
        error = found.binning.set_index(["stage", "metric"]).loc[("visit", "qini_per_capita"), "error"]
    elif mode == "memory":
        from uplift import Campaign, Effects, evaluate
        campaign = Campaign.from_parquet(folder / "log.parquet", **roles)
        found = evaluate(campaign, Effects.read_parquet(folder / "effects.parquet"), top=(0.1, 0.3))
        row, error = found.score("m", "visit", "1"), 0.0
    else:
        import pyarrow.parquet as pq
        from uplift.metrics.arm_scores import ArmScores
        from uplift.metrics.average import Comparison
        log = pq.read_table(folder / "log.parquet", columns=["treatment", "visit"])
        score = pq.read_table(folder / "effects.parquet", columns=["tau__visit__1"])[0].to_numpy()
        treated, outcome = log["treatment"].to_numpy() == 1, log["visit"].to_numpy().astype(float)
        del log
        pair = Comparison(None, treated, None, None, None, "none")
        found = ArmScores(pair, outcome, "visit", "1", 0.95, 400, (0.1, 0.3), 0).score(score, calibrated=True)
        from types import SimpleNamespace
        row, error = SimpleNamespace(**found.rows[0]), 0.0
    print(json.dumps({"seconds": time.perf_counter() - begun, "peak": peak(), "value": row.value, "se": row.se, "error": error}))
    """
)  # fmt: skip


def write(n: int, folder: Path) -> None:
    """A campaign of `n` rows and effects on them, one row group per million rows."""
    header = {
        "version": 1, "model": "m", "campaign": "criteo", "arms": ["0", "1"], "stages": ["visit", "conversion"],
        "unit_column": "unit", "calibrated": True, "fingerprint": "",
    }  # fmt: skip
    writers: list[pq.ParquetWriter] = []
    for number, first in enumerate(range(0, n, ROWS)):
        score, treated, visit = rows(min(ROWS, n - first), number)
        conversion = visit & (np.random.default_rng(number).random(len(visit)) < 0.06)
        unit = np.arange(first, first + len(visit))
        log = pa.table({
            "unit": unit, "treatment": treated.astype(np.int8), "visit": visit.astype(np.int8), "conversion": conversion.astype(np.int8)
        })  # fmt: skip
        columns = {"unit": unit}
        for stage, scale in (("visit", 1.0), ("conversion", 0.06)):
            base = np.full(len(unit), 0.045 * scale, np.float32)
            tau = (scale * score).astype(np.float32)
            columns |= {f"mu__{stage}__0": base, f"mu__{stage}__1": base + tau, f"tau__{stage}__1": tau}
        effects = pa.table(dict(sorted(columns.items(), key=lambda item: item[0] != "unit")))
        effects = effects.replace_schema_metadata({"uplift.effects": json.dumps(header)})
        if not writers:
            names = zip(("log.parquet", "effects.parquet"), (log, effects), strict=True)
            writers = [pq.ParquetWriter(folder / name, table.schema) for name, table in names]
        for writer, table in zip(writers, (log, effects), strict=True):
            writer.write_table(table)
    for writer in writers:
        writer.close()


def memory(n: int, modes: list[str]) -> None:
    """Print time, peak memory and the headline of each way, one process each."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write(n, folder)
        size = sum(file.stat().st_size for file in folder.iterdir()) / 2**20
        print(f"{n:,} rows, {size:,.0f} MiB of Parquet")
        for mode in modes:
            done = subprocess.run(
                [sys.executable, "-c", WORK, mode, str(folder), json.dumps(CHAIN)], capture_output=True, text=True, check=False
            )  # fmt: skip
            if done.returncode:
                raise SystemExit(done.stderr)
            found = json.loads(done.stdout)
            print(
                f"  {mode:8s} {found['seconds']:6.1f} s   peak {found['peak']:6,.0f} MiB   Qini of visits {found['value']:.9f}, "
                f"standard error {found['se']:.2g}, binning error at most {found['error']:.2g}",
                flush=True,
            )


def main() -> None:
    """Print all, or a part."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--large", type=int, default=CRITEO, help="rows of the memory part; 0 leaves it out")
    parser.add_argument(
        "--modes",
        nargs="+",
        default=["arrays", "stream", "memory"],
        help="arrays: one stage; the others: all",
    )
    options = parser.parse_args()
    if options.rows:
        speed(options.rows)
    if options.large:
        memory(options.large, options.modes)


if __name__ == "__main__":
    main()
