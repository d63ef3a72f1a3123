"""Chain composition of any learner: one conditional outcome per stage, multiplied into the entire space."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from uplift.campaign import Campaign
from uplift.effects import Effects
from uplift.errors import ModelError
from uplift.models import registry
from uplift.models.base import UpliftModel
from uplift.models.chain.propensity import Design
from uplift.models.chain.stages import reached_before, stage_campaign
from uplift.models.checkpoints import fit_resumably
from uplift.models.parameters import SEED, OrNone, Refused, Rule, Text
from uplift.models.resumable import ResumableModel
from uplift.models.stray_values import check_value
from uplift.progress import prefixed

DEFAULT_LEARNER = "lightgbm_s"
REFUSED_FAMILIES = ("reference", "blend")


class Table(Rule):
    """A table of parameters by name.

    Examples
    --------
    >>> Table().accept({"n_estimators": 100})
    {'n_estimators': 100}
    """

    expected = "a table of the learner's parameters, such as {n_estimators = 100}"

    def accept(self, given: Any) -> dict[str, Any]:
        if not isinstance(given, Mapping) or not given or not all(isinstance(name, str) for name in given):
            raise Refused
        return dict(given)


class ComposedChain(ResumableModel):
    """Any learner, composed along the chain: one fit per stage, on the rows that reached the stage before.

    The outcome in the entire space is the product along the chain, per arm::

        mu_s(x, a) = prod_{j <= s} P(stage j | stage j-1 reached, x, a),

    the value E[value | last stage reached, x, a] times the probability of the last stage, and the uplift is the
    difference of these products. The factorisation is exact for every arm, so in a randomised campaign the
    product estimates the outcome of assigning arm `a` to a customer with features `x`. The difference between arms
    of one *conditional* rate is no uplift: whoever clicks under a coupon is another kind of customer than whoever
    clicks without (chain bias). No such difference is taken here.

    Among those who reached a stage the arm is not randomised any more, though. Where a coupon draws clicks from
    customers who would not have clicked otherwise, most of the clicks of such customers are under the coupon, and a
    learner that believes in one rate of treatment (class transformation, the weights of an X-learner, the
    pseudo-outcomes of an R- or DR-learner) would be confounded. Given features and stage, though, the propensity is
    known: it is that at assignment times the rate at which the arm leads to the stage,

        e_a mu_{j-1}(x, a) / sum_b e_b mu_{j-1}(x, b),

    and the stages before have just been learned. Every stage's campaign carries it as the propensity of its rows,
    so that whatever the learner makes of propensities it makes of these; see
    :class:`uplift.models.chain.propensity.Design` for e with strata, with propensities, and with three arms or more.

    The rates are those that the learner has on its training rows; a learner that fits them closely makes them, and so
    the weights of the next stage, noisier. A learner whose `tau` is not the difference of its ``mu`` counts by its
    ``mu``. A value on a row that did not reach the last stage is ignored, with a warning. Effects carry no intervals.

    Parameters
    ----------
    learner : str
        Name in the registry of a model that is neither a reference nor made of other models.
    params : mapping, optional
        Its parameters, the same for every stage. Without a `random_state` among them it gets the chain's.
    random_state : int
        Seed, 0 to 2^31 - 1.

    Attributes
    ----------
    parts_ : list of UpliftModel [stage]
        The fitted learners. That of the value learned the last stage, which is certain among its rows, along with it.

    References
    ----------
    Ma et al., Entire Space Multi-Task Model, SIGIR 2018, for the factorisation. Rosenbaum, The consequences of
    adjustment for a concomitant variable that has been affected by the treatment, JRSS A 1984, for the bias.

    Examples
    --------
    >>> ComposedChain(learner="lightgbm_t", params={"n_estimators": 100}).get_params()["learner"]
    'lightgbm_t'
    """

    name: ClassVar[str] = "chain"
    rules: ClassVar[Mapping[str, Rule]] = {
        "learner": Text("the name of a model, such as 'lightgbm_t'"),
        "params": OrNone(Table()),
        "random_state": SEED,
    }

    parts_: list[UpliftModel]

    def __init__(
        self,
        *,
        learner: str = DEFAULT_LEARNER,
        params: Mapping[str, Any] | None = None,
        random_state: int = 0,
    ) -> None:
        self.learner = learner
        self.params = params
        self.random_state = random_state

    def _check_combination(self) -> None:
        family = registry.model_card(self.learner).family
        if family in REFUSED_FAMILIES:
            why = (
                "a reference whose scores are no outcomes"
                if family == "reference"
                else "made of other models"
            )
            raise ModelError(
                f"model {self.name!r}: the learner {self.learner!r} is {why}; name a single model, such as {DEFAULT_LEARNER!r}."
            )
        self._make()

    def _make(self) -> UpliftModel:
        params = dict(self.params or {})
        if "random_state" in registry.model_class(self.learner).parameter_names():
            params.setdefault("random_state", self.random_state)
        return registry.make_model(self.learner, **params)

    @classmethod
    def check_available(cls) -> None:
        """Import what the default learner needs; see :meth:`uplift.models.base.UpliftModel.check_available`."""
        registry.check_available([DEFAULT_LEARNER])

    # ---------------------------------------------------------------- learning

    def _fit(self, campaign: Campaign, validation: Campaign | None) -> None:
        registry.check_available([self.learner])
        self._warn_of_stray_values(check_value(campaign), campaign.chain[-1], stacklevel=3)
        if validation is not None:
            self._check_validation(validation)
        self.parts_ = []
        for s, stage in enumerate(self.stages_):
            part = self._make()
            if self.on_progress is not None:
                part.on_progress = prefixed(self.on_progress, f"{stage}: ")
            below = None if self._checkpoint_folder is None else Path(self._checkpoint_folder) / f"stage{s}"
            learn = self._reached(campaign, s)
            held = None if validation is None else self._reached(validation, s, held_out=True)
            self.parts_.append(fit_resumably(part, learn, below, validation=held))
            part.on_progress = None

    def _reached(self, campaign: Campaign, stage: int, *, held_out: bool = False) -> Campaign:
        """Campaign of one stage: the rows that reached the one before, with their propensities."""
        if stage == 0:
            return stage_campaign(campaign, 0)
        rows = reached_before(campaign, stage)
        counts = np.bincount(campaign.arm_codes[rows], minlength=len(self.arms_))
        if (counts == 0).any():
            raise ModelError(
                f"model {self.name!r}: no {'validation' if held_out else 'training'} row of arm {self.arms_[int(np.argmin(counts))]!r} reached "
                f"{self.stages_[stage - 1]!r}, so {self.stages_[stage]!r} cannot be learned; use more rows, or a shorter chain."
            )
        some = campaign.take(rows)
        return stage_campaign(
            some, stage, Design.of(campaign).take(rows).among(self._outcome(some, stage - 1))
        )

    # ---------------------------------------------------------------- predicting

    def _rate(self, campaign: Campaign, stage: int) -> np.ndarray:
        """Mean outcome of a stage among those who reached the one before, under every arm; float64 [row, arm]."""
        found = self.parts_[stage].predict(stage_campaign(campaign, stage))
        return found.mu_all[:, :, -1].astype(np.float64)

    def _outcome(self, campaign: Campaign, stage: int) -> np.ndarray:
        """Mean outcome of a stage in the entire space, under every arm; float64 [row, arm]."""
        return np.asarray(np.prod([self._rate(campaign, s) for s in range(stage + 1)], axis=0))

    def _predict(self, campaign: Campaign) -> Effects:
        mu = np.empty((campaign.n_rows, len(self.arms_), len(self.stages_)), np.float32)
        outcome = np.ones((campaign.n_rows, len(self.arms_)))
        # A product with a rate of at most 1 never rises, and neither does its rounding to float32.
        for s in range(len(self.stages_)):
            outcome = outcome * self._rate(campaign, s)
            mu[:, :, s] = outcome
        return Effects.for_campaign(mu, campaign, model=self.name)

    # ---------------------------------------------------------------- files

    def _save(self, folder: Path) -> dict[str, Any]:
        names = [f"stage{s}" for s in range(len(self.parts_))]
        for name, part in zip(names, self.parts_, strict=True):
            part.save(folder / name)
        return {"parts": names}

    def _load(self, folder: Path, state: dict[str, Any]) -> None:
        self.parts_ = [registry.load_model(folder / Path(name).name) for name in state["parts"]]

    def _libraries(self) -> tuple[str, ...]:
        return ("numpy",)
