"""Chain composition of any learner: exact where the answer is known, unconfounded after every stage, and coherent."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from test_classical import planted

import uplift
from uplift.arms import VALUE_STAGE
from uplift.campaign import Campaign
from uplift.errors import ModelError
from uplift.models.base import ModelWarning
from uplift.models.chain.propensity import Design
from uplift.models.chain.stages import reached_before, stage_campaign
from uplift.models.registry import MODEL_NAMES, load_model, make_model, model_card, model_class
from uplift.models.row_weights import row_weights

SATURATED = {
    "n_estimators": 60, "learning_rate": 0.5, "num_leaves": 8, "min_child_samples": 1, "reg_lambda": 0.0, "n_jobs": 1,
}  # fmt: skip
QUICK = {"n_estimators": 20, "n_jobs": 1}
ARMS = ("none", "five", "ten")
ROLES = {"treatment": "coupon", "control": "none", "chain": ["click", "buy"], "value": "spend"}

# Rows, clickers and buyers of every cell (x0, x1) and arm; buyers spend 10 + 5 x0 + arm.
CELLS = {
    (0, 0): [(1000, 100, 60), (800, 400, 120), (600, 480, 96)],
    (0, 1): [(400, 200, 40), (900, 450, 90), (500, 250, 150)],
    (1, 0): [(700, 490, 98), (600, 180, 90), (800, 160, 120)],
    (1, 1): [(500, 50, 10), (500, 150, 60), (500, 250, 50)],
}


def exact_frame(cells=CELLS) -> pd.DataFrame:
    """Rows whose frequencies are the probabilities."""
    blocks = []
    for (x0, x1), counts in cells.items():
        for arm, (rows, clickers, buyers) in enumerate(counts):
            block = pd.DataFrame({"x0": [float(x0)] * rows, "x1": float(x1), "coupon": ARMS[arm]})
            block["click"] = (np.arange(rows) < clickers).astype(int)
            block["buy"] = (np.arange(rows) < buyers).astype(int)
            block["spend"] = np.where(block["buy"] == 1, 10.0 + 5.0 * x0 + arm, 0.0)
            block["cell"] = f"{x0}{x1}"
            blocks.append(block)
    return pd.concat(blocks, ignore_index=True).sample(frac=1.0, random_state=0)


def exact_outcomes(frame: pd.DataFrame, cells=CELLS) -> np.ndarray:
    """Mean outcome of every arm in the row's cell, float64 [row, arm, stage]."""
    n_arms = len(next(iter(cells.values())))
    mu = np.empty((len(frame), n_arms, 3))
    for (x0, x1), counts in cells.items():
        inside = ((frame["x0"] == x0) & (frame["x1"] == x1)).to_numpy()
        for arm, (rows, clickers, buyers) in enumerate(counts):
            mu[inside, arm] = np.array([clickers, buyers, buyers * (10.0 + 5.0 * x0 + arm)]) / rows
    return mu


@pytest.fixture(scope="module")
def frame():
    return exact_frame()


@pytest.fixture(scope="module")
def campaign(frame):
    return Campaign.from_frame(frame, features=["x0", "x1"], **ROLES)


# -------------------------------------------------------------------- exactness


@pytest.mark.parametrize("learner", ["lightgbm_t", "causalml_x", "sklift_two_models"])
def test_a_saturated_learner_composed_gives_the_cell_means_of_the_entire_space(learner, campaign, frame):
    effects = make_model("chain", learner=learner, params=SATURATED).fit(campaign).predict(campaign)
    truth = exact_outcomes(frame)
    largest = truth.max(axis=(0, 1))
    np.testing.assert_allclose(effects.mu_all / largest, truth / largest, atol=1e-4)
    np.testing.assert_array_equal(effects.tau_all, effects.mu_all - effects.mu_all[:, :1])


PROPENSITY_LEARNERS = [
    ("sklift_class_transformation", {"transformation": "class"}, 1e-3),
    ("sklift_class_transformation", {"transformation": "outcome"}, 1e-3),
    ("causalml_r", {}, 0.02),  # its folds do not have the exact frequencies
]


