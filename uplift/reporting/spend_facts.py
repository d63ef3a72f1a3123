"""Value against spend in numbers: the table beside the figure, and what the slider shows of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from uplift.allocation import Allocation
from uplift.metrics.cost_curve import CostCurve
from uplift.reporting.figures.plan import arm_totals
from uplift.reporting.names import Names
from uplift.reporting.numbers import MONEY
from uplift.reporting.tables import Cell, Column, Row, Table, number_cell, text_cell


def main_arm(plan: Allocation) -> str:
    """The arm that most treated customers of the plan get."""
    counts, _ = arm_totals(plan)
    return plan.arms[1 + int(np.argmax(counts[1:]))]


def open_customers(plan: Allocation) -> int:
    """Customers who may get something: those who are not held out."""
    return max(len(plan) - int(plan.holdout.sum()), 1)


def rule_name(plan: Allocation, names: Names) -> str:
    """What the rule by response is called."""
    return f"top by response, {names.arm(main_arm(plan))}"


def spend_at(plan: Allocation) -> float | None:
    """The spend at which curves are compared; None without a budget."""
    budget = plan.certificate.budget
    return budget if math.isfinite(budget) and budget > 0 else None


def spend_table(curves: Sequence[CostCurve], plan: Allocation, names: Names) -> Table:
    """Value at the plan's budget of every model's plan and of simple rules, and the paired difference."""
    customers, budget = open_customers(plan), spend_at(plan)
    first = curves[0]
    rows = []
    for curve in curves:
        name = rule_name(plan, names) if curve.model == "response" else curve.model
        at = min(budget / customers, float(curve.spend[-1])) if budget else float(curve.spend[-1])
        at = max(at, float(curve.spend[0]))
        short = budget is not None and at < budget / customers * (1 - 1e-9)
        gain = curve.gain_at(at)
        same = curve is first or at > float(first.spend[-1])
        apart = None if same else curve.difference_at(first, at)
        rows.append(
            Row(
                (
                    text_cell(name, small="in the plan" if curve is first else ""),
                    number_cell(at * customers, MONEY) if not short else Cell(
                        MONEY.show(at * customers), repr(float(at * customers)), "cannot spend more"
                    ),
                    number_cell(gain.value * customers, MONEY, gain.low * customers, gain.high * customers),
                    Cell("–")
                    if apart is None
                    else number_cell(
                        apart.value * customers, MONEY, apart.low * customers, apart.high * customers, sign=True
                    ),
                ),
                tone="chosen" if curve is first else "",
            )
        )  # fmt: skip
    for arm, (spend, gain) in first.everyone.items():
        rows.append(
            Row(
                (
                    text_cell(f"everyone {names.arm(arm)}", small=names.arm_small(arm)),
                    number_cell(
                        spend.value * customers, MONEY, spend.low * customers, spend.high * customers
                    ),
                    number_cell(gain.value * customers, MONEY, gain.low * customers, gain.high * customers),
                    Cell("–"),
                )
            )
        )
    columns = (
        Column("Plan or rule", numeric=False),
        Column("Measured spend"),
        Column("Measured value", "cost_curve"),
        Column(f"Difference from {first.model}"),
    )
    return Table(
        "table-spend", "Measured value of models and rules, at the spend of the budget", columns, tuple(rows)
    )


def measured_budget(curves: Sequence[CostCurve], plan: Allocation) -> dict[str, Any]:
    """The deciding model's measured value against its planned spend, in money of the plan's customers."""
    customers, curve = open_customers(plan), curves[0]
    return {
        "planned": (curve.planned * customers).tolist(),
        "value": (curve.gain * customers).tolist(),
        "low": (curve.gain_low * customers).tolist(),
        "high": (curve.gain_high * customers).tolist(),
    }
