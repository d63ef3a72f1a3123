"""Training and scoring from disk: the same model as in memory, whatever the blocks; nothing left after an interrupt."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from conftest import ROLES, toy_frame

from uplift import Campaign, CampaignStream, Effects, make_model
from uplift.cli import main
from uplift.errors import ModelError, UpliftError
from uplift.features import FeatureSchema
from uplift.models.ecup import ECUP
from uplift.models.neural.host_rows import HostRows, batch_sizes
from uplift.models.neural.prefetch import THREAD_NAME, prefetched
from uplift.models.neural.rows import Rows, load_rows
from uplift.models.neural.sources import ResidentRows
from uplift.models.neural.streamed_rows import ShuffleBuffer, StreamedRows
from uplift.models.row_weights import row_weights
from uplift.models.stream_weights import StreamWeights
from uplift.splitting import held_out_mask

CPU = torch.device("cpu")
ROWS = 3_000
SMALL: dict[str, Any] = {
    "embedding_dim": 4, "hidden": (16, 8), "gate_hidden": 8, "max_epochs": 2, "batch_size": 256, "device": "cpu",
}  # fmt: skip


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy campaign in two files of several row groups."""
    folder = tmp_path_factory.mktemp("log")
    frame = toy_frame(ROWS, seed=4)
    frame.loc[frame.index[::7], "x1"] = np.nan
    frame.loc[frame.index[::11], "city"] = None
    frame["region"] = frame["customer"] % 5
    frame["e"] = np.where(frame["coupon"] == "none", 0.4, 0.3)
    frame["w"] = 0.5 + frame["member"]
    frame.iloc[:1_300].to_parquet(folder / "a.parquet", row_group_size=200)
    frame.iloc[1_300:].to_parquet(folder / "b.parquet", row_group_size=600)
    return folder


def pair(log: Path, block_rows: int, **roles: Any) -> tuple[CampaignStream, Campaign]:
    roles = {**ROLES, "exclude": [c for c in ("region", "e", "w") if c not in str(roles)], **roles}
    return CampaignStream.from_parquet(log, block_rows=block_rows, **roles), Campaign.from_parquet(
        log, **roles
    )


def streamed(stream: CampaignStream, schema: FeatureSchema, **options: Any) -> StreamedRows:
    return StreamedRows(
        stream,
        lambda block, weights: load_rows(block, schema, weights=weights, device=CPU),
        device=CPU,
        **options,
    )


def joined(batches: Iterator[Rows]) -> torch.Tensor:
    return torch.cat([torch.nan_to_num(batch.numeric, nan=-9.0) for batch in batches])


# ---------------------------------------------------------------- sources


def test_an_epoch_gives_every_row_once_in_equal_batches_and_a_new_order(log: Path) -> None:
    stream, whole = pair(log, 100)
    schema = FeatureSchema.fit(whole)
    source = streamed(stream, schema, buffer_rows=350)
    every = joined(iter([load_rows(whole, schema, weights=None, device=CPU)]))
    generator = torch.Generator().manual_seed(0)
    sizes, epochs = [], []
    for _ in range(2):
        batches = list(source.epoch(generator, 256))
        sizes.append([len(batch) for batch in batches])
        epochs.append(joined(iter(batches)))
    assert sizes[0] == sizes[1] == batch_sizes(ROWS, 256)
    for epoch in epochs:
        assert torch.equal(torch.sort(epoch[:, 1]).values, torch.sort(every[:, 1]).values)
        assert not torch.equal(epoch, every)
    assert not torch.equal(*epochs)
    again = joined(source.epoch(torch.Generator().manual_seed(0), 256))
    assert torch.equal(again, epochs[0])


def test_neighbours_in_the_file_are_far_apart_in_training() -> None:
    """Sorted input through a buffer of 4 blocks: distances of neighbours are of the order of the buffer."""
    buffer = ShuffleBuffer(400, generator=torch.Generator().manual_seed(0))
    empty = torch.zeros(2_000, 0)
    arrivals = torch.arange(2_000.0)
    rows = Rows(
        numeric=arrivals[:, None], categorical=empty, treatment=torch.zeros(2_000), outcomes=empty, value=None, weights=None
    )  # fmt: skip
    out = [part for low in range(0, 2_000, 100) for part in buffer.exchange(rows.slice(low, low + 100))]
    order = torch.cat([part.numeric for part in [*out, *buffer.drain()]]).flatten()
    assert torch.equal(torch.sort(order).values, arrivals)
    places = torch.empty(2_000).index_copy_(0, order.long(), arrivals)
    assert places.diff().abs().median() > 100
    assert places.diff().abs().float().mean() > 200


