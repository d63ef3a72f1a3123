"""One table of sufficient statistics per ranking: every metric is a pure function of it.

Rows with the same score form one group, so ties are solved here and nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from uplift.errors import EvaluationError
from uplift.metrics.ranked_sums import gather, running_sums, slice_sums
from uplift.radix_order import descending


@dataclass(frozen=True)
class Cells:
    """Cumulative counts and outcome sums of the two groups of rows along a ranking, best score first.

    Attributes
    ----------
    n_t, n_c : ndarray of float64 [..., group]
        (Weighted) rows of the treated arm and of control with this score or a better one.
    y_t, y_c : ndarray of float64 [..., group]
        Their (weighted) outcome sums.

    Leading dimensions, where there are any, are resamples of the same ranking.
    """

    n_t: np.ndarray
    n_c: np.ndarray
    y_t: np.ndarray
    y_c: np.ndarray

    @property
    def totals(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Last column of each: n_T, n_C, Y_T, Y_C."""
        return self.n_t[..., -1], self.n_c[..., -1], self.y_t[..., -1], self.y_c[..., -1]

    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """n_t, n_c, y_t, y_c."""
        return self.n_t, self.n_c, self.y_t, self.y_c

    def ate(self) -> np.ndarray:
        """Mean outcome of the treated arm minus that of control."""
        n_t, n_c, y_t, y_c = self.totals
        result: np.ndarray = y_t / n_t - y_c / n_c
        return result


@dataclass(frozen=True)
class Moments:
    """What resampling needs to know of each slice of a ranking, per arm (0 control, 1 treated).

    Attributes
    ----------
    w, wy, ww, wwy, wwyy : ndarray of float64 [arm, slice]
        Sums over the rows of the slice of the weight w, w y, w^2, w^2 y and w^2 y^2.
    """

    w: np.ndarray
    wy: np.ndarray
    ww: np.ndarray
    wwy: np.ndarray
    wwyy: np.ndarray

    def cells(self) -> Cells:
        """The slices as a ranking."""
        n, y = np.cumsum(self.w, axis=-1), np.cumsum(self.wy, axis=-1)
        return Cells(n[1], n[0], y[1], y[0])


class Rows(NamedTuple):
    """Rows of one treated arm and of control, not yet ranked.

    Attributes
    ----------
    score : ndarray [row]
        Higher is treated first.
    treated : ndarray of bool [row]
        True for the treated arm.
    outcome : ndarray of float64 [row]
    weight : ndarray of float64 [row] or None
        None when all are 1.
    """

    score: np.ndarray
    treated: np.ndarray
    outcome: np.ndarray
    weight: np.ndarray | None

    @classmethod
    def of(
        cls, score: np.ndarray, treated: np.ndarray, outcome: np.ndarray, weight: np.ndarray | None
    ) -> Rows:
        """Arrays of the types that the sums need, without copies where they are that already.

        Raises
        ------
        EvaluationError
            Lengths differ, or there are too many rows for one ranking.
        """
        rows = cls(
            np.asarray(score),
            np.ascontiguousarray(treated, bool),
            np.ascontiguousarray(outcome, np.float64),
            None if weight is None else np.ascontiguousarray(weight, np.float64),
        )
        n = len(rows.score)
        if any(len(part) != n for part in rows if part is not None):
            raise EvaluationError(
                f"scores ({n:,}), treatment ({len(rows.treated):,}) and outcome ({len(rows.outcome):,}) differ in length."
            )
        if n >= 2**32:
            raise EvaluationError(f"{n:,} rows are too many for one ranking; stream them.")
        return rows

    def check(self, refused: int) -> None:
        """Complain about `refused` scores and an empty group.

        Raises
        ------
        EvaluationError
            A score is missing or infinite, or one of the two groups has no rows.
        """
        self.check_scores(refused)
        n, treated = len(self.score), int(np.count_nonzero(self.treated))
        for name, count in (("treated", treated), ("control", n - treated)):
            if count == 0:
                raise EvaluationError(f"there are no {name} rows among the {n:,}; a comparison needs both.")

    def check_scores(self, refused: int) -> None:
        """Complain about `refused` scores.

        Raises
        ------
        EvaluationError
            A score is missing or infinite.
        """
        if refused:
            raise EvaluationError(
                f"{refused:,} of {len(self.score):,} scores are missing or infinite; a ranking needs a number for every row."
            )

    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What compiled code takes: treated as uint8, outcome, weight (empty when all are 1)."""
        weight = _NO_WEIGHT if self.weight is None else self.weight
        return self.treated.view(np.uint8), self.outcome, weight


_NO_WEIGHT = np.zeros(0)


@dataclass(frozen=True, eq=False)
class Ranking:
    """Rows of one treated arm and of control, sorted by score.

    Attributes
    ----------
    cells : Cells
        One group per distinct score.
    ends : ndarray of int64 [group]
        Number of rows with this score or a better one.
    order : ndarray of int64 [row]
        Position of each ranked row in the input; equal scores in the order of the input.
    ranked : tuple of ndarray [row]
        Treated (uint8), outcome and weight (empty when all are 1) in ranking order, as compiled passes take them.
    rows : Rows
        The same in the order of the input, with the scores.
    """

    cells: Cells
    ends: np.ndarray
    order: np.ndarray
    ranked: tuple[np.ndarray, np.ndarray, np.ndarray] = field(repr=False)
    rows: Rows = field(repr=False)

    @classmethod
    def build(
        cls, score: np.ndarray, treated: np.ndarray, outcome: np.ndarray, weight: np.ndarray | None = None
    ) -> Ranking:
        """Sort once, sum once.

        Parameters
        ----------
        score : ndarray [row]
            Higher is treated first.
        treated : ndarray of bool [row]
            True for the treated arm, False for control.
        outcome : ndarray [row]
            0/1, or money.
        weight : ndarray [row], optional
            Positive row weights (sampling, inverse propensity, strata).

        Raises
        ------
        EvaluationError
            Lengths differ, a score is missing or infinite, or one of the two groups has no rows.
        """
        rows = Rows.of(score, treated, outcome, weight)
        found = descending(rows.score)
        rows.check(found.refused)
        ranked = gather(found.order, *rows.arrays())
        return cls(Cells(*running_sums(found.ends, *ranked)), found.ends, found.order, ranked, rows)

    @property
    def n_rows(self) -> int:
        """Rows of both groups."""
        return len(self.order)

    @property
    def scores(self) -> np.ndarray:
        """Distinct scores, descending, [group]."""
        result: np.ndarray = self.rows.score[self.order[self.ends - 1]]
        return result

    @property
    def treated(self) -> np.ndarray:
        """True for the treated arm, bool [row], in ranking order."""
        return self.ranked[0].view(bool)

    @property
    def outcome(self) -> np.ndarray:
        """Outcomes, float64 [row], in ranking order."""
        return self.ranked[1]

    @property
    def weight(self) -> np.ndarray | None:
        """Weights, float64 [row], in ranking order; None when all are 1."""
        return None if self.rows.weight is None else self.ranked[2]

    def cuts(self, slices: int) -> np.ndarray:
        """At most `slices` cut points, int64 [slice], ends of slices of about equal size that never cut a tie."""
        wanted = np.ceil(np.linspace(0, self.n_rows, slices + 1)[1:]).astype(np.int64)
        return np.unique(self.ends[np.minimum(np.searchsorted(self.ends, wanted), len(self.ends) - 1)])

    def moments(self, cuts: np.ndarray) -> Moments:
        """Sums over the slices that end at `cuts`."""
        return Moments(*slice_sums(np.asarray(cuts, np.int64), *self.ranked))
