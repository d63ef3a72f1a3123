"""One stage of a chain as a campaign of its own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa

from uplift.arms import VALUE_STAGE
from uplift.campaign import Campaign

PROPENSITY = "propensity among those who reached the stage before"
"""Column of a stage's campaign; underscores are added where the name is taken."""


def stage_campaign(campaign: Campaign, stage: int, propensity: np.ndarray | None = None) -> Campaign:
    """The rows of `campaign` with one stage as their whole chain.

    The value needs a chain before it: it keeps the last stage, which all its training rows have reached. Costs are
    left out, because they may be due on stages that are not there.

    Parameters
    ----------
    campaign : Campaign
        With or without outcomes.
    stage : int
        Position on the stage axis.
    propensity : ndarray of float64 [row], optional
        Probability of the arm each row received, to stand in for what the campaign says of it.
    """
    of_value = campaign.stages[stage] == VALUE_STAGE
    roles = replace(
        campaign.roles,
        chain=(campaign.chain[-1] if of_value else campaign.stages[stage],),
        value=campaign.roles.value if of_value else None,
        # Named, or the other stages would become features.
        features=campaign.feature_names,
        categorical=campaign.categorical_features,
    )
    table = campaign.table
    if propensity is not None:
        name = PROPENSITY
        while name in table.column_names:
            name += "_"
        table, roles = table.append_column(name, pa.array(propensity)), replace(roles, propensity=name)
    arms = tuple(replace(arm, cost=None) for arm in campaign.arms)
    return replace(campaign, table=table, roles=roles, arms=arms)


def reached_before(campaign: Campaign, stage: int) -> np.ndarray:
    """Positions of the rows that reached the stage before, int64 [row]; all rows for the first."""
    if stage == 0:
        return np.arange(campaign.n_rows)
    return np.flatnonzero(campaign.outcomes[:, stage - 1] > 0)
