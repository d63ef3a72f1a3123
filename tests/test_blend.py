"""The blend: weights that solve their problem exactly, mixtures that stay coherent, and parts that pass through."""

from __future__ import annotations

import json
from typing import get_args

import numpy as np
import pyarrow as pa
import pytest
from scipy.optimize import minimize

import uplift
from uplift.campaign_file import CampaignFile
from uplift.effects import Effects
from uplift.errors import ModelError
from uplift.models.blend import qini
from uplift.models.blend.criteria import Criterion, choose_weights
from uplift.models.blend.simplex import least_squares, most_likely
from uplift.models.registry import load_model, make_model

KNOBS = {"arms": 2, "chain": ("click", "conversion")}
QUICK = {"lightgbm_s": {"n_estimators": 30, "n_jobs": 1}, "lightgbm_chain": {"n_estimators": 30, "n_jobs": 1}}


@pytest.fixture(scope="module")
def campaign():
    return uplift.simulate(rows=4000, seed=1, **KNOBS).campaign()


@pytest.fixture(scope="module")
def fitted(campaign):
    return make_model("chain_blend", models=QUICK, rule="best").fit(campaign)


# -------------------------------------------------------------------- weights


@pytest.mark.parametrize("seed", range(20))
def test_least_squares_weights_are_those_of_a_general_solver(seed):
    rng = np.random.default_rng(seed)
    parts = int(rng.integers(2, 6))
    predictions, outcome = rng.normal(size=(50, parts)), rng.normal(size=50)
    gram, cross = predictions.T @ predictions, predictions.T @ outcome

    def loss(w):
        return w @ gram @ w - 2 * cross @ w

    found = least_squares(gram, cross)
    solved = minimize(
        loss, np.full(parts, 1 / parts), bounds=[(0, 1)] * parts, method="SLSQP", options={"ftol": 1e-12},
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
    )  # fmt: skip
    assert found.min() >= 0
    assert found.sum() == pytest.approx(1)
    assert loss(found) <= loss(solved.x) + 1e-9


@pytest.mark.parametrize("seed", range(5))
def test_likelihood_weights_cannot_be_improved_along_any_edge(seed):
    rng = np.random.default_rng(seed)
    likelihoods, weights = rng.uniform(0.05, 1, size=(200, 3)), rng.uniform(0.5, 2, 200)
    found = most_likely(likelihoods, weights)
    slope = (weights[:, None] * likelihoods / (likelihoods @ found)[:, None]).sum(0) / weights.sum()
    # Karush-Kuhn-Tucker: parts in use have slope 1, the others at most 1.
    np.testing.assert_allclose(slope[found > 1e-3], 1.0, atol=1e-3)
    assert (slope < 1 + 1e-3).all()


def test_equal_parts_share_the_weight():
    gram = np.ones((2, 2))
    np.testing.assert_allclose(least_squares(gram, np.array([0.3, 0.3])), [0.5, 0.5])


# -------------------------------------------------------------------- criteria


def mixture_of(truth: Effects, noise: float, seed: int) -> Effects:
    """The truth with errors in the uplift that are independent of those of other seeds."""
    rng = np.random.default_rng(seed)
    mu = truth.mu_all.astype(float)
    mu[:, 1:] += noise * mu.mean() * rng.normal(size=mu[:, 1:].shape)
    return Effects(
        np.clip(mu, 1e-4, 1).astype(np.float32),
        units=truth.units,
        arms=truth.arms,
        stages=truth.stages,
        model="m",
    )


@pytest.mark.parametrize("criterion", ["dr", "likelihood", "r"])
@pytest.mark.parametrize("confounding", [0.0, 1.0])
def test_the_better_part_gets_the_weight_that_its_error_deserves(criterion, confounding):
    """Independent errors of standard deviations 1 and 2 are best mixed 4 to 1, also where propensities differ."""
    simulation = uplift.simulate(
        rows=100_000, arms=1, chain=("click",), value=False, confounding=confounding, seed=2
    )
    truth, held = simulation.true_effects(), simulation.campaign()
    parts = [mixture_of(truth, 0.25, 1), mixture_of(truth, 0.5, 2)]
    verdict = choose_weights(held, parts, stage=0, criterion=criterion, rule="best")
    assert verdict.weights[0] == pytest.approx(0.8, abs=0.12)
    assert verdict.gain > 2 * verdict.error


