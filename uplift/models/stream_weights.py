"""Row weights of a campaign on disk: those of :mod:`uplift.models.row_weights`, from two passes over the roles."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from uplift import columns
from uplift.errors import ModelError

if TYPE_CHECKING:
    from uplift.campaign import Campaign
    from uplift.campaign_stream import CampaignStream

MAX_STRATA = 1_000_000
"""Most strata (combinations of the values of all strata columns) of which the arm shares are kept."""


@dataclass
class _Strata:
    """Numbers for strata, alike in every block; a missing value is a value of its own."""

    names: tuple[str, ...]
    known: dict[tuple[str | None, ...], int] = field(default_factory=dict)

    def codes(self, block: Campaign) -> np.ndarray:
        """Number of the stratum of each row, int64 [row]."""
        parts = [columns.labels(block.table[name]) for name in self.names]
        words = [part.dictionary.to_pylist() for part in parts]
        codes = [part.indices.fill_null(-1).to_numpy(zero_copy_only=False) for part in parts]
        unique, inverse = np.unique(np.stack(codes, axis=1), axis=0, return_inverse=True)
        numbers = np.empty(len(unique), np.int64)
        for position, row in enumerate(unique):
            key = tuple(None if code < 0 else word[code] for code, word in zip(row, words, strict=True))
            numbers[position] = self.known.setdefault(key, len(self.known))
        if len(self.known) > MAX_STRATA:
            raise ModelError(
                f"the strata {', '.join(self.names)} form more than {MAX_STRATA:,} groups; strata are what the treatment was randomised within, so leave out ids."
            )
        return numbers[inverse.reshape(-1)]


@dataclass(eq=False)
class StreamWeights:
    """Weight of any row of a campaign on disk; see :func:`uplift.models.row_weights.row_weights` for the formula.

    Attributes
    ----------
    clipped : int
        Rows whose stabilised inverse propensity was cut.
    largest : float
        The largest stabilised inverse propensity before it was cut.
    """

    clip: float
    clipped: int = 0
    largest: float = 0.0
    _mean: float = 1.0
    _arms: np.ndarray = field(repr=False, default_factory=lambda: np.zeros(0))
    _cells: np.ndarray | None = field(repr=False, default=None)
    _strata: _Strata | None = field(repr=False, default=None)
    _inverse: bool = False

    @classmethod
    def fit(cls, stream: CampaignStream, *, clip: float = math.inf) -> StreamWeights | None:
        """Gather what the weights of all rows depend on; None for a plain randomised campaign.

        Memory: one number per arm and stratum, of at most `MAX_STRATA` strata.

        Raises
        ------
        ModelError
            There are more strata.
        """
        roles = stream.roles
        if roles.weight is None and roles.propensity is None and not roles.strata:
            return None
        found = cls(clip, _inverse=roles.propensity is not None or bool(roles.strata))
        if roles.propensity is None and roles.strata:
            found._strata = _Strata(roles.strata)
        found._count(stream)
        total, rows = 0.0, 0
        for block in stream.blocks(columns=stream.role_columns):
            weights, ratio = found._raw(block)
            total, rows = total + float(weights.sum()), rows + len(weights)
            if ratio is not None:
                found.clipped += int((ratio > clip).sum())
                found.largest = max(found.largest, float(ratio.max(initial=0.0)))
        found._mean = total / rows
        return found

    def __call__(self, block: Campaign) -> np.ndarray:
        """Weights of the rows of `block`, float64 [row]; their mean over the whole campaign is one."""
        return self._raw(block)[0] / self._mean

    def _count(self, stream: CampaignStream) -> None:
        arms = len(stream.arms)
        self._arms = np.zeros(arms)
        cells = np.zeros((0, arms))
        for block in stream.blocks(columns=stream.role_columns):
            weights = np.ones(block.n_rows) if block.weights is None else block.weights
            codes = block.arm_codes.astype(np.int64)
            self._arms += np.bincount(codes, weights, arms)
            if self._strata is not None:
                strata = self._strata.codes(block)
                grown = np.zeros((len(self._strata.known), arms))
                grown[: len(cells)] = cells
                cells = grown + np.bincount(strata * arms + codes, weights, grown.size).reshape(grown.shape)
        self._cells = cells if self._strata is not None else None

    def _raw(self, block: Campaign) -> tuple[np.ndarray, np.ndarray | None]:
        weights = np.ones(block.n_rows) if block.weights is None else np.array(block.weights, np.float64)
        if not self._inverse:
            return weights, None
        arms = block.arm_codes.astype(np.int64)
        received = block.propensity
        if received is None:
            assert self._strata is not None
            assert self._cells is not None
            strata = self._strata.codes(block)
            received = self._cells[strata, arms] / self._cells[strata].sum(1)
        ratio = (self._arms / self._arms.sum())[arms] / received
        return weights * np.minimum(ratio, self.clip), ratio
