"""What constructor parameters may be: one table of rules per model, checked before fitting.

Constructors only store, so that a wrong value would otherwise surface as a traceback from the depths of a learner.
Numbers from numpy are taken for what they are and become plain ones, which JSON can hold.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np

from uplift.errors import ModelError, did_you_mean


class Refused(ValueError):
    """A value that a rule does not allow."""


class Rule(ABC):
    """What one parameter may be; `expected` says it in words that follow "it must be"."""

    expected: str

    @abstractmethod
    def accept(self, given: Any) -> Any:
        """`given` as a plain Python value.

        Raises
        ------
        Refused
            It is not allowed.
        """

    def remedy(self, given: Any) -> str:
        """Second half of the sentence that refuses `given`."""
        return f"it must be {self.expected}."


class Whole(Rule):
    """A whole number from `low` to `high`, both allowed; True and False are none.

    Examples
    --------
    >>> Whole(1).accept(np.int64(3)), Whole(1).expected
    (3, 'a whole number >= 1')
    """

    def __init__(self, low: int | None = None, high: int | None = None) -> None:
        self.low, self.high = low, high
        bounds = "" if low is None else f" >= {low}" if high is None else f" from {low} to {high:,}"
        self.expected = f"a whole number{bounds}"

    def accept(self, given: Any) -> int:
        if not isinstance(given, int | np.integer) or isinstance(given, bool):
            raise Refused
        plain = int(given)
        if (self.low is not None and plain < self.low) or (self.high is not None and plain > self.high):
            raise Refused
        return plain


class Number(Rule):
    """A finite number between `low` and `high`; `open_low` and `open_high` exclude the bounds.

    Examples
    --------
    >>> Number(0, 1, open_low=True).accept(np.float32(0.5)), Number(0, 1, open_low=True).expected
    (0.5, 'a number in (0, 1]')
    """

    def __init__(
        self, low: float, high: float = math.inf, *, open_low: bool = False, open_high: bool = False
    ) -> None:
        self.low, self.high, self.open_low, self.open_high = low, high, open_low, open_high
        if math.isinf(high):
            self.expected = f"a finite number {'>' if open_low else '>='} {low:g}"
        else:
            self.expected = (
                f"a number in {'(' if open_low else '['}{low:g}, {high:g}{')' if open_high else ']'}"
            )

    def accept(self, given: Any) -> float:
        if not isinstance(given, int | float | np.integer | np.floating) or isinstance(given, bool):
            raise Refused
        plain = given.item() if isinstance(given, np.generic) else given
        above = plain > self.low if self.open_low else plain >= self.low
        below = plain < self.high if self.open_high else plain <= self.high
        if not (above and below and math.isfinite(plain)):
            raise Refused
        return plain


class Flag(Rule):
    """True or False."""

    expected = "True or False"

    def accept(self, given: Any) -> bool:
        if not isinstance(given, bool | np.bool_):
            raise Refused
        return bool(given)


class Text(Rule):
    """Any text; `expected` says which kind."""

    def __init__(self, expected: str) -> None:
        self.expected = expected

    def accept(self, given: Any) -> str:
        if not isinstance(given, str):
            raise Refused
        return str(given)


class Choice(Rule):
    """One of some words.

    Examples
    --------
    >>> Choice("qini", "loss").expected, Choice("qini", "loss").remedy("qiny")
    ("'qini' or 'loss'", "did you mean 'qini'?")
    """

    def __init__(self, *options: str) -> None:
        self.options = options
        self.expected = " or ".join(map(repr, options))

    def accept(self, given: Any) -> str:
        if not isinstance(given, str) or given not in self.options:
            raise Refused
        return str(given)

    def remedy(self, given: Any) -> str:
        if isinstance(given, str):
            return did_you_mean(given, self.options, limit=len(self.options))
        return super().remedy(given)


class Each(Rule):
    """A list, tuple or one-dimensional array whose entries all obey `rule`; `least` is the smallest length.

    Examples
    --------
    >>> Each(Whole(1)).accept(np.array([64, 32])), Each(Whole(1), least=1).expected
    ([64, 32], 'a list of one or more entries, each a whole number >= 1')
    """

    def __init__(self, rule: Rule, *, least: int = 0) -> None:
        self.rule, self.least = rule, least
        self.expected = f"a list{' of one or more entries' if least else ''}, each {rule.expected}"

    def accept(self, given: Any) -> list[Any] | tuple[Any, ...]:
        if not isinstance(given, list | tuple | np.ndarray) or np.ndim(given) != 1 or len(given) < self.least:
            raise Refused
        entries = [self.rule.accept(entry) for entry in given]
        return tuple(entries) if isinstance(given, tuple) else entries


class Either(Rule):
    """What any of some rules allows.

    Examples
    --------
    >>> Either(Whole(1), Choice("sqrt")).expected
    "a whole number >= 1 or 'sqrt'"
    """

    def __init__(self, *rules: Rule) -> None:
        self.rules = rules
        self.expected = " or ".join(rule.expected for rule in rules)

    def accept(self, given: Any) -> Any:
        for rule in self.rules:
            try:
                return rule.accept(given)
            except Refused:
                continue
        raise Refused


class OrNone(Rule):
    """What `rule` allows, or None."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.expected = f"{rule.expected}, or left out"

    def accept(self, given: Any) -> Any:
        return None if given is None else self.rule.accept(given)


SEED = Whole(0, 2**31 - 1)
"""LightGBM takes no larger seed, and scikit-learn none below zero."""

THREADS = Whole()
"""Number of threads: -1 is all cores."""


def accepted(model: str, rules: Mapping[str, Rule], params: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters that have a rule, as plain Python values.

    Raises
    ------
    ModelError
        The first one that is not allowed: model, name, value and what is expected.
    """
    plain = {}
    for name, rule in rules.items():
        try:
            plain[name] = rule.accept(params[name])
        except Refused:
            given = params[name]
            raise ModelError(f"model {model!r}: {name} is {_shown(given)}; {rule.remedy(given)}") from None
    return plain


def _shown(given: Any) -> str:
    text = " ".join(repr(given).split())
    return text if len(text) <= 60 else f"{text[:57]}..."
