"""What the training engine and the model interface need from a network of a chain."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from uplift.models.neural.embeddings import CategoricalEmbedding
from uplift.models.neural.loss import LossSpace
from uplift.models.neural.value import ValueHead

if TYPE_CHECKING:
    from uplift.models.neural.rows import Rows


class ChainOutput(NamedTuple):
    """Raw outputs of a network.

    Attributes
    ----------
    logits : Tensor [..., stage]
        Logits of each binary stage given the one before (or of the stage itself, see :attr:`ChainNetwork.loss_space`).
    value : Tensor [..., k] or None
        Parameters of the value given the last stage, for :meth:`ValueHead.mean`.
    extras : mapping of str to Tensor [row, ...], optional
        What :meth:`ChainNetwork.penalty` needs beside the outputs; from :meth:`ChainNetwork.forward` in training only.
    """

    logits: Tensor
    value: Tensor | None
    extras: Mapping[str, Tensor] | None = None

    def single_precision(self) -> ChainOutput:
        """All outputs in float32."""
        return ChainOutput(
            self.logits.float(),
            None if self.value is None else self.value.float(),
            None if self.extras is None else {name: extra.float() for name, extra in self.extras.items()},
        )

    def rates(self, space: LossSpace = "entire") -> Tensor:
        """Rates in the entire space [..., stage], never rising along the chain.

        The running product of the conditional rates; in space ``"independent"`` every logit is that of a rate in the
        entire space, and one that exceeds the rate of the stage before is cut to it.
        """
        # cumprod and cummin of a few stages, in operations that every export format has.
        step = torch.minimum if space == "independent" else torch.mul
        return torch.stack(list(accumulate(torch.sigmoid(self.logits).unbind(-1), step)), dim=-1)


class OutputLayer(nn.Module, ABC):
    """The layer that gives the stage logits."""

    @abstractmethod
    def start_at(self, rates: Tensor) -> None:
        """Set the biases so that the first predictions are about `rates` [stage]."""


class ChainNetwork(nn.Module, ABC):
    """A network that gives every stage of a chain under every arm.

    Attributes
    ----------
    arms : int
        K + 1, control included.
    stages : int
        Binary stages N >= 1.
    members : int
        Members of an ensemble inside the network, 1 without one. With several, every output has an axis for them
        before its last one: logits [batch, member, stage], and [batch, arm, member, stage] under every arm.
    loss_space : {"entire", "conditional", "independent"}
        What the logits mean, see :func:`uplift.models.neural.loss.stage_losses`.
    heads : OutputLayer
        Output layer of the stages.
    value : ValueHead or None
        Head of the value after the last stage.
    categorical : CategoricalEmbedding or None
        Embedding of the category codes, if any, whose unseen codes are settled after training.
    """

    arms: int
    stages: int
    members: int = 1
    loss_space: LossSpace
    heads: OutputLayer
    value: ValueHead | None
    categorical: CategoricalEmbedding | None

    @property
    @abstractmethod
    def floats_per_row(self) -> int:
        """Floats of the largest intermediate result per row when all arms are scored: bounds the rows per chunk."""

    @abstractmethod
    def forward(self, numeric: Tensor, categorical: Tensor, treatment: Tensor) -> ChainOutput:
        """Outputs under one arm per row.

        This is the pass that training makes and scoring does not. A network with a :meth:`penalty` returns what
        that needs as ``extras`` of its output, while :attr:`training` is set.

        Parameters
        ----------
        numeric : Tensor [batch, p] float32
            z-scored, NaN = missing.
        categorical : Tensor [batch, q] integer
            Codes.
        treatment : Tensor [batch] integer
            Arm codes, 0 = control.
        """

    @abstractmethod
    def all_arms(self, numeric: Tensor, categorical: Tensor) -> ChainOutput:
        """Outputs under every arm: logits [batch, arm, stage], value [batch, arm, k]; never extras."""

    def penalty(self, output: ChainOutput, rows: Rows) -> Tensor | None:
        """What training adds to the likelihood of the outcomes, a scalar; None, the default, for nothing.

        Must be made of `output` (in single precision) and `rows` alone, not of the network's parameters: gradients
        have to go through :meth:`forward`, which may be compiled and shared among processes. A parameter that only
        the penalty knows is handed out among the extras. Each process has the penalty of its own rows. A network has
        a penalty for every batch or for none.

        Parameters
        ----------
        output : ChainOutput
            Of :meth:`forward` on the batch, with its extras.
        rows : Rows
            The batch.
        """
        return None

    def weigh(self, rows: Rows) -> Rows:
        """The batch with the weights that training gives its rows in the likelihood; by default those that they have."""
        return rows

    def mu(self, output: ChainOutput) -> Tensor:
        """Potential outcomes in the entire space [..., stage]: the rates, then the expected value if there is one."""
        rates = output.rates(self.loss_space)
        if self.value is None or output.value is None:
            return rates
        spend = rates[..., -1:] * self.value.mean(output.value).unsqueeze(-1)
        return torch.cat((rates, spend), dim=-1)
