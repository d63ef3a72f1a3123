"""``campaign.toml``: one file that says which data, which roles, which models and which decision.

The keys are a contract: unknown ones are errors that name the nearest valid key. Paths are relative to the
file.
"""

from __future__ import annotations

import math
import os
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, model_validator

from uplift.arms import Arm, CostRule
from uplift.campaign import Campaign
from uplift.errors import CampaignError, UpliftError, did_you_mean
from uplift.io.atomic import atomic_folder, write_json
from uplift.io.tables import read_database, read_table
from uplift.io.toml import dump_toml, toml_key

if TYPE_CHECKING:
    from uplift.campaign_stream import CampaignStream


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class CampaignSection(_Section):
    """``[campaign]``: the data and the role of its columns (see :class:`uplift.roles.Roles`)."""

    name: str = "campaign"
    data: str | list[str] | None = None
    database: str | None = None
    sql: str | None = None
    unit: str | None = None
    treatment: str
    control: str | int | float | bool
    chain: list[str] | str
    value: str | None = None
    strata: list[str] | str = []
    propensity: str | None = None
    time: str | None = None
    weight: str | None = None
    features: list[str] | None = None
    exclude: list[str] = []
    categorical: list[str] | None = None

    @model_validator(mode="after")
    def _one_source(self) -> CampaignSection:
        if (self.data is None) == (self.database is None):
            raise ValueError(
                "[campaign] needs either data = '...' (files) or database = '...' with sql = '...', not both or none"
            )
        if (self.database is None) != (self.sql is None):
            raise ValueError("[campaign] database = '...' and sql = '...' belong together")
        return self


class CostSection(_Section):
    """``cost = {...}`` of an arm (see :class:`uplift.arms.CostRule`)."""

    on: str
    amount: float | None = None
    share: float | None = None


class ArmSection(_Section):
    """``[arms.NAME]``: display name, face value, least spend, planned share of customers, cost."""

    label: str | None = None
    amount: float | None = None
    threshold: float | None = None
    share: float | None = None
    cost: CostSection | None = None

    def arm(self, name: str) -> Arm:
        """As an :class:`uplift.arms.Arm`."""
        cost = None if self.cost is None else CostRule(**self.cost.model_dump())
        return Arm(
            name=name,
            label=self.label,
            amount=self.amount,
            threshold=self.threshold,
            share=self.share,
            cost=cost,
        )


class SplitSection(_Section):
    """``[split]``: what is held back for testing."""

    test: float = Field(0.3, gt=0, lt=1)
    by: Literal["unit", "time"] = "unit"
    seed: int = 0


class DecideSection(_Section):
    """``[decide]``: who gets what, for how much money, and under which constraints.

    Every ``[[decide.constraint]]`` is one constraint in its plain form (see :mod:`uplift.allocation.constraints`):
    ``kind = "budget" | "stock" | "cap" | "max_share" | "min_reach" | "min_roi"`` with ``limit`` and, as needed, ``segment``
    (a column of the campaign), ``level``, ``arm`` and ``name``; ``kind = "eligible"`` with ``when`` and ``arm``;
    ``kind = "do_not_disturb"``. ``recalibrate = true`` pulls the chosen model's effects in to the size that a split of the
    training rows supports (:func:`uplift.recalibration`) before they decide. ``min_roi``, ``caution``, ``exactly_one``, ``method``, ``time_limit`` and ``device``
    are those of :func:`uplift.allocate`.
    """

    model: str = "auto"
    stage: str | None = None
    margin: float | None = None
    budget: float
    holdout: float = Field(0.0, ge=0, lt=1)
    score: str | list[str] | None = None
    constraint: list[dict[str, Any]] = []
    min_roi: float | None = Field(None, ge=0, allow_inf_nan=False)
    caution: float = Field(0.0, ge=0, allow_inf_nan=False)
    exactly_one: bool = False
    recalibrate: bool = False
    method: Literal["auto", "one_budget", "dual", "exact"] = "auto"
    time_limit: float = Field(10.0, gt=0)
    device: str = "cpu"

    def allocation_options(self) -> dict[str, Any]:
        """Keywords of :func:`uplift.allocate` besides budget, margin, stage and holdout."""
        return {
            "constraints": list(self.constraint), "min_roi": self.min_roi, "caution": self.caution,
            "exactly_one": self.exactly_one, "method": self.method, "time_limit": self.time_limit,
            "device": self.device,
        }  # fmt: skip

    def constraint_columns(self) -> list[str]:
        """Columns of the campaign that the constraints read, sorted."""
        if not self.constraint:
            return []
        from uplift.allocation.constraints import as_rules, column_names

        return sorted(column_names(as_rules(self.constraint)))

    @model_validator(mode="after")
    def _constraints(self) -> DecideSection:
        if self.constraint:
            from uplift.allocation.constraints import as_rules, column_names

            try:
                column_names(as_rules(self.constraint))
            except UpliftError as error:
                raise ValueError(f"[[decide.constraint]]: {str(error).removesuffix('.')}") from error
        return self

    @model_validator(mode="after")
    def _device(self) -> DecideSection:
        from uplift.allocation.device import check_device

        try:
            check_device(self.device)
        except UpliftError as error:
            raise ValueError(f"[decide] device: {str(error).removesuffix('.')}") from error
        return self

    @model_validator(mode="after")
    def _money(self) -> DecideSection:
        if math.isnan(self.budget) or self.budget < 0:
            raise ValueError(f"[decide] budget is {self.budget}; it must be a number >= 0 (inf for no limit)")
        if self.margin is not None and not (math.isfinite(self.margin) and self.margin > 0):
            raise ValueError(f"[decide] margin is {self.margin}; it must be a finite amount of money > 0")
        return self


