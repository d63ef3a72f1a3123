"""M3TN: a gated mixture of experts for every arm, and the uplift modelled as such (Sun, Chen, ICASSP 2024)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from uplift.models.deep.euen import BaseAndEffects
from uplift.models.deep.hypotheses import Hypotheses
from uplift.models.deep.scaffold import ChainShape, DeepModel, FieldNetwork
from uplift.models.neural.engine import received
from uplift.models.neural.layers import DenseLayers, uniform
from uplift.models.neural.network import ChainOutput
from uplift.models.parameters import Each, Flag, Rule, Whole


class GatedExperts(nn.Module):
    """Multi-gate mixture of experts: ``r_a = sum_e g_a(x)_e f_e(x)``, with ``g_a(x) = softmax(x W_a + c_a)``.

    Parameters
    ----------
    inputs : int
        Width of x.
    widths : sequence of int
        Widths of the layers of every expert.
    experts : int
        Number of experts E.
    arms : int
        K + 1 gates, the control's included.
    generator : torch.Generator
        Source of the initial weights.

    Shape
    -----
    input [batch, inputs]; output [arm, batch, widths[-1]]

    References
    ----------
    Ma, Zhao, Yi, Chen, Hong, Chi, Modeling task relationships in multi-task learning with multi-gate
    mixture-of-experts, KDD 2018.

    Examples
    --------
    >>> mixture = GatedExperts(20, (16, 8), experts=3, arms=5, generator=torch.Generator().manual_seed(0))
    >>> x = torch.randn(4, 20)
    >>> mixture(x).shape, mixture.gates(x).sum(-1).allclose(torch.ones(5, 4))
    (torch.Size([5, 4, 8]), True)
    """

    def __init__(
        self, inputs: int, widths: Sequence[int], *, experts: int, arms: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.experts = Hypotheses(inputs=inputs, widths=widths, arms=experts, generator=generator)
        self.gate_weight = uniform(arms, inputs, experts, fan_in=inputs, generator=generator)
        self.gate_bias = nn.Parameter(torch.zeros(arms, 1, experts, device=generator.device))

    def gates(self, x: Tensor) -> Tensor:
        """Shares of the experts for every arm [arm, batch, E], that sum to 1."""
        return torch.softmax(torch.matmul(x, self.gate_weight) + self.gate_bias, dim=-1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("abe,ebw->abw", self.gates(x), self.experts(x))


class M3tnNetwork(FieldNetwork):
    """M3TN for K coupons and control, and a chain of 1..N binary stages.

    Two modules. The feature representation module is a mixture of experts with one gate per arm
    (:class:`GatedExperts`): control and coupons share the experts and each mixes them in its own way. The
    reparametrisation module has a tower h_0 for the control's response and a tower h_k for the uplift of every coupon,
    ``mu_k(x) = mu_0(x) + tau_k(x)``, so that the uplift is an output and not the difference of two.

    The paper has several treatments and one outcome; here every tower gives a logit per stage, and rates are multiplied
    along the chain as in ECUP. How rates stay in (0, 1): the sum is one of logits, fitted by cross-entropy. The paper adds
    responses; rates so added can leave (0, 1), and in a chain would have to keep the order of the stages. Here tau_k is
    the log odds ratio of coupon k at every stage. The value is read by one head from the state of the arm's tower. We
    know of no code by the authors: the widths, and gates that are linear as in MMoE, are chosen here.

    Parameters
    ----------
    shape : ChainShape
        Sizes.
    experts : int
        Number of experts.
    expert_hidden, hidden : tuple of int
        Widths of the layers of every expert, and of every tower.
    stop_gradient : bool
        Whether coupon rows leave the control's response as it is.
    generator : torch.Generator
        Source of the initial weights.

    Examples
    --------
    >>> network = M3tnNetwork(
    ...     ChainShape(numeric_fields=12, arms=5, stages=2, embedding_dim=16), experts=4, expert_hidden=(32, 16),
    ...     hidden=(16,), stop_gradient=False, generator=torch.Generator().manual_seed(0))
    >>> numeric, categorical = torch.randn(4, 12), torch.zeros(4, 0, dtype=torch.int32)
    >>> network.all_arms(numeric, categorical).logits.shape
    torch.Size([4, 5, 2])
    """

    heads: BaseAndEffects

    def __init__(
        self,
        shape: ChainShape,
        *,
        experts: int,
        expert_hidden: tuple[int, ...],
        hidden: tuple[int, ...],
        stop_gradient: bool,
        generator: torch.Generator,
    ) -> None:
        super().__init__(shape, generator=generator)
        self.mixture = GatedExperts(
            self.inputs.width, expert_hidden, experts=experts, arms=self.arms, generator=generator
        )
        self.control = DenseLayers(expert_hidden[-1], hidden, generator=generator)
        self.coupons = Hypotheses(
            inputs=expert_hidden[-1], widths=hidden, arms=self.arms - 1, generator=generator
        )
        self.heads = BaseAndEffects(
            hidden[-1], self.arms, self.stages, stop_gradient=stop_gradient, generator=generator
        )
        self.value = shape.value_head(hidden[-1], generator=generator)
        self._widest = max(
            self.inputs.width,
            *(experts * width for width in expert_hidden),
            *(self.arms * width for width in (expert_hidden[-1], *hidden)),
        )

    @property
    def floats_per_row(self) -> int:
        """The widest layer, over all arms or experts."""
        return self._widest

    def forward(self, numeric: Tensor, categorical: Tensor, treatment: Tensor) -> ChainOutput:
        """Outcomes under one arm per row; all arms run, as in TARNet. See :meth:`ChainNetwork.forward`."""
        return received(self.all_arms(numeric, categorical), treatment)

    def all_arms(self, numeric: Tensor, categorical: Tensor) -> ChainOutput:
        """Outcomes under every arm: logits [batch, arm, stage], value [batch, arm, k]."""
        mixed = self.mixture(self.inputs.flat(numeric, categorical))
        base, uplift = self.control(mixed[0]), self.coupons(mixed[1:])
        value = None
        if self.value is not None:
            value = self.value(torch.cat((base.unsqueeze(0), uplift)).transpose(0, 1))
        return ChainOutput(self.heads(base, uplift), value)


@dataclass(kw_only=True, eq=False, repr=False)
class M3TN(DeepModel):
    """Multi-gate mixture-of-experts based multi-valued treatment network: gated experts, and an explicit uplift per coupon.

    See :class:`~uplift.models.neural.model.NeuralModel` for how it is trained and :class:`M3tnNetwork` for what is
    generalised to a chain of stages, and what the paper leaves open.

    Parameters
    ----------
    embedding_dim : int
        Embedding size d of every field.
    experts : int
        Number of experts.
    expert_hidden : sequence of int
        Widths of the layers of every expert.
    hidden : sequence of int
        Widths of the layers of the control's tower and of that of every coupon.
    stop_gradient : bool
        Whether the rows of coupons leave the control's response as it is, as EFIN has it; by default they train it.

    References
    ----------
    Sun, Chen, M3TN: multi-gate mixture-of-experts based multi-valued treatment network for uplift modeling, ICASSP 2024,
    arXiv 2401.14426.

    Examples
    --------
    >>> M3TN(experts=8).get_params()["hidden"]
    (32,)
    """

    name: ClassVar[str] = "m3tn"
    rules: ClassVar[Mapping[str, Rule]] = {
        "experts": Whole(1),
        "expert_hidden": Each(Whole(1), least=1),
        "hidden": Each(Whole(1), least=1),
        "stop_gradient": Flag(),
        **DeepModel.rules,
    }

    experts: int = 4
    expert_hidden: Sequence[int] = (64, 32)
    hidden: Sequence[int] = (32,)
    stop_gradient: bool = False

    def _network(self, shape: ChainShape, generator: torch.Generator) -> M3tnNetwork:
        return M3tnNetwork(
            shape,
            experts=self.experts,
            expert_hidden=tuple(self.expert_hidden),
            hidden=tuple(self.hidden),
            stop_gradient=self.stop_gradient,
            generator=generator,
        )
