"""The budget curve under model uncertainty: against plans that are made one by one, and against known truths."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

import uplift
from uplift.allocation import Allocation, MaxShare, MinReach, allocate
from uplift.arms import CostRule
from uplift.effects import Effects
from uplift.errors import AllocationError, ModelError
from uplift.members import refit_members

ARMS = ("none", "five", "ten")
COSTS = {"five": CostRule(on="send", amount=0.4), "ten": CostRule(on="buy", amount=3.0)}
MONEY = {"costs": COSTS, "margin": 10.0}
BUDGET = 40.0


def effects_of(tau: np.ndarray, base: float = 0.2, **more) -> Effects:
    """Effects of given uplifts [unit, arm] at one stage."""
    mu = np.concatenate([np.full((len(tau), 1), base), base + tau], axis=1)[:, :, None]
    return Effects(
        mu.astype(np.float32),
        units=pa.array(np.arange(len(tau))),
        arms=ARMS,
        stages=("buy",),
        model="m",
        **more,
    )


def some_tau(n: int = 400, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal([0.03, 0.08], [0.05, 0.08], (n, 2)).clip(-0.15, 0.5)


def noisy(
    tau: np.ndarray, count: int, seed: int = 1, own: float = 0.05, shared: float = 0.02
) -> list[Effects]:
    rng = np.random.default_rng(seed)
    return [
        effects_of(tau + rng.normal(0, own, tau.shape) + rng.normal(0, shared, (1, tau.shape[1])))
        for _ in range(count)
    ]


def worth(plan: Allocation, effects: Effects) -> float:
    """Value of a plan's decisions by some effects, the slow way."""
    tau = effects.tau_all[:, :, 0].astype(float)
    return sum(10.0 * tau[unit, arm] for unit, arm in enumerate(plan.arm_codes))


def bill(plan: Allocation, effects: Effects) -> float:
    mu = effects.mu_all[:, :, 0].astype(float)
    return sum((0.0, 0.4, 3.0 * mu[unit, 2])[arm] for unit, arm in enumerate(plan.arm_codes))


@pytest.fixture(scope="module")
def case() -> tuple[Effects, list[Effects], Allocation]:
    tau = some_tau()
    return effects_of(tau), noisy(tau, 5), allocate(effects_of(tau), budget=BUDGET, **MONEY)


@pytest.mark.parametrize("options", [{}, {"holdout": 0.2}, {"min_roi": 2.0}, {"allow_harm": True}])
def test_a_member_values_the_very_plans_that_are_made_at_every_budget(case, options) -> None:
    effects, members, _ = case
    plan = allocate(effects, budget=BUDGET, **MONEY, **options)
    band = plan.curve_under(members)
    for point in range(0, len(band.budgets), 7):
        made = allocate(effects, budget=float(band.budgets[point]), **MONEY, **options)
        # Points are borders of slope buckets: the plan there is whole, but for one customer's rounding.
        for member, values in zip(members, band.member_values, strict=True):
            assert values[point] == pytest.approx(worth(made, member), abs=4.0)
        spend = np.mean([bill(made, member) for member in members])
        assert band.spend[point] == pytest.approx(spend, abs=1.0)


def test_optimism_and_regret_are_those_of_plans_that_members_make_themselves(case) -> None:
    effects, members, plan = case
    found = plan.curve_under(members).at(BUDGET)
    theirs = [allocate(member, budget=BUDGET, **MONEY) for member in members]
    optimism = np.mean(
        [worth(p, member) - worth(p, effects) for p, member in zip(theirs, members, strict=True)]
    )
    assert found["optimism"] == pytest.approx(optimism, rel=0.02)
    best = [allocate(member, budget=bill(plan, member), **MONEY) for member in members]
    regret = np.mean(
        [worth(p, member) - worth(plan, member) for p, member in zip(best, members, strict=True)]
    )
    assert found["regret"] == pytest.approx(regret, rel=0.02)
    assert found["value"] == pytest.approx(found["promised"] - found["optimism"])


