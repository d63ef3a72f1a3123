"""Average effects in context: relative to control, and along the chain."""

from __future__ import annotations

import math
from dataclasses import dataclass

from uplift.metrics.chain import step_name
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
    contribution, low, high : float
        In outcome per customer, with its interval; the parts of an effect add up to it.
    """

    step: str
    treated: float
    control: float
    contribution: float
    low: float
    high: float


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
    """The parts of the effect of `arm` at `stage`, from :attr:`Evaluation.chain`; None when it was not split."""
    rows = evaluation.chain
    rows = rows[(rows["arm"] == arm) & (rows["stage"] == stage)]
    if rows.empty:
        return None
    steps = list(rows["step"])
    return [
        ChainPart(
            step_name(str(row["step"]), str(before) if before is not None else None),
            float(row["treated"]), float(row["control"]), float(row["value"]), float(row["low"]), float(row["high"]),
        )
        for before, row in zip([None, *steps], rows.to_dict("records"), strict=False)
    ]  # fmt: skip