@pytest.mark.parametrize("count", [1, 3])
def test_shards_of_a_batch_are_the_batch(log: Path, count: int) -> None:
    stream, whole = pair(log, 200)
    source = streamed(stream, FeatureSchema.fit(whole), buffer_rows=500)
    shards = [
        list(source.epoch(torch.Generator().manual_seed(1), 256, (number, count))) for number in range(count)
    ]
    full = list(source.epoch(torch.Generator().manual_seed(1), 256))
    for position, batch in enumerate(full):
        parts = [torch.nan_to_num(shard[position].numeric) for shard in shards]
        for number, part in enumerate(parts):
            assert torch.equal(part, torch.nan_to_num(batch.numeric[number::count]))


@pytest.mark.parametrize("block_rows", [170, 10_000])
def test_totals_of_a_stream_are_those_of_the_rows_in_memory(log: Path, block_rows: int) -> None:
    stream, whole = pair(log, block_rows, weight="w")
    schema = FeatureSchema.fit(whole)
    found = row_weights(whole)
    assert found is not None
    resident = ResidentRows(load_rows(whole, schema, weights=found.values, device=CPU))
    source = streamed(stream, schema, weigh=StreamWeights.fit(stream))
    assert torch.allclose(source.stage_totals(), resident.stage_totals(), rtol=1e-6)
    assert torch.equal(source.last_stage_values(), resident.last_stage_values())
    buyers = next(iter(resident.buyers()))
    assert torch.allclose(joined(source.buyers()), joined(iter([buyers])))
    for _ in range(2):  # counted by a pass of their own, then by an epoch
        for one, other in zip(source.code_counts(), resident.code_counts(), strict=True):
            assert torch.equal(one, other)
        source._codes = None
        list(source.epoch(torch.Generator(), 512))


@pytest.mark.parametrize(
    "roles",
    [{"weight": "w"}, {"propensity": "e"}, {"strata": ["region", "city"], "weight": "w"}, {"propensity": "e", "weight": "w"}],
)  # fmt: skip
@pytest.mark.parametrize("clip", [1.02, float("inf")])
def test_weights_of_a_stream_are_those_in_memory(log: Path, roles: dict[str, Any], clip: float) -> None:
    stream, whole = pair(log, 170, **roles)
    expected, found = row_weights(whole, clip=clip), StreamWeights.fit(stream, clip=clip)
    assert expected is not None
    assert found is not None
    values = np.concatenate([found(block) for block in stream.blocks()])
    assert np.allclose(values, expected.values, rtol=1e-12)
    assert found.clipped == expected.clipped
    if "propensity" in roles or "strata" in roles:
        assert np.isclose(found.largest, expected.largest)


