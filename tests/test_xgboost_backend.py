"""XGBoost behind the same learners: the same effects, files without pickle, and plain words where there is no GPU."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from test_classical import planted
from test_meta_learners import META, coarse

from benchmarks import bench_meta
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


def test_trees_that_xgboost_grew_on_the_cpu_after_all_are_refused(monkeypatch):
    xgboost_backend = pytest.importorskip("uplift.models.classical.xgboost_backend")
    if xgboost_backend.has_cuda():
        pytest.skip("there is a GPU here, XGBoost does not fall back")
    # A GPU that is lost between the first look and the fit: XGBoost itself only warns.
    monkeypatch.setattr(xgboost_backend, "has_cuda", lambda: True)
    for device in ("cuda", "auto"):
        with pytest.raises(ModelError, match=r"device='cuda' was asked for.*grew the trees on device 'cpu'"):
            make_model("lightgbm_t", backend="xgboost", device=device, n_estimators=2).fit(coarse(500))


@pytest.mark.parametrize("name", ["lightgbm_s", "lightgbm_t", *META])
def test_a_gpu_fit_is_the_cpu_fit_with_another_device(name, three_arms, monkeypatch):
    """All that can be shown without a GPU: what XGBoost is handed is the same in every call, but for the device."""
    xgboost_backend = pytest.importorskip("uplift.models.classical.xgboost_backend")
    module, seen = xgboost_backend.xgboost(), []
    grow = module.train

    def train(params, data, **options):
        seen.append({**params, "trees": options["num_boost_round"], "rows": data.num_row()})
        # Binned once, not a raw matrix that every fit bins anew.
        assert isinstance(data, module.QuantileDMatrix)
        assert "c" in data.feature_types
        return grow({**params, "device": "cpu"}, data, **options)

    monkeypatch.setattr(module, "train", train)
    campaign, _ = three_arms
    found, calls = {}, {}
    for device in ("cpu", "cuda"):
        with monkeypatch.context() as patch:
            patch.setattr(xgboost_backend, "has_cuda", lambda: True)
            patch.setattr(xgboost_backend, "device_of", lambda _: "cuda:0")
            model = make_model(name, n_estimators=4, n_jobs=1, backend="xgboost", device=device)
            found[device] = model.fit(campaign).predict(campaign)
        calls[device] = [dict(one) for one in seen]
        seen.clear()
    assert {one["device"] for one in calls["cuda"]} == {"cuda"}
    assert {one["device"] for one in calls["cpu"]} == {"cpu"}
    for calls_of in calls.values():
        for one in calls_of:
            assert one["tree_method"] == "hist"
            assert one["max_bin"] == 256
            del one["device"]
    # One at a time on a GPU, side by side on a CPU: the order may differ.
    assert sorted(map(repr, calls["cuda"])) == sorted(map(repr, calls["cpu"]))
    np.testing.assert_array_equal(found["cuda"].tau_all, found["cpu"].tau_all)


def test_a_model_grown_on_a_gpu_is_read_where_there_is_none(three_arms, monkeypatch, tmp_path):
    xgboost_backend = pytest.importorskip("uplift.models.classical.xgboost_backend")
    campaign, _ = three_arms
    monkeypatch.setattr(xgboost_backend, "chosen_device", lambda device: "cpu")
    model = make_model("lightgbm_x", n_estimators=4, backend="xgboost", device="cuda").fit(campaign)
    monkeypatch.undo()
    model.save(tmp_path / "model")
    again = load_model(tmp_path / "model")
    assert again.get_params()["device"] == "cuda"
    np.testing.assert_array_equal(again.predict(campaign).tau_all, model.predict(campaign).tau_all)


def test_the_check_for_a_machine_with_a_gpu_runs_its_lines_on_a_cpu(monkeypatch, tmp_path):
    xgboost_backend = pytest.importorskip("uplift.models.classical.xgboost_backend")
    monkeypatch.setattr(bench_meta, "TREES", {**bench_meta.TREES, "n_estimators": 10})
    found = {who: tmp_path / f"{n}.npy" for n, who in enumerate(("xgboost:cpu", "lightgbm"))}
    for who, file in found.items():
        assert bench_meta.measure(who, "x", 2000, file)["seconds"] > 0
    ours, theirs = (np.load(file).ravel() for file in found.values())
    assert np.corrcoef(ours, theirs)[0, 1] > 0.8
    if not xgboost_backend.has_cuda():
        with pytest.raises(ModelError, match="XGBoost finds no CUDA device here"):
            bench_meta.measure("xgboost:cuda", "x", 500, tmp_path / "none.npy")


@pytest.mark.slow
def test_the_check_as_a_command_compares_gpu_cpu_and_lightgbm_or_says_that_there_is_no_gpu():
    xgboost_backend = pytest.importorskip("uplift.models.classical.xgboost_backend")
    root = Path(__file__).parents[1]
    command = [sys.executable, "benchmarks/bench_meta.py", "--rows", "2000", "--learners", "x", "--no-peers"]

    def run(*options: str) -> subprocess.CompletedProcess[str]:
        where = {**os.environ, "PYTHONPATH": str(root)}
        return subprocess.run(
            [*command, *options], cwd=root, env=where, capture_output=True, text=True, check=False
        )

    done = run("--backend", "xgboost", "--device", "cpu")
    assert done.returncode == 0, done.stderr
    names = [line[3:25].strip() for line in done.stdout.splitlines() if line.startswith("X  uplift")]
    assert names == ["uplift, XGBoost, CPU", "uplift, LightGBM"]
    if not xgboost_backend.has_cuda():
        refused = run("--backend", "xgboost", "--device", "cuda")
        assert refused.returncode == 1
        assert "XGBoost finds no CUDA device here" in refused.stderr
    assert "needs --backend xgboost" in run("--device", "cuda").stderr


def test_a_gpu_is_found_where_torch_finds_one():
    torch = pytest.importorskip("torch")
    xgboost_backend = pytest.importorskip("uplift.models.classical.xgboost_backend")
    assert xgboost_backend.has_cuda() == torch.cuda.is_available()


def test_a_missing_xgboost_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "xgboost", None)
    with pytest.raises(MissingDependencyError, match=r"backend='xgboost' needs XGBoost.*pip install xgboost"):
        make_model("lightgbm_t", backend="xgboost").fit(coarse(500))
    make_model("lightgbm_t", n_estimators=2).fit(coarse(500))
