"""Reports that are not like others, in a browser: hostile names, missing intervals, trainings, budgets out of range.

What every report has to show and do is the acceptance suite's matter: ``test_click_through.py``.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from reporting_case import Case, make_case, with_training, without_intervals

from uplift.reporting import report

pytestmark = pytest.mark.browser

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
WIDTHS = (1400, 390)
MISPLACED = """(selector) => { const bad = [], texts = ["", 2, 3].flatMap((n) => ["x", "y"].flatMap((axis) =>
      [`.${axis}${n}title`, `.${axis}${n}tick text`])).join(", ") + ", .legendtext";
    for (const plot of document.querySelectorAll(selector)) {
    const frame = plot.getBoundingClientRect();
    const boxes = [...plot.querySelectorAll(texts)]
      .map((el) => [el.textContent, el.getBoundingClientRect()]).filter(([, b]) => b.width > 0);
    for (const [text, b] of boxes) if (b.left < frame.left - 2 || b.right > frame.right + 2 || b.bottom > frame.bottom + 2) bad.push(plot.id + " outside: " + text);
    for (let i = 0; i < boxes.length; i++) for (let j = 0; j < i; j++) {
      const [a, b] = [boxes[i][1], boxes[j][1]];
      const x = Math.min(a.right, b.right) - Math.max(a.left, b.left), y = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
      if (x > 2 && y > 3) bad.push(plot.id + ": " + boxes[i][0] + " on " + boxes[j][0]);
    } } return bad; }"""
"""Texts of figures that lie on another text or outside their figure."""


class Opened:
    """A page with everything it complained about and asked for."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.complaints: list[str] = []
        self.requests: list[str] = []
        page.on(
            "console", lambda m: self.complaints.append(m.text) if m.type in ("error", "warning") else None
        )
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("dialog", lambda dialog: (self.complaints.append("dialog"), dialog.dismiss()))
        page.on("request", lambda request: self.requests.append(request.url))

    def goto(self, file: Path, hash: str = "") -> Opened:
        self.page.goto(file.as_uri() + hash)
        self.page.wait_for_selector("html[data-ready]", timeout=30_000)
        return self


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine: install chromium to run the browser tests")
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def case() -> Case:
    return make_case()


