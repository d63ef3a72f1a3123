"""Do the intervals of off-policy values cover the truth, and how long does a million rows take?

python -m benchmarks.bench_policy_value            # coverage: 400 logs per design (or as many as are named)
python -m benchmarks.bench_policy_value speed      # one million rows, point and interval
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

import numpy as np
import pandas as pd

from uplift import Campaign, Effects, cost_curve, policy_value
from uplift.arms import CostRule
from uplift.metrics.off_policy import Logged
from uplift.metrics.policy_result import METHODS

ARMS = ("none", "a", "b")
DESIGNS = ("shares", "strata", "propensity", "repeated")
UNBIASED = ("ips", "snips", "stratified", "dr", "sndr")
COSTS = {"a": CostRule(on="send", amount=0.05), "b": CostRule(on="y", amount=0.4)}


def make_log(
    n: int, seed: int, design: str = "shares"
) -> tuple[Campaign, np.ndarray, np.ndarray, np.ndarray]:
    """A log whose arms work differently by x; also the true mu [row, arm], x [row] and the propensities [row, arm].

    Designs: one lottery; one per region; known propensities that depend on x (the campaign names the column); one
    lottery per customer, who has two rows and the same luck in both.
    """
    rng = np.random.default_rng(seed)
    units = n // 2 if design == "repeated" else n
    x, region = rng.normal(size=units), rng.integers(0, 3, units)
    chances = np.tile([0.5, 0.3, 0.2], (units, 1))
    if design == "propensity":
        chances = np.exp(np.column_stack([0 * x, 0.7 * x, -0.5 * x]))
        chances /= chances.sum(axis=1, keepdims=True)
    if design == "strata":
        chances = np.array([[0.6, 0.2, 0.2], [0.3, 0.4, 0.3], [0.2, 0.2, 0.6]])[region]
    base = 0.2 + 0.1 * region[:, None] * (design == "strata")
    mu = np.clip(base + np.column_stack([0.05 * x, 0.05 + 0.1 * x, 0.1 - 0.05 * x]), 0.02, 0.98)
    arm = (rng.random((units, 1)) > np.cumsum(chances, axis=1)).sum(axis=1)
    frame = pd.DataFrame({"t": np.array(ARMS)[arm], "x": x, "id": np.arange(units) + 1000, "region": region})
    frame["y"] = (rng.random(units) < mu[np.arange(units), arm]).astype(int)
    frame["p"] = chances[np.arange(units), arm]
    roles = {"treatment": "t", "control": "none", "chain": ["y"], "unit": "id", "features": ["x"]}
    if design == "propensity":
        roles["propensity"] = "p"
    if design == "strata":
        roles["strata"] = "region"
    if design == "repeated":
        frame, mu, x, chances = (
            frame.loc[frame.index.repeat(2)],
            *(np.repeat(part, 2, axis=0) for part in (mu, x, chances)),
        )
    return Campaign.from_frame(frame, **roles), mu, x, chances


def plan_of(x: np.ndarray) -> np.ndarray:
    """A plan with all arms, better than chance."""
    return np.where(x > 0.5, 1, np.where(x < -0.5, 2, 0))


def effects_of(log: Campaign, mu: np.ndarray) -> Effects:
    """Predictions as a model would give them."""
    return Effects.for_campaign(mu[:, :, None].astype(np.float32), log, model="given")


def somewhat_wrong(mu: np.ndarray, x: np.ndarray) -> np.ndarray:
    """What a model would predict that has not quite understood."""
    return np.clip(mu + 0.1 * np.sin(3 * x)[:, None] * [1, -1, 1], 0.01, 0.99)


def coverage(
    design: str, methods: Sequence[str], *, runs: int, rows: int, first_seed: int = 0
) -> dict[str, dict[str, float]]:
    """Share of samples whose 95 % interval holds the population's value, gain over control, and gain over the log."""
    _, mu, x, chances = make_log(500_000, 999_999, "shares" if design == "repeated" else design)
    under_plan = mu[np.arange(len(mu)), plan_of(x)]
    truth = {
        "value": under_plan.mean(),
        "control": (under_plan - mu[:, 0]).mean(),
        "logged": (under_plan - (mu * chances).sum(axis=1)).mean(),
    }
    hits: dict[str, dict[str, list[bool]]] = {method: {name: [] for name in truth} for method in methods}
    for seed in range(first_seed, first_seed + runs):
        log, mu, x, _ = make_log(rows, seed, design)
        effects = effects_of(log, somewhat_wrong(mu, x))
        for method in methods:
            found = policy_value(log, plan_of(x), method=method, effects=effects)
            intervals = {"value": found.mean} | {name: one.value for name, one in found.against.items()}
            for name, interval in intervals.items():
                hits[method][name].append(interval.low <= truth[name] <= interval.high)
    return {
        method: {name: float(np.mean(hit)) for name, hit in by_name.items()}
        for method, by_name in hits.items()
    }


