"""The plan in words: what the model expects of it, what randomised data say, and what the certificate proves."""

from __future__ import annotations

import math

from uplift.allocation import Allocation
from uplift.reporting.decision import Decision
from uplift.reporting.measured import Measured, measured
from uplift.reporting.names import Names, events
from uplift.reporting.numbers import MONEY, amount, decimal, exact, percent, whole
from uplift.reporting.plan_facts import gap_words, per_money
from uplift.reporting.tables import KeyNumber

CLOSE = 0.01
"""Measured and expected cost that differ by less need no explanation."""


def plan_sentences(plan: Allocation, chosen: Decision, names: Names | None = None) -> list[str]:
    """What the model expects of the plan, and what randomised data say about it."""
    c = plan.certificate
    if not c.n_treated:
        if c.budget == 0:
            return [
                "With a budget of 0 the plan gives nobody a coupon: there is nothing to expect or to measure."
            ]
        return [
            f"The plan gives nobody a coupon: by the model's predictions no coupon brings anything{_within(c.budget)}."
        ]
    found = measured(plan)
    who = "customers"
    if (plan.policy_value or {}).get("population") == "scored customers" and found and not found.scaled:
        who = "customers of the test part"
    extra = (
        f", about {whole(c.expected_value / chosen.margin)} more {events(chosen.stage)} at a margin of {amount(chosen.margin)}"
        if chosen.margin
        else ""
    )
    limit = f"With a budget of {amount(c.budget)}" if math.isfinite(c.budget) else "Without a limit"
    sentences = [
        f"{limit} the plan gives a coupon to {whole(c.n_treated)} of {whole(c.n_units)} {who}. "
        f"The model expects {MONEY.show(c.expected_value)} of incremental value for {MONEY.show(c.expected_cost)} of spend{extra}."
    ]
    if c.expected_value < c.expected_cost:
        sentences.append(
            "By the model's own expectation the plan costs more than it brings: a smaller budget would be better."
        )
    if found is None:
        return [
            *sentences,
            "This plan has not been valued on randomised data: the expectation is the model's own, and models are optimistic about the customers they pick.",
        ]
    return [*sentences, _measured_sentence(plan, found, names or Names()), *_cost_sentence(plan, found)]


def plan_verdict(plan: Allocation, chosen: Decision) -> str:
    """The plan in one sentence: whom it treats, for how much, and what that is worth."""
    c, found = plan.certificate, measured(plan)
    limit = f"With a budget of {amount(c.budget)}" if math.isfinite(c.budget) else "Without a limit"
    if not c.n_treated:
        return f"{limit} the plan gives nobody a coupon."
    text = f"{limit} the plan gives a coupon to {whole(c.n_treated)} of {whole(c.n_units)} customers"
    if found is None or not found.arms or not found.interval:
        return (
            f"{text}: the model expects {MONEY.show(c.expected_value)} of incremental value for "
            f"{MONEY.show(c.expected_cost)} of spend, which was not measured with an interval."
        )
    worth = f"{MONEY.show(found.value)} ({MONEY.interval(found.low, found.high)}) of incremental value"
    if chosen.margin:
        more = [decimal(n / chosen.margin, 0) for n in (found.value, found.low, found.high)]
        worth += f", {more[0]} ({more[1]} to {more[2]}) more {events(chosen.stage)},"
    text += f": measured on randomised outcomes it brings {worth} for {MONEY.show(c.expected_cost)} of expected spend"
    if found.high < 0:
        return f"{text}; it loses value, do not run it."
    if found.low <= 0:
        return f"{text}; the interval includes zero, so a gain is not shown."
    if found.low > c.expected_cost:
        return f"{text}; it pays for itself even at the lower end."
    return f"{text}."


def plan_numbers(plan: Allocation, chosen: Decision | None = None) -> list[KeyNumber]:
    """The cards of the plan; with a margin also the additional events."""
    c, found = plan.certificate, measured(plan)
    dear = c.expected_value < c.expected_cost
    customers = f"{whole(c.n_units)} customers"
    note = (
        f"for {MONEY.show(c.expected_cost)} of spend on the plan's {customers}: {per_money(c.expected_value, c.expected_cost)} per unit of money"
        if c.expected_cost > 0
        else f"on the plan's {customers}, at no cost"
        if c.n_treated
        else "nobody gets a coupon"
    )
    cards = [
        KeyNumber(
            "expected", "Expected value (model)", MONEY.show(c.expected_value), note,
            exact(c.expected_value), "warn" if dear else "", "!" if dear else "",
        )
    ]  # fmt: skip
    if found is not None and c.n_treated:
        cards.append(_measured_card(plan, found))
    if chosen is not None and chosen.margin and c.n_treated:
        cards.insert(0, _events_card(plan, found, chosen.stage, chosen.margin))
    cards.append(
        KeyNumber(
            "treated", "Customers with a coupon", whole(c.n_treated),
            f"{percent(c.n_treated / max(c.n_units, 1))} of {whole(c.n_units)}, {whole(int(plan.holdout.sum()))} held out",
            str(c.n_treated),
        )
    )  # fmt: skip
    return cards


