"""The chain of LightGBM models: a product of boosters anybody could have trained, coherent, and closer to the truth."""

from __future__ import annotations

import lightgbm
import numpy as np
import pandas as pd
import pytest

import uplift
from uplift.campaign import Campaign
from uplift.errors import ModelError
from uplift.features import FeatureSchema
from uplift.models.base import ModelWarning
from uplift.models.registry import load_model, make_model
from uplift.models.row_weights import row_weights

PLAIN = {"n_estimators": 40, "column_share": 1.0, "row_share": 1.0, "patience": None, "n_jobs": 1}
PARAMS = {
    "learning_rate": 0.05, "num_leaves": 8, "min_child_samples": 100, "reg_lambda": 1.0, "seed": 0,
    "deterministic": True, "max_cat_to_onehot": 1_000_000, "force_row_wise": True, "verbosity": -1, "num_threads": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def simulation():
    return uplift.simulate(
        rows=6000, arms=2, chain=("click", "conversion"), strata=3, strata_imbalance=1.0, seed=3
    )


@pytest.fixture(scope="module")
def fitted(simulation):
    return make_model("lightgbm_chain", n_estimators=60, n_jobs=1).fit(simulation.campaign())


def by_hand(campaign: Campaign, **extra) -> np.ndarray:
    """P(click), P(conversion | click) and E[value | conversion] with plain lightgbm, multiplied; [row, arm, stage]."""
    schema = FeatureSchema.fit(campaign)
    features, arms, amounts = schema.matrix(campaign), campaign.arm_codes, np.array([0.0, 5.0, 10.0])
    categorical = [*schema.categorical_positions, features.shape[1]]
    weights, reached = row_weights(campaign).values, np.ones(len(campaign), bool)
    mu, product = np.empty((len(campaign), 3, 3)), np.ones((len(campaign), 3))
    for s, objective in enumerate(("binary", "binary", "regression")):
        seen = np.column_stack([features, arms, amounts[arms]])[reached]
        data = lightgbm.Dataset(
            seen, campaign.outcomes[reached, s], weight=weights[reached], categorical_feature=categorical
        )
        booster = lightgbm.train({**PARAMS, **extra, "objective": objective}, data, num_boost_round=40)
        for arm in range(3):
            column = np.full(len(campaign), arm)
            product[:, arm] *= booster.predict(np.column_stack([features, column, amounts[column]]))
        mu[:, :, s] = product
        reached = campaign.outcomes[:, s] > 0
    return mu


def test_it_is_the_product_of_boosters_trained_by_hand_on_the_rows_that_reached_the_stage_before(simulation):
    campaign = simulation.campaign()
    effects = make_model("lightgbm_chain", **PLAIN).fit(campaign).predict(campaign)
    np.testing.assert_allclose(effects.mu_all, by_hand(campaign), rtol=2e-6)


def test_subsampling_is_lightgbms_own_and_members_are_its_seeds(simulation):
    campaign = simulation.campaign()
    model = make_model("lightgbm_chain", **{**PLAIN, "column_share": 0.5, "row_share": 0.7, "members": 2})
    first = model.fit(campaign).predict(campaign).mu("click", "coupon_10")
    extra = {"feature_fraction": 0.5, "bagging_fraction": 0.7, "bagging_freq": 1}
    hand = [by_hand(campaign, **extra, seed=seed)[:, 2, 0] for seed in (0, 1)]
    assert np.abs(hand[0] - hand[1]).max() > 1e-3
    np.testing.assert_allclose(first, np.mean(hand, axis=0), rtol=2e-6)


def test_with_one_stage_it_is_the_s_learner():
    campaign = uplift.simulate(rows=4000, arms=2, chain=("buy",), value=False, seed=1).campaign()
    chain = make_model("lightgbm_chain", **PLAIN).fit(campaign).predict(campaign)
    plain = make_model("lightgbm_s", n_estimators=40, n_jobs=1).fit(campaign).predict(campaign)
    np.testing.assert_array_equal(chain.mu_all, plain.mu_all)


def test_rates_are_probabilities_that_never_rise_along_the_chain(simulation, fitted):
    other = uplift.simulate(
        rows=3000, arms=2, chain=("click", "conversion"), strata=3, strata_imbalance=1.0, seed=4
    )
    mu = fitted.predict(other.campaign()).mu_all
    assert mu.min() >= 0
    assert (mu[..., 0] <= 1).all()
    assert (mu[..., 1] <= mu[..., 0]).all()


def test_a_saved_model_predicts_the_same_bits(simulation, fitted, tmp_path):
    campaign = simulation.campaign()
    fitted.save(tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    np.testing.assert_array_equal(loaded.predict(campaign).mu_all, fitted.predict(campaign).mu_all)
    assert loaded.rounds_ == fitted.rounds_
    assert {path.suffix for path in (tmp_path / "model").iterdir()} <= {".json", ".txt"}


@pytest.mark.parametrize("errors", [0.0, 1.0])
def test_each_stage_has_the_most_trees_whose_held_out_loss_is_within_the_errors_of_the_lowest(errors):
    campaign = uplift.simulate(
        rows=6000, arms=2, chain=("click", "conversion"), value=False, seed=5
    ).campaign()
    validation = uplift.simulate(
        rows=6000, arms=2, chain=("click", "conversion"), value=False, seed=6
    ).campaign()
    fast = {"learning_rate": 0.2, "min_child_samples": 20, "n_jobs": 1}
    model = make_model("lightgbm_chain", **fast, n_estimators=120, patience=120, errors=errors)
    model.fit(campaign, validation=validation)
    model.parts_ = make_model("lightgbm_chain", **fast, n_estimators=120, patience=None).fit(campaign).parts_
    schema = FeatureSchema.fit(campaign).matrix(validation)
    amounts = np.array([0.0, 5.0, 10.0])[validation.arm_codes]
    seen, clicked = np.column_stack([schema, validation.arm_codes, amounts]), validation.outcomes[:, 0] > 0
    for stage, reached in enumerate((np.ones(len(validation), bool), clicked)):
        booster, y = model.parts_[stage]["member0"], validation.outcomes[reached, stage]
        rates = [booster.predict(seen[reached], num_iteration=trees) for trees in range(1, 121)]
        losses = np.array([-np.log(np.where(y > 0, p, 1 - p)) for p in rates])
        worse = losses - losses[losses.mean(1).argmin()]
        allowed = worse.mean(1) <= errors * worse.std(1) / np.sqrt(len(y)) + 1e-12
        assert model.rounds_[stage] == np.flatnonzero(allowed)[-1] + 1
        assert 1 < model.rounds_[stage] < 120


@pytest.mark.slow
def test_on_a_chain_it_is_closer_to_the_true_effects_than_learners_of_single_stages():
    knobs = {"arms": 4, "chain": ("click", "conversion"), "value": False}
    campaign = uplift.simulate(rows=20_000, seed=11, **knobs).campaign()
    test = uplift.simulate(rows=20_000, seed=12, **knobs)
    truth = test.true_effects().tau_all
    error = {}
    for name in ("lightgbm_chain", "lightgbm_s", "lightgbm_t"):
        tau = make_model(name).fit(campaign).predict(test.campaign()).tau_all
        error[name] = np.sqrt(np.square(tau - truth)[:, 1:, 1].mean())
    assert error["lightgbm_chain"] < error["lightgbm_s"] < error["lightgbm_t"]


def tiny(conversions: int, n: int = 400) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"x": rng.normal(size=n), "sent": np.arange(n) % 2, "click": (np.arange(n) % 3 == 0).astype(int)}
    )
    frame["buy"] = 0
    frame.loc[frame.index[frame.click == 1][:conversions], "buy"] = 1
    frame["gmv"] = frame.buy * 10.0
    return frame


