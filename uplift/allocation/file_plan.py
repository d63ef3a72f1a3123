"""`allocate_file`: an audience on disk in, a plan on disk out, in bounded memory."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from uplift.allocation.allocation import COLUMNS, certify, plan_table, summary_of
from uplift.allocation.certificate import Certificate
from uplift.allocation.dual import settle, sum_multiples
from uplift.allocation.holdout import check_unique, decision_ids, draw_holdout
from uplift.allocation.menus import MenuSource
from uplift.allocation.problem import nonnegative
from uplift.allocation.streamed import StreamSolution, Terms, solve_stream
from uplift.errors import AllocationError, OutputError
from uplift.hashing import unit_hash
from uplift.io.atomic import atomic_path

_COMPRESSION = {"compression": "zstd", "compression_level": 1}


@dataclass(frozen=True)
class FilePlan:
    """A plan that lies in a file.

    Attributes
    ----------
    path : Path
        Parquet, one row per unit with the columns of :meth:`uplift.Allocation.to_table`, in the order of the source.
    certificate : Certificate
        From sums that were read back from the file.
    n_units, n_holdout : int
    passes : int
        Times the source was read to decide (writing reads it once more).
    core : int
        Units that needed a second look.

    Examples
    --------
    >>> import pyarrow as pa, pyarrow.parquet as pq, tempfile, pathlib
    >>> from uplift.allocation import MenuFile, allocate_file
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> pq.write_table(pa.table({"user": ["a", "b"], "gain": [3.0, 2.0], "price": [1.0, 1.0]}), folder / "menus.parquet")
    >>> audience = MenuFile(folder / "menus.parquet", unit="user", value={"mail": "gain"}, cost={"mail": "price"})
    >>> allocate_file(audience, folder / "plan.parquet", budget=1.0).certificate.counts
    {'control': 1, 'mail': 1}
    """

    path: Path
    certificate: Certificate
    n_units: int
    n_holdout: int
    passes: int
    core: int

    def __repr__(self) -> str:
        c = self.certificate
        budget = f"{c.budget:,.2f}" if math.isfinite(c.budget) else "no limit"
        return (
            f"FilePlan({str(self.path)!r}: {c.n_treated:,} of {c.n_units:,} units treated, value "
            f"{c.expected_value:,.2f}, cost {c.expected_cost:,.2f} of {budget}, gap {c.gap:.2g})"
        )

    def summary(self) -> dict[str, Any]:
        """The content of ``allocation.json``."""
        return summary_of(self.certificate, None)


def allocate_file(
    source: MenuSource,
    out: str | os.PathLike[str],
    *,
    budget: float | None,
    holdout: float = 0.0,
    seed: int = 0,
    min_roi: float | None = None,
    allow_harm: bool = False,
    overwrite: bool = False,
) -> FilePlan:
    """Allocate a budget over an audience of any size; the decisions of :func:`uplift.allocate` on the same numbers.

    The source is read twice (now and then three times), plus a few thousand rows; memory is two bytes per unit, the
    units in doubt (a percent or two) and, unless ids rise, eight bytes per unit to see that none repeats. Nothing
    depends on how the rows are cut into files and row groups.

    Parameters
    ----------
    source : MenuFile or EffectsFile
        What every arm would bring and cost each unit.
    out : path
        Parquet file of the plan; it appears complete, or not at all.
    budget : float or None
        Money, >= 0; ``inf`` or None: no limit.
    holdout, seed
        As in :func:`uplift.allocate`.
    min_roi, allow_harm
        As in :func:`uplift.allocate_arrays`.
    overwrite : bool
        Replace an existing file.

    Returns
    -------
    FilePlan

    Raises
    ------
    AllocationError
        A number is missing or infinite, ids are missing or repeat, or an option cannot be used.
    OutputError
        The file exists (without `overwrite`), or cannot be written.

    Examples
    --------
    >>> import pyarrow as pa, pyarrow.parquet as pq, tempfile, pathlib
    >>> from uplift.allocation import MenuFile
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> menus = pa.table({"user": ["a", "b", "c"], "gain": [3.0, 2.0, -1.0], "price": [1.0, 1.0, 1.0]})
    >>> pq.write_table(menus, folder / "menus.parquet")
    >>> audience = MenuFile(folder / "menus.parquet", unit="user", value={"mail": "gain"}, cost={"mail": "price"})
    >>> plan = allocate_file(audience, folder / "plan.parquet", budget=1.0)
    >>> plan.certificate.expected_value, plan.certificate.counts
    (3.0, {'control': 2, 'mail': 1})
    """
    target = Path(out)
    if target.exists() and not overwrite:
        raise OutputError(f"{target} exists already; pass --overwrite to replace it or choose another name.")
    if source.unit_column in COLUMNS:
        raise AllocationError(
            f"The unit column is called {source.unit_column!r}, which is a column of every allocation: rename it."
        )
    terms = Terms(
        budget=math.inf if budget is None else nonnegative("The budget", budget, allow_infinite=True),
        min_roi=0.0 if min_roi is None else nonnegative("min_roi", min_roi),
        allow_harm=bool(allow_harm),
        holdout=float(holdout),
        salt=f"{source.campaign}:{int(seed)}",
    )
    draw_holdout(pa.array([], pa.int64()), holdout, salt=terms.salt)  # refuses a share that cannot be
    check_units(source)
    solved = solve_stream(source, terms)
    with atomic_path(target) as temporary:
        counts, held_out = _write(source, terms, solved, temporary)
        spend, worth = _read_back(temporary, solved)
    certificate = certify(
        solved.problem, solved.solution, spend, worth, dict(zip(source.arms, counts, strict=True))
    )
    return FilePlan(
        target, certificate, source.n_rows, held_out, solved.solution.passes, solved.solution.core
    )


def _write(source: MenuSource, terms: Terms, solved: StreamSolution, path: Path) -> tuple[list[int], int]:
    """Write the plan block by block; units per arm code, and the number held out."""
    import pyarrow.parquet as pq

    scales = solved.problem.value_unit.scale, solved.problem.cost_unit.scale
    counts, held_out = np.zeros(len(source.arms), np.int64), 0
    writer: Any = None
    try:
        for block in source.blocks():
            arms = solved.solution.arms[block.first : block.first + len(block)]
            value, cost, _, _, found = settle(block.value, block.cost, arms, *scales)
            counts += found
            held = draw_holdout(block.units, terms.holdout, salt=terms.salt)
            held_out += int(np.count_nonzero(held))
            table = plan_table(
                units=block.units, unit_column=source.unit_column, arm_codes=arms, arms=source.arms,
                expected_value=value, expected_cost=cost, holdout=held, campaign=source.campaign,
                model=source.model,
                decision_id=decision_ids(block.units, campaign=source.campaign),
            )  # fmt: skip
            if writer is None:
                writer = pq.ParquetWriter(
                    path, table.schema, use_dictionary=["arm", "campaign", "model"], **_COMPRESSION
                )
            writer.write_table(table)
    finally:
        if writer is not None:
            writer.close()
    if writer is None:
        raise AllocationError("The audience has no rows: there is nobody to decide on.")
    return counts.tolist(), held_out


def _read_back(path: Path, solved: StreamSolution) -> tuple[int, int]:
    """Spend and worth in multiples, added up from the written file."""
    import pyarrow.parquet as pq

    spend = worth = 0
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(columns=["expected_value", "expected_cost"]):
            value, cost = (batch.column(at).to_numpy(zero_copy_only=False) for at in (0, 1))
            found = sum_multiples(
                value, cost, solved.problem.value_unit.scale, solved.problem.cost_unit.scale
            )
            worth += int(found[0])
            spend += int(found[1])
    return spend, worth


def check_units(source: MenuSource) -> None:
    """One decision per unit. Free while ids rise, else by 64-bit hashes, looked at closely where two agree.

    Raises
    ------
    AllocationError
        Ids are missing or repeat.
    """
    hashes = np.empty(source.n_rows, np.uint64)
    first, last, rising = 0, -(2**64), True
    for units in source.unit_blocks():
        if units.null_count:
            raise AllocationError(
                f"{units.null_count} units have no {source.unit_column!r} (rows {first + 1:,} to "
                f"{first + len(units):,}): remove them or give every unit an id."
            )
        if rising and pa.types.is_integer(units.type) and len(units):
            numbers = units.to_numpy(zero_copy_only=False)
            rising = int(numbers[0]) > last and bool((numbers[1:] > numbers[:-1]).all())
            last = int(numbers[-1])
        else:
            rising = False
        hashes[first : first + len(units)] = unit_hash(units, "seen")
        first += len(units)
    if rising:
        return
    hashes.sort()
    doubtful = np.unique(hashes[1:][hashes[1:] == hashes[:-1]])
    if not len(doubtful):
        return
    suspects = [
        units.filter(pa.array(np.isin(unit_hash(units, "seen"), doubtful))) for units in source.unit_blocks()
    ]
    check_unique(pa.concat_arrays(suspects), source.unit_column)