def test_members_that_agree_with_the_plan_leave_the_curve_as_it_is(case) -> None:
    effects, _, plan = case
    band = plan.curve_under([effects, effects, effects])
    for name in ("value", "low", "high"):
        assert getattr(band, name) == pytest.approx(plan.curve.values, abs=1e-6)
    assert band.spend == pytest.approx(plan.curve.spends, abs=1e-6)
    assert band.optimism == pytest.approx(0, abs=1e-6)
    assert band.regret == pytest.approx(0, abs=1e-6)
    assert np.array_equal(band.budgets, plan.curve.budgets)


def test_errors_that_all_customers_share_do_not_average_out_and_those_of_their_own_do() -> None:
    def relative_width(n: int, **noise: float) -> float:
        tau = some_tau(n)
        plan = allocate(effects_of(tau), budget=0.1 * n, **MONEY)
        found = plan.curve_under(noisy(tau, 40, **noise), correct=False).at(0.1 * n)
        return (found["high"] - found["low"]) / found["promised"]

    few, many = (relative_width(n, own=0.0, shared=0.02) for n in (200, 5_000))
    assert many == pytest.approx(few, rel=0.3)
    few, many = (relative_width(n, own=0.05, shared=0.0) for n in (200, 5_000))
    assert many == pytest.approx(few / 5, rel=0.4)


def test_uplifts_that_are_off_by_a_factor_move_the_curve_by_it_and_nobody_would_plan_otherwise(case) -> None:
    tau = some_tau()
    cheap = {
        "costs": {arm: CostRule(on="send", amount=1.0 + at) for at, arm in enumerate(ARMS[1:])},
        "margin": 10.0,
    }
    plan = allocate(effects_of(tau), budget=BUDGET, **cheap)
    factors = np.array([0.5, 0.8, 1.0, 1.2, 1.5])
    band = plan.curve_under([effects_of(factor * tau) for factor in factors], level=0.8)
    assert band.value == pytest.approx(plan.curve.values, rel=1e-4)
    assert band.regret == pytest.approx(0, abs=1e-2)
    half = 1.5332 * factors.std(ddof=1)  # Student's t with four degrees of freedom, 90 % below
    assert band.high - band.value == pytest.approx(half * plan.curve.values, rel=1e-3)


def test_the_corrected_band_holds_the_truth_as_often_as_it_says_and_a_band_around_the_promise_does_not() -> (
    None
):
    """Estimates with normal errors of known size, of which the members are honest draws."""
    rng = np.random.default_rng(3)
    held = np.zeros(2)
    bias = np.zeros(2)
    worlds = 100
    for world in range(worlds):
        truth = some_tau(300, seed=100 + world)

        def off(tau: np.ndarray) -> np.ndarray:
            return tau + rng.normal(0, 0.05, tau.shape) + rng.normal(0, 0.02, (1, 2))

        estimate = off(truth)
        plan = allocate(effects_of(estimate), budget=30.0, **MONEY)
        members = [effects_of(off(estimate)) for _ in range(8)]
        true = worth(plan, effects_of(truth))
        found = plan.curve_under(members).at(30.0)
        for at, moved in enumerate((0.0, found["optimism"])):
            held[at] += found["low"] + moved <= true <= found["high"] + moved
            bias[at] += (found["value"] + moved - true) / worlds
    assert 0.80 <= held[0] / worlds <= 0.97
    assert held[1] / worlds < 0.4
    assert abs(bias[0]) < 0.35 * bias[1]


def test_intervals_give_the_two_extremes_and_the_wide_one_is_the_band() -> None:
    tau = some_tau()
    rng = np.random.default_rng(5)
    below, above = rng.uniform(0.01, 0.05, (2, *tau.shape))
    low, high = (np.pad(tau + off, ((0, 0), (1, 0)))[:, :, None] for off in (-below, above))
    effects = effects_of(tau)
    effects = effects_of(tau, low_all=np.minimum(low, effects.tau_all), high_all=np.maximum(high, effects.tau_all), level=0.9)  # fmt: skip
    plan = allocate(effects, budget=BUDGET, **MONEY)
    band = plan.curve_under(effects)
    assert (band.source, band.level, band.members, band.regret) == ("intervals", 0.9, 0, None)
    assert band.value == pytest.approx(plan.curve.values, abs=1e-4)
    for point in range(0, len(band.budgets), 9):
        made = allocate(effects, budget=float(band.budgets[point]), **MONEY)
        treated = np.flatnonzero(made.arm_codes)
        down = 10 * below[treated, made.arm_codes[treated] - 1]
        up = 10 * above[treated, made.arm_codes[treated] - 1]
        assert band.value[point] - band.low[point] == pytest.approx(down.sum(), abs=1.1)
        assert band.high[point] - band.value[point] == pytest.approx(up.sum(), abs=1.1)
        narrow = np.sqrt(np.square(down).sum()), np.sqrt(np.square(up).sum())
        assert band.value[point] - band.independent_low[point] == pytest.approx(narrow[0], abs=0.3)
        assert band.independent_high[point] - band.value[point] == pytest.approx(narrow[1], abs=0.3)
    assert (band.low <= band.independent_low).all()
    assert (band.independent_high <= band.high).all()


