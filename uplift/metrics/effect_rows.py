"""Uplifts of an effects file, read in step with the blocks of a campaign on disk."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from uplift.arms import VALUE_STAGE
from uplift.campaign import Campaign
from uplift.campaign_stream import CampaignStream
from uplift.columns import flat
from uplift.effects import tau_column
from uplift.effects_file import METADATA_KEY
from uplift.errors import EvaluationError
from uplift.io.blocks import TableBlocks


def other_stages(what: str, found: tuple[str, ...], wanted: tuple[str, ...]) -> str:
    """The sentence on effects whose stages are not the campaign's, with what can be done about it.

    Examples
    --------
    >>> other_stages("the effects of 'ecup'", ("buy", "value"), ("buy",)).partition("; ")[2]
    'name the value column of the campaign (value = ...), or fit a model without one.'
    """
    if found == (*wanted, VALUE_STAGE):
        remedy = "name the value column of the campaign (value = ...), or fit a model without one"
    elif wanted == (*found, VALUE_STAGE):
        remedy = "name no value column in the campaign, or fit a model with one"
    else:
        remedy = f"name the stages of the model in the campaign (chain = {[s for s in found if s != VALUE_STAGE]}), or fit one for these"
    return (
        f"{what} are for the stages {' -> '.join(found)}, the campaign has {' -> '.join(wanted)}; {remedy}."
    )


class EffectRows:
    """Predictions for the rows of a stream, block by block.

    Parameters
    ----------
    path : path
        A Parquet file of effects: of exactly the rows of `stream` in their order, or of all rows of its files.
    stream : CampaignStream

    Attributes
    ----------
    model : str
    calibrated : bool
        Whether the uplifts are effects, or only rank.

    Raises
    ------
    EvaluationError
        The file holds no effects, or those of other rows, arms or stages.
    """

    def __init__(self, path: str | os.PathLike[str], stream: CampaignStream) -> None:
        self.path = Path(path)
        tables = TableBlocks.open(self.path)
        header = (tables.layouts[0].schema.metadata or {}).get(METADATA_KEY)
        if header is None:
            raise EvaluationError(
                f"{self.path} holds no effects; use a file written by 'uplift predict' or Effects.to_parquet."
            )
        described = json.loads(header)
        self.model: str = described["model"]
        self.calibrated: bool = described["calibrated"]
        arms, stages = tuple(described["arms"]), tuple(described["stages"])
        if arms != stream.arm_names:
            raise EvaluationError(
                f"the effects in {self.path} are for the arms {', '.join(arms)}, the campaign has {', '.join(stream.arm_names)}."
            )
        if stages != stream.stages:
            raise EvaluationError(other_stages(f"the effects in {self.path}", stages, stream.stages))
        # Those of all rows of the files serve any part of a split.
        self._whole = tables.n_rows != stream.n_rows
        if self._whole and tables.n_rows != stream.tables.n_rows:
            raise EvaluationError(
                f"the effects in {self.path} cover {tables.n_rows:,} rows, the campaign has {stream.n_rows:,}; predict on these rows."
            )
        self._unit = described["unit_column"]
        self._columns = {(s, a): tau_column(s, a) for s in stream.stages for a in stream.arm_names[1:]}
        missing = [name for name in (self._unit, *self._columns.values()) if name not in tables.names]
        if missing:
            raise EvaluationError(
                f"{self.path} lacks the effects column {missing[0]!r} ({len(missing)} missing); write it again."
            )
        self._tables: Iterator[pa.Table] = tables.select([self._unit, *self._columns.values()]).read()
        self._held: list[pa.Table] = []
        self._next = 0  # row number of the first row held
        self._given = 0

    def of(self, block: Campaign) -> dict[tuple[str, str], np.ndarray]:
        """Uplift by stage and treated arm, float32 [row], of the next block of the stream.

        Raises
        ------
        EvaluationError
            The units of these rows are others.
        """
        wanted = (
            block.row_numbers if self._whole else np.arange(self._given, self._given + block.n_rows)
        ) - self._next
        self._given += block.n_rows
        table = self._upto(int(wanted[-1]) + 1)
        if len(wanted) != table.num_rows:
            table = table.take(pa.array(wanted))
        units = block.unit_ids
        if not flat(table[self._unit]).cast(units.type, safe=False).equals(units):
            raise EvaluationError(
                f"the effects in {self.path} are for other units or in another order than the campaign's rows; predict on these rows."
            )
        return {key: table[name].to_numpy() for key, name in self._columns.items()}

    def _upto(self, rows: int) -> pa.Table:
        """The next `rows` rows, which are not held any longer."""
        held = sum(table.num_rows for table in self._held)
        while held < rows:
            table = next(self._tables)
            self._held.append(table)
            held += table.num_rows
        joined = pa.concat_tables(self._held)
        self._held = [joined.slice(rows)]
        self._next += rows
        return joined.slice(0, rows)
