"""A suite from one TOML file: data, models, seeds. The keys are a contract; an unknown one names the nearest valid key."""

from __future__ import annotations

import tomllib
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from uplift.bench.entries import DataEntry, Judge, entry_class
from uplift.bench.suite import SEEDS, Suite, Variant
from uplift.errors import MissingDependencyError, UpliftError, did_you_mean

ENDING = ".toml"


class ModelSection(BaseModel):
    """``[[models]]``: label, registry name, what is different about it, constructor parameters."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    model: str = ""
    title: str = ""
    params: dict[str, Any] = {}


class SuiteFile(BaseModel):
    """The whole file.

    Examples
    --------
    >>> suite = parse_suite('''
    ... title = "Two learners"
    ... seeds = 2
    ... [[data]]
    ... name = "simulated"
    ... rows = 1000
    ... [[models]]
    ... name = "few_trees"
    ... model = "lightgbm_s"
    ... params = { n_estimators = 20 }
    ... ''', name="two")
    >>> suite.base, [entry.rows for entry in suite.data], suite.seeds
    ('few_trees', [1000], (0, 1))
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str
    seeds: int | list[int] = SEEDS
    threads: int = Field(1, ge=1)
    timeout_minutes: float | None = Field(None, gt=0)
    base: str | None = None
    data: list[dict[str, Any]] = Field(min_length=1)
    models: list[dict[str, Any]] = Field(min_length=1)


def shipped_suites() -> list[str]:
    """Names of the suites that come with the package."""
    folder = resources.files("uplift.bench") / "suites"
    return sorted(
        entry.name.removesuffix(ENDING) for entry in folder.iterdir() if entry.name.endswith(ENDING)
    )


def load_suite(name: str) -> Suite:
    """A suite by its file, or by the name of one that is shipped.

    Raises
    ------
    UpliftError
        There is no such file or suite, or it is not valid.
    """
    if name in shipped_suites():
        text = (resources.files("uplift.bench") / "suites" / f"{name}{ENDING}").read_text(encoding="utf-8")
        return parse_suite(text, name=name, source=f"suite {name!r}")
    path = Path(name).expanduser()
    if not path.is_file():
        hint = did_you_mean(name, shipped_suites())
        raise UpliftError(f"there is no suite file {name!r}, and no shipped suite of that name; {hint}")
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UpliftError(f"the suite file {name!r} cannot be read ({error}).") from error
    return parse_suite(text, name=path.stem, source=str(path))


def parse_suite(text: str, *, name: str, source: str = "the suite file") -> Suite:
    """Validate the text of a suite file.

    Raises
    ------
    UpliftError
        Not TOML, an unknown key, a value that is not allowed, a name twice, an unknown base, data set, model or parameter.
    """
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UpliftError(f"{source} is not valid TOML: {error}.") from error
    whole = _checked(SuiteFile, content, source, "the file")
    entries = tuple(_entry(one, source, number) for number, one in enumerate(whole.data, 1))
    variants = tuple(_variant(one, source, number) for number, one in enumerate(whole.models, 1))
    for kind, names in (("data", [e.name for e in entries]), ("models", [v.name for v in variants])):
        twice = next((one for one in names if names.count(one) > 1), None)
        if twice is not None:
            raise UpliftError(f"{source}: two [[{kind}]] are called {twice!r}; give each a name of its own.")
    names = [variant.name for variant in variants]
    if whole.base is not None and whole.base not in names:
        raise UpliftError(
            f"{source}: the base {whole.base!r} is no model of it; {did_you_mean(whole.base, names)}"
        )
    seeds = range(whole.seeds) if isinstance(whole.seeds, int) else whole.seeds
    if not seeds or min(seeds) < 0 or len(set(seeds)) < len(seeds):
        raise UpliftError(
            f"{source}: seeds is {whole.seeds}; give a number of seeds > 0, or a list of different seeds >= 0."
        )
    return Suite(
        name=name,
        title=whole.title,
        data=entries,
        variants=variants,
        seeds=tuple(seeds),
        threads=whole.threads,
        timeout=None if whole.timeout_minutes is None else 60 * whole.timeout_minutes,
        base_name=whole.base,
        text=text,
    )


def check_models(suite: Suite, names: list[str] | None = None) -> None:
    """Refuse unknown models and parameters before the first fit. A library that is missing is left to the fits.

    Raises
    ------
    UpliftError
        The sentence names the model.
    """
    from uplift.models.registry import make_model, model_card

    for variant in suite.chosen(names):
        try:
            model_card(variant.model)
            make_model(variant.model, **variant.params)
        except MissingDependencyError:
            continue
        except UpliftError as error:
            raise UpliftError(f"model {variant.name!r} of suite {suite.name!r}: {error}") from error


def _entry(content: dict[str, Any], source: str, number: int) -> DataEntry:
    from uplift.bench.entries import SIMULATED, TRUTHS
    from uplift.datasets import list_datasets

    where = f"[[data]] {content.get('name') or number}"
    wanted = str(content.get("source") or content.get("name") or "")
    known = [SIMULATED, *TRUTHS, *(card.name for card in list_datasets())]
    if wanted and wanted not in known:
        raise UpliftError(
            f"{source}: {where}: unknown source {wanted!r}; {did_you_mean(wanted, known, limit=len(known))}"
        )
    entry: DataEntry = _checked(entry_class(wanted), content, source, where)
    if entry.judge is not None:
        from uplift.bench.measures import MEASURES

        ids = [measure.id for measure in MEASURES]
        if entry.judge.measure not in ids:
            raise UpliftError(
                f"{source}: {where}: unknown measure {entry.judge.measure!r}; {did_you_mean(entry.judge.measure, ids, limit=len(ids))}"
            )
    return entry


def _variant(content: dict[str, Any], source: str, number: int) -> Variant:
    section = _checked(ModelSection, content, source, f"[[models]] {content.get('name') or number}")
    model = section.model or section.name
    return Variant(
        name=section.name, title=section.title or _title(model), model=model, params=section.params
    )


def _title(model: str) -> str:
    """Title of the model's card; empty for a model that is not registered, which :func:`check_models` refuses."""
    from uplift.models.registry import list_models

    return next((card.title for card in list_models() if card.name == model), "")


def _checked(form: type[Any], content: dict[str, Any], source: str, where: str) -> Any:
    try:
        return form.model_validate(content)
    except ValidationError as error:
        raise UpliftError(f"{source}: {_sentence(error, form, where)}") from error


def _sentence(error: ValidationError, form: type[BaseModel], where: str) -> str:
    """The first problem as one sentence; a mistyped key, which also shows up as a missing one, first."""
    first = min(error.errors(), key=lambda problem: problem["type"] != "extra_forbidden")
    *path, key = [str(part) for part in first["loc"]] or [""]
    if first["type"] == "extra_forbidden":
        inside = Judge if path == ["judge"] else form
        return f"unknown key {key!r} in {where}; {did_you_mean(key, list(inside.model_fields), limit=20)}"
    if first["type"] == "missing":
        return f"{where} lacks the key {key!r}; add it."
    message = str(first["msg"]).removeprefix("Value error, ")
    return f"{where}: {'.'.join([*path, key])} = {first.get('input')!r} is not valid: {message[0].lower()}{message[1:]}."
