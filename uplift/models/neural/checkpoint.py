"""A fit under way on disk: an interrupted one goes on from here, bit for bit on one device."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from uplift.errors import ModelError
from uplift.io.atomic import atomic_path

FILE = "checkpoint.safetensors"
EVERY_SECONDS = 60.0


class Checkpoint:
    """One file that holds the whole state of a training run; replaced atomically, never half-written.

    Parameters
    ----------
    folder : path
        Made when needed.
    fingerprint : str
        Model, parameters and data of the fit. The file of another fit is refused, not overwritten.
    every : float, optional
        Seconds between two writes within an epoch, default `EVERY_SECONDS`; every epoch's end is written as well.
    """

    def __init__(
        self, folder: str | os.PathLike[str], *, fingerprint: str, every: float | None = None
    ) -> None:
        self.path = Path(folder) / FILE
        self.fingerprint = fingerprint
        self.every = EVERY_SECONDS if every is None else every
        self._written = time.monotonic()

    def load(self, device: torch.device) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Tensors on `device` and JSON state of the last write, or None when there is none.

        Raises
        ------
        ModelError
            The file is damaged, or belongs to another fit.
        """
        if not self.path.exists():
            return None
        try:
            with safe_open(self.path, "pt", device=str(device)) as file:
                state = json.loads(file.metadata()["state"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            raise ModelError(
                f"the checkpoint {self.path} cannot be read ({str(error).splitlines()[0]}); delete it to start the fit anew."
            ) from error
        if state.pop("fingerprint") != self.fingerprint:
            raise ModelError(
                f"the checkpoint {self.path} belongs to a fit with other data, parameters or version; "
                f"delete it, or choose another checkpoint folder."
            )
        return tensors, state

    @property
    def due(self) -> bool:
        """Whether enough time has passed since the last write."""
        return time.monotonic() - self._written >= self.every

    def save(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Replace the file."""
        text = json.dumps({**state, "fingerprint": self.fingerprint})
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(self.path) as temporary:
            save_file(
                {name: tensor.cpu().contiguous() for name, tensor in tensors.items()},
                temporary,
                metadata={"state": text},
            )
        self._written = time.monotonic()
