"""ECUP with other fields: coupons it never saw, curves, buckets; refused by name or scored sensibly, and saved."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

from uplift import Arm, Campaign
from uplift.errors import ModelError
from uplift.models.base import ModelWarning
from uplift.models.duplicates import first_of_each
from uplift.models.ecup import ECUP
from uplift.models.ecup.extra_fields import ExtraFields
from uplift.models.ecup.network import EcupNetwork
from uplift.models.neural.layers import uniform
from uplift.simulation import simulate

pytestmark = pytest.mark.usefixtures("one_thread")

QUICK: dict[str, Any] = {
    "device": "cpu",
    "hidden": (32, 16),
    "gate_hidden": 16,
    "embedding_dim": 8,
    "max_epochs": 2,
    "criterion": "loss",
}


@pytest.fixture(scope="module")
def small() -> Campaign:
    """3,000 rows, three coupons with amounts and thresholds, categories, missing values, a value."""
    campaign = simulate(
        rows=3000, numeric=4, categorical=2, missing=0.1, amounts=[5, 10, 20], seed=3
    ).campaign()
    return with_arms(campaign, {"coupon_5": (5, 30), "coupon_10": (10, 60), "coupon_20": (20, 60)})


def with_arms(campaign: Campaign, known: dict[str, tuple[float | None, float | None]]) -> Campaign:
    """`campaign` with other amounts and thresholds."""
    arms = tuple(
        Arm(name=arm.name, amount=known[arm.name][0], threshold=known[arm.name][1])
        if arm.name in known
        else arm
        for arm in campaign.arms
    )
    return replace(campaign, arms=arms)


def without(campaign: Campaign, arm: str) -> Campaign:
    """`campaign` as if `arm` had never been sent."""
    kept = campaign.arm_codes != campaign.arm_index(arm)
    roles = campaign.roles
    return Campaign.from_table(
        campaign.table.filter(pa.array(kept)),
        treatment=roles.treatment,
        control=roles.control,
        chain=list(roles.chain),
        unit=roles.unit,
        value=roles.value,
        arms={one.name: {"amount": one.amount} for one in campaign.arms[1:] if one.name != arm},
    )


# ---------------------------------------------------------------- other arms


@pytest.mark.parametrize("encoding", ["amount", pytest.param("both", marks=pytest.mark.slow)])
def test_a_coupon_that_was_never_sent_is_scored_between_its_neighbours(encoding: str) -> None:
    knobs: dict[str, Any] = {
        "numeric": 4,
        "categorical": 1,
        "amounts": [5, 10, 15, 20, 25],
        "chain": ("click", "conversion"),
        "value": False,
    }
    train = without(simulate(rows=16_000, seed=1, **knobs).campaign(), "coupon_15")
    fresh = simulate(rows=5000, seed=2, **knobs)
    truth = fresh.true_effects()
    model = ECUP(device="cpu", batch_size=512, max_epochs=6, arm_encoding=encoding).fit(train)  # type: ignore[arg-type]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        effects = model.predict(fresh.campaign())
    assert effects.arms == ("none", "coupon_5", "coupon_10", "coupon_15", "coupon_20", "coupon_25")
    for stage in ("click", "conversion"):
        found, known = effects.tau_all[:, 1:], truth.tau_all[:, 1:]
        found, known = (tau[..., effects.stages.index(stage)] for tau in (found, known))
        mean = found.mean(0)
        assert mean[1] < mean[2] < mean[3], stage
        assert mean[2] == pytest.approx(known[:, 2].mean(), rel=0.35), stage
        skill = [np.corrcoef(found[:, arm], known[:, arm])[0, 1] for arm in range(5)]
        assert skill[2] > 0.55, stage
        # As good as for the coupons beside it, which were sent to 2,700 customers each.
        assert skill[2] > min(skill[1], skill[3]) - 0.03, stage


@pytest.fixture(scope="module")
def by_amount(small: Campaign) -> ECUP:
    return ECUP(**QUICK, arm_encoding="amount").fit(small)


@pytest.fixture(scope="module")
def by_both(small: Campaign) -> ECUP:
    return ECUP(**QUICK | {"learning_rate": 0.02}, arm_encoding="both").fit(small)


def audience(campaign: Campaign, arms: dict[str, Any]) -> Campaign:
    return campaign.audience(campaign.table, arms=arms)


@pytest.mark.parametrize("name", ["by_amount", "by_both"])
def test_an_arms_effect_does_not_depend_on_which_others_are_scored(
    name: str, small: Campaign, request: pytest.FixtureRequest
) -> None:
    model: ECUP = request.getfixturevalue(name)
    everything = model.predict(small)
    alone = model.predict(audience(small, {"coupon_10": {"amount": 10.0, "threshold": 60.0}}))
    assert alone.arms == ("none", "coupon_10")
    np.testing.assert_allclose(alone.mu_all[:, 1], everything.mu_all[:, 2], rtol=1e-4, atol=1e-5)
    # The arm's name says which coupon it is where nothing else is said.
    np.testing.assert_array_equal(model.predict(audience(small, {"coupon_10": {}})).mu_all, alone.mu_all)
    unsaid = with_arms(small, dict.fromkeys(small.arm_names[1:], (None, None)))
    np.testing.assert_array_equal(model.predict(unsaid).mu_all, everything.mu_all)


def test_a_new_name_keeps_the_amounts_effect_and_loses_the_arms_own(
    small: Campaign, by_amount: ECUP, by_both: ECUP
) -> None:
    renamed = audience(small, {"ten_off": {"amount": 10.0, "threshold": 60.0}})
    named = audience(small, {"coupon_10": {}})
    np.testing.assert_array_equal(by_amount.predict(renamed).mu_all, by_amount.predict(named).mu_all)
    deviation = by_both.network_.treatment.deviation  # type: ignore[union-attr]
    assert isinstance(deviation, torch.Tensor)
    assert deviation.abs().max() > 0.01
    shift = by_both.predict(renamed).mu_all[:, 1] - by_both.predict(named).mu_all[:, 1]
    assert np.abs(shift).max() > 1e-4
    other_threshold = audience(small, {"coupon_10": {"amount": 10.0, "threshold": 45.0}})
    assert (by_both.predict(other_threshold).mu_all != by_both.predict(named).mu_all)[:, 1].any()


def test_amounts_outside_the_training_range_are_scored_with_a_warning(
    small: Campaign, by_amount: ECUP
) -> None:
    with pytest.warns(ModelWarning, match="arm 'coupon_40' .1 of 2 arms. lies outside"):
        effects = by_amount.predict(
            audience(small, {"coupon_10": {}, "coupon_40": {"amount": 40.0, "threshold": 60.0}})
        )
    assert np.isfinite(effects.mu_all).all()


def test_arms_that_cannot_be_placed_are_refused_by_name(small: Campaign, by_amount: ECUP) -> None:
    with pytest.raises(ModelError, match=r"arm 'coupon_7' has no amount.*\[arms.coupon_7\] amount = 5.0"):
        by_amount.predict(audience(small, {"coupon_7": {"threshold": 10.0}}))
    with pytest.raises(ModelError, match="arm 'coupon_7' differs"):
        ECUP(**QUICK).fit(small).predict(audience(small, {"coupon_7": {"amount": 7.0}}))
    one_threshold = with_arms(small, {"coupon_5": (5, 30), "coupon_10": (10, 30), "coupon_20": (20, 30)})
    model = ECUP(**QUICK, arm_encoding="amount").fit(one_threshold)
    with pytest.raises(ModelError, match="has the threshold 60, but all training arms have 30"):
        model.predict(audience(small, {"c": {"amount": 10.0, "threshold": 60.0}}))
    frame = small.table.to_pandas().assign(coupon=lambda f: f.coupon.replace({"none": "nothing"}))
    roles = {
        "treatment": "coupon",
        "control": "nothing",
        "chain": list(small.chain),
        "value": small.roles.value,
    }
    with pytest.raises(ModelError, match="trained with control 'none', not 'nothing'"):
        by_amount.predict(Campaign.from_frame(frame, **roles, unit=small.roles.unit))


@pytest.mark.parametrize(
    ("known", "message"),
    [
        ({"coupon_10": (None, 5)}, "arm 'coupon_10' has no amount.*or train with arm_encoding='id'"),
        (dict.fromkeys(("coupon_5", "coupon_10", "coupon_20"), (5, 0)), "all 3 treated arm.s. have the amount 5, which"),
        ({"coupon_10": (5, 30)}, "arms 'coupon_5' and 'coupon_10' both have the amount 5 from 30; use .*'both'"),
    ],
    ids=["without", "one", "twins"],
)  # fmt: skip
def test_campaigns_whose_amounts_say_too_little_are_refused(
    small: Campaign, known: dict[str, Any], message: str
) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        ECUP(**QUICK, arm_encoding="amount").fit(with_arms(small, known))
    assert "\n" not in str(caught.value)


def test_twins_are_told_apart_by_their_deviations(small: Campaign) -> None:
    twins = with_arms(small, {"coupon_10": (5, 30)})
    effects = ECUP(**QUICK, arm_encoding="both").fit(twins).predict(twins)
    assert (effects.mu_all[:, 1] != effects.mu_all[:, 2]).any()


# ---------------------------------------------------------------- options


OPTIONS: list[dict[str, Any]] = [
    {"numeric_embedding": "piecewise", "bins": 6},
    {"numeric_embedding": "piecewise", "normalise": "none"},
    {"numeric_embedding": "periodic", "bins": 4},
    {"hash_buckets": 8},
    {"arm_encoding": "amount"},
    {"arm_encoding": "both"},
    {"tau_heads": 4},
    {"normalise": "none"},
    {"deduplicate": True},
]


@pytest.mark.parametrize("option", OPTIONS, ids=str)
def test_options_come_back_from_disk_bit_for_bit(
    option: dict[str, Any], small: Campaign, tmp_path: Path
) -> None:
    model = ECUP(**QUICK | {"max_epochs": 1} | option).fit(small)
    scored = [small]
    if "arm_encoding" in option:
        scored.append(audience(small, {"coupon_7.5": {"amount": 7.5, "threshold": 45.0}}))
    found = [model.predict(campaign).mu_all for campaign in scored]
    model.save(tmp_path / "model")
    again = ECUP.load(tmp_path / "model")
    for campaign, mu in zip(scored, found, strict=True):
        np.testing.assert_array_equal(again.predict(campaign).mu_all, mu)


def test_models_saved_before_there_were_amounts_still_load(small: Campaign, tmp_path: Path) -> None:
    import json

    model = ECUP(**QUICK | {"max_epochs": 1}).fit(small)
    model.save(tmp_path / "model")
    file = tmp_path / "model" / "model.json"
    content = json.loads(file.read_text())
    del content["state"]["arm_attributes"], content["schema"]["hash_buckets"]
    for field in content["schema"]["numeric"]:
        del field["edges"]
    for name in (
        "numeric_embedding",
        "bins",
        "arm_encoding",
        "tau_heads",
        "hash_buckets",
        "normalise",
        "deduplicate",
    ):
        del content["params"][name]
    file.write_text(json.dumps(content))
    again = ECUP.load(tmp_path / "model")
    np.testing.assert_array_equal(again.predict(small).mu_all, model.predict(small).mu_all)


def test_an_interrupted_fit_with_curves_and_amounts_goes_on_bit_for_bit(
    small: Campaign, tmp_path: Path
) -> None:
    knobs = QUICK | {"numeric_embedding": "piecewise", "arm_encoding": "both", "max_epochs": 3}
    whole = ECUP(**knobs).fit(small)
    model = ECUP(**knobs)

    def stop(message: str) -> None:
        raise KeyboardInterrupt

    model.on_progress = stop
    with pytest.raises(KeyboardInterrupt):
        model.fit(small, checkpoint=tmp_path / "state")
    model.on_progress = None
    model.fit(small, checkpoint=tmp_path / "state")
    np.testing.assert_array_equal(model.predict(small).mu_all, whole.predict(small).mu_all)


def test_tau_heads_must_divide_the_attention_size() -> None:
    with pytest.raises(ModelError, match="attention_dim 16 is not a multiple of tau_heads 3"):
        ECUP(tau_heads=3).check_params()


def test_unseen_categories_are_told_apart_only_by_buckets() -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"t": rng.integers(0, 2, 3000), "y": rng.integers(0, 2, 3000)})
    frame["shop"] = np.where(rng.random(3000) < 0.2, [f"rare {i}" for i in range(3000)], "big")
    roles: dict[str, Any] = {"treatment": "t", "control": 0, "chain": "y", "features": ["shop"]}
    campaign = Campaign.from_frame(frame, **roles)
    unseen = campaign.audience(pd.DataFrame({"shop": [f"new {i}" for i in range(100)]}))
    different = [
        len(np.unique(ECUP(**QUICK, hash_buckets=buckets).fit(campaign).predict(unseen).mu_all[:, 1, 0]))
        for buckets in (0, 4)
    ]
    assert different == [1, 4]


def test_scaled_features_need_no_scaling_and_late_gaps_are_means_either_way() -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"x": rng.normal(size=2000), "t": rng.integers(0, 2, 2000), "y": rng.integers(0, 2, 2000)}
    )
    frame["x"] = (frame.x - frame.x.mean()) / frame.x.std(ddof=0)
    roles: dict[str, Any] = {"treatment": "t", "control": 0, "chain": "y"}
    campaign = Campaign.from_frame(frame, **roles)
    models = [ECUP(**QUICK, normalise=how).fit(campaign) for how in ("zscore", "none")]  # type: ignore[arg-type]
    found = [model.predict(campaign).mu_all for model in models]
    np.testing.assert_allclose(found[0], found[1], atol=1e-5)
    shifted = Campaign.from_frame(frame.assign(x=frame.x * 3 + 7), **roles)
    gaps = shifted.audience(pd.DataFrame({"x": [None, 7.0]}, dtype="float64"))
    for how in ("zscore", "none"):
        gap, mean = ECUP(**QUICK, normalise=how).fit(shifted).predict(gaps).mu_all  # type: ignore[arg-type]
        np.testing.assert_allclose(gap, mean, atol=1e-5)


def test_deduplicated_training_is_training_on_the_rows_that_are_left(small: Campaign) -> None:
    twice = small.take(np.repeat(np.arange(1500), 2))
    assert first_of_each(twice).sum() <= 1500
    left = twice.take(first_of_each(twice))
    expected = ECUP(**QUICK).fit(left).predict(small).mu_all
    np.testing.assert_array_equal(ECUP(**QUICK, deduplicate=True).fit(twice).predict(small).mu_all, expected)
    assert (ECUP(**QUICK).fit(twice).predict(small).mu_all != expected).any()


# ---------------------------------------------------------------- room for encoders


class MeanOfEvents(ExtraFields):
    """A toy encoder: the mean of a customer's events, and how many there were."""

    fields = 2

    def __init__(self, kinds: int, dim: int, *, generator: torch.Generator) -> None:
        super().__init__()
        self.table = uniform(kinds, dim, fan_in=dim, generator=generator)
        self.count = uniform(dim, fan_in=dim, generator=generator)

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        events, there = inputs
        number = there.sum(1, keepdim=True)
        mean = (self.table[events] * there.unsqueeze(-1)).sum(1) / number.clamp_min(1)
        return torch.stack((mean, number * self.count), dim=1)


