"""What X-, R- and DR-learner and the transformed outcome share: one binned matrix, folds, and effect models per arm."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, NamedTuple

import numpy as np

from uplift.campaign import Campaign
from uplift.errors import ModelError
from uplift.hashing import unit_uniform
from uplift.models.classical.adapter import CONTROL, ClassicalModel, Parts, StageEffects, Training
from uplift.models.classical.assignment import Assignment, PairRows
from uplift.models.classical.backends import BackendParameters
from uplift.models.classical.boosting import (
    BINARY,
    REGRESSION,
    BoostedParameters,
    Settings,
    predict,
    useful_threads,
)
from uplift.models.classical.jobs import in_order, workers
from uplift.models.parameters import Rule, Whole

BLOCK = 1 << 16
"""Rows predicted at a time: bounds the copy of scattered rows."""


@dataclass(frozen=True, eq=False, kw_only=True)
class MetaTraining(Training):
    """Training rows, their assignment and folds, and all rows binned once.

    Attributes
    ----------
    settings : Settings
        Of the outcome models.
    effects : Settings
        Of the effect models.
    assignment : Assignment
    fold : ndarray of int64 [row] or None
    binned : object
        What ``settings.binned`` made of the matrix.
    """

    settings: Settings
    effects: Settings
    assignment: Assignment
    fold: np.ndarray | None
    binned: Any = field(repr=False)

    def learn_mean(self, rows: np.ndarray, stage: int, weights: np.ndarray | None) -> Any:
        """Trees for the outcome of `stage` from `rows`, whose weights [taken] are given."""
        part = self.settings.subset(self.binned, self.matrix, rows)
        objective = BINARY if self.binary[stage] else REGRESSION
        return self.settings.train(part, self.outcomes[rows, stage], objective, weights)

    def learn_arm(self, arm: int, stage: int, fold: int | None = None) -> Any:
        """Trees for the outcome of `stage` from the rows that received `arm`, outside `fold`."""
        rows = np.flatnonzero(self._outside(fold) & (self.arms == arm))
        return self.learn_mean(rows, stage, None if self.weights is None else self.weights[rows])

    def learn_effect(
        self, rows: np.ndarray, target: np.ndarray, weights: np.ndarray | None, objective: str = REGRESSION
    ) -> Any:
        """Trees for a `target` [taken] of `rows` [taken]."""
        part = self.effects.subset(self.binned, self.matrix, rows)
        return self.effects.train(part, target, objective, weights)

    def predicted(self, trees: Any, rows: np.ndarray) -> np.ndarray:
        """What `trees` say of `rows`, float64 [taken]."""
        found = np.empty(len(rows))
        for start in range(0, len(rows), BLOCK):
            block = rows[start : start + BLOCK]
            found[start : start + BLOCK] = predict(trees, self.matrix[block], self.settings.n_jobs)
        return found

    def out_of_fold(self, rows: np.ndarray, learn: Callable[[int], Any]) -> np.ndarray:
        """Prediction of every one of `rows` by the trees that `learn` makes without the row's fold, float64 [taken]."""
        assert self.fold is not None
        found = np.empty(len(rows))
        for fold in range(int(self.fold.max()) + 1):
            mine = np.flatnonzero(self.fold[rows] == fold)
            found[mine] = self.predicted(learn(fold), rows[mine])
        return found

    def outside(self, rows: np.ndarray, fold: int) -> np.ndarray:
        """Positions in `rows` of those outside `fold`."""
        assert self.fold is not None
        return np.flatnonzero(self.fold[rows] != fold)

    def _outside(self, fold: int | None) -> np.ndarray:
        if fold is None:
            return np.ones(len(self.arms), bool)
        assert self.fold is not None
        result: np.ndarray = self.fold != fold
        return result


class Control(NamedTuple):
    """Outcome of control at one stage: the trees by name, and their predictions [row] where the learner needs them."""

    parts: Parts
    mean: np.ndarray | None = None


