"""What was sent, and what held-out customers would have got: read from a plan in any of its forms."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from uplift import columns
from uplift.arms import CostRule
from uplift.effects import Effects
from uplift.errors import EvaluationError, OutputError, did_you_mean
from uplift.export.decisions import NEEDED, UPLIFT, Decisions, check_table, find_control
from uplift.export.publish import manifest_path, read_manifest
from uplift.export.reading import read_rows
from uplift.export.sources import from_allocation, from_run
from uplift.hashing import as_text
from uplift.io.tables import read_table
from uplift.run_folder import RUN

UNKNOWN = -1
_WANTED = (*NEEDED, "planned_arm", "propensity")


@dataclass(frozen=True, eq=False)
class Sent:
    """A plan as it was carried out, unit by unit.

    Attributes
    ----------
    units : pyarrow Array of text [unit]
    unit_column : str
    arms : tuple of str
        Control first.
    arm_codes : ndarray of int64 [unit]
        What the unit was sent; 0 is control.
    planned : ndarray of int64 [unit]
        The arm without the coin of the holdout, -1 where it is not known.
    held_out : ndarray of bool [unit]
    propensity : ndarray of float64 [unit] or None
        Probability of `arm_codes` over the draw of the holdout, NaN where it is not known.
    share : float or None
        Probability with which each unit was held out.
    value, cost : ndarray of float64 [unit]
        Promised for what was sent, money.
    uplift : dict of stage to ndarray of float64 [unit]
        Promised events (or value) of what was sent.
    stage, margin, costs : optional
        What the plan was made with, where it says.
    """

    units: pa.Array
    unit_column: str
    arms: tuple[str, ...]
    arm_codes: np.ndarray
    planned: np.ndarray
    held_out: np.ndarray
    propensity: np.ndarray | None
    share: float | None
    value: np.ndarray
    cost: np.ndarray
    uplift: Mapping[str, np.ndarray]
    stage: str | None = None
    margin: float | None = None
    costs: Mapping[str, CostRule] | None = None

    def __len__(self) -> int:
        return len(self.arm_codes)

    @cached_property
    def chosen(self) -> np.ndarray | None:
        """Whether the plan wants to send the unit something, held out or not, bool [unit]; None: not known."""
        if (self.planned >= 0).all():
            return self.planned > 0
        if self.propensity is None:
            return None
        chance = self.propensity[self.held_out]
        if np.isnan(chance).any():
            return None
        chosen = self.arm_codes > 0
        chosen[self.held_out] = chance < 1
        return chosen


def read_sent(plan: Any, effects: Effects | None) -> Sent:
    """A plan in any of its forms.

    Parameters
    ----------
    plan : Allocation, Decisions, path or table
        See :func:`uplift.measure`.
    effects : Effects, optional
        For an allocation in memory.

    Raises
    ------
    UpliftError
        It is no plan, or lacks what a comparison needs.
    """
    if isinstance(plan, Decisions):
        return _of_decisions(plan, None, None)
    if hasattr(plan, "recipe") and hasattr(plan, "arm_codes"):
        return _of_decisions(
            from_allocation(plan, effects=effects), plan.recipe.margin, plan.recipe.costs, plan.recipe.stage
        )
    if effects is not None:
        raise EvaluationError(
            "effects are read for a plan in memory only; an export has them in its uplift__STAGE columns."
        )
    if isinstance(plan, str | os.PathLike):
        return _of_path(Path(plan))
    if hasattr(plan, "iloc") and hasattr(plan, "columns"):
        plan = pa.Table.from_pandas(plan, preserve_index=False)
    if not isinstance(plan, pa.Table):
        raise EvaluationError(
            f"the plan is a {type(plan).__name__}; give an allocation, its export (a file or folder), a run folder or a table."
        )
    return _of_table(plan, "the table")


def _of_decisions(
    decisions: Decisions,
    margin: float | None,
    costs: Mapping[str, CostRule] | None,
    stage: str | None = None,
) -> Sent:
    policy = decisions.policy
    if policy is not None:
        stage, margin, costs = policy.stage, policy.margin, policy.costs
    return _of_table(
        decisions.to_table(), "the plan", arms=decisions.arms, share=decisions.holdout_share,
        stage=stage, margin=margin, costs=costs,
    )  # fmt: skip


def _of_path(path: Path) -> Sent:
    if (path / RUN).is_file():
        return _of_decisions(from_run(path), None, None)
    if not manifest_path(path).is_file():
        if path.is_dir():
            raise EvaluationError(
                f"{path} is neither a run folder nor an export; give what 'uplift export' or 'uplift run' wrote."
            )
        table = read_table(path, text=("arm", "planned_arm"))
        return _of_table(table, str(path))
    manifest = read_manifest(path)
    if manifest.get("template") is not None:
        raise EvaluationError(
            f"{path} has the columns of a CRM and not those of the plan; give the run, or an export without a template."
        )
    parts = list(read_rows(path, manifest))
    if not parts:
        raise EvaluationError(f"{path} has no rows, so there is nobody to measure; export the plan again.")
    table = pa.concat_tables(parts, promote_options="permissive")
    unit = manifest["unit_column"]
    table = table.select([unit, *(name for name in table.column_names if name != unit)])
    arms = tuple(manifest["arms"])
    arms = (manifest["control"], *(arm for arm in arms if arm != manifest["control"]))
    return _of_table(table, str(path), arms=arms, share=manifest["holdout"]["share"])


def _of_table(
    table: pa.Table,
    source: str,
    *,
    arms: tuple[str, ...] | None = None,
    share: float | None = None,
    **known: Any,
) -> Sent:
    try:
        check_table(table, source)
        if not len(table):
            raise EvaluationError(
                f"{source} has no rows, so there is nobody to measure; give the plan as it was sent."
            )
        at = table.column_names.index("holdout")
        table = table.set_column(at, "holdout", _booleans(table["holdout"], source))
        arms = find_control(table, None) if arms is None else arms
    except OutputError as error:
        raise EvaluationError(str(error)) from None
    unit = table.column_names[0]
    for name in (unit, *NEEDED):
        if table[name].null_count:
            raise EvaluationError(
                f"{table[name].null_count:,} of {len(table):,} rows of {source} have no {name!r}; give the file as it was exported."
            )
    for name in table.column_names:
        if name in ("expected_value", "expected_cost", "propensity") or name.startswith(UPLIFT):
            _check_numbers(table[name], name, source, complete=name in NEEDED)
    units = as_text(columns.flat(table[unit]))
    twice = len(units) - pc.count_distinct(units).as_py()
    if twice:
        raise EvaluationError(
            f"{twice:,} of {len(units):,} rows of {source} repeat an earlier {unit!r}; give one plan at a time."
        )
    held = np.asarray(columns.flat(table["holdout"]).to_numpy(zero_copy_only=False), np.bool_)
    codes = _codes(table["arm"], arms, source)
    planned = np.where(held, UNKNOWN, codes)
    if "planned_arm" in table.column_names:
        planned = np.where(held, _codes(table["planned_arm"], arms, source), codes)
    if (held & (codes > 0)).any():
        raise EvaluationError(
            f"{int((held & (codes > 0)).sum()):,} held-out rows of {source} have an arm; the plan was changed, export it again."
        )
    chance = None
    if "propensity" in table.column_names:
        chance = columns.to_float(table["propensity"], dtype=np.float64)
        if share is None and len(sure := chance[(codes > 0) & (chance < 1)]):
            share = float(1.0 - sure[0])
    return Sent(
        units=units,
        unit_column=unit,
        arms=arms,
        arm_codes=codes,
        planned=planned,
        held_out=held,
        propensity=chance,
        share=share,
        value=columns.to_float(table["expected_value"], dtype=np.float64),
        cost=columns.to_float(table["expected_cost"], dtype=np.float64),
        uplift={
            name.removeprefix(UPLIFT): columns.to_float(table[name], dtype=np.float64)
            for name in table.column_names
            if name.startswith(UPLIFT)
        },
        **known,
    )


def _booleans(column: pa.ChunkedArray, source: str) -> pa.ChunkedArray:
    """Whether the unit is held out, also from text and 0/1."""
    try:
        return column.cast(pa.bool_())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise EvaluationError(
            f"'holdout' of {source} holds {column[0].as_py()!r}, not true or false; give the file as it was exported."
        ) from None


def _check_numbers(column: pa.ChunkedArray, name: str, source: str, *, complete: bool) -> None:
    """Stop at text and, where `complete`, at what is not finite."""
    if not columns.is_numeric(column):
        raise EvaluationError(
            f"{name!r} of {source} holds {column[0].as_py()!r}, not numbers; give the file as it was exported."
        )
    bad = int((~np.isfinite(columns.to_float(column, dtype=np.float64))).sum()) if complete else 0
    if bad:
        raise EvaluationError(
            f"{bad:,} of {len(column):,} rows of {source} have no finite {name!r}; give the file as it was exported."
        )


def _codes(column: pa.ChunkedArray, arms: tuple[str, ...], source: str) -> np.ndarray:
    """Names as codes, int64 [row]; -1 where there is none."""
    encoded = as_text(column).dictionary_encode()
    names = encoded.dictionary.to_pylist()
    unknown = [name for name in names if name not in arms]
    if unknown:
        raise EvaluationError(f"{source} has an arm {unknown[0]!r}; {did_you_mean(unknown[0], arms)}")
    codes = np.array([arms.index(name) for name in names] or [0], np.int64)
    at = encoded.indices.fill_null(0).to_numpy(zero_copy_only=False)
    return np.where(encoded.is_null().to_numpy(zero_copy_only=False), UNKNOWN, codes[at])
