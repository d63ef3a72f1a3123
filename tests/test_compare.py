"""Runs side by side: what differs, what may be compared, and numbers computed a second time from the run folders."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from benchmarks.click_through import Chromium, Truth, Visit
from benchmarks.click_through.access import _CONTRAST as CONTRAST
from benchmarks.click_through.access import LEAST_CONTRAST, LEAST_CONTRAST_LARGE
from benchmarks.click_through.browser import LOCAL, read_numbers
from uplift import run, simulate
from uplift.cli import app
from uplift.errors import UpliftError
from uplift.run_comparison import compare_runs

HOSTILE = "b<script>alert(1)<"
"""Name of a run's folder, which is its label."""
TAIL = """
[models]
lightgbm_s = { n_estimators = 20 }
lightgbm_t = { n_estimators = 20 }

[report]
drivers = false
"""


def _run(file: Path, name: str, out: Path, *, budget: float, model: str, seed: int | None = None) -> Path:
    text = file.read_text()
    text = re.sub(r"budget = [\d.]+", f'budget = {budget}\nmodel = "{model}"', text)
    changed = file.with_name(f"{name}.toml")
    changed.write_text(text + TAIL)
    return run(changed, out, seed=seed).folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """Two runs on the same test rows, with other models and budgets, and one of other rows of the same data."""
    folder = tmp_path_factory.mktemp("compare")
    simulate(rows=3_000, arms=2, chain=("click", "conversion"), seed=3).write(folder / "campaign")
    file = folder / "campaign" / "campaign.toml"
    return (
        _run(file, "first", folder / "a", budget=100.0, model="lightgbm_s"),
        _run(file, "second", folder / HOSTILE, budget=250.0, model="lightgbm_t"),
        _run(file, "third", folder / "c", budget=100.0, model="lightgbm_s", seed=9),
    )


@pytest.fixture(scope="module")
def page(runs: tuple[Path, Path, Path]) -> Path:
    return compare_runs(runs, runs[0].parent / "compare.html")


def _body(text: str, table: str) -> list[list[str]]:
    """Cells of a table, without tags: text of the first element, small text left out."""
    part = text[text.index(f'<table id="{table}"') :]
    part = part[part.index("<tbody>") : part.index("</tbody>")]
    rows = re.findall(r"<tr.*?</tr>", part, re.DOTALL)
    return [
        [re.sub(r"<[^>]+>", "", cell) for cell in re.findall(r"<(?:span|code)>(.*?)</(?:span|code)>", row)]
        for row in rows
    ]


def test_only_what_differs_is_shown(runs: tuple[Path, Path, Path], page: Path) -> None:
    shown = {row[0]: row[1:] for row in _body(page.read_text(), "table-settings")}
    assert shown["config.decide.budget"] == ["100.0", "250.0", "100.0"]
    assert shown["seed"] == ["0", "0", "9"]
    assert shown["chosen_model"] == ["lightgbm_s", "lightgbm_t", "lightgbm_s"]
    assert "data_fingerprint" not in shown
    assert not any(key.startswith(("timings", "versions", "campaign.features")) for key in shown)
    assert all(len(set(values)) > 1 for values in shown.values())


def test_runs_that_cannot_be_compared_say_so(runs: tuple[Path, Path, Path], tmp_path: Path) -> None:
    a, b, c = runs
    same = compare_runs((a, b), tmp_path / "same.html").read_text()
    assert 'id="no-warnings"' in same
    other = compare_runs((a, c), tmp_path / "other.html").read_text()
    mine, theirs = (
        set(pd.read_parquet(one / "test_effects" / "random.parquet").iloc[:, 0]) for one in (a, c)
    )
    share = len(mine & theirs) / len(mine)
    assert f"a and c are judged on other rows ({share:.0%}".replace("%", " %") in other
    assert 'id="no-pairs"' in other
    assert "table-paired" not in re.sub(r"<style>.*?</style>", "", other, flags=re.DOTALL)


