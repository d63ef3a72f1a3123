"""What a user's type checker sees: strict code on the public interface has no error, and nothing public is an implicit Any."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any, get_type_hints

import pytest

import uplift

ROOT = Path(__file__).resolve().parents[1]
ROOMS = (
    "allocation", "checks", "datasets", "export", "insight", "inspection", "measurement", "metrics", "policy", "reporting",
    "simulation", "tuning",
)  # fmt: skip

SCRIPT = """
from pathlib import Path
from typing import Any, assert_type

import numpy as np
import pandas as pd

import uplift
from uplift.allocation import Certificate
from uplift.checks import CheckReport
from uplift.export import Verification, verify_export
from uplift.insight import Insight
from uplift.measurement import MeasuredArm, Measurement
from uplift.metrics import CostCurve, Curve, PolicyValue, Power, Recalibration, detectable, rows_for_qini
from uplift.models.base import UpliftModel
from uplift.models.cards.card import ModelCard
from uplift.simulation import Simulation


def decide(rows: int, budget: float) -> uplift.Allocation:
    simulation = uplift.simulate(rows=rows, arms=2, chain=("click", "conversion"), seed=0)
    assert_type(simulation, Simulation)
    campaign = simulation.campaign()
    assert_type(campaign, uplift.Campaign)
    assert_type(campaign.check(), CheckReport)
    assert_type(campaign.n_rows, int)
    learn, judge = campaign.split(test=0.5, seed=0)
    model = uplift.make_model("lightgbm_s", n_estimators=20)
    assert_type(model, UpliftModel)
    assert_type(model.fit(learn), UpliftModel)
    effects = model.predict(judge)
    assert_type(effects, uplift.Effects)
    assert_type(effects.to_frame(), pd.DataFrame)
    evaluation = uplift.evaluate(judge, effects)
    assert_type(evaluation, uplift.Evaluation)
    assert_type(evaluation.scores, pd.DataFrame)
    assert_type(evaluation.curves, dict[tuple[str, str, str], Curve])
    assert_type(uplift.recalibration(judge, effects), Recalibration)
    assert_type(uplift.explain(judge, effects), Insight)
    plan = uplift.allocate(effects, costs=campaign.costs, margin=40.0, budget=budget, holdout=0.1)
    assert_type(plan, uplift.Allocation)
    assert_type(plan.certificate, Certificate)
    assert_type(plan.certificate.gap, float)
    assert_type(plan.to_frame(), pd.DataFrame)
    assert_type(plan.policy(), uplift.Policy)
    worth = uplift.policy_value(judge, plan, margin=40.0)
    assert_type(worth, PolicyValue)
    assert_type(worth.to_dict(), dict[str, Any])
    assert_type(uplift.cost_curve(judge, effects, margin=40.0), CostCurve)
    file = plan.export("plan.parquet", effects=effects)
    assert_type(file, Path)
    assert_type(verify_export(file), Verification)
    log = pd.DataFrame({"customer_id": np.arange(rows), "conversion": 0})
    measured = uplift.measure(file, log, chain=["conversion"])
    assert_type(measured, Measurement)
    assert_type(measured.effect("conversion", "coupon_5"), MeasuredArm)
    assert_type(measured.value.low, float)
    assert_type(detectable(rows, mean=0.1), Power)
    assert_type(rows_for_qini(0.01, mean=0.1), int)
    assert_type(uplift.ECUP(random_state=0).fit(learn).predict(judge), uplift.Effects)
    assert_type(uplift.list_models(), list[ModelCard])
    return plan
"""

WRONG = (
    SCRIPT
    + """

decide("many", budget=1.0)
uplift.simulate(rows=10, arm=2)
"""
)


def _mypy(folder: Path, code: str) -> tuple[int, str]:
    script = folder / "analysis.py"
    script.write_text(code)
    # An empty configuration: the package is seen as installed libraries are, by its annotations (py.typed).
    (folder / "mypy.ini").write_text("[mypy]\n")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--disallow-any-unimported", "--follow-imports=silent",
         "--config-file", str(folder / "mypy.ini"), "--cache-dir", str(folder / "cache"), str(script)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
def test_a_users_strict_script_has_no_error_and_mistakes_are_found(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    code, said = _mypy(tmp_path, SCRIPT)
    assert code == 0, said
    code, said = _mypy(tmp_path, WRONG)
    assert code == 1
    assert 'has incompatible type "str"' in said
    assert 'Unexpected keyword argument "arm"' in said


def _callables() -> list[tuple[str, Any]]:
    found: dict[str, Any] = {}
    for room in ("", *ROOMS):
        module = importlib.import_module(f"uplift.{room}" if room else "uplift")
        for name in module.__all__:
            thing = getattr(module, name)
            if inspect.isfunction(thing):
                found[f"{module.__name__}.{name}"] = thing
            elif inspect.isclass(thing) and thing.__module__.startswith("uplift"):
                for part, member in vars(thing).items():
                    one = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
                    if inspect.isfunction(one) and (not part.startswith("_") or part == "__init__"):
                        found[f"{module.__name__}.{name}.{part}"] = one
    return list(found.items())


def test_every_public_function_and_method_annotates_all_parameters_and_its_result() -> None:
    bare = []
    for name, thing in _callables():
        if thing.__module__.startswith("uplift"):
            signature = inspect.signature(thing)
            missing = [p.name for p in signature.parameters.values()
                       if p.name not in ("self", "cls") and p.annotation is inspect.Parameter.empty]  # fmt: skip
            if missing or (
                signature.return_annotation is inspect.Signature.empty and thing.__name__ != "__init__"
            ):
                bare.append(f"{name}({', '.join(missing)})")
    assert not bare


def test_the_annotations_ship_and_strictness_is_enforced() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    assert (ROOT / "uplift" / "py.typed").exists()
    assert "py.typed" in settings["setuptools"]["package-data"]["uplift"]
    assert settings["mypy"]["strict"] is True
    assert settings["mypy"]["files"] == ["uplift"]
    assert get_type_hints(uplift.simulate)["rows"] is int