def certificate_sentences(plan: Allocation) -> list[str]:
    """The certificate in words."""
    c = plan.certificate
    price = c.dual_prices.get("budget", 0.0)
    sentences = []
    if not math.isfinite(c.budget):
        sentences.append("The budget has no limit, so every customer gets the arm with the highest value.")
    elif price > 0:
        worth = "more than it costs" if price > 1 else "less than it costs"
        sentences.append(
            f"One more unit of money would bring about {decimal(price, 2)} of value: {worth} (the dual price of the budget)."
        )
    else:
        sentences.append(
            f"More money would bring nothing: {unspent(plan)} is left over (the dual price is 0)."
        )
    sentences.append(
        f"No other choice{_within(c.budget)}, by these predictions and costs, can bring more than {MONEY.show(c.upper_bound)} (the upper bound). "
        f"The plan brings {MONEY.show(c.expected_value)}: {gap_words(plan)} is given away (the gap)."
    )
    if c.min_roi > 0:
        sentences.append(
            f"Every step of the plan was asked to return at least {decimal(c.min_roi, 2)} per unit of money."
        )
    rest = (
        f"After the spend, {MONEY.show(c.net_value)} remains by the model's expectation. "
        if c.n_treated
        else ""
    )
    sentences.append(f"{rest}The proof is about the arithmetic of the choice, not about the predictions.")
    return sentences


def unspent(plan: Allocation) -> str:
    """The part of the budget that is left, in digits that matter beside the budget."""
    c = plan.certificate
    if not math.isfinite(c.budget):
        return "no limit"
    rest = max(c.budget - c.expected_cost, 0.0)
    if rest == 0:
        return "0"
    return "less than 0.1 % of the budget" if rest < 0.001 * c.budget else MONEY.show(rest)


def _measured_card(plan: Allocation, found: Measured) -> KeyNumber:
    above = plan.certificate.expected_value > found.high
    zero = found.low <= 0 <= found.high
    doubt = above or not found.low > 0
    remark = ", includes zero" if zero else ", below the model's expectation" if above else ""
    note = f"{MONEY.interval(found.low, found.high)}{remark}; {found.where}"
    if not found.arms:
        note = f"too few customers to compare; {found.where}"
    return KeyNumber(
        "measured", "Measured value (off-policy)", MONEY.show(found.value) if found.arms else "not measurable",
        note, exact(found.value) if found.arms else "", "warn" if doubt else "", "!" if doubt else "",
    )  # fmt: skip


def _events_card(plan: Allocation, found: Measured | None, stage: str, margin: float) -> KeyNumber:
    """Additional events of the decided stage: value less the margin they are counted at."""
    expected = plan.certificate.expected_value / margin
    label = f"Incremental {events(stage)} at the budget"
    if found is None or not found.arms:
        return KeyNumber(
            "events", label, decimal(expected, 0), "expected by the model, not measured", exact(expected)
        )
    count, low, high = (number / margin for number in (found.value, found.low, found.high))
    spread = f"{decimal(low, 0)} to {decimal(high, 0)}" if found.interval else "no interval"
    return KeyNumber(
        "events", label, decimal(count, 0), f"measured ({spread}); the model expects {decimal(expected, 0)}", exact(count),
        "" if low > 0 else "warn", "" if low > 0 else "!",
    )  # fmt: skip


def _measured_sentence(plan: Allocation, found: Measured, names: Names) -> str:
    if not found.arms:
        return (
            f"Too few of the {whole(found.rows)} randomised customers happened to receive what the plan gives them: "
            "what it is worth could not be measured."
        )
    worth = f"worth {MONEY.show(found.value)} ({MONEY.interval(found.low, found.high)})"
    if found.scaled:
        text = (
            f"Measured on the randomised outcomes of {whole(found.rows)} test customers and scaled to the plan's {whole(found.customers)}, "
            f"the same rule is {worth}. This rests on the {whole(found.matched)} test customers who happened to receive what the rule gives them, a coupon or none"
        )
    else:
        text = (
            f"Measured on the randomised outcomes of these {whole(found.rows)} customers, the same decisions are {worth}. "
            f"This rests on the {whole(found.matched)} of them who happened to receive what the plan gives them, a coupon or none"
        )
    if found.skipped:
        text += f"; {', '.join(names.all_arms(found.skipped))} went to too few customers to compare and counts as zero"
    expected = plan.certificate.expected_value
    if not found.interval:
        return f"{text}. There are too few customers for an interval: the number alone proves nothing."
    if found.low <= 0 <= found.high:
        return f"{text}. The interval includes zero: these data do not show that the plan gains anything."
    if found.high < 0:
        return f"{text}. The interval lies below zero: the plan loses value. Do not run it."
    if expected > found.high:
        return f"{text}. The model's own expectation lies above this interval: plan with the measured number."
    if expected < found.low:
        return f"{text}. The model's own expectation lies below this interval: it is cautious."
    return f"{text}. The interval lies above zero, and the model's own expectation lies inside it."


def _cost_sentence(plan: Allocation, found: Measured) -> list[str]:
    """What is left of the measured value after the measured cost; nothing when no cost was measured."""
    cost, c = found.cost, plan.certificate
    if not cost > 0 or found.high < 0:
        return []
    whose = "scaled in the same way" if found.scaled else "among the same customers"
    text = f"The measured cost of these coupons, {whose}, is {MONEY.show(cost)}"
    if abs(cost - c.expected_cost) > CLOSE * max(c.expected_cost, cost):
        text += f", not the expected {MONEY.show(c.expected_cost)}: a budget limits the spend that the model expects, and what customers redeem decides the real one"
    text += f". Measured value less measured cost is {MONEY.show(found.value - cost)}"
    if not found.interval:
        return [f"{text}, without an interval."]
    text += f" ({MONEY.interval(found.low - cost, found.high - cost)}, the cost taken as it is)"
    if found.high < cost:
        return [f"{text}: the plan does not pay for itself."]
    if found.low < cost:
        return [f"{text}: this interval includes zero, so the plan may or may not pay for itself."]
    return [f"{text}: the plan pays for itself even at the lower end of the interval."]


def _within(budget: float) -> str:
    return f" within the budget of {amount(budget)}" if math.isfinite(budget) else ""
