"""What parameters are judged by on held-out rows, with standard errors that can be paired between trials.

Every judge gives its criterion on all held-out rows and again without each of `GROUPS` groups of units: a
delete-a-group jackknife (Kott, 2001). From these replicates follow the standard error of a trial and, because the
groups are the same for all trials, that of the *difference* of two, which is what a choice rests on and much smaller.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, get_args

import numpy as np

from uplift.allocation import allocate_arrays
from uplift.allocation.from_effects import expected_cost
from uplift.arms import SEND, VALUE_STAGE, CostRule
from uplift.campaign import Campaign
from uplift.effects import Effects
from uplift.errors import EvaluationError, UpliftError, did_you_mean
from uplift.hashing import unit_uniform
from uplift.metrics.average import Comparison, compare
from uplift.metrics.inference import slice_cuts
from uplift.metrics.ranking import Cells, Ranking
from uplift.metrics.scores import qini_per_capita
from uplift.models.pseudo_outcomes import CLIP, doubly_robust
from uplift.models.row_weights import row_weights
from uplift.tuning.rows import Fold

GROUPS = 50
"""Groups of units of the jackknife."""

CriterionName = Literal["qini", "policy", "r", "dr"]
CRITERIA: tuple[str, ...] = get_args(CriterionName)


class Score(NamedTuple):
    """A criterion on all rows, and without each group: float, and float64 [group]."""

    value: float
    replicates: np.ndarray


def standard_error(replicates: np.ndarray) -> float:
    """Of the number whose jackknife replicates these are [group]."""
    groups = len(replicates)
    return float(np.sqrt((groups - 1) / groups * np.square(replicates - replicates.mean()).sum()))


class Judge(ABC):
    """Judges effects on the held-out rows of one fold; made once per fold, used by every trial.

    Parameters
    ----------
    fold : Fold
    stage : str
        What is judged.
    """

    higher_is_better: ClassVar[bool]
    title: ClassVar[str]

    def __init__(self, fold: Fold, *, stage: str) -> None:
        self.held = fold.held.campaign
        self.stage = stage
        self.group = (unit_uniform(self.held.unit_ids, "tune-jackknife") * GROUPS).astype(np.int64)

    @abstractmethod
    def score(self, effects: Effects) -> Score:
        """How good are these effects of the held-out rows?"""


class QiniJudge(Judge):
    """Qini per customer at the stage, mean over arms (definition id ``qini_per_capita``)."""

    higher_is_better = True
    title = "Qini per customer"

    def __init__(self, fold: Fold, *, stage: str) -> None:
        super().__init__(fold, stage=stage)
        self._pairs = {arm: compare(self.held, arm) for arm in self.held.arm_names[1:]}

    def score(self, effects: Effects) -> Score:
        found = [self._of_arm(effects.tau(self.stage, arm), pair) for arm, pair in self._pairs.items()]
        return Score(
            float(np.mean([one.value for one in found])), np.mean([one.replicates for one in found], axis=0)
        )

    def _of_arm(self, tau: np.ndarray, pair: Comparison) -> Score:
        outcome = self.held.outcome(self.stage)[pair.rows]
        ranking = Ranking.build(tau[pair.rows], pair.treated, outcome, pair.weight)
        # Slices of some tens of rows, as for the intervals of every ranking metric: resampling needs no finer ones.
        cuts = slice_cuts(ranking)
        slices = len(cuts)
        slice_of = np.repeat(np.arange(slices), np.diff(cuts, prepend=0))
        key = (self.group[pair.rows[ranking.order]] * 2 + ranking.treated) * slices + slice_of
        mass = np.ones(ranking.n_rows) if ranking.weight is None else ranking.weight
        n, y = (
            np.bincount(key, part, GROUPS * 2 * slices).reshape(GROUPS, 2, slices)
            for part in (mass, mass * ranking.outcome)
        )
        n, y = (np.cumsum(part.sum(axis=0) - part, axis=-1) for part in (n, y))
        without = Cells(n[:, 1], n[:, 0], y[:, 1], y[:, 0])
        return Score(float(qini_per_capita(ranking.cells)), qini_per_capita(without))


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What a plan is made with, for the criterion ``"policy"``.

    Attributes
    ----------
    costs : mapping of arm to CostRule
        For every treated arm.
    margin : float
        Money per unit of the outcome.
    budget_per_customer : float or None
        Money per customer; None for no limit: then only what is worth its cost is sent.
    """

    costs: Mapping[str, CostRule]
    margin: float
    budget_per_customer: float | None = None


