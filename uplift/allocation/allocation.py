"""Allocation: who gets what, and what that proves."""

from __future__ import annotations

import copy
import math
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from uplift.allocation.certificate import Certificate, float_above, float_below
from uplift.allocation.curve import BudgetCurve, budget_curve
from uplift.allocation.dual import settle
from uplift.allocation.holdout import decision_ids
from uplift.allocation.problem import Problem
from uplift.allocation.solve import Solution
from uplift.allocation.threads import threads_for
from uplift.errors import AllocationError

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

COLUMNS = ("arm", "expected_value", "expected_cost", "holdout", "decision_id", "campaign", "model")
"""Columns of the allocation table after the unit's own."""


class Allocation:
    """The decision per unit, with what it is expected to bring and cost. Do not change its arrays.

    Attributes
    ----------
    arm_codes : ndarray of int16 [unit]
        Index into `arms`; 0 is control.
    arms : tuple of str
        Names, control first.
    units : pyarrow Array [unit]
        Unit ids (row numbers when none were given).
    unit_column : str
        Name of the unit's column in tables.
    expected_value : ndarray of float64 [unit]
        Incremental value of the chosen arm (0 in control), gross: its cost is not taken off.
    expected_cost : ndarray of float64 [unit]
        Cost of the chosen arm (0 in control).
    holdout : ndarray of bool [unit]
        Units kept in control on purpose, drawn before optimising.
    certificate : Certificate
    campaign, model : str
        Where the effects came from.
    policy_value : dict or None
        What the decision rule is worth on randomised data; see :meth:`with_policy_value`.
    """

    def __init__(
        self,
        problem: Problem,
        solution: Solution,
        *,
        units: pa.Array,
        unit_column: str,
        arms: tuple[str, ...],
        holdout: np.ndarray,
        campaign: str,
        model: str,
        model_fingerprint: str,
        policy_value: dict[str, Any] | None = None,
    ) -> None:
        if unit_column in COLUMNS:
            raise AllocationError(
                f"The unit column is called {unit_column!r}, which is a column of every allocation: rename it."
            )
        self.arm_codes: np.ndarray = solution.arms
        self.arms = arms
        self.units = units
        self.unit_column = unit_column
        self.holdout = holdout
        self.campaign = campaign
        self.model = model
        self.model_fingerprint = model_fingerprint
        self.policy_value = policy_value
        scales = problem.value_unit.scale, problem.cost_unit.scale
        self.expected_value: np.ndarray
        self.expected_cost: np.ndarray
        with threads_for(problem.n_units):
            self.expected_value, self.expected_cost, spend, worth, counts = settle(
                problem.value, problem.cost, solution.arms, *scales
            )
        self.certificate = _certify(
            problem, solution, int(spend), int(worth), dict(zip(arms, counts.tolist(), strict=True))
        )
        self._problem: Problem | None = problem

    def __len__(self) -> int:
        return len(self.arm_codes)

    def __repr__(self) -> str:
        c = self.certificate
        budget = f"{c.budget:,.2f}" if math.isfinite(c.budget) else "no limit"
        return (
            f"Allocation({c.n_treated:,} of {c.n_units:,} units treated, value {c.expected_value:,.2f}, "
            f"cost {c.expected_cost:,.2f} of {budget}, gap {c.gap:.2g})"
        )

    @cached_property
    def curve(self) -> BudgetCurve:
        """Value, spend and marginal return at every other budget. Computed on first use."""
        assert self._problem is not None
        curve = budget_curve(self._problem)
        self._problem = None  # its arrays may be large and nothing else needs them
        return curve

    @cached_property
    def decision_ids(self) -> pa.Array:
        """One id per (campaign, model, unit), the same in every run: 32 hexadecimal digits each."""
        return decision_ids(self.units, campaign=self.campaign, model=self.model_fingerprint)

    def with_policy_value(self, policy_value: dict[str, Any] | None) -> Allocation:
        """The same allocation with an estimate of its worth on randomised data (JSON-able)."""
        other = copy.copy(self)
        other.policy_value = policy_value
        return other

    def to_table(self) -> pa.Table:
        """One row per unit, control and holdout included.

        Returns
        -------
        pyarrow.Table
            The unit column, ``arm`` (dictionary), ``expected_value``, ``expected_cost`` (float64), ``holdout``
            (bool), ``decision_id`` (text), ``campaign``, ``model`` (dictionary).
        """
        n = len(self)
        columns = {
            self.unit_column: self.units,
            "arm": pa.DictionaryArray.from_arrays(pa.array(self.arm_codes), pa.array(self.arms, pa.string())),
            "expected_value": pa.array(self.expected_value),
            "expected_cost": pa.array(self.expected_cost),
            "holdout": pa.array(self.holdout),
            "decision_id": self.decision_ids,
            "campaign": _constant(self.campaign, n),
            "model": _constant(self.model, n),
        }
        return pa.table(columns)

    def to_frame(self) -> pd.DataFrame:
        """:meth:`to_table` as a pandas frame."""
        return self.to_table().to_pandas()

    def summary(self) -> dict[str, Any]:
        """The content of ``allocation.json``; None as budget stands for no limit."""
        c = self.certificate
        return {
            "budget": c.budget if math.isfinite(c.budget) else None,
            "expected_cost": c.expected_cost,
            "expected_value": c.expected_value,
            "dual_prices": dict(c.dual_prices),
            "upper_bound": c.upper_bound,
            "gap": c.gap,
            "constraints": c.constraints,
            "policy_value": self.policy_value,
        }

    def plot_budget(self) -> go.Figure:
        """Value and return of the last unit of money against the budget."""
        from uplift.reporting.figures import budget_figure

        return budget_figure(self)

    def plot_arms(self) -> go.Figure:
        """Customers and spend per arm."""
        from uplift.reporting.figures import allocation_figure

        return allocation_figure(self)

    def _repr_html_(self) -> str:
        from uplift.reporting.notebook import allocation_html

        return allocation_html(self)

    def export(self, path: str | Path, **options: Any) -> Path:
        """Write the table to a file with a manifest; keywords as in :func:`uplift.export.export_table`."""
        from uplift.export import export_allocation

        return export_allocation(self, path, **options)


