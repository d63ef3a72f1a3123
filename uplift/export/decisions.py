"""`Decisions`: the rows of the export contract, made block by block from a plan and what is known about it."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from uplift import columns as column_types
from uplift.effects import Effects
from uplift.errors import OutputError, did_you_mean
from uplift.export.reasons import NOT_ELIGIBLE_REASONS, ROLES
from uplift.export.sums import decimals_for, multiples
from uplift.hashing import as_text
from uplift.policy import Policy
from uplift.segments import SEGMENT, segment_column, segment_columns

BLOCK = 1 << 20
NEEDED = ("arm", "expected_value", "expected_cost", "holdout")
CONTRACT = (
    "decision_id", "revision", "campaign", "arm", "arm_label", "role", "reason", "holdout", "planned_arm", "propensity",
    "expected_value", "expected_cost", "valid_from", "valid_until", "model", "model_hash", "run_id", "updated_at",
)  # fmt: skip
"""Columns of every export beside the unit's (``updated_at`` in databases only)."""
UPLIFT = "uplift__"
"""Prefix of the columns with the expected incremental events (or money) of the chosen arm, one per stage."""


def stage_column(stage: str) -> str:
    """Column of the chosen arm's uplift at a stage, ``uplift__STAGE``."""
    return UPLIFT + stage


