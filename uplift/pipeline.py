"""From ``campaign.toml`` to a run folder: check, fit, predict, evaluate, choose, allocate, report."""

from __future__ import annotations

import json
import math
import os
import platform
import resource
import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from uplift import run_folder as names
from uplift.campaign import Campaign
from uplift.campaign_file import CampaignFile, DecideSection
from uplift.effects import Effects
from uplift.errors import CampaignError, UpliftError, did_you_mean
from uplift.io.atomic import atomic_folder, check_output_folder, write_json
from uplift.io.tables import mask_password
from uplift.models.base import ModelWarning, UpliftModel
from uplift.models.checkpoints import fit_resumably, forget
from uplift.progress import Progress, Silent, Stopwatch
from uplift.splitting import held_out_mask
from uplift.versions import versions

SELECTION_SHARE = 0.2
"""Share of the training units on which the model is chosen when [decide] model = "auto"."""

_LIBRARIES = (
    "numpy",
    "pandas",
    "pyarrow",
    "scikit-learn",
    "lightgbm",
    "torch",
    "scikit-uplift",
    "causalml",
    "plotly",
)


@dataclass(frozen=True, eq=False)
class RunResult:
    """What a run made.

    Attributes
    ----------
    folder : Path
        The run folder.
    chosen : str
        Model the decision rests on.
    timings : dict of str to float
        Seconds per step.
    notes : tuple of str
        What the user should know.

    Examples
    --------
    >>> uplift.run("campaign.toml", "runs/spring").folder  # doctest: +SKIP
    """

    folder: Path
    chosen: str
    timings: dict[str, float]
    notes: tuple[str, ...]

    @property
    def report(self) -> Path:
        """The report."""
        return self.folder / names.REPORT


@dataclass(eq=False)
class _Work:
    """A run under way: what the steps hand on to each other."""

    folder: Path
    config: CampaignFile
    campaign: Campaign
    test: Campaign
    selection: Campaign | None
    audience: Campaign | None
    checks: Any
    seed: int
    watch: Stopwatch
    stage: str
    notes: list[str] = field(default_factory=list)
    models: dict[str, UpliftModel] = field(default_factory=dict)
    test_effects: dict[str, Effects] = field(default_factory=dict)
    selection_effects: dict[str, Effects] = field(default_factory=dict)
    data_fingerprint: str = ""


def run(
    campaign_file: str | os.PathLike[str] | CampaignFile,
    out: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    force: bool = False,
    seed: int | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    extra_files: Mapping[str, Path] | None = None,
    progress: Progress | None = None,
) -> RunResult:
    """Run a campaign file and write the run folder, whole or not at all.

    The test part is split off first and used for nothing but evaluation. With ``model = "auto"`` another
    20 % of the training units choose the model (and recalibrate it where ``[decide]`` says so); the models are fitted on the rest, and the test metrics are
    those of exactly the saved models.

    Parameters
    ----------
    campaign_file : path or CampaignFile
    out : path
        The run folder.
    overwrite : bool
        Replace a run that is there.
    force : bool
        Go on although a check failed.
    seed : int, optional
        Seed of the split and of every model that sets none; default ``[split] seed``.
    checkpoint : path, optional
        Folder that keeps the state of long fits: after an interrupt the same call goes on from there. It is emptied
        when the run is complete.
    extra_files : mapping of name to path, optional
        Files to copy into the run folder.
    progress : Progress, optional
        Who is told about the steps.

    Returns
    -------
    RunResult

    Raises
    ------
    UpliftError
        Bad input, or a failed check without `force`. Nothing is written then.

    Examples
    --------
    >>> run("campaign.toml", "runs/spring").folder  # doctest: +SKIP
    """
    from uplift.checks import check

    check_output_folder(out, overwrite=overwrite)
    watch = Stopwatch(progress or Silent())
    config = campaign_file if isinstance(campaign_file, CampaignFile) else CampaignFile.read(campaign_file)
    seed = config.split.seed if seed is None else seed
    planned = plan_models(config, seed=seed)
    with watch.step("read the campaign") as detail:
        campaign = config.load()
        config.check_decision(campaign)
        audience = None
        if config.decide is not None and config.decide.score is not None:
            audience = campaign.audience(config.resolve(config.decide.score))
        detail.append(f"{campaign.n_rows:,} rows, {len(campaign.arms)} arms, {' -> '.join(campaign.stages)}")
    with watch.step("check the experiment") as detail:
        checks = check(campaign, seed=seed)
        detail.append(checks.status)
    _stop_on_failure(checks, force=force)

    train, test = campaign.split(test=config.split.test, by=config.split.by, seed=seed)
    fitting, selection = _selection_split(train, config.decide, planned, seed)
    wanted = config.decide.stage if config.decide else None
    stage = campaign.stages[campaign.stage_index(wanted)] if wanted else campaign.chain[-1]
    with atomic_folder(out, overwrite=overwrite) as folder:
        work = _Work(folder, config, campaign, test, selection, audience, checks, seed, watch, stage)
        work.data_fingerprint = campaign.fingerprint()
        between = campaign.n_rows - train.n_rows - test.n_rows
        if between:
            work.notes.append(
                f"{between:,} rows of earlier customers fall into the test period and were neither learned from nor tested on."
            )
        _fit_all(work, planned, fitting, checkpoint)
        chosen = _evaluate_and_decide(work)
        for name, source in (extra_files or {}).items():
            (folder / name).write_bytes(Path(source).read_bytes())
    for name in planned:
        forget(_below(checkpoint, name))
    for note in work.notes:
        watch.progress.note(note)
    return RunResult(Path(out), chosen, watch.seconds, tuple(work.notes))


