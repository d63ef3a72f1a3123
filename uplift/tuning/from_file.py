"""Tuning as a campaign file describes it: its split, its models, its decision, its search spaces."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from uplift.campaign import Campaign
from uplift.campaign_file import CampaignFile
from uplift.errors import CampaignError, did_you_mean
from uplift.models.registry import MODEL_NAMES
from uplift.tuning.result import TuningResult
from uplift.tuning.rows import TrainingPart
from uplift.tuning.search import tune


def tune_file(
    config: CampaignFile,
    *,
    model: str,
    seed: int | None = None,
    params: Mapping[str, Any] | None = None,
    space: Mapping[str, Any] | None = None,
    criterion: str = "qini",
    stage: str | None = None,
    **options: Any,
) -> TuningResult:
    """:func:`~uplift.tuning.search.tune` on the training part of a campaign file.

    The data are split by the file's ``[split]``, as for ``uplift fit`` and ``uplift run``; only the training part goes on,
    sealed against rows of the test part. The search starts from the file's ``[models]`` entry, its space is changed by
    ``[tune.MODEL]``, and the criterion ``"policy"`` takes margin and budget from ``[decide]``.

    Parameters
    ----------
    config : CampaignFile
    model : str
        Name in the registry.
    seed : int, optional
        Seed of split, search and models; default ``[split] seed``.
    params : mapping, optional
        Parameters that keep their value, on top of the file's.
    space : mapping, optional
        Changes of the search space, on top of the file's.
    criterion, stage
        See :func:`~uplift.tuning.search.tune`; `stage` is that of ``[decide]`` by default.
    **options
        The rest of its parameters.

    Returns
    -------
    TuningResult

    Raises
    ------
    UpliftError
        Bad input.

    Examples
    --------
    >>> tune_file(CampaignFile.read("campaign.toml"), model="ecup", trials=20).best_params  # doctest: +SKIP
    """
    for name in config.tune:
        if name not in MODEL_NAMES:
            raise CampaignError(f"[tune.{name}] is about no model; {did_you_mean(name, MODEL_NAMES)}")
    seed = config.split.seed if seed is None else seed
    campaign = config.load()
    part = TrainingPart.of(campaign, test=config.split.test, seed=seed, by=config.split.by)
    decide = config.decide
    if stage is None and decide is not None:
        stage = decide.stage
    if criterion == "policy" and decide is not None:
        options.setdefault("margin", decide.margin)
        options.setdefault("budget_per_customer", _budget_per_customer(config, campaign, part))
    return tune(
        part,
        model=model,
        params={**config.models.get(model, {}), **(params or {})},
        space={**config.tune.get(model, {}), **(space or {})},
        keep=tuple(params or ()),
        criterion=criterion,  # type: ignore[arg-type]
        stage=stage,
        random_state=seed,
        **options,
    )


def _budget_per_customer(config: CampaignFile, campaign: Campaign, part: TrainingPart) -> float | None:
    """The budget over the number of customers that it is for; of the test part only its share is used."""
    decide = config.decide
    assert decide is not None
    if math.isinf(decide.budget):
        return None
    if decide.score is not None:
        customers: float = campaign.audience(config.resolve(decide.score)).n_units
    else:
        customers = part.campaign.n_units * config.split.test / (1.0 - config.split.test)
    return decide.budget / customers
