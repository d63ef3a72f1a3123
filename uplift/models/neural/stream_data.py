"""What a fit on a campaign on disk starts from: the streamed training rows and resident validation rows."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from uplift.campaign import Campaign
from uplift.campaign_stream import CampaignStream
from uplift.models.neural.rows import Rows, concat_rows, value_loss_for
from uplift.models.neural.streamed_rows import Encode, RoleStatistics, StreamedRows, Weigh
from uplift.models.neural.value import ValueLoss
from uplift.models.row_weights import row_weights
from uplift.models.stray_values import check_stray
from uplift.models.stream_weights import StreamWeights


@dataclass(frozen=True, kw_only=True)
class StreamOptions:
    """The options of :class:`uplift.models.neural.model.NeuralModel` that concern a stream."""

    model: str
    value_loss: str
    propensity_clip: float
    validation_fraction: float
    max_validation_rows: int
    buffer_rows: int | None
    seed: int


@dataclass(frozen=True, kw_only=True)
class StreamData:
    """Training and validation rows of a stream.

    Attributes
    ----------
    source : StreamedRows
        Training rows.
    held : Rows
        Validation rows, on the device.
    value_loss : {"lognormal", "mse"} or None
        How the value is to be learned.
    stray : int
        Rows whose value is ignored because they did not reach the last stage.
    weights : StreamWeights or None
        Of all rows.
    """

    source: StreamedRows
    held: Rows
    value_loss: ValueLoss | None
    stray: int
    weights: StreamWeights | None


def prepare_stream(
    stream: CampaignStream,
    validation: Campaign | CampaignStream | None,
    encode: Encode,
    *,
    options: StreamOptions,
    device: torch.device,
) -> StreamData:
    """Split off validation rows, weigh the rows, and gather the totals, by passes over the roles.

    At most about `max_validation_rows` rows are held for validation, chosen by the hash of their units; of a stream
    that is split here, the others are trained on.

    Raises
    ------
    ModelError
        The value is not that of the last stage, is not positive for the lognormal loss, or there are too many strata.
    """
    weights = StreamWeights.fit(stream, clip=options.propensity_clip)
    weigh_held: Weigh | None = weights
    if validation is None:
        share = min(options.validation_fraction, options.max_validation_rows / stream.n_rows)
        purpose = f"{options.model}-validation"
        train, validation = stream.split(test=share, seed=options.seed, purpose=purpose)
    else:
        train = stream
        if isinstance(validation, CampaignStream):
            if validation.n_rows > options.max_validation_rows:
                share = options.max_validation_rows / validation.n_rows
                validation = validation.split(test=share, seed=options.seed, purpose="validation-rows")[1]
            weigh_held = StreamWeights.fit(validation, clip=options.propensity_clip)
        else:
            found = row_weights(validation, clip=options.propensity_clip)
            weigh_held = None if found is None else lambda _: found.values
    seen = RoleStatistics.of(train.blocks(columns=train.role_columns), weights)
    roles = (
        validation.blocks(columns=validation.role_columns)
        if isinstance(validation, CampaignStream)
        else iter([validation])
    )
    seen_held = RoleStatistics.of(roles, weigh_held)
    stage = stream.chain[-1]
    stray = seen.stray + seen_held.stray
    check_stray(stray, seen.some + seen_held.some, stage=stage)
    value_loss = None
    if stream.has_value:
        wrong, reached = seen.wrong + seen_held.wrong, len(seen.values) + len(seen_held.values)
        value_loss = value_loss_for(options.value_loss, wrong, reached, stage=stage, model=options.model)
    blocks = validation.blocks() if isinstance(validation, CampaignStream) else iter([validation])
    held = [encode(block, None if weigh_held is None else weigh_held(block)) for block in blocks]
    source = StreamedRows(
        train, encode, device=device, weigh=weights, buffer_rows=options.buffer_rows, statistics=seen
    )
    return StreamData(
        source=source,
        held=concat_rows(held).to(device),
        value_loss=value_loss,
        stray=stray,
        weights=weights,
    )
