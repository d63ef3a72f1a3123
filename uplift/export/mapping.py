"""A template's file seen through the contract: which of its columns are which of ours."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from uplift.export.audit import Given

_NUMBERS = ("expected_value", "expected_cost")
_UNIT = "unit"


def given_by(manifest: dict[str, Any]) -> Given:
    """What the rows of a template's file can say."""
    mapping, lacks = manifest.get("mapping"), f"; the template {manifest['template']!r} leaves it out"
    if mapping is None:  # written by an earlier version
        return Given(frozenset(), lacks=lacks + ", or the manifest does not say")
    columns = frozenset(_sources(manifest).values())
    return Given(
        columns,
        only_treated=mapping["rows"] == "treatment",
        decimals=mapping["decimals"] if manifest["format"] == "csv" else None,
        lacks=lacks,
        remedy=", so give the customer table (--columns)" if manifest["unit_column"] in columns else "",
    )


def as_contract(block: pa.Table, manifest: dict[str, Any]) -> pa.Table:
    """The columns of a template's rows that are ours, with our names; amounts as numbers."""
    data: dict[str, Any] = {}
    for name, source in _sources(manifest).items():
        column = block[name]
        data[source] = column.cast(pa.float64()) if source in _NUMBERS else column
    # A table without columns has no rows either.
    return pa.table(data) if data else block.select([])


def _sources(manifest: dict[str, Any]) -> dict[str, str]:
    columns = (manifest.get("mapping") or {"columns": {}})["columns"]
    return {name: manifest["unit_column"] if source == _UNIT else source for name, source in columns.items()}
