"""Group B, the tables of the plan and its certificate."""

from __future__ import annotations

import math

from benchmarks.click_through.agreement import close, same_interval, same_number
from benchmarks.click_through.browser import Cell, Visit, read_numbers
from benchmarks.click_through.case import expect
from benchmarks.click_through.truth import Truth


def allocation_table(visit: Visit, truth: Truth) -> None:
    assert truth.plan is not None
    table = visit.table("table-allocation")
    expect(
        [row[0].text for row in table.rows] == [*map(truth.arm, truth.arms), "all"],
        "arms of the plan or their order",
    )
    spend, worth = table.column("Expected spend"), table.column("by the model")
    for arm, row in zip((*truth.arms, None), table.rows, strict=True):
        what = f"plan, {arm or 'all'}"
        mine = truth.decisions if arm is None else truth.decisions[truth.decisions["arm"] == arm]
        same_number(row[table.column("Customers")], len(mine), f"{what}: customers")
        same_number(row[table.column("Share")], len(mine) / len(truth.decisions), f"{what}: share")
        same_number(row[spend], float(mine["expected_cost"].sum()), f"{what}: spend")
        same_number(row[worth], float(mine["expected_value"].sum()), f"{what}: value")
    total = read_numbers(table.rows[-1][spend].text)[0]
    budget = truth.plan["budget"]
    expect(
        budget is None or total.value - total.half <= budget,
        f"spend {total.value:,.6g} beyond the budget {budget:,.6g}",
    )
    measured = truth.plan["policy_value"]
    if measured and measured["arms"]:
        cell = table.rows[-1][table.column("policy_value")]
        same_number(cell, measured["value"], "measured value of the plan")
        same_interval(cell, measured["low"], measured["high"], "measured value of the plan")


def budget_table(visit: Visit, truth: Truth) -> None:
    assert truth.plan is not None
    table = visit.table("table-budget")
    heads = {
        name: table.column(name)
        for name in ("Budget", "Spend", "Expected value", "Change of value", "Customers")
    }
    here = truth.at_budget(min(truth.plan["budget"] or math.inf, truth.last_budget))["value"]
    for row in table.rows:
        budget = float(row[heads["Budget"]].value or "nan")
        expect(
            read_numbers(row[heads["Budget"]].text)[0].agrees(budget), f"budget {row[0].text!r} is {budget}"
        )
        share = read_numbers(row[heads["Budget"]].small)[0].value
        base = truth.plan["budget"] or truth.last_budget
        expect(
            math.isclose(budget, share * base, rel_tol=1e-6), f"{row[0].small!r} of {base} is not {budget}"
        )
        at = truth.at_budget(budget)
        close(row[heads["Spend"]].text, at["spend"], f"spend at {budget:g}", truth)
        close(row[heads["Expected value"]].text, at["value"], f"value at {budget:g}", truth)
        close(row[heads["Customers"]].text, at["treated"], f"customers at {budget:g}", truth, scale="treated")
        change = read_numbers(row[heads["Change of value"]].text)[0]
        slack = change.half + 0.004 * truth.at_budget(truth.last_budget)["value"]
        expect(
            abs(change.value - (at["value"] - here)) <= slack,
            f"change at {budget:g}: {change.value:g}, {at['value'] - here:g} by the files",
        )


def certificate_list(visit: Visit, truth: Truth) -> None:
    assert truth.plan is not None
    facts = visit.js(
        "() => Object.fromEntries([...document.querySelectorAll('#certificate > div')].map((d) => [d.querySelector('dt').textContent, [d.querySelector('dd').textContent, d.querySelector('dd').dataset.value ?? null]]))"
    )
    for name, exact in (
        ("Expected value", truth.plan["expected_value"]),
        ("Upper bound", truth.plan["upper_bound"]),
        ("Dual price of the budget", truth.plan["dual_prices"]["budget"]),
    ):
        expect(name in facts, f"the certificate lacks {name!r}")
        same_number(Cell(facts[name][0], "", facts[name][1]), exact, name)
    expect(
        math.isclose(float(facts["Gap"][1]), truth.plan["gap"], rel_tol=1e-6, abs_tol=1e-12),
        f"gap {facts['Gap']}",
    )
