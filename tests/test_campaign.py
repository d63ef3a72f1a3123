"""Campaign: roles, arms, sources, splits, and every refusal as one sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import ROLES, toy_frame
from hypothesis import given, settings
from hypothesis import strategies as st

from uplift import Arm, Campaign, CostRule
from uplift.errors import CampaignError
from uplift.features import FeatureSchema
from uplift.hashing import unit_hash, unit_uniform


def test_control_comes_first_and_arms_are_in_natural_order() -> None:
    frame = toy_frame(arms=3).replace({"coupon": {"coupon_15": "coupon_100"}})
    campaign = Campaign.from_frame(frame, **ROLES)
    assert campaign.arm_names == ("none", "coupon_5", "coupon_10", "coupon_100")
    assert np.array_equal(campaign.arm_codes == 0, frame["coupon"] == "none")


def test_arm_names_are_the_text_of_the_values() -> None:
    frame = pd.DataFrame({"t": [0.0, 1.0, 2.0] * 4, "y": [0, 1, 0] * 4, "x": range(12)})
    for column in (
        frame["t"],
        frame["t"].astype(int),
        frame["t"].astype(int).astype(str),
        frame["t"].astype("Int8"),
    ):
        campaign = Campaign.from_frame(frame.assign(t=column), treatment="t", control=0, chain="y")
        assert campaign.arm_names == ("0", "1", "2")
    booleans = Campaign.from_frame(frame.assign(t=frame["t"] > 0), treatment="t", control=False, chain="y")
    assert booleans.arm_names == ("false", "true")


def test_every_source_gives_the_same_campaign(tmp_path: Path) -> None:
    frame = toy_frame(500)
    expected = Campaign.from_frame(frame, **ROLES).fingerprint()
    frame.to_parquet(tmp_path / "all.parquet")
    frame.to_csv(tmp_path / "all.csv", index=False)
    (tmp_path / "parts").mkdir()
    frame.iloc[:200].to_parquet(tmp_path / "parts" / "a.parquet")
    frame.iloc[200:].to_parquet(tmp_path / "parts" / "b.parquet")
    (tmp_path / "csvs").mkdir()
    frame.iloc[:200].to_csv(tmp_path / "csvs" / "1.csv", index=False)
    frame.iloc[200:].to_csv(tmp_path / "csvs" / "2.csv", index=False)
    sources = {
        "parquet": Campaign.from_parquet(tmp_path / "all.parquet", **ROLES),
        "csv": Campaign.from_csv(tmp_path / "all.csv", **ROLES),
        "folder": Campaign.from_parquet(tmp_path / "parts", **ROLES),
        "glob": Campaign.from_csv(str(tmp_path / "csvs" / "*.csv"), **ROLES),
        "list": Campaign.from_parquet(
            [tmp_path / "parts" / "a.parquet", tmp_path / "parts" / "b.parquet"], **ROLES
        ),
        "duckdb": Campaign.from_duckdb(f"select * from '{tmp_path / 'all.parquet'}'", **ROLES),
    }
    for name, campaign in sources.items():
        assert campaign.fingerprint() == expected, name


def test_a_campaign_file_may_query_duckdb_and_sqlite(tmp_path: Path) -> None:
    import sqlite3

    import duckdb

    frame = toy_frame(300)
    with duckdb.connect(str(tmp_path / "shop.duckdb")) as shop:
        shop.register("frame", frame)
        shop.execute("create table log as select * from frame")
    with sqlite3.connect(tmp_path / "shop.sqlite") as shop:
        frame.assign(member=frame["member"].astype(int)).to_sql("log", shop, index=False)
    for database in ("duckdb:///shop.duckdb", "sqlite:///shop.sqlite"):
        (tmp_path / "c.toml").write_text(
            f'[campaign]\ndatabase = "{database}"\nsql = "select * from log"\nunit = "customer"\ntreatment = "coupon"\n'
            'control = "none"\nchain = ["click", "buy"]\nvalue = "spend"\n'
        )
        campaign = Campaign.from_file(tmp_path / "c.toml")
        assert campaign.n_rows == 300
        assert campaign.arm_names == ("none", "coupon_5", "coupon_10")


def test_outcomes_are_in_chain_order_and_value_is_last(toy: Campaign) -> None:
    assert toy.stages == ("click", "buy", "value")
    assert toy.outcomes.shape == (toy.n_rows, 3)
    assert np.array_equal(toy.outcome("value"), toy.outcome("spend"))
    assert (toy.outcome("buy") <= toy.outcome("click")).all()


def test_default_features_are_all_columns_without_a_role(toy: Campaign) -> None:
    assert toy.feature_names == ("x1", "x2", "city", "member")
    assert toy.categorical_features == ("city",)
    excluded = Campaign.from_frame(toy_frame(), **ROLES, exclude=["x2"])
    assert excluded.feature_names == ("x1", "city", "member")


def test_strata_stay_features() -> None:
    campaign = Campaign.from_frame(toy_frame(), **ROLES, strata="city")
    assert "city" in campaign.feature_names
    assert len(np.unique(campaign.stratum_codes)) == 3


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), share=st.floats(0.1, 0.9), repeats=st.integers(1, 4))
def test_no_unit_is_on_both_sides_of_a_split(seed: int, share: float, repeats: int) -> None:
    rng = np.random.default_rng(seed)
    frame = toy_frame(400, seed=seed)
    frame["customer"] = rng.integers(0, 400 // repeats, 400)
    frame["day"] = pd.Timestamp("2026-01-01") + pd.to_timedelta(rng.integers(0, 60, 400), unit="D")
    campaign = Campaign.from_frame(frame, **ROLES, time="day")
    for by in ("unit", "time"):
        train, test = campaign.split(test=share, seed=seed, by=by)
        assert train.n_rows + test.n_rows == 400 or by == "time"
        assert not set(train.unit_ids.to_pylist()) & set(test.unit_ids.to_pylist())


def test_the_split_depends_on_ids_not_on_row_order() -> None:
    frame = toy_frame(1_000)
    shuffled = frame.sample(frac=1.0, random_state=1)
    first = Campaign.from_frame(frame, **ROLES).split(seed=3)[1].unit_ids.to_pylist()
    second = Campaign.from_frame(shuffled, **ROLES).split(seed=3)[1].unit_ids.to_pylist()
    assert set(first) == set(second)
    assert set(first) != set(Campaign.from_frame(frame, **ROLES).split(seed=4)[1].unit_ids.to_pylist())


def test_a_time_split_tests_on_the_latest_units() -> None:
    frame = toy_frame(1_000)
    frame["day"] = np.arange(1_000) // 10
    train, test = Campaign.from_frame(frame, **ROLES, time="day").split(test=0.25, by="time")
    assert test.times.min() > train.times.max()
    assert test.n_rows == 250


def test_a_time_split_never_learns_from_the_test_period() -> None:
    rng = np.random.default_rng(0)
    frame = toy_frame(1_000)
    frame["customer"] = rng.integers(0, 250, 1_000)
    frame["day"] = rng.integers(0, 100, 1_000)
    train, test = Campaign.from_frame(frame, **ROLES, time="day").split(test=0.1, by="time")
    assert train.times.max() < test.times.min()
    assert not set(train.unit_ids.to_pylist()) & set(test.unit_ids.to_pylist())


def test_without_a_unit_column_each_row_is_its_own_unit() -> None:
    roles = {name: value for name, value in ROLES.items() if name != "unit"}
    campaign = Campaign.from_frame(toy_frame(100).drop(columns="customer"), **roles)
    train, test = campaign.split(seed=0)
    assert campaign.unit_column == "unit"
    assert sorted([*train.unit_ids.to_pylist(), *test.unit_ids.to_pylist()]) == list(range(100))


def test_missing_values_are_allowed_in_every_feature() -> None:
    frame = toy_frame(300)
    frame.loc[::3, "x1"] = np.nan
    frame.loc[::4, "city"] = None
    frame["member"] = frame["member"].astype(object).where(frame.index % 5 != 0, None)
    frame["empty"] = None
    campaign = Campaign.from_frame(frame, **ROLES)
    encoded = FeatureSchema.fit(campaign).encode(campaign)
    assert np.isnan(encoded.numeric[:, 0]).sum() == 100
    assert (encoded.categorical[:, 0] == 0).sum() == 75
    assert not np.isnan(FeatureSchema.fit(campaign).dense(campaign)).any()


def test_unseen_and_rare_categories_share_one_code() -> None:
    frame = toy_frame(300)
    frame.loc[0, "city"] = "once"
    schema = FeatureSchema.fit(Campaign.from_frame(frame, **ROLES))
    new = toy_frame(300).assign(city="never seen")
    codes = schema.encode(Campaign.from_frame(new, **ROLES)).categorical[:, 0]
    assert (codes == 1).all()
    assert schema.encode(Campaign.from_frame(frame, **ROLES)).categorical[0, 0] == 1


def test_high_cardinality_features_keep_the_frequent_categories() -> None:
    frame = toy_frame(4_000)
    frame["shop"] = [f"shop {index % 300}" for index in range(4_000)]
    schema = FeatureSchema.fit(Campaign.from_frame(frame, **ROLES), max_categories=50)
    assert dict(zip(("city", "shop"), schema.cardinalities, strict=True)) == {"city": 5, "shop": 52}
    assert schema.from_dict(schema.to_dict()) == schema


def test_dates_and_decimals_become_numbers() -> None:
    frame = toy_frame(50)
    frame["joined"] = pd.Timestamp("1970-01-11")
    table = pa.table(frame).append_column("fee", pa.array([1] * 50, pa.decimal128(10, 2)))
    campaign = Campaign.from_table(table, **ROLES)
    encoded = FeatureSchema.fit(campaign).encode(campaign)
    at = campaign.numeric_features.index("joined")
    assert encoded.numeric[0, at] == 10.0
    assert encoded.numeric[0, campaign.numeric_features.index("fee")] == 1.0


def test_hashes_do_not_depend_on_type_and_are_uniform() -> None:
    ids = np.arange(200_000)
    assert np.array_equal(unit_hash(ids), unit_hash(ids.astype(str)))
    assert np.array_equal(unit_hash(ids), unit_hash(ids.astype(float)))
    assert len(np.unique(unit_hash(ids))) == 200_000
    uniform = unit_uniform(ids, "salt")
    counts = np.histogram(uniform, 100, (0, 1))[0]
    chi_square = ((counts - 2_000) ** 2 / 2_000).sum()
    assert chi_square < 160  # 99.99 % quantile of chi-square with 99 degrees of freedom is 160
    assert abs(np.corrcoef(uniform, unit_uniform(ids, "other"))[0, 1]) < 0.01


def test_an_audience_needs_features_but_no_outcomes(toy: Campaign) -> None:
    audience = toy.audience(toy_frame(50).drop(columns=["coupon", "click", "buy", "spend"]))
    assert not audience.has_outcomes
    with pytest.raises(CampaignError, match="treatment column 'coupon'"):
        _ = audience.arm_codes
    with pytest.raises(CampaignError, match="'x1', 'city'"):
        toy.audience(toy_frame(50).drop(columns=["x1", "city"]))


def test_cost_rules_refuse_what_makes_no_sense() -> None:
    for bad in (
        {"on": "send"}, {"on": "value", "amount": 5.0}, {"on": "value", "share": 1.5}, {"on": "buy", "amount": -1.0},
        {"on": "buy", "amount": float("nan")}, {"on": "buy", "amount": 1.0, "share": 0.1},
    ):  # fmt: skip
        with pytest.raises(CampaignError):
            CostRule(**bad)
    arms = {"coupon_5": Arm(name="coupon_5", cost=CostRule(on="bye", amount=5.0))}
    with pytest.raises(CampaignError, match="did you mean 'buy'"):
        Campaign.from_frame(toy_frame(100), **ROLES, arms=arms)


def _with(column: str, value: object, rows: slice = slice(0, 3)) -> pd.DataFrame:
    frame = toy_frame(200)
    frame[column] = frame[column].astype(object)
    frame.loc[frame.index[rows], column] = value
    return frame.infer_objects()


REFUSALS = {
    "missing column": (toy_frame(200).drop(columns="click"), {}, "no stage column 'click'"),
    "mistyped role": (toy_frame(200), {"treatment": "cupon"}, "did you mean 'coupon'"),
    "control not there": (toy_frame(200), {"control": "nothing"}, "control arm 'nothing'"),
    "only control": (toy_frame(200).assign(coupon="none"), {}, "at least one treated arm"),
    "arm without rows": (toy_frame(200), {"arms": {"coupon_7": {"label": "7"}}}, "'coupon_7' has no rows"),
    "treatment missing": (_with("coupon", None), {}, "missing in 3 of 200 rows"),
    "stage not binary": (_with("buy", 2), {}, "must be 0 or 1, but 3 of 200 rows"),
    "stage missing": (_with("buy", None), {}, "3 missing values"),
    "stage is text": (toy_frame(200).assign(buy="yes"), {}, "not 0/1"),
    "infinite feature": (_with("x1", np.inf), {}, "'x1' has 3 infinite values"),
    "infinite value": (_with("spend", np.inf), {}, "3 infinite values"),
    "missing value": (_with("spend", None), {}, "3 missing values"),
    "empty": (toy_frame(200).iloc[:0], {}, "no rows"),
    "empty chain": (toy_frame(200), {"chain": []}, "chain is empty"),
    "stage twice": (toy_frame(200), {"chain": ["click", "click"]}, "names a stage twice"),
    "two roles": (toy_frame(200), {"value": "click"}, "both stage and value"),
    "feature with a role": (toy_frame(200), {"features": ["x1", "buy"]}, "cannot be a feature"),
    "propensity above one": (toy_frame(200).assign(p=1.2), {"propensity": "p"}, "in \\(0, 1\\]"),
    "weight zero": (toy_frame(200).assign(w=0.0), {"weight": "w"}, "must be positive"),
    "unit missing": (_with("customer", None), {}, "3 missing ids"),
    "list feature": (toy_frame(200).assign(tags=[["a"]] * 200), {}, "list it under exclude"),
    "reserved stage": (toy_frame(200).assign(arm=0), {"chain": ["arm"], "value": None}, "cannot be called 'arm'"),
    "id as treatment": (toy_frame(1500).assign(coupon=[f"c{i}" for i in range(1500)]), {"control": "c0"}, "looks like an id"),
    "time is text": (toy_frame(200).assign(day="monday"), {"time": "day"}, "make it a date"),
    "shares incomplete": (toy_frame(200), {"arms": {"coupon_5": {"share": 0.5}}}, "give one to every arm"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSALS)
def test_bad_input_is_refused_in_one_sentence(case: str) -> None:
    frame, roles, message = REFUSALS[case]
    with pytest.raises(CampaignError, match=message) as caught:
        Campaign.from_frame(frame, **{**ROLES, **roles})
    assert "\n" not in str(caught.value)


def test_damaged_files_are_refused_in_one_sentence(tmp_path: Path) -> None:
    whole = tmp_path / "whole.parquet"
    toy_frame(2_000).to_parquet(whole)
    (tmp_path / "cut.parquet").write_bytes(whole.read_bytes()[:5_000])
    (tmp_path / "empty.csv").write_bytes(b"")
    (tmp_path / "ragged.csv").write_text("a,b\n1,2\n3\n")
    (tmp_path / "log.xlsx").write_bytes(b"PK")
    for name, message in {
        "cut.parquet": "truncated or damaged", "empty.csv": "is empty", "ragged.csv": "cannot be read as CSV",
        "log.xlsx": "neither Parquet nor CSV", "nowhere.parquet": "no file or folder",
    }.items():  # fmt: skip
        with pytest.raises(CampaignError, match=message):
            Campaign.from_parquet(tmp_path / name, **ROLES)


def test_hillstrom_reproduces_the_published_rates(hillstrom: Campaign) -> None:
    published = {
        "visit": (10.62, 18.28, 15.14),
        "conversion": (0.573, 1.253, 0.884),
        "value": (65.3, 142.3, 107.7),
    }
    for stage, rates in published.items():
        for arm, rate in enumerate(rates):
            digits = 2 if stage == "visit" else 3 if stage == "conversion" else 1
            assert (
                round(
                    100 * float(hillstrom.outcome(stage)[hillstrom.arm_codes == arm].astype(float).mean()),
                    digits,
                )
                == rate
            )


def test_written_campaign_folders_run_again(tmp_path: Path, toy: Campaign) -> None:
    from uplift.campaign_file import write_campaign_folder

    again = Campaign.from_file(write_campaign_folder(toy, tmp_path / "toy"))
    assert again.fingerprint() == toy.fingerprint()
    assert again.feature_names == toy.feature_names
    assert pq.read_schema(tmp_path / "toy" / "campaign.parquet").names == toy.table.column_names


def test_csv_ids_and_arms_are_names_not_numbers(tmp_path: Path) -> None:
    frame = toy_frame(60)
    frame["customer"] = [f"{index:08d}" for index in range(60)]
    frame["coupon"] = np.array(["None", "01", "1"])[np.arange(60) % 3]
    frame.to_csv(tmp_path / "log.csv", index=False)
    campaign = Campaign.from_csv(tmp_path / "log.csv", **{**ROLES, "control": "None"})
    assert campaign.unit_ids[5].as_py() == "00000005"
    assert campaign.arm_names == ("None", "01", "1")
    assert np.bincount(campaign.arm_codes).tolist() == [20, 20, 20]


def test_csv_numbers_that_name_arms_read_like_numbers(tmp_path: Path) -> None:
    frame = toy_frame(60).drop(columns="coupon")
    for values in ([0, 1], [0.0, 1.0], [False, True]):
        frame.assign(t=np.array(values)[np.arange(60) % 2]).to_csv(tmp_path / "log.csv", index=False, sep=";")
        campaign = Campaign.from_csv(
            tmp_path / "log.csv", **{**ROLES, "treatment": "t", "control": values[0]}
        )
        assert campaign.arm_names == (("false", "true") if values[1] is True else ("0", "1"))


def test_arm_order_does_not_depend_on_row_order() -> None:
    frame = toy_frame(60)
    frame["coupon"] = np.array(["0", "01", "1"])[np.arange(60) % 3]
    for order in (frame, frame.iloc[::-1]):
        assert Campaign.from_frame(order, **{**ROLES, "control": "0"}).arm_names == ("0", "01", "1")


def test_strata_are_groups_for_every_model() -> None:
    frame = toy_frame(300)
    frame["region"] = np.arange(300) % 6
    campaign = Campaign.from_frame(frame, **ROLES, strata="region")
    assert "region" in campaign.categorical_features


def test_odd_ids_are_refused_or_kept_apart() -> None:
    frame = toy_frame(60)
    huge = frame.assign(customer=1e20 + np.arange(60))
    with pytest.raises(CampaignError, match="very large numbers"):
        Campaign.from_frame(huge, **ROLES)
    infinite = frame.assign(customer=np.where(np.arange(60) < 2, np.inf, 1.0))
    with pytest.raises(CampaignError, match="infinite"):
        Campaign.from_frame(infinite, **ROLES)
    arms = frame.assign(coupon=np.where(np.arange(60) < 2, np.inf, np.arange(60) % 2))
    with pytest.raises(CampaignError, match="infinite"):
        Campaign.from_frame(arms, **{**ROLES, "control": 0})
    late = frame.assign(day=np.where(np.arange(60) < 2, np.inf, 1.0))
    with pytest.raises(CampaignError, match="2 infinite values"):
        Campaign.from_frame(late, **ROLES, time="day")
    import uuid

    table = pa.table(frame).set_column(
        0, "customer", pa.array([uuid.uuid4().bytes for _ in range(60)], pa.binary(16))
    )
    with pytest.raises(CampaignError, match="write the ids as text"):
        Campaign.from_table(table, **ROLES)


def test_categorical_ids_are_ids() -> None:
    frame = toy_frame(60)
    campaign = Campaign.from_frame(
        frame.assign(customer=frame["customer"].astype(str).astype("category")), **ROLES
    )
    assert campaign.unit_ids.to_pylist() == frame["customer"].astype(str).tolist()
    assert campaign.n_units == 60


def test_an_audience_whose_numbers_became_text_is_refused(toy: Campaign) -> None:
    audience = toy_frame(50).assign(x1=lambda f: f["x1"].astype(str))
    with pytest.raises(CampaignError, match="'x1' is numeric in the campaign"):
        toy.audience(audience)
    with_new_arm = toy.audience(toy_frame(50, arms=3))
    assert not with_new_arm.has_outcomes
    assert "50 rows" in repr(with_new_arm)