@pytest.mark.parametrize(("learner", "params", "tolerance"), PROPENSITY_LEARNERS)
def test_learners_that_need_propensities_are_right_after_a_click_and_wrong_without_them(
    learner, params, tolerance, campaign, frame
):
    """Two thirds of one cell's clickers clicked because of the coupon: at random at assignment, not among clickers."""
    # Randomised at the same rates in every cell; what differs is who clicks.
    cells = {
        (0, 0): [(2000, 200, 100), (2000, 1600, 400)],
        (0, 1): [(2000, 1000, 300), (2000, 1000, 600)],
        (1, 0): [(2000, 1400, 280), (2000, 400, 160)],
    }
    frame = exact_frame(cells)
    campaign = Campaign.from_frame(
        frame, features=["x0", "x1"], **{**ROLES, "value": None}, exclude=["spend"]
    )
    truth = exact_outcomes(frame, cells)[:, :, :2]
    model = make_model("chain", learner=learner, params={**SATURATED, **params}).fit(campaign)
    effects = model.predict(campaign)
    np.testing.assert_allclose(effects.mu_all, truth, atol=tolerance)
    np.testing.assert_allclose(effects.tau_all, truth - truth[:, :1], atol=2 * tolerance)

    clickers = campaign.take(reached_before(campaign, 1))
    naive = make_model(learner, **{**SATURATED, **params}).fit(stage_campaign(clickers, 1))
    rate = naive.predict(stage_campaign(campaign, 1)).tau_all[:, 1, 0]
    right = truth[:, 1, 1] / truth[:, 1, 0] - truth[:, 0, 1] / truth[:, 0, 0]
    assert np.abs(rate - right).max() > 0.1
    composed = model.parts_[1].predict(stage_campaign(campaign, 1)).tau_all[:, 1, 0]
    np.testing.assert_allclose(composed, right, atol=4 * tolerance)


@pytest.mark.parametrize("role", ["none", "strata", "propensity of two arms"])
def test_the_propensity_among_those_who_reached_a_stage_is_the_arms_share_among_them(role):
    """Bayes' rule against counting; assigned at rates that differ between the cells."""
    cells = CELLS
    if role == "none":  # the same shares of the arms in every cell
        cells = {cell: [(1000, *counts[1:]) for counts in arms] for cell, arms in CELLS.items()}
    if role == "propensity of two arms":
        cells = {cell: arms[:2] for cell, arms in CELLS.items()}
    frame = exact_frame(cells)
    group = frame.groupby(["cell", "coupon"])["click"].transform
    frame["p"] = group("size") / frame.groupby("cell")["click"].transform("size")
    extra = {"strata": {"strata": ["cell"]}, "propensity of two arms": {"propensity": "p"}}.get(role, {})
    campaign = Campaign.from_frame(frame, features=["x0", "x1", "cell"], **{**ROLES, **extra})
    found = Design.of(campaign).among(exact_outcomes(frame, cells)[:, :, 0])
    clicked = frame["click"] == 1
    expected = group("sum") / frame.groupby("cell")["click"].transform("sum")
    np.testing.assert_allclose(found[clicked], expected[clicked], rtol=1e-12)


def test_with_three_arms_and_the_propensity_of_one_the_arms_are_balanced_all_the_same(frame):
    """What a row's other arms would have had is not known; weighted clickers have the same cells under every arm."""
    known = frame.copy()
    known["p"] = known.groupby(["cell", "coupon"])["x0"].transform("size") / known.groupby("cell")[
        "x0"
    ].transform("size")
    campaign = Campaign.from_frame(known, features=["x0", "x1"], propensity="p", **ROLES)
    clicked = reached_before(campaign, 1)
    propensity = Design.of(campaign).among(exact_outcomes(known)[:, :, 0])[clicked]
    some = campaign.take(clicked)
    for given, balanced in ((propensity, True), (some.propensity, False)):
        weights = row_weights(stage_campaign(some, 1, given)).values
        cell = known["cell"].to_numpy()[clicked]
        mass = pd.Series(weights).groupby([cell, some.arm_codes]).sum().unstack().to_numpy()
        shares = mass / mass.sum(axis=0)
        assert np.allclose(shares, shares[:, :1], atol=1e-9) == balanced


