"""Feature columns as a person talks about them: ranges of numbers, groups of categories, and what is missing."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from uplift import columns
from uplift.campaign import Campaign

CUTS = 31
LEVELS = 20
NAME_LENGTH = 40
OTHER, MISSING = "any other", "missing"


@dataclass(frozen=True, eq=False)
class Feature:
    """One feature in bins.

    Attributes
    ----------
    name : str
    kind : {"numeric", "categorical"}
    bins : ndarray of int64 [row]
        Numeric: bin k holds cuts[k-1] < x <= cuts[k]; the last bin holds what is missing. Categorical: one bin per
        level, most frequent first, then all other levels, then what is missing.
    cuts : ndarray of float64 [cut]
        Rising round numbers; none for a categorical feature.
    levels : tuple of str
        Text of the levels that have a bin of their own; none for a numeric feature.
    values : ndarray of float64 [row]
        The number (NaN when missing), or the level's code.
    time : bool
        Whether the numbers are days since 1970.
    """

    name: str
    kind: Literal["numeric", "categorical"]
    bins: np.ndarray
    cuts: np.ndarray
    levels: tuple[str, ...]
    values: np.ndarray
    time: bool = False

    @property
    def n_bins(self) -> int:
        """Bins, the missing one included."""
        return len(self.cuts) + 2 if self.kind == "numeric" else len(self.levels) + 2

    @property
    def has_missing(self) -> bool:
        """Whether some row has no value."""
        return bool((self.bins == self.n_bins - 1).any())

    def words(self, allowed: np.ndarray) -> str:
        """The condition that lets the bins `allowed` (bool [bin]) through, such as ``12 < visits <= 30``."""
        present = np.bincount(self.bins, minlength=self.n_bins) > 0
        if self.kind == "numeric":
            return self._range(allowed)
        labels = [short(level) for level in self.levels] + [OTHER, MISSING]
        yes = [label for label, one, there in zip(labels, allowed, present, strict=True) if one and there]
        no = [label for label, one, there in zip(labels, allowed, present, strict=True) if not one and there]
        name = short(self.name)
        if len(no) < len(yes) and len(no) <= 3:
            return f"{name} is not {_either(no)}"
        if len(yes) <= 4:
            return f"{name} = {_either(yes)}" if yes != [MISSING] else f"{name} is missing"
        return f"{name} = {', '.join(yes[:3])} or {len(yes) - 3} others"

    def number(self, value: float) -> str:
        """A value for people: a date where the feature is a time."""
        if self.time:
            return str(np.datetime64(math.floor(value), "D"))
        text = f"{value:,.6g}" if abs(value) < 1e6 else f"{value:,.0f}"
        return text.replace("-", "−")

    def _range(self, allowed: np.ndarray) -> str:
        name, known = short(self.name), np.flatnonzero(allowed[:-1])
        missing = bool(allowed[-1]) and self.has_missing
        if not len(known):
            return f"{name} is missing"
        low, high = int(known[0]), int(known[-1])
        above = self.number(self.cuts[low - 1]) if low > 0 else None
        up_to = self.number(self.cuts[high]) if high < len(self.cuts) else None
        if above is not None and up_to is not None:
            text = f"{above} < {name} ≤ {up_to}"
        elif above is not None:
            text = f"{name} > {above}"
        elif up_to is not None:
            text = f"{name} ≤ {up_to}"
        else:
            return f"{name} is known"
        return f"{text} (or missing)" if missing else text


def short(text: str, length: int = NAME_LENGTH) -> str:
    """A long name cut in the middle.

    Examples
    --------
    >>> short("x" * 60, 9)
    'xxxx…xxxx'
    """
    text = " ".join(str(text).split()) or "(empty)"
    if len(text) <= length:
        return text
    head = length // 2
    return f"{text[:head]}…{text[len(text) - (length - head - 1) :]}"


def read_features(campaign: Campaign) -> tuple[Feature, ...]:
    """Every feature of the campaign, in its order."""
    categorical = set(campaign.categorical_features)
    return tuple(
        _categorical(name, campaign.table[name])
        if name in categorical or pa.types.is_boolean(columns.value_type(campaign.table[name]))
        else _numeric(name, campaign.table[name])
        for name in campaign.feature_names
    )


def _numeric(name: str, column: pa.ChunkedArray) -> Feature:
    values = columns.to_float(column, dtype=np.float64)
    known = values[np.isfinite(values)]
    distinct = np.unique(known[:10_000])
    if len(distinct) <= 2 and len(np.unique(known)) <= 2:
        # Two numbers are two groups: "member = 1" reads better than "member > 0.5".
        return _categorical(name, column)
    cuts = round_cuts(known)
    bins = np.searchsorted(cuts, values, side="left")
    bins[~np.isfinite(values)] = len(cuts) + 1
    return Feature(name, "numeric", bins, cuts, (), values, columns.is_time(column))


def round_cuts(values: np.ndarray, count: int = CUTS) -> np.ndarray:
    """At most `count` rising cut points near the quantiles of `values`, rounded to about a twentieth of their spread.

    Examples
    --------
    >>> round_cuts(np.arange(1000) / 7, count=3).tolist()
    [35.5, 71.5, 107.0]
    """
    quantiles = np.quantile(values, np.linspace(0, 1, count + 2)[1:-1])
    spread = float(quantiles[-1] - quantiles[0]) or float(np.ptp(values))
    if not spread > 0:
        return np.zeros(0)
    step = 10.0 ** math.floor(math.log10(spread)) / 20
    if (values == np.round(values)).all():
        step = max(1.0, float(round(step)))
    digits = max(0, 2 - math.floor(math.log10(step)))
    cuts = np.unique(np.round(np.round(quantiles / step) * step, digits))
    result: np.ndarray = cuts[(cuts >= values.min()) & (cuts < values.max())]
    return result


def _categorical(name: str, column: pa.ChunkedArray) -> Feature:
    if pa.types.is_boolean(columns.value_type(column)) or not columns.is_text(column):
        column = column.cast(pa.string())
    encoded = columns.labels(column)
    codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    texts = [str(text) for text in encoded.dictionary.to_pylist()]
    counts = np.bincount(codes[codes >= 0], minlength=len(texts))
    # Ties by name, so that the order of the rows decides nothing.
    order = sorted(range(len(texts)), key=lambda code: (-counts[code], texts[code]))[:LEVELS]
    order = [code for code in order if counts[code]]
    place = np.full(len(texts) + 1, len(order), np.int64)
    place[order] = np.arange(len(order))
    place[-1] = len(order) + 1
    bins = place[codes]
    return Feature(
        name, "categorical", bins, np.zeros(0), tuple(texts[code] for code in order), bins.astype(np.float64)
    )


def _either(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"


def with_column(campaign: Campaign, name: str, rows: np.ndarray) -> Campaign:
    """The campaign with column `name` replaced by its values at `rows` (int [row]): permuted, or one value for all."""
    from dataclasses import replace

    index = campaign.table.column_names.index(name)
    column = pc.take(campaign.table[name], pa.array(rows))
    return replace(
        campaign, table=campaign.table.set_column(index, campaign.table.schema.field(index), column)
    )
