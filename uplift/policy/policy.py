"""`Policy`: a solved plan reduced to its prices, so that a unit that comes later is decided by the same rule.

The plan on N units is "everyone at the best arm at the dual prices", but for the units at the margin: those that a
limit cuts (at most about one per limit that binds), those that were moved so that whole decisions fit, and groups of
equal units that tie at the prices, of which the plan takes as many as fit, in hash order. A policy has no list to
sort, so it takes none of the ties that use up a limit and all of those that a floor asks for. What its other
decisions are worth is known: over the plan's own units they beat the plan's at the prices by exactly the regret that
is part of the plan's gap (``certificate.gap_regret``, where no search moved the bound).
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from uplift.arms import CostRule
from uplift.errors import AllocationError
from uplift.hashing import Coin, unit_uniform
from uplift.policy.amounts import amounts, amounts_one
from uplift.policy.charges import Charges, Tariff
from uplift.policy.choice import best_arms
from uplift.policy.eligibility import open_arms, steps_above_one
from uplift.policy.files import arguments, read, to_dict
from uplift.policy.prices import Price

if TYPE_CHECKING:
    from uplift.effects import Effects

_BLOCK = 1 << 16
_TOUCH = 1 - 1e-9
"""A return equal to `min_roi` counts as reached, as in the solver."""
_NEEDS_ELIGIBLE = "The plan had rules on who may get which arm: pass eligible (policy.eligible(...) makes it where the rules are known)."


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Policy:
    """Decides scored units at fixed prices; make one with ``plan.policy()`` or :meth:`load`.

    Parameters
    ----------
    arms : tuple of str
        Control first.
    prices : tuple of Price
        Dual prices of the plan's limits.
    stage, margin, costs : optional
        What is bought, the money one event brings, and the cost rule per arm: turn scores into value and cost.
        None when the plan was made from plain arrays.
    holdout_share : float or None
        Share in [0, 1) kept in control by hash of unit id and `salt`; None: drawn elsewhere, so every call needs
        `holdout`.
    salt : str
        ``CAMPAIGN:SEED``, the same as the plan's: a unit that was held out then is held out now.
    min_roi : float
        Floor for the return of every step.
    step_floor : bool
        How the floor acts: it closes the arms to which a step returns less (as in plans with several limits); off, it
        is the least price of money (as in plans with one budget, where the two are the same but for arms of negative
        cost).
    allow_harm : bool
        Arms with negative value and negative cost may be used.
    exactly_one : bool
        Every unit with an open arm gets one.
    caution : float
        Standard errors that are taken off every uplift.
    eligibility_given : bool
        The plan closed arms to some units, so every call needs `eligible`.
    conditions : tuple of mapping
        The rules that closed them, in their plain form, where they say all: :meth:`eligible` makes the mask.
    campaign, model, model_fingerprint : str
        Which model's scores the prices are for.
    labels : dict
        Display name per arm.
    budget, expected_cost : float or None
        Of the plan, for information and for :class:`Pacer`.
    n_units : int or None
        Units the plan decided on.

    Raises
    ------
    AllocationError
        A share, margin or arm name that cannot be used.

    Examples
    --------
    >>> policy = Policy(arms=("none", "five", "ten"), prices=(Price(kind="budget", price=1.5),))
    >>> policy.decide_one([6.0, 9.0], [2.0, 5.0])
    1
    >>> policy.decide(np.array([[6.0, 9.0], [6.0, 12.0]]), np.array([[2.0, 5.0]] * 2)).tolist()
    [1, 2]
    """

    arms: tuple[str, ...]
    prices: tuple[Price, ...] = ()
    stage: str | None = None
    margin: float | None = None
    costs: Mapping[str, CostRule] | None = None
    holdout_share: float | None = 0.0
    salt: str = ""
    min_roi: float = 0.0
    step_floor: bool = False
    allow_harm: bool = False
    exactly_one: bool = False
    caution: float = 0.0
    eligibility_given: bool = False
    conditions: tuple[Mapping[str, Any], ...] = ()
    campaign: str = ""
    model: str = ""
    model_fingerprint: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    budget: float | None = None
    expected_cost: float | None = None
    n_units: int | None = None

    def __post_init__(self) -> None:
        if len(self.arms) < 2 or len(set(self.arms)) != len(self.arms):
            raise AllocationError(
                f"A policy needs a control and at least one other arm, each named once: {self.arms!r}."
            )
        share = self.holdout_share
        if share is not None and not (isinstance(share, int | float) and 0 <= share < 1):
            raise AllocationError(f"The holdout share is {share!r}: give a number in [0, 1), such as 0.05.")
        unknown = [
            price.arm for price in self.prices if price.arm is not None and price.arm not in self.arms[1:]
        ]
        if unknown:
            raise AllocationError(f"There is a price for {unknown[0]!r}, which is no arm of {self.arms!r}.")

    @cached_property
    def price(self) -> float:
        """Price of money for everybody: what one more unit of the budget brings."""
        return sum(p.price for p in self.prices if p.of_all_money)

    @cached_property
    def segments(self) -> tuple[str, ...]:
        """Columns that a unit's prices depend on."""
        return self._tariff.segments

    def with_price(self, price: float) -> Policy:
        """The same policy at another price of money for everybody; the other prices stay."""
        others = tuple(p for p in self.prices if not p.of_all_money)
        return replace(self, prices=(Price(kind="budget", price=price), *others))

    def eligible(self, n: int, *, columns: Any = None, effects: Effects | None = None) -> np.ndarray:
        """What the plan's rules on who may get which arm say of `n` other units.

        Parameters
        ----------
        n : int
        columns : mapping, pyarrow Table or frame, optional
            Columns [unit] that the rules read.
        effects : Effects, optional
            With intervals; for ``do_not_disturb``.

        Returns
        -------
        ndarray of bool [unit, arm]

        Raises
        ------
        AllocationError
            The plan's mask was given by hand, or something that the rules read is missing.
        """
        if self.eligibility_given and not self.conditions:
            raise AllocationError(
                "The plan's eligibility was given as a mask, not as rules, so it is not known for other units: pass eligible."
            )
        return open_arms(
            self.conditions, self.arms[1:], n, columns=columns, effects=effects, stage=self.stage
        )

    # ---------------------------------------------------------------- many units

    def decide(
        self,
        value: Any,
        cost: Any,
        *,
        units: Any = None,
        eligible: Any = None,
        holdout: Any = None,
        segments: Mapping[str, Any] | None = None,
        price: float | None = None,
    ) -> np.ndarray:
        """Best arm of every unit at the policy's prices.

        Parameters
        ----------
        value, cost : array-like of float [unit, arm]
            As for :func:`uplift.allocate_arrays`: incremental value and expected cost, without the control.
        units : array-like [unit], optional
            Ids; needed when a share is held out.
        eligible : array-like of bool [unit] or [unit, arm], optional
            Needed where the plan closed arms to some units; :meth:`eligible` makes it from the plan's rules.
        holdout : array-like of bool [unit], optional
            Units that stay in control besides those drawn here.
        segments : mapping of column to labels [unit], pyarrow Table or frame, optional
            Needed for prices of segments. A label that is missing, or that no limit with a price names, is charged
            nothing.
        price : float, optional
            Another price of money for everybody than the plan's (what :class:`Pacer` moves).

        Returns
        -------
        ndarray of int16 [unit]
            Index into `arms`; 0 is control.

        Raises
        ------
        AllocationError
            Shapes disagree, something needed is missing, or an open arm's value or cost is not finite.
        """
        values, costs = (np.asarray(a, np.float64) for a in (value, cost))
        if values.ndim == 1:
            values, costs = values[:, None], costs.reshape(-1, 1)
        if values.shape != costs.shape or values.ndim != 2 or values.shape[1] != len(self.arms) - 1:
            raise AllocationError(
                f"value has shape {values.shape} and cost {costs.shape}: give one column for each of "
                f"{', '.join(self.arms[1:])}."
            )
        n = len(values)
        open_arm = self._open(eligible, values.shape)
        closed = self._held_out(units, holdout, n)
        codes = np.zeros(n, np.int16)
        shift = 0.0 if price is None else price - self.price
        levels = self._tariff.codes(segments, n)
        for start in range(0, n, _BLOCK):
            part = slice(start, start + _BLOCK)
            mask = None if open_arm is None else open_arm[part]
            held = self._tariff.block([codes_of[part] for codes_of in levels])
            codes[part] = best_arms(
                values[part], costs[part], mask, held, start=self._start, least=self._least, shift=shift,
                floor=self._step_floor, allow_harm=self.allow_harm,
            )  # fmt: skip
        bad = ~(np.isfinite(values) & np.isfinite(costs))
        if open_arm is not None:
            bad &= open_arm
        if bad.any():
            row, column = np.argwhere(bad)[0]
            raise AllocationError(
                f"The value or cost of arm {self.arms[column + 1]!r} for row {row} is missing or infinite "
                f"({int(bad.sum())} such cells): score the unit again, or mark the cells as not eligible."
            )
        codes[closed] = 0
        return codes

    def decide_effects(self, effects: Effects, *, columns: Any = None, **options: Any) -> np.ndarray:
        """:meth:`decide` on predictions: value and cost as :func:`uplift.allocate` makes them, units from the effects.

        Parameters
        ----------
        effects : Effects
        columns : mapping, pyarrow Table or frame, optional
            Columns [unit] that the plan's limits and rules read: in place of `segments` and `eligible`.
        **options
            As for :meth:`decide`.

        Raises
        ------
        AllocationError
            The policy has no stage and costs, or the effects have other arms; or as :meth:`decide`.
        """
        value, cost = self.amounts(effects)
        given = {"units": effects.units, "segments": columns, **options}
        if given.get("eligible") is None and self.conditions:
            given["eligible"] = self.eligible(len(effects), columns=columns, effects=effects)
        return self.decide(value, cost, **given)

    def amounts(self, effects: Effects) -> tuple[np.ndarray, np.ndarray]:
        """Value and expected cost of every arm but the control, float64 [unit, arm] each.

        Parameters
        ----------
        effects : Effects
            Of the policy's arms.
        """
        return amounts(self, effects)

    # ---------------------------------------------------------------- one unit

    def decide_one(
        self,
        value: Sequence[float],
        cost: Sequence[float],
        unit: int | str | None = None,
        *,
        eligible: Sequence[bool] | None = None,
        holdout: bool | None = None,
        segments: Mapping[str, Any] | None = None,
        price: float | None = None,
    ) -> int:
        """:meth:`decide` for one unit, on plain floats and without numpy: a few microseconds.

        Parameters
        ----------
        value, cost : sequence of float [arm]
            Of every arm but the control, money.
        unit : int or str, optional
            Its id; needed when a share is held out.
        eligible : sequence of bool [arm], optional
            Arms that are open to it.
        holdout : bool, optional
            In place of the draw by id; True: the unit stays in control.
        segments : mapping of column to label, optional
            Needed for prices of segments.
        price : float, optional
            Another price of money for everybody than the plan's.

        Returns
        -------
        int
            Index into `arms`; 0 is control.
        """
        if holdout:
            return 0
        share = self.holdout_share
        if share is None:
            if holdout is None:
                raise AllocationError(
                    "This policy does not draw the holdout itself: pass holdout=True or False."
                )
        elif share:
            if unit is None or unit != unit:
                raise AllocationError(
                    f"{share:.1%} of the units are held out by their id: pass the unit's id."
                )
            if self._coin(unit) < share:
                return 0
        if eligible is None and self._closes:
            raise AllocationError(_NEEDS_ELIGIBLE)
        held = self._everyone or self._tariff.of(segments)
        try:
            return self._best_one(value, cost, eligible, held, price)
        except (TypeError, IndexError):
            raise self._not_one(value, cost, eligible) from None

    def _best_one(
        self,
        value: Sequence[float],
        cost: Sequence[float],
        eligible: Sequence[bool] | None,
        held: Charges,
        price: float | None,
    ) -> int:
        """The unit's best arm at its charges."""
        if len(value) != len(held.weight) or len(cost) != len(held.weight):
            raise AllocationError(f"{len(value)} values and {len(cost)} costs for {len(held.weight)} arms.")
        if eligible is not None and len(eligible) != len(held.weight):
            raise AllocationError(
                f"eligible has {len(eligible)} entries for {len(held.weight)} arms: give one boolean for each of "
                f"{', '.join(self.arms[1:])}."
            )
        least = self._least
        if self._step_floor:
            eligible = steps_above_one(value, cost, eligible, self._step_floor, allow_harm=self.allow_harm)
        shift = 0.0 if price is None else price - self.price
        best, best_v, best_c, chosen = self._start, 0.0, 0.0, 0
        code = 0
        for v, c, weight, money, contact in zip(
            value, cost, held.weight, held.money, held.contact, strict=True
        ):
            code += 1
            if eligible is not None and not eligible[code - 1]:
                continue
            rate = money + shift
            reduced = weight * v - (rate if rate > least else least) * c - contact
            if reduced != reduced or reduced in (math.inf, -math.inf):
                raise AllocationError(f"The value or cost of arm {self.arms[code]!r} is missing or infinite.")
            if reduced < best or (v < 0.0 and c < 0.0 and not self.allow_harm):
                continue
            if reduced == best and not (c < best_c or (c == best_c and v > best_v)):
                continue
            best, best_v, best_c, chosen = reduced, v, c, code
        return chosen

    def _not_one(self, value: Any, cost: Any, eligible: Any) -> AllocationError:
        return AllocationError(
            f"The unit has value {value!r}, cost {cost!r} and eligible {eligible!r}: give one number of either, and one "
            f"boolean, for each of {', '.join(self.arms[1:])}."
        )

    def amounts_one(
        self,
        mu: Mapping[str, Sequence[float]],
        tau: Mapping[str, Sequence[float]] | None = None,
        error: Sequence[float] | None = None,
    ) -> tuple[list[float], list[float]]:
        """Value and cost of one unit from its scores.

        Parameters
        ----------
        mu : mapping of stage to floats [arm]
            Potential outcomes, control first, as a model's Effects have them.
        tau : mapping of stage to floats [arm], optional
            Uplifts, control (0) first; default ``mu - mu[control]``.
        error : floats [arm], optional
            Standard errors of the uplift at the stage, control first; needed with `caution`.

        Raises
        ------
        AllocationError
            A stage, or the number of an arm, is missing.
        """
        return amounts_one(self, mu, tau, error)

    # ---------------------------------------------------------------- files

    def to_dict(self) -> dict[str, Any]:
        """Content of the policy file (plain JSON types)."""
        return to_dict(self)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any], *, source: str = "the policy") -> Policy:
        """Inverse of :meth:`to_dict`.

        Parameters
        ----------
        content : mapping
        source : str
            What error messages call it.

        Raises
        ------
        AllocationError
            Another kind of file, a newer schema, or keys that are missing.
        """
        return cls(**arguments(content, source))

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the policy as JSON, atomically.

        Parameters
        ----------
        path : path
        """
        from uplift.io.atomic import write_json

        return write_json(path, self.to_dict())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Policy:
        """Read a policy file.

        Parameters
        ----------
        path : path

        Raises
        ------
        UpliftError
            There is none, or it is damaged.
        """
        return cls.from_dict(read(path), source=str(path))

    def __repr__(self) -> str:
        priced = sum(price.price > 0 for price in self.prices)
        limits = f"{priced} limit{'' if priced == 1 else 's'} with a price"
        held = "its holdout not drawn" if self.holdout_share is None else f"{self.holdout_share:.1%} held out"
        reads = f", reads {', '.join(self.segments)}" if self.segments else ""
        return f"Policy({', '.join(self.arms)}: money at {self.price:.4g}, {limits}, {held}{reads})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Policy):
            return NotImplemented
        return all(getattr(self, f.name) == getattr(other, f.name) for f in fields(self))

    __hash__ = None  # type: ignore[assignment]

    # ---------------------------------------------------------------- parts

    @cached_property
    def _coin(self) -> Coin:
        return Coin(f"holdout:{self.salt}")

    @cached_property
    def _tariff(self) -> Tariff:
        return Tariff(self.prices, self.arms[1:])

    @cached_property
    def _everyone(self) -> Charges | None:
        """The charges of every unit; None where they depend on segments."""
        return None if self._tariff.segments else self._tariff.base

    @cached_property
    def _least(self) -> float:
        """The least price of money."""
        return -math.inf if self.step_floor else self.min_roi * _TOUCH

    @cached_property
    def _step_floor(self) -> float:
        """The least return of a step; 0 where the floor is a price of money."""
        return self.min_roi * _TOUCH if self.step_floor else 0.0

    @cached_property
    def _start(self) -> float:
        """Reduced value of the control."""
        return -math.inf if self.exactly_one else 0.0

    @cached_property
    def _closes(self) -> bool:
        return self.eligibility_given or bool(self.conditions)

    def _open(self, eligible: Any, shape: tuple[int, ...]) -> np.ndarray | None:
        if eligible is None:
            if self._closes:
                raise AllocationError(_NEEDS_ELIGIBLE)
            return None
        mask = np.asarray(eligible)
        if mask.dtype != np.bool_ or mask.shape not in (shape, shape[:1]):
            raise AllocationError(
                f"eligible has shape {mask.shape} and type {mask.dtype}: give booleans of shape {shape[:1]} or {shape}."
            )
        return mask if mask.ndim == 2 else np.broadcast_to(mask[:, None], shape)

    def _held_out(self, units: Any, holdout: Any, n: int) -> np.ndarray:
        closed = np.zeros(n, np.bool_) if holdout is None else np.array(holdout, np.bool_)
        if closed.shape != (n,):
            raise AllocationError(f"holdout has shape {closed.shape}: give one boolean per unit ({n}).")
        if self.holdout_share is None:
            if holdout is None:
                raise AllocationError("This policy does not draw the holdout itself: pass holdout.")
        elif self.holdout_share:
            if units is None:
                raise AllocationError(
                    f"{self.holdout_share:.1%} of the units are held out by their id: pass units."
                )
            if len(units) != n:
                raise AllocationError(f"{len(units)} unit ids for {n} rows: give one id per row.")
            closed |= unit_uniform(units, f"holdout:{self.salt}") < self.holdout_share
        return closed
