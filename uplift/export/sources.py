"""Where decisions come from: a plan in memory, a run folder, or the file of a plan."""

from __future__ import annotations

import datetime as dt
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from uplift import run_folder as names
from uplift.effects import Effects
from uplift.errors import AllocationError, OutputError, UpliftError
from uplift.export.decisions import Decisions, check_table, find_control, short_hash
from uplift.io.tables import CSV_SUFFIXES, read_table
from uplift.policy import Policy, Price, plan_prices
from uplift.run_folder import RunFolder, arms_from_json
from uplift.segments import segment_columns

if TYPE_CHECKING:
    from uplift.allocation import Allocation, FilePlan


def from_allocation(
    plan: Allocation,
    *,
    effects: Effects | None = None,
    labels: Mapping[str, str] | None = None,
    run_id: str | None = None,
    **options: Any,
) -> Decisions:
    """Decisions of a plan in memory.

    Parameters
    ----------
    plan : Allocation
    effects : Effects, optional
        What it was made from: adds the uplift per stage.
    labels : mapping, optional
        Display name per arm.
    run_id : str, optional
        Default: a hash of the campaign, the model and the plan's sums.
    **options
        ``valid_from``, ``valid_until``, ``known_share`` of :class:`Decisions`.

    Returns
    -------
    Decisions

    Examples
    --------
    >>> from uplift import allocate_arrays
    >>> len(from_allocation(allocate_arrays([[3.0], [2.0]], [[1.0], [1.0]], budget=1.0)))
    2
    """
    c, problem = plan.certificate, plan._problem
    kept = None
    if problem is not None:
        kept = problem.value, problem.cost, problem.open_arm if problem.open_arm.size else None
    if run_id is None:
        run_id = short_hash(
            plan.campaign,
            plan.model,
            plan.model_fingerprint,
            c.n_units,
            c.counts,
            c.expected_value,
            c.expected_cost,
        )
    try:
        policy = plan.policy()
    except AllocationError:  # segments without a name: what held-out units would have got stays unknown
        policy, kept = None, None
        options.setdefault("known_share", plan.recipe.holdout_share)
    table, reasons = plan.to_table(), getattr(plan, "reasons", None)
    if reasons is not None and "reason" not in table.column_names:
        table = table.append_column("reason", reasons)
    return Decisions(
        table=table,
        arms=plan.arms,
        labels=labels or {},
        campaign=plan.campaign,
        model=plan.model,
        model_hash=plan.model_fingerprint,
        run_id=run_id,
        policy=policy,
        effects=effects,
        plan_value=kept,
        constraints=c.constraints,
        budget=plan.summary()["budget"],
        **options,
    )


def from_run(folder: str | os.PathLike[str], **options: Any) -> Decisions:
    """Decisions of a run folder, with labels, effects, prices and budget from its files.

    Parameters
    ----------
    folder : path
        What ``uplift run`` wrote.
    **options
        ``run_id``, ``valid_from``, ``valid_until`` of :class:`Decisions`.

    Returns
    -------
    Decisions

    Raises
    ------
    UpliftError
        It is no run folder, or the run made no allocation.

    Examples
    --------
    >>> from_run("runs/spring").holdout_share  # doctest: +SKIP
    """
    run = RunFolder.open(folder)
    if not (run.path / names.ALLOCATION_PARQUET).exists():
        raise UpliftError(
            f"the run {run.path} made no allocation; add [decide] to its campaign file and run it again."
        )
    described, summary = run.read_json(names.RUN), run.read_json(names.ALLOCATION_JSON)
    try:
        policy = policy_of_run(run)
    except AllocationError:
        # Limits of an earlier version: it says arms, labels and the share held out, and decides nothing.
        policy = replace(_policy(run, ()), eligibility_given=True, conditions=())
    effects = Effects.read_parquet(run.path / names.EFFECTS)
    table = read_table(run.path / names.ALLOCATION_PARQUET)
    options.setdefault("run_id", run_id_of(described))
    columns = run.path / names.CONSTRAINT_COLUMNS
    read = read_table(columns) if columns.exists() else None
    if policy.conditions:
        # The plan's own numbers, and whom its rules left out; without the columns that say so, that stays unknown.
        with suppress(AllocationError):
            opened = policy.eligible(len(effects), columns=read, effects=effects)
            options.setdefault("plan_value", (*policy.amounts(effects), opened))
    return Decisions(
        table=table,
        arms=policy.arms,
        labels=policy.labels,
        campaign=policy.campaign,
        model=policy.model,
        model_hash=policy.model_fingerprint,
        policy=policy,
        effects=effects.for_units(table[table.column_names[0]].combine_chunks(), source=names.EFFECTS),
        constraints=summary["constraints"],
        budget=summary["budget"],
        **options,
    )


