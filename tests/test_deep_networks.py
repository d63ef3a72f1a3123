"""What every deep network must do, whatever is inside it: shapes, arms, gradients, seeds, files, and effects that are known."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import ROLES, toy_frame
from torch import Tensor

from uplift.campaign import Campaign
from uplift.campaign_stream import CampaignStream
from uplift.models.deep.scaffold import ChainShape, DeepModel, FieldNetwork
from uplift.models.neural.engine import row_losses
from uplift.models.neural.network import ChainOutput
from uplift.models.neural.rows import Rows
from uplift.models.registry import load_model, make_model
from uplift.simulation import simulate

pytestmark = pytest.mark.usefixtures("one_thread")

MODELS: list[tuple[str, dict[str, Any]]] = [
    ("deep_s", {"hidden": (32, 16)}),
    ("deep_t", {"hidden": (16, 8)}),
    ("tarnet", {"representation": (32, 16), "hidden": (16, 8)}),
    ("cfrnet", {"representation": (32, 16), "hidden": (16, 8)}),
    ("cfrnet", {"representation": (32, 16), "hidden": (16, 8), "ipm": "wasserstein", "alpha": 0.1}),
    ("dragonnet", {"representation": (32, 16), "hidden": (16, 8)}),
    ("euen", {"hidden": (16, 8)}),
    ("esmm", {"bottom": (32,), "tower": (16,)}),
    ("snet", {"representation": (16, 8), "private": (8,), "hidden": (16, 8)}),
    ("flextenet", {"shared": (32, 16), "private": (16, 8)}),
    ("descn", {"representation": (32, 16), "hidden": (16, 8)}),
    ("descn", {"representation": (32, 16), "hidden": (16, 8), "fixed_length": True, "response_weight": 1.0}),
    ("efin", {"hidden": (32, 16), "uplift_hidden": (16, 8)}),
    ("m3tn", {"experts": 3, "expert_hidden": (16, 8), "hidden": (8,)}),
    ("m3tn", {"experts": 2, "expert_hidden": (16,), "hidden": (16, 8), "stop_gradient": True}),
]
"""Every network with small sizes; give one twice where an option changes what it is made of."""

SHAPES = [
    ChainShape(numeric_fields=5, cardinalities=(4, 9), arms=4, stages=2, embedding_dim=8),
    ChainShape(numeric_fields=5, arms=2, stages=1, embedding_dim=4),
    ChainShape(numeric_fields=0, cardinalities=(4, 9), arms=3, stages=3, value="lognormal", embedding_dim=4),
    ChainShape(
        numeric_fields=3, cardinalities=(5,), arms=3, stages=2, value="mse", loss_space="independent",
        embedding_dim=4,
    ),
]  # fmt: skip

every_model = pytest.mark.parametrize(
    ("name", "params"), MODELS, ids=[f"{name}-{number}" for number, (name, _) in enumerate(MODELS)]
)
every_shape = pytest.mark.parametrize("shape", SHAPES, ids=lambda s: f"{s.arms}x{s.stages}-{s.value}")


def build(name: str, params: dict[str, Any], shape: ChainShape, seed: int = 0) -> FieldNetwork:
    model = make_model(name, **params, loss_space=shape.loss_space)
    assert isinstance(model, DeepModel)
    network = model._network(shape, torch.Generator().manual_seed(seed))
    assert isinstance(network, FieldNetwork)
    return network


def batch(shape: ChainShape, rows: int = 64) -> Rows:
    """Random rows with every arm, missing numbers, and someone at every stage."""
    source = torch.Generator().manual_seed(1)
    numeric = torch.randn(rows, shape.numeric_fields, generator=source)
    numeric[torch.rand(numeric.shape, generator=source) < 0.1] = float("nan")
    codes = [torch.randint(size, (rows,), generator=source) for size in shape.cardinalities]
    reached = (torch.rand(rows, shape.stages, generator=source) < 0.7).float().cumprod(1)
    return Rows(
        numeric=numeric,
        categorical=torch.stack(codes, 1).int() if codes else torch.zeros(rows, 0, dtype=torch.int32),
        treatment=torch.arange(rows) % shape.arms,
        outcomes=reached,
        value=None if shape.value is None else reached[:, -1] * (1 + torch.rand(rows, generator=source)),
        weights=None,
    )


def trained_on(network: FieldNetwork, rows: Rows) -> ChainOutput:
    return network(rows.numeric, rows.categorical, rows.treatment)


def objective(network: FieldNetwork, rows: Rows, model: DeepModel) -> Tensor:
    output = trained_on(network, rows)
    loss = row_losses(network, output, rows, model._settings(network.stages)).mean()
    penalty = network.penalty(output, rows)
    if penalty is None:
        return loss
    assert penalty.shape == ()
    return loss + penalty


# ---------------------------------------------------------------- the network


@every_shape
@every_model
def test_all_arms_are_as_many_single_passes(name: str, params: dict[str, Any], shape: ChainShape) -> None:
    network, rows = build(name, params, shape).eval(), batch(shape)
    everything = network.all_arms(rows.numeric, rows.categorical)
    assert everything.logits.shape == (64, shape.arms, shape.stages)
    assert (everything.value is None) == (shape.value is None)
    assert everything.extras is None
    for arm in range(shape.arms):
        one = network(rows.numeric, rows.categorical, torch.full((64,), arm))
        assert one.logits.shape == (64, shape.stages)
        torch.testing.assert_close(one.logits, everything.logits[:, arm], rtol=0, atol=1e-6)
        if everything.value is not None:
            assert one.value is not None
            torch.testing.assert_close(one.value, everything.value[:, arm], rtol=0, atol=1e-6)
    assert network.floats_per_row >= shape.arms * shape.stages


@every_model
def test_what_is_scored_is_what_was_trained(name: str, params: dict[str, Any]) -> None:
    """Training mode hands out extras, but gives the same outcomes."""
    network, rows = build(name, params, SHAPES[0]), batch(SHAPES[0])
    trained, scored = trained_on(network.train(), rows), trained_on(network.eval(), rows)
    torch.testing.assert_close(trained.logits, scored.logits, rtol=0, atol=1e-6)
    assert scored.extras is None
    penalty = network.penalty(trained.single_precision(), rows)
    assert (penalty is None) == (trained.extras is None)


@every_shape
@every_model
def test_every_parameter_is_trained(name: str, params: dict[str, Any], shape: ChainShape) -> None:
    network, model = (
        build(name, params, shape).train(),
        make_model(name, **params, loss_space=shape.loss_space),
    )
    assert isinstance(model, DeepModel)
    objective(network, batch(shape), model).backward()
    for parameter_name, parameter in network.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.isfinite().all(), parameter_name
        assert parameter.grad.abs().max() > 0, parameter_name


@every_model
def test_a_batch_without_an_arm_trains_on(name: str, params: dict[str, Any]) -> None:
    """Small batches may lack an arm, or all arms but one."""
    network, rows = build(name, params, SHAPES[0]).train(), batch(SHAPES[0])
    model = make_model(name, **params)
    assert isinstance(model, DeepModel)
    for arms in ((0, 2), (1, 3), (2,)):
        kept = rows.take(torch.isin(rows.treatment, torch.tensor(arms)).nonzero().squeeze(1))
        for part in (kept, kept.slice(0, 1)):
            network.zero_grad()
            objective(network, part, model).backward()
            for parameter_name, parameter in network.named_parameters():
                assert parameter.grad is None or parameter.grad.isfinite().all(), parameter_name


@every_model
def test_every_arm_starts_near_the_base_rates(name: str, params: dict[str, Any]) -> None:
    """Rates of a few in a thousand are not left by a random start; what is left is the spread of random layers."""
    shape = replace(SHAPES[0], stages=3)
    network, rows = build(name, params, shape).eval(), batch(shape)
    rates = torch.tensor([0.3, 0.01, 0.002])
    network.heads.start_at(rates)
    logits = network.all_arms(rows.numeric, rows.categorical).logits
    assert (logits - torch.logit(rates)).abs().max() < 1.0


@every_model
def test_the_seed_decides_and_the_global_random_state_is_left_alone(
    name: str, params: dict[str, Any]
) -> None:
    before = torch.get_rng_state()
    first, again, other = (build(name, params, SHAPES[0], seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)
    assert torch.equal(torch.get_rng_state(), before)


# ---------------------------------------------------------------- the model


def known(rows: int, seed: int) -> tuple[Campaign, np.ndarray]:
    """Two coupons with opposite effects on the click by the sign of x, none on buying given click; and true rates."""
    rng = np.random.default_rng(seed)
    x, arm = rng.normal(size=rows), rng.integers(0, 3, rows)
    up = x > 0
    click = np.stack([np.full(rows, 0.4), np.where(up, 0.7, 0.2), np.where(up, 0.2, 0.7)], axis=1)
    clicked = rng.random(rows) < click[np.arange(rows), arm]
    frame = pd.DataFrame({"x": x, "noise": rng.normal(size=rows), "arm": arm, "click": clicked})
    frame["buy"] = clicked & (rng.random(rows) < 0.5)
    campaign = Campaign.from_frame(frame, treatment="arm", control=0, chain=["click", "buy"])
    return campaign, np.stack([click, click * 0.5], axis=2)


@every_model
def test_effects_of_opposite_sign_are_found_at_every_stage(name: str, params: dict[str, Any]) -> None:
    train, _ = known(5000, 0)
    audience, truth = known(3000, 1)
    model = make_model(
        name, **params, device="cpu", batch_size=256, max_epochs=6, learning_rate=1e-2, criterion="loss"
    )
    effects = model.fit(train).predict(audience)
    true_tau = truth - truth[:, :1]
    for stage in range(2):
        for arm in (1, 2):
            predicted, true = effects.tau_all[:, arm, stage], true_tau[:, arm, stage]
            assert np.corrcoef(predicted, true)[0, 1] > 0.85
            # A constant's error is the standard deviation of the effects.
            assert np.sqrt(np.mean((predicted - true) ** 2)) < 0.6 * true.std()


@pytest.fixture(scope="module")
def small() -> Campaign:
    """Categories, missing values, a value and four arms."""
    return simulate(rows=3000, numeric=4, categorical=2, missing=0.1, seed=3).campaign()


@every_model
def test_all_stages_with_value_come_back_bit_equal_from_disk_and_from_a_second_fit(
    name: str, params: dict[str, Any], small: Campaign, tmp_path: Path
) -> None:
    model = make_model(name, **params, device="cpu", max_epochs=2, members=2).fit(small)
    effects = model.predict(small)
    assert effects.stages == ("impression", "click", "conversion", "value")
    assert (np.diff(effects.mu_all[:, :, :3], axis=2) <= 0).all()
    assert effects.tau_low is not None
    model.save(tmp_path / "model")
    again = load_model(tmp_path / "model")
    assert type(again) is type(model)
    np.testing.assert_array_equal(again.predict(small).mu_all, effects.mu_all)
    refitted = make_model(name, **model.get_params()).fit(small)
    np.testing.assert_array_equal(refitted.predict(small).mu_all, effects.mu_all)


@every_model
def test_an_interrupted_fit_ends_as_one_that_was_not(
    name: str, params: dict[str, Any], small: Campaign, tmp_path: Path
) -> None:
    options = params | {"device": "cpu", "max_epochs": 2, "batch_size": 512}
    straight = make_model(name, **options).fit(small)
    broken = make_model(name, **options)

    def interrupt(_: str) -> None:
        raise KeyboardInterrupt

    broken.on_progress = interrupt
    with pytest.raises(KeyboardInterrupt):
        broken.fit(small, checkpoint=tmp_path / "kept")  # type: ignore[call-arg]
    resumed = make_model(name, **options).fit(small, checkpoint=tmp_path / "kept")  # type: ignore[call-arg]
    np.testing.assert_array_equal(resumed.predict(small).mu_all, straight.predict(small).mu_all)
    timeless = [
        [{key: entry[key] for key in entry if key not in ("seconds", "rows_per_second")} for entry in history]
        for history in (resumed.history_, straight.history_)
    ]
    assert timeless[0] == timeless[1]


@every_model
def test_members_learn_from_a_campaign_on_disk_with_row_weights(
    name: str, params: dict[str, Any], tmp_path: Path
) -> None:
    frame = toy_frame(1500, seed=4)
    frame["weight"] = np.random.default_rng(0).uniform(0.5, 2.0, len(frame))
    frame.to_parquet(tmp_path / "log.parquet")
    stream = CampaignStream.from_parquet(tmp_path / "log.parquet", weight="weight", **ROLES)
    model = make_model(
        name, **params, device="cpu", max_epochs=2, members=2, criterion="loss", random_state=1
    ).fit(stream)
    audience = Campaign.from_parquet(tmp_path / "log.parquet", weight="weight", **ROLES)
    effects = model.predict(audience)
    assert np.isfinite(effects.mu_all).all()
    clicked = np.average(audience.outcome("click"), weights=frame["weight"])
    assert effects.mu_all[:, :, 0].mean() == pytest.approx(clicked, abs=0.1)


@pytest.mark.slow
@every_model
def test_the_scoring_graph_is_the_network(
    name: str, params: dict[str, Any], small: Campaign, tmp_path: Path
) -> None:
    model = make_model(name, **params, device="cpu", max_epochs=1, criterion="loss").fit(small)
    assert isinstance(model, DeepModel)
    model.export(tmp_path / "graph.pt2")
    described = json.loads((tmp_path / "graph.pt2.json").read_text())
    assert described["check"]["largest_difference"] <= 1e-5
