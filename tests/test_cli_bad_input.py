"""Bad input through the command line: one sentence, exit code 2, no traceback, nothing half-written."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import toy_frame

from uplift.cli import main

CAMPAIGN = """
[campaign]
name = "toy"
data = "log.parquet"
unit = "customer"
treatment = "coupon"
control = "none"
chain = ["click", "buy"]
value = "spend"

[arms.coupon_5]
cost = { on = "buy", amount = 5.0 }

[arms.coupon_10]
cost = { on = "buy", amount = 10.0 }

[models]
lightgbm_s = { n_estimators = 5 }

[decide]
margin = 30.0
budget = 100.0
"""

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a good campaign that tests then break."""
    toy_frame(1_500).to_parquet(tmp_path / "log.parquet")
    (tmp_path / "campaign.toml").write_text(CAMPAIGN)
    return tmp_path


@pytest.fixture
def uplift(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: Path) -> Command:
    """Run the command line in this process, inside the folder: (exit code, stdout, stderr)."""
    monkeypatch.chdir(folder)

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["uplift", *arguments])
        with pytest.raises(SystemExit) as stopped:
            main()
        out, err = capsys.readouterr()
        return int(stopped.value.code or 0), out, err

    return call


def _frame(folder: Path, **changes: object) -> None:
    frame = pd.read_parquet(folder / "log.parquet")
    for column, change in changes.items():
        frame[column] = change(frame) if callable(change) else change
    frame.to_parquet(folder / "log.parquet")


def _toml(folder: Path, old: str, new: str) -> None:
    text = (folder / "campaign.toml").read_text()
    assert old in text
    (folder / "campaign.toml").write_text(text.replace(old, new))


def _first(value: object) -> Callable[[pd.DataFrame], list[object]]:
    return lambda frame: [value] * 3 + [0] * (len(frame) - 3)


def _keep_arm(frame: pd.DataFrame) -> pd.Series:
    return frame["coupon"].where(frame["coupon"] != "coupon_10", "none")


