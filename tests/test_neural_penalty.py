"""A network's penalty joins the gradient and nothing else; a network without one is trained as if there were no such thing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from uplift.campaign import Campaign
from uplift.models.deep import DragonNet
from uplift.models.deep.scaffold import ChainShape
from uplift.models.deep.tarnet import TARNet, TarnetNetwork
from uplift.models.neural.network import ChainOutput
from uplift.models.neural.rows import Rows, feature_tensors
from uplift.simulation import simulate

pytestmark = pytest.mark.usefixtures("one_thread")

OPTIONS: dict[str, Any] = {
    "device": "cpu", "max_epochs": 2, "batch_size": 512, "embedding_dim": 4, "representation": (8,), "hidden": (4,),
    "criterion": "loss",
}  # fmt: skip


class Shrunk(TarnetNetwork):
    """Penalises the size of the representation, and pulls a parameter that the outcomes do not know to 3."""

    weight: float

    def __init__(self, shape: ChainShape, **options: Any) -> None:
        super().__init__(shape, **options)
        self.level = torch.nn.Parameter(torch.zeros(()))

    def forward(self, numeric: Tensor, categorical: Tensor, treatment: Tensor) -> ChainOutput:
        output = super().forward(numeric, categorical, treatment)
        if not self.training:
            return output
        phi = self.represent(numeric, categorical)
        return output._replace(extras={"phi": phi, "level": self.level.expand(len(phi))})

    def penalty(self, output: ChainOutput, rows: Rows) -> Tensor | None:
        assert output.extras is not None
        assert output.extras["phi"].dtype == torch.float32
        assert len(rows) == len(output.extras["phi"])
        return self.weight * (
            output.extras["phi"].square().mean() + (output.extras["level"] - 3).square().mean()
        )


@dataclass(kw_only=True, eq=False, repr=False)
class ShrunkModel(TARNet):
    """TARNet with that penalty."""

    weight: ClassVar[float] = 0.0

    def _network(self, shape: ChainShape, generator: torch.Generator) -> TarnetNetwork:
        network = Shrunk(
            shape,
            representation=tuple(self.representation),
            hidden=tuple(self.hidden),
            generator=generator,
        )
        network.weight = self.weight
        return network


@pytest.fixture(scope="module")
def small() -> Campaign:
    return simulate(rows=2000, numeric=4, categorical=2, value=False, seed=3).campaign()


def with_weight(weight: float, **options: Any) -> ShrunkModel:
    kind = type("Weighted", (ShrunkModel,), {"weight": weight})
    model = kind(**(OPTIONS | options))
    assert isinstance(model, ShrunkModel)
    return model


def size_of_representation(model: TARNet, campaign: Campaign) -> float:
    with torch.no_grad():
        return float(model.network_.represent(*feature_tensors(campaign, model.schema_)).square().mean())


def test_a_penalty_of_weight_zero_changes_no_number(small: Campaign) -> None:
    plain, penalised = TARNet(**OPTIONS).fit(small), with_weight(0.0).fit(small)
    np.testing.assert_array_equal(penalised.predict(small).mu_all, plain.predict(small).mu_all)
    for mine, theirs in zip(penalised.history_, plain.history_, strict=True):
        assert mine["penalty"] == 0
        assert "penalty" not in theirs
        assert (mine["loss"], mine["validation_loss"]) == (theirs["loss"], theirs["validation_loss"])


def test_a_penalty_is_minimised_with_the_loss_and_counted_beside_it(small: Campaign) -> None:
    light, heavy = (with_weight(w, learning_rate=0.02, max_epochs=15).fit(small) for w in (1e-6, 1.0))
    assert size_of_representation(heavy, small) < 0.2 * size_of_representation(light, small)
    penalties = [entry["penalty"] for entry in heavy.history_]
    assert penalties[-1] < penalties[0]
    network = heavy.network_
    assert isinstance(network, Shrunk)
    # The likelihood of a chain is far below the penalty's start of 9: the losses do not contain it.
    assert penalties[0] > 2 * heavy.history_[0]["loss"]
    assert network.level.item() > 0.3
    assert abs(heavy.history_[-1]["loss"] - heavy.history_[-1]["validation_loss"]) < 0.3


def test_a_fitted_network_is_in_evaluation_mode_and_scores_without_extras(small: Campaign) -> None:
    model = with_weight(1.0).fit(small)
    network = model.network_
    assert not network.training
    numeric, categorical = feature_tensors(small, model.schema_)
    assert network(numeric, categorical, torch.zeros(len(numeric), dtype=torch.int64)).extras is None


def test_a_penalty_in_half_precision_arrives_in_full(small: Campaign) -> None:
    """The assertion on the type inside the network does the testing."""
    model = with_weight(1e-3, precision="bfloat16", max_epochs=1).fit(small)
    assert np.isfinite(model.predict(small).mu_all).all()


# ---------------------------------------------------------------- compiled, and in several processes

SMALL: dict[str, Any] = {
    "embedding_dim": 4, "representation": [8], "hidden": [4], "max_epochs": 2, "batch_size": 256, "device": "cpu",
    "criterion": "loss",
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on a CPU")
def test_the_compiled_step_has_the_same_penalty(small: Campaign) -> None:
    eager, compiled = (DragonNet(**SMALL, compile=flag).fit(small) for flag in (False, True))
    for mine, theirs in zip(compiled.history_, eager.history_, strict=True):
        for key in ("loss", "penalty", "validation_loss"):
            assert mine[key] == pytest.approx(theirs[key], rel=1e-4)


@pytest.mark.slow
def test_two_processes_have_the_penalty_of_one(tmp_path: Path) -> None:
    """Dragonnet's is a mean over rows, so that the mean over processes is that of the whole batch."""
    simulate(rows=3000, numeric=3, categorical=1, value=False, seed=3).write(tmp_path / "data")
    knobs = [word for key, value in SMALL.items() for word in ("--param", f"{key}={json.dumps(value)}")]
    options = ["fit", str(tmp_path / "data" / "campaign.toml"), "--model", "dragonnet", *knobs]
    team = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    histories = []
    for name, launcher in (("one", []), ("two", team)):
        command = [sys.executable, *launcher, "-m", "uplift", *options, "--out", str(tmp_path / name)]
        subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=True, capture_output=True)
        histories.append(json.loads((tmp_path / name / "model.json").read_text())["state"]["history"])
    for mine, theirs in zip(*histories, strict=True):
        for key in ("loss", "penalty", "validation_loss"):
            assert mine[key] == pytest.approx(theirs[key], rel=2e-3)
