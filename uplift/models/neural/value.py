"""Optional value head: how much a unit spends, or costs, once it has reached the last stage, by arm."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from uplift.models.neural.layers import uniform

ValueLoss = Literal["lognormal", "mse"]

SPREAD = 0.5
"""Bound on the log of a row's standard deviation relative to that of all training rows."""


class ValueHead(nn.Module, ABC):
    """E[value | last stage]; the value per assigned unit is P(last stage) times it.

    Linear in the tower's state of a task of its own: the value is the (N+1)-th task, with its own query in TAENet
    and its own output layer. It sits on the shared tower and not on z because values are seen on few rows (those
    that reach the last stage) and need the features that the chain learns from all rows.

    Every head is fitted to values in units of their spread, is kept within the values that were seen, and is
    shifted or scaled after training by one number that makes the mean prediction equal to the mean observed value
    over training rows at the last stage.

    Parameters
    ----------
    width : int
        Width of the last tower layer.
    members : int
        Members of an ensemble, each with weights of its own.
    generator : torch.Generator
        Source of the initial weights.

    Shape
    -----
    state [..., width]; output [..., :attr:`outputs`], the parameters of the row's distribution. With several members
    [..., member, width] and [..., member, :attr:`outputs`].
    """

    outputs: ClassVar[int]

    def __init__(self, width: int, *, members: int = 1, generator: torch.Generator) -> None:
        super().__init__()
        copies = (members,) if members > 1 else ()
        self.weight = uniform(*copies, width, self.outputs, fan_in=width, generator=generator)
        self.bias = nn.Parameter(torch.zeros(*copies, self.outputs, device=generator.device))

    def forward(self, state: Tensor) -> Tensor:
        if self.weight.ndim == 2:
            return state @ self.weight + self.bias
        return torch.einsum("...kw,kwo->...ko", state, self.weight) + self.bias

    @abstractmethod
    def start_at(self, values: Tensor) -> None:
        """Fix the units from the training values [row] at the last stage, two or more."""

    @abstractmethod
    def losses(self, parameters: Tensor, value: Tensor) -> Tensor:
        """Negative log-likelihood [row] of values [row] at the last stage, without constants; finite elsewhere.

        The likelihood of the chain and this term add up to the joint likelihood per assigned unit, so weight 1
        needs no tuning.
        """

    @abstractmethod
    def mean(self, parameters: Tensor) -> Tensor:
        """E[value | last stage] [...] from the head's output [..., outputs], in the unit of the value column."""

    @abstractmethod
    def calibrate(self, observed: Tensor, expected: Tensor) -> None:
        """Make the mean prediction `expected` [] equal to the mean `observed` []."""

    def _register(self, **starts: float) -> None:
        for name, start in starts.items():
            self.register_buffer(name, torch.tensor(start, device=self.weight.device))


