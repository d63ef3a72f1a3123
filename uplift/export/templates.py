"""Templates: the columns that a system wants to import, as TOML files; some come with the package.

    name = "my-crm"
    description = "What it is for"
    documentation = ["https://..."]
    format = "csv"                 # csv, jsonl or parquet
    rows = "treatment"             # or "all"
    holdouts = "suppression"       # or "none": a second file with the held-out units, NAME.suppression.ENDING
    timestamp = "%Y-%m-%dT%H:%M:%SZ"
    decimals = 2                   # optional, of fractional numbers
    booleans = ["false", "true"]   # optional

    [[columns]]
    name = "external_id"
    from = "unit"                  # a column of the contract, "unit" for the unit's, or "contact.COLUMN"

    [[columns]]
    name = "source"
    value = "uplift"               # the same in every row

The first column identifies the unit; it is the only one in the suppression file. A column may have
``transform = "sha256"``: text without surrounding blanks, in lower case, as the hexadecimal SHA-256 digest.
"""

from __future__ import annotations

import hashlib
import os
import tomllib
from collections.abc import Iterable, Iterator
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from uplift.errors import OutputError, did_you_mean, first_line
from uplift.export.decisions import UPLIFT, Decisions
from uplift.export.formats import Style
from uplift.hashing import as_text
from uplift.segments import SEGMENT, segment_columns

_CONTACT = "contact."
_UNIT = "unit"
_SIMPLE = (
    _UNIT, "decision_id", "revision", "campaign", "arm", "arm_label", "role", "reason", "holdout", "planned_arm", "propensity",
    "expected_value", "expected_cost", "valid_from", "valid_until", "model", "model_hash", "run_id",
)  # fmt: skip
_PREFIXES = (_CONTACT, UPLIFT, SEGMENT)


class Column(BaseModel):
    """One column of a template."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    name: str = Field(min_length=1)
    source: str | None = Field(None, alias="from")
    value: str | int | float | bool | None = None
    transform: Literal["sha256"] | None = None

    @model_validator(mode="after")
    def _one(self) -> Column:
        if (self.source is None) == (self.value is None):
            raise ValueError(
                f"the column {self.name!r} needs either from = '...' or value = ..., not both or none"
            )
        known = self.source is None or self.source in _SIMPLE or self.source.startswith(_PREFIXES)
        if not known:
            raise ValueError(
                f"there is no column {self.source!r} to export; {did_you_mean(str(self.source), _SIMPLE)}"
            )
        if self.transform is not None and self.source is None:
            raise ValueError(f"the column {self.name!r} is constant and takes no transform")
        return self


class Template(BaseModel):
    """Columns, rows and formats of one system that imports files.

    Parameters
    ----------
    name, description : str
    documentation : list of str
        Where the system describes its format.
    follows : str
        Which version of that description.
    format : {"csv", "jsonl", "parquet"}
    rows : {"treatment", "all"}
        Units that get an arm, or everybody.
    holdouts : {"suppression", "none"}
        Whether the held-out units go to a second file, ``NAME.suppression.ENDING``.
    timestamp : str
        Format of times, as of ``strftime``.
    decimals : int, optional
        Of fractional numbers, 0 to 12.
    booleans : (str, str), optional
        Words for false and true.
    columns : list of Column
        ``name``, and ``from`` (a column of the contract, ``"unit"``, or ``"contact.COLUMN"``) or ``value`` (the same
        in every row); optional ``transform = "sha256"``. The first identifies the unit.

    Examples
    --------
    >>> crm = Template(name="crm", columns=[{"name": "id", "from": "unit"}, {"name": "offer", "from": "arm"}])
    >>> [column.name for column in crm.columns]
    ['id', 'offer']
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1)
    description: str = ""
    documentation: list[str] = []
    follows: str = ""
    format: Literal["csv", "jsonl", "parquet"] = "csv"
    rows: Literal["treatment", "all"] = "treatment"
    holdouts: Literal["suppression", "none"] = "none"
    timestamp: str = "%Y-%m-%dT%H:%M:%SZ"
    decimals: int | None = Field(None, ge=0, le=12)
    booleans: tuple[str, str] | None = None
    columns: list[Column] = Field(min_length=1)

    @model_validator(mode="after")
    def _names(self) -> Template:
        names = [column.name for column in self.columns]
        if len(set(names)) < len(names):
            raise ValueError(f"column names repeat: {', '.join(names)}")
        if self.columns[0].source is None:
            raise ValueError("the first column identifies the unit, so it cannot be constant")
        return self

    def mapping(self) -> dict[str, Any]:
        """What the manifest says about the columns, so that verification knows them again."""
        kept = {
            column.name: column.source for column in self.columns if column.source and not column.transform
        }
        return {"rows": self.rows, "decimals": self.decimals, "columns": kept}

    def style(self, spreadsheet_safe: bool) -> Style:
        """How row formats write values.

        Parameters
        ----------
        spreadsheet_safe : bool
            Disarm formulas.
        """
        return Style(
            spreadsheet_safe=spreadsheet_safe,
            timestamp=self.timestamp,
            booleans=self.booleans,
            decimals=self.decimals,
        )

    @property
    def contact_columns(self) -> tuple[str, ...]:
        """Columns of the contacts file that are used."""
        return tuple(
            c.source.removeprefix(_CONTACT)
            for c in self.columns
            if c.source is not None and c.source.startswith(_CONTACT)
        )

    def row_schema(
        self, decisions: Decisions, contacts: pa.Table | None, *, suppression: bool = False
    ) -> pa.Schema:
        """Of the rows that :func:`mapped` yields.

        Parameters
        ----------
        decisions : Decisions
        contacts : pyarrow.Table or None
        suppression : bool
            Of the file with the held-out units.
        """
        return _map(
            decisions._block(0, 0), self, decisions, _Contacts(self, decisions, contacts), suppression
        ).schema


