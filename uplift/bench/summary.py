"""Tables of a benchmark: mean and spread over seeds, paired differences from the base, mean ranks."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from uplift.bench.compare import Difference, Ranks, mean_ranks, paired_difference, within_split
from uplift.bench.data import held_back_ratio
from uplift.bench.entries import DataEntry
from uplift.bench.measures import MEASURES, Measure, measure_of
from uplift.bench.runner import OK, BenchFolder, Record
from uplift.bench.suite import Job, Suite
from uplift.errors import UpliftError, did_you_mean
from uplift.io.atomic import atomic_path, write_text

RESULTS_PARQUET, RESULTS_MD = "results.parquet", "results.md"
COLUMNS = ("data", "variant", "seed", "measure", "stage", "value", "error")
WITHIN = "qini_per_capita"
"""Measure whose differences have a standard error within a split."""


@dataclass(frozen=True)
class Table:
    """A table of text.

    Attributes
    ----------
    title : str
    columns : list of str
    rows : list of list of str
    """

    title: str
    columns: list[str]
    rows: list[list[str]]

    def markdown(self) -> str:
        """As Markdown."""
        lines = [
            f"### {self.title}",
            "",
            "| " + " | ".join(self.columns) + " |",
            "|---" * len(self.columns) + "|",
        ]
        return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in self.rows)])  # fmt: skip


@dataclass(frozen=True, eq=False)
class Results:
    """Everything that is known of a benchmark.

    Attributes
    ----------
    suite : Suite
    jobs : tuple of Job
        The fits that were wanted.
    records : tuple of Record
        One per job.
    skipped : dict of str to str
        Data set -> why it was left out.
    config : dict
        ``config.json`` of the folder.
    influence : callable
        Job -> influences, or None.
    numbers : DataFrame
        See :func:`tidy`.
    """

    suite: Suite
    jobs: tuple[Job, ...]
    records: tuple[Record, ...]
    skipped: dict[str, str] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    influence: Callable[[Job], np.ndarray | None] = lambda job: None
    numbers: pd.DataFrame = field(init=False)
    _values: dict[tuple[str, str, str, str], pd.Series] = field(init=False, repr=False)
    _influences: dict[tuple[str, str, int], tuple[np.ndarray | None, list[str]]] = field(
        init=False, repr=False
    )

    def __post_init__(self) -> None:
        numbers = tidy(self.records)
        groups = numbers[numbers["error"] == ""].groupby(["data", "variant", "measure", "stage"], sort=False)
        object.__setattr__(self, "numbers", numbers)
        object.__setattr__(self, "_values", {key: part.set_index("seed")["value"] for key, part in groups})
        object.__setattr__(self, "_influences", {})

    @classmethod
    def of(
        cls,
        folder: BenchFolder,
        suite: Suite,
        jobs: Sequence[Job],
        records: Sequence[Record],
        skipped: dict[str, str] | None = None,
    ) -> Results:
        """The results of jobs in a folder."""
        return cls(suite, tuple(jobs), tuple(records), skipped or {}, folder.config, folder.influence)

    @property
    def variants(self) -> list[str]:
        """Names of the variants that were wanted, in the suite's order."""
        wanted = {job.variant for job in self.jobs}
        return [variant.name for variant in self.suite.variants if variant.name in wanted]

    @property
    def data(self) -> list[str]:
        """Data sets on which a fit went well, in order."""
        return fitted_data(self.numbers)

    def entry(self, data: str) -> DataEntry:
        """The data entry of a name."""
        return self.suite.entry(data)

    def values(self, data: str, variant: str, measure: str, stage: str) -> pd.Series:
        """Numbers of one cell, by seed."""
        return self._values.get((data, variant, measure, stage), pd.Series(dtype=float))

    def difference(self, data: str, variant: str, measure: str, stage: str) -> Difference:
        """A variant less the base."""
        ours = self.values(data, variant, measure, stage)
        theirs = self.values(data, self.suite.base, measure, stage)
        within = (
            self._within(data, variant, stage, ours.index.intersection(theirs.index))
            if measure == WITHIN
            else []
        )
        return paired_difference(
            ours,
            theirs,
            ratio=held_back_ratio(self.entry(data)),
            within=within,
            less_is_better=measure_of(measure).better == "less",
        )

    def _within(self, data: str, variant: str, stage: str, seeds: pd.Index) -> list[float]:
        found = []
        for seed in seeds:
            ours, stages = self._influence(data, variant, int(seed))
            theirs, _ = self._influence(data, self.suite.base, int(seed))
            errors = within_split(ours, theirs)
            if errors is not None and stage in stages:
                found.append(float(errors[stages.index(stage)]))
        return found

    def _influence(self, data: str, variant: str, seed: int) -> tuple[np.ndarray | None, list[str]]:
        key = (data, variant, seed)
        if key not in self._influences:
            self._influences[key] = (None, [])
            for job, record in zip(self.jobs, self.records, strict=True):
                if (job.data["name"], job.variant, job.seed) == key and record["status"] == OK:
                    self._influences[key] = (self.influence(job), list(record.get("stages", ())))
        return self._influences[key]

    def judged_by(self, data: str) -> tuple[str, str] | None:
        """Measure and stage by which a data set ranks: the entry's, else PEHE or Qini at the last scored stage.

        Raises
        ------
        UpliftError
            The entry names what was not measured. Its fits are not lost: mend the suite file and run it again.
        """
        judge = self.entry(data).judge
        there = [(measure.id, stage) for measure, stage in cells(self.numbers, data)]
        if judge is not None:
            if (judge.measure, judge.stage) not in there:
                known = [f"{measure} at {stage}" for measure, stage in there if stage]
                raise UpliftError(
                    f"data set {data!r} is judged by {judge.measure} at {judge.stage!r}, which was not measured; mend its judge: "
                    + did_you_mean(f"{judge.measure} at {judge.stage}", known, limit=len(known))
                )
            return judge.measure, judge.stage
        return next(
            (pair for measure in ("pehe", WITHIN) for pair in reversed(there) if pair[0] == measure), None
        )

    def ranks(self, data: Sequence[str] | None = None) -> Ranks | None:
        """Mean ranks over data sets and seeds, every data set by the number that it is judged by."""
        blocks: dict[tuple[str, int], dict[str, float]] = {}
        for name in self.data if data is None else data:
            judged = self.judged_by(name)
            if judged is None:
                continue
            sign = -1.0 if measure_of(judged[0]).better == "less" else 1.0
            for variant in self.variants:
                for seed, value in self.values(name, variant, *judged).items():
                    blocks.setdefault((name, int(str(seed))), {})[variant] = sign * float(value)
        return mean_ranks(blocks, self.variants)


