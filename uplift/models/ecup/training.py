"""The training engine: resident data, device-side shuffling, Adam, early stopping."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from uplift.errors import ModelError
from uplift.models.ecup.criterion import mean_qini
from uplift.models.ecup.data import Rows
from uplift.models.ecup.loss import LossSpace, stage_losses
from uplift.models.ecup.network import ChainOutput, EcupNetwork
from uplift.models.ecup.selection import Candidate, Criterion, EpochSelection

History = list[dict[str, Any]]

CHUNK = {"cpu": 2**19, "cuda": 2**26}
"""Elements of E~ over all arms that are held at once when all arms are scored, by device type."""


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """How to train; see :class:`uplift.models.ecup.model.ECUP` for the meaning and the defaults."""

    learning_rate: float
    averaging: float
    batch_size: int
    max_epochs: int
    patience: int
    criterion: Criterion
    stage_weights: tuple[float, ...]
    value_weight: float
    loss_space: LossSpace


def base_rates(rows: Rows) -> Tensor:
    """Smoothed rate of each stage given the one before, [stage], strictly between 0 and 1."""
    weights = torch.ones_like(rows.outcomes[:, 0]) if rows.weights is None else rows.weights
    reached = (weights.unsqueeze(-1) * rows.outcomes).double().sum(0)
    before = torch.cat((weights.double().sum().reshape(1), reached[:-1]))
    # Half an event more keeps a stage that nobody, or everybody, reached away from infinite logits.
    return ((reached + 0.5) / (before + 1)).clamp(1e-6, 1 - 1e-6).float()


def start(network: EcupNetwork, rows: Rows) -> None:
    """Set output biases and value statistics from the training rows.

    Raises
    ------
    ModelError
        There is a value head and fewer than two rows reached the last stage.
    """
    network.heads.start_at(base_rates(rows))
    if network.value is not None:
        assert rows.value is not None
        values = rows.value[rows.outcomes[:, -1] > 0]
        if len(values) < 2:
            raise ModelError(
                f"{len(values)} training rows reached the last stage, too few to learn the value from; leave out the value."
            )
        network.value.start_at(values)


def row_losses(network: EcupNetwork, output: ChainOutput, rows: Rows, settings: TrainingSettings) -> Tensor:
    """Loss per row [row], summed over the weighted stages and the value; its mean is the objective.

    `output` belongs to the arm that each row received.
    """
    parts = stage_losses(output.logits, rows.outcomes, weights=rows.weights, space=settings.loss_space)
    total = parts @ parts.new_tensor(settings.stage_weights)
    if network.value is None or output.value is None or rows.value is None:
        return total
    # Rows without a value contribute zero and are averaged over like the others, as in the joint likelihood.
    reached = rows.outcomes[:, -1] if rows.weights is None else rows.weights * rows.outcomes[:, -1]
    return total + settings.value_weight * reached * network.value.losses(output.value, rows.value)


@torch.inference_mode()
def score(network: EcupNetwork, numeric: Tensor, categorical: Tensor, device: torch.device) -> ChainOutput:
    """Outputs under every arm for any number of rows, in chunks; inputs may lie on another device.

    Returns
    -------
    ChainOutput
        logits [row, arm, stage] and value [row, arm, k], on `device`.
    """
    per_row = network.arms * (network.fields + 1) * network.embedding_dim
    chunk = max(1, CHUNK.get(device.type, CHUNK["cpu"]) // per_row)
    parts = [
        network.all_arms(x.to(device), codes.to(device))
        for x, codes in zip(numeric.split(chunk), categorical.split(chunk), strict=True)
    ]
    values = [part.value for part in parts if part.value is not None]
    return ChainOutput(torch.cat([part.logits for part in parts]), torch.cat(values) if values else None)


def received(output: ChainOutput, treatment: Tensor) -> ChainOutput:
    """Outputs [row, ...] under the arm each row received, from outputs [row, arm, ...]."""
    index = torch.arange(len(treatment), device=treatment.device)
    return ChainOutput(
        output.logits[index, treatment], None if output.value is None else output.value[index, treatment]
    )


def check_validation(validation: Rows, *, arms: Sequence[str], stage: str) -> None:
    """Refuse validation rows on which the Qini of the last stage says nothing.

    Raises
    ------
    ModelError
        An arm has no row, or an arm and control together never reach `stage`.
    """
    counts = torch.bincount(validation.treatment, minlength=len(arms)).tolist()
    events = torch.bincount(validation.treatment, validation.outcomes[:, -1], minlength=len(arms)).tolist()
    remedy = "use criterion='loss', more rows or a larger validation_fraction."
    for arm, name in enumerate(arms):
        if counts[arm] == 0:
            raise ModelError(f"arm {name!r} has no row among {len(validation):,} validation rows; {remedy}")
        if arm and events[arm] + events[0] == 0:
            raise ModelError(
                f"no validation row of arm {name!r} or {arms[0]!r} reached {stage!r}, so its Qini is undefined; {remedy}"
            )


def train(
    network: EcupNetwork,
    rows: Rows,
    validation: Rows,
    *,
    settings: TrainingSettings,
    generator: torch.Generator,
    on_batch: Callable[[int], None] | None = None,
    on_epoch: Callable[[dict[str, Any]], None] | None = None,
) -> History:
    """Train `network` in place and leave it at its best epoch.

    Parameters
    ----------
    network : EcupNetwork
        On the device of the rows, outputs already started (:func:`start`).
    rows, validation : Rows
        Training and validation rows, on one device.
    settings : TrainingSettings
        How to train.
    generator : torch.Generator
        Source of the shuffling, on the device of the rows.
    on_batch : callable, optional
        Called with the number of rows of each batch.
    on_epoch : callable, optional
        Called with the history entry of each epoch.

    Returns
    -------
    list of dict
        Per epoch: ``epoch``, ``loss``, ``validation_loss``, ``validation_qini``, ``kept`` (the epoch whose
        weights were kept), ``seconds``, ``rows_per_second``; losses are weighted sums over stages.

    Raises
    ------
    ModelError
        The loss became infinite or undefined.
    """
    device = rows.treatment.device
    optimiser = torch.optim.Adam(network.parameters(), lr=settings.learning_rate, fused=True)
    average = moving_average(network, settings.averaging)
    averaged = cast(EcupNetwork, average.module)
    selection = EpochSelection(criterion=settings.criterion, patience=settings.patience)
    # Batches of nearly equal size: no runt at the end whose gradient is mostly noise.
    batches = math.ceil(len(rows) / settings.batch_size)
    history: History = []
    for epoch in range(1, settings.max_epochs + 1):
        begun = time.perf_counter()
        total = torch.zeros((), device=device, dtype=torch.float64)
        for index in torch.randperm(len(rows), generator=generator, device=device).tensor_split(batches):
            batch = rows.take(index)
            optimiser.zero_grad(set_to_none=True)
            output = network(batch.numeric, batch.categorical, batch.treatment)
            loss = row_losses(network, output, batch, settings).mean()
            loss.backward()
            optimiser.step()
            average.update_parameters(network)
            total += loss.detach() * len(index)
            if on_batch is not None:
                on_batch(len(index))
        training_loss = float(total) / len(rows)
        seconds = time.perf_counter() - begun

        candidate = validate(averaged, validation, epoch=epoch, settings=settings)
        validation_loss = float(candidate.row_losses.mean())
        if not (math.isfinite(training_loss) and math.isfinite(validation_loss)):
            raise ModelError(
                f"training diverged in epoch {epoch} (loss {training_loss}, on validation rows {validation_loss}); "
                f"lower learning_rate."
            )
        selection.offer(candidate)
        history.append(
            {
                "epoch": epoch,
                "loss": training_loss,
                "validation_loss": validation_loss,
                "validation_qini": candidate.qini,
                "kept": False,
                "seconds": seconds,
                "rows_per_second": len(rows) / seconds,
            }
        )
        if on_epoch is not None:
            on_epoch(history[-1])
        if selection.exhausted:
            break
    network.load_state_dict(selection.chosen.state)
    history[selection.chosen.epoch - 1]["kept"] = True
    return history


def moving_average(network: EcupNetwork, decay: float) -> AveragedModel:
    """Exponential moving average of the weights, with a shorter memory in the first steps.

    At a constant step size the last weights carry the noise of the last batches, which moves whole arms up and
    down: it is large against an uplift of one point. The average over some 50 steps does not.
    """

    def update(averaged: Any, current: Any, steps: Any) -> None:
        warm = (1 + int(steps)) / (10 + int(steps))
        get_ema_multi_avg_fn(min(decay, warm))(averaged, current, steps)

    return AveragedModel(network, multi_avg_fn=update)


@torch.no_grad()
def validate(network: EcupNetwork, validation: Rows, *, epoch: int, settings: TrainingSettings) -> Candidate:
    """Losses, Qini of the last binary stage (mean over arms) and a copy of the weights after `epoch`."""
    scored = score(network, validation.numeric, validation.categorical, validation.treatment.device)
    mu = scored.rates()[..., -1]
    return Candidate(
        epoch=epoch,
        row_losses=row_losses(network, received(scored, validation.treatment), validation, settings),
        qini=mean_qini(mu - mu[:, :1], validation.outcomes[:, -1], validation.treatment, validation.weights),
        state={name: tensor.clone() for name, tensor in network.state_dict().items()},
    )


@torch.no_grad()
def finish(network: EcupNetwork, rows: Rows) -> None:
    """Settle what gradients did not reach: embeddings of unseen codes, and the scale of the value."""
    if network.categorical is not None:
        network.categorical.settle_unseen(rows.categorical)
    if network.value is None:
        return
    buyers = rows.take((rows.outcomes[:, -1] > 0).nonzero().squeeze(1))
    output = score(network, buyers.numeric, buyers.categorical, rows.treatment.device)
    parameters = received(output, buyers.treatment).value
    assert buyers.value is not None
    assert parameters is not None
    expected = network.value.mean(parameters).double()
    mass = torch.ones_like(expected) if buyers.weights is None else buyers.weights.double()
    mass = mass / mass.sum()
    network.value.calibrate((mass * buyers.value).sum(), (mass * expected).sum())
