"""Data inside a page: figures and numbers as JSON that no name in them can break out of."""

from __future__ import annotations

import base64
import html
import json
import math
import re
from typing import Any

import numpy as np
import plotly.graph_objects as go

_DANGEROUS = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"}
LONG = 24
"""Longer arrays are embedded as float32 (plotly's typed-array notation): seven digits in half the bytes."""


def script_json(content: Any) -> str:
    """JSON for a script element: ASCII only, and without the characters that HTML gives a meaning.

    Examples
    --------
    >>> script_json({"name": "</script><b>"})
    '{"name":"\\\\u003c/script\\\\u003e\\\\u003cb\\\\u003e"}'
    """
    text = json.dumps(plain(content), ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return re.sub("[<>&]", lambda match: _DANGEROUS[match[0]], text)


def plain(content: Any) -> Any:
    """Plotly's dicts with numpy arrays as JSON types; numbers that are not finite become null."""
    if isinstance(content, dict):
        return {str(key): plain(item) for key, item in content.items()}
    if isinstance(content, np.ndarray):
        if content.dtype.kind == "f" and content.ndim == 1 and content.size > LONG:
            data = np.ascontiguousarray(content, "<f4").tobytes()
            return {"dtype": "f4", "bdata": base64.b64encode(data).decode("ascii")}
        return plain(content.tolist())
    if isinstance(content, list | tuple):
        return [plain(item) for item in content]
    if isinstance(content, np.generic):
        return plain(content.item())
    if isinstance(content, float):
        return content if math.isfinite(content) else None
    return content


def figure_spec(figure: go.Figure, alt: str) -> dict[str, Any]:
    """A figure for the page: traces and layout without the template (the page has one for light, one for dark).

    The title leaves the drawing and becomes text of the page, where it wraps and is read aloud.
    """
    layout = figure.layout.to_plotly_json()
    layout.pop("template", None)
    title = layout.pop("title", {}) or {}
    layout["margin"] = {"l": 8, "r": 28, "t": 14, "b": 8}
    if layout.get("height"):
        layout["height"] -= 56
    return {
        "title": html.unescape(title.get("text") or ""),
        "subtitle": html.unescape((title.get("subtitle") or {}).get("text") or ""),
        "alt": alt,
        "data": [trace.to_plotly_json() for trace in figure.data],
        "layout": layout,
    }
