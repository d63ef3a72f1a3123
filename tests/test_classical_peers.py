"""Parity: our predictions are those of the peer libraries, run as their own documentation says."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from test_classical import planted, small

from uplift.campaign import Campaign
from uplift.errors import ModelError
from uplift.models.classical.causalml_trees import flatten
from uplift.models.classical.flat_forest import FlatForest

lightgbm = pytest.importorskip("lightgbm")

PARAMS = {
    "n_estimators": 25,
    "learning_rate": 0.05,
    "num_leaves": 8,
    "min_child_samples": 100,
    "reg_lambda": 1.0,
    "max_cat_to_onehot": 1_000_000,
    "random_state": 0,
    "n_jobs": 1,
    "deterministic": True,
    "force_row_wise": True,
    "verbosity": -1,
}


@pytest.fixture(scope="module")
def campaign():
    return planted(5000)[0]


@pytest.fixture(scope="module")
def matrix(campaign):
    from uplift.features import FeatureSchema

    return FeatureSchema.fit(campaign).matrix(campaign)


class Classifier(lightgbm.LGBMClassifier):
    """scikit-learn's LightGBM, told which column is a category."""

    def fit(self, X, y, **options):
        return super().fit(X, y, categorical_feature=[4], **options)


class Regressor(lightgbm.LGBMRegressor):
    def fit(self, X, y, **options):
        return super().fit(X, y, categorical_feature=[4], **options)


def estimator(stage):
    return Regressor(**PARAMS) if stage == "value" else Classifier(**PARAMS)


def pair_of(campaign, matrix, arm, stage):
    rows = np.isin(campaign.arm_codes, (0, arm))
    treated = (campaign.arm_codes[rows] == arm).astype(int)
    return matrix[rows], campaign.outcome(stage)[rows], treated


def ours(campaign, name, **params):
    model = small(name, **{"n_estimators": 25, **params})
    return model.fit(campaign).predict(campaign)


def test_t_learner_is_one_plain_lightgbm_per_arm_and_stage(campaign, matrix):
    """Sharing one binned matrix between stages changes no number."""
    effects = ours(campaign, "lightgbm_t")
    for stage in ("click", "value"):  # "buy" is capped by "click"
        for code, arm in enumerate(effects.arms):
            rows = campaign.arm_codes == code
            peer = estimator(stage).fit(matrix[rows], campaign.outcome(stage)[rows])
            expected = peer.predict(matrix) if stage == "value" else peer.predict_proba(matrix)[:, 1]
            np.testing.assert_array_equal(effects.mu(stage, arm), expected.astype(np.float32))


@pytest.mark.parametrize("method", ["vanilla", "ddr_control", "ddr_treatment"])
def test_two_models_is_sklift(method, campaign, matrix):
    from sklift.models import TwoModels

    effects = ours(campaign, "sklift_two_models", method=method)
    for stage in effects.stages:
        for code, arm in ((1, "five"), (2, "ten")):
            x, y, treated = pair_of(campaign, matrix, code, stage)
            peer = TwoModels(estimator(stage), estimator(stage), method=method).fit(x, y, treated)
            np.testing.assert_array_equal(effects.tau(stage, arm), peer.predict(matrix).astype(np.float32))
            if stage == "click":
                np.testing.assert_array_equal(effects.mu(stage, arm), peer.trmnt_preds_.astype(np.float32))


class WithInteractions(lightgbm.LGBMClassifier):
    """The category and its product with the treatment are categories."""

    def fit(self, X, y, **options):
        return super().fit(X, y, categorical_feature=[4, 9], **options)


class MoneyWithInteractions(lightgbm.LGBMRegressor):
    def fit(self, X, y, **options):
        return super().fit(X, y, categorical_feature=[4, 9], **options)


@pytest.mark.parametrize("method", ["dummy", "treatment_interaction"])
def test_solo_model_is_sklift(method, campaign, matrix):
    from sklift.models import SoloModel

    effects = ours(campaign, "sklift_solo", method=method)
    for stage in effects.stages:
        controls = []
        for code, arm in ((1, "five"), (2, "ten")):
            x, y, treated = pair_of(campaign, matrix, code, stage)
            inner = estimator(stage)
            if method == "treatment_interaction":
                inner = (MoneyWithInteractions if stage == "value" else WithInteractions)(**PARAMS)
            peer = SoloModel(inner, method=method).fit(x, y, treated)
            np.testing.assert_array_equal(effects.tau(stage, arm), peer.predict(matrix).astype(np.float32))
            if stage == "click":
                np.testing.assert_array_equal(effects.mu(stage, arm), peer.trmnt_preds_.astype(np.float32))
            controls.append(peer.ctrl_preds_)
        if stage == "click":
            np.testing.assert_allclose(effects.mu(stage, "none"), np.mean(controls, axis=0), rtol=1e-6)


