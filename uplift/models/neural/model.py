"""A neural model of the package: training options, fit, predict, files. Subclasses add their network."""

from __future__ import annotations

import os
import warnings
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, get_args

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from uplift.campaign import Campaign
from uplift.effects import Effects
from uplift.errors import ModelError
from uplift.features import FeatureSchema
from uplift.io.atomic import make_ordinary
from uplift.models.base import ModelWarning, UpliftModel
from uplift.models.neural.checkpoint import Checkpoint
from uplift.models.neural.device import Precision, resolve_device
from uplift.models.neural.distributed import Team, joined
from uplift.models.neural.engine import (
    History,
    TrainingSettings,
    check_validation,
    finish,
    score,
    start,
    train,
)
from uplift.models.neural.loss import LossSpace
from uplift.models.neural.network import ChainNetwork
from uplift.models.neural.progress import TrainingProgress
from uplift.models.neural.rows import choose_value_loss, feature_tensors, load_rows
from uplift.models.neural.schedule import Schedule
from uplift.models.neural.selection import Criterion
from uplift.models.neural.sources import ResidentRows
from uplift.models.neural.threads import fixed_threads
from uplift.models.neural.value import ValueLoss
from uplift.models.parameters import SEED, Choice, Each, Flag, Number, OrNone, Rule, Text, Whole
from uplift.models.row_weights import row_weights
from uplift.models.stray_values import check_value
from uplift.splitting import held_out_mask

WEIGHTS_FILE = "model.safetensors"


