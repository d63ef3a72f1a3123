"""TARNet: one representation, one hypothesis per arm, on the chain; and it finds effects that are known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from uplift.campaign import Campaign
from uplift.models.deep import TARNet
from uplift.models.deep.scaffold import ChainShape
from uplift.models.deep.tarnet import TarnetNetwork
from uplift.models.registry import load_model, make_model
from uplift.simulation import simulate

pytestmark = pytest.mark.usefixtures("one_thread")

SHAPE: dict[str, Any] = {
    "numeric_fields": 5,
    "cardinalities": (4, 9),
    "arms": 4,
    "stages": 2,
    "value": None,
    "embedding_dim": 8,
}
WIDTHS: dict[str, Any] = {"representation": (32, 16), "hidden": (16, 8)}
VARIANTS: list[dict[str, Any]] = [
    {},
    {"stages": 1, "arms": 2},
    {"stages": 3, "value": "lognormal"},
    {"value": "mse", "loss_space": "independent"},
    {"numeric_fields": 0},
    {"cardinalities": ()},
    {"representation": (8,), "hidden": (4,)},
]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def build(**changes: Any) -> TarnetNetwork:
    shape = SHAPE | {name: size for name, size in changes.items() if name not in WIDTHS}
    widths = WIDTHS | {name: sizes for name, sizes in changes.items() if name in WIDTHS}
    return TarnetNetwork(ChainShape(**shape), **widths, generator=generator())


def features(network: TarnetNetwork, rows: int = 64) -> tuple[torch.Tensor, torch.Tensor]:
    source = generator(1)
    p = 0 if network.inputs.numeric is None else len(network.inputs.numeric.slope)
    numeric = torch.randn(rows, p, generator=source)
    numeric[torch.rand(rows, p, generator=source) < 0.1] = float("nan")
    sizes = () if network.categorical is None else network.categorical.cardinalities
    codes = [torch.randint(size, (rows,), generator=source) for size in sizes]
    return numeric, torch.stack(codes, 1).int() if codes else torch.zeros(rows, 0, dtype=torch.int32)


# ---------------------------------------------------------------- the network


@pytest.mark.parametrize("changes", VARIANTS, ids=str)
def test_every_arm_of_the_batched_product_is_a_plain_network_with_that_arms_weights(
    changes: dict[str, Any],
) -> None:
    network = build(**changes)
    numeric, categorical = features(network)
    everything = network.all_arms(numeric, categorical)
    assert everything.logits.shape == (64, network.arms, network.stages)
    shared = network.represent(numeric, categorical)
    for arm in range(network.arms):
        state = shared
        for weight, bias in zip(network.hypotheses.weights, network.hypotheses.biases, strict=True):
            state = torch.nn.functional.elu(state @ weight[arm] + bias[arm])
        logits = state @ network.heads.weight[arm] + network.heads.bias[arm]
        torch.testing.assert_close(everything.logits[:, arm], logits, rtol=0, atol=1e-6)
        one = network(numeric, categorical, torch.full((64,), arm))
        torch.testing.assert_close(one.logits, logits, rtol=0, atol=1e-6)
        if network.value is not None:
            assert one.value is not None
            torch.testing.assert_close(one.value, network.value(state), rtol=0, atol=1e-6)


@pytest.mark.parametrize("changes", VARIANTS, ids=str)
def test_every_parameter_is_trained(changes: dict[str, Any]) -> None:
    network = build(**changes)
    output = network(*features(network), torch.arange(64) % network.arms)
    loss = output.logits.square().sum() + (0 if output.value is None else output.value.square().sum())
    loss.backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


def test_a_row_trains_the_representation_and_the_hypothesis_of_its_own_arm_alone() -> None:
    network = build()
    network(*features(network), torch.full((64,), 2)).logits.square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        if name.startswith(("hypotheses", "heads")):
            touched = parameter.grad.flatten(1).any(1)
            assert touched.tolist() == [False, False, True, False], name
        else:
            assert parameter.grad.any(), name


def test_the_treatment_changes_nothing_but_the_hypothesis() -> None:
    network = build()
    with torch.no_grad():
        for parameter in (*network.hypotheses.parameters(), *network.heads.parameters()):
            parameter.copy_(parameter[:1].expand_as(parameter))
    logits = network.all_arms(*features(network)).logits
    torch.testing.assert_close(logits, logits[:, :1].expand_as(logits), rtol=0, atol=1e-6)


def test_every_arm_starts_at_the_base_rates() -> None:
    network = build(stages=3)
    rates = torch.tensor([0.3, 0.01, 0.002])
    with torch.no_grad():
        network.heads.weight.zero_()
    network.heads.start_at(rates)
    found = torch.sigmoid(network.all_arms(*features(network)).logits)
    torch.testing.assert_close(found, rates.expand_as(found))


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


@pytest.mark.parametrize("loss_space", ["entire", "conditional", "independent"])
def test_effects_of_opposite_sign_are_found_at_every_stage(loss_space: str) -> None:
    train, _ = known(8_000, 0)
    audience, truth = known(4000, 1)
    model = TARNet(device="cpu", batch_size=256, max_epochs=8, loss_space=loss_space, learning_rate=3e-3).fit(
        train
    )
    effects = model.predict(audience)
    true_tau = truth - truth[:, :1]
    for stage in range(2):
        for arm in (1, 2):
            predicted = effects.tau_all[:, arm, stage]
            assert np.corrcoef(predicted, true_tau[:, arm, stage])[0, 1] > 0.85
            assert predicted.mean() == pytest.approx(true_tau[:, arm, stage].mean(), abs=0.04)


def test_all_stages_with_value_come_back_from_disk_bit_equal(tmp_path: Path) -> None:
    small = simulate(rows=3000, numeric=4, categorical=2, missing=0.1, seed=3).campaign()
    model = make_model("tarnet", device="cpu", max_epochs=2, representation=(16,), hidden=(8,)).fit(small)
    effects = model.predict(small)
    assert effects.stages == ("impression", "click", "conversion", "value")
    assert (np.diff(effects.mu_all[:, :, :3], axis=2) <= 0).all()
    model.save(tmp_path / "model")
    again = load_model(tmp_path / "model")
    assert isinstance(again, TARNet)
    np.testing.assert_array_equal(again.predict(small).mu_all, effects.mu_all)
    refitted = make_model("tarnet", **model.get_params()).fit(small)
    np.testing.assert_array_equal(refitted.predict(small).mu_all, effects.mu_all)
