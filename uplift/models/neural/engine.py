"""The training engine: device-side shuffling, AdamW, mixed precision, early stopping, checkpoints, several processes."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from uplift.errors import ModelError
from uplift.models.neural.averaging import MovingAverage
from uplift.models.neural.checkpoint import Checkpoint
from uplift.models.neural.criterion import mean_qini
from uplift.models.neural.device import Precision, autocast
from uplift.models.neural.distributed import Team
from uplift.models.neural.loss import LossSpace, stage_losses
from uplift.models.neural.network import ChainNetwork, ChainOutput
from uplift.models.neural.rows import Rows
from uplift.models.neural.schedule import Schedule, learning_rate_factor
from uplift.models.neural.selection import Candidate, Criterion, EpochSelection
from uplift.models.neural.sources import RowSource, batches_of

History = list[dict[str, Any]]

CHUNK = {"cpu": 2**20, "cuda": 2**26}
"""Floats of the largest intermediate result that are held at once when all arms are scored, by device type."""


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """How to train; see :class:`uplift.models.neural.model.NeuralModel` for the meaning and the defaults."""

    learning_rate: float
    schedule: Schedule
    warmup_steps: int
    weight_decay: float
    gradient_clip: float | None
    averaging: float
    batch_size: int
    max_epochs: int
    patience: int
    criterion: Criterion
    stage_weights: tuple[float, ...]
    value_weight: float
    loss_space: LossSpace
    precision: Precision
    compile: bool


def base_rates(totals: Tensor, space: LossSpace = "entire") -> Tensor:
    """Smoothed rates that the outputs start at, [stage], strictly between 0 and 1.

    Rate of each stage given the one before, or for space ``"independent"`` of each stage among all rows; from
    `totals` [1 + stage], the weighted numbers of rows and of rows that reached each stage.
    """
    before = totals[:1] if space == "independent" else totals[:-1]
    # Half an event more keeps a stage that nobody, or everybody, reached away from infinite logits.
    return ((totals[1:] + 0.5) / (before + 1)).clamp(1e-6, 1 - 1e-6).float()


def start(network: ChainNetwork, source: RowSource) -> None:
    """Set output biases and value statistics from the training rows.

    Raises
    ------
    ModelError
        There is a value head and fewer than two rows reached the last stage.
    """
    network.heads.start_at(base_rates(source.stage_totals(), network.loss_space))
    if network.value is not None:
        values = source.last_stage_values()
        if len(values) < 2:
            raise ModelError(
                f"{len(values)} training rows reached the last stage, too few to learn the value from; leave out the value."
            )
        network.value.start_at(values)


def row_losses(network: ChainNetwork, output: ChainOutput, rows: Rows, settings: TrainingSettings) -> Tensor:
    """Loss per row [row], summed over the weighted stages and the value; its mean is the objective.

    `output` belongs to the arm that each row received. Members of a network are averaged over: each answers for
    itself, so that they do not settle on correcting one another.
    """
    seen = targets(network, rows)
    parts = stage_losses(output.logits, seen.outcomes, weights=seen.weights, space=settings.loss_space)
    total = parts @ parts.new_tensor(settings.stage_weights)
    if network.value is not None and output.value is not None and seen.value is not None:
        # Rows without a value contribute zero and are averaged over like the others, as in the joint likelihood.
        reached = seen.outcomes[..., -1] if seen.weights is None else seen.weights * seen.outcomes[..., -1]
        total = total + settings.value_weight * reached * network.value.losses(output.value, seen.value)
    return total if network.members == 1 else total.mean(1)


class Targets(NamedTuple):
    """What rows are compared with: outcomes [row, stage], value and weights [row].

    For a network with several members there is an axis for them after the rows, of length 1 where all see the same.
    """

    outcomes: Tensor
    value: Tensor | None
    weights: Tensor | None


def targets(network: ChainNetwork, rows: Rows) -> Targets:
    """The targets of `rows`, shaped like the outputs of `network`."""
    value, weights = rows.value, rows.weights
    if network.members == 1:
        return Targets(rows.outcomes, value, weights)
    if weights is not None and weights.ndim == 1:
        weights = weights.unsqueeze(1)
    return Targets(rows.outcomes.unsqueeze(1), None if value is None else value.unsqueeze(1), weights)


def rows_per_chunk(network: ChainNetwork, device: torch.device) -> int:
    """Rows that are scored at once."""
    return max(1, CHUNK.get(device.type, CHUNK["cpu"]) // network.floats_per_row)


@torch.inference_mode()
def score(network: ChainNetwork, numeric: Tensor, categorical: Tensor, device: torch.device) -> ChainOutput:
    """Outputs under every arm for any number of rows, in chunks; inputs may lie on another device.

    Returns
    -------
    ChainOutput
        logits [row, arm, stage] and value [row, arm, k], on `device`; with a member axis before the last where the
        network has several.
    """
    chunk = rows_per_chunk(network, device)
    parts = [
        network.all_arms(x.to(device), codes.to(device))
        for x, codes in zip(numeric.split(chunk), categorical.split(chunk), strict=True)
    ]
    values = [part.value for part in parts if part.value is not None]
    return ChainOutput(torch.cat([part.logits for part in parts]), torch.cat(values) if values else None)


def received(output: ChainOutput, treatment: Tensor) -> ChainOutput:
    """Outputs [row, ...] under the arm each row received, from outputs [row, arm, ...]; extras stay as they are."""
    index = torch.arange(len(treatment), device=treatment.device)
    return ChainOutput(
        output.logits[index, treatment],
        None if output.value is None else output.value[index, treatment],
        output.extras,
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
    network: ChainNetwork,
    source: RowSource,
    validation: Rows,
    *,
    settings: TrainingSettings,
    generator: torch.Generator,
    checkpoint: Checkpoint | None = None,
    team: Team | None = None,
    on_batch: Callable[[int], None] | None = None,
    on_epoch: Callable[[dict[str, Any]], None] | None = None,
) -> History:
    """Train `network` in place and leave it at its best epoch, in evaluation mode.

    Parameters
    ----------
    network : ChainNetwork
        On the device of the rows, outputs already started (:func:`start`).
    source : RowSource
        Training rows.
    validation : Rows
        Validation rows, on the same device.
    settings : TrainingSettings
        How to train.
    generator : torch.Generator
        Source of the shuffling, on the device of the rows.
    checkpoint : Checkpoint, optional
        Where the state is kept; a state that is there already is gone on with.
    team : Team, optional
        The processes that train together; all must be given the same rows, settings and seed.
    on_batch : callable, optional
        Called with the number of rows of each batch.
    on_epoch : callable, optional
        Called with the history entry of each epoch.

    Returns
    -------
    list of dict
        Per epoch: ``epoch``, ``loss``, ``validation_loss``, ``validation_qini`` (None where an arm has no validation
        row), ``kept`` (the epoch whose weights were kept), ``seconds``, ``rows_per_second``; losses are weighted sums
        over stages. A network with a penalty has ``penalty`` too, its mean over the rows, which is in neither loss: so
        they compare. The training loss is that of the weights that the network gives rows
        (:meth:`ChainNetwork.weigh`), the validation loss that of their own.

    Raises
    ------
    ModelError
        The loss became infinite or undefined, or the checkpoint is that of another fit.
    """
    network.train()
    run = _Run(network, source, validation, settings, generator, team or Team())
    if checkpoint is not None:
        run.resume(checkpoint)
    while run.epoch <= settings.max_epochs and not run.selection.exhausted:
        entry = run.one_epoch(checkpoint, on_batch)
        if on_epoch is not None:
            on_epoch(entry)
    network.load_state_dict(run.selection.chosen.state)
    network.eval()
    for entry in run.history:
        entry["kept"] = entry["epoch"] == run.selection.chosen.epoch
    return run.history


class _Run:
    """The state of one training run: everything that a checkpoint must hold."""

    def __init__(
        self,
        network: ChainNetwork,
        source: RowSource,
        validation: Rows,
        settings: TrainingSettings,
        generator: torch.Generator,
        team: Team,
    ) -> None:
        self.network, self.source, self.validation = network, source, validation
        self.settings, self.generator, self.team = settings, generator, team
        self.optimiser = torch.optim.AdamW(decay_groups(network, settings.weight_decay), fused=True)
        self.average = MovingAverage(network, settings.averaging)
        self.selection = EpochSelection(criterion=settings.criterion, patience=settings.patience)
        self.history: History = []
        self.epoch, self.batches_done, self.steps = 1, 0, 0
        self.total = torch.zeros((), device=source.device, dtype=torch.float64)
        self.penalties: Tensor | None = None  # like total; None for a network that has no penalty
        self.begins = generator.get_state()  # of the generator, at the start of the epoch
        self.total_steps = settings.max_epochs * batches_of(len(source), settings.batch_size)
        self._resumed = False
        trained: nn.Module = network
        if team.size > 1:
            trained = DistributedDataParallel(network)
        self.forward: Callable[..., ChainOutput] = torch.compile(trained) if settings.compile else trained

    def one_epoch(
        self, checkpoint: Checkpoint | None, on_batch: Callable[[int], None] | None
    ) -> dict[str, Any]:
        """Train on every row once, validate, and offer the result to the selection."""
        begun, seen = time.perf_counter(), 0
        # Closed at once when training stops midway: a source may have a thread and open files.
        with closing(self._batches(on_batch)) as batches:
            for batch in batches:
                self._step(batch)
                seen += len(batch)
                if on_batch is not None:
                    on_batch(len(batch) * self.team.size)
                if checkpoint is not None and self.team.leads and checkpoint.due:
                    self._save(checkpoint)
        if self.team.size > 1:
            distributed.all_reduce(self.total)
            if self.penalties is not None:
                distributed.all_reduce(self.penalties)
        loss = float(self.total) / len(
            self.source
        )  # waits for the device: the time below is that of the work
        seconds = max(time.perf_counter() - begun, 1e-9)
        candidate = validate(self.average.network, self.validation, epoch=self.epoch, settings=self.settings)
        validation_loss = float(candidate.row_losses.mean())
        if not (math.isfinite(loss) and math.isfinite(validation_loss)):
            raise ModelError(
                f"training diverged in epoch {self.epoch} (loss {loss}, on validation rows {validation_loss}); "
                f"lower learning_rate."
            )
        self.selection.offer(candidate)
        entry = {
            "epoch": self.epoch,
            "loss": loss,
            "validation_loss": validation_loss,
            "validation_qini": None if math.isnan(candidate.qini) else candidate.qini,
            "kept": False,
            "seconds": seconds,
            "rows_per_second": seen * self.team.size / seconds,
        }
        if self.penalties is not None:
            entry["penalty"] = float(self.penalties) / len(self.source)
            self.penalties.zero_()
        self.history.append(entry)
        self.epoch, self.batches_done = self.epoch + 1, 0
        self.total.zero_()
        self.begins = self.generator.get_state()
        if checkpoint is not None and self.team.leads:
            self._save(checkpoint)
        return entry

    def _batches(self, on_batch: Callable[[int], None] | None) -> Generator[Rows, None, None]:
        """This epoch's batches, without those that the run from which we resumed has done."""
        shard = (self.team.rank, self.team.size)
        with closing(self.source.epoch(self.generator, self.settings.batch_size, shard)) as epoch:
            for number, batch in enumerate(epoch):
                if number < self.batches_done and self._resumed:
                    if on_batch is not None:
                        on_batch(len(batch) * self.team.size)
                    continue
                self._resumed = False
                yield batch

    def _step(self, batch: Rows) -> None:
        settings = self.settings
        rate = settings.learning_rate * learning_rate_factor(
            self.steps,
            schedule=settings.schedule,
            warmup_steps=settings.warmup_steps,
            total_steps=self.total_steps,
        )
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.zero_grad(set_to_none=True)
        with autocast(settings.precision, self.source.device):
            output = self.forward(batch.numeric, batch.categorical, batch.treatment)
        output = output.single_precision()  # products of probabilities lose everything in half precision
        loss = row_losses(self.network, output, self.network.weigh(batch), settings).mean()
        penalty = self.network.penalty(output, batch)
        (loss if penalty is None else loss + penalty).backward()
        if settings.gradient_clip is not None:
            nn.utils.clip_grad_norm_(self.network.parameters(), settings.gradient_clip, foreach=True)
        self.optimiser.step()
        self.average.update()
        self.total += loss.detach() * len(batch)
        if penalty is not None:
            if self.penalties is None:
                self.penalties = torch.zeros_like(self.total)
            self.penalties += penalty.detach() * len(batch)
        self.steps += 1
        self.batches_done += 1

    # ---------------------------------------------------------------- checkpoints

    def _save(self, checkpoint: Checkpoint) -> None:
        tensors = {"generator": self.begins, "total": self.total}
        if self.penalties is not None:
            tensors["penalties"] = self.penalties
        for prefix, module in (("network", self.network), ("average", self.average.network)):
            tensors |= {f"{prefix}/{name}": tensor for name, tensor in module.state_dict().items()}
        for number, slots in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser/{number}/{name}": tensor for name, tensor in slots.items()}
        chosen = self.selection.state()
        tensors |= chosen.tensors
        checkpoint.save(
            tensors,
            {
                "epoch": self.epoch,
                "batches_done": self.batches_done,
                "steps": self.steps,
                "average_steps": self.average.steps,
                "history": self.history,
                "selection": chosen.numbers,
            },
        )

    def resume(self, checkpoint: Checkpoint) -> None:
        """Go on from the checkpoint, if there is one."""
        found = checkpoint.load(self.source.device)
        if found is None:
            return
        tensors, state = found

        def below(prefix: str) -> dict[str, Tensor]:
            return {name[len(prefix) :]: t for name, t in tensors.items() if name.startswith(prefix)}

        self.network.load_state_dict(below("network/"))
        self.average.network.load_state_dict(below("average/"))
        self.average.steps = state["average_steps"]
        slots: dict[int, dict[str, Tensor]] = {}
        for name, tensor in below("optimiser/").items():
            number, slot = name.split("/")
            slots.setdefault(int(number), {})[slot] = tensor
        self.optimiser.load_state_dict(
            {"state": slots, "param_groups": self.optimiser.state_dict()["param_groups"]}
        )
        self.selection.restore(state["selection"], tensors)
        self.history = state["history"]
        self.epoch, self.batches_done, self.steps = state["epoch"], state["batches_done"], state["steps"]
        self._resumed = self.batches_done > 0
        self.total = tensors["total"].to(self.source.device)
        if "penalties" in tensors:
            self.penalties = tensors["penalties"].to(self.source.device)
        self.begins = tensors["generator"].cpu()
        self.generator.set_state(self.begins)


