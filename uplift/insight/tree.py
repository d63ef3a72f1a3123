"""A small regression tree whose leaves can be said in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from uplift.insight.features import Feature


@dataclass(frozen=True, eq=False)
class Leaf:
    """Rows that share a rule.

    Attributes
    ----------
    rows : ndarray of int64 [row]
    allowed : dict of feature position to bool [bin]
        The bins that each condition lets through.
    mean : float
        Mean of the target.
    """

    rows: np.ndarray
    allowed: dict[int, np.ndarray]
    mean: float

    def words(self, features: Sequence[Feature]) -> tuple[str, ...]:
        """The conditions; none for a tree without a split."""
        return tuple(features[index].words(bins) for index, bins in self.allowed.items())


def grow(
    features: Sequence[Feature],
    target: np.ndarray,
    *,
    depth: int = 3,
    min_share: float = 0.05,
    min_gain: float = 0.01,
) -> tuple[Leaf, ...]:
    """Leaves of a tree of least squares on `target`, highest mean first.

    Parameters
    ----------
    features : sequence of Feature
    target : ndarray of float64 [row]
    depth : int
        Splits above a leaf.
    min_share : float
        Rows of a leaf, as a share of all.
    min_gain : float
        A split must remove this share of the target's variance.

    Returns
    -------
    tuple of Leaf
        They hold every row once. A split sends the bins of a number left or right of a cut, what is missing to the side
        that fits better, and the levels of a category to two sides by their means (optimal for least squares, Fisher 1958).
    """
    target = np.asarray(target, np.float64)
    total = float(np.square(target - target.mean()).sum())
    least = max(1, int(np.ceil(min_share * len(target))))
    leaves = [Leaf(np.arange(len(target)), {}, float(target.mean()))]
    for _ in range(depth):
        grown: list[Leaf] = []
        for leaf in leaves:
            split = _best(features, target, leaf.rows, least)
            if split is None or split[0] < min_gain * total or total == 0:
                grown.append(leaf)
                continue
            _, index, left = split
            before = leaf.allowed.get(index, np.ones(features[index].n_bins, bool))
            goes_left = left[features[index].bins[leaf.rows]]
            for side, bins in ((goes_left, left), (~goes_left, ~left)):
                rows = leaf.rows[side]
                grown.append(Leaf(rows, {**leaf.allowed, index: before & bins}, float(target[rows].mean())))
        leaves = grown
    return tuple(sorted(leaves, key=lambda leaf: -leaf.mean))


def _best(
    features: Sequence[Feature], target: np.ndarray, rows: np.ndarray, least: int
) -> tuple[float, int, np.ndarray] | None:
    """Gain, feature, and the bins (bool [bin]) that go left, of the best split of `rows`."""
    found: tuple[float, int, np.ndarray] | None = None
    y = (
        target[rows] - target[rows].mean()
    )  # centred: the gain is then the sum of the squares between the sides
    for index, feature in enumerate(features):
        bins = feature.bins[rows]
        n = np.bincount(bins, minlength=feature.n_bins).astype(np.float64)
        sums = np.bincount(bins, y, feature.n_bins)
        for order in _orders(feature, n, sums):
            left_n, left_sum = np.cumsum(n[order])[:-1], np.cumsum(sums[order])[:-1]
            right_n = len(rows) - left_n
            usable = (left_n >= least) & (right_n >= least)
            if not usable.any():
                continue
            gain = np.full(len(left_n), -np.inf)
            gain[usable] = left_sum[usable] ** 2 / left_n[usable] + left_sum[usable] ** 2 / right_n[usable]
            at = int(np.argmax(gain))
            if found is None or gain[at] > found[0] * (1 + 1e-12):
                left = np.zeros(feature.n_bins, bool)
                left[order[: at + 1]] = True
                found = float(gain[at]), index, left
    return found


def _orders(feature: Feature, n: np.ndarray, sums: np.ndarray) -> list[np.ndarray]:
    """Orders of the bins whose beginnings are the sides to try."""
    if feature.kind == "categorical":
        means = np.divide(sums, n, out=np.zeros(len(n)), where=n > 0)
        return [np.argsort(-means, kind="stable")]
    known, missing = np.arange(feature.n_bins - 1), feature.n_bins - 1
    if not n[missing]:
        return [np.arange(feature.n_bins)]
    return [np.append(known, missing), np.append(missing, known)]
