"""Neural models: ECUP and the networks that it is compared with."""

from __future__ import annotations

from uplift.models.cards.card import ModelCard

CHAIN = "the whole chain at once"
VALUE = "its mean after the last stage: lognormal where all values are positive, else squared error"
WEIGHTS = "row weights from sampling weights, propensities and strata, clipped"


def deep_card(*, name: str, where: str, title: str, arms: str, stages: str = CHAIN, source: str) -> ModelCard:
    """Card of a network beside ECUP: what the engine gives to all of them is said once."""
    return ModelCard(
        name=name,
        where=f"uplift.models.deep.{where}",
        title=title,
        family="deep",
        arms=arms,
        stages=stages,
        value=VALUE,
        propensity=WEIGHTS,
        gpu=True,
        intervals="with members > 1: an ensemble of networks",
        source=source,
        cost="a minute on a CPU, less on a GPU",
        library="torch",
    )


CARDS: tuple[ModelCard, ...] = (
    ModelCard(
        name="ecup",
        where="uplift.models.ecup:ECUP",
        title="Entire-chain uplift model with context-enhanced learning",
        family="ecup",
        arms="all at once, as embeddings of the arm, or of its amount and threshold (then of new amounts too)",
        stages=CHAIN,
        value=VALUE,
        propensity=WEIGHTS,
        gpu=True,
        intervals="with members > 1: an ensemble of networks, or of towers in one network",
        source="Huang et al., WWW 2024 Companion, doi 10.1145/3589335.3648320",
        cost="minutes on a CPU, less on a GPU",
        library="torch",
    ),
    deep_card(
        name="deep_s",
        where="single:DeepS",
        title="S-network: one network, the arm is one of its fields",
        arms="all at once, as an embedding of the arm among the fields",
        source="Kunzel et al., PNAS 2019 (the S-learner)",
    ),
    deep_card(
        name="deep_t",
        where="separate:DeepT",
        title="T-network: a network of its own for every arm",
        arms="a network each, trained at once",
        source="Kunzel et al., PNAS 2019 (the T-learner)",
    ),
    deep_card(
        name="tarnet",
        where="tarnet:TARNet",
        title="Shared representation with one network head per arm",
        arms="all at once, a hypothesis network each",
        source="Shalit, Johansson, Sontag, ICML 2017",
    ),
    deep_card(
        name="cfrnet",
        where="cfrnet:CFRNet",
        title="TARNet with a representation that is balanced between arms",
        arms="all at once, a hypothesis network each; the representation of each balanced against control's",
        source="Shalit, Johansson, Sontag, ICML 2017",
    ),
    deep_card(
        name="dragonnet",
        where="dragonnet:DragonNet",
        title="TARNet with a propensity head and targeted regularisation",
        arms="all at once, a hypothesis network each; a softmax of propensities over all arms",
        source="Shi, Blei, Veitch, NeurIPS 2019",
    ),
    deep_card(
        name="euen",
        where="euen:EUEN",
        title="A control network, and a network for the uplift of every arm",
        arms="all at once, an uplift network each on top of control's logits",
        source="Ke et al., ICDM 2021",
    ),
    deep_card(
        name="esmm",
        where="esmm:ESMM",
        title="Entire-space chain with shared bottom and a tower per stage, the arm as a field",
        arms="all at once, as an embedding of the arm among the fields",
        stages="the whole chain at once, a tower each",
        source="Ma et al., SIGIR 2018",
    ),
    deep_card(
        name="snet",
        where="snet:SNet",
        title="Representations for confounders, outcome, every arm and the assignment, kept apart",
        arms="all at once, a representation and a head each; a softmax of propensities over all arms",
        source="Curth, van der Schaar, AISTATS 2021",
    ),
    deep_card(
        name="flextenet",
        where="flextenet:FlexTENet",
        title="Shared and private layers for every arm, kept orthogonal",
        arms="all at once, a private part of every layer each",
        source="Curth, van der Schaar, NeurIPS 2021",
    ),
    deep_card(
        name="descn",
        where="descn:DESCN",
        title="Responses in the entire space of treatments, crossed by pseudo effects",
        arms="all at once, a response network each and a pseudo effect per coupon; a softmax of propensities",
        source="Zhong et al., KDD 2022, doi 10.1145/3534678.3539198",
    ),
    deep_card(
        name="efin",
        where="efin:EFIN",
        title="Natural response by self-attention, uplift by the fields that a coupon's attention picks",
        arms="all at once, an embedding per coupon; one uplift tower on top of control's logits",
        source="Liu et al., KDD 2023, doi 10.1145/3580305.3599820",
    ),
    deep_card(
        name="m3tn",
        where="m3tn:M3TN",
        title="Gated mixture of experts, and an explicit uplift per coupon",
        arms="all at once, a gate and an uplift tower each on top of control's logits",
        source="Sun, Chen, ICASSP 2024, arXiv 2401.14426",
    ),
)
