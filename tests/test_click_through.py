"""The report of a small run, clicked through: every case of the acceptance suite, and the suite's own judgement.

The whole proof of the suite, dozens of seeded defects and five clean runs, is ``benchmarks/bench_click_through.py``.
Set UPLIFT_EVIDENCE to a folder to keep screenshots, console, network and excerpts of every case.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.click_through import Case, Chromium, Outcome, Truth, Verdict, Visit, Wrong, all_cases, examine
from benchmarks.click_through.browser import read_interval, read_numbers
from benchmarks.click_through.case import CannotTell
from benchmarks.click_through.defects import DEFECTS
from benchmarks.click_through.example import example_run

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Chromium]:
    if Chromium.missing():
        pytest.skip(Chromium.missing())
    with Chromium() as opened:
        yield opened


@pytest.fixture(scope="module")
def folder(browser: Chromium, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return example_run(tmp_path_factory.mktemp("click-through"))


@pytest.fixture(scope="module")
def outcome(browser: Chromium, folder: Path) -> Outcome:
    return examine(browser, folder / "report.html", Truth(folder))


@pytest.mark.parametrize("case", all_cases(), ids=lambda case: case.id)
def test_the_report_does_what_the_files_say(outcome: Outcome, case: Case) -> None:
    """A mistake of the script (Harness) is no failure of the page; it is counted in the benchmark."""
    result = next((one for one in outcome.results if one.id == case.id), None)
    assert result is not None, f"{case.id} was not run: {case.precondition}"
    assert result.verdict in (Verdict.PASS, Verdict.HARNESS), f"{result.title}: {result.message}"


def test_the_whole_report_may_be_released(outcome: Outcome) -> None:
    assert outcome.skipped == ()
    assert outcome.score >= 0.95
    assert outcome.failed == ()
    assert {result.id[0] for result in outcome.results} == set("ABCG")
    assert len({case.id for case in all_cases()}) == len(all_cases()) == len(outcome.results)


@pytest.mark.parametrize("name", ["NaN cell", "wrong sign", "stale chart", "CDN"])
def test_a_seeded_defect_is_seen(browser: Chromium, folder: Path, tmp_path: Path, name: str) -> None:
    defect = next(one for one in DEFECTS if one.name == name)
    file = tmp_path / "report.html"
    file.write_text(defect.apply((folder / "report.html").read_text(encoding="utf-8")), encoding="utf-8")
    near = [case for case in all_cases() if case.id in defect.near]
    found = examine(browser, file, Truth(folder), cases=near, stop_at_failure=True)
    assert [result.verdict for result in found.failed] == [Verdict.FAIL]


def test_every_defect_changes_todays_report(folder: Path) -> None:
    page = (folder / "report.html").read_text(encoding="utf-8")
    for defect in DEFECTS:
        assert defect.apply(page) != page
    assert len({defect.name for defect in DEFECTS}) == len(DEFECTS) >= 20
    ids = {case.id for case in all_cases()}
    assert {near for defect in DEFECTS for near in defect.near} <= ids


PAGE = "<!doctype html><html lang=en data-ready=true><title>t</title><main><p id=a>one</p></main></html>"


def _judge(browser: Chromium, folder: Path, tmp_path: Path, **parts: object) -> Outcome:
    file = tmp_path / "page.html"
    file.write_text(PAGE)
    case = Case(id="X01", feature="triage", level="must", title="triage", **parts)  # type: ignore[arg-type]
    return examine(browser, file, Truth(folder), cases=[case])


def _right(visit: Visit, truth: Truth) -> None:
    if visit.text("#a") != "one":
        raise Wrong("not one")


def _wrong(visit: Visit, truth: Truth) -> None:
    raise Wrong("it says one")


def _unknown(visit: Visit, truth: Truth) -> None:
    raise CannotTell("nothing to look at")


def _gone(visit: Visit, truth: Truth) -> None:
    visit.page.click("#not-there", timeout=300)


def _complains(visit: Visit, truth: Truth) -> None:
    visit.js("console.error('late')")
    visit.page.wait_for_timeout(50)


@pytest.mark.parametrize(
    ("parts", "verdict"),
    [
        ({"check": _right}, Verdict.PASS),
        ({"check": _wrong}, Verdict.FAIL),
        ({"check": _gone}, Verdict.FAIL),
        ({"check": _complains}, Verdict.FAIL),
        ({"check": _unknown}, Verdict.UNCERTAIN),
        ({"check": _wrong, "again": _right}, Verdict.HARNESS),
        ({"check": _wrong, "again": _right, "query": _wrong}, Verdict.FAIL),
        ({"check": _wrong, "again": _unknown}, Verdict.UNCERTAIN),
    ],
)
def test_a_failure_is_recorded_only_where_another_path_finds_it_too(
    browser: Chromium, folder: Path, tmp_path: Path, parts: dict[str, object], verdict: Verdict
) -> None:
    outcome = _judge(browser, folder, tmp_path, **parts)
    assert [result.verdict for result in outcome.results] == [verdict]
    assert outcome.releasable == (verdict is Verdict.PASS)


def test_evidence_is_kept_where_it_is_asked_for(browser: Chromium, folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    file.write_text(PAGE)
    case = Case("X01", "triage", "must", "evidence", _complains)
    examine(browser, file, Truth(folder), cases=[case], evidence=tmp_path / "kept")
    kept = {path.name for path in (tmp_path / "kept").iterdir()}
    assert kept == {"X01-before.png", "X01-after.png", "X01.html", "X01.log", "results.json", "results.md"}
    assert "late" in (tmp_path / "kept" / "X01.log").read_text()


@pytest.mark.parametrize(
    ("text", "value", "half"),
    [("+1.86 pp", 0.0186, 5e-5), ("−0.5 %", -0.005, 5e-4), ("1,943", 1943.0, 0.5), ("0.0123", 0.0123, 5e-5)],
)
def test_a_shown_number_agrees_with_what_rounds_to_it(text: str, value: float, half: float) -> None:
    (number,) = read_numbers(text)
    assert (number.value, number.half) == pytest.approx((value, half))
    assert number.agrees(value + 0.99 * half)
    assert not number.agrees(value + 1.1 * half)


def test_an_interval_has_the_unit_of_its_number() -> None:
    low, high = read_interval("(−0.55 to +4.27)", "+1.86 pp")
    assert (low.value, high.value) == pytest.approx((-0.0055, 0.0427))
    assert read_interval("no interval", "6.08 pp") == []
