"""The report in a browser, at desk and phone width: it draws, it obeys, and its numbers are those of the results."""

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


@pytest.fixture(scope="module", params=WIDTHS)
def opened(request: pytest.FixtureRequest, browser: Any, file: Path) -> Iterator[Opened]:
    page = browser.new_page(viewport={"width": request.param, "height": 900})
    yield Opened(page).goto(file)
    page.close()


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


def numbers(page: Any, table: str, column: int) -> list[float | None]:
    """Exact numbers of the visible rows of a table."""
    found = page.evaluate(
        """([table, column]) => [...document.getElementById(table).tBodies[0].rows].filter((row) => !row.hidden)
        .map((row) => row.cells[column].dataset.value ?? null)""",
        [table, column],
    )
    return [None if text is None else float(text) for text in found]


def trace(page: Any, figure: str, name: str) -> np.ndarray:
    found = page.evaluate(
        """([figure, name]) => Array.from(document.getElementById(figure).calcdata
        .find((points) => points[0].trace.name === name).map((point) => point.y))""",
        [figure, name],
    )
    return np.array(found, float)


def test_opens_without_complaint_and_without_a_request(opened: Opened) -> None:
    assert opened.complaints == []
    assert [url[:40] for url in opened.requests if not url.startswith(("file:", "data:", "blob:"))] == []
    assert len([url for url in opened.requests if url.startswith("file:")]) == 1


def test_every_figure_is_drawn_with_title_and_words(opened: Opened) -> None:
    marks = drawn(opened.page)
    assert set(marks) == {
        f"figure-{key}" for key in ("balance", "funnel", "effects", "scores", "tenths", "curve", "allocation", "budget")
    }  # fmt: skip
    assert min(marks.values()) > 0
    for plot in opened.page.query_selector_all("[data-figure]"):
        assert len(plot.get_attribute("aria-label")) > 30
    for title in opened.page.query_selector_all("[data-figure-title]"):
        assert title.inner_text()


def test_page_never_scrolls_sideways(opened: Opened) -> None:
    assert opened.page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0


def test_no_text_in_a_figure_lies_on_another_or_outside(opened: Opened) -> None:
    assert opened.page.evaluate(MISPLACED, "[data-figure]") == []


def test_selects_change_table_curve_and_tenths_to_the_numbers_of_the_evaluation(
    case: Case, desk: Opened
) -> None:
    evaluation, page = case.evaluation, desk.page
    for stage, arm, model in ((0, 1, 1), (2, 0, 0), (1, 1, 2)):
        for name, index in (("stage", stage), ("arm", arm), ("model", model)):
            page.select_option(f'select[data-state="{name}"]', str(index))
        names = evaluation.stages[stage], evaluation.arms[1 + arm]
        scores = evaluation.scores
        rows = scores[
            (scores["stage"] == names[0])
            & (scores["arm"] == names[1])
            & (scores["metric"] == "qini_per_capita")
        ]
        assert numbers(page, "table-scores", 3) == list(rows["value"])
        for kind in ("lift", "gain"):
            page.select_option('select[data-state="curve"]', kind)
            for one in evaluation.models:
                expected = getattr(evaluation.curves[one, *names], kind)
                np.testing.assert_allclose(trace(page, "figure-curve", one), expected, rtol=1e-6, atol=1e-9)
        groups = evaluation.groups
        tenths = groups[
            (groups["stage"] == names[0])
            & (groups["arm"] == names[1])
            & (groups["model"] == evaluation.models[model])
        ]
        np.testing.assert_allclose(trace(page, "figure-tenths", "observed"), tenths["observed"])
        subtitle = page.inner_text("#figure-curve-title + p")
        assert names[0] in subtitle
        assert ("Ten" if names[1] == "coupon_10" else names[1]) in subtitle
    assert desk.complaints == []


def test_effects_select_shows_value_and_relative(case: Case, desk: Opened) -> None:
    desk.page.select_option('select[data-state="effects"]', "1")
    ate = case.evaluation.ate
    expected = ate[(ate["stage"] == "value")].set_index("arm")["value"]
    found = desk.page.evaluate(
        "[...document.getElementById('figure-effects').data.map((t) => [t.name, t.x[0]])]"
    )
    assert dict(found) == expected.rename({"coupon_10": "Ten"}).to_dict()


def test_bands_of_all_models_can_be_switched(desk: Opened) -> None:
    count = "document.getElementById('figure-curve').data.filter((t) => t.meta === 'band' && t.visible !== false).length"
    assert desk.page.evaluate(count) == 1
    desk.page.check('input[data-state="bands"]')
    assert desk.page.evaluate(count) == 4
    desk.page.uncheck('input[data-state="bands"]')
    assert desk.page.evaluate(count) == 1


