"""Statistics of comparisons: paired differences with intervals, mean ranks with what they can tell apart.

Two sources of doubt, two intervals. *Over seeds*: models are compared on the same draws or splits, and the differences vary
from one to the next. *Within a split*: on one set of test units, the difference of two Qinis has a standard error that
follows from the influences of these very units (:mod:`uplift.metrics.influence`). Splits of one data set share most of
their rows, so that differences over seeds vary too little; their variance is corrected for that.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from uplift.metrics.inference import normal_quantile

CONFIDENCE = 0.95
DRAWS = 2_000


@dataclass(frozen=True)
class Difference:
    """A model less the base, on the seeds that both have.

    Attributes
    ----------
    value : float
        Mean over seeds.
    se : float
        Its standard error over seeds; NaN for one seed.
    low, high : float
        Interval over seeds, Student's t; NaN for one seed.
    within : float
        Standard error of the difference on the test units of one split, root mean square over seeds; NaN where unknown.
    seeds : int
    wins : int
        Seeds on which the model is better.
    """

    value: float
    se: float
    low: float
    high: float
    within: float
    seeds: int
    wins: int


def paired_difference(
    values: pd.Series,
    base: pd.Series,
    *,
    ratio: float = 0.0,
    within: Sequence[float] = (),
    less_is_better: bool = False,
) -> Difference:
    """Difference over the seeds that both have.

    Parameters
    ----------
    values, base : Series
        Indexed by seed.
    ratio : float
        Test rows over training rows where the seeds are splits of the same rows, else 0. The variance of the mean over n
        splits is ``s^2 (1/n + ratio)``; ``1/n`` alone takes them for independent.
    within : sequence of float
        Standard errors of the difference within a split, one per seed.
    less_is_better : bool
        What counts as a win.

    References
    ----------
    Nadeau, Bengio, Inference for the generalization error, Machine Learning 2003, equation 8, for the correction.

    Examples
    --------
    >>> found = paired_difference(pd.Series([1.0, 3.0]), pd.Series([0.0, 0.0]))
    >>> found.value, round(found.se, 12), found.wins
    (2.0, 1.0, 2)
    >>> paired_difference(pd.Series([1.0, 3.0]), pd.Series([0.0, 0.0]), ratio=0.5).se
    1.414...
    """
    difference = (values - base).dropna()
    n = len(difference)
    value = float(difference.mean()) if n else math.nan
    se = float(difference.std(ddof=1) * math.sqrt(1 / n + ratio)) if n > 1 else math.nan
    reach = _t_quantile(n - 1) * se if n > 1 else math.nan
    known = np.asarray([one for one in within if math.isfinite(one)])
    return Difference(
        value, se, value - reach, value + reach,
        float(np.sqrt(np.square(known).mean())) if len(known) else math.nan,
        n, int(((difference < 0) if less_is_better else (difference > 0)).sum()),
    )  # fmt: skip


def within_split(influence: np.ndarray | None, base: np.ndarray | None) -> np.ndarray | None:
    """Standard error [stage] of the difference of two Qinis on the same test units, from influences [unit, stage]."""
    if influence is None or base is None or influence.shape != base.shape:
        return None
    result: np.ndarray = np.sqrt(
        np.square(influence.astype(np.float64) - base.astype(np.float64)).sum(axis=0)
    )
    return result


def interval(value: float, se: float) -> tuple[float, float]:
    """Normal interval."""
    reach = normal_quantile(CONFIDENCE) * se
    return value - reach, value + reach


def _t_quantile(freedom: int) -> float:
    from scipy.stats import t

    return float(t.ppf(0.5 + CONFIDENCE / 2, freedom))


@dataclass(frozen=True)
class Ranks:
    """Mean ranks over blocks, 1 for the best.

    Attributes
    ----------
    mean, low, high : dict of str to float
        Mean rank of every model and its bootstrap interval (seeds are drawn anew within every data set); NaN where some
        data set has one seed, which says nothing about others.
    blocks : int
        Data sets times seeds.
    data : int
        Data sets.
    p_value : float
        Friedman's test that all models rank alike; NaN where it cannot be made.
    critical : float
        Nemenyi's critical difference at 5 %: mean ranks that differ by less are not told apart.
    failed : dict of str to int
        Blocks in which a model has no number and shares the last ranks.
    """

    mean: dict[str, float]
    low: dict[str, float]
    high: dict[str, float]
    blocks: int
    data: int
    p_value: float
    critical: float
    failed: dict[str, int]

    def words(self, model: str) -> str:
        """Its interval for people; "-" where there is none."""
        low, high = self.low[model], self.high[model]
        return f"{low:.2f} to {high:.2f}" if math.isfinite(low) else "-"


def mean_ranks(
    scores: Mapping[tuple[str, int], Mapping[str, float]], models: Sequence[str], *, random_state: int = 0
) -> Ranks | None:
    """Rank the models in every block and average.

    Parameters
    ----------
    scores : mapping of (data, seed) to mapping of model to float
        The number by which a block is judged; more is better. A model without one shares the last ranks of the block.
    models : sequence of str
        Two or more.

    Returns
    -------
    Ranks or None
        None without two models or a block.

    Notes
    -----
    Friedman's test and Nemenyi's difference take blocks for independent; seeds of one data set are not, so on few data
    sets both are too sure of themselves. The bootstrap says how the ranks would move with other seeds on these data sets,
    and nothing about other data sets.

    References
    ----------
    Demsar, Statistical comparisons of classifiers over multiple data sets, JMLR 2006.

    Examples
    --------
    >>> ranks = mean_ranks({("d", 0): {"a": 1.0, "b": 0.5}, ("d", 1): {"a": 0.2, "b": 0.2}}, ["a", "b"])
    >>> ranks.mean
    {'a': 1.25, 'b': 1.75}
    """
    from scipy.stats import friedmanchisquare, rankdata, studentized_range

    if len(models) < 2 or not scores:
        return None
    blocks = list(scores)
    # Without a number: below every number, and all alike.
    table = np.array([[_or_last(scores[block].get(model)) for model in models] for block in blocks])
    ranks = np.apply_along_axis(lambda row: rankdata(-row, method="average"), 1, table)
    n, k = ranks.shape
    sets = list(dict.fromkeys(data for data, _ in blocks))
    rng = np.random.default_rng(random_state)
    draws = np.zeros((DRAWS, k))
    for data in sets:
        rows = ranks[[index for index, block in enumerate(blocks) if block[0] == data]]
        draws += rows[rng.integers(0, len(rows), (DRAWS, len(rows)))].sum(axis=1)
    draws /= n
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(draws, [tail, 100 - tail], axis=0)
    if any(sum(data == one for data, _ in blocks) < 2 for one in sets):
        low, high = np.full((2, k), math.nan)
    told = k > 2 and n > 1 and np.ptp(ranks, axis=1).any()
    p_value = float(friedmanchisquare(*ranks.T).pvalue) if told else math.nan
    quantile = float(studentized_range.ppf(CONFIDENCE, k, np.inf)) / math.sqrt(2)
    return Ranks(
        dict(zip(models, ranks.mean(axis=0).tolist(), strict=True)),
        dict(zip(models, low.tolist(), strict=True)),
        dict(zip(models, high.tolist(), strict=True)),
        n,
        len(sets),
        p_value,
        quantile * math.sqrt(k * (k + 1) / (6 * n)),
        dict(zip(models, np.isneginf(table).sum(axis=0).tolist(), strict=True)),
    )


def _or_last(value: float | None) -> float:
    return -math.inf if value is None or not math.isfinite(value) else value
