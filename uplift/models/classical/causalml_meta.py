"""CausalML's S-, T- and X-learner, with LightGBM inside, and what its other meta-learners share with them.

CausalML trains; predictions come from the boosters by the formulas of ``causalml.inference.meta``, and equal the
peer's own. A saved model needs no CausalML.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any, ClassVar

import numpy as np

from uplift.models.classical.adapter import CONTROL, ClassicalModel, Parts, StageEffects, Training
from uplift.models.classical.boosting import (
    BINARY,
    REGRESSION,
    BoostedParameters,
    Learner,
    Settings,
    predict,
)
from uplift.models.classical.peers import import_peer


class PeerLearner(Learner):
    """A learner that scikit-learn's cross-validation, which CausalML calls, can copy unfitted."""

    def __sklearn_clone__(self) -> PeerLearner:
        return type(self)(self.settings, self.objective)

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import Tags, TargetTags

        return Tags(estimator_type=None, target_tags=TargetTags(required=True))


class ColumnWeighted(PeerLearner):
    """A learner that takes the last column of the matrix for row weights.

    CausalML picks the rows of every learner out of one matrix and hands over little else, so that a column is the
    one way for a weight to stay with its row. Weights that it does hand over (those of the R-loss) multiply.
    """

    def fit(
        self, matrix: np.ndarray, outcome: np.ndarray, sample_weight: np.ndarray | None = None
    ) -> Learner:
        """Learn `outcome` [row] from `matrix` [row, column + 1]."""
        weights = matrix[:, -1] if sample_weight is None else matrix[:, -1] * sample_weight
        return super().fit(np.ascontiguousarray(matrix[:, :-1]), outcome, np.array(weights))

    def predict(self, matrix: np.ndarray) -> np.ndarray:
        """Mean outcome of the rows of `matrix` [row, column + 1], whatever their weight; float64 [row]."""
        return super().predict(np.ascontiguousarray(matrix[:, :-1]))


@dataclass(frozen=True, eq=False)
class PeerInput:
    """What CausalML is given: arms by number, control 0, and weights as the last column where there are any.

    Attributes
    ----------
    matrix : ndarray of float32 [row, column], or [row, column + 1] with weights
    treatment : ndarray of int64 [row]
    propensity : dict of int to ndarray of float64 [row]
        Of every treated arm, the rate at which it was given rather than control: its weighted share. With the
        campaign's row weights the rows are as if randomised at these rates, whatever the customer.
    weighted : bool
    """

    matrix: np.ndarray
    treatment: np.ndarray
    propensity: dict[int, np.ndarray]
    weighted: bool

    @classmethod
    def of(cls, training: Training) -> PeerInput:
        """The training rows."""
        matrix, weighted = training.matrix, training.weights is not None
        if training.weights is not None:
            matrix = np.column_stack((matrix, training.weights.astype(np.float32)))
        propensity = {
            arm: np.full(len(training.arms), training.treated_share(arm)) for arm in range(1, training.n_arms)
        }
        return cls(matrix, training.arms.astype(np.int64), propensity, weighted)

    def learner(self, settings: Settings, objective: str) -> PeerLearner:
        """An unfitted learner for this matrix."""
        return (ColumnWeighted if self.weighted else PeerLearner)(settings, objective)


class MetaLearner(BoostedParameters, ClassicalModel):
    """Lifts a meta-learner of CausalML to all stages; it handles all arms itself."""

    @classmethod
    def check_available(cls) -> None:
        """Import LightGBM and CausalML; see :meth:`uplift.models.base.UpliftModel.check_available`."""
        super().check_available()
        import_peer("causalml.inference.meta", model=cls.name)

    @abstractmethod
    def _learn_stage(
        self, meta: ModuleType, given: PeerInput, outcome: np.ndarray, training: Training, stage: int
    ) -> Parts:
        """Let the peer learn one stage; `outcome` is float64 [row]."""

    def _learn(self, training: Training) -> list[Parts]:
        meta = import_peer("causalml.inference.meta", model=self.name)
        given = PeerInput.of(training)
        return [
            self._learn_stage(meta, given, training.outcomes[:, s].astype(np.float64), training, s)
            for s in range(len(training.binary))
        ]

    def _predict_part(self, part: Any, matrix: np.ndarray) -> np.ndarray:
        return predict(part, matrix, self.n_jobs)

    def _libraries(self) -> tuple[str, ...]:
        return ("numpy", "lightgbm", "causalml")


