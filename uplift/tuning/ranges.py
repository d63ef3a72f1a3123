"""What one parameter may be tuned over, and how a user writes it down."""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from uplift.errors import ModelError, did_you_mean
from uplift.models.parameters import Refused, Rule, accepted

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

_DIGITS = 4
"""Significant digits of a tuned fraction: nobody wants to read more, and no model can tell them apart."""


class Range(ABC):
    """Values that one parameter may take."""

    @abstractmethod
    def distribution(self) -> BaseDistribution:
        """As Optuna's sampler knows it."""

    @abstractmethod
    def holds(self, value: Any) -> bool:
        """Whether `value` is among them."""

    @abstractmethod
    def plain(self) -> Any:
        """As in a TOML file."""

    @abstractmethod
    def examples(self) -> tuple[Any, ...]:
        """Values that a rule for the parameter must allow if it is to allow all."""

    @abstractmethod
    def including(self, value: Any) -> Range:
        """This range, widened to hold `value` where it can."""

    def decode(self, drawn: Any) -> Any:
        """The parameter's value for a value of :meth:`distribution`."""
        return drawn

    def encode(self, value: Any) -> Any:
        """Inverse of :meth:`decode`."""
        return value


@dataclass(frozen=True)
class IntRange(Range):
    """Whole numbers from `low` to `high`, evenly or (`log`) evenly on a logarithmic scale.

    Examples
    --------
    >>> str(IntRange(4, 64, log=True))
    '4 to 64 (log)'
    """

    low: int
    high: int
    log: bool = False

    def distribution(self) -> BaseDistribution:
        from optuna.distributions import IntDistribution

        return IntDistribution(self.low, self.high, log=self.log)

    def holds(self, value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and self.low <= value <= self.high

    def plain(self) -> dict[str, Any]:
        return {"low": self.low, "high": self.high, "log": self.log}

    def examples(self) -> tuple[Any, ...]:
        return (self.low, self.high)

    def including(self, value: Any) -> Range:
        if isinstance(value, bool) or not isinstance(value, int) or (self.log and value <= 0):
            return self
        return IntRange(min(self.low, value), max(self.high, value), self.log)

    def __str__(self) -> str:
        return f"{self.low:,} to {self.high:,}{' (log)' if self.log else ''}"


@dataclass(frozen=True)
class FloatRange(Range):
    """Numbers from `low` to `high`, evenly or (`log`) evenly on a logarithmic scale; four significant digits.

    Examples
    --------
    >>> FloatRange(0.01, 0.3, log=True).decode(0.0123456)
    0.01235
    """

    low: float
    high: float
    log: bool = False

    def distribution(self) -> BaseDistribution:
        from optuna.distributions import FloatDistribution

        return FloatDistribution(self.low, self.high, log=self.log)

    def holds(self, value: Any) -> bool:
        return (
            isinstance(value, int | float) and not isinstance(value, bool) and self.low <= value <= self.high
        )

    def plain(self) -> dict[str, Any]:
        return {"low": self.low, "high": self.high, "log": self.log}

    def examples(self) -> tuple[Any, ...]:
        return (self.low, self.high)

    def including(self, value: Any) -> Range:
        if isinstance(value, bool) or not isinstance(value, int | float) or (self.log and value <= 0):
            return self
        return FloatRange(min(self.low, float(value)), max(self.high, float(value)), self.log)

    def decode(self, drawn: Any) -> float:
        return min(max(float(f"{drawn:.{_DIGITS}g}"), self.low), self.high)

    def encode(self, value: Any) -> float:
        return float(value)

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}{' (log)' if self.log else ''}"


