"""The tables of the report, from the result objects: every number in the page comes from here or from a figure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from uplift.arms import VALUE_STAGE
from uplift.campaign import Campaign
from uplift.metrics.definitions import HEADLINE, describe
from uplift.metrics.evaluation import Evaluation
from uplift.reporting.effects_in_context import AverageEffect, average_effects, chain_parts
from uplift.reporting.names import Names
from uplift.reporting.numbers import (
    NO_INTERVAL,
    RELATIVE,
    amount,
    effect_unit,
    metric_unit,
    percent,
    probability,
    rate_unit,
    whole,
)
from uplift.reporting.soundness import ICONS, WORDS, shown_status
from uplift.reporting.tables import Cell, Column, Row, Table, count_cell, number_cell, text_cell

ARROWS = {"up": "▲ above zero", "down": "▼ below zero", "unclear": "includes zero", "missing": NO_INTERVAL}


def arms_table(campaign: Campaign, rows_per_arm: Mapping[str, int] | None = None, *, names: Names) -> Table:
    """Arms: label, face value, cost and rows (those of `campaign` unless given)."""
    counts: np.ndarray | None = None
    if rows_per_arm and set(rows_per_arm) == set(campaign.arm_names):
        counts = np.array([rows_per_arm[name] for name in campaign.arm_names])
    elif campaign.has_outcomes:
        counts = np.bincount(campaign.arm_codes, minlength=len(campaign.arms))
    total = 1 if counts is None else max(int(counts.sum()), 1)
    rows = []
    for code, arm in enumerate(campaign.arms):
        rows.append(
            Row(
                (
                    _arm_cell(arm.name, names, small="control" if code == 0 else ""),
                    Cell(
                        amount(arm.amount) + (f" from {amount(arm.threshold)}" if arm.threshold else ""),
                        "" if arm.amount is None else repr(arm.amount),
                    ),
                    text_cell(arm.cost.describe() if arm.cost else "–"),
                    Cell("–") if counts is None else count_cell(int(counts[code])),
                    Cell("–")
                    if counts is None
                    else Cell(percent(counts[code] / total), repr(float(counts[code] / total))),
                )
            )
        )
    columns = (
        Column("Arm", numeric=False),
        Column("Face value"),
        Column("Cost", numeric=False),
        Column("Rows"),
        Column("Share"),
    )
    return Table("table-arms", "Arms of the campaign", columns, tuple(rows))


def checks_table(entries: list[dict[str, Any]]) -> Table:
    """Every check: status in words, question, numbers and advice."""
    rows = [
        Row(
            (
                Cell(f"{ICONS[status]} {WORDS[status]}", status, tone=f"status {status}"),
                text_cell(str(e.get("title") or e["check"]), small=str(e["check"])),
                text_cell(str(e.get("detail", ""))),
            ),
            tone=status,
        )
        for e, status in ((entry, shown_status(entry)) for entry in entries)
    ]
    columns = (
        Column("Status", numeric=False),
        Column("Question", numeric=False),
        Column("Answer", numeric=False),
    )
    return Table("table-checks", "Checks of the experiment", columns, tuple(rows))


def effects_table(evaluation: Evaluation, names: Names) -> Table:
    """Average effect per stage and arm, absolute and relative."""
    rows = []
    for e in average_effects(evaluation):
        unit = effect_unit(e.stage)
        rows.append(
            Row(
                (
                    text_cell(names.stage(e.stage)),
                    _arm_cell(e.arm, names),
                    number_cell(e.value, unit, e.low, e.high, sign=True, tone=e.direction),
                    text_cell(ARROWS[e.direction], tone=e.direction),
                    number_cell(e.relative, RELATIVE, e.relative_low, e.relative_high, sign=True),
                    number_cell(e.control, rate_unit(e.stage)),
                )
            )
        )
    columns = (
        Column("Stage", numeric=False),
        Column("Arm", numeric=False),
        Column("Effect", "ate"),
        Column("Interval", numeric=False),
        Column("Relative to control", "ate / control"),
        Column("Control", "mean outcome"),
    )
    caption = f"Average effect against control on the {whole(int(evaluation.campaign['rows']))} test rows, {evaluation.confidence:.0%} intervals"
    return Table("table-effects", caption, columns, tuple(rows), sortable=True)


def chain_table(evaluation: Evaluation, stage: str, names: Names) -> Table | None:
    """How much of the effect at `stage` comes from each step of the chain; None when it cannot be split."""
    rows, shown = [], names.stage(stage)
    for arm in evaluation.arms[1:]:
        parts = chain_parts(evaluation, arm, stage)
        if parts is None:
            continue
        unit = effect_unit(stage)
        total = sum(part.contribution for part in parts)
        for part in parts:
            given = rate_unit(VALUE_STAGE if part.step.startswith(f"{VALUE_STAGE} per") else "")
            share = part.contribution / total if abs(total) > 1e-12 else math.nan
            rows.append(
                Row(
                    (
                        _arm_cell(arm, names),
                        text_cell(part.step),
                        number_cell(part.control, given),
                        number_cell(part.treated, given),
                        number_cell(part.contribution, unit, part.low, part.high, sign=True),
                        # A share of a total that two opposite parts nearly cancel says nothing.
                        Cell(percent(share, digits=0), repr(share))
                        if abs(share) <= 2
                        else Cell("–", "", "parts cancel"),
                    )
                )
            )
        rows.append(
            Row(
                (
                    text_cell(names.arm(arm), tone="strong"),
                    text_cell("all steps", tone="strong"),
                    Cell(""),
                    Cell(""),
                    number_cell(total, unit, sign=True, tone="strong"),
                    Cell("100 %", "1.0", tone="strong"),
                ),
                tone="total",
            )
        )
    columns = (
        Column("Arm", numeric=False),
        Column("Step", numeric=False),
        Column("Control"),
        Column("Arm's rate"),
        Column(f"Part of the {shown} effect"),
        Column("Share"),
    )
    if not rows:
        return None
    return Table("table-chain", f"Where the {shown} effect comes from", columns, tuple(rows))


def chain_sentence(evaluation: Evaluation, arm: str, stage: str, names: Names) -> str:
    """How much of one arm's effect comes through which step; empty when it was not split or the parts cancel."""
    parts = chain_parts(evaluation, arm, stage)
    total = sum(part.contribution for part in parts or ())
    if not parts or abs(total) < 1e-12 or any(abs(part.contribution / total) > 2 for part in parts):
        return ""
    unit = effect_unit(stage)
    said = [
        f"{percent(part.contribution / total, digits=0)} ({unit.show(part.contribution, sign=True)}, "
        f"{unit.interval(part.low, part.high, sign=True)}) through {part.step}"
        for part in sorted(parts, key=lambda part: -part.contribution)
    ]
    return f"Of the {names.stage(stage)} effect of {names.arm(arm)}, {unit.show(total, sign=True)}, {'; '.join(said)}."


