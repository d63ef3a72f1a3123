"""The rows that tuning may see: a training part that refuses rows of the test part, and its folds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from uplift.campaign import Campaign
from uplift.errors import CampaignError
from uplift.hashing import unit_uniform
from uplift.splitting import held_out_mask, train_mask, unit_mask

VALIDATION_SHARE = 0.3
"""Share of the training units that judge, where there are no folds."""


@dataclass(frozen=True, kw_only=True)
class Seal:
    """The rule that says which rows are the test part: enough to know one when it comes.

    Attributes
    ----------
    by : {"unit", "time"}
    test : float
        Share of the test part.
    seed : int
        Of the split by unit.
    cut : float, optional
        First moment of the test part, for a split by time.
    """

    by: Literal["unit", "time"]
    test: float
    seed: int
    cut: float | None = None

    def refuse(self, rows: Campaign) -> None:
        """Raise a CampaignError where `rows` holds a row of the test part. Outcomes are not looked at."""
        if self.by == "time":
            times = rows.times
            assert times is not None
            assert self.cut is not None
            found = times >= self.cut
        else:
            found = unit_mask(rows, test=self.test, seed=self.seed)
        if found.any():
            raise CampaignError(
                f"{int(found.sum()):,} of {rows.n_rows:,} rows belong to the test part, which tuning must not see; "
                f"give the training part alone."
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {"by": self.by, "test": self.test, "seed": self.seed, "cut": self.cut}


@dataclass(frozen=True, eq=False)
class TrainingPart:
    """Training rows, sealed against the test part: it cannot be made with a row of it.

    Everything that tuning fits or judges by is a `TrainingPart` and comes out of another one by :meth:`take`, so
    that no row of the test part can get in.

    Parameters
    ----------
    campaign : Campaign
        The rows.
    seal : Seal, optional
        What the test part is. None where the caller has split and vouches for it.

    Raises
    ------
    CampaignError
        A row belongs to the test part, or the rows have no outcomes.

    Examples
    --------
    >>> import uplift
    >>> campaign = uplift.simulate(rows=500, seed=1).campaign()
    >>> part = TrainingPart.of(campaign, test=0.3, seed=0)
    >>> TrainingPart(campaign, part.seal)
    Traceback (most recent call last):
        ...
    uplift.errors.CampaignError: 136 of 500 rows belong to the test part, which tuning must not see; give the training part alone.
    """

    campaign: Campaign
    seal: Seal | None = None

    def __post_init__(self) -> None:
        if not self.campaign.has_outcomes:
            raise CampaignError("an audience without outcomes cannot be tuned on; give a campaign.")
        if self.seal is not None:
            self.seal.refuse(self.campaign)

    @classmethod
    def of(
        cls, campaign: Campaign, *, test: float = 0.3, seed: int = 0, by: Literal["unit", "time"] = "unit"
    ) -> TrainingPart:
        """The training part of ``campaign.split(test=test, seed=seed, by=by)``; the rest is dropped here.

        Parameters
        ----------
        campaign : Campaign
        test, seed, by
            As in :meth:`uplift.campaign.Campaign.split`.

        Raises
        ------
        CampaignError
            See :meth:`uplift.campaign.Campaign.split`.
        """
        held = held_out_mask(campaign, test=test, seed=seed, by=by)
        cut = None
        if by == "time":
            assert campaign.times is not None
            cut = float(campaign.times[held].min())
        return cls(
            campaign.take(train_mask(campaign, held, by=by)), Seal(by=by, test=test, seed=seed, cut=cut)
        )

    def take(self, mask: np.ndarray) -> TrainingPart:
        """Some of the rows (bool [row]), sealed as these are.

        Parameters
        ----------
        mask : ndarray of bool [row]
        """
        return TrainingPart(self.campaign.take(mask), self.seal)


class Fold(NamedTuple):
    """Rows to fit on and rows to judge by; no unit is in both."""

    fit: TrainingPart
    held: TrainingPart


def make_folds(
    part: TrainingPart, *, folds: int | None, seed: int, validation: float = VALIDATION_SHARE
) -> list[Fold]:
    """One validation split (`folds` None), or as many folds, inside the training part.

    Units fall into folds by the hash of their id, so that every row of a unit is in the same one. Where the test part
    is the latest in time, a single validation split is the latest of the training part.

    Raises
    ------
    CampaignError
        `folds` is less than 2 or `validation` not in (0, 1), or an arm would have no rows on one side.
    """
    if folds is None:
        by = "unit" if part.seal is None else part.seal.by
        held = held_out_mask(part.campaign, test=validation, seed=seed, by=by, purpose="tune-validation")
        learn = train_mask(part.campaign, held, by=by)
        found = [Fold(part.take(learn), part.take(held))]
    else:
        if isinstance(folds, bool) or not isinstance(folds, int) or folds < 2:
            raise CampaignError(f"folds is {folds!r}; cross-validation needs a whole number >= 2.")
        fold_of = (unit_uniform(part.campaign.unit_ids, f"tune-folds:{seed}") * folds).astype(np.int64)
        found = [Fold(part.take(fold_of != k), part.take(fold_of == k)) for k in range(folds)]
    for side, rows in _sides(found):
        counts = np.bincount(rows.arm_codes, minlength=len(rows.arms))
        if not counts.all():
            raise CampaignError(
                f"arm {rows.arm_names[int(np.argmin(counts))]!r} has no rows among the {rows.n_rows:,} to {side}; "
                f"use fewer folds, another share, or more rows."
            )
    return found


def _sides(folds: list[Fold]) -> Iterator[tuple[str, Campaign]]:
    for fold in folds:
        yield "fit on", fold.fit.campaign
        yield "judge by", fold.held.campaign