@dataclass(frozen=True, kw_only=True, eq=False)
class Decisions:
    """Who gets what, with everything that is needed to act on it and to measure it later.

    Columns, in order: the unit; ``decision_id`` (of campaign and unit, the same in every export); ``revision`` (1,
    raised when an exported decision is changed); ``campaign``; ``arm``; ``arm_label``; ``role`` and ``reason`` (see
    :mod:`uplift.export.reasons`); ``holdout``; ``planned_arm``; ``propensity``; ``expected_value`` and ``expected_cost``
    (money, of the chosen arm, against control); ``uplift__STAGE`` per stage where effects are known; ``segment__NAME`` per
    segment that the plan's limits count (text, null: in none), so that whoever has the rows can add up every limit;
    ``valid_from``, ``valid_until`` (UTC); ``model``; ``model_hash``; ``run_id``.

    ``planned_arm`` is the arm without the coin of the holdout: what a held-out unit would have got at the plan's
    prices (null where that is not known), and for everybody else ``arm``. :func:`uplift.measure` compares by it.

    ``propensity`` is P(the unit gets the arm it got | it is in this audience), over the draw of the holdout with
    share h: 1 - h for a unit that gets an arm; 1 for one that is best left in control, held out or not; h for a
    held-out unit that would have got an arm. Which of the two a held-out unit is takes its predictions: without
    them its propensity is null. These are the probabilities that :func:`uplift.metrics.policy_value` and other
    off-policy estimators divide by.

    Parameters
    ----------
    table : pyarrow.Table
        As of ``Allocation.to_table()``: the unit first, ``arm``, ``expected_value``, ``expected_cost``,
        ``holdout``; optional ``decision_id``, ``reason``, ``segment__NAME``.
    arms : tuple of str
        Control first.
    labels : mapping, optional
        Display name per arm; default its name.
    campaign, model, model_hash, run_id : str
    policy : Policy, optional
        The rule behind the plan: says the holdout share, and why units are in control.
    effects : Effects, optional
        Predictions in the order of the table's rows.
    plan_value : tuple of ndarray, optional
        Value and cost [unit, arm] and mask the plan was made from, in place of `effects`.
    valid_from, valid_until : datetime, optional
        UTC without a zone.
    known_share : float, optional
        Share held out, where no policy says it.
    constraints : list of dict
        Limits of the plan with use, slack and price.
    budget : float or None
    revisions : ndarray of int32 [unit], optional

    Examples
    --------
    >>> from uplift import allocate_arrays
    >>> from uplift.export import from_allocation
    >>> decisions = from_allocation(allocate_arrays([[3.0], [-2.0]], [[1.0], [1.0]], budget=1.0))
    >>> decisions.to_table()["role"].to_pylist(), decisions.to_table()["reason"].to_pylist()
    (['treatment', 'control'], ['selected', 'negative_uplift'])
    """

    table: pa.Table
    arms: tuple[str, ...]
    labels: Mapping[str, str] = field(default_factory=dict)
    campaign: str = ""
    model: str = ""
    model_hash: str = ""
    run_id: str = ""
    policy: Policy | None = None
    effects: Effects | None = None
    plan_value: tuple[np.ndarray, np.ndarray, np.ndarray | None] | None = None
    valid_from: dt.datetime | None = None
    valid_until: dt.datetime | None = None
    known_share: float | None = None
    constraints: list[dict[str, Any]] = field(default_factory=list)
    budget: float | None = None
    revisions: np.ndarray | None = None

    def __post_init__(self) -> None:
        check_table(self.table)
        for name, moment in (("valid_from", self.valid_from), ("valid_until", self.valid_until)):
            if moment is not None and moment.tzinfo is None:
                object.__setattr__(self, name, moment.replace(tzinfo=dt.UTC))
        if self.valid_from and self.valid_until and self.valid_from >= self.valid_until:
            raise OutputError(
                f"the decisions are valid from {self.valid_from} until {self.valid_until}, which is not later."
            )
        if self.effects is not None and len(self.effects) != self.table.num_rows:
            raise OutputError(
                f"the effects have {len(self.effects):,} rows and the plan {self.table.num_rows:,}; give the effects the plan was made from."
            )
        if self.effects is not None and tuple(self.effects.arms) != tuple(self.arms):
            raise OutputError(
                f"the effects have arms {', '.join(self.effects.arms)}, the plan {', '.join(self.arms)}; give the effects it was made from."
            )
        held = self.held_out & (self.arm_codes != 0)
        if held.any():
            raise OutputError(
                f"{int(held.sum())} held-out units have an arm; the plan was changed, make it again."
            )

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @property
    def unit_column(self) -> str:
        """Name of the unit's column."""
        return str(self.table.column_names[0])

    @property
    def control(self) -> str:
        """Name of the control arm."""
        return self.arms[0]

    @property
    def holdout_share(self) -> float | None:
        """Probability with which each unit was held out, where it is known."""
        if self.known_share is not None:
            return self.known_share
        if self.policy is not None and self.policy.holdout_share is not None:
            return self.policy.holdout_share
        return 0.0 if not self.held_out.any() else None

    @property
    def stages(self) -> tuple[str, ...]:
        """Stages whose uplift is exported."""
        return () if self.effects is None else tuple(self.effects.stages)

    @cached_property
    def arm_codes(self) -> np.ndarray:
        """Index into `arms`, int16 [unit]."""
        column = self.table["arm"].unify_dictionaries().combine_chunks()
        if isinstance(column, pa.ChunkedArray):  # an empty table
            column = column.chunk(0) if column.num_chunks else pa.array([], column.type)
        if not pa.types.is_dictionary(column.type):
            column = column.dictionary_encode()
        names = [str(name) for name in column.dictionary.to_pylist()]
        unknown = [name for name in names if name not in self.arms]
        if unknown:
            raise OutputError(f"the plan has an arm {unknown[0]!r} that is not among {', '.join(self.arms)}.")
        codes = np.array([self.arms.index(name) for name in names] or [0], np.int16)
        return codes[column.indices.to_numpy(zero_copy_only=False)] if len(column) else np.zeros(0, np.int16)

    @cached_property
    def held_out(self) -> np.ndarray:
        """bool [unit]."""
        return np.asarray(column_types.flat(self.table["holdout"]).to_numpy(zero_copy_only=False), np.bool_)

    @cached_property
    def reasons(self) -> tuple[np.ndarray, tuple[str, ...]]:
        """Codes uint8 [unit] and their names."""
        if "reason" in self.table.column_names:
            column = self.table["reason"].combine_chunks().cast(pa.string()).dictionary_encode()
            if isinstance(column, pa.ChunkedArray):
                column = column.combine_chunks()
            words = [str(name).replace(" ", "_") for name in column.dictionary.to_pylist()]
            return column.indices.to_numpy(zero_copy_only=False).astype(np.uint8), tuple(words)
        names = ("selected", "holdout", "negative_uplift", "below_price", "control")
        promising = self._promising()
        if promising is None:
            codes = np.full(len(self), 4, np.uint8)
        else:
            certain = self.policy is not None and not self.policy.eligibility_given
            codes = np.where(promising, 3 if certain or self.plan_value is not None else 4, 2).astype(
                np.uint8
            )
        codes[self.held_out] = 1
        codes[self.arm_codes > 0] = 0
        return codes, names

    def _promising(self) -> np.ndarray | None:
        """Whether any open arm is expected to bring something, bool [unit]."""
        if self.plan_value is not None:
            value, _, open_arm = self.plan_value
            positive = value > 0
            return np.asarray((positive if open_arm is None else positive & open_arm).any(axis=1))
        if self.effects is not None and self.policy is not None and self.policy.stage is not None:
            stage = self.effects.stages.index(self.policy.stage)
            return np.asarray((self.effects.tau_all[:, 1:, stage] > 0).any(axis=1))
        return None

    @cached_property
    def roles(self) -> np.ndarray:
        """Index into `ROLES`, uint8 [unit]."""
        codes, names = self.reasons
        closed = np.array([name in NOT_ELIGIBLE_REASONS for name in names] or [False])[codes]
        roles = np.where(closed, 3, 1).astype(np.uint8)
        roles[self.held_out] = 2
        roles[self.arm_codes > 0] = 0
        return roles

    @cached_property
    def propensity(self) -> np.ndarray:
        """float64 [unit]; NaN where it is not known."""
        share = self.holdout_share
        chances = np.ones(len(self))
        if share == 0.0:
            return chances
        known = np.nan if share is None else 1.0 - share
        chances[self.arm_codes > 0] = known
        planned = self.planned_codes[self.held_out]
        chances[self.held_out] = (
            np.nan if share is None else np.where(planned < 0, np.nan, np.where(planned > 0, share, 1.0))
        )
        return chances

    @cached_property
    def planned_codes(self) -> np.ndarray:
        """The arm without the coin of the holdout, int16 [unit]; -1 where it is not known."""
        codes = self.arm_codes.copy()
        rows = np.flatnonzero(self.held_out)
        if len(rows):
            would = self._would_be(rows)
            codes[rows] = -1 if would is None else would
        return codes

    def _would_be(self, rows: np.ndarray) -> np.ndarray | None:
        """Arm codes that held-out units would have got at the plan's prices."""
        if self.policy is None:
            return None
        known = {name: self.segments.get(segment_column(name)) for name in self.policy.segments}
        if any(levels is None for levels in known.values()):
            return None
        labels = {
            name: levels.cast(pa.string()).take(pa.array(rows))
            for name, levels in known.items()
            if levels is not None
        }
        rule = replace(self.policy, holdout_share=0.0)
        if self.plan_value is not None:
            value, cost, open_arm = self.plan_value
            mask = None if open_arm is None else open_arm[rows]
            rule = replace(rule, eligibility_given=False, conditions=())
            return rule.decide(value[rows], cost[rows], eligible=mask, segments=labels)
        if self.effects is not None and not rule.eligibility_given and rule.stage is not None:
            return rule.decide_effects(self.effects.take(rows), columns=labels)
        return None

    @cached_property
    def decimals(self) -> dict[str, int]:
        """Decimals of the units in which the money columns are summed."""
        found = {}
        for name in ("expected_value", "expected_cost"):
            amounts = np.abs(self._numbers(name, 0, len(self)))
            if not np.isfinite(amounts).all():
                raise OutputError(f"{int((~np.isfinite(amounts)).sum())} decisions have no finite {name}.")
            found[name] = decimals_for(float(amounts.max(initial=0.0)), len(self))
        return found

    def _numbers(self, name: str, start: int, stop: int) -> np.ndarray:
        return column_types.to_float(self.table[name].slice(start, stop - start), dtype=np.float64)

    @cached_property
    def decision_ids(self) -> pa.ChunkedArray:
        """Text [unit]."""
        if "decision_id" in self.table.column_names:
            return self.table["decision_id"]
        from uplift.allocation.holdout import decision_ids

        return pa.chunked_array([decision_ids(self.table[self.unit_column], campaign=self.campaign)])

    @cached_property
    def segments(self) -> dict[str, pa.DictionaryArray]:
        """Level of every unit by column, ``segment__NAME``; null: in none."""
        return {name: _levels(self.table[name]) for name in segment_columns(self.table.column_names)}

    def blocks(self, size: int = BLOCK) -> Iterator[pa.Table]:
        """The rows, `size` at a time, all blocks of one schema."""
        for start in range(0, max(len(self), 1), size):
            yield self._block(start, min(start + size, len(self)))

    @cached_property
    def schema(self) -> pa.Schema:
        """Of every block."""
        return self._block(0, 0).schema

    def to_table(self) -> pa.Table:
        """All rows at once."""
        return pa.concat_tables(self.blocks())

    def _block(self, start: int, stop: int) -> pa.Table:
        n, rows = stop - start, slice(start, stop)
        codes, names = self.reasons
        chances = self.propensity[rows]
        data: dict[str, Any] = {
            self.unit_column: _one_chunk(self.table[self.unit_column].slice(start, n)),
            "decision_id": _one_chunk(self.decision_ids.slice(start, n)),
            "revision": pa.array(
                np.ones(n, np.int32) if self.revisions is None else self.revisions[rows], pa.int32()
            ),
            "campaign": _constant(self.campaign, n),
            "arm": _named(self.arm_codes[rows], self.arms),
            "arm_label": _named(self.arm_codes[rows], [self.labels.get(arm) or arm for arm in self.arms]),
            "role": _named(self.roles[rows], ROLES),
            "reason": _named(codes[rows], names or ("control",)),
            "holdout": pa.array(self.held_out[rows]),
            "planned_arm": _named(self.planned_codes[rows], self.arms),
            "propensity": pa.array(chances, mask=np.isnan(chances)),
            "expected_value": pa.array(self._numbers("expected_value", start, stop)),
            "expected_cost": pa.array(self._numbers("expected_cost", start, stop)),
        }
        for index, stage in enumerate(self.stages):
            assert self.effects is not None
            tau = self.effects.tau_all[rows, :, index]
            data[stage_column(stage)] = pa.array(
                np.take_along_axis(tau, self.arm_codes[rows, None].astype(np.int64), 1)[:, 0]
            )
        data |= {name: levels.slice(start, n) for name, levels in self.segments.items()}
        moment = pa.timestamp("us", tz="UTC")
        data["valid_from"] = pa.repeat(pa.scalar(self.valid_from, moment), n)
        data["valid_until"] = pa.repeat(pa.scalar(self.valid_until, moment), n)
        data |= {
            "model": _constant(self.model, n),
            "model_hash": _constant(self.model_hash, n),
            "run_id": _constant(self.run_id, n),
        }
        return pa.table(data)


