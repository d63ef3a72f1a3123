"""The tables of the plan: who gets what, and what other budgets would bring."""

from __future__ import annotations

import math

import numpy as np

from uplift.allocation import Allocation
from uplift.reporting.figures.plan import arm_totals, marginal_return
from uplift.reporting.measured import measured
from uplift.reporting.names import Names
from uplift.reporting.numbers import MONEY, NOTHING, compact, decimal, percent, whole
from uplift.reporting.tables import Cell, Column, Row, Table, count_cell, number_cell, text_cell

BUDGET_SHARES = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0)


def allocation_table(plan: Allocation, names: Names) -> Table:
    """Customers, spend and value per arm."""
    customers, spend = arm_totals(plan)
    value = np.bincount(plan.arm_codes, plan.expected_value, minlength=len(plan.arms))
    found = measured(plan) if plan.certificate.n_treated else None
    parts = found.arms if found is not None else {}
    held = int(plan.holdout.sum())
    control = f"control, of them {whole(held)} held out" if held else "control"
    rows = []
    for code, arm in enumerate(plan.arms):
        part = parts.get(arm)
        remark = ", ".join(filter(None, (names.arm_small(arm), control if code == 0 else "")))
        rows.append(
            Row(
                (
                    text_cell(names.arm(arm), small=remark),
                    count_cell(int(customers[code])),
                    Cell(
                        percent(customers[code] / max(len(plan), 1)),
                        repr(float(customers[code] / max(len(plan), 1))),
                    ),
                    number_cell(float(spend[code]), MONEY),
                    number_cell(float(value[code]), MONEY),
                    Cell("–") if part is None else number_cell(part.value, MONEY, part.low, part.high),
                )
            )
        )
    rows.append(
        Row(
            (
                text_cell("all", tone="strong"),
                count_cell(len(plan)),
                Cell("100.0 %", "1.0"),
                number_cell(float(plan.expected_cost.sum()), MONEY),
                number_cell(float(plan.expected_value.sum()), MONEY),
                Cell("–")
                if found is None or not parts
                else number_cell(found.value, MONEY, found.low, found.high),
            ),
            tone="total",
        )
    )
    columns = (
        Column("Arm", numeric=False),
        Column("Customers"),
        Column("Share"),
        Column("Expected spend"),
        Column("Expected value", "by the model"),
        Column(
            "Measured value" + (f", {found.where}" if found is not None and found.scaled else ""),
            "policy_value",
        ),
    )
    return Table("table-allocation", "Who gets what", columns, tuple(rows))


def constraint_table(plan: Allocation) -> Table | None:
    """Every constraint with use, slack and price; None when the budget is the only one."""
    limits = plan.certificate.limits
    if not any(row.name != "budget" for row in limits):
        return None
    rows = []
    for row in sorted(limits, key=lambda row: (row.price <= 0, row.name != "budget")):
        number = _money_cell if row.kind in ("budget", "min_roi") else _count_cell
        rows.append(
            Row(
                (
                    text_cell(row.words, small=row.sense),
                    number(row.limit),
                    number(row.use),
                    number_cell(row.slack, MONEY) if row.kind == "min_roi" else number(row.slack),
                    number_cell(row.price, MONEY),
                    text_cell(row.meaning),
                ),
                tone="chosen" if row.price > 0 else "",
            )
        )
    columns = (
        Column("Constraint", numeric=False),
        Column("Limit"),
        Column("Use"),
        Column("Slack"),
        Column("Dual price"),
        Column("What the price means", numeric=False),
    )
    return Table("table-constraints", "What limits the plan", columns, tuple(rows))


def _money_cell(amount: float) -> Cell:
    return number_cell(amount, MONEY)


def _count_cell(amount: float) -> Cell:
    return count_cell(round(amount))


def budget_table(plan: Allocation) -> Table:
    """The budget curve at round shares of the plan's budget: what halving it would cost."""
    curve, budget = plan.curve, plan.certificate.budget
    limited = math.isfinite(budget) and budget > 0
    base, of = (budget, "the budget") if limited else (float(curve.budgets[-1]), "what is useful")
    here = float(curve.value_at(min(budget, float(curve.budgets[-1]))))
    rows = []
    for share in BUDGET_SHARES:
        at = base * share
        value = float(curve.value_at(at))
        if math.isnan(value):  # no plan keeps the limits for that little
            continue
        spend = float(np.interp(at, curve.budgets, curve.spends))
        treated = float(np.interp(at, curve.budgets, curve.treated))
        rows.append(
            Row(
                (
                    Cell(MONEY.show(at), repr(at), f"{share:.0%} of {of}"),
                    number_cell(spend, MONEY),
                    number_cell(value, MONEY),
                    number_cell(value - here, MONEY, sign=True),
                    number_cell(marginal_return(plan, at) if at <= curve.budgets[-1] else 0.0, MONEY),
                    count_cell(round(treated)),
                ),
                tone="chosen" if share == 1 and budget > 0 else "",
            )
        )
    columns = (
        Column("Budget"),
        Column("Spend"),
        Column("Expected value"),
        Column("Change of value"),
        Column("Value of the last unit of money"),
        Column("Customers"),
    )
    return Table("table-budget", "What other budgets would bring, by the model", columns, tuple(rows))


def gap_words(plan: Allocation) -> str:
    """The certificate's gap for people."""
    c = plan.certificate
    # A bound that is 0 but for its rounding makes the ratio meaningless.
    if c.upper_bound - c.expected_value < NOTHING:
        return "nothing"
    return "less than 0.0001 %" if c.gap < 1e-6 else f"at most {compact(100 * c.gap)} %"


def per_money(value: float, cost: float) -> str:
    """Return on spend."""
    return decimal(value / cost, 2) if cost > 0 else "–"
