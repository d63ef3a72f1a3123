"""Do the 95 % intervals cover? 1,000 simulated campaigns per design, every metric that has an interval.

Each customer has a place x in (0, 1) of the ranking and a region. The effect is ``A + B (1 - 2 x)``, the prediction
``A + B_HAT (1 - 2 x)``, and the outcome without a coupon depends on the region, and so does the assignment where the
design says so. The truths are in closed form: the Qini per customer is B / 6, AUTOC B / 2, uplift at the top k
``A + B (1 - k)``, the calibration slope B / B_HAT; scikit-uplift's ratios are those of the expected table.

``python benchmarks/bench_coverage.py --runs 200 --designs plain clusters`` takes a part.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from uplift.campaign import Campaign
from uplift.metrics import scores
from uplift.metrics.arm_scores import ArmScores
from uplift.metrics.average import compare, difference_in_means
from uplift.metrics.influence import rate_influence
from uplift.metrics.paired import paired_differences
from uplift.metrics.ranking import Cells, Ranking

RUNS, ROWS, DRAWS = 1_000, 4_000, 200
A, B, B_HAT = 0.06, 0.12, 0.2
BASE = np.array([0.15, 0.3, 0.45])
SHARE = np.array([0.3, 0.5, 0.7])
TOP = (0.1, 0.3)
DESIGNS = ("plain", "unequal", "propensity", "strata", "weights", "clusters", "baseline", "money")


@dataclass(frozen=True)
class Drawn:
    """One campaign: the table, its roles, and the predicted effect and a second, worse prediction of each row."""

    campaign: Campaign
    tau: np.ndarray
    other: np.ndarray
    baseline: np.ndarray | None


def draw(design: str, rows: int, rng: np.random.Generator) -> Drawn:
    """A campaign of the design; units of 1 to 4 rows, alike but for half of their outcomes, in "clusters"."""
    unit = (
        np.repeat(np.arange(rows), rng.integers(1, 5, rows))[:rows]
        if design == "clusters"
        else np.arange(rows)
    )
    x, region = rng.random(rows)[unit], rng.integers(0, 3, rows)[unit]
    share = {"propensity": SHARE[region], "strata": SHARE[region], "unequal": 0.85}.get(design, 0.5)
    treated = (rng.random(rows) < share)[unit] if design == "clusters" else rng.random(rows) < share
    luck = np.where(rng.random(rows) < 0.5, rng.random(rows)[unit], rng.random(rows))
    outcome = (luck < BASE[region] + treated * (A + B * (1 - 2 * x))).astype(np.int8)
    columns = {"t": treated.astype(np.int8), "y": outcome}
    roles: dict[str, object] = {"treatment": "t", "control": 0, "chain": ["y"], "features": []}
    if design == "propensity":
        columns["e"], roles["propensity"] = np.where(treated, share, 1 - share), "e"
    elif design == "strata":
        columns["region"], roles["strata"] = region, "region"
    elif design == "weights":
        columns["w"], roles["weight"] = rng.lognormal(0, 0.5, rows), "w"
    elif design == "clusters":
        columns["unit"], roles["unit"] = unit, "unit"
    elif design == "money":
        # Of mean 1, so that the effects per customer stay what they are.
        columns["spend"], roles["value"] = outcome * rng.gamma(2.0, 0.5, rows), "spend"
    campaign = Campaign.from_table(pa.table(columns), **roles)
    tau = A + B_HAT * (1 - 2 * x)
    # Expected outcome of the region whatever the arm, as a model of the outcome would say.
    baseline = BASE[region] + 0.5 * A if design == "baseline" else None
    return Drawn(campaign, tau, tau + rng.normal(0, 0.1, rows), baseline)


def truths(design: str) -> dict[str, float]:
    """What the metrics estimate."""
    found = {
        "ate": A, "qini_per_capita": B / 6, "autoc": B / 2, "calibration_slope": B / B_HAT, "predicted_ate": A,
        "uplift_at_10": A + B * 0.9, "uplift_at_30": A + B * 0.7, "qini difference": _difference(),
    }  # fmt: skip
    if design not in ("money", "clusters"):
        share = {"propensity": SHARE, "strata": SHARE, "unequal": np.full(3, 0.85)}.get(
            design, np.full(3, 0.5)
        )
        # scikit-uplift's know no weights: rows as they are, the mean over regions of each arm's outcomes.
        x = np.linspace(0, 1, 100_001)[1:]
        gained = A * x + B * (x - x**2)
        treated, control = share.mean(), 1 - share.mean()
        y_t = x * np.mean(share * BASE) + treated * gained
        y_c = x * np.mean((1 - share) * BASE)
        cells = Cells(treated * x, control * x, y_t, y_c)
        found |= {
            "qini_sklift": float(scores.qini_sklift(cells)),
            "auuc_sklift": float(scores.auuc_sklift(cells)),
        }
    return found


def _difference() -> float:
    """Qini of the prediction less that of the worse one: E[tau (1/2 - u)], u the share ranked before, B / 6 for x."""
    from statistics import NormalDist

    normal = NormalDist(0, 0.1 * 2**0.5)
    grid = (np.arange(1_000) + 0.5) / 1_000
    # P(a row at x2 is ranked before one at x1) when both predictions carry noise of 0.1.
    steps = B_HAT * 2 * np.linspace(-1, 1, 4_001)
    ahead = np.array([normal.cdf(step) for step in steps])
    before = np.array([np.interp(B_HAT * 2 * (one - grid), steps, ahead).mean() for one in grid])
    return B / 6 - float(np.mean((A + B * (1 - 2 * grid)) * (0.5 - before)))


def measure(drawn: Drawn, stage: str, random_state: int) -> dict[str, tuple[float, float, float, float]]:
    """Value, standard error and interval of every metric."""
    comparison = compare(drawn.campaign, "1")
    outcome = drawn.campaign.outcome(stage)[comparison.rows].astype(np.float64)
    baseline = None if drawn.baseline is None else drawn.baseline[comparison.rows]
    pair = ArmScores(comparison, outcome, stage, "1", 0.95, DRAWS, TOP, random_state, baseline)
    first = pair.score(drawn.tau[comparison.rows], calibrated=True)
    worse = rate_influence(
        Ranking.build(drawn.other[comparison.rows], comparison.treated, pair.adjusted, comparison.weight)
    )
    second = first._replace(influence=worse.rows, headline=worse.value)
    ate = difference_in_means(comparison, pair.adjusted)
    difference = paired_differences({"m": first, "n": second}, comparison.cluster, 0.95)[0]
    rows = [*first.rows, {"metric": "ate", **vars(ate)}, {**difference, "metric": "qini difference"}]
    return {row["metric"]: tuple(row[key] for key in ("value", "se", "low", "high")) for row in rows}  # type: ignore[misc]


def coverage(design: str, *, runs: int, rows: int = ROWS, seed: int = 0) -> dict[str, dict[str, float]]:
    """By metric: share of intervals that hold the truth, mean standard error / spread, bias / spread."""
    truth = truths(design)
    found: dict[str, list[tuple[float, float, float, float]]] = {metric: [] for metric in truth}
    for run in range(runs):
        drawn = draw(design, rows, np.random.default_rng([seed, DESIGNS.index(design), run]))
        measured = measure(drawn, "value" if design == "money" else "y", run)
        for metric, numbers in found.items():
            numbers.append(measured[metric])
    table = {}
    for metric, numbers in found.items():
        value, se, low, high = np.array(numbers).T
        table[metric] = {
            "coverage": float(np.mean((low <= truth[metric]) & (truth[metric] <= high))),
            "error / spread": float(np.mean(se) / value.std()),
            "bias / spread": float((value.mean() - truth[metric]) / value.std()),
        }
    return table


def main() -> None:
    """Print one line per design and metric; the exit code says whether all lie between 93 and 97 %."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--designs", nargs="+", default=list(DESIGNS), choices=DESIGNS)
    options = parser.parse_args()
    outside = 0
    for design in options.designs:
        begun = time.perf_counter()
        for metric, row in coverage(design, runs=options.runs, rows=options.rows).items():
            off = not 0.93 <= row["coverage"] <= 0.97
            outside += off
            print(
                f"{design:12s} {metric:18s} {row['coverage']:.3f}{'  <--' if off else '     '}   standard error / spread "
                f"{row['error / spread']:.3f}   bias / spread {row['bias / spread']:+.3f}",
                flush=True,
            )
        print(f"{design:12s} {time.perf_counter() - begun:.0f} s")
    chance = 1.96 * np.sqrt(0.95 * 0.05 / options.runs)
    print(
        f"{outside} outside 93 to 97 %; by chance 95 % of them lie within {0.95 - chance:.3f} and {0.95 + chance:.3f}"
    )


if __name__ == "__main__":
    main()
