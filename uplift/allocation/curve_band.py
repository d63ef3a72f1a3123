"""The budget curve under model uncertainty, as a result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from uplift.errors import AllocationError

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go


@dataclass(frozen=True, eq=False)
class CurveBand:
    """What a plan at each budget is worth if the model's effects are off as its own uncertainty says.

    From :meth:`uplift.Allocation.curve_under`, whose notes say how often such bands hold the truth. All arrays are
    float64 [point], at the budgets of :attr:`uplift.Allocation.curve`; money.

    Attributes
    ----------
    source : {"members", "intervals"}
        Whether effects of several members were given, or one with an interval for every unit.
    level : float
        Nominal level of the band, in (0, 1).
    members : int
        How many members were given; 0 for intervals.
    corrected : bool
        Whether `optimism` was taken off.
    model : str
        Name of the plan's model.
    budgets, promised : ndarray
        The plan's own curve.
    value, low, high : ndarray
        What the plan at the budget is worth, and the band. For intervals the band is that of errors which all units share.
    optimism : ndarray
        How much the promise exaggerates because the plan picks the highest of noisy predictions (winner's curse);
        0 where it was not estimated.
    spend, spend_low, spend_high : ndarray
        What the plan costs. For intervals all three are the planned spend: the intervals are of uplifts, not of costs.
    regret : ndarray or None
        How much more the best plan would bring for the same money, were a member's effects the truth and known; mean over
        the members, at least 0. None for intervals, and for a plan with limits beside its budget.
    independent_low, independent_high : ndarray or None
        Only of intervals: the band if the errors of no two units had anything to do with each other.
    member_values : ndarray of float64 [member, point]
        Value of the same plan under each member's effects; no rows for intervals.

    Examples
    --------
    >>> import uplift
    >>> truth = uplift.simulate(rows=300, seed=0).true_effects()
    >>> costs = {arm: uplift.CostRule(on="send", amount=1.0) for arm in truth.arms[1:]}
    >>> plan = uplift.allocate(truth, costs=costs, margin=40.0, budget=50)
    >>> band = plan.curve_under([truth, truth])  # two members that agree
    >>> bool(band.low[-1] == band.high[-1]), float(band.optimism[-1])
    (True, 0.0)
    """

    source: Literal["members", "intervals"]
    level: float
    members: int
    corrected: bool
    model: str
    budgets: np.ndarray
    promised: np.ndarray
    value: np.ndarray
    low: np.ndarray
    high: np.ndarray
    optimism: np.ndarray
    spend: np.ndarray
    spend_low: np.ndarray
    spend_high: np.ndarray
    regret: np.ndarray | None
    independent_low: np.ndarray | None
    independent_high: np.ndarray | None
    member_values: np.ndarray

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of :meth:`to_frame`, the budget first."""
        names = ["budget", "promised", "value", "low", "high", "optimism", "spend", "spend_low", "spend_high"]
        if self.regret is not None:
            names.append("regret")
        if self.independent_low is not None:
            names += ["independent_low", "independent_high"]
        return tuple(names)

    def at(self, budget: float) -> dict[str, float]:
        """All columns at one budget, by straight lines between points; beyond the last point, those of the last.

        Raises
        ------
        AllocationError
            The budget is below 0, below the first point, or no number.
        """
        if not (isinstance(budget, int | float | np.number) and budget >= 0):
            raise AllocationError(f"The budget is {budget!r}: give money, >= 0.")
        least = float(self.budgets[0])
        if budget < least * (1 - 1e-9):
            raise AllocationError(
                f"The budget is {budget:,.2f}, and the curve begins at {least:,.2f}: ask for that or more, or make a "
                "plan with the smaller budget."
            )
        found = {name: float(np.interp(budget, self.budgets, self._column(name))) for name in self.columns}
        return found | {"budget": float(budget)}

    def to_frame(self) -> pd.DataFrame:
        """One row per point, with the :attr:`columns`."""
        import pandas as pd

        return pd.DataFrame({name: self._column(name) for name in self.columns})

    def plot(self) -> go.Figure:
        """The promise, the value and its band against the budget."""
        from uplift.reporting.figures.curve_band import curve_band_figure

        return curve_band_figure(self)

    def _column(self, name: str) -> np.ndarray:
        return self.budgets if name == "budget" else getattr(self, name)

    def _repr_html_(self) -> str:
        from uplift.reporting.notebook import curve_band_html

        return curve_band_html(self)

    def __repr__(self) -> str:
        source = f"{self.members} members" if self.source == "members" else "intervals"
        return (
            f"CurveBand({self.model!r}: {len(self.budgets)} budgets up to {self.budgets[-1]:,.0f}, "
            f"{self.level:.0%} band from {source})"
        )
