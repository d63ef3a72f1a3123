"""Every model against known effects: five seeds of a simulated campaign, and what its plan is truly worth.

40,000 customers, two coupons, 28,000 to learn from. Defaults of every model (the forests with 20 trees). The plan
spends the same budget by each model's own predictions; its true value is a share of what the oracle's plan brings.
"""

from __future__ import annotations

import time

import numpy as np

import uplift
from uplift.models.registry import list_models

SEEDS, ROWS, MARGIN, BUDGET_PER_CUSTOMER = range(5), 40_000, 40.0, 0.15
PARAMS = {name: {"n_estimators": 20} for name in ("causalml_uplift_forest", "causalml_causal_forest")}


def main() -> None:
    """Print mean and spread over the seeds."""
    models = [card.name for card in list_models() if card.family != "reference"]
    found: dict[str, list[tuple[float, ...]]] = {name: [] for name in models}
    for seed in SEEDS:
        simulation = uplift.simulate(rows=ROWS, arms=2, seed=100 + seed)
        train, test = simulation.campaign().split(test=0.3, seed=seed)
        truth = simulation.true_effects().for_units(test.unit_ids)
        tau = MARGIN * truth.tau_all[:, :, test.stage_index("conversion")].astype(np.float64)

        def plan(effects: uplift.Effects, test: uplift.Campaign = test) -> uplift.Allocation:
            return uplift.allocate(
                effects, costs=test.costs, margin=MARGIN, budget=BUDGET_PER_CUSTOMER * len(test)
            )

        def worth(plan: uplift.Allocation, tau: np.ndarray = tau) -> float:
            return float(np.take_along_axis(tau, plan.arm_codes[:, None].astype(int), 1).sum())

        best = worth(plan(truth))
        for name in models:
            begun = time.perf_counter()
            effects = (
                uplift.make_model(name, random_state=seed, **PARAMS.get(name, {})).fit(train).predict(test)
            )
            seconds = time.perf_counter() - begun
            arms = test.arm_names[1:]
            correlation = [
                np.mean([np.corrcoef(effects.tau(stage, arm), truth.tau(stage, arm))[0, 1] for arm in arms])
                for stage in ("click", "conversion")
            ]
            error = np.sqrt(
                np.mean(
                    [np.square(effects.tau("conversion", arm) - truth.tau("conversion", arm)) for arm in arms]
                )
            )
            found[name].append((*correlation, float(error), worth(plan(effects)) / best, seconds))
    print(
        f"{'mean (standard deviation) of five seeds':30s} corr click   corr conv    PEHE conv      plan / oracle  seconds"
    )
    for name, rows in sorted(found.items(), key=lambda item: -np.mean(item[1], axis=0)[3]):
        mean, spread = np.mean(rows, axis=0), np.std(rows, axis=0, ddof=1)
        cells = [f"{m:.{d}f} ({s:.{d}f})" for m, s, d in zip(mean[:4], spread[:4], (2, 2, 4, 2), strict=True)]
        print(f"{name:40s}{cells[0]:13s}{cells[1]:13s}{cells[2]:17s}{cells[3]:13s}{mean[4]:6.1f}", flush=True)


if __name__ == "__main__":
    main()
