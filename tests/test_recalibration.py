"""Effects pulled in to the size that randomised rows support."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import uplift
from uplift.errors import EvaluationError
from uplift.metrics import recalibration


@pytest.fixture(scope="module")
def world():
    return uplift.simulate(rows=60_000, seed=3)


def noisy(effects: uplift.Effects, ratio: float, seed: int = 0) -> uplift.Effects:
    """Predictions whose error has `ratio` times the spread of the effects."""
    rng = np.random.default_rng(seed)
    spread = effects.tau_all.std(axis=0, keepdims=True)
    tau = effects.tau_all + ratio * spread * rng.standard_normal(effects.tau_all.shape).astype(np.float32)
    return replace(effects, tau_all=tau.astype(np.float32))


def test_the_slope_of_noisy_effects_is_signal_over_signal_plus_noise(world):
    """Regression towards the mean: with independent errors of the spread r the slope is 1 / (1 + r^2)."""
    found = recalibration(world.campaign(), noisy(world.effects, 1.0), pooled=False)
    z = (found.slope[1:] - 0.5) / found.se[1:]
    assert np.abs(z).max() < 4
    pooled = recalibration(world.campaign(), noisy(world.effects, 1.0))
    assert np.abs((pooled.slope[1:] - 0.5) / pooled.se[1:]).max() < 4
    assert (pooled.se[1:] <= found.se[1:]).all()
    assert pooled.se[1, 1] < 0.15


def test_true_effects_are_left_alone_within_the_noise(world):
    found = recalibration(world.campaign(), world.effects)
    assert (np.abs(found.slope[1:] - 1) < 4 * found.se[1:]).all()


def test_pulled_in_effects_are_nearer_to_the_truth_and_keep_their_mean_and_order(world):
    half = np.arange(len(world.effects)) < 30_000
    wild = noisy(world.effects, 1.5)
    correction = recalibration(world.campaign().take(half), wild.take(half))
    rest, truth = wild.take(~half), world.effects.take(~half)
    mended = correction.apply(rest)
    for stage in ("click", "conversion"):
        for arm in rest.treated_arms:
            before = np.mean((rest.tau(stage, arm) - truth.tau(stage, arm)) ** 2)
            after = np.mean((mended.tau(stage, arm) - truth.tau(stage, arm)) ** 2)
            assert after < 0.75 * before
            assert np.corrcoef(mended.tau(stage, arm), rest.tau(stage, arm))[0, 1] > 0.999
            assert abs(mended.tau(stage, arm).mean() - rest.tau(stage, arm).mean()) < 0.002


def test_outcomes_follow_the_uplifts_and_stay_possible(world):
    mended = recalibration(world.campaign(), noisy(world.effects, 2.0)).apply(noisy(world.effects, 2.0))
    chain = slice(0, len(mended.chain))
    assert (mended.mu_all >= 0).all()
    assert (mended.mu_all[..., chain] <= 1).all()
    expected = np.clip(mended.mu_all[:, :1, chain] + mended.tau_all[:, :, chain], 0, 1)
    np.testing.assert_allclose(mended.mu_all[:, :, chain], expected, atol=1e-6)
    assert (mended.tau_all[:, 0] == 0).all()


def test_intervals_move_with_their_uplifts(world):
    wild = noisy(world.effects, 1.0)
    width = np.full_like(wild.tau_all, 0.1)
    width[:, 0] = 0
    wild = replace(wild, low_all=wild.tau_all - width, high_all=wild.tau_all + width, level=0.9)
    found = recalibration(world.campaign(), wild)
    mended = found.apply(wild)
    narrower = (mended.high_all - mended.low_all)[0, 1:] / 0.2
    np.testing.assert_allclose(narrower, found.factor[1:], atol=1e-4)


def test_constant_effects_and_scores_are_told_apart(world):
    flat = replace(world.effects, tau_all=np.zeros_like(world.effects.tau_all))
    found = recalibration(world.campaign(), flat)
    assert (found.factor == 1).all()
    assert np.isnan(found.se).all()
    with pytest.raises(EvaluationError, match="ranking scores"):
        recalibration(world.campaign(), replace(world.effects, calibrated=False))
    with pytest.raises(EvaluationError, match="of the same model"):
        found.apply(uplift.simulate(rows=200, arms=1).effects)
