"""Which epoch is kept, and when training stops."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

Criterion = Literal["qini", "loss"]


@dataclass(frozen=True)
class Candidate:
    """An epoch that may be kept: its validation loss per row [row], Qini and weights."""

    epoch: int
    row_losses: Tensor
    qini: float
    state: dict[str, Tensor]


class EpochSelection:
    """Early stopping and the choice of the epoch.

    ``"loss"`` keeps the epoch with the lowest validation loss. ``"qini"`` keeps the one with the highest Qini among
    the epochs whose validation loss is within one standard error (of the paired difference per row) of the lowest.
    The Qini alone is no safe guide: it ignores the scale of the effects and is noisy on a validation tenth, so that
    it often prefers the first epochs, whose effects are near zero.

    Training stops after `patience` epochs in which neither the loss nor, for ``"qini"``, the Qini got better.

    Parameters
    ----------
    criterion : {"qini", "loss"}
        What is compared.
    patience : int
        Epochs without progress before training stops.

    Examples
    --------
    >>> import torch
    >>> selection = EpochSelection(criterion="loss", patience=1)
    >>> for epoch, loss in enumerate((0.5, 0.3, 0.4), start=1):
    ...     selection.offer(Candidate(epoch, torch.full((4,), loss), 0.0, {}))
    >>> selection.exhausted, selection.chosen.epoch
    (True, 2)
    """

    def __init__(self, *, criterion: Criterion, patience: int) -> None:
        self.criterion = criterion
        self.patience = patience
        self._candidates: list[Candidate] = []
        self._lowest = math.inf
        self._highest = -math.inf
        self._idle = 0

    def offer(self, candidate: Candidate) -> None:
        """Take an epoch into account, in order of the epochs."""
        loss = float(candidate.row_losses.double().mean())
        progress = loss < self._lowest or (self.criterion == "qini" and candidate.qini > self._highest)
        self._idle = 0 if progress else self._idle + 1
        self._highest = max(self._highest, candidate.qini)
        self._candidates.append(candidate)
        if loss < self._lowest:
            self._lowest, best = loss, candidate
        else:
            best = min(self._candidates, key=lambda one: float(one.row_losses.double().mean()))
        self._candidates = [one for one in self._candidates if one is best or self._as_good(one, best)]

    @property
    def exhausted(self) -> bool:
        """Whether training should stop."""
        return self._idle >= self.patience

    @property
    def chosen(self) -> Candidate:
        """The epoch to keep, at least one having been offered."""
        return max(self._candidates, key=lambda one: (one.qini, -one.epoch))

    def _as_good(self, one: Candidate, best: Candidate) -> bool:
        if self.criterion == "loss":
            return False
        worse = (one.row_losses - best.row_losses).double()
        return bool(worse.mean() <= worse.std() / math.sqrt(len(worse)))
