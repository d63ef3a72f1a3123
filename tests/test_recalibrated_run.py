"""``[decide] recalibrate`` and ``uplift allocate --stream``: the same plan from files, with effects of the right size."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from uplift import Effects
from uplift.cli import app
from uplift.errors import UpliftError
from uplift.pipeline import run
from uplift.run_report import report_run
from uplift.simulation import simulate

MODELS = """
[models]
lightgbm_t = {{ n_estimators = 60, num_leaves = 63, min_child_samples = 5 }}
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Run folders of one noisy model, as it is and recalibrated."""
    folder = tmp_path_factory.mktemp("recalibrate")
    simulate(rows=8_000, seed=4).write(folder / "campaign")
    file = folder / "campaign" / "campaign.toml"
    plain = file.read_text() + MODELS.format()
    found = {}
    for name, line in (("plain", ""), ("recalibrated", "recalibrate = true\n")):
        file.write_text(plain.replace("[decide]\n", f"[decide]\n{line}"))
        run(file, folder / name)
        found[name] = folder / name
    return found


def test_recalibrated_effects_promise_less_and_say_by_how_much(runs: dict[str, Path]) -> None:
    plans = {name: json.loads((path / "allocation.json").read_text()) for name, path in runs.items()}
    assert plans["recalibrated"]["expected_value"] < plans["plain"]["expected_value"]
    spread = {
        name: Effects.read_parquet(path / "effects.parquet").tau_all[:, 1:, 1].std()
        for name, path in runs.items()
    }
    assert spread["recalibrated"] < 0.8 * spread["plain"]
    notes = json.loads((runs["recalibrated"] / "run.json").read_text())["notes"]
    assert any("recalibrate = true" in note for note in notes)


def test_the_metrics_stay_those_of_the_model_as_it_is(runs: dict[str, Path]) -> None:
    """The test effects on file are the model's own, so that the slope in the report still shows what was mended."""
    effects = runs["recalibrated"] / "test_effects" / "lightgbm_t.parquet"
    decided = Effects.read_parquet(runs["recalibrated"] / "effects.parquet")
    table = pq.read_table(effects)
    column = next(name for name in table.column_names if name.startswith("tau__click"))
    assert table[column].to_numpy().std() > decided.tau("click", column.rpartition("__")[2]).std()


def test_the_report_of_a_recalibrated_run_can_be_drawn_again(runs: dict[str, Path], tmp_path: Path) -> None:
    assert "recalibrate = true" in report_run(runs["recalibrated"], tmp_path / "again.html").read_text()


def test_streamed_allocation_writes_the_decisions_of_memory(runs: dict[str, Path], tmp_path: Path) -> None:
    terms = ["--cost", "coupon_5=5@conversion", "--cost", "coupon_10=10@conversion", "--cost",
             "coupon_15=15@conversion", "--margin", "40", "--budget", "300", "--holdout", "0.1"]  # fmt: skip
    for name, extra in (("memory", []), ("disk", ["--stream"])):
        command = ["allocate", str(runs["plain"]), "--out", str(tmp_path / f"{name}.parquet"), *terms, *extra]
        result = CliRunner().invoke(app, command)
        assert result.exit_code == 0, result.output
    tables = [pq.read_table(tmp_path / f"{name}.parquet") for name in ("memory", "disk")]
    assert tables[0].to_pydict() == tables[1].to_pydict()
    summaries = [json.loads((tmp_path / f"{name}.parquet.json").read_text()) for name in ("memory", "disk")]
    assert summaries[0]["expected_value"] == summaries[1]["expected_value"]
    assert np.isclose(summaries[0]["upper_bound"], summaries[1]["upper_bound"], rtol=1e-12)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--out", "plan.csv"], "writes Parquet"),
        (["--out", "plan.parquet", "--method", "exact"], "'method' is given"),
    ],
)
def test_streaming_refuses_what_it_cannot_do(
    runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: list[str], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    command = ["allocate", str(runs["plain"]), "--cost", "coupon_5=5@send", "--cost", "coupon_10=5@send", "--cost",
               "coupon_15=5@send", "--margin", "40", "--budget", "300", "--stream", *more]  # fmt: skip
    result = CliRunner().invoke(app, command)
    assert isinstance(result.exception, UpliftError)
    assert words in str(result.exception)
    assert not list(tmp_path.iterdir())
