"""DESCN: the identities of the entire space of treatments, and the weights of the losses."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy

from uplift.models.deep.descn import DescnNetwork, entire_space_losses
from uplift.models.deep.scaffold import ChainShape
from uplift.models.neural.loss import stage_losses
from uplift.models.neural.network import ChainOutput
from uplift.models.neural.rows import Rows

pytestmark = pytest.mark.usefixtures("one_thread")

NONE = {
    "propensity_weight": 0.0, "treated_weight": 0.0, "control_weight": 0.0, "cross_treated_weight": 0.0,
    "cross_control_weight": 0.0,
}  # fmt: skip
"""No loss but that of the outcomes."""

AUTHORS = {
    "propensity_weight": 0.5, "treated_weight": 0.5, "control_weight": 1.0, "cross_treated_weight": 1.0,
    "cross_control_weight": 0.5, "response_weight": 0.0,
}  # fmt: skip


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def build(arms: int = 3, stages: int = 2, **changes: Any) -> DescnNetwork:
    shape = ChainShape(
        numeric_fields=4, arms=arms, stages=stages, embedding_dim=4,
        loss_space=changes.pop("loss_space", "entire"),
    )  # fmt: skip
    options: dict[str, Any] = {"representation": (8, 6), "hidden": (5,), "fixed_length": False}
    options |= AUTHORS | {"stage_weights": (1.0,) * stages} | changes
    return DescnNetwork(shape, **options, generator=generator())


def batch(arms: int = 3, stages: int = 2, rows: int = 90) -> Rows:
    source = generator(1)
    return Rows(
        numeric=torch.randn(rows, 4, generator=source),
        categorical=torch.zeros(rows, 0, dtype=torch.int32),
        treatment=(torch.rand(rows, generator=source) ** 2 * arms).long(),  # arms of different sizes
        outcomes=(torch.rand(rows, stages, generator=source) < 0.6).float().cumprod(1),
        value=None,
        weights=None,
    )


def trained(network: DescnNetwork, rows: Rows) -> ChainOutput:
    return network.train()(rows.numeric, rows.categorical, rows.treatment)


def extras(output: ChainOutput) -> tuple[Tensor, Tensor, Tensor]:
    assert output.extras is not None
    return output.extras["propensity"], output.extras["logits"], output.extras["pseudo"]


# ---------------------------------------------------------------- the entire space


def test_entire_space_losses_are_cross_entropies_of_the_product_of_propensity_and_rate() -> None:
    network, rows = build(), batch()
    propensity, logits, _ = extras(trained(network, rows))
    pi, rates = propensity.softmax(1), torch.sigmoid(logits).cumprod(-1)
    own = torch.nn.functional.one_hot(rows.treatment, 3).float()
    expected = binary_cross_entropy(
        pi.unsqueeze(-1) * rates, own.unsqueeze(-1) * rows.outcomes.unsqueeze(1), reduction="none"
    )
    found = entire_space_losses(propensity, logits, rows.treatment, rows.outcomes)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_in_the_independent_space_every_stage_is_multiplied_by_the_propensity_alone() -> None:
    network, rows = build(), batch()
    propensity, logits, _ = extras(trained(network, rows))
    own = torch.nn.functional.one_hot(rows.treatment, 3).float()
    expected = binary_cross_entropy(
        propensity.softmax(1).unsqueeze(-1) * torch.sigmoid(logits),
        own.unsqueeze(-1) * rows.outcomes.unsqueeze(1),
        reduction="none",
    )
    found = entire_space_losses(propensity, logits, rows.treatment, rows.outcomes, space="independent")
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_in_the_conditional_space_every_arm_is_fitted_on_its_own_rows_and_the_propensity_has_no_part() -> (
    None
):
    network, rows = build(), batch()
    propensity, logits, _ = extras(trained(network, rows))
    found = entire_space_losses(propensity, logits, rows.treatment, rows.outcomes, space="conditional")
    for arm in range(3):
        mine = rows.treatment == arm
        own = stage_losses(logits[mine, arm], rows.outcomes[mine], space="conditional").mean(0)
        torch.testing.assert_close(found[:, arm].mean(0), own, rtol=1e-5, atol=1e-6)
        assert not found[~mine, arm].any()


def test_entire_space_responses_add_up_to_the_rate_whatever_the_arm() -> None:
    """ESTR + ESCR = P(Y = 1): the likelihoods of "this arm, and reached", summed over the arms."""
    network, rows = build(), batch()
    propensity, logits, _ = extras(trained(network, rows))
    reached = torch.ones_like(rows.outcomes)
    total = torch.zeros_like(reached)
    for arm in range(3):
        losses = entire_space_losses(propensity, logits, torch.full_like(rows.treatment, arm), reached)
        total += (-losses[:, arm]).exp()
    rates = torch.sigmoid(logits).cumprod(-1)
    torch.testing.assert_close(total, torch.einsum("ba,bas->bs", propensity.softmax(1), rates))


def test_the_true_propensities_and_rates_are_a_stationary_point_of_the_entire_space_losses() -> None:
    pi = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    mu = torch.tensor([[0.2, 0.05], [0.4, 0.1], [0.6, 0.12]], dtype=torch.float64)
    steps = torch.stack((mu[:, 0], mu[:, 1] / mu[:, 0]), dim=1)
    propensity = pi.log().requires_grad_()
    logits = torch.logit(steps).requires_grad_()
    # Every combination of arm and outcome, weighted by its probability.
    arms, outcomes, mass = [], [], []
    for arm in range(3):
        stops = (1 - mu[arm, 0], mu[arm, 0] - mu[arm, 1], mu[arm, 1])
        for reached, share in enumerate(stops):
            arms.append(arm)
            outcomes.append([float(reached >= 1), float(reached >= 2)])
            mass.append(float(pi[arm] * share))
    losses = entire_space_losses(
        propensity.expand(9, 3),
        logits.expand(9, 3, 2),
        torch.tensor(arms),
        torch.tensor(outcomes, dtype=torch.float64),
        weights=torch.tensor(mass, dtype=torch.float64),
    )
    losses.sum().backward()
    for parameter in (propensity, logits):
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad, torch.zeros_like(parameter.grad), rtol=0, atol=1e-7)


def test_every_row_trains_the_response_of_every_arm_through_the_entire_space_alone() -> None:
    rows = batch()
    rows = rows.take((rows.treatment == 1).nonzero().squeeze(1))
    for weight, touched in ((0.5, [True, True, True]), (0.0, [False, True, False])):
        network = build(
            **(NONE | {"treated_weight": weight, "control_weight": weight, "response_weight": 1.0})
        )
        output = trained(network, rows)
        factual = stage_losses(output.logits, rows.outcomes).sum(1).mean()
        (factual + network.penalty(output, rows)).backward()
        grad = network.heads.weight.grad
        assert grad is not None
        assert grad.flatten(1).any(1).tolist() == touched


# ---------------------------------------------------------------- the whole loss


def authors_loss(output: ChainOutput, rows: Rows) -> float:
    """The loss of the authors' main.py for control and one treatment, one outcome and equal groups."""
    propensity, logits, pseudo = extras(output)
    t, y = rows.treatment.double(), rows.outcomes[:, 0].double()
    p = propensity.double().softmax(1)[:, 1]
    mu0, mu1, tau = logits[:, 0, 0].double(), logits[:, 1, 0].double(), pseudo[:, 0, 0].double()
    share = t.mean()
    weight = t / (2 * share) + (1 - t) / (2 * (1 - share))
    losses = (
        AUTHORS["propensity_weight"] * binary_cross_entropy(p, t),
        AUTHORS["treated_weight"] * binary_cross_entropy(p * mu1.sigmoid(), y * t, weight=weight),
        AUTHORS["control_weight"] * binary_cross_entropy((1 - p) * mu0.sigmoid(), y * (1 - t), weight=weight),
        AUTHORS["cross_treated_weight"]
        * binary_cross_entropy((mu0 + tau).sigmoid()[t == 1], y[t == 1]),
        AUTHORS["cross_control_weight"]
        * binary_cross_entropy((mu1 - tau).sigmoid()[t == 0], y[t == 0]),
    )  # fmt: skip
    return float(sum(losses).detach())


