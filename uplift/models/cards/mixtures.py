"""Models that are made of other models."""

from __future__ import annotations

from uplift.models.cards.card import ROW_WEIGHTS, ModelCard

CARDS: tuple[ModelCard, ...] = (
    ModelCard(
        name="chain_blend",
        where="uplift.models.blend:ChainBlend",
        title="Blend of chain models, by default of ECUP and the chain of LightGBM S-learners",
        family="blend",
        arms="as its parts do",
        stages="as its parts do, mixed with weights per stage",
        value="as its parts do",
        propensity=f"{ROW_WEIGHTS}, in the parts and in picking the mixture",
        gpu=True,
        intervals="",
        source="Breiman, Machine Learning 1996; Kennedy, EJS 2023",
        cost="twice that of its parts",
        library="lightgbm",
    ),
)
