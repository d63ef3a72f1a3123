"""A parameter-efficient ensemble of towers: one set of weights, and a few vectors of its own for every member."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from uplift.models.ecup.ecenet import Tower


class SharedTower(Tower):
    """M towers that share U_1..U_{L-1}: ``H_l = ReLU(s_l * ((r_l * H_{l-1}) U_l) + u_l) * delta_l`` per member.

    Each member multiplies what goes into a layer by r and what comes out by s, two vectors of its own (so that its
    weights are ``diag(r) U diag(s)``, a rank-one change), and has its own bias u. All members run in one batched
    product. As in TabM, the members start apart by random signs r_1 on the tower's input; all other r and s start
    at 1 and all biases alike.

    Parameters
    ----------
    members : int
        M >= 2.
    inputs, widths, tasks, share, generator
        See :class:`~uplift.models.ecup.ecenet.Tower`.

    Shape
    -----
    z [batch, inputs], scales list of [batch, task, h_l] or None; output [batch, member, task, h_{L-1}]

    References
    ----------
    Wen, Tran, Ba, BatchEnsemble, ICLR 2020. Gorishniy, Kotelnikov, Babenko, TabM, ICLR 2025.

    Examples
    --------
    >>> tower = SharedTower(members=8, inputs=208, widths=(128, 64), tasks=2, share=True,
    ...                     generator=torch.Generator().manual_seed(0))
    >>> tower(torch.randn(4, 208), [torch.ones(4, 2, 128), torch.ones(4, 2, 64)]).shape
    torch.Size([4, 8, 2, 64])
    """

    def __init__(
        self,
        *,
        members: int,
        inputs: int,
        widths: Sequence[int],
        tasks: int,
        share: bool,
        generator: torch.Generator,
    ) -> None:
        super().__init__(inputs=inputs, widths=widths, tasks=tasks, share=share, generator=generator)
        device = generator.device
        signs = torch.empty(members, inputs, device=device).bernoulli_(0.5, generator=generator) * 2 - 1
        ones = [torch.ones(members, width, device=device) for width in widths]
        self.input_scales = nn.ParameterList([signs, *(one.clone() for one in ones[:-1])])
        self.output_scales = nn.ParameterList(ones)
        self.biases = nn.ParameterList(bias.detach().expand(members, -1, -1).clone() for bias in self.biases)

    def forward(self, z: Tensor, scales: Sequence[Tensor] | None) -> Tensor:
        state = z[:, None, None]
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            state = state * self.input_scales[layer].unsqueeze(1)
            if len(weight) == 1:
                state = state @ weight[0]
            else:
                state = torch.einsum("bkmi,mio->bkmo", state.expand(-1, -1, len(weight), -1), weight)
            state = torch.relu(torch.addcmul(bias, state, self.output_scales[layer].unsqueeze(1)))
            if scales is not None:
                state = state * scales[layer].unsqueeze(1)
        return state