def plan_models(config: CampaignFile, *, seed: int) -> dict[str, UpliftModel]:
    """Unfitted models of a campaign file, references included, in order.

    Raises
    ------
    UpliftError
        Unknown model or parameter, or ``[decide] model`` is not among them.
    """
    from uplift.models.registry import DEFAULT_MODELS, REFERENCES, check_available, make_model

    wanted: dict[str, dict[str, Any]] = dict(config.models) or {name: {} for name in DEFAULT_MODELS}
    chosen = config.decide.model if config.decide else "auto"
    if chosen != "auto" and chosen not in wanted:
        if config.models:
            raise CampaignError(
                f"[decide] model = {chosen!r} is not under [models]; {did_you_mean(chosen, [*wanted, 'auto'])}"
            )
        wanted[chosen] = {}
    wanted |= {name: {} for name in REFERENCES if name not in wanted}
    check_available(tuple(wanted))
    models = {}
    for name, params in wanted.items():
        model = make_model(name, **params)
        if "random_state" in model.parameter_names() and "random_state" not in params:
            model.set_params(random_state=seed)
        models[name] = model
    if not any(model.calibrated for model in models.values()):
        raise CampaignError(
            f"the only models are the references {', '.join(models)}; add one that estimates effects, for example ecup = {{}}."
        )
    return models


def _stop_on_failure(checks: Any, *, force: bool) -> None:
    failed = [result for result in checks.results if result.status == "fail"]
    if failed and not force:
        first = failed[0]
        more = f" (and {len(failed) - 1} more failed)" if len(failed) > 1 else ""
        raise UpliftError(
            f"the experiment check {first.check!r} failed{more}: {first.detail.rstrip('.')}. Run 'uplift check' for all of them, or pass --force to go on."
        )


def _selection_split(
    train: Campaign, decide: DecideSection | None, planned: dict[str, UpliftModel], seed: int
) -> tuple[Campaign, Campaign | None]:
    candidates = [name for name, model in planned.items() if model.calibrated]
    chosen_already = (decide is not None and decide.model != "auto") or len(candidates) < 2
    if chosen_already and not (decide is not None and decide.recalibrate):
        return train, None
    mask = held_out_mask(train, test=SELECTION_SHARE, seed=seed, by="unit", purpose="selection")
    return train.take(~mask), train.take(mask)


def _below(folder: str | os.PathLike[str] | None, name: str) -> Path | None:
    return None if folder is None else Path(folder) / name


def _fit_all(
    work: _Work,
    planned: dict[str, UpliftModel],
    fitting: Campaign,
    checkpoint: str | os.PathLike[str] | None,
) -> None:
    (work.folder / names.MODELS).mkdir()
    (work.folder / names.TEST_EFFECTS).mkdir()
    for name, model in planned.items():
        step = f"fit {name}"
        with work.watch.step(step), warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ModelWarning)
            model.on_progress = lambda text, step=step: work.watch.progress.start(f"{step}: {text}")
            work.models[name] = fit_resumably(model, fitting, _below(checkpoint, name))
            model.save(work.folder / names.MODELS / name)
        for warning in caught:
            if issubclass(warning.category, ModelWarning):
                work.notes.append(f"{name}: {warning.message}")
            else:
                warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
        with work.watch.step(f"predict {name}"):
            effects = model.predict(work.test)
            names.write_test_effects(work.folder / names.TEST_EFFECTS / f"{name}.parquet", work.test, effects)
            work.test_effects[name] = effects
            if work.selection is not None:
                work.selection_effects[name] = model.predict(work.selection)


