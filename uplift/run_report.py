"""Draw the report of a finished run again, from the files of the run folder alone."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from uplift import run_folder as names
from uplift.effects import Effects
from uplift.errors import UpliftError
from uplift.io.tables import read_table
from uplift.run_folder import RunFolder, arms_from_json

_DECIDE_OPTIONS = ("min_roi", "caution", "exactly_one", "method", "time_limit")


def report_run(run: str | os.PathLike[str], out: str | os.PathLike[str] | None = None) -> Path:
    """Evaluate the saved test effects again, make the saved plan again, and write the report.

    Parameters
    ----------
    run : path
        Run folder.
    out : path, optional
        HTML file or folder; default ``report.html`` in the run folder.

    Raises
    ------
    UpliftError
        Not a run folder, or files are missing or damaged, or the plan can no longer be reproduced.
    """
    from uplift.metrics import evaluate
    from uplift.reporting import report

    folder = RunFolder.open(run)
    described = folder.read_json(names.RUN)
    test, effects = folder.test_effects()
    evaluation = evaluate(test, effects, random_state=described["seed"])
    plan = plan_again(folder, described)
    return report(
        out if out is not None else folder.path / names.REPORT,
        test,
        evaluation,
        plan,
        checks=folder.read_json(names.CHECKS),
        run=described,
        insight=_insight(folder),
        curves=_spend_curves(plan, test, effects, described),
    )


def _spend_curves(plan: Any, test: Any, effects: dict[str, Effects], described: dict[str, Any]) -> Any:
    """Measured value against spend as the run computed it; none where it could not be (the run's notes say why)."""
    from uplift.errors import EvaluationError
    from uplift.plan_curves import curves_of_plan

    if plan is None:
        return ()
    try:
        return curves_of_plan(
            plan,
            test,
            effects,
            chosen=described["chosen_model"],
            costs={
                arm.name: arm.cost
                for arm in arms_from_json(described["campaign"]["arms"])
                if arm.cost is not None
            },
            margin=described["config"]["decide"]["margin"],
            stage=described["decide_stage"],
        )
    except EvaluationError:
        return ()


def _insight(folder: RunFolder) -> Any:
    """Segments and drivers as the run computed them; None in folders of versions that did not."""
    from uplift.insight import Insight

    path = folder.path / names.INSIGHT
    return Insight.read(path) if path.is_file() else None


def plan_again(folder: RunFolder, described: dict[str, Any]) -> Any:
    """The allocation with its budget curve; it is deterministic, so the files need not hold the curve."""
    from uplift.allocation import allocate
    from uplift.allocation.device import device_or_cpu

    decide = described["config"]["decide"]
    if decide is None:
        return None
    saved = folder.read_json(names.ALLOCATION_JSON)
    kept = folder.path / names.CONSTRAINT_COLUMNS
    options = {key: decide[key] for key in _DECIDE_OPTIONS if key in decide}
    arms = arms_from_json(described["campaign"]["arms"])
    plan = allocate(
        Effects.read_parquet(folder.path / names.EFFECTS),
        costs={arm.name: arm.cost for arm in arms if arm.cost is not None},
        margin=decide["margin"],
        stage=described["decide_stage"],
        budget=saved["budget"],
        holdout=decide["holdout"],
        seed=described["seed"],
        campaign_name=described["campaign"]["name"],
        constraints=decide.get("constraint") or None,
        columns=read_table(kept) if kept.exists() else None,
        device=device_or_cpu(decide.get("device", "cpu")),
        **options,
    ).with_policy_value(saved["policy_value"])
    if plan.summary() != saved:
        raise UpliftError(
            f"the plan made again from {folder.path / names.EFFECTS} differs from {names.ALLOCATION_JSON}; one of the files was changed, run it again."
        )
    return plan