class PolicyJudge(Judge):
    """Money per customer that the plan implied by the effects brings, by the randomised held-out rows.

    The plan is that of :func:`uplift.allocation.allocate` for the held-out rows: the highest predicted value within the
    budget; without a budget every arm must be worth its cost (``min_roi=1``), which is the highest predicted profit. Its
    worth is estimated as by :func:`uplift.metrics.policy_value.policy_value`, which looks at outcomes and not at
    predictions, less what it really costs: a model that underrates redemption pays for it.
    """

    higher_is_better = True
    title = "policy value, net money per customer"

    def __init__(self, fold: Fold, *, stage: str, decision: Decision) -> None:
        super().__init__(fold, stage=stage)
        self.decision = decision

    def plan(self, effects: Effects) -> np.ndarray:
        """Arm of every held-out row, int [row]; 0 is control."""
        arms, n = effects.treated_arms, len(effects)
        value = np.column_stack([effects.tau(self.stage, arm) for arm in arms]) * float(self.decision.margin)
        cost = np.empty_like(value)
        for column, arm in enumerate(arms):
            cost[:, column] = expected_cost(effects, arm, self.decision.costs[arm])
        limit: dict[str, float | None] = {"budget": None, "min_roi": 1.0}
        if self.decision.budget_per_customer is not None:
            limit = {"budget": self.decision.budget_per_customer * n}
        return allocate_arrays(value, cost, arms=arms, control=effects.control, **limit).arm_codes  # type: ignore[arg-type]

    def score(self, effects: Effects) -> Score:
        return self.worth(self.plan(effects))

    def worth(self, codes: np.ndarray) -> Score:
        """Net money per customer of a plan [row]."""
        total, without = 0.0, np.zeros(GROUPS)
        for code, arm in enumerate(self.held.arm_names):
            given = codes == code
            if code == 0 or not given.any():
                continue
            part = self.held.take(given)
            try:
                pair = compare(part, arm)
            except EvaluationError:  # too few such customers to compare: worth nothing, as in policy_value
                continue
            size = np.bincount(self.group[given], minlength=GROUPS).astype(np.float64)
            money = self.decision.margin * part.outcome(self.stage)[pair.rows].astype(np.float64)
            money -= np.where(pair.treated, _paid(part, self.decision.costs[arm])[pair.rows], 0.0)
            mass = np.ones(len(money)) if pair.weight is None else pair.weight
            key = self.group[given][pair.rows] * 2 + pair.treated
            n, y = (np.bincount(key, each, GROUPS * 2).reshape(GROUPS, 2) for each in (mass, mass * money))
            total += size.sum() * _difference(n.sum(axis=0), y.sum(axis=0))
            without += (size.sum() - size) * _difference(n.sum(axis=0) - n, y.sum(axis=0) - y)
        rows = np.bincount(self.group, minlength=GROUPS)
        return Score(float(total / rows.sum()), without / (rows.sum() - rows))


class LossJudge(Judge):
    """A loss per row; what no uplift can change is the same for all trials and drops out of differences."""

    higher_is_better = False

    def __init__(self, fold: Fold, *, stage: str, mu: np.ndarray) -> None:
        super().__init__(fold, stage=stage)
        self._stage = self.held.stage_index(stage)
        self._mass = np.ones(len(self.held))

    @abstractmethod
    def losses(self, tau: np.ndarray) -> np.ndarray:
        """Loss of every row [row] for uplifts [row, treated arm] of the stage."""

    def score(self, effects: Effects) -> Score:
        losses = self.losses(effects.tau_all[:, 1:, self._stage].astype(np.float64))
        n, loss = (np.bincount(self.group, each, GROUPS) for each in (self._mass, self._mass * losses))
        return Score(float(loss.sum() / n.sum()), (loss.sum() - loss) / (n.sum() - n))


