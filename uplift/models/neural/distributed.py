"""Several processes, one model: what a fit does under ``torchrun``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import distributed

from uplift.errors import ModelError


@dataclass(frozen=True)
class Team:
    """The processes that train one network together.

    Attributes
    ----------
    rank : int
        Number of this process, 0 .. size - 1; process 0 writes files and talks.
    size : int
        Number of processes; 1 without ``torchrun``.
    local_rank : int
        Number of this process on its machine, which is also that of its CUDA device.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def leads(self) -> bool:
        """Whether this process writes and talks."""
        return self.rank == 0

    @classmethod
    def from_environment(cls) -> Team:
        """The team that ``torchrun`` announces in the environment, or a team of one.

        Raises
        ------
        ModelError
            The environment announces a team but not this process's place in it.
        """
        size = int(os.environ.get("WORLD_SIZE", "1"))
        if size <= 1:
            return cls()
        try:
            return cls(int(os.environ["RANK"]), size, int(os.environ["LOCAL_RANK"]))
        except KeyError as missing:
            raise ModelError(
                f"WORLD_SIZE is {size} but {missing} is not set; start the command with torchrun, or unset WORLD_SIZE."
            ) from None


@contextmanager
def joined(team: Team, device: torch.device) -> Iterator[None]:
    """The process group of `team` for the length of a block; nothing for a team of one.

    A group that already exists is used and left as it is.
    """
    if team.size == 1 or distributed.is_initialized():
        yield
        return
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield
    finally:
        distributed.destroy_process_group()
