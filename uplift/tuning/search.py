"""`tune`: search the parameters of a model inside the training part."""

from __future__ import annotations

import json
import os
import time
import warnings
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from uplift.arms import VALUE_STAGE
from uplift.campaign import Campaign
from uplift.errors import ModelError, UpliftError, did_you_mean, first_line
from uplift.io.atomic import atomic_path, write_text
from uplift.models.base import ModelWarning
from uplift.models.registry import REFERENCES, check_available, make_model
from uplift.tuning.criteria import CRITERIA, JUDGES, CriterionName, Decision
from uplift.tuning.objective import Objective
from uplift.tuning.result import Trial, TuningResult
from uplift.tuning.rows import VALIDATION_SHARE, TrainingPart, make_folds
from uplift.tuning.space import search_space, starting_point
from uplift.tuning.study import BEST, TRIALS, Study, start_anew

DEFAULT_TRIALS = 30

HOPELESS = 5
"""So many failed trials, and none that went well, end a search."""


def tune(
    campaign: Campaign | TrainingPart,
    *,
    model: str,
    criterion: CriterionName = "qini",
    stage: str | None = None,
    folds: int | None = None,
    validation: float = VALIDATION_SHARE,
    trials: int | None = None,
    minutes: float | None = None,
    params: Mapping[str, Any] | None = None,
    space: Mapping[str, Any] | None = None,
    keep: Collection[str] = (),
    margin: float | None = None,
    budget_per_customer: float | None = None,
    random_state: int = 0,
    folder: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    on_trial: Callable[[TuningResult], None] | None = None,
    on_progress: Callable[[str], None] | None = None,
) -> TuningResult:
    """Search the parameters of a model by a criterion on rows that it has not learned from.

    Trial 0 is the model as it stands (`params`); the others are proposed by Optuna's tree-structured Parzen estimator.
    The sequence depends on `random_state` and the data alone, however often the search is interrupted.

    Parameters
    ----------
    campaign : Campaign or TrainingPart
        Training rows. A :class:`~uplift.tuning.rows.TrainingPart` knows what the test part is and refuses its rows; a
        campaign is taken for what it is given as: give the first part of :meth:`uplift.campaign.Campaign.split`.
    model : str
        Name in the registry; no reference.
    criterion : {"qini", "policy", "r", "dr"}
        Qini per customer, mean over arms (:class:`~uplift.tuning.criteria.QiniJudge`); what the plan brings
        (:class:`~uplift.tuning.criteria.PolicyJudge`; needs costs and `margin`); R- or DR-loss of the uplifts
        (:class:`~uplift.tuning.criteria.RJudge`, :class:`~uplift.tuning.criteria.DrJudge`), lower being better.
    stage : str, optional
        Stage that is judged; default the last binary one.
    folds : int, optional
        Cross-validation by units, >= 2 folds; default one validation split.
    validation : float
        Share of the units of that split, in (0, 1).
    trials : int, optional
        Trials of the whole search, trial 0 and those of earlier calls included; default 30, or no limit where there
        are `minutes`.
    minutes : float, optional
        Time for this call: no trial begins that would, at the mean time of the ones before, end more than half its
        time late. Trial 0 always runs.
    params : mapping, optional
        The model's parameters at the start; those that are not searched keep these values.
    space : mapping, optional
        Changes of the search space, see :func:`~uplift.tuning.space.search_space`.
    keep : collection of str
        Parameters that are not searched.
    margin : float, optional
        Money per event of the stage, for ``"policy"``; default 1 at the stage ``"value"``.
    budget_per_customer : float, optional
        Money per customer, for ``"policy"``; default no limit.
    random_state : int
        Seed of the split, the search and the models.
    folder : path, optional
        Keeps the search: a later call with the same arguments (`trials` and `minutes` may differ) goes on from there.
    overwrite : bool
        Begin anew in `folder`.
    on_trial : callable, optional
        Told the result so far after every trial, and once at the beginning when there are trials already.
    on_progress : callable, optional
        Told in a few words what is being done.

    Returns
    -------
    TuningResult

    Raises
    ------
    UpliftError
        Bad input; the folder holds another search; or no trial went well.

    Examples
    --------
    >>> import uplift
    >>> train, test = uplift.simulate(rows=2_000, seed=1).campaign().split(test=0.3, seed=0)
    >>> found = uplift.tune(train, model="lightgbm_s", trials=2, space={"n_estimators": [20, 50]})
    >>> len(found.trials), found.default.params
    (2, {})
    """
    part = campaign if isinstance(campaign, TrainingPart) else TrainingPart(campaign)
    stage = _stage(part.campaign, stage)
    decision = _decision(part.campaign, criterion, stage, margin, budget_per_customer)
    limit = _limits(trials, minutes)
    if model in REFERENCES:
        raise ModelError(f"{model!r} is a reference that others are compared with, and has nothing to tune.")
    ranges, kept = search_space(model, space, keep=keep)
    if not ranges:
        raise ModelError(
            f"no search space is known for model {model!r}; give one, for example "
            f"[tune.{model}] NAME = {{ low = 1, high = 10 }}, with parameters that 'uplift models {model}' lists."
        )
    start = make_model(model, **{**(params or {}), **kept})
    # As the checked model holds them, and as a file would: no numpy, no tuples.
    base = json.loads(json.dumps({name: getattr(start, name) for name in {**(params or {}), **kept}}))
    check_available([model])
    objective = Objective(
        model,
        make_folds(part, folds=folds, seed=random_state, validation=validation),
        criterion=criterion,
        stage=stage,
        decision=decision,
        random_state=random_state,
        on_progress=on_progress,
    )
    description = {
        "format_version": 1, "model": model, "criterion": criterion, "stage": stage, "folds": folds,
        "validation": None if folds else validation, "random_state": random_state, "params": base,
        "space": {name: chosen.plain() for name, chosen in ranges.items()},
        "margin": None if decision is None else decision.margin, "budget_per_customer": budget_per_customer,
        "seal": None if part.seal is None else part.seal.to_dict(),
        "rows": part.campaign.n_rows, "data": part.campaign.fingerprint(),
    }  # fmt: skip
    where = None if folder is None else Path(folder)
    if where is not None and overwrite:
        start_anew(where)
    study = Study(
        where,
        description=description,
        space=ranges,
        start=starting_point(start, ranges),
        higher_is_better=JUDGES[criterion].higher_is_better,
        random_state=random_state,
    )
    notes: list[str] = []

    def result() -> TuningResult:
        return TuningResult(description, tuple(study.trials), where, tuple(notes))

    try:
        if study.trials and on_trial is not None and any(trial.ok for trial in study.trials):
            on_trial(result())
        _search(study, objective, base, limit, minutes, notes, lambda: on_trial and on_trial(result()))
    finally:
        study.close()
        if any(trial.ok for trial in study.trials):
            _write(result())
    return result()


