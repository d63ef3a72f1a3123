"""Forests as flat arrays: saved without pickle, predicted by one compiled loop."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit

LEAF = -1


@dataclass(frozen=True, eq=False)
class FlatForest:
    """Binary trees one after another.

    Attributes
    ----------
    roots : ndarray of int64 [tree]
        First node of every tree.
    left, right : ndarray of int64 [node]
        Children; -1 for a leaf.
    feature : ndarray of int64 [node]
        Column to look at.
    threshold : ndarray of float64 [node]
        Go left when the feature is at most this.
    missing_left : ndarray of bool [node]
        Where a missing value goes.
    values : ndarray of float64 [node, output]
    """

    roots: np.ndarray
    left: np.ndarray
    right: np.ndarray
    feature: np.ndarray
    threshold: np.ndarray
    missing_left: np.ndarray
    values: np.ndarray

    @classmethod
    def from_trees(cls, trees: Iterable[tuple[Any, np.ndarray]]) -> FlatForest:
        """Join scikit-learn-like ``Tree`` objects, each with its own `values` [node, output]."""
        pairs = list(trees)
        sizes = [tree.node_count for tree, _ in pairs]
        roots = np.concatenate(([0], np.cumsum(sizes)[:-1])).astype(np.int64)

        def joined(name: str, dtype: type) -> np.ndarray:
            return np.concatenate([np.asarray(getattr(tree, name), dtype) for tree, _ in pairs])

        shift = np.repeat(roots, sizes)
        left, right = joined("children_left", np.int64), joined("children_right", np.int64)
        return cls(
            roots,
            np.where(left == LEAF, LEAF, left + shift),
            np.where(right == LEAF, LEAF, right + shift),
            joined("feature", np.int64),
            joined("threshold", np.float64),
            joined("missing_go_to_left", np.bool_),
            np.concatenate([np.asarray(values, np.float64) for _, values in pairs]),
        )

    def predict(self, matrix: np.ndarray) -> np.ndarray:
        """Mean over the trees of the leaf values, float64 [row, output], for a float32 `matrix` [row, column].

        Trees are summed in their order, so the result is the same bit for bit on every call.
        """
        matrix = np.ascontiguousarray(matrix, np.float32)
        total = np.zeros((matrix.shape[0], self.values.shape[1]))
        _add_trees(
            matrix,
            self.roots,
            self.left,
            self.right,
            self.feature,
            self.threshold,
            self.missing_left,
            self.values,
            total,
        )
        return total / len(self.roots)

    def save(self, path: Path) -> None:
        """Write the arrays as ``.npz``."""
        np.savez(path, **{field.name: getattr(self, field.name) for field in fields(self)})

    @classmethod
    def load(cls, path: Path) -> FlatForest:
        """Read what :meth:`save` wrote.

        Raises
        ------
        KeyError, ValueError, OSError
            The file is damaged.
        """
        with np.load(path, allow_pickle=False) as arrays:
            return cls(*(arrays[field.name] for field in fields(cls)))


@njit(cache=True, nogil=True)
def _add_trees(
    matrix: np.ndarray,
    roots: np.ndarray,
    left: np.ndarray,
    right: np.ndarray,
    feature: np.ndarray,
    threshold: np.ndarray,
    missing_left: np.ndarray,
    values: np.ndarray,
    total: np.ndarray,
) -> None:
    for tree in range(roots.shape[0]):
        for row in range(matrix.shape[0]):
            node = roots[tree]
            while left[node] != LEAF:
                x = matrix[row, feature[node]]
                goes_left = missing_left[node] if np.isnan(x) else x <= threshold[node]
                node = left[node] if goes_left else right[node]
            for output in range(total.shape[1]):
                total[row, output] += values[node, output]