class SLearner(MetaLearner):
    """``causalml.inference.meta.BaseSClassifier`` (``BaseSRegressor`` for the value): the treatment as a feature.

    One model per arm and stage, of the rows of the arm and of control. ``tau`` is CausalML's prediction, exactly;
    ``mu`` of an arm is what its model predicts with the treatment switched on. Control is learned once per arm,
    and ``mu`` of control is the mean over arms. :class:`~uplift.models.classical.lightgbm_models.LightGBMS` learns
    all arms in one model instead.

    CausalML's S-learner takes no row weights and no propensities; the learners inside it are given the weights of
    :class:`~uplift.models.classical.lightgbm_models.LightGBMT` all the same (:class:`ColumnWeighted`).
    `validation` is not used. See :class:`~uplift.models.classical.boosting.BoostedParameters` for the parameters.

    References
    ----------
    Kunzel, Sekhon, Bickel, Yu, Metalearners for estimating heterogeneous treatment effects, PNAS 2019.
    """

    name: ClassVar[str] = "causalml_s"

    def _learn_stage(
        self, meta: ModuleType, given: PeerInput, outcome: np.ndarray, training: Training, stage: int
    ) -> Parts:
        found = self.settings(self.schema_)
        # CausalML puts the treatment before all features.
        settings = replace(found, categorical=tuple(1 + position for position in found.categorical))
        binary = training.binary[stage]
        learner = given.learner(settings, BINARY if binary else REGRESSION)
        peer = (meta.BaseSClassifier if binary else meta.BaseSRegressor)(learner, control_name=CONTROL)
        peer.fit(X=given.matrix, treatment=given.treatment, y=outcome)
        return {f"arm{arm}": model.fitted for arm, model in peer.models.items()}

    def _read(self, parts: Parts, matrix: np.ndarray, binary: bool) -> StageEffects:
        mu, controls = np.zeros((2, len(matrix), len(self.arms_)))
        wide = np.hstack((np.zeros((len(matrix), 1), matrix.dtype), matrix))
        for arm in range(1, len(self.arms_)):
            wide[:, 0] = 0.0
            controls[:, arm] = self._predict_part(parts[f"arm{arm}"], wide)
            wide[:, 0] = 1.0
            mu[:, arm] = self._predict_part(parts[f"arm{arm}"], wide)
        tau = mu - controls
        mu[:, CONTROL] = controls[:, 1:].mean(axis=1)
        return StageEffects(mu, tau)


class TLearner(MetaLearner):
    """``causalml.inference.meta.BaseTClassifier`` (``BaseTRegressor`` for the value): a model of every arm.

    ``tau`` is CausalML's prediction, exactly; ``mu`` is what its models predict. They are the models of
    :class:`~uplift.models.classical.lightgbm_models.LightGBMT`. CausalML's T-learner takes no row weights; the
    learners inside it are given those of that class all the same (:class:`ColumnWeighted`). `validation` is not
    used. See :class:`~uplift.models.classical.boosting.BoostedParameters` for the parameters.

    References
    ----------
    Kunzel, Sekhon, Bickel, Yu, Metalearners for estimating heterogeneous treatment effects, PNAS 2019.
    """

    name: ClassVar[str] = "causalml_t"

    def _learn_stage(
        self, meta: ModuleType, given: PeerInput, outcome: np.ndarray, training: Training, stage: int
    ) -> Parts:
        binary = training.binary[stage]
        learner = given.learner(self.settings(self.schema_), BINARY if binary else REGRESSION)
        peer = (meta.BaseTClassifier if binary else meta.BaseTRegressor)(learner, control_name=CONTROL)
        peer.fit(X=given.matrix, treatment=given.treatment, y=outcome)
        treated = {f"arm{arm}": model.fitted for arm, model in peer.models_t.items()}
        return {"control": peer.model_c.fitted, **treated}

    def _read(self, parts: Parts, matrix: np.ndarray, binary: bool) -> StageEffects:
        names = ["control", *(f"arm{arm}" for arm in range(1, len(self.arms_)))]
        mu = np.column_stack([self._predict_part(parts[name], matrix) for name in names])
        return StageEffects(mu, mu - mu[:, :1])


