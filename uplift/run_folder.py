"""The run folder: one place for its file names, and reading it back. Names are a contract."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from uplift.arms import VALUE_STAGE, Arm, CostRule
from uplift.campaign import Campaign
from uplift.effects import Effects
from uplift.errors import UpliftError
from uplift.io.atomic import atomic_path
from uplift.roles import Roles

if TYPE_CHECKING:
    from uplift.campaign_stream import CampaignStream

REPORT = "report.html"
METRICS = "metrics.json"
EFFECTS = "effects.parquet"
TEST_EFFECTS = "test_effects"
ALLOCATION_PARQUET = "allocation.parquet"
ALLOCATION_CSV = "allocation.csv"
ALLOCATION_JSON = "allocation.json"
CONSTRAINT_COLUMNS = "constraint_columns.parquet"
"""Columns that the constraints of the plan read, by row of the effects; only where there are such constraints."""
CHECKS = "checks.json"
INSIGHT = "insight.json"
MODELS = "models"
RUN = "run.json"

ARM_RECEIVED, WEIGHT, PROPENSITY, STRATUM = "arm", "weight", "propensity", "stratum"
"""Columns of ``test_effects/NAME.parquet`` beside the unit, the stages, the value and the effects."""


def write_test_effects(path: str | os.PathLike[str], test: Campaign, effects: Effects) -> Path:
    """Write test rows with outcomes and one model's effects: enough to compute every metric again.

    Columns: the unit, ``arm`` received, one per stage, ``value`` where there is one, ``weight``,
    ``propensity`` and ``stratum`` where the campaign has them, then ``mu__...``, ``tau__...`` and, from models
    with intervals, ``tau_low__...`` and ``tau_high__...``.
    """
    scored = effects.to_table()
    data: dict[str, Any] = {
        test.unit_column: scored[test.unit_column],
        ARM_RECEIVED: pa.DictionaryArray.from_arrays(pa.array(test.arm_codes), pa.array(test.arm_names)),
    }
    for stage in test.stages:
        outcome = test.outcome(stage)
        data[stage] = pa.array(outcome.astype(np.int8) if stage != VALUE_STAGE else outcome)
    for name, values in (
        (WEIGHT, test.weights),
        (PROPENSITY, test.propensity),
        (STRATUM, test.stratum_codes),
    ):
        if values is not None:
            data[name] = pa.array(values)
    for name in scored.column_names[1:]:
        data[name] = scored[name]
    table = pa.table(data).replace_schema_metadata(scored.schema.metadata)
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary, compression="zstd", compression_level=1)
    return Path(path)


@dataclass(frozen=True)
class RunFolder:
    """A finished run.

    Parameters
    ----------
    path : Path
        The folder that ``uplift run`` or ``uplift demo`` wrote.

    Examples
    --------
    >>> RunFolder.open("runs/spring").read_json("run.json")["chosen_model"]  # doctest: +SKIP
    """

    path: Path

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> RunFolder:
        """Check that `path` is a run folder.

        Raises
        ------
        UpliftError
            It is not.
        """
        folder = Path(path)
        if not (folder / RUN).is_file():
            raise UpliftError(
                f"{folder} is not a run folder (it has no {RUN}); give the folder that 'uplift run --out' wrote."
            )
        return cls(folder)

    def read_json(self, name: str) -> Any:
        """Content of one of the JSON files.

        Parameters
        ----------
        name : str
            File name in the folder.

        Raises
        ------
        UpliftError
            The file is missing or damaged.
        """
        try:
            return json.loads((self.path / name).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise UpliftError(f"the run folder {self.path} has no {name}; run it again.") from None
        except json.JSONDecodeError as error:
            raise UpliftError(f"{self.path / name} is damaged ({error}); run it again.") from error

    @property
    def model_names(self) -> tuple[str, ...]:
        """Models of the run, in the order of the campaign file."""
        return tuple(self.read_json(RUN)["models"])

    def test_effects(self) -> tuple[Campaign, dict[str, Effects]]:
        """The test rows as a campaign without features, and every model's effects on them."""
        names = self.model_names
        tables = {name: self._table(Path(TEST_EFFECTS) / f"{name}.parquet") for name in names}
        effects = {
            name: Effects.from_table(table, source=f"{TEST_EFFECTS}/{name}.parquet")
            for name, table in tables.items()
        }
        first = tables[names[0]]
        return _as_campaign(first, effects[names[0]], self.read_json(RUN)["campaign"]), effects

    def test_stream(self) -> tuple[CampaignStream, dict[str, Path]]:
        """The test rows as a campaign on disk without features, and every model's file of effects on them."""
        from uplift.campaign_stream import CampaignStream
        from uplift.effects_file import METADATA_KEY

        files = {name: self.path / TEST_EFFECTS / f"{name}.parquet" for name in self.model_names}
        first = next(iter(files.values()))
        if not first.is_file():
            raise UpliftError(f"the run folder {self.path} has no {first.name}; run it again.")
        schema = pq.read_schema(first)
        header = json.loads(schema.metadata[METADATA_KEY])
        roles: dict[str, Any] = {
            role: name
            for role, name in (("weight", WEIGHT), ("propensity", PROPENSITY), ("strata", STRATUM))
            if name in schema.names
        }
        stages = header["stages"]
        stream = CampaignStream.from_parquet(
            first,
            unit=header["unit_column"],
            treatment=ARM_RECEIVED,
            control=header["arms"][0],
            chain=[stage for stage in stages if stage != VALUE_STAGE],
            value=VALUE_STAGE if VALUE_STAGE in stages else None,
            features=[],
            name=self.read_json(RUN)["campaign"]["name"],
            **roles,
        )
        return stream, files

    def _table(self, name: Path) -> pa.Table:
        from uplift.io.tables import read_table

        return read_table(self.path / name)


def arms_to_json(arms: tuple[Arm, ...]) -> list[dict[str, Any]]:
    """Arms as plain JSON types, control first."""
    return [
        {
            "name": arm.name, "label": arm.label, "amount": arm.amount, "threshold": arm.threshold, "share": arm.share,
            "cost": None if arm.cost is None else {"on": arm.cost.on, "amount": arm.cost.amount, "share": arm.cost.share},
        }
        for arm in arms
    ]  # fmt: skip


def arms_from_json(content: list[dict[str, Any]]) -> tuple[Arm, ...]:
    """Inverse of :func:`arms_to_json`."""
    return tuple(
        Arm(**{**arm, "cost": None if arm["cost"] is None else CostRule(**arm["cost"])}) for arm in content
    )


def _as_campaign(table: pa.Table, effects: Effects, described: dict[str, Any]) -> Campaign:
    has = set(table.column_names)
    roles = Roles(
        unit=effects.unit_column,
        treatment=ARM_RECEIVED,
        control=effects.control,
        chain=effects.chain,
        value=VALUE_STAGE if VALUE_STAGE in effects.stages else None,
        weight=WEIGHT if WEIGHT in has else None,
        propensity=PROPENSITY if PROPENSITY in has else None,
        strata=(STRATUM,) if STRATUM in has else (),
        features=(),
    )
    return Campaign(
        table, roles, arms_from_json(described["arms"]), described["name"], np.arange(table.num_rows)
    )
