"""What each deep network shares between arms and stages, and what it keeps apart."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from uplift.models.deep.esmm import EsmmNetwork
from uplift.models.deep.euen import EuenNetwork
from uplift.models.deep.scaffold import ChainShape
from uplift.models.deep.separate import SeparateNetwork
from uplift.models.deep.single import SingleNetwork

pytestmark = pytest.mark.usefixtures("one_thread")

SHAPE = ChainShape(
    numeric_fields=3, cardinalities=(5, 4), arms=4, stages=2, value="lognormal", embedding_dim=6
)
ROWS = 32


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def features() -> tuple[Tensor, Tensor]:
    source = generator(1)
    codes = [torch.randint(size, (ROWS,), generator=source) for size in SHAPE.cardinalities]
    return torch.randn(ROWS, 3, generator=source), torch.stack(codes, 1).int()


def trained(network: Any, arm: int) -> dict[str, Tensor]:
    """Gradients after a step on rows of one arm; zeros where there are none."""
    network.zero_grad()
    network(*features(), torch.full((ROWS,), arm)).logits.square().sum().backward()
    return {
        name: torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        for name, parameter in network.named_parameters()
    }


# ---------------------------------------------------------------- S-network


def test_the_arm_enters_the_s_network_by_its_embedding_alone() -> None:
    network = SingleNetwork(SHAPE, hidden=(8, 4), generator=generator())
    before = network.all_arms(*features()).logits
    assert not torch.allclose(before[:, 0], before[:, 1])
    with torch.no_grad():
        network.layers.treatment.table.copy_(network.layers.treatment.table[:1].expand(4, -1))
    logits = network.all_arms(*features()).logits
    torch.testing.assert_close(logits, before[:, :1].expand_as(logits), rtol=0, atol=1e-6)


# ---------------------------------------------------------------- T-network


def test_every_arm_of_the_t_network_is_a_plain_network_with_its_own_embeddings() -> None:
    network = SeparateNetwork(SHAPE, hidden=(8, 4), generator=generator())
    numeric, categorical = features()
    logits = network.all_arms(numeric, categorical).logits
    wide, table = network.inputs.numeric, network.categorical
    assert wide is not None
    assert table is not None
    for arm in range(4):
        own = slice(6 * arm, 6 * (arm + 1))
        vectors = [numeric[:, j : j + 1] * wide.slope[j, own] + wide.offset[j, own] for j in range(3)]
        vectors += [table.table[categorical[:, 0], own], table.table[5 + categorical[:, 1], own]]
        state = torch.cat(vectors, dim=1)
        for weight, bias in zip(network.hypotheses.weights, network.hypotheses.biases, strict=True):
            state = torch.nn.functional.elu(state @ weight[arm] + bias[arm])
        expected = state @ network.heads.weight[arm] + network.heads.bias[arm]
        torch.testing.assert_close(logits[:, arm], expected, rtol=0, atol=1e-6)


def test_rows_of_one_arm_train_nothing_of_another_in_the_t_network() -> None:
    network = SeparateNetwork(SHAPE, hidden=(8, 4), generator=generator())
    for name, gradient in trained(network, 2).items():
        if name.startswith("value") or name.endswith("missing"):
            continue
        # Arms lie along the columns of the embeddings, and along the first axis elsewhere.
        per_arm = gradient.unflatten(1, (4, 6)).transpose(0, 1) if name.startswith("inputs") else gradient
        touched = per_arm.flatten(1).any(1)
        assert touched.tolist() == [False, False, True, False], name


def test_every_arm_of_the_t_network_starts_on_the_scale_of_a_network_of_its_own() -> None:
    network = SeparateNetwork(SHAPE, hidden=(8, 4), generator=generator())
    assert network.inputs.numeric is not None
    bound = network.inputs.numeric.slope.abs().max().item()
    assert 0.8 * 6**-0.5 < bound <= 6**-0.5


# ---------------------------------------------------------------- EUEN


@pytest.mark.parametrize("stop_gradient", [True, False])
def test_rows_of_a_coupon_train_the_control_network_only_without_the_stop(stop_gradient: bool) -> None:
    network = EuenNetwork(SHAPE, hidden=(8, 4), stop_gradient=stop_gradient, generator=generator())
    for name, gradient in trained(network, 2).items():
        if name.startswith(("control", "heads.base")):
            assert gradient.any() == (not stop_gradient), name
        elif name.startswith(("uplift", "heads.effects")):
            assert gradient.flatten(1).any(1).tolist() == [False, True, False], name
    for name, gradient in trained(network, 0).items():
        assert not (name.startswith(("shared", "uplift", "heads.effects")) and gradient.any()), name


def test_the_uplift_network_is_the_log_odds_ratio_and_without_it_coupons_do_nothing() -> None:
    network = EuenNetwork(SHAPE, hidden=(8, 4), stop_gradient=True, generator=generator())
    numeric, categorical = features()
    logits = network.all_arms(numeric, categorical).logits
    state = network.uplift(network.shared(network.inputs.flat(numeric, categorical)))
    ratios = network.heads.effects(state).transpose(0, 1)
    torch.testing.assert_close(logits[:, 1:] - logits[:, :1], ratios, rtol=0, atol=1e-6)
    with torch.no_grad():
        network.heads.effects.weight.zero_()
    mu = network.all_arms(numeric, categorical).rates()
    assert torch.equal(mu, mu[:, :1].expand_as(mu))


# ---------------------------------------------------------------- ESMM


def test_every_stage_has_a_tower_and_all_share_the_bottom() -> None:
    network = EsmmNetwork(SHAPE, bottom=(8,), tower=(6, 4), generator=generator())
    numeric, categorical = features()
    for stage in range(2):
        network.zero_grad()
        output = network(numeric, categorical, torch.arange(ROWS) % 4)
        output.logits[:, stage].square().sum().backward()
        for name, parameter in network.named_parameters():
            if name.startswith("towers"):
                assert parameter.grad is not None
                touched = parameter.grad.flatten(1).any(1).tolist()
                assert touched == [tower == stage for tower in range(3)], name  # the third is the value's
            elif name.startswith("bottom"):
                assert parameter.grad is not None
                assert parameter.grad.any(), name


def test_the_rate_in_the_entire_space_is_the_product_of_the_towers() -> None:
    network = EsmmNetwork(SHAPE, bottom=(8,), tower=(4,), generator=generator())
    output = network.all_arms(*features())
    click, bought = torch.sigmoid(output.logits).unbind(-1)
    torch.testing.assert_close(output.rates()[..., 1], click * bought)
