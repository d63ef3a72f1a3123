"""The real Hillstrom campaign: headline Qini of every model on five splits. Needs UPLIFT_DATA_HOME or the cache."""

from __future__ import annotations

import sys

import numpy as np

import uplift
from uplift.models.registry import list_models

SPLITS = range(5)


def main() -> int:
    """Print mean and spread over the splits, in outcomes per 1,000 customers."""
    try:
        campaign = uplift.load_dataset("hillstrom")
    except uplift.UpliftError as error:
        print(f"skipped: {error}")
        return 0
    found: dict[str, list[list[float]]] = {}
    columns = [(stage, arm) for stage in campaign.chain for arm in campaign.arm_names[1:]]
    for split in SPLITS:
        train, test = campaign.split(test=0.3, seed=split)
        names = [card.name for card in list_models()]
        effects = {
            name: uplift.make_model(name, random_state=split).fit(train).predict(test) for name in names
        }
        evaluation = uplift.evaluate(test, effects, draws=20)
        for name in names:
            found.setdefault(name, []).append(
                [1e3 * evaluation.score(name, stage, arm)["value"] for stage, arm in columns]
            )
    print(
        f"{'qini_per_capita x 1,000, mean (sd)':32s}"
        + "".join(f"{stage + ', ' + arm.split()[0]:>20s}" for stage, arm in columns)
    )
    for name, rows in sorted(found.items(), key=lambda item: -np.mean(item[1], axis=0)[0]):
        mean, spread = np.mean(rows, axis=0), np.std(rows, axis=0, ddof=1)
        print(
            f"{name:32s}"
            + "".join(f"{f'{m:+.2f} ({s:.2f})':>20s}" for m, s in zip(mean, spread, strict=True))
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
