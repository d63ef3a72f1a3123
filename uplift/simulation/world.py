"""The world: how customers of given features respond to a coupon of given face value.

Let r_j(a) be the rate of stage j among those who reached it, under arm a. For control, r_j is the sigmoid of a
nonlinear score of the features. A coupon of face value m moves every stage on the logit scale by

    shift_j = effect * strength_j * (1 - exp(-m / m_i)) * exp(h g_j(x) - h^2 / 2),      h = heterogeneity / 2,

saturating in m at a customer's own scale m_i, with g_j of mean 0 and variance 1. Four segments then differ in
signs, by construction and for every customer, every coupon and every size of the effect:

* regular: every stage rises.
* browser (chain bias): clicks rise and conversion given click falls, by the factor (r_click(0)/r_click(a))^1/2.
* loyal (chain bias): conversion given click rises and clicks fall, by (r_last(0)/r_last(a))^1/2 in total.
* do not disturb: every stage falls.

Browsers and loyal customers convert more in the entire space, so the share of customers with a negative uplift of
the conversion is the do-not-disturb share. The functions are the same for every seed and number of rows: all
constants come from one fixed reference population.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from uplift.simulation.customers import Customers, categorical_specs, draw_customers, numeric_specs
from uplift.simulation.drivers import (
    BROWSER,
    DO_NOT_DISTURB,
    EARLY,
    GAINS,
    LAST,
    LOYAL,
    MIDDLE,
    NUMERIC_DRIVERS,
    REGION_BASE,
    REGULAR,
    SCALE,
    SCORES,
    SEGMENT_INDEX,
    TARGETING,
    Array,
    Drivers,
)  # fmt: skip
from uplift.simulation.settings import Settings
from uplift.simulation.streams import WORLD_SEED

_REFERENCE_ROWS = 50_000
_OPPOSITE = 0.5  # how much of the log rise of one stage the other gives back in chain-bias segments
_EARLY_PART = 0.2  # of what a loyal customer gives back, the part before the click
_STRONGER = 1.6  # a chain-bias segment reacts more strongly in the stage that rises
_DISTURBED = -1.0
_SATURATION = 15.0  # money: typical face value at which 63 % of the effect is reached
_SCALE_SPREAD = 0.6
SPEND_SIGMA = 0.5
_SPEND_LIFT = 0.12  # log spend per converted order at full saturation

_BASE_SPREAD = {EARLY: 0.6, MIDDLE: 0.75, LAST: 0.8}
_STRENGTH = {EARLY: 0.19, MIDDLE: 0.69, LAST: 0.75}


def stage_roles(chain: tuple[str, ...]) -> tuple[str, ...]:
    """Role of each stage: the last converts, the one before it is the click, all earlier ones are exposures."""
    return tuple((EARLY,) * (len(chain) - 2) + (MIDDLE, LAST))[-len(chain) :]


def base_targets(chain: tuple[str, ...]) -> tuple[float, ...]:
    """Mean control rate of each stage among all customers, were they all to reach it."""
    if len(chain) == 1:
        return (0.06,)
    return (*(0.8,) * (len(chain) - 3), 0.6, 0.25, 0.2)[-len(chain) :]


@dataclass(frozen=True)
class Response:
    """What `n` customers would do.

    rates: float64 [n, arm, stage], each stage among those who reached it; log_spend: float64 [n, arm], median log
    spend of a conversion; segment: int8 [n] into `SEGMENTS`; targeting: float64 [n], standardised.
    """

    rates: Array
    log_spend: Array
    segment: npt.NDArray[np.int8]
    targeting: Array


class World:
    """Response functions for one set of knobs, with constants taken from a fixed reference population."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._roles = stage_roles(settings.chain)
        self._amounts = settings.amounts
        self._numeric = tuple(s for s in numeric_specs(settings.numeric) if s.name in NUMERIC_DRIVERS)
        self._skewed = {s.name for s in self._numeric if s.kind in {"count", "days", "money"}}
        reference = draw_customers(
            _REFERENCE_ROWS,
            numeric=self._numeric,
            categorical=categorical_specs(min(settings.categorical, 5)),
            seed=WORLD_SEED,
        )
        self._centre: dict[str, tuple[float, float]] = {}
        for spec in self._numeric:
            values = self._unskewed(spec.name, reference.numeric[spec.name])
            self._centre[spec.name] = (float(values.mean()), float(values.std()))
        drivers = self._drivers(reference)
        self._moments = {name: _moments(gain(drivers), drivers.n) for name, gain in GAINS.items()}
        self._score_moments = {
            role: _moments(function(drivers), drivers.n) for role, function in SCORES.items()
        }
        self._intercepts = [
            _intercept(self._centred_score(role, drivers), target)
            for role, target in zip(self._roles, base_targets(settings.chain), strict=True)
        ]
        self._cuts = self._segment_cuts(drivers)

    def region(self, customers: Customers) -> npt.NDArray[np.intp] | None:
        """Stratum code [n]: regions are groups of cities. None without strata."""
        return customers.city.astype(np.intp) % self.settings.strata if self.settings.strata else None

    def respond(self, customers: Customers) -> Response:
        """Rates of every stage under every arm, spend, and segment of these customers."""
        d = self._drivers(customers)
        knobs = self.settings
        segment = self._segments(d)
        arms = 1 + len(self._amounts)
        rates = np.empty((d.n, arms, len(self._roles)))
        log_spend = np.empty((d.n, arms))
        base = [
            intercept + self._centred_score(role, d)
            for role, intercept in zip(self._roles, self._intercepts, strict=True)
        ]
        for j, score in enumerate(base):
            rates[:, 0, j] = _sigmoid(score)
        log_spend[:, 0] = self._log_spend(d)
        half = knobs.heterogeneity / 2
        gain = [np.exp(half * self._standard(role, d) - half**2 / 2) for role in self._roles]
        scale = _SATURATION * np.exp(_SCALE_SPREAD * knobs.heterogeneity * self._standard(SCALE, d))
        for a, amount in enumerate(self._amounts, start=1):
            reached = knobs.effect * -np.expm1(-amount / scale)
            for j, role in enumerate(self._roles):
                shift = _STRENGTH[role] * reached * gain[j] * _direction(role, segment)
                rates[:, a, j] = _sigmoid(base[j] + shift)
            if knobs.chain_bias > 0:
                _give_back(rates[:, 0], rates[:, a], segment)
            log_spend[:, a] = log_spend[:, 0] + _SPEND_LIFT * reached * (segment != DO_NOT_DISTURB)
        return Response(rates, log_spend, segment, np.clip(self._standard(TARGETING, d), -2, 2))

    def _log_spend(self, d: Drivers) -> Array:
        taste = d.per_code(d.category, [-0.15, -0.1, 0.05, 0.15, -0.05, 0.1, 0.0, 0.3])
        return 3.9 + 0.3 * d["basket_mean"] + 0.1 * np.tanh(d["orders_90d"]) + 0.08 * d.member + taste

    def _unskewed(self, name: str, values: npt.NDArray[Any]) -> Array:
        values = values.astype(np.float64)
        return np.log1p(values) if name in self._skewed else values

    def _drivers(self, customers: Customers) -> Drivers:
        z = {}
        for name, (mean, sd) in self._centre.items():
            z[name] = np.clip((self._unskewed(name, customers.numeric[name]) - mean) / sd, -3.0, 3.0)
        device = customers.codes.get("device")
        n = len(customers.is_member)
        return Drivers(
            z=z,
            mobile=np.zeros(n) if device is None else (device > 0).astype(np.float64),
            channel=customers.codes.get("channel"),
            city=customers.codes.get("city"),
            category=customers.codes.get("favourite_category"),
            member=customers.is_member.astype(np.float64),
            region=self.region(customers),
            n=n,
        )

    def _centred_score(self, role: str, d: Drivers) -> Array:
        mean, sd = self._score_moments[role]
        spread = _BASE_SPREAD[role] / sd if sd > 0 else 0.0
        return (np.broadcast_to(SCORES[role](d), (d.n,)) - mean) * spread + d.per_code(d.region, REGION_BASE)

    def _standard(self, name: str, d: Drivers) -> Array:
        mean, sd = self._moments[name]
        centred = np.broadcast_to(GAINS[name](d), (d.n,)) - mean
        return centred / sd if sd > 0 else centred

    def _segment_cuts(self, d: Drivers) -> dict[int, float]:
        """Thresholds taken one after the other among those who are in no segment yet."""
        cuts: dict[int, float] = {}
        free = np.ones(d.n, bool)
        half = self.settings.chain_bias / 2
        shares = {BROWSER: half, LOYAL: half, DO_NOT_DISTURB: self.settings.do_not_disturb}
        for code, share in shares.items():
            if share == 0 or not free.any():
                continue
            rest = min(share / free.mean(), 1.0)
            index = np.broadcast_to(SEGMENT_INDEX[code](d), (d.n,))
            cuts[code] = -np.inf if rest > 1 - 1e-3 else float(np.quantile(index[free], 1 - rest))
            free &= index <= cuts[code]
        return cuts

    def _segments(self, d: Drivers) -> npt.NDArray[np.int8]:
        segment = np.zeros(d.n, np.int8)
        for code, cut in self._cuts.items():
            segment[(segment == REGULAR) & (SEGMENT_INDEX[code](d) > cut)] = code
        return segment


