"""What mkdocs adds while it builds: notebooks as pages, generated tables, links that lead out of docs/ as plain text."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = ROOT / "notebooks"
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))


def on_files(files: Any, config: Any) -> Any:
    """Every notebook becomes tutorials/NAME.md, with the outputs it holds."""
    from mkdocs.structure.files import File

    for notebook in sorted(NOTEBOOKS.glob("*.ipynb")):
        name = f"tutorials/{notebook.stem}.md"
        files.append(File.generated(config, name, content=notebook_page(notebook)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Fill in generated tables; leave out what only the tests read; unlink files outside docs/."""
    markdown = re.sub(r"<!-- generated: (\w+) -->", lambda found: _GENERATED[found.group(1)](), markdown)
    markdown = re.sub(r"<!-- (hidden|needs).*?-->\n?", "", markdown, flags=re.DOTALL)
    up = "../" * page.file.src_uri.count("/")
    outside = re.escape(up + "../")
    return re.sub(rf"\[([^\]]+)\]\({outside}[^)]*\)", r"\1", markdown)


def notebook_page(file: Path) -> str:
    """A notebook as Markdown: text as it is, code fenced, tables as HTML, figures left to the notebook."""
    parts = []
    for cell in json.loads(file.read_text(encoding="utf-8"))["cells"]:
        text = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(text)
        elif cell["cell_type"] == "code":
            parts.append(f"```python\n{text}\n```")
            parts += [shown for output in cell["outputs"] if (shown := _output(output))]
    parts.append(f"*This page is `notebooks/{file.name}`, with the outputs of its last run.*")
    return "\n\n".join(parts) + "\n"


def _output(output: dict[str, Any]) -> str | None:
    if output["output_type"] == "stream":
        return _text("".join(output["text"])) if output["name"] == "stdout" else None
    data = output.get("data", {})
    if "application/vnd.plotly.v1+json" in data:
        return "*(an interactive figure; run the notebook to see it)*"
    if "text/html" in data:
        html = re.sub(r"<style.*?</style>", "", "".join(data["text/html"]), flags=re.DOTALL)
        return "<div class='md-typeset__scrollwrap'>" + re.sub(r"\n\s*", "", html) + "</div>"
    return _text("".join(data["text/plain"])) if "text/plain" in data else None


def _text(text: str) -> str | None:
    return f"```text\n{text.rstrip()}\n```" if text.strip() else None


def definitions() -> str:
    """The metric definitions, from the package."""
    from uplift.metrics import DEFINITIONS

    parts = []
    for one in DEFINITIONS.values():
        facts = (("formula", one.formula), ("unit", one.unit), ("a random ranking has", one.random), ("an ideal one", one.perfect), ("source", one.source))  # fmt: skip
        listed = "\n".join(f"- *{name}*: {said}" for name, said in facts if said != "-")
        parts.append(f"### `{one.id}`: {one.title}\n\n{listed}")
    return "\n\n".join(parts)


def models() -> str:
    """The table of models, from their cards."""
    from uplift.models.registry import list_models

    lines = ["| name | what |", "|---|---|"]
    lines += [f"| `{card.name}` | {_summary(card)} |" for card in list_models()]
    return "\n".join(lines)


def _summary(card: Any) -> str:
    return str(getattr(card, "summary", getattr(card, "title", ""))).replace("|", "\\|")


def commands() -> str:
    """The table of commands, from the command line itself."""
    from typer.main import get_command

    from uplift.cli import app

    lines = ["| command | what it does |", "|---|---|"]
    for name, command in sorted(get_command(app).commands.items()):  # type: ignore[attr-defined]
        first = (command.help or "").strip().split("\n")[0]
        lines.append(f"| `uplift {name}` | {first} |")
    return "\n".join(lines)


_GENERATED = {"definitions": definitions, "models": models, "commands": commands}
