"""Guess which column plays which part, with the reason of every guess and how sure it is.

The order matters: the arm first, because what depends on the arm gives outcomes and leaks away; then the chain and
the value; then ids, dates and the rest. Names decide where they say something, data where they do not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from uplift.inspection import outcomes, relations, words
from uplift.inspection.leaks import left_out
from uplift.inspection.profile import Profile

Sure = Literal["sure", "likely", "unsure"]

MAX_ARMS = 60
"""Different values up to which a column may be the treatment."""
CLEAR = 8
"""Points above which a name alone says treatment; two such columns that disagree make the guess unsure."""


@dataclass(frozen=True)
class Guess:
    """One guess: which column(s), how sure, and why.

    Attributes
    ----------
    role : str
        ``treatment``, ``control``, ``chain``, ``value``, ``unit``, ``time``, ``strata``, ``propensity`` or ``weight``.
    value : str, tuple of str or None
        Column or columns; for ``control`` the arm.
    sure : {"sure", "likely", "unsure"}
    why : str
    options : tuple of str
        Other answers that are possible, for a question.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from uplift.inspection import inspect
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "log.csv"
    >>> _ = file.write_text("id,coupon,bought,age\\n" + "\\n".join(f"{i},{('none', 'ten')[i % 2]},{int(i % 3 == 0)},{20 + i % 50}" for i in range(200)))
    >>> found = inspect(file)
    >>> found.proposal.guesses["treatment"].value
    'coupon'
    """

    role: str
    value: str | tuple[str, ...] | None
    sure: Sure
    why: str
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Proposal:
    """Roles of all columns.

    Attributes
    ----------
    guesses : dict of role to Guess
    features : tuple of str
        Columns to learn from, in file order.
    categorical : tuple of str
        Those of them to treat as categories.
    excluded : dict of column to str
        Columns that are no features, and why.
    stages : dict of stage to Stage
        Where each stage comes from.
    notes : tuple of str
        What the reader should know.
    doubtful : dict of column to str
        Features that may have been recorded after the treatment, and why that is suspected.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from uplift.inspection import inspect
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "log.csv"
    >>> _ = file.write_text("id,coupon,bought,age\\n" + "\\n".join(f"{i},{('none', 'ten')[i % 2]},{int(i % 3 == 0)},{20 + i % 50}" for i in range(200)))
    >>> found = inspect(file)
    >>> found.proposal.column("treatment")
    'coupon'
    """

    guesses: Mapping[str, Guess]
    features: tuple[str, ...]
    categorical: tuple[str, ...]
    excluded: Mapping[str, str]
    stages: Mapping[str, outcomes.Stage] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    doubtful: Mapping[str, str] = field(default_factory=dict)

    def column(self, role: str) -> str | None:
        """The one column (or arm) of a role.

        Parameters
        ----------
        role : str
        """
        guess = self.guesses.get(role)
        return guess.value if guess is not None and isinstance(guess.value, str) else None

    @property
    def chain(self) -> tuple[str, ...]:
        """Stages in order."""
        guess = self.guesses.get("chain")
        return guess.value if guess is not None and isinstance(guess.value, tuple) else ()

    @property
    def unsure(self) -> list[Guess]:
        """Guesses that a person should look at."""
        return [guess for guess in self.guesses.values() if guess.sure == "unsure"]


def guess_roles(
    profiles: list[Profile], *, fixed: Mapping[str, str | tuple[str, ...] | None] | None = None
) -> Proposal:
    """Guess the roles of the columns of a file.

    Parameters
    ----------
    profiles : list of Profile
        From :func:`uplift.inspection.profile.profile`; all of the same rows.
    fixed : mapping of role to answer, optional
        What is known already (a person said so); the rest is guessed given that. None for "there is none". ``keep``
        names columns that are features for certain, ``drop`` those that are none.

    Returns
    -------
    Proposal

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from uplift.inspection import inspect
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "log.csv"
    >>> _ = file.write_text("id,coupon,bought,age\\n" + "\\n".join(f"{i},{('none', 'ten')[i % 2]},{int(i % 3 == 0)},{20 + i % 50}" for i in range(200)))
    >>> proposal = inspect(file).proposal  # reads the file and calls this
    >>> proposal.chain
    ('bought',)
    """
    answers = dict(fixed or {})
    by_name = {column.name: column for column in profiles}
    notes: list[str] = []
    guesses: dict[str, Guess] = {}

    treatment = guesses["treatment"] = _said(answers, "treatment") or _treatment(profiles)
    arm_column = by_name.get(str(treatment.value)) if treatment.value else None
    arm = (
        np.zeros(len(profiles[0].codes) if profiles else 0, np.int64)
        if arm_column is None
        else arm_column.codes + 1
    )
    if arm_column is not None:
        guesses["control"] = _said(answers, "control") or _control(arm_column, profiles)
    control_code = _control_code(arm_column, guesses.get("control"))

    found = outcomes.find_outcomes(
        [column for column in profiles if column is not arm_column and not (arm_column and relations.determined(column, arm))],
        arm, control_code, chain=answers.get("chain"), value=answers.get("value", ""),
    )  # fmt: skip
    guesses["chain"] = _said(answers, "chain") or Guess(
        "chain", tuple(found.stages), found.chain_sure, found.chain_why, found.options
    )
    if found.value is not None or "value" in answers:
        guesses["value"] = _said(answers, "value") or Guess(
            "value", found.value, found.value_sure, found.value_why
        )
    notes += found.notes
    excluded = dict(found.excluded)
    taken = {str(treatment.value), *(stage.column for stage in found.stages.values()), *excluded}
    if found.value:
        taken.add(found.value)

    rest = [column for column in profiles if column.name not in taken]
    for role, guesser in (("propensity", _propensity), ("weight", _weight), ("unit", _unit), ("time", _time)):
        guess = _said(answers, role) if role in answers else guesser(rest)
        if guess is not None:
            guesses[role] = guess
            taken.add(str(guess.value))
            rest = [column for column in rest if column.name not in taken]
    strata = _said(answers, "strata") if "strata" in answers else _strata(rest)
    if strata is not None and strata.value:
        guesses["strata"] = strata
    kept = set(strata.value or ()) if strata is not None else set()
    kept |= set(answers.get("keep") or ())
    said = set(answers.get("drop") or ())
    time_column = by_name.get(str(guesses["time"].value)) if "time" in guesses else None
    left = left_out([c for c in rest if c.name not in kept | said], arm, found, time_column)
    excluded |= {**left.excluded, **dict.fromkeys(said, "you said it was known only afterwards")}
    notes += left.notes
    features = [column for column in rest if column.name not in excluded]
    categorical = tuple(column.name for column in features if _categorical(column))
    return Proposal(
        guesses,
        tuple(c.name for c in features),
        categorical,
        excluded,
        found.stages,
        tuple(notes),
        left.doubtful,
    )


def _said(answers: Mapping[str, str | tuple[str, ...] | None], role: str) -> Guess | None:
    if role not in answers:
        return None
    return Guess(role, answers[role], "sure", "you said so")


def _score(column: Profile, table: Mapping[str, int]) -> int:
    return max((table[word] for word in column.words if word in table), default=0)


def _treatment(profiles: list[Profile]) -> Guess:
    scored: list[tuple[float, Profile]] = []
    for column in profiles:
        size = column.distinct + (0.002 < column.missing < 0.998)
        if (
            not 2 <= size <= MAX_ARMS
            or column.kind in ("date", "empty")
            or (column.kind == "number" and not column.whole)
        ):
            continue
        points = float(_score(column, words.TREATMENT))
        said = [word for word in column.words if word in words.TREATMENT]
        if set(column.words) & (words.BEFORE | words.DESCRIPTIVE):
            points -= 6
        if "test" in said and "group" in said:
            points += 4
        if column.kind == "text" and any(words.says_control(value) for value in column.values):
            # "none" is a common answer; it counts for more beside a name that fits.
            points += 6 if points > 0 else 2
        if column.missing > 0.05 and points > 0:
            points += 1  # nothing sent, nothing written
        if set(column.words) & words.OUTCOME and column.kind == "flag":
            points -= 4
        if points > 0:
            scored.append((points, column))
    if not scored:
        options = tuple(c.name for c in profiles if 2 <= c.distinct <= 10 and c.kind != "date")
        return Guess("treatment", None, "unsure", "no column reads like a treatment", options)
    scored.sort(key=lambda item: (-item[0], item[1].position))
    best_points, best = scored[0]
    reasons = [_shown(best)]
    for points, other in scored[1:]:
        # Of columns that say the same, the one with names; of nested ones, the finer.
        if (
            relations.finer(other, best)
            and not (relations.finer(best, other) and best.kind == "text")
            and points >= 4
            and (other.kind == "text" or not relations.finer(best, other))
        ):
            reasons.append(f"it says all that {best.name!r} says")
            best_points, best = max(points, best_points), other
    near = min(best_points - 3, CLEAR)
    rivals = [o for p, o in scored if o is not best and p > near and not relations.finer(best, o)]
    if rivals:
        return Guess(
            "treatment",
            best.name,
            "unsure",
            f"{reasons[0]}; could also be {_names(rivals)}",
            tuple(o.name for o in rivals),
        )
    sure: Sure = "sure" if best_points >= 9 else "likely" if best_points >= 5 else "unsure"
    why = _shown(best) + "".join(f"; {r}" for r in reasons[1:])
    return Guess("treatment", best.name, sure, why, tuple(o.name for _, o in scored if o is not best))


def _control(arm: Profile, profiles: list[Profile]) -> Guess:
    present = _spelled_once(arm)
    said = [value for value in present if words.says_control(value)]
    options = tuple(sorted(present)[:30])
    if len(said) == 1:
        return Guess("control", said[0], "sure", "the name says so", options)
    if len(said) > 1:
        first = max(said, key=lambda value: int(arm.counts[arm.values.index(value)]))
        return Guess(
            "control", first, "unsure", f"{len(said)} arms read like a control: {', '.join(said)}", options
        )
    if arm.missing > 0.05:
        return Guess(
            "control",
            outcomes.BLANK,
            "likely",
            f"{arm.missing:.0%} of the rows hold nothing: read as {outcomes.BLANK!r}",
            (outcomes.BLANK, *options),
        )
    for low in ("0", "false", "n", "no", "nein"):
        for value in present:
            if words.plain(value) == low:
                return Guess(
                    "control",
                    value,
                    "sure" if arm.distinct == 2 else "likely" if arm.distinct <= 12 else "unsure",
                    f"{value} means not treated",
                    options,
                )
    # A 0/1 column that says the same tells which arm is 0.
    for other in profiles:
        if (
            other is not arm
            and other.kind == "flag"
            and relations.finer(arm, other)
            and other.numbers is not None
            and other.distinct == 2
        ):
            zero = {int(code) for code in np.unique(arm.codes[other.numbers == 0])}
            if len(zero) == 1:
                return Guess(
                    "control", arm.values[zero.pop()], "likely", f"{other.name!r} is 0 there", options
                )
    from uplift.arms import natural_key

    for low in ("a", "standard", "old", "default"):
        for value in present:
            if low in words.words_of(value):
                return Guess(
                    "control", value, "likely", f"{value!r} is usually what was there before", options
                )
    first = min(present, key=natural_key)
    return Guess(
        "control",
        first,
        "unsure",
        "no arm reads like 'nothing was sent'; the first in order is taken",
        options,
    )


def _spelled_once(column: Profile) -> list[str]:
    """Values that occur, in the commonest of their spellings (``control``, ``CONTROL ``)."""
    order = sorted(range(len(column.values)), key=lambda i: -int(column.counts[i]))
    found: dict[str, str] = {}
    for i in order:
        if column.counts[i]:
            found.setdefault(words.plain(column.values[i]), column.values[i])
    return list(found.values())


def _control_code(arm: Profile | None, control: Guess | None) -> int:
    if arm is None or control is None or control.value not in arm.values:
        return 0  # blank rows
    return arm.values.index(str(control.value)) + 1


def _unit(rest: list[Profile]) -> Guess | None:
    rows = len(rest[0].codes) if rest else 0
    scored = []
    for column in rest:
        if (
            column.kind not in ("number", "text")
            or not column.whole
            or column.distinct < 0.02 * rows
            or column.missing > 0.02
        ):
            continue
        points = _score(column, words.UNIT)
        if set(column.words) & words.ID_WORDS or column.pre.endswith("id"):
            points += 4 if points else 3
        if set(column.words) & words.ROW_WORDS:
            points = 0
        if points >= 3 and (column.distinct > 0.2 * rows or points >= 8):
            scored.append((points, column))
    if not scored:
        return None
    scored.sort(key=lambda item: (-item[0], item[1].position))
    points, best = scored[0]
    share = best.distinct / max(rows, 1)
    why = f"{best.distinct:,} different ids in {rows:,} rows" if share < 1 else "a different id in every row"
    rivals = [c for p, c in scored[1:] if p > points - 2]
    if rivals:
        return Guess(
            "unit",
            best.name,
            "unsure",
            f"{why}; could also be {_names(rivals)}",
            tuple(c.name for c in rivals),
        )
    return Guess(
        "unit", best.name, "sure" if points >= 9 else "likely", why, tuple(c.name for _, c in scored[1:])
    )


def _time(rest: list[Profile]) -> Guess | None:
    scored = []
    for column in rest:
        if not (column.kind == "date" or _epoch(column)) or column.missing > 0.02:
            continue
        points = _score(column, words.TIME) + 1 - (8 if set(column.words) & words.TIME_BEFORE else 0)
        if points > 0:
            scored.append((points, column))
    if not scored:
        return None
    scored.sort(key=lambda item: (-item[0], item[1].position))
    points, best = scored[0]
    rivals = [c for p, c in scored[1:] if p > points - 2]
    options = tuple(c.name for _, c in scored[1:])
    if rivals:
        return Guess(
            "time", best.name, "unsure", f"dates without gaps; could also be {_names(rivals)}", options
        )
    return Guess("time", best.name, "sure" if points >= 6 else "likely", "dates without gaps", options)


def _epoch(column: Profile) -> bool:
    """Seconds or milliseconds since 1970, in a column that is named like a time."""
    if column.kind != "number" or column.numbers is None or not set(column.words) & set(words.TIME):
        return False
    low, high = np.nanmin(column.numbers), np.nanmax(column.numbers)
    return any(unit <= low <= high <= 2.2 * unit for unit in (1e9, 1e12))


def _propensity(rest: list[Profile]) -> Guess | None:
    for column in rest:
        named = bool(set(column.words) & words.PROPENSITY) and column.missing == 0
        if named and column.numbers is not None and 0 < column.numbers.min() <= column.numbers.max() <= 1:
            return Guess(
                "propensity",
                column.name,
                "likely",
                "named so, and between 0 and 1: the probability of the arm received",
            )
    return None


def _weight(rest: list[Profile]) -> Guess | None:
    for column in rest:
        if (
            column.numbers is not None
            and "".join(column.words) in words.WEIGHT
            and column.missing == 0
            and column.numbers.min() > 0
        ):
            return Guess("weight", column.name, "likely", "named so, and positive")
    return None


def _strata(rest: list[Profile]) -> Guess | None:
    found = tuple(
        c.name for c in rest if set(c.words) & words.STRATA and 2 <= c.distinct <= 500 and c.missing == 0
    )
    return (
        Guess("strata", found, "likely", "named so: the treatment was randomised within these")
        if found
        else None
    )


def _categorical(column: Profile) -> bool:
    if column.kind == "text":
        return True
    if column.kind == "flag":
        return column.reading is not None  # ja/nein stays text
    coded = column.words and (
        column.words[-1] in words.CODES or column.words[0] in words.CODES or column.pre.endswith("os")
    )
    return bool(coded) and column.kind == "number" and column.whole and column.distinct <= 1000


def _shown(column: Profile) -> str:
    found = _spelled_once(column)
    return f"{len(found)} values such as {', '.join(repr(value) for value in found[:3])}"


def _names(found: list[Profile]) -> str:
    return ", ".join(repr(column.name) for column in found[:3])
