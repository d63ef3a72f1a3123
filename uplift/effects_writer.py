"""Effects written part by part into one file, for customers that do not fit in memory at once."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from uplift.effects import Effects
from uplift.errors import UpliftError
from uplift.io.atomic import atomic_path


def write_effects(parts: Iterable[Effects], path: str | os.PathLike[str]) -> int:
    """Write `parts` one after the other as the file that :meth:`Effects.to_parquet` writes of all of them.

    The file appears under its name when all parts are written, or not at all.

    Returns
    -------
    int
        Number of rows.

    Raises
    ------
    UpliftError
        There are no parts.
    OutputError
        The folder cannot be written to.
    """
    import pyarrow.parquet as pq

    rows = 0
    with atomic_path(path) as temporary:
        writer: Any = None
        try:
            for part in parts:
                table = part.to_table()
                if writer is None:
                    writer = pq.ParquetWriter(
                        temporary, table.schema, use_dictionary=False, compression="zstd", compression_level=1
                    )
                writer.write_table(table)
                rows += len(part)
        finally:
            if writer is not None:
                writer.close()
        if not rows:
            raise UpliftError("there are no customers to score; check the data and the part.")
    return rows
