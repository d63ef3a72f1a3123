"""Optional value head: how much a unit spends once it has reached the last stage, by arm."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from uplift.models.ecup.layers import uniform

SPREAD = 0.5
"""Bound on the log of a row's standard deviation relative to that of all training rows."""


class ValueHead(nn.Module):
    """Lognormal value given the last stage; with the chain's zero mass a zero-inflated lognormal.

    ``log value | last stage ~ Normal(a + s loc, (s sigma)^2)`` with a and s the mean and standard deviation of
    the log of the positive training values, and loc and sigma linear in the tower's state of a task of its own:
    the value is the (N+1)-th task, with its own query in TAENet and its own output layer. It sits on the shared
    tower and not on z because values are seen on few rows (those that reach the last stage) and need the
    features that the chain learns from all rows.

    Two guards keep the mean ``exp(a + s loc + (s sigma)^2 / 2)`` sane, since its second moment is what a
    lognormal gets wrong: sigma stays within a factor exp(+-0.5) of 1, and the mean is multiplied by one
    factor, found after training, that makes the mean prediction equal to the mean observed value over
    training rows at the last stage (Duan's smearing; it also carries zero and negative values at the last
    stage). Before that factor no mean exceeds the largest training value.

    Parameters
    ----------
    width : int
        Width of the last tower layer.
    generator : torch.Generator
        Source of the initial weights.

    Shape
    -----
    state [..., width]; output [..., 2], loc and log sigma in units of s

    References
    ----------
    Wang, Liu, Miao (2019), A deep probabilistic model for customer lifetime value prediction.
    Duan (1983), Smearing estimate: a nonparametric retransformation method.

    Examples
    --------
    >>> head = ValueHead(64, generator=torch.Generator().manual_seed(0))
    >>> parameters = head(torch.randn(4, 64))
    >>> parameters.shape, head.mean(parameters).shape
    (torch.Size([4, 2]), torch.Size([4]))
    """

    log_mean: Tensor
    log_scale: Tensor
    largest: Tensor
    smearing: Tensor

    def __init__(self, width: int, *, generator: torch.Generator) -> None:
        super().__init__()
        self.weight = uniform(width, 2, fan_in=width, generator=generator)
        self.bias = nn.Parameter(torch.zeros(2, device=generator.device))
        for name, start in (("log_mean", 0.0), ("log_scale", 1.0), ("largest", math.inf), ("smearing", 1.0)):
            self.register_buffer(name, torch.tensor(start, device=generator.device))

    def forward(self, state: Tensor) -> Tensor:
        loc, raw = (state @ self.weight + self.bias).unbind(-1)
        return torch.stack((loc, SPREAD * torch.tanh(raw)), dim=-1)

    @torch.no_grad()
    def start_at(self, values: Tensor) -> None:
        """Fix a, s and the cap from the positive training values [row] at the last stage, two or more."""
        logs = values.log()
        self.log_mean.copy_(logs.mean())
        self.log_scale.copy_(logs.std().clamp_min(1e-3))
        self.largest.copy_(values.max())

    def standardise(self, value: Tensor) -> Tensor:
        """``(log value - a) / s``; where the value is not positive, the result is 0 and must be masked."""
        positive = value > 0
        return torch.where(positive, (value.where(positive, 1.0).log() - self.log_mean) / self.log_scale, 0.0)

    def mean(self, parameters: Tensor) -> Tensor:
        """E[value | last stage] [...] from the head's output [..., 2], in the unit of the value column."""
        loc, log_sigma = parameters.unbind(-1)
        log_mean = self.log_mean + self.log_scale * loc + 0.5 * (self.log_scale * log_sigma.exp()).square()
        return self.smearing * torch.minimum(log_mean, self.largest.log()).exp()
