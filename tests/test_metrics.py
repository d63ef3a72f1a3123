"""Metrics: closed forms, parity with scikit-uplift, invariants, and intervals that cover."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from conftest import ROLES, toy_frame
from hypothesis import given, settings
from hypothesis import strategies as st

from uplift import Campaign, Effects, evaluate
from uplift.errors import EvaluationError
from uplift.metrics import describe, inference, policy_value, scores
from uplift.metrics.average import compare, difference_in_means
from uplift.metrics.ranking import Ranking


def _rows(
    rows: int, seed: int, *, share: float = 0.5, effect: float = 0.05, digits: int | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=rows)
    treated = rng.random(rows) < share
    outcome = (rng.random(rows) < np.clip(0.3 + treated * (effect + 0.1 * x), 0, 1)).astype(float)
    return (x if digits is None else np.round(x, digits)), treated, outcome


def _cells(
    score: np.ndarray, treated: np.ndarray, outcome: np.ndarray, weight: np.ndarray | None = None
) -> scores.Cells:
    return Ranking.build(score, treated, outcome, weight).cells


def test_headline_equals_its_closed_form_on_four_rows() -> None:
    # Ranking: treated responder, control non-responder, treated non-responder, control responder.
    score, treated = np.array([4.0, 3, 2, 1]), np.array([True, False, True, False])
    outcome = np.array([1.0, 0, 0, 1])
    cells = _cells(score, treated, outcome)
    # V4 after each row: 1/2, 1/2, 1/2, 0; trapezoids of width 1/4: (1/4 + 1/2 + 1/2 + 1/4) / 4; chord ends at 0.
    assert scores.qini_per_capita(cells) == pytest.approx(0.375)
    assert scores.qini_sklift(cells) == pytest.approx(_sklift(score, treated, outcome)[0], abs=1e-12)


def _sklift(score: np.ndarray, treated: np.ndarray, outcome: np.ndarray) -> tuple[float, float]:
    from sklift.metrics import qini_auc_score, uplift_auc_score

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        arguments = (outcome.astype(int), score, treated.astype(int))
        return qini_auc_score(*arguments), uplift_auc_score(*arguments)


@pytest.mark.parametrize("share", [0.5, 0.85, 0.1])
@pytest.mark.parametrize("effect", [0.05, -0.2, 0.0])
@pytest.mark.parametrize("digits", [None, 1, 0])
def test_qini_and_auuc_equal_scikit_uplift(share: float, effect: float, digits: int | None) -> None:
    for rows in (60, 5_000):
        score, treated, outcome = _rows(rows, 7, share=share, effect=effect, digits=digits)
        cells = _cells(score, treated, outcome)
        qini, auuc = _sklift(score, treated, outcome)
        assert scores.qini_sklift(cells) == pytest.approx(qini, abs=1e-9)
        assert scores.auuc_sklift(cells) == pytest.approx(auuc, abs=1e-9)


@pytest.mark.parametrize("share", [0.1, 0.3, 0.333, 0.95])
def test_uplift_at_k_equals_scikit_uplift_without_ties(share: float) -> None:
    from sklift.metrics import uplift_at_k

    score, treated, outcome = _rows(4_321, 3, share=0.7)
    theirs = uplift_at_k(outcome.astype(int), score, treated.astype(int), strategy="overall", k=share)
    assert scores.uplift_at(_cells(score, treated, outcome), share) == pytest.approx(theirs, abs=1e-12)


METRICS = {
    "qini_per_capita": scores.qini_per_capita,
    "qini_sklift": scores.qini_sklift,
    "auuc_sklift": scores.auuc_sklift,
    "uplift_at_30": lambda cells: scores.uplift_at(cells, 0.3),
}


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), share=st.floats(0.15, 0.85), digits=st.sampled_from([None, 1, 0]))
def test_metrics_do_not_depend_on_row_order_scale_of_score_or_duplication(
    seed: int, share: float, digits: int | None
) -> None:
    score, treated, outcome = _rows(400, seed, share=share, digits=digits)
    base = _cells(score, treated, outcome)
    order = np.random.default_rng(seed).permutation(400)
    for name, metric in METRICS.items():
        value = metric(base)
        assert metric(_cells(score[order], treated[order], outcome[order])) == pytest.approx(
            value, abs=1e-12
        ), name
        assert metric(_cells(np.exp(2 * score), treated, outcome)) == pytest.approx(value, abs=1e-12), name
        doubled = _cells(np.tile(score, 2), np.tile(treated, 2), np.tile(outcome, 2))
        assert metric(doubled) == pytest.approx(value, abs=1e-12), name
        weighted = _cells(score, treated, outcome, np.full(400, 2.0))
        assert metric(weighted) == pytest.approx(value, abs=1e-12), name


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_swapping_the_groups_flips_the_sign_of_the_headline(seed: int) -> None:
    score, treated, outcome = _rows(300, seed)
    forward, back = _cells(score, treated, outcome), _cells(score, ~treated, outcome)
    assert scores.qini_per_capita(back) == pytest.approx(-scores.qini_per_capita(forward), abs=1e-12)


def test_a_constant_score_is_worth_nothing_whatever_the_row_order() -> None:
    _, treated, outcome = _rows(1_000, 0)
    adversarial = np.argsort(-(outcome * np.where(treated, 1, -1)))
    for order in (np.arange(1_000), adversarial):
        cells = _cells(np.zeros(1_000), treated[order], outcome[order])
        for name in ("qini_per_capita", "qini_sklift", "auuc_sklift"):
            assert METRICS[name](cells) == pytest.approx(0, abs=1e-12), name
        assert METRICS["uplift_at_30"](cells) == pytest.approx(cells.ate(), abs=1e-12)


def test_weights_equal_repeated_rows() -> None:
    score, treated, outcome = _rows(500, 4)
    times = np.random.default_rng(0).integers(1, 4, 500)
    weighted = _cells(score, treated, outcome, times.astype(float))
    repeated = _cells(np.repeat(score, times), np.repeat(treated, times), np.repeat(outcome, times))
    assert scores.qini_per_capita(weighted) == pytest.approx(scores.qini_per_capita(repeated), abs=1e-12)


def test_a_negative_average_effect_is_no_special_case() -> None:
    score, treated, outcome = _rows(5_000, 5, effect=-0.2)
    assert _cells(score, treated, outcome).ate() < -0.1
    assert scores.qini_per_capita(_cells(score, treated, outcome)) > 0.005
    assert scores.qini_per_capita(_cells(-score, treated, outcome)) < -0.005


@pytest.mark.parametrize(
    ("score", "treated", "outcome", "message"),
    [
        (np.array([1.0, np.nan]), np.array([True, False]), np.zeros(2), "1 of 2 scores"),
        (np.ones(3), np.ones(3, bool), np.zeros(3), "no control rows"),
        (np.ones(3), np.zeros(3, bool), np.zeros(3), "no treated rows"),
        (np.ones(3), np.ones(2, bool), np.zeros(3), "differ in length"),
    ],
)
def test_what_cannot_be_ranked_is_an_error(
    score: np.ndarray, treated: np.ndarray, outcome: np.ndarray, message: str
) -> None:
    with pytest.raises(EvaluationError, match=message):
        Ranking.build(score, treated, outcome)


def test_a_constant_outcome_is_an_error_not_a_number() -> None:
    score, treated, _ = _rows(100, 0)
    with pytest.raises(EvaluationError, match="outcome is constant"):
        scores.qini_sklift(_cells(score, treated, np.zeros(100)))
    with pytest.raises(EvaluationError, match="holds no control rows"):
        scores.uplift_at(_cells(-treated.astype(float), ~treated, np.zeros(100)), 0.1)


@pytest.mark.slow
@pytest.mark.parametrize("clustered", [False, True])
def test_intervals_of_the_headline_cover_the_truth(clustered: bool) -> None:
    """150 campaigns, 95 % intervals: at least 90 % and at most 99.5 % cover (binomial 3 sigma: 89.7 to 100)."""
    rng = np.random.default_rng(0)
    # The estimand for a fixed score: E over a very large sample of the same process.
    truth = float(
        np.mean(
            [
                scores.qini_per_capita(_cells(*_cluster_rows(200_000, np.random.default_rng(s), 1)))
                for s in range(8)
            ]
        )
    )
    covered = 0
    for _ in range(150):
        size = 3 if clustered else 1
        score, treated, outcome = _cluster_rows(2_400, rng, size)
        ranking = Ranking.build(score, treated, outcome)
        cuts = inference.slice_cuts(ranking)
        if clustered:
            codes = np.repeat(np.arange(800), 3)
            draws = inference.resample_clusters(ranking, cuts, codes, draws=200, rng=rng)
        else:
            draws = inference.resample(ranking.moments(cuts), draws=200, rng=rng)
        se = scores.qini_per_capita(draws).std(ddof=1)
        covered += abs(scores.qini_per_capita(ranking.cells) - truth) < 1.96 * se
    print(f"coverage (clustered={clustered}): {covered / 150:.3f}")
    assert 0.90 <= covered / 150 <= 0.995


def _cluster_rows(
    rows: int, rng: np.random.Generator, size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of `size` per unit: one score and one arm a unit, and outcomes copied within it (the worst case)."""
    units = rows // size
    x, treated = rng.normal(size=units), rng.random(units) < 0.5
    outcome = (rng.random(units) < np.clip(0.3 + treated * (0.05 + 0.1 * x), 0, 1)).astype(float)
    return tuple(np.repeat(part, size) for part in (x, treated, outcome))  # type: ignore[return-value]


