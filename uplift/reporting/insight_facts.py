"""Who responds and what drives it, as tables and sentences."""

from __future__ import annotations

from uplift.insight import Insight
from uplift.insight.content import Observed, Segment
from uplift.insight.who import DISTURB, LOST, PERSUADABLE, SURE
from uplift.metrics.definitions import HEADLINE
from uplift.reporting.names import Names
from uplift.reporting.numbers import MISSING, effect_unit, metric_unit, percent, rate_unit, whole
from uplift.reporting.tables import Cell, Column, Row, Table, number_cell, text_cell


def segments_table(insight: Insight, names: Names) -> Table | None:
    """Every segment of every arm: the rule, its share, predicted and observed effect."""
    if not insight.segments:
        return None
    rate = rate_unit(insight.stage)
    rows = []
    for found in insight.segments:
        for number, one in enumerate(found.segments, start=1):
            rows.append(
                Row(
                    (
                        text_cell(one.words, small=f"segment {number}"),
                        _arm_cell(found.arm, names),
                        _share_cell(one.share, one.observed.rows),
                        number_cell(one.predicted, effect_unit(insight.stage), sign=True),
                        _effect_cell(one.observed, insight.stage),
                        number_cell(one.observed.control, rate),
                        number_cell(one.observed.treated, rate),
                    ),
                    _arm_data(insight, found.arm),
                )
            )
    columns = (
        Column("Customers with", numeric=False),
        Column("Arm", numeric=False),
        Column("Share"),
        Column("Predicted effect"),
        Column("Observed effect", "ate"),
        Column("Control"),
        Column("With the coupon"),
    )
    caption = f"Segments by {names.stage(insight.stage)} effect, highest predicted first; the observed intervals of an arm hold together with {percent(insight.confidence, digits=0)}"
    return Table("table-segments", caption, columns, tuple(rows), by="arm", cards=True)


def segment_sentences(insight: Insight, arm: str, names: Names) -> list[str]:
    """Where the effect of one arm is highest and where lowest, in words; nothing where there is one segment."""
    found = next((one for one in insight.segments if one.arm == arm), None)
    if found is None or len(found.segments) < 2:
        return []
    first, last = found.segments[0], found.segments[-1]
    return [
        f"Highest predicted effect of {names.arm(arm)}: customers with {_said(first, insight.stage)}",
        f"Lowest of {names.arm(arm)}: customers with {_said(last, insight.stage)}",
    ]


def best_segment_sentence(insight: Insight, arm: str, names: Names) -> str:
    """The answer to "who responds?" in one sentence; empty where there are no segments."""
    found = next((one for one in insight.segments if one.arm == arm), None)
    if found is None or len(found.segments) < 2:
        return ""
    return f"{names.arm(arm)} works best for customers with {_said(found.segments[0], insight.stage)}"


def quadrants_table(insight: Insight, names: Names) -> Table:
    """The four kinds of customers per arm: shares, predictions, and what was observed."""
    stage = insight.stage
    rate, unit = rate_unit(stage), effect_unit(stage)
    rows = []
    for found in insight.quadrants:
        for one in found.groups:
            rows.append(
                Row(
                    (
                        text_cell(one.name, small=_meaning(one.name)),
                        _arm_cell(found.arm, names),
                        _share_cell(one.share, one.observed.rows),
                        number_cell(one.base, rate),
                        number_cell(one.predicted, unit, sign=True),
                        number_cell(one.observed.control, rate),
                        number_cell(one.observed.treated, rate),
                        _effect_cell(one.observed, stage),
                    ),
                    _arm_data(insight, found.arm),
                )
            )
    columns = (
        Column("Kind", numeric=False),
        Column("Arm", numeric=False),
        Column("Share"),
        Column("Predicted without coupon"),
        Column("Predicted effect"),
        Column("Observed in control"),
        Column("Observed with coupon"),
        Column("Observed effect", "ate"),
    )
    caption = (
        f"Four kinds of customers by {names.stage(stage)}, {percent(insight.confidence, digits=0)} intervals"
    )
    return Table("table-quadrants", caption, columns, tuple(rows), by="arm")