def test_transformed_outcome_of_every_stage_is_sklift(campaign, matrix):
    from sklift.models import ClassTransformationReg

    effects = ours(campaign, "sklift_class_transformation", transformation="outcome")
    for stage in effects.stages:
        for code, arm in ((1, "five"), (2, "ten")):
            x, y, treated = pair_of(campaign, matrix, code, stage)
            peer = ClassTransformationReg(Regressor(**PARAMS), propensity_val=treated.mean())
            peer.fit(x, y, treated)
            np.testing.assert_array_equal(effects.tau(stage, arm), peer.predict(matrix).astype(np.float32))


def test_class_transformation_is_sklift_with_balanced_weights(campaign, matrix):
    from sklift.models import ClassTransformation, ClassTransformationReg

    effects = ours(campaign, "sklift_class_transformation")
    for stage in effects.stages:
        for code, arm in ((1, "five"), (2, "ten")):
            x, y, treated = pair_of(campaign, matrix, code, stage)
            share = treated.mean()
            if stage == "value":
                peer = ClassTransformationReg(estimator(stage), propensity_val=share).fit(x, y, treated)
            else:
                balance = np.where(treated == 1, 0.5 / share, 0.5 / (1 - share))
                peer = ClassTransformation(estimator(stage))
                peer.fit(x, y, treated, estimator_fit_params={"sample_weight": balance})
            np.testing.assert_array_equal(effects.tau(stage, arm), peer.predict(matrix).astype(np.float32))


def shares(campaign):
    """Of every arm, its share among its rows and those of control, for each row."""
    arms = campaign.arm_codes
    return {
        code: np.full(len(arms), (arms == code).sum() / np.isin(arms, (0, code)).sum()) for code in (1, 2)
    }


def probabilities(base):
    """A classifier whose `predict` is a probability, as CausalML's regressors want it."""

    class Probabilities(base):
        def predict(self, X, **options):
            return self.predict_proba(X)[:, 1]

    return Probabilities


class TreatmentFirst(lightgbm.LGBMClassifier):
    def fit(self, X, y, **options):
        return super().fit(X, y, categorical_feature=[5], **options)


class MoneyTreatmentFirst(lightgbm.LGBMRegressor):
    def fit(self, X, y, **options):
        return super().fit(X, y, categorical_feature=[5], **options)


def test_s_learner_is_causalml(campaign, matrix):
    from causalml.inference.meta import BaseSClassifier, BaseSRegressor

    effects = ours(campaign, "causalml_s")
    for stage in effects.stages:
        if stage == "value":
            peer = BaseSRegressor(learner=MoneyTreatmentFirst(**PARAMS), control_name=0)
        else:
            peer = BaseSClassifier(learner=TreatmentFirst(**PARAMS), control_name=0)
        peer.fit(X=matrix, treatment=campaign.arm_codes.astype(int), y=campaign.outcome(stage))
        np.testing.assert_array_equal(
            effects.tau_all[:, 1:, effects.stages.index(stage)], peer.predict(matrix).astype(np.float32)
        )


def test_t_learner_is_causalml(campaign, matrix):
    from causalml.inference.meta import BaseTClassifier, BaseTRegressor

    effects = ours(campaign, "causalml_t")
    for stage in effects.stages:
        peer = (BaseTRegressor if stage == "value" else BaseTClassifier)(estimator(stage), control_name=0)
        peer.fit(X=matrix, treatment=campaign.arm_codes.astype(int), y=campaign.outcome(stage))
        tau, _, treated = peer.predict(matrix, return_components=True)
        s = effects.stages.index(stage)
        np.testing.assert_array_equal(effects.tau_all[:, 1:, s], tau.astype(np.float32))
        if stage == "click":
            np.testing.assert_array_equal(effects.mu(stage, "ten"), treated[2].astype(np.float32))


def outcome_learner(stage):
    return Regressor(**PARAMS) if stage == "value" else probabilities(Classifier)(**PARAMS)


