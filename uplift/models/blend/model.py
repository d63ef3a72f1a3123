"""The blend: several models of the chain, mixed by convex weights that were picked on held-out rows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, get_args

import numpy as np

from uplift.arms import VALUE_STAGE
from uplift.campaign import Campaign
from uplift.effects import Effects
from uplift.errors import ModelError
from uplift.models import registry
from uplift.models.base import UpliftModel
from uplift.models.blend import criteria
from uplift.models.blend.criteria import Criterion, Verdict, choose_weights
from uplift.models.blend.simplex import MOST_PARTS
from uplift.models.checkpoints import fit_resumably
from uplift.models.parameters import SEED, Choice, Flag, Number, Refused, Rule
from uplift.models.resumable import ResumableModel
from uplift.progress import prefixed
from uplift.splitting import held_out_mask

DEFAULT_PARTS: Mapping[str, Mapping[str, Any]] = {
    "ecup": {"numeric_embedding": "periodic"},
    "lightgbm_chain": {},
}


class Tables(Rule):
    """A table of models, each with a table of its parameters.

    Examples
    --------
    >>> Tables().accept({"ecup": {"max_epochs": 3}})
    {'ecup': {'max_epochs': 3}}
    """

    expected = "a table of models and their parameters, such as {ecup = {}, lightgbm_chain = {members = 2}}"

    def accept(self, given: Any) -> dict[str, dict[str, Any]] | None:
        if given is None:
            return None
        if not isinstance(given, Mapping) or not 1 <= len(given) <= MOST_PARTS:
            raise Refused
        if not all(isinstance(name, str) and isinstance(params, Mapping) for name, params in given.items()):
            raise Refused
        return {name: dict(params) for name, params in given.items()}


class ChainBlend(ResumableModel):
    """Convex mixture of models of the chain; by default of ECUP and the chain of LightGBM S-learners.

    Networks and trees err in different places, so that their average errs less than either: the networks find smooth
    and oblique dependencies, the trees sharp ones. The parts learn from all but a held-out share of the units, and
    the weights are picked by what the mixture predicts there, for every stage. Then the parts learn anew, from all.

    All parts' potential outcomes and uplifts are mixed with the same weights per stage. Mixtures of rates are rates.
    Where the weights differ between stages a rate may exceed that of the stage before and is then cut to it, which
    happens rarely; with weights that are the same, it cannot. The effects carry no intervals, whatever the parts do.

    Parameters
    ----------
    models : mapping of str to mapping, optional
        Parameters of every part, by name in the registry; at most ten, no references. Default ``{"ecup":
        {"numeric_embedding": "periodic"}, "lightgbm_chain": {}}``: periodic embeddings of numbers are not the paper's,
        and found effects better in every comparison (``docs/ecup.md``). Parts without a `random_state` of their own get the blend's.
    criterion : {"likelihood", "dr", "r", "qini"}
        What the weights of a stage are picked by: the loss of the outcome under the arm received; the doubly robust
        loss of the uplift; its R-loss; or the Qini of that stage, which minds the order of the customers only. See
        :func:`uplift.models.blend.criteria.choose_weights`.
    rule : {"cautious", "best", "equal"}
        Equal weights unless others are better by more than one standard error; the best ones in any case; or equal
        ones without looking. With ``"equal"`` nothing is held out.
    holdout_fraction : float
        Share of the units (by hash of the unit id), in (0, 1), held out to pick weights where `fit` is given no
        validation campaign.
    refit : bool
        Whether the parts learn anew from all rows once the weights are known (twice the time), or stay as they are.
        Without effect where `fit` is given a validation campaign, because nothing is held out then.
    random_state : int
        Seed, 0 to 2^31 - 1, of the held-out part and of parts without their own.

    Attributes
    ----------
    parts_ : dict of str to UpliftModel
        The fitted parts.
    weights_ : ndarray of float64 [stage, part]
    verdicts_ : list of Verdict [stage]
        How the weights were come by; empty with ``rule="equal"``.

    References
    ----------
    Breiman, Stacked regressions, Machine Learning 1996. Kennedy, Towards optimal doubly robust estimation of
    heterogeneous causal effects, EJS 2023. Nie, Wager, Quasi-oracle estimation of heterogeneous treatment effects,
    Biometrika 2021.

    Examples
    --------
    >>> blend = ChainBlend(models={"lightgbm_s": {}, "lightgbm_chain": {"members": 2}}, rule="equal")
    >>> blend.get_params()["models"]["lightgbm_chain"]
    {'members': 2}
    """

    name: ClassVar[str] = "chain_blend"
    rules: ClassVar[Mapping[str, Rule]] = {
        "models": Tables(),
        "criterion": Choice(*get_args(Criterion)),
        "rule": Choice(*get_args(criteria.Rule)),
        "holdout_fraction": Number(0, 1, open_low=True, open_high=True),
        "refit": Flag(),
        "random_state": SEED,
    }

    parts_: dict[str, UpliftModel]
    weights_: np.ndarray
    verdicts_: list[Verdict]

    def __init__(
        self,
        *,
        models: Mapping[str, Mapping[str, Any]] | None = None,
        criterion: Criterion = "likelihood",
        rule: criteria.Rule = "cautious",
        holdout_fraction: float = 0.2,
        refit: bool = True,
        random_state: int = 0,
    ) -> None:
        self.models = models
        self.criterion = criterion
        self.rule = rule
        self.holdout_fraction = holdout_fraction
        self.refit = refit
        self.random_state = random_state

    # ---------------------------------------------------------------- parts

    @property
    def _tables(self) -> dict[str, dict[str, Any]]:
        chosen: Mapping[str, Mapping[str, Any]] = self.models or DEFAULT_PARTS
        return {name: dict(params) for name, params in chosen.items()}

    def _make(self, name: str) -> UpliftModel:
        params = self._tables[name]
        if "random_state" in registry.model_class(name).parameter_names():
            params.setdefault("random_state", self.random_state)
        return registry.make_model(name, **params)

    def _check_combination(self) -> None:
        for name in self._tables:
            if name == self.name:
                raise ModelError(f"model {self.name!r} cannot be a part of itself; name its parts directly.")
            if registry.model_card(name).family == "reference":
                raise ModelError(
                    f"model {self.name!r}: {name!r} is a reference whose scores are no uplifts; leave it out."
                )
            self._make(name)

    @classmethod
    def check_available(cls) -> None:
        """Import what the default parts need; see :meth:`uplift.models.base.UpliftModel.check_available`."""
        registry.check_available(DEFAULT_PARTS)

    # ---------------------------------------------------------------- learning

    def _fit(self, campaign: Campaign, validation: Campaign | None) -> None:
        registry.check_available(self._tables)
        equal = np.full((len(self.stages_), len(self._tables)), 1.0 / len(self._tables))
        self.weights_, self.verdicts_ = equal, []
        if self.rule == "equal" or len(self._tables) == 1:
            self.parts_ = self._learn(campaign, "on all rows")
            return
        if validation is not None:
            learn, held = campaign, validation
        else:
            mask = held_out_mask(
                campaign,
                test=self.holdout_fraction,
                seed=self.random_state,
                by="unit",
                purpose=f"{self.name}-holdout",
            )
            learn, held = campaign.take(~mask), campaign.take(mask)
        again = self.refit and validation is None
        self.parts_ = self._learn(learn, "to pick weights" if again else "once")
        found = [part.predict(held) for part in self.parts_.values()]
        for s in range(len(self.stages_)):
            verdict = choose_weights(held, found, stage=s, criterion=self.criterion, rule=self.rule)
            self.verdicts_.append(verdict)
            self.weights_[s] = verdict.weights
        if again:
            self.parts_ = self._learn(campaign, "on all rows")

    def _learn(self, campaign: Campaign, purpose: str) -> dict[str, UpliftModel]:
        """The fitted parts; `purpose` tells two fits of a part from each other, in words and in the checkpoint."""
        parts = {}
        for name in self._tables:
            part = self._make(name)
            if self.on_progress is not None:
                part.on_progress = prefixed(self.on_progress, f"{name}, {purpose}: ")
            below = None
            if self._checkpoint_folder is not None:
                below = Path(self._checkpoint_folder) / f"{name}-{purpose.replace(' ', '-')}"
            parts[name] = fit_resumably(part, campaign, below)
            part.on_progress = None
        return parts

    # ---------------------------------------------------------------- predicting

    def _predict(self, campaign: Campaign) -> Effects:
        found = [part.predict(campaign) for part in self.parts_.values()]
        mu, tau = np.zeros((2, *found[0].mu_all.shape), np.float32)
        for weights, effects in zip(self.weights_.T.astype(np.float32), found, strict=True):
            mu += weights * effects.mu_all
            tau += weights * effects.tau_all
        for s, stage in enumerate(self.stages_):
            if stage != VALUE_STAGE:
                np.clip(mu[:, :, s], 0.0, mu[:, :, s - 1] if s else 1.0, out=mu[:, :, s])
        # A part may say its uplift apart from its outcomes; else they belong together, to the last bit.
        apart = any((part.tau_all != part.mu_all - part.mu_all[:, :1]).any() for part in found)
        return Effects.for_campaign(mu, campaign, model=self.name, tau=tau if apart else None)

    # ---------------------------------------------------------------- files

    def _save(self, folder: Path) -> dict[str, Any]:
        for name, part in self.parts_.items():
            part.save(folder / name)
        return {
            "parts": list(self.parts_),
            "weights": self.weights_.tolist(),
            "verdicts": [vars(verdict) for verdict in self.verdicts_],
        }

    def _load(self, folder: Path, state: dict[str, Any]) -> None:
        self.parts_ = {name: registry.load_model(folder / Path(name).name) for name in state["parts"]}
        self.weights_ = np.array(state["weights"], np.float64)
        self.verdicts_ = [
            Verdict(
                weights=tuple(entry["weights"]),
                best=tuple(entry["best"]),
                gain=entry["gain"],
                error=entry["error"],
            )
            for entry in state["verdicts"]
        ]

    def _libraries(self) -> tuple[str, ...]:
        return ("numpy",)