class DrJudge(LossJudge):
    """Squared distance of the uplift to the doubly robust pseudo-outcome, mean over arms.

    Parameters
    ----------
    mu : ndarray [row, arm]
        Outcomes predicted for the held-out rows by a model of the others.

    References
    ----------
    Kennedy, EJS 2023; :func:`uplift.models.pseudo_outcomes.doubly_robust`.
    """

    title = "DR-loss"

    def __init__(self, fold: Fold, *, stage: str, mu: np.ndarray) -> None:
        super().__init__(fold, stage=stage, mu=mu)
        self._pseudo = doubly_robust(self.held, mu, stage=self._stage)
        if self.held.weights is not None:
            self._mass = self.held.weights

    def losses(self, tau: np.ndarray) -> np.ndarray:
        result: np.ndarray = np.square(self._pseudo - tau).mean(axis=1)
        return result


class RJudge(LossJudge):
    """R-loss for several arms: ``(y - m(x) - sum_k (1{a = k} - e_k) tau_k(x))^2``.

    ``m(x)`` is the mean outcome over the arms as they were randomised, ``e_k`` the share of arm k. Strata and
    propensities become row weights (:func:`uplift.models.row_weights.row_weights`) under which the arms are randomised
    alike for everybody, so that the shares are the propensities.

    Parameters
    ----------
    mu : ndarray [row, arm]
        Outcomes predicted for the held-out rows by a model of the others.

    References
    ----------
    Nie, Wager, Quasi-oracle estimation of heterogeneous treatment effects, Biometrika 2021; for several arms,
    Kaddour et al., Causal effect inference for structured treatments, NeurIPS 2021.
    """

    title = "R-loss"

    def __init__(self, fold: Fold, *, stage: str, mu: np.ndarray) -> None:
        super().__init__(fold, stage=stage, mu=mu)
        weights = row_weights(self.held, clip=CLIP)
        if weights is not None:
            self._mass = weights.values
        arms = self.held.arm_codes.astype(np.int64)
        share = np.bincount(arms, self._mass, len(self.held.arms)) / self._mass.sum()
        self._residual = self.held.outcome(stage) - np.asarray(mu, np.float64) @ share
        self._treated = (arms[:, None] == np.arange(1, len(share))) - share[1:]

    def losses(self, tau: np.ndarray) -> np.ndarray:
        result: np.ndarray = np.square(self._residual - (self._treated * tau).sum(axis=1))
        return result


JUDGES: dict[str, type[Judge]] = {"qini": QiniJudge, "policy": PolicyJudge, "r": RJudge, "dr": DrJudge}


def make_judge(
    criterion: str, fold: Fold, *, stage: str, decision: Decision | None = None, random_state: int = 0
) -> Judge:
    """The judge of one fold; what it has to learn first (``"r"``, ``"dr"``) it learns here, on the rows to fit on.

    Raises
    ------
    UpliftError
        Unknown criterion, or ``"policy"`` without a decision.
    """
    if criterion not in CRITERIA:
        raise UpliftError(f"unknown criterion {criterion!r}; {did_you_mean(criterion, CRITERIA)}")
    if criterion == "qini":
        return QiniJudge(fold, stage=stage)
    if criterion == "policy":
        if decision is None:
            raise UpliftError("the criterion 'policy' needs a margin, and a cost for every arm.")
        return PolicyJudge(fold, stage=stage, decision=decision)
    return (RJudge if criterion == "r" else DrJudge)(
        fold, stage=stage, mu=_outcomes(fold, stage=stage, random_state=random_state)
    )


def _outcomes(fold: Fold, *, stage: str, random_state: int) -> np.ndarray:
    """Outcomes of all arms for the held-out rows, by LightGBM on the rows to fit on [row, arm]."""
    from uplift.models.registry import make_model

    model = make_model("lightgbm_s", random_state=random_state).fit(fold.fit.campaign)
    return model.predict(fold.held.campaign).mu_all[:, :, fold.held.campaign.stage_index(stage)]


def _paid(part: Campaign, rule: CostRule) -> np.ndarray:
    """What each row cost if it received the arm [row]."""
    if rule.on == SEND:
        return np.full(part.n_rows, float(rule.amount or 0.0))
    per_event: Any = rule.share if rule.on == VALUE_STAGE else rule.amount
    return part.outcome(rule.on).astype(np.float64) * float(per_event or 0.0)


def _difference(n: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Mean of the treated less mean of control, from sums [..., arm]; 0 where one of them has no rows."""
    mean = np.divide(y, n, out=np.zeros_like(y), where=n > 0)
    return np.where((n > 0).all(axis=-1), mean[..., 1] - mean[..., 0], 0.0)
