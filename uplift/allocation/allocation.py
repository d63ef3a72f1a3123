"""Allocation: who gets what, and what that proves."""

from __future__ import annotations

import copy
import json
import math
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from uplift.allocation.certificate import Certificate, float_above, float_below
from uplift.allocation.curve import BudgetCurve, budget_curve, constrained_curve
from uplift.allocation.curve_band import CurveBand
from uplift.allocation.dual import settle
from uplift.allocation.holdout import decision_ids
from uplift.allocation.limits import Limit, limits
from uplift.allocation.problem import Problem
from uplift.allocation.reasons import REASONS, reasons
from uplift.allocation.recipe import Recipe
from uplift.allocation.solve import Solution
from uplift.allocation.threads import threads_for
from uplift.errors import AllocationError
from uplift.segments import segment_column

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    import plotly.graph_objects as go

    from uplift.effects import Effects
    from uplift.policy import Policy

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
    recipe : Recipe
        What values, costs and holdout were made with.

    Examples
    --------
    >>> from uplift import allocate_arrays
    >>> plan = allocate_arrays([[3.0], [2.0], [1.0]], [[1.0]] * 3, budget=2.0)
    >>> plan
    Allocation(2 of 3 units treated, value 5.00, cost 2.00 of 2.00, gap ...)
    >>> plan.to_frame()["arm"].tolist()
    ['arm_1', 'arm_1', 'control']
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
        recipe: Recipe | None = None,
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
        self.recipe = recipe or Recipe()
        scales = problem.value_unit.scale, problem.cost_unit.scale
        self.expected_value: np.ndarray
        self.expected_cost: np.ndarray
        with threads_for(problem.n_units):
            self.expected_value, self.expected_cost, spend, worth, counts = settle(
                problem.value, problem.cost, solution.arms, *scales
            )
        self.certificate = certify(
            problem, solution, int(spend), int(worth), dict(zip(arms, counts.tolist(), strict=True))
        )
        self._problem: Problem = problem
        self._rows, self._prices = solution.rows, _prices(solution)
        self._exactly_one = solution.exactly_one

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
        """Value, spend and marginal return at every other budget, the other constraints kept. Computed on first use."""
        if self._rows is not None and any(row.name != "budget" for row in self._rows.items):
            with threads_for(self._problem.n_units):
                return constrained_curve(
                    self._problem, self._rows, self._prices, exactly_one=self._exactly_one
                )
        return budget_curve(self._problem)

    def curve_under(
        self,
        effects: Effects | Sequence[Effects],
        *,
        level: float | None = None,
        correct: bool | None = None,
    ) -> CurveBand:
        """:attr:`curve` under model uncertainty: what the same plans are worth if the effects are off.

        Parameters
        ----------
        effects : sequence of Effects, or Effects
            Effects of the members of an ensemble (``model.predict_members(audience)``) or of refits on resampled customers
            (:func:`uplift.members.refit_members`), two or more, for the plan's units; each one takes about four
            times what the budget curve takes. Or one Effects with intervals.
        level : float, optional
            Nominal level of the band, in (0, 1); default 0.9, for intervals theirs.
        correct : bool, optional
            Whether to take off what the promise exaggerates. Default: yes for members, unless the plan was made with
            `caution`; no for intervals, which do not tell.

        Returns
        -------
        CurveBand

        Raises
        ------
        AllocationError
            The plan was not made from effects, or these are for other arms or stages; fewer than two members, or no
            intervals; the level cannot be used, or a correction is asked for that cannot be made.

        Notes
        -----
        **Members.** A model that is too optimistic is so for everybody, so errors of effects do not average out over
        customers: the standard error of a plan's value is that of the values under whole members. With V_m(p) the value
        of plan p under member m of M, and p(b) the plan at budget b, the half width is t sd_m V_m(p(b)), t of Student's
        distribution with M - 1 degrees of freedom.

        The plan was chosen by the same effects, so what it promises is too high (Smith and Winkler, The optimizer's curse,
        Management Science 2006), and a band around the promise misses the truth on one side. The bootstrap tells by how
        much: members play the estimate and the plan's effects the truth; the plan that member m would make promises V_m
        and is worth V, so the mean of V_m(p_m(b)) - V(p_m(b)) is taken off (Efron and Tibshirani, An introduction to the
        bootstrap, 1993, ch. 17). With limits beside the budget every member takes as long as the plan's curve, and nothing is said of regret.

        **Intervals** say nothing of how errors hang together, so there are two extremes: all units err alike (their
        distances to the ends of the intervals add up; the band), or independently (their squares do;
        ``independent_low``, ``independent_high``). Where 10,000 customers are treated the second is 100 times narrower,
        and believing it needs a reason. The centre is not corrected.

        **How often it is right.** Simulated campaigns, nominal 90 %, 8 members (``benchmarks/bench_curve_band.py``): refits of a
        tree model, whose promise was 2.4 times the true value, held it in 31 of 40 campaigns of 8,000 customers, and in 6
        around the promise instead. Of 6,000 customers, networks with the bootstrap held it in 14 of 14 (wide bands), seeds
        alone in 9 of 13, intervals with shared errors in 26 of 27, with independent errors in 2 of 27. Few campaigns, so
        give or take 10 points and more. What all members get wrong alike is in none of them.
        """
        from uplift.allocation.under import curve_under

        return curve_under(self, effects, level=level, correct=correct)

    @cached_property
    def reason_codes(self) -> np.ndarray:
        """Why each unit got what it got: int8 [unit], codes into :data:`uplift.allocation.REASONS`."""
        return reasons(self._problem, self.arm_codes, self.holdout, self._rows, self._prices)

    @property
    def reasons(self) -> pa.Array:
        """:attr:`reason_codes` as text (an Arrow dictionary) [unit]."""
        return pa.DictionaryArray.from_arrays(pa.array(self.reason_codes), pa.array(REASONS, pa.string()))

    @property
    def constraints(self) -> pd.DataFrame:
        """One row per constraint: name, limit, use, slack, price, and with several of them what each means."""
        import pandas as pd

        return pd.DataFrame(self.certificate.constraints)

    @cached_property
    def decision_ids(self) -> pa.Array:
        """One id per (campaign, unit), the same in every run: 32 hexadecimal digits each."""
        return decision_ids(self.units, campaign=self.campaign)

    def with_policy_value(self, policy_value: dict[str, Any] | None) -> Allocation:
        """The same allocation with an estimate of its worth on randomised data (JSON-able).

        Parameters
        ----------
        policy_value : dict or None
            As of :meth:`uplift.metrics.PolicyValue.to_dict`.
        """
        other = copy.copy(self)
        other.policy_value = policy_value
        return other

    def to_table(self) -> pa.Table:
        """One row per unit, control and holdout included.

        Returns
        -------
        pyarrow.Table
            The unit column, ``arm`` (dictionary), ``expected_value``, ``expected_cost`` (float64), ``holdout``
            (bool), ``decision_id`` (text), ``campaign``, ``model`` (dictionary); where limits count a segment, its
            level as ``segment__NAME`` (dictionary), so that every limit can be added up again from the table.
        """
        table = plan_table(
            units=self.units,
            unit_column=self.unit_column,
            arm_codes=self.arm_codes,
            arms=self.arms,
            expected_value=self.expected_value,
            expected_cost=self.expected_cost,
            holdout=self.holdout,
            campaign=self.campaign,
            model=self.model,
            decision_id=self.decision_ids,
        )
        for segment in () if self._rows is None else self._rows.segments:
            table = table.append_column(segment_column(segment.title), segment.to_arrow())
        return table

    def to_frame(self) -> pd.DataFrame:
        """:meth:`to_table` as a pandas frame."""
        result: pd.DataFrame = self.to_table().to_pandas()
        return result

    def summary(self) -> dict[str, Any]:
        """The content of ``allocation.json``; None as budget stands for no limit."""
        return summary_of(self.certificate, self.policy_value)

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

    def policy(self, *, labels: dict[str, str] | None = None) -> Policy:
        """The plan's prices and rules as a small file that decides units one at a time.

        Parameters
        ----------
        labels : dict, optional
            Display name per arm.

        Raises
        ------
        AllocationError
            A limit that binds counts a segment that was given as labels without a name.
        """
        from uplift.policy.from_plan import policy_of_plan

        return policy_of_plan(self, labels)

    def export(self, path: str | Path, **options: Any) -> Path:
        """Write the decisions with a manifest; keywords as in :func:`uplift.export.export_allocation`.

        Parameters
        ----------
        path : path
            File (``.parquet``, ``.csv``, ``.jsonl``, ``.duckdb``) or folder to write.
        """
        from uplift.export import export_allocation

        return export_allocation(self, path, **options)


