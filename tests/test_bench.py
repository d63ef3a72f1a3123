"""`uplift bench`: what is finished is not fitted again, what fails is recorded, and the numbers are right."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import log_loss

from uplift import Campaign, Effects, evaluate, make_model
from uplift.bench.data import SOURCES, Sample
from uplift.bench.ecup_ablation import SUITE
from uplift.bench.measures import log_losses, measure, qinis
from uplift.bench.runner import BenchFolder, run_suite
from uplift.bench.suite import Job, Suite, Variant
from uplift.bench.summary import failed, tables, tidy
from uplift.cli import main
from uplift.errors import OutputError, UpliftError
from uplift.models.registry import make_model as make

QUICK = {"n_estimators": 5}


def small_suite(**params: Any) -> Suite:
    return Suite(
        name="small",
        title="Small",
        data=("simulated",),
        variants=(
            Variant(name="base", title="a few trees", model="lightgbm_s", params=QUICK | params),
            Variant(name="broken", title="refused", model="lightgbm_s", params={"n_estimators": -1}),
        ),
    )


# ---------------------------------------------------------------- the command


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
    assert sorted(path.name for path in first.parent.iterdir()) == [
        "lightgbm_s-seed0.json",
        "lightgbm_t-seed0.json",
    ]

    assert run(monkeypatch, *common[:-2], "--rows", "500", "--seeds", "1", "--out", str(out)) == 2
    assert "holds a benchmark with another rows (400, now 500)" in capfd.readouterr().err


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
    assert _sources(SUITE, "all") == ["simulated"]
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
    folder = BenchFolder(tmp_path / "bench", suite=suite, rows=300)
    jobs = suite.jobs(rows=300, seeds=1, data=("simulated",))
    records = run_suite(folder, jobs[::-1])  # the broken one first
    assert [record["status"] for record in records] == ["failed", "ok"]
    kept = json.loads((tmp_path / "bench" / jobs[1].file).read_text())
    assert "n_estimators is -1" in kept["error"]
    numbers = tidy(records)
    assert failed(numbers) == [f"broken, simulated, seed 0: {kept['error']}"]
    (levels,) = tables(numbers, suite, "simulated", headline=True)
    assert [row[0] for row in levels.rows] == ["base"]
    assert folder.finished(jobs[0]) is not None
    assert folder.finished(jobs[1]) is None  # tried again next time

    changed = small_suite(learning_rate=0.5)
    with pytest.raises(OutputError, match="other parameters than variant 'base' has now"):
        run_suite(folder, changed.jobs(rows=300, seeds=1, data=("simulated",)))


def test_the_process_of_a_fit_gives_the_numbers_of_a_fit_here(tmp_path: Path) -> None:
    job = Job(variant="base", model="lightgbm_s", params=QUICK, data="simulated", rows=500, seed=3)
    record = BenchFolder(tmp_path / "bench", suite=small_suite(), rows=500).run(job)
    sample = SOURCES["simulated"](500, 3)
    expected = measure(
        make("lightgbm_s", **QUICK, random_state=3).fit(sample.train).predict(sample.test), sample
    )
    found = {(score["measure"], score["stage"]): score["value"] for score in record["scores"]}
    assert found.pop(("cpu_seconds", "")) > 0
    assert found == pytest.approx(expected)
    assert record["seconds"] > record["fit_seconds"] > 0
    assert record["peak_mib"] > 50


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"no config\.json of a benchmark"):
        BenchFolder(tmp_path, suite=SUITE, rows=100)
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
    first, again, other = (SOURCES["simulated"](300, seed) for seed in (0, 0, 1))
    assert first.train.fingerprint() == again.train.fingerprint()
    prints = {sample.fingerprint() for one in (first, other) for sample in (one.train, one.test)}
    assert len(prints) == 4
    assert first.train.n_rows, first.test.n_rows == (300, 600)
    assert first.truth is not None
    assert first.truth.units.equals(first.test.unit_ids)
    assert first.test.stages == ("click", "conversion")
    assert len(first.test.arm_names) == 5


def test_hillstrom_is_split_by_seed(data_home: Path) -> None:
    first, other = (SOURCES["hillstrom"](1400, seed) for seed in (0, 1))
    assert first.truth is None
    assert first.train.n_rows + first.test.n_rows == 2001  # 1,400 of them, rounded up, over 70 %
    assert first.train.fingerprint() != other.train.fingerprint()


# ---------------------------------------------------------------- measures


@pytest.fixture(scope="module")
def sample() -> Sample:
    return SOURCES["simulated"](1500, 0)


def scaled(truth: Effects, factor: float) -> Effects:
    return Effects(
        truth.mu_all * factor, units=truth.units, arms=truth.arms, stages=truth.stages, model="scaled"
    )


def test_the_truth_scores_perfectly(sample: Sample) -> None:
    assert sample.truth is not None
    found = measure(sample.truth, sample)
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
    found = measure(scaled(sample.truth, factor), sample)
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
    found, evaluation = qinis(effects, toy), evaluate(toy, {"model": effects})
    for stage in toy.stages:
        values = [evaluation.score("model", stage, arm)["value"] for arm in toy.arm_names[1:]]
        assert found["qini_per_capita", stage] == pytest.approx(np.mean(values))


# ---------------------------------------------------------------- tables


def test_means_spreads_and_paired_differences_by_hand() -> None:
    def record(variant: str, seed: int, pehe: float) -> dict[str, Any]:
        job = Job(variant=variant, model="m", params={}, data="simulated", rows=1, seed=seed).to_dict()
        scores = [{"measure": "pehe", "stage": "click", "value": pehe}]
        return {
            "job": job, "status": "ok", "scores": scores, "fit_seconds": 1.0, "predict_seconds": 0.5, "peak_mib": 99.0,
        }  # fmt: skip

    suite = Suite(
        name="s", title="S", data=("simulated",),
        variants=tuple(Variant(name=name, title="", model="m", params={}) for name in ("full", "other")),
    )  # fmt: skip
    records = [record("full", seed, value) for seed, value in enumerate((0.10, 0.20, 0.30))]
    records += [record("other", seed, value) for seed, value in enumerate((0.11, 0.23))]
    levels, changes = tables(tidy(records), suite, "simulated", headline=True)
    assert levels.columns == ["variant", "PEHE click", "seeds"]
    # standard deviation of 0.1, 0.2, 0.3 is 0.1, of 0.11 and 0.23 is 0.12 / sqrt 2
    assert levels.rows == [["full", "0.2000 (0.1000)", "3"], ["other", "0.1700 (0.0849)", "2"]]
    # differences 0.01 and 0.03 on the two seeds that both have: mean 0.02, error 0.01
    assert changes.rows == [["other", "+0.0200 (0.0100)", "2"]]
    costs, _ = tables(tidy(records[:1] + records[3:4]), suite, "simulated", headline=False)
    assert costs.columns == ["variant", "seconds", "peak MiB", "seeds"]
    assert costs.rows[0] == ["full", "1.5 (-)", "99 (-)", "1"]