def test_with_one_coupon_and_one_stage_the_loss_is_that_of_the_authors() -> None:
    network, rows = build(arms=2, stages=1), batch(arms=2, stages=1)
    assert float(rows.treatment.float().mean()) not in (0.0, 0.5, 1.0)
    output = trained(network, rows)
    total = stage_losses(output.logits, rows.outcomes).mean() + network.penalty(output, rows)
    assert float(total.detach()) == pytest.approx(authors_loss(output, rows), rel=1e-5)


def test_control_counts_once_for_every_coupon_and_all_arms_alike() -> None:
    rows = batch()
    counts = torch.bincount(rows.treatment, minlength=3)
    assert len(set(counts.tolist())) == 3
    weights = (len(rows) / 3 / counts)[rows.treatment]
    network = build(**(NONE | {"control_weight": 1.0}))
    output = trained(network, rows)
    propensity, logits, _ = extras(output)
    total = stage_losses(output.logits, rows.outcomes).sum(1).mean() + network.penalty(output, rows)
    losses = entire_space_losses(propensity, logits, rows.treatment, rows.outcomes)[:, 0].sum(1)
    torch.testing.assert_close(total, 2 * (weights * losses).mean(), rtol=1e-5, atol=1e-5)


def test_without_its_own_weights_the_loss_is_nothing() -> None:
    network, rows = build(**NONE), batch()
    output = trained(network, rows)
    total = stage_losses(output.logits, rows.outcomes).sum(1).mean() + network.penalty(output, rows)
    assert float(total.detach()) == pytest.approx(0.0, abs=1e-6)


