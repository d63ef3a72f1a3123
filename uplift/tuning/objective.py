"""One trial: fit on every fold, judge on its held-out rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from uplift.models.registry import make_model
from uplift.tuning.criteria import Decision, Judge, Score, make_judge
from uplift.tuning.rows import Fold, TrainingPart


class Objective:
    """How good a model with given parameters is on rows that it has not learned from.

    Parameters
    ----------
    model : str
        Name in the registry.
    folds : list of Fold
        Each side is a :class:`~uplift.tuning.rows.TrainingPart`, which holds no row of the test part.
    criterion : {"qini", "policy", "r", "dr"}
    stage : str
    decision : Decision, optional
        For ``"policy"``.
    random_state : int
        Of the models that do not set their own, and of what the judges learn.
    on_progress : callable, optional
        Told in a few words what is being done.
    """

    def __init__(
        self,
        model: str,
        folds: list[Fold],
        *,
        criterion: str,
        stage: str,
        decision: Decision | None = None,
        random_state: int = 0,
        on_progress: Callable[[str], None] | None = None,
    ) -> None:
        for fold in folds:
            for side in fold:
                if not isinstance(side, TrainingPart):
                    raise TypeError(f"a fold holds {type(side).__name__}, not TrainingPart")
        self.model, self.folds = model, folds
        self._criterion, self._stage, self._decision = criterion, stage, decision
        self._seed = random_state
        self._tell = on_progress or (lambda _: None)
        self._judges: list[Judge] = []

    def prepare(self) -> None:
        """Learn what the judges need, once for all trials."""
        for number, fold in enumerate(self.folds[len(self._judges) :], start=len(self._judges) + 1):
            self._tell(f"prepare the judge of fold {number} of {len(self.folds)}")
            self._judges.append(
                make_judge(
                    self._criterion,
                    fold,
                    stage=self._stage,
                    decision=self._decision,
                    random_state=self._seed,
                )
            )

    def __call__(self, params: dict[str, Any]) -> Score:
        """Mean criterion over the folds of the model with `params`.

        Raises
        ------
        UpliftError
            The parameters do not go together, or the model cannot be fitted.
        """
        self.prepare()
        scores = []
        for number, (fold, judge) in enumerate(zip(self.folds, self._judges, strict=True), start=1):
            chosen = make_model(self.model, **params)
            if "random_state" in chosen.parameter_names() and "random_state" not in params:
                chosen.set_params(random_state=self._seed)
            where = f"fold {number} of {len(self.folds)}" if len(self.folds) > 1 else "fit"
            chosen.on_progress = lambda text, where=where: self._tell(f"{where}: {text}")  # type: ignore[misc]
            self._tell(where)
            scores.append(judge.score(chosen.fit(fold.fit.campaign).predict(fold.held.campaign)))
        # A group of units lies in every fold: leaving it out leaves it out of all.
        return Score(
            float(np.mean([score.value for score in scores])),
            np.mean([score.replicates for score in scores], axis=0),
        )