@pytest.mark.parametrize("criterion", get_args(Criterion))
def test_cautious_weights_stay_equal_unless_the_gain_is_more_than_its_standard_error(criterion):
    simulation = uplift.simulate(rows=5000, arms=1, chain=("click",), value=False, seed=2)
    truth, held = simulation.true_effects(), simulation.campaign()
    kept = []
    for seed in range(10):
        alike = [mixture_of(truth, 0.1, seed), mixture_of(truth, 0.1, 100 + seed)]
        verdict = choose_weights(held, alike, stage=0, criterion=criterion, rule="cautious")
        assert verdict.weights == ((0.5, 0.5) if verdict.gain <= verdict.error else verdict.best)
        kept.append(verdict.weights == (0.5, 0.5))
    assert sum(kept) >= 5  # a gain of more than one standard error by chance is the exception
    apart = [mixture_of(truth, 0.1, 1), mixture_of(truth, 2.0, 2)]
    verdict = choose_weights(held, apart, stage=0, criterion=criterion, rule="cautious")
    assert verdict.weights == verdict.best
    assert verdict.weights[0] > 0.8


def test_a_confounded_log_is_not_judged_as_if_it_were_randomised():
    """The doubly robust mean uplift is the true one although bigger coupons went to better customers."""
    simulation = uplift.simulate(rows=100_000, arms=1, chain=("click",), value=False, confounding=1.0, seed=4)
    truth, held = simulation.true_effects(), simulation.campaign()
    flat = truth.mu_all * 0 + 0.2
    ate = float(truth.tau_all[:, 1, 0].mean())

    def constant(tau: float) -> Effects:
        mu = flat.copy()
        mu[:, 1] += tau
        return Effects(mu, units=truth.units, arms=truth.arms, stages=truth.stages, model="m")

    for criterion in ("dr", "r"):
        verdict = choose_weights(
            held, [constant(0.0), constant(2 * ate)], stage=0, criterion=criterion, rule="best"
        )
        assert verdict.weights[1] == pytest.approx(0.5, abs=0.15), criterion


@pytest.mark.parametrize("criterion", get_args(Criterion))
@pytest.mark.parametrize("stage", [0, 1])
def test_a_perfect_part_gets_the_weight_and_a_part_of_noise_none(criterion, stage):
    """Several arms, every stage; the order of the parts does not matter."""
    simulation = uplift.simulate(rows=40_000, arms=2, chain=("click", "conversion"), value=False, seed=3)
    truth, held = simulation.true_effects(), simulation.campaign()
    noise = mixture_of(truth, 2.0, 1)
    for parts, perfect in (([truth, noise], 0), ([noise, truth], 1)):
        verdict = choose_weights(held, parts, stage=stage, criterion=criterion, rule="cautious")
        assert verdict.weights[perfect] > 0.9
        assert verdict.gain > 2 * verdict.error


@pytest.mark.parametrize("criterion", get_args(Criterion))
def test_parts_that_say_the_same_share_the_weight(criterion):
    simulation = uplift.simulate(rows=2000, arms=2, chain=("click",), value=False, seed=3)
    truth, held = simulation.true_effects(), simulation.campaign()
    verdict = choose_weights(held, [truth] * 3, stage=0, criterion=criterion, rule="best")
    np.testing.assert_allclose(verdict.weights, 1 / 3)
    assert abs(verdict.gain) < 1e-12


def test_r_loss_weights_are_those_of_a_search_by_the_formula_of_the_paper():
    """Two arms with shares that differ, written out arm by arm and row by row."""
    simulation = uplift.simulate(
        rows=4000, arms=2, chain=("click",), value=False, shares=(0.5, 0.2, 0.3), seed=5
    )
    truth, held = simulation.true_effects(), simulation.campaign()
    parts = [mixture_of(truth, 0.4, 1), mixture_of(truth, 0.6, 2)]
    mu = np.mean([part.mu_all[:, :, 0] for part in parts], axis=0).astype(float)

    def loss(first: float) -> float:
        total = 0.0
        for arm in (1, 2):
            rows = np.isin(held.arm_codes, (0, arm))
            w = (held.arm_codes[rows] == arm).astype(float)
            p = w.mean()
            m = p * mu[rows, arm] + (1 - p) * mu[rows, 0]
            tau = first * parts[0].tau_all[rows, arm, 0] + (1 - first) * parts[1].tau_all[rows, arm, 0]
            total += np.mean((held.outcomes[rows, 0] - m - (w - p) * tau) ** 2) / 2
        return total

    grid = np.linspace(0, 1, 1001)
    losses = [loss(first) for first in grid]
    verdict = choose_weights(held, parts, stage=0, criterion="r", rule="best")
    assert verdict.best[0] == pytest.approx(grid[int(np.argmin(losses))], abs=1e-3)
    assert verdict.gain == pytest.approx(loss(0.5) - loss(verdict.best[0]), abs=1e-7)


