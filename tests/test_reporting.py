"""The report's numbers: figures and tables say exactly what the results say, and nothing in a name can break out."""

from __future__ import annotations

import dataclasses
import html
import json
import math
import re
import tomllib
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reporting_case import (
    FALL_AND_RISE,
    FALLING,
    HOSTILE,
    MARGIN,
    Case,
    history,
    make_case,
    with_training,
    without_intervals,
)

from uplift.allocation import allocate
from uplift.campaign import Campaign
from uplift.effects import Effects
from uplift.errors import EvaluationError, OutputError, UpliftError
from uplift.reporting import (
    allocation_figure,
    balance_figure,
    budget_figure,
    deciles_figure,
    effects_figure,
    funnel_figure,
    qini_figure,
    report,
    scores_figure,
    training,
    training_figure,
    uplift_figure,
)
from uplift.reporting import numbers as shown
from uplift.reporting.decision import decision
from uplift.reporting.effects_in_context import average_effects, chain_parts
from uplift.reporting.embed import plain, script_json
from uplift.reporting.measured import measured
from uplift.reporting.names import Names
from uplift.reporting.next_steps import commands, missing_decision
from uplift.reporting.page import render
from uplift.reporting.plan_words import plan_numbers, plan_sentences, unspent
from uplift.reporting.reproduce import public
from uplift.reporting.soundness import light, shown_status
from uplift.reporting.theme import label, labels, model_marks
from uplift.reporting.verdict import effect_sentence, other_arm_sentence


@pytest.fixture(scope="module")
def case() -> Case:
    return make_case()


@pytest.fixture(scope="module")
def page(case: Case) -> str:
    return render(case.campaign, case.evaluation, case.plan, checks=case.checks, run=case.run)


