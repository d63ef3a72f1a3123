"""SNet: representations for the confounders, for the outcome, for every arm and for the assignment alone
(Curth, van der Schaar, AISTATS 2021)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from uplift.models.deep.hypotheses import ArmHeads, Hypotheses, every_arm
from uplift.models.deep.propensity import assignment_losses
from uplift.models.deep.scaffold import ChainShape, DeepModel, FieldNetwork
from uplift.models.neural.engine import received
from uplift.models.neural.layers import Dense, DenseLayers
from uplift.models.neural.network import ChainOutput
from uplift.models.neural.rows import Rows
from uplift.models.parameters import Each, Number, Rule, Whole


def shared_support(importances: Tensor) -> Tensor:
    """How much representations use the same inputs: ``mean over pairs r < s of sum_j A_rj A_sj``.

    Parameters
    ----------
    importances : Tensor [representation, input]
        Non-negative; two representations or more.

    Returns
    -------
    Tensor []
        0 exactly where no input is used by two representations.

    Examples
    --------
    >>> shared_support(torch.tensor([[1.0, 2.0, 0.0], [0.0, 0.0, 3.0]]))
    tensor(0.)
    >>> shared_support(torch.tensor([[1.0, 2.0], [3.0, 0.0], [0.0, 1.0]]))  # (3 + 2 + 0) / 3
    tensor(1.6667)
    """
    count = len(importances)
    # Half of (square of the sum less sum of the squares) holds every pair once; the explicit product keeps exact zeros.
    products = importances @ importances.T
    return products.triu(1).sum() / (count * (count - 1) / 2)


class SNetNetwork(FieldNetwork):
    """SNet for K + 1 arms and a chain of 1..N binary stages.

    The paper's SNet has five representations of the covariates, for two arms and one outcome: Phi_C of
    confounders (for the assignment and all outcomes), Phi_O of what all outcomes need, Phi_{mu_0} and Phi_{mu_1} of what
    one potential outcome needs, Phi_W of what the assignment alone needs. The outcome of an arm is read from [Phi_C, Phi_O,
    Phi_{mu_w}], the propensity from [Phi_C, Phi_W].

    Here there is a Phi_{mu_a} and a head for every arm, so K + 4 representations; every head gives the logits of all
    stages, which are multiplied along the chain as in ECUP; and the propensity is a softmax over the K + 1 arms.

    The objective adds the cross-entropy of the arm that was received, and an orthogonal regulariser by which no input
    belongs to two representations: with ``A_rj`` the importance of input j in representation r, the sum of |weights| that
    leave it in the first layer, ``sum_j A_rj A_sj`` over all pairs r < s. Three things differ from the authors' code
    (CATENets, ``jax/snet.py``). An input is a field, whose d embedding coordinates are summed over. The importance is a
    mean over the units of the layer in place of a sum, and the pairs are averaged in place of summed, so that neither
    width nor the number of arms sets the strength. And there is no ridge penalty unless ``weight_decay`` says so.

    Parameters
    ----------
    shape : ChainShape
        Sizes.
    representation : tuple of int
        Widths of the layers of Phi_C and Phi_W.
    private : tuple of int
        Widths of the layers of Phi_O and of every arm's Phi.
    hidden : tuple of int
        Widths of the layers of each head, the propensity's too.
    propensity_weight, orthogonality : float
        Weights of the propensity's cross-entropy and of the regulariser in the objective.
    generator : torch.Generator
        Source of the initial weights.

    Examples
    --------
    >>> network = SNetNetwork(
    ...     ChainShape(numeric_fields=12, arms=5, stages=2, embedding_dim=16), representation=(64, 32), private=(32, 16),
    ...     hidden=(32,), propensity_weight=1.0, orthogonality=0.1, generator=torch.Generator().manual_seed(0))
    >>> numeric, categorical = torch.randn(4, 12), torch.zeros(4, 0, dtype=torch.int32)
    >>> network.all_arms(numeric, categorical).logits.shape
    torch.Size([4, 5, 2])
    >>> network.importances().shape  # confounders, assignment, outcome, five arms; by field
    torch.Size([8, 12])
    """

    heads: ArmHeads

    def __init__(
        self,
        shape: ChainShape,
        *,
        representation: tuple[int, ...],
        private: tuple[int, ...],
        hidden: tuple[int, ...],
        propensity_weight: float,
        orthogonality: float,
        generator: torch.Generator,
    ) -> None:
        super().__init__(shape, generator=generator)
        self.propensity_weight = propensity_weight
        self.orthogonality = orthogonality
        width = self.inputs.width
        self.wide = Hypotheses(inputs=width, widths=representation, arms=2, generator=generator)
        self.narrow = Hypotheses(inputs=width, widths=private, arms=1 + self.arms, generator=generator)
        self.hypotheses = Hypotheses(
            inputs=representation[-1] + 2 * private[-1], widths=hidden, arms=self.arms, generator=generator
        )
        self.assignment = DenseLayers(2 * representation[-1], hidden, generator=generator)
        self.propensity = Dense(hidden[-1], self.arms, generator=generator)
        self.heads = ArmHeads(hidden[-1], self.arms, self.stages, generator=generator)
        self.value = shape.value_head(hidden[-1], generator=generator)
        joined = representation[-1] + 2 * private[-1]
        self._widest = max(width, *(self.arms * size for size in (joined, *private, *hidden)))

    @property
    def floats_per_row(self) -> int:
        """The widest layer, over all arms."""
        return self._widest

    def importances(self) -> Tensor:
        """Importance of every field in Phi_C, Phi_W, Phi_O and every arm's Phi, [K + 4, f], >= 0."""
        weights = (self.wide.weights[0], self.narrow.weights[0])
        by_coordinate = torch.cat([weight.abs().mean(-1) for weight in weights])
        result: Tensor = by_coordinate.unflatten(1, (self.inputs.fields, -1)).sum(-1)
        return result

    def forward(self, numeric: Tensor, categorical: Tensor, treatment: Tensor) -> ChainOutput:
        """Outcomes under one arm per row, and the logits of the arm it receives; see :meth:`ChainNetwork.forward`."""
        inputs = self.inputs.flat(numeric, categorical)
        confounders, assignment = self.wide(inputs)
        output = received(self._outcomes(confounders, inputs), treatment)
        if not self.training:
            return output
        propensity = self.propensity(self.assignment(torch.cat((confounders, assignment), dim=-1)))
        extras = {"propensity": propensity, "shared_support": shared_support(self.importances())}
        return output._replace(extras=extras)

    def all_arms(self, numeric: Tensor, categorical: Tensor) -> ChainOutput:
        """Outcomes under every arm: logits [batch, arm, stage], value [batch, arm, k]."""
        inputs = self.inputs.flat(numeric, categorical)
        return self._outcomes(self.wide(inputs)[0], inputs)

    def _outcomes(self, confounders: Tensor, inputs: Tensor) -> ChainOutput:
        outcome, *private = self.narrow(inputs)
        common = torch.cat((confounders, outcome), dim=-1).expand(self.arms, -1, -1)
        state = self.hypotheses(torch.cat((common, torch.stack(private)), dim=-1))
        return every_arm(state, self.heads, self.value)

    def penalty(self, output: ChainOutput, rows: Rows) -> Tensor:
        """Cross-entropy of the assignment and the orthogonal regulariser, weighted."""
        assert output.extras is not None
        losses = assignment_losses(output.extras["propensity"], rows)
        return self.propensity_weight * losses.mean() + self.orthogonality * output.extras["shared_support"]