def _truncate(folder: Path) -> None:
    whole = (folder / "log.parquet").read_bytes()
    (folder / "log.parquet").write_bytes(whole[: len(whole) // 2])


BROKEN: dict[str, tuple[Callable[[Path], None], str]] = {
    "missing file": (lambda f: (f / "log.parquet").unlink(), "no file or folder"),
    "missing column": (lambda f: pd.read_parquet(f / "log.parquet").drop(columns="click").to_parquet(f / "log.parquet"), "no stage column 'click'"),
    "unknown arm": (lambda f: _toml(f, "[arms.coupon_5]", "[arms.coupn_5]"), "did you mean 'coupon_5'"),
    "arm with no rows": (lambda f: _frame(f, coupon=_keep_arm), "'coupon_10' has no rows"),
    "unknown stage": (lambda f: _toml(f, "[decide]", '[decide]\nstage = "bye"'), "did you mean 'buy'"),
    "control not present": (lambda f: _toml(f, 'control = "none"', 'control = "nobody"'), "control arm 'nobody'"),
    "treatment with NaN": (lambda f: _frame(f, coupon=lambda t: t["coupon"].where(t.index > 2)), "missing in 3 of 1,500 rows"),
    "stage not 0/1": (lambda f: _frame(f, buy=_first(2)), "must be 0 or 1, but 3 of 1,500"),
    "infinite values": (lambda f: _frame(f, x1=_first(np.inf)), "'x1' has 3 infinite values"),
    "no rows": (lambda f: pd.read_parquet(f / "log.parquet").iloc[:0].to_parquet(f / "log.parquet"), "no rows"),
    "empty file": (lambda f: (f / "log.parquet").write_bytes(b""), "is empty"),
    "truncated Parquet": (_truncate, "truncated or damaged"),
    "TOML typo": (lambda f: _toml(f, "treatment", "treatmnt"), "did you mean 'treatment'"),
    "TOML typo in a section": (lambda f: _toml(f, "budget", "budjet"), "did you mean 'budget'"),
    "TOML typo in an arm": (lambda f: _toml(f, "amount = 5.0", "amont = 5.0"), "did you mean 'amount'"),
    "TOML typo in a section name": (lambda f: _toml(f, "[decide]", "[decde]"), "did you mean 'decide'"),
    "no TOML": (lambda f: _toml(f, "[decide]", "[decide"), "not valid TOML"),
    "unknown model": (lambda f: _toml(f, "lightgbm_s = ", "lightgbm_z = "), "did you mean 'lightgbm_"),
    "unknown model parameter": (lambda f: _toml(f, "n_estimators", "n_estimator"), "did you mean 'n_estimators'"),
    "negative budget": (lambda f: _toml(f, "budget = 100.0", "budget = -1.0"), "budget is -1.0"),
    "NaN budget": (lambda f: _toml(f, "budget = 100.0", "budget = nan"), "budget is nan"),
    "costs missing": (lambda f: _toml(f, "[arms.coupon_10]\ncost = { on = \"buy\", amount = 10.0 }", ""), "arm 'coupon_10' has no cost"),
    "no margin": (lambda f: _toml(f, "margin = 30.0\n", ""), "needs margin"),
    "failed check": (lambda f: _frame(f, click=0), "failed"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_run_refuses_in_one_sentence(case: str, folder: Path, uplift: Command) -> None:
    breaking, message = BROKEN[case]
    breaking(folder)
    before = sorted(path.name for path in folder.iterdir())
    code, out, err = uplift("run", "campaign.toml", "--out", "result")
    complaint = err.strip().splitlines()
    assert code == 2, err
    assert message in err
    assert complaint[-1].startswith("error: ")
    assert "Traceback" not in err + out
    assert sorted(path.name for path in folder.iterdir()) == before  # no partial file or folder


def test_an_existing_run_needs_overwrite(folder: Path, uplift: Command) -> None:
    (folder / "result").mkdir()
    (folder / "result" / "run.json").write_text("{}")
    code, _, err = uplift("run", "campaign.toml", "--out", "result")
    assert (code, "--overwrite" in err) == (2, True)
    assert (folder / "result" / "run.json").read_text() == "{}"


def test_overwrite_does_not_delete_a_folder_of_other_files(folder: Path, uplift: Command) -> None:
    (folder / "thesis").mkdir()
    (folder / "thesis" / "chapter1.docx").write_text("years of work")
    code, _, err = uplift("run", "campaign.toml", "--out", "thesis", "--overwrite")
    assert (code, "did not write" in err) == (2, True)
    assert (folder / "thesis" / "chapter1.docx").read_text() == "years of work"


def test_an_output_folder_that_cannot_be_written_is_refused_first(folder: Path, uplift: Command) -> None:
    (folder / "file").write_text("not a folder")
    code, _, err = uplift("run", "campaign.toml", "--out", "file/result")
    assert (code, "cannot write" in err) == (2, True)
    code, _, err = uplift("run", "campaign.toml", "--out", "file")
    assert (code, "is a file" in err) == (2, True)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_refused(folder: Path, uplift: Command) -> None:
    (folder / "locked").mkdir(mode=0o500)
    code, _, err = uplift("run", "campaign.toml", "--out", "locked/result")
    assert (code, "cannot write" in err) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "nowhere.toml", "--out", "r"], "no campaign file"),
        (["check", "nowhere.toml"], "no campaign file"),
        (["fit", "campaign.toml", "--model", "ecupp", "--out", "m"], "did you mean 'ecup'"),
        (["fit", "campaign.toml", "--model", "lightgbm_s", "--param", "n_estimators", "--out", "m"], "NAME=VALUE"),
        (["predict", "nowhere", "campaign.toml", "--out", "e.parquet"], "no saved model"),
        (["predict", "m", "campaign.toml", "--out", "e.parquet", "--part", "tset"], "did you mean 'test'"),
        (["evaluate", "nowhere"], "not a run folder"),
        (["evaluate", "campaign.toml"], "at least one effects file"),
        (["evaluate", "campaign.toml", "log.parquet"], "holds no effects"),
        (["allocate", "log.parquet", "--out", "a.csv", "--budget", "5"], "holds no effects"),
        (["report", "nowhere"], "not a run folder"),
        (["export", "nowhere", "--out", "x.csv"], "no file or folder"),
        (["export", "log.parquet", "--out", "x.csv"], "is no allocation"),
        (["data", "show", "hilstrom"], "did you mean 'hillstrom'"),
        (["data", "get", "hilstrom"], "did you mean 'hillstrom'"),
        (["simulate", "--out", "s", "--rows", "5"], "rows"),
        (["simulate", "--out", "s", "--shares", "a,b"], "not a list of numbers"),
        (["demo", "--out", "log.parquet"], "is a file"),
    ],
)  # fmt: skip
def test_every_command_refuses_in_one_sentence(
    arguments: list[str], message: str, folder: Path, uplift: Command
) -> None:
    before = sorted(path.name for path in folder.iterdir())
    code, out, err = uplift(*arguments)
    assert code == 2, err
    assert message in err
    assert "Traceback" not in err + out
    assert sorted(path.name for path in folder.iterdir()) == before


def test_the_real_process_prints_no_traceback(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from uplift.cli import main; main()", "run", "nowhere.toml", "--out", "r"],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.strip() == "error: there is no campaign file 'nowhere.toml'; check the path."
    assert done.stdout == ""


def test_imports_stay_light() -> None:
    """`import uplift` and the command line load nothing heavy; speed itself is measured in benchmarks/."""
    heavy = "{'torch', 'sklearn', 'lightgbm', 'causalml', 'sklift', 'plotly', 'duckdb', 'numba', 'scipy', 'pandas', 'pyarrow'}"
    for statement in ("import uplift", "import uplift.cli"):
        code = f"import sys; {statement}; print(sorted({heavy} & set(sys.modules)))"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "[]", statement