def _evaluate_and_decide(work: _Work) -> str:
    from uplift.metrics import evaluate
    from uplift.reporting import report

    folder, decide = work.folder, work.config.decide
    with work.watch.step("evaluate on the test part") as detail:
        evaluation = evaluate(work.test, work.test_effects, random_state=work.seed)
        detail.append(f"{work.test.n_rows:,} rows")
    chosen, reason = _choose(work)
    with work.watch.step(f"score with {chosen}") as detail:
        scored = _one_row_per_unit(work.test if work.audience is None else work.audience, work.notes)
        correction = _recalibration(work, decide, chosen)
        effects = work.models[chosen].predict(scored)
        if correction is not None:
            effects = correction.apply(effects)
        effects.to_parquet(folder / names.EFFECTS)
        detail.append(f"{len(effects):,} customers")
    plan = None
    if decide is not None:
        with work.watch.step("allocate") as detail:
            plan = _allocate(work, decide, scored, effects, chosen, correction)
            detail.append(f"{plan.certificate.n_treated:,} of {len(plan):,} customers treated")
    else:
        work.notes.append(
            "The campaign file has no [decide] section, so nothing was allocated; add one with budget = ... and margin = ..., and a cost = { on = ..., amount = ... } to every [arms.NAME]."
        )
    insight = _explain(work, chosen)
    curves = _spend_curves(work, decide, chosen, plan)
    if evaluation.notes:
        work.notes.append(
            f"{len(evaluation.notes)} metric(s) could not be computed, for example {evaluation.notes[0]}"
        )
    write_json(folder / names.METRICS, evaluation.to_metrics())
    write_json(folder / names.CHECKS, work.checks.to_list())
    described = _describe_run(work, scored, chosen, reason)
    with work.watch.step("write the report"):
        report(
            folder / names.REPORT, work.campaign, evaluation, plan,
            checks=work.checks, run=described, insight=insight, curves=curves,
        )  # fmt: skip
    described["timings"] = work.watch.seconds
    described["peak_memory_mb"] = peak_memory_mb()
    write_json(folder / names.RUN, described)
    return chosen


def _spend_curves(work: _Work, decide: DecideSection | None, chosen: str, plan: Any) -> Any:
    """Measured value against spend of models and rules; none, and a note, where spend has no meaning."""
    from uplift.errors import EvaluationError
    from uplift.plan_curves import curves_of_plan

    if plan is None or decide is None:
        return ()
    try:
        return curves_of_plan(
            plan, work.test, work.test_effects, chosen=chosen, costs=work.campaign.costs,
            margin=decide.margin, stage=work.stage,
        )  # fmt: skip
    except EvaluationError as error:
        work.notes.append(f"Value against spend was not measured: {error}")
        return ()


def _explain(work: _Work, chosen: str) -> Any:
    """Segments, quadrants and drivers of the chosen model on the test part, kept as a file of the run folder."""
    from uplift.insight import explain

    wanted, step = work.config.report, f"explain {chosen}"
    with work.watch.step(step):
        insight = explain(
            work.test, work.test_effects[chosen], work.models[chosen] if wanted.drivers else None,
            stage=work.stage, shap=wanted.shap, random_state=work.seed, name=chosen,
            on_progress=lambda text: work.watch.progress.start(f"{step}: {text}"),
        )  # fmt: skip
    insight.write(work.folder / names.INSIGHT)
    return insight


def _choose(work: _Work) -> tuple[str, str]:
    """Model that decides, and why."""
    from uplift.metrics import HEADLINE, evaluate

    candidates = [name for name, model in work.models.items() if model.calibrated]
    decide = work.config.decide
    if decide is not None and decide.model != "auto":
        return decide.model, "named in the campaign file"
    if work.selection is None:
        return candidates[0], (
            "the only model that estimates effects"
            if len(candidates) == 1
            else "the first model in the campaign file"
        )
    scores = evaluate(work.selection, {name: work.selection_effects[name] for name in candidates}, draws=20)
    return scores.best(work.stage), (
        f"highest {HEADLINE} at stage {work.stage!r} (mean over arms) on a selection split of {work.selection.n_rows:,} training rows"
    )


def _one_row_per_unit(scored: Campaign, notes: list[str]) -> Campaign:
    """A plan decides once per unit: keep each unit's latest row."""
    if not scored.units_repeat:
        return scored
    order = np.arange(scored.n_rows) if scored.times is None else np.argsort(scored.times, kind="stable")
    last = np.full(int(scored.unit_codes.max()) + 1, -1, np.int64)
    last[scored.unit_codes[order]] = order
    notes.append(
        f"{scored.n_units:,} customers have {scored.n_rows:,} rows; each was scored once, by the {'latest' if scored.times is not None else 'last'} row."
    )
    return scored.take(np.sort(last[last >= 0]))