def test_under_more_limits_the_plans_own_decisions_are_valued() -> None:
    tau = some_tau(2_000)
    effects, members = effects_of(tau), noisy(tau, 2)
    terms = {"budget": 200.0, "constraints": [MaxShare(0.1)], **MONEY}
    plan = allocate(effects, **terms)
    assert plan.certificate.n_treated == 200
    band = plan.curve_under(members, correct=False)
    assert np.array_equal(plan.curve.values, band.promised)
    assert band.regret is None
    for values, member in zip(band.member_values, members, strict=True):
        assert np.interp(200.0, band.budgets, values) == pytest.approx(worth(plan, member), rel=0.02)
    found = plan.curve_under(members).at(200.0)
    assert found["promised"] == pytest.approx(plan.certificate.expected_value, rel=0.01)
    theirs = [allocate(member, **terms) for member in members]
    optimism = np.mean([worth(p, m) - worth(p, effects) for p, m in zip(theirs, members, strict=True)])
    assert found["optimism"] == pytest.approx(optimism, rel=0.1)


def test_members_are_found_by_unit_id_and_their_order_does_not_matter(case) -> None:
    _, members, plan = case
    order = np.random.default_rng(0).permutation(len(plan))
    one = plan.curve_under(members).to_frame()
    other = plan.curve_under([member.take(order) for member in reversed(members)]).to_frame()
    assert np.allclose(one, other)


def test_what_cannot_be_used_is_said(case) -> None:
    effects, members, plan = case
    for given, options, words in (
        (members[:1], {}, "at least 2"),
        (effects, {}, "have no intervals"),
        (None, {}, "effects are a NoneType"),
        ("members.parquet", {}, "effects are a str"),
        ([effects, 1], {}, "effects are a int"),
        (members, {"level": 1.0}, "level is 1.0"),
        ([replace(m, calibrated=False) for m in members], {}, "ranking scores"),
        ([replace(m, arms=("none", "a", "b")) for m in members], {}, "are for arms none, a, b"),
    ):
        with pytest.raises(AllocationError, match=words):
            plan.curve_under(given, **options)
    with pytest.raises(AllocationError, match="plain arrays"):
        uplift.allocate_arrays(np.ones((3, 1)), np.ones((3, 1)), budget=2).curve_under(members)
    half = np.pad(np.full((len(plan), 2, 1), 0.02, np.float32), ((0, 0), (1, 0), (0, 0)))
    wide = replace(effects, low_all=effects.tau_all - half, high_all=effects.tau_all + half, level=0.9)
    for options in ({"level": 0.5}, {"correct": True}):
        with pytest.raises(AllocationError, match="leave"):
            plan.curve_under(wide, **options)
    careful = allocate(wide, budget=BUDGET, caution=1.0, **MONEY)
    with pytest.raises(AllocationError, match="caution"):
        careful.curve_under(members, correct=True)
    # A cautious promise lies below what the model expects, which is then the centre.
    found = careful.curve_under([effects, effects]).at(BUDGET)
    assert found["value"] == pytest.approx(worth(careful, effects), abs=2.0)
    assert found["value"] > found["promised"]


def test_a_plan_that_nothing_improves_has_a_band_of_one_point() -> None:
    effects = effects_of(np.full((10, 2), -0.1))
    band = allocate(effects, budget=5.0, **MONEY).curve_under([effects, effects])
    assert band.value.tolist() == band.high.tolist() == [0.0]
    assert "CurveBand" in band._repr_html_()


