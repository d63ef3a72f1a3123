"""`simulate`: from knobs to a campaign and its truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from uplift.effects import Effects
from uplift.simulation.assignment import arm_probabilities, pick_arms
from uplift.simulation.customers import Customers, categorical_specs, draw_customers, numeric_specs
from uplift.simulation.result import NAME, TRUE_MODEL, Simulation
from uplift.simulation.settings import DEFAULT_CHAIN, UNIT, Settings, check_stage_names, checked_settings
from uplift.simulation.streams import stream
from uplift.simulation.table import Logged, build_table, customer_ids, owners
from uplift.simulation.world import SPEND_SIGMA, World

_BLOCK = 1 << 16  # customers at a time: bounds the memory of the potential outcomes' intermediate arrays


def simulate(
    *,
    rows: int = 100_000,
    numeric: int = 8,
    categorical: int = 3,
    arms: int | None = None,
    amounts: Sequence[float] | None = None,
    chain: Sequence[str] = DEFAULT_CHAIN,
    value: bool = True,
    effect: float = 1.0,
    heterogeneity: float = 1.0,
    chain_bias: float | None = None,
    do_not_disturb: float = 0.1,
    shares: Sequence[float] | None = None,
    confounding: float = 0.0,
    strata: int = 0,
    strata_imbalance: float = 0.0,
    missing: float = 0.02,
    repeat_units: float = 0.0,
    seed: int = 0,
) -> Simulation:
    """Simulate a coupon campaign with K coupons of rising face value and known effects on every stage.

    The world (how features drive behaviour) is fixed; `seed` draws other customers, assignments and outcomes from
    it, so a second simulation is a fresh sample of the same campaign. The same knobs give the same bytes.

    Parameters
    ----------
    rows : int
        Messages sent, at least 100.
    numeric, categorical : int
        Features of each kind, besides the boolean `is_member`; at least 3 numeric ones. The truth depends on up to
        eight numeric features, `city`, `channel`, `device`, `favourite_category` and `is_member`, as far as they
        are in the table: nothing unobserved drives it, except through values that go missing.
    arms : int, optional
        Number of coupons besides the control "none", of face values 5, 10, 15, ...; default 3.
    amounts : sequence of float, optional
        Face values instead, in rising order, in the currency of `gmv` (a basket is about 60). Effects saturate
        around 15.
    chain : sequence of str
        Names of 1..N binary stages after assignment. The last one is the conversion (control rate 0.20 given the
        stage before it; 0.06 when it is the only stage), the one before it the click (0.25), the one before that
        the impression (0.6), any earlier one an exposure (0.8).
    value : bool
        Whether converted customers have a spend, lognormal with mean depending on features and slightly on the face
        value; the truth of stage "value" is P(conversion) E[spend | conversion] in closed form.
    effect : float
        Multiplier of every effect in [0, 5]; 0 is a campaign without any effect, tau exactly 0.
    heterogeneity : float
        In [0, 3]: how much effects differ between customers within a segment, on the log scale; 0 not at all.
    chain_bias : float, optional
        Share of customers in segments where the click's uplift and that of conversion given click have opposite
        signs: half "browser" (click more, convert less), half "loyal" (click less, convert more). Default 0.3,
        and 0 for a chain of one stage.
    do_not_disturb : float
        Share of customers whose conversion uplift is negative.
    shares : sequence of float, optional
        Planned shares, control first; default equal.
    confounding : float
        In [0, 3]; 0 randomises. Above, customers who buy more anyway are sent more and bigger coupons, and column
        `p_arm` holds the true probability of the arm received.
    strata : int
        Number of regions (groups of cities with different rates) in column `region`, 0 or at least 2.
    strata_imbalance : float
        In [0, 2]: how much the planned shares differ between regions.
    missing : float
        Share of feature values missing, completely at random.
    repeat_units : float
        Share of rows that go to customers who have another row already, in [0, 0.9]. A customer keeps features
        and arm.
    seed : int
        Not negative.

    Returns
    -------
    Simulation

    Raises
    ------
    SimulationError
        A knob is out of range or contradicts another.

    Examples
    --------
    >>> simulation = simulate(rows=1000, arms=2, seed=1)
    >>> simulation
    Simulation(1,000 rows, arms none | coupon_5 | coupon_10, chain impression -> click -> conversion -> value, seed 1)
    >>> simulation.true_effects().tau("conversion", "coupon_10").shape
    (1000,)
    """
    settings = checked_settings(
        rows=rows, numeric=numeric, categorical=categorical, arms=arms, amounts=amounts, chain=chain, value=value,
        effect=effect, heterogeneity=heterogeneity, chain_bias=chain_bias, do_not_disturb=do_not_disturb,
        shares=shares, confounding=confounding, strata=strata, strata_imbalance=strata_imbalance, missing=missing,
        repeat_units=repeat_units, seed=seed,
    )  # fmt: skip
    specs = numeric_specs(settings.numeric), categorical_specs(settings.categorical)
    check_stage_names(settings.chain, [spec.name for kind in specs for spec in kind])
    owner = owners(settings)
    n = settings.rows if owner is None else int(owner.max()) + 1
    customers = draw_customers(n, numeric=specs[0], categorical=specs[1], seed=settings.seed)
    potential = _potential_outcomes(settings, customers)
    logged = _draw_outcomes(settings, potential, owner)
    ids = customer_ids(n, settings.seed)
    table = build_table(settings, customers, ids, potential.region, logged, owner)
    take = slice(None) if owner is None else owner
    effects = Effects(
        potential.mu[take],
        units=pa.array(ids[take]),
        arms=settings.arm_names,
        stages=settings.stages,
        model=TRUE_MODEL,
        unit_column=UNIT,
        campaign=NAME,
    )
    return Simulation(table, effects, potential.segment[take], settings)


@dataclass(frozen=True)
class _Potential:
    """Per customer: the truth under every arm, and what the arm received makes likely.

    mu: float32 [unit, arm, stage]; arm: int16 [unit]; p_arm: float64 [unit]; rates: float64 [unit, stage], each
    among those who reached it; log_spend: float64 [unit]; segment: int8 [unit]; region: [unit] or None.
    """

    mu: npt.NDArray[np.float32]
    arm: npt.NDArray[np.int16]
    p_arm: npt.NDArray[np.float64]
    rates: npt.NDArray[np.float64]
    log_spend: npt.NDArray[np.float64]
    segment: npt.NDArray[np.int8]
    region: npt.NDArray[np.intp] | None


def _potential_outcomes(settings: Settings, customers: Customers) -> _Potential:
    n, stages = len(customers.is_member), len(settings.chain)
    world = World(settings)
    uniform = stream(settings.seed, "assignment").random(n)
    potential = _Potential(
        mu=np.empty((n, len(settings.arm_names), len(settings.stages)), np.float32),
        arm=np.empty(n, np.int16),
        p_arm=np.empty(n),
        rates=np.empty((n, stages)),
        log_spend=np.empty(n),
        segment=np.empty(n, np.int8),
        region=world.region(customers),
    )
    for start in range(0, n, _BLOCK):
        block = slice(start, min(start + _BLOCK, n))
        response = world.respond(customers.block(block))
        region = None if potential.region is None else potential.region[block]
        probabilities = arm_probabilities(settings, region, response.targeting)
        arm = pick_arms(probabilities, uniform[block])
        unit = np.arange(len(arm))
        potential.arm[block] = arm
        potential.p_arm[block] = probabilities[unit, arm]
        potential.rates[block] = response.rates[unit, arm]
        potential.log_spend[block] = response.log_spend[unit, arm]
        potential.segment[block] = response.segment
        mu = np.cumprod(response.rates, axis=2)
        potential.mu[block, :, :stages] = mu
        if settings.value:
            # mean of a lognormal: exp(median of the log + variance / 2)
            spend = np.exp(response.log_spend + SPEND_SIGMA**2 / 2)
            potential.mu[block, :, stages] = mu[:, :, -1] * spend
    return potential


def _draw_outcomes(settings: Settings, potential: _Potential, owner: npt.NDArray[np.int64] | None) -> Logged:
    take = slice(None) if owner is None else owner
    rates = potential.rates[take]
    reached = np.ones(settings.rows, bool)
    stages = []
    for j in range(len(settings.chain)):
        # numbered, so that the outcomes do not depend on what a stage is called
        uniform = stream(settings.seed, f"stage:{j}").random(settings.rows)
        reached = reached & (uniform < rates[:, j])
        stages.append(reached.astype(np.int8))
    gmv = None
    if settings.value:
        noise = stream(settings.seed, "spend").standard_normal(settings.rows)
        spend = np.exp(potential.log_spend[take] + SPEND_SIGMA * noise)
        gmv = np.where(reached, np.rint(spend * 100) / 100, 0.0)
    p_arm = potential.p_arm[take] if settings.confounding > 0 else None
    return Logged(potential.arm[take], p_arm, stages, gmv)
