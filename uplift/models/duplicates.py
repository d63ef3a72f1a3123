"""Rows that repeat others: published comparisons on public campaigns drop them."""

from __future__ import annotations

import numpy as np
import pandas as pd

from uplift import columns
from uplift.campaign import Campaign


def first_of_each(campaign: Campaign) -> np.ndarray:
    """True for the first row of every combination of features, arm and outcomes, bool [row].

    Values must be equal exactly; missing ones equal each other. Units, times and weights are not looked at.

    Rows that agree are usually different customers, and dropping them raises the rate of rare outcomes: use it to
    compare with work that did so, not to decide.

    Examples
    --------
    >>> frame = pd.DataFrame({"t": [0, 1, 1, 1], "y": [0, 1, 1, 0], "x": [1.0, None, None, None]})
    >>> campaign = Campaign.from_frame(frame, treatment="t", control=0, chain=["y"])
    >>> first_of_each(campaign).tolist()
    [True, True, False, True]
    """
    parts: dict[str, np.ndarray] = {}
    categorical = set(campaign.categorical_features)
    for number, name in enumerate(campaign.feature_names):
        column = campaign.table[name]
        parts[f"feature {number}"] = (
            columns.labels(column).indices.fill_null(-1).to_numpy(zero_copy_only=False)
            if name in categorical
            else columns.to_float(column, dtype=np.float64)
        )
    parts["arm"] = campaign.arm_codes
    for stage, outcome in zip(campaign.stages, campaign.outcomes.T, strict=True):
        parts[f"outcome {stage}"] = outcome
    return ~pd.DataFrame(parts).duplicated().to_numpy()
