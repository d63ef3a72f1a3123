"""How the results show themselves in a notebook: small tables, escaped, in the colours of whatever theme is on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from uplift.metrics.definitions import HEADLINE
from uplift.reporting.markup import environment
from uplift.reporting.names import Names
from uplift.reporting.numbers import (
    MISSING,
    MONEY,
    amount,
    compact,
    decimal,
    effect_unit,
    metric_unit,
    percent,
    rate_unit,
    whole,
)

if TYPE_CHECKING:
    from uplift.allocation import Allocation, CurveBand
    from uplift.allocation.certificate import Certificate
    from uplift.campaign import Campaign
    from uplift.effects import Effects
    from uplift.insight import Insight
    from uplift.measurement import Measurement
    from uplift.metrics.arm_scores import Curve
    from uplift.metrics.average import Estimate
    from uplift.metrics.evaluation import Evaluation
    from uplift.metrics.policy_result import PolicyValue

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
    count = f"{len(evaluation.models)} models" if len(evaluation.models) > 1 else "1 model"
    return _show(
        "Evaluation", count, facts, ["model", *arms], rows,
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


def policy_value_html(found: PolicyValue) -> str:
    """What the plan is worth, per customer and in total, against the others."""
    lines = [("value of the plan", found.mean), ("its cost", found.spend), ("net", found.net)]
    for name, versus in found.against.items():
        lines += [(f"value less {name}", versus.value), (f"net less {name}", versus.net)]
    rows = [
        [what, _number(one.value), f"{_number(one.low)} to {_number(one.high)}",
         f"{_money(one.value * found.rows)} ({_money(one.low * found.rows)} to {_money(one.high * found.rows)})"]
        for what, one in lines
    ]  # fmt: skip
    facts = [
        f"{whole(found.rows)} customers",
        f"{found.stage} × {amount(found.margin)}",
        found.method,
        f"{whole(found.matched_rows)} of them received what the plan gives",
    ]
    columns = ["", "per customer", f"{percent(found.confidence, digits=0)} interval", "in total"]
    more = " ".join(found.warnings) or "Table: .to_frame(); by arm: .arms"
    return _show("Policy value", found.definition, facts, columns, rows, more)


def certificate_html(c: Certificate) -> str:
    """What the plan uses of every limit, and what no other plan can exceed."""
    rows = [
        [
            str(one["name"]),
            MISSING if one["limit"] is None else decimal(one["limit"], 2),
            decimal(one["use"], 2),
            MISSING if one["slack"] is None else decimal(one["slack"], 2),
            _number(one["price"]),
        ]
        for one in c.constraints
    ]
    facts = [
        f"value {decimal(c.expected_value, 2)} for {decimal(c.expected_cost, 2)}",
        f"no plan brings more than {decimal(c.upper_bound, 2)}",
        f"gap {c.gap:.2g}",
        f"{whole(c.n_treated)} of {whole(c.n_units)} customers treated",
    ]
    columns = ["limit", "at most", "used", "left", "price"]
    more = (
        "Price: value that one more unit of the limit would bring. For the values and costs that were given."
    )
    return _show("Certificate", c.status, facts, columns, rows, more)


def curve_html(curve: Curve) -> str:
    """Gain and mean effect by share of the customers treated, at tenths."""
    lines = (curve.gain, curve.gain_low, curve.gain_high, curve.lift)
    rows = [
        [percent(share, digits=0), *(_number(float(np.interp(share, curve.share, line))) for line in lines)]
        for share in np.linspace(0.1, 1.0, 10)
    ]
    facts = [f"{len(curve.share)} points", "outcome gained per customer, best predicted first"]
    more = "Arrays: .share, .gain, .lift, .toc and their bands; pictures: Evaluation.plot_qini(), .plot_uplift(), .plot_toc()"
    return _show(
        "Curve", "gain by share treated", facts, ["treated", "gain", "low", "high", "lift"], rows, more
    )


def measurement_html(found: Measurement) -> str:
    """Arms and stages, then the money, against the promise."""
    from uplift.measurement.result import BASES

    columns, rows = measured_stage_rows(found)
    facts = [
        f"{whole(found.customers)} customers, {whole(found.held_out)} held out",
        BASES[found.basis],
        f"{percent(found.confidence, digits=0)} intervals",
    ]
    first = _show("Measurement", "what the plan brought", facts, columns, rows)
    columns, rows = measured_money_rows(found)
    more = " ".join(found.warnings) or "Tables: .to_frame(), .money_frame()"
    money = [f"{found.stage} × {amount(found.margin)}", "over the customers sent to"]
    return first + _show("", "In money", money, columns, rows, more)


def measured_stage_rows(found: Measurement) -> tuple[list[str], list[list[str]]]:
    """Columns and rows of the comparison by stage and arm."""
    columns = [
        "stage, arm",
        "sent",
        "held out",
        "rate sent",
        "rate held out",
        "effect",
        "in total",
        "promised",
    ]
    rows = []
    for one in found.stages:
        level, unit = rate_unit(one.stage), effect_unit(one.stage)
        rows.append(
            [
                f"{one.stage}, {one.arm}", whole(one.sent), whole(one.held_out), level.show(one.mean_sent),
                level.show(one.mean_held_out),
                f"{unit.show(one.effect.value, sign=True)} ({unit.interval(one.effect.low, one.effect.high, sign=True)})",
                _number(one.total.value), _number(one.promised),
            ]
        )  # fmt: skip
    return columns, rows


def measured_money_rows(found: Measurement) -> tuple[list[str], list[list[str]]]:
    """Columns and rows of the money by arm."""

    def shown(one: Estimate | None) -> str:
        return MISSING if one is None else f"{_money(one.value)} ({_money(one.low)} to {_money(one.high)})"

    columns = ["arm", "value", "promised", "paid", "expected cost", "net"]
    rows = [
        [one.arm, shown(one.value), _money(one.promised_value), _money(one.cost), _money(one.promised_cost), shown(one.net)]
        for one in found.money
    ]  # fmt: skip
    return columns, rows


def _number(number: float | None) -> str:
    return compact(number)


def _money(number: float | None) -> str:
    return MONEY.show(number)


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
        budget = share * float(band.budgets[-1])
        if budget < band.budgets[0]:
            continue
        one = band.at(budget)
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
