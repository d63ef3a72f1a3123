"""Estimated propensities for data that were not randomised: cross-fitted, by the better of two learners."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from uplift.campaign import Campaign

COLUMN = "propensity"
FOLDS = 5
CLIP = 0.02
"""Estimates are kept this far from 0 and 1, so that no row weighs more than fifty."""


def with_estimated_propensity(
    train: Campaign, test: Campaign, *, seed: int
) -> tuple[Campaign, Campaign, str]:
    """Both campaigns with the estimated probability of the arm that each row received.

    Models of this package weight rows by the inverse of the propensity that a campaign carries, which is how they adjust
    for confounding. Two learners predict the arm from the features: a logistic regression on standardised dense features
    (numbers, missing flags, one-hot categories) and 200 LightGBM trees. The one whose out-of-fold log loss on the training
    rows is lower is kept. A training row gets its estimate from the folds that do not hold it, a test row from all
    training rows. The test rows' arms are used for nothing but to look up which of the two probabilities is theirs.

    Parameters
    ----------
    train, test : Campaign
        Two arms, no propensity role.
    seed : int
        Seed of folds and trees.

    Returns
    -------
    tuple of Campaign, Campaign, str
        And which learner was kept: "logistic" or "lightgbm".
    """
    from sklearn.model_selection import StratifiedKFold

    from uplift.features import FeatureSchema

    schema = FeatureSchema.fit(train)
    matrix, others = schema.dense(train), schema.dense(test)
    treated = (train.arm_codes > 0).astype(np.int64)
    folds = list(StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(matrix, treated))
    best: tuple[float, str, np.ndarray, np.ndarray] | None = None
    for name, learner in (("logistic", _logistic), ("lightgbm", _trees)):
        held = np.empty(len(treated))
        for learn, rest in folds:
            held[rest] = learner(matrix[learn], treated[learn], matrix[rest], seed)
        held = np.clip(held, CLIP, 1 - CLIP)
        loss = float(-np.log(np.where(treated == 1, held, 1 - held)).mean())
        if best is None or loss < best[0]:
            best = (loss, name, held, np.clip(learner(matrix, treated, others, seed), CLIP, 1 - CLIP))
    assert best is not None
    _, name, ours, theirs = best
    return _attach(train, ours), _attach(test, theirs), name


def _logistic(matrix: np.ndarray, treated: np.ndarray, others: np.ndarray, seed: int) -> np.ndarray:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model: Any = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2_000))
    result: np.ndarray = model.fit(matrix, treated).predict_proba(others)[:, 1]
    return result


def _trees(matrix: np.ndarray, treated: np.ndarray, others: np.ndarray, seed: int) -> np.ndarray:
    import lightgbm

    params = {
        "objective": "binary", "learning_rate": 0.05, "num_leaves": 15, "min_data_in_leaf": 20, "lambda_l2": 5.0,
        "feature_fraction": 0.5, "verbosity": -1, "deterministic": True, "num_threads": 1, "seed": seed,
    }  # fmt: skip
    data = lightgbm.Dataset(matrix, treated, params={"verbosity": -1})
    return np.asarray(lightgbm.train(params, data, num_boost_round=200).predict(others, num_threads=1))


def _attach(campaign: Campaign, treated_share: np.ndarray) -> Campaign:
    import pyarrow as pa

    received = np.where(campaign.arm_codes > 0, treated_share, 1 - treated_share)
    table = campaign.table.append_column(COLUMN, pa.array(received))
    return replace(campaign, table=table, roles=replace(campaign.roles, propensity=COLUMN))