def test_resampled_spread_equals_a_row_bootstrap() -> None:
    score, treated, outcome = _rows(3_000, 11)
    outcome = outcome * np.random.default_rng(1).lognormal(3, 1, 3_000)  # money: heavy tail
    ranking = Ranking.build(score, treated, outcome)
    quick = inference.resample(
        ranking.moments(inference.slice_cuts(ranking)), draws=2_000, rng=np.random.default_rng(0)
    )
    rng = np.random.default_rng(2)
    by_rows = []
    for _ in range(600):
        times = rng.poisson(1.0, 3_000).astype(float)
        keep = times > 0
        by_rows.append(scores.qini_per_capita(_cells(score[keep], treated[keep], outcome[keep], times[keep])))
    ratio = scores.qini_per_capita(quick).std() / np.std(by_rows)
    assert 0.9 < ratio < 1.1


def test_average_effect_is_the_difference_in_means_with_neymans_error(toy: Campaign) -> None:
    comparison = compare(toy, "coupon_10")
    outcome = toy.outcome("buy")[comparison.rows].astype(float)
    estimate = difference_in_means(comparison, outcome)
    a, b = outcome[comparison.treated], outcome[~comparison.treated]
    assert estimate.value == pytest.approx(a.mean() - b.mean(), abs=1e-12)
    assert estimate.se == pytest.approx(np.sqrt(a.var(ddof=1) / len(a) + b.var(ddof=1) / len(b)), rel=1e-9)


