"""Where the training rows come from: all of them on the device, or block by block."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from typing import Protocol

import pyarrow as pa
import torch
from torch import Tensor

from uplift.models.neural.ensemble import bootstrap_weights
from uplift.models.neural.rows import Rows


class RowSource(Protocol):
    """Training rows, in shuffled batches and in the few totals that a fit needs before and after."""

    def __len__(self) -> int:
        """Number of rows."""

    @property
    def device(self) -> torch.device:
        """Where batches lie."""

    def epoch(
        self, generator: torch.Generator, batch_size: int, shard: tuple[int, int] = (0, 1)
    ) -> Generator[Rows, None, None]:
        """Every row once, in batches of nearly equal size, at most `batch_size`, in an order drawn from `generator`.

        Parameters
        ----------
        generator : torch.Generator
            Its state when the epoch begins decides the order.
        batch_size : int
            Rows per step, over all processes.
        shard : tuple of int
            (number, count): of every batch this process gets the rows number, number + count, ...
        """

    def stage_totals(self) -> Tensor:
        """Weighted number of rows, then of rows that reached each stage, float64 [1 + stage], on the device."""

    def last_stage_values(self) -> Tensor:
        """Values of rows that reached the last stage, float32 [row]; needs values."""

    def code_counts(self) -> list[Tensor]:
        """Number of rows with each code, int64 [code] per categorical field (as long as the largest code seen)."""

    def buyers(self) -> Iterator[Rows]:
        """The rows that reached the last stage, in blocks."""

    def reweighted(self, seeds: Sequence[int]) -> RowSource:
        """The same rows, their weights multiplied by those of the Bayesian bootstrap by unit, drawn from `seeds`.

        One seed gives weights [row], several give weights [row, member]
        (:func:`uplift.models.neural.ensemble.bootstrap_weights`).
        """


def batches_of(rows: int, batch_size: int) -> int:
    """Number of batches of nearly equal size: no runt at the end whose gradient is mostly noise.

    Examples
    --------
    >>> batches_of(2049, 2048), batches_of(10, 2048)
    (2, 1)
    """
    return max(1, math.ceil(rows / batch_size))


class ResidentRows:
    """All rows on the device: shuffling and batches never touch the host.

    Parameters
    ----------
    rows : Rows
        The training rows, on the device.
    unit_ids : pyarrow.Array [row], optional
        Units of the rows, for :meth:`reweighted`.

    Examples
    --------
    >>> rows = Rows(numeric=torch.zeros(5, 1), categorical=torch.zeros(5, 0, dtype=torch.int32),
    ...             treatment=torch.zeros(5, dtype=torch.int64), outcomes=torch.ones(5, 1), value=None, weights=None)
    >>> source = ResidentRows(rows)
    >>> [len(batch) for batch in source.epoch(torch.Generator(), 2)], source.stage_totals().tolist()
    ([2, 2, 1], [5.0, 5.0])
    """

    def __init__(self, rows: Rows, *, unit_ids: pa.Array | None = None) -> None:
        self.rows, self._unit_ids = rows, unit_ids

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def device(self) -> torch.device:
        return self.rows.treatment.device

    def epoch(
        self, generator: torch.Generator, batch_size: int, shard: tuple[int, int] = (0, 1)
    ) -> Generator[Rows, None, None]:
        number, count = shard
        order = torch.randperm(len(self.rows), generator=generator, device=self.device)
        for index in order.tensor_split(batches_of(len(order), batch_size)):
            yield self.rows.take(index[number::count])

    def stage_totals(self) -> Tensor:
        return stage_totals(self.rows)

    def last_stage_values(self) -> Tensor:
        assert self.rows.value is not None
        return self.rows.value[self.rows.outcomes[:, -1] > 0]

    def code_counts(self) -> list[Tensor]:
        return [torch.bincount(codes.long()) for codes in self.rows.categorical.unbind(1)]

    def buyers(self) -> Iterator[Rows]:
        yield self.rows.take((self.rows.outcomes[:, -1] > 0).nonzero().squeeze(1))

    def reweighted(self, seeds: Sequence[int]) -> ResidentRows:
        assert self._unit_ids is not None
        weights = times_bootstrap(self.rows.weights, self._unit_ids, seeds).to(self.device)
        return ResidentRows(replace(self.rows, weights=weights), unit_ids=self._unit_ids)


def times_bootstrap(weights: Tensor | None, unit_ids: pa.Array, seeds: Sequence[int]) -> Tensor:
    """Row `weights` [row] times bootstrap weights, float32 [row], or [row, member] for several `seeds`; on the CPU."""
    drawn = torch.from_numpy(bootstrap_weights(unit_ids, seeds))
    if weights is not None:
        drawn = drawn * weights.double().cpu().unsqueeze(1)
    return drawn.float().squeeze(1)


def stage_totals(rows: Rows) -> Tensor:
    """Weighted number of `rows`, then of those that reached each stage, float64 [1 + stage]."""
    weights = torch.ones_like(rows.outcomes[:, 0]) if rows.weights is None else rows.weights
    if weights.ndim > 1:
        weights = weights.mean(1)
    reached = (weights.unsqueeze(-1) * rows.outcomes).double().sum(0)
    return torch.cat((weights.double().sum().reshape(1), reached))
