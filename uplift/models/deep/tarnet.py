"""TARNet: one representation for all arms, one hypothesis per arm (Shalit, Johansson, Sontag, ICML 2017)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from uplift.models.deep.hypotheses import ArmHeads, Hypotheses, every_arm
from uplift.models.deep.scaffold import ChainShape, DeepModel, FieldNetwork
from uplift.models.neural.engine import received
from uplift.models.neural.layers import DenseLayers
from uplift.models.neural.network import ChainOutput
from uplift.models.parameters import Each, Rule, Whole


class TarnetNetwork(FieldNetwork):
    """TARNet for K + 1 arms and a chain of 1..N binary stages.

    The paper has two arms and one outcome (its section 5, without the balancing penalty of CFR, which a
    randomised campaign does not need). Here every arm has a hypothesis of its own on the shared representation
    Phi, and every hypothesis gives the logits of all stages, which are multiplied along the chain as in ECUP. The
    inputs are ECUP's field embeddings, flattened. The value is read by one head from the state of the arm's
    hypothesis: it is seen on few rows, too few for a head per arm.

    Parameters
    ----------
    shape : ChainShape
        Sizes of what goes in and comes out.
    representation, hidden : tuple of int
        Widths of the shared layers and of those of each arm.
    generator : torch.Generator
        Source of the initial weights. The global random state is not touched.

    Examples
    --------
    >>> network = TarnetNetwork(
    ...     ChainShape(numeric_fields=12, arms=5, stages=2, embedding_dim=16), representation=(128, 64),
    ...     hidden=(64, 32), generator=torch.Generator().manual_seed(0))
    >>> numeric, categorical = torch.randn(4, 12), torch.zeros(4, 0, dtype=torch.int32)
    >>> network(numeric, categorical, torch.tensor([0, 1, 0, 4])).logits.shape
    torch.Size([4, 2])
    >>> network.all_arms(numeric, categorical).logits.shape
    torch.Size([4, 5, 2])
    """

    heads: ArmHeads

    def __init__(
        self,
        shape: ChainShape,
        *,
        representation: tuple[int, ...],
        hidden: tuple[int, ...],
        generator: torch.Generator,
    ) -> None:
        super().__init__(shape, generator=generator)
        self.representation = DenseLayers(self.inputs.width, representation, generator=generator)
        self.hypotheses = Hypotheses(
            inputs=representation[-1], widths=hidden, arms=shape.arms, generator=generator
        )
        self.heads = ArmHeads(hidden[-1], shape.arms, shape.stages, generator=generator)
        self.value = shape.value_head(hidden[-1], generator=generator)
        self._widest = max(self.inputs.width, *representation, *(shape.arms * width for width in hidden))

    def represent(self, numeric: Tensor, categorical: Tensor) -> Tensor:
        """Phi(x) [batch, representation[-1]] from numeric [batch, p] and categorical codes [batch, q]."""
        result: Tensor = self.representation(self.inputs.flat(numeric, categorical))
        return result

    def outcomes(self, representation: Tensor) -> ChainOutput:
        """Outcomes under every arm from Phi(x) [batch, representation[-1]]."""
        return every_arm(self.hypotheses(representation), self.heads, self.value)

    @property
    def floats_per_row(self) -> int:
        """The widest layer, over all arms."""
        return self._widest

    def forward(self, numeric: Tensor, categorical: Tensor, treatment: Tensor) -> ChainOutput:
        """Outcomes under one arm per row, usually the one it received.

        The hypotheses of all arms run and one is picked: they are small beside the representation, and gathering
        every row's own weights would move far more memory than it saves arithmetic. Inputs as in
        :meth:`ChainNetwork.forward`.
        """
        return received(self.all_arms(numeric, categorical), treatment)

    def all_arms(self, numeric: Tensor, categorical: Tensor) -> ChainOutput:
        """Outcomes under every arm: logits [batch, arm, stage], value [batch, arm, k]."""
        return self.outcomes(self.represent(numeric, categorical))


@dataclass(kw_only=True, eq=False, repr=False)
class TARNet(DeepModel):
    """Treatment-agnostic representation network: shared layers, then one hypothesis per arm, for the whole chain.

    See :class:`~uplift.models.neural.model.NeuralModel` for how it is trained. With one stage and one coupon it is
    the paper's TARNet; more arms have more hypotheses, and more stages are multiplied along the chain in the
    entire space unless `loss_space` says otherwise.

    Parameters
    ----------
    representation : sequence of int
        Widths of the layers that all arms share. Paper: three layers of 100 or 200.
    hidden : sequence of int
        Widths of the layers of each arm's hypothesis. Paper: three layers of 100.

    References
    ----------
    Shalit, Johansson, Sontag, Estimating individual treatment effect: generalization bounds and algorithms,
    ICML 2017.

    Examples
    --------
    >>> TARNet(embedding_dim=8).get_params()["hidden"]
    (64, 32)
    """

    name: ClassVar[str] = "tarnet"
    rules: ClassVar[Mapping[str, Rule]] = {
        "representation": Each(Whole(1), least=1),
        "hidden": Each(Whole(1), least=1),
        **DeepModel.rules,
    }

    representation: Sequence[int] = (128, 64)
    hidden: Sequence[int] = (64, 32)

    network_: TarnetNetwork = field(init=False, repr=False)

    def _network(self, shape: ChainShape, generator: torch.Generator) -> TarnetNetwork:
        return TarnetNetwork(
            shape,
            representation=tuple(self.representation),
            hidden=tuple(self.hidden),
            generator=generator,
        )
