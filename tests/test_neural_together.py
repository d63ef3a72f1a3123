"""Options of the neural models that were built apart, used together: streams, ensembles, amounts, checkpoints, export."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import ROLES, toy_frame

import uplift
from uplift import Campaign, CampaignStream, Effects, load_model, make_model
from uplift.errors import ModelError
from uplift.models.deep import TARNet
from uplift.models.ecup import ECUP
from uplift.models.neural import checkpoint as checkpoint_module
from uplift.models.neural.averaging import MovingAverage
from uplift.models.neural.ensemble import exponential_weights, member_seeds
from uplift.models.neural.host_rows import HostRows
from uplift.models.neural.model import NeuralModel
from uplift.models.neural.rows import feature_tensors, load_rows
from uplift.models.neural.sources import ResidentRows
from uplift.models.neural.streamed_rows import StreamedRows
from uplift.models.stream_weights import StreamWeights
from uplift.progress import Silent
from uplift.simulation import simulate

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")
ROWS = 2_000
QUICK: dict[str, Any] = {
    "embedding_dim": 4, "hidden": (16, 8), "gate_hidden": 8, "max_epochs": 2, "batch_size": 256, "device": "cpu",
}  # fmt: skip
AMOUNTS = {"coupon_5": {"amount": 5.0}, "coupon_10": {"amount": 10.0}}


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two files of several row groups, with missing values and rare categories."""
    folder = tmp_path_factory.mktemp("log")
    frame = toy_frame(ROWS, seed=4)
    frame.loc[frame.index[::7], "x1"] = np.nan
    frame["shop"] = [f"s{number % 13 if number % 3 else number}" for number in range(ROWS)]
    frame["region"] = frame["customer"] % 5
    frame.iloc[:900].to_parquet(folder / "a.parquet", row_group_size=200)
    frame.iloc[900:].to_parquet(folder / "b.parquet", row_group_size=600)
    return folder


def pair(log: Path, block_rows: int, **roles: Any) -> tuple[CampaignStream, Campaign]:
    """The same rows on disk and in memory."""
    roles = {**ROLES, "exclude": [] if "strata" in roles else ["region"], "arms": AMOUNTS, **roles}
    stream = CampaignStream.from_parquet(log, block_rows=block_rows, **roles)
    return stream, Campaign.from_parquet(log, **roles)


def states(model: NeuralModel) -> list[torch.Tensor]:
    return [tensor for network in model.networks_ for tensor in network.state_dict().values()]


def alike(one: NeuralModel, other: NeuralModel) -> bool:
    return all(torch.equal(*both) for both in zip(states(one), states(other), strict=True))


def losses(model: NeuralModel) -> list[float]:
    return [entry[name] for entry in model.history_ for name in ("loss", "validation_loss")]


def contains_tau(effects: Effects) -> bool:
    assert effects.low_all is not None
    assert effects.high_all is not None
    inside = (effects.low_all <= effects.tau_all) & (effects.tau_all <= effects.high_all)
    return bool(inside.all() and (effects.high_all > effects.low_all)[:, 1:].mean() > 0.99)


# ---------------------------------------------------------------- ensembles on streams


@pytest.mark.parametrize("members", [1, 3])
def test_bootstrap_weights_of_a_stream_are_those_of_memory_times_one_number_per_member(
    log: Path, members: int
) -> None:
    """In memory they are scaled to mean one; blocks do not know the others, so there the mean is one up to chance."""
    stream, whole = pair(log, 170, strata=["region"])
    schema = ECUP(**QUICK)._fit_schema(whole)
    weights = StreamWeights.fit(stream)
    assert weights is not None
    on_disk = StreamedRows(
        stream,
        lambda block, weights: load_rows(block, schema, weights=weights, device=CPU),
        device=CPU,
        weigh=weights,
        buffer_rows=ROWS,
    )
    resident = ResidentRows(
        load_rows(whole, schema, weights=weights(whole), device=CPU), unit_ids=whole.unit_ids
    )
    seeds = member_seeds(3, members)
    factor = torch.from_numpy(exponential_weights(whole.unit_ids, seeds).mean(0)).float()
    assert (factor - 1).abs().max() < 0.1
    batches = [
        source.reweighted(seeds).epoch(torch.Generator().manual_seed(0), 256)
        for source in (on_disk, resident)
    ]
    for one, other in zip(*batches, strict=True):
        assert torch.equal(one.numeric.nan_to_num(), other.numeric.nan_to_num())
        assert one.weights is not None
        assert other.weights is not None
        assert one.weights.shape == ((len(one),) if members == 1 else (len(one), members))
        assert torch.allclose(one.weights, other.weights * factor, rtol=1e-5)
    totals = on_disk.reweighted(seeds).stage_totals()[0] / resident.reweighted(seeds).stage_totals()[0]
    assert float(totals) == pytest.approx(float(factor.mean()), rel=0.02)


