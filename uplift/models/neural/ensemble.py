"""Ensembles: several networks, or several members inside one, whose disagreement is the uncertainty of an uplift."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from uplift.hashing import unit_uniform
from uplift.models.neural.network import ChainNetwork

if TYPE_CHECKING:
    import pyarrow as pa

Ensemble = Literal["seeds", "shared"]


def member_seeds(random_state: int, members: int) -> tuple[int, ...]:
    """A seed per member, in [0, 2^31): the first is `random_state` itself, more members leave the earlier ones alone.

    Examples
    --------
    >>> member_seeds(7, 1), member_seeds(7, 3)[:2] == member_seeds(7, 2)
    ((7,), True)
    """
    derived = (
        int(np.random.SeedSequence(random_state, spawn_key=(member,)).generate_state(1)[0]) >> 1
        for member in range(1, members)
    )
    return (random_state, *derived)


def bootstrap_weights(unit_ids: pa.Array, seeds: Sequence[int]) -> np.ndarray:
    """Weights of the Bayesian bootstrap by unit, one column per seed.

    Independent Exponential(1) weights, the same for all rows of a unit, scaled to mean one over the rows. No row is
    left out, as it is by resampling, so that rare events stay in every member.

    Parameters
    ----------
    unit_ids : pyarrow.Array [row]
        The weight is drawn by hash of the unit id: it does not depend on the order of the rows.
    seeds : sequence of int
        Seed of each member.

    Returns
    -------
    ndarray of float64 [row, member]

    References
    ----------
    Rubin, The Bayesian bootstrap, Annals of Statistics 1981.
    """
    weights = exponential_weights(unit_ids, seeds)
    result: np.ndarray = weights / weights.mean(axis=0)
    return result


def exponential_weights(unit_ids: pa.Array, seeds: Sequence[int]) -> np.ndarray:
    """The weights of :func:`bootstrap_weights` before they are scaled, float64 [row, member]: mean one up to chance."""
    uniform = np.column_stack([unit_uniform(unit_ids, f"bootstrap:{seed}") for seed in seeds])
    result: np.ndarray = -np.log1p(-uniform)
    return result


def t_quantile(level: float, members: int) -> float:
    """Half-width of a central interval at `level`, in standard deviations that `members` >= 2 values estimate.

    Student's t with ``members - 1`` degrees of freedom: few members know their own spread badly.

    Examples
    --------
    >>> [round(t_quantile(0.9, members), 2) for members in (2, 8, 1000)]
    [6.31, 1.89, 1.65]
    """
    from scipy.special import stdtrit

    return float(stdtrit(members - 1, (1 + level) / 2))


@torch.inference_mode()
def score_members(
    networks: Sequence[ChainNetwork],
    numeric: Tensor,
    categorical: Tensor,
    device: torch.device,
    *,
    chunk: int,
) -> tuple[Tensor, Tensor]:
    """Mean of the potential outcomes, and spread of the uplifts, over all members of all networks.

    Only the two results are held for all rows, however many members there are.

    Parameters
    ----------
    networks : sequence of ChainNetwork
        On `device`; two members or more in all.
    numeric, categorical : Tensor [row, ...]
        Features; they may lie on another device.
    chunk : int
        Rows that are scored at once.

    Returns
    -------
    tuple of Tensor float32 [row, arm, stage], on `device`
        Mean of mu over members, and standard deviation (divisor members - 1) of tau = mu - mu[control] over members;
        for control that is 0.
    """
    means, spreads = [], []
    for x, codes in zip(numeric.split(chunk), categorical.split(chunk), strict=True):
        x, codes = x.to(device), codes.to(device)
        parts = []
        for network in networks:
            mu = network.mu(network.all_arms(x, codes))
            parts.append(mu if network.members > 1 else mu.unsqueeze(2))
        mu = torch.cat(parts, dim=2).double()  # [row, arm, member, stage]
        means.append(mu.mean(2).float())
        spreads.append((mu - mu[:, :1]).std(2).float())
    return torch.cat(means), torch.cat(spreads)
