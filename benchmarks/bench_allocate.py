"""Time, certified gap and memory of the one-budget allocation, against a full sort in numpy on the same arrays.

    python benchmarks/bench_allocate.py                 # 1M and 10M units, 5 arms
    python benchmarks/bench_allocate.py 1e6 --arms 10 --json out.json

``solve`` is validation plus the solver (arms, price and bound of float32 arrays in memory), best of `--repeat` runs
after a warm-up that compiles the kernels. ``plan`` adds per-unit value and cost and the audit of the sums
(`allocate_arrays`); ``curve`` is the budget curve. The baseline builds every hull step with numpy, sorts all of
them and cuts at the budget: the textbook greedy, with neither filling nor a bound of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from uplift.allocation import allocate_arrays
from uplift.allocation.problem import make_problem
from uplift.allocation.solve import solve


def marketing(n: int, k: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Value and cost [unit, arm] float32: beta base rates, gamma sensitivities, saturating response to the face
    value, log-normal baskets, one unit in seven put off by coupons; costs on redemption plus two cents to send.
    """
    value, cost = np.empty((n, k), np.float32), np.empty((n, k), np.float32)
    face = np.linspace(5, 50, k)
    for start in range(0, n, 1_000_000):
        rng = np.random.default_rng([seed, start])
        size = min(1_000_000, n - start)
        base = rng.beta(1, 30, size)
        basket = rng.lognormal(3.2, 0.6, size)
        pull = rng.gamma(0.5, 0.02, size) * np.where(rng.random(size) < 1 / 7, -0.3, 1.0)
        for j in range(k):
            uplift = pull * (1 - np.exp(-face[j] / 20))
            value[start : start + size, j] = basket * uplift
            cost[start : start + size, j] = face[j] * np.clip(base + uplift, 0, 1) + 0.02
    return value, cost


def full_sort(value: np.ndarray, cost: np.ndarray, budget: float) -> tuple[np.ndarray, float]:
    """Arms and value of the greedy over all hull steps, sorted at once."""
    n, k = value.shape
    parts: list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]] = []
    for start in range(0, n, 500_000):
        v = value[start : start + 500_000].astype(np.float64)
        c = cost[start : start + 500_000].astype(np.float64)
        rows = np.arange(len(v))
        v0, c0 = np.zeros(len(v)), np.zeros(len(v))
        for _ in range(k):
            dv, dc = v[rows] - v0[:, None], c[rows] - c0[:, None]
            slope = np.where((dv > 0) & (dc > 0), dv / np.where(dc > 0, dc, 1.0), -1.0)
            arm = slope.argmax(axis=1)
            pick = np.arange(len(rows))
            live = slope[pick, arm] > 0
            pick, arm, rows = pick[live], arm[live], rows[live]
            if not len(rows):
                break
            parts.append(
                (slope[pick, arm], dc[pick, arm], dv[pick, arm], rows + start, (arm + 1).astype(np.int16))
            )
            v0, c0 = v[rows, arm], c[rows, arm]
    slope, dc, dv, row, reached = (np.concatenate([part[f] for part in parts]) for f in range(5))
    del parts
    order = np.argsort(-slope, kind="stable")
    taken = order[: int(np.searchsorted(np.cumsum(dc[order]), budget, side="right"))]
    arms = np.zeros(n, np.int16)
    arms[row[taken]] = reached[taken]
    return arms, float(dv[taken].sum())


def best_time(run: Callable[[], Any], repeat: int) -> tuple[float, Any]:
    """Shortest wall time in seconds of `repeat` runs, and the last result."""
    times, result = [], None
    for _ in range(repeat):
        started = time.perf_counter()
        result = run()
        times.append(time.perf_counter() - started)
    return min(times), result


def peak_memory() -> float:
    """Highest resident memory of this process so far, GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def measure(n: int, k: int, share: float, repeat: int) -> dict[str, Any]:
    """All numbers of one size; the budget is `share` of what everybody's best arm would cost."""
    value, cost = marketing(n, k)
    for rows in (1_000, 120_000):  # compile every kernel that is timed below
        allocate_arrays(value[:rows], cost[:rows], budget=0.1 * rows * share).curve  # noqa: B018
    best = allocate_arrays(value, cost, budget=None)
    budget = round(share * best.certificate.expected_cost, 2)
    del best
    inputs = peak_memory()
    seconds, solution = best_time(lambda: solve(make_problem(value, cost, budget=budget)), repeat)
    plan_seconds, plan = best_time(lambda: allocate_arrays(value, cost, budget=budget), 2)
    curve_seconds, _ = best_time(lambda: plan.curve, 1)
    ours = peak_memory()
    sort_seconds, (arms, sort_value) = best_time(lambda: full_sort(value, cost, budget), 1)
    c = plan.certificate
    treated = np.flatnonzero(arms)
    sort_cost = float(cost[treated, arms[treated] - 1].sum(dtype=np.float64))
    return {
        "units": n,
        "arms": k,
        "budget": budget,
        "solve_seconds": round(seconds, 4),
        "rows_per_second": round(n / seconds),
        "plan_seconds": round(plan_seconds, 4),
        "curve_seconds": round(curve_seconds, 4),
        "full_sort_seconds": round(sort_seconds, 3),
        "times_faster": round(sort_seconds / seconds, 1),
        "passes": solution.passes,
        "core_share": round(solution.core / n, 4),
        "gap": c.gap,
        "gap_full_sort": (c.upper_bound - sort_value) / c.upper_bound,
        "value": c.expected_value,
        "left_of_budget": budget - c.expected_cost,
        "left_full_sort": budget - sort_cost,
        "treated_share": round(c.n_treated / n, 4),
        "arms_that_differ": int((arms != plan.arm_codes).sum()),
        "peak_gb_with_inputs": round(inputs, 2),
        "peak_gb_after_ours": round(ours, 2),
        "peak_gb_after_sort": round(peak_memory(), 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("units", nargs="*", type=float, default=[1e6, 1e7])
    parser.add_argument("--arms", type=int, default=5)
    parser.add_argument("--share", type=float, default=0.2, help="budget as a share of full spend")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--json", help="write the numbers to this file")
    options = parser.parse_args()
    results = []
    for n in options.units:
        result = measure(int(n), options.arms, options.share, options.repeat)
        results.append(result)
        print(json.dumps(result, indent=2), flush=True)
    if options.json:
        with open(options.json, "w") as file:
            json.dump({"cpus": os.cpu_count(), "results": results}, file, indent=2)


if __name__ == "__main__":
    main()