def _recalibration(work: _Work, decide: DecideSection | None, chosen: str) -> Any:
    """Correction of the chosen model's effects from the selection split; None unless asked for."""
    if decide is None or not decide.recalibrate:
        return None
    from uplift.metrics import recalibration

    assert work.selection is not None
    correction = recalibration(work.selection, work.selection_effects[chosen])
    stage = correction.stages.index(work.stage)
    factors = ", ".join(
        f"{arm} {factor:.2f}"
        for arm, factor in zip(correction.arms[1:], correction.factor[1:, stage], strict=True)
    )
    work.notes.append(
        f"The effects that decide were pulled towards their mean (recalibrate = true); factors at {work.stage!r}: {factors}. The metrics are those of the model as it is."
    )
    return correction


def _allocate(
    work: _Work, decide: DecideSection, scored: Campaign, effects: Effects, chosen: str, correction: Any
) -> Any:
    from uplift.allocation import allocate
    from uplift.allocation.constraints import scaled_constraints
    from uplift.export import write_table
    from uplift.metrics import policy_value

    options: dict[str, Any] = {
        "costs": work.campaign.costs, "margin": decide.margin, "stage": work.stage, "seed": work.seed,
        "holdout": decide.holdout, "campaign_name": work.campaign.name, **decide.allocation_options(),
    }  # fmt: skip
    needed = decide.constraint_columns()
    plan = allocate(effects, budget=decide.budget, columns=scored.table, **options)
    if needed:
        pq.write_table(
            scored.table.select(needed), work.folder / names.CONSTRAINT_COLUMNS, compression="zstd"
        )
    valued, rows, scale = plan, scored, 1.0
    population = "scored customers"
    if work.audience is not None:
        # An audience has no outcomes: value the same rule on the test rows, its budget scaled to their number.
        rows = _one_row_per_unit(work.test, [])
        scale = scored.n_rows / rows.n_rows
        population = "test part, scaled to the audience"
        on_test = work.test_effects[chosen].take(np.searchsorted(work.test.row_numbers, rows.row_numbers))
        on_test = on_test if correction is None else correction.apply(on_test)
        options["constraints"] = scaled_constraints(decide.constraint, 1 / scale)
        valued = allocate(on_test, budget=decide.budget / scale, columns=rows.table, **options)
    value = policy_value(
        rows,
        valued.arm_codes,
        stage=work.stage,
        margin=decide.margin or 1.0,
        costs=work.campaign.costs,
        strict=False,
    )
    plan = plan.with_policy_value({**value.scaled(scale).to_dict(), "population": population, "scale": scale})
    table = plan.to_table()
    write_table(table, work.folder / names.ALLOCATION_PARQUET)
    write_table(table, work.folder / names.ALLOCATION_CSV)
    write_json(work.folder / names.ALLOCATION_JSON, plan.summary())
    return plan


def _describe_run(work: _Work, scored: Campaign, chosen: str, reason: str) -> dict[str, Any]:
    summary = work.campaign.summary()
    return {
        "schema_version": 1,
        "campaign": {
            **summary,
            "arms": names.arms_to_json(work.campaign.arms),
            "rows_per_arm": summary["arms"],
        },
        "config": _public_config(work.config),
        "seed": work.seed,
        "rows": {"all": work.campaign.n_rows, "test": work.test.n_rows, "scored": scored.n_rows},
        "data_fingerprint": work.data_fingerprint,
        "models": {name: _plain(model.get_params()) for name, model in work.models.items()},
        "training": {
            name: _plain(model.history_) for name, model in work.models.items() if hasattr(model, "history_")
        },
        "simulated": (work.config.folder / "simulation.json").is_file(),
        "decide_stage": work.stage,
        "chosen_model": chosen,
        "chosen_because": reason,
        "model_fingerprint": work.models[chosen].fingerprint_,
        "versions": {"python": platform.python_version(), **versions(_LIBRARIES)},
        "platform": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "timings": work.watch.seconds,
        "peak_memory_mb": peak_memory_mb(),
        "notes": work.notes,
    }


def _public_config(config: CampaignFile) -> dict[str, Any]:
    """The campaign file as plain JSON types: no limit is null, passwords are masked."""
    content = config.model_dump(mode="json")
    if content["decide"] is not None and not math.isfinite(content["decide"]["budget"]):
        content["decide"]["budget"] = None
    if content["campaign"]["database"] is not None:
        content["campaign"]["database"] = mask_password(content["campaign"]["database"])
    return content


def _plain(params: dict[str, Any]) -> dict[str, Any]:
    """Constructor parameters as plain JSON types."""
    result: dict[str, Any] = json.loads(json.dumps(params, default=str))
    return result


def peak_memory_mb() -> float:
    """Peak resident memory of this process so far, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1 << 20 if sys.platform == "darwin" else 1 << 10), 1)
