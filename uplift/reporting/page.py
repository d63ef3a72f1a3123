"""`report`: the results as one HTML file that needs nothing else."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import uplift
from uplift.allocation import Allocation
from uplift.campaign import Campaign
from uplift.errors import OutputError, UpliftError
from uplift.insight import Insight
from uplift.io.atomic import write_text
from uplift.metrics.cost_curve import CostCurve
from uplift.metrics.evaluation import Evaluation
from uplift.reporting import facts, insight_facts, next_steps, pictures, plan_facts, reproduce, spend_facts
from uplift.reporting.decision import decision
from uplift.reporting.embed import script_json
from uplift.reporting.insight_pictures import insight_pictures
from uplift.reporting.markup import environment, source
from uplift.reporting.measured import measured
from uplift.reporting.names import Names
from uplift.reporting.numbers import MONEY, exact, percent, whole
from uplift.reporting.plan_words import certificate_sentences, plan_sentences, unspent
from uplift.reporting.soundness import check_list, light
from uplift.reporting.tables import Table
from uplift.reporting.theme import template
from uplift.reporting.trained import trained_models
from uplift.reporting.verdict import on_rows, other_arm_sentence, verdict

FILE_NAME = "report.html"


def report(
    path: str | os.PathLike[str],
    campaign: Campaign,
    evaluation: Evaluation,
    plan: Allocation | None = None,
    *,
    checks: Any = None,
    run: Mapping[str, Any] | None = None,
    insight: Insight | None = None,
    curves: Sequence[CostCurve] = (),
    title: str | None = None,
    overwrite: bool = True,
) -> Path:
    """Write the report: a self-contained HTML file that opens offline and sends no request.

    Parameters
    ----------
    path : path
        A file that ends in ``.html``, or a folder in which ``report.html`` is written.
    campaign : Campaign
        The campaign, or its test rows when `run` holds the sizes of the whole.
    evaluation : Evaluation
        Scores of the models on its test rows.
    plan : Allocation, optional
        Who gets what. Without it the sections on the budget say so.
    checks : CheckReport or list of dict, optional
        Checks of the experiment, as a report or as in ``checks.json``. Without them the experiment counts as
        not checked.
    run : mapping, optional
        As in ``run.json``: ``config``, ``seed``, ``versions``, ``timings``, the data fingerprint and whatever
        else; passwords are masked and folders cut off. Read for the verdict are ``decide_stage``,
        ``chosen_model``, ``chosen_because``, ``config["decide"]["margin"]``, ``rows["all"]``,
        ``campaign["rows_per_arm"]``, ``campaign["value"]`` (the value column's name), ``notes``, and ``simulated``, which marks the data as simulated.
        ``training`` maps model names to their ``history_``, which is drawn; ``models[NAME]`` says by which
        ``criterion``, ``max_epochs`` and ``patience`` it came about.
    insight : Insight, optional
        Segments, quadrants and drivers, from :func:`uplift.explain`. Without it the sections on them say so.
    curves : sequence of CostCurve, optional
        Measured value against spend, the deciding model first (:func:`uplift.cost_curve`). Shown beside the plan.
    title : str, optional
        Default: the campaign's name.
    overwrite : bool
        Replace the file when it exists: a report can always be drawn again.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    OutputError
        The file exists and `overwrite` is off, or it cannot be written.
    UpliftError
        The evaluation or the plan does not belong to the campaign, or a training history cannot be read.

    Examples
    --------
    >>> report("report.html", campaign, evaluation, plan)  # doctest: +SKIP
    """
    target = Path(path)
    if target.suffix.lower() not in (".html", ".htm"):
        target = target / FILE_NAME
    if target.exists() and not overwrite:
        raise OutputError(f"{target} exists; pass overwrite=True to replace it or choose another path.")
    return write_text(
        target,
        render(
            campaign, evaluation, plan, checks=checks, run=run, insight=insight, curves=curves, title=title
        ),
    )


def render(
    campaign: Campaign,
    evaluation: Evaluation,
    plan: Allocation | None = None,
    *,
    checks: Any = None,
    run: Mapping[str, Any] | None = None,
    insight: Insight | None = None,
    curves: Sequence[CostCurve] = (),
    title: str | None = None,
) -> str:
    """The page of :func:`report` as text."""
    _same_campaign(campaign, evaluation, plan, insight)
    entries = check_list(checks)
    shown = environment().get_template("report.html.j2")
    return shown.render(
        **_content(campaign, evaluation, plan, entries, run or {}, insight, curves, title),
        style=source("report.css"),
        script=source("page.js") + source("report.js"),
        plotly=plotly_script(),
    )


def _content(
    campaign: Campaign,
    evaluation: Evaluation,
    plan: Allocation | None,
    entries: list[dict[str, Any]],
    run: Mapping[str, Any],
    insight: Insight | None,
    curves: Sequence[CostCurve],
    title: str | None,
) -> dict[str, Any]:
    lamp = light(entries)
    names = Names.of(campaign, run)
    chosen = decision(evaluation, plan, run, names)
    said = verdict(campaign, evaluation, plan, lamp, chosen, names)
    best = [m for m in (chosen.model,) if m in evaluation.models]
    drawn = pictures.experiment_pictures(evaluation, entries, names)
    drawn |= pictures.model_pictures(evaluation, best, names)
    trained = trained_models(run, evaluation, names)
    drawn |= {one.key: one.figure for one in trained}
    found = None
    if plan is not None:
        drawn |= pictures.plan_pictures(plan, names)
        found = measured(plan) if plan.certificate.n_treated else None
        if curves:
            drawn |= pictures.spend_picture(curves, plan, names)
    budget = _budget(plan, curves) if plan is not None else None
    shown = pictures.shown_arms(evaluation)
    strongest = facts.strongest(evaluation, chosen.stage).arm
    start = {
        "stage": evaluation.stages.index(chosen.stage),
        "arm": min(evaluation.arms.index(strongest) - 1, shown - 1),
        "model": evaluation.models.index(chosen.model),
        "effects": 0,
        "curve": "gain",
        "feature": 0,
    }
    if insight is not None:
        drawn |= insight_pictures(insight, evaluation.stages, shown, names)
    return {
        "title": title or campaign.name,
        "campaign": campaign,
        "evaluation": evaluation,
        "plan": plan,
        "light": lamp,
        "chosen": chosen,
        "verdict": said,
        "subtitle": _subtitle(campaign, evaluation, run),
        "simulated": bool(run.get("simulated")),
        "figures": drawn,
        "arms_table": facts.arms_table(
            campaign, (run.get("campaign") or {}).get("rows_per_arm"), names=names
        ),
        "checks_table": facts.checks_table(entries) if entries else None,
        "effects_table": facts.effects_table(evaluation, names),
        "effect_views": pictures.effect_views(evaluation, names),
        "chain_sentence": facts.chain_sentence(
            evaluation, strongest, _chain_stage(evaluation, chosen.stage), names
        ),
        "chain_tables": _chain_tables(evaluation, chosen.stage, names),
        "scores_table": facts.scores_table(evaluation, chosen.model, chosen.role, shown, names),
        "differences_table": facts.differences_table(evaluation, chosen.model, shown, names),
        "shown_arms": shown,
        "who": _who(insight, evaluation, strongest, names),
        "drivers": _drivers(insight, names),
        "trained": trained,
        "start": start,
        "plan_sentences": [
            *plan_sentences(plan, chosen, names),
            *other_arm_sentence(campaign, evaluation, plan, chosen, names),
        ]
        if plan is not None
        else [],
        "certificate_sentences": certificate_sentences(plan) if plan is not None else [],
        "allocation_table": plan_facts.allocation_table(plan, names) if plan is not None else None,
        "constraint_table": plan_facts.constraint_table(plan) if plan is not None else None,
        "budget_table": plan_facts.budget_table(plan) if plan is not None else None,
        "spend_table": spend_facts.spend_table(curves, plan, names) if plan is not None and curves else None,
        "budget": budget,
        "definitions_table": facts.definitions_table(evaluation),
        "run_facts": reproduce.facts(run),
        "run_blocks": reproduce.blocks(run),
        "commands": next_steps.commands(run, failed=lamp.status == "fail"),
        "missing_decision": next_steps.missing_decision(campaign, run, chosen.stage),
        "on_rows": on_rows(evaluation),
        "run_notes": [str(note) for note in reproduce.public(list(run.get("notes") or ()))],
        "notes": list(evaluation.notes),
        "measured": found,
        "skipped": names.all_arms(found.skipped) if found is not None else [],
        "data_json": script_json(
            {
                "templates": {
                    "light": template().to_plotly_json(),
                    "dark": template(dark=True).to_plotly_json(),
                },
                "figures": drawn,
                "state": start,
                "budget": budget,
            }
        ),
        "exact": exact,
        "percent": percent,
        "whole": whole,
        "money": MONEY.show,
        "gap": plan_facts.gap_words(plan) if plan is not None else "",
        "unspent": unspent(plan) if plan is not None else "",
        "options": {
            "stages": list(enumerate(map(names.stage, evaluation.stages))),
            "arms": list(enumerate(names.all_arms(evaluation.arms[1 : 1 + shown]))),
            "models": list(enumerate(evaluation.models)),
            "features": list(enumerate(one.feature for one in insight.dependence)) if insight else [],
        },
        "version": uplift.__version__,
    }


def _who(
    insight: Insight | None, evaluation: Evaluation, strongest: str, names: Names
) -> dict[str, Any] | None:
    """Segments, quadrants and the spread of the effects; None without insight."""
    if insight is None:
        return None
    return {
        "answer": insight_facts.best_segment_sentence(insight, strongest, names),
        "stage": names.stage(insight.stage),
        "model": insight.model,
        "sentences": [
            (insight.all_arms.index(arm) - 1, sentence)
            for arm in insight.arms
            for sentence in insight_facts.segment_sentences(insight, arm, names)
        ],
        "segments_table": insight_facts.segments_table(insight, names),
        "quadrants_table": insight_facts.quadrants_table(insight, names),
        "rules": [
            (insight.all_arms.index(arm) - 1, insight_facts.quadrant_rule(insight, arm, names))
            for arm in insight.arms
        ],
        "spread_table": insight_facts.spread_table(insight, evaluation.stages, names),
        "explained": [
            (insight.all_arms.index(one.arm) - 1, percent(one.explained, digits=0))
            for one in insight.segments
        ],
        "notes": list(insight.notes),
    }


def _drivers(insight: Insight | None, names: Names) -> dict[str, Any] | None:
    """Importance, effect by feature and SHAP; None without insight."""
    if insight is None:
        return None
    return {
        "sentences": insight_facts.driver_sentences(insight, names),
        "importance_table": insight_facts.importance_table(insight, names),
        "dependence_table": insight_facts.dependence_table(insight, names),
        "shap_table": insight_facts.shap_table(insight, names),
    }


def _budget(plan: Allocation, curves: Sequence[CostCurve]) -> dict[str, Any]:
    """The budget curve in full precision, where the slider starts, and what was measured where it is known."""
    curve, budget = plan.curve, plan.certificate.budget
    last = float(curve.budgets[-1])
    return {
        "budgets": curve.budgets.tolist(),
        "values": curve.values.tolist(),
        "spends": curve.spends.tolist(),
        "roi": curve.marginal_roi.tolist(),
        "treated": curve.treated.tolist(),
        "start": min(budget, last),
        "last": last,
        "measured": spend_facts.measured_budget(curves, plan) if curves else None,
    }


def _chain_tables(evaluation: Evaluation, stage: str, names: Names) -> list[Table]:
    """The decided stage's effect along the chain; a first stage has no steps, then the last one's."""
    found = facts.chain_table(evaluation, _chain_stage(evaluation, stage), names)
    return [found] if found is not None else []


def _chain_stage(evaluation: Evaluation, stage: str) -> str:
    return stage if stage != evaluation.stages[0] else evaluation.stages[-1]


def _subtitle(campaign: Campaign, evaluation: Evaluation, run: Mapping[str, Any]) -> str:
    test = int(evaluation.campaign["rows"])
    rows = int((run.get("rows") or {}).get("all") or len(campaign))
    where = (
        f"judged on {whole(test)} test rows ({percent(test / max(rows, 1), digits=0)})"
        if test < rows
        else "judged on all rows"
    )
    return f"{whole(rows)} rows, {len(campaign.arms) - 1} arm{'s' if len(campaign.arms) != 2 else ''} and control, {pictures.models_and_references(evaluation)} {where}"


def _same_campaign(
    campaign: Campaign, evaluation: Evaluation, plan: Allocation | None, insight: Insight | None
) -> None:
    if tuple(evaluation.arms) != campaign.arm_names or tuple(evaluation.stages) != campaign.stages:
        raise UpliftError(
            f"the evaluation has arms {', '.join(evaluation.arms)} and stages {', '.join(evaluation.stages)}, the campaign "
            f"{', '.join(campaign.arm_names)} and {', '.join(campaign.stages)}; pass the campaign that was evaluated."
        )
    if insight is not None and (
        insight.all_arms != campaign.arm_names or insight.stage not in evaluation.stages
    ):
        raise UpliftError(
            f"the insight is about the arms {', '.join(insight.all_arms)} at stage {insight.stage!r}, the campaign has "
            f"{', '.join(campaign.arm_names)} and {' -> '.join(evaluation.stages)}; explain the campaign that was evaluated."
        )
    if plan is not None and tuple(plan.arms) != campaign.arm_names:
        raise UpliftError(
            f"the plan has arms {', '.join(plan.arms)}, the campaign {', '.join(campaign.arm_names)}; pass the campaign that was planned for."
        )


def plotly_script() -> str:
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())
