"""The documentation tells the truth: every code block runs, in order, page by page; every public name is documented."""

from __future__ import annotations

import importlib.util
import inspect
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

import uplift
from uplift.campaign_file import CampaignFile
from uplift.cli import app

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md"))
LANGUAGES = {"python", "toml", "sh", "text"}
"""``text`` is what something prints, or a formula; everything else is executed."""


@dataclass(frozen=True)
class Block:
    """A fenced block, or a comment that only the tests read (``hidden`` code, or what the next block ``needs``)."""

    language: str
    text: str


def blocks(page: str) -> Iterator[Block]:
    """Blocks of a page, from top to bottom."""
    text = (DOCS / page).read_text(encoding="utf-8")
    for found in re.finditer(
        r"<!-- (hidden|needs)(.*?)-->|^```(.*?)\n(.*?)^```", text, re.DOTALL | re.MULTILINE
    ):
        comment, said, language, code = found.groups()
        yield Block(comment, said.strip()) if comment else Block(language.strip(), code)


SLOW = {"coming-from.md"}
"""Pages that load other libraries, which takes longer than their code."""
WITH_CODE = [
    pytest.param(page, marks=[pytest.mark.slow] if page in SLOW else [])
    for page in PAGES
    if any(True for _ in blocks(page))
]


@pytest.mark.parametrize("page", WITH_CODE)
def test_every_code_block_of_the_page_runs(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    space: dict[str, object] = {}
    options_only, skip = False, ""
    for block in blocks(page):
        assert block.language in LANGUAGES | {"hidden", "needs"}, f"{page}: a block is {block.language!r}"
        if block.language == "needs":
            gone = [
                name
                for name in block.text.removeprefix(":").split()
                if importlib.util.find_spec(name) is None
            ]
            skip = gone[0] if gone else ""
        elif block.language == "hidden" and block.text.startswith(":"):
            options_only = True
        elif block.language == "hidden":
            exec(compile("import pathlib\n" + block.text, page, "exec"), space)
        elif block.language == "python" and not skip:
            exec(compile(block.text, page, "exec"), space)
        elif block.language == "toml":
            assert tomllib.loads(block.text)
            CampaignFile.parse(block.text, folder=tmp_path)
        elif block.language == "sh":
            for line in block.text.strip().splitlines():
                _command(line, run=not options_only)
            options_only = False
        if block.language == "python":
            skip = ""


def _command(line: str, *, run: bool) -> None:
    words = shlex.split(line)
    if words[0] == "pip":
        assert words[1:] == ["install", "."]
        return
    assert words[0] == "uplift", line
    if run:
        result = CliRunner().invoke(app, words[1:])
        assert result.exit_code == 0, f"{line}\n{result.output}\n{result.exception}"
        return
    command = get_command(app).commands[words[1]]  # type: ignore[attr-defined]
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words[2:] if word.startswith("-")} <= known, line


def test_commands_and_names_in_running_text_exist() -> None:
    commands = get_command(app).commands  # type: ignore[attr-defined]
    for page in PAGES:
        text = (DOCS / page).read_text(encoding="utf-8")
        for name in re.findall(r"`uplift ([a-z][a-z-]*)", text):
            assert name in commands, f"{page}: uplift {name}"
        for name in re.findall(r'make_model\("(\w+)"', text):
            assert name in uplift.models.registry.MODEL_NAMES, f"{page}: {name}"  # type: ignore[attr-defined]
        for target in re.findall(r"\]\(([^)#:]+\.(?:md|svg|png))(?:#[^)]*)?\)", text):
            file = (DOCS / page).parent / target
            notebook = ROOT / "notebooks" / f"{Path(target).stem}.ipynb"
            assert file.exists() or ("tutorials" in target and notebook.exists()), f"{page}: {target}"


def test_names_of_other_libraries_in_the_comparison_exist() -> None:
    for module, names in {
        "sklift.models": ("SoloModel", "TwoModels", "ClassTransformation"),
        "sklift.metrics": ("qini_auc_score", "uplift_auc_score", "uplift_at_k"),
        "causalml.inference.meta": ("BaseSRegressor", "BaseTRegressor", "BaseXRegressor", "BaseRRegressor", "BaseDRRegressor"),
        "causalml.metrics": ("auuc_score", "get_cumgain", "plot_gain"),
        "econml.metalearners": ("TLearner", "SLearner", "XLearner"),
        "econml.dr": ("DRLearner",),
        "econml.dml": ("NonParamDML",),
        "econml.validate": ("DRTester",),
    }.items():  # fmt: skip
        there = pytest.importorskip(module)
        for name in names:
            assert hasattr(there, name), f"{module}.{name}"


