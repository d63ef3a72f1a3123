"""Neural uplift models beside ECUP, on the same fields, losses and training engine (`uplift.models.neural`)."""

from __future__ import annotations

from uplift.models.deep.cfrnet import CFRNet
from uplift.models.deep.descn import DESCN
from uplift.models.deep.dragonnet import DragonNet
from uplift.models.deep.efin import EFIN
from uplift.models.deep.esmm import ESMM
from uplift.models.deep.euen import EUEN
from uplift.models.deep.flextenet import FlexTENet
from uplift.models.deep.m3tn import M3TN
from uplift.models.deep.separate import DeepT
from uplift.models.deep.single import DeepS
from uplift.models.deep.snet import SNet
from uplift.models.deep.tarnet import TARNet

__all__ = [
    "CFRNet",
    "DESCN",
    "DeepS",
    "DeepT",
    "DragonNet",
    "EFIN",
    "ESMM",
    "EUEN",
    "FlexTENet",
    "M3TN",
    "SNet",
    "TARNet",
]
