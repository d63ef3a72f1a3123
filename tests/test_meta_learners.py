"""Our meta-learners: the peers' numbers under the peers' conditions, closed forms, and what assignment does to them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from test_classical import confounded, planted

import uplift
from uplift.campaign import Campaign
from uplift.errors import ModelError
from uplift.features import FeatureSchema
from uplift.models.classical import boosting
from uplift.models.classical.assignment import Assignment
from uplift.models.classical.jobs import in_order
from uplift.models.classical.pseudo_outcomes import doubly_robust, r_target, same_class, transformed
from uplift.models.registry import make_model

lightgbm = pytest.importorskip("lightgbm")

META = ("lightgbm_x", "lightgbm_r", "lightgbm_dr", "lightgbm_transformed")
CROSS_FITTED = ("lightgbm_r", "lightgbm_dr")
TREES = {
    "n_estimators": 20, "learning_rate": 0.1, "num_leaves": 8, "min_child_samples": 50, "max_cat_to_onehot": 4,
    "random_state": 0, "n_jobs": 1,
}  # fmt: skip
SAME = {
    **TREES, "effect_n_estimators": 20, "effect_learning_rate": 0.1, "effect_num_leaves": 8,
    "effect_min_child_samples": 50,
}  # fmt: skip
PEER = {**TREES, "reg_lambda": 1.0, "deterministic": True, "force_row_wise": True, "verbosity": -1}


class Rate(lightgbm.LGBMRegressor):
    """A classifier that calls itself a regressor and predicts the probability, as learners that know no classes want it."""

    def fit(self, X, y, **options):
        self.classifier_ = lightgbm.LGBMClassifier(**PEER).fit(X, y, **options)
        return self

    def predict(self, X, **options):
        return self.classifier_.predict_proba(X)[:, 1]


def base(stage: str):
    return lightgbm.LGBMRegressor(**PEER) if stage == "value" else Rate(**PEER)


def coarse(n: int = 4000, *, arms: int = 2, seed: int = 0) -> Campaign:
    """Features of 20 values each, so that any part of the rows has the bins of all; a click, and money."""
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 20, (n, 4)) / 10.0
    arm = rng.integers(0, arms, n)
    click = rng.random(n) < 0.15 + 0.1 * (x[:, 1] > 1) + (arm > 0) * 0.1 * arm * (x[:, 0] > 1)
    frame = pd.DataFrame({f"x{j}": x[:, j] for j in range(4)})
    frame["id"], frame["arm"], frame["click"] = np.arange(n) + 500, arm, click.astype(int)
    frame["spend"] = click * rng.gamma(4.0, 5.0, n)
    return Campaign.from_frame(frame, unit="id", treatment="arm", control=0, chain=["click"], value="spend")


def fine(n: int = 4000) -> Campaign:
    """Features that have more values than there are bins."""
    frame = planted(n, arms=2, chain=1)[0].table.to_pandas().drop(columns=["city", "x3"])
    return Campaign.from_frame(
        frame, unit="id", treatment="coupon", control="none", chain=["click"], value="spend", name="fine"
    )


def matrix_of(campaign: Campaign) -> np.ndarray:
    return FeatureSchema.fit(campaign).matrix(campaign)


def tau_of(model, campaign: Campaign, stage: str) -> np.ndarray:
    return model.predict(campaign).tau(stage, campaign.arm_names[1]).astype(float)


def splits(model, campaign: Campaign) -> list[tuple[np.ndarray, np.ndarray]]:
    """The folds of a model as (learn, judge), for scikit-learn's `cv`."""
    fold = model._fold(campaign)
    return [(np.flatnonzero(fold != f), np.flatnonzero(fold == f)) for f in range(model.folds)]


def assert_peer(campaign: Campaign, ours: np.ndarray, theirs: np.ndarray) -> None:
    """The same numbers where bins cannot differ, and nearly the same effects where they do.

    That the first holds shows that bins are the whole difference of the second: correlations of 0.97 to 0.99 for R and DR,
    whose noisy targets move splits more easily than those of T and X, above 0.99.
    """
    if campaign.name == "fine":
        assert np.corrcoef(ours, theirs)[0, 1] > 0.96
    else:
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


