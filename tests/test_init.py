"""`uplift init`: roles guessed from unknown files, files mended, and questions where the guess is unsure."""

from __future__ import annotations

import tomllib
from pathlib import Path

import messy_files
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from uplift import Campaign
from uplift.cli import app
from uplift.datasets import find_files, get_card, list_datasets
from uplift.errors import CampaignError, DatasetError
from uplift.inspection import inspect
from uplift.inspection.parse import read_text
from uplift.inspection.raw import read_raw

runner = CliRunner()

# What a person who made the file would say: unit, treatment, control, chain, value, time, features.
TRUTH = {
    "german": ("Kundennr", "Gutschein", "none", ("Geöffnet", "Gekauft"), "Umsatz", "Versanddatum",
               {"Ort", "Alter", "Umsatz Vorjahr", "Stammkunde"}),
    "spreadsheet": ("customerID", "testGroup", "Control", ("clicked", "purchased"), "order value", "sendDate",
                    {"Age", "avg. basket (last 12m)", "loyaltyMember"}),
    "warehouse": ("user_id", "coupon_type", "none", ("clicked", "converted"), "gmv", "dt",
                  {"age", "city", "ltv", "is_member"}),
    "survey": ("member no", "Treatment Group", "control", ("visit", "purchase"), None, None, {"AGE", "score", "town"}),
    "events": ("pseudo_user", "exp_variant", "baseline", ("purchases",), "revenue", "exposure_date",
               {"is_member", "lifetime value", "age_bucket"}),
    "legacy": ("CLIENT", "VARIANT", "A", ("any_revenue",), "REVENUE", None, {"REGION", "REGION_2", "TENURE"}),
}  # fmt: skip


def init(file: Path, out: Path, *options: str, answers: str | None = None) -> str:
    """Run the command; its output."""
    from uplift.errors import UpliftError

    result = runner.invoke(app, ["init", str(file), "--out", str(out), *options], input=answers)
    if isinstance(result.exception, UpliftError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize("kind", TRUTH)
def test_roles_of_messy_files_are_guessed_and_the_result_is_a_sound_campaign(
    kind: str, tmp_path: Path
) -> None:
    out = tmp_path / "campaign.toml"
    init(messy_files.ALL[kind](tmp_path), out, "--yes")
    campaign = Campaign.from_file(out)
    roles = campaign.roles
    found = (
        roles.unit,
        roles.treatment,
        roles.control,
        roles.chain,
        roles.value,
        roles.time,
        set(campaign.feature_names),
    )
    assert found == TRUTH[kind]
    assert campaign.check().status != "fail"


@pytest.mark.parametrize("kind", ["german", "spreadsheet", "survey"])
def test_mended_columns_hold_the_numbers_that_were_exported(kind: str, tmp_path: Path) -> None:
    rows, seed = 4_000, {"german": 1, "spreadsheet": 2, "survey": 4}[kind]
    true = messy_files._base(rows, seed)
    found = inspect(messy_files.ALL[kind](tmp_path))
    assert found.mended is not None
    table = found.mended.to_pandas()
    _, treatment, _, chain, value, time, _ = TRUTH[kind]
    if kind == "survey":  # about eight rows have no arm and were dropped
        kept = true.index[np.isin(np.arange(rows), table["member no"].astype(int))]
        true = true.loc[kept].reset_index(drop=True)
    assert table[treatment].nunique() == 3
    # Every arm as it was: each name stands for one true arm.
    assert pd.crosstab(table[treatment], true["arm"]).gt(0).sum(axis=1).tolist() == [1, 1, 1]
    np.testing.assert_array_equal(table[chain[0]], true["click"].astype(int))
    np.testing.assert_array_equal(table[chain[1]], true["buy"].astype(int))
    if value:
        np.testing.assert_allclose(table[value], true["spend"])
    if time:
        assert (table[time] == true["day"]).all()
    age = {"german": "Alter", "spreadsheet": "Age", "survey": "AGE"}[kind]
    np.testing.assert_allclose(table[age], true["age"])


def test_what_was_changed_is_said_in_the_file_and_the_data_stay_as_they_were(tmp_path: Path) -> None:
    file = messy_files.german(tmp_path)
    before = file.read_bytes()
    out = tmp_path / "campaign.toml"
    said = init(file, out, "--yes")
    text = out.read_text()
    assert file.read_bytes() == before
    for words in ("decimal comma", "ja/nein as 1/0", "empty ones read as 'none'", "cp1252"):
        assert words in text
        assert words in said
    assert tomllib.loads(text)["campaign"]["data"] == "campaign.data.parquet"


def test_a_clean_file_is_used_as_it_is(tmp_path: Path) -> None:
    from conftest import toy_frame

    toy_frame(2_000).to_parquet(tmp_path / "log.parquet")
    init(tmp_path / "log.parquet", tmp_path / "campaign.toml", "--yes")
    section = tomllib.loads((tmp_path / "campaign.toml").read_text())["campaign"]
    assert section["data"] == "log.parquet"
    assert (section["unit"], section["treatment"], section["control"], section["chain"], section["value"]) == (
        "customer", "coupon", "none", ["click", "buy"], "spend",
    )  # fmt: skip
    assert section["features"] == ["x1", "x2", "city", "member"]


def test_the_file_says_why_and_every_line_of_the_decision_can_be_switched_on(tmp_path: Path) -> None:
    from conftest import toy_frame

    from uplift.campaign_file import CampaignFile

    toy_frame(2_000).to_csv(tmp_path / "log.csv", index=False)
    init(tmp_path / "log.csv", tmp_path / "campaign.toml", "--yes")
    text = (tmp_path / "campaign.toml").read_text()
    assert "# sure: " in text
    head, mark, decision = text.partition("# [arms.")
    switched = head + "\n".join(line.removeprefix("# ") for line in (mark + decision).splitlines())
    config = CampaignFile.parse(switched, folder=tmp_path)
    assert config.arms["coupon_5"].cost is not None
    assert config.arms["coupon_5"].cost.amount == 5.0
    config.check_decision(config.load())


def test_unsure_guesses_are_asked_and_the_answer_counts(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "offer": rng.choice(["red", "blue", "green"], 900),
            "bought": rng.integers(0, 2, 900),
            "age": rng.integers(18, 80, 900),
        }
    )
    frame.to_csv(tmp_path / "log.csv", index=False)
    said = init(tmp_path / "log.csv", tmp_path / "a.toml", answers="purple\ngreen\n")
    assert "there is no 'purple'" in said
    assert tomllib.loads((tmp_path / "a.toml").read_text())["campaign"]["control"] == "green"
    quiet = init(tmp_path / "log.csv", tmp_path / "b.toml", "--yes")
    assert "unsure: control" in quiet
    with pytest.raises(CampaignError, match="no column 'colour' for treatment"):
        init(tmp_path / "log.csv", tmp_path / "c.toml", "--yes", "--treatment", "colour")


