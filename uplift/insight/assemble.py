"""`explain`: who responds and what drives it, for one model on randomised rows that it did not learn from."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from uplift.arms import VALUE_STAGE
from uplift.campaign import Campaign
from uplift.effects import Effects
from uplift.errors import EvaluationError
from uplift.insight import who
from uplift.insight.content import Dependence, Importance, Insight, Surrogate
from uplift.insight.dependence import dependence
from uplift.insight.features import Feature, read_features
from uplift.insight.importance import permutation_importance
from uplift.insight.observed import ArmOutcomes, Predictor
from uplift.insight.surrogate import fit_surrogate

MAX_ARMS = 8
MAX_FEATURES = 15
TOP_FEATURES = 6


def explain(
    campaign: Campaign,
    effects: Effects,
    model: Predictor | None = None,
    *,
    stage: str | None = None,
    shap: bool = False,
    max_predictions: int = 100_000,
    confidence: float = 0.95,
    random_state: int = 0,
    name: str | None = None,
    on_progress: Callable[[str], None] = lambda _: None,
) -> Insight:
    """Segments, quadrants and the distribution of the effects; with `model` also what drives the effect.

    The time is bounded: importance and dependence predict about `max_predictions` rows in all, whatever the size of the
    campaign. Only the 15 features that a surrogate of the effects reads most are shuffled, and the first eight arms are
    looked at; the result's notes say what was left out.

    Parameters
    ----------
    campaign : Campaign
        Randomised rows with features and outcomes, which the model did not learn from.
    effects : Effects
        The model's predictions for these rows, in the same order.
    model : Predictor, optional
        The fitted model. Without it importance and dependence are left out.
    stage : str, optional
        Default the last binary stage.
    shap : bool
        Also compute SHAP values of the surrogate.
    max_predictions : int
        Bound of the rows that are predicted to shuffle features, >= 1,000.
    confidence : float
        Level of the intervals.
    random_state : int
        Seed of the samples.
    name : str, optional
        What the model is called; default :attr:`Effects.model`.
    on_progress : callable
        Is called with what is done next.

    Returns
    -------
    Insight

    Raises
    ------
    EvaluationError
        The effects are for other rows, only rank, or a parameter is out of range.

    Examples
    --------
    >>> import uplift
    >>> train, test = uplift.simulate(rows=4_000, arms=1, chain=("conversion",), seed=0).campaign().split(test=0.5, seed=0)
    >>> model = uplift.make_model("lightgbm_s", n_estimators=10).fit(train)
    >>> insight = explain(test, model.predict(test))
    >>> insight.stage, insight.rows == len(test)
    ('conversion', True)
    """
    if len(effects) != campaign.n_rows or effects.arms != campaign.arm_names:
        raise EvaluationError(
            f"the effects are for {len(effects):,} rows and the arms {', '.join(effects.arms)}, the campaign has {campaign.n_rows:,} and {', '.join(campaign.arm_names)}; predict on these rows."
        )
    if not effects.calibrated:
        raise EvaluationError(
            f"model {effects.model!r} only ranks customers: its effects have no size to explain; give a model that estimates effects."
        )
    if max_predictions < 1_000 or not 0 < confidence < 1:
        raise EvaluationError(
            f"max_predictions ({max_predictions}) must be at least 1,000 and confidence ({confidence}) lie in (0, 1)."
        )
    stage = _stage(campaign, stage)
    arms, notes = _arms(campaign)
    on_progress("segments and quadrants")
    features = read_features(campaign)
    outcomes = {arm: ArmOutcomes(campaign, arm, stage) for arm in arms}
    surrogates: tuple[Surrogate, ...] = ()
    importance: Importance | None = None
    depends: tuple[Dependence, ...] = ()
    read: list[str] = []
    if features:
        if model is not None or shap:
            surrogates, read = _surrogates(features, effects, stage, arms, shap, random_state, on_progress)
        if model is not None:
            importance = permutation_importance(
                model, campaign, stage, arms, read, max_predictions=max_predictions, confidence=confidence,
                random_state=random_state, on_progress=on_progress,
            )  # fmt: skip
            left_out = tuple(feature.name for feature in features if feature.name not in read)
            importance = importance.model_copy(update={"left_out": left_out})
            top = _top(importance, features)
            depends = dependence(
                model, campaign, effects, top, stage, outcomes, confidence=confidence,
                random_state=random_state, on_progress=on_progress,
            )  # fmt: skip
    else:
        notes.append(
            "These rows have no features: there are no segments, and nothing that could drive the effect."
        )
    return Insight(
        model=name or effects.model,
        stage=stage,
        all_arms=campaign.arm_names,
        arms=arms,
        rows=campaign.n_rows,
        seed=random_state,
        confidence=confidence,
        spread=tuple(one for place in campaign.stages for one in who.spread(effects, place, arms)),
        quadrants=tuple(
            who.quadrants(campaign, effects, stage, arm, confidence=confidence, random_state=random_state)
            for arm in arms
        ),
        segments=tuple(
            who.segments(campaign, effects, features, stage, arm, confidence=confidence) for arm in arms
        )
        if features
        else (),
        importance=importance,
        dependence=depends,
        surrogates=surrogates if shap else (),
        notes=tuple(notes),
    )


def _stage(campaign: Campaign, stage: str | None) -> str:
    if stage is None:
        return campaign.chain[-1]
    found = campaign.stages[campaign.stage_index(stage)]
    return VALUE_STAGE if found == VALUE_STAGE else found


def _arms(campaign: Campaign) -> tuple[tuple[str, ...], list[str]]:
    """Treated arms that are looked at: the first eight that have rows beside control."""
    counts = np.bincount(campaign.arm_codes, minlength=len(campaign.arms))
    present = [arm for arm, count in zip(campaign.arm_names[1:], counts[1:], strict=True) if count]
    if not present:
        raise EvaluationError("no treated arm has rows here; a comparison needs some.")
    rest = len(campaign.arms) - 1 - len(present[:MAX_ARMS])
    notes = (
        [f"{rest} of {len(campaign.arms) - 1} arms were left out of segments and drivers."] if rest else []
    )
    return tuple(present[:MAX_ARMS]), notes


def _surrogates(
    features: tuple[Feature, ...],
    effects: Effects,
    stage: str,
    arms: tuple[str, ...],
    shap: bool,
    random_state: int,
    on_progress: Callable[[str], None],
) -> tuple[tuple[Surrogate, ...], list[str]]:
    """A surrogate per arm, and the features that they read most, in the order of the campaign."""
    found, gains = [], np.zeros(len(features))
    for arm in arms:
        on_progress(f"surrogate of {arm}")
        surrogate, gain = fit_surrogate(
            features, effects.tau(stage, arm), arm, shap=shap, random_state=random_state
        )
        found.append(surrogate)
        gains += gain / max(gain.sum(), 1e-300)
    most = set(np.argsort(-gains, kind="stable")[:MAX_FEATURES].tolist())
    return tuple(found), [feature.name for index, feature in enumerate(features) if index in most]


def _top(importance: Importance, features: tuple[Feature, ...]) -> list[Feature]:
    by_name = {feature.name: feature for feature in features}
    return [by_name[name] for name in importance.ranked()[:TOP_FEATURES]]
