"""How two columns go together: determined by the arm, differing between arms, filled only where a stage was reached."""

from __future__ import annotations

import numpy as np

from uplift.inspection.profile import Profile

SEEN = 30
"""Rows in which a column must be filled before its pattern says anything."""
MANY = 200
"""Values up to which a column is compared with the arm value by value; else by rank."""


def pairs(one: np.ndarray, other: np.ndarray) -> int:
    """Number of different pairs of codes that occur."""
    return int(np.unique(one.astype(np.int64) * (int(other.max(initial=0)) + 2) + other).size)


def determined(column: Profile, arm: np.ndarray) -> bool:
    """Whether the arm says what the column holds, while the column is not constant."""
    return column.distinct > 1 and pairs(arm, column.codes) == np.unique(arm).size


def marks_an_arm(column: Profile, arm: np.ndarray) -> bool:
    """Whether some arm has one value of the column to itself, and no other: the column was written by the treatment."""
    if not 1 < column.distinct <= MANY:
        return False
    for code in np.unique(arm):
        inside = np.unique(column.codes[arm == code])
        if (
            inside.size == 1
            and (arm == code).sum() >= SEEN
            and not (column.codes[arm != code] == inside[0]).any()
        ):
            return True
    return False


def finer(column: Profile, other: Profile) -> bool:
    """Whether `column` says everything that `other` says."""
    return pairs(column.codes, other.codes) == np.unique(column.codes).size


def arm_dependence(column: Profile, arm: np.ndarray) -> tuple[float, float]:
    """P-value of "the column does not depend on the arm", and the size of the dependence (Cramer's V or eta, 0..1)."""
    from scipy import stats

    if column.numbers is not None and column.distinct > MANY:
        seen = ~np.isnan(column.numbers)
        groups = [column.numbers[seen & (arm == a)] for a in np.unique(arm)]
        groups = [group for group in groups if group.size > 1]
        if len(groups) < 2:
            return 1.0, 0.0
        statistic, p = stats.kruskal(*groups)
        return float(p), float(np.sqrt(max(statistic, 0.0) / max(int(seen.sum()), 1)))
    codes = column.codes + 1
    if column.distinct > MANY:
        return 1.0, 0.0
    table = np.zeros((int(arm.max()) + 1, int(codes.max()) + 1))
    np.add.at(table, (arm, codes), 1)
    table = table[table.sum(axis=1) > 0][:, table.sum(axis=0) > 0]
    if min(table.shape) < 2 or table.mean() < 5:  # too thin for chi-squared
        return 1.0, 0.0
    result = stats.chi2_contingency(table, correction=False)
    return float(result.pvalue), float(np.sqrt(result.statistic / (table.sum() * (min(table.shape) - 1))))


def outside(column: Profile, stage: np.ndarray) -> float:
    """Share of the column's non-zero rows where `stage` (0/1 [row]) was not reached; 1 when it has too few to say."""
    filled = column.codes >= 0 if column.numbers is None else np.nan_to_num(column.numbers) != 0
    return float((filled & (stage == 0)).sum() / filled.sum()) if filled.sum() >= SEEN else 1.0


def counts_up(column: Profile, stage: np.ndarray) -> bool:
    """Whether the column counts from 0, and those with 0 hardly ever reached the stage: they did it meanwhile."""
    if not column.whole or column.numbers is None or np.nanmin(column.numbers) != 0:
        return False
    zero = column.numbers == 0
    return bool(zero.sum() >= SEEN and stage[zero].mean() < 0.1 * stage.mean())


def auc(column: Profile, stage: np.ndarray) -> float:
    """How well the column alone ranks those who reached the stage, 0.5..1; 0.5 for text."""
    from scipy import stats

    if column.numbers is None:
        return 0.5
    seen = ~np.isnan(column.numbers)
    values, reached = column.numbers[seen], stage[seen] == 1
    ones, zeros = int(reached.sum()), int((~reached).sum())
    if min(ones, zeros) < 20:
        return 0.5
    ranks = stats.rankdata(values)
    area = (ranks[reached].sum() - ones * (ones + 1) / 2) / (ones * zeros)
    return float(max(area, 1 - area))