def test_a_rate_predicted_near_zero_gives_no_row_more_than_ten_times_the_weight(campaign):
    reached = exact_outcomes(exact_frame())[:, :, 0].copy()
    reached[:, 1] = 0.0
    design = Design.of(campaign)
    found = design.among(reached)
    assert found.min() > 0
    of_five = campaign.arm_codes == 1
    np.testing.assert_allclose(found[of_five], design.received[of_five] / 10)
    assert np.isfinite(design.among(0 * reached)).all()


# -------------------------------------------------------------------- the campaign of a stage


def test_other_stages_and_outcomes_are_no_features_of_a_stage(frame):
    """Although no features are named; and a cost on a stage that is not there does no harm."""
    campaign = Campaign.from_frame(
        frame.drop(columns="cell"), arms={"five": {"amount": 5.0, "cost": {"on": "buy", "amount": 5.0}}}, **ROLES
    )  # fmt: skip
    model = make_model("chain", learner="lightgbm_t", params=QUICK).fit(campaign)
    for part in model.parts_:
        assert part.schema_.names == ("x0", "x1")
    audience = campaign.audience(pd.DataFrame({"x0": [0.0, 1.0], "x1": [1.0, 1.0]}))
    assert model.predict(audience).mu_all.shape == (2, 3, 3)
    assert [part.stages_ for part in model.parts_] == [("click",), ("buy",), ("buy", VALUE_STAGE)]


def test_one_stage_is_the_learner_itself():
    campaign, _ = planted(2000, arms=2, chain=1, value=False)
    direct = make_model("lightgbm_s", **QUICK).fit(campaign).predict(campaign)
    composed = make_model("chain", learner="lightgbm_s", params=QUICK).fit(campaign).predict(campaign)
    np.testing.assert_array_equal(composed.mu_all, direct.mu_all)
    assert composed.model == "chain"


def test_validation_rows_that_reached_a_stage_stop_its_learner(campaign):
    learned, held = campaign.split(test=0.4, seed=1)
    params = {"n_estimators": 80, "patience": 5, "n_jobs": 1}
    model = make_model("chain", learner="lightgbm_chain", params=params).fit(learned, validation=held)
    first = make_model("lightgbm_chain", **params).fit(
        stage_campaign(learned, 0), validation=stage_campaign(held, 0)
    )
    assert model.parts_[0].rounds_ == first.rounds_
    other = make_model("chain", learner="lightgbm_chain", params=params).fit(learned)
    assert [part.rounds_ for part in other.parts_] != [part.rounds_ for part in model.parts_]
    with pytest.raises(ModelError, match="the validation campaign has arms none, five, ten and stages click"):
        make_model("chain").fit(learned, validation=stage_campaign(held, 0))


# -------------------------------------------------------------------- the model


@pytest.fixture(scope="module")
def simulated():
    return uplift.simulate(rows=6000, arms=2, chain=("click", "conversion"), seed=1).campaign()


def learner_params(name):
    """As small as the model allows."""
    small = {
        "max_epochs": 1,
        "hidden": (8,),
        "embedding_dim": 4,
        "device": "cpu",
        "n_estimators": 4,
        "n_jobs": 1,
    }
    known = model_class(name).parameter_names()
    return {key: value for key, value in small.items() if key in known}


SINGLE = [name for name in MODEL_NAMES if model_card(name).family not in ("reference", "blend")]


