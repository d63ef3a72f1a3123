"""Classical models: they find planted effects, keep arms and stages apart, and survive a round trip to disk."""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd
import pytest

from uplift.campaign import Campaign
from uplift.errors import MissingDependencyError, ModelError
from uplift.models.classical import boosting
from uplift.models.registry import load_model, make_model, model_class
from uplift.models.row_weights import row_weights

MODELS = {
    "lightgbm_t": {},
    "lightgbm_s": {},
    "lightgbm_chain": {},
    "sklift_solo": {},
    "lightgbm_x": {},
    "lightgbm_r": {},
    "lightgbm_dr": {},
    "lightgbm_transformed": {},
    "sklift_two_models": {},
    "sklift_class_transformation": {},
    "causalml_s": {},
    "causalml_t": {},
    "causalml_x": {},
    "causalml_r": {},
    "causalml_dr": {},
    "causalml_uplift_forest": {},
    "causalml_causal_forest": {},
}
REFERENCES = {"response": {}, "random": {}}
AMOUNTS = {"five": {"amount": 5.0}, "ten": {"amount": 10.0}}


def small(name: str, **params):
    """A model that fits within a second or so."""
    if name == "random":
        return make_model(name, **params)
    if name in ("causalml_uplift_forest", "causalml_causal_forest"):
        return make_model(name, **{"n_estimators": 8, "max_depth": 5, "n_jobs": 1, **params})
    if name == "lightgbm_chain" and params.get("n_estimators", 60) < 60:
        params = {"column_share": 1.0, **params}  # few trees that see few columns may never see the arm
    return make_model(name, **{"n_estimators": 60, "n_jobs": 1, **params})