def _moments(values: Array | float, n: int) -> tuple[float, float]:
    values = np.broadcast_to(values, (n,))
    return float(values.mean()), float(values.std())


def _sigmoid(score: Array) -> Array:
    return 1.0 / (1.0 + np.exp(-score))


def _intercept(score: Array, target: float) -> float:
    """Constant that makes the mean of sigmoid(constant + score) the target rate, by bisection."""
    low, high = -20.0, 20.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if _sigmoid(middle + score).mean() < target else (low, middle)
    return (low + high) / 2


def _direction(role: str, segment: npt.NDArray[np.int8]) -> Array:
    """Sign and size of a stage's own shift in each segment; 0 where `_give_back` sets the stage."""
    loyal = _STRONGER if role == LAST else 0.0
    browser = {EARLY: 1.0, MIDDLE: _STRONGER, LAST: 0.0}[role]
    return np.array([1.0, browser, loyal, _DISTURBED])[segment]


def _give_back(control: Array, coupon: Array, segment: npt.NDArray[np.int8]) -> None:
    """Lower the stage that falls in the chain-bias segments, in place; rates are [n, stage].

    A power of the ratio of rates keeps rates in [0, 1], keeps the product of the stages above control's, and is
    exactly 1 when the coupon has no effect.
    """
    last, early = control.shape[1] - 1, control.shape[1] - 2
    rows = np.flatnonzero(segment == BROWSER)
    ratio = control[rows, last - 1] / coupon[rows, last - 1]
    coupon[rows, last] = control[rows, last] * ratio**_OPPOSITE
    rows = np.flatnonzero(segment == LOYAL)
    ratio = control[rows, last] / coupon[rows, last]
    click_part = 1.0 - _EARLY_PART if early else 1.0
    coupon[rows, last - 1] = control[rows, last - 1] * ratio ** (_OPPOSITE * click_part)
    for j in range(early):
        coupon[rows, j] = control[rows, j] * ratio ** (_OPPOSITE * _EARLY_PART / early)
