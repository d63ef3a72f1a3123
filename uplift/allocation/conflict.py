"""Constraints that cannot hold together, in words.

First one by one and two by two, exactly: the least that a floor needs of another limit is a sum of smallest amounts.
Then all together: an elastic linear program (a small problem) or a Farkas certificate from the dual without values
(a large one) gives a set that conflicts, and a deletion filter takes out of it what is not needed (Chinneck and
Dravnieks, 1991).
"""

from __future__ import annotations

import math

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, linprog, milp
from scipy.sparse import csr_matrix, hstack

from uplift.allocation.core import make_core, program, whole_up
from uplift.allocation.coupled import Coupled
from uplift.allocation.newton import farkas_prices
from uplift.allocation.rows import Row
from uplift.errors import AllocationError

_DIRECT = 60_000
_FILTER = 40
_SHORT = 1e-6


def can_conflict(problem: Coupled, exactly_one: bool) -> bool:
    """Whether anything asks for contacts; without, treating nobody keeps every limit."""
    return exactly_one or any(row.kind == "min_reach" and row.bound < 0 for row in problem.rows.items)


def check_feasible(problem: Coupled, *, exactly_one: bool) -> None:
    """Refuse what one floor alone, or a floor and one other limit, make impossible.

    Raises
    ------
    AllocationError
        Names both and the amounts.
    """
    if not can_conflict(problem, exactly_one):
        return
    scopes = _Scopes(problem)
    rows = problem.rows.items
    caps = [m for m, row in enumerate(rows) if row.kind != "min_reach"]
    for m in caps:
        least = scopes.least(m)
        if least > rows[m].bound:
            raise AllocationError(
                f"No plan keeps every constraint: an arm for every open unit (exactly_one) needs at least "
                f"{_amount(rows[m], least)}, but {_its(None, rows[m])}. Raise the limit or drop exactly_one."
            )
    for floor, row in enumerate(rows):
        if row.kind != "min_reach" or row.bound >= 0:
            continue
        wanted = -row.bound
        possible = scopes.reachable(floor)
        if possible < wanted:
            raise AllocationError(
                f"No plan keeps every constraint: {row.words} is asked for, but only {possible:,} units can get such an arm "
                "(not held out, eligible). Lower the minimum, or open more units."
            )
        for cap in caps:
            need = scopes.need(floor, cap)
            if need > rows[cap].bound:
                raise AllocationError(
                    f"No plan keeps every constraint: {row.words} needs at least {_amount(rows[cap], need)}, "
                    f"but {_its(row, rows[cap])}. Lower the minimum or raise the limit."
                )


def refuse(problem: Coupled, *, exactly_one: bool, proof: str = "") -> AllocationError:
    """The error for a problem without a plan, naming a set of constraints that conflict."""
    rows = problem.rows.items
    integer = proof == "infeasible"
    if problem.n_choices <= _DIRECT:
        found = _elastic(problem, list(range(len(rows))), integer)
        members = found[1] if found is not None else []
        if found is not None and len(members) <= _FILTER:
            members = _filtered(problem, members, integer)
    else:
        members = _farkas(problem)
    if not members:
        asked = [row.words for row in rows if row.kind == "min_reach"]
        return AllocationError(
            "No plan in whole units that keeps every constraint was found, although shares of units could: "
            f"relax one of them by a few units ({'; '.join(asked[:5])})."
        )
    names = [rows[m].words for m in members]
    if exactly_one:
        names.append("an arm for every open unit (exactly_one)")
    shown = "; ".join(names[:8]) + (f"; and {len(names) - 8} more" if len(names) > 8 else "")
    return AllocationError(f"No plan keeps these constraints together: {shown}. Relax one of them.")


