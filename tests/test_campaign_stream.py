"""CampaignStream: the campaign on disk equals the campaign in memory, and its refusals name file and rows."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from conftest import ROLES, toy_frame
from hypothesis import given, settings
from hypothesis import strategies as st

from uplift import Campaign, CampaignStream
from uplift.campaign_file import write_campaign_folder
from uplift.errors import CampaignError, ModelError
from uplift.feature_stream import Counts, Moments, RowSample
from uplift.features import FeatureSchema
from uplift.splitting import held_out_mask

ALL_ROLES = ROLES | {
    "weight": "w", "propensity": "e", "strata": ["region"], "time": "day", "categorical": ["level"],
}  # fmt: skip


def rich_frame(rows: int = 3_000) -> pd.DataFrame:
    """The toy with every role, missing values, repeated units, numbers as categories and a rare category."""
    rng = np.random.default_rng(3)
    frame = toy_frame(rows, seed=3)
    frame["customer"] = rng.integers(0, rows // 2, rows)
    frame["w"] = rng.uniform(0.5, 2, rows)
    frame["e"] = rng.uniform(0.2, 0.6, rows)
    frame["region"] = rng.integers(0, 7, rows)
    frame["day"] = pd.Timestamp("2026-01-01") + pd.to_timedelta(rng.integers(0, 90, rows), "D")
    frame["level"] = rng.choice([1.0, 2.0, 3e10, 2.5], rows, p=[0.5, 0.3, 0.19, 0.01])
    frame.loc[frame.index[:1000], "level"] = 1.0
    frame.loc[rng.random(rows) < 0.1, "x1"] = np.nan
    frame.loc[rng.random(rows) < 0.1, "city"] = None
    frame.loc[5, "city"] = "once"
    frame["constant"] = 0.1
    return frame


def write_parts(frame: pd.DataFrame, folder: Path, cuts: list[int], *, group: int = 400) -> Path:
    """Several files with several row groups each."""
    folder.mkdir(exist_ok=True)
    bounds = [0, *cuts, len(frame)]
    for number, (low, high) in enumerate(pairwise(bounds)):
        frame.iloc[low:high].to_parquet(folder / f"part-{number}.parquet", row_group_size=group, index=False)
    return folder


def streamed(campaign: CampaignStream, attribute: str) -> np.ndarray:
    return np.concatenate([getattr(block, attribute) for block in campaign.blocks()])


@pytest.mark.parametrize("block_rows", [150, 400, 1_000, 10_000])
def test_blocks_put_together_are_the_campaign_in_memory(tmp_path: Path, block_rows: int) -> None:
    source = write_parts(rich_frame(), tmp_path / "log", [700, 1_900])
    whole = Campaign.from_parquet(source, **ALL_ROLES)
    stream = CampaignStream.from_parquet(source, block_rows=block_rows, **ALL_ROLES)
    assert (stream.arms, stream.stages, stream.n_rows) == (whole.arms, whole.stages, whole.n_rows)
    assert stream.feature_names == whole.feature_names
    assert stream.categorical_features == whole.categorical_features
    assert stream.numeric_features == whole.numeric_features
    assert max(block.n_rows for block in stream.blocks()) <= block_rows
    for name in ("arm_codes", "outcomes", "weights", "propensity", "times", "row_numbers"):
        assert np.array_equal(streamed(stream, name), getattr(whole, name)), name
    ids = [part for block in stream.blocks() for part in block.unit_ids.to_pylist()]
    assert ids == whole.unit_ids.to_pylist()
    assert stream.fingerprint() == whole.fingerprint()
    assert stream.arm_counts.tolist() == np.bincount(whole.arm_codes).tolist()
    for arm in range(3):
        expected = whole.outcomes[whole.arm_codes == arm].mean(0, dtype=np.float64)
        assert np.allclose(stream.rates[arm], expected, rtol=1e-12)


@pytest.mark.parametrize("block_rows", [130, 10_000])
def test_the_schema_of_a_stream_is_the_schema_in_memory(tmp_path: Path, block_rows: int) -> None:
    source = write_parts(rich_frame(), tmp_path / "log", [700, 1_900])
    whole = Campaign.from_parquet(source, **ALL_ROLES)
    stream = CampaignStream.from_parquet(source, block_rows=block_rows, **ALL_ROLES)
    expected, found = FeatureSchema.fit(whole), FeatureSchema.fit_stream(stream)
    assert found.categorical == expected.categorical  # names, order and shares, exactly
    assert {field.name for field in expected.categorical} == {"city", "level", "region"}
    for one, other in zip(found.numeric, expected.numeric, strict=True):
        assert (one.name, one.has_missing, one.median) == (other.name, other.has_missing, other.median)
        assert np.allclose((one.mean, one.std), (other.mean, other.std), rtol=1e-12)
    encoded = expected.encode(whole)
    parts = [expected.encode(block) for block in stream.blocks()]
    assert np.array_equal(np.concatenate([p.categorical for p in parts]), encoded.categorical)
    assert np.array_equal(np.concatenate([p.numeric for p in parts]), encoded.numeric, equal_nan=True)


def test_one_block_gives_bit_equal_statistics(tmp_path: Path) -> None:
    source = write_parts(rich_frame(), tmp_path / "log", [], group=10_000)
    whole = Campaign.from_parquet(source, **ALL_ROLES)
    assert FeatureSchema.fit_stream(CampaignStream.from_parquet(source, **ALL_ROLES)) == FeatureSchema.fit(
        whole
    )


@settings(deadline=None, max_examples=50)
@given(
    parts=st.lists(
        st.lists(st.floats(-1e6, 1e6) | st.just(float("nan")), max_size=8).map(np.array),
        min_size=1,
        max_size=6,
    ),
    shift=st.sampled_from([0.0, 1e9]),
)
def test_merged_moments_are_those_of_all_numbers(parts: list[np.ndarray], shift: float) -> None:
    moments = Moments()
    for part in parts:
        moments.add(part.astype(float) + shift)
    seen = np.concatenate(parts).astype(float) + shift
    seen = seen[~np.isnan(seen)]
    assert moments.count == seen.size
    if seen.size:
        assert np.isclose(moments.mean, seen.mean(), rtol=1e-12, atol=1e-6)
        assert np.isclose(moments.variance, seen.var(), rtol=1e-9, atol=1e-3 if shift else 1e-9)


def test_sampled_medians_are_near_and_do_not_depend_on_the_blocks() -> None:
    values = np.random.default_rng(0).lognormal(size=(100_000, 1))
    samples = []
    for size in (1_000, 30_000):
        sample = RowSample(16_384)
        for low in range(0, len(values), size):
            sample.add(values[low : low + size], np.arange(low, min(low + size, len(values))))
        samples.append(sample.values)
    assert sorted(samples[0].ravel()) == sorted(samples[1].ravel())
    # Standard error of the median: 1 / (2 f(m) sqrt(n)) with f(1) = 0.3989.
    assert abs(np.median(samples[0]) - np.median(values)) < 4 / (2 * 0.3989 * np.sqrt(16_384))


def test_rare_and_too_many_categories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = toy_frame(2_000)
    frame["who"] = [f"id{i}" for i in range(2_000)]
    source = write_parts(frame, tmp_path / "log", [900])
    stream = CampaignStream.from_parquet(source, block_rows=300, **ROLES)
    assert FeatureSchema.fit_stream(stream, max_categories=2).categorical[0].categories == (
        FeatureSchema.fit(Campaign.from_frame(frame, **ROLES), max_categories=2).categorical[0].categories
    )
    monkeypatch.setattr("uplift.feature_stream.MAX_DISTINCT", 1_500)
    with pytest.raises(ModelError, match="'who' has more than 1,500 different values"):
        FeatureSchema.fit_stream(stream)


def test_counting_compacts_and_stays_exact(monkeypatch: pytest.MonkeyPatch, toy: Campaign) -> None:
    monkeypatch.setattr("uplift.feature_stream._COMPACT", 2)
    counted = Counts("city")
    for low in range(0, toy.n_rows, 100):
        counted.add(toy.take(np.arange(low, low + 100)))
    words, counts = counted.top(1, 10)
    expected = toy.table["city"].to_pandas().value_counts()
    assert dict(zip(words, counts, strict=True)) == expected.to_dict()


# ---------------------------------------------------------------- splits


def test_a_stream_splits_as_the_campaign_in_memory_and_units_stay_together(tmp_path: Path) -> None:
    source = write_parts(rich_frame(), tmp_path / "log", [700, 1_900])
    whole = Campaign.from_parquet(source, **ALL_ROLES)
    stream = CampaignStream.from_parquet(source, block_rows=170, **ALL_ROLES)
    parts = list(zip(stream.split(test=0.3, seed=5), whole.split(test=0.3, seed=5), strict=True))
    for one, other in parts:
        assert one.n_rows == other.n_rows
        assert np.array_equal(streamed(one, "row_numbers"), other.row_numbers)
        assert one.fingerprint() == other.fingerprint()
        assert one.arm_counts.tolist() == np.bincount(other.arm_codes, minlength=3).tolist()
    units = [{u for b in part.blocks() for u in b.unit_ids.to_pylist()} for part, _ in parts]
    assert not units[0] & units[1]
    # A split of a split, for another purpose: what a model holds back for early stopping.
    inner = parts[0][0].split(test=0.1, seed=0, purpose="ecup-validation")[1]
    mask = held_out_mask(parts[0][1], test=0.1, seed=0, by="unit", purpose="ecup-validation")
    assert np.array_equal(streamed(inner, "row_numbers"), parts[0][1].row_numbers[mask])


def test_without_a_unit_column_rows_are_numbered_over_all_files(tmp_path: Path) -> None:
    roles = {key: value for key, value in ROLES.items() if key != "unit"}
    source = write_parts(toy_frame(1_000).drop(columns="customer"), tmp_path / "log", [400])
    stream = CampaignStream.from_parquet(source, block_rows=130, **roles)
    whole = Campaign.from_parquet(source, **roles)
    for one, other in zip(stream.split(seed=2), whole.split(seed=2), strict=True):
        assert [u for b in one.blocks() for u in b.unit_ids.to_pylist()] == other.unit_ids.to_pylist()


def test_splits_that_cannot_be_are_refused(tmp_path: Path) -> None:
    source = write_parts(toy_frame(300), tmp_path / "log", [])
    stream = CampaignStream.from_parquet(source, **ROLES)
    with pytest.raises(CampaignError, match="cannot be split by 'time'"):
        stream.split(by="time")
    with pytest.raises(CampaignError, match="between 0 and 1"):
        stream.split(test=1.5)
    with pytest.raises(CampaignError, match="leaves one part empty"):
        stream.split(test=1e-9)


# ---------------------------------------------------------------- files


def test_blocks_come_in_any_order_and_limited_to_columns(tmp_path: Path) -> None:
    source = write_parts(rich_frame(), tmp_path / "log", [700, 1_900], group=1_000)
    stream = CampaignStream.from_parquet(source, block_rows=300, **ALL_ROLES)
    assert any(len(run) > 1 for run in stream.runs)  # slices of one row group
    assert sorted(position for run in stream.runs for position in run) == list(range(stream.n_blocks))
    forward = [block.fingerprint() for block in stream.blocks()]
    order = np.random.default_rng(0).permutation(stream.n_blocks).tolist()
    shuffled = [block.fingerprint() for block in stream.blocks(order)]
    assert shuffled == [forward[position] for position in order]
    narrow = next(stream.blocks(columns=stream.role_columns))
    assert not {"x1", "city"} & set(narrow.table.column_names)
    assert narrow.feature_names == ("region",)
    assert np.array_equal(narrow.outcomes, next(stream.blocks()).outcomes)


def test_arrow_files_stream_too(tmp_path: Path) -> None:
    frame = toy_frame(1_000)
    pyarrow.feather.write_feather(pa.Table.from_pandas(frame), tmp_path / "log.feather", chunksize=300)
    stream = CampaignStream.from_parquet(tmp_path / "log.feather", block_rows=100, **ROLES)
    assert stream.fingerprint() == Campaign.from_frame(frame, **ROLES).fingerprint()
    assert [b.n_rows for b in stream.blocks([9, 3])] == [100, 100]


def test_files_of_different_widths_and_encodings_are_one_type(tmp_path: Path) -> None:
    frame = rich_frame(900).drop(columns=["w", "e", "region", "day"])
    table = pa.Table.from_pandas(frame, preserve_index=False)
    narrow = table.slice(0, 400)
    for name, kind in (("click", pa.int8()), ("customer", pa.int32()), ("x2", pa.float32())):
        narrow = narrow.set_column(narrow.column_names.index(name), name, narrow[name].cast(kind, safe=False))
    city = narrow["city"].dictionary_encode()
    narrow = narrow.set_column(narrow.column_names.index("city"), "city", city)
    (tmp_path / "log").mkdir()
    pq.write_table(narrow, tmp_path / "log" / "a.parquet")
    pq.write_table(
        table.slice(400).append_column("note", pa.array(range(500))), tmp_path / "log" / "b.parquet"
    )
    stream = CampaignStream.from_parquet(
        tmp_path / "log", block_rows=100, categorical=["level"], exclude=["note"], **ROLES
    )
    whole = Campaign.from_frame(frame, categorical=["level"], **ROLES)
    assert FeatureSchema.fit_stream(stream).categorical == FeatureSchema.fit(whole).categorical
    assert np.array_equal(streamed(stream, "outcomes"), whole.outcomes)


def test_a_campaign_file_streams(tmp_path: Path, toy: Campaign) -> None:
    file = write_campaign_folder(toy, tmp_path / "toy")
    stream = CampaignStream.from_file(file, block_rows=512)
    assert stream.fingerprint() == Campaign.from_file(file).fingerprint()
    file.write_text(
        '[campaign]\ndatabase = "duckdb://"\nsql = "select 1"\ntreatment = "t"\ncontrol = 0\nchain = "y"\n'
    )
    with pytest.raises(CampaignError, match="cannot be streamed"):
        CampaignStream.from_file(file)


def test_an_audience_needs_no_treatment_and_no_outcomes(tmp_path: Path) -> None:
    frame = toy_frame(1_000)
    stream = CampaignStream.from_parquet(write_parts(frame, tmp_path / "log", [400]), **ROLES)
    others = toy_frame(500, seed=9).drop(columns=["coupon", "click", "buy", "spend"])
    others.to_parquet(tmp_path / "others.parquet", row_group_size=100)
    audience = stream.audience(tmp_path / "others.parquet", block_rows=100)
    whole = Campaign.from_frame(frame, **ROLES).audience(others)
    assert not audience.has_outcomes
    assert (audience.arm_names, audience.n_rows) == (stream.arm_names, 500)
    schema = FeatureSchema.fit_stream(stream)
    encoded = np.concatenate([schema.encode(block).numeric for block in audience.blocks()])
    assert np.array_equal(encoded, schema.encode(whole).numeric)
    others.assign(x1="a").to_parquet(tmp_path / "text.parquet")
    with pytest.raises(CampaignError, match="'x1' is numeric in the campaign"):
        stream.audience(tmp_path / "text.parquet")
    others.drop(columns="x1").to_parquet(tmp_path / "short.parquet")
    with pytest.raises(CampaignError, match="no column 'x1'"):
        stream.audience(tmp_path / "short.parquet")


# ---------------------------------------------------------------- refusals


def _spoil(column: str, row: int, value: Any) -> pd.DataFrame:
    frame = toy_frame(1_000).astype({"click": float})
    frame[column] = frame[column].astype(object) if isinstance(value, str) or value is None else frame[column]
    frame.loc[row, column] = value
    return frame


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (_spoil("click", 612, 2.0), "part-1.parquet, rows 201 to 300: stage 'click' must be 0 or 1"),
        (
            _spoil("coupon", 100, None),
            "part-0.parquet, rows 101 to 200: treatment column 'coupon' is missing in 1",
        ),
        (_spoil("x1", 999, np.inf), "part-1.parquet, rows 501 to 600: feature 'x1' has 1 infinite"),
        (_spoil("spend", 400, np.nan), "part-1.parquet, rows 1 to 100: value column 'spend' has 1 missing"),
    ],
)
def test_bad_values_are_refused_with_file_and_rows(tmp_path: Path, frame: pd.DataFrame, message: str) -> None:
    source = write_parts(frame, tmp_path / "log", [400])
    with pytest.raises(CampaignError) as refused:
        CampaignStream.from_parquet(source, block_rows=100, **ROLES)
    assert message in str(refused.value)


def test_text_in_one_file_and_numbers_in_another_are_refused(tmp_path: Path) -> None:
    source = write_parts(toy_frame(100), tmp_path / "log", [])
    toy_frame(100).assign(x1="1.5").to_parquet(source / "part-9.parquet")
    with pytest.raises(CampaignError, match=r"column 'x1' holds double in .*part-0.* and .*part-9"):
        CampaignStream.from_parquet(source, **ROLES)


def test_a_column_that_one_file_lacks_is_refused(tmp_path: Path) -> None:
    source = write_parts(toy_frame(100), tmp_path / "log", [])
    toy_frame(100).drop(columns="x2").to_parquet(source / "part-9.parquet")
    with pytest.raises(CampaignError, match=r"part-9.parquet has no column 'x2'"):
        CampaignStream.from_parquet(source, **ROLES)


def test_files_that_are_not_there_empty_damaged_or_of_another_kind(tmp_path: Path) -> None:
    with pytest.raises(CampaignError, match="there is no file or folder"):
        CampaignStream.from_parquet(tmp_path / "none.parquet", **ROLES)
    (tmp_path / "empty.parquet").touch()
    with pytest.raises(CampaignError, match=r"empty\.parquet is empty"):
        CampaignStream.from_parquet(tmp_path / "empty.parquet", **ROLES)
    (tmp_path / "bad.arrow").write_bytes(b"no arrow file at all, but long enough to be one")
    with pytest.raises(CampaignError, match="cannot be read as an Arrow file"):
        CampaignStream.from_parquet(tmp_path / "bad.arrow", **ROLES)
    toy_frame(10).to_csv(tmp_path / "log.csv")
    with pytest.raises(CampaignError, match=r"log\.csv cannot be streamed"):
        CampaignStream.from_parquet(tmp_path / "log.csv", **ROLES)
    toy_frame(10).iloc[:0].to_parquet(tmp_path / "zero.parquet")
    with pytest.raises(CampaignError, match="no rows"):
        CampaignStream.from_parquet(tmp_path / "zero.parquet", **ROLES)


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path) -> None:
    source = write_parts(toy_frame(1_000), tmp_path / "log", [], group=100)
    stream = CampaignStream.from_parquet(source, block_rows=100, **ROLES)
    toy_frame(10).to_parquet(source / "part-0.parquet")
    with pytest.raises(CampaignError, match="cannot be read"):
        list(stream.blocks())


def test_unknown_columns_and_wrong_controls_are_refused(tmp_path: Path) -> None:
    source = write_parts(toy_frame(100), tmp_path / "log", [])
    with pytest.raises(CampaignError, match="did you mean 'coupon'"):
        CampaignStream.from_parquet(source, **(ROLES | {"treatment": "cupon"}))
    with pytest.raises(CampaignError, match="control arm 'nothing' is not in column"):
        CampaignStream.from_parquet(source, **(ROLES | {"control": "nothing"}))
    many = write_parts(toy_frame(1_500), tmp_path / "many", [])
    with pytest.raises(CampaignError, match="different values"):
        CampaignStream.from_parquet(
            many, **(ROLES | {"treatment": "customer", "unit": None, "control": 10_000})
        )
    with pytest.raises(CampaignError, match="block_rows is 0"):
        CampaignStream.from_parquet(source, block_rows=0, **ROLES)


def test_one_giant_row_group_is_read_in_little_memory(tmp_path: Path) -> None:
    """A row group of 200 MB decoded: blocks of 20,000 rows must not hold it, nor half of it."""
    rows, features = 500_000, 50
    rng = np.random.default_rng(0)
    table = {"t": rng.integers(0, 2, rows).astype(np.int8), "y": rng.integers(0, 2, rows).astype(np.int8)}
    draws = rng.normal(size=rows)
    table |= {f"f{j}": np.roll(draws, j) for j in range(features)}
    pq.write_table(
        pa.table(table),
        tmp_path / "big.parquet",
        row_group_size=rows,
        use_dictionary=False,
        compression="none",
    )
    del table
    script = textwrap.dedent(
        """
        import resource, sys
        from uplift import CampaignStream
        def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        stream = CampaignStream.from_parquet(
            sys.argv[1], block_rows=20_000, treatment="t", control=0, chain="y", features=["f0"]
        )
        before = peak()
        stream = CampaignStream.from_parquet(sys.argv[1], block_rows=20_000, treatment="t", control=0, chain="y")
        print(stream.n_blocks, peak() - before)
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "big.parquet")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    blocks, grown = done.stdout.split()
    assert int(blocks) == 25
    assert float(grown) < 100, f"{grown} MiB for a file of 200 MB"
