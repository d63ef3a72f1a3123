"""Average effects in context: relative to control, and along the chain."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

from uplift.arms import VALUE_STAGE
from uplift.metrics.evaluation import Evaluation
from uplift.metrics.inference import normal_quantile


@dataclass(frozen=True)
class AverageEffect:
    """Effect of one arm at one stage.

    Attributes
    ----------
    stage, arm : str
    value, low, high : float
        Difference to control, per customer.
    control : float
        Mean outcome of control.
    relative, relative_low, relative_high : float
        `value / control` with its delta-method interval; NaN where control's own interval reaches 0.
    adjusted : str
        As in :attr:`Evaluation.ate`.
    """

    stage: str
    arm: str
    value: float
    low: float
    high: float
    control: float
    relative: float
    relative_low: float
    relative_high: float
    adjusted: str

    @property
    def direction(self) -> str:
        """ "up" or "down" when the interval excludes 0, "unclear" when it does not, "missing" when there is none."""
        if not (math.isfinite(self.low) and math.isfinite(self.high)):
            return "missing"
        return "up" if self.low > 0 else "down" if self.high < 0 else "unclear"


@dataclass(frozen=True)
class ChainPart:
    """What one step of the chain contributes to an effect at the end of the chain.

    Attributes
    ----------
    step : str
        ``click``, or ``conversion given click``.
    treated, control : float
        The step's conditional rate (or value per conversion) in each group.
    contribution : float
        In outcome per customer; the parts of an effect add up to it.
    """

    step: str
    treated: float
    control: float
    contribution: float


def average_effects(evaluation: Evaluation) -> list[AverageEffect]:
    """Every row of :attr:`Evaluation.ate`, with the effect relative to control.

    The relative effect is r = ate / C. With independent groups the delta method gives
    var(r) = (se(ate)^2 - se(C)^2) / C^2 + (1 + r)^2 se(C)^2 / C^2, that is var(T / C).
    """
    z = normal_quantile(evaluation.confidence)
    control_rates = {
        row["stage"]: row for row in evaluation.rates.to_dict("records") if row["arm"] == evaluation.arms[0]
    }
    found = []
    for row in evaluation.ate.to_dict("records"):
        base = control_rates[row["stage"]]
        mean = float(base["value"])
        relative = low = high = math.nan
        if base["low"] > 0:
            se = (base["high"] - base["low"]) / (2 * z)
            relative = row["value"] / mean
            treated = max(row["se"] ** 2 - se**2, 0.0)
            reach = z * math.sqrt(treated + (1 + relative) ** 2 * se**2) / mean
            low, high = relative - reach, relative + reach
        found.append(
            AverageEffect(
                stage=str(row["stage"]),
                arm=str(row["arm"]),
                value=float(row["value"]),
                low=float(row["low"]),
                high=float(row["high"]),
                control=mean,
                relative=relative,
                relative_low=low,
                relative_high=high,
                adjusted=str(row["adjusted"]),
            )
        )
    return found


def chain_parts(evaluation: Evaluation, arm: str, stage: str) -> list[ChainPart] | None:
    """Split the difference of the plain means at `stage` into the steps that lead to it.

    Logarithmic mean Divisia decomposition (Ang 2004): with the outcome Y = r1 r2 ... rk in each group, step j
    contributes L(Y_T, Y_C) ln(r_jT / r_jC), L(a, b) = (a - b) / ln(a / b). The parts add up without a rest.

    Returns
    -------
    list of ChainPart or None
        None when a rate is not positive, when the stage is the first, or when the design needs an adjustment
        (the plain means would then mix the steps with the design).
    """
    adjusted = evaluation.ate["adjusted"].isin(("none", "weights"))
    steps = list(evaluation.stages[: evaluation.stages.index(stage) + 1])
    if len(steps) < 2 or not adjusted.all():
        return None
    means = {(r["stage"], r["arm"]): float(r["value"]) for r in evaluation.rates.to_dict("records")}
    groups = [[means[step, name] for step in steps] for name in (arm, evaluation.arms[0])]
    if min(min(group) for group in groups) <= 0:
        return None
    (treated, control) = (
        [group[0], *(after / before for before, after in pairwise(group))] for group in groups
    )
    end_t, end_c = groups[0][-1], groups[1][-1]
    weight = end_t if math.isclose(end_t, end_c, rel_tol=1e-12) else (end_t - end_c) / math.log(end_t / end_c)
    names = [steps[0], *(_step(after, before) for before, after in pairwise(steps))]
    return [
        ChainPart(name, t, c, weight * math.log(t / c))
        for name, t, c in zip(names, treated, control, strict=True)
    ]


def _step(stage: str, before: str) -> str:
    return f"{stage} per {before}" if stage == VALUE_STAGE else f"{stage} given {before}"
