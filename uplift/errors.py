"""Errors that a user can act on: one sentence with what was found, what was expected and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UpliftError(Exception):
    """Bad input. The message is one sentence that names the thing, the count and the remedy.

    The command line prints it without a traceback and exits with code 2.
    """


class CampaignError(UpliftError):
    """The campaign's table, roles or campaign file cannot be used as given."""


class ModelError(UpliftError):
    """A model cannot be fitted, saved, loaded or applied to this campaign."""


class EvaluationError(UpliftError):
    """Scores and outcomes do not allow the metric that was asked for."""


class AllocationError(UpliftError):
    """The allocation problem is ill-posed: budget, costs or values cannot be used."""


class DatasetError(UpliftError):
    """A public data set is unknown, missing or damaged."""


class OutputError(UpliftError):
    """A result cannot be written where it was asked for."""


class MissingDependencyError(UpliftError):
    """An optional library is missing or broken on this machine."""


def nearest(name: str, options: Iterable[str]) -> str | None:
    """Closest of `options` to a mistyped `name`, or None when nothing is close.

    Parameters
    ----------
    name : str
        What was written.
    options : iterable of str
        What is valid.

    Returns
    -------
    str or None

    Examples
    --------
    >>> nearest("convrsion", ["click", "conversion"])
    'conversion'
    """
    found = difflib.get_close_matches(str(name), [str(option) for option in options], n=1, cutoff=0.5)
    return found[0] if found else None


def first_line(error: BaseException) -> str:
    """First line of another library's error, for the middle of a sentence.

    Parameters
    ----------
    error : BaseException

    Returns
    -------
    str

    Examples
    --------
    >>> first_line(ValueError("no such table: log.\\n[SQL: select]"))
    'no such table: log'
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:200].rstrip(".")


def did_you_mean(name: str, options: Iterable[str], *, limit: int = 8) -> str:
    """Second half of an "unknown NAME" sentence: the nearest option, else the list of options.

    Parameters
    ----------
    name : str
        What was written.
    options : iterable of str
        What is valid.
    limit : int
        Options that are listed at most.

    Returns
    -------
    str

    Examples
    --------
    >>> did_you_mean("clik", ["click", "conversion"])
    "did you mean 'click'?"
    >>> did_you_mean("zzz", ["click", "conversion"])
    'choose from: click, conversion.'
    """
    options = [str(option) for option in options]
    close = nearest(name, options)
    if close is not None:
        return f"did you mean {close!r}?"
    shown = ", ".join(options[:limit]) + (", ..." if len(options) > limit else "")
    return f"choose from: {shown}." if options else "there is none."
