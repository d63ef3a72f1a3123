"""The feature schema of a campaign on disk: the statistics of all rows, gathered block by block."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from uplift import columns
from uplift.errors import ModelError
from uplift.hashing import unit_uniform

if TYPE_CHECKING:
    from uplift.campaign import Campaign
    from uplift.campaign_stream import CampaignStream
    from uplift.features import CategoricalField, NumericField

SAMPLE_ROWS = 16_384
"""Rows, drawn by a hash of the row number, that medians are taken from."""
MAX_DISTINCT = 10_000_000
"""Most different values of one categorical feature: their texts and counts are held while they are counted."""
_COMPACT = 1_000_000


def fit_fields(
    stream: CampaignStream, *, min_count: int, max_categories: int, bins: int = 0
) -> tuple[tuple[NumericField, ...], tuple[CategoricalField, ...]]:
    """Fields of :meth:`uplift.features.FeatureSchema.fit_stream`, from one pass over the features.

    Memory: one block, `SAMPLE_ROWS` rows, and the distinct values of the categorical features.

    Raises
    ------
    ModelError
        A categorical feature has more than `MAX_DISTINCT` different values.
    """
    from uplift.features import CategoricalField, NumericField, quantile_edges, scale

    moments = {name: Moments() for name in stream.numeric_features}
    counts = {name: Counts(name) for name in stream.categorical_features}
    sample = RowSample(SAMPLE_ROWS)
    for block in stream.blocks(columns=stream.feature_names):
        values = np.empty((block.n_rows, len(moments)))
        for j, (name, found) in enumerate(moments.items()):
            values[:, j] = columns.to_float(block.table[name], dtype=np.float64)
            found.add(values[:, j])
        sample.add(values, block.row_numbers)
        for counted in counts.values():
            counted.add(block)
    numeric = []
    for j, (name, found) in enumerate(moments.items()):
        if found.count == 0:
            numeric.append(NumericField(name, 0.0, 1.0, 0.0, True))
            continue
        seen = sample.values[:, j][~np.isnan(sample.values[:, j])]
        median = float(np.median(seen)) if seen.size else found.mean
        std = scale(math.sqrt(found.variance), found.mean)
        numeric.append(
            NumericField(
                name,
                found.mean,
                std,
                median,
                found.count < stream.n_rows,
                quantile_edges(sample.values[:, j], bins),
            )
        )
    categorical = []
    for name, counted in counts.items():
        words, number = counted.top(min_count, max_categories)
        shares = tuple(float(n / max(stream.n_rows, 1)) for n in number)
        categorical.append(CategoricalField(name, tuple(words), shares))
    return tuple(numeric), tuple(categorical)


class Moments:
    """Count, mean and variance of numbers that come in parts, NaN left out.

    References
    ----------
    Chan, Golub, LeVeque, Algorithms for computing the sample variance, The American Statistician 1983, eq. 1.5.

    Examples
    --------
    >>> moments = Moments()
    >>> moments.add(np.array([1.0, np.nan, 2.0]))
    >>> moments.add(np.array([6.0]))
    >>> moments.count, moments.mean, round(moments.variance, 12)
    (3, 3.0, 4.666666666667)
    """

    def __init__(self) -> None:
        self.count, self.mean, self.variance = 0, 0.0, 0.0

    def add(self, values: np.ndarray) -> None:
        """Include more `values`, float64 [n]."""
        seen = values[~np.isnan(values)]
        if seen.size:
            self.merge(seen.size, float(seen.mean()), float(seen.var()))

    def merge(self, count: int, mean: float, variance: float) -> None:
        """Include `count` numbers with this mean and variance (divisor n)."""
        if self.count == 0:
            self.count, self.mean, self.variance = count, mean, variance
            return
        total, step = self.count + count, mean - self.mean
        share = count / total
        # A mean of the variances, not of sums of squares: no overflow, and equal parts leave it unchanged.
        self.variance += share * (variance - self.variance) + (step * share) * (step * (1 - share))
        self.mean += step * share
        self.count = total


class RowSample:
    """A uniform sample of rows: those whose row number hashes lowest, so that it depends on no order.

    Examples
    --------
    >>> sample = RowSample(2)
    >>> sample.add(np.zeros((3, 1)), np.arange(3))
    >>> sample.values.shape
    (2, 1)
    """

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self.values = np.zeros((0, 0))
        self._keys = np.zeros(0)

    def add(self, values: np.ndarray, row_numbers: np.ndarray) -> None:
        """Offer rows `values` [row, column]."""
        keys = unit_uniform(pa.array(row_numbers), "sample")
        if len(self._keys) == self.rows:
            better = keys < self._keys.max()
            keys, values = keys[better], values[better]
        self._keys = np.concatenate([self._keys, keys])
        self.values = np.concatenate([self.values.reshape(-1, values.shape[1]), values])
        if len(self._keys) > self.rows:
            kept = np.sort(np.argpartition(self._keys, self.rows)[: self.rows])
            self._keys, self.values = self._keys[kept], self.values[kept]


class Counts:
    """Exact counts of the texts of a categorical feature that comes in parts."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._table = pa.table({"word": pa.array([], pa.large_string()), "count": pa.array([], pa.int64())})
        self._parts: list[pa.Table] = []
        self._pending = 0

    def add(self, block: Campaign) -> None:
        """Include the rows of `block`; missing values are not counted."""
        encoded = columns.labels(block.table[self.name])
        codes = encoded.indices.drop_null().to_numpy(zero_copy_only=False)
        counts = np.bincount(codes, minlength=len(encoded.dictionary))
        present = pa.array(np.flatnonzero(counts))
        words = encoded.dictionary.cast(pa.large_string()).take(present)
        self._parts.append(pa.table({"word": words, "count": pa.array(counts).take(present)}))
        self._pending += len(words)
        # Merging costs as much as all that is counted so far: wait until there is as much to merge.
        if self._pending > max(_COMPACT, self._table.num_rows):
            self._compact()

    def top(self, min_count: int, most: int) -> tuple[list[str], list[int]]:
        """Words seen at least `min_count` times and their counts, most frequent first (ties by text), `most` of them."""
        self._compact()
        kept = self._table.filter(pc.greater_equal(self._table["count"], min_count))
        kept = kept.sort_by([("count", "descending"), ("word", "ascending")]).slice(0, most)
        return kept["word"].to_pylist(), kept["count"].to_pylist()

    def _compact(self) -> None:
        merged = pa.concat_tables([self._table, *self._parts]).group_by("word").aggregate([("count", "sum")])
        self._table = merged.select(["word", "count_sum"]).rename_columns(["word", "count"])
        self._parts, self._pending = [], 0
        if self._table.num_rows > MAX_DISTINCT:
            raise ModelError(
                f"feature {self.name!r} has more than {MAX_DISTINCT:,} different values; it looks like an id, list it under exclude."
            )
