"""The simulator keeps its word: outcomes follow the recorded truth, and every knob does what it says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import stats

from uplift.effects import Effects
from uplift.errors import OutputError, UpliftError
from uplift.simulation import SEGMENTS, Simulation, SimulationError, simulate

Z_BOUND = 4.5  # about 7 in a million per comparison; seeds are fixed, so a pass stays a pass


@lru_cache(maxsize=8)
def _simulation(**knobs: object) -> Simulation:
    return simulate(**({"rows": 60_000, "seed": 7} | knobs))  # type: ignore[arg-type]


def _arm_codes(simulation: Simulation) -> np.ndarray:
    names = simulation.table["coupon"].to_numpy(zero_copy_only=False)
    return np.select(
        [names == arm for arm in simulation.effects.arms], range(len(simulation.effects.arms)), -1
    )


def _outcome(simulation: Simulation, stage: str) -> np.ndarray:
    return simulation.table["gmv" if stage == "value" else stage].to_numpy().astype(np.float64)


def _z_of_mean(residual: np.ndarray) -> float:
    return float(residual.mean() / (residual.std(ddof=1) / np.sqrt(len(residual))))


def _complete_features(simulation: Simulation) -> dict[str, np.ndarray]:
    frame = simulation.frame.drop(
        columns=["customer_id", "sent_at", "coupon", *simulation.effects.chain, "gmv"]
    )
    return {
        name: column.to_numpy(float)
        if column.dtype.kind in "ifb"
        else column.astype("category").cat.codes.to_numpy(float)
        for name, column in frame.items()
    }


# ---------------------------------------------------------------- outcomes follow the truth


@pytest.mark.parametrize("stage", ["impression", "click", "conversion", "value"])
def test_mean_outcome_of_every_arm_equals_mean_mu(stage: str) -> None:
    simulation = _simulation()
    arm = _arm_codes(simulation)
    for code, name in enumerate(simulation.effects.arms):
        received = arm == code
        residual = _outcome(simulation, stage)[received] - simulation.effects.mu(stage, name)[received]
        assert abs(_z_of_mean(residual)) < Z_BOUND


@pytest.mark.parametrize("stage", ["impression", "click", "conversion", "value"])
def test_mu_is_calibrated_in_every_decile(stage: str) -> None:
    simulation = _simulation()
    mu = simulation.effects.mu_all[
        np.arange(60_000), _arm_codes(simulation), simulation.effects.stages.index(stage)
    ]
    decile = np.argsort(np.argsort(mu)) * 10 // len(mu)
    outcome = _outcome(simulation, stage)
    z = [_z_of_mean(outcome[decile == k] - mu[decile == k]) for k in range(10)]
    assert np.abs(z).max() < Z_BOUND
    means = [mu[decile == k].mean() for k in range(10)]
    assert means[-1] > 1.5 * means[0]


@pytest.mark.parametrize("segment", SEGMENTS)
def test_observed_difference_of_arms_matches_tau_within_every_segment(segment: str) -> None:
    simulation = _simulation()
    arm, inside = _arm_codes(simulation), simulation.segments == segment
    for stage in simulation.effects.stages:
        outcome = _outcome(simulation, stage)
        for code, name in enumerate(simulation.effects.arms[1:], start=1):
            treated, control = outcome[inside & (arm == code)], outcome[inside & (arm == 0)]
            error = np.sqrt(treated.var() / len(treated) + control.var() / len(control))
            truth = simulation.effects.tau(stage, name)[inside].mean()
            assert abs(treated.mean() - control.mean() - truth) < Z_BOUND * error


def test_gmv_given_conversion_has_the_closed_form_lognormal_mean() -> None:
    simulation = _simulation(value=True)
    bought = _outcome(simulation, "conversion") == 1
    arm = _arm_codes(simulation)
    spend = _outcome(simulation, "value")
    mu = simulation.effects.mu_all[np.arange(len(arm)), arm]
    expected = mu[:, 3] / mu[:, 2]
    assert abs(_z_of_mean((spend - expected)[bought])) < Z_BOUND
    log_error = np.log(spend[bought]) - np.log(expected[bought])
    assert log_error.std() == pytest.approx(0.5, abs=0.03)
    assert (spend[bought] > 0).all()
    assert (spend[~bought] == 0).all()


def test_each_stage_implies_the_one_before() -> None:
    simulation = _simulation()
    impression, click, conversion = (_outcome(simulation, s) for s in simulation.effects.chain)
    assert (conversion <= click).all()
    assert (click <= impression).all()
    assert 0 < conversion.sum() < click.sum() < impression.sum() < len(impression)


def test_base_rates_and_uplifts_are_those_of_a_coupon_campaign() -> None:
    effects = _simulation().effects
    assert effects.mu("impression", "none").mean() == pytest.approx(0.6, abs=0.02)
    assert effects.rate("click", "none").mean() == pytest.approx(0.25, abs=0.03)
    assert effects.rate("conversion", "none").mean() == pytest.approx(0.2, abs=0.02)
    average = [effects.tau("conversion", arm).mean() for arm in effects.treated_arms]
    assert 0.005 < average[0] < average[1] < average[2] < 0.035
    assert average[2] - average[1] < average[1] - average[0] < average[0]  # saturates


# ---------------------------------------------------------------- the truth is consistent


def test_tau_is_mu_minus_mu_of_control_and_zero_for_control() -> None:
    effects = _simulation().effects
    assert np.array_equal(effects.tau_all, effects.mu_all - effects.mu_all[:, :1])


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    chain=st.integers(1, 5),
    arms=st.integers(1, 5),
    effect=st.floats(0, 5),
    heterogeneity=st.floats(0, 3),
    chain_bias=st.floats(0, 0.6),
    do_not_disturb=st.floats(0, 0.4),
    numeric=st.integers(3, 18),
    categorical=st.integers(0, 8),
    strata=st.sampled_from([0, 2, 5]),
    confounding=st.floats(0, 3),
    repeat_units=st.floats(0, 0.9),
    seed=st.integers(0, 2**63 - 1),
)
def test_any_knobs_give_a_valid_chain_campaign(chain: int, chain_bias: float, **knobs: object) -> None:
    simulation = simulate(
        rows=400,
        chain=[f"stage_{j}" for j in range(chain)],
        chain_bias=chain_bias if chain > 1 else None,
        **knobs,  # type: ignore[arg-type]
    )
    effects = simulation.effects
    probabilities = effects.mu_all[:, :, :chain]
    assert (probabilities > 0).all()
    assert (probabilities <= 1).all()
    assert (np.diff(probabilities, axis=2) <= 0).all()
    drawn = np.stack([_outcome(simulation, stage) for stage in effects.chain], axis=1)
    assert np.isin(drawn, [0, 1]).all()
    assert (np.diff(drawn, axis=1) <= 0).all()
    assert simulation.table.num_rows == len(effects) == 400
    features = int(knobs["numeric"]) + int(knobs["categorical"]) + 1  # type: ignore[call-overload]
    roles = 3 + chain + 1 + (knobs["strata"] != 0) + (knobs["confounding"] != 0)
    assert simulation.table.num_columns == features + roles
    if knobs["confounding"]:
        p_arm = simulation.table["p_arm"].to_numpy()
        assert ((p_arm > 0) & (p_arm <= 1)).all()


def test_zero_effect_means_tau_exactly_zero() -> None:
    effects = simulate(rows=5_000, effect=0).effects
    assert (effects.tau_all == 0).all()
    assert effects.mu_all.std(axis=0).min() > 0


def test_effect_scales_every_uplift() -> None:
    weak, strong = (np.abs(simulate(rows=5_000, effect=e).effects.tau_all[:, 1:]) for e in (0.5, 1.0))
    assert (strong > weak).all()


def test_bigger_coupons_move_everybody_further() -> None:
    tau = np.abs(_simulation().effects.tau_all)
    assert (np.diff(tau, axis=1) > 0).all()


def test_heterogeneity_spreads_the_relative_uplift_and_zero_removes_it() -> None:
    def spread(heterogeneity: float) -> float:
        effects = simulate(rows=20_000, heterogeneity=heterogeneity, chain_bias=0, do_not_disturb=0).effects
        treated, control = (
            np.log(rate / (1 - rate))
            for rate in (effects.rate("conversion", a).astype(float) for a in ("coupon_10", "none"))
        )
        return float((treated - control).std())

    assert spread(0) < 1e-5
    assert spread(0.5) < spread(1.0) < spread(2.0)


def test_truth_depends_on_categorical_features_and_on_interactions() -> None:
    simulation = _simulation(missing=0)
    frame, tau = simulation.frame, simulation.effects.tau("conversion", "coupon_15")
    regular = simulation.segments == "regular"
    for name in ("city", "channel"):
        groups = [tau[regular & (frame[name] == level)] for level in frame[name].unique()]
        assert stats.f_oneway(*[g for g in groups if len(g) > 50]).pvalue < 1e-6
    thrifty = frame["discount_share"].rank(pct=True).to_numpy() > 0.5
    desktop = (frame["device"] == "desktop").to_numpy()
    click = simulation.effects.tau("click", "coupon_15")
    gains = [
        click[regular & thrifty & d].mean() - click[regular & ~thrifty & d].mean()
        for d in (desktop, ~desktop)
    ]
    assert gains[1] > 1.2 * gains[0]


# ---------------------------------------------------------------- segments


@pytest.mark.parametrize("arm", ["coupon_5", "coupon_10", "coupon_15"])
def test_chain_bias_segments_have_click_and_conversion_given_click_uplifts_of_opposite_sign(arm: str) -> None:
    simulation = _simulation()
    effects, segments = simulation.effects, simulation.segments
    click = effects.tau("click", arm)
    given_click = effects.rate("conversion", arm) - effects.rate("conversion", "none")
    browser, loyal, regular = (segments == name for name in ("browser", "loyal", "regular"))
    assert (click[browser] > 0).all()
    assert (given_click[browser] < 0).all()
    assert (click[loyal] < 0).all()
    assert (given_click[loyal] > 0).all()
    assert (click[regular] > 0).all()
    assert (given_click[regular] > 0).all()


def test_ranking_by_click_uplift_and_by_conversion_given_click_uplift_disagree_under_chain_bias() -> None:
    def correlation(chain_bias: float) -> float:
        effects = simulate(rows=20_000, chain_bias=chain_bias, do_not_disturb=0).effects
        given_click = effects.rate("conversion", "coupon_10") - effects.rate("conversion", "none")
        return float(stats.spearmanr(effects.tau("click", "coupon_10"), given_click).statistic)

    assert correlation(0.8) < correlation(0.4) < correlation(0.0)
    assert correlation(0.8) < -0.2


@pytest.mark.parametrize("share", [0.0, 0.3, 0.7])
def test_chain_bias_share_is_the_share_of_opposite_signs(share: float) -> None:
    simulation = simulate(rows=30_000, chain_bias=share)
    effects = simulation.effects
    opposite = (
        effects.tau("click", "coupon_10")
        * (effects.rate("conversion", "coupon_10") - effects.rate("conversion", "none"))
        < 0
    )
    assert opposite.mean() == pytest.approx(share, abs=0.015 if share else 0)
    assert np.array_equal(opposite, np.isin(simulation.segments, ["browser", "loyal"]))


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5])
def test_do_not_disturb_share_is_the_share_with_negative_conversion_uplift(share: float) -> None:
    simulation = simulate(rows=30_000, do_not_disturb=share)
    for arm in simulation.effects.treated_arms:
        negative = simulation.effects.tau("conversion", arm) < 0
        assert negative.mean() == pytest.approx(share, abs=0.015 if share else 0)
        assert np.array_equal(negative, simulation.segments == "do_not_disturb")


def test_segments_can_cover_everybody() -> None:
    simulation = simulate(rows=2_000, chain_bias=0.8, do_not_disturb=0.2)
    assert not (simulation.segments == "regular").any()


# ---------------------------------------------------------------- assignment


@pytest.mark.parametrize("shares", [None, (0.7, 0.1, 0.1, 0.1)])
def test_arm_shares_are_as_planned(shares: tuple[float, ...] | None) -> None:
    counts = np.bincount(_arm_codes(_simulation(shares=shares)), minlength=4)
    assert stats.chisquare(counts, 60_000 * np.array(shares or (0.25,) * 4)).pvalue > 1e-4


def _feature_p_values(simulation: Simulation) -> np.ndarray:
    arm = _arm_codes(simulation)
    p_values = []
    for values in _complete_features(simulation).values():
        groups = [values[(arm == a) & np.isfinite(values)] for a in range(len(simulation.effects.arms))]
        p_values.append(stats.f_oneway(*groups).pvalue)
    return np.array(p_values)


def test_without_confounding_no_feature_predicts_the_arm() -> None:
    p_values = _feature_p_values(_simulation())
    assert len(p_values) == 12
    assert p_values.min() > 1e-3 / len(p_values)
    assert "p_arm" not in _simulation().table.column_names


def test_under_confounding_features_predict_the_arm_and_p_arm_is_its_rate() -> None:
    simulation = _simulation(confounding=1.0)
    assert _feature_p_values(simulation).min() < 1e-12
    # E[1 / p_arm; arm = a] = 1 for the true propensities, in every part of the population
    p_arm, arm = simulation.table["p_arm"].to_numpy(), _arm_codes(simulation)
    orders = simulation.table["orders_90d"].to_numpy()
    for part in (np.ones(len(arm), bool), orders == 0, orders >= 4):
        for code in range(4):
            weight = np.where(arm == code, 1 / p_arm, 0.0)[part]
            assert abs(_z_of_mean(weight - 1)) < Z_BOUND


def test_inverse_propensity_weighting_recovers_the_effect_that_the_naive_difference_misses() -> None:
    simulation = _simulation(confounding=1.0)
    p_arm, arm = simulation.table["p_arm"].to_numpy(), _arm_codes(simulation)
    outcome = _outcome(simulation, "conversion")
    truth = simulation.effects.tau("conversion", "coupon_15").mean()
    treated, control = outcome[arm == 3], outcome[arm == 0]
    naive_error = np.sqrt(treated.var() / len(treated) + control.var() / len(control))
    assert treated.mean() - control.mean() - truth > 5 * naive_error
    score = outcome * ((arm == 3) / p_arm - (arm == 0) / p_arm)
    assert abs(_z_of_mean(score - truth)) < Z_BOUND


def test_strata_have_their_own_arm_rates_and_base_rates_only_when_asked() -> None:
    for imbalance in (0.0, 1.0):
        simulation = _simulation(strata=4, strata_imbalance=imbalance)
        region = simulation.table["region"].to_pandas()
        arm = _arm_codes(simulation)
        counts = np.array([np.bincount(arm[region == name], minlength=4) for name in sorted(region.unique())])
        assert counts.shape == (4, 4)
        p_value = stats.chi2_contingency(counts).pvalue
        assert p_value < 1e-12 if imbalance else p_value > 1e-4
        base = simulation.effects.mu("click", "none")
        rates = [base[region == name].mean() for name in region.unique()]
        assert max(rates) > 1.2 * min(rates)
    assert "region" not in _simulation().table.column_names


def test_post_stratification_recovers_the_effect_under_unequal_strata() -> None:
    simulation = _simulation(rows=200_000, strata=2, strata_imbalance=2.0)
    region = simulation.table["region"].to_numpy(zero_copy_only=False)
    arm, outcome = _arm_codes(simulation), _outcome(simulation, "click")
    truth = simulation.effects.tau("click", "coupon_10").mean()
    naive = outcome[arm == 2].mean() - outcome[arm == 0].mean()
    estimate, variance = 0.0, 0.0
    for name in np.unique(region):
        inside = region == name
        treated, control = outcome[inside & (arm == 2)], outcome[inside & (arm == 0)]
        estimate += inside.mean() * (treated.mean() - control.mean())
        variance += inside.mean() ** 2 * (treated.var() / len(treated) + control.var() / len(control))
    assert abs(estimate - truth) < Z_BOUND * np.sqrt(variance)
    assert abs(naive - truth) > 5 * np.sqrt(variance)


# ---------------------------------------------------------------- the table


def test_repeated_units_keep_their_features_and_their_arm() -> None:
    simulation = simulate(rows=20_000, repeat_units=0.4, missing=0)
    frame = simulation.frame
    assert frame["customer_id"].nunique() == 12_000
    constant = ["orders_90d", "basket_mean", "age", "city", "device", "is_member", "coupon"]
    assert (frame.groupby("customer_id")[constant].nunique() == 1).all(axis=None)
    assert np.array_equal(simulation.effects.units.to_numpy(), frame["customer_id"].to_numpy())
    same = frame.groupby("customer_id")["impression"].nunique()
    assert (same > 1).any()  # outcomes are drawn anew


def test_missing_share_applies_to_every_feature_and_to_nothing_else() -> None:
    table = simulate(rows=50_000, missing=0.2, strata=3, confounding=0.5).table
    roles = {
        "customer_id",
        "sent_at",
        "region",
        "coupon",
        "p_arm",
        "impression",
        "click",
        "conversion",
        "gmv",
    }
    for name in table.column_names:
        share = table[name].null_count / table.num_rows
        assert share == pytest.approx(0.0 if name in roles else 0.2, abs=0.01)


def test_columns_look_like_marketing_data() -> None:
    table = simulate(rows=20_000, numeric=20, categorical=7, missing=0).table
    frame = table.to_pandas()
    assert frame["customer_id"].is_unique
    assert frame["sent_at"].is_monotonic_increasing
    assert frame["age"].between(18, 90).all()
    assert frame["discount_share"].between(0, 1).all()
    assert 40 < frame["basket_mean"].mean() < 80
    assert frame["city"].nunique() > 100
    assert frame["orders_90d"].corr(frame["days_since_order"]) < -0.1
    assert table.schema.field("click").type == pa.int8()
    assert table.schema.field("coupon").type == pa.string()
    assert {"behaviour_20", "attribute_7"} <= set(table.column_names)


@pytest.mark.parametrize(
    "chain", [("click", "conversion"), ("conversion",), ("seen", "opened", "click", "cart", "order")]
)
def test_chains_of_other_lengths(chain: tuple[str, ...]) -> None:
    simulation = simulate(rows=20_000, chain=chain, value=False)
    assert simulation.effects.stages == chain
    assert "gmv" not in simulation.table.column_names
    campaign = simulation.campaign()
    assert campaign.stages == chain
    arm = _arm_codes(simulation)
    mu = simulation.effects.mu_all[np.arange(len(arm)), arm]
    for s, stage in enumerate(chain):
        assert abs(_z_of_mean(_outcome(simulation, stage) - mu[:, s])) < Z_BOUND


def test_effects_do_not_depend_on_how_many_other_features_or_arms_there_are() -> None:
    small, large = simulate(rows=2_000), simulate(rows=2_000, numeric=18, arms=5, missing=0.5)
    assert np.array_equal(small.effects.tau("click", "coupon_10"), large.effects.tau("click", "coupon_10"))


# ---------------------------------------------------------------- reproducibility


def test_same_seed_same_bytes_other_seed_other_customers() -> None:
    first, again, other = simulate(rows=3_000), simulate(rows=3_000), simulate(rows=3_000, seed=1)
    assert first.table.equals(again.table)
    assert first.truth.equals(again.truth)
    assert not first.table["age"].equals(other.table["age"])
    assert not first.table["coupon"].equals(other.table["coupon"])


def test_bytes_do_not_depend_on_the_number_of_threads() -> None:
    program = (
        "import hashlib; from uplift.simulation import simulate; s = simulate(rows=70_000, confounding=0.5);"
        "from uplift.io.fingerprint import table_fingerprint as f; print(f(s.table), f(s.truth))"
    )
    prints = {
        subprocess.run(
            [sys.executable, "-c", program],
            env=os.environ | {"OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for threads in ("1", "4")
    }
    assert len(prints) == 1


def test_settings_reproduce_the_simulation() -> None:
    first = simulate(rows=1_000, amounts=[2.5, 20], chain=("click", "order"), strata=3, seed=5)
    again = simulate(**first.settings.to_dict())
    assert first.table.equals(again.table)


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("knobs", "words"),
    [
        ({"rows": 10}, "rows is 10"),
        ({"rows": 1e5}, "rows is 100000.0"),
        ({"numeric": 2}, "numeric is 2"),
        ({"categorical": -1}, "categorical is -1"),
        ({"arms": 0}, "arms is 0"),
        ({"amounts": []}, "amounts is empty"),
        ({"amounts": [5, 5]}, "distinct face values"),
        ({"amounts": [10, 5]}, "rising order"),
        ({"amounts": [5], "arms": 2}, "amounts has 1 entries but arms is 2"),
        ({"amounts": [-5]}, "an entry of amounts is -5"),
        ({"chain": []}, "chain is empty"),
        ({"chain": ["click", "click"]}, "names a stage twice"),
        ({"chain": ["click", "gmv"]}, "'gmv'"),
        ({"chain": ["click", "age"]}, "'age'"),
        ({"chain": ["a__b"]}, "'a__b'"),
        ({"chain": ["conversion"], "chain_bias": 0.3}, "has one stage"),
        ({"effect": -1}, "effect is -1"),
        ({"effect": float("nan")}, "effect is nan"),
        ({"heterogeneity": 9}, "heterogeneity is 9"),
        ({"chain_bias": 1.5}, "chain_bias is 1.5"),
        ({"chain_bias": 0.8, "do_not_disturb": 0.5}, "add up to more than 1"),
        ({"do_not_disturb": True}, "do_not_disturb is True"),
        ({"shares": [0.5, 0.5]}, "shares has 2 entries, expected 4"),
        ({"shares": [0.5, 0.2, 0.2, 0.2]}, "add up to 1.1"),
        ({"confounding": 4}, "confounding is 4"),
        ({"strata": 1}, "strata is 1"),
        ({"strata_imbalance": 0.5}, "needs strata"),
        ({"missing": 1.0}, "missing is 1.0"),
        ({"repeat_units": "half"}, "repeat_units is 'half'"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_knobs_out_of_range_are_refused_in_one_sentence(knobs: dict, words: str) -> None:
    with pytest.raises(SimulationError) as refusal:
        simulate(**({"rows": 100} | knobs))
    message = str(refusal.value)
    assert words in message
    assert message.endswith(".")
    assert "\n" not in message
    assert isinstance(refusal.value, UpliftError)


# ---------------------------------------------------------------- files


def test_write_round_trips_through_the_files(tmp_path: Path) -> None:
    simulation = simulate(rows=3_000, amounts=[2.5, 10], strata=3, strata_imbalance=0.5, confounding=0.5)
    folder = simulation.write(tmp_path / "demo")
    assert {p.name for p in folder.iterdir()} == {
        "campaign.parquet", "truth.parquet", "campaign.toml", "simulation.json",
    }  # fmt: skip
    assert pq.read_table(folder / "campaign.parquet").equals(simulation.table)
    truth = Effects.read_parquet(folder / "truth.parquet")
    assert np.array_equal(truth.mu_all, simulation.effects.mu_all)
    assert truth.unit_column == "customer_id"
    assert truth.arms == ("none", "coupon_2.5", "coupon_10")
    contract = tomllib.loads((folder / "campaign.toml").read_text())
    assert contract["campaign"]["chain"] == ["impression", "click", "conversion"]
    assert contract["arms"]["coupon_2.5"]["cost"] == {"on": "conversion", "amount": 2.5}
    assert set(contract["decide"]) == {"stage", "margin", "budget", "holdout"}
    record = json.loads((folder / "simulation.json").read_text())
    assert record["settings"] == simulation.settings.to_dict()


def test_the_written_campaign_file_is_the_campaign(tmp_path: Path) -> None:
    pytest.importorskip("uplift.campaign_file")
    from uplift.campaign import Campaign

    simulation = simulate(rows=3_000, amounts=[2.5, 10], strata=3, confounding=0.5)
    read = Campaign.from_file(simulation.write(tmp_path / "demo") / "campaign.toml")
    built = simulation.campaign()
    assert read.fingerprint() == built.fingerprint()
    assert read.arms == built.arms
    assert read.roles == built.roles
    assert read.arm_names == simulation.effects.arms
    assert read.stages == simulation.effects.stages
    assert np.array_equal(read.propensity, simulation.table["p_arm"].to_numpy())


def test_campaign_has_the_roles_of_the_table() -> None:
    simulation = _simulation()
    campaign = simulation.campaign()
    assert campaign.stages == simulation.effects.stages
    assert campaign.arm_names == simulation.effects.arms
    assert len(campaign.feature_names) == 12
    assert campaign.categorical_features == ("city", "channel", "device")
    assert campaign.costs["coupon_10"].amount == 10
    assert campaign.unit_ids.equals(simulation.effects.units)


def test_write_keeps_what_is_there_unless_told_and_never_deletes_foreign_files(tmp_path: Path) -> None:
    simulation, other = simulate(rows=500), simulate(rows=600)
    simulation.write(tmp_path / "demo")
    with pytest.raises(OutputError, match="already holds files"):
        other.write(tmp_path / "demo")
    assert pq.read_table(tmp_path / "demo" / "campaign.parquet").num_rows == 500
    other.write(tmp_path / "demo", overwrite=True)
    assert pq.read_table(tmp_path / "demo" / "campaign.parquet").num_rows == 600
    (tmp_path / "demo" / "thesis.docx").write_text("years of work")
    with pytest.raises(OutputError, match="did not write"):
        simulation.write(tmp_path / "demo", overwrite=True)
    assert (tmp_path / "demo" / "thesis.docx").exists()