# -------------------------------------------------------------------- parity

BOTH = pytest.mark.parametrize("campaign", [coarse(), fine()], ids=["coarse", "fine"])
"""With fine features ours bins all rows at once and a peer each model's rows: other cuts, nearly the same effects."""


@BOTH
@pytest.mark.parametrize("stage", ["click", "value"])
def test_t_and_x_learner_are_causalmls(campaign, stage):
    from causalml.inference.meta import BaseTRegressor, BaseXClassifier, BaseXRegressor

    x, arms, y = matrix_of(campaign), campaign.arm_codes.astype(int), campaign.outcome(stage).astype(float)
    model = make_model("lightgbm_t", **TREES).fit(campaign)
    theirs = BaseTRegressor(learner=base(stage), control_name=0)
    theirs.fit(X=x, treatment=arms, y=y)
    assert_peer(campaign, tau_of(model, campaign, stage), theirs.predict(x)[:, 0])

    share = np.full(len(arms), (arms == 1).mean())
    if stage == "value":
        peer = BaseXRegressor(learner=base("value"), control_name=0)
    else:
        peer = BaseXClassifier(
            outcome_learner=lightgbm.LGBMClassifier(**PEER), effect_learner=base("value"), control_name=0
        )
    peer.fit(X=x, treatment=arms, y=y, p=share)
    model = make_model("lightgbm_x", **SAME).fit(campaign)
    assert_peer(campaign, tau_of(model, campaign, stage), peer.predict(x, p=share)[:, 0])


class Constant:
    """A "model" of the treatment that knows its probability."""

    def __init__(self, share: float) -> None:
        self.share = share

    def get_params(self, deep=True):
        return {"share": self.share}

    def fit(self, X, y, **options):
        return self

    def predict_proba(self, X):
        return np.tile([1 - self.share, self.share], (len(X), 1))

    def predict(self, X):
        return np.zeros(len(X), int)

    def score(self, X, y, **options):
        return 0.0


class PerArm:
    """EconML's outcome model sees features and treatment; this one keeps a model of each arm, as ours does."""

    def __init__(self, stage: str) -> None:
        self.stage = stage

    def get_params(self, deep=True):
        return {"stage": self.stage}

    def fit(self, X, y, **options):
        self.models_ = [base(self.stage).fit(X[X[:, -1] == arm, :-1], y[X[:, -1] == arm]) for arm in (0, 1)]
        return self

    def predict(self, X):
        both = [model.predict(X[:, :-1]) for model in self.models_]
        return np.where(X[:, -1] == 1, both[1], both[0])


@BOTH
@pytest.mark.parametrize("stage", ["click", "value"])
def test_dr_learner_is_econmls_with_the_same_folds(campaign, stage):
    from econml.dr import DRLearner

    x, arms, y = matrix_of(campaign), campaign.arm_codes.astype(int), campaign.outcome(stage).astype(float)
    model = make_model("lightgbm_dr", **SAME).fit(campaign)
    peer = DRLearner(
        model_propensity=Constant((arms == 1).mean()), model_regression=PerArm(stage),
        model_final=base("value"), cv=splits(model, campaign), random_state=0,
    )  # fmt: skip
    peer.fit(y, arms, X=x)
    assert_peer(campaign, tau_of(model, campaign, stage), peer.effect(x))


@BOTH
@pytest.mark.parametrize("stage", ["click", "value"])
def test_r_learner_is_econmls_with_the_same_folds(campaign, stage):
    from econml.dml import NonParamDML

    x, arms, y = matrix_of(campaign), campaign.arm_codes.astype(int), campaign.outcome(stage).astype(float)
    model = make_model("lightgbm_r", **SAME).fit(campaign)
    peer = NonParamDML(
        model_y=base(stage), model_t=Constant((arms == 1).mean()), model_final=base("value"),
        discrete_treatment=True, cv=splits(model, campaign), random_state=0,
    )  # fmt: skip
    peer.fit(y, arms, X=x)
    assert_peer(campaign, tau_of(model, campaign, stage), peer.effect(x))


