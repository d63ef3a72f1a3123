"""scikit-uplift's solo model, two models and class transformations, with LightGBM inside.

scikit-uplift trains; predictions come from the boosters by the formulas of ``sklift.models``, and equal the
peer's own. A saved model needs no scikit-uplift. ``sklift.viz`` is never imported (it breaks on scikit-learn 1.5).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from uplift.models.classical.adapter import Pair, PairEffects, PairwiseModel, Parts
from uplift.models.classical.boosting import BINARY, REGRESSION, Learner, predict
from uplift.models.classical.peers import import_peer
from uplift.models.parameters import Choice, Rule

if TYPE_CHECKING:
    from lightgbm import Booster


DUMMY, INTERACTION = "dummy", "treatment_interaction"


@dataclass(kw_only=True, eq=False, repr=False)
class SoloModel(PairwiseModel):
    """``sklift.models.SoloModel``: one model of the rows of an arm and of control, with the treatment as a feature.

    An S-learner per arm and stage. ``tau`` is sklift's prediction, exactly, and ``mu`` of an arm is what its
    estimator predicts with the treatment switched on. Control is learned once per arm, and ``mu`` of control is the
    mean over arms. :class:`~uplift.models.classical.lightgbm_models.LightGBMS` learns all arms in one model instead.
    Row weights as in :class:`~uplift.models.classical.lightgbm_models.LightGBMT`. `validation` is not used. See
    :class:`~uplift.models.classical.boosting.BoostedParameters` for the rest of the parameters.

    Parameters
    ----------
    method : {"dummy", "treatment_interaction"}
        Features and treatment; or also every feature times the treatment, so that one split finds an effect of one
        feature. Category codes times the treatment are split as categories, as the codes themselves are.

    References
    ----------
    Lo, The true lift model, SIGKDD Explorations 2002 (with interactions).
    """

    name: ClassVar[str] = "sklift_solo"
    rules: ClassVar[Mapping[str, Rule]] = {**PairwiseModel.rules, "method": Choice(DUMMY, INTERACTION)}

    method: str = DUMMY

    @classmethod
    def check_available(cls) -> None:
        super().check_available()
        import_peer("sklift.models", model=cls.name)

    @property
    def shares_control(self) -> bool:
        """The control rows are learned together with each arm."""
        return False

    def _learn_outcome(self, pair: Pair, stage: int, control: Booster | None) -> Parts:
        models = import_peer("sklift.models", model=self.name)
        data, columns, interactions = pair.data, pair.data.matrix.shape[1], ()
        if self.method == INTERACTION:
            interactions = tuple(columns + position for position in self.schema_.categorical_positions)
        settings = self.settings(self.schema_, extra_categorical=interactions)
        learner = Learner(settings, BINARY if data.binary[stage] else REGRESSION)
        weights = None if data.weights is None else {"sample_weight": data.weights}
        peer = models.SoloModel(learner, method=self.method)
        peer.fit(data.matrix, data.outcomes[:, stage], pair.treated, estimator_fit_params=weights)
        return {"solo": learner.fitted}

    def _read_outcome(
        self, parts: Parts, matrix: np.ndarray, control: np.ndarray | None, binary: bool
    ) -> PairEffects:
        treated, untreated = (
            predict(parts["solo"], self._with_treatment(matrix, on), self.n_jobs) for on in (1, 0)
        )
        return PairEffects(treated - untreated, treated, untreated)

    def _with_treatment(self, matrix: np.ndarray, on: int) -> np.ndarray:
        treatment = np.full((len(matrix), 1), on, matrix.dtype)
        return np.hstack(
            (matrix, matrix * treatment, treatment) if self.method == INTERACTION else (matrix, treatment)
        )


@dataclass(kw_only=True, eq=False, repr=False)
class TwoModels(PairwiseModel):
    """``sklift.models.TwoModels``: a model of the treated and a model of the control rows, per arm and stage.

    ``tau`` is sklift's prediction, exactly; ``mu`` is what its two estimators predict. Row weights as in
    :class:`~uplift.models.classical.lightgbm_models.LightGBMT`. `validation` is not used. See
    :class:`~uplift.models.classical.boosting.BoostedParameters` for the rest of the parameters.

    Parameters
    ----------
    method : {"vanilla", "ddr_control", "ddr_treatment"}
        Independent models; or dependent data representation: the control (treatment) model is trained first and
        its prediction is a feature of the other. With "ddr_treatment" control is learned once per arm, and
        ``mu`` of control is the mean over arms.

    References
    ----------
    Betlei, Diemert, Amini, Uplift Prediction with Dependent Feature Representation in Imbalanced Treatment and
    Control Conditions, ICONIP 2018.
    """

    name: ClassVar[str] = "sklift_two_models"
    rules: ClassVar[Mapping[str, Rule]] = {
        **PairwiseModel.rules,
        "method": Choice("vanilla", "ddr_control", "ddr_treatment"),
    }

    method: str = "vanilla"

    @classmethod
    def check_available(cls) -> None:
        super().check_available()
        import_peer("sklift.models", model=cls.name)

    @property
    def shares_control(self) -> bool:
        """Control rows are the same for every arm, so their model is, unless it needs the treatment model."""
        return self.method != "ddr_treatment"

    def _learn_outcome(self, pair: Pair, stage: int, control: Booster | None) -> Parts:
        models = import_peer("sklift.models", model=self.name)
        settings, data = self.settings(self.schema_), pair.data
        objective = BINARY if data.binary[stage] else REGRESSION
        treated_learner, control_learner = Learner(settings, objective), Learner(settings, objective, control)
        peer = models.TwoModels(treated_learner, control_learner, method=self.method)
        weights = data.weights
        peer.fit(
            data.matrix,
            data.outcomes[:, stage],
            pair.treated,
            estimator_trmnt_fit_params=None if weights is None else {"sample_weight": weights[pair.treated == 1]},
            estimator_ctrl_fit_params=None if weights is None else {"sample_weight": weights[pair.treated == 0]},
        )  # fmt: skip
        parts: Parts = {"treated": treated_learner.fitted}
        if control is None:
            parts["control"] = control_learner.fitted
        return parts

    def _read_outcome(
        self, parts: Parts, matrix: np.ndarray, control: np.ndarray | None, binary: bool
    ) -> PairEffects:
        if control is None:
            treated = predict(parts["treated"], matrix, self.n_jobs)
            control = predict(parts["control"], np.column_stack((matrix, treated)), self.n_jobs)
            return PairEffects(treated - control, treated, control)
        if self.method == "ddr_control":
            matrix = np.column_stack((matrix, control))
        treated = predict(parts["treated"], matrix, self.n_jobs)
        return PairEffects(treated - control, treated)


CLASS, OUTCOME = "class", "outcome"


@dataclass(kw_only=True, eq=False, repr=False)
class ClassTransformation(PairwiseModel):
    """``sklift.models.ClassTransformation`` and ``ClassTransformationReg``: one model of a transformed outcome.

    Per arm and stage. With Z = Y W + (1 - Y)(1 - W) a classifier of "treated and bought, or neither" says
    ``tau = 2 P(Z = 1 | x) - 1``, which holds only where treatment and control are equally likely; rows are
    therefore weighted so that both have the same total weight. A regression on Y (W - p) / (p (1 - p)) says `tau`
    for outcomes of any kind, with p the (weighted) share of the arm among its rows and those of control.

    Both come on top of the campaign's row weights (see
    :class:`~uplift.models.classical.lightgbm_models.LightGBMT`): so weighted, the rows are as if randomised at the
    rate p whatever the customer, and one p is the propensity of all rows. sklift's own propensity model is not used.

    ``tau`` is sklift's prediction, exactly. ``mu`` of control is a LightGBM model of the control rows and ``mu``
    of an arm is ``mu[control] + tau`` (see :mod:`~uplift.models.classical.adapter`). The target is mostly the
    coin of the randomisation, so the uplift is much noisier than a T-learner's when outcomes are rare.
    `validation` is not used. See :class:`~uplift.models.classical.boosting.BoostedParameters` for the rest of the
    parameters.

    Parameters
    ----------
    transformation : {"class", "outcome"}
        Of binary stages: the class (``ClassTransformation``) or the outcome (``ClassTransformationReg``). That of
        the value stage is always the outcome.

    References
    ----------
    Jaskowski, Jaroszewicz, Uplift modeling for clinical trial data, ICML workshop 2012 (class). Athey, Imbens,
    Machine Learning Methods for Estimating Heterogeneous Causal Effects, arXiv 1504.01132v1 (outcome).
    """

    name: ClassVar[str] = "sklift_class_transformation"
    rules: ClassVar[Mapping[str, Rule]] = {**PairwiseModel.rules, "transformation": Choice(CLASS, OUTCOME)}

    transformation: str = CLASS

    @classmethod
    def check_available(cls) -> None:
        super().check_available()
        import_peer("sklift.models", model=cls.name)

    def _learn_outcome(self, pair: Pair, stage: int, control: Booster | None) -> Parts:
        models = import_peer("sklift.models", model=self.name)
        settings, data, share = self.settings(self.schema_), pair.data, pair.share
        weights = data.weights
        if self._transforms_class(data.binary[stage]):
            learner = Learner(settings, BINARY)
            peer = models.ClassTransformation(learner)
            balance = np.where(pair.treated == 1, 0.5 / share, 0.5 / (1.0 - share))
            weights = balance if weights is None else balance * weights
        else:
            learner = Learner(settings, REGRESSION)
            peer = models.ClassTransformationReg(learner, propensity_val=share)
        fit_params = None if weights is None else {"sample_weight": weights}
        peer.fit(data.matrix, data.outcomes[:, stage], pair.treated, estimator_fit_params=fit_params)
        return {"transformed": learner.fitted}

    def _read_outcome(
        self, parts: Parts, matrix: np.ndarray, control: np.ndarray | None, binary: bool
    ) -> PairEffects:
        prediction = predict(parts["transformed"], matrix, self.n_jobs)
        return PairEffects(2.0 * prediction - 1.0 if self._transforms_class(binary) else prediction)

    def _transforms_class(self, binary: bool) -> bool:
        return binary and self.transformation == CLASS
