"""Layers that exist once per arm, for all arms in one batched product."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from uplift.models.neural.layers import Activation, uniform
from uplift.models.neural.network import ChainOutput, OutputLayer
from uplift.models.neural.value import ValueHead


class Hypotheses(nn.Module):
    """The hidden layers of every arm's hypothesis h_a, by default ``ELU(s W_a + b_a)``.

    Parameters
    ----------
    inputs : int
        Width of what the hypotheses see, such as a representation Phi(x).
    widths : sequence of int
        Widths of the hidden layers.
    arms : int
        K + 1, control included (or as many as there are to be hypotheses of anything else).
    activation : callable
        After every layer.
    generator : torch.Generator
        Source of the initial weights.

    Shape
    -----
    input [batch, inputs], or [arm, batch, inputs] where every arm has one of its own; output [arm, batch, widths[-1]]

    Examples
    --------
    >>> hypotheses = Hypotheses(inputs=64, widths=(32, 16), arms=5, generator=torch.Generator().manual_seed(0))
    >>> hypotheses(torch.randn(4, 64)).shape
    torch.Size([5, 4, 16])
    """

    def __init__(
        self,
        *,
        inputs: int,
        widths: Sequence[int],
        arms: int,
        activation: Activation = nn.functional.elu,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.activation = activation
        sizes = list(pairwise([inputs, *widths]))
        self.weights = nn.ParameterList(
            uniform(arms, before, after, fan_in=before, generator=generator) for before, after in sizes
        )
        self.biases = nn.ParameterList(
            uniform(arms, 1, after, fan_in=before, generator=generator) for before, after in sizes
        )

    def forward(self, representation: Tensor) -> Tensor:
        state = representation
        for weight, bias in zip(self.weights, self.biases, strict=True):
            state = self.activation(torch.matmul(state, weight) + bias)
        return state


class ArmHeads(OutputLayer):
    """Output layer of every arm's hypothesis: the logit of each stage.

    Parameters
    ----------
    width : int
        Width of the last hidden layer.
    arms : int
        K + 1, control included.
    stages : int
        Number of binary stages N.
    generator : torch.Generator
        Source of the initial weights.

    Shape
    -----
    input [arm, batch, width]; output [arm, batch, N]

    Examples
    --------
    >>> heads = ArmHeads(16, 5, 2, generator=torch.Generator().manual_seed(0))
    >>> heads(torch.randn(5, 4, 16)).shape
    torch.Size([5, 4, 2])
    """

    def __init__(self, width: int, arms: int, stages: int, *, generator: torch.Generator) -> None:
        super().__init__()
        self.weight = uniform(arms, width, stages, fan_in=width, generator=generator)
        self.bias = nn.Parameter(torch.zeros(arms, 1, stages, device=generator.device))

    def forward(self, state: Tensor) -> Tensor:
        return torch.matmul(state, self.weight) + self.bias

    @torch.no_grad()
    def start_at(self, rates: Tensor) -> None:
        """Set the biases of every arm so that the first predictions are about the base `rates` [stage]."""
        self.bias.copy_(torch.logit(rates).expand_as(self.bias))


def every_arm(state: Tensor, heads: ArmHeads, value: ValueHead | None) -> ChainOutput:
    """Outputs under every arm, logits [batch, arm, stage] and value [batch, arm, k], from states [arm, batch, width].

    The value is read by one head from the state of the arm: it is seen on few rows, too few for a head per arm.
    """
    found = None if value is None else value(state).transpose(0, 1)
    return ChainOutput(heads(state).transpose(0, 1), found)
