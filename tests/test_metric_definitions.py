"""Other libraries' definitions to the last digits, rates and their influence, power, and paired comparisons."""

from __future__ import annotations

import dataclasses
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uplift import Campaign, Effects, evaluate
from uplift.errors import EvaluationError
from uplift.metrics import compatible, scores
from uplift.metrics.calibration import calibration_slope
from uplift.metrics.influence import covariance, placebo_error, rate_influence, standard_error
from uplift.metrics.power import detectable, rows_for_qini
from uplift.metrics.ranking import Ranking

Rows = tuple[np.ndarray, np.ndarray, np.ndarray]


def _rows(
    rows: int, seed: int, *, share: float = 0.5, effect: float = 0.05, digits: int | None = None
) -> Rows:
    """Score, treatment (0/1), outcome (0/1)."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=rows)
    treated = (rng.random(rows) < share).astype(int)
    outcome = (rng.random(rows) < np.clip(0.3 + treated * (effect + 0.1 * x), 0, 1)).astype(int)
    return (x if digits is None else np.round(x, digits)), treated, outcome


CASES = [(0.5, 0.05, None), (0.85, 0.05, 1), (0.5, -0.2, None), (0.1, 0.3, 0), (0.85, -0.1, 0)]


@pytest.mark.parametrize(("share", "effect", "digits"), CASES)
def test_scikit_uplift_is_reproduced(share: float, effect: float, digits: int | None) -> None:
    from sklift import metrics as sklift

    for rows in (300, 20_000):
        x, t, y = _rows(rows, 3, share=share, effect=effect, digits=digits)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pairs = [
                (compatible.sklift_qini_auc_score(y, x, t), sklift.qini_auc_score(y, x, t)),
                (compatible.sklift_uplift_auc_score(y, x, t), sklift.uplift_auc_score(y, x, t)),
            ]
            if effect > 0:
                ours = compatible.sklift_qini_auc_score(y, x, t, negative_effect=False)
                pairs.append((ours, sklift.qini_auc_score(y, x, t, negative_effect=False)))
            for strategy in ("overall", "by_group"):
                for k in (0.1, 0.3, 0.77):
                    ours = compatible.sklift_uplift_at_k(y, x, t, strategy=strategy, k=k)
                    pairs.append((ours, sklift.uplift_at_k(y, x, t, strategy=strategy, k=k)))
                if rows > 1_000:  # with fewer, a bin may lack an arm
                    ours = compatible.sklift_weighted_average_uplift(y, x, t, strategy=strategy)
                    pairs.append((ours, sklift.weighted_average_uplift(y, x, t, strategy=strategy)))
        for ours, theirs in pairs:
            assert ours == pytest.approx(theirs, abs=1e-9, rel=1e-9)


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize(("share", "effect", "digits"), CASES)
def test_causalml_is_reproduced_ties_in_its_own_order(
    share: float, effect: float, digits: int | None, normalize: bool
) -> None:
    from causalml.metrics import auuc_score, qini_score

    for rows, scale in ((300, 1.0), (20_000, 37.5)):  # the second outcome is money
        x, t, y = _rows(rows, 4, share=share, effect=effect, digits=digits)
        frame = pd.DataFrame({"m": x, "y": scale * y, "w": t})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            auuc = auuc_score(frame, outcome_col="y", treatment_col="w", normalize=normalize)["m"]
            qini = qini_score(frame, outcome_col="y", treatment_col="w", normalize=normalize)["m"]
        ours = compatible.causalml_auuc_score(scale * y, x, t, normalize=normalize)
        assert ours == pytest.approx(auuc, rel=1e-9)
        ours = compatible.causalml_qini_score(scale * y, x, t, normalize=normalize)
        assert ours == pytest.approx(qini, rel=1e-9)


def test_ydf_differs_from_the_headline_by_half_the_average_effect() -> None:
    x, t, y = _rows(5_000, 5, share=0.3, digits=1)
    weight = np.random.default_rng(0).lognormal(size=len(x))
    cells = Ranking.build(x, t, y, weight).cells
    assert compatible.ydf_auuc(y, x, t, weight) == pytest.approx(
        scores.qini_per_capita(cells) + cells.ate() / 2, abs=1e-12
    )


def test_grf_rates_by_the_letter_of_their_definition() -> None:
    rng = np.random.default_rng(6)
    gamma, priority = rng.normal(size=400), rng.integers(0, 40, 400)
    shared = pd.Series(gamma).groupby(priority).transform("mean").to_numpy()
    order = np.argsort(-priority, kind="stable")
    toc = [shared[order[:k]].mean() - gamma.mean() for k in range(1, 401)]
    assert compatible.grf_rate(gamma, priority) == pytest.approx(np.mean(toc))
    share = np.arange(1, 401) / 400
    assert compatible.grf_rate(gamma, priority, target="QINI") == pytest.approx(np.mean(share * toc))
    doubled = compatible.grf_rate(np.tile(gamma, 2), np.tile(priority, 2), target="AUTOC")
    weighted = compatible.grf_rate(gamma, priority, weight=np.full(400, 2.0))
    assert weighted == pytest.approx(compatible.grf_rate(gamma, priority))
    assert doubled == pytest.approx(weighted, abs=0.05)  # the sum over q is finer


def test_rates_are_those_of_grf_with_inverse_propensity_scores() -> None:
    # Without outcome models grf's scores are +- y n / n_arm; ours is the integral over q, theirs a sum of n steps.
    x, t, y = _rows(20_000, 7, share=0.3, digits=2)
    n_t = t.sum()
    gamma = np.where(t == 1, y * len(t) / n_t, -y * len(t) / (len(t) - n_t))
    ranking = Ranking.build(x, t, y)
    assert rate_influence(ranking, "qini").value == pytest.approx(
        compatible.grf_rate(gamma, x, target="QINI"), abs=2e-5
    )
    assert rate_influence(ranking, "autoc").value == pytest.approx(
        compatible.grf_rate(gamma, x, target="AUTOC"), abs=2e-4
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: compatible.sklift_qini_auc_score([0, 2, 1], [1, 2, 3], [0, 1, 1]), "1 of 3 values of outcome"),
        (lambda: compatible.causalml_qini_score([0, 1, 1], [1, 2, 3], [1, 1, 1]), "no control rows"),
        (lambda: compatible.causalml_qini_score([0, 1], [1, 2, 3], [1, 1, 0]), "differ in length"),
        (lambda: compatible.sklift_uplift_at_k([0, 1, 1], [1, 2, 3], [0, 1, 1], k=0.4), "no control rows"),
        (lambda: compatible.sklift_uplift_at_k([0, 1, 1], [1, 2, 3], [0, 1, 1], k=3), "k is 3"),
        (lambda: compatible.causalml_auuc_score([1, 1, 1], [1, 2, 3], [0, 1, 1]), "average effect is 0"),
        (
            lambda: compatible.sklift_qini_auc_score([1, 0, 0], [1, 2, 3], [0, 1, 1], negative_effect=False),
            "average effect is negative",
        ),
        (lambda: compatible.sklift_weighted_average_uplift([1, 0, 0], [1, 2, 3], [0, 1, 1], bins=2), "no treated"),
        (lambda: compatible.grf_rate([1.0, np.nan], [1, 2]), "finite"),
    ],
)  # fmt: skip
def test_what_a_library_leaves_as_nan_or_crashes_on_is_a_sentence(call, message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        call()


# ---------------------------------------------------------------- influence


@pytest.mark.parametrize("digits", [None, 1, 0])
@pytest.mark.parametrize("weighting", ["qini", "autoc"])
def test_influence_is_the_derivative_by_a_rows_weight(weighting: str, digits: int | None) -> None:
    x, t, y = _rows(500, 8, share=0.3, digits=digits)
    weight = np.random.default_rng(1).lognormal(0, 0.5, 500)
    money = y * np.random.default_rng(2).lognormal(3, 1, 500)
    found = rate_influence(Ranking.build(x, t, money, weight), weighting)
    assert abs(found.rows.sum()) < 1e-9
    scale = np.abs(found.rows).max()
    for row in range(0, 500, 50):
        values = []
        for step in (1e-5, -1e-5):
            moved = weight.copy()
            moved[row] *= 1 + step
            values.append(rate_influence(Ranking.build(x, t, money, moved), weighting).value)
        slope = (values[0] - values[1]) / 2e-5
        # The slope of -1 - log u is taken in the middle of each group: exact for the headline only.
        assert slope == pytest.approx(found.rows[row], abs=scale * (1e-6 if weighting == "qini" else 0.02))


@given(st.integers(0, 10_000), st.sampled_from([None, 1, 0]))
@settings(max_examples=20, deadline=None)
def test_the_rate_of_the_headline_is_the_headline(seed: int, digits: int | None) -> None:
    x, t, y = _rows(200, seed, share=0.4, digits=digits)
    weight = np.random.default_rng(seed).lognormal(size=200)
    ranking = Ranking.build(x, t, y, weight)
    assert rate_influence(ranking).value == pytest.approx(
        float(scores.qini_per_capita(ranking.cells)), abs=1e-12
    )


@pytest.mark.parametrize("weighting", ["qini", "autoc"])
def test_standard_errors_are_the_spread_over_repetitions(weighting: str) -> None:
    found = [rate_influence(Ranking.build(*_rows(2_000, seed)), weighting) for seed in range(300)]
    spread = np.std([one.value for one in found])
    assert np.mean([standard_error(one.rows) for one in found]) == pytest.approx(spread, rel=0.1)


def test_paired_errors_are_the_spread_of_differences_over_repetitions() -> None:
    differences, errors, apart = [], [], []
    for seed in range(300):
        x, t, y = _rows(2_000, seed)
        other = x + 0.5 * np.random.default_rng(10_000 + seed).normal(size=len(x))
        pair = [rate_influence(Ranking.build(score, t, y)) for score in (x, other)]
        both = covariance(np.stack([one.rows for one in pair]))
        differences.append(pair[0].value - pair[1].value)
        errors.append(np.sqrt(both[0, 0] + both[1, 1] - 2 * both[0, 1]))
        apart.append(np.sqrt(both[0, 0] + both[1, 1]))
    assert np.mean(errors) == pytest.approx(np.std(differences), rel=0.1)
    assert np.mean(errors) < 0.75 * np.mean(apart)  # what pairing is worth


def test_clustered_errors_count_a_unit_once() -> None:
    x, t, y = _rows(1_000, 9)
    found = rate_influence(Ranking.build(np.repeat(x, 4), np.repeat(t, 4), np.repeat(y, 4)))
    once = standard_error(rate_influence(Ranking.build(x, t, y)).rows)
    assert standard_error(found.rows, np.repeat(np.arange(1_000), 4)) == pytest.approx(once, rel=1e-9)
    assert standard_error(found.rows) == pytest.approx(once / 2, rel=1e-9)


def test_the_placebo_error_is_that_of_permuted_labels() -> None:
    x, t, y = _rows(1_500, 10, share=0.3, digits=1)
    rng = np.random.default_rng(0)
    values = [
        float(scores.qini_per_capita(Ranking.build(x, rng.permutation(t), y).cells)) for _ in range(1_000)
    ]
    assert np.mean(values) == pytest.approx(0, abs=4 * np.std(values) / np.sqrt(1_000))
    assert placebo_error(Ranking.build(x, t, y)) == pytest.approx(np.std(values), rel=0.08)


# ---------------------------------------------------------------- power


def test_the_detectable_qini_is_found_as_often_as_promised() -> None:
    # Effects that rise linearly along the ranking: tau = 2 b (1/2 - u) has mean 0 and a Qini of b / 6.
    rows, mean = 4_000, 0.2
    plan = detectable(rows, mean=mean, power=0.8)
    slope = 6 * plan.minimum_qini
    found = 0
    for seed in range(400):
        rng = np.random.default_rng(seed)
        u, t = rng.random(rows), rng.random(rows) < 0.5
        y = rng.random(rows) < mean + t * 2 * slope * (0.5 - u)
        one = rate_influence(Ranking.build(-u, t, y.astype(float)))
        found += abs(one.value) > 1.96 * standard_error(one.rows)
    assert found / 400 == pytest.approx(0.8, abs=0.07)


def test_power_knows_its_limits() -> None:
    plan = detectable(10_000, mean=5.0, second_moment=400.0, treated_share=0.9)
    assert plan.minimum_ate == pytest.approx(2.80158 * np.sqrt(375 * (1 / 9_000 + 1 / 1_000)), rel=1e-4)
    assert rows_for_qini(
        plan.minimum_qini, mean=5.0, second_moment=400.0, treated_share=0.9
    ) == pytest.approx(10_000, abs=2)
    for arguments, message in (
        ({"rows": 1, "mean": 0.1}, "at least 2"),
        ({"rows": 100, "mean": 5.0}, "no rate"),
        ({"rows": 100, "mean": 5.0, "second_moment": 20.0}, "at least the mean squared"),
        ({"rows": 100, "mean": 0.1, "power": 1.0}, "power is 1"),
        ({"rows": float("nan"), "mean": 0.1}, "rows is nan"),
        ({"rows": "many", "mean": 0.1}, "rows is 'many'"),
        ({"rows": 100, "mean": "x"}, "mean is 'x'"),
    ):
        with pytest.raises(EvaluationError, match=message):
            detectable(**arguments)
    with pytest.raises(EvaluationError, match="above 0"):
        rows_for_qini(0.0, mean=0.1)


# ---------------------------------------------------------------- calibration, placebo and differences in an evaluation


def _simulated(rows: int, seed: int):
    from uplift.simulation import simulate

    simulation = simulate(rows=rows, arms=2, chain=("click", "conversion"), value=False, seed=seed)
    return simulation.campaign(), simulation.true_effects()


def test_the_slope_of_the_true_effects_is_one_and_scales_inversely() -> None:
    slopes, errors = [], []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        tau = 0.1 + 0.1 * rng.normal(size=3_000)
        t = rng.random(3_000) < 0.3
        y = (rng.random(3_000) < 0.4 + t * tau).astype(float)
        one = calibration_slope(tau, t, y)
        twice = calibration_slope(2 * tau + 5, t, y)
        assert twice.value == pytest.approx(one.value / 2)
        slopes.append(one.value)
        errors.append(standard_error(one.influence))
    assert np.mean(slopes) == pytest.approx(1, abs=3 * np.std(slopes) / np.sqrt(200))
    assert np.mean(errors) == pytest.approx(np.std(slopes), rel=0.1)


def test_the_influence_of_a_slope_is_its_derivative() -> None:
    rng = np.random.default_rng(1)
    tau, t, y, weight = rng.normal(size=200), rng.random(200) < 0.4, rng.random(200), rng.lognormal(size=200)
    found = calibration_slope(tau, t, y, weight)
    for row in range(0, 200, 20):
        values = []
        for step in (1e-5, -1e-5):
            moved = weight.copy()
            moved[row] *= 1 + step
            values.append(calibration_slope(tau, t, y, moved).value)
        assert (values[0] - values[1]) / 2e-5 == pytest.approx(found.influence[row], abs=1e-7)
    with pytest.raises(EvaluationError, match="the same"):
        calibration_slope(np.full(200, 0.3), t, y)


def test_differences_are_antisymmetric_and_tell_models_apart() -> None:
    campaign, truth = _simulated(40_000, 3)
    noise = np.random.default_rng(0).normal(0, 0.1, truth.mu_all.shape).astype(np.float32)
    tau = truth.tau_all + noise
    tau[:, 0] = 0
    worse = dataclasses.replace(truth, tau_all=tau, model="worse")
    evaluation = evaluate(campaign, {"truth": truth, "worse": worse, "again": truth}, draws=20)
    arm = campaign.arm_names[-1]
    row, turned = (
        evaluation.difference(*pair, "click", arm) for pair in (("truth", "worse"), ("worse", "truth"))
    )
    assert row.value == pytest.approx(-turned.value)
    assert (row.low, row.high) == pytest.approx((-turned.high, -turned.low))
    assert row.value == pytest.approx(
        evaluation.score("truth", "click", arm)["value"] - evaluation.score("worse", "click", arm)["value"]
    )
    assert row.p < 0.01
    same = evaluation.difference("truth", "again", "click", arm)
    assert (same.value, same.p) == (0, 1)
    assert len(evaluation.differences) == 3 * 2 * 2
    placebo = evaluation.placebo.set_index(["model", "stage", "arm"]).loc["truth", "click", arm]
    assert placebo.high < placebo.value
    assert placebo.p < 1e-6
    with pytest.raises(EvaluationError, match="itself"):
        evaluation.difference("truth", "truth", "click", arm)
    with pytest.raises(EvaluationError, match="no model 'other'"):
        evaluation.difference("truth", "other", "click", arm)


def test_a_baseline_moves_no_metric_on_average_and_narrows_every_interval() -> None:
    # An outcome that is mostly explained by x, and a ranking by something else.
    gains, widths = [], []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        n = 2_000
        x, z, t = rng.normal(size=n), rng.normal(size=n), rng.random(n) < 0.5
        rate = np.clip(0.5 + 0.25 * x, 0.02, 0.98)
        y = rng.random(n) < np.clip(rate + t * 0.05 * z, 0, 1)
        frame = pd.DataFrame({"x": x, "t": np.where(t, "a", "none"), "y": y.astype(int)})
        campaign = Campaign.from_frame(frame, treatment="t", control="none", chain=["y"])
        mu = np.stack([rate, rate], axis=1)[:, :, None].astype(np.float32)
        effects = Effects.for_campaign(
            mu + np.stack([0 * z, 0.05 * z], 1)[:, :, None].astype(np.float32), campaign, model="m"
        )
        plain, helped = (
            evaluate(campaign, effects, draws=20, baseline=base)
            for base in (None, Effects.for_campaign(mu, campaign, model="b"))
        )
        for metric in ("qini_per_capita", "autoc", "calibration_slope"):
            before, after = (e.score("m", "y", "a", metric) for e in (plain, helped))
            gains.append((metric, after.value - before.value))
            widths.append(after.se / before.se)
        assert helped.ate.iloc[0].se < 0.95 * plain.ate.iloc[0].se
        assert (
            helped.score("m", "y", "a", "qini_sklift").value
            == plain.score("m", "y", "a", "qini_sklift").value
        )
    assert np.mean(widths) < 0.9
    for _, changes in pd.DataFrame(gains, columns=["metric", "change"]).groupby("metric"):
        change = changes["change"]
        assert abs(change.mean()) < 3 * change.std() / np.sqrt(len(change))


def _observational(seed: int, rows: int, roles: dict) -> tuple[Campaign, np.ndarray, np.ndarray, np.ndarray]:
    """Customers with a high x are treated more often and buy more anyway; the effect follows z. Also mu, z and e."""
    rng = np.random.default_rng(seed)
    group, z = rng.integers(0, 5, rows), rng.normal(size=rows)
    e = np.array([0.15, 0.3, 0.5, 0.7, 0.85])[group]
    t = rng.random(rows) < e
    base = 0.1 + 0.12 * group
    mu = np.clip(np.stack([base, base + 0.05 + 0.08 * z], axis=1), 0, 1)
    y = rng.random(rows) < mu[np.arange(rows), t.astype(int)]
    frame = pd.DataFrame(
        {"t": np.where(t, "a", "none"), "y": y.astype(int), "g": group, "e": np.where(t, e, 1 - e)}
    )
    return Campaign.from_frame(frame, treatment="t", control="none", chain=["y"], **roles), mu, z, e


@pytest.mark.parametrize("roles", [{}, {"strata": "g"}, {"propensity": "e"}])
def test_curves_are_doubly_robust(roles: dict) -> None:
    """Right predictions mend what is not known of the assignment, and known assignments mend wrong predictions."""
    rows = 120_000
    campaign, mu, z, _ = _observational(0, rows, roles)
    effects = Effects.for_campaign(np.stack([0.3 + 0 * z, 0.3 + 0.02 * z], 1)[:, :, None].astype(np.float32), campaign, model="z")  # fmt: skip
    tau = mu[:, 1] - mu[:, 0]
    order = np.argsort(-z)
    gain = np.cumsum(tau[order]) / rows
    true_qini = gain.mean() - gain[-1] / 2
    wrong = Effects.for_campaign(1 - mu[:, :, None].astype(np.float32), campaign, model="wrong")
    right = Effects.for_campaign(mu[:, :, None].astype(np.float32), campaign, model="right")

    def errors(baseline: Effects | None) -> tuple[float, float, float]:
        found = evaluate(campaign, effects, draws=20, baseline=baseline)
        assert found.baseline == (None if baseline is None else baseline.model)
        assert found.to_metrics()["references"]["baseline"] == found.baseline
        row, curve = found.score("z", "y", "a"), found.curves["z", "y", "a"]
        ate = found.ate.iloc[0]
        middle = gain[rows // 2] - np.interp(0.5, curve.share, curve.gain)
        return (ate.value - tau.mean()) / ate.se, (row.value - true_qini) / row.se, middle / ate.se

    assert np.abs(errors(right)).max() < 4
    if roles:
        assert np.abs(errors(wrong)).max() < 4
        assert np.abs(errors(None)).max() < 4
    else:
        assert (
            np.abs(errors(None))[0] > 20
        )  # confounded: nothing is known of the assignment, and nothing predicted
        assert np.abs(errors(wrong))[0] > 20


@pytest.mark.parametrize("roles", [{"strata": "g"}, {"propensity": "e"}])
def test_the_adjusted_average_is_the_mean_of_doubly_robust_scores(roles: dict) -> None:
    from uplift.metrics.average import compare
    from uplift.metrics.evaluation import _expected

    campaign, mu, *_ = _observational(1, 4_000, roles)
    baseline = Effects.for_campaign((0.5 * mu + 0.1)[:, :, None].astype(np.float32), campaign, model="b")
    comparison = compare(campaign, "a")
    t, y = comparison.treated, campaign.outcome("y").astype(float)
    adjusted = y - _expected(campaign, baseline, "y", "a", comparison)
    ours = np.where(t, 1, -1) * comparison.weight * adjusted
    m = baseline.mu_all[:, :, 0].astype(float)
    e = 1 / comparison.weight
    aipw = m[:, 1] - m[:, 0] + t * (y - m[:, 1]) / e - (1 - t) * (y - m[:, 0]) / e
    np.testing.assert_allclose(ours, aipw, atol=1e-9)
