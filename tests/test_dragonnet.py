"""Dragonnet's targeted loss solves the estimating equation of the average effect, and its propensity is one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from uplift.campaign import Campaign
from uplift.models.deep.dragonnet import FLOOR, DragonNet, contrasts, targeted_losses
from uplift.models.deep.tarnet import TARNet
from uplift.models.neural.rows import feature_tensors
from uplift.simulation import simulate

pytestmark = pytest.mark.usefixtures("one_thread")

ROWS = 4000


def observed() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Wrong logits [row, arm, stage], outcomes of two stages, arm received, and its true propensities."""
    source = torch.Generator().manual_seed(0)
    x = torch.randn(ROWS, generator=source, dtype=torch.float64)
    g = torch.stack((torch.zeros_like(x), 0.5 * x, -0.7 * x), 1).softmax(1)
    treatment = torch.multinomial(g, 1, generator=source).squeeze(1)
    rates = torch.sigmoid(x.unsqueeze(1) - 0.5 + torch.tensor([0.0, 0.6, -0.4]))
    click = torch.rand(ROWS, generator=source) < rates.gather(1, treatment.unsqueeze(1)).squeeze(1)
    buy = click & (torch.rand(ROWS, generator=source) < 0.4)
    logits = torch.stack((0.3 * x - 0.8, 0.1 * x), 1).unsqueeze(1).expand(-1, 3, -1)
    return logits, torch.stack((click, buy), 1).double(), treatment, g


def minimise(logits: Tensor, outcomes: Tensor, h: Tensor, space: Any) -> Tensor:
    epsilon = torch.zeros(1, h.shape[1], outcomes.shape[1], dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([epsilon], max_iter=200, tolerance_grad=1e-12, tolerance_change=0)

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = targeted_losses(logits, outcomes, h, epsilon, space).mean(0).sum()
        loss.backward()
        return loss

    optimiser.step(closure)  # type: ignore[arg-type]
    return epsilon.detach()


@pytest.mark.parametrize("space", ["entire", "conditional", "independent"])
def test_at_its_least_the_estimating_equation_of_every_arm_and_stage_holds(space: Any) -> None:
    """And so the plug-in average of the perturbed rates is the AIPW estimate made with them."""
    logits, outcomes, treatment, g = observed()
    received = logits[torch.arange(ROWS), treatment]
    h = contrasts(g, treatment)
    epsilon = minimise(received, outcomes, h, space)
    assert (epsilon.abs() > 1e-3).any()  # the logits are wrong, so there is something to perturb

    def perturbed(arm: Tensor, under: Tensor) -> Tensor:
        rates = torch.sigmoid(under) if space == "independent" else torch.sigmoid(under).cumprod(1)
        return torch.sigmoid(torch.logit(rates) + (contrasts(g, arm).unsqueeze(-1) * epsilon).sum(1))

    residual = outcomes - perturbed(treatment, received)
    equation = (h.unsqueeze(-1) * residual.unsqueeze(1)).mean(0)  # [arm, stage]
    assert equation.abs().max() < 1e-7
    control = perturbed(torch.zeros(ROWS, dtype=torch.int64), logits[:, 0])
    for arm in (1, 2):
        plug_in = (perturbed(torch.full((ROWS,), arm), logits[:, arm]) - control).mean(0)
        aipw = plug_in + (h[:, arm - 1 : arm] * residual).mean(0)
        torch.testing.assert_close(plug_in, aipw, rtol=0, atol=1e-7)
        # Doubly robust: the outcome model is wrong, the propensities are right, and the effect on the click is found.
        true = {1: 0.12, 2: -0.08}[arm]
        assert float(plug_in[0]) == pytest.approx(true, abs=0.04)


def test_the_gradient_in_epsilon_is_minus_the_estimating_equation() -> None:
    logits, outcomes, treatment, g = observed()
    received, h = logits[torch.arange(ROWS), treatment], contrasts(g, treatment)
    epsilon = torch.zeros(1, 2, 2, dtype=torch.float64, requires_grad=True)
    targeted_losses(received, outcomes, h, epsilon).mean(0).sum().backward()
    rates = torch.sigmoid(received).cumprod(1)
    assert epsilon.grad is not None
    torch.testing.assert_close(epsilon.grad[0], -(h.unsqueeze(-1) * (outcomes - rates).unsqueeze(1)).mean(0))


def test_contrasts_have_mean_zero_and_a_propensity_of_zero_divides_by_the_floor() -> None:
    _, _, treatment, g = observed()
    assert contrasts(g, treatment).mean(0).abs().max() < 0.15
    h = contrasts(torch.tensor([[1.0, 0.0]]), torch.tensor([1]))
    assert h.tolist() == [[pytest.approx(1 / FLOOR)]]


def confounded(rows: int) -> tuple[Campaign, np.ndarray]:
    """Who gets which of two coupons depends on x; and the true propensities."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=rows)
    scores = np.stack([np.zeros(rows), x, -x], 1)
    g = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    arm = (rng.random(rows)[:, None] > g.cumsum(1)).sum(1).clip(0, 2)
    click = rng.random(rows) < 1 / (1 + np.exp(-x))
    frame = pd.DataFrame({"x": x, "noise": rng.normal(size=rows), "arm": arm, "click": click})
    return Campaign.from_frame(frame, treatment="arm", control=0, chain=["click"]), g


def test_the_propensity_head_learns_the_propensity() -> None:
    campaign, g = confounded(4000)
    model = DragonNet(
        device="cpu", max_epochs=8, batch_size=256, learning_rate=5e-3, representation=(16, 8), hidden=(8,),
        criterion="loss",
    ).fit(campaign)  # fmt: skip
    network = model.network_
    assert network.propensity is not None
    with torch.no_grad():
        phi = network.represent(*feature_tensors(campaign, model.schema_))
        found = network.propensity(phi).softmax(1).numpy()
    for arm in range(3):
        assert np.abs(found[:, arm] - g[:, arm]).mean() < 0.05


def test_without_its_parts_dragonnet_is_tarnet_bit_for_bit() -> None:
    small = simulate(rows=1500, numeric=4, categorical=1, value=False, seed=3).campaign()
    options: dict[str, Any] = {
        "device": "cpu",
        "max_epochs": 2,
        "representation": (8,),
        "hidden": (4,),
        "criterion": "loss",
    }
    train, held = small.split(test=0.2, seed=0)  # models hold out rows of their own otherwise
    dragon = DragonNet(**options, alpha=0.0, beta=0.0).fit(train, validation=held)
    tarnet = TARNet(**options).fit(train, validation=held)
    np.testing.assert_array_equal(dragon.predict(small).mu_all, tarnet.predict(small).mu_all)


def test_every_arm_and_stage_has_an_epsilon_that_is_learned() -> None:
    small = simulate(
        rows=1500, numeric=4, categorical=1, chain=("click", "buy"), value=False, seed=3
    ).campaign()
    model = DragonNet(
        device="cpu", max_epochs=2, representation=(8,), hidden=(4,), criterion="loss", weight_decay=10.0
    ).fit(small)
    epsilon = model.network_.epsilon_bias
    assert epsilon is not None
    assert epsilon.shape == (3, 2)
    assert (epsilon != 0).all()
