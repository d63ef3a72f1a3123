"""The objective is the entire-space cross-entropy of the chain, exact for rare events and finite when saturated."""

from __future__ import annotations

import math
from itertools import pairwise

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings

from uplift.models.neural.criterion import mean_qini, qini_per_capita
from uplift.models.neural.loss import chain_log_probabilities, stage_losses
from uplift.models.neural.selection import Candidate, EpochSelection
from uplift.models.neural.value import LognormalHead, SquaredErrorHead

logit = st.floats(-25, 25, width=32)


def naive(logits: torch.Tensor, outcomes: torch.Tensor) -> torch.Tensor:
    rates = torch.sigmoid(logits.double()).cumprod(-1)
    return -(outcomes * rates.log() + (1 - outcomes) * (1 - rates).log())


def chain(seed: int, rows: int, stages: int) -> torch.Tensor:
    source = torch.Generator().manual_seed(seed)
    return (torch.rand(rows, stages, generator=source) < 0.6).double().cumprod(1)


@pytest.mark.parametrize("stages", [1, 2, 3, 5])
def test_loss_and_gradient_equal_the_naive_formula_in_float64(stages: int) -> None:
    logits = 3 * torch.randn(
        200, stages, dtype=torch.float64, generator=torch.Generator().manual_seed(stages)
    )
    outcomes = chain(stages, 200, stages)
    ours, theirs = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    stage_losses(ours, outcomes).mean(0).sum().backward()
    naive(theirs, outcomes).mean(0).sum().backward()
    torch.testing.assert_close(stage_losses(logits, outcomes), naive(logits, outcomes))
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_gradient_passes_gradcheck_on_both_sides_of_one_half() -> None:
    logits = torch.tensor(
        [[-3.0, 0.2, 1.0], [4.0, 3.0, 2.0], [5.0, -6.0, 0.0]], dtype=torch.float64, requires_grad=True
    )
    assert torch.autograd.gradcheck(chain_log_probabilities, (logits,))


@given(st.lists(logit, min_size=1, max_size=4))
@settings(max_examples=200, deadline=None)
def test_probabilities_of_reaching_and_not_reaching_sum_to_one(row: list[float]) -> None:
    log_p, log_not = chain_log_probabilities(torch.tensor([row]))
    torch.testing.assert_close(log_p.exp() + log_not.exp(), torch.ones_like(log_p), rtol=0, atol=3e-7)
    assert (log_p <= 0).all()
    assert (log_not <= 0).all()


@pytest.mark.parametrize("rate", [1e-2, 1e-4, 1e-6])
def test_rare_stages_keep_their_precision_in_float32(rate: float) -> None:
    logits = torch.tensor([[rate**0.5, rate**0.5]], dtype=torch.float64).logit()
    single, double = logits.float().requires_grad_(), logits.requires_grad_()
    nothing = torch.zeros(1, 2)
    loss, exact = stage_losses(single, nothing)[0, 1], naive(double, nothing)[0, 1]
    assert loss.item() == pytest.approx(exact.item(), rel=1e-5)
    loss.backward()
    exact.backward()
    assert single.grad is not None
    torch.testing.assert_close(single.grad.double(), double.grad, rtol=1e-5, atol=0)


@pytest.mark.parametrize("scale", [20.0, 90.0, 1e4, 1e30])
def test_saturated_logits_give_finite_losses_and_bounded_gradients(scale: float) -> None:
    signs = torch.cartesian_prod(*[torch.tensor([-1.0, 0.0, 1.0])] * 3)
    for reached in range(4):
        logits = (scale * signs).requires_grad_()
        outcomes = (torch.arange(3) < reached).float().expand_as(signs)
        losses = stage_losses(logits, outcomes)
        assert losses.isfinite().all()
        losses.sum().backward()
        assert logits.grad is not None
        assert logits.grad.isfinite().all()
        # Each stage's loss moves a logit by at most 1 per row.
        assert logits.grad.abs().max() <= 3 + 1e-5


