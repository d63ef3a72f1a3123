"""Chain models against known effects: simulated campaigns with chain bias, 5 arms, click -> conversion -> value.

``python benchmarks/bench_chain.py --out chain.jsonl`` fits every model on 200,000 rows of five seeds, each fit in a process
of its own, and appends one line of JSON per fit to the file. What the file holds already is not run again, so that an
interrupted run goes on. Then it prints, over the seeds, mean (standard deviation), and the paired differences to the best.

Measured on 50,000 fresh customers of the same world, mean over the four coupons:

* PEHE: root mean squared error of the uplift, per stage.
* Share of the oracle's Qini: area between the curve of the true gain, customers ranked by the predicted uplift, and the
  straight line; divided by that of a ranking by the true uplift. 1 is perfect, 0 is chance.
* Plan: true value of a plan under one budget, by the predictions, as a share of the oracle's plan. Its regret is 1 minus it.
* Seconds of fitting, and peak memory of the whole process (with loading the libraries and the data).
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import uplift
from uplift.models.registry import MODEL_NAMES

MODELS = ("ecup", "tarnet", "lightgbm_s", "lightgbm_chain", "lightgbm_t", "chain_blend")
KNOBS: dict[str, Any] = {"arms": 4, "chain": ("click", "conversion"), "value": True}
TEST_ROWS, TEST_SEED = 50_000, 100_000  # test customers have seeds that no training campaign has
MARGIN, BUDGET_PER_CUSTOMER = 40.0, 0.15
COLUMNS = (
    ("pehe_click", 4), ("pehe_conversion", 4), ("pehe_value", 3), ("qini_click", 3), ("qini_conversion", 3),
    ("qini_value", 3), ("plan", 3), ("seconds", 0), ("peak_gb", 2),
)  # fmt: skip
HIGHER = ("qini_", "plan")


def qini_share(predicted: np.ndarray, true: np.ndarray) -> float:
    """Share of the oracle's Qini of a ranking by `predicted` [row], given the `true` uplift [row]."""

    def area(score: np.ndarray) -> float:
        gain = np.cumsum(true[np.argsort(-score, kind="stable")])
        return float(gain.mean() - gain[-1] * (len(gain) + 1) / (2 * len(gain)))

    return area(predicted) / area(true)


def measure(name: str, rows: int, seed: int, params: dict[str, Any]) -> dict[str, Any]:
    """Fit one model in this process and hold it against the truth."""
    campaign = uplift.simulate(rows=rows, seed=seed, **KNOBS).campaign()
    begun = time.perf_counter()
    model = uplift.make_model(name, **{"random_state": seed, **params}).fit(campaign)
    seconds = time.perf_counter() - begun
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    simulation = uplift.simulate(rows=TEST_ROWS, seed=TEST_SEED + seed, **KNOBS)
    test, truth = simulation.campaign(), simulation.true_effects()
    effects = model.predict(test)
    found: dict[str, Any] = {"model": name, "rows": rows, "seed": seed, "params": params}
    for stage in truth.stages:
        pairs = [
            (effects.tau(stage, arm).astype(float), truth.tau(stage, arm).astype(float))
            for arm in truth.treated_arms
        ]
        found[f"pehe_{stage}"] = float(
            np.sqrt(np.mean([np.square(tau - true).mean() for tau, true in pairs]))
        )
        found[f"qini_{stage}"] = float(np.mean([qini_share(tau, true) for tau, true in pairs]))
    gain = MARGIN * truth.tau_all[:, :, test.stage_index("conversion")].astype(np.float64)

    def worth(by: uplift.Effects) -> float:
        plan = uplift.allocate(by, costs=test.costs, margin=MARGIN, budget=BUDGET_PER_CUSTOMER * len(test))
        return float(np.take_along_axis(gain, plan.arm_codes[:, None].astype(int), 1).sum())

    found |= {"plan": worth(effects) / worth(truth), "seconds": seconds, "peak_gb": peak}
    if hasattr(model, "weights_"):
        found["weights"] = np.asarray(model.weights_).tolist()
    return found


