"""ACIC 2016 beside published numbers on the very same data sets.

``python benchmarks/bench_acic.py``. Two tables:

* the effect on the treated (the question of the competition) on five of the data sets at hand: models learn from all 4,802 rows,
  with estimated propensities, and answer with their mean predicted effect over the treated rows; beside it what the
  competition's own methods answered on the same data sets (``acic2016_satt.toml``, with its source);
* PEHE out of sample on settings 1 and 2, on the split of CausalPFN's public notebook, whose numbers stand beside ours. That
  these are the same rows is shown by ``uplift bench reproductions``, which gets EconML's learners' numbers again.

Parameters are those of the suite `truth`: for small data, the same for all trees and for all networks, nothing tuned.
"""

from __future__ import annotations

import argparse
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

import uplift
from uplift.bench.entries import TruthEntry
from uplift.bench.propensity import with_estimated_propensity
from uplift.bench.suite_file import load_suite
from uplift.bench.truth_data import truth_campaign, truth_frame

MODELS = ("lightgbm_t", "lightgbm_s", "lightgbm_x", "lightgbm_dr", "tarnet", "cfrnet", "ecup")
ENTRY = TruthEntry(name="acic2016")
SPLIT_SEED, SPLIT_TEST = 42, 0.1
"""CausalPFN's: setting k is permuted with seed 42 + k - 1, the last tenth is the test."""

PEHE_PUBLISHED = {
    "CausalPFN": 0.60,
    "EconML's X-learner": 1.29,
    "EconML's T-learner": 1.56,
    "EconML's S-learner": 2.29,
}
"""Balazadeh et al., CausalPFN, NeurIPS 2025: vdblm/CausalPFN, notebooks/causal_effect.ipynb."""


def made(name: str, seed: int) -> Any:
    """A model with the parameters of the suite `truth`."""
    (variant,) = [one for one in load_suite("truth").variants if one.name == name]
    return uplift.make_model(variant.model, random_state=seed, **variant.params)


def competition() -> tuple[list[int], dict[str, np.ndarray]]:
    """Settings, and method -> estimate per setting."""
    content = tomllib.loads((Path(__file__).parent / "acic2016_satt.toml").read_text(encoding="utf-8"))
    return content["settings"], {name: np.array(values) for name, values in content["estimates"].items()}


def on_the_treated(setting: int) -> float:
    """Mean of y1 - y0 over the treated rows, in units of the outcome."""
    frame = truth_frame("acic2016", setting).query("treatment == 1")
    return float((frame["y1"] - frame["y0"]).mean())


def estimate(name: str, setting: int) -> float:
    """Our effect on the treated."""
    whole, _ = truth_campaign(ENTRY, setting)
    campaign, _, _ = with_estimated_propensity(whole, whole.take(np.arange(10)), seed=setting)
    tau = made(name, setting).fit(campaign).predict(campaign).tau_all[:, 1, -1]
    return float(tau[campaign.arm_codes == 1].mean())


def pehe(name: str, setting: int) -> float:
    """Our root of the PEHE on the published split."""
    whole, truth = truth_campaign(ENTRY, setting)
    order = np.random.default_rng(SPLIT_SEED + setting - 1).permutation(len(whole))
    held = int(len(order) * (1 - SPLIT_TEST))
    learn, judge = np.sort(order[:held]), np.sort(order[held:])
    train, test, _ = with_estimated_propensity(whole.take(learn), whole.take(judge), seed=setting)
    tau = made(name, setting).fit(train).predict(test).tau_all[:, 1, -1]
    return float(np.sqrt(np.mean((tau - truth.take(judge).tau_all[:, 1, -1]) ** 2)))


def show(rows: Iterable[tuple[str, str, Iterable[float]]], head: str) -> None:
    """Print the rows by their mean, smallest first."""
    print(f"\n{head}")
    for name, whose, values in sorted(rows, key=lambda row: float(np.mean(list(row[2])))):
        cells = "".join(f"{value:8.3f}" for value in values)
        print(f"{name:38s} {whose:10s} mean {float(np.mean(list(values))):6.3f}  {cells}", flush=True)


def main() -> None:
    """Fit, and print both tables."""
    parser = argparse.ArgumentParser(description="ACIC 2016 beside published numbers on the same data sets.")
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    parser.add_argument("--settings", nargs="+", type=int, help="of those that are published; default all")
    given = parser.parse_args()
    known, theirs = competition()
    settings = given.settings or known
    columns = [known.index(setting) for setting in settings]
    truth = np.array([on_the_treated(setting) for setting in settings])
    rows = [(name, "published", np.abs(values[columns] - truth)) for name, values in theirs.items()]
    for name in given.models:
        ours = np.array([estimate(name, setting) for setting in settings])
        rows.append((name, "ours", np.abs(ours - truth)))
    show(rows, f"absolute error of the effect on the treated, settings {settings}")
    pairs: list[tuple[str, str, Iterable[float]]] = [
        (name, "published", [value]) for name, value in PEHE_PUBLISHED.items()
    ]
    both = [setting for setting in (1, 2) if setting in settings]
    pairs += [(name, "ours", [pehe(name, setting) for setting in both]) for name in given.models if both]
    show(pairs, "PEHE out of sample, settings 1 and 2, the published split (published: the mean of both)")


if __name__ == "__main__":
    main()
