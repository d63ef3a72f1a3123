"""Does the click-through suite see bugs? Seeded defects, one at a time, and clean runs beside them.

    python benchmarks/bench_click_through.py [--clean 5] [--only NAME ...] [--run FOLDER]

Every defect is put into a copy of a good report; it is caught when a case fails and its triage confirms it. The cases
near the defect run first, and the first confirmed failure ends the run: the order decides only how long it takes.
Asked for: 90 % caught, and not one false alarm in five clean runs of the whole suite. Takes about half an hour.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.click_through import Chromium, Truth, Verdict, all_cases, examine
from benchmarks.click_through.defects import DEFECTS, Defect
from benchmarks.click_through.example import example_run

LEAST_CAUGHT = 0.9


def main() -> int:
    """Print a row per clean run and per defect; 1 when too few are caught or there is a false alarm."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--clean", type=int, default=5, help="clean runs of the whole suite")
    options.add_argument("--only", nargs="*", help="names of defects")
    options.add_argument("--run", type=Path, help="a run folder; default: a small one is made")
    options.add_argument("--evidence", type=Path, help="folder for the evidence of the first clean run")
    given = options.parse_args()
    if Chromium.missing():
        print(Chromium.missing())
        return 0
    with tempfile.TemporaryDirectory() as name:
        folder = given.run or example_run(Path(name))
        truth, good = Truth(folder), folder / "report.html"
        wanted = [one for one in DEFECTS if not given.only or one.name in given.only]
        with Chromium() as browser:
            alarms = sum(
                _clean(browser, good, truth, number, given.evidence if number == 1 else None)
                for number in range(1, given.clean + 1)
            )
            page = good.read_text(encoding="utf-8")
            caught = [_seeded(browser, page, truth, one, Path(name)) for one in wanted]
    share = sum(caught) / max(len(caught), 1)
    print(
        f"\n{sum(caught)} of {len(caught)} defects caught ({share:.0%}), {alarms} false alarms in {given.clean} clean runs"
    )
    return int(share < LEAST_CAUGHT or alarms > 0)


def _clean(browser: Chromium, file: Path, truth: Truth, number: int, evidence: Path | None) -> int:
    start = time.perf_counter()
    outcome = examine(browser, file, truth, evidence=evidence)
    counts = ", ".join(f"{len(outcome.of(verdict))} {verdict.value}" for verdict in Verdict)
    print(
        f"clean run {number}: {counts}; score {outcome.score:.3f}; {time.perf_counter() - start:.0f} s",
        flush=True,
    )
    bad = [r for r in outcome.results if r.verdict is not Verdict.PASS]
    if bad:
        print(outcome.table(bad), flush=True)
    return len(outcome.failed) + len(outcome.of(Verdict.UNCERTAIN))


def _seeded(browser: Chromium, page: str, truth: Truth, defect: Defect, folder: Path) -> bool:
    file = folder / "report.html"
    file.write_text(defect.apply(page), encoding="utf-8")
    cases = sorted(all_cases(), key=lambda case: defect.near.index(case.id) if case.id in defect.near else 99)
    start = time.perf_counter()
    outcome = examine(browser, file, truth, cases=cases, stop_at_failure=True)
    seconds = time.perf_counter() - start
    said = f"{outcome.failed[0].id}: {outcome.failed[0].message[:110]}" if outcome.failed else "NOT SEEN"
    print(f"{defect.name:<26} {seconds:5.0f} s  {said}", flush=True)
    return bool(outcome.failed)


if __name__ == "__main__":
    sys.exit(main())
