"""How the results show themselves in a notebook: small tables, escaped, in the colours of whatever theme is on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from uplift.metrics.definitions import HEADLINE
from uplift.reporting.markup import environment
from uplift.reporting.names import Names
from uplift.reporting.numbers import MONEY, amount, effect_unit, metric_unit, percent, rate_unit, whole

if TYPE_CHECKING:
    from uplift.allocation import Allocation, CurveBand
    from uplift.campaign import Campaign
    from uplift.effects import Effects
    from uplift.insight import Insight
    from uplift.metrics.evaluation import Evaluation

MOST_ROWS = 12
"""Rows of a table in a notebook; the rest is counted."""


def campaign_html(campaign: Campaign) -> str:
    """Rows and mean outcomes per arm, and the roles of the columns."""
    names = Names.of(campaign)
    facts = [
        f"{whole(len(campaign))} rows",
        f"chain {' → '.join(map(names.stage, campaign.stages))}",
        f"{len(campaign.numeric_features)} numeric and {len(campaign.categorical_features)} categorical features",
        *([f"unit {campaign.roles.unit}"] if campaign.roles.unit else []),
        *([f"randomised within {', '.join(campaign.roles.strata)}"] if campaign.roles.strata else []),
    ]
    columns, rows = ["arm", "cost"], []
    if campaign.has_outcomes:
        columns += ["rows", "share", *(f"mean {names.stage(stage)}" for stage in campaign.stages)]
    for code, arm in enumerate(campaign.arms):
        row = [
            names.arm(arm.name) + (" (control)" if code == 0 else ""),
            arm.cost.describe() if arm.cost else "–",
        ]
        if campaign.has_outcomes:
            mine = campaign.arm_codes == code
            row += [whole(int(mine.sum())), percent(float(mine.mean()))]
            row += [
                rate_unit(stage).show(float(campaign.outcome(stage)[mine].mean(dtype=np.float64)))
                if mine.any()
                else "–"
                for stage in campaign.stages
            ]
        rows.append(row)
    return _show("Campaign", campaign.name, facts, columns, rows)


def effects_html(effects: Effects) -> str:
    """Mean and spread of the predicted effects per stage and arm."""
    columns = ["stage, arm", "mean effect", "10 %", "median", "90 %", "below zero"]
    rows = []
    for stage in effects.stages:
        unit = effect_unit(stage)
        for arm in effects.treated_arms:
            tau = effects.tau(stage, arm).astype(np.float64)
            numbers = [tau.mean(), *np.quantile(tau, [0.1, 0.5, 0.9])] if len(tau) else [np.nan] * 4
            rows.append(
                [
                    f"{stage}, {arm}",
                    *(unit.show(float(number), sign=True) for number in numbers),
                    percent(float((tau < 0).mean()) if len(tau) else None),
                ]
            )
    facts = [f"{whole(len(effects))} units", *([] if effects.calibrated else ["ranks only"])]
    if effects.has_intervals:
        facts.append(f"{percent(effects.level, digits=0)} intervals")
    return _show(
        "Effects", effects.model, facts, columns, rows, "predicted, against control, per assigned customer"
    )


def evaluation_html(evaluation: Evaluation) -> str:
    """The headline of every model at the last binary stage, with intervals."""
    stage = evaluation._stage(None)
    arms = evaluation.arms[1:5]
    unit = metric_unit(HEADLINE, stage)
    rows = []
    for model in evaluation.models:
        row = [model + (" (ranks only)" if model in evaluation.uncalibrated else "")]
        for arm in arms:
            score = evaluation.score(model, stage, arm)
            row.append(f"{unit.show(score['value'])} ({unit.interval(score['low'], score['high'])})")
        rows.append(row)
    facts = [
        f"{whole(int(evaluation.campaign['rows']))} rows",
        f"{HEADLINE} at {stage}, {percent(evaluation.confidence, digits=0)} intervals, a random order is 0",
    ]
    hidden = len(evaluation.arms) - 1 - len(arms)
    more = "All metrics: .scores; curves: .plot_qini(), .plot_uplift(), .plot_toc(), .plot_calibration()"
    return _show(
        "Evaluation", f"{len(evaluation.models)} models", facts, ["model", *arms], rows,
        f"{hidden} more arms. {more}" if hidden else more,
    )  # fmt: skip


def allocation_html(plan: Allocation) -> str:
    """Customers per arm, and what the certificate proves."""
    c = plan.certificate
    budget = f"budget {amount(c.budget)}" if np.isfinite(c.budget) else "no limit"
    facts = [
        f"{whole(c.n_treated)} of {whole(c.n_units)} customers treated",
        budget,
        f"expected value {MONEY.show(c.expected_value)} for {MONEY.show(c.expected_cost)}",
        f"at most {MONEY.show(c.upper_bound)} by any plan",
    ]
    rows = [
        [arm, whole(count), percent(count / max(c.n_units, 1))]
        for arm, count in zip(
            plan.arms, np.bincount(plan.arm_codes, minlength=len(plan.arms)).tolist(), strict=True
        )
    ]
    return _show(
        "Allocation",
        plan.model,
        facts,
        ["arm", "customers", "share"],
        rows,
        "Table: .to_frame(); curve: .plot_budget()",
    )


def curve_band_html(band: CurveBand) -> str:
    """What the plan is worth at shares of the largest useful budget."""
    if band.source == "members":
        facts = [f"{percent(band.level, digits=0)} band from {band.members} members"]
    else:
        facts = [f"{percent(band.level, digits=0)} intervals", "band of errors that all customers share"]
    facts += ["promise corrected for the winner's curse"] if band.corrected else []
    columns = ["budget", "promised", "value", "band", *(["regret"] if band.regret is not None else [])]
    rows = []
    for share in (0.1, 0.25, 0.5, 0.75, 1.0) if len(band.budgets) > 1 else (1.0,):
        one = band.at(share * float(band.budgets[-1]))
        row = [MONEY.show(one["budget"]), MONEY.show(one["promised"]), MONEY.show(one["value"])]
        row.append(MONEY.interval(one["low"], one["high"]))
        rows.append(row + ([MONEY.show(one["regret"])] if "regret" in one else []))
    more = "All budgets: .to_frame(); one: .at(budget); figure: .plot()"
    return _show("CurveBand", band.model, facts, columns, rows, more)


def insight_html(insight: Insight) -> str:
    """The segments of the first arm."""
    unit = effect_unit(insight.stage)
    rows = [
        [
            one.words,
            percent(one.share),
            unit.show(one.predicted, sign=True),
            f"{unit.show(one.observed.effect, sign=True)} ({unit.interval(one.observed.low, one.observed.high, sign=True)})",
        ]
        for found in insight.segments[:1]
        for one in found.segments
    ]
    facts = [
        f"{whole(insight.rows)} rows",
        f"{insight.stage}, {insight.arms[0]}",
        f"arms {', '.join(insight.arms[:6])}",
    ]
    columns = ["customers with", "share", "predicted effect", "observed effect"] if rows else []
    return _show(
        "Insight",
        insight.model,
        facts,
        columns,
        rows,
        "Figures: .plot_segments(), .plot_quadrants(), .plot_importance(), .plot_dependence()",
    )


def _show(
    kind: str,
    title: str,
    facts: Sequence[str],
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    more: str = "",
) -> str:
    rest = len(rows) - MOST_ROWS
    if rest > 0:
        rows, more = rows[:MOST_ROWS], f"{whole(rest)} more rows. {more}".strip()
    return environment().get_template("notebook.html.j2").render(
        kind=kind, title=title, facts=facts, columns=columns, rows=rows, more=more
    )  # fmt: skip
