"""The best arm of many units at given charges."""

from __future__ import annotations

import numpy as np

from uplift.policy.charges import BlockCharges
from uplift.policy.eligibility import steps_above


def best_arms(
    value: np.ndarray,
    cost: np.ndarray,
    opened: np.ndarray | None,
    held: BlockCharges,
    *,
    start: float,
    least: float,
    shift: float,
    floor: float,
    allow_harm: bool,
) -> np.ndarray:
    """Arm of the largest reduced value; ties: the cheaper, then the more valuable, as in the solver.

    Parameters
    ----------
    value, cost : ndarray of float64 [unit, arm]
    opened : ndarray of bool [unit, arm], optional
    held : BlockCharges
    start : float
        Reduced value of the control: 0, or -inf where every unit gets an open arm.
    least : float
        The least price of money.
    shift : float
        Added to the price of money.
    floor : float
        The least return of a step; 0: none.
    allow_harm : bool
        Arms with negative value and negative cost may be used.

    Returns
    -------
    ndarray of int16 [unit]
        0 is control.
    """
    n = len(value)
    if floor:
        opened = steps_above(value, cost, opened, floor, allow_harm=allow_harm)
    best, best_v, best_c = np.full(n, start), np.zeros(n), np.zeros(n)
    codes = np.zeros(n, np.int16)
    for j in range(value.shape[1]):
        weight, contact = held.weight[..., j], held.contact[..., j]
        money = np.maximum(held.money[..., j] + shift, least)
        v, c = value[:, j], cost[:, j]
        with np.errstate(invalid="ignore"):
            reduced = weight * v - money * c - contact
            take = (reduced > best) | ((reduced == best) & ((c < best_c) | ((c == best_c) & (v > best_v))))
            if not allow_harm:
                take &= ~((v < 0.0) & (c < 0.0))
        if opened is not None:
            take &= opened[:, j]
        best = np.where(take, reduced, best)
        best_v = np.where(take, v, best_v)
        best_c = np.where(take, c, best_c)
        codes[take] = j + 1
    return codes
