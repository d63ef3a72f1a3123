"""The objective (section 3): cross-entropy of every stage in the entire space, formed in log space."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

LossSpace = Literal["entire", "conditional", "independent"]


def chain_log_probabilities(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Log probabilities of reaching and of not reaching each stage.

    ``log P_s = sum_{j<=s} logsigmoid(a_j)`` and ``log(1 - P_s) = log1mexp(log P_s)``. The textbook form of
    log1mexp has an infinite gradient at P_s = 1. So it is used below 1/2, where it is exact for rare stages;
    above, the same number comes from the recursion ``1 - P_s = (1 - P_{s-1}) + P_{s-1} (1 - p_s)``, whose
    gradient is bounded whatever the logits.

    Parameters
    ----------
    logits : Tensor [..., stage]
        Logits of each stage given the one before.

    Returns
    -------
    tuple of Tensor [..., stage]
        log P and log(1 - P), finite for finite logits.

    Examples
    --------
    >>> log_p, log_not = chain_log_probabilities(torch.tensor([[0.0, 0.0, 0.0]]))
    >>> [round(x, 4) for x in log_p.exp()[0].tolist()], [round(x, 4) for x in log_not.exp()[0].tolist()]
    ([0.5, 0.25, 0.125], [0.5, 0.75, 0.875])
    """
    steps = logsigmoid(logits)
    stops = logsigmoid(-logits)
    log_p = steps.cumsum(-1)
    log_nots = [stops[..., 0]]
    for stage in range(1, logits.shape[-1]):
        summed = torch.logaddexp(log_nots[-1], log_p[..., stage - 1] + stops[..., stage])
        rare = log_p[..., stage] < -math.log(2)
        # The clamp keeps the branch that is not taken finite, so that no NaN enters through the gradient of where().
        direct = torch.log1p(-log_p[..., stage].clamp(max=-math.log(2)).exp())
        log_nots.append(torch.where(rare, direct, summed))
    return log_p, torch.stack(log_nots, dim=-1)


def stage_losses(
    logits: Tensor, outcomes: Tensor, *, weights: Tensor | None = None, space: LossSpace = "entire"
) -> Tensor:
    """Weighted cross-entropy of each row and stage; the mean over rows is the loss of the stage.

    `logits` are those of the arm the row received.

    Parameters
    ----------
    logits : Tensor [row, ..., stage]
        Logits of each stage given the one before.
    outcomes : Tensor [row, ..., stage]
        0 or 1; axes between row and stage broadcast against those of `logits`.
    weights : Tensor [row, ...], optional
        Row weights with mean about 1.
    space : {"entire", "conditional", "independent"}
        ``"entire"`` (the paper): every stage on every row, on its rate in the entire space. ``"conditional"``:
        every stage on the rows that reached the stage before, which conditions on a post-treatment event; an
        ablation that shows the chain bias. ``"independent"``: no chain, the logits are those of the rates in the
        entire space themselves; another ablation.

    Returns
    -------
    Tensor [row, ..., stage]

    Examples
    --------
    >>> outcomes = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    >>> stage_losses(torch.zeros(2, 2), outcomes).mean(0)
    tensor([0.6931, 0.2877])
    >>> stage_losses(torch.zeros(2, 2), outcomes, space="conditional").mean(0)
    tensor([0.6931, 0.6931])
    """
    if space == "entire":
        log_p, log_not = chain_log_probabilities(logits)
        losses = -(outcomes * log_p + (1 - outcomes) * log_not)
        return losses if weights is None else weights.unsqueeze(-1) * losses
    losses = -(outcomes * logsigmoid(logits) + (1 - outcomes) * logsigmoid(-logits))
    if space == "independent":
        return losses if weights is None else weights.unsqueeze(-1) * losses
    reached = torch.cat((torch.ones_like(outcomes[..., :1]), outcomes[..., :-1]), dim=-1)
    if weights is not None:
        reached = reached * weights.unsqueeze(-1)
    # Divided by the share of rows that count, so that the mean over all rows is the mean over those.
    return reached * losses / reached.mean(0).clamp_min(torch.finfo(losses.dtype).tiny)
