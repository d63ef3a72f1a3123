"""Data set cards: what a public experiment is, where it comes from, and which column plays which part."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources
from pathlib import PurePosixPath
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from uplift.errors import DatasetError, did_you_mean

Digest256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
DigestMD5 = Annotated[str, Field(pattern="^[0-9a-f]{32}$")]
WebAddress = Annotated[str, Field(pattern="^https?://")]
ColumnType = Literal["float32", "float64", "int8", "int16", "int32", "int64", "string"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FileCard(_Strict):
    """One file of a data set.

    Parameters
    ----------
    path : str
        Where it lies below a data home, as ``NAME/FILE``.
    bytes, rows : int, optional
        Size and number of records, where known.
    sha256, md5 : str, optional
        Digest of the bytes. MD5 only where the publisher gives no other.
    urls : tuple of str
        Publisher's addresses of these very bytes, tried in order.
    """

    path: str
    bytes: int | None = Field(None, gt=0)
    rows: int | None = Field(None, gt=0)
    sha256: Digest256 | None = None
    md5: DigestMD5 | None = None
    urls: tuple[WebAddress, ...] = ()

    @property
    def name(self) -> str:
        """File name without the folder."""
        return PurePosixPath(self.path).name

    @model_validator(mode="after")
    def _checkable(self) -> Self:
        parts = PurePosixPath(self.path).parts
        if len(parts) != 2 or ".." in parts or self.path.startswith("/"):
            raise ValueError(f"path {self.path!r} is not NAME/FILE")
        if self.urls and not (self.sha256 or self.md5):
            raise ValueError(f"{self.path} can be downloaded but has no digest to check it by")
        return self


class Form(_Strict):
    """One way in which the data set is stored; the first form whose files are all there is used.

    Parameters
    ----------
    name : str
        Short name of the form.
    files : tuple of FileCard
        Stacked on top of each other, or, with `join`, the second's columns are looked up by the first's key.
    join : str, optional
        Key column of a two-file form.
    types : dict
        Column name or pattern (``f*``) -> type for CSV; the first match counts. With types a CSV file is
        read in pieces, so that a sample of a large file needs little memory.
    """

    name: str
    files: tuple[FileCard, ...] = Field(min_length=1)
    join: str | None = None
    types: dict[str, ColumnType] = {}

    @property
    def downloadable(self) -> bool:
        """Whether every file has an address."""
        return all(file.urls for file in self.files)

    @model_validator(mode="after")
    def _join_of_two(self) -> Self:
        if self.join is not None and len(self.files) != 2:
            raise ValueError(f"form {self.name!r} joins {len(self.files)} files instead of two")
        return self


class CostCard(_Strict):
    """Cost of an arm; see :class:`uplift.arms.CostRule`."""

    on: str
    amount: float | None = None
    share: float | None = None


class ArmCard(_Strict):
    """Label, face value, least spend, planned share and cost of an arm."""

    label: str
    amount: float | None = None
    threshold: float | None = None
    share: float | None = None
    cost: CostCard | None = None


class RolesCard(_Strict):
    """Which column plays which part; see :class:`uplift.roles.Roles`. Excluded columns may be absent."""

    treatment: str
    control: str | None = None
    chain: tuple[str, ...] = Field(min_length=1)
    unit: str | None = None
    value: str | None = None
    propensity: str | None = None
    strata: tuple[str, ...] = ()
    time: str | None = None
    weight: str | None = None
    features: tuple[str, ...] | None = None
    exclude: tuple[str, ...] = ()
    categorical: tuple[str, ...] | None = None


class Care(_Strict):
    """What is done to the publisher's rows before they are a campaign, in this order.

    Parameters
    ----------
    keep : dict
        Column -> the one value of rows that are kept.
    derive : dict
        New binary column -> amount column; 1 where the amount is above 0.
    missing_outside : dict
        Column -> (low, high); values outside become missing, and a warning counts them.
    drop_missing : tuple of str
        Rows with a missing value here are dropped, and a warning counts them.
    """

    keep: dict[str, str] = {}
    derive: dict[str, str] = {}
    missing_outside: dict[str, tuple[float, float]] = {}
    drop_missing: tuple[str, ...] = ()


class Statistics(_Strict):
    """Figures that the loaded campaign must reproduce.

    Parameters
    ----------
    where : str
        Who published them.
    rows : int, optional
        Rows of the campaign.
    arms : dict
        Arm -> {"rows": count, stage: mean}.
    overall : dict
        Stage -> mean over all rows.
    tolerance : float
        Largest absolute difference: half a unit of the last published digit.
    sampled : float, optional
        The data here are a random sample, of this share, of the data that the figures describe. Then a
        difference of up to four standard errors is accepted, and counts are not compared.
    """

    where: str = Field(min_length=10)
    rows: int | None = None
    arms: dict[str, dict[str, float]] = {}
    overall: dict[str, float] = {}
    tolerance: float = Field(1e-6, ge=0)
    sampled: float | None = Field(None, gt=0, lt=1)


class DatasetCard(_Strict):
    """A public data set: provenance, terms, roles, known figures, files.

    Parameters
    ----------
    refused : str, optional
        Why it cannot be loaded as a campaign, and what to do instead.
    obtain : str
        How to get it when there is no address to download from.

    Examples
    --------
    >>> from uplift.datasets import get_card
    >>> get_card("hillstrom").name
    'hillstrom'
    """

    name: str = Field(pattern="^[a-z0-9_]+$")
    title: str
    publisher: str
    source: tuple[WebAddress, ...] = Field(min_length=1)
    citation: str
    licence: str = Field(min_length=3)
    randomised: Literal["yes", "no", "broken", "synthetic"]
    randomisation: str
    refused: str | None = None
    obtain: str = Field(min_length=20)
    notes: tuple[str, ...] = ()
    roles: RolesCard
    arms: dict[str, ArmCard] = {}
    care: Care = Care()
    statistics: tuple[Statistics, ...] = ()
    forms: tuple[Form, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if (self.roles.control is None) != (self.refused is not None):
            raise ValueError(
                "a card without a control arm says why it is refused, and only such a card is refused"
            )
        stages = {*self.roles.chain, "value"}
        for figures in self.statistics:
            for arm, values in figures.arms.items():
                if self.arms and arm not in self.arms:
                    raise ValueError(f"statistics name an unknown arm {arm!r}")
                if unknown := set(values) - stages - {"rows"}:
                    raise ValueError(f"statistics name unknown stages {sorted(unknown)}")
            if unknown := set(figures.overall) - stages:
                raise ValueError(f"statistics name unknown stages {sorted(unknown)}")
        return self

    @property
    def downloadable(self) -> bool:
        """Whether some form can be downloaded."""
        return any(form.downloadable for form in self.forms)


@cache
def _cards() -> dict[str, DatasetCard]:
    found = {}
    folder = resources.files("uplift.datasets") / "cards"
    for entry in folder.iterdir():
        if entry.name.endswith(".toml"):
            card = read_card(entry.read_text(encoding="utf-8"), entry.name)
            if card.name != entry.name.removesuffix(".toml"):
                raise DatasetError(
                    f"data set card {entry.name} is called {card.name!r} inside; make the names agree."
                )
            found[card.name] = card
    return dict(sorted(found.items()))


def read_card(text: str, where: str = "card") -> DatasetCard:
    """Parse and validate one card.

    Raises
    ------
    DatasetError
        Not TOML, an unknown key, or a missing or impossible entry.
    """
    try:
        return DatasetCard.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise DatasetError(f"{where} is not valid TOML ({error}).") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "card"
        raise DatasetError(f"{where}: {place}: {first['msg']} ({error.error_count()} in all).") from error


def list_datasets() -> list[DatasetCard]:
    """All cards, by name.

    Returns
    -------
    list of DatasetCard

    Examples
    --------
    >>> [card.name for card in list_datasets() if card.name.startswith("criteo")]
    ['criteo', 'criteo_1000', 'criteo_scored']
    """
    return list(_cards().values())


def get_card(name: str) -> DatasetCard:
    """The card of a data set.

    Parameters
    ----------
    name : str
        One of :func:`list_datasets`.

    Returns
    -------
    DatasetCard

    Raises
    ------
    DatasetError
        There is no such card; the sentence names the nearest.

    Examples
    --------
    >>> get_card("hillstrom").roles.chain
    ('visit', 'conversion')
    """
    cards = _cards()
    if name not in cards:
        raise DatasetError(f"unknown data set {name!r}; {did_you_mean(name, cards, limit=30)}")
    return cards[name]
