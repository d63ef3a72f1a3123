"""What a benchmark compares: variants of models on data sets, the first variant being the one others are held against."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from uplift.errors import UpliftError, did_you_mean


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
    data : str
        Name in :data:`uplift.bench.data.SOURCES`.
    rows : int
        Training rows (at most, where the data are given).
    seed : int
        Seed of the sample or split, and of the model.
    """

    variant: str
    model: str
    params: dict[str, Any]
    data: str
    rows: int
    seed: int

    @property
    def label(self) -> str:
        """For people."""
        return f"{self.variant}, {self.data}, seed {self.seed}"

    @property
    def file(self) -> str:
        """Path of its record below the folder of the benchmark."""
        return f"fits/{self.data}/{self.variant}-seed{self.seed}.json"

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
    data : tuple of str
        Names in :data:`uplift.bench.data.SOURCES`.
    variants : tuple of Variant
        The first is the base of the paired differences.
    """

    name: str
    title: str
    data: tuple[str, ...]
    variants: tuple[Variant, ...]

    @property
    def base(self) -> str:
        """Name of the variant that the others are compared with."""
        return self.variants[0].name

    def chosen(self, names: Iterable[str] | None) -> tuple[Variant, ...]:
        """The variants of these names, in the suite's order; all for None.

        Raises
        ------
        UpliftError
            Unknown name.
        """
        known = [variant.name for variant in self.variants]
        if names is None:
            return self.variants
        wanted = list(names)
        for name in wanted:
            if name not in known:
                raise UpliftError(
                    f"unknown variant {name!r} of {self.name}; {did_you_mean(name, known, limit=len(known))}"
                )
        return tuple(variant for variant in self.variants if variant.name in wanted)

    def jobs(
        self, *, rows: int, seeds: int, data: Iterable[str], variants: Iterable[str] | None = None
    ) -> list[Job]:
        """All fits, seed by seed, so that an interrupted benchmark has whole comparisons.

        Raises
        ------
        UpliftError
            Unknown variant, or no seed.
        """
        if seeds < 1:
            raise UpliftError(f"seeds is {seeds}; a benchmark needs at least 1.")
        return [
            Job(
                variant=variant.name,
                model=variant.model,
                params=variant.params,
                data=source,
                rows=rows,
                seed=seed,
            )
            for source in data
            for seed in range(seeds)
            for variant in self.chosen(variants)
        ]