class _Scopes:
    """Which units and choices a row counts, and what the least use of it is."""

    def __init__(self, problem: Coupled) -> None:
        self.problem = problem
        slot = problem.slot
        self.groups = []
        for family in range(slot.shape[1]):
            order = np.argsort(slot[:, family], kind="stable")
            self.groups.append((order, slot[order, family]))
        self.width = problem.value.shape[1]
        at = np.flatnonzero(problem.rows.rowmap >= 0)
        self.pieces: dict[int, set[int]] = {}
        for entry in at:
            self.pieces.setdefault(int(problem.rows.rowmap[entry]), set()).add(
                int(entry) // self.width * self.width
            )
        self.kept: dict[int, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}

    def units(self, m: int) -> np.ndarray:
        """Units with a choice that the row counts."""
        found = [np.zeros(0, np.int64)]
        for piece in sorted(self.pieces.get(m, ())):
            for order, slots in self.groups:
                low, high = np.searchsorted(slots, [piece, piece + 1])
                found.append(order[low:high])
        return np.concatenate(found)

    def counted(self, m: int, units: np.ndarray) -> np.ndarray:
        """Which choices of `units` the row counts, bool [unit, choice]."""
        found = np.zeros((len(units), self.width), np.bool_)
        choices = np.arange(self.width)
        for family in range(self.problem.slot.shape[1]):
            found |= self.problem.rows.rowmap[self.problem.slot[units, family][:, None] + choices] == m
        return found & self.opened(units)

    def opened(self, units: np.ndarray) -> np.ndarray:
        return self.problem.value[units] > -np.inf

    def amounts(self, m: int, units: np.ndarray) -> np.ndarray:
        """Use of row m by every choice of `units` in multiples; closed choices are very large."""
        p = self.problem
        opened = self.opened(units)
        value = np.where(opened, p.value[units], 0.0)
        amount = whole_up((p.alpha[m] + p.beta[m] * p.cost[units] + p.gamma[m] * value) * p.scales[m])
        amount = np.where(self.counted(m, units), amount, 0)
        return np.where(opened, amount, 2**61)

    def cap(self, m: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Units of row m, its amounts for every choice, and the least amount of each unit."""
        if m not in self.kept:
            units = np.sort(self.units(m))
            amounts = self.amounts(m, units)
            self.kept[m] = units, amounts, amounts.min(axis=1) if len(units) else np.zeros(0, np.int64)
        return self.kept[m]

    def least(self, m: int) -> int:
        """The least that any decision uses of row m when nothing else counts."""
        return int(self.cap(m)[2].sum())

    def reachable(self, floor: int) -> int:
        """Units that can be counted by a floor."""
        units = self.units(floor)
        return int(self.counted(floor, units).any(axis=1).sum())

    def need(self, floor: int, cap: int) -> int:
        """The least use of row `cap` by any decision that reaches `floor`; 0 or less where it never matters."""
        units, amounts, least = self.cap(cap)
        wanted = -self.problem.rows.items[floor].bound
        counted = self.counted(floor, units)
        reach = counted.any(axis=1)
        outside = self.reachable(floor) - int(reach.sum())
        wanted -= outside
        base = int(least.sum())
        if wanted <= 0:
            return base
        extra = np.where(counted, amounts, 2**61).min(axis=1)[reach] - least[reach]
        return base + int(np.sort(extra)[:wanted].sum())


def _amount(row: Row, multiples: int) -> str:
    number = multiples / row.unit.scale
    if row.kind == "budget":
        return f"{math.ceil(number * 100 - 1e-9) / 100:,.2f}"
    return f"{number:,.2f} of missing return" if row.kind == "min_roi" else f"{multiples:,} units"


def _its(floor: Row | None, cap: Row) -> str:
    """``its budget is 1,000.00`` where both mean the same customers."""
    limit = f"{cap.limit:,.2f}" if cap.kind in ("budget", "min_roi") else f"{cap.limit:,.0f}"
    kind = {
        "budget": "budget", "stock": "stock", "cap": "cap", "max_share": "maximum share", "min_roi": "minimum return on cost",
    }[cap.kind]  # fmt: skip
    if cap.kind == "min_roi":
        return f"the {cap.words} would be missed"
    if floor is not None and floor.scope == cap.scope and floor.scope:
        return f"its {kind} is {limit}"
    return f"the {kind}{' ' + cap.scope if cap.scope else ''} is {limit}"


def _elastic(problem: Coupled, members: list[int], integer: bool) -> tuple[float, list[int]] | None:
    """Least total shortfall when only `members` count, and those with a price; None: nothing is short."""
    zero = problem.hard(np.zeros(len(problem.rows)))
    core = make_core(problem, zero, np.arange(len(problem)), np.inf)
    parts = program(problem, core, (problem.bounds - zero.uses).astype(np.float64))
    m, columns = len(problem.rows), parts["A_ub"].shape[1]
    keep = np.concatenate([np.array(members, np.int64), np.arange(m, parts["A_ub"].shape[0])])
    matrix, right = parts["A_ub"][keep], parts["b_ub"][keep]
    short = csr_matrix(
        (-np.ones(len(members)), (np.arange(len(members)), np.arange(len(members)))),
        (len(keep), len(members)),
    )
    cost = np.concatenate([np.zeros(columns), np.ones(len(members))])
    whole = hstack([matrix, short]).tocsr()
    upper = np.concatenate([np.ones(columns), np.full(len(members), np.inf)])
    if integer:
        kinds = np.concatenate([np.ones(columns), np.zeros(len(members))])
        found = milp(
            cost, integrality=kinds, bounds=Bounds(0, upper), constraints=LinearConstraint(whole, ub=right),
            options={"time_limit": 5.0},
        )  # fmt: skip
        return None if found.x is None or found.fun <= _SHORT else (float(found.fun), members)
    found = linprog(
        cost, whole, right, bounds=np.column_stack([np.zeros(len(upper)), upper]), method="highs-ds"
    )
    if found.x is None or found.fun <= _SHORT:
        return None
    priced = [row for at, row in enumerate(members) if found.ineqlin.marginals[at] < -1e-9]
    return float(found.fun), priced or members


def _filtered(problem: Coupled, members: list[int], integer: bool) -> list[int]:
    """Leave out one after the other what the conflict does not need."""
    for m in list(members):
        rest = [other for other in members if other != m]
        if _elastic(problem, rest, integer) is not None:
            members = rest
    return members


def _farkas(problem: Coupled) -> list[int]:
    """Rows of a Farkas certificate of a large problem; empty when none was found."""
    prices = farkas_prices(problem)
    if problem.farkas(prices) >= 0:
        return []
    members = list(np.flatnonzero(prices > 0))
    for m in sorted(members, key=lambda m: prices[m] * problem.weights[m] / problem.scales[m]):
        without = prices.copy()
        without[m] = 0.0
        if problem.farkas(without) < 0:
            prices = without
    return [int(m) for m in np.flatnonzero(prices > 0)]
