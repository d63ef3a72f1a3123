"""ECUP: entire-chain uplift modelling with context-enhanced learning (Huang et al., WWW'24 Companion).

The modules follow the paper: `tenet` (4.2), `taenet` (4.1.1), `ecenet` (4.1), joined in `network`. The initial
embeddings (2.2) and the loss over the entire space (3) are shared with the other neural models and stand in
`uplift.models.neural`: `embeddings`, `loss` and `value`; its `engine` trains the network. `model` holds the options. `fused` is TENet once more, compiled
for the CPU (`tenet_kernel`, `attention_kernel`, on vectors of `float32x8`).
"""

from __future__ import annotations

from uplift.models.ecup.model import ECUP
from uplift.models.ecup.network import EcupNetwork

__all__ = ["ECUP", "EcupNetwork"]
