"""Ensembles of networks: their mean is the members' mean, their intervals are the members' spread, files keep both."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from scipy import stats

from uplift.campaign import Campaign
from uplift.effects import Effects
from uplift.errors import ModelError
from uplift.models.ecup import ECUP, EcupNetwork
from uplift.models.ecup.shared import SharedTower
from uplift.models.neural import engine
from uplift.models.neural.engine import decay_groups, row_losses
from uplift.models.neural.ensemble import bootstrap_weights, member_seeds, t_quantile
from uplift.models.neural.rows import Rows, load_rows
from uplift.models.neural.sources import ResidentRows
from uplift.models.registry import load_model, model_card
from uplift.simulation import simulate

pytestmark = pytest.mark.usefixtures("one_thread")

QUICK: dict[str, Any] = {
    "device": "cpu",
    "hidden": (16, 8),
    "gate_hidden": 8,
    "embedding_dim": 4,
    "batch_size": 512,
    "max_epochs": 2,
}
NETWORK: dict[str, Any] = {
    "numeric_fields": 3,
    "cardinalities": (4,),
    "arms": 3,
    "stages": 2,
    "embedding_dim": 8,
    "attention_dim": 8,
    "bit_level": "d",
    "hidden": (16, 8),
    "gate_hidden": 8,
    "heads": 2,
    "gamma": 2.0,
    "tenet": True,
    "taenet": True,
    "tau_units": 2,
    "stop_gradient": True,
    "share_tower": True,
    "share_gates": False,
}
KINDS = [{"ensemble": "seeds"}, {"ensemble": "seeds", "bootstrap": False}, {"ensemble": "shared"}]


@pytest.fixture(scope="module")
def campaign() -> Campaign:
    """2,000 rows with categories, missing values, three stages, a value and three arms."""
    return simulate(rows=2000, numeric=3, categorical=1, arms=2, missing=0.1, value=True, seed=3).campaign()


@pytest.fixture(scope="module", params=KINDS, ids=["bootstrap", "seeds", "shared"])
def fitted(request: pytest.FixtureRequest, campaign: Campaign) -> ECUP:
    return ECUP(**QUICK, members=3, **request.param).fit(campaign)


def mean_mu(members: list[Effects]) -> np.ndarray:
    return np.mean([one.mu_all.astype(np.float64) for one in members], axis=0)


# ---------------------------------------------------------------- what an ensemble is


def test_one_member_is_the_single_network_to_the_bit_and_has_no_interval(campaign: Campaign) -> None:
    train, validation = campaign.split(test=0.2)
    for options in KINDS[::2]:
        model = ECUP(**QUICK, members=1, random_state=4, **options).fit(train, validation=validation)
        assert not model.predict(campaign).has_intervals

        device = torch.device("cpu")
        source = ResidentRows(load_rows(train, model.schema_, weights=None, device=device))
        held = load_rows(validation, model.schema_, weights=None, device=device)
        network = model._build(model.schema_, 3, 3, model.value_loss_, seed=4)
        engine.start(network, source)
        shuffling = torch.Generator().manual_seed(4)
        engine.train(network, source, held, settings=model._settings(3), generator=shuffling)
        engine.finish(network, source)
        for name, tensor in network.state_dict().items():
            assert torch.equal(tensor, model.network_.state_dict()[name]), name


def test_the_mean_of_an_ensemble_is_that_of_networks_fitted_one_by_one(campaign: Campaign) -> None:
    train, validation = campaign.split(test=0.2)
    ensemble = ECUP(**QUICK, members=3, bootstrap=False, random_state=5).fit(train, validation=validation)
    alone = [
        ECUP(**QUICK, random_state=seed).fit(train, validation=validation).predict(campaign)
        for seed in member_seeds(5, 3)
    ]
    for one, member in zip(alone, ensemble.predict_members(campaign), strict=True):
        assert np.array_equal(one.mu_all, member.mu_all)
    assert np.array_equal(ensemble.predict(campaign).mu_all, mean_mu(alone).astype(np.float32))


def test_bootstrap_members_are_networks_fitted_to_weighted_customers(campaign: Campaign) -> None:
    train, validation = campaign.split(test=0.2)
    ensemble = ECUP(**QUICK, members=2, random_state=5).fit(train, validation=validation)
    for seed, member in zip(member_seeds(5, 2), ensemble.predict_members(campaign), strict=True):
        weights = bootstrap_weights(train.unit_ids, [seed])[:, 0]
        table = train.table.append_column("mass", pa.array(weights))
        weighted = Campaign.from_table(table, **{**asdict(train.roles), "weight": "mass"})
        alone = ECUP(**QUICK, random_state=seed).fit(weighted, validation=validation)
        assert np.allclose(alone.predict(campaign).mu_all, member.mu_all, atol=1e-6, rtol=1e-4)


def test_intervals_are_the_spread_of_the_members(campaign: Campaign, fitted: ECUP) -> None:
    effects, members = fitted.predict(campaign), fitted.predict_members(campaign)
    assert len(members) == 3
    assert np.allclose(effects.mu_all, mean_mu(members), rtol=1e-5, atol=1e-7)
    assert effects.level == 0.9
    spread = np.std([one.tau_all.astype(np.float64) for one in members], axis=0, ddof=1)
    half = stats.t.ppf(0.95, df=2) * spread
    assert effects.low_all is not None
    assert effects.high_all is not None
    tolerance = 1e-6 * np.abs(effects.mu_all).max()
    assert np.allclose(effects.low_all, effects.tau_all - half, atol=tolerance, rtol=1e-4)
    assert np.allclose(effects.high_all, effects.tau_all + half, atol=tolerance, rtol=1e-4)
    assert (effects.high_all[:, 1:] > effects.low_all[:, 1:]).mean() > 0.99
    for stage in effects.stages:
        assert not effects.tau_low(stage, effects.control).any()


def test_a_wider_level_gives_wider_intervals_around_the_same_uplift(campaign: Campaign, fitted: ECUP) -> None:
    narrow = fitted.predict(campaign)
    try:
        wide = fitted.set_params(interval_level=0.99).predict(campaign)
    finally:
        fitted.set_params(interval_level=0.9)
    assert np.array_equal(wide.tau_all, narrow.tau_all)
    assert (wide.low_all <= narrow.low_all).all()
    assert (wide.high_all >= narrow.high_all).all()


def test_a_saved_ensemble_predicts_bit_equal(campaign: Campaign, fitted: ECUP, tmp_path: Path) -> None:
    loaded = load_model(fitted.save(tmp_path / "model"))
    assert isinstance(loaded, ECUP)
    before, after = fitted.predict(campaign), loaded.predict(campaign)
    for name in ("mu_all", "tau_all", "low_all", "high_all"):
        assert np.array_equal(getattr(before, name), getattr(after, name)), name
    assert after.level == before.level
    assert loaded.history_ == fitted.history_


def test_history_names_the_network_and_keeps_one_epoch_of_each(fitted: ECUP) -> None:
    networks = 1 if fitted.ensemble == "shared" else 3
    assert {entry["member"] for entry in fitted.history_} == set(range(networks))
    assert len(fitted.networks_) == networks
    for number in range(networks):
        own = [entry for entry in fitted.history_ if entry["member"] == number]
        assert [entry["epoch"] for entry in own] == list(range(1, len(own) + 1))
        assert sum(entry["kept"] for entry in own) == 1


def test_an_interrupted_ensemble_goes_on_with_the_network_it_was_at(
    campaign: Campaign, tmp_path: Path
) -> None:
    options: dict[str, Any] = QUICK | {"members": 2}

    def stop(words: str) -> None:
        if words.startswith("network 2 of 2, epoch 1"):
            raise KeyboardInterrupt

    broken = ECUP(**options)
    broken.on_progress = stop
    with pytest.raises(KeyboardInterrupt):
        broken.fit(campaign, checkpoint=tmp_path / "under_way")
    told: list[str] = []
    again = ECUP(**options)
    again.on_progress = told.append
    again.fit(campaign, checkpoint=tmp_path / "under_way")
    assert [words[:23] for words in told] == ["network 2 of 2, epoch 2"]
    whole = ECUP(**options).fit(campaign)
    assert np.array_equal(again.predict(campaign).mu_all, whole.predict(campaign).mu_all)


# ---------------------------------------------------------------- seeds and weights


def test_more_members_leave_the_first_ones_alone() -> None:
    seeds = member_seeds(3, 50)
    assert seeds[0] == 3
    assert len(set(seeds)) == 50
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert seeds[:4] == member_seeds(3, 4)
    assert not set(seeds[1:]) & set(member_seeds(4, 50)[1:])


def test_bootstrap_weights_are_exponential_by_unit_and_independent_between_members() -> None:
    ids = pa.array(np.repeat(np.arange(20_000), 2))
    weights = bootstrap_weights(ids, [1, 2])
    assert np.array_equal(weights[::2], weights[1::2])
    assert np.allclose(weights.mean(0), 1)
    for member in range(2):
        assert stats.kstest(weights[::2, member], "expon").pvalue > 0.01
    assert abs(np.corrcoef(weights[::2].T)[0, 1]) < 0.03
    order = np.random.default_rng(0).permutation(len(ids))
    assert np.allclose(bootstrap_weights(ids.take(pa.array(order)), [1]), weights[order, :1], rtol=1e-12)


def test_the_quantile_is_students() -> None:
    for members in (2, 3, 8, 200):
        assert t_quantile(0.9, members) == pytest.approx(stats.t.ppf(0.95, members - 1))


# ---------------------------------------------------------------- several members inside one network


def network(members: int, seed: int = 0, **changes: Any) -> EcupNetwork:
    options = NETWORK | {"value": None} | changes
    return EcupNetwork(**options, members=members, generator=torch.Generator().manual_seed(seed))


def features(rows: int = 40) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    source = torch.Generator().manual_seed(1)
    numeric = torch.randn(rows, 3, generator=source)
    codes = torch.randint(4, (rows, 1), generator=source).int()
    return numeric, codes, torch.randint(3, (rows,), generator=source)


@torch.no_grad()
def give_every_member(shared: EcupNetwork, single: EcupNetwork) -> None:
    """Make every member of `shared` the network `single`."""
    for name, parameter in shared.named_parameters():
        if "scales" in name:
            parameter.fill_(1)
        else:
            parameter.copy_(single.get_parameter(name))  # broadcast over the members


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"value": "lognormal"},
        {"value": "mse", "share_tower": False},
        {"taenet": False, "value": "mse"},
        {"hidden": (8,), "tenet": False},
    ],
    ids=["paper", "value", "own towers", "no gates", "one layer"],
)
def test_with_identical_adapters_every_member_is_the_single_network(changes: dict[str, Any]) -> None:
    single, shared = network(1, **changes), network(4, seed=9, **changes)
    give_every_member(shared, single)
    numeric, codes, treatment = features()
    for mine, theirs in (
        (shared(numeric, codes, treatment), single(numeric, codes, treatment)),
        (shared.all_arms(numeric, codes), single.all_arms(numeric, codes)),
    ):
        assert mine.logits.shape == (*theirs.logits.shape[:-1], 4, 2)
        for member in range(4):
            assert torch.allclose(mine.logits[..., member, :], theirs.logits, atol=1e-6)
            if theirs.value is not None:
                assert mine.value is not None
                assert torch.allclose(mine.value[..., member, :], theirs.value, atol=1e-6)


@pytest.mark.parametrize("share", [True, False])
def test_a_member_is_a_tower_with_rank_one_changed_weights(share: bool) -> None:
    source = torch.Generator().manual_seed(0)
    tower = SharedTower(members=3, inputs=6, widths=(5, 4), tasks=2, share=share, generator=source)
    with torch.no_grad():
        for scale in (*tower.input_scales, *tower.output_scales, *tower.biases):
            scale.add_(torch.randn(scale.shape, generator=source))
    z = torch.randn(7, 6, generator=source)
    deltas = [torch.rand(7, 2, width, generator=source) for width in (5, 4)]
    found = tower(z, deltas)
    for member in range(3):
        for task in range(2):
            state = z
            for layer in range(2):
                copy = 0 if share else task
                outer = torch.outer(tower.input_scales[layer][member], tower.output_scales[layer][member])
                weight = tower.weights[layer][copy] * outer
                state = (
                    torch.relu(state @ weight + tower.biases[layer][member, copy]) * deltas[layer][:, task]
                )
            assert torch.allclose(found[:, member, task], state, atol=1e-5)


def test_members_start_apart_by_signs_and_nothing_else() -> None:
    tower = network(16).tower
    assert isinstance(tower, SharedTower)
    signs = tower.input_scales[0].detach()
    assert set(signs.unique().tolist()) == {-1.0, 1.0}
    assert len(signs.unique(dim=0)) == 16
    assert all((scale == 1).all() for scale in (*tower.input_scales[1:], *tower.output_scales))
    assert all((bias == bias[:1]).all() for bias in tower.biases)


@pytest.mark.parametrize("space", ["entire", "conditional", "independent"])
@pytest.mark.parametrize("weighted", ["no", "rows", "rows and members"])
def test_the_loss_is_the_mean_of_the_members_losses(space: Any, weighted: str) -> None:
    numeric, codes, treatment = features()
    source = torch.Generator().manual_seed(2)
    outcomes = torch.rand(40, 2, generator=source).lt(0.6).float().cumprod(1)
    weights = {"no": None, "rows": torch.rand(40, generator=source)}.get(
        weighted, torch.rand(40, 3, generator=source)
    )
    value = torch.rand(40, generator=source) * outcomes[:, 1]
    shared = network(3, value="mse", loss_space=space)
    single = network(1, value="mse", loss_space=space)
    settings = ECUP(stage_weights=(1.0, 0.5), value_weight=0.7, loss_space=space)._settings(2)
    rows = Rows(
        numeric=numeric, categorical=codes, treatment=treatment, outcomes=outcomes, value=value, weights=weights
    )  # fmt: skip
    output = shared(numeric, codes, treatment)
    assert output.value is not None
    total = torch.zeros(40)
    for member in range(3):
        own = weights if weights is None or weights.ndim == 1 else weights[:, member]
        seen = Rows(
            numeric=numeric, categorical=codes, treatment=treatment, outcomes=outcomes, value=value, weights=own
        )  # fmt: skip
        part = type(output)(output.logits[:, member], output.value[:, member])
        total = total + row_losses(single, part, seen, settings) / 3
    assert torch.allclose(row_losses(shared, output, rows, settings), total, atol=1e-6)


def test_weight_decay_leaves_scales_and_biases_alone() -> None:
    shared = network(3, value="lognormal")
    decayed, free = (group["params"] for group in decay_groups(shared, 0.1))
    names = {id(parameter): name for name, parameter in shared.named_parameters()}
    assert not any("scales" in names[id(p)] or "bias" in names[id(p)] for p in decayed)
    assert {"tower.input_scales.0", "tower.biases.1", "heads.bias", "value.bias"} <= {
        names[id(p)] for p in free
    }
    assert len(decayed) + len(free) == len(names)


# ---------------------------------------------------------------- what it is good for, and what is refused


def test_an_ensemble_is_nearer_to_the_truth_than_its_networks_one_by_one() -> None:
    simulation = simulate(rows=6000, numeric=3, categorical=0, arms=1, chain=("click", "conversion"), seed=11)
    campaign, truth = simulation.campaign(), simulation.true_effects()
    train, validation = campaign.split(test=0.2)
    options: dict[str, Any] = QUICK | {
        "embedding_dim": 8, "hidden": (32, 16), "batch_size": 256, "max_epochs": 8, "learning_rate": 3e-3,
        "criterion": "loss", "members": 4, "bootstrap": False,
    }  # fmt: skip

    def error(effects: Effects) -> float:
        return float(np.sqrt(np.mean((effects.tau_all - truth.tau_all)[:, 1, 0] ** 2)))

    seeds = ECUP(**options).fit(train, validation=validation)
    alone = np.mean([error(one) for one in seeds.predict_members(campaign)])
    assert error(seeds.predict(campaign)) < 0.95 * alone
    shared = ECUP(**options, ensemble="shared").fit(train, validation=validation)
    assert error(shared.predict(campaign)) < alone  # no promise of more: the members share most weights


def test_a_network_without_room_for_members_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ECUP, "can_share", False)
    with pytest.raises(ModelError, match=r"cannot hold several members.* use ensemble='seeds'"):
        ECUP(members=2, ensemble="shared").check_params()
    ECUP(members=1, ensemble="shared").check_params()


@pytest.mark.parametrize(
    ("option", "given"),
    [("members", 0), ("members", 1.5), ("ensemble", "seed"), ("bootstrap", 1), ("interval_level", 1.0)],
)
def test_unusable_options_are_refused_by_name(option: str, given: Any) -> None:
    with pytest.raises(ModelError, match=f"model 'ecup': {option} is"):
        ECUP(**{option: given}).check_params()


def test_the_registry_says_which_model_gives_intervals() -> None:
    assert "members" in model_card("ecup").intervals
    assert not model_card("lightgbm_s").intervals
