"""The verdict: about five numbers and a few sentences that say no more than the intervals allow."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from uplift.allocation import Allocation
from uplift.arms import VALUE_STAGE
from uplift.errors import EvaluationError
from uplift.metrics.definitions import HEADLINE
from uplift.metrics.evaluation import Evaluation
from uplift.reporting.facts import last_chain_stage, strongest
from uplift.reporting.numbers import (
    MONEY,
    amount,
    decimal,
    effect_unit,
    exact,
    metric_unit,
    percent,
    rate_unit,
    whole,
)
from uplift.reporting.plan_facts import gap_words, per_money
from uplift.reporting.soundness import Light


@dataclass(frozen=True)
class KeyNumber:
    """One card of the verdict.

    Attributes
    ----------
    id, label, text, note : str
        What it is, the number for people, and one line of context.
    value : str
        All digits, or empty when it is a word.
    tone : str
        "pass", "warn", "fail", "none" or empty.
    icon : str
    """

    id: str
    label: str
    text: str
    note: str
    value: str = ""
    tone: str = ""
    icon: str = ""


@dataclass(frozen=True)
class Decision:
    """What was decided on, as far as the results tell.

    Attributes
    ----------
    stage : str
        Stage whose uplift is bought.
    margin : float or None
        Money per event of the stage, where the run says so.
    model : str
        The plan's model, or the best by the headline metric.
    why : str
        One sentence.
    clear : bool
        Whether the model beats a random ranking for at least one arm beyond its interval.
    """

    stage: str
    margin: float | None
    model: str
    why: str
    clear: bool


@dataclass(frozen=True)
class Verdict:
    """Cards and sentences."""

    numbers: tuple[KeyNumber, ...]
    sentences: tuple[str, ...]


def decision(evaluation: Evaluation, plan: Allocation | None, run: Mapping[str, Any] | None) -> Decision:
    """Stage, margin and model, from the plan's own estimate, else from the run's configuration."""
    decide = ((run or {}).get("config") or {}).get("decide") or {}
    measured = (plan.policy_value or {}) if plan is not None else {}
    stage = (run or {}).get("decide_stage") or measured.get("stage") or decide.get("stage")
    if stage not in evaluation.stages:
        stage = last_chain_stage(evaluation)
    margin = decide.get("margin")
    margin = float(margin) if isinstance(margin, int | float) and margin > 0 else None
    try:
        best = evaluation.best(stage)
    except EvaluationError:
        best = evaluation.models[0]
    model = plan.model if plan is not None and plan.model in evaluation.models else best
    why, clear = _why(evaluation, stage, model, best)
    reason = str((run or {}).get("chosen_because") or "").strip()
    if reason and (run or {}).get("chosen_model") == model:
        why = f"{why} Reason for the choice: {reason.rstrip('.')}."
    return Decision(stage, margin if stage != VALUE_STAGE else None, model, why, clear)


def verdict(evaluation: Evaluation, plan: Allocation | None, light: Light, chosen: Decision) -> Verdict:
    """Cards and sentences of the first section."""
    effect = strongest(evaluation, chosen.stage)
    unit = effect_unit(chosen.stage)
    numbers = [
        KeyNumber(
            "experiment", "Experiment", light.word, light.tally if light.status != "none" else "no checks given",
            tone=light.status, icon=light.icon,
        ),
        KeyNumber(
            "effect", f"Strongest arm: {effect.arm}", unit.show(effect.value, sign=True),
            f"{chosen.stage} against control ({unit.interval(effect.low, effect.high, sign=True)})", exact(effect.value),
        ),
        KeyNumber(
            "model", "Model in the plan" if plan is not None else "Best-ranking model", chosen.model,
            _model_note(evaluation, chosen), tone="" if chosen.clear else "warn", icon="" if chosen.clear else "!",
        ),
    ]  # fmt: skip
    sentences = [
        f"Experiment: {light.word.lower()}. {light.sentence}",
        _effect_sentence(evaluation, chosen.stage),
        chosen.why,
    ]
    if plan is not None:
        numbers += _plan_numbers(plan, chosen)
        sentences += plan_sentences(plan, chosen)
    return Verdict(tuple(numbers), tuple(sentences))


def plan_sentences(plan: Allocation, chosen: Decision) -> list[str]:
    """What the model expects of the plan, and what randomised data say about it."""
    c = plan.certificate
    limit = f"a budget of {amount(c.budget)}" if math.isfinite(c.budget) else "no limit"
    extra = (
        f", about {whole(c.expected_value / chosen.margin)} more customers at {chosen.stage} with a margin of {amount(chosen.margin)}"
        if chosen.margin
        else ""
    )
    sentences = [
        f"With {limit} the plan gives a coupon to {whole(c.n_treated)} of {whole(c.n_units)} customers. "
        f"The model expects {MONEY.show(c.expected_value)} of incremental value for {MONEY.show(c.expected_cost)} of spend{extra}."
    ]
    if c.expected_value < c.expected_cost:
        sentences.append(
            "By the model's own expectation the plan costs more than it brings: a smaller budget would be better."
        )
    if plan.policy_value is None:
        return [
            *sentences,
            "This plan has not been valued on randomised data: the expectation is the model's own, and models are optimistic about the customers they pick.",
        ]
    return [*sentences, _measured_sentence(plan), *_cost_sentence(plan)]


def _measured_sentence(plan: Allocation) -> str:
    p, c = plan.policy_value or {}, plan.certificate
    interval = f"{MONEY.show(p['value'])} ({MONEY.interval(p['low'], p['high'])})"
    expected = _expected_there(plan)
    text = f"Measured on the randomised outcomes of {whole(p['rows'])} customers, the same decisions are worth {interval}"
    if p["rows"] != c.n_units:
        text = (
            f"Measured on the randomised outcomes of {whole(p['rows'])} other customers, the same rule with the budget scaled to their "
            f"number is worth {interval}, where the model expects about {MONEY.show(expected)}"
        )
    if p["low"] <= 0 <= p["high"]:
        return f"{text}: the interval includes zero, so these data do not show that the plan gains anything."
    if p["high"] < 0:
        return f"{text}: the plan loses value. Do not run it."
    if expected > p["high"]:
        return f"{text}. The model's own expectation lies above this interval: plan with the measured number."
    if expected < p["low"]:
        return f"{text}. The model's own expectation lies below this interval: it is cautious."
    return f"{text}: above zero, and the model's own expectation lies inside the interval."


def _cost_sentence(plan: Allocation) -> list[str]:
    """What is left of the measured value after the measured cost; nothing when no cost was measured."""
    p = plan.policy_value or {}
    cost = p.get("cost") or 0.0
    if cost <= 0 or p["high"] < 0:
        return []
    rest = f"Among these customers the coupons cost {MONEY.show(cost)}, so {MONEY.show(p['value'] - cost)} remains"
    if p["high"] < cost:
        return [f"{rest}: the plan does not pay for itself."]
    if p["low"] < cost:
        return [
            f"{rest}; the interval of the value includes the cost, so the plan may or may not pay for itself."
        ]
    return [f"{rest}: the plan pays for itself even at the lower end of the interval."]


def _expected_there(plan: Allocation) -> float:
    """What the model expects on as many customers as the off-policy estimate covers."""
    rows = (plan.policy_value or {})["rows"]
    return plan.certificate.expected_value * rows / max(plan.certificate.n_units, 1)


def _plan_numbers(plan: Allocation, chosen: Decision) -> list[KeyNumber]:
    c, p = plan.certificate, plan.policy_value
    cards = [
        KeyNumber(
            "expected", "Expected value (model)", MONEY.show(c.expected_value),
            f"for {MONEY.show(c.expected_cost)} of spend: {per_money(c.expected_value, c.expected_cost)} per unit of money",
            exact(c.expected_value),
            "warn" if c.expected_value < c.expected_cost else "",
            "!" if c.expected_value < c.expected_cost else "",
        )
    ]  # fmt: skip
    if p is not None:
        above = _expected_there(plan) > p["high"]
        zero = p["low"] <= 0 <= p["high"]
        doubt = above or p["low"] <= 0
        remark = ", includes zero" if zero else ", below the model's expectation" if above else ""
        cards.append(
            KeyNumber(
                "measured", "Measured value (off-policy)", MONEY.show(p["value"]),
                f"{MONEY.interval(p['low'], p['high'])}{remark}",
                exact(p["value"]), "warn" if doubt else "", "!" if doubt else "",
            )
        )  # fmt: skip
    cards.append(
        KeyNumber(
            "treated", "Customers with a coupon", whole(c.n_treated),
            f"{percent(c.n_treated / max(c.n_units, 1))} of {whole(c.n_units)}, {whole(int(plan.holdout.sum()))} held out",
            str(c.n_treated),
        )
    )  # fmt: skip
    return cards


def _effect_sentence(evaluation: Evaluation, stage: str) -> str:
    unit, rate = effect_unit(stage), rate_unit(stage)
    e = strongest(evaluation, stage)
    arms = len(evaluation.arms) - 1
    spread = f"{unit.show(e.value, sign=True)} ({unit.interval(e.low, e.high, sign=True)})"
    base = f"from {rate.show(e.control)} to {rate.show(e.control + e.value)}"
    if e.direction == "up":
        return f"Sent to everybody, {e.arm} changes {stage} most: {base}, {spread}."
    if e.direction == "down":
        what = "every arm lowers it" if arms > 1 else "it lowers it"
        return f"On average no coupon raises {stage}: {what}, {e.arm} least, by {spread}."
    return (
        f"On average no arm's effect on {stage} can be told from zero; the largest is {e.arm} with {spread}."
    )


def _why(evaluation: Evaluation, stage: str, model: str, best: str) -> tuple[str, bool]:
    rows = evaluation.scores
    rows = rows[(rows["stage"] == stage) & (rows["metric"] == HEADLINE)]
    own = rows[rows["model"] == model]
    if own.empty:
        return f"{model} could not be scored on these rows.", False
    better = int((own["low"] > 0).sum())
    arms = len(own)
    means = rows.groupby("model", sort=False)["value"].mean()
    unit = metric_unit(HEADLINE, stage)
    mean = unit.show(float(means[model]))
    if better == 0:
        luck = "for no arm can its ranking be told from a random order"
    elif better == arms:
        luck = "its interval lies above zero, the value of a random order" + (
            " for every arm" if arms > 1 else ""
        )
    else:
        luck = f"its interval lies above zero, the value of a random order, for {better} of {arms} arms"
    ranked = f"{model} ranks customers by {stage} uplift with a Qini of {mean} ({HEADLINE}, mean over arms): {luck}."
    if model != best:
        ranked += f" {best} scores higher on these test rows ({unit.show(float(means[best]))}); a model should be chosen on other rows than it is judged on."
    return ranked, better > 0


def _model_note(evaluation: Evaluation, chosen: Decision) -> str:
    rows = evaluation.scores
    rows = rows[
        (rows["stage"] == chosen.stage) & (rows["metric"] == HEADLINE) & (rows["model"] == chosen.model)
    ]
    if rows.empty:
        return "not scored"
    above = int((rows["low"] > 0).sum())
    mean = metric_unit(HEADLINE, chosen.stage).show(float(rows["value"].mean()))
    return f"Qini {mean}; above a random order for {above} of {len(rows)} arm{'s' if len(rows) != 1 else ''}"


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
            f"More money would bring nothing: {MONEY.show(max(c.budget - c.expected_cost, 0.0))} of the budget is left over (the dual price is 0)."
        )
    sentences.append(
        f"No other choice within this budget, by these predictions and costs, can bring more than {MONEY.show(c.upper_bound)} (the upper bound). "
        f"The plan brings {MONEY.show(c.expected_value)}: {gap_words(plan)} is given away (the gap)."
    )
    if c.min_roi > 0:
        sentences.append(
            f"Every step of the plan was asked to return at least {decimal(c.min_roi, 2)} per unit of money."
        )
    sentences.append(
        f"After the spend, {MONEY.show(c.net_value)} remains by the model's expectation. The proof is about the arithmetic of the choice, not about the predictions."
    )
    return sentences
