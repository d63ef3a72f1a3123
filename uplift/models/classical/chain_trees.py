"""Chain of LightGBM S-learners: one conditional rate per stage, multiplied into the entire space."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from uplift.campaign import Campaign
from uplift.effects import Effects
from uplift.errors import ModelError
from uplift.models.classical.adapter import ClassicalModel, Parts, StageEffects, Training
from uplift.models.classical.arm_columns import ArmColumns
from uplift.models.classical.boosting import (
    BINARY,
    REGRESSION,
    TWEEDIE,
    BoostedParameters,
    Rows,
    Settings,
    predict,
)
from uplift.models.parameters import Choice, Number, OrNone, Rule, Whole
from uplift.models.stray_values import check_value
from uplift.splitting import held_out_mask


@dataclass(kw_only=True, eq=False, repr=False)
class LightGBMChain(BoostedParameters, ClassicalModel):
    """S-learners composed along the chain: P(click), P(conversion | click), E[value | conversion], multiplied.

    The model of each stage is LightGBM with the arm as a feature (a category and, where every treated arm has one
    and there are two or more, its amount), learned on the rows that reached the stage before. The outcome in the
    entire space is the product along the chain, per arm::

        mu_s(x, a) = prod_{j <= s} P(stage j | stage j-1 reached, x, a)

    This factorisation is exact for every arm, so in a randomised campaign the product estimates the outcome of
    assigning arm `a` to a customer with features `x`, and differences of products are uplifts. What must not be
    read as an uplift is the difference between arms of one *conditional* rate: whoever clicks under a coupon is
    another kind of customer than whoever clicks without (chain bias). No such difference is taken here.

    Why compose: P(conversion | click) is learned on fewer rows of a higher rate, and the many clicks make the
    first factor precise; every stage stops at its own number of trees.

    Why subsample columns: a booster that may always split on the features that drive the *outcome* rarely splits
    on the arm. Trees that see only part of the columns have to, and their sum finds more of the interactions
    between arm and features. On simulated campaigns this is worth more than any other parameter.

    Sampling weights, propensities and strata become row weights
    (:func:`uplift.models.row_weights.row_weights`). A value on a row that did not reach the last stage is ignored,
    with a warning. See :class:`~uplift.models.classical.boosting.BoostedParameters` for `learning_rate`,
    `num_leaves`, `min_child_samples`, `reg_lambda`, `n_jobs` and `random_state`.

    Parameters
    ----------
    n_estimators : int
        Trees per stage at most, > 0.
    column_share : float
        Share of the columns, arm included, that each tree may split on, in (0, 1].
    row_share : float
        Share of the rows that each tree learns from, in (0, 1].
    members : int
        Ensembles per stage that differ in their seed; their mean is the rate. > 0. More cost time and lessen noise.
    patience : int or None
        Stop a stage after so many trees that did not lower its loss on held-out rows, choose the number of trees (see
        `errors`), and learn so many on all rows. None grows `n_estimators` trees without holding out.
    errors : float
        >= 0. The number of trees is the largest whose held-out loss is within so many standard errors of the lowest:
        the loss is of the outcome, and uplifts, which are finer, are still being learned where it has become flat.
    validation_fraction : float
        Share of the units (by hash of the unit id), in (0, 1), held out for `patience` where `fit` is given no
        validation campaign.
    value_objective : {"regression", "tweedie"}
        Loss of the value given the last stage: squared error (the mean, any sign), or Tweedie (no negative values).

    Attributes
    ----------
    rounds_ : list of int [stage]
        Trees per stage (and member).

    References
    ----------
    Ma et al., Entire Space Multi-Task Model, SIGIR 2018, for the factorisation. Kunzel, Sekhon, Bickel, Yu,
    Metalearners for estimating heterogeneous treatment effects, PNAS 2019, for the S-learner. Breiman, Random
    forests, Machine Learning 2001, and Friedman, Stochastic gradient boosting, CSDA 2002, for the subsampling.

    Examples
    --------
    >>> LightGBMChain(members=2).get_params()["members"]
    2
    """

    name: ClassVar[str] = "lightgbm_chain"
    rules: ClassVar[Mapping[str, Rule]] = {
        **BoostedParameters.rules,
        "column_share": Number(0, 1, open_low=True),
        "row_share": Number(0, 1, open_low=True),
        "members": Whole(1),
        "patience": OrNone(Whole(1)),
        "errors": Number(0),
        "validation_fraction": Number(0, 1, open_low=True, open_high=True),
        "value_objective": Choice(REGRESSION, TWEEDIE),
    }

    n_estimators: int = 1000
    column_share: float = 0.5
    row_share: float = 0.5
    members: int = 1
    patience: int | None = 200
    errors: float = 1.0
    validation_fraction: float = 0.1
    value_objective: str = REGRESSION

    # ---------------------------------------------------------------- learning

    def _fit(self, campaign: Campaign, validation: Campaign | None) -> None:
        self._warn_of_stray_values(check_value(campaign), campaign.chain[-1], stacklevel=3)
        self.arm_columns_ = ArmColumns.of(campaign.arms)
        if self.patience is None:
            self.rounds_: list[int] = [self.n_estimators] * len(self.stages_)
        elif validation is not None:
            self._check_validation(validation)
            self.rounds_ = self._find_rounds(self._training(campaign), self._training(validation))
        else:
            mask = held_out_mask(
                campaign,
                test=self.validation_fraction,
                seed=self.random_state,
                by="unit",
                purpose=f"{self.name}-validation",
            )
            rows = self._training(campaign)
            self.rounds_ = self._find_rounds(rows.take(~mask), rows.take(mask))
        super()._fit(campaign, validation)

    def _training(self, campaign: Campaign) -> Training:
        rows = super()._training(campaign)
        return rows.with_matrix(self.arm_columns_.append(rows.matrix, rows.arms))

    def _find_rounds(self, rows: Training, held: Training) -> list[int]:
        assert self.patience is not None
        rounds = []
        for s, stage in enumerate(self.stages_):
            settings, objective = self._stage_settings(), self._objective(rows, s)
            learn, judge = self._reached(rows, s), self._reached(held, s, held_out=True)
            data = settings.dataset(learn.matrix, learn.weights)
            found = settings.enough_rounds(
                data, learn.outcome, judge, objective, patience=self.patience, errors=self.errors
            )
            self._tell(f"{stage}: {found:,} trees are enough by {len(judge.outcome):,} held-out rows")
            rounds.append(found)
        return rounds

    def _learn(self, training: Training) -> list[Parts]:
        stages = []
        for s, rounds in enumerate(self.rounds_):
            rows, objective = self._reached(training, s), self._objective(training, s)
            data = self._stage_settings().dataset(rows.matrix, rows.weights)
            parts: Parts = {}
            for member in range(self.members):
                settings = replace(self._stage_settings(member), n_estimators=rounds)
                parts[f"member{member}"] = settings.train(data, rows.outcome, objective)
                self._tell(
                    f"{self.stages_[s]}: ensemble {member + 1} of {self.members} on {len(rows.outcome):,} rows"
                )
            stages.append(parts)
        return stages

    def _stage_settings(self, member: int = 0) -> Settings:
        found = self.settings(self.schema_, extra_categorical=(self._columns,))
        params = {**found.params, "seed": (self.random_state + member) % 2**31}
        if self.column_share < 1:
            params["feature_fraction"] = self.column_share
        if self.row_share < 1:
            params |= {"bagging_fraction": self.row_share, "bagging_freq": 1}
        return replace(found, params=params)

    @property
    def _columns(self) -> int:
        """Feature columns, after which the arm's follow."""
        return len(self.schema_.numeric) + len(self.schema_.categorical)

    def _objective(self, rows: Training, stage: int) -> str:
        return BINARY if rows.binary[stage] else self.value_objective

    def _reached(self, rows: Training, stage: int, *, held_out: bool = False) -> Rows:
        """Rows that reached the stage before, with the outcome of this one."""
        if stage == 0:
            return Rows(rows.matrix, rows.outcomes[:, 0], rows.weights)
        reached = np.flatnonzero(rows.outcomes[:, stage - 1] > 0)
        if not len(reached):
            raise ModelError(
                f"model {self.name!r}: none of {len(rows.arms):,} {'held-out' if held_out else 'training'} rows reached "
                f"{self.stages_[stage - 1]!r}, so {self.stages_[stage]!r} cannot be learned; "
                + (
                    "hold out more rows (validation_fraction), or set patience to None."
                    if held_out
                    else "use more rows, or a shorter chain."
                )
            )
        weights = None if rows.weights is None else rows.weights[reached]
        return Rows(rows.matrix[reached], rows.outcomes[reached, stage], weights)

    def _tell(self, words: str) -> None:
        if self.on_progress is not None:
            self.on_progress(words)

    # ---------------------------------------------------------------- predicting

    def _read(self, parts: Parts, matrix: np.ndarray, binary: bool) -> StageEffects:
        """Rates among those who reached the stage before (and no outcomes in the entire space, as elsewhere)."""
        wide = self.arm_columns_.append(matrix, 0)
        rate = np.empty((matrix.shape[0], len(self.arms_)))
        for arm in range(len(self.arms_)):
            self.arm_columns_.put(wide, arm)
            rate[:, arm] = np.mean([predict(part, wide, self.n_jobs) for part in parts.values()], axis=0)
        return StageEffects(rate)

    def _predict(self, campaign: Campaign) -> Effects:
        matrix = self._matrix(campaign)
        mu = np.ones((campaign.n_rows, len(self.arms_), len(self.stages_)), np.float32)
        reached = np.ones((campaign.n_rows, len(self.arms_)))
        # A product with a rate of at most 1 never rises, and neither does its rounding to float32.
        for s, parts in enumerate(self.parts_):
            reached = reached * self._read(parts, matrix, True).mu
            mu[:, :, s] = reached
        return Effects.for_campaign(mu, campaign, model=self.name)

    # ---------------------------------------------------------------- files

    def _save(self, folder: Path) -> dict[str, Any]:
        return {**super()._save(folder), "amounts": self.arm_columns_.amounts, "rounds": self.rounds_}

    def _load(self, folder: Path, state: dict[str, Any]) -> None:
        super()._load(folder, state)
        self.arm_columns_ = ArmColumns(None if state["amounts"] is None else tuple(state["amounts"]))
        self.rounds_ = list(state["rounds"])
