"""What is known about who responds and why: plain numbers, as they lie in ``insight.json``."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from uplift.errors import EvaluationError, UpliftError, did_you_mean
from uplift.io.atomic import write_json

if TYPE_CHECKING:
    import plotly.graph_objects as go

SCHEMA_VERSION = 1


def _number(given: Any) -> Any:
    return None if isinstance(given, float) and not math.isfinite(given) else given


Number = Annotated[float | None, BeforeValidator(_number)]
"""A number, or None where it could not be computed."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Observed(_Part):
    """What the randomised rows of some customers say: mean outcomes, their difference and its interval."""

    rows: int
    control: Number
    treated: Number
    effect: Number
    low: Number
    high: Number


class Spread(_Part):
    """Distribution of the predicted effects of one arm at one stage.

    `edges` are the ends of the bars, `shares` the share of customers in each; the first and the last bar hold what lies
    beyond. `negative` is the share with a predicted effect below 0; `low`, `middle`, `high` are the 10 %, 50 % and 90 %
    quantiles.
    """

    stage: str
    arm: str
    edges: tuple[float, ...]
    shares: tuple[float, ...]
    mean: float
    low: float
    middle: float
    high: float
    negative: float


class Quadrant(_Part):
    """One of the four groups: its share, its mean predictions, and what was observed in it."""

    name: str
    share: float
    base: Number
    predicted: Number
    observed: Observed


class Quadrants(_Part):
    """The four-quadrant view of one arm.

    Customers with a predicted effect of at least `effect` are persuadables, those with one below 0 do-not-disturb;
    of the rest, those with a predicted outcome without a coupon of at least `base` are sure things, the others lost
    causes. `points` are some customers: predicted outcome without a coupon, predicted effect, and position of the group.
    """

    arm: str
    effect: float
    base: float
    groups: tuple[Quadrant, ...]
    points: tuple[tuple[float, float, int], ...]


class Segment(_Part):
    """Customers that share a rule: the conditions in words, their share, predicted and observed effect."""

    conditions: tuple[str, ...]
    share: float
    predicted: float
    observed: Observed

    @property
    def words(self) -> str:
        """The rule as one phrase."""
        return " and ".join(self.conditions) if self.conditions else "all customers"


class Segments(_Part):
    """Segments of one arm, highest predicted effect first. `confidence` is the level of each of their intervals."""

    arm: str
    confidence: float
    segments: tuple[Segment, ...]
    explained: float


class Drop(_Part):
    """What shuffling one feature does to the ranking for one arm.

    `drop` is the loss of Qini per customer with its standard error and interval, `moved` the mean change of the
    predicted effects, up or down.
    """

    feature: str
    arm: str
    drop: Number
    se: Number
    low: Number
    high: Number
    moved: float


class Importance(_Part):
    """Permutation importance of the features: the headline before, and the drops, on `rows` of `of` test rows."""

    rows: int
    of: int
    repeats: int
    qini: dict[str, Number]
    drops: tuple[Drop, ...]
    left_out: tuple[str, ...]

    def ranked(self) -> tuple[str, ...]:
        """Features by their mean drop over the arms, largest first."""
        sums: dict[str, float] = {}
        for one in self.drops:
            sums[one.feature] = sums.get(one.feature, 0.0) + (one.drop or 0.0)
        return tuple(sorted(sums, key=lambda name: -sums[name]))


class Bin(_Part):
    """Customers in one range of a feature: where it lies (None for what is missing), in words, mean predicted and observed effect per arm."""

    label: str
    position: Number
    share: float
    predicted: dict[str, float]
    observed: dict[str, Observed]


class Dependence(_Part):
    """How the effect changes with one feature.

    `positions` and `labels` are the values that all of `rows` customers were given in turn, `effects` the mean predicted
    effects per arm. `bins` are the customers who really have such values.
    """

    feature: str
    kind: str
    rows: int
    positions: tuple[float, ...]
    labels: tuple[str, ...]
    effects: dict[str, tuple[float, ...]]
    bins: tuple[Bin, ...]


class Contribution(_Part):
    """SHAP values of one feature: their mean size, and some customers' (rank of the value in [0, 1], contribution)."""

    feature: str
    size: float
    points: tuple[tuple[float, float], ...]


class Surrogate(_Part):
    """A small model of the predicted effects of one arm: how well it copies them, and what it reads.

    `r2` is measured on rows that it did not learn from; `features` are by mean size of their SHAP values.
    """

    arm: str
    r2: float
    rows: int
    features: tuple[Contribution, ...]


