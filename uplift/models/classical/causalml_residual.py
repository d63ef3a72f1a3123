"""CausalML's R- and DR-learner, with LightGBM inside: effects learned from outcomes less what was expected.

CausalML trains; predictions come from the boosters by the formulas of ``causalml.inference.meta``, and equal the
peer's own. A saved model needs no CausalML.

Both want propensities. They are given the (weighted) shares of the arms as `p`: in an experiment these are the
propensities, and under the campaign's row weights an unequally randomised one is as if randomised at these rates.
CausalML's own default, an elastic net of the arm on the features, would only add noise and is not used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import ClassVar

import numpy as np

from uplift.errors import ModelError
from uplift.models.classical.adapter import CONTROL, Parts, StageEffects, Training
from uplift.models.classical.boosting import BINARY, REGRESSION, BoostedParameters
from uplift.models.classical.causalml_meta import MetaLearner, PeerInput
from uplift.models.parameters import Rule, Whole

DR_FOLDS = 3
"""CausalML's DR-learner always splits into three: propensity, outcomes, effects."""


@dataclass(kw_only=True, eq=False, repr=False)
class RLearner(MetaLearner):
    """``causalml.inference.meta.BaseRRegressor``: effects that explain what the outcome model could not.

    With m(x) the cross-fitted mean outcome over all arms and p the share of an arm among its rows and those of
    control, the effect of the arm minimises the mean of ``((y - m(x)) - (w - p) tau(x))^2`` over these rows, which
    is a weighted regression. For binary stages m is learned by log loss. CausalML's ``BaseRClassifier`` would do
    the same with folds that are not stratified by arm and in as many processes as the machine has cores, each with
    a copy of the data; its regressor is used for all stages.

    ``tau`` is CausalML's prediction, exactly. ``mu`` of control is a LightGBM model of the control rows and ``mu``
    of an arm is ``mu[control] + tau`` (see :mod:`~uplift.models.classical.adapter`). Row weights are those of
    :class:`~uplift.models.classical.lightgbm_models.LightGBMT`, in the outcome model too
    (:class:`~uplift.models.classical.causalml_meta.ColumnWeighted`), and the propensities are arm shares, see
    :mod:`~uplift.models.classical.causalml_residual`. `validation` is not used. See
    :class:`~uplift.models.classical.boosting.BoostedParameters` for the rest of the parameters.

    Parameters
    ----------
    n_folds : int
        Folds of the outcome model, >= 2, drawn with `random_state`.

    References
    ----------
    Nie, Wager, Quasi-oracle estimation of heterogeneous treatment effects, Biometrika 2021.
    """

    name: ClassVar[str] = "causalml_r"
    rules: ClassVar[Mapping[str, Rule]] = {**BoostedParameters.rules, "n_folds": Whole(2)}

    n_folds: int = 5

    def _learn_stage(
        self, meta: ModuleType, given: PeerInput, outcome: np.ndarray, training: Training, stage: int
    ) -> Parts:
        _need_rows(training, self.n_folds, self.name)
        settings = self.settings(self.schema_)
        peer = meta.BaseRRegressor(
            outcome_learner=given.learner(settings, BINARY if training.binary[stage] else REGRESSION),
            effect_learner=given.learner(settings, REGRESSION),
            control_name=CONTROL,
            n_fold=self.n_folds,
            random_state=self.random_state,
        )
        # Not among the constructor's keywords; its default copies the data to as many processes as there are cores.
        peer.cv_n_jobs = 1
        peer.fit(X=given.matrix, treatment=given.treatment, y=outcome, p=given.propensity, verbose=False)
        control = training.of_arm(CONTROL).learn_outcome(settings, stage)
        return {
            "control": control,
            **{f"arm{arm}_tau": peer.models_tau[arm].fitted for arm in given.propensity},
        }

    def _read(self, parts: Parts, matrix: np.ndarray, binary: bool) -> StageEffects:
        control = self._predict_part(parts["control"], matrix)
        tau = np.zeros((len(matrix), len(self.arms_)))
        for arm in range(1, len(self.arms_)):
            tau[:, arm] = self._predict_part(parts[f"arm{arm}_tau"], matrix)
        return StageEffects(control[:, None] + tau, tau)


class DRLearner(MetaLearner):
    """``causalml.inference.meta.BaseDRRegressor``: a regression of the doubly robust pseudo-outcome.

    In each of three rotations, outcome models of every arm are learned on one third of the rows and the effects on
    another, from ``mu_1 - mu_0 + (w - p) / (p (1 - p)) (y - mu_w)`` with p the share of the arm among its rows and
    those of control; ``tau`` is the mean of the three. For binary stages the outcome models are learned by log loss
    and predict probabilities. CausalML's ``BaseDRClassifier`` would put the predicted *class*, 0 or 1, into the
    pseudo-outcome instead; its regressor is used for all stages.

    ``tau`` is CausalML's prediction, exactly; ``mu`` of control is the mean of its three control models and ``mu``
    of an arm is ``mu[control] + tau`` (see :mod:`~uplift.models.classical.adapter`). Row weights are those of
    :class:`~uplift.models.classical.lightgbm_models.LightGBMT`, in every model
    (:class:`~uplift.models.classical.causalml_meta.ColumnWeighted`), and the propensities are arm shares, see
    :mod:`~uplift.models.classical.causalml_residual`. The thirds are drawn with `random_state`. `validation` is not
    used. See :class:`~uplift.models.classical.boosting.BoostedParameters` for the parameters.

    References
    ----------
    Kennedy, Towards optimal doubly robust estimation of heterogeneous causal effects, EJS 2023.
    """

    name: ClassVar[str] = "causalml_dr"

    def _learn_stage(
        self, meta: ModuleType, given: PeerInput, outcome: np.ndarray, training: Training, stage: int
    ) -> Parts:
        _need_rows(training, 10 * DR_FOLDS, self.name)
        settings = self.settings(self.schema_)
        objective = BINARY if training.binary[stage] else REGRESSION
        peer = meta.BaseDRRegressor(
            control_outcome_learner=given.learner(settings, objective),
            treatment_outcome_learner=given.learner(settings, objective),
            treatment_effect_learner=given.learner(settings, REGRESSION),
            control_name=CONTROL,
        )
        peer.fit(
            X=given.matrix, treatment=given.treatment, y=outcome, p=given.propensity, seed=self.random_state
        )
        parts: Parts = {f"control{fold}": model.fitted for fold, model in enumerate(peer.models_mu_c)}
        for arm in given.propensity:
            parts |= {f"arm{arm}_tau{fold}": model.fitted for fold, model in enumerate(peer.models_tau[arm])}
        return parts

    def _read(self, parts: Parts, matrix: np.ndarray, binary: bool) -> StageEffects:
        def mean(name: str) -> np.ndarray:
            found = [self._predict_part(parts[f"{name}{fold}"], matrix) for fold in range(DR_FOLDS)]
            return np.asarray(np.mean(found, axis=0))

        tau = np.zeros((len(matrix), len(self.arms_)))
        for arm in range(1, len(self.arms_)):
            tau[:, arm] = mean(f"arm{arm}_tau")
        return StageEffects(mean("control")[:, None] + tau, tau)


def _need_rows(training: Training, least: int, model: str) -> None:
    """Refuse an arm that a fold may be without; in the peer it would end in an empty data set."""
    smallest = int(np.bincount(training.arms, minlength=training.n_arms).min())
    if smallest < least:
        raise ModelError(
            f"model {model!r} splits the rows into folds and needs {least} of every arm, but one has {smallest}; use more rows, or a model without cross-fitting."
        )
