"""Rows in host memory that go to the device chunk by chunk, for campaigns that fit in one but not in the other."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing

import pyarrow as pa
import torch
from torch import Tensor

from uplift.models.neural.prefetch import prefetched
from uplift.models.neural.rows import Rows, concat_rows
from uplift.models.neural.sources import ResidentRows, batches_of

CHUNK_ROWS = 2**16
"""Rows that travel to the device at once: few copies, and little memory."""

SHARE_OF_FREE = 0.5
"""Part of the free device memory that rows may take; the rest is for weights and intermediate results."""


def rows_that_fit(device: torch.device, bytes_per_row: int) -> int | None:
    """How many rows may stay on `device`; None where no limit is known (a CPU).

    Examples
    --------
    >>> rows_that_fit(torch.device("cpu"), 400) is None
    True
    """
    if device.type != "cuda":
        return None
    free, _ = torch.cuda.mem_get_info(device)
    return int(free * SHARE_OF_FREE) // max(bytes_per_row, 1)


class HostRows:
    """All rows in host memory, shuffled and gathered there by a background thread; batches lie on `device`.

    The batches are those of :class:`~uplift.models.neural.sources.ResidentRows` on that device: where the rows are
    kept changes nothing but the time.

    Parameters
    ----------
    rows : Rows
        The training rows, on the CPU.
    device : torch.device
        Where the network is.
    unit_ids : pyarrow.Array [row], optional
        Units of the rows, for :meth:`reweighted`.

    Examples
    --------
    >>> rows = Rows(numeric=torch.zeros(5, 1), categorical=torch.zeros(5, 0, dtype=torch.int32),
    ...             treatment=torch.zeros(5, dtype=torch.int64), outcomes=torch.ones(5, 1), value=None, weights=None)
    >>> source = HostRows(rows, torch.device("cpu"))
    >>> [len(batch) for batch in source.epoch(torch.Generator(), 2)], source.stage_totals().tolist()
    ([2, 2, 1], [5.0, 5.0])
    """

    def __init__(self, rows: Rows, device: torch.device, *, unit_ids: pa.Array | None = None) -> None:
        self._host = ResidentRows(rows, unit_ids=unit_ids)
        self._unit_ids, self._device = unit_ids, device

    def __len__(self) -> int:
        return len(self._host)

    @property
    def device(self) -> torch.device:
        return self._device

    def epoch(
        self, generator: torch.Generator, batch_size: int, shard: tuple[int, int] = (0, 1)
    ) -> Generator[Rows, None, None]:
        order = torch.randperm(len(self), generator=generator, device=generator.device).cpu()
        chunks = (self._host.rows.take(index) for index in order.split(CHUNK_ROWS))
        yield from batches_on(self._device, chunks, len(self), batch_size, shard)

    def stage_totals(self) -> Tensor:
        return self._host.stage_totals().to(self._device)

    def last_stage_values(self) -> Tensor:
        return self._host.last_stage_values().to(self._device)

    def code_counts(self) -> list[Tensor]:
        return [counts.to(self._device) for counts in self._host.code_counts()]

    def buyers(self) -> Iterator[Rows]:
        for found in self._host.buyers():
            for index in torch.arange(len(found)).split(CHUNK_ROWS):
                yield found.take(index).to(self._device)

    def reweighted(self, seeds: Sequence[int]) -> HostRows:
        return HostRows(self._host.reweighted(seeds).rows, self._device, unit_ids=self._unit_ids)


def batches_on(
    device: torch.device, chunks: Iterable[Rows], rows: int, batch_size: int, shard: tuple[int, int]
) -> Generator[Rows, None, None]:
    """Batches of nearly equal size on `device`, made of `chunks` on the CPU by a background thread.

    Parameters
    ----------
    chunks : iterable of Rows
        In the order of the epoch; `rows` rows together.
    batch_size : int
        Rows per step, over all processes.
    shard : tuple of int
        (number, count): of every batch, the rows number, number + count, ...
    """
    pinned = device.type == "cuda"
    # Copies from pinned memory run beside the work on the device; from ordinary memory they wait for it.
    ready = (chunk.map(Tensor.pin_memory) for chunk in chunks) if pinned else chunks
    with closing(prefetched(ready)) as waiting:
        moved = (chunk.to(device, non_blocking=pinned) for chunk in waiting)
        for batch in rebatched(moved, batch_sizes(rows, batch_size)):
            yield batch if shard[1] == 1 else batch.map(lambda tensor: tensor[shard[0] :: shard[1]])


def batch_sizes(rows: int, batch_size: int) -> list[int]:
    """Sizes of the batches of an epoch, as ``Tensor.tensor_split`` makes them.

    Examples
    --------
    >>> batch_sizes(10, 4)
    [4, 3, 3]
    """
    size, longer = divmod(rows, batches_of(rows, batch_size))
    return [size + (number < longer) for number in range(batches_of(rows, batch_size))]


def rebatched(chunks: Iterable[Rows], sizes: Sequence[int]) -> Iterator[Rows]:
    """The rows of `chunks`, in their order, in parts of `sizes` rows; the chunks must hold so many."""
    iterator = iter(chunks)
    chunk, position = next(iterator), 0
    for size in sizes:
        parts, missing = [], size
        while missing:
            if position == len(chunk):
                chunk, position = next(iterator), 0
            end = min(position + missing, len(chunk))
            parts.append(chunk.slice(position, end))
            missing -= end - position
            position = end
        yield concat_rows(parts)