@dataclass(kw_only=True, eq=False, repr=False)
class NeuralModel(UpliftModel):
    """Base of the neural models: what is learned from every stage, and how the network is trained.

    Parameters
    ----------
    loss_space : {"entire", "conditional", "independent"}
        What a stage's output is trained on: its rate in the entire space, as the product along the chain
        (``"entire"``, the paper of ECUP); its rate among the rows that reached the stage before (``"conditional"``: a
        CVR head on clicked rows), which is biased; or its rate in the entire space by an output of its own, without
        the chain (``"independent"``; rates that rise along the chain are cut).
    stage_weights : sequence of float, optional
        Weight of each binary stage in the loss; default 1 each.
    value_weight : float
        Weight of the value's likelihood, when the campaign has a value.
    value_loss : {"auto", "lognormal", "mse"}
        How the value of a row that reached the last stage is learned: as lognormal (positive values only), or by
        squared error (any sign: margins, returns, zeros). ``"auto"`` takes lognormal when all values at the last
        stage are positive, else squared error. The value per assigned unit is P(last stage) E[value | last stage].
        A value on a row that did not reach the last stage is ignored, with a warning, and refused when these are
        more than 1 % of all values.
    learning_rate : float
        Step size of Adam. Paper of ECUP: 1e-4, 1e-3 or 1e-2.
    schedule : {"constant", "cosine"}
        Step size over time: the same, or falling along half a cosine until `max_epochs`.
    warmup_steps : int
        Steps over which the step size rises from zero; 0 for none.
    weight_decay : float
        Decoupled weight decay (AdamW) of matrices and tables, >= 0.
    gradient_clip : float, optional
        Largest norm of the gradient, > 0; longer ones are shortened to it.
    averaging : float
        Decay per step, in [0, 1), of the moving average of the weights that is validated and kept; 0 keeps the
        last weights themselves. Without it the mean uplift of an arm wanders by about one point from epoch to epoch.
    batch_size : int
        Rows per step (at most), over all processes. Paper of ECUP: 2048.
    max_epochs, patience : int
        Stop after `max_epochs`, or after `patience` epochs without progress; the best epoch is kept.
    validation_fraction : float
        Share of the training units (by hash of the unit id) that is held out for early stopping when `fit` is
        given no validation campaign.
    criterion : {"qini", "loss", "last"}
        What picks the epoch on the validation rows: the Qini per capita of the last binary stage in the entire
        space, mean over arms, among the epochs whose loss is within one standard error of the lowest; the lowest
        loss; or the lowest loss of the last binary stage alone.
    propensity_clip : float
        Upper limit, > 0, of the stabilised inverse propensity P(arm) / propensity by which a row is weighted when
        the campaign has propensities, or strata, whose arm shares then stand for them
        (:func:`uplift.models.row_weights.row_weights`). Sampling weights multiply it. A warning says how many
        rows were cut, because cutting brings back some of the confounding.
    precision : {"auto", "float32", "bfloat16"}
        Number format of the network's products in training; weights, losses and scoring stay in float32.
        ``"auto"`` is bfloat16 on CUDA and float32 on a CPU.
    compile : bool
        Compile the training step with ``torch.compile``: costs about a minute once, pays for millions of rows.
        Needs a C++ compiler on a CPU.
    device : str
        ``"auto"`` (CUDA when there is one), ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ...
    random_state : int
        Seed, 0 to 2^31 - 1, of the initial weights, the shuffling and the validation split. Same seed, same machine, same
        predictions; the global random state is neither read nor changed.
    verbose : bool
        Show a progress bar with rows per second and the time that is left.

    Attributes
    ----------
    network_ : ChainNetwork
        The fitted network.
    history_ : list of dict
        One entry per epoch; see :func:`uplift.models.neural.engine.train`.
    value_loss_ : {"lognormal", "mse"} or None
        How the value was learned.

    Notes
    -----
    Under ``torchrun`` every process fits the same model on its share of each batch (DistributedDataParallel); all end
    with the same weights.
    """

    resumable: ClassVar[bool] = True
    rules: ClassVar[Mapping[str, Rule]] = {
        "loss_space": Choice(*get_args(LossSpace)),
        "stage_weights": OrNone(Each(Number(0))),
        "value_weight": Number(0),
        "value_loss": Choice("auto", *get_args(ValueLoss)),
        "learning_rate": Number(0, open_low=True),
        "schedule": Choice(*get_args(Schedule)),
        "warmup_steps": Whole(0),
        "weight_decay": Number(0),
        "gradient_clip": OrNone(Number(0, open_low=True)),
        "averaging": Number(0, 1, open_high=True),
        "batch_size": Whole(1),
        "max_epochs": Whole(1),
        "patience": Whole(1),
        "validation_fraction": Number(0, 1, open_low=True, open_high=True),
        "criterion": Choice(*get_args(Criterion)),
        "propensity_clip": Number(0, open_low=True),
        "precision": Choice(*get_args(Precision)),
        "compile": Flag(),
        "device": Text("a torch device such as 'auto', 'cpu' or 'cuda'"),
        "random_state": SEED,
        "verbose": Flag(),
    }

    loss_space: LossSpace = "entire"
    stage_weights: Sequence[float] | None = None
    value_weight: float = 1.0
    value_loss: Literal["auto", "lognormal", "mse"] = "auto"
    learning_rate: float = 1e-3
    schedule: Schedule = "constant"
    warmup_steps: int = 0
    weight_decay: float = 0.0
    gradient_clip: float | None = None
    averaging: float = 0.98
    batch_size: int = 2048
    max_epochs: int = 20
    patience: int = 5
    validation_fraction: float = 0.1
    criterion: Criterion = "qini"
    propensity_clip: float = 10.0
    precision: Precision = "auto"
    compile: bool = False
    device: str = "auto"
    random_state: int = 0
    verbose: bool = False

    network_: ChainNetwork = field(init=False, repr=False)
    history_: History = field(init=False, repr=False)
    value_loss_: ValueLoss | None = field(init=False, repr=False)

    # ---------------------------------------------------------------- what a subclass adds

    @abstractmethod
    def _build(self, schema: FeatureSchema, arms: int, stages: int, value: ValueLoss | None) -> ChainNetwork:
        """The network with its initial weights, on the CPU (so that they are alike on every device)."""

    # ---------------------------------------------------------------- fit

    def fit(
        self,
        campaign: Campaign,
        *,
        validation: Campaign | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
    ) -> Self:
        """Learn the effects of every arm at every stage.

        Parameters
        ----------
        campaign : Campaign
            Training rows.
        validation : Campaign, optional
            Rows for early stopping, disjoint from the training and test rows; else carved out of `campaign`.
        checkpoint : path, optional
            Folder where the state of the fit is kept, at least once a minute. A fit that was interrupted goes on from
            there when it is called again with the same data and parameters, and ends with the same numbers as one that
            was not (on one device). The folder stays; delete it when the model is saved.

        Returns
        -------
        self

        Raises
        ------
        ModelError
            See :meth:`UpliftModel.fit`; or the checkpoint is damaged or belongs to another fit.
        """
        self._checkpoint_folder = checkpoint
        return super().fit(campaign, validation=validation)

    @fixed_threads()
    def _fit(self, campaign: Campaign, validation: Campaign | None) -> None:
        if self.stage_weights is not None and len(self.stage_weights) != len(campaign.chain):
            raise ModelError(
                f"model {self.name!r}: stage_weights has {len(self.stage_weights)} entries for the {len(campaign.chain)} "
                f"stages {' -> '.join(campaign.chain)}; give one per binary stage."
            )
        team = Team.from_environment()
        device = resolve_device(self.device, local_rank=team.local_rank)
        checkpoint = self._open_checkpoint(campaign, validation)
        self._warn_of_stray_values(campaign)
        weights = self._row_weights(campaign)
        held_weights = None
        if validation is None:
            held_out = held_out_mask(
                campaign,
                test=self.validation_fraction,
                seed=self.random_state,
                by="unit",
                purpose=f"{self.name}-validation",
            )
            if weights is not None:
                weights, held_weights = weights[~held_out], weights[held_out]
            campaign, validation = campaign.take(~held_out), campaign.take(held_out)
        elif (validation.arm_names, validation.stages) != (self.arms_, self.stages_):
            raise ModelError(
                f"the validation campaign has arms {', '.join(validation.arm_names)} and stages "
                f"{' -> '.join(validation.stages)}, other than the training campaign; build both from one campaign."
            )
        else:
            found = row_weights(validation, clip=self.propensity_clip)
            held_weights = None if found is None else found.values
        self._check_team(team, campaign.n_rows)
        source = ResidentRows(load_rows(campaign, self.schema_, weights=weights, device=device))
        held = load_rows(validation, self.schema_, weights=held_weights, device=device)
        if self.criterion == "qini":
            check_validation(held, arms=self.arms_, stage=campaign.chain[-1])

        self.value_loss_ = choose_value_loss(self.value_loss, (campaign, validation), model=self.name)
        network = self._build(self.schema_, len(self.arms_), len(campaign.chain), self.value_loss_).to(device)
        start(network, source)
        shown = self.verbose and team.leads
        progress = (
            TrainingProgress(name=self.name, rows=len(source), epochs=self.max_epochs) if shown else None
        )
        with progress or nullcontext(), joined(team, device):
            history = train(
                network,
                source,
                held,
                settings=self._settings(len(campaign.chain)),
                generator=torch.Generator(device).manual_seed(self.random_state),
                checkpoint=checkpoint,
                team=team,
                on_batch=None if progress is None else progress.on_batch,
                on_epoch=self._announce(progress, len(source), team),
            )
        finish(network, source)
        self.history_ = history
        self.network_ = network.eval()

    def _open_checkpoint(self, campaign: Campaign, validation: Campaign | None) -> Checkpoint | None:
        if self._checkpoint_folder is None:
            return None
        parts = [self._fingerprint(campaign), "" if validation is None else validation.fingerprint()]
        return Checkpoint(self._checkpoint_folder, fingerprint=" ".join(parts).strip())

    def _check_team(self, team: Team, rows: int) -> None:
        least = 2 * team.size
        if team.size > 1 and min(rows, self.batch_size) < least:
            raise ModelError(
                f"model {self.name!r}: {team.size} processes need batches of {least} rows or more, but there are {rows:,} "
                f"training rows and batch_size is {self.batch_size:,}; start fewer processes."
            )

    def _warn_of_stray_values(self, campaign: Campaign) -> None:
        stray = check_value(campaign)
        if stray:
            warnings.warn(
                f"model {self.name!r} ignores the value of {stray:,} rows that did not reach {campaign.chain[-1]!r}; set it to 0 "
                f"there, or fix the stage.",
                ModelWarning,
                stacklevel=5,
            )

    def _row_weights(self, campaign: Campaign) -> np.ndarray | None:
        found = row_weights(campaign, clip=self.propensity_clip)
        if found is None:
            return None
        if found.clipped:
            warnings.warn(
                f"model {self.name!r} cut the weight P(arm) / propensity of {found.clipped:,} of {campaign.n_rows:,} rows "
                f"({found.clipped / campaign.n_rows:.2%}) to {self.propensity_clip:g} (the largest is {found.largest:,.1f}), "
                f"which leaves some confounding; raise propensity_clip, or leave out customers whose arm was nearly certain.",
                ModelWarning,
                stacklevel=5,
            )
        return found.values

    def _announce(
        self, progress: TrainingProgress | None, rows: int, team: Team
    ) -> Callable[[dict[str, Any]], None]:
        """What happens after every epoch: the bar of `verbose`, and `on_progress` in words."""

        def announce(entry: dict[str, Any]) -> None:
            if progress is not None:
                progress.on_epoch(entry)
            if self.on_progress is not None and team.leads:
                left = (self.max_epochs - entry["epoch"]) * rows / entry["rows_per_second"]
                self.on_progress(
                    f"epoch {entry['epoch']} of at most {self.max_epochs}, {entry['rows_per_second']:,.0f} rows/s, "
                    f"at most {left:,.0f} s left"
                )

        return announce

    def _settings(self, stages: int) -> TrainingSettings:
        return TrainingSettings(
            learning_rate=self.learning_rate,
            schedule=self.schedule,
            warmup_steps=self.warmup_steps,
            weight_decay=self.weight_decay,
            gradient_clip=self.gradient_clip,
            averaging=self.averaging,
            batch_size=self.batch_size,
            max_epochs=self.max_epochs,
            patience=self.patience,
            criterion=self.criterion,
            stage_weights=(1.0,) * stages if self.stage_weights is None else tuple(self.stage_weights),
            value_weight=self.value_weight,
            loss_space=self.loss_space,
            precision=self.precision,
            compile=self.compile,
        )

    # ---------------------------------------------------------------- predict

    @fixed_threads()
    def _predict(self, campaign: Campaign) -> Effects:
        device = resolve_device(self.device)
        network = self.network_.to(device)
        numeric, categorical = feature_tensors(campaign, self.schema_)
        with torch.inference_mode():
            mu = network.mu(score(network, numeric, categorical, device))
        return Effects.for_campaign(mu.cpu().numpy(), campaign, model=self.name)

    # ---------------------------------------------------------------- files

    def _save(self, folder: Path) -> dict[str, Any]:
        tensors = {key: tensor.cpu().contiguous() for key, tensor in self.network_.state_dict().items()}
        save_file(tensors, folder / WEIGHTS_FILE)
        make_ordinary(folder / WEIGHTS_FILE)
        return {
            "stages": self.network_.stages,
            "value_loss": self.value_loss_,
            "history": self.history_,
        }

    def _load(self, folder: Path, state: dict[str, Any]) -> None:
        network = self._build(self.schema_, len(self.arms_), state["stages"], state["value_loss"])
        try:
            network.load_state_dict(load_file(folder / WEIGHTS_FILE))
        except (SafetensorError, RuntimeError) as error:
            raise ValueError(f"{WEIGHTS_FILE}: {str(error).splitlines()[0]}") from error
        self.network_ = network.eval()
        self.history_ = state["history"]
        self.value_loss_ = state["value_loss"]

    def _libraries(self) -> tuple[str, ...]:
        return ("numpy", "torch", "safetensors")

    def _check_fitted(self) -> None:
        if not hasattr(self, "network_"):
            raise ModelError(f"model {self.name!r} is not fitted; call fit(campaign) first.")
