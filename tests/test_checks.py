"""Checks: clean campaigns pass, every planted defect is caught by its own check, real data behave as documented."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from uplift.campaign import Campaign
from uplift.checks import CheckReport, check
from uplift.checks.contrast import Contrast, auc
from uplift.checks.sample_ratio import chi_square_p
from uplift.errors import CampaignError

ORDER = [
    "rows",
    "arms",
    "sample_ratio",
    "balance_smd",
    "balance_classifier",
    "chain_logic",
    "value_logic",
    "duplicate_units",
    "unit_arms",
    "constant_columns",
    "leakage",
    "positives",
    "overlap",
]
ROLES: dict[str, Any] = {
    "unit": "id",
    "treatment": "coupon",
    "control": "none",
    "chain": ["click", "buy"],
    "value": "spend",
}
EQUAL = {"none": 0.5, "five": 0.5}


def clean_frame(seed: int = 0, n: int = 3000) -> pd.DataFrame:
    """A sound experiment: two equal arms, a real effect, skewed, rare, missing and categorical features."""
    rng = np.random.default_rng(seed)
    age = rng.normal(40, 12, n)
    history = np.exp(rng.normal(3, 1.2, n)) * (rng.random(n) < 0.6)
    treated = rng.random(n) < 0.5
    click = rng.random(n) < 1 / (1 + np.exp(-(-0.5 + 0.03 * (age - 40) + 0.5 * treated)))
    buy = click & (rng.random(n) < 0.35)
    return pd.DataFrame(
        {
            "id": np.char.add("u", np.arange(n).astype(str)),
            "coupon": np.where(treated, "five", "none"),
            "click": click.astype(int),
            "buy": buy.astype(int),
            "spend": np.where(buy, np.exp(rng.normal(3, 1, n)), 0.0),
            "age": np.where(rng.random(n) < 0.05, np.nan, age),
            "history": history,
            "vip": (rng.random(n) < 0.03).astype(int),
            "city": rng.choice(["Berlin", "Paris", "Rome", None], n, p=[0.5, 0.3, 0.15, 0.05]),
        }
    )


def report_on(frame: pd.DataFrame, *, planned: dict[str, float] | None = None, **roles: Any) -> CheckReport:
    return check(Campaign.from_frame(frame, **(ROLES | roles)), planned_shares=planned)


def not_passed(report: CheckReport) -> dict[str, str]:
    return {result.check: result.status for result in report if result.status != "pass"}


# ------------------------------------------------------------------------------------------ no false alarms


def test_clean_campaigns_never_fail_and_rarely_warn() -> None:
    alarms = [not_passed(report_on(clean_frame(seed), planned=EQUAL)) for seed in range(20)]
    assert not any("fail" in found.values() for found in alarms), alarms
    # Three tests at 1 % each: 0.6 warnings are expected in 20 campaigns.
    assert sum(bool(found) for found in alarms) <= 2, alarms


def test_an_85_15_design_without_planned_shares_does_not_fail() -> None:
    rng = np.random.default_rng(3)
    frame = clean_frame(3, n=6000)
    keep = (frame.coupon == "five") | (rng.random(len(frame)) < 0.18)
    report = report_on(frame[keep])
    assert report["sample_ratio"].status == "pass"
    assert report["sample_ratio"].data["p"] is None
    assert report.passed


def test_shares_that_differ_between_strata_by_design_pass_with_strata_and_fail_without() -> None:
    rng = np.random.default_rng(1)
    frame = clean_frame(1, n=6000)
    frame["region"] = rng.choice(["north", "south"], len(frame))
    frame["age"] += 15 * (frame.region == "north")
    frame["coupon"] = np.where(
        rng.random(len(frame)) < np.where(frame.region == "north", 0.8, 0.3), "five", "none"
    )
    without = not_passed(report_on(frame))
    assert without["balance_smd"] == without["balance_classifier"] == "fail"
    within = report_on(frame, strata=["region"])
    assert not_passed(within) == {}
    assert within["balance_smd"].data["smd"]["region"]["five"] == 0.0


def targeted_frame(seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    frame = clean_frame(seed, n=6000)
    chance = 1 / (1 + np.exp(-(frame.age.fillna(40) - 40) / 12))
    treated = rng.random(len(frame)) < chance
    frame["coupon"] = np.where(treated, "five", "none")
    frame["p"] = np.where(treated, chance, 1 - chance)
    return frame


def test_targeting_with_true_propensities_is_balanced_and_calibrated() -> None:
    frame = targeted_frame(2)
    report = report_on(frame, propensity="p")
    assert not_passed(report) == {}
    assert report["overlap"].data["mean_inverse"]["five"] == pytest.approx(1, abs=0.1)
    assert not_passed(report_on(frame, exclude=["p"]))["balance_smd"] == "fail"


def test_households_randomised_together_are_counted_once() -> None:
    rng = np.random.default_rng(5)
    homes = clean_frame(5, n=1200)
    people = homes.loc[homes.index.repeat(5)].reset_index(drop=True)
    people["age"] += rng.normal(0, 1, len(people))  # people of one household are alike
    people["height"] = rng.normal(170, 9, len(people))
    report = report_on(people, planned=EQUAL)
    assert report["sample_ratio"].data["counted"] == "units"
    assert sum(report["arms"].data["counts"].values()) == 1200
    assert not_passed(report) == {}


# ----------------------------------------------------------------------------------------- planted defects


def lose_controls(frame: pd.DataFrame) -> pd.DataFrame:
    lost = (frame.coupon == "none") & (np.random.default_rng(0).random(len(frame)) < 0.15)
    return frame[~lost]


def small_arm(frame: pd.DataFrame) -> pd.DataFrame:
    frame["coupon"] = np.where(np.arange(len(frame)) % 20 == 0, "ten", frame.coupon)
    return frame


def older_treated(frame: pd.DataFrame) -> pd.DataFrame:
    treated = frame.coupon == "five"
    frame["age"] += 4.0 * treated
    frame.loc[treated & (np.random.default_rng(1).random(len(frame)) < 0.2), "city"] = "Paris"
    return frame


def wider_treated(frame: pd.DataFrame) -> pd.DataFrame:
    frame["history"] = 0.0
    frame["tenure"] = np.random.default_rng(1).normal(0, 1, len(frame)) * np.where(
        frame.coupon == "five", 2, 1
    )
    return frame.drop(columns="history")


def missing_in_treated(frame: pd.DataFrame) -> pd.DataFrame:
    gone = (frame.coupon == "five") & (np.random.default_rng(1).random(len(frame)) < 0.15)
    frame.loc[gone, "history"] = np.nan
    return frame


def buy_without_click(frame: pd.DataFrame) -> pd.DataFrame:
    frame.loc[(frame.buy == 1) & (np.arange(len(frame)) % 4 == 0), "click"] = 0
    return frame


def one_buy_without_click(frame: pd.DataFrame) -> pd.DataFrame:
    frame.loc[frame.index[frame.buy == 1][0], "click"] = 0
    return frame


def spend_without_buy(frame: pd.DataFrame) -> pd.DataFrame:
    frame.loc[(frame.buy == 0) & (np.arange(len(frame)) % 10 == 0), "spend"] = 5.0
    return frame


def refunds(frame: pd.DataFrame) -> pd.DataFrame:
    frame.loc[frame.index[frame.buy == 1][:3], "spend"] = -9.0
    return frame


def loaded_twice(frame: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([frame, frame])


def rows_per_treatment(frame: pd.DataFrame) -> pd.DataFrame:
    extra = (frame.coupon == "five") & (np.random.default_rng(2).random(len(frame)) < 0.4)
    again = frame[extra].assign(age=frame.age + 0.001)
    return pd.concat([frame, again])


def some_in_both_arms(frame: pd.DataFrame) -> pd.DataFrame:
    again = frame.assign(history=frame.history + 1.0)
    flipped = again.index % 20 == 0
    again.loc[flipped, "coupon"] = again.coupon.map({"five": "none", "none": "five"})[flipped]
    return pd.concat([frame, again])


def rows_randomised(frame: pd.DataFrame) -> pd.DataFrame:
    frame["id"] = frame.id.str[:-1] + "x"
    return frame


def constant_column(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(country="DE", empty=np.nan, row=np.arange(len(frame)))


def value_as_feature(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(revenue_cents=(frame.spend * 100).round())


def missing_with_outcome(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(last_order_days=np.where(frame.buy == 1, 1.0 + np.arange(len(frame)) % 50, np.nan))


def stage_as_feature(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(session=np.where(frame.click == 1, "yes", "no"))


def few_buys(frame: pd.DataFrame) -> pd.DataFrame:
    frame["buy"] = frame.buy * (np.arange(len(frame)) % 40 == 0)
    frame["spend"] = frame.spend * frame.buy
    return frame


def no_buys(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(buy=0, spend=0.0)


DEFECTS: list[tuple[Callable[[pd.DataFrame], pd.DataFrame], dict[str, str]]] = [
    (lose_controls, {"sample_ratio": "fail"}),
    (older_treated, {"balance_smd": "fail", "balance_classifier": "fail"}),
    (wider_treated, {"balance_classifier": "fail"}),
    (missing_in_treated, {"balance_smd": "fail", "balance_classifier": "fail", "leakage": "fail"}),
    (buy_without_click, {"chain_logic": "fail"}),
    (one_buy_without_click, {"chain_logic": "warn"}),
    (spend_without_buy, {"value_logic": "fail"}),
    (refunds, {"value_logic": "warn"}),
    (loaded_twice, {"duplicate_units": "warn"}),
    (rows_per_treatment, {"duplicate_units": "fail"}),
    (some_in_both_arms, {"unit_arms": "fail"}),
    (rows_randomised, {"unit_arms": "warn", "rows": "warn"}),
    (constant_column, {"constant_columns": "warn"}),
    (value_as_feature, {"leakage": "fail"}),
    (missing_with_outcome, {"leakage": "fail"}),
    (few_buys, {"positives": "warn"}),
    (no_buys, {"positives": "fail"}),
]


@pytest.mark.parametrize(("spoil", "expected"), DEFECTS, ids=[spoil.__name__ for spoil, _ in DEFECTS])
def test_planted_defect_turns_exactly_its_check(
    spoil: Callable[[pd.DataFrame], pd.DataFrame], expected: dict[str, str]
) -> None:
    frame = clean_frame(11)
    # no effect: what depends on outcomes must not look unbalanced as well
    frame["coupon"] = np.random.default_rng(12).choice(["none", "five"], len(frame))
    assert not_passed(report_on(frame, planned=EQUAL)) == {}
    report = report_on(spoil(frame), planned=EQUAL)
    assert not_passed(report) == expected
    assert report.status == ("fail" if "fail" in expected.values() else "warn")


def test_small_arm_warns() -> None:
    assert not_passed(report_on(small_arm(clean_frame(4))))["arms"] == "warn"


def test_eighty_units_are_too_few() -> None:
    assert report_on(clean_frame(0, n=80))["rows"].status == "fail"


def test_an_earlier_stage_left_as_feature_is_flagged() -> None:
    report = report_on(stage_as_feature(clean_frame(6)), exclude=["click"], chain=["buy"])
    # everyone who buys had a session: necessary, not sufficient
    assert report["leakage"].status == "warn"
    assert list(report["leakage"].data["suspects"]) == ["session"]


def test_copy_of_the_arm_among_the_features_is_leakage() -> None:
    frame = clean_frame(7)
    frame["segment"] = frame.coupon.map({"none": "control group", "five": "test group"})
    found = not_passed(report_on(frame))
    assert found["leakage"] == found["balance_smd"] == found["balance_classifier"] == "fail"


def test_features_that_exist_only_after_treatment_are_leakage() -> None:
    frame = clean_frame(8)
    shown = (frame.coupon == "five") & (np.random.default_rng(8).random(len(frame)) < 0.03)
    frame["banner"] = shown.astype(int)
    result = report_on(frame)["leakage"]
    assert result.status == "fail"
    assert "never in arm 'none'" in result.detail


def test_probability_of_treatment_given_as_propensity_is_recognised() -> None:
    rng = np.random.default_rng(9)
    frame = clean_frame(9, n=6000)
    treated = rng.random(len(frame)) < 0.8
    frame["coupon"] = np.where(treated, "five", "none")
    frame["p"] = 0.8
    result = report_on(frame, propensity="p")["overlap"]
    assert result.status == "fail"
    assert "probability of treatment" in result.detail


def test_strata_decided_by_treatment_have_no_overlap() -> None:
    frame = clean_frame(10)
    frame["region"] = np.where(frame.coupon == "five", "north", "south")
    report = report_on(frame, strata="region")
    assert report["overlap"].status == "fail"


def test_nearly_equal_shares_that_are_not_equal_warn_even_without_a_plan() -> None:
    frame = clean_frame(13, n=12_000)
    lost = (frame.coupon == "none") & (np.random.default_rng(0).random(len(frame)) < 0.1)
    assert report_on(frame[~lost])["sample_ratio"].status == "warn"


def test_loss_in_one_stratum_is_seen_where_totals_hide_it() -> None:
    rng = np.random.default_rng(14)
    frame = clean_frame(14, n=6000)
    frame["region"] = rng.choice(["north", "south"], len(frame))
    share = np.where(frame.region == "north", 0.56, 0.44)
    frame["coupon"] = np.where(rng.random(len(frame)) < share, "five", "none")
    assert report_on(frame, planned=EQUAL)["sample_ratio"].status == "pass"
    assert report_on(frame, planned=EQUAL, strata="region")["sample_ratio"].status == "fail"


# ---------------------------------------------------------------------------------------------- statistics


def test_chi_square_of_cookie_cats_is_the_published_one() -> None:
    assert chi_square_p(np.array([[44_700, 45_489]]), np.array([0.5, 0.5])) == pytest.approx(0.0086, abs=5e-5)


def test_auc_equals_pair_counting_with_weights() -> None:
    rng = np.random.default_rng(0)
    score, treated, weight = rng.integers(0, 8, 60).astype(float), rng.random(60) < 0.4, rng.random(60) + 0.1
    contrast = Contrast("a", np.arange(60), treated, sampling=weight)
    wins = (score[treated][:, None] > score[~treated]) + 0.5 * (score[treated][:, None] == score[~treated])
    pairs = weight[treated][:, None] * weight[~treated]
    assert auc(contrast, score)[0] == pytest.approx((wins * pairs).sum() / pairs.sum(), abs=1e-12)


def test_auc_error_is_hanley_mcneil_at_one_half() -> None:
    rng = np.random.default_rng(1)
    treated = rng.random(4000) < 0.2
    n1, n0 = treated.sum(), (~treated).sum()
    se = auc(Contrast("a", np.arange(4000), treated), rng.normal(size=4000))[1]
    assert se == pytest.approx(np.sqrt((n1 + n0 + 1) / (12 * n1 * n0)), rel=0.01)


@pytest.mark.parametrize("design", ["rows", "pairs", "blocks of five", "households"])
def test_standard_error_matches_rerandomisation(design: str) -> None:
    rng = np.random.default_rng(2)
    n = 600
    size = {"rows": 1, "pairs": 2, "blocks of five": 5, "households": 4}[design]
    group = np.repeat(np.arange(n // size), size)
    values = rng.normal(size=n) + 3 * rng.normal(size=n // size)[group]
    t = []
    for _ in range(800):
        if design == "rows":
            treated, kind = rng.random(n) < 0.3, {}
        elif design == "households":
            treated, kind = (rng.random(n // size) < 0.3)[group], {"unit": group}
        else:
            few = 1 if size == 2 else 2
            treated = (rng.random((n // size, size)).argsort(axis=1) < few).ravel()
            kind = {"stratum": group}
        t.append(Contrast("a", np.arange(n), treated, **kind).difference(values).t)
    assert np.std(t) == pytest.approx(1, abs=0.08)
    assert abs(np.mean(t)) < 0.12


def test_propensity_weights_undo_targeting() -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=20_000)
    chance = 1 / (1 + np.exp(-x))
    treated = rng.random(x.size) < chance
    raw = Contrast("a", np.arange(x.size), treated).difference(x)
    weighted = Contrast(
        "a", np.arange(x.size), treated, propensity=np.where(treated, chance, 1 - chance)
    ).difference(x)
    assert raw.t > 20
    assert abs(weighted.t) < 3


# ------------------------------------------------------------------------------------------------ contract


def test_report_is_the_checks_json_contract() -> None:
    report = Campaign.from_frame(clean_frame(), **ROLES).check()
    assert isinstance(report, CheckReport)
    entries = json.loads(json.dumps(report.to_list(), allow_nan=False))
    assert [entry["check"] for entry in entries] == ORDER
    assert all(set(entry) == {"check", "status", "detail", "title", "data"} for entry in entries)
    assert list(report.to_frame()["check"]) == ORDER
    assert all(result.detail.endswith(".") for result in report)
    assert report["balance_smd"].data["smd"]["age"].keys() == {"five"}
    with pytest.raises(CampaignError, match="did you mean 'overlap'"):
        report["overlapp"]


def test_same_campaign_same_report() -> None:
    assert report_on(clean_frame(1)).to_list() == report_on(clean_frame(1)).to_list()


def test_hostile_names_survive_in_text_html_and_rich() -> None:
    from rich.console import Console

    evil = "<script>alert(1)</script>"
    frame = clean_frame(15).rename(columns={"age": evil, "history": "[bold red]x[/]", "vip": "a\nb,{}%s"})
    frame["coupon"] = frame.coupon.map({"none": "none", "five": "<b>&[/]"})
    frame[evil] += 9.0 * (frame.coupon != "none")
    report = report_on(frame)
    assert report["balance_smd"].status == "fail"
    page = report._repr_html_()
    assert "<script>" not in page
    assert "<b>&[/]" not in page
    assert "&lt;script&gt;" in page
    console = Console(record=True, width=200)
    console.print(report)
    assert evil in console.export_text().replace("\n", "")
    assert evil in str(report)
    json.dumps(report.to_list(), allow_nan=False)


@pytest.mark.parametrize(
    ("planned", "message"),
    [
        ({"none": 0.5}, "lacks arm 'five'"),
        ({"none": 0.5, "fife": 0.5}, "did you mean 'five'"),
        ({"none": 0.5, "five": 0.3}, "sum to 0.8"),
        ({"none": 1.5, "five": -0.5}, "must be positive"),
    ],
)
def test_wrong_planned_shares_are_refused(planned: dict[str, float], message: str) -> None:
    with pytest.raises(CampaignError, match=message):
        report_on(clean_frame(n=300), planned=planned)


def test_a_campaign_without_features_or_an_arm_without_rows_is_still_checked() -> None:
    frame = clean_frame(n=1500)
    bare = report_on(frame, features=[])
    assert [result.check for result in bare] == ORDER
    assert bare["balance_classifier"].status == "pass"
    campaign = Campaign.from_frame(frame, **ROLES)
    only_control = campaign.take(campaign.arm_codes == 0).check()
    assert only_control["arms"].status == "fail"
    only_treated = campaign.take(campaign.arm_codes == 1).check()
    assert only_treated["arms"].status == "fail"


def test_an_audience_cannot_be_checked() -> None:
    frame = clean_frame(n=200)
    audience = Campaign.from_frame(frame, **ROLES).audience(frame.drop(columns=["coupon", "click", "buy"]))
    with pytest.raises(CampaignError, match="can be scored, not evaluated"):
        audience.check()


# ----------------------------------------------------------------------------------------------- real data


def real(path: str) -> Path:
    home = os.environ.get("UPLIFT_DATA_HOME")
    if not home or not (Path(home) / path).exists():
        pytest.skip(f"real data: set UPLIFT_DATA_HOME to a folder that holds {path}")
    return Path(home) / path


@pytest.mark.data
def test_hillstrom_passes_everything() -> None:
    campaign = Campaign.from_parquet(
        real("hillstrom/hillstrom.parquet"),
        treatment="treatment",
        control=0,
        chain=["visit", "conversion"],
        value="spend",
        exclude=["segment"],
    )
    assert not_passed(check(campaign, planned_shares={"0": 1 / 3, "1": 1 / 3, "2": 1 / 3})) == {}


@pytest.mark.data
def test_hillstrom_with_forgotten_columns_is_flagged() -> None:
    campaign = Campaign.from_parquet(
        real("hillstrom/hillstrom.parquet"), treatment="treatment", control=0, chain=["conversion"]
    )
    result = campaign.check()["leakage"]
    assert result.status == "fail"
    assert set(result.data["suspects"]) == {"segment", "visit", "spend"}


@pytest.mark.data
def test_lenta_passes_with_its_75_25_plan() -> None:
    campaign = Campaign.from_parquet(
        real("lenta/lenta.parquet"), treatment="treatment", control=0, chain="response_att"
    )
    assert not_passed(check(campaign, planned_shares={"0": 0.25, "1": 0.75})) == {}


@pytest.mark.data
def test_starbucks_passes_with_its_equal_plan() -> None:
    campaign = Campaign.from_parquet(
        real("starbucks/starbucks.parquet"),
        treatment="treatment",
        control=0,
        chain="purchase",
        exclude=["split"],
    )
    assert not_passed(check(campaign, planned_shares={"0": 0.5, "1": 0.5})) == {}


@pytest.mark.data
def test_social_pressure_passes_by_household() -> None:
    campaign = Campaign.from_parquet(
        real("social_pressure/social_pressure.parquet"),
        treatment="treatment",
        control=0,
        chain="voted",
        unit="hh_id",
        exclude=["cluster", "arm", "numberofnames", "p2004_mean", "g2004_mean"],
    )
    planned = {"0": 5 / 9} | {str(arm): 1 / 9 for arm in range(1, 5)}
    report = check(campaign, planned_shares=planned, max_rows_for_classifier=40_000)
    assert not_passed(report) == {}
    assert report["sample_ratio"].data["counted"] == "units"


@pytest.mark.data
def test_adsmart_fails_balance() -> None:
    campaign = Campaign.from_parquet(
        real("adsmart/adsmart.parquet"),
        treatment="treatment",
        control=0,
        chain=["engaged", "yes"],
        exclude=["no"],
    )
    report = campaign.check()
    assert report["balance_smd"].status == report["balance_classifier"].status == "fail"
    assert report["balance_classifier"].data["auc"]["1"]["value"] == pytest.approx(0.80, abs=0.02)


@pytest.mark.data
def test_cookie_cats_misses_its_equal_plan_and_is_no_chain() -> None:
    campaign = Campaign.from_parquet(
        real("cookie_cats/cookie_cats.parquet"),
        treatment="treatment",
        control=0,
        chain=["retention_1", "retention_7"],
        exclude=["test_version", "sum_gamerounds"],
    )
    report = check(campaign, planned_shares={"0": 0.5, "1": 0.5})
    # It has no features: nothing to personalise by.
    assert not_passed(report) == {"sample_ratio": "warn", "chain_logic": "fail", "constant_columns": "warn"}
    assert report["chain_logic"].data["pairs"][0]["broken"] == 2542


@pytest.mark.data
def test_exposure_of_criteo_is_no_feature() -> None:
    roles: dict[str, Any] = {"treatment": "treatment", "control": 0, "chain": ["visit", "conversion"]}
    path = real("criteo/criteo_1000.parquet")
    leaky = Campaign.from_parquet(path, **roles).check()
    assert list(leaky["leakage"].data["suspects"]) == ["exposure"]
    assert "never in arm '0'" in leaky["leakage"].detail
    sound = Campaign.from_parquet(path, exclude=["exposure"], **roles).check()
    assert sound.passed
    assert sound["leakage"].status == "pass"
