"""Effects as a table: one column per effect, arm and stage, and a header in the schema's metadata."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from uplift.columns import flat
from uplift.effects import Effects, high_column, low_column, mu_column, tau_column
from uplift.errors import UpliftError
from uplift.io.atomic import atomic_path

METADATA_KEY = b"uplift.effects"
FORMAT_VERSION = 1


def to_table(effects: Effects) -> pa.Table:
    """See :meth:`uplift.effects.Effects.to_table`."""
    data: dict[str, Any] = {effects.unit_column: effects.units}
    for s, stage in enumerate(effects.stages):
        for a, arm in enumerate(effects.arms):
            data[mu_column(stage, arm)] = pa.array(np.ascontiguousarray(effects.mu_all[:, a, s]))
    named = [(tau_column, effects.tau_all), (low_column, effects.low_all), (high_column, effects.high_all)]
    for column, array in named:
        if array is None:
            continue
        for s, stage in enumerate(effects.stages):
            for a, arm in enumerate(effects.treated_arms, start=1):
                data[column(stage, arm)] = pa.array(np.ascontiguousarray(array[:, a, s]))
    header: dict[str, Any] = {
        "version": FORMAT_VERSION,
        "model": effects.model,
        "campaign": effects.campaign,
        "arms": list(effects.arms),
        "stages": list(effects.stages),
        "unit_column": effects.unit_column,
        "calibrated": effects.calibrated,
        "fingerprint": effects.fingerprint,
    }
    if effects.has_intervals:
        header["level"] = effects.level
    return pa.table(data).replace_schema_metadata({METADATA_KEY: json.dumps(header)})


def to_parquet(effects: Effects, path: str | os.PathLike[str]) -> Path:
    """Write :func:`to_table` atomically and return the path."""
    import pyarrow.parquet as pq

    with atomic_path(path) as temporary:
        # Float scores hardly compress and have no repeated values: no dictionary, light codec.
        pq.write_table(
            to_table(effects), temporary, use_dictionary=False, compression="zstd", compression_level=1
        )
    return Path(path)


def from_table(table: pa.Table, *, source: str) -> Effects:
    """Effects from a table of :func:`to_table`, with intervals where its header names their level.

    Raises
    ------
    UpliftError
        The table carries no effects header, or a column is missing.
    """
    metadata = (table.schema.metadata or {}).get(METADATA_KEY)
    if metadata is None:
        raise UpliftError(
            f"{source} holds no effects; use a file written by 'uplift predict' or Effects.to_parquet."
        )
    header = json.loads(metadata)
    arms, stages = tuple(header["arms"]), tuple(header["stages"])
    level = header.get("level")
    of_treated = [tau_column] if level is None else [tau_column, low_column, high_column]
    wanted = [header["unit_column"], *(mu_column(s, a) for s in stages for a in arms)]
    wanted += [column(s, a) for column in of_treated for s in stages for a in arms[1:]]
    missing = [name for name in wanted if name not in table.column_names]
    if missing:
        raise UpliftError(
            f"{source} lacks the effects column {missing[0]!r} ({len(missing)} missing); write it again."
        )
    mu = np.empty((table.num_rows, len(arms), len(stages)), np.float32)
    treated = [np.zeros_like(mu) for _ in of_treated]
    for s, stage in enumerate(stages):
        for a, arm in enumerate(arms):
            mu[:, a, s] = table[mu_column(stage, arm)].to_numpy()
            if a:
                for array, column in zip(treated, of_treated, strict=True):
                    array[:, a, s] = table[column(stage, arm)].to_numpy()
    low, high = treated[1:] or (None, None)
    return Effects(
        mu,
        units=flat(table[header["unit_column"]]),
        arms=arms,
        stages=stages,
        model=header["model"],
        tau_all=treated[0],
        low_all=low,
        high_all=high,
        level=level,
        unit_column=header["unit_column"],
        campaign=header["campaign"],
        calibrated=header["calibrated"],
        fingerprint=header.get("fingerprint", ""),
    )