class _Contacts:
    """Contact columns by unit."""

    def __init__(self, template: Template, decisions: Decisions, contacts: pa.Table | None) -> None:
        self.table = contacts
        wanted = template.contact_columns
        if not wanted:
            return
        if contacts is None:
            raise OutputError(
                f"the template {template.name!r} needs the column {wanted[0]!r} of your contacts; pass a file with it "
                f"and {decisions.unit_column!r} (--contacts FILE)."
            )
        for name in (decisions.unit_column, *wanted):
            if name not in contacts.column_names:
                raise OutputError(
                    f"the contacts have no column {name!r}; {did_you_mean(name, contacts.column_names)}"
                )
        self.ids = as_text(contacts[decisions.unit_column])
        repeated = len(self.ids) - pc.count_distinct(self.ids).as_py()
        if repeated:
            raise OutputError(
                f"{repeated:,} contacts repeat an earlier {decisions.unit_column!r}; keep one row per unit."
            )

    def column(self, name: str, units: Any) -> pa.Array:
        assert self.table is not None
        found = pc.index_in(as_text(units), self.ids)
        if found.null_count:
            first = units.filter(pc.is_null(found))[0].as_py()
            raise OutputError(
                f"{found.null_count:,} units have no contact, first {first!r}; add them to the contacts file."
            )
        values = self.table[name].take(found).cast(pa.string())
        if values.null_count:
            first = units.filter(pc.is_null(values))[0].as_py()
            raise OutputError(
                f"{values.null_count:,} contacts have no {name!r}, first unit {first!r}; complete them."
            )
        return values


def mapped(
    blocks: Iterable[pa.Table],
    template: Template,
    decisions: Decisions,
    contacts: pa.Table | None = None,
    *,
    suppression: bool = False,
) -> Iterator[pa.Table]:
    """Rows as a template wants them.

    Raises
    ------
    OutputError
        A column is not there, or units have no contact.
    """
    held = _Contacts(template, decisions, contacts)
    for block in blocks:
        if suppression:
            block = block.filter(block["holdout"])
        elif template.rows == "treatment":
            block = block.filter(pc.equal(block["role"].cast(pa.string()), "treatment"))
        if len(block):
            yield _map(block, template, decisions, held, suppression)


