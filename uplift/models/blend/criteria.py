"""What a mixture of models is judged by on rows that none of them has seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from uplift.arms import VALUE_STAGE
from uplift.errors import ModelError
from uplift.models.blend import qini
from uplift.models.blend.simplex import least_squares, most_likely
from uplift.models.pseudo_outcomes import doubly_robust, inverse_propensity

if TYPE_CHECKING:
    from uplift.campaign import Campaign
    from uplift.effects import Effects

Criterion = Literal["likelihood", "dr", "r", "qini"]
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
        Weights with the lowest loss, or the highest Qini, on the held-out rows.
    gain, error : float
        How much lower that loss is than that of equal weights, per row, or how much higher that Qini; and the
        standard error of this.
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
    (:func:`uplift.models.pseudo_outcomes.doubly_robust`) with `mu` of equal weights. ``"r"`` judges it by the R-loss on
    the rows of the arm and of control,

        (y - m_k - (1{a = k} - p_k) tau_k)^2,  m_k = p_k mu_k + (1 - p_k) mu_0,

    with p_k the share of the arm among them and `mu` of equal weights: rows are weighted by their inverse propensity,
    which makes them as if randomised at that rate. ``"qini"`` judges only the order of the uplifts, by the area between
    the per-capita uplift curve and its chord on these rows; outcomes as they are, no model of them. Of these three
    every arm has the same say, whatever its number of rows.

    The losses are minimised exactly; the Qini, which is piecewise constant, is searched in steps of 1/32
    (:func:`uplift.models.blend.qini.highest`).

    Parameters
    ----------
    held : Campaign
        Rows that no part has learned from.
    parts : list of Effects
        Of these rows.
    stage : int
        Position on the stage axis.
    criterion : {"likelihood", "dr", "r", "qini"}
    rule : {"cautious", "best", "equal"}
        ``"best"``: the weights with the lowest loss. ``"cautious"``: these only if their gain over equal weights is
        more than one standard error, else equal ones. ``"equal"``: always equal ones.

    Raises
    ------
    ModelError
        An arm, or control, has no held-out rows to judge its uplift by the R-loss or the Qini.

    References
    ----------
    Breiman, Stacked regressions, Machine Learning 1996. Kennedy, Towards optimal doubly robust estimation of
    heterogeneous causal effects, EJS 2023. Nie, Wager, Quasi-oracle estimation of heterogeneous treatment effects,
    Biometrika 2021 (stacking uplifts by the R-loss). Schuler, Baiocchi, Tibshirani, Shah, A comparison of methods for
    model selection when estimating individual treatment effects, arXiv 1804.05146 (choosing by it). Radcliffe, Using
    control groups to target on predicted lift, 2007 (Qini).
    """
    equal = np.full(len(parts), 1.0 / len(parts))
    mass = np.ones(len(held)) if held.weights is None else held.weights / held.weights.mean()
    best, gains = _JUDGES[criterion](held, parts, stage, mass, equal)
    gain, error = _paired(held, gains)
    chosen = equal if rule == "equal" or (rule == "cautious" and gain <= error) else best
    return Verdict(weights=tuple(chosen.tolist()), best=tuple(best.tolist()), gain=gain, error=error)


Judgement = tuple[np.ndarray, np.ndarray]
"""The best weights [part], and how much every row gains by them over equal ones [row], mean = gain of all."""


def _by_outcome(
    held: Campaign, parts: list[Effects], stage: int, mass: np.ndarray, equal: np.ndarray
) -> Judgement:
    arms, rows = held.arm_codes.astype(np.int64), np.arange(len(held))
    mu = np.column_stack([part.mu_all[rows, arms, stage] for part in parts]).astype(np.float64)
    outcome = held.outcomes[:, stage].astype(np.float64)
    # So weighted, the rows of every arm stand for all customers.
    share = np.bincount(arms, mass, len(held.arms)) / mass.sum()
    weight = mass * share[arms] * inverse_propensity(held)
    if held.stages[stage] == VALUE_STAGE:
        best = least_squares((mu * weight[:, None]).T @ mu, (weight * outcome) @ mu)
        return best, mass * (np.square(outcome - mu @ equal) - np.square(outcome - mu @ best))
    likelihoods = np.where(outcome[:, None] > 0, mu, 1.0 - mu).clip(_EDGE, None)
    best = most_likely(likelihoods, weight)
    return best, mass * (np.log(likelihoods @ best) - np.log(likelihoods @ equal))


