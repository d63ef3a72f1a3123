"""TENet as compiled for the CPU against torch's own operations in float64: values, gradients, edges, and where it is used."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from numba import njit
from torch import Tensor

import uplift
from uplift.models.ecup import fused
from uplift.models.ecup.float32x8 import exp2, load, store
from uplift.models.ecup.tenet import TENet

SHAPES = [
    pytest.param(99, 16, 2, 1, "d", id="the paper's, as wide as MT-LIFT"),
    pytest.param(20, 16, 2, 1, "d", id="fewest"),
    pytest.param(21, 32, 2, 4, "d", id="heads"),
    pytest.param(33, 16, 1, 1, "f*d", id="one unit, a vector per field"),
    pytest.param(40, 16, 2, 2, "f*d", id="heads and a vector per field"),
]


def network(fields: int, dim: int, units: int, heads: int, bit_level: str) -> TENet:
    return TENet(
        units=units,
        fields=fields,
        dim=dim,
        attention_dim=dim,
        bit_level=bit_level,  # type: ignore[arg-type]
        heads=heads,
        generator=torch.Generator().manual_seed(0),
    )


def inputs(rows: int, fields: int, dim: int, *, scale: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
    source = torch.Generator().manual_seed(1)
    x = scale * torch.randn(rows, fields, dim, generator=source)
    return x, torch.randn(rows, dim, generator=source), torch.randn(rows, fields + 1, dim, generator=source)


def values_and_gradients(net: TENet, x: Tensor, treatment: Tensor, slopes: Tensor) -> list[Tensor]:
    x, treatment = x.clone().requires_grad_(), treatment.clone().requires_grad_()
    net.zero_grad()
    tokens = net(x, treatment)
    tokens.backward(slopes)
    found = [tokens.detach(), x.grad, treatment.grad, *(parameter.grad for parameter in net.parameters())]
    assert all(tensor is not None for tensor in found)
    return [tensor.clone() for tensor in found if tensor is not None]


def relative_gap(found: list[Tensor], exact: list[Tensor]) -> float:
    """Largest difference, as a share of the largest number of each tensor."""
    gaps = [((a.double() - b).abs().max() / b.abs().max()).item() for a, b in zip(found, exact, strict=True)]
    return max(gaps)


@pytest.mark.parametrize(("fields", "dim", "units", "heads", "bit_level"), SHAPES)
@pytest.mark.parametrize("rows", [1, 70])
def test_values_and_all_gradients_are_those_of_float64(
    fields: int, dim: int, units: int, heads: int, bit_level: str, rows: int
) -> None:
    net = network(fields, dim, units, heads, bit_level)
    x, treatment, slopes = inputs(rows, fields, dim)
    assert fused.usable(x)
    assert not fused.usable(x.double())
    found = values_and_gradients(net, x, treatment, slopes)
    exact = values_and_gradients(net.double(), x.double(), treatment.double(), slopes.double())
    assert relative_gap(found, exact) < 5e-6


@pytest.mark.parametrize(("fields", "dim", "units", "heads", "bit_level"), SHAPES)
def test_all_arms_at_once_equal_arm_by_arm(
    fields: int, dim: int, units: int, heads: int, bit_level: str
) -> None:
    net = network(fields, dim, units, heads, bit_level)
    x, _, _ = inputs(37, fields, dim)
    arms = torch.randn(5, dim, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        together = net.all_arms(x, arms)
        one_by_one = torch.stack([net(x, arm.expand(37, -1)) for arm in arms], dim=1)
    # What the treatment lets through comes from products of other shapes: the last digit differs.
    torch.testing.assert_close(together, one_by_one, atol=2e-6, rtol=2e-6)
    # With gradients the same comes from torch's operations, which can be differentiated.
    torch.testing.assert_close(net.all_arms(x, arms), together, atol=2e-5, rtol=1e-5)
    net.all_arms(x, arms).sum().backward()


def test_scores_of_hundreds_neither_overflow_nor_vanish() -> None:
    net = network(24, 16, 2, 1, "d")
    x, treatment, slopes = inputs(40, 24, 16, scale=30.0)
    found = values_and_gradients(net, x, treatment, slopes)
    exact = values_and_gradients(net.double(), x.double(), treatment.double(), slopes.double())
    assert all(torch.isfinite(tensor).all() for tensor in found)
    # Scores of some thousand: a rounding of their last digit moves the attention by that much.
    assert relative_gap(found, exact) < 2e-3


def test_a_row_with_nan_spoils_itself_alone() -> None:
    net = network(24, 16, 2, 1, "d")
    x, treatment, _ = inputs(6, 24, 16)
    x[2, 5, 3] = math.nan
    with torch.no_grad():
        tokens = net(x, treatment)
    assert tokens[2, :-1].isnan().any()
    assert not tokens[[0, 1, 3, 4, 5]].isnan().any()


def test_same_bits_on_any_number_of_threads() -> None:
    net = network(24, 16, 2, 1, "d")
    x, treatment, slopes = inputs(5 * fused.CHUNK + 3, 24, 16)
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.append(values_and_gradients(net, x, treatment, slopes))
    finally:
        torch.set_num_threads(before)
    # The weights' gradients also pass through torch's own sums; those of rows do not.
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0][:2], other[:2], strict=True))
        for a, b in zip(results[0][2:], other[2:], strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-4)


def test_several_threads_may_call_at_the_same_time() -> None:
    net = network(24, 16, 2, 1, "d")
    batches = [inputs(90, 24, 16, scale=0.5 + i)[:2] for i in range(6)]
    with torch.no_grad():
        alone = [net(x, treatment) for x, treatment in batches]

    def run(batch: tuple[Tensor, Tensor]) -> Tensor:
        with torch.no_grad():
            return net(*batch)  # type: ignore[no-any-return]

    with ThreadPoolExecutor(3) as pool:
        assert all(torch.equal(a, b) for a, b in zip(alone, pool.map(run, batches), strict=True))


def test_not_under_autocast_and_not_twice_differentiable() -> None:
    x, treatment, _ = inputs(4, 24, 16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert not fused.usable(x)
    net = network(24, 16, 2, 1, "d")
    x.requires_grad_()
    (slope,) = torch.autograd.grad(net(x, treatment).pow(2).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        slope.sum().backward()


def test_power_of_two_to_the_last_digits() -> None:
    @njit
    def powers(x, y):  # type: ignore[no-untyped-def]
        for i in range(0, x.shape[0], 8):
            store(y, i, exp2(load(x, i)))

    x = np.linspace(-126, 127, 80_000, dtype=np.float32)
    y = np.empty_like(x)
    powers(x, y)
    assert np.abs(y / np.exp2(x.astype(np.float64)) - 1).max() < 3e-7
    least = np.full(8, -500, np.float32)
    powers(least, y)
    assert (y[:8] == np.float32(2.0**-126)).all()


def test_a_model_of_many_fields_repeats_itself_and_can_be_exported(tmp_path) -> None:  # type: ignore[no-untyped-def]
    campaign = uplift.simulate(rows=2_000, numeric=26, seed=0).campaign()
    model = uplift.ECUP(max_epochs=1, random_state=0).fit(campaign)
    again = uplift.ECUP(max_epochs=1, random_state=0).fit(campaign)
    effects = model.predict(campaign)
    assert np.array_equal(effects.mu_all, again.predict(campaign).mu_all)
    assert model.export(tmp_path / "model.pt2").exists()  # compared with the network before it gets its name
