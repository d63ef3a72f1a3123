"""What changed since the export before: revisions, and how many decisions are new, changed, unchanged or gone."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from uplift.errors import OutputError
from uplift.export.decisions import Decisions
from uplift.export.formats import Style, plain
from uplift.export.publish import read_manifest
from uplift.export.reading import read_rows

DECIDED = ("arm", "role", "valid_from", "valid_until")
"""A decision has changed when one of these differs. New predictions for the same arm are no new decision."""


def against_previous(
    decisions: Decisions, previous: str | os.PathLike[str] | None
) -> tuple[Decisions, dict[str, Any] | None]:
    """Decisions with their revisions, and the manifest's note on the export before.

    An id that was exported before keeps its revision when the decision is the same and gets the next one when it
    has changed; new ids have revision 1.

    Raises
    ------
    OutputError
        `previous` is no export, or one through a template that dropped the ids.
    """
    if previous is None:
        return decisions, None
    target = Path(previous)
    manifest = read_manifest(target)
    if manifest.get("template") is not None:
        raise OutputError(
            f"{target} was exported through the template {manifest['template']!r}, so its decisions cannot be compared; "
            "give an export with all columns."
        )
    wanted = ["decision_id", "revision", *DECIDED]
    blocks = [plain(block, Style()).select(wanted) for block in read_rows(target, manifest, wanted)]
    before = pa.concat_tables(
        [block.cast(_schema()) for block in blocks] or [_schema().empty_table()]
    ).combine_chunks()
    ids = decisions.decision_ids.cast(pa.large_string()).combine_chunks()
    found = pc.index_in(ids, before["decision_id"].combine_chunks())
    known = found.is_valid().to_numpy(zero_copy_only=False)
    places = found.fill_null(0).to_numpy(zero_copy_only=False)
    revisions, changed = np.ones(len(decisions), np.int32), np.zeros(len(decisions), np.bool_)
    if len(before):
        now = pa.concat_tables(
            plain(block, Style()).select(list(DECIDED)).cast(pa.schema([_schema().field(n) for n in DECIDED]))
            for block in decisions.blocks()
        )
        for name in DECIDED:
            then = before[name].take(pa.array(places))
            same = pc.equal(now[name], then).fill_null(False)
            both = pc.and_(pc.is_null(now[name]), pc.is_null(then))
            changed |= ~pc.or_(same, both).to_numpy()
        changed &= known
        old = before["revision"].to_numpy()[places]
        revisions = np.where(known, old + changed, 1).astype(np.int32)
    note = {
        "run_id": manifest["run_id"],
        "sha256": [part["sha256"] for part in manifest["parts"]],
        "new": int((~known).sum()),
        "changed": int(changed.sum()),
        "unchanged": int((known & ~changed).sum()),
        "gone": len(before) - int(known.sum()),
    }
    return replace(decisions, revisions=revisions), note


def _schema() -> pa.Schema:
    text = pa.large_string()
    return pa.schema(
        [("decision_id", text), ("revision", pa.int32()), *((name, pa.string()) for name in DECIDED)]
    )
