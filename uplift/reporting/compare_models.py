"""Models of several runs: their headline metrics, and paired differences where they were judged on the same rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations

import numpy as np
import plotly.graph_objects as go
import pyarrow.compute as pc

from uplift.effects import Effects
from uplift.metrics.definitions import HEADLINE, describe
from uplift.reporting.compare import ComparedRun
from uplift.reporting.names import Names
from uplift.reporting.numbers import metric_unit, probability
from uplift.reporting.tables import Cell, Column, Row, Table, number_cell, text_cell
from uplift.reporting.theme import error_bars, figure, label, labels, model_marks

METRICS = (HEADLINE, "autoc", "uplift_at_30", "calibration_slope")
DRAWS = 20
"""Resamples where only the paired differences are used, which need none."""


def same_test_groups(runs: Sequence[ComparedRun]) -> list[list[int]]:
    """Runs whose test rows are the same customers with the same arms and outcomes, in any order."""
    groups: list[list[int]] = []
    for index, one in enumerate(runs):
        for group in groups:
            if _order_like(runs[group[0]], one) is not None:
                group.append(index)
                break
        else:
            groups.append([index])
    return groups


def _order_like(first: ComparedRun, other: ComparedRun) -> np.ndarray | None:
    """Rows of `other` in the order of `first`, int64 [row]; None where they are other rows."""
    a, b = first.test, other.test
    if (
        (a.n_rows, a.stages, a.arm_names) != (b.n_rows, b.stages, b.arm_names)
        or a.units_repeat
        or b.units_repeat
    ):
        return None
    if a.unit_ids.type != b.unit_ids.type:
        return None
    place = pc.index_in(a.unit_ids, value_set=b.unit_ids)
    if place.null_count:
        return None
    order = np.asarray(place.to_numpy(zero_copy_only=False), np.int64)
    if not np.array_equal(a.arm_codes, b.arm_codes[order]):
        return None
    same = all(np.array_equal(a.outcome(stage), b.outcome(stage)[order]) for stage in a.stages)
    return order if same else None


def scores_table(
    runs: Sequence[ComparedRun], stages: Sequence[str], arms: Sequence[str], names: Names
) -> Table:
    """Every model of every run: headline and a few more metrics, from ``metrics.json``."""
    rows = []
    for s, stage in enumerate(stages):
        for a, arm in enumerate(arms):
            for one in runs:
                ranks_only = set(one.metrics["references"]["uncalibrated_models"])
                for model, found in one.metrics["models"].items():
                    numbers = found.get(stage, {}).get(arm, {})
                    remark = "decides" if model == one.model else "ranks only" if model in ranks_only else ""
                    cells = [text_cell(one.label), text_cell(model, small=remark)]
                    for metric in METRICS:
                        entry = numbers.get(metric)
                        if entry is None:
                            cells.append(Cell("–", "", ""))
                            continue
                        low, high = (
                            math.nan if entry[end] is None else entry[end] for end in ("low", "high")
                        )
                        value = math.nan if entry["value"] is None else entry["value"]
                        cells.append(number_cell(value, metric_unit(metric, stage), low, high))
                    tone = "chosen" if model == one.model else ""
                    rows.append(Row(tuple(cells), {"stage": str(s), "arm": str(a)}, tone))
    columns = (
        Column("Run", numeric=False),
        Column("Model", numeric=False),
        *(Column("Qini per customer" if m == HEADLINE else describe(m).title, m) for m in METRICS),
    )
    caption = "Models of the runs, each on the test rows of its run"
    return Table("table-models", caption, columns, tuple(rows), sortable=True, by="stage arm")


def differences_table(
    runs: Sequence[ComparedRun],
    groups: Sequence[Sequence[int]],
    stages: Sequence[str],
    arms: Sequence[str],
    names: Names,
) -> Table | None:
    """Headline of the deciding models, pair by pair on the same rows; None where no two runs share them."""
    rows = []
    for group in groups:
        if len(group) < 2:
            continue
        found = _differences([runs[index] for index in group])
        for a, b in combinations(group, 2):
            one, other = runs[a], runs[b]
            for s, stage in enumerate(stages):
                for r, arm in enumerate(arms):
                    entry = found.get((one.label, other.label, stage, arm))
                    if entry is None:
                        continue
                    value, low, high, p = entry
                    clear = low > 0 or high < 0
                    tone = "" if not clear else "up" if value > 0 else "down"
                    rows.append(
                        Row(
                            (
                                text_cell(one.label, small=one.model),
                                text_cell(other.label, small=other.model),
                                number_cell(
                                    value, metric_unit(HEADLINE, stage), low, high, sign=True, tone=tone
                                ),
                                Cell(probability(p), repr(float(p))),
                                text_cell("yes" if clear else "no, could be chance"),
                            ),
                            {"stage": str(s), "arm": str(r)},
                        )
                    )
    if not rows:
        return None
    columns = (
        Column("Run", numeric=False),
        Column("less run", numeric=False),
        Column("Difference in Qini per customer", HEADLINE),
        Column("p-value"),
        Column("Told apart?", numeric=False),
    )
    caption = "Deciding models compared customer by customer, on the same test rows"
    return Table("table-paired", caption, columns, tuple(rows), by="stage arm")


def _differences(
    runs: Sequence[ComparedRun],
) -> dict[tuple[str, str, str, str], tuple[float, float, float, float]]:
    """value, low, high, p by (run, other, stage, arm), recomputed from the effects on the test rows."""
    from uplift.metrics import evaluate

    effects: dict[str, Effects] = {}
    for one in runs:
        order = _order_like(runs[0], one)
        assert order is not None
        effects[one.label] = one.effects.take(order)
    evaluation = evaluate(
        runs[0].test, effects, confidence=float(runs[0].metrics["confidence"]), draws=DRAWS, random_state=0
    )
    found = {}
    for a, b in combinations(effects, 2):
        for stage in evaluation.stages:
            for arm in evaluation.arms[1:]:
                row = evaluation.difference(a, b, stage, arm)
                found[a, b, stage, arm] = (
                    float(row["value"]), float(row["low"]), float(row["high"]), float(row["p"]),
                )  # fmt: skip
    return found


def headline_figure(
    runs: Sequence[ComparedRun], stage: str, arm: str, names: Names
) -> tuple[go.Figure, str] | None:
    """Headline of the deciding model of every run with its interval, and the figure in words."""
    found = []
    for one in runs:
        entry = one.metrics["models"].get(one.model, {}).get(stage, {}).get(arm, {}).get(HEADLINE)
        if entry and entry["value"] is not None:
            found.append((one, entry))
    if not found:
        return None
    marks = model_marks([one.label for one in runs])
    unit = metric_unit(HEADLINE, stage)
    place = {one.label: len(runs) - 1 - index for index, one in enumerate(runs)}
    traces = []
    for one, entry in found:
        value = np.array([entry["value"]]) * unit.factor
        known = entry["low"] is not None and entry["high"] is not None
        mark = marks[one.label]
        ends = [np.array([entry[end]]) * unit.factor for end in ("low", "high")] if known else []
        traces.append(
            go.Scatter(
                x=value, y=[place[one.label]], mode="markers", name=label(one.label), showlegend=False,
                error_x=error_bars(value, *ends, colour=mark.colour) if known else None,
                marker={"color": mark.colour, "size": 11, "symbol": mark.symbol if known else f"{mark.symbol}-open"},
                hovertemplate="%{x:.4~r}",
            )
        )  # fmt: skip
    made = figure(
        traces,
        title="Qini per customer of the deciding models",
        subtitle=f"{label(names.stage(stage))}, {label(names.arm(arm))} against control · definition: {HEADLINE}",
        x={"title": {"text": f"incremental {label(names.stage(stage))} ({unit.name})"}, "nticks": 6, "zeroline": True},
        y={
            "tickmode": "array", "tickvals": list(place.values()), "ticktext": labels(place),
            "range": [-0.6, len(runs) - 0.4], "zeroline": False, "showgrid": False,
        },
        height=max(230, 150 + 40 * len(runs)),
    )  # fmt: skip
    alt = "; ".join(
        f"{one.label}, {one.model}: {unit.show(entry['value'])} ({unit.interval(entry['low'], entry['high'])})"
        for one, entry in found
    )
    return made, f"Qini per customer at {names.stage(stage)}, {names.arm(arm)} against control. {alt}."
