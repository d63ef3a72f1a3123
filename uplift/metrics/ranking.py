"""One table of sufficient statistics per ranking: every metric is a pure function of it.

Rows with the same score form one group, so ties are solved here and nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from uplift.errors import EvaluationError


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

    def ate(self) -> np.ndarray:
        """Mean outcome of the treated arm minus that of control."""
        n_t, n_c, y_t, y_c = self.totals
        return y_t / n_t - y_c / n_c


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


@dataclass(frozen=True)
class Ranking:
    """Rows of one treated arm and of control, sorted by score.

    Attributes
    ----------
    cells : Cells
        One group per distinct score.
    scores : ndarray [group]
        Distinct scores, descending.
    ends : ndarray of int64 [group]
        Number of rows with this score or a better one.
    treated, outcome, weight : ndarray [row]
        The rows in ranking order; `weight` is None when all are 1.
    order : ndarray of int64 [row]
        Position of each ranked row in the input.
    """

    cells: Cells
    scores: np.ndarray
    ends: np.ndarray
    treated: np.ndarray
    outcome: np.ndarray
    weight: np.ndarray | None
    order: np.ndarray

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
        score, treated, outcome = (
            np.asarray(score),
            np.asarray(treated, bool),
            np.asarray(outcome, np.float64),
        )
        n = len(score)
        if not (len(treated) == len(outcome) == n and (weight is None or len(weight) == n)):
            raise EvaluationError(
                f"scores ({n:,}), treatment ({len(treated):,}) and outcome ({len(outcome):,}) differ in length."
            )
        bad = ~np.isfinite(score)
        if bad.any():
            raise EvaluationError(
                f"{int(bad.sum()):,} of {n:,} scores are missing or infinite; a ranking needs a number for every row."
            )
        for name, count in (("treated", int(treated.sum())), ("control", n - int(treated.sum()))):
            if count == 0:
                raise EvaluationError(f"there are no {name} rows among the {n:,}; a comparison needs both.")
        # Ties may come in any order: they are summed as one group.
        order = np.argsort(score)[::-1]
        ranked = score[order]
        ends = np.append(np.flatnonzero(ranked[1:] != ranked[:-1]) + 1, n)
        at = slice(None) if len(ends) == n else ends - 1
        treated, outcome = treated[order], outcome[order]
        weight = None if weight is None else np.asarray(weight, np.float64)[order]
        mass = outcome if weight is None else weight * outcome
        # All rows less the treated ones are control: three running sums instead of four (five with weights).
        n_t = np.cumsum(treated if weight is None else treated * weight, dtype=np.float64)[at]
        n_all = ends.astype(np.float64) if weight is None else np.cumsum(weight)[at]
        y_t, y_all = np.cumsum(treated * mass)[at], np.cumsum(mass)[at]
        cells = Cells(n_t, n_all - n_t, y_t, y_all - y_t)
        return cls(cells, ranked[at], ends, treated, outcome, weight, order)

    @property
    def n_rows(self) -> int:
        """Rows of both groups."""
        return len(self.treated)

    def cuts(self, slices: int) -> np.ndarray:
        """At most `slices` cut points, int64 [slice], ends of slices of about equal size that never cut a tie."""
        wanted = np.ceil(np.linspace(0, self.n_rows, slices + 1)[1:]).astype(np.int64)
        return np.unique(self.ends[np.minimum(np.searchsorted(self.ends, wanted), len(self.ends) - 1)])

    def moments(self, cuts: np.ndarray) -> Moments:
        """Sums over the slices that end at `cuts`."""
        slice_of = np.repeat(np.arange(len(cuts)), np.diff(cuts, prepend=0))
        key = slice_of + len(cuts) * self.treated
        w = np.ones(self.n_rows) if self.weight is None else self.weight
        y = self.outcome
        parts = (w, w * y, w * w, w * w * y, w * w * y * y)
        sums = (np.bincount(key, part, 2 * len(cuts)).reshape(2, len(cuts)) for part in parts)
        return Moments(*sums)