def test_budget_slider_gives_the_numbers_of_the_curve(case: Case, desk: Opened) -> None:
    page, curve = desk.page, case.plan.curve
    last = float(curve.budgets[-1])
    start = float(curve.value_at(min(case.plan.certificate.budget, last)))
    for budget in (0.0, 0.31 * last, case.plan.certificate.budget, last):
        page.evaluate(
            "(money) => { const s = document.getElementById('budget-slider'); s.value = money; s.dispatchEvent(new Event('input', {bubbles: true})); }",
            budget,
        )
        shown = {
            name: float(page.get_attribute(f'[data-budget="{name}"]', "data-value"))
            for name in ("spend", "value", "change", "roi", "treated")
        }
        # The browser keeps a slider's value to about six digits.
        at = float(page.input_value("#budget-slider"))
        assert at == pytest.approx(budget, rel=1e-5)
        assert shown["value"] == pytest.approx(float(curve.value_at(at)), rel=1e-9)
        assert shown["change"] == pytest.approx(float(curve.value_at(at)) - start, rel=1e-6, abs=1e-6)
        assert shown["spend"] == pytest.approx(float(np.interp(at, curve.budgets, curve.spends)), rel=1e-9)
        index = min(int(np.searchsorted(curve.budgets, at)), len(curve.budgets) - 1)
        assert shown["roi"] == curve.marginal_roi[index]
        assert shown["treated"] == pytest.approx(np.interp(at, curve.budgets, curve.treated), abs=0.51)
        assert page.evaluate(
            "document.getElementById('figure-budget').data.find((t) => t.meta === 'chosen').y[0]"
        ) == pytest.approx(shown["value"])
    page.fill("#budget-number", "100")
    assert float(page.get_attribute('[data-budget="value"]', "data-value")) == pytest.approx(
        float(curve.value_at(100.0))
    )
    page.click("#budget-reset")
    assert float(page.get_attribute('[data-budget="change"]', "data-value")) == 0.0


def test_tables_sort_both_ways_with_missing_last(desk: Opened) -> None:
    page = desk.page
    button = page.locator("#table-scores th").nth(3).locator("button")
    button.click()
    down = numbers(page, "table-scores", 3)
    assert down == sorted(down, reverse=True)
    button.press("Enter")
    assert numbers(page, "table-scores", 3) == sorted(down)
    assert page.locator("#table-scores th").nth(3).get_attribute("aria-sort") == "ascending"
    last = page.locator("#table-scores thead th").count() - 1
    page.locator("#table-scores th").nth(last).locator("button").click()
    predicted = numbers(page, "table-scores", last)
    assert predicted[-2:] == [None, None]  # the two references predict no effects
    assert None not in predicted[:-2]


def _qini(case: Case, stage: int, arm: int) -> list[float]:
    rows = case.evaluation.scores.query("metric == 'qini_per_capita'")
    rows = rows[
        (rows["stage"] == case.evaluation.stages[stage]) & (rows["arm"] == case.evaluation.arms[1 + arm])
    ]
    return list(rows["value"])


def test_link_and_back_button_restore_the_view(case: Case, file: Path, desk: Opened) -> None:
    page = desk.page
    start = page.input_value('select[data-state="stage"]'), page.input_value('select[data-state="arm"]')
    other = "1" if start[1] == "0" else "0"
    page.select_option('select[data-state="stage"]', "0")
    page.select_option('select[data-state="arm"]', other)
    address = page.evaluate("location.hash")
    page.go_back()
    page.wait_for_timeout(300)
    assert page.input_value('select[data-state="stage"]') == "0"
    assert page.input_value('select[data-state="arm"]') == start[1]
    assert numbers(page, "table-scores", 3) == _qini(case, 0, int(start[1]))
    page.go_back()
    page.wait_for_timeout(300)
    assert page.input_value('select[data-state="stage"]') == start[0] == "1"
    page.goto("about:blank")
    desk.goto(file, address)
    assert page.input_value('select[data-state="stage"]') == "0"
    assert "click" in page.inner_text("#figure-curve-title + p")
    desk.goto(file, "#plan&budget=50")
    page.reload()
    page.wait_for_selector("html[data-ready]")
    assert float(page.get_attribute('[data-budget="value"]', "data-value")) == pytest.approx(
        float(case.plan.curve.value_at(50.0))
    )


def test_keyboard_reaches_every_control_and_the_skip_link_comes_first(desk: Opened) -> None:
    page = desk.page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    reached = set()
    for _ in range(200):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.dataset.state || ''"))
    assert {
        "stage",
        "arm",
        "model",
        "effects",
        "curve",
        "bands",
        "budget-slider",
        "budget-number",
        "budget-reset",
    } <= reached
    unnamed = page.evaluate(
        "[...document.querySelectorAll('input, select, button')].filter((c) => !(c.labels?.length || c.textContent.trim() || c.getAttribute('aria-label'))).length"
    )
    assert unnamed == 0


def test_dark_pages_have_light_text_in_their_figures(browser: Any, file: Path) -> None:
    page = browser.new_page(color_scheme="dark")
    opened = Opened(page).goto(file)
    colour = "getComputedStyle(document.querySelector('#figure-curve .xtitle')).fill"
    assert min(map(int, re.findall(r"\d+", page.evaluate(colour))[:3])) > 150
    page.emulate_media(color_scheme="light")
    page.wait_for_timeout(200)
    assert max(map(int, re.findall(r"\d+", page.evaluate(colour))[:3])) < 130
    assert opened.complaints == []
    page.close()


def test_print_is_not_truncated_and_opens_what_is_closed(desk: Opened) -> None:
    page = desk.page
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 718, "height": 1000})
    page.wait_for_timeout(300)
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    assert page.evaluate("[...document.querySelectorAll('details')].every((d) => d.open)")
    wide = "[...document.querySelectorAll('.plot .main-svg')].filter((s) => s.getBoundingClientRect().right > innerWidth).length"
    assert page.evaluate(wide) == 0
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert not page.evaluate("[...document.querySelectorAll('details')].some((d) => d.open)")


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


def test_effects_are_sorted_within_their_unit(case: Case, desk: Opened) -> None:
    page = desk.page
    button = page.locator("#table-effects th").nth(2).locator("button")
    ate = case.evaluation.ate
    chain = sorted(ate[ate["stage"] != "value"]["value"])
    money = sorted(ate[ate["stage"] == "value"]["value"])
    button.click()
    assert numbers(page, "table-effects", 2) == chain[::-1] + money[::-1]
    button.click()
    assert numbers(page, "table-effects", 2) == chain + money


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