def planted(n: int = 8000, *, arms: int = 3, value: bool = True, chain: int = 2, seed: int = 0):
    """A campaign and its true effects: arm 1 works on x0 > 0, arm 2 twice as much on city "b"."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 4)).astype(np.float32)
    city = rng.choice(["a", "b", "c"], n)
    arm = rng.integers(0, arms, n)
    base = 0.15 + 0.1 * (x[:, 2] > 0)
    tau = np.stack([0 * base, 0.3 * (x[:, 0] > 0), 0.4 * (city == "b")], 1)[:, :arms]
    click = base[:, None] + tau
    mu = np.stack(
        [click, 0.7 * click, 0.7 * 20 * click][:chain] + ([0.7 * 20 * click] if value else []), axis=2
    )
    clicked = rng.random(n) < click[np.arange(n), arm]
    bought = clicked & (rng.random(n) < 0.7)
    frame = pd.DataFrame({f"x{j}": x[:, j] for j in range(4)})
    frame["city"] = city
    frame.loc[rng.random(n) < 0.1, "x3"] = np.nan
    frame["id"] = np.arange(n) + 10**6
    frame["coupon"] = np.array(["none", "five", "ten"])[arm]
    frame["click"] = clicked.astype(int)
    frame["buy"] = bought.astype(int)
    frame["spend"] = np.where(bought, rng.gamma(4.0, 5.0, n), 0.0)
    campaign = Campaign.from_frame(
        frame.drop(columns=([] if value else ["spend"]) + ([] if chain > 1 else ["buy"])),
        unit="id",
        treatment="coupon",
        control="none",
        chain=["click", "buy"][:chain],
        value="spend" if value else None,
        arms={name: AMOUNTS[name] for name in ("five", "ten")[: arms - 1]},
    )
    return campaign, (mu - mu[:, :1]).astype(np.float32)


@pytest.fixture(scope="module")
def three_arms():
    return planted()


@pytest.fixture(scope="module")
def fitted(three_arms):
    """Every model fitted on the three-arm campaign, with its effects on it."""
    campaign, _ = three_arms
    models = {name: small(name).fit(campaign) for name in (*MODELS, *REFERENCES)}
    return {name: (model, model.predict(campaign)) for name, model in models.items()}


# Lowest correlation of tau with the truth over both arms: (click, buy, value).
THRESHOLDS = {
    "lightgbm_t": (0.80, 0.70, 0.60),
    "lightgbm_s": (0.85, 0.80, 0.70),
    "lightgbm_chain": (0.85, 0.80, 0.70),
    "sklift_solo": (0.85, 0.80, 0.70),
    "lightgbm_x": (0.85, 0.80, 0.70),
    "lightgbm_r": (0.85, 0.80, 0.70),
    "lightgbm_dr": (0.85, 0.80, 0.70),
    "lightgbm_transformed": (0.80, 0.70, 0.60),
    "sklift_two_models": (0.80, 0.70, 0.60),
    "sklift_class_transformation": (0.70, 0.60, 0.60),
    "causalml_s": (0.85, 0.80, 0.70),
    "causalml_t": (0.80, 0.70, 0.60),
    "causalml_x": (0.80, 0.70, 0.60),
    "causalml_r": (0.80, 0.70, 0.60),
    "causalml_dr": (0.80, 0.70, 0.60),
    "causalml_uplift_forest": (0.85, 0.80, 0.70),
    "causalml_causal_forest": (0.85, 0.80, 0.70),
}


@pytest.mark.parametrize("name", MODELS)
def test_planted_effects_are_found_for_every_arm_and_stage(name, fitted, three_arms):
    _, truth = three_arms
    effects = fitted[name][1]
    for s, threshold in enumerate(THRESHOLDS[name]):
        for arm in (1, 2):
            found = np.corrcoef(effects.tau_all[:, arm, s], truth[:, arm, s])[0, 1]
            assert found > threshold, (effects.stages[s], effects.arms[arm])


@pytest.mark.parametrize("name", MODELS)
def test_mean_uplift_is_the_experiments_difference_in_means(name, fitted, three_arms):
    """No model may be right about the order and wrong about the size."""
    campaign, _ = three_arms
    effects = fitted[name][1]
    for s in range(3):
        outcome = campaign.outcomes[:, s].astype(float)
        means = [outcome[campaign.arm_codes == arm].mean() for arm in range(3)]
        for arm in (1, 2):
            ate = means[arm] - means[0]
            # An S-learner shrinks: it pays for every split on the arm. A forest's bootstrap adds noise.
            shrinks = ("lightgbm_s", "lightgbm_chain", "sklift_solo", "causalml_s")
            tolerance = 0.25 if name in shrinks else 0.15
            assert effects.tau_all[:, arm, s].mean() == pytest.approx(ate, rel=tolerance)
            assert effects.mu_all[:, arm, s].mean() == pytest.approx(means[arm], rel=0.08)


@pytest.mark.parametrize("name", [*MODELS, *REFERENCES])
def test_outcomes_are_probabilities_that_shrink_along_the_chain(name, fitted):
    effects = fitted[name][1]
    click, buy = effects.mu_all[..., 0], effects.mu_all[..., 1]
    assert click.min() >= 0
    assert click.max() <= 1
    assert (buy <= click).all()
    assert (effects.tau_all[:, 0] == 0).all()
    assert effects.calibrated == (name in MODELS)
    assert effects.model == name


@pytest.mark.parametrize("name", ["lightgbm_t", "lightgbm_s", "lightgbm_chain"])
def test_uplift_is_the_difference_of_outcomes_where_the_model_learns_outcomes(name, fitted):
    effects = fitted[name][1]
    np.testing.assert_array_equal(effects.tau_all, effects.mu_all - effects.mu_all[:, :1])


@pytest.mark.parametrize("name", [*MODELS, *REFERENCES])
def test_one_stage_and_one_treated_arm_are_enough(name):
    campaign, truth = planted(3000, arms=2, chain=1, value=False)
    effects = (
        small(name, **({} if name == "random" else {"n_estimators": 20})).fit(campaign).predict(campaign)
    )
    assert effects.mu_all.shape == (3000, 2, 1)
    assert effects.arms == ("none", "five")
    if name in MODELS:
        assert np.corrcoef(effects.tau("click", "five"), truth[:, 1, 0])[0, 1] > 0.6


@pytest.mark.parametrize("name", [*MODELS, *REFERENCES])
def test_saved_models_predict_the_same_bits_and_hold_no_pickle(name, fitted, three_arms, tmp_path):
    campaign, _ = three_arms
    model, effects = fitted[name]
    model.save(tmp_path / "model")
    assert {path.suffix for path in (tmp_path / "model").iterdir()} <= {".json", ".txt", ".npz"}
    loaded = load_model(tmp_path / "model")
    assert type(loaded) is type(model)
    assert loaded.get_params() == model.get_params()
    again = loaded.predict(campaign)
    np.testing.assert_array_equal(again.mu_all, effects.mu_all)
    np.testing.assert_array_equal(again.tau_all, effects.tau_all)


@pytest.mark.parametrize("method", ["ddr_control", "ddr_treatment"])
def test_dependent_data_representation_survives_saving(method, three_arms, tmp_path):
    campaign, truth = three_arms
    model = small("sklift_two_models", method=method, n_estimators=20).fit(campaign)
    effects = model.predict(campaign)
    model.save(tmp_path / "model")
    np.testing.assert_array_equal(load_model(tmp_path / "model").predict(campaign).tau_all, effects.tau_all)
    assert np.corrcoef(effects.tau("click", "ten"), truth[:, 2, 0])[0, 1] > 0.7


@pytest.mark.parametrize("name", ["lightgbm_t", "causalml_uplift_forest"])
def test_a_damaged_part_is_refused(name, fitted, tmp_path):
    fitted[name][0].save(tmp_path / "model")
    victim = sorted(path for path in (tmp_path / "model").iterdir() if path.suffix in (".txt", ".npz"))[0]
    victim.write_bytes(victim.read_bytes()[:-200])
    with pytest.raises(ModelError, match="damaged or incomplete"):
        load_model(tmp_path / "model")
    victim.unlink()
    with pytest.raises(ModelError, match="damaged or incomplete"):
        load_model(tmp_path / "model")


@pytest.mark.parametrize("name", [*MODELS, *REFERENCES])
def test_a_clone_with_the_same_parameters_learns_the_same(name, fitted, three_arms):
    campaign, _ = three_arms
    model, effects = fitted[name]
    clone = type(model)(**model.get_params())
    assert set(model.get_params()) == set(type(model).parameter_names())
    if not name.startswith("causalml"):  # slower, and seeded the same way
        np.testing.assert_array_equal(clone.fit(campaign).predict(campaign).tau_all, effects.tau_all)
    clone.set_params(random_state=5)
    assert clone.get_params()["random_state"] == 5
    assert model.get_params()["random_state"] == 0
    with pytest.raises(ModelError, match="random_state"):
        clone.set_params(random_stat=1)


def test_the_number_of_threads_changes_nothing(monkeypatch):
    campaign, _ = planted(2000, arms=2, chain=1, value=False)
    monkeypatch.setattr(boosting, "CELLS_PER_THREAD", 1)
    for name, trees in (("lightgbm_t", 3), ("causalml_uplift_forest", 2)):
        one, two = (small(name, n_estimators=trees, n_jobs=n).fit(campaign).predict(campaign) for n in (1, 2))
        np.testing.assert_array_equal(one.mu_all, two.mu_all)


def test_swapping_control_and_arm_flips_the_sign():
    campaign, _ = planted(3000, arms=2, chain=1, value=False)
    frame = campaign.table.to_pandas()
    swapped = Campaign.from_frame(frame, unit="id", treatment="coupon", control="five", chain=["click"])
    for name in ("lightgbm_t", "sklift_two_models"):
        there = small(name, n_estimators=20).fit(campaign).predict(campaign).tau("click", "five")
        back = small(name, n_estimators=20).fit(swapped).predict(swapped).tau("click", "none")
        np.testing.assert_array_equal(there, -back)
    for name in (
        "lightgbm_x",
        "lightgbm_r",
        "lightgbm_dr",
        "lightgbm_transformed",
        "sklift_class_transformation",
        "causalml_x",
        "causalml_uplift_forest",
    ):
        there = small(name).fit(campaign).predict(campaign).tau("click", "five")
        back = small(name).fit(swapped).predict(swapped).tau("click", "none")
        assert np.corrcoef(there, -back)[0, 1] > 0.9


@pytest.mark.parametrize("name", list(MODELS))
def test_arms_are_told_apart_by_name_and_not_by_order(name, fitted, three_arms):
    """Renamed so that the two arms change places on the arm axis, each keeps its effects."""
    campaign, _ = three_arms
    frame = campaign.table.to_pandas()
    frame["coupon"] = frame["coupon"].replace({"five": "z", "ten": "a"})
    renamed = Campaign.from_frame(
        frame, unit="id", treatment="coupon", control="none", chain=["click", "buy"], value="spend",
        arms={"z": AMOUNTS["five"], "a": AMOUNTS["ten"]},
    )  # fmt: skip
    assert renamed.arm_names == ("none", "a", "z")
    effects = small(name).fit(renamed).predict(renamed)
    before = fitted[name][1]
    for stage in ("click", "buy"):
        for old, new in (("five", "z"), ("ten", "a")):
            if name in (
                "lightgbm_s",
                "lightgbm_chain",
                "causalml_uplift_forest",
                "causalml_causal_forest",
                "causalml_r",
            ):  # arms share splits or folds; order breaks ties
                assert np.corrcoef(before.tau(stage, old), effects.tau(stage, new))[0, 1] > 0.9
            else:
                np.testing.assert_array_equal(before.tau(stage, old), effects.tau(stage, new))


@pytest.mark.parametrize("name", list(MODELS))
def test_audiences_with_missing_and_unseen_values_are_scored(name, fitted, three_arms):
    campaign, _ = three_arms
    audience = campaign.audience(
        pd.DataFrame(
            {
                "id": [1, 2, 3, 4],
                "x0": [1.0, 1.0, None, 1.0],
                "x1": 0.0,
                "x2": 0.0,
                "x3": [None, 0.0, 0.0, 0.0],
                "city": ["b", "a", "b", "atlantis"],
            }
        )
    )
    tau = fitted[name][0].predict(audience).tau("click", "ten")
    assert np.isfinite(tau).all()
    assert tau[0] > tau[1] + 0.1  # city "b" responds to ten, "a" does not
    assert tau[2] > tau[3]


def test_an_amount_for_every_arm_becomes_a_feature_of_the_s_learner(three_arms):
    campaign, _ = three_arms
    with_amounts = small("lightgbm_s", n_estimators=2).fit(campaign)
    roles = {
        "unit": "id",
        "treatment": "coupon",
        "control": "none",
        "chain": ["click", "buy"],
        "value": "spend",
    }
    without = small("lightgbm_s", n_estimators=2).fit(Campaign.from_table(campaign.table, **roles))
    assert with_amounts.arm_columns_.amounts == (0.0, 5.0, 10.0)
    assert without.arm_columns_.amounts is None
    assert with_amounts.parts_[0]["outcome"].num_feature() == without.parts_[0]["outcome"].num_feature() + 1


def test_a_stage_that_everybody_reaches_is_predicted_as_certain():
    campaign, _ = planted(2000, arms=2, chain=1, value=False)
    frame = campaign.table.to_pandas()
    frame.insert(0, "seen", 1)
    campaign = Campaign.from_frame(
        frame, unit="id", treatment="coupon", control="none", chain=["seen", "click"]
    )
    direct = ("lightgbm_t", "lightgbm_s", "lightgbm_x", "lightgbm_r", "lightgbm_dr")
    for name in (*direct, *(name for name in MODELS if "lightgbm" not in name)):
        if name == "sklift_class_transformation":  # learns the coin of the randomisation
            continue
        effects = small(name, n_estimators=5).fit(campaign).predict(campaign)
        np.testing.assert_allclose(effects.mu_all[:, :, 0], 1.0, atol=1e-6, err_msg=name)
        np.testing.assert_allclose(effects.tau_all[:, :, 0], 0.0, atol=1e-6, err_msg=name)


def test_money_with_two_distinct_amounts_is_not_taken_for_a_class():
    campaign, _ = planted(2000, arms=2, value=False)
    frame = campaign.table.to_pandas()
    frame["spend"] = frame["buy"] * 10.0
    campaign = Campaign.from_frame(
        frame, unit="id", treatment="coupon", control="none", chain=["click", "buy"], value="spend"
    )
    ate = np.diff([frame.spend[frame.coupon == arm].mean() for arm in ("none", "five")])[0]
    for name in MODELS:
        fast = {} if "forest" in name else {"learning_rate": 0.3}
        effects = small(name, n_estimators=10, **fast).fit(campaign).predict(campaign)
        assert effects.tau("value", "five").mean() == pytest.approx(ate, rel=0.2, abs=0.1), name


def test_tweedie_learns_money_and_refuses_losses(three_arms):
    campaign, truth = three_arms
    effects = small("lightgbm_t", value_objective="tweedie").fit(campaign).predict(campaign)
    assert (effects.mu_all[..., 2] > 0).all()
    assert np.corrcoef(effects.tau("value", "ten"), truth[:, 2, 2])[0, 1] > 0.6
    frame = campaign.table.to_pandas()
    frame.loc[0, "spend"] = -3.0
    roles = {
        "unit": "id",
        "treatment": "coupon",
        "control": "none",
        "chain": ["click", "buy"],
        "value": "spend",
    }
    with pytest.raises(ModelError, match="1 negative values"):
        small("lightgbm_s", value_objective="tweedie").fit(Campaign.from_frame(frame, **roles))


# -------------------------------------------------------------------- weights


def confounded(n: int = 6000, seed: int = 1) -> pd.DataFrame:
    """Wave 1 sends to 80 % of people who buy anyway, wave 0 to 20 % of those who do not; no true effect."""
    rng = np.random.default_rng(seed)
    wave = rng.integers(0, 2, n)
    p = np.where(wave == 1, 0.8, 0.2)
    sent = rng.random(n) < p
    return pd.DataFrame(
        {
            "sent": sent.astype(int),
            "wave": wave,
            "p": np.where(sent, p, 1 - p),
            "x": rng.normal(size=n),
            "buy": (rng.random(n) < 0.1 + 0.5 * wave).astype(int),
        }
    )


@pytest.mark.parametrize("role", [{"strata": ["wave"]}, {"propensity": "p"}])
@pytest.mark.parametrize(
    "name",
    [
        "lightgbm_t",
        "lightgbm_s",
        "lightgbm_chain",
        "sklift_solo",
        "lightgbm_x",
        "lightgbm_r",
        "lightgbm_dr",
        "lightgbm_transformed",
        "sklift_two_models",
        "sklift_class_transformation",
        "causalml_s",
        "causalml_t",
        "causalml_x",
        "causalml_r",
        "causalml_dr",
        "causalml_uplift_forest",
        "causalml_causal_forest",
    ],
)
def test_unequal_randomisation_does_not_look_like_an_effect(name, role):
    """Even when the model cannot see the wave."""
    frame = confounded()
    roles = {"treatment": "sent", "control": 0, "chain": ["buy"], "features": ["x"]}
    naive = Campaign.from_frame(frame, **roles)
    known = Campaign.from_frame(frame, **roles, **role)
    bias = small(name, n_estimators=20).fit(naive).predict(naive).tau("buy", "1").mean()
    fixed = small(name, n_estimators=20).fit(known).predict(known).tau("buy", "1").mean()
    assert bias > 0.15
    assert abs(fixed) < 0.05


@pytest.mark.parametrize("name", MODELS)
def test_sampling_weights_reach_the_effects_of_every_model_and_stage(name):
    """The coupon works on regulars only, who are four fifths of the sample and a fifth of all customers."""
    rng = np.random.default_rng(0)
    n = 8000
    regular, sent = rng.random(n) < 0.8, rng.integers(0, 2, n)
    bought = rng.random(n) < 0.2 + 0.4 * regular * sent
    frame = pd.DataFrame({"x": rng.normal(size=n), "sent": sent, "buy": bought.astype(int)})
    frame["gmv"] = bought * rng.normal(10.0, 1.0, n)
    frame["w"] = np.where(regular, 0.25, 4.0)
    campaign = Campaign.from_frame(
        frame, treatment="sent", control=0, chain=["buy"], value="gmv", weight="w", features=["x"]
    )
    effects = small(name, n_estimators=20, **({} if "forest" in name else {"learning_rate": 0.2})).fit(
        campaign
    )
    effects = effects.predict(campaign)
    treated = sent == 1
    for stage, unweighted in (("buy", 0.32), ("value", 3.2)):
        outcome = campaign.outcome(stage)
        truth = np.average(outcome[treated], weights=frame.w[treated]) - np.average(
            outcome[~treated], weights=frame.w[~treated]
        )
        assert truth < 0.4 * unweighted
        assert effects.tau(stage, "1").mean() == pytest.approx(truth, abs=0.1 * unweighted), stage


def test_row_weights_are_the_sampling_weight_times_the_stabilised_propensity():
    frame = confounded()
    frame["w"] = np.where(frame.x > 0, 3.0, 1.0)
    roles = {"treatment": "sent", "control": 0, "chain": ["buy"], "features": ["x"]}
    assert row_weights(Campaign.from_frame(frame, **roles)) is None
    plain = row_weights(Campaign.from_frame(frame, weight="w", **roles)).values
    np.testing.assert_allclose(plain, frame.w / frame.w.mean())
    both = row_weights(Campaign.from_frame(frame, weight="w", propensity="p", **roles)).values
    share = np.average(frame.sent, weights=frame.w)
    expected = frame.w * np.where(frame.sent == 1, share, 1 - share) / frame.p
    np.testing.assert_allclose(both, expected / expected.mean())
    strata = row_weights(Campaign.from_frame(frame, strata=["wave"], **roles)).values
    # Within the reweighted rows, every arm has the same share of each wave.
    waves = [np.average(frame.wave[frame.sent == arm], weights=strata[frame.sent == arm]) for arm in (0, 1)]
    assert waves[0] == pytest.approx(waves[1], abs=1e-12)


def test_arm_means_under_integer_weights_are_those_of_repeated_rows():
    campaign, _ = planted(1500, arms=2, chain=1, value=False)
    frame = campaign.table.to_pandas().drop(columns="id")
    frame["w"] = np.random.default_rng(3).integers(1, 4, len(frame))
    roles = {"treatment": "coupon", "control": "none", "chain": ["click"]}
    weighted = Campaign.from_frame(frame, weight="w", **roles)
    repeated = Campaign.from_frame(frame.loc[frame.index.repeat(frame.w)].drop(columns="w"), **roles)
    means = [
        small("random").fit(campaign).predict(campaign).mu("click", "five")[0]
        for campaign in (weighted, repeated)
    ]
    assert means[0] == pytest.approx(means[1], rel=1e-6)


# -------------------------------------------------------------------- references


def test_response_ranks_by_the_outcome_whatever_the_arm(fitted, three_arms):
    campaign, _ = three_arms
    effects = fitted["response"][1]
    for stage in effects.stages:
        np.testing.assert_array_equal(effects.mu(stage, "five"), effects.mu(stage, "none"))
        np.testing.assert_array_equal(effects.tau(stage, "ten"), effects.mu(stage, "none"))
    rank = np.corrcoef(effects.tau("click", "five"), campaign.outcome("click"))[0, 1]
    assert rank > 0.2


def test_random_scores_depend_on_the_customer_and_on_nothing_else(fitted, three_arms):
    campaign, _ = three_arms
    model, effects = fitted["random"]
    order = np.random.default_rng(0).permutation(len(campaign))
    np.testing.assert_array_equal(model.predict(campaign.take(order)).tau_all, effects.tau_all[order])
    tau = effects.tau_all[:, 1:].reshape(len(campaign), -1)
    assert abs(np.corrcoef(tau, rowvar=False) - np.eye(tau.shape[1])).max() < 0.05
    assert abs(np.quantile(tau, [0.1, 0.5, 0.9], axis=0).T - [0.1, 0.5, 0.9]).max() < 0.03
    other = small("random", random_state=1).fit(campaign).predict(campaign)
    assert abs(np.corrcoef(other.tau("click", "five"), effects.tau("click", "five"))[0, 1]) < 0.05
    observed = campaign.outcome("click")[campaign.arm_codes == 1].mean()
    assert effects.mu("click", "five")[0] == pytest.approx(observed, rel=1e-5)


# -------------------------------------------------------------------- errors


def test_an_arm_without_rows_is_named(three_arms):
    campaign, _ = three_arms
    without = campaign.take(campaign.arm_codes != 2)
    for name in (*MODELS, *REFERENCES):
        with pytest.raises(ModelError, match="arm 'ten' has no rows"):
            small(name).fit(without)


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        ("lightgbm_t", {"num_leaves": 1}, "num_leaves is 1; it must be a whole number from 2"),
        ("lightgbm_s", {"n_estimators": 0}, "n_estimators is 0; it must be a whole number >= 1"),
        ("lightgbm_s", {"value_objective": "twedie"}, "did you mean 'tweedie'"),
        ("sklift_two_models", {"method": "vanila"}, "did you mean 'vanilla'"),
        ("causalml_uplift_forest", {"criterion": "XY"}, "criterion is 'XY'; choose from: KL, ED"),
        ("causalml_uplift_forest", {"max_features": 1.5}, "max_features is 1.5.*'sqrt', or left out"),
    ],
)
def test_wrong_parameters_are_refused_in_one_sentence(name, params, message, three_arms):
    with pytest.raises(ModelError, match=message):
        small(name, **params).fit(three_arms[0])


@pytest.mark.parametrize(
    ("name", "module", "install"),
    [
        ("sklift_two_models", "sklift.models", "scikit-uplift"),
        ("sklift_class_transformation", "sklift.models", "scikit-uplift"),
        ("causalml_x", "causalml.inference.meta", "causalml"),
        ("causalml_uplift_forest", "causalml.inference.tree", "causalml"),
    ],
)
def test_a_missing_peer_is_named_and_a_saved_model_does_not_need_it(
    name, module, install, fitted, three_arms, monkeypatch, tmp_path
):
    campaign, _ = three_arms
    model, effects = fitted[name]
    model.save(tmp_path / "model")
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(
        MissingDependencyError, match=f"{name}.*not installed; install it with pip install '{install}"
    ):
        small(name).fit(campaign)
    again = model_class(name).load(tmp_path / "model").predict(campaign)
    np.testing.assert_array_equal(again.tau_all, effects.tau_all)
