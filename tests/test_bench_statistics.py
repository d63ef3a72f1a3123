"""Statistics of comparisons: influences against bootstrap and derivative, corrected intervals, ranks, reproductions."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import friedmanchisquare

from benchmarks import bench_acic
from uplift import Campaign, evaluate, make_model
from uplift.bench.compare import mean_ranks, paired_difference, within_split
from uplift.bench.entries import TRUTHS
from uplift.bench.known_effects import linear_effect, linear_pehe, missing_replications
from uplift.bench.literature import published
from uplift.bench.measures import measure_of, qinis
from uplift.bench.reproductions import (
    all_reproductions,
    load_reproductions,
    not_possible,
    reproduce,
    target_statistics,
)
from uplift.bench.reproductions_table import compare_table, write_comparison
from uplift.errors import UpliftError
from uplift.metrics.average import compare
from uplift.metrics.influence import clustered, rate_influence, standard_error
from uplift.metrics.ranking import Ranking
from uplift.metrics.scores import qini_per_capita
from uplift.reporting.leaderboard import _rank_picture

# ---------------------------------------------------------------- influences


def test_standard_error_of_a_difference_is_that_of_repeated_experiments() -> None:
    rng = np.random.default_rng(1)
    differences, errors = [], []
    for _ in range(300):
        n = 2_000
        x, noise, treated = rng.normal(size=n), rng.normal(size=n), rng.random(n) < 0.5
        outcome = (rng.random(n) < 0.2 + 0.1 * treated * (x > 0)).astype(float)
        scores = x, x + noise
        values = [float(qini_per_capita(Ranking.build(s, treated, outcome).cells)) for s in scores]
        influence = [rate_influence(Ranking.build(s, treated, outcome)).rows[:, None] for s in scores]
        errors.append(float(within_split(*influence)[0]))  # type: ignore[index]
        differences.append(values[0] - values[1])
    assert np.mean(errors) == pytest.approx(np.std(differences), rel=0.12)


def test_qini_errors_agree_with_the_evaluations_bootstrap(toy: Campaign) -> None:
    effects = make_model("lightgbm_s", n_estimators=5).fit(toy).predict(toy)
    evaluation = evaluate(toy, {"m": effects}, draws=2000)
    for arm in toy.arm_names[1:]:
        pair = compare(toy, arm)
        ranking = Ranking.build(
            effects.tau("click", arm)[pair.rows],
            pair.treated,
            toy.outcome("click")[pair.rows].astype(float),
            pair.weight,
        )
        influence = rate_influence(ranking).rows
        assert float(standard_error(influence)) == pytest.approx(
            evaluation.score("m", "click", arm)["se"], rel=0.1
        )


def test_influences_of_a_unit_are_added(toy: Campaign) -> None:
    codes = np.array([0, 1, 0])
    assert clustered(np.array([[1.0], [2.0], [3.0]]), codes).tolist() == [[4.0], [2.0]]
    effects = make_model("lightgbm_s", n_estimators=5).fit(toy).predict(toy)
    _, influence = qinis(effects, toy)
    assert influence.shape == (toy.n_rows, len(toy.stages))


def test_influences_of_other_rows_are_not_compared() -> None:
    assert within_split(np.zeros((3, 1)), np.zeros((4, 1))) is None
    assert within_split(np.zeros((3, 1)), None) is None


# ---------------------------------------------------------------- differences and ranks


def test_the_corrected_interval_holds_where_the_plain_one_does_not() -> None:
    """Splits of one sample: the mean of a test part less that of the training part, whose true expectation is 0."""
    rng = np.random.default_rng(2)
    held = {0.0: 0, 0.3 / 0.7: 0}
    for _ in range(400):
        sample, found = rng.normal(size=200), []
        for _ in range(10):
            order = rng.permutation(200)
            found.append(sample[order[:60]].mean())
        values = pd.Series(found)
        for ratio in held:
            one = paired_difference(values, 0 * values, ratio=ratio)
            held[ratio] += one.low <= 0 <= one.high
    assert held[0.0] / 400 < 0.75
    assert held[0.3 / 0.7] / 400 > 0.88


def test_ranks_by_hand_and_by_scipy() -> None:
    rng = np.random.default_rng(3)
    names = ["a", "b", "c", "d"]
    scores = {
        (data, seed): dict(zip(names, rng.normal(size=4) + np.arange(4), strict=True))
        for data in ("x", "y", "z")
        for seed in range(4)
    }
    ranks = mean_ranks(scores, names)
    assert ranks is not None
    table = pd.DataFrame(scores).T[names].rank(axis=1, ascending=False)
    assert ranks.mean == pytest.approx(table.mean().to_dict())
    assert ranks.p_value == pytest.approx(friedmanchisquare(*table.to_numpy().T).pvalue)
    # Demsar 2006, table 5: q for four classifiers is 2.569
    assert ranks.critical == pytest.approx(2.569 * math.sqrt(4 * 5 / (6 * 12)), abs=1e-3)
    assert all(ranks.low[n] <= ranks.mean[n] <= ranks.high[n] for n in names)
    assert (ranks.blocks, ranks.data) == (12, 3)


def test_models_without_a_number_share_the_last_ranks() -> None:
    ranks = mean_ranks({("x", 0): {"a": 1.0, "b": math.nan}}, ["a", "b", "c"])
    assert ranks is not None
    assert ranks.mean == {"a": 1.0, "b": 2.5, "c": 2.5}
    assert ranks.failed == {"a": 0, "b": 1, "c": 1}
    assert mean_ranks({}, ["a", "b"]) is None


def test_ranks_over_one_seed_have_no_interval() -> None:
    one = {("x", 0): {"a": 1.0, "b": 0.5}, ("y", 0): {"a": 1.0, "b": 0.5}}
    ranks = mean_ranks(one, ["a", "b"])
    assert ranks is not None
    assert ranks.mean == {"a": 1.0, "b": 2.0}
    assert math.isnan(ranks.low["a"])
    picture = _rank_picture(ranks)
    assert picture is not None
    assert [(row["low"], row["width"]) for row in picture["rows"]] == [(0, 0), (100, 0)]
    assert ranks.words("a") == "-"  # and not "1.00 to 1.00", as if no other seed could say otherwise
    two = mean_ranks({**one, ("x", 1): {"a": 0.0, "b": 0.5}, ("y", 1): {"a": 1.0, "b": 0.5}}, ["a", "b"])
    assert two is not None
    assert two.words("a") == "1.00 to 1.50"


# ---------------------------------------------------------------- published numbers


def test_ordered_target_statistics_by_hand() -> None:
    train = pd.DataFrame({"city": ["a", "b", "a", "a"]})
    test = pd.DataFrame({"city": ["a", "b", "c"]})
    ours, theirs = target_statistics(train, np.array([1, 0, 0, 1]), test, ["city"])
    # the prior is 1/2: first of its kind; then (1 + 1/2) / 2 and (1 + 0 + 1/2) / 3
    assert ours["city"].tolist() == pytest.approx([0.5, 0.5, 0.75, 0.5])
    assert theirs["city"].tolist() == pytest.approx([2.5 / 4, 0.5 / 2, 0.5])


@pytest.mark.parametrize(
    "name",
    [one.id for one in all_reproductions() if one.data == "hillstrom" and one.protocol != "two_forests"],
)
def test_published_numbers_on_hillstrom_come_out_again(name: str, data_home: Path) -> None:
    (one,) = load_reproductions([name])
    reason = not_possible(one)
    if reason is not None:
        pytest.skip(reason)
    assert reproduce(name)["value"] == pytest.approx(one.published, abs=one.tolerance)


QUICK = [one.id for one in all_reproductions() if one.protocol in ("linear_effect", "linear_pehe")]


@pytest.mark.parametrize("name", QUICK)
def test_published_numbers_where_effects_are_known_come_out_again(name: str, data_home: Path) -> None:
    (one,) = load_reproductions([name])
    reason = not_possible(one)
    if reason is not None:
        pytest.skip(reason)
    assert reproduce(name)["value"] == pytest.approx(one.published, abs=one.tolerance)


@pytest.mark.slow
@pytest.mark.parametrize("name", [one.id for one in all_reproductions() if one.protocol == "forest_learner"])
def test_published_errors_of_econmls_learners_come_out_again(name: str, data_home: Path) -> None:
    (one,) = load_reproductions([name])
    reason = not_possible(one)
    if reason is not None:
        pytest.skip(reason)
    found = reproduce(name)
    assert found["value"] == pytest.approx(one.published, abs=one.tolerance)
    # What one seed of the forests does explains the rest of the difference.
    assert one.tolerance < 0.13 * one.published


def test_the_competitions_answers_belong_to_the_data_sets_at_hand(data_home: Path) -> None:
    """Regression is one of the competition's methods and can be done again: its answers prove which data sets these are."""
    settings, theirs = bench_acic.competition()
    for setting, answer in zip(settings, theirs["linear regression"], strict=True):
        try:
            ours = linear_effect("acic2016", {"replications": [setting]})["value"]
        except UpliftError as error:
            pytest.skip(str(error))
        assert ours == pytest.approx(answer, abs=6e-5), setting
    assert all(len(values) == len(settings) for values in theirs.values())
    # BART, the competition's best kind of method, lies within 0.15 of the truth on every one of them.
    truth = np.array([bench_acic.on_the_treated(setting) for setting in settings])
    assert np.abs(theirs["BART"] - truth).max() < 0.15


