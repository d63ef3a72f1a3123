"""What was decided on: the stage, the margin and the model, and how sure the model's ranking is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from uplift.allocation import Allocation
from uplift.arms import VALUE_STAGE
from uplift.errors import EvaluationError
from uplift.metrics.definitions import HEADLINE
from uplift.metrics.evaluation import Evaluation
from uplift.reporting.facts import last_chain_stage
from uplift.reporting.names import Names
from uplift.reporting.numbers import metric_unit


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
    role : str
        "in the plan", "chosen by the run" or "ranks best here": why this model stands out.
    why : str
        One sentence.
    short : str
        The same for the verdict.
    note : str
        The same for a card.
    clear : bool
        Whether the model beats a random ranking for at least one arm beyond its interval.
    """

    stage: str
    margin: float | None
    model: str
    role: str
    why: str
    short: str
    note: str
    clear: bool


@dataclass(frozen=True)
class Ranking:
    """How a model ranks at one stage: over the arms, how often its interval lies above a random order."""

    mean: float
    arms: int
    better: int
    missing: int

    @classmethod
    def of(cls, evaluation: Evaluation, model: str, stage: str) -> Ranking:
        """From the headline scores; arms without a value do not count."""
        rows = evaluation.scores
        rows = rows[(rows["stage"] == stage) & (rows["metric"] == HEADLINE) & (rows["model"] == model)]
        rows = rows[np.isfinite(rows["value"].astype(float))]
        low, high = rows["low"].astype(float), rows["high"].astype(float)
        known = np.isfinite(low) & np.isfinite(high)
        return cls(
            mean=float(rows["value"].mean()) if len(rows) else float("nan"),
            arms=len(rows),
            better=int((known & (low > 0)).sum()),
            missing=int((~known).sum()),
        )

    @property
    def words(self) -> str:
        """What the intervals allow to say."""
        above = "the interval lies above zero, which is what a random order would score"
        if self.missing == self.arms:
            return "there are too few rows or outcomes for an interval"
        if self.better == 0:
            said = "for no arm can its ranking be told from a random order"
        elif self.arms == 1:
            said = above
        else:
            said = f"for {'every arm' if self.better == self.arms else f'{self.better} of {self.arms} arms'} {above}"
        if self.missing:
            said += f" ({self.missing} of {self.arms} arms have too few rows or outcomes for an interval)"
        return said

    @property
    def note(self) -> str:
        """For a card."""
        if self.missing == self.arms:
            return "no interval: too few rows or outcomes"
        arms = f"{self.arms} arm{'s' if self.arms != 1 else ''}"
        none = f", {self.missing} without an interval" if self.missing else ""
        return f"above a random order for {self.better} of {arms}{none}"


def decision(
    evaluation: Evaluation, plan: Allocation | None, run: Mapping[str, Any] | None, names: Names | None = None
) -> Decision:
    """Stage, margin and model, from the plan's own estimate, else from the run's configuration."""
    run = run or {}
    decide = (run.get("config") or {}).get("decide") or {}
    measured = (plan.policy_value or {}) if plan is not None else {}
    stage = run.get("decide_stage") or measured.get("stage") or decide.get("stage")
    if stage not in evaluation.stages:
        stage = last_chain_stage(evaluation)
    margin = decide.get("margin")
    margin = float(margin) if isinstance(margin, int | float) and margin > 0 else None
    try:
        best = evaluation.best(stage)
    except (EvaluationError, ValueError):
        # Only references, or not one score: then the first model stands.
        best = evaluation.models[0]
    model, role = best, "ranks best here"
    if plan is not None and plan.model in evaluation.models:
        model, role = plan.model, "in the plan"
    elif run.get("chosen_model") in evaluation.models:
        model, role = str(run["chosen_model"]), "chosen by the run"
    ranking = Ranking.of(evaluation, model, stage)
    why, note = _why(evaluation, stage, model, best, ranking, names or Names())
    reason = str(run.get("chosen_because") or "").strip()
    if reason and run.get("chosen_model") == model:
        why = f"{why} Reason for the choice: {reason.rstrip('.')}."
    if not ranking.arms:
        return Decision(
            stage, margin if stage != VALUE_STAGE else None, model, role, why, why, note, clear=False
        )
    said = "is the recommended model" if ranking.better else "is the model that is looked at"
    short = f"{model} {said}: its Qini by {(names or Names()).stage(stage)} is {metric_unit(HEADLINE, stage).show(ranking.mean)} (mean over arms), and {ranking.words}."
    return Decision(
        stage,
        margin if stage != VALUE_STAGE else None,
        model,
        role,
        why,
        short,
        note,
        clear=ranking.better > 0,
    )


def _why(
    evaluation: Evaluation, stage: str, model: str, best: str, ranking: Ranking, names: Names
) -> tuple[str, str]:
    if not ranking.arms:
        return f"{model} could not be scored on these rows.", "not scored"
    unit = metric_unit(HEADLINE, stage)
    mean = unit.show(ranking.mean)
    why = f"{model} ranks customers by {names.stage(stage)} uplift with a Qini of {mean} ({HEADLINE}, mean over arms): {ranking.words}."
    if model != best:
        higher = unit.show(Ranking.of(evaluation, best, stage).mean)
        why += f" {best} scores higher on these test rows ({higher}); a model should be chosen on other rows than it is judged on."
    return why, f"Qini {mean}; {ranking.note}"