ROLES = {"treatment": "sent", "control": 0, "chain": ["click", "buy"], "value": "gmv"}


def test_a_stage_that_nobody_reached_is_named():
    with pytest.raises(
        ModelError, match="none of 400 training rows reached 'buy', so 'value' cannot be learned"
    ):
        make_model("lightgbm_chain", patience=None).fit(Campaign.from_frame(tiny(0), **ROLES))
    with pytest.raises(ModelError, match=r"held-out rows reached 'buy'.*set patience to None"):
        make_model("lightgbm_chain").fit(Campaign.from_frame(tiny(1), **ROLES))


def test_a_value_without_the_last_stage_is_left_out_with_a_warning_and_many_are_refused():
    frame = tiny(120)
    clean = make_model("lightgbm_chain", **PLAIN).fit(Campaign.from_frame(frame, **ROLES))
    frame.loc[frame.index[frame.click == 0][0], "gmv"] = 500.0
    with pytest.warns(ModelWarning, match="ignores the value of 1 rows that did not reach 'buy'"):
        stray = make_model("lightgbm_chain", **PLAIN).fit(Campaign.from_frame(frame, **ROLES))
    campaign = Campaign.from_frame(frame, **ROLES)
    np.testing.assert_array_equal(stray.predict(campaign).mu_all, clean.predict(campaign).mu_all)
    frame.loc[frame.index[frame.click == 0][:50], "gmv"] = 500.0
    with pytest.raises(ModelError, match="not the value of that stage"):
        make_model("lightgbm_chain").fit(Campaign.from_frame(frame, **ROLES))


def test_progress_names_the_stage_and_the_trees(simulation):
    model, heard = make_model("lightgbm_chain", n_estimators=5, n_jobs=1), []
    model.on_progress = heard.append
    model.fit(simulation.campaign())
    assert any(words.startswith("conversion: 5 trees are enough by ") for words in heard)
    assert any(words.startswith("click: ensemble 1 of 1 on 6,000 rows") for words in heard)
