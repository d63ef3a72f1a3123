"""What could the plan be worth if the model is off? The budget curve with its band."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from uplift.allocation import CurveBand
from uplift.reporting.figures.plan import VALUE_COLOUR
from uplift.reporting.theme import GREY, Mark, figure, label


def curve_band_figure(band: CurveBand) -> go.Figure:
    """Value of the plan at every budget with its band, and the promise.

    Parameters
    ----------
    band : CurveBand
        From :meth:`uplift.Allocation.curve_under`. Of intervals, the narrow band of independent errors is drawn inside the
        wide one.

    Returns
    -------
    plotly Figure
    """
    source = (
        f"{band.members} members" if band.source == "members" else "intervals, errors shared by all customers"
    )
    bands = [(band.low, band.high, f"{band.level:.0%} band")]
    if band.independent_low is not None and band.independent_high is not None:
        bands.append((band.independent_low, band.independent_high, "if errors were independent"))
    traces = [
        go.Scatter(
            x=np.concatenate([band.budgets, band.budgets[::-1]]), y=np.concatenate([low, high[::-1]]), fill="toself",
            fillcolor=Mark(VALUE_COLOUR, "solid").fill(), line={"width": 0}, mode="lines", name=name, hoverinfo="skip",
        )
        for low, high, name in bands
    ]  # fmt: skip
    hover = {"hovertemplate": "budget %{x:,.0f}: %{y:,.4~r}", "hoverlabel": {"namelength": -1}}
    traces.append(
        go.Scatter(
            x=band.budgets, y=band.value, mode="lines", name="expected" if band.corrected else "under the model",
            line={"color": VALUE_COLOUR, "width": 2.5}, **hover,
        )
    )  # fmt: skip
    if band.corrected:
        traces.append(
            go.Scatter(
                x=band.budgets, y=band.promised, mode="lines", name="promised",
                line={"color": GREY, "width": 2, "dash": "dash"}, **hover,
            )
        )  # fmt: skip
    return figure(
        traces,
        title="What every budget would bring if the model is off",
        subtitle=f"{label(band.model)}; {source}",
        x={"title": {"text": "budget (money)"}, "nticks": 6, "tickformat": "~s", "rangemode": "tozero"},
        y={"title": {"text": "incremental value (money)"}, "nticks": 6, "tickformat": "~s"},
        height=420,
    )
