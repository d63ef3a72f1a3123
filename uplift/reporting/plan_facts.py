"""The tables of the plan: who gets what, and what other budgets would bring."""

from __future__ import annotations

import math

import numpy as np

from uplift.allocation import Allocation
from uplift.metrics.inference import normal_quantile
from uplift.reporting.figures.plan import arm_totals, marginal_return
from uplift.reporting.numbers import MONEY, NOTHING, compact, decimal, percent, whole
from uplift.reporting.tables import Cell, Column, Row, Table, count_cell, number_cell, text_cell

BUDGET_SHARES = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0)


def allocation_table(plan: Allocation) -> Table:
    """Customers, spend and value per arm."""
    customers, spend = arm_totals(plan)
    value = np.bincount(plan.arm_codes, plan.expected_value, minlength=len(plan.arms))
    measured = (plan.policy_value or {}).get("arms", {})
    held = int(plan.holdout.sum())
    rows = []
    for code, arm in enumerate(plan.arms):
        part = measured.get(arm)
        spread = None if part is None else part["se"] * _z(plan)
        rows.append(
            Row(
                (
                    text_cell(
                        arm,
                        small=f"control, of them {whole(held)} held out"
                        if code == 0 and held
                        else "control"
                        if code == 0
                        else "",
                    ),
                    count_cell(int(customers[code])),
                    Cell(
                        percent(customers[code] / max(len(plan), 1)),
                        repr(customers[code] / max(len(plan), 1)),
                    ),
                    number_cell(float(spend[code]), MONEY),
                    number_cell(float(value[code]), MONEY),
                    Cell("–")
                    if part is None or spread is None
                    else number_cell(part["value"], MONEY, part["value"] - spread, part["value"] + spread),
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
                if not plan.policy_value
                else number_cell(
                    plan.policy_value["value"], MONEY, plan.policy_value["low"], plan.policy_value["high"]
                ),
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
        Column("Measured value", "policy_value"),
    )
    return Table("table-allocation", "Who gets what", columns, tuple(rows))


def budget_table(plan: Allocation) -> Table:
    """The budget curve at round shares of the plan's budget: what halving it would cost."""
    curve, budget = plan.curve, plan.certificate.budget
    limited = math.isfinite(budget) and budget > 0
    base, of = (budget, "the budget") if limited else (float(curve.budgets[-1]), "what is useful")
    here = float(curve.value_at(base))
    rows = []
    for share in BUDGET_SHARES:
        at = base * share
        value = float(curve.value_at(at))
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
                tone="chosen" if share == 1 else "",
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


def _z(plan: Allocation) -> float:
    return normal_quantile((plan.policy_value or {}).get("confidence", 0.95))
