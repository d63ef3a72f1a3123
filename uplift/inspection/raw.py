"""Read a data file as it is: what :func:`uplift.io.tables.read_table` reads, and CSV files that it refuses."""

from __future__ import annotations

import csv
import gzip
import io
import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from uplift import columns
from uplift.errors import CampaignError, first_line
from uplift.inspection.parse import comma_decimals, read_text
from uplift.inspection.words import ID_WORDS, words_of
from uplift.io.tables import CSV_SUFFIXES, Source, find_files, read_table

SHEETS = (".xlsx", ".xls", ".xlsm", ".ods", ".numbers")
_MARKS = ",;\t|"
_SNIFFED_LINES = 200


@dataclass(frozen=True)
class Raw:
    """A table as the files hold it.

    Attributes
    ----------
    table : Table
        Text columns and columns that look like ids keep their text exactly.
    repairs : tuple of str
        What had to be mended to read the files; when there are any, the campaign needs a mended copy.
    csv : bool
        Whether the files are CSV, where types were guessed.
    """

    table: pa.Table
    repairs: tuple[str, ...] = ()
    csv: bool = False


@dataclass(frozen=True)
class _Layout:
    encoding: str
    delimiter: str
    skip: int
    quirks: tuple[str, ...]


def read_raw(source: Source) -> Raw:
    """Read Parquet or CSV: a file, a glob, a folder.

    Raises
    ------
    CampaignError
        Nothing is there, or a file cannot be read in any known way.
    """
    files = find_files(source)
    sheets = [file for file in files if file.suffix.lower() in SHEETS]
    if sheets:
        raise CampaignError(
            f"{sheets[0]} is a spreadsheet; save its sheet as CSV (UTF-8) and name that file."
        )
    if not all(file.name.lower().endswith(CSV_SUFFIXES) for file in files):
        table = read_table(source)
        return _with_clean_names(Raw(table, (), False))
    layouts = {file: _sniff(file) for file in files}
    if any(layout.quirks for layout in layouts.values()):
        return _with_clean_names(_read_mended(layouts))
    try:
        table = read_table(source)
    except CampaignError:
        return _with_clean_names(_read_mended(layouts))
    if len(set(table.column_names)) < table.num_columns:
        return _with_clean_names(_read_mended(layouts))
    exact = {name for name in table.column_names if columns.is_text(table[name]) or _id_like(name)}
    if has_comma_decimals(table):  # 12.500 is a thousand there, and was read as a fraction
        exact |= {name for name in table.column_names if pa.types.is_floating(table[name].type)}
    return _with_clean_names(Raw(read_table(source, text=sorted(exact)), (), True))


def has_comma_decimals(table: pa.Table) -> bool:
    """Whether some text column holds numbers with a decimal comma, in most of its first values."""
    for name in table.column_names:
        if columns.is_text(table[name]):
            shown = [word for word in pc.unique(table[name][:2000]).to_pylist() if word and word.strip()]
            numeric = [word for word in shown if any(mark.isdigit() for mark in word)]
            if (
                shown
                and len(numeric) > 0.8 * len(shown)
                and comma_decimals(numeric)
                and read_text(table[name][:2000])
            ):
                return True
    return False


def _id_like(name: str) -> bool:
    return bool(set(words_of(name)) & ID_WORDS)


def _sniff(file: Path) -> _Layout:
    """Encoding, delimiter and first line of a CSV file."""
    if file.stat().st_size == 0:
        raise CampaignError(f"{file} is empty (0 bytes); export it again.")
    opener = gzip.open if file.name.lower().endswith(".gz") else open
    with opener(file, "rb") as handle:
        start = handle.read(1 << 22)
    quirks = []
    encoding = "utf-8"
    if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
        encoding = "utf-16"
    elif start[:3] == b"\xef\xbb\xbf":
        encoding = "utf-8-sig"  # Arrow reads it as it is
    else:
        # A multi-byte character may be cut at the end of what was read.
        try:
            start[: start.rfind(b"\n") + 1 or None].decode("utf-8")
        except UnicodeDecodeError:
            encoding = "cp1252"
    if encoding in ("utf-16", "cp1252"):
        quirks.append(f"text was {encoding}, now UTF-8")
    lines = start.decode(encoding, errors="replace").splitlines()[:_SNIFFED_LINES]
    said = lines[0].strip().lower() if lines else ""
    if said.startswith("sep=") and len(said) == 5:
        quirks.append(f"the line {lines[0].strip()!r} above the header was left out")
        return _Layout(encoding, said[-1], 1, tuple(quirks))
    delimiter, width = _delimiter(lines)
    if delimiter == "|":
        quirks.append("columns were separated by |")
    skip = (
        next((i for i, line in enumerate(lines) if _width(line, delimiter) == width), 0) if width > 1 else 0
    )
    if skip:
        quirks.append(f"{skip} line{'s' if skip > 1 else ''} above the header left out")
    return _Layout(encoding, delimiter, skip, tuple(quirks))


