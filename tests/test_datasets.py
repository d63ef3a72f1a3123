"""Data set cards, lookup, loading against published figures, and downloads that survive bad networks."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import http.server
import os
import re
import threading
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from uplift.datasets import (
    DatasetWarning,
    find_files,
    get_card,
    get_dataset,
    list_datasets,
    load_dataset,
    verify_dataset,
)
from uplift.datasets import download as download_module
from uplift.datasets.cards import DatasetCard, FileCard, read_card
from uplift.datasets.download import fetch_file, get_files
from uplift.datasets.local import locate
from uplift.datasets.pages import page, with_table
from uplift.datasets.tables import _sample
from uplift.errors import DatasetError

PAGES = Path(__file__).parents[1] / "datasets"
NAMES = [card.name for card in list_datasets()]
CONTENT = np.random.default_rng(7).bytes(3_000_000)

needs_data = pytest.mark.skipif(
    not os.environ.get("UPLIFT_DATA_HOME"), reason="UPLIFT_DATA_HOME is not set: no real data here"
)


# ------------------------------------------------------------------ cards


@pytest.mark.parametrize("name", NAMES)
def test_every_card_states_terms_source_roles_and_a_way_to_get_it(name: str) -> None:
    card = get_card(name)
    assert card.licence
    assert card.citation
    assert card.publisher
    assert card.source[0].startswith("http")
    assert card.randomisation
    assert card.obtain
    assert card.roles.treatment
    assert card.roles.chain
    assert card.refused or card.roles.control in card.arms
    assert card.refused or card.statistics, "a loadable set without known figures cannot be checked"
    for form in card.forms:
        for file in form.files:
            assert not file.urls or file.sha256 or file.md5


def test_no_outcome_or_post_treatment_column_is_ever_a_feature() -> None:
    for card in list_datasets():
        features = set(card.roles.features or ())
        assert not features & {*card.roles.chain, card.roles.value, card.roles.treatment, "exposure", "split"}
        assert not features & set(card.care.derive.values())
    assert "exposure" not in (get_card("criteo").roles.features or ())
    assert {"response_sms", "response_viber"} <= set(get_card("lenta").roles.exclude)
    assert "first_redeem_date" in get_card("x5").roles.exclude


def test_an_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(DatasetError, match="did you mean 'hillstrom'"):
        get_card("hilstrom")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ('licence = "x y z"\ncolour = "red"', "colour"),
        ("", "licence"),
        ('licence = "x y z"\nnotes = 3', "notes"),
        ('licence = "x y z"\n[', "TOML"),
    ],
)
def test_a_card_with_unknown_missing_or_wrong_entries_is_refused_by_name(change: str, complaint: str) -> None:
    text = toml_card().replace('licence = "none at all"', change, 1)
    with pytest.raises(DatasetError, match=complaint):
        read_card(text, "toy.toml")


def test_a_download_without_a_digest_is_not_a_valid_card() -> None:
    with pytest.raises(ValueError, match="no digest"):
        FileCard(path="toy/toy.csv", urls=("https://example.org/toy.csv",))


@pytest.mark.parametrize("path", ["../toy.csv", "/etc/passwd", "a/b/c.csv", "toy.csv"])
def test_a_card_cannot_point_outside_its_folder(path: str) -> None:
    with pytest.raises(ValueError, match="NAME/FILE"):
        FileCard(path=path)


def test_only_web_addresses_can_be_downloaded() -> None:
    with pytest.raises(ValueError, match="urls"):
        FileCard(path="toy/toy.csv", sha256="0" * 64, urls=("file:///etc/passwd",))


def test_pages_are_in_step_with_the_cards() -> None:
    for card in list_datasets():
        shown = (PAGES / f"{card.name}.md").read_text(encoding="utf-8")
        assert shown == page(card), "run: python -m uplift.datasets.pages datasets"
    readme = (PAGES / "README.md").read_text(encoding="utf-8")
    assert with_table(readme, list_datasets()) == readme
    pages = {path.stem for path in PAGES.glob("*.md")} - {"README"}
    assert pages == set(NAMES)


# ------------------------------------------------------------------ the real data against published figures


@needs_data
@pytest.mark.data
@pytest.mark.parametrize("name", NAMES)
def test_data_on_this_machine_reproduce_the_figures_of_their_card(name: str) -> None:
    if locate(get_card(name)) is None:
        pytest.skip(f"{name} is not in UPLIFT_DATA_HOME")
    findings = verify_dataset(name)
    assert [finding for finding in findings if finding.status == "fail"] == []
    assert sum(finding.status == "pass" for finding in findings) >= 1


@needs_data
@pytest.mark.data
def test_hillstrom_reproduces_the_published_rates() -> None:
    campaign = load_dataset("hillstrom")
    assert campaign.arm_names == ("No E-Mail", "Mens E-Mail", "Womens E-Mail")
    assert campaign.stages == ("visit", "conversion", "value")
    published = {
        "visit": ([0.1062, 0.1828, 0.1514], 5e-5),
        "conversion": ([0.00573, 0.01253, 0.00884], 5e-6),
        "spend": ([0.653, 1.423, 1.077], 5e-4),
    }
    for stage, (rates, half_a_digit) in published.items():
        outcome = campaign.outcome(stage).astype(float)
        found = [outcome[campaign.arm_codes == arm].mean() for arm in range(3)]
        np.testing.assert_allclose(found, rates, atol=half_a_digit, rtol=0)


@needs_data
@pytest.mark.data
def test_hillstrom_from_csv_is_the_same_campaign_as_from_parquet(tmp_path: Path) -> None:
    import pyarrow.csv as pacsv

    campaign = load_dataset("hillstrom")
    columns = [name for name in campaign.table.column_names if name != "treatment"]
    table = campaign.table.select(columns)
    plain = pa.table(
        {
            name: (column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column)
            for name, column in zip(columns, table.columns, strict=True)
        }
    )
    (tmp_path / "hillstrom").mkdir()
    with gzip.open(tmp_path / "hillstrom" / "hillstorm_no_indices.csv.gz", "wb", 1) as sink:
        pacsv.write_csv(plain, sink)
    again = load_dataset("hillstrom", home=tmp_path)
    assert again.arm_names == campaign.arm_names
    assert again.feature_names == campaign.feature_names
    assert again.categorical_features == campaign.categorical_features
    np.testing.assert_array_equal(again.arm_codes, campaign.arm_codes)
    np.testing.assert_array_equal(again.outcomes, campaign.outcomes)


@needs_data
@pytest.mark.data
def test_charitable_counts_the_rows_it_drops_and_holds_no_missing_code() -> None:
    with pytest.warns(DatasetWarning, match=r"dropped 1 of 35,058 rows with a missing 'amount'"):
        campaign = load_dataset("charitable")
    assert len(campaign) == 35_057
    assert np.isfinite(campaign.outcome("value")).all()
    for name in campaign.numeric_features:
        assert -999 not in campaign.table[name].to_pylist()


@needs_data
@pytest.mark.data
def test_a_broken_experiment_says_so_when_loaded() -> None:
    with pytest.warns(DatasetWarning, match="badly broken"):
        load_dataset("adsmart")


@needs_data
@pytest.mark.data
def test_lalonde_is_the_trial_alone_and_gives_the_published_effect() -> None:
    for name, effect, rows in (("lalonde", 886, 722), ("lalonde_dw", 1794, 445)):
        campaign = load_dataset(name)
        value, treated = campaign.outcome("value"), campaign.arm_codes == 1
        assert len(campaign) == rows
        assert value[treated].mean() - value[~treated].mean() == pytest.approx(effect, abs=1)


@needs_data
@pytest.mark.data
def test_social_pressure_keeps_households_together() -> None:
    train, test = load_dataset("social_pressure", rows=20_000).split(test=0.3, seed=1)
    assert not set(train.unit_ids.to_pylist()) & set(test.unit_ids.to_pylist())


@needs_data
@pytest.mark.data
@pytest.mark.parametrize(("name", "items"), [("open_bandit_men", 34), ("open_bandit_women", 46)])
def test_open_bandit_is_refused_with_a_reason_and_its_propensities_are_as_told(name: str, items: int) -> None:
    with pytest.raises(DatasetError, match=r"no control arm.*off-policy"):
        load_dataset(name)
    frame = pq.read_table(find_files(name)[0]).to_pandas()
    uniform = frame[frame.behavior_policy == "random"]
    np.testing.assert_allclose(uniform.propensity_score, 1 / items)


@needs_data
@pytest.mark.data
def test_a_sample_is_seeded_uniform_and_of_the_size_asked_for() -> None:
    first = load_dataset("starbucks", rows=20_000)
    again = load_dataset("starbucks", rows=20_000)
    other = load_dataset("starbucks", rows=20_000, seed=1)
    assert len(first) == 20_000
    assert first.table.equals(again.table)
    assert not first.table.equals(other.table)
    assert np.mean(first.arm_codes) == pytest.approx(0.5003, abs=4 * 0.5 / np.sqrt(20_000))
    assert len(load_dataset("criteo_1000", rows=5_000)) == 1_000


@needs_data
@pytest.mark.data
def test_verification_notices_a_changed_outcome_and_a_missing_row(tmp_path: Path) -> None:
    table = pq.read_table(find_files("cash_incentive")[0])
    got = table["got"].to_numpy().copy()
    got[:40] = 1 - got[:40]
    changed = table.set_column(table.column_names.index("got"), "got", pa.array(got)).slice(0, 2833)
    (tmp_path / "cash_incentive").mkdir()
    pq.write_table(changed, tmp_path / "cash_incentive" / "cash_incentive.parquet")
    failed = [
        finding.check
        for finding in verify_dataset("cash_incentive", home=tmp_path)
        if finding.status == "fail"
    ]
    assert "bytes of cash_incentive.parquet" in failed
    assert "rows" in failed
    assert any(check.startswith("got of") for check in failed)


# ------------------------------------------------------------------ what to do when data are missing or bad


def test_missing_downloadable_data_names_the_command_and_the_place(tmp_path: Path) -> None:
    with pytest.raises(DatasetError) as caught:
        load_dataset("criteo", home=tmp_path)
    assert "uplift data get criteo" in str(caught.value)
    assert str(tmp_path / "criteo" / "criteo-research-uplift-v2.1.csv.gz") in str(caught.value)


@pytest.mark.parametrize("call", [get_dataset, find_files, verify_dataset, load_dataset])
def test_missing_data_without_an_address_say_where_to_get_them_and_where_to_put_them(
    tmp_path: Path, call: object
) -> None:
    with pytest.raises(DatasetError) as caught:
        call("mt_lift", home=tmp_path)  # type: ignore[operator]
    message = str(caught.value)
    assert "github.com/MTDJDSP/MT-LIFT" in message
    assert str(tmp_path / "mt_lift" / "train.csv") in message
    assert str(tmp_path / "mt_lift" / "test.csv") in message


def test_one_of_two_files_is_not_the_data_set(tmp_path: Path) -> None:
    put(tmp_path / "mt_lift" / "train.csv", b"treatment,click,conversion,f0\n0,0,0,1\n")
    with pytest.raises(DatasetError, match=r"test\.csv"):
        find_files("mt_lift", home=tmp_path)
    put(tmp_path / "train.csv", b"a\n1\n")
    with pytest.raises(DatasetError, match=r"test\.csv"):
        find_files("mt_lift", home=tmp_path)


def test_the_home_variable_comes_before_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("UPLIFT_DATA_HOME", str(tmp_path / "home"))
    cached = put(tmp_path / "cache" / "uplift" / "datasets" / "hillstrom" / "hillstrom.csv", b"x")
    assert find_files("hillstrom") == [cached]
    first = put(tmp_path / "home" / "hillstrom.csv", b"x")
    assert find_files("hillstrom") == [first]


def test_a_damaged_file_is_named_with_a_remedy(tmp_path: Path) -> None:
    damaged = put(tmp_path / "hillstrom" / "hillstrom.parquet", b"PAR1 and then nothing")
    with pytest.raises(DatasetError, match=re.escape(str(damaged)) + ".*--force"):
        load_dataset("hillstrom", home=tmp_path)
    with pytest.raises(DatasetError, match="has 21 bytes where the card says 363,441"):
        get_dataset("hillstrom", home=tmp_path)


def test_rows_must_be_positive(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="rows is 0"):
        load_dataset("hillstrom", rows=0, home=tmp_path)


def test_a_truncated_csv_is_noticed_by_its_rows(tmp_path: Path) -> None:
    header = "f0,f1,f2,f3,f4,f5,f6,f7,f8,f9,f10,f11,treatment,conversion,visit,exposure\n"
    body = "".join(
        f"{','.join(['0.5'] * 12)},{i % 2},{int(i % 9 == 0)},{int(i % 3 == 0)},0\n" for i in range(90)
    )
    put(tmp_path / "criteo" / "criteo-research-uplift-v2.1.csv.gz", gzip.compress((header + body).encode()))
    with pytest.warns(DatasetWarning, match="has 90 rows where data set 'criteo' has 13,979,592"):
        campaign = load_dataset("criteo", home=tmp_path)
    assert campaign.table["f3"].type == pa.float32()
    assert campaign.table["visit"].type == pa.int8()
    assert "exposure" not in campaign.feature_names


def test_x5_joins_clients_by_key_and_drops_what_lies_in_the_future(tmp_path: Path) -> None:
    put(tmp_path / "x5" / "uplift_train.csv", b"client_id,treatment_flg,target\nc,1,1\na,0,0\nb,1,0\nz,0,1\n")
    clients = (
        b"client_id,first_issue_date,first_redeem_date,age,gender\n"
        b"a,2017-08-05 15:40:48,2018-01-04 19:30:07,45,U\n"
        b"b,2017-04-10 13:54:23,,-7491,F\n"
        b"c,2018-12-15 13:33:11,,68,M\n"
    )
    put(tmp_path / "x5" / "clients.csv", clients)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        campaign = load_dataset("x5", home=tmp_path)
    said = " | ".join(str(item.message) for item in caught)
    assert "1 of 4 rows have no match in clients.csv" in said
    assert "1 of 4 values of 'age' outside 10..110 became missing" in said
    assert set(campaign.feature_names) == {"first_issue_date", "age", "gender"}
    assert campaign.table["client_id"].to_pylist() == ["c", "a", "b", "z"]
    assert campaign.table["age"].to_pylist() == [68, 45, None, None]
    assert campaign.table["gender"].to_pylist() == ["M", "U", "F", None]
    assert campaign.unit_ids.to_pylist() == ["c", "a", "b", "z"]


def test_lenta_reads_its_text_arms_and_leaves_the_suspect_columns_out(tmp_path: Path) -> None:
    text = "age,gender,group,response_att,response_sms,response_viber,food_share_1m\n" + "".join(
        f"{30 + i},{'Ж' if i % 2 else ''},{'test' if i % 4 else 'control'},{i % 2},0.5,0.5,{'' if i % 3 else 0.25}\n"
        for i in range(40)
    )
    put(tmp_path / "lenta" / "lenta_dataset.csv", text.encode())
    with pytest.warns(DatasetWarning, match="has 40 rows"):
        campaign = load_dataset("lenta", home=tmp_path)
    assert campaign.arm_names == ("control", "test")
    assert campaign.feature_names == ("age", "gender", "food_share_1m")
    assert campaign.categorical_features == ("gender",)
    assert campaign.table["food_share_1m"].null_count == 26


def test_mt_lift_stacks_train_and_test_into_five_arms(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for part, n in (("train", 300), ("test", 120)):
        click = rng.integers(0, 2, n)
        frame = {"f0": rng.normal(size=n), "f98": rng.integers(0, 5, n), "treatment": np.arange(n) % 5}
        table = pa.table({**frame, "click": click, "conversion": click * rng.integers(0, 2, n)})
        (tmp_path / "mt_lift").mkdir(exist_ok=True)
        pq.write_table(table, tmp_path / "mt_lift" / f"{part}.parquet")
    campaign = load_dataset("mt_lift", home=tmp_path)
    assert campaign.arm_names == ("0", "1", "2", "3", "4")
    assert campaign.chain == ("click", "conversion")
    assert len(campaign) == 420
    assert campaign.feature_names == ("f0", "f98")


@settings(max_examples=40, deadline=None)
@given(
    cuts=st.lists(st.integers(1, 400), min_size=1, max_size=6),
    rows=st.integers(1, 500),
    seed=st.integers(0, 50),
)
def test_a_sample_does_not_depend_on_how_the_file_is_cut(cuts: list[int], rows: int, seed: int) -> None:
    table = pa.table({"row": np.arange(sum(cuts))})
    starts = np.cumsum([0, *cuts[:-1]])
    pieces = [table.slice(int(start), length) for start, length in zip(starts, cuts, strict=True)]
    whole = _sample(iter([table]), rows, seed)["row"].to_pylist()
    assert _sample(iter(pieces), rows, seed)["row"].to_pylist() == whole
    assert len(whole) == min(rows, table.num_rows)
    assert whole == sorted(set(whole))


# ------------------------------------------------------------------ downloads, against a real server on loopback


@dataclass
class Publisher:
    """What the server does, and what it was asked."""

    content: bytes = CONTENT
    ranges: bool = True
    length: bool = True
    status: int | None = None
    stall: float = 0.0
    cut: list[int] = field(default_factory=list)  # bytes after which each request in turn breaks off
    asked: list[str | None] = field(default_factory=list)
    url: str = ""


@pytest.fixture
def publisher(monkeypatch: pytest.MonkeyPatch) -> Iterator[Publisher]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(download_module, "PAUSE", 0.01)
    state = Publisher()

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            asked = self.headers.get("Range")
            state.asked.append(asked)
            time.sleep(state.stall)
            if state.status is not None:
                self.send_error(state.status)
                return
            size, start = len(state.content), 0
            if asked and state.ranges:
                start = int(asked.removeprefix("bytes=").rstrip("-"))
                if start >= size:
                    self.send_error(416)
                    return
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
            else:
                self.send_response(200)
            if state.length:
                self.send_header("Content-Length", str(size - start))
            self.end_headers()
            body = state.content[start:]
            if state.cut:
                body = body[: state.cut.pop(0)]
            with contextlib.suppress(OSError):  # the client may have hung up
                self.wfile.write(body)
            self.close_connection = True

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_address[1]}/toy.csv"
    yield state
    server.shutdown()
    server.server_close()


def toy(publisher: Publisher, content: bytes = CONTENT, **changes: object) -> FileCard:
    given = {
        "path": "toy/toy.csv",
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "urls": (publisher.url,),
    }
    return FileCard(**{**given, **changes})  # type: ignore[arg-type]


def test_a_download_arrives_whole_and_reports_its_progress(publisher: Publisher, tmp_path: Path) -> None:
    seen: list[tuple[str, int, int | None]] = []
    target = fetch_file(
        toy(publisher), tmp_path / "toy" / "toy.csv", progress=lambda *step: seen.append(step)
    )
    assert target.read_bytes() == CONTENT
    assert seen[-1] == ("toy.csv", len(CONTENT), len(CONTENT))
    assert [done for _, done, _ in seen] == sorted(done for _, done, _ in seen)
    assert os.listdir(target.parent) == ["toy.csv"]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(1, 1_500_000), max_size=5))
def test_a_connection_that_breaks_off_anywhere_is_resumed_where_it_broke(
    publisher: Publisher, tmp_path: Path, cuts: list[int]
) -> None:
    target = tmp_path / "toy.csv"
    target.unlink(missing_ok=True)
    publisher.cut, publisher.asked = list(cuts), []
    fetch_file(toy(publisher), target)
    assert target.read_bytes() == CONTENT
    starts = [0 if asked is None else int(asked[6:-1]) for asked in publisher.asked]
    assert starts == sorted(set(starts)), "no byte is asked for twice"


def test_a_later_call_goes_on_from_the_part_that_an_interrupt_left(
    publisher: Publisher, tmp_path: Path
) -> None:
    target = tmp_path / "toy.csv"

    def interrupt(_: str, done: int, __: int | None) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch_file(toy(publisher), target, progress=interrupt)
    kept = (tmp_path / "toy.csv.part").stat().st_size
    assert 0 < kept < len(CONTENT)
    assert not target.exists()
    fetch_file(toy(publisher), target)
    assert publisher.asked == [None, f"bytes={kept}-"]
    assert target.read_bytes() == CONTENT


def test_a_server_without_ranges_starts_over_and_still_arrives(publisher: Publisher, tmp_path: Path) -> None:
    publisher.ranges, publisher.cut = False, [1_000_000]
    target = fetch_file(toy(publisher), tmp_path / "toy.csv")
    assert target.read_bytes() == CONTENT


def test_a_download_that_never_gets_further_ends_with_nothing_under_the_final_name(
    publisher: Publisher, tmp_path: Path
) -> None:
    publisher.cut = [1_000_000, 0, 0, 0, 0, 0]
    with pytest.raises(
        DatasetError, match=r"failed after 1,000,000 of 3,000,000 bytes .*the same command goes on from there"
    ):
        fetch_file(toy(publisher), tmp_path / "toy.csv")
    assert os.listdir(tmp_path) == ["toy.csv.part"]
    publisher.cut = []
    assert fetch_file(toy(publisher), tmp_path / "toy.csv").read_bytes() == CONTENT


def test_wrong_bytes_are_refused_and_not_kept(publisher: Publisher, tmp_path: Path) -> None:
    publisher.content = CONTENT[:-1] + bytes([CONTENT[-1] ^ 1])
    with pytest.raises(DatasetError, match=r"sha256 [0-9a-f]{64} where the card says"):
        fetch_file(toy(publisher), tmp_path / "toy.csv")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("length", [True, False])
@pytest.mark.parametrize("change", [-1000, 1000])
def test_a_file_of_another_size_is_refused(
    publisher: Publisher, tmp_path: Path, length: bool, change: int
) -> None:
    publisher.length = length
    publisher.content = CONTENT[:change] if change < 0 else CONTENT + bytes(change)
    with pytest.raises(DatasetError, match=r"bytes"):
        fetch_file(toy(publisher), tmp_path / "toy.csv")
    assert not (tmp_path / "toy.csv").exists()


def test_a_stale_part_is_thrown_away_once_and_the_download_succeeds(
    publisher: Publisher, tmp_path: Path
) -> None:
    put(tmp_path / "toy.csv.part", b"bytes of an older version" * 40)
    assert fetch_file(toy(publisher), tmp_path / "toy.csv").read_bytes() == CONTENT
    put(tmp_path / "toy.csv.part", bytes(len(CONTENT) + 5))
    (tmp_path / "toy.csv").unlink()
    assert fetch_file(toy(publisher, bytes=None), tmp_path / "toy.csv").read_bytes() == CONTENT


def test_the_size_of_an_unmeasured_download_is_bounded(
    publisher: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download_module, "MOST", 1_000_000)
    publisher.length = False
    with pytest.raises(DatasetError, match="more than the 1,000,000 bytes"):
        fetch_file(toy(publisher, bytes=None), tmp_path / "toy.csv")
    assert not (tmp_path / "toy.csv").exists()
    assert (tmp_path / "toy.csv.part").stat().st_size == 0


def test_the_next_address_is_tried_and_a_dead_one_is_named(publisher: Publisher, tmp_path: Path) -> None:
    dead = "http://127.0.0.1:9/toy.csv"
    fetch_file(toy(publisher, urls=(dead, publisher.url)), tmp_path / "toy.csv")
    assert (tmp_path / "toy.csv").read_bytes() == CONTENT
    with pytest.raises(DatasetError, match=re.escape(dead)):
        fetch_file(toy(publisher, urls=(dead,)), tmp_path / "other.csv")


@pytest.mark.parametrize("status", [403, 404, 503])
def test_a_refusing_server_gives_one_sentence(publisher: Publisher, tmp_path: Path, status: int) -> None:
    publisher.status = status
    with pytest.raises(DatasetError, match=f"answered {status}") as caught:
        get_files(toy_card(publisher), home=tmp_path)
    assert "\n" not in str(caught.value)
    assert len(publisher.asked) == (1 if status < 500 else download_module.FRUITLESS_TRIES)


def test_a_silent_server_is_given_up(
    publisher: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download_module, "TIMEOUT", 0.1)
    publisher.stall = 0.4
    with pytest.raises(DatasetError, match=r"failed after 0 of 3,000,000 bytes .*timed out"):
        fetch_file(toy(publisher), tmp_path / "toy.csv")


def test_data_already_here_are_verified_and_not_fetched_again(publisher: Publisher, tmp_path: Path) -> None:
    card = toy_card(publisher)
    folder = get_files(card, home=tmp_path)
    assert folder == tmp_path / "toy"
    assert get_files(card, home=tmp_path) == folder
    assert len(publisher.asked) == 1
    (folder / "toy.csv").write_bytes(CONTENT[:-1] + b"!")
    with pytest.raises(DatasetError, match=r"damaged or another version.*--force"):
        get_files(card, home=tmp_path)
    get_files(card, home=tmp_path, force=True)
    assert (folder / "toy.csv").read_bytes() == CONTENT


def test_an_unwritable_home_is_a_sentence_not_a_traceback(publisher: Publisher, tmp_path: Path) -> None:
    put(tmp_path / "file", b"not a folder")
    with pytest.raises(DatasetError, match="choose a writable folder"):
        get_files(toy_card(publisher), home=tmp_path / "file")


# ------------------------------------------------------------------ helpers


def put(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def toy_card(publisher: Publisher) -> DatasetCard:
    card = read_card(toml_card())
    form = card.forms[0].model_copy(update={"files": (toy(publisher),)})
    return card.model_copy(update={"forms": (form,)})


def toml_card() -> str:
    return """
name = "toy"
title = "A toy"
publisher = "Nobody"
source = ["https://example.org"]
citation = "None."
licence = "none at all"
randomised = "yes"
randomisation = "By coin."
obtain = "ask nobody in particular for it"
roles = { treatment = "t", control = "0", chain = ["y"] }
forms = [{ name = "csv", files = [{ path = "toy/toy.csv" }] }]
"""
