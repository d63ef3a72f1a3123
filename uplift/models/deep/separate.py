"""The T-network: a network of its own for every arm, trained at once."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor

from uplift.models.deep.hypotheses import ArmHeads, Hypotheses, every_arm
from uplift.models.deep.scaffold import ChainShape, DeepModel, FieldNetwork
from uplift.models.neural.engine import received
from uplift.models.neural.network import ChainOutput
from uplift.models.parameters import Each, Rule, Whole


class SeparateNetwork(FieldNetwork):
    """K + 1 networks that share nothing, with all their layers as batched products.

    The embeddings of all arms lie side by side: the vector of a field has (K + 1) d entries, of which every arm sees
    its own d. (A code that only rows of other arms have keeps its initial vector in an arm's part.) The one
    exception to sharing nothing is the head of the value, as in TARNet.

    Parameters
    ----------
    shape : ChainShape
        Sizes of what goes in and comes out; `embedding_dim` is that of one arm.
    hidden : tuple of int
        Widths of the layers of every arm.
    generator : torch.Generator
        Source of the initial weights. The global random state is not touched.

    Examples
    --------
    >>> network = SeparateNetwork(
    ...     ChainShape(numeric_fields=12, arms=5, stages=2, embedding_dim=16), hidden=(128, 64),
    ...     generator=torch.Generator().manual_seed(0))
    >>> numeric, categorical = torch.randn(4, 12), torch.zeros(4, 0, dtype=torch.int32)
    >>> network.all_arms(numeric, categorical).logits.shape
    torch.Size([4, 5, 2])
    """

    heads: ArmHeads

    def __init__(self, shape: ChainShape, *, hidden: tuple[int, ...], generator: torch.Generator) -> None:
        super().__init__(replace(shape, embedding_dim=shape.arms * shape.embedding_dim), generator=generator)
        with torch.no_grad():  # the scale that tables of d columns start with
            for parameter in self.inputs.parameters():
                parameter.mul_(math.sqrt(shape.arms))
        width = self.inputs.fields * shape.embedding_dim
        self.hypotheses = Hypotheses(inputs=width, widths=hidden, arms=shape.arms, generator=generator)
        self.heads = ArmHeads(hidden[-1], shape.arms, shape.stages, generator=generator)
        self.value = shape.value_head(hidden[-1], generator=generator)
        self._widest = max(self.inputs.width, *(shape.arms * width for width in hidden))

    @property
    def floats_per_row(self) -> int:
        """The widest layer, over all arms."""
        return self._widest

    def forward(self, numeric: Tensor, categorical: Tensor, treatment: Tensor) -> ChainOutput:
        """Outcomes under one arm per row: all arms' networks run, one is picked. Inputs as in :meth:`ChainNetwork.forward`."""
        return received(self.all_arms(numeric, categorical), treatment)

    def all_arms(self, numeric: Tensor, categorical: Tensor) -> ChainOutput:
        """Outcomes under every arm: logits [batch, arm, stage], value [batch, arm, k]."""
        fields = self.inputs.stacked(numeric, categorical).unflatten(2, (self.arms, -1))
        own = fields.permute(2, 0, 1, 3).flatten(2)  # [arm, batch, f d]
        return every_arm(self.hypotheses(own), self.heads, self.value)


@dataclass(kw_only=True, eq=False, repr=False)
class DeepT(DeepModel):
    """T-network: every arm has a network of its own, embeddings included.

    The T-learner of Kunzel et al. (there one learner for the treated and one for control) with networks as learners:
    K + 1 of them, each with one output per stage, multiplied along the chain. They are trained together and stopped
    together, by the validation rows of all arms. With few rows per arm their errors do not cancel in the difference.

    Parameters
    ----------
    hidden : sequence of int
        Widths of the layers of every arm.

    References
    ----------
    Kunzel, Sekhon, Bickel, Yu, Metalearners for estimating heterogeneous treatment effects using machine learning,
    PNAS 2019.

    Examples
    --------
    >>> DeepT(embedding_dim=8).get_params()["hidden"]
    (64, 32)
    """

    name: ClassVar[str] = "deep_t"
    rules: ClassVar[Mapping[str, Rule]] = {"hidden": Each(Whole(1), least=1), **DeepModel.rules}

    hidden: Sequence[int] = (64, 32)

    network_: SeparateNetwork = field(init=False, repr=False)

    def _network(self, shape: ChainShape, generator: torch.Generator) -> SeparateNetwork:
        return SeparateNetwork(shape, hidden=tuple(self.hidden), generator=generator)
