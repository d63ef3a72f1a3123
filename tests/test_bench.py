"""`uplift bench`: what is finished is not fitted again, what fails is recorded, and the numbers are right."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import log_loss

from uplift import Campaign, Effects, evaluate, make_model
from uplift.bench.data import Sample, draw
from uplift.bench.ecup_ablation import SUITE
from uplift.bench.entries import PublicEntry, SimulatedEntry
from uplift.bench.measures import log_losses, measure, qinis
from uplift.bench.runner import BenchFolder, run_suite
from uplift.bench.suite import Job, Suite, Variant
from uplift.bench.summary import Results, failed, tables
from uplift.cli import main
from uplift.errors import OutputError, UpliftError
from uplift.models.registry import make_model as make

QUICK = {"n_estimators": 5}
SIMULATED = SimulatedEntry(name="simulated", rows=300)


def small_suite(*, rows: int = 300, **params: Any) -> Suite:
    return Suite(
        name="small",
        title="Small",
        data=(SIMULATED.with_rows(rows),),
        seeds=(0,),
        variants=(
            Variant(name="base", title="a few trees", model="lightgbm_s", params=QUICK | params),
            Variant(name="broken", title="refused", model="lightgbm_s", params={"n_estimators": -1}),
        ),
    )


# ---------------------------------------------------------------- the command


def simulated(rows: int, seed: int) -> Sample:
    return draw(SIMULATED.with_rows(rows), seed)


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["uplift", "bench", "ecup-ablation", *arguments])
    with pytest.raises(SystemExit) as stopped:
        main()
    return int(stopped.value.code or 0)


def test_the_command_fits_writes_tables_and_goes_on_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "bench"
    common = ("--rows", "400", "--data", "simulated", "--out", str(out))
    assert run(monkeypatch, *common, "--seeds", "1", "--variants", "lightgbm_s") == 0
    first = out / "fits" / "simulated" / "lightgbm_s-seed0.json"
    before = (first.stat().st_mtime_ns, first.read_bytes())

    assert run(monkeypatch, *common, "--seeds", "1", "--variants", "lightgbm_t,lightgbm_s") == 0
    assert (first.stat().st_mtime_ns, first.read_bytes()) == before
    assert "1 fits are there already, 1 to go" in capfd.readouterr().err
    numbers = pd.read_parquet(out / "results.parquet")
    assert set(numbers["variant"]) == {"lightgbm_s", "lightgbm_t"}
    assert set(numbers["measure"]) >= {"pehe", "qini_share", "plan_value", "log_loss", "seconds", "peak_mib"}
    assert set(numbers.loc[numbers["measure"] == "pehe", "stage"]) == {"click", "conversion"}
    assert numbers["value"].notna().all()
    text = (out / "results.md").read_text()
    assert "lightgbm_s | 0." in text
    assert "difference from" not in text  # the base was not fitted
    assert "lightgbm_s" in (out / "leaderboard.html").read_text()
    assert sorted(path.name for path in first.parent.iterdir()) == [
        "lightgbm_s-seed0.json",
        "lightgbm_t-seed0.json",
    ]

    assert run(monkeypatch, *common[:-2], "--rows", "500", "--seeds", "1", "--out", str(out)) == 2
    complaint = capfd.readouterr().err.replace("\n", " ")
    assert "holds a benchmark with another rows of 'simulated' (400, now 500)" in complaint


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--variants", "no_tennet"), "unknown variant 'no_tennet' of ecup-ablation; did you mean 'no_tenet'?"),
        (("--data", "hilstrom"), "did you mean 'hillstrom'?"),
    ],
)  # fmt: skip
def test_typos_are_refused_before_anything_is_written(
    arguments: tuple[str, ...],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "bench"
    assert run(monkeypatch, *arguments, "--out", str(out)) == 2
    assert message in capfd.readouterr().err.replace("\n", " ")
    assert not out.exists()


def test_missing_hillstrom_is_skipped_with_a_line_and_refused_when_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from uplift.cli.bench_commands import _sources

    monkeypatch.setenv("UPLIFT_DATA_HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found, skipped = _sources(SUITE, "all")
    assert found == ["simulated"]
    assert "hillstrom" in skipped["hillstrom"]
    assert "hillstrom is skipped" in capfd.readouterr().out
    with pytest.raises(UpliftError, match="hillstrom"):
        _sources(SUITE, "hillstrom")


def test_the_command_line_is_quick_to_import() -> None:
    code = (
        "import sys, uplift.cli\n"
        "heavy = {'torch', 'lightgbm', 'pandas', 'pyarrow', 'scipy', 'sklearn', 'numba'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# ---------------------------------------------------------------- fits and records


def test_a_failing_fit_is_recorded_and_the_others_go_on(tmp_path: Path) -> None:
    suite = small_suite()
    jobs = suite.jobs()
    folder = BenchFolder.of(tmp_path / "bench", suite, jobs)
    records = run_suite(folder, jobs[::-1])  # the broken one first
    assert [record["status"] for record in records] == ["failed", "ok"]
    kept = json.loads((tmp_path / "bench" / jobs[1].file).read_text())
    assert "n_estimators is -1" in kept["error"]
    results = Results.of(folder, suite, jobs[::-1], records)
    assert failed(results.numbers) == [f"broken, simulated, seed 0: {kept['error']}"]
    (levels,) = tables(results, "simulated", headline=True)
    assert [row[0] for row in levels.rows] == ["base"]
    assert folder.finished(jobs[0]) is not None
    assert folder.finished(jobs[1]) is None  # tried again next time


def test_fits_of_other_parameters_are_refused_until_they_are_thrown_away(tmp_path: Path) -> None:
    suite, changed = small_suite(), small_suite(learning_rate=0.5)
    jobs, others = suite.jobs(variants=["base"]), changed.jobs(variants=["base"])
    run_suite(BenchFolder.of(tmp_path / "bench", suite, jobs), jobs)
    with pytest.raises(OutputError, match="another params of 'base'"):
        BenchFolder.of(tmp_path / "bench", changed, others)
    # A record that was copied in is known by its own job, whatever the configuration says.
    record = tmp_path / "bench" / jobs[0].file
    elsewhere = tmp_path / "other" / others[0].file
    folder = BenchFolder.of(tmp_path / "other", changed, others)
    elsewhere.parent.mkdir(parents=True)
    elsewhere.write_bytes(record.read_bytes())
    with pytest.raises(OutputError, match="other parameters than base, simulated, seed 0 has now"):
        run_suite(folder, others)

    assert BenchFolder.forget(tmp_path / "bench", ["base"]) == 1
    (again,) = run_suite(BenchFolder.of(tmp_path / "bench", changed, others), others)
    assert again["job"]["params"]["learning_rate"] == 0.5


def test_a_fit_that_takes_too_long_is_stopped_and_recorded(tmp_path: Path) -> None:
    suite = small_suite(n_estimators=1_000_000)
    jobs = suite.jobs(variants=["base"])
    folder = BenchFolder.of(tmp_path / "bench", suite, jobs, timeout=0.5)
    (record,) = run_suite(folder, jobs)
    assert record["status"] == "failed"
    assert "the suite's limit for one fit" in record["error"]
    assert record["seconds"] < 60
    assert [path.name for path in (tmp_path / "bench" / "fits" / "simulated").iterdir()] == [
        "base-seed0.json"
    ]


@pytest.mark.slow
def test_fits_side_by_side_give_the_numbers_of_one_after_the_other(tmp_path: Path) -> None:
    suite = small_suite()

    def numbers(parallel: int) -> list[Any]:
        jobs = suite.jobs(seeds=2, variants=["base"])
        folder = BenchFolder.of(tmp_path / str(parallel), suite, jobs)
        records = run_suite(folder, jobs, parallel=parallel)
        assert [record["job"]["seed"] for record in records] == [0, 1]
        return [[one for one in r["scores"] if one["measure"] != "cpu_seconds"] for r in records]

    assert numbers(1) == numbers(2)


def test_an_interrupt_leaves_no_record_of_the_fit_it_hit(tmp_path: Path) -> None:
    suite = small_suite(n_estimators=1_000_000)
    jobs = suite.jobs(variants=["base"])
    folder = BenchFolder.of(tmp_path / "bench", suite, jobs)
    threading.Timer(1.0, folder.stop).start()
    with pytest.raises(InterruptedError):
        folder.run(jobs[0])
    assert list((tmp_path / "bench" / "fits" / "simulated").iterdir()) == []


def test_the_process_of_a_fit_gives_the_numbers_of_a_fit_here(tmp_path: Path) -> None:
    (job,) = small_suite(rows=500).jobs(variants=["base"])
    job = replace(job, seed=3)
    record = BenchFolder(tmp_path / "bench", name="small").run(job)
    sample = simulated(500, 3)
    effects = make("lightgbm_s", **QUICK, random_state=3).fit(sample.train).predict(sample.test)
    expected, _ = measure(effects, sample)
    found = {(score["measure"], score["stage"]): score["value"] for score in record["scores"]}
    assert found.pop(("cpu_seconds", "")) > 0
    assert found == pytest.approx(expected)
    assert record["seconds"] > record["fit_seconds"] > 0
    assert record["peak_mib"] > 50


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"no config\.json of a benchmark"):
        BenchFolder(tmp_path, name="small")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


# ---------------------------------------------------------------- the suite and its data


def test_every_variant_of_the_ablation_is_a_model_that_differs_from_the_full_one_in_what_it_names() -> None:
    full = make_model("ecup", **SUITE.variants[0].params).get_params()
    assert SUITE.base == "full"
    seen = []
    for variant in SUITE.variants[1:]:
        params = make_model(variant.model, **variant.params).get_params()
        json.dumps(variant.params)
        if variant.model == "ecup":
            changed = {key: value for key, value in params.items() if value != full[key]}
            assert len(changed) == 1, variant.name
            assert changed not in seen, variant.name
            seen.append(changed)
    assert len(seen) == 15


def test_samples_are_fresh_for_every_seed_and_their_truth_is_that_of_the_test_rows() -> None:
    first, again, other = (simulated(300, seed) for seed in (0, 0, 1))
    assert first.train.fingerprint() == again.train.fingerprint()
    prints = {sample.fingerprint() for one in (first, other) for sample in (one.train, one.test)}
    assert len(prints) == 4
    assert first.train.n_rows, first.test.n_rows == (300, 600)
    assert first.truth is not None
    assert first.truth.units.equals(first.test.unit_ids)
    assert first.test.stages == ("click", "conversion")
    assert len(first.test.arm_names) == 5


def test_a_model_predicts_without_sight_of_arms_and_outcomes(sample: Sample) -> None:
    assert not sample.audience.has_outcomes
    assert not {"coupon", "click", "conversion"} & set(sample.audience.table.column_names)
    assert sample.audience.feature_names == sample.test.feature_names
    model = make_model("lightgbm_s", **QUICK).fit(sample.train)
    shown, blind = model.predict(sample.test), model.predict(sample.audience)
    assert np.array_equal(shown.mu_all, blind.mu_all)
    assert blind.units.equals(sample.test.unit_ids)


def test_hillstrom_is_split_by_seed(data_home: Path) -> None:
    first, other = (draw(PublicEntry(name="hillstrom", rows=1400), seed) for seed in (0, 1))
    assert first.truth is None
    assert first.train.n_rows + first.test.n_rows == 2001  # 1,400 of them, rounded up, over 70 %
    assert first.train.fingerprint() != other.train.fingerprint()


# ---------------------------------------------------------------- measures


@pytest.fixture(scope="module")
def sample() -> Sample:
    return simulated(1500, 0)


def scaled(truth: Effects, factor: float) -> Effects:
    return Effects(
        truth.mu_all * factor, units=truth.units, arms=truth.arms, stages=truth.stages, model="scaled"
    )


def test_the_truth_scores_perfectly(sample: Sample) -> None:
    assert sample.truth is not None
    found, _ = measure(sample.truth, sample)
    for stage in ("click", "conversion"):
        assert found["pehe", stage] == found["ate_error", stage] == 0
        assert found["qini_share", stage] == pytest.approx(1)
        assert found["correlation", stage] == pytest.approx(1)
    assert found["plan_value", ""] == pytest.approx(1)
    assert found["plan_cost", ""] == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("factor", [0.5, 1.25])
def test_effects_of_the_wrong_size_spend_another_sum_but_are_not_flattered_by_it(
    sample: Sample, factor: float
) -> None:
    """The order of value per cost is the truth's, so at equal true cost the plan is the oracle's."""
    assert sample.truth is not None
    found, _ = measure(scaled(sample.truth, factor), sample)
    assert found["plan_cost", ""] == pytest.approx(1 / factor, abs=0.01)
    assert found["plan_value", ""] == pytest.approx(1, abs=0.005)
    assert found["qini_share", "click"] == pytest.approx(1, abs=1e-4)


def test_log_losses_equal_scikit_learns(sample: Sample) -> None:
    assert sample.truth is not None
    found = log_losses(sample.truth, sample.test)
    rows = np.arange(sample.test.n_rows)
    for index, stage in enumerate(("click", "conversion")):
        rates = sample.truth.mu_all[rows, sample.test.arm_codes, index].astype(float)
        assert found["log_loss", stage] == pytest.approx(log_loss(sample.test.outcome(stage), rates))


def test_qinis_equal_the_evaluations_headline(toy: Campaign) -> None:
    effects = make_model("lightgbm_s", n_estimators=5).fit(toy).predict(toy)
    (found, _), evaluation = qinis(effects, toy), evaluate(toy, {"model": effects})
    for stage in toy.stages:
        for metric in ("qini_per_capita", "uplift_at_30", "qini_sklift", "auuc_sklift"):
            if metric.endswith("sklift") and stage == "value":
                assert (metric, stage) not in found
                continue
            values = [evaluation.score("model", stage, arm, metric)["value"] for arm in toy.arm_names[1:]]
            assert found[metric, stage] == pytest.approx(np.mean(values))


# ---------------------------------------------------------------- tables


def test_means_spreads_and_paired_differences_by_hand() -> None:
    def record(variant: str, seed: int, pehe: float) -> dict[str, Any]:
        scores = [{"measure": "pehe", "stage": "click", "value": pehe}]
        return {
            "job": job(variant, seed).to_dict(), "status": "ok", "scores": scores, "fit_seconds": 1.0, "predict_seconds": 0.5,
            "peak_mib": 99.0,
        }  # fmt: skip

    def job(variant: str, seed: int) -> Job:
        return Job(variant=variant, model="m", params={}, data=SIMULATED.model_dump(mode="json"), seed=seed)

    suite = Suite(
        name="s", title="S", data=(SIMULATED,),
        variants=tuple(Variant(name=name, title="", model="m", params={}) for name in ("full", "other")),
    )  # fmt: skip

    def results(*numbers: tuple[str, int, float]) -> Results:
        jobs = tuple(job(variant, seed) for variant, seed, _ in numbers)
        return Results(suite, jobs, tuple(record(*one) for one in numbers))

    full = [("full", seed, value) for seed, value in enumerate((0.10, 0.20, 0.30))]
    other = [("other", seed, value) for seed, value in enumerate((0.11, 0.23))]
    found = results(*full, *other)
    levels, changes = tables(found, "simulated", headline=True)
    assert levels.columns == ["variant", "PEHE click", "seeds"]
    # standard deviation of 0.1, 0.2, 0.3 is 0.1, of 0.11 and 0.23 is 0.12 / sqrt 2
    assert levels.rows == [["full", "0.2000 (0.1000)", "3"], ["other", "0.1700 (0.0849)", "2"]]
    # differences 0.01 and 0.03 on the two seeds that both have: mean 0.02, error 0.01
    assert changes.rows == [["other", "+0.0200 (0.0100)", "2"]]
    one = found.difference("simulated", "other", "pehe", "click")
    assert (one.wins, one.seeds) == (0, 2)  # less is better
    assert (one.low, one.high) == pytest.approx((0.02 - 12.706 * 0.01, 0.02 + 12.706 * 0.01), abs=1e-4)
    costs, _ = tables(results(full[0], other[0]), "simulated", headline=False)
    assert costs.columns == ["variant", "seconds", "peak MiB", "seeds"]
    assert costs.rows[0] == ["full", "1.5 (-)", "99 (-)", "1"]
    ranks = found.ranks()
    assert ranks is not None
    # on seed 2 the other one has no number, and is last
    assert ranks.mean == {"full": 1.0, "other": 2.0}
    assert ranks.failed == {"full": 0, "other": 1}
