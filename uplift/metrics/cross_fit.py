"""Predictions for rows that the model did not learn from, without giving up any row: cross-fitting."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from uplift.campaign import Campaign
from uplift.effects import Effects
from uplift.errors import EvaluationError
from uplift.hashing import unit_uniform


class Learner(Protocol):
    """What :func:`cross_fitted` needs of a model; every model of :func:`uplift.make_model` has it."""

    def get_params(self) -> dict[str, Any]:
        """Constructor parameters."""

    def fit(self, campaign: Campaign) -> Any:
        """Learn from the rows."""

    def predict(self, campaign: Campaign) -> Effects:
        """Effects of the rows."""


def cross_fitted(model: Learner, log: Campaign, *, folds: int = 5, seed: int = 0) -> Effects:
    """Effects of every row by a fresh copy of `model` that was fitted on the other folds.

    Folds are drawn by a hash of the unit, so that rows of one unit are in one fold, whatever the order of rows.

    Parameters
    ----------
    model : Learner
        Not changed; its parameters are copied.
    log : Campaign
        With outcomes.
    folds : int
        At least 2.
    seed : int
        Other folds.

    Returns
    -------
    Effects

    Raises
    ------
    EvaluationError
        Fewer than two folds, or fewer units than folds.

    References
    ----------
    Chernozhukov et al., Double/debiased machine learning, Econometrics Journal 2018.

    Examples
    --------
    >>> import uplift
    >>> log = uplift.simulate(rows=1_000, arms=1, chain=("conversion",), seed=0).campaign()
    >>> effects = cross_fitted(uplift.make_model("lightgbm_s", n_estimators=5), log, folds=2)
    >>> len(effects)
    1000
    """
    if folds < 2 or log.n_units < folds:
        raise EvaluationError(
            f"folds is {folds} with {log.n_units:,} units; give at least 2, and no more than there are units."
        )
    fold = np.floor(unit_uniform(log.unit_ids, f"cross-fit:{seed}") * folds).astype(np.int64)
    parts: list[Effects] = []
    rows: list[np.ndarray] = []
    for number in range(folds):
        held = np.flatnonzero(fold == number)
        if not len(held):
            continue
        fresh = type(model)(**model.get_params())
        fresh.fit(log.take(fold != number))
        parts.append(fresh.predict(log.take(held)))
        rows.append(held)
    order = np.argsort(np.concatenate(rows))
    first = parts[0]
    return Effects(
        np.concatenate([part.mu_all for part in parts])[order],
        tau_all=np.concatenate([part.tau_all for part in parts])[order],
        units=log.unit_ids,
        arms=first.arms,
        stages=first.stages,
        model=first.model,
        unit_column=first.unit_column,
        campaign=first.campaign,
        calibrated=first.calibrated,
    )