def test_answers_on_the_command_line_win_over_guesses(tmp_path: Path) -> None:
    frame = messy_files._base(2_000, 1)[["arm", "age", "click", "buy", "spend"]].astype(float).fillna(0)
    frame.to_csv(tmp_path / "log.csv", index=False)
    init(
        tmp_path / "log.csv", tmp_path / "a.toml", "--yes", "--control", "2", "--chain", "buy", "--value", "-"
    )
    section = tomllib.loads((tmp_path / "a.toml").read_text())["campaign"]
    assert (section["control"], section["chain"]) == ("2", ["buy"])
    assert "value" not in section


def test_nobody_to_ask_is_one_sentence(tmp_path: Path) -> None:
    from uplift.errors import UpliftError

    pd.DataFrame({"offer": ["a1", "b1", "c1"] * 50, "bought": [0, 1] * 75, "x": range(150)}).to_csv(
        tmp_path / "l.csv"
    )
    with pytest.raises(UpliftError, match="nobody answered; pass --yes"):
        init(tmp_path / "l.csv", tmp_path / "a.toml", answers="")
    assert not (tmp_path / "a.toml").exists()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"a": [1.5, 2.5, 3.5], "b": [0.1, 0.2, 0.3]}, "no column of .* reads like a treatment .* --treatment"),
        ({"treatment": ["a", "b"] * 20, "x": np.linspace(0, 1, 40)}, "no column of .* reads like an outcome; .* --chain"),
    ],
)  # fmt: skip
def test_files_without_a_campaign_in_them_are_refused_in_one_sentence(
    content: dict[str, object], sentence: str, tmp_path: Path
) -> None:
    pd.DataFrame(content).to_parquet(tmp_path / "x.parquet")
    with pytest.raises(CampaignError, match=sentence):
        init(tmp_path / "x.parquet", tmp_path / "a.toml", "--yes")


def test_several_files_become_one_campaign_named_after_their_folder(tmp_path: Path) -> None:
    from conftest import toy_frame

    (tmp_path / "spring").mkdir()
    for part in range(2):
        toy_frame(1_000, seed=part).assign(customer=np.arange(1_000) + 1_000 * part).to_parquet(
            tmp_path / f"spring/{part}.parquet"
        )
    init(tmp_path / "spring" / "*.parquet", tmp_path / "a.toml", "--yes")
    section = tomllib.loads((tmp_path / "a.toml").read_text())["campaign"]
    assert (section["name"], section["data"]) == ("spring", "spring/*.parquet")
    assert len(Campaign.from_file(tmp_path / "a.toml")) == 2_000


