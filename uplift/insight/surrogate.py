"""A surrogate: boosted trees that copy a model's predicted effects, to see what it reads."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from uplift.insight.content import Contribution, Surrogate
from uplift.insight.features import Feature

MAX_ROWS = 10_000
SHAP_ROWS = 200
SHOWN = 10


def fit_surrogate(
    features: Sequence[Feature],
    tau: np.ndarray,
    arm: str,
    *,
    shap: bool = False,
    random_state: int = 0,
) -> tuple[Surrogate, np.ndarray]:
    """LightGBM on the predicted effects of one arm.

    Parameters
    ----------
    features : sequence of Feature
    tau : ndarray of float64 [row]
        Predicted effects.
    arm : str
    shap : bool
        Whether to compute SHAP values (TreeSHAP, LightGBM's ``pred_contrib``) of some customers.

    Returns
    -------
    Surrogate
        Without SHAP values `features` is empty.
    gain : ndarray of float64 [feature]
        Total gain of the splits on each feature: 0 where the surrogate never reads it.

    References
    ----------
    Lundberg, Erion, Lee, Consistent individualized feature attribution for tree ensembles, arXiv 1802.03888.
    """
    import lightgbm as lgb

    rng = np.random.default_rng([random_state, 5])
    rows = rng.permutation(len(tau))[:MAX_ROWS]
    x = np.stack([_column(feature)[rows] for feature in features], axis=1)
    y = np.asarray(tau, np.float64)[rows]
    spread = float(y.std())
    if not spread > 1e-12:
        return Surrogate(arm=arm, r2=0.0, rows=0, features=()), np.zeros(len(features))
    half = len(rows) // 2
    categorical = [index for index, feature in enumerate(features) if feature.kind == "categorical"]
    params = {
        "objective": "regression", "num_leaves": 31, "learning_rate": 0.15, "min_data_in_leaf": max(5, half // 500),
        "verbosity": -1, "seed": random_state, "deterministic": True, "force_row_wise": True, "num_threads": 1,
    }  # fmt: skip
    # Standardised: effects of a thousandth would be below LightGBM's least gain.
    data = lgb.Dataset(
        x[:half], (y[:half] - y.mean()) / spread, categorical_feature=categorical, free_raw_data=False
    )
    booster = lgb.train(params, data, num_boost_round=80)
    held_out = y[half:]
    error = held_out - (y.mean() + spread * np.asarray(booster.predict(x[half:]), np.float64))
    r2 = 1 - float(np.square(error).sum() / np.square(held_out - held_out.mean()).sum())
    found: tuple[Contribution, ...] = ()
    if shap:
        some = x[half : half + SHAP_ROWS * 5]
        values = spread * np.asarray(booster.predict(some, pred_contrib=True), np.float64)[:, :-1]
        sizes = np.abs(values).mean(axis=0)
        order = np.argsort(-sizes, kind="stable")
        found = tuple(
            Contribution(
                feature=features[index].name,
                size=float(sizes[index]),
                points=_points(some[:SHAP_ROWS, index], values[:SHAP_ROWS, index]) if place < SHOWN else (),
            )
            for place, index in enumerate(order.tolist())
        )
    gain = booster.feature_importance(importance_type="gain").astype(np.float64)
    return Surrogate(arm=arm, r2=r2, rows=half, features=found), gain


def _column(feature: Feature) -> np.ndarray:
    if feature.kind == "numeric":
        return feature.values
    return np.where(feature.bins == feature.n_bins - 1, np.nan, feature.bins.astype(np.float64))


def _points(column: np.ndarray, values: np.ndarray) -> tuple[tuple[float, float], ...]:
    """Rank of the value among the others, in [0, 1] (0.5 when missing), and its contribution."""
    known = np.isfinite(column)
    rank = np.full(len(column), 0.5)
    distinct = np.unique(column[known])
    if len(distinct) > 1:
        rank[known] = np.searchsorted(distinct, column[known]) / (len(distinct) - 1)
    return tuple(
        (round(float(one), 3), float(f"{value:.4g}")) for one, value in zip(rank, values, strict=True)
    )
