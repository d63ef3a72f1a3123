"""What differs between runs: settings, data, versions and checks, and whether their numbers may be compared."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

from uplift.reporting.compare import ComparedRun
from uplift.reporting.numbers import MISSING, percent, whole
from uplift.reporting.reproduce import public
from uplift.reporting.soundness import ICONS, WORDS, light, shown_status
from uplift.reporting.tables import Cell, Column, KeyNumber, Row, Table, text_cell

MEASURED = ("timings", "peak_memory_mb", "training", "notes", "schema_version")
"""What a run observed of itself: it differs between two runs of the same file."""
MOST_DEFINITIONS = 3


def settings_table(runs: Sequence[ComparedRun]) -> Table | None:
    """Only the entries of ``run.json`` in which the runs differ; None where they differ in none."""
    flat = [dict(_flat({k: v for k, v in public(one.run).items() if k not in MEASURED})) for one in runs]
    keys = list(dict.fromkeys(key for one in flat for key in one))
    rows = []
    for key in keys:
        found = [one.get(key, "") for one in flat]
        if len(set(found)) > 1:
            rows.append(Row((text_cell(key, code=True), *(text_cell(text or MISSING) for text in found))))
    if not rows:
        return None
    columns = (Column("Setting", numeric=False), *(Column(one.label, numeric=False) for one in runs))
    return Table("table-settings", "Settings, data and versions that differ", columns, tuple(rows))


def _flat(content: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    for key, item in content.items():
        name = f"{before}{key}"
        if isinstance(item, Mapping) and item:
            yield from _flat(item, f"{name}.")
        elif (
            isinstance(item, list)
            and item
            and all(isinstance(one, Mapping) and "name" in one for one in item)
        ):
            for one in item:
                yield from _flat({k: v for k, v in one.items() if k != "name"}, f"{name}.{one['name']}.")
        elif isinstance(item, str):
            yield name, item
        else:
            yield name, json.dumps(item, ensure_ascii=False)


def checks_table(runs: Sequence[ComparedRun]) -> Table:
    """Status of every check in every run."""
    found = [{str(e["check"]): e for e in one.checks} for one in runs]
    rows = []
    for name in dict.fromkeys(name for one in found for name in one):
        entries = [one.get(name) for one in found]
        statuses = [None if e is None else shown_status(e) for e in entries]
        title = next(str(e.get("title") or name) for e in entries if e is not None)
        cells = [
            Cell(MISSING)
            if e is None or status is None
            else Cell(
                f"{ICONS[status]} {WORDS[status]}", status, str(e.get("detail", "")), f"status {status}"
            )
            for e, status in zip(entries, statuses, strict=True)
        ]
        rows.append(Row((text_cell(title, small=name), *cells)))
    columns = (Column("Question", numeric=False), *(Column(one.label, numeric=False) for one in runs))
    return Table("table-run-checks", "Checks of the experiments", columns, tuple(rows))


def keys(runs: Sequence[ComparedRun], groups: Sequence[Sequence[int]]) -> list[KeyNumber]:
    """Cards: same data, same test rows, lights of the experiments."""
    same_data = len({one.run["data_fingerprint"] for one in runs}) == 1
    same_test = len(groups) == 1
    lights = [light(one.checks) for one in runs]
    worst = max(lights, key=lambda one: ("none", "pass", "warn", "fail").index(one.status))
    rows = sorted({one.test.n_rows for one in runs})
    return [
        KeyNumber(
            "data", "Data", "the same" if same_data else "different",
            "by their fingerprints", tone="pass" if same_data else "warn",
        ),
        KeyNumber(
            "test", "Test rows", "the same" if same_test else "different",
            f"{' and '.join(map(whole, rows))} rows; models are compared row by row where they are the same",
            tone="pass" if same_test else "warn",
        ),
        KeyNumber("lights", "Experiments", worst.word, "the worst of the runs", tone=worst.status, icon=worst.icon),
    ]  # fmt: skip


def warnings(runs: Sequence[ComparedRun], groups: Sequence[Sequence[int]]) -> list[str]:
    """Sentences on what must not be compared, and why."""
    said = []
    if len({one.run["data_fingerprint"] for one in runs}) > 1:
        said.append(
            "The runs were made with different data (their fingerprints differ): differences between them are not differences between models alone."
        )
    if len(groups) > 1:
        for a, b in combinations([runs[group[0]] for group in groups], 2):
            share = _shared(a, b)
            why = "other rows" if share < 1 else "other outcomes, arms or effects of the same customers"
            said.append(
                f"{a.label} and {b.label} are judged on {why} ({percent(share, digits=0)} of the test customers of {a.label} are test customers of {b.label}): their metrics have different noise, and there is no paired difference."
            )
    differ: tuple[tuple[str, Callable[[ComparedRun], Any]], ...] = (
        ("stages", lambda one: one.test.stages),
        ("arms", lambda one: one.test.arm_names),
        ("confidence level", lambda one: one.metrics["confidence"]),
    )
    for what, of in differ:
        if len({of(one) for one in runs}) > 1:
            shown = "; ".join(
                f"{one.label}: {', '.join(map(str, of(one))) if isinstance(of(one), tuple) else of(one)}"
                for one in runs
            )
            said.append(f"The {what} differ ({shown}).")
    said += _definitions(runs)
    said += _plans(runs)
    return said


def _shared(a: ComparedRun, b: ComparedRun) -> float:
    mine, other = (set(one.test.unit_ids.to_pylist()) for one in (a, b))
    return len(mine & other) / max(len(mine), 1)


def _definitions(runs: Sequence[ComparedRun]) -> list[str]:
    formulas = [
        {name: d["formula"] for name, d in one.metrics["references"]["definitions"].items()} for one in runs
    ]
    shared = [name for name in formulas[0] if all(name in one for one in formulas)]
    changed = [name for name in shared if len({one[name] for one in formulas}) > 1]
    if not changed:
        return []
    more = f" and {len(changed) - MOST_DEFINITIONS} more" if len(changed) > MOST_DEFINITIONS else ""
    return [
        f"The definition of {', '.join(changed[:MOST_DEFINITIONS])}{more} differs between the versions of the runs: draw the older reports again before you compare it."
    ]


def _plans(runs: Sequence[ComparedRun]) -> list[str]:
    planned = [one for one in runs if one.plan is not None]
    said = []
    if 0 < len(planned) < len(runs):
        without = ", ".join(one.label for one in runs if one.plan is None)
        said.append(f"There is no plan in {without}: add [decide] to the campaign file.")
    if len(planned) < 2:
        return said
    decides = [one.run["config"]["decide"] for one in planned]
    for what, values in (
        ("stage", [one.run["decide_stage"] for one in planned]),
        ("margin", [decide["margin"] for decide in decides]),
    ):
        if len(set(values)) > 1:
            shown = "; ".join(f"{one.label}: {value}" for one, value in zip(planned, values, strict=True))
            said.append(f"The {what} of the plans differs ({shown}): their values are not in the same money.")
    costs = [
        json.dumps([[arm["name"], arm["cost"]] for arm in one.run["campaign"]["arms"]]) for one in planned
    ]
    if len(set(costs)) > 1:
        said.append("The costs of the arms differ: the same spend buys something else.")
    if len({len(one.plan) for one in planned if one.plan is not None}) > 1:
        shown = "; ".join(f"{one.label}: {whole(len(one.plan))}" for one in planned if one.plan is not None)
        said.append(
            f"The plans are for different numbers of customers ({shown}): compare values per customer."
        )
    return said