def scores_table(evaluation: Evaluation, chosen: str, role: str, arms: int, names: Names) -> Table:
    """Every model, stage and arm by every metric, with intervals, for the first `arms` treated arms; the page filters it.

    `role` says why the model `chosen` stands out.
    """
    metrics = list(dict.fromkeys(evaluation.scores["metric"]))
    found = {(r["model"], r["stage"], r["arm"], r["metric"]): r for r in evaluation.scores.to_dict("records")}
    rows = []
    for s, stage in enumerate(evaluation.stages):
        for a, arm in enumerate(evaluation.arms[1 : 1 + arms]):
            for model in evaluation.models:
                remark = role if model == chosen else "ranks only" if model in evaluation.uncalibrated else ""
                cells = [text_cell(model, small=remark), text_cell(names.stage(stage)), _arm_cell(arm, names)]
                for metric in metrics:
                    row = found.get((model, stage, arm, metric))
                    if row is None:
                        cells.append(Cell("–", "", ""))
                        continue
                    cells.append(
                        number_cell(row["value"], metric_unit(metric, stage), row["low"], row["high"])
                    )
                rows.append(
                    Row(
                        tuple(cells),
                        {"stage": str(s), "arm": str(a), "model": str(evaluation.models.index(model))},
                        "chosen" if model == chosen else "",
                    )
                )
    heads = [Column("Model", numeric=False), Column("Stage", numeric=False), Column("Arm", numeric=False)]
    heads += [Column(_title(metric), metric) for metric in metrics]
    caption = f"Models side by side on the {whole(int(evaluation.campaign['rows']))} test rows, {evaluation.confidence:.0%} intervals"
    return Table("table-scores", caption, tuple(heads), tuple(rows), sortable=True, by="stage arm")


