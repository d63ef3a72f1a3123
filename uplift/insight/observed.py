"""What randomised rows say about a group of customers."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

import numpy as np

from uplift.campaign import Campaign
from uplift.effects import Effects
from uplift.insight.content import Observed
from uplift.metrics.average import Comparison, compare, difference_in_means

FEW = 2


class Predictor(Protocol):
    """Whatever predicts effects: every fitted model does."""

    def predict(self, campaign: Campaign) -> Effects:
        """Effects for the rows of `campaign`."""
        ...


class ArmOutcomes:
    """One arm against control at one stage, ready to be looked at group by group.

    Parameters
    ----------
    campaign : Campaign
        Randomised rows with outcomes.
    arm, stage : str
    """

    def __init__(self, campaign: Campaign, arm: str, stage: str) -> None:
        self.comparison: Comparison = compare(campaign, arm)
        self.outcome = campaign.outcome(stage)[self.comparison.rows].astype(np.float64)
        self._position = np.full(campaign.n_rows, -1, np.int64)
        self._position[self.comparison.rows] = np.arange(len(self.comparison.rows))

    def among(self, rows: np.ndarray, *, confidence: float) -> Observed:
        """The effect among the campaign's rows `rows` (int [row]), with the interval of :func:`difference_in_means`.

        A group with fewer than two rows of either arm, or without any difference in its outcomes, has no interval.
        """
        at = self._position[rows]
        at = at[at >= 0]
        whole = self.comparison
        treated = whole.treated[at]
        if min(int(treated.sum()), len(at) - int(treated.sum())) < FEW:
            return Observed(rows=len(rows), control=None, treated=None, effect=None, low=None, high=None)
        part = replace(
            whole,
            rows=whole.rows[at],
            treated=treated,
            weight=None if whole.weight is None else whole.weight[at],
            cluster=None if whole.cluster is None else np.unique(whole.cluster[at], return_inverse=True)[1],
            stratum=None if whole.stratum is None else whole.stratum[at],
        )
        y = self.outcome[at]
        w = np.ones(len(y)) if part.weight is None else part.weight
        found = difference_in_means(part, y, confidence=confidence)
        known = found.se > 0
        return Observed(
            rows=len(rows),
            control=float(np.average(y[~treated], weights=w[~treated])),
            treated=float(np.average(y[treated], weights=w[treated])),
            effect=found.value,
            low=found.low if known else None,
            high=found.high if known else None,
        )
