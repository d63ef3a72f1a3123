"""Measuring a plan by its holdout: closed forms, the simulator's truth, and every way a plan and a log can arrive."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from typer.testing import CliRunner

import uplift
from uplift.allocation import allocate_arrays
from uplift.arms import CostRule
from uplift.cli import app
from uplift.effects import Effects
from uplift.errors import EvaluationError
from uplift.export import export_decisions, from_allocation
from uplift.export.decisions import find_control
from uplift.measurement import ALL_ARMS, Measurement, measure

Z = 1.959963984540054
MARGIN = 40.0


@pytest.fixture(scope="module")
def world() -> tuple[Effects, dict[str, CostRule]]:
    simulation = uplift.simulate(rows=4_000, arms=2, chain=("click", "conversion"), seed=3)
    return simulation.true_effects(), simulation.campaign().costs


def sent_and_seen(world: Any, seed: int = 0, holdout: float = 0.2) -> tuple[Any, pd.DataFrame, np.ndarray]:
    """A plan made by the truth, what customers then did, and their true effects [unit] at conversion."""
    truth, costs = world
    plan = uplift.allocate(truth, costs=costs, margin=MARGIN, budget=1_300, holdout=holdout, seed=seed)
    rng = np.random.default_rng(seed)
    row, arm = np.arange(len(plan)), plan.arm_codes.astype(int)
    click, conversion = (truth.mu_all[row, arm, truth.stages.index(name)] for name in ("click", "conversion"))
    clicked = rng.random(len(plan)) < click
    bought = clicked & (rng.random(len(plan)) < conversion / click)
    log = pd.DataFrame({plan.unit_column: plan.units.to_pylist(), "click": clicked, "conversion": bought})
    return plan, log, truth.tau_all[row, arm, truth.stages.index("conversion")]


def test_arms_and_total_are_neymans_differences_weighted_by_those_sent_to() -> None:
    rng = np.random.default_rng(0)
    n = 3_000
    planned = rng.choice(3, n, p=[0.4, 0.4, 0.2])
    held = rng.random(n) < 0.25
    arms = np.array(["none", "five", "ten"])
    plan = pd.DataFrame({
        "id": np.arange(n), "arm": arms[np.where(held, 0, planned)], "planned_arm": arms[planned], "holdout": held,
        "expected_value": np.where(held, 0.0, planned * 3.0), "expected_cost": np.where(held, 0.0, planned * 1.0),
    })  # fmt: skip
    spend = rng.gamma(2.0, 5.0 + planned * ~held, n)
    order = rng.permutation(n)
    log = pd.DataFrame({"id": np.arange(n)[order], "spend": spend[order]})
    found = measure(
        plan,
        log,
        value="spend",
        costs={"five": CostRule(on="send", amount=0.5), "ten": CostRule(on="value", share=0.1)},
    )
    total = variance = net = 0.0
    for code, name in ((1, "five"), (2, "ten")):
        sent, kept = spend[(planned == code) & ~held], spend[(planned == code) & held]
        effect = sent.mean() - kept.mean()
        se = np.sqrt(sent.var(ddof=1) / len(sent) + kept.var(ddof=1) / len(kept))
        one = found.effect("value", name)
        assert (one.sent, one.held_out) == (len(sent), len(kept))
        assert one.effect.value == pytest.approx(effect)
        assert one.effect.se == pytest.approx(se)
        assert (one.effect.low, one.effect.high) == pytest.approx((effect - Z * se, effect + Z * se))
        assert one.promised == pytest.approx(3.0 * code * len(sent))
        total += len(sent) * effect
        variance += (len(sent) * se) ** 2
        net += len(sent) * effect - (0.5 * len(sent) if code == 1 else 0.1 * sent.sum())
    whole = found.effect()
    assert (whole.arm, found.stage, found.basis) == (ALL_ARMS, "value", "arm")
    assert whole.total.value == pytest.approx(total)
    assert whole.total.se == pytest.approx(np.sqrt(variance))
    # The same by weighting: every held-out customer stands for n / m, the inverse shares of the two sides of its arm.
    weight = np.zeros(n)
    for code in (1, 2):
        mine = planned == code
        weight[mine & ~held] = 1.0
        weight[mine & held] = -(mine & ~held).sum() / (mine & held).sum()
    assert whole.total.value == pytest.approx(weight @ spend)
    assert found.net is not None
    assert found.net.value == pytest.approx(net)
    assert found.cost == pytest.approx(found.value.value - found.net.value)
    assert found.promised_cost == pytest.approx(float(plan["expected_cost"].sum()))


def test_intervals_hold_the_truth_as_often_as_they_say(world: Any) -> None:
    held = {ALL_ARMS: 0, "coupon_5": 0, "coupon_10": 0, "everybody": 0}
    draws = 200
    for seed in range(draws):
        plan, log, tau = sent_and_seen(world, seed)
        found = measure(plan, log, chain=["click", "conversion"])
        assert found.basis == "arm"
        for arm in (ALL_ARMS, "coupon_5", "coupon_10"):
            mine = plan.arm_codes > 0 if arm == ALL_ARMS else plan.arm_codes == plan.arms.index(arm)
            one = found.effect("conversion", arm)
            assert one.sent == mine.sum()
            held[arm] += one.total.low <= tau[mine].sum() <= one.total.high
        blind = measure(plan.to_table(), log, chain=["click", "conversion"], margin=MARGIN)
        assert blind.basis == "everybody"
        held["everybody"] += blind.effect().total.low <= tau.sum() <= blind.effect().total.high
    for arm, count in held.items():
        assert 0.92 <= count / draws <= 0.98, (arm, count / draws)


def test_the_promise_is_that_of_the_certificate(world: Any) -> None:
    plan, log, _ = sent_and_seen(world)
    found = measure(plan, log, chain=["click", "conversion"], effects=world[0])
    assert found.promised_value == pytest.approx(plan.certificate.expected_value, rel=1e-6)
    assert found.promised_cost == pytest.approx(plan.certificate.expected_cost, rel=1e-6)
    assert found.effect("conversion").promised == pytest.approx(found.promised_value / MARGIN, rel=1e-5)
    clicks = world[0].tau_all[np.arange(len(plan)), plan.arm_codes.astype(int), 0].sum()
    assert found.effect("click").promised == pytest.approx(clicks, rel=1e-5)
    assert found.kept is not None
    assert found.kept.value == pytest.approx(found.value.value / found.promised_value)


@pytest.mark.parametrize("name", ["plan.parquet", "plan.csv", "plan.jsonl", "plan.duckdb", "folder"])
def test_every_format_of_the_export_gives_the_same_numbers(name: str, world: Any, tmp_path: Path) -> None:
    plan, log, _ = sent_and_seen(world)
    decisions = from_allocation(plan, effects=world[0])
    export_decisions(decisions, tmp_path / name, by_arm=name == "folder")
    wanted = measure(plan, log, chain=["click", "conversion"], effects=world[0])
    found = measure(tmp_path / name, log, chain=["click", "conversion"], costs=world[1])
    pd.testing.assert_frame_equal(found.to_frame(), wanted.to_frame())
    pd.testing.assert_frame_equal(found.money_frame(), wanted.money_frame())
    assert found.margin == MARGIN
    assert not found.warnings


def test_planned_arms_of_the_export_are_what_no_holdout_would_have_sent(world: Any) -> None:
    truth, costs = world
    plan = uplift.allocate(truth, costs=costs, margin=MARGIN, budget=None, holdout=0.3, seed=4)
    everybody = uplift.allocate(truth, costs=costs, margin=MARGIN, budget=None, seed=4)
    table = from_allocation(plan).to_table()
    assert table["planned_arm"].to_pylist() == everybody.to_table()["arm"].to_pylist()


def test_what_customers_received_changes_the_warnings_and_not_the_numbers(world: Any) -> None:
    plan, log, _ = sent_and_seen(world)
    wanted = measure(plan, log, chain=["click", "conversion"])
    received = plan.to_frame()["arm"].astype(str).to_numpy()
    mixed = received.copy()
    swap = np.flatnonzero(plan.holdout)[:7]
    mixed[swap] = "coupon_5"
    for arm, count in ((received, 0), (mixed, 7)):
        campaign = uplift.Campaign.from_frame(
            log.astype({"click": int, "conversion": int}).assign(arm=arm), unit=plan.unit_column, treatment="arm",
            control="none", chain=["click", "conversion"], features=[],
        )  # fmt: skip
        found = measure(plan, campaign)
        pd.testing.assert_frame_equal(found.to_frame(), wanted.to_frame())
        assert any("7 of" in said and "held-out" in said for said in found.warnings) == bool(count)


def test_a_log_of_orders_is_put_together_by_customer(world: Any) -> None:
    plan, log, _ = sent_and_seen(world)
    wanted = measure(plan, log, chain=["conversion"])
    orders = pd.concat([log[log["conversion"]]] * 2)
    with pytest.raises(EvaluationError, match="missing='zero'"):
        measure(plan, orders, chain=["conversion"])
    found = measure(plan, orders, chain=["conversion"], missing="zero")
    pd.testing.assert_frame_equal(found.to_frame(), wanted.to_frame())
    assert any("count as having done nothing" in said for said in found.warnings)
    spend = orders.assign(spend=3.0)
    twice = measure(plan, spend, value="spend", missing="zero", margin=1.0)
    assert twice.effect("value").total.value == pytest.approx(6 * wanted.effect("conversion").total.value)
    half = len(orders) // 2
    assert any(said.startswith(f"{half:,} rows of the log equal an earlier row") for said in twice.warnings)
    numbered = spend.assign(order=np.arange(len(spend)))
    apart = measure(plan, numbered, value="spend", missing="zero", margin=1.0)
    assert not any("equal an earlier row" in said for said in apart.warnings)


def test_a_table_knows_the_arms_that_nobody_gets(world: Any) -> None:
    plan, _, _ = sent_and_seen(world)
    table = from_allocation(plan).to_table()
    arm = table["arm"].combine_chunks()
    named = pa.DictionaryArray.from_arrays(arm.indices, [*arm.dictionary.to_pylist(), "never"])
    assert find_control(table.set_column(table.column_names.index("arm"), "arm", named), None)[-1] == "never"


def test_a_lost_side_of_the_holdout_is_noticed(world: Any) -> None:
    plan, log, _ = sent_and_seen(world, holdout=0.3)
    table = from_allocation(plan).to_table()
    keep = ~(plan.holdout & (np.arange(len(plan)) % 2 == 0))
    found = measure(table.filter(keep), log, chain=["conversion"], margin=MARGIN)
    assert any("is not the share of 30.0% that was drawn" in said for said in found.warnings)


BAD: dict[str, tuple[Callable[[Any, pd.DataFrame], Any], str]] = {
    "nobody held out": (
        lambda plan, log: measure(allocate_arrays([[1.0]], [[1.0]], budget=1.0), log, chain=["click"]),
        "holds out none",
    ),
    "no outcome named": (lambda plan, log: measure(plan, log), "name the outcome columns"),
    "no such column": (lambda plan, log: measure(plan, log, chain=["clik"]), "did you mean 'click'"),
    "no such stage": (
        lambda plan, log: measure(plan, log, chain=["click"], stage="clik"),
        "did you mean 'click'",
    ),
    "not 0/1": (lambda plan, log: measure(plan, log.assign(click=2), chain=["click"]), "stage 'click'"),
    "another campaign": (
        lambda plan, log: measure(plan, log.assign(customer_id=-1), chain=["click"]),
        "none of the plan's",
    ),
    "another margin": (
        lambda plan, log: measure(plan, log, chain=["conversion"], margin=39.0),
        "was made with 40 per conversion",
    ),
    "margin unknown": (
        lambda plan, log: measure(plan.to_table(), log, chain=["conversion"]),
        "does not say what a conversion is worth",
    ),
    "no outcomes": (lambda plan, log: measure(plan, log, chain=[]), "name the outcome columns"),
    "text as confidence": (
        lambda plan, log: measure(plan, log, chain=["click"], confidence="x"),
        "confidence is 'x'",
    ),
    "text as margin": (lambda plan, log: measure(plan, log, chain=["click"], margin="x"), "margin is 'x'"),
    "a number as cost": (
        lambda plan, log: measure(plan, log, chain=["click"], costs={"coupon_5": 5}),
        "the cost of coupon_5 is 5",
    ),
    "a list of costs": (
        lambda plan, log: measure(plan, log, chain=["click"], costs=[5]),
        "the cost of each arm is [5]",
    ),
    "text as promise": (
        lambda plan, log: measure(plan.to_frame().assign(expected_value="x"), log, chain=["click"]),
        "'expected_value' of the table holds 'x', not numbers",
    ),
    "an infinite promise": (
        lambda plan, log: measure(plan.to_frame().assign(expected_cost=np.inf), log, chain=["click"]),
        "4,000 of 4,000 rows of the table have no finite 'expected_cost'",
    ),
    "text as holdout": (
        lambda plan, log: measure(plan.to_frame().assign(holdout="maybe"), log, chain=["click"]),
        "'holdout' of the table holds 'maybe'",
    ),
    "an empty plan": (
        lambda plan, log: measure(plan.to_frame().head(0), log, chain=["click"]),
        "the table has no rows",
    ),
    "nobody sent to": (
        lambda plan, log: measure(
            allocate_arrays([[1.0]] * 4, [[1.0]] * 4, budget=0.0, holdout=[True] * 2 + [False] * 2),
            log.rename(columns={"customer_id": "unit"}).assign(unit=np.arange(len(log))),
            chain=["click"],
            margin=1.0,
        ),
        "none of its 4 customers anything",
    ),
    "confidence": (lambda plan, log: measure(plan, log, chain=["click"], confidence=95), "confidence is 95"),
    "no plan": (lambda plan, log: measure(log, log, chain=["click"]), "is no allocation"),
    "a number": (lambda plan, log: measure(3, log, chain=["click"]), "the plan is a int"),
    "an unknown cost": (
        lambda plan, log: measure(
            plan, log, chain=["conversion"], costs={"coupon_6": CostRule(on="send", amount=1)}
        ),
        "did you mean 'coupon_5'",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_sentence(case: str, world: Any) -> None:
    call, message = BAD[case]
    plan, log, _ = sent_and_seen(world)
    with pytest.raises(EvaluationError) as caught:
        call(plan, log)
    assert message in str(caught.value)
    assert str(caught.value).endswith((".", "?"))


def test_another_stage_than_the_plans_is_held_against_what_was_promised_of_it(world: Any) -> None:
    plan, log, _ = sent_and_seen(world)
    log["spend"] = log["conversion"] * 30.0
    at_conversion = measure(plan, log, chain=["click", "conversion"])
    assert at_conversion.promised_value == pytest.approx(plan.certificate.expected_value, rel=1e-9)
    truth = world[0]
    by_effects = measure(plan, log, chain=["click"], effects=truth, margin=2.0)
    sent = truth.tau_all[np.arange(len(plan)), plan.arm_codes, truth.stages.index("click")].sum()
    assert by_effects.stage == "click"
    assert by_effects.promised_value == pytest.approx(2.0 * sent, rel=1e-5)
    assert by_effects.effect("click").promised == pytest.approx(sent, rel=1e-5)
    unsaid = measure(plan, log, chain=["conversion"], value="spend", stage="value")
    assert np.isnan(unsaid.promised_value)
    assert unsaid.kept is None
    assert unsaid.effect("value").promised is None
    assert "does not say what it promised of value" in unsaid.warnings[-1]
    assert "promised)" not in repr(unsaid)
    assert "nan" not in unsaid._repr_html_().lower()


def test_results_show_themselves_in_a_line_and_in_a_notebook(world: Any) -> None:
    plan, log, _ = sent_and_seen(world)
    found = measure(plan, log, chain=["click", "conversion"])
    assert isinstance(found, Measurement)
    assert repr(found).startswith("Measurement(")
    assert "\n" not in repr(found)
    page = found._repr_html_()
    assert page.count("<table") == 2
    assert "coupon_10" in page
    json.dumps(found.to_dict(), allow_nan=False)


# ---------------------------------------------------------------- the command


@pytest.fixture
def folder(world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    plan, log, _ = sent_and_seen(world)
    export_decisions(from_allocation(plan, effects=world[0]), tmp_path / "plan.parquet")
    log.astype({"click": int, "conversion": int}).to_csv(tmp_path / "log.csv", index=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_command_prints_and_writes_what_python_finds(folder: Path, world: Any) -> None:
    result = CliRunner().invoke(
        app,
        ["measure", "plan.parquet", "log.csv", "--chain", "click,conversion", "--cost", "coupon_5=5@conversion",
         "--cost", "coupon_10=10@conversion", "--json", "found.json"],
    )  # fmt: skip
    assert result.exit_code == 0, (result.output, result.exception)
    assert "held out" in result.output
    plan, log, _ = sent_and_seen(world)
    wanted = measure(plan, log, chain=["click", "conversion"])
    content = json.loads((folder / "found.json").read_text())
    assert content["value"]["value"] == pytest.approx(wanted.value.value)
    assert wanted.net is not None
    assert content["money"][-1]["net"]["low"] == pytest.approx(wanted.net.low)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.parquet", "log.csv", "--chain", "click"], "nowhere.parquet"),
        (["plan.parquet", "nowhere.csv", "--chain", "click"], "nowhere.csv"),
        (["plan.parquet", "log.csv"], "--chain"),
        (["plan.parquet", "log.csv", "--chain", "clik"], "did you mean 'click'"),
        (["log.csv", "log.csv", "--chain", "click"], "is no allocation"),
        ([".", "log.csv", "--chain", "click"], "neither a run folder nor an export"),
        (["plan.parquet", "log.csv", "--chain", "conversion", "--margin", "3"], "40 per conversion"),
        (["plan.parquet", "log.csv", "--chain", "click", "--cost", "five"], "ARM=AMOUNT@EVENT"),
    ],
)
def test_the_command_refuses_in_one_sentence(arguments: list[str], message: str, folder: Path) -> None:
    result = CliRunner().invoke(app, ["measure", *arguments])
    assert isinstance(result.exception, uplift.UpliftError), (result.output, result.exception)
    assert message in str(result.exception)
