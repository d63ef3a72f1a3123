"""Features that know what they should not: the outcome, or the arm, because they were written after the assignment."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from uplift import columns
from uplift.checks.contrast import Contrast, auc
from uplift.checks.design import Design
from uplift.checks.result import CheckResult, Status, worst
from uplift.hashing import unit_uniform

OUTCOME_AUC = 0.98
ARM_AUC_WARN, ARM_AUC_FAIL = 0.6, 0.9
ONLY_WITH = 0.98
SAMPLE = 40_000
"""Rows that a single-feature AUC is measured on, and as many more of the rarer class; AUC does not depend on class shares."""
MIN_ROWS = 20
LOG_CHANCE = float(np.log(1e-6))
"""Patterns are reported when chance would give them less than once in a million features."""
AFTER = re.compile(
    r"(is_?|has_?|was_?|did_?|n_?|num_?|total_?)?(exposures?|exposed|impressions?|viewed|opened|opens|clicks?|clicked|visits?|visited"
    r"|redeemed|redemptions?|converted|conversions?|purchased|bought|responded|responses?|outcome|label|target)",
    re.IGNORECASE,
)
"""Whole names that usually mean something measured after the assignment (`clicks_last_year` does not match)."""


@dataclass(frozen=True)
class Finding:
    """One reason to distrust a feature."""

    feature: str
    status: Status
    reason: str
    data: dict[str, object]


@dataclass(frozen=True)
class Feature:
    """A column as codes or numbers, float64 [row] with NaN where missing."""

    name: str
    values: np.ndarray
    categorical: bool

    @cached_property
    def unusual(self) -> tuple[tuple[str, np.ndarray], ...]:
        """Simple yes/no readings of the column: differs from its usual value; is missing; is there."""
        missing = np.isnan(self.values)
        usual = _mode(self.values[~missing])
        masks = [
            (
                f"differs from {usual:g}" if not self.categorical else "is unusual",
                ~missing & (self.values != usual),
            )
        ]
        if missing.any():
            masks += [("is missing", missing), ("is there", ~missing)]
        return tuple(masks)


def check_leakage(design: Design) -> CheckResult:
    """Look for features that were measured after the assignment.

    Fails when one feature alone predicts a stage with AUC >= 0.98, when it is unusual (non-zero, missing,
    present) only in rows that reach a stage, when it takes values in other arms that an arm which should share
    them never has, or when it tells an arm from control with AUC >= 0.9. Warns when everyone who reaches a
    stage has an unusual value that few others have, when it tells the arms apart with AUC >= 0.6, when such
    hints agree weakly, and when its whole name says so (``exposure``, ``clicked``, ...).
    """
    campaign = design.campaign
    found: list[Finding] = []
    draw = unit_uniform(campaign.unit_ids, f"leakage:{design.seed}")
    stages = _stage_contrasts(design, draw)
    arms = [_thinned(contrast, draw) for contrast in design.contrasts]
    for name in campaign.feature_names:
        feature = _read(design, name)
        found += _outcome_auc(feature, stages, draw)
        found += _arm_auc(feature, arms, draw)
        found += _patterns(design, feature)
        if AFTER.fullmatch(name.strip()):
            found.append(Finding(name, "warn", "is named like something that happens after assignment", {}))
    status = worst(finding.status for finding in found)
    suspects = _by_feature(found)
    detail = "no feature gives away the arm or an outcome."
    if suspects:
        first = next(iter(suspects))
        # One sentence names the worst reason; the data hold all of them.
        others = list(suspects)[1:6]
        detail = (
            f"{len(suspects)} suspicious feature(s), first {first!r}, which {suspects[first][0].reason}"
            + (f"; also {', '.join(map(repr, others))}" if others else "")
            + (" and more" if len(suspects) > 6 else "")
            + "; exclude every column that is known only after the assignment."
        )
    return CheckResult(
        check="leakage",
        title="Does a feature know the arm or the outcome?",
        status=status,
        detail=detail,
        data={
            "suspects": {
                name: [
                    {"status": finding.status, "reason": finding.reason, **finding.data}
                    for finding in findings
                ]
                for name, findings in suspects.items()
            }
        },
    )


def _by_feature(found: list[Finding]) -> dict[str, list[Finding]]:
    rank = {"fail": 0, "warn": 1, "pass": 2}
    result: dict[str, list[Finding]] = {}
    for finding in sorted(found, key=lambda one: rank[one.status]):
        result.setdefault(finding.feature, []).append(finding)
    return result


def _read(design: Design, name: str) -> Feature:
    column = design.campaign.table[name]
    if name in design.campaign.numeric_features:
        return Feature(name, columns.to_float(column, dtype=np.float64), False)
    codes = columns.labels(column).indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.float64)
    return Feature(name, np.where(codes < 0, np.nan, codes), True)


def _mode(values: np.ndarray) -> float:
    """Most frequent value: of a sample when there are many rows, because only a dominant one matters."""
    if values.size == 0:
        return 0.0
    some = values[:: max(1, values.size // 50_000)]
    distinct, counts = np.unique(some, return_counts=True)
    return float(distinct[np.argmax(counts)])


def _score(feature: Feature, rows: np.ndarray, target: np.ndarray, half: np.ndarray) -> np.ndarray:
    """The feature as a score for `target`: numbers as they are, categories by their mean on the other half.

    Missing numbers are put on the side that their own target mean suggests, also from the other half.
    """
    values = feature.values[rows]
    missing = np.isnan(values)
    if not feature.categorical and (missing.all() or not missing.any()):
        result: np.ndarray = np.nan_to_num(values)
        return result
    codes = (
        np.where(missing, 0, values + 1).astype(np.int64) if feature.categorical else missing.astype(np.int64)
    )
    size = int(codes.max(initial=0)) + 1
    score = np.zeros(len(rows))
    base = float(target.mean())
    for side in (False, True):
        fit = half != side
        count = np.bincount(codes[fit], minlength=size)
        mean = (np.bincount(codes[fit], target[fit], size) + base) / (count + 1)
        score[half == side] = mean[codes[half == side]]
    if feature.categorical:
        return score
    ranks = np.argsort(np.argsort(np.where(missing, np.inf, values)))
    upward = (
        float(np.corrcoef(values[~missing], target[~missing])[0, 1])
        if _varies(values[~missing], target[~missing])
        else 0.0
    )
    sign = -1.0 if upward < 0 else 1.0
    there = ~missing
    side_of_missing = score[missing].mean() > score[there].mean()
    return np.where(there, sign * ranks, len(rows) * 2.0 if side_of_missing else -len(rows) * 2.0)


def _varies(values: np.ndarray, target: np.ndarray) -> bool:
    return values.size > 1 and np.ptp(values) > 0 and np.ptp(target) > 0


def _stage_contrasts(design: Design, draw: np.ndarray) -> list[Contrast]:
    """Rows that reached a stage against those that did not, for every stage with enough of both."""
    rows = np.arange(design.campaign.n_rows)
    found = []
    for s, stage in enumerate(design.campaign.chain):
        contrast = _thinned(Contrast(stage, rows, design.campaign.outcomes[:, s] == 1), draw)
        if _both(contrast):
            found.append(contrast)
    return found


def _thinned(contrast: Contrast, draw: np.ndarray) -> Contrast:
    """At most about `SAMPLE` rows of each class, whole units."""
    n_treated = int(contrast.treated.sum())
    n_control = len(contrast.rows) - n_treated
    if max(n_treated, n_control) <= SAMPLE:
        return contrast
    keep = np.where(contrast.treated, SAMPLE / max(n_treated, 1), SAMPLE / max(n_control, 1))
    return contrast.subset(np.flatnonzero(draw[contrast.rows] < keep))


def _both(contrast: Contrast) -> bool:
    return contrast.usable and min(contrast.treated.sum(), (~contrast.treated).sum()) >= MIN_ROWS


def _alone(feature: Feature, contrast: Contrast, draw: np.ndarray) -> tuple[float, float]:
    """AUC of one feature, turned above 1/2, and its standard error."""
    half = np.floor(draw[contrast.rows] * 1e9).astype(np.int64) % 2 == 0
    score = _score(feature, contrast.rows, contrast.treated.astype(np.float64), half)
    area, se = auc(contrast, score)
    return max(area, 1 - area), se


def _outcome_auc(feature: Feature, stages: list[Contrast], draw: np.ndarray) -> Iterator[Finding]:
    for contrast in stages:
        area, _ = _alone(feature, contrast, draw)
        if area >= OUTCOME_AUC:
            data: dict[str, object] = {"stage": contrast.arm, "auc": area}
            yield Finding(feature.name, "fail", f"alone predicts {contrast.arm!r} with AUC {area:.3f}", data)


def _arm_auc(feature: Feature, arms: list[Contrast], draw: np.ndarray) -> Iterator[Finding]:
    for contrast in arms:
        if not _both(contrast):
            continue
        area, se = _alone(feature, contrast, draw)
        if area >= ARM_AUC_WARN and area - 0.5 > 4.9 * se:  # 4.9 sigma: p = 1e-6
            yield Finding(
                feature.name,
                "fail" if area >= ARM_AUC_FAIL else "warn",
                f"alone tells arm {contrast.arm!r} from control with AUC {area:.3f}",
                {"arm": contrast.arm, "auc": area},
            )


def _patterns(design: Design, feature: Feature) -> Iterator[Finding]:
    for words, mask in feature.unusual:
        count = int(mask.sum())
        if count == 0 or count == len(mask):
            continue
        yield from _with_stage(design, feature.name, words, mask, count)
        yield from _with_arm(design, feature.name, words, mask)


def _with_stage(design: Design, name: str, words: str, mask: np.ndarray, count: int) -> Iterator[Finding]:
    n = len(mask)
    for s, stage in enumerate(design.campaign.chain):
        reached = design.campaign.outcomes[:, s] == 1
        positives, both = int(reached.sum()), int((reached & mask).sum())
        if positives in (0, n):
            continue
        data = {"stage": stage, "rows": count, "with_stage": both, "positives": positives}
        if both >= MIN_ROWS and both >= ONLY_WITH * count and both * np.log(positives / n) < LOG_CHANCE:
            yield Finding(
                name, "fail", f"{words} only where {stage!r} is 1 ({both:,} of {count:,} rows)", data
            )
        elif (
            both >= MIN_ROWS
            and both >= ONLY_WITH * positives
            and count < n / 2
            and both * np.log(count / n) < LOG_CHANCE
        ):
            yield Finding(
                name,
                "warn",
                f"{words} in {both:,} of the {positives:,} rows with {stage!r} = 1 and in only {count / n:.1%} of all",
                data,
            )


def _with_arm(design: Design, name: str, words: str, mask: np.ndarray) -> Iterator[Finding]:
    """Arms in which `mask` never holds although their share of the rows says that it should."""
    campaign = design.campaign
    if campaign.propensity is not None:
        return
    codes = campaign.arm_codes
    seen = np.bincount(codes[mask], minlength=len(campaign.arms))
    for arm in np.flatnonzero((seen == 0) & (design.row_counts > 0)):
        chance = _log_chance_of_none(design, mask, int(arm)) + np.log(len(campaign.feature_names) * len(seen))
        data = {"arm": campaign.arm_names[arm], "rows": int(mask.sum()), "log_chance": chance}
        reason = f"{words} in {int(mask.sum()):,} rows and never in arm {campaign.arm_names[arm]!r}"
        if chance < LOG_CHANCE:
            yield Finding(name, "fail", reason, data)
        elif _log_chance_of_none(design, mask, int(arm)) < np.log(0.05):
            stage = _related_stage(design, mask)
            if stage is not None:
                yield Finding(name, "warn", f"{reason}, and goes along with {stage!r}", data)


def _log_chance_of_none(design: Design, mask: np.ndarray, arm: int) -> float:
    """Log of the chance that none of the masked units is in `arm`, by the arm's share in each stratum."""
    campaign, rows = design.campaign, design.assignments
    strata = np.zeros(campaign.n_rows, np.int64) if campaign.stratum_codes is None else campaign.stratum_codes
    size = int(strata.max()) + 1
    inside = mask[rows]
    in_arm = np.bincount(strata[rows], campaign.arm_codes[rows] == arm, size)
    total = np.bincount(strata[rows], minlength=size)
    share = np.minimum(in_arm / np.maximum(total, 1), 1 - 1e-9)
    return float(np.bincount(strata[rows][inside], minlength=size) @ np.log1p(-share))


def _related_stage(design: Design, mask: np.ndarray) -> str | None:
    """The first stage whose rate differs between masked and other rows beyond chance (p < alpha)."""
    from scipy.stats import fisher_exact

    for s, stage in enumerate(design.campaign.chain):
        reached = design.campaign.outcomes[:, s] == 1
        table = [
            [int((mask & reached).sum()), int((mask & ~reached).sum())],
            [int((~mask & reached).sum()), int((~mask & ~reached).sum())],
        ]
        if fisher_exact(table)[1] < design.alpha:
            return stage
    return None