def _map(
    block: pa.Table, template: Template, decisions: Decisions, contacts: _Contacts, suppression: bool
) -> pa.Table:
    data: dict[str, Any] = {}
    for column in template.columns[:1] if suppression else template.columns:
        if column.source is None:
            data[column.name] = pa.repeat(pa.scalar(column.value), len(block))
            continue
        if column.source.startswith(_CONTACT):
            values: Any = contacts.column(column.source.removeprefix(_CONTACT), block[decisions.unit_column])
        else:
            name = decisions.unit_column if column.source == _UNIT else column.source
            if name not in block.column_names:
                raise OutputError(f"the template {template.name!r} wants {name!r}, but {_lack(name, block)}.")
            values = block[name]
        data[column.name] = _sha256(values) if column.transform == "sha256" else values
    return pa.table(data)


def _lack(name: str, block: pa.Table) -> str:
    """Why a template's column is not there."""
    if name.startswith(SEGMENT):
        have = ", ".join(segment_columns(block.column_names)) or "no segment"
        return f"the limits of the plan count {have}; leave the column out"
    have = ", ".join(c for c in block.column_names if c.startswith(UPLIFT)) or "no uplift per stage"
    return f"the decisions have {have}; export a run folder, or pass --effects"


def _sha256(values: Any) -> pa.Array:
    text = values.cast(pa.string()).to_pylist()
    return pa.array(
        [None if v is None else hashlib.sha256(v.strip().lower().encode()).hexdigest() for v in text],
        pa.string(),
    )


def suppression_path(target: Path) -> Path:
    """Where the held-out units of an export stand: ``plan.csv`` -> ``plan.suppression.csv``."""
    return target.with_name(f"{target.stem}.suppression{target.suffix}")


def template_names() -> tuple[str, ...]:
    """Templates that come with the package.

    Returns
    -------
    tuple of str

    Examples
    --------
    >>> template_names()
    ('braze', 'generic', 'google_ads', 'hubspot', 'salesforce')
    """
    folder = resources.files("uplift.export") / "templates"
    return tuple(
        sorted(file.name.removesuffix(".toml") for file in folder.iterdir() if file.name.endswith(".toml"))
    )


def load_template(name: str) -> Template:
    """A template that comes with the package.

    Parameters
    ----------
    name : str
        One of :func:`template_names`.

    Returns
    -------
    Template

    Raises
    ------
    OutputError
        There is none of this name.

    Examples
    --------
    >>> load_template("braze").columns[0].name
    'external_id'
    """
    if name not in template_names():
        raise OutputError(f"there is no template {name!r}; {did_you_mean(name, template_names())}")
    text = (resources.files("uplift.export") / "templates" / f"{name}.toml").read_text(encoding="utf-8")
    return _parse(text, f"the template {name!r}")


def read_template(path: str | os.PathLike[str]) -> Template:
    """A template of your own.

    Parameters
    ----------
    path : path
        A TOML file with the keys of :class:`Template`; a column is a table ``[[columns]]``.

    Returns
    -------
    Template

    Raises
    ------
    OutputError
        The file cannot be read, or a key is unknown, missing or wrong.

    Examples
    --------
    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "crm.toml"
    >>> _ = file.write_text("name = 'crm'\\n[[columns]]\\nname = 'id'\\nfrom = 'unit'\\n")
    >>> read_template(file).name
    'crm'
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise OutputError(f"the mapping {path} cannot be read ({first_line(error)}).") from error
    return _parse(text, str(path))


def _parse(text: str, source: str) -> Template:
    try:
        return Template.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise OutputError(f"{source} is no valid TOML ({error}).") from error
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(str(part) for part in problem["loc"])
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            known = Column.model_fields if "columns" in problem["loc"] else Template.model_fields
            names = [field.alias or key for key, field in known.items()]
            message = f"unknown key; {did_you_mean(str(problem['loc'][-1]), names)}"
        raise OutputError(
            f"{source}: {place + ': ' if place else ''}{message}.".replace("..", ".")
        ) from error
