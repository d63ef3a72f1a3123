"""Templates give a CRM its columns and nothing else, and the command line brings it all together."""

from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pytest
from test_export import COSTS, decisions_of, effects_of
from typer.testing import CliRunner

from uplift import Policy, allocate
from uplift.cli import app
from uplift.errors import OutputError
from uplift.export import (
    Decisions,
    export_decisions,
    load_template,
    read_template,
    template_names,
    verify_export,
    write_table,
)


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


@pytest.fixture(scope="module")
def decisions() -> Decisions:
    return decisions_of()


@pytest.fixture(scope="module")
def contacts(decisions: Decisions) -> pa.Table:
    units = decisions.table["customer"].to_pylist()[::-1]  # in another order
    return pa.table({"customer": units, "email": [f" Cust.{u}@Example.com " for u in units]})


@pytest.mark.parametrize("name", template_names())
def test_every_template_writes_the_treated_and_a_suppression_list(
    name: str, decisions: Decisions, contacts: pa.Table, tmp_path: Path
) -> None:
    template = load_template(name)
    assert template.documentation, "a template says which documentation it follows"
    assert template.follows
    path = export_decisions(decisions, tmp_path / f"{name}.csv", template=template, contacts=contacts)
    frame = decisions.to_table().to_pandas()
    rows, held = _rows(path), _rows(tmp_path / f"{name}.suppression.csv")
    assert list(rows[0]) == [column.name for column in template.columns]
    assert len(rows) == (frame["role"] == "treatment").sum()
    assert len(held) == frame["holdout"].sum()
    key = template.columns[0].name
    assert list(held[0]) == [key]
    assert not {row[key] for row in rows} & {
        row[key] for row in held
    }  # nobody is both contacted and held out
    found = verify_export(path)
    assert found.passed, found.checks
    path.write_text(path.read_text().replace("0", "1", 1) + "\n")
    assert not verify_export(path).passed


def test_templates_format_what_their_systems_read(
    decisions: Decisions, contacts: pa.Table, tmp_path: Path
) -> None:
    files = {
        name: _rows(
            export_decisions(
                decisions, tmp_path / f"{name}.csv", template=load_template(name), contacts=contacts
            )
        )
        for name in template_names()
    }
    first = decisions.to_table().filter(pa.array(decisions.arm_codes > 0)).to_pylist()[0]
    assert files["braze"][0]["external_id"] == first["customer"]  # leading zero and all
    assert files["braze"][0]["uplift_valid_until"] == "2026-12-24T17:00:00Z"
    assert files["salesforce"][0]["ValidUntil"] == "2026-12-24 17:00:00"
    assert files["hubspot"][0]["uplift_valid_until"] == "2026-12-24"
    assert files["salesforce"][0]["ExpectedValue"] == f"{first['expected_value']:.6f}"
    # Google: lower case, no blanks around, SHA-256; computed here on its own.
    address = f"cust.{first['customer']}@example.com"
    assert files["google_ads"][0]["Email"] == hashlib.sha256(address.encode()).hexdigest()


