"""CFR: TARNet whose representation is balanced between arms (Shalit, Johansson, Sontag, ICML 2017)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor

from uplift.models.deep.balance import Distance, imbalance, linear_mmd, rbf_mmd, sinkhorn, unit_spread
from uplift.models.deep.scaffold import ChainShape
from uplift.models.deep.tarnet import TARNet, TarnetNetwork
from uplift.models.neural.engine import received
from uplift.models.neural.network import ChainOutput
from uplift.models.neural.rows import Rows
from uplift.models.parameters import Choice, Flag, Number, Rule, Whole

Ipm = Literal["mmd", "linear_mmd", "wasserstein"]


class CfrnetNetwork(TarnetNetwork):
    """TARNet with a penalty on the distance between the representations of every arm and of control.

    Parameters
    ----------
    shape : ChainShape
        Sizes of what goes in and comes out.
    representation, hidden : tuple of int
        Widths of the shared layers and of those of each arm.
    distance : callable
        See :mod:`uplift.models.deep.balance`.
    alpha : float
        Weight of the penalty; 0 for none.
    unit_norm : bool
        Whether the representation is divided by its norm.
    equal_arms : bool
        Whether training weights the arms to equal size.
    generator : torch.Generator
        Source of the initial weights. The global random state is not touched.

    Examples
    --------
    >>> network = CfrnetNetwork(
    ...     ChainShape(numeric_fields=12, arms=5, stages=2, embedding_dim=16), representation=(128, 64),
    ...     hidden=(64, 32), distance=linear_mmd, alpha=1.0, unit_norm=True, equal_arms=True,
    ...     generator=torch.Generator().manual_seed(0))
    >>> numeric, categorical = torch.randn(4, 12), torch.zeros(4, 0, dtype=torch.int32)
    >>> network(numeric, categorical, torch.tensor([0, 1, 0, 4])).extras["representation"].shape
    torch.Size([4, 64])
    """

    def __init__(
        self,
        shape: ChainShape,
        *,
        representation: tuple[int, ...],
        hidden: tuple[int, ...],
        distance: Distance,
        alpha: float,
        unit_norm: bool,
        equal_arms: bool,
        generator: torch.Generator,
    ) -> None:
        super().__init__(shape, representation=representation, hidden=hidden, generator=generator)
        self.distance = distance
        self.alpha = alpha
        self.unit_norm = unit_norm
        self.equal_arms = equal_arms

    def represent(self, numeric: Tensor, categorical: Tensor) -> Tensor:
        """Phi(x) [batch, representation[-1]] from numeric [batch, p] and categorical codes [batch, q]."""
        state = super().represent(numeric, categorical)
        return torch.nn.functional.normalize(state, dim=1) if self.unit_norm else state

    def forward(self, numeric: Tensor, categorical: Tensor, treatment: Tensor) -> ChainOutput:
        """Outcomes under one arm per row, and in training the representation; inputs as in :meth:`ChainNetwork.forward`."""
        representation = self.represent(numeric, categorical)
        output = received(self.outcomes(representation), treatment)
        if not (self.training and self.alpha):
            return output
        return output._replace(extras={"representation": representation})

    def penalty(self, output: ChainOutput, rows: Rows) -> Tensor | None:
        """alpha times the mean distance between the arms' representations and control's, in this batch."""
        if output.extras is None:
            return None
        phi = unit_spread(output.extras["representation"])
        return self.alpha * imbalance(phi, rows.treatment, rows.weights, self.arms, self.distance)

    def weigh(self, rows: Rows) -> Rows:
        """Rows weighted so that every arm of the batch has the same mass, one (K + 1)-th of all."""
        if not self.equal_arms:
            return rows
        weights = torch.ones_like(rows.outcomes[:, 0]) if rows.weights is None else rows.weights
        masses = weights.new_zeros(self.arms).index_add(0, rows.treatment, weights)
        return replace(rows, weights=weights * (masses.sum() / (self.arms * masses))[rows.treatment])


@dataclass(kw_only=True, eq=False, repr=False)
class CFRNet(TARNet):
    """Counterfactual regression: TARNet with a representation that is alike for all arms.

    The objective is eq. 3 of the paper: the weighted loss of the outcomes plus `alpha` times an integral probability
    metric between the representations of treated and control rows. For K arms the metric is the mean over arms of
    that between the arm and control, each on the rows (and row weights) of the batch; an arm that the batch lacks
    counts as zero. The weights ``w_i = t_i / 2u + (1 - t_i) / 2(1 - u)`` become ``1 / ((K + 1) u_arm)``, with the
    shares u of the batch. Stages and value are as in TARNet. The paper's penalty on the size of the hypotheses is
    left to `weight_decay`. The metric is measured in units of the spread of the batch's representation, so that it
    cannot be lowered by making the representation small or, with the RBF kernel, large.

    In a randomised campaign the arms are alike in x, and so in any representation; what the penalty then sees is
    chance. Only the RBF MMD is zero in expectation there. The other two are lowered by a representation of fewer
    directions, the Wasserstein distance most of all, which costs effects when `alpha` is large: try 0.01.

    Parameters
    ----------
    ipm : {"mmd", "linear_mmd", "wasserstein"}
        Squared maximum mean discrepancy with an RBF kernel, or with linear functions (the distance of the means);
        or the Wasserstein distance by Sinkhorn's iteration (:mod:`uplift.models.deep.balance`).
    alpha : float
        Weight of the penalty, >= 0; 0 is TARNet. Paper: 10^(k/2), k = -10 to 6.
    unit_norm : bool
        Whether the representation of every row is divided by its norm, an option of the authors' code.
    equal_arms : bool
        Whether training weights the arms to equal size (w_i of the paper).
    kernel_width : float
        Width of the RBF kernel, in units of the spread of the representation.
    sinkhorn_sharpness : float
        Sharpness of the transport plan, lambda times the mean distance. Authors' code: 10.
    sinkhorn_iterations : int
        Iterations of Sinkhorn. Authors' code: 10.

    References
    ----------
    Shalit, Johansson, Sontag, Estimating individual treatment effect: generalization bounds and algorithms,
    ICML 2017.

    Examples
    --------
    >>> CFRNet(ipm="wasserstein").get_params()["sinkhorn_iterations"]
    10
    """

    name: ClassVar[str] = "cfrnet"
    rules: ClassVar[Mapping[str, Rule]] = {
        "ipm": Choice(*get_args(Ipm)),
        "alpha": Number(0),
        "unit_norm": Flag(),
        "equal_arms": Flag(),
        "kernel_width": Number(0, open_low=True),
        "sinkhorn_sharpness": Number(0, open_low=True),
        "sinkhorn_iterations": Whole(1),
        **TARNet.rules,
    }

    ipm: Ipm = "mmd"
    alpha: float = 1.0
    unit_norm: bool = False
    equal_arms: bool = True
    kernel_width: float = 1.0
    sinkhorn_sharpness: float = 10.0
    sinkhorn_iterations: int = 10

    network_: CfrnetNetwork = field(init=False, repr=False)

    def _network(self, shape: ChainShape, generator: torch.Generator) -> CfrnetNetwork:
        distances: dict[Ipm, Distance] = {
            "mmd": partial(rbf_mmd, width=self.kernel_width),
            "linear_mmd": linear_mmd,
            "wasserstein": partial(
                sinkhorn, sharpness=self.sinkhorn_sharpness, iterations=self.sinkhorn_iterations
            ),
        }
        return CfrnetNetwork(
            shape,
            representation=tuple(self.representation),
            hidden=tuple(self.hidden),
            distance=distances[self.ipm],
            alpha=self.alpha,
            unit_norm=self.unit_norm,
            equal_arms=self.equal_arms,
            generator=generator,
        )
