"""What customers did: a log of outcomes, brought into the order of a plan's units."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from uplift import columns
from uplift.arms import VALUE_STAGE, CostRule
from uplift.campaign import Campaign
from uplift.errors import CampaignError, EvaluationError, did_you_mean
from uplift.hashing import as_text
from uplift.io.tables import read_table
from uplift.measurement.sent import Sent

Missing = Literal["error", "zero"]


@dataclass(frozen=True, eq=False)
class Outcomes:
    """Outcomes by unit of the plan.

    Attributes
    ----------
    stages : tuple of str
        Binary stages in order, then ``"value"`` where there is one.
    values : ndarray of float64 [unit, stage]
        0/1 for binary stages (1 when any row of the unit says so), the sum over rows for the value.
    received : ndarray of int64 [unit] or None
        Arm received according to the log, where it says; -1 for an arm the plan does not know or no row.
    costs : dict of str to CostRule
        Of the log's arms, where it says.
    strangers : int
        Rows of the log that are of customers the plan does not decide on.
    absent : int
        Customers of the plan without a row, counted as having done nothing.
    repeated : int
        Rows with a value that equal an earlier row in every column of the log.
    """

    stages: tuple[str, ...]
    values: np.ndarray
    received: np.ndarray | None
    costs: dict[str, CostRule]
    strangers: int
    absent: int
    repeated: int = 0


def read_outcomes(
    log: Any,
    sent: Sent,
    *,
    chain: Sequence[str] | None,
    value: str | None,
    missing: Missing,
) -> Outcomes:
    """A log in any of its forms; see :func:`uplift.measure`.

    Raises
    ------
    EvaluationError
        Columns or customers are missing, or outcomes are no numbers.
    """
    if missing not in ("error", "zero"):
        raise EvaluationError(f"missing is {missing!r}; choose 'error' or 'zero'.")
    if isinstance(log, str | os.PathLike) and Path(log).suffix.lower() == ".toml":
        log = Campaign.from_file(log)
    if isinstance(log, Campaign):
        if chain is not None or value is not None:
            raise EvaluationError(
                "a campaign says itself what its chain and value are; drop chain= and value=."
            )
        return _of_campaign(log, sent, missing)
    if not chain and not value:
        raise EvaluationError(
            "name the outcome columns of the log, for example chain=['click', 'conversion'] (--chain click,conversion) or value='revenue' (--value revenue)."
        )
    if isinstance(log, str | os.PathLike):
        log = read_table(log, text=(sent.unit_column,))
    if hasattr(log, "iloc") and hasattr(log, "columns"):
        log = pa.Table.from_pandas(log, preserve_index=False)
    if not isinstance(log, pa.Table):
        raise EvaluationError(
            f"the log is a {type(log).__name__}; give a campaign, a campaign file, a table or a file of one."
        )
    names = list(chain or ()) if not isinstance(chain, str) else [chain]
    for name in (sent.unit_column, *names, *([value] if value else [])):
        if name not in log.column_names:
            raise EvaluationError(f"the log has no column {name!r}; {did_you_mean(name, log.column_names)}")
    try:
        parts = [columns.binary_outcome(log[name], name).astype(np.float64) for name in names]
        if value is not None:
            parts.append(columns.finite(log[value], value, "value"))
    except CampaignError as error:
        raise EvaluationError(str(error)) from None
    stages = (*names, *([VALUE_STAGE] if value is not None else []))
    place, absent = _places(as_text(log[sent.unit_column]), sent, missing)
    return Outcomes(
        stages,
        _by_unit(np.stack(parts, axis=1), place, sent, stages),
        None,
        {},
        int((place < 0).sum()),
        absent,
        _repeated(log, parts[-1]) if value is not None else 0,
    )


def _repeated(log: pa.Table, value: np.ndarray) -> int:
    """Rows with a value that repeat an earlier row in every column: what a log that was loaded twice looks like."""
    rows = log.filter(pa.array(value != 0)).to_pandas()
    try:
        return int(rows.duplicated().sum())
    except TypeError:  # lists and the like cannot be compared
        return 0


def _of_campaign(log: Campaign, sent: Sent, missing: Missing) -> Outcomes:
    if log.roles.unit is None:
        raise EvaluationError(
            f"the log has no unit column, so its rows cannot be found in the plan; name it (unit = {sent.unit_column!r})."
        )
    place, absent = _places(as_text(log.unit_ids), sent, missing)
    known = place >= 0
    received = np.full(len(sent), -1, np.int64)
    arm = {name: code for code, name in enumerate(sent.arms)}
    received[place[known]] = np.array([arm.get(name, -1) for name in log.arm_names])[log.arm_codes][known]
    values = _by_unit(log.outcomes.astype(np.float64), place, sent, log.stages)
    return Outcomes(tuple(log.stages), values, received, log.costs, int((~known).sum()), absent)


def _places(units: pa.Array, sent: Sent, missing: Missing) -> tuple[np.ndarray, int]:
    """Position of every row of the log in the plan, -1 for strangers; and the plan's units that have no row."""
    if units.null_count:
        raise EvaluationError(
            f"{units.null_count:,} of the log's {len(units):,} rows have no {sent.unit_column!r}; remove them or fill it in."
        )
    found = pc.index_in(units, sent.units.cast(units.type))
    place = found.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    seen = np.zeros(len(sent), np.bool_)
    seen[place[place >= 0]] = True
    absent = int((~seen).sum())
    if absent == len(sent):
        example = sent.units[0].as_py() if len(sent) else None
        raise EvaluationError(
            f"none of the plan's {len(sent):,} customers is in the log (the plan's first is {example!r}); give the log of this campaign, with the same ids in {sent.unit_column!r}."
        )
    if absent and missing == "error":
        first = sent.units[int(np.flatnonzero(~seen)[0])].as_py()
        raise EvaluationError(
            f"{absent:,} of the plan's {len(sent):,} customers have no row in the log, first {first!r}; give a log of all of them, or pass missing='zero' (--missing-as-zero) if it lists only those who did something."
        )
    return place, absent


def _by_unit(values: np.ndarray, place: np.ndarray, sent: Sent, stages: Sequence[str]) -> np.ndarray:
    out = np.zeros((len(sent), len(stages)))
    known = place >= 0
    np.add.at(out, place[known], values[known])
    for index, stage in enumerate(stages):
        if stage != VALUE_STAGE:
            out[:, index] = out[:, index] > 0
    return out