def test_conditional_space_trains_each_stage_on_the_rows_that_reached_the_one_before() -> None:
    logits = torch.randn(50, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    outcomes = chain(0, 50, 3).float()
    losses = stage_losses(logits, outcomes, space="conditional").mean(0)
    bce = torch.nn.functional.binary_cross_entropy_with_logits
    for stage in (1, 2):
        rows = outcomes[:, stage - 1] == 1
        torch.testing.assert_close(losses[stage], bce(logits[rows, stage], outcomes[rows, stage]))
    losses.sum().backward()
    assert logits.grad is not None
    assert not logits.grad[outcomes[:, 0] == 0, 1].any()
    logits.grad = None
    stage_losses(logits, outcomes).sum().backward()
    assert logits.grad[outcomes[:, 0] == 0, 1].all()


@pytest.mark.parametrize("space", ["entire", "conditional"])
def test_weight_two_is_a_row_twice(space: str) -> None:
    logits, outcomes = torch.randn(6, 2, generator=torch.Generator().manual_seed(1)), chain(1, 6, 2).float()
    twice = torch.tensor([0, 0, 1, 2, 3, 4, 5])
    weights = torch.tensor([2.0, 1, 1, 1, 1, 1]) * 6 / 7
    torch.testing.assert_close(
        stage_losses(logits, outcomes, weights=weights, space=space).mean(0),  # type: ignore[arg-type]
        stage_losses(logits[twice], outcomes[twice], space=space).mean(0),  # type: ignore[arg-type]
    )


# ---------------------------------------------------------------- value


def test_value_loss_is_the_lognormal_likelihood() -> None:
    head = LognormalHead(4, generator=torch.Generator().manual_seed(0))
    value = torch.tensor([3.0, 20.0, 55.0, 7.0])
    head.start_at(value)
    parameters = head(torch.randn(4, 4, generator=torch.Generator().manual_seed(1)))
    loc, log_sigma = parameters.unbind(-1)
    spread = head.log_scale * log_sigma.exp()
    exact = -torch.distributions.LogNormal(head.log_mean + head.log_scale * loc, spread).log_prob(value)
    # Constants of the change of variables, which no parameter moves.
    constant = value.log() + head.log_scale.log() + 0.5 * torch.log(torch.tensor(2 * torch.pi))
    torch.testing.assert_close(head.losses(parameters, value), exact - constant)


def test_expected_value_is_the_lognormal_mean_and_capped_at_the_largest_seen() -> None:
    head = LognormalHead(4, generator=torch.Generator().manual_seed(0))
    values = torch.distributions.LogNormal(3.0, 0.5).icdf(torch.linspace(0.0005, 0.9995, 4000))
    head.start_at(values)
    start = torch.tensor([[0.0, 0.0]])
    assert float(head.mean(start)) == pytest.approx(float(values.mean()), rel=0.01)
    far = torch.tensor([[1e4, 0.4], [-1e4, -0.4]])
    assert float(head.mean(far)[0]) == pytest.approx(float(values.max()), rel=1e-5)
    assert float(head.mean(far)[1]) == 0.0


def test_squared_error_is_least_at_the_mean_whatever_the_sign_and_the_scale() -> None:
    for offset, factor in ((0.0, 1.0), (-50.0, 3.0), (1e6, 0.5), (-7.0, 0.0)):
        values = offset + factor * torch.tensor([-8.0, -4.0, 0.0, 0.0, 27.0])
        head = SquaredErrorHead(4, generator=torch.Generator().manual_seed(0))
        head.start_at(values)
        loc = torch.zeros(5, 1, requires_grad=True)
        (slope,) = torch.autograd.grad(head.losses(loc, values).mean(), loc)
        assert abs(float(slope.sum())) < 1e-3
        assert float(head.mean(torch.zeros(1, 1))) == pytest.approx(float(values.mean()), rel=1e-6)


def test_signed_values_are_kept_within_those_seen_and_calibrated_by_a_shift() -> None:
    head = SquaredErrorHead(4, generator=torch.Generator().manual_seed(0))
    head.start_at(torch.tensor([-8.0, -4.0, 3.0]))
    parameters = torch.tensor([[-1e4], [0.0], [1e4]])
    assert head.mean(parameters).tolist() == [-8.0, -3.0, 3.0]
    # The ratio of these means is negative: a factor in place of the shift would turn the order round.
    head.calibrate(torch.tensor(-2.0), torch.tensor(1.0))
    assert head.mean(parameters).tolist() == [-11.0, -6.0, 0.0]


# ---------------------------------------------------------------- criterion


def literal_qini(score: list[float], outcome: list[int], treated: list[bool]) -> float:
    treated_total, control_total = sum(treated), len(treated) - sum(treated)
    points = [(0.0, 0.0)]
    for cut in sorted(set(score), reverse=True):
        inside = [i for i, s in enumerate(score) if s >= cut]
        gain = sum(outcome[i] for i in inside if treated[i]) / treated_total
        loss = sum(outcome[i] for i in inside if not treated[i]) / control_total
        points.append((len(inside) / len(score), gain - loss))
    area = sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in pairwise(points))
    return area - points[-1][1] / 2