def test_strata_and_propensities_undo_unequal_assignment() -> None:
    rng = np.random.default_rng(0)
    n = 60_000
    region = rng.integers(0, 3, n)
    share = np.array([0.2, 0.5, 0.8])[region]
    treated = rng.random(n) < share
    base = np.array([0.1, 0.3, 0.6])[region]
    frame = pd.DataFrame({"t": treated.astype(int), "region": region, "x": rng.normal(size=n)})
    frame["y"] = (rng.random(n) < base + 0.05 * treated).astype(int)
    frame["p"] = np.where(treated, share, 1 - share)
    roles = {"treatment": "t", "control": 0, "chain": ["y"]}
    naive, strata, propensity = (
        difference_in_means(compare(campaign, "1"), campaign.outcome("y")[compare(campaign, "1").rows])
        for campaign in (
            Campaign.from_frame(frame, **roles, exclude=["p"]),
            Campaign.from_frame(frame, **roles, strata="region", exclude=["p"]),
            Campaign.from_frame(frame, **roles, propensity="p"),
        )
    )
    assert naive.low > 0.1  # badly off: the truth is 0.05
    for estimate in (strata, propensity):
        assert abs(estimate.value - 0.05) < 3 * estimate.se
    by_hand = sum(
        (region == s).mean()
        * (frame["y"][(region == s) & treated].mean() - frame["y"][(region == s) & ~treated].mean())
        for s in range(3)
    )
    assert strata.value == pytest.approx(by_hand, abs=1e-12)
    assert strata.se < naive.se * 1.3


