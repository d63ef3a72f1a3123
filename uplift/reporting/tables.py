"""Tables: what a reader sees in a cell, what a sort and a copy see, and nothing that is not a number."""

from __future__ import annotations

from dataclasses import dataclass, field

from uplift.reporting.numbers import MISSING, NO_INTERVAL, Unit, exact, finite, whole


@dataclass(frozen=True)
class Cell:
    """One cell.

    Attributes
    ----------
    text : str
        What is shown.
    value : str
        All digits, or the text to sort by; empty sorts last.
    small : str
        Second line: an interval, a remark.
    tone : str
        CSS class: "up", "down", "unclear", "strong" or empty. Never the only carrier of a meaning.
    code : bool
        Show as an identifier.
    low, high : str
        All digits of the ends of its interval.
    unit : str
        Numbers of different units in one column are sorted apart.
    """

    text: str
    value: str = ""
    small: str = ""
    tone: str = ""
    code: bool = False
    unit: str = ""
    low: str = ""
    high: str = ""


@dataclass(frozen=True)
class KeyNumber:
    """One card of the verdict.

    Attributes
    ----------
    id, label, text, note : str
        What it is, the number for people, and a line of context.
    value : str
        All digits, or empty when it is a word.
    tone : str
        "pass", "warn", "fail", "none" or empty.
    icon : str
    """

    id: str
    label: str
    text: str
    note: str
    value: str = ""
    tone: str = ""
    icon: str = ""


@dataclass(frozen=True)
class Column:
    """One column: its heading, the metric id under it, and whether it holds numbers."""

    title: str
    id: str = ""
    numeric: bool = True


@dataclass(frozen=True)
class Row:
    """Cells (the first is the row's heading) and the data attributes by which the page filters."""

    cells: tuple[Cell, ...]
    data: dict[str, str] = field(default_factory=dict)
    tone: str = ""


@dataclass(frozen=True)
class Table:
    """A table with a caption.

    Attributes
    ----------
    id, caption : str
    columns : tuple of Column
    rows : tuple of Row
    sortable : bool
    by : str
        Choices of the reader by whose data attributes the rows are filtered, such as "stage arm". So many columns after
        the first say the same and are hidden while it is filtered.
    cards : bool
        On a phone every row is a card, because its heading is long.
    """

    id: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    sortable: bool = False
    by: str = ""
    cards: bool = False


def text_cell(text: str, *, small: str = "", tone: str = "", code: bool = False) -> Cell:
    """A cell of words, sorted by them."""
    return Cell(text, text, small, tone, code)


def number_cell(
    number: float | int | None,
    unit: Unit,
    low: float | None = None,
    high: float | None = None,
    *,
    sign: bool = False,
    tone: str = "",
) -> Cell:
    """A number with its interval underneath; ends that are given and not finite mean that it has none."""
    if not finite(number):
        return Cell(MISSING, "", "not available")
    small = ""
    if finite(low) and finite(high):
        small = f"({unit.interval(low, high, sign=sign)})"
    elif low is not None or high is not None:
        small = NO_INTERVAL
    return Cell(
        unit.show(number, sign=sign),
        exact(number),
        small,
        tone,
        unit=unit.name,
        low=exact(low),
        high=exact(high),
    )


def count_cell(number: int, *, small: str = "") -> Cell:
    """A count."""
    return Cell(whole(number), str(int(number)), small)
