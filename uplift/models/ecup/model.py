"""ECUP as a model of the package: the options of its network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, get_args

import torch

from uplift.errors import ModelError
from uplift.features import FeatureSchema
from uplift.models.ecup.network import EcupNetwork
from uplift.models.ecup.tenet import BitLevel
from uplift.models.neural.model import NeuralModel
from uplift.models.neural.value import ValueLoss
from uplift.models.parameters import Choice, Each, Flag, Number, OrNone, Rule, Whole


@dataclass(kw_only=True, eq=False, repr=False)
class ECUP(NeuralModel):
    """Entire-chain uplift model with context-enhanced learning, for all arms and all stages at once.

    One network predicts the rate of every stage given the one before, for every arm; their products are the
    rates in the entire space. Built after the paper for two stages, and for any number of binary stages and an
    optional value after the last one. See :class:`~uplift.models.neural.model.NeuralModel` for how it is trained.

    Parameters
    ----------
    embedding_dim : int
        Embedding size d of every field, arm and task; a multiple of `heads`. Paper: 8, 16 or 32.
    attention_dim : int, optional
        Size d_a of queries, keys and values in the treatment-aware units; default d.
    hidden : sequence of int
        Widths of the shared tower. Paper: two layers, the first of 128, 256 or 512.
    gate_hidden : int
        Hidden width of the task gates (TAEGate). Paper: 64 to 512.
    heads : int
        Heads of the task attention. Paper: 2.
    gamma : float
        Upper end of the task gates. Not stated in the paper; 2.0 starts them at about 1.
    bit_level : {"d", "f*d"}
        What the treatment gates: one vector for all fields, or one per field. The paper's wording allows both.
    share_gates : bool
        One task gate for all tower layers (which must then be of one width) in place of one per layer.
    tenet, taenet : bool
        Ablation: without the treatment-enhanced or the task-enhanced network.
    tau_units : {1, 2}
        Ablation: 1 gives the enhanced features and their gate weights from a single treatment-aware unit.
    stop_gradient : bool
        Ablation: False lets the task gates train the embeddings.
    share_tower : bool
        Ablation: False gives every stage a tower of its own.

    References
    ----------
    Huang et al., Entire Chain Uplift Modeling with Context-Enhanced Learning for Intelligent Marketing, WWW'24
    Companion, doi 10.1145/3589335.3648320.

    Examples
    --------
    >>> ECUP(embedding_dim=8).get_params()["gamma"]
    2.0
    """

    name: ClassVar[str] = "ecup"
    can_share: ClassVar[bool] = True
    rules: ClassVar[Mapping[str, Rule]] = {
        "embedding_dim": Whole(1),
        "attention_dim": OrNone(Whole(1)),
        "hidden": Each(Whole(1), least=1),
        "gate_hidden": Whole(1),
        "heads": Whole(1),
        "gamma": Number(0, open_low=True),
        "bit_level": Choice(*get_args(BitLevel)),
        "share_gates": Flag(),
        "tenet": Flag(),
        "taenet": Flag(),
        "tau_units": Whole(1, 2),
        "stop_gradient": Flag(),
        "share_tower": Flag(),
        **NeuralModel.rules,
    }

    embedding_dim: int = 16
    attention_dim: int | None = None
    hidden: Sequence[int] = (128, 64)
    gate_hidden: int = 64
    heads: int = 2
    gamma: float = 2.0
    bit_level: BitLevel = "d"
    share_gates: bool = False
    tenet: bool = True
    taenet: bool = True
    tau_units: int = 2
    stop_gradient: bool = True
    share_tower: bool = True

    network_: EcupNetwork = field(init=False, repr=False)

    def _build(
        self, schema: FeatureSchema, arms: int, stages: int, value: ValueLoss | None, *, seed: int
    ) -> EcupNetwork:
        return EcupNetwork(
            numeric_fields=len(schema.numeric),
            cardinalities=schema.cardinalities,
            arms=arms,
            stages=stages,
            value=value,
            loss_space=self.loss_space,
            embedding_dim=self.embedding_dim,
            attention_dim=self.attention_dim or self.embedding_dim,
            bit_level=self.bit_level,
            hidden=tuple(self.hidden),
            gate_hidden=self.gate_hidden,
            heads=self.heads,
            gamma=self.gamma,
            tenet=self.tenet,
            taenet=self.taenet,
            tau_units=self.tau_units,
            stop_gradient=self.stop_gradient,
            share_tower=self.share_tower,
            share_gates=self.share_gates,
            members=self._members_inside,
            generator=torch.Generator().manual_seed(seed),
        )

    def _check_combination(self) -> None:
        super()._check_combination()
        if self.taenet and self.embedding_dim % self.heads:
            raise ModelError(
                f"model 'ecup': embedding_dim {self.embedding_dim} is not a multiple of heads {self.heads}; change one of them."
            )
        if self.share_gates and len(set(self.hidden)) > 1:
            raise ModelError(
                f"model 'ecup': share_gates needs tower layers of one width, but hidden is {tuple(self.hidden)}; "
                f"try hidden=({self.hidden[0]},) * {len(self.hidden)}."
            )
