"""Initial embeddings of the fields: E^x of section 2.2 of the paper (eq. 3-4)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from uplift.models.neural.layers import normal, uniform

KNOWN = 2
"""First category code that stands for a known category; 0 is missing, 1 is unseen or rare."""


class NumericEmbedding(nn.Module):
    """Every numeric field has its own affine map, and its own state for a missing value.

    ``e_j = x_j v_j + b_j`` where the value is there (eq. 3-4), ``e_j = b_j + m_j`` where it is missing. The
    missing state ``m_j`` starts at zero: a field that was never missing in training and is missing later is
    read as its training mean, because the fields are z-scored.

    A boolean is a number here: 0 and 1 are two points on a line, which can lie anywhere, so the map gives it two free
    states and the missing one, as a table of three rows would.

    Parameters
    ----------
    fields : int
        Number of numeric fields, p.
    dim : int
        Embedding size, d.
    generator : torch.Generator
        Source of the initial weights.

    Shape
    -----
    input [batch, p], NaN = missing; output [batch, p, d]

    Examples
    --------
    >>> embed = NumericEmbedding(3, 16, generator=torch.Generator().manual_seed(0))
    >>> embed(torch.tensor([[0.5, -1.0, float("nan")]])).shape
    torch.Size([1, 3, 16])
    """

    def __init__(self, fields: int, dim: int, *, generator: torch.Generator) -> None:
        super().__init__()
        self.slope = uniform(fields, dim, fan_in=dim, generator=generator)
        self.offset = uniform(fields, dim, fan_in=dim, generator=generator)
        self.missing = nn.Parameter(torch.zeros(fields, dim, device=generator.device))

    def forward(self, x: Tensor) -> Tensor:
        absent = torch.isnan(x)
        # One batched product over fields, [p, batch, 3] x [p, 3, d], for all three terms and their gradients.
        terms = torch.stack((x.masked_fill(absent, 0.0), torch.ones_like(x), absent.to(x.dtype)), dim=-1)
        maps = torch.stack((self.slope, self.offset, self.missing), dim=1)
        return torch.einsum("bpc,pcd->bpd", terms, maps)


class CategoricalEmbedding(nn.Module):
    """One lookup table per categorical field, stored one below the other.

    Parameters
    ----------
    cardinalities : sequence of int
        Number of codes of each field, with the two reserved codes 0 = missing and 1 = unseen or rare.
    dim : int
        Embedding size, d.
    generator : torch.Generator
        Source of the initial weights.

    Shape
    -----
    input [batch, q] integer codes; output [batch, q, d]

    Examples
    --------
    >>> embed = CategoricalEmbedding([4, 7], 16, generator=torch.Generator().manual_seed(0))
    >>> embed(torch.tensor([[0, 6], [3, 1]])).shape
    torch.Size([2, 2, 16])
    """

    offsets: Tensor

    def __init__(self, cardinalities: Sequence[int], dim: int, *, generator: torch.Generator) -> None:
        super().__init__()
        self.cardinalities = tuple(cardinalities)
        starts = torch.tensor([0, *self.cardinalities[:-1]], device=generator.device).cumsum(0)
        self.register_buffer("offsets", starts, persistent=False)
        self.table = uniform(sum(self.cardinalities), dim, fan_in=dim, generator=generator)

    def forward(self, codes: Tensor) -> Tensor:
        return nn.functional.embedding(codes + self.offsets, self.table)

    @torch.no_grad()
    def settle_unseen(self, counts: Sequence[Tensor]) -> None:
        """Give every code without a training row the mean embedding of the field's training rows.

        Such a code (a missing value or a new category that first appears when scoring) would otherwise keep
        its random initial vector.

        Parameters
        ----------
        counts : sequence of Tensor [code]
            Training rows with each code of each field; codes beyond its end have none.
        """
        for found, start, size in zip(counts, self.offsets.tolist(), self.cardinalities, strict=True):
            seen = nn.functional.pad(found, (0, size - len(found)))
            rows = self.table[start : start + size]
            mean = (seen.to(rows.dtype) / seen.sum()) @ rows
            rows[seen == 0] = mean


class TokenEmbedding(nn.Module):
    """A plain table with one row per treatment arm: E^tr; control has its own row.

    Parameters
    ----------
    tokens : int
        Number of rows.
    dim : int
        Embedding size, d.
    generator : torch.Generator
        Source of the initial weights.

    Shape
    -----
    input [batch] integer codes; output [batch, d]

    Examples
    --------
    >>> arms = TokenEmbedding(5, 16, generator=torch.Generator().manual_seed(0))
    >>> arms(torch.tensor([0, 4])).shape, arms.table.shape
    (torch.Size([2, 16]), torch.Size([5, 16]))
    """

    def __init__(self, tokens: int, dim: int, *, generator: torch.Generator) -> None:
        super().__init__()
        self.table = normal(tokens, dim, generator=generator)

    def forward(self, codes: Tensor) -> Tensor:
        return nn.functional.embedding(codes, self.table)
