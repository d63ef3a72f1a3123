"""CausalML's X-learner, with LightGBM inside.

CausalML trains; predictions come from the boosters by the formula of ``causalml.inference.meta.xlearner``, and
equal the peer's own. A saved model needs no CausalML.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from uplift.models.classical.adapter import CONTROL, ClassicalModel, Parts, StageEffects, Training
from uplift.models.classical.boosting import BINARY, REGRESSION, BoostedParameters, Learner, predict
from uplift.models.classical.peers import import_peer


class ColumnWeighted(Learner):
    """A learner that takes the last column of the matrix for row weights.

    CausalML picks the rows of every learner out of one matrix and hands over nothing else, so that a column is the
    one way for a weight to stay with its row.
    """

    def fit(
        self, matrix: np.ndarray, outcome: np.ndarray, sample_weight: np.ndarray | None = None
    ) -> Learner:
        """Learn `outcome` [row] from `matrix` [row, column + 1]."""
        return super().fit(np.ascontiguousarray(matrix[:, :-1]), outcome, matrix[:, -1].copy())

    def predict(self, matrix: np.ndarray) -> np.ndarray:
        """Mean outcome of the rows of `matrix` [row, column + 1], whatever their weight; float64 [row]."""
        return super().predict(np.ascontiguousarray(matrix[:, :-1]))


class XLearner(BoostedParameters, ClassicalModel):
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

    @classmethod
    def check_available(cls) -> None:
        super().check_available()
        import_peer("causalml.inference.meta", model=cls.name)

    def _learn(self, training: Training) -> list[Parts]:
        meta = import_peer("causalml.inference.meta", model=self.name)
        arms = range(1, training.n_arms)
        shares = {arm: training.treated_share(arm) for arm in arms}
        # CausalML wants a propensity per row at fit too, though only predict uses it.
        propensity = {arm: np.full(len(training.arms), share) for arm, share in shares.items()}
        settings = self.settings(self.schema_)
        matrix, learner = training.matrix, Learner
        if training.weights is not None:
            matrix, learner = np.column_stack((matrix, training.weights.astype(np.float32))), ColumnWeighted
        effect = learner(settings, REGRESSION)
        treatment = training.arms.astype(np.int64)
        stages = []
        for s, binary in enumerate(training.binary):
            if binary:
                peer = meta.BaseXClassifier(
                    outcome_learner=learner(settings, BINARY), effect_learner=effect, control_name=CONTROL
                )
            else:
                peer = meta.BaseXRegressor(learner=effect, control_name=CONTROL)
            outcome = training.outcomes[:, s].astype(np.float64)
            peer.fit(X=matrix, treatment=treatment, y=outcome, p=propensity)
            parts: Parts = {"control": peer.model_mu_c.fitted}
            for arm in arms:
                parts[f"arm{arm}_tau_control"] = peer.models_tau_c[arm].fitted
                parts[f"arm{arm}_tau_treated"] = peer.models_tau_t[arm].fitted
                parts[f"arm{arm}_share"] = shares[arm]
            stages.append(parts)
        return stages

    def _read(self, parts: Parts, matrix: np.ndarray, binary: bool) -> StageEffects:
        control = predict(parts["control"], matrix, self.n_jobs)
        tau = np.zeros((len(matrix), len(self.arms_)))
        for arm in range(1, len(self.arms_)):
            share = parts[f"arm{arm}_share"]
            of_control = predict(parts[f"arm{arm}_tau_control"], matrix, self.n_jobs)
            of_treated = predict(parts[f"arm{arm}_tau_treated"], matrix, self.n_jobs)
            tau[:, arm] = share * of_control + (1 - share) * of_treated
        return StageEffects(control[:, None] + tau, tau)
