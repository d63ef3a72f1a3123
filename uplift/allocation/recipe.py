"""Recipe: what a plan was made with, beside its numbers; enough to apply its rule to other units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from uplift.allocation.constraints import DoNotDisturb, Eligible, Rule
from uplift.arms import CostRule


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How values, costs and the holdout of a plan came about.

    Attributes
    ----------
    stage, margin, costs : optional
        As given to :func:`uplift.allocate`; None for plans from plain arrays.
    holdout_share : float or None
        Probability with which each unit was held out; None: a mask was given, so it is not known.
    salt : str
        Key of the hash that drew the holdout and broke ties.
    min_roi, allow_harm
        As given.
    eligibility_given : bool
        Arms were closed to some units.
    caution : float
        Standard errors that were taken off every uplift.
    exactly_one : bool
        Every unit had to get an arm.
    conditions : tuple of mapping
        Rules that closed arms (`Eligible`, `DoNotDisturb`) in their plain form; empty where a mask was given by hand
        too, so that the rules do not say all.
    unnamed_segments : bool
        A limit counts a segment that was given as labels, without the name of a column.
    """

    stage: str | None = None
    margin: float | None = None
    costs: Mapping[str, CostRule] | None = None
    holdout_share: float | None = 0.0
    salt: str = ""
    min_roi: float = 0.0
    allow_harm: bool = False
    eligibility_given: bool = False
    caution: float = 0.0
    exactly_one: bool = False
    conditions: tuple[Mapping[str, Any], ...] = ()
    unnamed_segments: bool = False


def conditions_of(rules: Sequence[Rule]) -> tuple[Mapping[str, Any], ...]:
    """Plain forms of the rules that close arms; empty where one of them is an array, so that they do not say all."""
    closing = [rule for rule in rules if isinstance(rule, Eligible | DoNotDisturb)]
    if any(isinstance(rule, Eligible) and not isinstance(rule.when, str) for rule in closing):
        return ()
    return tuple(rule.to_dict() for rule in closing)
