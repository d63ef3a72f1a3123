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
        source="Breiman, Machine Learning 1996; Kennedy, EJS 2023; Nie, Wager, Biometrika 2021",
        cost="twice that of its parts",
        library="lightgbm",
    ),
    ModelCard(
        name="chain",
        where="uplift.models.chain:ComposedChain",
        title="Any one model, fitted stage by stage and multiplied along the chain, by default lightgbm_s",
        family="blend",
        arms="as its learner does",
        stages="one by one, each on the rows that reached the one before, multiplied into the entire space",
        value="as its learner does, among those who reached the last stage",
        propensity=f"{ROW_WEIGHTS}, and from the propensities among those who reached a stage",
        gpu=True,
        intervals="",
        source="Ma et al., SIGIR 2018, for the factorisation",
        cost="a little more than its learner's for the first stage, because few rows reach the others",
        library="lightgbm",
    ),
)
