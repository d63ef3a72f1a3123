"""The search space of every model: ranges by the name of the parameter, other ones for single models, the user's on top."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from uplift.errors import ModelError, did_you_mean
from uplift.models.registry import make_model, model_class
from uplift.tuning.ranges import Choices, FloatRange, IntRange, Range, parse_range

if TYPE_CHECKING:
    from uplift.models.base import UpliftModel

Space = dict[str, Range]
"""Range of every tuned parameter, by name in alphabetical order."""

TREES: Mapping[str, Range] = {
    "n_estimators": IntRange(50, 800, log=True),
    "learning_rate": FloatRange(0.01, 0.2, log=True),
    "num_leaves": IntRange(3, 64, log=True),
    "min_child_samples": IntRange(20, 1_000, log=True),
    "reg_lambda": FloatRange(0.1, 100.0, log=True),
    "column_share": FloatRange(0.2, 1.0),
    "row_share": FloatRange(0.3, 1.0),
    "max_cat_to_onehot": Choices((4, 1_000_000)),
    "effect_n_estimators": IntRange(20, 400, log=True),
    "effect_learning_rate": FloatRange(0.01, 0.2, log=True),
    "effect_num_leaves": IntRange(2, 16, log=True),
    "effect_min_child_samples": IntRange(20, 2_000, log=True),
}
"""Boosted trees. Uplift is finer than the outcome: small trees and big leaves are well inside."""

FORESTS: Mapping[str, Range] = {
    "n_estimators": IntRange(20, 200, log=True),
    "max_depth": IntRange(3, 12),
    "min_samples_leaf": IntRange(20, 1_000, log=True),
    "min_samples_treatment": IntRange(5, 200, log=True),
    "max_features": FloatRange(0.2, 1.0),
}

NETWORKS: Mapping[str, Range] = {
    "learning_rate": FloatRange(3e-4, 1e-2, log=True),
    "weight_decay": Choices((0.0, 1e-4, 1e-3, 1e-2, 1e-1)),
    "batch_size": Choices((512, 1024, 2048, 4096)),
    "embedding_dim": Choices((8, 16, 32)),
    "hidden": Choices(((64, 32), (128, 64), (256, 128))),
    "dropout": FloatRange(0.0, 0.5),
}
"""Networks. The papers of the field search step size, embedding size and tower widths on grids like these."""

OF_MODEL: Mapping[str, Mapping[str, Range | None]] = {
    # Every stage stops at its own number of trees, so their limit is nothing to tune.
    "lightgbm_chain": {"n_estimators": None, "errors": FloatRange(0.0, 2.0)},
    "ecup": {
        "numeric_embedding": Choices(("affine", "piecewise", "periodic")),
        "gate_hidden": Choices((32, 64, 128)),
    },
    "tarnet": {"representation": Choices(((64, 32), (128, 64), (256, 128)))},
    # The learner's own parameters are tuned with the learner.
    "chain": {"learner": Choices(("lightgbm_s", "lightgbm_t", "lightgbm_x", "lightgbm_dr"))},
    "chain_blend": {
        "criterion": Choices(("likelihood", "dr", "r", "qini")),
        "rule": Choices(("cautious", "best", "equal")),
    },
}
"""What differs from the tables above; None takes a parameter out."""

_TABLES = (("num_leaves", TREES), ("max_epochs", NETWORKS), ("max_depth", FORESTS))
"""A model belongs to the first table whose parameter it has."""


def default_space(model: str) -> Space:
    """The ranges that a model is tuned over unless the user says otherwise; empty where none are known.

    They hold the model's defaults, so that the first trial teaches the sampler something.

    Raises
    ------
    ModelError
        Unknown model.

    Examples
    --------
    >>> str(default_space("lightgbm_chain")["num_leaves"])
    '3 to 64 (log)'
    """
    defaults = make_model(model).get_params()
    table = next((ranges for marker, ranges in _TABLES if marker in defaults), {})
    found: dict[str, Range | None] = {**table, **OF_MODEL.get(model, {})}
    return {
        name: chosen.including(defaults[name])
        for name, chosen in sorted(found.items())
        if chosen is not None and name in defaults
    }


def search_space(
    model: str, changes: Mapping[str, Any] | None = None, *, keep: Collection[str] = ()
) -> tuple[Space, dict[str, Any]]:
    """The search space with a user's changes, and the parameters that she keeps at one value.

    Parameters
    ----------
    model : str
        Name in the registry.
    changes : mapping of str to object, optional
        Per parameter: ``{"low": 4, "high": 64, "log": True}``, a list of choices, or a plain value, which is then
        kept. As in the table ``[tune.MODEL]`` of a campaign file.
    keep : collection of str
        Parameters that are not searched, whatever `changes` says.

    Returns
    -------
    space : dict of str to Range
    kept : dict of str to object
        Parameters that `changes` keeps at a value.

    Raises
    ------
    ModelError
        Unknown model or parameter, something that is no range, or a value that the parameter may not have.

    Examples
    --------
    >>> space, kept = search_space("lightgbm_t", {"num_leaves": {"low": 4, "high": 8}, "reg_lambda": 1.0})
    >>> str(space["num_leaves"]), "reg_lambda" in space, kept
    ('4 to 8', False, {'reg_lambda': 1.0})
    """
    chosen = model_class(model)
    space, kept = default_space(model), {}
    for name, given in (changes or {}).items():
        if name not in chosen.parameter_names():
            raise ModelError(
                f"[tune.{model}]: model {model!r} has no parameter {name!r}; "
                f"{did_you_mean(name, chosen.parameter_names(), limit=len(chosen.parameter_names()))}"
            )
        if name == "random_state":
            raise ModelError(f"[tune.{model}]: a seed is nothing to tune; leave random_state out.")
        found = parse_range(model, name, given, chosen.rules.get(name))
        space.pop(name, None)
        if found is None:
            kept[name] = given
        else:
            space[name] = found
    for name in keep:
        space.pop(name, None)
        kept.pop(name, None)
    return dict(sorted(space.items())), kept


def starting_point(model: UpliftModel, space: Space) -> dict[str, Any] | None:
    """The tuned parameters of `model` as they stand, encoded; None where one lies outside the space."""
    params = model.get_params()
    if not all(chosen.holds(params[name]) for name, chosen in space.items()):
        return None
    return {name: chosen.encode(params[name]) for name, chosen in space.items()}
