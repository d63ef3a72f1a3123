"""Random small allocation problems with every kind of constraint, and HiGHS MILP as the independent answer.

Amounts are whole cents, so that feasibility is a matter of integers. The reference is built from the constraint
objects alone, cell by cell, and shares no code with the allocation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import Bounds, LinearConstraint, milp

from uplift.allocation import Budget, Cap, Eligible, MaxShare, MinReach, MinROI, Stock, allocate_arrays
from uplift.campaign_file import CampaignFile
from uplift.simulation import simulate

KINDS = ("budget", "stock", "cap", "max_share", "min_reach", "min_roi", "eligible")


@dataclass
class Case:
    """One problem: amounts in cents [unit, arm], columns, and the arguments of `allocate_arrays`."""

    value: np.ndarray
    cost: np.ndarray
    budget: float | None
    constraints: list[Any]
    columns: dict[str, np.ndarray]
    holdout: np.ndarray
    exactly_one: bool

    @property
    def arms(self) -> tuple[str, ...]:
        return tuple(f"arm_{j + 1}" for j in range(self.value.shape[1]))

    def solve(self, method: str = "auto", **changes: Any) -> Any:
        arguments = {
            "budget": self.budget, "constraints": self.constraints, "columns": self.columns,
            "holdout": self.holdout, "exactly_one": self.exactly_one, "method": method,
        }  # fmt: skip
        return allocate_arrays(self.value / 100, self.cost / 100, **{**arguments, **changes})


def random_case(seed: int) -> Case:
    """Three to fourteen units, one to four arms, zero to six constraints."""
    rng = np.random.default_rng([20, seed])
    n, k = int(rng.integers(3, 15)), int(rng.integers(1, 5))
    low = -300 if rng.random() < 0.7 else 0
    value = rng.integers(low, 1000, (n, k))
    cost = rng.integers(5, 600, (n, k))
    if rng.random() < 0.2:  # few distinct amounts: ties
        value, cost = rng.choice([-100, 0, 100, 200], (n, k)), rng.choice([50, 100], (n, k))
    if rng.random() < 0.15:
        cost[rng.random((n, k)) < 0.2] *= -1
    columns = {"region": rng.choice(["a", "b", "c"], n), "age": rng.integers(10, 80, n)}
    present = sorted(set(columns["region"].tolist()))
    region = str(rng.choice(present))
    arm = f"arm_{int(rng.integers(1, k + 1))}"
    money = lambda share: float(round(share * np.abs(cost).mean() * n) / 100)  # noqa: E731
    options = {
        "budget": lambda: [
            Budget(money(rng.uniform(0.05, 0.3)), segment="region"),
            Budget({region: money(rng.uniform(0.05, 0.3))}, segment="region"),
            Budget(money(rng.uniform(0.05, 0.3)), arm=arm),
        ][rng.integers(3)],
        "stock": lambda: [
            Stock(int(rng.integers(0, n)), arm=arm),
            Stock({arm: int(rng.integers(0, n))}),
            Stock(int(rng.integers(1, 4))),
            Stock(1, segment="region", arm=arm),
        ][rng.integers(4)],
        "cap": lambda: [Cap(int(rng.integers(0, n))), Cap(int(rng.integers(0, 4)), segment="region")][rng.integers(2)],
        "max_share": lambda: [
            MaxShare(float(np.round(rng.random(), 2))),
            MaxShare(0.5, segment="region"),
            MaxShare({arm: 0.25}),
        ][rng.integers(3)],
        "min_reach": lambda: [
            MinReach(int(rng.integers(1, 3)), segment="region", level=region),
            MinReach(int(rng.integers(1, n))),
            MinReach({arm: int(rng.integers(1, 4))}),
            MinReach(1, segment="region"),
        ][rng.integers(4)],
        "min_roi": lambda: [
            MinROI(float(np.round(rng.uniform(0.5, 4), 2))),
            MinROI(float(np.round(rng.uniform(0.5, 4), 1)), segment="region"),
        ][rng.integers(2)],
        "eligible": lambda: [Eligible("age >= 18"), Eligible(f"region != '{region}'", arm=arm)][rng.integers(2)],
    }  # fmt: skip
    chosen = rng.choice(KINDS, int(rng.integers(0, 7)), replace=False)
    return Case(
        value,
        cost,
        None if rng.random() < 0.25 else money(rng.uniform(0.05, 0.6)),
        [options[kind]() for kind in chosen],
        columns,
        rng.random(n) < (0.15 if rng.random() < 0.5 else 0.0),
        bool(rng.random() < 0.15),
    )


def sums(case: Case) -> list[tuple[np.ndarray, float]]:
    """Rows ``sum(a x) <= b`` over cells [unit, arm], amounts in cents, from the constraint objects."""
    n, k = case.value.shape
    found: list[tuple[np.ndarray, float]] = []
    if case.budget is not None:
        found.append((case.cost.astype(float), round(case.budget * 100)))
    for rule in case.constraints:
        if isinstance(rule, Eligible):
            continue
        labels = case.columns[rule.segment] if rule.segment else np.full(n, "")
        levels = sorted(set(labels.tolist())) if rule.level is None else [rule.level]
        arms: list[list[int]] = [list(range(k))]
        if rule.arm is not None:
            arms = [[case.arms.index(rule.arm)]]
        elif isinstance(rule.limit, Mapping) and not rule.segment:
            arms = [[case.arms.index(name)] for name in rule.limit]
        elif isinstance(rule, Stock):
            arms = [[j] for j in range(k)]
        for level in levels:
            for group in arms:
                limit = rule.limit
                if isinstance(limit, Mapping):
                    limit = limit.get(level) if rule.segment else limit[case.arms[group[0]]]
                if limit is None:
                    continue
                inside = np.zeros((n, k))
                inside[np.ix_(labels == level, group)] = 1
                members = int((labels == level).sum())
                if isinstance(rule, Budget):
                    found.append((inside * case.cost, round(limit * 100)))
                elif isinstance(rule, Stock | Cap):
                    found.append((inside, limit))
                elif isinstance(rule, MaxShare):
                    found.append((inside, np.floor(round(limit * 100) * members / 100)))
                elif isinstance(rule, MinReach):
                    found.append((-inside, -limit))
                elif isinstance(rule, MinROI):
                    found.append((inside * (round(limit * 100) * case.cost - 100 * case.value), 0.0))
                else:
                    raise AssertionError(rule)
    return found


def open_cells(case: Case) -> np.ndarray:
    """Cells [unit, arm] that may be chosen."""
    opened = ~case.holdout[:, None] & ~((case.value < 0) & (case.cost < 0))
    for rule in case.constraints:
        if isinstance(rule, Eligible):
            if rule.when == "age >= 18":
                keep = case.columns["age"] >= 18
            else:
                keep = case.columns["region"] != rule.when.split("'")[1]
            concerned = slice(None) if rule.arm is None else [case.arms.index(rule.arm)]
            opened[:, concerned] &= keep[:, None]
    return opened


def reference(case: Case) -> float | None:
    """Value of the optimum in cents by HiGHS MILP; None: there is no feasible decision."""
    n, k = case.value.shape
    opened = open_cells(case)
    each = np.kron(np.eye(n), np.ones(k))
    least = np.where(opened.any(axis=1) & case.exactly_one, 1.0, 0.0)
    rows = [LinearConstraint(each, lb=least, ub=1)]
    rows += [LinearConstraint(a.reshape(1, -1), ub=b) for a, b in sums(case)]
    found = milp(
        -case.value.ravel().astype(float),
        constraints=rows,
        integrality=np.ones(n * k),
        bounds=Bounds(0, opened.ravel().astype(float)),
        options={"mip_rel_gap": 0.0},
    )
    if found.status == 2:
        return None
    assert found.status == 0, found.message
    return float(np.round(case.value.ravel() @ np.round(found.x)))


def violations(case: Case, arm_codes: np.ndarray) -> list[str]:
    """What a decision breaks, in whole cents and units."""
    n, k = case.value.shape
    x = np.zeros((n, k))
    treated = np.flatnonzero(arm_codes)
    x[treated, arm_codes[treated] - 1] = 1
    opened = open_cells(case)
    broken = [f"row {at}" for at, (a, b) in enumerate(sums(case)) if (a * x).sum() > b]
    if (x.astype(bool) & ~opened).any():
        broken.append("closed cell")
    if case.exactly_one and not np.array_equal(x.sum(axis=1) > 0, opened.any(axis=1)):
        broken.append("exactly one")
    return broken


def campaign_with_shops(folder: Path, *, rows: int) -> tuple[Path, str, str]:
    """A simulated campaign folder with a shop and an age that no model sees: its file, the file's text, a coupon."""
    simulate(rows=rows, seed=3).write(folder)
    log = next(folder.glob("*.parquet"))
    frame = pd.read_parquet(log)
    rng = np.random.default_rng(0)
    frame["shop"] = rng.choice(["north", "south", "east"], len(frame))
    frame["age"] = rng.integers(14, 80, len(frame))
    frame.to_parquet(log)
    file = folder / "campaign.toml"
    arm = CampaignFile.read(file).load().arm_names[1]
    text = file.read_text().replace("[campaign]\n", '[campaign]\nexclude = ["shop", "age"]\n', 1)
    return file, text, arm
