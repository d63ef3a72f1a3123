"""The verdict: about five numbers and a few sentences that say no more than the intervals allow."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from uplift.allocation import Allocation
from uplift.arms import SEND, VALUE_STAGE
from uplift.campaign import Campaign
from uplift.metrics.evaluation import Evaluation
from uplift.reporting.decision import Decision
from uplift.reporting.effects_in_context import AverageEffect, average_effects
from uplift.reporting.facts import strongest
from uplift.reporting.names import Names
from uplift.reporting.numbers import decimal, effect_unit, exact, rate_unit, whole
from uplift.reporting.plan_words import plan_numbers, plan_verdict
from uplift.reporting.soundness import Light
from uplift.reporting.tables import KeyNumber

MODEL_CARDS = {
    "in the plan": "Model in the plan",
    "chosen by the run": "Model chosen by the run",
    "ranks best here": "Best-ranking model",
}


@dataclass(frozen=True)
class Verdict:
    """The first section.

    Attributes
    ----------
    signs : tuple of KeyNumber
        The light of the experiment and the recommended model.
    numbers : tuple of KeyNumber
        Up to five numbers.
    sentences : tuple of str
        Three, or two without a plan: experiment and effect, model, plan.
    effect : str
        The sentence on the largest average effect.
    """

    signs: tuple[KeyNumber, ...]
    numbers: tuple[KeyNumber, ...]
    sentences: tuple[str, ...]
    effect: str


def verdict(
    campaign: Campaign,
    evaluation: Evaluation,
    plan: Allocation | None,
    light: Light,
    chosen: Decision,
    names: Names,
) -> Verdict:
    """Cards and sentences of the first section."""
    effect = strongest(evaluation, chosen.stage)
    unit = effect_unit(chosen.stage)
    said = effect_sentence(evaluation, chosen.stage, names)
    signs = (
        KeyNumber(
            "experiment", "Experiment", light.word, light.tally if light.status != "none" else "no checks given",
            tone=light.status, icon=light.icon,
        ),
        KeyNumber(
            "model", MODEL_CARDS[chosen.role], chosen.model, chosen.note,
            tone="" if chosen.clear else "warn", icon="" if chosen.clear else "!",
        ),
    )  # fmt: skip
    numbers = [
        KeyNumber(
            "effect", f"Strongest arm on average: {names.arm(effect.arm)}", unit.show(effect.value, sign=True),
            f"{names.stage(chosen.stage)} against control ({unit.interval(effect.low, effect.high, sign=True)}), {on_rows(evaluation)}",
            exact(effect.value),
        )
    ]  # fmt: skip
    sentences = [f"The experiment is {light.word[:1].lower()}{light.word[1:]}. {said}", chosen.short]
    if plan is not None:
        numbers += plan_numbers(plan, chosen)
        sentences.append(plan_verdict(plan, chosen))
    return Verdict(signs, tuple(numbers), tuple(sentences), said)


def on_rows(evaluation: Evaluation) -> str:
    """Where the average effects come from."""
    return f"on the {whole(int(evaluation.campaign['rows']))} test rows"


def effect_sentence(evaluation: Evaluation, stage: str, names: Names) -> str:
    """The largest average effect, as far as its interval carries."""
    unit, rate = effect_unit(stage), rate_unit(stage)
    e = strongest(evaluation, stage)
    arm, what, where = names.arm(e.arm), names.stage(stage), on_rows(evaluation)
    spread = f"{unit.show(e.value, sign=True)} ({unit.interval(e.low, e.high, sign=True)})"
    if e.direction == "up":
        base = f"from {rate.show(e.control)} to {rate.show(e.control + e.value)}"
        return f"Sent to everybody, {arm} changes {what} most: {base}, {spread}, {where}."
    if e.direction == "down":
        lowers = "every arm is estimated to lower it" if len(evaluation.arms) > 2 else "it lowers it"
        return f"On average no coupon raises {what}: {lowers}, {arm} least, by {spread}, {where}."
    if e.direction == "missing":
        return f"The largest average effect on {what} is that of {arm}, {unit.show(e.value, sign=True)} {where}, with too few rows or outcomes for an interval."
    return f"On average no arm's effect on {what} can be told from zero {where}; the largest is {arm} with {spread}."


def other_arm_sentence(
    campaign: Campaign, evaluation: Evaluation, plan: Allocation, chosen: Decision, names: Names
) -> list[str]:
    """Why the plan gives mostly another arm than the strongest; nothing where it does not."""
    counts = np.bincount(plan.arm_codes, minlength=len(plan.arms))[1:]
    best = strongest(evaluation, chosen.stage)
    most = plan.arms[1 + int(np.argmax(counts))]
    if not counts.sum() or most == best.arm:
        return []
    effects = {e.arm: e for e in average_effects(evaluation) if e.stage == chosen.stage}
    common, strong = (_per_money(campaign, evaluation, effects[arm]) for arm in (most, best.arm))
    text = f"{names.arm(best.arm)} has the largest average effect, but the plan gives {names.arm(most)} to most of those who get one"
    if common is not None and strong is not None and common > strong > 0:
        times = decimal(common / strong, 1)
        return [
            f"{text}: by the average effects {names.arm(most)} is the cheaper way, with about {times} times as much {names.stage(chosen.stage)} uplift per unit of spend, so a limited budget goes further."
        ]
    return [
        f"{text}: it decides customer by customer, by the model's predictions and the costs, not by averages."
    ]


def _per_money(campaign: Campaign, evaluation: Evaluation, effect: AverageEffect) -> float | None:
    """Average effect per unit of spend if everybody got the arm; None without a cost."""
    rule = campaign.costs.get(effect.arm)
    if rule is None:
        return None
    cost = float((rule.share if rule.on == VALUE_STAGE else rule.amount) or 0.0)
    if rule.on != SEND:
        means = evaluation.rates
        cost *= float(means[(means["stage"] == rule.on) & (means["arm"] == effect.arm)]["value"].iloc[0])
    return effect.value / cost if cost > 0 else None
