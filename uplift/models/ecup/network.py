"""The whole network: embeddings, TENet, TAENet and ECENet, for one arm per row or for all arms at once."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor

from uplift.models.ecup.ecenet import StageHeads, Tower
from uplift.models.ecup.extra_fields import ExtraFields
from uplift.models.ecup.shared import SharedTower
from uplift.models.ecup.taenet import TAENet
from uplift.models.ecup.tenet import BitLevel, TENet, append_treatment
from uplift.models.neural.arm_embedding import ArmEmbedding, FixedArms
from uplift.models.neural.embeddings import CategoricalEmbedding, TokenEmbedding
from uplift.models.neural.loss import LossSpace
from uplift.models.neural.network import ChainNetwork, ChainOutput
from uplift.models.neural.numeric_embeddings import NumericKind
from uplift.models.neural.numeric_embeddings import numeric_embedding as make_numeric_embedding
from uplift.models.neural.value import HEADS, ValueLoss


class EcupNetwork(ChainNetwork):
    """ECUP (Huang et al., WWW'24 Companion) for a chain of 1..N binary stages and K + 1 arms.

    The treatment enters only through its embedding E^tr; the potential outcome of another arm is the same
    network with another E^tr. There are no output heads per arm.

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
        What the logits mean; the paper is "entire".
    embedding_dim : int
        d.
    attention_dim : int
        d_a of the treatment-aware units.
    bit_level : {"d", "f*d"}
        Size of E^bit.
    hidden : tuple of int
        Widths h_1..h_{L-1} of the tower.
    gate_hidden : int
        Hidden width h_gate of the TAEGates.
    heads : int
        Heads of the task attention; divides `embedding_dim`.
    gamma : float
        Upper end of the TAEGates.
    members : int
        Members of an ensemble inside the network: one tower in `members` slight variants, and as many heads, on the
        same E~ and task gates. 1 is the paper.
    tenet, taenet, tau_units, stop_gradient, share_tower, share_gates : bool or int
        The paper is True, True, 2, True, True, False; everything else is an ablation.
    numeric_embedding : {"affine", "piecewise", "periodic"}
        The paper is "affine"; see :mod:`uplift.models.neural.numeric_embeddings`.
    bins : int
        Bins per field of "piecewise", frequencies of "periodic".
    edges : sequence of Tensor
        Knots of every numeric field, for "piecewise".
    arm_attributes : Tensor [K, 2], optional
        Amount and threshold of the treated arms, from which E^tr is then made; None, the paper, is a table by id.
    arm_deviations : bool
        Whether each arm has a vector of its own beside what its attributes say.
    tau_heads : int
        Attention heads in the treatment-aware units; divides `attention_dim`.
    extra_fields : ExtraFields, optional
        Makes further fields of E^x from inputs of its own, such as a customer's history.
    generator : torch.Generator
        Source of the initial weights. The global random state is not touched.

    Notes
    -----
    For z-scored numeric fields without missing values the paper's parameters are all but
    ``numeric.missing`` (p x d): 234,930 for 99 numeric fields and 5 arms, 53,922 for 12 fields and 2 arms, at
    d = d_a = 16, hidden (128, 64), gate_hidden 64 and two stages. They count every embedding table.

    Examples
    --------
    >>> network = EcupNetwork(
    ...     numeric_fields=12, cardinalities=(), arms=2, stages=2, value=None, embedding_dim=16, attention_dim=16,
    ...     bit_level="d", hidden=(128, 64), gate_hidden=64, heads=2, gamma=2.0, tenet=True, taenet=True,
    ...     tau_units=2, stop_gradient=True, share_tower=True, share_gates=False,
    ...     generator=torch.Generator().manual_seed(0))
    >>> numeric, categorical = torch.randn(4, 12), torch.zeros(4, 0, dtype=torch.int32)
    >>> network(numeric, categorical, torch.tensor([0, 1, 0, 1])).logits.shape
    torch.Size([4, 2])
    >>> network.all_arms(numeric, categorical).logits.shape
    torch.Size([4, 2, 2])
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
        attention_dim: int,
        bit_level: BitLevel,
        hidden: tuple[int, ...],
        gate_hidden: int,
        heads: int,
        gamma: float,
        tenet: bool,
        taenet: bool,
        tau_units: int,
        stop_gradient: bool,
        share_tower: bool,
        share_gates: bool,
        members: int = 1,
        numeric_embedding: NumericKind = "affine",
        bins: int = 1,
        edges: Sequence[Tensor] = (),
        arm_attributes: Tensor | None = None,
        arm_deviations: bool = False,
        tau_heads: int = 1,
        extra_fields: ExtraFields | None = None,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        fields = numeric_fields + len(cardinalities) + (0 if extra_fields is None else extra_fields.fields)
        tasks = stages + (value is not None)
        self.stages = stages
        self.loss_space = loss_space
        self.arms = arms
        self.members = members
        self.fields = fields
        self.embedding_dim = embedding_dim
        self.numeric = (
            make_numeric_embedding(
                numeric_embedding,
                fields=numeric_fields,
                dim=embedding_dim,
                bins=bins,
                edges=edges,
                generator=generator,
            )
            if numeric_fields
            else None
        )
        self.categorical = (
            CategoricalEmbedding(cardinalities, embedding_dim, generator=generator) if cardinalities else None
        )
        self.extra_fields = extra_fields
        self.treatment: TokenEmbedding | ArmEmbedding | FixedArms = (
            TokenEmbedding(arms, embedding_dim, generator=generator)
            if arm_attributes is None
            else ArmEmbedding(arm_attributes, embedding_dim, deviations=arm_deviations, generator=generator)
        )
        self.tenet = (
            TENet(
                units=tau_units,
                fields=fields,
                dim=embedding_dim,
                attention_dim=attention_dim,
                bit_level=bit_level,
                heads=tau_heads,
                generator=generator,
            )
            if tenet
            else None
        )
        self.taenet = (
            TAENet(
                tasks=tasks,
                dim=embedding_dim,
                heads=heads,
                stop_gradient=stop_gradient,
                gate_hidden=gate_hidden,
                gamma=gamma,
                widths=hidden,
                share_gates=share_gates,
                generator=generator,
            )
            if taenet
            else None
        )
        inputs = (fields + 1) * embedding_dim
        self.tower: Tower
        if members == 1:
            self.tower = Tower(
                inputs=inputs,
                widths=hidden,
                tasks=tasks,
                share=share_tower,
                generator=generator,
            )
        else:
            self.tower = SharedTower(
                members=members,
                inputs=inputs,
                widths=hidden,
                tasks=tasks,
                share=share_tower,
                generator=generator,
            )
        self.heads = StageHeads(hidden[-1], stages, members=members, generator=generator)
        self.value = None if value is None else HEADS[value](hidden[-1], members=members, generator=generator)

    def embed(self, numeric: Tensor, categorical: Tensor, extra: Sequence[Tensor] = ()) -> Tensor:
        """E^x [batch, f, d] from numeric [batch, p] (z-scored, NaN = missing) and categorical codes [batch, q].

        The fields that :attr:`extra_fields` makes of `extra` come last.
        """
        parts = []
        if self.numeric is not None:
            parts.append(self.numeric(numeric))
        if self.categorical is not None:
            parts.append(self.categorical(categorical))
        if self.extra_fields is not None:
            parts.append(self.extra_fields(*extra))
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)

    def outcomes(self, tokens: Tensor) -> ChainOutput:
        """TAENet, tower and heads on E~ [batch, f + 1, d]."""
        scales = None if self.taenet is None else self.taenet(tokens)
        state = self.tower(tokens.flatten(1), scales)
        if self.value is None:
            return ChainOutput(self.heads(state), None)
        shared = state.shape[-2] == 1
        of_stages = state if shared else state[..., : self.stages, :]
        return ChainOutput(self.heads(of_stages), self.value(state[..., -1, :]))

    @property
    def floats_per_row(self) -> int:
        """Size of E~ for all arms and members."""
        return self.arms * (self.fields + 1) * self.embedding_dim * self.members

    def for_arms(self, table: Tensor) -> EcupNetwork:
        """This network for other arms, given by E^tr [arm, d], control first; all other weights are shared."""
        other = copy.copy(self)
        other._modules = {**self._modules, "treatment": FixedArms(table)}
        other.arms = len(table)
        return other

    def forward(
        self, numeric: Tensor, categorical: Tensor, treatment: Tensor, extra: Sequence[Tensor] = ()
    ) -> ChainOutput:
        """Outcomes under one arm per row, usually the one it received.

        Parameters
        ----------
        numeric : Tensor [batch, p] float32
            z-scored, NaN = missing.
        categorical : Tensor [batch, q] integer
            Codes.
        treatment : Tensor [batch] integer
            Arm codes, 0 = control.
        extra : sequence of Tensor [batch, ...]
            Inputs of :attr:`extra_fields`, if there are any.
        """
        fields = self.embed(numeric, categorical, extra)
        treated = self.treatment(treatment)
        if self.tenet is None:
            return self.outcomes(append_treatment(fields, treated))
        return self.outcomes(self.tenet(fields, treated))

    def all_arms(self, numeric: Tensor, categorical: Tensor, extra: Sequence[Tensor] = ()) -> ChainOutput:
        """Outcomes under every arm: logits [batch, arm, stage], value [batch, arm, k].

        E^x and the self-attentions do not depend on the treatment: they are computed once per row, and only
        the gate, TAENet and the tower run per arm. Equals K + 1 calls of :meth:`forward` up to rounding.
        """
        fields = self.embed(numeric, categorical, extra)
        arms = self.treatment.table
        if self.tenet is None:
            alike = fields.unsqueeze(1).expand(-1, self.arms, -1, -1)
            tokens = append_treatment(alike, arms.expand(fields.shape[0], -1, -1))
        else:
            tokens = self.tenet.all_arms(fields, arms)
        output = self.outcomes(tokens.flatten(0, 1))
        shape = (fields.shape[0], self.arms)  # len() would fix the number of rows in an exported graph
        return ChainOutput(
            output.logits.unflatten(0, shape),
            None if output.value is None else output.value.unflatten(0, shape),
        )