class LognormalHead(ValueHead):
    """Positive values: with the chain's zero mass a zero-inflated lognormal.

    ``log value | last stage ~ Normal(a + s loc, (s sigma)^2)`` with a and s the mean and standard deviation of
    the log of the training values, and loc and sigma the head's output.

    Two guards keep the mean ``exp(a + s loc + (s sigma)^2 / 2)`` sane, since its second moment is what a
    lognormal gets wrong: sigma stays within a factor exp(+-0.5) of 1, and the mean is multiplied by one factor
    found after training (Duan's smearing). Before that factor no mean exceeds the largest training value.

    References
    ----------
    Wang, Liu, Miao (2019), A deep probabilistic model for customer lifetime value prediction.
    Duan (1983), Smearing estimate: a nonparametric retransformation method.

    Examples
    --------
    >>> head = LognormalHead(64, generator=torch.Generator().manual_seed(0))
    >>> parameters = head(torch.randn(4, 64))
    >>> parameters.shape, head.mean(parameters).shape
    (torch.Size([4, 2]), torch.Size([4]))
    >>> head.losses(torch.zeros(2, 2), torch.tensor([1.0, math.exp(2)]))
    tensor([0., 2.])
    """

    outputs: ClassVar[int] = 2
    log_mean: Tensor
    log_scale: Tensor
    largest: Tensor
    smearing: Tensor

    def __init__(self, width: int, *, members: int = 1, generator: torch.Generator) -> None:
        super().__init__(width, members=members, generator=generator)
        self._register(log_mean=0.0, log_scale=1.0, largest=math.inf, smearing=1.0)

    def forward(self, state: Tensor) -> Tensor:
        loc, raw = super().forward(state).unbind(-1)
        return torch.stack((loc, SPREAD * torch.tanh(raw)), dim=-1)

    @torch.no_grad()
    def start_at(self, values: Tensor) -> None:
        logs = values.log()
        self.log_mean.copy_(logs.mean())
        self.log_scale.copy_(logs.std().clamp_min(1e-3))
        self.largest.copy_(values.max())

    def losses(self, parameters: Tensor, value: Tensor) -> Tensor:
        loc, log_sigma = parameters.unbind(-1)
        positive = value > 0
        # Rows without a value are masked by the caller; 1 keeps their logarithm, and its gradient, finite.
        target = (value.where(positive, 1.0).log() - self.log_mean) / self.log_scale
        return 0.5 * ((target - loc) * (-log_sigma).exp()).square() + log_sigma

    def mean(self, parameters: Tensor) -> Tensor:
        loc, log_sigma = parameters.unbind(-1)
        log_mean = self.log_mean + self.log_scale * loc + 0.5 * (self.log_scale * log_sigma.exp()).square()
        return self.smearing * torch.minimum(log_mean, self.largest.log()).exp()

    @torch.no_grad()
    def calibrate(self, observed: Tensor, expected: Tensor) -> None:
        self.smearing *= observed / expected


class SquaredErrorHead(ValueHead):
    """Values of any sign, zero among them: margins, returns, balances.

    ``E[value | last stage] = a + s loc`` with a and s the mean and standard deviation of the training values and
    loc the head's output, fitted by squared error, whose minimum is the mean whatever the distribution. The
    prediction is kept between the smallest and the largest training value; after training one number is added.

    Examples
    --------
    >>> head = SquaredErrorHead(64, generator=torch.Generator().manual_seed(0))
    >>> head.start_at(torch.tensor([-8.0, -4.0, 3.0]))
    >>> head.mean(torch.tensor([[0.0], [-99.0]]))
    tensor([-3., -8.])
    """

    outputs: ClassVar[int] = 1
    center: Tensor
    scale: Tensor
    smallest: Tensor
    largest: Tensor
    shift: Tensor

    def __init__(self, width: int, *, members: int = 1, generator: torch.Generator) -> None:
        super().__init__(width, members=members, generator=generator)
        self._register(center=0.0, scale=1.0, smallest=-math.inf, largest=math.inf, shift=0.0)

    @torch.no_grad()
    def start_at(self, values: Tensor) -> None:
        exact = values.double()
        self.center.copy_(exact.mean())
        # Equal values have no spread, and in float32 a rounding error in its place.
        self.scale.copy_(exact.std().clamp_min(max(1e-3 * float(exact.abs().max()), 1e-30)))
        self.smallest.copy_(values.min())
        self.largest.copy_(values.max())

    def losses(self, parameters: Tensor, value: Tensor) -> Tensor:
        return 0.5 * ((value - self.center) / self.scale - parameters.squeeze(-1)).square()

    def mean(self, parameters: Tensor) -> Tensor:
        location = self.center + self.scale * parameters.squeeze(-1)
        return self.shift + torch.minimum(torch.maximum(location, self.smallest), self.largest)

    @torch.no_grad()
    def calibrate(self, observed: Tensor, expected: Tensor) -> None:
        self.shift += observed - expected


HEADS: dict[ValueLoss, type[ValueHead]] = {"lognormal": LognormalHead, "mse": SquaredErrorHead}
"""Head of every loss."""
