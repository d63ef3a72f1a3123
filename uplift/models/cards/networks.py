"""Neural models: ECUP and the networks that it is compared with."""

from __future__ import annotations

from uplift.models.cards.card import ModelCard

CARDS: tuple[ModelCard, ...] = (
    ModelCard(
        name="ecup",
        where="uplift.models.ecup:ECUP",
        title="Entire-chain uplift model with context-enhanced learning",
        family="ecup",
        arms="all at once, as embeddings of the arm, or of its amount and threshold (then of new amounts too)",
        stages="the whole chain at once",
        value="its mean after the last stage: lognormal where all values are positive, else squared error",
        propensity="row weights from sampling weights, propensities and strata, clipped",
        gpu=True,
        intervals="with members > 1: an ensemble of networks, or of towers in one network",
        source="Huang et al., WWW 2024 Companion, doi 10.1145/3589335.3648320",
        cost="minutes on a CPU, less on a GPU",
        library="torch",
    ),
    ModelCard(
        name="tarnet",
        where="uplift.models.deep.tarnet:TARNet",
        title="Shared representation with one network head per arm",
        family="deep",
        arms="all at once, a hypothesis network each",
        stages="the whole chain at once",
        value="its mean after the last stage: lognormal where all values are positive, else squared error",
        propensity="row weights from sampling weights, propensities and strata, clipped",
        gpu=True,
        intervals="with members > 1: an ensemble of networks",
        source="Shalit, Johansson, Sontag, ICML 2017",
        cost="a minute on a CPU, less on a GPU",
        library="torch",
    ),
)
