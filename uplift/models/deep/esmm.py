"""The ESMM-style chain: shared fields and bottom, a tower per stage (Ma et al., SIGIR 2018)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import relu

from uplift.models.deep.arm_field import ArmLayers, TowerLayer
from uplift.models.deep.hypotheses import Hypotheses
from uplift.models.deep.scaffold import ChainShape, DeepModel, FieldNetwork
from uplift.models.neural.network import ChainOutput
from uplift.models.parameters import Each, Rule, Whole


class EsmmNetwork(FieldNetwork):
    """Shared embeddings and bottom layers, the arm among the fields, and a tower per task.

    Parameters
    ----------
    shape : ChainShape
        Sizes of what goes in and comes out.
    bottom : tuple of int
        Widths of the layers that all tasks share.
    tower : tuple of int
        Widths of the layers of every task: the N stages, and the value where there is one.
    generator : torch.Generator
        Source of the initial weights. The global random state is not touched.

    Examples
    --------
    >>> network = EsmmNetwork(
    ...     ChainShape(numeric_fields=12, arms=5, stages=2, embedding_dim=16), bottom=(128,), tower=(64, 32),
    ...     generator=torch.Generator().manual_seed(0))
    >>> numeric, categorical = torch.randn(4, 12), torch.zeros(4, 0, dtype=torch.int32)
    >>> network.all_arms(numeric, categorical).logits.shape
    torch.Size([4, 5, 2])
    """

    def __init__(
        self,
        shape: ChainShape,
        *,
        bottom: tuple[int, ...],
        tower: tuple[int, ...],
        generator: torch.Generator,
    ) -> None:
        super().__init__(shape, generator=generator)
        self.bottom = ArmLayers(
            inputs=self.inputs.width,
            dim=shape.embedding_dim,
            widths=bottom,
            arms=shape.arms,
            activation=relu,
            generator=generator,
        )
        self.towers = Hypotheses(
            inputs=bottom[-1], widths=tower, arms=shape.tasks, activation=relu, generator=generator
        )
        self.heads = TowerLayer(tower[-1], shape.stages, generator=generator)
        self.value = shape.value_head(tower[-1], generator=generator)
        copies = (*bottom, *(shape.tasks * width for width in tower))
        self._widest = max(self.inputs.width, *(shape.arms * width for width in copies))

    def outcomes(self, state: Tensor) -> ChainOutput:
        """Towers and heads on the bottom's output [row, bottom[-1]]."""
        towers = self.towers(state)
        value = None if self.value is None else self.value(towers[-1])
        return ChainOutput(self.heads(towers[: self.stages]), value)

    @property
    def floats_per_row(self) -> int:
        """The widest layer, over all arms and tasks."""
        return self._widest

    def forward(self, numeric: Tensor, categorical: Tensor, treatment: Tensor) -> ChainOutput:
        """Outcomes under one arm per row; inputs as in :meth:`ChainNetwork.forward`."""
        return self.outcomes(self.bottom(self.inputs.flat(numeric, categorical), treatment))

    def all_arms(self, numeric: Tensor, categorical: Tensor) -> ChainOutput:
        """Outcomes under every arm: logits [batch, arm, stage], value [batch, arm, k]."""
        state = self.bottom(self.inputs.flat(numeric, categorical)).transpose(0, 1)
        output = self.outcomes(state.flatten(0, 1))
        shape = (numeric.shape[0], self.arms)  # len() would fix the number of rows in an exported graph
        return ChainOutput(
            output.logits.unflatten(0, shape),
            None if output.value is None else output.value.unflatten(0, shape),
        )


@dataclass(kw_only=True, eq=False, repr=False)
class ESMM(DeepModel):
    """Entire-space multi-task model with the arm as a field: ECUP's chain without its context enhancement.

    The paper has two tasks, click and conversion, whose rates p(y = 1 | x) and p(z = 1 | y = 1, x) come from towers on
    shared embeddings and are multiplied to pCTCVR (its eq. 1); click and click-and-conversion are trained on all
    impressions (eq. 4). Here are N stages, each the product of the towers up to it, trained in the entire space in the
    same way; K arms, whose embedding is one field more; layers shared by all towers beside the embeddings; and a tower
    for the value where there is one. It is what remains of ECUP without TENet and TAENet, with a tower per stage.

    Parameters
    ----------
    bottom : sequence of int
        Widths of the layers that all stages share.
    tower : sequence of int
        Widths of the layers of every stage.

    References
    ----------
    Ma, Zhao, Huang, Wang, Hu, Zhu, Gai, Entire space multi-task model: an effective approach for estimating
    post-click conversion rate, SIGIR 2018.

    Examples
    --------
    >>> ESMM(embedding_dim=8).get_params()["tower"]
    (64,)
    """

    name: ClassVar[str] = "esmm"
    rules: ClassVar[Mapping[str, Rule]] = {
        "bottom": Each(Whole(1), least=1),
        "tower": Each(Whole(1), least=1),
        **DeepModel.rules,
    }

    bottom: Sequence[int] = (128,)
    tower: Sequence[int] = (64,)

    network_: EsmmNetwork = field(init=False, repr=False)

    def _network(self, shape: ChainShape, generator: torch.Generator) -> EsmmNetwork:
        return EsmmNetwork(shape, bottom=tuple(self.bottom), tower=tuple(self.tower), generator=generator)