@pytest.mark.parametrize("ensemble", ["seeds", "shared"])
def test_an_ensemble_from_disk_is_the_one_from_memory(log: Path, tmp_path: Path, ensemble: str) -> None:
    stream, whole = pair(log, 10_000)
    options: dict[str, Any] = {**QUICK, "members": 2, "ensemble": ensemble}
    plain = [ECUP(**options, bootstrap=False).fit(rows) for rows in (stream, whole)]
    assert alike(*plain)
    weighted = [ECUP(**options).fit(rows) for rows in (stream, whole)]
    one, other = (model.predict(whole) for model in weighted)
    # Adam takes the same steps whatever the scale of the loss; members inside one network are scaled apart.
    tolerance = 1e-3 if ensemble == "seeds" else 2e-2
    assert np.allclose(one.mu_all, other.mu_all, rtol=tolerance, atol=tolerance / 10)
    assert not np.array_equal(one.mu_all, plain[0].predict(whole).mu_all)
    assert contains_tau(one)
    weighted[0].predict_to(stream, tmp_path / "effects.parquet")
    read = Effects.read_parquet(tmp_path / "effects.parquet")
    assert read.has_intervals
    assert contains_tau(read)
    assert np.allclose(read.tau_all, one.tau_all, rtol=1e-4, atol=1e-6)
    assert read.level == 0.9
    assert alike(load_model(weighted[0].save(tmp_path / "model")), weighted[0])


@pytest.mark.parametrize("ensemble", ["seeds", "shared"])
def test_strata_weigh_every_member_of_a_stream(log: Path, ensemble: str) -> None:
    stream, whole = pair(log, 150, strata=["region"])
    options: dict[str, Any] = {**QUICK, "members": 2, "ensemble": ensemble, "buffer_rows": ROWS}
    one, other = (
        ECUP(**options, bootstrap=False).fit(rows).predict_members(whole) for rows in (stream, whole)
    )
    for mine, theirs in zip(one, other, strict=True):
        assert np.allclose(mine.mu_all, theirs.mu_all, rtol=3e-3, atol=1e-5)
    source, _ = ECUP(**options).fit(stream)._streamed(stream, None, CPU)
    assert isinstance(source, StreamedRows)
    batch = next(source.epoch(torch.Generator().manual_seed(0), 256))
    assert batch.weights is not None
    assert batch.weights.std() > 0.01  # the strata do count


@pytest.mark.parametrize("ensemble", ["seeds", "shared"])
@pytest.mark.parametrize("bootstrap", [True, False])
def test_rows_in_host_memory_give_the_same_ensemble_to_the_bit(
    log: Path, ensemble: str, bootstrap: bool
) -> None:
    _, whole = pair(log, 10_000, strata=["region"])
    options: dict[str, Any] = {**QUICK, "members": 2, "ensemble": ensemble, "bootstrap": bootstrap}
    resident = ECUP(**options).fit(whole)
    host = ECUP(**options, device_rows_limit=10).fit(whole)
    assert isinstance(host._in_memory(whole, None, CPU)[0], HostRows)
    assert isinstance(resident._in_memory(whole, None, CPU)[0], ResidentRows)
    assert losses(host) == losses(resident)
    assert alike(host, resident)


