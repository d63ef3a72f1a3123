"""Sample ratio: do the arms have the shares that the randomisation was set to?"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from uplift.checks.design import Design
from uplift.checks.result import CheckResult, Status, p_text
from uplift.errors import CampaignError, did_you_mean

NEARLY_EQUAL = 0.1
"""Without planned shares: arms within 10 % of equal were probably meant to be equal."""
MIN_EXPECTED = 5


def check_sample_ratio(design: Design, planned: Mapping[str, float] | None) -> CheckResult:
    """Pearson chi-square of assignments per arm against planned shares, overall and within strata.

    p < alpha (0.001) fails, p < 10 alpha (0.01) warns, after doubling where strata are tested too. Counts are
    units where a unit keeps its arm, rows where rows were randomised; sampling weights enter with their
    effective sample size (Rao and Scott 1981, first order). Without planned shares the result passes with a
    note, and warns only when arms are nearly equal (within 10 %) but significantly not equal.
    """
    names = design.campaign.arm_names
    counts, strata = _counted(design)
    shares = counts.sum(axis=0) / counts.sum()
    data = {
        "shares": dict(zip(names, shares, strict=True)),
        "counts": dict(zip(names, design.assignment_counts, strict=True)),
        "counted": design.assigned,
        "strata": strata,
        "strata_share_range": _share_ranges(names, counts),
    }
    title = "Do the arms have their planned shares?"
    observed = " / ".join(f"{share:.2%}" for share in shares[:8]) + (" / ..." if len(shares) > 8 else "")
    if planned is None:
        status, detail, equal_p = _against_equal(design, counts, shares, observed)
        return CheckResult(
            check="sample_ratio",
            title=title,
            status=status,
            detail=detail,
            data=data | {"planned": None, "p": None, "p_equal": equal_p},
        )
    target = _planned(planned, names)
    overall = chi_square_p(counts.sum(axis=0)[None, :], target)
    within = chi_square_p(_pool_small(counts, target), target) if strata > 1 else None
    p = overall if within is None else min(1.0, 2 * min(overall, within))
    status = design.verdict(p)
    worst_arm = int(np.argmax(np.abs(shares / target - 1)))
    numbers = f"{observed} of {design.assignment_counts.sum():,} {design.assigned} against planned {' / '.join(f'{t:.2%}' for t in target[:8])}"
    numbers += f", {p_text(p)}" + (
        f" (overall {overall:.2g}, within strata {within:.2g})" if strata > 1 else ""
    )
    advice = {
        "pass": "the ratio is as planned",
        "warn": f"a doubt: arm {names[worst_arm]!r} is {shares[worst_arm] / target[worst_arm] - 1:+.1%} off; look for {design.assigned} lost after assignment",
        "fail": f"sample ratio mismatch: arm {names[worst_arm]!r} is {shares[worst_arm] / target[worst_arm] - 1:+.1%} off; find out where {design.assigned} were lost or added before reading any effect",
    }[status]
    if status != "pass" and within is not None and within < overall:
        advice += ", or leave planned_shares out if strata were meant to differ"
    return CheckResult(
        check="sample_ratio",
        title=title,
        status=status,
        detail=f"{numbers}; {advice}.",
        data=data
        | {
            "planned": dict(zip(names, target, strict=True)),
            "p": p,
            "p_overall": overall,
            "p_within_strata": within,
        },
    )


def chi_square_p(counts: np.ndarray, target: np.ndarray) -> float:
    """p-value of counts [stratum, arm] against shares [arm], summed over strata.

    Examples
    --------
    >>> round(chi_square_p(np.array([[44700, 45489]]), np.array([0.5, 0.5])), 4)  # Cookie Cats
    0.0086
    """
    from scipy.special import chdtrc

    expected = counts.sum(axis=1, keepdims=True) * target[None, :]
    statistic = float(((counts - expected) ** 2 / expected).sum())
    return float(chdtrc(counts.shape[0] * (counts.shape[1] - 1), statistic))


def _counted(design: Design) -> tuple[np.ndarray, int]:
    """Effective assignments, float64 [stratum, arm], and the number of strata."""
    campaign, chosen = design.campaign, design.assignments
    arms = campaign.arm_codes[chosen].astype(np.int64)
    strata = np.zeros(len(chosen), np.int64)
    if campaign.stratum_codes is not None:
        strata = np.unique(campaign.stratum_codes[chosen], return_inverse=True)[1]
    n_strata, n_arms = int(strata.max()) + 1, len(campaign.arms)
    weights = None
    if campaign.weights is not None:
        weights = campaign.weights[chosen]
        weights = weights * weights.sum() / (weights @ weights)  # now sums to the effective sample size
    table = np.bincount(strata * n_arms + arms, weights, n_strata * n_arms).reshape(n_strata, n_arms)
    return table.astype(np.float64), n_strata


def _share_ranges(names: tuple[str, ...], counts: np.ndarray) -> dict[str, list[float]]:
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1e-300)
    return {name: [float(shares[:, k].min()), float(shares[:, k].max())] for k, name in enumerate(names)}


def _pool_small(counts: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Strata too small for the chi-square approximation, as one."""
    small = counts.sum(axis=1) * target.min() < MIN_EXPECTED
    pooled = counts[small].sum(axis=0, keepdims=True)
    kept = counts[~small]
    return np.concatenate([kept, pooled]) if pooled.sum() * target.min() >= MIN_EXPECTED else kept