def test_repeated_units_widen_the_interval() -> None:
    frame = toy_frame(2_000)
    copies = pd.concat([frame] * 4, ignore_index=True)
    single, repeated = Campaign.from_frame(frame, **ROLES), Campaign.from_frame(copies, **ROLES)
    one, four = (
        difference_in_means(compare(c, "coupon_5"), c.outcome("buy")[compare(c, "coupon_5").rows])
        for c in (single, repeated)
    )
    assert four.value == pytest.approx(one.value, abs=1e-12)
    assert four.se == pytest.approx(one.se, rel=0.01)  # four copies of a customer are one customer


def _effects(campaign: Campaign, seed: int = 0, name: str = "m", *, calibrated: bool = True) -> Effects:
    rng = np.random.default_rng(seed)
    mu = rng.random((campaign.n_rows, len(campaign.arms), len(campaign.stages))).astype(np.float32)
    return Effects.for_campaign(mu, campaign, model=name, calibrated=calibrated)


def test_models_score_the_same_together_and_apart(toy: Campaign) -> None:
    first, second = _effects(toy, 1, "a"), _effects(toy, 2, "b")
    together = evaluate(toy, {"a": first, "b": second}).scores
    apart = evaluate(toy, {"b": second}).scores
    pd.testing.assert_frame_equal(together[together["model"] == "b"].reset_index(drop=True), apart)


def test_evaluation_names_every_number(toy: Campaign) -> None:
    evaluation = evaluate(toy, {"m": _effects(toy), "rank": _effects(toy, 1, "rank", calibrated=False)})
    metrics = evaluation.to_metrics()
    assert metrics["schema_version"] == 1
    cell = metrics["models"]["m"]["buy"]["coupon_10"]
    assert set(cell) == {
        "qini_per_capita",
        "qini_sklift",
        "auuc_sklift",
        "uplift_at_10",
        "uplift_at_30",
        "autoc",
        "predicted_ate",
        "calibration_slope",
        "calibration_error",
    }
    assert "qini_sklift" not in metrics["models"]["m"]["value"]["coupon_5"]
    assert "predicted_ate" not in metrics["models"]["rank"]["buy"]["coupon_5"]
    assert cell.pop("calibration_error") == {"value": pytest.approx(0.0, abs=0.5), "low": None, "high": None}
    for numbers in cell.values():
        assert numbers["low"] < numbers["value"] < numbers["high"]
    assert set(metrics["ate"]) == {"click", "buy", "value"}
    for metric in metrics["references"]["definitions"]:
        assert describe(metric).formula
    assert evaluation.best("buy") == "m"


def test_the_perfect_reference_is_not_beaten(toy: Campaign) -> None:
    evaluation = evaluate(toy, _effects(toy))
    merged = evaluation.scores.merge(evaluation.references, on=["stage", "arm", "metric"])
    bounded = merged[merged["perfect"].notna()]
    assert len(bounded) == 2 * (3 + 3 + 1)
    assert (bounded["value"] <= bounded["perfect"]).all()


def test_effects_of_other_rows_are_refused(toy: Campaign) -> None:
    effects = _effects(toy)
    order = np.random.default_rng(0).permutation(toy.n_rows)
    with pytest.raises(EvaluationError, match="another order"):
        evaluate(toy, effects.take(order))
    with pytest.raises(EvaluationError, match="cover 10 rows"):
        evaluate(toy, effects.take(np.arange(10)))
    again = effects.take(order).for_units(toy.unit_ids)
    assert np.array_equal(again.tau_all, effects.tau_all)


def test_policy_value_of_treating_everybody_is_the_average_effect(toy: Campaign) -> None:
    everybody = np.full(toy.n_rows, 2)
    value = policy_value(toy, everybody, stage="buy", margin=10.0)
    comparison = compare(toy, "coupon_10")
    ate = difference_in_means(comparison, toy.outcome("buy")[comparison.rows])
    assert value.value == pytest.approx(10 * toy.n_rows * ate.value)
    assert value.se == pytest.approx(10 * toy.n_rows * ate.se)
    nobody = policy_value(toy, np.zeros(toy.n_rows, int), stage="buy", margin=10.0)
    assert (nobody.value, nobody.se, nobody.cost) == (0.0, 0.0, 0.0)


