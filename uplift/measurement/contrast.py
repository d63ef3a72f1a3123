"""The comparison: customers who were sent an arm against those held out who would have got it.

For arm k with n sent and m held out, outcomes y, the effect per customer is ``mean(y | sent) - mean(y | held out)`` and
its variance Neyman's, ``s_sent^2 / n + s_held^2 / m``. What the plan brought is the sum over arms of n times the effect: every
held-out customer stands for the ``n / m`` of its arm, the inverse of the shares that the coin gave each side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from uplift.metrics.average import Estimate

LEAST = 2
"""Customers on either side without which an arm has no estimate and no spread."""


@dataclass(frozen=True, eq=False)
class Group:
    """Customers who are compared: positions [row] of those sent to and of those held out."""

    name: str
    sent: np.ndarray
    held: np.ndarray

    @property
    def usable(self) -> bool:
        """Whether there are enough on both sides."""
        return min(len(self.sent), len(self.held)) >= LEAST


@dataclass(frozen=True)
class Difference:
    """Means of both sides and the difference, per customer, with its variance."""

    n: int
    m: int
    sent: float
    held: float
    variance: float

    @property
    def effect(self) -> float:
        """Sent less held out."""
        return self.sent - self.held


def difference(group: Group, outcome: np.ndarray, paid: np.ndarray | None = None) -> Difference:
    """One group, for an outcome [unit]; `paid` [unit] is taken off those sent to."""
    sent, held = outcome[group.sent], outcome[group.held]
    if paid is not None:
        sent = sent - paid[group.sent]
    n, m = len(sent), len(held)
    variance = float(sent.var(ddof=1) / n + held.var(ddof=1) / m)
    return Difference(n, m, float(sent.mean()), float(held.mean()), variance)


def pooled(parts: Sequence[Difference]) -> Difference:
    """Groups together, each with the weight of its customers sent to."""
    n = np.array([part.n for part in parts], np.float64)
    weight = n / n.sum()
    return Difference(
        int(n.sum()),
        sum(part.m for part in parts),
        float(weight @ [part.sent for part in parts]),
        float(weight @ [part.held for part in parts]),
        float(np.square(weight) @ [part.variance for part in parts]),
    )


def per_customer(part: Difference, confidence: float) -> Estimate:
    """The effect with its normal interval."""
    return Estimate.normal(part.effect, part.variance**0.5, confidence)


def in_total(part: Difference, confidence: float) -> Estimate:
    """The effect times the customers sent to."""
    return Estimate.normal(part.n * part.effect, part.n * part.variance**0.5, confidence)