@dataclass(kw_only=True, eq=False, repr=False)
class MetaLearner(BackendParameters, ClassicalModel):
    """Learners that regress a pseudo-outcome of one arm against control on the features, per arm and stage.

    All rows are binned once; the models of all arms, stages, folds and pseudo-outcomes share these bins
    (:meth:`~uplift.models.classical.boosting.Settings.subset`). Several models are fitted at once, one thread each.

    What is predicted: ``tau`` is what the effect model says, neither clipped nor made to shrink along the chain; ``mu``
    of control is an outcome model of the control rows, and ``mu`` of an arm is ``mu[control] + tau``, clipped and capped
    (see :mod:`~uplift.models.classical.adapter`). Each arm is learned against control, from the rows of these two, so
    that an arm's effects are those of a campaign of this arm and control alone (but for the bins, and the folds of rows
    without unit ids). Binary stages too are learned by squared error of the pseudo-outcome, which is no probability;
    values by squared error of the money.

    Propensities and strata enter the formulas as P(arm | arm or control) of every row, see
    :class:`~uplift.models.classical.assignment.Assignment`; sampling weights weigh rows. Outcome models of single arms
    have the row weights of :class:`~uplift.models.classical.lightgbm_models.LightGBMT`. `validation` is not used.

    See :class:`~uplift.models.classical.backends.BackendParameters` for the parameters of the outcome models, `backend`
    and `device`.

    Parameters
    ----------
    effect_n_estimators : int
        Trees per effect model, > 0. The default is the best of 50, 100 and 200 on simulated campaigns of 20,000 rows and
        five arms; with 100,000 rows it was 100.
    effect_learning_rate : float
        Shrinkage of every tree of an effect model, in (0, 1].
    effect_num_leaves : int
        Leaves per tree of an effect model, 2 to 131,072.
    effect_min_child_samples : int
        Rows per leaf of an effect model, >= 0. Pseudo-outcomes are noisy: a conversion that is one in fifty is a
        pseudo-outcome of several units among many near zero, so that effect models need fewer trees and bigger leaves
        than outcome models.
    """

    rules: ClassVar[Mapping[str, Rule]] = {
        **BackendParameters.rules,
        **{
            f"effect_{name}": BoostedParameters.rules[name]
            for name in ("n_estimators", "learning_rate", "num_leaves", "min_child_samples")
        },
    }

    effect_n_estimators: int = 50
    effect_learning_rate: float = 0.05
    effect_num_leaves: int = 4
    effect_min_child_samples: int = 200

    @abstractmethod
    def _learn_arm(self, rows: MetaTraining, pair: PairRows, arm: int, stage: int, control: Control) -> Parts:
        """Parts of one arm at one stage."""

    def _learn_control(self, rows: MetaTraining, stage: int) -> Control:
        """Outcome model of control at one stage."""
        return Control({"control": rows.learn_arm(CONTROL, stage)})

    def _effect(self, parts: Parts, matrix: np.ndarray) -> np.ndarray:
        """Uplift of one arm at one stage, float64 [row]."""
        return predict(parts["effect"], matrix, self.n_jobs)

    def _fold(self, campaign: Campaign) -> np.ndarray | None:
        """Fold of every row, int64 [row]; None for learners that need none."""
        return None

    # ---------------------------------------------------------------- learning

    def _training(self, campaign: Campaign) -> MetaTraining:
        plain = super()._training(campaign)
        settings = self.settings(self.schema_)
        effects = replace(
            settings,
            params={
                **settings.params,
                "learning_rate": self.effect_learning_rate,
                "num_leaves": self.effect_num_leaves,
                "min_child_samples": self.effect_min_child_samples,
            },
            n_estimators=self.effect_n_estimators,
        )
        return MetaTraining(
            plain.matrix,
            plain.arms,
            plain.outcomes,
            plain.weights,
            plain.binary,
            plain.n_arms,
            settings=settings,
            effects=effects,
            assignment=Assignment.of(campaign),
            fold=self._fold(campaign),
            binned=settings.binned(plain.matrix),
        )

    def _learn(self, training: Training) -> list[Parts]:
        assert isinstance(training, MetaTraining)
        stages = range(len(training.binary))
        controls = list(
            self._side_by_side(training, lambda rows, stage: self._learn_control(rows, stage), stages)
        )
        jobs = [(arm, stage) for arm in range(1, training.n_arms) for stage in stages]

        def learn(rows: MetaTraining, job: tuple[int, int]) -> Parts:
            arm, stage = job
            return self._learn_arm(rows, rows.assignment.pair(arm), arm, stage, controls[stage])

        found = [dict(control.parts) for control in controls]
        for (arm, stage), parts in zip(jobs, self._side_by_side(training, learn, jobs), strict=True):
            found[stage] |= {f"arm{arm}_{name}": part for name, part in parts.items()}
            if self.on_progress is not None:
                self.on_progress(f"{self.stages_[stage]}: effects of {self.arms_[arm]}")
        return found

    def _side_by_side(self, training: MetaTraining, learn: Any, jobs: Any) -> Any:
        """``learn(rows, job)`` for every job, in order."""
        if training.settings.one_by_one:
            at_once = 1
        else:
            at_once = workers(len(jobs), useful_threads(self.n_jobs, *training.matrix.shape))
        if at_once > 1:
            training = replace(
                training,
                settings=training.settings.for_one_thread(),
                effects=training.effects.for_one_thread(),
            )
        return in_order(lambda job: learn(training, job), jobs, at_once)

    # ---------------------------------------------------------------- predicting

    def _read(self, parts: Parts, matrix: np.ndarray, binary: bool) -> StageEffects:
        controls = [part for name, part in parts.items() if name.startswith("control")]
        control = np.mean([predict(part, matrix, self.n_jobs) for part in controls], axis=0)
        tau = np.zeros((len(matrix), len(self.arms_)))
        for arm in range(1, len(self.arms_)):
            prefix = f"arm{arm}_"
            mine = {
                name.removeprefix(prefix): part for name, part in parts.items() if name.startswith(prefix)
            }
            tau[:, arm] = self._effect(mine, matrix)
        return StageEffects(control[:, None] + tau, tau)


