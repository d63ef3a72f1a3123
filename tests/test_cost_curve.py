"""Cost curves of several arms: by hand, against maq's algorithm written anew, against the plans they stand for."""

from __future__ import annotations

import heapq
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.bench_policy_value import COSTS, curve_coverage, effects_of, make_log, somewhat_wrong
from uplift import Campaign, CostRule, Effects, allocate, cost_curve, policy_value, simulate
from uplift.errors import EvaluationError
from uplift.metrics import describe
from uplift.metrics.cost_curve import CostCurve, Steps, draw_curve

SENT = {"a": CostRule(on="send", amount=0.05), "b": CostRule(on="send", amount=0.12)}


def maq(reward: np.ndarray, cost: np.ndarray, scores: np.ndarray, budgets: np.ndarray) -> np.ndarray:
    """Multi-armed Qini at some spends per unit: Sverdrup et al. 2023, algorithm 1, with a priority queue.

    Per unit the arms on the upper left convex hull of (cost, reward) are kept, then units are moved along their hulls
    by falling slope; a budget that ends inside a move takes part of it.
    """
    n, k = reward.shape
    queue: list[tuple[float, int, int]] = []
    hulls: list[list[int]] = []
    for i in range(n):
        hull = [-1]  # control

        def point(arm: int, i: int = i) -> tuple[float, float]:
            return (0.0, 0.0) if arm < 0 else (float(cost[i, arm]), float(reward[i, arm]))

        for arm in sorted(range(k), key=lambda a, i=i: (cost[i, a], -reward[i, a])):
            c, r = point(arm)
            if r <= point(hull[-1])[1]:
                continue
            while len(hull) > 1:
                c1, r1 = point(hull[-1])
                c0, r0 = point(hull[-2])
                if (r - r1) * (c1 - c0) >= (r1 - r0) * (c - c1):
                    hull.pop()
                else:
                    break
            hull.append(arm)
        hulls.append(hull)
        if len(hull) > 1:
            c, r = point(hull[1])
            heapq.heappush(queue, (-r / c, i, 1))
    spent, gained = [0.0], [0.0]
    while queue:
        _, i, at = heapq.heappop(queue)
        now, before = hulls[i][at], hulls[i][at - 1]
        spent.append(spent[-1] + (cost[i, now] - (cost[i, before] if before >= 0 else 0.0)) / n)
        gained.append(gained[-1] + (scores[i, now] - (scores[i, before] if before >= 0 else 0.0)) / n)
        if at + 1 < len(hulls[i]):
            after = hulls[i][at + 1]
            heapq.heappush(
                queue, (-(reward[i, after] - reward[i, now]) / (cost[i, after] - cost[i, now]), i, at + 1)
            )
    return np.interp(budgets, spent, gained)


@pytest.mark.parametrize("design", ["shares", "propensity"])
def test_gain_at_every_spend_is_that_of_maq(design: str) -> None:
    log, mu, x, _ = make_log(800, 1, design)
    predicted = effects_of(log, somewhat_wrong(mu, x))
    costs = {"a": CostRule(on="send", amount=0.05), "b": CostRule(on="y", amount=0.4)}
    curve = cost_curve(log, predicted, costs=costs, margin=2.0, method="ips", axis="planned")
    arm, y = log.arm_codes, 2.0 * log.outcome("y").astype(float)
    e = log.propensity if design == "propensity" else (np.bincount(arm) / len(arm))[arm]
    scores = np.stack([((arm == k) * y - (arm == 0) * y) / e for k in (1, 2)], axis=1)
    reward = 2.0 * predicted.tau_all[:, 1:, 0].astype(float)
    cost = np.stack([np.full(800, 0.05), 0.4 * predicted.mu("y", "b").astype(float)], axis=1)
    spends = np.linspace(0, curve.spend[-1], 40)
    found = [curve.gain_at(spend).value for spend in spends]
    np.testing.assert_allclose(found, maq(reward, cost, scores, spends), atol=1e-9)


