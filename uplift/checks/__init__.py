"""Is this experiment fit to learn from? Thirteen questions to a campaign, each answered with numbers and advice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from uplift.checks.balance import check_balance_smd
from uplift.checks.classifier import check_balance_classifier
from uplift.checks.design import Design
from uplift.checks.leakage import check_leakage
from uplift.checks.outcomes import check_chain_logic, check_positives, check_value_logic
from uplift.checks.overlap import check_overlap
from uplift.checks.result import CheckReport, CheckResult, Status
from uplift.checks.sample_ratio import check_sample_ratio
from uplift.checks.size import check_arms, check_rows
from uplift.checks.units import check_duplicates, check_unit_arms
from uplift.checks.unused import check_constant_columns
from uplift.errors import CampaignError

if TYPE_CHECKING:
    from uplift.campaign import Campaign

__all__ = ["CheckReport", "CheckResult", "Status", "check"]


def check(
    campaign: Campaign,
    *,
    planned_shares: Mapping[str, float] | None = None,
    seed: int = 0,
    max_rows_for_classifier: int = 100_000,
    alpha: float = 0.001,
) -> CheckReport:
    """Check sample ratio, balance, chain, units, leakage and overlap of a campaign.

    Every test uses one convention: p < `alpha` is evidence (fail, where the defect is also large enough to
    matter), p < 10 `alpha` is a doubt (warn). With the default this is the usual sample-ratio convention
    (Fabijan et al. 2019): p < 0.001 fails, p < 0.01 warns. P-values over many features and arms are
    Bonferroni-adjusted. Balance is tested within strata, or weighted by 1 / propensity, where these are given;
    standard errors are clustered by unit.

    Parameters
    ----------
    planned_shares : mapping of arm name to share, optional
        Default: the planned shares of the arms (``[arms.NAME] share``).
        What the randomisation was set to, for all arms, summing to 1 (or to 100). Without it there is no
        sample-ratio test, only a hint when the shares are nearly, but not plausibly, equal.
    seed : int
        Of the folds and samples that the classifier and the leakage check draw.
    max_rows_for_classifier : int
        Rows the balance classifier sees, over all arms together; larger campaigns are sampled by unit.
    alpha : float
        In (0, 0.1).

    Returns
    -------
    CheckReport
        Always the same thirteen results in the same order: rows, arms, sample_ratio, balance_smd,
        balance_classifier, chain_logic, value_logic, duplicate_units, unit_arms, constant_columns, leakage,
        positives, overlap.

    Raises
    ------
    CampaignError
        The campaign is an audience without treatment or outcomes; planned shares do not name every arm or do
        not sum to 1; `alpha` or `max_rows_for_classifier` out of range.

    References
    ----------
    Fabijan et al. (2019), Diagnosing Sample Ratio Mismatch in Online Controlled Experiments, KDD.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from uplift.campaign import Campaign
    >>> rng = np.random.default_rng(0)
    >>> frame = pd.DataFrame({"coupon": rng.integers(0, 2, 4000), "buy": rng.integers(0, 2, 4000),
    ...                       "age": rng.normal(40, 9, 4000)})
    >>> report = check(Campaign.from_frame(frame, treatment="coupon", control=0, chain=["buy"]),
    ...                planned_shares={"0": 0.5, "1": 0.5})
    >>> report.passed, report["sample_ratio"].status
    (True, 'pass')
    """
    if not 0 < alpha < 0.1:
        raise CampaignError(f"alpha is {alpha}; it must lie between 0 and 0.1, for example 0.001.")
    if max_rows_for_classifier < 1000:
        raise CampaignError(
            f"max_rows_for_classifier is {max_rows_for_classifier}; the balance classifier needs at least 1000 rows."
        )
    design = Design(campaign, alpha=alpha, seed=seed)
    results = (
        check_rows(design),
        check_arms(design),
        check_sample_ratio(design, planned_shares if planned_shares is not None else campaign.planned_shares),
        check_balance_smd(design),
        check_balance_classifier(design, max_rows=max_rows_for_classifier),
        check_chain_logic(design),
        check_value_logic(design),
        check_duplicates(design),
        check_unit_arms(design),
        check_constant_columns(design),
        check_leakage(design),
        check_positives(design),
        check_overlap(design),
    )
    return CheckReport(results, campaign=campaign.name)
