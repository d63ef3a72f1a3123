"""Verification of a plan's own file, before anything was exported: its limits added up again from the rows.

A plan (``uplift allocate``, ``uplift run``, :func:`uplift.allocation.allocate_file`) has no manifest; what it promises
stands in the summary beside it. The file is read block by block, so it may be larger than memory.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from uplift import columns as column_types
from uplift.errors import OutputError, did_you_mean, first_line
from uplift.export.audit import Audit, Given, limits_of
from uplift.export.checks import Check, Verification
from uplift.export.decisions import NEEDED, find_control
from uplift.export.formats import format_of, read_blocks
from uplift.export.labels import Labels
from uplift.export.limit_use import checks_of
from uplift.export.manifest import MONEY, coded
from uplift.export.reading import readable
from uplift.export.sums import as_decimal, decimals_for, multiples
from uplift.hashing import unit_hash
from uplift.run_folder import ALLOCATION_JSON, ALLOCATION_PARQUET
from uplift.segments import segment_columns

_SUMMED = 1e-6
"""A decision's share in the difference between two sums that round every amount."""


def summary_path(target: Path) -> Path:
    """Where the summary of a plan is: beside its file, or in the run folder."""
    return target / ALLOCATION_JSON if target.is_dir() else target.with_name(target.name + ".json")


def verify_plan(
    target: Path, summary: Mapping[str, Any], *, labels: pa.Table | None = None, control: str | None = None
) -> Verification:
    """Add up a plan's file (or that of a run folder) again and hold it against its limits.

    Parameters
    ----------
    target : Path
        A plan as of ``Allocation.to_table()`` in any format, or a run folder.
    summary : mapping
        ``Allocation.summary()``: budget, constraints, expected value and cost.
    labels : pyarrow.Table, optional
        The customer table, see :func:`uplift.export.verify_export`.
    control : str, optional
        Name of the control, where the file does not say.

    Raises
    ------
    OutputError
        It is no plan, which arm is the control cannot be told, or `labels` lack a column.
    """
    file = target / ALLOCATION_PARQUET if target.is_dir() else target
    schema, arms, control, decimals = _survey(file, control)
    unit, segments = schema.names[0], segment_columns(schema.names)
    manifest: dict[str, Any] = {
        "unit_column": unit,
        "control": control,
        "arms": arms,
        "budget": summary.get("budget"),
        "constraints": list(summary.get("constraints", [])),
        "sums": {name: {"decimals": decimals[name]} for name in MONEY},
    }
    by = None
    counted = [limit["segment"] for limit in limits_of(manifest) if limit.get("segment") is not None]
    if labels is not None and counted:
        by = Labels(labels, unit, list(dict.fromkeys(counted)))
    added = () if by is None else by.columns
    remedy = "; give the customer table (--columns)"
    audit = Audit(manifest, Given(frozenset((*schema.names, *added)), remedy=remedy))
    hashes, without, held, held_with_arm, costly = list[np.ndarray](), 0, 0, 0, 0
    sums = dict.fromkeys(MONEY, 0)
    for block in _blocks(file, [unit, *NEEDED, *segments], (unit, "arm", *segments)):
        rows = block if by is None else by.add_to(block)
        audit.add(rows)
        without += block[unit].null_count
        hashes.append(unit_hash(block[unit]))
        codes, names = coded(block["arm"])
        treated = np.array([name != control for name in names] or [False])[codes]
        kept = np.asarray(column_types.flat(block["holdout"]).to_numpy(zero_copy_only=False), np.bool_)
        held, held_with_arm = held + int(kept.sum()), held_with_arm + int((kept & treated).sum())
        for name in MONEY:
            amounts = column_types.to_float(block[name], dtype=np.float64)
            sums[name] += multiples(amounts, decimals[name], up=name == "expected_cost")
            costly += int((~treated & (amounts != 0)).sum())
    found = np.sort(np.concatenate(hashes)) if hashes else np.zeros(0, np.uint64)
    twice = int((found[1:] == found[:-1]).sum())
    checks = [
        _of(without, "ids", f"{len(found):,} units, each once", "units have no id")
        if without
        else _of(twice, "ids", f"{len(found):,} units, each once", "units appear more than once"),
        _of(
            held_with_arm,
            "holdout",
            f"{held:,} held-out units, none with an arm",
            "held-out units have an arm",
        ),
        _of(
            costly, "control", "costs nothing and brings nothing", "amounts of rows without an arm are not 0"
        ),
        *(_summed(name, sums[name], decimals[name], len(found), summary) for name in MONEY),
    ]
    uses = audit.uses()
    if by is not None:
        checks.append(Check("segments", *by.result()))
    checks += [Check(*entry) for entry in checks_of(uses)]
    return Verification(str(target), manifest, tuple(checks), uses)


