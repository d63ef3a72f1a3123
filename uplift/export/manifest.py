"""The manifest: what an export holds, in numbers that anyone can add up again from what was written."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from uplift import columns as column_types
from uplift.export.decisions import Decisions
from uplift.export.sums import as_decimal, multiples
from uplift.versions import versions

SCHEMA_VERSION = 1
KIND = "uplift-export"
MONEY = ("expected_value", "expected_cost")
GROUPS = ("arm", "role", "reason")
MISSING = "\0missing"
"""Stands for a null among names."""


class Tally:
    """Counts and exact sums of rows that pass by in blocks.

    Parameters
    ----------
    decimals : dict
        Decimals of the unit in which each money column is summed.
    """

    def __init__(self, decimals: dict[str, int]) -> None:
        self.decimals = decimals
        self.rows = 0
        self.counts: Counter[tuple[str, ...]] = Counter()
        self.sums = dict.fromkeys(decimals, 0)

    def add(self, block: pa.Table) -> None:
        """Count a block."""
        if not len(block):
            return
        self.rows += len(block)
        groups = [name for name in GROUPS if name in block.column_names]
        if groups:
            self._count(block, groups)
        for name in self.sums:
            if name in block.column_names:
                amounts = column_types.to_float(block[name], dtype=np.float64)
                self.sums[name] += multiples(amounts, self.decimals[name], up=name == "expected_cost")

    def _count(self, block: pa.Table, groups: list[str]) -> None:
        total, names = np.zeros(len(block), np.int32), []
        for name in groups:
            codes, entries = coded(block[name])
            total = total * np.int32(len(entries)) + codes
            names.append(entries)
        for code, count in enumerate(np.bincount(total)):
            if count:
                key = []
                for entries in reversed(names):
                    code, at = divmod(code, len(entries))
                    key.append(entries[at])
                self.counts[tuple(reversed(key))] += int(count)

    def to_dict(self) -> dict[str, Any]:
        """Rows, counts and sums as the manifest has them."""
        return {
            "rows": self.rows,
            "counts": [
                {**dict(zip(GROUPS, key, strict=True)), "rows": self.counts[key]}
                for key in sorted(self.counts)
            ],
            "sums": {
                name: {
                    "multiples": str(total),
                    "decimals": self.decimals[name],
                    "amount": as_decimal(total, self.decimals[name]),
                }
                for name, total in self.sums.items()
            },
        }


def describe(decisions: Decisions, tally: Tally, **more: Any) -> dict[str, Any]:
    """The manifest of decisions that were counted while they were written.

    The sums count multiples of ``10**-decimals`` money units (micro-units or finer), as text because JSON readers
    round large integers; costs are rounded up row by row and values down.
    """
    missing = int(np.isnan(decisions.propensity).sum())
    arms: Counter[str] = Counter()
    for (arm, *_), count in tally.counts.items():
        arms[arm] += count
    return {
        "kind": KIND,
        "schema_version": SCHEMA_VERSION,
        **more,
        "campaign": decisions.campaign,
        "model": decisions.model,
        "model_hash": decisions.model_hash,
        "run_id": decisions.run_id,
        "unit_column": decisions.unit_column,
        "control": decisions.control,
        **tally.to_dict(),
        "arms": {arm: arms.get(arm, 0) for arm in decisions.arms},
        "holdout": {"rows": int(decisions.held_out.sum()), "share": decisions.holdout_share},
        "propensity": {"unknown": missing},
        "budget": decisions.budget,
        "constraints": decisions.constraints,
        "valid_from": _text(decisions.valid_from),
        "valid_until": _text(decisions.valid_until),
        "versions": versions(("pyarrow", "duckdb")),
    }


def coded(column: pa.ChunkedArray) -> tuple[np.ndarray, list[str]]:
    """A column of names as integer codes [row] and the names they stand for."""
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    column = column.unify_dictionaries()
    if not column.num_chunks:
        return np.zeros(0, np.int32), []
    entries = [str(entry) for entry in column.chunk(0).dictionary.to_pylist()]
    if column.null_count:  # a damaged file: what is missing is an entry of its own
        indices = [pc.fill_null(chunk.indices.cast(pa.int32()), len(entries)) for chunk in column.chunks]
        entries.append(MISSING)
    else:
        indices = [chunk.indices for chunk in column.chunks]
    return np.concatenate([chunk.to_numpy(zero_copy_only=False) for chunk in indices]), entries


def _text(moment: dt.datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(dt.UTC).isoformat().replace("+00:00", "Z")