def quadrant_rule(insight: Insight, arm: str, names: Names) -> str:
    """The thresholds in words."""
    found = next(one for one in insight.quadrants if one.arm == arm)
    unit, rate = effect_unit(insight.stage), rate_unit(insight.stage)
    return (
        f"{names.arm(arm)}: persuadables have a predicted effect of at least {unit.show(found.effect, sign=True)} "
        f"(half the mean one, never below 0), customers not to be disturbed one below 0. Of the rest, those with a predicted "
        f"{names.stage(insight.stage)} of at least {rate.show(found.base)} without a coupon (the mean) are sure things, "
        "the others lost causes."
    )


def spread_table(insight: Insight, stages: tuple[str, ...], names: Names) -> Table:
    """Mean, quantiles and share below zero of the predicted effects."""
    rows = []
    for one in insight.spread:
        unit = effect_unit(one.stage)
        numbers = [number_cell(n, unit, sign=True) for n in (one.mean, one.low, one.middle, one.high)]
        rows.append(
            Row(
                (
                    _arm_cell(one.arm, names),
                    text_cell(names.stage(one.stage)),
                    *numbers,
                    Cell(percent(one.negative), repr(one.negative)),
                ),
                {"stage": str(stages.index(one.stage))},
            )
        )
    columns = (
        Column("Arm", numeric=False),
        Column("Stage", numeric=False),
        Column("Mean", "predicted_ate"),
        Column("10 %"),
        Column("Median"),
        Column("90 %"),
        Column("Below zero"),
    )
    caption = f"Predicted effects of {insight.model} on the {whole(insight.rows)} test rows"
    return Table("table-spread", caption, columns, tuple(rows), by="stage")


def importance_table(insight: Insight, names: Names) -> Table | None:
    """What shuffling each feature costs, per arm."""
    found = insight.importance
    if found is None:
        return None
    place = {name: number for number, name in enumerate(found.ranked())}
    unit = metric_unit(HEADLINE, insight.stage)
    rows = []
    for one in sorted(found.drops, key=lambda drop: (insight.arms.index(drop.arm), place[drop.feature])):
        tone = "up" if (one.low or 0) > 0 else "down" if (one.high or 0) < 0 else ""
        rows.append(
            Row(
                (
                    text_cell(one.feature),
                    _arm_cell(one.arm, names),
                    number_cell(one.drop, unit, one.low, one.high, sign=True, tone=tone),
                    number_cell(one.moved, effect_unit(insight.stage)),
                ),
                _arm_data(insight, one.arm),
            )
        )
    columns = (
        Column("Feature", numeric=False),
        Column("Arm", numeric=False),
        Column("Loss of Qini when shuffled", HEADLINE),
        Column("Mean change of the prediction"),
    )
    caption = f"Importance of the features, {percent(insight.confidence, digits=0)} intervals of the paired difference"
    return Table("table-importance", caption, columns, tuple(rows), sortable=True, by="arm")


def dependence_table(insight: Insight, names: Names) -> Table | None:
    """Effect by range or level of the most important features, predicted and observed."""
    if not insight.dependence:
        return None
    rows = []
    for number, found in enumerate(insight.dependence):
        for arm in insight.arms:
            for one in found.bins:
                rows.append(
                    Row(
                        (
                            text_cell(one.label),
                            _arm_cell(arm, names),
                            text_cell(found.feature),
                            _share_cell(one.share, one.observed[arm].rows),
                            number_cell(one.predicted[arm], effect_unit(insight.stage), sign=True),
                            _effect_cell(one.observed[arm], insight.stage),
                        ),
                        _arm_data(insight, arm) | {"feature": str(number)},
                    )
                )
    columns = (
        Column("Customers with", numeric=False),
        Column("Arm", numeric=False),
        Column("Feature", numeric=False),
        Column("Share"),
        Column("Predicted effect"),
        Column("Observed effect", "ate"),
    )
    caption = f"Effect by feature, {percent(insight.confidence, digits=0)} intervals"
    return Table("table-dependence", caption, columns, tuple(rows), by="arm feature")


