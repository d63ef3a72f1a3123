"""CausalML's uplift random forest, kept as flat arrays.

CausalML trains; predictions come from :class:`~uplift.models.classical.flat_forest.FlatForest` and equal the
peer's own. A saved model needs no CausalML.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from uplift.campaign import Campaign
from uplift.errors import ModelError
from uplift.models.classical.adapter import CONTROL, ClassicalModel, Parts, StageEffects, Training
from uplift.models.classical.boosting import threads
from uplift.models.classical.flat_forest import FlatForest
from uplift.models.classical.peers import import_peer
from uplift.models.parameters import SEED, THREADS, Choice, Either, Number, OrNone, Rule, Whole


class UpliftForest(ClassicalModel):
    """``causalml.inference.tree.UpliftRandomForestClassifier``: splits that separate the arms, all arms at once.

    ``mu`` is the mean over trees of the outcome rate of each arm in the leaf, ``tau`` their difference: exactly
    CausalML's prediction. Trees see the dense matrix (medians, missing flags, one-hot or frequency-coded
    categories, :meth:`uplift.features.FeatureSchema.dense`). Row weights as in
    :class:`~uplift.models.classical.lightgbm_models.LightGBMT`. `validation` is not used. In a tree whose
    bootstrap sample misses an arm, CausalML counts that arm's rate as zero; this matters for arms of a few
    dozen rows only.

    The forest is a classifier, so the value stage is CausalML's ``CausalRandomForestRegressor`` on the money
    itself, with the same number and depth of trees. It is grown honestly (half of the rows grow a tree, the other
    half fill its leaves) and without bootstrap: without honesty, bootstrap counts enter CausalML 0.18's leaf means
    as weights in the sum but not in the divisor, which inflates them by about 1 / (1 - 1/e) = 1.58. A leaf that
    no row of some arm fills (CausalML then predicts NaN) takes that arm's mean from the node above.

    Parameters
    ----------
    n_estimators : int
        Trees per stage, > 0. Time grows in proportion.
    criterion : {"KL", "ED", "Chi", "CTS"}
        Distance between the arms' outcome rates that a split should raise (not used for the value).
    max_depth : int
        Depth of the trees, > 0.
    min_samples_leaf : int
        Rows per leaf, > 0.
    min_samples_treatment : int
        Rows of every arm per leaf, > 0.
    n_reg : int
        Rows, >= 0, by which the parent's rate shrinks a child's when splits are compared.
    max_features : int, float, "sqrt" or None
        Features that a split may look at: a number, a share, the square root, all.
    n_jobs : int
        Threads; -1 for all cores. Does not change the result.
    random_state : int
        Seed, 0 to 2^31 - 1.

    References
    ----------
    Rzepakowski, Jaroszewicz, Decision trees for uplift modeling with single and multiple treatments, KAIS 2012.
    Athey, Imbens, Recursive partitioning for heterogeneous causal effects, PNAS 2016 (value stage).
    """

    name: ClassVar[str] = "causalml_uplift_forest"
    rules: ClassVar[Mapping[str, Rule]] = {
        "n_estimators": Whole(1),
        "criterion": Choice("KL", "ED", "Chi", "CTS"),
        "max_depth": Whole(1),
        "min_samples_leaf": Whole(1),
        "min_samples_treatment": Whole(1),
        "n_reg": Whole(0),
        "max_features": OrNone(Either(Whole(1), Number(0, 1, open_low=True), Choice("sqrt"))),
        "n_jobs": THREADS,
        "random_state": SEED,
    }

    def __init__(
        self,
        *,
        n_estimators: int = 30,
        criterion: str = "KL",
        max_depth: int = 6,
        min_samples_leaf: int = 100,
        min_samples_treatment: int = 10,
        n_reg: int = 10,
        max_features: int | float | str | None = 0.5,
        n_jobs: int = -1,
        random_state: int = 0,
    ) -> None:
        self.n_estimators = n_estimators
        self.criterion = criterion
        self.max_depth = max_depth
        self.min_samples_leaf = min_samples_leaf
        self.min_samples_treatment = min_samples_treatment
        self.n_reg = n_reg
        self.max_features = max_features
        self.n_jobs = n_jobs
        self.random_state = random_state

    @classmethod
    def check_available(cls) -> None:
        import_peer("causalml.inference.tree", model=cls.name)

    def _matrix(self, campaign: Campaign) -> np.ndarray:
        return self.schema_.dense(campaign)

    def _learn(self, training: Training) -> list[Parts]:
        tree = import_peer("causalml.inference.tree", model=self.name)
        treatment = training.arms.astype(np.int64)
        stages: list[Parts] = []
        for s, binary in enumerate(training.binary):
            peer = self._classifier(tree) if binary else self._regressor(tree)
            try:
                peer.fit(
                    X=training.matrix,
                    treatment=treatment,
                    y=training.outcomes[:, s].astype(np.float64),
                    sample_weight=training.weights,
                )
            except (ValueError, KeyError) as error:
                raise ModelError(
                    f"causalml refuses these parameters or data ({type(error).__name__}: {error})."
                ) from error
            stages.append({"forest": flatten(peer, training.n_arms)})
        return stages

    def _classifier(self, tree: Any) -> Any:
        return tree.UpliftRandomForestClassifier(
            control_name=CONTROL,
            n_estimators=self.n_estimators,
            evaluationFunction=self.criterion,
            max_depth=self.max_depth,
            min_samples_leaf=self.min_samples_leaf,
            min_samples_treatment=self.min_samples_treatment,
            n_reg=self.n_reg,
            max_features=self.max_features,
            n_jobs=threads(self.n_jobs),
            random_state=self.random_state,
        )

    def _regressor(self, tree: Any) -> Any:
        return tree.CausalRandomForestRegressor(
            control_name=CONTROL,
            n_estimators=self.n_estimators,
            max_depth=self.max_depth,
            min_samples_leaf=self.min_samples_leaf,
            min_group_samples=self.min_samples_treatment,
            max_features=self.max_features,
            honesty=True,
            bootstrap=False,
            n_jobs=threads(self.n_jobs),
            random_state=self.random_state,
        )

    def _read(self, parts: Parts, matrix: np.ndarray, binary: bool) -> StageEffects:
        found = parts["forest"].predict(matrix)
        mu, tau = found[:, : len(self.arms_)], found[:, len(self.arms_) :]
        if binary:
            return StageEffects(mu, mu - mu[:, :1])
        return StageEffects(mu, np.column_stack((np.zeros(len(matrix)), tau)))

    def _libraries(self) -> tuple[str, ...]:
        return ("numpy", "causalml")


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
