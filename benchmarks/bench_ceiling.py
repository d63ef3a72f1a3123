"""How far the share of the oracle's Qini can go on the simulator: models that are told the true uplifts, without noise.

Two in a hundred values of every feature are missing, and four segments have borders that cut across the features, at
which effects jump. ``python benchmarks/bench_ceiling.py`` prints, per stage,

- trees that learned the *true uplift* of so many customers, arm by arm: what the borders cost trees of this size;
- the truth for customers without a missing value and these trees for the others: what missing values cost.
"""

from __future__ import annotations

import argparse

import lightgbm
import numpy as np
import pandas as pd

from uplift.effects import Effects
from uplift.metrics import truth as metrics
from uplift.simulation import simulate

CHAIN = ("click", "conversion")
ARMS = 4
FRESH = 10_000
"""The test rows are those of ``uplift bench``: their seed is the training seed plus this."""
NO_FEATURE = {"customer_id", "sent_at", "coupon", *CHAIN, "gmv"}


def draw(rows: int, seed: int) -> tuple[pd.DataFrame, Effects]:
    """Features, categories as pandas categories, and true effects."""
    simulation = simulate(rows=rows, seed=seed, chain=CHAIN, arms=ARMS, value=True)
    frame = simulation.frame
    frame = frame[[name for name in frame.columns if name not in NO_FEATURE]]
    return frame, simulation.true_effects()


def encode(frame: pd.DataFrame, like: pd.DataFrame) -> pd.DataFrame:
    """Texts as the category codes of `like`, booleans as numbers."""
    columns = {}
    for name in frame.columns:
        if pd.api.types.is_numeric_dtype(like[name]) or like[name].dropna().isin([True, False]).all():
            columns[name] = frame[name].astype(float)
        else:
            columns[name] = pd.Categorical(frame[name], categories=sorted(like[name].dropna().unique()))
    return pd.DataFrame(columns)


def uplifts(effects: Effects, stage: str) -> np.ndarray:
    """True uplift of every coupon, [customer, arm]."""
    return np.stack([effects.tau(stage, arm) for arm in effects.arms[1:]], axis=1)


def main() -> None:
    """Measure what the options ask for."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--rows", type=int, default=600_000)
    options.add_argument("--test-rows", type=int, default=200_000)
    options.add_argument("--seed", type=int, default=1000)
    options.add_argument("--trees", type=int, default=300, help="of 255 leaves, per arm and stage")
    options.add_argument("--threads", type=int, default=2)
    given = options.parse_args()
    learn, known = draw(given.rows, given.seed)
    judge, true = draw(given.test_rows, given.seed + FRESH)
    matrix, asked = encode(learn, learn), encode(judge, learn)
    complete = judge.notna().all(axis=1).to_numpy()
    print(
        f"{given.rows:,} customers with their true uplifts; {complete.mean():.1%} of the test customers have every value"
    )
    params = {
        "objective": "regression",
        "num_leaves": 255,
        "learning_rate": 0.1,
        "min_data_in_leaf": 10,
        "verbose": -1,
        "num_threads": given.threads,
        "seed": 0,
        "deterministic": True,
    }
    for stage in (*CHAIN, "value"):
        target, exact = np.ascontiguousarray(uplifts(known, stage)), uplifts(true, stage)
        told = np.stack(
            [
                lightgbm.train(
                    params, lightgbm.Dataset(matrix, label=target[:, arm].copy()), given.trees
                ).predict(asked)
                for arm in range(ARMS)
            ],
            axis=1,
        )
        observable = np.where(complete[:, None], exact, told)
        for words, found in (("trees told the truth", told), ("truth where nothing is missing", observable)):
            share, error = metrics.oracle_qini_share(found, exact), metrics.pehe(found, exact)
            print(f"  {stage:11s}{words:32s} Qini share {share:.3f}   PEHE {error:.4f}", flush=True)


if __name__ == "__main__":
    main()
