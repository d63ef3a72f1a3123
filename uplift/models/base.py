"""The one interface of every model: fit a Campaign, predict Effects, save without pickle."""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Self

from uplift.campaign import Campaign
from uplift.campaign_stream import CampaignStream
from uplift.effects import Effects
from uplift.effects_writer import write_effects
from uplift.errors import ModelError, did_you_mean
from uplift.features import FeatureSchema
from uplift.io.atomic import atomic_folder, write_json
from uplift.models.parameters import Rule, accepted
from uplift.versions import versions

MODEL_FILE = "model.json"
FORMAT_VERSION = 1


class ModelWarning(UserWarning):
    """A model was fitted, but on less than the campaign says, or in a way that the reader of its numbers must know."""


class UpliftModel(ABC):
    """Base of all models.

    The constructor takes keywords and only stores them; :meth:`fit` learns all arms and all stages of the
    campaign and returns self; attributes learned end in ``_``.

    Attributes
    ----------
    name : str
        Name in the registry, the campaign file and every result.
    calibrated : bool
        Whether `tau` is in outcome units; False for references that only rank.
    resumable : bool
        Whether `fit` takes a `checkpoint` folder and goes on from it after an interrupt.
    streams : bool
        Whether :meth:`fit` takes a :class:`~uplift.campaign_stream.CampaignStream`, which stays on disk.
    rules : mapping of str to Rule
        What the constructor's keywords may be.
    on_progress : callable, optional
        Told in a few words how far a long fit is; set it before :meth:`fit`.
    schema_ : FeatureSchema
        How features become numbers.
    arms_, stages_ : tuple of str
        Arms (control first) and stages of the training campaign.
    fingerprint_ : str
        SHA-256 of what went into the fit: model, parameters, training data. The same inputs give the same
        decision ids.
    history_ : list of dict
        Only of models that learn in epochs: one entry per epoch, plain JSON types. A run records it and the report plots
        it (:func:`uplift.reporting.training_figure`).

    Examples
    --------
    >>> import uplift
    >>> learn, test = uplift.simulate(rows=2_000, arms=1, chain=("buy",), seed=0).campaign().split(test=0.5)
    >>> effects = uplift.make_model("lightgbm_s", n_estimators=10).fit(learn).predict(test)
    >>> effects.tau("buy", "coupon_5").shape == (len(test),)
    True
    """

    name: ClassVar[str]
    calibrated: ClassVar[bool] = True
    resumable: ClassVar[bool] = False
    streams: ClassVar[bool] = False
    rules: ClassVar[Mapping[str, Rule]] = {}
    on_progress: Callable[[str], None] | None = None

    schema_: FeatureSchema
    arms_: tuple[str, ...]
    stages_: tuple[str, ...]
    fingerprint_: str

    # ---------------------------------------------------------------- the interface

    def fit(
        self, campaign: Campaign | CampaignStream, *, validation: Campaign | CampaignStream | None = None
    ) -> Self:
        """Learn the effects of every arm at every stage.

        Parameters
        ----------
        campaign : Campaign or CampaignStream
            Training rows; on disk only for models that stream.
        validation : Campaign or CampaignStream, optional
            Rows for early stopping, disjoint from the training and test rows. Models that need some and get
            none carve them out of `campaign`; models that need none ignore them.

        Returns
        -------
        self

        Raises
        ------
        ModelError
            A parameter is not what it may be, or the campaign cannot be learned from (no features, an arm
            without rows).

        Warns
        -----
        ModelWarning
            Rows or numbers of the campaign were left out or cut.
        """
        self.check_params()
        if not self.streams and (
            isinstance(campaign, CampaignStream) or isinstance(validation, CampaignStream)
        ):
            raise ModelError(
                f"model {self.name!r} needs the whole campaign in memory and cannot learn from a stream; load it as a Campaign, or fit a neural model such as 'ecup'."
            )
        if not campaign.has_outcomes:
            raise ModelError(
                "an audience without treatment and outcomes cannot be learned from; fit on a campaign."
            )
        # Until this fit is over the model is unfitted: an interrupt must not leave half a model that predicts.
        for attribute in [name for name in vars(self) if name.endswith("_") and not name.startswith("_")]:
            delattr(self, attribute)
        self.schema_ = self._fit_schema(campaign)
        self.arms_ = campaign.arm_names
        self.stages_ = campaign.stages
        try:
            self._fit(campaign, validation)
            self.fingerprint_ = self._fingerprint(campaign)
        except BaseException:
            del self.stages_
            raise
        return self

    def predict(self, campaign: Campaign) -> Effects:
        """Effects of every row of `campaign` (a campaign or an audience).

        Raises
        ------
        ModelError
            Not fitted, or the campaign lacks a feature, or has other arms or stages than the training data.
        """
        self._check_matches(campaign)
        return replace(self._predict(campaign), fingerprint=self.fingerprint_)

    def _check_matches(self, campaign: Campaign) -> None:
        """Raise a ModelError unless the model is fitted, and to the arms and stages of `campaign`."""
        self._check_fitted()
        if isinstance(campaign, CampaignStream):
            raise ModelError(
                "the effects of a campaign on disk are written block by block; use predict_to(stream, path)."
            )
        self._check_arms(campaign)
        if campaign.stages != self.stages_:
            raise ModelError(
                f"model {self.name!r} was trained on the stages {' -> '.join(self.stages_)}, not {' -> '.join(campaign.stages)}; train it on this campaign."
            )

    def _check_validation(self, validation: Campaign | CampaignStream) -> None:
        """Raise a ModelError unless `validation` has the arms and stages of the training campaign."""
        if (validation.arm_names, validation.stages) != (self.arms_, self.stages_):
            raise ModelError(
                f"the validation campaign has arms {', '.join(validation.arm_names)} and stages "
                f"{' -> '.join(validation.stages)}, other than the training campaign; build both from one campaign."
            )

    def _warn_of_stray_values(self, stray: int, stage: str, *, stacklevel: int) -> None:
        """Warn if a value is ignored on `stray` rows that did not reach the last binary `stage`."""
        if stray:
            warnings.warn(
                f"model {self.name!r} ignores the value of {stray:,} rows that did not reach {stage!r}; set it to 0 "
                f"there, or fix the stage.",
                ModelWarning,
                stacklevel=stacklevel + 1,
            )

    def _fit_schema(self, campaign: Campaign | CampaignStream) -> FeatureSchema:
        """How this model wants its features as numbers."""
        if isinstance(campaign, CampaignStream):
            return FeatureSchema.fit_stream(campaign)
        return FeatureSchema.fit(campaign)

    def _check_arms(self, campaign: Campaign) -> None:
        """Refuse to score other arms than those of the training campaign, unless the model can."""
        if campaign.arm_names != self.arms_:
            extra = [arm for arm in campaign.arm_names if arm not in self.arms_] or [
                arm for arm in self.arms_ if arm not in campaign.arm_names
            ]
            raise ModelError(f"model {self.name!r} was trained on the arms {', '.join(self.arms_)}, but arm {extra[0]!r} differs; train it on this campaign."
                             if extra else f"model {self.name!r} was trained with control {self.arms_[0]!r}, not {campaign.control!r}; train it on this campaign.")  # fmt: skip

    def predict_to(self, campaign: Campaign | CampaignStream, path: str | os.PathLike[str]) -> int:
        """Write the effects of every row to one Parquet file, block by block: memory does not grow with the rows.

        The file is that of ``predict(campaign).to_parquet(path)``; it appears when it is complete, or not at all.

        Parameters
        ----------
        campaign : Campaign or CampaignStream
        path : path
            The file to write.

        Returns
        -------
        int
            Number of rows.

        Raises
        ------
        ModelError
            As :meth:`predict`.
        OutputError
            The folder cannot be written to.
        """
        if isinstance(campaign, Campaign):
            return write_effects([self.predict(campaign)], path)
        self._check_fitted()
        unit = () if campaign.roles.unit is None else (campaign.roles.unit,)
        blocks = campaign.blocks(columns=(*campaign.feature_names, *unit))
        return write_effects((self.predict(block) for block in blocks), path)

    def _fingerprint(self, campaign: Campaign | CampaignStream) -> str:
        inputs = {
            "model": self.name,
            "params": json.loads(json.dumps(self.get_params(), default=str)),
            "data": campaign.fingerprint(),
        }
        if isinstance(campaign, CampaignStream):
            inputs["blocks"] = campaign.tables.layout()
        return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()

    @abstractmethod
    def _fit(self, campaign: Any, validation: Any) -> None:
        """Learn; `schema_`, `arms_` and `stages_` are set. Campaigns are on disk only for models that stream."""

    @abstractmethod
    def _predict(self, campaign: Campaign) -> Effects:
        """Predict; arms and stages are checked."""

    # ---------------------------------------------------------------- parameters

    @classmethod
    def parameter_names(cls) -> tuple[str, ...]:
        """Names of the constructor's keywords."""
        return tuple(name for name in inspect.signature(cls.__init__).parameters if name != "self")

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Constructor parameters and their values (`deep` is accepted for scikit-learn's sake)."""
        return {name: getattr(self, name) for name in self.parameter_names()}

    def set_params(self, **params: Any) -> Self:
        """Change constructor parameters.

        Raises
        ------
        ModelError
            Unknown parameter.
        """
        for name, value in params.items():
            if name not in self.parameter_names():
                raise ModelError(
                    f"model {self.name!r} has no parameter {name!r}; {did_you_mean(name, self.parameter_names())}"
                )
            setattr(self, name, value)
        return self

    def check_params(self) -> None:
        """Check the constructor parameters; numbers from numpy become plain ones. :meth:`fit` does it too.

        Raises
        ------
        ModelError
            A parameter has a wrong type or is out of range; one sentence with model, name, value and remedy.
        """
        for name, value in accepted(self.name, self.rules, self.get_params()).items():
            setattr(self, name, value)
        self._check_combination()

    def _check_combination(self) -> None:  # noqa: B027 (optional)
        """Raise a ModelError where parameters, each allowed alone, do not go together."""

    @classmethod  # noqa: B027 (optional)
    def check_available(cls) -> None:
        """Import the libraries that fitting needs, so that a broken one is noticed before hours of work.

        Raises
        ------
        MissingDependencyError
            One is not installed, or breaks when imported.
        """

    # ---------------------------------------------------------------- files

    def save(self, folder: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """Write the fitted model into `folder`: ``model.json`` and weights, no pickle; atomically.

        Raises
        ------
        ModelError
            Not fitted.
        OutputError
            The folder is in use (without `overwrite`) or cannot be written.
        """
        self._check_fitted()
        self.check_params()
        with atomic_folder(folder, overwrite=overwrite) as temporary:
            state = self._save(temporary)
            write_json(
                temporary / MODEL_FILE,
                {
                    "format_version": FORMAT_VERSION,
                    "model": self.name,
                    "versions": versions(self._libraries()),
                    "params": self.get_params(),
                    "arms": list(self.arms_),
                    "stages": list(self.stages_),
                    "fingerprint": self.fingerprint_,
                    "schema": self.schema_.to_dict(),
                    "state": state,
                },
            )
        return Path(folder)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Self:
        """Read a fitted model; predictions are bit-equal to those of the saved one on the same machine.

        Raises
        ------
        ModelError
            Missing or damaged files, another model's folder, or a newer format.
        """
        content = read_model_file(folder)
        if content["model"] != cls.name:
            raise ModelError(
                f"{folder} holds a {content['model']!r} model, not {cls.name!r}; load it with uplift.load_model."
            )
        try:
            model = cls(**content["params"])
            model.check_params()
            model.schema_ = FeatureSchema.from_dict(content["schema"])
            model.arms_ = tuple(content["arms"])
            model.stages_ = tuple(content["stages"])
            model.fingerprint_ = content["fingerprint"]
            model._load(Path(folder), content["state"])
        except (OSError, KeyError, ValueError, TypeError) as error:
            raise ModelError(
                f"the model in {folder} is damaged or incomplete ({error}); fit and save it again."
            ) from error
        return model

    @abstractmethod
    def _save(self, folder: Path) -> dict[str, Any]:
        """Write weight files into `folder`; return what else `_load` needs, as plain JSON types."""

    @abstractmethod
    def _load(self, folder: Path, state: dict[str, Any]) -> None:
        """Restore fitted attributes from `folder` and the `state` that `_save` returned."""

    def _libraries(self) -> tuple[str, ...]:
        """Distributions whose versions matter for this model."""
        return ("numpy",)

    # ---------------------------------------------------------------- the rest

    def _check_fitted(self) -> None:
        if not hasattr(self, "stages_"):
            raise ModelError(f"model {self.name!r} is not fitted; call fit(campaign) first.")

    def __repr__(self) -> str:
        params = ", ".join(f"{name}={value!r}" for name, value in self.get_params().items())
        return f"{type(self).__name__}({params})"


def read_model_file(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """Content of a saved model's ``model.json``.

    Raises
    ------
    ModelError
        There is none, it is damaged, or it is of a newer format.
    """
    path = Path(folder) / MODEL_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(
            f"{folder} holds no saved model (no {MODEL_FILE}); give the folder that 'uplift fit' wrote."
        ) from None
    except (OSError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ModelError(f"{path} cannot be read ({error}); fit and save the model again.") from error
    required = {"format_version", "model", "params", "arms", "stages", "fingerprint", "schema", "state"}
    if not isinstance(content, dict) or not required <= content.keys():
        raise ModelError(f"{path} is not a saved model; fit and save it again.")
    if content["format_version"] > FORMAT_VERSION:
        raise ModelError(
            f"{path} has format {content['format_version']}, newer than this uplift reads ({FORMAT_VERSION}); update uplift."
        )
    return content
