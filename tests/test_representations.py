"""What an analyst sees when a result is the last line of a cell: one line in the terminal, a table in a notebook."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import pytest

import uplift


@pytest.fixture(scope="module")
def results() -> dict[str, Any]:
    campaign = uplift.simulate(rows=3_000, arms=2, chain=("click", "conversion"), seed=0).campaign()
    learn, test = campaign.split(test=0.5, seed=0)
    effects = uplift.make_model("lightgbm_s", n_estimators=5).fit(learn).predict(test)
    evaluation = uplift.evaluate(test, dict.fromkeys("abcd", effects), draws=20)
    plan = uplift.allocate(effects, costs=campaign.costs, margin=40.0, budget=100)
    return {
        "campaign": campaign,
        "effects": effects,
        "evaluation": evaluation,
        "curve": evaluation.curves["a", "conversion", "coupon_5"],
        "allocation": plan,
        "certificate": plan.certificate,
        "unlimited": uplift.allocate(effects, costs=campaign.costs, margin=40.0, budget=None).certificate,
        "value": uplift.policy_value(test, plan, margin=40.0, costs=campaign.costs, strict=False),
    }


NAMES = ("campaign", "effects", "evaluation", "curve", "allocation", "certificate", "unlimited", "value")


@pytest.mark.parametrize("name", NAMES)
def test_the_terminal_shows_one_line_and_no_dump_of_arrays(name: str, results: dict[str, Any]) -> None:
    shown = repr(results[name])
    assert shown.startswith(type(results[name]).__name__ + "(")
    assert "\n" not in shown
    assert len(shown) < 300
    assert "array(" not in shown
    assert not re.search(r"\d\.\d{7,}", shown), "more digits than anybody reads"


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_shows_a_table_with_the_numbers_of_the_result(name: str, results: dict[str, Any]) -> None:
    page = results[name]._repr_html_()
    assert page.count("<table") == 1
    assert "nan" not in re.sub(r"<[^>]*>", "", page).lower().replace("finance", "")
    assert not re.search(r"\d\.\d{7,}", page)


def test_lines_say_what_decides(results: dict[str, Any]) -> None:
    value, certificate = results["value"], results["certificate"]
    assert f"{value.rows:,} customers" in repr(value)
    assert value.estimator in repr(value)
    assert f"{certificate.upper_bound:,.2f}" in repr(certificate)
    assert f"{certificate.budget:,.2f}" in repr(certificate)
    assert "inf" not in repr(results["unlimited"])
    assert "1 more" in repr(results["evaluation"])


def test_rooms_are_there_without_an_import_of_their_own() -> None:
    code = (
        "import uplift; assert uplift.metrics.detectable and uplift.members.refit_members;"
        "assert not hasattr(uplift, 'metricks') and not hasattr(uplift, '_members')"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