def test_a_spreadsheet_is_told_to_be_saved_as_csv(tmp_path: Path) -> None:
    (tmp_path / "log.xlsx").write_bytes(b"PK")
    with pytest.raises(CampaignError, match="save its sheet as CSV"):
        init(tmp_path / "log.xlsx", tmp_path / "a.toml", "--yes")


def test_an_existing_campaign_file_is_not_overwritten(tmp_path: Path) -> None:
    from uplift.errors import UpliftError

    (tmp_path / "a.toml").write_text("mine")
    with pytest.raises(UpliftError, match="exists already"):
        init(messy_files.legacy(tmp_path), tmp_path / "a.toml", "--yes")
    assert (tmp_path / "a.toml").read_text() == "mine"


@pytest.mark.parametrize(
    ("texts", "kind", "values"),
    [
        (["1.234,50 €", "7,25", "-"], "number", [1234.5, 7.25, None]),
        (["$1,234.50", "$7.00"], "number", [1234.5, 7.0]),
        (["12%", "7 %"], "number", [12.0, 7.0]),
        (["1'200", "950"], "number", [1200.0, 950.0]),
        (["Yes", "no", ""], "flag", [True, False, None]),
        (["x", None, "x"], "flag", [True, None, True]),
        (["Purchased", "Not purchased"], "flag", [True, False]),
    ],
)
def test_texts_are_read_as_people_mean_them(texts: list, kind: str, values: list) -> None:
    reading = read_text(pa.array(texts))
    assert reading is not None
    assert reading.kind == kind
    assert reading.values.to_pylist() == values


@pytest.mark.parametrize("texts", [["red", "blue"], ["A1", "B2"], ["1", "2", "many", "few", "none", "some"]])
def test_plain_text_stays_text(texts: list[str]) -> None:
    assert read_text(pa.array(texts)) is None


def test_ambiguous_numbers_and_dates_are_marked() -> None:
    assert read_text(pa.array(["1,234", "5,678"])).doubtful  # type: ignore[union-attr]
    assert read_text(pa.array(["03/04/2025", "05/06/2025"])).doubtful  # type: ignore[union-attr]
    assert not read_text(pa.array(["03/24/2025", "05/06/2025"])).doubtful  # type: ignore[union-attr]


def test_thousands_dots_are_thousands_in_a_file_with_decimal_commas(tmp_path: Path) -> None:
    lines = ["treatment;bought;basket;visits"] + [
        f"{i % 2};{int(i % 3 == 0)};{i},5;{1 + i % 9}.{i % 900 + 100:03d}" for i in range(400)
    ]
    (tmp_path / "a.csv").write_text("\n".join(lines))
    found = inspect(tmp_path / "a.csv")
    assert found.mended is not None
    assert found.mended["visits"].to_pylist()[:3] == [1100.0, 2101.0, 3102.0]


def test_dates_written_as_whole_numbers_are_dates_and_epochs_are_times(tmp_path: Path) -> None:
    frame = messy_files._base(600, 1)[["arm", "age", "buy"]].fillna(40).astype(int)
    frame["send_date"] = 20250301 + np.arange(600) % 28
    frame["sent_ts"] = 1_741_000_000 + np.arange(600)
    frame.to_parquet(tmp_path / "a.parquet")
    found = inspect(tmp_path / "a.parquet")
    assert found.proposal.column("time") in ("send_date", "sent_ts")
    assert found.mended is not None
    assert pa.types.is_timestamp(found.mended["send_date"].type)


def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbfcoupon,bought\nnone,1\nten,0\n")
    raw = read_raw(tmp_path / "a.csv")
    assert raw.table.column_names == ["coupon", "bought"]
    assert raw.repairs == ()


def test_leaks_are_kept_out_and_named() -> None:
    import tempfile

    rng = np.random.default_rng(3)
    base = messy_files._base(6_000, 3)
    frame = pd.DataFrame(
        {
            "treatment": base["arm"],
            "bought": base["buy"].astype(int),
            "age": base["age"],
            "basket_items": np.where(base["buy"], rng.integers(1, 5, 6_000), 0),  # only with a purchase
            "sent": base["arm"] > 0,  # the treatment again, coarser
            "redeemed": (base["buy"] & (base["arm"] > 0)).astype(int),  # impossible in control
            "ticket": np.arange(6_000) * 3 + 17,
        }
    )
    with tempfile.TemporaryDirectory() as folder:
        frame.to_parquet(f"{folder}/x.parquet")
        proposal = inspect(f"{folder}/x.parquet").proposal
    assert proposal.features == ("age",)
    assert "says which arm" in proposal.excluded["sent"]
    assert "never there in the control arm" in proposal.excluded["redeemed"]
    assert "near-id" in proposal.excluded["ticket"]
    assert (
        "only ever there" in proposal.excluded.get("basket_items", "")
        or proposal.column("value") == "basket_items"
    )