# -------------------------------------------------------------------- Qini


@pytest.mark.parametrize("seed", range(4))
def test_the_qini_of_the_blend_is_the_one_that_is_reported(seed):
    from uplift.metrics.ranking import Ranking
    from uplift.metrics.scores import qini_per_capita

    rng = np.random.default_rng(seed)
    score, treated = np.round(rng.normal(size=500), 1), rng.random(500) < 0.3
    outcome, mass = rng.gamma(1.0, 1.0, 500), rng.uniform(0.5, 2.0, 500)
    expected = float(qini_per_capita(Ranking.build(score, treated, outcome, mass).cells))
    assert qini.qini(score, qini.signed_outcomes(treated, outcome, mass), mass) == pytest.approx(expected)


def test_the_influence_of_a_row_on_the_qini_is_its_derivative_by_the_rows_weight():
    rng = np.random.default_rng(0)
    score, treated = np.round(rng.normal(size=60), 1), rng.random(60) < 0.4
    outcome, mass = rng.gamma(1.0, 1.0, 60), rng.uniform(0.5, 2.0, 60)
    found = qini.influence(score, treated, outcome, mass)
    assert found.sum() == pytest.approx(0.0, abs=1e-10)
    for row in range(60):
        step = np.zeros(60)
        step[row] = 1e-5 * mass[row]
        up, down = (
            qini.qini(score, qini.signed_outcomes(treated, outcome, moved), moved)
            for moved in (mass + step, mass - step)
        )
        assert found[row] == pytest.approx(60 * (up - down) / 2e-5, abs=1e-6)


def test_the_standard_error_of_a_qini_gain_is_its_spread_over_fresh_campaigns():
    """Two given scores, sixty samples of customers: the stated error against the standard deviation of the gain."""
    gains, errors = [], []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        x, noise, treated = rng.normal(size=1500), rng.normal(size=1500), rng.random(1500) < 0.5
        outcome = (rng.random(1500) < 0.3 + 0.1 * x.clip(-2, 2) * treated).astype(float)
        ones = np.ones(1500)
        signed = qini.signed_outcomes(treated, outcome, ones)
        gains.append(qini.qini(x, signed, ones) - qini.qini(x + noise, signed, ones))
        moved = qini.influence(x, treated, outcome, ones) - qini.influence(x + noise, treated, outcome, ones)
        errors.append(np.sqrt(np.square(moved).sum()) / 1500)
    assert np.std(gains, ddof=1) == pytest.approx(np.mean(errors), rel=0.25)


@pytest.mark.parametrize("parts", [2, 3, 6])
def test_the_search_finds_the_top_of_a_hill_in_steps_of_a_thirty_second(parts):
    rng = np.random.default_rng(parts)
    for _ in range(5):
        top = rng.dirichlet(np.ones(parts))
        found = qini.highest(lambda weights, top=top: -float(np.abs(weights - top).sum()), parts)
        assert found.sum() == pytest.approx(1.0)
        assert found.min() >= 0
        assert np.abs(found - top).max() < 1 / 16


