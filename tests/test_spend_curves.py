"""Value against spend in the report: models and rules on the same randomised rows."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

import uplift
from tests.test_reporting_browser import ARGUMENTS, CHROMIUM
from uplift.allocation import Allocation
from uplift.metrics.cost_curve import CostCurve
from uplift.plan_curves import curves_of_plan
from uplift.reporting import report
from uplift.reporting.names import Names
from uplift.reporting.spend_facts import measured_budget, spend_table
from uplift.valued_curve import ranking_curve

MARGIN = 40.0


@pytest.fixture(scope="module")
def made(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[uplift.Campaign, Allocation, list[CostCurve], Path]:
    world = uplift.simulate(rows=20_000, chain=("click", "conversion"), value=False, seed=6)
    campaign, truth = world.campaign(), world.effects
    from dataclasses import replace

    response = replace(
        truth, tau_all=np.repeat(truth.mu_all[:, :1], len(truth.arms), axis=1) * (np.arange(len(truth.arms)) > 0)[None, :, None],
        calibrated=False, model="response",
    )  # fmt: skip
    effects = {"truth": truth, "response": response}
    plan = uplift.allocate(truth, costs=campaign.costs, margin=MARGIN, budget=2_000.0, holdout=0.1)
    terms = {"chosen": "truth", "costs": campaign.costs, "margin": MARGIN, "stage": "conversion"}
    curves = curves_of_plan(plan, campaign, effects, **terms)
    evaluation = uplift.evaluate(campaign, effects, draws=20)
    page = report(tmp_path_factory.mktemp("spend"), campaign, evaluation, plan, curves=curves)
    return campaign, plan, curves, page


def test_the_deciding_model_comes_first_and_ranks_better_than_response(made) -> None:
    _, _, curves, _ = made
    assert [curve.model for curve in curves] == ["truth", "response"]
    at = 0.5 * curves[1].spend[-1]
    assert curves[0].gain_at(at).value > curves[1].gain_at(at).value


def test_a_rule_that_treats_everybody_ends_where_everybody_is_treated(made) -> None:
    campaign, _, curves, _ = made
    arm = campaign.arm_names[1]
    score = np.random.default_rng(0).random(campaign.n_rows)
    truth = uplift.simulate(rows=20_000, chain=("click", "conversion"), value=False, seed=6).effects
    curve = ranking_curve(campaign, score, arm=arm, name="dice", baseline=truth, margin=MARGIN)
    spend, gain = curves[0].everyone[arm]
    assert curve.spend[-1] == pytest.approx(spend.value)
    assert curve.gain[-1] == pytest.approx(gain.value)
    assert curve.aucc_gain.low < 0 < curve.aucc_gain.high  # dice are worth nothing


def test_the_table_holds_the_curves_at_the_budget_per_customer_who_may_get_something(made) -> None:
    _, plan, curves, _ = made
    customers = len(plan) - int(plan.holdout.sum())
    rows = {row.cells[0].text: row.cells for row in spend_table(curves, plan, Names()).rows}
    gain = curves[0].gain_at(2_000 / customers)
    assert float(rows["truth"][2].value) == pytest.approx(gain.value * customers)
    assert float(rows["truth"][2].low) == pytest.approx(gain.low * customers)
    assert len(rows) == 2 + len(plan.arms) - 1


def test_the_measured_value_moves_with_the_slider_and_equals_the_curve(made) -> None:
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine: install chromium to run the browser tests")
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    _, plan, curves, page = made
    series = measured_budget(curves, plan)
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        tab = browser.new_page(viewport={"width": 390, "height": 900})
        errors: list[str] = []
        tab.on("pageerror", lambda error: errors.append(str(error)))
        tab.goto(page.as_uri())
        for budget in (500.0, 2_000.0, 3_500.0):
            tab.evaluate(
                "(money) => { const s = document.getElementById('budget-slider'); s.value = money; s.dispatchEvent(new Event('input')); }",
                budget,
            )
            shown = float(tab.get_attribute("[data-budget=measured]", "data-value") or "nan")
            spend = float(tab.get_attribute("[data-budget=spend]", "data-value") or "nan")
            assert shown == pytest.approx(np.interp(spend, series["planned"], series["value"]), rel=1e-6)
        assert tab.evaluate("document.documentElement.scrollWidth") <= 390
        browser.close()
    assert errors == []


def test_a_report_without_curves_says_nothing_of_them(made, tmp_path: Path) -> None:
    campaign, plan, _, page = made
    assert 'id="table-spend"' in page.read_text()
    assert (
        json.loads(re.search(r'"measured": ?(null|\{)', page.read_text()).group(1).replace("{", "{}"))
        is not None
    )
    evaluation = uplift.evaluate(
        campaign,
        {"truth": uplift.simulate(rows=20_000, chain=("click", "conversion"), value=False, seed=6).effects},
        draws=20,
    )
    plain = report(tmp_path, campaign, evaluation, plan).read_text()
    assert 'id="table-spend"' not in plain
    assert "All numbers are the model" in plain