def test_a_confounder_stays_a_feature_so_that_the_checks_see_it(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    visits = rng.poisson(3, 5_000)
    frame = pd.DataFrame({f"trait_{i}": rng.normal(size=5_000) for i in range(8)})
    frame["visits"] = visits
    frame["coupon"] = np.where(
        rng.random(5_000) < 1 / (1 + np.exp(3 - visits)), "five", "none"
    )  # the loyal got it
    frame["bought"] = (rng.random(5_000) < 0.05 + 0.02 * visits).astype(int)
    frame.to_parquet(tmp_path / "log.parquet")
    said = init(tmp_path / "log.parquet", tmp_path / "a.toml", "--yes")
    assert "'visits' differs between the arms" in said
    campaign = Campaign.from_file(tmp_path / "a.toml")
    assert "visits" in campaign.feature_names
    assert campaign.check()["balance_smd"].status == "fail"
    init(tmp_path / "log.parquet", tmp_path / "b.toml", answers="n\n")  # asked: it was not known before
    assert "visits" not in Campaign.from_file(tmp_path / "b.toml").feature_names


# ---------------------------------------------------------------- real files, compared with the package's own cards

KNOWN_WRONG = {
    # The guess is not the card's, and why that is right or beyond what the file says.
    ("adsmart", "time"): "the card leaves Date a feature",
    ("charitable", "treatment"): "three factors of one design; the guess says it is unsure",
    ("charitable", "control"): "goes with the treatment",
    ("lalonde", "chain"): "nothing in the file says which column is the outcome; refused with a sentence",
    ("lalonde", "value"): "as above",
    ("lalonde_dw", "chain"): "as above",
    ("lalonde_dw", "value"): "as above",
}


def _raw_files() -> list[str]:
    names = []
    for card in list_datasets():
        try:
            find_files(card.name)
        except (DatasetError, OSError):
            continue
        names.append(card.name)
    return names


@pytest.mark.slow
def test_roles_of_real_files_are_those_of_the_cards(data_home: Path) -> None:
    right, wrong = 0, {}
    for name in _raw_files():
        card = get_card(name)
        proposal = inspect(find_files(name)[0]).proposal
        wanted = card.roles
        from_column = {stage: proposal.stages[stage].column for stage in proposal.chain}
        derived = card.care.derive
        pairs = {
            "treatment": (proposal.column("treatment"), wanted.treatment),
            "chain": ([from_column[s] for s in proposal.chain], [derived.get(s, s) for s in wanted.chain]),
            "value": (proposal.column("value"), wanted.value),
            "unit": (proposal.column("unit"), wanted.unit),
            "time": (proposal.column("time"), wanted.time),
            "propensity": (proposal.column("propensity"), wanted.propensity),
            "strata": (
                tuple(proposal.guesses["strata"].value) if "strata" in proposal.guesses else (),
                wanted.strata,
            ),
        }
        if wanted.control is not None:
            pairs["control"] = (proposal.column("control"), wanted.control)
        for role, (found, true) in pairs.items():
            if found == true:
                right += 1
            else:
                wrong[name, role] = (found, true)
    print(f"{right} of {right + len(wrong)} roles as in the cards; others: {wrong}")
    assert set(wrong) <= set(KNOWN_WRONG), wrong
    assert right > 0.9 * (right + len(wrong))


@pytest.mark.slow
def test_post_treatment_columns_of_real_files_are_no_features(data_home: Path) -> None:
    for folder, never in {
        "cookie_cats": {"sum_gamerounds", "retention_1", "treatment"},
        "hillstrom": {"treatment"},
        "cash_incentive": {"tinc", "treatment"},
        "social_pressure": {"treatment"},
        "starbucks": {"split"},
        "video_incentive": {"split"},
        "adsmart": {"no"},
    }.items():
        file = data_home / folder / f"{folder}.parquet"
        if file.is_file():
            assert not never & set(inspect(file).proposal.features), folder


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["german", "legacy"])
def test_a_new_user_gets_from_a_messy_file_to_a_report(kind: str, tmp_path: Path) -> None:
    out = tmp_path / "campaign.toml"
    init(messy_files.ALL[kind](tmp_path, rows=1_500), out, "--yes")
    out.write_text(out.read_text() + "\n[models]\nlightgbm_s = { n_estimators = 20 }\n")
    result = runner.invoke(app, ["run", str(out), "--out", str(tmp_path / "run")])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "run/report.html").stat().st_size > 100_000
