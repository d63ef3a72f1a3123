"""The list of models: names, what each supports, and how to get one. Importing it imports no model."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from uplift.errors import MissingDependencyError, ModelError, did_you_mean
from uplift.models.cards import ALL_CARDS, ModelCard

if TYPE_CHECKING:
    from uplift.models.base import UpliftModel

DEFAULT_MODELS = ("ecup", "lightgbm_chain", "lightgbm_s")
"""Models of a campaign file without a ``[models]`` table."""

REFERENCES = ("response", "random")
"""What every evaluation compares with; never offered for decisions."""


MODEL_NAMES = tuple(card.name for card in ALL_CARDS)


def list_models() -> list[ModelCard]:
    """Cards of all models: ECUP, the deep networks, the blend, the classical ones, then the references.

    Returns
    -------
    list of ModelCard

    Examples
    --------
    >>> [card.name for card in list_models()][:2]
    ['ecup', 'deep_s']
    """
    return list(ALL_CARDS)


def model_card(name: str) -> ModelCard:
    """Card of one model.

    Raises
    ------
    ModelError
        Unknown name.
    """
    for card in ALL_CARDS:
        if card.name == name:
            return card
    raise ModelError(f"unknown model {name!r}; {did_you_mean(name, MODEL_NAMES, limit=len(MODEL_NAMES))}")


def model_class(name: str) -> type[UpliftModel]:
    """Class of a model, imported now.

    Raises
    ------
    ModelError
        Unknown name.
    MissingDependencyError
        Its module cannot be imported, because a library that it needs cannot.
    """
    card = model_card(name)
    module, _, attribute = card.where.partition(":")
    try:
        result: type[UpliftModel] = getattr(importlib.import_module(module), attribute)
        return result
    except (ImportError, OSError) as error:  # a broken shared library raises OSError
        library = (getattr(error, "name", None) or card.library).partition(".")[0]
        raise MissingDependencyError(
            f"model {name!r} needs {library}, which cannot be imported ({str(error).splitlines()[0]}); install it with 'pip install {library}', or choose another model."
        ) from error


def check_available(names: Iterable[str]) -> None:
    """Import what the models need, so that a missing or broken library is noticed before the first fit.

    Raises
    ------
    ModelError
        Unknown name.
    MissingDependencyError
        The first model that cannot be fitted here, and why.
    """
    for name in names:
        model_class(name).check_available()


def make_model(name: str, **params: Any) -> UpliftModel:
    """A model that is not fitted yet.

    Parameters
    ----------
    name : str
        See :func:`list_models`.
    **params
        Constructor parameters.

    Returns
    -------
    UpliftModel

    Raises
    ------
    ModelError
        Unknown name or parameter, or a value that the parameter may not have.
    MissingDependencyError
        The model's module cannot be imported. Whether its peers can is for :func:`check_available`.

    Examples
    --------
    >>> make_model("random", random_state=1)
    Random(random_state=1)
    """
    chosen = model_class(name)
    known = chosen.parameter_names()
    for parameter in params:
        if parameter not in known:
            raise ModelError(
                f"model {name!r} has no parameter {parameter!r}; {did_you_mean(parameter, known, limit=len(known))}"
            )
    model = chosen(**params)
    model.check_params()
    return model


def load_model(folder: str | os.PathLike[str]) -> UpliftModel:
    """A fitted model from the folder it was saved in, whatever its class.

    Parameters
    ----------
    folder : path
        What :meth:`UpliftModel.save` wrote.

    Returns
    -------
    UpliftModel

    Raises
    ------
    ModelError
        The folder holds no model, a damaged one, or one this version does not know.

    Examples
    --------
    >>> load_model("runs/spring/models/ecup").predict(campaign)  # doctest: +SKIP
    """
    from uplift.models.base import read_model_file

    return model_class(read_model_file(folder)["model"]).load(folder)
