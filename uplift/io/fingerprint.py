"""Fingerprints: which data was this?"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from uplift import columns
from uplift.hashing import as_text


def table_fingerprint(table: pa.Table) -> str:
    """SHA-256 over the names and values of a table.

    Chunks, dictionary encoding, integer width and metadata do not matter: the same rows read from CSV and
    from Parquet have the same fingerprint.

    Returns
    -------
    str
        64 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for name in table.column_names:
        column = table[name]
        digest.update(f"{len(name)}:{name}".encode())
        for part in _plain_buffers(column):
            digest.update(part.tobytes())
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
