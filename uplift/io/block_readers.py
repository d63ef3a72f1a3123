"""Readers of consecutive rows of one Parquet or Arrow file that hold a few pages, never a whole row group."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from uplift.errors import CampaignError, first_line
from uplift.io.tables import PARQUET_SUFFIXES

ARROW_SUFFIXES = (".arrow", ".feather", ".ipc")

_STREAM_BUFFER = 2**18
"""Bytes read ahead per column of a Parquet file; without it a whole column chunk is held."""
_READ_ROWS = 2**15
"""Rows decoded at a time; a block is put together from these."""


@dataclass(frozen=True)
class FileLayout:
    """What the footer of a file says: column types and the number of rows of each row group."""

    schema: pa.Schema
    group_rows: tuple[int, ...]
    metadata: Any = None


class Reader(ABC):
    """Rows of some row groups of a file, from front to back."""

    def __init__(self, file: int, groups: tuple[int, ...]) -> None:
        self.file, self.groups = file, groups
        self.position = 0
        self._rest: list[pa.RecordBatch] = []
        self._batches = self._open()

    @abstractmethod
    def _open(self) -> Iterator[pa.RecordBatch]:
        """Batches from the first row on."""

    @abstractmethod
    def close(self) -> None:
        """Release the file."""

    def reaches(self, file: int, groups: tuple[int, ...], offset: int) -> bool:
        """Whether row `offset` of these groups still lies ahead."""
        return (file, groups) == (self.file, self.groups) and offset >= self.position

    def read(self, offset: int, rows: int) -> pa.Table:
        """Rows `offset` to ``offset + rows`` of the groups; rows between are skipped.

        Raises
        ------
        pyarrow.ArrowInvalid
            The file ends before.
        """
        self._advance(offset - self.position, keep=False)
        return pa.Table.from_batches(self._advance(rows, keep=True))

    def _advance(self, rows: int, *, keep: bool) -> list[pa.RecordBatch]:
        taken: list[pa.RecordBatch] = []
        missing = rows
        while missing:
            batch = self._rest.pop() if self._rest else next(self._batches, None)
            if batch is None:
                raise pa.ArrowInvalid(f"it ends {missing:,} rows early")
            if batch.num_rows > missing:
                self._rest.append(batch.slice(missing))
                batch = batch.slice(0, missing)
            missing -= batch.num_rows
            if keep:
                taken.append(batch)
        self.position += rows
        return taken


class _ParquetReader(Reader):
    def __init__(
        self, path: Path, layout: FileLayout, file: int, groups: tuple[int, ...], columns: Sequence[str]
    ) -> None:
        import pyarrow.parquet as pq

        self._columns = list(columns)
        self._parquet = pq.ParquetFile(path, metadata=layout.metadata, buffer_size=_STREAM_BUFFER)
        super().__init__(file, groups)

    def _open(self) -> Iterator[pa.RecordBatch]:
        result: Iterator[pa.RecordBatch] = self._parquet.iter_batches(
            batch_size=_READ_ROWS, row_groups=list(self.groups), columns=self._columns
        )
        return result

    def close(self) -> None:
        self._parquet.close(force=True)


class _ArrowReader(Reader):
    def __init__(
        self, path: Path, layout: FileLayout, file: int, groups: tuple[int, ...], columns: Sequence[str]
    ) -> None:
        fields = [layout.schema.names.index(name) for name in columns]
        self._map = pa.memory_map(str(path))
        self._reader = pa.ipc.open_file(self._map, options=pa.ipc.IpcReadOptions(included_fields=fields))
        super().__init__(file, groups)

    def _open(self) -> Iterator[pa.RecordBatch]:
        return (self._reader.get_batch(group) for group in self.groups)

    def close(self) -> None:
        self._map.close()


def open_reader(
    path: Path, layout: FileLayout, file: int, groups: tuple[int, ...], columns: Sequence[str]
) -> Reader:
    """Reader of some row groups of a file, limited to `columns`."""
    kind = _ArrowReader if path.name.lower().endswith(ARROW_SUFFIXES) else _ParquetReader
    return kind(path, layout, file, groups, columns)


def read_layout(path: Path) -> FileLayout:
    """Footer of a file.

    Raises
    ------
    CampaignError
        The file is empty, damaged, or neither Parquet nor Arrow.
    """
    if path.stat().st_size == 0:
        raise CampaignError(f"{path} is empty (0 bytes); export it again.")
    name = path.name.lower()
    try:
        if name.endswith(PARQUET_SUFFIXES):
            return _parquet_layout(path)
        if name.endswith(ARROW_SUFFIXES):
            return _arrow_layout(path)
    except (pa.ArrowException, OSError) as error:
        kind = "Parquet" if name.endswith(PARQUET_SUFFIXES) else "an Arrow file"
        raise CampaignError(
            f"{path} cannot be read as {kind} ({first_line(error)}); it looks truncated or damaged, export it again."
        ) from error
    raise CampaignError(
        f"{path} cannot be streamed, only Parquet and Arrow files ({', '.join(PARQUET_SUFFIXES + ARROW_SUFFIXES)}) can; write it as Parquet, or load it whole."
    )


def _parquet_layout(path: Path) -> FileLayout:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        footer = file.metadata
        rows = tuple(footer.row_group(group).num_rows for group in range(footer.num_row_groups))
        return FileLayout(file.schema_arrow, rows, footer)


def _arrow_layout(path: Path) -> FileLayout:
    with pa.memory_map(str(path)) as source:
        schema = pa.ipc.open_file(source).schema
        # One column is enough to count rows; the others are left on disk.
        options = pa.ipc.IpcReadOptions(included_fields=[0])
        reader = pa.ipc.open_file(source, options=options)
        return FileLayout(
            schema, tuple(reader.get_batch(group).num_rows for group in range(reader.num_record_batches))
        )
