"""Is the experiment sound? The checks as rows, as one light, and as balance data."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from uplift.errors import UpliftError

BALANCE_CHECK = "balance_smd"
DEFAULT_LIMIT = 0.1
ORDER = ("pass", "warn", "fail")
UNTESTED = "untested"
WORDS = {"pass": "Pass", "warn": "Warning", "fail": "Fail", UNTESTED: "Not tested"}
ICONS = {"pass": "✓", "warn": "!", "fail": "✕", "none": "?", UNTESTED: "–"}
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
        Results per status, those that tested nothing apart.
    """

    status: str
    word: str
    sentence: str
    icon: str
    counts: dict[str, int]

    @property
    def tally(self) -> str:
        """For example ``11 pass, 2 warn, 0 fail, 1 not tested``."""
        said = [f"{self.counts[status]} {status}" for status in ORDER]
        return ", ".join(said + [f"{self.counts[UNTESTED]} not tested"] * bool(self.counts[UNTESTED]))


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


def shown_status(entry: dict[str, Any]) -> str:
    """The check's status, or "untested" for one that passed because it had nothing to test.

    The sample ratio has no planned shares to compare with, balance no features, unit_arms no unit column.
    """
    data = entry.get("data") or {}
    nothing = {
        "sample_ratio": "planned" in data and data["planned"] is None and data.get("p") is None,
        "balance_smd": data.get("tests") == 0,
        "balance_classifier": data.get("auc") == {},
        "unit_arms": "data" in entry and not data,
    }
    return UNTESTED if entry["status"] == "pass" and nothing.get(entry["check"], False) else entry["status"]


def light(entries: list[dict[str, Any]]) -> Light:
    """The worst status of all checks that tested something."""
    found = [shown_status(entry) for entry in entries]
    counts = {status: found.count(status) for status in (*ORDER, UNTESTED)}
    status = max((s for s in ORDER if counts[s]), key=ORDER.index, default="none")
    word, sentence = VERDICTS[status]
    if counts[UNTESTED] and status != "none":
        open_questions = [
            str(entry.get("title") or entry["check"]) for entry in entries if shown_status(entry) == UNTESTED
        ]
        sentence += f" Not tested: {' '.join(open_questions)}"
    elif entries and status == "none":
        sentence = "None of the checks had anything to test."
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