def _by_uplift(
    held: Campaign, parts: list[Effects], stage: int, mass: np.ndarray, equal: np.ndarray
) -> Judgement:
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
    return best, mass * (np.asarray(losses[0]) - np.asarray(losses[1]))


@dataclass(frozen=True, eq=False)
class _Versus:
    """Held-out rows of one arm and of control, weighted as if randomised at their shares."""

    arm: int
    rows: np.ndarray
    treated: np.ndarray
    mass: np.ndarray

    @property
    def share(self) -> float:
        return float(self.mass[self.treated].sum() / self.mass.sum())


def _pairs(held: Campaign, mass: np.ndarray) -> list[_Versus]:
    counts = np.bincount(held.arm_codes, minlength=len(held.arms))
    if (counts == 0).any():
        raise ModelError(
            f"none of {len(held):,} held-out rows received {held.arm_names[int(np.argmin(counts))]!r}, so its uplift cannot be judged; hold out more rows, or choose the criterion 'likelihood' or 'dr'."
        )
    arms = held.arm_codes.astype(np.int64)
    share = np.bincount(arms, mass, len(held.arms)) / mass.sum()
    weight = mass * share[arms] * inverse_propensity(held)
    found = []
    for arm in range(1, len(held.arms)):
        rows = np.flatnonzero((arms == arm) | (arms == 0))
        found.append(_Versus(arm, rows, arms[rows] == arm, weight[rows]))
    return found


def _uplifts(parts: list[Effects], rows: np.ndarray, arm: int, stage: int) -> np.ndarray:
    """Uplift of an arm by every part, float64 [row, part]."""
    return np.column_stack([part.tau_all[rows, arm, stage] for part in parts]).astype(np.float64)


def _by_residual(
    held: Campaign, parts: list[Effects], stage: int, mass: np.ndarray, equal: np.ndarray
) -> Judgement:
    mu = np.stack([part.mu_all[:, :, stage] for part in parts]).mean(axis=0, dtype=np.float64)
    gram, cross = np.zeros((len(parts), len(parts))), np.zeros(len(parts))
    pairs, seen = _pairs(held, mass), []
    for pair in pairs:
        rows, share = pair.rows, pair.share
        expected = share * mu[rows, pair.arm] + (1.0 - share) * mu[rows, 0]
        residual = held.outcomes[rows, stage] - expected
        slope = (pair.treated - share)[:, None] * _uplifts(parts, rows, pair.arm, stage)
        weight = pair.mass / pair.mass.sum() / len(pairs)
        gram += (slope * weight[:, None]).T @ slope
        cross += (weight * residual) @ slope
        seen.append((rows, residual, slope, weight))
    best = least_squares(gram, cross)
    gains = np.zeros(len(held))
    for rows, residual, slope, weight in seen:
        gains[rows] += weight * (np.square(residual - slope @ equal) - np.square(residual - slope @ best))
    return best, len(held) * gains


def _by_ranking(
    held: Campaign, parts: list[Effects], stage: int, mass: np.ndarray, equal: np.ndarray
) -> Judgement:
    outcome = held.outcomes[:, stage].astype(np.float64)
    pairs = _pairs(held, mass)
    uplifts = [_uplifts(parts, pair.rows, pair.arm, stage) for pair in pairs]
    signed = [qini.signed_outcomes(pair.treated, outcome[pair.rows], pair.mass) for pair in pairs]

    def quality(weights: np.ndarray) -> float:
        values = [
            qini.qini(tau @ weights, part, pair.mass)
            for pair, tau, part in zip(pairs, uplifts, signed, strict=True)
        ]
        return float(np.mean(values))

    best = qini.highest(quality, len(parts))
    gains = np.full(len(held), quality(best) - quality(equal))
    for pair, tau in zip(pairs, uplifts, strict=True):
        rows, given = pair.rows, (pair.treated, outcome[pair.rows], pair.mass)
        moved = qini.influence(tau @ best, *given) - qini.influence(tau @ equal, *given)
        gains[rows] += moved * len(held) / len(rows) / len(pairs)
    return best, gains


_JUDGES: dict[Criterion, Callable[..., Judgement]] = {
    "likelihood": _by_outcome,
    "dr": _by_uplift,
    "r": _by_residual,
    "qini": _by_ranking,
}


def _paired(held: Campaign, difference: np.ndarray) -> tuple[float, float]:
    """Mean of a difference per row, and its standard error over units."""
    units = held.unit_codes
    per_unit = np.bincount(units, difference - difference.mean())
    return float(difference.mean()), float(np.sqrt(np.square(per_unit).sum()) / len(difference))
