"""Standardised mean differences of every feature, every arm against control."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from uplift import columns
from uplift.checks.contrast import Contrast, Difference
from uplift.checks.design import Design
from uplift.checks.result import CheckResult, p_text, worst

SMD_LIMIT = 0.1
"""Customary limit of negligible imbalance (Austin 2009)."""
MAX_LEVELS = 20
"""Most frequent categories compared one by one; the rest as one."""
MIN_LEVEL_ROWS = 50
"""Rarer categories are pooled: the normal approximation needs a handful of rows in every arm."""


@dataclass(frozen=True)
class Comparison:
    """One tested difference: a feature's mean, one of its categories, or its missingness."""

    feature: str
    part: str
    arm: str
    difference: Difference


def check_balance_smd(design: Design) -> CheckResult:
    """Compare features (and time of assignment) before treatment.

    Fails when |SMD| > 0.1 and its Bonferroni-adjusted p < alpha: with small arms an SMD of 0.1 is noise, with
    huge ones 0.01 is significant. Warns when the adjusted p < 10 alpha, whatever the SMD. Categories are
    compared level by level, missing values as a level of their own; within strata or weighted by
    1 / propensity where these are given.
    """
    from scipy.special import stdtr

    title = "Are customers alike in all arms?"
    found = list(_comparisons(design))
    if not found:
        why = "no features" if not design.campaign.feature_names else "no arm can be compared with control"
        return CheckResult(
            check="balance_smd",
            title=title,
            status="pass",
            detail=f"{why}: balance was not tested; add columns known before the assignment.",
            data={"smd": {}, "missing_smd": {}, "limit": SMD_LIMIT, "tests": 0},
        )
    t = np.array([one.difference.t for one in found])
    df = np.array([one.difference.df for one in found])
    smd = np.array([one.difference.smd for one in found])
    p = np.minimum(1.0, len(found) * 2 * stdtr(df, -np.abs(t)))
    statuses = [
        design.verdict(float(p_one), matters=abs(float(smd_one)) > SMD_LIMIT)
        for p_one, smd_one in zip(p, smd, strict=True)
    ]
    status = worst(statuses)
    flagged = [i for i in np.lexsort((-np.abs(smd), p)) if statuses[i] != "pass"]
    lead = flagged[0] if flagged else int(np.argmax(np.abs(smd)))
    if status == "fail":
        lead = next(i for i in flagged if statuses[i] == "fail")
    one = found[lead]
    where = f"{one.feature!r}{one.part} in arm {one.arm!r}"
    numbers = f"{len(found):,} comparisons{_how(design)}, largest |SMD| {np.abs(smd).max():.3f}"
    names = sorted({found[i].feature for i in flagged})
    advice = {
        "pass": "no imbalance beyond chance",
        "warn": f"{len(names)} feature(s) differ more than chance allows, first {where} (SMD {smd[lead]:+.3f}, adjusted {p_text(p[lead])}); small, but ask how the assignment was made",
        "fail": f"{len(names)} feature(s) differ, first {where} (SMD {smd[lead]:+.3f}, adjusted {p_text(p[lead])}): the arms hold different customers; give strata or propensities if they explain it, else do not read effects off this campaign",
    }[status]
    return CheckResult(
        check="balance_smd",
        title=title,
        status=status,
        detail=f"{numbers}; {advice}.",
        data=_plot_data(found, smd, p) | {"limit": SMD_LIMIT, "tests": len(found)},
    )


def _how(design: Design) -> str:
    if design.campaign.propensity is not None:
        return " weighted by 1 / propensity"
    return " within strata" if design.campaign.stratum_codes is not None else ""


def _plot_data(
    found: list[Comparison], smd: np.ndarray, p: np.ndarray
) -> dict[str, dict[str, dict[str, Any]]]:
    """{feature: {arm: number}}: the category with the largest |SMD| stands for its feature."""
    result: dict[str, dict[str, dict[str, Any]]] = {
        "smd": {},
        "missing_smd": {},
        "level": {},
        "p_adjusted": {},
    }
    for one, size, chance in zip(found, smd, p, strict=True):
        kind = "missing_smd" if one.part == " (missing)" else "smd"
        arms = result[kind].setdefault(one.feature, {})
        if one.arm not in arms or abs(size) > abs(arms[one.arm]):
            arms[one.arm] = float(size)
            if one.part and kind == "smd":
                result["level"].setdefault(one.feature, {})[one.arm] = one.part.removeprefix(" = ")
        least = result["p_adjusted"].setdefault(one.feature, {})
        least[one.arm] = min(float(chance), least.get(one.arm, 1.0))
    return result


def _comparisons(design: Design) -> Iterator[Comparison]:
    campaign = design.campaign
    contrasts = [contrast for contrast in design.contrasts if contrast.usable]
    for name in campaign.numeric_features:
        values = columns.to_float(campaign.table[name], dtype=np.float64)
        for contrast in contrasts:
            yield from _numeric(name, values[contrast.rows], contrast)
    if campaign.times is not None:
        for contrast in contrasts:
            yield from _numeric(str(campaign.roles.time), campaign.times[contrast.rows], contrast)
    for name in campaign.categorical_features:
        codes, labels = _levels(campaign.table[name])
        for contrast in contrasts:
            yield from _categorical(name, codes[contrast.rows], labels, contrast)


def _numeric(name: str, values: np.ndarray, contrast: Contrast) -> Iterator[Comparison]:
    missing = np.isnan(values)
    if missing.any():
        if enough(missing):
            yield Comparison(
                name, " (missing)", contrast.arm, contrast.difference(missing.astype(np.float64))
            )
        contrast, values = contrast.subset(~missing), values[~missing]
        if values.size < MIN_LEVEL_ROWS or not contrast.usable:
            return
    if values.min() != values.max():
        yield Comparison(name, "", contrast.arm, contrast.difference(values))


def enough(indicator: np.ndarray) -> bool:
    """Whether an indicator has 50 rows on both sides."""
    ones = int(indicator.sum())
    return min(ones, len(indicator) - ones) >= MIN_LEVEL_ROWS


def _levels(column: columns.Column) -> tuple[np.ndarray, list[str]]:
    """Codes int64 [row] of the frequent categories; the last code is every other, 0 is missing."""
    encoded = columns.labels(column)
    words = encoded.dictionary.to_pylist()
    codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    counts = np.bincount(codes + 1, minlength=len(words) + 1)
    frequent = np.argsort(-counts[1:], kind="stable")[:MAX_LEVELS]
    frequent = frequent[counts[1:][frequent] >= MIN_LEVEL_ROWS]
    lookup = np.full(len(words) + 1, len(frequent) + 1)
    lookup[0] = 0
    lookup[frequent + 1] = np.arange(1, len(frequent) + 1)
    labels = [" (missing)", *(f" = {words[i]!r}" for i in frequent), " = any other"]
    return lookup[codes + 1], labels


def _categorical(name: str, codes: np.ndarray, labels: list[str], contrast: Contrast) -> Iterator[Comparison]:
    for code in np.unique(codes):
        indicator = codes == code
        if enough(indicator):
            yield Comparison(
                name, labels[code], contrast.arm, contrast.difference(indicator.astype(np.float64))
            )
