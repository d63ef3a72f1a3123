"""The jinja environment of the package's pages: everything is escaped, and what is not defined is an error."""

from __future__ import annotations

from pathlib import Path

import jinja2

TEMPLATES = Path(__file__).parent / "templates"


def environment() -> jinja2.Environment:
    """Templates of the package."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def source(name: str) -> str:
    """A style sheet or a script, as it goes into a page."""
    return (TEMPLATES / name).read_text(encoding="utf-8")
