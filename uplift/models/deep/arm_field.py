"""Layers that see the arm as one field more, and their output layers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from uplift.models.neural.embeddings import TokenEmbedding
from uplift.models.neural.layers import Activation, DenseLayers, uniform
from uplift.models.neural.network import OutputLayer


class ArmLayers(nn.Module):
    """Dense layers on the fields of a row and an embedding of its arm.

    The first layer's product with the fields does not depend on the arm and is computed once for all arms.

    Parameters
    ----------
    inputs : int
        Size of the flattened fields.
    dim : int
        Size of the arm's embedding.
    widths : sequence of int
        Widths of the layers, one or more.
    arms : int
        K + 1, control included, which has an embedding of its own.
    activation : callable
        After every layer.
    generator : torch.Generator
        Source of the initial weights.

    Shape
    -----
    fields [batch, inputs], treatment [batch] integer; output [batch, widths[-1]], or under every arm
    [arm, batch, widths[-1]] without `treatment`

    Examples
    --------
    >>> layers = ArmLayers(inputs=80, dim=16, widths=(32, 8), arms=5, generator=torch.Generator().manual_seed(0))
    >>> fields = torch.randn(4, 80)
    >>> layers(fields, torch.tensor([0, 1, 0, 4])).shape, layers(fields).shape
    (torch.Size([4, 8]), torch.Size([5, 4, 8]))
    """

    def __init__(
        self,
        *,
        inputs: int,
        dim: int,
        widths: Sequence[int],
        arms: int,
        activation: Activation = nn.functional.elu,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.treatment = TokenEmbedding(arms, dim, generator=generator)
        self.of_fields = uniform(inputs, widths[0], fan_in=inputs + dim, generator=generator)
        self.of_arm = uniform(dim, widths[0], fan_in=inputs + dim, generator=generator)
        self.bias = uniform(widths[0], fan_in=inputs + dim, generator=generator)
        self.activation = activation
        self.rest = DenseLayers(widths[0], widths[1:], activation=activation, generator=generator)

    def forward(self, fields: Tensor, treatment: Tensor | None = None) -> Tensor:
        first = fields @ self.of_fields + self.bias
        # The product with the few arms' embeddings comes before the look-up: it is the smaller one.
        arms = self.treatment.table @ self.of_arm
        arms = arms.unsqueeze(1) if treatment is None else nn.functional.embedding(treatment, arms)
        result: Tensor = self.rest(self.activation(first + arms))
        return result


class StageLayer(OutputLayer):
    """The logits of all stages from one state.

    Parameters
    ----------
    width : int
        Size of the state.
    stages : int
        Number of binary stages N.
    generator : torch.Generator
        Source of the initial weights.

    Shape
    -----
    input [..., width]; output [..., N]

    Examples
    --------
    >>> StageLayer(8, 2, generator=torch.Generator().manual_seed(0))(torch.randn(5, 4, 8)).shape
    torch.Size([5, 4, 2])
    """

    def __init__(self, width: int, stages: int, *, generator: torch.Generator) -> None:
        super().__init__()
        self.weight = uniform(width, stages, fan_in=width, generator=generator)
        self.bias = nn.Parameter(torch.zeros(stages, device=generator.device))

    def forward(self, state: Tensor) -> Tensor:
        return state @ self.weight + self.bias

    @torch.no_grad()
    def start_at(self, rates: Tensor) -> None:
        """Set the biases so that the first predictions are about the base `rates` [stage]."""
        self.bias.copy_(torch.logit(rates))


class TowerLayer(StageLayer):
    """The logit of each stage from the state of a tower of its own.

    Parameters
    ----------
    width : int
        Size of each state.
    stages : int
        Number of binary stages N.
    generator : torch.Generator
        Source of the initial weights.

    Shape
    -----
    input [N, ..., width]; output [..., N]

    Examples
    --------
    >>> TowerLayer(8, 2, generator=torch.Generator().manual_seed(0))(torch.randn(2, 5, 4, 8)).shape
    torch.Size([5, 4, 2])
    """

    def forward(self, state: Tensor) -> Tensor:
        return torch.einsum("s...w,ws->...s", state, self.weight) + self.bias
