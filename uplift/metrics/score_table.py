"""The table of sufficient statistics in a form that is added up: over blocks of rows, files or machines.

A group holds the rows of one score as long as there are at most `max_groups` of these. With more, the lowest bits of the
scores are dropped, as few as make it fit, so that a group is a bin of neighbouring scores: equally wide in proportion to
the score, and the finer the fewer powers of two the scores span. How many bits go depends on the scores alone, not on
the order in which parts were added, so that ``a + (b + c)`` and ``(c + a) + b`` have the same groups.

Metrics of the table treat the rows of a bin as ties. How far that can be off is known: see
:mod:`uplift.metrics.binning_error`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from uplift.errors import EvaluationError
from uplift.metrics.ranking import Cells, Moments, Rows
from uplift.metrics.score_groups import (
    ROWS,
    SUMS,
    WW,
    WWY,
    WWYY,
    WX,
    WY,
    W,
    Y,
    bits_to_drop,
    group_rows,
    merge_groups,
)
from uplift.radix_order import descending, ordered_bits

MAX_GROUPS = 1 << 17
"""Groups of a table unless told otherwise: 23 MB."""


@dataclass(frozen=True, eq=False)
class ScoreTable:
    """Sums by score of one treated arm and of control; tables of parts of the rows add up with ``+``.

    Attributes
    ----------
    first, last : ndarray of uint64 [group]
        Best and worst score of each group, best first, as integers that fall as scores rise.
    sums : ndarray of float64 [sum, arm, group]
        Control is arm 0. The sums are those of :mod:`uplift.metrics.score_groups`.
    drop : int
        Bits of a score that do not count; 0 says that every group is one score.
    max_groups : int
    least_weight : float
        Smallest weight of a row.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> score, treated, outcome = rng.normal(size=1_000), rng.random(1_000) < 0.5, rng.random(1_000) < 0.1
    >>> parts = [ScoreTable.of(score[i::4], treated[i::4], outcome[i::4]) for i in range(4)]
    >>> whole = parts[0] + parts[1] + parts[2] + parts[3]
    >>> len(whole), whole.binned
    (1000, False)
    """

    first: np.ndarray
    last: np.ndarray
    sums: np.ndarray
    drop: int
    max_groups: int
    least_weight: float

    @classmethod
    def empty(cls, *, max_groups: int = MAX_GROUPS) -> ScoreTable:
        """No rows, to start adding from.

        Parameters
        ----------
        max_groups : int
            Most groups, >= 2.

        Raises
        ------
        EvaluationError
            Fewer than two groups are asked for.
        """
        if max_groups < 2:
            raise EvaluationError(f"max_groups is {max_groups}; a ranking needs at least 2.")
        none = np.zeros(0, np.uint64)
        return cls(none, none, np.zeros((SUMS, 2, 0)), 0, max_groups, np.inf)

    @classmethod
    def of(
        cls,
        score: np.ndarray,
        treated: np.ndarray,
        outcome: np.ndarray,
        weight: np.ndarray | None = None,
        *,
        max_groups: int = MAX_GROUPS,
    ) -> ScoreTable:
        """Table of some rows, which need not hold both groups.

        Parameters
        ----------
        score, treated, outcome, weight
            As for :meth:`uplift.metrics.ranking.Ranking.build`; scores are read as float64.
        max_groups : int
            Most groups, at least 2; tables that are to be added must agree.

        Raises
        ------
        EvaluationError
            Lengths differ, or a score is missing or infinite.
        """
        start = cls.empty(max_groups=max_groups)
        rows = Rows.of(np.ascontiguousarray(score, np.float64), treated, outcome, weight)
        keys, refused = ordered_bits(rows.score)
        rows.check_scores(refused)
        if not len(keys):
            return start
        order = descending(rows.score).order
        first, last, sums = group_rows(order, keys, np.uint64(0), rows.score, *rows.arrays())
        least = 1.0 if rows.weight is None else float(rows.weight.min())
        return cls(first, last, sums, 0, max_groups, least)._fitted()

    def __add__(self, other: ScoreTable) -> ScoreTable:
        """Table of the rows of both.

        Raises
        ------
        EvaluationError
            They have different `max_groups`.
        """
        if self.max_groups != other.max_groups:
            raise EvaluationError(
                f"tables of at most {self.max_groups:,} and {other.max_groups:,} groups do not add up; make them with the same max_groups."
            )
        drop = max(self.drop, other.drop)
        one, two = (self.first, self.last, self.sums), (other.first, other.last, other.sums)
        first, last, sums = merge_groups(*one, *two, np.uint64(drop))
        least = min(self.least_weight, other.least_weight)
        return ScoreTable(first, last, sums, drop, self.max_groups, least)._fitted()

    def _fitted(self) -> ScoreTable:
        drop = int(bits_to_drop(self.first, self.last, np.uint64(self.drop), self.max_groups))
        if drop == self.drop:
            return self
        none = ScoreTable.empty(max_groups=self.max_groups)
        one, two = (self.first, self.last, self.sums), (none.first, none.last, none.sums)
        first, last, sums = merge_groups(*one, *two, np.uint64(drop))
        return ScoreTable(first, last, sums, drop, self.max_groups, self.least_weight)

    def __len__(self) -> int:
        return len(self.first)

    @property
    def n_rows(self) -> int:
        """Rows of both groups."""
        return int(self.sums[ROWS].sum())

    @property
    def pure(self) -> np.ndarray:
        """True for groups that hold one score only, bool [group]."""
        result: np.ndarray = self.first == self.last
        return result

    @property
    def binned(self) -> bool:
        """Whether some group holds more than one score."""
        return not bool(self.pure.all())

    @cached_property
    def cells(self) -> Cells:
        """The ranking, weighted.

        Raises
        ------
        EvaluationError
            One of the two groups has no rows.
        """
        return self._cells(W, WY)

    @cached_property
    def raw_cells(self) -> Cells:
        """The ranking without weights."""
        return self._cells(ROWS, Y)

    def _cells(self, mass: int, outcome: int) -> Cells:
        for name, arm in (("treated", 1), ("control", 0)):
            if not self.sums[ROWS, arm].sum():
                raise EvaluationError(
                    f"there are no {name} rows among the {self.n_rows:,}; a comparison needs both."
                )
        n, y = np.cumsum(self.sums[mass], axis=-1), np.cumsum(self.sums[outcome], axis=-1)
        return Cells(n[1], n[0], y[1], y[0])

    @property
    def ends(self) -> np.ndarray:
        """Rows of this group or a better one, int64 [group]."""
        return np.cumsum(self.sums[ROWS].sum(axis=0)).astype(np.int64)

    def cuts(self, slices: int) -> np.ndarray:
        """Groups that end slices of about equal numbers of rows, int64 [slice], at most `slices` of them.

        The slices are those of :meth:`uplift.metrics.ranking.Ranking.cuts`.
        """
        ends = self.ends
        wanted = np.ceil(np.linspace(0, ends[-1], slices + 1)[1:]).astype(np.int64)
        return np.unique(np.minimum(np.searchsorted(ends, wanted), len(ends) - 1))

    def slices(self, cuts: np.ndarray) -> np.ndarray:
        """Sums over the slices that end with the groups `cuts`, float64 [sum, arm, slice]."""
        return np.add.reduceat(self.sums, np.append(0, cuts[:-1] + 1), axis=-1)

    def moments(self, cuts: np.ndarray) -> Moments:
        """What resampling needs to know of the slices that end with the groups `cuts`."""
        found = self.slices(cuts)
        return Moments(found[W], found[WY], found[WW], found[WWY], found[WWYY])

    def raw_moments(self, cuts: np.ndarray) -> Moments:
        """The same without weights, of outcomes that are 0 or 1.

        Parameters
        ----------
        cuts : ndarray of int64 [slice + 1]
            First group of every slice, and the end.
        """
        found = self.slices(cuts)
        return Moments(found[ROWS], found[Y], found[ROWS], found[Y], found[Y])

    @property
    def predicted(self) -> np.ndarray:
        """Mean score of each group, float64 [group]."""
        result: np.ndarray = self.sums[WX].sum(axis=0) / self.sums[W].sum(axis=0)
        return result
