"""Features that carry nothing, or only say which row it is."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from uplift import columns
from uplift.checks.design import Design
from uplift.checks.result import CheckResult
from uplift.io.tables import join_names

ID_ROWS = 1000
"""Rows from which on "all different" is no accident."""


def check_constant_columns(design: Design) -> CheckResult:
    """Warn about features that are all missing, constant, or different in (nearly) every row like an id."""
    campaign = design.campaign
    missing: list[str] = []
    constant: list[str] = []
    ids: list[str] = []
    for name in campaign.feature_names:
        column = campaign.table[name]
        kind = _kind(column)
        if kind is not None:
            {"missing": missing, "constant": constant, "id": ids}[kind].append(name)
    advice = []
    for names, what in (
        (missing, "without any value"),
        (constant, "constant"),
        (ids, "different in every row, like an id"),
    ):
        if names:
            advice.append(f"{len(names)} feature(s) {what}: {join_names(names)}")
    detail = (
        "; ".join(advice) + "; list them under exclude (or name the id as unit)."
        if advice
        else f"all {len(campaign.feature_names)} features vary."
        if campaign.feature_names
        else "there are no features, so no model can tell customers apart; only average effects can be read off."
    )
    return CheckResult(
        check="constant_columns",
        title="Does every feature carry something?",
        status="warn" if advice or not campaign.feature_names else "pass",
        detail=detail,
        data={
            "all_missing": missing,
            "constant": constant,
            "like_an_id": ids,
            "features": len(campaign.feature_names),
        },
    )


def _kind(column: pa.ChunkedArray) -> str | None:
    if columns.is_numeric(column):
        values = columns.to_float(column, dtype=np.float64)
        values = values[~np.isnan(values)]
        if values.size == 0:
            return "missing"
        low, high = values.min(), values.max()
        if low == high:
            return "constant" if values.size == len(column) else None
        return "id" if _counts_rows(column, values, low, high) else None
    encoded = columns.labels(column)
    codes = encoded.indices.drop_null().to_numpy(zero_copy_only=False)
    if codes.size == 0:
        return "missing"
    different = int((np.bincount(codes) > 0).sum())
    if different == 1:
        return "constant" if codes.size == len(column) else None
    return "id" if codes.size >= ID_ROWS and different > 0.95 * codes.size else None


def _counts_rows(column: pa.ChunkedArray, values: np.ndarray, low: float, high: float) -> bool:
    """Whole numbers, all different, in a range too narrow for that to be chance (birthday problem)."""
    if not pa.types.is_integer(columns.value_type(column)) or values.size < ID_ROWS:
        return False
    if high - low >= 20 * values.size:
        return False
    return int(pc.count_distinct(column, mode="only_valid").as_py()) == values.size
