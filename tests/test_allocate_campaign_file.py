"""Constraints in ``campaign.toml``: the run, its report, the command line, and refusals before any model is fitted."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from constraint_cases import campaign_with_shops
from typer.testing import CliRunner

from uplift.campaign_file import CampaignFile
from uplift.cli import app
from uplift.errors import CampaignError, UpliftError
from uplift.pipeline import run
from uplift.run_report import report_run
from uplift.simulation import simulate

RULES = """
[[decide.constraint]]
kind = "cap"
limit = 120
segment = "shop"

[[decide.constraint]]
kind = "min_reach"
limit = 40
segment = "shop"
level = "south"

[[decide.constraint]]
kind = "stock"
limit = {{ {arm} = 90 }}

[[decide.constraint]]
kind = "eligible"
when = "age >= 18"

[models]
lightgbm_s = {{ n_estimators = 5 }}
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(campaign folder, run folder) of a small run under constraints on columns that no model sees."""
    folder = tmp_path_factory.mktemp("constraints") / "campaign"
    file, text, arm = campaign_with_shops(folder, rows=6_000)
    file.write_text(text + RULES.format(arm=arm))
    run(file, folder.parent / "run")
    return folder, folder.parent / "run"


def test_a_run_keeps_the_constraints_of_its_file_and_reports_them(finished: tuple[Path, Path]) -> None:
    _, out = finished
    plan = json.loads((out / "allocation.json").read_text())
    rows = {row["name"]: row for row in plan["constraints"]}
    assert {"budget", "cap shop=south", "min_reach shop=south"} <= set(rows)
    assert all(row["slack"] >= 0 and row["meaning"] for row in rows.values())
    columns = pq.read_table(out / "constraint_columns.parquet").to_pandas()
    decided = pd.read_parquet(out / "allocation.parquet")
    treated = decided["expected_cost"] > 0
    assert not (treated & (columns["age"] < 18)).any()
    assert (columns["shop"][treated].value_counts() <= 120).all()
    assert (treated & (columns["shop"] == "south")).sum() >= 40
    page = (out / "report.html").read_text()
    assert "What limits the plan" in page
    assert "minimum reach of 40 in shop &#39;south&#39;" in page


def test_the_report_and_the_command_line_make_the_same_plan_again(
    finished: tuple[Path, Path], tmp_path: Path
) -> None:
    folder, out = finished
    report_run(out, tmp_path / "again.html")
    again = tmp_path / "again.parquet"
    arguments = ["allocate", str(out), "--campaign", str(folder / "campaign.toml"), "--out", str(again)]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert pq.read_table(again).equals(pq.read_table(out / "allocation.parquet"))
    done = CliRunner().invoke(app, [*arguments, "--method", "one_budget", "--overwrite"])
    assert isinstance(done.exception, UpliftError)
    assert "knows one budget only" in str(done.exception)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ('kind = "stok"\nlimit = 1', "did you mean 'stock'"),
        ('kind = "cap"\nlimit = 1\nsegmnt = "shop"', "did you mean 'segment'"),
        ('kind = "eligible"\nwhen = "age >"', "not understood"),
    ],
)
def test_mistakes_in_a_constraint_are_found_when_the_file_is_read(rule: str, message: str) -> None:
    text = (
        '[campaign]\ndata = "log.parquet"\ntreatment = "coupon"\ncontrol = "none"\nchain = ["click"]\n'
        f"[decide]\nbudget = 5.0\n[[decide.constraint]]\n{rule}\n"
    )
    with pytest.raises(CampaignError, match=message) as error:
        CampaignFile.parse(text)
    assert "\n" not in str(error.value)


def test_a_missing_column_is_found_before_any_model_is_fitted(tmp_path: Path) -> None:
    folder = tmp_path / "campaign"
    simulate(rows=2_000, seed=3).write(folder)
    file = folder / "campaign.toml"
    file.write_text(
        file.read_text() + '\n[[decide.constraint]]\nkind = "cap"\nlimit = 3\nsegment = "regio"\n'
    )
    with pytest.raises(UpliftError, match="reads the column 'regio', which the data do not have"):
        run(file, tmp_path / "run")


@pytest.mark.parametrize(
    ("table", "ending"),
    [
        ('[[decide.constraint]]\nkind = "bugdet"\nlimit = 5', "did you mean 'budget'?"),
        ('[decide.constraint]\nkind = "cap"\nlimit = 5', "with two brackets on each side, once for each."),
    ],
)
def test_a_constraint_that_is_written_wrongly_is_one_sentence(
    table: str, ending: str, tmp_path: Path
) -> None:
    text = '[campaign]\ndata = "log.parquet"\ntreatment = "arm"\ncontrol = "none"\nchain = ["buy"]\n[decide]\nmargin = 1.0\nbudget = 1.0\n'
    with pytest.raises(CampaignError) as error:
        CampaignFile.parse(text + table + "\n", folder=tmp_path)
    assert str(error.value).endswith(ending)
