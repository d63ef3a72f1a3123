"""Fingerprints: which data was this?"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from uplift import columns
from uplift.hashing import as_text


class TableDigest:
    """SHA-256 over the names and values of a table that may come in parts.

    Chunks, dictionary encoding, integer width and metadata do not matter: the same rows read from CSV and
    from Parquet, at once or in blocks, have the same fingerprint.

    Parameters
    ----------
    names : sequence of str
        The columns, in order; each part must have them.

    Examples
    --------
    >>> parts = TableDigest(["a"])
    >>> parts.update(pa.table({"a": [1, 2]}))
    >>> parts.update(pa.table({"a": [3]}))
    >>> parts.hexdigest() == table_fingerprint(pa.table({"a": [1, 2, 3]}))
    True
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._names = tuple(names)
        # One digest per buffer, not one over all: values, masks and lengths of a part come side by side.
        self._digests: list[list[hashlib._Hash]] = [[] for _ in self._names]

    def update(self, part: pa.Table) -> None:
        """Add the next rows."""
        for digests, name in zip(self._digests, self._names, strict=True):
            buffers = _plain_buffers(part[name])
            digests += [hashlib.sha256() for _ in buffers[len(digests) :]]
            for digest, buffer in zip(digests, buffers, strict=True):
                digest.update(np.ascontiguousarray(buffer).data)

    def hexdigest(self) -> str:
        """64 hexadecimal digits."""
        whole = hashlib.sha256()
        for digests, name in zip(self._digests, self._names, strict=True):
            whole.update(f"{len(name)}:{name}".encode())
            for digest in digests:
                whole.update(digest.digest())
        return whole.hexdigest()


def table_fingerprint(table: pa.Table) -> str:
    """SHA-256 over the names and values of a table; see :class:`TableDigest`.

    Returns
    -------
    str
        64 hexadecimal digits.
    """
    digest = TableDigest(table.column_names)
    digest.update(table)
    return digest.hexdigest()


def file_sha256(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file's bytes, 64 hexadecimal digits."""
    with Path(path).open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _plain_buffers(column: pa.ChunkedArray) -> list[np.ndarray]:
    """Values with missing ones zeroed, and the mask of the missing ones."""
    missing = pc.is_null(columns.flat(column), nan_is_null=True).to_numpy(zero_copy_only=False)
    if pa.types.is_integer(column.type):
        values = columns.flat(column).cast(pa.int64(), safe=False).fill_null(0).to_numpy()
    elif columns.is_numeric(column):
        values = np.where(missing, 0.0, columns.to_float(column, dtype=np.float64))
    else:
        text = as_text(
            column if columns.is_text(column) else columns.flat(column).cast(pa.large_string())
        ).fill_null("")
        _, offsets, data = pa.concat_arrays([text]).buffers()
        joined = np.frombuffer(data, np.uint8) if data is not None else np.zeros(0, np.uint8)
        bounds = np.frombuffer(offsets, np.int64)[text.offset : text.offset + len(text) + 1]
        return [np.diff(bounds), joined[bounds[0] : bounds[-1]], missing]
    return [values, missing]
