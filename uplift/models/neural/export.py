"""A fitted network as a file that scores without this package: ``torch.export`` or ONNX, checked before it gets its name."""

from __future__ import annotations

import copy
import importlib
import logging
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, cast, get_args

import torch
from torch import Tensor, nn

from uplift.errors import MissingDependencyError, ModelError, OutputError, did_you_mean, first_line
from uplift.features import FIRST_KNOWN, MISSING, OTHER, FeatureSchema
from uplift.io.atomic import atomic_path, write_json
from uplift.io.fingerprint import file_sha256
from uplift.models.neural.network import ChainNetwork
from uplift.models.neural.rows import Normalise
from uplift.versions import versions

GraphFormat = Literal["torch", "onnx"]

FORMAT_VERSION = 1
TOLERANCE = 1e-5
"""Largest difference to the network, of a rate, and of an expected value as a share of the largest one."""

CHECKED = (1, 7, 300)
"""Batch sizes on which a written graph is compared with the network."""

_SUFFIXES: dict[str, GraphFormat] = {".pt2": "torch", ".onnx": "onnx"}
_OPSET = 18

Scorer = Callable[[Tensor, Tensor], Tensor]


class ScoringGraph(nn.Module):
    """From raw features to the potential outcomes of every arm: what a service runs.

    What :func:`uplift.models.neural.rows.feature_tensors` does to numbers is done inside, in float64 like there, so
    that whoever calls the graph needs the order of the features and the category codes only. A code that the model
    does not know is read as an unseen category. Members of an ensemble are averaged.

    Parameters
    ----------
    networks : sequence of ChainNetwork
        Copied to the CPU.
    schema : FeatureSchema
        Means, standard deviations and the number of codes.
    normalise : {"zscore", "none"}
        As in training.

    Shape
    -----
    numeric [row, p] float32 in the units of the data, NaN = missing; categorical [row, q] int32 codes;
    output [row, arm, stage] float32: rates in the entire space, then the expected value where there is one
    """

    mean: Tensor
    std: Tensor
    always: Tensor
    sizes: Tensor

    def __init__(
        self, networks: Sequence[ChainNetwork], schema: FeatureSchema, *, normalise: Normalise = "zscore"
    ) -> None:
        super().__init__()
        self.networks = nn.ModuleList(
            copy.deepcopy(one).cpu().eval().requires_grad_(False) for one in networks
        )
        self.normalise = normalise
        numbers = {
            "mean": torch.tensor([field.mean for field in schema.numeric], dtype=torch.float64),
            "std": torch.tensor([field.std for field in schema.numeric], dtype=torch.float64),
            "always": torch.tensor([not field.has_missing for field in schema.numeric]),
            "sizes": torch.tensor(schema.cardinalities, dtype=torch.int32),
        }
        for name, tensor in numbers.items():
            self.register_buffer(name, tensor)

    def forward(self, numeric: Tensor, categorical: Tensor) -> Tensor:
        if self.normalise == "zscore":
            numeric = ((numeric.double() - self.mean) / self.std).float()
        else:
            numeric = torch.where(torch.isnan(numeric) & self.always, self.mean.float(), numeric)
        known = (categorical >= 0) & (categorical < self.sizes)
        codes = torch.where(known, categorical, OTHER)
        found = []
        for network in cast(list[ChainNetwork], list(self.networks)):
            mu = network.mu(network.all_arms(numeric, codes))
            found.append(mu if network.members > 1 else mu.unsqueeze(2))
        if len(found) == 1 and found[0].shape[2] == 1:
            return found[0].squeeze(2)
        return torch.cat(found, dim=2).double().mean(2).float()