def test_other_data_definitions_margins_and_costs_are_warned_of(
    runs: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    import shutil

    a = runs[0]
    changed = tmp_path / "changed"
    shutil.copytree(a, changed)
    described = json.loads((changed / "run.json").read_text())
    described["data_fingerprint"] = "f" * 64
    (changed / "run.json").write_text(json.dumps(described))
    metrics = json.loads((changed / "metrics.json").read_text())
    metrics["references"]["definitions"]["autoc"]["formula"] = "something else"
    (changed / "metrics.json").write_text(json.dumps(metrics))
    text = compare_runs((a, changed), tmp_path / "x.html").read_text()
    assert "made with different data" in text
    assert "The definition of autoc differs" in text


def _qini(folder: Path, model: str, stage: str, arm: str) -> float:
    """Area between the gain curve and its chord, from the rows of test_effects."""
    truth = Truth(folder)
    share = np.linspace(0, 1, 200_001)
    gain = truth.curve(model, stage, arm, "gain", share)
    return float(np.trapezoid(gain, share) - gain[-1] / 2)


def test_paired_differences_are_those_of_the_qinis_on_the_same_rows(
    runs: tuple[Path, Path, Path], page: Path
) -> None:
    rows = _body(page.read_text(), "table-paired")
    assert len(rows) == 3 * 2  # stages and arms; one pair of runs shares its test rows
    a, b = runs[:2]
    at = iter(rows)
    for stage in ("click", "conversion", "value"):
        for arm in Truth(a).arms[1:]:
            row = next(at)
            assert row[0] == "a"
            exact = _qini(a, "lightgbm_s", stage, arm) - _qini(b, "lightgbm_t", stage, arm)
            assert abs(read_numbers(row[2])[0].value - exact) <= read_numbers(row[2])[0].half + 1e-6


def test_overlap_counts_customers_by_their_arms_in_both_plans(
    runs: tuple[Path, Path, Path], page: Path
) -> None:
    text = page.read_text()
    plans = [
        pd.read_parquet(one / "allocation.parquet").set_index("customer_id")["arm"].astype(str)
        for one in runs
    ]
    arms = Truth(runs[0]).arms
    matrix = _body(text, "table-matrix")
    for number, (i, j) in enumerate(((0, 1), (0, 2), (1, 2))):
        both = pd.concat([plans[i], plans[j]], axis=1, join="inner", keys=["one", "other"])
        exact = pd.crosstab(both["one"], both["other"]).reindex(index=arms, columns=arms, fill_value=0)
        shown = [
            [int(cell.replace(",", "")) for cell in row[1:-1]] for row in matrix[3 * number : 3 * number + 3]
        ]
        assert shown == exact.to_numpy().tolist()
        row = _body(text, "table-overlap")[number]
        same = (both["one"] == both["other"]).mean()
        assert int(row[2].replace(",", "")) == len(both)
        assert read_numbers(row[3])[0].agrees(same)


def test_plans_are_those_of_their_files(runs: tuple[Path, Path, Path], page: Path) -> None:
    for row, folder in zip(_body(page.read_text(), "table-plans"), runs, strict=True):
        saved = json.loads((folder / "allocation.json").read_text())
        for at, key in ((1, "budget"), (2, "expected_cost"), (3, "expected_value")):
            assert read_numbers(row[at])[0].agrees(saved[key])
        assert (
            int(row[6].replace(",", ""))
            == (pd.read_parquet(folder / "allocation.parquet")["arm"].astype(str) != "none").sum()
        )


def test_hostile_labels_stay_text(page: Path) -> None:
    text = page.read_text()
    assert "<script>alert(1)" not in text
    assert "b&lt;script&gt;alert(1)&lt;" in text


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ("same", "is given twice"),
        ("none", "is not a run folder"),
        ("many", "cannot be compared; give 2 to 8"),
    ],
)
def test_bad_runs_are_one_clear_sentence(
    runs: tuple[Path, Path, Path], tmp_path: Path, wanted: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: tuple[Path, ...] = {"same": (runs[0], runs[0]), "none": (runs[0], tmp_path), "many": runs}[wanted]
    if wanted == "many":
        monkeypatch.setattr("uplift.reporting.compare.MOST_RUNS", 2)
        said = "3 runs cannot be compared; give 2 to 2"
    with pytest.raises(UpliftError, match=said):
        compare_runs(given, tmp_path / "x.html")


def test_command_compares_several_runs_and_draws_one(runs: tuple[Path, Path, Path], tmp_path: Path) -> None:
    runner = CliRunner()
    missing = runner.invoke(app, ["report", str(runs[0]), str(runs[1])])
    assert missing.exit_code != 0
    out = tmp_path / "two.html"
    assert runner.invoke(app, ["report", str(runs[0]), str(runs[1]), "--out", str(out)]).exit_code == 0
    assert "runs side by side" in out.read_text()
    again = runner.invoke(app, ["report", str(runs[0]), str(runs[1]), "--out", str(out)])
    assert again.exit_code != 0
    one = tmp_path / "one.html"
    assert runner.invoke(app, ["report", str(runs[0]), "--out", str(one)]).exit_code == 0
    assert "Uplift report" in one.read_text()


@pytest.fixture(scope="module")
def browser() -> Iterator[Chromium]:
    if Chromium.missing():
        pytest.skip(Chromium.missing())
    with Chromium() as opened:
        yield opened


def _sound(visit: Visit) -> None:
    assert visit.complaints == []
    assert [address for address in visit.requests if not address.startswith(LOCAL)] == []
    assert visit.js("document.documentElement.scrollWidth - innerWidth") <= 0
    assert visit.js("document.querySelectorAll('main script, main img').length") == 0
    assert visit.js(CONTRAST, [LEAST_CONTRAST, LEAST_CONTRAST_LARGE]) == []


@pytest.mark.browser
def test_the_page_opens_alone_and_fits_a_phone_in_the_dark(browser: Chromium, page: Path) -> None:
    visit = browser.visit(page, width=390, dark=True)
    _sound(visit)
    assert not re.search(r"\b(NaN|undefined|null|None)\b", visit.text("main"))
    visit.close()


@pytest.mark.browser
def test_choices_change_what_is_compared(
    browser: Chromium, page: Path, runs: tuple[Path, Path, Path]
) -> None:
    visit = browser.visit(page)
    _sound(visit)
    for figure in ("headline", "curves"):
        assert (
            visit.js("(f) => document.querySelectorAll(`#figure-${f} .scatterlayer path`).length", figure) > 0
        )
    visit.choose("stage", "0")
    visit.choose("arm", "1")
    arm = Truth(runs[0]).arms[2]
    drawn = visit.traces("headline")
    for one, folder, model in zip(drawn, runs, ("lightgbm_s", "lightgbm_t", "lightgbm_s"), strict=True):
        exact = json.loads((folder / "metrics.json").read_text())["models"][model]["click"][arm][
            "qini_per_capita"
        ]
        assert one["x"][0] == pytest.approx(100 * exact["value"])
    assert len(visit.table("table-models").rows) == 3 * 4
    assert {row[0].text for row in visit.table("table-models").rows} == {"a", "c", HOSTILE}
    first = [[cell.text for cell in row] for row in visit.table("table-matrix").rows]
    visit.choose("pair", "2")
    assert [[cell.text for cell in row] for row in visit.table("table-matrix").rows] != first
    assert HOSTILE in visit.table("table-matrix").caption
    curve = visit.trace("curves", "a")
    truth = Truth(runs[0])
    exact = [truth.at_budget(spend)["value"] for spend in curve["x"]]
    np.testing.assert_allclose(curve["y"], exact, atol=0.004 * max(exact))
    assert visit.complaints == []
    visit.close()
