"""Where the passes over all units run: compiled kernels on the CPU, or torch on a device. Imports no torch by itself.

A device pays where its memory is much faster than the machine's and the problem is read many times; one reading of
one budget is over before the amounts have travelled there. So the default is the CPU.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from uplift.errors import AllocationError

if TYPE_CHECKING:
    import torch

CPU = "cpu"
TORCH_ON_CPU = "torch:cpu"
"""The passes of a GPU on the CPU: slower than the compiled kernels, and there to check one against the other."""
_NAMES = re.compile(r"cpu|auto|torch:cpu|cuda(:\d+)?")


def check_device(device: str) -> str:
    """The name of a device, as it is.

    Raises
    ------
    AllocationError
        It is none of ``"cpu"``, ``"auto"``, ``"cuda"``, ``"cuda:N"`` and ``"torch:cpu"``.

    Examples
    --------
    >>> check_device("cuda:1")
    'cuda:1'
    """
    if not isinstance(device, str) or _NAMES.fullmatch(device) is None:
        raise AllocationError(
            f"There is no device {device!r} to allocate on: use 'cpu', 'auto', 'cuda' or 'cuda:N'."
        )
    return device


def device_of(device: str) -> torch.device | None:
    """The torch device of an option value; None: the compiled kernels on the CPU.

    Parameters
    ----------
    device : str
        ``"cpu"``; ``"cuda"`` or ``"cuda:N"``; ``"auto"``, the first CUDA device where there is one, else the CPU;
        ``"torch:cpu"``, for checks.

    Raises
    ------
    AllocationError
        The name is not known, or this machine has no such device.
    """
    if check_device(device) == CPU:
        return None
    import torch

    if device == TORCH_ON_CPU:
        return torch.device("cpu")
    if device == "auto":
        return torch.device("cuda", 0) if torch.cuda.is_available() else None
    remedy = (
        "use device='cpu' or 'auto', or check the driver and that the installed torch was built with CUDA"
    )
    if not torch.cuda.is_available():
        raise AllocationError(
            f"device={device!r} was asked for, but torch sees no CUDA device here; {remedy}."
        )
    found = torch.device(device)
    if found.index is not None and found.index >= torch.cuda.device_count():
        raise AllocationError(
            f"device={device!r} was asked for, but torch sees {torch.cuda.device_count()} CUDA devices (numbers from 0); "
            f"{remedy}."
        )
    return found


def device_or_cpu(device: str) -> str:
    """The device where this machine has it, else the CPU: for plans made again only to be compared with saved ones."""
    try:
        device_of(device)
    except AllocationError:
        return CPU
    return device
