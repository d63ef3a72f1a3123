"""Expected uses of the rows and their covariance on a torch device, for the smoothed dual.

A family that is the same for everybody is summed choice by choice. The others are scattered to their entries as
whole numbers, whose sum does not depend on the order in which the hardware adds them. Covariances are products of
matrices [entry, row] of the units in doubt only, which are few at low temperatures.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from uplift.allocation.device_arrays import table_on

_PAIR_CELLS = {"cpu": 1 << 21, "cuda": 1 << 26}
"""Cells [entry, row] of the products that make the covariance."""


@dataclass(frozen=True)
class Block:
    """Some units: amounts [choice, unit], and per family the entries [choice, unit or 1] of the tables."""

    value: Tensor
    cost: Tensor
    entries: list[Tensor]


class Uses:
    """Expected uses and their covariance, added up block by block.

    Per entry of the row map a use is ``alpha + beta c + gamma v``, scaled by a power of two (which changes no bit)
    so that it lies within [-1, 1]; whole multiples of ``1 / fixed`` of these add up in int64.

    Parameters
    ----------
    rowmap : Tensor of int64
    largest : tuple of float
        Largest ``|value|`` and ``|cost|`` of open choices.
    closed : bool
        Whether any choice is closed.
    block : int
        Most units added at once.
    pieces : tuple of ndarray of float64 [row]
        ``alpha, beta, gamma``.
    """

    def __init__(
        self,
        rowmap: Tensor,
        largest: tuple[float, float],
        closed: bool,
        block: int,
        pieces: tuple[np.ndarray, np.ndarray, np.ndarray],
    ) -> None:
        self.device, self.closed, self.m = rowmap.device, closed, len(pieces[0])
        self.rowmap = rowmap.cpu().numpy()
        known = self.rowmap >= 0
        row = np.where(known, self.rowmap, 0)
        most = sum(
            np.abs(piece) * amount
            for piece, amount in zip(pieces, (1.0, largest[1], largest[0]), strict=True)
        )
        self.row_scale = np.ldexp(1.0, np.frexp(np.where(most > 0, most, 1.0))[1])
        self.pieces = tuple(
            table_on(
                np.where(known, (piece / self.row_scale)[row], 0.0) if self.m else np.zeros(0), self.device
            )
            for piece in pieces
        )
        self.row_of = torch.where(rowmap >= 0, rowmap, self.m)
        self.fixed = 2.0 ** (61 - block.bit_length())
        self.first = torch.zeros(len(self.rowmap), dtype=torch.float64, device=self.device)
        self.second = torch.zeros((self.m + 1, self.m + 1), dtype=torch.float64, device=self.device)

    def _amount(self, entries: Tensor, value: Tensor, cost: Tensor) -> Tensor:
        contact, money, share = (None if piece is None else piece[entries] for piece in self.pieces)
        total = torch.zeros((), dtype=torch.float64, device=value.device) if contact is None else contact
        if money is not None:
            total = total + money * cost
        return total if share is None else total + share * value

    def add(self, block: Block, share: Tensor, in_doubt: Tensor) -> None:
        """Add a block's uses under the choice probabilities `share` [choice, unit]."""
        value = block.value
        if self.closed:
            value = value.masked_fill(value == -math.inf, 0.0)
        for entries in block.entries:
            expected = share * self._amount(entries, value, block.cost)
            if entries.shape[1] == 1 and expected.shape[1] != 1:
                self.first[entries.squeeze(1)] += expected.sum(1)
                continue
            whole = torch.round(expected * self.fixed).long()
            counted = torch.zeros(len(self.first), dtype=torch.int64, device=value.device)
            counted.index_add_(0, entries.expand_as(whole).reshape(-1), whole.reshape(-1))
            self.first += counted.double() / self.fixed
        doubtful = in_doubt.nonzero().squeeze(1)
        most = max(_PAIR_CELLS[value.device.type] // ((self.m + 1) * len(share)), 64)
        for some in doubtful.split(most):
            self._add_pairs(block, value, share[:, some], some)

    def _add_pairs(self, block: Block, value: Tensor, share: Tensor, units: Tensor) -> None:
        """Sum of the covariances of some units' uses: E[u u'] less E[u] E[u]'."""
        arm, at = (share > 0).nonzero(as_tuple=True)  # by choice, then by unit
        unit, p = units[at], share[arm, at].unsqueeze(1)
        v, c = value[arm, unit], block.cost[arm, unit]
        uses = torch.zeros((len(arm), self.m + 1), dtype=torch.float64, device=value.device)
        for entries in block.entries:
            entry = entries[arm, 0] if entries.shape[1] == 1 else entries[arm, unit]
            # A row belongs to one family, so each place but the last, which counts for nothing, is written once.
            uses.scatter_(
                1, self.row_of[entry].unsqueeze(1), self._amount(entry, v, c).expand(len(arm)).unsqueeze(1)
            )
        weighted = uses * p
        self.second += weighted.T @ uses
        mean = torch.zeros((len(units), self.m + 1), dtype=torch.float64, device=value.device)
        start = 0
        for count in torch.bincount(arm, minlength=len(share)).tolist():
            part = slice(start, start + count)
            mean[at[part]] += weighted[part]  # a unit appears once per choice
            start += count
        self.second -= mean.T @ mean

    def mean(self) -> np.ndarray:
        """Expected uses, float64 [row]."""
        first, known = self.first.cpu().numpy(), self.rowmap >= 0
        found = np.zeros(self.m)
        np.add.at(found, self.rowmap[known], first[known])
        return found * self.row_scale

    def covariance(self) -> np.ndarray:
        """Sum of covariances of uses, float64 [row, row]."""
        second = self.second[: self.m, : self.m].cpu().numpy() * np.outer(self.row_scale, self.row_scale)
        both: np.ndarray = np.tril(second) + np.tril(second, -1).T
        return both
