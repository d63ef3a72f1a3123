"""Tables and figures of the report can be taken away, and the sections on who responds follow the reader's choices."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from reporting_case import make_case
from test_reporting_browser import MISPLACED, Opened, browser  # noqa: F401 (a fixture)

from uplift import explain
from uplift.campaign import Campaign
from uplift.effects import Effects
from uplift.insight import Insight
from uplift.reporting import report

pytestmark = pytest.mark.browser
STRANGE = '=HYPERLINK("x"), "quoted"\n<b>'


class Simple:
    """Effects that rise with x for one level of a group."""

    def predict(self, campaign: Campaign) -> Effects:
        x = np.tanh(campaign.table["x"].to_numpy())
        strange = (campaign.table["group"].to_pandas() == STRANGE).to_numpy()
        mu = np.stack([np.full(len(x), 0.3), 0.32 + 0.05 * x, 0.35 + 0.1 * x * strange], axis=1)
        return Effects.for_campaign(
            np.stack([mu, 0.4 * mu, 9 * mu], 2).astype(np.float32), campaign, model="ecup"
        )


@pytest.fixture(scope="module")
def insight() -> Insight:
    case = make_case()
    frame = case.campaign.table.to_pandas()
    frame["group"] = np.where(np.arange(len(frame)) % 3 == 0, STRANGE, "other")
    roles = case.campaign.roles
    campaign = Campaign.from_frame(
        frame, unit=roles.unit, treatment=roles.treatment, control=roles.control, chain=list(roles.chain),
        value=roles.value, arms={arm.name: arm for arm in case.campaign.arms},
    )  # fmt: skip
    return explain(campaign, Simple().predict(campaign), Simple(), shap=True, max_predictions=4_000)


@pytest.fixture(scope="module")
def file(insight: Insight, tmp_path_factory: pytest.TempPathFactory) -> Path:
    case = make_case()
    folder = tmp_path_factory.mktemp("report")
    return report(
        folder, case.campaign, case.evaluation, case.plan, checks=case.checks, run=case.run, insight=insight
    )


@pytest.fixture(params=(1400, 390))
def opened(request: pytest.FixtureRequest, browser: Any, file: Path) -> Iterator[Opened]:  # noqa: F811
    page = browser.new_page(viewport={"width": request.param, "height": 900})
    yield Opened(page).goto(file)
    page.close()


@pytest.fixture
def desk(browser: Any, file: Path) -> Iterator[Opened]:  # noqa: F811
    context = browser.new_context(viewport={"width": 1400, "height": 900}, accept_downloads=True)
    yield Opened(context.new_page()).goto(file)
    context.close()


def taken(page: Any, selector: str) -> tuple[str, bytes]:
    with page.expect_download() as waiting:
        page.click(selector)
    return waiting.value.suggested_filename, Path(waiting.value.path()).read_bytes()


def test_everything_is_drawn_in_its_place_at_both_widths(opened: Opened) -> None:
    page = opened.page
    assert opened.complaints == []
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    assert page.evaluate(MISPLACED, "[data-figure]") == []
    for key in ("calibration", "spread", "segments", "quadrants", "importance", "dependence", "shap"):
        assert page.inner_text(f"#figure-{key}-title")
        assert len(page.get_attribute(f"#figure-{key}", "aria-label")) > 30
        marks = page.evaluate(f"document.querySelectorAll('#figure-{key} .scatterlayer path').length")
        assert marks > 0, key


def test_a_table_as_csv_holds_the_exact_numbers_of_the_shown_rows(insight: Insight, desk: Opened) -> None:
    page = desk.page
    for arm, name in enumerate(insight.arms):
        page.select_option('#who select[data-state="arm"]', str(arm))
        file_name, content = taken(page, '[data-csv="table-segments"]')
        assert file_name == "segments.csv"
        rows = list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"))))
        found = next(one for one in insight.segments if one.arm == name)
        assert [float(row["Observed effect"]) for row in rows] == [
            one.observed.effect for one in found.segments
        ]
        assert [float(row["Observed effect low"]) for row in rows] == [
            one.observed.low for one in found.segments
        ]
        assert [float(row["Share"]) for row in rows] == [one.share for one in found.segments]
        assert [row["Customers with"] for row in rows] == [one.words for one in found.segments]
    assert desk.complaints == []


def test_names_that_begin_like_a_formula_are_harmless_in_a_spreadsheet(
    insight: Insight, desk: Opened
) -> None:
    page = desk.page
    number = [one.feature for one in insight.dependence].index("group")
    page.select_option('select[data-state="feature"]', str(number))
    _, content = taken(page, '[data-csv="table-dependence"]')
    rows = list(csv.reader(io.StringIO(content.decode("utf-8-sig"))))
    assert any(cell.startswith("'=HYPERLINK") for row in rows for cell in row)
    assert not any(re.match(r"[=@]", cell) for row in rows for cell in row)


def test_every_table_has_its_file_and_every_figure_its_pictures(desk: Opened) -> None:
    page = desk.page
    tables = page.evaluate("[...document.querySelectorAll('table')].map((t) => t.id)")
    buttons = page.evaluate("[...document.querySelectorAll('[data-csv]')].map((b) => b.dataset.csv)")
    assert sorted(tables) == sorted(buttons)
    figures = page.evaluate("document.querySelectorAll('[data-figure]').length")
    assert page.evaluate("document.querySelectorAll('[data-image=svg]').length") == figures
    for key in ("curve", "quadrants", "shap"):
        card = f"figure:has(#figure-{key})"
        name, svg = taken(page, f"{card} [data-image=svg]")
        assert name.startswith(key if key != "curve" else "gain")
        assert name.endswith(".svg")
        assert svg.lstrip().startswith(b"<svg")
        assert page.inner_text(f"#figure-{key}-title").encode() in svg
        name, png = taken(page, f"{card} [data-image=png]")
        assert png.startswith(b"\x89PNG")
    assert desk.complaints == []


def test_a_copied_table_is_the_shown_one(insight: Insight, desk: Opened) -> None:
    page = desk.page
    page.evaluate(
        "Object.defineProperty(navigator, 'clipboard', { value: { writeText: async (t) => { window.copied = t; } } })"
    )
    page.click('[data-copy="table-quadrants"]')
    page.wait_for_function("window.copied")
    lines = [line.split("\t") for line in page.evaluate("window.copied").split("\n")]
    assert lines[0][0] == "Kind"
    assert len(lines) == 1 + 4
    assert page.inner_text('[data-copy="table-quadrants"]') == "Copied"


def test_one_arm_is_chosen_for_both_sections_and_links_keep_it(
    insight: Insight, file: Path, desk: Opened
) -> None:
    page = desk.page
    page.select_option('#drivers select[data-state="arm"]', "0")
    assert page.input_value('#who select[data-state="arm"]') == "0"
    first = insight.segments[0].segments[0]
    shown = page.evaluate(
        "[...document.querySelectorAll('#table-segments tbody tr')].filter((r) => !r.hidden).map((r) => r.cells[0].firstElementChild.textContent)"
    )
    assert shown == [one.words for one in insight.segments[0].segments]
    assert first.words in shown
    page.select_option('select[data-state="feature"]', "1")
    assert insight.dependence[1].feature in page.inner_text("#figure-dependence-title")
    address = page.url
    assert address.count("arm=") == 1
    desk.goto(file, "#" + address.split("#")[1])
    page.reload()
    assert page.input_value('#drivers select[data-state="arm"]') == "0"
    assert page.input_value('select[data-state="feature"]') == "1"


def test_a_model_that_only_ranks_has_no_calibration_and_the_page_says_so(desk: Opened) -> None:
    page = desk.page
    models = page.evaluate(
        "[...document.querySelector('select[data-state=model]').options].map((o) => o.text)"
    )
    page.select_option('select[data-state="model"]', str(models.index("random")))
    assert page.inner_text("#figure-calibration-title") == "Nothing to show for this choice"
    page.select_option('select[data-state="model"]', "0")
    assert page.inner_text("#figure-calibration-title").startswith("Calibration")
    assert desk.complaints == []
