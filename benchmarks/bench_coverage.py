"""Do the 95 % intervals of the headline cover? 400 simulated data sets per design, own seed each."""

from __future__ import annotations

import numpy as np

from uplift.metrics import inference, scores
from uplift.metrics.ranking import Ranking

RUNS, ROWS, DRAWS = 400, 3_000, 400


def rows(
    n: int, rng: np.random.Generator, design: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]:
    """Score, treatment, outcome and weight; the effect grows with the score, the base rate differs by region."""
    score, region = rng.normal(size=n), rng.integers(0, 3, n)
    share = np.array([0.2, 0.5, 0.8])[region] if design == "propensity" else np.full(n, 0.5)
    treated = rng.random(n) < share
    rate = np.clip(0.15 + 0.1 * region + treated * (0.05 + 0.08 * score), 0, 1)
    outcome = (rng.random(n) < rate).astype(float)
    weight = None
    if design == "propensity":
        weight = np.where(treated, 1 / share, 1 / (1 - share))
    elif design == "weights":
        weight = rng.lognormal(0, 0.5, n)
    return score, treated, outcome, weight


def main() -> None:
    """Print coverage, the ratio of the mean standard error to the true spread, and the bias in true spreads."""
    for design in ("plain", "propensity", "weights"):
        large = [Ranking.build(*rows(400_000, np.random.default_rng(10_000 + s), design)) for s in range(8)]
        truth = float(np.mean([scores.qini_per_capita(ranking.cells) for ranking in large]))
        values, errors = np.empty(RUNS), np.empty(RUNS)
        for run in range(RUNS):
            rng = np.random.default_rng(run)
            ranking = Ranking.build(*rows(ROWS, rng, design))
            draws = inference.resample(ranking.moments(inference.slice_cuts(ranking)), draws=DRAWS, rng=rng)
            values[run] = scores.qini_per_capita(ranking.cells)
            errors[run] = inference.spread(scores.qini_per_capita(draws), wanted=DRAWS)
        covered = np.mean(np.abs(values - truth) < 1.96 * errors)
        print(
            f"{design:12s} coverage {covered:.3f} (+- {1.96 * np.sqrt(0.95 * 0.05 / RUNS):.3f} by chance)   "
            f"standard error / spread {errors.mean() / values.std():.3f}   bias / spread {(values.mean() - truth) / values.std():+.3f}"
        )


if __name__ == "__main__":
    main()
