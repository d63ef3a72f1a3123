"""A campaign as tensors that stay on one device: no loader, no per-batch work on the host."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from uplift.errors import ModelError
from uplift.models.neural.value import ValueLoss

if TYPE_CHECKING:
    from uplift.campaign import Campaign
    from uplift.features import FeatureSchema


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Rows to learn from.

    Attributes
    ----------
    numeric : Tensor [row, p] float32
        z-scored, NaN = missing.
    categorical : Tensor [row, q] int32
        Codes.
    treatment : Tensor [row] int64
        Arm received, 0 = control.
    outcomes : Tensor [row, stage] float32
        Binary stages.
    value : Tensor [row] float32, optional
        Value after the last stage, 0 on rows that did not reach it.
    weights : Tensor [row] float32, optional
        Row weights with mean about 1.
    """

    numeric: Tensor
    categorical: Tensor
    treatment: Tensor
    outcomes: Tensor
    value: Tensor | None
    weights: Tensor | None

    def __len__(self) -> int:
        return len(self.treatment)

    def take(self, index: Tensor) -> Rows:
        """Rows at `index` (int64 on the same device)."""
        return Rows(
            numeric=self.numeric.index_select(0, index),
            categorical=self.categorical.index_select(0, index),
            treatment=self.treatment.index_select(0, index),
            outcomes=self.outcomes.index_select(0, index),
            value=None if self.value is None else self.value.index_select(0, index),
            weights=None if self.weights is None else self.weights.index_select(0, index),
        )


def feature_tensors(campaign: Campaign, schema: FeatureSchema) -> tuple[Tensor, Tensor]:
    """Numeric features z-scored on the training statistics of `schema`, and category codes; on the CPU.

    Raises
    ------
    ModelError
        `campaign` lacks a feature of `schema`.
    """
    encoded = schema.encode(campaign)
    for column, field in zip(encoded.numeric.T, schema.numeric, strict=True):
        # One column at a time and in place: the whole matrix in float64 would be three times the campaign.
        column[:] = (column.astype(np.float64) - field.mean) / field.std
    return torch.from_numpy(encoded.numeric), torch.from_numpy(encoded.categorical)


def choose_value_loss(wanted: str, campaigns: Sequence[Campaign], *, model: str) -> ValueLoss | None:
    """Loss of the value: `wanted`, or for ``"auto"`` the one that fits all values at the last stage.

    Parameters
    ----------
    wanted : {"auto", "lognormal", "mse"}
    campaigns : sequence of Campaign
        Training and validation rows.
    model : str
        Name for the complaint.

    Returns
    -------
    {"lognormal", "mse"} or None
        None where there is no value. ``"auto"`` is ``"lognormal"`` when every value is positive.

    Raises
    ------
    ModelError
        ``"lognormal"`` is wanted and some value is not positive.
    """
    if not campaigns[0].has_value:
        return None
    if wanted == "mse":
        return "mse"
    values = np.concatenate([campaign.outcomes[campaign.outcomes[:, -2] == 1, -1] for campaign in campaigns])
    wrong = int((values <= 0).sum())
    if wanted == "lognormal" and wrong:
        raise ModelError(
            f"model {model!r}: value_loss is 'lognormal', but the value is not positive in {wrong:,} of {len(values):,} "
            f"rows that reached {campaigns[0].chain[-1]!r}; use value_loss='mse' or 'auto'."
        )
    return "mse" if wrong else "lognormal"


def load_rows(
    campaign: Campaign, schema: FeatureSchema, *, weights: np.ndarray | None, device: torch.device
) -> Rows:
    """All rows of `campaign` on `device`, with row `weights` [row]; values without the last stage become 0."""
    numeric, categorical = feature_tensors(campaign, schema)
    outcomes = campaign.outcomes
    value = None
    if campaign.has_value:
        outcomes, value = outcomes[:, :-1], outcomes[:, -1] * outcomes[:, -2]
    return Rows(
        numeric=numeric.to(device),
        categorical=categorical.to(device),
        treatment=torch.tensor(campaign.arm_codes, dtype=torch.int64, device=device),
        outcomes=torch.tensor(outcomes, dtype=torch.float32, device=device),
        value=None if value is None else torch.tensor(value, dtype=torch.float32, device=device),
        weights=None if weights is None else torch.tensor(weights, dtype=torch.float32, device=device),
    )
