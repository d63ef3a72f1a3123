"""Several processes, one model: what a fit does under ``torchrun``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import count

import torch
from torch import distributed
from torch.distributed.rendezvous import rendezvous

from uplift.errors import ModelError

_GROUPS = count()


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

    A group that already exists is used and left as it is. A process may join one group after another, as the parts of
    a blend do; all processes of the team must then join equally many.
    """
    if team.size == 1 or distributed.is_initialized():
        yield
        return
    # Under names of its own: with those of the group before, a process would wait for addresses that are gone.
    store = distributed.PrefixStore(f"uplift_{next(_GROUPS)}", _meeting_place())
    backend = "nccl" if device.type == "cuda" else "gloo"
    distributed.init_process_group(backend, store=store, rank=team.rank, world_size=team.size)
    try:
        yield
    finally:
        distributed.destroy_process_group()


@cache
def _meeting_place() -> distributed.Store:
    """The store where the processes find each other; process 0 may be its host, so it is opened once and kept."""
    store: distributed.Store = next(rendezvous("env://"))[0]
    return store
