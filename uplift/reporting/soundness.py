"""Is the experiment sound? The checks as rows, as one light, and as balance data."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from uplift.errors import UpliftError

BALANCE_CHECK = "balance_smd"
DEFAULT_LIMIT = 0.1
ORDER = ("pass", "warn", "fail")
WORDS = {"pass": "Pass", "warn": "Warning", "fail": "Fail"}
ICONS = {"pass": "✓", "warn": "!", "fail": "✕", "none": "?"}
VERDICTS = {
    "pass": ("Sound", "Nothing in the data speaks against the experiment."),
    "warn": ("Usable, with care", "Read the warnings before you rely on the effects."),
    "fail": ("Not sound", "At least one check failed: the effects below may be wrong, and so may the plan."),
    "none": (
        "Not checked",
        "No checks were passed to this report, so nothing is known about the experiment.",
    ),
}


@dataclass(frozen=True)
class Light:
    """One status for the whole experiment.

    Attributes
    ----------
    status : str
        "pass", "warn", "fail", or "none" without checks.
    word, sentence, icon : str
        For people; colour alone is never the message.
    counts : dict of str to int
        Results per status.
    """

    status: str
    word: str
    sentence: str
    icon: str
    counts: dict[str, int]

    @property
    def tally(self) -> str:
        """For example ``11 pass, 2 warn, 0 fail``."""
        return ", ".join(f"{self.counts[status]} {status}" for status in ORDER)


@dataclass(frozen=True)
class BalanceRow:
    """Standardised mean difference of one feature between one arm and control."""

    feature: str
    arm: str
    smd: float


@dataclass(frozen=True)
class Balance:
    """All differences, and the limit beyond which they are not negligible."""

    rows: tuple[BalanceRow, ...]
    limit: float


def check_list(checks: Any) -> list[dict[str, Any]]:
    """Checks as the list of ``checks.json``, whatever they came as.

    Parameters
    ----------
    checks : CheckReport, list of dict, or None

    Raises
    ------
    UpliftError
        An entry lacks its id or has an unknown status.
    """
    if checks is None:
        return []
    entries = checks.to_list() if hasattr(checks, "to_list") else list(checks)
    for entry in entries:
        if not isinstance(entry, dict) or "check" not in entry or entry.get("status") not in ORDER:
            raise UpliftError(
                f"a check has no id or an unknown status ({str(entry)[:80]}); pass the CheckReport or its to_list()."
            )
    return entries


def light(entries: list[dict[str, Any]]) -> Light:
    """The worst status of all checks."""
    counts = {status: sum(entry["status"] == status for entry in entries) for status in ORDER}
    status = "none" if not entries else max((s for s in ORDER if counts[s]), key=ORDER.index)
    word, sentence = VERDICTS[status]
    return Light(status, word, sentence, ICONS[status], counts)


def balance_rows(checks: Any) -> Balance:
    """Differences in the data of the check ``balance_smd``; no rows when there is none."""
    for entry in check_list(checks):
        if entry["check"] == BALANCE_CHECK:
            data = entry.get("data") or {}
            found = [
                BalanceRow(str(feature), str(arm), float(smd))
                for feature, arms in (data.get("smd") or {}).items()
                for arm, smd in arms.items()
                if smd is not None and math.isfinite(smd)
            ]
            return Balance(tuple(found), float(data.get("limit") or DEFAULT_LIMIT))
    return Balance((), DEFAULT_LIMIT)
