"""Menus on disk: what every arm would bring and cost each unit, read block by block.

A *menu* is one unit's row of values and costs. The sources here read Parquet or Arrow files that may be larger than
memory; :func:`uplift.allocation.allocate_file` decides on them.
"""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from uplift.allocation.from_effects import check_rules, margin_for, target_stage
from uplift.allocation.problem import largest_magnitude
from uplift.arms import SEND, VALUE_STAGE, CostRule
from uplift.columns import flat
from uplift.effects import mu_column, tau_column
from uplift.effects_file import METADATA_KEY
from uplift.errors import AllocationError, did_you_mean
from uplift.io.blocks import BLOCK_ROWS, TableBlocks
from uplift.io.tables import PARQUET_SUFFIXES, Source

SAMPLE_CLUSTERS, CLUSTER_ROWS = 64, 1 << 14


@dataclass(frozen=True, eq=False)
class Menus:
    """One block: ``first`` row number, ``units`` [unit], ``value`` and ``cost`` float [unit, arm], columns first."""

    first: int
    units: pa.Array
    value: np.ndarray
    cost: np.ndarray

    def __len__(self) -> int:
        return int(self.value.shape[0])


class MenuSource(ABC):
    """Menus of all units of an audience, in blocks.

    Attributes
    ----------
    arms : tuple of str
        Names, control first.
    unit_column : str
        Name of the unit's column.
    campaign, model, model_fingerprint : str
        Written to the plan.
    n_rows : int
    """

    arms: tuple[str, ...]
    unit_column: str
    campaign: str
    model: str
    model_fingerprint: str
    _blocks: TableBlocks
    _unit_given: bool

    @property
    def n_rows(self) -> int:
        """Units in all files."""
        return self._blocks.n_rows

    @property
    def n_arms(self) -> int:
        """Arms without the control."""
        return len(self.arms) - 1

    @abstractmethod
    def _menu(self, table: pa.Table) -> tuple[np.ndarray, np.ndarray]:
        """Value and cost [unit, arm] of a block's table."""

    @abstractmethod
    def _bounds(self, extreme: Mapping[str, float]) -> tuple[float, float]:
        """Largest absolute value and cost, from the largest absolute number of every column."""

    def blocks(self) -> Iterator[Menus]:
        """All blocks in order; the next one is read while the caller works on this one."""
        with ThreadPoolExecutor(1) as reader:
            stream = self._read(self._blocks, None)
            pending = reader.submit(next, stream, None)
            while (block := pending.result()) is not None:
                pending = reader.submit(next, stream, None)
                yield block

    def unit_blocks(self) -> Iterator[pa.Array]:
        """Unit ids only, block by block."""
        if not self._unit_given:
            yield from (pa.array(np.arange(b.first, b.first + b.rows)) for b in self._blocks.blocks)
            return
        for table in self._blocks.read(columns=[self.unit_column]):
            yield flat(table[self.unit_column])

    def sample(self) -> Iterator[Menus]:
        """A few rows from all over the files, in clusters of rows that lie together.

        The first rows of up to 64 row groups; more of each where there are fewer, because only the start of a row
        group is cheap to reach. About ``2.7 n^(2/3)`` rows in all, which balances their cost with that of the core.
        """
        wanted = int(2.7 * self.n_rows ** (2 / 3))
        size = min(max(wanted // SAMPLE_CLUSTERS, 256), CLUSTER_ROWS)
        fine = TableBlocks.open(self._blocks.files, block_rows=size).select(self._blocks.schema.names)
        heads = [at for at, block in enumerate(fine.blocks) if block.offset == 0]
        spread = np.linspace(0, len(heads) - 1, SAMPLE_CLUSTERS).round().astype(int)
        starts, times = np.unique(spread, return_counts=True)
        runs = [block.run for block in fine.blocks]
        order = [
            heads[start] + further
            for start, count in zip(starts, times, strict=True)
            for further in range(count)
            if heads[start] + further < len(runs) and runs[heads[start] + further] == runs[heads[start]]
        ]
        yield from self._read(fine, order)

    def largest(self) -> tuple[float, float]:
        """Largest absolute value and cost: from the footers where they tell, else by reading all rows."""
        extreme = _footer_extremes(self._blocks)
        if extreme is not None:
            return self._bounds(extreme)
        value = cost = 0.0
        for block in self.blocks():
            value = max(value, largest_magnitude(block.value))
            cost = max(cost, largest_magnitude(block.cost))
        return value, cost

    def _read(self, tables: TableBlocks, order: Sequence[int] | None) -> Iterator[Menus]:
        positions = range(len(tables.blocks)) if order is None else order
        for position, table in zip(positions, tables.read(order), strict=True):
            value, cost = self._menu(table)
            for name, array in (("value", value), ("cost", cost)):
                if not math.isfinite(largest_magnitude(array)):
                    rows, columns = np.nonzero(~np.isfinite(array))
                    raise AllocationError(
                        f"{name} of arm {self.arms[columns[0] + 1]!r} is {array[rows[0], columns[0]]} "
                        f"({len(rows)} such cells in {tables.where(position)}): give finite numbers."
                    )
            first = tables.blocks[position].first
            units = (
                flat(table[self.unit_column])
                if self._unit_given
                else pa.array(np.arange(first, first + len(value)))
            )
            yield Menus(first, units, value, cost)


class MenuFile(MenuSource):
    """Menus in columns: one of values and one of costs per arm.

    Parameters
    ----------
    source : path, or several
        Parquet or Arrow files, a folder, or a pattern.
    value, cost : mapping of str to str
        Column of every arm but the control; both name the same arms, in the order of the plan's arms. Numbers are
        read as float32 where all columns are, else as float64.
    unit : str, optional
        Column of unit ids, each once. Default: row numbers.
    control : str
        Name of the control.
    campaign, model : str
        Written to the plan.
    block_rows : int
        Rows that are read at a time.

    Raises
    ------
    AllocationError
        The mappings name different arms, a column is missing or holds no numbers.

    Examples
    --------
    >>> import pyarrow.parquet as pq, tempfile, pathlib
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "menus.parquet"
    >>> pq.write_table(pa.table({"user": ["a", "b"], "gain": [3.0, 2.0], "price": [1.0, 1.0]}), file)
    >>> audience = MenuFile(file, unit="user", value={"mail": "gain"}, cost={"mail": "price"})
    >>> audience.arms, audience.n_rows
    (('control', 'mail'), 2)
    """

    def __init__(
        self,
        source: Source,
        *,
        value: Mapping[str, str],
        cost: Mapping[str, str],
        unit: str | None = None,
        control: str = "control",
        campaign: str = "",
        model: str = "",
        block_rows: int = BLOCK_ROWS,
    ) -> None:
        if not value or set(value) != set(cost):
            odd = sorted(set(value) ^ set(cost))
            raise AllocationError(
                f"value and cost name different arms ({', '.join(map(repr, odd)) or 'none at all'}): "
                "give one column of each for every arm but the control."
            )
        self.arms = (control, *value)
        if len(set(self.arms)) != len(self.arms):
            raise AllocationError(
                f"The control is called {control!r}, as an arm is: give it another name with control=."
            )
        tables = TableBlocks.open(source, block_rows=block_rows)
        self._value = [value[arm] for arm in value]
        self._cost = [cost[arm] for arm in value]
        self._unit_given = unit is not None
        self.unit_column = unit or "unit"
        wanted = [*([unit] if unit else []), *self._value, *self._cost]
        for name in wanted:
            if name not in tables.names:
                raise AllocationError(
                    f"There is no column {name!r} in {tables.files[0]}: {did_you_mean(name, tables.names)}"
                )
        self._blocks = tables.select(dict.fromkeys(wanted))
        types = {name: self._blocks.schema.field(name).type for name in (*self._value, *self._cost)}
        for name, kind in types.items():
            if not (pa.types.is_floating(kind) or pa.types.is_integer(kind)):
                raise AllocationError(f"Column {name!r} holds {kind}: values and costs are numbers.")
        self._dtype = np.float32 if all(pa.types.is_float32(kind) for kind in types.values()) else np.float64
        self.campaign, self.model, self.model_fingerprint = campaign, model, model

    def _menu(self, table: pa.Table) -> tuple[np.ndarray, np.ndarray]:
        return _stack(table, self._value, self._dtype), _stack(table, self._cost, self._dtype)

    def _bounds(self, extreme: Mapping[str, float]) -> tuple[float, float]:
        return max(extreme[name] for name in self._value), max(extreme[name] for name in self._cost)


class EffectsFile(MenuSource):
    """Menus from a file of effects (``uplift predict``, ``Effects.to_parquet``) and cost rules.

    Parameters
    ----------
    source : path
        A Parquet file of effects.
    costs, margin, stage, campaign_name, model_fingerprint
        As in :func:`uplift.allocation.allocate`.
    block_rows : int
        Rows that are read at a time.

    Raises
    ------
    AllocationError
        The file holds no effects or ranking scores only, an arm has no cost rule, or a stage or margin is missing.

    Examples
    --------
    >>> import tempfile, pathlib, uplift
    >>> world = uplift.simulate(rows=200, arms=1, chain=("click", "conversion"), seed=0)
    >>> file = world.effects.to_parquet(pathlib.Path(tempfile.mkdtemp()) / "effects.parquet")
    >>> audience = EffectsFile(file, costs=world.campaign().costs, margin=40.0)
    >>> audience.arms[0], audience.n_rows
    ('none', 200)
    """

    def __init__(
        self,
        source: Source,
        *,
        costs: Mapping[str, CostRule],
        margin: float | None = None,
        stage: str | None = None,
        campaign_name: str | None = None,
        model_fingerprint: str | None = None,
        block_rows: int = BLOCK_ROWS,
    ) -> None:
        tables = TableBlocks.open(source, block_rows=block_rows)
        header = _effects_header(tables)
        if not header["calibrated"]:
            raise AllocationError(
                f"The uplifts of model {header['model']!r} are ranking scores, not effects, so they cannot be "
                "multiplied by money: allocate with a model whose effects are calibrated."
            )
        self.arms = tuple(header["arms"])
        stages = tuple(header["stages"])
        target = target_stage(stages, stage)
        self._margin = margin_for(margin, target)
        check_rules(costs, self.arms[0], self.arms[1:], stages)
        self._tau = [tau_column(target, arm) for arm in self.arms[1:]]
        self._cost = [_cost_column(arm, costs[arm]) for arm in self.arms[1:]]
        self._unit_given = True
        self.unit_column = header["unit_column"]
        self.campaign = header["campaign"] if campaign_name is None else campaign_name
        self.model = header["model"]
        self.model_fingerprint = model_fingerprint or header.get("fingerprint") or header["model"]
        columns = [name for name, _ in self._cost if name is not None]
        self._blocks = tables.select(dict.fromkeys((self.unit_column, *self._tau, *columns)))

    def _menu(self, table: pa.Table) -> tuple[np.ndarray, np.ndarray]:
        value = _stack(table, self._tau, np.float64)
        value *= self._margin
        cost = np.empty_like(value)
        for column, (name, factor) in enumerate(self._cost):
            cost[:, column] = factor if name is None else flat(table[name]).to_numpy(zero_copy_only=False)
            if name is not None:
                cost[:, column] *= factor
        return value, cost

    def _bounds(self, extreme: Mapping[str, float]) -> tuple[float, float]:
        costs = [factor if name is None else extreme[name] * factor for name, factor in self._cost]
        return max(extreme[name] for name in self._tau) * self._margin, max(map(abs, costs))


def _cost_column(arm: str, rule: CostRule) -> tuple[str | None, float]:
    """Column that the cost is proportional to (None: every unit pays the same), and the factor."""
    if rule.on == SEND:
        return None, float(rule.amount or 0.0)
    per_event = rule.share if rule.on == VALUE_STAGE else rule.amount
    return mu_column(rule.on, arm), float(per_event or 0.0)


def _effects_header(tables: TableBlocks) -> dict[str, Any]:
    headers = []
    for file, layout in zip(tables.files, tables.layouts, strict=True):
        text = (layout.schema.metadata or {}).get(METADATA_KEY)
        if text is None:
            raise AllocationError(
                f"{file} holds no effects; use a file written by 'uplift predict' or Effects.to_parquet."
            )
        headers.append(json.loads(text))
    if any(header != headers[0] for header in headers[1:]):
        raise AllocationError("The files hold effects of different models or arms: decide on one at a time.")
    return dict(headers[0])


def _stack(table: pa.Table, names: Sequence[str], dtype: Any) -> np.ndarray:
    """Columns as [unit, arm], each contiguous; missing values become NaN (and are refused by the caller)."""
    out = np.empty((len(names), table.num_rows), dtype)
    for row, name in zip(out, names, strict=True):
        column = table[name]
        row[:] = (
            flat(column.cast(pa.float64())).to_numpy(zero_copy_only=False)
            if column.null_count
            else flat(column).to_numpy(zero_copy_only=False)
        )
    return out.T


def _footer_extremes(tables: TableBlocks) -> dict[str, float] | None:
    """Largest absolute number of every numeric column, from Parquet statistics; None where a footer lacks one."""
    extreme: dict[str, float] = {}
    for file, layout in zip(tables.files, tables.layouts, strict=True):
        if file.suffix.lower() not in PARQUET_SUFFIXES or layout.metadata is None:
            return None
        meta = layout.metadata
        places = {meta.schema.column(at).path: at for at in range(meta.num_columns)}
        for name in tables.schema.names:
            kind = tables.schema.field(name).type
            if not (pa.types.is_floating(kind) or pa.types.is_integer(kind)):
                continue
            for group in range(meta.num_row_groups):
                statistics = meta.row_group(group).column(places[name]).statistics
                if statistics is None or not statistics.has_min_max:
                    return None
                low, high = abs(float(statistics.min)), abs(float(statistics.max))
                extreme[name] = max(extreme.get(name, 0.0), low, high)
    return extreme
