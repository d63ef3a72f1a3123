"""Neural uplift models beside ECUP, on the same fields, losses and training engine (`uplift.models.neural`)."""

from __future__ import annotations

from uplift.models.deep.tarnet import TARNet

__all__ = ["TARNet"]
