"""The one interface: parameters, refusals, interrupted fits."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from uplift import Campaign, make_model
from uplift.errors import ModelError
from uplift.models.registry import MODEL_NAMES, list_models, model_class


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_constructors_store_and_clone(name: str) -> None:
    model = make_model(name)
    params = model.get_params()
    clone = model_class(name)(**params)
    assert clone.get_params() == params
    assert clone.set_params(**params) is clone
    with pytest.raises(ModelError, match="no parameter 'nonsense'"):
        model.set_params(nonsense=1)
    with pytest.raises(ModelError, match="not fitted"):
        model.predict(None)  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="not fitted"):
        model.save("nowhere")


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_every_parameter_of_every_model_is_checked(name: str) -> None:
    """Something that no parameter may be is refused by name and value, in one sentence, before any data are seen."""
    params = make_model(name).get_params()
    assert set(model_class(name).rules) == set(params)
    for parameter, default in params.items():
        for wrong in (object(), {}, float("nan"), b"x", "fast" if not isinstance(default, str) else 3):
            with pytest.raises(ModelError, match=f"^model '{name}': {parameter} is ") as caught:
                make_model(name, **{parameter: wrong})
            assert "\n" not in str(caught.value)
            assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        ("lightgbm_t", {"n_estimators": "x"}, "n_estimators is 'x'; it must be a whole number >= 1"),
        ("ecup", {"learning_rate": "fast"}, "learning_rate is 'fast'; it must be a finite number > 0"),
        ("ecup", {"hidden": [64, 2.5]}, r"hidden is \[64, 2.5\]; it must be a list of one or more entries, each a whole"),
        ("response", {"learning_rate": True}, r"it must be a number in \(0, 1\]"),
        ("random", {"random_state": 2**31}, "a whole number from 0 to 2,147,483,647"),
    ],
)  # fmt: skip
def test_a_wrong_parameter_is_refused_however_it_got_there(
    toy: Campaign, name: str, params: dict[str, Any], message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        make_model(name, **params)
    with pytest.raises(ModelError, match=message):
        model_class(name)(**params).fit(toy)
    with pytest.raises(ModelError, match=message):
        make_model(name).set_params(**params).fit(toy)


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_numbers_from_numpy_are_numbers(toy: Campaign, tmp_path: Path, name: str) -> None:
    quick = {
        "ecup": {
            "max_epochs": 1,
            "hidden": (16,),
            "embedding_dim": 4,
            "learning_rate": 0.5,
            "share_gates": True,
        },
        "chain_blend": {
            "holdout_fraction": 0.5,
            "models": {"lightgbm_s": {"n_estimators": 2}, "lightgbm_t": {"n_estimators": 2}},
        },
        "chain": {"params": {"n_estimators": 2}},
        **{
            card.name: {"max_epochs": 1, "embedding_dim": 4, "learning_rate": 0.5}
            for card in list_models()
            if card.family == "deep"
        },
        "causalml_uplift_forest": {"n_estimators": 2, "max_depth": 2, "max_features": 0.5},
        "causalml_causal_forest": {"n_estimators": 2, "max_depth": 2, "max_features": 0.5},
        "random": {},
    }.get(name, {"n_estimators": 2, "learning_rate": 0.5})
    plain: dict[str, Any] = {"random_state": 1, **quick}
    kinds = {int: np.int64, float: np.float32, bool: np.bool_, tuple: np.array, dict: dict}
    model = make_model(name, **{key: kinds[type(value)](value) for key, value in plain.items()}).fit(toy)
    model.save(tmp_path / "model")
    saved = json.loads((tmp_path / "model" / "model.json").read_text())["params"]
    assert {key: saved[key] for key in plain} == json.loads(json.dumps(plain))
    expected = make_model(name, **plain).fit(toy)
    for found in (model, model_class(name).load(tmp_path / "model")):
        np.testing.assert_array_equal(found.predict(toy).tau_all, expected.predict(toy).tau_all)


@pytest.mark.parametrize("name", ["ecup", "lightgbm_s", "causalml_uplift_forest"])
def test_saved_files_are_readable_like_any_other_file(toy: Campaign, tmp_path: Path, name: str) -> None:
    quick = {"max_epochs": 1} if name == "ecup" else {"n_estimators": 2}
    before = os.umask(0o022)
    try:
        folder = make_model(name, **quick).fit(toy).save(tmp_path / "model")
        assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o644}
        os.umask(0o027)
        folder = make_model(name, **quick).fit(toy).save(tmp_path / "private")
        assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o640}
    finally:
        os.umask(before)


def test_an_interrupted_fit_leaves_no_model(toy: Campaign, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model("lightgbm_s", n_estimators=3).fit(toy)

    def interrupted(campaign: Campaign, validation: Campaign | None) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(model, "_fit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        model.fit(toy)
    with pytest.raises(ModelError, match="not fitted"):
        model.predict(toy)


def test_other_arms_stages_or_features_are_refused(toy: Campaign) -> None:
    from conftest import ROLES, toy_frame

    model = make_model("lightgbm_s", n_estimators=3).fit(toy)
    with pytest.raises(ModelError, match="arm 'coupon_15' differs"):
        model.predict(Campaign.from_frame(toy_frame(200, arms=3), **ROLES))
    with pytest.raises(ModelError, match="trained on the stages"):
        model.predict(Campaign.from_frame(toy_frame(200), **{**ROLES, "value": None}))
    with pytest.raises(ModelError, match="'x2'"):
        model.predict(Campaign.from_frame(toy_frame(200).drop(columns="x2"), **ROLES))


def test_progress_is_told(toy: Campaign) -> None:
    told: list[str] = []
    model = make_model("ecup", max_epochs=2)
    model.on_progress = told.append
    model.fit(toy)
    assert len(told) == 2
    assert "rows/s" in told[0]


def test_networks_choose_their_epoch_by_the_same_qini_that_is_reported() -> None:
    import torch

    from uplift.metrics import scores
    from uplift.metrics.ranking import Ranking
    from uplift.models.neural.criterion import qini_per_capita

    rng = np.random.default_rng(0)
    score, treated = np.round(rng.normal(size=3_000), 2), rng.random(3_000) < 0.4
    outcome = (rng.random(3_000) < 0.3 + 0.1 * treated * (score > 0)).astype(np.float32)
    theirs = float(scores.qini_per_capita(Ranking.build(score, treated, outcome).cells))
    ours = qini_per_capita(torch.tensor(score), torch.tensor(outcome), torch.tensor(treated))
    assert float(ours) == pytest.approx(theirs, abs=1e-6)


def test_damaged_models_are_refused(toy: Campaign, tmp_path: Path) -> None:
    from uplift import load_model

    folder = make_model("lightgbm_s", n_estimators=3).fit(toy).save(tmp_path / "m")
    with pytest.raises(ModelError, match="not 'ecup'"):
        model_class("ecup").load(folder)
    text = (folder / "model.json").read_text()
    content = json.loads(text)
    for params, message in (({"n_trees": 3}, "damaged"), ({"n_estimators": "3"}, "n_estimators is '3'")):
        (folder / "model.json").write_text(json.dumps({**content, "params": params}))
        with pytest.raises(ModelError, match=message):
            load_model(folder)
    (folder / "model.json").write_text(text[: len(text) // 2])
    with pytest.raises(ModelError, match="cannot be read"):
        load_model(folder)
