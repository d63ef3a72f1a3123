"""One budget beside other solvers on the same arrays: time, and whether the objectives agree.

    python benchmarks/bench_allocate_peers.py 1e5
    python benchmarks/bench_allocate_peers.py 1e6 1e7 --peers maq --limit 200

One process per solver and size, building the model included, compiling and importing not; the fastest of three runs
where one takes less than 20 s. Peers that are not installed
are named and left out: ``maq`` (multi-armed Qini curves, built from its source tree), ``highspy`` (HiGHS: dual simplex,
interior point, PDLP), ``ortools`` (PDLP). All of them solve the linear relaxation, whose optimum lies between our
plan's value and our bound; ours gives whole decisions and the proof.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.bench_allocate import marketing

PEERS = ("ours", "maq", "highs_simplex", "highs_ipm", "highs_pdlp", "ortools_pdlp")
SHORT = 20.0
"""Seconds up to which a solver runs three times, and its fastest time counts."""
SHARE = 0.2
"""Budget as a share of what everybody's dearest arm would cost."""


def instance(n: int, k: int) -> tuple[np.ndarray, np.ndarray, float]:
    value, cost = marketing(n, k)
    return value, cost, round(SHARE * float(cost[:, -1].sum(dtype=np.float64)) / 10, 2)


def ours(value: np.ndarray, cost: np.ndarray, budget: float) -> dict[str, float]:
    from uplift.allocation import allocate_arrays
    from uplift.allocation.problem import make_problem
    from uplift.allocation.solve import solve

    allocate_arrays(value[:120_000], cost[:120_000], budget=budget / 100)  # compiles
    started = time.perf_counter()
    solve(make_problem(value, cost, budget=budget))
    seconds = time.perf_counter() - started
    plan = allocate_arrays(value, cost, budget=budget)
    return {
        "seconds": seconds,
        "value": plan.certificate.expected_value,
        "bound": plan.certificate.upper_bound,
    }


def maq(value: np.ndarray, cost: np.ndarray, budget: float) -> dict[str, float]:
    from maq import MAQ

    n = len(value)
    reward, price = value.astype(np.float64), cost.astype(np.float64)
    started = time.perf_counter()
    path = MAQ(budget=budget / n, n_bootstrap=0).fit(reward, price, reward)
    gain = path.average_gain(budget / n)
    return {"seconds": time.perf_counter() - started, "value": float(np.ravel(gain)[0]) * n}


def _matrix(cost: np.ndarray):  # type: ignore[no-untyped-def]
    """Rows: the budget, then one per unit."""
    from scipy import sparse

    n, k = cost.shape
    units = sparse.csr_array(
        (np.ones(n * k), (np.repeat(np.arange(n), k), np.arange(n * k))), shape=(n, n * k)
    )
    return sparse.vstack([sparse.csr_array(cost.astype(np.float64).reshape(1, -1)), units]).tocsc()


def highs(solver: str):  # type: ignore[no-untyped-def]
    def run(value: np.ndarray, cost: np.ndarray, budget: float) -> dict[str, float]:
        import highspy

        started = time.perf_counter()
        n, k = cost.shape
        matrix = _matrix(cost)
        model = highspy.HighsLp()
        model.num_col_, model.num_row_ = n * k, n + 1
        model.col_cost_ = -value.astype(np.float64).ravel()
        model.col_lower_, model.col_upper_ = np.zeros(n * k), np.ones(n * k)
        model.row_lower_ = np.full(n + 1, -highspy.kHighsInf)
        model.row_upper_ = np.concatenate([[budget], np.ones(n)])
        model.a_matrix_.format_ = highspy.MatrixFormat.kColwise
        model.a_matrix_.start_, model.a_matrix_.index_, model.a_matrix_.value_ = (
            matrix.indptr, matrix.indices, matrix.data,
        )  # fmt: skip
        h = highspy.Highs()
        h.setOptionValue("output_flag", False)
        h.setOptionValue("solver", solver)
        h.passModel(model)
        h.run()
        return {
            "seconds": time.perf_counter() - started,
            "value": -h.getInfo().objective_function_value,
        }

    return run


def ortools_pdlp(value: np.ndarray, cost: np.ndarray, budget: float) -> dict[str, float]:
    from ortools.pdlp import solvers_pb2
    from ortools.pdlp.python import pdlp

    started = time.perf_counter()
    n, k = cost.shape
    program = pdlp.QuadraticProgram()
    program.resize_and_initialize(n * k, n + 1)
    program.objective_vector = -value.astype(np.float64).ravel()
    program.constraint_matrix = _matrix(cost)
    program.constraint_lower_bounds = np.full(n + 1, -np.inf)
    program.constraint_upper_bounds = np.concatenate([[budget], np.ones(n)])
    program.variable_lower_bounds, program.variable_upper_bounds = np.zeros(n * k), np.ones(n * k)
    params = solvers_pb2.PrimalDualHybridGradientParams()
    params.num_threads = 2
    result = pdlp.primal_dual_hybrid_gradient(program, params)
    found = -float(program.objective_vector @ result.primal_solution)
    return {"seconds": time.perf_counter() - started, "value": found}


SOLVERS = {
    "ours": ours, "maq": maq, "highs_simplex": highs("simplex"), "highs_ipm": highs("ipm"),
    "highs_pdlp": highs("pdlp"), "ortools_pdlp": ortools_pdlp,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("units", nargs="*", type=float, default=[1e5])
    parser.add_argument("--arms", type=int, default=5)
    parser.add_argument("--peers", default=",".join(PEERS[1:]))
    parser.add_argument("--limit", type=float, default=150.0, help="seconds per solver and size")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        data = instance(int(arguments.units[0]), arguments.arms)
        found = SOLVERS[arguments.one](*data)
        for _ in range(2 if found["seconds"] < SHORT else 0):
            found["seconds"] = min(found["seconds"], SOLVERS[arguments.one](*data)["seconds"])
        print(json.dumps(found))
        return
    for n in map(int, arguments.units):
        base: dict[str, float] = {}
        for solver in ("ours", *arguments.peers.split(",")):
            command = [sys.executable, __file__, str(n), "--arms", str(arguments.arms), "--one", solver]
            try:
                done = subprocess.run(command, capture_output=True, text=True, timeout=arguments.limit + 60)
            except subprocess.TimeoutExpired:
                print(f"{n:>11,} {solver:14} not finished in {arguments.limit + 60:.0f} s", flush=True)
                continue
            if done.returncode:
                why = (
                    done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"exit {done.returncode}"
                )
                print(f"{n:>11,} {solver:14} {why}", flush=True)
                continue
            found = json.loads(done.stdout.strip().splitlines()[-1])
            if solver == "ours":
                base = found
                gap = (found["bound"] - found["value"]) / found["bound"]
                print(f"{n:>11,} {solver:14} {found['seconds']:9.3f} s  value {found['value']:.6f}  certified gap {gap:.1e}")  # fmt: skip
                continue
            apart = found["value"] / base["value"] - 1
            print(f"{n:>11,} {solver:14} {found['seconds']:9.3f} s  {found['seconds'] / base['seconds']:8.1f}x  objective {apart:+.1e} from ours", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
