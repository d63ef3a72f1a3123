"""What must not be a feature: what says who, which arm, or how it ended; and what may have been known too late."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from uplift.inspection import relations, words
from uplift.inspection.outcomes import Outcomes
from uplift.inspection.profile import Profile
from uplift.io.tables import join_names

DIFFERENT_P, DIFFERENT_SIZE = 1e-8, 0.05
"""A column depends on the arm when its p-value is smaller and the size of the dependence (Cramer's V) larger than these."""
NEARLY_ARM = 0.8
"""Size from which a column says the arm rather than something about the customer. Below, it stays a feature: leaving a
confounder out would hide from the checks that there was no lottery."""
MANY = 0.3
"""Share of the features above which a dependence on the arm speaks against the randomisation, not the features."""
NEAR_ID = 0.5
"""Text with more different values than this share of the rows says who, not what kind."""
TELLS_ALL, COUNTS_ALL = 0.95, 0.85
"""Area under the ROC curve above which one column alone knows the outcome too well to have been known before; the
second for counts that are 0 for hardly anybody who reached it."""


@dataclass(frozen=True)
class LeftOut:
    """Columns that are no features, features to ask about, and what the reader should know.

    Attributes
    ----------
    excluded, doubtful : dict of column to reason
    notes : tuple of str
    """

    excluded: Mapping[str, str]
    doubtful: Mapping[str, str]
    notes: tuple[str, ...]


def left_out(rest: list[Profile], arm: np.ndarray, found: Outcomes, time: Profile | None) -> LeftOut:
    """Sort out what cannot be a feature.

    Parameters
    ----------
    rest : list of Profile
        Columns without another role.
    arm : ndarray of int [row]
    found : Outcomes
    time : Profile, optional
        When the rows were assigned.
    """
    rows = arm.size
    reasons: dict[str, str] = {}
    notes: list[str] = []
    first = found.reached[0] if found.reached else None
    different: dict[str, str] = {}
    nearly: list[str] = []
    for column in rest:
        named = set(column.words)
        if column.kind == "empty":
            reasons[column.name] = "empty"
        elif column.distinct == 1 and column.missing < 0.002:
            reasons[column.name] = "the same in every row"
        elif relations.determined(column, arm) or relations.marks_an_arm(column, arm):
            reasons[column.name] = "says which arm the row got"
        elif named & words.BOOKKEEPING and column.distinct <= 20:
            reasons[column.name] = "bookkeeping, not a trait of the customer"
        elif (
            column.kind == "text"
            and (named & words.PERSONAL or column.distinct > NEAR_ID * rows)
            and column.distinct > 0.1 * rows
        ):
            reasons[column.name] = f"near-id: {column.distinct:,} different values in {rows:,} rows"
        elif (
            column.kind == "number"
            and column.whole
            and column.distinct > 0.9 * rows
            and _looks_like_id(column)
        ):
            reasons[column.name] = f"near-id: {column.distinct:,} different whole numbers in {rows:,} rows"
        elif named & words.ROW_WORDS and column.distinct > NEAR_ID * rows:
            reasons[column.name] = "counts the rows"
        elif (
            first is not None
            and column.missing + _zero(column) > 0.2
            and relations.outside(column, first) < 0.005
        ):
            reasons[column.name] = (
                f"leak: only ever there when {next(iter(found.stages))!r} was reached, so known afterwards"
            )
        elif found.reached and (area := _tells(column, found.reached)):
            reasons[column.name] = (
                f"suspected leak: it alone tells the outcome (area under the curve {area:.2f})"
            )
        elif time is not None and column.kind == "date" and _after(column, time):
            reasons[column.name] = f"leak: dates after {time.name!r}"
        else:
            p, size = relations.arm_dependence(column, arm)
            if p < DIFFERENT_P and size > NEARLY_ARM:
                reasons[column.name] = f"says nearly which arm the row got ({_p(p)})"
                nearly.append(column.name)
            elif p < DIFFERENT_P and size > DIFFERENT_SIZE:
                different[column.name] = f"it differs between the arms far beyond chance ({_p(p)})"
    candidates = len(rest) - len(reasons)
    if nearly:
        notes.append(
            f"{join_names(nearly)} nearly says which arm a row got: if the coupons were given by it, this was no lottery; then it belongs under strata."
        )
    if len(different) > max(MANY * candidates, 2):
        notes.append(
            f"{len(different)} of {candidates} features differ between the arms: this treatment was not randomised over all rows; "
            "filter the rows of the experiment, or give the propensity or the strata."
        )
        different = {}
    elif different:
        notes.append(
            f"{join_names(different)} differ{'s' if len(different) == 1 else ''} between the arms: recorded after the treatment (then exclude), "
            "or the treatment depended on it (then this was no lottery, and 'uplift check' fails)."
        )
    return LeftOut(reasons, different, tuple(notes))


def _tells(column: Profile, reached: tuple[np.ndarray, ...]) -> float:
    """Area under the curve with which the column alone tells a stage, if that is too good to be true; else 0."""
    if set(column.words) & words.BEFORE:
        return 0.0
    area = max(relations.auc(column, stage) for stage in reached)
    return (
        area if area > TELLS_ALL or (area > COUNTS_ALL and relations.counts_up(column, reached[-1])) else 0.0
    )


def _looks_like_id(column: Profile) -> bool:
    if set(column.words) & words.ID_WORDS or column.pre.endswith("id") or set(column.words) & words.ROW_WORDS:
        return True
    steps = np.unique(np.diff(column.numbers)) if column.numbers is not None else np.zeros(0)
    return steps.size == 1  # a running number


def _zero(column: Profile) -> float:
    return 0.0 if column.numbers is None else float((column.numbers == 0).mean())


def _after(column: Profile, time: Profile) -> bool:
    assert column.numbers is not None
    assert time.numbers is not None
    seen = ~np.isnan(column.numbers) & ~np.isnan(time.numbers)
    return bool(seen.any()) and float((column.numbers[seen] > time.numbers[seen] + 1).mean()) > 0.005


def _p(p: float) -> str:
    return "p < 1e-99" if p < 1e-99 else f"p = {p:.0e}"
