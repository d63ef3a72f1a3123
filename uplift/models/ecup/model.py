"""ECUP as a model of the package: options, fit, predict, files."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, ClassVar, get_args

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from uplift.campaign import Campaign
from uplift.effects import Effects
from uplift.errors import ModelError, did_you_mean
from uplift.features import FeatureSchema
from uplift.models.base import UpliftModel
from uplift.models.ecup.data import check_value, feature_tensors, load_rows
from uplift.models.ecup.loss import LossSpace
from uplift.models.ecup.network import EcupNetwork
from uplift.models.ecup.progress import TrainingProgress
from uplift.models.ecup.selection import Criterion
from uplift.models.ecup.tenet import BitLevel
from uplift.models.ecup.training import (
    History,
    TrainingSettings,
    check_validation,
    finish,
    score,
    start,
    train,
)
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
        the campaign has propensities. Sampling weights multiply it. A campaign with neither is not weighted.
    device : str
        ``"auto"`` (CUDA when there is one), ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ...
    random_state : int
        Seed of the initial weights, the shuffling and the validation split. Same seed, same machine, same
        predictions; the global random state is neither read nor changed.
    verbose : bool
        Show a progress bar with rows per second.

    Attributes
    ----------
    network_ : EcupNetwork
        The fitted network.
    history_ : list of dict
        One entry per epoch; see :func:`uplift.models.ecup.training.train`.

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

    network_: EcupNetwork
    history_: History

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

    def _fit(self, campaign: Campaign, validation: Campaign | None) -> None:
        self._check_params(campaign)
        check_value(campaign)
        device = resolve_device(self.device)
        if validation is None:
            held_out = held_out_mask(
                campaign,
                test=self.validation_fraction,
                seed=self.random_state,
                by="unit",
                purpose="ecup-validation",
            )
            campaign, validation = campaign.take(~held_out), campaign.take(held_out)
        elif (validation.arm_names, validation.stages) != (self.arms_, self.stages_):
            raise ModelError(
                f"the validation campaign has arms {', '.join(validation.arm_names)} and stages "
                f"{' -> '.join(validation.stages)}, other than the training campaign; build both from one campaign."
            )
        rows = load_rows(campaign, self.schema_, clip=self.propensity_clip, device=device)
        held = load_rows(validation, self.schema_, clip=self.propensity_clip, device=device)
        if self.criterion == "qini":
            check_validation(held, arms=self.arms_, stage=campaign.chain[-1])

        network = self._build(self.schema_, len(self.arms_), len(campaign.chain), campaign.has_value).to(
            device
        )
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
        return {
            "stages": self.network_.stages,
            "value": self.network_.value is not None,
            "history": self.history_,
        }

    def _load(self, folder: Path, state: dict[str, Any]) -> None:
        network = self._build(self.schema_, len(self.arms_), state["stages"], state["value"])
        try:
            network.load_state_dict(load_file(folder / WEIGHTS_FILE))
        except (SafetensorError, RuntimeError) as error:
            raise ValueError(f"{WEIGHTS_FILE}: {str(error).splitlines()[0]}") from error
        self.network_ = network.eval()
        self.history_ = state["history"]

    def _libraries(self) -> tuple[str, ...]:
        return ("numpy", "torch", "safetensors")

    def _check_fitted(self) -> None:
        if not hasattr(self, "network_"):
            raise ModelError(f"model {self.name!r} is not fitted; call fit(campaign) first.")

    def _build(self, schema: FeatureSchema, arms: int, stages: int, value: bool) -> EcupNetwork:
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

    def _check_params(self, campaign: Campaign) -> None:
        """Raise a ModelError for the first option that cannot be used."""
        positive = {
            "embedding_dim": self.embedding_dim,
            "gate_hidden": self.gate_hidden,
            "heads": self.heads,
            "batch_size": self.batch_size,
            "max_epochs": self.max_epochs,
            "patience": self.patience,
            **({} if self.attention_dim is None else {"attention_dim": self.attention_dim}),
            **{f"hidden[{layer}]": width for layer, width in enumerate(self.hidden)},
        }
        for option, given in positive.items():
            if isinstance(given, bool) or not isinstance(given, int | np.integer) or given < 1:
                raise ModelError(f"ecup: {option} is {given!r}; it must be a whole number >= 1.")
        for option in ("gamma", "learning_rate", "propensity_clip"):
            if not (math.isfinite(getattr(self, option)) and getattr(self, option) > 0):
                raise ModelError(
                    f"ecup: {option} is {getattr(self, option)!r}; it must be a positive number."
                )
        for option, kind in (("bit_level", BitLevel), ("loss_space", LossSpace), ("criterion", Criterion)):
            if getattr(self, option) not in get_args(kind):
                given = getattr(self, option)
                raise ModelError(f"ecup: {option} is {given!r}; {did_you_mean(str(given), get_args(kind))}")
        if not 0 <= self.averaging < 1:
            raise ModelError(f"ecup: averaging is {self.averaging!r}; it must lie in [0, 1).")
        if not self.hidden:
            raise ModelError("ecup: hidden is empty; name at least one tower layer, for example (128, 64).")
        if self.taenet and self.embedding_dim % self.heads:
            raise ModelError(
                f"ecup: embedding_dim {self.embedding_dim} is not a multiple of heads {self.heads}; change one of them."
            )
        if self.tau_units not in (1, 2):
            raise ModelError(f"ecup: tau_units is {self.tau_units!r}; it must be 2 (the paper) or 1.")
        if self.share_gates and len(set(self.hidden)) > 1:
            raise ModelError(
                f"ecup: share_gates needs tower layers of one width, but hidden is {tuple(self.hidden)}; "
                f"try hidden=({self.hidden[0]},) * {len(self.hidden)}."
            )
        weights = [*(self.stage_weights or ()), self.value_weight]
        if not all(math.isfinite(weight) and weight >= 0 for weight in weights):
            raise ModelError("ecup: stage_weights and value_weight must be finite and not negative.")
        if self.stage_weights is not None and len(self.stage_weights) != len(campaign.chain):
            raise ModelError(
                f"ecup: stage_weights has {len(self.stage_weights)} entries for the {len(campaign.chain)} stages "
                f"{' -> '.join(campaign.chain)}; give one per binary stage."
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