def test_three_customers_and_two_arms_by_hand() -> None:
    # Steps by reward: customer 0 to a (2), customer 1 to b (1), customer 0 from a to b (0.5).
    steps = Steps(
        np.array([0, 1, 0]),
        np.array([0, 0, 1]),
        np.array([1, 2, 2]),
        np.array([2.0, 1.0, 0.5]),
        np.zeros(3, int),
    )
    gain = np.array([[0, 3.0, 6.0], [0, 0.0, 1.5], [0, 0.0, 0.0]])
    cost = np.array([[0, 1.0, 2.0]] * 3)
    curve = draw_curve(
        steps,
        gain,
        cost,
        cost,
        np.full(3, 1 / 3),
        model="m",
        stage="y",
        arms=("none", "a", "b"),
        axis="planned",
    )
    np.testing.assert_allclose(curve.spend * 3, [0, 1, 3, 4])
    np.testing.assert_allclose(curve.gain * 3, [0, 3, 4.5, 7.5])
    np.testing.assert_allclose(curve.treated * 3, [0, 1, 2, 2])
    area = (1.5 + 2 * 3.75 + 6.0) / 9
    assert curve.aucc_gain.value == pytest.approx(area / (4 / 3) - 7.5 / 6)
    assert curve.gain_at(2 / 3).value == pytest.approx(3.75 / 3)
    assert curve.everyone["b"][0].value == pytest.approx(2.0)
    assert curve.everyone["b"][1].value == pytest.approx(2.5)


@pytest.mark.parametrize("knobs", [{}, {"strata": 3, "strata_imbalance": 1.0}, {"confounding": 0.6}])
def test_the_curve_passes_through_the_value_of_the_plan_at_its_budget(knobs: dict) -> None:
    simulation = simulate(rows=6_000, seed=5, **knobs)
    log, truth = simulation.campaign(), simulation.true_effects()
    curve = cost_curve(log, truth, margin=40.0, axis="planned")
    for budget in (300.0, 900.0, 2_000.0):
        plan = allocate(truth, costs=log.costs, budget=budget, margin=40.0)
        found = policy_value(log, plan, method="dr", effects=truth, margin=40.0)
        here = curve.gain_at(plan.certificate.expected_cost / log.n_rows)
        gain = found.against["control"].value
        assert here.value == pytest.approx(gain.value, abs=0.05 * gain.se + 1e-9)
    everyone = policy_value(log, log.arm_names[1], method="dr", effects=truth, margin=40.0)
    gain = curve.everyone[log.arm_names[1]][1]
    assert gain.value == pytest.approx(everyone.against["control"].value.value)
    measured = cost_curve(log, truth, margin=40.0)
    assert measured.everyone[log.arm_names[1]][0].value == pytest.approx(everyone.spend.value)
    np.testing.assert_allclose(measured.planned, curve.planned)
    np.testing.assert_allclose(measured.gain, curve.gain)


