"""uplift tune: sealed against the test part, the same after an interrupt, and honest about what it found."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import ROLES, toy_frame

import uplift
from uplift.campaign import Campaign
from uplift.campaign_file import CampaignFile
from uplift.cli import main
from uplift.errors import CampaignError, OutputError, UpliftError
from uplift.models.registry import DEFAULT_MODELS
from uplift.tuning import TrainingPart, tune, tune_file
from uplift.tuning.study import BEST, DESCRIPTION, FILES, JOURNAL, TRIALS

SPACE = {"n_estimators": {"low": 3, "high": 30, "log": True}}

CAMPAIGN = """
[campaign]
data = "log.parquet"
unit = "customer"
treatment = "coupon"
control = "none"
chain = ["click", "buy"]
time = "day"

[split]
test = 0.3
by = "{by}"
seed = 2

[arms.coupon_5]
cost = {{ on = "buy", amount = 5.0 }}

[arms.coupon_10]
cost = {{ on = "buy", amount = 10.0 }}

[models]
lightgbm_s = {{ n_estimators = 8, n_jobs = 1 }}

[decide]
margin = 30.0
budget = 100.0

[tune.lightgbm_s]
n_estimators = {{ low = 3, high = 30, log = true }}
reg_lambda = 1.0
min_child_samples = 10
learning_rate = 0.3
"""


def _campaign_folder(
    folder: Path, *, by: str = "unit", rows: int = 1_500, columns: tuple[str, ...] = ()
) -> CampaignFile:
    """A campaign; in `columns` the rows of its test part hold something else."""
    frame = toy_frame(rows)
    frame["day"] = np.random.default_rng(9).integers(0, 100, rows)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "campaign.toml").write_text(CAMPAIGN.format(by=by))
    frame.to_parquet(folder / "log.parquet")
    config = CampaignFile.read(folder / "campaign.toml")
    if columns:
        train = TrainingPart.of(config.load(), test=0.3, seed=2, by=by).campaign  # type: ignore[arg-type]
        other = np.setdiff1d(np.arange(rows), train.row_numbers)
        assert len(other) > 0.2 * rows
        for column in columns:
            values = frame[column].to_numpy(copy=True)
            values[other] = 1 - values[other] if column in ("click", "buy") else values[other][::-1]
            frame[column] = values
        frame.loc[other, "buy"] &= frame.loc[other, "click"]
        frame.to_parquet(folder / "log.parquet")
    return config


def _numbers(result: Any) -> list[tuple[Any, ...]]:
    """All that does not depend on the clock."""
    return [(t.number, t.params, t.tuned, t.value, t.replicates, t.error) for t in result.trials]


@pytest.fixture(scope="module")
def train() -> Campaign:
    return Campaign.from_frame(toy_frame(900), **ROLES)


# ---------------------------------------------------------------- the test part


@pytest.mark.parametrize("by", ["unit", "time"])
@pytest.mark.parametrize("criterion", ["qini", "policy", "r", "dr"])
def test_what_the_test_part_holds_changes_no_bit(tmp_path, by, criterion):
    """Outcomes of all test rows are flipped, their arms, features and values exchanged."""
    kept = _campaign_folder(tmp_path / "a", by=by)
    spoilt = _campaign_folder(tmp_path / "b", by=by, columns=("click", "buy", "coupon", "x1", "city"))
    assert kept.load().fingerprint() != spoilt.load().fingerprint()
    found = [
        tune_file(config, model="lightgbm_t", criterion=criterion, trials=3, folder=tmp_path / name)
        for name, config in (("tune-a", kept), ("tune-b", spoilt))
    ]
    assert _numbers(found[0]) == _numbers(found[1])
    assert len({trial.value for trial in found[0].trials}) > 1
    for file in (DESCRIPTION, BEST):
        assert (tmp_path / "tune-a" / file).read_bytes() == (tmp_path / "tune-b" / file).read_bytes()


@pytest.mark.parametrize("by", ["unit", "time"])
def test_a_row_of_the_test_part_is_refused(tmp_path, by):
    whole = _campaign_folder(tmp_path, by=by).load()
    part = TrainingPart.of(whole, test=0.3, seed=2, by=by)
    train, test = whole.split(test=0.3, seed=2, by=by)
    assert np.array_equal(part.campaign.row_numbers, train.row_numbers)
    TrainingPart(train, part.seal)
    for wrong in (
        whole,
        test,
        test.take(np.arange(1)),
        whole.take(np.append(train.row_numbers, test.row_numbers[:1])),
    ):
        with pytest.raises(CampaignError, match="belong to the test part"):
            TrainingPart(wrong, part.seal)


def test_an_audience_is_refused(train):
    with pytest.raises(CampaignError, match="without outcomes"):
        tune(train.audience(toy_frame(50).drop(columns=["coupon", "click", "buy"])), model="lightgbm_s")


# ---------------------------------------------------------------- going on


def _interrupting(at: int) -> Callable[[str], None]:
    """Raises an interrupt when the fit of trial `at` (of this call) begins."""
    seen = [0]

    def tell(text: str) -> None:
        if text == "fit":
            seen[0] += 1
            if seen[0] > at:
                raise KeyboardInterrupt

    return tell


@pytest.mark.parametrize("criterion", ["qini", pytest.param("dr", marks=pytest.mark.slow)])
def test_a_search_that_was_interrupted_ends_as_one_that_was_not(train, tmp_path, criterion):
    """Long enough that the sampler, which starts at random, has learned from earlier trials."""
    options: dict[str, Any] = {
        "model": "lightgbm_s",
        "criterion": criterion,
        "space": SPACE,
        "random_state": 4,
    }
    whole = tune(train, **options, trials=13, folder=tmp_path / "whole")
    folder = tmp_path / "parts"
    tune(train, **options, trials=2, folder=folder)
    for at in (3, 0, 6):
        with pytest.raises(KeyboardInterrupt):
            tune(train, **options, trials=13, folder=folder, on_progress=_interrupting(at))
    # A crash in the middle of a line, and the lock of a process that is gone.
    with (folder / JOURNAL).open("ab") as journal:
        journal.write(b'{"op_code":6,"worker_id":"a-')
    (folder / f"{JOURNAL}.lock").symlink_to(folder / JOURNAL)
    begun = time.monotonic()
    parts = tune(train, **options, trials=13, folder=folder)
    assert time.monotonic() - begun < 25  # Optuna itself would wait 30 s for the lock
    assert _numbers(parts) == _numbers(whole)
    assert _numbers(tune(train, **options, trials=13)) == _numbers(whole)  # in memory as on disk
    assert len({json.dumps(trial.params) for trial in whole.trials}) > 10
    assert (folder / BEST).read_bytes() == (tmp_path / "whole" / BEST).read_bytes()
    # Nothing left to do: the trials that are there are the result.
    again = tune(train, **options, trials=13, folder=folder, on_progress=_interrupting(0))
    assert _numbers(again) == _numbers(whole)


@pytest.mark.slow
def test_a_search_that_was_killed_goes_on(tmp_path):
    """SIGKILL, whatever the process is doing just then, and the same command again."""
    config = _campaign_folder(tmp_path)
    whole = tune_file(config, model="lightgbm_s", trials=14, folder=tmp_path / "whole")
    command = [
        sys.executable,
        "-m",
        "uplift",
        "tune",
        "campaign.toml",
        "-m",
        "lightgbm_s",
        "-n",
        "14",
        "-o",
        "t",
    ]
    env = {**os.environ, "PYTHONPATH": str(Path(uplift.__file__).parents[1])}
    for more in (1, 4, 9):
        running = subprocess.Popen(
            command, cwd=tmp_path, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        journal = tmp_path / "t" / JOURNAL
        deadline = time.monotonic() + 120
        while not (journal.exists() and journal.read_bytes().count(b"replicates") >= more):
            assert running.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.005)
        running.kill()
        running.wait()
    assert _numbers(tune_file(config, model="lightgbm_s", trials=14, folder=tmp_path / "t")) == _numbers(
        whole
    )


def test_a_damaged_journal_is_one_sentence(train, tmp_path):
    options: dict[str, Any] = {"model": "lightgbm_s", "space": SPACE, "trials": 1, "folder": tmp_path / "t"}
    tune(train, **options)
    lines = (tmp_path / "t" / JOURNAL).read_text().splitlines()
    (tmp_path / "t" / JOURNAL).write_text("\n".join([lines[0], "scribble", *lines[1:]]) + "\n")
    with pytest.raises(UpliftError, match="is damaged"):
        tune(train, **options)
    assert len(tune(train, **options, overwrite=True).trials) == 1


def test_the_seed_decides_and_the_global_state_is_left_alone(train):
    np.random.seed(0)  # noqa: NPY002
    before, plain = np.random.get_state()[1].tolist(), random.getstate()  # type: ignore[index]  # noqa: NPY002
    first, same, other = (
        tune(train, model="lightgbm_s", space=SPACE, trials=4, random_state=seed) for seed in (1, 1, 2)
    )
    assert _numbers(first) == _numbers(same)
    assert [trial.params for trial in first.trials[1:]] != [trial.params for trial in other.trials[1:]]
    assert np.random.get_state()[1].tolist() == before  # type: ignore[index]  # noqa: NPY002
    assert random.getstate() == plain


def test_the_folder_holds_json_lines_and_no_pickle(train, tmp_path):
    from optuna.storages.journal import JournalFileBackend
    from optuna.storages.journal._base import BaseJournalSnapshot

    found = tune(train, model="lightgbm_s", space=SPACE, trials=3, folder=tmp_path / "t")
    assert {file.name for file in (tmp_path / "t").iterdir()} == set(FILES)
    assert all(json.loads(line) for line in (tmp_path / "t" / JOURNAL).read_text().splitlines())
    # Snapshots are what Optuna pickles, and only storages of this kind are asked for one.
    assert not issubclass(JournalFileBackend, BaseJournalSnapshot)
    frame = pd.read_parquet(tmp_path / "t" / TRIALS)
    pd.testing.assert_frame_equal(frame, found.to_frame())
    assert frame["param_n_estimators"].tolist() == [
        200,
        *(t.params["n_estimators"] for t in found.trials[1:]),
    ]
    tables = tomllib.loads((tmp_path / "t" / BEST).read_text())["models"]
    assert tables == {"lightgbm_s": found.chosen.params}
    assert found.chosen in (found.best, found.default)
    assert {**found.best_model().get_params(), **found.best_params} == found.best_model().get_params()


def test_a_folder_goes_on_only_with_the_same_search(train, tmp_path):
    options: dict[str, Any] = {"model": "lightgbm_s", "space": SPACE, "trials": 2, "folder": tmp_path / "t"}
    tune(train, **options)
    for change, message in [
        ({"criterion": "dr"}, "criterion 'qini', not 'dr'"),
        ({"model": "lightgbm_t"}, "model 'lightgbm_s', not 'lightgbm_t'"),
        ({"random_state": 5}, "random_state 0, not 5"),
        ({"folds": 2}, "folds None, not 2"),
        ({"space": {}}, "search space another one"),
        ({"params": {"num_leaves": 5}}, "starting point another one"),
    ]:
        with pytest.raises(OutputError, match=message):
            tune(train, **{**options, **change})
    with pytest.raises(OutputError, match="begun with rows 900, not 800"):
        tune(train.take(np.arange(800)), **options)
    assert len(tune(train, **{**options, "criterion": "dr"}, overwrite=True).trials) == 2
    (tmp_path / "t" / "mine.txt").write_text("keep me")
    with pytest.raises(OutputError, match="that no search has written"):
        tune(train, **options, overwrite=True)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").write_text("keep me")
    with pytest.raises(OutputError, match="no search to go on with"):
        tune(train, **{**options, "folder": tmp_path / "other"})


def test_two_processes_do_not_search_in_one_folder(train, tmp_path):
    options: dict[str, Any] = {"model": "lightgbm_s", "space": SPACE, "folder": tmp_path / "t"}

    def again(_: object) -> None:
        with pytest.raises(OutputError, match="another process is searching"):
            tune(train, **options, trials=5)

    assert len(tune(train, **options, trials=1, on_trial=again).trials) == 1


# ---------------------------------------------------------------- trials


def test_the_first_trial_is_the_start_even_outside_the_space(train):
    found = tune(
        train,
        model="lightgbm_s",
        params={"num_leaves": 4, "n_jobs": 1},
        space={**SPACE, "reg_lambda": {"low": 5.0, "high": 9.0}},
        trials=3,
    )
    assert found.default.params == {"num_leaves": 4, "n_jobs": 1}
    assert found.default.value is not None
    assert all(3 <= trial.params["n_estimators"] <= 30 for trial in found.trials[1:])
    assert all(trial.params["n_jobs"] == 1 for trial in found.trials)


def test_a_trial_that_fails_is_recorded_and_not_fatal(tmp_path):
    frame = toy_frame(1_000)
    frame["spend"] = frame["spend"].where(frame.index % 3 > 0, -frame["spend"])  # returns: Tweedie cannot
    campaign = Campaign.from_frame(frame, **ROLES)
    space = {"value_objective": ["regression", "tweedie"], "n_estimators": {"low": 3, "high": 9}}
    options: dict[str, Any] = {"model": "lightgbm_s", "space": space, "folder": tmp_path / "t"}
    found = tune(campaign, **options, trials=8)
    failed = [trial for trial in found.trials if not trial.ok]
    assert 1 <= len(failed) < 7
    assert all(trial.params["value_objective"] == "tweedie" for trial in failed)
    assert "negative values" in failed[0].error
    assert found.best.params.get("value_objective", "regression") == "regression"
    assert found.to_frame()["status"].tolist().count("failed") == len(failed)
    assert _numbers(tune(campaign, **options, trials=8)) == _numbers(found)
    with pytest.raises(UpliftError, match=r"none of 2 trials went well.*negative values"):
        tune(campaign, model="lightgbm_s", params={"value_objective": "tweedie"}, space=SPACE, trials=2)


def test_the_time_is_kept(train):
    limit = 1.5
    found = tune(train, model="lightgbm_s", space=SPACE, minutes=limit / 60)
    spent = [trial.seconds for trial in found.trials]
    assert sum(spent) - max(spent) <= limit
    assert len(tune(train, model="lightgbm_s", space=SPACE, minutes=1e-6).trials) == 1
    assert len(tune(train, model="lightgbm_s", space=SPACE, minutes=10.0, trials=2).trials) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "lightgbm"}, "did you mean 'lightgbm_"),
        ({"model": "random"}, "'random' is a reference"),
        ({"criterion": "quini"}, "did you mean 'qini'"),
        ({"stage": "clic"}, "did you mean 'click'"),
        ({"folds": 1}, "folds is 1"),
        ({"validation": 1.5}, r"share is 1.5"),
        ({"trials": 0}, "trials is 0"),
        ({"minutes": -1.0}, "minutes is -1.0"),
        ({"params": {"num_leafs": 3}}, "did you mean 'num_leaves'"),
        ({"space": {"n_estimators": {"low": 0, "high": 3}}}, "n_estimators is 0"),
        ({"criterion": "policy", "margin": 3.0}, "arm 'coupon_5' has none"),
        ({"keep": list(uplift.make_model("lightgbm_s").get_params())}, "no search space is known"),
    ],
)
def test_bad_input_is_one_sentence(train, options, message):
    with pytest.raises(UpliftError, match=message):
        tune(train, **{"model": "lightgbm_s", "trials": 1, **options})


# ---------------------------------------------------------------- the command line


@pytest.fixture
def command(monkeypatch, capsys, tmp_path) -> Callable[..., tuple[int, str, str]]:
    _campaign_folder(tmp_path)
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["uplift", *arguments])
        with pytest.raises(SystemExit) as stopped:
            main()
        out, err = capsys.readouterr()
        return int(stopped.value.code or 0), out, err

    return call


def test_from_the_command_line_to_a_fitted_model(command, tmp_path):
    arguments = ("tune", "campaign.toml", "--model", "lightgbm_s", "--out", "t", "--param", "num_leaves=5")
    code, out, err = command(*arguments, "--trials", "4")
    assert code == 0, err
    assert "[models.lightgbm_s]" in out
    assert "best:" in out
    trials = pd.read_parquet("t/trials.parquet")
    assert len(trials) == 4
    assert trials["param_num_leaves"].tolist() == [5] * 4
    assert trials["param_n_estimators"].tolist()[0] == 8  # the campaign file's
    assert trials["param_n_estimators"].between(3, 30).all()
    assert (trials["param_reg_lambda"] == 1.0).all()
    code, out, err = command(*arguments, "--trials", "6")
    assert "going on after 4 trials" in err
    assert pd.read_parquet("t/trials.parquet")["value"][:4].tolist() == trials["value"].tolist()
    best = tomllib.loads(Path("t/best.toml").read_text())["models"]["lightgbm_s"]
    code, _, err = command(
        "fit", "campaign.toml", "-m", "lightgbm_s", "--params", "t/best.toml", "--out", "m"
    )
    assert code == 0, err
    assert best.items() <= json.loads(Path("m/model.json").read_text())["params"].items()
    # Pasted below the file, in place of the entry under [models].
    text = Path("campaign.toml").read_text().replace("lightgbm_s = { n_estimators = 8, n_jobs = 1 }\n", "")
    assert CampaignFile.parse(text + Path("t/best.toml").read_text()).models["lightgbm_s"] == best
    # With a file, models that it does not name stay.
    assert set(CampaignFile.parse(CAMPAIGN.format(by="unit")).with_params("t/best.toml").models) == {
        "lightgbm_s"
    }
    (tmp_path / "none.toml").write_text(text)
    assert set(CampaignFile.read("none.toml").with_params("t/best.toml").models) == set(DEFAULT_MODELS)


def test_ranges_come_from_a_file_too_and_the_policy_from_the_decision(command):
    Path("space.toml").write_text("[tune.lightgbm_s]\nnum_leaves = [3, 4]\n")
    code, out, err = command(
        "tune", "campaign.toml", "-m", "lightgbm_s", "-o", "t", "-n", "3", "--space", "space.toml", "-c", "policy", "--folds", "2"
    )  # fmt: skip
    assert code == 0, err
    assert "policy value" in out
    described = json.loads(Path("t/study.json").read_text())
    assert described["space"]["num_leaves"] == [3, 4]
    assert described["space"]["n_estimators"] == {"low": 3, "high": 30, "log": True}
    assert described["margin"] == 30.0
    # The budget of 100 is for the test part: 30 % of about 1,500 customers.
    assert described["budget_per_customer"] == pytest.approx(100 / 450, rel=0.1)


@pytest.mark.parametrize(
    ("arguments", "change", "message"),
    [
        (["-m", "lightgbm_q"], None, "unknown model 'lightgbm_q'"),
        (["-m", "lightgbm_s", "-c", "quini"], None, "did you mean 'qini'"),
        (["-m", "lightgbm_s", "--minutes", "0"], None, "minutes is 0"),
        (["-m", "lightgbm_s", "--space", "none.toml"], None, "there is no file 'none.toml'"),
        (["-m", "lightgbm_s", "-p", "num_leaves"], None, "is not NAME=VALUE"),
        (
            ["-m", "lightgbm_s"],
            ("[tune.lightgbm_s]", "[tune.lightgbm_z]"),
            "[tune.lightgbm_z] is about no model",
        ),
        (["-m", "lightgbm_s"], ("high = 30", "hihg = 30"), "did you mean 'high'"),
        (["-m", "lightgbm_s", "-c", "policy"], ("margin = 30.0\n", ""), "needs margin"),
    ],
)
def test_bad_input_is_exit_code_2_and_one_line(command, arguments, change, message):
    if change is not None:
        text = Path("campaign.toml").read_text()
        assert change[0] in text
        Path("campaign.toml").write_text(text.replace(*change))
    code, _, err = command("tune", "campaign.toml", "-o", "t", *arguments)
    assert code == 2
    assert message in " ".join(err.split())
    assert "Traceback" not in err
    shutil.rmtree("t", ignore_errors=True)


def test_params_of_a_file_without_models_are_refused(command):
    Path("empty.toml").write_text("[split]\nseed = 1\n")
    code, _, err = command("fit", "campaign.toml", "-m", "lightgbm_s", "--params", "empty.toml", "--out", "m")
    assert code == 2
    assert "has no table [models.NAME]" in " ".join(err.split())
    code, _, err = command("run", "campaign.toml", "--params", "none.toml", "--out", "r")
    assert code == 2
    assert "there is no file 'none.toml'" in " ".join(err.split())
