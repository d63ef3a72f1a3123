"""An exported scoring graph gives the model's own numbers on raw rows, and never appears under its name otherwise."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from uplift.campaign import Campaign
from uplift.errors import MissingDependencyError, ModelError, OutputError
from uplift.io.fingerprint import file_sha256
from uplift.models.ecup import ECUP
from uplift.models.neural import export
from uplift.simulation import simulate

pytestmark = pytest.mark.usefixtures("one_thread")

QUICK: dict[str, Any] = {"device": "cpu", "hidden": (32, 16), "gate_hidden": 16, "embedding_dim": 8}
ONNX = all(importlib.util.find_spec(name) for name in ("onnx", "onnxscript", "onnxruntime"))
needs_onnx = pytest.mark.skipif(
    not ONNX, reason="onnx, onnxscript or onnxruntime is not installed (uplift[onnx])"
)


@pytest.fixture(scope="module")
def campaign() -> Campaign:
    """Categories, missing values, three stages, a value and four arms."""
    return simulate(rows=3000, numeric=4, categorical=2, missing=0.1, seed=3).campaign()


@pytest.fixture(scope="module")
def model(campaign: Campaign) -> ECUP:
    return ECUP(**QUICK, max_epochs=2).fit(campaign)


@pytest.fixture(scope="module")
def exported(model: ECUP, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model.export(tmp_path_factory.mktemp("graph") / "graph.pt2")


def torch_scorer(path: Path) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    loaded = torch.export.load(path).module()
    return lambda numeric, codes: loaded(torch.tensor(numeric), torch.tensor(codes)).numpy()


def onnx_scorer(path: Path) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda numeric, codes: session.run(["mu"], {"numeric": numeric, "categorical": codes})[0]


def encode_by_description(description: dict[str, Any], campaign: Campaign) -> tuple[np.ndarray, np.ndarray]:
    """Raw rows to inputs as a service would do it: from the JSON alone, row by row."""
    numeric, categorical = description["inputs"]
    frame = campaign.table.to_pandas()
    numbers = frame[[field["name"] for field in numeric["fields"]]].to_numpy(np.float32)
    codes = np.empty((len(frame), len(categorical["fields"])), np.int32)
    rule = categorical["codes"]
    for j, field in enumerate(categorical["fields"]):
        known = {name: rule["first_category"] + i for i, name in enumerate(field["categories"])}
        for i, value in enumerate(frame[field["name"]]):
            codes[i, j] = (
                rule["missing"] if value is None or value != value else known.get(str(value), rule["unseen"])
            )
    return numbers, codes


def exported_matches(model: ECUP, campaign: Campaign, file: Path, scorer: Any) -> None:
    description = json.loads(file.with_name(file.name + ".json").read_text())
    wanted = model.predict(campaign)
    assert tuple(description["output"]["arms"]) == wanted.arms
    assert tuple(description["output"]["stages"]) == wanted.stages
    assert description["fingerprint"] == model.fingerprint_
    assert description["sha256"] == file_sha256(file)
    numeric, codes = encode_by_description(description, campaign)
    assert np.isnan(numeric).any()
    score = scorer(file)
    for rows in (1, 2, 97, len(numeric)):
        got = score(numeric[:rows], codes[:rows])
        np.testing.assert_allclose(got, wanted.mu_all[:rows], rtol=1e-5, atol=1e-5)
    unseen = np.ones_like(codes[:50])
    for stray in (-1, 10_000):  # codes of a newer encoder
        np.testing.assert_allclose(
            score(numeric[:50], np.full_like(unseen, stray)), score(numeric[:50], unseen), rtol=0, atol=1e-7
        )


def test_torch_graph_scores_raw_rows_like_the_model_at_any_batch_size(
    model: ECUP, campaign: Campaign, exported: Path
) -> None:
    exported_matches(model, campaign, exported, torch_scorer)


@needs_onnx
def test_onnx_graph_scores_raw_rows_like_the_model_at_any_batch_size(
    model: ECUP, campaign: Campaign, tmp_path: Path
) -> None:
    file = model.export(tmp_path / "graph.onnx")
    exported_matches(model, campaign, file, onnx_scorer)


@pytest.mark.parametrize("ending", ["pt2", pytest.param("onnx", marks=needs_onnx)])
@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ({"numeric": 40, "categorical": 0}, {"members": 2}),  # the fused attention
        ({"numeric": 3, "categorical": 1, "chain": ("click",)}, {"tenet": False, "taenet": False}),
        (
            {"numeric": 3, "categorical": 1, "missing": 0.1},
            {
                "normalise": "none",
                "loss_space": "independent",
                "ensemble": "shared",
                "members": 3,
                "bit_level": "f*d",
            },
        ),
    ],
    ids=str,
)
def test_variants_export(shape: dict[str, Any], options: dict[str, Any], ending: str, tmp_path: Path) -> None:
    campaign = simulate(rows=1500, seed=5, **shape).campaign()
    model = ECUP(**QUICK, **options, max_epochs=1, criterion="loss").fit(campaign)
    file = model.export(tmp_path / f"graph.{ending}")
    numeric, codes = encode_by_description(
        json.loads((tmp_path / f"graph.{ending}.json").read_text()), campaign
    )
    scorer = {"pt2": torch_scorer, "onnx": onnx_scorer}[ending](file)
    wanted = model.predict(campaign).mu_all
    np.testing.assert_allclose(scorer(numeric, codes), wanted, rtol=1e-5, atol=1e-5)
    check = json.loads((tmp_path / f"graph.{ending}.json").read_text())["check"]
    assert 0 <= check["largest_difference"] <= 1e-5
    assert file.stat().st_size > 10_000


def test_exported_graph_runs_in_a_process_without_this_package(model: ECUP, exported: Path) -> None:
    p, q = len(model.schema_.numeric), len(model.schema_.categorical)
    code = (
        "import sys, torch; graph = torch.export.load(sys.argv[1]).module(); "
        f"mu = graph(torch.zeros(3, {p}), torch.zeros(3, {q}, dtype=torch.int32)); "
        "assert 'uplift' not in sys.modules; print(tuple(mu.shape))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(exported)],
        capture_output=True,
        text=True,
        check=True,
        cwd=exported.parent,
    )
    assert done.stdout.strip() == str((3, len(model.arms_), len(model.stages_)))


def test_a_graph_that_differs_from_the_network_is_refused_and_leaves_no_file(
    model: ECUP, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = export._WRITERS["torch"]

    def off_by_a_little(graph: export.ScoringGraph, rows: Any, path: Path) -> export.Scorer:
        scorer = honest(graph, rows, path)
        return lambda numeric, categorical: scorer(numeric, categorical) + 2e-5

    monkeypatch.setitem(export._WRITERS, "torch", off_by_a_little)
    with pytest.raises(ModelError, match=r"differs from the network by \d"):
        model.export(tmp_path / "graph.pt2")
    assert not list(tmp_path.iterdir())


def test_nan_counts_as_a_difference(model: ECUP) -> None:
    graph = export.ScoringGraph(model.networks_, model.schema_)
    rows = export.random_rows(model.schema_, 300)
    assert export.largest_difference(graph, graph, rows) == 0
    assert export.largest_difference(graph, lambda *given: graph(*given) * torch.nan, rows) == np.inf


def test_export_refuses_what_it_cannot_do_in_one_sentence(model: ECUP, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="not fitted"):
        ECUP().export(tmp_path / "graph.pt2")
    with pytest.raises(OutputError, match=r"\.pt2, \.onnx"):
        model.export(tmp_path / "graph.bin")
    with pytest.raises(OutputError, match="did you mean 'torch'"):
        model.export(tmp_path / "graph.bin", format="torhc")  # type: ignore[arg-type]
    (tmp_path / "graph.pt2").write_text("mine")
    with pytest.raises(OutputError, match="exists already"):
        model.export(tmp_path / "graph.pt2")
    assert (tmp_path / "graph.pt2").read_text() == "mine"
    model.export(tmp_path / "graph.pt2", overwrite=True)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["graph.pt2", "graph.pt2.json"]


@pytest.mark.skipif(ONNX, reason="ONNX is installed here")
def test_without_onnx_the_remedy_is_named(model: ECUP, tmp_path: Path) -> None:
    with pytest.raises(MissingDependencyError, match=r"pip install 'uplift\[onnx\]'"):
        model.export(tmp_path / "graph.onnx")


def test_command_line_exports_a_saved_model(model: ECUP, tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from uplift.cli import app
    from uplift.errors import UpliftError
    from uplift.models.registry import make_model

    model.save(tmp_path / "model")
    arguments = ["export-model", str(tmp_path / "model"), "--out", str(tmp_path / "graph.pt2")]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    assert (tmp_path / "graph.pt2").is_file()
    tree = make_model("random").fit(simulate(rows=500, seed=1).campaign())
    tree.save(tmp_path / "tree")
    with pytest.raises(UpliftError, match="'random' is no neural model"):
        CliRunner().invoke(
            app,
            ["export-model", str(tmp_path / "tree"), "--out", str(tmp_path / "x.pt2")],
            catch_exceptions=False,
        )
