"""Could every unit have received every arm, and do the propensities agree with what happened?"""

from __future__ import annotations

from typing import Any

import numpy as np

from uplift.checks.design import Design
from uplift.checks.result import CheckResult, Status, p_text, worst

SMALL = 0.01
SMALL_SHARE = 0.01
LOW_ESS = 0.1
DEVIATION = 0.05
ALONE_WARN, ALONE_FAIL = 0.01, 0.2
"""Share of rows in strata without control, or with nothing but control."""


def check_overlap(design: Design) -> CheckResult:
    """Range, effective sample size and calibration of the propensities; strata that hold a single arm.

    The propensity is that of the arm received, so the mean of 1{arm = k} / p must be about 1 in every arm k
    (Horvitz-Thompson); a deviation beyond 5 % with a Bonferroni-adjusted p < alpha fails.
    """
    campaign = design.campaign
    title = "Could everyone have received every arm?"
    if campaign.propensity is not None:
        status, detail, data = _propensities(design, campaign.propensity)
    elif campaign.stratum_codes is not None:
        status, detail, data = _strata(design, campaign.stratum_codes)
    else:
        status, detail, data = "pass", "no propensities and no strata: one lottery for all.", {}
    return CheckResult(check="overlap", title=title, status=status, detail=detail, data=data)


def _strata(design: Design, stratum: np.ndarray) -> tuple[Status, str, dict[str, Any]]:
    treated = design.campaign.arm_codes > 0
    size = int(stratum.max()) + 1
    n, n_treated = np.bincount(stratum, minlength=size), np.bincount(stratum, treated, size)
    alone = (n > 0) & ((n_treated == 0) | (n_treated == n))
    share = float(n[alone].sum() / design.campaign.n_rows)
    status: Status = "fail" if share > ALONE_FAIL else "warn" if share > ALONE_WARN else "pass"
    numbers = f"{int(alone.sum()):,} of {int((n > 0).sum()):,} strata ({share:.1%} of rows) hold only control or no control"
    advice = {
        "pass": "control and treatment meet in the rest",
        "warn": "these rows say nothing about effects, merge small strata",
        "fail": "strata are too fine or treatment was decided by stratum: merge strata or drop these rows",
    }[status]
    data = {"strata": int((n > 0).sum()), "single": int(alone.sum()), "single_row_share": share}
    return status, f"{numbers}; {advice}.", data


def _propensities(design: Design, p: np.ndarray) -> tuple[Status, str, dict[str, Any]]:
    campaign = design.campaign
    small, certain = float((p < SMALL).mean()), float((p >= 1 - 1e-9).mean())
    ess = {}
    for k, name in enumerate(campaign.arm_names):
        inverse = 1 / p[campaign.arm_codes == k]
        if inverse.size:
            ess[name] = float(inverse.sum() ** 2 / (inverse @ inverse) / inverse.size)
    mean, chance = _calibration(design, p)
    off = min(chance, key=lambda name: (chance[name], -abs(mean[name] - 1)))
    calibrated = design.verdict(chance[off], matters=abs(mean[off] - 1) > DEVIATION)
    least = min(ess, key=lambda name: ess[name])
    advice = []
    if calibrated != "pass":
        swap = _probability_of_treatment(design, p)
        remedy = (
            "the column looks like the probability of treatment, give the probability of the arm received"
            if swap
            else "these are not the probabilities of the arms received"
        )
        advice.append(
            f"arm {off!r} was received {mean[off]:.2f} times as often as the propensities say (adjusted {p_text(chance[off])}): {remedy}"
        )
    if small > SMALL_SHARE:
        advice.append(
            f"{small:.1%} of rows have a propensity below {SMALL}: cap weights or drop these customers"
        )
    if certain > 0:
        advice.append(f"{certain:.1%} of rows have propensity 1: no alternative was possible, drop them")
    if ess[least] < LOW_ESS:
        advice.append(
            f"the weights of arm {least!r} leave {ess[least]:.1%} of its rows: expect wide intervals"
        )
    thin: Status = "warn" if small > SMALL_SHARE or certain > 0 or ess[least] < LOW_ESS else "pass"
    numbers = f"propensities {p.min():.3g} to {p.max():.3g}, effective sample at least {ess[least]:.0%} (arm {least!r})"
    detail = f"{numbers}; {'; '.join(advice) if advice else 'overlap is good and 1 / propensity adds up'}."
    data = {
        "min": p.min(),
        "max": p.max(),
        "share_below_0.01": small,
        "share_certain": certain,
        "effective_share": ess,
        "mean_inverse": mean,
        "p_adjusted": chance,
        "quantiles": np.quantile(p, np.linspace(0, 1, 21)),
    }
    return worst([calibrated, thin]), detail, data


def _calibration(design: Design, p: np.ndarray) -> tuple[dict[str, float], dict[str, float]]:
    """Per arm: mean of 1{arm} / p, and the adjusted p-value of its being 1, clustered by unit."""
    from scipy.special import ndtr

    campaign = design.campaign
    weight = np.ones(campaign.n_rows) if campaign.weights is None else campaign.weights
    mean, chance = {}, {}
    for k, name in enumerate(campaign.arm_names):
        excess = weight * ((campaign.arm_codes == k) / p - 1)
        clustered = excess if design.units is None else np.bincount(design.units, excess)
        se = float(np.sqrt(clustered @ clustered))
        z = float(excess.sum()) / se if se > 0 else 0.0
        mean[name] = 1 + float(excess.sum() / weight.sum())
        chance[name] = min(1.0, len(campaign.arms) * 2 * float(ndtr(-abs(z))))
    return mean, chance


def _probability_of_treatment(design: Design, p: np.ndarray) -> bool:
    """Whether 1 - p in control would make the propensities add up: a usual mistake with two arms."""
    if len(design.campaign.arms) != 2:
        return False
    control = design.campaign.arm_codes == 0
    other = 1 - p[control]
    return bool((other > 0).all() and abs((1 / other).sum() / len(p) - 1) < DEVIATION)
