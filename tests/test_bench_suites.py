"""Suite files: the contract of their keys, the shipped ones, and the data sets with known effects."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from uplift import Effects, make_model
from uplift.bench.data import draw
from uplift.bench.entries import TRUTHS, PublicEntry, TruthEntry, read_entry
from uplift.bench.measures import measure, measure_of
from uplift.bench.propensity import with_estimated_propensity
from uplift.bench.suite_file import check_models, load_suite, parse_suite, shipped_suites
from uplift.bench.truth_data import load_truth, replications
from uplift.cli import main
from uplift.errors import DatasetError, UpliftError
from uplift.simulation import simulate

SUITE = """
title = "Mine"
seeds = 2
base = "b"

[[data]]
name = "small"
source = "simulated"
rows = 300

[[models]]
name = "a"
model = "lightgbm_s"
params = { n_estimators = 5 }

[[models]]
name = "b"
model = "random"
"""

# ---------------------------------------------------------------- the file


def test_a_suite_file_says_all() -> None:
    suite = parse_suite(SUITE, name="mine")
    assert suite.base == "b"
    jobs = suite.jobs()
    assert [(job.variant, job.seed) for job in jobs] == [("a", 0), ("b", 0), ("a", 1), ("b", 1)]
    assert jobs[0].params == {"n_estimators": 5}
    entry = read_entry(jobs[0].data)
    assert (entry.name, entry.source, entry.rows) == ("small", "simulated", 300)
    assert {job.data["rows"] for job in suite.jobs(rows=500)} == {500}
    assert [job.seed for job in suite.jobs(seeds=3, variants=["b"])] == [0, 1, 2]


@pytest.mark.parametrize(
    ("found", "written", "message"),
    [
        ("seeds = 2", "seed = 2", "unknown key 'seed' in the file; did you mean 'seeds'?"),
        ("rows = 300", "row = 300", r"unknown key 'row' in \[\[data\]\] small; did you mean 'rows'"),
        ("rows = 300", "rows = 3", r"\[\[data\]\] small: rows = 3 is not valid"),
        ("rows = 300", 'judge = { measur = "pehe" }', "unknown key 'measur' .*; did you mean 'measure'?"),
        ("rows = 300", 'judge = { measure = "pehee" }', "unknown measure 'pehee'; did you mean 'pehe'?"),
        ('source = "simulated"', 'source = "hilstrom"', "unknown source 'hilstrom'; did you mean 'hillstrom'?"),
        ("params =", "parameters =", r"unknown key 'parameters' in \[\[models\]\] a; did you mean 'params'"),
        ('base = "b"', 'base = "c"', "the base 'c' is no model of it"),
        ('name = "b"', 'name = "a"', r"two \[\[models\]\] are called 'a'"),
        ("seeds = 2", "seeds = []", "seeds is"),
        ("seeds = 2", "seeds = [1, 1]", "different seeds"),
        ('title = "Mine"', "", "the file lacks the key 'title'"),
        ("seeds = 2", "seeds = = 2", "not valid TOML"),
    ],
)  # fmt: skip
def test_mistakes_in_a_suite_file_are_one_sentence(found: str, written: str, message: str) -> None:
    assert found in SUITE
    with pytest.raises(UpliftError, match=message):
        parse_suite(SUITE.replace(found, written, 1), name="mine")


@pytest.mark.parametrize(
    ("found", "written", "message"),
    [
        ('model = "lightgbm_s"', 'model = "lightgbm_z"', "model 'a' of suite 'mine': unknown model 'lightgbm_z'; did you mean"),
        ("n_estimators", "n_estimator", "has no parameter 'n_estimator'; did you mean 'n_estimators'?"),
        ("n_estimators = 5", "n_estimators = -5", "n_estimators is -5"),
    ],
)  # fmt: skip
def test_unknown_models_and_parameters_are_refused_before_a_fit(
    found: str, written: str, message: str
) -> None:
    suite = parse_suite(SUITE.replace(found, written), name="mine")
    with pytest.raises(UpliftError, match=message):
        check_models(suite)


@pytest.mark.parametrize("name", shipped_suites())
def test_shipped_suites_are_valid(name: str) -> None:
    suite = load_suite(name)
    check_models(suite)
    for entry in suite.data:
        assert entry.judge is None or measure_of(entry.judge.measure).better
    if name == "quick":
        assert (len(suite.data), len(suite.variants), len(suite.seeds)) == (3, 8, 3)


def test_an_unknown_suite_names_the_shipped_ones() -> None:
    with pytest.raises(UpliftError, match="did you mean 'quick'"):
        load_suite("qick")


def test_the_command_runs_a_suite_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.toml").write_text(SUITE)
    arguments = [
        "run",
        str(tmp_path / "mine.toml"),
        "--seeds",
        "1",
        "--out",
        str(tmp_path / "out"),
        "--jobs",
        "2",
    ]
    monkeypatch.setattr(sys, "argv", ["uplift", "bench", *arguments])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert not stopped.value.code
    numbers = pd.read_parquet(tmp_path / "out" / "results.parquet")
    assert set(numbers["variant"]) == {"a", "b"}
    assert set(numbers["data"]) == {"small"}
    assert "leaderboard.html" in capfd.readouterr().out


# ---------------------------------------------------------------- data


def test_arms_stages_and_value_of_public_data_can_be_left_out(data_home: Path) -> None:
    entry = PublicEntry(name="hillstrom", rows=2000, arms=("Womens E-Mail",), chain=("visit",), value=False)
    sample = draw(entry, 0)
    assert sample.train.arm_names == ("No E-Mail", "Womens E-Mail")
    assert sample.train.stages == sample.scored == ("visit",)
    assert set(sample.train.feature_names) == set(
        draw(PublicEntry(name="hillstrom", rows=2000), 0).train.feature_names
    )


def test_units_of_a_household_are_not_split(data_home: Path) -> None:
    sample = draw(PublicEntry(name="social_pressure", rows=5000), 0)
    both = set(sample.train.unit_ids.to_pylist()) & set(sample.test.unit_ids.to_pylist())
    assert not both


@pytest.mark.parametrize("source", TRUTHS)
def test_known_effects_belong_to_their_rows_and_are_no_features(source: str, data_home: Path) -> None:
    sample = load_truth(TruthEntry(name=source, rows=500), 0)
    assert sample.truth is not None
    assert sample.train_truth is not None
    for campaign, truth in ((sample.train, sample.train_truth), (sample.test, sample.truth)):
        assert truth.units.equals(campaign.unit_ids)
        assert campaign.propensity is not None
    hidden = {
        "mu0",
        "mu1",
        "y0",
        "y1",
        "y_cf",
        "y_cfactual",
        "y",
        "y_factual",
        "propensity",
        "unit",
        "observed",
    }
    assert not hidden & set(sample.train.feature_names)
    assert not set(sample.train.unit_ids.to_pylist()) & set(sample.test.unit_ids.to_pylist())
    stage = sample.scored[-1]
    rows, index = np.arange(sample.test.n_rows), sample.truth.stages.index(stage)
    factual = sample.truth.mu_all[rows, sample.test.arm_codes, index].astype(float)
    residual = sample.test.outcome(stage).astype(float) - factual
    if source in ("ihdp", "acic2016"):
        # the noise around the means is standard normal in both
        assert residual.std() == pytest.approx(1, abs=0.15)
    else:
        assert np.abs(residual).max() < 1e-2  # their truth is the outcome itself
    perfect, _ = measure(sample.truth, sample, learned=sample.train_truth)
    assert perfect["pehe", stage] == perfect["pehe_in", stage] == perfect["policy_regret", stage] == 0


def test_the_policy_of_nobody_regrets_what_the_best_arm_would_have_brought(data_home: Path) -> None:
    sample = load_truth(TruthEntry(name="twins", rows=1000), 0)
    assert sample.truth is not None
    nobody = Effects(
        np.zeros_like(sample.truth.mu_all), units=sample.truth.units, arms=sample.truth.arms,
        stages=sample.truth.stages, model="nobody",
    )  # fmt: skip
    found, _ = measure(nobody, sample)
    mu = sample.truth.mu_all[:, :, 0].astype(float)  # deaths: fewer are better
    assert found["policy_regret", "y"] == pytest.approx((mu[:, 0] - mu.min(axis=1)).mean())
    assert found["ate_error", "y"] == pytest.approx(abs((mu[:, 1] - mu[:, 0]).mean()))


def test_seeds_are_replications_and_end_with_them(data_home: Path) -> None:
    numbers = replications("ihdp")
    first, second = (load_truth(TruthEntry(name="ihdp"), seed) for seed in (0, 1))
    assert first.train.fingerprint() != second.train.fingerprint()
    with pytest.raises(DatasetError, match=f"has {len(numbers)} replications here"):
        load_truth(TruthEntry(name="ihdp"), len(numbers))
    with pytest.raises(DatasetError, match="no published propensity"):
        load_truth(TruthEntry(name="ihdp", propensity="given"), 0)


def test_missing_truth_says_where_to_put_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from uplift.bench.data import unavailable

    monkeypatch.setenv("UPLIFT_DATA_HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    reason = unavailable(TruthEntry(name="ihdp"))
    assert reason is not None
    assert str(tmp_path / "ihdp" / "ihdp_units.parquet") in reason


# ---------------------------------------------------------------- propensities


def test_estimated_propensities_are_near_the_true_ones_and_adjust_the_average_effect() -> None:
    simulation = simulate(rows=6_000, arms=1, chain=("buy",), value=False, confounding=1.0, seed=0)
    campaign = simulation.campaign()
    train, test = campaign.split(test=0.3, seed=0)
    true = np.concatenate([part.propensity for part in (train, test)])  # type: ignore[arg-type]
    column = campaign.roles.propensity
    assert column is not None
    bare = [
        replace(p, table=p.table.drop_columns([column]), roles=replace(p.roles, propensity=None))
        for p in (train, test)
    ]
    ours, theirs, _ = with_estimated_propensity(bare[0], bare[1], seed=0)
    found = np.concatenate([part.propensity for part in (ours, theirs)])  # type: ignore[arg-type]
    assert np.corrcoef(found, true)[0, 1] > 0.85
    assert np.abs(found - true).mean() < 0.08
    assert column not in ours.feature_names
    # A known propensity would adjust the average effect; so does the estimate.
    from uplift.metrics.average import compare, difference_in_means

    arm = campaign.arm_names[1]
    truth = float(simulation.true_effects().tau("buy", arm).mean())
    errors = []
    for part in (bare[0], ours):
        pair = compare(part, arm)
        errors.append(
            abs(difference_in_means(pair, part.outcome("buy")[pair.rows].astype(float)).value - truth)
        )
    assert errors[1] < errors[0]


def test_a_learner_on_a_stage_that_everybody_reaches_learns_the_value_alone(data_home: Path) -> None:
    """The value of a composed chain is that of a direct learner: P(observed) is 1."""
    sample = load_truth(TruthEntry(name="acic2016", rows=1500), 0)
    effects = (
        make_model("lightgbm_chain", patience=None, n_estimators=30)
        .fit(sample.train)
        .predict(sample.audience)
    )
    assert effects.mu_all[:, :, 0].min() > 0.999
    found, _ = measure(effects, sample)
    assert {stage for _, stage in found} <= {"value", ""}