def plan_table(
    *,
    units: pa.Array,
    unit_column: str,
    arm_codes: np.ndarray,
    arms: tuple[str, ...],
    expected_value: np.ndarray,
    expected_cost: np.ndarray,
    holdout: np.ndarray,
    campaign: str,
    model: str,
    decision_id: pa.Array,
) -> pa.Table:
    """The allocation table of some units; see :meth:`Allocation.to_table`."""
    n = len(arm_codes)
    columns = {
        unit_column: units,
        "arm": pa.DictionaryArray.from_arrays(pa.array(arm_codes), pa.array(arms, pa.string())),
        "expected_value": pa.array(expected_value),
        "expected_cost": pa.array(expected_cost),
        "holdout": pa.array(holdout),
        "decision_id": decision_id,
        "campaign": _constant(campaign, n),
        "model": _constant(model, n),
    }
    # Text formats and dictionaries lose the order of the arms; exports need to know which one is the control.
    return pa.table(columns, metadata={"uplift.arms": json.dumps(arms)})


def summary_of(certificate: Certificate, policy_value: dict[str, Any] | None) -> dict[str, Any]:
    """The content of ``allocation.json``; None as budget stands for no limit."""
    c = certificate
    return {
        "budget": c.budget if math.isfinite(c.budget) else None,
        "expected_cost": c.expected_cost,
        "expected_value": c.expected_value,
        "dual_prices": dict(c.dual_prices),
        "upper_bound": c.upper_bound,
        "gap": c.gap,
        "constraints": c.constraints,
        "policy_value": policy_value,
    }


