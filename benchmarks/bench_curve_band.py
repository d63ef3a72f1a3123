"""How often the band of :meth:`uplift.Allocation.curve_under` holds what a plan is truly worth, at a nominal 90 %.

    python benchmarks/bench_curve_band.py [--campaigns 40] [--rows 8000] [--members 8] [--kind lightgbm_t]

Every campaign is another draw of customers from the simulated world, with two coupons. The model learns from 60 % of
them; the plan spends 30 % of what would be useful on the others, and its true value is known. Printed per kind: the
share of campaigns in which the band holds it (corrected; and around the promise), for models with intervals also of
the bands of shared and of independent errors; promised and corrected value over the true one.

Kinds: any model name; those with members of their own learn as an ensemble with the bootstrap (with ``-seeds`` after the
name, without it), all others are refitted on resampled customers.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np

import uplift
from uplift.effects import Effects
from uplift.members import refit_members

TRAINING: dict[str, Any] = {"batch_size": 512, "max_epochs": 12}
NETWORKS: dict[str, dict[str, Any]] = {
    "ecup": {"embedding_dim": 8, "hidden": (64, 32), "gate_hidden": 32},
    "tarnet": {},
}


def main() -> None:
    """Print one row per kind."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--campaigns", type=int, default=40)
    options.add_argument("--rows", type=int, default=8_000)
    options.add_argument("--members", type=int, default=8)
    options.add_argument("--kind", nargs="+", default=["lightgbm_t"])
    given = options.parse_args()
    for kind in given.kind:
        found: list[dict[str, float]] = []
        begun = time.perf_counter()
        for seed in range(given.campaigns):
            found.append(_campaign(kind, seed, given.rows, given.members))
        print(kind, f"{given.campaigns} campaigns, {time.perf_counter() - begun:.0f} s")
        true = np.array([one["true"] for one in found])
        for name in ("corrected", "promise", "shared", "independent"):
            if f"{name} low" in found[0]:
                low, high = (np.array([one[f"{name} {end}"] for one in found]) for end in ("low", "high"))
                held = np.mean((low <= true) & (true <= high))
                print(f"  {name}: holds {held:.0%}, width {np.mean(high - low):,.0f}")
        for name in ("promised", "value"):
            print(f"  {name} / true: {sum(one[name] for one in found) / true.sum():.2f}")


def _campaign(kind: str, seed: int, rows: int, members: int) -> dict[str, float]:
    world = uplift.simulate(
        rows=rows,
        arms=2,
        numeric=4,
        categorical=1,
        chain=("click", "conversion"),
        value=False,
        seed=900 + seed,
    )
    campaign = world.campaign()
    learn, audience = campaign.split(test=0.4, seed=seed)
    effects, drawn = _effects(kind, seed, learn, audience, members)
    terms = {"costs": campaign.costs, "margin": 40.0}
    useful = uplift.allocate(effects, budget=None, **terms).certificate.expected_cost
    budget = 0.3 * useful
    plan = uplift.allocate(effects, budget=budget, **terms)
    tau = world.true_effects().for_units(audience.unit_ids).tau_all[:, :, 1].astype(np.float64)
    true = 40 * float(np.take_along_axis(tau, plan.arm_codes[:, None].astype(int), axis=1).sum())
    corrected = plan.curve_under(drawn).at(budget)
    around = plan.curve_under(drawn, correct=False).at(budget)
    found = {"true": true, "promised": corrected["promised"], "value": corrected["value"]}
    for name, one in (("corrected", corrected), ("promise", around)):
        found |= {f"{name} low": one["low"], f"{name} high": one["high"]}
    if effects.has_intervals:
        wide = plan.curve_under(effects).at(budget)
        found |= {"shared low": wide["low"], "shared high": wide["high"]}
        found |= {"independent low": wide["independent_low"], "independent high": wide["independent_high"]}
    return found


def _effects(
    kind: str, seed: int, learn: uplift.Campaign, audience: uplift.Campaign, members: int
) -> tuple[Effects, list[Effects]]:
    name, _, seeds = kind.partition("-")
    if name in NETWORKS:
        network = uplift.make_model(
            name, **NETWORKS[name], **TRAINING, members=members, bootstrap=not seeds, random_state=seed
        ).fit(learn)
        return network.predict(audience), network.predict_members(audience)
    model = uplift.make_model(kind, **({"n_estimators": 40} if kind.startswith("lightgbm") else {}))
    drawn = refit_members(model, learn, audience, members=members, random_state=seed)
    return model.fit(learn).predict(audience), drawn


if __name__ == "__main__":
    main()
