"""What the networks beside ECUP have in common: their sizes, their field embeddings and their constructor."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch

from uplift.features import FeatureSchema
from uplift.models.neural.embeddings import CategoricalEmbedding
from uplift.models.neural.field_inputs import FieldInputs
from uplift.models.neural.loss import LossSpace
from uplift.models.neural.model import NeuralModel
from uplift.models.neural.network import ChainNetwork
from uplift.models.neural.value import HEADS, ValueHead, ValueLoss
from uplift.models.parameters import Rule, Whole


@dataclass(frozen=True, kw_only=True)
class ChainShape:
    """What goes into a network and what comes out of it.

    Attributes
    ----------
    numeric_fields : int
        Number of numeric fields p, >= 0.
    cardinalities : tuple of int
        Codes of each categorical field (two of them reserved), q >= 0 fields; f = p + q >= 1.
    arms : int
        K + 1, control included.
    stages : int
        Number of binary stages N >= 1.
    value : {"lognormal", "mse"} or None
        Loss of the value that follows the last stage; None where there is none.
    loss_space : {"entire", "conditional", "independent"}
        What the logits mean.
    embedding_dim : int
        d.

    Examples
    --------
    >>> ChainShape(numeric_fields=12, arms=5, stages=2, value="mse", embedding_dim=16).tasks
    3
    """

    numeric_fields: int
    cardinalities: tuple[int, ...] = ()
    arms: int
    stages: int
    value: ValueLoss | None = None
    loss_space: LossSpace = "entire"
    embedding_dim: int

    @property
    def tasks(self) -> int:
        """Stages, and the value where there is one."""
        return self.stages + (self.value is not None)

    def value_head(self, width: int, *, generator: torch.Generator) -> ValueHead | None:
        """The head of the value on a state of `width`, if there is a value."""
        return None if self.value is None else HEADS[self.value](width, generator=generator)


class FieldNetwork(ChainNetwork):
    """A network on field embeddings of its own: sets the attributes that the engine asks for, but for the heads.

    A subclass calls this constructor first, then makes its layers, `heads` and ``value =
    shape.value_head(width, generator=generator)``.

    Parameters
    ----------
    shape : ChainShape
        Sizes.
    generator : torch.Generator
        Source of the initial weights. The global random state is not touched.

    Attributes
    ----------
    inputs : FieldInputs
        Embeddings of the fields.
    """

    def __init__(self, shape: ChainShape, *, generator: torch.Generator) -> None:
        super().__init__()
        self.arms = shape.arms
        self.stages = shape.stages
        self.loss_space = shape.loss_space
        self.inputs = FieldInputs(
            shape.numeric_fields, shape.cardinalities, shape.embedding_dim, generator=generator
        )

    @property
    def categorical(self) -> CategoricalEmbedding | None:  # type: ignore[override]
        """Embedding of the category codes, whose unseen codes the engine settles."""
        return self.inputs.categorical


@dataclass(kw_only=True, eq=False, repr=False)
class DeepModel(NeuralModel):
    """A neural model whose network is a :class:`FieldNetwork`; a subclass adds the options of its network.

    Parameters
    ----------
    embedding_dim : int
        Embedding size d of every field.
    """

    rules: ClassVar[Mapping[str, Rule]] = {"embedding_dim": Whole(1), **NeuralModel.rules}

    embedding_dim: int = 16

    @abstractmethod
    def _network(self, shape: ChainShape, generator: torch.Generator) -> ChainNetwork:
        """The network with its initial weights, on the generator's device."""

    def _build(
        self, schema: FeatureSchema, arms: int, stages: int, value: ValueLoss | None, *, seed: int
    ) -> ChainNetwork:
        shape = ChainShape(
            numeric_fields=len(schema.numeric),
            cardinalities=schema.cardinalities,
            arms=arms,
            stages=stages,
            value=value,
            loss_space=self.loss_space,
            embedding_dim=self.embedding_dim,
        )
        return self._network(shape, torch.Generator().manual_seed(seed))
