"""CausalML's uplift random forest and causal forest, kept as flat arrays.

CausalML trains; predictions come from :class:`~uplift.models.classical.flat_forest.FlatForest` and equal the
peer's own. A saved model needs no CausalML.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from uplift.campaign import Campaign
from uplift.errors import ModelError
from uplift.models.classical.adapter import CONTROL, ClassicalModel, Pair, Parts, StageEffects, Training
from uplift.models.classical.boosting import threads
from uplift.models.classical.causalml_trees import grow
from uplift.models.classical.flat_forest import FlatForest
from uplift.models.classical.peers import import_peer
from uplift.models.parameters import SEED, THREADS, Choice, Either, Number, OrNone, Rule, Whole

ALL_ARMS = ("KL", "ED", "Chi", "CTS")
"""Criteria that compare all arms at once."""

ONE_ARM = ("DDP", "IT", "CIT", "IDDP")
"""Criteria that compare one arm with control; CausalML refuses more."""

HONEST = "IDDP"
"""The criterion with which CausalML fills the leaves from rows that did not grow the tree, without weights."""


@dataclass(kw_only=True, eq=False, repr=False)
class PeerForest(ClassicalModel):
    """Constructor of CausalML's forests, and what they share.

    Trees see the dense matrix (medians, missing flags, one-hot or frequency-coded categories,
    :meth:`uplift.features.FeatureSchema.dense`). Row weights as in
    :class:`~uplift.models.classical.lightgbm_models.LightGBMT`. `validation` is not used.

    Parameters
    ----------
    n_estimators : int
        Trees per stage, > 0. Time grows in proportion.
    max_depth : int
        Depth of the trees, > 0.
    min_samples_leaf : int
        Rows per leaf, > 0.
    min_samples_treatment : int
        Rows of every arm per leaf, > 0.
    max_features : int, float, "sqrt" or None
        Features that a split may look at: a number, a share, the square root, all.
    n_jobs : int
        Threads; -1 for all cores. Does not change the result.
    random_state : int
        Seed, 0 to 2^31 - 1.
    """

    rules: ClassVar[Mapping[str, Rule]] = {
        "n_estimators": Whole(1),
        "max_depth": Whole(1),
        "min_samples_leaf": Whole(1),
        "min_samples_treatment": Whole(1),
        "max_features": OrNone(Either(Whole(1), Number(0, 1, open_low=True), Choice("sqrt"))),
        "n_jobs": THREADS,
        "random_state": SEED,
    }

    n_estimators: int = 30
    max_depth: int = 6
    min_samples_leaf: int = 100
    min_samples_treatment: int = 10
    max_features: int | float | str | None = 0.5
    n_jobs: int = -1
    random_state: int = 0

    @classmethod
    def check_available(cls) -> None:
        """Import CausalML; see :meth:`uplift.models.base.UpliftModel.check_available`."""
        import_peer("causalml.inference.tree", model=cls.name)

    def _matrix(self, campaign: Campaign) -> np.ndarray:
        return self.schema_.dense(campaign)

    def _learn(self, training: Training) -> list[Parts]:
        tree = import_peer("causalml.inference.tree", model=self.name)
        return [self._learn_stage(tree, training, s) for s in range(len(training.binary))]

    @abstractmethod
    def _learn_stage(self, tree: Any, training: Training, stage: int) -> Parts:
        """Let the peer learn one stage."""

    def _causal_forest(self, tree: Any, *, criterion: str = "causal_mse", groups_penalty: float = 0.0) -> Any:
        return tree.CausalRandomForestRegressor(
            control_name=CONTROL,
            n_estimators=self.n_estimators,
            criterion=criterion,
            groups_penalty=groups_penalty,
            max_depth=self.max_depth,
            min_samples_leaf=self.min_samples_leaf,
            min_group_samples=self.min_samples_treatment,
            max_features=self.max_features,
            honesty=True,
            bootstrap=False,
            n_jobs=threads(self.n_jobs),
            random_state=self.random_state,
        )

    def _libraries(self) -> tuple[str, ...]:
        return ("numpy", "causalml")


@dataclass(kw_only=True, eq=False, repr=False)
class UpliftForest(PeerForest):
    """``causalml.inference.tree.UpliftRandomForestClassifier``: splits that separate the arms.

    ``mu`` is the mean over trees of the outcome rate of each arm in the leaf, ``tau`` their difference: exactly
    CausalML's prediction. In a tree whose bootstrap sample misses an arm, CausalML counts that arm's rate as zero;
    this matters for arms of a few dozen rows only.

    With a criterion that compares all arms at once ("KL", "ED", "Chi", "CTS") there is one forest per stage. The
    others ("DDP", "IT", "CIT", "IDDP") know one arm and control: with several arms, every arm has a forest of its
    own on its rows and those of control, and ``mu`` of control is the mean over these forests. "IDDP" is grown
    honestly (half of the rows grow a tree, the other half fill its leaves), and CausalML fills them without
    weights: a campaign with sampling weights, propensities or strata is refused with it.

    The forest is a classifier, so the value stage is CausalML's causal forest on the money itself, with the same
    number and depth of trees, as :class:`CausalForest` has it by default.

    See :class:`PeerForest` for the rest of the parameters.

    Parameters
    ----------
    criterion : {"KL", "ED", "Chi", "CTS", "DDP", "IT", "CIT", "IDDP"}
        What a split should raise (not used for the value): the divergence between the arms' outcome rates
        (Kullback-Leibler, Euclidean, chi-squared), the outcome of the best arm (contextual treatment selection),
        the difference in uplift between the two sides (delta-delta-p, and its invariant form), or the
        interaction between side and arm in a test of the means (interaction tree, causal inference tree).
    n_reg : int
        Rows, >= 0, by which the parent's rate shrinks a child's when splits are compared.

    References
    ----------
    Rzepakowski, Jaroszewicz, Decision trees for uplift modeling with single and multiple treatments, KAIS 2012
    (KL, ED, Chi). Zhao, Fang, Simchi-Levi, Uplift modeling with multiple treatments and general response types, SDM
    2017 (CTS). Hansotia, Rukstales, Incremental value modeling, Journal of Interactive Marketing 2002 (DDP). Rossler,
    Guse, Schoder, The best of two worlds, ICIS 2022 (IDDP). Su, Tsai, Wang, Nickerson, Li, Subgroup analysis via
    recursive partitioning, JMLR 2009 (IT). Su, Kang, Fan, Levine, Yan, Facilitating score and causal inference
    trees for large observational studies, JMLR 2012 (CIT). Athey, Imbens, Recursive partitioning for heterogeneous
    causal effects, PNAS 2016 (value stage).
    """

    name: ClassVar[str] = "causalml_uplift_forest"
    rules: ClassVar[Mapping[str, Rule]] = {
        **PeerForest.rules,
        "criterion": Choice(*ALL_ARMS, *ONE_ARM),
        "n_reg": Whole(0),
    }

    criterion: str = "KL"
    n_reg: int = 10

    def _learn_stage(self, tree: Any, training: Training, stage: int) -> Parts:
        if not training.binary[stage]:
            return {"forest": grow(self._causal_forest(tree), training, stage)}
        if self.criterion == HONEST and training.weights is not None:
            raise ModelError(
                f"model {self.name!r}: criterion {HONEST!r} fills its leaves without weights, but this campaign has sampling weights, propensities or strata; choose another criterion."
            )
        if self.criterion in ALL_ARMS:
            return {"forest": grow(self._uplift_forest(tree), training, stage)}
        return {
            f"arm{arm}_forest": grow(self._uplift_forest(tree), Pair(training, arm).data, stage)
            for arm in range(1, training.n_arms)
        }

    def _uplift_forest(self, tree: Any) -> Any:
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

    def _read(self, parts: Parts, matrix: np.ndarray, binary: bool) -> StageEffects:
        if not binary:
            return _read_causal(parts["forest"], matrix)
        if "forest" in parts:
            mu = parts["forest"].predict(matrix)
            return StageEffects(mu, mu - mu[:, :1])
        mu, tau = np.zeros((2, len(matrix), len(self.arms_)))
        for arm in range(1, len(self.arms_)):
            found = parts[f"arm{arm}_forest"].predict(matrix)
            mu[:, arm], tau[:, arm] = found[:, arm], found[:, arm] - found[:, CONTROL]
            mu[:, CONTROL] += found[:, CONTROL] / (len(self.arms_) - 1)
        return StageEffects(mu, tau)


@dataclass(kw_only=True, eq=False, repr=False)
class CausalForest(PeerForest):
    """``causalml.inference.tree.CausalRandomForestRegressor`` for all stages: honest trees of all arms at once.

    ``mu`` is the mean over trees of the mean outcome of each arm in the leaf and ``tau`` that of their differences:
    exactly CausalML's prediction. Trees are grown honestly (half of the rows grow a tree, the other half fill its
    leaves; every tree draws its own halves) and without bootstrap: without honesty, bootstrap counts enter CausalML
    0.18's leaf means as weights in the sum but not in the divisor, which inflates them by about 1 / (1 - 1/e) = 1.58.
    A leaf that no row of some arm fills (CausalML then predicts NaN) takes that arm's mean from the node above.

    See :class:`PeerForest` for the rest of the parameters.

    Parameters
    ----------
    criterion : {"causal_mse", "standard_mse", "t_test"}
        What a split should raise: the spread of the effects less their estimated variance, the fit of the
        outcome under the arm received, or the t statistic of the difference in effects (CausalML calls the last
        experimental).
    groups_penalty : float
        Added to the impurity of a side, >= 0, for every row by which its arms differ from control in number. CausalML's
        default is 0.5, which is many times the squared uplift of a rate: with it "causal_mse" splits by nothing but
        the numbers of rows, the more so the more rows there are. 0 lets the effects decide.

    References
    ----------
    Athey, Imbens, Recursive partitioning for heterogeneous causal effects, PNAS 2016. Wager, Athey, Estimation and
    inference of heterogeneous treatment effects using random forests, JASA 2018.
    """

    name: ClassVar[str] = "causalml_causal_forest"
    rules: ClassVar[Mapping[str, Rule]] = {
        **PeerForest.rules,
        "criterion": Choice("causal_mse", "standard_mse", "t_test"),
        "groups_penalty": Number(0),
    }

    criterion: str = "causal_mse"
    groups_penalty: float = 0.0

    def _learn_stage(self, tree: Any, training: Training, stage: int) -> Parts:
        peer = self._causal_forest(tree, criterion=self.criterion, groups_penalty=self.groups_penalty)
        return {"forest": grow(peer, training, stage)}

    def _read(self, parts: Parts, matrix: np.ndarray, binary: bool) -> StageEffects:
        return _read_causal(parts["forest"], matrix)


def _read_causal(forest: FlatForest, matrix: np.ndarray) -> StageEffects:
    """Means of k arms, then k - 1 effects."""
    found = forest.predict(matrix)
    n_arms = (found.shape[1] + 1) // 2
    return StageEffects(found[:, :n_arms], np.column_stack((np.zeros(len(matrix)), found[:, n_arms:])))
