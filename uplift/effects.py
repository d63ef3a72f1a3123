"""Effects: potential outcomes and uplifts for every unit, arm and stage. What models give, and what all else reads."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from uplift.arms import VALUE_STAGE
from uplift.errors import UpliftError, did_you_mean
from uplift.hashing import as_text

if TYPE_CHECKING:
    import pandas as pd

    from uplift.campaign import Campaign


def mu_column(stage: str, arm: str) -> str:
    """Column name of a potential outcome, ``mu__STAGE__ARM``."""
    return f"mu__{stage}__{arm}"


def tau_column(stage: str, arm: str) -> str:
    """Column name of an uplift, ``tau__STAGE__ARM``."""
    return f"tau__{stage}__{arm}"


def low_column(stage: str, arm: str) -> str:
    """Column name of the lower end of an uplift's interval, ``tau_low__STAGE__ARM``."""
    return f"tau_low__{stage}__{arm}"


def high_column(stage: str, arm: str) -> str:
    """Column name of the upper end of an uplift's interval, ``tau_high__STAGE__ARM``."""
    return f"tau_high__{stage}__{arm}"


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
    low_all, high_all : ndarray of float32 [unit, arm, stage], optional
        Ends of the interval of the uplift, given by models that know their uncertainty: ``low <= tau <= high``,
        both zero for control. What an interval covers is the model's to say. Both or neither.
    level : float, optional
        Nominal level of the intervals, in (0, 1): 0.9 says that 90 % of them are meant to hold the true uplift.
        None exactly when there are none.
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
        Shapes do not fit, values are missing or infinite, or an interval does not hold its uplift.

    Examples
    --------
    >>> mu = np.array([[[0.2, 0.1], [0.3, 0.12]]], np.float32)
    >>> effects = Effects(mu, units=pa.array([7]), arms=("none", "five"), stages=("click", "buy"), model="m")
    >>> effects.tau("buy", "five").round(3).tolist()
    [0.0199...]
    >>> effects.has_intervals
    False
    """

    mu_all: np.ndarray
    units: pa.Array = field(kw_only=True)
    arms: tuple[str, ...] = field(kw_only=True)
    stages: tuple[str, ...] = field(kw_only=True)
    model: str = field(kw_only=True)
    tau_all: np.ndarray = field(kw_only=True, default=None)  # type: ignore[arg-type]
    low_all: np.ndarray | None = field(kw_only=True, default=None)
    high_all: np.ndarray | None = field(kw_only=True, default=None)
    level: float | None = field(kw_only=True, default=None)
    unit_column: str = field(kw_only=True, default="unit")
    campaign: str = field(kw_only=True, default="")
    calibrated: bool = field(kw_only=True, default=True)
    fingerprint: str = field(kw_only=True, default="")

    def __post_init__(self) -> None:
        object.__setattr__(self, "arms", tuple(self.arms))
        object.__setattr__(self, "stages", tuple(self.stages))
        mu = self._checked(self.mu_all, "effects")
        tau = mu - mu[:, :1] if self.tau_all is None else self.tau_all
        self._keep("mu_all", mu)
        self._keep("tau_all", self._checked(tau, "uplifts"))
        if self.low_all is None and self.high_all is None and self.level is None:
            return
        if self.low_all is None or self.high_all is None or self.level is None:
            raise UpliftError(
                f"an interval of model {self.model!r} needs low_all, high_all and level; give all three or none."
            )
        if not 0 < self.level < 1:
            raise UpliftError(
                f"the interval level of model {self.model!r} is {self.level!r}; it must be in (0, 1)."
            )
        self._keep("low_all", self._checked(self.low_all, "lower ends"))
        self._keep("high_all", self._checked(self.high_all, "upper ends"))
        self._check_intervals(self.low_all, self.high_all)

    def _keep(self, name: str, array: np.ndarray) -> None:
        array.setflags(write=False)
        object.__setattr__(self, name, array)

    def _checked(self, given: np.ndarray, what: str) -> np.ndarray:
        array = np.ascontiguousarray(given, np.float32)
        shape = (len(self.units), len(self.arms), len(self.stages))
        if array.shape != shape:
            raise UpliftError(
                f"{what} of model {self.model!r} have shape {array.shape}, expected {shape} [unit, arm, stage]."
            )
        bad = ~np.isfinite(array)
        if bad.any():
            raise UpliftError(
                f"model {self.model!r} gave {int(bad.sum()):,} missing or infinite {what}, first for {self._place(bad)}."
            )
        return array

    def _check_intervals(self, low: np.ndarray, high: np.ndarray) -> None:
        outside = (low > self.tau_all) | (high < self.tau_all)
        if outside.any():
            raise UpliftError(
                f"{int(outside.sum()):,} uplifts of model {self.model!r} lie outside their interval, first for "
                f"{self._place(outside)}; low_all <= tau_all <= high_all must hold."
            )
        if low[:, 0].any() or high[:, 0].any():
            raise UpliftError(
                f"intervals of model {self.model!r} are not 0 for control {self.control!r}; its uplift against itself is known."
            )

    def _place(self, bad: np.ndarray) -> str:
        _, arm, stage = np.argwhere(bad)[0]
        return f"arm {self.arms[arm]!r} at stage {self.stages[stage]!r}"

    @classmethod
    def for_campaign(
        cls,
        mu: np.ndarray,
        campaign: Campaign,
        *,
        model: str,
        tau: np.ndarray | None = None,
        low: np.ndarray | None = None,
        high: np.ndarray | None = None,
        level: float | None = None,
        calibrated: bool = True,
    ) -> Effects:
        """Effects for the rows of `campaign`, with its units, arms and stages; arrays are [row, arm, stage].

        Parameters
        ----------
        mu : ndarray [row, arm, stage]
            Potential outcomes.
        campaign : Campaign
        model : str
        tau, low, high : ndarray [row, arm, stage], optional
            Uplifts and their intervals, as `tau_all`, `low_all` and `high_all`.
        level : float, optional
            Of the intervals, in (0, 1).
        calibrated : bool
            Whether the uplifts are effects, or only rank.
        """
        return cls(
            mu,
            units=campaign.unit_ids,
            arms=campaign.arm_names,
            stages=campaign.stages,
            model=model,
            tau_all=tau,  # type: ignore[arg-type]
            low_all=low,
            high_all=high,
            level=level,
            unit_column=campaign.unit_column,
            campaign=campaign.name,
            calibrated=calibrated,
        )

    def __len__(self) -> int:
        return int(self.mu_all.shape[0])

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
        """Potential outcome of `arm` at `stage`, float32 [unit], entire space.

        Parameters
        ----------
        stage, arm : str
        """
        return self.mu_all[:, self._arm(arm), self._stage(stage)]

    def tau(self, stage: str, arm: str) -> np.ndarray:
        """Uplift of `arm` against control at `stage`, float32 [unit], entire space.

        Parameters
        ----------
        stage, arm : str
        """
        return self.tau_all[:, self._arm(arm), self._stage(stage)]

    @property
    def has_intervals(self) -> bool:
        """Whether the uplifts come with intervals."""
        return self.level is not None

    def tau_low(self, stage: str, arm: str) -> np.ndarray:
        """Lower end of the interval of :meth:`tau`, float32 [unit].

        Parameters
        ----------
        stage, arm : str

        Raises
        ------
        UpliftError
            The model gave no intervals.
        """
        return self._end(self.low_all, stage, arm)

    def tau_high(self, stage: str, arm: str) -> np.ndarray:
        """Upper end of the interval of :meth:`tau`, float32 [unit].

        Parameters
        ----------
        stage, arm : str

        Raises
        ------
        UpliftError
            The model gave no intervals.
        """
        return self._end(self.high_all, stage, arm)

    def _end(self, ends: np.ndarray | None, stage: str, arm: str) -> np.ndarray:
        if ends is None:
            raise UpliftError(
                f"model {self.model!r} gave no intervals; use a model that does ('uplift models' says which), such as an ensemble."
            )
        return ends[:, self._arm(arm), self._stage(stage)]

    def rate(self, stage: str, arm: str) -> np.ndarray:
        """Conditional rate of `stage` given the stage before it (CVR given click, say), float32 [unit].

        A diagnostic: its uplift compares different people under treatment and control, because the stage
        before is itself affected. Zero where the stage before has probability zero.

        Parameters
        ----------
        stage, arm : str
        """
        index = self._stage(stage)
        top = self.mu_all[:, self._arm(arm), index]
        if index == 0:
            return top
        below = self.mu_all[:, self._arm(arm), index - 1]
        result: np.ndarray = np.divide(top, below, out=np.zeros_like(top), where=below > 0)
        return result

    def take(self, indices: np.ndarray) -> Effects:
        """Effects of the units at `indices` (integers or a boolean mask)."""
        indices = np.asarray(indices)
        if indices.dtype == bool:
            indices = np.flatnonzero(indices)
        return replace(
            self,
            mu_all=self.mu_all[indices],
            units=self.units.take(pa.array(indices)),
            tau_all=self.tau_all[indices],
            low_all=None if self.low_all is None else self.low_all[indices],
            high_all=None if self.high_all is None else self.high_all[indices],
        )

    def for_units(self, ids: pa.Array, *, source: str = "the effects") -> Effects:
        """Effects in the order of `ids`: found by unit id, or row by row when units repeat.

        Parameters
        ----------
        ids : pyarrow Array [unit]
        source : str
            What error messages call the effects.

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
        """Arrow table with a column per effect.

        The unit id, ``mu__STAGE__ARM`` for every arm, ``tau__STAGE__ARM`` for every treated arm, and where there
        are intervals ``tau_low__STAGE__ARM`` and ``tau_high__STAGE__ARM``.
        """
        from uplift.effects_file import to_table

        return to_table(self)

    def to_frame(self) -> pd.DataFrame:
        """pandas frame with the columns of :meth:`to_table`."""
        result: pd.DataFrame = self.to_table().to_pandas()
        return result

    def to_parquet(self, path: str | os.PathLike[str]) -> Path:
        """Write :meth:`to_table` atomically and return the path.

        Parameters
        ----------
        path : path
        """
        from uplift.effects_file import to_parquet

        return to_parquet(self, path)

    @classmethod
    def from_table(cls, table: pa.Table, *, source: str = "the table") -> Effects:
        """Effects from a table written by :meth:`to_table` (extra columns are ignored).

        Parameters
        ----------
        table : pyarrow.Table
        source : str
            What error messages call it.

        Raises
        ------
        UpliftError
            The table carries no effects header, or a column is missing.
        """
        from uplift.effects_file import from_table

        return from_table(table, source=source)

    @classmethod
    def read_parquet(cls, path: str | os.PathLike[str]) -> Effects:
        """Effects from a Parquet file.

        Parameters
        ----------
        path : path

        Raises
        ------
        UpliftError
            The file is missing, damaged, or holds no effects.
        """
        from uplift.io.tables import read_table

        return cls.from_table(read_table(path), source=str(path))

    def _arm(self, arm: str) -> int:
        return _position(str(arm), self.arms, "arm")

    def _stage(self, stage: str) -> int:
        return _position(stage, self.stages, "stage")

    def _repr_html_(self) -> str:
        from uplift.reporting.notebook import effects_html

        return effects_html(self)

    def __repr__(self) -> str:
        return f"Effects({self.model!r}: {len(self):,} units, arms {' | '.join(self.arms[:8])}, stages {' -> '.join(self.stages)})"


def _position(name: str, options: Sequence[str], kind: str) -> int:
    try:
        return list(options).index(name)
    except ValueError:
        raise UpliftError(f"unknown {kind} {name!r}; {did_you_mean(name, options)}") from None
