"""Models whose fit goes on after an interrupt."""

from __future__ import annotations

import os
from typing import ClassVar, Self

from uplift.campaign import Campaign
from uplift.campaign_stream import CampaignStream
from uplift.models.base import UpliftModel


class ResumableModel(UpliftModel):
    """A model that keeps the state of its fit, or of those of its parts that can, in a folder."""

    resumable: ClassVar[bool] = True
    _checkpoint_folder: str | os.PathLike[str] | None = None

    def fit(
        self,
        campaign: Campaign | CampaignStream,
        *,
        validation: Campaign | CampaignStream | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
    ) -> Self:
        """Learn the effects of every arm at every stage; see :meth:`uplift.models.base.UpliftModel.fit`.

        Parameters
        ----------
        campaign : Campaign or CampaignStream
            Training rows; on disk only for models that stream.
        validation : Campaign or CampaignStream, optional
            Rows for early stopping, or for picking among parts, disjoint from the training and test rows.
        checkpoint : path, optional
            Folder where the state is kept. A fit that was interrupted goes on from there when it is called again with
            the same data and parameters; parts that cannot go on start anew. The folder stays.
        """
        self._checkpoint_folder = checkpoint
        return super().fit(campaign, validation=validation)
