"""CampaignStream: a campaign that stays on disk and is read block by block, however many rows it has."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from uplift import columns as cols
from uplift.arm_discovery import (
    MAX_ARMS,
    arm_text,
    arm_words,
    declare_arms,
    described_arms,
    order_arms,
)
from uplift.arms import Arm
from uplift.campaign import Campaign
from uplift.campaign_shape import CampaignShape
from uplift.errors import CampaignError
from uplift.io.blocks import BLOCK_ROWS, TableBlocks
from uplift.io.tables import Source, join_names
from uplift.roles import Roles, check_names
from uplift.splitting import check_share, unit_mask


@dataclass(frozen=True)
class Part:
    """One side of a split by the hash of the unit id; see :meth:`CampaignStream.split`."""

    share: float
    seed: int
    purpose: str
    held_out: bool

    def mask(self, block: Campaign) -> np.ndarray:
        """True for rows of this part, bool [row]."""
        held_out = unit_mask(block, test=self.share, seed=self.seed, purpose=self.purpose)
        return held_out if self.held_out else ~held_out


@dataclass(frozen=True, eq=False)
class CampaignStream(CampaignShape):
    """A campaign larger than memory: the same roles, arms and checks as :class:`Campaign`, read in blocks.

    Use the constructors :meth:`from_parquet` and :meth:`from_file`. They read the whole data twice, once only
    the treatment column to learn the arms and once every column in use to check it, and hold one block at a
    time. Nothing that is kept grows with the number of rows.

    Attributes
    ----------
    tables : TableBlocks
        The files.
    roles : Roles
        The part each column plays; features and categorical features are fixed, so that every block reads
        alike.
    arms : tuple of Arm
        Control first, then by name in natural order.
    name : str
        Name of the campaign.
    parts : tuple of Part
        The splits that led here.
    arm_counts : ndarray of int64 [arm]
        Rows of each arm; empty for an audience.
    stage_sums : ndarray of float64 [arm, stage]
        Sum of the outcomes; empty for an audience.
    n_rows : int
        Number of rows.

    Examples
    --------
    >>> import tempfile, pathlib, pyarrow.parquet
    >>> table = pa.table({"coupon": ["none", "five"] * 4, "buy": [0, 1] * 4, "age": range(8)})
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "log.parquet"
    >>> pyarrow.parquet.write_table(table, path)
    >>> stream = CampaignStream.from_parquet(
    ...     path, block_rows=3, treatment="coupon", control="none", chain="buy"
    ... )
    >>> [block.n_rows for block in stream.blocks()], stream.arm_counts.tolist()
    ([3, 3, 2], [4, 4])
    """

    tables: TableBlocks
    roles: Roles
    arms: tuple[Arm, ...]
    name: str = "campaign"
    parts: tuple[Part, ...] = ()
    arm_counts: np.ndarray = field(repr=False, default_factory=lambda: np.zeros(0, np.int64))
    stage_sums: np.ndarray = field(repr=False, default_factory=lambda: np.zeros((0, 0)))
    n_rows: int = 0
    _as_text: frozenset[str] = field(repr=False, default=frozenset())

    # ---------------------------------------------------------------- constructors

    @classmethod
    def from_parquet(
        cls,
        source: Source,
        *,
        block_rows: int = BLOCK_ROWS,
        arms: Mapping[str, Arm | Mapping[str, Any]] | None = None,
        name: str = "campaign",
        control: str | int | float | bool,
        **roles: Any,
    ) -> CampaignStream:
        """Open Parquet (or Arrow, Feather) files: a file, a glob, a folder or a list of files.

        Parameters
        ----------
        source : path, or list of paths
            Parquet or Arrow files, a glob or a folder.
        block_rows : int
            Most rows of a block. A file with one giant row group works; reading its blocks in random order is
            slow, so that training takes them in order. Files written with row groups of about this size are
            best.
        arms, name, control, roles
            As in :meth:`uplift.campaign.Campaign.from_table`.

        Raises
        ------
        CampaignError
            As :meth:`uplift.campaign.Campaign.from_table`, naming the file and the rows; or a column is missing
            in one of the files, or text in one and numbers in another.
        """
        tables = TableBlocks.open(source, block_rows=block_rows)
        given = Roles.of(control=arm_text(control), **roles)
        check_names(tables.names, given)
        if tables.n_rows == 0:
            raise CampaignError("the campaign has no rows; check the files.")
        features = given.feature_names(tables.names)
        used = given.used(features)
        tables = tables.select(name for name in tables.names if name in used)
        stream = cls(tables, _fixed(given, features, tables), (), name)
        stream = replace(stream, _as_text=stream._fractions())
        declared = declare_arms(order_arms(stream._arm_words(), given), given, arms or {})
        stream = replace(stream, arms=declared)
        stream.check_costs()
        return stream._counted(check=True)

    @classmethod
    def from_file(cls, path: str | os.PathLike[str], *, block_rows: int = BLOCK_ROWS) -> CampaignStream:
        """Open the data of a ``campaign.toml``; data paths in it are relative to the file.

        Parameters
        ----------
        path : path
            The campaign file.
        block_rows : int
            Rows per block.
        """
        from uplift.campaign_file import CampaignFile

        return CampaignFile.read(path).stream(block_rows=block_rows)

    # ---------------------------------------------------------------- what it is

    def __len__(self) -> int:
        return self.n_rows

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Columns to learn from, in table order (or as listed)."""
        return self.roles.features or ()

    @property
    def categorical_features(self) -> tuple[str, ...]:
        """Features treated as categories."""
        return self.roles.categorical or ()

    @property
    def numeric_features(self) -> tuple[str, ...]:
        """Features treated as numbers (booleans and dates included)."""
        return tuple(name for name in self.feature_names if name not in set(self.categorical_features))

    @property
    def has_outcomes(self) -> bool:
        """False for an audience that is only to be scored."""
        return {self.roles.treatment, *self.chain} <= set(self.tables.schema.names)

    @property
    def role_columns(self) -> tuple[str, ...]:
        """Columns that say who got what and what followed: everything but features (strata included)."""
        wanted = {*self.roles.named(), *self.roles.strata}
        return tuple(name for name in self.tables.schema.names if name in wanted)

    @property
    def rates(self) -> np.ndarray:
        """Mean outcome per arm and stage, float64 [arm, stage], not weighted."""
        result: np.ndarray = self.stage_sums / self.arm_counts[:, None]
        return result

    @property
    def n_blocks(self) -> int:
        """Number of blocks of the files."""
        return len(self.tables.blocks)

    @cached_property
    def runs(self) -> tuple[tuple[int, ...], ...]:
        """Blocks grouped by what is cheap to read in order: slices of one large row group, else one block each."""
        found: dict[int, list[int]] = {}
        for position, block in enumerate(self.tables.blocks):
            found.setdefault(block.run, []).append(position)
        return tuple(tuple(run) for run in found.values())

    # ---------------------------------------------------------------- reading

    def blocks(
        self, order: Sequence[int] | None = None, *, columns: Iterable[str] | None = None
    ) -> Iterator[Campaign]:
        """Yield blocks as campaigns in memory with the arms of the whole stream and row numbers of the source.

        Parameters
        ----------
        order : sequence of int, optional
            Positions of the blocks, from 0 to ``n_blocks - 1``; default all in order. A block without rows of
            this part of a split is left out.
        columns : iterable of str, optional
            Read only these columns (and what a split needs), for example :attr:`role_columns`.

        Raises
        ------
        CampaignError
            A file cannot be read, or was changed meanwhile.
        """
        for _, block in self._read(order, columns):
            if block.n_rows:
                yield block

    def fingerprint(self) -> str:
        """SHA-256 of the columns in use, as :meth:`Campaign.fingerprint` of the same rows; one pass."""
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        from uplift.io.fingerprint import TableDigest

        digest = TableDigest(self.tables.schema.names)
        for _, block in self._read(None, None, as_text=False):
            digest.update(block.table)
        return digest.hexdigest()

    def summary(self) -> dict[str, Any]:
        """Names, sizes and arm counts, as plain JSON types (the number of units is not known)."""
        counts = zip(self.arms, self.arm_counts, strict=False)
        return {
            "name": self.name,
            "rows": self.n_rows,
            "unit": self.roles.unit,
            "control": self.control,
            "chain": list(self.chain),
            "value": self.roles.value,
            "features": list(self.feature_names),
            "categorical": list(self.categorical_features),
            "arms": {arm.name: int(count) for arm, count in counts},
        }

    # ---------------------------------------------------------------- verbs

    def split(
        self, *, test: float = 0.3, seed: int = 0, by: str = "unit", purpose: str = "test"
    ) -> tuple[CampaignStream, CampaignStream]:
        """Two streams, (train, test), of the same rows as :meth:`uplift.campaign.Campaign.split` would give.

        Parameters
        ----------
        test : float
            Share of the units in the second part, in (0, 1).
        seed : int
            The same seed gives the same parts.
        by : {"unit"}
        purpose : str
            Splits of different purposes are drawn independently.

        Raises
        ------
        CampaignError
            `test` out of range, a part would be empty, or ``by="time"``: that needs the first time of every
            unit, which is not kept.
        """
        check_share(test)
        if by != "unit":
            raise CampaignError(
                f"a stream cannot be split by {by!r}, only by 'unit'; load the campaign whole, or write earlier and later rows to separate files."
            )
        train, held = (
            replace(self, parts=(*self.parts, Part(test, seed, purpose, side)))._counted()
            for side in (False, True)
        )
        if not train.n_rows or not held.n_rows:
            raise CampaignError(
                f"a {test:.0%} test split of {self.n_rows:,} rows leaves one part empty; use more units or another share."
            )
        return train, held

    def audience(
        self,
        source: Source,
        *,
        arms: Mapping[str, Arm | Mapping[str, Any]] | None = None,
        block_rows: int = BLOCK_ROWS,
    ) -> CampaignStream:
        """Other customers to be scored with this campaign's roles; they need no treatment and no outcomes.

        Parameters
        ----------
        source : files
            The customers.
        arms : mapping of arm name to Arm or dict, optional
            The treated arms to be scored in place of this campaign's, as in :meth:`Campaign.audience`.
        block_rows : int
            Rows per block, at most.

        Raises
        ------
        CampaignError
            A feature or the unit column is missing or of another type, the audience is empty, or `arms` names the
            control or none.
        """
        tables = TableBlocks.open(source, block_rows=block_rows)
        unit = (self.roles.unit,) if self.roles.unit else ()
        time = (self.roles.time,) if self.roles.time else ()
        missing = [name for name in (*self.feature_names, *unit) if name not in tables.names]
        if missing:
            raise CampaignError(
                f"the audience has no column {join_names(missing)}, which the campaign uses; add it."
            )
        if tables.n_rows == 0:
            raise CampaignError("the audience has no rows; check the files.")
        used = {*self.feature_names, *unit, *self.roles.strata, *time}
        tables = tables.select(name for name in tables.names if name in used)
        for name in self.numeric_features:
            empty = _empty(tables.schema, name)
            if not cols.is_numeric(empty):
                raise CampaignError(
                    f"feature {name!r} is numeric in the campaign and {empty.type} in the audience; convert it."
                )
        scored = self.arms if arms is None else (self.arms[0], *described_arms(arms, self.roles))
        audience = CampaignStream(tables, self.roles, scored, self.name)
        audience.check_costs()
        return replace(audience, _as_text=audience._fractions())._counted(check=True)

    def __repr__(self) -> str:
        arms = " | ".join(self.arm_names[:8]) + (" | ..." if len(self.arms) > 8 else "")
        return f"CampaignStream({self.name!r}: {self.n_rows:,} rows in {self.n_blocks:,} blocks, arms {arms}, chain {' -> '.join(self.stages)}, {len(self.feature_names)} features)"

    # ---------------------------------------------------------------- passes

    def _read(
        self, order: Sequence[int] | None, columns: Iterable[str] | None, *, as_text: bool = True
    ) -> Iterator[tuple[int, Campaign]]:
        """Position and rows of each block; a block may be empty after a split."""
        order = range(self.n_blocks) if order is None else order
        names = self.tables.schema.names
        if columns is not None:
            wanted = set(columns) | ({self.roles.unit} if self.parts else set())
            names = [name for name in names if name in wanted]
            # A table needs a column to have rows.
            names = names or self.tables.schema.names[:1]
        features = tuple(name for name in self.feature_names if name in names)
        kinds = tuple(name for name in self.categorical_features if name in names)
        roles = replace(self.roles, features=features, categorical=kinds)
        for position, table in zip(order, self.tables.read(order, columns=names), strict=True):
            for name in self._as_text & set(names) if as_text else ():
                table = table.set_column(names.index(name), name, _text(table[name]))
            first = self.tables.blocks[position].first
            block = Campaign(
                table, roles, self.arms, self.name, np.arange(first, first + table.num_rows, dtype=np.int64)
            )
            for part in self.parts:
                block = block.take(part.mask(block))
            yield position, block

    def _arm_words(self) -> set[str]:
        words: set[str] = set()
        treatment = self.roles.treatment
        for position, table in enumerate(self.tables.read(columns=[treatment])):
            column = _text(table[treatment]) if treatment in self._as_text else table[treatment]
            with _located(self.tables, position):
                words |= arm_words(column, self.roles)
            if len(words) > MAX_ARMS:
                break  # order_arms refuses it
        return words

    def _fractions(self) -> frozenset[str]:
        """Number columns used as names that hold a fraction somewhere.

        Whole numbers are written without decimals and exponent ("1.00" as "1") where a column holds nothing
        else; whether it does must not depend on the block.
        """
        schema = self.tables.schema
        names = [
            name
            for name in dict.fromkeys((*self.categorical_features, *self.roles.strata, self.roles.treatment))
            if name in schema.names
            and (
                pa.types.is_decimal(schema.field(name).type)
                # Fractions are no arms: arm_words refuses them.
                or (pa.types.is_floating(schema.field(name).type) and name != self.roles.treatment)
            )
        ]
        if not names:
            return frozenset()
        found: set[str] = set()
        for table in self.tables.read(columns=names):
            found |= {name for name in names if not _whole(table[name])}
        return frozenset(found)

    def _counted(self, *, check: bool = False) -> CampaignStream:
        """This stream with its counts, from one pass over the roles, or over all columns to `check` them."""
        outcomes = self.has_outcomes
        counts = np.zeros(len(self.arms) if outcomes else 0, np.int64)
        sums = np.zeros((len(counts), len(self.stages) if outcomes else 0))
        rows = 0
        for position, block in self._read(None, None if check else self.role_columns):
            rows += block.n_rows
            if check:
                with _located(self.tables, position):
                    block.check_rows()
            if outcomes and block.n_rows:
                codes = block.arm_codes
                counts += np.bincount(codes, minlength=len(counts))
                for stage in range(len(self.stages)):
                    sums[:, stage] += np.bincount(codes, block.outcomes[:, stage], len(counts))
        return replace(self, arm_counts=counts, stage_sums=sums, n_rows=rows)


class _located:
    """Name the file and the rows in what is wrong with a block."""

    def __init__(self, tables: TableBlocks, position: int) -> None:
        self._tables, self._position = tables, position

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, CampaignError):
            raise CampaignError(f"{self._tables.where(self._position)}: {error}") from error


def _empty(schema: pa.Schema, name: str) -> pa.ChunkedArray:
    return pa.chunked_array([], schema.field(name).type)


def _fixed(roles: Roles, features: tuple[str, ...], tables: TableBlocks) -> Roles:
    named = {*(roles.categorical or ()), *roles.strata}
    # Text in any file is text in all: TableBlocks refuses a mixture.
    text = {name for name in features if cols.is_text(_empty(tables.schema, name))}
    return replace(roles, features=features, categorical=tuple(n for n in features if n in named | text))


def _whole(column: pa.ChunkedArray) -> bool:
    decimal = pa.types.is_decimal(column.type)
    tested = pc.equal(pc.floor(column), column) if decimal else cols.whole(column)
    return bool(pc.all(tested, min_count=0).as_py())


def _text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column.cast(pa.large_string())
