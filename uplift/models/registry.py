"""The list of models: names, what each supports, and how to get one. Importing it imports no model."""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from uplift.errors import MissingDependencyError, ModelError, did_you_mean

if TYPE_CHECKING:
    from uplift.models.base import UpliftModel

DEFAULT_MODELS = ("ecup", "lightgbm_s", "lightgbm_t")
"""Models of a campaign file without a ``[models]`` table."""

REFERENCES = ("response", "random")
"""What every evaluation compares with; never offered for decisions."""


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """What a model is and supports.

    Attributes
    ----------
    name : str
        Name in campaign files and results.
    title : str
        One line.
    family : {"ecup", "deep", "blend", "classical", "reference"}
    arms : str
        How it handles several arms.
    stages : str
        How it handles several stages.
    value : str
        How it learns the value stage.
    propensity : str
        What it does with propensities, strata and sampling weights.
    gpu : bool
        Whether it runs on a GPU where there is one.
    intervals : str
        With which options effects come with intervals; empty when they never do.
    source : str
        Paper or package.
    cost : str
        Fitting time, in words.
    library : str
        Distribution that fits it.
    """

    name: str
    title: str
    family: Literal["ecup", "deep", "blend", "classical", "reference"]
    arms: str
    stages: str
    value: str
    propensity: str
    gpu: bool
    intervals: str
    source: str
    cost: str
    library: str

    def unavailable(self) -> str | None:
        """Why the model cannot be fitted here, or None.

        Cheap: looks for the library without importing it, so that a broken one goes unnoticed;
        :func:`check_available` imports it.
        """
        module = _MODULES.get(self.library, self.library)
        try:
            found = importlib.util.find_spec(module) is not None
        except (ImportError, ValueError):
            found = False
        return None if found else f"{self.library} is not installed; run 'pip install {self.library}'."


_MODULES = {"scikit-uplift": "sklift"}

_CLASSES = {
    "ecup": ("uplift.models.ecup", "ECUP"),
    "tarnet": ("uplift.models.deep.tarnet", "TARNet"),
    "chain_blend": ("uplift.models.blend", "ChainBlend"),
    "lightgbm_s": ("uplift.models.classical.lightgbm_models", "LightGBMS"),
    "lightgbm_t": ("uplift.models.classical.lightgbm_models", "LightGBMT"),
    "lightgbm_chain": ("uplift.models.classical.chain_trees", "LightGBMChain"),
    "sklift_two_models": ("uplift.models.classical.sklift_models", "TwoModels"),
    "sklift_class_transformation": ("uplift.models.classical.sklift_models", "ClassTransformation"),
    "causalml_x": ("uplift.models.classical.causalml_meta", "XLearner"),
    "causalml_uplift_forest": ("uplift.models.classical.causalml_forest", "UpliftForest"),
    "response": ("uplift.models.classical.references", "Response"),
    "random": ("uplift.models.classical.references", "Random"),
}

_ROW_WEIGHTS = "row weights from sampling weights, propensities and strata"

