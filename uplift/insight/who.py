"""Who responds: the distribution of predicted effects, the four quadrants, and segments in words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from uplift.campaign import Campaign
from uplift.effects import Effects
from uplift.insight.content import Quadrant, Quadrants, Segment, Segments, Spread
from uplift.insight.features import Feature
from uplift.insight.observed import ArmOutcomes
from uplift.insight.tree import grow

BARS = 40
POINTS = 300
PERSUADABLE, SURE, LOST, DISTURB = "persuadables", "sure things", "lost causes", "do not disturb"
QUADRANT_NAMES = (PERSUADABLE, SURE, LOST, DISTURB)


def spread(effects: Effects, stage: str, arms: Sequence[str]) -> tuple[Spread, ...]:
    """Distribution of the predicted effects at one stage, all arms on the same bars."""
    tau = {arm: effects.tau(stage, arm).astype(np.float64) for arm in arms}
    everything = np.concatenate(list(tau.values()))
    low, high = np.quantile(everything, [0.005, 0.995])
    if not high > low:
        low, high = low - 0.5 * max(abs(low), 1e-6), high + 0.5 * max(abs(high), 1e-6)
    edges = np.linspace(low, high, BARS + 1)
    found = []
    for arm, values in tau.items():
        counts = np.histogram(np.clip(values, low, high), edges)[0]
        tenth, middle, ninetieth = np.quantile(values, [0.1, 0.5, 0.9])
        found.append(
            Spread(
                stage=stage, arm=arm, edges=tuple(edges.tolist()), shares=tuple((counts / len(values)).tolist()),
                mean=float(values.mean()), low=float(tenth), middle=float(middle), high=float(ninetieth),
                negative=float((values < 0).mean()),
            )
        )  # fmt: skip
    return tuple(found)


def quadrants(
    campaign: Campaign,
    effects: Effects,
    stage: str,
    arm: str,
    *,
    effect: float | None = None,
    base: float | None = None,
    confidence: float = 0.95,
    random_state: int = 0,
) -> Quadrants:
    """The four-quadrant view of one arm, each group checked on the randomised rows.

    Parameters
    ----------
    campaign, effects : Campaign, Effects
        The same randomised rows.
    stage, arm : str
    effect : float, optional
        Predicted effect from which a customer is persuadable; default half the mean predicted effect, 0 when that is
        negative. A customer with a predicted effect below 0 is not to be disturbed, whatever this is.
    base : float, optional
        Predicted outcome without a coupon from which the rest are sure things; default its mean.
    confidence : float
    random_state : int
        Which customers are kept as points.

    References
    ----------
    Radcliffe and Surry, Real-world uplift modelling with significance-based uplift trees, 2011, section 1 (the segments).
    """
    tau = effects.tau(stage, arm).astype(np.float64)
    mu = effects.mu(stage, effects.control).astype(np.float64)
    effect = max(0.0, 0.5 * float(tau.mean())) if effect is None else float(effect)
    base = float(mu.mean()) if base is None else float(base)
    group = np.where(tau < 0, 3, np.where(tau >= effect, 0, np.where(mu >= base, 1, 2)))
    outcomes = ArmOutcomes(campaign, arm, stage)
    groups = []
    for code, name in enumerate(QUADRANT_NAMES):
        rows = np.flatnonzero(group == code)
        groups.append(
            Quadrant(
                name=name,
                share=len(rows) / len(tau),
                base=float(mu[rows].mean()) if len(rows) else None,
                predicted=float(tau[rows].mean()) if len(rows) else None,
                observed=outcomes.among(rows, confidence=confidence),
            )
        )
    rng = np.random.default_rng([random_state, 2])
    some = np.sort(rng.choice(len(tau), min(POINTS, len(tau)), replace=False))
    points = tuple(
        (float(f"{mu[row]:.4g}"), float(f"{tau[row]:.4g}"), int(group[row])) for row in some.tolist()
    )
    return Quadrants(arm=arm, effect=effect, base=base, groups=tuple(groups), points=points)


def segments(
    campaign: Campaign,
    effects: Effects,
    features: Sequence[Feature],
    stage: str,
    arm: str,
    *,
    depth: int = 3,
    min_share: float = 0.05,
    confidence: float = 0.95,
) -> Segments:
    """Groups of customers by simple rules, with the effect that was observed in each.

    A small tree is grown on the *predicted* effects. It never sees an outcome of these rows, and the model that predicts did
    not learn from them: the rules are independent of the outcomes given the features, so the same rows measure the effect
    in every segment honestly, without giving half of them away for the search as trees grown on outcomes must (Athey and
    Imbens 2016). Intervals are Bonferroni's: with n segments each has the level 1 - (1 - confidence) / n, so that all
    hold together with probability `confidence`.

    Parameters
    ----------
    campaign, effects : Campaign, Effects
        The same randomised rows, none of which the model learned from.
    features : sequence of Feature
    stage, arm : str
    depth : int
        Conditions per rule, at most.
    min_share : float
        Least share of customers in a segment.
    confidence : float

    Returns
    -------
    Segments
        Highest predicted effect first; `explained` is the share of the variance of the predicted effects that they hold.
    """
    tau = effects.tau(stage, arm).astype(np.float64)
    leaves = grow(features, tau, depth=depth, min_share=min_share)
    outcomes = ArmOutcomes(campaign, arm, stage)
    each = 1 - (1 - confidence) / len(leaves)
    total = float(np.square(tau - tau.mean()).sum())
    between = sum(len(leaf.rows) * (leaf.mean - float(tau.mean())) ** 2 for leaf in leaves)
    return Segments(
        arm=arm,
        confidence=each,
        explained=between / total if total > 0 else 0.0,
        segments=tuple(
            Segment(
                conditions=leaf.words(features),
                share=len(leaf.rows) / len(tau),
                predicted=leaf.mean,
                observed=outcomes.among(leaf.rows, confidence=each),
            )
            for leaf in leaves
        ),
    )
