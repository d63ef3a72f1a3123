"""Learners of our own on LightGBM."""

from __future__ import annotations

from uplift.models.cards.card import ROW_WEIGHTS, ModelCard

CARDS: tuple[ModelCard, ...] = (
    ModelCard(
        name="lightgbm_s",
        where="uplift.models.classical.lightgbm_models:LightGBMS",
        title="S-learner: one LightGBM model per stage with the arm as a feature",
        family="classical",
        arms="all at once, as a category and, where known, an amount",
        stages="one by one",
        value="squared error or Tweedie",
        propensity=ROW_WEIGHTS,
        gpu=False,
        intervals="",
        source="Kunzel et al., PNAS 2019",
        cost="seconds",
        library="lightgbm",
    ),
    ModelCard(
        name="lightgbm_t",
        where="uplift.models.classical.lightgbm_models:LightGBMT",
        title="T-learner: one LightGBM model per arm and stage",
        family="classical",
        arms="one model each",
        stages="one by one",
        value="squared error or Tweedie",
        propensity=ROW_WEIGHTS,
        gpu=False,
        intervals="",
        source="Kunzel et al., PNAS 2019",
        cost="seconds",
        library="lightgbm",
    ),
    ModelCard(
        name="lightgbm_chain",
        where="uplift.models.classical.chain_trees:LightGBMChain",
        title="Chain of S-learners: one LightGBM model per conditional rate, multiplied along the chain",
        family="classical",
        arms="all at once, as a category and, where known, an amount",
        stages="each among those who reached the one before, multiplied into the entire space",
        value="squared error or Tweedie given the last stage, times its probability",
        propensity=ROW_WEIGHTS,
        gpu=False,
        intervals="",
        source="Ma et al., SIGIR 2018 (the chain); Kunzel et al., PNAS 2019 (the S-learner)",
        cost="about a minute per 100,000 rows",
        library="lightgbm",
    ),
)
