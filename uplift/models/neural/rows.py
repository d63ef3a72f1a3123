"""A campaign as tensors that stay on one device: no loader, no per-batch work on the host."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from uplift.errors import ModelError
from uplift.models.neural.value import ValueLoss

if TYPE_CHECKING:
    from uplift.campaign import Campaign
    from uplift.features import FeatureSchema

Normalise = Literal["zscore", "none"]


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Rows to learn from.

    Attributes
    ----------
    numeric : Tensor [row, p] float32
        z-scored (unless told otherwise), NaN = missing.
    categorical : Tensor [row, q] int32
        Codes.
    treatment : Tensor [row] int64
        Arm received, 0 = control.
    outcomes : Tensor [row, stage] float32
        Binary stages.
    value : Tensor [row] float32, optional
        Value after the last stage, 0 on rows that did not reach it.
    weights : Tensor [row] or [row, member] float32, optional
        Row weights with mean about 1; in a network with several members, each may weight the rows in its own way.
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
        return self.map(lambda tensor: tensor.index_select(0, index))

    def slice(self, start: int, stop: int) -> Rows:
        """Rows from `start` to before `stop`; no copy."""
        return self.map(lambda tensor: tensor[start:stop])

    def to(self, device: torch.device, *, non_blocking: bool = False) -> Rows:
        """The rows on `device`."""
        return self.map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def map(self, change: Callable[[Tensor], Tensor]) -> Rows:
        """The rows with every tensor changed."""
        return Rows(
            numeric=change(self.numeric),
            categorical=change(self.categorical),
            treatment=change(self.treatment),
            outcomes=change(self.outcomes),
            value=None if self.value is None else change(self.value),
            weights=None if self.weights is None else change(self.weights),
        )

    def tensors(self) -> list[Tensor]:
        """All tensors that there are."""
        found = (self.numeric, self.categorical, self.treatment, self.outcomes, self.value, self.weights)
        return [tensor for tensor in found if tensor is not None]

    @property
    def bytes_per_row(self) -> int:
        """Memory of one row."""
        return sum(tensor[:1].nbytes for tensor in self.tensors())


def concat_rows(parts: Sequence[Rows]) -> Rows:
    """All rows of `parts` (one or more, alike), in order."""
    if len(parts) == 1:
        return parts[0]
    columns = iter([torch.cat(tensors) for tensors in zip(*(part.tensors() for part in parts), strict=True)])
    return parts[0].map(lambda _: next(columns))


def feature_tensors(
    campaign: Campaign, schema: FeatureSchema, *, normalise: Normalise = "zscore"
) -> tuple[Tensor, Tensor]:
    """Numeric features z-scored on the training statistics of `schema`, and category codes; on the CPU.

    With ``normalise="none"`` numbers stay as they are. A number that was never missing in training and is missing now
    has no trained state, and is then the training mean, as it is with z-scores.

    Raises
    ------
    ModelError
        `campaign` lacks a feature of `schema`.
    """
    encoded = schema.encode(campaign)
    for column, field in zip(encoded.numeric.T, schema.numeric, strict=True):
        # One column at a time and in place: the whole matrix in float64 would be three times the campaign.
        if normalise == "zscore":
            column[:] = (column.astype(np.float64) - field.mean) / field.std
        elif not field.has_missing:
            column[np.isnan(column)] = field.mean
    return torch.from_numpy(encoded.numeric), torch.from_numpy(encoded.categorical)


def bin_edges(schema: FeatureSchema, *, normalise: Normalise = "zscore") -> list[Tensor]:
    """Edges of every numeric field of `schema`, on the scale of :func:`feature_tensors`, rising."""
    edges = []
    for field in schema.numeric:
        known = np.array(field.edges)
        if normalise == "zscore":
            known = (known - field.mean) / field.std
        edges.append(torch.from_numpy(np.unique(known.astype(np.float32))))
    return edges


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
    values = np.concatenate([campaign.outcomes[campaign.outcomes[:, -2] == 1, -1] for campaign in campaigns])
    return value_loss_for(
        wanted, int((values <= 0).sum()), len(values), stage=campaigns[0].chain[-1], model=model
    )


def value_loss_for(wanted: str, wrong: int, reached: int, *, stage: str, model: str) -> ValueLoss:
    """Loss of a value that is not positive in `wrong` of the `reached` rows; see :func:`choose_value_loss`."""
    if wanted == "lognormal" and wrong:
        raise ModelError(
            f"model {model!r}: value_loss is 'lognormal', but the value is not positive in {wrong:,} of {reached:,} "
            f"rows that reached {stage!r}; use value_loss='mse' or 'auto'."
        )
    return "mse" if wrong or wanted == "mse" else "lognormal"


def load_rows(
    campaign: Campaign,
    schema: FeatureSchema,
    *,
    weights: np.ndarray | None,
    device: torch.device,
    normalise: Normalise = "zscore",
) -> Rows:
    """All rows of `campaign` on `device`, with row `weights` [row]; values without the last stage become 0."""
    numeric, categorical = feature_tensors(campaign, schema, normalise=normalise)
    return rows_of(campaign, numeric, categorical, weights=weights, device=device)


def rows_of(
    campaign: Campaign,
    numeric: Tensor,
    categorical: Tensor,
    *,
    weights: np.ndarray | None,
    device: torch.device,
) -> Rows:
    """Arms and outcomes of `campaign` beside features that are tensors already."""
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
