"""What every evaluation compares with."""

from __future__ import annotations

from uplift.models.cards.card import ROW_WEIGHTS, ModelCard

CARDS: tuple[ModelCard, ...] = (
    ModelCard(
        name="response",
        where="uplift.models.classical.references:Response",
        title="Reference: who is likely to respond anyway",
        family="reference",
        arms="ignored",
        stages="one by one",
        value="squared error",
        propensity=ROW_WEIGHTS,
        gpu=False,
        intervals="",
        source="what many teams use today",
        cost="seconds",
        library="lightgbm",
    ),
    ModelCard(
        name="random",
        where="uplift.models.classical.references:Random",
        title="Reference: random scores by hash of the unit id",
        family="reference",
        arms="all",
        stages="all",
        value="mean per arm",
        propensity=ROW_WEIGHTS,
        gpu=False,
        intervals="",
        source="no model",
        cost="nothing",
        library="numpy",
    ),
)
