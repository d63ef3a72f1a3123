"""`write_leaderboard`: the results of a benchmark as one HTML file that opens offline and sends no request."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import uplift
from uplift.bench.compare import Difference, Ranks, interval
from uplift.bench.entries import DataEntry
from uplift.bench.literature import published
from uplift.bench.measures import MEASURES, Measure, measure_of
from uplift.bench.summary import Results, cells, failed, mean_and_spread, shown
from uplift.io.atomic import write_text
from uplift.io.toml import toml_value
from uplift.reporting.embed import script_json
from uplift.reporting.markup import environment, source
from uplift.reporting.numbers import MINUS, MISSING, exact, whole
from uplift.reporting.reproduce import public
from uplift.reporting.tables import Cell, Column, KeyNumber, Row, Table, count_cell, text_cell

FILE_NAME = "leaderboard.html"
COSTS = ("seconds", "cpu_seconds", "peak_mib")
MOST_FAILURES = 200
ABLATION = "ecup-ablation"
"""A suite that is a command of its own, not a file."""


def write_leaderboard(path: str | os.PathLike[str], results: Results) -> Path:
    """Write the leaderboard: a self-contained HTML file in the look of the report.

    Parameters
    ----------
    path : path
        A file that ends in ``.html``, or a folder in which ``leaderboard.html`` is written.
    results : Results
        At least one fit went well.

    Raises
    ------
    OutputError
        It cannot be written.
    """
    target = Path(path)
    if target.suffix.lower() not in (".html", ".htm"):
        target = target / FILE_NAME
    return write_text(target, render_leaderboard(results))


def render_leaderboard(results: Results) -> str:
    """The page of :func:`write_leaderboard` as text."""
    suite, ranks = results.suite, results.ranks()
    failures = failed(results.numbers)
    choices = _choices(results)
    return (
        environment()
        .get_template("leaderboard.html.j2")
        .render(
            title=suite.title,
            subtitle=_subtitle(results),
            base=suite.base,
            keys=_key_numbers(results, ranks),
            ranks=ranks,
            picture=_rank_picture(ranks),
            rank_table=_rank_table(results, ranks),
            judged=_judged(results),
            score_table=_score_table(results),
            options=choices,
            start=choices[0]["id"] if choices else "",
            definitions_table=_definitions_table(results),
            cost_table=_cost_table(results),
            literature=_literature(results),
            failures=public(failures[:MOST_FAILURES]),
            more_failures=max(0, len(failures) - MOST_FAILURES),
            skipped=[(name, public(why)) for name, why in results.skipped.items()],
            versions=sorted(results.config.get("versions", {}).items()),
            command=_command(results),
            suite_text=suite.text or _suite_text(results),
            threads=suite.threads,
            whole=whole,
            decimal=lambda number: f"{number:.2f}",
            p_words=_p_words(ranks),
            version=uplift.__version__,
            style=source("report.css") + source("leaderboard.css"),
            script=source("page.js") + source("leaderboard.js"),
            data_json=script_json({"choices": choices}),
        )
    )


# ---------------------------------------------------------------- heading


def _subtitle(results: Results) -> str:
    parts = [
        _counted(len(results.data), "data set"),
        _counted(len(results.variants), "model"),
        _counted(len({job.seed for job in results.jobs}), "seed"),
        f"{whole(sum(record['status'] == 'ok' for record in results.records))} of {_counted(len(results.jobs), 'fit')} went well",
    ]
    return ", ".join(parts)


def _counted(number: int, word: str) -> str:
    return f"{whole(number)} {word}{'' if number == 1 else 's'}"


def _key_numbers(results: Results, ranks: Ranks | None) -> list[KeyNumber]:
    numbers = results.numbers
    seconds = numbers.loc[numbers["measure"] == "seconds", "value"].sum()
    found = []
    if ranks is not None:
        best = min(ranks.mean, key=lambda name: ranks.mean[name])
        near = [m for m in ranks.mean if m != best and ranks.mean[m] - ranks.mean[best] < ranks.critical]
        found = [
            KeyNumber("best", "Best mean rank", best, f"{ranks.mean[best]:.2f} over {_counted(ranks.blocks, 'block')}"),
            KeyNumber(
                "near", "Not told apart from it", str(len(near)),
                f"of {_counted(len(ranks.mean) - 1, 'other model')}: mean ranks closer than {ranks.critical:.2f}", str(len(near)),
            ),
        ]  # fmt: skip
    broken = int((numbers["error"] != "").sum())
    return [
        *found,
        KeyNumber(
            "failed", "Failed fits", whole(broken), "each is listed below, with its reason", str(broken),
            "warn" if broken else "pass",
        ),
        KeyNumber("time", "Fitting and predicting", _duration(float(seconds)), "all fits, one after the other", exact(seconds)),
    ]  # fmt: skip


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


# ---------------------------------------------------------------- ranks


def _rank_table(results: Results, ranks: Ranks | None) -> Table | None:
    if ranks is None:
        return None
    single = {data: results.ranks([data]) for data in results.data} if len(results.data) > 1 else {}
    best = min(ranks.mean.values())
    titles = {variant.name: variant.title for variant in results.suite.variants}
    rows = []
    for name in sorted(ranks.mean, key=lambda name: ranks.mean[name]):
        close = ranks.mean[name] - best < ranks.critical
        cell = Cell(
            f"{ranks.mean[name]:.2f}",
            exact(ranks.mean[name]),
            f"({ranks.words(name)})",
        )
        rows.append(
            Row(
                (
                    text_cell(name, small=titles.get(name, ""), code=True),
                    cell,
                    text_cell("not told apart" if close else "worse", tone="" if close else "down"),
                    *(_single_rank(one, name) for one in single.values()),
                    count_cell(ranks.failed[name]),
                ),
                tone="chosen" if name == results.suite.base else "",
            )
        )
    columns = (
        Column("Model", numeric=False),
        Column("Mean rank", "95 %"),
        Column("Against the best", "critical difference", numeric=False),
        *(Column(data) for data in single),
        Column("Without a number", "blocks"),
    )
    return Table("table-ranks", "Mean ranks, 1 is best", columns, tuple(rows), sortable=True)


def _single_rank(ranks: Ranks | None, name: str) -> Cell:
    return Cell(MISSING, "") if ranks is None else Cell(f"{ranks.mean[name]:.2f}", exact(ranks.mean[name]))


def _p_words(ranks: Ranks | None) -> str:
    if ranks is None or not math.isfinite(ranks.p_value):
        return ""
    return "p < 0.001" if ranks.p_value < 0.001 else f"p = {ranks.p_value:.3f}"


def _rank_picture(ranks: Ranks | None) -> dict[str, Any] | None:
    """Dots and whiskers on a common axis, in per cent of the width."""
    if ranks is None:
        return None
    worst = len(ranks.mean)

    def at(rank: float) -> float:
        return round(100 * (rank - 1) / max(worst - 1, 1), 2)

    def whisker(name: str, end: dict[str, float]) -> float:
        return end[name] if math.isfinite(end[name]) else ranks.mean[name]  # one seed: a dot alone

    names = sorted(ranks.mean, key=lambda name: ranks.mean[name])
    best = ranks.mean[names[0]]
    return {
        "rows": [
            {
                "name": name, "at": at(ranks.mean[name]), "low": at(whisker(name, ranks.low)),
                "width": round(at(whisker(name, ranks.high)) - at(whisker(name, ranks.low)), 2), "text": f"{ranks.mean[name]:.2f}",
            }
            for name in names
        ],
        "best": at(best),
        "critical": round(min(at(best + ranks.critical), 100.0) - at(best), 2),
        "last": worst,
    }  # fmt: skip


def _judged(results: Results) -> list[str]:
    found = []
    for data in results.data:
        judged = results.judged_by(data)
        if judged is not None:
            found.append(f"{data}: {measure_of(judged[0]).title}{' at ' + judged[1] if judged[1] else ''}")
    return found


# ---------------------------------------------------------------- scores


def _cell_id(data: str, measure: Measure, stage: str) -> str:
    return f"{data}|{measure.id}|{stage}"


def _choices(results: Results) -> list[dict[str, Any]]:
    """What can be looked at: data set, measure and stage; what a data set is judged by comes first."""
    found = []
    for data in results.data:
        judged = results.judged_by(data)
        here = [(m, stage) for m, stage in cells(results.numbers, data) if m.id not in COSTS]
        here.sort(key=lambda pair: (pair[0].id, pair[1]) != judged)
        found += [
            {
                "id": _cell_id(data, measure, stage),
                "data": data,
                "title": f"{measure.title}{' · ' + stage if stage else ''}",
                "better": f"{measure.better} is better" if measure.better else "",
            }
            for measure, stage in here
        ]
    return found


def _score_table(results: Results) -> Table:
    titles = {variant.name: variant.title for variant in results.suite.variants}
    rows = []
    for data in results.data:
        for measure, stage in cells(results.numbers, data):
            if measure.id in COSTS:
                continue
            means = {name: results.values(data, name, measure.id, stage) for name in results.variants}
            means = {name: values for name, values in means.items() if len(values)}
            sign = -1 if measure.better == "less" else 1
            ordered = sorted(means, key=lambda name: -sign * float(means[name].mean()))
            for place, name in enumerate(ordered, 1):
                mean, spread = mean_and_spread(means[name])
                level = Cell(
                    _signed(measure, mean), exact(mean * measure.scale), f"± {_signed(measure, spread)}"
                )
                if name == results.suite.base:
                    change = (Cell("base", "0"), Cell(MISSING, ""), Cell(MISSING, ""))
                else:
                    change = _change(measure, results.difference(data, name, measure.id, stage))
                rows.append(
                    Row(
                        (
                            text_cell(name, small=titles.get(name, ""), code=True),
                            text_cell(data),
                            text_cell(f"{measure.title}{' · ' + stage if stage else ''}", small=f"{measure.better} is better" if measure.better else ""),
                            level,
                            *change,
                            Cell(str(place) if measure.better else MISSING, str(place) if measure.better else ""),
                            count_cell(len(means[name])),
                        ),
                        {"cell": _cell_id(data, measure, stage)},
                        "chosen" if name == results.suite.base else "",
                    )
                )  # fmt: skip
    columns = (
        Column("Model", numeric=False),
        Column("Data", numeric=False),
        Column("Measure", numeric=False),
        Column("Mean", "± sd over seeds"),
        Column("Difference from the base", "95 % over seeds"),
        Column("The same on one test split", "95 % within"),
        Column("Better than the base", "seeds"),
        Column("Place"),
        Column("Seeds"),
    )
    return Table("table-scores", "Scores", columns, tuple(rows), sortable=True)


def _change(measure: Measure, one: Difference) -> tuple[Cell, Cell, Cell]:
    if one.seeds == 0:
        missing = Cell(MISSING, "", "no seed in common")
        return missing, Cell(MISSING, ""), Cell(MISSING, "")
    small = (
        f"({_signed(measure, one.low, sign='+')} to {_signed(measure, one.high, sign='+')})"
        if math.isfinite(one.low)
        else "one seed"
    )
    over = Cell(
        _signed(measure, one.value, sign="+"),
        exact(one.value * measure.scale),
        small,
        _tone(measure, one.low, one.high),
    )
    if math.isfinite(one.within):
        low, high = interval(one.value, one.within)
        within = Cell(
            f"± {_signed(measure, (high - low) / 2)}", exact((high - low) / 2 * measure.scale),
            f"({_signed(measure, low, sign='+')} to {_signed(measure, high, sign='+')})", _tone(measure, low, high),
        )  # fmt: skip
    else:
        within = Cell(MISSING, "")
    wins = f"{one.wins} of {one.seeds}" if measure.better else MISSING
    return over, within, Cell(wins, str(one.wins / one.seeds) if measure.better else "")


def _tone(measure: Measure, low: float, high: float) -> str:
    """Better or worse where the interval excludes zero; the sign of the number says it too."""
    if not (math.isfinite(low) and math.isfinite(high)) or low <= 0 <= high or not measure.better:
        return ""
    return "up" if (low > 0) == (measure.better == "more") else "down"


def _signed(measure: Measure, value: float, *, sign: str = "") -> str:
    text = shown(measure, value, sign=sign)
    return MISSING if text == "-" else text.replace("-", MINUS)


def _definitions_table(results: Results) -> Table:
    there = set(results.numbers["measure"])
    rows = [
        Row(
            (
                text_cell(m.title),
                text_cell(m.id, code=True),
                text_cell(m.words),
                text_cell(m.better or "neither"),
            )
        )
        for m in MEASURES
        if m.id in there
    ]
    columns = (Column("Measure", numeric=False), Column("In results.parquet", numeric=False), Column("What it is", numeric=False), Column("Better", numeric=False))  # fmt: skip
    return Table("table-definitions", "Measures, per assigned unit and mean over arms", columns, tuple(rows))


# ---------------------------------------------------------------- costs


def _cost_table(results: Results) -> Table:
    rows = []
    for data in results.data:
        for name in results.variants:
            found = [(measure_of(m), results.values(data, name, m, "")) for m in COSTS]
            if not len(found[0][1]):
                continue
            numbers = [
                Cell(_signed(m, float(v.mean())), exact(v.mean()), f"± {_signed(m, float(v.std(ddof=1)))}" if len(v) > 1 else "")
                for m, v in found
            ]  # fmt: skip
            rows.append(Row((text_cell(name, code=True), text_cell(data), *numbers)))
    columns = (Column("Model", numeric=False), Column("Data", numeric=False), Column("Seconds"), Column("CPU seconds"), Column("Peak MiB"))  # fmt: skip
    return Table(
        "table-costs", "Time and memory of one fit, mean over seeds", columns, tuple(rows), sortable=True
    )


# ---------------------------------------------------------------- literature


def _literature(results: Results) -> list[dict[str, Any]]:
    found = []
    for data in results.data:
        for number, one in enumerate(published(results.entry(data).source)):
            measures = [measure_of(column) for column in one.columns]
            stage = [
                stage for measure, stage in cells(results.numbers, data) if measure.id == one.columns[0]
            ][-1:] or [""]
            rows = [
                Row((text_cell(name), text_cell("published"), *(Cell(f"{v:g}", exact(v)) for v in values)))
                for name, values in one.methods.items()
            ]  # fmt: skip
            for name in results.variants:
                levels = [results.values(data, name, m.id, stage[0]) for m in measures]
                if all(len(values) for values in levels):
                    pairs = [mean_and_spread(values) for values in levels]
                    numbers = [
                        Cell(shown(m, mean), exact(mean), f"± {shown(m, spread / math.sqrt(len(v)))}")
                        for m, (mean, spread), v in zip(measures, pairs, levels, strict=True)
                    ]
                    rows.append(Row((text_cell(name, code=True), text_cell("ours"), *numbers), tone="chosen"))
            columns = (
                Column("Method", numeric=False),
                Column("Whose", numeric=False),
                *(Column(m.title) for m in measures),
            )
            table = Table(
                f"table-literature-{data}-{number}",
                f"{data}: {one.source}",
                columns,
                tuple(rows),
                sortable=True,
            )
            found.append({"table": table, "protocol": one.protocol, "caveat": one.caveat})
    return found


# ---------------------------------------------------------------- reproduce


def _command(results: Results) -> str:
    """The command line, with the options that took something away from the suite."""
    suite, jobs = results.suite, results.jobs
    seeds, data = {job.seed for job in jobs}, list(dict.fromkeys(job.data["name"] for job in jobs))
    rows = {job.data["rows"] for job in jobs}
    options = []
    if seeds != set(suite.seeds):
        options.append(f"--seeds {len(seeds)}")
    if len(rows) == 1 and any(suite.entry(name).rows not in rows for name in data):
        options.append(f"--rows {rows.pop()}")
    if len(results.variants) < len(suite.variants):
        options.append(f"--models {','.join(results.variants)}")
    if len(data) == 1 < len(suite.data):
        options.append(f"--data {data[0]}")
    name = suite.name if suite.name == ABLATION else f"run {suite.name}"
    return " ".join([f"uplift bench {name}", *options])


def _suite_text(results: Results) -> str:
    """A suite that is not of a file, in the form of one."""
    blocks = [f"title = {toml_value(results.suite.title)}\n"]
    for entry in results.suite.data:
        blocks.append("[[data]]\n" + _lines(entry))
    for variant in results.suite.variants:
        content = {"name": variant.name, "model": variant.model, "params": variant.params}
        lines = [f"{key} = {toml_value(_without_none(value))}" for key, value in content.items()]
        blocks.append("[[models]]\n" + "\n".join(lines) + "\n")
    return "\n".join(blocks)


def _lines(entry: DataEntry) -> str:
    content = entry.model_dump(mode="json", exclude_none=True)
    return "".join(f"{key} = {toml_value(value)}\n" for key, value in content.items())


def _without_none(value: Any) -> Any:
    return {key: one for key, one in value.items() if one is not None} if isinstance(value, dict) else value
