"""Our X- and DR-learner against CausalML's with the same trees: 5 arms, 2 stages, 30 features.

``python benchmarks/bench_meta.py --rows 1000000``. Every fit is a process of its own, so that the peak of its memory is its
own: both start from the same campaign in memory; CausalML is given its matrix as float32, as its adapters here do. All
models are LightGBM with the same parameters (and the same rule for threads), outcome models classifiers, effect models
regressors. CausalML's DR-learner splits the rows in three parts, one of which each of its models sees; ours uses `folds`.

CausalML is given the propensities. By default it would estimate them by cross-validated elastic nets, although this is an
experiment: ``--own-propensity`` measures that, too.

Printed per learner: seconds of fitting and rows per second, peak memory of the process, how much of it fitting added, and
the ratios; and the correlation of the effects of the two with each other and with the truth.

``python benchmarks/bench_meta.py --rows 1000000 --backend xgboost --device cuda --no-peers`` is the check for a machine with
a GPU: our learners on XGBoost there, beside the same on XGBoost's CPU code and on LightGBM. Without a GPU it ends with a
sentence and status 1; ``--device cpu`` runs the same lines anywhere.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import uplift
from uplift.models.classical.boosting import useful_threads

ARMS, STAGES, FEATURES = 5, ("click", "buy"), 30
LEARNERS = ("x", "dr")
TREES: dict[str, Any] = {
    "n_estimators": 100,
    "learning_rate": 0.05,
    "num_leaves": 8,
    "min_child_samples": 100,
}
JUDGED = 20_000  # rows whose effects are compared


def data(rows: int) -> tuple[uplift.Campaign, np.ndarray]:
    """A campaign and the true uplift of the first rows, float64 [row, treated arm, stage]."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, FEATURES)).astype(np.float32)
    arm = rng.integers(0, ARMS, rows)
    effect = 0.02 * np.arange(ARMS) * (1 + (x[:, :1] > 0) - (x[:, 1:2] > 1))
    click = np.clip(0.15 + 0.05 * x[:, 2:3] + effect, 0.01, 0.9)
    bought = np.clip(0.2 + 0.05 * x[:, 3:4] + 0.5 * effect, 0.01, 0.9)
    mine = np.arange(rows), arm
    clicked = rng.random(rows) < click[mine]
    frame = pd.DataFrame({f"x{j}": x[:, j] for j in range(FEATURES)})
    frame["arm"] = arm.astype(np.int8)
    frame["click"] = clicked.astype(np.int8)
    frame["buy"] = (clicked & (rng.random(rows) < bought[mine])).astype(np.int8)
    campaign = uplift.Campaign.from_frame(frame, treatment="arm", control=0, chain=list(STAGES))
    mu = np.stack((click, click * bought), axis=2)[:JUDGED]
    return campaign, mu[:, 1:] - mu[:, :1]


OURS = ("lightgbm", "xgboost:cpu", "xgboost:cuda")
"""Library and device of our own fits; the rest is CausalML."""


def ours(learner: str, campaign: uplift.Campaign, who: str = "lightgbm") -> Any:
    """Fit ours; what predicts [row, treated arm, stage]."""
    effect = {f"effect_{name}": value for name, value in TREES.items()}
    backend, _, device = who.partition(":")
    where = {"backend": backend, "device": device or "cpu"}
    model = uplift.make_model(f"lightgbm_{learner}", **TREES, **effect, **where).fit(campaign)
    return lambda: model.predict(campaign.take(np.arange(min(JUDGED, len(campaign))))).tau_all[:, 1:]


def theirs(learner: str, campaign: uplift.Campaign, *, own_propensity: bool) -> Any:
    """Fit CausalML's, stage by stage; what predicts [row, treated arm, stage]."""
    from causalml.inference.meta import BaseDRLearner, BaseXClassifier
    from lightgbm import LGBMClassifier, LGBMRegressor

    from uplift.features import FeatureSchema

    class Rate(LGBMRegressor):
        """A classifier that predicts the probability: CausalML's DR-learner knows regressors only."""

        def fit(self, X: np.ndarray, y: np.ndarray, **options: Any) -> Rate:
            self.classifier_ = LGBMClassifier(**params).fit(X, y, **options)
            return self

        def predict(self, X: np.ndarray, **options: Any) -> np.ndarray:
            return self.classifier_.predict_proba(X)[:, 1]

    x = FeatureSchema.fit(campaign).matrix(campaign)
    params = {
        **TREES, "reg_lambda": 1.0, "random_state": 0, "n_jobs": useful_threads(-1, *x.shape), "verbosity": -1,
        "deterministic": True, "force_row_wise": True,
    }  # fmt: skip
    arms = campaign.arm_codes.astype(np.int64)
    count = np.bincount(arms)
    p = {arm: np.full(len(arms), count[arm] / (count[arm] + count[0])) for arm in range(1, ARMS)}
    peers = []
    for stage in STAGES:
        if learner == "x":
            peer = BaseXClassifier(
                outcome_learner=LGBMClassifier(**params),
                effect_learner=LGBMRegressor(**params),
                control_name=0,
            )
        else:
            peer = BaseDRLearner(
                control_outcome_learner=Rate(**params), treatment_outcome_learner=Rate(**params),
                treatment_effect_learner=LGBMRegressor(**params), control_name=0,
            )  # fmt: skip
        outcome = campaign.outcome(stage).astype(np.float64)
        peer.fit(X=x, treatment=arms, y=outcome, p=None if own_propensity else p)
        peers.append(peer)
    few = {arm: share[:JUDGED] for arm, share in p.items()}
    return lambda: np.stack([peer.predict(x[:JUDGED], p=few) for peer in peers], axis=2)


