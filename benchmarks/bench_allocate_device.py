"""Allocation on a torch device against the compiled kernels on the CPU, side by side in one run.

    python benchmarks/bench_allocate_device.py --json out.json        # on a machine with a GPU: everything
    python benchmarks/bench_allocate_device.py --limits 1e6 --one-budget 1e7
    python benchmarks/bench_allocate_device.py --device cpu           # small, on torch's CPU device

**It has been run on torch's CPU device only**, where it checks that both give the same plan; times there say nothing
about a GPU, because torch's CPU device is slower than the compiled kernels.

``one_budget``: 10M and 100M units x 5 arms in float32, the data of ``bench_allocate.py``. ``limits``: 1M units x 10 arms
under one budget, a budget for each of 200 segments and a stock for each arm, those of ``bench_constraints.py``.

Whole solutions, from numpy arrays to arms in numpy, best of `--repeat` after a warm-up on a small problem:
``cpu_seconds`` and ``device_seconds`` (which includes all transfers); ``send_seconds`` is the part in which the amounts
travel, ``device_seconds_without_send`` the rest. Single passes over amounts that are there already: ``*_pass_seconds``
on both sides, the device's with the arms brought back. ``*_floor_seconds`` is what a pass must read divided by the
bandwidth that a large copy reaches on that side in this run; ``send_floor_seconds`` the same for the bus, from memory that is
locked for it (numpy's is not).
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench_allocate import best_time, marketing
from bench_constraints import rules, segmented

from uplift.allocation import allocate_arrays
from uplift.allocation.constraints import as_rules
from uplift.allocation.coupled import make_coupled
from uplift.allocation.device import TORCH_ON_CPU, device_of
from uplift.allocation.device_prices import PricePasses, solve_on
from uplift.allocation.device_rows import RowPasses
from uplift.allocation.dual import price_pass
from uplift.allocation.problem import make_problem
from uplift.allocation.rows import make_rows
from uplift.allocation.solve import solve
from uplift.allocation.threads import threads_for

_CHUNK = 1_000_000


def menus(n: int, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The arrays of `marketing`, a million units at a time on all cores, each million with its own seed."""
    value, cost = np.empty((n, k), np.float32), np.empty((n, k), np.float32)

    def fill(start: int) -> None:
        part = slice(start, min(start + _CHUNK, n))
        value[part], cost[part] = marketing(part.stop - start, k, seed=start // _CHUNK)

    with ThreadPoolExecutor() as pool:
        list(pool.map(fill, range(0, n, _CHUNK)))
    return value, cost


def wait(device: torch.device) -> None:
    """Until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def timed(device: torch.device, run: Callable[[], Any], repeat: int) -> tuple[float, Any]:
    """Shortest wall time in seconds, the device's work included, and the last result."""

    def once() -> Any:
        result = run()
        wait(device)
        return result

    wait(device)
    return best_time(once, repeat)


def bandwidths(device: torch.device) -> dict[str, float]:
    """Bytes per second of large copies: memory here, memory there (reads and writes counted), and the bus."""
    size = 1 << (30 if device.type == "cuda" else 26)
    here = np.ones(size // 8)
    other = np.empty_like(here)
    there = torch.empty(size // 8, dtype=torch.float64, device=device)
    target = torch.empty_like(there)
    host = torch.from_numpy(here)
    if device.type == "cuda":
        host = host.pin_memory()
    cpu, _ = best_time(lambda: np.copyto(other, here), 3)
    copy, _ = timed(device, lambda: target.copy_(there), 5)
    bus, _ = timed(device, lambda: there.copy_(host), 3)
    return {"cpu": 2 * size / cpu, "device": 2 * size / copy, "bus": size / bus}


def peak_gb(device: torch.device) -> float | None:
    """Most memory of the device in use since the last call, GB; None on a CPU."""
    if device.type != "cuda":
        return None
    most = torch.cuda.max_memory_allocated(device) / 1e9
    torch.cuda.reset_peak_memory_stats(device)
    return round(most, 2)


def one_budget(n: int, k: int, device: torch.device, speed: dict[str, float], repeat: int) -> dict[str, Any]:
    """All numbers of one size with one budget of a fifth of full spend."""
    value, cost = menus(n, k)
    everybody = solve(make_problem(value, cost, budget=None))
    problem = make_problem(value, cost, budget=None)
    budget = round(0.2 * problem.cost_unit.to_float(everybody.spend), 2)
    del everybody
    cpu, ours = best_time(lambda: solve(make_problem(value, cost, budget=budget)), repeat)
    peak_gb(device)
    whole, theirs = timed(device, lambda: solve_on(make_problem(value, cost, budget=budget), device), repeat)
    problem = make_problem(value, cost, budget=budget)
    check, _ = best_time(lambda: make_problem(value, cost, budget=budget), repeat)
    peak = peak_gb(device)
    send, passes = timed(device, lambda: PricePasses(problem, device), repeat)
    prices = (1.0, ours.price * 1.01, ours.price * 0.99)
    with threads_for(n):
        cpu_pass, a = best_time(
            lambda: price_pass(
                value, cost, problem.open_unit, problem.open_arm, False, *prices, *passes.scales
            ),
            repeat,
        )
    device_pass, b = timed(device, lambda: passes.read(*prices), repeat)
    same = np.array_equal(ours.arms, theirs.arms) and (ours.spend, ours.worth, ours.bound) == (theirs.spend, theirs.worth, theirs.bound)  # fmt: skip
    amounts = value.nbytes + cost.nbytes
    bound = Fraction(ours.bound)
    return {
        "units": n, "arms": k,
        "cpu_seconds": cpu, "device_seconds": whole, "device_seconds_without_send": whole - send, "check_seconds_of_both": check,
        "send_seconds": send, "send_floor_seconds": amounts / speed["bus"],
        "cpu_pass_seconds": cpu_pass, "cpu_pass_floor_seconds": (amounts + 2 * n) / speed["cpu"],
        "device_pass_seconds": device_pass, "device_pass_floor_seconds": (amounts + 2 * n) / speed["device"],
        "times_faster": cpu / whole, "times_faster_without_send": cpu / (whole - send), "times_faster_pass": cpu_pass / device_pass,
        "passes": theirs.passes, "gap": float((bound - ours.worth * problem.value_unit.step) / bound) if bound else 0.0,
        "same_solution": same, "same_pass": np.array_equal(a[0], b[0]) and np.array_equal(a[1], b[1]),
        "device_peak_gb": peak,
    }  # fmt: skip


def limits(n: int, k: int, device: torch.device, name: str, speed: dict[str, float], repeat: int) -> dict[str, Any]:  # fmt: skip
    """All numbers of one size under a budget, 200 budgets of segments and a stock for every arm."""
    value, cost, segment = segmented(n, k, segments=min(200, max(n // 500, 2)))
    budget, found = rules(value, cost, segment, 0.2, False)
    common = {"budget": budget, "constraints": found, "columns": {"segment": segment}}
    cpu, ours = best_time(lambda: allocate_arrays(value, cost, **common), repeat)
    peak_gb(device)
    whole, theirs = timed(device, lambda: allocate_arrays(value, cost, **common, device=name), repeat)
    peak = peak_gb(device)
    problem = make_problem(value, cost, budget=budget)
    rows = make_rows(problem, as_rules(found), tuple(f"arm_{j + 1}" for j in range(k)), common["columns"])  # type: ignore[arg-type]
    here = make_coupled(problem, rows)
    send, passes = timed(device, lambda: RowPasses(*here.arrays, device), repeat)
    tables = here.tables(np.array([row.price for row in ours.certificate.limits]))
    scale = problem.value_unit.scale
    pieces = here.alpha, here.beta, here.gamma
    sample = min(len(here), 50_000)
    found_passes = {}
    with threads_for(n):
        for title, units, warm in (("hard", len(here), None), ("smooth", len(here), 0.001), ("smooth_sample", sample, 0.1)):  # fmt: skip
            if warm is None:
                runs = [lambda: here._best(tables), lambda: passes.hard(len(here), tables, *pieces, here.scales, scale)]  # fmt: skip
            else:
                runs = [
                    lambda units=units, tau=warm * here.typical: here.smoothed(units, tables, tau),
                    lambda units=units, tau=warm * here.typical: passes.smooth(units, tables, *pieces, tau),
                ]
            runs[0]()
            read = sum(array[:units].nbytes for array in here.arrays[:3])
            found_passes |= {
                f"cpu_{title}_seconds": best_time(runs[0], repeat)[0],
                f"device_{title}_seconds": timed(device, runs[1], repeat)[0],
                f"cpu_{title}_floor_seconds": read / speed["cpu"],
                f"device_{title}_floor_seconds": read / speed["device"],
            }
    a, b = ours.certificate, theirs.certificate
    return {
        "units": n, "arms": k, "limits": len(a.limits), "binding": sum(row.price > 0 for row in a.limits),
        "cpu_seconds": cpu, "device_seconds": whole, "device_seconds_without_send": whole - send, "times_faster": cpu / whole,
        "send_seconds": send, "send_floor_seconds": sum(array.nbytes for array in here.arrays[:3]) / speed["bus"],
        **found_passes,
        "cpu_gap": a.gap, "device_gap": b.gap, "relative_difference_of_bounds": (b.upper_bound - a.upper_bound) / a.upper_bound,
        "least_slack": min(row.slack for row in b.limits), "arms_that_differ": int((ours.arm_codes != theirs.arm_codes).sum()),
        "device_peak_gb": peak,
    }  # fmt: skip


def rounded(row: dict[str, Any]) -> dict[str, Any]:
    """Four digits of every number."""
    return {key: float(f"{x:.4g}") if isinstance(x, float) else x for key, x in row.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="auto", help="auto, cuda, cuda:N, or cpu for torch's CPU device")
    parser.add_argument("--limits", nargs="*", type=float, help="units x 10 arms; default 1e6, on a CPU 2e4")
    parser.add_argument(
        "--one-budget", nargs="*", type=float, help="units x 5 arms; default 1e7 1e8, on a CPU 2e5"
    )
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--json", help="write the numbers to this file")
    options = parser.parse_args()
    name = TORCH_ON_CPU if options.device == "cpu" else options.device
    device = device_of(name)
    if device is None:
        print(
            "There is no CUDA device here: small sizes on torch's CPU device, which say nothing about a GPU."
        )
        name, device = TORCH_ON_CPU, torch.device("cpu")
    gpu = device.type == "cuda"
    speed = bandwidths(device)
    result: dict[str, Any] = {
        "machine": {
            "device": name,
            "name": torch.cuda.get_device_name(device) if gpu else "torch on the CPU",
            "cpus": os.cpu_count(), "torch": torch.__version__, "torch_threads": torch.get_num_threads(),
            **{f"{side}_gb_per_second": round(x / 1e9, 1) for side, x in speed.items()},
        },
        "limits": [], "one_budget": [],
    }  # fmt: skip
    print(json.dumps(result["machine"], indent=2), flush=True)
    for rows in (3_000, 60_000) if gpu else (3_000,):  # compile every kernel that is timed below
        small = segmented(rows, 10, segments=20)
        budget, found = rules(*small, 0.2, False)
        for where in ("cpu", name):
            allocate_arrays(
                *small[:2], budget=budget, constraints=found, columns={"segment": small[2]}, device=where
            )
            allocate_arrays(*small[:2], budget=budget, device=where)
    started = time.perf_counter()
    for n in options.limits if options.limits is not None else [1e6] if gpu else [2e4]:
        result["limits"].append(rounded(limits(int(n), 10, device, name, speed, options.repeat)))
        print(json.dumps(result["limits"][-1], indent=2), flush=True)
    for n in options.one_budget if options.one_budget is not None else [1e7, 1e8] if gpu else [2e5]:
        result["one_budget"].append(rounded(one_budget(int(n), 5, device, speed, options.repeat)))
        print(json.dumps(result["one_budget"][-1], indent=2), flush=True)
    result["seconds"] = round(time.perf_counter() - started, 1)
    if options.json:
        Path(options.json).write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
