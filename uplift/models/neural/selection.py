"""Which epoch is kept, and when training stops."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

Criterion = Literal["qini", "loss", "last"]


@dataclass(frozen=True)
class Candidate:
    """An epoch that may be kept: its validation loss per row [row], Qini and weights."""

    epoch: int
    row_losses: Tensor
    qini: float
    state: dict[str, Tensor]


@dataclass(frozen=True)
class SelectionState:
    """What a selection has seen, for a checkpoint: tensors by name, and numbers as JSON types."""

    tensors: dict[str, Tensor]
    numbers: dict[str, Any]


class EpochSelection:
    """Early stopping and the choice of the epoch.

    ``"loss"`` keeps the epoch with the lowest validation loss, ``"last"`` that of the last stage alone (whose head
    may overfit while the sum still falls). ``"qini"`` keeps the one with the highest Qini among
    the epochs whose validation loss is within one standard error (of the paired difference per row) of the lowest.
    The Qini alone is no safe guide: it ignores the scale of the effects and is noisy on a validation tenth, so that
    it often prefers the first epochs, whose effects are near zero.

    Training stops after `patience` epochs in which neither the loss nor, for ``"qini"``, the Qini got better.

    Parameters
    ----------
    criterion : {"qini", "loss", "last"}
        What is compared; the losses are the caller's.
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

    def state(self) -> SelectionState:
        """Everything that :meth:`restore` needs."""
        tensors = {}
        for number, one in enumerate(self._candidates):
            tensors[f"candidate/{number}/row_losses"] = one.row_losses
            tensors |= {f"candidate/{number}/state/{name}": tensor for name, tensor in one.state.items()}
        numbers = {
            "candidates": [{"epoch": one.epoch, "qini": one.qini} for one in self._candidates],
            "lowest": None if math.isinf(self._lowest) else self._lowest,
            "highest": None if math.isinf(self._highest) else self._highest,
            "idle": self._idle,
        }
        return SelectionState(tensors, numbers)

    def restore(self, numbers: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Take up where the selection of which these are the :meth:`state` stood; other tensors are ignored."""
        self._candidates = []
        for number, one in enumerate(numbers["candidates"]):
            prefix = f"candidate/{number}/state/"
            state = {name[len(prefix) :]: t for name, t in tensors.items() if name.startswith(prefix)}
            losses = tensors[f"candidate/{number}/row_losses"]
            self._candidates.append(Candidate(one["epoch"], losses, one["qini"], state))
        self._lowest = math.inf if numbers["lowest"] is None else numbers["lowest"]
        self._highest = -math.inf if numbers["highest"] is None else numbers["highest"]
        self._idle = numbers["idle"]

    def _as_good(self, one: Candidate, best: Candidate) -> bool:
        if self.criterion != "qini":
            return False
        worse = (one.row_losses - best.row_losses).double()
        return bool(worse.mean() <= worse.std() / math.sqrt(len(worse)))
