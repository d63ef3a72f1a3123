"""How much of a log speaks about a policy: matched rows, effective sample size, heavy weights, missing arms."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from uplift.errors import EvaluationError
from uplift.metrics.off_policy import Logged, Mean
from uplift.metrics.policies import Policy

FEW_EFFECTIVE_ROWS = 100
"""Below this effective sample size normal intervals are doubted."""
HEAVY_ROW = 0.05
"""A row that carries this share of the weight is named."""
EXPECTED = 5.0
"""An arm that is missing where the log would have been expected to give it this often was never given there."""


@dataclass(frozen=True)
class Overlap:
    """How the importance weights of a policy are spread over the rows of a log.

    Attributes
    ----------
    matched_rows : int
        Rows whose arm the policy gives them (with positive probability).
    matched_share : float
        The same as a share of all rows.
    effective_rows : float
        Kish's effective sample size, (sum w)^2 / sum w^2, of all weights (sampling weights included): this many rows of equal
        weight would be as informative.
    largest_weight : float
        Largest pi / e.
    largest_share : float
        Share of all weight on one row.
    least_propensity : float
        Smallest probability of the arm received among the matched rows.
    mean_weight : float
        1 in expectation, when the propensities are right.
    mean_weight_z : float
        Its distance from 1 in standard errors.
    clipped_rows : int
        Rows whose weight was cut.
    """

    matched_rows: int
    matched_share: float
    effective_rows: float
    largest_weight: float
    largest_share: float
    least_propensity: float
    mean_weight: float
    mean_weight_z: float
    clipped_rows: int

    @classmethod
    def of(cls, log: Logged, policy: Policy, clip: float) -> Overlap:
        """Before any normalisation; the effective sample size after clipping."""
        ratio = policy.given(log.arms) / log.propensity
        matched = ratio > 0
        used = log.mass * np.minimum(ratio, clip)
        total = float(used.sum())
        plain = Mean(
            float(log.mass @ ratio), log.mass * (ratio - float(log.mass @ ratio))
        )  # as with known propensities
        se = plain.estimate(log.cluster, 0.95).se
        return cls(
            matched_rows=int(matched.sum()),
            matched_share=float(matched.mean()),
            effective_rows=total**2 / max(float(used @ used), 1e-300),
            largest_weight=float(ratio.max(initial=0.0)),
            largest_share=float(used.max(initial=0.0)) / max(total, 1e-300),
            least_propensity=float(log.propensity[matched].min(initial=1.0)),
            mean_weight=plain.value,
            mean_weight_z=(plain.value - 1.0) / se if se > 1e-12 else 0.0,
            clipped_rows=int((ratio > clip).sum()),
        )

    def warnings(self, *, known: bool) -> list[str]:
        """What to be careful about, one sentence each; `known`: the propensities are not shares of the log."""
        found = []
        if self.effective_rows < FEW_EFFECTIVE_ROWS:
            found.append(
                f"The estimate rests on the equivalent of {self.effective_rows:,.0f} rows of equal weight ({self.matched_rows:,} matched): its interval is rough, use a larger log."
            )
        if self.largest_share > HEAVY_ROW:
            found.append(
                f"One row carries {self.largest_share:.0%} of all weight (the log gave such customers the plan's arm with probability {self.least_propensity:.2g} at least): the estimate hangs on few rows; clip the weights or use dr."
            )
        if known and abs(self.mean_weight_z) > 4:
            found.append(
                f"The weights average {self.mean_weight:.2f} where 1 is expected ({abs(self.mean_weight_z):.0f} standard errors away): the propensities do not describe how the log was assigned."
            )
        return found


def supported(
    log: Logged, policy: Policy, names: tuple[str, ...], *, by_decision: bool, strict: bool
) -> tuple[Policy, np.ndarray | None, list[str], list[str]]:
    """Check that the log gave customers what the policy gives them, and control to compare with.

    Looked at within strata, within the customers of each decision, and with `by_decision` within both.

    Returns
    -------
    policy : Policy
        Customers who cannot be valued under their arm are left in control.
    kept : ndarray of bool [row] or None
        False in strata without control, which say nothing; None for all rows.
    skipped : list of str
        Arms some of whose customers were left in control.
    warnings : list of str

    Raises
    ------
    EvaluationError
        With `strict`, an arm is missing where about `EXPECTED` rows or more should have it, or altogether.
    """
    share = np.bincount(log.arms, log.mass, log.n_arms)
    warnings: list[str] = []
    skipped: list[str] = []
    stratum = np.zeros(len(log.arms), np.int64) if log.cell is None else log.cell

    def cells() -> np.ndarray:
        return stratum * log.n_arms + policy.codes if by_decision and policy.codes is not None else stratum

    for arm in range(1, log.n_arms):
        wants = policy.of(arm) > 0
        if not wants.any():
            continue
        received = log.arms == arm
        cell = cells()
        has = np.bincount(cell[received], minlength=int(cell.max()) + 1) > 0
        lost = wants & ~has[cell]
        if not (wants & received).any():
            lost = wants
        count = int(lost.sum())
        if not count:
            continue
        expected = count * float(share[arm])
        if strict and (expected >= EXPECTED or share[arm] == 0):
            where = "" if lost.sum() == wants.sum() else f" (of {int(wants.sum()):,} with that arm)"
            raise EvaluationError(
                f"the plan gives arm {names[arm]!r} to {count:,} customers{where} such as the log never gave it to ({expected:,.0f} would be expected of {int(received.sum()):,} in the log); "
                "leave them out of the plan, use method='dm', or count them as left in control with strict=False."
            )
        skipped.append(names[arm])
        warnings.append(
            f"{count:,} customers whom the plan gives {names[arm]!r} were counted as left in control: the log has nobody like them who received it."
        )
        policy = policy.without(arm, lost)
    cell = cells()
    has = np.bincount(cell[log.arms == 0], minlength=int(cell.max()) + 1) > 0
    bare = ~has[cell]
    if not bare.any():
        return policy, None, skipped, warnings
    count = int(bare.sum())
    if bare.all() or (strict and count * float(share[0]) >= EXPECTED):
        raise EvaluationError(
            f"{count:,} of the log's {len(bare):,} rows have no row of control {names[0]!r} to be compared with (same stratum or decision); leave them out, or pass strict=False to do so."
        )
    warnings.append(
        f"{count:,} rows were left out: there is no control among customers like them to compare with."
    )
    return policy, ~bare, skipped, warnings
