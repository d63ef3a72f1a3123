"""ECUP as a model of the package: options, fit, predict, files."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

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
from uplift.models.ecup.data import check_value, choose_value_loss, feature_tensors, load_rows
from uplift.models.ecup.loss import LossSpace
from uplift.models.ecup.network import EcupNetwork
from uplift.models.ecup.progress import TrainingProgress
from uplift.models.ecup.selection import Criterion
from uplift.models.ecup.tenet import BitLevel
from uplift.models.ecup.threads import fixed_threads
from uplift.models.ecup.training import (
    History,
    TrainingSettings,
    check_validation,
    finish,
    score,
    start,
    train,
)
from uplift.models.ecup.value import ValueLoss
from uplift.models.parameters import SEED, Choice, Each, Flag, Number, OrNone, Rule, Text, Whole
from uplift.models.row_weights import row_weights
from uplift.splitting import held_out_mask

WEIGHTS_FILE = "model.safetensors"


class ECUP(UpliftModel):
    """Entire-chain uplift model with context-enhanced learning, for all arms and all stages at once.

    One network predicts the rate of every stage given the one before, for every arm; their products are the
    rates in the entire space. Built after the paper for two stages, and for any number of binary stages and an
    optional value after the last one.

    Parameters
    ----------
    embedding_dim : int
        Embedding size d of every field, arm and task; a multiple of `heads`. Paper: 8, 16 or 32.
    attention_dim : int, optional
        Size d_a of queries, keys and values in the treatment-aware units; default d.
    hidden : sequence of int
        Widths of the shared tower. Paper: two layers, the first of 128, 256 or 512.
    gate_hidden : int
        Hidden width of the task gates (TAEGate). Paper: 64 to 512.
    heads : int
        Heads of the task attention. Paper: 2.
    gamma : float
        Upper end of the task gates. Not stated in the paper; 2.0 starts them at about 1.
    bit_level : {"d", "f*d"}
        What the treatment gates: one vector for all fields, or one per field. The paper's wording allows both.
    share_gates : bool
        One task gate for all tower layers (which must then be of one width) in place of one per layer.
    tenet, taenet : bool
        Ablation: without the treatment-enhanced or the task-enhanced network.
    tau_units : {1, 2}
        Ablation: 1 gives the enhanced features and their gate weights from a single treatment-aware unit.
    stop_gradient : bool
        Ablation: False lets the task gates train the embeddings.
    share_tower : bool
        Ablation: False gives every stage a tower of its own.
    loss_space : {"entire", "conditional"}
        Ablation: ``"conditional"`` trains each stage on the rows that reached the one before (a CVR head on
        clicked rows), which is biased.
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
        Step size of Adam. Paper: 1e-4, 1e-3 or 1e-2.
    averaging : float
        Decay per step, in [0, 1), of the moving average of the weights that is validated and kept; 0 keeps the
        last weights themselves. Not in the paper: without it the mean uplift of an arm wanders by about one
        point from epoch to epoch.
    batch_size : int
        Rows per step (at most). Paper: 2048.
    max_epochs, patience : int
        Stop after `max_epochs`, or after `patience` epochs without progress; the best epoch is kept.
    validation_fraction : float
        Share of the training units (by hash of the unit id) that is held out for early stopping when `fit` is
        given no validation campaign.
    criterion : {"qini", "loss"}
        What picks the epoch on the validation rows: the Qini per capita of the last binary stage in the entire
        space, mean over arms, among the epochs whose loss is within one standard error of the lowest; or the
        lowest loss.
    propensity_clip : float
        Upper limit, > 0, of the stabilised inverse propensity P(arm) / propensity by which a row is weighted when
        the campaign has propensities, or strata, whose arm shares then stand for them
        (:func:`uplift.models.row_weights.row_weights`). Sampling weights multiply it. A warning says how many
        rows were cut, because cutting brings back some of the confounding.
    device : str
        ``"auto"`` (CUDA when there is one), ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ...
    random_state : int
        Seed, 0 to 2^31 - 1, of the initial weights, the shuffling and the validation split. Same seed, same machine, same
        predictions; the global random state is neither read nor changed.
    verbose : bool
        Show a progress bar with rows per second.

    Attributes
    ----------
    network_ : EcupNetwork
        The fitted network.
    history_ : list of dict
        One entry per epoch; see :func:`uplift.models.ecup.training.train`.
    value_loss_ : {"lognormal", "mse"} or None
        How the value was learned.

    References
    ----------
    Huang et al., Entire Chain Uplift Modeling with Context-Enhanced Learning for Intelligent Marketing, WWW'24
    Companion, doi 10.1145/3589335.3648320.

    Examples
    --------
    >>> ECUP(embedding_dim=8).get_params()["gamma"]
    2.0
    """

    name: ClassVar[str] = "ecup"
    rules: ClassVar[Mapping[str, Rule]] = {
        "embedding_dim": Whole(1),
        "attention_dim": OrNone(Whole(1)),
        "hidden": Each(Whole(1), least=1),
        "gate_hidden": Whole(1),
        "heads": Whole(1),
        "gamma": Number(0, open_low=True),
        "bit_level": Choice(*get_args(BitLevel)),
        "share_gates": Flag(),
        "tenet": Flag(),
        "taenet": Flag(),
        "tau_units": Whole(1, 2),
        "stop_gradient": Flag(),
        "share_tower": Flag(),
        "loss_space": Choice(*get_args(LossSpace)),
        "stage_weights": OrNone(Each(Number(0))),
        "value_weight": Number(0),
        "value_loss": Choice("auto", *get_args(ValueLoss)),
        "learning_rate": Number(0, open_low=True),
        "averaging": Number(0, 1, open_high=True),
        "batch_size": Whole(1),
        "max_epochs": Whole(1),
        "patience": Whole(1),
        "validation_fraction": Number(0, 1, open_low=True, open_high=True),
        "criterion": Choice(*get_args(Criterion)),
        "propensity_clip": Number(0, open_low=True),
        "device": Text("a torch device such as 'auto', 'cpu' or 'cuda'"),
        "random_state": SEED,
        "verbose": Flag(),
    }

    network_: EcupNetwork
    history_: History
    value_loss_: ValueLoss | None

    def __init__(
        self,
        *,
        embedding_dim: int = 16,
        attention_dim: int | None = None,
        hidden: Sequence[int] = (128, 64),
        gate_hidden: int = 64,
        heads: int = 2,
        gamma: float = 2.0,
        bit_level: BitLevel = "d",
        share_gates: bool = False,
        tenet: bool = True,
        taenet: bool = True,
        tau_units: int = 2,
        stop_gradient: bool = True,
        share_tower: bool = True,
        loss_space: LossSpace = "entire",
        stage_weights: Sequence[float] | None = None,
        value_weight: float = 1.0,
        value_loss: Literal["auto", "lognormal", "mse"] = "auto",
        learning_rate: float = 1e-3,
        averaging: float = 0.98,
        batch_size: int = 2048,
        max_epochs: int = 20,
        patience: int = 5,
        validation_fraction: float = 0.1,
        criterion: Criterion = "qini",
        propensity_clip: float = 10.0,
        device: str = "auto",
        random_state: int = 0,
        verbose: bool = False,
    ) -> None:
        self.embedding_dim = embedding_dim
        self.attention_dim = attention_dim
        self.hidden = hidden
        self.gate_hidden = gate_hidden
        self.heads = heads
        self.gamma = gamma
        self.bit_level = bit_level
        self.share_gates = share_gates
        self.tenet = tenet
        self.taenet = taenet
        self.tau_units = tau_units
        self.stop_gradient = stop_gradient
        self.share_tower = share_tower
        self.loss_space = loss_space
        self.stage_weights = stage_weights
        self.value_weight = value_weight
        self.value_loss = value_loss
        self.learning_rate = learning_rate
        self.averaging = averaging
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.patience = patience
        self.validation_fraction = validation_fraction
        self.criterion = criterion
        self.propensity_clip = propensity_clip
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    @fixed_threads()
    def _fit(self, campaign: Campaign, validation: Campaign | None) -> None:
        if self.stage_weights is not None and len(self.stage_weights) != len(campaign.chain):
            raise ModelError(
                f"model 'ecup': stage_weights has {len(self.stage_weights)} entries for the {len(campaign.chain)} "
                f"stages {' -> '.join(campaign.chain)}; give one per binary stage."
            )
        device = resolve_device(self.device)
        self._warn_of_stray_values(campaign)
        weights = self._row_weights(campaign)
        held_weights = None
        if validation is None:
            held_out = held_out_mask(
                campaign,
                test=self.validation_fraction,
                seed=self.random_state,
                by="unit",
                purpose="ecup-validation",
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
        rows = load_rows(campaign, self.schema_, weights=weights, device=device)
        held = load_rows(validation, self.schema_, weights=held_weights, device=device)
        if self.criterion == "qini":
            check_validation(held, arms=self.arms_, stage=campaign.chain[-1])

        self.value_loss_ = choose_value_loss(self.value_loss, (campaign, validation))
        network = self._build(self.schema_, len(self.arms_), len(campaign.chain), self.value_loss_).to(device)
        start(network, rows)
        progress = TrainingProgress(rows=len(rows), epochs=self.max_epochs) if self.verbose else None
        with progress or nullcontext():
            history = train(
                network,
                rows,
                held,
                settings=self._settings(len(campaign.chain)),
                generator=torch.Generator(device).manual_seed(self.random_state),
                on_batch=None if progress is None else progress.on_batch,
                on_epoch=self._announce(progress, len(rows)),
            )
        finish(network, rows)
        self.history_ = history
        self.network_ = network.eval()

    def _warn_of_stray_values(self, campaign: Campaign) -> None:
        stray = check_value(campaign)
        if stray:
            warnings.warn(
                f"model 'ecup' ignores the value of {stray:,} rows that did not reach {campaign.chain[-1]!r}; set it to 0 "
                f"there, or fix the stage.",
                ModelWarning,
                stacklevel=4,
            )

    def _row_weights(self, campaign: Campaign) -> np.ndarray | None:
        found = row_weights(campaign, clip=self.propensity_clip)
        if found is None:
            return None
        if found.clipped:
            warnings.warn(
                f"model 'ecup' cut the weight P(arm) / propensity of {found.clipped:,} of {campaign.n_rows:,} rows "
                f"({found.clipped / campaign.n_rows:.2%}) to {self.propensity_clip:g} (the largest is {found.largest:,.1f}), "
                f"which leaves some confounding; raise propensity_clip, or leave out customers whose arm was nearly certain.",
                ModelWarning,
                stacklevel=4,
            )
        return found.values

    def _announce(self, progress: TrainingProgress | None, rows: int) -> Callable[[dict[str, Any]], None]:
        """What happens after every epoch: the bar of `verbose`, and `on_progress` in words."""

        def announce(entry: dict[str, Any]) -> None:
            if progress is not None:
                progress.on_epoch(entry)
            if self.on_progress is not None:
                left = (self.max_epochs - entry["epoch"]) * rows / entry["rows_per_second"]
                self.on_progress(
                    f"epoch {entry['epoch']} of at most {self.max_epochs}, {entry['rows_per_second']:,.0f} rows/s, "
                    f"at most {left:,.0f} s left"
                )

        return announce

    @fixed_threads()
    def _predict(self, campaign: Campaign) -> Effects:
        device = resolve_device(self.device)
        network = self.network_.to(device)
        numeric, categorical = feature_tensors(campaign, self.schema_)
        with torch.inference_mode():
            mu = network.mu(score(network, numeric, categorical, device))
        return Effects.for_campaign(mu.cpu().numpy(), campaign, model=self.name)

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

    def _build(self, schema: FeatureSchema, arms: int, stages: int, value: ValueLoss | None) -> EcupNetwork:
        """The network with its initial weights, on the CPU (so that they are alike on every device)."""
        return EcupNetwork(
            numeric_fields=len(schema.numeric),
            cardinalities=schema.cardinalities,
            arms=arms,
            stages=stages,
            value=value,
            embedding_dim=self.embedding_dim,
            attention_dim=self.attention_dim or self.embedding_dim,
            bit_level=self.bit_level,
            hidden=tuple(self.hidden),
            gate_hidden=self.gate_hidden,
            heads=self.heads,
            gamma=self.gamma,
            tenet=self.tenet,
            taenet=self.taenet,
            tau_units=self.tau_units,
            stop_gradient=self.stop_gradient,
            share_tower=self.share_tower,
            share_gates=self.share_gates,
            generator=torch.Generator().manual_seed(self.random_state),
        )

    def _settings(self, stages: int) -> TrainingSettings:
        return TrainingSettings(
            learning_rate=self.learning_rate,
            averaging=self.averaging,
            batch_size=self.batch_size,
            max_epochs=self.max_epochs,
            patience=self.patience,
            criterion=self.criterion,
            stage_weights=(1.0,) * stages if self.stage_weights is None else tuple(self.stage_weights),
            value_weight=self.value_weight,
            loss_space=self.loss_space,
        )

    def _check_combination(self) -> None:
        if self.taenet and self.embedding_dim % self.heads:
            raise ModelError(
                f"model 'ecup': embedding_dim {self.embedding_dim} is not a multiple of heads {self.heads}; change one of them."
            )
        if self.share_gates and len(set(self.hidden)) > 1:
            raise ModelError(
                f"model 'ecup': share_gates needs tower layers of one width, but hidden is {tuple(self.hidden)}; "
                f"try hidden=({self.hidden[0]},) * {len(self.hidden)}."
            )


def resolve_device(device: str) -> torch.device:
    """The torch device of an option value; ``"auto"`` is CUDA when there is one.

    Raises
    ------
    ModelError
        No such device on this machine.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        resolved = torch.device(device)
        torch.empty(0, device=resolved)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ModelError(
            f"device {device!r} cannot be used here ({reason}); use device='auto' or 'cpu'."
        ) from error
    return resolved