def test_an_encoder_adds_fields_that_the_treatment_gates_and_training_reaches() -> None:
    generator = torch.Generator().manual_seed(0)
    network = EcupNetwork(
        numeric_fields=3, cardinalities=(), arms=3, stages=2, value=None, embedding_dim=8, attention_dim=8,
        bit_level="f*d", hidden=(16,), gate_hidden=8, heads=2, gamma=2.0, tenet=True, taenet=True, tau_units=2,
        stop_gradient=True, share_tower=True, share_gates=False,
        extra_fields=MeanOfEvents(20, 8, generator=generator), generator=generator,
    )  # fmt: skip
    numeric, none = torch.randn(6, 3, generator=generator), torch.zeros(6, 0, dtype=torch.int32)
    events = torch.randint(20, (6, 5), generator=generator)
    there = torch.rand(6, 5, generator=generator) < 0.6
    there[0] = False
    assert network.embed(numeric, none, (events, there)).shape == (6, 5, 8)
    everything = network.all_arms(numeric, none, (events, there)).logits
    assert torch.isfinite(everything).all()
    for arm in range(3):
        one = network(numeric, none, torch.full((6,), arm), (events, there)).logits
        torch.testing.assert_close(everything[:, arm], one, atol=1e-6, rtol=0)
    # What stands in places that are not there changes nothing; what is there does, and for the uplift too.
    moved = torch.where(there, events, (events + 1) % 20)
    torch.testing.assert_close(network.all_arms(numeric, none, (moved, there)).logits, everything)
    other = network.all_arms(numeric, none, (torch.where(there, (events + 1) % 20, events), there)).logits
    uplift = [logits[1:, 1:] - logits[1:, :1] for logits in (everything, other)]
    assert not torch.allclose(*uplift, atol=1e-4)
    everything.square().sum().backward()
    encoder = network.extra_fields
    assert isinstance(encoder, MeanOfEvents)
    assert encoder.table.grad is not None
    assert encoder.table.grad.abs().max() > 0