class Visible(HTMLParser):
    """Text that a reader sees or hears: outside script and style, plus titles and labels; and all element ids."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = 0
        self.text: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.cells: dict[str, list[list[dict[str, str]]]] = {}
        self.table = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {key: value or "" for key, value in attrs}
        self.hidden += tag in ("script", "style")
        self.text += [found[key] for key in ("title", "aria-label") if key in found]
        if "id" in found:
            self.ids.append(found["id"])
        if tag == "a":
            self.links.append(found.get("href", ""))
        if tag == "table":
            self.table = found["id"]
            self.cells[self.table] = []
        if tag == "tr":
            self.cells[self.table].append([])
        if tag in ("td", "th"):
            self.cells[self.table][-1].append(found)

    def handle_endtag(self, tag: str) -> None:
        self.hidden -= tag in ("script", "style")

    def handle_data(self, data: str) -> None:
        if not self.hidden:
            self.text.append(data)


def read(page: str) -> Visible:
    parser = Visible()
    parser.feed(page)
    return parser


def embedded(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="report-data">(.*?)</script>', page, re.DOTALL)
    assert found
    return json.loads(found[1])


# -------------------------------------------------------------------- figures


@pytest.mark.parametrize(("make", "kind"), [(qini_figure, "gain"), (uplift_figure, "lift")])
def test_curves_and_bands_are_those_of_the_evaluation(case: Case, make: Any, kind: str) -> None:
    evaluation = case.evaluation
    for stage in evaluation.stages:
        for arm in evaluation.arms[1:]:
            figure = make(evaluation, stage, arm)
            for model in evaluation.models:
                curve = evaluation.curves[model, stage, arm]
                line = next(t for t in figure.data if t.name == label(model))
                band = next(t for t in figure.data if t.name == f"{label(model)}, band")
                np.testing.assert_array_equal(line.y, getattr(curve, kind))
                np.testing.assert_array_equal(line.x, curve.share)
                half = len(curve.share)
                np.testing.assert_array_equal(band.y[:half], getattr(curve, f"{kind}_high"))
                np.testing.assert_array_equal(band.y[half:][::-1], getattr(curve, f"{kind}_low"))
            chord = next(t for t in figure.data if t.name == "random order")
            assert chord.y[1] == pytest.approx(line.y[-1])


def test_tenths_are_those_of_the_evaluation_and_rankers_have_no_prediction(case: Case) -> None:
    groups = case.evaluation.groups
    stage, arm = case.evaluation.stages[1], case.evaluation.arms[1]
    for model in case.evaluation.models:
        rows = groups[(groups["model"] == model) & (groups["stage"] == stage) & (groups["arm"] == arm)]
        traces = {t.name: t for t in deciles_figure(case.evaluation, model, stage, arm).data}
        observed = traces["observed"]
        np.testing.assert_array_equal(observed.y, rows["observed"])
        np.testing.assert_allclose(observed.y + observed.error_y.array, rows["high"])
        np.testing.assert_allclose(observed.y - observed.error_y.arrayminus, rows["low"])
        assert ("predicted" in traces) == (model not in case.evaluation.uncalibrated)
        if "predicted" in traces:
            np.testing.assert_array_equal(traces["predicted"].y, rows["predicted"])


def test_forest_holds_every_average_effect_with_its_interval(case: Case) -> None:
    ate = case.evaluation.ate
    chain = effects_figure(case.evaluation)
    value = effects_figure(case.evaluation, stages=["value"])
    for position, arm in enumerate(case.evaluation.arms[1:]):
        rows = ate[ate["arm"] == arm]
        binary, money = rows[rows["stage"] != "value"], rows[rows["stage"] == "value"]
        for figure, expected in ((chain, binary), (value, money)):
            trace = figure.data[position]
            np.testing.assert_array_equal(trace.x, expected["value"])
            np.testing.assert_allclose(trace.x + trace.error_x.array, expected["high"])
            np.testing.assert_allclose(trace.x - trace.error_x.arrayminus, expected["low"])
    with pytest.raises(EvaluationError, match="different units"):
        effects_figure(case.evaluation, stages=["click", "value"])


def test_funnel_shows_the_rates_of_every_arm(case: Case) -> None:
    rates = case.evaluation.rates
    for trace, arm in zip(funnel_figure(case.evaluation).data, case.evaluation.arms, strict=True):
        rows = rates[(rates["arm"] == arm) & (rates["stage"] != "value")]
        np.testing.assert_array_equal(trace.y, rows["value"])
        np.testing.assert_allclose(trace.y + trace.error_y.array, rows["high"])


def test_scores_figure_shows_metric_and_random_reference(case: Case) -> None:
    evaluation = case.evaluation
    stage, arm = "conversion", evaluation.arms[2]
    for metric in evaluation.scores["metric"].unique():
        figure = scores_figure(evaluation, stage, arm, metric)
        rows = evaluation.scores.query("stage == @stage and arm == @arm and metric == @metric")
        assert [trace.x[0] for trace in figure.data] == list(rows["value"])
        guide = evaluation.references.query("stage == @stage and arm == @arm and metric == @metric")
        assert [shape.x0 for shape in figure.layout.shapes] == list(guide["random"])


def test_budget_figure_is_the_curve_and_its_mark_lies_on_it(case: Case) -> None:
    curve = case.plan.curve
    traces = {trace.name: trace for trace in budget_figure(case.plan, budget=40.0).data}
    np.testing.assert_array_equal(traces["expected value"].y, curve.values)
    np.testing.assert_array_equal(traces["spend"].y, curve.spends)
    roi = traces["value of the last unit of money"].y
    np.testing.assert_array_equal(roi[roi > 0], curve.marginal_roi[curve.marginal_roi > 0])
    marks = [t for t in budget_figure(case.plan, budget=40.0).data if t.name == "chosen budget"]
    assert marks[0].y[0] == curve.value_at(40.0)
    assert marks[1].y[0] == curve.marginal_roi[np.searchsorted(curve.budgets, 40.0)]


def test_allocation_figure_counts_every_customer_and_all_money(case: Case) -> None:
    customers, spend = allocation_figure(case.plan).data
    assert list(customers.x) == list(case.plan.certificate.counts.values())
    assert sum(customers.x) == len(case.plan)
    assert sum(spend.x) == pytest.approx(case.plan.certificate.expected_cost)


def test_love_plot_shows_the_differences_of_the_check(case: Case) -> None:
    data = next(entry["data"] for entry in case.checks if entry["check"] == "balance_smd")["smd"]
    figure = balance_figure(case.checks)
    assert figure is not None
    drawn = sorted(float(x) for trace in figure.data for x in trace.x)
    assert drawn == sorted(smd for arms in data.values() for smd in arms.values())
    assert balance_figure([]) is None


def test_a_model_has_one_colour_in_every_figure_and_references_are_grey(case: Case) -> None:
    evaluation = case.evaluation
    marks = model_marks(evaluation.models, evaluation.uncalibrated)
    for figure in (
        qini_figure(evaluation, "click", evaluation.arms[1]),
        uplift_figure(evaluation, "value", evaluation.arms[2]),
    ):
        for model in evaluation.models:
            assert next(t for t in figure.data if t.name == label(model)).line.color == marks[model].colour
    points = scores_figure(evaluation, "click", evaluation.arms[1]).data
    assert [t.marker.color for t in points] == [marks[model].colour for model in evaluation.models]
    assert {marks[model].colour for model in evaluation.uncalibrated} == {"#858C94"}
    assert len({marks[m].colour for m in evaluation.models if m not in evaluation.uncalibrated}) == 2


def test_every_figure_names_its_axes_and_its_definition(case: Case) -> None:
    evaluation, arm = case.evaluation, case.evaluation.arms[1]
    drawn: list[go.Figure] = [
        qini_figure(evaluation, "click", arm), uplift_figure(evaluation, "click", arm),
        deciles_figure(evaluation, evaluation.models[0], "click", arm),
        scores_figure(evaluation, "click", arm), effects_figure(evaluation),
    ]  # fmt: skip
    for figure in drawn:
        assert figure.layout.xaxis.title.text
        assert re.search(r"definition: \w+", figure.layout.title.subtitle.text)


def test_unknown_names_are_refused_with_the_nearest(case: Case) -> None:
    with pytest.raises(EvaluationError, match="did you mean 'click'"):
        qini_figure(case.evaluation, "clik", case.evaluation.arms[1])
    with pytest.raises(EvaluationError, match="there is no model"):
        deciles_figure(case.evaluation, "nobody", "click", case.evaluation.arms[1])


# -------------------------------------------------------------------- effects in context


def test_parts_of_the_chain_add_up_to_the_difference_of_the_means(case: Case) -> None:
    rates = case.evaluation.rates.set_index(["stage", "arm"])["value"]
    for stage in case.evaluation.stages[1:]:
        for arm in case.evaluation.arms[1:]:
            parts = chain_parts(case.evaluation, arm, stage)
            assert parts is not None
            gain = rates[stage, arm] - rates[stage, case.evaluation.arms[0]]
            assert sum(part.contribution for part in parts) == pytest.approx(gain, abs=1e-12)


def test_a_chain_that_was_not_split_has_no_parts(case: Case) -> None:
    arm = case.evaluation.arms[1]
    chain = case.evaluation.chain[case.evaluation.chain["stage"] != "conversion"]
    assert chain_parts(dataclasses.replace(case.evaluation, chain=chain), arm, "conversion") is None


def test_relative_interval_is_that_of_the_ratio_of_two_means(case: Case) -> None:
    z = 1.959963984540054
    rates = case.evaluation.rates.set_index(["stage", "arm"])
    for effect in average_effects(case.evaluation):
        treated, control = (
            rates.loc[(effect.stage, effect.arm)],
            rates.loc[(effect.stage, case.evaluation.arms[0])],
        )
        ratio = treated["value"] / control["value"]
        se_t, se_c = ((row["high"] - row["low"]) / (2 * z) for row in (treated, control))
        reach = z * math.hypot(se_t, ratio * se_c) / control["value"]
        assert effect.relative == pytest.approx(ratio - 1)
        assert effect.relative_high - effect.relative == pytest.approx(reach, rel=0.01)


def test_effect_relative_to_an_empty_control_is_not_given(case: Case) -> None:
    rates = case.evaluation.rates.assign(low=-0.1)
    effects = average_effects(dataclasses.replace(case.evaluation, rates=rates))
    assert all(math.isnan(effect.relative) for effect in effects)
    text = render(case.campaign, dataclasses.replace(case.evaluation, rates=rates))
    assert not re.search(r"\bnan\b", " ".join(read(text).text), re.IGNORECASE)


# -------------------------------------------------------------------- the page


def test_page_shows_no_missing_value_no_local_path_and_no_password(page: str) -> None:
    text = " ".join(read(page).text)
    assert not re.search(r"\b(nan|undefined|none type|infinity|inf|null)\b", text, re.IGNORECASE)
    # "none" is the name of the control arm here; Python's None must not show.
    assert not re.search(r"\bNone\b", text)
    assert "/home/ann" not in page
    assert "hunter2" not in page
    assert "spring.parquet" in text


def test_page_needs_no_other_file_and_stays_below_eight_megabytes(page: str) -> None:
    assert len(page.encode()) < 8_000_000
    head = page.split("<script>")[0]
    assert not re.search(r"""(?:src|href)\s*=\s*["'](?:https?:)?//""", head)
    assert page.count("plotly.js v") == 1
    assert "default-src 'none'" in head


