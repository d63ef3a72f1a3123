"""The fields of a row as vectors: numeric and categorical embeddings side by side."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from uplift.errors import ModelError
from uplift.models.neural.embeddings import CategoricalEmbedding, NumericEmbedding


class FieldInputs(nn.Module):
    """Every field of a row as a vector of size d, numeric fields first.

    Parameters
    ----------
    numeric_fields : int
        Number of numeric fields p, >= 0.
    cardinalities : sequence of int
        Codes of each categorical field (two of them reserved), q >= 0 fields; f = p + q >= 1.
    dim : int
        Embedding size d.
    generator : torch.Generator
        Source of the initial weights.

    Attributes
    ----------
    numeric : NumericEmbedding or None
    categorical : CategoricalEmbedding or None
    fields : int
        f.
    width : int
        f d, the size of what :meth:`flat` gives.

    Raises
    ------
    ModelError
        There is no field at all.

    Shape
    -----
    numeric [batch, p] float32, NaN = missing; categorical [batch, q] integer codes; output [batch, f, d]

    Examples
    --------
    >>> inputs = FieldInputs(3, (4, 7), 16, generator=torch.Generator().manual_seed(0))
    >>> numeric, categorical = torch.randn(2, 3), torch.zeros(2, 2, dtype=torch.int32)
    >>> inputs.stacked(numeric, categorical).shape, inputs.flat(numeric, categorical).shape, inputs.width
    (torch.Size([2, 5, 16]), torch.Size([2, 80]), 80)
    """

    def __init__(
        self, numeric_fields: int, cardinalities: Sequence[int], dim: int, *, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.fields = numeric_fields + len(cardinalities)
        if not self.fields:
            raise ModelError(
                "a network needs one field at least, but the campaign has no features; add some."
            )
        self.width = self.fields * dim
        self.numeric = NumericEmbedding(numeric_fields, dim, generator=generator) if numeric_fields else None
        self.categorical = (
            CategoricalEmbedding(cardinalities, dim, generator=generator) if cardinalities else None
        )

    def stacked(self, numeric: Tensor, categorical: Tensor) -> Tensor:
        """One vector per field, [batch, f, d]."""
        parts = []
        if self.numeric is not None:
            parts.append(self.numeric(numeric))
        if self.categorical is not None:
            parts.append(self.categorical(categorical))
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)

    forward = stacked

    def flat(self, numeric: Tensor, categorical: Tensor) -> Tensor:
        """All vectors of a row one after another, [batch, f d]."""
        return self.stacked(numeric, categorical).flatten(1)