def export_graph(
    graph: ScoringGraph,
    schema: FeatureSchema,
    path: str | os.PathLike[str],
    *,
    format: GraphFormat | None = None,
    overwrite: bool = False,
    about: dict[str, Any],
) -> Path:
    """Write a scoring graph, and ``PATH.json`` with all that is needed to feed it.

    Parameters
    ----------
    graph : ScoringGraph
        The fitted networks and what comes before them.
    schema : FeatureSchema
        How features become its inputs.
    path : path
        The file; its ending (``.pt2``, ``.onnx``) says the format unless `format` does.
    format : {"torch", "onnx"}, optional
        ``torch.export`` archive, or ONNX.
    overwrite : bool
        Replace existing files.
    about : dict
        ``model``, ``fingerprint``, ``arms`` and ``stages`` of the model.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    OutputError
        Unknown format, a file exists (without `overwrite`), or it cannot be written.
    MissingDependencyError
        ONNX is wanted and its libraries are not installed.
    ModelError
        The network cannot be exported, or the written graph differs from it by more than `TOLERANCE`.
    """
    target = Path(path)
    beside = target.with_name(target.name + ".json")
    kind = format or _SUFFIXES.get(target.suffix.lower())
    if kind is None:
        raise OutputError(
            f"the ending of {target.name!r} is no known format; use one of {', '.join(_SUFFIXES)} or give the format."
        )
    if kind not in get_args(GraphFormat):
        raise OutputError(f"unknown graph format {kind!r}; {did_you_mean(kind, get_args(GraphFormat))}")
    if kind == "onnx":
        check_onnx()
    for file in (target, beside):
        if file.exists() and not overwrite:
            raise OutputError(
                f"{file} exists already; pass --overwrite to replace it or choose another name."
            )
    rows = random_rows(schema, max(CHECKED))
    with atomic_path(target) as temporary:
        try:
            scorer = _WRITERS[kind](graph, rows, temporary)
        except (RuntimeError, ValueError, TypeError, NotImplementedError) as error:
            raise ModelError(
                f"model {about['model']!r} cannot be written as a graph for {kind} ({first_line(_cause(error))}); try the other "
                f"format."
            ) from error
        difference = largest_difference(graph, scorer, rows)
        if not difference <= TOLERANCE:
            raise ModelError(
                f"the {kind} graph differs from the network by {difference:.1e} (allowed: {TOLERANCE:.0e}), so it was not "
                f"written to {target}; try the other format, and report this."
            )
    description = describe(schema, kind, about) | {
        "file": target.name,
        "sha256": file_sha256(target),
        "check": {"rows": sum(CHECKED), "largest_difference": difference, "allowed": TOLERANCE},
    }
    write_json(beside, description)
    return target


def describe(schema: FeatureSchema, kind: GraphFormat, about: dict[str, Any]) -> dict[str, Any]:
    """What a service must know to turn raw rows into the graph's inputs, and to read its output."""
    libraries = ("torch", "onnx", "onnxscript") if kind == "onnx" else ("torch",)
    return {
        "format_version": FORMAT_VERSION,
        "format": kind,
        "model": about["model"],
        "fingerprint": about["fingerprint"],
        "versions": versions(libraries),
        "inputs": [
            {
                "name": "numeric",
                "dtype": "float32",
                "axes": ["row", "field"],
                "missing": "NaN",
                "fields": [
                    {"name": field.name, "mean": field.mean, "std": field.std} for field in schema.numeric
                ],
            },
            {
                "name": "categorical",
                "dtype": "int32",
                "axes": ["row", "field"],
                "codes": {"missing": MISSING, "unseen": OTHER, "first_category": FIRST_KNOWN}
                | ({"hashed": _hashing(schema.hash_buckets)} if schema.hash_buckets else {}),
                "fields": [
                    {"name": field.name, "categories": list(field.categories)} for field in schema.categorical
                ],
            },
        ],
        "output": {
            "name": "mu",
            "dtype": "float32",
            "axes": ["row", "arm", "stage"],
            "arms": list(about["arms"]),
            "stages": list(about["stages"]),
        },
    }


def _hashing(buckets: int) -> dict[str, Any]:
    return {
        "buckets": buckets,
        "rule": "an unseen category has the code first_category + number of categories + hash % buckets",
        "hash": "uplift.hashing.unit_hash(category, salt='category:' + field): FNV-1a over UTF-8, splitmix64 finaliser",
    }