def test_ids_are_unique_and_every_link_resolves(page: str) -> None:
    found = read(page)
    assert len(found.ids) == len(set(found.ids))
    assert found.links
    assert all(link.startswith("#") and link[1:] in found.ids for link in found.links)


def test_cells_carry_the_exact_numbers(case: Case, page: str) -> None:
    cells = read(page).cells
    effects = [float(row[2]["data-value"]) for row in cells["table-effects"][1:]]
    assert effects == list(case.evaluation.ate["value"])
    metrics = list(dict.fromkeys(case.evaluation.scores["metric"]))
    rows = cells["table-scores"][1:]
    assert len(rows) == 2 * len(case.evaluation.stages) * len(case.evaluation.models)
    exact = case.evaluation.scores.set_index(["model", "stage", "arm", "metric"])["value"]
    names = Names.of(case.campaign, case.run)
    stages = {names.stage(stage): stage for stage in case.evaluation.stages}
    arms = {names.arm(arm): arm for arm in case.evaluation.arms}
    for row in rows:
        key = (row[0]["data-value"], stages[row[1]["data-value"]], arms[row[2]["data-value"]])
        for cell, metric in zip(row[3:], metrics, strict=True):
            if (*key, metric) in exact.index:
                assert float(cell["data-value"]) == exact[(*key, metric)]
            else:
                assert "data-value" not in cell
    totals = cells["table-allocation"][-1]
    assert float(totals[3]["data-value"]) == pytest.approx(case.plan.certificate.expected_cost)
    assert float(totals[4]["data-value"]) == pytest.approx(case.plan.certificate.expected_value)


def test_every_table_has_caption_and_scoped_headers(page: str) -> None:
    body = page.split('<script type="application/json"')[0]
    assert body.count("<table") == body.count("<caption") > 5
    assert not re.search(r"<th(?! scope=)(?!ead)", body)


def test_every_drawing_has_words(page: str) -> None:
    for key, spec in embedded(page)["figures"].items():
        assert len(spec["alt"]) > 30, key
        assert spec["title"], key


