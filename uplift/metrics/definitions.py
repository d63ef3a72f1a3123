"""Every metric by its definition id: what it is, in words and as a formula, and where it comes from."""

from __future__ import annotations

import re
from dataclasses import dataclass

HEADLINE = "qini_per_capita"
"""Metric by which models are ranked and the default model is chosen (on a validation split)."""

BINARY_ONLY = ("qini_sklift", "auuc_sklift")
"""Defined for 0/1 outcomes only, as in scikit-uplift."""


@dataclass(frozen=True)
class Definition:
    """One metric.

    Attributes
    ----------
    id : str
        Name in every result, plot and export.
    title, formula, unit, random, perfect, source : str
        For people; `random` and `perfect` are the values of an uninformative and of an ideal ranking.

    Examples
    --------
    >>> from uplift.metrics import describe
    >>> describe("qini_per_capita").unit
    'outcome per customer'
    """

    id: str
    title: str
    formula: str
    unit: str
    random: str
    perfect: str
    source: str


_DEFINITIONS = (
    Definition(
        "ate", "Average treatment effect",
        "mean outcome of the arm - mean outcome of control; within strata (weighted by stratum size) or weighted by 1/propensity where given",
        "outcome per customer", "-", "-", "Neyman 1923; Imbens and Rubin 2015, ch. 6 and 9",
    ),
    Definition(
        "predicted_ate", "Mean predicted effect", "mean of tau over the test customers of both groups",
        "outcome per customer", "-", "equal to ate when calibrated", "calibration in the large",
    ),
    Definition(
        "qini_per_capita", "Qini per customer (headline)",
        "area between V4(q) = Y_T(q)/n_T - Y_C(q)/n_C and its chord, q = share of customers by descending tau",
        "outcome per customer", "0", "depends on the data", "Guelman 2014; Yadlowsky et al. 2021 (QINI); YDF",
    ),
    Definition(
        "qini_sklift", "Qini, scikit-uplift",
        "area of V1 = Y_T - Y_C N_T/N_C above its chord / same for the realised optimum",
        "ratio", "0", "1", "Radcliffe 2007; scikit-uplift qini_auc_score(negative_effect=True)",
    ),
    Definition(
        "auuc_sklift", "AUUC, scikit-uplift",
        "area of V2 = (Y_T/N_T - Y_C/N_C)(N_T + N_C) above its chord / same for its optimum",
        "ratio", "0", "1", "Gutierrez and Gerardy 2017; scikit-uplift uplift_auc_score",
    ),
    Definition(
        "autoc", "AUTOC",
        "mean over q of TOC(q) = V4(q) / q - ate: what the first customers of the ranking gain over the average one; the first of them weigh most",
        "outcome per customer", "0", "depends on the data", "Yadlowsky et al. 2021 (grf AUTOC, inverse propensity scores)",
    ),
    Definition(
        "calibration_slope", "Calibration slope",
        "(Cov_T(y, tau) - Cov_C(y, tau)) / Var(tau): rise of the true effect per unit of the predicted one; below 1 the predictions spread too far",
        "ratio", "0", "1 when calibrated", "Chernozhukov et al. 2018 (best linear predictor)",
    ),
    Definition(
        "calibration_error", "Calibration error",
        "root mean squared difference of observed and predicted effects over tenths of the ranking, less the noise of the observed",
        "outcome per customer", "-", "0", "Xu and Yadlowsky 2022, with tenths",
    ),
    Definition(
        "policy_value_ips", "Policy value, inverse propensity weighting",
        "mean(w y), w = probability of the received arm under the plan / in the log (its share within the stratum where it is not given)",
        "value per customer", "value of the log", "depends on the data", "Horvitz and Thompson 1952; Open Bandit Pipeline (IPW)",
    ),
    Definition(
        "policy_value_snips", "Policy value, self-normalised inverse propensity weighting",
        "sum(w y) / sum(w)",
        "value per customer", "value of the log", "depends on the data", "Swaminathan and Joachims 2015; Open Bandit Pipeline (SNIPW)",
    ),
    Definition(
        "policy_value_stratified", "Policy value, compared within decisions",
        "sum over arms k of the plan: share of its customers x sum(w y) / sum(w) among them",
        "value per customer", "value of the log", "depends on the data", "post-stratification by the decision; Imbens and Rubin 2015, ch. 9",
    ),
    Definition(
        "policy_value_dm", "Policy value, direct method",
        "mean of the predicted outcome under the plan's arm; the interval does not contain the model's error",
        "value per customer", "-", "depends on the data", "Open Bandit Pipeline (DM)",
    ),
    Definition(
        "policy_value_dr", "Policy value, doubly robust",
        "mean(mu of the plan's arm + w (y - mu of the received arm))",
        "value per customer", "value of the log", "depends on the data", "Robins, Rotnitzky and Zhao 1994; Dudik, Langford and Li 2011; Open Bandit Pipeline (DR)",
    ),
    Definition(
        "policy_value_sndr", "Policy value, self-normalised doubly robust",
        "mean(mu of the plan's arm) + sum(w (y - mu of the received arm)) / sum(w)",
        "value per customer", "value of the log", "depends on the data", "Open Bandit Pipeline (SNDR)",
    ),
    Definition(
        "aucc", "Area under the cost curve",
        "area under Q(B), the gain of the plans of all budgets over their spend, / (last spend x last gain)",
        "ratio", "0.5", "depends on the data", "Du, Lee and Ghaffarizadeh 2019; Sverdrup et al. 2023 (maq)",
    ),
    Definition(
        "aucc_gain", "Gain above spending at random",
        "mean over spends B, up to the last, of Q(B) less its chord: what choosing customers and arms adds to spending the same money on random customers",
        "value per customer", "0", "depends on the data", "Sverdrup et al. 2023 (maq, integrated difference)",
    ),
)  # fmt: skip

DEFINITIONS = {definition.id: definition for definition in _DEFINITIONS}


def uplift_at_id(share: float) -> str:
    """Id of uplift at the top `share`, for example ``uplift_at_30``.

    Examples
    --------
    >>> uplift_at_id(0.3)
    'uplift_at_30'
    """
    return f"uplift_at_{100 * share:g}".replace(".", "_")


def describe(metric: str) -> Definition:
    """Definition of a metric id.

    Parameters
    ----------
    metric : str
        Definition id.

    Returns
    -------
    Definition

    Raises
    ------
    KeyError
        Unknown id.

    Examples
    --------
    >>> describe("uplift_at_30").title, describe("qini_per_capita").unit
    ('Uplift in the top 30 %', 'outcome per customer')
    """
    found = re.fullmatch(r"uplift_at_(\d+(?:_\d+)?)", metric)
    if found:
        percent = found[1].replace("_", ".")
        return Definition(
            metric, f"Uplift in the top {percent} %",
            f"mean treated - mean control outcome among the top {percent} % of the joint ranking; tied scores enter in proportion",
            "outcome per customer", "ate", "depends on the data", "scikit-uplift uplift_at_k(strategy='overall')",
        )  # fmt: skip
    return DEFINITIONS[metric]
