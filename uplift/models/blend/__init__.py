"""Blend of chain models: `model` fits and mixes the parts, `criteria` judges mixtures, `simplex` solves for weights."""

from uplift.models.blend.model import ChainBlend

__all__ = ["ChainBlend"]
