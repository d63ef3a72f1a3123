"""CFR's distances are what they claim, against closed form, sorting and a linear program; and CFR uses them as its paper says."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import linprog
from torch import Tensor

from uplift.models.deep.balance import Distance, imbalance, linear_mmd, rbf_mmd, sinkhorn, unit_spread
from uplift.models.deep.cfrnet import CFRNet, CfrnetNetwork
from uplift.models.deep.scaffold import ChainShape
from uplift.models.deep.tarnet import TARNet
from uplift.models.neural.rows import Rows
from uplift.simulation import simulate

pytestmark = pytest.mark.usefixtures("one_thread")

SHARP = partial(sinkhorn, sharpness=200.0, iterations=3000)
DISTANCES: list[Distance] = [
    linear_mmd,
    partial(rbf_mmd, width=1.3),
    partial(sinkhorn, sharpness=10.0, iterations=10),
]
every_distance = pytest.mark.parametrize("distance", DISTANCES, ids=["linear", "rbf", "sinkhorn"])


def sample(rows: int, width: int, seed: int, shift: float = 0.0) -> Tensor:
    return shift + torch.randn(
        rows, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )


def equal(rows: int) -> Tensor:
    return torch.full((rows,), 1 / rows, dtype=torch.float64)


def uneven(rows: int, seed: int) -> Tensor:
    weights = torch.rand(rows, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 0.1
    return weights / weights.sum()


# ---------------------------------------------------------------- MMD


def test_rbf_mmd_is_the_mean_over_pairs_of_different_rows() -> None:
    x, y, width = sample(7, 3, 0), sample(5, 3, 1, shift=0.5), 1.3

    def kernel(one: Tensor, other: Tensor) -> float:
        return float(np.exp(-np.sum((one.numpy() - other.numpy()) ** 2) / width**2))

    within = np.mean([kernel(x[i], x[j]) for i in range(7) for j in range(7) if i != j])
    beyond = np.mean([kernel(y[i], y[j]) for i in range(5) for j in range(5) if i != j])
    across = np.mean([kernel(p, q) for p in x for q in y])
    found = rbf_mmd(x, y, equal(7), equal(5), width=width)
    assert float(found) == pytest.approx(within + beyond - 2 * across, abs=1e-12)


def test_rbf_mmd_of_two_normals_is_the_closed_form() -> None:
    """E k(x, y) for x - y ~ N(m, 2 s^2) and kernel exp(-d^2 / w^2) is w / sqrt(w^2 + 4 s^2) exp(-m^2 / (w^2 + 4 s^2))."""
    rows, shift, width = 3000, 1.0, 1.5
    found = rbf_mmd(
        sample(rows, 1, 0), sample(rows, 1, 1, shift=shift), equal(rows), equal(rows), width=width
    )
    spread = width**2 + 4
    expected = 2 * width / np.sqrt(spread) * (1 - np.exp(-(shift**2) / spread))
    assert float(found) == pytest.approx(expected, rel=0.05)


def test_rbf_mmd_of_one_distribution_is_zero_on_average_and_linear_mmd_is_the_variance_of_the_means() -> None:
    rbf, linear = [], []
    for seed in range(200):
        x, y = sample(30, 2, 2 * seed), sample(20, 2, 2 * seed + 1)
        rbf.append(float(rbf_mmd(x, y, equal(30), equal(20), width=1.0)))
        linear.append(float(linear_mmd(x, y, equal(30), equal(20))))
    assert abs(np.mean(rbf)) < 3 * np.std(rbf) / np.sqrt(200)
    assert np.mean(linear) == pytest.approx(2 * (1 / 30 + 1 / 20), rel=0.2)


# ---------------------------------------------------------------- Wasserstein


def test_sharp_sinkhorn_on_a_line_is_the_distance_of_the_sorted_samples() -> None:
    x, y = sample(12, 1, 0), sample(12, 1, 1, shift=0.7)
    sorted_distance = (x.sort(0).values - y.sort(0).values).abs().mean()
    assert float(SHARP(x, y, equal(12), equal(12))) == pytest.approx(float(sorted_distance), rel=5e-3)


@pytest.mark.parametrize("width", [1, 3])
def test_sharp_sinkhorn_is_the_linear_program_of_optimal_transport(width: int) -> None:
    x, y, a, b = sample(6, width, 0), sample(8, width, 1, shift=0.5), uneven(6, 2), uneven(8, 3)
    cost = torch.cdist(x, y).numpy()
    rows, columns = np.kron(np.eye(6), np.ones(8)), np.kron(np.ones(6), np.eye(8))
    best = linprog(cost.ravel(), A_eq=np.vstack((rows, columns)), b_eq=np.concatenate((a.numpy(), b.numpy())))
    found = float(SHARP(x, y, a, b))
    assert found == pytest.approx(best.fun, rel=5e-3)
    assert found >= best.fun - 1e-6


def test_sinkhorn_survives_rows_that_are_far_from_all_others() -> None:
    """In float32, where exp(-lambda distance) is zero for them."""
    x, y = sample(20, 2, 0).float(), sample(20, 2, 1).float()
    x[0] += 1e4
    y[3] -= 1e6
    x.requires_grad_()
    found = sinkhorn(x, y, equal(20).float(), equal(20).float(), sharpness=50.0, iterations=10)
    found.backward()
    assert found.isfinite()
    assert x.grad is not None
    assert x.grad.isfinite().all()


# ---------------------------------------------------------------- all of them


@every_distance
def test_a_row_of_weight_zero_is_no_row(distance: Distance) -> None:
    """But for Sinkhorn's mean distance, which sets how sharp its plan is."""
    x, y = sample(5, 2, 0), sample(4, 2, 1, shift=1.0)
    once = distance(x, y, torch.tensor([0.4, 0.2, 0.2, 0.2, 0.0]).double(), equal(4))
    without = distance(x[:4], y, torch.tensor([0.4, 0.2, 0.2, 0.2]).double(), equal(4))
    torch.testing.assert_close(once, without, rtol=0.02, atol=1e-9)


