"""Metrics against known effects: by hand, by the curve itself, and at the ends of their range."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import rankdata

from uplift.errors import EvaluationError
from uplift.metrics.ranking import Cells
from uplift.metrics.scores import area_above_chord
from uplift.metrics.truth import (
    _midranks,
    ate_error,
    effect_correlation,
    oracle_qini_share,
    pehe,
    plan_sum,
    true_qini,
)

TRUE = np.array([[0.4, 0.0], [0.2, 0.1], [0.0, 0.2], [-0.2, 0.5]])


def test_errors_by_hand() -> None:
    predicted = TRUE + np.array([[0.1, 0.0], [-0.1, 0.0], [0.3, 0.2], [-0.3, 0.2]])
    # squares 0.01, 0.01, 0.09, 0.09 and 0, 0, 0.04, 0.04 over eight cells; mean errors 0 and 0.1
    assert pehe(predicted, TRUE) == pytest.approx((0.28 / 8) ** 0.5)
    assert ate_error(predicted, TRUE) == pytest.approx(0.05)
    assert effect_correlation(TRUE * [2.0, -3.0], TRUE) == pytest.approx(0.0)
    assert effect_correlation(TRUE * 7 + 1, TRUE) == pytest.approx(1.0)


def test_stages_are_scored_side_by_side() -> None:
    rng = np.random.default_rng(0)
    predicted, true = rng.normal(size=(2, 50, 3, 2))
    for metric in (pehe, ate_error, effect_correlation, oracle_qini_share):
        together = metric(predicted, true)
        assert together.shape == (2,)
        apart = [metric(predicted[..., stage], true[..., stage]) for stage in range(2)]
        np.testing.assert_allclose(together, apart)


def test_qini_of_three_units_by_hand() -> None:
    # Order 2, 1, 3 of gains 0.6, 0.3, 0: the curve is 0, 0.1, 0.3, 0.3 at q = 0, 1/3, 2/3, 1; its area
    # (0.05 + 0.2 + 0.3) / 3, the chord's 0.15. By the truth it is 0, 0.2, 0.3, 0.3.
    true = np.array([[0.6], [0.3], [0.0]])
    score = np.array([[2.0], [3.0], [1.0]])
    assert true_qini(score, true) == pytest.approx((0.05 + 0.2 + 0.3) / 3 - 0.15)
    assert true_qini(true, true) == pytest.approx((0.1 + 0.25 + 0.3) / 3 - 0.15)
    assert oracle_qini_share(score, true) == pytest.approx(0.5)


@pytest.mark.parametrize("levels", [3, 10_000])
def test_qini_is_the_area_between_the_true_gain_curve_and_its_chord(levels: int) -> None:
    """Against the curve itself, ties collapsed, as the evaluation of a campaign draws it."""
    rng = np.random.default_rng(levels)
    score, true = rng.integers(0, levels, 200).astype(float), rng.normal(0.1, 1.0, 200)
    descending = np.unique(score)[::-1]
    reached = score[:, None] >= descending
    share, gain = reached.mean(0), (reached * true[:, None]).mean(0)
    assert true_qini(score[:, None], true[:, None])[0] == pytest.approx(area_above_chord(share, gain))


def test_true_qini_is_what_the_estimate_of_a_randomised_campaign_tends_to() -> None:
    """Every unit once in each arm, with its own expected outcome: the headline metric has no noise then."""
    from uplift.metrics.scores import qini_per_capita

    rng = np.random.default_rng(1)
    score, control, tau = rng.normal(size=30), rng.random(30), rng.normal(size=30)
    order = np.argsort(-score)
    counts = np.arange(1.0, 31.0)
    cells = Cells(counts, counts, np.cumsum((control + tau)[order]), np.cumsum(control[order]))
    assert true_qini(score[:, None], tau[:, None])[0] == pytest.approx(float(qini_per_capita(cells)))


def test_the_share_is_one_for_the_truth_minus_one_for_its_reverse_and_zero_for_a_constant() -> None:
    assert oracle_qini_share(TRUE**3, TRUE) == pytest.approx(1.0)
    assert oracle_qini_share(-TRUE, TRUE) == pytest.approx(-1.0)
    assert oracle_qini_share(np.full_like(TRUE, 0.1), TRUE) == 0
    assert effect_correlation(np.full_like(TRUE, 0.1), TRUE) == 0


def test_the_order_of_the_units_does_not_matter_even_with_ties() -> None:
    rng = np.random.default_rng(2)
    score, true = rng.integers(0, 5, (100, 2)).astype(float), rng.normal(size=(100, 2))
    shuffled = rng.permutation(100)
    np.testing.assert_allclose(
        oracle_qini_share(score[shuffled], true[shuffled]), oracle_qini_share(score, true)
    )


def test_midranks_equal_scipys() -> None:
    values = np.random.default_rng(3).integers(0, 6, (40, 3, 2)).astype(float)
    np.testing.assert_array_equal(_midranks(values), rankdata(values, axis=0))


def test_a_plan_is_worth_the_truth_of_the_arms_it_gives() -> None:
    amounts = np.array([[0.0, 1.0, 5.0], [0.0, 2.0, 3.0]])
    assert plan_sum(amounts, [2, 0]) == 5.0
    assert plan_sum(amounts, np.array([1, 2], np.int8)) == 4.0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: pehe(TRUE, TRUE[:2]), r"shapes \(4, 2\) and \(2, 2\)"),
        (lambda: pehe(TRUE[:, 0], TRUE[:, 0]), r"\[unit, arm"),
        (lambda: ate_error(TRUE[:0], TRUE[:0]), "no units"),
        (lambda: oracle_qini_share(TRUE, TRUE * 0), "same true uplift"),
        (lambda: effect_correlation(TRUE, TRUE * 0), "same true uplift"),
        (lambda: plan_sum(TRUE, [0]), "covers 1 units, the truth 4"),
    ],
)
def test_what_cannot_be_compared_is_refused(call, message) -> None:
    with pytest.raises(EvaluationError, match=message):
        call()