@pytest.mark.parametrize("ensemble", ["seeds", "shared"])
def test_an_ensemble_on_a_stream_goes_on_in_the_middle_of_an_epoch(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ensemble: str
) -> None:
    stream, _ = pair(log, 150)
    options: dict[str, Any] = {
        **QUICK, "members": 2, "ensemble": ensemble, "buffer_rows": 600, "max_epochs": 3,
        "numeric_embedding": "piecewise", "hash_buckets": 4, "arm_encoding": "both",
    }  # fmt: skip
    straight = ECUP(**options).fit(stream)
    steps_per_epoch = -(-int(ROWS * 0.9) // 256)
    stop_at = (3 * steps_per_epoch if ensemble == "seeds" else 0) + steps_per_epoch + 3
    taken: list[int] = []
    update = MovingAverage.update

    def interrupted(average: Any) -> None:
        update(average)
        taken.append(1)
        if len(taken) == stop_at:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint_module, "EVERY_SECONDS", 0.0)
        patch.setattr(MovingAverage, "update", interrupted)
        with pytest.raises(KeyboardInterrupt):
            ECUP(**options).fit(stream, checkpoint=tmp_path / "kept")
    told: list[str] = []
    again = ECUP(**options)
    again.on_progress = told.append
    again.fit(stream, checkpoint=tmp_path / "kept")
    assert [words.split("epoch ")[1][:1] for words in told] == ["2", "3"]
    assert losses(again) == losses(straight)
    assert alike(again, straight)
    with pytest.raises(ModelError, match="belongs to a fit with other data"):
        ECUP(**options | {"bootstrap": False}).fit(stream, checkpoint=tmp_path / "kept")


# ---------------------------------------------------------------- fields and arms on streams


@pytest.mark.parametrize("ensemble", ["seeds", "shared"])
def test_curves_and_buckets_of_a_stream_are_those_of_memory(log: Path, tmp_path: Path, ensemble: str) -> None:
    stream, whole = pair(log, 10_000)
    options: dict[str, Any] = {
        **QUICK, "numeric_embedding": "piecewise", "bins": 6, "hash_buckets": 5, "members": 2,
        "ensemble": ensemble, "bootstrap": False,
    }  # fmt: skip
    one, other = (ECUP(**options).fit(rows) for rows in (stream, whole))
    assert one.schema_.categorical == other.schema_.categorical
    for mine, theirs in zip(one.schema_.numeric, other.schema_.numeric, strict=True):
        assert mine.edges == theirs.edges
        assert np.isclose(mine.mean, theirs.mean, rtol=1e-9)  # one block per file: a sum of sums
    assert np.allclose(one.predict(whole).mu_all, other.predict(whole).mu_all, rtol=1e-4, atol=1e-6)
    blocks = ECUP(**options, buffer_rows=ROWS).fit(pair(log, 150)[0])
    assert np.allclose(blocks.predict(whole).mu_all, other.predict(whole).mu_all, rtol=3e-3, atol=1e-5)
    loaded = load_model(blocks.save(tmp_path / "model"))
    assert np.array_equal(loaded.predict(whole).mu_all, blocks.predict(whole).mu_all)


@pytest.mark.parametrize("members", [1, 2])
def test_a_stream_with_a_coupon_that_was_never_sent_is_scored_by_amount(
    log: Path, tmp_path: Path, members: int
) -> None:
    stream, whole = pair(log, 300)
    model = ECUP(**QUICK, arm_encoding="amount", members=members).fit(stream)
    others = toy_frame(250, seed=9).assign(shop="s1", region=0)
    others.loc[others["coupon"] == "coupon_10", "coupon"] = "coupon_7"
    others.to_parquet(tmp_path / "others.parquet")
    arms = {"coupon_5": {"amount": 5.0}, "coupon_7": {"amount": 7.0}}
    roles: dict[str, Any] = {**ROLES, "exclude": ["region"], "arms": arms}
    asked = CampaignStream.from_parquet(tmp_path / "others.parquet", block_rows=100, **roles)
    assert model.predict_to(asked, tmp_path / "effects.parquet") == 250
    effects = Effects.read_parquet(tmp_path / "effects.parquet")
    assert effects.arms == ("none", "coupon_5", "coupon_7")
    in_memory = model.predict(whole.audience(others.drop(columns=["coupon", "click"]), arms=arms))
    assert np.allclose(effects.mu_all, in_memory.mu_all, rtol=1e-4, atol=1e-6)
    assert effects.has_intervals == (members > 1)
    offered = stream.audience(tmp_path / "others.parquet", arms=arms, block_rows=100)
    assert model.predict_to(offered, tmp_path / "offered.parquet") == 250
    assert np.array_equal(Effects.read_parquet(tmp_path / "offered.parquet").mu_all, effects.mu_all)
    # Unless told otherwise, an audience of the stream is scored under the arms of the campaign.
    known = stream.audience(tmp_path / "others.parquet", block_rows=100)
    assert model.predict_to(known, tmp_path / "known.parquet") == 250
    under_known = Effects.read_parquet(tmp_path / "known.parquet")
    assert under_known.arms == ("none", "coupon_5", "coupon_10")
    shared = [under_known.mu_all[:, under_known.arms.index("coupon_5")], effects.mu_all[:, 1]]
    assert np.allclose(*shared, rtol=1e-4, atol=1e-6)
    by_id = ECUP(**QUICK | {"max_epochs": 1}).fit(stream)
    with pytest.raises(ModelError, match="arm 'coupon_7' differs"):
        by_id.predict_to(asked, tmp_path / "refused.parquet")
    assert not (tmp_path / "refused.parquet").exists()