# ---------------------------------------------------------------- every public name


def _documented() -> list[str]:
    """What the reference pages show."""
    found = []
    for page in sorted((DOCS / "reference").glob("*.md")):
        found += re.findall(r"^::: ([\w.]+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return found


def _resolve(name: str) -> object:
    parent, _, last = name.rpartition(".")
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        return getattr(_resolve(parent), last)


def _public() -> list[tuple[str, object]]:
    """Every function and class of the reference, those of its modules included."""
    found: dict[str, object] = {}
    for name in _documented():
        thing = _resolve(name)
        if inspect.ismodule(thing):
            for part, one in vars(thing).items():
                here = getattr(one, "__module__", None) == thing.__name__
                if not part.startswith("_") and here and (inspect.isclass(one) or inspect.isfunction(one)):
                    found[f"{name}.{part}"] = one
        else:
            found[name] = thing
    return list(found.items())


PUBLIC = _public()


def test_the_reference_shows_every_public_name() -> None:
    shown = {id(thing) for _, thing in PUBLIC}
    for name in uplift.__all__:
        if name != "__version__":
            assert id(getattr(uplift, name)) in shown, name
    for room in (
        "checks",
        "metrics",
        "measurement",
        "allocation",
        "simulation",
        "datasets",
        "tuning",
        "reporting",
        "export",
        "policy",
        "insight",
        "inspection",
    ):
        module = importlib.import_module(f"uplift.{room}")
        for name in module.__all__:
            thing = getattr(module, name)
            if inspect.isclass(thing) or inspect.isfunction(thing):
                assert id(thing) in shown, f"uplift.{room}.{name} is not in docs/reference/"


@pytest.mark.parametrize(("name", "thing"), PUBLIC, ids=[name for name, _ in PUBLIC])
def test_docstrings_have_a_summary_and_name_every_parameter(name: str, thing: object) -> None:
    text = inspect.getdoc(thing) or ""
    summary = text.split("\n\n")[0]
    assert len(summary) > 10, f"{name} has no summary"
    assert summary.rstrip()[-1] in ".:?)", f"{name}: the summary is no sentence: {summary!r}"
    if isinstance(thing, type) and (issubclass(thing, Exception) or name.split(".")[-1] in NOT_CALLED):
        return
    if isinstance(thing, type):  # options that all networks share are described at their base
        text = "\n".join(
            inspect.getdoc(base) or "" for base in thing.__mro__ if base.__module__.startswith("uplift")
        )
    missing = [
        p
        for p in _parameters(thing)
        if not re.search(rf"(^|[\s,`*]){re.escape(p)}($|[\s,`:])", text, re.MULTILINE)
    ]
    assert not missing, f"{name} says nothing about {', '.join(missing)}"


def _parameters(thing: object) -> list[str]:
    try:
        signature = inspect.signature(thing)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return []
    kinds = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    return [
        p.name
        for p in signature.parameters.values()
        if p.kind not in kinds and not p.name.startswith("_") and p.name != "self"
    ]


NOT_CALLED = {
    # Results and records: made by the package, never by a user. Their attributes are documented, not their parameters.
    "CampaignShape", "CheckReport", "CheckResult", "Evaluation", "Curve", "PolicyValue", "Definition", "Power", "Allocation",
    "Certificate", "BudgetCurve", "Simulation", "Settings", "Finding", "DatasetCard", "TuningResult", "Trial", "TrainingPart",
    "RunResult", "ModelCard", "CampaignFile", "Comparison", "Estimate", "Inspection", "Proposal", "Guess", "UpliftModel", "guess_roles",
    "FilePlan", "Limit", "CostCurve", "Recalibration", "StreamedEvaluation", "Versus", "Check", "Verification", "Insight",
    "Measurement", "MeasuredArm", "MeasuredMoney",
}  # fmt: skip
HEADINGS = re.compile(r"^(Parameters|Attributes|Returns|Yields|Raises|Examples)\n-+$", re.MULTILINE)


def _headings(thing: object) -> set[str]:
    return set(HEADINGS.findall(inspect.getdoc(thing) or ""))


@pytest.mark.parametrize(("name", "thing"), PUBLIC, ids=[name for name, _ in PUBLIC])
def test_every_public_name_has_parameters_or_attributes_what_it_returns_and_an_example(
    name: str, thing: object
) -> None:
    if isinstance(thing, type) and issubclass(thing, BaseException):
        return
    found = _headings(thing)
    if isinstance(thing, type):
        assert found & {"Parameters", "Attributes"}, f"{name} describes neither parameters nor attributes"
    else:
        if _parameters(thing):
            assert "Parameters" in found, f"{name} has no parameters section"
        if inspect.signature(thing).return_annotation not in (None, "None"):  # type: ignore[arg-type]
            assert found & {"Returns", "Yields"}, f"{name} does not say what it returns"
        if _raises(thing):
            assert "Raises" in found, f"{name} does not say which errors it raises"
    if not name.endswith("_figure"):  # figures: shown in the tutorials and by their methods
        assert "Examples" in found, f"{name} has no example"
        assert ">>>" in (inspect.getdoc(thing) or ""), f"{name} has no example"


def _raises(thing: object) -> bool:
    """Whether the function itself raises an error of ours."""
    return bool(re.search(r"^\s+raise \w*Error\(", inspect.getsource(thing), re.MULTILINE))  # type: ignore[arg-type]


def _methods(thing: type) -> Iterator[tuple[str, object, bool]]:
    for part, member in vars(thing).items():
        one = getattr(member, "__func__", getattr(member, "func", member))
        if part.startswith("_") or not (inspect.isfunction(one) or isinstance(member, property)):
            continue
        yield part, one, inspect.isfunction(one) and not hasattr(member, "func")


def test_public_methods_have_a_docstring_that_names_every_parameter() -> None:
    silent = []
    for name, thing in PUBLIC:
        for part, member, called in _methods(thing) if isinstance(thing, type) else ():
            text = inspect.getdoc(getattr(thing, part)) or ""
            if not text:
                silent.append(f"{name}.{part}: nothing")
            missing = [
                p
                for p in (_parameters(member) if called else [])
                if p != "cls" and not re.search(rf"(^|[\s,`*]){re.escape(p)}($|[\s,`:])", text, re.MULTILINE)
            ]
            if missing:
                silent.append(f"{name}.{part}: {', '.join(missing)}")
    assert not silent


# ---------------------------------------------------------------- the site

needs_mkdocs = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("mkdocs", "material", "mkdocstrings")),
    reason="mkdocs is not installed: pip install '.[docs]'",
)