_CARDS = (
    ModelCard(
        name="ecup",
        title="Entire-chain uplift model with context-enhanced learning",
        family="ecup",
        arms="all at once, as embeddings of the arm, or of its amount and threshold (then of new amounts too)",
        stages="the whole chain at once",
        value="its mean after the last stage: lognormal where all values are positive, else squared error",
        propensity="row weights from sampling weights, propensities and strata, clipped",
        gpu=True,
        intervals="with members > 1: an ensemble of networks, or of towers in one network",
        source="Huang et al., WWW 2024 Companion, doi 10.1145/3589335.3648320",
        cost="minutes on a CPU, less on a GPU",
        library="torch",
    ),
    ModelCard(
        name="tarnet",
        title="Shared representation with one network head per arm",
        family="deep",
        arms="all at once, a hypothesis network each",
        stages="the whole chain at once",
        value="its mean after the last stage: lognormal where all values are positive, else squared error",
        propensity="row weights from sampling weights, propensities and strata, clipped",
        gpu=True,
        intervals="with members > 1: an ensemble of networks",
        source="Shalit, Johansson, Sontag, ICML 2017",
        cost="a minute on a CPU, less on a GPU",
        library="torch",
    ),
    ModelCard(
        name="chain_blend",
        title="Blend of chain models, by default of ECUP and the chain of LightGBM S-learners",
        family="blend",
        arms="as its parts do",
        stages="as its parts do, mixed with weights per stage",
        value="as its parts do",
        propensity=f"{_ROW_WEIGHTS}, in the parts and in picking the mixture",
        gpu=True,
        intervals="",
        source="Breiman, Machine Learning 1996; Kennedy, EJS 2023",
        cost="twice that of its parts",
        library="lightgbm",
    ),
    ModelCard(
        name="lightgbm_s",
        title="S-learner: one LightGBM model per stage with the arm as a feature",
        family="classical",
        arms="all at once, as a category and, where known, an amount",
        stages="one by one",
        value="squared error or Tweedie",
        propensity=_ROW_WEIGHTS,
        gpu=False,
        intervals="",
        source="Kunzel et al., PNAS 2019",
        cost="seconds",
        library="lightgbm",
    ),
    ModelCard(
        name="lightgbm_t",
        title="T-learner: one LightGBM model per arm and stage",
        family="classical",
        arms="one model each",
        stages="one by one",
        value="squared error or Tweedie",
        propensity=_ROW_WEIGHTS,
        gpu=False,
        intervals="",
        source="Kunzel et al., PNAS 2019",
        cost="seconds",
        library="lightgbm",
    ),
    ModelCard(
        name="lightgbm_chain",
        title="Chain of S-learners: one LightGBM model per conditional rate, multiplied along the chain",
        family="classical",
        arms="all at once, as a category and, where known, an amount",
        stages="each among those who reached the one before, multiplied into the entire space",
        value="squared error or Tweedie given the last stage, times its probability",
        propensity=_ROW_WEIGHTS,
        gpu=False,
        intervals="",
        source="Ma et al., SIGIR 2018 (the chain); Kunzel et al., PNAS 2019 (the S-learner)",
        cost="about a minute per 100,000 rows",
        library="lightgbm",
    ),
    ModelCard(
        name="sklift_two_models",
        title="scikit-uplift's two models, optionally with dependent data representation",
        family="classical",
        arms="each against control",
        stages="one by one",
        value="squared error",
        propensity=_ROW_WEIGHTS,
        gpu=False,
        intervals="",
        source="Betlei, Diemert, Amini, ICONIP 2018",
        cost="seconds",
        library="scikit-uplift",
    ),
    ModelCard(
        name="sklift_class_transformation",
        title="scikit-uplift's class transformation",
        family="classical",
        arms="each against control, weighted to equal size",
        stages="one by one",
        value="transformed outcome",
        propensity=_ROW_WEIGHTS,
        gpu=False,
        intervals="",
        source="Jaskowski, Jaroszewicz, ICML workshop 2012",
        cost="seconds",
        library="scikit-uplift",
    ),
    ModelCard(
        name="causalml_x",
        title="CausalML's X-learner on LightGBM",
        family="classical",
        arms="each against control, one control model",
        stages="one by one",
        value="squared error",
        propensity=_ROW_WEIGHTS,
        gpu=False,
        intervals="",
        source="Kunzel et al., PNAS 2019",
        cost="seconds, three to four times lightgbm_t",
        library="causalml",
    ),
    ModelCard(
        name="causalml_uplift_forest",
        title="CausalML's uplift random forest",
        family="classical",
        arms="all at once",
        stages="one by one",
        value="causal random forest on the money",
        propensity=_ROW_WEIGHTS,
        gpu=False,
        intervals="",
        source="Rzepakowski, Jaroszewicz, KAIS 2012",
        cost="half a minute per 50,000 rows with three arms and three stages; grows with rows, trees and columns",
        library="causalml",
    ),
    ModelCard(
        name="response",
        title="Reference: who is likely to respond anyway",
        family="reference",
        arms="ignored",
        stages="one by one",
        value="squared error",
        propensity=_ROW_WEIGHTS,
        gpu=False,
        intervals="",
        source="what many teams use today",
        cost="seconds",
        library="lightgbm",
    ),
    ModelCard(
        name="random",
        title="Reference: random scores by hash of the unit id",
        family="reference",
        arms="all",
        stages="all",
        value="mean per arm",
        propensity=_ROW_WEIGHTS,
        gpu=False,
        intervals="",
        source="no model",
        cost="nothing",
        library="numpy",
    ),
)

MODEL_NAMES = tuple(card.name for card in _CARDS)


def list_models() -> list[ModelCard]:
    """Cards of all models: ECUP, the other networks, the blend, the classical ones, then the references."""
    return list(_CARDS)


def model_card(name: str) -> ModelCard:
    """Card of one model.

    Raises
    ------
    ModelError
        Unknown name.
    """
    for card in _CARDS:
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
    module, attribute = _CLASSES[name]
    try:
        return getattr(importlib.import_module(module), attribute)
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

    Raises
    ------
    ModelError
        The folder holds no model, a damaged one, or one this version does not know.
    """
    from uplift.models.base import read_model_file

    return model_class(read_model_file(folder)["model"]).load(folder)