def _constant(text: str, n: int) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(n, np.int8)), pa.array([text], pa.string()))


def _certify(
    problem: Problem, solution: Solution, spend: int, worth: int, counts: dict[str, int]
) -> Certificate:
    """The certificate, from sums that were read back from the decisions."""
    money = problem.budget_multiples
    if (spend, worth) != (solution.spend, solution.worth) or (money is not None and spend > money):
        raise RuntimeError(
            f"allocation audit failed: decisions cost {spend} and bring {worth} multiples, "
            f"the solver reported {solution.spend} and {solution.worth} within {money}; please report this"
        )
    value = float_below(worth * problem.value_unit.step)
    bound = max(float_above(solution.bound), value)
    cost = problem.cost_unit.to_float(spend)
    # A budget like 8.2 may lie a hair below its decimal text: report the spend within the float that was given.
    cost = min(cost, problem.budget)
    slack = solution.price * max(problem.budget - cost, 0.0) if solution.price > 0 else 0.0
    total = bound - value
    slack = min(slack, total)
    n = problem.n_units
    treated = n - next(iter(counts.values()))
    return Certificate(
        budget=problem.budget,
        expected_value=value,
        expected_cost=cost,
        dual_prices={"budget": solution.price},
        upper_bound=bound,
        gap=total / abs(bound) if bound and (worth or total > 2 * solution.rounding) else 0.0,
        gap_regret=total - slack,
        gap_slack=slack,
        n_units=n,
        n_treated=treated,
        counts=counts,
        min_roi=problem.min_roi,
    )
