"""How the models were trained: what the page shows of every model of the run that has a training history."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from uplift.arms import VALUE_STAGE
from uplift.errors import UpliftError
from uplift.metrics.evaluation import Evaluation
from uplift.reporting import training
from uplift.reporting.names import Names
from uplift.reporting.pictures import training_picture
from uplift.reporting.tables import Table
from uplift.reporting.training import Concern


@dataclass(frozen=True)
class Trained:
    """One model's training.

    Attributes
    ----------
    key : str
        Of its figure.
    name, summary, sentences : str
        The model; its epochs in a few words; the same in sentences.
    concerns : list of Concern
        What the analyst should look at.
    figure : dict
        As :func:`uplift.reporting.embed.figure_spec` gives it.
    table : Table
    several : bool
        Whether there are several networks.
    criterion : str or None
        What picked the epoch, where the run recorded it.
    """

    key: str
    name: str
    summary: str
    sentences: str
    concerns: list[Concern]
    figure: dict[str, Any]
    table: Table
    several: bool
    criterion: str | None


def trained_models(run: Mapping[str, Any], evaluation: Evaluation, names: Names) -> list[Trained]:
    """The models of ``run["training"]``, in its order; parameters are those of ``run["models"]``.

    Raises
    ------
    UpliftError
        ``run["training"]`` does not hold training histories.
    """
    histories, parameters = run.get("training") or {}, run.get("models") or {}
    if not isinstance(histories, Mapping):
        raise UpliftError(
            f"run['training'] is a {type(histories).__name__}; it must map model names to their histories."
        )
    stage = next(stage for stage in reversed(evaluation.stages) if stage != VALUE_STAGE)
    found = []
    for number, (model, history) in enumerate(histories.items()):
        name, params = str(model), parameters.get(model) or {}
        members = training.networks(history, name=name)
        criterion = params.get("criterion")
        found.append(
            Trained(
                key=f"training-{number}",
                name=name,
                summary=training.summary(members),
                sentences=training.sentences(members, params),
                concerns=training.concerns(members, params),
                figure=training_picture(
                    history, members, name=name, criterion=criterion, stage=names.stage(stage)
                ),
                table=training.training_table(members, id=f"table-training-{number}", name=name, stage=stage),
                several=len(members) > 1,
                criterion=criterion,
            )
        )
    return found
