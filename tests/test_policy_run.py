"""From a run with several limits: `uplift policy`, and what an export says of the customers who were held out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from constraint_cases import campaign_with_shops
from typer.testing import CliRunner

from uplift.cli import app
from uplift.effects import Effects
from uplift.errors import AllocationError
from uplift.export import from_allocation, from_run, policy_of_run
from uplift.pipeline import run
from uplift.policy import Policy
from uplift.run_folder import RunFolder
from uplift.run_report import plan_again

RULES = """
[[decide.constraint]]
kind = "cap"
limit = 12
segment = "shop"

[[decide.constraint]]
kind = "stock"
limit = {{ {arm} = 10 }}
{more}
[report]
drivers = false

[models]
lightgbm_s = {{ n_estimators = 30 }}
"""
ADULTS = """
[[decide.constraint]]
kind = "eligible"
when = "age >= 18"
"""


def _run(folder: Path, more: str) -> Path:
    file, text, arm = campaign_with_shops(folder, rows=3_000)
    lines = [line for line in text.splitlines() if not line.startswith("holdout")]
    lines.insert(lines.index("[decide]") + 1, "holdout = 0.2\nmin_roi = 0.3")
    file.write_text("\n".join(lines) + RULES.format(arm=arm, more=more))
    run(file, folder.parent / "run")
    return folder.parent / "run"


@pytest.fixture(scope="module", params=["limits", pytest.param("limits and rules", marks=pytest.mark.slow)])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder whose plan has caps per shop and a stock, and once a rule on age."""
    return _run(tmp_path_factory.mktemp("policy") / "campaign", ADULTS if "rules" in request.param else "")


def test_the_policy_of_a_run_is_that_of_its_plan_and_decides_like_it(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "policy.json"
    done = CliRunner().invoke(app, ["policy", str(folder), "--out", str(out)])
    assert done.exit_code == 0, done.output
    policy, opened = Policy.load(out), RunFolder.open(folder)
    plan = plan_again(opened, opened.read_json("run.json"))
    labels = {arm: policy.labels[arm] for arm in policy.arms}
    made = plan.policy(labels=labels).to_dict()
    assert policy.to_dict() == made | {"model": policy.to_dict()["model"]}  # the run names the saved model
    assert policy.min_roi == 0.3
    assert [price.segment for price in policy.prices].count("shop") == 3
    assert f"{len(policy.prices) - 1} prices of other limits" in done.output
    assert "needs the customer's shop" in done.output
    assert ("age >= 18" in done.output) == bool(policy.conditions)
    effects = Effects.read_parquet(folder / "effects.parquet")
    columns = pq.read_table(folder / "constraint_columns.parquet")
    codes = policy.decide_effects(effects, columns=columns)
    assert (codes != plan.arm_codes).sum() <= 2 * len(policy.prices)
    assert len(out.read_bytes()) < 3_000


def test_an_export_knows_what_held_out_customers_would_have_got_under_several_limits(folder: Path) -> None:
    decisions = from_run(folder)
    policy = policy_of_run(RunFolder.open(folder))
    effects = Effects.read_parquet(folder / "effects.parquet")
    columns = pq.read_table(folder / "constraint_columns.parquet")
    free = policy.from_dict(policy.to_dict() | {"holdout": {"share": 0.0, "salt": ""}})
    would = free.decide_effects(effects, columns=columns)
    held = decisions.held_out
    assert 0.1 < held.mean() < 0.3
    chance = np.where(decisions.arm_codes > 0, 0.8, np.where(held & (would > 0), 0.2, 1.0))
    assert (decisions.propensity == chance).all()
    assert (would[held] > 0).any()
    opened = RunFolder.open(folder)
    in_memory = from_allocation(plan_again(opened, opened.read_json("run.json")), effects=effects)
    assert (in_memory.propensity == chance).all()


def test_a_run_of_an_earlier_version_says_why_it_makes_no_policy(folder: Path, tmp_path: Path) -> None:
    import shutil

    old = shutil.copytree(folder, tmp_path / "old")
    summary = json.loads((old / "allocation.json").read_text())
    for row in summary["constraints"]:
        for key in ("arm", "segment", "level"):
            row.pop(key, None)
    (old / "allocation.json").write_text(json.dumps(summary))
    with pytest.raises(AllocationError, match="make the plan again"):
        policy_of_run(RunFolder.open(old))
    unknown = from_run(old)  # and its export leaves open what it cannot know
    assert np.isnan(unknown.propensity[unknown.held_out]).all()
    assert not np.isnan(unknown.propensity[~unknown.held_out]).any()


def test_the_cli_says_that_the_effects_were_recalibrated(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import shutil

    corrected = shutil.copytree(folder, tmp_path / "corrected")
    described = json.loads((corrected / "run.json").read_text())
    described["config"]["decide"]["recalibrate"] = True
    (corrected / "run.json").write_text(json.dumps(described))
    done = CliRunner().invoke(app, ["policy", str(corrected), "--out", str(tmp_path / "p.json")])
    assert done.exit_code == 0
    assert "recalibrate = true" in done.output + done.stderr
