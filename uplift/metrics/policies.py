"""A policy on the rows of a log: which arm each row would get, or with which probability each of them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from uplift.campaign import Campaign
from uplift.errors import EvaluationError, did_you_mean
from uplift.hashing import as_text

Missing = Literal["error", "drop"]


@dataclass(frozen=True, eq=False)
class Policy:
    """What every row would get; either `codes` or `chances` is given.

    Attributes
    ----------
    n_arms : int
        Control included.
    codes : ndarray of int64 [row], optional
        Index of the arm; 0 is control.
    chances : ndarray of float64 [row, arm], optional
        Probability of every arm, rows summing to 1.

    Examples
    --------
    >>> Policy(3, codes=np.array([2, 0])).given(np.array([2, 1])).tolist()
    [1.0, 0.0]
    """

    n_arms: int
    codes: np.ndarray | None = None
    chances: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.codes) if self.codes is not None else len(self._chances)

    @property
    def _chances(self) -> np.ndarray:
        assert self.chances is not None
        return self.chances

    def of(self, arm: int) -> np.ndarray:
        """Probability that each row gets `arm`, float64 [row]."""
        if self.codes is not None:
            result: np.ndarray = (self.codes == arm).astype(np.float64)
            return result
        return self._chances[:, arm]

    def given(self, arms: np.ndarray) -> np.ndarray:
        """Probability that each row gets the arm in `arms`, float64 [row]."""
        if self.codes is not None:
            result: np.ndarray = (self.codes == arms).astype(np.float64)
            return result
        return np.take_along_axis(self._chances, arms[:, None], axis=1)[:, 0]

    def mean(self, table: np.ndarray) -> np.ndarray:
        """Mean of `table` [row, arm] (or [arm], the same for all rows) under the policy, float64 [row]."""
        if self.codes is not None:
            if table.ndim == 1:
                return np.asarray(table[self.codes])
            return np.take_along_axis(table, self.codes[:, None], axis=1)[:, 0].astype(np.float64)
        result: np.ndarray = (
            self._chances @ table if table.ndim == 1 else np.einsum("ra,ra->r", self._chances, table)
        )
        return result

    def without(self, arm: int, rows: np.ndarray) -> Policy:
        """The same, but for `rows` (boolean mask): what they would get of `arm` goes to control."""
        if self.codes is not None:
            return Policy(self.n_arms, codes=np.where(rows & (self.codes == arm), 0, self.codes))
        moved = np.where(rows, self._chances[:, arm], 0.0)
        chances = self._chances.copy()
        chances[:, arm] -= moved
        chances[:, 0] += moved
        return Policy(self.n_arms, chances=chances)

    def take(self, rows: np.ndarray) -> Policy:
        """Some of the rows."""
        if self.codes is not None:
            return Policy(self.n_arms, codes=self.codes[rows])
        return Policy(self.n_arms, chances=self._chances[rows])


def read_policy(
    log: Campaign, plan: Any, *, missing: Missing = "error", arm_column: str = "arm"
) -> tuple[Policy, np.ndarray | None]:
    """A plan in any of its forms, on the rows of a log.

    Parameters
    ----------
    log : Campaign
    plan : str, path, table, Allocation or ndarray
        The name of one arm for everybody; an allocation, or a file (Parquet or CSV), Arrow table or pandas frame
        with the log's unit column and `arm_column`; arm codes or names [row]; probabilities [row, arm].
    missing : {"error", "drop"}
        What to do with rows of the log whose unit the plan does not decide on.
    arm_column : str
        Column of the arm in files and tables.

    Returns
    -------
    policy : Policy
    kept : ndarray of int64 or None
        Rows of the log that the policy is for; None for all.

    Raises
    ------
    EvaluationError
        The plan has no form that is known, does not fit the rows, decides twice on a unit or not at all on some, or
        uses an arm that the log does not have.
    """
    if missing not in ("error", "drop"):
        raise EvaluationError(f"missing is {missing!r}; choose 'error' or 'drop'.")
    if isinstance(plan, str) and plan in log.arm_names:
        return Policy(len(log.arms), codes=np.full(log.n_rows, log.arm_index(plan), np.int64)), None
    if isinstance(plan, str | os.PathLike):
        return _by_unit(log, *_columns(log, _read(log, plan, arm_column), arm_column, str(plan)), missing)
    if hasattr(plan, "arm_codes") and hasattr(plan, "units"):
        arms = pa.DictionaryArray.from_arrays(
            pa.array(np.asarray(plan.arm_codes)), pa.array([str(arm) for arm in plan.arms], pa.string())
        )
        return _by_unit(log, plan.units, arms, missing)
    if hasattr(plan, "iloc") and hasattr(plan, "columns"):
        plan = pa.Table.from_pandas(plan, preserve_index=False)
    if isinstance(plan, pa.Table):
        return _by_unit(log, *_columns(log, plan, arm_column, "the table"), missing)
    return _by_row(log, np.asarray(plan)), None


def _read(log: Campaign, path: str | os.PathLike[str], arm_column: str) -> pa.Table:
    from uplift.io.tables import read_table

    if isinstance(path, str) and not Path(path).expanduser().exists():
        raise EvaluationError(
            f"the plan {path!r} is neither a file nor an arm of the log; {did_you_mean(path, log.arm_names)}"
        )
    return read_table(path, text=(log.unit_column, arm_column))


def _columns(
    log: Campaign, table: pa.Table, arm_column: str, source: str
) -> tuple[pa.ChunkedArray, pa.ChunkedArray]:
    for name, what in ((log.unit_column, "unit"), (arm_column, "arm")):
        if name not in table.column_names:
            raise EvaluationError(
                f"{source} has no {what} column {name!r}; {did_you_mean(name, table.column_names)}"
            )
    return table[log.unit_column], table[arm_column]


def _by_unit(log: Campaign, units: Any, arms: Any, missing: Missing) -> tuple[Policy, np.ndarray | None]:
    codes = _codes(log, arms)
    place = _places(log, units)
    if place is None:
        return Policy(len(log.arms), codes=codes), None
    lost = place < 0
    if not lost.any():
        return Policy(len(log.arms), codes=codes[place]), None
    count = int(lost.sum())
    if missing == "error" or count == len(lost):
        first = log.unit_ids[int(np.flatnonzero(lost)[0])].as_py()
        remedy = (
            "value the plan on a log of its own customers"
            if count == len(lost)
            else "give a plan for all of them, or value it on the others with missing='drop' (--drop-missing)"
        )
        raise EvaluationError(
            f"the plan has no decision for {count:,} of the log's {len(lost):,} rows, first unit {first!r}; {remedy}."
        )
    kept = np.flatnonzero(~lost)
    return Policy(len(log.arms), codes=codes[place[kept]]), kept


def _places(log: Campaign, units: Any) -> np.ndarray | None:
    """Position of every log row's unit in the plan, -1 where it has none; None when the rows are the same."""
    have = units.combine_chunks() if isinstance(units, pa.ChunkedArray) else units
    wanted = log.unit_ids
    if have.type != wanted.type or not pa.types.is_integer(have.type):
        have, wanted = as_text(have), as_text(wanted)
    if have.equals(wanted) and not log.units_repeat:
        return None
    twice = len(have) - pc.count_distinct(have, mode="all").as_py()
    if twice:
        raise EvaluationError(
            f"{twice:,} of the plan's {len(have):,} rows decide on a {log.unit_column!r} that has a decision already; keep one row of each."
        )
    result: np.ndarray = (
        pc.fill_null(pc.index_in(wanted, have), -1).to_numpy(zero_copy_only=False).astype(np.int64)
    )
    return result


