"""`Policy`: a solved plan reduced to its prices, so that a unit that comes later is decided by the same rule.

The plan on N units is "everyone at the best arm at the dual prices", but for the units at the margin: steps whose
return equals the price are taken in hash order while they fit, and the last money is filled with steps just below
it (or a step above is given up for a better fit). A policy has no list to sort, so it takes none of the ties: on
the plan's own units it differs from the plan in those units only, and never spends more than the plan's bracket.
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

from uplift.arms import SEND, VALUE_STAGE, CostRule
from uplift.errors import AllocationError
from uplift.hashing import Coin, unit_uniform
from uplift.policy.files import arguments, read, to_dict
from uplift.policy.prices import Charges, Price, charges

if TYPE_CHECKING:
    from uplift.effects import Effects

_BLOCK = 1 << 16
_TOUCH = 1 - 1e-9
"""A return equal to `min_roi` counts as reached, as in the solver."""


@dataclass(frozen=True, kw_only=True, eq=False)
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
    allow_harm : bool
        Arms with negative value and negative cost may be used.
    eligibility_given : bool
        The plan was made with an eligibility mask, so every call needs `eligible`.
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
    allow_harm: bool = False
    eligibility_given: bool = False
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
        return sum(p.price for p in self.prices if p.kind == "budget" and p.segment is None and p.arm is None)

    @cached_property
    def segments(self) -> tuple[str, ...]:
        """Columns that a unit's prices depend on."""
        return tuple(dict.fromkeys(p.segment for p in self.prices if p.segment is not None))

    def with_price(self, price: float) -> Policy:
        """The same policy at another price of money for everybody."""
        general = [p for p in self.prices if p.kind == "budget" and p.segment is None and p.arm is None]
        others = tuple(p for p in self.prices if p not in general)
        return replace(self, prices=(Price(kind="budget", price=price), *others))

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
        holdout : array-like of bool [unit], optional
            Units that stay in control besides those drawn here.
        segments : mapping of column to labels [unit], optional
            Needed for prices of segments.
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
        for rows, held in self._groups(segments, n):
            for start in range(0, len(rows), _BLOCK):
                part = rows[start : start + _BLOCK]
                mask = None if open_arm is None else open_arm[part]
                codes[part] = self._best(values[part], costs[part], mask, held, shift)
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

    def decide_effects(self, effects: Effects, **options: Any) -> np.ndarray:
        """:meth:`decide` on predictions: value and cost as :func:`uplift.allocate` makes them, units from the effects.

        Raises
        ------
        AllocationError
            The policy has no stage and costs, or the effects have other arms.
        """
        value, cost = self.amounts(effects)
        return self.decide(value, cost, **{"units": effects.units, **options})

    def amounts(self, effects: Effects) -> tuple[np.ndarray, np.ndarray]:
        """Value and expected cost of every arm but the control, float64 [unit, arm] each.

        Parameters
        ----------
        effects : Effects
            Of the policy's arms.
        """
        from uplift.allocation.from_effects import expected_cost

        stage, margin, costs = self._rules()
        if tuple(effects.arms) != self.arms:
            raise AllocationError(
                f"The effects have arms {effects.arms!r}, the policy {self.arms!r}: use the model it was made with."
            )
        n = len(effects)
        value, cost = np.empty((n, len(self.arms) - 1)), np.empty((n, len(self.arms) - 1))
        for column, arm in enumerate(self.arms[1:]):
            value[:, column] = effects.tau(stage, arm).astype(np.float64) * margin
            cost[:, column] = expected_cost(effects, arm, costs[arm])
        return value, cost

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
            Its id, for the holdout and ties.
        eligible : sequence of bool [arm], optional
            Arms that are open to it.
        holdout : bool, optional
            In place of the draw by id.
        segments : mapping, optional
            Its segment for every price that has segments.
        price : float, optional
            In place of the policy's budget price.

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
            if unit is None:
                raise AllocationError(
                    f"{share:.1%} of the units are held out by their id: pass the unit's id."
                )
            if self._coin(unit) < share:
                return 0
        if eligible is None and self.eligibility_given:
            raise AllocationError("The plan had rules on who may get which arm: pass eligible.")
        held = self._everyone if segments is None and not self.segments else self._charges(segments)
        if len(value) != len(held.weight) or len(cost) != len(held.weight):
            raise AllocationError(f"{len(value)} values and {len(cost)} costs for {len(held.weight)} arms.")
        shift = 0.0 if price is None else price - self.price
        best, best_v, best_c, chosen = 0.0, 0.0, 0.0, 0
        code, least = 0, self._least
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

    def amounts_one(
        self, mu: Mapping[str, Sequence[float]], tau: Mapping[str, Sequence[float]] | None = None
    ) -> tuple[list[float], list[float]]:
        """Value and cost of one unit from its scores.

        Parameters
        ----------
        mu : mapping of stage to floats [arm]
            Potential outcomes, control first, as a model's Effects have them.
        tau : mapping of stage to floats [arm], optional
            Uplifts, control (0) first; default ``mu - mu[control]``.
        """
        stage, margin, costs = self._rules()
        uplift = tau[stage] if tau is not None else [m - mu[stage][0] for m in mu[stage]]
        value = [float(t) * margin for t in uplift[1:]]
        cost = []
        for code, arm in enumerate(self.arms[1:], start=1):
            rule = costs[arm]
            per_event = float((rule.share if rule.on == VALUE_STAGE else rule.amount) or 0.0)
            cost.append(per_event if rule.on == SEND else float(mu[rule.on][code]) * per_event)
        return value, cost

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
    def _everyone(self) -> Charges:
        return charges(self.prices, self.arms[1:], {})

    @cached_property
    def _least(self) -> float:
        return self.min_roi * _TOUCH

    def _charges(self, levels: Mapping[str, Any] | None) -> Charges:
        missing = [name for name in self.segments if name not in (levels or {})]
        if missing:
            raise AllocationError(
                f"The policy has prices for levels of {missing[0]!r}: pass segments={{{missing[0]!r}: ...}}."
            )
        key = tuple((levels or {})[name] for name in self.segments)
        if key not in self._known:
            levels = dict(zip(self.segments, key, strict=True))
            self._known[key] = charges(self.prices, self.arms[1:], levels)
        return self._known[key]

    @cached_property
    def _known(self) -> dict[tuple[Any, ...], Charges]:
        return {}

    def _groups(self, segments: Mapping[str, Any] | None, n: int) -> list[tuple[np.ndarray, Charges]]:
        """Rows that share their prices."""
        if not self.segments:
            return [(np.arange(n), self._everyone)]
        missing = [name for name in self.segments if name not in (segments or {})]
        if missing:
            self._charges(segments)
        columns = [np.asarray((segments or {})[name], object) for name in self.segments]
        wrong = [name for name, column in zip(self.segments, columns, strict=True) if column.shape != (n,)]
        if wrong:
            raise AllocationError(f"The segment {wrong[0]!r} needs one label per unit ({n}).")
        rows: dict[tuple[Any, ...], list[int]] = {}
        for row, key in enumerate(zip(*columns, strict=True)):
            rows.setdefault(key, []).append(row)
        return [
            (np.asarray(part), self._charges(dict(zip(self.segments, key, strict=True))))
            for key, part in rows.items()
        ]

    def _open(self, eligible: Any, shape: tuple[int, ...]) -> np.ndarray | None:
        if eligible is None:
            if self.eligibility_given:
                raise AllocationError("The plan had rules on who may get which arm: pass eligible.")
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

    def _best(
        self, value: np.ndarray, cost: np.ndarray, open_arm: np.ndarray | None, held: Charges, shift: float
    ) -> np.ndarray:
        """Arm code of the largest reduced value; ties: the cheaper, then the more valuable, as in the solver."""
        n = len(value)
        best, best_v, best_c = np.zeros(n), np.zeros(n), np.zeros(n)
        codes = np.zeros(n, np.int16)
        for j, (weight, money, contact) in enumerate(zip(held.weight, held.money, held.contact, strict=True)):
            v, c = value[:, j], cost[:, j]
            with np.errstate(invalid="ignore"):
                reduced = weight * v - max(money + shift, self._least) * c - contact
                take = (reduced > best) | (
                    (reduced == best) & ((c < best_c) | ((c == best_c) & (v > best_v)))
                )
                if not self.allow_harm:
                    take &= ~((v < 0.0) & (c < 0.0))
            if open_arm is not None:
                take &= open_arm[:, j]
            best = np.where(take, reduced, best)
            best_v = np.where(take, v, best_v)
            best_c = np.where(take, c, best_c)
            codes[take] = j + 1
        return codes

    def _rules(self) -> tuple[str, float, Mapping[str, CostRule]]:
        if self.stage is None or self.margin is None or self.costs is None:
            raise AllocationError(
                "This policy was made from plain arrays and has no stage, margin and costs: pass value and cost."
            )
        return self.stage, self.margin, self.costs
