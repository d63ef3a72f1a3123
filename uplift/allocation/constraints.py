"""Business rules of an allocation as small frozen objects, with one plain form for Python and ``campaign.toml``.

    constraints=[Budget(1000, segment="region"), Stock({"ten": 500}), MinReach(100, arm="five")]

is the same as a list of tables with a key ``kind``, which is also what ``[[decide.constraint]]`` holds:

    [[decide.constraint]]
    kind = "budget"
    limit = 1000
    segment = "region"

Every rule is a limit on a sum over the chosen arms, in whole units of counting (int64), so that "never over" is
meant literally. Rules that say who may get an arm at all (`Eligible`, `DoNotDisturb`) are masks: they need no price.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar

from uplift.errors import AllocationError, did_you_mean


@dataclass(frozen=True, eq=False)
class Constraint:
    """A limit on what the chosen arms use, for everybody or per segment or arm.

    Parameters
    ----------
    limit : float or mapping
        One number for every level of the segment (every arm without `arm` and `segment` where the class says so),
        or a mapping: from level to number with `segment`, from arm to number without.
    segment : str or array-like [unit], optional
        Column of the campaign (of `columns` in :func:`uplift.allocation.allocate`), or one label per unit. Units
        without a label (null) are in no segment.
    level : optional
        Only this level of the segment.
    arm : str, optional
        Only this arm counts. Default: every arm but the control.
    name : str, optional
        Name in prices and tables; default made of kind, segment level and arm.
    """

    kind: ClassVar[str] = ""
    per_arm: ClassVar[bool] = False
    """Whether a bare number holds for every arm on its own."""
    floor: ClassVar[bool] = False

    limit: Any
    segment: Any = None
    level: Any = None
    arm: str | None = None
    name: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The plain form; keys without a value are left out."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {"kind": self.kind} | {key: value for key, value in values.items() if value is not None}


class Budget(Constraint):
    """Expected cost of the chosen arms is at most `limit` (money, >= 0).

    ``Budget(5000)``: of everybody (the same as ``budget=5000``). ``Budget(1000, segment="region")``: of each region.
    ``Budget({"north": 2000}, segment="region")``: of the north. ``Budget(800, arm="ten")``: of one arm.

    Parameters
    ----------
    limit, segment, level, arm
        As in :class:`Constraint`.

    Examples
    --------
    >>> Budget({"north": 2000}, segment="region").to_dict()
    {'kind': 'budget', 'limit': {'north': 2000}, 'segment': 'region'}
    """

    kind = "budget"


class Stock(Constraint):
    """At most `limit` units get the arm: ``Stock({"ten": 500, "five": 2000})`` or ``Stock(500, arm="ten")``.

    A bare number without `arm` is the stock of each arm. With `segment`: a stock per segment (of each arm).

    Parameters
    ----------
    limit, segment, level, arm
        As in :class:`Constraint`.

    Examples
    --------
    >>> from uplift import allocate_arrays
    >>> plan = allocate_arrays([[3.0], [2.0], [1.0]], [[1.0]] * 3, budget=None, arms=("ten",), constraints=[Stock({"ten": 2})])
    >>> plan.arm_codes.tolist(), plan.certificate.dual_prices["stock ten"] >= 1.0
    ([1, 1, 0], True)
    """

    kind = "stock"
    per_arm = True


class Cap(Constraint):
    """At most `limit` units are contacted (with any arm, unless `arm` says which): ``Cap(300, segment="store")``.

    Parameters
    ----------
    limit, segment, level, arm
        As in :class:`Constraint`.

    Examples
    --------
    >>> from uplift import allocate_arrays
    >>> plan = allocate_arrays([[3.0], [2.0], [1.0]], [[1.0]] * 3, budget=None, constraints=[Cap(1)])
    >>> plan.arm_codes.tolist()
    [1, 0, 0]
    """

    kind = "cap"


class MaxShare(Constraint):
    """At most the share `limit` (in [0, 1]) of the units is contacted; holdout and closed units count as units.

    ``MaxShare(0.2)``: of everybody; ``MaxShare(0.3, segment="region")``: of each region; ``MaxShare({"ten": 0.1})``:
    at most 10 % of all units get arm ``ten``.

    Parameters
    ----------
    limit, segment, level, arm
        As in :class:`Constraint`.

    Examples
    --------
    >>> from uplift import allocate_arrays
    >>> plan = allocate_arrays([[3.0], [2.0], [1.0]], [[1.0]] * 3, budget=None, constraints=[MaxShare(0.7)])
    >>> plan.arm_codes.tolist()
    [1, 1, 0]
    """

    kind = "max_share"


class MinReach(Constraint):
    """At least `limit` units are contacted (with any arm, unless `arm` says which).

    ``MinReach(500, segment="region")``: in each region; ``MinReach({"ten": 50})``: with one arm. Needs what it
    costs, even at negative value. Too much to ask is an error that says what stands in the way.

    Parameters
    ----------
    limit, segment, level, arm
        As in :class:`Constraint`.

    Examples
    --------
    >>> from uplift import allocate_arrays
    >>> plan = allocate_arrays([[3.0], [-1.0], [-2.0]], [[1.0]] * 3, budget=None, constraints=[MinReach(2)])
    >>> plan.arm_codes.tolist(), plan.certificate.expected_value
    ([1, 1, 0], 2.0)
    """

    kind = "min_reach"
    floor = True


class MinROI(Constraint):
    """Total value is at least `limit` times total cost: ``MinROI(2.0)``, ``MinROI(1.5, segment="region")``.

    On totals, so single steps may return far less; the floor for every single step is ``min_roi=...``. The value is
    the one that is maximised (after `caution`).

    Parameters
    ----------
    limit, segment, level, arm
        As in :class:`Constraint`.

    Examples
    --------
    >>> from uplift import allocate_arrays
    >>> plan = allocate_arrays([[3.0], [2.0], [1.0]], [[1.0]] * 3, budget=None, constraints=[MinROI(2.5)])
    >>> plan.arm_codes.tolist()
    [1, 1, 0]
    """

    kind = "min_roi"


@dataclass(frozen=True, eq=False)
class Eligible:
    """Who may get an arm at all.

    Parameters
    ----------
    when : str or array-like of bool [unit]
        A condition on columns, such as ``"age >= 18 and region in ['north', 'east']"`` (see
        :func:`uplift.allocation.conditions.evaluate`), or one boolean per unit. Missing values do not fulfil it.
    arm : str, optional
        The arm; default all.

    Examples
    --------
    >>> from uplift import allocate_arrays
    >>> adults = Eligible("age >= 18")
    >>> plan = allocate_arrays([[3.0], [2.0]], [[1.0]] * 2, budget=None, constraints=[adults], columns={"age": [17, 40]})
    >>> plan.arm_codes.tolist()
    [0, 1]
    """

    kind: ClassVar[str] = "eligible"
    when: Any
    arm: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The plain form."""
        return {"kind": self.kind, "when": self.when} | ({} if self.arm is None else {"arm": self.arm})