def tidy(records: Sequence[Record]) -> pd.DataFrame:
    """One row per number: data, variant, seed, measure, stage, value, error.

    A failed fit is one row without a value, its `error` filled.
    """
    rows: list[dict[str, Any]] = []
    for record in records:
        job = record["job"]
        key = {"data": job["data"]["name"], "variant": job["variant"], "seed": job["seed"]}
        if record["status"] != OK:
            rows.append({**key, "measure": "", "stage": "", "value": math.nan, "error": record["error"]})
            continue
        costs = {"seconds": record["fit_seconds"] + record["predict_seconds"], "peak_mib": record["peak_mib"]}
        scores = [*record["scores"], *({"measure": m, "stage": "", "value": v} for m, v in costs.items())]
        rows.extend({**key, **score, "error": ""} for score in scores)
    return pd.DataFrame(rows, columns=list(COLUMNS))


def mean_and_spread(values: pd.Series) -> tuple[float, float]:
    """Mean and standard deviation over seeds (NaN for one seed)."""
    return float(values.mean()), float(values.std(ddof=1))


def cells(numbers: pd.DataFrame, data: str) -> list[tuple[Measure, str]]:
    """Measures and stages that were measured on a data set, in the order of the measures."""
    ours = numbers[(numbers["data"] == data) & (numbers["error"] == "")]
    return [
        (measure, stage)
        for measure in MEASURES
        for stage in dict.fromkeys(ours.loc[ours["measure"] == measure.id, "stage"])
    ]


