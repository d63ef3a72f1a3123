"""Where encoders of other inputs (a customer's events, texts, graphs) join ECUP."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn


class ExtraFields(nn.Module, ABC):
    """Turns inputs of its own into g further fields of E^x.

    They stand behind the feature fields, before the treatment-enhanced network: the treatment gates them like any
    field, and they are computed once per row however many arms are scored. An encoder must not let rows see each
    other (no batch normalisation), and must say something finite about a row without events.

    Attributes
    ----------
    fields : int
        Number of fields g >= 1.

    Shape
    -----
    inputs [batch, ...] as the encoder wants them; output [batch, g, d]

    Examples
    --------
    >>> import torch
    >>> class MeanOfEvents(ExtraFields):
    ...     fields = 1
    ...     def forward(self, events):  # [batch, length, d]
    ...         return events.mean(1, keepdim=True)
    >>> MeanOfEvents()(torch.ones(4, 10, 16)).shape
    torch.Size([4, 1, 16])
    """

    fields: int

    @abstractmethod
    def forward(self, *inputs: Tensor) -> Tensor: ...