def test_the_order_of_the_customers_decides_by_qini_and_their_number_by_the_other_criteria():
    """A part with the right order and ten times the size, and one with half the size and some disorder."""
    simulation = uplift.simulate(rows=40_000, arms=1, chain=("click",), value=False, seed=3)
    truth, held = simulation.true_effects(), simulation.campaign()

    def scaled(factor: float, noise: float) -> Effects:
        rng = np.random.default_rng(0)
        tau = factor * truth.tau_all + noise * truth.tau_all.std() * rng.normal(size=truth.tau_all.shape)
        tau[:, 0] = 0
        return Effects(
            truth.mu_all.copy(), units=truth.units, arms=truth.arms, stages=truth.stages, model="m",
            tau_all=tau.astype(np.float32),
        )  # fmt: skip

    parts = [scaled(10.0, 0.0), scaled(0.8, 0.5)]
    by_qini = choose_weights(held, parts, stage=0, criterion="qini", rule="best")
    assert by_qini.weights[0] > 0.3
    for criterion in ("dr", "r"):
        verdict = choose_weights(held, parts, stage=0, criterion=criterion, rule="best")
        assert verdict.weights[0] < 0.1, criterion


@pytest.mark.parametrize("criterion", ["r", "qini"])
def test_an_arm_without_held_out_rows_cannot_be_judged(criterion):
    simulation = uplift.simulate(rows=2000, arms=2, chain=("click",), value=False, seed=3)
    truth, held = simulation.true_effects(), simulation.campaign()
    keep = held.arm_codes != 2
    part = Effects(
        truth.mu_all[keep], units=truth.units.filter(pa.array(keep)), arms=truth.arms, stages=truth.stages, model="m"
    )  # fmt: skip
    with pytest.raises(
        ModelError, match="held-out rows received 'coupon_10', so its uplift cannot be judged"
    ):
        choose_weights(held.take(keep), [part, part], stage=0, criterion=criterion, rule="best")


# -------------------------------------------------------------------- the model


def test_the_blend_is_the_weighted_sum_of_its_parts_refitted_on_all_rows(campaign, fitted):
    expected = sum(
        weights * make_model(name, **params, random_state=0).fit(campaign).predict(campaign).mu_all
        for weights, (name, params) in zip(fitted.weights_.T, QUICK.items(), strict=True)
    )
    expected[:, :, 1] = np.minimum(expected[:, :, 1], expected[:, :, 0])
    found = fitted.predict(campaign)
    np.testing.assert_allclose(found.mu_all, expected, rtol=1e-5)
    np.testing.assert_array_equal(found.tau_all, found.mu_all - found.mu_all[:, :1])
    np.testing.assert_allclose(fitted.weights_.sum(axis=1), 1.0)


def test_rates_never_rise_along_the_chain_although_weights_differ(campaign, fitted):
    fitted = load_clone(fitted)
    fitted.weights_ = np.array([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]])
    mu = fitted.predict(campaign).mu_all
    assert (mu[..., 1] <= mu[..., 0]).all()


def load_clone(model):
    clone = make_model("chain_blend", **model.get_params())
    for name in ("schema_", "arms_", "stages_", "fingerprint_", "parts_", "verdicts_"):
        setattr(clone, name, getattr(model, name))
    return clone


def test_without_refit_the_parts_are_those_of_the_rows_outside_the_held_out_share(campaign):
    model = make_model(
        "chain_blend",
        models={"lightgbm_s": QUICK["lightgbm_s"], "lightgbm_t": QUICK["lightgbm_s"]},
        refit=False,
    ).fit(campaign)
    learned, _ = campaign.split(test=0.2, seed=0)
    whole = make_model("lightgbm_s", **QUICK["lightgbm_s"]).fit(campaign).predict(campaign)
    kept = model.parts_["lightgbm_s"].predict(campaign)
    assert np.abs(kept.mu_all - whole.mu_all).max() > 1e-3
    assert len(learned) < len(campaign)


def test_a_validation_campaign_picks_the_weights_and_nothing_is_held_out(campaign):
    validation = uplift.simulate(rows=4000, seed=9, **KNOBS).campaign()
    model = make_model("chain_blend", models=QUICK, rule="best").fit(campaign, validation=validation)
    found = [part.predict(validation) for part in model.parts_.values()]
    for s in range(3):
        verdict = choose_weights(validation, found, stage=s, criterion="likelihood", rule="best")
        assert verdict == model.verdicts_[s]