@needs_mkdocs
@pytest.mark.slow
def test_the_site_builds_without_a_warning_and_asks_nothing_of_the_network(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "mkdocs",
        "build",
        "--strict",
        "--quiet",
        "--site-dir",
        str(tmp_path / "site"),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    pages = list((tmp_path / "site").rglob("*.html"))
    assert len(pages) > 30
    for page in pages:
        loaded = re.findall(
            r"<(?:script|img|iframe)[^>]*\ssrc=[\"']?([^\"' >]+)|<link[^>]*\shref=[\"']?([^\"' >]+)",
            page.read_text(encoding="utf-8"),
        )
        for source in (a or b for a, b in loaded):
            assert not re.match(r"(https?:)?//", source), f"{page.name} loads {source}"


@needs_mkdocs
@pytest.mark.slow
@pytest.mark.browser
def test_pages_load_nothing_from_elsewhere_in_a_browser(tmp_path: Path) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        pytest.skip("no Chromium on this machine")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=600)
    asked: list[str] = []
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page()
        page.on("request", lambda request: asked.append(request.url))
        for name in ("index", "explanation/ecup", "reference/evaluation", "tutorials/sound_experiment"):
            page.goto((tmp_path / f"{name}.html").as_uri())
            page.wait_for_timeout(500)
        browser.close()
    assert asked
    assert not [address for address in asked if not address.startswith(("file:", "data:", "blob:"))]


def test_every_notebook_is_in_the_navigation_and_a_story() -> None:
    import json

    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    listed = (ROOT / "notebooks/README.md").read_text(encoding="utf-8")
    for notebook in sorted((ROOT / "notebooks").glob("*.ipynb")):
        assert f"tutorials/{notebook.stem}.md" in navigation, notebook.name
        assert f"`{notebook.name}`" in listed, notebook.name
        assert notebook.stat().st_size < 120_000, f"{notebook.name}: outputs are not light"
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
        told = "".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
        if notebook.stem != "quickstart":
            assert "The question" in told, notebook.name
            assert "ecision" in told, notebook.name
        for cell in cells:
            if cell["cell_type"] == "code":
                assert cell["outputs"] is not None
                assert not any(output["output_type"] == "error" for output in cell["outputs"]), notebook.name
