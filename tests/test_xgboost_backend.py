"""XGBoost behind the same learners: the same effects, files without pickle, and plain words where there is no GPU."""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd
import pytest
from test_classical import planted
from test_meta_learners import META, coarse

from uplift.campaign import Campaign
from uplift.errors import MissingDependencyError, ModelError
from uplift.models.classical import boosting
from uplift.models.registry import load_model, make_model


@pytest.fixture(scope="module")
def three_arms():
    return planted(4000)


@pytest.mark.parametrize("name", ["lightgbm_s", "lightgbm_t", *META])
def test_xgboost_finds_the_same_effects_and_is_saved_bit_for_bit_without_pickle(name, three_arms, tmp_path):
    pytest.importorskip("xgboost")
    campaign, truth = three_arms
    ours = make_model(name, n_estimators=40, n_jobs=1).fit(campaign).predict(campaign)
    model = make_model(name, n_estimators=40, n_jobs=1, backend="xgboost", device="cpu").fit(campaign)
    effects = model.predict(campaign)
    for arm in (1, 2):
        assert np.corrcoef(effects.tau_all[:, arm, 0], truth[:, arm, 0])[0, 1] > 0.7
        assert np.corrcoef(effects.tau_all[:, arm, 0], ours.tau_all[:, arm, 0])[0, 1] > 0.8
        assert effects.tau_all[:, arm, 2].mean() == pytest.approx(ours.tau_all[:, arm, 2].mean(), rel=0.15)
    model.save(tmp_path / "model")
    assert {path.suffix for path in (tmp_path / "model").iterdir()} == {".json", ".ubj"}
    again = load_model(tmp_path / "model").predict(campaign)
    np.testing.assert_array_equal(again.mu_all, effects.mu_all)
    np.testing.assert_array_equal(again.tau_all, effects.tau_all)
    victim = next((tmp_path / "model").glob("*.ubj"))
    victim.write_bytes(victim.read_bytes()[:-50])
    with pytest.raises(ModelError, match="damaged or incomplete"):
        load_model(tmp_path / "model")


def test_xgboost_takes_weights_certain_outcomes_and_tweedie(three_arms):
    pytest.importorskip("xgboost")
    frame = three_arms[0].table.to_pandas()
    frame.insert(0, "seen", 1)
    frame["w"] = np.where(frame.x0 > 0, 3.0, 1.0)
    campaign = Campaign.from_frame(
        frame, unit="id", treatment="coupon", control="none", chain=["seen", "click", "buy"], value="spend", weight="w"
    )  # fmt: skip
    for name in ("lightgbm_t", "lightgbm_dr"):
        options = {"value_objective": "tweedie"} if name == "lightgbm_t" else {}
        model = make_model(name, n_estimators=30, n_jobs=1, backend="xgboost", device="cpu", **options)
        effects = model.fit(campaign).predict(campaign)
        np.testing.assert_allclose(effects.mu_all[:, :, 0], 1.0, atol=1e-4)
        np.testing.assert_allclose(effects.tau_all[:, :, 0], 0.0, atol=1e-4)
        treated = frame.coupon == "five"
        control = frame.coupon == "none"
        ate = np.average(frame.spend[treated], weights=frame.w[treated])
        ate -= np.average(frame.spend[control], weights=frame.w[control])
        mean = np.average(effects.tau("value", "five"), weights=frame.w)
        assert mean == pytest.approx(ate, rel=0.3), name


def test_xgboost_scores_missing_and_unseen_values(three_arms):
    pytest.importorskip("xgboost")
    campaign, _ = three_arms
    model = make_model("lightgbm_dr", n_estimators=40, n_jobs=1, backend="xgboost", device="cpu").fit(
        campaign
    )
    audience = campaign.audience(
        pd.DataFrame({"id": [1, 2, 3, 4], "x0": [1.0, 1.0, None, 1.0], "x1": 0.0, "x2": 0.0, "x3": 0.0,
                      "city": ["b", "a", None, "atlantis"]})
    )  # fmt: skip
    tau = model.predict(audience).tau("click", "ten")
    assert np.isfinite(tau).all()
    assert tau[0] > max(tau[1], tau[3]) + 0.1


def test_fits_side_by_side_change_no_bit(monkeypatch):
    pytest.importorskip("xgboost")
    campaign = coarse(2000, arms=3)
    monkeypatch.setattr(boosting, "CELLS_PER_THREAD", 1)
    few = {"n_estimators": 5, "effect_n_estimators": 5, "backend": "xgboost", "device": "cpu"}
    one, four = (make_model("lightgbm_dr", n_jobs=n, **few).fit(campaign).predict(campaign) for n in (1, 4))
    np.testing.assert_array_equal(one.tau_all, four.tau_all)


def test_cuda_is_refused_where_it_cannot_be_had(monkeypatch):
    xgboost_backend = pytest.importorskip("uplift.models.classical.xgboost_backend")
    campaign = coarse(500)
    with pytest.raises(ModelError, match=r"lightgbm_dr.*device='cuda' needs backend='xgboost'"):
        make_model("lightgbm_dr", device="cuda").fit(campaign)
    monkeypatch.setattr(xgboost_backend, "has_cuda", lambda: False)
    with pytest.raises(ModelError, match="XGBoost finds no CUDA device here"):
        make_model("lightgbm_dr", device="cuda", backend="xgboost").fit(campaign)
    assert xgboost_backend.chosen_device("auto") == "cpu"


def test_a_gpu_is_found_where_torch_finds_one():
    torch = pytest.importorskip("torch")
    xgboost_backend = pytest.importorskip("uplift.models.classical.xgboost_backend")
    assert xgboost_backend.has_cuda() == torch.cuda.is_available()


def test_a_missing_xgboost_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "xgboost", None)
    with pytest.raises(MissingDependencyError, match=r"backend='xgboost' needs XGBoost.*pip install xgboost"):
        make_model("lightgbm_t", backend="xgboost").fit(coarse(500))
    make_model("lightgbm_t", n_estimators=2).fit(coarse(500))