def test_it_shows_itself(case) -> None:
    _, members, plan = case
    band = plan.curve_under(members)
    assert list(band.to_frame().columns) == list(band.columns)
    assert "90 % band from 5 members" in band._repr_html_()
    assert repr(band).startswith("CurveBand('m': ")
    drawn = {trace.name: trace for trace in band.plot().data}
    assert set(drawn) == {"90% band", "expected", "promised"}
    assert np.array_equal(drawn["expected"].y, band.value)
    for budget in (-1.0, float("nan"), "x", None):
        with pytest.raises(AllocationError, match="budget"):
            band.at(budget)


def test_below_its_first_point_a_curve_says_nothing(case) -> None:
    effects, members, _ = case
    plan = allocate(effects, budget=BUDGET, constraints=[MinReach(60)], **MONEY)
    least = plan.curve.budgets[0]
    assert least > 1.0
    assert np.isnan(plan.curve.value_at([0.0, 0.9 * least])).all()
    assert plan.curve.value_at(least) == plan.curve.values[0]
    band = plan.curve_under(members, correct=False)
    assert band.at(least)["promised"] == plan.curve.values[0]
    with pytest.raises(AllocationError, match="the curve begins at"):
        band.at(0.5 * least)
    assert "CurveBand" in band._repr_html_()


def test_refits_draw_whole_customers_with_replacement_and_the_same_for_any_order() -> None:
    campaign = uplift.simulate(
        rows=3_000, arms=1, numeric=3, categorical=1, chain=("click", "conversion"), value=False, repeat_units=0.4, seed=2
    ).campaign()  # fmt: skip
    model = uplift.make_model("lightgbm_t", n_estimators=5, n_jobs=1)
    members = refit_members(model, campaign, campaign, members=3)
    again = refit_members(model, campaign, campaign, members=2)
    assert all(np.array_equal(a.mu_all, b.mu_all) for a, b in zip(members, again, strict=False))
    assert not np.array_equal(members[0].mu_all, members[1].mu_all)
    from uplift.members import _drawn

    counts = np.bincount(_drawn(campaign, "a"), minlength=campaign.n_rows)
    assert counts.mean() == pytest.approx(1.0, abs=0.1)
    assert counts.var() == pytest.approx(1.0, abs=0.15)
    for unit in range(20):
        assert len(set(counts[campaign.unit_codes == unit])) == 1
    order = np.random.default_rng(0).permutation(campaign.n_rows)
    shuffled = np.bincount(_drawn(campaign.take(order), "a"), minlength=campaign.n_rows)
    assert np.array_equal(shuffled, counts[order])
    with pytest.raises(ModelError, match="at least 2"):
        refit_members(model, campaign, campaign, members=1)


@pytest.mark.slow
def test_on_simulated_campaigns_the_corrected_band_of_refits_is_nearer_the_truth_than_the_promise() -> None:
    corrected = promised = held = held_raw = 0.0
    for seed in range(8):
        world = uplift.simulate(
            rows=6_000,
            arms=2,
            numeric=4,
            categorical=1,
            chain=("click", "conversion"),
            value=False,
            seed=700 + seed,
        )
        campaign = world.campaign()
        learn, audience = campaign.split(test=0.4, seed=seed)
        model = uplift.make_model("lightgbm_t", n_estimators=40, n_jobs=1).fit(learn)
        members = refit_members(model, learn, audience, members=6, random_state=seed)
        terms = {"costs": campaign.costs, "margin": 40.0}
        plan = allocate(model.predict(audience), budget=300.0, **terms)
        tau = world.true_effects().for_units(audience.unit_ids).tau_all[:, :, 1].astype(float)
        true = 40 * float(np.take_along_axis(tau, plan.arm_codes[:, None].astype(int), axis=1).sum())
        found, raw = (plan.curve_under(members, correct=choice).at(300.0) for choice in (True, False))
        corrected += abs(found["value"] - true)
        promised += abs(found["promised"] - true)
        held += found["low"] <= true <= found["high"]
        held_raw += raw["low"] <= true <= raw["high"]
    assert corrected < 0.6 * promised
    assert held > held_raw