@every_distance
def test_shifting_an_arm_toward_control_lowers_the_distance(distance: Distance) -> None:
    x, y = sample(40, 2, 0), sample(30, 2, 1)
    found = [float(distance(x, y + shift, equal(40), equal(30))) for shift in (3.0, 2.0, 1.0, 0.0)]
    assert found == sorted(found, reverse=True)
    moved = (y + 2.0).requires_grad_()
    distance(x, moved, equal(40), equal(30)).backward()
    assert moved.grad is not None
    assert (moved.grad.sum(0) > 0).all()  # a step against the gradient moves the arm back


@every_distance
def test_imbalance_is_the_mean_over_arms_and_an_absent_arm_counts_as_zero(distance: Distance) -> None:
    phi, treatment = sample(30, 2, 0), torch.arange(30) % 3
    phi = phi + treatment.unsqueeze(1)
    pairs = [distance(phi[treatment == 0], phi[treatment == arm], equal(10), equal(10)) for arm in (1, 2)]
    torch.testing.assert_close(imbalance(phi, treatment, None, 3, distance), sum(pairs) / 2)
    torch.testing.assert_close(imbalance(phi, treatment, None, 4, distance), sum(pairs) / 3)
    treated = treatment > 0
    alone = imbalance(phi[treated].requires_grad_(), treatment[treated], None, 3, distance)
    assert float(alone.detach()) == 0
    alone.backward()


@every_distance
def test_rows_of_weight_zero_and_the_scale_of_weights_are_nothing_to_the_imbalance(
    distance: Distance,
) -> None:
    phi, treatment = sample(30, 2, 0), torch.arange(30) % 3
    weights = torch.ones(30).double()
    weights[::4] = 0
    kept = weights > 0
    expected = imbalance(phi[kept], treatment[kept], None, 3, distance)
    torch.testing.assert_close(imbalance(phi, treatment, 5 * weights, 3, distance), expected)


# ---------------------------------------------------------------- the network


def network(**options: Any) -> CfrnetNetwork:
    defaults: dict[str, Any] = {"distance": linear_mmd, "alpha": 2.0, "unit_norm": True, "equal_arms": True}
    return CfrnetNetwork(
        ChainShape(numeric_fields=3, arms=3, stages=2, embedding_dim=4),
        representation=(8, 6),
        hidden=(4,),
        generator=torch.Generator().manual_seed(0),
        **(defaults | options),
    )


def rows_of(treatment: Tensor, weights: Tensor | None = None) -> Rows:
    count = len(treatment)
    return Rows(
        numeric=torch.randn(count, 3, generator=torch.Generator().manual_seed(1)),
        categorical=torch.zeros(count, 0, dtype=torch.int32),
        treatment=treatment,
        outcomes=torch.zeros(count, 2),
        value=None,
        weights=weights,
    )


