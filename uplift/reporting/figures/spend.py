"""What does the money buy? Value against spend of every model's plans and of simple rules, on randomised customers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from uplift.metrics.cost_curve import CostCurve
from uplift.reporting.names import Names
from uplift.reporting.theme import GREY, figure, label, labels, model_marks

EVERYONE = ("x", "cross", "triangle-up", "square", "star", "hexagon")
"""Marks of the rules that give one arm to everybody; grey, because colours are those of models."""


def spend_figure(
    curves: Sequence[CostCurve],
    *,
    customers: int = 1,
    budget: float | None = None,
    rule: str = "",
    names: Names | None = None,
) -> go.Figure:
    """Value against spend, both measured on test rows, of the plans of several models and of simple rules.

    Parameters
    ----------
    curves : sequence of CostCurve
        From :func:`uplift.cost_curve`, on the same rows; the first has its band drawn, and its chord, which spends the
        same money on random customers.
    customers : int
        Customers that spend and value are summed over; 1: per customer.
    budget : float, optional
        Spend at which a line stands.
    rule : str
        What a curve named ``"response"`` is called.
    names : Names, optional
        Display names of arms, stages and features.

    Returns
    -------
    plotly.graph_objects.Figure

    Examples
    --------
    >>> import uplift
    >>> world = uplift.simulate(rows=5_000, arms=1, chain=("click", "conversion"), seed=0)
    >>> curve = uplift.cost_curve(world.campaign(), world.effects, margin=40.0)
    >>> [trace.name for trace in spend_figure([curve]).data][1:]
    ['random customers', 'truth', 'everyone coupon_5']
    """
    shown, first = names or Names(), curves[0]
    marks = model_marks([curve.model for curve in curves], [c.model for c in curves if c.model == "response"])
    titles = labels([rule if curve.model == "response" and rule else curve.model for curve in curves])
    scale = float(customers)
    mark = marks[first.model]
    x = np.concatenate([first.spend, first.spend[::-1]]) * scale
    y = np.concatenate([first.gain_low, first.gain_high[::-1]]) * scale
    traces: list[go.Scatter] = [
        go.Scatter(
            x=x, y=y, fill="toself", fillcolor=mark.fill(), line={"width": 0}, name=f"{titles[0]}, interval",
            mode="lines", hoverinfo="skip", showlegend=False,
        ),
        go.Scatter(
            x=[first.spend[0] * scale, first.spend[-1] * scale], y=[first.gain[0] * scale, first.gain[-1] * scale],
            mode="lines", name="random customers", line={"color": GREY, "dash": "dash", "width": 1.5}, hoverinfo="skip",
        ),
    ]  # fmt: skip
    for curve, title in zip(curves, titles, strict=True):
        mark = marks[curve.model]
        traces.append(
            go.Scatter(
                x=curve.spend * scale, y=curve.gain * scale, mode="lines", name=title,
                line={"color": mark.colour, "dash": mark.dash, "width": 2.5},
                hovertemplate="spend %{x:,.4~r}: %{y:,.4~r}", hoverlabel={"namelength": -1},
            )
        )  # fmt: skip
    for at, (arm, (spend, gain)) in enumerate(first.everyone.items()):
        traces.append(
            go.Scatter(
                x=[spend.value * scale], y=[gain.value * scale], mode="markers",
                name=f"everyone {label(shown.arm(arm))}",
                marker={"color": GREY, "size": 11, "symbol": EVERYONE[at % len(EVERYONE)]},
                error_y={
                    "type": "data", "symmetric": False, "array": [(gain.high - gain.value) * scale],
                    "arrayminus": [(gain.value - gain.low) * scale], "color": GREY, "thickness": 1.5,
                },
                hovertemplate="spend %{x:,.4~r}: %{y:,.4~r}", hoverlabel={"namelength": -1},
            )
        )  # fmt: skip
    made = figure(
        traces,
        title="What the money buys, by plan and by rule",
        subtitle=f"{label(shown.stage(first.stage))}, measured on test rows · definition: cost_curve; band {first.confidence:.0%}",
        x={"title": {"text": "spend (money)"}, "nticks": 6, "tickformat": "~s", "rangemode": "tozero"},
        y={"title": {"text": "incremental value (money)"}, "nticks": 6, "tickformat": "~s"},
        height=460,
    )
    if budget is not None:
        made.add_vline(x=budget, line={"color": GREY, "width": 1, "dash": "dot"})
    return made
