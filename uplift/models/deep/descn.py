"""DESCN: responses in the entire space of treatments, crossed by a pseudo effect (Zhong et al., KDD 2022)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from uplift.models.deep.hypotheses import ArmHeads, Hypotheses, every_arm
from uplift.models.deep.propensity import assignment_losses, odds_against_others
from uplift.models.deep.scaffold import ChainShape, DeepModel, FieldNetwork
from uplift.models.neural.engine import received
from uplift.models.neural.layers import Dense, DenseLayers
from uplift.models.neural.loss import LossSpace, stage_losses
from uplift.models.neural.network import ChainOutput
from uplift.models.neural.rows import Rows
from uplift.models.parameters import Each, Flag, Number, Rule, Whole


def entire_space_losses(
    propensity: Tensor,
    logits: Tensor,
    treatment: Tensor,
    outcomes: Tensor,
    *,
    weights: Tensor | None = None,
    space: LossSpace = "entire",
) -> Tensor:
    """Cross-entropy of "received arm a and reached stage s" against ``pi_a P_s(a)``, on every row, for every arm.

    ESTR and ESCR of the paper: ``P(Y, W = 1 | x) = mu_1 pi`` and ``P(Y, W = 0 | x) = mu_0 (1 - pi)``. The assignment is
    one more stage in front of the chain, so that the product and its complement are formed in log space as those of the
    chain are.

    Parameters
    ----------
    propensity : Tensor [row, arm]
        Softmax logits of the arm.
    logits : Tensor [row, arm, stage]
        Logits of the stages under every arm.
    treatment : Tensor [row]
        Arm received.
    outcomes : Tensor [row, stage]
        0 or 1.
    weights : Tensor [row], optional
        Row weights.
    space : {"entire", "conditional", "independent"}
        What the logits mean. In the conditional space everything before a stage is conditioned on, the assignment too:
        then these are the losses of every arm on its own rows, and the propensity has no part in them.

    Returns
    -------
    Tensor [row, arm, stage]

    Examples
    --------
    >>> losses = entire_space_losses(
    ...     torch.zeros(1, 2), torch.zeros(1, 2, 1), torch.tensor([1]), torch.tensor([[1.0]]))
    >>> losses.squeeze()  # -log(1 - 1/4) of the other arm, -log(1/4) of its own
    tensor([0.2877, 1.3863])
    """
    arms = logits.shape[1]
    first = odds_against_others(propensity).unsqueeze(-1)
    own = nn.functional.one_hot(treatment, arms).to(outcomes.dtype).unsqueeze(-1)
    reached = own * outcomes.unsqueeze(1)
    row_weights = None if weights is None else weights.unsqueeze(1).expand(-1, arms)
    if space == "independent":
        stages = [
            stage_losses(
                torch.cat((first, logits[..., stage : stage + 1]), dim=-1),
                torch.cat((own, reached[..., stage : stage + 1]), dim=-1),
                weights=row_weights,
            )[..., 1]
            for stage in range(logits.shape[-1])
        ]
        return torch.stack(stages, dim=-1)
    chain, seen = torch.cat((first, logits), dim=-1), torch.cat((own, reached), dim=-1)
    return stage_losses(chain, seen, weights=row_weights, space=space)[..., 1:]


class DescnNetwork(FieldNetwork):
    """DESCN for K + 1 arms and a chain of 1..N binary stages.

    The paper's figure 1(c): shared layers, then a network each for the propensity pi, the treated and the control
    response mu_1 and mu_0, and the pseudo treatment effect tau' (PTE). The loss is ``L = a L_pi + b1 L_ESTR + b0 L_ESCR +
    g1 L_CrossTR + g0 L_CrossCR``: the first three in the entire space of treatments (:func:`entire_space_losses`), so
    that every row trains the response of every arm; the cross losses on ``sigma(logit mu_0 + tau')`` for treated rows and
    ``sigma(logit mu_1 - tau')`` for control rows, which tie the two responses together. Uplift is mu_1 - mu_0 as in the
    authors' code; the PTE is used in training alone.

    Several arms: the propensity is a softmax over K + 1 arms, every arm has a response network and an entire-space
    response pi_a mu_a (they add up to the rate whatever the arm), and every coupon has a PTE network, whose cross losses
    are on the rows of the coupon and of control. The loss is the sum over the coupons of the paper's for that coupon and
    control, so that ESCR counts K times; the propensity's is there once. With one coupon it is the paper's.

    Several stages: responses and PTE have a logit per stage, and rates are multiplied along the chain as in ECUP. "Entire
    space" has two meanings that go together: over treatments here, over the chain there.

    As in the authors' code, all arms count alike in the entire-space losses however many rows they have
    (``reweight_sample``), and cross losses are means over their own rows. Those are multiplied by 2 / (K + 1), which is 1
    for one coupon: in the entire-space losses an arm's own rows are 1 / (K + 1) of all, and without the factor the cross
    losses would weigh ever more against them.

    Different from the authors' code: the representation is divided by its length only on request (`fixed_length`), and
    then has length sqrt(width) in place of 1, since with entries as small the networks above learn slowly; no dropout
    (as in their ACIC configuration); propensities are not clipped, because the losses are formed in log space; and the
    propensity's loss is not reweighted.

    Parameters
    ----------
    shape : ChainShape
        Sizes.
    representation, hidden : tuple of int
        Widths of the shared layers, and of those of each network on them.
    fixed_length : bool
        Whether the representation is scaled to length sqrt(width).
    propensity_weight, treated_weight, control_weight, cross_treated_weight, cross_control_weight, response_weight : float
        Weights of the losses, see :class:`DESCN`.
    stage_weights : tuple of float
        Weight of each binary stage in every loss.
    generator : torch.Generator
        Source of the initial weights.

    Examples
    --------
    >>> network = DescnNetwork(
    ...     ChainShape(numeric_fields=12, arms=5, stages=2, embedding_dim=16), representation=(64, 32), hidden=(32,),
    ...     fixed_length=True, propensity_weight=0.5, treated_weight=0.5, control_weight=1.0, cross_treated_weight=1.0,
    ...     cross_control_weight=0.5, response_weight=0.0, stage_weights=(1.0, 1.0),
    ...     generator=torch.Generator().manual_seed(0))
    >>> numeric, categorical = torch.randn(4, 12), torch.zeros(4, 0, dtype=torch.int32)
    >>> network.all_arms(numeric, categorical).logits.shape
    torch.Size([4, 5, 2])
    >>> output = network(numeric, categorical, torch.tensor([0, 1, 0, 4]))
    >>> {name: tuple(extra.shape) for name, extra in output.extras.items()}
    {'propensity': (4, 5), 'logits': (4, 5, 2), 'pseudo': (4, 4, 2)}
    """

    heads: ArmHeads

    def __init__(
        self,
        shape: ChainShape,
        *,
        representation: tuple[int, ...],
        hidden: tuple[int, ...],
        fixed_length: bool,
        propensity_weight: float,
        treated_weight: float,
        control_weight: float,
        cross_treated_weight: float,
        cross_control_weight: float,
        response_weight: float,
        stage_weights: tuple[float, ...],
        generator: torch.Generator,
    ) -> None:
        super().__init__(shape, generator=generator)
        self.fixed_length = fixed_length
        self.propensity_weight = propensity_weight
        self.treated_weight, self.control_weight = treated_weight, control_weight
        self.cross_treated_weight, self.cross_control_weight = cross_treated_weight, cross_control_weight
        self.response_weight = response_weight
        self.stage_weights = stage_weights
        width = representation[-1]
        self.representation = DenseLayers(self.inputs.width, representation, generator=generator)
        self.responses = Hypotheses(inputs=width, widths=hidden, arms=self.arms, generator=generator)
        self.heads = ArmHeads(hidden[-1], self.arms, self.stages, generator=generator)
        self.value = shape.value_head(hidden[-1], generator=generator)
        self.assignment = DenseLayers(width, hidden, generator=generator)
        self.propensity = Dense(hidden[-1], self.arms, generator=generator)
        self.pseudo = Hypotheses(inputs=width, widths=hidden, arms=self.arms - 1, generator=generator)
        self.effect = ArmHeads(hidden[-1], self.arms - 1, self.stages, generator=generator)
        self._widest = max(self.inputs.width, *representation, *(self.arms * size for size in hidden))

    @property
    def floats_per_row(self) -> int:
        """The widest layer, over all arms."""
        return self._widest

    def represent(self, numeric: Tensor, categorical: Tensor) -> Tensor:
        """The shared representation [batch, representation[-1]]."""
        shared: Tensor = self.representation(self.inputs.flat(numeric, categorical))
        if not self.fixed_length:
            return shared
        # Length sqrt(width) in place of 1: entries of order 1, which the layers above are initialised for.
        result: Tensor = shared.shape[-1] ** 0.5 * nn.functional.normalize(shared, eps=1e-4)
        return result

    def forward(self, numeric: Tensor, categorical: Tensor, treatment: Tensor) -> ChainOutput:
        """Outcomes under one arm per row; in training with what the losses need. See :meth:`ChainNetwork.forward`."""
        shared = self.represent(numeric, categorical)
        everything = every_arm(self.responses(shared), self.heads, self.value)
        output = received(everything, treatment)
        if not self.training:
            return output
        extras = {
            "propensity": self.propensity(self.assignment(shared)),
            "logits": everything.logits,
            "pseudo": self.effect(self.pseudo(shared)).transpose(0, 1),
        }
        return output._replace(extras=extras)

    def all_arms(self, numeric: Tensor, categorical: Tensor) -> ChainOutput:
        """Outcomes under every arm: logits [batch, arm, stage], value [batch, arm, k]."""
        return every_arm(self.responses(self.represent(numeric, categorical)), self.heads, self.value)

    def penalty(self, output: ChainOutput, rows: Rows) -> Tensor:
        """All losses but that of the value, less those of the outcomes that training has added already []."""
        assert output.extras is not None
        propensity, logits, pseudo = (output.extras[name] for name in ("propensity", "logits", "pseudo"))
        own = nn.functional.one_hot(rows.treatment, self.arms).to(logits.dtype)
        stages = logits.new_tensor(self.stage_weights)
        counts = own.sum(0)
        alike = 1 / (self.arms * (counts / len(own)).clamp_min(1 / len(own)))  # weight of a row by its arm
        balance = alike[rows.treatment]
        weights = balance if rows.weights is None else balance * rows.weights
        spaces = entire_space_losses(
            propensity, logits, rows.treatment, rows.outcomes, weights=weights, space=self.loss_space
        )
        control, treated = (spaces @ stages).mean(0).split((1, self.arms - 1))
        cross_treated, cross_control = self.cross_losses(logits, pseudo, rows)
        # Training has added the responses' own losses (TR and CR), which the authors leave out.
        factual = stage_losses(output.logits, rows.outcomes, weights=rows.weights, space=self.loss_space)
        result: Tensor = (
            self.propensity_weight * assignment_losses(propensity, rows).mean()
            + (self.arms - 1) * self.control_weight * control.sum()
            + self.treated_weight * treated.sum()
            + self.cross_treated_weight * cross_treated
            + self.cross_control_weight * cross_control
            + (self.response_weight - 1) * (factual @ stages).mean()
        )
        return result

    def cross_losses(self, logits: Tensor, pseudo: Tensor, rows: Rows) -> tuple[Tensor, Tensor]:
        """Cross TR and cross CR, sums over the coupons times 2 / (K + 1) [].

        The response under coupon k crossed from control, ``a_0 + tau'_k``, on the rows of coupon k; and that under control
        crossed from the coupon, ``a_k - tau'_k``, on the rows of control.
        """
        crossed = torch.cat((logits[:, :1] + pseudo, logits[:, 1:] - pseudo), dim=1)
        arms = torch.arange(self.arms, device=logits.device)
        mine = torch.cat(
            (arms[1:], torch.zeros_like(arms[1:]))
        )  # whose rows each of the 2 K is compared with
        weights = (rows.treatment.unsqueeze(1) == mine).to(logits.dtype)
        if rows.weights is not None:
            weights = weights * rows.weights.unsqueeze(1)
        weights = weights / weights.mean(0).clamp_min(torch.finfo(weights.dtype).tiny)
        losses = stage_losses(crossed, rows.outcomes.unsqueeze(1), weights=weights, space=self.loss_space)
        treated, control = (losses @ logits.new_tensor(self.stage_weights)).mean(0).chunk(2)
        return 2 / self.arms * treated.sum(), 2 / self.arms * control.sum()


@dataclass(kw_only=True, eq=False, repr=False)
class DESCN(DeepModel):
    """Deep entire space cross networks: propensity, responses and pseudo effects, learned together.

    See :class:`~uplift.models.neural.model.NeuralModel` for how it is trained and :class:`DescnNetwork` for what is
    generalised to several arms and stages, and where it differs from the authors' code. The weights of the losses are
    those of the authors' configuration for their voucher data (``conf4models/lzd_real_data/DESCN.txt``).

    In randomised campaigns of some ten thousand customers expect rankings below TARNet's: there is no treatment bias to
    correct, and the cross losses pull the responses of coupon and control towards one another until the pseudo effects
    are learned. With ``cross_treated_weight=0, cross_control_weight=0`` (the paper's entire-space network) or
    ``response_weight=1`` much of the difference goes.

    Parameters
    ----------
    embedding_dim : int
        Embedding size d of every field.
    representation : sequence of int
        Widths of the shared layers. Authors: 128, 128, 64.
    hidden : sequence of int
        Widths of the layers of the propensity, of each response and of each pseudo effect. Authors: three of 64.
    fixed_length : bool
        Whether the shared representation is divided by its length, as in both of the authors' configurations. It leaves
        nothing but a direction; in simulated campaigns rankings were better without.
    propensity_weight : float
        Weight of the cross-entropy of the received arm (alpha; ``prpsy_w``).
    treated_weight, control_weight : float
        Weights of the entire-space losses ESTR and ESCR (beta_1, beta_0; ``escvr1_w``, ``escvr0_w``).
    cross_treated_weight, cross_control_weight : float
        Weights of the cross losses (gamma_1, gamma_0; ``mu1hat_w``, ``mu0hat_w``).
    response_weight : float
        Weight of the responses' own losses TR and CR on the rows of each arm (``h1_w`` and ``h0_w``), which the paper's
        X-network has and DESCN leaves out: 0.

    References
    ----------
    Zhong, Xiao, Ren, Liang, Yao, Yang, Cen, DESCN: deep entire space cross networks for individual treatment effect
    estimation, KDD 2022, doi 10.1145/3534678.3539198. Code: kailiang-zhong/DESCN (``main.py``).

    Examples
    --------
    >>> DESCN(treated_weight=1.0).get_params()["control_weight"]
    1.0
    """

    name: ClassVar[str] = "descn"
    rules: ClassVar[Mapping[str, Rule]] = {
        "representation": Each(Whole(1), least=1),
        "hidden": Each(Whole(1), least=1),
        "fixed_length": Flag(),
        "propensity_weight": Number(0),
        "treated_weight": Number(0),
        "control_weight": Number(0),
        "cross_treated_weight": Number(0),
        "cross_control_weight": Number(0),
        "response_weight": Number(0),
        **DeepModel.rules,
    }

    representation: Sequence[int] = (128, 64)
    hidden: Sequence[int] = (64, 32)
    fixed_length: bool = False
    propensity_weight: float = 0.5
    treated_weight: float = 0.5
    control_weight: float = 1.0
    cross_treated_weight: float = 1.0
    cross_control_weight: float = 0.5
    response_weight: float = 0.0

    def _network(self, shape: ChainShape, generator: torch.Generator) -> DescnNetwork:
        weights = (1.0,) * shape.stages if self.stage_weights is None else self.stage_weights
        return DescnNetwork(
            shape,
            representation=tuple(self.representation),
            hidden=tuple(self.hidden),
            fixed_length=self.fixed_length,
            propensity_weight=self.propensity_weight,
            treated_weight=self.treated_weight,
            control_weight=self.control_weight,
            cross_treated_weight=self.cross_treated_weight,
            cross_control_weight=self.cross_control_weight,
            response_weight=self.response_weight,
            stage_weights=tuple(weights),
            generator=generator,
        )
