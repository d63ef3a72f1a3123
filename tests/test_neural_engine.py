"""The training engine: interrupted fits end as if they had not been, and every option does what it says."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import uplift
from uplift.campaign import Campaign
from uplift.effects import Effects
from uplift.errors import ModelError
from uplift.models.checkpoints import fit_resumably, forget
from uplift.models.ecup import ECUP
from uplift.models.neural import checkpoint as checkpoint_module
from uplift.models.neural import model as model_module
from uplift.models.neural.checkpoint import FILE
from uplift.models.neural.loss import stage_losses
from uplift.models.neural.network import ChainOutput
from uplift.models.neural.rows import Rows
from uplift.models.neural.sources import ResidentRows
from uplift.progress import Silent
from uplift.simulation import simulate

pytestmark = pytest.mark.usefixtures("one_thread")

QUICK: dict[str, Any] = {
    "device": "cpu",
    "hidden": (16, 8),
    "gate_hidden": 8,
    "embedding_dim": 4,
    "max_epochs": 3,
    "batch_size": 256,
}


@pytest.fixture(scope="module")
def small() -> Campaign:
    return simulate(rows=2500, numeric=3, categorical=1, missing=0.1, seed=3).campaign()


@pytest.fixture(scope="module")
def straight(small: Campaign) -> ECUP:
    return ECUP(**QUICK).fit(small)


def weights(model: ECUP) -> dict[str, torch.Tensor]:
    return model.network_.state_dict()


def equal(first: ECUP, second: ECUP) -> bool:
    return all(torch.equal(mine, weights(second)[name]) for name, mine in weights(first).items())


# ---------------------------------------------------------------- interrupted and resumed


@pytest.mark.parametrize("batches", [1, 4, 9, 14, 26])
def test_an_interrupted_fit_continues_bit_identically(
    small: Campaign, straight: ECUP, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batches: int
) -> None:
    monkeypatch.setattr(checkpoint_module, "EVERY_SECONDS", 0.0)  # write after every batch

    class Interrupting(model_module.TrainingProgress):
        done = 0

        def on_batch(self, rows: int) -> None:
            Interrupting.done += 1
            if Interrupting.done == batches:
                raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(model_module, "TrainingProgress", Interrupting)
        with pytest.raises(KeyboardInterrupt):
            ECUP(**QUICK, verbose=True).fit(small, checkpoint=tmp_path / "kept")
    model = ECUP(**QUICK, verbose=True).fit(small, checkpoint=tmp_path / "kept")
    assert equal(model, straight)
    same = ("epoch", "loss", "validation_loss", "validation_qini", "kept")
    assert [[e[key] for key in same] for e in model.history_] == [
        [e[key] for key in same] for e in straight.history_
    ]
    again = ECUP(**QUICK, verbose=True).fit(small, checkpoint=tmp_path / "kept")
    assert again.history_ == model.history_  # nothing was trained again
    assert equal(again, straight)


FIT = """
import sys, torch
from uplift.models.ecup import ECUP
from uplift.models.neural import checkpoint
from uplift.simulation import simulate
checkpoint.EVERY_SECONDS = 0.0
campaign = simulate(rows=2500, numeric=3, categorical=1, missing=0.1, seed=3).campaign()
knobs = dict(device="cpu", hidden=(16, 8), gate_hidden=8, embedding_dim=4, max_epochs=3, batch_size=32)
ECUP(**knobs).fit(campaign, checkpoint=sys.argv[1]).save(sys.argv[2])
"""


def test_a_killed_fit_continues_from_its_last_checkpoint(small: Campaign, tmp_path: Path) -> None:
    command = [sys.executable, "-c", FIT, str(tmp_path / "kept"), str(tmp_path / "model")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment)
    file = tmp_path / "kept" / FILE
    deadline = time.monotonic() + 60
    while not file.exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.01)
    time.sleep(0.3)  # some batches more
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "the fit was over before it could be killed"
    assert not (tmp_path / "model").exists()
    subprocess.run(command, env=environment, check=True)
    resumed = ECUP.load(tmp_path / "model")
    straight = ECUP(**QUICK | {"batch_size": 32}).fit(small)
    assert equal(resumed, straight)


def test_the_checkpoint_of_another_fit_is_refused_and_left_alone(small: Campaign, tmp_path: Path) -> None:
    ECUP(**QUICK).fit(small, checkpoint=tmp_path)
    before = (tmp_path / FILE).read_bytes()
    for changed, rows in (
        (ECUP(**QUICK | {"learning_rate": 0.01}), small),
        (ECUP(**QUICK), small.take(np.arange(2400))),
    ):
        with pytest.raises(ModelError, match="belongs to a fit with other data"):
            changed.fit(rows, checkpoint=tmp_path)
    assert (tmp_path / FILE).read_bytes() == before
    (tmp_path / FILE).write_bytes(before[: len(before) // 2])
    with pytest.raises(ModelError, match="cannot be read"):
        ECUP(**QUICK).fit(small, checkpoint=tmp_path)


def test_a_checkpoint_is_forgotten_only_when_nothing_else_lies_there(small: Campaign, tmp_path: Path) -> None:
    model = fit_resumably(ECUP(**QUICK), small, tmp_path / "kept")
    assert (tmp_path / "kept" / FILE).is_file()
    (tmp_path / "kept" / "mine.txt").write_text("mine")
    forget(tmp_path / "kept")
    assert (tmp_path / "kept" / "mine.txt").is_file()
    (tmp_path / "kept" / "mine.txt").unlink()
    forget(tmp_path / "kept")
    assert not (tmp_path / "kept").exists()
    assert model.predict(small)


# ---------------------------------------------------------------- sources


def test_shards_divide_every_batch_and_the_epoch_holds_every_row_once() -> None:
    rows = Rows(
        numeric=torch.arange(103.0).unsqueeze(1),
        categorical=torch.zeros(103, 0, dtype=torch.int32),
        treatment=torch.zeros(103, dtype=torch.int64),
        outcomes=torch.zeros(103, 1),
        value=None,
        weights=None,
    )
    source = ResidentRows(rows)

    def epoch(shard: tuple[int, int]) -> list[list[float]]:
        generator = torch.Generator().manual_seed(5)
        return [batch.numeric[:, 0].tolist() for batch in source.epoch(generator, 20, shard)]

    whole, parts = epoch((0, 1)), [epoch((number, 3)) for number in range(3)]
    assert sorted(x for batch in whole for x in batch) == list(range(103))
    assert max(len(batch) for batch in whole) - min(len(batch) for batch in whole) <= 1
    for number, batch in enumerate(whole):
        assert sorted(x for part in parts for x in part[number]) == sorted(batch)
    assert epoch((0, 1)) == whole


# ---------------------------------------------------------------- options do what they say


def test_half_precision_products_change_the_losses_by_rounding_only(small: Campaign, straight: ECUP) -> None:
    half = ECUP(**QUICK, precision="bfloat16").fit(small)
    assert not equal(half, straight)
    assert all(tensor.dtype != torch.bfloat16 for tensor in weights(half).values())
    for mine, full in zip(half.history_, straight.history_, strict=True):
        assert mine["validation_loss"] == pytest.approx(full["validation_loss"], rel=2e-3)


def test_a_clipped_gradient_moves_no_further_than_its_norm_allows(small: Campaign) -> None:
    model = ECUP(**QUICK).fit(small)
    start = model._build(model.schema_, 4, 3, "lognormal", seed=0).tower.weights[0]
    free = model.network_.tower.weights[0]
    # Adam divides by the gradient's size plus 1e-8, so that only gradients far below that move slowly.
    tied = ECUP(**QUICK, gradient_clip=1e-13).fit(small).network_.tower.weights[0]
    assert (free - start).abs().mean() > 100 * (tied - start).abs().mean()


def test_weight_decay_shrinks_tables_and_spares_biases(small: Campaign) -> None:
    # With clipped gradients decay alone moves the weights: by (1 - rate * decay) a step.
    knobs = QUICK | {"gradient_clip": 1e-30, "averaging": 0.0, "max_epochs": 1, "criterion": "loss"}
    plain = ECUP(**knobs).fit(small).network_
    decayed = ECUP(**knobs, weight_decay=10.0).fit(small).network_
    steps = -(-len(plain_rows(small)) // 256)
    factor = (1 - 1e-3 * 10.0) ** steps
    torch.testing.assert_close(decayed.treatment.table, plain.treatment.table * factor, rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(decayed.heads.bias, plain.heads.bias)


def plain_rows(campaign: Campaign) -> np.ndarray:
    """Rows that a fit with the default validation split trains on."""
    from uplift.splitting import held_out_mask

    held = held_out_mask(campaign, test=0.1, seed=0, by="unit", purpose="ecup-validation")
    return np.flatnonzero(~held)


def test_schedules_and_criteria_lead_to_other_weights(small: Campaign, straight: ECUP) -> None:
    seen = [straight]
    for change in ({"schedule": "cosine"}, {"warmup_steps": 20}, {"loss_space": "independent"}):
        model = ECUP(**QUICK, **change).fit(small)
        assert not any(equal(model, other) for other in seen), change
        seen.append(model)


def test_the_last_stage_criterion_keeps_the_epoch_with_its_lowest_loss(small: Campaign) -> None:
    train, held = small.split(test=0.3, seed=0)
    knobs = QUICK | {"learning_rate": 0.03, "max_epochs": 10, "patience": 10}
    model = ECUP(**knobs, criterion="last").fit(train, validation=held)
    kept = next(entry for entry in model.history_ if entry["kept"])
    assert kept["validation_loss"] == min(entry["validation_loss"] for entry in model.history_)
    mu = model.predict(held).mu_all[np.arange(len(held)), held.arm_codes, len(held.chain) - 1].astype(float)
    bought = held.outcomes[:, len(held.chain) - 1]
    loss = -(bought * np.log(mu) + (1 - bought) * np.log1p(-mu)).mean()
    assert kept["validation_loss"] == pytest.approx(loss, rel=1e-4)


def test_without_the_chain_every_output_is_a_rate_of_its_own() -> None:
    logits = torch.tensor([[0.3, -1.2, 0.5]])
    outcomes = torch.tensor([[1.0, 1.0, 0.0]])
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logits, outcomes, reduction="none")
    torch.testing.assert_close(stage_losses(logits, outcomes, space="independent"), expected)
    weighted = stage_losses(logits, outcomes, weights=torch.tensor([2.0]), space="independent")
    torch.testing.assert_close(weighted, 2 * expected)
    rates = ChainOutput(logits, None).rates("independent")[0].tolist()
    assert rates == pytest.approx(
        [torch.sigmoid(logits[0, 0]).item()] + [torch.sigmoid(logits[0, 1]).item()] * 2
    )


def test_effects_without_the_chain_never_rise_along_it(small: Campaign) -> None:
    effects = ECUP(**QUICK, loss_space="independent").fit(small).predict(small)
    binary = effects.mu_all[..., : len(small.chain)]
    assert (binary[..., 1:] <= binary[..., :-1]).all()
    assert binary[..., 0].mean() == pytest.approx(small.outcome(small.chain[0]).mean(), rel=0.1)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on a CPU")
def test_the_compiled_step_learns_the_same(small: Campaign, straight: ECUP) -> None:
    model = ECUP(**QUICK, compile=True).fit(small)
    for mine, eager in zip(model.history_, straight.history_, strict=True):
        assert mine["loss"] == pytest.approx(eager["loss"], rel=1e-4)
        assert mine["validation_loss"] == pytest.approx(eager["validation_loss"], rel=1e-4)


# ---------------------------------------------------------------- several processes


@pytest.mark.slow
def test_two_processes_learn_what_one_learns_with_the_same_command(tmp_path: Path) -> None:
    simulate(rows=3000, numeric=3, categorical=1, seed=3).write(tmp_path / "data")
    campaign = tmp_path / "data" / "campaign.toml"
    knobs = [
        "hidden=[16,8]",
        "gate_hidden=8",
        "embedding_dim=4",
        "max_epochs=2",
        "batch_size=256",
        'device="cpu"',
    ]
    options = ["--model", "ecup", *(word for knob in knobs for word in ("--param", knob))]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    alone = [sys.executable, "-m", "uplift", "fit", str(campaign), *options, "--out", str(tmp_path / "one")]
    team = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    both = [*team, "-m", "uplift", "fit", str(campaign), *options, "--out", str(tmp_path / "two")]
    subprocess.run(alone, env=environment, check=True, capture_output=True)
    done = subprocess.run(both, env=environment, check=True, capture_output=True, text=True)
    assert done.stdout.count("model: ") == 1  # the first process alone talks
    rows = Campaign.from_file(campaign)
    effects: list[Effects] = [ECUP.load(tmp_path / name).predict(rows) for name in ("one", "two")]
    # The same batches and gradients up to rounding; batches of odd size weigh one row slightly otherwise.
    np.testing.assert_allclose(effects[0].mu_all[..., :3], effects[1].mu_all[..., :3], atol=2e-3)
    history = [
        json.loads((tmp_path / name / "model.json").read_text())["state"]["history"]
        for name in ("one", "two")
    ]
    for mine, theirs in zip(*history, strict=True):
        assert mine["loss"] == pytest.approx(theirs["loss"], rel=1e-3)


def test_an_interrupted_run_goes_on_from_its_checkpoint_and_gives_the_same_numbers(tmp_path: Path) -> None:
    simulate(rows=2500, numeric=3, categorical=1, seed=3).write(tmp_path / "data")
    campaign = tmp_path / "data" / "campaign.toml"
    text = campaign.read_text()
    campaign.write_text(
        text + '\n[models.ecup]\nhidden = [16, 8]\nmax_epochs = 3\nbatch_size = 256\ndevice = "cpu"\n'
    )
    straight = uplift.run(campaign, tmp_path / "straight", force=True)

    class Stopping(Silent):
        def start(self, step: str) -> None:
            if "epoch 2" in step:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        uplift.run(campaign, tmp_path / "run", force=True, checkpoint=tmp_path / "kept", progress=Stopping())
    assert not (tmp_path / "run").exists()
    assert (tmp_path / "kept" / "ecup" / FILE).is_file()
    told: list[str] = []

    class Listening(Silent):
        def start(self, step: str) -> None:
            told.append(step)

    resumed = uplift.run(
        campaign, tmp_path / "run", force=True, checkpoint=tmp_path / "kept", progress=Listening()
    )
    # Told after the second epoch, whose end was kept: the third is all that is left.
    assert [step.split(" of")[0] for step in told if "epoch" in step] == ["fit ecup: epoch 3"]
    assert not (tmp_path / "kept" / "ecup").exists()
    first, second = ((one.folder / "metrics.json").read_bytes() for one in (straight, resumed))
    assert first == second