def _constant(text: str, n: int) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(n, np.int8)), pa.array([text], pa.string()))


def certify(
    problem: Problem, solution: Solution, spend: int, worth: int, counts: dict[str, int]
) -> Certificate:
    """The certificate, from sums that were read back from the decisions."""
    money = problem.budget_multiples
    rows = solution.rows
    uses = None if rows is None else rows.uses(problem.value, problem.cost, solution.arms)
    wrong = rows is None and spend != solution.spend
    over = uses is not None and rows is not None and bool((uses > rows.bounds).any())
    if wrong or over or worth != solution.worth or (money is not None and spend > money):
        raise RuntimeError(
            f"allocation audit failed: decisions cost {spend} and bring {worth} multiples, "
            f"the solver reported {solution.spend} and {solution.worth} within {money}"
            f"{', and another limit is overused' if over else ''}; please report this"
        )
    value = float_below(worth * problem.value_unit.step)
    bound = max(float_above(solution.bound), value)
    cost = problem.cost_unit.to_float(spend)
    # A budget like 8.2 may lie a hair below its decimal text: report the spend within the float that was given.
    cost = min(cost, problem.budget)
    prices, table = {"budget": solution.price}, tuple[Limit, ...]()
    slack = solution.price * max(problem.budget - cost, 0.0) if solution.price > 0 else 0.0
    if rows is not None and uses is not None and solution.prices is not None:
        table = limits(rows, uses, solution.prices, problem.value, problem.cost, solution.arms)
        prices |= {row.name: row.price for row in table}
        slack = sum(row.price * row.slack for row in table if row.price > 0)
    total = bound - value
    slack = min(slack, total)
    n = problem.n_units
    treated = n - next(iter(counts.values()))
    return Certificate(
        budget=problem.budget,
        expected_value=value,
        expected_cost=cost,
        dual_prices=prices,
        upper_bound=bound,
        gap=total / abs(bound) if bound and (worth or total > 2 * solution.rounding) else 0.0,
        gap_regret=total - slack,
        gap_slack=slack,
        n_units=n,
        n_treated=treated,
        counts=counts,
        min_roi=problem.min_roi,
        limits=table,
        method=solution.method,
        status=solution.status,
    )


def _prices(solution: Solution) -> np.ndarray:
    return np.array([solution.price]) if solution.prices is None else solution.prices
