"""Permutation importance: how much worse a model ranks customers when it no longer sees a feature."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from uplift.campaign import Campaign
from uplift.errors import EvaluationError
from uplift.insight.content import Drop, Importance
from uplift.insight.features import with_column
from uplift.insight.observed import Predictor
from uplift.metrics.average import Comparison, compare
from uplift.metrics.inference import normal_quantile
from uplift.metrics.influence import Influence, rate_influence, standard_error
from uplift.metrics.ranking import Ranking


def permutation_importance(
    model: Predictor,
    campaign: Campaign,
    stage: str,
    arms: Sequence[str],
    features: Sequence[str],
    *,
    max_predictions: int = 100_000,
    repeats: int = 1,
    confidence: float = 0.95,
    random_state: int = 0,
    on_progress: Callable[[str], None] = lambda _: None,
) -> Importance:
    """Loss of the headline when one feature at a time is shuffled among the customers.

    The shuffled and the true ranking are compared on the same rows, so that the standard error is that of a paired
    difference (:mod:`uplift.metrics.influence`). Features that say the same can stand in for each other: then neither drop
    shows what both are worth.

    Parameters
    ----------
    model : Predictor
        Fitted model.
    campaign : Campaign
        Randomised rows with outcomes that the model did not learn from.
    stage, arms, features
        What is ranked, for which treated arms, and what is shuffled.
    max_predictions : int
        Rows that may be predicted in all: with many features each shuffle has fewer rows, a random sample of the campaign.
    repeats : int
        Shuffles per feature, >= 1; their drops are averaged.

    Raises
    ------
    EvaluationError
        No feature to shuffle, or an arm that cannot be compared on the sample.

    References
    ----------
    Breiman, Random forests, 2001, section 10; Fisher, Rudin, Dominici, All models are wrong, but many are useful, JMLR
    2019 (model reliance).
    """
    if not features:
        raise EvaluationError("there is no feature to shuffle; give a campaign with features.")
    rng = np.random.default_rng([random_state, 3])
    size = min(campaign.n_rows, max(500, max_predictions // (repeats * len(features))))
    sample = (
        campaign
        if size == campaign.n_rows
        else campaign.take(np.sort(rng.choice(campaign.n_rows, size, replace=False)))
    )
    pairs = {arm: compare(sample, arm) for arm in arms}
    y = sample.outcome(stage).astype(np.float64)
    whole = model.predict(sample)
    before = {arm: _qini(whole.tau(stage, arm), y, pairs[arm]) for arm in arms}
    z = normal_quantile(confidence)
    drops: list[Drop] = []
    for number, name in enumerate(features, start=1):
        on_progress(f"shuffle feature {number} of {len(features)}")
        values = dict.fromkeys(arms, 0.0)
        moved = dict.fromkeys(arms, 0.0)
        influences = {arm: np.zeros(len(pairs[arm].rows)) for arm in arms}
        for _ in range(repeats):
            shuffled = model.predict(with_column(sample, name, rng.permutation(size)))
            for arm in arms:
                after = _qini(shuffled.tau(stage, arm), y, pairs[arm])
                values[arm] += (before[arm].value - after.value) / repeats
                influences[arm] += (before[arm].rows - after.rows) / repeats
                change = np.abs(shuffled.tau(stage, arm).astype(np.float64) - whole.tau(stage, arm))
                moved[arm] += float(change.mean()) / repeats
        for arm in arms:
            se = standard_error(influences[arm], pairs[arm].cluster)
            # A ranking that does not change has no drop, and nothing about that is uncertain.
            drops.append(
                Drop(
                    feature=name, arm=arm, drop=values[arm], se=se, low=values[arm] - z * se,
                    high=values[arm] + z * se, moved=moved[arm],
                )
            )  # fmt: skip
    return Importance(
        rows=size,
        of=campaign.n_rows,
        repeats=repeats,
        qini={arm: before[arm].value for arm in arms},
        drops=tuple(drops),
        left_out=(),
    )


def _qini(tau: np.ndarray, outcome: np.ndarray, pair: Comparison) -> Influence:
    return rate_influence(Ranking.build(tau[pair.rows], pair.treated, outcome[pair.rows], pair.weight))
