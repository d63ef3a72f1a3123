"""ECUP learns known effects from campaigns, reproducibly, and comes back from disk bit for bit."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from uplift.campaign import Campaign
from uplift.errors import ModelError
from uplift.models.base import ModelWarning
from uplift.models.ecup import ECUP
from uplift.models.neural import model as model_module
from uplift.models.neural.averaging import MovingAverage
from uplift.models.neural.engine import check_validation, received, score
from uplift.models.neural.rows import load_rows
from uplift.models.row_weights import row_weights
from uplift.models.stray_values import STRAY
from uplift.simulation import simulate

pytestmark = pytest.mark.usefixtures("one_thread")

QUICK: dict[str, Any] = {
    "device": "cpu",
    "hidden": (32, 16),
    "gate_hidden": 16,
    "embedding_dim": 8,
    "max_epochs": 3,
}


def same(first: np.ndarray, second: np.ndarray) -> bool:
    return bool(np.array_equal(first, second))


@pytest.fixture(scope="module")
def small() -> Campaign:
    """3,000 rows with categories, missing values, three stages, a value and four arms."""
    return simulate(rows=3000, numeric=4, categorical=2, missing=0.1, seed=3).campaign()


@pytest.fixture(scope="module")
def fitted(small: Campaign) -> ECUP:
    return ECUP(**QUICK).fit(small)


# ---------------------------------------------------------------- it learns


def test_predicted_effects_follow_the_true_effects_of_a_simulated_campaign() -> None:
    knobs: dict[str, Any] = {
        "numeric": 5,
        "categorical": 1,
        "arms": 1,
        "chain": ("click", "conversion"),
        "value": True,
    }
    fresh = simulate(rows=5000, seed=2, **knobs)
    truth, audience = fresh.true_effects(), fresh.campaign()
    effects = (
        ECUP(device="cpu", batch_size=512, max_epochs=8)
        .fit(simulate(rows=24_000, seed=1, **knobs).campaign())
        .predict(audience)
    )
    (arm,) = truth.treated_arms
    for stage, floor in (("click", 0.7), ("conversion", 0.5), ("value", 0.45)):
        assert np.corrcoef(effects.tau(stage, arm), truth.tau(stage, arm))[0, 1] > floor, stage
        assert np.corrcoef(effects.mu(stage, arm), truth.mu(stage, arm))[0, 1] > 0.8, stage
        outcome = audience.outcome(stage)
        assert effects.mu_all[..., effects.stages.index(stage)].mean() == pytest.approx(
            outcome.mean(), rel=0.2
        ), stage


def opposite_signs(rows: int, seed: int) -> tuple[Campaign, np.ndarray]:
    """A coupon that makes browsers click more and buy less per click, and loyals the reverse; and true CTCVR uplift."""
    rng = np.random.default_rng(seed)
    browser, taste, coupon = rng.random(rows) < 0.5, rng.normal(size=rows), rng.integers(0, 2, rows)
    #                         control, coupon
    click = np.where(browser[:, None], [0.20, 0.50], [0.50, 0.25])
    conversion = np.where(browser[:, None], [0.50, 0.35], [0.30, 0.40])
    taken = np.arange(rows), coupon
    clicked = rng.random(rows) < click[taken]
    bought = clicked & (rng.random(rows) < conversion[taken])
    noisy = np.where(browser, 1.0, -1.0) + rng.normal(scale=0.3, size=rows)
    frame = pd.DataFrame({"kind": noisy, "taste": taste, "coupon": coupon, "click": clicked, "buy": bought})
    campaign = Campaign.from_frame(frame, treatment="coupon", control=0, chain=["click", "buy"])
    rates = click * conversion
    return campaign, rates[:, 1] - rates[:, 0]


def test_entire_space_ranking_beats_click_space_ranking_under_opposite_effects() -> None:
    train, _ = opposite_signs(12_000, 0)
    audience, truth = opposite_signs(5000, 1)
    effects = ECUP(device="cpu", batch_size=512, max_epochs=8).fit(train).predict(audience)
    entire = effects.tau("buy", "1")
    click_space = effects.rate("buy", "1") - effects.rate("buy", "0")

    def gain(ranking: np.ndarray) -> float:
        return float(truth[np.argsort(-ranking)[: len(ranking) // 2]].mean())

    best = gain(truth)
    assert gain(entire) > 0.9 * best > 0
    assert gain(click_space) < 0
    assert np.corrcoef(entire, truth)[0, 1] > 0.8
    assert np.corrcoef(click_space, truth)[0, 1] < -0.5


def test_no_effect_is_found_where_there_is_none() -> None:
    knobs: dict[str, Any] = {
        "numeric": 4,
        "categorical": 1,
        "arms": 1,
        "chain": ("click", "conversion"),
        "value": False,
    }
    train = simulate(rows=12_000, seed=1, effect=0.0, **knobs).campaign()
    effects = ECUP(device="cpu", max_epochs=5, criterion="loss").fit(train).predict(train)
    arm = effects.treated_arms[0]
    # The difference in means of a campaign of this size has a standard error of about 0.004 at conversion.
    assert abs(effects.tau("conversion", arm).mean()) < 0.015
    assert effects.tau("conversion", arm).std() < 0.3 * effects.mu("conversion", arm).std()


@pytest.mark.parametrize("chain", [("buy",), ("click", "buy"), ("seen", "visit", "click", "buy")])
@pytest.mark.parametrize("value", [False, True])
def test_any_number_of_stages_with_and_without_a_value(chain: tuple[str, ...], value: bool) -> None:
    campaign = simulate(
        rows=2000, numeric=3, categorical=1, arms=2, chain=chain, value=value, seed=5
    ).campaign()
    effects = ECUP(**QUICK | {"max_epochs": 2, "criterion": "loss"}).fit(campaign).predict(campaign)
    assert effects.mu_all.shape == (2000, 3, len(chain) + value)
    assert effects.stages == (*chain, "value") if value else chain
    binary = effects.mu_all[..., : len(chain)]
    assert (binary[..., 1:] <= binary[..., :-1]).all()
    assert (effects.tau_all[:, 0] == 0).all()
    assert (effects.mu_all >= 0).all()


def test_value_is_the_rate_times_a_spend_that_matches_the_buyers(small: Campaign, fitted: ECUP) -> None:
    assert fitted.value_loss_ == "lognormal"
    rows = load_rows(small, fitted.schema_, weights=None, device=torch.device("cpu"))
    buyers = rows.take((rows.outcomes[:, -1] > 0).nonzero().squeeze(1))
    network = fitted.network_
    assert network.value is not None
    output = received(
        score(network, buyers.numeric, buyers.categorical, torch.device("cpu")), buyers.treatment
    )
    assert output.value is not None
    assert buyers.value is not None
    spend = network.value.mean(output.value)
    # Exact on the training part; the campaign here also holds the validation tenth.
    assert float(spend.mean()) == pytest.approx(float(buyers.value.mean()), rel=0.05)
    effects = fitted.predict(small)
    implied = effects.mu("value", "none") / effects.mu("conversion", "none")
    assert implied.max() <= float(buyers.value.max()) * 1.5
    assert implied.min() > 0


def returns(rows: int = 12_000, *, mean: float = -6.0, spread: float = 8.0, seed: int = 0) -> Campaign:
    """A margin per order that is mostly negative, and 4 higher under the coupon; clicks and orders are the same."""
    rng = np.random.default_rng(seed)
    coupon = rng.integers(0, 2, rows)
    click = rng.random(rows) < 0.6
    buy = click & (rng.random(rows) < 0.6)
    margin = np.where(buy, rng.normal(mean, spread, rows) + 4.0 * coupon, 0.0)
    frame = pd.DataFrame(
        {"x": rng.normal(size=rows), "coupon": coupon, "click": click, "buy": buy, "margin": margin}
    )
    return Campaign.from_frame(frame, treatment="coupon", control=0, chain=["click", "buy"], value="margin")


@pytest.mark.parametrize(
    ("mean", "spread"),
    [(-6.0, 8.0), (-40.0, 3.0), (1.0, 8.0)],
    ids=["mostly negative", "all negative", "mixed"],
)
def test_effects_on_signed_values_have_the_sign_and_size_of_the_experiment(
    mean: float, spread: float
) -> None:
    campaign = returns(mean=mean, spread=spread)
    value, treated = campaign.outcome("value"), campaign.arm_codes == 1
    assert value[treated].mean() - value[~treated].mean() > 0.5
    model = ECUP(**QUICK | {"max_epochs": 8, "batch_size": 512}).fit(campaign)
    assert model.value_loss_ == "mse"
    effects = model.predict(campaign)
    truth = 0.6 * 0.6 * 4.0
    assert effects.tau("value", "1").mean() == pytest.approx(truth, rel=0.25)
    assert effects.mu_all[..., -1].mean() == pytest.approx(value.mean(), rel=0.1, abs=0.05)
    assert (effects.tau("value", "1") > 0).all()


def test_the_loss_of_the_value_follows_its_sign_and_comes_back_from_disk(
    small: Campaign, tmp_path: Path
) -> None:
    signed = returns(2000)
    with pytest.raises(
        ModelError, match=r"not positive in \d+ of \d+ rows that reached 'buy'; use value_loss='mse'"
    ):
        ECUP(**QUICK, value_loss="lognormal").fit(signed)
    knobs = QUICK | {"max_epochs": 1}
    both = [ECUP(**knobs, value_loss=loss).fit(small) for loss in ("lognormal", "mse")]
    assert same(ECUP(**knobs).fit(small).predict(small).mu_all, both[0].predict(small).mu_all)
    assert not same(both[1].predict(small).mu_all, both[0].predict(small).mu_all)
    model = ECUP(**knobs).fit(signed)
    model.save(tmp_path / "model")
    loaded = ECUP.load(tmp_path / "model")
    assert loaded.value_loss_ == "mse"
    assert same(loaded.predict(signed).mu_all, model.predict(signed).mu_all)


# ---------------------------------------------------------------- reproducible, storable


def test_same_seed_gives_the_same_predictions_and_leaves_the_global_random_state_alone(
    small: Campaign, fitted: ECUP
) -> None:
    torch.manual_seed(123)
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    again = ECUP(**QUICK).fit(small)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads
    assert same(again.predict(small).mu_all, fitted.predict(small).mu_all)
    other = ECUP(**QUICK, random_state=1).fit(small)
    assert not same(other.predict(small).mu_all, fitted.predict(small).mu_all)


def test_saved_and_loaded_model_predicts_bit_equal(small: Campaign, fitted: ECUP, tmp_path: Path) -> None:
    folder = fitted.save(tmp_path / "model")
    assert sorted(path.name for path in folder.iterdir()) == ["model.json", "model.safetensors"]
    content = json.loads((folder / "model.json").read_text())
    assert {"uplift", "torch", "safetensors"} <= content["versions"].keys()
    loaded = ECUP.load(folder)
    assert same(loaded.predict(small).mu_all, fitted.predict(small).mu_all)
    assert loaded.history_ == fitted.history_
    assert {
        k: list(v) if isinstance(v, tuple) else v for k, v in fitted.get_params().items()
    } == loaded.get_params()


@pytest.mark.parametrize("damage", ["truncate", "remove", "other"])
def test_damaged_weights_are_named(fitted: ECUP, tmp_path: Path, damage: str) -> None:
    folder = fitted.save(tmp_path / "model")
    weights = folder / "model.safetensors"
    if damage == "truncate":
        weights.write_bytes(weights.read_bytes()[:1000])
    elif damage == "remove":
        weights.unlink()
    else:
        content = json.loads((folder / "model.json").read_text())
        content["params"]["gate_hidden"] = 8
        (folder / "model.json").write_text(json.dumps(content))
    with pytest.raises(ModelError, match="damaged or incomplete"):
        ECUP.load(folder)


def test_predictions_do_not_depend_on_the_rows_around(small: Campaign, fitted: ECUP) -> None:
    some = np.array([5, 17, 2999, 0])
    np.testing.assert_allclose(
        fitted.predict(small.take(some)).mu_all, fitted.predict(small).mu_all[some], rtol=1e-5, atol=1e-6
    )


def test_audience_without_treatment_and_outcomes_is_scored(small: Campaign, fitted: ECUP) -> None:
    audience = small.audience(small.table.select([small.unit_column, *small.feature_names]))
    assert same(fitted.predict(audience).mu_all, fitted.predict(small).mu_all)


def test_scoring_data_that_lack_a_feature_are_refused_by_name(small: Campaign, fitted: ECUP) -> None:
    name = small.numeric_features[0]
    roles = {"treatment": "coupon", "control": "none", "chain": list(small.chain), "value": small.roles.value}
    without = Campaign.from_table(small.table.drop_columns([name]), unit=small.roles.unit, **roles)
    with pytest.raises(ModelError, match=name):
        fitted.predict(without)


def test_values_and_categories_never_seen_in_training_give_finite_effects(
    fitted: ECUP, small: Campaign
) -> None:
    frame = small.table.to_pandas()
    for name in small.numeric_features:
        frame[name] = np.nan
    for name in small.categorical_features:
        frame[name] = "never seen"
    audience = small.audience(frame)
    effects = fitted.predict(audience)
    assert np.isfinite(effects.mu_all).all()
    assert np.ptp(effects.mu_all, axis=0).max() < 1e-5 * effects.mu_all.max()  # all rows look alike now


# ---------------------------------------------------------------- training


def test_history_tells_the_best_epoch_and_patience_ends_training(small: Campaign) -> None:
    model = ECUP(**QUICK | {"max_epochs": 30, "patience": 2, "criterion": "loss", "learning_rate": 0.02}).fit(
        small
    )
    losses = [entry["validation_loss"] for entry in model.history_]
    best = int(np.argmin(losses))
    assert len(losses) == best + 1 + 2 < 30
    assert [i for i, entry in enumerate(model.history_) if entry["kept"]][-1] == best
    assert model.history_[0]["loss"] > model.history_[best]["loss"]
    assert all(entry["rows_per_second"] > 0 for entry in model.history_)


def test_the_plot_of_the_training_is_that_of_its_history(fitted: ECUP) -> None:
    figure = fitted.plot_training()
    loss = next(trace for trace in figure.data if trace.name == "validation loss")
    kept = next(trace for trace in figure.data if trace.name == "kept epoch")
    assert list(loss.y) == [entry["validation_loss"] for entry in fitted.history_]
    assert list(kept.x) == [entry["epoch"] for entry in fitted.history_ if entry["kept"]]
    assert "conversion" in figure.layout.title.subtitle.text
    with pytest.raises(ModelError, match="not fitted"):
        ECUP().plot_training()


def test_kept_weights_are_those_of_the_best_epoch(small: Campaign) -> None:
    train, held = small.split(test=0.3, seed=0)
    knobs = QUICK | {"criterion": "loss", "learning_rate": 0.02}
    long = ECUP(**knobs | {"max_epochs": 12, "patience": 12}).fit(train, validation=held)
    best = 1 + int(np.argmin([entry["validation_loss"] for entry in long.history_]))
    assert best < 12
    short = ECUP(**knobs | {"max_epochs": best}).fit(train, validation=held)
    assert same(short.predict(held).mu_all, long.predict(held).mu_all)


def test_moving_average_of_the_weights_removes_the_noise_of_the_last_steps(fitted: ECUP) -> None:
    network = copy.deepcopy(fitted.network_)
    noise = torch.Generator().manual_seed(0)
    last, smooth = MovingAverage(network, 0.0), MovingAverage(network, 0.98)
    for _ in range(900):
        with torch.no_grad():
            network.tower.weights[0].normal_(generator=noise)
        last.update()
        smooth.update()
    assert torch.equal(last.network.tower.weights[0], network.tower.weights[0])
    # Variance of an average with weights 0.02 * 0.98^k is 0.02 / 1.98.
    assert smooth.network.tower.weights[0].std().item() == pytest.approx((0.02 / 1.98) ** 0.5, rel=0.1)
    assert torch.equal(smooth.network.heads.weight, network.heads.weight)


def test_rare_stages_start_at_their_base_rates() -> None:
    rng = np.random.default_rng(0)
    click = rng.random(4000) < 0.02
    frame = pd.DataFrame({"x": rng.normal(size=4000), "t": rng.integers(0, 2, 4000), "click": click})
    frame["buy"] = click & (rng.random(4000) < 0.1)
    campaign = Campaign.from_frame(frame, treatment="t", control=0, chain=["click", "buy"])
    model = ECUP(device="cpu", max_epochs=1, learning_rate=1e-9, criterion="loss").fit(campaign)
    mean = model.predict(campaign).mu_all.mean(axis=(0, 1))
    np.testing.assert_allclose(mean, campaign.outcomes.mean(0), rtol=0.5)


def test_interrupted_fit_raises_and_leaves_the_model_unfitted(
    small: Campaign, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = ECUP(**QUICK, verbose=True).fit(small)

    class Interrupting(model_module.TrainingProgress):
        def on_batch(self, rows: int) -> None:
            raise KeyboardInterrupt

    monkeypatch.setattr(model_module, "TrainingProgress", Interrupting)
    with pytest.raises(KeyboardInterrupt):
        model.fit(small)
    with pytest.raises(ModelError, match="not fitted"):
        model.predict(small)


def test_ablated_models_fit_and_come_back_from_disk(small: Campaign, tmp_path: Path) -> None:
    knobs = QUICK | {"max_epochs": 1}
    seen = []
    for number, switch in enumerate(
        (
            {},
            {"tenet": False},
            {"taenet": False},
            {"tau_units": 1},
            {"stop_gradient": False},
            {"share_tower": False},
            {"loss_space": "conditional"},
            {"gamma": 1.0},
            {"bit_level": "f*d"},
            {"stage_weights": (0.1, 1.0, 10.0)},
            {"attention_dim": 4},
        )
    ):
        model = ECUP(**knobs | switch).fit(small)
        mu = model.predict(small).mu_all
        assert not any(same(mu, other) for other in seen), switch
        seen.append(mu)
        model.save(tmp_path / str(number))
        assert same(ECUP.load(tmp_path / str(number)).predict(small).mu_all, mu), switch


# ---------------------------------------------------------------- weights


def test_stabilised_inverse_propensities_undo_confounded_assignment() -> None:
    campaign = simulate(
        rows=20_000, numeric=3, categorical=1, arms=1, confounding=1.0, missing=0.0, seed=1
    ).campaign()
    found = row_weights(campaign, clip=50.0)
    assert found is not None
    weights = found.values
    assert weights.mean() == pytest.approx(1.0)
    treated = campaign.arm_codes == 1
    gaps = []
    for name in campaign.numeric_features:
        x = campaign.table[name].to_numpy().astype(float)
        x = (x - x.mean()) / x.std()
        raw = x[treated].mean() - x[~treated].mean()
        weighted = np.average(x[treated], weights=weights[treated]) - np.average(
            x[~treated], weights=weights[~treated]
        )
        gaps.append((abs(raw), abs(weighted)))
    raw, weighted = np.max(gaps, axis=0)
    assert raw > 0.2
    assert weighted < 0.05
    flat = row_weights(campaign, clip=1e-9)
    assert flat is not None
    assert flat.values == pytest.approx(np.ones(len(campaign)))
    assert flat.clipped == len(campaign)


def test_randomised_campaigns_are_not_weighted(small: Campaign) -> None:
    assert row_weights(small, clip=10.0) is None


def regions(rows: int, *, rates: tuple[float, float] = (0.1, 0.9), seed: int = 0) -> pd.DataFrame:
    """Six regions whose treatment rate rises with their base rate; the coupon adds 5 points everywhere."""
    rng = np.random.default_rng(seed)
    region = rng.integers(0, 6, rows)
    rate = np.linspace(*rates, 6)[region]
    sent = rng.random(rows) < rate
    buy = rng.random(rows) < np.linspace(0.1, 0.6, 6)[region] + 0.05 * sent
    frame = pd.DataFrame({"x": rng.normal(size=rows), "region": region, "sent": sent.astype(int), "buy": buy})
    frame["p"] = np.where(sent, rate, 1 - rate)
    return frame


@pytest.mark.parametrize("role", [{"strata": ["region"]}, {"propensity": "p"}], ids=["strata", "propensity"])
@pytest.mark.parametrize("features", [["x"], ["x", "region"]], ids=["hidden", "seen"])
def test_regions_treated_at_different_rates_are_not_taken_for_an_effect(role: dict, features: list) -> None:
    frame = regions(20_000, seed=1)
    roles: dict[str, Any] = {"treatment": "sent", "control": 0, "chain": ["buy"]}
    cells = frame.groupby(["region", "sent"]).buy.mean().unstack()
    adjusted = float(((cells[1] - cells[0]) * frame.region.value_counts(normalize=True)).sum())
    naive = frame.buy[frame.sent == 1].mean() - frame.buy[frame.sent == 0].mean()
    assert naive > 0.2 > 0.07 > adjusted
    campaign = Campaign.from_frame(frame, **roles, **role, features=features)
    effects = ECUP(**QUICK | {"max_epochs": 6}).fit(campaign).predict(campaign)
    assert effects.tau("buy", "1").mean() == pytest.approx(adjusted, abs=0.02)


def test_rows_whose_weight_is_cut_are_counted(recwarn: pytest.WarningsRecorder) -> None:
    frame = regions(3000, rates=(0.01, 0.6))
    roles: dict[str, Any] = {"treatment": "sent", "control": 0, "chain": ["buy"], "features": ["x"]}
    campaign = Campaign.from_frame(frame, propensity="p", **roles)
    ratio = np.where(frame.sent == 1, frame.sent.mean(), 1 - frame.sent.mean()) / frame.p
    cut = int((ratio > 10).sum())
    assert 0 < cut < 100
    with pytest.warns(ModelWarning, match=f"{cut} of 3,000 rows .{cut / 3000:.2%}. to 10 .the largest is 3"):
        ECUP(**QUICK | {"max_epochs": 1}).fit(campaign)
    recwarn.clear()
    ECUP(**QUICK | {"max_epochs": 1, "propensity_clip": 100.0}).fit(campaign)
    assert not [found for found in recwarn if found.category is ModelWarning]


def test_weights_reach_the_loss(small: Campaign) -> None:
    frame = small.table.to_pandas()
    roles = {"unit": small.roles.unit, "treatment": "coupon", "control": "none", "chain": list(small.chain), "value": small.roles.value}  # fmt: skip
    plain = Campaign.from_frame(frame, **roles)
    frame["w"] = 2.0
    constant = Campaign.from_frame(frame, weight="w", **roles)
    frame["w"] = np.where(frame["conversion"] == 1, 3.0, 1.0)
    tilted = Campaign.from_frame(frame, weight="w", **roles)
    value = frame[small.roles.value]
    frame["w"] = np.where(value > value[value > 0].median(), 5.0, 1.0)
    lavish = Campaign.from_frame(frame, weight="w", **roles)
    effects = [ECUP(**QUICK).fit(c).predict(plain) for c in (plain, constant, tilted, lavish)]
    mean = [one.mu("conversion", "none").mean() for one in effects]
    spend = [one.mu("value", "none").mean() / one.mu("conversion", "none").mean() for one in effects]
    assert mean[0] == pytest.approx(mean[1], rel=1e-4)
    assert mean[2] > 1.5 * mean[0]
    assert spend[2] == pytest.approx(spend[0], rel=0.05)
    assert spend[3] > 1.2 * spend[0]


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("option", "given"),
    [
        ("embedding_dim", 15),
        ("embedding_dim", 0),
        ("hidden", ()),
        ("hidden", (64, 0)),
        ("gate_hidden", 2.5),
        ("hidden", 64),
        ("learning_rate", "fast"),
        ("max_epochs", True),
        ("tenet", 1),
        ("value_loss", "huber"),
        ("stage_weights", ("a", 1.0, 1.0)),
        ("validation_fraction", 1.0),
        ("random_state", None),
        ("gamma", -1.0),
        ("bit_level", "df"),
        ("criterion", "auc"),
        ("loss_space", "entirely"),
        ("tau_units", 3),
        ("share_gates", True),
        ("stage_weights", (1.0,)),
        ("value_weight", float("nan")),
        ("learning_rate", 0.0),
        ("batch_size", 0),
        ("averaging", 1.0),
        ("propensity_clip", 0.0),
        ("device", "cuda:99"),
        ("device", "gpu"),
    ],
)
def test_unusable_options_are_refused_by_name(small: Campaign, option: str, given: Any) -> None:
    with pytest.raises(ModelError, match=option):
        ECUP(**{option: given}).fit(small)


def test_validation_rows_that_cannot_tell_are_refused(small: Campaign, fitted: ECUP) -> None:
    rows = load_rows(small, fitted.schema_, weights=None, device=torch.device("cpu"))
    with pytest.raises(ModelError, match="'coupon_5' has no row"):
        check_validation(
            rows.take((rows.treatment != 1).nonzero().squeeze(1)), arms=fitted.arms_, stage="conversion"
        )
    dull = rows.take((rows.outcomes[:, -1] == 0).nonzero().squeeze(1))
    with pytest.raises(ModelError, match="reached 'conversion'"):
        check_validation(dull, arms=fitted.arms_, stage="conversion")
    other = simulate(rows=500, numeric=4, categorical=2, arms=1, seed=3).campaign()
    with pytest.raises(ModelError, match="validation campaign"):
        ECUP(**QUICK).fit(small, validation=other)


def test_a_few_values_without_the_last_stage_are_ignored_and_counted(small: Campaign) -> None:
    from uplift.checks.outcomes import BROKEN

    assert STRAY == BROKEN  # what 'uplift check' lets pass, a model must take
    value, last = small.roles.value, small.chain[-1]
    frame = small.table.to_pandas()
    roles: dict[str, Any] = {"unit": small.roles.unit, "treatment": "coupon", "control": "none", "chain": list(small.chain), "value": value}  # fmt: skip
    clean = ECUP(**QUICK).fit(Campaign.from_frame(frame, **roles))
    without = np.flatnonzero(frame[last] == 0)
    few = max(1, int(0.009 * (frame[value] != 0).sum()))
    frame.loc[without[:few], value] = -5000.0
    model = ECUP(**QUICK)
    with pytest.warns(ModelWarning, match=f"ignores the value of {few} rows that did not reach '{last}'"):
        model.fit(Campaign.from_frame(frame, **roles))
    assert model.value_loss_ == "lognormal"
    assert same(model.network_.heads.weight.detach().numpy(), clean.network_.heads.weight.detach().numpy())
    frame.loc[without[: 3 * few], value] = 5.0
    with pytest.raises(ModelError, match=f"not 0 in {3 * few} rows"):
        ECUP(**QUICK).fit(Campaign.from_frame(frame, **roles))


def test_value_without_the_last_stage_is_refused() -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"x": rng.normal(size=200), "t": [0, 1] * 100, "buy": [0, 0, 1, 1] * 50, "gmv": 9.0})
    campaign = Campaign.from_frame(frame, treatment="t", control=0, chain=["buy"], value="gmv")
    with pytest.raises(ModelError, match="100 rows that did not reach 'buy'"):
        ECUP(**QUICK).fit(campaign)


def test_divergence_is_reported_and_not_returned(small: Campaign) -> None:
    with pytest.raises(ModelError, match="learning_rate"):
        ECUP(**QUICK | {"learning_rate": 1e30}).fit(small)


def test_predictions_do_not_depend_on_torchs_thread_count() -> None:
    campaign = simulate(rows=4_000, seed=2).campaign()
    before = torch.get_num_threads()
    try:
        effects = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            effects.append(ECUP(max_epochs=2, random_state=3).fit(campaign).predict(campaign))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert np.array_equal(effects[0].mu_all, effects[1].mu_all)
