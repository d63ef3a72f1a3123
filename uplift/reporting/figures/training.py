"""How was the network trained? Losses and validation Qini per epoch, and the epoch that was kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from uplift.metrics.definitions import HEADLINE
from uplift.reporting.theme import GREY, OKABE_ITO, label, template
from uplift.reporting.training import Epoch, Network, networks

VALIDATION_COLOUR, KEPT_COLOUR, QINI_COLOUR = OKABE_ITO[0], OKABE_ITO[1], OKABE_ITO[2]
MARKED_EPOCHS = 40
"""Longer histories are lines without a dot per epoch."""


@dataclass(frozen=True)
class _Series:
    """A number per epoch: what it is called, how it is drawn, and whether the kept epoch is marked on it."""

    name: str
    attribute: str
    colour: str
    dash: str
    hover: str
    marked: bool = True
    """Also with a dot per epoch, which would blur a dash."""

    def of(self, epoch: Epoch) -> float:
        result: float = getattr(epoch, self.attribute)
        return result


_TRAINING = _Series("training loss", "loss", GREY, "dash", ".5~g", marked=False)
_VALIDATION = _Series("validation loss", "validation_loss", VALIDATION_COLOUR, "solid", ".5~g")
_QINI = _Series("validation Qini", "validation_qini", QINI_COLOUR, "solid", ".3%")


def training_figure(
    history: Sequence[Mapping[str, Any]],
    *,
    name: str,
    criterion: str | None = None,
    stage: str | None = None,
) -> go.Figure:
    """Training and validation loss per epoch, the validation Qini below, and the kept epoch marked.

    Of an ensemble every network is a light line with its kept epoch.

    Parameters
    ----------
    history : sequence of mapping
        ``history_`` of a fitted neural model, or ``run["training"][name]``.
    name : str
        The model.
    criterion : {"qini", "loss", "last"}, optional
        What picked the epoch. With ``"last"`` the validation loss is that of the last stage alone, and the training loss
        gets an axis of its own.
    stage : str, optional
        Stage of the Qini as it shall be called; default "the last stage".

    Returns
    -------
    plotly.graph_objects.Figure

    Raises
    ------
    UpliftError
        It is not a training history.

    Examples
    --------
    >>> entry = {"validation_loss": 0.5, "validation_qini": 0.002, "seconds": 1.0, "rows_per_second": 9e4}
    >>> figure = training_figure(
    ...     [{"epoch": 1, "loss": 0.6, "kept": False, **entry}, {"epoch": 2, "loss": 0.5, "kept": True, **entry}], name="ecup"
    ... )
    >>> [trace.name for trace in figure.data]
    ['training loss', 'validation loss', 'validation Qini', 'kept epoch', 'kept epoch']
    """
    members = networks(history, name=name)
    panels: list[tuple[str, list[_Series]]] = [("loss per row", [_TRAINING, _VALIDATION])]
    if criterion == "last":
        panels = [("training<br>loss per row", [_TRAINING]), ("last stage’s<br>loss per row", [_VALIDATION])]
    panels.append(("Qini<br>(% of customers)", [_QINI]))
    made = make_subplots(
        rows=len(panels),
        cols=1,
        shared_xaxes=True,
        row_heights=[0.56, 0.44] if len(panels) == 2 else None,
        vertical_spacing=0.08,
    )
    for row, (_, series) in enumerate(panels, start=1):
        for one in series:
            for member in members:
                made.add_trace(_line(member, one, members), row=row, col=1)
    for row, (_, series) in enumerate(panels, start=1):
        for one in series:
            if one.marked:
                made.add_trace(_kept(members, one, first=one is _VALIDATION), row=row, col=1)
    if len(members) == 1:
        made.add_vline(
            x=members[0].kept.number, line={"color": GREY, "width": 1, "dash": "dot"}, layer="below"
        )
    many = f" of {len(members)} networks" if len(members) > 1 else ""
    shown = label(stage) if stage else "the last stage"
    made.update_layout(
        template=template(),
        title={
            "text": f"Training of {label(name)}",
            "subtitle": {
                "text": f"losses{many}, and Qini at {shown}, mean over arms · definition: {HEADLINE}"
            },
        },
        height=500 if len(panels) == 2 else 600,
        margin={"l": 8, "r": 28, "t": 72, "b": 8},
    )
    last = max(member.epochs[-1].number for member in members)
    made.update_xaxes(range=[0.5, last + 0.5], dtick=_step(last), tick0=0, showgrid=False)
    made.update_xaxes(title={"text": "epoch"}, row=len(panels), col=1)
    for row, (title, _) in enumerate(panels, start=1):
        made.update_yaxes(title={"text": title}, nticks=5, row=row, col=1)
    # Zero is a ranking no better than chance.
    made.update_yaxes(tickformat="~%", rangemode="tozero", row=len(panels), col=1)
    return made


def _line(member: Network, series: _Series, members: Sequence[Network]) -> go.Scatter:
    single = len(members) == 1
    dots = len(member.epochs) == 1 or (single and series.marked and len(member.epochs) <= MARKED_EPOCHS)
    said = series.name if single else f"{series.name}, network {member.number}"
    return go.Scatter(
        x=[epoch.number for epoch in member.epochs],
        y=[series.of(epoch) for epoch in member.epochs],
        mode="lines+markers" if dots else "lines",
        name=series.name,
        legendgroup=series.name,
        showlegend=member is members[0],
        line={"color": series.colour, "width": 2.5 if single else 1.5, "dash": series.dash},
        marker={"color": series.colour, "size": 5},
        opacity=1.0 if single else 0.75,
        hovertemplate=f"epoch %{{x}}: %{{y:{series.hover}}}<extra>{said}</extra>",
    )


def _kept(members: Sequence[Network], series: _Series, *, first: bool) -> go.Scatter:
    return go.Scatter(
        x=[member.kept.number for member in members],
        y=[series.of(member.kept) for member in members],
        mode="markers",
        name="kept epoch",
        legendgroup="kept epoch",
        showlegend=first,
        marker={
            "color": KEPT_COLOUR,
            "size": 12 if len(members) == 1 else 9,
            "symbol": "diamond",
            "line": {"width": 1.5, "color": "#fff"},
        },
        hovertemplate=f"epoch %{{x}}: %{{y:{series.hover}}}<extra>kept, {series.name}</extra>",
    )


def _step(last: int) -> int:
    """Distance of the ticks, whole epochs, so that there are at most twelve."""
    return int(
        next(step * 10**power for power in range(9) for step in (1, 2, 5) if last <= 12 * step * 10**power)
    )
