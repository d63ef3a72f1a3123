"""Run the cases on a page, triage what fails, and keep the evidence."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path

from benchmarks.click_through import access, content, executability, interaction
from benchmarks.click_through.browser import Chromium, Visit
from benchmarks.click_through.case import CannotTell, Case, Check, Outcome, Result, Verdict, Wrong
from benchmarks.click_through.truth import Truth

EVIDENCE = "UPLIFT_EVIDENCE"
"""Environment variable: folder for screenshots before and after, console, network and excerpts."""


def all_cases() -> tuple[Case, ...]:
    """Every case, group by group; cases that need the same window follow each other."""
    return (*executability.CASES, *content.CASES, *interaction.CASES, *access.CASES)


def examine(
    browser: Chromium,
    file: Path,
    truth: Truth,
    *,
    cases: Iterable[Case] | None = None,
    evidence: Path | None = None,
    stop_at_failure: bool = False,
) -> Outcome:
    """Run cases on a report.

    Parameters
    ----------
    browser : Chromium
    file : path
        The page.
    truth : Truth
        The run that it should show.
    cases : iterable of Case, optional
        Default all.
    evidence : path, optional
        Folder for the evidence; default that of the environment variable ``UPLIFT_EVIDENCE``, if any.
    stop_at_failure : bool
        Whether the first confirmed failure ends it.
    """
    if evidence is None and os.environ.get(EVIDENCE):
        evidence = Path(os.environ[EVIDENCE])
    windows = _Windows(browser, file)
    results: list[Result] = []
    skipped: list[str] = []
    try:
        for case in all_cases() if cases is None else cases:
            if not case.applies(truth):
                skipped.append(case.id)
                continue
            results.append(_run(case, windows, truth, evidence))
            if stop_at_failure and results[-1].verdict is Verdict.FAIL:
                break
    finally:
        windows.close()
    outcome = Outcome(tuple(results), tuple(skipped))
    if evidence is not None:
        outcome.write(evidence)
    return outcome


class _Windows:
    """One window at a time, used again as long as its page is as it was opened."""

    def __init__(self, browser: Chromium, file: Path) -> None:
        self._browser, self._file = browser, file
        self._open: tuple[int, bool] | None = None
        self._visit: Visit | None = None
        self._changed = ""

    def get(self, case: Case) -> Visit:
        key = (case.width, case.dark)
        if self._visit is None or self._open != key:
            self.close()
            self._visit = self._browser.visit(self._file, width=case.width, dark=case.dark)
            self._open = key
        elif self._changed == "page":
            self._visit.open()
        elif self._changed == "choices":
            self._visit.restore()
        self._changed = case.changes
        return self._visit

    def fresh(self, case: Case) -> Visit:
        """A window that nothing has happened in."""
        self.close()
        return self.get(case)

    def spoil(self) -> None:
        """The page may be in any state now."""
        self._changed = "page"

    def close(self) -> None:
        if self._visit is not None:
            self._visit.close()
        self._visit = self._open = None


def _run(case: Case, windows: _Windows, truth: Truth, evidence: Path | None) -> Result:
    start = time.perf_counter()
    visit = windows.get(case)
    _picture(visit, case, "before", evidence)
    found = _attempt(case.check, visit, truth)
    kept = _keep(visit, case, evidence)
    verdict, message = Verdict.PASS, ""
    if isinstance(found, CannotTell):
        verdict, message = Verdict.UNCERTAIN, str(found)
    elif found is not None:
        verdict, message = _triage(case, found, windows, truth)
        windows.spoil()
    return Result(
        case.id, case.feature, case.level, case.title, verdict, message, time.perf_counter() - start, kept
    )


def _triage(case: Case, found: Exception, windows: _Windows, truth: Truth) -> tuple[Verdict, str]:
    """Is it the page or the script? Only what holds up on another path is a failure.

    (1) Another path to the same state, in a window of its own; (2) the precondition; (3) the DOM or the page's data
    asked directly. If none of them finds anything wrong, the script was wrong (Harness).
    """
    message = _said(found)
    second = _attempt(case.again or case.check, windows.fresh(case), truth)
    if isinstance(second, CannotTell):
        return Verdict.UNCERTAIN, f"{message}; then: {second}"
    third = None
    if second is None and case.query is not None:
        third = _attempt(case.query, windows.fresh(case), truth)
    if second is None and third is None:
        return Verdict.HARNESS, f"{message}; not seen again"
    return Verdict.FAIL, message


def _attempt(check: Check, visit: Visit, truth: Truth) -> Exception | None:
    """What is wrong: the oracle, an action that could not be carried out, or a complaint on the console."""
    heard, asked = len(visit.complaints), len(visit.requests)
    try:
        check(visit, truth)
    except (CannotTell, Wrong) as error:
        return error
    except Exception as error:  # a control that is not there, a number that cannot be read: to be triaged
        return error
    if visit.complaints[heard:]:
        return Wrong(f"the console says {visit.complaints[heard][:120]!r}")
    abroad = [address for address in visit.requests[asked:] if address.startswith(("http", "ws"))]
    return Wrong(f"asked for {abroad[0][:80]}") if abroad else None


def _said(error: Exception) -> str:
    text = " ".join(str(error).split())[:240]
    return text if isinstance(error, Wrong) else f"{type(error).__name__}: {text}"


# ---------------------------------------------------------------- evidence


def _picture(visit: Visit, case: Case, when: str, evidence: Path | None) -> None:
    if evidence is None:
        return
    evidence.mkdir(parents=True, exist_ok=True)
    visit.js(
        "(s) => document.querySelector(s)?.scrollIntoView({ block: 'start', behavior: 'instant' })",
        case.evidence,
    )
    visit.page.screenshot(path=str(evidence / f"{case.id}-{when}.png"))


def _keep(visit: Visit, case: Case, evidence: Path | None) -> tuple[str, ...]:
    """Screenshot after, excerpt of the DOM, console and network; the names of all files."""
    if evidence is None:
        return ()
    _picture(visit, case, "after", evidence)
    excerpt = visit.js("(s) => document.querySelector(s)?.outerHTML.slice(0, 20000) ?? ''", case.evidence)
    (evidence / f"{case.id}.html").write_text(str(excerpt), encoding="utf-8")
    log = ["console:", *visit.complaints, "network:", *(address[:200] for address in visit.requests)]
    (evidence / f"{case.id}.log").write_text("\n".join(log) + "\n", encoding="utf-8")
    return (f"{case.id}-before.png", f"{case.id}-after.png", f"{case.id}.html", f"{case.id}.log")
