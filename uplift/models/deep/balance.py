"""Distances between the representations of two arms: integral probability metrics on weighted samples.

All take rows x [m, w] and y [n, w] and their weights a [m] and b [n], which sum to 1, and give a scalar.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Distance = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def linear_mmd(x: Tensor, y: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Squared distance of the means, the squared maximum mean discrepancy of linear functions.

    Of two samples of one distribution it is not zero but the sum of their means' variances.

    Examples
    --------
    >>> x, y, half = torch.tensor([[0.0], [2.0]]), torch.tensor([[3.0], [5.0]]), torch.tensor([0.5, 0.5])
    >>> linear_mmd(x, y, half, half)
    tensor(9.)
    """
    return (a @ x - b @ y).square().sum()


def rbf_mmd(x: Tensor, y: Tensor, a: Tensor, b: Tensor, *, width: float) -> Tensor:
    """Squared maximum mean discrepancy for the kernel ``exp(-|x - y|^2 / width^2)``, without bias.

    A row is not compared with itself, so that the expectation is zero for two samples of one distribution; one sample
    may give a negative number. It is zero where a sample has only one row, of which this says nothing.

    References
    ----------
    Gretton et al., A kernel two-sample test, JMLR 2012, eq. 3.
    """
    one, other = 1 - a.square().sum(), 1 - b.square().sum()  # weight of the pairs of different rows
    if len(a) < 2 or len(b) < 2 or min(one, other) < 1e-6:
        return (x.sum() + y.sum()) * 0
    within = _pairs(x, x, a, a, width) - a.square().sum()
    beyond = _pairs(y, y, b, b, width) - b.square().sum()
    return within / one + beyond / other - 2 * _pairs(x, y, a, b, width)


def _pairs(x: Tensor, y: Tensor, a: Tensor, b: Tensor, width: float) -> Tensor:
    """Weighted mean of the kernel over all pairs."""
    squares = x.square().sum(1, keepdim=True) + y.square().sum(1) - 2 * x @ y.t()
    return a @ torch.exp(-squares.clamp_min(0) / width**2) @ b


def sinkhorn(x: Tensor, y: Tensor, a: Tensor, b: Tensor, *, sharpness: float, iterations: int) -> Tensor:
    """Cost of the transport plan of Sinkhorn's iteration: at least the Wasserstein distance, and near it when sharp.

    The plan is ``diag(u) exp(-lambda M) diag(v)`` with M the Euclidean distances and lambda = `sharpness` / mean(M).
    It is held fixed in the gradient, which is then that of the transport cost at the plan (as in the
    appendix of Shalit et al.). Between two samples of one distribution it is not zero.

    Parameters
    ----------
    x, y, a, b : Tensor
        See the module.
    sharpness : float
        > 0; more is nearer to the Wasserstein distance and needs more iterations.
    iterations : int
        Updates of u and v, >= 1.

    References
    ----------
    Cuturi, Sinkhorn distances: lightspeed computation of optimal transport, NIPS 2013, algorithm 1.
    """
    distances = torch.cdist(x, y)
    with torch.no_grad():
        cost = distances * (sharpness / distances.mean().clamp_min(torch.finfo(distances.dtype).tiny))
        # Shifts of rows and columns change u and v but not the plan, and leave a 1 in every row and column of the
        # kernel, however far a row is: nothing is divided by zero.
        cost = cost - cost.amin(1, keepdim=True)
        kernel = torch.exp(-(cost - cost.amin(0)))
        v = torch.ones_like(b)
        for _ in range(iterations):
            u = a / (kernel @ v)
            v = b / (u @ kernel)
        plan = u.unsqueeze(1) * kernel * v
    return (plan * distances).sum()


def unit_spread(representation: Tensor) -> Tensor:
    """Rows [row, w] around their mean, in units of their root mean square distance from it.

    Examples
    --------
    >>> unit_spread(torch.tensor([[1.0, 5.0], [1.0, 9.0]]))
    tensor([[ 0., -1.],
            [ 0.,  1.]])
    """
    around = representation - representation.mean(0)
    return around * (around.square().sum(1).mean() + 1e-12).rsqrt()


def imbalance(
    representation: Tensor, treatment: Tensor, weights: Tensor | None, arms: int, distance: Distance
) -> Tensor:
    """Mean over treated arms of the distance between the representations of the arm's rows and of control's.

    An arm without rows counts as zero, and all do where there is no control.

    Parameters
    ----------
    representation : Tensor [row, w]
    treatment : Tensor [row]
        Arm received, 0 = control.
    weights : Tensor [row], optional
        Row weights, >= 0.
    arms : int
        K + 1.
    distance : callable
        One of this module.

    Examples
    --------
    >>> phi, treatment = torch.tensor([[0.0], [2.0], [3.0]]), torch.tensor([0, 0, 2])
    >>> imbalance(phi, treatment, None, 3, linear_mmd)
    tensor(2.)
    """
    mass = torch.ones_like(representation[:, 0]) if weights is None else weights.to(representation.dtype)
    samples = []
    for arm in range(arms):
        rows = ((treatment == arm) & (mass > 0)).nonzero().squeeze(1)
        samples.append((representation[rows], mass[rows] / mass[rows].sum()))
    (control, shares), total = samples[0], representation.sum() * 0
    for phi, own in samples[1:]:
        if len(phi) and len(control):
            total = total + distance(control, phi, shares, own)
    return total / (arms - 1)
