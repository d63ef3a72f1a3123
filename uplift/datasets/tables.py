"""Read the files of a data set into one Arrow table: typed CSV in pieces, seeded samples, key joins, care."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from uplift.columns import labels
from uplift.datasets.cards import Care, DatasetCard
from uplift.datasets.local import Found
from uplift.errors import CampaignError, DatasetError
from uplift.io.tables import PARQUET_SUFFIXES, read_table

_BLOCK = 16 << 20


class DatasetWarning(UserWarning):
    """Rows were dropped or changed, or the experiment needs care."""


def read_form(card: DatasetCard, found: Found, *, rows: int | None, seed: int) -> pa.Table:
    """The files of a form as one table, with the card's care applied.

    Parameters
    ----------
    rows : int, optional
        Keep a uniform random sample of this many rows (in file order); all when there are fewer.
    seed : int
        Seed of the sample. The same rows are drawn from every form with the same row order.

    Raises
    ------
    DatasetError
        A file is damaged or lacks a column that the card names.
    """
    form = found.form
    stacked = found.paths[:1] if form.join else found.paths
    counts: list[int] = []
    try:
        pieces = _pieces(stacked, form.types, counts)
        kept = (_keep(piece, card.care) for piece in pieces)
        table = _sample(kept, rows, seed) if rows is not None else _stack(list(kept))
        if form.join:
            table = _look_up(table, read_table(found.paths[1]), form.join, found.paths[1])
        _check_counts(card, found, counts)
        return _apply_care(table, card)
    except (pa.ArrowException, OSError, EOFError, CampaignError, KeyError) as error:
        reason = (str(error).strip("'").splitlines() or [type(error).__name__])[0].rstrip(".")
        again = f"fetch it again with 'uplift data get {card.name} --force'"
        remedy = again if card.downloadable else "get a fresh copy"
        raise DatasetError(
            f"data set {card.name!r} cannot be read from {stacked[0]} ({reason}); {remedy}."
        ) from error


def _pieces(paths: tuple[Path, ...], types: Mapping[str, str], counts: list[int]) -> Iterator[pa.Table]:
    for path in paths:
        counts.append(0)
        for piece in _file_pieces(path, types):
            counts[-1] += piece.num_rows
            yield piece


def _file_pieces(path: Path, types: Mapping[str, str]) -> Iterator[pa.Table]:
    if path.name.lower().endswith(PARQUET_SUFFIXES):
        import pyarrow.parquet as pq

        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=1 << 18):
                yield pa.Table.from_batches([batch])
    elif types:
        import pyarrow.csv as pacsv

        options = pacsv.ReadOptions(block_size=_BLOCK)
        with pacsv.open_csv(path, read_options=options) as header:
            names = header.schema.names
        chosen = {name: kind for name in names if (kind := _type_of(name, types)) is not None}
        convert = pacsv.ConvertOptions(column_types=chosen, strings_can_be_null=True)
        with pacsv.open_csv(path, read_options=options, convert_options=convert) as reader:
            for batch in reader:
                yield pa.Table.from_batches([batch])
    else:
        yield read_table(path)


def _type_of(name: str, types: Mapping[str, str]) -> pa.DataType | None:
    for pattern, kind in types.items():
        if fnmatchcase(name, pattern):
            return pa.type_for_alias(kind)
    return None


def _stack(tables: list[pa.Table]) -> pa.Table:
    if not tables:
        raise CampaignError("it holds no rows")
    return pa.concat_tables(tables, promote_options="permissive").unify_dictionaries().combine_chunks()


def _sample(pieces: Iterator[pa.Table], rows: int, seed: int) -> pa.Table:
    """Uniform sample without replacement in one pass: every row draws a key, the smallest `rows` keys stay."""
    rng = np.random.default_rng(seed)
    tables: list[pa.Table] = []
    keys: list[np.ndarray] = []
    bound = np.inf
    for piece in pieces:
        drawn = rng.random(piece.num_rows)
        inside = drawn < bound
        tables.append(piece.filter(pa.array(inside)))
        keys.append(drawn[inside])
        if sum(len(part) for part in keys) > 2 * rows + 100_000:
            tables, keys, bound = _smallest(tables, keys, rows)
    tables, _, _ = _smallest(tables, keys, rows)
    return _stack(tables)


def _smallest(
    tables: list[pa.Table], keys: list[np.ndarray], rows: int
) -> tuple[list[pa.Table], list[np.ndarray], float]:
    drawn = np.concatenate(keys) if keys else np.zeros(0)
    if len(drawn) <= rows:
        return tables, keys, np.inf
    bound = float(np.partition(drawn, rows)[rows])
    inside = drawn < bound
    return [_stack(tables).filter(pa.array(inside))], [drawn[inside]], bound


def _keep(table: pa.Table, care: Care) -> pa.Table:
    for column, wanted in care.keep.items():
        encoded = labels(table[column])
        code = pc.index(encoded.dictionary, pa.scalar(wanted, encoded.dictionary.type)).as_py()
        table = table.filter(pc.equal(encoded.indices, code))
    return table


def _look_up(left: pa.Table, right: pa.Table, key: str, right_path: Path) -> pa.Table:
    """Columns of `right` beside the rows of `left`, in the order of `left`; missing where the key is unknown."""
    for side in (left, right):
        if key not in side.column_names:
            raise CampaignError(f"there is no key column {key!r}")
    if pc.count_distinct(right[key]).as_py() != right.num_rows:
        raise CampaignError(f"the key {key!r} repeats in {right_path.name}")
    found = right[key].combine_chunks()
    where = pc.index_in(left[key].combine_chunks(), found)
    for name in right.column_names:
        if name != key:
            left = left.append_column(name, right[name].combine_chunks().take(where))
    if where.null_count:
        warnings.warn(
            f"{where.null_count:,} of {left.num_rows:,} rows have no match in {right_path.name}; their features are missing",
            DatasetWarning,
            stacklevel=4,
        )
    return left


def _check_counts(card: DatasetCard, found: Found, counts: list[int]) -> None:
    for file, path, count in zip(found.form.files, found.paths, counts, strict=False):
        if file.rows is not None and file.rows != count:
            warnings.warn(
                f"{path} has {count:,} rows where data set {card.name!r} has {file.rows:,}; figures from it will not be comparable",
                DatasetWarning,
                stacklevel=4,
            )


def _apply_care(table: pa.Table, card: DatasetCard) -> pa.Table:
    care = card.care
    for column, amount in care.derive.items():
        table = table.append_column(column, pc.greater(table[amount], 0).cast(pa.int8()))
    for column, (low, high) in care.missing_outside.items():
        values = table[column]
        outside = pc.fill_null(pc.or_(pc.less(values, low), pc.greater(values, high)), False)
        count = pc.sum(outside).as_py() or 0
        if count:
            table = table.set_column(
                table.column_names.index(column),
                column,
                pc.if_else(outside, pa.scalar(None, values.type), values),
            )
            warnings.warn(
                f"{card.name}: {count:,} of {table.num_rows:,} values of {column!r} outside {low:g}..{high:g} became missing",
                DatasetWarning,
                stacklevel=4,
            )
    for column in care.drop_missing:
        present = pc.is_valid(table[column])
        if pa.types.is_floating(table[column].type):
            present = pc.and_(present, pc.invert(pc.fill_null(pc.is_nan(table[column]), True)))
        dropped = table.num_rows - (pc.sum(present).as_py() or 0)
        if dropped:
            warnings.warn(
                f"{card.name}: dropped {dropped:,} of {table.num_rows:,} rows with a missing {column!r}",
                DatasetWarning,
                stacklevel=4,
            )
            table = table.filter(present)
    return table
