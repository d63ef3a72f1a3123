"""Value against spend on the test rows: of every model's plans, and of the rules that need no model of effects."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from uplift.allocation import Allocation
from uplift.arms import CostRule
from uplift.campaign import Campaign
from uplift.effects import Effects
from uplift.metrics.cost_curve import CostCurve
from uplift.valued_curve import cost_curve, ranking_curve

RESPONSE = "response"
"""The reference model that ranks by predicted outcome; its rule gives one arm in that order."""


def curves_of_plan(
    plan: Allocation,
    log: Campaign,
    effects: Mapping[str, Effects],
    *,
    chosen: str,
    costs: Mapping[str, CostRule],
    margin: float | None,
    stage: str,
) -> list[CostCurve]:
    """:func:`plan_curves` with the arm that most customers of a plan get; none for a plan that treats nobody."""
    counts = np.bincount(plan.arm_codes, minlength=len(plan.arms))[1:]
    if not counts.any():
        return []
    arm = plan.arms[1 + int(counts.argmax())]
    return plan_curves(log, effects, chosen=chosen, arm=arm, costs=costs, margin=margin, stage=stage)


def plan_curves(
    log: Campaign,
    effects: Mapping[str, Effects],
    *,
    chosen: str,
    arm: str,
    costs: Mapping[str, CostRule],
    margin: float | None,
    stage: str,
) -> list[CostCurve]:
    """Curves of all models that estimate effects, the chosen one first, and of giving `arm` by predicted response.

    Parameters
    ----------
    log : Campaign
        Test rows, which neither models nor plans have seen.
    effects : mapping of str to Effects
        Predictions for these rows by model.
    chosen : str
        The deciding model; its predictions judge all curves, so that differences are of the plans alone.
    arm : str
        The arm of the rule by response.
    costs, margin, stage
        As in the decision.

    Returns
    -------
    list of CostCurve

    Raises
    ------
    EvaluationError
        See :func:`uplift.cost_curve`.
    """
    terms = {"costs": costs, "margin": margin, "stage": stage, "baseline": effects[chosen]}
    names = [chosen, *(name for name, one in effects.items() if one.calibrated and name != chosen)]
    curves = [cost_curve(log, effects[name], **terms) for name in names]  # type: ignore[arg-type]
    if RESPONSE in effects:
        score = np.asarray(effects[RESPONSE].for_units(log.unit_ids).tau(stage, arm))
        curves.append(ranking_curve(log, score, arm=arm, name=RESPONSE, **terms))  # type: ignore[arg-type]
    return curves
