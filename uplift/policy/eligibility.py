"""Who may get which arm, from the rules that a plan had and the return floor of its steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from uplift.errors import AllocationError

if TYPE_CHECKING:
    from uplift.effects import Effects


def open_arms(
    conditions: Sequence[Mapping[str, Any]],
    arms: Sequence[str],
    n: int,
    *,
    columns: Any = None,
    effects: Effects | None = None,
    stage: str | None = None,
) -> np.ndarray:
    """Arms that the plan's rules leave open to each unit, bool [unit, arm].

    Parameters
    ----------
    conditions : sequence of mapping
        Plain forms of :class:`~uplift.allocation.Eligible` and :class:`~uplift.allocation.DoNotDisturb`.
    arms : sequence of str
        Without the control.
    n : int
        Units.
    columns : mapping, pyarrow Table or frame, optional
        Columns [unit] that the conditions read.
    effects : Effects, optional
        With intervals; what `do_not_disturb` looks at.
    stage : str, optional
        Stage whose uplift is bought.

    Raises
    ------
    AllocationError
        A column, the effects or their intervals are missing.
    """
    from uplift.allocation.conditions import evaluate, names_in
    from uplift.allocation.constraints import DoNotDisturb, as_rules

    opened = np.ones((n, len(arms)), np.bool_)
    for rule in as_rules(conditions):
        if isinstance(rule, DoNotDisturb):
            if effects is None or stage is None or not effects.has_intervals:
                raise AllocationError(
                    "The plan left alone whom an arm surely harms (do_not_disturb): pass effects with intervals, or eligible."
                )
            for j, arm in enumerate(arms):
                opened[:, j] &= effects.tau_high(stage, arm) >= float(rule.above)
            continue
        when = rule.when  # type: ignore[union-attr]
        there = [] if columns is None else list(getattr(columns, "column_names", columns))
        missing = sorted(names_in(when) - set(there))
        if missing:
            raise AllocationError(
                f"The plan had the rule {when!r}, which reads the column {missing[0]!r}: pass it in columns, or pass eligible."
            )
        mask = evaluate(when, columns)
        if mask.shape != (n,):
            raise AllocationError(f"The columns of {when!r} have {len(mask)} rows: give one per unit ({n}).")
        concerned = slice(None) if rule.arm is None else [list(arms).index(rule.arm)]  # type: ignore[union-attr]
        opened[:, concerned] &= mask[:, None]
    return opened


def steps_above(
    value: np.ndarray, cost: np.ndarray, opened: np.ndarray | None, floor: float, *, allow_harm: bool
) -> np.ndarray:
    """Open arms to which every step, from control or a cheaper open arm, returns at least `floor`: bool [unit, arm].

    What :func:`uplift.allocation.allocate_arrays` makes of ``min_roi`` where there are more limits than a budget.
    """
    passed = np.ones(value.shape, np.bool_) if opened is None else opened.copy()
    if not allow_harm:
        passed &= ~((value < 0) & (cost < 0))
    candidates = passed.copy()
    with np.errstate(invalid="ignore"):
        passed &= (cost <= 0) | (value >= floor * cost)
        for cheap in range(value.shape[1]):
            more, gain = cost - cost[:, [cheap]], value - value[:, [cheap]]
            passed &= ~candidates[:, [cheap]] | (more <= 0) | (gain >= floor * more)
    return passed


def steps_above_one(
    value: Sequence[float],
    cost: Sequence[float],
    opened: Sequence[bool] | None,
    floor: float,
    *,
    allow_harm: bool,
) -> list[bool]:
    """:func:`steps_above` for one unit, without numpy."""
    candidates = []
    for j in range(len(value)):
        if opened is None or opened[j]:
            v, c = value[j], cost[j]
            if allow_harm or v >= 0 or c >= 0 or v != v or c != c:
                candidates.append((j, v, c))
    passed = [False] * len(value)
    for j, v, c in candidates:
        if v - v != 0 or c - c != 0:  # missing or infinite: left for the caller to complain about
            passed[j] = True
            continue
        if c > 0 and v < floor * c:
            continue
        for _, other_v, other_c in candidates:
            if c > other_c and v - other_v < floor * (c - other_c):
                break
        else:
            passed[j] = True
    return passed
