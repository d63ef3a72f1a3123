"""Chain composition: `model` fits a learner per stage, `stages` cuts the campaign, `propensity` knows who got what there."""

from uplift.models.chain.model import ComposedChain

__all__ = ["ComposedChain"]
