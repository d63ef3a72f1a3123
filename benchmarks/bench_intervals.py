"""How often an ensemble's intervals hold the true uplift: ECUP on simulated campaigns, at a nominal 90 %.

    python benchmarks/bench_intervals.py [--campaigns 4] [--rows 12000] [--members 8]

Every campaign is another simulated world with one coupon and a value. The model learns from 75 % of the customers;
its intervals are held against the true uplift of the other customers (pointwise), and against their average (the
average's interval is made from the members' averages in the same way). Width and error are in points of probability,
for the value in money. A small network, so that this ends in about ten minutes on two cores.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np

import uplift
from uplift.models.ecup import ECUP
from uplift.models.neural.ensemble import t_quantile

LEVEL = 0.9
NETWORK: dict[str, Any] = {
    "embedding_dim": 8,
    "hidden": (64, 32),
    "gate_hidden": 32,
    "batch_size": 512,
    "max_epochs": 12,
}
KINDS: dict[str, dict[str, Any]] = {
    "seeds, same customers": {"ensemble": "seeds", "bootstrap": False},
    "seeds, bootstrap": {"ensemble": "seeds", "bootstrap": True},
    "shared, same customers": {"ensemble": "shared", "bootstrap": False},
    "shared, bootstrap": {"ensemble": "shared", "bootstrap": True},
}


def main() -> None:
    """Print a row per kind of ensemble and stage."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--campaigns", type=int, default=4)
    options.add_argument("--rows", type=int, default=12_000)
    options.add_argument("--members", type=int, default=8)
    given = options.parse_args()

    found: dict[tuple[str, str], list[tuple[float, ...]]] = {}
    seconds: dict[str, float] = dict.fromkeys(KINDS, 0.0)
    for seed in range(given.campaigns):
        simulation = uplift.simulate(
            rows=given.rows, arms=1, numeric=4, categorical=1, chain=("click", "conversion"), seed=500 + seed
        )
        train, test = simulation.campaign().split(test=0.25, seed=seed)
        truth = simulation.true_effects().for_units(test.unit_ids)
        for kind, choice in KINDS.items():
            begun = time.perf_counter()
            model = ECUP(
                **NETWORK, **choice, members=given.members, interval_level=LEVEL, random_state=100 * seed
            ).fit(train)
            seconds[kind] += time.perf_counter() - begun
            effects, members = model.predict(test), model.predict_members(test)
            (arm,) = effects.treated_arms
            for stage in effects.stages:
                tau, true = effects.tau(stage, arm), truth.tau(stage, arm)
                low, high = effects.tau_low(stage, arm), effects.tau_high(stage, arm)
                own = np.array([one.tau(stage, arm).mean(dtype=np.float64) for one in members])
                half = t_quantile(LEVEL, given.members) * own.std(ddof=1)
                alone = [np.square(one.tau(stage, arm) - true).mean() for one in members]
                unit = 1.0 if stage == "value" else 100.0
                found.setdefault((kind, stage), []).append(
                    (
                        100 * np.mean((low <= true) & (true <= high)),
                        unit * np.mean(high - low),
                        100 * float(abs(own.mean() - true.mean(dtype=np.float64)) <= half),
                        unit * 2 * half,
                        unit * abs(own.mean() - true.mean(dtype=np.float64)),
                        unit * np.sqrt(np.square(tau - true).mean()),
                        unit * np.sqrt(np.mean(alone)),
                    )
                )
        print(f"campaign {seed + 1} of {given.campaigns} done", flush=True)

    print(
        f"\n{given.campaigns} campaigns of {given.rows:,} customers, {given.members} members, intervals at {LEVEL:.0%}; "
        f"mean (standard deviation over campaigns)"
    )
    print(
        f"{'':24s}{'':12s}{'holds the uplift':>18s}{'width':>8s}{'holds the average':>19s}{'width':>8s}{'error':>8s}"
        f"{'PEHE':>8s}{'a member':>10s}"
    )
    for (kind, stage), rows in found.items():
        mean = np.mean(rows, axis=0)
        spread = np.std(rows, axis=0, ddof=1)[0] if len(rows) > 1 else float("nan")
        held = round(sum(row[2] for row in rows) / 100)
        cells = f"{mean[0]:.0f} % ({spread:.0f})"
        print(
            f"{kind:24s}{stage:12s}{cells:>18s}{mean[1]:8.2f}{f'{held} of {len(rows)}':>19s}{mean[3]:8.2f}{mean[4]:8.2f}"
            f"{mean[5]:8.2f}{mean[6]:10.2f}"
        )
    for kind, total in seconds.items():
        print(f"{kind:24s}{total / given.campaigns:8.1f} s to fit")


if __name__ == "__main__":
    main()
