"""Prices of many rows: projected Newton on the smoothed dual, on a growing sample and then on everybody.

At a temperature the dual is smooth and its Hessian is M x M, from the same reading as its gradient; lowering the
temperature approaches the dual itself. The first units are a random sample, because units come in hash order.

Bertsekas (1982), Projected Newton methods for optimization problems with simple constraints.
"""

from __future__ import annotations

import numpy as np

from uplift.allocation.coupled import Coupled, without_value
from uplift.allocation.passes import solve_positive

_SAMPLE = 50_000
_LARGER = 250_000
_RUNAWAY = 1e3
"""Price, in values of one typical use, that only constraints in conflict reach."""
_COARSE = (0.3, 0.1, 0.03, 0.01)
_FINE = (0.01, 0.003)
_LAST = (0.003, 0.001)


def newton_prices(problem: Coupled) -> tuple[np.ndarray, int]:
    """Near-optimal prices of all rows, and how often all units were read.

    Returns
    -------
    prices : ndarray of float64 [row]
        >= 0.
    passes : int
    """
    n = len(problem)
    prices = np.zeros(len(problem.rows))
    stages: list[tuple[int, tuple[float, ...], int]] = [(min(n, _SAMPLE), _COARSE, 12)]
    if n > 2 * _LARGER:
        stages.append((_LARGER, _FINE[-1:], 4))
    if n > 2 * _LARGER:
        stages.append(
            (n, _LAST[-1:], 3)
        )  # a sample of this size is close: a few readings of everybody suffice
    else:
        stages.append((n, _LAST if n > _SAMPLE else (*_FINE, _LAST[-1]), 6))
    passes = 0
    for units, temperatures, steps in stages:
        for temperature in temperatures:
            prices, read = _descend(problem, prices, units, temperature * problem.typical, steps)
            passes += read if units == n else 0
    return prices, passes


def newton_again(problem: Coupled, prices: np.ndarray) -> np.ndarray | None:
    """Prices of a problem close to one that `prices` belong to; None when they run away (no decision is feasible)."""
    for temperature in (_COARSE[1], *_FINE):
        prices, _ = _descend(problem, prices, len(problem), temperature * problem.typical, 8)
    unit = problem.typical / (problem.weights / problem.scales)
    return prices if len(prices) == 0 or float((prices / unit).max()) < _RUNAWAY else None


def farkas_prices(problem: Coupled) -> np.ndarray:
    """Prices in a box that make the dual without values as low as they can.

    Where it is below zero they prove that the constraints conflict (Farkas' lemma); those of rows that hardly matter
    are set to zero.
    """
    n = len(problem)
    prices = np.zeros(len(problem.rows))
    for units, steps in [(min(n, _SAMPLE), 15), *([(n, 4)] if n > _SAMPLE else [])]:
        for temperature in _COARSE:
            prices, _ = _descend(
                problem, prices, units, temperature * problem.typical, steps, values=False, ceiling=1.0
            )
    unit = problem.typical / (problem.weights / problem.scales)
    return np.where(prices / unit > 1e-3, prices, 0.0)


def _descend(
    problem: Coupled,
    prices: np.ndarray,
    units: int,
    tau: float,
    steps: int,
    *,
    values: bool = True,
    ceiling: float = np.inf,
) -> tuple[np.ndarray, int]:
    """Newton steps at one temperature on the first `units` units; `ceiling` in values of one typical use."""
    if not units:  # nobody has a choice, so no limit has a price
        return np.zeros_like(prices), 0
    unit = problem.typical / (problem.weights / problem.scales)  # prices in values of one typical use
    limit = problem.limits * (units / len(problem)) * unit
    scaled = prices / unit

    def read(at: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        contact, money, value = problem.tables(at * unit)
        tables = contact, money, value if values else without_value(problem, value)
        total, mean, spread = problem.smoothed(units, tables, tau)
        return float(at @ limit + total), limit - mean * unit, spread * np.outer(unit, unit) / tau

    dual, gradient, curvature = read(scaled)
    passes = 1
    for _ in range(steps):
        free = ((scaled > 1e-9) | (gradient < 0)) & ((scaled < ceiling) | (gradient > 0))
        if not free.any():
            break
        bent = np.ascontiguousarray(curvature[np.ix_(free, free)])
        diagonal = np.diagonal(bent).copy()
        floor = 1e-6 * diagonal.max() + 1e-4 * np.abs(gradient).max() + 1e-300
        bent[np.diag_indices_from(bent)] = diagonal * (1 + 1e-8) + np.where(diagonal < floor, floor, 0.0)
        step = np.zeros(len(scaled))
        step[free] = -solve_positive(bent, gradient[free])
        most = 0.5 + 0.5 * scaled
        step = np.clip(step, -most, most)
        accepted, length = False, 1.0
        for _ in range(6):
            trial = np.clip(scaled + length * step, 0.0, ceiling)
            slope = float(gradient @ (trial - scaled))
            found = read(trial)
            passes += 1
            if found[0] <= dual + 1e-4 * slope:
                accepted = True
                break
            length *= 0.4
        if not accepted:
            break
        gain = dual - found[0]
        scaled = trial
        dual, gradient, curvature = found
        if gain <= 1e-9 * abs(dual):
            break
    return scaled * unit, passes
