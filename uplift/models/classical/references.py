"""References: what a model must beat. They rank, and say nothing about effects in outcome units."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from uplift.campaign import Campaign
from uplift.effects import Effects
from uplift.hashing import unit_uniform
from uplift.models.classical.adapter import ClassicalModel, Parts, StageEffects, Training
from uplift.models.classical.boosting import BoostedParameters, predict
from uplift.models.parameters import SEED, Rule


class Response(BoostedParameters, ClassicalModel):
    """Response model: LightGBM on the outcome of all rows, whatever their arm.

    What many teams use today: send to those who are likely to buy. ``mu`` is the same for all arms and the score
    ``tau`` is ``mu`` itself, so effects are marked as not calibrated. Row weights as in
    :class:`~uplift.models.classical.lightgbm_models.LightGBMT`; `validation` is not used. See
    :class:`~uplift.models.classical.boosting.BoostedParameters` for the parameters.
    """

    name: ClassVar[str] = "response"
    calibrated: ClassVar[bool] = False

    def _learn(self, training: Training) -> list[Parts]:
        settings = self.settings(self.schema_)
        return [{"outcome": training.learn_outcome(settings, s)} for s in range(len(training.binary))]

    def _read(self, parts: Parts, matrix: np.ndarray, binary: bool) -> StageEffects:
        mean = predict(parts["outcome"], matrix, self.n_jobs)
        return StageEffects(mean[:, None].repeat(len(self.arms_), axis=1))

    def _predict(self, campaign: Campaign) -> Effects:
        mu = super()._predict(campaign).mu_all
        score = mu.copy()
        score[:, 0] = 0.0
        return Effects.for_campaign(mu, campaign, model=self.name, tau=score, calibrated=self.calibrated)


class Random(ClassicalModel):
    """Random scores: uniform in [0, 1) by hash of the unit id, the stage and the arm.

    The same customer has the same score whatever the row order, file format or machine. ``mu`` is the (weighted)
    mean outcome of each arm. Effects are marked as not calibrated. `validation` is not used.

    Parameters
    ----------
    random_state : int
        Salt of the hash, 0 to 2^31 - 1.
    """

    name: ClassVar[str] = "random"
    calibrated: ClassVar[bool] = False
    rules: ClassVar[Mapping[str, Rule]] = {"random_state": SEED}

    def __init__(self, *, random_state: int = 0) -> None:
        self.random_state = random_state

    def _matrix(self, campaign: Campaign) -> np.ndarray:
        return np.empty((campaign.n_rows, 0), np.float32)

    def _learn(self, training: Training) -> list[Parts]:
        mass = np.bincount(training.arms, training.weights, training.n_arms)
        stages = []
        for s in range(len(training.binary)):
            outcome = training.outcomes[:, s].astype(np.float64)
            outcome = outcome if training.weights is None else outcome * training.weights
            means = np.bincount(training.arms, outcome, training.n_arms) / mass
            stages.append({"means": means.tolist()})
        return stages

    def _read(self, parts: Parts, matrix: np.ndarray, binary: bool) -> StageEffects:
        return StageEffects(np.tile(parts["means"], (matrix.shape[0], 1)))

    def _predict(self, campaign: Campaign) -> Effects:
        means = super()._predict(campaign)
        tau = np.zeros_like(means.mu_all)
        for s, stage in enumerate(self.stages_):
            for a, arm in enumerate(self.arms_[1:], start=1):
                tau[:, a, s] = unit_uniform(campaign.unit_ids, f"random:{self.random_state}:{stage}:{arm}")
        return Effects.for_campaign(
            means.mu_all, campaign, model=self.name, tau=tau, calibrated=self.calibrated
        )

    def _libraries(self) -> tuple[str, ...]:
        return ("numpy",)
