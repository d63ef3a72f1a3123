"""Pacing: move the price of money so that a stream of units spends its budget, neither early nor late.

Dual mirror descent (Balseiro, Lu, Mirrokni, 2023, The best of many worlds: dual mirror descent for online
allocation problems, Algorithm 1) with the negative entropy as reference function, whose step is multiplicative:

    price <- price * exp(step * (cost_t - target_t) / target_t)

``cost_t`` is what the unit was given, ``target_t`` what is left of the budget over the units still expected. Spend
ahead of the target raises the price, spend behind it lowers the price. The paper's regret is O(sqrt(T)) for
``step ~ 1 / sqrt(T)`` with a fixed target; the target is set anew after every unit here so that what was missed
early is still spent. No arm is given that costs more than is left, so the budget is never exceeded.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from uplift.errors import AllocationError
from uplift.policy.policy import Policy

_LARGEST_MOVE = math.log(2.0)
"""One update at most doubles or halves the price."""


class Pacer:
    """A policy for a stream of units with a budget of its own.

    Parameters
    ----------
    policy : Policy
    budget : float
        Money for the whole stream, finite and >= 0.
    units : int
        Units expected (>= 1), held-out ones included. More may come: they are decided with what is left.
    step : float, optional
        Size of the multiplicative step, > 0; default ``1 / sqrt(units)``.
    floor : float
        The price never falls below it (> 0): at a price of zero a multiplicative step could not rise again.

    Attributes
    ----------
    price : float
        Price of money for the next unit.
    spent : float
        Expected cost of all arms given so far, plus corrections by :meth:`book`.
    seen : int
        Units decided.

    Raises
    ------
    AllocationError
        A number that cannot be used.

    Examples
    --------
    >>> from uplift.policy import Price
    >>> policy = Policy(arms=("none", "five"), prices=(Price(kind="budget", price=1.0),))
    >>> pacer = Pacer(policy, budget=2.0, units=4, step=0.1)
    >>> [pacer.decide_one([3.0], [1.0]) for _ in range(4)], pacer.spent
    ([1, 1, 0, 0], 2.0)
    """

    def __init__(
        self,
        policy: Policy,
        *,
        budget: float,
        units: int,
        step: float | None = None,
        floor: float = 1e-3,
    ) -> None:
        if not (isinstance(budget, int | float | np.number) and math.isfinite(budget) and budget >= 0):
            raise AllocationError(f"The budget to pace is {budget!r}: give a finite number >= 0.")
        if not (isinstance(units, int | float | np.number) and units >= 1):
            raise AllocationError(f"The stream has {units!r} units: give the number expected, at least 1.")
        step = 1 / math.sqrt(units) if step is None else step
        if not (step > 0 and floor > 0):
            raise AllocationError(f"step is {step!r} and floor {floor!r}: both must be > 0.")
        self.policy, self.budget, self.units = policy, float(budget), int(units)
        self.step, self.floor = float(step), float(floor)
        self.price = max(policy.price, self.floor)
        self.spent, self.seen = 0.0, 0

    def __repr__(self) -> str:
        return f"Pacer({self.seen:,} of {self.units:,} units, {self.spent:,.2f} of {self.budget:,.2f} spent, price {self.price:.4g})"

    @property
    def left(self) -> float:
        """Money left."""
        return self.budget - self.spent

    def decide_one(
        self, value: Sequence[float], cost: Sequence[float], unit: int | str | None = None, **options: Any
    ) -> int:
        """Decide one unit (as :meth:`Policy.decide_one`) at the current price, within what is left; then move the price.

        Parameters
        ----------
        value, cost : sequence of float [arm]
            Of every arm but the control, money.
        unit : int or str, optional
        **options
            As in :meth:`Policy.decide_one`.
        """
        left = self.left
        allowed = options.pop("eligible", None)
        if any(c > left for c in cost):
            allowed = [c <= left and (allowed is None or bool(allowed[j])) for j, c in enumerate(cost)]
        code = self.policy.decide_one(value, cost, unit, eligible=allowed, price=self.price, **options)
        self._move(0.0 if code == 0 else float(cost[code - 1]), 1)
        return code

    def decide(self, value: Any, cost: Any, **options: Any) -> np.ndarray:
        """Decide a block (as :meth:`Policy.decide`) at one price, in the order of its rows; then move the price.

        Rows whose arm does not fit into what is left stay in control.

        Parameters
        ----------
        value, cost : array_like [unit, arm]
            Of every arm but the control, money.
        **options
            As in :meth:`Policy.decide`.
        """
        codes = self.policy.decide(value, cost, price=self.price, **options)
        costs = np.asarray(cost, np.float64).reshape(len(codes), -1)
        paid = np.where(codes > 0, costs[np.arange(len(codes)), np.maximum(codes, 1) - 1], 0.0)
        if paid.sum() > self.left:
            left = self.left
            for row in np.flatnonzero(codes):
                if paid[row] <= left:
                    left -= paid[row]
                else:
                    codes[row], paid[row] = 0, 0.0
        self._move(float(paid.sum()), len(codes))
        return codes

    def book(self, amount: float) -> None:
        """Correct the spend by `amount`: what redemptions cost beyond (or, negative, below) what was expected."""
        self.spent += float(amount)

    def state(self) -> dict[str, float]:
        """What :meth:`resume` needs (JSON-able)."""
        return {
            "budget": self.budget, "units": self.units, "step": self.step, "floor": self.floor,
            "price": self.price, "spent": self.spent, "seen": self.seen,
        }  # fmt: skip

    @classmethod
    def resume(cls, policy: Policy, state: Mapping[str, float]) -> Pacer:
        """A pacer that goes on where :meth:`state` was taken.

        Parameters
        ----------
        policy : Policy
        state : mapping
        """
        pacer = cls(
            policy,
            budget=state["budget"],
            units=int(state["units"]),
            step=state["step"],
            floor=state["floor"],
        )
        pacer.price, pacer.spent, pacer.seen = state["price"], state["spent"], int(state["seen"])
        return pacer

    def _move(self, paid: float, units: int) -> None:
        target = max(self.left, 0.0) / max(self.units - self.seen, 1)
        self.spent += paid
        self.seen += units
        # Where nothing is left the price no longer matters: nothing fits.
        if target > 0:
            move = self.step * (paid / target - units)
            self.price = max(self.price * math.exp(min(max(move, -_LARGEST_MOVE), _LARGEST_MOVE)), self.floor)
