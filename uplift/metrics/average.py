"""Average effects: one arm against control at one stage, adjusted for the design, with intervals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from uplift.campaign import Campaign
from uplift.errors import EvaluationError
from uplift.metrics.inference import normal_quantile


@dataclass(frozen=True)
class Comparison:
    """Rows of one arm and of control, with the weights that make them stand for the same population.

    Attributes
    ----------
    rows : ndarray of int64 [row]
        Positions in the campaign.
    treated : ndarray of bool [row]
        True for the arm.
    weight : ndarray of float64 [row] or None
        None when all are 1: a plain randomised comparison.
    cluster : ndarray of int64 [row] or None
        Unit of each row when units repeat.
    stratum : ndarray of int32 [row] or None
        Stratum of each row.
    adjusted : str
        "none", "strata", "propensity" or "weights".
    """

    rows: np.ndarray
    treated: np.ndarray
    weight: np.ndarray | None
    cluster: np.ndarray | None
    stratum: np.ndarray | None
    adjusted: str


@dataclass(frozen=True)
class Estimate:
    """A number with its standard error and interval."""

    value: float
    se: float
    low: float
    high: float

    @classmethod
    def normal(cls, value: float, se: float, confidence: float) -> Estimate:
        """Symmetric interval of a normal estimate."""
        reach = normal_quantile(confidence) * se
        return cls(float(value), float(se), float(value - reach), float(value + reach))


def compare(campaign: Campaign, arm: str) -> Comparison:
    """Rows of `arm` and of control, weighted by the design.

    With propensities e the weight is 1/e of the arm received. With strata it is the number of rows of the
    stratum (all arms) over the number of its rows with the arm received; strata that lack the arm or the
    control are left out, because nothing can be compared there. Sampling weights multiply.

    Raises
    ------
    EvaluationError
        The arm or control has no rows here, or no stratum holds both.
    """
    codes = campaign.arm_codes
    index = campaign.arm_index(arm)
    if index == 0:
        raise EvaluationError(f"arm {arm!r} is the control; compare a treated arm with it.")
    keep = (codes == index) | (codes == 0)
    for name, code in ((arm, index), (campaign.control, 0)):
        if not (codes == code).any():
            raise EvaluationError(
                f"arm {name!r} has no rows among the {campaign.n_rows:,} to evaluate; use a larger split."
            )
    weight = campaign.weights
    stratum = campaign.stratum_codes
    adjusted = "none" if weight is None else "weights"
    if campaign.propensity is not None:
        weight = (1.0 if weight is None else weight) / campaign.propensity
        adjusted, stratum = "propensity", None
    elif stratum is not None:
        base = np.ones(campaign.n_rows) if weight is None else weight
        size = int(stratum.max()) + 1
        total = np.bincount(stratum, base, size)
        by_arm = {code: np.bincount(stratum[codes == code], base[codes == code], size) for code in (0, index)}
        both = (by_arm[0] > 0) & (by_arm[index] > 0)
        if not both.any():
            raise EvaluationError(
                f"no stratum holds both arm {arm!r} and control; the strata do not allow a comparison."
            )
        keep &= both[stratum]
        own = np.where(codes == index, by_arm[index][stratum], by_arm[0][stratum])
        weight = np.divide(base * total[stratum], own, out=np.zeros(campaign.n_rows), where=own > 0)
        adjusted = "strata"
    rows = np.flatnonzero(keep)
    return Comparison(
        rows=rows,
        treated=codes[rows] == index,
        weight=None if weight is None else weight[rows],
        cluster=_dense(campaign.unit_codes[rows]) if campaign.units_repeat else None,
        stratum=None if stratum is None else stratum[rows],
        adjusted=adjusted,
    )


def difference_in_means(comparison: Comparison, outcome: np.ndarray, *, confidence: float = 0.95) -> Estimate:
    """Weighted mean of the arm minus that of control, with a design-based standard error.

    Unweighted this is Neyman's estimator, s_T^2/n_T + s_C^2/n_C. With strata the residuals are taken within
    stratum and arm (post-stratification), with propensities the estimator is Hajek's, and with repeated
    units the influences of a unit are added before they are squared.

    Parameters
    ----------
    outcome : ndarray [row]
        Outcome of the rows of `comparison`.
    """
    y = np.asarray(outcome, np.float64)
    w = np.ones(len(y)) if comparison.weight is None else comparison.weight
    arm = comparison.treated.astype(np.int64)
    totals = np.bincount(arm, w, 2)
    means = np.bincount(arm, w * y, 2) / totals
    cell = arm if comparison.stratum is None else arm + 2 * comparison.stratum.astype(np.int64)
    count = np.bincount(cell)
    cell_weight = np.bincount(cell, w)
    cell_mean = np.divide(
        np.bincount(cell, w * y), cell_weight, out=np.zeros(len(count)), where=cell_weight > 0
    )
    # A stratum with one row of an arm has no spread of its own: measure it against the arm's mean.
    alone = count[cell] < 2
    residual = y - np.where(alone, means[arm], cell_mean[cell])
    correction = np.where(alone, 1.0, np.sqrt(count[cell] / np.maximum(count[cell] - 1, 1)))
    influence: np.ndarray = np.where(arm == 1, 1.0, -1.0) * w * residual * correction / totals[arm]
    if comparison.cluster is not None:
        influence = np.bincount(comparison.cluster, influence)
    return Estimate.normal(means[1] - means[0], float(np.sqrt(np.sum(influence**2))), confidence)


def arm_mean(campaign: Campaign, arm: str, stage: str, *, confidence: float = 0.95) -> Estimate:
    """Plain mean outcome of one arm (unadjusted, sampling weights applied), with its interval."""
    rows = campaign.arm_codes == campaign.arm_index(arm)
    if not rows.any():
        raise EvaluationError(
            f"arm {arm!r} has no rows among the {campaign.n_rows:,} to evaluate; use a larger split."
        )
    y = campaign.outcome(stage)[rows].astype(np.float64)
    w = np.ones(len(y)) if campaign.weights is None else campaign.weights[rows]
    mean = float(np.sum(w * y) / np.sum(w))
    influence = w * (y - mean) / np.sum(w)
    if campaign.units_repeat:
        influence = np.bincount(_dense(campaign.unit_codes[rows]), influence)
    return Estimate.normal(mean, float(np.sqrt(np.sum(influence**2))), confidence)


def _dense(codes: np.ndarray) -> np.ndarray:
    return np.unique(codes, return_inverse=True)[1]