def from_file(
    path: str | os.PathLike[str] | FilePlan,
    *,
    control: str | None = None,
    effects: Effects | None = None,
    policy: Policy | None = None,
    **options: Any,
) -> Decisions:
    """Decisions of a plan's file (Parquet or CSV); what stands in ``PATH.json`` beside it is used too.

    Parameters
    ----------
    path : path or FilePlan
        A table as of ``Allocation.to_table()``; or what :func:`uplift.allocation.allocate_file` has returned, which
        knows its own summary.
    control : str, optional
        Name of the control, where the file does not say (text files do not).
    effects : Effects, optional
        What the plan was made from (found by unit id): adds the uplift per stage.
    policy : Policy, optional
        The rule behind the plan: says the share held out, and why units are in control.
    **options
        Keywords of :class:`Decisions`.

    Returns
    -------
    Decisions

    Raises
    ------
    OutputError
        It is no plan, or which arm is the control cannot be told.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from uplift import allocate_arrays
    >>> from uplift.export import write_table
    >>> plan = allocate_arrays([[3.0], [2.0]], [[1.0], [1.0]], budget=1.0)
    >>> file = write_table(plan.to_table(), pathlib.Path(tempfile.mkdtemp()) / "plan.csv")
    >>> from_file(file, control="control").arms
    ('control', 'arm_1')
    """
    streamed = None if isinstance(path, str | os.PathLike) else path
    file = Path(path) if isinstance(path, str | os.PathLike) else path.path
    table = read_table(file)
    check_table(table, str(file))
    if file.name.lower().endswith(CSV_SUFFIXES):
        names = (
            *segment_columns(table.column_names),
            table.column_names[0],
            "arm",
            "decision_id",
            "reason",
            "campaign",
            "model",
            "model_hash",
            "run_id",
        )
        table = read_table(file, text=[name for name in names if name in table.column_names])
    summary: dict[str, Any] = {}
    beside = file.with_name(file.name + ".json")
    if streamed is not None:
        summary = streamed.summary()
    elif beside.is_file():
        try:
            summary = json.loads(beside.read_text(encoding="utf-8"))
        except (OSError, json.JSONDecodeError) as error:
            raise OutputError(f"{beside} is damaged ({error}); make the plan again.") from error
    return from_table(
        table,
        control=control if policy is None else policy.arms[0],
        effects=effects,
        policy=policy,
        constraints=summary.get("constraints", []),
        budget=summary.get("budget"),
        **options,
    )


def from_table(table: pa.Table, *, control: str | None = None, **options: Any) -> Decisions:
    """Decisions of a plan's table; the control is the first of its arms where it says so, else the arm that costs nothing.

    Parameters
    ----------
    table : pyarrow.Table
        As of ``Allocation.to_table()``.
    control : str, optional
        Name of the control, where the table does not say.
    **options
        Keywords of :class:`Decisions`; effects are found by unit id.

    Returns
    -------
    Decisions

    Raises
    ------
    OutputError
        It is no plan, or which arm is the control cannot be told.

    Examples
    --------
    >>> from uplift import allocate_arrays
    >>> from_table(allocate_arrays([[3.0], [2.0]], [[1.0], [1.0]], budget=1.0).to_table()).control
    'control'
    """
    check_table(table)
    effects: Effects | None = options.get("effects")
    if effects is not None:
        # Text files lose the order of the arms; the effects have it, and rows are matched by unit.
        known = find_control(table, effects.control)
        unknown = [arm for arm in known if arm not in effects.arms]
        if unknown:
            raise OutputError(
                f"the plan has an arm {unknown[0]!r}, the effects have {', '.join(effects.arms)}."
            )
        units = table[table.column_names[0]].combine_chunks()
        options["effects"] = effects.for_units(units)
        first = Decisions(table=table, arms=tuple(effects.arms), **options)
    else:
        first = Decisions(table=table, arms=find_control(table, control), **options)
    policy = first.policy
    found: dict[str, Any] = {}
    for name in ("campaign", "model", "model_hash", "run_id"):
        if name in table.column_names and len(table):
            values = table[name].unique().to_pylist()
            if len(values) > 1:
                raise OutputError(
                    f"the plan holds {len(values)} values of {name!r}; export one campaign and run at a time."
                )
            found[name] = "" if values[0] is None else str(values[0])
    if policy is not None:
        found |= {"campaign": policy.campaign, "model": policy.model, "model_hash": policy.model_fingerprint}
    given = {name: getattr(first, name) for name in found if getattr(first, name)}
    found |= given
    if not found.get("run_id"):
        sums = [
            float(pa.compute.sum(table[name]).as_py() or 0.0) for name in ("expected_value", "expected_cost")
        ]
        found["run_id"] = short_hash(found.get("campaign"), found.get("model"), len(table), *sums)
    return replace(first, arms=policy.arms if policy is not None else first.arms, **found)