def test_a_saved_blend_predicts_the_same_bits_and_holds_no_pickle(campaign, fitted, tmp_path):
    fitted.save(tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    np.testing.assert_array_equal(loaded.predict(campaign).mu_all, fitted.predict(campaign).mu_all)
    np.testing.assert_array_equal(loaded.predict(campaign).tau_all, fitted.predict(campaign).tau_all)
    assert loaded.verdicts_ == fitted.verdicts_
    assert load_model(tmp_path / "model" / "lightgbm_s").predict(campaign).model == "lightgbm_s"
    suffixes = {path.suffix for path in (tmp_path / "model").rglob("*") if path.is_file()}
    assert suffixes <= {".json", ".txt"}


def test_networks_and_trees_blend_and_tell_how_far_they_are(campaign, tmp_path):
    small = {
        "ecup": {"max_epochs": 2, "embedding_dim": 4, "hidden": [8, 8], "device": "cpu"},
        "lightgbm_chain": {"n_estimators": 5},
    }
    model, heard = make_model("chain_blend", models=small), []
    model.on_progress = heard.append
    effects = model.fit(campaign, checkpoint=tmp_path / "state").predict(campaign)
    kept = {
        file.relative_to(tmp_path / "state").parts[0] for file in (tmp_path / "state").rglob("*.safetensors")
    }
    assert kept == {"ecup-to-pick-weights", "ecup-on-all-rows"}
    assert any(words.startswith("ecup, to pick weights: epoch 1 of") for words in heard)
    assert any(words.startswith("lightgbm_chain, on all rows: value: ensemble 1 of 1") for words in heard)
    model.save(tmp_path / "model")
    np.testing.assert_array_equal(load_model(tmp_path / "model").predict(campaign).mu_all, effects.mu_all)


@pytest.mark.parametrize("criterion", ["r", "qini"])
def test_any_models_are_mixed_by_a_loss_of_the_uplift_or_by_qini(criterion, campaign, tmp_path):
    """A chain of X-learners, class transformation and a forest; every stage, the value too."""
    parts = {
        "chain": {"learner": "causalml_x", "params": {"n_estimators": 10, "n_jobs": 1}},
        "sklift_class_transformation": {"n_estimators": 10, "n_jobs": 1},
        "causalml_causal_forest": {"n_estimators": 3, "n_jobs": 1},
    }
    model = make_model("chain_blend", models=parts, criterion=criterion, rule="best").fit(campaign)
    assert model.weights_.shape == (3, 3)
    np.testing.assert_allclose(model.weights_.sum(axis=1), 1.0)
    assert all(verdict.gain >= 0 for verdict in model.verdicts_)
    effects = model.predict(campaign)
    model.save(tmp_path / "model")
    np.testing.assert_array_equal(load_model(tmp_path / "model").predict(campaign).tau_all, effects.tau_all)


def test_parts_that_state_uplifts_apart_from_outcomes_keep_them(campaign):
    parts = {"causalml_x": {"n_estimators": 10, "n_jobs": 1}, "lightgbm_s": QUICK["lightgbm_s"]}
    model = make_model("chain_blend", models=parts, rule="equal").fit(campaign)
    expected = np.mean([part.predict(campaign).tau_all for part in model.parts_.values()], axis=0)
    np.testing.assert_allclose(model.predict(campaign).tau_all, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("models", "message"),
    [
        ({"chain_blend": {}}, "cannot be a part of itself"),
        ({"random": {}}, "'random' is a reference"),
        ({"lightgbm_s": {"num_leaves": 1}}, "model 'lightgbm_s': num_leaves is 1"),
        ({"lightgbm_q": {}}, "unknown model 'lightgbm_q'"),
        ({}, "models is {}; it must be a table of models and their parameters"),
        (["ecup"], "it must be a table of models and their parameters"),
    ],
)
def test_wrong_parts_are_refused_in_one_sentence(models, message):
    with pytest.raises(ModelError, match=message):
        make_model("chain_blend", models=models)


def test_parts_can_be_written_in_a_campaign_file():
    text = """
    [campaign]
    data = "log.parquet"
    treatment = "coupon"
    control = "none"
    chain = ["click", "conversion"]

    [models.chain_blend]
    criterion = "dr"
    models = {ecup = {max_epochs = 3}, lightgbm_chain = {}}
    """
    params = CampaignFile.parse(text).models["chain_blend"]
    model = make_model("chain_blend", **params)
    assert model.get_params()["models"] == {"ecup": {"max_epochs": 3}, "lightgbm_chain": {}}
    assert json.loads(json.dumps(model.get_params())) == model.get_params()
