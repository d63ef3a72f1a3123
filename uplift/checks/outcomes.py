"""Do the outcomes obey the chain, and are there enough of them?"""

from __future__ import annotations

from typing import Any

import numpy as np

from uplift.checks.design import Design
from uplift.checks.result import CheckResult, Status, worst

BROKEN = 0.01
"""Share of broken rows up to which they can be repaired or dropped."""
FEW_POSITIVES = 30


def check_chain_logic(design: Design) -> CheckResult:
    """A later stage must not be reached without every earlier one: mu_conversion = mu_click * cvr needs it.

    Warns up to 1 % of the rows that reach the later stage, fails above.
    """
    campaign = design.campaign
    reached = campaign.outcomes[:, : len(campaign.chain)] == 1
    title = "Does every stage imply the one before?"
    if len(campaign.chain) == 1:
        return CheckResult(
            check="chain_logic",
            title=title,
            status="pass",
            detail="one stage, nothing to contradict.",
            data={"pairs": []},
        )
    pairs: list[dict[str, Any]] = []
    for later in range(1, len(campaign.chain)):
        positives = int(reached[:, later].sum())
        for earlier in range(later):
            broken = int((reached[:, later] & ~reached[:, earlier]).sum())
            pairs.append(
                {
                    "earlier": campaign.chain[earlier],
                    "later": campaign.chain[later],
                    "broken": broken,
                    "share": broken / max(positives, 1),
                }
            )
    top = max(pairs, key=lambda pair: pair["share"])
    status: Status = "pass" if top["share"] == 0 else "warn" if top["share"] <= BROKEN else "fail"
    if status == "pass":
        detail = f"{' <- '.join(map(repr, campaign.chain[::-1]))} holds in all {campaign.n_rows:,} rows."
    else:
        numbers = f"{top['broken']:,} rows have {top['later']!r} = 1 but {top['earlier']!r} = 0 ({top['share']:.1%} of its positives)"
        advice = (
            "few enough to set the earlier stage to 1"
            if status == "warn"
            else f"this is no chain: leave {top['earlier']!r} out of it, or repair the tracking"
        )
        detail = f"{numbers}; {advice}."
    return CheckResult(check="chain_logic", title=title, status=status, detail=detail, data={"pairs": pairs})


def check_value_logic(design: Design) -> CheckResult:
    """A value without the last stage (warn up to 1 % of values, fail above), and negative values (warn)."""
    campaign = design.campaign
    title = "Does value come only with the last stage?"
    if not campaign.has_value:
        return CheckResult(
            check="value_logic", title=title, status="pass", detail="no value column, nothing to check."
        )
    value, last = campaign.outcomes[:, -1], campaign.outcomes[:, -2] == 1
    some = value != 0
    stray, zero, negative = int((some & ~last).sum()), int((last & ~some).sum()), int((value < 0).sum())
    share = stray / max(int(some.sum()), 1)
    status: Status = "fail" if share > BROKEN else "warn" if stray or negative else "pass"
    stage, column = campaign.chain[-1], campaign.roles.value
    advice = []
    if stray:
        remedy = "set it to 0 there" if share <= BROKEN else "use the stage it belongs to as the last one"
        advice.append(
            f"{stray:,} rows have a {column!r} without {stage!r} ({share:.1%} of all values), {remedy}"
        )
    if negative:
        advice.append(
            f"{negative:,} values are negative down to {value.min():g}, check whether returns are meant"
        )
    if zero:
        advice.append(f"{zero:,} of {int(last.sum()):,} rows with {stage!r} have a value of 0")
    total = float(np.abs(value, dtype=np.float64).sum())
    largest = float(np.abs(value).max()) / total if total else 0.0
    detail = (
        "; ".join(advice) if advice else f"{int(some.sum()):,} values, all with {stage!r} and none negative"
    )
    return CheckResult(
        check="value_logic",
        title=title,
        status=status,
        detail=detail + ".",
        data={
            "without_last_stage": stray,
            "share": share,
            "negative": negative,
            "zero_at_last_stage": zero,
            "share_of_largest": largest,
        },
    )


def check_positives(design: Design) -> CheckResult:
    """Rows per arm and stage that reached it: below 30 in an arm warns, none in any arm fails.

    A stage that all but 30 rows of an arm reach teaches as little as one that nobody reaches, and warns too.
    """
    campaign = design.campaign
    arms = len(campaign.arms)
    counts = np.stack(
        [
            np.bincount(campaign.arm_codes, campaign.outcomes[:, stage], arms)
            for stage in range(len(campaign.chain))
        ],
        axis=1,
    ).astype(np.int64)
    rest = design.row_counts[:, None] - counts
    statuses: list[Status] = []
    advice = []
    for s, stage in enumerate(campaign.chain):
        arm = int(np.argmin(np.minimum(counts[:, s], rest[:, s])))
        name = campaign.arm_names[arm]
        if counts[:, s].sum() == 0 or rest[:, s].sum() == 0:
            same = 0 if counts[:, s].sum() == 0 else 1
            statuses.append("fail" if same == 0 else "warn")
            remedy = (
                "nothing can be learned, wait for outcomes or end the chain earlier"
                if same == 0
                else "leave it out of the chain"
            )
            advice.append(f"{stage!r} is {same} in every row: {remedy}")
        elif counts[arm, s] < FEW_POSITIVES:
            statuses.append("warn")
            advice.append(
                f"arm {name!r} has {counts[arm, s]:,} rows with {stage!r} = 1, fewer than {FEW_POSITIVES}: effects on it are noise, end the chain earlier or wait"
            )
        elif rest[arm, s] < FEW_POSITIVES:
            statuses.append("warn")
            advice.append(
                f"arm {name!r} has only {rest[arm, s]:,} rows with {stage!r} = 0: leave the stage out of the chain"
            )
    status = worst(statuses)
    if status == "pass":
        least = np.unravel_index(np.argmin(counts), counts.shape)
        advice = [
            f"at least {counts.min():,} positives per arm and stage (arm {campaign.arm_names[least[0]]!r}, {campaign.chain[least[1]]!r})"
        ]
    return CheckResult(
        check="positives",
        title="Are there enough outcomes in every arm?",
        status=status,
        detail="; ".join(advice) + ".",
        data={
            "positives": {
                arm: dict(zip(campaign.chain, row, strict=True))
                for arm, row in zip(campaign.arm_names, counts, strict=True)
            },
            "rows": dict(zip(campaign.arm_names, design.row_counts, strict=True)),
        },
    )
