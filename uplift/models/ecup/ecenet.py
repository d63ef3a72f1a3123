"""ECENet, the entire-chain-enhanced network (section 4.1): one tower for all stages, scaled per task."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from uplift.models.neural.layers import uniform
from uplift.models.neural.network import OutputLayer


class Tower(nn.Module):
    """The hidden layers of the tower, eq. 7: ``H_l = ReLU(H_{l-1} U_l + u_l) * delta_l`` for every task.

    U_1..U_{L-1} are **shared by all tasks** (the dashed "Shared" arrow in the paper's figure 4): the same
    weights run once per task with different scales. The first layer's product does not depend on the task
    and is computed once.

    Parameters
    ----------
    inputs : int
        Size of z = flatten(E~), (f + 1) d.
    widths : sequence of int
        Widths h_1..h_{L-1}.
    tasks : int
        Number of tasks M.
    share : bool
        False is an ablation: every task has hidden layers of its own.
    generator : torch.Generator
        Source of the initial weights.

    Shape
    -----
    z [batch, inputs], scales list of [batch, task, h_l] or None (no TAENet); output [batch, task, h_{L-1}]
    (one task on that axis when neither scales nor weights tell the tasks apart)

    Examples
    --------
    >>> tower = Tower(inputs=208, widths=(128, 64), tasks=2, share=True, generator=torch.Generator().manual_seed(0))
    >>> tower(torch.randn(4, 208), [torch.ones(4, 2, 128), torch.ones(4, 2, 64)]).shape
    torch.Size([4, 2, 64])
    """

    def __init__(
        self,
        *,
        inputs: int,
        widths: Sequence[int],
        tasks: int,
        share: bool,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        copies = 1 if share else tasks
        sizes = [inputs, *widths]
        self.weights = nn.ParameterList(
            uniform(copies, before, after, fan_in=before, generator=generator)
            for before, after in pairwise(sizes)
        )
        self.biases = nn.ParameterList(
            uniform(copies, after, fan_in=before, generator=generator) for before, after in pairwise(sizes)
        )

    def forward(self, z: Tensor, scales: Sequence[Tensor] | None) -> Tensor:
        state = z.unsqueeze(1)
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            if len(weight) == 1:
                state = nn.functional.linear(state, weight[0].t(), bias[0])
            else:
                state = torch.einsum("bmi,mio->bmo", state.expand(-1, len(weight), -1), weight) + bias
            state = torch.relu(state)
            if scales is not None:
                # Before or after ReLU is the same function: the scales are positive and ReLU lets such factors through.
                state = state * scales[layer]
        return state


class StageHeads(OutputLayer):
    """The only layer of its own each stage has: ``logit_m = H_{m,L-1} w_m + b_m``.

    ``sigmoid(logit_m)`` is the rate of stage m *given* stage m-1 (pCTR, then pCVR), so that the product up to
    m is the rate in the entire space (pCTCVR).

    Parameters
    ----------
    width : int
        Width h_{L-1} of the last tower layer.
    stages : int
        Number of binary stages N.
    members : int
        Members of an ensemble, each with weights of its own.
    generator : torch.Generator
        Source of the initial weights.

    Shape
    -----
    input [batch, N or 1, h_{L-1}]; output [batch, N]. With several members [batch, member, N or 1, h_{L-1}] and
    [batch, member, N].

    Examples
    --------
    >>> StageHeads(64, 2, generator=torch.Generator().manual_seed(0))(torch.randn(4, 2, 64)).shape
    torch.Size([4, 2])
    """

    def __init__(self, width: int, stages: int, *, members: int = 1, generator: torch.Generator) -> None:
        super().__init__()
        copies = (members,) if members > 1 else ()
        self.weight = uniform(*copies, stages, width, fan_in=width, generator=generator)
        self.bias = nn.Parameter(torch.zeros(*copies, stages, device=generator.device))

    def forward(self, state: Tensor) -> Tensor:
        return (state * self.weight).sum(-1) + self.bias

    @torch.no_grad()
    def start_at(self, rates: Tensor) -> None:
        """Set the biases so that the first predictions are about the base rates.

        A rare stage would otherwise spend its first epochs on learning that it is rare.

        Parameters
        ----------
        rates : Tensor [N]
            Rate of each stage given the one before, strictly between 0 and 1.
        """
        self.bias.copy_(torch.logit(rates))