@pytest.mark.parametrize("axis", ["measured", "planned"])
def test_influences_are_the_derivatives_by_the_weight_of_each_row(axis: str) -> None:
    """Against the curve itself, with one row weighing a little more."""
    log, mu, x, _ = make_log(300, 2, "propensity")
    effects = effects_of(log, somewhat_wrong(mu, x))

    def curve(weight: np.ndarray):  # type: ignore[no-untyped-def]
        table = log.table.append_column("w", [weight])
        weighted = Campaign.from_table(
            table,
            treatment="t",
            control="none",
            chain=["y"],
            unit="id",
            propensity="p",
            weight="w",
            features=["x"],
        )
        return cost_curve(weighted, effects, costs=COSTS, axis=axis)

    def number(one: CostCurve, name: str) -> float:
        """The curve gives no ratio where its denominator may be 0: taken from the sums here."""
        sums = one._sums
        area = sums.area().value / (sums.total * (sums.gain[-1] - sums.gain[0]))
        return one.aucc_gain.value if name == "aucc_gain" else area

    first = curve(np.ones(300))
    whole = first._sums
    psi = {
        "aucc_gain": whole.above_chord().influence,
        "aucc": whole.area().over(whole.whole(whole.paid)).over(whole.whole(whole.gained)).influence,
    }
    for row in (0, 5, 77, 123, 299):
        weight = np.ones(300)
        weight[row] += 1e-4
        other = curve(weight)
        for name, influence in psi.items():
            change = (number(other, name) - number(first, name)) / 1e-4
            assert change == pytest.approx(influence[row], rel=2e-3, abs=2e-5), (name, row)
    assert psi["aucc_gain"].sum() == pytest.approx(0.0, abs=1e-9)
    assert first.aucc_gain.se == pytest.approx(np.sqrt((psi["aucc_gain"] ** 2).sum()))


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    digits=st.sampled_from([None, 1]),
    axis=st.sampled_from(["measured", "planned"]),
)
def test_order_of_rows_changes_nothing_even_with_ties(seed: int, digits: int | None, axis: str) -> None:
    log, mu, *_ = make_log(300, seed)
    predicted = mu if digits is None else np.round(mu, digits)
    order = np.random.default_rng(seed).permutation(300)
    first = cost_curve(log, effects_of(log, predicted), costs=SENT, axis=axis)
    second = cost_curve(log.take(order), effects_of(log, predicted), costs=SENT, axis=axis)
    np.testing.assert_allclose(first.to_frame(), second.to_frame(), atol=1e-9)
    assert first.aucc_gain.value == pytest.approx(second.aucc_gain.value, abs=1e-9)
    assert first.aucc_gain.se == pytest.approx(second.aucc_gain.se)


def test_a_model_that_tells_nobody_apart_spends_at_random() -> None:
    log, mu, *_ = make_log(2_000, 3)
    curve = cost_curve(
        log, effects_of(log, np.tile([0.2, 0.3, 0.31], (2_000, 1))), costs=SENT, baseline=effects_of(log, mu)
    )
    # All customers step to a together, then all from a to b: two straight lines.
    assert len(curve.spend) == 3
    np.testing.assert_allclose(curve.spend, [0.0, 0.05, 0.12])
    only_a = cost_curve(
        log, effects_of(log, np.tile([0.2, 0.3, 0.1], (2_000, 1))), costs=SENT, baseline=effects_of(log, mu)
    )
    assert only_a.aucc is not None
    assert only_a.aucc.value == pytest.approx(0.5)
    assert only_a.aucc_gain.value == pytest.approx(0.0, abs=1e-12)
    assert only_a.aucc_gain.se == pytest.approx(0.0, abs=1e-12)


def test_a_better_ranking_gains_more_and_is_compared_on_the_same_rows() -> None:
    log, mu, *_ = make_log(20_000, 4)
    rng = np.random.default_rng(0)
    judge = effects_of(log, mu)
    noise = np.column_stack([np.zeros(log.n_rows), rng.normal(0, 0.3, (log.n_rows, 2))])
    good = cost_curve(log, judge, costs=SENT)
    bad = cost_curve(log, effects_of(log, np.clip(mu + noise, 0, 1)), costs=SENT, baseline=judge)
    assert good.aucc is not None
    assert bad.aucc is not None
    assert good.aucc.value > bad.aucc.value > 0.4
    difference = good.difference(bad)
    assert difference.low > 0
    assert difference.value == pytest.approx(good.aucc_gain.value - bad.aucc_gain.value)
    spend = 0.4 * min(good.spend[-1], bad.spend[-1])
    at = good.difference_at(bad, spend)
    assert at.value == pytest.approx(good.gain_at(spend).value - bad.gain_at(spend).value)
    assert at.se < np.hypot(good.gain_at(spend).se, bad.gain_at(spend).se)
    same = good.difference_at(good, spend)
    assert same.value == same.se == 0.0


