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
        possible = len(scopes.reachable(floor))
        if possible < wanted:
            raise AllocationError(
                f"No plan keeps every constraint: {row.words} is asked for, but only {possible:,} units can get such an arm "
                "(not held out, eligible). Lower the minimum, or open more units."
            )
        for cap in caps:
            if scopes.never(floor, cap):
                continue
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
        self.width = problem.value.shape[1]
        self.groups = []
        for family in range(problem.slot.shape[1]):
            order = np.argsort(problem.slot[:, family], kind="stable")
            self.groups.append((order, problem.slot[order, family]))
        self.pieces: dict[int, set[int]] = {}
        for entry in np.flatnonzero(problem.rows.rowmap >= 0):
            piece = int(entry) // self.width * self.width
            self.pieces.setdefault(int(problem.rows.rowmap[entry]), set()).add(piece)
        self.control = bool((problem.value[:, 0] > -np.inf).all())
        self.cheapest = float(problem.cost.min()) if problem.cost.size else 0.0
        self.kept: dict[int, int] = {}
        self.reach: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def units(self, m: int) -> np.ndarray:
        """Units with a choice that the row counts, ascending."""
        found = [np.zeros(0, np.int64)]
        for piece in sorted(self.pieces.get(m, ())):
            for order, slots in self.groups:
                low, high = np.searchsorted(slots, [piece, piece + 1])
                found.append(order[low:high])
        return np.sort(np.concatenate(found))

    def counted(self, m: int, units: np.ndarray) -> np.ndarray:
        """Which open choices of `units` the row counts, bool [unit, choice]."""
        found = np.zeros((len(units), self.width), np.bool_)
        choices = np.arange(self.width)
        for family in range(self.problem.slot.shape[1]):
            found |= self.problem.rows.rowmap[self.problem.slot[units, family][:, None] + choices] == m
        result: np.ndarray = found & (self.problem.value[units] > -np.inf)
        return result

    def amounts(self, m: int, units: np.ndarray) -> np.ndarray:
        """Use of row m by every choice of `units` in multiples; closed choices are very large."""
        p = self.problem
        opened = p.value[units] > -np.inf
        value = np.where(opened, p.value[units], 0.0)
        amount = whole_up((p.alpha[m] + p.beta[m] * p.cost[units] + p.gamma[m] * value) * p.scales[m])
        amount = np.where(self.counted(m, units), amount, 0)
        return np.where(opened, amount, 2**61)

    def least(self, m: int) -> int:
        """The least that any decision uses of row m when nothing else counts."""
        if m not in self.kept:
            p = self.problem
            nothing = self.control and p.gamma[m] == 0 and (p.beta[m] == 0 or self.cheapest >= 0)
            self.kept[m] = 0 if nothing else int(self.amounts(m, self.units(m)).min(axis=1).sum())
        return self.kept[m]

    def reachable(self, floor: int) -> np.ndarray:
        """Units that a floor can count, ascending."""
        if floor not in self.reach:
            units = self.units(floor)
            self.reach[floor] = units, units[self.counted(floor, units).any(axis=1)]
        return self.reach[floor][1]

    def need(self, floor: int, cap: int) -> int:
        """The least use of row `cap` by any decision that reaches `floor`."""
        base = self.least(cap)
        able = self.reachable(floor)
        inside = np.intersect1d(able, self.members(cap), assume_unique=True)
        wanted = -self.problem.rows.items[floor].bound - (len(able) - len(inside))
        if wanted <= 0:
            return base
        amounts = self.amounts(cap, inside)
        extra = np.where(self.counted(floor, inside), amounts, 2**61).min(axis=1) - amounts.min(axis=1)
        return base + int(np.sort(extra)[:wanted].sum())

    def members(self, cap: int) -> np.ndarray:
        """:meth:`units`, kept."""
        if cap not in self.reach:
            self.reach[cap] = self.units(cap), np.zeros(0, np.int64)
        return self.reach[cap][0]

    def never(self, floor: int, cap: int) -> bool:
        """Whether the two cannot meet: other levels of one segment, or so little wanted that any choice will do."""
        ours, theirs = self.pieces.get(floor, set()), self.pieces.get(cap, set())
        family = [int(self.groups_of(part)) for part in (ours, theirs)]
        if family[0] == family[1] and not ours & theirs:
            return True
        row = self.problem.rows.items[cap]
        return self.least(cap) == 0 and row.beta == 0 and row.gamma == 0 and (
            -self.problem.rows.items[floor].bound <= row.bound
        )  # fmt: skip

    def groups_of(self, pieces: set[int]) -> int:
        """Family whose pieces these are; -1 without any unit."""
        piece = min(pieces, default=-1)
        for family, (_, slots) in enumerate(self.groups):
            if len(slots) and slots[0] <= piece <= slots[-1]:
                return family
        return -1


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
