"""Text as people export it (``1.234,50 €``, ``ja``, ``31.12.2025``) as numbers, booleans and dates."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from uplift import columns
from uplift.inspection.words import FALSE_WORDS, MISSING_WORDS, TRUE_WORDS, plain

Kind = Literal["number", "flag", "date"]

STRAY = 0.02
"""Share of values that may be no number (or date) in a column that is read as one; they become missing."""
DATE_FORMS = (
    "%Y-%m-%d", "%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%SZ", "%Y/%m/%d",
    "%d.%m.%Y", "%d.%m.%Y %H:%M", "%d.%m.%Y %H:%M:%S", "%d/%m/%Y", "%m/%d/%Y", "%d/%m/%Y %H:%M", "%m/%d/%Y %H:%M",
    "%d-%m-%Y", "%d.%m.%y", "%m/%d/%y", "%d %b %Y", "%d-%b-%Y", "%b %d, %Y", "%Y%m%d",
)  # fmt: skip
_MONEY = re.compile(r"[€$£¥%'’  ]|\b(eur|usd|gbp|chf|rub|kr|pln|zl)\b\.?", re.IGNORECASE)
_COMMA = re.compile(r"[+-]?(\d{1,3}(\.\d{3})+|\d+),\d+")
_COMMA_GROUPS = re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d+)?")
_DOT_GROUPS = re.compile(r"[+-]?\d{1,3}(\.\d{3})+")
_PLAIN = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)


@dataclass(frozen=True)
class Reading:
    """How a text column can be read.

    Attributes
    ----------
    kind : {"number", "flag", "date"}
    values : Array
        What it says, null where missing or not readable: float64, boolean or timestamp [row].
    how : str
        What was done, for a sentence.
    stray : tuple of str
        Distinct texts that were not readable and count as missing.
    doubtful : bool
        Whether it could be read in another way too (1,234; 03/04/2025).
    """

    kind: Kind
    values: pa.Array
    how: str
    stray: tuple[str, ...] = ()
    doubtful: bool = False


def comma_decimals(texts: Sequence[str]) -> bool:
    """Whether some text can only be a number with a decimal comma.

    Examples
    --------
    >>> comma_decimals(["1,5", "12,25"]), comma_decimals(["1,234", "12,500"])
    (True, False)
    """
    return any(
        _COMMA.fullmatch(t) and not _COMMA_GROUPS.fullmatch(t) for t in (_MONEY.sub("", t) for t in texts)
    )


def read_text(column: pa.Array | pa.ChunkedArray, *, comma: bool = False) -> Reading | None:
    """A text column as flags, numbers or dates; None when it is just text.

    Parameters
    ----------
    column : Arrow text or dictionary array [row]
    comma : bool
        Whether other columns of the file have decimal commas, so that 1.234 is a thousand.

    Examples
    --------
    >>> read_text(pa.array(["1.234,50 €", "7,25", "-"])).values.to_pylist()
    [1234.5, 7.25, None]
    >>> read_text(pa.array(["ja", "nein", "ja"])).values.to_pylist()
    [True, False, True]
    """
    encoded = columns.labels(column)
    words: list[str] = [word or "" for word in encoded.dictionary.to_pylist()]
    said = [word.strip() for word in words]
    present = [plain(word) not in MISSING_WORDS for word in said]
    shown = [word for word, there in zip(said, present, strict=True) if there]
    if not shown:
        return None
    for attempt in (_flags, lambda w: _numbers(w, comma), _dates):
        found = attempt(shown)
        if found is None:
            continue
        kind, parsed, how, doubtful = found
        lookup = dict(zip(shown, parsed, strict=True))
        values = [lookup.get(word) if there else None for word, there in zip(said, present, strict=True)]
        stray = tuple(word for word, value in lookup.items() if value is None)
        types = {"number": pa.float64(), "flag": pa.bool_(), "date": pa.timestamp("us")}
        table = pa.array(values, types[kind])
        taken = pc.take(table, encoded.indices)
        counts = pc.sum(
            pc.is_in(encoded.indices, pa.array([i for i, w in enumerate(said) if w in stray], pa.int32()))
        )
        if stray and (counts.as_py() or 0) > STRAY * len(encoded):
            continue
        return Reading(kind, taken, how, stray, doubtful)
    return None


_Found = tuple[Kind, list[Any], str, bool]


def _flags(shown: list[str]) -> _Found | None:
    low = [plain(word) for word in shown]
    if len(set(low)) == 2:
        short, long = sorted(set(low), key=len)
        if re.fullmatch(rf"(not?|non|nicht|kein|keine|un)[ _-]?{re.escape(short)}", long):
            return "flag", [word == short for word in low], f"{short}/{long}", False
    if len(set(low)) > 4 or not all(word in TRUE_WORDS | FALSE_WORDS for word in low):
        return None
    if set(low) <= {"0", "1"} or (
        len(set(low)) == 1 and set(low) != {"x"} and not set(low) & {"yes", "ja", "true"}
    ):
        return None
    return "flag", [word in TRUE_WORDS for word in low], "/".join(sorted(set(shown))[:4]), False


def _numbers(shown: list[str], comma: bool) -> _Found | None:
    bare = [_MONEY.sub("", word) for word in shown]
    dotted = [text for text in bare if "." in text and "," not in text]
    decimal_comma = comma_decimals(bare) or (comma and any("," in text for text in bare))
    if comma and dotted and all(_DOT_GROUPS.fullmatch(text) for text in dotted):
        decimal_comma = True
    doubtful = (
        not decimal_comma
        and not comma
        and any("," in t for t in bare)
        and not any("." in t or t.count(",") > 1 for t in bare)
    )
    read: Callable[[str], float | None] = _with_comma if decimal_comma else _with_dot
    parsed = [read(text) for text in bare]
    good = sum(value is not None for value in parsed)
    if good < 0.8 * len(parsed) or good == 0:
        return None
    marks = [] if bare == shown else ["currency, percent or blanks removed"]
    if decimal_comma:
        marks.append("decimal comma")
    elif any("," in text for text in bare):
        marks.append("thousands commas removed")
    return "number", parsed, ", ".join(marks) or "as numbers", doubtful


def _with_comma(text: str) -> float | None:
    if _COMMA.fullmatch(text) or _DOT_GROUPS.fullmatch(text):
        return float(text.replace(".", "").replace(",", "."))
    return _with_dot(text)


def _with_dot(text: str) -> float | None:
    if _COMMA_GROUPS.fullmatch(text):
        text = text.replace(",", "")
    return float(text) if _PLAIN.fullmatch(text) else None


def _dates(shown: list[str]) -> _Found | None:
    if not all(any(mark.isdigit() for mark in word) for word in shown[:20]):
        return None
    fits: list[tuple[int, str, list[datetime | None]]] = []
    for form in DATE_FORMS:
        if _date(shown[0], form) is None and _date(shown[-1], form) is None:
            continue
        parsed = [_date(word, form) for word in shown]
        fits.append((sum(value is not None for value in parsed), form, parsed))
    if not fits:
        return None
    best = max(count for count, _, _ in fits)
    if best < 0.8 * len(shown):
        return None
    winners = [fit for fit in fits if fit[0] == best]
    _, form, dates = winners[0]
    return "date", dates, f"dates as {form}", len(winners) > 1


def _date(word: str, form: str) -> datetime | None:
    try:
        found = datetime.strptime(word, form)
    except ValueError:
        return None
    return found if 1900 <= found.year <= 2100 else None
