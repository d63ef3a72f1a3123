"""What early stopping watches: the Qini of the last stage in the entire space, on the device."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def qini_per_capita(score: Tensor, outcome: Tensor, treated: Tensor, weights: Tensor | None = None) -> Tensor:
    """Area between the per-capita uplift curve and its chord, in outcome units per customer.

    ``V(k) = Y_T(k) / n_T - Y_C(k) / n_C`` over the k best-scored rows against the share k / n; trapezoid, ties
    collapsed, minus half of V(n) (definition id ``qini_per_capita``).

    Parameters
    ----------
    score : Tensor [row]
        Predicted uplift.
    outcome : Tensor [row]
        Observed outcome.
    treated : Tensor [row] bool
        Received the arm (True) or control (False); both must occur.
    weights : Tensor [row], optional
        Row weights.

    Returns
    -------
    Tensor [] float64

    Examples
    --------
    >>> treated = torch.tensor([True, False, True, False])
    >>> outcome = torch.tensor([1.0, 0.0, 0.0, 0.0])
    >>> qini_per_capita(torch.tensor([4.0, 3.0, 2.0, 1.0]), outcome, treated)
    tensor(0.1875, dtype=torch.float64)
    >>> qini_per_capita(torch.zeros(4), outcome, treated)
    tensor(0., dtype=torch.float64)
    """
    mass = torch.ones_like(score, dtype=torch.float64) if weights is None else weights.double()
    order = torch.argsort(score, descending=True)
    score, outcome, treated, mass = score[order], outcome[order].double(), treated[order], mass[order]
    signed = torch.where(treated, mass / mass[treated].sum(), -mass / mass[~treated].sum()) * outcome
    last = torch.ones_like(treated)
    last[:-1] = score[1:] != score[:-1]
    zero = mass.new_zeros(1)
    curve = torch.cat((zero, signed.cumsum(0)[last]))
    share = torch.cat((zero, (mass.cumsum(0) / mass.sum())[last]))
    return torch.trapezoid(curve, share) - curve[-1] / 2


def mean_qini(uplift: Tensor, outcome: Tensor, treatment: Tensor, weights: Tensor | None = None) -> float:
    """Mean over treated arms of each arm's Qini against control; NaN where an arm, or control, has no row.

    Parameters
    ----------
    uplift : Tensor [row, arm]
        Predicted uplift of every arm, control first.
    outcome, treatment : Tensor [row]
        Observed outcome and arm received (0 = control).
    weights : Tensor [row], optional
        Row weights.
    """
    scores = []
    for arm in range(1, uplift.shape[1]):
        rows = (treatment == 0) | (treatment == arm)
        if not ((treatment == 0).any() and (treatment == arm).any()):
            return math.nan
        scores.append(
            qini_per_capita(
                uplift[rows, arm],
                outcome[rows],
                treatment[rows] == arm,
                None if weights is None else weights[rows],
            )
        )
    return float(torch.stack(scores).mean())
