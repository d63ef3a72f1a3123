"""Numeric fields as curves: piecewise-linear and periodic embeddings beside the paper's affine one.

The affine map of :class:`uplift.models.neural.embeddings.NumericEmbedding` moves a field along one straight line.
These two bend it, so that a threshold in one feature need not be put together by the tower. All keep one
contract: numbers [batch, p] with NaN = missing in, vectors [batch, p, d] out, a state of its own for a missing
value that starts at zero (as if the value were 0, the training mean of a z-scored field), and one batched product
for all fields.

References
----------
Gorishniy, Rubachev, Babenko, On Embeddings for Numerical Features in Tabular Deep Learning, NeurIPS 2022.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from uplift.models.neural.embeddings import NumericEmbedding
from uplift.models.neural.layers import normal, uniform

NumericKind = Literal["affine", "piecewise", "periodic"]

SIGMA = 0.1
"""Scale of the first frequencies, in periods per standard deviation."""


class PiecewiseLinearEncoding(nn.Module):
    """How far a number has gone through each of T bins (PLE: section 3.2, eq. 1 of the reference).

    For edges ``b_0 < ... < b_T``, component t is 0 below its bin, 1 above it and ``(x - b_{t-1}) / (b_t - b_{t-1})``
    inside. Any continuous function that is linear within the bins is a linear function of the components.

    Outside the training range nothing moves any more, as in a tree. (The reference lets the outer bins go on;
    but these may be narrow, and a value one standard deviation outside would then count a thousandfold.)

    A field may have fewer than T bins; the components left over are 0. A constant field has none.

    Parameters
    ----------
    edges : sequence of Tensor
        Rising edges of every field: none or one (a constant field) to T + 1 of them.
    bins : int
        Largest number of bins of a field, T >= 1.
    device : torch.device, optional
        Where the edges lie.

    Attributes
    ----------
    widths : Tensor [p, T]
        Width of every bin; 0 where a field has no such bin.

    Shape
    -----
    input [..., p], finite; output [..., p, T] in [0, 1]

    Examples
    --------
    >>> encode = PiecewiseLinearEncoding([torch.tensor([0.0, 1.0, 3.0])], bins=3)
    >>> encode(torch.tensor([[0.0], [0.5], [2.0], [5.0]])).squeeze(1)
    tensor([[0.0000, 0.0000, 0.0000],
            [0.5000, 0.0000, 0.0000],
            [1.0000, 0.5000, 0.0000],
            [1.0000, 1.0000, 0.0000]])
    """

    left: Tensor
    widths: Tensor
    scale: Tensor

    def __init__(self, edges: Sequence[Tensor], *, bins: int, device: torch.device | None = None) -> None:
        super().__init__()
        left, widths = torch.zeros(len(edges), bins), torch.zeros(len(edges), bins)
        for field, known in enumerate(edges):
            used = max(len(known) - 1, 0)
            left[field, :used] = known[:used]
            widths[field, :used] = known.diff()
        # Not in the state: whoever builds the network again has the edges.
        scale = torch.where(widths > 0, 1 / widths, 0.0)
        for name, tensor in (("left", left), ("widths", widths), ("scale", scale)):
            self.register_buffer(name, tensor.to(device), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return ((x.unsqueeze(-1) - self.left) * self.scale).clamp(0.0, 1.0)


class PiecewiseLinearEmbedding(nn.Module):
    """Every numeric field is a polyline in R^d with its knots at the training quantiles (PLE, then linear).

    ``e_j = PLE_j(x_j) W_j + b_j + [missing] m_j``. Within the training range it starts as the affine embedding that
    the same generator draws, because ``W_{j,t} = v_j (b_t - b_{t-1})`` adds up to ``x_j v_j``; training bends it
    where the data say so. A 0/1 field has one bin, two free states and its missing state: nothing to bend.

    Parameters
    ----------
    edges : sequence of Tensor
        Rising knots of every field, at most `bins` + 1: the training quantiles.
    dim : int
        Embedding size, d.
    bins : int
        Largest number of bins of a field, T >= 1.
    generator : torch.Generator
        Source of the initial weights.

    Shape
    -----
    input [batch, p], NaN = missing; output [batch, p, d]

    Examples
    --------
    >>> edges = [torch.linspace(-2, 2, 9)] * 3
    >>> embed = PiecewiseLinearEmbedding(edges, 16, bins=8, generator=torch.Generator().manual_seed(0))
    >>> embed(torch.tensor([[0.5, -1.0, float("nan")]])).shape
    torch.Size([1, 3, 16])
    """

    def __init__(self, edges: Sequence[Tensor], dim: int, *, bins: int, generator: torch.Generator) -> None:
        super().__init__()
        fields = len(edges)
        self.encode = PiecewiseLinearEncoding(edges, bins=bins, device=generator.device)
        slope = uniform(fields, dim, fan_in=dim, generator=generator).detach()
        self.offset = uniform(fields, dim, fan_in=dim, generator=generator)
        self.weight = nn.Parameter(self.encode.widths.unsqueeze(-1) * slope.unsqueeze(1))
        self.missing = nn.Parameter(torch.zeros(fields, dim, device=generator.device))
        with torch.no_grad():
            self.offset.add_(self.encode.left[:, :1] * slope)

    def forward(self, x: Tensor) -> Tensor:
        absent = torch.isnan(x)
        through = self.encode(x.masked_fill(absent, 0.0))
        terms = torch.cat(
            (through, torch.ones_like(x).unsqueeze(-1), absent.to(x.dtype).unsqueeze(-1)), dim=-1
        )
        maps = torch.cat((self.weight, self.offset.unsqueeze(1), self.missing.unsqueeze(1)), dim=1)
        return torch.einsum("bpc,pcd->bpd", terms, maps)


class PeriodicEmbedding(nn.Module):
    """Every numeric field as sines and cosines of trained frequencies, then linear and ReLU (PLR).

    ``e_j = ReLU([sin(2 pi c_j x_j), cos(2 pi c_j x_j)] W_j + b_j + [missing] m_j)`` with k frequencies ``c_j`` drawn
    from Normal(0, sigma) (section 3.3 of the reference). It repeats itself far outside the training range.

    Parameters
    ----------
    fields : int
        Number of numeric fields, p.
    dim : int
        Embedding size, d.
    frequencies : int
        Number of frequencies per field, k >= 1.
    sigma : float
        Scale of the initial frequencies in periods per unit of x (a standard deviation for z-scored fields), > 0:
        the larger, the more wiggly. The most important number here, says the reference.
    generator : torch.Generator
        Source of the initial weights.

    Shape
    -----
    input [batch, p], NaN = missing; output [batch, p, d], >= 0

    Examples
    --------
    >>> embed = PeriodicEmbedding(3, 16, frequencies=8, sigma=0.1, generator=torch.Generator().manual_seed(0))
    >>> embed(torch.tensor([[0.5, -1.0, float("nan")]])).shape
    torch.Size([1, 3, 16])
    """

    def __init__(
        self, fields: int, dim: int, *, frequencies: int, sigma: float, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.frequency = normal(fields, frequencies, generator=generator)
        with torch.no_grad():
            self.frequency.mul_(sigma)
        self.weight = uniform(fields, 2 * frequencies, dim, fan_in=2 * frequencies, generator=generator)
        self.offset = uniform(fields, dim, fan_in=2 * frequencies, generator=generator)
        self.missing = nn.Parameter(torch.zeros(fields, dim, device=generator.device))

    def forward(self, x: Tensor) -> Tensor:
        absent = torch.isnan(x)
        angle = (2 * math.pi) * x.masked_fill(absent, 0.0).unsqueeze(-1) * self.frequency
        ones, gone = torch.ones_like(x).unsqueeze(-1), absent.to(x.dtype).unsqueeze(-1)
        terms = torch.cat((angle.sin(), angle.cos(), ones, gone), dim=-1)
        maps = torch.cat((self.weight, self.offset.unsqueeze(1), self.missing.unsqueeze(1)), dim=1)
        return torch.relu(torch.einsum("bpc,pcd->bpd", terms, maps))


def numeric_embedding(
    kind: NumericKind,
    *,
    fields: int,
    dim: int,
    bins: int,
    edges: Sequence[Tensor],
    generator: torch.Generator,
) -> nn.Module:
    """The embedding of `fields` numeric fields that an option names.

    `bins` is the number of bins of ``"piecewise"``, whose knots are `edges`, and of frequencies of ``"periodic"``.
    """
    if kind == "affine":
        return NumericEmbedding(fields, dim, generator=generator)
    if kind == "periodic":
        return PeriodicEmbedding(fields, dim, frequencies=bins, sigma=SIGMA, generator=generator)
    return PiecewiseLinearEmbedding(edges, dim, bins=bins, generator=generator)
