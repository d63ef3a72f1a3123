"""Partial dependence of the uplift, beside the effect that was observed among customers with such values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from uplift.campaign import Campaign
from uplift.effects import Effects
from uplift.insight.content import Bin, Dependence
from uplift.insight.features import MISSING, OTHER, Feature, short, with_column
from uplift.insight.observed import ArmOutcomes, Predictor

GRID = 9
BINS = 5
LEVELS = 8


def dependence(
    model: Predictor,
    campaign: Campaign,
    effects: Effects,
    features: Sequence[Feature],
    stage: str,
    outcomes: Mapping[str, ArmOutcomes],
    *,
    rows: int = 400,
    confidence: float = 0.95,
    random_state: int = 0,
    on_progress: Callable[[str], None] = lambda _: None,
) -> tuple[Dependence, ...]:
    """Mean predicted effect when all of a sample of customers get the same value of a feature, value by value.

    Only values that occur are given: of a number the rows at nine quantiles between 5 % and 95 %, of a category its most
    frequent levels. Beside it, for customers who really have such values, the mean predicted and the observed effect: the
    two differ where the feature goes together with others.

    Parameters
    ----------
    model, campaign, effects
        A fitted model, randomised rows that it did not learn from, and its effects on them.
    features : sequence of Feature
        Those of `campaign` that are looked at.
    stage : str
    outcomes : mapping of arm to ArmOutcomes
        The treated arms that are looked at.
    rows : int
        Customers in the sample.

    References
    ----------
    Friedman, Greedy function approximation, Annals of Statistics 2001, section 8.2.
    """
    rng = np.random.default_rng([random_state, 4])
    size = min(rows, campaign.n_rows)
    sample = campaign.take(np.sort(rng.choice(campaign.n_rows, size, replace=False)))
    found = []
    for number, feature in enumerate(features, start=1):
        on_progress(f"effect by feature {number} of {len(features)}")
        at, labels = _grid(feature)
        if len(at) < 2:
            continue
        positions = feature.values[at] if feature.kind == "numeric" else np.arange(len(at), dtype=float)
        repeated = sample.take(np.tile(np.arange(size), len(at)))
        # The values come from the campaign's own rows, so that every type of column keeps its type.
        together = _given(repeated, campaign, feature.name, np.repeat(at, size))
        predicted = model.predict(together)
        means = {
            arm: predicted.tau(stage, arm).astype(np.float64).reshape(len(at), size).mean(axis=1) for arm in outcomes
        }  # fmt: skip
        found.append(
            Dependence(
                feature=feature.name,
                kind="time" if feature.time else feature.kind,
                rows=size,
                positions=tuple(positions.tolist()),
                labels=tuple(labels),
                effects={arm: tuple(values.tolist()) for arm, values in means.items()},
                bins=_bins(feature, at, labels, effects, stage, outcomes, confidence),
            )
        )
    return tuple(found)


def _given(sample: Campaign, source: Campaign, name: str, rows: np.ndarray) -> Campaign:
    from dataclasses import replace

    index = sample.table.column_names.index(name)
    column = (
        with_column(source, name, rows).table[name]
        if len(rows) == source.n_rows
        else source.table[name].take(rows)
    )
    return replace(sample, table=sample.table.set_column(index, sample.table.schema.field(index), column))


def _grid(feature: Feature) -> tuple[np.ndarray, list[str]]:
    """Rows whose values are given to everybody, and what those values are called."""
    if feature.kind == "numeric":
        known = np.flatnonzero(np.isfinite(feature.values))
        if not len(known):
            return known, []
        order = known[np.argsort(feature.values[known], kind="stable")]
        wanted = order[np.round(np.linspace(0.05, 0.95, GRID) * (len(order) - 1)).astype(int)]
        _, first = np.unique(feature.values[wanted], return_index=True)
        return wanted[first], [feature.number(value) for value in feature.values[wanted[first]]]
    bins, first = np.unique(feature.bins, return_index=True)
    rows, labels = [], []
    for code, row in zip(bins.tolist(), first.tolist(), strict=True):
        if code < min(len(feature.levels), LEVELS):
            rows.append(row)
            labels.append(short(feature.levels[code], 24))
        elif code == feature.n_bins - 1:
            rows.append(row)
            labels.append(MISSING)
    return np.array(rows, np.int64), labels


def _bins(
    feature: Feature,
    at: np.ndarray,
    labels: Sequence[str],
    effects: Effects,
    stage: str,
    outcomes: Mapping[str, ArmOutcomes],
    confidence: float,
) -> tuple[Bin, ...]:
    groups: list[tuple[str, float, np.ndarray]] = []
    if feature.kind == "numeric":
        known = np.isfinite(feature.values)
        inner = (
            np.quantile(feature.values[known], np.linspace(0, 1, BINS + 1)[1:-1])
            if known.any()
            else np.zeros(0)
        )
        cuts = (
            np.unique(feature.cuts[[int(np.argmin(np.abs(feature.cuts - cut))) for cut in inner]])
            if len(feature.cuts)
            else np.zeros(0)
        )
        code = np.searchsorted(cuts, feature.values, side="left")
        for bin_number in range(len(cuts) + 1):
            rows = np.flatnonzero(known & (code == bin_number))
            low = f"over {feature.number(cuts[bin_number - 1])}" if bin_number else ""
            high = f"up to {feature.number(cuts[bin_number])}" if bin_number < len(cuts) else ""
            if len(rows):
                groups.append(
                    (" ".join(filter(None, (low, high))) or "all", float(feature.values[rows].mean()), rows)
                )
        if (~known).any():
            groups.append((MISSING, float("nan"), np.flatnonzero(~known)))
    else:
        shown = feature.bins[at]
        for position, (code, label) in enumerate(zip(shown.tolist(), labels, strict=True)):
            groups.append((label, float(position), np.flatnonzero(feature.bins == code)))
        rest = np.flatnonzero(~np.isin(feature.bins, shown))
        if len(rest):
            groups.append((OTHER, float(len(shown)), rest))
    return tuple(
        Bin(
            label=label,
            position=position,
            share=len(rows) / len(feature.bins),
            predicted={arm: float(effects.tau(stage, arm)[rows].mean(dtype=np.float64)) for arm in outcomes},
            observed={arm: one.among(rows, confidence=confidence) for arm, one in outcomes.items()},
        )
        for label, position, rows in groups
    )