def test_verdict_says_when_the_measured_interval_includes_zero(case: Case) -> None:
    doubtful = case.plan.with_policy_value(
        {**case.plan.policy_value, "value": 3.0, "low": -5.0, "high": 11.0}
    )
    text = " ".join(read(render(case.campaign, case.evaluation, doubtful)).text)
    assert "The interval includes zero: these data do not show that the plan gains anything" in text
    harmful = case.plan.with_policy_value(
        {**case.plan.policy_value, "value": -9.0, "low": -12.0, "high": -6.0}
    )
    text = " ".join(read(render(case.campaign, case.evaluation, harmful)).text)
    assert "the plan loses value" in text


def test_verdict_says_when_the_model_expects_more_than_was_measured(case: Case) -> None:
    small = {**case.plan.policy_value, "value": 2.0, "low": 1.0, "high": 3.0}
    text = " ".join(read(render(case.campaign, case.evaluation, case.plan.with_policy_value(small))).text)
    assert "lies above this interval: plan with the measured number" in text


def test_verdict_says_whether_the_plan_pays_for_itself(case: Case) -> None:
    def say(value: float, low: float, high: float) -> str:
        measured = {**case.plan.policy_value, "value": value, "low": low, "high": high, "cost": 50.0}
        return " ".join(plan_sentences(case.plan.with_policy_value(measured), chosen))

    chosen = decision(case.evaluation, case.plan, case.run)
    assert "even at the lower end" in say(100.0, 60.0, 140.0)
    assert "may or may not pay for itself" in say(100.0, 20.0, 180.0)
    assert "does not pay for itself" in say(30.0, 20.0, 40.0)
    assert "costs more than it brings" not in say(100.0, 60.0, 140.0)


def test_an_experiment_that_failed_a_check_is_never_called_sound(case: Case) -> None:
    failed = [
        *case.checks,
        {"check": "leakage", "status": "fail", "detail": "x knows the arm", "title": "Leak?", "data": {}},
    ]
    text = " ".join(read(render(case.campaign, case.evaluation, checks=failed)).text)
    assert "Not sound" in text
    text = " ".join(read(render(case.campaign, case.evaluation)).text)
    assert "Not checked" in text
    with pytest.raises(UpliftError, match="unknown status"):
        render(case.campaign, case.evaluation, checks=[{"check": "rows", "status": "perhaps"}])


def test_same_results_give_the_same_bytes(case: Case, page: str) -> None:
    assert page == render(case.campaign, case.evaluation, case.plan, checks=case.checks, run=case.run)


def test_report_is_written_to_a_file_or_a_folder(case: Case, tmp_path: Path) -> None:
    folder = report(tmp_path / "spring", case.campaign, case.evaluation)
    assert folder == tmp_path / "spring" / "report.html"
    file = report(tmp_path / "own.html", case.campaign, case.evaluation, title="A < B & C")
    assert "<title>A &lt; B &amp; C" in file.read_text("utf-8")[:2000]
    with pytest.raises(OutputError, match="exists"):
        report(file, case.campaign, case.evaluation, overwrite=False)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_results_of_another_campaign_are_refused(case: Case, toy: Campaign) -> None:
    with pytest.raises(UpliftError, match="pass the campaign that was evaluated"):
        render(toy, case.evaluation)


def test_hostile_names_stay_text_everywhere() -> None:
    case = make_case(hostile=True)
    page = render(case.campaign, case.evaluation, case.plan, checks=case.checks, run=case.run, title=HOSTILE)
    before = page.split("<script>")[0]
    assert "<script>alert" not in before
    assert "<img" not in before
    data = re.search(r'id="report-data">(.*?)</script>', page, re.DOTALL)
    assert data
    assert not set("<>&\u2028\u2029") & set(data[1])
    for key, spec in embedded(page)["figures"].items():
        for trace in spec["data"]:
            assert "<" not in trace.get("name", ""), key
        for text in [
            *spec["layout"]["xaxis"].get("ticktext", []),
            *spec["layout"]["yaxis"].get("ticktext", []),
        ]:
            assert "<" not in text.removeprefix("<b>").removesuffix("</b>"), key


# -------------------------------------------------------------------- what the words promise


def words(page: str) -> str:
    return " ".join(" ".join(read(page).text).split())


def test_expected_and_measured_value_are_for_the_same_customers(case: Case) -> None:
    found = case.plan.policy_value
    assert found is not None
    money = ("value", "low", "high", "se", "cost")
    fourth = {key: number / 4 if key in money else number for key, number in found.items()} | {
        "rows": 1_000,
        "matched_rows": 340,
    }
    scaled = {
        **found,
        "rows": 1_000,
        "matched_rows": 340,
        "population": "test part, scaled to the audience",
        "scale": 4.0,
    }
    for estimate in (scaled, fourth):
        plan = case.plan.with_policy_value(estimate)
        seen = measured(plan)
        assert seen is not None
        assert seen.value == pytest.approx(found["value"])
        assert seen.high == pytest.approx(found["high"])
        assert seen.cost == pytest.approx(found["cost"])
    page = render(case.campaign, case.evaluation, plan, run=case.run)
    said = words(page)
    assert (
        said.count("measured on 1,000 test customers, scaled to 4,000") == 2
    )  # the card and the table's heading
    assert "1,000 test customers and scaled to the plan's 4,000" in said
    assert "rests on the 340 test customers" in said
    assert "scaled" not in words(render(case.campaign, case.evaluation, case.plan, run=case.run))