def differences_table(evaluation: Evaluation, chosen: str, arms: int, names: Names) -> Table | None:
    """Headline of the chosen model less that of every other, paired on the same rows, and how likely chance alone is.

    None where there is no other model.
    """
    others = [name for name in evaluation.models if name != chosen]
    if not others:
        return None
    rows = []
    for s, stage in enumerate(evaluation.stages):
        unit = metric_unit(HEADLINE, stage)
        for a, arm in enumerate(evaluation.arms[1 : 1 + arms]):
            for other in others:
                row = evaluation.difference(chosen, other, stage, arm)
                clear = row["low"] > 0 or row["high"] < 0
                rows.append(
                    Row(
                        (
                            text_cell(other, small="ranks only" if other in evaluation.uncalibrated else ""),
                            text_cell(names.stage(stage)),
                            _arm_cell(arm, names),
                            number_cell(
                                row["value"],
                                unit,
                                row["low"],
                                row["high"],
                                sign=True,
                                tone="" if not clear else "up" if row["value"] > 0 else "down",
                            ),
                            Cell(probability(row["p"]), repr(float(row["p"]))),
                            text_cell("yes" if clear else "no, could be chance"),
                        ),
                        {"stage": str(s), "arm": str(a)},
                    )
                )
    columns = (
        Column("Compared with", numeric=False),
        Column("Stage", numeric=False),
        Column("Arm", numeric=False),
        Column("Difference in Qini per customer", HEADLINE),
        Column("p-value"),
        Column("Told apart?", numeric=False),
    )
    caption = f"{chosen} less each other model, on the same rows ({evaluation.confidence:.0%} intervals of the paired difference)"
    return Table("table-differences", caption, columns, tuple(rows), sortable=True, by="stage arm")


def definitions_table(evaluation: Evaluation) -> Table:
    """Definition of every metric in the report."""
    rows: list[Row] = []
    for metric in ["ate", *dict.fromkeys(evaluation.scores["metric"])]:
        if metric == "ate" and rows:
            continue
        d = describe(metric)
        rows.append(
            Row(
                (
                    Cell(d.id, d.id, code=True),
                    text_cell(d.title),
                    text_cell(d.formula),
                    text_cell(d.unit),
                    text_cell(d.random.replace("-", "–") if d.random == "-" else d.random),
                    text_cell(d.source),
                )
            )
        )
    columns = tuple(
        Column(title, numeric=False)
        for title in ("Id", "Name", "Formula", "Unit", "Random ranking", "Source")
    )
    return Table("table-definitions", "Definitions of the metrics", columns, tuple(rows))


def strongest(evaluation: Evaluation, stage: str) -> AverageEffect:
    """The arm with the largest effect at a stage."""
    found = (e for e in average_effects(evaluation) if e.stage == stage)
    return max(found, key=lambda e: e.value if math.isfinite(e.value) else -math.inf)


def last_chain_stage(evaluation: Evaluation) -> str:
    """The last binary stage."""
    return [stage for stage in evaluation.stages if stage != VALUE_STAGE][-1]


def _arm_cell(arm: str, names: Names, *, small: str = "") -> Cell:
    remark = ", ".join(filter(None, (names.arm_small(arm), small)))
    return text_cell(names.arm(arm), small=remark)


def _title(metric: str) -> str:
    return "Qini per customer" if metric == HEADLINE else describe(metric).title
