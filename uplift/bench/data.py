"""Campaigns for benchmarks: training rows, test rows and, where there is one, the truth about them."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from uplift.bench.entries import DataEntry, PublicEntry, SimulatedEntry, TruthEntry
from uplift.campaign import Campaign
from uplift.effects import Effects

MOST_TEST_ROWS = 200_000
FRESH = 10_000
"""Added to a seed for the test rows: no benchmark has so many seeds."""


@dataclass(frozen=True, eq=False)
class Sample:
    """One draw or split.

    Attributes
    ----------
    train, test : Campaign
        Disjoint units.
    truth : Effects or None
        True effects of the test rows, in their order.
    train_truth : Effects or None
        True effects of the training rows.
    scored : tuple of str
        Stages that are scored; others are there for the form only.
    less_is_better : bool
        Whether a policy wants the outcome to be small (deaths).
    """

    train: Campaign
    test: Campaign
    truth: Effects | None = None
    train_truth: Effects | None = None
    scored: tuple[str, ...] = ()
    less_is_better: bool = False

    @cached_property
    def audience(self) -> Campaign:
        """The test rows without arms, outcomes and propensities: all that a model is shown when it predicts."""
        roles = self.test.roles
        hidden = {roles.treatment, roles.value, roles.propensity, roles.weight, *roles.chain}
        kept = [name for name in self.test.table.column_names if name not in hidden]
        return replace(self.test, table=self.test.table.select(kept))


def draw(entry: DataEntry, seed: int) -> Sample:
    """The sample of a seed.

    Raises
    ------
    UpliftError
        The data are not on this machine, or have no such replication.
    """
    if isinstance(entry, SimulatedEntry):
        return _simulated(entry, seed)
    if isinstance(entry, TruthEntry):
        from uplift.bench.truth_data import load_truth

        return load_truth(entry, seed)
    assert isinstance(entry, PublicEntry)
    return _public(entry, seed)


def held_back_ratio(entry: DataEntry) -> float:
    """Size of the test part over that of the training part where seeds are splits of the same rows; else 0."""
    if isinstance(entry, PublicEntry):
        return entry.test / (1 - entry.test)
    if isinstance(entry, TruthEntry):
        from uplift.bench.truth_data import TRUTH_CARDS

        if TRUTH_CARDS[entry.source].replication is None:
            return entry.test / (1 - entry.test)
    return 0.0


def _simulated(entry: SimulatedEntry, seed: int) -> Sample:
    from uplift.simulation import simulate

    knobs = entry.model_dump(exclude={"name", "source", "rows", "seeds", "judge", "test_rows"})

    def sample(size: int, seed: int) -> tuple[Campaign, Effects]:
        simulation = simulate(rows=size, seed=seed, **knobs)
        return simulation.campaign(), simulation.true_effects()

    train, _ = sample(entry.rows, seed)
    test, truth = sample(entry.test_rows or min(2 * entry.rows, MOST_TEST_ROWS), seed + FRESH)
    return Sample(train, test, truth, scored=test.stages)


def _public(entry: PublicEntry, seed: int) -> Sample:
    from uplift.datasets import load_dataset

    wanted = None if entry.rows is None else math.ceil(entry.rows / (1 - entry.test))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its card's caveats are the reader's, not each process's
        campaign = load_dataset(entry.source, rows=wanted, seed=seed)
    campaign = _narrowed(campaign, entry)
    train, test = campaign.split(test=entry.test, seed=seed)
    return Sample(train, test, scored=test.stages)


def _narrowed(campaign: Campaign, entry: PublicEntry) -> Campaign:
    """Only the arms and stages that the entry names; stages that are dropped are no features either."""
    roles, table = campaign.roles, campaign.table
    if entry.arms is not None:
        keep = {0, *(campaign.arm_index(arm) for arm in entry.arms)}
        campaign = campaign.take(np.isin(campaign.arm_codes, sorted(keep)))
        arms = tuple(arm for code, arm in enumerate(campaign.arms) if code in keep)
        campaign = replace(campaign, arms=arms)
        table = campaign.table
    dropped: list[str] = []
    if entry.chain is not None:
        for stage in entry.chain:
            campaign.stage_index(stage)
        dropped += [stage for stage in roles.chain if stage not in entry.chain]
        roles = replace(roles, chain=tuple(stage for stage in roles.chain if stage in entry.chain))
    if not entry.value and roles.value is not None:
        dropped.append(roles.value)
        roles = replace(roles, value=None)
    if not dropped:
        return campaign
    return replace(campaign, table=table.drop_columns(dropped), roles=roles)


def unavailable(entry: DataEntry) -> str | None:
    """Why these data cannot be had on this machine, in one sentence, or None."""
    from uplift.errors import DatasetError

    try:
        if isinstance(entry, TruthEntry):
            from uplift.bench.truth_data import truth_files

            truth_files(entry.source)
        elif not isinstance(entry, SimulatedEntry):
            from uplift.datasets import find_files, get_card

            card = get_card(entry.source)
            if card.refused is not None:
                return f"{entry.source} is no campaign: {card.refused}"
            find_files(entry.source)
    except DatasetError as error:
        return str(error)
    return None
