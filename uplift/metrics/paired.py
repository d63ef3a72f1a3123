"""Comparisons that need several rankings, or none, of the same rows: paired differences and the placebo."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np

from uplift.metrics.definitions import HEADLINE
from uplift.metrics.inference import normal_quantile
from uplift.metrics.influence import covariance

if TYPE_CHECKING:
    from uplift.metrics.arm_scores import Scored
    from uplift.metrics.table_scores import TableScored

DIFFERENCE_COLUMNS = ["stage", "arm", "model", "other", "metric", "value", "se", "low", "high", "p"]


def paired_differences(
    scored: Mapping[str, Scored], cluster: np.ndarray | None, confidence: float
) -> list[dict[str, Any]]:
    """Headline of every model less that of every later one, with intervals and two-sided p-values.

    The standard error comes from the differences of the rows' influences
    (:mod:`uplift.metrics.influence`). Two models that rank all rows alike differ by 0 without error; p is 1 then.
    """
    names = list(scored)
    spread = covariance(np.stack([one.influence for one in scored.values()]), cluster)
    reach = normal_quantile(confidence)
    rows = []
    for i, j in combinations(range(len(names)), 2):
        value = scored[names[i]].headline - scored[names[j]].headline
        se = float(np.sqrt(max(0.0, spread[i, i] + spread[j, j] - 2 * spread[i, j])))
        rows.append(
            {
                "model": names[i],
                "other": names[j],
                "metric": HEADLINE,
                "value": value,
                "se": se,
                "low": value - reach * se,
                "high": value + reach * se,
                "p": _two_sided(value, se),
            }
        )
    return rows


def placebo_ranges(
    scored: Mapping[str, Scored] | Mapping[str, TableScored], confidence: float
) -> list[dict[str, Any]]:
    """Where each headline would lie if coupons did nothing, and how likely it would be as far from 0 as it is."""
    reach = normal_quantile(confidence)
    return [
        {
            "model": name,
            "metric": HEADLINE,
            "value": one.headline,
            "se": one.placebo,
            "low": -reach * one.placebo,
            "high": reach * one.placebo,
            "p": _two_sided(one.headline, one.placebo),
        }
        for name, one in scored.items()
    ]


def _two_sided(value: float, se: float) -> float:
    if se == 0:
        return 1.0 if value == 0 else 0.0
    return 2 * NormalDist().cdf(-abs(value) / se)
