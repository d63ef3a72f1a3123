"""Evaluation block by block: the numbers of the evaluation in memory, and refusals that say what is wrong."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import ROLES, toy_frame
from typer.testing import CliRunner

from uplift import Campaign, CampaignStream, Effects, evaluate
from uplift.effects_writer import write_effects
from uplift.errors import EvaluationError
from uplift.metrics import evaluate_stream
from uplift.metrics.streamed import StreamedEvaluation
from uplift.run_folder import RUN, TEST_EFFECTS, arms_to_json, write_test_effects

Opened = tuple[Campaign, CampaignStream, dict[str, Effects], dict[str, Path]]


def _effects(campaign: Campaign, name: str, seed: int) -> Effects:
    rng = np.random.default_rng(seed)
    mu = rng.random((campaign.n_rows, len(campaign.arms), len(campaign.stages))).astype(np.float32)
    return Effects.for_campaign(mu, campaign, model=name, calibrated=name != "rank")


def _opened(folder: Path, *, rows: int = 4_000, **extra: Any) -> Opened:
    frame = toy_frame(rows)
    rng = np.random.default_rng(1)
    frame["w"] = rng.lognormal(0, 0.5, rows)
    frame["e"] = rng.uniform(0.2, 0.6, rows)
    frame["region"] = rng.integers(0, 3, rows)
    unused = {"w", "e", "region"} - {name for value in extra.values() for name in np.atleast_1d(value)}
    frame = frame.drop(columns=sorted(unused))
    frame.to_parquet(folder / "log.parquet", row_group_size=700)
    roles = ROLES | extra
    campaign = Campaign.from_parquet(folder / "log.parquet", **roles)
    stream = CampaignStream.from_parquet(folder / "log.parquet", block_rows=900, **roles)
    effects = {name: _effects(campaign, name, seed) for seed, name in enumerate(("m", "rank"))}
    files = {name: one.to_parquet(folder / f"{name}.parquet") for name, one in effects.items()}
    return campaign, stream, effects, files


def _same(streamed: StreamedEvaluation, memory: Any) -> None:
    keys = {
        "ate": ["stage", "arm"], "rates": ["stage", "arm"], "references": ["stage", "arm", "metric"],
        "scores": ["model", "stage", "arm", "metric"], "groups": ["model", "stage", "arm", "group"],
        "placebo": ["model", "stage", "arm"],
    }  # fmt: skip
    for name, index in keys.items():
        ours, theirs = (getattr(one, name).set_index(index).sort_index() for one in (streamed, memory))
        pd.testing.assert_frame_equal(ours[theirs.columns], theirs, rtol=1e-6, atol=1e-9, check_dtype=False)
    assert streamed.curves.keys() == memory.curves.keys()
    for key, curve in memory.curves.items():
        for part in dataclasses.fields(curve):
            np.testing.assert_allclose(
                getattr(streamed.curves[key], part.name), getattr(curve, part.name), atol=1e-8, rtol=1e-6
            )


@pytest.mark.parametrize(
    "extra", [{}, {"weight": "w"}, {"propensity": "e"}, {"weight": "w", "propensity": "e"}]
)
def test_blocks_give_the_numbers_of_memory(tmp_path: Path, extra: dict[str, str]) -> None:
    campaign, stream, effects, files = _opened(tmp_path, **extra)
    streamed = evaluate_stream(stream, files, draws=50)
    _same(streamed, evaluate(campaign, effects, draws=50))
    bounded = streamed.binning[~streamed.binning["metric"].str.startswith("calibration")]
    assert (bounded["error"] == 0).all()
    assert (streamed.binning["dropped_bits"] == 0).all()


@pytest.mark.parametrize("of_all", [False, True])
def test_a_part_of_a_split_takes_its_own_rows_of_the_effects(tmp_path: Path, of_all: bool) -> None:
    campaign, stream, effects, files = _opened(tmp_path)
    _, part = campaign.split(test=0.4, seed=3)
    _, held = stream.split(test=0.4, seed=3)
    mine = {name: one.for_units(part.unit_ids) for name, one in effects.items()}
    if not of_all:
        for name, one in mine.items():
            half = len(one) // 2
            pieces = [one.take(np.arange(half)), one.take(np.arange(half, len(one)))]
            write_effects(pieces, files[name])
    _same(evaluate_stream(held, files, draws=50), evaluate(part, mine, draws=50))


def test_bins_stay_within_the_error_they_state(tmp_path: Path) -> None:
    _, stream, _, files = _opened(tmp_path)
    exact = evaluate_stream(stream, files, draws=20)
    binned = evaluate_stream(stream, files, draws=20, max_groups=100)
    assert (binned.binning["groups"] <= 100).all()
    both = binned.scores.merge(exact.scores, on=["model", "stage", "arm", "metric"]).merge(binned.binning)
    both = both[both["error"].notna()]
    assert set(both["metric"]) >= {"qini_per_capita", "autoc", "qini_sklift", "auuc_sklift", "uplift_at_30"}
    assert ((both["value_x"] - both["value_y"]).abs() <= both["error"] + 1e-12).all()
    assert (both["value_x"] != both["value_y"]).any()
    assert any("off by at most" in note for note in binned.notes)
    json.dumps(binned.to_metrics(), allow_nan=False)


def test_what_cannot_be_streamed_is_refused(tmp_path: Path) -> None:
    campaign, stream, effects, files = _opened(tmp_path)
    with pytest.raises(EvaluationError, match="in pairs from a stream"):
        evaluate_stream(stream, files, draws=20).difference("m", "rank", "buy", "coupon_5")
    order = np.random.default_rng(0).permutation(campaign.n_rows)
    shuffled = effects["m"].take(order).to_parquet(tmp_path / "shuffled.parquet")
    with pytest.raises(EvaluationError, match=r"shuffled.parquet are for other units"):
        evaluate_stream(stream, shuffled)
    few = effects["m"].take(np.arange(9)).to_parquet(tmp_path / "few.parquet")
    with pytest.raises(EvaluationError, match="cover 9 rows, the campaign has 4,000"):
        evaluate_stream(stream, few)
    with pytest.raises(EvaluationError, match="holds no effects"):
        evaluate_stream(stream, tmp_path / "log.parquet")
    with pytest.raises(EvaluationError, match="no effects to evaluate"):
        evaluate_stream(stream, {})
    with pytest.raises(EvaluationError, match="confidence"):
        evaluate_stream(stream, files, confidence=1.0)
    strata = _opened(tmp_path, strata=["region"])
    with pytest.raises(EvaluationError, match="the strata region cannot be evaluated"):
        evaluate_stream(strata[1], strata[3])


def test_effects_of_other_stages_are_refused_with_the_same_remedy_which_works(tmp_path: Path) -> None:
    campaign, stream, effects, files = _opened(tmp_path)
    bare, bare_stream, without, without_files = _opened(tmp_path, value=None, features=["x1"])
    files |= {"m": effects["m"].to_parquet(tmp_path / "with.parquet")}
    for log, log_stream, name, remedy in (
        (bare, bare_stream, "with", r"name the value column of the campaign \(value = ...\)"),
        (campaign, stream, "without", "name no value column in the campaign"),
    ):
        one, file = (effects["m"], files["m"]) if name == "with" else (without["m"], without_files["m"])
        with pytest.raises(EvaluationError, match=remedy):
            evaluate(log, one, draws=20)
        with pytest.raises(EvaluationError, match=remedy):
            evaluate_stream(log_stream, file, draws=20)
    assert evaluate(campaign, effects["m"], draws=20).stages == ("click", "buy", "value")
    assert evaluate_stream(bare_stream, without_files["m"], draws=20).stages == ("click", "buy")


@pytest.mark.parametrize("text", [False, True])
def test_units_with_several_rows_are_refused(tmp_path: Path, text: bool) -> None:
    frame = toy_frame(600)
    twice = pd.concat([frame, frame.iloc[:7]], ignore_index=True)
    if text:
        twice["customer"] = twice["customer"].astype(str)
    twice.to_parquet(tmp_path / "log.parquet", row_group_size=200)
    campaign = Campaign.from_parquet(tmp_path / "log.parquet", **ROLES)
    stream = CampaignStream.from_parquet(tmp_path / "log.parquet", block_rows=200, **ROLES)
    file = _effects(campaign, "m", 0).to_parquet(tmp_path / "m.parquet")
    with pytest.raises(EvaluationError, match="7 of 607 rows are further rows of a unit"):
        evaluate_stream(stream, file)


def test_the_command_line_gives_the_same_numbers_from_disk(tmp_path: Path) -> None:
    from uplift.campaign_file import write_campaign_folder

    campaign, _, effects, files = _opened(tmp_path)
    toml = write_campaign_folder(campaign, tmp_path / "campaign")
    _same_on_the_command_line([str(toml), str(files["m"])], tmp_path)
    arms = arms_to_json(campaign.arms)
    run = {"models": list(effects), "campaign": {"name": "toy", "arms": arms}, "seed": 4}
    (tmp_path / "run" / TEST_EFFECTS).mkdir(parents=True)
    (tmp_path / "run" / RUN).write_text(json.dumps(run))
    for name, one in effects.items():
        write_test_effects(tmp_path / "run" / TEST_EFFECTS / f"{name}.parquet", campaign, one)
    _same_on_the_command_line([str(tmp_path / "run")], tmp_path)


def _same_on_the_command_line(arguments: list[str], folder: Path) -> None:
    from uplift.cli import app

    found = []
    for extra in ([], ["--stream"]):
        out = folder / f"{len(extra)}.json"
        result = CliRunner().invoke(app, ["evaluate", *arguments, "--out", str(out), "--overwrite", *extra])
        assert result.exit_code == 0, result.output
        found.append(json.loads(out.read_text()))
    memory, streamed = (pd.json_normalize(one["models"]).iloc[0].astype(float) for one in found)
    pd.testing.assert_series_equal(memory, streamed, rtol=1e-6, atol=1e-9)
    assert streamed.size > 20
    assert "binning" in found[1]
