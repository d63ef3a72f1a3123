"""Members for models that have none: the same model fitted again on other customers of the same kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from uplift.campaign import Campaign
from uplift.effects import Effects
from uplift.errors import ModelError
from uplift.hashing import unit_uniform

if TYPE_CHECKING:
    from uplift.models.base import UpliftModel


def refit_members(
    model: UpliftModel, campaign: Campaign, audience: Campaign, *, members: int = 8, random_state: int = 0
) -> list[Effects]:
    """Effects of fits on resampled customers (the bootstrap), for :meth:`uplift.Allocation.curve_under`.

    Networks have members of their own (``members=8`` and ``model.predict_members(audience)``), which costs the same and
    shares the preparation; this is for every other model.

    Parameters
    ----------
    model : UpliftModel
        Its class and parameters are used; it need not be fitted and stays as it is. Where it has a `random_state`, every
        member gets another.
    campaign : Campaign
        Training rows. Customers are drawn with replacement, all rows of a customer together.
    audience : Campaign
        Rows to predict for.
    members : int
        Fits, at least 2.
    random_state : int
        Seed of the draws; the same draws for any order of the rows.

    Returns
    -------
    list of Effects
        One per member.

    Raises
    ------
    ModelError
        `members` is less than 2, or a resampled campaign cannot be learned from.

    References
    ----------
    Efron, Bootstrap methods, Annals of Statistics 1979.

    Examples
    --------
    >>> import uplift
    >>> campaign = uplift.simulate(rows=2_000, arms=1, chain=("click", "conversion"), seed=0).campaign()
    >>> model = uplift.make_model("lightgbm_t", n_estimators=5)
    >>> [len(effects) for effects in refit_members(model, campaign, campaign, members=2)]
    [2000, 2000]
    """
    if members < 2:
        raise ModelError(f"members is {members!r}: a spread needs at least 2 fits.")
    params = model.get_params()
    found = []
    for member in range(members):
        rows = _drawn(campaign, f"refit:{random_state}:{member}")
        if "random_state" in params:
            params = {**params, "random_state": random_state + member}
        found.append(type(model)(**params).fit(campaign.take(rows)).predict(audience))
    return found


def _drawn(campaign: Campaign, salt: str) -> np.ndarray:
    """Rows of customers drawn with replacement: independent Poisson(1) counts per customer, by hash of the id.

    Poisson counts are the multinomial ones of the bootstrap but for their total, and need no order of customers
    (Oza, Online bagging and boosting, 2005).
    """
    from scipy.stats import poisson

    at_most = poisson.cdf(np.arange(20), 1.0)
    counts = np.searchsorted(at_most, unit_uniform(campaign.unit_ids, salt), side="right")
    return np.repeat(np.arange(campaign.n_rows), counts)
