"""Moving average of the weights: the network that is validated and kept."""

from __future__ import annotations

import copy
from typing import Generic, TypeVar

import torch
from torch import nn

Network = TypeVar("Network", bound=nn.Module)


class MovingAverage(Generic[Network]):
    """Exponential moving average of a network's weights, with a shorter memory in the first steps.

    At a constant step size the last weights carry the noise of the last batches, which moves whole arms up and
    down: it is large against an uplift of one point. The average over some 50 steps does not. Buffers are copied.

    Parameters
    ----------
    network : nn.Module
        The network that is trained.
    decay : float
        In [0, 1); 0 follows the network exactly.

    Attributes
    ----------
    network : nn.Module
        A copy that holds the average.
    steps : int
        Updates so far.

    Examples
    --------
    >>> layer = torch.nn.Linear(1, 1)
    >>> average = MovingAverage(layer, 0.0)
    >>> _ = layer.weight.data.fill_(5.0)
    >>> average.update()
    >>> average.network.weight.item()
    5.0
    """

    def __init__(self, network: Network, decay: float) -> None:
        self.network: Network = copy.deepcopy(network).eval().requires_grad_(False)
        self.decay = decay
        self.steps = 0
        self._from = [parameter.detach() for parameter in network.parameters()]
        self._to = [parameter.detach() for parameter in self.network.parameters()]
        self._pairs = list(zip(self.network.buffers(), network.buffers(), strict=True))

    @torch.no_grad()
    def update(self) -> None:
        """Take the network's present weights into the average; the first update copies them."""
        if self.steps == 0:
            torch._foreach_copy_(self._to, self._from)
        else:
            decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
            torch._foreach_lerp_(self._to, self._from, 1 - decay)  # one fused pass over all parameters
        for mine, theirs in self._pairs:
            mine.copy_(theirs)
        self.steps += 1