@pytest.mark.parametrize("learner", SINGLE)
def test_every_model_can_be_the_learner(learner, simulated, tmp_path):
    """Rates never rise along the chain, uplifts are differences, and a saved chain predicts the same bits."""
    model = make_model("chain", learner=learner, params=learner_params(learner)).fit(simulated)
    effects = model.predict(simulated)
    assert (effects.mu_all[..., 1] <= effects.mu_all[..., 0]).all()
    assert effects.mu_all[..., :2].min() >= 0
    assert effects.mu_all[..., 0].max() <= 1
    np.testing.assert_array_equal(effects.tau_all, effects.mu_all - effects.mu_all[:, :1])
    model.save(tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    assert loaded.get_params() == json.loads(json.dumps(model.get_params()))
    np.testing.assert_array_equal(loaded.predict(simulated).mu_all, effects.mu_all)
    suffixes = {path.suffix for path in (tmp_path / "model").rglob("*") if path.is_file()}
    assert suffixes <= {".json", ".txt", ".npz", ".safetensors"}


def test_a_seed_of_its_own_is_the_learners_unless_that_has_one(simulated):
    chain = make_model("chain", learner="lightgbm_s", params=QUICK, random_state=5).fit(simulated)
    assert [part.get_params()["random_state"] for part in chain.parts_] == [5, 5, 5]
    kept = make_model("chain", learner="lightgbm_s", params={**QUICK, "random_state": 2}, random_state=5)
    assert kept.fit(simulated).parts_[0].get_params()["random_state"] == 2


def test_networks_tell_how_far_they_are_and_keep_their_state(simulated, tmp_path):
    params = {"max_epochs": 2, "hidden": [8], "embedding_dim": 4, "device": "cpu"}
    model, heard = make_model("chain", learner="ecup", params=params), []
    model.on_progress = heard.append
    model.fit(simulated, checkpoint=tmp_path / "state")
    assert heard[0].startswith("click: epoch 1 of")
    assert heard[-1].startswith("value: epoch 2 of")
    kept = {
        path.relative_to(tmp_path / "state").parts[0] for path in (tmp_path / "state").rglob("*.safetensors")
    }
    assert kept == {"stage0", "stage1", "stage2"}


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"learner": "chain"}, "the learner 'chain' is made of other models"),
        ({"learner": "chain_blend"}, "the learner 'chain_blend' is made of other models"),
        ({"learner": "random"}, "the learner 'random' is a reference"),
        ({"learner": "lightgbm_q"}, "unknown model 'lightgbm_q'"),
        ({"learner": "lightgbm_t", "params": {"num_leaves": 1}}, "model 'lightgbm_t': num_leaves is 1"),
        ({"learner": "lightgbm_t", "params": {"leaves": 1}}, "model 'lightgbm_t' has no parameter 'leaves'"),
        ({"params": ["n_estimators"]}, "it must be a table of the learner's parameters"),
    ],
)
def test_wrong_learners_are_refused_in_one_sentence(params, message):
    with pytest.raises(ModelError, match=message):
        make_model("chain", **params)


def test_a_stage_that_no_row_of_an_arm_reached_is_refused_by_name(frame):
    campaign = Campaign.from_frame(
        frame.assign(buy=frame["buy"] * (frame["coupon"] != "ten"), spend=0.0), features=["x0"], **ROLES
    )
    with pytest.raises(ModelError, match="no training row of arm 'ten' reached 'buy', so 'value' cannot"):
        make_model("chain", params=QUICK).fit(campaign)


def test_a_value_without_the_last_stage_is_ignored_and_said(frame):
    stray = frame.copy()
    stray.loc[stray.index[stray["buy"] == 0][:5], "spend"] = 1000.0
    campaign = Campaign.from_frame(stray, features=["x0", "x1"], **ROLES)
    with pytest.warns(ModelWarning, match="ignores the value of 5 rows that did not reach 'buy'"):
        model = make_model("chain", learner="lightgbm_t", params=SATURATED).fit(campaign)
    np.testing.assert_allclose(model.predict(campaign).mu_all, exact_outcomes(stray), atol=5e-3)
