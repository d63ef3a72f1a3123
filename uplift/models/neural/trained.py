"""Networks that are trained: predictions, files, scoring graphs, and the picture of their training."""

from __future__ import annotations

import os
from abc import abstractmethod
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from uplift.arms import VALUE_STAGE
from uplift.campaign import Campaign
from uplift.effects import Effects
from uplift.errors import ModelError
from uplift.features import FeatureSchema
from uplift.io.atomic import make_ordinary
from uplift.models.neural.device import resolve_device
from uplift.models.neural.engine import History, rows_per_chunk, score
from uplift.models.neural.ensemble import Ensemble, score_members, t_quantile
from uplift.models.neural.export import GraphFormat, ScoringGraph, export_graph
from uplift.models.neural.network import ChainNetwork
from uplift.models.neural.rows import Normalise, feature_tensors
from uplift.models.neural.selection import Criterion
from uplift.models.neural.threads import fixed_threads
from uplift.models.neural.value import ValueLoss
from uplift.models.resumable import ResumableModel

if TYPE_CHECKING:
    import plotly.graph_objects as go

WEIGHTS_FILE = "model.safetensors"


class TrainedNetworks(ResumableModel):
    """What a neural model does once it is trained.

    The options that it reads are those of :class:`~uplift.models.neural.model.NeuralModel`, which trains the networks.
    """

    normalise: Normalise
    criterion: Criterion
    device: str
    random_state: int
    members: int
    ensemble: Ensemble
    interval_level: float

    networks_: list[ChainNetwork]
    network_: ChainNetwork
    history_: History
    value_loss_: ValueLoss | None

    @abstractmethod
    def _build(
        self, schema: FeatureSchema, arms: int, stages: int, value: ValueLoss | None, *, seed: int
    ) -> ChainNetwork:
        """The network with its initial weights from `seed`, on the CPU (so that they are alike on every device).

        It has :attr:`_members_inside` members.
        """

    @property
    def _members_inside(self) -> int:
        """Members that one network holds."""
        return self.members if self.ensemble == "shared" else 1

    @property
    def _networks(self) -> int:
        return self.members // self._members_inside

    def plot_training(self) -> go.Figure:
        """Training and validation loss and validation Qini per epoch, and which epoch was kept.

        Raises
        ------
        ModelError
            Not fitted.
        """
        from uplift.reporting.figures import training_figure

        self._check_fitted()
        last = [stage for stage in self.stages_ if stage != VALUE_STAGE][-1]
        return training_figure(self.history_, name=self.name, criterion=self.criterion, stage=last)

    # ---------------------------------------------------------------- predict

    def _networks_for(self, campaign: Campaign) -> list[ChainNetwork]:
        """The fitted networks, for the arms of `campaign`."""
        return self.networks_

    @fixed_threads()
    def _predict(self, campaign: Campaign) -> Effects:
        device = resolve_device(self.device)
        networks = [network.to(device) for network in self._networks_for(campaign)]
        numeric, categorical = feature_tensors(campaign, self.schema_, normalise=self.normalise)
        members = sum(network.members for network in networks)
        if members == 1:
            with torch.inference_mode():
                mu = networks[0].mu(score(networks[0], numeric, categorical, device)).cpu().numpy()
            return Effects.for_campaign(mu, campaign, model=self.name)
        chunk = rows_per_chunk(networks[0], device)
        mean, spread = score_members(networks, numeric, categorical, device, chunk=chunk)
        mu = mean.cpu().numpy()
        tau = mu - mu[:, :1]
        half = np.float32(t_quantile(self.interval_level, members)) * spread.cpu().numpy()
        return Effects.for_campaign(
            mu, campaign, model=self.name, low=tau - half, high=tau + half, level=self.interval_level
        )

    @fixed_threads()
    def predict_members(self, campaign: Campaign) -> list[Effects]:
        """Effects of every member by itself, without intervals: for the spread of averages and of plans.

        Raises
        ------
        ModelError
            As :meth:`predict`.
        """
        self._check_matches(campaign)
        device = resolve_device(self.device)
        numeric, categorical = feature_tensors(campaign, self.schema_, normalise=self.normalise)
        found = []
        for network in self._networks_for(campaign):
            with torch.inference_mode():
                mu = network.to(device).mu(score(network.to(device), numeric, categorical, device)).cpu()
            members = mu.unbind(2) if network.members > 1 else [mu]
            found += [
                Effects.for_campaign(one.contiguous().numpy(), campaign, model=self.name) for one in members
            ]
        return [replace(effects, fingerprint=self.fingerprint_) for effects in found]

    # ---------------------------------------------------------------- files

    def export(
        self, path: str | os.PathLike[str], *, format: GraphFormat | None = None, overwrite: bool = False
    ) -> Path:
        """Write the scoring graph as one file that a service runs without this package.

        From numeric [row, p] float32 (as in the data, NaN = missing) and categorical [row, q] int32 codes to the
        potential outcomes [row, arm, stage] (the mean over the members of an ensemble) under the arms of the training
        campaign, for any number of rows. ``PATH.json`` beside it holds the order of the
        fields, the categories, the arms and stages, the versions and the model's fingerprint.

        Parameters
        ----------
        path : path
            The file; its ending says the format unless `format` does: ``.pt2`` or ``.onnx``.
        format : {"torch", "onnx"}, optional
            Archive of ``torch.export`` (read it with ``torch.export.load(path).module()``), or ONNX, which needs
            ``pip install 'uplift[onnx]'``.
        overwrite : bool
            Replace existing files.

        Returns
        -------
        Path
            The file.

        Raises
        ------
        ModelError
            Not fitted; or the written graph differs from the network by more than 1e-5 on random rows, in which case
            nothing is written.
        OutputError
            Unknown format, the file exists (without `overwrite`), or it cannot be written.
        MissingDependencyError
            ONNX is wanted and its libraries are not installed.
        """
        self._check_fitted()
        return export_graph(
            ScoringGraph(self.networks_, self.schema_, normalise=self.normalise),
            self.schema_,
            path,
            format=format,
            overwrite=overwrite,
            about={
                "model": self.name,
                "fingerprint": self.fingerprint_,
                "arms": self.arms_,
                "stages": self.stages_,
            },
        )

    def _save(self, folder: Path) -> dict[str, Any]:
        tensors = {
            prefix(number, len(self.networks_)) + key: tensor.cpu().contiguous()
            for number, network in enumerate(self.networks_)
            for key, tensor in network.state_dict().items()
        }
        save_file(tensors, folder / WEIGHTS_FILE)
        make_ordinary(folder / WEIGHTS_FILE)
        return {
            "stages": self.network_.stages,
            "value_loss": self.value_loss_,
            "history": self.history_,
        }

    def _load(self, folder: Path, state: dict[str, Any]) -> None:
        networks = []
        try:
            tensors = load_file(folder / WEIGHTS_FILE)
            for number in range(self._networks):
                network = self._build(
                    self.schema_,
                    len(self.arms_),
                    state["stages"],
                    state["value_loss"],
                    seed=self.random_state,
                )
                own = prefix(number, self._networks)
                network.load_state_dict(
                    {name[len(own) :]: t for name, t in tensors.items() if name.startswith(own)}
                )
                networks.append(network.eval())
        except (SafetensorError, RuntimeError) as error:
            raise ValueError(f"{WEIGHTS_FILE}: {str(error).splitlines()[0]}") from error
        self.networks_ = networks
        self.network_ = networks[0]
        self.history_ = state["history"]
        self.value_loss_ = state["value_loss"]

    def _libraries(self) -> tuple[str, ...]:
        return ("numpy", "torch", "safetensors")

    def _check_fitted(self) -> None:
        if not hasattr(self, "network_"):
            raise ModelError(f"model {self.name!r} is not fitted; call fit(campaign) first.")


def prefix(number: int, networks: int) -> str:
    """Of the names of network `number` in the weights file; a single network needs none."""
    return f"{number}/" if networks > 1 else ""
