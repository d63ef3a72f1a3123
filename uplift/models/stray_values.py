"""Values on rows that did not reach the last stage: what models of the whole chain do with them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from uplift.errors import ModelError

if TYPE_CHECKING:
    from uplift.campaign import Campaign

STRAY = 0.01
"""Share of values without the last stage that are ignored; above it, as in ``uplift check``, they are an error."""


def check_value(campaign: Campaign) -> int:
    """Count the rows whose value will be ignored because they did not reach the last stage.

    Raises
    ------
    ModelError
        These are more than 1 % of all rows with a value: it is not the value of the last stage.
    """
    if not campaign.has_value:
        return 0
    some = campaign.outcomes[:, -1] != 0
    stray = int((some & (campaign.outcomes[:, -2] == 0)).sum())
    check_stray(stray, int(some.sum()), stage=campaign.chain[-1])
    return stray


def check_stray(stray: int, some: int, *, stage: str) -> None:
    """Refuse a value that is not 0 in `stray` of `some` rows where the last `stage` was not reached; see :func:`check_value`."""
    if stray > STRAY * some:
        raise ModelError(
            f"the value is not 0 in {stray:,} rows that did not reach {stage!r}, {stray / some:.1%} "
            f"of all values, so it is not the value of that stage; set it to 0 there, or fix the stage."
        )