def test_arms_go_by_their_labels_and_the_value_stage_by_its_column(case: Case, page: str) -> None:
    _, rest = page.split('<section id="who"')
    select = rest[rest.index('data-state="arm"') : rest.index('data-state="model"')]
    assert ">Ten</option>" in select
    assert "coupon_10</option>" not in page
    assert "<span>Ten</span><small>coupon_10</small>" in page
    assert ">gmv (value)</option>" in rest
    for key, spec in embedded(page)["figures"].items():
        drawn = json.dumps(
            [spec["layout"], spec["subtitle"], spec["alt"], [t.get("name") for t in spec["data"]]]
        )
        assert "coupon_10" not in drawn, key
    assert Names.of(case.campaign, {"campaign": {"value": "spend"}}).stage("value") == "spend (value)"
    assert Names(value="value").stage("value") == "value"


def test_arms_with_the_same_label_are_told_apart(case: Case) -> None:
    arms = [dataclasses.replace(arm, label="Coupon") for arm in case.campaign.arms[1:]]
    twins = Campaign(
        case.campaign.table,
        case.campaign.roles,
        (case.campaign.arms[0], *arms),
        "twins",
        np.arange(len(case.campaign)),
    )
    names = Names.of(twins)
    assert names.all_arms(twins.arm_names) == ["none", "Coupon (coupon_5)", "Coupon (coupon_10)"]


def test_effects_say_that_they_come_from_the_test_rows(case: Case, page: str) -> None:
    said = words(page)
    assert said.count("on the 4,000 test rows") >= 5
    assert "on the 4,000 test rows" in effect_sentence(case.evaluation, "conversion", Names())


def test_a_check_that_tested_nothing_does_not_count_as_passed(case: Case) -> None:
    ratio: dict[str, Any] = {
        "check": "sample_ratio",
        "status": "pass",
        "detail": "not tested",
        "title": "Shares?",
    }
    open_one = {**ratio, "data": {"planned": None, "p": None, "p_equal": 0.4}}
    tested = {**ratio, "data": {"planned": {"none": 0.5}, "p": 0.4}}
    failed = {**open_one, "status": "warn"}
    assert [shown_status(e) for e in (open_one, tested, failed)] == ["untested", "pass", "warn"]
    lamp = light([*case.checks, open_one])
    assert lamp.tally == "1 pass, 1 warn, 0 fail, 1 not tested"
    assert "Not tested: Shares?" in lamp.sentence
    said = words(render(case.campaign, case.evaluation, checks=[*case.checks, open_one]))
    assert "– Not tested" in said
    assert light([open_one]).status == "none"


def test_the_real_check_without_planned_shares_is_shown_as_not_tested(case: Case) -> None:
    entries = {entry["check"]: entry for entry in case.campaign.check().to_list()}
    assert shown_status(entries["sample_ratio"]) == "untested"
    assert shown_status(entries["rows"]) == "pass"


@pytest.mark.parametrize("hostile", [False, True])
def test_without_a_plan_the_page_says_what_to_write_into_the_campaign_file(hostile: bool) -> None:
    case = make_case(rows=1_000, hostile=hostile)
    campaign = Campaign(
        case.campaign.table, case.campaign.roles, tuple(dataclasses.replace(a, cost=None) for a in case.campaign.arms),
        "bare", np.arange(len(case.campaign)),
    )  # fmt: skip
    stage = campaign.chain[-1]
    sentence, lines = missing_decision(campaign, {"config": {"decide": None}}, stage)
    assert "because its campaign file has no [decide] section" in sentence
    written = tomllib.loads(lines)
    assert written["decide"]["stage"] == stage
    assert {"budget", "margin"} <= set(written["decide"])
    assert set(written["arms"]) == set(campaign.arm_names[1:])
    assert all(arm["cost"]["on"] == stage for arm in written["arms"].values())
    assert "[decide]" in words(render(campaign, case.evaluation, run={"config": {}}))


def test_notes_of_the_run_are_not_called_failures(case: Case) -> None:
    page = render(case.campaign, case.evaluation, case.plan, run={"notes": ["each was scored once"]})
    said = words(page)
    assert "Notes on this run each was scored once What could not be computed Nothing" in said


def test_each_curve_carries_its_own_definition(case: Case) -> None:
    for stage in case.evaluation.stages:
        qini = qini_figure(case.evaluation, stage, "coupon_5").layout.title.subtitle.text
        lift = uplift_figure(case.evaluation, stage, "coupon_5").layout.title.subtitle.text
        assert "definition: qini_per_capita" in qini
        assert "V2 / n (Gutierrez and Gerardy 2017)" in lift
        assert "qini" not in lift


