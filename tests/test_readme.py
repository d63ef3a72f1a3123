"""The README tells the truth: its Python runs as printed, its files and commands exist."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

import uplift

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def _shape(text: str) -> list[str]:
    """Lines with every number masked: digits far from the point are another processor's business."""
    return [re.sub(r"[-+]?\d[\d.,]*(?:e-?\d+)?", "0", line).strip() for line in text.splitlines()]


def test_the_python_example_runs_and_prints_what_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (block,) = _blocks("python")
    assert len(block.strip().splitlines()) <= 12
    exec(compile(block, "README.md", "exec"), {})
    printed = _shape(capsys.readouterr().out)
    (shown,) = _blocks("text")
    assert [line for line in _shape(shown) if line not in (*printed, "...")] == []
    assert (tmp_path / "reports/readme/report.html").stat().st_size > 100_000
    assert (
        (tmp_path / "reports/readme/plan.csv")
        .read_text()
        .startswith('"customer_id","decision_id","revision"')
    )


def test_the_campaign_example_is_valid() -> None:
    from uplift.campaign_file import CampaignFile

    (block,) = _blocks("toml")
    assert CampaignFile.parse(block).decide is not None
    assert "strata" in tomllib.loads(block)["campaign"]


def test_links_and_commands_exist() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
    makefile = (ROOT / "Makefile").read_text()
    for command in re.findall(r"make (\w+)", README):
        assert f"\n{command}:" in makefile, command
    from typer.main import get_command

    from uplift.cli import app

    known = set(get_command(app).commands)
    used = set(re.findall(r"^uplift ([\w-]+)", README, re.MULTILINE)) | {"data", "models"}
    assert used <= known


def test_every_public_name_is_there_and_documented() -> None:
    for name in uplift.__all__:
        thing = getattr(uplift, name)
        assert thing is not None
        if not isinstance(thing, str):
            assert thing.__doc__, name


def test_models_in_the_readme_are_the_models() -> None:
    from uplift.models.registry import MODEL_NAMES

    section = README[README.index("## Models") : README.index("## The rooms")]
    for name in MODEL_NAMES:
        assert f"`{name}`" in section
