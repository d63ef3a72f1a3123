"""What a mixture of models is judged by on rows that none of them has seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from uplift.arms import VALUE_STAGE
from uplift.models.blend.simplex import least_squares, most_likely
from uplift.models.pseudo_outcomes import doubly_robust, inverse_propensity

if TYPE_CHECKING:
    from uplift.campaign import Campaign
    from uplift.effects import Effects

Criterion = Literal["likelihood", "dr"]
Rule = Literal["cautious", "best", "equal"]

_EDGE = 1e-6  # rates are kept so far from 0 and 1 in the log loss


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Weights of one stage, and how they were come by.

    Attributes
    ----------
    weights : tuple of float [part]
        Not negative, sum 1.
    best : tuple of float [part]
        Weights with the lowest loss on the held-out rows.
    gain, error : float
        How much lower that loss is than that of equal weights, per row, and the standard error of this.
    """

    weights: tuple[float, ...]
    best: tuple[float, ...]
    gain: float
    error: float


def choose_weights(
    held: Campaign, parts: list[Effects], *, stage: int, criterion: Criterion, rule: Rule
) -> Verdict:
    """Weights of the parts at one stage, from held-out rows.

    ``"likelihood"`` judges the outcome that the mixture predicts for the arm received: log loss in the entire space,
    squared error for the value. ``"dr"`` judges the uplift of every arm against the doubly robust pseudo-outcome
    (:func:`uplift.models.pseudo_outcomes.doubly_robust`) with `mu` of equal weights.

    Parameters
    ----------
    held : Campaign
        Rows that no part has learned from.
    parts : list of Effects
        Of these rows.
    stage : int
        Position on the stage axis.
    criterion : {"likelihood", "dr"}
    rule : {"cautious", "best", "equal"}
        ``"best"``: the weights with the lowest loss. ``"cautious"``: these only if their gain over equal weights is
        more than one standard error, else equal ones. ``"equal"``: always equal ones.

    References
    ----------
    Breiman, Stacked regressions, Machine Learning 1996. Kennedy, Towards optimal doubly robust estimation of
    heterogeneous causal effects, EJS 2023. Nie, Wager, Quasi-oracle estimation of heterogeneous treatment effects,
    Biometrika 2021 (stacking uplifts by a loss of the uplift).
    """
    equal = np.full(len(parts), 1.0 / len(parts))
    mass = np.ones(len(held)) if held.weights is None else held.weights / held.weights.mean()
    judge = _by_uplift if criterion == "dr" else _by_outcome
    best, losses = judge(held, parts, stage, mass, equal)
    gain, error = _paired(held, mass * (losses[0] - losses[1]))
    chosen = equal if rule == "equal" or (rule == "cautious" and gain <= error) else best
    return Verdict(weights=tuple(chosen.tolist()), best=tuple(best.tolist()), gain=gain, error=error)


Losses = tuple[np.ndarray, np.ndarray]
"""Loss of every row [row] with equal weights and with the best ones."""


def _by_outcome(
    held: Campaign, parts: list[Effects], stage: int, mass: np.ndarray, equal: np.ndarray
) -> tuple[np.ndarray, Losses]:
    arms, rows = held.arm_codes.astype(np.int64), np.arange(len(held))
    mu = np.column_stack([part.mu_all[rows, arms, stage] for part in parts]).astype(np.float64)
    outcome = held.outcomes[:, stage].astype(np.float64)
    # So weighted, the rows of every arm stand for all customers.
    share = np.bincount(arms, mass, len(held.arms)) / mass.sum()
    weight = mass * share[arms] * inverse_propensity(held)
    if held.stages[stage] == VALUE_STAGE:
        best = least_squares((mu * weight[:, None]).T @ mu, (weight * outcome) @ mu)
        return best, (np.square(outcome - mu @ equal), np.square(outcome - mu @ best))
    likelihoods = np.where(outcome[:, None] > 0, mu, 1.0 - mu).clip(_EDGE, None)
    best = most_likely(likelihoods, weight)
    return best, (-np.log(likelihoods @ equal), -np.log(likelihoods @ best))


def _by_uplift(
    held: Campaign, parts: list[Effects], stage: int, mass: np.ndarray, equal: np.ndarray
) -> tuple[np.ndarray, Losses]:
    mu = np.stack([part.mu_all[:, :, stage] for part in parts]).mean(axis=0, dtype=np.float64)
    gram, cross = np.zeros((len(parts), len(parts))), np.zeros(len(parts))
    pseudo_outcomes, uplifts = list(doubly_robust(held, mu, stage=stage).T), []
    for arm, pseudo in enumerate(pseudo_outcomes, start=1):
        tau = np.column_stack([part.tau_all[:, arm, stage] for part in parts]).astype(np.float64)
        gram += (tau * mass[:, None]).T @ tau
        cross += (mass * pseudo) @ tau
        uplifts.append(tau)
    best = least_squares(gram, cross)
    losses = [
        sum(np.square(pseudo - tau @ weights) for pseudo, tau in zip(pseudo_outcomes, uplifts, strict=True))
        / len(uplifts)
        for weights in (equal, best)
    ]
    return best, (np.asarray(losses[0]), np.asarray(losses[1]))


def _paired(held: Campaign, difference: np.ndarray) -> tuple[float, float]:
    """Mean of a difference per row, and its standard error over units."""
    units = held.unit_codes
    per_unit = np.bincount(units, difference - difference.mean())
    return float(difference.mean()), float(np.sqrt(np.square(per_unit).sum()) / len(difference))