@dataclass(frozen=True)
class DoNotDisturb:
    """Never give an arm to a unit where even the upper end of its uplift's interval is below `above`.

    Needs effects with intervals.

    Parameters
    ----------
    above : float
        In units of the stage (default 0: only units to whom the arm surely does harm are left alone).

    Examples
    --------
    >>> DoNotDisturb(above=0.01).to_dict()
    {'kind': 'do_not_disturb', 'above': 0.01}
    """

    kind: ClassVar[str] = "do_not_disturb"
    above: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """The plain form."""
        return {"kind": self.kind} | ({"above": self.above} if self.above else {})


Rule = Constraint | Eligible | DoNotDisturb
KINDS: dict[str, type[Rule]] = {
    cls.kind: cls for cls in (Budget, Stock, Cap, MaxShare, MinReach, MinROI, Eligible, DoNotDisturb)
}


def constraint_from_dict(table: Mapping[str, Any]) -> Rule:
    """A rule from its plain form.

    Parameters
    ----------
    table : mapping
        ``kind``, and the fields of the rule of that kind.

    Returns
    -------
    Constraint, Eligible or DoNotDisturb

    Raises
    ------
    AllocationError
        Unknown kind or key, or a key is missing.

    Examples
    --------
    >>> constraint_from_dict({"kind": "stock", "limit": {"ten": 500}}).limit
    {'ten': 500}
    """
    if not isinstance(table, Mapping) or "kind" not in table:
        raise AllocationError(
            f"The constraint {table!r} has no kind: give a table such as {{kind = 'stock', limit = 500, arm = 'ten'}}."
        )
    kind = table["kind"]
    cls = KINDS.get(kind) if isinstance(kind, str) else None
    if cls is None:
        raise AllocationError(f"There is no constraint of kind {kind!r}: {did_you_mean(str(kind), KINDS)}")
    known = {field.name: field for field in fields(cls)}
    for key in table:
        if key != "kind" and key not in known:
            raise AllocationError(
                f"A constraint of kind {kind!r} has no key {key!r}: {did_you_mean(str(key), known)}"
            )
    needed = {"limit", "when"} & set(known)
    missing = sorted(needed - set(table))
    if missing:
        raise AllocationError(f"The constraint of kind {kind!r} has no {missing[0]}: add it.")
    return cls(**{key: value for key, value in table.items() if key != "kind"})


def as_rules(constraints: Sequence[Any] | Mapping[str, Any] | Rule | None) -> tuple[Rule, ...]:
    """Rules from objects and plain forms, in the order given.

    Raises
    ------
    AllocationError
        Something is neither.
    """
    if constraints is None:
        return ()
    if isinstance(constraints, Mapping | Constraint | Eligible | DoNotDisturb):
        constraints = [constraints]
    if isinstance(constraints, str) or not isinstance(constraints, Iterable):
        raise AllocationError(
            f"constraints is {constraints!r}: give a list, such as [Stock({{'ten': 500}}), Budget(1000, segment='region')]."
        )
    rules: list[Rule] = []
    for given in constraints:
        if isinstance(given, Constraint | Eligible | DoNotDisturb):
            if isinstance(given, Constraint) and not given.kind:
                raise AllocationError("Constraint is only the base: use Budget, Stock, Cap, MinReach, ...")
            rules.append(given)
        else:
            rules.append(constraint_from_dict(given))
    return tuple(rules)


def scaled_constraints(constraints: Sequence[Any], factor: float) -> list[Rule]:
    """The same constraints for an audience `factor` times as large: money and counts grow, shares and returns stay."""
    found: list[Rule] = []
    for rule in as_rules(constraints):
        if isinstance(rule, Budget | Stock | Cap | MinReach):
            limit = rule.limit
            limit = (
                {key: v * factor for key, v in limit.items()}
                if isinstance(limit, Mapping)
                else limit * factor
            )
            rule = replace(rule, limit=limit)
        found.append(rule)
    return found


def column_names(rules: Sequence[Rule]) -> set[str]:
    """Columns that segments and conditions read."""
    from uplift.allocation.conditions import names_in

    names: set[str] = set()
    for rule in rules:
        if isinstance(rule, Constraint) and isinstance(rule.segment, str):
            names.add(rule.segment)
        elif isinstance(rule, Eligible) and isinstance(rule.when, str):
            names |= names_in(rule.when)
    return names
