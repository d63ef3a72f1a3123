"""A public data set as a campaign."""

from __future__ import annotations

import warnings
from typing import Any

from uplift.campaign import Campaign
from uplift.datasets.cards import DatasetCard, get_card
from uplift.datasets.local import Home, locate, missing_message
from uplift.datasets.tables import DatasetWarning, read_form
from uplift.errors import DatasetError


def load_dataset(name: str, *, rows: int | None = None, home: Home = None, seed: int = 0) -> Campaign:
    """Load a public data set that lies on this machine as a campaign, with the roles of its card.

    Parameters
    ----------
    name : str
        Name of a card; see :func:`list_datasets`.
    rows : int, optional
        Keep a uniform random sample of this many rows; all when there are fewer.
    home : path, optional
        Only folder to search; default the environment variable ``UPLIFT_DATA_HOME``, then the user's cache.
    seed : int
        Seed of the sample.

    Returns
    -------
    Campaign
        Named after the data set; arms carry the card's labels and costs.

    Warns
    -----
    DatasetWarning
        Rows were dropped, values made missing, or the assignment was not (well) randomised.

    Raises
    ------
    DatasetError
        Unknown name, files missing (the sentence says where to get them) or damaged, `rows` not positive, or
        a data set that is no campaign because it has no control arm.

    Examples
    --------
    >>> campaign = load_dataset("hillstrom", rows=1_000)  # doctest: +SKIP
    """
    card = get_card(name)
    if card.refused is not None:
        raise DatasetError(f"data set {name!r} cannot be loaded as a campaign: {card.refused}")
    if rows is not None and rows < 1:
        raise DatasetError(f"rows is {rows}; ask for at least 1 row, or leave it out for all.")
    found = locate(card, home)
    if found is None:
        raise DatasetError(missing_message(card, home))
    if card.randomised in ("no", "broken"):
        warnings.warn(f"{name}: {card.randomisation}", DatasetWarning, stacklevel=2)
    table = read_form(card, found, rows=rows, seed=seed)
    return Campaign.from_table(table, **_roles(card, table.column_names))


def _roles(card: DatasetCard, available: list[str]) -> dict[str, Any]:
    roles = card.roles.model_dump()
    # Forms of one data set differ in what else they carry; an excluded column need not be there.
    roles["exclude"] = [column for column in card.roles.exclude if column in available]
    roles["arms"] = {arm: content.model_dump(exclude_none=True) for arm, content in card.arms.items()}
    roles["name"] = card.name
    return roles
