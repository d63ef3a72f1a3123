"""A campaign as tensors that stay on one device: no loader, no per-batch work on the host."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from uplift.errors import ModelError

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
        Value after the last stage.
    weights : Tensor [row] float32, optional
        Row weights with mean 1.
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
    mean = np.array([field.mean for field in schema.numeric])
    std = np.array([field.std for field in schema.numeric])
    numeric = ((encoded.numeric - mean) / std).astype(np.float32)
    return torch.from_numpy(numeric), torch.from_numpy(encoded.categorical)


def row_weights(campaign: Campaign, *, clip: float) -> np.ndarray | None:
    """Sampling weights times stabilised inverse propensities, float64 [row] with mean 1, or None.

    A row that received arm t with propensity e gets ``P(t) / e``, P(t) being the arm's (weighted) share of
    all rows, cut at `clip`: the weighted rows are then as if randomised, and one unlikely row cannot outweigh
    `clip` ordinary ones. Without propensities and weights (a plain randomised campaign) there are none.

    References
    ----------
    Robins, Hernan, Brumback (2000), Marginal structural models and causal inference in epidemiology.
    """
    if campaign.weights is None and campaign.propensity is None:
        return None
    weights = np.ones(campaign.n_rows) if campaign.weights is None else campaign.weights.astype(np.float64)
    if campaign.propensity is not None:
        totals = np.bincount(campaign.arm_codes, weights=weights, minlength=len(campaign.arms))
        shares = totals / totals.sum()
        weights = weights * np.minimum(shares[campaign.arm_codes] / campaign.propensity, clip)
    return weights / weights.mean()


def check_value(campaign: Campaign) -> None:
    """Refuse a value that is not the value of the last stage.

    Raises
    ------
    ModelError
        The value is not 0 on a row that did not reach the last stage.
    """
    if not campaign.has_value:
        return
    stray = int(((campaign.outcomes[:, -1] != 0) & (campaign.outcomes[:, -2] == 0)).sum())
    if stray:
        raise ModelError(
            f"the value is not 0 in {stray:,} rows that did not reach {campaign.chain[-1]!r}, so it is not the value "
            f"of that stage; set it to 0 there, or fix the stage."
        )


def load_rows(campaign: Campaign, schema: FeatureSchema, *, clip: float, device: torch.device) -> Rows:
    """All rows of `campaign` on `device`; `clip` as in :func:`row_weights`."""
    numeric, categorical = feature_tensors(campaign, schema)
    outcomes = campaign.outcomes
    value = None
    if campaign.has_value:
        outcomes, value = outcomes[:, :-1], outcomes[:, -1]
    weights = row_weights(campaign, clip=clip)
    return Rows(
        numeric=numeric.to(device),
        categorical=categorical.to(device),
        treatment=torch.tensor(campaign.arm_codes, dtype=torch.int64, device=device),
        outcomes=torch.tensor(outcomes, dtype=torch.float32, device=device),
        value=None if value is None else torch.tensor(value, dtype=torch.float32, device=device),
        weights=None if weights is None else torch.tensor(weights, dtype=torch.float32, device=device),
    )
