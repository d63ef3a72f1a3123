"""Features as arrays: one schema learned on the training rows, applied alike to every audience and every model."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from uplift import columns
from uplift.errors import ModelError
from uplift.hashing import unit_hash
from uplift.io.tables import join_names

if TYPE_CHECKING:
    from uplift.campaign import Campaign
    from uplift.campaign_stream import CampaignStream

MISSING, OTHER, FIRST_KNOWN = 0, 1, 2
"""Codes of a categorical feature: missing; unseen or rare; then the known categories (and hash buckets, if any)."""

QUANTILE_ROWS = 200_000
"""About how many rows quantiles are taken from; a quantile is then off by about 0.1 % of the rows."""

_NO_FEATURES = (
    "the campaign has no features; a model needs at least one column that is not a role or excluded."
)


@dataclass(frozen=True)
class Encoded:
    """Features of some rows.

    Attributes
    ----------
    numeric : ndarray of float32 [row, numeric feature]
        NaN where missing.
    categorical : ndarray of int32 [row, categorical feature]
        0 missing, 1 unseen or rare, 2.. known, then the hash buckets of the unseen and rare where there are some.
    """

    numeric: np.ndarray
    categorical: np.ndarray


@dataclass(frozen=True)
class NumericField:
    """Statistics of a numeric feature on the training rows (missing values left out).

    `edges` are the distinct quantiles that were asked for, rising: one for a constant feature, none without values.
    """

    name: str
    mean: float
    std: float
    median: float
    has_missing: bool
    edges: tuple[float, ...] = ()


@dataclass(frozen=True)
class CategoricalField:
    """Known categories of a feature, most frequent first, with their training shares."""

    name: str
    categories: tuple[str, ...]
    shares: tuple[float, ...]


@dataclass(frozen=True)
class FeatureSchema:
    """How the feature columns of a campaign become numbers.

    Parameters
    ----------
    numeric : tuple of NumericField
    categorical : tuple of CategoricalField
    hash_buckets : int
        Number B of codes that rare and unseen categories share, by hash of feature name and category; 0 gives
        them all the code 1. Hashes are the same on every machine.

    Examples
    --------
    >>> import pandas as pd
    >>> from uplift.campaign import Campaign
    >>> frame = pd.DataFrame({"t": [0, 1] * 10, "y": [0, 1] * 10, "age": range(20), "city": ["a", "b"] * 10})
    >>> campaign = Campaign.from_frame(frame, treatment="t", control=0, chain=["y"])
    >>> schema = FeatureSchema.fit(campaign)
    >>> schema.encode(campaign).categorical[:2].tolist(), schema.cardinalities
    ([[2], [3]], (4,))
    """

    numeric: tuple[NumericField, ...]
    categorical: tuple[CategoricalField, ...]
    hash_buckets: int = 0

    @classmethod
    def fit(
        cls,
        campaign: Campaign,
        *,
        min_count: int = 5,
        max_categories: int = 10_000,
        hash_buckets: int = 0,
        bins: int = 0,
    ) -> FeatureSchema:
        """Learn the schema on training rows.

        Parameters
        ----------
        min_count : int
            A category seen less often is encoded as "other", so that "other" is trained too.
        max_categories : int
            At most this many categories per feature are kept, the most frequent ones.
        hash_buckets : int
            Number of codes, >= 0, among which a hash spreads the categories that are not kept and those that
            first appear later. Worth something where more than `max_categories` are frequent; a category seen
            fewer than `min_count` times says little on its own.
        bins : int
            Number of bins, >= 0, that the quantiles of every numeric feature are to form; 0 for none.

        Raises
        ------
        ModelError
            The campaign has no features.
        """
        if not campaign.feature_names:
            raise ModelError(_NO_FEATURES)
        numeric = tuple(_fit_numeric(name, campaign, bins) for name in campaign.numeric_features)
        categorical = tuple(
            _fit_categorical(name, campaign, min_count, max_categories)
            for name in campaign.categorical_features
        )
        return cls(numeric, categorical, hash_buckets)

    @classmethod
    def fit_stream(
        cls,
        stream: CampaignStream,
        *,
        min_count: int = 5,
        max_categories: int = 10_000,
        hash_buckets: int = 0,
        bins: int = 0,
    ) -> FeatureSchema:
        """Learn the schema of a campaign on disk: what :meth:`fit` learns on the same rows in memory.

        Everything is exact (means and standard deviations up to rounding) but medians and quantiles, which come from a
        uniform sample of 16,384 rows; a quantile is then off by about 0.4 % of the rows. Parameters as in :meth:`fit`.

        Raises
        ------
        ModelError
            The campaign has no features, or a category with more than 10 million different values.
        """
        from uplift.feature_stream import fit_fields

        if not stream.feature_names:
            raise ModelError(_NO_FEATURES)
        numeric, categorical = fit_fields(
            stream, min_count=min_count, max_categories=max_categories, bins=bins
        )
        return cls(numeric, categorical, hash_buckets)

    @property
    def names(self) -> tuple[str, ...]:
        """Feature names in matrix order: numeric, then categorical."""
        return (*(field.name for field in self.numeric), *(field.name for field in self.categorical))

    @property
    def cardinalities(self) -> tuple[int, ...]:
        """Number of codes of each categorical feature, the two reserved ones and the hash buckets included."""
        return tuple(len(field.categories) + FIRST_KNOWN + self.hash_buckets for field in self.categorical)

    @property
    def categorical_positions(self) -> tuple[int, ...]:
        """Columns of :meth:`matrix` that hold category codes."""
        return tuple(range(len(self.numeric), len(self.numeric) + len(self.categorical)))

    def encode(self, campaign: Campaign) -> Encoded:
        """Features of every row of `campaign`.

        Raises
        ------
        ModelError
            A feature is missing, or changed between numbers and text.
        """
        missing = [name for name in self.names if name not in campaign.table.column_names]
        if missing:
            raise ModelError(
                f"the data lack {len(missing)} feature(s) the model was trained on: {join_names(missing)}; add the columns."
            )
        n = campaign.n_rows
        numeric = np.empty((n, len(self.numeric)), np.float32)
        for j, field in enumerate(self.numeric):
            column = campaign.table[field.name]
            if not columns.is_numeric(column):
                raise ModelError(
                    f"feature {field.name!r} was numeric in training and is {column.type} now; convert it."
                )
            numeric[:, j] = columns.to_float(column)
        categorical = np.empty((n, len(self.categorical)), np.int32)
        for j, category in enumerate(self.categorical):
            categorical[:, j] = _codes(campaign.table[category.name], category, self.hash_buckets)
        return Encoded(numeric, categorical)

    def matrix(self, campaign: Campaign) -> np.ndarray:
        """Features for trees, float32 [row, feature]: numbers with NaN, then category codes."""
        encoded = self.encode(campaign)
        return np.concatenate([encoded.numeric, encoded.categorical.astype(np.float32)], axis=1)

    def dense(self, campaign: Campaign, *, max_onehot: int = 12) -> np.ndarray:
        """Features without NaN for learners that take neither NaN nor categories, float32 [row, column].

        Missing numbers become the training median, beside a 0/1 column that says so (for features that had
        missing values in training). Categories become one column each up to `max_onehot` of them, and
        otherwise one column with the category's share of the training rows (0 for rare and unseen ones).
        """
        encoded = self.encode(campaign)
        parts: list[np.ndarray] = []
        for j, field in enumerate(self.numeric):
            values = encoded.numeric[:, j]
            gone = np.isnan(values)
            parts.append(np.where(gone, np.float32(field.median), values))
            if field.has_missing:
                parts.append(gone.astype(np.float32))
        for j, (category, size) in enumerate(zip(self.categorical, self.cardinalities, strict=True)):
            codes = encoded.categorical[:, j]
            if len(category.categories) <= max_onehot:
                parts += [(codes == code).astype(np.float32) for code in range(size)]
            else:
                shares = np.zeros(size, np.float32)
                shares[FIRST_KNOWN : FIRST_KNOWN + len(category.shares)] = category.shares
                parts.append(shares[codes])
        return np.ascontiguousarray(np.stack(parts, axis=1))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> FeatureSchema:
        """Inverse of :meth:`to_dict`."""
        return cls(
            tuple(
                NumericField(**{**field, "edges": tuple(field.get("edges", ()))})
                for field in content["numeric"]
            ),
            tuple(
                CategoricalField(field["name"], tuple(field["categories"]), tuple(field["shares"]))
                for field in content["categorical"]
            ),
            content.get("hash_buckets", 0),  # files written before there were buckets
        )


def quantile_edges(values: np.ndarray, bins: int) -> tuple[float, ...]:
    """The distinct ones of the quantiles 0, 1/bins, ..., 1 of `values` [row], missing ones left out; none for 0 bins.

    Quantiles are values that occur (the nearest below), so that a feature with few values has its edges on them.

    Examples
    --------
    >>> quantile_edges(np.array([0.0, 1.0, np.nan, 4.0]), 2), quantile_edges(np.array([7.0, 7.0]), 2)
    ((0.0, 1.0, 4.0), (7.0,))
    """
    # Rows at even steps: all of small data, and of large data a sample that follows any order of the file.
    kept = values[:: max(1, len(values) // QUANTILE_ROWS)]
    ordered = np.sort(kept[~np.isnan(kept)])
    if not bins or not len(ordered):
        return ()
    return tuple(np.unique(ordered[np.linspace(0, len(ordered) - 1, bins + 1).astype(int)]).tolist())


def _fit_numeric(name: str, campaign: Campaign, bins: int) -> NumericField:
    values = columns.to_float(campaign.table[name], dtype=np.float64)
    seen = values[~np.isnan(values)]
    if seen.size == 0:
        return NumericField(name, 0.0, 1.0, 0.0, True)
    mean = float(seen.mean())
    return NumericField(
        name,
        mean,
        scale(float(seen.std()), mean),
        float(np.median(seen)),
        seen.size < values.size,
        quantile_edges(values, bins),
    )


def scale(std: float, mean: float) -> float:
    """Divisor of a numeric feature: its standard deviation, or 1 when it is constant.

    Rounding gives a constant feature a standard deviation near 1e-17 of its mean, and dividing by that would
    blow the rounding error of float32 up to 1e8.

    Examples
    --------
    >>> scale(2.0, 5.0), scale(float(np.full(1000, 0.1).std()), 0.1)
    (2.0, 1.0)
    """
    return std if std > 1e-12 * abs(mean) else 1.0


def _fit_categorical(name: str, campaign: Campaign, min_count: int, max_categories: int) -> CategoricalField:
    encoded = columns.labels(campaign.table[name])
    codes = encoded.indices.drop_null().to_numpy(zero_copy_only=False)
    words = np.array(encoded.dictionary.to_pylist(), object)
    counts = np.bincount(codes, minlength=len(words)) if len(words) else np.zeros(0, int)
    kept = np.flatnonzero(counts >= min_count)
    kept = np.array(sorted(kept, key=lambda i: (-counts[i], words[i]))[:max_categories], int)
    rows = max(campaign.n_rows, 1)
    return CategoricalField(
        name, tuple(str(words[i]) for i in kept), tuple(float(counts[i] / rows) for i in kept)
    )


def _codes(column: Any, field: CategoricalField, buckets: int) -> np.ndarray:
    encoded = columns.labels(column)
    words = encoded.dictionary
    known = pc.index_in(words, pa.array(field.categories, words.type))
    codes = known.fill_null(OTHER - FIRST_KNOWN).to_numpy(zero_copy_only=False).astype(np.int32) + FIRST_KNOWN
    if buckets:
        first = FIRST_KNOWN + len(field.categories)
        hashed = unit_hash(words, salt=f"category:{field.name}") % np.uint64(buckets)
        codes = np.where(codes == OTHER, first + hashed.astype(np.int32), codes)
    lookup = np.append(codes, np.int32(MISSING))
    indices = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    result: np.ndarray = lookup[indices]
    return result
