"""Parity: our predictions are those of the peer libraries, run as their own documentation says."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from test_classical import planted, small

from uplift.models.classical.causalml_forest import flatten
from uplift.models.classical.flat_forest import FlatForest

lightgbm = pytest.importorskip("lightgbm")

PARAMS = {
    "n_estimators": 25,
    "learning_rate": 0.05,
    "num_leaves": 8,
    "min_child_samples": 100,
    "reg_lambda": 1.0,
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


def test_x_learner_is_causalml(campaign, matrix):
    from causalml.inference.meta import BaseXClassifier, BaseXRegressor

    effects = ours(campaign, "causalml_x")
    arms = campaign.arm_codes.astype(int)
    propensity = {
        code: np.full(len(arms), (arms == code).sum() / np.isin(arms, (0, code)).sum()) for code in (1, 2)
    }
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
    peer = CausalRandomForestRegressor(honesty=True, bootstrap=False, min_group_samples=10, **common)
    peer.fit(X=x, treatment=arms, y=campaign.outcome("value").astype(float))
    expected = peer.predict(x, with_outcomes=True).astype(np.float32)
    np.testing.assert_array_equal(effects.mu_all[:, :, 2], expected[:, :3])
    np.testing.assert_array_equal(effects.tau_all[:, 1:, 2], expected[:, 3:])


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
