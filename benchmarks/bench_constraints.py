"""Allocation under many constraints: time, certified gap, proof of the optimum, and agreement with HiGHS MILP.

    python benchmarks/bench_constraints.py large            # 211 constraints on 1M units x 10 arms
    python benchmarks/bench_constraints.py large 1e5 --floors
    python benchmarks/bench_constraints.py exact            # one budget, 10k units x 5 arms, proven optimum
    python benchmarks/bench_constraints.py small 1000       # random instances of every constraint type

``large``: one budget, a budget for each of 200 segments and a stock for each arm, on the data of
``bench_allocate.py``; ``--floors`` adds a minimum reach in 20 segments. Time is `allocate_arrays` as a whole
(validation, solver, audit), after a small problem has compiled the kernels. ``exact``: the same call with
``method="exact"``; the best of `--repeat` runs. ``small``: instances of ``tests/constraint_cases.py`` against a MILP
that is built from the constraint objects; feasibility is checked in whole cents.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from bench_allocate import best_time, marketing, peak_memory

from uplift.allocation import Budget, MinReach, Stock, allocate_arrays
from uplift.errors import AllocationError

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))


def segmented(
    n: int, k: int, seed: int = 0, segments: int = 200
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Value, cost [unit, arm] and segment [unit]; segments differ in size."""
    value, cost = marketing(n, k, seed)
    rng = np.random.default_rng([seed, 7])
    weight = rng.gamma(3.0, 1.0, segments)
    return value, cost, rng.choice(segments, n, p=weight / weight.sum()).astype(np.int32)


def rules(
    value: np.ndarray, cost: np.ndarray, segment: np.ndarray, share: float, floors: bool
) -> tuple[float, list]:
    """The budget and the constraints, most of them binding."""
    n, k = value.shape
    best = value.argmax(axis=1)
    spend = np.where(value.max(axis=1) > 0, cost[np.arange(n), best], 0).astype(np.float64)
    per = np.bincount(segment, spend, minlength=int(segment.max()) + 1)
    rng = np.random.default_rng(3)
    budgets = {str(s): round(float(share * per[s] * rng.uniform(0.6, 1.6)), 2) for s in range(len(per))}
    plain = allocate_arrays(value, cost, budget=share * spend.sum())
    given = np.bincount(plain.arm_codes, minlength=k + 1)
    stock = {f"arm_{j}": int(given[j] * rng.uniform(0.5, 1.1)) for j in range(1, k + 1)}
    found: list[Any] = [Budget(budgets, segment="segment"), Stock(stock)]
    if floors:
        counts = np.bincount(segment, minlength=len(per))
        found.append(MinReach({str(s): int(counts[s] * 0.3) for s in range(20)}, segment="segment"))
    return round(float(share * spend.sum()), 2), found


def cpu_time(run: Callable[[], Any], repeat: int) -> tuple[float, float, Any]:
    """Shortest wall time, shortest processor time (all threads) in seconds of `repeat` runs, and the last result."""
    used, result = [], None
    started = time.process_time()

    def once() -> Any:
        nonlocal started
        started = time.process_time()
        found = run()
        used.append(time.process_time() - started)
        return found

    seconds, result = best_time(once, repeat)
    return seconds, min(used), result


def large(n: int, k: int, floors: bool, repeat: int) -> dict[str, Any]:
    """All numbers of one size."""
    for rows in (3_000, 60_000):
        small = segmented(rows, k, segments=20)
        budget, found = rules(*small, 0.2, floors)
        allocate_arrays(*small[:2], budget=budget, constraints=found, columns={"segment": small[2]})
    value, cost, segment = segmented(n, k)
    budget, found = rules(value, cost, segment, 0.2, floors)
    inputs = peak_memory()
    seconds, cpu, plan = cpu_time(
        lambda: allocate_arrays(value, cost, budget=budget, constraints=found, columns={"segment": segment}),
        repeat,
    )
    c = plan.certificate
    return {
        "units": n,
        "arms": k,
        "constraints": len(c.limits),
        "binding": sum(row.price > 0 for row in c.limits),
        "seconds": round(seconds, 3),
        "cpu_seconds": round(cpu, 3),
        "gap": c.gap,
        "gap_regret": c.gap_regret / c.upper_bound,
        "gap_slack": c.gap_slack / c.upper_bound,
        "value": c.expected_value,
        "upper_bound": c.upper_bound,
        "status": c.status,
        "least_slack": min(row.slack for row in c.limits),
        "treated_share": round(c.n_treated / n, 4),
        "peak_gb_with_inputs": round(inputs, 2),
        "peak_gb": round(peak_memory(), 2),
    }