def key(line: dict[str, Any]) -> tuple[Any, ...]:
    """What makes two fits the same."""
    return line["model"], line["rows"], line["seed"], json.dumps(line["params"], sort_keys=True)


def read(out: Path) -> list[dict[str, Any]]:
    """Fits that are in the file; a line that an interrupt cut short is not one."""
    lines = []
    for text in out.read_text(encoding="utf-8").splitlines() if out.exists() else []:
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError:
            continue
    return lines


def table(lines: list[dict[str, Any]], models: list[str]) -> None:
    """Print mean (standard deviation) over the seeds, and paired differences to the best model of each column."""
    by = {name: {line["seed"]: line for line in lines if line["model"] == name} for name in models}
    print(f"\n{'mean (sd) over the seeds':16s}" + "".join(f"{column:>18s}" for column, _ in COLUMNS))
    for name in models:
        cells = []
        for column, digits in COLUMNS:
            values = [line[column] for line in by[name].values()]
            spread = np.std(values, ddof=1) if len(values) > 1 else float("nan")
            cells.append(f"{np.mean(values):.{digits}f} ({spread:.{digits}f})")
        print(f"{name:24s}" + "".join(f"{cell:>18s}" for cell in cells))
    print("\nless the best of each column, same seeds: mean (standard error)")
    best = {}
    for column, _ in COLUMNS[:7]:
        sign = 1 if column.startswith(HIGHER) else -1
        best[column] = max(
            models, key=lambda name: sign * np.mean([line[column] for line in by[name].values()])
        )
    for name in models:
        cells = []
        for column, digits in COLUMNS[:7]:
            shared = by[name].keys() & by[best[column]].keys()
            gaps = [by[name][seed][column] - by[best[column]][seed][column] for seed in shared]
            error = np.std(gaps, ddof=1) / np.sqrt(len(gaps)) if len(gaps) > 1 else float("nan")
            gap = f"{np.mean(gaps):+.{digits}f} ({error:.{digits}f})" if gaps else "no shared seed"
            cells.append("best" if name == best[column] else gap)
        print(f"{name:24s}" + "".join(f"{cell:>18s}" for cell in cells))


def main() -> None:
    """Run what the file lacks, then print."""
    parser = argparse.ArgumentParser(description="Chain models against known effects.")
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--seeds", type=int, default=5, help="number of seeds")
    parser.add_argument("--first-seed", type=int, default=1_000)
    parser.add_argument("--models", nargs="+", default=[name for name in MODELS if name in MODEL_NAMES])
    parser.add_argument(
        "--params", type=json.loads, default={}, help='JSON, e.g. {"ecup": {"device": "cpu"}}'
    )
    parser.add_argument("--out", type=Path, default=Path("bench_chain.jsonl"))
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)  # MODEL SEED: what the child processes do
    given = parser.parse_args()
    if given.one:
        name, seed = given.one
        print(json.dumps(measure(name, given.rows, int(seed), given.params.get(name, {}))))
        return
    wanted = [
        {"model": name, "rows": given.rows, "seed": seed, "params": given.params.get(name, {})}
        for seed in range(given.first_seed, given.first_seed + given.seeds)
        for name in given.models
    ]
    done = {key(line) for line in read(given.out)}
    for fit in wanted:
        if key(fit) in done:
            continue
        command = [sys.executable, __file__, "--rows", str(given.rows), "--params", json.dumps(given.params)]
        child = subprocess.run(
            [*command, "--one", fit["model"], str(fit["seed"])], capture_output=True, text=True, check=False
        )
        if child.returncode:
            sys.exit(f"{fit['model']}, seed {fit['seed']}: {child.stderr.strip().splitlines()[-1]}")
        text = child.stdout.strip().splitlines()[-1]
        with given.out.open("a", encoding="utf-8") as file:
            file.write(text + "\n")
        line = json.loads(text)
        shown = "  ".join(f"{column} {line[column]:.{digits}f}" for column, digits in COLUMNS)
        print(f"{fit['model']:16s} seed {fit['seed']}  {shown}", flush=True)
    keys = {key(fit) for fit in wanted}
    table([line for line in read(given.out) if key(line) in keys], given.models)


if __name__ == "__main__":
    main()
