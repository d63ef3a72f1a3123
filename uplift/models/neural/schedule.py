"""Learning rate over the steps of a fit."""

from __future__ import annotations

import math
from typing import Literal

Schedule = Literal["constant", "cosine"]


def learning_rate_factor(step: int, *, schedule: Schedule, warmup_steps: int, total_steps: int) -> float:
    """Factor on the learning rate at `step`, in (0, 1].

    Rises linearly over the first `warmup_steps`; then stays (``"constant"``) or falls along half a cosine to 1 % at
    `total_steps` (``"cosine"``; Loshchilov, Hutter, SGDR, ICLR 2017, without restarts).

    Parameters
    ----------
    step : int
        Steps taken before this one, >= 0.
    schedule : {"constant", "cosine"}
    warmup_steps : int
        >= 0.
    total_steps : int
        Steps of `max_epochs` epochs.

    Examples
    --------
    >>> [learning_rate_factor(s, schedule="constant", warmup_steps=4, total_steps=99) for s in (0, 3, 50)]
    [0.25, 1.0, 1.0]
    >>> [round(learning_rate_factor(s, schedule="cosine", warmup_steps=0, total_steps=10), 3) for s in (0, 5, 10)]
    [1.0, 0.505, 0.01]
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    if schedule == "constant":
        return 1.0
    progress = min(1.0, (step - warmup_steps) / max(1, total_steps - warmup_steps))
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress))
