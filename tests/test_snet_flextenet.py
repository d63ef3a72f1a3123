"""SNet and FlexTENet: who reads which representation, and what the orthogonality penalties are zero for."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch

from uplift.errors import ModelError
from uplift.models.deep.flextenet import FlexTENet, FlexTENetNetwork
from uplift.models.deep.propensity import assignment_losses, odds_against_others
from uplift.models.deep.scaffold import ChainShape
from uplift.models.deep.snet import SNetNetwork, shared_support
from uplift.models.neural.rows import Rows
from uplift.models.registry import make_model

pytestmark = pytest.mark.usefixtures("one_thread")

SHAPE = ChainShape(numeric_fields=4, cardinalities=(5,), arms=3, stages=2, embedding_dim=6)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def snet(shape: ChainShape = SHAPE, **changes: Any) -> SNetNetwork:
    options = {"representation": (8, 4), "private": (6, 3), "hidden": (5,)} | changes
    weights = {"propensity_weight": 1.0, "orthogonality": 1.0}
    return SNetNetwork(shape, **(weights | options), generator=generator())


def flextenet(shape: ChainShape = SHAPE, **changes: Any) -> FlexTENetNetwork:
    options: dict[str, Any] = {"shared": (8, 5), "private": (6, 4), "orthogonality": 1.0}
    return FlexTENetNetwork(shape, **(options | changes), generator=generator())


def batch(shape: ChainShape = SHAPE, rows: int = 60, weights: torch.Tensor | None = None) -> Rows:
    source = generator(1)
    return Rows(
        numeric=torch.randn(rows, shape.numeric_fields, generator=source),
        categorical=torch.randint(5, (rows, len(shape.cardinalities)), generator=source).int(),
        treatment=torch.arange(rows) % shape.arms,
        outcomes=(torch.rand(rows, shape.stages, generator=source) < 0.7).float().cumprod(1),
        value=None,
        weights=weights,
    )


# ---------------------------------------------------------------- the assignment


def test_odds_against_the_others_are_the_logits_of_the_softmax() -> None:
    logits = 4 * torch.randn(50, 5, generator=generator())
    torch.testing.assert_close(
        torch.sigmoid(odds_against_others(logits)), logits.softmax(1), rtol=1e-5, atol=1e-7
    )


def test_odds_against_the_others_stay_exact_where_a_probability_rounds_to_one() -> None:
    logits = torch.tensor([[60.0, 0.0]], requires_grad=True)
    odds = odds_against_others(logits)
    torch.testing.assert_close(odds, torch.tensor([[60.0, -60.0]]))
    odds.sum().backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_weighted_assignment_is_learned_from_the_reweighted_rows() -> None:
    """With the inverse of the arm shares as weights, the constant that fits best is the uniform assignment."""
    treatment = torch.tensor([0] * 6 + [1] * 3 + [2])
    weights = torch.tensor([1 / 6] * 6 + [1 / 3] * 3 + [1.0]) * 10 / 3
    rows = replace(batch(rows=10), treatment=treatment, weights=weights)
    logits = torch.zeros(3, requires_grad=True)
    assignment_losses(logits.expand(10, 3), rows).mean().backward()
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad, torch.zeros(3), rtol=0, atol=1e-6)


# ---------------------------------------------------------------- SNet


def test_shared_support_is_the_mean_over_pairs_of_the_products_of_importances() -> None:
    importances = torch.rand(6, 9, generator=generator())
    pairs = [float(importances[r] @ importances[s]) for r, s in combinations(range(6), 2)]
    assert float(shared_support(importances)) == pytest.approx(np.mean(pairs), rel=1e-5)


def test_snet_importance_of_a_field_is_its_absolute_weights_in_the_first_layer() -> None:
    network = snet()
    found = network.importances()
    assert found.shape == (SHAPE.arms + 3, 5)
    dim = SHAPE.embedding_dim
    for field in range(5):
        rows = slice(field * dim, (field + 1) * dim)
        confounders = network.wide.weights[0][0, rows].abs().mean(1).sum()
        last_arm = network.narrow.weights[0][-1, rows].abs().mean(1).sum()
        torch.testing.assert_close(found[0, field], confounders)
        torch.testing.assert_close(found[-1, field], last_arm)


def test_snet_regulariser_is_zero_for_disjoint_fields_and_positive_for_one_in_common() -> None:
    shape = replace(SHAPE, numeric_fields=6, cardinalities=(), arms=3)
    network = snet(shape)
    everything = [*network.wide.weights[0], *network.narrow.weights[0]]
    assert len(everything) == 6
    with torch.no_grad():
        for number, weight in enumerate(everything):
            own = torch.zeros(6, shape.embedding_dim, 1)
            own[number] = 1
            weight.mul_(own.flatten(0, 1))
    assert float(shared_support(network.importances()).detach()) == 0.0
    with torch.no_grad():
        everything[0][:] = 0.01
    assert float(shared_support(network.importances()).detach()) > 0


def test_snet_outcomes_do_not_see_the_assignment_representation_nor_the_propensity_those_of_the_outcomes() -> (
    None
):
    network, rows = snet().train(), batch()
    output = network(rows.numeric, rows.categorical, rows.treatment)
    assert output.extras is not None
    output.logits.square().sum().backward(retain_graph=True)
    wide, narrow = network.wide.weights[0].grad, network.narrow.weights[0].grad
    assert wide is not None
    assert narrow is not None
    assert wide[0].abs().max() > 0
    assert not wide[1].any()
    assert narrow.flatten(1).any(1).all()
    network.zero_grad()
    output.extras["propensity"].square().sum().backward()
    assert network.wide.weights[0].grad is not None
    assert network.wide.weights[0].grad.flatten(1).any(1).all()
    assert network.narrow.weights[0].grad is None


def test_snet_outcome_of_an_arm_does_not_see_the_representation_of_another() -> None:
    network, rows = snet().eval(), batch()
    network(rows.numeric, rows.categorical, torch.full((60,), 2)).logits.sum().backward()
    grad = network.narrow.weights[0].grad
    assert grad is not None
    assert grad.flatten(1).any(1).tolist() == [True, False, False, True]  # outcome, control, coupons 1 and 2


# ---------------------------------------------------------------- FlexTENet


def test_flextenet_is_plain_shared_and_private_layers() -> None:
    network, rows = flextenet(), batch()
    shared = network.inputs.flat(rows.numeric, rows.categorical)
    states = [shared[:, :0]] * SHAPE.arms
    for layer in network.layers:
        below, shared = (
            shared,
            torch.nn.functional.elu(shared @ layer.shared.weight + layer.shared.bias),  # type: ignore[union-attr]
        )
        states = [
            torch.nn.functional.elu(torch.cat((below, state), 1) @ layer.weight[arm] + layer.bias[arm])  # type: ignore[index]
            for arm, state in enumerate(states)
        ]
    heads, logits = network.heads, network.all_arms(rows.numeric, rows.categorical).logits
    for arm, state in enumerate(states):
        both = torch.cat((shared, state), 1)
        expected = (
            shared @ heads.shared_weight + both @ heads.private.weight[arm] + heads.private.bias[arm, 0]
        )
        torch.testing.assert_close(logits[:, arm], expected, rtol=0, atol=1e-6)


def test_flextenet_arms_start_alike() -> None:
    network, rows = flextenet(), batch()
    logits = network.all_arms(rows.numeric, rows.categorical).logits
    torch.testing.assert_close(logits, logits[:, :1].expand_as(logits), rtol=0, atol=1e-6)


def authors_penalty(network: FlexTENetNetwork) -> float:
    """The sum of CATENets for control and one treatment, term by term."""

    def cosine(first: torch.Tensor, second: torch.Tensor) -> float:
        return float(torch.linalg.matrix_norm(first.T @ second) ** 2)

    first = network.layers[0].weight
    assert isinstance(first, torch.Tensor)
    total = cosine(first[0], first[1])
    for layer in network.layers:
        shared = layer.shared.weight  # type: ignore[union-attr]
        total += sum(cosine(shared, layer.weight[arm][: len(shared)]) for arm in range(2))  # type: ignore[index, arg-type]
    heads = network.heads
    below = len(heads.shared_weight)
    return total + sum(cosine(heads.shared_weight, heads.private.weight[arm, :below]) for arm in range(2))


def test_flextenet_penalty_with_two_arms_is_that_of_the_authors() -> None:
    network = flextenet(replace(SHAPE, arms=2))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(generator=generator(5))
        assert float(network.overlap()) == pytest.approx(authors_penalty(network), rel=1e-4)


def test_flextenet_penalty_is_as_strong_with_many_arms_that_are_alike() -> None:
    two, five = (flextenet(replace(SHAPE, arms=arms)) for arms in (2, 5))
    with torch.no_grad():
        assert float(five.overlap()) == pytest.approx(float(two.overlap()), rel=1e-4)


def test_flextenet_penalty_is_zero_where_no_two_subspaces_read_the_same_input_and_positive_else() -> None:
    network = flextenet(replace(SHAPE, numeric_fields=6, cardinalities=()))
    size = network.inputs.width
    with torch.no_grad():
        for number, layer in enumerate(network.layers):
            below = len(layer.shared.weight)  # type: ignore[union-attr]
            owner = torch.arange(below) % 4  # shared, control, and two coupons take turns
            layer.shared.weight.mul_((owner == 0).unsqueeze(1))  # type: ignore[union-attr]
            for arm in range(3):
                # Above the first layer the arms have inputs of their own, which the shared part never sees.
                layer.weight[arm, :below].mul_((owner == arm + 1).unsqueeze(1))  # type: ignore[index]
            assert number or below == size
        last = torch.arange(len(network.heads.shared_weight)) % 2 == 0
        network.heads.shared_weight.mul_(last.unsqueeze(1))
        network.heads.private.weight[:, : len(last)].mul_((~last).unsqueeze(1))
        assert float(network.overlap()) == 0.0
        network.heads.shared_weight.fill_(0.1)
        assert float(network.overlap()) > 0


def test_flextenet_wants_as_many_private_as_shared_layers() -> None:
    with pytest.raises(ModelError, match="shared has 2 layers and private 1"):
        make_model("flextenet", shared=(16, 8), private=(8,))
    assert FlexTENet().check_params() is None
