"""Who gets what? The budget curve and the customers and money per arm."""

from __future__ import annotations

import math

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from uplift.allocation import Allocation
from uplift.reporting.names import Names
from uplift.reporting.theme import GREY, OKABE_ITO, arm_marks, label, labels, template

VALUE_COLOUR, ROI_COLOUR, CHOSEN_COLOUR = OKABE_ITO[0], OKABE_ITO[2], OKABE_ITO[1]


def budget_figure(plan: Allocation, *, budget: float | None = None) -> go.Figure:
    """Expected value and spend against the budget, and below it the value of the last unit of money.

    Parameters
    ----------
    plan : Allocation
        From :func:`uplift.allocate`.
    budget : float, optional
        Where the two marks stand; default the plan's own budget, or the largest useful one when it has no limit.

    Returns
    -------
    plotly.graph_objects.Figure
    """
    curve = plan.curve
    chosen = plan.certificate.budget if budget is None else budget
    chosen = min(chosen, float(curve.budgets[-1])) if math.isfinite(chosen) else float(curve.budgets[-1])
    made = make_subplots(rows=2, cols=1, shared_xaxes=True, row_heights=[0.64, 0.36], vertical_spacing=0.09)
    hover = {"hoverlabel": {"namelength": -1}}
    made.add_trace(
        go.Scatter(
            x=curve.budgets, y=curve.values, mode="lines", name="expected value",
            line={"color": VALUE_COLOUR, "width": 2.5}, hovertemplate="budget %{x:,.0f}: %{y:,.0f}", **hover,
        ), row=1, col=1,
    )  # fmt: skip
    made.add_trace(
        go.Scatter(
            x=curve.budgets, y=curve.spends, mode="lines", name="spend",
            line={"color": GREY, "width": 2, "dash": "dash"}, hovertemplate="budget %{x:,.0f}: %{y:,.0f}", **hover,
        ), row=1, col=1,
    )  # fmt: skip
    # The return at a point is that of the steps that end there: a vertical-first step draws it leftwards.
    roi = np.where(curve.marginal_roi > 0, curve.marginal_roi, np.nan)
    made.add_trace(
        go.Scatter(
            x=curve.budgets, y=roi, mode="lines", name="value of the last unit of money",
            line={"color": ROI_COLOUR, "width": 2.5, "shape": "vh"}, hovertemplate="budget %{x:,.0f}: %{y:.3~r}", **hover,
        ), row=2, col=1,
    )  # fmt: skip
    spots = (float(curve.value_at(chosen)), marginal_return(plan, chosen))
    for row, spot in enumerate(spots, start=1):
        made.add_trace(
            go.Scatter(
                x=[chosen], y=[spot if spot > 0 or row == 1 else None], mode="markers", name="chosen budget",
                marker={"color": CHOSEN_COLOUR, "size": 12, "symbol": "diamond", "line": {"width": 1.5, "color": "#fff"}},
                meta="chosen", legendgroup="chosen", showlegend=row == 1, hovertemplate="budget %{x:,.0f}: %{y:,.4~r}", **hover,
            ), row=row, col=1,
        )  # fmt: skip
    made.add_hline(y=1, line={"color": GREY, "width": 1, "dash": "dot"}, row=2, col=1)
    made.update_layout(
        template=template(),
        title={"text": "What every budget would bring", "subtitle": {"text": f"expected by {label(plan.model)}; relaxed budget curve"}},
        height=540,
        margin={"l": 8, "r": 28, "t": 72, "b": 8},
    )  # fmt: skip
    made.update_xaxes(nticks=6, tickformat="~s")
    made.update_xaxes(title={"text": "budget (money)"}, row=2, col=1)
    made.update_yaxes(title={"text": "money"}, nticks=6, tickformat="~s", rangemode="tozero", row=1, col=1)
    made.update_yaxes(title={"text": "value per money"}, row=2, col=1, **_roi_axis(roi))
    return made


def allocation_figure(plan: Allocation, *, names: Names | None = None) -> go.Figure:
    """Customers and expected spend per arm, control included.

    Parameters
    ----------
    plan : Allocation
        From :func:`uplift.allocate`.
    names : Names, optional
        Display names of arms, stages and features.

    Returns
    -------
    plotly.graph_objects.Figure
    """
    marks = arm_marks(plan.arms)
    texts = labels((names or Names()).all_arms(plan.arms))
    customers, spend = arm_totals(plan)
    place = np.arange(len(plan.arms))[::-1]
    colours = [marks[arm].colour for arm in plan.arms]
    made = make_subplots(rows=1, cols=2, shared_yaxes=True, horizontal_spacing=0.08)
    for col, (amounts, what) in enumerate(((customers, "customers"), (spend, "spend")), start=1):
        made.add_trace(
            go.Bar(
                x=amounts, y=place, orientation="h", name=what, marker={"color": colours},
                hovertemplate="%{x:,.0f}", showlegend=False,
            ), row=1, col=col,
        )  # fmt: skip
    made.update_layout(
        template=template(),
        title={"text": "Customers and spend per arm", "subtitle": {"text": "as planned; spend is expected"}},
        height=max(230, 130 + 36 * len(plan.arms)),
        margin={"l": 8, "r": 28, "t": 72, "b": 8},
    )
    made.update_yaxes(tickmode="array", tickvals=place, ticktext=texts, showgrid=False, zeroline=False)
    made.update_xaxes(tickformat="~s", nticks=4)
    made.update_xaxes(title={"text": "customers"}, row=1, col=1)
    made.update_xaxes(title={"text": "spend (money)"}, row=1, col=2)
    return made


def arm_totals(plan: Allocation) -> tuple[np.ndarray, np.ndarray]:
    """Customers and expected spend of every arm, int64 and float64 [arm]."""
    size = len(plan.arms)
    return (
        np.bincount(plan.arm_codes, minlength=size),
        np.bincount(plan.arm_codes, plan.expected_cost, minlength=size),
    )


def marginal_return(plan: Allocation, budget: float) -> float:
    """Value of the last unit of money at a budget, by the plan's budget curve."""
    curve = plan.curve
    at = int(np.searchsorted(curve.budgets, budget, side="left"))
    return float(curve.marginal_roi[min(at, len(curve.budgets) - 1)])


def _roi_axis(roi: np.ndarray) -> dict[str, object]:
    """A log axis over what matters: the first steps may cost almost nothing and return thousands."""
    known = roi[np.isfinite(roi)]
    if not known.size:
        return {"nticks": 4}
    high = float(np.quantile(known, 0.95))
    low = max(float(known.min()), high / 100)
    span = [math.log10(min(low, 1.0) * 0.8), math.log10(max(high, 1.0) * 1.6)]
    ticks = [base * 10.0**power for power in range(-6, 9) for base in (1, 2, 5)]
    inside = [tick for tick in ticks if span[0] <= math.log10(tick) <= span[1]]
    shown = inside if len(inside) <= 6 else [t for t in inside if f"{t:e}"[0] == "1"]
    return {"type": "log", "range": span, "tickvals": shown, "ticktext": [f"{tick:g}" for tick in shown]}
