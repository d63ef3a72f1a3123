"""Losses of networks that also predict which arm a row received."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from uplift.models.neural.rows import Rows


def assignment_losses(logits: Tensor, rows: Rows) -> Tensor:
    """Weighted cross-entropy of the received arm [row], from its logits [row, arm].

    Row weights apply as to the outcomes: where they undo how arms were chosen, what is learned is the assignment of
    the reweighted rows.
    """
    losses = nn.functional.cross_entropy(logits, rows.treatment, reduction="none")
    return losses if rows.weights is None else rows.weights * losses


def odds_against_others(logits: Tensor) -> Tensor:
    """Logit of every arm's own probability, ``log pi_a - log(1 - pi_a)`` [row, arm], from softmax logits [row, arm].

    ``z_a`` less the log-sum-exp of the other arms' logits: exact where a probability rounds to 0 or 1.

    Examples
    --------
    >>> odds = odds_against_others(torch.tensor([[0.0, 1.0, 2.0]]))
    >>> torch.allclose(torch.sigmoid(odds), torch.softmax(torch.tensor([[0.0, 1.0, 2.0]]), dim=1))
    True
    """
    arms = logits.shape[-1]
    own = torch.eye(arms, dtype=torch.bool, device=logits.device)
    others = logits.unsqueeze(-2).masked_fill(own, float("-inf")).logsumexp(-1)
    return logits - others
