"""The one interface: parameters, refusals, interrupted fits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from uplift import Campaign, make_model
from uplift.errors import ModelError
from uplift.models.registry import MODEL_NAMES, model_class


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
    from uplift.models.ecup.criterion import qini_per_capita

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
    (folder / "model.json").write_text(text[: len(text) // 2])
    with pytest.raises(ModelError, match="cannot be read"):
        load_model(folder)