def test_cross_losses_are_those_of_the_responses_where_the_pseudo_effect_is_their_difference() -> None:
    network, rows = build(), batch()
    _, logits, _ = extras(trained(network, rows))
    treated, control = network.cross_losses(logits, logits[:, 1:] - logits[:, :1], rows)

    def own(arm: int) -> Tensor:
        mine = rows.treatment == arm
        return stage_losses(logits[mine, arm], rows.outcomes[mine]).sum(1).mean()

    torch.testing.assert_close(treated, 2 / 3 * (own(1) + own(2)))
    torch.testing.assert_close(control, 2 / 3 * 2 * own(0))


def test_stage_and_row_weights_weight_every_loss() -> None:
    rows = batch()
    network = build(stage_weights=(1.0, 0.0), response_weight=1.0)
    last = replace(rows, outcomes=torch.stack((rows.outcomes[:, 0], 0 * rows.outcomes[:, 1]), dim=1))
    first, second = (network.penalty(trained(network, seen), seen) for seen in (rows, last))
    assert float(first.detach()) == pytest.approx(float(second.detach()), rel=1e-6)
    half = replace(rows, weights=torch.ones(len(rows)) * (torch.arange(len(rows)) % 2) * 2)
    weighted = network.penalty(trained(network, half), half)
    assert float(weighted.detach()) != pytest.approx(float(first.detach()), rel=1e-3)
    ones = replace(rows, weights=torch.ones(len(rows)))
    assert float(network.penalty(trained(network, ones), ones).detach()) == pytest.approx(
        float(first.detach()), rel=1e-6
    )


def test_a_fixed_length_leaves_the_direction_of_the_representation_alone() -> None:
    plain, fixed, rows = build(), build(fixed_length=True), batch()
    free, bound = (network.represent(rows.numeric, rows.categorical) for network in (plain, fixed))
    torch.testing.assert_close(bound.norm(dim=1), torch.full((90,), 6**0.5))
    torch.testing.assert_close(
        torch.nn.functional.normalize(free), torch.nn.functional.normalize(bound), rtol=1e-4, atol=1e-5
    )
