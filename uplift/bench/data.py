"""Campaigns for benchmarks: training rows, test rows and, where there is one, the truth about the test rows."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass

from uplift.campaign import Campaign
from uplift.effects import Effects

TEST_SHARE = 0.3
MOST_TEST_ROWS = 200_000
FRESH = 10_000
"""Added to a seed for the test rows: no benchmark has so many seeds."""


@dataclass(frozen=True, eq=False)
class Sample:
    """One draw.

    Attributes
    ----------
    train, test : Campaign
        Disjoint.
    truth : Effects or None
        True effects of the test rows, in their order.
    """

    train: Campaign
    test: Campaign
    truth: Effects | None


def simulated(rows: int, seed: int) -> Sample:
    """Four coupons, click -> conversion, chain bias; test rows are a fresh draw of twice as many (at most 200,000)."""
    from uplift.simulation import simulate

    def draw(size: int, seed: int) -> tuple[Campaign, Effects]:
        simulation = simulate(rows=size, arms=4, chain=("click", "conversion"), value=False, seed=seed)
        return simulation.campaign(), simulation.true_effects()

    train, _ = draw(rows, seed)
    test, truth = draw(min(2 * rows, MOST_TEST_ROWS), seed + FRESH)
    return Sample(train, test, truth)


def hillstrom(rows: int, seed: int) -> Sample:
    """The Hillstrom e-mail test, split 70/30; a random part of it when `rows` are fewer than its training rows."""
    from uplift.datasets import load_dataset

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its card's caveats are the reader's, not each process's
        campaign = load_dataset("hillstrom", rows=math.ceil(rows / (1 - TEST_SHARE)), seed=seed)
    train, test = campaign.split(test=TEST_SHARE, seed=seed)
    return Sample(train, test, None)


SOURCES: dict[str, Callable[[int, int], Sample]] = {"simulated": simulated, "hillstrom": hillstrom}
"""Name -> draw(training rows, seed)."""


def unavailable(name: str) -> str | None:
    """Why these data cannot be had on this machine, in one sentence, or None."""
    if name == "simulated":
        return None
    from uplift.datasets import find_files
    from uplift.errors import DatasetError

    try:
        find_files(name)
    except DatasetError as error:
        return str(error)
    return None
