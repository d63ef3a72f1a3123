"""`allocate_arrays`: plain value and cost arrays in, an Allocation out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from uplift.allocation.allocation import Allocation
from uplift.allocation.conditions import evaluate
from uplift.allocation.constraints import Constraint, DoNotDisturb, Eligible, Rule, as_rules
from uplift.allocation.device import CPU, device_of
from uplift.allocation.holdout import check_unique
from uplift.allocation.problem import Problem, make_problem
from uplift.allocation.recipe import Recipe, conditions_of
from uplift.allocation.rows import make_rows
from uplift.allocation.solve import Solution, solve
from uplift.allocation.solve_rows import solve_rows
from uplift.errors import AllocationError, did_you_mean

if TYPE_CHECKING:
    import torch

METHODS = ("auto", "one_budget", "dual", "exact")


def allocate_arrays(
    value: Any,
    cost: Any,
    *,
    budget: float | None,
    eligible: Any = None,
    holdout: Any = None,
    units: Any = None,
    unit_column: str = "unit",
    arms: Sequence[str] | None = None,
    control: str = "control",
    salt: str = "",
    min_roi: float | None = None,
    allow_harm: bool = False,
    constraints: Sequence[Any] | None = None,
    columns: Any = None,
    exactly_one: bool = False,
    method: str = "auto",
    time_limit: float = 10.0,
    device: str = CPU,
    campaign: str = "",
    model: str = "",
    model_fingerprint: str | None = None,
) -> Allocation:
    """Choose at most one arm per unit so that the expected value is highest within the budget and other limits.

    The objective is the incremental value, gross: costs count against the budget only. The answer keeps every
    limit, counted in whole multiples of micro-units or finer, and comes with an upper bound that no other choice
    within the limits can beat.

    Parameters
    ----------
    value, cost : array-like of float [unit, arm]
        Incremental value against control and expected cost of every arm but the control (which has value 0 and
        cost 0). Both may be negative. float32 and float64, C or Fortran order, are read without a copy.
    budget : float or None
        Money, >= 0; ``inf`` or None: no limit. Never exceeded, with every cost rounded up.
    eligible : array-like of bool, optional
        [unit] or [unit, arm]; False: the unit cannot get the arm(s).
    holdout : array-like of bool [unit], optional
        Units that stay in control on purpose.
    units : array-like [unit], optional
        Unit ids, each once. They break ties (by hash), so the answer does not depend on the order of rows.
        Default: row numbers.
    unit_column : str
        Name of the ids in tables.
    arms : sequence of str, optional
        Names of the arms, without the control. Default: ``arm_1``, ...
    control : str
        Name of the control.
    salt : str
        Key of the hash that breaks ties.
    min_roi : float, optional
        Return floor: no step up a unit's menu, from control to an arm or from one arm to a dearer one, may bring
        less value per unit of cost. Money may be left.
    allow_harm : bool
        Use arms with negative value and negative cost to pay for others. Off: such arms are never chosen.
    constraints : sequence of constraints, optional
        :class:`~uplift.allocation.Budget`, `Stock`, `Cap`, `MaxShare`, `MinReach`, `MinROI`, `Eligible`, or the same as
        dicts with a key ``kind``; all hold together, in any combination.
    columns : mapping, pyarrow Table or frame, optional
        Columns [unit] that segments and eligibility conditions name.
    exactly_one : bool
        Every unit gets an arm, unless it is held out or no arm is open to it.
    method : {"auto", "one_budget", "dual", "exact"}
        ``one_budget``: the fastest, when the budget is the only limit. ``dual``: one price per limit, for any size.
        ``exact``: ``one_budget`` or ``dual``, then a search (HiGHS) over the choices that could still be better, which
        proves the optimum. ``auto``: one_budget where it applies; else dual, and exact when the problem is small.
    time_limit : float
        Seconds for the search of ``exact``; when they are over, ``certificate.status`` says so and the certified plan
        is returned.
    device : {"cpu", "auto", "cuda", "cuda:N"}
        Where the passes over all units run: compiled kernels on the CPU, or torch on a CUDA device, with the same
        arithmetic and the same certificate. ``auto``: a CUDA device where there is one, else the CPU.
        (``"torch:cpu"``, slow, is the device's code on the CPU.)
    campaign, model : str
        Written to tables.
    model_fingerprint : str, optional
        Text that identifies the fitted model in exports; default `model`.

    Returns
    -------
    Allocation

    Raises
    ------
    AllocationError
        Shapes disagree, a number is missing, ids repeat, budget or `min_roi` cannot be used, a constraint is not
        understood, the constraints cannot hold together (the message names those that conflict), or `device` is not
        here or too small.

    References
    ----------
    Sinha, Zoltners (1979), The multiple-choice knapsack problem. Pisinger (1995), A minimal algorithm for the
    multiple-choice knapsack problem.

    Examples
    --------
    >>> plan = allocate_arrays([[3.0, 4.0], [2.0, 5.0], [-1.0, -2.0]], [[1.0, 2.0]] * 3, budget=3.0)
    >>> plan.arm_codes.tolist(), plan.certificate.expected_value
    ([1, 2, 0], 8.0)
    >>> plan.certificate.expected_cost, plan.certificate.dual_prices
    (3.0, {'budget': 1.0})

    >>> from uplift.allocation import MinReach, Stock
    >>> one_each = allocate_arrays([[3.0, 4.0], [2.0, 5.0], [-1.0, -2.0]], [[1.0, 2.0]] * 3, budget=3.0,
    ...     constraints=[Stock({"arm_2": 1}), MinReach(1, arm="arm_1")])
    >>> one_each.arm_codes.tolist(), one_each.certificate.status
    ([1, 2, 0], 'optimal')
    """
    values = _array(value, "value")
    n = values.shape[0] if values.ndim else 0
    k = values.shape[1] if values.ndim == 2 else 1
    names = tuple(f"arm_{j + 1}" for j in range(k)) if arms is None else tuple(str(a) for a in arms)
    if len(names) != k:
        raise AllocationError(f"{len(names)} arm names for {k} columns: name every arm but the control.")
    if len({control, *names}) != k + 1:
        raise AllocationError(
            f"The arm names {[control, *names]} repeat: give every arm, and the control, its own name."
        )
    ids = None if units is None else as_ids(units, n, unit_column)
    closed = None if holdout is None else np.asarray(holdout)
    if closed is not None and (closed.dtype != np.bool_ or closed.shape != (n,)):
        raise AllocationError(
            f"holdout has shape {closed.shape} and type {closed.dtype}: give one boolean per unit ({n})."
        )
    if method not in METHODS:
        raise AllocationError(f"There is no method {method!r}: {did_you_mean(str(method), METHODS)}")
    if not (isinstance(time_limit, int | float | np.number) and time_limit >= 0):
        raise AllocationError(f"time_limit is {time_limit!r}: give seconds, >= 0.")
    rules = as_rules(constraints)
    where = device_of(device)
    problem = make_problem(
        values,
        _array(cost, "cost"),
        budget=budget,
        eligible=_with_rules(eligible, rules, n, names, columns),
        closed=closed,
        units=ids,
        salt=salt,
        min_roi=min_roi,
        allow_harm=allow_harm,
        arms=names,
    )
    return Allocation(
        problem,
        _solve(problem, rules, names, columns, exactly_one, method, time_limit, where),
        units=pa.array(np.arange(n)) if ids is None else ids,
        unit_column=unit_column,
        arms=(control, *names),
        holdout=np.zeros(n, np.bool_) if closed is None else closed,
        campaign=campaign,
        model=model,
        model_fingerprint=model if model_fingerprint is None else model_fingerprint,
        recipe=Recipe(
            holdout_share=0.0 if closed is None else None,
            salt=salt,
            min_roi=problem.min_roi,
            allow_harm=problem.allow_harm,
            eligibility_given=bool(problem.open_arm.size),
            exactly_one=exactly_one,
            conditions=conditions_of(rules) if eligible is None else (),
            unnamed_segments=any(
                isinstance(rule, Constraint) and not isinstance(rule.segment, str | None) for rule in rules
            ),
        ),
    )


def _solve(
    problem: Problem,
    rules: Sequence[Rule],
    arms: tuple[str, ...],
    columns: Any,
    exactly_one: bool,
    method: str,
    time_limit: float,
    device: torch.device | None,
) -> Solution:
    limits = [rule for rule in rules if isinstance(rule, Constraint)]
    single = not limits and not exactly_one
    if method == "one_budget" and not single:
        raise AllocationError(
            "method='one_budget' knows one budget only, and there are more constraints: use method='auto'."
        )
    if single and method in ("auto", "one_budget"):
        return _one_budget(problem, device)
    rows = make_rows(problem, limits, arms, columns)
    return solve_rows(
        problem,
        rows,
        exactly_one=exactly_one,
        method=method,
        time_limit=float(time_limit),
        start=_one_budget(problem, device) if single and method == "exact" else None,
        device=device,
    )


def _one_budget(problem: Problem, device: torch.device | None) -> Solution:
    if device is None:
        return solve(problem)
    from uplift.allocation.device_prices import solve_on

    return solve_on(problem, device)


def _array(given: Any, name: str) -> np.ndarray:
    try:
        return np.asarray(given)
    except ValueError:
        raise AllocationError(
            f"{name} has rows of different lengths: give one number per unit and arm, without the control."
        ) from None


def _with_rules(
    eligible: Any, rules: Sequence[Rule], n: int, arms: tuple[str, ...], columns: Any
) -> np.ndarray | None:
    """The eligibility mask with every rule that closes arms."""
    given = None if eligible is None else np.asarray(eligible)
    for rule in rules:
        if isinstance(rule, DoNotDisturb):
            raise AllocationError(
                "do_not_disturb needs the intervals of effects: use allocate(effects, ...), or give eligible=..."
            )
        if not isinstance(rule, Eligible):
            continue
        mask = evaluate(rule.when, columns) if isinstance(rule.when, str) else np.asarray(rule.when)
        if mask.dtype != np.bool_ or mask.shape != (n,):
            raise AllocationError(
                f"An eligible rule has shape {mask.shape} and type {mask.dtype}: give one boolean per unit ({n})."
            )
        if rule.arm is not None and rule.arm not in arms:
            raise AllocationError(
                f"An eligible rule names the arm {rule.arm!r}: {did_you_mean(rule.arm, arms)}"
            )
        if given is None or given.ndim == 1:
            first = np.ones(n, np.bool_) if given is None else given
            given = np.repeat(first[:, None], len(arms), axis=1)
        concerned = slice(None) if rule.arm is None else [arms.index(rule.arm)]
        given = given.copy()
        given[:, concerned] &= mask[:, None]
    return given


def as_ids(units: Any, n: int, column: str) -> pa.Array:
    """Unit ids as one Arrow array, each once.

    Raises
    ------
    AllocationError
        Another number of ids than rows, ids without an Arrow type, missing or repeated ids.
    """
    if isinstance(units, pa.ChunkedArray):
        units = units.combine_chunks()
    try:
        ids = units if isinstance(units, pa.Array) else pa.array(units)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise AllocationError(f"Unit ids mix types ({error}): give integers or text.") from None
    if len(ids) != n:
        raise AllocationError(f"{len(ids)} unit ids for {n} rows of values: give one id per row.")
    check_unique(ids, column)
    return ids