class XLearner(MetaLearner):
    """``causalml.inference.meta.BaseXClassifier`` (``BaseXRegressor`` for the value): imputed effects, blended.

    Per arm, one model of the effects imputed on control rows and one of those imputed on treated rows;
    ``tau = p tau_control + (1 - p) tau_treated`` with p the (weighted) share of the arm among the rows of the arm
    and of control. In an experiment any p in (0, 1) is consistent; CausalML's own default, a logistic regression
    of the arm on the features, would only add noise and is not used.

    ``tau`` is CausalML's prediction, exactly; ``mu`` of control is its control outcome model and ``mu`` of an arm
    is ``mu[control] + tau`` (see :mod:`~uplift.models.classical.adapter`). CausalML's X-learner takes no row
    weights; the learners inside it are given those of
    :class:`~uplift.models.classical.lightgbm_models.LightGBMT` all the same (:class:`ColumnWeighted`). Where the
    randomisation was unequal, the weighted rows are as if randomised at the rate p, so that one p serves all
    rows, seen or new. `validation` is not used. See
    :class:`~uplift.models.classical.boosting.BoostedParameters` for the parameters.

    References
    ----------
    Kunzel, Sekhon, Bickel, Yu, Metalearners for estimating heterogeneous treatment effects, PNAS 2019.
    """

    name: ClassVar[str] = "causalml_x"

    def _learn_stage(
        self, meta: ModuleType, given: PeerInput, outcome: np.ndarray, training: Training, stage: int
    ) -> Parts:
        settings = self.settings(self.schema_)
        effect = given.learner(settings, REGRESSION)
        if training.binary[stage]:
            peer = meta.BaseXClassifier(
                outcome_learner=given.learner(settings, BINARY), effect_learner=effect, control_name=CONTROL
            )
        else:
            peer = meta.BaseXRegressor(learner=effect, control_name=CONTROL)
        # CausalML wants a propensity per row at fit too, though only predict uses it.
        peer.fit(X=given.matrix, treatment=given.treatment, y=outcome, p=given.propensity)
        parts: Parts = {"control": peer.model_mu_c.fitted}
        for arm, propensity in given.propensity.items():
            parts[f"arm{arm}_tau_control"] = peer.models_tau_c[arm].fitted
            parts[f"arm{arm}_tau_treated"] = peer.models_tau_t[arm].fitted
            parts[f"arm{arm}_share"] = float(propensity[0])
        return parts

    def _read(self, parts: Parts, matrix: np.ndarray, binary: bool) -> StageEffects:
        control = self._predict_part(parts["control"], matrix)
        tau = np.zeros((len(matrix), len(self.arms_)))
        for arm in range(1, len(self.arms_)):
            share = parts[f"arm{arm}_share"]
            of_control = self._predict_part(parts[f"arm{arm}_tau_control"], matrix)
            of_treated = self._predict_part(parts[f"arm{arm}_tau_treated"], matrix)
            tau[:, arm] = share * of_control + (1 - share) * of_treated
        return StageEffects(control[:, None] + tau, tau)