def _delimiter(lines: Sequence[str]) -> tuple[str, int]:
    """The mark that cuts most lines into the same number of parts, and that number."""
    best = (",", 1, 0.0)
    for mark in _MARKS:
        widths = Counter(_width(line, mark) for line in lines if line.strip())
        width, count = max(widths.items(), key=lambda item: (item[1], item[0]), default=(1, 0))
        score = count * (width - 1) / max(width, 1)
        if width > 1 and score > best[2]:
            best = (mark, width, score)
    return best[0], best[1]


def _width(line: str, mark: str) -> int:
    try:
        return len(next(csv.reader([line], delimiter=mark), []))
    except csv.Error:
        return 0


def _read_mended(layouts: dict[Path, _Layout]) -> Raw:
    import pyarrow.csv as pacsv

    tables, repairs = [], [quirk for layout in layouts.values() for quirk in layout.quirks]
    for file, layout in layouts.items():
        skipped: list[int] = []

        def ragged(row: pacsv.InvalidRow, skipped: list[int] = skipped) -> str:
            skipped.append(row.actual_columns)
            return "skip"

        opener = gzip.open if file.name.lower().endswith(".gz") else open
        with opener(file, "rb") as handle:
            content = handle.read().decode(layout.encoding, errors="replace")
        rest = content if not layout.skip else "".join(content.splitlines(keepends=True)[layout.skip :])
        header = next(csv.reader(io.StringIO(rest[: 1 << 20]), delimiter=layout.delimiter), [])
        names = _unique(header)
        if names != header:
            repairs.append("repeated or empty column names were numbered")
        try:
            table = pacsv.read_csv(
                io.BytesIO(rest.encode("utf-8")),
                read_options=pacsv.ReadOptions(column_names=names, skip_rows_after_names=1),
                parse_options=pacsv.ParseOptions(
                    delimiter=layout.delimiter, newlines_in_values=True, invalid_row_handler=ragged
                ),
                convert_options=pacsv.ConvertOptions(
                    column_types={name: pa.string() for name in names},
                    strings_can_be_null=True,
                    null_values=[""],
                ),
            )
        except (pa.ArrowException, OSError) as error:
            raise CampaignError(
                f"{file} cannot be read as CSV ({first_line(error)}); save it as UTF-8 with one header line."
            ) from error
        if skipped:
            repairs.append(f"{len(skipped):,} lines with another number of columns than the header left out")
        tables.append(_typed(table))
    return Raw(pa.concat_tables(tables, promote_options="permissive"), tuple(dict.fromkeys(repairs)), True)


def _typed(table: pa.Table) -> pa.Table:
    """Text columns that are plain numbers throughout as numbers; ids with leading zeros stay text."""
    kinds = (pa.int64(),) if has_comma_decimals(table) else (pa.int64(), pa.float64())
    for position, name in enumerate(table.column_names):
        column = table[name]
        for kind in kinds:
            try:
                cast = column.cast(kind)
            except pa.ArrowInvalid:
                continue
            if column.null_count < len(column) and not _leading_zeros(column):
                table = table.set_column(position, name, cast)
            break
    return table


def _leading_zeros(column: pa.ChunkedArray) -> bool:
    return bool(pc.any(pc.match_substring_regex(column, r"^0\d")).as_py())


def _unique(header: Sequence[str]) -> list[str]:
    seen: Counter[str] = Counter()
    names = []
    for position, name in enumerate(header):
        base = name.strip() or f"column_{position + 1}"
        seen[base] += 1
        names.append(base if seen[base] == 1 else f"{base}_{seen[base]}")
    return names


def _with_clean_names(raw: Raw) -> Raw:
    names = raw.table.column_names
    clean = _unique(names)
    if clean == names:
        return raw
    changed = [f"{old!r} is now {new!r}" for old, new in zip(names, clean, strict=True) if old != new]
    more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
    return Raw(
        raw.table.rename_columns(clean),
        (*raw.repairs, "column names: " + ", ".join(itertools.islice(changed, 3)) + more),
        raw.csv,
    )
