"""The chain decomposition and the TOC curve: sums, intervals and closed forms."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from uplift.campaign import Campaign
from uplift.metrics.chain import chain_decomposition, logarithmic_parts
from uplift.metrics.ranking import Ranking
from uplift.metrics.toc import toc_curve, toc_with_band


def make_campaign(seed: int, rows: int = 3_000, *, strata: bool = False) -> Campaign:
    """Click and buy, whose rates the coupon moves by known amounts; strata are unequally treated."""
    rng = np.random.default_rng(seed)
    group = rng.integers(0, 2, rows)
    treated = rng.random(rows) < (np.where(group == 1, 0.7, 0.3) if strata else 0.5)
    click = rng.random(rows) < 0.2 + 0.1 * treated + (0.2 * group if strata else 0.0)
    buy = click & (rng.random(rows) < 0.3 + 0.1 * treated)
    frame = pd.DataFrame(
        {
            "t": np.where(treated, "coupon", "none"), "click": click.astype(int), "buy": buy.astype(int),
            "spend": np.where(buy, rng.lognormal(3, 0.5, rows), 0.0), "group": group, "x": rng.normal(size=rows),
        }
    )  # fmt: skip
    return Campaign.from_frame(
        frame, treatment="t", control="none", chain=["click", "buy"], value="spend", strata=["group"] if strata else []
    )  # fmt: skip


def test_parts_and_their_gradient_agree_with_finite_differences() -> None:
    means = np.array([[0.31, 0.12, 4.1], [0.22, 0.07, 3.9]])
    parts, gradient = logarithmic_parts(means)
    assert parts.sum() == pytest.approx(means[0, -1] - means[1, -1], abs=1e-12)
    for group in range(2):
        for stage in range(3):
            step = np.zeros_like(means)
            step[group, stage] = 1e-6
            slope = (logarithmic_parts(means + step)[0] - logarithmic_parts(means - step)[0]) / 2e-6
            np.testing.assert_allclose(gradient[:, group, stage], slope, rtol=1e-5, atol=1e-6)


def test_equal_ends_have_a_gradient_too() -> None:
    means = np.array([[0.3, 0.1], [0.2, 0.1]])
    parts, gradient = logarithmic_parts(means)
    assert parts.sum() == pytest.approx(0.0, abs=1e-12)
    step = np.array([[0.0, 1e-5], [0.0, 0.0]])
    slope = (logarithmic_parts(means + step)[0] - logarithmic_parts(means - step)[0]) / 2e-5
    np.testing.assert_allclose(gradient[:, 0, 1], slope, rtol=1e-4)


@pytest.mark.parametrize("strata", [False, True])
def test_parts_add_up_to_the_effect_that_the_evaluation_reports(strata: bool) -> None:
    from uplift.metrics.average import compare, difference_in_means

    campaign = make_campaign(3, strata=strata)
    parts = chain_decomposition(campaign)
    comparison = compare(campaign, "coupon")
    for stage in campaign.stages[1:]:
        effect = difference_in_means(comparison, campaign.outcome(stage)[comparison.rows])
        assert parts[parts["stage"] == stage]["value"].sum() == pytest.approx(effect.value, abs=1e-9)


def test_intervals_of_the_parts_cover_the_truth_at_their_level() -> None:
    truth = logarithmic_parts(np.array([[0.3, 0.3 * 0.4], [0.2, 0.2 * 0.3]]))[0]
    hits = []
    for seed in range(300):
        rows = chain_decomposition(make_campaign(seed, 2_000))
        rows = rows[rows["stage"] == "buy"]
        hits.append(
            [low <= true <= high for low, high, true in zip(rows["low"], rows["high"], truth, strict=True)]
        )
    share = np.mean(hits, axis=0)
    # 300 draws: 0.95 +- 3 standard errors of 0.0126
    assert (np.abs(share - 0.95) < 0.038).all()


def test_a_stage_that_nobody_reaches_is_not_split() -> None:
    frame = pd.DataFrame({"t": ["a", "b"] * 50, "click": [1, 1] * 50, "buy": [1, 0] * 50, "x": range(100)})
    campaign = Campaign.from_frame(frame, treatment="t", control="b", chain=["click", "buy"])
    assert chain_decomposition(campaign).empty


def test_toc_is_the_effect_among_the_first_less_that_of_all() -> None:
    rng = np.random.default_rng(0)
    score, treated, y = rng.permutation(1_000), rng.random(1_000) < 0.4, rng.normal(size=1_000)
    share, toc = toc_curve(Ranking.build(score, treated, y).cells)
    assert toc[-1] == pytest.approx(0.0, abs=1e-12)
    for k in (100, 437, 900):
        first = np.argsort(-score)[:k]
        t = treated[first]
        expected = y[first][t].mean() - y[first][~t].mean() - (y[treated].mean() - y[~treated].mean())
        assert share[k - 1] == pytest.approx(k / 1_000)
        assert toc[k - 1] == pytest.approx(expected)


def test_band_of_the_toc_covers_the_truth_at_its_level() -> None:
    from uplift.metrics import inference

    grid = np.array([0.2, 0.5, 0.8])
    hits = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        x = rng.random(1_500)
        treated = rng.random(1_500) < 0.5
        y = rng.normal(size=1_500) + treated * x  # effect among the first q of x: 1 - q / 2, of all: 1 / 2
        ranking = Ranking.build(x, treated, y)
        draws = inference.resample(ranking.moments(inference.slice_cuts(ranking)), draws=200, rng=rng)
        _, low, high = toc_with_band(ranking.cells, draws, grid, 1.96)
        hits.append((low <= 0.5 - grid / 2) & (0.5 - grid / 2 <= high))
    assert (np.abs(np.mean(hits, axis=0) - 0.95) < 0.05).all()