def test_r_learner_is_causalml_given_the_arms_shares(campaign, matrix):
    """With the regressor of causalml for all stages; its outcome learner predicts probabilities."""
    from causalml.inference.meta import BaseRRegressor

    effects = ours(campaign, "causalml_r", n_folds=3, random_state=7)
    seeded = {**PARAMS, "random_state": 7}
    for stage in effects.stages:
        outcome = Regressor(**seeded) if stage == "value" else probabilities(Classifier)(**seeded)
        peer = BaseRRegressor(
            outcome_learner=outcome,
            effect_learner=Regressor(**seeded),
            control_name=0,
            n_fold=3,
            random_state=7,
        )
        peer.cv_n_jobs = 1
        peer.fit(
            X=matrix,
            treatment=campaign.arm_codes.astype(int),
            y=campaign.outcome(stage).astype(float),
            p=shares(campaign),
        )
        np.testing.assert_array_equal(
            effects.tau_all[:, 1:, effects.stages.index(stage)], peer.predict(matrix).astype(np.float32)
        )


def test_dr_learner_is_causalml_given_the_arms_shares(campaign, matrix):
    """With the regressor of causalml for all stages: its classifier would use predicted classes as probabilities."""
    from causalml.inference.meta import BaseDRRegressor

    effects = ours(campaign, "causalml_dr")
    for stage in effects.stages:
        peer = BaseDRRegressor(
            control_outcome_learner=outcome_learner(stage),
            treatment_outcome_learner=outcome_learner(stage),
            treatment_effect_learner=Regressor(**PARAMS),
            control_name=0,
        )
        peer.fit(
            X=matrix, treatment=campaign.arm_codes.astype(int), y=campaign.outcome(stage).astype(float),
            p=shares(campaign), seed=0,
        )  # fmt: skip
        tau, controls, _ = peer.predict(matrix, return_components=True)
        s = effects.stages.index(stage)
        np.testing.assert_array_equal(effects.tau_all[:, 1:, s], tau.astype(np.float32))
        if stage == "click":
            np.testing.assert_array_equal(effects.mu(stage, "none"), controls[1].astype(np.float32))


def test_x_learner_is_causalml(campaign, matrix):
    from causalml.inference.meta import BaseXClassifier, BaseXRegressor

    effects = ours(campaign, "causalml_x")
    arms, propensity = campaign.arm_codes.astype(int), shares(campaign)
    for stage in effects.stages:
        if stage == "value":
            peer = BaseXRegressor(learner=Regressor(**PARAMS), control_name=0)
        else:
            peer = BaseXClassifier(
                outcome_learner=Classifier(**PARAMS), effect_learner=Regressor(**PARAMS), control_name=0
            )
        peer.fit(X=matrix, treatment=arms, y=campaign.outcome(stage), p=propensity)
        expected = peer.predict(matrix, p=propensity)
        np.testing.assert_array_equal(
            np.column_stack([effects.tau(stage, arm) for arm in ("five", "ten")]),
            expected.astype(np.float32),
        )


def test_uplift_forest_is_causalml(campaign):
    from causalml.inference.tree import CausalRandomForestRegressor, UpliftRandomForestClassifier

    model = small("causalml_uplift_forest").fit(campaign)
    effects = model.predict(campaign)
    x, arms = model.schema_.dense(campaign), campaign.arm_codes.astype(int)
    common = {
        "control_name": 0,
        "n_estimators": 8,
        "max_depth": 5,
        "min_samples_leaf": 100,
        "max_features": 0.5,
        "random_state": 0,
        "n_jobs": 1,
    }
    for stage in ("click", "buy"):
        peer = UpliftRandomForestClassifier(n_reg=10, min_samples_treatment=10, **common)
        peer.fit(X=x, treatment=arms, y=campaign.outcome(stage).astype(float))
        full = peer.predict(x, full_output=True)
        for code, arm in ((1, "five"), (2, "ten")):
            np.testing.assert_array_equal(effects.tau(stage, arm), full[f"delta_{code}"].astype(np.float32))
            if stage == "click":  # "buy" is capped by "click"
                np.testing.assert_array_equal(effects.mu(stage, arm), full[code].astype(np.float32))
    peer = CausalRandomForestRegressor(
        honesty=True, bootstrap=False, min_group_samples=10, groups_penalty=0.0, **common
    )
    peer.fit(X=x, treatment=arms, y=campaign.outcome("value").astype(float))
    expected = peer.predict(x, with_outcomes=True).astype(np.float32)
    np.testing.assert_array_equal(effects.mu_all[:, :, 2], expected[:, :3])
    np.testing.assert_array_equal(effects.tau_all[:, 1:, 2], expected[:, 3:])


