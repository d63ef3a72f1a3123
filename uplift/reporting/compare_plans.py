"""Plans of several runs: what they cost and bring, how alike their decisions are, and their budget curves."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
import pyarrow as pa
import pyarrow.compute as pc

from uplift.allocation import Allocation
from uplift.reporting.compare import ComparedRun
from uplift.reporting.measured import measured
from uplift.reporting.names import Names
from uplift.reporting.numbers import MISSING, MONEY, amount, percent, whole
from uplift.reporting.plan_facts import per_money
from uplift.reporting.tables import Cell, Column, Row, Table, count_cell, number_cell, text_cell
from uplift.reporting.theme import figure, label, model_marks


def plans_table(runs: Sequence[ComparedRun]) -> Table | None:
    """Budget, spend, values and customers of every plan; None without any."""
    rows = []
    for one in runs:
        plan = one.plan
        if plan is None:
            continue
        c, found = plan.certificate, measured(plan)
        limited = math.isfinite(c.budget)
        cells = (
            text_cell(one.label, small=one.model),
            Cell(amount(c.budget) if limited else "no limit", repr(float(c.budget)) if limited else ""),
            number_cell(c.expected_cost, MONEY),
            number_cell(c.expected_value, MONEY),
            Cell(per_money(c.expected_value, c.expected_cost), repr(c.expected_value / c.expected_cost))
            if c.expected_cost > 0
            else Cell(MISSING),
            number_cell(c.expected_value / max(c.n_units, 1), MONEY),
            count_cell(c.n_treated, small=f"of {whole(c.n_units)}"),
            number_cell(c.dual_prices.get("budget", 0.0), MONEY),
            Cell(MISSING)
            if found is None or not found.arms
            else number_cell(found.value, MONEY, found.low, found.high),
        )
        rows.append(Row(cells))
    if not rows:
        return None
    columns = (
        Column("Run", numeric=False),
        Column("Budget"),
        Column("Spend", "expected"),
        Column("Value", "by the model"),
        Column("Value per money"),
        Column("Value per customer"),
        Column("Customers with a coupon"),
        Column("Dual price"),
        Column("Measured value", "policy_value"),
    )
    return Table("table-plans", "The plans", columns, tuple(rows), sortable=True)


def _common(one: Allocation, other: Allocation) -> tuple[np.ndarray, np.ndarray]:
    """Places of the customers of both plans in each of them, int64 [customer]."""
    a, b = one.units, other.units
    if a.type != b.type:
        a, b = a.cast(pa.large_string()), b.cast(pa.large_string())
    place = pc.index_in(a, value_set=b)
    known = np.asarray(pc.is_valid(place).to_numpy(zero_copy_only=False), bool)
    there = np.asarray(place.fill_null(-1).to_numpy(zero_copy_only=False), np.int64)
    return np.flatnonzero(known), there[known]


def _matrix(one: Allocation, other: Allocation) -> np.ndarray:
    """Common customers by arm in `one` and arm in `other`, int64 [arm, arm]."""
    here, there = _common(one, other)
    shape = len(one.arms), len(other.arms)
    key = one.arm_codes[here].astype(np.int64) * shape[1] + other.arm_codes[there]
    return np.bincount(key, minlength=shape[0] * shape[1]).reshape(shape)


def agreement(one: Allocation, other: Allocation) -> tuple[int, int, int, int]:
    """Common customers; those with the same arm; those with a coupon in either plan; the same coupon in both."""
    matrix = _matrix(one, other)
    same = both = 0
    for i, arm in enumerate(one.arms):
        if arm in other.arms:
            count = int(matrix[i, other.arms.index(arm)])
            same += count
            both += count if i else 0
    total = int(matrix.sum())
    return total, same, total - int(matrix[0, 0]), both


def overlap_table(runs: Sequence[ComparedRun], pairs: Sequence[tuple[int, int]]) -> Table | None:
    """How many customers get the same arm in both plans, pair by pair; None without two plans."""
    rows = []
    for a, b in pairs:
        one, other = runs[a].plan, runs[b].plan
        if one is None or other is None:
            continue
        total, same, either, both = agreement(one, other)
        cells = (
            text_cell(runs[a].label),
            text_cell(runs[b].label),
            count_cell(total),
            Cell(percent(same / total), repr(same / total)) if total else Cell(MISSING),
            count_cell(either),
            Cell(percent(both / either), repr(both / either)) if either else Cell(MISSING),
        )
        rows.append(Row(cells))
    if not rows:
        return None
    columns = (
        Column("Run", numeric=False),
        Column("and run", numeric=False),
        Column("Customers in both"),
        Column("Same arm", "share of them"),
        Column("A coupon in either"),
        Column("Same coupon in both", "share of them"),
    )
    return Table("table-overlap", "How alike the decisions are", columns, tuple(rows))


def matrix_table(runs: Sequence[ComparedRun], pairs: Sequence[tuple[int, int]], names: Names) -> Table | None:
    """Customers of both plans by their arm in each, for every pair; the page shows one pair."""
    arms = list(dict.fromkeys(arm for one in runs if one.plan is not None for arm in one.plan.arms))
    rows = []
    for number, (a, b) in enumerate(pairs):
        one, other = runs[a].plan, runs[b].plan
        if one is None or other is None:
            continue
        matrix = _matrix(one, other)
        for i, arm in enumerate(one.arms):
            counts = [int(matrix[i, other.arms.index(name)]) if name in other.arms else None for name in arms]
            cells = [
                Cell(MISSING)
                if count is None
                else Cell(whole(count), str(count), tone="strong" if name == arm else "")
                for name, count in zip(arms, counts, strict=True)
            ]
            rows.append(
                Row(
                    (
                        text_cell(names.arm(arm), small=f"in {runs[a].label}"),
                        *cells,
                        count_cell(int(matrix[i].sum())),
                    ),
                    {"pair": str(number)},
                )
            )
    if not rows:
        return None
    columns = (
        Column("Arm in the first run", numeric=False),
        *(Column(names.arm(arm), "in the second run") for arm in arms),
        Column("All"),
    )
    caption = "Customers by arm: rows are the first run, columns the second"
    return Table("table-matrix", caption, columns, tuple(rows), by="pair")


def curves_figure(runs: Sequence[ComparedRun]) -> tuple[go.Figure, str] | None:
    """Value against spend of every plan's model, the plans as marks, and the figure in words."""
    marks = model_marks([one.label for one in runs])
    traces: list[go.Scatter] = []
    said = []
    for one in runs:
        if one.plan is None:
            continue
        mark, curve, c = marks[one.label], one.plan.curve, one.plan.certificate
        traces.append(
            go.Scatter(
                x=curve.spends, y=curve.values, mode="lines", name=label(one.label), legendgroup=one.label,
                line={"color": mark.colour, "width": 2.5, "dash": mark.dash}, hovertemplate="spend %{x:,.0f}: %{y:,.0f}",
            )
        )  # fmt: skip
        traces.append(
            go.Scatter(
                x=[c.expected_cost], y=[c.expected_value], mode="markers", name=f"{label(one.label)}, plan",
                legendgroup=one.label, showlegend=False, hovertemplate="plan %{x:,.0f}: %{y:,.0f}",
                marker={"color": mark.colour, "size": 12, "symbol": mark.symbol, "line": {"width": 1.5, "color": "#fff"}},
            )
        )  # fmt: skip
        said.append(f"{one.label} brings {MONEY.show(c.expected_value)} for {MONEY.show(c.expected_cost)}")
    if not traces:
        return None
    made = figure(
        traces,
        title="What every spend would bring, by the models",
        subtitle="each run by its own model; marks are the plans",
        x={"title": {"text": "spend (money)"}, "nticks": 6, "tickformat": "~s"},
        y={
            "title": {"text": "expected value (money)"},
            "nticks": 6,
            "tickformat": "~s",
            "rangemode": "tozero",
        },
        height=460,
    )
    return made, f"Expected value against spend, one curve per run. {'; '.join(said)}."
