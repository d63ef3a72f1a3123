"""Published numbers on data with known effects, to stand beside ours."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from importlib import resources


@dataclass(frozen=True)
class Published:
    """A table of a paper.

    Attributes
    ----------
    data : str
        Source of a :class:`~uplift.bench.entries.TruthEntry`.
    source, protocol, caveat : str
        Where it is, how it was measured, and what keeps it from being like for like.
    columns : tuple of str
        Ids of measures.
    methods : dict of str to list of float
        Method -> a number per column.
    """

    data: str
    source: str
    protocol: str
    caveat: str
    columns: tuple[str, ...]
    methods: dict[str, list[float]]


def published(data: str) -> list[Published]:
    """Tables on a data set.

    Examples
    --------
    >>> published("ihdp")[0].methods["TARNet"][:2]
    [0.88, 0.95]
    """
    content = tomllib.loads((resources.files("uplift.bench") / "literature.toml").read_text(encoding="utf-8"))
    return [
        Published(**{**table, "columns": tuple(table["columns"])})
        for table in content["tables"]
        if table["data"] == data
    ]
