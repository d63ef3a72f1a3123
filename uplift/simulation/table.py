"""The campaign table: features with gaps, assignment and drawn outcomes as Arrow columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from uplift.simulation.customers import Customers, categorical_specs
from uplift.simulation.settings import (
    PROPENSITY,
    STRATUM,
    TIME,
    TREATMENT,
    UNIT,
    VALUE_COLUMN,
    Settings,
)
from uplift.simulation.streams import stream

_START = np.datetime64("2025-03-03T00:00:00", "ms")  # Parquet has no whole seconds
_DAYS = 14
_OPEN, _CLOSE = 8 * 3600, 20 * 3600  # seconds of the day between which messages go out


@dataclass(frozen=True)
class Logged:
    """What is recorded, per row: arm int16 [row], p_arm float64 [row] or None, stages int8 [stage][row], gmv."""

    arm: npt.NDArray[np.int16]
    p_arm: npt.NDArray[np.float64] | None
    stages: list[npt.NDArray[np.int8]]
    gmv: npt.NDArray[np.float64] | None


def owners(settings: Settings) -> npt.NDArray[np.int64] | None:
    """Customer of every row, int64 [row]; None when every row is a customer of its own."""
    again = round(settings.rows * settings.repeat_units)
    if again == 0:
        return None
    rng = stream(settings.seed, "owners")
    customers = settings.rows - again
    return rng.permutation(np.concatenate([np.arange(customers), rng.integers(0, customers, again)]))


def customer_ids(customers: int, seed: int) -> npt.NDArray[np.int64]:
    """Eight-digit (or longer) distinct ids whose order says nothing about the customer, int64 [unit]."""
    return 10_000_000 + stream(seed, "customer_id").permutation(np.int64(customers))


def build_table(
    settings: Settings,
    customers: Customers,
    ids: npt.NDArray[np.int64],
    region: npt.NDArray[np.intp] | None,
    logged: Logged,
    owner: npt.NDArray[np.int64] | None,
) -> pa.Table:
    """One row per message sent, in order of time."""
    columns: dict[str, pa.Array] = {UNIT: pa.array(_rows(ids, owner)), TIME: pa.array(_times(settings))}
    for name, values in customers.numeric.items():
        columns[name] = pa.array(_rows(values, owner), mask=_gaps(name, settings))
    for spec in categorical_specs(settings.categorical):
        codes = pa.array(_rows(customers.codes[spec.name], owner), mask=_gaps(spec.name, settings))
        columns[spec.name] = _text(codes, spec.levels)
    columns["is_member"] = pa.array(_rows(customers.is_member, owner), mask=_gaps("is_member", settings))
    if region is not None:
        levels = tuple(f"region_{k + 1:02d}" for k in range(settings.strata))
        columns[STRATUM] = _text(pa.array(_rows(region, owner).astype(np.int16)), levels)
    columns[TREATMENT] = _text(pa.array(logged.arm), settings.arm_names)
    if logged.p_arm is not None:
        columns[PROPENSITY] = pa.array(logged.p_arm)
    columns |= {stage: pa.array(drawn) for stage, drawn in zip(settings.chain, logged.stages, strict=True)}
    if logged.gmv is not None:
        columns[VALUE_COLUMN] = pa.array(logged.gmv)
    return pa.table(columns)


def _rows(values: npt.NDArray[Any], owner: npt.NDArray[np.int64] | None) -> npt.NDArray[Any]:
    return values if owner is None else values[owner]


def _text(codes: pa.Array, levels: tuple[str, ...]) -> pa.Array:
    return pa.DictionaryArray.from_arrays(codes, pa.array(levels, pa.string())).cast(pa.string())


def _gaps(name: str, settings: Settings) -> npt.NDArray[np.bool_] | None:
    """Where a feature is missing, bool [row], independently of everything else."""
    if settings.missing == 0:
        return None
    return stream(settings.seed, f"missing:{name}").random(settings.rows, np.float32) < settings.missing


def _times(settings: Settings) -> npt.NDArray[np.datetime64]:
    rng = stream(settings.seed, "sent_at")
    day = rng.integers(0, _DAYS, settings.rows) * 86_400
    return _START + np.sort(day + rng.integers(_OPEN, _CLOSE, settings.rows)).astype("timedelta64[s]")
