"""Tables of a benchmark: mean and spread over seeds, and the paired difference from the base variant."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from uplift.bench.measures import MEASURES, Measure
from uplift.bench.runner import OK, BenchFolder, Record
from uplift.bench.suite import Suite
from uplift.io.atomic import atomic_path, write_text

RESULTS_PARQUET, RESULTS_MD = "results.parquet", "results.md"


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


def tidy(records: Sequence[Record]) -> pd.DataFrame:
    """One row per number: data, variant, seed, measure, stage, value, error.

    A failed fit is one row without a value, its `error` filled.
    """
    rows: list[dict[str, Any]] = []
    for record in records:
        job = record["job"]
        key = {"data": job["data"], "variant": job["variant"], "seed": job["seed"]}
        if record["status"] != OK:
            rows.append({**key, "measure": "", "stage": "", "value": math.nan, "error": record["error"]})
            continue
        costs = {"seconds": record["fit_seconds"] + record["predict_seconds"], "peak_mib": record["peak_mib"]}
        scores = [*record["scores"], *({"measure": m, "stage": "", "value": v} for m, v in costs.items())]
        rows.extend({**key, **score, "error": ""} for score in scores)
    return pd.DataFrame(rows, columns=["data", "variant", "seed", "measure", "stage", "value", "error"])


def mean_and_spread(values: pd.Series) -> tuple[float, float]:
    """Mean and standard deviation over seeds (NaN for one seed)."""
    return float(values.mean()), float(values.std(ddof=1))


def paired_difference(values: pd.Series, base: pd.Series) -> tuple[float, float]:
    """Mean difference over the seeds that both have, and its standard error (NaN for one seed).

    Examples
    --------
    >>> paired_difference(pd.Series([1.0, 3.0]), pd.Series([0.0, 0.0]))
    (2.0, 1.0)
    """
    difference = (values - base).dropna()
    return float(difference.mean()), float(difference.std(ddof=1) / math.sqrt(max(len(difference), 1)))


def tables(numbers: pd.DataFrame, suite: Suite, data: str, *, headline: bool) -> list[Table]:
    """Two tables of one data set: levels, and differences from the base (where the base was fitted).

    Parameters
    ----------
    numbers : DataFrame
        See :func:`tidy`.
    suite : Suite
        Gives order and base.
    data : str
        Which data set.
    headline : bool
        Only the headline measures, or only the others.
    """
    ours = numbers[(numbers["data"] == data) & (numbers["error"] == "")]
    # One column per number, one row per variant and seed.
    wide = ours.pivot(index=["variant", "seed"], columns=["measure", "stage"], values="value")
    columns = [
        (measure, stage)
        for measure in MEASURES
        if measure.headline == headline
        for stage in dict.fromkeys(ours.loc[ours["measure"] == measure.id, "stage"])
    ]
    fitted = [variant.name for variant in suite.variants if variant.name in set(ours["variant"])]
    heads = ["variant", *(f"{measure.title} {stage}".strip() for measure, stage in columns), "seeds"]

    def row(name: str) -> list[str]:
        here = wide.loc[name]
        cells = (_cell(measure, *mean_and_spread(here[measure.id, stage])) for measure, stage in columns)
        return [name, *cells, str(len(here))]

    def change(name: str) -> list[str]:
        here, base = wide.loc[name], wide.loc[suite.base]
        pairs = (
            paired_difference(here[measure.id, stage], base[measure.id, stage]) for measure, stage in columns
        )
        cells = (_cell(measure, *pair, sign="+") for (measure, _), pair in zip(columns, pairs, strict=True))
        return [name, *cells, str(len(here.index.intersection(base.index)))]

    found = [Table(f"{data}: mean (standard deviation over seeds)", heads, [row(name) for name in fitted])]
    if suite.base in fitted and len(fitted) > 1:
        title = f"{data}: difference from {suite.base} (standard error, paired by seed)"
        found.append(Table(title, heads, [change(name) for name in fitted if name != suite.base]))
    return found


def write_results(folder: BenchFolder, suite: Suite, numbers: pd.DataFrame, *, rows: int) -> list[Path]:
    """Write ``results.parquet`` and ``results.md``."""
    with atomic_path(folder.path / RESULTS_PARQUET) as temporary:
        numbers.to_parquet(temporary, index=False)
    directions = {word: ", ".join(m.title for m in MEASURES if m.better == word) for word in ("less", "more")}
    parts = [
        f"# {suite.title}",
        f"`uplift bench {suite.name}`, {rows:,} training rows. Less is better: {directions['less']}. More is better: {directions['more']}. "
        f"All are per assigned customer and means over arms; test rows are fresh. Qini share: true Qini of the ranking by predicted "
        f"uplift over that of the ranking by true uplift. Plan share: true value of a plan that really costs the budget, over the "
        f"oracle's. Plan cost: true cost of the plan before its budget is corrected for that, over the budget.",
    ]
    for data in fitted_data(numbers):
        for headline in (True, False):
            parts.extend(table.markdown() for table in tables(numbers, suite, data, headline=headline))
    failures = failed(numbers)
    if failures:
        parts.append("### Failed fits\n\n" + "\n".join(f"- {line}" for line in failures))
    shown = set(numbers["variant"])
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


def _cell(measure: Measure, value: float, spread: float, *, sign: str = "") -> str:
    def number(x: float, sign: str = "") -> str:
        return "-" if math.isnan(x) else f"{x * measure.scale:{sign},.{measure.digits}f}"

    return f"{number(value, sign)} ({number(spread)})"
