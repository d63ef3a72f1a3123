"""The blend: weights that solve their problem exactly, mixtures that stay coherent, and parts that pass through."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.optimize import minimize

import uplift
from uplift.campaign_file import CampaignFile
from uplift.effects import Effects
from uplift.errors import ModelError
from uplift.models.blend.criteria import choose_weights
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


@pytest.mark.parametrize("criterion", ["dr", "likelihood"])
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


@pytest.mark.parametrize("criterion", ["dr", "likelihood"])
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

    verdict = choose_weights(held, [constant(0.0), constant(2 * ate)], stage=0, criterion="dr", rule="best")
    assert verdict.weights[1] == pytest.approx(0.5, abs=0.15)


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
