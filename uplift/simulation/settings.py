"""The knobs of the simulator, checked once, and the names that follow from them."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from uplift.arms import VALUE_STAGE
from uplift.errors import UpliftError
from uplift.roles import RESERVED

CONTROL = "none"
UNIT = "customer_id"
TREATMENT = "coupon"
TIME = "sent_at"
PROPENSITY = "p_arm"
STRATUM = "region"
VALUE_COLUMN = "gmv"
MEMBER = "is_member"
DEFAULT_CHAIN = ("impression", "click", "conversion")
DEFAULT_CHAIN_BIAS = 0.3
_ROLES = {MEMBER, UNIT, TREATMENT, TIME, PROPENSITY, STRATUM, VALUE_COLUMN, *RESERVED}
#: Sessions, orders and the mean basket carry the segments, so they are always in the table.
MIN_NUMERIC = 3
MIN_ROWS = 100
MAX_FEATURES = 1000
MAX_STRATA = 50


class SimulationError(UpliftError):
    """A knob of the simulator is out of range, or two knobs contradict each other."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """Every knob of `uplift.simulation.simulate`, after defaults were filled in; see there for the meanings.

    Attributes
    ----------
    rows, numeric, categorical, amounts, chain, value, effect, heterogeneity, chain_bias, do_not_disturb, shares, confounding, ...
        As in :func:`uplift.simulation.simulate`.

    Examples
    --------
    >>> import uplift
    >>> uplift.simulate(rows=1_000, arms=1, chain=("buy",), seed=0).settings.amounts
    (5.0,)
    """

    rows: int
    numeric: int
    categorical: int
    amounts: tuple[float, ...]
    chain: tuple[str, ...]
    value: bool
    effect: float
    heterogeneity: float
    chain_bias: float
    do_not_disturb: float
    shares: tuple[float, ...]
    confounding: float
    strata: int
    strata_imbalance: float
    missing: float
    repeat_units: float
    seed: int

    @property
    def arm_names(self) -> tuple[str, ...]:
        """Control first, then one coupon per amount, such as ("none", "coupon_5", "coupon_10")."""
        return (CONTROL, *(_coupon(amount) for amount in self.amounts))

    @property
    def stages(self) -> tuple[str, ...]:
        """The chain, then "value" where spend is simulated."""
        return (*self.chain, VALUE_STAGE) if self.value else self.chain

    def to_dict(self) -> dict[str, Any]:
        """Knobs as JSON types; `simulate` accepts them back as keyword arguments."""
        knobs = dataclasses.asdict(self)
        return {name: list(knob) if isinstance(knob, tuple) else knob for name, knob in knobs.items()}


def checked_settings(
    *,
    arms: int | None,
    amounts: Sequence[float] | None,
    shares: Sequence[float] | None,
    chain: Sequence[str],
    chain_bias: float | None,
    **knobs: Any,
) -> Settings:
    """Fill in the defaults that depend on other knobs and reject what cannot be simulated.

    Raises
    ------
    SimulationError
        With one sentence naming the knob, the value found and the range expected.
    """
    _whole("rows", knobs["rows"], MIN_ROWS, 10**9)
    _whole("numeric", knobs["numeric"], MIN_NUMERIC, MAX_FEATURES)
    _whole("categorical", knobs["categorical"], 0, MAX_FEATURES)
    _whole("strata", knobs["strata"], 0, MAX_STRATA)
    _whole("seed", knobs["seed"], 0, 2**63 - 1)
    for name, low, high in (
        ("effect", 0.0, 5.0),
        ("heterogeneity", 0.0, 3.0),
        ("do_not_disturb", 0.0, 1.0),
        ("confounding", 0.0, 3.0),
        ("strata_imbalance", 0.0, 2.0),
        ("missing", 0.0, 0.9),
        ("repeat_units", 0.0, 0.9),
    ):
        knobs[name] = _number(name, knobs[name], low, high)
    if knobs["strata"] == 1:
        raise SimulationError("strata is 1, expected 0 (no strata) or at least 2.")
    if knobs["strata_imbalance"] > 0 and knobs["strata"] == 0:
        raise SimulationError("strata_imbalance needs strata: pass strata=4, for example.")
    knobs["value"] = bool(knobs["value"])
    amounts = _checked_amounts(arms, amounts)
    chain = _checked_chain(chain)
    if chain_bias is None:
        chain_bias = DEFAULT_CHAIN_BIAS if len(chain) > 1 else 0.0
    chain_bias = _number("chain_bias", chain_bias, 0.0, 1.0)
    if chain_bias > 0 and len(chain) < 2:
        raise SimulationError(
            f"chain_bias is {chain_bias:g} but the chain {list(chain)} has one stage: name two or more stages."
        )
    if chain_bias + knobs["do_not_disturb"] > 1.0 + 1e-12:
        raise SimulationError(
            f"chain_bias {chain_bias:g} and do_not_disturb {knobs['do_not_disturb']:g} are shares of the "
            "customers and add up to more than 1: lower one of them."
        )
    shares = _checked_shares(shares, 1 + len(amounts))
    return Settings(amounts=amounts, chain=chain, chain_bias=chain_bias, shares=shares, **knobs)


def _coupon(amount: float) -> str:
    return "coupon_" + f"{amount:.2f}".rstrip("0").rstrip(".")


def _whole(name: str, found: Any, low: int, high: int) -> None:
    if isinstance(found, bool) or not isinstance(found, int | np.integer) or not low <= found <= high:
        raise SimulationError(f"{name} is {found!r}, expected a whole number from {low} to {high}.")


def _number(name: str, found: Any, low: float, high: float) -> float:
    if isinstance(found, bool) or not isinstance(found, int | float | np.number) or not low <= found <= high:
        raise SimulationError(f"{name} is {found!r}, expected a number from {low:g} to {high:g}.")
    return float(found)


def _checked_amounts(arms: int | None, amounts: Sequence[float] | None) -> tuple[float, ...]:
    if amounts is None:
        arms = 3 if arms is None else arms
        _whole("arms", arms, 1, 50)
        return tuple(5.0 * (k + 1) for k in range(arms))
    amounts = tuple(_number("an entry of amounts", amount, 0.01, 1e6) for amount in amounts)
    if arms is not None and len(amounts) != arms:
        raise SimulationError(f"amounts has {len(amounts)} entries but arms is {arms}: drop one of the two.")
    if not amounts:
        raise SimulationError("amounts is empty: name the face value of at least one coupon.")
    # compared by the name they get, so that two coupons never share one
    if len({_coupon(amount) for amount in amounts}) < len(amounts) or list(amounts) != sorted(amounts):
        raise SimulationError(f"amounts is {list(amounts)}, expected distinct face values in rising order.")
    return amounts


def _checked_chain(chain: Sequence[str]) -> tuple[str, ...]:
    chain = (chain,) if isinstance(chain, str) else tuple(chain)
    if not chain:
        raise SimulationError("chain is empty: name at least one stage, such as conversion.")
    for stage in chain:
        # "__" separates stage and arm in the columns of the truth
        if not isinstance(stage, str) or not re.fullmatch(r"[A-Za-z][\w-]*", stage) or "__" in stage:
            raise SimulationError(
                f"chain has the stage {stage!r}, expected letters, digits, single _ or -, starting with a letter."
            )
    if len(set(chain)) < len(chain):
        raise SimulationError(f"chain is {list(chain)} and names a stage twice: give each its own name.")
    return chain


def check_stage_names(chain: Sequence[str], features: Sequence[str]) -> None:
    """Refuse a stage that is named like another column of the table.

    Raises
    ------
    SimulationError
        Names the stage.
    """
    for stage in chain:
        if stage in _ROLES or stage in features:
            raise SimulationError(
                f"chain has the stage {stage!r}, a name the table uses otherwise: rename it."
            )


def _checked_shares(shares: Sequence[float] | None, arms: int) -> tuple[float, ...]:
    if shares is None:
        return (1.0 / arms,) * arms
    shares = tuple(_number("an entry of shares", share, 0.001, 1.0) for share in shares)
    if len(shares) != arms:
        raise SimulationError(
            f"shares has {len(shares)} entries, expected {arms}: control, then every coupon."
        )
    if not math.isclose(sum(shares), 1.0, abs_tol=1e-6):
        raise SimulationError(f"shares add up to {sum(shares):g}, expected 1.")
    return shares