def test_a_plan_that_treats_nobody_reads_well(case: Case) -> None:
    effects = Effects.for_campaign(
        np.full((len(case.campaign), 3, 3), 0.2, np.float32), case.campaign, model="ecup",
        tau=np.full((len(case.campaign), 3, 3), 0.1, np.float32) * np.array([0, 1, 1], np.float32)[:, None],
    )  # fmt: skip
    plan = allocate(effects, costs=case.campaign.costs, margin=MARGIN, budget=0.0).with_policy_value(
        {"stage": "conversion", "value": 0.0, "low": 0.0, "high": 0.0, "se": 0.0, "cost": 0.0, "rows": 4_000,
         "matched_rows": 1_300, "method": "IPS", "arms": {}, "skipped": [], "confidence": 0.95}
    )  # fmt: skip
    said = words(render(case.campaign, case.evaluation, plan, run=case.run))
    assert "With a budget of 0 the plan gives nobody a coupon" in said
    assert "nobody gets a coupon" in said
    assert "– per unit of money" not in said
    assert "Measured value (off-policy)" not in said
    assert "includes zero: these data" not in said


def test_what_is_left_of_a_budget_is_rounded_beside_it(case: Case) -> None:
    def left(budget: float, cost: float) -> str:
        plan = case.plan.with_policy_value(None)
        plan.certificate = dataclasses.replace(plan.certificate, budget=budget, expected_cost=cost)
        return unspent(plan)

    assert left(900.0, 900.0 - 0.000379) == "less than 0.1 % of the budget"
    assert left(900.0, 850.0) == "50.0"
    assert left(900.0, 900.0) == "0"
    assert left(math.inf, 900.0) == "no limit"


def test_paying_for_itself_is_judged_by_value_less_cost(case: Case) -> None:
    chosen = decision(case.evaluation, case.plan, case.run)
    dear = {**(case.plan.policy_value or {}), "value": 100.0, "low": 20.0, "high": 180.0, "cost": 350.0}
    said = " ".join(plan_sentences(case.plan.with_policy_value(dear), chosen))
    assert "not the expected 300" in said
    assert "is −250 (−330 to −170, the cost taken as it is): the plan does not pay for itself" in said
    assert "about 150 more conversions at a margin of 30" in said


def test_another_arm_than_the_strongest_is_explained_by_its_return(case: Case) -> None:
    chosen = decision(case.evaluation, case.plan, case.run)
    names = Names.of(case.campaign, case.run)
    effects = case.evaluation.ate[case.evaluation.ate["stage"] == "conversion"].set_index("arm")["value"]
    rate = case.evaluation.rates.set_index(["stage", "arm"])["value"]["conversion", "coupon_5"]
    (said,) = other_arm_sentence(case.campaign, case.evaluation, case.plan, chosen, names)
    times = (effects["coupon_10"] / 0.2) / (effects["coupon_5"] / (5.0 * rate))
    assert effects["coupon_5"] > effects["coupon_10"]
    assert f"about {times:.1f} times as much conversion uplift per unit of spend" in said
    free = Campaign(
        case.campaign.table, case.campaign.roles, tuple(dataclasses.replace(a, cost=None) for a in case.campaign.arms),
        "bare", np.arange(len(case.campaign)),
    )  # fmt: skip
    (said,) = other_arm_sentence(free, case.evaluation, case.plan, chosen, names)
    assert "cheaper" not in said


def test_models_and_references_are_counted_apart_and_the_mark_says_why(case: Case, page: str) -> None:
    said = words(page)
    assert "2 models and 2 references judged on all rows" in said
    assert "in the plan or recommended" not in said
    assert "ecup in the plan" in said
    bare = words(render(case.campaign, case.evaluation, run={"chosen_model": "lightgbm_t"}))
    assert "lightgbm_t chosen by the run" in bare


def test_reproduce_gives_the_commands(case: Case, page: str) -> None:
    assert "uplift run CAMPAIGN.toml --out NEW_FOLDER --seed 7" in words(page)
    assert commands({}, failed=False) == ""
    assert "--force" in commands(case.run, failed=True)


def test_numbers_without_an_interval_say_so_everywhere(case: Case) -> None:
    bare = without_intervals(case)
    page = render(bare.campaign, bare.evaluation, bare.plan, checks=bare.checks, run=bare.run)
    said = words(page)
    assert not re.search(r"\b(nan|undefined|infinity|inf|null)\b", said, re.IGNORECASE)
    assert "too few customers for an interval: the number alone proves nothing" in said
    assert "no interval; measured on these 4,000 customers" in said
    cells = page[page.index('id="table-scores"') :]
    assert "<small>no interval</small>" in cells[: cells.index("</table>")]
    text = page[page.index('id="report-data">') :].split("</script>")[0]
    assert "NaN" not in text
    for key, spec in embedded(page)["figures"].items():
        for trace in spec["data"]:
            for axis in ("error_x", "error_y"):
                bars = trace.get(axis) or {}
                assert None not in [*bars.get("array", []), *bars.get("arrayminus", [])], key
    small = bare.evaluation.arms[-1]
    for figure in (
        scores_figure(bare.evaluation, "conversion", small), effects_figure(bare.evaluation),
        deciles_figure(bare.evaluation, "ecup", "conversion", small),
    ):  # fmt: skip
        hollow = [t for t in figure.data if str(t.marker.symbol).endswith("-open") and t.name != "predicted"]
        assert hollow
        assert all(t.error_x.array is None and t.error_y.array is None for t in hollow)
    assert not [t for t in qini_figure(bare.evaluation, "conversion", small).data if t.meta == "band"]


