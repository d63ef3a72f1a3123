"""Dragonnet: TARNet with a propensity head, and targeted regularisation (Shi, Blei, Veitch, NeurIPS 2019)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn

from uplift.models.deep.scaffold import ChainShape
from uplift.models.deep.tarnet import TARNet, TarnetNetwork
from uplift.models.neural.engine import received
from uplift.models.neural.layers import Dense
from uplift.models.neural.loss import LossSpace, chain_log_probabilities
from uplift.models.neural.network import ChainOutput
from uplift.models.neural.rows import Rows
from uplift.models.parameters import Number, Rule

FLOOR = 0.01
"""Least propensity that is divided by."""


def contrasts(propensity: Tensor, treatment: Tensor) -> Tensor:
    """The weights h of every treated arm against control, [row, K].

    ``h_k = 1[t = k] / g_k - 1[t = 0] / g_0``: for two arms the paper's ``t / g - (1 - t) / (1 - g)``.

    Parameters
    ----------
    propensity : Tensor [row, K + 1]
        Probability g of each arm; less than `FLOOR` counts as that.
    treatment : Tensor [row]
        Arm received, 0 = control.

    Examples
    --------
    >>> contrasts(torch.tensor([[0.5, 0.25, 0.25], [0.5, 0.25, 0.25]]), torch.tensor([0, 2]))
    tensor([[-2., -2.],
            [ 0.,  4.]])
    """
    received_arm = nn.functional.one_hot(treatment, propensity.shape[1]).to(propensity.dtype)
    inverse = received_arm / propensity.clamp_min(FLOOR)
    return inverse[:, 1:] - inverse[:, :1]


def targeted_losses(
    logits: Tensor, outcomes: Tensor, h: Tensor, epsilon: Tensor, space: LossSpace = "entire"
) -> Tensor:
    """Cross-entropy of every stage at the perturbed rate ``sigmoid(logit Q + sum_k epsilon_k h_k)``, [row, stage].

    Q is the rate of the stage in the entire space under the arm the row received. Where the mean loss is least in
    epsilon, the mean of ``h_k (y - Q perturbed)`` is zero for every arm k and stage: the estimating equation of the
    average effect, so that the plug-in average of the perturbed rates is the doubly robust estimate.

    Parameters
    ----------
    logits : Tensor [row, stage]
        As the network gives them, under the arm received.
    outcomes : Tensor [row, stage]
        0 or 1.
    h : Tensor [row, K]
        See :func:`contrasts`.
    epsilon : Tensor [row or 1, K, stage]
        Perturbations.
    space : {"entire", "conditional", "independent"}
        What the logits mean.
    """
    if space == "independent":
        base = logits
    else:
        log_p, log_not = chain_log_probabilities(logits)
        base = log_p - log_not
    perturbed = base + (h.unsqueeze(-1) * epsilon).sum(1)
    return nn.functional.binary_cross_entropy_with_logits(perturbed, outcomes, reduction="none")


class DragonnetNetwork(TarnetNetwork):
    """TARNet whose representation also predicts the arm, and a perturbation per arm and stage.

    Parameters
    ----------
    shape : ChainShape
        Sizes of what goes in and comes out.
    representation, hidden : tuple of int
        Widths of the shared layers and of those of each arm.
    alpha, beta : float
        Weights of the propensity's cross-entropy and of the targeted regularisation; 0 for none.
    generator : torch.Generator
        Source of the initial weights. The global random state is not touched.

    Examples
    --------
    >>> network = DragonnetNetwork(
    ...     ChainShape(numeric_fields=12, arms=5, stages=2, embedding_dim=16), representation=(128, 64),
    ...     hidden=(64, 32), alpha=1.0, beta=1.0, generator=torch.Generator().manual_seed(0))
    >>> numeric, categorical = torch.randn(4, 12), torch.zeros(4, 0, dtype=torch.int32)
    >>> network(numeric, categorical, torch.tensor([0, 1, 0, 4])).extras["propensity"].shape
    torch.Size([4, 5])
    """

    def __init__(
        self,
        shape: ChainShape,
        *,
        representation: tuple[int, ...],
        hidden: tuple[int, ...],
        alpha: float,
        beta: float,
        generator: torch.Generator,
    ) -> None:
        super().__init__(shape, representation=representation, hidden=hidden, generator=generator)
        self.alpha = alpha
        self.beta = beta
        penalised = alpha > 0 or beta > 0
        self.propensity = Dense(representation[-1], shape.arms, generator=generator) if penalised else None
        perturbation = torch.zeros(shape.arms - 1, shape.stages, device=generator.device)
        self.epsilon_bias = nn.Parameter(perturbation) if beta > 0 else None  # "bias": no weight decay

    def forward(self, numeric: Tensor, categorical: Tensor, treatment: Tensor) -> ChainOutput:
        """Outcomes under one arm per row, and in training the propensity; inputs as in :meth:`ChainNetwork.forward`."""
        representation = self.represent(numeric, categorical)
        output = received(self.outcomes(representation), treatment)
        if not self.training or self.propensity is None:
            return output
        extras = {"propensity": self.propensity(representation)}
        if self.epsilon_bias is not None:
            extras["epsilon"] = self.epsilon_bias.expand(treatment.shape[0], -1, -1)
        return output._replace(extras=extras)

    def penalty(self, output: ChainOutput, rows: Rows) -> Tensor | None:
        """alpha times the propensity's cross-entropy plus beta times the targeted loss, summed over stages."""
        if output.extras is None:
            return None
        logits = output.extras["propensity"]
        losses = self.alpha * nn.functional.cross_entropy(logits, rows.treatment, reduction="none")
        if "epsilon" in output.extras:
            h = contrasts(logits.softmax(1), rows.treatment)
            targeted = targeted_losses(
                output.logits, rows.outcomes, h, output.extras["epsilon"], self.loss_space
            )
            losses = losses + self.beta * targeted.sum(1)
        return losses.mean() if rows.weights is None else (rows.weights * losses).mean()