def curve_coverage(design: str, *, runs: int, rows: int, axis: str = "measured") -> dict[str, float]:
    """Share of samples whose 95 % interval holds the population's AUCC, gain above the chord, and gain at three spends."""
    large, mu, x, _ = make_log(1_000_000 if runs > 200 else 200_000, 999_999, design)
    options = {"costs": COSTS, "axis": axis}
    # The truth is the curve of the same predictions in the population: scores without noise, mu itself.
    population = cost_curve(
        _without_noise(large, mu), effects_of(large, somewhat_wrong(mu, x)), baseline=effects_of(large, mu),
        propensity=np.full(large.n_rows, 1.0 - 1e-12), **options,
    )  # fmt: skip
    spends = {share: share * population.spend[-1] for share in (0.15, 0.35, 0.55)}
    truth = {f"gain at {share:.0%}": population.gain_at(spend).value for share, spend in spends.items()}
    truth |= {"aucc": population.aucc.value, "aucc_gain": population.aucc_gain.value}
    hits: dict[str, list[bool]] = {name: [] for name in truth}
    for seed in range(runs):
        log, mu, x, _ = make_log(rows, seed, design)
        curve = cost_curve(log, effects_of(log, somewhat_wrong(mu, x)), **options)
        found = {f"gain at {share:.0%}": curve.gain_at(spend) for share, spend in spends.items()}
        found["aucc_gain"] = curve.aucc_gain
        if curve.aucc is not None:
            found["aucc"] = curve.aucc
        for name, interval in found.items():
            hits[name].append(interval.low <= truth[name] <= interval.high)
    return {name: float(np.mean(hit)) for name, hit in hits.items()}


def _without_noise(log: Campaign, mu: np.ndarray) -> Campaign:
    """The log with the expected outcome of the arm received in place of the coin: residuals of mu are 0."""
    quiet = Campaign(log.table, log.roles, log.arms, log.name, log.row_numbers)
    own = mu.astype(np.float32)[np.arange(log.n_rows), log.arm_codes]
    quiet.__dict__["outcomes"] = own[:, None]
    return quiet


def speed(rows: int = 1_000_000) -> None:
    """Point and interval of value, cost and net, against control and the log, by method; best of three, in CPU seconds."""
    log, mu, x, _ = make_log(rows, 0)
    strata, *_ = make_log(rows, 0, "strata")
    effects, plan = effects_of(log, mu), plan_of(x)
    _ = log.arm_codes, log.outcomes, strata.arm_codes, strata.stratum_codes, strata.outcomes
    sort = _best(lambda: np.argsort(x))
    print(f"{rows:,} rows; one sort of them {sort:.3f} s (CPU time, as all here)")
    for name in METHODS:
        taken = [_best(lambda one=one, name=name: policy_value(one, plan, method=name, effects=effects, costs=COSTS)) for one in (log, strata)]  # fmt: skip
        print(f"policy_value {name:12s} {taken[0]:.3f} s   with strata {taken[1]:.3f} s")
    cost_curve(log.take(np.arange(1000)), effects.take(np.arange(1000)), costs=COSTS)  # compile
    print(f"cost_curve                {_best(lambda: cost_curve(log, effects, costs=COSTS)):.3f} s")
    print(f"(the design alone         {_best(lambda: Logged.of(strata)):.3f} s)")


def _best(call: object, times: int = 3) -> float:
    found = []
    for _ in range(times):
        start = time.process_time()
        call()  # type: ignore[operator]
        found.append(time.process_time() - start)
    return min(found)


def main() -> None:
    """Print what was asked for on the command line."""
    if sys.argv[1:2] == ["speed"]:
        speed()
        return
    runs = int(sys.argv[1]) if sys.argv[1:] else 400
    print(
        f"share of 95 % intervals that hold the truth; {runs} logs of 2,000 rows; +- {1.96 * np.sqrt(0.0475 / runs):.3f} by chance"
    )
    for design in DESIGNS:
        for method, by_name in coverage(design, UNBIASED, runs=runs, rows=2_000).items():
            print(
                f"{design:12s} {method:11s}",
                "  ".join(f"{name} {share:.3f}" for name, share in by_name.items()),
                flush=True,
            )
    for design in DESIGNS[:3]:
        for axis in ("measured", "planned"):
            found = curve_coverage(design, runs=runs, rows=4_000, axis=axis)
            print(
                f"{design:12s} cost curve, {axis:9s}",
                "  ".join(f"{name} {share:.3f}" for name, share in found.items()),
                flush=True,
            )


if __name__ == "__main__":
    main()