def test_too_many_strata_are_refused(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("uplift.models.stream_weights.MAX_STRATA", 4)
    stream, _ = pair(log, 500, strata=["region"])
    with pytest.raises(ModelError, match="more than 4 groups"):
        StreamWeights.fit(stream)


def test_a_plain_campaign_has_no_weights(log: Path) -> None:
    assert StreamWeights.fit(pair(log, 500)[0]) is None


def test_rows_in_host_memory_give_the_batches_of_resident_rows(toy: Campaign) -> None:
    rows = load_rows(toy, FeatureSchema.fit(toy), weights=None, device=CPU)
    one = list(ResidentRows(rows).epoch(torch.Generator().manual_seed(3), 300, (1, 2)))
    other = list(HostRows(rows, CPU).epoch(torch.Generator().manual_seed(3), 300, (1, 2)))
    assert len(one) == len(other)
    for mine, theirs in zip(one, other, strict=True):
        for tensor, expected in zip(mine.tensors(), theirs.tensors(), strict=True):
            assert torch.equal(tensor, expected)


# ---------------------------------------------------------------- fits


def weights_of(model: ECUP) -> list[torch.Tensor]:
    return list(model.network_.state_dict().values())


def test_where_the_rows_are_kept_changes_no_number(log: Path) -> None:
    """One block, or any blocks that fit into the buffer: bit-equal weights in memory, from host memory, from disk."""
    stream, whole = pair(log, 10_000)
    resident = ECUP(**SMALL).fit(whole)
    for other in (
        ECUP(**SMALL, device_rows_limit=100).fit(whole),
        ECUP(**SMALL, buffer_rows=ROWS).fit(stream),
    ):
        assert [entry["loss"] for entry in other.history_] == [entry["loss"] for entry in resident.history_]
        assert all(torch.equal(*both) for both in zip(weights_of(other), weights_of(resident), strict=True))


@pytest.mark.parametrize("roles", [{}, {"strata": ["region"], "weight": "w"}, {"propensity": "e"}])
def test_small_blocks_in_a_large_buffer_give_the_fit_in_memory(log: Path, roles: dict[str, Any]) -> None:
    """Only the rounding of means over blocks differs."""
    stream, whole = pair(log, 150, **roles)
    one = ECUP(**SMALL, buffer_rows=ROWS).fit(stream).predict(whole)
    other = ECUP(**SMALL).fit(whole).predict(whole)
    assert np.allclose(one.mu_all, other.mu_all, rtol=2e-3, atol=1e-5)


def test_a_shuffled_stream_learns_as_well_as_memory_and_the_seed_decides(log: Path) -> None:
    stream, whole = pair(log, 150)
    options = SMALL | {"max_epochs": 5, "learning_rate": 1e-2, "batch_size": 128, "criterion": "loss"}
    one, again = (ECUP(**options, buffer_rows=600).fit(stream) for _ in range(2))
    assert all(torch.equal(*both) for both in zip(weights_of(one), weights_of(again), strict=True))
    assert one.fingerprint_ == again.fingerprint_
    other_blocks = pair(log, 300)[0]  # another order of the rows, so other weights
    assert one._fingerprint(other_blocks) != one.fingerprint_
    other = ECUP(**options, buffer_rows=600, random_state=1).fit(stream)
    assert not torch.equal(weights_of(one)[0], weights_of(other)[0])
    memory = ECUP(**options).fit(whole)
    first = memory.history_[0]["validation_loss"]
    gained, expected = (
        first - min(entry["validation_loss"] for entry in model.history_) for model in (one, memory)
    )
    assert expected > 0.01
    assert gained > 0.6 * expected  # 0.85 when written


def test_validation_rows_are_capped_and_the_rest_is_trained_on(log: Path) -> None:
    stream, whole = pair(log, 400)
    model = ECUP(**SMALL, validation_fraction=0.5, max_validation_rows=600, random_state=3)
    model.schema_ = FeatureSchema.fit(whole)
    source, held = model._streamed(stream, None, CPU)
    # The 600 of 3,000 rows whose units hash lowest, as a validation fraction of 0.2 picks them in memory.
    mask = held_out_mask(whole, test=0.2, seed=3, by="unit", purpose="ecup-validation")
    expected = load_rows(whole.take(mask), model.schema_, weights=None, device=CPU)
    assert torch.equal(torch.nan_to_num(held.numeric), torch.nan_to_num(expected.numeric))
    assert 500 < len(held) < 700
    assert len(source) + len(held) == ROWS


def test_validation_campaigns_of_either_kind(log: Path) -> None:
    stream, whole = pair(log, 400)
    train, held = stream.split(test=0.3)
    in_memory = whole.split(test=0.3)[1]
    options = SMALL | {"max_epochs": 1}
    one = ECUP(**options).fit(train, validation=held)
    other = ECUP(**options).fit(train, validation=in_memory)
    assert np.isclose(one.history_[0]["validation_loss"], other.history_[0]["validation_loss"], rtol=1e-6)
    with pytest.raises(ModelError, match="same kind"):
        ECUP(**options).fit(whole, validation=held)


def test_a_resumed_stream_ends_with_the_same_weights(log: Path, tmp_path: Path) -> None:
    stream, _ = pair(log, 150)
    options = SMALL | {"buffer_rows": 600, "max_epochs": 3}
    whole = ECUP(**options).fit(stream)
    model = ECUP(**options)

    def stop(text: str) -> None:
        if text.startswith("epoch 2"):
            raise KeyboardInterrupt

    model.on_progress = stop
    with pytest.raises(KeyboardInterrupt):
        model.fit(stream, checkpoint=tmp_path / "state")
    resumed = ECUP(**options).fit(stream, checkpoint=tmp_path / "state")
    assert all(torch.equal(*both) for both in zip(weights_of(whole), weights_of(resumed), strict=True))


def test_classical_models_refuse_a_stream_and_say_what_to_do(log: Path) -> None:
    stream, _ = pair(log, 400)
    with pytest.raises(ModelError, match="needs the whole campaign in memory"):
        make_model("lightgbm_t").fit(stream)
    with pytest.raises(ModelError, match="use predict_to"):
        ECUP(**SMALL | {"max_epochs": 1}).fit(stream).predict(stream)  # type: ignore[arg-type]


def test_values_that_do_not_belong_to_the_last_stage_are_refused(tmp_path: Path) -> None:
    frame = toy_frame(800).assign(spend=1.0)
    frame.to_parquet(tmp_path / "log.parquet")
    stream = CampaignStream.from_parquet(tmp_path / "log.parquet", block_rows=100, **ROLES)
    with pytest.raises(ModelError, match="it is not the value of that stage"):
        ECUP(**SMALL).fit(stream)
    frame.assign(spend=-frame["buy"]).to_parquet(tmp_path / "log.parquet")
    stream = CampaignStream.from_parquet(tmp_path / "log.parquet", block_rows=100, **ROLES)
    with pytest.raises(ModelError, match="value_loss is 'lognormal', but the value is not positive"):
        ECUP(**SMALL, value_loss="lognormal").fit(stream)
    assert ECUP(**SMALL | {"max_epochs": 1}).fit(stream).value_loss_ == "mse"


# ---------------------------------------------------------------- scoring


def test_effects_written_block_by_block_are_those_of_memory(log: Path, tmp_path: Path) -> None:
    stream, whole = pair(log, 170)
    model = ECUP(**SMALL | {"max_epochs": 1}).fit(whole)
    assert model.predict_to(stream, tmp_path / "stream.parquet") == ROWS
    model.predict(whole).to_parquet(tmp_path / "memory.parquet")
    one, other = (pq.read_table(tmp_path / f"{name}.parquet") for name in ("stream", "memory"))
    assert one.schema.equals(other.schema, check_metadata=True)
    assert one[0].equals(other[0])
    read = Effects.read_parquet(tmp_path / "stream.parquet")
    assert np.allclose(read.mu_all, model.predict(whole).mu_all, rtol=1e-5, atol=1e-7)
    assert np.allclose(read.tau_all, model.predict(whole).tau_all, rtol=1e-4, atol=1e-7)
    test = stream.split(test=0.3)[1]
    assert model.predict_to(test, tmp_path / "test.parquet") == test.n_rows
    assert Effects.read_parquet(tmp_path / "test.parquet").units.equals(whole.split(test=0.3)[1].unit_ids)
    assert model.predict_to(whole, tmp_path / "same.parquet") == ROWS
    assert pq.read_table(tmp_path / "same.parquet").equals(other)


def test_classical_models_score_a_stream_too(log: Path, tmp_path: Path) -> None:
    stream, whole = pair(log, 400)
    model = make_model("lightgbm_t", n_estimators=5).fit(whole)
    model.predict_to(stream, tmp_path / "effects.parquet")
    assert np.array_equal(
        Effects.read_parquet(tmp_path / "effects.parquet").mu_all, model.predict(whole).mu_all
    )


def test_an_interrupted_scoring_leaves_what_was_there(log: Path, tmp_path: Path, monkeypatch: Any) -> None:
    stream, whole = pair(log, 400)
    model = ECUP(**SMALL | {"max_epochs": 1}).fit(whole)
    target = tmp_path / "effects.parquet"
    target.write_text("before")
    calls = []

    def interrupted(campaign: Campaign) -> Effects:
        calls.append(campaign.n_rows)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return predict(campaign)

    predict = model.predict
    monkeypatch.setattr(model, "predict", interrupted)
    with pytest.raises(KeyboardInterrupt):
        model.predict_to(stream, target)
    assert target.read_text() == "before"
    assert [file.name for file in tmp_path.iterdir()] == ["effects.parquet"]


# ---------------------------------------------------------------- the thread


def _threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == THREAD_NAME]