@BOTH
def test_class_transformation_is_sklifts_and_so_is_the_transformed_outcome(campaign):
    from sklift.models import ClassTransformation, ClassTransformationReg

    x, arms = matrix_of(campaign), campaign.arm_codes.astype(int)
    share = (arms == 1).mean()
    balance = np.where(arms == 1, 0.5 / share, 0.5 / (1 - share))
    model = make_model("lightgbm_transformed", method="class", **SAME).fit(campaign)
    peer = ClassTransformation(lightgbm.LGBMClassifier(**PEER))
    peer.fit(x, campaign.outcome("click"), arms, estimator_fit_params={"sample_weight": balance})
    assert_peer(campaign, tau_of(model, campaign, "click"), peer.predict(x))
    regression = ClassTransformationReg(base("value"), propensity_val=share).fit(
        x, campaign.outcome("value"), arms
    )
    assert_peer(campaign, tau_of(model, campaign, "value"), regression.predict(x))
    outcome = make_model("lightgbm_transformed", **SAME).fit(campaign)
    np.testing.assert_array_equal(tau_of(outcome, campaign, "value"), tau_of(model, campaign, "value"))


def test_trees_on_a_subset_are_those_on_its_rows_binned_by_the_same_cuts():
    campaign = fine()
    matrix, outcome = matrix_of(campaign), campaign.outcome("value")
    settings = make_model("lightgbm_t", **TREES).settings(FeatureSchema.fit(campaign))
    whole = settings.binned(matrix)
    rows = np.flatnonzero(campaign.arm_codes == 1)
    weights = np.random.default_rng(0).uniform(0.5, 2.0, len(rows))
    ours = settings.train(settings.subset(whole, matrix, rows), outcome[rows], "regression", weights)
    own = lightgbm.Dataset(
        matrix[rows], reference=whole, params={**settings.params, "feature_pre_filter": False}
    )
    theirs = settings.train(own.construct(), outcome[rows], "regression", weights)
    np.testing.assert_array_equal(ours.predict(matrix), theirs.predict(matrix))
    assert whole.data is None  # the float matrix is not held


# -------------------------------------------------------------------- closed forms


def case(n: int = 2000, seed: int = 0):
    rng = np.random.default_rng(seed)
    e = rng.uniform(0.1, 0.9, n)
    treated = rng.random(n) < e
    return rng.normal(size=n), treated, e, rng.normal(size=n), rng.normal(size=n)


def test_the_mean_doubly_robust_pseudo_outcome_is_the_aipw_estimate():
    y, treated, e, mu0, mu1 = case()
    w = treated.astype(float)
    aipw = np.mean(mu1 + w * (y - mu1) / e) - np.mean(mu0 + (1 - w) * (y - mu0) / (1 - e))
    assert doubly_robust(y, treated, e, mu0, mu1).mean() == pytest.approx(aipw, rel=1e-12)
    ipw = np.mean(w * y / e - (1 - w) * y / (1 - e))
    assert transformed(y, treated, e).mean() == pytest.approx(ipw, rel=1e-12)


def test_right_outcome_models_mend_wrong_propensities_and_the_reverse():
    rng = np.random.default_rng(1)
    n = 200_000
    x = rng.integers(0, 2, n)
    e = np.where(x == 1, 0.8, 0.3)
    treated = rng.random(n) < e
    mu0, mu1 = 1.0 + x, 1.5 + 3.0 * x
    y = np.where(treated, mu1, mu0) + rng.normal(size=n)
    truth = np.mean(mu1 - mu0)
    wrong = np.full(n, 0.5)
    assert doubly_robust(y, treated, wrong, mu0, mu1).mean() == pytest.approx(truth, abs=0.03)
    assert doubly_robust(y, treated, e, wrong, wrong).mean() == pytest.approx(truth, abs=0.03)
    assert abs(doubly_robust(y, treated, wrong, wrong, wrong).mean() - truth) > 0.3


