"""Published numbers on data with known effects, tried again: whose data they are, and whose learners."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from uplift.bench.truth_data import TRUTH_CARDS, replications, split_rows, truth_frame

FOREST_SEEDS = 3
"""The published forests have no seed; theirs is one draw of what is averaged here."""


def missing_replications(data: str, params: Mapping[str, Any]) -> str | None:
    """Which replications a protocol needs and the files lack, in one sentence, or None.

    Raises
    ------
    DatasetError
        The files are not on this machine.
    """
    lacking = sorted(set(params.get("replications", ())) - set(replications(data)))
    if not lacking:
        return None
    return f"data set {data!r} lacks replication {', '.join(map(str, lacking))} on this machine."


def linear_effect(data: str, params: dict[str, Any]) -> dict[str, Any]:
    """Coefficient of the treatment in a least-squares fit of the outcome on it and all features.

    Parameters
    ----------
    data : str
        A key of :data:`~uplift.bench.truth_data.TRUTH_CARDS`.
    params : dict
        ``replications``: the one to take.

    Returns
    -------
    dict
        ``value``, in units of the outcome.
    """
    (replication,) = params["replications"]
    features, treated, outcome, _ = _arrays(data, replication)
    dummies = pd.get_dummies(features, drop_first=True).to_numpy(np.float64)
    design = np.column_stack([np.ones(len(treated)), treated, dummies])
    return {"value": float(np.linalg.lstsq(design, outcome, rcond=None)[0][1])}


def forest_learner(data: str, params: dict[str, Any]) -> dict[str, Any]:
    """PEHE of EconML's S-, T- or X-learner on random forests, mean over replications.

    Features and outcome are standardised on the training rows, categories are their codes, a forest has a hundred trees
    of depth six with leaves of at least a hundredth of the rows, all as in the published code.

    Parameters
    ----------
    data : str
        A key of :data:`~uplift.bench.truth_data.TRUTH_CARDS`.
    params : dict
        ``method`` ("s", "t" or "x"), ``replications``, ``first`` (the number of the first replication), ``test`` (share)
        and ``seed``: replication k is permuted with ``seed`` + k - ``first``, the last rows are the test.

    Returns
    -------
    dict
        ``value``, the root of the PEHE in units of the outcome; ``spread`` over seeds of the forests and their number
        as ``splits``.
    """
    found = np.empty((FOREST_SEEDS, len(params["replications"])))
    for column, replication in enumerate(params["replications"]):
        features, treated, outcome, effect = _arrays(data, replication)
        matrix = _codes_last(features)
        order = np.random.default_rng(params["seed"] + replication - params["first"]).permutation(len(matrix))
        held = int(len(order) * (1 - params["test"]))
        learn, judge = order[:held], order[held:]
        mean, scale = matrix[learn].mean(axis=0), matrix[learn].std(axis=0)
        matrix = (matrix - mean) / np.where(scale > 0, scale, 1.0)
        level, unit = outcome[learn].mean(), outcome[learn].std()
        for seed in range(FOREST_SEEDS):
            model = _learner(params["method"], len(learn), seed)
            model.fit(Y=(outcome[learn] - level) / unit, T=treated[learn], X=matrix[learn])
            error = model.effect(matrix[judge]).ravel() * unit - effect[judge]
            found[seed, column] = np.sqrt(np.mean(error**2))
    means = found.mean(axis=1)
    return {"value": float(means.mean()), "spread": float(means.std(ddof=1)), "splits": FOREST_SEEDS}


def linear_pehe(data: str, params: dict[str, Any]) -> dict[str, Any]:
    """PEHE out of sample of least squares, over all replications at hand, split as the suite `truth` splits them.

    Parameters
    ----------
    data : str
        A key of :data:`~uplift.bench.truth_data.TRUTH_CARDS`.
    params : dict
        ``per_arm``: one regression per arm, or one of all rows with the treatment as a feature, whose coefficient is
        everybody's effect; ``test``: share.

    Returns
    -------
    dict
        ``value``, the mean of the root of the PEHE; ``spread``, its standard error over replications; ``splits``.
    """
    found = []
    for seed, replication in enumerate(replications(data)):
        features, treated, outcome, effect = _arrays(data, replication)
        matrix = np.column_stack([np.ones(len(treated)), _codes_last(features)])
        judge, learn = split_rows(len(matrix), params["test"], seed)
        if params["per_arm"]:
            control, sent = (
                np.linalg.lstsq(matrix[rows], outcome[rows], rcond=None)[0]
                for rows in (learn[treated[learn] == arm] for arm in (0, 1))
            )
            predicted = matrix[judge] @ (sent - control)
        else:
            design = np.column_stack([matrix[learn], treated[learn]])
            predicted = np.linalg.lstsq(design, outcome[learn], rcond=None)[0][-1]
        found.append(float(np.sqrt(np.mean((predicted - effect[judge]) ** 2))))
    error = float(np.std(found, ddof=1) / np.sqrt(len(found)))
    return {"value": float(np.mean(found)), "spread": error, "splits": len(found)}


def _arrays(data: str, replication: int) -> tuple[pd.DataFrame, np.ndarray, np.ndarray, np.ndarray]:
    """Features, treatment (0/1), outcome and true effect, in the order of the units."""
    card = TRUTH_CARDS[data]
    frame = truth_frame(data, replication)
    hidden = {"unit", "treatment", "y", "y0", "y1", "mu0", "mu1", "y_factual", "y_cfactual", *card.drop}
    control, treated = (frame[name].to_numpy(np.float64) for name in card.mu)
    return (
        frame.drop(columns=[name for name in frame if name in hidden]),
        frame["treatment"].to_numpy(np.float64),
        frame[card.outcome].to_numpy(np.float64),
        treated - control,
    )


def _codes_last(features: pd.DataFrame) -> np.ndarray:
    """Numbers in their order, then the codes of the categories, float64 [row, column]."""
    text = [name for name in features if not pd.api.types.is_numeric_dtype(features[name])]
    numbers = features.drop(columns=text).to_numpy(np.float64)
    codes = [features[name].astype(str).astype("category").cat.codes.to_numpy(np.float64) for name in text]
    return np.column_stack([numbers, *codes])


def _learner(method: str, rows: int, seed: int) -> Any:
    from econml.metalearners import SLearner, TLearner, XLearner
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

    trees = {
        "n_estimators": 100,
        "max_depth": 6,
        "min_samples_leaf": max(1, rows // 100),
        "n_jobs": 1,
        "random_state": seed,
    }
    if method == "s":
        return SLearner(overall_model=RandomForestRegressor(**trees))
    if method == "t":
        return TLearner(models=RandomForestRegressor(**trees))
    propensity = RandomForestClassifier(**trees)
    return XLearner(models=RandomForestRegressor(**trees), propensity_model=propensity)


PROTOCOLS: dict[str, Callable[[str, dict[str, Any]], dict[str, Any]]] = {
    "linear_effect": linear_effect,
    "forest_learner": forest_learner,
    "linear_pehe": linear_pehe,
}
"""By name."""
