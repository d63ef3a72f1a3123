"""Hold the data on this machine against its card: bytes, rows, published rates."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from uplift.campaign import Campaign
from uplift.datasets.cards import DatasetCard, Statistics, get_card
from uplift.datasets.download import damage
from uplift.datasets.load import load_dataset
from uplift.datasets.local import Found, Home, locate, missing_message
from uplift.datasets.tables import DatasetWarning
from uplift.errors import DatasetError, UpliftError

STANDARD_ERRORS = 4.0
"""Accepted distance between a sample and the figures of the data it was drawn from."""


@dataclass(frozen=True)
class Finding:
    """One comparison with the card.

    Attributes
    ----------
    check : str
        What was compared, such as ``"sha256 hillstrom.parquet"`` or ``"visit of Mens E-Mail"``.
    status : {"pass", "warn", "fail"}
        ``"warn"``: the card has nothing to compare with, or the rows needed care.
    detail : str
        Found and expected.

    Examples
    --------
    >>> verify_dataset("hillstrom")[0]  # doctest: +SKIP
    """

    check: str
    status: Literal["pass", "warn", "fail"]
    detail: str


def verify_dataset(name: str, *, home: Home = None) -> list[Finding]:
    """Compare the files on this machine, and the campaign they make, with the data set's card.

    Figures of the full data are compared with a sample of it to four standard errors, corrected for the
    share that was drawn: sqrt(p (1 - p) / n * (1 - share)).

    Parameters
    ----------
    name : str
        Name of a card.
    home : path, optional
        Only folder to search; default ``UPLIFT_DATA_HOME``, then the user's cache.

    Returns
    -------
    list of Finding

    Raises
    ------
    DatasetError
        Unknown name, or the files are not there.

    Examples
    --------
    >>> [finding.status for finding in verify_dataset("hillstrom")]  # doctest: +SKIP
    """
    card = get_card(name)
    found = locate(card, home)
    if found is None:
        raise DatasetError(missing_message(card, home))
    findings = list(_bytes(found))
    if card.refused is not None:
        return [*findings, Finding("campaign", "warn", f"not loaded: {card.refused}")]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", DatasetWarning)
        try:
            campaign = load_dataset(name, home=home)
        except UpliftError as error:
            return [*findings, Finding("campaign", "fail", str(error))]
    findings += [
        Finding("care", "warn", str(item.message))
        for item in caught
        if issubclass(item.category, DatasetWarning)
    ]
    return findings + list(_figures(card, campaign))


def _bytes(found: Found) -> Iterator[Finding]:
    for file, path in zip(found.form.files, found.paths, strict=True):
        if file.sha256 is None and file.md5 is None and file.bytes is None:
            yield Finding(f"bytes of {path.name}", "warn", "the card knows neither size nor digest")
            continue
        problem = damage(file, path)
        yield Finding(
            f"bytes of {path.name}",
            "fail" if problem else "pass",
            problem or "size and digest as on the card",
        )


def _figures(card: DatasetCard, campaign: Campaign) -> Iterator[Finding]:
    if not card.statistics:
        yield Finding("figures", "warn", "the card knows no published figures")
    every = np.ones(campaign.n_rows, bool)
    for figures in card.statistics:
        if figures.rows is not None and figures.sampled is None:
            yield _count("rows", campaign.n_rows, figures.rows, figures)
        for stage, published in figures.overall.items():
            yield _mean(f"{stage} overall", campaign, stage, every, published, figures)
        for arm, values in figures.arms.items():
            rows = campaign.arm_codes == campaign.arm_index(arm)
            for stage, published in values.items():
                if stage != "rows":
                    yield _mean(f"{stage} of {arm}", campaign, stage, rows, published, figures)
                elif figures.sampled is None:
                    yield _count(f"rows of {arm}", int(rows.sum()), int(published), figures)


def _count(check: str, found: int, published: int, figures: Statistics) -> Finding:
    status: Literal["pass", "fail"] = "pass" if found == published else "fail"
    return Finding(check, status, f"{found:,} here, {published:,} expected ({figures.where})")


def _mean(
    check: str, campaign: Campaign, stage: str, rows: np.ndarray, published: float, figures: Statistics
) -> Finding:
    values = campaign.outcome(stage)[rows].astype(np.float64)
    found = float(values.mean()) if len(values) else math.nan
    allowed = figures.tolerance
    if figures.sampled is not None and len(values):
        allowed += STANDARD_ERRORS * float(values.std()) * math.sqrt((1 - figures.sampled) / len(values))
    # Outcomes are float32; a mean of them is good to about 1e-7 of itself.
    status: Literal["pass", "fail"] = (
        "pass" if abs(found - published) <= allowed + 1e-6 * abs(published) else "fail"
    )
    return Finding(check, status, f"{found:.6g} here, {published:g} expected ({figures.where})")