def test_a_ranking_without_intervals_is_not_said_to_beat_a_random_order(case: Case) -> None:
    bare = without_intervals(case)
    said = decision(bare.evaluation, bare.plan, bare.run)
    assert "1 of 2 arms have too few rows or outcomes for an interval" in said.why
    scores = case.evaluation.scores.assign(low=np.nan, high=np.nan)
    said = decision(dataclasses.replace(case.evaluation, scores=scores), case.plan, case.run)
    assert not said.clear
    assert "above zero" not in said.why
    assert "no interval" in said.note
    assert all("nan" not in n.text + n.note for n in plan_numbers(bare.plan))


# -------------------------------------------------------------------- training


def test_the_training_figure_shows_every_epoch_and_marks_the_kept_one() -> None:
    epochs = history(FALL_AND_RISE, [0.001, 0.004, 0.003, None, -0.001], kept=2)
    figure = training_figure(epochs, name="ecup", stage="conversion")
    lines = {trace.name: trace for trace in figure.data if "lines" in trace.mode}
    for name, key in (
        ("training loss", "loss"), ("validation loss", "validation_loss"), ("validation Qini", "validation_qini"),
    ):  # fmt: skip
        np.testing.assert_array_equal(lines[name].x, [1, 2, 3, 4, 5])
        np.testing.assert_array_equal(
            np.array(lines[name].y, float), np.array([e[key] for e in epochs], float)
        )
    kept = [trace for trace in figure.data if trace.name == "kept epoch"]
    assert [(trace.x[0], trace.y[0], trace.yaxis) for trace in kept] == [(2, 0.8, "y"), (2, 0.004, "y2")]
    assert lines["training loss"].yaxis == lines["validation loss"].yaxis == "y"
    assert sum(trace.showlegend is not False for trace in figure.data) == 4


def test_an_ensemble_is_a_light_line_per_network_with_its_own_kept_epoch() -> None:
    members = [history([loss + at for loss in FALL_AND_RISE], member=at, kept=at + 1) for at in range(4)]
    # The order of the entries does not matter.
    figure = training_figure([entry for member in members for entry in member][::-1], name="ecup")
    lines = [trace for trace in figure.data if trace.name == "validation loss"]
    assert [list(line.y) for line in lines] == [[e["validation_loss"] for e in member] for member in members]
    assert all(line.opacity < 1 and line.line.width < 2 for line in lines)
    kept = next(trace for trace in figure.data if trace.name == "kept epoch")
    assert list(kept.x) == [1, 2, 3, 4]
    assert list(kept.y) == [member[at]["validation_loss"] for at, member in enumerate(members)]
    assert [trace.showlegend for trace in lines] == [True, False, False, False]


def test_losses_of_different_things_do_not_share_an_axis() -> None:
    figure = training_figure(history(FALLING), name="ecup", criterion="last")
    axes = {trace.name: trace.yaxis for trace in figure.data if "lines" in trace.mode}
    assert axes == {"training loss": "y", "validation loss": "y2", "validation Qini": "y3"}


@pytest.mark.parametrize(
    "damage",
    [
        [], "x", [{"epoch": 1}], [1], history(FALLING)[:-1], [*history(FALLING), *history(FALLING)],
        [{**history(FALLING)[-1], "loss": HOSTILE}], [{**history(FALLING)[-1], "loss": None}],
    ],
)  # fmt: skip
def test_what_is_no_training_history_is_refused_in_one_sentence(case: Case, damage: Any) -> None:
    with pytest.raises(UpliftError, match="the training history of 'ecup'"):
        training_figure(damage, name="ecup")
    with pytest.raises(UpliftError, match="the training history of 'ecup'"):
        render(case.campaign, case.evaluation, run={"training": {"ecup": damage or [{}]}})
    with pytest.raises(UpliftError, match="must map model names"):
        render(case.campaign, case.evaluation, run={"training": [1]})


def _concerns(epochs: list[dict[str, Any]], **params: Any) -> list[str]:
    return [concern.sentence for concern in training.concerns(training.networks(epochs, name="m"), params)]


def test_training_that_stopped_while_the_loss_fell_is_said_to_be_short() -> None:
    (said,) = _concerns(history(FALLING), max_epochs=5, criterion="loss")
    assert (
        said
        == "Training stopped at max_epochs = 5 while the validation loss was still falling: more epochs may help."
    )
    assert _concerns(history(FALLING), max_epochs=6) == []  # patience, or the Qini, ended it
    assert _concerns(history(FALLING)) == []  # nobody knows
    assert _concerns(history(FALL_AND_RISE), max_epochs=5) == []
    # A schedule that ends with tiny steps ends at the lowest loss, which is no sign that more would help.
    assert _concerns(history([0.9, 0.7, 0.6, 0.5501, 0.55]), max_epochs=5) == []
    assert _concerns(history([0.9, 0.7, 0.6, 0.56, 0.55]), max_epochs=5) != []
    (said,) = _concerns(history([0.9]), max_epochs=1)
    assert "Only one epoch was allowed" in said