class Insight(_Part):
    """Who responds, and what drives it: everything that needs features, computed once and kept in ``insight.json``.

    Attributes
    ----------
    model, stage : str
        The model that is looked at, and the stage of segments, quadrants and drivers.
    all_arms, arms : tuple of str
        Arms of the campaign, control first, and the treated ones that are looked at.
    rows, seed, confidence
        Test rows, seed of the samples, and level of the intervals.
    spread, quadrants, segments, importance, dependence, surrogates
        The parts; empty or None where they were not asked for or could not be computed.
    notes : tuple of str
        What was left out, and why.

    Examples
    --------
    >>> import uplift
    >>> learn, test = uplift.simulate(rows=2_000, arms=1, chain=("buy",), seed=0).campaign().split(test=0.5)
    >>> effects = uplift.make_model("lightgbm_s", n_estimators=10).fit(learn).predict(test)
    >>> found = uplift.explain(test, effects)
    >>> found.stage, found.arms
    ('buy', ('coupon_5',))
    """

    schema_version: int = SCHEMA_VERSION
    model: str
    stage: str
    all_arms: tuple[str, ...]
    arms: tuple[str, ...]
    rows: int
    seed: int
    confidence: float
    spread: tuple[Spread, ...] = ()
    quadrants: tuple[Quadrants, ...] = ()
    segments: tuple[Segments, ...] = ()
    importance: Importance | None = None
    dependence: tuple[Dependence, ...] = ()
    surrogates: tuple[Surrogate, ...] = ()
    notes: tuple[str, ...] = ()

    def write(self, path: str | os.PathLike[str]) -> Path:
        """Write ``insight.json`` atomically.

        Parameters
        ----------
        path : path
        """
        return write_json(path, self.model_dump(mode="json"))

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Insight:
        """Read ``insight.json``.

        Parameters
        ----------
        path : path

        Raises
        ------
        UpliftError
            The file cannot be read, or holds something else.
        """
        try:
            return cls.model_validate(json.loads(Path(path).read_text(encoding="utf-8")))
        except OSError as error:
            raise UpliftError(f"{path} cannot be read ({error}); run the campaign again.") from error
        except (ValidationError, ValueError) as error:
            first = str(error).splitlines()[0]
            raise UpliftError(f"{path} is damaged ({first}); run the campaign again.") from error

    def arm(self, arm: str | None) -> str:
        """A treated arm that was looked at; None means the first.

        Raises
        ------
        EvaluationError
            It was not.
        """
        if arm is None:
            return self.arms[0]
        if arm not in self.arms:
            raise EvaluationError(f"there is no arm {arm!r} here; {did_you_mean(arm, self.arms)}")
        return arm

    def plot_importance(self, arm: str | None = None) -> go.Figure:
        """Permutation importance of the features; default the first arm.

        Parameters
        ----------
        arm : str, optional
        """
        from uplift.reporting.figures import importance_figure

        return importance_figure(self, self.arm(arm))

    def plot_dependence(self, feature: str | None = None, arm: str | None = None) -> go.Figure:
        """Effect by one feature, predicted and observed; default the most important feature and the first arm.

        Parameters
        ----------
        feature, arm : str, optional
        """
        from uplift.reporting.figures import dependence_figure

        return dependence_figure(self, feature, self.arm(arm))

    def plot_spread(self, stage: str | None = None) -> go.Figure:
        """Distribution of the predicted effects of every arm; default the stage that is looked at.

        Parameters
        ----------
        stage : str, optional
        """
        from uplift.reporting.figures import spread_figure

        return spread_figure(self, stage)

    def plot_quadrants(self, arm: str | None = None) -> go.Figure:
        """Persuadables, sure things, lost causes and do-not-disturb; default the first arm.

        Parameters
        ----------
        arm : str, optional
        """
        from uplift.reporting.figures import quadrants_figure

        return quadrants_figure(self, self.arm(arm))

    def plot_segments(self, arm: str | None = None) -> go.Figure:
        """Predicted and observed effect of the segments; default the first arm.

        Parameters
        ----------
        arm : str, optional
        """
        from uplift.reporting.figures import segments_figure

        return segments_figure(self, self.arm(arm))

    def plot_shap(self, arm: str | None = None) -> go.Figure:
        """SHAP values of the surrogate; default the first arm.

        Parameters
        ----------
        arm : str, optional
        """
        from uplift.reporting.figures import shap_figure

        return shap_figure(self, self.arm(arm))

    def _repr_html_(self) -> str:
        from uplift.reporting.notebook import insight_html

        return insight_html(self)

    def __repr__(self) -> str:
        return f"Insight({self.model!r} at {self.stage!r}: {len(self.arms)} arms on {self.rows:,} rows)"
