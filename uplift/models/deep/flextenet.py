"""FlexTENet: a shared and a private subspace for every arm in every layer (Curth, van der Schaar, NeurIPS 2021)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn

from uplift.errors import ModelError
from uplift.models.deep.hypotheses import ArmHeads
from uplift.models.deep.scaffold import ChainShape, DeepModel, FieldNetwork
from uplift.models.neural.engine import received
from uplift.models.neural.layers import Dense, uniform
from uplift.models.neural.network import ChainOutput, OutputLayer
from uplift.models.neural.rows import Rows
from uplift.models.parameters import Each, Number, Rule, Whole


class FlexLayer(nn.Module):
    """A layer of a shared subspace, which sees the shared one below, and of a private one per arm, which sees both.

    ``s' = ELU(s W_S + b_S)`` and ``p_a' = ELU([s, p_a] W_a + b_a)``; in the first layer there is no p below.

    Parameters
    ----------
    shared_inputs, private_inputs : int
        Widths below; `private_inputs` is 0 in the first layer.
    shared, private : int
        Widths of this layer, >= 1.
    arms : int
        K + 1, control included.
    generator : torch.Generator
        Source of the initial weights. Those of the private subspaces are the same for all arms, as in the authors'
        code, so that the arms start alike.

    Shape
    -----
    shared [batch, shared_inputs], private [arm, batch, private_inputs] or None in the first layer; output [batch, shared]
    and [arm, batch, private]

    Examples
    --------
    >>> layer = FlexLayer(8, 0, shared=6, private=4, arms=3, generator=torch.Generator().manual_seed(0))
    >>> s, p = layer(torch.randn(2, 8), None)
    >>> s.shape, p.shape
    (torch.Size([2, 6]), torch.Size([3, 2, 4]))
    """

    def __init__(
        self,
        shared_inputs: int,
        private_inputs: int,
        *,
        shared: int,
        private: int,
        arms: int,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.shared = Dense(shared_inputs, shared, generator=generator)
        inputs = shared_inputs + private_inputs
        weight = uniform(1, inputs, private, fan_in=inputs, generator=generator)
        bias = uniform(1, 1, private, fan_in=inputs, generator=generator)
        self.weight = nn.Parameter(weight.detach().repeat(arms, 1, 1))
        self.bias = nn.Parameter(bias.detach().repeat(arms, 1, 1))

    def forward(self, shared: Tensor, private: Tensor | None) -> tuple[Tensor, Tensor]:
        both = shared
        if private is not None:
            both = torch.cat((shared.expand(len(self.weight), -1, -1), private), dim=-1)
        return (
            nn.functional.elu(self.shared(shared)),
            nn.functional.elu(torch.matmul(both, self.weight) + self.bias),
        )

    def overlap(self) -> Tensor:
        """``||W_S^T W_a||_F^2`` per arm [arm], of the weights by which both subspaces see the shared one below."""
        return overlaps(self.shared.weight, self.weight)


def overlaps(shared: Tensor, private: Tensor) -> Tensor:
    """``||W_S^T W_a||_F^2`` [arm] of weights [inputs, shared] and [arm, inputs or more, private].

    Examples
    --------
    >>> shared = torch.tensor([[1.0], [0.0]])
    >>> overlaps(shared, torch.tensor([[[0.0], [5.0]], [[2.0], [5.0]]]))  # disjoint inputs, and one in common
    tensor([0., 4.])
    """
    common = private[:, : len(shared)]
    return torch.matmul(shared.T, common).square().sum((1, 2))


class FlexHeads(OutputLayer):
    """Output layer: a shared part for all arms plus a private one, ``s W_S + [s, p_a] W_a + b_a``.

    Parameters
    ----------
    shared, private : int
        Widths of the last layer.
    arms : int
        K + 1, control included.
    stages : int
        Number of binary stages N.
    generator : torch.Generator
        Source of the initial weights, the same for all arms.

    Shape
    -----
    shared [batch, shared], both [arm, batch, shared + private]; output [arm, batch, N]

    Examples
    --------
    >>> heads = FlexHeads(6, 4, 3, 2, generator=torch.Generator().manual_seed(0))
    >>> heads(torch.randn(5, 6), torch.randn(3, 5, 10)).shape
    torch.Size([3, 5, 2])
    """

    def __init__(
        self, shared: int, private: int, arms: int, stages: int, *, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.shared_weight = uniform(shared, stages, fan_in=shared, generator=generator)
        self.private = ArmHeads(shared + private, arms, stages, generator=generator)
        with torch.no_grad():
            self.private.weight.copy_(self.private.weight[:1].expand_as(self.private.weight))

    def forward(self, shared: Tensor, both: Tensor) -> Tensor:
        result: Tensor = shared @ self.shared_weight + self.private(both)
        return result

    def start_at(self, rates: Tensor) -> None:
        """Set the biases of every arm so that the first predictions are about the base `rates` [stage]."""
        self.private.start_at(rates)

    def overlap(self) -> Tensor:
        """As :meth:`FlexLayer.overlap`, [arm]."""
        return overlaps(self.shared_weight, self.private.weight)


class FlexTENetNetwork(FieldNetwork):
    """FlexTENet for K + 1 arms and a chain of 1..N binary stages.

    The paper (its flexible approach) has two private subspaces and one outcome. Here there is a private subspace
    for every arm in every layer, and the last layer gives the logits of all stages, multiplied along the chain as in ECUP.

    The penalty keeps shared and private weights orthogonal: ``||W_S^T W_a||_F^2`` over all layers, the last included, and
    all arms, where W_a stands for its rows on the shared input. In the first layer the authors' code (CATENets,
    ``jax/flextenet.py``) also has the two private subspaces orthogonal to one another. With two arms the penalty is
    theirs; with more, the mean over arms (and over pairs of arms) times their number of terms, 2 and 1, so that the
    strength does not depend on the number of arms. Their ridge penalty is left to ``weight_decay``. All layers are flex
    layers, as in their default.

    Parameters
    ----------
    shape : ChainShape
        Sizes.
    shared, private : tuple of int
        Widths of the shared layers and of those of each arm, as many of each.
    orthogonality : float
        Weight of the penalty in the objective.
    generator : torch.Generator
        Source of the initial weights.

    Examples
    --------
    >>> network = FlexTENetNetwork(
    ...     ChainShape(numeric_fields=12, arms=5, stages=2, embedding_dim=16), shared=(64, 32), private=(32, 16),
    ...     orthogonality=0.01, generator=torch.Generator().manual_seed(0))
    >>> numeric, categorical = torch.randn(4, 12), torch.zeros(4, 0, dtype=torch.int32)
    >>> network.all_arms(numeric, categorical).logits.shape
    torch.Size([4, 5, 2])
    """

    heads: FlexHeads

    def __init__(
        self,
        shape: ChainShape,
        *,
        shared: tuple[int, ...],
        private: tuple[int, ...],
        orthogonality: float,
        generator: torch.Generator,
    ) -> None:
        super().__init__(shape, generator=generator)
        self.orthogonality = orthogonality
        self.layers = nn.ModuleList(
            FlexLayer(s, p, shared=s_next, private=p_next, arms=self.arms, generator=generator)
            for (s, p), (s_next, p_next) in pairwise(
                [(self.inputs.width, 0), *zip(shared, private, strict=True)]
            )
        )
        self.heads = FlexHeads(shared[-1], private[-1], self.arms, self.stages, generator=generator)
        self.value = shape.value_head(shared[-1] + private[-1], generator=generator)
        below = [self.inputs.width, *(s + p for s, p in zip(shared, private, strict=True))]
        self._widest = self.arms * max(below)

    @property
    def floats_per_row(self) -> int:
        """The widest layer, over all arms."""
        return self._widest

    def forward(self, numeric: Tensor, categorical: Tensor, treatment: Tensor) -> ChainOutput:
        """Outcomes under one arm per row; all arms run, as in TARNet. See :meth:`ChainNetwork.forward`."""
        output = received(self.all_arms(numeric, categorical), treatment)
        return output._replace(extras={"overlap": self.overlap()}) if self.training else output

    def all_arms(self, numeric: Tensor, categorical: Tensor) -> ChainOutput:
        """Outcomes under every arm: logits [batch, arm, stage], value [batch, arm, k]."""
        shared = self.inputs.flat(numeric, categorical)
        private: Tensor | None = None
        for layer in self.layers:
            shared, private = layer(shared, private)
        assert private is not None  # there is a layer at least
        both = torch.cat((shared.expand(self.arms, -1, -1), private), dim=-1)
        value = None if self.value is None else self.value(both).transpose(0, 1)
        return ChainOutput(self.heads(shared, both).transpose(0, 1), value)

    def overlap(self) -> Tensor:
        """The orthogonality penalty, unweighted []; 0 where no two subspaces share a direction."""
        parts = [layer.overlap() for layer in self.layers]  # type: ignore[operator]
        shared_private = 2 * torch.stack([*parts, self.heads.overlap()]).sum(0).mean()
        first = self.layers[0].weight
        assert isinstance(first, Tensor)
        pairs = torch.combinations(torch.arange(self.arms, device=first.device))
        inner = torch.matmul(first[pairs[:, 0]].transpose(1, 2), first[pairs[:, 1]])
        return shared_private + inner.square().sum((1, 2)).mean()

    def penalty(self, output: ChainOutput, rows: Rows) -> Tensor:
        """Weighted orthogonality penalty []; it depends on the weights alone."""
        assert output.extras is not None
        return self.orthogonality * output.extras["overlap"]


@dataclass(kw_only=True, eq=False, repr=False)
class FlexTENet(DeepModel):
    """FlexTENet: in every layer a subspace that all arms share and one per arm, kept orthogonal.

    See :class:`~uplift.models.neural.model.NeuralModel` for how it is trained and :class:`FlexTENetNetwork` for what is
    generalised to several arms and stages, and where it differs from the authors' code.

    Parameters
    ----------
    embedding_dim : int
        Embedding size d of every field.
    shared, private : sequence of int
        Widths of the shared layers and of those of each arm; as many of each. Authors: three of 100, then two of 50.
    orthogonality : float
        Weight of the orthogonality penalty. Authors: 0.01.

    References
    ----------
    Curth, van der Schaar, On inductive biases for heterogeneous treatment effect estimation, NeurIPS 2021 (the flexible
    approach). Code: CATENets.

    Examples
    --------
    >>> FlexTENet(shared=(32,), private=(8,)).get_params()["private"]
    (8,)
    """

    name: ClassVar[str] = "flextenet"
    rules: ClassVar[Mapping[str, Rule]] = {
        "shared": Each(Whole(1), least=1),
        "private": Each(Whole(1), least=1),
        "orthogonality": Number(0),
        **DeepModel.rules,
    }

    shared: Sequence[int] = (64, 64, 32)
    private: Sequence[int] = (32, 32, 32)
    orthogonality: float = 0.01

    def _check_combination(self) -> None:
        super()._check_combination()
        if len(self.shared) != len(self.private):
            raise ModelError(
                f"model {self.name!r}: shared has {len(self.shared)} layers and private {len(self.private)}; give as many "
                f"widths of each."
            )

    def _network(self, shape: ChainShape, generator: torch.Generator) -> FlexTENetNetwork:
        return FlexTENetNetwork(
            shape,
            shared=tuple(self.shared),
            private=tuple(self.private),
            orthogonality=self.orthogonality,
            generator=generator,
        )
