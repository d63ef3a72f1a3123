"""Direct, composed, and composed without the propensities after a click: one learner at a time, against known effects.

``python benchmarks/bench_composed.py`` fits every learner in its three ways on simulated campaigns (20,000 rows, four
coupons, click -> conversion) of three seeds, and prints PEHE x 1000 and the share of the oracle's Qini per stage on
20,000 fresh customers, mean (standard error over the seeds), then the paired differences to the direct fit.

* direct: every stage on all rows, in the entire space.
* chain: :class:`uplift.models.chain.ComposedChain`, a stage on the rows that reached the one before.
* no propensity: the same, as if the arms were spread among those who clicked as they were at assignment.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

import uplift
from uplift.bench.measures import against_truth
from uplift.effects import Effects
from uplift.models.chain.stages import reached_before, stage_campaign

LEARNERS = ("lightgbm_s", "lightgbm_t", "causalml_x", "sklift_class_transformation")
WAYS = ("direct", "chain", "no propensity")
TEST_SEED = 100_000


def unweighted(
    learner: str, train: uplift.Campaign, test: uplift.Campaign, params: dict[str, Any]
) -> Effects:
    """The chain whose later stages know of no propensity."""
    outcome, mu = 1.0, []
    for s in range(len(train.stages)):
        rows = stage_campaign(train.take(reached_before(train, s)), s)
        part = uplift.make_model(learner, **params).fit(rows)
        outcome = outcome * part.predict(stage_campaign(test, s)).mu_all[:, :, -1].astype(np.float64)
        mu.append(outcome)
    return Effects.for_campaign(np.stack(mu, axis=2), test, model="no propensity")


def fit(way: str, learner: str, train: uplift.Campaign, test: uplift.Campaign, seed: int) -> Effects:
    """Effects of the test rows."""
    params = {"n_jobs": 1, "random_state": seed}
    if way == "direct":
        return uplift.make_model(learner, **params).fit(train).predict(test)
    if way == "chain":
        return uplift.make_model("chain", learner=learner, params=params).fit(train).predict(test)
    return unweighted(learner, train, test, params)


def shown(values: np.ndarray, digits: int) -> str:
    """Mean (standard error)."""
    error = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else float("nan")
    return f"{values.mean():.{digits}f} ({error:.{digits}f})"


def main() -> None:
    """Fit and print."""
    parser = argparse.ArgumentParser(description="Composed learners against direct ones.")
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--test-rows", type=int, default=20_000)
    parser.add_argument("--arms", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds")
    parser.add_argument("--confounding", type=float, default=0.0)
    parser.add_argument("--learners", nargs="+", default=list(LEARNERS))
    given = parser.parse_args()
    knobs: dict[str, Any] = {
        "arms": given.arms, "chain": ("click", "conversion"), "value": False, "confounding": given.confounding,
    }  # fmt: skip
    columns = [
        (f"{measure} {stage}", measure, stage)
        for measure in ("pehe", "qini_share")
        for stage in ("click", "conversion")
    ]
    found: dict[tuple[str, str], list[list[float]]] = {}
    for seed in range(given.seeds):
        train = uplift.simulate(rows=given.rows, seed=seed, **knobs).campaign()
        fresh = uplift.simulate(rows=given.test_rows, seed=TEST_SEED + seed, **knobs)
        test, truth = fresh.campaign(), fresh.true_effects()
        for learner in given.learners:
            for way in WAYS:
                scores = against_truth(fit(way, learner, train, test, seed), truth)
                line = [
                    scores[measure, stage] * (1000 if measure == "pehe" else 1)
                    for _, measure, stage in columns
                ]
                found.setdefault((learner, way), []).append(line)
    print(f"{'learner':28s}{'way':16s}" + "".join(f"{column:>24s}" for column, *_ in columns))
    for (learner, way), lines in found.items():
        values = np.array(lines).T
        cells = [shown(column, 2 if c < 2 else 3) for c, column in enumerate(values)]
        print(f"{learner:28s}{way:16s}" + "".join(f"{cell:>24s}" for cell in cells))
        if way != "direct":
            gaps = values - np.array(found[learner, "direct"]).T
            cells = [shown(column, 2 if c < 2 else 3) for c, column in enumerate(gaps)]
            print(f"{'':28s}{'  less direct':16s}" + "".join(f"{cell:>24s}" for cell in cells))


if __name__ == "__main__":
    main()