def sum_of(decisions: Decisions, name: str) -> int:
    """Exact sum of a money column in multiples of ``10**-decimals[name]``: costs rounded up, values down."""
    total = 0
    for start in range(0, len(decisions), BLOCK):
        amounts = decisions._numbers(name, start, min(start + BLOCK, len(decisions)))
        total += multiples(amounts, decisions.decimals[name], up=name == "expected_cost")
    return total


def check_table(table: pa.Table, source: str = "the table") -> None:
    """Stop at tables that are no plan.

    Raises
    ------
    OutputError
        A column is missing, or the unit's column has the name of another.
    """
    missing = [name for name in NEEDED if name not in table.column_names]
    if missing:
        raise OutputError(
            f"{source} is no allocation (no column {missing[0]!r}); give the file that 'uplift allocate' or 'uplift run' wrote."
        )
    unit = table.column_names[0]
    if unit in CONTRACT or unit.startswith((UPLIFT, SEGMENT)):
        raise OutputError(
            f"the unit column is called {unit!r}, which is a column of every export; rename it."
        )


def find_control(table: pa.Table, control: str | None) -> tuple[str, ...]:
    """Arms of a plan's table, control first: as given, else as the file says, else the arm of the held-out units.

    A control that is given need not occur: a plan may treat everybody.

    Raises
    ------
    OutputError
        The control cannot be told, or the one given is no arm.
    """
    stated = (table.schema.metadata or {}).get(b"uplift.arms")
    if stated and control is None:
        return tuple(json.loads(stated))
    arm = table["arm"]
    if pa.types.is_dictionary(arm.type):  # arms that nobody gets included
        named = arm.unify_dictionaries()
        found = [str(name) for name in named.chunk(0).dictionary.to_pylist()] if named.num_chunks else []
    else:
        found = [str(name) for name in pc.unique(arm.cast(pa.string())).to_pylist()]
    if control is None:
        held = table.filter(table["holdout"].cast(pa.bool_()))
        names = [str(name) for name in pc.unique(held["arm"].cast(pa.string())).to_pylist()]
        if len(names) != 1:
            raise OutputError(
                f"the file does not say which arm is the control; name it: one of {', '.join(found)}."
            )
        control = names[0]
    elif stated:
        found = json.loads(stated)  # arms that nobody gets included
        if control not in found:
            raise OutputError(f"there is no arm {control!r} in the plan; {did_you_mean(control, found)}")
    return (control, *(name for name in found if name != control))


def short_hash(*parts: Any) -> str:
    """32 hexadecimal digits of what identifies a run: same inputs, same id."""
    text = json.dumps(parts, sort_keys=True, default=str, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _joined(column: pa.ChunkedArray) -> pa.Array:
    if column.num_chunks == 1:
        return column.chunk(0)  # combine_chunks would copy
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)


def _one_chunk(column: pa.ChunkedArray) -> pa.Array:
    whole = _joined(column)
    return whole.dictionary_decode() if pa.types.is_dictionary(whole.type) else whole


def _levels(column: pa.ChunkedArray) -> pa.DictionaryArray:
    """A segment's column as one dictionary of texts."""
    if not pa.types.is_dictionary(column.type):
        column = pa.chunked_array([as_text(column).dictionary_encode()])
    whole = _joined(column.unify_dictionaries())
    texts = whole.dictionary.cast(pa.string())
    return pa.DictionaryArray.from_arrays(whole.indices.cast(pa.int32()), texts)


def _named(codes: np.ndarray, names: Any) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(
        pa.array(codes.astype(np.int16), mask=codes < 0), pa.array(list(names), pa.string())
    )


def _constant(text: str, n: int) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(n, np.int16)), pa.array([text], pa.string()))