def test_the_penalty_is_alpha_times_the_imbalance_of_the_representation() -> None:
    cfr, rows = network().train(), rows_of(torch.arange(60) % 3)
    phi = cfr.represent(rows.numeric, rows.categorical)
    torch.testing.assert_close(phi.norm(dim=1), torch.ones(60))
    penalty = cfr.penalty(cfr(rows.numeric, rows.categorical, rows.treatment), rows)
    assert penalty is not None
    spread = phi.var(0, unbiased=False).sum()  # the squared linear distance in units of the squared spread
    torch.testing.assert_close(penalty, 2.0 * imbalance(phi, rows.treatment, None, 3, linear_mmd) / spread)


@every_distance
def test_the_penalty_does_not_fall_when_the_representation_shrinks_or_moves(distance: Distance) -> None:
    phi, treatment = sample(30, 2, 0), torch.arange(30) % 3
    phi = phi + treatment.unsqueeze(1)
    found = [imbalance(unit_spread(one), treatment, None, 3, distance) for one in (phi, 0.01 * phi - 7)]
    torch.testing.assert_close(*found, rtol=1e-5, atol=1e-9)


def test_training_weights_give_every_arm_the_same_mass_as_in_the_paper() -> None:
    """For two arms of share u and 1 - u they are t / 2u + (1 - t) / 2(1 - u)."""
    treatment = torch.tensor([0] * 6 + [1] * 2)
    shape = ChainShape(numeric_fields=3, arms=2, stages=2, embedding_dim=4)
    two = CfrnetNetwork(
        shape, representation=(8,), hidden=(4,), distance=linear_mmd, alpha=1.0, unit_norm=True,
        equal_arms=True, generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    weights = two.weigh(rows_of(treatment)).weights
    assert weights is not None
    torch.testing.assert_close(weights, torch.tensor([0.5 / 0.75] * 6 + [0.5 / 0.25] * 2))
    own = torch.linspace(0.5, 1.5, 60)
    weighted = network().weigh(rows_of(torch.arange(60) // 30, own)).weights
    assert weighted is not None
    masses = [float(weighted[:30].sum()), float(weighted[30:].sum())]
    assert masses == pytest.approx([float(own.sum()) / 3] * 2)
    torch.testing.assert_close(weighted[:30] / weighted[0], own[:30] / own[0])
    plain = rows_of(treatment)
    assert network(equal_arms=False).weigh(plain) is plain


def test_without_its_parts_cfr_is_tarnet_bit_for_bit() -> None:
    small = simulate(rows=1500, numeric=4, categorical=1, value=False, seed=3).campaign()
    options: dict[str, Any] = {
        "device": "cpu",
        "max_epochs": 2,
        "representation": (8,),
        "hidden": (4,),
        "criterion": "loss",
    }
    train, held = small.split(test=0.2, seed=0)  # models hold out rows of their own otherwise
    cfr = CFRNet(**options, alpha=0.0, unit_norm=False, equal_arms=False).fit(train, validation=held)
    tarnet = TARNet(**options).fit(train, validation=held)
    np.testing.assert_array_equal(cfr.predict(small).mu_all, tarnet.predict(small).mu_all)


@pytest.mark.parametrize("ipm", ["mmd", "linear_mmd", "wasserstein"])
def test_a_confounded_representation_is_balanced_by_training(ipm: str) -> None:
    """Arms are given by x itself. With the penalty their representations come together, without it they do not."""
    import pandas as pd

    from uplift.campaign import Campaign
    from uplift.models.neural.rows import feature_tensors

    rng = np.random.default_rng(0)
    x = rng.normal(size=3000)
    arm = (x + rng.normal(size=3000) > 0).astype(int)
    click = rng.random(3000) < 1 / (1 + np.exp(-x - 0.5 * arm))
    frame = pd.DataFrame({"x": x, "noise": rng.normal(size=3000), "arm": arm, "click": click})
    campaign = Campaign.from_frame(frame, treatment="arm", control=0, chain=["click"])
    distances = []
    for alpha in (0.0, 3.0):
        model = CFRNet(
            ipm=ipm, alpha=alpha, device="cpu", max_epochs=6, batch_size=256, learning_rate=5e-3,
            representation=(16, 8), hidden=(8,), criterion="loss",
        ).fit(campaign)  # fmt: skip
        with torch.no_grad():
            phi = model.network_.represent(*feature_tensors(campaign, model.schema_))
        distances.append(float(imbalance(unit_spread(phi), torch.from_numpy(arm), None, 2, linear_mmd)))
    assert distances[1] < 0.3 * distances[0]
