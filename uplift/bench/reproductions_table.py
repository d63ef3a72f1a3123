"""Ours beside theirs, as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from uplift.bench.reproductions import Reproduction, out_of_reach
from uplift.bench.runner import OK, Record
from uplift.bench.summary import Table
from uplift.io.atomic import atomic_path, write_text

FILE_PARQUET, FILE_MD = "reproductions.parquet", "reproductions.md"


def verdict(one: Reproduction, record: Record | None, reason: str | None) -> str:
    """In one word: matches, differs, failed or skipped."""
    if record is None or reason is not None:
        return "skipped"
    if record["status"] != OK:
        return "failed"
    return "matches" if abs(record["value"] - one.published) <= one.tolerance else "differs"


def compare_table(
    wanted: Sequence[Reproduction], records: Mapping[str, Record], reasons: Mapping[str, str | None]
) -> Table:
    """One row per published number."""
    rows = []
    for one in wanted:
        record = records.get(one.id)
        rows.append([
            one.id, one.what, _number(one.published), _ours(record), verdict(one, record, reasons.get(one.id)), one.grade, one.source,
        ])  # fmt: skip
    return Table(
        "Published numbers, tried again",
        ["id", "what", "published", "ours", "verdict", "grade", "source"],
        rows,
    )


def write_comparison(
    folder: Path,
    wanted: Sequence[Reproduction],
    records: Mapping[str, Record],
    reasons: Mapping[str, str | None],
) -> list[Path]:
    """Write ``reproductions.parquet`` and ``reproductions.md``."""
    lines: list[dict[str, Any]] = []
    for one in wanted:
        record, reason = records.get(one.id), reasons.get(one.id)
        lines.append({
            "id": one.id, "data": one.data, "what": one.what, "published": float(one.published), "tolerance": float(one.tolerance),
            "ours": None if record is None else record.get("value"), "spread": None if record is None else record.get("spread"),
            "verdict": verdict(one, record, reason), "grade": one.grade, "source": one.source,
            "note": one.note, "reason": reason or (record or {}).get("error") or "",
        })  # fmt: skip
    with atomic_path(folder / FILE_PARQUET) as temporary:
        pd.DataFrame(lines).to_parquet(temporary, index=False)
    parts = [
        "# Published numbers, tried again",
        "`uplift bench reproductions`. A number matches where ours is within the stated tolerance of theirs. Grades: A seed and "
        "split are stated and the code is public; B public code, something unseeded or tuned on the test part; C a second-hand table.",
        compare_table(wanted, records, reasons).markdown(),
        "### Notes",
        "\n".join(f"- `{line['id']}` ({line['verdict']}, tolerance {_number(line['tolerance'])}): {line['note'] or 'no remark.'}" for line in lines if not line["reason"]),
        "### Not tried here",
        "\n".join([f"- `{line['id']}`: {line['reason']}" for line in lines if line["reason"]] + [f"- {name}: {why}" for name, why in out_of_reach().items()]),
    ]  # fmt: skip
    return [folder / FILE_PARQUET, write_text(folder / FILE_MD, "\n\n".join(parts) + "\n")]


def _ours(record: Record | None) -> str:
    if record is None or "value" not in record:
        return "-"
    spread = f" ± {_number(record['spread'])}" if record.get("spread") is not None else ""
    return _number(record["value"]) + spread


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.5g}"