def test_band_and_estimate_at_a_point_agree_with_and_without_repeated_units() -> None:
    log, mu, x, _ = make_log(2_000, 6, "repeated")
    effects = effects_of(log, somewhat_wrong(mu, x))
    curve = cost_curve(log, effects, costs=SENT)
    alone = Campaign.from_table(
        log.table.drop(["id"]), treatment="t", control="none", chain=["y"], features=["x"]
    )
    apart = cost_curve(alone, effects_of(alone, somewhat_wrong(mu, x)), costs=SENT)
    for one in (curve, apart):
        for point in (20, 100, 150):
            here = one.gain_at(one.spend[point])
            assert here.value == pytest.approx(one.gain[point])
            assert here.low == pytest.approx(one.gain_low[point], abs=2e-4)
    np.testing.assert_allclose(curve.gain, apart.gain)
    # Every unit is there twice, outcome and all: half as many customers as there are rows.
    assert curve.aucc_gain.se / apart.aucc_gain.se == pytest.approx(np.sqrt(2), rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("axis", ["measured", "planned"])
@pytest.mark.parametrize("design", ["shares", "strata", "propensity"])
def test_intervals_of_curve_and_areas_cover(design: str, axis: str) -> None:
    for name, share in curve_coverage(design, runs=400, rows=3_000, axis=axis).items():
        assert 0.92 <= share <= 0.99, (name, share)


def test_areas_cover_at_a_glance() -> None:
    for name, share in curve_coverage("shares", runs=60, rows=1_500).items():
        assert share >= 0.86, (name, share)


def test_results_are_plain_json_and_defined() -> None:
    log, mu, *_ = make_log(500, 0)
    content = json.loads(json.dumps(cost_curve(log, effects_of(log, mu), costs=SENT).to_dict()))
    assert len(content["spend"]) == len(content["gain"]) == len(content["gain_low"])
    assert content["everyone"]["a"]["spend"]["value"] == pytest.approx(0.05)
    for name in ("aucc", "aucc_gain"):
        assert describe(name).formula
        assert set(content[name]) == {"value", "se", "low", "high"}


def test_bad_input_is_one_clear_sentence(toy: Campaign) -> None:
    log, mu, *_ = make_log(500, 0)
    effects = effects_of(log, mu)
    ranks = Effects(
        effects.mu_all,
        units=log.unit_ids,
        arms=effects.arms,
        stages=effects.stages,
        model="r",
        calibrated=False,
    )
    harm = effects_of(log, mu[:, :1] - np.array([0.0, 0.01, 0.01]))
    cases = [
        ((log, effects), {}, "arm 'a' has no cost rule"),
        ((log, effects), {"costs": SENT, "axis": "x"}, "'measured' or 'planned'"),
        ((log, ranks), {"costs": SENT}, "only ranks"),
        ((log, harm), {"costs": SENT}, "predicts no gain from any arm"),
        ((log, effects), {"costs": {arm: CostRule(on="send", amount=0.0) for arm in "ab"}}, "no curve"),
        ((log.take(log.arm_codes != 2), effects), {"costs": SENT}, "arm 'b' has no rows"),
    ]  # fmt: skip
    for arguments, options, sentence in cases:
        with pytest.raises(EvaluationError) as raised:
            cost_curve(*arguments, **options)
        assert sentence in str(raised.value), str(raised.value)
    curve = cost_curve(log, effects, costs=SENT)
    with pytest.raises(EvaluationError, match="is not on the curve"):
        curve.gain_at(10.0)
    with pytest.raises(EvaluationError, match="compare curves of the same rows"):
        curve.difference(cost_curve(log.take(np.arange(400)), effects, costs=SENT))


def test_free_arms_are_given_before_any_money_is_spent() -> None:
    log, mu, *_ = make_log(1_000, 0)
    costs = {"a": CostRule(on="send", amount=0.0), "b": CostRule(on="send", amount=0.1)}
    curve = cost_curve(log, effects_of(log, mu), costs=costs, axis="planned")
    helped = mu[:, 1].astype(np.float32) > mu[:, 0].astype(np.float32)
    assert curve.spend[0] == 0.0
    assert curve.treated[0] == pytest.approx(helped.mean())
    free = policy_value(log, np.where(helped, 1, 0), method="dr", effects=effects_of(log, mu))
    assert curve.gain[0] == pytest.approx(free.against["control"].value.value)
