"""What tuning is worth: default against tuned parameters, by the truth on fresh customers.

    python benchmarks/bench_tuning.py --models lightgbm_t,lightgbm_chain --criteria dr,qini --trials 30

Trains on a simulated campaign (four coupons, click -> conversion), searches inside it, fits the default and the best
parameters on all of it, and measures both on twice as many fresh customers with known effects. The searches are kept in
``--out`` and go on after an interrupt.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from uplift.bench.data import Sample, simulated
from uplift.bench.measures import against_truth
from uplift.models.base import UpliftModel
from uplift.models.registry import make_model
from uplift.tuning import TuningResult, tune


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--models", default="lightgbm_t,lightgbm_chain")
    options.add_argument("--criteria", default="dr,qini")
    options.add_argument("--rows", type=int, default=20_000)
    options.add_argument("--trials", type=int, default=30)
    options.add_argument("--folds", type=int, default=None)
    options.add_argument("--seed", type=int, default=21)
    options.add_argument("--out", type=Path, default=Path("reports/bench/tuning"))
    given = options.parse_args()
    sample = simulated(given.rows, given.seed)
    print("| model | criterion | trials | seconds | gain on validation (s.e.) | luck | stage | PEHE before | after | Qini share before | after |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for name in given.models.split(","):
        before = _measured(make_model(name, random_state=given.seed), sample)
        for criterion in given.criteria.split(","):
            folder = given.out / f"{name}-{criterion}-{given.rows}-{given.seed}-{given.folds or 'split'}"
            begun = time.perf_counter()
            found = tune(
                sample.train,
                model=name,
                criterion=criterion,
                folds=given.folds,
                trials=given.trials,
                random_state=given.seed,
                folder=folder,
            )
            seconds = time.perf_counter() - begun
            after = _measured(found.best_model(), sample)
            for line in _lines(found, criterion, seconds, before, after):
                print(line, flush=True)
            print(f"<!-- {found.best_params} -->", flush=True)


def _measured(model: UpliftModel, sample: Sample) -> dict[tuple[str, str], float]:
    assert sample.truth is not None
    return against_truth(model.fit(sample.train).predict(sample.test), sample.truth)


def _lines(
    found: TuningResult,
    criterion: str,
    seconds: float,
    before: dict[tuple[str, str], float],
    after: dict[tuple[str, str], float],
) -> list[str]:
    gain, error = found.gain
    start = f"| {found.model} | {criterion} | {len(found.trials)} | {seconds:.0f} | {gain:.3g} ({error:.2g}) | {found.chance:.1%} |"
    return [
        f"{start} {stage} | {before['pehe', stage]:.4f} | {after['pehe', stage]:.4f} | "
        f"{before['qini_share', stage]:.3f} | {after['qini_share', stage]:.3f} |"
        for stage in ("click", "conversion")
    ]


if __name__ == "__main__":
    main()
