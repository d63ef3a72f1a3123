"""The customers: correlated, marketing-like features drawn from four hidden traits and noise.

The traits (engagement, loyalty, thrift, affluence) only correlate the features. What customers do depends on
the features alone, so the truth is a function of what a model may see (before values go missing).
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from uplift.simulation.streams import stream

TRAITS = ("engagement", "loyalty", "thrift", "affluence")


@dataclass(frozen=True)
class Numeric:
    """A numeric feature: eta = intercept + weights . traits + noise, then a link by `kind`.

    kind: "count" Poisson(exp(eta)); "days" floor(exp(eta)); "money" exp(eta) in cents; "share" sigmoid(eta);
    "years" round(eta). Values lie in [low, high].
    """

    name: str
    kind: str
    intercept: float
    weights: tuple[float, float, float, float]
    noise: float
    low: float
    high: float


@dataclass(frozen=True)
class Categorical:
    """A categorical feature with level probabilities, tilted towards later levels by one trait."""

    name: str
    levels: tuple[str, ...]
    probabilities: tuple[float, ...]
    trait: str | None = None
    correlation: float = 0.0


NUMERIC = (
    Numeric("orders_90d", "count", 0.35, (0.25, 0.65, 0.1, 0.1), 0.25, 0, 99),
    Numeric("sessions_30d", "count", 1.5, (0.65, 0.15, 0.1, 0.0), 0.4, 0, 300),
    Numeric("basket_mean", "money", 3.9, (0.0, 0.05, -0.1, 0.35), 0.3, 3, 2000),
    Numeric("age", "years", 43.0, (-3.0, 2.0, 0.0, 4.0), 12.0, 18, 90),
    Numeric("tenure_days", "days", 6.0, (0.0, 0.5, 0.0, 0.1), 0.7, 1, 3650),
    Numeric("discount_share", "share", -0.9, (0.1, -0.1, 0.9, -0.3), 0.4, 0, 1),
    Numeric("days_since_order", "days", 3.3, (-0.2, -0.5, 0.0, 0.0), 0.7, 0, 365),
    Numeric("email_open_rate", "share", -0.8, (0.7, 0.2, 0.2, 0.0), 0.6, 0, 1),
    Numeric("returns_share", "share", -2.2, (0.1, -0.2, 0.2, 0.1), 0.7, 0, 1),
    Numeric("wishlist_items", "count", 0.6, (0.5, 0.1, 0.2, 0.0), 0.7, 0, 200),
    Numeric("app_minutes_30d", "count", 2.4, (0.8, 0.1, 0.0, 0.0), 0.7, 0, 5000),
    Numeric("support_tickets_1y", "count", -1.4, (0.1, 0.1, 0.1, 0.0), 0.5, 0, 50),
    Numeric("distance_to_store_km", "money", 1.8, (0.0, -0.1, 0.0, 0.1), 0.9, 0.1, 500),
    Numeric("reviews_written", "count", -0.9, (0.3, 0.4, 0.0, 0.0), 0.8, 0, 200),
    Numeric("weekend_share", "share", -0.7, (0.0, 0.0, 0.1, 0.1), 0.6, 0, 1),
    Numeric("push_opens_30d", "count", 0.3, (0.7, 0.1, 0.1, 0.0), 0.6, 0, 200),
)

_CITY_NAMES = """
London Paris Madrid Berlin Rome Vienna Hamburg Warsaw Barcelona Munich Milan Prague Sofia Brussels
Birmingham Cologne Naples Stockholm Turin Marseille Amsterdam Zagreb Valencia Krakow Frankfurt Seville
Zaragoza Athens Palermo Wroclaw Rotterdam Helsinki Stuttgart Riga Copenhagen Dusseldorf Glasgow Dortmund
Essen Gothenburg Genoa Oslo Leipzig Sheffield Dublin Lisbon Vilnius Bremen Manchester Dresden Hannover
Antwerp Nuremberg Edinburgh Lyon Leeds Bristol Toulouse Lodz Malaga Poznan Bratislava Liverpool Tallinn
Duisburg Porto Murcia Nice Bologna Gdansk Leicester Brno Florence Bochum Palma Utrecht Nantes Wuppertal
Varna Bilbao Szczecin Malmo Bari Ljubljana Bielefeld Strasbourg Alicante Cardiff Cordoba Bonn Catania
Plovdiv Coventry Bergen Montpellier Ghent Thessaloniki Aarhus Tampere Graz Verona Linz Bordeaux Split
Lille Ostrava Eindhoven Kaunas Rennes Gijon Uppsala Padua Espoo Trieste Belfast Reims Vigo Tartu Turku
Groningen Leuven Salzburg
"""
CITIES = tuple(_CITY_NAMES.split())
_ZIPF = tuple(1.0 / (rank + 4.0) for rank in range(len(CITIES)))

CATEGORICAL = (
    Categorical("city", CITIES, tuple(weight / sum(_ZIPF) for weight in _ZIPF)),
    Categorical(
        "channel",
        ("sms", "email", "paid_social", "push", "app"),
        (0.15, 0.40, 0.08, 0.25, 0.12),
        "engagement",
        0.3,
    ),
    Categorical(
        "device", ("desktop", "android", "tablet", "ios"), (0.20, 0.42, 0.05, 0.33), "affluence", 0.25
    ),
    Categorical(
        "loyalty_tier", ("basic", "bronze", "silver", "gold"), (0.50, 0.25, 0.17, 0.08), "loyalty", 0.8
    ),
    Categorical(
        "favourite_category",
        ("grocery", "beauty", "fashion", "home", "toys", "sports", "garden", "electronics"),
        (0.24, 0.14, 0.19, 0.13, 0.08, 0.08, 0.05, 0.09),
        "affluence",
        0.2,
    ),
    Categorical(
        "payment_method",
        ("invoice", "card", "wallet", "transfer", "instalments"),
        (0.12, 0.45, 0.25, 0.10, 0.08),
        "thrift",
        0.3,
    ),
)


def numeric_specs(count: int) -> tuple[Numeric, ...]:
    """The first `count` numeric features; past the named ones come `behaviour_17`, `behaviour_18`, ..."""
    world = np.random.default_rng(17)
    extra = [
        Numeric(f"behaviour_{i + 1}", "share", -0.5, tuple(world.uniform(-0.5, 0.5, len(TRAITS))), 0.7, 0, 1)
        for i in range(len(NUMERIC), count)
    ]
    return (*NUMERIC, *extra)[:count]


def categorical_specs(count: int) -> tuple[Categorical, ...]:
    """The first `count` categorical features; past the named ones come `attribute_7`, `attribute_8`, ..."""
    levels = tuple(f"v{k:02d}" for k in range(1, 13))
    extra = [
        Categorical(f"attribute_{i + 1}", levels, (1.0 / 12,) * 12, TRAITS[i % len(TRAITS)], 0.3)
        for i in range(len(CATEGORICAL), count)
    ]
    return (*CATEGORICAL, *extra)[:count]


@dataclass(frozen=True)
class Customers:
    """Complete features of `n` customers.

    numeric: name -> [n]; codes: name -> int16 [n] into the levels; city int16 [n] (drawn even when the table has
    no city, because regions are groups of cities); is_member bool [n].
    """

    numeric: dict[str, npt.NDArray[Any]]
    codes: dict[str, npt.NDArray[np.int16]]
    city: npt.NDArray[np.int16]
    is_member: npt.NDArray[np.bool_]

    def block(self, rows: slice) -> Customers:
        """View of some customers."""
        return Customers(
            numeric={name: values[rows] for name, values in self.numeric.items()},
            codes={name: codes[rows] for name, codes in self.codes.items()},
            city=self.city[rows],
            is_member=self.is_member[rows],
        )


def draw_customers(
    n: int, *, numeric: tuple[Numeric, ...], categorical: tuple[Categorical, ...], seed: int
) -> Customers:
    """Draw the features of `n` customers, one named random stream per trait and column."""
    traits = {name: stream(seed, f"trait:{name}").standard_normal(n, dtype=np.float32) for name in TRAITS}
    city = _draw_codes(CATEGORICAL[0], traits, n, seed)
    member_noise = stream(seed, "is_member").standard_normal(n, dtype=np.float32)
    return Customers(
        numeric={spec.name: _draw_numeric(spec, traits, n, seed) for spec in numeric},
        codes={
            spec.name: city if spec.name == "city" else _draw_codes(spec, traits, n, seed)
            for spec in categorical
        },
        city=city,
        is_member=np.float32(0.7) * traits["loyalty"] + np.float32(0.7) * member_noise > np.float32(0.25),
    )


def _draw_numeric(spec: Numeric, traits: dict[str, npt.NDArray[Any]], n: int, seed: int) -> npt.NDArray[Any]:
    rng = stream(seed, f"numeric:{spec.name}")
    eta = rng.standard_normal(n, dtype=np.float32)
    eta *= np.float32(spec.noise)
    eta += np.float32(spec.intercept)
    for name, weight in zip(TRAITS, spec.weights, strict=True):
        if weight:
            eta += np.float32(weight) * traits[name]
    if spec.kind == "count":
        return np.clip(rng.poisson(np.exp(eta)), spec.low, spec.high).astype(np.int16)
    if spec.kind == "days":
        return np.clip(np.floor(np.exp(eta)), spec.low, spec.high).astype(np.int16)
    if spec.kind == "years":
        return np.clip(np.rint(eta), spec.low, spec.high).astype(np.int16)
    if spec.kind == "money":
        result: npt.NDArray[Any] = np.clip(
            np.rint(np.exp(eta.astype(np.float64)) * 100) / 100, spec.low, spec.high
        )
        return result
    return np.rint(1000 / (1 + np.exp(-eta.astype(np.float64)))) / 1000


def _draw_codes(
    spec: Categorical, traits: dict[str, npt.NDArray[Any]], n: int, seed: int
) -> npt.NDArray[np.int16]:
    score = stream(seed, f"categorical:{spec.name}").standard_normal(n, dtype=np.float32)
    if spec.trait is not None:
        score *= np.float32((1 - spec.correlation**2) ** 0.5)
        score += np.float32(spec.correlation) * traits[spec.trait]
    normal = statistics.NormalDist()
    cuts = [normal.inv_cdf(min(max(p, 1e-12), 1 - 1e-12)) for p in np.cumsum(spec.probabilities)[:-1]]
    return np.searchsorted(np.array(cuts, np.float32), score).astype(np.int16)