FOREST = {
    "control_name": 0, "n_estimators": 4, "max_depth": 4, "min_samples_leaf": 100, "max_features": 0.5,
    "random_state": 0, "n_jobs": 1,
}  # fmt: skip


@pytest.mark.parametrize("criterion", ["ED", "Chi", "CTS"])
def test_uplift_forest_is_causalml_with_every_criterion_for_all_arms(criterion, campaign):
    from causalml.inference.tree import UpliftRandomForestClassifier

    model = small("causalml_uplift_forest", criterion=criterion, n_estimators=4, max_depth=4).fit(campaign)
    x, arms = model.schema_.dense(campaign), campaign.arm_codes.astype(int)
    peer = UpliftRandomForestClassifier(evaluationFunction=criterion, **FOREST)
    peer.fit(X=x, treatment=arms, y=campaign.outcome("click").astype(float))
    np.testing.assert_array_equal(
        model.predict(campaign).tau_all[:, 1:, 0], peer.predict(x).astype(np.float32)
    )


@pytest.mark.parametrize("criterion", ["DDP", "IT", "CIT", "IDDP"])
def test_uplift_forest_is_causalml_arm_by_arm_with_criteria_for_one_arm(criterion, campaign, tmp_path):
    from causalml.inference.tree import UpliftRandomForestClassifier

    from uplift.models.registry import load_model

    model = small("causalml_uplift_forest", criterion=criterion, n_estimators=4, max_depth=4).fit(campaign)
    effects, controls = model.predict(campaign), []
    x = model.schema_.dense(campaign)
    for code, arm in ((1, "five"), (2, "ten")):
        rows, y, treated = pair_of(campaign, x, code, "click")
        peer = UpliftRandomForestClassifier(evaluationFunction=criterion, **FOREST)
        peer.fit(X=rows, treatment=treated, y=y.astype(float))
        full = peer.predict(x, full_output=True)
        np.testing.assert_array_equal(effects.tau("click", arm), full["delta_1"].astype(np.float32))
        np.testing.assert_array_equal(effects.mu("click", arm), full[1].astype(np.float32))
        controls.append(full[0])
    np.testing.assert_allclose(effects.mu("click", "none"), np.mean(controls, axis=0), rtol=1e-6)
    model.save(tmp_path / "model")
    np.testing.assert_array_equal(load_model(tmp_path / "model").predict(campaign).tau_all, effects.tau_all)


def test_a_criterion_that_ignores_weights_refuses_a_campaign_that_needs_them(campaign):
    frame = campaign.table.to_pandas().assign(w=2.0)
    weighted = Campaign.from_frame(
        frame, unit="id", treatment="coupon", control="none", chain=["click"], weight="w", exclude=["buy", "spend"]
    )  # fmt: skip
    with pytest.raises(ModelError, match="criterion 'IDDP' fills its leaves without weights"):
        small("causalml_uplift_forest", criterion="IDDP").fit(weighted)


@pytest.mark.parametrize("criterion", ["causal_mse", "standard_mse", "t_test"])
def test_causal_forest_is_causalml_for_every_stage(criterion, campaign):
    from causalml.inference.tree import CausalRandomForestRegressor

    model = small("causalml_causal_forest", criterion=criterion, n_estimators=4, max_depth=4).fit(campaign)
    effects = model.predict(campaign)
    x, arms = model.schema_.dense(campaign), campaign.arm_codes.astype(int)
    for s, stage in enumerate(effects.stages):
        peer = CausalRandomForestRegressor(
            honesty=True, bootstrap=False, min_group_samples=10, criterion=criterion, groups_penalty=0.0, **FOREST
        ).fit(X=x, treatment=arms, y=campaign.outcome(stage).astype(float))  # fmt: skip
        expected = peer.predict(x, with_outcomes=True).astype(np.float32)
        assert np.isfinite(expected).all()
        np.testing.assert_array_equal(effects.tau_all[:, 1:, s], expected[:, 3:])
        if stage != "buy":  # capped by "click"
            np.testing.assert_array_equal(effects.mu_all[:, :, s], expected[:, :3])


