"""Read an export back: its rows block by block, whatever the format, with text as text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pyarrow as pa

from uplift.errors import OutputError, first_line
from uplift.export.formats import read_blocks

TEXT = (
    "decision_id", "campaign", "arm", "arm_label", "planned_arm", "role", "reason", "valid_from", "valid_until", "model",
    "model_hash", "run_id",
)  # fmt: skip
"""Columns of the contract that hold text in row formats, beside the unit."""


def read_part(
    target: Path, manifest: dict[str, Any], part: dict[str, Any], columns: Sequence[str] | None = None
) -> Iterator[pa.Table]:
    """Rows of one part, with the unit as text; `columns` only, where they are given.

    Raises
    ------
    OutputError
        The part is missing or cannot be read.
    """
    file = target / part["file"] if target.is_dir() else target.parent / part["file"]
    unit = manifest["unit_column"]
    try:
        if manifest.get("template") is not None:
            yield from read_blocks(file, manifest["format"], manifest["columns"])
            return
        inside = columns
        if columns is not None and target.is_dir():
            inside = [name for name in columns if name != "arm"]
        for rows in read_blocks(file, manifest["format"], (unit, *TEXT), inside):
            if target.is_dir():
                name = unquote(Path(part["file"]).parts[0].removeprefix("arm="))
                codes = pa.array(np.zeros(len(rows), np.int8))
                rows = rows.append_column("arm", pa.DictionaryArray.from_arrays(codes, [name]))
            if unit in rows.column_names:
                at = rows.column_names.index(unit)
                rows = rows.set_column(at, unit, rows[unit].cast(pa.large_string()))
            yield rows
    except (OSError, pa.ArrowException, ValueError, KeyError) as error:
        raise OutputError(
            f"{file} cannot be read back ({first_line(error)}); export the allocation again."
        ) from error
    except Exception as error:
        if type(error).__module__.partition(".")[0] not in ("duckdb", "_duckdb"):
            raise
        raise OutputError(
            f"{file} cannot be read back ({first_line(error)}); export the allocation again."
        ) from error


def read_rows(
    target: Path, manifest: dict[str, Any], columns: Sequence[str] | None = None
) -> Iterator[pa.Table]:
    """Rows of all parts that hold decisions."""
    for part in manifest["parts"]:
        if part["content"] == "decisions":
            yield from read_part(target, manifest, part, columns)
