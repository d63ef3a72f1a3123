"""Campaign: a table plus the roles of its columns. The first noun of the package; everything starts here."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from uplift import columns, splitting
from uplift.arm_discovery import arm_text, declare_arms, described_arms, find_arms
from uplift.arms import Arm
from uplift.campaign_shape import CampaignShape
from uplift.errors import CampaignError, did_you_mean
from uplift.io.tables import Source, from_pandas, join_names, read_database, read_table
from uplift.roles import Roles, check_names, text_columns

if TYPE_CHECKING:
    import pandas as pd

    from uplift.checks import CheckReport


@dataclass(frozen=True, eq=False)
class Campaign(CampaignShape):
    """A randomised campaign: one row per assignment, with roles, arms and outcomes.

    Use the constructors: :meth:`from_frame`, :meth:`from_table`, :meth:`from_parquet`, :meth:`from_csv`,
    :meth:`from_database` or :meth:`from_file` (a ``campaign.toml``). A campaign never changes; :meth:`split`
    and :meth:`take` return new ones that share its arms.

    Attributes
    ----------
    table : pyarrow.Table
        The rows, all columns.
    roles : Roles
        The part each column plays.
    arms : tuple of Arm
        Control first, then by name in natural order.
    name : str
        Name of the campaign; ends up in every export.
    row_numbers : ndarray of int64 [row]
        Row numbers in the source table; the unit ids when there is no unit column.

    Examples
    --------
    >>> import pandas as pd
    >>> frame = pd.DataFrame({"coupon": ["none", "five"] * 2, "buy": [0, 1, 1, 0], "age": [30, 41, 25, 60]})
    >>> campaign = Campaign.from_frame(frame, treatment="coupon", control="none", chain=["buy"])
    >>> campaign.arm_names, campaign.stages, campaign.feature_names
    (('none', 'five'), ('buy',), ('age',))
    """

    table: pa.Table
    roles: Roles
    arms: tuple[Arm, ...]
    name: str = "campaign"
    row_numbers: np.ndarray = field(repr=False, default_factory=lambda: np.zeros(0, np.int64))

    # ---------------------------------------------------------------- constructors

    @classmethod
    def from_table(
        cls,
        table: pa.Table,
        *,
        treatment: str,
        control: str | int | float | bool,
        chain: Sequence[str] | str,
        unit: str | None = None,
        value: str | None = None,
        propensity: str | None = None,
        strata: Sequence[str] | str = (),
        time: str | None = None,
        weight: str | None = None,
        features: Sequence[str] | None = None,
        exclude: Sequence[str] = (),
        categorical: Sequence[str] | None = None,
        arms: Mapping[str, Arm | Mapping[str, Any]] | None = None,
        name: str = "campaign",
    ) -> Campaign:
        """Build a campaign from an Arrow table and validate it. See :class:`Roles` for the parameters.

        Parameters
        ----------
        table : pyarrow.Table
        treatment, control, chain, unit, value, propensity, strata, time, weight, features, exclude, categorical
            Column names (the control: a value of the treatment column) by role, as in :class:`Roles`.
        name : str
            Name of the campaign.
        arms : mapping of arm name to Arm or dict, optional
            Label, amount, threshold and cost of some or all arms, for example
            ``{"coupon_5": {"amount": 5.0, "threshold": 30.0, "cost": {"on": "conversion", "amount": 5.0}}}``.

        Raises
        ------
        CampaignError
            A column is missing, plays two parts, or holds values its role does not allow; the control or a
            declared arm has no rows; the table is empty.
        """
        roles = Roles.of(
            treatment=treatment,
            control=arm_text(control),
            chain=chain,
            unit=unit,
            value=value,
            propensity=propensity,
            strata=strata,
            time=time,
            weight=weight,
            features=features,
            exclude=exclude,
            categorical=categorical,
        )
        check_names(table.column_names, roles)
        if table.num_rows == 0:
            raise CampaignError("the campaign has no rows; check the file or the query.")
        found = find_arms(table[treatment], roles)
        campaign = cls(table, roles, declare_arms(found, roles, arms or {}), name, np.arange(table.num_rows))
        campaign.check_rows()
        campaign.check_costs()
        return campaign

    @classmethod
    def from_frame(cls, frame: pd.DataFrame, **roles: Any) -> Campaign:
        """Build a campaign from a pandas frame; keywords as in :meth:`from_table`. The index is ignored.

        Parameters
        ----------
        frame : pandas.DataFrame
        """
        return cls.from_table(from_pandas(frame), **roles)

    @classmethod
    def from_parquet(cls, source: Source, **roles: Any) -> Campaign:
        """Build a campaign from Parquet: a file, a glob, a folder or a list of files.

        Parameters
        ----------
        source : path, or list of paths
        **roles
            Keywords of :meth:`from_table`.
        """
        return cls.from_table(read_table(source, text=text_columns(roles)), **roles)

    @classmethod
    def from_csv(cls, source: Source, **roles: Any) -> Campaign:
        """Build a campaign from CSV (or TSV, also gzipped): a file, a glob, a folder or a list of files.

        Ids and arms are read as text, so that ``007`` stays ``007`` and an arm may be called ``None``.

        Parameters
        ----------
        source : path, or list of paths
        **roles
            Keywords of :meth:`from_table`.
        """
        return cls.from_table(read_table(source, text=text_columns(roles)), **roles)

    @classmethod
    def from_database(cls, database: str, sql: str, **roles: Any) -> Campaign:
        """Build a campaign from a query; `database` is ``duckdb:///file.duckdb`` or an SQLAlchemy URL.

        Parameters
        ----------
        database : str
            URL.
        sql : str
            One query; its columns are those of the campaign.
        **roles
            Keywords of :meth:`from_table`.
        """
        return cls.from_table(read_database(database, sql), **roles)

    @classmethod
    def from_duckdb(
        cls, sql: str, *, database: str | os.PathLike[str] | None = None, **roles: Any
    ) -> Campaign:
        """Build a campaign from a DuckDB query; without `database` the query may read files itself.

        Parameters
        ----------
        sql : str
            One query.
        database : path, optional
            A DuckDB file.
        **roles
            Keywords of :meth:`from_table`.
        """
        url = "duckdb://" if database is None else f"duckdb:///{os.fspath(database)}"
        return cls.from_table(read_database(url, sql), **roles)

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Campaign:
        """Build a campaign from a ``campaign.toml``; data paths in it are relative to the file.

        Parameters
        ----------
        path : path
            The campaign file.
        """
        from uplift.campaign_file import CampaignFile

        return CampaignFile.read(path).load()

    # ---------------------------------------------------------------- what it is

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return int(self.table.num_rows)

    @property
    def has_outcomes(self) -> bool:
        """False for an audience that is only to be scored."""
        return self.roles.treatment in self.table.column_names and all(
            s in self.table.column_names for s in self.chain
        )

    # ---------------------------------------------------------------- arrays

    @cached_property
    def arm_codes(self) -> np.ndarray:
        """Arm each row received, int16 [row]; 0 is control.

        Raises
        ------
        CampaignError
            The campaign is an audience without a treatment column, or holds an arm that is not known.
        """
        self._need(self.roles.treatment, "treatment")
        encoded = columns.labels(self.table[self.roles.treatment])
        words = encoded.dictionary.to_pylist()
        position = {name: index for index, name in enumerate(self.arm_names)}
        lookup = np.array([position.get(word, -1) for word in words] or [-1], np.int16)
        codes = (
            lookup[encoded.indices.to_numpy(zero_copy_only=False)] if len(encoded) else np.zeros(0, np.int16)
        )
        if (codes < 0).any():
            unknown = sorted({words[i] for i in np.unique(encoded.indices.to_numpy()[codes < 0])})
            raise CampaignError(
                f"treatment column {self.roles.treatment!r} holds the unknown arm {unknown[0]!r} in {int((codes < 0).sum()):,} rows; "
                + did_you_mean(unknown[0], self.arm_names)
            )
        return _frozen(codes)

    @cached_property
    def outcomes(self) -> np.ndarray:
        """Outcomes, float32 [row, stage] in the order of :attr:`stages`."""
        parts = []
        for stage in self.chain:
            self._need(stage, "stage")
            parts.append(columns.binary_outcome(self.table[stage], stage))
        if self.roles.value is not None:
            self._need(self.roles.value, "value")
            parts.append(
                columns.finite(self.table[self.roles.value], self.roles.value, "value").astype(np.float32)
            )
        return _frozen(np.stack(parts, axis=1))

    def outcome(self, stage: str) -> np.ndarray:
        """Outcome of one stage, float32 [row]; ``"value"`` for the value."""
        return self.outcomes[:, self.stage_index(stage)]

    @cached_property
    def unit_ids(self) -> pa.Array:
        """Unit id of every row: the unit column, or row numbers of the source table."""
        if self.roles.unit is None:
            return pa.array(self.row_numbers)
        ids = columns.flat(self.table[self.roles.unit])
        return ids.dictionary_decode() if pa.types.is_dictionary(ids.type) else ids

    @cached_property
    def unit_codes(self) -> np.ndarray:
        """Dense code of the unit of every row, int64 [row], in order of first appearance."""
        if self.roles.unit is None:
            return _frozen(np.arange(self.n_rows))
        return _frozen(
            columns.labels(self.table[self.roles.unit])
            .indices.to_numpy(zero_copy_only=False)
            .astype(np.int64)
        )

    @cached_property
    def n_units(self) -> int:
        """Number of distinct units."""
        return int(np.unique(self.unit_codes).size) if self.roles.unit else self.n_rows

    @property
    def units_repeat(self) -> bool:
        """Whether some unit has more than one row."""
        return self.n_units < self.n_rows

    @cached_property
    def propensity(self) -> np.ndarray | None:
        """Probability of the arm each row received, float64 [row], or None."""
        return self._optional_positive(self.roles.propensity, "propensity", upper=1.0)

    @cached_property
    def weights(self) -> np.ndarray | None:
        """Sampling weight of each row, float64 [row], or None."""
        return self._optional_positive(self.roles.weight, "weight")

    @cached_property
    def stratum_codes(self) -> np.ndarray | None:
        """Stratum of each row, int32 [row], or None; a missing value is a stratum of its own."""
        if not self.roles.strata or any(name not in self.table.column_names for name in self.roles.strata):
            return None
        code = np.zeros(self.n_rows, np.int64)
        for name in self.roles.strata:
            part = columns.labels(self.table[name]).indices.fill_null(-1).to_numpy(zero_copy_only=False) + 1
            code = np.unique(code * (int(part.max(initial=0)) + 1) + part, return_inverse=True)[1]
        return _frozen(code.astype(np.int32))

    @cached_property
    def times(self) -> np.ndarray | None:
        """Time of each row as days since 1970 (or the number itself), float64 [row], or None."""
        if self.roles.time is None or self.roles.time not in self.table.column_names:
            return None
        column = self.table[self.roles.time]
        if not columns.is_numeric(column):
            raise CampaignError(
                f"time column {self.roles.time!r} holds {column.type}; make it a date, a timestamp or a number."
            )
        times = columns.to_float(column, dtype=np.float64)
        if np.isinf(times).any():
            raise CampaignError(
                f"time column {self.roles.time!r} has {int(np.isinf(times).sum()):,} infinite values; correct them or drop these rows."
            )
        if np.isnan(times).any():
            raise CampaignError(
                f"time column {self.roles.time!r} has {int(np.isnan(times).sum()):,} missing values; fill them in or drop these rows."
            )
        return _frozen(times)

    @cached_property
    def feature_names(self) -> tuple[str, ...]:
        """Columns to learn from, in table order (or as listed)."""
        return self.roles.feature_names(self.table.column_names)

    @cached_property
    def categorical_features(self) -> tuple[str, ...]:
        """Features treated as categories."""
        # Strata are groups, not quantities: a number would be read as a trend across regions.
        named = {*(self.roles.categorical or ()), *self.roles.strata}
        return tuple(
            name for name in self.feature_names if name in named or columns.is_text(self.table[name])
        )

    @property
    def numeric_features(self) -> tuple[str, ...]:
        """Features treated as numbers (booleans and dates included)."""
        categorical = set(self.categorical_features)
        return tuple(name for name in self.feature_names if name not in categorical)

    # ---------------------------------------------------------------- verbs

    def take(self, indices: np.ndarray) -> Campaign:
        """Rows at `indices` (integers, or a boolean mask [row]) as a campaign with the same arms."""
        indices = np.asarray(indices)
        if indices.dtype == bool:
            indices = np.flatnonzero(indices)
        table = (
            self.table
            if len(indices) == self.n_rows and _is_range(indices)
            else self.table.take(pa.array(indices))
        )
        return replace(self, table=table, row_numbers=self.row_numbers[indices])

    def split(self, *, test: float = 0.3, seed: int = 0, by: str = "unit") -> tuple[Campaign, Campaign]:
        """Two campaigns, (train, test), such that no unit has rows in both.

        Parameters
        ----------
        test : float
            Share of units (``by="unit"``) or the latest share of rows (``by="time"``) that become the test
            part, in (0, 1).
        seed : int
            Salt of the hash of the unit id; another seed, another split. Ignored by ``"time"``.
        by : {"unit", "time"}
            ``"time"``: a unit is in the test part when its *first* row is, with all its rows; rows of earlier
            units that fall into the test period are in neither part.

        Raises
        ------
        CampaignError
            `test` out of range, no time column, or a part would be empty.
        """
        mask = splitting.held_out_mask(self, test=test, seed=seed, by=by)
        return self.take(splitting.train_mask(self, mask, by=by)), self.take(mask)

    def audience(
        self,
        source: Source | pa.Table | pd.DataFrame,
        *,
        arms: Mapping[str, Arm | Mapping[str, Any]] | None = None,
    ) -> Campaign:
        """Other customers to be scored with this campaign's roles; they need no treatment and no outcomes.

        Parameters
        ----------
        source : pandas.DataFrame, pyarrow.Table, or files
            The customers.
        arms : mapping of arm name to Arm or dict, optional
            The treated arms to be scored in place of this campaign's, for example
            ``{"coupon_5": {"amount": 5.0}, "coupon_7": {"amount": 7.0}}``; control stays. An arm that was not
            sent in the campaign can be scored by a model that knows arms by their amounts.

        Raises
        ------
        CampaignError
            A feature or the unit column is missing, the audience is empty, or `arms` names the control or none.
        """
        table = (
            source
            if isinstance(source, pa.Table)
            else from_pandas(source)
            if hasattr(source, "iloc")
            else read_table(source, text=(self.roles.unit,) if self.roles.unit else ())
        )
        wanted = self.feature_names + ((self.roles.unit,) if self.roles.unit else ())
        # An audience is scored, not evaluated: treatment and outcomes it may hold are left alone.
        optional = (*self.roles.strata, *((self.roles.time,) if self.roles.time else ()))
        missing = [name for name in wanted if name not in table.column_names]
        if missing:
            raise CampaignError(
                f"the audience has no column {join_names(missing)}, which the campaign uses; add it."
            )
        if table.num_rows == 0:
            raise CampaignError("the audience has no rows; check the file or the query.")
        # Categories are fixed here, so that text in the campaign and codes in the audience are read alike.
        roles = replace(self.roles, features=self.feature_names, categorical=self.categorical_features)
        table = table.select(
            [*dict.fromkeys(name for name in table.column_names if name in {*wanted, *optional})]
        )
        audience = replace(
            self,
            table=table,
            roles=roles,
            row_numbers=np.arange(table.num_rows),
            arms=self.arms if arms is None else (self.arms[0], *described_arms(arms, roles)),
        )
        audience.check_costs()
        audience._check_units()
        audience._check_features()
        for name in set(self.numeric_features) - set(audience.numeric_features):
            raise CampaignError(
                f"feature {name!r} is numeric in the campaign and {table[name].type} in the audience; convert it."
            )
        return audience

    def check(self, **options: Any) -> CheckReport:
        """Is this experiment fit to learn from? See :func:`uplift.checks.check`."""
        from uplift.checks import check

        return check(self, **options)

    def fingerprint(self) -> str:
        """SHA-256 of the columns in use, whatever files they came from."""
        from uplift.io.fingerprint import table_fingerprint

        used = [name for name in self.table.column_names if name in self.roles.used(self.feature_names)]
        return table_fingerprint(self.table.select(used))

    def summary(self) -> dict[str, Any]:
        """Names, sizes and arm counts, as plain JSON types."""
        result: dict[str, Any] = {
            "name": self.name,
            "rows": self.n_rows,
            "units": self.n_units,
            "unit": self.roles.unit,
            "control": self.control,
            "chain": list(self.chain),
            "value": self.roles.value,
            "features": list(self.feature_names),
            "categorical": list(self.categorical_features),
        }
        if self.has_outcomes:
            counts = np.bincount(self.arm_codes, minlength=len(self.arms))
            result["arms"] = {arm.name: int(count) for arm, count in zip(self.arms, counts, strict=True)}
        return result

    def _repr_html_(self) -> str:
        from uplift.reporting.notebook import campaign_html

        return campaign_html(self)

    def __repr__(self) -> str:
        arms = " | ".join(self.arm_names[:8]) + (" | ..." if len(self.arms) > 8 else "")
        return f"Campaign({self.name!r}: {self.n_rows:,} rows, arms {arms}, chain {' -> '.join(self.stages)}, {len(self.feature_names)} features)"

    # ---------------------------------------------------------------- validation

    def check_rows(self) -> None:
        """Touch every role once, so that bad input is refused at the door (the constructors do it).

        Raises
        ------
        CampaignError
            A column holds values that its role does not allow.
        """
        self._check_units()
        if self.has_outcomes:
            _ = (self.arm_codes, self.outcomes, self.propensity, self.weights, self.stratum_codes, self.times)
        self._check_features()
        self.check_costs()

    def _check_units(self) -> None:
        if self.roles.unit is None:
            return
        column = self.table[self.roles.unit]
        if column.null_count:
            raise CampaignError(
                f"unit column {self.roles.unit!r} has {column.null_count:,} missing ids; fill them in or drop these rows."
            )
        kind = columns.value_type(column)
        if pa.types.is_nested(kind):
            raise CampaignError(
                f"unit column {self.roles.unit!r} holds {column.type}; it must be numbers or text."
            )
        if pa.types.is_binary(kind) or pa.types.is_fixed_size_binary(kind) or pa.types.is_large_binary(kind):
            raise CampaignError(
                f"unit column {self.roles.unit!r} holds {column.type}; write the ids as text."
            )
        if pa.types.is_floating(kind) and not pc.all(columns.whole(column)).as_py():
            raise CampaignError(
                f"unit column {self.roles.unit!r} holds fractions, infinite or very large numbers; ids must be whole numbers or text."
            )

    def _check_features(self) -> None:
        for name in self.feature_names:
            column = self.table[name]
            if not (columns.is_numeric(column) or columns.is_text(column)):
                raise CampaignError(
                    f"feature {name!r} holds {column.type}, which no model can use; list it under exclude."
                )
            count = columns.infinite_count(column)
            if count:
                raise CampaignError(
                    f"feature {name!r} has {count:,} infinite values of {self.n_rows:,}; make them missing or cap them."
                )

    def _optional_positive(self, column: str | None, role: str, upper: float = np.inf) -> np.ndarray | None:
        if column is None or column not in self.table.column_names:
            return None
        values = columns.finite(self.table[column], column, role)
        wrong = (values <= 0) | (values > upper)
        if wrong.any():
            bounds = "in (0, 1]" if upper == 1.0 else "positive"
            raise CampaignError(
                f"{role} column {column!r} must be {bounds}, but {int(wrong.sum()):,} rows are not, such as {values[wrong][0]:g}."
            )
        return _frozen(values)

    def _need(self, column: str, role: str) -> None:
        if column not in self.table.column_names:
            raise CampaignError(
                f"this audience has no {role} column {column!r}: it can be scored, not evaluated."
            )


def _frozen(array: np.ndarray) -> np.ndarray:
    array = np.ascontiguousarray(array)
    array.setflags(write=False)
    return array


def _is_range(indices: np.ndarray) -> bool:
    return bool((indices == np.arange(len(indices))).all())