def _search(
    study: Study,
    objective: Objective,
    base: dict[str, Any],
    limit: int | None,
    minutes: float | None,
    notes: list[str],
    tell: Callable[[], Any],
) -> None:
    begun, done = time.monotonic(), 0
    if limit is None or len(study.trials) < limit:
        objective.prepare()
    while limit is None or len(study.trials) < limit:
        elapsed = time.monotonic() - begun
        typical = elapsed / done if done else 0.0
        if minutes is not None and study.trials and elapsed + typical / 2 >= 60.0 * minutes:
            break
        asked, chosen = study.propose()
        study.record(
            asked, _try(objective, len(study.trials), {**base, **chosen}, tuple(chosen), study.trials, notes)
        )
        done += 1
        if any(trial.ok for trial in study.trials):
            tell()
        elif len(study.trials) >= HOPELESS:
            break
    if not any(trial.ok for trial in study.trials):
        raise UpliftError(
            f"none of {len(study.trials)} trials went well; the first, with the parameters as they stand, failed: "
            f"{study.trials[0].error}"
        )


def _try(
    objective: Objective,
    number: int,
    params: dict[str, Any],
    tuned: tuple[str, ...],
    before: list[Trial],
    notes: list[str],
) -> Trial:
    """One trial; what goes wrong in it is recorded, what the models warn of is noted once."""
    for other in before:
        if other.ok and other.params == params:
            return replace(other, number=number, tuned=tuned)
    begun = time.perf_counter()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ModelWarning)
        try:
            score = objective(params)
            error = None if score.value == score.value else "the criterion is not defined on these rows."
        except Exception as problem:
            # A trial may run out of memory or find a fault in a peer: the search goes on without it.
            named = "" if isinstance(problem, UpliftError) else f"{type(problem).__name__}: "
            score, error = None, f"{named}{first_line(problem)}"
    for one in caught:
        if not issubclass(one.category, ModelWarning):
            warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)
        elif str(one.message) not in notes:
            notes.append(str(one.message))
    seconds = round(time.perf_counter() - begun, 3)
    if score is None or error is not None:
        return Trial(number=number, params=params, tuned=tuned, seconds=seconds, error=error)
    return Trial(
        number=number,
        params=params,
        tuned=tuned,
        value=score.value,
        replicates=tuple(score.replicates.tolist()),
        seconds=seconds,
    )


