"""TARNet: one representation for all arms, one hypothesis per arm (Shalit, Johansson, Sontag, ICML 2017)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn

from uplift.features import FeatureSchema
from uplift.models.neural.embeddings import CategoricalEmbedding, NumericEmbedding
from uplift.models.neural.engine import received
from uplift.models.neural.layers import Dense, uniform
from uplift.models.neural.loss import LossSpace
from uplift.models.neural.model import NeuralModel
from uplift.models.neural.network import ChainNetwork, ChainOutput, OutputLayer
from uplift.models.neural.value import HEADS, ValueLoss
from uplift.models.parameters import Each, Rule, Whole


class Hypotheses(nn.Module):
    """The hidden layers of every arm's hypothesis h_a, all arms in one batched product: ``ELU(s W_a + b_a)``.

    Parameters
    ----------
    inputs : int
        Width of the representation Phi(x).
    widths : sequence of int
        Widths of the hidden layers.
    arms : int
        K + 1, control included.
    generator : torch.Generator
        Source of the initial weights.

    Shape
    -----
    input [batch, inputs]; output [arm, batch, widths[-1]]

    Examples
    --------
    >>> hypotheses = Hypotheses(inputs=64, widths=(32, 16), arms=5, generator=torch.Generator().manual_seed(0))
    >>> hypotheses(torch.randn(4, 64)).shape
    torch.Size([5, 4, 16])
    """

    def __init__(self, *, inputs: int, widths: Sequence[int], arms: int, generator: torch.Generator) -> None:
        super().__init__()
        sizes = list(pairwise([inputs, *widths]))
        self.weights = nn.ParameterList(
            uniform(arms, before, after, fan_in=before, generator=generator) for before, after in sizes
        )
        self.biases = nn.ParameterList(
            uniform(arms, 1, after, fan_in=before, generator=generator) for before, after in sizes
        )

    def forward(self, representation: Tensor) -> Tensor:
        state = representation
        for weight, bias in zip(self.weights, self.biases, strict=True):
            state = nn.functional.elu(torch.matmul(state, weight) + bias)
        return state


class ArmHeads(OutputLayer):
    """Output layer of every arm's hypothesis: the logit of each stage.

    Parameters
    ----------
    width : int
        Width of the last hidden layer.
    arms : int
        K + 1, control included.
    stages : int
        Number of binary stages N.
    generator : torch.Generator
        Source of the initial weights.

    Shape
    -----
    input [arm, batch, width]; output [arm, batch, N]

    Examples
    --------
    >>> heads = ArmHeads(16, 5, 2, generator=torch.Generator().manual_seed(0))
    >>> heads(torch.randn(5, 4, 16)).shape
    torch.Size([5, 4, 2])
    """

    def __init__(self, width: int, arms: int, stages: int, *, generator: torch.Generator) -> None:
        super().__init__()
        self.weight = uniform(arms, width, stages, fan_in=width, generator=generator)
        self.bias = nn.Parameter(torch.zeros(arms, 1, stages, device=generator.device))

    def forward(self, state: Tensor) -> Tensor:
        return torch.matmul(state, self.weight) + self.bias

    @torch.no_grad()
    def start_at(self, rates: Tensor) -> None:
        """Set the biases of every arm so that the first predictions are about the base `rates` [stage]."""
        self.bias.copy_(torch.logit(rates).expand_as(self.bias))


class TarnetNetwork(ChainNetwork):
    """TARNet for K + 1 arms and a chain of 1..N binary stages.

    The paper has two arms and one outcome (its section 5, without the balancing penalty of CFR, which a
    randomised campaign does not need). Here every arm has a hypothesis of its own on the shared representation
    Phi, and every hypothesis gives the logits of all stages, which are multiplied along the chain as in ECUP. The
    inputs are ECUP's field embeddings, flattened. The value is read by one head from the state of the arm's
    hypothesis: it is seen on few rows, too few for a head per arm.

    Parameters
    ----------
    numeric_fields : int
        Number of numeric fields p, >= 0.
    cardinalities : tuple of int
        Codes of each categorical field (two of them reserved), q >= 0 fields; f = p + q >= 1.
    arms : int
        K + 1, control included.
    stages : int
        Number of binary stages N >= 1.
    value : {"lognormal", "mse"}, optional
        Loss of the value that follows the last stage; None where there is none.
    loss_space : {"entire", "conditional", "independent"}
        What the logits mean.
    embedding_dim : int
        d.
    representation, hidden : tuple of int
        Widths of the shared layers and of those of each arm.
    generator : torch.Generator
        Source of the initial weights. The global random state is not touched.

    Examples
    --------
    >>> network = TarnetNetwork(
    ...     numeric_fields=12, cardinalities=(), arms=5, stages=2, value=None, embedding_dim=16,
    ...     representation=(128, 64), hidden=(64, 32), generator=torch.Generator().manual_seed(0))
    >>> numeric, categorical = torch.randn(4, 12), torch.zeros(4, 0, dtype=torch.int32)
    >>> network(numeric, categorical, torch.tensor([0, 1, 0, 4])).logits.shape
    torch.Size([4, 2])
    >>> network.all_arms(numeric, categorical).logits.shape
    torch.Size([4, 5, 2])
    """

    def __init__(
        self,
        *,
        numeric_fields: int,
        cardinalities: tuple[int, ...],
        arms: int,
        stages: int,
        value: ValueLoss | None,
        loss_space: LossSpace = "entire",
        embedding_dim: int,
        representation: tuple[int, ...],
        hidden: tuple[int, ...],
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.arms = arms
        self.stages = stages
        self.loss_space = loss_space
        self.numeric = (
            NumericEmbedding(numeric_fields, embedding_dim, generator=generator) if numeric_fields else None
        )
        self.categorical = (
            CategoricalEmbedding(cardinalities, embedding_dim, generator=generator) if cardinalities else None
        )
        inputs = (numeric_fields + len(cardinalities)) * embedding_dim
        self.representation = nn.ModuleList(
            Dense(before, after, generator=generator) for before, after in pairwise([inputs, *representation])
        )
        self.hypotheses = Hypotheses(inputs=representation[-1], widths=hidden, arms=arms, generator=generator)
        self.heads = ArmHeads(hidden[-1], arms, stages, generator=generator)
        self.value = None if value is None else HEADS[value](hidden[-1], generator=generator)
        self._widest = max(inputs, *representation, *(arms * width for width in hidden))

    def represent(self, numeric: Tensor, categorical: Tensor) -> Tensor:
        """Phi(x) [batch, representation[-1]] from numeric [batch, p] and categorical codes [batch, q]."""
        parts = []
        if self.numeric is not None:
            parts.append(self.numeric(numeric).flatten(1))
        if self.categorical is not None:
            parts.append(self.categorical(categorical).flatten(1))
        state = torch.cat(parts, dim=1)
        for layer in self.representation:
            state = nn.functional.elu(layer(state))
        return state

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
        state = self.hypotheses(self.represent(numeric, categorical))
        value = None if self.value is None else self.value(state).transpose(0, 1)
        return ChainOutput(self.heads(state).transpose(0, 1), value)


@dataclass(kw_only=True, eq=False, repr=False)
class TARNet(NeuralModel):
    """Treatment-agnostic representation network: shared layers, then one hypothesis per arm, for the whole chain.

    See :class:`~uplift.models.neural.model.NeuralModel` for how it is trained. With one stage and one coupon it is
    the paper's TARNet; more arms have more hypotheses, and more stages are multiplied along the chain in the
    entire space unless `loss_space` says otherwise.

    Parameters
    ----------
    embedding_dim : int
        Embedding size d of every field.
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
        "embedding_dim": Whole(1),
        "representation": Each(Whole(1), least=1),
        "hidden": Each(Whole(1), least=1),
        **NeuralModel.rules,
    }

    embedding_dim: int = 16
    representation: Sequence[int] = (128, 64)
    hidden: Sequence[int] = (64, 32)

    network_: TarnetNetwork = field(init=False, repr=False)

    def _build(
        self, schema: FeatureSchema, arms: int, stages: int, value: ValueLoss | None, *, seed: int
    ) -> TarnetNetwork:
        return TarnetNetwork(
            numeric_fields=len(schema.numeric),
            cardinalities=schema.cardinalities,
            arms=arms,
            stages=stages,
            value=value,
            loss_space=self.loss_space,
            embedding_dim=self.embedding_dim,
            representation=tuple(self.representation),
            hidden=tuple(self.hidden),
            generator=torch.Generator().manual_seed(seed),
        )
