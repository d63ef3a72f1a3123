"""Training rows that stay on disk: blocks in random order through a shuffle buffer, one thread ahead of the network."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from uplift.campaign import Campaign
from uplift.campaign_stream import CampaignStream
from uplift.models.neural.ensemble import exponential_weights
from uplift.models.neural.host_rows import CHUNK_ROWS, batches_on
from uplift.models.neural.rows import Rows, rows_of
from uplift.models.neural.sources import stage_totals

Encode = Callable[[Campaign, np.ndarray | None], Rows]
"""Rows of a block on the CPU, given its row weights."""
Weigh = Callable[[Campaign], np.ndarray]
"""Weights of the rows of a block."""

BUFFER_BLOCKS = 4
"""Blocks of the largest size that the shuffle buffer holds unless told otherwise."""


@dataclass(frozen=True)
class RoleStatistics:
    """What a fit needs to know of all rows apart from features.

    Attributes
    ----------
    totals : Tensor [1 + stage] float64
        Weighted number of rows, then of those that reached each stage.
    values : Tensor [buyer] float32
        Values of the rows that reached the last stage: all of them, 4 bytes each. Empty without a value.
    some, stray, wrong : int
        Rows with a value other than 0; those of them that did not reach the last stage; rows at the last stage
        whose value is not positive.
    """

    totals: Tensor
    values: Tensor
    some: int
    stray: int
    wrong: int

    @classmethod
    def of(cls, blocks: Iterator[Campaign], weigh: Weigh | None) -> RoleStatistics:
        """Gather them from blocks that need no features."""
        totals: Tensor | None = None
        values: list[Tensor] = []
        some = stray = wrong = 0
        for block in blocks:
            nothing = torch.zeros(block.n_rows, 0)
            weights = None if weigh is None else weigh(block)
            rows = rows_of(block, nothing, nothing, weights=weights, device=torch.device("cpu"))
            part = stage_totals(rows)
            totals = part if totals is None else totals + part
            if rows.value is not None:
                values.append(rows.value[rows.outcomes[:, -1] > 0])
                wrong += int((values[-1] <= 0).sum())
                nonzero = block.outcomes[:, -1] != 0
                some += int(nonzero.sum())
                stray += int((nonzero & (block.outcomes[:, -2] == 0)).sum())
        assert totals is not None  # a campaign has rows
        return cls(totals, torch.cat(values) if values else torch.zeros(0), some, stray, wrong)


class StreamedRows:
    """Training rows of a campaign on disk.

    In each epoch the blocks are read in an order of its own (slices of one large row group in file order, since
    going back costs a pass) and every row waits in a shuffle buffer for a random time, so that neighbours in a file
    are far apart in training. Where all rows fit into the buffer, the order is that of
    :class:`~uplift.models.neural.sources.ResidentRows`. The next chunk is read and encoded by a background thread
    while the network trains on the present one. Memory: the buffer, about four chunks, and the values of the rows
    that reached the last stage.

    Under ``torchrun`` every process reads all rows and trains on its share of each batch.

    Parameters
    ----------
    stream : CampaignStream
        The training part.
    encode : callable
        Rows of a block, on the CPU.
    weigh : callable, optional
        Weights of the rows of a block.
    device : torch.device
        Where batches are needed.
    buffer_rows : int, optional
        Rows of the shuffle buffer; default four blocks.
    statistics : RoleStatistics, optional
        Those of `stream` with these weights, if they are known.
    """

    def __init__(
        self,
        stream: CampaignStream,
        encode: Encode,
        *,
        device: torch.device,
        weigh: Weigh | None = None,
        buffer_rows: int | None = None,
        statistics: RoleStatistics | None = None,
    ) -> None:
        self.stream = stream
        self.buffer_rows = buffer_rows or BUFFER_BLOCKS * stream.tables.block_rows
        self._encode, self._weigh, self._device = encode, weigh, device
        self._statistics = statistics
        self._codes: list[Tensor] | None = None

    def __len__(self) -> int:
        return self.stream.n_rows

    @property
    def device(self) -> torch.device:
        return self._device

    def epoch(
        self, generator: torch.Generator, batch_size: int, shard: tuple[int, int] = (0, 1)
    ) -> Generator[Rows, None, None]:
        rows = len(self)
        if rows <= self.buffer_rows:
            drawn = torch.randperm(rows, generator=generator, device=generator.device).cpu()
            chunks = self._chunks(list(range(self.stream.n_blocks)), ShuffleBuffer(rows, order=drawn))
        else:
            # One number from the engine's generator decides the epoch: the thread may be ahead of the training.
            seed = torch.randint(2**62, (1,), generator=generator, device=generator.device)
            own = torch.Generator().manual_seed(int(seed))
            runs = torch.randperm(len(self.stream.runs), generator=own).tolist()
            order = [block for run in runs for block in self.stream.runs[run]]
            chunks = self._chunks(order, ShuffleBuffer(self.buffer_rows, generator=own))
        yield from batches_on(self._device, chunks, rows, batch_size, shard)

    def stage_totals(self) -> Tensor:
        return self._known().totals.to(self._device)

    def last_stage_values(self) -> Tensor:
        return self._known().values.to(self._device)

    def code_counts(self) -> list[Tensor]:
        if self._codes is None:  # no epoch was read to its end: that of a resumed fit which had none left
            for _ in self._chunks(list(range(self.stream.n_blocks)), None):
                pass
        assert self._codes is not None
        return [counts.to(self._device) for counts in self._codes]

    def buyers(self) -> Iterator[Rows]:
        for rows in self._rows(None):
            found = (rows.outcomes[:, -1] > 0).nonzero().squeeze(1)
            if len(found):
                yield rows.take(found).to(self._device)

    def reweighted(self, seeds: Sequence[int]) -> StreamedRows:
        base = self._weigh

        def weigh(block: Campaign) -> np.ndarray:
            # Drawn by hash of the unit, so that no block needs to know the others; the mean is one up to chance.
            drawn = exponential_weights(block.unit_ids, seeds)
            weights = drawn if base is None else drawn * base(block)[:, None]
            return weights.squeeze(1) if len(seeds) == 1 else weights

        return StreamedRows(
            self.stream, self._encode, device=self._device, weigh=weigh, buffer_rows=self.buffer_rows
        )

    def _known(self) -> RoleStatistics:
        if self._statistics is None:
            blocks = self.stream.blocks(columns=self.stream.role_columns)
            self._statistics = RoleStatistics.of(blocks, self._weigh)
        return self._statistics

    def _rows(self, order: list[int] | None) -> Iterator[Rows]:
        for block in self.stream.blocks(order):
            yield self._encode(block, None if self._weigh is None else self._weigh(block))

    def _chunks(self, order: list[int], buffer: ShuffleBuffer | None) -> Iterator[Rows]:
        codes: list[Tensor] = []
        for rows in self._rows(order):
            found = [torch.bincount(column.long()) for column in rows.categorical.unbind(1)]
            codes = [_add(*pair) for pair in zip(codes, found, strict=True)] if codes else found
            if buffer is not None:
                yield from buffer.exchange(rows)
        self._codes = codes
        if buffer is not None:
            yield from buffer.drain()


class ShuffleBuffer:
    """Rows that wait: each block that comes in takes the places of rows drawn at random, which go out.

    Parameters
    ----------
    rows : int
        Places.
    generator : torch.Generator, optional
        Source of the draws, on the CPU.
    order : Tensor [row], optional
        Order of all rows, in place of draws; only where they all fit.

    Examples
    --------
    >>> rows = Rows(numeric=torch.arange(6.0).unsqueeze(1), categorical=torch.zeros(6, 0, dtype=torch.int32),
    ...             treatment=torch.zeros(6, dtype=torch.int64), outcomes=torch.ones(6, 1), value=None, weights=None)
    >>> buffer = ShuffleBuffer(4, generator=torch.Generator().manual_seed(0))
    >>> out = [*buffer.exchange(rows), *buffer.drain()]
    >>> [len(part) for part in out], sorted(torch.cat([part.numeric for part in out]).flatten().tolist())
    ([2, 4], [0.0, 1.0, 2.0, 3.0, 4.0, 5.0])
    """

    def __init__(
        self, rows: int, *, generator: torch.Generator | None = None, order: Tensor | None = None
    ) -> None:
        self.rows = rows
        self._generator, self._order = generator, order
        self._held: Rows | None = None
        self._filled = 0

    def exchange(self, block: Rows) -> Iterator[Rows]:
        """Take in `block`; yield as many rows as there were no places for, in random order."""
        if self._held is None:
            self._held = block.map(lambda tensor: tensor.new_empty((self.rows, *tensor.shape[1:])))
        start = min(self.rows - self._filled, len(block))
        self._put(torch.arange(self._filled, self._filled + start), block.slice(0, start))
        self._filled += start
        while start < len(block):
            piece = block.slice(start, start + self.rows)
            places = torch.randperm(self.rows, generator=self._generator)[: len(piece)]
            yield self._held.take(places)
            self._put(places, piece)
            start += len(piece)

    def drain(self) -> Iterator[Rows]:
        """Yield the rows that are left, in random order; the buffer is then empty."""
        if self._held is None:
            return
        order = self._order
        if order is None:
            order = torch.randperm(self._filled, generator=self._generator)
        for index in order.split(CHUNK_ROWS):
            yield self._held.take(index)
        self._held, self._filled = None, 0

    def _put(self, places: Tensor, rows: Rows) -> None:
        assert self._held is not None
        for held, tensor in zip(self._held.tensors(), rows.tensors(), strict=True):
            held.index_copy_(0, places, tensor)


def _add(one: Tensor, other: Tensor) -> Tensor:
    length = max(len(one), len(other))
    return torch.nn.functional.pad(one, (0, length - len(one))) + torch.nn.functional.pad(
        other, (0, length - len(other))
    )
