"""A neural model of the package: training options, fit, predict, files. Subclasses add their network."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, get_args

import numpy as np
import torch

from uplift.campaign import Campaign
from uplift.campaign_stream import CampaignStream
from uplift.errors import ModelError
from uplift.features import FeatureSchema
from uplift.models.base import ModelWarning
from uplift.models.duplicates import first_of_each
from uplift.models.neural.checkpoint import Checkpoint
from uplift.models.neural.device import Precision, resolve_device
from uplift.models.neural.distributed import Team, joined
from uplift.models.neural.engine import (
    History,
    TrainingSettings,
    check_validation,
    finish,
    start,
    train,
)
from uplift.models.neural.ensemble import (
    Ensemble,
    member_seeds,
)
from uplift.models.neural.host_rows import HostRows, rows_that_fit
from uplift.models.neural.loss import LossSpace
from uplift.models.neural.network import ChainNetwork
from uplift.models.neural.progress import TrainingProgress
from uplift.models.neural.rows import Normalise, Rows, choose_value_loss, load_rows
from uplift.models.neural.schedule import Schedule
from uplift.models.neural.selection import Criterion
from uplift.models.neural.sources import ResidentRows, RowSource
from uplift.models.neural.stream_data import StreamOptions, prepare_stream
from uplift.models.neural.threads import fixed_threads
from uplift.models.neural.trained import TrainedNetworks
from uplift.models.neural.value import ValueLoss
from uplift.models.parameters import SEED, Choice, Each, Flag, Number, OrNone, Rule, Text, Whole
from uplift.models.row_weights import RowWeights, row_weights
from uplift.models.stray_values import check_value
from uplift.models.stream_weights import StreamWeights
from uplift.splitting import held_out_mask

if TYPE_CHECKING:
    pass

WEIGHTS_FILE = "model.safetensors"


@dataclass(kw_only=True, eq=False, repr=False)
class NeuralModel(TrainedNetworks):
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
    hash_buckets : int
        Number of codes, >= 0, among which a hash spreads the rare and unseen categories of a feature; 0 (the
        default) gives them one embedding together, which more rows train. See
        :meth:`uplift.features.FeatureSchema.fit`.
    normalise : {"zscore", "none"}
        Whether numeric features are standardised on the training rows, or taken as they are (for data that are
        scaled already).
    deduplicate : bool
        Drop training rows that repeat features, arm and outcomes of another exactly, as some published comparisons
        do. It distorts rates: not for decisions.
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
    max_validation_rows : int
        Most validation rows (about) when the campaign stays on disk: validation rows are held in memory. They are
        chosen by the hash of their units, and those of `validation_fraction` that are too many are trained on.
    buffer_rows : int, optional
        Rows of a campaign on disk that wait in the shuffle buffer; default four blocks. More mix better.
    device_rows_limit : int, optional
        Most training rows of a campaign in memory that are kept on the device; when there are more, all stay in host
        memory and travel in chunks. Default: half of the free memory of a CUDA device, no limit on a CPU. The numbers
        are the same.
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
    members : int
        Members of an ensemble; 1 is a single network without intervals. Predictions are the mean over the members,
        and effects carry intervals.
    ensemble : {"seeds", "shared"}
        ``"seeds"``: as many networks, each from a seed of its own (the first from `random_state`), all with the same
        validation rows; `members` times the work. ``"shared"``: one network whose last layers exist in slight
        variants, one per member (TabM, ICLR 2025); little more work, but the members are not independent. Only for
        models whose network can (ECUP).
    bootstrap : bool
        Let every member weight the training units by random Exponential(1) weights of its own (the Bayesian
        bootstrap), so that the members differ as networks would that had seen other customers. Only where `members`
        is more than 1.
    interval_level : float
        Nominal level of the intervals, in (0, 1). An interval is the mean uplift -+ t s, with s the standard
        deviation over the members and t the quantile of Student's t with ``members - 1`` degrees of freedom.

    Attributes
    ----------
    networks_ : list of ChainNetwork
        The fitted networks: one per member for ``ensemble="seeds"``, else one.
    network_ : ChainNetwork
        The first of them.
    history_ : list of dict
        One entry per network and epoch; see :func:`uplift.models.neural.engine.train`, and :meth:`plot_training`.
        ``"member"`` is the number of the network, from 0.
    value_loss_ : {"lognormal", "mse"} or None
        How the value was learned.

    Notes
    -----
    Under ``torchrun`` every process fits the same model on its share of each batch (DistributedDataParallel); all end
    with the same weights.

    What the intervals cover: the noise of initial weights, shuffling and early stopping, and with `bootstrap` that
    of having seen these customers and no others. They do not cover what all members get wrong alike: effects that
    the network smooths away or has stopped too early to learn, confounding, a change of times. So the share that
    holds the true uplift lies below `interval_level`: ``benchmarks/bench_intervals.py`` found 74 to 80 % in place of 90 %
    for ``"seeds"`` with the bootstrap on 8,000 customers, 58 to 63 % without it, and less for ``"shared"``. Quantiles of a
    few members would be narrower still.
    """

    streams: ClassVar[bool] = True
    rules: ClassVar[Mapping[str, Rule]] = {
        "loss_space": Choice(*get_args(LossSpace)),
        "stage_weights": OrNone(Each(Number(0))),
        "value_weight": Number(0),
        "value_loss": Choice("auto", *get_args(ValueLoss)),
        "hash_buckets": Whole(0, 2**20),
        "normalise": Choice(*get_args(Normalise)),
        "deduplicate": Flag(),
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
        "max_validation_rows": Whole(1),
        "buffer_rows": OrNone(Whole(1)),
        "device_rows_limit": OrNone(Whole(0)),
        "propensity_clip": Number(0, open_low=True),
        "precision": Choice(*get_args(Precision)),
        "compile": Flag(),
        "device": Text("a torch device such as 'auto', 'cpu' or 'cuda'"),
        "random_state": SEED,
        "verbose": Flag(),
        "members": Whole(1),
        "ensemble": Choice(*get_args(Ensemble)),
        "bootstrap": Flag(),
        "interval_level": Number(0, 1, open_low=True, open_high=True),
    }
    can_share: ClassVar[bool] = False
    """Whether the network can hold several members."""

    loss_space: LossSpace = "entire"
    stage_weights: Sequence[float] | None = None
    value_weight: float = 1.0
    value_loss: Literal["auto", "lognormal", "mse"] = "auto"
    hash_buckets: int = 0
    normalise: Normalise = "zscore"
    deduplicate: bool = False
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
    max_validation_rows: int = 200_000
    buffer_rows: int | None = None
    device_rows_limit: int | None = None
    propensity_clip: float = 10.0
    precision: Precision = "auto"
    compile: bool = False
    device: str = "auto"
    random_state: int = 0
    verbose: bool = False
    members: int = 1
    ensemble: Ensemble = "seeds"
    bootstrap: bool = True
    interval_level: float = 0.9

    networks_: list[ChainNetwork] = field(init=False, repr=False)
    network_: ChainNetwork = field(init=False, repr=False)
    history_: History = field(init=False, repr=False)
    value_loss_: ValueLoss | None = field(init=False, repr=False)

    # ---------------------------------------------------------------- what a subclass adds

    def _check_combination(self) -> None:
        if self.members > 1 and self.ensemble == "shared" and not self.can_share:
            raise ModelError(
                f"model {self.name!r}: its network cannot hold several members, which ensemble='shared' asks for; use "
                f"ensemble='seeds'."
            )

    def _learn_arms(self, campaign: Campaign | CampaignStream) -> None:
        """Note what the network is to know about the arms; called before :meth:`_build`."""

    # ---------------------------------------------------------------- fit

    def fit(
        self,
        campaign: Campaign | CampaignStream,
        *,
        validation: Campaign | CampaignStream | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
    ) -> Self:
        """Learn the effects of every arm at every stage.

        Parameters
        ----------
        campaign : Campaign or CampaignStream
            Training rows. Those of a stream stay on disk and are read once per epoch, and about four times before
            and after (once more per member of an ensemble); memory does not grow with them, but for 4 bytes per row that has a value.
        validation : Campaign or CampaignStream, optional
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
        self.check_params()
        if self.deduplicate:
            if isinstance(campaign, CampaignStream):
                raise ModelError(
                    f"model {self.name!r}: deduplicate needs the campaign in memory; drop repeated rows when you write the files."
                )
            campaign = campaign.take(first_of_each(campaign))
        return super().fit(campaign, validation=validation, checkpoint=checkpoint)

    def _fit_schema(self, campaign: Campaign | CampaignStream) -> FeatureSchema:
        return self._schema_with(campaign, bins=0)

    def _schema_with(self, campaign: Campaign | CampaignStream, *, bins: int) -> FeatureSchema:
        if isinstance(campaign, CampaignStream):
            return FeatureSchema.fit_stream(campaign, hash_buckets=self.hash_buckets, bins=bins)
        return FeatureSchema.fit(campaign, hash_buckets=self.hash_buckets, bins=bins)

    @fixed_threads()
    def _fit(self, campaign: Campaign | CampaignStream, validation: Campaign | CampaignStream | None) -> None:
        if self.stage_weights is not None and len(self.stage_weights) != len(campaign.chain):
            raise ModelError(
                f"model {self.name!r}: stage_weights has {len(self.stage_weights)} entries for the {len(campaign.chain)} "
                f"stages {' -> '.join(campaign.chain)}; give one per binary stage."
            )
        self._learn_arms(campaign)
        if validation is not None:
            self._check_validation(validation)
        team = Team.from_environment()
        device = resolve_device(self.device, local_rank=team.local_rank)
        checkpoints = self._open_checkpoints(campaign, validation)
        source: RowSource
        if isinstance(campaign, CampaignStream):
            source, held = self._streamed(campaign, validation, device)
        elif isinstance(validation, CampaignStream):
            raise ModelError(
                "the training campaign is in memory and the validation campaign a stream; make both the same kind."
            )
        else:
            source, held = self._in_memory(campaign, validation, device)
        self._check_team(team, len(source))
        if self.criterion == "qini":
            check_validation(held, arms=self.arms_, stage=campaign.chain[-1])
        networks: list[ChainNetwork] = []
        history: History = []
        with joined(team, device):
            for number, checkpoint in enumerate(checkpoints):
                network, entries = self._fit_network(
                    number, self._member_source(number, source), held, checkpoint, team
                )
                networks.append(network)
                history += [{"member": number, **entry} for entry in entries]
        self.history_ = history
        self.networks_ = networks
        self.network_ = networks[0]

    def _member_source(self, number: int, source: RowSource) -> RowSource:
        """The training rows as network `number` sees them."""
        if not self.bootstrap or self.members == 1:
            return source
        seeds = member_seeds(self.random_state, self.members)
        return source.reweighted(seeds if self._members_inside > 1 else seeds[number : number + 1])

    def _fit_network(
        self, number: int, source: RowSource, held: Rows, checkpoint: Checkpoint | None, team: Team
    ) -> tuple[ChainNetwork, History]:
        """Network `number` of the ensemble, trained, and its history."""
        seed, stages = member_seeds(self.random_state, number + 1)[-1], held.outcomes.shape[1]
        network = self._build(self.schema_, len(self.arms_), stages, self.value_loss_, seed=seed)
        network.to(source.device)
        start(network, source)
        which = f" {number + 1}/{self.members}" if self._networks > 1 else ""
        progress = None
        if self.verbose and team.leads:
            progress = TrainingProgress(name=self.name + which, rows=len(source), epochs=self.max_epochs)
        with progress or nullcontext():
            history = train(
                network,
                source,
                held,
                settings=self._settings(stages),
                generator=torch.Generator(source.device).manual_seed(seed),
                checkpoint=checkpoint,
                team=team,
                on_batch=None if progress is None else progress.on_batch,
                on_epoch=self._announce(progress, len(source), team, number),
            )
        finish(network, source)
        return network, history

    def _in_memory(
        self, campaign: Campaign, validation: Campaign | None, device: torch.device
    ) -> tuple[RowSource, Rows]:
        """Training and validation rows of a campaign in memory; sets `value_loss_`."""
        self._warn_of_stray_values(check_value(campaign), campaign.chain[-1], stacklevel=5)
        found = row_weights(campaign, clip=self.propensity_clip)
        weights = None if found is None else found.values
        self._warn_of_cut_weights(found, campaign.n_rows)
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
        else:
            found = row_weights(validation, clip=self.propensity_clip)
            held_weights = None if found is None else found.values
        self.value_loss_ = choose_value_loss(self.value_loss, (campaign, validation), model=self.name)
        rows = self._encode(campaign, weights)
        held = self._encode(validation, held_weights).to(device)
        limit = self.device_rows_limit
        if limit is None:
            limit = rows_that_fit(device, rows.bytes_per_row)
        if limit is not None and len(rows) > limit:
            return HostRows(rows, device, unit_ids=campaign.unit_ids), held
        return ResidentRows(rows.to(device), unit_ids=campaign.unit_ids), held

    def _encode(self, campaign: Campaign, weights: np.ndarray | None) -> Rows:
        """Rows of `campaign` in host memory."""
        return load_rows(
            campaign, self.schema_, weights=weights, device=torch.device("cpu"), normalise=self.normalise
        )

    def _streamed(
        self, campaign: CampaignStream, validation: Campaign | CampaignStream | None, device: torch.device
    ) -> tuple[RowSource, Rows]:
        """Training rows on disk and validation rows in memory; sets `value_loss_`."""
        data = prepare_stream(
            campaign,
            validation,
            self._encode,
            options=StreamOptions(
                model=self.name,
                value_loss=self.value_loss,
                propensity_clip=self.propensity_clip,
                validation_fraction=self.validation_fraction,
                max_validation_rows=self.max_validation_rows,
                buffer_rows=self.buffer_rows,
                seed=self.random_state,
            ),
            device=device,
        )
        self._warn_of_stray_values(data.stray, campaign.chain[-1], stacklevel=5)
        self._warn_of_cut_weights(data.weights, campaign.n_rows)
        self.value_loss_ = data.value_loss
        return data.source, data.held

    def _open_checkpoints(
        self, campaign: Campaign | CampaignStream, validation: Campaign | CampaignStream | None
    ) -> Sequence[Checkpoint | None]:
        """One per network."""
        if self._checkpoint_folder is None:
            return [None] * self._networks
        parts = [self._fingerprint(campaign), "" if validation is None else validation.fingerprint()]
        folder, fingerprint = Path(self._checkpoint_folder), " ".join(parts).strip()
        if self._networks == 1:
            return [Checkpoint(folder, fingerprint=fingerprint)]
        folders = [folder / f"member_{number}" for number in range(self._networks)]
        return [Checkpoint(folder, fingerprint=fingerprint) for folder in folders]

    def _check_team(self, team: Team, rows: int) -> None:
        least = 2 * team.size
        if team.size > 1 and min(rows, self.batch_size) < least:
            raise ModelError(
                f"model {self.name!r}: {team.size} processes need batches of {least} rows or more, but there are {rows:,} "
                f"training rows and batch_size is {self.batch_size:,}; start fewer processes."
            )

    def _warn_of_cut_weights(self, found: RowWeights | StreamWeights | None, rows: int) -> None:
        if found is not None and found.clipped:
            warnings.warn(
                f"model {self.name!r} cut the weight P(arm) / propensity of {found.clipped:,} of {rows:,} rows "
                f"({found.clipped / rows:.2%}) to {self.propensity_clip:g} (the largest is {found.largest:,.1f}), "
                f"which leaves some confounding; raise propensity_clip, or leave out customers whose arm was nearly certain.",
                ModelWarning,
                stacklevel=6,
            )

    def _announce(
        self, progress: TrainingProgress | None, rows: int, team: Team, number: int
    ) -> Callable[[dict[str, Any]], None]:
        """What happens after every epoch: the bar of `verbose`, and `on_progress` in words."""
        which = f"network {number + 1} of {self._networks}, " if self._networks > 1 else ""

        def announce(entry: dict[str, Any]) -> None:
            if progress is not None:
                progress.on_epoch(entry)
            if self.on_progress is not None and team.leads:
                epochs = (self._networks - number) * self.max_epochs - entry["epoch"]
                left = epochs * rows / entry["rows_per_second"]
                self.on_progress(
                    f"{which}epoch {entry['epoch']} of at most {self.max_epochs}, {entry['rows_per_second']:,.0f} rows/s, "
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
