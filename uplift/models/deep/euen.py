"""EUEN, the explicit uplift effect network: what happens without a coupon, and what a coupon adds (Ke et al., ICDM 2021)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn

from uplift.models.deep.arm_field import StageLayer
from uplift.models.deep.hypotheses import ArmHeads, Hypotheses
from uplift.models.deep.scaffold import ChainShape, DeepModel, FieldNetwork
from uplift.models.neural.engine import received
from uplift.models.neural.layers import DenseLayers
from uplift.models.neural.network import ChainOutput, OutputLayer
from uplift.models.parameters import Each, Flag, Rule, Whole


class BaseAndEffects(OutputLayer):
    """Logits of control, and of every coupon as those of control plus its effect.

    Parameters
    ----------
    width : int
        Size of the states.
    arms : int
        K + 1, control included.
    stages : int
        Number of binary stages N.
    stop_gradient : bool
        Whether the rows of a coupon train its effect alone and leave control's logits as they are.
    generator : torch.Generator
        Source of the initial weights.

    Shape
    -----
    base [batch, width], effects [K, batch, width]; output [batch, K + 1, N]

    Examples
    --------
    >>> heads = BaseAndEffects(8, 5, 2, stop_gradient=True, generator=torch.Generator().manual_seed(0))
    >>> heads(torch.randn(3, 8), torch.randn(4, 3, 8)).shape
    torch.Size([3, 5, 2])
    """

    def __init__(
        self, width: int, arms: int, stages: int, *, stop_gradient: bool, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.stop_gradient = stop_gradient
        self.base = StageLayer(width, stages, generator=generator)
        self.effects = ArmHeads(width, arms - 1, stages, generator=generator)

    def forward(self, base: Tensor, effects: Tensor) -> Tensor:
        control = self.base(base).unsqueeze(1)
        under = control.detach() if self.stop_gradient else control
        return torch.cat((control, under + self.effects(effects).transpose(0, 1)), dim=1)

    @torch.no_grad()
    def start_at(self, rates: Tensor) -> None:
        """Set the biases so that the first predictions are about the base `rates` [stage] under every arm."""
        self.base.start_at(rates)
        nn.init.zeros_(self.effects.bias)


class EuenNetwork(FieldNetwork):
    """A control network and an uplift network, whose last layer is each coupon's own, on the same field embeddings.

    Parameters
    ----------
    shape : ChainShape
        Sizes of what goes in and comes out.
    hidden : tuple of int
        Widths of the layers of the control network, and of the uplift network.
    stop_gradient : bool
        Whether the rows of a coupon leave the output of the control network as it is.
    generator : torch.Generator
        Source of the initial weights. The global random state is not touched.

    Examples
    --------
    >>> network = EuenNetwork(
    ...     ChainShape(numeric_fields=12, arms=5, stages=2, embedding_dim=16), hidden=(128, 64),
    ...     stop_gradient=True, generator=torch.Generator().manual_seed(0))
    >>> numeric, categorical = torch.randn(4, 12), torch.zeros(4, 0, dtype=torch.int32)
    >>> network.all_arms(numeric, categorical).logits.shape
    torch.Size([4, 5, 2])
    """

    heads: BaseAndEffects

    def __init__(
        self, shape: ChainShape, *, hidden: tuple[int, ...], stop_gradient: bool, generator: torch.Generator
    ) -> None:
        super().__init__(shape, generator=generator)
        self.control = DenseLayers(self.inputs.width, hidden, generator=generator)
        self.shared = DenseLayers(self.inputs.width, hidden[:-1], generator=generator)
        self.uplift = Hypotheses(
            inputs=self.shared.width, widths=hidden[-1:], arms=shape.arms - 1, generator=generator
        )
        self.heads = BaseAndEffects(
            hidden[-1], shape.arms, shape.stages, stop_gradient=stop_gradient, generator=generator
        )
        self.value = shape.value_head(hidden[-1], generator=generator)
        self._widest = max(self.inputs.width, *(shape.arms * width for width in hidden))

    @property
    def floats_per_row(self) -> int:
        """The widest layer, over all arms."""
        return self._widest

    def forward(self, numeric: Tensor, categorical: Tensor, treatment: Tensor) -> ChainOutput:
        """Outcomes under one arm per row: all arms run, one is picked. Inputs as in :meth:`ChainNetwork.forward`."""
        return received(self.all_arms(numeric, categorical), treatment)

    def all_arms(self, numeric: Tensor, categorical: Tensor) -> ChainOutput:
        """Outcomes under every arm: logits [batch, arm, stage], value [batch, arm, k]."""
        fields = self.inputs.flat(numeric, categorical)
        base, effects = self.control(fields), self.uplift(self.shared(fields))
        logits = self.heads(base, effects)
        if self.value is None:
            return ChainOutput(logits, None)
        return ChainOutput(logits, self.value(torch.cat((base.unsqueeze(0), effects)).transpose(0, 1)))


@dataclass(kw_only=True, eq=False, repr=False)
class EUEN(DeepModel):
    """Explicit uplift effect network: the outcome under a coupon is that of control plus an uplift of its own network.

    In the paper a control network gives E[y | control, x] from control rows, an uplift network gives the uplift, and
    their sum is fitted to treated rows by squared error (its section on EUEN); in the authors' code the treated rows do
    not train the control network. Here the uplift network's last hidden layer and its output exist once per coupon, with N outputs each. Control and uplift
    are added on the scale of each stage's logit: a sum of rates could leave (0, 1), and in a chain that of the later
    stages would have to stay below that of the earlier ones. So the uplift network gives the log odds ratio of a
    coupon at every stage, which is zero where the coupon does nothing, and the rates, multiplied along the chain, are
    fitted by their likelihood. The value is read by one head from the state of the arm's last layer.

    Parameters
    ----------
    hidden : sequence of int
        Widths of the layers of the control network, and of the uplift network, whose last one exists per coupon.
    stop_gradient : bool
        Whether the rows of a coupon leave the output of the control network as it is, as in the authors' code (they
        do train the embeddings, through the uplift); False fits both to them.

    References
    ----------
    Ke et al., Addressing exposure bias in uplift modeling for large-scale online advertising, ICDM 2021.

    Examples
    --------
    >>> EUEN(embedding_dim=8).get_params()["stop_gradient"]
    True
    """

    name: ClassVar[str] = "euen"
    rules: ClassVar[Mapping[str, Rule]] = {
        "hidden": Each(Whole(1), least=1),
        "stop_gradient": Flag(),
        **DeepModel.rules,
    }

    hidden: Sequence[int] = (64, 32)
    stop_gradient: bool = True

    network_: EuenNetwork = field(init=False, repr=False)

    def _network(self, shape: ChainShape, generator: torch.Generator) -> EuenNetwork:
        return EuenNetwork(
            shape, hidden=tuple(self.hidden), stop_gradient=self.stop_gradient, generator=generator
        )
