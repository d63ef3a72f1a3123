"""Where along the chain does an effect come from? Every step's part of the difference at its end, with intervals."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from uplift.arms import VALUE_STAGE
from uplift.campaign import Campaign
from uplift.errors import EvaluationError
from uplift.metrics.average import Comparison, Estimate, compare

CHAIN_COLUMNS = ("arm", "stage", "step", "control", "treated", "value", "se", "low", "high")


def chain_decomposition(campaign: Campaign, *, confidence: float = 0.95) -> pd.DataFrame:
    """Split the effect of every arm at every stage after the first into the steps that lead to it.

    With the mean outcome of a group Y = r_1 r_2 ... r_k (the rate of the first stage, then of every stage given the one
    before), step j contributes L(Y_T, Y_C) ln(r_jT / r_jC), where L(a, b) = (a - b) / ln(a / b) is the logarithmic mean.
    The parts add up to Y_T - Y_C without a rest. Standard errors are those of the delta method from the influence of every
    row on the means, so that the means of one group, which come from the same customers, may depend on each other.

    The parts describe and do not prove: who clicks with a coupon is not who clicks without one, so the rate of the second
    step compares different customers.

    Parameters
    ----------
    campaign : Campaign
        Randomised rows with outcomes; strata, propensities, weights and repeated units as in :func:`compare`.
    confidence : float
        Level of the intervals, in (0, 1).

    Returns
    -------
    DataFrame
        Columns ``arm, stage, step`` (name of the stage whose rate it is), ``control, treated`` (the rates), ``value, se,
        low, high`` (the part, in outcome per customer). Pairs of arm and stage with a rate that is not positive, or with an
        arm that cannot be compared, have no rows.

    References
    ----------
    Ang, Decomposition analysis for policymaking in energy, Energy Policy 2004 (logarithmic mean Divisia index I).
    """
    rows: list[dict[str, object]] = []
    if len(campaign.stages) > 1:
        for arm in campaign.arm_names[1:]:
            try:
                comparison = compare(campaign, arm)
            except EvaluationError:
                continue
            rows += _arm(campaign, comparison, arm, confidence)
    return pd.DataFrame(rows, columns=list(CHAIN_COLUMNS))


def _arm(campaign: Campaign, comparison: Comparison, arm: str, confidence: float) -> list[dict[str, object]]:
    y = campaign.outcomes[comparison.rows].astype(np.float64)  # [row, stage]
    w = np.ones(len(y)) if comparison.weight is None else comparison.weight
    groups = [comparison.treated, ~comparison.treated]
    means = np.array([np.average(y[group], axis=0, weights=w[group]) for group in groups])  # [T | C, stage]
    # Influence of every row on the means of its group (Hajek), [row, stage].
    own = np.where(comparison.treated, w / w[groups[0]].sum(), w / w[groups[1]].sum())
    influence = own[:, None] * (y - np.where(comparison.treated[:, None], means[0], means[1]))
    rows: list[dict[str, object]] = []
    for last in range(1, len(campaign.stages)):
        if (means[:, : last + 1] <= 0).any():
            continue
        parts, gradient = logarithmic_parts(means[:, : last + 1])
        for step, part in enumerate(parts):
            pull = np.where(
                comparison.treated, influence[:, : last + 1] @ gradient[step, 0], influence[:, : last + 1] @ gradient[step, 1]
            )  # fmt: skip
            if comparison.cluster is not None:
                pull = np.bincount(comparison.cluster, pull)
            before = means[:, step - 1] if step else np.ones(2)
            rates = means[:, step] / before
            rows.append({
                "arm": arm, "stage": campaign.stages[last], "step": campaign.stages[step],
                "control": float(rates[1]), "treated": float(rates[0]),
                **vars(Estimate.normal(part, float(np.sqrt(np.sum(pull**2))), confidence)),
            })  # fmt: skip
    return rows


def logarithmic_parts(means: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Parts of the difference of the last means, and how they change with the means.

    Parameters
    ----------
    means : ndarray [2, stage]
        Positive mean outcomes of the treated group and of control along the chain.

    Returns
    -------
    parts : ndarray [stage]
        Contribution of every step; they add up to ``means[0, -1] - means[1, -1]``.
    gradient : ndarray [stage, 2, stage]
        Derivative of every part by every mean.

    Examples
    --------
    >>> parts, _ = logarithmic_parts(np.array([[0.4, 0.1], [0.2, 0.05]]))
    >>> parts.round(6).tolist()
    [0.05, 0.0]
    """
    steps = means.shape[1]
    a, b = float(means[0, -1]), float(means[1, -1])
    if math.isclose(a, b, rel_tol=1e-9):
        mean, slope_a, slope_b = a, 0.5, 0.5
    else:
        log = math.log(a / b)
        mean = (a - b) / log
        slope_a, slope_b = (1 - mean / a) / log, (mean / b - 1) / log
    logs = np.log(means)
    ratio = np.diff(logs[0] - logs[1], prepend=0.0)  # ln(r_jT / r_jC)
    gradient = np.zeros((steps, 2, steps))
    for step in range(steps):
        for group, sign in ((0, 1.0), (1, -1.0)):
            gradient[step, group, step] += sign * mean / means[group, step]
            if step:
                gradient[step, group, step - 1] -= sign * mean / means[group, step - 1]
        gradient[step, 0, -1] += slope_a * ratio[step]
        gradient[step, 1, -1] += slope_b * ratio[step]
    return mean * ratio, gradient


def step_name(stage: str, before: str | None) -> str:
    """What a step is called: ``click``, ``conversion given click``, ``value per conversion``."""
    if before is None:
        return stage
    return f"{stage} per {before}" if stage == VALUE_STAGE else f"{stage} given {before}"
