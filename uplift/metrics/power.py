"""Before the experiment: what a test of a given size can tell apart from nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from uplift.errors import EvaluationError


@dataclass(frozen=True)
class Power:
    """What a planned test can detect.

    Attributes
    ----------
    rows : int
        Customers in the treated arm and in control together.
    treated_share : float
        Share of them that is treated.
    mean, second_moment : float
        Of the outcome: E[y] and E[y^2] (equal for 0/1 outcomes).
    minimum_ate : float
        Smallest average effect that is found with probability `power`, in outcome units per customer.
    minimum_qini : float
        The same for the headline metric, `qini_per_capita`, of a ranking.
    level, power : float
        Of the two-sided test.

    Examples
    --------
    >>> detectable(100_000, mean=0.01).rows
    100000
    """

    rows: int
    treated_share: float
    mean: float
    second_moment: float
    minimum_ate: float
    minimum_qini: float
    level: float
    power: float


def detectable(
    rows: int,
    *,
    mean: float,
    second_moment: float | None = None,
    treated_share: float = 0.5,
    level: float = 0.05,
    power: float = 0.8,
) -> Power:
    """Smallest average effect and smallest Qini that a test would find.

    Both are differences in means between the arms: the average effect of y, the headline of y (1/2 - u) with u the
    place in the ranking, uniform on (0, 1). Where the ranking says little about the outcome itself, the standard
    errors are therefore s sqrt(1/n_T + 1/n_C) with s^2 = E[y^2] - E[y]^2 for the one and E[y^2] / 12 for the other: for
    rare outcomes a Qini needs about a twelfth of the rows that an average effect of the same size would need, but it is
    also much smaller (a ranking that concentrates the whole effect evenly in its upper half has a Qini of a
    quarter of the average effect). A ranking that follows the outcome (most do) has a somewhat larger error.

    Parameters
    ----------
    rows : int
        Customers of one arm and of control together, >= 2.
    mean : float
        Mean outcome without coupon: a rate in (0, 1) for 0/1 outcomes, or money.
    second_moment : float, optional
        E[y^2] for outcomes that are not 0/1; default `mean`, which is right for 0/1.
    treated_share : float
        In (0, 1).
    level : float
        Error of the first kind of the two-sided test, in (0, 1).
    power : float
        Probability to find an effect of that size, in (0, 1).

    Returns
    -------
    Power

    Raises
    ------
    EvaluationError
        A number is out of range.

    Examples
    --------
    >>> plan = detectable(100_000, mean=0.01)
    >>> f"{plan.minimum_ate:.5f} {plan.minimum_qini:.5f}"
    '0.00176 0.00051'
    """
    for name, given in (
        ("rows", rows), ("mean", mean), ("second_moment", mean if second_moment is None else second_moment),
        ("treated_share", treated_share), ("level", level), ("power", power),
    ):  # fmt: skip
        if not (isinstance(given, int | float | np.number) and math.isfinite(given)):
            raise EvaluationError(f"{name} is {given!r}; give a finite number.")
    moment = mean if second_moment is None else second_moment
    if rows < 2:
        raise EvaluationError(f"rows is {rows}; a test needs at least 2 customers.")
    for name, share in (("treated_share", treated_share), ("level", level), ("power", power)):
        if not 0 < share < 1:
            raise EvaluationError(f"{name} is {share:g}; it must lie between 0 and 1.")
    if second_moment is None and not 0 < mean < 1:
        raise EvaluationError(
            f"mean is {mean:g}, which is no rate between 0 and 1; for money give second_moment, the mean of y squared, as well."
        )
    if moment < mean**2 or moment <= 0:
        raise EvaluationError(
            f"second_moment is {moment:g}, but the mean of y squared is at least the mean squared ({mean**2:g}) and positive."
        )
    reach = NormalDist().inv_cdf(1 - level / 2) + NormalDist().inv_cdf(power)
    scale = reach * math.sqrt(1 / (rows * treated_share) + 1 / (rows * (1 - treated_share)))
    return Power(
        rows=rows,
        treated_share=treated_share,
        mean=mean,
        second_moment=moment,
        minimum_ate=scale * math.sqrt(moment - mean**2),
        minimum_qini=scale * math.sqrt(moment / 12),
        level=level,
        power=power,
    )


def rows_for_qini(
    qini: float,
    *,
    mean: float,
    second_moment: float | None = None,
    treated_share: float = 0.5,
    level: float = 0.05,
    power: float = 0.8,
) -> int:
    """Customers (one arm and control together) with which a headline of this size would be found.

    Parameters
    ----------
    qini : float
        `qini_per_capita` > 0, in outcome units per customer; for example that of the last campaign.
    mean, second_moment, treated_share, level, power
        See :func:`detectable`.

    Returns
    -------
    int

    Raises
    ------
    EvaluationError
        A number is out of range.

    Examples
    --------
    >>> rows_for_qini(0.0005115, mean=0.01)
    99999
    """
    if qini <= 0:
        raise EvaluationError(f"qini is {qini:g}; give the size that should be found, above 0.")
    unit = detectable(
        1_000_000,
        mean=mean,
        second_moment=second_moment,
        treated_share=treated_share,
        level=level,
        power=power,
    )
    return math.ceil(1_000_000 * (unit.minimum_qini / qini) ** 2)
