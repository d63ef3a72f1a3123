"""ECUP as a model of the package: the options of its network."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, get_args

import torch

from uplift.campaign import Campaign
from uplift.campaign_stream import CampaignStream
from uplift.errors import ModelError
from uplift.features import FeatureSchema
from uplift.models.base import ModelWarning
from uplift.models.ecup.network import EcupNetwork
from uplift.models.ecup.tenet import BitLevel
from uplift.models.neural.arm_amounts import Attributes, scored_arms, training_attributes
from uplift.models.neural.arm_embedding import ArmEmbedding, ArmEncoding
from uplift.models.neural.model import NeuralModel
from uplift.models.neural.network import ChainNetwork
from uplift.models.neural.numeric_embeddings import NumericKind
from uplift.models.neural.rows import bin_edges
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

    numeric_embedding : {"affine", "piecewise", "periodic"}
        How a number becomes a vector: on a straight line (paper), on a polyline with its knots at training quantiles,
        or by sines and cosines (:mod:`uplift.models.neural.numeric_embeddings`).
    bins : int
        Bins per feature of ``"piecewise"``, frequencies of ``"periodic"``.
    arm_encoding : {"id", "amount", "both"}
        What the treatment embedding is made of: the arm's id (paper), its amount and threshold, or these and a
        deviation per arm that starts at zero. With ``"amount"`` and ``"both"`` every treated arm needs an amount, at
        least two of them different; the model then also scores campaigns and audiences with other arms, whose amounts
        may be new (:meth:`uplift.campaign.Campaign.audience`).
    tau_heads : int
        Attention heads in the treatment-aware units; divides d_a.

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
        "numeric_embedding": Choice(*get_args(NumericKind)),
        "bins": Whole(1, 256),
        "arm_encoding": Choice(*get_args(ArmEncoding)),
        "tau_heads": Whole(1),
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
    numeric_embedding: NumericKind = "affine"
    bins: int = 16
    arm_encoding: ArmEncoding = "id"
    tau_heads: int = 1

    network_: EcupNetwork = field(init=False, repr=False)
    arm_attributes_: list[Attributes] | None = field(init=False, repr=False, default=None)

    def _fit_schema(self, campaign: Campaign | CampaignStream) -> FeatureSchema:
        return self._schema_with(campaign, bins=self.bins if self.numeric_embedding == "piecewise" else 0)

    def _learn_arms(self, campaign: Campaign | CampaignStream) -> None:
        self.arm_attributes_ = None
        if self.arm_encoding != "id":
            self.arm_attributes_ = training_attributes(
                campaign.arms[1:], distinct=self.arm_encoding == "amount", model=self.name
            )

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
            numeric_embedding=self.numeric_embedding,
            bins=self.bins,
            edges=bin_edges(schema, normalise=self.normalise),
            arm_attributes=None
            if self.arm_attributes_ is None
            else torch.tensor(self.arm_attributes_, dtype=torch.float64),
            arm_deviations=self.arm_encoding == "both",
            tau_heads=self.tau_heads,
            generator=torch.Generator().manual_seed(seed),
        )

    # ---------------------------------------------------------------- other arms

    def _check_arms(self, campaign: Campaign) -> None:
        if self.arm_attributes_ is None:
            super()._check_arms(campaign)
        elif campaign.control != self.arms_[0]:
            raise ModelError(
                f"model {self.name!r} was trained with control {self.arms_[0]!r}, not {campaign.control!r}; train it on this campaign."
            )

    def _networks_for(self, campaign: Campaign) -> list[ChainNetwork]:
        if self.arm_attributes_ is None:
            return self.networks_
        scored = scored_arms(
            campaign.arms[1:], names=self.arms_[1:], known=self.arm_attributes_, model=self.name
        )
        if scored.trained.tolist() == list(range(len(self.arm_attributes_))):
            return self.networks_
        if scored.beyond:
            warnings.warn(
                f"model {self.name!r}: the amount or threshold of arm {scored.beyond[0]!r} ({len(scored.beyond)} of "
                f"{len(campaign.arms) - 1} arms) lies outside those of the training arms, so its effect is extrapolated.",
                ModelWarning,
                stacklevel=5,
            )
        found: list[ChainNetwork] = []
        for network in self.networks_:
            assert isinstance(network, EcupNetwork)
            assert isinstance(network.treatment, ArmEmbedding)
            with torch.no_grad():
                found.append(network.for_arms(network.treatment.rows(scored.attributes, scored.trained)))
        return found

    # ---------------------------------------------------------------- files

    def _save(self, folder: Path) -> dict[str, Any]:
        return {**super()._save(folder), "arm_attributes": self.arm_attributes_}

    def _load(self, folder: Path, state: dict[str, Any]) -> None:
        known = state.get("arm_attributes")  # older files have none
        self.arm_attributes_ = None if known is None else [(amount, threshold) for amount, threshold in known]
        super()._load(folder, state)

    def _check_combination(self) -> None:
        super()._check_combination()
        attention_dim = self.attention_dim or self.embedding_dim
        if attention_dim % self.tau_heads:
            raise ModelError(
                f"model 'ecup': attention_dim {attention_dim} is not a multiple of tau_heads {self.tau_heads}; change one of them."
            )
        if self.taenet and self.embedding_dim % self.heads:
            raise ModelError(
                f"model 'ecup': embedding_dim {self.embedding_dim} is not a multiple of heads {self.heads}; change one of them."
            )
        if self.share_gates and len(set(self.hidden)) > 1:
            raise ModelError(
                f"model 'ecup': share_gates needs tower layers of one width, but hidden is {tuple(self.hidden)}; "
                f"try hidden=({self.hidden[0]},) * {len(self.hidden)}."
            )
