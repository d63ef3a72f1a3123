"""The leaderboard: its numbers are those of the results, names cannot break out of it, and it works on a phone."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from uplift.bench.entries import Judge, PublicEntry, SimulatedEntry, TruthEntry
from uplift.bench.suite import Job, Suite, Variant
from uplift.bench.summary import Results
from uplift.errors import UpliftError
from uplift.reporting.leaderboard import render_leaderboard, write_leaderboard

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
HOSTILE = "</script><img src=x onerror=alert(1)>"
STAGES = {"simulated": ("click", "conversion"), "hillstrom": ("visit",), "ihdp": ("value",)}
MEASURES = {"simulated": ("pehe", "qini_share"), "hillstrom": ("qini_per_capita",), "ihdp": ("pehe", "pehe_in", "ate_error", "ate_error_in")}  # fmt: skip


def made(*, title: str = "A benchmark", models: int = 5) -> Results:
    """Results without fits: model k is worse than model k - 1 by about 0.01."""
    entries = (
        SimulatedEntry(name="simulated", rows=1000), PublicEntry(name="hillstrom", rows=1000), TruthEntry(name="ihdp"),
    )  # fmt: skip
    variants = tuple(
        Variant(name=f"model_{k}", title=title, model="lightgbm_s", params={"n_estimators": k + 1})
        for k in range(models)
    )
    suite = Suite(name="mine", title=title, data=entries, variants=variants, seeds=(0, 1, 2))
    jobs, records = suite.jobs(), []
    rng = np.random.default_rng(0)
    for job in jobs:
        data, k = job.data["name"], int(job.variant.removeprefix("model_"))
        scores = [
            {"measure": measure, "stage": stage, "value": 0.1 + 0.01 * k * (1 if "pehe" in measure else -1) + 0.001 * rng.normal()}
            for measure in MEASURES[data]
            for stage in STAGES[data]
        ]  # fmt: skip
        record = {
            "job": job.to_dict(), "status": "ok", "scores": [*scores, {"measure": "cpu_seconds", "stage": "", "value": 1.0}],
            "fit_seconds": 1.0, "predict_seconds": 0.1, "peak_mib": 300.0, "stages": list(STAGES[data]),
        }  # fmt: skip
        if (k, data, job.seed) == (4, "simulated", 2):
            record = {
                "job": job.to_dict(),
                "status": "failed",
                "error": f"ValueError: {HOSTILE} in /home/ann/secret/x.py",
            }
        records.append(record)

    def influence(job: Job) -> np.ndarray | None:
        if job.data["name"] != "hillstrom":
            return None
        k = int(job.variant.removeprefix("model_"))
        return np.full((100, 1), 0.001 * k, np.float32)

    return Results(
        suite,
        tuple(jobs),
        tuple(records),
        {"criteo": "not on this machine"},
        {"versions": {"numpy": "2"}},
        influence,
    )


def test_numbers_are_those_of_the_results() -> None:
    results = made()
    page = render_leaderboard(results)
    ranks = results.ranks()
    assert ranks is not None
    assert list(ranks.mean) == [f"model_{k}" for k in range(5)]
    assert f"{ranks.mean['model_0']:.2f}" in page
    one = results.difference("hillstrom", "model_2", "qini_per_capita", "visit")
    # 100 units whose influences differ by 0.002: sqrt(100) * 0.002
    assert one.within == pytest.approx(0.02)
    assert f"{1000 * one.value:+.2f}".replace("-", "−") in page
    assert f"± {1.95996 * 0.02 * 1000:.1f}" in page
    assert "Shalit" in page
    assert ">0.88<" in page
    assert "criteo" in page


def test_names_and_errors_cannot_break_out_and_folders_stay_at_home() -> None:
    page = render_leaderboard(made(title=HOSTILE))
    assert "<img" not in page
    assert "/home/ann" not in page
    assert page.count("</script>") == 2
    assert not re.search(r"(?:src|href)=[\"']?https?:", page)


def test_one_model_and_one_seed_make_a_page(tmp_path: Path) -> None:
    whole = made(models=1)
    kept = [i for i, job in enumerate(whole.jobs) if job.seed == 0]
    few = Results(whole.suite, tuple(whole.jobs[i] for i in kept), tuple(whole.records[i] for i in kept))
    page = write_leaderboard(tmp_path, few).read_text()
    assert "Ranks need two models" in page
    assert "nan" not in page.lower().replace("nanmean", "")


def test_a_judge_of_what_was_not_measured_is_refused_by_name() -> None:
    results = made()
    judge = Judge(measure="qini_per_capita", stage="visits")
    data = tuple(
        e.model_copy(update={"judge": judge} if e.name == "hillstrom" else {}) for e in results.suite.data
    )
    other = Results(replace(results.suite, data=data), results.jobs, results.records)
    with pytest.raises(
        UpliftError, match=r"judged by qini_per_capita at 'visits'.*did you mean 'qini_per_capita at visit'"
    ):
        other.ranks()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine: install chromium to run the browser tests")
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.mark.browser
@pytest.mark.parametrize("width", [1400, 390])
def test_it_sorts_filters_and_fits_the_screen(browser: Any, width: int, tmp_path: Path) -> None:
    file = write_leaderboard(tmp_path, made(title=HOSTILE + " " + "long" * 30))
    page = browser.new_page(viewport={"width": width, "height": 800})
    complaints: list[str] = []
    requests: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(file.as_uri())
    page.wait_for_selector("html[data-ready]", timeout=30_000)
    assert page.evaluate("document.documentElement.scrollWidth") <= width

    shown = "[...document.querySelectorAll('#table-scores tbody tr')].filter((row) => !row.hidden)"
    names = f"{shown}.map((row) => row.cells[0].querySelector('code').textContent)"
    assert page.evaluate(names) == [f"model_{k}" for k in range(5)]
    page.locator("#table-scores button.sort").nth(0).click()
    page.locator("#table-scores button.sort").nth(0).click()
    assert page.evaluate(names) == [f"model_{4 - k}" for k in range(5)]
    page.select_option("#choose-data", "hillstrom")
    assert page.evaluate(f"{shown}.every((row) => row.dataset.cell === 'hillstrom|qini_per_capita|visit')")
    assert "hillstrom" in page.locator("#table-scores caption").inner_text()
    page.check("#choose-all")
    assert page.evaluate(f"{shown}.length") == page.locator("#table-scores tbody tr").count()
    for link in page.locator("nav a").all():
        assert page.locator(link.get_attribute("href")).count() == 1
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert complaints == []
    assert requests == [file.as_uri()]
    page.close()
