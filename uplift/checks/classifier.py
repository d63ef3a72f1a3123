"""Can a boosted-tree classifier tell the arms apart from the features? It must not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from uplift.checks.contrast import Contrast, auc
from uplift.checks.design import Design
from uplift.checks.result import CheckResult, p_text
from uplift.hashing import unit_uniform

FOLDS = 3
AUC_LIMIT = 0.55
"""Below it an imbalance is real but small. An SMD of 0.1 in one feature gives an AUC of 0.53."""
MIN_ARM_UNITS = 60
PARAMETERS = {
    "objective": "binary",
    "num_leaves": 15,
    "learning_rate": 0.1,
    "min_data_in_leaf": 30,
    "feature_fraction": 0.8,
    "max_bin": 63,
    "num_threads": 1,  # threads that wait for each other cost more than they bring at this size
    "deterministic": True,
    "force_row_wise": True,
    "verbosity": -1,
}
ROUNDS = 60
SHARED_TRAINING = 2.0
"""Folds test models that were trained on each other, which at most doubles the variance of their mean.

Without any difference between the arms the covariance of two folds' AUC comes from the chance pattern the two
share: for a linear score sum_{i != j} <w_i, w_j> has twice the variance of independent terms, whatever the
number of folds.
"""


@dataclass(frozen=True)
class Separation:
    """How well one arm can be told from control out of fold."""

    arm: str
    auc: float
    se: float
    rows: int
    gain: np.ndarray

    @property
    def p(self) -> float:
        """One-sided p-value against AUC = 1/2."""
        from scipy.special import ndtr

        if self.se <= 0:
            return 1.0 if self.auc <= 0.5 else 0.0
        return float(ndtr(-(self.auc - 0.5) / self.se))


def check_balance_classifier(design: Design, *, max_rows: int) -> CheckResult:
    """Cross-fitted LightGBM (3 folds by unit), every arm against control.

    AUC is averaged over folds; its standard error is that of the Mann-Whitney statistic when the arms do not
    differ (Hanley and McNeil 1982 at AUC = 1/2), clustered by unit and enlarged for the overlap of the folds'
    training rows. Fails when AUC > 0.55 and the
    Bonferroni-adjusted p < alpha; warns when it is < 10 alpha. Within strata, or weighted by 1 / propensity, both training and AUC use the
    weights under which the arms should be alike.
    """
    title = "Can a classifier guess the arm from the features?"
    campaign = design.campaign
    limit = max(max_rows // max(len(design.contrasts), 1), min(max_rows, 10_000))
    found = []
    if campaign.feature_names:
        draw = unit_uniform(campaign.unit_ids, f"balance-sample:{design.seed}")
        fold = np.floor(unit_uniform(campaign.unit_ids, f"balance-fold:{design.seed}") * FOLDS).astype(int)
        for contrast in design.contrasts:
            one = _separate(design, _sample(contrast, draw, limit), fold)
            if one is not None:
                found.append(one)
    if not found:
        why = (
            "no features"
            if not campaign.feature_names
            else f"no arm has {MIN_ARM_UNITS} units to compare with control"
        )
        return CheckResult(
            check="balance_classifier",
            title=title,
            status="pass",
            detail=f"{why}: the classifier was not run.",
            data={"auc": {}, "limit": AUC_LIMIT},
        )
    worst_one = min(found, key=lambda one: (one.p, -one.auc))
    p = min(1.0, len(found) * worst_one.p)
    status = design.verdict(p, matters=worst_one.auc > AUC_LIMIT)
    shares = worst_one.gain / max(float(worst_one.gain.sum()), 1e-300)
    top = int(np.argmax(shares))
    names = _matrix_names(design)
    numbers = (
        f"AUC {worst_one.auc:.3f} +- {1.96 * worst_one.se:.3f} for arm {worst_one.arm!r} against control"
        + (f", the worst of {len(found)} arms" if len(found) > 1 else "")
        + f" ({worst_one.rows:,} rows, adjusted {p_text(p)})"
    )
    lead = f"led by {names[top]!r} ({shares[top]:.0%} of the gain)"
    advice = {
        "pass": "the features do not tell the arms apart",
        "warn": f"a slight but real difference, {lead}; ask how the assignment was made",
        "fail": f"the arms hold different customers, {lead}; give strata or propensities if they explain it, else do not read effects off this campaign",
    }[status]
    return CheckResult(
        check="balance_classifier",
        title=title,
        status=status,
        detail=f"{numbers}; {advice}.",
        data={
            "auc": {
                one.arm: {
                    "value": one.auc,
                    "low": max(one.auc - 1.96 * one.se, 0.0),
                    "high": min(one.auc + 1.96 * one.se, 1.0),
                    "p": one.p,
                    "rows": one.rows,
                }
                for one in found
            },
            "limit": AUC_LIMIT,
            "gain": {names[i]: shares[i] for i in np.argsort(-shares, kind="stable")[:20]},
        },
    )


def _matrix_names(design: Design) -> tuple[str, ...]:
    return design.campaign.numeric_features + design.campaign.categorical_features


def _sample(contrast: Contrast, draw: np.ndarray, limit: int) -> Contrast:
    """At most `limit` rows, whole units, the larger arm thinned first. AUC does not depend on arm shares."""
    n_treated = int(contrast.treated.sum())
    n_control = len(contrast.rows) - n_treated
    if n_treated + n_control <= limit:
        return contrast
    half = limit / 2
    keep_treated = min(1.0, max(half, limit - n_control) / n_treated)
    keep_control = min(1.0, max(half, limit - n_treated) / n_control)
    chosen = draw[contrast.rows] < np.where(contrast.treated, keep_treated, keep_control)
    return contrast.subset(np.flatnonzero(chosen))


def _separate(design: Design, contrast: Contrast, fold: np.ndarray) -> Separation | None:
    import lightgbm

    from uplift.features import FeatureSchema

    if (
        min(contrast.treated.sum(), (~contrast.treated).sum()) < MIN_ARM_UNITS
        or contrast.n_units < MIN_ARM_UNITS
    ):
        return None
    rows = design.campaign.take(contrast.rows)
    schema = FeatureSchema.fit(rows)
    matrix = schema.matrix(rows)
    folds = fold[contrast.rows]
    gain = np.zeros(matrix.shape[1])
    parts = []
    for k in range(FOLDS):
        train, test = contrast.subset(folds != k), contrast.subset(folds == k)
        if not (train.usable and test.usable):
            continue
        # Both arms weigh half, so that the trees look for differences and not for the larger arm.
        weight = train.weight / np.where(train.treated, *train.totals)
        data = lightgbm.Dataset(
            matrix[folds != k],
            label=train.treated,
            weight=weight * len(weight) / 2,
            categorical_feature=list(schema.categorical_positions),
        )
        booster = lightgbm.train(PARAMETERS | {"seed": design.seed}, data, num_boost_round=ROUNDS)
        gain += booster.feature_importance("gain")
        parts.append(auc(test, np.asarray(booster.predict(matrix[folds == k]))))
    parts = [(value, se) for value, se in parts if se > 0]
    if not parts:
        return None if not gain.any() else Separation(contrast.arm, 0.5, 0.0, len(contrast.rows), gain)
    precision = np.array([se**-2.0 for _, se in parts])
    value = float(np.average([value for value, _ in parts], weights=precision))
    return Separation(
        contrast.arm, value, float((SHARED_TRAINING / precision.sum()) ** 0.5), len(contrast.rows), gain
    )