def test_the_peers_default_penalty_on_unequal_arms_hides_the_effects_of_a_rate():
    """Why `groups_penalty` is 0 here: with causalml's default the trees balance rows and miss the uplift."""
    campaign, truth = planted(5000, chain=1, value=False)
    found = {
        penalty: np.corrcoef(
            small("causalml_causal_forest", groups_penalty=penalty).fit(campaign).predict(campaign).tau("click", "ten"),
            truth[:, 2, 0],
        )[0, 1]
        for penalty in (0.0, 0.5)
    }  # fmt: skip
    assert found[0.0] > 0.9
    assert found[0.5] < 0.6


def test_flat_forest_sends_missing_values_where_causalml_does(campaign, matrix, tmp_path):
    """And is the same after a round trip to disk; compared before float32 rounding."""
    from causalml.inference.tree import UpliftRandomForestClassifier

    arms = campaign.arm_codes.astype(int)
    holes = matrix.copy()
    holes[np.random.default_rng(0).random(holes.shape) < 0.2] = np.nan
    peer = UpliftRandomForestClassifier(control_name=0, n_estimators=6, max_depth=8, min_samples_leaf=20)
    peer.random_state = 0
    peer.fit(X=holes, treatment=arms, y=campaign.outcome("click").astype(float))
    expected = peer.predict(holes, full_output=True)[[0, 1, 2]].to_numpy()
    flat = flatten(peer, 3)
    np.testing.assert_array_equal(flat.predict(holes), expected)
    flat.save(tmp_path / "forest.npz")
    np.testing.assert_array_equal(FlatForest.load(tmp_path / "forest.npz").predict(holes), expected)


def test_a_tree_whose_sample_lacks_an_arm_counts_zero_as_in_causalml():
    from causalml.inference.tree import UpliftRandomForestClassifier

    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 3)).astype(np.float32)
    arms = np.repeat([0, 1, 2], [250, 149, 1])
    outcome = rng.integers(0, 2, 400).astype(float)
    peer = UpliftRandomForestClassifier(control_name=0, n_estimators=12, min_samples_leaf=20, random_state=0)
    peer.fit(X=x, treatment=arms, y=outcome)
    assert {len(tree.classes_) for tree in peer.estimators_} == {2, 3}
    expected = peer.predict(x, full_output=True)[[0, 1, 2]].to_numpy()
    np.testing.assert_array_equal(flatten(peer, 3).predict(x), expected)


def test_a_leaf_that_an_arm_never_reaches_takes_the_value_from_above():
    """causalml's regression forest predicts NaN there; everywhere else we predict the same."""
    from causalml.inference.tree import CausalRandomForestRegressor

    rng = np.random.default_rng(0)
    x = rng.normal(size=(3000, 2)).astype(np.float32)
    arms = np.where((x[:, 0] > 0.3) & (rng.random(3000) < 0.95), 0, rng.integers(0, 2, 3000))
    money = (1.0 + 4.0 * (x[:, 0] > 0.3) + arms + rng.normal(size=3000)).astype(float)
    peer = CausalRandomForestRegressor(
        control_name=0, n_estimators=6, min_samples_leaf=5, min_group_samples=1, max_depth=9, bootstrap=False,
        honesty=True, random_state=0, n_jobs=1,
    ).fit(X=x, treatment=arms, y=money)  # fmt: skip
    expected = peer.predict(x, with_outcomes=True)
    found = flatten(peer, 2).predict(x)
    unknown = np.isnan(expected).any(axis=1)
    assert 0 < unknown.mean() < 0.9
    np.testing.assert_array_equal(found[~unknown], expected[~unknown])
    assert np.isfinite(found).all()
    assert np.abs(found[unknown, 2] - 1.0).mean() < 1.5


def test_importing_causalml_leaves_the_plot_style_alone():
    code = (
        "import matplotlib; before = dict(matplotlib.rcParams)\n"
        "from uplift.models.classical.peers import import_peer\n"
        "import_peer('causalml.inference.meta', model='causalml_x')\n"
        "import sys; assert 'causalml.metrics' in sys.modules and 'sklift' not in sys.modules\n"
        "assert dict(matplotlib.rcParams) == before\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "duecredit" not in done.stderr


def test_sklift_is_used_without_its_broken_plots():
    code = (
        "from uplift.models.classical.peers import import_peer\n"
        "import_peer('sklift.models', model='sklift_two_models')\n"
        "import sys; assert 'sklift.viz' not in sys.modules and 'causalml' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
