"""EFIN: explicit interactions of features with the treatment (Liu, Tang, Gao, Lyu, He, KDD 2023)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from uplift.models.deep.arm_field import StageLayer
from uplift.models.deep.hypotheses import ArmHeads, Hypotheses
from uplift.models.deep.scaffold import ChainShape, DeepModel, FieldNetwork
from uplift.models.neural.embeddings import TokenEmbedding
from uplift.models.neural.engine import received
from uplift.models.neural.layers import Dense, DenseLayers, uniform
from uplift.models.neural.network import ChainOutput, OutputLayer
from uplift.models.neural.rows import Rows
from uplift.models.parameters import Each, Flag, Number, Rule, Whole


class SelfInteraction(nn.Module):
    """Self-attention among the fields: ``softmax(Q K^T / sqrt(d)) V`` (eq. 4-5).

    The equations have ``Q = K = V`` = the embeddings; as in the authors' code each is an affine map of them. The code
    takes the softmax of the sigmoid of the scores, which leaves the weights within a factor e of one another; here it is
    the softmax of the scores, as in eq. 5.

    Parameters
    ----------
    dim : int
        Embedding size d.
    generator : torch.Generator
        Source of the initial weights.

    Shape
    -----
    input [batch, f, d]; output [batch, f, d]

    Examples
    --------
    >>> attend = SelfInteraction(16, generator=torch.Generator().manual_seed(0))
    >>> attend(torch.randn(4, 12, 16)).shape
    torch.Size([4, 12, 16])
    """

    def __init__(self, dim: int, *, generator: torch.Generator) -> None:
        super().__init__()
        self.query = Dense(dim, dim, generator=generator)
        self.key = Dense(dim, dim, generator=generator)
        self.values = Dense(dim, dim, generator=generator)

    def forward(self, fields: Tensor) -> Tensor:
        scores = self.query(fields) @ self.key(fields).transpose(1, 2) / fields.shape[-1] ** 0.5
        result: Tensor = torch.softmax(scores, dim=-1) @ self.values(fields)
        return result


class TreatmentInteraction(nn.Module):
    """How much every field matters to every coupon, and the fields so weighted (eq. 8-9).

    ``alpha_kj = softmax_j(w_0^T ReLU(W_1 e^t_k + W_2 e^x_j + b_2))`` and ``e^xt_k = sum_j alpha_kj e^x_j``. The authors'
    code also takes the sigmoid of both terms before the ReLU, which then does nothing; here it is eq. 8.

    Parameters
    ----------
    dim : int
        Embedding size d.
    coupons : int
        K, each with an embedding e^t_k (eq. 3: the coupon is one sparse treatment feature).
    generator : torch.Generator
        Source of the initial weights.

    Shape
    -----
    input [batch, f, d]; output [K, batch, d]

    Examples
    --------
    >>> interact = TreatmentInteraction(16, 4, generator=torch.Generator().manual_seed(0))
    >>> fields = torch.randn(3, 12, 16)
    >>> interact(fields).shape, interact.attention(fields).sum(-1).allclose(torch.ones(4, 3))
    (torch.Size([4, 3, 16]), True)
    """

    def __init__(self, dim: int, coupons: int, *, generator: torch.Generator) -> None:
        super().__init__()
        self.coupons = TokenEmbedding(coupons, dim, generator=generator)
        self.of_coupon = uniform(dim, dim, fan_in=dim, generator=generator)
        self.of_field = Dense(dim, dim, generator=generator)
        self.score = uniform(dim, fan_in=dim, generator=generator)

    def attention(self, fields: Tensor) -> Tensor:
        """Weights of the fields [K, batch, f], that sum to 1."""
        coupons = self.coupons.table @ self.of_coupon
        # One coupon after another: all at once would hold K times the batch's embeddings twice more.
        field_terms = self.of_field(fields)
        scores = [torch.relu(coupon + field_terms) @ self.score for coupon in coupons]
        return torch.softmax(torch.stack(scores), dim=-1)

    def forward(self, fields: Tensor) -> Tensor:
        return torch.einsum("kbf,bfd->kbd", self.attention(fields), fields)


class NaturalAndUplift(OutputLayer):
    """Logits of control, and of every coupon as those of control plus an uplift (eq. 6, 10, 11).

    The sum is taken on the logit scale, stage by stage.

    Parameters
    ----------
    width, uplift_width : int
        Sizes of the control's state and of a coupon's.
    coupons : int
        K layers of the uplift; 1 where all coupons share one.
    stages : int
        Number of binary stages N.
    stop_gradient : bool
        Whether a coupon's rows leave the control's logits, and its state for the value, as they are.
    generator : torch.Generator
        Source of the initial weights.

    Shape
    -----
    base [batch, width], uplift [K, batch, uplift_width]; output [batch, K + 1, N]

    Examples
    --------
    >>> heads = NaturalAndUplift(16, 8, 4, 2, stop_gradient=True, generator=torch.Generator().manual_seed(0))
    >>> base, uplift = torch.randn(3, 16), torch.randn(4, 3, 8)
    >>> heads(base, uplift).shape, heads.value_states(base, uplift).shape
    (torch.Size([3, 5, 2]), torch.Size([3, 5, 24]))
    """

    def __init__(
        self,
        width: int,
        uplift_width: int,
        coupons: int,
        stages: int,
        *,
        stop_gradient: bool,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.stop_gradient = stop_gradient
        self.natural = StageLayer(width, stages, generator=generator)
        self.uplift = ArmHeads(uplift_width, coupons, stages, generator=generator)

    def forward(self, base: Tensor, uplift: Tensor) -> Tensor:
        control = self.natural(base).unsqueeze(1)
        kept = control.detach() if self.stop_gradient else control
        return torch.cat((control, kept + self.uplift(uplift).transpose(0, 1)), dim=1)

    def value_states(self, base: Tensor, uplift: Tensor) -> Tensor:
        """What the value is read from under every arm, [batch, K + 1, width + uplift_width].

        The control's state beside zeros, or beside the state of the coupon: the head is linear in them, so the value
        under a coupon too is that of control plus a part of the coupon.
        """
        kept = (base.detach() if self.stop_gradient else base).expand(uplift.shape[0], -1, -1)
        control = torch.cat((base, torch.zeros_like(uplift[0])), dim=-1)
        coupons = torch.cat((kept, uplift), dim=-1)
        return torch.cat((control.unsqueeze(1), coupons.transpose(0, 1)), dim=1)

    @torch.no_grad()
    def start_at(self, rates: Tensor) -> None:
        """Set the biases so that the first predictions are about the base `rates` [stage] under every arm."""
        self.natural.start_at(rates)
        nn.init.zeros_(self.uplift.bias)


class EfinNetwork(FieldNetwork):
    """EFIN for K coupons and control, and a chain of 1..N binary stages.

    Four modules (section 4): (1) field and coupon embeddings (eq. 3); (2) self-interaction, which gives the natural
    response y(0) from all fields and no coupon (eq. 4-7); (3) treatment-aware interaction, which gives the uplift of
    coupon k from the fields that its attention picks (eq. 8-10), so that y(k) = y(0) + tau_k (eq. 11-12); (4) the
    intervention constraint, which predicts from the same picked fields whether the row was treated and is trained on the
    reversed label (eq. 13-14), so that both groups come to look alike there.

    Several coupons: in the paper the treatment is a feature, all treatments share one uplift tower, and they differ by
    their embedding in the attention alone (`shared_uplift`). Weights of fields that sum to one can hardly tell a coupon
    that helps some customers from one that harms the same customers, so by default every coupon has a tower of its own.
    The constraint has one logit per coupon, on the rows of that coupon and of control. With one coupon both are the
    authors' code. Several stages: y(0) and tau_k have a logit per stage, and rates are multiplied along the chain as in
    ECUP.

    How rates stay in (0, 1): the sum of eq. 11 is one of logits, with cross-entropy. The authors' code adds unbounded scores
    and takes squared errors; a sum of rates could leave (0, 1), and break the order of the stages in a chain. As in their
    code a coupon's rows do not move the logits of y(0) (`stop_gradient`; they do train the embeddings), the embeddings
    are divided, coordinate by coordinate, by their length over the fields before the self-attention, and they are as wide
    as N(0, 1). The ridge term of eq. 2 is left to ``weight_decay``.

    Parameters
    ----------
    shape : ChainShape
        Sizes.
    hidden, uplift_hidden : tuple of int
        Widths of the layers of the control tower and of the coupons' towers.
    shared_uplift : bool
        Whether all coupons share one tower.
    constraint_weight : float
        Weight of the intervention constraint.
    stop_gradient : bool
        Whether coupon rows leave the natural response as it is.
    generator : torch.Generator
        Source of the initial weights.

    Examples
    --------
    >>> network = EfinNetwork(
    ...     ChainShape(numeric_fields=12, arms=5, stages=2, embedding_dim=16), hidden=(64, 32), uplift_hidden=(16, 8),
    ...     shared_uplift=False, constraint_weight=1.0, stop_gradient=True, generator=torch.Generator().manual_seed(0))
    >>> numeric, categorical = torch.randn(4, 12), torch.zeros(4, 0, dtype=torch.int32)
    >>> network.all_arms(numeric, categorical).logits.shape
    torch.Size([4, 5, 2])
    """

    heads: NaturalAndUplift

    def __init__(
        self,
        shape: ChainShape,
        *,
        hidden: tuple[int, ...],
        uplift_hidden: tuple[int, ...],
        shared_uplift: bool,
        constraint_weight: float,
        stop_gradient: bool,
        generator: torch.Generator,
    ) -> None:
        super().__init__(shape, generator=generator)
        self.constraint_weight = constraint_weight
        self.dim = dim = shape.embedding_dim
        coupons = self.arms - 1
        self.self_interaction = SelfInteraction(dim, generator=generator)
        self.control = DenseLayers(self.inputs.width, hidden, generator=generator)
        self.interaction = TreatmentInteraction(dim, coupons, generator=generator)
        towers = 1 if shared_uplift else coupons
        self.coupon = Hypotheses(inputs=dim, widths=uplift_hidden, arms=towers, generator=generator)
        self.heads = NaturalAndUplift(
            hidden[-1],
            uplift_hidden[-1],
            towers,
            self.stages,
            stop_gradient=stop_gradient,
            generator=generator,
        )
        self.constraint = ArmHeads(uplift_hidden[-1], towers, 1, generator=generator)
        self.value = shape.value_head(hidden[-1] + uplift_hidden[-1], generator=generator)
        # The attention of one coupon after another, and of all fields among themselves.
        largest = (self.inputs.width, self.inputs.fields**2, *hidden)
        self._widest = max(*largest, *(coupons * width for width in (dim, *uplift_hidden)))

    @property
    def floats_per_row(self) -> int:
        """The widest layer, over all arms."""
        return self._widest

    def _states(self, numeric: Tensor, categorical: Tensor) -> tuple[Tensor, Tensor]:
        """Last hidden states of the control [batch, width] and of every coupon [K, batch, width]."""
        # As wide as the authors' embeddings, N(0, 1): a mean of small ones would leave the uplift tower nothing to see.
        fields = (3 * self.dim) ** 0.5 * self.inputs.stacked(numeric, categorical)
        alike = nn.functional.normalize(fields, dim=1, eps=1e-4)
        base = self.control(self.self_interaction(alike).flatten(1))
        return base, self.coupon(self.interaction(fields))

    def _outcomes(self, base: Tensor, uplift: Tensor) -> ChainOutput:
        value = None if self.value is None else self.value(self.heads.value_states(base, uplift))
        return ChainOutput(self.heads(base, uplift), value)

    def forward(self, numeric: Tensor, categorical: Tensor, treatment: Tensor) -> ChainOutput:
        """Outcomes under one arm per row; in training with the constraint's logits. See :meth:`ChainNetwork.forward`."""
        base, uplift = self._states(numeric, categorical)
        output = received(self._outcomes(base, uplift), treatment)
        if not self.training:
            return output
        return output._replace(extras={"treated": self.constraint(uplift).squeeze(-1).transpose(0, 1)})

    def all_arms(self, numeric: Tensor, categorical: Tensor) -> ChainOutput:
        """Outcomes under every arm: logits [batch, arm, stage], value [batch, arm, k]."""
        return self._outcomes(*self._states(numeric, categorical))

    def penalty(self, output: ChainOutput, rows: Rows) -> Tensor:
        """Weighted intervention constraint []: cross-entropy of "has not coupon k" on its rows and control's, mean over k."""
        assert output.extras is not None
        return self.constraint_weight * reversed_treatment_loss(output.extras["treated"], rows)