@dataclass(kw_only=True, eq=False, repr=False)
class CrossFitted(MetaLearner):
    """Meta-learners whose outcome models must not have seen the rows that they are used for.

    Parameters
    ----------
    folds : int
        >= 2. Rows are spread by a hash of their unit id, so that no unit lies on both sides and the order of the rows
        does not matter. Outcome models are learned `folds` times, each without one fold, and speak of that fold. On
        simulated campaigns more folds cost time and changed the error of the effects by less than a hundredth of it.
    """

    rules: ClassVar[Mapping[str, Rule]] = {**MetaLearner.rules, "folds": Whole(2)}

    folds: int = 2

    def _fold(self, campaign: Campaign) -> np.ndarray:
        uniform = unit_uniform(campaign.unit_ids, f"cross-fitting:{self.random_state}")
        fold = (uniform * self.folds).astype(np.int64)
        n_arms = len(campaign.arms)
        count = np.bincount(fold * n_arms + campaign.arm_codes, minlength=self.folds * n_arms)
        count = count.reshape(self.folds, n_arms)
        outside = count.sum(axis=0) - count
        if (outside == 0).any() or not count.sum(axis=1).all():
            arm = int(np.argmin(outside.min(axis=0)))
            raise ModelError(
                f"model {self.name!r}: {self.folds} folds leave nothing to learn arm {campaign.arm_names[arm]!r} from, which has {int(count[:, arm].sum()):,} rows; use fewer folds or a bigger training part."
            )
        return fold
