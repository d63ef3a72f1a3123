"""EFIN and M3TN: control plus an uplift, attention, gates, and the reversed treatment."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from uplift.models.deep.efin import (
    EfinNetwork,
    SelfInteraction,
    TreatmentInteraction,
    reversed_treatment_loss,
)
from uplift.models.deep.m3tn import GatedExperts, M3tnNetwork
from uplift.models.deep.scaffold import ChainShape, FieldNetwork
from uplift.models.neural.rows import Rows

pytestmark = pytest.mark.usefixtures("one_thread")

SHAPE = ChainShape(numeric_fields=4, cardinalities=(5,), arms=4, stages=2, value="lognormal", embedding_dim=6)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def efin(**changes: Any) -> EfinNetwork:
    options: dict[str, Any] = {
        "hidden": (8, 6), "uplift_hidden": (7, 3), "shared_uplift": False, "constraint_weight": 1.0, "stop_gradient": True,
    }  # fmt: skip
    return EfinNetwork(SHAPE, **(options | changes), generator=generator())


def m3tn(**changes: Any) -> M3tnNetwork:
    options: dict[str, Any] = {
        "experts": 3, "expert_hidden": (8, 6), "hidden": (5,), "stop_gradient": False,
    }  # fmt: skip
    return M3tnNetwork(SHAPE, **(options | changes), generator=generator())


def batch(rows: int = 60) -> Rows:
    source = generator(1)
    reached = (torch.rand(rows, 2, generator=source) < 0.7).float().cumprod(1)
    return Rows(
        numeric=torch.randn(rows, 4, generator=source),
        categorical=torch.randint(5, (rows, 1), generator=source).int(),
        treatment=torch.arange(rows) % 4,
        outcomes=reached,
        value=reached[:, 1],
        weights=None,
    )


def outcomes(network: FieldNetwork, rows: Rows) -> tuple[torch.Tensor, torch.Tensor]:
    with torch.no_grad():
        output = network.eval().all_arms(rows.numeric, rows.categorical)
    assert output.value is not None
    return output.logits, output.value


# ---------------------------------------------------------------- both


@pytest.mark.parametrize(
    ("build", "towers"),
    [(efin, ("interaction", "coupon", "constraint", "heads.uplift")), (m3tn, ("coupons", "heads.effects"))],
    ids=["efin", "m3tn"],
)
def test_control_does_not_depend_on_the_coupons_towers(build: Any, towers: tuple[str, ...]) -> None:
    network, rows = build(), batch()
    logits, value = outcomes(network, rows)
    with torch.no_grad():
        changed = [p for name, p in network.named_parameters() if name.startswith(towers)]
        for parameter in changed:
            parameter.normal_(generator=generator(7))
    assert changed
    other_logits, other_value = outcomes(network, rows)
    assert torch.equal(logits[:, 0], other_logits[:, 0])
    assert torch.equal(value[:, 0], other_value[:, 0])
    assert not torch.isclose(logits[:, 1:], other_logits[:, 1:]).all()


@pytest.mark.parametrize("build", [efin, m3tn], ids=["efin", "m3tn"])
def test_an_uplift_of_zero_is_control(build: Any) -> None:
    network, rows = build(), batch()
    layer = network.heads.uplift if build is efin else network.heads.effects
    with torch.no_grad():
        layer.weight.zero_()
        layer.bias.zero_()
    logits, _ = outcomes(network, rows)
    assert torch.equal(logits, logits[:, :1].expand_as(logits))


@pytest.mark.parametrize("build", [efin, m3tn], ids=["efin", "m3tn"])
def test_rates_stay_inside_zero_and_one_however_large_the_uplift(build: Any) -> None:
    network, rows = build(), batch()
    layer = network.heads.uplift if build is efin else network.heads.effects
    with torch.no_grad():
        layer.bias.fill_(12.0)
        rates = network.eval().all_arms(rows.numeric, rows.categorical).rates()
    assert ((rates > 0) & (rates < 1)).all()
    assert (rates[..., 1] <= rates[..., 0]).all()


@pytest.mark.parametrize(
    ("build", "control"),
    [
        (efin, ("self_interaction", "control", "heads.natural")),
        (m3tn, ("control", "heads.base", "mixture.gate")),
    ],
    ids=["efin", "m3tn"],
)
@pytest.mark.parametrize("stop_gradient", [True, False])
def test_rows_of_a_coupon_train_the_control_only_where_the_gradient_is_not_stopped(
    build: Any, control: tuple[str, ...], stop_gradient: bool
) -> None:
    network, rows = build(stop_gradient=stop_gradient).eval(), batch()
    network(rows.numeric, rows.categorical, torch.full((60,), 2)).logits.sum().backward()
    for name, parameter in network.named_parameters():
        if name.startswith(control):
            grad = parameter.grad if parameter.grad is not None else torch.zeros_like(parameter)
            if name.startswith("mixture.gate"):
                grad = grad[0]  # the gate of control
            assert bool(grad.any()) != stop_gradient, name


# ---------------------------------------------------------------- EFIN


def test_self_interaction_is_scaled_dot_product_attention() -> None:
    attend = SelfInteraction(6, generator=generator())
    fields = torch.randn(10, 5, 6, generator=generator(1))
    expected = torch.nn.functional.scaled_dot_product_attention(
        attend.query(fields), attend.key(fields), attend.values(fields)
    )
    torch.testing.assert_close(attend(fields), expected, rtol=0, atol=1e-5)


def test_treatment_interaction_is_equation_8_and_9_field_by_field() -> None:
    interact = TreatmentInteraction(6, 3, generator=generator())
    fields = torch.randn(10, 5, 6, generator=generator(1))
    found = interact(fields)
    for coupon in range(3):
        e_t = interact.coupons.table[coupon]
        for row in range(10):
            scores = torch.stack(
                [
                    interact.score @ torch.relu(e_t @ interact.of_coupon + interact.of_field(fields[row, j]))
                    for j in range(5)
                ]
            )
            alpha = torch.softmax(scores, dim=0)
            torch.testing.assert_close(interact.attention(fields)[coupon, row], alpha, rtol=0, atol=1e-6)
            torch.testing.assert_close(found[coupon, row], alpha @ fields[row], rtol=0, atol=1e-6)


def test_coupons_with_one_embedding_have_one_uplift_where_they_share_the_tower() -> None:
    network, rows = efin(shared_uplift=True), batch()
    with torch.no_grad():
        table = network.interaction.coupons.table
        table[1] = table[0]
    logits, value = outcomes(network, rows)
    assert torch.equal(logits[:, 1], logits[:, 2])
    assert torch.equal(value[:, 1], value[:, 2])
    assert not torch.isclose(logits[:, 1], logits[:, 3]).all()


def test_value_under_a_coupon_is_that_of_control_plus_a_part_of_the_coupon() -> None:
    network = efin()
    assert network.value is not None
    base, uplift = torch.randn(10, 6, generator=generator(1)), torch.randn(3, 10, 3, generator=generator(2))
    states = network.heads.value_states(base, uplift)
    raw = states @ network.value.weight
    torch.testing.assert_close(raw[:, 1:] - raw[:, :1], (uplift @ network.value.weight[6:]).transpose(0, 1))


def test_the_constraint_with_one_coupon_is_the_cross_entropy_of_one_less_the_treatment() -> None:
    rows = replace(batch(), treatment=torch.arange(60) % 3 % 2)
    logits = torch.randn(60, 1, generator=generator(3))
    expected = torch.nn.functional.binary_cross_entropy_with_logits(
        logits.squeeze(1), 1 - rows.treatment.float()
    )
    torch.testing.assert_close(reversed_treatment_loss(logits, rows), expected)


def test_the_constraint_of_a_coupon_is_on_its_rows_and_those_of_control() -> None:
    rows, logits = batch(), torch.randn(60, 3, generator=generator(3)).requires_grad_()
    reversed_treatment_loss(logits, rows).backward()
    assert logits.grad is not None
    for coupon in range(3):
        counts = (rows.treatment == 0) | (rows.treatment == coupon + 1)
        assert torch.equal(logits.grad[:, coupon] != 0, counts)
        # Pushed down on the rows that have the coupon: reversed.
        assert (logits.grad[rows.treatment == coupon + 1, coupon] > 0).all()


# ---------------------------------------------------------------- M3TN


def test_gates_sum_to_one_and_mix_the_experts() -> None:
    mixture = GatedExperts(7, (8, 5), experts=3, arms=4, generator=generator())
    x = torch.randn(10, 7, generator=generator(1))
    gates, experts, mixed = mixture.gates(x), mixture.experts(x), mixture(x)
    torch.testing.assert_close(gates.sum(-1), torch.ones(4, 10))
    assert (gates >= 0).all()
    for arm in range(4):
        expected = sum(gates[arm, :, e : e + 1] * experts[e] for e in range(3))
        torch.testing.assert_close(mixed[arm], expected, rtol=0, atol=1e-6)
    low, high = experts.amin(0), experts.amax(0)
    assert ((mixed >= low - 1e-6) & (mixed <= high + 1e-6)).all()


def test_with_one_expert_all_arms_see_the_same_features() -> None:
    mixture = GatedExperts(7, (5,), experts=1, arms=4, generator=generator())
    mixed = mixture(torch.randn(10, 7, generator=generator(1)))
    torch.testing.assert_close(mixed, mixed[:1].expand_as(mixed))
