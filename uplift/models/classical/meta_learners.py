"""X-, R- and DR-learner and transformed outcome on LightGBM (or XGBoost), for any number of arms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from uplift.models.classical.adapter import CONTROL, Parts
from uplift.models.classical.assignment import PairRows
from uplift.models.classical.boosting import BINARY, predict
from uplift.models.classical.meta_base import Control, CrossFitted, MetaLearner, MetaTraining
from uplift.models.classical.pseudo_outcomes import doubly_robust, r_target, same_class, transformed
from uplift.models.parameters import Choice, Rule


@dataclass(kw_only=True, eq=False, repr=False)
class LightGBMX(MetaLearner):
    """X-learner: effects imputed on either side by the outcome model of the other, blended.

    ``tau = e tau_control + (1 - e) tau_treated``, with ``tau_treated`` learned from ``y - mu_0`` of the treated rows,
    ``tau_control`` from ``mu_1 - y`` of the control rows, and e the (weighted) share of the arm among the rows of the
    pair: under unequal randomisation all four models have the row weights of the T-learner, which make the rows as if
    randomised at this rate; one e then serves new rows too, of whose propensities nothing is known. No cross-fitting is
    needed: an outcome model only speaks of rows of the other arm, which it has not seen. See :class:`MetaLearner`.

    References
    ----------
    Kunzel, Sekhon, Bickel, Yu, Metalearners for estimating heterogeneous treatment effects, PNAS 2019.
    """

    name: ClassVar[str] = "lightgbm_x"

    def _learn_control(self, rows: MetaTraining, stage: int) -> Control:
        trees = rows.learn_arm(CONTROL, stage)
        mean = np.full(len(rows.arms), np.nan)
        sent = np.flatnonzero(rows.arms != CONTROL)
        mean[sent] = rows.predicted(trees, sent)
        return Control({"control": trees}, mean)

    def _learn_arm(self, rows: MetaTraining, pair: PairRows, arm: int, stage: int, control: Control) -> Parts:
        assert control.mean is not None
        outcome, shares = rows.outcomes[:, stage], rows.assignment.shares
        sent, kept = np.flatnonzero(rows.arms == arm), np.flatnonzero(rows.arms == CONTROL)
        imputed_kept = rows.predicted(rows.learn_arm(arm, stage), kept) - outcome[kept]
        imputed_sent = outcome[sent] - control.mean[sent]
        weights = rows.weights
        return {
            "tau_control": rows.learn_effect(kept, imputed_kept, None if weights is None else weights[kept]),
            "tau_treated": rows.learn_effect(sent, imputed_sent, None if weights is None else weights[sent]),
            "share": float(shares[arm] / (shares[arm] + shares[CONTROL])),
        }

    def _effect(self, parts: Parts, matrix: np.ndarray) -> np.ndarray:
        of_control = predict(parts["tau_control"], matrix, self.n_jobs)
        of_treated = predict(parts["tau_treated"], matrix, self.n_jobs)
        result: np.ndarray = parts["share"] * of_control + (1.0 - parts["share"]) * of_treated
        return result


@dataclass(kw_only=True, eq=False, repr=False)
class LightGBMR(CrossFitted):
    """R-learner: the effect is what explains the rest of the outcome by the rest of the treatment.

    Per arm, on the rows of the arm and of control, minimises ``((y - m(x)) - (W - e) tau(x))^2`` with m the outcome
    whatever was received, learned out of fold, and e known from the campaign, not estimated. Several arms are learned
    pair by pair: the joint form for K arms (one residual, K effects) couples all effects in one loss, and needs the
    probabilities of all arms for every row. ``mu`` of control is an outcome model of all control rows. Rows are weighted
    by ``(W - e)^2``: where e differs between rows with the same features (by strata that are no features, for instance)
    the effect is that of the well mixed ones. See :class:`CrossFitted` and :class:`MetaLearner`.

    References
    ----------
    Nie, Wager, Quasi-oracle estimation of heterogeneous treatment effects, Biometrika 2021.
    """

    name: ClassVar[str] = "lightgbm_r"

    def _learn_arm(self, rows: MetaTraining, pair: PairRows, arm: int, stage: int, control: Control) -> Parts:
        def learn(fold: int) -> object:
            kept = rows.outside(pair.rows, fold)
            return rows.learn_mean(
                pair.rows[kept], stage, None if pair.weights is None else pair.weights[kept]
            )

        mean = rows.out_of_fold(pair.rows, learn)
        target, weights = r_target(rows.outcomes[pair.rows, stage], pair.treated, pair.propensity, mean)
        if pair.weights is not None:
            weights = weights * pair.weights
        telling = weights > 0
        return {"effect": rows.learn_effect(pair.rows[telling], target[telling], weights[telling])}


@dataclass(kw_only=True, eq=False, repr=False)
class LightGBMDR(CrossFitted):
    """DR-learner: a regression of the doubly robust pseudo-outcome of each arm against control.

    The outcome models of control and of the arm are learned out of fold, the propensity is known from the campaign, not
    estimated; the pseudo-outcomes of all folds are then regressed by one effect model
    (:func:`~uplift.models.classical.pseudo_outcomes.doubly_robust`). In an experiment the effect model is right on
    average however bad the outcome models are. ``mu`` of control is the mean of its `folds` models. See
    :class:`CrossFitted` and :class:`MetaLearner`.

    References
    ----------
    Kennedy, Towards optimal doubly robust estimation of heterogeneous causal effects, EJS 2023.
    """

    name: ClassVar[str] = "lightgbm_dr"

    def _learn_control(self, rows: MetaTraining, stage: int) -> Control:
        parts: Parts = {}

        def learn(fold: int) -> object:
            parts[f"control{fold}"] = rows.learn_arm(CONTROL, stage, fold)
            return parts[f"control{fold}"]

        return Control(parts, rows.out_of_fold(np.arange(len(rows.arms)), learn))

    def _learn_arm(self, rows: MetaTraining, pair: PairRows, arm: int, stage: int, control: Control) -> Parts:
        assert control.mean is not None
        mean = rows.out_of_fold(pair.rows, lambda fold: rows.learn_arm(arm, stage, fold))
        pseudo = doubly_robust(
            rows.outcomes[pair.rows, stage], pair.treated, pair.propensity, control.mean[pair.rows], mean
        )
        return {"effect": rows.learn_effect(pair.rows, pseudo, pair.weights)}


@dataclass(kw_only=True, eq=False, repr=False)
class LightGBMTransformed(MetaLearner):
    """Transformed outcome: a regression of ``y (W - e) / (e (1 - e))``, whose mean given the features is the uplift.

    With ``method="class"``, binary stages are learned as class transformation: a classifier of "treated and bought, or
    neither", weighted so that treatment is a fair coin, and ``tau = 2 P - 1``; values are transformed outcomes as before.
    Neither has an outcome model to take the noise of the outcome out of the target, so both are noisier than the other
    learners, the class more so where outcomes are rare: its target is mostly the coin of the randomisation. See
    :class:`MetaLearner`.

    Parameters
    ----------
    method : {"outcome", "class"}
        Transformed outcome, or class transformation for binary stages.

    References
    ----------
    Athey, Imbens, Machine Learning Methods for Estimating Heterogeneous Causal Effects, arXiv 1504.01132v1. Jaskowski,
    Jaroszewicz, Uplift modeling for clinical trial data, ICML workshop 2012 (class).
    """

    name: ClassVar[str] = "lightgbm_transformed"
    rules: ClassVar[Mapping[str, Rule]] = {**MetaLearner.rules, "method": Choice("outcome", "class")}

    method: str = "outcome"

    def _learn_arm(self, rows: MetaTraining, pair: PairRows, arm: int, stage: int, control: Control) -> Parts:
        outcome = rows.outcomes[pair.rows, stage]
        if self.method == "class" and rows.binary[stage]:
            target, weights = same_class(outcome, pair.treated, pair.propensity)
            if pair.weights is not None:
                weights = weights * pair.weights
            return {"class": rows.learn_effect(pair.rows, target, weights, BINARY)}
        target = transformed(outcome, pair.treated, pair.propensity)
        return {"effect": rows.learn_effect(pair.rows, target, pair.weights)}

    def _effect(self, parts: Parts, matrix: np.ndarray) -> np.ndarray:
        if "class" in parts:
            return 2.0 * predict(parts["class"], matrix, self.n_jobs) - 1.0
        return super()._effect(parts, matrix)
