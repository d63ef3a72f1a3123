"""The S-network: one network for all arms, with the arm as one field more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from uplift.models.deep.arm_field import ArmLayers, StageLayer
from uplift.models.deep.scaffold import ChainShape, DeepModel, FieldNetwork
from uplift.models.neural.network import ChainOutput
from uplift.models.parameters import Each, Rule, Whole


class SingleNetwork(FieldNetwork):
    """One multilayer perceptron for all arms and all stages.

    Parameters
    ----------
    shape : ChainShape
        Sizes of what goes in and comes out.
    hidden : tuple of int
        Widths of the layers.
    generator : torch.Generator
        Source of the initial weights. The global random state is not touched.

    Examples
    --------
    >>> network = SingleNetwork(
    ...     ChainShape(numeric_fields=12, arms=5, stages=2, embedding_dim=16), hidden=(128, 64),
    ...     generator=torch.Generator().manual_seed(0))
    >>> numeric, categorical = torch.randn(4, 12), torch.zeros(4, 0, dtype=torch.int32)
    >>> network.all_arms(numeric, categorical).logits.shape
    torch.Size([4, 5, 2])
    """

    def __init__(self, shape: ChainShape, *, hidden: tuple[int, ...], generator: torch.Generator) -> None:
        super().__init__(shape, generator=generator)
        self.layers = ArmLayers(
            inputs=self.inputs.width,
            dim=shape.embedding_dim,
            widths=hidden,
            arms=shape.arms,
            generator=generator,
        )
        self.heads = StageLayer(hidden[-1], shape.stages, generator=generator)
        self.value = shape.value_head(hidden[-1], generator=generator)
        self._widest = max(self.inputs.width, *(shape.arms * width for width in hidden))

    @property
    def floats_per_row(self) -> int:
        """The widest layer, over all arms."""
        return self._widest

    def forward(self, numeric: Tensor, categorical: Tensor, treatment: Tensor) -> ChainOutput:
        """Outcomes under one arm per row; inputs as in :meth:`ChainNetwork.forward`."""
        state = self.layers(self.inputs.flat(numeric, categorical), treatment)
        return ChainOutput(self.heads(state), None if self.value is None else self.value(state))

    def all_arms(self, numeric: Tensor, categorical: Tensor) -> ChainOutput:
        """Outcomes under every arm: logits [batch, arm, stage], value [batch, arm, k]."""
        state = self.layers(self.inputs.flat(numeric, categorical)).transpose(0, 1)
        return ChainOutput(self.heads(state), None if self.value is None else self.value(state))


@dataclass(kw_only=True, eq=False, repr=False)
class DeepS(DeepModel):
    """S-network: one network, the arm is one of its fields.

    The S-learner of Kunzel et al. (their section "single learner"; there the treatment is a 0/1 feature of any
    learner) with a network as the learner. For K arms the treatment has an embedding per arm, control included, and
    for N stages the last layer has one output each, multiplied along the chain. The arm enters at the first layer
    and nowhere else: what differs between arms has to be found by the layers after it, so small effects are shrunk.

    Parameters
    ----------
    hidden : sequence of int
        Widths of the layers.

    References
    ----------
    Kunzel, Sekhon, Bickel, Yu, Metalearners for estimating heterogeneous treatment effects using machine learning,
    PNAS 2019.

    Examples
    --------
    >>> DeepS(embedding_dim=8).get_params()["hidden"]
    (128, 64)
    """

    name: ClassVar[str] = "deep_s"
    rules: ClassVar[Mapping[str, Rule]] = {"hidden": Each(Whole(1), least=1), **DeepModel.rules}

    hidden: Sequence[int] = (128, 64)

    network_: SingleNetwork = field(init=False, repr=False)

    def _network(self, shape: ChainShape, generator: torch.Generator) -> SingleNetwork:
        return SingleNetwork(shape, hidden=tuple(self.hidden), generator=generator)
