"""Fits that can be interrupted: where their state lies and when it goes. Imports no learner."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from uplift.campaign import Campaign
from uplift.campaign_stream import CampaignStream
from uplift.models.base import UpliftModel

SUFFIX = ".safetensors"
"""What every file of a checkpoint folder ends in."""


def fit_resumably(
    model: UpliftModel,
    campaign: Campaign | CampaignStream,
    folder: str | os.PathLike[str] | None,
    *,
    validation: Campaign | CampaignStream | None = None,
) -> UpliftModel:
    """Fit `model`, keeping its state in `folder` if the model can go on from one; quick models start anew.

    Raises
    ------
    ModelError
        See :meth:`UpliftModel.fit`; or `folder` holds the state of another fit.
    """
    options: dict[str, Any] = {"checkpoint": folder} if model.resumable and folder is not None else {}
    return model.fit(campaign, validation=validation, **options)


def forget(folder: str | os.PathLike[str] | None) -> None:
    """Delete a checkpoint folder whose fit is saved; one that holds anything else is left alone."""
    if folder is None or not Path(folder).is_dir():
        return
    inside = [path for path in Path(folder).rglob("*") if not path.is_dir()]
    if all(path.suffix == SUFFIX for path in inside):
        shutil.rmtree(folder)
