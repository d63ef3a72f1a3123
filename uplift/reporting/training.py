"""What a training history says: its networks and epochs, in words and as a table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from uplift.errors import UpliftError
from uplift.metrics.definitions import HEADLINE
from uplift.reporting.numbers import compact, exact, metric_unit, whole
from uplift.reporting.tables import Cell, Column, Row, Table, number_cell, text_cell

STILL_FALLING = 0.01
"""The last epoch's part of the whole fall of the validation loss from which on the loss counts as still falling. A
cosine schedule ends with steps so small that the last loss is always the lowest, by almost nothing."""

_KEPT_BECAUSE = {
    "qini": "the highest Qini on the validation rows among the epochs whose loss there is within one standard error of the lowest",
    "loss": "the lowest loss on the validation rows",
    "last": "the lowest loss of the last stage alone on the validation rows",
}


@dataclass(frozen=True)
class Epoch:
    """One epoch of one network; the Qini is NaN where the validation rows have none."""

    number: int
    loss: float
    validation_loss: float
    validation_qini: float
    rows_per_second: float
    seconds: float
    kept: bool


@dataclass(frozen=True)
class Network:
    """One network's epochs, in order; exactly one was kept.

    Attributes
    ----------
    number : int
        1 for a model of one network, else the number of the ensemble's member, from 1.
    epochs : tuple of Epoch
    """

    number: int
    epochs: tuple[Epoch, ...]

    @property
    def kept(self) -> Epoch:
        """The epoch whose weights the model predicts with."""
        return next(epoch for epoch in self.epochs if epoch.kept)

    @property
    def lowest(self) -> Epoch:
        """The epoch with the lowest validation loss."""
        return min(self.epochs, key=lambda epoch: epoch.validation_loss)

    @property
    def still_falling(self) -> bool:
        """Whether the last epoch lowered the validation loss by more than a trifle (:data:`STILL_FALLING`)."""
        losses = [epoch.validation_loss for epoch in self.epochs]
        if len(losses) < 2 or losses[-1] >= min(losses[:-1]):
            return False
        return min(losses[:-1]) - losses[-1] >= STILL_FALLING * (max(losses) - losses[-1])


@dataclass(frozen=True)
class Concern:
    """Something about a training that the analyst should look at: in two or three words, and as a sentence."""

    short: str
    sentence: str


def networks(history: Sequence[Mapping[str, Any]], *, name: str) -> tuple[Network, ...]:
    """The networks of a history, by their number.

    Parameters
    ----------
    history : sequence of mapping
        As ``history_`` of a fitted neural model: ``epoch``, ``loss``, ``validation_loss``, ``validation_qini`` (None or
        NaN where there is none), ``kept``, ``seconds``, ``rows_per_second``, and for an ensemble ``member``, from 0.
    name : str
        The model, for the error.

    Raises
    ------
    UpliftError
        It is not such a history.
    """
    found: dict[int, list[Epoch]] = {}
    try:
        for entry in history:
            qini = entry["validation_qini"]
            epoch = Epoch(
                number=int(entry["epoch"]),
                loss=float(entry["loss"]),
                validation_loss=float(entry["validation_loss"]),
                validation_qini=math.nan if qini is None else float(qini),
                rows_per_second=float(entry["rows_per_second"]),
                seconds=float(entry["seconds"]),
                kept=entry["kept"] is True,
            )
            found.setdefault(int(entry.get("member", 0)), []).append(epoch)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UpliftError(
            f"the training history of {name!r} cannot be read ({type(error).__name__}: {error}); pass history_ of a fitted neural "
            f"model, or 'training' as run.json has it."
        ) from error
    members = [
        Network(number + 1, tuple(sorted(epochs, key=lambda epoch: epoch.number)))
        for number, epochs in sorted(found.items())
    ]
    if not members or any(sum(epoch.kept for epoch in member.epochs) != 1 for member in members):
        raise UpliftError(
            f"the training history of {name!r} must keep exactly one epoch of every network; pass history_ of a fitted neural model."
        )
    return tuple(members)


def summary(members: Sequence[Network]) -> str:
    """For example ``12 epochs, epoch 7 kept``."""
    length = _span([len(member.epochs) for member in members])
    kept = _span([member.kept.number for member in members])
    if len(members) == 1:
        return f"{_epochs(length)}, epoch {kept} kept"
    return f"{whole(len(members))} networks of {_epochs(length)}, {_named(kept)} kept"


def sentences(members: Sequence[Network], params: Mapping[str, Any]) -> str:
    """How long was trained, which epoch was kept and why, and how fast it went.

    Parameters
    ----------
    members : sequence of Network
    params : mapping
        The model's parameters; read are ``max_epochs``, ``patience`` and ``criterion``, where they are known.
    """
    most, patience = params.get("max_epochs"), params.get("patience")
    lengths = [len(member.epochs) for member in members]
    who = "The network" if len(members) == 1 else f"Each of {whole(len(members))} networks"
    learned = f"{who} learned for {_epochs(_span(lengths))}"
    if most is not None and min(lengths) >= most:
        learned += ", as many as max_epochs allows"
    elif most is not None:
        learned += f" (at most {most})"
        if patience is not None and max(lengths) < most:
            learned += f" and stopped after {patience} without progress"
    because = _KEPT_BECAUSE.get(str(params.get("criterion")))
    kept = _span([member.kept.number for member in members])
    if len(members) == 1:
        chosen = f"Epoch {kept} was kept" + (f": it has {because}" if because else "")
    else:
        chosen = (
            f"{_named(kept).capitalize()} {'were' if 'to' in kept else 'was'} kept, in each network the one"
        )
        chosen += f" with {because}" if because else " that did best on the validation rows"
    return f"{learned}. {chosen}. Training ran at about {_speed(members)} rows per second."


def concerns(members: Sequence[Network], params: Mapping[str, Any]) -> list[Concern]:
    """What may be wrong: training that stopped too early, and a first epoch that nothing improved on."""
    found = []
    most = params.get("max_epochs")
    if most == 1:
        found.append(
            Concern(
                "more epochs may help",
                "Only one epoch was allowed (max_epochs = 1), so nothing shows whether more would help; they often do.",
            )
        )
        return found
    short = [member for member in members if len(member.epochs) == most and member.still_falling]
    if short:
        found.append(
            Concern(
                "more epochs may help",
                f"{_who(short, members, 'Training')} stopped at max_epochs = {most} while the validation loss was still falling: "
                f"more epochs may help.",
            )
        )
    first = [member for member in members if len(member.epochs) > 1 and member.kept is member.epochs[0]]
    if first and len(members) == 1 and first[0].lowest is not first[0].kept:
        found.append(
            Concern(
                "first epoch kept",
                f"The first epoch was kept for its Qini, although the validation loss was lowest in epoch "
                f"{first[0].lowest.number}: the Qini of few validation rows is noisy, and criterion = 'loss' may choose better.",
            )
        )
    elif first:
        whose = (
            "The first epoch was kept"
            if len(members) == 1
            else f"{_who(first, members)} kept the first epoch"
        )
        found.append(
            Concern(
                "first epoch kept",
                f"{whose}: none of the later ones did better on the validation rows. A smaller learning_rate may help.",
            )
        )
    return found


def training_table(members: Sequence[Network], *, id: str, name: str, stage: str) -> Table:
    """Every epoch of every network: losses, Qini, speed, and which was kept."""
    rows = []
    for member in members:
        for epoch in member.epochs:
            heading = str(epoch.number) if len(members) == 1 else f"{member.number} · {epoch.number}"
            rows.append(
                Row(
                    (
                        text_cell(heading, small="kept" if epoch.kept else ""),
                        _loss_cell(epoch.loss),
                        _loss_cell(epoch.validation_loss),
                        number_cell(epoch.validation_qini, metric_unit(HEADLINE, stage), sign=True),
                        Cell(compact(epoch.rows_per_second), exact(epoch.rows_per_second)),
                    ),
                    tone="chosen" if epoch.kept else "",
                )
            )
    columns = (
        Column("Epoch" if len(members) == 1 else "Network · epoch", numeric=False),
        Column("Training loss", "per row"),
        Column("Validation loss", "per row"),
        Column("Validation Qini", HEADLINE),
        Column("Rows per second"),
    )
    return Table(id, f"Every epoch of {name}", columns, tuple(rows))


def training_alt(members: Sequence[Network], *, name: str, stage: str) -> str:
    """The figure in words."""
    unit = metric_unit(HEADLINE, stage)
    parts = [f"Training history of {name}: {summary(members)}."]
    for member in members[:3]:
        first, last, kept = member.epochs[0], member.epochs[-1], member.kept
        whose = f"Network {member.number}: " if len(members) > 1 else ""
        parts.append(
            f"{whose}training loss {_loss(first.loss)} in the first epoch, {_loss(last.loss)} in the last; validation loss "
            f"{_loss(first.validation_loss)}, {_loss(last.validation_loss)}, lowest in epoch {member.lowest.number}; in the kept "
            f"epoch {kept.number} validation loss {_loss(kept.validation_loss)} and validation Qini {unit.show(kept.validation_qini, sign=True)}."
        )
    return " ".join(parts)


def _who(some: Sequence[Network], members: Sequence[Network], alone: str = "") -> str:
    return alone if len(members) == 1 else f"{whole(len(some))} of {whole(len(members))} networks"


def _span(numbers: Sequence[int]) -> str:
    low, high = min(numbers), max(numbers)
    return str(low) if low == high else f"{low} to {high}"


def _epochs(span: str) -> str:
    return f"{span} epoch{'' if span == '1' else 's'}"


def _named(span: str) -> str:
    return f"epoch{'s' if 'to' in span else ''} {span}"


def _speed(members: Sequence[Network]) -> str:
    epochs = [epoch for member in members for epoch in member.epochs]
    seconds = sum(epoch.seconds for epoch in epochs)
    rows = sum(epoch.seconds * epoch.rows_per_second for epoch in epochs)
    speed = rows / seconds if seconds > 0 else math.nan
    # Two digits: the next run on the same machine differs in the third.
    return compact(float(f"{speed:.2g}"))


def _loss(loss: float) -> str:
    return compact(loss, significant=5)


def _loss_cell(loss: float) -> Cell:
    return Cell(_loss(loss), exact(loss))
