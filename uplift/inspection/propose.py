"""Look at a data file as a whole: read it, guess the roles, and mend what the guessed roles do not allow."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from uplift.errors import CampaignError
from uplift.inspection.guess import Proposal, guess_roles
from uplift.inspection.mend import mend
from uplift.inspection.profile import Profile, profile
from uplift.inspection.raw import Raw, has_comma_decimals, read_raw

SAMPLE = 150_000
"""Rows that guesses rest on; larger files are sampled at even steps."""


@dataclass(frozen=True, eq=False)
class Inspection:
    """What a data file holds and how it would become a campaign.

    Attributes
    ----------
    source : str
        File, glob or folder.
    n_rows : int
    proposal : Proposal
        Roles of all columns.
    mended : Table or None
        The data as the campaign needs them; None when the files can be used as they are.
    repairs : tuple of str
        What was changed in `mended`, each in words.
    arms : tuple of str
        Arms as the campaign will name them, control first.
    control : str
        The first of them.
    kinds : dict of column to str
        What each column holds: yes/no, number, date, text or empty.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from uplift.inspection import inspect
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "log.csv"
    >>> _ = file.write_text("id,coupon,bought,age\\n" + "\\n".join(f"{i},{('none', 'ten')[i % 2]},{int(i % 3 == 0)},{20 + i % 50}" for i in range(200)))
    >>> found = inspect(file)
    >>> found.columns
    ('id', 'coupon', 'bought', 'age')
    """

    source: str
    n_rows: int
    proposal: Proposal
    mended: pa.Table | None
    repairs: tuple[str, ...]
    arms: tuple[str, ...]
    control: str
    kinds: Mapping[str, str]
    _raw: Raw
    _profiles: list[Profile]

    def with_answers(self, answers: Mapping[str, str | tuple[str, ...] | None]) -> Inspection:
        """The same file, guessed again with what a person said (see :func:`uplift.inspection.guess.guess_roles`).

        Parameters
        ----------
        answers : mapping of role to column(s) or None

        Raises
        ------
        CampaignError
            An answer names a column that is not there.
        """
        return _conclude(self.source, self._raw, self._profiles, answers)

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the file, with the names they have in the campaign."""
        return tuple(self._raw.table.column_names)


def inspect(
    source: str | os.PathLike[str], *, answers: Mapping[str, str | tuple[str, ...] | None] | None = None
) -> Inspection:
    """Read a data file and guess which column plays which part.

    Parameters
    ----------
    source : path
        Parquet or CSV: a file, a glob or a folder. CSV may have semicolons, tabs or bars, a byte-order mark, Latin-1 or
        UTF-16 text, lines above the header, decimal commas, thousands separators, yes/no and dates in words.
    answers : mapping of role to column(s), optional
        What is known already.

    Returns
    -------
    Inspection

    Raises
    ------
    CampaignError
        The files cannot be read, hold no rows, or an answer names a column that is not there.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "log.csv"
    >>> rows = [f"{i};{'none' if i % 2 else 'ten'};{'ja' if i % 3 == 0 else 'nein'};{i % 7},5" for i in range(200)]
    >>> _ = file.write_text("customer_id;coupon;bought;visits_before\\n" + "\\n".join(rows))
    >>> found = inspect(file)
    >>> found.proposal.column("treatment"), found.control, found.proposal.chain, found.proposal.features
    ('coupon', 'none', ('bought',), ('visits_before',))
    """
    raw = read_raw(source)
    if raw.table.num_rows == 0:
        raise CampaignError(f"{os.fspath(source)} holds no rows; check the export.")
    step = max(1, -(-raw.table.num_rows // SAMPLE))
    sample = raw.table if step == 1 else raw.table.take(np.arange(0, raw.table.num_rows, step))
    profiles = profile(sample, comma=raw.csv and has_comma_decimals(sample))
    return _conclude(str(Path(source)), raw, profiles, answers or {})


def _conclude(
    source: str, raw: Raw, profiles: list[Profile], answers: Mapping[str, str | tuple[str, ...] | None]
) -> Inspection:
    from uplift.errors import did_you_mean

    names = [column.name for column in profiles]
    for role, answer in answers.items():
        for name in (answer,) if isinstance(answer, str) else answer or ():
            if role != "control" and name not in names:
                raise CampaignError(f"there is no column {name!r} for {role}; {did_you_mean(name, names)}")
    proposal = guess_roles(profiles, fixed=answers)
    whole = profiles
    if len(profiles[0].codes) < raw.table.num_rows:  # what may have to be mended, in all rows
        mended = {proposal.column(role) for role in ("treatment", "value", "unit")}
        mended |= {stage.column for stage in proposal.stages.values()}
        mended |= {column.name for column in profiles if column.reading is not None}
        table = raw.table.select([name for name in names if name in mended])
        whole = profile(table, comma=raw.csv and has_comma_decimals(raw.table))
        whole += [column for column in profiles if column.name not in mended]
    result = mend(raw, {column.name: column for column in whole}, proposal)
    kinds = {column.name: "yes/no" if column.kind == "flag" else column.kind for column in profiles}
    return Inspection(
        source,
        raw.table.num_rows,
        result.proposal,
        result.table,
        result.repairs,
        result.arms,
        result.control,
        kinds,
        raw,
        profiles,
    )
