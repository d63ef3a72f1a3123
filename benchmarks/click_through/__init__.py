"""Click-through acceptance suite of ``report.html``: every case opens the page in a browser and uses it.

A page counts as working when somebody has clicked through it and seen the right thing. Every case has an id, a
feature, a level, a precondition, an action and an oracle; what the oracle expects is computed from the *files* of the
run folder (:mod:`.truth`), never read back from the page. There are four verdicts (:class:`.case.Verdict`): a failure
is triaged before it is recorded, and what turns out to be the script's fault is *Harness*, not a failure of the page.

    from benchmarks.click_through import Chromium, Truth, examine
    with Chromium() as browser:
        outcome = examine(browser, run_folder / "report.html", Truth(run_folder))
    print(outcome.table())

Groups: A executability, B content, C interaction, G access and layout. Group E (bad input) is the command line's and
is tested in ``tests/test_cli_bad_input.py``. :mod:`.defects` breaks copies of a report on purpose, to prove that the
suite sees it (``python -m benchmarks click_through``).

The way of working follows AppEvalPilot (Bian et al. 2025, arXiv 2508.14104) and the triage of DiagEval (2026,
arXiv 2605.17439).
"""

from __future__ import annotations

from benchmarks.click_through.browser import Chromium, Visit
from benchmarks.click_through.case import Case, Outcome, Result, Verdict, Wrong
from benchmarks.click_through.runner import all_cases, examine
from benchmarks.click_through.truth import Truth

__all__ = [
    "Case",
    "Chromium",
    "Outcome",
    "Result",
    "Truth",
    "Verdict",
    "Visit",
    "Wrong",
    "all_cases",
    "examine",
]
