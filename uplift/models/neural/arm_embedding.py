"""E^tr from what a coupon is worth: face value and threshold in place of the arm's id, or beside it."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from uplift.models.neural.layers import normal

ArmEncoding = Literal["id", "amount", "both"]

ATTRIBUTES = ("amount", "threshold")
"""What the columns of an arm's attributes mean."""


class ArmEmbedding(nn.Module):
    """Treated arms as points on a polyline over their amounts; control has its own row.

    ``E^tr_k = u + z(a_k) v + sum_j max(z(a_k) - z_j, 0) w_j [+ r_k]``, and the same terms without u for the threshold
    where thresholds differ. z standardises over the training arms, and the z_j are the amounts between the smallest
    and the largest. The bends w and the deviations r start at zero: arms of neighbouring amounts begin as
    neighbours and share what is learned about u and v, and an amount that no training arm had lies between
    (or, outside their range, on the straight line beyond) those that are known.

    Parameters
    ----------
    attributes : Tensor [K, 2] float64
        Amount and threshold of the treated training arms, in money; at least two of them differ.
    dim : int
        Embedding size, d.
    deviations : bool
        Whether each training arm has a vector r_k of its own on top, for what its amount does not say.
    generator : torch.Generator
        Source of the initial weights.

    Shape
    -----
    input [batch] integer codes of the training arms, 0 = control; output [batch, d]

    Examples
    --------
    >>> attributes = torch.tensor([[5.0, 0.0], [10.0, 0.0], [20.0, 0.0]], dtype=torch.float64)
    >>> arms = ArmEmbedding(attributes, 16, deviations=False, generator=torch.Generator().manual_seed(0))
    >>> arms(torch.tensor([0, 3])).shape, arms.table.shape
    (torch.Size([2, 16]), torch.Size([4, 16]))
    >>> new = arms.rows(torch.tensor([[7.5, 0.0]], dtype=torch.float64), torch.tensor([-1]))
    >>> torch.allclose(new[1], (arms.table[1] + arms.table[2]) / 2, atol=1e-6)
    True
    """

    terms: Tensor

    def __init__(self, attributes: Tensor, dim: int, *, deviations: bool, generator: torch.Generator) -> None:
        super().__init__()
        device = generator.device
        attributes = attributes.to(device)
        varying = [column for column in range(len(ATTRIBUTES)) if len(attributes[:, column].unique()) > 1]
        # Every attribute that varies, with the training values where its line may bend and their scale.
        self.curves = [(column, *_line(attributes[:, column])) for column in varying]
        bends = sum(len(knots) for *_, knots in self.curves)
        self.control = normal(1, dim, generator=generator)
        self.line = normal(1 + len(self.curves), dim, generator=generator)
        self.bend = nn.Parameter(torch.zeros(bends, dim, device=device))
        self.deviation = (
            nn.Parameter(torch.zeros(len(attributes), dim, device=device)) if deviations else None
        )
        self.register_buffer("terms", self._terms(attributes), persistent=False)

    def _terms(self, attributes: Tensor) -> Tensor:
        """[k, 1 + attributes + bends]: one, every standardised attribute, then what exceeds each knot."""
        values = [(attributes[:, column] - center) / scale for column, center, scale, _ in self.curves]
        hinges = [
            (value.unsqueeze(1) - knots).clamp_min(0.0)
            for value, (*_, knots) in zip(values, self.curves, strict=True)
        ]
        return torch.cat(
            (torch.ones_like(attributes[:, :1]), torch.stack(values, dim=1), *hinges), dim=1
        ).float()

    @property
    def table(self) -> Tensor:
        """E^tr of control and of every training arm [K + 1, d]."""
        treated = self.terms @ torch.cat((self.line, self.bend))
        if self.deviation is not None:
            treated = treated + self.deviation
        return torch.cat((self.control, treated))

    def rows(self, attributes: Tensor, trained: Tensor) -> Tensor:
        """E^tr [k + 1, d] of control and of arms with `attributes` [k, 2], any amounts.

        Parameters
        ----------
        attributes : Tensor [k, 2] float64
            Amount and threshold.
        trained : Tensor [k] integer
            Position of the same arm among the training arms (0 .. K - 1), -1 for a new one, which has no deviation.
        """
        attributes, trained = attributes.to(self.control.device), trained.to(self.control.device)
        treated = self._terms(attributes) @ torch.cat((self.line, self.bend))
        if self.deviation is not None:
            known = (trained >= 0).unsqueeze(1).to(treated.dtype)
            treated = treated + known * self.deviation[trained.clamp_min(0)]
        return torch.cat((self.control, treated))

    def forward(self, codes: Tensor) -> Tensor:
        return nn.functional.embedding(codes, self.table)


def _line(values: Tensor) -> tuple[float, float, Tensor]:
    """Center and scale of the distinct `values` [K], and those between smallest and largest, standardised."""
    distinct = values.unique()
    center, scale = float(distinct.mean()), float(distinct.std(correction=0))
    return center, scale, (distinct[1:-1] - center) / scale


class FixedArms(nn.Module):
    """E^tr of arms that are only scored.

    Parameters
    ----------
    table : Tensor [arm, d]
        E^tr, control first.

    Shape
    -----
    input [batch] integer codes; output [batch, d]

    Examples
    --------
    >>> FixedArms(torch.eye(3))(torch.tensor([2]))
    tensor([[0., 0., 1.]])
    """

    table: Tensor

    def __init__(self, table: Tensor) -> None:
        super().__init__()
        self.register_buffer("table", table)

    def forward(self, codes: Tensor) -> Tensor:
        return nn.functional.embedding(codes, self.table)
