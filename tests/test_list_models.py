"""uplift models: every model is listed, whatever the width, with all that its card says."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable

import pytest

from uplift.cli import main
from uplift.models.registry import MODEL_NAMES, make_model, model_card
from uplift.tuning.space import default_space

Shown = Callable[..., str]


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shown:
    def call(*arguments: str, width: int = 80) -> str:
        monkeypatch.setenv("COLUMNS", str(width))
        monkeypatch.setattr(sys, "argv", ["uplift", "models", *arguments])
        with pytest.raises(SystemExit) as stopped:
            main()
        assert not stopped.value.code
        return capsys.readouterr().out

    return call


@pytest.mark.parametrize("width", [60, 80, 120, 132, 140, 200])
def test_every_name_is_whole_and_no_line_is_wider_than_the_terminal(shown, width):
    text = shown(width=width)
    lines = text.splitlines()
    assert max(map(len, lines)) <= width
    for name in MODEL_NAMES:
        assert any(line.startswith(name + " ") for line in lines), name
    if width >= 132:
        for heading in ("arms", "stages", "value", "propensity", "intervals", "GPU", "cost", "paper"):
            assert any(heading in line.split() for line in lines), heading


@pytest.mark.parametrize("width", [80, 140])
@pytest.mark.parametrize("name", MODEL_NAMES)
def test_one_model_shows_its_card_and_every_parameter(shown, name, width):
    text = shown(name, width=width)
    card, words = model_card(name), " ".join(text.split())
    for fact in (card.title, card.arms, card.propensity, card.cost, card.source):
        assert " ".join(fact.split()) in words
    assert max(map(len, text.splitlines())) <= width
    for parameter in make_model(name).get_params():
        assert any(line.startswith(parameter) for line in text.splitlines()), parameter


def test_json_holds_cards_parameters_and_ranges(shown):
    assert [card["name"] for card in json.loads(shown("--json"))] == list(MODEL_NAMES)
    (card,) = json.loads(shown("lightgbm_t", "--json"))
    found = {row["name"]: row for row in card["parameters"]}
    assert found["num_leaves"]["default"] == 8
    assert found["num_leaves"]["allowed"] == "a whole number from 2 to 131,072"
    assert {name for name, row in found.items() if row["searched"]} == set(default_space("lightgbm_t"))