class ReportSection(_Section):
    """``[report]``: what of the report takes time.

    `drivers` asks for the importance of the features and the effect by feature (bounded, up to a minute or two with a slow
    model), `shap` for SHAP values of a surrogate.
    """

    drivers: bool = True
    shap: bool = False


class CampaignFile(_Section):
    """A whole ``campaign.toml``.

    Attributes
    ----------
    models : dict of str to dict
        ``[models]``: parameters of every model.
    tune : dict of str to dict
        ``[tune.MODEL]``: what ``uplift tune`` searches in place of the default ranges, for example
        ``num_leaves = { low = 4, high = 64, log = true }``, a list of choices, or one value
        (:func:`uplift.tuning.space.search_space`).

    Examples
    --------
    >>> text = '''
    ... [campaign]
    ... data = "log.parquet"
    ... treatment = "coupon"
    ... control = "none"
    ... chain = ["click", "conversion"]
    ... '''
    >>> CampaignFile.parse(text).split.test
    0.3
    """

    campaign: CampaignSection
    arms: dict[str, ArmSection] = {}
    split: SplitSection = SplitSection()
    models: dict[str, dict[str, Any]] = {}
    decide: DecideSection | None = None
    report: ReportSection = ReportSection()
    tune: dict[str, dict[str, Any]] = {}
    _folder: Path = PrivateAttr(default=Path())

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> CampaignFile:
        """Read and validate a file.

        Parameters
        ----------
        path : path

        Raises
        ------
        CampaignError
            There is no such file, it is not TOML, or a key is unknown or of the wrong type.
        """
        path = Path(path).expanduser()
        return cls.parse(_text(path, "campaign file"), folder=path.parent, source=str(path))

    @classmethod
    def parse(
        cls, text: str, *, folder: str | os.PathLike[str] = ".", source: str = "the campaign file"
    ) -> CampaignFile:
        """Validate the text of a campaign file; data paths are relative to `folder`.

        Parameters
        ----------
        text : str
            TOML.
        folder : path
        source : str
            What error messages call it.
        """
        content = _toml(text, source)
        try:
            parsed = cls.model_validate(content)
        except ValidationError as error:
            raise CampaignError(f"{source}: {_sentence(error)}") from error
        parsed._folder = Path(folder)
        return parsed

    @property
    def folder(self) -> Path:
        """Folder that data paths are relative to."""
        return self._folder

    def load(self) -> Campaign:
        """Read the data and build the campaign.

        Raises
        ------
        CampaignError
            The data are missing or do not fit their roles.
        """
        section = self.campaign
        if section.data is not None:
            names = tuple(name for name in (section.unit, section.treatment) if name is not None)
            table = read_table(self.resolve(section.data), text=names)
        else:
            table = read_database(self._database_url(), section.sql or "", folder=self._folder)
        roles = section.model_dump(exclude={"data", "database", "sql"})
        arms = {name: arm.arm(name) for name, arm in self.arms.items()}
        return Campaign.from_table(table, arms=arms, **roles)

    def stream(self, *, block_rows: int | None = None) -> CampaignStream:
        """Open the data as a campaign that stays on disk.

        Parameters
        ----------
        block_rows : int, optional
            Rows per block.

        Raises
        ------
        CampaignError
            The data come from a database, are not Parquet or Arrow files, or do not fit their roles.
        """
        from uplift.campaign_stream import CampaignStream
        from uplift.io.blocks import BLOCK_ROWS

        section = self.campaign
        if section.data is None:
            raise CampaignError(
                "a query of a database cannot be streamed; write its result to Parquet files and name them as data = '...'."
            )
        roles = section.model_dump(exclude={"data", "database", "sql"})
        arms = {name: arm.arm(name) for name, arm in self.arms.items()}
        source = self.resolve(section.data)
        return CampaignStream.from_parquet(source, block_rows=block_rows or BLOCK_ROWS, arms=arms, **roles)

    def with_params(self, path: str | os.PathLike[str]) -> CampaignFile:
        """The same with the ``[models]`` of another file, such as ``best.toml`` of ``uplift tune``, in place of its own.

        Models that the other file does not name stay as they are, the default ones included where this file names none.

        Parameters
        ----------
        path : path
            A TOML file.

        Raises
        ------
        CampaignError
            The file cannot be read, or has no ``[models]``.
        """
        from uplift.models.registry import DEFAULT_MODELS

        models = self.models or {name: {} for name in DEFAULT_MODELS}
        return self.model_copy(update={"models": {**models, **read_tables(path, "models")}})

    def resolve(self, source: str | list[str]) -> str | list[str]:
        """Paths as seen from the campaign file's folder.

        Parameters
        ----------
        source : str or list of str
            Paths, relative to the file or absolute.
        """
        if isinstance(source, list):
            return [str(self.resolve(part)) for part in source]
        return str(self._folder / Path(source).expanduser())

    def check_decision(self, campaign: Campaign) -> None:
        """Refuse before any model is fitted what the allocation could not do afterwards.

        Parameters
        ----------
        campaign : Campaign
            What would be allocated.

        Raises
        ------
        UpliftError
            Unknown stage, no margin for a binary stage, or an arm without a cost.
        """
        if self.decide is None:
            return
        stage = (
            campaign.stages[campaign.stage_index(self.decide.stage)]
            if self.decide.stage
            else campaign.chain[-1]
        )
        if stage in campaign.chain and self.decide.margin is None:
            raise CampaignError(
                f"[decide] needs margin = ... (money per {stage}) to weigh {stage!r} against costs; or decide on stage = 'value'."
            )
        for name in self.decide.constraint_columns():
            if name not in campaign.table.column_names:
                raise CampaignError(
                    f"a [[decide.constraint]] reads the column {name!r}, which the data do not have; {did_you_mean(name, campaign.table.column_names)}"
                )
        missing = [name for name in campaign.arm_names[1:] if name not in campaign.costs]
        if missing:
            raise UpliftError(
                f'arm {missing[0]!r} has no cost ({len(missing)} of {len(campaign.arms) - 1} arms); add for example [arms.{toml_key(missing[0])}] cost = {{ on = "{campaign.chain[-1]}", amount = 5.0 }}.'
            )

    def _database_url(self) -> str:
        database = self.campaign.database or ""
        for prefix in ("duckdb:///", "sqlite:///"):
            rest = database.removeprefix(prefix)
            if database.startswith(prefix) and rest and not rest.startswith("/"):
                return prefix + str((self._folder / rest).resolve())
        return database