@pytest.fixture(scope="module")
def file(case: Case, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    return report(folder, case.campaign, case.evaluation, case.plan, checks=case.checks, run=case.run)


@pytest.fixture
def desk(browser: Any, file: Path) -> Iterator[Opened]:
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    yield Opened(page).goto(file)
    page.close()


def drawn(page: Any) -> dict[str, int]:
    """Marks per figure that have a size."""
    return page.evaluate(
        """() => Object.fromEntries([...document.querySelectorAll("[data-figure]")].map((plot) => [plot.id,
        [...plot.querySelectorAll(".main-svg .scatterlayer path, .main-svg .barlayer path")].filter((mark) => {
            const box = mark.getBoundingClientRect(); return box.width + box.height > 0; }).length]))"""
    )


def trace(page: Any, figure: str, name: str) -> np.ndarray:
    found = page.evaluate(
        """([figure, name]) => Array.from(document.getElementById(figure).calcdata
        .find((points) => points[0].trace.name === name).map((point) => point.y))""",
        [figure, name],
    )
    return np.array(found, float)


def test_several_choices_in_one_moment_come_to_an_end(case: Case, desk: Opened) -> None:
    """Redraws that answer each other would keep the page busy for ever."""
    desk.page.evaluate(
        """() => { for (const [name, value] of [["stage", "0"], ["arm", "1"], ["model", "0"], ["stage", "2"], ["model", "1"], ["arm", "0"]]) {
        const s = document.querySelector(`select[data-state="${name}"]`); s.value = value; s.dispatchEvent(new Event("change", { bubbles: true })); }
        let turns = 0; setInterval(() => { if (++turns > 20) document.documentElement.dataset.done = "true"; }, 10); }"""
    )
    desk.page.wait_for_selector("html[data-done]", timeout=20_000)
    curve = case.evaluation.curves["ecup", "value", case.evaluation.arms[1]]
    np.testing.assert_allclose(trace(desk.page, "figure-curve", "ecup"), curve.gain, rtol=1e-6, atol=1e-9)
    assert desk.complaints == []


@pytest.mark.parametrize("width", WIDTHS)
def test_hostile_names_do_nothing(browser: Any, tmp_path: Path, width: int) -> None:
    case = make_case(hostile=True)
    file = report(tmp_path, case.campaign, case.evaluation, case.plan, checks=case.checks, run=case.run)
    page = browser.new_page(viewport={"width": width, "height": 900})
    opened = Opened(page).goto(file)
    page.select_option('select[data-state="stage"]', "1")
    page.select_option('select[data-state="arm"]', "1")
    page.hover("#figure-curve .nsewdrag", force=True)
    assert opened.complaints == []
    assert page.evaluate("document.querySelectorAll('main img, main script').length") == 0
    assert min(drawn(page).values()) > 0
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    assert page.inner_text("h1") == case.campaign.name
    page.close()


def test_a_budget_out_of_range_is_clamped_and_said(case: Case, desk: Opened) -> None:
    page, last = desk.page, float(case.plan.curve.budgets[-1])
    for typed, kept in (("99999999", last), ("-5", 0.0)):
        page.fill("#budget-number", typed)
        assert "A budget between 0 and" in page.inner_text("#budget-hint")
        assert float(page.get_attribute('[data-budget="value"]', "data-value")) == pytest.approx(
            float(case.plan.curve.value_at(kept))
        )
        page.press("#budget-number", "Enter")
        assert float(page.input_value("#budget-number")) == pytest.approx(kept, abs=0.01)
        assert page.is_hidden("#budget-hint")
    page.fill("#budget-number", "50")
    page.fill("#budget-number", "")
    assert page.is_visible("#budget-hint")
    page.locator("#budget-number").blur()
    assert page.input_value("#budget-number") == "50"
    assert desk.complaints == []


def test_a_table_that_goes_on_says_so_and_keeps_its_first_column(browser: Any, file: Path) -> None:
    page = browser.new_page(viewport={"width": 390, "height": 900})
    Opened(page).goto(file)
    for table in ("table-effects", "table-scores", "table-allocation", "table-budget"):
        region = f"document.getElementById('{table}').parentElement"
        assert page.evaluate(f"{region}.scrollWidth - {region}.clientWidth") > 1
        assert page.locator(f"#{table} .sideways").is_visible()
        assert page.evaluate(f"{region}.parentElement.classList.contains('more')")
        page.evaluate(f"{region}.scrollLeft = 1e6")
        page.wait_for_timeout(100)
        assert not page.evaluate(f"{region}.parentElement.classList.contains('more')")
        left = f"document.querySelector('#{table} tbody tr:not([hidden]) th').getBoundingClientRect().left - {region}.getBoundingClientRect().left"
        assert abs(page.evaluate(left)) < 2
    assert page.locator("#table-checks .sideways").is_hidden()
    page.close()


@pytest.mark.parametrize("width", WIDTHS)
def test_results_without_intervals_are_drawn_without_complaint(
    browser: Any, tmp_path: Path, width: int
) -> None:
    case = without_intervals(make_case())
    file = report(tmp_path, case.campaign, case.evaluation, case.plan, checks=case.checks, run=case.run)
    page = browser.new_page(viewport={"width": width, "height": 900})
    opened = Opened(page).goto(file)
    page.select_option('select[data-state="arm"]', "1")
    page.check('input[data-state="bands"]')
    assert opened.complaints == []
    assert min(drawn(page).values()) > 0
    assert not re.search(r"\b(NaN|null|undefined)\b", page.inner_text("body"))
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    page.close()


@pytest.mark.parametrize("hostile", [False, True])
@pytest.mark.parametrize("width", WIDTHS)
def test_training_is_drawn_when_it_is_opened(
    browser: Any, tmp_path: Path, width: int, *, hostile: bool
) -> None:
    case = with_training(make_case(rows=2_000, hostile=hostile))
    file = report(tmp_path, case.campaign, case.evaluation, case.plan, checks=case.checks, run=case.run)
    page = browser.new_page(viewport={"width": width, "height": 900})
    opened = Opened(page).goto(file)
    boxes = page.locator("details.training")
    assert boxes.count() == 3
    assert page.locator("details.training .main-svg").count() == 0
    for number in range(3):
        boxes.nth(number).locator("> summary").press("Enter")
        page.wait_for_selector(f"#figure-training-{number} .main-svg")
    page.wait_for_timeout(300)
    assert min(drawn(page).values()) > 0
    for number, epochs in enumerate(case.run["training"].values()):
        plot = page.locator(f"#figure-training-{number}")
        room, box = plot.locator("xpath=..").bounding_box(), plot.locator(".main-svg").first.bounding_box()
        assert 0.85 * room["width"] < box["width"] <= room["width"]
        assert len(plot.get_attribute("aria-label")) > 100
        first = [entry["validation_loss"] for entry in epochs if entry.get("member", 0) == 0]
        np.testing.assert_array_equal(trace(page, f"figure-training-{number}", "validation loss"), first)
        boxes.nth(number).locator("details > summary").click()
        assert page.locator(f"#table-training-{number}").is_visible()
    assert page.evaluate(MISPLACED, "details.training [data-figure]") == []
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    page.emulate_media(color_scheme="dark")
    boxes.first.locator("> summary").press("Enter")
    page.emulate_media(color_scheme="light")
    page.set_viewport_size({"width": width + 300, "height": 900})
    page.wait_for_timeout(300)
    assert opened.complaints == []
    assert page.evaluate("document.querySelectorAll('main img, main script').length") == 0
    page.close()


def test_a_training_that_is_closed_is_printed(browser: Any, tmp_path: Path) -> None:
    case = with_training(make_case(rows=2_000))
    file = report(tmp_path, case.campaign, case.evaluation, case.plan, checks=case.checks, run=case.run)
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    opened = Opened(page).goto(file)
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    page.wait_for_timeout(300)
    assert min(drawn(page).values()) > 0
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    page.wait_for_timeout(300)
    assert not page.evaluate("[...document.querySelectorAll('details')].some((d) => d.open)")
    assert opened.complaints == []
    page.close()
