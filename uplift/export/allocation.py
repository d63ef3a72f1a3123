"""Export an allocation to files: one file of any format, or a folder of Parquet parts by arm, with a manifest.

One row per unit that was decided on, control and holdout included: without them nobody can measure the campaign
afterwards.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np
import pyarrow as pa

from uplift.errors import OutputError
from uplift.export.decisions import Decisions
from uplift.export.formats import Style, format_of, parquet_options, write_blocks
from uplift.export.manifest import Tally, describe
from uplift.export.previous import against_previous
from uplift.export.publish import manifest_path, publish_files, publish_folder, read_manifest
from uplift.export.sources import from_allocation
from uplift.export.templates import Template, load_template, mapped, suppression_path
from uplift.io.atomic import atomic_path
from uplift.io.fingerprint import file_sha256

if TYPE_CHECKING:
    from uplift.allocation import Allocation


def export_allocation(
    plan: Allocation,
    path: str | os.PathLike[str],
    *,
    effects: Any = None,
    labels: dict[str, str] | None = None,
    run_id: str | None = None,
    valid_from: Any = None,
    valid_until: Any = None,
    **options: Any,
) -> Path:
    """Write the decisions of a plan in memory.

    Parameters
    ----------
    plan : Allocation
    path : path
        A file, whose ending says the format, or a folder (with ``by_arm=True``).
    effects : Effects, optional
        What the plan was made from: adds ``uplift__STAGE`` columns.
    labels, run_id, valid_from, valid_until
        See :class:`uplift.export.Decisions`.
    **options
        Keywords of :func:`export_decisions`.

    Returns
    -------
    Path
        The file or folder.

    Raises
    ------
    OutputError
        See :func:`export_decisions`.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from uplift import allocate_arrays
    >>> from uplift.export import verify_export
    >>> plan = allocate_arrays([[3.0], [2.0]], [[1.0], [1.0]], budget=1.0)
    >>> file = export_allocation(plan, pathlib.Path(tempfile.mkdtemp()) / "plan.csv")
    >>> verify_export(file).passed
    True
    """
    decisions = from_allocation(
        plan, effects=effects, labels=labels, run_id=run_id, valid_from=valid_from, valid_until=valid_until
    )
    return export_decisions(decisions, path, **options)


def export_decisions(
    decisions: Decisions,
    path: str | os.PathLike[str],
    *,
    format: str | None = None,
    by_arm: bool = False,
    template: Template | str | None = None,
    contacts: pa.Table | None = None,
    previous: str | os.PathLike[str] | None = None,
    spreadsheet_safe: bool = False,
    overwrite: bool = False,
) -> Path:
    """Write decisions and their manifest; whole or not at all, also when the process is killed.

    Parameters
    ----------
    decisions : Decisions
    path : path
        A file, whose ending says the format unless `format` does; with `by_arm` a folder.
    format : {"parquet", "csv", "jsonl", "duckdb"}, optional
        ``duckdb`` makes a database file with one table, ``allocation``.
    by_arm : bool
        A folder of Parquet parts, ``arm=NAME/part-0.parquet``, that every Parquet reader understands (Hive
        partitioning: the arm's name stands in the folder's name, percent-encoded, and not in the file).
    template : Template or str, optional
        Column names, order and formats of a system that imports the file; a str is the name of one that comes with the
        package (:func:`uplift.export.load_template`).
    contacts : pyarrow.Table, optional
        Unit and contact columns, for templates that need an e-mail address or the like.
    previous : path, optional
        An earlier export: decisions that differ from it get the next ``revision``. Default: the export that is
        overwritten.
    spreadsheet_safe : bool
        In CSV, put an apostrophe before text that a spreadsheet would run as a formula (it starts with ``=``,
        ``+``, ``-``, ``@``, tab or return). Off by default: a CRM needs ids unchanged.
    overwrite : bool
        Replace an export that is there.

    Returns
    -------
    Path
        The file or folder.

    Raises
    ------
    OutputError
        Unknown format, something is there already (without `overwrite`), or it cannot be written.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from uplift import allocate_arrays
    >>> decisions = from_allocation(allocate_arrays([[3.0], [2.0]], [[1.0], [1.0]], budget=1.0))
    >>> folder = export_decisions(decisions, pathlib.Path(tempfile.mkdtemp()) / "plan", by_arm=True)
    >>> sorted(part.name for part in folder.iterdir() if part.is_dir())
    ['arm=arm_1', 'arm=control']
    """
    target = Path(path)
    template = load_template(template) if isinstance(template, str) else template
    if by_arm and (template is not None or format not in (None, "parquet")):
        raise OutputError(
            "parts by arm are Parquet files with all columns; drop --by-arm, or --format and --template."
        )
    if previous is None and overwrite:
        previous = _comparable(target)
    decisions, predecessor = against_previous(decisions, previous)
    if by_arm:
        return _write_parts(decisions, target, predecessor, overwrite=overwrite)
    kind = format_of(target, format or (None if template is None else template.format))
    style = Style(spreadsheet_safe=spreadsheet_safe) if template is None else template.style(spreadsheet_safe)
    others: tuple[Path, ...] = ()
    if template is not None and template.holdouts == "suppression":
        others = (suppression_path(target),)
    tally = Tally(decisions.decimals)
    with publish_files(target, others, overwrite=overwrite) as folder:
        file = folder / target.name
        written = [0]
        if template is None:
            write_blocks(_ahead(_counted(decisions.blocks(), tally)), decisions.schema, file, kind, style)
            parts = [_part(file, target.name, len(decisions), "decisions")]
            columns = decisions.schema.names
        else:
            blocks = mapped(_counted(decisions.blocks(), tally), template, decisions, contacts)
            schema = template.row_schema(decisions, contacts)
            write_blocks(_rows(blocks, written), schema, file, kind, style)
            parts = [_part(file, target.name, written[0], "decisions")]
            columns = schema.names
        for other in others:
            assert template is not None
            count = [0]
            held = mapped(decisions.blocks(), template, decisions, contacts, suppression=True)
            schema = template.row_schema(decisions, contacts, suppression=True)
            write_blocks(_rows(held, count), schema, folder / other.name, kind, style)
            parts.append(_part(folder / other.name, other.name, count[0], "suppression"))
        content = describe(
            decisions,
            tally,
            target=target.name,
            format=kind,
            template=None if template is None else template.name,
            columns=columns,
            parts=parts,
            predecessor=predecessor,
            spreadsheet_safe=style.spreadsheet_safe and kind == "csv",
            mapping=None if template is None else template.mapping(),
        )
        _write_manifest(folder / manifest_path(target).name, content)
    return target


def write_table(
    table: pa.Table, path: str | os.PathLike[str], *, format: str | None = None, overwrite: bool = False
) -> Path:
    """Write a table as it is, atomically and without a manifest.

    Parameters
    ----------
    table : pyarrow.Table
    path : path
        Its ending says the format unless `format` does.
    format : {"parquet", "csv", "jsonl", "duckdb"}, optional
    overwrite : bool
        Replace a file that is there.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    OutputError
        Unknown format, the file exists (without `overwrite`), or it cannot be written.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> file = write_table(pa.table({"user": ["007"]}), pathlib.Path(tempfile.mkdtemp()) / "users.csv")
    >>> file.read_text().split()
    ['"user"', '"007"']
    """
    target = Path(path)
    kind = format_of(target, format)
    if target.exists() and not overwrite:
        raise OutputError(f"{target} exists already; pass --overwrite to replace it or choose another name.")
    with atomic_path(target) as temporary:
        write_blocks(_slices(table), table.schema, temporary, kind, Style())
    return target


def _write_parts(
    decisions: Decisions, target: Path, predecessor: dict[str, Any] | None, *, overwrite: bool
) -> Path:
    import pyarrow.parquet as pq

    schema = pa.schema([field for field in decisions.schema if field.name != "arm"])
    tally = Tally(decisions.decimals)
    with publish_folder(target, overwrite=overwrite) as folder:
        writers: dict[int, Any] = {}
        names = [f"arm={quote(arm, safe='')}/part-0.parquet" for arm in decisions.arms]
        try:
            for block in _ahead(_counted(decisions.blocks(), tally)):
                codes = (
                    block["arm"].chunk(0).indices.to_numpy(zero_copy_only=False)
                    if len(block)
                    else np.zeros(0)
                )
                for code in np.unique(codes):
                    if code not in writers:
                        (folder / names[code]).parent.mkdir()
                        writers[code] = pq.ParquetWriter(
                            folder / names[code], schema, **parquet_options(schema)
                        )
                    rows = np.flatnonzero(codes == code)
                    writers[code].write_table(
                        block.take(pa.array(rows)).select(schema.names), row_group_size=1 << 20
                    )
        finally:
            for writer in writers.values():
                writer.close()
        counts = np.bincount(decisions.arm_codes, minlength=len(decisions.arms))
        parts = [
            _part(folder / names[code], names[code], int(counts[code]), "decisions")
            for code in sorted(writers)
        ]
        content = describe(
            decisions,
            tally,
            target=target.name,
            format="parquet",
            template=None,
            columns=decisions.schema.names,
            parts=parts,
            predecessor=predecessor,
        )
        _write_manifest(folder / manifest_path(folder).name, content)
    return target


def _comparable(target: Path) -> Path | None:
    """The export that is overwritten, when there is one with all columns."""
    try:
        return target if read_manifest(target).get("template") is None and target.exists() else None
    except OutputError:
        return None


def _part(file: Path, name: str, rows: int, content: str) -> dict[str, Any]:
    return {
        "file": name,
        "content": content,
        "rows": rows,
        "bytes": file.stat().st_size,
        "sha256": file_sha256(file),
    }


def _write_manifest(path: Path, content: dict[str, Any]) -> None:
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    path.write_text(text, encoding="utf-8")


def _counted(blocks: Iterable[pa.Table], tally: Tally) -> Iterator[pa.Table]:
    for block in blocks:
        tally.add(block)
        yield block


def _ahead(blocks: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The blocks, the next one made while the one before is written: compression leaves a core free."""
    waiting = iter(blocks)
    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(next, waiting, None)
        while (block := following.result()) is not None:
            following = pool.submit(next, waiting, None)
            yield block


def _rows(blocks: Iterable[pa.Table], count: list[int]) -> Iterator[pa.Table]:
    for block in blocks:
        count[0] += len(block)
        yield block


def _slices(table: pa.Table) -> Iterator[pa.Table]:
    for start in range(0, max(len(table), 1), 1 << 20):
        yield table.slice(start, 1 << 20)