def _codes(log: Campaign, arms: Any) -> np.ndarray:
    """Arm names as codes, int64 [row]."""
    encoded = arms.combine_chunks() if isinstance(arms, pa.ChunkedArray) else arms
    if not pa.types.is_dictionary(encoded.type):
        encoded = as_text(encoded).dictionary_encode()
    if encoded.null_count:
        raise EvaluationError(
            f"{encoded.null_count:,} of the plan's {len(encoded):,} decisions name no arm; write {log.control!r} where nothing is sent."
        )
    names = as_text(encoded.dictionary).to_pylist()
    position = {name: code for code, name in enumerate(log.arm_names)}
    found = np.array([position.get(name, -1) for name in names] or [-1], np.int64)
    codes: np.ndarray = found[encoded.indices.to_numpy(zero_copy_only=False)]
    if (codes < 0).any():
        worst = names[int(encoded.indices[int(np.flatnonzero(codes < 0)[0])].as_py())]
        raise EvaluationError(
            f"the plan gives {int((codes < 0).sum()):,} customers the arm {worst!r}, which the log does not have; {did_you_mean(worst, log.arm_names)}"
        )
    return codes


def _by_row(log: Campaign, plan: np.ndarray) -> Policy:
    n_arms = len(log.arms)
    if plan.ndim not in (1, 2) or len(plan) != log.n_rows or (plan.ndim == 2 and plan.shape[1] != n_arms):
        raise EvaluationError(
            f"the plan covers {len(plan) if plan.ndim else 0:,} rows (shape {plan.shape}), the campaign has {log.n_rows:,} rows and {n_arms} arms; "
            "give one arm per row, or a probability per row and arm."
        )
    if plan.ndim == 2:
        chances = plan.astype(np.float64)
        bad = ~(np.isfinite(chances).all(axis=1) & (chances >= 0).all(axis=1))
        bad |= np.abs(chances.sum(axis=1) - 1.0) > 1e-6
        if bad.any():
            raise EvaluationError(
                f"the probabilities of {int(bad.sum()):,} of {len(bad):,} rows are negative, missing or do not sum to 1, first in row {int(np.flatnonzero(bad)[0]):,}; give one per arm, control first."
            )
        return Policy(n_arms, chances=chances)
    if plan.dtype.kind not in "iu":
        return Policy(
            n_arms, codes=_codes(log, pa.array(plan.astype(str) if plan.dtype.kind != "O" else plan))
        )
    codes = plan.astype(np.int64)
    outside = (codes < 0) | (codes >= n_arms)
    if outside.any():
        raise EvaluationError(
            f"the plan holds the arm code {int(codes[outside][0])} ({int(outside.sum()):,} rows); codes are 0 ({log.control!r}) to {n_arms - 1} ({log.arm_names[-1]!r})."
        )
    return Policy(n_arms, codes=codes)
