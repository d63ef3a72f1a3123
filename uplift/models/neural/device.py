"""Devices, and the number format that products are formed in."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch

from uplift.errors import ModelError

Precision = Literal["auto", "float32", "bfloat16"]


def resolve_device(device: str, *, local_rank: int = 0) -> torch.device:
    """The torch device of an option value; ``"auto"`` is CUDA when there is one.

    Parameters
    ----------
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ...
    local_rank : int
        Number of this process on its machine: ``"auto"`` and ``"cuda"`` take the CUDA device of that number.

    Raises
    ------
    ModelError
        No such device on this machine.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and local_rank:
        device = f"cuda:{local_rank}"
    try:
        resolved = torch.device(device)
        torch.empty(0, device=resolved)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ModelError(
            f"device {device!r} cannot be used here ({reason}); use device='auto' or 'cpu'."
        ) from error
    return resolved


def autocast(precision: Precision, device: torch.device) -> AbstractContextManager[object]:
    """Context in which a network's products run in `precision`; losses are formed in float32 outside of it.

    ``"auto"`` is bfloat16 on CUDA, where matrix units make it pay, and float32 elsewhere.
    """
    if precision == "bfloat16" or (precision == "auto" and device.type == "cuda"):
        return torch.autocast(device.type, torch.bfloat16)
    return nullcontext()
