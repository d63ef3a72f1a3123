"""CausalML's forests, grown and made flat: what they say is kept, the peer objects are not."""

from __future__ import annotations

from typing import Any

import numpy as np

from uplift.errors import ModelError
from uplift.models.classical.adapter import Training
from uplift.models.classical.flat_forest import FlatForest


def grow(peer: Any, training: Training, stage: int) -> FlatForest:
    """Fit a causalml forest to one stage and flatten it.

    Raises
    ------
    ModelError
        CausalML refuses the parameters or the data, or some arm is too small.
    """
    try:
        peer.fit(
            X=training.matrix,
            treatment=training.arms.astype(np.int64),
            y=training.outcomes[:, stage].astype(np.float64),
            sample_weight=training.weights,
        )
    except (ValueError, KeyError) as error:
        raise ModelError(
            f"causalml refuses these parameters or data ({type(error).__name__}: {error})."
        ) from error
    return flatten(peer, training.n_arms)


def flatten(peer: Any, n_arms: int) -> FlatForest:
    """Flat arrays of a fitted causalml forest whose arms are named 0 (control), 1, 2, ...

    The outputs are the mean outcome of every arm and, for a causal forest, then the effect of every treated arm:
    causalml averages the trees' effects, an uplift forest takes the difference of the averages.
    """
    trees = []
    for estimator in peer.estimators_:
        found = np.asarray(estimator.tree_.value, np.float64)[:, :, 0]
        if hasattr(peer, "uplift_forest"):
            values = np.zeros((len(found), n_arms))
            values[:, [int(arm) for arm in estimator.classes_]] = np.nan_to_num(found, nan=0.0)
        else:
            found = _from_ancestors(found, estimator.tree_)
            values = np.column_stack((found, found[:, 1:] - found[:, :1]))
        trees.append((estimator.tree_, values))
    if not trees:
        raise ModelError(
            "no tree of the forest saw both control and an arm; the campaign is too small for it."
        )
    return FlatForest.from_trees(trees)


def _from_ancestors(values: np.ndarray, tree: Any) -> np.ndarray:
    """`values` [node, arm] with missing ones taken from the nearest node above that has one.

    Raises
    ------
    ModelError
        The root has none either.
    """
    parent = np.zeros(len(values), np.int64)
    for children in (np.asarray(tree.children_left), np.asarray(tree.children_right)):
        inner = np.flatnonzero(children >= 0)
        parent[children[inner]] = inner
    if np.isnan(values[0]).any():
        raise ModelError("a tree of the forest has no row of some arm; the arm is too small for this model.")
    while np.isnan(values).any():
        values = np.where(np.isnan(values), values[parent], values)
    return values
