"""The adapter: learners of one outcome (and one arm) become models of all arms and all stages.

A model here is made of *parts*: LightGBM boosters, flat forests and numbers, named per stage. Learning gives
parts, predicting reads parts, and saving writes parts; no peer object survives `fit`, so a saved model and the
one it was saved from are the same thing.

What happens to the numbers
---------------------------
Every stage is learned in the entire space (on all rows), apart from the others.

* ``mu`` of a binary stage is clipped to [0, 1] and capped by ``mu`` of the stage before, because nobody converts
  without a click. Values are left alone.
* ``tau`` of a model that learns ``mu`` for every arm (T, S) is the difference of these ``mu``.
* ``tau`` of a model that learns the uplift itself (class transformation, X, forest) or that is a peer's own
  answer (two models) stays exactly as the learner gave it: it is neither clipped nor made to shrink along the
  chain, so it may differ from the difference of the ``mu``. Where such a learner gives no ``mu``, it is
  ``mu[control] + tau`` with a LightGBM model of the control rows, clipped and capped as above.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from uplift.arms import VALUE_STAGE
from uplift.campaign import Campaign
from uplift.effects import Effects
from uplift.errors import ModelError
from uplift.io.fingerprint import file_sha256
from uplift.models.base import UpliftModel
from uplift.models.classical.boosting import (
    BINARY,
    REGRESSION,
    BoostedParameters,
    Settings,
    load_booster,
    predict,
)
from uplift.models.classical.flat_forest import FlatForest
from uplift.models.classical.xgboost_backend import XGBoostTrees
from uplift.models.row_weights import row_weights

if TYPE_CHECKING:
    from lightgbm import Booster, Dataset

Parts = dict[str, Any]
"""Boosters, flat forests, numbers and lists of numbers, by name."""

CONTROL = 0
"""Position of control on the arm axis."""


class StageEffects(NamedTuple):
    """Effects of all arms at one stage: `mu` [row, arm], and `tau` [row, arm] where it is not their difference."""

    mu: np.ndarray
    tau: np.ndarray | None = None


class PairEffects(NamedTuple):
    """Effects of one arm at one stage, each [row]; None where the learner says nothing of its own.

    A learner gives at least one of `tau` and `treated`; without `control`, that of the shared control model holds.
    """

    tau: np.ndarray | None = None
    treated: np.ndarray | None = None
    control: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Training:
    """The training rows as arrays, built once per fit.

    Attributes
    ----------
    matrix : ndarray of float32 [row, column]
    arms : ndarray of int16 [row]
        0 is control.
    outcomes : ndarray of float32 [row, stage]
    weights : ndarray of float64 [row] or None
    binary : tuple of bool [stage]
    n_arms : int
    """

    matrix: np.ndarray
    arms: np.ndarray
    outcomes: np.ndarray
    weights: np.ndarray | None
    binary: tuple[bool, ...]
    n_arms: int
    _binned: dict[str, Dataset] = field(default_factory=dict, repr=False)

    def take(self, rows: np.ndarray) -> Training:
        """Some of the rows (integers or a boolean mask)."""
        weights = None if self.weights is None else self.weights[rows]
        return Training(
            self.matrix[rows], self.arms[rows], self.outcomes[rows], weights, self.binary, self.n_arms
        )

    def of_arm(self, arm: int) -> Training:
        """The rows that received `arm`."""
        return self.take(self.arms == arm)

    def with_matrix(self, matrix: np.ndarray) -> Training:
        """The same rows with another matrix [row, column]."""
        return Training(matrix, self.arms, self.outcomes, self.weights, self.binary, self.n_arms)

    def learn_outcome(self, settings: Settings, stage: int, *, value: str = REGRESSION) -> Booster:
        """LightGBM model of one stage on all these rows; the rows are binned once for all stages.

        `value` is the objective of the value stage.
        """
        if "matrix" not in self._binned:
            self._binned["matrix"] = settings.dataset(self.matrix, self.weights)
        objective = BINARY if self.binary[stage] else value
        return settings.train(self._binned["matrix"], self.outcomes[:, stage], objective)

    def treated_share(self, arm: int) -> float:
        """Weighted share of `arm` among the rows of it and of control."""
        mass = np.bincount(self.arms, self.weights, self.n_arms)
        return float(mass[arm] / (mass[arm] + mass[CONTROL]))


@dataclass(frozen=True, eq=False)
class Pair:
    """Control against one arm: what a single-arm learner sees. Rows are copied only when looked at."""

    training: Training
    arm: int

    @cached_property
    def data(self) -> Training:
        """The rows of control and of the arm, in their order."""
        return self.training.take((self.training.arms == CONTROL) | (self.training.arms == self.arm))

    @cached_property
    def treated_data(self) -> Training:
        """The rows of the arm."""
        return self.training.of_arm(self.arm)

    @cached_property
    def treated(self) -> np.ndarray:
        """1 where the row of :attr:`data` received the arm, int64 [row]."""
        result: np.ndarray = (self.data.arms == self.arm).astype(np.int64)
        return result

    @property
    def share(self) -> float:
        """Weighted share of treated rows."""
        return self.training.treated_share(self.arm)


class ClassicalModel(UpliftModel):
    """Models made of parts; subclasses say how parts are learned and read."""

    parts_: list[Parts]

    @abstractmethod
    def _learn(self, training: Training) -> list[Parts]:
        """Parts of every stage."""

    @abstractmethod
    def _read(self, parts: Parts, matrix: np.ndarray, binary: bool) -> StageEffects:
        """Effects of one stage from its parts."""

    def _matrix(self, campaign: Campaign) -> np.ndarray:
        return self.schema_.matrix(campaign)

    def _fit(self, campaign: Campaign, validation: Campaign | None) -> None:
        counts = np.bincount(campaign.arm_codes, minlength=len(campaign.arms))
        if (counts == 0).any():
            raise ModelError(
                f"arm {campaign.arm_names[int(np.argmin(counts))]!r} has no rows to learn from; drop the arm or use a bigger training part."
            )
        self.parts_ = self._learn(self._training(campaign))

    def _training(self, campaign: Campaign) -> Training:
        weights = row_weights(campaign)
        return Training(
            self._matrix(campaign),
            campaign.arm_codes,
            campaign.outcomes,
            None if weights is None else weights.values,
            tuple(stage != VALUE_STAGE for stage in campaign.stages),
            len(campaign.arms),
        )

    def _predict(self, campaign: Campaign) -> Effects:
        matrix = self._matrix(campaign)
        shape = (campaign.n_rows, len(self.arms_), len(self.stages_))
        mu, tau = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        given = False
        for s, stage in enumerate(self.stages_):
            binary = stage != VALUE_STAGE
            found = self._read(self.parts_[s], matrix, binary)
            mu[:, :, s] = found.mu
            if binary:
                np.clip(mu[:, :, s], 0.0, mu[:, :, s - 1] if s else 1.0, out=mu[:, :, s])
            if found.tau is not None:
                tau[:, 1:, s] = found.tau[:, 1:]
                given = True
        return Effects.for_campaign(
            mu, campaign, model=self.name, tau=tau if given else None, calibrated=self.calibrated
        )

    # ---------------------------------------------------------------- files

    def _save(self, folder: Path) -> dict[str, Any]:
        return {
            "stages": [
                {name: _save_part(part, folder, f"stage{s}_{name}") for name, part in parts.items()}
                for s, parts in enumerate(self.parts_)
            ]
        }

    def _load(self, folder: Path, state: dict[str, Any]) -> None:
        self.parts_ = [
            {name: _load_part(entry, folder) for name, entry in parts.items()} for parts in state["stages"]
        ]

    def _libraries(self) -> tuple[str, ...]:
        return ("numpy", "lightgbm")


class PairwiseModel(BoostedParameters, ClassicalModel):
    """Lifts a learner of one outcome and one arm: loops over stages and arms and joins the answers."""

    @property
    def shares_control(self) -> bool:
        """Whether a LightGBM model of the control rows is learned first, once per stage, for all arms."""
        return True

    def _value_objective(self) -> str:
        """LightGBM objective of the value stage."""
        return REGRESSION

    @abstractmethod
    def _learn_outcome(self, pair: Pair, stage: int, control: Booster | None) -> Parts:
        """Learn one arm at one stage; `control` is the shared model of the control rows."""

    @abstractmethod
    def _read_outcome(
        self, parts: Parts, matrix: np.ndarray, control: np.ndarray | None, binary: bool
    ) -> PairEffects:
        """Effects of one arm at one stage; `control` [row] is what the shared control model says."""

    def _learn(self, training: Training) -> list[Parts]:
        stages: list[Parts] = [{} for _ in training.binary]
        if self.shares_control:
            rows, settings = training.of_arm(CONTROL), self.settings(self.schema_)
            for s, parts in enumerate(stages):
                parts["control"] = rows.learn_outcome(settings, s, value=self._value_objective())
        for arm in range(1, training.n_arms):
            pair = Pair(training, arm)
            for s, parts in enumerate(stages):
                found = self._learn_outcome(pair, s, parts.get("control"))
                parts |= {f"arm{arm}_{name}": part for name, part in found.items()}
        return stages

    def _read(self, parts: Parts, matrix: np.ndarray, binary: bool) -> StageEffects:
        shared = predict(parts["control"], matrix, self.n_jobs) if "control" in parts else None
        found = [
            self._read_outcome(_of_arm(parts, arm), matrix, shared, binary)
            for arm in range(1, len(self.arms_))
        ]
        # A peer may learn control anew for every arm (sklift's ddr_treatment): their mean is the control.
        controls = [pair.control for pair in found if pair.control is not None]
        control = np.mean(controls, axis=0) if shared is None else shared
        mu = np.column_stack(
            [control, *(control + pair.tau if pair.treated is None else pair.treated for pair in found)]
        )
        tau = [pair.tau for pair in found if pair.tau is not None]
        return StageEffects(mu, np.column_stack([np.zeros(len(matrix)), *tau]) if tau else None)


def _of_arm(parts: Parts, arm: int) -> Parts:
    prefix = f"arm{arm}_"
    return {name.removeprefix(prefix): part for name, part in parts.items() if name.startswith(prefix)}


def _save_part(part: Any, folder: Path, name: str) -> Any:
    if isinstance(part, float | list):
        return part
    if isinstance(part, FlatForest):
        path = folder / f"{name}.npz"
        part.save(path)
    elif isinstance(part, XGBoostTrees):
        path = folder / f"{name}.ubj"
        part.save(path)
    else:
        path = folder / f"{name}.txt"
        path.write_text(part.model_to_string(), encoding="utf-8")
    return {"file": path.name, "sha256": file_sha256(path)}


def _load_part(entry: Any, folder: Path) -> Any:
    if not isinstance(entry, dict):
        return entry
    path = folder / Path(entry["file"]).name
    # Checked first: LightGBM may crash on a truncated file instead of raising.
    if file_sha256(path) != entry["sha256"]:
        raise ValueError(f"{path.name} is not the file that was saved")
    return {".npz": FlatForest.load, ".ubj": XGBoostTrees.load}.get(path.suffix, load_booster)(path)