def tables(results: Results, data: str, *, headline: bool) -> list[Table]:
    """Two tables of one data set: levels, and differences from the base (where the base was fitted).

    Parameters
    ----------
    results : Results
    data : str
        Which data set.
    headline : bool
        Only the headline measures, or only the others.
    """
    numbers, base = results.numbers, results.suite.base
    ours = numbers[(numbers["data"] == data) & (numbers["error"] == "")]
    columns = [(measure, stage) for measure, stage in cells(numbers, data) if measure.headline == headline]
    there = set(ours["variant"])
    fitted = [name for name in results.variants if name in there]
    heads = ["variant", *(f"{measure.title} {stage}".strip() for measure, stage in columns), "seeds"]

    def row(name: str) -> list[str]:
        found = [mean_and_spread(results.values(data, name, m.id, stage)) for m, stage in columns]
        shown = [_cell(m, *pair) for (m, _), pair in zip(columns, found, strict=True)]
        return [name, *shown, str(ours[ours["variant"] == name]["seed"].nunique())]

    def change(name: str) -> list[str]:
        found = [results.difference(data, name, m.id, stage) for m, stage in columns]
        shown = [_cell(m, one.value, one.se, sign="+") for (m, _), one in zip(columns, found, strict=True)]
        return [name, *shown, str(max((one.seeds for one in found), default=0))]

    made = [Table(f"{data}: mean (standard deviation over seeds)", heads, [row(name) for name in fitted])]
    if base in there and len(fitted) > 1:
        title = f"{data}: difference from {base} (standard error, paired by seed)"
        made.append(Table(title, heads, [change(name) for name in fitted if name != base]))
    return made


def rank_table(results: Results) -> Table | None:
    """Mean ranks with their intervals, best first."""
    ranks = results.ranks()
    if ranks is None:
        return None
    rows = [
        [
            name,
            f"{ranks.mean[name]:.2f}",
            ranks.words(name),
            str(ranks.failed[name]),
        ]
        for name in sorted(ranks.mean, key=lambda name: ranks.mean[name])
    ]
    title = f"Mean rank over {ranks.blocks} data sets x seeds; critical difference {ranks.critical:.2f} (Nemenyi, 5 %)"
    return Table(title, ["variant", "mean rank", "95 % interval", "failed"], rows)


def write_results(folder: BenchFolder, results: Results) -> list[Path]:
    """Write ``results.parquet`` and ``results.md``."""
    with atomic_path(folder.path / RESULTS_PARQUET) as temporary:
        results.numbers.to_parquet(temporary, index=False)
    suite = results.suite
    rows = ", ".join(
        f"{name} {entry['rows']:,}" if entry.get("rows") else name
        for name, entry in {job.data["name"]: job.data for job in results.jobs}.items()
    )
    shown_measures = set(results.numbers["measure"])
    parts = [
        f"# {suite.title}",
        f"`uplift bench {suite.name}`; training rows: {rows}. All numbers are per assigned unit and means over arms.",
        "\n".join(
            f"- {m.title} ({m.better or 'neither'} is better): {m.words}."
            for m in MEASURES
            if m.id in shown_measures
        ),
    ]
    ranked = rank_table(results)
    parts += [ranked.markdown()] if ranked is not None else []
    for data in results.data:
        for headline in (True, False):
            parts.extend(table.markdown() for table in tables(results, data, headline=headline))
    failures = failed(results.numbers)
    if failures:
        parts.append("### Failed fits\n\n" + "\n".join(f"- {line}" for line in failures))
    if results.skipped:
        parts.append(
            "### Skipped data sets\n\n"
            + "\n".join(f"- {name}: {why}" for name, why in results.skipped.items())
        )
    shown = set(results.variants)
    titles = "\n".join(f"- `{one.name}`: {one.title}" for one in suite.variants if one.name in shown)
    return [
        folder.path / RESULTS_PARQUET,
        write_text(folder.path / RESULTS_MD, "\n\n".join([*parts, "### Variants", titles]) + "\n"),
    ]


def fitted_data(numbers: pd.DataFrame) -> list[str]:
    """Data sets on which a fit went well, in order."""
    return list(dict.fromkeys(numbers.loc[numbers["error"] == "", "data"]))


def failed(numbers: pd.DataFrame) -> list[str]:
    """One line per failed fit."""
    broken = numbers[numbers["error"] != ""]
    return [f"{row.variant}, {row.data}, seed {row.seed}: {row.error}" for row in broken.itertuples()]


def shown(measure: Measure, value: float, *, sign: str = "") -> str:
    """A number in the unit and with the decimals of its measure; large ones with fewer.

    Examples
    --------
    >>> shown(measure_of("pehe"), 0.12345), shown(measure_of("pehe"), 1234.5), shown(measure_of("pehe"), float("nan"))
    ('0.1235', '1,234', '-')
    """
    if math.isnan(value):
        return "-"
    scaled = value * measure.scale
    size = abs(scaled)
    digits = min(
        measure.digits, 0 if size >= 1000 else 1 if size >= 100 else 2 if size >= 10 else measure.digits
    )
    return f"{scaled:{sign},.{digits}f}"


def _cell(measure: Measure, value: float, spread: float, *, sign: str = "") -> str:
    return f"{shown(measure, value, sign=sign)} ({shown(measure, spread)})"