def _against_equal(
    design: Design, counts: np.ndarray, shares: np.ndarray, observed: str
) -> tuple[Status, str, float]:
    equal = np.full(len(shares), 1 / len(shares))
    p = chi_square_p(counts.sum(axis=0)[None, :], equal)
    numbers = f"{observed} of {design.assignment_counts.sum():,} {design.assigned}"
    if design.campaign.propensity is not None:
        return "pass", f"{numbers}; the propensities say what was planned, see overlap.", p
    if len(counts) > 1:
        ranges = _share_ranges(design.campaign.arm_names, counts)
        low, high = ranges[design.campaign.control]
        numbers += f", control {low:.1%} to {high:.1%} over {len(counts):,} strata"
        return (
            "pass",
            f"{numbers}; not tested: strata may differ by design; if they should not, plan share = ... for every arm.",
            p,
        )
    nearly = np.abs(shares / equal - 1).max() < NEARLY_EQUAL
    near = f" ({p_text(p)} against equal shares)" if nearly else ""
    if nearly and p < design.alpha:
        return (
            "warn",
            f"{numbers} is nearly but not plausibly equal ({p_text(p)} against equal shares); plan share = ... for every arm to be sure, and look for lost {design.assigned} if equal shares were planned.",
            p,
        )
    return (
        "pass",
        f"{numbers}; not tested, because no shares were planned{near}; to test them add share = ... to every [arms.NAME].",
        p,
    )


def _planned(planned: Mapping[str, float], names: tuple[str, ...]) -> np.ndarray:
    given = {str(name): share for name, share in planned.items()}
    for name in given:
        if name not in names:
            raise CampaignError(f"planned_shares names the unknown arm {name!r}; {did_you_mean(name, names)}")
    missing = [name for name in names if name not in given]
    if missing:
        raise CampaignError(f"planned_shares lacks arm {missing[0]!r}; give the share of every arm.")
    shares = np.array([float(given[name]) for name in names])
    if not np.isfinite(shares).all() or (shares <= 0).any():
        raise CampaignError(
            f"planned_shares of arm {names[int(np.argmin(shares))]!r} is {shares.min():g}; shares must be positive."
        )
    total = float(shares.sum())
    if min(abs(total - 1), abs(total / 100 - 1)) > 0.005:
        raise CampaignError(f"planned_shares sum to {total:g}; they must sum to 1 (or to 100).")
    return shares / total
