"""Are there enough rows and units, and enough of them in every arm?"""

from __future__ import annotations

import numpy as np

from uplift.checks.design import Design
from uplift.checks.result import CheckResult, Status, shown

FEW_UNITS, TOO_FEW_UNITS = 1000, 100
SMALL_ARM, TINY_ARM = 500, 30


def check_rows(design: Design) -> CheckResult:
    """Warn below 1,000 units, fail below 100: no uplift model can be told from noise there."""
    campaign = design.campaign
    units = len(design.rows_per_unit)
    status: Status = "fail" if units < TOO_FEW_UNITS else "warn" if units < FEW_UNITS else "pass"
    numbers = f"{campaign.n_rows:,} rows" + (f" of {units:,} units" if campaign.roles.unit else "")
    advice = {
        "pass": "enough to start with",
        "warn": f"fewer than {FEW_UNITS:,} {'units' if campaign.roles.unit else 'rows'}: read average effects, not individual ones",
        "fail": f"fewer than {TOO_FEW_UNITS}: collect more before fitting anything",
    }[status]
    return CheckResult(
        check="rows",
        title="Is there enough data?",
        status=status,
        detail=f"{numbers}; {advice}.",
        data={"rows": campaign.n_rows, "units": units, "features": len(campaign.feature_names)},
    )


def check_arms(design: Design) -> CheckResult:
    """Warn about arms below 500 assignments, fail below 30."""
    counts = design.assignment_counts
    shares = counts / max(counts.sum(), 1)
    names = design.campaign.arm_names
    smallest = int(np.argmin(counts))
    status: Status = "fail" if counts.min() < TINY_ARM else "warn" if counts.min() < SMALL_ARM else "pass"
    listed = ", ".join(
        f"{shown(names[k])} {counts[k]:,} ({shares[k]:.1%})" for k in range(min(len(names), 8))
    )
    listed += f" and {len(names) - 8} more" if len(names) > 8 else ""
    small = f"arm {names[smallest]!r} has only {counts[smallest]:,} {design.assigned}"
    advice = {
        "pass": "every arm is large enough",
        "warn": f"{small}: its effects will have wide intervals, merge it with a similar arm or collect more",
        "fail": f"{small}: drop or merge it, nothing can be learned about it",
    }[status]
    return CheckResult(
        check="arms",
        title="Is every arm large enough?",
        status=status,
        detail=f"{design.assigned} per arm: {listed}; {advice}.",
        data={
            "counts": dict(zip(names, counts, strict=True)),
            "shares": dict(zip(names, shares, strict=True)),
            "rows": dict(zip(names, design.row_counts, strict=True)),
            "counted": design.assigned,
        },
    )
