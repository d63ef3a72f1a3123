"""What a benchmark compares: variants of models on data sets, the base being the one others are held against."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from uplift.bench.entries import DataEntry
from uplift.errors import UpliftError, did_you_mean

SEEDS = 5
"""Seeds of a suite that does not say."""


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One line of the table.

    Attributes
    ----------
    name : str
        Short name: in options, files and tables.
    title : str
        What is different about it, in a few words.
    model : str
        Name in the registry.
    params : dict
        Constructor parameters of the model, plain JSON types; the seed is added.
    """

    name: str
    title: str
    model: str
    params: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Job:
    """One fit: everything its process is told, and by which a finished one is recognised.

    Attributes
    ----------
    variant, model, params
        See :class:`Variant`.
    data : dict
        A :class:`~uplift.bench.entries.DataEntry` as plain JSON types.
    seed : int
        Seed of the sample or split, and of the model.
    threads : int
        Threads that the process may use: sums of floats, and so the numbers, can depend on it.
    """

    variant: str
    model: str
    params: dict[str, Any]
    data: dict[str, Any]
    seed: int
    threads: int = 1

    @property
    def label(self) -> str:
        """For people."""
        return f"{self.variant}, {self.data['name']}, seed {self.seed}"

    @property
    def file(self) -> str:
        """Path of the record, relative to the benchmark's folder."""
        return f"fits/{self.data['name']}/{self.variant}-seed{self.seed}.json"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Suite:
    """A benchmark.

    Attributes
    ----------
    name : str
        Name of the command.
    title : str
        Heading of the results.
    data : tuple of DataEntry
        What models are compared on.
    variants : tuple of Variant
        What is compared.
    seeds : tuple of int
        Seeds of samples and models.
    threads : int
        Threads of every fit.
    timeout : float, optional
        Seconds after which a fit counts as failed.
    base_name : str, optional
        The variant that others are held against; default the first.
    text : str
        The suite file, for the record.
    """

    name: str
    title: str
    data: tuple[DataEntry, ...]
    variants: tuple[Variant, ...]
    seeds: tuple[int, ...] = tuple(range(SEEDS))
    threads: int = 1
    timeout: float | None = None
    base_name: str | None = None
    text: str = ""

    @property
    def base(self) -> str:
        """Name of the variant that the others are compared with."""
        return self.base_name or self.variants[0].name

    def entry(self, name: str) -> DataEntry:
        """Data entry of a name.

        Raises
        ------
        UpliftError
            Unknown name.
        """
        result: DataEntry = _named(self.data, [name], "data set", self.name)[0]
        return result

    def chosen(self, names: Iterable[str] | None) -> tuple[Variant, ...]:
        """The variants of these names, in the suite's order; all for None.

        Raises
        ------
        UpliftError
            Unknown name.
        """
        return _named(self.variants, names, "variant", self.name)

    def chosen_data(self, names: Iterable[str] | None) -> tuple[DataEntry, ...]:
        """The data entries of these names, in the suite's order; all for None.

        Raises
        ------
        UpliftError
            Unknown name.
        """
        return _named(self.data, names, "data set", self.name)

    def jobs(
        self,
        *,
        rows: int | None = None,
        seeds: int | None = None,
        data: Iterable[str] | None = None,
        variants: Iterable[str] | None = None,
    ) -> list[Job]:
        """All fits, seed by seed, so that an interrupted benchmark has whole comparisons.

        Parameters
        ----------
        rows : int, optional
            Training rows of every data set instead of the suite's.
        seeds : int, optional
            That many seeds, counted on from the suite's, on every data set.
        data, variants : iterable of str, optional
            Only these.

        Raises
        ------
        UpliftError
            Unknown variant or data set, or no seed.
        """
        entries = self.chosen_data(data)
        if rows is not None:
            entries = tuple(entry.with_rows(rows) for entry in entries)
        return [
            Job(
                variant=variant.name,
                model=variant.model,
                params=variant.params,
                data=entry.model_dump(mode="json", exclude={"judge", "seeds"}),  # of no matter to a fit
                seed=seed,
                threads=self.threads,
            )
            for entry in entries
            for seed in self.chosen_seeds(entry.seeds if seeds is None else seeds)
            for variant in self.chosen(variants)
        ]

    def chosen_seeds(self, number: int | None) -> tuple[int, ...]:
        """The suite's seeds, or the first `number` of them and those that follow.

        Raises
        ------
        UpliftError
            Fewer than one.
        """
        if number is None:
            return self.seeds
        if number < 1:
            raise UpliftError(f"seeds is {number}; a benchmark needs at least 1.")
        return (*self.seeds, *range(max(self.seeds) + 1, max(self.seeds) + 1 + number))[:number]


def _named(things: Sequence[Any], names: Iterable[str] | None, kind: str, suite: str) -> tuple[Any, ...]:
    if names is None:
        return tuple(things)
    known, wanted = [thing.name for thing in things], list(names)
    for name in wanted:
        if name not in known:
            raise UpliftError(
                f"unknown {kind} {name!r} of {suite}; {did_you_mean(name, known, limit=len(known))}"
            )
    return tuple(thing for thing in things if thing.name in wanted)
