"""Verification: read an export back and add everything up again, the plan's limits among it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from uplift import columns as column_types
from uplift.errors import OutputError
from uplift.export.audit import Audit, Given, limits_of
from uplift.export.checks import Check, Verification
from uplift.export.labels import Labels
from uplift.export.limit_use import LimitUse, checks_of
from uplift.export.manifest import MONEY, Tally, coded
from uplift.export.mapping import as_contract, given_by
from uplift.export.publish import MANIFEST, manifest_path, read_manifest
from uplift.export.reading import read_part, read_rows
from uplift.export.sums import as_decimal
from uplift.export.verify_plan import read_summary, summary_path, verify_plan
from uplift.hashing import unit_hash
from uplift.io.fingerprint import file_sha256
from uplift.io.tables import read_table
from uplift.segments import segment_columns

CHECKED = (
    "decision_id", "arm", "role", "reason", "holdout", "propensity", "expected_value", "expected_cost",
)  # fmt: skip
"""Columns that :func:`check_rows` reads, beside the unit's and the segments'."""
_REMEDY = "; export again from the plan, or give the customer table (--columns)"


def verify_export(
    path: str | os.PathLike[str],
    *,
    columns: pa.Table | str | os.PathLike[str] | None = None,
    control: str | None = None,
) -> Verification:
    """Read a file or folder back: its files, rows, ids, arms, counts, sums and limits against its manifest.

    Every limit of the plan (budgets, stocks, caps, shares, reaches, returns; of everybody or of a segment's level) is
    added up again from the written rows, exactly, costs rounded up and values down.

    Parameters
    ----------
    path : path
        What :func:`uplift.export.export_decisions` wrote. A plan that is not exported yet (``uplift allocate``, or
        a run folder) is held against the summary beside it instead.
    columns : pyarrow.Table or path, optional
        The customer table (the unit's id and the segments' columns): limits are then counted by its labels, and the
        exported ones compared with them. Needed where the file lacks a segment, as most templates do.
    control : str, optional
        Name of the control in a plan's text file that holds nobody out; other files say it.

    Returns
    -------
    Verification

    Raises
    ------
    OutputError
        There is no manifest, so nothing says what should be there; or `columns` lack one.

    Examples
    --------
    >>> import tempfile
    >>> from uplift import allocate_arrays
    >>> plan = allocate_arrays([[3.0], [2.0]], [[1.0], [1.0]], budget=1.0)
    >>> found = verify_export(plan.export(Path(tempfile.mkdtemp()) / "plan.parquet"))
    >>> found.passed, found.checks[0].name
    (True, 'files')
    >>> found.limits[0].name, found.limits[0].use, found.limits[0].status
    ('budget', '1.000000000000', 'pass')
    """
    target = Path(path)
    if not manifest_path(target).exists() and summary_path(target).exists():
        return verify_plan(
            target, read_summary(summary_path(target)), labels=_table(columns), control=control
        )
    if not target.exists():
        raise OutputError(f"there is no file or folder {str(target)!r}; check the path.")
    manifest = read_manifest(target)
    labels = labels_of(columns, manifest)
    files = check_files(target, manifest)
    if files.status == "fail":
        return Verification(str(target), manifest, (files,))
    try:
        if manifest["template"] is not None:
            checks, limits = _check_template(target, manifest, labels)
            return Verification(str(target), manifest, (files, *checks), limits)
        names = [manifest["unit_column"], *CHECKED, *segment_columns(manifest["columns"])]
        rows, limits = check_rows(read_rows(target, manifest, names), manifest, labels)
    except OutputError as error:
        rows, limits = [Check("rows", "fail", str(error))], ()
    return Verification(str(target), manifest, (files, *rows), limits)


def labels_of(columns: pa.Table | str | os.PathLike[str] | None, manifest: dict[str, Any]) -> Labels | None:
    """The customer table's labels of the segments that limits count; None without a table, or such limits.

    Raises
    ------
    OutputError
        A column is not there.
    """
    segments = [limit["segment"] for limit in limits_of(manifest) if limit.get("segment") is not None]
    if columns is None or not segments:
        return None
    return Labels(_table(columns), manifest["unit_column"], list(dict.fromkeys(segments)))


def _table(columns: pa.Table | str | os.PathLike[str] | None) -> pa.Table | None:
    return columns if columns is None or isinstance(columns, pa.Table) else read_table(Path(columns))


def check_files(target: Path, manifest: dict[str, Any]) -> Check:
    """Every part is there with its SHA-256, and a folder holds nothing else."""
    base = target if target.is_dir() else target.parent
    for part in manifest["parts"]:
        file = base / part["file"]
        if not file.is_file():
            return Check("files", "fail", f"{part['file']} is missing")
        if file_sha256(file) != part["sha256"]:
            return Check(
                "files", "fail", f"{part['file']} is not the file the manifest describes (SHA-256 differs)"
            )
    if target.is_dir():
        listed = {MANIFEST, *(part["file"] for part in manifest["parts"])}
        found = {str(file.relative_to(target)) for file in target.rglob("*") if file.is_file()}
        if found - listed:
            return Check("files", "fail", f"{sorted(found - listed)[0]} is not in the manifest")
    n = len(manifest["parts"])
    return Check("files", "pass", f"{n} file{'s' if n > 1 else ''}, SHA-256 as in the manifest")


def check_rows(
    blocks: Iterable[pa.Table], manifest: dict[str, Any], labels: Labels | None = None
) -> tuple[list[Check], tuple[LimitUse, ...]]:
    """Checks on all rows and the use of every limit, from one reading.

    Raises
    ------
    OutputError
        Amounts are missing.
    """
    tally = Tally({name: manifest["sums"][name]["decimals"] for name in MONEY})
    seen = _Seen(manifest)
    added = () if labels is None else labels.columns
    audit = Audit(manifest, Given(frozenset((*manifest["columns"], *added)), remedy=_REMEDY))
    for block in blocks:
        if labels is not None:
            block = labels.add_to(block)
        seen.add(block)
        tally.add(block)
        audit.add(block)
    checks = [
        _same("rows", manifest["rows"], tally.rows, "rows"),
        seen.unique(),
        _of(
            seen.held_with_arm,
            "holdout",
            f"{seen.held:,} held-out units, none with an arm",
            "held-out units have an arm",
        ),
        _of(
            seen.misplaced,
            "roles",
            "an arm means treatment, and none means none",
            "rows whose role and arm disagree",
        ),
        _of(
            seen.unknown_arms,
            "arms",
            f"{len(manifest['arms'])} arms, all known",
            "rows have an arm the plan does not",
        ),
        _of(
            seen.costly_control,
            "control",
            "costs nothing and brings nothing",
            "rows without an arm have a cost or value",
        ),
        _of(seen.odd_chances, "propensity", _chances(manifest), "rows have a propensity outside (0, 1]"),
        _counts(manifest, tally),
    ]
    for name in MONEY:
        total, stated = tally.sums[name], manifest["sums"][name]
        amount = as_decimal(total, tally.decimals[name])
        if str(total) == stated["multiples"]:
            checks.append(Check(f"sum of {name}", "pass", amount))
        else:
            checks.append(
                Check(f"sum of {name}", "fail", f"adds up to {amount}, the manifest says {stated['amount']}")
            )
    uses = audit.uses()
    return [*checks, *_limit_checks(manifest, uses, labels)], uses


def _limit_checks(manifest: dict[str, Any], uses: tuple[LimitUse, ...], labels: Labels | None) -> list[Check]:
    """What the audit has found, after whether the labels it counted by are those of the customer table."""
    checks = [] if labels is None else [Check("segments", *labels.result())]
    if manifest["budget"] is None and not manifest["constraints"]:
        checks.append(Check("budget", "skip", "the plan has no limit, or the file does not say which"))
    return checks + [Check(*entry) for entry in checks_of(uses)]


class _Seen:
    """Counts of what should not be."""

    def __init__(self, manifest: dict[str, Any]) -> None:
        self.unit, self.control = manifest["unit_column"], manifest["control"]
        self.arms = set(manifest["arms"])
        self.ids: list[np.ndarray] = []
        self.units: list[np.ndarray] = []
        self.without = 0
        self.held = self.held_with_arm = self.misplaced = self.unknown_arms = 0
        self.costly_control = self.odd_chances = 0

    def add(self, block: pa.Table) -> None:
        for name, hashes in (("decision_id", self.ids), (self.unit, self.units)):
            self.without += block[name].null_count
            hashes.append(unit_hash(block[name]))
        arm, arms = coded(block["arm"])
        treated = np.array([name != self.control for name in arms])[arm]
        role, roles = coded(block["role"])
        held = np.asarray(column_types.flat(block["holdout"]).to_numpy(zero_copy_only=False), np.bool_)
        self.held += int(held.sum())
        self.held_with_arm += int((held & treated).sum())
        for name, wanted in (("treatment", treated), ("holdout", held)):
            self.misplaced += int((np.array([entry == name for entry in roles])[role] != wanted).sum())
        self.unknown_arms += int(np.array([name not in self.arms for name in arms])[arm].sum())
        money = [column_types.to_float(block[name], dtype=np.float64) for name in MONEY]
        for name, amounts in zip(MONEY, money, strict=True):
            if not np.isfinite(amounts).all():
                raise OutputError(f"{int((~np.isfinite(amounts)).sum()):,} rows have no finite {name}.")
        self.costly_control += int((~treated & ((money[0] != 0) | (money[1] != 0))).sum())
        chance = column_types.to_float(block["propensity"], dtype=np.float64)
        self.odd_chances += int(((chance <= 0) | (chance > 1)).sum())

    def unique(self) -> Check:
        """No decision and no unit twice, none without an id.

        By 64-bit hashes: what passes is unique; that two different ids of 10 million share a hash has probability
        3e-6.
        """
        if self.without:
            return Check("ids", "fail", f"{self.without:,} ids are missing")
        for name, parts in (("decision ids", self.ids), ("units", self.units)):
            if parts:
                hashes = np.sort(np.concatenate(parts))
                repeated = int((hashes[1:] == hashes[:-1]).sum())
                if repeated:
                    return Check("ids", "fail", f"{repeated:,} {name} appear more than once")
        return Check("ids", "pass", "every unit and every decision id once")


def _of(bad: int, name: str, fine: str, wrong: str) -> Check:
    return Check(name, "fail", f"{bad:,} {wrong}") if bad else Check(name, "pass", fine)


def _same(name: str, wanted: int, found: int, what: str) -> Check:
    if wanted == found:
        return Check(name, "pass", f"{found:,} {what}")
    return Check(name, "fail", f"{found:,} {what}, the manifest says {wanted:,}")


def _chances(manifest: dict[str, Any]) -> str:
    unknown = manifest["propensity"]["unknown"]
    return "all in (0, 1]" if not unknown else f"all in (0, 1]; not known for {unknown:,} rows"


def _counts(manifest: dict[str, Any], tally: Tally) -> Check:
    found = tally.to_dict()["counts"]
    if found == manifest["counts"]:
        return Check("counts", "pass", f"{len(found)} groups of arm, role and reason")
    for group in found:
        if group not in manifest["counts"]:
            names = ", ".join(str(group[key]) for key in ("arm", "role", "reason"))
            return Check(
                "counts", "fail", f"{group['rows']:,} rows of ({names}), which is not what the manifest says"
            )
    return Check("counts", "fail", "groups of arm, role and reason are missing")


def _check_template(
    target: Path, manifest: dict[str, Any], labels: Labels | None
) -> tuple[list[Check], tuple[LimitUse, ...]]:
    """A template drops what the other checks need: count its rows, and what else its columns tell."""
    roles: dict[str, int] = {}
    for group in manifest["counts"]:
        roles[group["role"]] = roles.get(group["role"], 0) + group["rows"]
    wanted = {
        "decisions": (roles.get("treatment", 0), manifest["rows"]),
        "suppression": (roles.get("holdout", 0),),
    }
    given = given_by(manifest)
    if manifest["unit_column"] not in given.columns:
        labels = None  # there are no ids to find them by
    if labels is not None:
        given = replace(given, columns=given.columns | set(labels.columns))
    audit = Audit(manifest, given)
    checks = []
    for part in manifest["parts"]:
        found, decisions = 0, part["content"] == "decisions"
        for block in read_part(target, manifest, part):
            found += len(block)
            if decisions:
                rows = as_contract(block, manifest)
                audit.add(rows if labels is None else labels.add_to(rows))
        name = "rows" if decisions else "suppression list"
        allowed = wanted[part["content"]]
        if found != part["rows"] or found not in allowed:
            checks.append(
                Check(
                    name, "fail", f"{found:,} rows, the manifest says {part['rows']:,} (plan: {allowed[0]:,})"
                )
            )
        else:
            checks.append(Check(name, "pass", f"{found:,} rows"))
    checks.append(
        Check(
            "sums",
            "skip",
            f"the template {manifest['template']!r} leaves out columns; verify an export with all of them",
        )
    )
    uses = audit.uses()
    return [*checks, *_limit_checks(manifest, uses, labels)], uses
