"""Proven optimum: drop every choice that no optimal decision can use, and search what remains.

With an incumbent of value V and the dual bound D, a choice whose regret exceeds D - V cannot be part of any decision
worth V or more (every such decision would be bounded by D less that regret). What survives is a few units. With one
limit a dynamic program settles them, without any tolerance; with more, HiGHS does.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp

from uplift.allocation.core import Core, make_core, program
from uplift.allocation.coupled import Coupled, HardPass
from uplift.allocation.knapsack import best_choices

_TOLERANCE = 1e-6
"""HiGHS' absolute tolerances (objective and rows), in typical values and typical uses of a unit."""
_MOST_SWITCHES = 2_000_000
_TIGHTER = 3


@dataclass(frozen=True, eq=False)
class Proof:
    """What the search found.

    Attributes
    ----------
    arms : ndarray of int16 [unit] or None
        In the order of the coupled problem; None without a better decision than the one that was given.
    worth : int
        Its value in multiples.
    bound : Fraction
        Upper bound on the value of any decision.
    status : str
        ``"optimal"``, ``"time limit"``, ``"too large"`` or ``"infeasible"``.
    switches : int
        Choices that were left to search over.
    """

    arms: np.ndarray | None
    worth: int
    bound: Fraction
    status: str
    switches: int


def prove(problem: Coupled, at: HardPass, worth: int | None, bound: Fraction, *, time_limit: float) -> Proof:
    """Search for a decision better than `worth`, and for a proof that there is none.

    Parameters
    ----------
    problem : Coupled
    at : HardPass
        At the prices of the bound.
    worth : int or None
        Value of the incumbent in multiples; None: there is no feasible decision yet.
    bound : Fraction
        Upper bound that holds already.
    time_limit : float
        Seconds.
    """
    started = time.perf_counter()
    step = problem.problem.value_unit.step
    margin = float(at.dual - worth * step) * (1 + 1e-9) if worth is not None else np.inf
    core = make_core(problem, at, np.arange(len(problem)), margin)
    switches = core.switches
    incumbent = -1 if worth is None else worth
    if len(switches) > _MOST_SWITCHES:
        return Proof(None, incumbent, bound, "too large", len(switches))
    residual = problem.bounds - at.uses
    if not len(switches):
        best = at.arms if (residual >= 0).all() and (worth is None or at.worth > worth) else None
        if best is None and worth is None:
            return Proof(None, -1, bound, "infeasible", 0)
        found_worth = at.worth if best is not None else incumbent
        return Proof(best, found_worth, min(bound, found_worth * step), "optimal", 0)
    if len(residual) == 1 and worth is not None:
        price = float(at.prices[0]) / float(problem.scales[0])
        entries = best_choices(core, int(residual[0]), price, margin, worth - at.worth)
        if entries is not None:
            arms, value = None, worth
            if len(entries) and entries[0] >= 0:
                arms = at.arms.copy()
                arms[core.units] = core.arm[entries]
                value = at.worth + int((core.value[entries] - core.value[core.base]).sum())
            rounding = int(np.count_nonzero(at.arms)) + len(
                core.units
            )  # values were rounded down to multiples
            return Proof(arms, value, min(bound, (value + rounding) * step), "optimal", len(switches))
    right = residual.astype(np.float64)
    first_bound: Fraction | None = None
    for _ in range(_TIGHTER):
        left = time_limit - (time.perf_counter() - started)
        if left <= 0.01:
            return Proof(None, incumbent, first_bound or bound, "time limit", len(switches))
        parts = program(problem, core, right)
        found = milp(
            parts["c"],
            integrality=np.ones(len(switches)),
            bounds=Bounds(0, 1),
            constraints=LinearConstraint(parts["A_ub"], ub=parts["b_ub"]),
            options={"mip_rel_gap": 0.0, "time_limit": left},
        )
        if found.status == 2:
            if worth is None and first_bound is None:
                return Proof(None, -1, bound, "infeasible", len(switches))
            return Proof(None, incumbent, first_bound or bound, "certified", len(switches))
        if first_bound is None:
            first_bound = bound
            if found.mip_dual_bound is not None and np.isfinite(found.mip_dual_bound):
                gain = (-float(found.mip_dual_bound) + _TOLERANCE) * problem.typical
                # Values were rounded down to multiples: at most one for each unit that is treated.
                base = at.worth + int(np.count_nonzero(at.arms)) + len(core.units)
                first_bound = min(bound, base * step + Fraction(gain))
        if found.x is None:
            return Proof(None, incumbent, first_bound, "time limit", len(switches))
        arms, value, uses = _decided(problem, core, at, found.x > 0.5)
        over = uses - problem.bounds
        if (over <= 0).all():
            status = "optimal" if found.status == 0 else "time limit"
            if worth is not None and value <= worth:
                return Proof(None, worth, first_bound, status, len(switches))
            return Proof(arms, value, first_bound, status, len(switches))
        # The search keeps rows to within its tolerance only: ask for a little more, the bound stays as it is.
        right = np.where(over > 0, right - over - _TOLERANCE * problem.weights, right)
    return Proof(None, incumbent, first_bound or bound, "certified", len(switches))


def _decided(
    problem: Coupled, core: Core, at: HardPass, taken: np.ndarray
) -> tuple[np.ndarray, int, np.ndarray]:
    """Arms, value and uses when these switches are made."""
    switches = core.switches[taken]
    start = core.base[core.unit[switches]]
    arms = at.arms.copy()
    arms[core.units[core.unit[switches]]] = core.arm[switches]
    worth = at.worth + int((core.value[switches] - core.value[start]).sum())
    uses = at.uses.copy()
    for entries, sign in ((switches, 1), (start, -1)):
        rows, amount = core.rows[entries], core.amount[entries]
        np.add.at(uses, rows[rows >= 0], sign * amount[rows >= 0])
    return arms, worth, uses
