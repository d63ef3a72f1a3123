"""Many constraints on a torch device: `passes.hard_pass` and `passes.smooth_pass`.

The hard pass, on which decisions, bound and certificate rest, has the same bits as the compiled kernel: float64 in
the same order, int64 sums. The smooth pass, on which only the way to the prices rests, agrees to about ten digits and
has the same bits in every run on one device: sums over scattered entries are int64 (exact in any order), the others
follow fixed blocks. Nothing here adds floats in an order that is left to the hardware.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from uplift.allocation.device_arrays import (
    block_units,
    blocks,
    check_room,
    round_down,
    round_up,
    send,
    table_on,
)
from uplift.allocation.device_uses import Block, Uses

_LANES = 32
"""Copies of every counter: units that add to one row at the same time do not all wait for one address."""
_SURE = 1.0 + 1e-12
_LEAST_SHARE = 1e-14


@dataclass(frozen=True)
class _Family:
    """Where the units of one family read the tables: one place for everybody, or one per unit."""

    start: int | None
    slot: Tensor | None


class RowPasses:
    """Amounts of a coupled problem on a device, and the passes over them.

    Parameters
    ----------
    value, cost : ndarray of float64 [unit, choice]
        Closed choices have value ``-inf``.
    slot : ndarray of int32 [unit, family]
    rowmap : ndarray of int32
    device : torch.device
    block : int, optional
        Units read at once.

    Raises
    ------
    AllocationError
        The device's memory does not hold the amounts.
    """

    def __init__(
        self, value: np.ndarray, cost: np.ndarray, slot: np.ndarray, rowmap: np.ndarray, device: torch.device,
        *, block: int | None = None,
    ) -> None:  # fmt: skip
        n, self.choices = value.shape
        self.device, self.size = device, block or block_units(device, self.choices)
        shared = [n > 0 and int(column.min()) == int(column.max()) for column in slot.T]
        check_room(device, 2 * value.nbytes + 4 * n * shared.count(False) + 10 * n)
        self.value, self.cost = send(value, device, self.size), send(cost, device, self.size)
        self.families = [
            _Family(int(slot[0, f]), None)
            if shared[f]
            else _Family(None, send(slot[:, [f]], device, self.size)[0])
            for f in range(slot.shape[1])
        ]
        self.rowmap = torch.from_numpy(rowmap.astype(np.int64)).to(device)
        self.largest, self.closed = self._look()

    def _look(self) -> tuple[tuple[float, float], bool]:
        """Largest |value| and |cost| of open choices, and whether any is closed."""
        value = cost = 0.0
        closed = False
        for part in blocks(self.value.shape[1], self.size):
            v = self.value[:, part].abs()
            shut = torch.isinf(v)
            closed = closed or bool(shut.any())
            value = max(value, float(v.masked_fill_(shut, 0.0).max()))
            cost = max(cost, float(self.cost[:, part].abs().max()))
        return (value, cost), closed

    def _block(self, part: slice) -> Block:
        choice = torch.arange(self.choices, device=self.device).unsqueeze(1)
        entries = []
        for family in self.families:
            if family.slot is None:
                assert family.start is not None
                entries.append(choice + family.start)
            else:
                entries.append(choice + family.slot[part].long())
        return Block(self.value[:, part], self.cost[:, part], entries)

    def _prices(self, block: Block, table: Tensor | None) -> Tensor | None:
        """A table summed over the families, [choice, unit or 1], in the order of the kernels."""
        if table is None:
            return None
        total: Tensor | None = None
        for entries in block.entries:
            piece = table[entries]
            total = piece + 0.0 if total is None else total + piece
        return total

    def _reduced(
        self, block: Block, tables: tuple[Tensor | None, Tensor | None, Tensor | None]
    ) -> tuple[Tensor, list[Tensor]]:
        """Reduced values (-inf: closed), and the parts that were taken off the values."""
        contact, money, share = (self._prices(block, table) for table in tables)
        parts = []
        if contact is not None:
            parts.append(contact)
        if money is not None:
            parts.append(money * block.cost)
        if share is not None:
            parts.append(share * block.value)
        z = block.value
        for part in parts:
            z = z - part
        if share is not None and self.closed:
            z = z.masked_fill(block.value == -math.inf, -math.inf)
        return z, parts

    def hard(
        self, units: int, tables: tuple[np.ndarray, np.ndarray, np.ndarray],
        alpha: np.ndarray, beta: np.ndarray, gamma: np.ndarray, scale: np.ndarray, value_scale: float,
    ) -> tuple[np.ndarray, np.ndarray, int, int, np.ndarray, float]:  # fmt: skip
        """See :func:`uplift.allocation.passes.hard_pass`, for the first `units` units."""
        m = len(alpha)
        prices = tuple(table_on(table, self.device) for table in tables)
        # One more row takes what counts for none.
        alpha_, beta_, gamma_, scale_ = (
            torch.from_numpy(np.append(a, 0.0)).to(self.device) for a in (alpha, beta, gamma, scale)
        )
        arms = torch.empty(units, dtype=torch.int16, device=self.device)
        lead = torch.empty(units, dtype=torch.float64, device=self.device)
        sums = torch.zeros(2, dtype=torch.int64, device=self.device)
        uses = torch.zeros((m + 1) * _LANES, dtype=torch.int64, device=self.device)
        size = torch.zeros((), dtype=torch.float64, device=self.device)
        for part in blocks(units, self.size):
            block = self._block(part)
            z, parts = self._reduced(block, prices)  # type: ignore[arg-type]
            magnitude = block.value.abs()
            for piece in parts:
                magnitude = magnitude + piece.abs()
            if self.closed:
                magnitude = magnitude.masked_fill(block.value == -math.inf, 0.0)
            size += magnitude.amax(0).sum()
            arm, best, second = _two_best(z, block.cost)
            arms[part], lead[part] = arm, best - second
            treated = arm > 0
            arm = arm.long().unsqueeze(0)
            v, c = (a.gather(0, arm).squeeze(0).where(treated, 0.0) for a in (block.value, block.cost))
            sums += torch.stack([round_up(best, value_scale).sum(), round_down(v, value_scale).sum()])
            lanes = torch.arange(len(v), device=self.device) % _LANES
            for entries in block.entries if m else ():
                row = self.rowmap[entries.expand(-1, len(v)).gather(0, arm).squeeze(0)]
                row = torch.where(treated & (row >= 0), row, m)
                amount = alpha_[row] + beta_[row] * c + gamma_[row] * v
                uses.index_add_(0, row * _LANES + lanes, round_up(amount, scale_[row]))
        dual, worth = (int(s) for s in sums.tolist())
        counted = uses.view(m + 1, _LANES).sum(1)[:m].cpu().numpy()
        return arms.cpu().numpy(), lead.cpu().numpy(), dual, worth, counted, float(size)

    def smooth(
        self, units: int, tables: tuple[np.ndarray, np.ndarray, np.ndarray],
        alpha: np.ndarray, beta: np.ndarray, gamma: np.ndarray, tau: float,
    ) -> tuple[float, np.ndarray, np.ndarray]:  # fmt: skip
        """See :func:`uplift.allocation.passes.smooth_pass`, for the first `units` units."""
        m = len(alpha)
        prices = tuple(table_on(table, self.device) for table in tables)
        uses = Uses(self.rowmap, self.largest, self.closed, self.size, (alpha, beta, gamma))
        total = torch.zeros((), dtype=torch.float64, device=self.device)
        for part in blocks(units, self.size):
            block = self._block(part)
            z, _ = self._reduced(block, prices)  # type: ignore[arg-type]
            top = z.amax(0)
            share = torch.where(z > top - 40.0 * tau, torch.exp((z - top) / tau), 0.0)
            weight = share[0]
            for j in range(1, self.choices):
                weight = weight + share[j]
            total += (top + tau * torch.log(weight)).sum()
            share = share / weight
            share[0] = 0.0
            share.masked_fill_(share < _LEAST_SHARE, 0.0)
            if m:
                uses.add(block, share, weight >= _SURE)
        return float(total), uses.mean(), uses.covariance()


def _two_best(z: Tensor, cost: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Best choice (ties: the cheaper, then the lower code), its reduced value and the second best."""
    arm = torch.zeros(z.shape[1], dtype=torch.int16, device=z.device)
    best = torch.full_like(z[0], -math.inf)
    second, best_cost = best, torch.zeros_like(best)
    for j in range(len(z)):
        better = (z[j] > best) | ((z[j] == best) & (cost[j] < best_cost))
        second = torch.where(better, best, torch.maximum(second, z[j]))
        best = torch.where(better, z[j], best)
        best_cost = torch.where(better, cost[j], best_cost)
        arm.masked_fill_(better, j)
    return arm, best, second