def shap_table(insight: Insight, names: Names) -> Table | None:
    """Mean size of the SHAP values of every feature."""
    if not insight.surrogates:
        return None
    rows = tuple(
        Row(
            (
                text_cell(one.feature),
                _arm_cell(found.arm, names),
                number_cell(one.size, effect_unit(insight.stage)),
            ),
            _arm_data(insight, found.arm),
        )
        for found in insight.surrogates
        for one in found.features
    )
    columns = (
        Column("Feature", numeric=False),
        Column("Arm", numeric=False),
        Column("Mean size of the contribution"),
    )
    return Table("table-shap", "SHAP values of the surrogate", columns, rows, sortable=True, by="arm")


def driver_sentences(insight: Insight, names: Names) -> list[str]:
    """Which features matter beyond chance, on how many rows that was found, and what was not looked at."""
    found = insight.importance
    if found is None:
        return [
            "The importance of the features was not computed: [report] drivers = true in the campaign file asks for it."
        ]
    clear: dict[str, list[str]] = {}
    for name in found.ranked():
        arms = [names.arm(one.arm) for one in found.drops if one.feature == name and (one.low or 0) > 0]
        if arms:
            clear[name] = arms
    tested = len(found.ranked())
    if clear:
        said = "; ".join(f"{name} (for {', '.join(arms)})" for name, arms in list(clear.items())[:5])
        more = f" and {len(clear) - 5} more" if len(clear) > 5 else ""
        answer = f"The ranking of {insight.model} gets worse, beyond chance, without what it knows of {said}{more}."
    else:
        answer = f"These rows cannot show that any single feature carries the ranking of {insight.model}: every interval includes zero."
    repeats = "once" if found.repeats == 1 else f"{found.repeats} times"
    return [
        answer,
        f"Each of {tested} features was shuffled {repeats} among {whole(found.rows)} of the {whole(found.of)} test rows (a fixed random sample bounds the time)."
        + (
            f" {whole(len(found.left_out))} features that a surrogate of the effects reads least were not shuffled."
            if found.left_out
            else ""
        ),
    ]


def _said(segment: Segment, stage: str) -> str:
    unit, seen = effect_unit(stage), segment.observed
    share = f"{percent(segment.share, digits=0)} of customers"
    predicted = f"predicted {unit.show(segment.predicted, sign=True)}"
    if seen.effect is None:
        return f"{segment.words}: {predicted}, too few rows to observe it, {share}."
    spread = f" ({unit.interval(seen.low, seen.high, sign=True)})"
    return f"{segment.words}: {unit.show(seen.effect, sign=True)}{spread} observed, {predicted}, {share}."


def _meaning(name: str) -> str:
    return {
        PERSUADABLE: "the coupon makes the difference",
        SURE: "come anyway",
        LOST: "do not come either way",
        DISTURB: "the coupon does harm",
    }.get(name, "")


def _arm_data(insight: Insight, arm: str) -> dict[str, str]:
    return {"arm": str(insight.all_arms.index(arm) - 1)}


def _arm_cell(arm: str, names: Names) -> Cell:
    return text_cell(names.arm(arm), small=names.arm_small(arm))


def _share_cell(share: float, rows: int) -> Cell:
    return Cell(percent(share), repr(share), f"{whole(rows)} rows")


def _effect_cell(seen: Observed, stage: str) -> Cell:
    if seen.effect is None:
        return Cell(MISSING, "", "too few rows")
    tone = "up" if (seen.low or 0) > 0 else "down" if (seen.high or 0) < 0 else ""
    nan = float("nan")
    return number_cell(
        seen.effect,
        effect_unit(stage),
        nan if seen.low is None else seen.low,
        nan if seen.high is None else seen.high,
        sign=True,
        tone=tone,
    )
