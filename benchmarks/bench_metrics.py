"""Qini of one million rows: ours, scikit-uplift and causalml in one run, and what the intervals add.

The floor is one sort of the scores; everything after it is a handful of linear passes.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable

import numpy as np
import pandas as pd

ROWS = 1_000_000


def best_of(run: Callable[[], object], times: int = 3) -> float:
    """Fastest of a few runs, in seconds."""
    seconds = []
    for _ in range(times):
        begun = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - begun)
    return min(seconds)


def main() -> None:
    """Print a table of seconds and ratios."""
    from causalml.metrics import qini_score
    from sklift.metrics import qini_auc_score

    from uplift.metrics import inference, scores
    from uplift.metrics.ranking import Ranking

    warnings.simplefilter("ignore")
    rng = np.random.default_rng(0)
    score = rng.normal(size=ROWS).astype(np.float32)
    treated = rng.random(ROWS) < 0.5
    outcome = (rng.random(ROWS) < 0.1 + 0.05 * treated * (score > 0)).astype(np.float64)
    frame = pd.DataFrame({"m": score, "y": outcome, "w": treated.astype(int)})
    integers = outcome.astype(int), treated.astype(int)

    def ours() -> float:
        return float(scores.qini_sklift(Ranking.build(score, treated, outcome).cells))

    def with_interval() -> float:
        ranking = Ranking.build(score, treated, outcome)
        draws = inference.resample(
            ranking.moments(inference.slice_cuts(ranking)), draws=400, rng=np.random.default_rng(0)
        )
        return float(scores.qini_per_capita(draws).std())

    def sklift() -> float:
        return float(qini_auc_score(integers[0], score, integers[1]))

    def causalml() -> float:
        return float(qini_score(frame, outcome_col="y", treatment_col="w")["m"])

    assert abs(ours() - sklift()) < 1e-9
    seconds = {
        "one sort": best_of(lambda: np.argsort(-score)),
        "uplift, Qini": best_of(ours),
        "uplift, Qini with interval and curve draws (400)": best_of(with_interval),
        "causalml, Qini": best_of(causalml),
        "scikit-uplift, Qini": best_of(sklift),
    }
    for name, value in seconds.items():
        print(
            f"{name:50s} {value:7.3f} s  {ROWS / value / 1e6:7.2f} M rows/s  {value / seconds['uplift, Qini']:6.2f} x ours"
        )


if __name__ == "__main__":
    main()
