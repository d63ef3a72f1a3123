"""Units with several rows: in one arm only, equally many in all arms, and no copies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from uplift import columns
from uplift.checks.contrast import Contrast
from uplift.checks.design import Design
from uplift.checks.result import CheckResult, Status, p_text, worst

if TYPE_CHECKING:
    from uplift.campaign import Campaign

COPIES = 0.01
"""Share of exact copies that some customers, alike in every column, can account for."""
SOME_COPIES = 10
MIXED_FAIL = 0.01
"""Share of rows in units with several arms above which the contamination is not an accident."""


def check_unit_arms(design: Design) -> CheckResult:
    """Units seen in several arms.

    A few such units warn; more than 1 % of the rows fail (a broken or re-drawn assignment); and when about as
    many units are mixed as randomising every row would give, rows were the randomised thing, which warns.
    """
    result = {"check": "unit_arms", "title": "Does every unit stay in one arm?"}
    if design.campaign.roles.unit is None:
        return _result(
            result, "pass", "no unit column: cannot be seen; name one if customers can appear twice."
        )
    repeated = int((design.rows_per_unit > 1).sum())
    mixed = int(design.mixed_units.sum())
    data: dict[str, float] = {
        "units": len(design.rows_per_unit),
        "repeated_units": repeated,
        "mixed_units": mixed,
    }
    if mixed == 0:
        what = (
            "no unit has a second row" if repeated == 0 else f"all {repeated:,} repeated units kept their arm"
        )
        return _result(result, "pass", f"{what}; nothing to do.", data)
    rows = int(design.rows_per_unit[design.mixed_units].sum())
    share = rows / design.campaign.n_rows
    data |= {
        "mixed_rows": rows,
        "mixed_row_share": share,
        "expected_if_rows_randomised": design.expected_mixed,
    }
    numbers = f"{mixed:,} of {repeated:,} repeated units have rows in several arms ({share:.1%} of rows)"
    if design.by_row:
        return _result(
            result,
            "warn",
            f"{numbers}, as if every row was randomised on its own ({design.expected_mixed:.0%} expected then); effects carry over between rows of a unit, so randomise units next time.",
            data,
        )
    if share > MIXED_FAIL:
        return _result(
            result,
            "fail",
            f"{numbers}; arms contaminate each other: keep each unit's first arm or drop these units, and find out why.",
            data,
        )
    return _result(result, "warn", f"{numbers}; few enough to drop these units.", data)


def check_duplicates(design: Design) -> CheckResult:
    """Exact copies of rows of one unit, and rows per unit that differ between arms.

    More rows per treated unit means that rows are created after assignment (visits, sends), and then even a
    random assignment leaves the rows of the arms incomparable: fails beyond a 5 % difference.
    """
    result = {"check": "duplicate_units", "title": "Are rows repeated, and equally in all arms?"}
    campaign = design.campaign
    if campaign.roles.unit is None:
        return _result(
            result,
            "pass",
            "no unit column: every row counts as a unit; name one if customers can appear twice.",
        )
    if design.units is None:
        return _result(
            result,
            "pass",
            f"{campaign.n_rows:,} rows, one per unit; nothing to do.",
            {"rows_per_unit": 1.0, "copies": 0},
        )
    copies = _exact_copies(campaign, np.flatnonzero(design.rows_per_unit[design.units] > 1))
    average = campaign.n_rows / len(design.rows_per_unit)
    p, arm, ratio = (1.0, "", 1.0) if design.by_row else _rows_per_unit(design)
    uneven = design.verdict(p, matters=abs(ratio - 1) > 0.05)
    further = campaign.n_rows - len(design.rows_per_unit)
    # Copies are an accident when they are many, or when most second rows of a unit are nothing but copies.
    many = copies > COPIES * campaign.n_rows or (copies >= SOME_COPIES and copies > further / 2)
    copied: Status = "warn" if many else "pass"
    data = {
        "rows_per_unit": average,
        "max_rows_per_unit": int(design.rows_per_unit.max()),
        "copies": copies,
        "p_rows_per_unit": p,
        "ratio": ratio,
    }
    numbers = f"{average:.2f} rows per unit (at most {design.rows_per_unit.max():,}), {copies:,} exact copies"
    advice = ["splits, folds and errors go by unit"]
    if copied == "warn":
        advice = ["drop the copies: the table was probably loaded or joined twice"]
    if uneven != "pass":
        advice.append(
            f"units of arm {arm!r} have {ratio - 1:+.1%} rows per unit compared with control ({p_text(p)}): rows seem to arise after assignment, use one row per assigned unit"
        )
    return _result(result, worst([copied, uneven]), f"{numbers}; {'; '.join(advice)}.", data)


def _rows_per_unit(design: Design) -> tuple[float, str, float]:
    """Adjusted p-value, arm and ratio to control for the most uneven arm."""
    from scipy.special import stdtr

    first, campaign = design.assignments, design.campaign
    assert design.units is not None
    sizes = design.rows_per_unit[design.units[first]].astype(np.float64)
    codes = campaign.arm_codes[first]
    found = [(1.0, "", 1.0)]
    arms = [k for k in range(1, len(campaign.arms)) if (codes == k).sum() > 1]
    for k in arms if (codes == 0).sum() > 1 else []:
        rows = np.flatnonzero((codes == k) | (codes == 0))
        strata = campaign.stratum_codes
        contrast = Contrast(
            arm=campaign.arm_names[k],
            rows=rows,
            treated=codes[rows] == k,
            stratum=None if strata is None else strata[first][rows],
            propensity=None if campaign.propensity is None else campaign.propensity[first][rows],
        )
        if not contrast.usable:
            continue
        difference = contrast.difference(sizes[rows])
        p = min(1.0, len(arms) * 2 * float(stdtr(difference.df, -abs(difference.t))))
        control = float(sizes[codes == 0].mean())
        found.append((p, contrast.arm, 1 + difference.estimate / control))
    return min(found)


def _exact_copies(campaign: Campaign, rows: np.ndarray) -> int:
    """Rows that repeat an earlier row in every column, by 64-bit hash."""
    chosen = campaign.table.take(pa.array(rows))
    key = np.zeros(len(rows), np.uint64)
    for name in chosen.column_names:
        column = chosen[name]
        if columns.is_numeric(column):
            part = columns.to_float(column, dtype=np.float64).view(np.uint64)
        elif columns.is_text(column):
            part = (
                columns.labels(column).indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.uint64)
            )
        else:
            continue  # nested columns: no role can use them
        key = (key ^ part) * np.uint64(0x9E3779B97F4A7C15)
        key ^= key >> np.uint64(29)
    return len(rows) - int(np.unique(key).size)


def _result(
    head: Mapping[str, str], status: Status, detail: str, data: Mapping[str, object] | None = None
) -> CheckResult:
    return CheckResult(
        check=head["check"], title=head["title"], status=status, detail=detail, data=dict(data or {})
    )
