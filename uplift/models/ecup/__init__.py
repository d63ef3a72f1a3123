"""ECUP: entire-chain uplift modelling with context-enhanced learning (Huang et al., WWW'24 Companion).

The modules follow the paper: `embeddings` (2.2), `tenet` (4.2), `taenet` (4.1.1), `ecenet` (4.1), joined in
`network`; `loss` and `training` fit it, `model` is the interface to the rest of the package.
"""

from __future__ import annotations

from uplift.models.ecup.model import ECUP
from uplift.models.ecup.network import EcupNetwork

__all__ = ["ECUP", "EcupNetwork"]
