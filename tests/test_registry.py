"""The registry: every name leads to its model, every typo to the nearest name, and listing imports nothing heavy."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from uplift.errors import ModelError
from uplift.models.base import UpliftModel
from uplift.models.registry import (
    DEFAULT_MODELS,
    MODEL_NAMES,
    REFERENCES,
    check_available,
    list_models,
    load_model,
    make_model,
    model_card,
    model_class,
)


def test_names_are_unique_and_hold_the_defaults():
    assert len(set(MODEL_NAMES)) == len(MODEL_NAMES)
    assert set(DEFAULT_MODELS) | set(REFERENCES) <= set(MODEL_NAMES)


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_every_name_leads_to_a_model_of_that_name(name):
    model = make_model(name)
    assert isinstance(model, UpliftModel)
    assert model.name == name
    assert type(model) is model_class(name)
    assert model.calibrated == (model_card(name).family != "reference")
    assert json.loads(json.dumps(model.get_params()))  # parameters can be saved
    with pytest.raises(ModelError, match="not fitted"):
        model.predict(None)


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_every_model_documents_its_parameters(name):
    documented = "".join(cls.__doc__ or "" for cls in model_class(name).__mro__)
    for parameter in model_class(name).parameter_names():
        assert parameter in documented, parameter


def test_references_are_the_reference_family():
    assert {card.name for card in list_models() if card.family == "reference"} == set(REFERENCES)
    assert not set(DEFAULT_MODELS) & set(REFERENCES)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: make_model("lightgbm"), "did you mean 'lightgbm_"),
        (lambda: make_model("zzz"), "choose from: ecup, deep_s, deep_t, tarnet, cfrnet"),
        (lambda: make_model("lightgbm_t", n_estimator=3), "did you mean 'n_estimators'"),
        (lambda: make_model("random", seed=3), "no parameter 'seed'"),
        (lambda: model_card("ECUPP"), "unknown model 'ECUPP'"),
    ],
)
def test_typos_name_the_nearest_choice(call, message):
    with pytest.raises(ModelError, match=message):
        call()


def test_a_folder_without_a_known_model_is_refused(tmp_path):
    with pytest.raises(ModelError, match="holds no saved model"):
        load_model(tmp_path)
    content = {
        "format_version": 1,
        "model": "xgboost_t",
        "params": {},
        "arms": [],
        "stages": [],
        "fingerprint": "",
        "schema": {},
    }
    (tmp_path / "model.json").write_text(json.dumps({**content, "state": {}}))
    with pytest.raises(ModelError, match="unknown model 'xgboost_t'"):
        load_model(tmp_path)


def test_listing_models_imports_no_learner():
    code = (
        "from uplift.models.registry import list_models\n"
        "assert all(card.unavailable() is None or card.library in card.unavailable() for card in list_models())\n"
        "import sys\n"
        "heavy = {'torch', 'lightgbm', 'causalml', 'sklift', 'sklearn', 'numba', 'scipy', 'pandas'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_library_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklift", None)
    assert "scikit-uplift is not installed" in (model_card("sklift_two_models").unavailable() or "")
    assert model_card("random").unavailable() is None


def test_every_model_can_be_fitted_here():
    check_available(MODEL_NAMES)
    with pytest.raises(ModelError, match="unknown model 'xgboost'"):
        check_available(["xgboost"])


def test_a_broken_peer_is_noticed_before_any_fit_although_it_is_installed(tmp_path):
    """And making a model does not look for it: a saved one must load without its peer."""
    (tmp_path / "causalml").mkdir()
    (tmp_path / "causalml" / "__init__.py").write_text("raise RuntimeError('compiled for another numpy')\n")
    code = (
        "from uplift.errors import MissingDependencyError\n"
        "from uplift.models.registry import check_available, make_model, model_card\n"
        "assert model_card('causalml_x').unavailable() is None\n"
        "for name in ('causalml_x', 'causalml_uplift_forest'):\n"
        "    make_model(name)\n"
        "    try:\n"
        "        check_available(['random', name, 'ecup'])\n"
        "    except MissingDependencyError as error:\n"
        "        assert name in str(error) and 'compiled for another numpy' in str(error), error\n"
        "    else:\n"
        "        raise SystemExit(name)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("ecup", "torch"),
        ("lightgbm_t", "lightgbm"),
        ("response", "lightgbm"),
        ("sklift_two_models", "sklift.models"),
    ],
)
def test_a_missing_library_is_one_sentence(name, module):
    code = (
        f"import sys; sys.modules[{module!r}] = None\n"
        "from uplift.errors import MissingDependencyError\n"
        "from uplift.models.registry import check_available\n"
        "try:\n"
        f"    check_available(['random', {name!r}])\n"
        "except MissingDependencyError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "install it with" in done.stdout


def test_cards_say_that_every_model_uses_weights_propensities_and_strata():
    """tests/test_classical.py and tests/test_ecup_model.py show that they do."""
    for card in list_models():
        assert all(word in card.propensity for word in ("sampling weights", "propensities", "strata")), (
            card.name
        )