@pytest.mark.parametrize("ensemble", ["seeds", "shared"])
@pytest.mark.parametrize("encoding", ["amount", "both"])
def test_every_member_scores_other_arms_with_its_own_weights(
    log: Path, tmp_path: Path, ensemble: str, encoding: str
) -> None:
    _, whole = pair(log, 10_000)
    model = ECUP(**QUICK, members=3, ensemble=ensemble, arm_encoding=encoding).fit(whole)
    asked = whole.audience(whole.table, arms={"coupon_7": {"amount": 7.0}, "coupon_10": {}})
    effects, members = model.predict(asked), model.predict_members(asked)
    assert set(effects.arms) == {"none", "coupon_7", "coupon_10"}
    assert contains_tau(effects)
    assert len(members) == 3
    assert np.allclose(effects.mu_all, np.mean([one.mu_all for one in members], 0), rtol=1e-5, atol=1e-7)
    old, new = model.predict_members(whole), members
    place, known = effects.arms.index("coupon_10"), whole.arm_names.index("coupon_10")
    for mine, theirs in zip(new, old, strict=True):
        assert np.allclose(mine.mu_all[:, place], theirs.mu_all[:, known], rtol=1e-4, atol=1e-6)
        assert np.allclose(mine.mu_all[:, 0], theirs.mu_all[:, 0], rtol=1e-4, atol=1e-6)
    assert not np.allclose(members[0].tau_all, members[1].tau_all, atol=1e-4)
    loaded = load_model(model.save(tmp_path / "model"))
    assert np.array_equal(loaded.predict(asked).mu_all, effects.mu_all)
    assert np.array_equal(
        model.predict(whole).mu_all, loaded.predict(whole).mu_all
    )  # for_arms changed nothing


# ---------------------------------------------------------------- export, precision, TARNet


@pytest.mark.parametrize(
    "options",
    [
        {"ensemble": "seeds", "numeric_embedding": "piecewise", "arm_encoding": "both", "hash_buckets": 3},
        {"ensemble": "shared", "numeric_embedding": "periodic", "arm_encoding": "amount"},
    ],
    ids=["seeds", "shared"],
)
def test_the_graph_of_an_ensemble_learned_from_disk_scores_like_the_model(
    log: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    stream, whole = pair(log, 300)
    model = ECUP(**QUICK | {"max_epochs": 1}, members=2, **options).fit(stream)
    file = model.export(tmp_path / "graph.pt2")
    graph = torch.export.load(file).module()
    encoded = model.schema_.encode(whole)
    mu = graph(torch.from_numpy(encoded.numeric), torch.from_numpy(encoded.categorical)).detach().numpy()
    assert np.allclose(mu, model.predict(whole).mu_all, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {"members": 2, "ensemble": "shared"},
        {"members": 2, "ensemble": "shared", "share_tower": False, "numeric_embedding": "piecewise"},
        {"numeric_embedding": "periodic"},
        {"members": 2, "arm_encoding": "both", "tau_heads": 2},
        {"arm_encoding": "amount", "bit_level": "f*d"},
    ],
    ids=str,
)
def test_half_precision_goes_with_every_part_of_the_network(log: Path, options: dict[str, Any]) -> None:
    stream, whole = pair(log, 10_000)
    exact, half = (
        ECUP(**QUICK, **options, precision=precision).fit(stream) for precision in ("float32", "bfloat16")
    )
    assert np.isfinite(losses(half)).all()
    assert np.allclose(losses(half), losses(exact), rtol=0.02)
    assert losses(half) != losses(exact)
    assert all(tensor.dtype != torch.bfloat16 for tensor in states(half))
    assert np.isfinite(half.predict(whole).mu_all).all()


