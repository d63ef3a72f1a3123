"""What a suite file may say about its data: one class of entries per kind of source, pydantic-checked.

A job carries its entry as plain JSON; by it a finished fit is recognised.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

SIMULATED = "simulated"
TRUTHS = ("ihdp", "acic2016", "twins", "realcause_twins", "realcause_lalonde_psid", "realcause_lalonde_cps")
"""Data sets with known effects, besides the simulator."""

Share = Annotated[float, Field(gt=0, lt=1)]


class Judge(BaseModel):
    """The one number by which models are ranked on a data set.

    Parameters
    ----------
    measure : str
        See :data:`uplift.bench.measures.MEASURES`.
    stage : str
        A scored stage; empty for measures that belong to none.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    measure: str
    stage: str = ""


class DataEntry(BaseModel):
    """``[[data]]``: rows to learn from and rows to be judged on.

    Parameters
    ----------
    name : str
        In options, files and tables.
    source : str
        Where the rows come from; default the name.
    rows : int, optional
        Training rows at most.
    seeds : int, optional
        Number of seeds here; default the suite's.
    judge : table, optional
        What models are ranked by; default PEHE where effects are known, else Qini per customer, at the last stage.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    source: str = ""
    rows: int | None = Field(None, ge=100)
    seeds: int | None = Field(None, ge=1)
    judge: Judge | None = None

    @model_validator(mode="before")
    @classmethod
    def _named_source(cls, content: Any) -> Any:
        if isinstance(content, dict) and not content.get("source"):
            return {**content, "source": content.get("name", "")}
        return content

    def with_rows(self, rows: int) -> DataEntry:
        """The same with fewer (or more) training rows."""
        return self.model_copy(update={"rows": rows})


class SimulatedEntry(DataEntry):
    """Campaigns of the simulator: every seed is a fresh draw, for training and for the test.

    Parameters
    ----------
    arms, chain, value, chain_bias, effect, heterogeneity, confounding, strata, strata_imbalance, numeric, categorical
        See :func:`uplift.simulation.simulate`.
    test_rows : int, optional
        Test rows; default twice the training rows, at most 200,000.
    """

    rows: int = Field(50_000, ge=100)
    arms: int = Field(4, ge=1)
    chain: tuple[str, ...] = ("click", "conversion")
    value: bool = False
    chain_bias: float | None = None
    effect: float = 1.0
    heterogeneity: float = 1.0
    confounding: float = 0.0
    strata: int = 0
    strata_imbalance: float = 0.0
    numeric: int = Field(8, ge=3)
    categorical: int = Field(3, ge=0)
    test_rows: int | None = Field(None, ge=100)


class PublicEntry(DataEntry):
    """A randomised public data set by the name of its card: every seed is another split by unit.

    Parameters
    ----------
    test : float
        Share of the units that is held back.
    arms : tuple of str, optional
        Treated arms to keep; default all.
    chain : tuple of str, optional
        Stages to keep, in their order; default all.
    value : bool
        Whether the value stays where there is one.
    """

    test: Share = 0.3
    arms: tuple[str, ...] | None = Field(None, min_length=1)
    chain: tuple[str, ...] | None = Field(None, min_length=1)
    value: bool = True


class TruthEntry(DataEntry):
    """A semi-synthetic data set with known effects: seed k is its k-th replication, split at random.

    Parameters
    ----------
    test : float
        Share of the units that is held back.
    propensity : {"estimated", "given", "none"}
        What weights the rows: the cross-fitted estimate of :mod:`uplift.bench.propensity` (default where the assignment is
        confounded), the published one, or nothing.
    """

    test: Share = 0.3
    propensity: Literal["estimated", "given", "none"] = "estimated"


def entry_class(source: str) -> type[DataEntry]:
    """Class of the entries of a source."""
    if source == SIMULATED:
        return SimulatedEntry
    return TruthEntry if source in TRUTHS else PublicEntry


def read_entry(content: dict[str, Any]) -> DataEntry:
    """An entry from its JSON form."""
    return entry_class(content["source"]).model_validate(content)
