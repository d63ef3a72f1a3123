"""Read an export back: its rows block by block, whatever the format, with text as text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from uplift.columns import is_text
from uplift.errors import OutputError, first_line
from uplift.export.formats import read_blocks
from uplift.segments import segment_columns

TEXT = (
    "decision_id", "campaign", "arm", "arm_label", "planned_arm", "role", "reason", "valid_from", "valid_until", "model",
    "model_hash", "run_id",
)  # fmt: skip
"""Columns of the contract that hold text in row formats, beside the unit."""
NUMBERS = ("revision", "propensity", "expected_value", "expected_cost")
"""Columns of the contract that hold numbers."""


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
    yield from readable(_part(file, target, manifest, part, columns), file)


def readable(blocks: Iterator[pa.Table], file: Path) -> Iterator[pa.Table]:
    """The blocks, with whatever can go wrong in reading them as one sentence.

    Raises
    ------
    OutputError
        The file is missing or damaged.
    """
    try:
        yield from blocks
    except Exception as error:
        # duckdb is loaded only where a file of its own is read, so its errors are told by the module they come from.
        ours = isinstance(error, OSError | pa.ArrowException | ValueError | KeyError)
        if not ours and type(error).__module__.partition(".")[0] not in ("duckdb", "_duckdb"):
            raise
        raise OutputError(
            f"{file} cannot be read back ({first_line(error)}); export the allocation again."
        ) from error


def _part(
    file: Path, target: Path, manifest: dict[str, Any], part: dict[str, Any], columns: Sequence[str] | None
) -> Iterator[pa.Table]:
    unit = manifest["unit_column"]
    if manifest.get("template") is not None:
        for rows in read_blocks(file, manifest["format"], manifest["columns"]):
            yield _armed(rows) if manifest.get("spreadsheet_safe") else rows
        return
    inside = columns
    if columns is not None and target.is_dir():
        inside = [name for name in columns if name != "arm"]
    text = (unit, *TEXT, *segment_columns(manifest["columns"]))
    for rows in read_blocks(file, manifest["format"], text, inside):
        if manifest.get("spreadsheet_safe"):
            rows = _armed(rows)
        if target.is_dir():
            name = unquote(Path(part["file"]).parts[0].removeprefix("arm="))
            codes = pa.array(np.zeros(len(rows), np.int8))
            rows = rows.append_column("arm", pa.DictionaryArray.from_arrays(codes, [name]))
        _check_types(rows)
        if unit in rows.column_names:
            at = rows.column_names.index(unit)
            rows = rows.set_column(at, unit, rows[unit].cast(pa.large_string()))
        yield rows


def _check_types(rows: pa.Table) -> None:
    """Stop at text where the contract has numbers, or true and false.

    Raises
    ------
    ValueError
        One column of text.
    """
    for name in (*NUMBERS, "holdout"):
        if name in rows.column_names and is_text(rows[name]):
            texts = [text for text in pc.unique(rows[name]).to_pylist() if text is not None]
            odd = [text for text in texts if name == "holdout" or not _is_number(text)]
            if odd:
                wanted = "true nor false" if name == "holdout" else "a number"
                raise ValueError(
                    f"{name} holds {odd[0]!r}, which is {'neither' if name == 'holdout' else 'not'} {wanted}"
                )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _armed(rows: pa.Table) -> pa.Table:
    """Text without the apostrophe that kept a spreadsheet from running it."""
    for at, field in enumerate(rows.schema):
        if pa.types.is_string(field.type):
            plain = pc.replace_substring_regex(rows[field.name], r"^'([=+\-@\t\r])", r"\1")
            rows = rows.set_column(at, field.name, plain)
    return rows


def read_rows(
    target: Path, manifest: dict[str, Any], columns: Sequence[str] | None = None
) -> Iterator[pa.Table]:
    """Rows of all parts that hold decisions."""
    for part in manifest["parts"]:
        if part["content"] == "decisions":
            yield from read_part(target, manifest, part, columns)
