"""The cards of all models, in the order in which they are listed. Importing them imports no model."""

from uplift.models.cards import mixtures, networks, peers, references, trees
from uplift.models.cards.card import ModelCard

ALL_CARDS: tuple[ModelCard, ...] = (
    *networks.CARDS,
    *mixtures.CARDS,
    *trees.CARDS,
    *peers.CARDS,
    *references.CARDS,
)

__all__ = ["ALL_CARDS", "ModelCard"]
