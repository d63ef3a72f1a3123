"""Verification: read an export back and add everything up again."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from uplift import columns as column_types
from uplift.errors import OutputError
from uplift.export.manifest import MONEY, Tally, coded
from uplift.export.publish import MANIFEST, read_manifest
from uplift.export.reading import read_part, read_rows
from uplift.export.sums import as_decimal, within
from uplift.hashing import unit_hash
from uplift.io.fingerprint import file_sha256

CHECKED = (
    "decision_id", "arm", "role", "reason", "holdout", "propensity", "expected_value", "expected_cost",
)  # fmt: skip
"""Columns that :func:`check_rows` reads, beside the unit's."""


@dataclass(frozen=True)
class Check:
    """One thing that was looked at: ``status`` is ``pass``, ``fail`` or ``skip``.

    Attributes
    ----------
    name, status, detail : str

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from uplift import allocate_arrays
    >>> plan = allocate_arrays([[3.0], [2.0]], [[1.0], [1.0]], budget=1.0)
    >>> found = verify_export(plan.export(pathlib.Path(tempfile.mkdtemp()) / "plan.csv"))
    >>> found.checks[0].name, found.checks[0].status
    ('files', 'pass')
    """

    name: str
    status: str
    detail: str


@dataclass(frozen=True)
class Verification:
    """What reading an export back has shown.

    Attributes
    ----------
    target : str
    manifest : dict
    checks : tuple of Check

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from uplift import allocate_arrays
    >>> plan = allocate_arrays([[3.0], [2.0]], [[1.0], [1.0]], budget=1.0)
    >>> found = verify_export(plan.export(pathlib.Path(tempfile.mkdtemp()) / "plan.csv"))
    >>> found.passed
    True
    """

    target: str
    manifest: dict[str, Any]
    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """Whether nothing failed."""
        return all(check.status != "fail" for check in self.checks)

    def raise_if_failed(self) -> Verification:
        """Itself, or the first failure as an error.

        Raises
        ------
        OutputError
            A check failed.
        """
        for check in self.checks:
            if check.status == "fail":
                raise OutputError(f"{self.target} does not verify ({check.name}): {check.detail}.")
        return self


def verify_export(path: str | os.PathLike[str]) -> Verification:
    """Read a file or folder back: its files, rows, ids, arms, counts, sums and limits against its manifest.

    Parameters
    ----------
    path : path
        What :func:`uplift.export.export_decisions` wrote.

    Returns
    -------
    Verification

    Raises
    ------
    OutputError
        There is no manifest, so nothing says what should be there.

    Examples
    --------
    >>> import tempfile
    >>> from uplift import allocate_arrays
    >>> plan = allocate_arrays([[3.0], [2.0]], [[1.0], [1.0]], budget=1.0)
    >>> found = verify_export(plan.export(Path(tempfile.mkdtemp()) / "plan.parquet"))
    >>> found.passed, found.checks[0].name
    (True, 'files')
    """
    target = Path(path)
    manifest = read_manifest(target)
    files = check_files(target, manifest)
    if files.status == "fail":
        return Verification(str(target), manifest, (files,))
    if manifest["template"] is not None:
        return Verification(str(target), manifest, (files, *_check_template(target, manifest)))
    try:
        columns = [manifest["unit_column"], *CHECKED]
        rows = check_rows(read_rows(target, manifest, columns), manifest)
    except OutputError as error:
        rows = [Check("rows", "fail", str(error))]
    return Verification(str(target), manifest, (files, *rows))


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


def check_rows(blocks: Iterable[pa.Table], manifest: dict[str, Any]) -> list[Check]:
    """Checks on all rows, from one reading."""
    tally = Tally({name: manifest["sums"][name]["decimals"] for name in MONEY})
    seen = _Seen(manifest)
    for block in blocks:
        tally.add(block)
        seen.add(block)
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
    checks += _limits(manifest, tally)
    return checks


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


def _limits(manifest: dict[str, Any], tally: Tally) -> list[Check]:
    """The plan's budget, and its other limits as far as the rows show what counts towards them."""
    checks: list[Check] = []
    budget = manifest["budget"]
    cost, decimals = tally.sums["expected_cost"], tally.decimals["expected_cost"]
    if budget is None:
        checks.append(Check("budget", "skip", "the plan has no limit, or the file does not say which"))
    elif within(cost, decimals, budget):
        checks.append(Check("budget", "pass", f"{as_decimal(cost, decimals)} of {budget:,.2f}"))
    else:
        checks.append(Check("budget", "fail", f"costs {as_decimal(cost, decimals)}, more than {budget:,.2f}"))
    arms: dict[str, int] = {}
    for (arm, *_), count in tally.counts.items():
        arms[arm] = arms.get(arm, 0) + count
    for limit in manifest["constraints"]:
        if limit.get("name") == "budget":
            continue
        check = _limit(limit, arms, manifest["control"])
        checks.append(check)
    return checks


def _limit(limit: dict[str, Any], arms: dict[str, int], control: str) -> Check:
    name, kind, most = str(limit.get("name")), limit.get("kind"), limit.get("limit")
    told = "arm" in limit and "segment" in limit  # else the limit may count anything
    if not told or limit["segment"] is not None or kind not in ("stock", "cap", "min_reach") or most is None:
        return Check(name, "skip", "rows do not say what counts towards it")
    arm = limit.get("arm")
    use = arms.get(arm, 0) if arm is not None else sum(n for key, n in arms.items() if key != control)
    broken = use < most if kind == "min_reach" else use > most
    return Check(name, "fail" if broken else "pass", f"{use:,} of {most:,.0f}")


def _check_template(target: Path, manifest: dict[str, Any]) -> list[Check]:
    """A template drops what the other checks need: count its rows."""
    roles: dict[str, int] = {}
    for group in manifest["counts"]:
        roles[group["role"]] = roles.get(group["role"], 0) + group["rows"]
    wanted = {
        "decisions": (roles.get("treatment", 0), manifest["rows"]),
        "suppression": (roles.get("holdout", 0),),
    }
    checks = []
    for part in manifest["parts"]:
        found = sum(len(block) for block in read_part(target, manifest, part))
        name = "rows" if part["content"] == "decisions" else "suppression list"
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
    return checks
