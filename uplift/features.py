"""Features as arrays: one schema learned on the training rows, applied alike to every audience and every model."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from uplift import columns
from uplift.errors import ModelError
from uplift.io.tables import join_names

if TYPE_CHECKING:
    from uplift.campaign import Campaign
    from uplift.campaign_stream import CampaignStream

MISSING, OTHER, FIRST_KNOWN = 0, 1, 2
"""Codes of a categorical feature: missing; unseen or rare; then the known categories."""

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
        0 missing, 1 unseen or rare, 2.. known.
    """

    numeric: np.ndarray
    categorical: np.ndarray


@dataclass(frozen=True)
class NumericField:
    """Statistics of a numeric feature on the training rows (missing values left out)."""

    name: str
    mean: float
    std: float
    median: float
    has_missing: bool


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

    @classmethod
    def fit(cls, campaign: Campaign, *, min_count: int = 5, max_categories: int = 10_000) -> FeatureSchema:
        """Learn the schema on training rows.

        Parameters
        ----------
        min_count : int
            A category seen less often is encoded as "other", so that "other" is trained too.
        max_categories : int
            At most this many categories per feature are kept, the most frequent ones.

        Raises
        ------
        ModelError
            The campaign has no features.
        """
        if not campaign.feature_names:
            raise ModelError(_NO_FEATURES)
        numeric = tuple(_fit_numeric(name, campaign) for name in campaign.numeric_features)
        categorical = tuple(
            _fit_categorical(name, campaign, min_count, max_categories)
            for name in campaign.categorical_features
        )
        return cls(numeric, categorical)

    @classmethod
    def fit_stream(
        cls, stream: CampaignStream, *, min_count: int = 5, max_categories: int = 10_000
    ) -> FeatureSchema:
        """Learn the schema of a campaign on disk: what :meth:`fit` learns on the same rows in memory.

        Everything is exact (means and standard deviations up to rounding) but the medians, which come from a
        uniform sample of 16,384 rows; they are read by :meth:`dense` only, for learners that no stream feeds.

        Raises
        ------
        ModelError
            The campaign has no features, or a category with more than 10 million different values.
        """
        from uplift.feature_stream import fit_fields

        if not stream.feature_names:
            raise ModelError(_NO_FEATURES)
        return cls(*fit_fields(stream, min_count=min_count, max_categories=max_categories))

    @property
    def names(self) -> tuple[str, ...]:
        """Feature names in matrix order: numeric, then categorical."""
        return (*(field.name for field in self.numeric), *(field.name for field in self.categorical))

    @property
    def cardinalities(self) -> tuple[int, ...]:
        """Number of codes of each categorical feature, the two reserved ones included."""
        return tuple(len(field.categories) + FIRST_KNOWN for field in self.categorical)

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
            categorical[:, j] = _codes(campaign.table[category.name], category.categories)
        return Encoded(numeric, categorical)

    def matrix(self, campaign: Campaign) -> np.ndarray:
        """Features for trees, float32 [row, feature]: numbers with NaN, then category codes."""
        encoded = self.encode(campaign)
        return np.concatenate([encoded.numeric, encoded.categorical.astype(np.float32)], axis=1)

    def dense(self, campaign: Campaign, *, max_onehot: int = 12) -> np.ndarray:
        """Features without NaN for learners that take neither NaN nor categories, float32 [row, column].

        Missing numbers become the training median, beside a 0/1 column that says so (for features that had
        missing values in training). Categories become one column each up to `max_onehot` of them, and
        otherwise one column with the category's share of the training rows.
        """
        encoded = self.encode(campaign)
        parts: list[np.ndarray] = []
        for j, field in enumerate(self.numeric):
            values = encoded.numeric[:, j]
            gone = np.isnan(values)
            parts.append(np.where(gone, np.float32(field.median), values))
            if field.has_missing:
                parts.append(gone.astype(np.float32))
        for j, category in enumerate(self.categorical):
            codes = encoded.categorical[:, j]
            if len(category.categories) <= max_onehot:
                parts += [
                    (codes == code).astype(np.float32)
                    for code in range(len(category.categories) + FIRST_KNOWN)
                ]
            else:
                parts.append(np.array([0.0, 0.0, *category.shares], np.float32)[codes])
        return np.ascontiguousarray(np.stack(parts, axis=1))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> FeatureSchema:
        """Inverse of :meth:`to_dict`."""
        return cls(
            tuple(NumericField(**field) for field in content["numeric"]),
            tuple(
                CategoricalField(field["name"], tuple(field["categories"]), tuple(field["shares"]))
                for field in content["categorical"]
            ),
        )


def _fit_numeric(name: str, campaign: Campaign) -> NumericField:
    values = columns.to_float(campaign.table[name], dtype=np.float64)
    seen = values[~np.isnan(values)]
    if seen.size == 0:
        return NumericField(name, 0.0, 1.0, 0.0, True)
    mean = float(seen.mean())
    return NumericField(
        name, mean, scale(float(seen.std()), mean), float(np.median(seen)), seen.size < values.size
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


def _codes(column: Any, categories: tuple[str, ...]) -> np.ndarray:
    encoded = columns.labels(column)
    known = pc.index_in(encoded.dictionary, pa.array(categories, encoded.dictionary.type)).fill_null(
        OTHER - FIRST_KNOWN
    )
    lookup = np.append(known.to_numpy(zero_copy_only=False).astype(np.int32) + FIRST_KNOWN, np.int32(MISSING))
    indices = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    return lookup[indices]
