"""One look for every figure: colours that colour-blind people can tell apart, one per model, light and dark."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go

OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe and Ito (2008), Color Universal Design; their yellow and black vanish on a white or a dark page."""
DASHES = ("solid", "dash", "dashdot", "longdash")
"""A second cue: when the colours run out, the next models take them again with another dash."""
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "x", "star")
GREY = "#858C94"
"""References and guides; at least 3:1 against both pages."""
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', 'Liberation Sans', Arial, sans-serif"
LABEL_LENGTH = 26
"""Longer names are shortened in figures; tables show them in full."""


@dataclass(frozen=True)
class Mark:
    """How one model (or arm) is drawn everywhere."""

    colour: str
    dash: str = "solid"
    symbol: str = "circle"

    def fill(self, opacity: float = 0.16) -> str:
        """The colour as a translucent band."""
        red, green, blue = (int(self.colour[at : at + 2], 16) for at in (1, 3, 5))
        return f"rgba({red},{green},{blue},{opacity})"


def model_marks(models: Iterable[str], references: Iterable[str] = ()) -> dict[str, Mark]:
    """One mark per model, by its position; references are grey and dotted.

    Parameters
    ----------
    models : iterable of str
        All models of an evaluation, in its order: give all of them to get the same colours in every figure.
    references : iterable of str
        Those that only rank (:attr:`Evaluation.uncalibrated`).

    Examples
    --------
    >>> marks = model_marks(["ecup", "random"], references=["random"])
    >>> marks["ecup"].colour, marks["random"].dash
    ('#0072B2', 'dot')
    """
    grey = set(references)
    marks: dict[str, Mark] = {}
    coloured = drawn_grey = 0
    for model in models:
        if model in grey:
            marks[model] = Mark(GREY, ("dot", "dashdot")[drawn_grey % 2], SYMBOLS[drawn_grey % 2 + 4])
            drawn_grey += 1
        else:
            around, place = divmod(coloured, len(OKABE_ITO))
            marks[model] = Mark(OKABE_ITO[place], DASHES[around % len(DASHES)], SYMBOLS[place])
            coloured += 1
    return marks


def arm_marks(arms: Iterable[str]) -> dict[str, Mark]:
    """One mark per arm, control (the first) grey."""
    names = list(arms)
    marks = model_marks(names[1:])
    return {names[0]: Mark(GREY, "dot"), **marks} if names else {}


def label(name: str, *, length: int = LABEL_LENGTH) -> str:
    """A name as figure text: shortened in the middle, and escaped, because plotly reads tags in its labels.

    Examples
    --------
    >>> label("<b>bold</b>")
    '&lt;b&gt;bold&lt;/b&gt;'
    >>> label("x" * 50, length=9)
    'xxxx…xxxx'
    """
    text = " ".join(str(name).split()) or "(empty)"
    if len(text) > length:
        head = length // 2
        text = f"{text[:head]}…{text[len(text) - (length - head - 1) :]}"
    # The dollar sign would start a formula where MathJax is loaded, as in notebooks; quotes need no escape.
    return html.escape(text, quote=False).replace("$", "&#36;")


def labels(names: Iterable[str], *, length: int = LABEL_LENGTH) -> list[str]:
    """:func:`label` for several names, numbered where shortening made two of them equal."""
    short = [label(name, length=length) for name in names]
    seen: dict[str, int] = {}
    result = []
    for text in short:
        seen[text] = seen.get(text, 0) + 1
        result.append(text if short.count(text) == 1 else f"{text} ({seen[text]})")
    return result


def error_bars(
    value: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    *,
    colour: str,
    thickness: float = 2,
    width: float = 4,
) -> dict[str, Any]:
    """Intervals as plotly error bars, float [point]; every end must be finite (see :func:`with_interval`)."""
    return {
        "type": "data", "symmetric": False, "array": high - value, "arrayminus": value - low,
        "thickness": thickness, "width": width, "color": colour,
    }  # fmt: skip


def with_interval(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Which points have an interval, bool [point]. The others are drawn hollow: plotly would give them one of 0."""
    result: np.ndarray = np.isfinite(low) & np.isfinite(high)
    return result


def template(*, dark: bool = False) -> go.layout.Template:
    """The plotly template: clear paper, light grid, no box; text colours for a light or a dark page."""
    ink, faint, grid, hover = (
        ("#E6E8EB", "#A9B0B8", "#343A42", "#20252B") if dark else ("#1F2933", "#56606B", "#E3E7EB", "#FFFFFF")
    )
    axis = {
        "gridcolor": grid, "zerolinecolor": GREY, "zerolinewidth": 1, "linecolor": grid, "ticks": "",
        "title": {"font": {"size": 13, "color": faint}, "standoff": 10}, "tickfont": {"color": faint, "size": 12},
        "automargin": True,
    }  # fmt: skip
    return go.layout.Template(
        layout={
            "font": {"family": FONT, "size": 13, "color": ink},
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "colorway": list(OKABE_ITO),
            "xaxis": axis,
            "yaxis": axis,
            "hoverlabel": {"bgcolor": hover, "bordercolor": GREY, "font": {"color": ink, "family": FONT}},
            "hovermode": "closest",
            "legend": {
                "orientation": "h", "xref": "container", "x": 0.5, "xanchor": "center",
                "yref": "container", "y": 0, "yanchor": "bottom", "font": {"size": 12}, "itemsizing": "constant",
            },
            "title": {"x": 0, "xref": "paper", "xanchor": "left", "font": {"size": 16}, "subtitle": {"font": {"color": faint, "size": 12}}},
            "bargap": 0.35,
        }
    )  # fmt: skip


def figure(
    traces: Iterable[go.Scatter | go.Bar],
    *,
    title: str,
    subtitle: str,
    x: Mapping[str, Any],
    y: Mapping[str, Any],
    height: int = 420,
    **layout: Any,
) -> go.Figure:
    """A figure in the project's template.

    Parameters
    ----------
    title, subtitle : str
        Already escaped with :func:`label`; the subtitle carries the metric's definition id.
    x, y : mapping
        Axis settings; ``title`` with its unit.
    height : int
        Pixels; the width follows the page.
    """
    made = go.Figure(list(traces))
    made.update_layout(
        template=template(),
        title={"text": title, "subtitle": {"text": subtitle}},
        xaxis=dict(x),
        yaxis=dict(y),
        height=height,
        margin={"l": 8, "r": 28, "t": 72, "b": 8},
        **layout,
    )
    return made
