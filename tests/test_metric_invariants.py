"""Invariants that catch most published bugs, for every ranking metric, over rows that hypothesis makes up."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from conftest import ROLES, toy_frame
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from uplift import Campaign, CostRule, Effects, allocate, evaluate
from uplift.metrics import scores
from uplift.metrics.calibration import calibration_slope
from uplift.metrics.influence import placebo_error, rate_influence, standard_error
from uplift.metrics.ranking import Ranking

Rows = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]
Metric = Callable[[Ranking], float]

LINEAR: dict[str, Metric] = {
    "qini_per_capita": lambda ranking: float(scores.qini_per_capita(ranking.cells)),
    "autoc": lambda ranking: rate_influence(ranking, "autoc").value,
    "uplift_at_50": lambda ranking: float(scores.uplift_at(ranking.cells, 0.5)),
    "ate": lambda ranking: float(ranking.cells.ate()),
}
"""Metrics that are a difference between the arms."""
SQUARE: dict[str, Metric] = {
    "error of the qini": lambda ranking: standard_error(rate_influence(ranking).rows),
    "error of autoc": lambda ranking: standard_error(rate_influence(ranking, "autoc").rows),
    "error of the placebo": placebo_error,
}
RATIO: dict[str, Metric] = {
    "qini_sklift": lambda ranking: float(scores.qini_sklift(ranking.cells)),
    "auuc_sklift": lambda ranking: float(scores.auuc_sklift(ranking.cells)),
}
ALL = LINEAR | SQUARE | RATIO


@st.composite
def rows(draw: st.DrawFn, *, weighted: bool | None = None, money: bool = False) -> Rows:
    """A dozen to a few hundred rows, with and without ties and weights, both arms in both halves of the ranking."""
    n = draw(st.integers(12, 300))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    score = rng.normal(size=n) * 10.0 ** draw(st.integers(-12, 12))
    levels = draw(st.sampled_from([0, 2, 5, 50]))
    if levels:
        score = np.floor(levels * rng.random(n)) / 8
    treated = rng.random(n) < draw(st.floats(0.2, 0.8))
    outcome = (rng.random(n) < draw(st.floats(0.1, 0.9)) - treated * draw(st.floats(-0.3, 0.3))).astype(float)
    if money:
        outcome *= rng.lognormal(0, 1, n)
    with_weight = draw(st.booleans()) if weighted is None else weighted
    top = np.argsort(-score, kind="stable")[: n // 2]
    assume(2 < treated[top].sum() < len(top) - 2)
    assume(0 < outcome.sum() < n)
    assume(0 < treated.sum() < n)
    return score, treated, outcome, rng.lognormal(0, 0.5, n) if with_weight else None


def _taken(given_rows: Rows, order: np.ndarray) -> Rows:
    score, treated, outcome, weight = given_rows
    return score[order], treated[order], outcome[order], None if weight is None else weight[order]


def _all_equal(one: Ranking, other: Ranking, metrics: dict[str, Metric]) -> None:
    for name, metric in metrics.items():
        assert metric(one) == pytest.approx(metric(other), rel=1e-9, abs=1e-12), name


@settings(max_examples=25, deadline=None)
@given(rows(weighted=False), st.randoms(use_true_random=False))
def test_the_order_of_the_rows_says_nothing(given_rows: Rows, random) -> None:
    order = np.array(random.sample(range(len(given_rows[0])), len(given_rows[0])))
    _all_equal(Ranking.build(*given_rows), Ranking.build(*_taken(given_rows, order)), ALL)


@settings(max_examples=25, deadline=None)
@given(rows(), st.sampled_from(["cube", "rank", "scale", "float32"]))
def test_only_the_order_of_the_scores_counts(given_rows: Rows, change: str) -> None:
    score, *others = given_rows
    ranks = np.unique(score, return_inverse=True)[1]
    changed = {
        "cube": ranks.astype(float) ** 3 - 1e6, "rank": ranks.astype(np.int64), "scale": 1e-300 * (ranks + 1.0),
        "float32": ranks.astype(np.float32) / 7,
    }[change]  # fmt: skip
    _all_equal(Ranking.build(score, *others), Ranking.build(changed, *others), ALL)


@settings(max_examples=25, deadline=None)
@given(rows(money=True), st.integers(2, 4))
def test_copies_of_all_rows_change_no_value_and_shrink_the_error(given_rows: Rows, times: int) -> None:
    one = Ranking.build(*given_rows)
    many = Ranking.build(*(None if part is None else np.repeat(part, times) for part in given_rows))
    # The top half is a whole number of rows, as in scikit-uplift: of an odd number a copied row more.
    odd = len(given_rows[0]) % 2
    _all_equal(one, many, {name: m for name, m in LINEAR.items() if not (odd and name == "uplift_at_50")})
    for name in ("error of the qini", "error of autoc"):
        assert SQUARE[name](many) == pytest.approx(SQUARE[name](one) / np.sqrt(times), rel=1e-9), name


@settings(max_examples=25, deadline=None)
@given(rows(weighted=True, money=True), st.floats(1e-3, 1e3))
def test_the_scale_of_the_weights_says_nothing(given_rows: Rows, scale: float) -> None:
    score, treated, outcome, weight = given_rows
    assert weight is not None
    scaled = Ranking.build(score, treated, outcome, scale * weight)
    metrics = {name: metric for name, metric in LINEAR.items() if name != "uplift_at_50"} | SQUARE
    _all_equal(Ranking.build(*given_rows), scaled, metrics)


@settings(max_examples=25, deadline=None)
@given(rows(money=True))
def test_swapping_the_arms_flips_every_sign(given_rows: Rows) -> None:
    score, treated, outcome, weight = given_rows
    one, swapped = Ranking.build(*given_rows), Ranking.build(score, ~treated, outcome, weight)
    for name, metric in LINEAR.items():
        assert metric(swapped) == pytest.approx(-metric(one), rel=1e-9, abs=1e-12), name
    _all_equal(one, swapped, SQUARE)


@settings(max_examples=25, deadline=None)
@given(rows(money=True))
def test_turning_the_ranking_round_flips_the_headline(given_rows: Rows) -> None:
    score, *others = given_rows
    turned = LINEAR["qini_per_capita"](Ranking.build(-score, *others))
    assert turned == pytest.approx(-LINEAR["qini_per_capita"](Ranking.build(*given_rows)), abs=1e-12)


@settings(max_examples=25, deadline=None)
@given(rows(money=True), st.floats(0.01, 1e4))
def test_money_in_another_currency_is_the_same_value(given_rows: Rows, rate: float) -> None:
    score, treated, outcome, weight = given_rows
    one, other = Ranking.build(*given_rows), Ranking.build(score, treated, rate * outcome, weight)
    for name, metric in (LINEAR | SQUARE).items():
        assert metric(other) == pytest.approx(rate * metric(one), rel=1e-9, abs=1e-12 * rate), name


@settings(max_examples=25, deadline=None)
@given(
    rows(), st.sampled_from([0.0, -0.0, 0.25, -1e300]), st.sampled_from(["given", "adversarial", "friendly"])
)
def test_a_constant_score_is_worth_nothing_in_any_order(given_rows: Rows, score: float, order: str) -> None:
    _, treated, outcome, weight = given_rows
    gain = np.where(treated, 1, -1) * outcome
    how = {"given": np.arange(len(gain)), "adversarial": np.argsort(gain), "friendly": np.argsort(-gain)}[
        order
    ]
    ranking = Ranking.build(*_taken((np.full(len(gain), score), treated, outcome, weight), how))
    for name in ("qini_per_capita", "autoc"):
        assert LINEAR[name](ranking) == pytest.approx(0, abs=1e-12), name
    for name, metric in RATIO.items():
        assert metric(ranking) == pytest.approx(0, abs=1e-12), name
    assert LINEAR["uplift_at_50"](ranking) == pytest.approx(LINEAR["ate"](ranking), abs=1e-12)


@settings(max_examples=25, deadline=None)
@given(rows(weighted=False))
def test_no_ranking_beats_the_perfect_one_or_loses_to_the_worst(given_rows: Rows) -> None:
    _, treated, outcome, _ = given_rows
    gain = np.where(treated, 1 / treated.sum(), -1 / (~treated).sum()) * outcome
    best, worst = (
        LINEAR["qini_per_capita"](Ranking.build(sign * gain, treated, outcome)) for sign in (1, -1)
    )
    assert worst - 1e-12 <= LINEAR["qini_per_capita"](Ranking.build(*given_rows)) <= best + 1e-12


@settings(max_examples=25, deadline=None)
@given(rows(money=True), st.floats(0.1, 10), st.floats(-5, 5))
def test_a_calibration_slope_falls_as_predictions_spread(
    given_rows: Rows, scale: float, shift: float
) -> None:
    score, treated, outcome, weight = given_rows
    assume(np.std(score) > 1e-6 * np.abs(score).max())
    unit = score / np.std(score)
    one, other = (calibration_slope(tau, treated, outcome, weight) for tau in (unit, scale * unit + shift))
    assert other.value == pytest.approx(one.value / scale, rel=1e-6, abs=1e-9)
    assert standard_error(other.influence) == pytest.approx(standard_error(one.influence) / scale, rel=1e-6)


def _evaluated(frame: pd.DataFrame, mu: np.ndarray) -> pd.DataFrame:
    campaign = Campaign.from_frame(frame, **ROLES)
    effects = Effects.for_campaign(mu, campaign, model="m")
    return evaluate(campaign, effects, draws=30).scores


def test_an_evaluation_of_shuffled_rows_is_the_same_intervals_included() -> None:
    frame = toy_frame(1_500)
    mu = np.random.default_rng(0).random((1_500, 3, 3)).astype(np.float32)
    order = np.random.default_rng(1).permutation(1_500)
    pd.testing.assert_frame_equal(
        _evaluated(frame, mu), _evaluated(frame.iloc[order].reset_index(drop=True), mu[order]), rtol=1e-6
    )


def test_effects_that_are_all_negative_send_nobody_a_coupon() -> None:
    rng = np.random.default_rng(0)
    mu = np.stack([np.full(500, 0.5), 0.5 - 0.4 * rng.random(500)], axis=1)[:, :, None].astype(np.float32)
    frame = pd.DataFrame({"t": rng.integers(0, 2, 500), "y": rng.integers(0, 2, 500)})
    campaign = Campaign.from_frame(frame, treatment="t", control=0, chain=["y"])
    effects = Effects.for_campaign(mu, campaign, model="m")
    evaluation = evaluate(campaign, effects, draws=20)
    assert np.isfinite(evaluation.scores["value"]).all()
    chosen = allocate(
        effects, stage="y", margin=10.0, costs={"1": CostRule(on="send", amount=0.1)}, budget=100.0
    )
    assert not chosen.arm_codes.any()