def test_the_weighted_r_target_is_the_r_loss():
    y, treated, e, mean, _ = case()
    target, weights = r_target(y, treated, e, mean)
    for tau in (-1.0, 0.0, 2.0):
        loss = np.square(y - mean - (treated - e) * tau)
        np.testing.assert_allclose(weights * np.square(target - tau), loss, rtol=1e-9)
    target, weights = r_target(np.ones(2), np.array([True, False]), np.array([1.0, 0.0]), np.zeros(2))
    assert (target, weights) == (pytest.approx(0), pytest.approx(0))


def test_the_share_of_the_same_class_is_the_uplift():
    rng = np.random.default_rng(2)
    n = 400_000
    treated = rng.random(n) < 0.3
    y = (rng.random(n) < np.where(treated, 0.5, 0.2)).astype(float)
    label, weights = same_class(y, treated, np.full(n, 0.3))
    assert 2 * np.average(label, weights=weights) - 1 == pytest.approx(0.3, abs=0.01)


def test_swapping_control_and_arm_flips_the_sign():
    campaign = coarse()
    swapped = Campaign.from_frame(
        campaign.table.to_pandas(), unit="id", treatment="arm", control=1, chain=["click"], value="spend"
    )
    for name in META:
        there = tau_of(make_model(name, **SAME).fit(campaign), campaign, "value")
        back = tau_of(make_model(name, **SAME).fit(swapped), swapped, "value")
        assert np.corrcoef(there, -back)[0, 1] > 0.999, name
        assert np.abs(there + back).max() < 0.2 * there.std(), name


def test_several_arms_are_learned_as_pair_by_pair():
    campaign = coarse(5000, arms=4)
    for name in META:
        together = make_model(name, **SAME).fit(campaign).predict(campaign)
        for arm in ("1", "3"):
            pair = campaign.take(np.isin(campaign.arm_codes, (0, int(arm))))
            pair = Campaign.from_frame(
                pair.table.to_pandas(), unit="id", treatment="arm", control=0, chain=["click"], value="spend"
            )
            alone = make_model(name, **SAME).fit(pair).predict(pair)
            rows = np.isin(campaign.arm_codes, (0, int(arm)))
            for stage in ("click", "value"):
                np.testing.assert_allclose(
                    alone.tau(stage, arm), together.tau(stage, arm)[rows], rtol=1e-5, atol=1e-6
                )
                np.testing.assert_allclose(alone.mu(stage, "0"), together.mu(stage, "0")[rows], rtol=1e-5)


def test_the_order_of_the_rows_does_not_matter():
    campaign = coarse(arms=3)
    order = np.random.default_rng(0).permutation(len(campaign))
    shuffled = campaign.take(order)
    for name in META:
        there = make_model(name, **SAME).fit(campaign).predict(campaign)
        back = make_model(name, **SAME).fit(shuffled).predict(shuffled)
        # Sums of other order round otherwise, and a tie between two splits may then go the other way.
        gap = np.abs(there.tau_all[order] - back.tau_all)
        assert np.quantile(gap[..., 0], 0.99) < 1e-4, name


def test_neither_threads_nor_fits_side_by_side_change_a_bit(monkeypatch):
    campaign = coarse(2000, arms=3)
    monkeypatch.setattr(boosting, "CELLS_PER_THREAD", 1)
    for name in META:
        few = {**SAME, "n_estimators": 3, "effect_n_estimators": 3}
        one, four = (make_model(name, **{**few, "n_jobs": n}).fit(campaign).predict(campaign) for n in (1, 4))
        np.testing.assert_array_equal(one.tau_all, four.tau_all)
        np.testing.assert_array_equal(one.mu_all, four.mu_all)


def test_a_failure_of_one_fit_is_raised_and_ends_the_others():
    begun = []

    def fit(job: int) -> int:
        begun.append(job)
        if job == 1:
            raise ValueError("no")
        return job

    for at_once in (1, 2):
        begun.clear()
        with pytest.raises(ValueError, match="no"):
            list(in_order(fit, range(1000), at_once))
        assert len(begun) < 1000
    assert list(in_order(str, range(5), 3)) == ["0", "1", "2", "3", "4"]


