"""Name of the columns in which plans and exports say which level of a segment each unit is in.

A limit such as a budget per region can only be added up again from a table that holds the region of every row; so
tables of plans whose limits count segments have one column for each of them.
"""

from __future__ import annotations

from collections.abc import Iterable

SEGMENT = "segment__"
"""Prefix of the columns with the level of a segment as text; null: in no segment."""


def segment_column(segment: str) -> str:
    """Column of a segment's levels, ``segment__NAME``.

    Examples
    --------
    >>> segment_column("region")
    'segment__region'
    """
    return SEGMENT + segment


def segment_columns(names: Iterable[str]) -> list[str]:
    """Those of the names that are segments' columns, in their order.

    Examples
    --------
    >>> segment_columns(["unit", "segment__region", "arm"])
    ['segment__region']
    """
    return [name for name in names if name.startswith(SEGMENT)]