def policy_of_run(run: RunFolder) -> Policy:
    """The policy of a run's plan, from its files.

    Parameters
    ----------
    run : RunFolder

    Returns
    -------
    Policy

    Raises
    ------
    UpliftError
        The run made no allocation, or its plan is of an earlier version that does not say what its limits count.

    Examples
    --------
    >>> policy_of_run(RunFolder.open("runs/spring")).save("policy.json")  # doctest: +SKIP
    """
    if run.read_json(names.RUN)["config"]["decide"] is None:
        return _policy(run, ())  # says so
    return _policy(run, plan_prices(run.read_json(names.ALLOCATION_JSON)["constraints"]))


def _policy(run: RunFolder, prices: tuple[Price, ...]) -> Policy:
    from uplift.allocation.constraints import Constraint, as_rules
    from uplift.allocation.recipe import conditions_of

    described = run.read_json(names.RUN)
    decide = described["config"]["decide"]
    if decide is None:
        raise UpliftError(
            f"the run {run.path} made no allocation; add [decide] to its campaign file and run it again."
        )
    summary = run.read_json(names.ALLOCATION_JSON)
    arms = arms_from_json(described["campaign"]["arms"])
    rules = as_rules(decide.get("constraint"))
    exactly_one = bool(decide.get("exactly_one"))
    limited = exactly_one or any(isinstance(rule, Constraint) for rule in rules)
    return Policy(
        arms=tuple(arm.name for arm in arms),
        prices=prices,
        stage=described["decide_stage"],
        margin=1.0 if decide["margin"] is None else float(decide["margin"]),
        costs={arm.name: arm.cost for arm in arms[1:] if arm.cost is not None},
        holdout_share=float(decide["holdout"]),
        salt=f"{described['campaign']['name']}:{described['seed']}",
        min_roi=float(decide.get("min_roi") or 0.0),
        step_floor=limited or decide.get("method") in ("dual", "exact"),
        exactly_one=exactly_one,
        caution=float(decide.get("caution") or 0.0),
        eligibility_given=any(not isinstance(rule, Constraint) for rule in rules),
        conditions=conditions_of(rules),
        campaign=described["campaign"]["name"],
        model=described["chosen_model"],
        model_fingerprint=described["model_fingerprint"],
        labels={arm.name: arm.display for arm in arms},
        budget=summary["budget"],
        expected_cost=summary["expected_cost"],
        n_units=described["rows"]["scored"],
    )


def run_id_of(described: Mapping[str, Any]) -> str:
    """Id of a run: a hash of its data, seed, configuration and model; the same inputs have the same id."""
    return short_hash(
        described["data_fingerprint"],
        described["seed"],
        described["config"],
        described["chosen_model"],
        described["model_fingerprint"],
    )


def parse_moment(text: str, option: str) -> dt.datetime:
    """An ISO 8601 date or time; without a zone it is UTC.

    Raises
    ------
    OutputError
        Something else.
    """
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        raise OutputError(
            f"{option} {text!r} is no date; write for example 2026-12-01 or 2026-12-01T08:00:00+01:00."
        ) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)).astimezone(dt.UTC)