def _write(result: TuningResult) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if result.folder is None:
        return
    with atomic_path(result.folder / TRIALS) as temporary:
        pq.write_table(pa.Table.from_pandas(result.to_frame(), preserve_index=False), temporary)
    write_text(result.folder / BEST, result.to_toml())


def _stage(campaign: Campaign, stage: str | None) -> str:
    if stage is None:
        return campaign.chain[-1] if campaign.chain else VALUE_STAGE
    return campaign.stages[campaign.stage_index(stage)]


def _limits(trials: int | None, minutes: float | None) -> int | None:
    if trials is not None and (isinstance(trials, bool) or not isinstance(trials, int) or trials < 1):
        raise UpliftError(f"trials is {trials!r}; it must be a whole number >= 1.")
    if minutes is not None and not (
        isinstance(minutes, int | float) and not isinstance(minutes, bool) and 0 < minutes < float("inf")
    ):
        raise UpliftError(f"minutes is {minutes!r}; it must be a number > 0.")
    return DEFAULT_TRIALS if trials is None and minutes is None else trials


def _decision(
    campaign: Campaign, criterion: str, stage: str, margin: float | None, budget: float | None
) -> Decision | None:
    if criterion not in CRITERIA:
        raise UpliftError(f"unknown criterion {criterion!r}; {did_you_mean(criterion, CRITERIA)}")
    if criterion != "policy":
        return None
    missing = [arm for arm in campaign.arm_names[1:] if arm not in campaign.costs]
    if missing:
        raise UpliftError(
            f"the criterion 'policy' needs the cost of every arm, and arm {missing[0]!r} has none ({len(missing)} of "
            f"{len(campaign.arms) - 1} arms); give it one, or choose another criterion."
        )
    if margin is None and stage != VALUE_STAGE:
        raise UpliftError(
            f"the criterion 'policy' needs margin, the money per {stage}; give it, or choose another criterion."
        )
    if margin is not None and not 0 < margin < float("inf"):
        raise UpliftError(f"margin is {margin!r}; it must be a finite amount of money > 0.")
    if budget is not None and not budget >= 0:
        raise UpliftError(f"budget_per_customer is {budget!r}; it must be a number >= 0.")
    if budget is not None and budget == float("inf"):
        budget = None
    return Decision(
        costs=campaign.costs, margin=1.0 if margin is None else float(margin), budget_per_customer=budget
    )