def test_a_mapping_of_ones_own(decisions: Decisions, tmp_path: Path) -> None:
    file = tmp_path / "crm.toml"
    file.write_text("""
        name = "crm"
        rows = "all"
        decimals = 2
        booleans = ["N", "Y"]
        [[columns]]
        name = "Id"
        from = "unit"
        [[columns]]
        name = "Source"
        value = "uplift, weekly"
        [[columns]]
        name = "Held"
        from = "holdout"
        [[columns]]
        name = "Clicks"
        from = "uplift__click"
    """)
    path = export_decisions(decisions, tmp_path / "crm.csv", template=read_template(file))
    rows, frame = _rows(path), decisions.to_table().to_pandas()
    assert len(rows) == len(frame)
    assert {row["Source"] for row in rows} == {"uplift, weekly"}
    assert [row["Held"] for row in rows] == ["Y" if held else "N" for held in frame["holdout"]]
    assert [float(row["Clicks"]) for row in rows] == [round(float(v), 2) for v in frame["uplift__click"]]
    assert not (tmp_path / "crm.suppression.csv").exists()
    assert verify_export(path).passed


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name = 'x'\ncolumns = 3", "columns"),
        ("name = 'x'\nrow = 'all'\n[[columns]]\nname = 'a'\nfrom = 'unit'", "did you mean 'rows'"),
        ("name = 'x'\n[[columns]]\nname = 'a'\nfrom = 'amr'", "did you mean 'arm'"),
        ("name = 'x'\n[[columns]]\nname = 'a'", "either from"),
        ("name = 'x'\n[[columns]]\nname = 'a'\nvalue = 1", "cannot be constant"),
        (
            "name = 'x'\n[[columns]]\nname = 'a'\nfrom = 'unit'\n[[columns]]\nname = 'a'\nfrom = 'arm'",
            "repeat",
        ),
        ("name = ", "no valid TOML"),
    ],
)
def test_mappings_that_cannot_be_used_say_why(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "bad.toml"
    file.write_text(text)
    with pytest.raises(OutputError, match=message):
        read_template(file)


def test_missing_contacts_and_columns_say_what_is_missing(
    decisions: Decisions, contacts: pa.Table, tmp_path: Path
) -> None:
    template, path = load_template("hubspot"), tmp_path / "x.csv"
    for given, message in (
        (None, "--contacts"),
        (contacts.rename_columns(["customer", "mail"]), "no column 'email'"),
        (contacts.slice(300), "units have no contact"),
        (pa.concat_tables([contacts, contacts]), "repeat an earlier"),
        (contacts.set_column(1, "email", pa.array([None] * len(contacts), pa.string())), "have no 'email'"),
    ):
        with pytest.raises(OutputError, match=message):
            export_decisions(decisions, path, template=template, contacts=given)
        assert not list(tmp_path.iterdir())
    with pytest.raises(OutputError, match="did you mean 'hubspot'"):
        load_template("hubspt")


def _run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    return result.exit_code, result.output + ("" if result.exception is None else str(result.exception))


def test_the_command_line_exports_and_verifies(tmp_path: Path) -> None:
    effects = effects_of()
    plan = allocate(effects, costs=COSTS, margin=12.0, budget=30.0, holdout=0.15)
    file = write_table(plan.to_table(), tmp_path / "plan.parquet")
    (tmp_path / "plan.parquet.json").write_text(json.dumps(plan.summary()))
    effects.to_parquet(tmp_path / "effects.parquet")
    code, said = _run(
        "export", file, "--out", tmp_path / "crm.jsonl", "--effects", tmp_path / "effects.parquet",
        "--holdout-share", "0.15", "--valid-from", "2026-12-01", "--valid-until", "2026-12-24T00:00:00+01:00",
    )  # fmt: skip
    assert code == 0, said
    assert "600 decisions" in said
    row = json.loads((tmp_path / "crm.jsonl").read_text().splitlines()[0])
    assert {"uplift__click", "uplift__conversion", "propensity"} <= set(row)
    assert row["valid_until"] == "2026-12-23T23:00:00Z"
    code, said = _run("verify-export", tmp_path / "crm.jsonl")
    assert code == 0, said
    assert "verified" in said
    assert "budget" in said
    (tmp_path / "crm.jsonl").write_text("")
    code, said = _run("verify-export", tmp_path / "crm.jsonl")
    assert code == 1
    assert "DOES NOT VERIFY" in said
    code, said = _run("export", file, "--to", f"sqlite:///{tmp_path}/shop.db", "--table", "c")
    assert code == 0, said
    assert "600 new, 0 changed" in said
    assert _run("verify-export", "--to", f"sqlite:///{tmp_path}/shop.db", "--table", "c")[0] == 0
    code, said = _run("export", "--list-templates")
    assert code == 0
    assert all(name in said for name in template_names())
    pacsv.write_csv(
        pa.table({"customer": effects.units, "email": [f"{u}@x.org" for u in effects.units.to_pylist()]}),
        tmp_path / "people.csv",
    )
    for arguments, message in (
        ((), "nothing to export"),
        ((file,), "either --out"),
        ((file, "--out", "x.csv", "--template", "braze", "--mapping", "y.toml"), "not both"),
        ((file, "--to", "sqlite:///x.db", "--template", "braze"), "a database gets all columns"),
        ((file, "--out", tmp_path / "d.csv", "--valid-from", "tomorrow"), "is no date"),
        ((file, "--out", tmp_path / "d", "--by-arm", "--template", "braze"), "parts by arm"),
    ):
        code, said = _run("export", *arguments)
        assert code != 0
        assert message in said, said


def test_a_run_folder_is_exported_with_everything_it_knows(tmp_path: Path) -> None:
    out = tmp_path / "run"
    file = tmp_path / "campaign.toml"
    from conftest import toy_frame

    toy_frame(2_000).to_parquet(tmp_path / "log.parquet")
    file.write_text("""
        [campaign]
        name = "toy"
        data = "log.parquet"
        unit = "customer"
        treatment = "coupon"
        control = "none"
        chain = ["click", "buy"]
        value = "spend"
        [arms.coupon_5]
        label = "5 off"
        cost = { on = "buy", amount = 0.5 }
        [arms.coupon_10]
        cost = { on = "send", amount = 0.2 }
        [models]
        lightgbm_t = { n_estimators = 10 }
        [decide]
        stage = "buy"
        margin = 12.0
        budget = 60.0
        holdout = 0.1
    """)
    code, said = _run("run", file, "--out", out)
    assert code == 0, said
    code, said = _run("export", out, "--out", tmp_path / "plan.csv")
    assert code == 0, said
    found = verify_export(tmp_path / "plan.csv")
    assert found.passed, found.checks
    assert {check.status for check in found.checks} == {"pass"}
    assert found.manifest["propensity"]["unknown"] == 0
    assert found.manifest["holdout"]["share"] == 0.1
    rows = _rows(tmp_path / "plan.csv")
    assert {row["arm_label"] for row in rows} == {"none", "5 off", "coupon_10"}
    assert {row["reason"] for row in rows} >= {"selected", "holdout", "below_price"}
    described = json.loads((out / "run.json").read_text())
    assert {row["model_hash"] for row in rows} == {described["model_fingerprint"]}
    assert len(rows) == described["rows"]["scored"]

    code, said = _run("policy", out, "--out", tmp_path / "policy.json")
    assert code == 0, said
    from uplift import Effects

    policy, effects = Policy.load(tmp_path / "policy.json"), Effects.read_parquet(out / "effects.parquet")
    codes = policy.decide_effects(effects)
    decided = np.array([policy.arms.index(row["arm"]) for row in rows])
    # Trees score many customers alike: those at the price are cut by hash in the plan and left out by the policy.
    value, cost = policy.amounts(effects)
    reduced = np.hstack([np.zeros((len(rows), 1)), value - policy.price * cost])
    differ = np.flatnonzero(codes != decided)
    assert np.abs(reduced[differ, codes[differ]] - reduced[differ, decided[differ]]).max(initial=0) < 1e-3
    assert len(differ) < 0.1 * len(rows)
    assert [bool(row["holdout"] == "true") for row in rows] == [
        policy.decide_one([1e9, 1e9], [0.0, 0.0], unit) == 0 for unit in effects.units.to_pylist()
    ]