def random_rows(schema: FeatureSchema, rows: int) -> tuple[Tensor, Tensor]:
    """Rows like the training data in scale: numbers with a tenth missing, and all codes, one beyond the last included."""
    source = torch.Generator().manual_seed(0)
    shape = (rows, len(schema.numeric))
    z = torch.randn(shape, generator=source, dtype=torch.float64)
    mean = torch.tensor([field.mean for field in schema.numeric], dtype=torch.float64)
    std = torch.tensor([field.std for field in schema.numeric], dtype=torch.float64)
    numeric = (mean + std * z).float()
    numeric[torch.rand(shape, generator=source) < 0.1] = torch.nan
    codes = [torch.randint(size + 1, (rows,), generator=source) for size in schema.cardinalities]
    categorical = torch.stack(codes, 1) if codes else torch.zeros(rows, 0)
    return numeric, categorical.int()


@torch.inference_mode()
def largest_difference(graph: ScoringGraph, scorer: Scorer, rows: tuple[Tensor, Tensor]) -> float:
    """Largest difference between `scorer` and `graph` over the batch sizes of `CHECKED`; NaN differs from everything."""
    worst = 0.0
    for size in CHECKED:
        numeric, categorical = rows[0][:size], rows[1][:size]
        wanted, got = graph(numeric, categorical), scorer(numeric, categorical)
        if got.shape != wanted.shape:
            return float("inf")
        # Rates are at most 1; an expected value is held against the largest one.
        unit = wanted.abs().amax((0, 1)).clamp_min(1.0)
        gap = ((got - wanted).abs() / unit).nan_to_num(nan=float("inf"), posinf=float("inf"))
        worst = max(worst, float(gap.max()))
    return worst


def check_onnx() -> None:
    """Import what ONNX needs.

    Raises
    ------
    MissingDependencyError
        One is not installed, or breaks when imported.
    """
    try:
        for library in ("onnx", "onnxscript", "onnxruntime"):
            importlib.import_module(library)
    except ImportError as error:
        raise MissingDependencyError(
            f"ONNX graphs need onnx, onnxscript and onnxruntime ({first_line(error)}); run pip install 'uplift[onnx]', or "
            f"write a .pt2 file."
        ) from error


def _cause(error: BaseException) -> BaseException:
    """Innermost reason: exporters wrap it in pages about themselves."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _write_torch(graph: ScoringGraph, rows: tuple[Tensor, Tensor], path: Path) -> Scorer:
    with path.open("wb") as file:
        torch.export.save(_traced(graph, rows), file)
    with path.open("rb") as file:
        loaded = torch.export.load(file).module()
    return lambda numeric, categorical: loaded(numeric, categorical)


def _write_onnx(graph: ScoringGraph, rows: tuple[Tensor, Tensor], path: Path) -> Scorer:
    import onnxruntime

    with _quiet("torch.onnx"):
        program = torch.onnx.export(
            _traced(graph, rows),
            dynamo=True,
            opset_version=_OPSET,
            input_names=["numeric", "categorical"],
            output_names=["mu"],
            verbose=False,
        )
        assert program is not None
        program.save(str(path), external_data=False)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [entry.name for entry in session.get_inputs()]

    def run(numeric: Tensor, categorical: Tensor) -> Tensor:
        given = {"numeric": numeric.numpy(), "categorical": categorical.numpy()}
        return torch.from_numpy(session.run(["mu"], {name: given[name] for name in names})[0])

    return run


@contextmanager
def _quiet(logger: str) -> Iterator[None]:
    """Without the exporter's warnings about itself and about libraries that are not needed; errors are raised anyway."""
    log = logging.getLogger(logger)
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(before)


def _traced(graph: ScoringGraph, rows: tuple[Tensor, Tensor]) -> torch.export.ExportedProgram:
    """The graph for any number of rows, one included."""
    row = torch.export.Dim("row", min=1)
    with torch.no_grad():
        return torch.export.export(graph, rows, dynamic_shapes=({0: row}, {0: row}))


_WRITERS: dict[GraphFormat, Callable[[ScoringGraph, tuple[Tensor, Tensor], Path], Scorer]] = {
    "torch": _write_torch,
    "onnx": _write_onnx,
}
