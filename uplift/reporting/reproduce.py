"""How to get the same numbers again: the run's record, without secrets and without this machine's folders."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from uplift.reporting.numbers import MISSING, compact

_PASSWORD = re.compile(r"(?P<scheme>[\w.+-]+://[^\s/:@]*):[^\s@]*@")
_FOLDERS = re.compile(r"^(?:file://)?(?:/|~|[A-Za-z]:[\\/]|\\\\)")
_SECRET = re.compile(r"password|passwd|secret|token|api_?key|credential", re.IGNORECASE)
_EMBEDDED = re.compile(r"(?<![\w.:/])(?:/(?:[\w.-]+/)+|[A-Za-z]:\\(?:[\w.-]+\\)+)(?=[\w*.-])")


def public(content: Any, key: str = "") -> Any:
    """The record as it may leave the house: passwords masked, folders cut off, no NaN.

    Examples
    --------
    >>> public({"data": "/home/ann/spring.parquet", "database": "postgresql://ann:secret@host/shop"})
    {'data': '…/spring.parquet', 'database': 'postgresql://ann:•••@host/shop'}
    """
    if isinstance(content, Mapping):
        return {str(k): public(v, str(k)) for k, v in content.items()}
    if isinstance(content, list | tuple):
        return [public(item, key) for item in content]
    if isinstance(content, bool | int) or content is None:
        return content
    if isinstance(content, float):
        return content if content == content and abs(content) != float("inf") else None
    if _SECRET.search(key):
        return "•••"
    text = _PASSWORD.sub(r"\g<scheme>:•••@", str(content))
    if _FOLDERS.match(text):
        return "…/" + re.split(r"[\\/]", text.rstrip("\\/"))[-1]
    return _EMBEDDED.sub("…/", text)


BLOCKS = {"config": "Configuration", "models": "Parameters of the models", "campaign": "Campaign"}
"""Long entries, shown as JSON that opens on demand."""
ELSEWHERE = {"schema_version", "notes", "training"}


def facts(run: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The short entries as name and text, nested names joined by a dot."""
    rows: list[tuple[str, str]] = []
    for name, content in public(run).items():
        if name not in BLOCKS and name not in ELSEWHERE:
            rows += _flat(name.replace("_", " "), content)
    return rows


def blocks(run: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The long entries: heading and indented JSON."""
    return [
        (title, json.dumps(public(run[name]), indent=2, ensure_ascii=False))
        for name, title in BLOCKS.items()
        if run.get(name)
    ]


def _flat(name: str, content: Any) -> list[tuple[str, str]]:
    if isinstance(content, dict):
        return [pair for key, item in content.items() for pair in _flat(f"{name} · {key}", item)]
    if isinstance(content, list):
        return [(name, ", ".join(str(item) for item in content) or MISSING)]
    if isinstance(content, bool):
        return [(name, "yes" if content else "no")]
    if isinstance(content, float):
        return [(name, compact(content))]
    return [(name, MISSING if content is None else str(content))]