@dataclass(kw_only=True, eq=False, repr=False)
class SNet(DeepModel):
    """SNet: shared, outcome, per-arm, assignment and confounder representations, kept apart by a regulariser.

    See :class:`~uplift.models.neural.model.NeuralModel` for how it is trained and :class:`SNetNetwork` for what is
    generalised to several arms and stages, and where it differs from the authors' code.

    In a randomised campaign the assignment depends on nothing and its representations learn little; they matter where
    the arms were chosen by the customers' features. Row weights (propensities, strata) weight the propensity's loss
    like the others: the propensity that it learns is then that of the reweighted campaign.

    Parameters
    ----------
    embedding_dim : int
        Embedding size d of every field.
    representation : sequence of int
        Widths of the layers of the confounders' and of the assignment's representation. Authors: three of 100.
    private : sequence of int
        Widths of the layers of the outcome's representation and of those of each arm. Authors: three of 50.
    hidden : sequence of int
        Widths of the layers of each head. Authors: two of 100.
    propensity_weight : float
        Weight of the cross-entropy of the received arm. Authors: 1.
    orthogonality : float
        Weight of the orthogonal regulariser. Authors: 0.01, of sums where means stand here.

    References
    ----------
    Curth, van der Schaar, Nonparametric estimation of heterogeneous treatment effects: from theory to learning
    algorithms, AISTATS 2021 (SNet; the regulariser is that of Wu et al., 2020). Code: CATENets.

    Examples
    --------
    >>> SNet(private=(16,)).get_params()["private"]
    (16,)
    """

    name: ClassVar[str] = "snet"
    rules: ClassVar[Mapping[str, Rule]] = {
        "representation": Each(Whole(1), least=1),
        "private": Each(Whole(1), least=1),
        "hidden": Each(Whole(1), least=1),
        "propensity_weight": Number(0),
        "orthogonality": Number(0),
        **DeepModel.rules,
    }

    representation: Sequence[int] = (64, 32)
    private: Sequence[int] = (32, 16)
    hidden: Sequence[int] = (64, 32)
    propensity_weight: float = 1.0
    orthogonality: float = 0.1

    def _network(self, shape: ChainShape, generator: torch.Generator) -> SNetNetwork:
        return SNetNetwork(
            shape,
            representation=tuple(self.representation),
            private=tuple(self.private),
            hidden=tuple(self.hidden),
            propensity_weight=self.propensity_weight,
            orthogonality=self.orthogonality,
            generator=generator,
        )
