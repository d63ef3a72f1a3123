"""What drives customers: the nonlinear functions of the features behind base rates, effects and segments."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from uplift.simulation.customers import CITIES
from uplift.simulation.streams import WORLD_SEED, stream

Array = npt.NDArray[np.float64]
SEGMENTS = ("regular", "browser", "loyal", "do_not_disturb")
REGULAR, BROWSER, LOYAL, DO_NOT_DISTURB = range(4)
#: Roles of stages: the last converts, the one before it is the click, all earlier ones are exposures.
EARLY, MIDDLE, LAST = "early", "middle", "last"
#: Numeric features that any function below reads.
NUMERIC_DRIVERS = frozenset(
    {
        "orders_90d", "sessions_30d", "basket_mean", "age", "tenure_days",
        "discount_share", "days_since_order", "email_open_rate",
    }
)  # fmt: skip

# logit scale, per city and per region; fixed for the world
_CITY_BASE = 0.3 * stream(WORLD_SEED, "city base").standard_normal(len(CITIES))
_CITY_GAIN = 0.6 * stream(WORLD_SEED, "city gain").standard_normal(len(CITIES))
REGION_BASE = np.resize([0.5, -0.4, 0.1, -0.2, 0.3, -0.5, 0.2], len(CITIES))


@dataclass(frozen=True)
class Drivers:
    """Standardised features [n] that the response reads; a feature that is not in the table is 0."""

    z: dict[str, Array]
    mobile: Array
    channel: npt.NDArray[np.int16] | None
    city: npt.NDArray[np.int16] | None
    category: npt.NDArray[np.int16] | None
    member: Array
    region: npt.NDArray[np.intp] | None
    n: int

    def __getitem__(self, name: str) -> Array | float:
        return self.z.get(name, 0.0)

    def per_code(self, codes: npt.NDArray[Any] | None, table: npt.ArrayLike) -> Array | float:
        """Look a level's constant up; 0 when the feature is not in the table."""
        return 0.0 if codes is None else np.asarray(table, dtype=np.float64)[codes]


def _early_score(d: Drivers) -> Array | float:
    reach = d.per_code(d.channel, [0.5, -0.2, -0.5, 0.3, 0.6])
    return 0.5 * np.tanh(d["email_open_rate"]) + 0.4 * d["sessions_30d"] - 0.15 * d["age"] + reach


def _middle_score(d: Drivers) -> Array | float:
    quick = d.per_code(d.channel, [-0.2, -0.1, -0.3, 0.3, 0.6]) * (0.4 + d.mobile)
    browse = 0.7 * np.tanh(d["sessions_30d"]) + 0.3 * d["discount_share"]
    return browse - 0.2 * np.square(d["age"]) + 0.15 * d["basket_mean"] + quick


def _last_score(d: Drivers) -> Array | float:
    habit = 0.6 * np.tanh(d["orders_90d"]) + 0.25 * d["tenure_days"] - 0.3 * np.tanh(d["days_since_order"])
    return habit + 0.3 * d.member - 0.15 * d["basket_mean"] + d.per_code(d.city, _CITY_BASE)


def _early_gain(d: Drivers) -> Array | float:
    return np.tanh(d["email_open_rate"]) - 0.6 * d["sessions_30d"] + 0.4 * np.sin(1.5 * d["age"])


def _middle_gain(d: Drivers) -> Array | float:
    thrift = np.tanh(1.2 * d["discount_share"]) * (0.5 + 0.9 * d.mobile)
    young = 0.6 * np.sin(1.3 * d["age"] + 2.0) - 0.5 * np.tanh(d["basket_mean"])
    return thrift + young + d.per_code(d.channel, [-0.3, 0.0, 0.4, 0.3, -0.1])


def _last_gain(d: Drivers) -> Array | float:
    small_baskets = 1.5 * np.exp(-np.square(d["basket_mean"] + 0.6))
    lapsed = 0.6 * np.tanh(d["discount_share"]) * (1.3 - d.member) + 0.4 * np.tanh(d["days_since_order"])
    return small_baskets + lapsed + 0.3 * np.tanh(d["orders_90d"]) + d.per_code(d.city, _CITY_GAIN)


def _scale_gain(d: Drivers) -> Array | float:
    return np.tanh(d["basket_mean"]) + 0.5 * np.tanh(d["age"]) - 0.4 * d.member


def _targeting_index(d: Drivers) -> Array | float:
    return d["orders_90d"] + 0.8 * np.tanh(d["sessions_30d"]) + 0.4 * d["basket_mean"]


def _browser_index(d: Drivers) -> Array | float:
    return d["sessions_30d"] - d["orders_90d"] - 0.3 * d["basket_mean"]


def _loyal_index(d: Drivers) -> Array | float:
    return d["orders_90d"] + 0.7 * d["tenure_days"] + 0.3 * d["basket_mean"] - 0.3 * d["sessions_30d"]


def _annoyed_index(d: Drivers) -> Array | float:
    return d["basket_mean"] + 0.5 * d["age"] - 0.6 * d["discount_share"] + 0.4 * d["orders_90d"]


Function = Callable[[Drivers], Array | float]
#: Base rate of a stage, by role; logit scale after standardisation.
SCORES: dict[str, Function] = {EARLY: _early_score, MIDDLE: _middle_score, LAST: _last_score}
#: Standardised to mean 0 and variance 1: log size of the effect by role, log of the face value at which effects
#: saturate, and whom a targeting rule prefers.
SCALE, TARGETING = "scale", "targeting"
GAINS: dict[str, Function] = {
    EARLY: _early_gain,
    MIDDLE: _middle_gain,
    LAST: _last_gain,
    SCALE: _scale_gain,
    TARGETING: _targeting_index,
}
#: Segments are the tops of these, in this order.
SEGMENT_INDEX: dict[int, Function] = {
    BROWSER: _browser_index,
    LOYAL: _loyal_index,
    DO_NOT_DISTURB: _annoyed_index,
}