def read_summary(path: Path) -> dict[str, Any]:
    """A plan's summary.

    Raises
    ------
    OutputError
        It is damaged, or none.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise OutputError(f"{path} is damaged ({first_line(error)}); make the plan again.") from error
    if not isinstance(content, dict) or "constraints" not in content:
        raise OutputError(f"{path} is no summary of a plan; export the allocation, or make the plan again.")
    return content


def _survey(file: Path, control: str | None) -> tuple[pa.Schema, list[str], str, dict[str, int]]:
    """Schema, arms, control and decimals of the sums, from a first reading of three columns."""
    first = next(_blocks(file, None, ()), None)
    if first is None:
        raise OutputError(f"{file} has no rows; make the plan again.")
    missing = [name for name in NEEDED if name not in first.column_names]
    if missing:
        raise OutputError(f"{file} is no allocation (no column {missing[0]!r}).")
    largest, rows = dict.fromkeys(MONEY, 0.0), 0
    seen: dict[tuple[str, bool], None] = {}
    for block in _blocks(file, list(NEEDED), ("arm",)):
        rows += len(block)
        for name in MONEY:
            amounts = np.abs(column_types.to_float(block[name], dtype=np.float64))
            if not np.isfinite(amounts).all():
                raise OutputError(
                    f"{int((~np.isfinite(amounts)).sum()):,} rows of {file} have no finite {name}."
                )
            largest[name] = max(largest[name], float(amounts.max(initial=0.0)))
        kept = block["holdout"].cast(pa.bool_())
        for held, part in ((False, block.filter(pc.invert(kept))), (True, block.filter(kept))):
            seen |= dict.fromkeys(
                (str(name), held) for name in pc.unique(part["arm"].cast(pa.string())).to_pylist()
            )
    few = pa.table(
        {
            "arm": pa.array([name for name, _ in seen], pa.string()),
            "holdout": pa.array([held for _, held in seen]),
        }
    )
    arms = find_control(few.replace_schema_metadata(_metadata(file)), control)
    if control is not None and control not in arms:
        raise OutputError(f"there is no arm {control!r} in {file}; {did_you_mean(control, arms)}")
    return first.schema, list(arms), arms[0], {name: decimals_for(largest[name], rows) for name in MONEY}


def _metadata(file: Path) -> Any:
    if format_of(file, None) != "parquet":
        return None
    import pyarrow.parquet as pq

    return pq.read_schema(file).metadata


def _blocks(file: Path, columns: list[str] | None, text: tuple[str, ...]) -> Iterator[pa.Table]:
    yield from readable(read_blocks(file, format_of(file, None), text, columns), file)


def _of(bad: int, name: str, fine: str, wrong: str) -> Check:
    return Check(name, "fail", f"{bad:,} {wrong}") if bad else Check(name, "pass", fine)


def _summed(name: str, count: int, decimals: int, rows: int, summary: Mapping[str, Any]) -> Check:
    amount, stated = as_decimal(count, decimals), float(summary[name])
    # The plan rounds every amount to units of its own, at most a micro-unit each.
    if abs(float(amount) - stated) <= rows * _SUMMED + 1e-9 * abs(stated):
        return Check(f"sum of {name}", "pass", amount)
    return Check(f"sum of {name}", "fail", f"adds up to {amount}, the summary says {stated:,.6f}")