def exact(n: int, k: int, repeat: int) -> dict[str, Any]:
    """Time to the proven optimum with one budget."""
    value, cost = marketing(n, k)
    budget = round(0.2 * allocate_arrays(value, cost, budget=None).certificate.expected_cost, 2)
    allocate_arrays(value[:1000], cost[:1000], budget=budget * 0.1, method="exact")
    seconds, cpu, plan = cpu_time(lambda: allocate_arrays(value, cost, budget=budget, method="exact"), repeat)
    plain_seconds, plain = best_time(lambda: allocate_arrays(value, cost, budget=budget), repeat)
    c = plan.certificate
    return {
        "units": n, "arms": k, "seconds": round(seconds, 4), "cpu_seconds": round(cpu, 4), "status": c.status, "gap": c.gap, "value": c.expected_value,
        "one_budget_seconds": round(plain_seconds, 4), "one_budget_gap": plain.certificate.gap,
        "one_budget_below_optimum": c.expected_value - plain.certificate.expected_value,
    }  # fmt: skip


def small(count: int) -> dict[str, Any]:
    """Random instances against HiGHS MILP; the counts of what must not happen are the last five."""
    from constraint_cases import random_case, reference, violations

    seen: Counter[str] = Counter()
    wrong = Counter(
        {"infeasible": 0, "bound_too_low": 0, "not_within_gap": 0, "not_optimal": 0, "refusal": 0}
    )
    worst, started = 0.0, time.perf_counter()
    for seed in range(count):
        case = random_case(seed)
        best = reference(case)
        seen[f"{len(case.constraints)} constraints"] += 1
        for method in ("auto", "dual", "exact"):
            try:
                plan = case.solve(method)
            except AllocationError:
                wrong["refusal"] += best is not None
                seen["refused"] += best is None
                continue
            if best is None:
                wrong["refusal"] += 1
                continue
            c = plan.certificate
            value, bound = 100 * c.expected_value, 100 * c.upper_bound
            wrong["infeasible"] += bool(violations(case, plan.arm_codes))
            wrong["bound_too_low"] += bound < best - 1e-6
            wrong["not_within_gap"] += best - value > c.gap * abs(bound) + 1e-6
            wrong["not_optimal"] += method == "exact" and value < best - 1e-3
            seen[f"{method}: {c.status}"] += 1
            if method == "dual":
                worst = max(worst, (best - value) / max(abs(best), 1.0))
    seconds = round(time.perf_counter() - started, 1)
    return {
        "instances": count,
        "seconds": seconds,
        **dict(sorted(seen.items())),
        "worst_of_dual": worst,
        "wrong": dict(wrong),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("large", "exact", "small"))
    parser.add_argument("units", nargs="?", type=float, help="units (instances for small)")
    parser.add_argument("--arms", type=int, help="default 10 (large), 5 (exact)")
    parser.add_argument("--floors", action="store_true")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--json", help="write the numbers to this file")
    options = parser.parse_args()
    if options.what == "large":
        found = large(int(options.units or 1e6), options.arms or 10, options.floors, options.repeat)
    elif options.what == "exact":
        found = exact(int(options.units or 1e4), options.arms or 5, options.repeat)
    else:
        found = small(int(options.units or 1000))
    print(json.dumps(found, indent=2))
    if options.json:
        Path(options.json).write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