def test_tarnet_with_members_and_buckets_comes_back_bit_for_bit(log: Path, tmp_path: Path) -> None:
    stream, whole = pair(log, 150)
    options: dict[str, Any] = {
        "embedding_dim": 4, "representation": (8,), "hidden": (8,), "max_epochs": 2, "batch_size": 256,
        "device": "cpu", "members": 2, "hash_buckets": 4,
    }  # fmt: skip
    for rows in (stream, whole):
        model = TARNet(**options).fit(rows)
        loaded = load_model(model.save(tmp_path / type(rows).__name__))
        before, after = model.predict(whole), loaded.predict(whole)
        for name in ("mu_all", "tau_all", "low_all", "high_all"):
            assert np.array_equal(getattr(before, name), getattr(after, name)), name
        assert contains_tau(after)
    _, codes = feature_tensors(whole, model.schema_)
    assert len(codes[:, -1].unique()) > 14  # the buckets are in use
    with pytest.raises(ModelError, match="use ensemble='seeds'"):
        TARNet(**options, ensemble="shared").fit(stream)


# ---------------------------------------------------------------- the blend


def test_the_blend_refuses_a_stream_and_names_the_remedy(log: Path) -> None:
    stream, whole = pair(log, 150)
    blend = make_model("chain_blend", models={"lightgbm_s": {"n_estimators": 3}}, rule="equal")
    with pytest.raises(ModelError, match="'chain_blend' needs the whole campaign in memory"):
        blend.fit(stream)
    with pytest.raises(ModelError, match="'chain_blend' needs the whole campaign in memory"):
        blend.fit(whole, validation=stream)


@pytest.mark.slow
def test_an_interrupted_run_with_a_blend_of_ensembles_goes_on(
    tmp_path: Path,
) -> None:
    simulate(rows=2000, numeric=3, categorical=1, seed=3).write(tmp_path / "data")
    campaign = tmp_path / "data" / "campaign.toml"
    campaign.write_text(
        campaign.read_text()
        + "\n[models.chain_blend.models.ecup]\nhidden = [16, 8]\nembedding_dim = 4\nmax_epochs = 2\nbatch_size = 256\n"
        + 'device = "cpu"\nmembers = 2\n[models.chain_blend.models.lightgbm_chain]\nn_estimators = 5\n'
    )
    straight = uplift.run(campaign, tmp_path / "straight", force=True)

    class Stopping(Silent):
        def start(self, step: str) -> None:
            if "on all rows: network 2 of 2, epoch 1" in step:
                raise KeyboardInterrupt

    kept = tmp_path / "kept"
    with pytest.raises(KeyboardInterrupt):
        uplift.run(campaign, tmp_path / "run", force=True, checkpoint=kept, progress=Stopping())
    told: list[str] = []

    class Listening(Silent):
        def start(self, step: str) -> None:
            told.append(step)

    resumed = uplift.run(campaign, tmp_path / "run", force=True, checkpoint=kept, progress=Listening())
    epochs = [step for step in told if "epoch" in step]
    assert len(epochs) == 1
    assert "ecup, on all rows: network 2 of 2, epoch 2" in epochs[0]
    first, second = ((one.folder / "metrics.json").read_bytes() for one in (straight, resumed))
    assert first == second
    assert not list(kept.rglob("*.safetensors"))


@pytest.mark.slow
def test_processes_that_learn_together_can_learn_twice(tmp_path: Path) -> None:
    """A blend fits its networks once to pick weights and once for good; the second group must not wait for the first."""
    simulate(rows=2000, numeric=3, categorical=1, seed=3).write(tmp_path / "data")
    campaign = tmp_path / "data" / "campaign.toml"
    campaign.write_text(
        campaign.read_text()
        + "\n[models.chain_blend.models.ecup]\nhidden = [8]\nembedding_dim = 4\nmax_epochs = 1\n"
        + 'device = "cpu"\nmembers = 2\n[models.chain_blend.models.lightgbm_s]\nn_estimators = 3\n'
    )
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "uplift",
        "fit", str(campaign), "--model", "chain_blend", "--out", str(tmp_path / "model"),
        "--checkpoint", str(tmp_path / "kept"),
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(command, env=environment, check=True, capture_output=True, timeout=240)
    blend = load_model(tmp_path / "model")
    assert np.isfinite(blend.predict(Campaign.from_file(campaign)).mu_all).all()
    assert not (tmp_path / "kept").exists()
