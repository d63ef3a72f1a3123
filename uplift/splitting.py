"""Which units are held back for testing: by a hash of the unit id, or by time. A unit is never on both sides."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from uplift.errors import CampaignError
from uplift.hashing import unit_uniform

if TYPE_CHECKING:
    from uplift.campaign import Campaign


def held_out_mask(
    campaign: Campaign, *, test: float, seed: int, by: str, purpose: str = "test"
) -> np.ndarray:
    """True where a row belongs to the test part, bool [row].

    Parameters
    ----------
    purpose : str
        Part of the hash's salt: splits for different purposes are independent of each other.

    Raises
    ------
    CampaignError
        See :meth:`uplift.campaign.Campaign.split`.
    """
    check_share(test)
    if by == "unit":
        mask = unit_mask(campaign, test=test, seed=seed, purpose=purpose)
    elif by == "time":
        mask = _late_units(campaign, test)
    else:
        raise CampaignError(f"cannot split by {by!r}; choose 'unit' or 'time'.")
    if not mask.any() or mask.all():
        raise CampaignError(
            f"a {test:.0%} test split of {campaign.n_units:,} units leaves one part empty; use more units or another share."
        )
    return mask


def check_share(test: float) -> None:
    """Refuse a test share outside (0, 1) with a :class:`CampaignError`."""
    if not 0 < test < 1:
        raise CampaignError(f"the test share is {test}; it must lie between 0 and 1, for example 0.3.")


def unit_mask(campaign: Campaign, *, test: float, seed: int, purpose: str = "test") -> np.ndarray:
    """True where the hash of a row's unit falls into the first `test` of [0, 1), bool [row].

    It looks at nothing but the row's own unit id, so that blocks of a campaign split as the whole does.
    """
    return unit_uniform(campaign.unit_ids, f"{purpose}-split:{seed}") < test


def train_mask(campaign: Campaign, test: np.ndarray, *, by: str) -> np.ndarray:
    """True where a row may be learned from, given the test rows, bool [row].

    In a split by time the rows of earlier units that fall into the test period are on neither side: learning
    from them would be learning from the future.
    """
    if by != "time" or campaign.times is None:
        return ~test
    result: np.ndarray = ~test & (campaign.times < campaign.times[test].min())
    return result


def _late_units(campaign: Campaign, test: float) -> np.ndarray:
    times = campaign.times
    if times is None:
        raise CampaignError(
            "splitting by time needs a time column; name it as time = '...' or split by 'unit'."
        )
    units = campaign.unit_codes
    first = np.full(int(units.max()) + 1, np.inf)
    np.minimum.at(first, units, times)
    starts = first[units]
    # The cut is over rows' first-seen times, so that about `test` of the rows fall after it.
    cut = np.quantile(starts, 1 - test, method="higher")
    mask: np.ndarray = starts >= cut
    if mask.all():
        mask = starts > cut
    return mask
