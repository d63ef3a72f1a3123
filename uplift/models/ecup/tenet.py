"""TENet, the treatment-enhanced network (section 4.2): features that adapt to the treatment, field by field."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, cast

import torch
from torch import Tensor, nn

from uplift.models.ecup import fused
from uplift.models.neural.layers import Dense, uniform

BitLevel = Literal["d", "f*d"]

FEW = 32
"""Up to so many fields the CPU forms the attention's scores as a product; above, in torch's fused kernel.

Both are for what :func:`uplift.models.ecup.fused.usable` leaves over."""


class TreatmentAwareUnit(nn.Module):
    """TAU (section 4.2.1, eq. 9-13): self-attention over the fields, times what the treatment lets through.

    ::

        Q, K, V = E^x W_Q, E^x W_K, E^x W_V                   W_* [d, d_a]
        E^att = softmax(Q K' / sqrt(d_a)) V W_P               [batch, f, d]
        E^bit = ReLU(E^tr W_e + b_e)                          [batch, 1, d] or [batch, f, d]
        TAU(E^x, E^tr) = E^att * E^bit                        element-wise

    The two factors have methods of their own because only the second depends on the treatment:
    :meth:`attend` runs once per row however many arms are scored.

    Parameters
    ----------
    fields : int
        Number of fields, f.
    dim : int
        Embedding size, d.
    attention_dim : int
        Size of queries, keys and values, d_a.
    bit_level : {"d", "f*d"}
        Whether E^bit is one vector for all fields, or one per field ("bit-level" could mean either).
    heads : int
        Attention heads, H; divides `attention_dim`. 1 in the formulas above; more of them split Q, K and V into
        H parts with a softmax each, at scale sqrt(d_a / H), which W_P joins.
    generator : torch.Generator
        Source of the initial weights.

    Shape
    -----
    fields [batch, f, d], treatment [batch, d]; output [batch, f, d]

    Examples
    --------
    >>> generator = torch.Generator().manual_seed(0)
    >>> tau = TreatmentAwareUnit(fields=12, dim=16, attention_dim=16, bit_level="d", generator=generator)
    >>> tau(torch.randn(4, 12, 16), torch.randn(4, 16)).shape
    torch.Size([4, 12, 16])
    """

    def __init__(
        self,
        *,
        fields: int,
        dim: int,
        attention_dim: int,
        bit_level: BitLevel,
        heads: int = 1,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.heads = heads
        self.query = uniform(dim, attention_dim, fan_in=dim, generator=generator)
        self.key = uniform(dim, attention_dim, fan_in=dim, generator=generator)
        self.value = uniform(dim, attention_dim, fan_in=dim, generator=generator)
        self.project = uniform(attention_dim, dim, fan_in=attention_dim, generator=generator)
        self.bit_fields = 1 if bit_level == "d" else fields
        self.extract = Dense(dim, self.bit_fields * dim, generator=generator)

    def attend(self, fields: Tensor) -> Tensor:
        """E^att [batch, f, d] from E^x [batch, f, d] (eq. 9-11)."""
        return attend((self,), fields)[0]

    def products(self) -> tuple[Tensor, Tensor]:
        """``W_Q W_K' / sqrt(d_a / H)`` and ``W_V W_P`` of every head, each [H, d, d]."""
        size = self.query.shape[1] // self.heads
        query, key, value = (
            weight.unflatten(1, (self.heads, size)).transpose(0, 1)
            for weight in (self.query, self.key, self.value)
        )  # each [H, d, d_a / H]
        ask = query @ key.transpose(1, 2) / math.sqrt(size)
        return ask, value @ self.project.unflatten(0, (self.heads, size))

    def bit(self, treatment: Tensor) -> Tensor:
        """E^bit [..., 1 or f, d] from E^tr [..., d]: the treatment information extractor (eq. 12)."""
        result: Tensor = torch.relu(self.extract(treatment)).unflatten(-1, (self.bit_fields, -1))
        return result

    def forward(self, fields: Tensor, treatment: Tensor) -> Tensor:
        return self.attend(fields) * self.bit(treatment)  # eq. 13


def attend(units: Sequence[TreatmentAwareUnit], fields: Tensor) -> tuple[Tensor, ...]:
    """E^att of every unit, each [batch, f, d], from E^x [batch, f, d] (eq. 9-11).

    ``Q K' = E^x (W_Q W_K') E^x'`` and ``A V W_P = (A E^x)(W_V W_P)``: the small products are formed once per
    batch, which halves the work and changes rounding only. What is attended over is then E^x itself, alike for all
    units and heads, so that their queries are stacked as if they were more fields: one attention for all of them.
    Heads are joined by W_P, that is, their answers add up.
    """
    into, answers = products(units)
    query = fields @ into.transpose(0, 1).flatten(1)
    query = query.unflatten(-1, (into.shape[0], -1)).flatten(1, 2)  # [batch, f U H, d], field by field
    mixed = mix(query, fields).unflatten(1, (-1, into.shape[0])).flatten(2)
    out = torch.block_diag(*answers.unflatten(0, (len(units), -1)).flatten(1, 2))  # [U H d, U d]
    result: tuple[Tensor, ...] = (mixed @ out).chunk(len(units), dim=-1)
    return result


def products(units: Sequence[TreatmentAwareUnit]) -> tuple[Tensor, Tensor]:
    """:meth:`TreatmentAwareUnit.products` of all units, each [U H, d, d]."""
    asks, answers = zip(*(unit.products() for unit in units), strict=True)
    return torch.cat(asks), torch.cat(answers)


def mix(query: Tensor, fields: Tensor) -> Tensor:
    """``softmax(Q E') E`` [batch, q, d] over the fields, for queries [batch, q, d] and fields [batch, f, d]."""
    if query.is_cuda or fields.shape[1] <= FEW:
        # The fused CUDA kernels add up gradients in no fixed order: the same seed would give other weights.
        # torch's fused CPU kernel works on blocks of 32 queries or more, which pays from some 30 fields on.
        return torch.softmax(query @ fields.transpose(1, 2), dim=-1) @ fields
    tokens = fields.unsqueeze(1)
    return nn.functional.scaled_dot_product_attention(query.unsqueeze(1), tokens, tokens, scale=1.0).squeeze(
        1
    )


class TENet(nn.Module):
    """Two treatment-aware units and the treatment-enhanced gate (TEGate, section 4.2.2, eq. 14-16).

    ::

        E^TAU, W_b = TAU_g(E^x, E^tr), TAU_w(E^x, E^tr)                        eq. 14
        E^r = E^x * sigmoid(W_b) + E^TAU * (1 - sigmoid(W_b))                  eq. 15
        E~  = [E^r ; E^tr]  over the field axis                                eq. 16

    Parameters
    ----------
    units : {1, 2}
        2 is the paper. 1 is an ablation: the same unit gives E^TAU and W_b.
    fields, dim, attention_dim, bit_level, heads, generator
        See :class:`TreatmentAwareUnit`.

    Shape
    -----
    fields [batch, f, d], treatment [batch, d]; output [batch, f + 1, d]

    Examples
    --------
    >>> generator = torch.Generator().manual_seed(0)
    >>> tenet = TENet(units=2, fields=12, dim=16, attention_dim=16, bit_level="d", generator=generator)
    >>> tenet(torch.randn(4, 12, 16), torch.randn(4, 16)).shape
    torch.Size([4, 13, 16])
    """

    def __init__(
        self,
        *,
        units: int,
        fields: int,
        dim: int,
        attention_dim: int,
        bit_level: BitLevel,
        heads: int = 1,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.units = nn.ModuleList(
            TreatmentAwareUnit(
                fields=fields,
                dim=dim,
                attention_dim=attention_dim,
                bit_level=bit_level,
                heads=heads,
                generator=generator,
            )
            for _ in range(units)
        )

    @property
    def taus(self) -> list[TreatmentAwareUnit]:
        """TAU_g, which gives E^TAU, and TAU_w, which gives W_b."""
        return cast(list[TreatmentAwareUnit], list(self.units))

    def attend(self, fields: Tensor) -> tuple[Tensor, ...]:
        """The self-attentions E^att of every unit, each [batch, f, d]: the part without the treatment."""
        return attend(self.taus, fields)

    def gate(self, fields: Tensor, attended: tuple[Tensor, ...], treatment: Tensor) -> Tensor:
        """TEGate on attentions that are already there.

        Parameters
        ----------
        fields : Tensor [..., f, d]
            E^x.
        attended : tuple of Tensor [..., f, d]
            What :meth:`attend` returned.
        treatment : Tensor [..., d]
            E^tr; leading axes broadcast against those of `fields`.

        Returns
        -------
        Tensor [..., f, d]
            E^r.
        """
        units = [context * tau.bit(treatment) for tau, context in zip(self.taus, attended, strict=True)]
        enhanced, weight = units[0], units[-1]
        # Under autocast the attentions come out in half precision and the embeddings do not.
        return torch.lerp(enhanced, fields.to(enhanced.dtype), torch.sigmoid(weight))

    def forward(self, fields: Tensor, treatment: Tensor) -> Tensor:
        if fused.usable(fields):
            bits = torch.stack([tau.bit(treatment) for tau in self.taus])
            return fused.tenet(fields, *products(self.taus), bits, treatment)
        return append_treatment(self.gate(fields, self.attend(fields), treatment), treatment)

    def all_arms(self, fields: Tensor, arms: Tensor) -> Tensor:
        """E~ [batch, arm, f + 1, d] under every arm, for E^tr [arm, d]; the attentions are formed once per row."""
        if fused.usable(fields) and not torch.is_grad_enabled():
            bits = torch.stack([tau.bit(arms) for tau in self.taus])
            return fused.tenet_of_arms(fields, *products(self.taus), bits, arms)
        attended = tuple(context.unsqueeze(1) for context in self.attend(fields))
        adapted = self.gate(fields.unsqueeze(1), attended, arms)
        return append_treatment(adapted, arms.expand(fields.shape[0], -1, -1))


def append_treatment(fields: Tensor, treatment: Tensor) -> Tensor:
    """E~ [..., f + 1, d] (eq. 16): fields [..., f, d] with E^tr [..., d] as the last field."""
    token = treatment.unsqueeze(-2).expand(*fields.shape[:-2], 1, fields.shape[-1])
    return torch.cat((fields, token), dim=-2)
