"""What the checks share: who was randomised, how arms compare to control, and which rows count as one assignment."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from uplift.checks.contrast import Contrast
from uplift.checks.result import Status
from uplift.errors import CampaignError

if TYPE_CHECKING:
    from uplift.campaign import Campaign

THIN_ABOVE_ARMS = 10
CONTROLS_PER_TREATED = 10
"""With many arms, control rows are thinned to this many per treated row: the standard error grows by < 5 %."""
ROW_RANDOMISED = 0.5
"""Units with several arms, relative to what randomising rows gives; above it, rows were randomised on purpose."""


@dataclass(frozen=True, eq=False)
class Design:
    """A campaign seen as an experiment.

    Parameters
    ----------
    campaign : Campaign
        With treatment and outcomes.
    alpha : float
        p below it is evidence; p below ten times it is a doubt.
    seed : int
        Of every random choice.

    Raises
    ------
    CampaignError
        The campaign has no treatment or no outcomes, or no rows.
    """

    campaign: Campaign
    alpha: float
    seed: int

    def __post_init__(self) -> None:
        if self.campaign.n_rows == 0:
            raise CampaignError("the campaign has no rows; there is nothing to check.")
        _ = (self.campaign.arm_codes, self.campaign.outcomes)

    def verdict(self, p: float, *, matters: bool = True) -> Status:
        """Status for an adjusted p-value; `matters` says whether the defect is large enough to fail."""
        if p < self.alpha and matters:
            return "fail"
        return "warn" if p < 10 * self.alpha else "pass"

    @cached_property
    def units(self) -> np.ndarray | None:
        """Dense unit code of each row, int64 [row], or None when every row is a unit of its own."""
        if not self.campaign.units_repeat:
            return None
        return np.unique(self.campaign.unit_codes, return_inverse=True)[1]

    @cached_property
    def rows_per_unit(self) -> np.ndarray:
        """Number of rows of each unit, int64 [unit]."""
        if self.units is None:
            return np.ones(self.campaign.n_rows, np.int64)
        return np.bincount(self.units)

    @cached_property
    def mixed_units(self) -> np.ndarray:
        """Whether a unit was seen in several arms, bool [unit]."""
        if self.units is None:
            return np.zeros(self.campaign.n_rows, bool)
        arms = len(self.campaign.arms)
        pairs = np.unique(self.units * arms + self.campaign.arm_codes)
        return np.bincount(pairs // arms, minlength=len(self.rows_per_unit)) > 1

    @cached_property
    def expected_mixed(self) -> float:
        """Share of repeated units that would see several arms if every row were randomised afresh."""
        shares = (
            np.bincount(self.campaign.arm_codes, minlength=len(self.campaign.arms)) / self.campaign.n_rows
        )
        sizes = self.rows_per_unit[self.rows_per_unit > 1]
        if sizes.size == 0:
            return 0.0
        size, count = np.unique(sizes, return_counts=True)
        same = (shares[None, :] ** size[:, None]).sum(axis=1)
        return float(np.average(1 - same, weights=count))

    @cached_property
    def by_row(self) -> bool:
        """Whether rows, not units, were randomised: most repeated units saw several arms."""
        repeated = int((self.rows_per_unit > 1).sum())
        return repeated > 0 and self.mixed_units.sum() > ROW_RANDOMISED * self.expected_mixed * repeated

    @cached_property
    def assignments(self) -> np.ndarray:
        """Rows that stand for one assignment each, int64: the first row of every unit, or all rows."""
        if self.units is None or self.by_row:
            return np.arange(self.campaign.n_rows)
        return np.unique(self.units, return_index=True)[1]

    @property
    def assigned(self) -> str:
        """What was randomised, in the plural."""
        return "rows" if self.by_row or self.campaign.roles.unit is None else "units"

    @cached_property
    def assignment_counts(self) -> np.ndarray:
        """Number of assignments per arm, int64 [arm]."""
        return np.bincount(self.campaign.arm_codes[self.assignments], minlength=len(self.campaign.arms))

    @cached_property
    def row_counts(self) -> np.ndarray:
        """Number of rows per arm, int64 [arm]."""
        return np.bincount(self.campaign.arm_codes, minlength=len(self.campaign.arms))

    @cached_property
    def contrasts(self) -> tuple[Contrast, ...]:
        """Every treated arm that has rows against control; empty when control has none."""
        codes = self.campaign.arm_codes
        controls = np.flatnonzero(codes == 0)
        if controls.size == 0:
            return ()
        return tuple(
            self._contrast(arm, controls) for arm in range(1, len(self.row_counts)) if self.row_counts[arm]
        )

    def _contrast(self, arm: int, controls: np.ndarray) -> Contrast:
        treated = np.flatnonzero(self.campaign.arm_codes == arm)
        limit = CONTROLS_PER_TREATED * max(treated.size, 100)
        if len(self.row_counts) > THIN_ABOVE_ARMS and controls.size > limit:
            controls = np.random.default_rng((self.seed, arm)).choice(controls, limit, replace=False)
        rows = np.sort(np.concatenate([controls, treated]))

        def pick(values: np.ndarray | None) -> np.ndarray | None:
            return None if values is None else values[rows]

        return Contrast(
            arm=self.campaign.arm_names[arm],
            rows=rows,
            treated=self.campaign.arm_codes[rows] == arm,
            unit=pick(self.units),
            stratum=None if self.campaign.propensity is not None else pick(self.campaign.stratum_codes),
            propensity=pick(self.campaign.propensity),
            sampling=pick(self.campaign.weights),
        )