# -------------------------------------------------------------------- folds


def test_no_unit_lies_on_both_sides_of_a_fold():
    campaign = uplift.simulate(rows=3000, arms=2, repeat_units=0.5, seed=3).campaign()
    model = make_model("lightgbm_dr", folds=4)
    fold = model._fold(campaign)
    assert campaign.units_repeat
    assert set(fold) == {0, 1, 2, 3}
    for code in np.unique(campaign.unit_codes)[:300]:
        assert len(set(fold[campaign.unit_codes == code])) == 1
    order = np.random.default_rng(0).permutation(len(campaign))
    np.testing.assert_array_equal(model._fold(campaign.take(order)), fold[order])
    other = make_model("lightgbm_dr", folds=4, random_state=1)._fold(campaign)
    assert abs(np.mean(other == fold) - 0.25) < 0.05


def test_outcome_models_have_not_seen_the_rows_they_speak_of():
    """A feature that is an id: in-fold, trees without limits would know every outcome, and no effect would be left."""
    rng = np.random.default_rng(0)
    n = 3000
    sent = rng.integers(0, 2, n)
    frame = pd.DataFrame({"x": rng.permutation(n).astype(float), "sent": sent})
    frame["gmv"] = 5.0 * sent + rng.normal(0, 3.0, n)
    frame["buy"] = 1
    campaign = Campaign.from_frame(frame, treatment="sent", control=0, chain=["buy"], value="gmv")
    deep = {"n_estimators": 30, "learning_rate": 0.5, "num_leaves": 500, "min_child_samples": 1}
    for name in CROSS_FITTED:
        model = make_model(name, n_jobs=1, reg_lambda=0.0, effect_n_estimators=5, **deep).fit(campaign)
        assert tau_of(model, campaign, "value").mean() == pytest.approx(5.0, abs=0.6)


def test_folds_that_leave_an_arm_without_rows_are_refused():
    campaign = coarse(60, arms=2)
    frame = campaign.table.to_pandas()
    frame["arm"] = (np.arange(60) == 0).astype(int)
    campaign = Campaign.from_frame(frame, unit="id", treatment="arm", control=0, chain=["click"])
    with pytest.raises(ModelError, match="2 folds leave nothing to learn arm '1' from, which has 1 rows"):
        make_model("lightgbm_dr", folds=2, n_jobs=1).fit(campaign)


# -------------------------------------------------------------------- assignment


def unequal(n: int = 30_000, seed: int = 0) -> tuple[pd.DataFrame, dict[str, float], dict[str, float]]:
    """Two waves of which one buys anyway and is sent arm "b" often; effects differ between waves; features know nothing.

    The frame, the mean effect of each arm on all customers, and that weighted by overlap, which the R-learner finds.
    """
    rng = np.random.default_rng(seed)
    wave = (rng.random(n) < 0.4).astype(int)
    chances = np.array([[0.5, 0.3, 0.2], [0.2, 0.2, 0.6]])
    effect = np.array([[0.0, 0.05, 0.10], [0.0, 0.15, 0.30]])
    arm = (rng.random(n)[:, None] > np.cumsum(chances[wave], 1)).sum(1)
    buy = rng.random(n) < np.where(wave == 1, 0.5, 0.1) + effect[wave, arm]
    frame = pd.DataFrame({"wave": wave, "arm": np.array(["none", "a", "b"])[arm], "p": chances[wave, arm]})
    frame["x"], frame["buy"] = rng.normal(size=n).round(1), buy.astype(int)
    mass = np.array([0.6, 0.4])
    plain, overlap = {}, {}
    for code, name in ((1, "a"), (2, "b")):
        e = chances[:, code] / (chances[:, code] + chances[:, 0])
        plain[name] = float(mass @ effect[:, code])
        overlap[name] = float(np.average(effect[:, code], weights=mass * e * (1 - e)))
    return frame, plain, overlap


