"""Effects: potential outcomes and uplifts for every unit, arm and stage. What models give, and what all else reads."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from uplift.arms import VALUE_STAGE
from uplift.columns import flat
from uplift.errors import UpliftError, did_you_mean
from uplift.hashing import as_text
from uplift.io.atomic import atomic_path

if TYPE_CHECKING:
    import pandas as pd

    from uplift.campaign import Campaign

METADATA_KEY = b"uplift.effects"
FORMAT_VERSION = 1


def mu_column(stage: str, arm: str) -> str:
    """Column name of a potential outcome, ``mu__STAGE__ARM``."""
    return f"mu__{stage}__{arm}"


def tau_column(stage: str, arm: str) -> str:
    """Column name of an uplift, ``tau__STAGE__ARM``."""
    return f"tau__{stage}__{arm}"


@dataclass(frozen=True, eq=False)
class Effects:
    """Predicted (or true) effects of every arm at every stage of the chain, in the entire space.

    Everything is per *assigned* unit, not per click: ``mu("conversion", arm)`` is
    P(conversion | assigned to arm), which is the product of all conditional rates up to it.

    Parameters
    ----------
    mu_all : ndarray of float32 [unit, arm, stage]
        Potential outcomes; control is arm 0. Probabilities for binary stages, money for ``"value"``.
    units : pyarrow.Array [unit]
        Unit ids, in the order of the rows.
    arms : tuple of str
        Arm names, control first.
    stages : tuple of str
        Stage names in order; ``"value"`` last when there is one.
    model : str
        Name of the model that made them.
    tau_all : ndarray of float32 [unit, arm, stage], optional
        Uplift against control, zero for control. Default ``mu - mu[control]``; given by models that estimate
        the uplift itself.
    unit_column : str
        Name of the unit column in files.
    campaign : str
        Name of the campaign.
    calibrated : bool
        False when `tau` is only a ranking score (a response model, random): it must not be multiplied by money.
    fingerprint : str
        What the model was made from (see :class:`uplift.models.base.UpliftModel`); part of decision ids.

    Raises
    ------
    UpliftError
        Shapes do not fit, or values are missing or infinite.

    Examples
    --------
    >>> mu = np.array([[[0.2, 0.1], [0.3, 0.12]]], np.float32)
    >>> effects = Effects(mu, units=pa.array([7]), arms=("none", "five"), stages=("click", "buy"), model="m")
    >>> effects.tau("buy", "five").round(3).tolist()
    [0.0199...]
    """

    mu_all: np.ndarray
    units: pa.Array = field(kw_only=True)
    arms: tuple[str, ...] = field(kw_only=True)
    stages: tuple[str, ...] = field(kw_only=True)
    model: str = field(kw_only=True)
    tau_all: np.ndarray = field(kw_only=True, default=None)  # type: ignore[arg-type]
    unit_column: str = field(kw_only=True, default="unit")
    campaign: str = field(kw_only=True, default="")
    calibrated: bool = field(kw_only=True, default=True)
    fingerprint: str = field(kw_only=True, default="")

    def __post_init__(self) -> None:
        mu = np.ascontiguousarray(self.mu_all, np.float32)
        shape = (len(self.units), len(self.arms), len(self.stages))
        if mu.shape != shape:
            raise UpliftError(
                f"effects of model {self.model!r} have shape {mu.shape}, expected {shape} [unit, arm, stage]."
            )
        if self.tau_all is None:
            tau = mu - mu[:, :1]
        else:
            tau = np.ascontiguousarray(self.tau_all, np.float32)
            if tau.shape != shape:
                raise UpliftError(
                    f"uplifts of model {self.model!r} have shape {tau.shape}, expected {shape} [unit, arm, stage]."
                )
        for array in (mu, tau):
            bad = ~np.isfinite(array)
            if bad.any():
                _, arm, stage = np.argwhere(bad)[0]
                raise UpliftError(
                    f"model {self.model!r} gave {int(bad.sum()):,} missing or infinite effects, first for arm {self.arms[arm]!r} at stage {self.stages[stage]!r}."
                )
        mu.setflags(write=False)
        tau.setflags(write=False)
        object.__setattr__(self, "mu_all", mu)
        object.__setattr__(self, "tau_all", tau)
        object.__setattr__(self, "arms", tuple(self.arms))
        object.__setattr__(self, "stages", tuple(self.stages))

    @classmethod
    def for_campaign(
        cls,
        mu: np.ndarray,
        campaign: Campaign,
        *,
        model: str,
        tau: np.ndarray | None = None,
        calibrated: bool = True,
    ) -> Effects:
        """Effects for the rows of `campaign`, with its units, arms and stages; `mu` and `tau` are [row, arm, stage]."""
        return cls(
            mu,
            units=campaign.unit_ids,
            arms=campaign.arm_names,
            stages=campaign.stages,
            model=model,
            tau_all=tau,  # type: ignore[arg-type]
            unit_column=campaign.unit_column,
            campaign=campaign.name,
            calibrated=calibrated,
        )

    def __len__(self) -> int:
        return self.mu_all.shape[0]

    @property
    def control(self) -> str:
        """Name of the control arm."""
        return self.arms[0]

    @property
    def treated_arms(self) -> tuple[str, ...]:
        """Arm names without control."""
        return self.arms[1:]

    @property
    def chain(self) -> tuple[str, ...]:
        """The binary stages."""
        return tuple(stage for stage in self.stages if stage != VALUE_STAGE)

    def mu(self, stage: str, arm: str) -> np.ndarray:
        """Potential outcome of `arm` at `stage`, float32 [unit], entire space."""
        return self.mu_all[:, self._arm(arm), self._stage(stage)]

    def tau(self, stage: str, arm: str) -> np.ndarray:
        """Uplift of `arm` against control at `stage`, float32 [unit], entire space."""
        return self.tau_all[:, self._arm(arm), self._stage(stage)]

    def rate(self, stage: str, arm: str) -> np.ndarray:
        """Conditional rate of `stage` given the stage before it (CVR given click, say), float32 [unit].

        A diagnostic: its uplift compares different people under treatment and control, because the stage
        before is itself affected. Zero where the stage before has probability zero.
        """
        index = self._stage(stage)
        top = self.mu_all[:, self._arm(arm), index]
        if index == 0:
            return top
        below = self.mu_all[:, self._arm(arm), index - 1]
        return np.divide(top, below, out=np.zeros_like(top), where=below > 0)

    def take(self, indices: np.ndarray) -> Effects:
        """Effects of the units at `indices` (integers or a boolean mask)."""
        indices = np.asarray(indices)
        if indices.dtype == bool:
            indices = np.flatnonzero(indices)
        return Effects(
            self.mu_all[indices],
            units=self.units.take(pa.array(indices)),
            arms=self.arms,
            stages=self.stages,
            model=self.model,
            tau_all=self.tau_all[indices],
            unit_column=self.unit_column,
            campaign=self.campaign,
            calibrated=self.calibrated,
            fingerprint=self.fingerprint,
        )

    def for_units(self, ids: pa.Array, *, source: str = "the effects") -> Effects:
        """Effects in the order of `ids`: found by unit id, or row by row when units repeat.

        Raises
        ------
        UpliftError
            A unit has no effects, or several and in another order.
        """
        wanted, have = as_text(ids), as_text(self.units)
        if wanted.equals(have):
            return self
        if len(pc.unique(have)) < len(have):
            raise UpliftError(
                f"{source} has several rows per unit in another order than the campaign; predict on the same rows."
            )
        found = pc.index_in(wanted, have)
        if found.null_count:
            first = wanted.filter(pc.is_null(found))[0].as_py()
            raise UpliftError(
                f"{source} has no effects for {found.null_count:,} of {len(wanted):,} units, first {first!r}; predict on these rows."
            )
        return self.take(found.to_numpy())

    # ---------------------------------------------------------------- files

    def to_table(self) -> pa.Table:
        """Arrow table: the unit id, ``mu__STAGE__ARM`` for every arm, ``tau__STAGE__ARM`` for every treated arm."""
        data: dict[str, Any] = {self.unit_column: self.units}
        for s, stage in enumerate(self.stages):
            for a, arm in enumerate(self.arms):
                data[mu_column(stage, arm)] = pa.array(np.ascontiguousarray(self.mu_all[:, a, s]))
        for s, stage in enumerate(self.stages):
            for a, arm in enumerate(self.arms[1:], start=1):
                data[tau_column(stage, arm)] = pa.array(np.ascontiguousarray(self.tau_all[:, a, s]))
        return pa.table(data).replace_schema_metadata({METADATA_KEY: json.dumps(self._header())})

    def to_frame(self) -> pd.DataFrame:
        """pandas frame with the columns of :meth:`to_table`."""
        return self.to_table().to_pandas()

    def to_parquet(self, path: str | os.PathLike[str]) -> Path:
        """Write :meth:`to_table` atomically and return the path."""
        import pyarrow.parquet as pq

        with atomic_path(path) as temporary:
            # Float scores hardly compress and have no repeated values: no dictionary, light codec.
            pq.write_table(
                self.to_table(), temporary, use_dictionary=False, compression="zstd", compression_level=1
            )
        return Path(path)

    @classmethod
    def from_table(cls, table: pa.Table, *, source: str = "the table") -> Effects:
        """Effects from a table written by :meth:`to_table` (extra columns are ignored).

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
        wanted = [header["unit_column"], *(mu_column(s, a) for s in stages for a in arms)]
        wanted += [tau_column(s, a) for s in stages for a in arms[1:]]
        missing = [name for name in wanted if name not in table.column_names]
        if missing:
            raise UpliftError(
                f"{source} lacks the effects column {missing[0]!r} ({len(missing)} missing); write it again."
            )
        mu = np.empty((table.num_rows, len(arms), len(stages)), np.float32)
        tau = np.zeros_like(mu)
        for s, stage in enumerate(stages):
            for a, arm in enumerate(arms):
                mu[:, a, s] = table[mu_column(stage, arm)].to_numpy()
                if a:
                    tau[:, a, s] = table[tau_column(stage, arm)].to_numpy()
        return cls(
            mu,
            units=flat(table[header["unit_column"]]),
            arms=arms,
            stages=stages,
            model=header["model"],
            tau_all=tau,
            unit_column=header["unit_column"],
            campaign=header["campaign"],
            calibrated=header["calibrated"],
            fingerprint=header.get("fingerprint", ""),
        )

    @classmethod
    def read_parquet(cls, path: str | os.PathLike[str]) -> Effects:
        """Effects from a Parquet file.

        Raises
        ------
        UpliftError
            The file is missing, damaged, or holds no effects.
        """
        from uplift.io.tables import read_table

        return cls.from_table(read_table(path), source=str(path))

    def _header(self) -> dict[str, Any]:
        return {
            "version": FORMAT_VERSION,
            "model": self.model,
            "campaign": self.campaign,
            "arms": list(self.arms),
            "stages": list(self.stages),
            "unit_column": self.unit_column,
            "calibrated": self.calibrated,
            "fingerprint": self.fingerprint,
        }

    def _arm(self, arm: str) -> int:
        return _position(str(arm), self.arms, "arm")

    def _stage(self, stage: str) -> int:
        return _position(stage, self.stages, "stage")

    def __repr__(self) -> str:
        return f"Effects({self.model!r}: {len(self):,} units, arms {' | '.join(self.arms[:8])}, stages {' -> '.join(self.stages)})"


def _position(name: str, options: Sequence[str], kind: str) -> int:
    try:
        return list(options).index(name)
    except ValueError:
        raise UpliftError(f"unknown {kind} {name!r}; {did_you_mean(name, options)}") from None