rows = st.lists(
    st.tuples(st.integers(-3, 3), st.integers(0, 1), st.booleans()), min_size=2, max_size=40
).filter(lambda drawn: len({treated for _, _, treated in drawn}) == 2)


@given(rows, st.randoms(use_true_random=False))
@settings(max_examples=150, deadline=None)
def test_qini_equals_the_literal_definition_whatever_the_row_order(drawn: list, shuffler: object) -> None:
    score, outcome, treated = (list(column) for column in zip(*drawn, strict=True))
    exact = literal_qini(score, outcome, treated)
    arrays = torch.tensor(score).float(), torch.tensor(outcome).float(), torch.tensor(treated)
    assert float(qini_per_capita(*arrays)) == pytest.approx(exact, abs=1e-12)
    order = list(range(len(score)))
    shuffler.shuffle(order)  # type: ignore[attr-defined]
    assert float(qini_per_capita(*(array[order] for array in arrays))) == pytest.approx(exact, abs=1e-12)
    weights = torch.full((len(score),), 3.0)
    assert float(qini_per_capita(*arrays, weights)) == pytest.approx(exact, abs=1e-12)
    constant = torch.zeros(len(score))
    assert float(qini_per_capita(constant, *arrays[1:])) == 0.0


def test_mean_qini_compares_every_arm_with_control_only() -> None:
    source = torch.Generator().manual_seed(0)
    uplift, treatment = torch.randn(300, 3, generator=source), torch.randint(3, (300,), generator=source)
    outcome = (torch.rand(300, generator=source) < 0.3).float()
    parts = []
    for arm in (1, 2):
        keep = (treatment == arm) | (treatment == 0)
        parts.append(float(qini_per_capita(uplift[keep, arm], outcome[keep], treatment[keep] == arm)))
    assert mean_qini(uplift, outcome, treatment) == pytest.approx(sum(parts) / 2)


# ---------------------------------------------------------------- choice of the epoch


def offered(criterion: str, patience: int, epochs: list[tuple[float, float]]) -> EpochSelection:
    """Epochs of (mean validation loss, Qini); rows differ a little from epoch to epoch, by 0.01 per row."""
    source = torch.Generator().manual_seed(0)
    selection = EpochSelection(criterion=criterion, patience=patience)  # type: ignore[arg-type]
    for epoch, (loss, qini) in enumerate(epochs, start=1):
        noise = torch.randn(400, generator=source)
        rows = loss + 0.01 * (noise - noise.mean())
        selection.offer(Candidate(epoch, rows, qini, {}))
    return selection


def test_qini_chooses_only_among_epochs_that_fit_as_well_as_the_best() -> None:
    # Standard error of a paired difference: 0.01 * sqrt(2 / 400) = 0.0007.
    epochs = [(0.60, 0.9), (0.50, 0.3), (0.5003, 0.5), (0.5002, 0.4), (0.51, 0.8)]
    assert offered("qini", 9, epochs).chosen.epoch == 3
    assert offered("loss", 9, epochs).chosen.epoch == 2
    assert offered("qini", 9, [(0.5, 0.2), (0.5, 0.2)]).chosen.epoch == 1


def test_training_stops_only_when_nothing_gets_better() -> None:
    falling_loss = [(0.6, 0.9), (0.5, 0.1), (0.4, 0.1), (0.3, 0.1)]
    assert not offered("qini", 2, falling_loss).exhausted
    rising_qini = [(0.3, 0.1), (0.4, 0.2), (0.4, 0.3)]
    assert not offered("qini", 2, rising_qini).exhausted
    assert offered("loss", 2, rising_qini).exhausted
    assert offered("qini", 2, [*rising_qini, (0.4, 0.3), (0.4, 0.2)]).exhausted


def test_an_arm_without_validation_rows_has_no_qini() -> None:
    uplift = torch.tensor([[0.0, 0.1, 0.2], [0.0, 0.3, 0.1]])
    for treatment in ([0, 1], [1, 2]):
        assert math.isnan(mean_qini(uplift, torch.tensor([1.0, 0.0]), torch.tensor(treatment)))