def memory(line: str) -> float:
    """A line of /proc/self/status in MB; NaN where there is no such file."""
    path = Path("/proc/self/status")
    if not path.exists():
        return float("nan")
    return next(int(row.split()[1]) for row in path.read_text().splitlines() if row.startswith(line)) / 1024


def measure(who: str, learner: str, rows: int, out: Path) -> dict[str, float]:
    """Fit in this process; its effects go to a file."""
    campaign, truth = data(rows)
    _ = campaign.arm_codes, campaign.outcomes
    if who not in OURS:
        import causalml.inference.meta  # noqa: F401 (before the clock)
    if who.startswith("xgboost"):
        from uplift.models.classical.xgboost_backend import chosen_device

        # The library, and the driver where there is one, before the clock.
        chosen_device(who.partition(":")[2])
    else:
        import lightgbm  # noqa: F401

    if Path("/proc/self/clear_refs").exists():
        Path("/proc/self/clear_refs").write_text("5")  # forget the peak of making the data
    before = memory("VmRSS")
    begun, spent = time.perf_counter(), time.process_time()
    if who in OURS:
        predict = ours(learner, campaign, who)
    else:
        predict = theirs(learner, campaign, own_propensity=who == "own")
    seconds, spent = time.perf_counter() - begun, time.process_time() - spent
    peak = memory("VmHWM")
    tau = predict()
    np.save(out, tau)
    gaps = [
        np.corrcoef(tau[:, a, s], truth[:, a, s])[0, 1] for a in range(ARMS - 1) for s in range(len(STAGES))
    ]
    return {
        "seconds": seconds,
        "cpu": spent,
        "peak": peak,
        "added": peak - before,
        "truth": float(np.mean(gaps)),
    }


def contestants(given: argparse.Namespace) -> dict[str, str]:
    """Who is measured, and what it is called; the others are compared with the first."""
    names = {"lightgbm": "uplift, LightGBM"}
    if given.backend == "xgboost":
        cpu = {"xgboost:cpu": "uplift, XGBoost, CPU"}
        names = ({"xgboost:cuda": "uplift, XGBoost, GPU"} if given.device == "cuda" else {}) | cpu | names
    elif given.device == "cuda":
        sys.exit("--device cuda needs --backend xgboost, because the wheels of LightGBM have no CUDA.")
    if not given.no_peers:
        names["given"] = "CausalML, propensities given"
    if given.own_propensity:
        names["own"] = "CausalML as it comes"
    return names


def main() -> None:
    """Run every fit and print."""
    parser = argparse.ArgumentParser(description="Our X- and DR-learner against CausalML's.")
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--own-propensity", action="store_true", help="also CausalML as it comes")
    parser.add_argument("--learners", nargs="+", choices=LEARNERS, default=list(LEARNERS))
    parser.add_argument(
        "--backend", choices=("lightgbm", "xgboost"), default="lightgbm", help="what grows our trees"
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where XGBoost grows them")
    parser.add_argument("--no-peers", action="store_true", help="without CausalML")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)  # WHO LEARNER FILE: what the children do
    given = parser.parse_args()
    if given.one:
        who, learner, out = given.one
        print(json.dumps(measure(who, learner, given.rows, Path(out))))
        return
    print(f"{given.rows:,} rows x {FEATURES} features, {ARMS} arms, {len(STAGES)} stages; {TREES}")
    names = contestants(given)
    first = next(iter(names))
    with tempfile.TemporaryDirectory() as folder:
        for learner in given.learners:
            found, tau = {}, {}
            for who, name in names.items():
                out = Path(folder) / f"{who}_{learner}.npy"
                command = [
                    sys.executable,
                    __file__,
                    "--rows",
                    str(given.rows),
                    "--one",
                    who,
                    learner,
                    str(out),
                ]
                child = subprocess.run(command, capture_output=True, text=True, check=False)
                if child.returncode:
                    sys.exit(f"{name}, {learner}: {child.stderr.strip().splitlines()[-1]}")
                found[who] = line = json.loads(child.stdout.strip().splitlines()[-1])
                tau[who] = np.load(out)
                ratio = (
                    "" if who == first else
                    f"  {line['seconds'] / found[first]['seconds']:.2f} x the first's seconds ({line['cpu'] / found[first]['cpu']:.2f} x CPU), {line['peak'] / found[first]['peak']:.2f} x its memory"
                    f", correlation of effects {np.corrcoef(tau[first].ravel(), tau[who].ravel())[0, 1]:.3f}"
                )  # fmt: skip
                print(
                    f"{learner.upper():3s}{name:30s}{line['seconds']:9.1f} s ({line['cpu']:.1f} s of CPU) {given.rows / line['seconds']:11,.0f} rows/s"
                    f"  peak {line['peak']:7,.0f} MB (fit adds {line['added']:6,.0f} MB)  with the truth {line['truth']:.3f}{ratio}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
