"""Parameters and dense layers drawn from an explicit generator, so that no model touches the global random state."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def uniform(*shape: int, fan_in: int, generator: torch.Generator) -> nn.Parameter:
    """Parameter with entries uniform in (-1/sqrt(fan_in), 1/sqrt(fan_in)), on the generator's device."""
    bound = 1 / math.sqrt(fan_in)
    empty = torch.empty(*shape, device=generator.device)
    return nn.Parameter(empty.uniform_(-bound, bound, generator=generator))


def normal(*shape: int, generator: torch.Generator) -> nn.Parameter:
    """Parameter with standard normal entries, on the generator's device."""
    return nn.Parameter(torch.empty(*shape, device=generator.device).normal_(generator=generator))


class Dense(nn.Module):
    """Affine map ``x W + b``.

    Parameters
    ----------
    inputs, outputs : int
        Sizes of the last axis.
    generator : torch.Generator
        Source of the initial weights.

    Shape
    -----
    input [..., inputs], output [..., outputs]

    Examples
    --------
    >>> Dense(3, 2, generator=torch.Generator().manual_seed(0))(torch.zeros(5, 3)).shape
    torch.Size([5, 2])
    """

    def __init__(self, inputs: int, outputs: int, *, generator: torch.Generator) -> None:
        super().__init__()
        self.weight = uniform(inputs, outputs, fan_in=inputs, generator=generator)
        self.bias = uniform(outputs, fan_in=inputs, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.weight.t(), self.bias)
