"""Tables that stay on disk: Parquet and Arrow files read in blocks of bounded size, in any order."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

from uplift import columns as cols
from uplift.errors import CampaignError, first_line
from uplift.io.block_readers import ARROW_SUFFIXES, FileLayout, Reader, open_reader, read_layout
from uplift.io.tables import PARQUET_SUFFIXES, Source, find_files

BLOCK_ROWS = 131_072
"""Rows of a block unless told otherwise: at 100 numeric features about 50 MB encoded."""


@dataclass(frozen=True)
class Block:
    """A run of rows of one file.

    Attributes
    ----------
    file : int
        Position of the file.
    groups : tuple of int
        Row groups that hold the rows; only a block that is part of one larger row group has an `offset`.
    offset : int
        First row within the first group.
    rows : int
        Number of rows.
    first : int
        Row number of the first row, counted over all files.
    run : int
        Blocks with one number are slices of one row group: cheap to read only one after the other.
    """

    file: int
    groups: tuple[int, ...]
    offset: int
    rows: int
    first: int
    run: int


@dataclass(frozen=True, eq=False)
class TableBlocks:
    """The rows of one or several files as blocks of at most `block_rows` rows; use :meth:`open`.

    Attributes
    ----------
    files : tuple of Path
        In the order of the rows.
    schema : pyarrow.Schema
        Columns of every block that is read, with one type each.
    blocks : tuple of Block
        In the order of the rows.
    block_rows : int
        Most rows of a block.
    """

    files: tuple[Path, ...]
    layouts: tuple[FileLayout, ...]
    schema: pa.Schema
    blocks: tuple[Block, ...]
    block_rows: int

    @classmethod
    def open(cls, source: Source, *, block_rows: int = BLOCK_ROWS) -> TableBlocks:
        """Read the footers of all files and plan the blocks; no row is read.

        Small row groups are read together and large ones in slices. The schema has no columns until
        :meth:`select`.

        Raises
        ------
        CampaignError
            A file is missing, empty, damaged, or neither Parquet nor Arrow.
        """
        if block_rows < 1:
            raise CampaignError(f"block_rows is {block_rows}; it must be a whole number >= 1.")
        files = tuple(find_files(source, suffixes=PARQUET_SUFFIXES + ARROW_SUFFIXES))
        layouts = tuple(read_layout(file) for file in files)
        for file, layout in zip(files, layouts, strict=True):
            names = layout.schema.names
            repeated = sorted({name for name in names if names.count(name) > 1})
            if repeated:
                raise CampaignError(
                    f"{file}: column {repeated[0]!r} appears more than once; rename or drop the duplicates."
                )
        return cls(files, layouts, pa.schema([]), tuple(_plan(layouts, block_rows)), block_rows)

    @property
    def names(self) -> list[str]:
        """Column names of all files, in order of first appearance."""
        return list(dict.fromkeys(name for layout in self.layouts for name in layout.schema.names))

    @property
    def n_rows(self) -> int:
        """Number of rows of all files."""
        return sum(block.rows for block in self.blocks)

    def layout(self) -> str:
        """SHA-256 of how the rows are cut into blocks: what the order of training rows depends on."""
        cuts = ";".join(f"{block.run}:{block.rows}" for block in self.blocks)
        return hashlib.sha256(cuts.encode()).hexdigest()

    def select(self, names: Iterable[str]) -> TableBlocks:
        """The same rows with these columns, each of one type over all files.

        Raises
        ------
        CampaignError
            A file lacks a column, or has text where another has numbers.
        """
        return replace(self, schema=pa.schema([self._field(name) for name in names]))

    def read(
        self, order: Sequence[int] | None = None, *, columns: Sequence[str] | None = None
    ) -> Iterator[pa.Table]:
        """Yield blocks as tables.

        Parameters
        ----------
        order : sequence of int, optional
            Positions of the blocks to read; default all, in order. Slices of one row group in ascending order
            cost one pass over the row group; in another order each costs a pass up to its first row.
        columns : sequence of str, optional
            Only these columns of the schema.

        Raises
        ------
        CampaignError
            A file is damaged, or was changed since the footers were read.
        """
        names = self.schema.names if columns is None else list(columns)
        schema = pa.schema([self.schema.field(name) for name in names])
        reader: Reader | None = None
        try:
            for position in range(len(self.blocks)) if order is None else order:
                block = self.blocks[position]
                if reader is None or not reader.reaches(block.file, block.groups, block.offset):
                    if reader is not None:
                        reader.close()
                    reader = open_reader(
                        self.files[block.file], self.layouts[block.file], block.file, block.groups, names
                    )
                yield _conform(reader.read(block.offset, block.rows), schema, self.files[block.file])
        except (pa.ArrowException, OSError) as error:
            raise CampaignError(
                f"{self.files[block.file]} cannot be read ({first_line(error)}); it looks damaged or was changed meanwhile, export it again."
            ) from error
        finally:
            if reader is not None:
                reader.close()

    def where(self, position: int) -> str:
        """File and rows of a block, for an error message (rows counted from 1 within the file)."""
        block = self.blocks[position]
        before = next(other.first for other in self.blocks if other.file == block.file)
        start = block.first - before
        return f"{self.files[block.file]}, rows {start + 1:,} to {start + block.rows:,}"

    def _field(self, name: str) -> pa.Field:
        found: pa.Field | None = None
        first = 0
        for position, layout in enumerate(self.layouts):
            if name not in layout.schema.names:
                raise CampaignError(
                    f"{self.files[position]} has no column {name!r}, which other files have; add it there, or leave it out of the features."
                )
            # Without nullability and metadata, which differ between writers and do not matter.
            field = pa.field(name, layout.schema.field(name).type)
            if found is None or pa.types.is_null(found.type):
                found, first = field, position
            elif field.type != found.type and not pa.types.is_null(field.type):
                found = self._merged(found, field, first, position)
        assert found is not None
        return found

    def _merged(self, one: pa.Field, other: pa.Field, first: int, second: int) -> pa.Field:
        plain = [pa.field(one.name, cols.value_type(pa.nulls(0, field.type))) for field in (one, other)]
        kinds = [cols.is_text(pa.nulls(0, field.type)) for field in plain]
        try:
            if kinds[0] != kinds[1]:
                raise pa.ArrowTypeError("text and numbers")
            merged = pa.unify_schemas([pa.schema([field]) for field in plain], promote_options="permissive")
        except pa.ArrowException as error:
            raise CampaignError(
                f"column {one.name!r} holds {one.type} in {self.files[first]} and {other.type} in {self.files[second]}; give it one type in all files."
            ) from error
        return merged.field(0)


def _plan(layouts: Sequence[FileLayout], block_rows: int) -> Iterator[Block]:
    first, run = 0, itertools.count()
    for file, layout in enumerate(layouts):
        pending: list[int] = []
        held = 0
        for group, rows in enumerate(layout.group_rows):
            if pending and held + rows > block_rows:
                yield Block(file, tuple(pending), 0, held, first, next(run))
                first, pending, held = first + held, [], 0
            if rows > block_rows:
                number = next(run)
                for offset in range(0, rows, block_rows):
                    size = min(block_rows, rows - offset)
                    yield Block(file, (group,), offset, size, first, number)
                    first += size
            elif rows:
                pending.append(group)
                held += rows
        if pending:
            yield Block(file, tuple(pending), 0, held, first, next(run))
            first += held


def _conform(table: pa.Table, schema: pa.Schema, file: Path) -> pa.Table:
    table = table.select(schema.names)
    if table.schema.equals(schema):
        return table.replace_schema_metadata(None)
    try:
        return table.replace_schema_metadata(None).cast(schema)
    except pa.ArrowException as error:
        raise CampaignError(
            f"{file} holds values that do not fit the type of the other files ({first_line(error)}); give each column one type in all files."
        ) from error