def test_a_first_epoch_that_nothing_improved_on_is_named() -> None:
    (said,) = _concerns(history([0.5, 0.6, 0.7]), max_epochs=9, criterion="loss")
    assert said.startswith("The first epoch was kept: none of the later ones did better")
    (said,) = _concerns(history([0.9, 0.8, 0.85], kept=1), max_epochs=9, criterion="qini")
    assert "for its Qini, although the validation loss was lowest in epoch 2" in said
    members = [history([0.5, 0.6], member=0), history([0.6, 0.5], member=1)]
    (said,) = _concerns([entry for member in members for entry in member], max_epochs=9)
    assert said.startswith("1 of 2 networks kept the first epoch")


def test_the_sentence_on_training_says_epochs_the_kept_one_its_reason_and_the_speed() -> None:
    params = {"max_epochs": 20, "patience": 2, "criterion": "loss"}
    one = training.networks(history(FALL_AND_RISE), name="m")
    assert training.sentences(one, params) == (
        "The network learned for 5 epochs (at most 20) and stopped after 2 without progress. Epoch 3 was kept: it has the "
        "lowest loss on the validation rows. Training ran at about 12,000 rows per second."
    )
    assert "one standard error" in training.sentences(one, {**params, "criterion": "qini"})
    assert "as many as max_epochs allows" in training.sentences(one, {**params, "max_epochs": 5})
    assert training.sentences(one, {}).startswith("The network learned for 5 epochs. Epoch 3 was kept. ")
    two = training.networks([*history(FALL_AND_RISE, member=0), *history(FALLING, member=1)], name="m")
    assert training.summary(two) == "2 networks of 5 epochs, epochs 3 to 5 kept"
    assert "Epochs 3 to 5 were kept, in each network the one with the lowest loss" in training.sentences(
        two, params
    )


def test_the_page_shows_every_training_and_keeps_the_long_history_out_of_the_facts(
    case: Case, page: str
) -> None:
    assert "How the networks were trained" not in page
    assert not [key for key in embedded(page)["figures"] if key.startswith("training")]
    run = with_training(case).run
    trained = render(case.campaign, case.evaluation, case.plan, checks=case.checks, run=run)
    found, data = read(trained), embedded(trained)["figures"]
    assert len(found.ids) == len(set(found.ids))
    for number, (name, epochs) in enumerate(run["training"].items()):
        assert f"Training of {name}" == data[f"training-{number}"]["title"]
        assert len(data[f"training-{number}"]["alt"]) > 100
        cells = [row for row in found.cells[f"table-training-{number}"] if "data-value" in row[0]]
        assert [float(row[2]["data-value"]) for row in cells] == [e["validation_loss"] for e in epochs]
    text = " ".join(found.text)
    assert "more epochs may help" in text
    assert "2 · 6" in text
    facts = re.search(r'<dl class="facts" id="run">(.*?)</dl>', trained, re.DOTALL)
    assert facts
    assert "training" not in facts[1]
    assert "rows_per_second" not in trained


def test_hostile_names_stay_text_in_the_training() -> None:
    case = with_training(make_case(rows=1_500, hostile=True))
    page = render(case.campaign, case.evaluation, case.plan, checks=case.checks, run=case.run)
    assert "<script>alert" not in page
    assert HOSTILE in " ".join(read(page).text)
    figure = training_figure(history(FALLING), name=HOSTILE, stage=HOSTILE)
    assert "<" not in figure.layout.title.text + figure.layout.title.subtitle.text


# -------------------------------------------------------------------- numbers and names


@given(st.text(max_size=300))
def test_a_label_has_no_tag_and_no_formula_and_is_short(name: str) -> None:
    text = label(name)
    assert "<" not in text
    assert "$" not in text
    assert 0 < len(html.unescape(text)) <= 26


@given(st.lists(st.text(max_size=60), min_size=1, max_size=8, unique=True))
def test_labels_of_different_names_differ(names: list[str]) -> None:
    assert len(set(labels(names))) == len(names)


@given(st.recursive(st.text() | st.floats() | st.integers() | st.booleans(), st.lists, max_leaves=5))
def test_embedded_json_reads_back_and_cannot_close_its_script(content: Any) -> None:
    text = script_json({"x": content})
    assert text.isascii()
    assert not set("<>&") & set(text)
    assert json.loads(text)["x"] == plain(content)


@given(st.floats())
def test_no_number_is_shown_as_nan(number: float) -> None:
    for unit in (shown.MONEY, shown.RATIO, shown.effect_unit("click"), shown.rate_unit("value")):
        text = unit.show(number, sign=True)
        assert not re.search("nan|inf", text, re.IGNORECASE)
        assert math.isfinite(number) or text == "–"


@given(st.floats(min_value=1e-6, max_value=1e12))
def test_compact_numbers_keep_three_digits(number: float) -> None:
    assert float(shown.compact(number).replace(",", "")) == pytest.approx(number, rel=0.006)


def test_the_record_of_a_run_keeps_no_secret_and_no_folder() -> None:
    record = {
        "database": "postgresql+psycopg://ann:hunter2@db/shop", "api_key": "hunter2", "data": r"C:\Users\ann\x.csv",
        "sql": "select * from read_parquet('/srv/secret/place/x.parquet')", "rate": float("nan"), "n": [1, "/a/b/c"],
    }  # fmt: skip
    text = json.dumps(public(record))
    assert "hunter2" not in text
    assert "Users" not in text
    assert "/srv" not in text
    assert "NaN" not in text
    assert public(record)["n"] == [1, "…/c"]
