"""Amounts on a torch device: sent once, column by column, and counted as the compiled kernels count them.

Arrays lie as [choice, unit], so that every operation reads memory in order. Amounts are float64 in every operation
and each operation is a kernel of its own, which leaves nothing for a compiler to fuse: products and sums are rounded
as in `passes` and `dual`, bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from uplift.allocation.dual import SNAP
from uplift.errors import AllocationError

_BLOCK_CELLS = {"cpu": 1 << 17, "cuda": 1 << 24}
"""Cells [choice, unit] worked on at once: what fits a core's cache, and what keeps a GPU busy (128 MiB an array)."""
_ROOM_FOR_BLOCKS = 24
"""Arrays of one block that are alive at once, at most."""


def block_units(device: torch.device, choices: int) -> int:
    """Units in one block; the same for every problem with as many choices, because sums of floats follow the blocks."""
    return max(_BLOCK_CELLS[device.type] // max(choices, 1), 1024)


def blocks(units: int, size: int) -> Iterator[slice]:
    """Slices of `size` units that cover the first `units`."""
    for start in range(0, units, size):
        yield slice(start, min(start + size, units))


def check_room(device: torch.device, resident: int) -> None:
    """Refuse a problem whose `resident` bytes and the blocks beside them do not fit the device's free memory.

    Raises
    ------
    AllocationError
        Names the sizes.
    """
    if device.type != "cuda":
        return
    free, _ = torch.cuda.mem_get_info(device)
    free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    needed = resident + _ROOM_FOR_BLOCKS * 8 * _BLOCK_CELLS["cuda"]
    if needed > free:
        raise AllocationError(
            f"The problem needs {needed / 1e9:.1f} GB on device {str(device)!r}, where {free / 1e9:.1f} GB are free: "
            "use device='cpu', or allocate_file, which reads block by block."
        )


def send(array: np.ndarray, device: torch.device, size: int) -> Tensor:
    """The array [unit, column] as a tensor [column, unit] on the device, in its own type.

    Sent in blocks of `size` units, so that what is needed beside the result is one block.
    """
    sent = torch.empty(array.shape[::-1], dtype=torch.from_numpy(array[:0].copy()).dtype, device=device)
    for part in blocks(len(array), size):
        block = array[part]
        # A copy of what cannot be written to: torch has no read-only tensors.
        there = torch.from_numpy(block if block.flags.writeable else block.copy()).to(device)
        sent[:, part].copy_(there.T)
    return sent


def table_on(table: np.ndarray, device: torch.device) -> Tensor | None:
    """A table on the device; None where all of it is zero: adding or taking off zero changes no bit of an amount."""
    return torch.from_numpy(table).to(device) if table.any() else None


def round_up(amount: Tensor, scale: Tensor | float) -> Tensor:
    """As :func:`uplift.allocation.dual.round_up`, int64."""
    return _whole(amount, scale, torch.ceil)


def round_down(amount: Tensor, scale: Tensor | float) -> Tensor:
    """As :func:`uplift.allocation.dual.round_down`, int64."""
    return _whole(amount, scale, torch.floor)


def _whole(amount: Tensor, scale: Tensor | float, otherwise) -> Tensor:  # type: ignore[no-untyped-def]
    scaled = amount * scale
    nearest = torch.round(scaled)  # to even at halves, as numpy's rint
    close = (scaled - nearest).abs() <= SNAP * scaled.abs()
    return torch.where(close, nearest, otherwise(scaled)).long()