def test_an_interrupt_leaves_no_thread_and_no_model(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stream, _ = pair(log, 150)
    steps = []

    def interrupted(*_: Any) -> None:
        steps.append(bool(_threads()))
        if len(steps) == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr("uplift.models.neural.averaging.MovingAverage.update", interrupted)
    model = ECUP(**SMALL, buffer_rows=400)
    try:
        model.fit(stream)
    except KeyboardInterrupt as error:
        held = error  # with its frames: the thread must not wait for them to go
        assert not _threads()
        assert held.__traceback__ is not None
    assert steps[0]
    with pytest.raises(ModelError, match="not fitted"):
        model.predict(pair(log, 150)[1])


def test_errors_in_the_thread_reach_the_fit(log: Path, tmp_path: Path) -> None:
    for file in log.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    stream, _ = pair(tmp_path, 150)
    model = ECUP(**SMALL, buffer_rows=400)
    model.on_progress = lambda text: (tmp_path / "b.parquet").unlink(missing_ok=True)
    with pytest.raises(UpliftError, match=r"b\.parquet cannot be read"):
        model.fit(stream)
    assert not _threads()


def test_prefetching_is_bounded_in_order_and_closes_its_items() -> None:
    made, closed = [], []

    def items() -> Iterator[int]:
        try:
            for number in range(100):
                made.append(number)
                yield number
        finally:
            closed.append(threading.current_thread().name)

    taken = prefetched(items(), ahead=2)
    assert [next(taken) for _ in range(3)] == [0, 1, 2]
    threading.Event().wait(0.2)
    assert len(made) <= 3 + 2 + 1
    taken.close()
    assert closed == [THREAD_NAME]
    assert not _threads()
    assert list(prefetched(range(5))) == list(range(5))


def test_an_error_comes_after_the_items_before_it() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("broken")

    taken = prefetched(items())
    assert next(taken) == 1
    with pytest.raises(ValueError, match="broken"):
        next(taken)


def test_the_command_line_fits_and_scores_from_disk(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def call(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["uplift", *arguments])
        with pytest.raises(SystemExit) as stopped:
            main()
        return int(stopped.value.code or 0)

    (tmp_path / "campaign.toml").write_text(
        f'[campaign]\ndata = "{log}"\nunit = "customer"\ntreatment = "coupon"\ncontrol = "none"\n'
        'chain = ["click", "buy"]\nvalue = "spend"\nexclude = ["region", "e", "w"]\n'
        "[models]\necup = { embedding_dim = 4, hidden = [8], gate_hidden = 8, max_epochs = 1 }\n"
    )
    campaign, model = str(tmp_path / "campaign.toml"), str(tmp_path / "model")
    assert call("fit", campaign, "--stream", "--out", model) == 0
    for name, options in (("disk", ["--stream"]), ("memory", [])):
        assert call("predict", model, campaign, "--out", str(tmp_path / f"{name}.parquet"), *options) == 0
    disk, memory = (Effects.read_parquet(tmp_path / f"{name}.parquet") for name in ("disk", "memory"))
    assert disk.units.equals(memory.units)
    assert np.allclose(disk.mu_all, memory.mu_all, rtol=1e-5, atol=1e-7)
    others = toy_frame(50, seed=8).drop(columns=["coupon", "click", "buy", "spend"])
    others.to_parquet(tmp_path / "others.parquet")
    scored = tmp_path / "scored.parquet"
    options = ["--stream", "--data", str(tmp_path / "others.parquet"), "--out", str(scored)]
    assert call("predict", model, campaign, *options) == 0
    assert Effects.read_parquet(scored).units.to_pylist() == others["customer"].tolist()
    assert call("fit", campaign, "-m", "lightgbm_t", "--stream", "--out", str(tmp_path / "trees")) == 2
    assert "needs the whole campaign in memory" in capsys.readouterr().err
    assert not (tmp_path / "trees").exists()