def test_a_scaled_policy_value_is_the_same_per_customer(toy: Campaign) -> None:
    value = policy_value(toy, np.full(toy.n_rows, 1), stage="buy", margin=10.0)
    doubled = value.scaled(2.0)
    for name in ("value", "low", "high", "se", "cost"):
        assert getattr(doubled, name) == 2 * getattr(value, name)
    assert doubled.rows == value.rows
    assert doubled.arms["coupon_5"]["value"] == 2 * value.arms["coupon_5"]["value"]


def test_policy_value_agrees_with_the_simulators_truth() -> None:
    from uplift import simulate

    simulation = simulate(rows=60_000, seed=3)
    campaign, truth = simulation.campaign(), simulation.true_effects()
    plan = np.argmax(truth.tau_all[:, :, campaign.stage_index("conversion")], axis=1)
    value = policy_value(campaign, plan, stage="conversion", costs=campaign.costs)
    exact = float(np.take_along_axis(truth.tau_all[:, :, 2], plan[:, None], 1).sum())
    assert abs(value.value - exact) < 3 * value.se
    assert value.se < 0.2 * exact


def test_curves_end_at_the_average_effect(toy: Campaign) -> None:
    evaluation = evaluate(toy, _effects(toy))
    for (_, stage, arm), curve in evaluation.curves.items():
        row = evaluation.ate[(evaluation.ate["stage"] == stage) & (evaluation.ate["arm"] == arm)].iloc[0]
        assert curve.gain[-1] == pytest.approx(row["value"], abs=1e-9)
        assert curve.lift[-1] == pytest.approx(row["value"], abs=1e-9)
        assert curve.gain[0] == curve.lift[0] == 0
        assert (curve.gain_low <= curve.gain).all()
        assert (curve.gain <= curve.gain_high).all()


def test_every_tenth_of_the_ranking_is_reported(toy: Campaign) -> None:
    groups = evaluate(toy, _effects(toy)).groups
    one = groups[(groups["stage"] == "buy") & (groups["arm"] == "coupon_5")]
    assert one["group"].tolist() == list(range(1, 11))
    assert one["predicted"].is_monotonic_decreasing
    assert one["rows"].sum() == (toy.arm_codes != 2).sum()


@pytest.mark.parametrize(
    ("rows", "share", "rate"), [(5_000, 0.01, 0.1), (1_000, 0.03, 0.1), (300, 0.1, 0.1), (2_000, 0.5, 0.002)]
)
def test_small_groups_lose_intervals_not_the_evaluation(rows: int, share: float, rate: float) -> None:
    for seed in range(4):
        rng = np.random.default_rng(seed)
        frame = pd.DataFrame(
            {"t": (rng.random(rows) < share).astype(int), "y": (rng.random(rows) < rate).astype(int)}
        )
        frame["x"] = rng.normal(size=rows)
        campaign = Campaign.from_frame(frame, treatment="t", control=0, chain=["y"])
        evaluation = evaluate(campaign, _effects(campaign, seed))
        assert np.isfinite(evaluation.scores["value"]).all()
        for row in evaluation.scores.itertuples():
            assert np.isnan(row.se) or 0 < row.se < (50 if row.metric == "calibration_slope" else 5), row
            if np.isnan(row.se) and row.metric != "calibration_error":  # which has none anywhere
                assert any(row.metric in note for note in evaluation.notes)
        evaluation.to_metrics()


def test_policy_cost_is_weighted_like_its_value() -> None:
    from uplift import CostRule

    rng = np.random.default_rng(0)
    n = 60_000
    region = rng.integers(0, 3, n)
    treated = rng.random(n) < np.array([0.2, 0.5, 0.8])[region]
    frame = pd.DataFrame({"t": treated.astype(int), "region": region})
    frame["y"] = (rng.random(n) < np.array([0.1, 0.3, 0.6])[region]).astype(int)
    campaign = Campaign.from_frame(frame, treatment="t", control=0, chain=["y"], strata="region")
    costs = {"1": CostRule(on="y", amount=2.0)}
    value = policy_value(campaign, np.ones(n, int), stage="y", costs=costs)
    assert value.cost == pytest.approx(2 * n * (0.1 + 0.3 + 0.6) / 3, rel=0.02)