def reversed_treatment_loss(logits: Tensor, rows: Rows) -> Tensor:
    """Cross-entropy against the reversed treatment (eq. 14) [], from logits [row, K] of "treated with coupon k".

    Mean over the coupons, each on its own rows and those of control: rows of other coupons say nothing of this one.
    """
    coupons = torch.arange(1, 1 + logits.shape[1], device=logits.device)
    mine = rows.treatment.unsqueeze(1) == coupons
    weights = (mine | (rows.treatment == 0).unsqueeze(1)).to(logits.dtype)
    if rows.weights is not None:
        weights = weights * rows.weights.unsqueeze(1)
    losses = nn.functional.binary_cross_entropy_with_logits(
        logits, (~mine).to(logits.dtype), reduction="none"
    )
    tiny = torch.finfo(logits.dtype).tiny
    return ((weights * losses).sum(0) / weights.sum(0).clamp_min(tiny)).mean()


@dataclass(kw_only=True, eq=False, repr=False)
class EFIN(DeepModel):
    """Explicit feature interaction-aware uplift network: natural response by self-attention, uplift by the coupon's.

    See :class:`~uplift.models.neural.model.NeuralModel` for how it is trained and :class:`EfinNetwork` for what is
    generalised to several arms and stages, and where it differs from the authors' code.

    Parameters
    ----------
    embedding_dim : int
        Embedding size d of every field and coupon. Authors: 32, 64 or 128.
    hidden : sequence of int
        Widths of the layers of the natural response. Authors: h, h, h / 2, h / 4 with h = 32, 64 or 128.
    uplift_hidden : sequence of int
        Widths of the layers of the uplift. Authors: d, d / 2, d / 4, of a larger d.
    shared_uplift : bool
        Whether all coupons share one uplift tower, as the paper has it, or have one each.
    constraint_weight : float
        Weight of the intervention constraint. Authors: 1.
    stop_gradient : bool
        Whether the rows of coupons leave the logits of the natural response as they are, so that these learn from control
        alone (the authors' code), or train them as part of theirs.

    References
    ----------
    Liu, Tang, Gao, Lyu, He, Explicit feature interaction-aware uplift network for online marketing, KDD 2023,
    doi 10.1145/3580305.3599820.

    Examples
    --------
    >>> EFIN(embedding_dim=64).get_params()["uplift_hidden"]
    (32, 16)
    """

    name: ClassVar[str] = "efin"
    rules: ClassVar[Mapping[str, Rule]] = {
        "hidden": Each(Whole(1), least=1),
        "uplift_hidden": Each(Whole(1), least=1),
        "shared_uplift": Flag(),
        "constraint_weight": Number(0),
        "stop_gradient": Flag(),
        **DeepModel.rules,
    }

    hidden: Sequence[int] = (64, 32)
    uplift_hidden: Sequence[int] = (32, 16)
    shared_uplift: bool = False
    constraint_weight: float = 1.0
    stop_gradient: bool = True

    def _network(self, shape: ChainShape, generator: torch.Generator) -> EfinNetwork:
        return EfinNetwork(
            shape,
            hidden=tuple(self.hidden),
            uplift_hidden=tuple(self.uplift_hidden),
            shared_uplift=self.shared_uplift,
            constraint_weight=self.constraint_weight,
            stop_gradient=self.stop_gradient,
            generator=generator,
        )