def read_tables(path: str | os.PathLike[str], section: str) -> dict[str, dict[str, Any]]:
    """The tables of one section of a TOML file, by name: ``[models]`` of a tuning result, for example.

    Raises
    ------
    CampaignError
        The file cannot be read, is not TOML, or has no such section of tables.
    """
    path = Path(path).expanduser()
    content = _toml(_text(path, "file"), str(path)).get(section)
    if not isinstance(content, dict) or not content:
        raise CampaignError(f"{path} has no table [{section}.NAME]; give a file that has one.")
    for name, entries in content.items():
        if not isinstance(entries, dict):
            raise CampaignError(f"{path}: [{section}] {name} is {entries!r}, not a table of parameters.")
    return content


def _text(path: Path, what: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise CampaignError(f"there is no {what} {str(path)!r}; check the path.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise CampaignError(f"the {what} {str(path)!r} cannot be read ({error}).") from error


def _toml(text: str, source: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise CampaignError(f"{source} is not valid TOML: {error}.") from error


def write_campaign_folder(
    campaign: Campaign, folder: str | os.PathLike[str], *, overwrite: bool = False
) -> Path:
    """Write ``campaign.parquet`` and a ``campaign.toml`` that describes it, ready for ``uplift run``.

    Only the columns with a part to play are written. There is no ``[decide]`` section: what the money is worth
    is for the reader to add.

    Parameters
    ----------
    campaign : Campaign
    folder : path
        Made when missing.
    overwrite : bool
        Replace what an earlier call wrote.

    Returns
    -------
    Path
        The campaign file.

    Examples
    --------
    >>> import pathlib, tempfile, uplift
    >>> campaign = uplift.simulate(rows=1_000, arms=1, chain=("buy",), seed=0).campaign()
    >>> write_campaign_folder(campaign, pathlib.Path(tempfile.mkdtemp()) / "spring").name
    'campaign.toml'
    """
    import pyarrow.parquet as pq

    r = campaign.roles
    used = [name for name in campaign.table.column_names if name in r.used(campaign.feature_names)]
    roles = {
        "name": campaign.name, "data": "campaign.parquet", "unit": r.unit, "treatment": r.treatment, "control": r.control,
        "chain": list(r.chain), "value": r.value, "strata": list(r.strata) or None, "propensity": r.propensity,
        "time": r.time, "weight": r.weight, "features": list(campaign.feature_names),
        "categorical": list(campaign.categorical_features) or None,
    }  # fmt: skip
    arms = {
        arm.name: {
            "label": arm.label, "amount": arm.amount, "threshold": arm.threshold, "share": arm.share,
            "cost": None if arm.cost is None else {key: value for key, value in vars(arm.cost).items() if value is not None},
        }
        for arm in campaign.arms
        if any(x is not None for x in (arm.label, arm.amount, arm.threshold, arm.share, arm.cost))
    }  # fmt: skip
    with atomic_folder(folder, overwrite=overwrite) as staged:
        pq.write_table(campaign.table.select(used), staged / "campaign.parquet", compression="zstd")
        text = dump_toml({"campaign": roles, "arms": arms, "split": {"test": 0.3, "by": "unit", "seed": 0}})
        (staged / "campaign.toml").write_text(text, encoding="utf-8")
        write_json(
            staged / "manifest.json", {"campaign": campaign.summary(), "fingerprint": campaign.fingerprint()}
        )
    return Path(folder) / "campaign.toml"


def _sentence(error: ValidationError) -> str:
    """The first problem of a validation as one sentence a person can act on."""
    # A mistyped key shows up twice, as unknown and as missing: the unknown one is the one to mend.
    first = min(error.errors(), key=lambda problem: problem["type"] != "extra_forbidden")
    location = [
        str(part) for part in first["loc"] if not str(part).startswith(("function-", "list[", "constrained-"))
    ]
    if first["type"] == "extra_forbidden":
        *path, key = location
        return f"unknown key {key!r} in {_section(path)}; {did_you_mean(key, _valid_keys(path))}"
    if first["type"] == "missing":
        *path, key = location
        return f"{_section(path)} lacks the key {key!r}; add it."
    if first["type"] == "value_error":
        said = str(first["msg"]).removeprefix("Value error, ")
        return said if said.endswith("?") else said + "."
    *path, key = location
    given = first.get("input")
    if first["type"] == "list_type" and isinstance(given, dict):
        name = ".".join([*path, key])
        return f"[{name}] is one table; write [[{name}]], with two brackets on each side, once for each."
    return f"{_section(path)} {key} = {given!r} is not valid: {str(first['msg'])[0].lower()}{str(first['msg'])[1:]}."


def _section(path: list[str]) -> str:
    return f"[{'.'.join(path)}]" if path else "the file"


def _valid_keys(path: list[str]) -> list[str]:
    sections: dict[tuple[str, ...], type[BaseModel]] = {
        (): CampaignFile, ("campaign",): CampaignSection, ("split",): SplitSection, ("decide",): DecideSection,
        ("report",): ReportSection,
    }  # fmt: skip
    if path[:1] == ["arms"]:
        model: type[BaseModel] = CostSection if path[-1] == "cost" and len(path) == 3 else ArmSection
    else:
        model = sections.get(tuple(path), CampaignFile)
    return list(model.model_fields)