@dataclass(kw_only=True, eq=False, repr=False)
class DragonNet(TARNet):
    """Dragonnet: TARNet with a propensity head on its representation, and targeted regularisation.

    The objective is that of the paper's sections 2 and 3: the loss of the outcomes, plus `alpha` times the
    cross-entropy of the propensity g, plus `beta` times the targeted loss of Q perturbed by epsilon h(t, x), whose
    least value in epsilon makes the average effect doubly robust (:func:`targeted_losses`). For K arms g is a softmax
    over K + 1 arms, linear in the representation, and h and epsilon exist for every coupon against control, each
    stage with an epsilon of its own. The paper perturbs Q by adding and takes the squared error; here outcomes are 0
    or 1, so that the logit of the stage's rate in the entire space is perturbed and the loss is the cross-entropy,
    which has the same stationary point and keeps rates in (0, 1). Single rows are scored with Q as it is: the
    perturbation serves the average effect. The value has no targeted loss.

    In a randomised campaign with constant arm shares the propensity is not there to be learned and `alpha` costs little;
    the targeted loss then ties the average of every arm to its outcomes.

    Parameters
    ----------
    alpha : float
        Weight of the propensity's cross-entropy, >= 0. Authors' code: 1.
    beta : float
        Weight of the targeted regularisation, >= 0; 0 leaves it out. Authors' code: 1.

    References
    ----------
    Shi, Blei, Veitch, Adapting neural networks for the estimation of treatment effects, NeurIPS 2019.

    Examples
    --------
    >>> DragonNet(beta=0.5).get_params()["alpha"]
    1.0
    """

    name: ClassVar[str] = "dragonnet"
    rules: ClassVar[Mapping[str, Rule]] = {"alpha": Number(0), "beta": Number(0), **TARNet.rules}

    alpha: float = 1.0
    beta: float = 1.0

    network_: DragonnetNetwork = field(init=False, repr=False)

    def _network(self, shape: ChainShape, generator: torch.Generator) -> DragonnetNetwork:
        return DragonnetNetwork(
            shape,
            representation=tuple(self.representation),
            hidden=tuple(self.hidden),
            alpha=self.alpha,
            beta=self.beta,
            generator=generator,
        )
