"""Parameters and dense layers drawn from an explicit generator, so that no model touches the global random state."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

Activation = Callable[[Tensor], Tensor]


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


class DenseLayers(nn.ModuleList):
    """Dense layers with an activation after each, the last one included.

    Parameters
    ----------
    inputs : int
        Size of the last axis.
    widths : sequence of int
        Widths of the layers; none makes it the identity.
    activation : callable
        From tensor to tensor, elementwise.
    generator : torch.Generator
        Source of the initial weights.

    Attributes
    ----------
    width : int
        Size of the last axis of the output.

    Shape
    -----
    input [..., inputs], output [..., widths[-1]]

    Examples
    --------
    >>> layers = DenseLayers(3, (8, 2), generator=torch.Generator().manual_seed(0))
    >>> layers(torch.zeros(5, 3)).shape
    torch.Size([5, 2])
    """

    def __init__(
        self,
        inputs: int,
        widths: Sequence[int],
        *,
        activation: Activation = nn.functional.elu,
        generator: torch.Generator,
    ) -> None:
        super().__init__(
            Dense(before, after, generator=generator) for before, after in pairwise([inputs, *widths])
        )
        self.width = widths[-1] if widths else inputs
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        for layer in self:
            x = self.activation(layer(x))
        return x