@dataclass(frozen=True)
class Choices(Range):
    """One of some values: numbers, words, truth values or lists of these.

    Examples
    --------
    >>> widths = Choices(((64,), (128, 64)))
    >>> str(widths), widths.decode(widths.encode((128, 64)))
    ('[64] or [128, 64]', [128, 64])
    """

    options: tuple[Any, ...]

    def distribution(self) -> BaseDistribution:
        from optuna.distributions import CategoricalDistribution

        return CategoricalDistribution([json.dumps(option) for option in self.options])

    def holds(self, value: Any) -> bool:
        return _text(value) in [json.dumps(option) for option in self.options]

    def plain(self) -> list[Any]:
        result: list[Any] = json.loads(json.dumps(self.options))
        return result

    def examples(self) -> tuple[Any, ...]:
        return tuple(self.plain())

    def including(self, value: Any) -> Range:
        return self if self.holds(value) or _text(value) is None else Choices((*self.options, value))

    def decode(self, drawn: Any) -> Any:
        return json.loads(drawn)

    def encode(self, value: Any) -> str:
        return json.dumps(value)

    def __str__(self) -> str:
        return " or ".join(json.dumps(option).strip('"') for option in self.options)


def parse_range(model: str, name: str, given: Any, rule: Rule | None) -> Range | None:
    """The range that a user wrote, or None where it is a plain value: the parameter is then kept at it.

    Parameters
    ----------
    model, name : str
        Of the parameter, for messages.
    given : object
        ``{"low": 4, "high": 64, "log": True}``, a list of choices, or a value.
    rule : Rule, optional
        What the parameter may be.

    Raises
    ------
    ModelError
        It is no range, or holds values that the parameter may not have.

    Examples
    --------
    >>> from uplift.models.parameters import Number, Whole
    >>> parse_range("m", "num_leaves", {"low": 4, "high": 64}, Whole(2))
    IntRange(low=4, high=64, log=False)
    >>> parse_range("m", "reg_lambda", {"low": 0, "high": 5}, Number(0))
    FloatRange(low=0.0, high=5.0, log=False)
    """
    if isinstance(given, Mapping):
        found: Range = _numbers(f"[tune.{model}] {name}", given, rule)
    elif isinstance(given, list | tuple) and given:
        found = Choices(tuple(given))
    else:
        _check(model, name, given, rule)
        return None
    for example in found.examples():
        _check(model, name, example, rule)
    return found


def _numbers(where: str, given: Mapping[str, Any], rule: Rule | None) -> Range:
    for key in given:
        if key not in ("low", "high", "log"):
            raise ModelError(
                f"{where} has the unknown key {key!r}; {did_you_mean(key, ('low', 'high', 'log'))}"
            )
    low, high, log = given.get("low"), given.get("high"), given.get("log", False)
    for key, bound in (("low", low), ("high", high)):
        if not isinstance(bound, int | float) or isinstance(bound, bool) or not math.isfinite(bound):
            raise ModelError(
                f"{where} lacks a number for {key!r}; write for example {{ low = 4, high = 64, log = true }}."
            )
    assert isinstance(low, int | float)
    assert isinstance(high, int | float)
    if not isinstance(log, bool):
        raise ModelError(f"{where} log is {log!r}; it must be true or false.")
    if low >= high:
        raise ModelError(f"{where} goes from {low:g} to {high:g}; low must be less than high.")
    if log and low <= 0:
        raise ModelError(f"{where} goes from {low:g} on a logarithmic scale; low must be > 0 there.")
    if isinstance(low, int) and isinstance(high, int) and not _takes_fractions(rule, low):
        return IntRange(low, high, log)
    return FloatRange(float(low), float(high), log)


def _takes_fractions(rule: Rule | None, near: int) -> bool:
    if rule is None:
        return False
    try:
        rule.accept(near + 0.5)
    except Refused:
        return False
    return True


def _check(model: str, name: str, value: Any, rule: Rule | None) -> None:
    if rule is None:
        return
    try:
        accepted(model, {name: rule}, {name: value})
    except ModelError as error:
        raise ModelError(f"[tune.{model}]: {error}") from None


def _text(value: Any) -> str | None:
    try:
        return json.dumps(value)
    except TypeError:
        return None
