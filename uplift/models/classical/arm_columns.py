"""The arm as columns of a matrix: what an S-learner sees of the treatment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from uplift.arms import Arm


@dataclass(frozen=True)
class ArmColumns:
    """One column with the arm's code and, where amounts are known, one with its amount, after all features.

    Parameters
    ----------
    amounts : tuple of float or None
        Amount of every arm, 0 for control; None leaves that column out.

    Examples
    --------
    >>> matrix = np.zeros((2, 1), np.float32)
    >>> ArmColumns((0.0, 5.0, 10.0)).append(matrix, np.array([0, 2])).tolist()
    [[0.0, 0.0, 0.0], [0.0, 2.0, 10.0]]
    """

    amounts: tuple[float, ...] | None

    @classmethod
    def of(cls, arms: Sequence[Arm]) -> ArmColumns:
        """With amounts where every treated arm has one and there are two or more."""
        known = [float(arm.amount) for arm in arms[1:] if arm.amount is not None]
        return cls((0.0, *known) if len(known) == len(arms) - 1 > 1 else None)

    def append(self, matrix: np.ndarray, arms: np.ndarray | int) -> np.ndarray:
        """A copy of `matrix` [row, column] with the columns of `arms` (codes [row], or one for all), float32."""
        columns = matrix.shape[1]
        wide = np.empty((matrix.shape[0], columns + (1 if self.amounts is None else 2)), np.float32)
        wide[:, :columns] = matrix
        self.put(wide, arms)
        return wide

    def put(self, wide: np.ndarray, arms: np.ndarray | int) -> None:
        """Overwrite the arm's columns of what :meth:`append` made."""
        if self.amounts is None:
            wide[:, -1] = arms
        else:
            wide[:, -2] = arms
            wide[:, -1] = np.asarray(self.amounts, np.float32)[arms]