@pytest.mark.parametrize("role", [{"strata": ["wave"]}, {"propensity": "p"}], ids=["strata", "propensity"])
@pytest.mark.parametrize("name", META)
def test_unequal_shares_of_several_arms_are_undone(name, role):
    frame, plain, overlap = unequal()
    roles = {"treatment": "arm", "control": "none", "chain": ["buy"], "features": ["x"]}
    small = {"n_estimators": 10, "effect_n_estimators": 10, "n_jobs": 1}
    known, naive = Campaign.from_frame(frame, **roles, **role), Campaign.from_frame(frame, **roles)
    found = make_model(name, **small).fit(known).predict(known)
    fooled = make_model(name, **small).fit(naive).predict(naive)
    # Received propensities of three arms make rows as if randomised: the R-learner then weighs all rows alike.
    truth = overlap if name == "lightgbm_r" and "strata" in role else plain
    for arm in ("a", "b"):
        assert found.tau("buy", arm).mean() == pytest.approx(truth[arm], abs=0.03), arm
    assert fooled.tau("buy", "b").mean() > plain["b"] + 0.1


@pytest.mark.parametrize("name", META)
def test_two_arms_with_propensities_and_with_strata_agree(name):
    frame = confounded(8000)
    roles = {"treatment": "sent", "control": 0, "chain": ["buy"], "features": ["x"]}
    small = {"n_estimators": 10, "effect_n_estimators": 10, "n_jobs": 1}
    by = [Campaign.from_frame(frame, **roles, **role) for role in ({"strata": ["wave"]}, {"propensity": "p"})]
    means = [make_model(name, **small).fit(c).predict(c).tau("buy", "1").mean() for c in by]
    assert means[0] == pytest.approx(means[1], abs=0.03)
    assert means[0] == pytest.approx(0.0, abs=0.04)


def test_pairs_know_their_propensities_and_stand_for_all_rows():
    frame = unequal()[0]
    frame["w"] = np.where(frame.x > 0, 2.0, 1.0)
    roles = {"treatment": "arm", "control": "none", "chain": ["buy"], "features": ["x"], "weight": "w"}
    strata = Assignment.of(Campaign.from_frame(frame, strata=["wave"], **roles))
    for code, name in ((1, "a"), (2, "b")):
        pair = strata.pair(code)
        kept = frame.iloc[pair.rows]
        assert set(kept["arm"]) == {"none", name}
        np.testing.assert_array_equal(pair.treated, kept["arm"] == name)
        for wave in (0, 1):
            rows = (kept.wave == wave).to_numpy()
            share = np.average(pair.treated[rows], weights=kept.w[rows])
            np.testing.assert_allclose(pair.propensity[rows], share)
        assert np.average(kept.wave, weights=pair.weights) == pytest.approx(
            np.average(frame.wave, weights=frame.w)
        )
    plain = Assignment.of(Campaign.from_frame(frame, **{**roles, "weight": None})).pair(1)
    assert plain.weights is None
    assert np.ptp(plain.propensity) == 0
    two = confounded(1000)
    pair = Assignment.of(
        Campaign.from_frame(two, treatment="sent", control=0, chain=["buy"], features=["x"], propensity="p")
    ).pair(1)
    np.testing.assert_allclose(pair.propensity, np.where(two.wave == 1, 0.8, 0.2))
    np.testing.assert_allclose(pair.received, two.p)


def test_a_stratum_without_an_arm_is_no_error():
    frame = unequal(4000)[0]
    frame = frame[~((frame.wave == 0) & (frame.arm == "b"))]
    campaign = Campaign.from_frame(
        frame, treatment="arm", control="none", chain=["buy"], features=["x"], strata=["wave"]
    )
    for name in META:
        tau = (
            make_model(name, n_estimators=5, effect_n_estimators=5, n_jobs=1).fit(campaign).predict(campaign)
        )
        assert np.isfinite(tau.tau_all).all()
        # Only wave 1 says anything of "b", where its effect is 0.3.
        if name == "lightgbm_r":
            assert tau.tau("buy", "b").mean() == pytest.approx(0.3, abs=0.1)