def decay_groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Parameters with decay (matrices and tables) and without (biases, and scales around 1), as AdamW takes them.

    Loshchilov, Hutter, Decoupled weight decay regularization, ICLR 2019; with decay 0 it is Adam.
    """
    vectors: list[Tensor] = []
    matrices: list[Tensor] = []
    for name, parameter in network.named_parameters():
        # A bias per task or member is a table in shape only.
        free = parameter.ndim <= 1 or any(word in name for word in ("bias", "scales"))
        (vectors if free else matrices).append(parameter)
    groups = [
        {"params": matrices, "weight_decay": weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


@torch.no_grad()
def validate(network: ChainNetwork, validation: Rows, *, epoch: int, settings: TrainingSettings) -> Candidate:
    """Losses, Qini of the last binary stage (mean over arms) and a copy of the weights after `epoch`."""
    scored = score(network, validation.numeric, validation.categorical, validation.treatment.device)
    mu = scored.rates(settings.loss_space)[..., -1]
    if network.members > 1:
        mu = mu.mean(-1)
    output = received(scored, validation.treatment)
    if settings.criterion == "last":
        seen = targets(network, validation)
        parts = stage_losses(output.logits, seen.outcomes, weights=seen.weights, space=settings.loss_space)
        losses = parts[..., -1] if network.members == 1 else parts[..., -1].mean(1)
    else:
        losses = row_losses(network, output, validation, settings)
    return Candidate(
        epoch=epoch,
        row_losses=losses,
        qini=mean_qini(mu - mu[:, :1], validation.outcomes[:, -1], validation.treatment, validation.weights),
        state={name: tensor.clone() for name, tensor in network.state_dict().items()},
    )


@torch.no_grad()
def finish(network: ChainNetwork, source: RowSource) -> None:
    """Settle what gradients did not reach: embeddings of unseen codes, and the scale of the value."""
    if network.categorical is not None:
        network.categorical.settle_unseen(source.code_counts())
    if network.value is None:
        return
    sums = torch.zeros(2, dtype=torch.float64, device=source.device)  # observed and expected, weighted
    mass = torch.zeros((), dtype=torch.float64, device=source.device)
    for buyers in source.buyers():
        output = score(network, buyers.numeric, buyers.categorical, source.device)
        parameters = received(output, buyers.treatment).value
        _, value, weights = targets(network, buyers)
        assert value is not None
        assert parameters is not None
        expected = network.value.mean(parameters).double()
        weights = torch.ones_like(expected) if weights is None else weights.double().expand_as(expected)
        sums += torch.stack(((weights * value).sum(), (weights * expected).sum()))
        mass += weights.sum()
    network.value.calibrate(*(sums / mass))
