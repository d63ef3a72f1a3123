"""T-learner and S-learner on LightGBM: the quick baselines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from uplift.campaign import Campaign
from uplift.models.classical.adapter import (
    ClassicalModel,
    Pair,
    PairEffects,
    PairwiseModel,
    Parts,
    StageEffects,
    Training,
)
from uplift.models.classical.arm_columns import ArmColumns
from uplift.models.classical.backends import BackendParameters
from uplift.models.classical.boosting import REGRESSION, TWEEDIE, predict
from uplift.models.parameters import Choice, Rule

if TYPE_CHECKING:
    from lightgbm import Booster


_RULES: dict[str, Rule] = {**BackendParameters.rules, "value_objective": Choice(REGRESSION, TWEEDIE)}


@dataclass(kw_only=True, eq=False, repr=False)
class LightGBMT(BackendParameters, PairwiseModel):
    """T-learner: one LightGBM model per arm and stage; the uplift is the difference of their predictions.

    Category codes are split as categories and missing values are handled by LightGBM itself. Sampling weights,
    propensities and strata become row weights (:func:`uplift.models.row_weights.row_weights`).
    `validation` is not used. See :class:`~uplift.models.classical.backends.BackendParameters` for the rest of
    the parameters, `backend` and `device`.

    Parameters
    ----------
    value_objective : {"regression", "tweedie"}
        Loss of the value stage: squared error (the mean, any sign), or Tweedie (no negative values; a log link
        for spend that is mostly zero).

    References
    ----------
    Kunzel, Sekhon, Bickel, Yu, Metalearners for estimating heterogeneous treatment effects, PNAS 2019.
    """

    name: ClassVar[str] = "lightgbm_t"
    rules: ClassVar[Mapping[str, Rule]] = _RULES

    value_objective: str = REGRESSION

    def _value_objective(self) -> str:
        return self.value_objective

    def _learn_outcome(self, pair: Pair, stage: int, control: Booster | None) -> Parts:
        settings = self.settings(self.schema_)
        return {"treated": pair.treated_data.learn_outcome(settings, stage, value=self._value_objective())}

    def _read_outcome(
        self, parts: Parts, matrix: np.ndarray, control: np.ndarray | None, binary: bool
    ) -> PairEffects:
        return PairEffects(treated=predict(parts["treated"], matrix, self.n_jobs))


@dataclass(kw_only=True, eq=False, repr=False)
class LightGBMS(BackendParameters, ClassicalModel):
    """S-learner: one LightGBM model per stage that sees the arm as a feature.

    The arm is a category; where every treated arm has an amount (and there are two arms or more), the amount is
    a second, numeric feature with 0 for control, so that neighbouring face values learn from each other. Row
    weights as in :class:`LightGBMT`. `validation` is not used. A model that never splits on the arm says that
    there is no uplift: S-learners shrink towards zero.

    Parameters
    ----------
    value_objective : {"regression", "tweedie"}
        Loss of the value stage, see :class:`LightGBMT`.

    References
    ----------
    Kunzel, Sekhon, Bickel, Yu, Metalearners for estimating heterogeneous treatment effects, PNAS 2019.
    """

    name: ClassVar[str] = "lightgbm_s"
    rules: ClassVar[Mapping[str, Rule]] = _RULES

    value_objective: str = REGRESSION

    def _fit(self, campaign: Campaign, validation: Campaign | None) -> None:
        self.arm_columns_ = ArmColumns.of(campaign.arms)
        super()._fit(campaign, validation)

    def _learn(self, training: Training) -> list[Parts]:
        rows = training.with_matrix(self.arm_columns_.append(training.matrix, training.arms))
        settings = self.settings(self.schema_, extra_categorical=(training.matrix.shape[1],))
        return [
            {"outcome": rows.learn_outcome(settings, s, value=self.value_objective)}
            for s in range(len(training.binary))
        ]

    def _read(self, parts: Parts, matrix: np.ndarray, binary: bool) -> StageEffects:
        wide = self.arm_columns_.append(matrix, 0)
        mu = np.empty((matrix.shape[0], len(self.arms_)))
        for arm in range(len(self.arms_)):
            self.arm_columns_.put(wide, arm)
            mu[:, arm] = predict(parts["outcome"], wide, self.n_jobs)
        return StageEffects(mu)

    def _save(self, folder: Path) -> dict[str, Any]:
        return {**super()._save(folder), "amounts": self.arm_columns_.amounts}

    def _load(self, folder: Path, state: dict[str, Any]) -> None:
        super()._load(folder, state)
        self.arm_columns_ = ArmColumns(None if state["amounts"] is None else tuple(state["amounts"]))