def test_linear_effects_are_found_exactly_where_the_outcome_is_linear(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Made-up data in the place of IHDP: linear outcomes without noise leave least squares per arm no error."""
    rng = np.random.default_rng(0)
    x = pd.DataFrame(rng.normal(size=(300, 3)), columns=["a", "b", "c"])
    treated = rng.integers(0, 2, 300)
    mu0, mu1 = x.a + 2 * x.b, x.a + 2 * x.b + 3 + x.c
    (tmp_path / "ihdp").mkdir()
    x.assign(unit=range(300)).to_parquet(tmp_path / "ihdp/ihdp_units.parquet")
    outcomes = pd.DataFrame({
        "replication": 1, "unit": range(300), "treatment": treated, "y_factual": np.where(treated, mu1, mu0),
        "mu0": mu0, "mu1": mu1,
    })  # fmt: skip
    pd.concat([outcomes, outcomes.assign(replication=4)]).to_parquet(tmp_path / "ihdp/ihdp_outcomes.parquet")
    monkeypatch.setenv("UPLIFT_DATA_HOME", str(tmp_path))
    assert linear_pehe("ihdp", {"per_arm": True, "test": 0.2})["value"] == pytest.approx(0, abs=1e-9)
    # One effect for everybody misses what moves with c, whose standard deviation is one.
    assert linear_pehe("ihdp", {"per_arm": False, "test": 0.2})["value"] == pytest.approx(1, abs=0.25)
    assert missing_replications("ihdp", {"replications": [1, 4]}) is None
    assert "lacks replication 2, 7 on" in str(missing_replications("ihdp", {"replications": [7, 1, 2]}))


def test_reproductions_without_data_say_why_and_run_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UPLIFT_DATA_HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    wanted = all_reproductions()
    reasons = {one.id: not_possible(one) for one in wanted}
    assert all(reasons.values())
    table = compare_table(wanted, {}, reasons)
    assert {row[4] for row in table.rows} == {"skipped"}
    _, text = write_comparison(tmp_path, wanted, {}, reasons)
    assert str(tmp_path / "criteo") in text.read_text()
    with pytest.raises(UpliftError, match="did you mean 'hillstrom-two-forests'"):
        load_reproductions(["hillstrom-two-forest"])


def test_every_reproduction_has_a_source_a_grade_and_a_tolerance() -> None:
    found = all_reproductions()
    assert len({one.id for one in found}) == len(found)
    for one in found:
        assert one.grade in "ABC"
        assert len(one.source) > 10
        assert one.tolerance < 0.04 or one.tolerance <= abs(one.published)


def test_published_tables_have_a_number_per_column() -> None:
    for data in TRUTHS:
        for table in published(data):
            assert all(len(values) == len(table.columns) for values in table.methods.values())
            assert all(measure_of(column).id == column for column in table.columns)
    assert {table.data for data in TRUTHS for table in published(data)} >= {"ihdp", "acic2016"}
